"""Where a call is judged: every AllowListMiddleware on its way through an application, found without running it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Final, NamedTuple

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route, Router, WebSocketRoute
from starlette.types import Scope

from allowlist_middleware import fastapi_routers
from allowlist_middleware.middleware import AllowListMiddleware
from allowlist_middleware.operations import Operation
from allowlist_middleware.references import find_reference
from allowlist_middleware.routing import Way

_MAX_WRAPPERS: Final = 64


class Station(NamedTuple):
    """A middleware on the way of a call, the application it was added to if any, and the scope it is called with."""

    middleware: AllowListMiddleware
    application: Starlette | None
    scope: Scope


class Journey(NamedTuple):
    """Where a call arrives, and the stations on its way, outermost first."""

    operation: Operation
    stations: tuple[Station, ...]


class Stations:
    """Follows calls through an application by its own routing.

    A middleware that was added to an application which has not served yet is made as the application would make it.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self._made: dict[int, tuple[AllowListMiddleware, ...]] = {}

    def follow(self, scope: Scope) -> Journey:
        """Return where a call arrives; nothing of the application runs."""
        trace = _Trace((), "", is_direct=False)
        trace.entered = []
        operation = trace.into(self._app, scope)
        return Journey(operation, tuple(self._pass(trace.entered, operation)))

    def _pass(self, entered: list[tuple[Any, Scope]], operation: Operation) -> Iterator[Station]:
        outer: Scope = {}  # what the framework adds to the scope for those inside
        for app, scope in entered:
            for layer in _layers(app):
                application = None
                if isinstance(layer, Starlette):
                    application = layer
                    outer = {**outer, "app": layer}
                    if root_path := fastapi_routers.find_root_path(layer):
                        outer["root_path"] = root_path
                elif isinstance(layer, Router):
                    outer = {"router": layer, **outer}
                for middleware in self._at(layer):
                    yield Station(middleware, application, {**scope, **outer})
            outer.pop("root_path", None)
        route = operation.places[1] if len(operation.places) > 1 else None
        if isinstance(route, Route | WebSocketRoute):
            for layer in _layers(route.app):
                if isinstance(layer, AllowListMiddleware):
                    yield Station(layer, None, {**entered[-1][1], **outer, "endpoint": operation.endpoint})

    def _at(self, layer: Any) -> tuple[AllowListMiddleware, ...]:
        if isinstance(layer, AllowListMiddleware):
            return (layer,)
        if isinstance(layer, Starlette):
            if layer.middleware_stack is not None:
                return _held(layer.middleware_stack, layer.router)
            if id(layer) not in self._made:
                self._made[id(layer)] = tuple(_make(layer))
            return self._made[id(layer)]
        return _held(layer.middleware_stack, layer) if isinstance(layer, Router) else ()


class _Trace(Way):
    """The way of one call, which keeps what it entered with which scope."""

    __slots__ = ("entered",)

    entered: list[tuple[Any, Scope]]

    def into(self, app: Any, scope: Scope) -> Operation:
        self.entered.append((app, scope))
        return super().into(app, scope)


def _layers(app: Any) -> Iterator[Any]:
    """Yield an application and what it wraps, to its router if one can be seen."""
    for _ in range(_MAX_WRAPPERS):
        if isinstance(getattr(app, "__self__", None), Router):
            app = app.__self__
        yield app
        if isinstance(app, Router):
            return
        app = app.router if isinstance(app, Starlette) else getattr(app, "app", None)
        if app is None:
            return


def _held(stack: Any, router: Any) -> tuple[AllowListMiddleware, ...]:
    """Return every middleware of ours in a stack that stands before the router, outermost first."""
    found = [stack] if isinstance(stack, AllowListMiddleware) else []

    def collect(value: Any) -> bool:
        if isinstance(value, AllowListMiddleware) and not any(value is known for known in found):
            found.append(value)
        return False

    find_reference(stack, collect)
    return tuple(middleware for middleware in found if _leads_to(middleware.app, router))


def _leads_to(app: Any, router: Any) -> bool:
    """Return whether an application leads to a router: itself, its matching or a guard before it."""

    def is_router(value: Any) -> bool:
        return router in (value, getattr(value, "__self__", None), getattr(value, "guards", None))

    return is_router(app) or find_reference(app, is_router) is not None


def _make(application: Starlette) -> Iterator[AllowListMiddleware]:
    for entry in application.user_middleware:
        made: Any = entry.cls
        while isinstance(made, partial):
            made = made.func
        if not isinstance(made, type):
            yield from _try(entry, application.router)
        elif issubclass(made, AllowListMiddleware):
            yield entry.cls(application.router, *entry.args, **entry.kwargs)  # type: ignore[misc]


def _try(entry: Middleware, router: Router) -> tuple[AllowListMiddleware, ...]:
    """Return what of ours a function makes; what it makes cannot be told otherwise, as for a class."""
    try:
        return _held(entry.cls(router, *entry.args, **entry.kwargs), router)
    except Exception:  # noqa: BLE001 - made too early for it: that is no mistake of the application
        return ()
