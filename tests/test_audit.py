"""Every operation an application can be reached at, and what the middleware makes of it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.endpoints import HTTPEndpoint, WebSocketEndpoint
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Host, Match, Mount, Route, Router, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from allowlist_middleware import AllowListMiddleware, respects_allow_list
from allowlist_middleware.audit import Answer, operations
from tests.asgi import LISTS, OUTSIDE, basic, call, connect


async def plain(request: Request) -> None: ...


@respects_allow_list(True)
async def respecting(request: Request) -> None: ...


@respects_allow_list(False)
async def ignoring(request: Request) -> Response:
    return Response()


async def talk(websocket: WebSocket) -> None: ...


async def opaque(scope: Scope, receive: Receive, send: Send) -> None:
    await Response()(scope, receive, send)


def judged(*routes: BaseRoute, **options: Any) -> Starlette:
    app = Starlette(routes=routes, **options)
    app.add_middleware(AllowListMiddleware, allow_lists=LISTS)
    return app


def answers(app: Any) -> dict[str, bool]:
    return {f"{one.method} {one.path}": one.respects for one in operations(app)}


def test_three_lines_test_an_application() -> None:
    app = judged(Route("/entity", respecting, methods=["POST"]), Route("/token", ignoring), Route("/health", plain))
    assert {f"{o.method} {o.path}": o.respects for o in operations(app)} == {
        "POST /entity": True,
        "GET /token": False,
        "GET /health": True,
    }


def test_an_answer_says_all_of_it() -> None:
    route = Route("/entity/{id:int}", respecting, methods=["POST"])
    (answer,) = operations(judged(Mount("/v1", routes=[route])))
    assert answer == Answer(
        method="POST",
        path="/v1/entity/{id}",
        endpoint="tests.test_audit.respecting",
        respects=True,
        requires_client=True,
        origin="endpoint",
        is_opaque=False,
        is_judged=True,
        is_documentation=False,
        host=None,
        shadowed_by=None,
        group="/v1",
    )
    assert str(answer) == "POST /v1/entity/{id}"
    assert hash(answer)
    with pytest.raises(AttributeError):
        answer.respects = False  # type: ignore[misc]


# ── Where the answer comes from ──────────────────────────────────────────────────────────────────────────────────────


class PerMethod(HTTPEndpoint):
    @respects_allow_list(False)
    async def get(self, request: Request) -> None: ...

    async def post(self, request: Request) -> None: ...


class PerMessage(WebSocketEndpoint):
    @respects_allow_list(True)
    async def on_connect(self, websocket: WebSocket) -> None: ...


ignored = respects_allow_list(False)

ORIGINS: dict[str, tuple[Callable[[], Any], dict[str, tuple[str, bool, bool]]]] = {
    "nobody": (lambda: judged(Route("/", plain)), {"GET /": ("nobody", True, False)}),
    "endpoint": (lambda: judged(Route("/", respecting)), {"GET /": ("endpoint", True, True)}),
    "partial": (
        lambda: judged(Route("/", functools.partial(respecting))),
        {"GET /": ("endpoint", True, True)},
    ),
    "method": (
        lambda: judged(Route("/", PerMethod)),
        {"GET /": ("method", False, False), "POST /": ("nobody", True, False)},
    ),
    "class endpoint with methods": (
        lambda: judged(Route("/", respects_allow_list(True)(type("Endpoint", (PerMethod,), {})), methods=["POST"])),
        {"POST /": ("endpoint", True, True)},
    ),
    "class endpoint of WebSockets": (
        lambda: judged(WebSocketRoute("/", PerMessage)),
        {"WEBSOCKET /": ("method", True, True)},
    ),
    "route": (lambda: judged(ignored(Route("/", plain))), {"GET /": ("route", False, False)}),
    "router": (
        lambda: judged(Mount("/r", ignored(Router([Route("/", plain)])))),
        {"GET /r/": ("router", False, False)},
    ),
    "mount": (lambda: judged(ignored(Mount("/m", routes=[Route("/", plain)]))), {"GET /m/": ("mount", False, False)}),
    "host": (
        lambda: judged(ignored(Host("api.example", Router([Route("/", plain)])))),
        {"GET /": ("mount", False, False)},
    ),
    "application": (lambda: ignored(judged(Route("/", plain))), {"GET /": ("application", False, False)}),
    "mounted application": (
        lambda: judged(Mount("/a", ignored(Starlette(routes=[Route("/", plain)])))),
        {"GET /a/": ("application", False, False)},
    ),
    "opaque application": (
        lambda: judged(Mount("/static", ignored(StaticFiles(directory=Path(__file__).parent)))),
        {"* /static/{path}": ("application", False, False)},
    ),
    "nearest": (
        lambda: ignored(judged(Mount("/m", routes=[Route("/a", respecting), Route("/b", plain)]))),
        {"GET /m/a": ("endpoint", True, True), "GET /m/b": ("application", False, False)},
    ),
}


@pytest.mark.parametrize("topology", ORIGINS)
def test_where_the_answer_comes_from(topology: str) -> None:
    make, expected = ORIGINS[topology]
    found = {str(one): (one.origin, one.respects, one.requires_client) for one in operations(make())}
    assert found == expected


# ── What is reachable ────────────────────────────────────────────────────────────────────────────────────────────────


class Wrapper:
    """An ASGI middleware as most are: it keeps the application as `.app`."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


def around_itself() -> ASGIApp:
    wrapper = Wrapper(opaque)
    wrapper.app = wrapper
    return wrapper


def closing_over(app: ASGIApp) -> ASGIApp:
    async def wrapper(scope: Scope, receive: Receive, send: Send, app: ASGIApp = app) -> None: ...

    return wrapper


class ByHeader(Route):
    """A route that also goes by a header."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        has_version = any(name == b"x-version" for name, _ in scope["headers"])
        return super().matches(scope) if has_version else (Match.NONE, {})


class Anything(BaseRoute):
    """A route of nobody's making."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return Match.FULL, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None: ...


class Late(Router):
    async def not_found(self, scope: Scope, receive: Receive, send: Send) -> None: ...


def with_default(default: ASGIApp) -> Router:
    return Router([Route("/a", respecting)], default=default)


TOPOLOGIES: dict[str, tuple[Callable[[], Any], list[str]]] = {
    "nothing": (lambda: Starlette(), []),
    "methods": (lambda: Starlette(routes=[Route("/", plain, methods=["PUT", "GET"])]), ["GET /", "PUT /"]),
    "HEAD alone": (lambda: Starlette(routes=[Route("/", plain, methods=["HEAD"])]), ["HEAD /"]),
    "every method": (lambda: Starlette(routes=[Route("/", closing_over(opaque))]), ["GET /"]),
    "an ASGI application as endpoint": (lambda: Starlette(routes=[Route("/", Wrapper(opaque))]), ["* /"]),
    "braces that are no parameter": (
        lambda: Starlette(routes=[Route("/a{/{b}/{}", plain), Mount("/{", routes=[Route("/{c}", plain)])]),
        ["GET /a{/{b}/{}", "GET /{/{c}"],
    ),
    "a WebSocket": (lambda: Starlette(routes=[WebSocketRoute("/ws", talk)]), ["WEBSOCKET /ws"]),
    "a bare router": (lambda: Router([Route("/", plain)]), ["GET /"]),
    "a bare route": (lambda: Route("/", plain), ["GET /"]),
    "a mounted route": (lambda: Starlette(routes=[Mount("/m", Route("/a", plain))]), ["GET /m/a"]),
    "nested mounts": (
        lambda: Starlette(routes=[Mount("/a", routes=[Mount("/{b}", routes=[Route("/{c:float}", plain)])])]),
        ["GET /a/{b}/{c}"],
    ),
    "a wrapped application": (
        lambda: Starlette(routes=[Mount("/m", Wrapper(Wrapper(Starlette(routes=[Route("/", plain)]))))]),
        ["GET /m/"],
    ),
    "around the application": (lambda: Wrapper(Starlette(routes=[Route("/", plain)])), ["GET /"]),
    "a wrapper around itself": (around_itself, ["* /{path}"]),
    "an opaque application": (lambda: Starlette(routes=[Mount("/m", opaque)]), ["* /m/{path}"]),
    "an opaque wrapper": (
        lambda: Starlette(routes=[Mount("/m", closing_over(Starlette(routes=[Route("/", plain)])))]),
        ["* /m/{path}"],
    ),
    "opaque all in all": (lambda: opaque, ["* /{path}"]),
    "a route of nobody's making": (lambda: Starlette(routes=[Anything()]), ["* /{path}"]),
    "a default": (
        lambda: Starlette(routes=[Mount("/m", with_default(Starlette(routes=[Route("/b", plain)])))]),
        ["GET /m/a", "GET /m/b"],
    ),
    "an opaque default": (lambda: with_default(opaque), ["GET /a", "* /{path}"]),
    "a not_found of one's own": (lambda: Late([Route("/a", plain)]), ["GET /a", "* /{path}"]),
}


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_every_reachable_operation_is_listed(topology: str) -> None:
    make, expected = TOPOLOGIES[topology]
    listed = operations(make())
    assert list(map(str, listed)) == expected
    assert [one.is_opaque for one in listed] == [text.endswith("{path}") for text in expected]
    assert not any(one.is_judged for one in listed)
    assert not any(one.shadowed_by for one in listed)


def test_an_application_mounted_inside_itself_ends_somewhere() -> None:
    app = judged(Route("/", plain))
    app.mount("/again", app)
    assert list(map(str, operations(app))) == ["GET /"]


def test_hosts_are_told_apart() -> None:
    app = judged(
        Host("{tenant}.api.example", Router([Route("/", respecting)])),
        Host("tokens.example", Router([Route("/", ignoring)])),
    )
    assert [(one.host, one.path, one.respects) for one in operations(app)] == [
        ("{tenant}.api.example", "/", True),
        ("tokens.example", "/", False),
    ]


class Upper(Convertor[str]):
    regex = "[A-Z]{12}"

    convert = to_string = None  # type: ignore[assignment]


def test_a_route_no_sample_call_fits_is_told_by_its_annotation() -> None:
    register_url_convertor("upper12", Upper())
    app = judged(Route("/{name:upper12}", respecting), ByHeader("/", ignoring))
    found = [(str(one), one.respects, one.is_judged, one.shadowed_by) for one in operations(app)]
    assert found == [("GET /{name}", True, True, None), ("GET /", False, True, None)]


# ── Routes behind others ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("before", "behind"),
    [
        (Route("/a", ignoring), Route("/a", respecting)),
        (Route("/{name}", ignoring), Route("/a", respecting)),
        (Route("/a/{x:path}", ignoring), Route("/a/{x:int}", respecting)),
        (Mount("/a", routes=[Route("/b", ignoring)]), Mount("/a", routes=[Route("/b", respecting)])),
        (Mount("/a", ignored(Wrapper(opaque))), Route("/a/b", respecting)),
    ],
)
@pytest.mark.anyio
async def test_what_holds_is_what_the_route_before_says(before: BaseRoute, behind: BaseRoute) -> None:
    app = judged(before, behind)
    last = operations(app)[-1]
    assert last.endpoint.endswith(".respecting")
    assert not last.respects
    assert last.shadowed_by is not None
    path = last.path.replace("{x}", "1")
    assert (await call(app, path, client=OUTSIDE, headers=basic("acme"))).status == 200


@pytest.mark.parametrize(
    ("before", "behind"),
    [
        (Route("/a", ignoring), Route("/{name}", respecting)),
        (Route("/{x:int}", ignoring), Route("/{x}", respecting)),
        (Route("/a/{x}", ignoring), Route("/a/{x:path}", respecting)),
        (Route("/a", ignoring, methods=["POST"]), Route("/a", respecting)),
        (ByHeader("/a", ignoring), Route("/a", respecting)),
        (Route("/sample-1", ignoring), Route("/{name}", respecting)),
    ],
)
def test_a_route_that_is_reached_at_times_speaks_for_itself(before: BaseRoute, behind: BaseRoute) -> None:
    last = operations(judged(before, behind))[-1]
    assert last.respects
    assert last.shadowed_by is None


# ── As the middleware sees it ────────────────────────────────────────────────────────────────────────────────────────


class Unmakeable(Wrapper):
    """A middleware that must not be made twice, as some that register metrics."""

    __init__ = None


JUDGED: dict[str, Callable[[], Any]] = {
    "added": lambda: judged(Route("/", plain)),
    "added as a partial": lambda: Starlette(
        routes=[Route("/", plain)], middleware=[Middleware(functools.partial(AllowListMiddleware, allow_lists=LISTS))]
    ),
    "added by a function": lambda: Starlette(
        routes=[Route("/", plain)],
        middleware=[Middleware(lambda app: Wrapper(AllowListMiddleware(app, allow_lists=LISTS)))],
    ),
    "added among others": lambda: Starlette(
        routes=[Route("/", plain)],
        middleware=[
            Middleware(Unmakeable),
            Middleware(AllowListMiddleware, allow_lists=LISTS),
            Middleware(GZipMiddleware),
        ],
    ),
    "around": lambda: AllowListMiddleware(Starlette(routes=[Route("/", plain)]), allow_lists=LISTS),
    "around, inside another": lambda: Wrapper(
        AllowListMiddleware(Starlette(routes=[Route("/", plain)]), allow_lists=LISTS)
    ),
    "around a router": lambda: AllowListMiddleware(Router([Route("/", plain)]), allow_lists=LISTS),
    "around what is opaque": lambda: AllowListMiddleware(opaque, allow_lists=LISTS),
    "in a router": lambda: Router([Route("/", plain)], middleware=[Middleware(AllowListMiddleware, allow_lists=LISTS)]),
    "in a mount": lambda: Starlette(
        routes=[
            Mount("/m", routes=[Route("/", plain)], middleware=[Middleware(AllowListMiddleware, allow_lists=LISTS)])
        ]
    ),
    "in a route": lambda: Starlette(
        routes=[Route("/", plain, middleware=[Middleware(AllowListMiddleware, allow_lists=LISTS)])]
    ),
    "in the route of a WebSocket": lambda: Starlette(
        routes=[WebSocketRoute("/", talk, middleware=[Middleware(AllowListMiddleware, allow_lists=LISTS)])]
    ),
    "in a mounted application": lambda: Starlette(routes=[Mount("/m", judged(Route("/", plain)))]),
}


@pytest.mark.parametrize("place", JUDGED)
@pytest.mark.anyio
async def test_it_is_seen_that_an_operation_is_judged(place: str) -> None:
    app = JUDGED[place]()
    (answer,) = operations(app)
    assert answer.is_judged
    if place == "added among others":
        app.user_middleware.pop(0)
    path = answer.path.replace("{path}", "")
    send = connect if answer.method == "WEBSOCKET" else call
    assert (await send(app, path, client=OUTSIDE, headers=basic("acme"))).status == 403
    assert operations(app) == [answer], "the same is told of an application that serves"


def test_it_is_seen_in_a_stack_that_keeps_it_elsewhere() -> None:
    class Dispatching(BaseHTTPMiddleware):
        def __init__(self, app: ASGIApp) -> None:
            super().__init__(AllowListMiddleware(app, allow_lists=LISTS))

    app = Starlette(routes=[Route("/", plain)], middleware=[Middleware(Dispatching)])
    assert [one.is_judged for one in operations(app)] == [False]
    app.middleware_stack = app.build_middleware_stack()
    assert [one.is_judged for one in operations(app)] == [True]


def test_a_function_that_makes_a_middleware_only_later_is_no_mistake() -> None:
    def make(app: ASGIApp) -> ASGIApp:
        raise RuntimeError("not started")

    assert [
        one.is_judged for one in operations(Starlette(routes=[Route("/", plain)], middleware=[Middleware(make)]))
    ] == [False]


@pytest.mark.anyio
async def test_a_middleware_around_another_application_in_the_stack_judges_nothing_here() -> None:
    class Beside(Wrapper):
        def __init__(self, app: ASGIApp) -> None:
            super().__init__(app)
            self.beside = AllowListMiddleware(Starlette(routes=[Route("/", plain)]), allow_lists=LISTS)

    app = Starlette(routes=[Route("/", ignoring)], middleware=[Middleware(Beside)])
    assert (await call(app, client=OUTSIDE, headers=basic("acme"))).status == 200
    assert [one.is_judged for one in operations(app)] == [False]


def test_the_strictest_of_several_is_what_holds() -> None:
    inner = judged(Route("/a", plain), Route("/b", ignoring))
    app = ignored(judged(Mount("/in", inner), Route("/out", plain)))
    found = {str(one): (one.respects, one.origin) for one in operations(app)}
    # What stands in the mounted application knows nothing of the annotation outside.
    assert found == {
        "GET /in/a": (True, "nobody"),
        "GET /in/b": (False, "endpoint"),
        "GET /out": (False, "application"),
    }


def test_annotations_are_read_as_they_are_now() -> None:
    async def endpoint(request: Request) -> None: ...

    app = judged(Route("/", endpoint))
    assert answers(app) == {"GET /": True}
    respects_allow_list(False)(endpoint)
    app.router.routes.append(Route("/more", respecting))
    assert answers(app) == {"GET /": False, "GET /more": True}
