"""From a scope to the operation that would serve it, by the framework's own matching; "cannot tell" is an answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from types import FunctionType, MethodType
from typing import Any, Final, NamedTuple, TypeAlias

from starlette._utils import get_route_path
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint, WebSocketEndpoint
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.routing import BaseRoute, Host, Match, Mount, Route, Router, WebSocketRoute
from starlette.types import Scope

from allowlist_middleware import fastapi_routers
from allowlist_middleware.annotations import find_annotation
from allowlist_middleware.operations import Enclosure, Operation, find_class, find_methods, find_rule
from allowlist_middleware.policy import Rule
from allowlist_middleware.route_index import Kind, RouteIndex

_INDEX: Final = "_allow_list_index"
_MAX_WRAPPERS: Final = 64
# What every call that is not cleared goes through: an attribute of an enum, and a NamedTuple's own __new__, cost more.
_NONE, _FULL, _ROUTE = Match.NONE, Match.FULL, Kind.ROUTE
_make: Final = tuple.__new__
_OWN_MIDDLEWARE: Final = (ExceptionMiddleware, ServerErrorMiddleware)


class Inside(NamedTuple):
    """What is found by looking into an ASGI application.

    `router` is `None` where nothing can be seen. `groups` are the objects on the way, nearest first. Where a wrapper
    was looked through by its `.app`, `is_guess` is true.
    """

    router: Router | None
    groups: tuple[Any, ...]
    is_guess: bool
    application: Starlette | None


class Selection(NamedTuple):
    """A route that matches: what handles the call, the route as the user wrote it, and the included routers around.

    `matched` has the path and the methods that hold, those of the inclusion for an included route; under its id stands
    what is `known` of it.
    """

    match: Match
    child_scope: Scope
    handler: Any
    route: Any
    matched: Any
    routers: tuple[Any, ...]
    known: dict[int, Known]


Found: TypeAlias = tuple[Selection | None, bool, int]
"""A selection, whether regular expressions and methods alone led to it, and on how many of the routes it depends."""

_NOTHING: Final[Found] = (None, False, 0)


@dataclass(frozen=True, slots=True)  # not a tuple: reading a slot costs a fifth of that
class Known:
    """The operation of a route that nothing stands before, as it was found, and all that this followed from."""

    operation: Operation
    enclosure: Enclosure
    stack: Any
    endpoint: Any
    app: Any
    path_format: str
    handle: Any

    def holds(self, enclosure: Enclosure, child_scope: Scope, handler: Any, matched: Any) -> bool:
        """Return whether all of that is still so."""
        return (
            enclosure is self.enclosure
            and enclosure.router.middleware_stack is self.stack
            and child_scope.get("endpoint") is self.endpoint
            and matched.app is self.app
            and matched.path_format is self.path_format
            and getattr(handler.handle, "__func__", None) is self.handle
        )


class Guard:
    """What stands before the matching of a router, known by its type: wrappers answer for the attributes of others."""

    def __init__(self, router: Router, app: Any) -> None:
        self._router = router
        self._app = app

    @property
    def guards(self) -> Router | None:
        """The router that is entered directly behind the guard; `None` where middleware stands between."""
        return self._router if is_matching_of(self._app, self._router) else None


def find_operation(app: Any, scope: Scope, groups: tuple[Any, ...]) -> Operation:
    """Return the operation that would serve the call inside an application; `groups` enclose it, nearest first."""
    return Way(groups, "", is_direct=False).into(app, scope)


def find_known(enclosure: Enclosure, scope: Scope) -> Operation | None:
    """Return the operation a call is directly for if it is known and all that it followed from still holds.

    This is `find_operation_from` with nothing left but the checks, for calls of which there are many: in a router with
    routes alone, whose matches depend on their regular expressions and methods.
    """
    router = enclosure.router
    routes = router.routes
    index: RouteIndex | None = getattr(router, _INDEX, None)
    if index is None or not index.is_uniform or len(routes) != len(index.routes):
        return None
    if type(router).__call__ is not Router.__call__:
        return None
    indexed = index.routes
    for position in index.all if index.is_short else index.positions(get_route_path(scope)):
        route = routes[position]
        if route is not indexed[position]:
            return None
        match, child_scope = route.matches(scope)
        if match is _FULL:
            known = index.known.get(id(route))
            if known is None or not known.holds(enclosure, child_scope, route, route):
                return None
            return known.operation if index.is_current(routes, position + 1) else None
    return None


def find_operation_from(enclosure: Enclosure, scope: Scope, *, is_direct: bool = False) -> Operation:
    """Return the operation that would serve the call from a router on; direct if nothing stands before the router."""
    router, groups, template, endpoint = enclosure
    selection, is_plain, _ = _select(router, router.routes, scope)
    is_direct = is_direct and is_plain and type(router).__call__ is Router.__call__
    if is_direct and selection is not None and (known := selection.known.get(id(selection.matched))) is not None:
        match, child_scope, handler, _, matched, _, _ = selection
        if match is _FULL and known.holds(enclosure, child_scope, handler, matched):
            return known.operation
    stack = router.middleware_stack
    is_direct = is_direct and is_matching_of(stack, router)
    entered = scope.get("endpoint")
    way = Way(groups, template, is_direct=is_direct)
    operation = way.on(enclosure if entered is endpoint else enclosure._replace(endpoint=entered), selection, scope)
    if selection is not None and operation.is_direct and operation.is_served and len(operation.enclosures) == 1:
        _, child_scope, handler, _, matched, _, remembered = selection
        endpoint, handle = child_scope.get("endpoint"), getattr(handler.handle, "__func__", None)
        known = Known(operation, enclosure, stack, endpoint, matched.app, matched.path_format, handle)
        remembered[id(matched)] = known
    return operation


def look_into(app: Any) -> Inside:
    """Look for the router of an application, through wrappers that keep the inner application as `.app`."""
    groups: tuple[Any, ...] = ()
    is_guess = False
    for _ in range(_MAX_WRAPPERS):
        app = _entered(app) or app
        groups = (app, *groups)
        if isinstance(app, Starlette):
            is_guess |= type(app).__call__ not in (Starlette.__call__, *fastapi_routers.application_calls())
            if isinstance(app.router, Router):
                return _into_router(app.router, (app.router, *groups), app, is_guess=is_guess)
        elif isinstance(app, Router):
            return _into_router(app, groups, None, is_guess=is_guess)
        inner = getattr(app, "app", None)
        if not callable(inner) or isinstance(app, BaseRoute):  # what a route runs is more than what its `.app` is
            break
        app, is_guess = inner, True
    return Inside(None, groups, is_guess, None)


def _entered(app: Any) -> Router | None:
    """Return the router that a bound method, as a router's own middleware wraps, or a guard leads into.

    Other methods of a router, such as the `not_found` of a subclass, may do anything.
    """
    if type(app) is not MethodType:
        return find_guarded(app)
    router = app.__self__
    if not isinstance(router, Router):
        return None
    return router if app.__func__ is Router.__call__ or is_matching_of(app, router) else None


def _into_router(router: Router, groups: tuple[Any, ...], application: Starlette | None, *, is_guess: bool) -> Inside:
    if getattr(type(router), "app", None) not in (Router.app, *fastapi_routers.router_apps()):
        return Inside(None, groups, is_guess, application)
    return Inside(router, groups, is_guess or type(router).__call__ is not Router.__call__, application)


class Way:
    """The way of one call through routers and mounts, and what was passed on it."""

    __slots__ = ("_enclosures", "_groups", "_guessed", "_is_direct", "_template")

    def __init__(self, groups: tuple[Any, ...], template: str, *, is_direct: bool) -> None:
        self._groups = groups
        self._template = template
        self._is_direct = is_direct
        self._enclosures: tuple[Enclosure, ...] = ()
        self._guessed: Operation | None = None

    def into(self, app: Any, scope: Scope) -> Operation:
        """Go into an application."""
        inside = look_into(app)
        opaque = self._opaque(scope.get("endpoint"), (app, *self._groups))
        innermost = inside.groups[0]
        if inside.router is None and not _stands_alone(innermost):
            return opaque._replace(places=(*_find_stricter(inside.groups, opaque), *opaque.places))
        if inside.application is not None:
            if root_path := fastapi_routers.find_root_path(inside.application):
                scope = {**scope, "root_path": root_path}
            self._is_direct = self._is_direct and _adds_no_middleware(inside.application)
        if inside.is_guess:
            self._is_direct = False
            self._guessed = self._guessed or opaque
        if inside.router is None:
            self._groups = (*inside.groups[1:], *self._groups)
            return self._alone(innermost, scope)
        self._groups = (*inside.groups, *self._groups)
        return self.through(Enclosure(inside.router, self._groups, self._template, scope.get("endpoint")), scope)

    def through(self, enclosure: Enclosure, scope: Scope) -> Operation:
        """Go through a router, whose groups have been passed, to the first route that matches."""
        router = enclosure.router
        selection, is_plain, _ = _select(router, router.routes, scope)
        self._is_direct = self._is_direct and is_plain and _is_entered_at_once(router)
        return self.on(enclosure, selection, scope)

    def on(self, enclosure: Enclosure, selection: Selection | None, scope: Scope) -> Operation:
        """Go on from a router by the route that was selected there, if any."""
        self._enclosures += (enclosure,)
        return self._past(enclosure.router, scope) if selection is None else self._by(selection, scope)

    def _alone(self, route: BaseRoute, scope: Scope) -> Operation:
        """Go by a route that is used without a router."""
        match, child_scope = route.matches(scope)
        self._is_direct = self._is_direct and _carrier_of(route) is not None
        if match is Match.NONE:
            return self._nothing(scope)
        return self._by(Selection(match, child_scope, route, route, route, (), {}), scope)

    def _by(self, selection: Selection, scope: Scope) -> Operation:
        """Go by the route that was selected."""
        _, child_scope, handler, route, matched, routers, _ = selection
        if routers:
            self._groups = (*routers, *self._groups)
        endpoint = child_scope.get("endpoint", scope.get("endpoint"))
        template = getattr(matched, "path_format", None)
        is_route = isinstance(handler, Route | WebSocketRoute)
        is_plain = _is_plain(handler, "handle")
        is_served = not (is_plain and isinstance(handler, Route) and _lacks_method(matched, scope))
        if is_plain and is_served and (not is_route or _is_application(handler.app)):
            self._template += "" if template is None else template.removesuffix("/{path}")  # a host has none
            self._groups = (route, *self._groups)
            return self.into(handler.app, {**scope, **child_scope})
        return Operation(
            endpoint,
            (endpoint, route, *self._groups),
            None if template is None else self._template + template,
            is_served,
            not is_route,
            self._enclosures,
            self._guessed,
            self._is_direct and is_plain and serves_itself(matched, endpoint),
        )

    def _past(self, router: Router, scope: Scope) -> Operation:
        """Go past all routes of a router."""
        is_plain = getattr(router.default, "__func__", None) is Router.not_found
        if is_plain and not fastapi_routers.is_api_router(router):
            return self._nothing(scope)
        if _redirects(router, scope):
            return self._nothing(scope)
        if fastapi_routers.may_serve_frontend(router, scope):
            return self._opaque(scope.get("endpoint"), self._groups)
        return self._nothing(scope) if is_plain else self.into(router.default, scope)

    def _nothing(self, scope: Scope) -> Operation:
        endpoint = scope.get("endpoint")
        return Operation(endpoint, (), None, False, False, self._enclosures, self._guessed, self._is_direct)

    def _opaque(self, endpoint: Any, places: tuple[Any, ...]) -> Operation:
        template = self._template + "/{path}"
        return Operation(endpoint, places, template, True, True, self._enclosures, self._guessed, False)


def _find_stricter(groups: tuple[Any, ...], opaque: Operation) -> tuple[Any, ...]:
    """Return what is annotated within an opaque application, if that is stricter: it may refuse, not let through.

    That is the nearest annotation of what is wrapped, or of the methods of a class if no route tells which is called.
    """
    nearest = next((group for group in groups[:-1] if find_annotation(group)), None)
    cls = find_class(groups[0])
    methods = find_methods(cls).values() if cls is not None and groups[0] is not opaque.endpoint else ()
    annotated = [(annotation.rule, place) for place in (nearest, *methods) if (annotation := find_annotation(place))]
    rule, place = min(annotated, key=itemgetter(0), default=(Rule.NO_OPERATION, None))
    return (place,) if rule < find_rule(opaque, "") else ()


def _stands_alone(app: Any) -> bool:
    """Return whether it is a route used as an application, which then answers 404 to what it does not match."""
    return isinstance(app, BaseRoute) and type(app).__call__ is BaseRoute.__call__


def _lacks_method(matched: Any, scope: Scope) -> bool:
    """Return whether the framework's own 405 is the answer, by what it looks at then, whatever `matches` said."""
    methods = matched.methods
    return bool(methods) and scope.get("method") not in methods


def is_matching_of(app: Any, router: Router) -> bool:
    """Return whether an application is the router's own matching, or a guard directly before it."""
    if type(app) is MethodType:
        function = app.__func__
        return app.__self__ is router and (function is Router.app or function in fastapi_routers.router_apps())
    return find_guarded(app) is router


def find_guarded(app: Any) -> Router | None:
    """Return the router that follows directly where the application is a guard."""
    return app.guards if issubclass(type(app), Guard) else None


def _is_entered_at_once(router: Router) -> bool:
    """Return whether a call that enters the router is matched with nothing but a guard before that."""
    return type(router).__call__ is Router.__call__ and is_matching_of(router.middleware_stack, router)


def leads_straight_to(router: Router, app: Any) -> bool:
    """Return whether nothing but the framework's own middleware stands between an application and a router."""
    while app is not router:
        if type(app) not in _OWN_MIDDLEWARE and type(app) not in fastapi_routers.middleware():
            return False
        app = app.app
    return True


def _adds_no_middleware(application: Starlette) -> bool:
    """Return whether an application has, or will build, a stack of nothing but the framework's own middleware."""
    if application.middleware_stack is not None:
        return leads_straight_to(application.router, application.middleware_stack)
    build = "build_middleware_stack"
    return (
        not application.user_middleware
        and build not in vars(application)
        and getattr(type(application), build, None)
        in (Starlette.build_middleware_stack, *fastapi_routers.stack_builders())
    )


def _is_application(app: Any) -> bool:
    """Return whether what a route runs is an application with routes of its own, and not only an endpoint."""
    return not isinstance(app, FunctionType | type) and look_into(app).router is not None


def serves_itself(handler: Any, endpoint: Any) -> bool:
    """Return whether what runs the endpoint is the framework, with no middleware and no application between."""
    app = getattr(handler, "app", None)
    if type(app) is FunctionType:
        # request_response or websocket_session, and nothing that only looks so by functools.wraps
        return app.__module__ in ("starlette.routing", "fastapi.routing") and not hasattr(app, "__wrapped__")
    return app is endpoint and isinstance(app, type) and issubclass(app, HTTPEndpoint | WebSocketEndpoint)


def _redirects(router: Router, scope: Scope) -> bool:
    """Return whether the router answers with its redirect to the path with, or without, a slash at the end."""
    path = get_route_path(scope)
    if scope["type"] != "http" or not router.redirect_slashes or path == "/":
        return False
    other = scope["path"].rstrip("/") if path.endswith("/") else scope["path"] + "/"
    return _select(router, router.routes, {**scope, "path": other})[0] is not None


def _select(holder: Any, routes: Sequence[Any], scope: Scope) -> Found:
    """Return what is found among the routes of a router."""
    # Not by vars(holder), which would make every later read of an attribute slower, as in _is_plain.
    index: RouteIndex | None = getattr(holder, _INDEX, None)
    if index is not None and len(routes) == len(index.routes):
        found = _find_by(index, routes, scope)
        if found is not None and index.is_current(routes, found[2]):
            return found
    index = RouteIndex(routes, _classify)
    setattr(holder, _INDEX, index)
    return _find_by(index, index.routes, scope) or _NOTHING


def _find_by(index: RouteIndex, routes: Sequence[Any], scope: Scope) -> Found | None:
    """Return the first full match in order, else the first partial one, as every router does.

    `None` if a route that is asked is not the one that was indexed.
    """
    partial = None
    indexed, kinds, is_plain, known = index.routes, index.kinds, index.is_plain, index.known
    for position in index.all if index.is_short else index.positions(get_route_path(scope)):
        route = routes[position]
        if route is not indexed[position]:
            return None
        kind = kinds[position]
        if kind is _ROUTE:
            match, child_scope = route.matches(scope)
            if match is _NONE:
                continue
            # As Selection(...), which costs twice as much.
            found: Selection | None = _make(Selection, (match, child_scope, route, route, route, (), known))
        elif kind is Kind.INCLUDED:
            found, is_plain_inside = _match_included(route, scope)
            is_plain = is_plain and is_plain_inside
        else:
            found = _match_effective(route, scope, known)
        if found is None:
            continue
        if found.match is _FULL:
            return found, is_plain, position + 1
        partial = partial or found
    return partial, is_plain, len(routes)


def _match_effective(context: Any, scope: Scope, known: dict[int, Known]) -> Selection | None:
    match, child_scope = fastapi_routers.match_effective(context, scope)
    if match is Match.NONE:
        return None
    handler = context.starlette_route or context.original_route
    matched = context.starlette_route or context
    return Selection(match, child_scope, handler, context.original_route, matched, (), known)


def _match_included(included: Any, scope: Scope) -> tuple[Selection | None, bool]:
    """Return what matches in an included router, and whether nothing but regular expressions and methods decided it."""
    router = included.original_router
    candidates = getattr(included, "effective_candidates", None)
    if candidates is not None and fastapi_routers.handles_plainly(router):
        inner = {**scope, "fastapi": {**scope.get("fastapi", {}), "included_router": included}}
        found, is_plain, _ = _select(included, candidates(), inner)
        return None if found is None else found._replace(routers=(*found.routers, router)), is_plain
    match, child_scope = included.matches(dict(scope))
    if match is Match.NONE:
        return None, False
    return Selection(match, child_scope, included, included, included, (router,), {}), False


def _classify(route: Any) -> tuple[Kind, Any, Any]:
    """Return the kind of a route, what its regular expression is read from if it decides, and whose `matches` does."""
    if fastapi_routers.is_included(route):
        return Kind.INCLUDED, None, route
    if not fastapi_routers.is_effective(route):
        return Kind.ROUTE, _carrier_of(route), route
    if route.starlette_route is not None:
        return Kind.EFFECTIVE, _carrier_of(route.starlette_route), route.starlette_route
    original = route.original_route
    carrier = route if _is_plain(original, "matches") else None
    return Kind.EFFECTIVE, carrier, original if fastapi_routers.is_api_route(original) else route


def _carrier_of(route: Any) -> Any:
    return route if hasattr(route, "path_regex") and _is_plain(route, "matches") else None


def _is_plain(route: Any, name: str) -> bool:
    """Return whether a route has the framework's own method of that name, by class and by instance."""
    # Not by vars(route): CPython keeps the attributes of an object whose __dict__ was asked for where every later read,
    # the framework's own included, takes twice as long.
    function = getattr(getattr(route, name, None), "__func__", None)
    return function in _OWN_FUNCTIONS[name] or function in [getattr(cls, name) for cls in fastapi_routers.routes()]


_OWN_FUNCTIONS: Final = {
    name: frozenset(getattr(cls, name) for cls in (Route, WebSocketRoute, Mount, Host))
    for name in ("matches", "handle")
}
