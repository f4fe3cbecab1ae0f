"""What an application says when it starts, and when it does not; tried on real servers too."""

from __future__ import annotations

import contextlib
import http.client
import logging
import os
import signal
import subprocess
import sys
import textwrap
import traceback
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import pytest
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Host, Mount, Route, Router, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from allowlist_middleware import AllowListError, AllowListMiddleware, respects_allow_list
from allowlist_middleware.lifespan import run_lifespan
from tests.asgi import LISTS, OUTSIDE, applications, basic, call
from tests.programs import find_free_port, wait_for_port

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of what an old Starlette imports from a new AnyIO
    from starlette.testclient import TestClient

yes, no = respects_allow_list(True), respects_allow_list(False)


def unmarked() -> Any:
    async def endpoint(request: Request) -> Response:
        return PlainTextResponse("endpoint")

    return endpoint


def respecting() -> Any:
    return yes(unmarked())


def ignoring() -> Any:
    return no(unmarked())


async def opaque(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "http"
    await PlainTextResponse("opaque")(scope, receive, send)


async def socket(websocket: WebSocket) -> None: ...


class Endpoint(HTTPEndpoint):
    @yes
    async def get(self, request: Request) -> None: ...

    async def post(self, request: Request) -> None: ...


class Server:
    """Runs the lifespan of an application as a server does, and keeps what it is told."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.state: dict[str, Any] = {}
        self.exception: BaseException | None = None
        self.reads = 0

    async def run(self, app: ASGIApp) -> Server:
        shutdown = anyio.Event()

        async def receive() -> Message:
            self.reads += 1
            if self.reads == 1:
                return {"type": "lifespan.startup"}
            await shutdown.wait()
            return {"type": "lifespan.shutdown"}

        async def send(message: Message) -> None:
            self.sent.append(message)
            shutdown.set()  # a server that stops as soon as it has started

        with anyio.fail_after(10):
            try:
                await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": self.state}, receive, send)
            except Exception as exception:  # noqa: BLE001 - a server would log it
                self.exception = exception
        return self

    @property
    def types(self) -> list[str]:
        return [message["type"].removeprefix("lifespan.") for message in self.sent]

    @property
    def message(self) -> str:
        return str(self.sent[0].get("message", ""))


def judged(app: Any, **options: Any) -> Any:
    app.add_middleware(AllowListMiddleware, **{"allow_lists": LISTS, **options})
    return app


def fastapi_with(*routes: Callable[[Any], Any], **options: Any) -> Any:
    app = pytest.importorskip("fastapi").FastAPI(**options)
    for add in routes:
        add(app)
    return app


def including() -> Any:
    fastapi = pytest.importorskip("fastapi")
    router = yes(fastapi.APIRouter())
    router.get("/one")(unmarked())
    router.get("/two")(ignoring())
    outer = fastapi.APIRouter(prefix="/outer")
    outer.include_router(router, prefix="/inner")
    outer.post("/three")(unmarked())
    app = fastapi.FastAPI()
    app.include_router(outer)
    return app


def with_cors(app: Any) -> Any:
    app.add_middleware(CORSMiddleware, allow_origins=["*"])
    return app


CORS_INSIDE = (
    "; CORSMiddleware stands inside, so refusals lack its headers: add it after AllowListMiddleware, which puts it "
    "outside"
)
CORS = Middleware(CORSMiddleware, allow_origins=["*"])
ONE = "enforcing; trusted proxies: none; operations: 1 respect the allow list, 0 ignore it, 0 are not annotated"


def counted(respecting: int, ignoring: int, not_annotated: int) -> str:
    return (
        f"enforcing; trusted proxies: none; operations: {respecting} respect the allow list, {ignoring} ignore it, "
        f"{not_annotated} are not annotated"
    )


def routed(*routes: Any, **options: Any) -> Starlette:
    return Starlette(routes=routes, **options)


# What makes the application, and the line it starts with.
LINES: dict[str, tuple[Callable[[], ASGIApp], int, str]] = {
    "nothing": (lambda: judged(Starlette()), logging.INFO, counted(0, 0, 0)),
    "all annotated": (
        lambda: judged(routed(Route("/a", respecting()), Route("/b", ignoring(), methods=["POST", "PUT"]))),
        logging.INFO,
        counted(1, 2, 0),
    ),
    "some not": (
        lambda: judged(routed(Route("/a", respecting()), Route("/b/{id:int}", unmarked(), methods=["POST"]))),
        logging.WARNING,
        counted(1, 0, 1) + "; not annotated: POST /b/{id}",
    ),
    "many not": (
        lambda: judged(routed(*(Route(f"/{number}", unmarked()) for number in range(25)))),
        logging.WARNING,
        counted(0, 0, 25) + f"; not annotated: {', '.join(f'GET /{number}' for number in range(20))}, and 5 more",
    ),
    "report only": (
        lambda: judged(routed(Route("/a", respecting())), report_only=True),
        logging.WARNING,
        ONE.replace("enforcing", "report only") + "; every call is let through, remove report_only=True to enforce",
    ),
    "proxies": (
        lambda: judged(
            routed(Route("/a", respecting())), trusted_proxies=["10.0.0.0/8", "unix:"], forwarded_header="X-Real-IP"
        ),
        logging.INFO,
        ONE.replace("proxies: none", "proxies: 10.0.0.0/8, unix: by X-Real-IP"),
    ),
    "the routes of FastAPI's documentation": (
        lambda: judged(fastapi_with(lambda app: app.get("/a")(respecting()))),
        logging.INFO,
        ONE,
    ),
    "the documentation, annotated": (
        lambda: judged(yes(fastapi_with(lambda app: app.get("/a")(ignoring())))),
        logging.INFO,
        counted(4, 1, 0),
    ),
    "included routers": (
        lambda: judged(including()),
        logging.WARNING,
        counted(1, 1, 1) + "; not annotated: POST /outer/three",
    ),
    "mounts and hosts": (
        lambda: judged(
            routed(
                Mount("/m", routes=[Route("/a", respecting()), Mount("/n", no(routed(Route("/b", unmarked()))))]),
                Host("api.example", routed(Route("/c", unmarked()))),
            )
        ),
        logging.WARNING,
        counted(1, 1, 1) + "; not annotated: GET /c",
    ),
    "a class and WebSockets": (
        lambda: judged(routed(Route("/a", Endpoint), WebSocketRoute("/b", socket))),
        logging.WARNING,
        counted(1, 0, 2) + "; not annotated: POST /a, WEBSOCKET /b",
    ),
    "an opaque mount": (
        lambda: judged(routed(Mount("/o", opaque))),
        logging.WARNING,
        counted(0, 0, 1) + "; not annotated: * /o/{path}; cannot be looked into: * /o/{path}",
    ),
    "an annotated opaque mount": (
        lambda: judged(routed(no(Mount("/o", opaque)))),
        logging.WARNING,
        counted(0, 1, 0) + "; cannot be looked into: * /o/{path}",
    ),
    "an opaque application": (
        lambda: AllowListMiddleware(opaque, allow_lists=LISTS),
        logging.WARNING,
        counted(0, 0, 1) + "; not annotated: * /{path}; cannot be looked into: * /{path}",
    ),
    "a router": (
        lambda: AllowListMiddleware(Router([Route("/a", respecting())]), allow_lists=LISTS),
        logging.INFO,
        ONE,
    ),
    "the middleware of a router": (
        lambda: Router([Route("/a", respecting())], middleware=[Middleware(AllowListMiddleware, allow_lists=LISTS)]),
        logging.INFO,
        ONE,
    ),
    "other middleware inside": (
        lambda: judged(routed(Route("/a", respecting()), middleware=[Middleware(GZipMiddleware)])),
        logging.INFO,
        ONE,
    ),
    "CORS outside": (lambda: with_cors(judged(routed(Route("/a", respecting())))), logging.INFO, ONE),
    "CORS inside": (
        lambda: judged(with_cors(routed(Route("/a", respecting())))),
        logging.WARNING,
        ONE + CORS_INSIDE,
    ),
    "CORS inside other middleware": (
        lambda: judged(routed(Route("/a", respecting()), middleware=[Middleware(GZipMiddleware), CORS])),
        logging.WARNING,
        ONE + CORS_INSIDE,
    ),
    "CORS in a wrapped application": (
        lambda: AllowListMiddleware(with_cors(routed(Route("/a", respecting()))), allow_lists=LISTS),
        logging.WARNING,
        ONE + CORS_INSIDE,
    ),
    "CORS in a mounted application": (
        lambda: judged(routed(Mount("/m", with_cors(routed(Route("/a", respecting())))))),
        logging.WARNING,
        ONE + CORS_INSIDE,
    ),
    "CORS around a router": (
        lambda: AllowListMiddleware(Router([Route("/a", respecting())], middleware=[CORS]), allow_lists=LISTS),
        logging.WARNING,
        ONE + CORS_INSIDE,
    ),
    "CORS around a route": (
        lambda: judged(routed(Route("/a", respecting(), middleware=[CORS]))),
        logging.WARNING,
        ONE + CORS_INSIDE,
    ),
}


def summaries(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    return [(record.levelno, record.getMessage()) for record in caplog.records if "operations: " in record.getMessage()]


@pytest.mark.anyio
@pytest.mark.parametrize("name", LINES)
async def test_one_line_says_how_the_application_is_protected(name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "allowlist_middleware")
    make, level, line = LINES[name]
    server = await Server().run(make())
    assert summaries(caplog) == [(level, line)]
    assert server.types == (["startup.complete", "shutdown.complete"] if "opaque application" not in name else [])


@pytest.mark.anyio
@pytest.mark.parametrize("name", LINES)
async def test_where_no_lifespan_arrives_the_first_call_says_it_once(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "allowlist_middleware")
    make, level, line = LINES[name]
    app = make()
    for _ in range(3):
        await call(app, "/nowhere")
    assert summaries(caplog) == [(level, line)]


@pytest.mark.anyio
async def test_after_a_start_the_first_call_says_nothing_more(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "allowlist_middleware")
    app = judged(routed(Route("/a", respecting())))
    await Server().run(app)
    await call(app, "/a", headers=basic("acme"))
    assert len(summaries(caplog)) == 1


@pytest.mark.anyio
async def test_each_of_two_instances_says_its_own(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "allowlist_middleware")
    app = judged(judged(routed(Route("/a", respecting()))), report_only=True)
    await Server().run(app)
    assert sorted(line.partition(";")[0] for _, line in summaries(caplog)) == ["enforcing", "report only"]


# --- require_annotations

MANY = (
    "; write @respects_allow_list(True) or @respects_allow_list(False) on each, or on their router, mount or "
    "application"
)


def requiring(app: Any) -> Any:
    return judged(app, require_annotations=True)


NOT_ANNOTATED: dict[str, tuple[Callable[[], ASGIApp], str]] = {
    "one": (lambda: requiring(routed(Route("/a", unmarked()))), "1 operation is not annotated: GET /a"),
    "several": (
        lambda: requiring(routed(Route("/a", unmarked(), methods=["GET", "POST"]), WebSocketRoute("/b", socket))),
        "3 operations are not annotated: GET /a, POST /a, WEBSOCKET /b",
    ),
    "all of many": (
        lambda: requiring(routed(*(Route(f"/{number}", unmarked()) for number in range(25)))),
        f"25 operations are not annotated: {', '.join(f'GET /{number}' for number in range(25))}",
    ),
    "a method of a class": (lambda: requiring(routed(Route("/a", Endpoint))), "1 operation is not annotated: POST /a"),
    "an included operation": (lambda: requiring(including()), "1 operation is not annotated: POST /outer/three"),
    "an opaque mount": (
        lambda: requiring(routed(Mount("/static", opaque))),
        "1 operation is not annotated: * /static/{path}",
    ),
    "an application without a lifespan": (
        lambda: AllowListMiddleware(opaque, allow_lists=LISTS, require_annotations=True),
        "1 operation is not annotated: * /{path}",
    ),
    "a router": (
        lambda: AllowListMiddleware(Router([Route("/a", unmarked())]), allow_lists=LISTS, require_annotations=True),
        "1 operation is not annotated: GET /a",
    ),
    "the outer of two": (
        lambda: requiring(judged(routed(Route("/a", unmarked())))),
        "1 operation is not annotated: GET /a",
    ),
    "the inner of two": (
        lambda: judged(requiring(routed(Route("/a", unmarked())))),
        "1 operation is not annotated: GET /a",
    ),
    "report only": (
        lambda: judged(routed(Route("/a", unmarked())), require_annotations=True, report_only=True),
        "1 operation is not annotated: GET /a",
    ),
}


@pytest.mark.anyio
@pytest.mark.parametrize("name", NOT_ANNOTATED)
async def test_an_application_with_an_operation_nobody_annotated_does_not_start(name: str) -> None:
    make, message = NOT_ANNOTATED[name]
    server = await Server().run(make())
    assert server.sent == [{"type": "lifespan.startup.failed", "message": f"require_annotations: {message}{MANY}"}]
    assert server.exception is None
    assert server.reads == 1


@pytest.mark.anyio
@pytest.mark.parametrize("name", NOT_ANNOTATED)
async def test_without_a_lifespan_every_call_fails_with_the_same_message(name: str) -> None:
    make, message = NOT_ANNOTATED[name]
    app = make()
    for _ in range(2):
        answer = await call(app, "/a", headers=basic("acme"))
        assert isinstance(answer.exception, AllowListError)
        assert str(answer.exception) == f"require_annotations: {message}{MANY}"
        assert answer.body in (b"", b"Internal Server Error")


@pytest.mark.anyio
@pytest.mark.parametrize(
    "make",
    [
        lambda: requiring(routed(Route("/a", respecting()), Route("/b", ignoring()))),
        lambda: requiring(fastapi_with(lambda app: app.get("/a")(respecting()))),
        lambda: requiring(fastapi_with(openapi_url="/schema", docs_url="/d", redoc_url=None)),
        lambda: requiring(yes(including())),
        lambda: requiring(routed(no(Mount("/static", opaque)))),
        lambda: requiring(routed(Mount("/api", fastapi_with(lambda app: app.get("/a")(ignoring()))))),
        lambda: AllowListMiddleware(yes(routed(Route("/a", unmarked()))), allow_lists=LISTS, require_annotations=True),
    ],
)
async def test_where_all_is_annotated_it_starts(make: Callable[[], ASGIApp]) -> None:
    server = await Server().run(make())
    assert server.types == ["startup.complete", "shutdown.complete"]


@pytest.mark.anyio
async def test_an_operation_that_was_annotated_meanwhile_lets_the_calls_through() -> None:
    endpoint = unmarked()
    app = requiring(routed(Route("/a", endpoint)))
    assert isinstance((await call(app, "/a")).exception, AllowListError)
    no(endpoint)
    assert (await call(app, "/a")).status == 200


def test_a_client_for_tests_fails_with_the_message() -> None:
    app = requiring(routed(Route("/a", unmarked())))
    client = TestClient(app, client=("192.0.2.1", 1))
    with pytest.raises(AllowListError, match="1 operation is not annotated: GET /a"):
        client.get("/a")


# --- the application's own lifespan


class Own(NamedTuple):
    """A lifespan of the application's own, and what it did."""

    did: list[str]

    @asynccontextmanager
    async def run(self, app: Any) -> AsyncIterator[dict[str, Any]]:
        self.did.append("started")
        yield {"pool": "of connections"}
        self.did.append("stopped")


@pytest.mark.anyio
@pytest.mark.parametrize("kind", applications())
async def test_its_own_lifespan_runs_around_a_start_and_its_state_arrives(kind: type[Starlette]) -> None:
    own = Own([])
    server = await Server().run(judged(kind(routes=[Route("/a", respecting())], lifespan=own.run)))
    assert server.types == ["startup.complete", "shutdown.complete"]
    assert (own.did, server.state, server.reads) == (["started", "stopped"], {"pool": "of connections"}, 2)


@pytest.mark.anyio
@pytest.mark.parametrize("kind", applications())
async def test_after_a_refused_start_it_is_shut_down(kind: type[Starlette]) -> None:
    own = Own([])
    app = kind(lifespan=own.run)
    app.router.routes.append(Route("/a", unmarked()))
    server = await Server().run(requiring(app))
    assert server.types == ["startup.failed"]
    assert (own.did, server.reads, server.exception) == (["started", "stopped"], 1, None)


@pytest.mark.anyio
async def test_a_start_that_fails_by_itself_fails_as_before() -> None:
    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        raise ConnectionError("no database")
        yield

    for app in (judged(routed(lifespan=lifespan)), requiring(routed(Route("/a", unmarked()), lifespan=lifespan))):
        server = await Server().run(app)
        assert server.types == ["startup.failed"]
        assert "no database" in server.message
        assert isinstance(server.exception, ConnectionError)


@pytest.mark.anyio
@pytest.mark.parametrize("refused", [False, True])
async def test_a_shutdown_that_fails_fails_as_before(refused: bool) -> None:
    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        yield
        raise ConnectionError("no database")

    app = routed(Route("/a", unmarked()), lifespan=lifespan)
    server = await Server().run(requiring(app) if refused else judged(app))
    assert server.types == (["startup.failed"] if refused else ["startup.complete", "shutdown.failed"])
    assert isinstance(server.exception, ConnectionError)
    assert ("no database" in str(server.sent[-1])) is not refused


async def raises_at_once(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("only HTTP")


async def raises_later(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    raise KeyError("method")


async def returns_at_once(scope: Scope, receive: Receive, send: Send) -> None:
    """Know nothing of a lifespan."""


async def returns_later(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()


async def never_ends(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})
    await send({"type": "lifespan.shutdown.complete"})


@pytest.mark.anyio
@pytest.mark.parametrize("app", [raises_at_once, raises_later, returns_at_once, returns_later])
async def test_an_application_without_a_lifespan_behaves_as_before(app: ASGIApp) -> None:
    alone = await Server().run(app)
    wrapped = await Server().run(AllowListMiddleware(app, allow_lists=LISTS))
    assert (wrapped.sent, wrapped.reads, repr(wrapped.exception)) == (alone.sent, alone.reads, repr(alone.exception))


@pytest.mark.anyio
@pytest.mark.parametrize("app", [raises_at_once, raises_later, returns_at_once, returns_later, never_ends])
async def test_an_application_without_a_lifespan_is_refused_all_the_same(app: ASGIApp) -> None:
    server = await Server().run(AllowListMiddleware(app, allow_lists=LISTS, require_annotations=True))
    assert (server.types, server.reads, server.exception) == (["startup.failed"], 1, None)


@pytest.mark.anyio
async def test_what_stops_the_program_is_not_taken_for_a_missing_lifespan() -> None:
    class StoppedError(BaseException):
        """As SystemExit."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise StoppedError

    with pytest.raises(StoppedError):
        await Server().run(AllowListMiddleware(app, allow_lists=LISTS, require_annotations=True))


@pytest.mark.anyio
async def test_a_survey_that_fails_refuses_the_start_with_its_trace() -> None:
    class Odd(list[Any]):
        def __iter__(self) -> Any:
            raise RuntimeError("these routes cannot be read")

    app = Starlette()
    app.router.routes = Odd()
    server = await Server().run(judged(app))
    assert server.types == ["startup.failed"]
    assert "these routes cannot be read" in server.message


@pytest.mark.anyio
async def test_a_lifespan_may_be_run_again() -> None:
    answers = iter(["not yet", ""])
    for types in (["startup.failed"], ["startup.complete", "shutdown.complete"]):
        server = Server()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await run_lifespan(Starlette(), scope, receive, send, lambda: next(answers))

        assert (await server.run(app)).types == types


# --- a mistake in the options, met while the server starts the application

MISTAKES: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "a bad entry": (
        {"allow_lists": {"acme": ["10.0.0.1/8"]}},
        AllowListError,
        "client 'acme': '10.0.0.1/8' has host bits set; write '10.0.0.0/8' or '10.0.0.1/32'",
    ),
    "a value of the wrong type": (
        {"allow_lists": {}, "report_only": "false"},
        TypeError,
        "report_only: 'false' is neither True nor False; write one of the two",
    ),
    "an unknown option": (
        {"allow_lists": {}, "realm": "api"},
        TypeError,
        "AllowListMiddleware.__init__() got an unexpected keyword argument 'realm'",
    ),
    "a missing option": (
        {},
        TypeError,
        "AllowListMiddleware.__init__() missing 1 required keyword-only argument: 'allow_lists'",
    ),
}


@pytest.mark.anyio
@pytest.mark.parametrize("kind", applications())
@pytest.mark.parametrize("name", MISTAKES)
async def test_a_mistake_refuses_the_start_of_the_application(name: str, kind: type[Starlette]) -> None:
    options, error, message = MISTAKES[name]
    own = Own([])
    app: Any = with_cors(kind(lifespan=own.run))
    app.add_middleware(AllowListMiddleware, **options)
    with_cors(app)
    server = await Server().run(app)
    assert server.sent == [{"type": "lifespan.startup.failed", "message": f"{error.__name__}: {message}"}]
    assert (type(server.exception), str(server.exception), own.did) == (error, message, [])
    assert server.exception is not None
    for _ in range(50):
        answer = await call(app, "/a")
        assert (type(answer.exception), str(answer.exception)) == (error, message)
        assert len(traceback.extract_tb(server.exception.__traceback__)) < 30


@pytest.mark.anyio
@pytest.mark.parametrize("name", MISTAKES)
async def test_where_no_lifespan_arrives_a_mistake_raises_at_every_call(name: str) -> None:
    options, error, message = MISTAKES[name]
    app: Any = Starlette()
    app.add_middleware(AllowListMiddleware, **options)
    for _ in range(2):
        with pytest.raises(error) as caught:
            await app({"type": "http"}, None, None)
        assert str(caught.value) == message


@pytest.mark.parametrize("name", MISTAKES)
def test_a_client_for_tests_fails_with_the_mistake(name: str) -> None:
    options, error, _ = MISTAKES[name]
    app: Any = Starlette()
    app.add_middleware(AllowListMiddleware, **options)
    client = TestClient(app)
    with pytest.raises(error):
        client.__enter__()


@pytest.mark.anyio
@pytest.mark.parametrize("name", MISTAKES)
async def test_a_mistake_in_the_middle_of_a_lifespan_that_is_not_the_reason_raises_there(name: str) -> None:
    options, error, _ = MISTAKES[name]
    raised: list[type[Exception]] = []

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        anything: Any = AllowListMiddleware
        try:
            anything(app, **options)
        except error as mistake:
            raised.append(type(mistake))
        yield

    await Server().run(Starlette(lifespan=lifespan))
    assert raised == [error]


def test_a_subclass_with_another_metaclass_of_its_own_kind_can_be_made() -> None:
    class Mixin(contextlib.AbstractContextManager[None]):
        def __exit__(self, *_: object) -> None:
            """Do nothing."""

    class Sub(AllowListMiddleware, Mixin):
        """Both have a metaclass."""

    assert isinstance(Sub(opaque, allow_lists=LISTS), AllowListMiddleware)


# --- real servers

APPLICATION = """
    from contextlib import asynccontextmanager
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.responses import PlainTextResponse
    from starlette.routing import Mount, Route, Router
    from allowlist_middleware import *

    @asynccontextmanager
    async def lifespan(app):
        print("started", flush=True)
        yield
        print("stopped", flush=True)

    async def endpoint(request):
        return PlainTextResponse("reached")

    async def unmarked(request):
        return PlainTextResponse("unmarked")

    async def raw(scope, receive, send):
        assert scope["type"] == "http"
        await PlainTextResponse("reached")(scope, receive, send)

    lists = {"local": ["127.0.0.0/8"], "acme": ["192.0.2.0/24"]}
    annotated = [Route("/entity", respects_allow_list(True)(endpoint))]
"""
REFUSED: dict[str, tuple[str, str, bool]] = {
    "require_annotations": (
        """
        app = Starlette(routes=[Route("/entity", unmarked)], lifespan=lifespan)
        app.add_middleware(AllowListMiddleware, allow_lists=lists, require_annotations=True)
        """,
        "ERROR:    require_annotations: 1 operation is not annotated: GET /entity; write",
        True,
    ),
    "require_annotations on FastAPI": (
        """
        from fastapi import FastAPI
        app = FastAPI(lifespan=lifespan)
        app.get("/entity")(lambda: None)
        app.add_middleware(AllowListMiddleware, allow_lists=lists, require_annotations=True)
        """,
        "ERROR:    require_annotations: 1 operation is not annotated: GET /entity; write",
        True,
    ),
    "require_annotations around an application without a lifespan": (
        "app = AllowListMiddleware(raw, allow_lists=lists, require_annotations=True)",
        "ERROR:    require_annotations: 1 operation is not annotated: * /{path}; write",
        False,
    ),
    "a bad entry": (
        """
        app = Starlette(lifespan=lifespan)
        app.add_middleware(AllowListMiddleware, allow_lists={"acme": ["10.0.0.1/8"]})
        """,
        "ERROR:    AllowListError: client 'acme': '10.0.0.1/8' has host bits set; write",
        False,
    ),
    "an option in the middleware of the application": (
        """
        app = Starlette(lifespan=lifespan, middleware=[Middleware(AllowListMiddleware, allow_lists=None)])
        """,
        "ERROR:    TypeError: allow_lists: None is neither a mapping nor a source; write",
        False,
    ),
    "an unknown option": (
        """
        app = Starlette(lifespan=lifespan)
        app.add_middleware(AllowListMiddleware, allow_lists=lists, realm=5)
        """,
        "ERROR:    TypeError: AllowListMiddleware.__init__() got an unexpected keyword argument 'realm'",
        False,
    ),
    "lists that are written beforehand": (
        'app = AllowListMiddleware(raw, allow_lists=AllowLists({"acme": None}))',
        "TypeError: client 'acme': None is ambiguous; write ANYWHERE or []",
        False,
    ),
    "a mistake in the middleware of a mount": (
        """
        mount = Mount("/m", routes=annotated, middleware=[Middleware(AllowListMiddleware, allow_lists=5)])
        app = Starlette(routes=[mount])
        """,
        "TypeError: allow_lists: 5 is neither a mapping nor a source; write",
        False,
    ),
}


def command(directory: Path, code: str, *options: str) -> tuple[list[str], dict[str, str]]:
    (directory / "served.py").write_text(textwrap.dedent(APPLICATION) + textwrap.dedent(code))
    paths = (str(directory), os.environ.get("PYTHONPATH", ""))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONUNBUFFERED": "1"}
    return [sys.executable, "-m", "uvicorn", "served:app", "--no-proxy-headers", *options], environment


@pytest.mark.parametrize("lifespan", ["auto", "on"])
@pytest.mark.parametrize("name", REFUSED)
def test_uvicorn_exits_with_the_message(name: str, lifespan: str, tmp_path: Path) -> None:
    if "FastAPI" in name:
        pytest.importorskip("fastapi")
    code, message, had_started = REFUSED[name]
    arguments, environment = command(tmp_path, code, "--lifespan", lifespan, "--port", str(find_free_port()))
    run = subprocess.run(
        arguments, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode not in (0, None), run.stderr
    assert message in run.stderr
    assert "Uvicorn running" not in run.stderr
    assert run.stdout == ("started\nstopped\n" if had_started else "")


class Running(NamedTuple):
    """A server that runs, and what it has said until it was stopped."""

    port: int
    said: list[str]

    def get(self, path: str, client_id: str | None) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("GET", path, headers=dict(basic(client_id)))
        response = connection.getresponse()
        status, body = response.status, response.read().decode()
        connection.close()
        return status, body


@contextmanager
def serving(directory: Path, code: str, *options: str) -> Iterator[Running]:
    port = find_free_port()
    arguments, environment = command(directory, code, "--port", str(port), *options)
    with (directory / "log").open("w+") as log:
        process = subprocess.Popen(arguments, env=environment, cwd=directory, stdout=log, stderr=log)
        running = Running(port, [])
        try:
            wait_for_port(port)
            yield running
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)
            log.seek(0)
            running.said.extend(log.read().splitlines())


SERVED = """
    app = Starlette(routes=annotated, lifespan=lifespan)
    app.add_middleware(AllowListMiddleware, allow_lists=lists, require_annotations=True, report_only={report_only})
"""


@pytest.mark.parametrize("report_only", [False, True])
def test_uvicorn_serves_what_may_start(report_only: bool, tmp_path: Path) -> None:
    with serving(tmp_path, SERVED.format(report_only=report_only)) as server:
        assert server.get("/entity", "local") == (200, "reached")
        status, body = server.get("/entity", "acme")
        assert (status, body == "reached") == ((200, True) if report_only else (403, False))
        assert server.get("/entity", None)[0] == (200 if report_only else 401)
    assert {"started", "stopped"} <= {*server.said}
    lines = [line for line in server.said if " operations: " in line]
    assert [line.partition(";")[0] for line in lines] == (["report only"] if report_only else [])  # INFO is not shown
    assert any(
        "403 not_on_list client='acme' address=127.0.0.1 GET /entity request_id=" in line for line in server.said
    )


def test_where_uvicorn_is_told_to_run_no_lifespan_every_call_says_why_it_fails(tmp_path: Path) -> None:
    code, *_ = REFUSED["require_annotations"]
    with serving(tmp_path, code, "--lifespan", "off") as server:
        assert server.get("/entity", "local") == (500, "Internal Server Error")
    assert any("require_annotations: 1 operation is not annotated: GET /entity" in line for line in server.said)


@pytest.mark.parametrize("options", [(), ("--forwarded-allow-ips", "*")])
def test_uvicorn_that_rewrites_the_peer_is_warned_of(options: tuple[str, ...], tmp_path: Path) -> None:
    with serving(tmp_path, SERVED.format(report_only=False), "--proxy-headers", *options) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        headers = {**dict(basic("acme")), "X-Forwarded-For": "192.0.2.1"}
        connection.request("GET", "/entity", headers=headers)
        assert connection.getresponse().status == 200  # forged: that is why it is warned of
        connection.close()
    assert sum("run uvicorn with --no-proxy-headers" in line for line in server.said) == 1


@pytest.mark.anyio
async def test_a_mounted_application_checks_at_its_first_call(caplog: pytest.LogCaptureFixture) -> None:
    inner = requiring(routed(Route("/a", unmarked())))
    outer = routed(Mount("/inner", inner), Route("/b", unmarked()))
    assert (await Server().run(outer)).types == ["startup.complete", "shutdown.complete"]
    assert (await call(outer, "/b")).status == 200
    assert isinstance((await call(outer, "/inner/a", client=OUTSIDE)).exception, AllowListError)
