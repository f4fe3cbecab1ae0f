"""Every operation an application can be reached at, found by walking its routers instead of by a call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from starlette.applications import Starlette
from starlette.convertors import PathConvertor
from starlette.endpoints import HTTPEndpoint
from starlette.routing import BaseRoute, Host, Mount, Route, Router, WebSocketRoute

from allowlist_middleware import fastapi_routers
from allowlist_middleware.operations import HTTP_METHODS, Operation
from allowlist_middleware.routing import look_into

ANY_METHOD: Final = "*"
WEBSOCKET: Final = "WEBSOCKET"


class Piece(NamedTuple):
    """A piece of a template, and what converts the parameters in it."""

    template: str
    convertors: Mapping[str, Any]


_REST: Final = Piece("/{path}", {"path": PathConvertor()})


class Surroundings(NamedTuple):
    """What encloses a route: groups, nearest first, and the way there, outermost first.

    With each application stands the length of the template that leads to it.
    """

    groups: tuple[Any, ...]
    pieces: tuple[Piece, ...] = ()
    hosts: tuple[Piece, ...] = ()
    applications: tuple[tuple[Starlette, int], ...] = ()
    routers: tuple[Router, ...] = ()

    @property
    def prefix(self) -> str:
        """The template that leads to the routes."""
        return "".join(piece.template for piece in self.pieces)


class Reachable(NamedTuple):
    """One operation: a method and a path template. An opaque one stands for all that its application serves.

    `anchor` is the route, or the application that cannot be looked into; `tags` are FastAPI's. `is_described` tells
    that it belongs into an OpenAPI description.
    """

    method: str
    path: str
    operation: Operation
    anchor: Any
    surroundings: Surroundings
    piece: Piece
    tags: tuple[str, ...] = ()
    is_described: bool = False

    @property
    def is_documentation(self) -> bool:
        """Whether it is one of the routes FastAPI adds for its own documentation."""
        return getattr(self.operation.endpoint, "__module__", None) == "fastapi.applications"


def find_reachable(app: Any, groups: tuple[Any, ...] = ()) -> Iterator[Reachable]:
    """Yield the operations of an application or router in the order of its routes; `groups` enclose it."""
    return _inside(app, app, Surroundings(groups))


def _inside(app: Any, endpoint: Any, around: Surroundings) -> Iterator[Reachable]:
    inside = look_into(app)
    router, innermost = inside.router, inside.groups[0]
    if isinstance(innermost, BaseRoute):  # a route that is used without a router
        yield from _routes([innermost], around._replace(groups=(*inside.groups[1:], *around.groups)))
    elif router is None:
        yield _opaque(endpoint, app, around._replace(groups=(app, *around.groups)))
    elif not any(router is outer for outer in around.routers):  # an application mounted inside itself
        around = around._replace(groups=(*inside.groups, *around.groups), routers=(*around.routers, router))
        if inside.application is not None:
            here = (inside.application, len(around.prefix))
            around = around._replace(applications=(*around.applications, here))
        yield from _routes(router.routes, around)
        if fastapi_routers.has_frontend(router):
            yield _opaque(None, router, around)
        if getattr(router.default, "__func__", None) is not Router.not_found:
            yield from _inside(router.default, router.default, around)


def _routes(routes: Any, around: Surroundings) -> Iterator[Reachable]:
    for route in routes:
        if fastapi_routers.is_included(route):
            inner = around._replace(groups=(route.original_router, *around.groups))
            yield from _routes(fastapi_routers.candidates(route), inner)
        elif fastapi_routers.is_effective(route):
            yield from _route(route.starlette_route or route, route.original_route, around)
        else:
            yield from _route(route, route, around)


def _route(handler: Any, route: Any, around: Surroundings) -> Iterator[Reachable]:
    convertors = getattr(handler, "param_convertors", {})
    if isinstance(handler, Mount | Host):
        around = around._replace(groups=(route, *around.groups))
        if isinstance(handler, Host):
            around = around._replace(hosts=(*around.hosts, Piece(handler.host_format, convertors)))
        else:
            piece = Piece(handler.path_format.removesuffix("/{path}"), convertors)
            around = around._replace(pieces=(*around.pieces, piece))
        yield from _inside(handler.app, handler.app, around)
        return
    template = getattr(handler, "path_format", None)
    piece = _REST if template is None else Piece(template, convertors)
    endpoint = getattr(route, "endpoint", None)
    is_opaque = not isinstance(route, Route | WebSocketRoute)
    path = around.prefix + piece.template
    operation = Operation(endpoint, (endpoint, route, *around.groups), path, True, is_opaque, (), None)
    tags = tuple(str(getattr(tag, "value", tag)) for tag in getattr(handler, "tags", None) or ())
    is_described = getattr(handler, "include_in_schema", False)
    for method in _methods(handler, route, endpoint):
        yield Reachable(method, path, operation, route, around, piece, tags, is_described)


def _methods(handler: Any, route: Any, endpoint: Any) -> Iterator[str]:
    if isinstance(route, WebSocketRoute):
        yield WEBSOCKET
        return
    methods: set[str] = getattr(handler, "methods", None) or set()
    if not methods and isinstance(endpoint, type) and issubclass(endpoint, HTTPEndpoint):
        methods = {name.upper() for name in HTTP_METHODS if hasattr(endpoint, name)}
    for method in sorted(methods or (ANY_METHOD,)):
        if method != "HEAD" or "GET" not in methods:  # HEAD follows GET
            yield method


def _opaque(endpoint: Any, anchor: Any, around: Surroundings) -> Reachable:
    path = around.prefix + _REST.template
    operation = Operation(endpoint, around.groups, path, True, True, (), None)
    return Reachable(ANY_METHOD, path, operation, anchor, around, _REST)
