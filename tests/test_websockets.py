"""A WebSocket is judged once, at its handshake, and refused before it is accepted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from starlette.applications import Starlette
from starlette.endpoints import WebSocketEndpoint
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Host, Mount, Route, Router, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from allowlist_middleware import AllowListMiddleware, AllowLists, Decision, Reason
from tests.asgi import INSIDE, LISTS, OUTSIDE, Answer, Recorder, applications, basic, call, connect
from tests.test_second_judgement import HANDS, Hand, PlainClass, Rewrite, function
from tests.test_topologies import (
    IGNORES,
    NO_CLIENT,
    NOTHING,
    ON_LIST,
    REQUIRED,
    RESPECTS,
    UNANNOTATED,
    UNKNOWN_CLIENT,
    WRONG_ADDRESS,
    AppClass,
    Caller,
    Outcomes,
    Wrapper,
    closure,
    judged,
    no,
    optional,
    yes,
)

pytestmark = pytest.mark.anyio

CLOSED_BY_THE_FRAMEWORK = 1000
OFFERED: dict[str, Any] = {"websocket.http.response": {}}
NOT_OFFERED: dict[str, Any] = {}


def socket(ran: Recorder, name: str) -> Any:
    async def socket(websocket: WebSocket) -> None:
        ran.ran.append(name)
        await websocket.accept()
        await websocket.close()

    return socket


def sockets(ran: Recorder, **methods: Any) -> type[WebSocketEndpoint]:
    """Return a class endpoint some of whose methods are annotated."""

    class Sockets(WebSocketEndpoint):
        async def on_connect(self, websocket: WebSocket) -> None:
            ran.ran.append("class")
            await websocket.accept()

        async def on_receive(self, websocket: WebSocket, data: Any) -> None:
            """Get nothing: no caller says more than that it connects, and leaves."""

        async def on_disconnect(self, websocket: WebSocket, close_code: int) -> None:
            assert close_code

    for name, mark in methods.items():
        mark(vars(Sockets)[name])
    return Sockets


def build(app: AppClass, ran: Recorder) -> Starlette:
    class Inherits(sockets(ran, on_connect=yes)):  # type: ignore[misc]
        async def on_connect(self, websocket: WebSocket) -> None:
            ran.ran.append("inherits")
            await websocket.accept()

    inner = [WebSocketRoute("/plain", socket(ran, "plain")), WebSocketRoute("/free", no(socket(ran, "free")))]
    return app(
        routes=[
            WebSocketRoute("/required", yes(socket(ran, "required"))),
            WebSocketRoute("/optional", optional(socket(ran, "optional"))),
            WebSocketRoute("/free", no(socket(ran, "free"))),
            WebSocketRoute("/plain", socket(ran, "plain")),
            yes(WebSocketRoute("/route/{id:int}", socket(ran, "route"))),
            WebSocketRoute("/class", no(sockets(ran))),
            WebSocketRoute("/mixed", sockets(ran, on_connect=no, on_receive=yes)),
            WebSocketRoute("/inherits", Inherits),
            Route("/both", yes(ran.endpoint("http"))),
            WebSocketRoute("/both", no(socket(ran, "both"))),
            Route("/http", yes(ran.endpoint("http"))),
            yes(Mount("/mount", app=app(routes=inner))),
            yes(Mount("/wrapped", app=Wrapper(Router(routes=inner)))),
            no(Mount("/closure", app=closure(Router(routes=inner)))),
            Host("ws.example", yes(Router(routes=[WebSocketRoute("/host", socket(ran, "host"))]))),
            WebSocketRoute("/middleware", yes(socket(ran, "middleware")), middleware=[Middleware(Wrapper)]),
        ]
    )


class Row(NamedTuple):
    path: str
    rule: Outcomes
    ran: str | None = None
    host: str = "api.example"


ROWS = [
    Row("/required", REQUIRED, "required"),
    Row("/required\n", REQUIRED, "required"),
    Row("/optional", RESPECTS, "optional"),
    Row("/free", IGNORES, "free"),
    Row("/plain", UNANNOTATED, "plain"),
    Row("/route/7", REQUIRED, "route"),
    Row("/route/x", NOTHING),
    Row("/class", IGNORES, "class"),
    Row("/mixed", REQUIRED, "class"),  # the strictest of what the class will do
    Row("/inherits", REQUIRED, "inherits"),
    Row("/both", IGNORES, "both"),
    Row("/http", NOTHING),
    Row("/free/", NOTHING),
    Row("/mount/plain", REQUIRED, "plain"),
    Row("/mount/free", IGNORES, "free"),
    Row("/mount/none", NOTHING),
    Row("/wrapped/plain", REQUIRED, "plain"),
    Row("/wrapped/free", IGNORES, "free"),
    Row("/closure/plain", IGNORES, "plain"),
    Row("/host", REQUIRED, "host", "ws.example"),
    Row("/host", NOTHING),
    Row("/middleware", REQUIRED, "middleware"),
]


async def check(app: ASGIApp, ran: Recorder, row: Row) -> None:
    for (client_id, peer), (reason, refusal) in row.rule.items():
        headers = [("host", row.host), *basic(client_id)]
        for extensions, refused in ((OFFERED, refusal), (NOT_OFFERED, 1008)):
            ran.ran.clear()
            answer = await connect(app, row.path, client=peer, headers=headers, extensions=extensions)
            assert answer.decision.reason is reason
            assert answer.decision.method == "WEBSOCKET"
            if refusal is None:
                assert (answer.status, ran.ran) == ((101, [row.ran]) if row.ran else (CLOSED_BY_THE_FRAMEWORK, []))
            else:
                check_refused(answer, refused)
                assert (ran.ran, answer.reads) == ([], 0)


def check_refused(answer: Answer, status: int | None) -> None:
    """Assert that the refusal is all there is, in the form the server offers."""
    assert (answer.status, answer.exception) == (status, None)
    if status == 1008:
        assert answer.messages == [{"type": "websocket.close", "code": 1008, "reason": ""}]
    else:
        assert answer.types == ["websocket.http.response.start", "websocket.http.response.body"]
        assert answer.json["code"] == status
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("app", applications())
@pytest.mark.parametrize("row", ROWS, ids=lambda row: repr(row.path))
async def test_the_nearest_annotation_rules_a_handshake(app: AppClass, row: Row) -> None:
    ran = Recorder()
    await check(judged(build(app, ran)), ran, row)


async def test_fastapi_routes_are_judged_with_the_routers_around_them() -> None:
    fastapi = pytest.importorskip("fastapi")
    ran, app = Recorder(), fastapi.FastAPI()
    router = yes(fastapi.APIRouter(prefix="/v1"))
    router.websocket("/plain")(socket(ran, "plain"))
    router.websocket("/free/{id}")(no(socket(ran, "free")))
    router.websocket_route("/starlette")(socket(ran, "starlette"))
    app.include_router(router, prefix="/api")
    app.websocket("/own")(yes(socket(ran, "own")))
    judged(app)
    for row in (
        Row("/api/v1/plain", REQUIRED, "plain"),
        Row("/api/v1/free/7", IGNORES, "free"),
        Row("/api/starlette", REQUIRED, "starlette"),
        Row("/own", REQUIRED, "own"),
        Row("/v1/plain", NOTHING),
    ):
        await check(app, ran, row)


async def test_http_and_websocket_on_one_path_are_two_operations() -> None:
    ran = Recorder()
    app = judged(build(Starlette, ran))
    assert (await call(app, "/both", client=OUTSIDE, headers=basic("acme"))).status == 403
    assert (await connect(app, "/both", client=OUTSIDE, headers=basic("acme"))).status == 101


async def test_an_open_websocket_is_not_judged_again() -> None:
    lists = AllowLists(LISTS)

    async def endless(websocket: WebSocket) -> None:
        await websocket.accept()
        del lists["acme"]
        await websocket.send_text("still here")

    app = Starlette(routes=[WebSocketRoute("/", yes(endless))])
    app.add_middleware(AllowListMiddleware, allow_lists=lists)
    answer = await connect(app, "/", headers=basic("acme"))
    assert answer.messages[-1]["text"] == "still here"
    assert (await connect(app, "/", headers=basic("acme"))).status == 403


async def test_a_denial_of_ones_own_answers_a_handshake_where_the_server_offers_it() -> None:
    def denial(decision: Decision) -> PlainTextResponse:
        return PlainTextResponse("no", 418)

    app = judged(Starlette(routes=[WebSocketRoute("/", yes(socket(Recorder(), "x")))]), denial=denial)
    offered = await connect(app, "/")
    assert (offered.status, offered.body, offered.headers["cache-control"]) == (418, b"no", "no-store")
    check_refused(await connect(app, "/", extensions={}), 1008)


async def test_report_only_accepts_and_reports() -> None:
    ran, decisions = Recorder(), list[Decision]()
    app = judged(
        Starlette(routes=[WebSocketRoute("/", yes(socket(ran, "x")))]), report_only=True, on_decision=decisions.append
    )
    assert (await connect(app, "/")).status == 101
    assert [(one.allowed, one.reason, one.method) for one in decisions] == [(False, Reason.NO_CLIENT, "WEBSOCKET")]


# --- The second judgement ---------------------------------------------------------------------------------------------


async def leak_nothing(websocket: WebSocket) -> None:
    await websocket.accept()


async def leak_subprotocol(websocket: WebSocket) -> None:
    await websocket.accept(subprotocol="secret", headers=[(b"x-secret", b"1")])


async def leak_close(websocket: WebSocket) -> None:
    await websocket.close(4000, "secret")


async def leak_denial(websocket: WebSocket) -> None:
    await websocket.send_denial_response(PlainTextResponse("secret"))


async def leak_exception(websocket: WebSocket) -> None:
    raise RuntimeError("secret")


async def leak_handled_exception(websocket: WebSocket) -> None:
    raise HTTPException(418, "secret")


LEAKS = [leak_nothing, leak_subprotocol, leak_close, leak_denial, leak_exception, leak_handled_exception]
REFUSALS: dict[Caller, int] = {WRONG_ADDRESS: 403, UNKNOWN_CLIENT: 403, NO_CLIENT: 401}


def to(scope: Scope) -> None:
    scope["path"] = "/to/"


def of_the_application(inner: Starlette, middle: Callable[[ASGIApp], ASGIApp]) -> ASGIApp:
    inner.add_middleware(middle)
    return judged(inner)


def of_a_mount(inner: Starlette, middle: Callable[[ASGIApp], ASGIApp]) -> ASGIApp:
    return judged(Starlette(routes=[Mount("", inner, middleware=[Middleware(middle)])]))


def of_a_router(inner: Starlette, middle: Callable[[ASGIApp], ASGIApp]) -> ASGIApp:
    return judged(Starlette(routes=[Mount("", Router(routes=inner.routes, middleware=[Middleware(middle)]))]))


@pytest.mark.parametrize("place", [of_the_application, of_a_mount, of_a_router], ids=lambda place: place.__name__)
@pytest.mark.parametrize("style", [PlainClass, function], ids=lambda style: style.__name__)
@pytest.mark.parametrize("hand", HANDS, ids=lambda hand: hand.__name__)
async def test_a_handshake_rewritten_on_the_way_is_judged_where_it_arrives(
    place: Any, style: Callable[[ASGIApp, Hand, Rewrite], ASGIApp], hand: Hand
) -> None:
    ran = Recorder()
    for protect in (
        lambda: WebSocketRoute("/to/", yes(socket(ran, "to"))),
        lambda: yes(WebSocketRoute("/to/", socket(ran, "to"))),
        lambda: Mount("/to", yes(Router(routes=[WebSocketRoute("/", socket(ran, "to"))]))),
    ):
        routes = [WebSocketRoute("/free", no(socket(ran, "free"))), protect()]
        app = place(Starlette(routes=routes), lambda app: style(app, hand, to))
        for (client_id, peer), status in REFUSALS.items():
            for extensions, refused in ((OFFERED, status), (NOT_OFFERED, 1008)):
                answer = await connect(app, "/free", client=peer, headers=basic(client_id), extensions=extensions)
                check_refused(answer, refused)
                assert ran.ran == []


HIDDEN: dict[str, ASGIApp] = {}


async def hidden(scope: Scope, receive: Receive, send: Send) -> None:
    """Lead to an application nobody can find beforehand."""
    await HIDDEN["app"](scope, receive, send)


@pytest.mark.parametrize("leak", LEAKS, ids=lambda leak: leak.__name__)
async def test_nothing_comes_from_another_websocket_than_the_one_judged(leak: Any) -> None:
    async def endpoint(websocket: WebSocket) -> None:
        await leak(websocket)

    HIDDEN["app"] = Router(routes=[WebSocketRoute("/x", yes(endpoint))])
    app = judged(Starlette(routes=[no(Mount("", hidden))], debug=True))
    for (client_id, peer), status in REFUSALS.items():
        check_refused(await connect(app, "/x", client=peer, headers=basic(client_id)), status)
        check_refused(await connect(app, "/x", client=peer, headers=basic(client_id), extensions={}), 1008)
    allowed = await connect(app, "/x", client=INSIDE, headers=basic(ON_LIST.client_id))
    assert allowed.exception is None or leak in (leak_exception, leak_handled_exception)
