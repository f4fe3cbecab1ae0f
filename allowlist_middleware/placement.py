"""Where the middleware stands: the application it wraps, and what encloses that."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from starlette.applications import Starlette
from starlette.routing import Route, Router, WebSocketRoute
from starlette.types import Scope

from allowlist_middleware import fastapi_routers
from allowlist_middleware.operations import Enclosure, Operation, find_rule
from allowlist_middleware.references import find_reference
from allowlist_middleware.routing import (
    find_known,
    find_operation,
    find_operation_from,
    leads_straight_to,
    look_into,
    serves_itself,
)

_MAX_WRAPPERS: Final = 64


class Holder(NamedTuple):
    """What encloses the middleware, nearest first, itself included; and the route if one runs it."""

    groups: tuple[Any, ...]
    route: Route | WebSocketRoute | None = None


class Start(NamedTuple):
    """Where resolution starts: an application and what encloses it, nearest first.

    `enclosure` is set where the middleware was added to that application, so that its router follows. There are several
    `holders` where one middleware stands in several places, as in a router that is mounted twice.
    """

    app: Any
    groups: tuple[Any, ...]
    enclosure: Enclosure | None = None
    holders: tuple[Holder, ...] = ()


class Placement:
    """Finds operations from where a middleware stands: added to an application, wrapped around one, or in a route."""

    def __init__(self, middleware: Any) -> None:
        self._middleware = middleware
        self._located: tuple[Any, Start] = (self, Start(None, ()))

    def find_operation(self, scope: Scope) -> Operation:
        """Return the operation that would serve the call."""
        known, start = self._located
        if known is None or scope.get("app") is not known:
            start = self.find_start(scope)
        if start.enclosure is not None:
            is_direct = leads_straight_to(start.enclosure.router, self._middleware.app)
            if is_direct and (operation := find_known(start.enclosure, scope)) is not None:
                return operation
            return find_operation_from(start.enclosure, scope, is_direct=is_direct)
        found = [self._find_held_by(holder, scope) for holder in start.holders]
        if len(found) == 1:
            return found[0]
        method = scope.get("method", "")
        return min(found, key=lambda operation: find_rule(operation, method))  # the strictest, which comes first

    def find_start(self, scope: Scope) -> Start:
        """Return where resolution starts."""
        outer = scope.get("app", scope.get("router"))
        known, start = self._located
        if outer is not known:
            start = self._locate(outer)
            self._located = outer, start
        return start

    def _locate(self, outer: Any) -> Start:
        # scope["app"] is the application the middleware was added to, or one outside of what it wraps.
        if isinstance(outer, Starlette) and look_into(outer).router is not None and self._stands_before(outer):
            return Start(outer, (), Enclosure(outer.router, (outer.router, outer), "", None))
        is_application = isinstance(outer, Starlette)
        router, around = (outer.router, (outer,)) if is_application else (outer, ())
        found = tuple(_find_holders(self._middleware, router, around, ()))
        # Nobody sees whether it stands before the router or behind, which may be annotated: the stricter answer counts.
        holders = found or (Holder((router, *around)), Holder(around))
        holders = tuple(holder._replace(groups=(self._middleware, *holder.groups)) for holder in holders)
        return Start(self._middleware.app, holders[0].groups, None, holders)

    def _stands_before(self, outer: Starlette) -> bool:
        """Return whether it stands in the stack of an application, and what follows leads to the application's router.

        A middleware of the application may hold another application, with this one around it.
        """
        inside = look_into(self._middleware.app)
        if inside.router is outer.router and inside.application is None:
            return True
        return _holds(outer.middleware_stack, self._middleware) and _holds(self._middleware.app, outer.router)

    def _find_held_by(self, holder: Holder, scope: Scope) -> Operation:
        groups, route = holder
        app = self._middleware.app
        if route is None or look_into(app).router is not None:
            return find_operation(app, scope, groups)
        endpoint = route.endpoint
        is_direct = serves_itself(self._middleware, endpoint)
        return Operation(endpoint, (endpoint, *groups), route.path_format, True, False, (), None, is_direct)


def _holds(app: Any, sought: Any) -> bool:
    return find_reference(app, lambda value: value is sought) is not None


def _find_holders(sought: Any, router: Any, around: tuple[Any, ...], seen: tuple[Any, ...]) -> Iterator[Holder]:
    """Yield the places in and below a router, up to the next application, in which a middleware stands.

    Below an application it is that which is in the scope.
    """
    if not isinstance(router, Router) or any(router is outer for outer in seen):
        return
    groups = (router, *around)
    if router.middleware_stack is sought or _holds(router.middleware_stack, sought):
        yield Holder(groups)
    for handler, route, outside in _find_routes(router.routes, groups):
        app = getattr(handler, "app", None)
        wrappers, innermost = _unwrap(app, sought)
        if innermost is sought or _holds(innermost, sought):
            is_endpoint = isinstance(route, Route | WebSocketRoute)
            yield Holder((*wrappers, route, *outside), route if is_endpoint else None)
        inside = look_into(app)
        if inside.application is None:
            yield from _find_holders(sought, inside.router, (*inside.groups[1:], route, *outside), (*seen, router))


def _find_routes(routes: Any, groups: tuple[Any, ...]) -> Iterator[tuple[Any, Any, tuple[Any, ...]]]:
    """Yield the routes: what handles a call, the route as it was written, and what encloses it."""
    for route in routes:
        if fastapi_routers.is_included(route):
            yield from _find_routes(fastapi_routers.candidates(route), (route.original_router, *groups))
        elif fastapi_routers.is_effective(route):
            yield route.starlette_route or route.original_route, route.original_route, groups
        else:
            yield route, route, groups


def _unwrap(app: Any, sought: Any) -> tuple[tuple[Any, ...], Any]:
    """Return the wrappers around a middleware, nearest first, and what they lead to."""
    wrappers: tuple[Any, ...] = ()
    for _ in range(_MAX_WRAPPERS):
        inner = getattr(app, "app", None)
        if app is sought or isinstance(app, Router | Starlette) or inner is None:
            break
        wrappers, app = (app, *wrappers), inner
    return wrappers, app
