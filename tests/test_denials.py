"""What a refused caller gets, and what of the application it reaches: nothing."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, Router, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from allowlist_middleware import (
    AllowList,
    AllowListMiddleware,
    AllowLists,
    Decision,
    Denial,
    respects_allow_list,
)
from allowlist_middleware.denial import REFUSALS, RETRY_AFTER, SCHEMA, make_body, make_request_id
from tests.asgi import LISTS, OUTSIDE, Answer, Recorder, basic, call, connect

pytestmark = pytest.mark.anyio

REQUEST_ID = re.compile("[23456789abcdefghjkmnpqrstuvwxyz]{16}")


class Failing:
    async def allow_list(self, client_id: str) -> AllowList | None:
        raise ConnectionError("no route to the database")


async def never(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("nothing of the application may run")  # pragma: no cover


def refusing(*, failing: bool = False, **options: Any) -> ASGIApp:
    """Return an application that requires clients and may not be reached."""
    source = Failing() if failing else AllowLists(LISTS)
    return AllowListMiddleware(respects_allow_list(True)(never), allow_lists=source, **options)


# --- the documented responses

BODY = '{"error":"%s","request_id":"*","error_description":"%s","stat":"error","code":%d}'
DOCUMENTED: dict[int, tuple[str, dict[str, str]]] = {
    401: (
        BODY % ("invalid_client_credentials", "the client credentials are missing or cannot be read", 401),
        {"www-authenticate": 'Basic realm="API client", charset="UTF-8"'},
    ),
    403: (
        BODY % ("client_permission_error", "the provided client does not have authorization for this action", 403),
        {},
    ),
    503: (
        BODY % ("temporarily_unavailable", "the service is temporarily unavailable, try again later", 503),
        {"retry-after": "5"},
    ),
}
REFUSED: list[tuple[str, list[tuple[str, str]], bool, int]] = [
    ("no client", [], False, 401),
    ("unreadable", [("authorization", "Basic !")], False, 401),
    ("not on the list", basic("acme"), False, 403),
    ("empty list", basic("retired"), False, 403),
    ("unknown client", basic("stranger"), False, 403),
    ("look-up failed", basic("acme"), True, 503),
]
refused = pytest.mark.parametrize(
    ("headers", "failing", "status"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)


@refused
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "HEAD"])
async def test_a_refusal_is_the_documented_one(method: str, headers: Any, failing: bool, status: int) -> None:
    answer = await call(refusing(failing=failing), "/", method, client=OUTSIDE, headers=headers)
    text, own_headers = DOCUMENTED[status]
    body = text.replace("*", answer.decision.request_id).encode()
    assert answer.status == status
    assert answer.body == (b"" if method == "HEAD" else body)
    assert answer.headers == {
        "content-type": "application/json",
        "content-length": str(len(body)),
        "cache-control": "no-store",
        **own_headers,
    }
    assert answer.types == ["http.response.start", "http.response.body"]
    assert answer.exception is None


@refused
async def test_a_websocket_is_refused_by_the_same_response(headers: Any, failing: bool, status: int) -> None:
    answer = await connect(refusing(failing=failing), client=OUTSIDE, headers=headers)
    text, own_headers = DOCUMENTED[status]
    body = text.replace("*", answer.decision.request_id).encode()
    assert (answer.status, answer.body) == (status, body)
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers.items() >= own_headers.items()
    assert answer.types == ["websocket.http.response.start", "websocket.http.response.body"]


@refused
@pytest.mark.parametrize("extensions", [{}, None, {"tls": {}}])
async def test_without_the_extension_a_websocket_is_closed_before_it_is_accepted(
    extensions: Any, headers: Any, failing: bool, status: int
) -> None:
    denial = JSONResponse({"never": "used"})
    app = refusing(failing=failing, denial=lambda decision: denial)
    answer = await connect(app, client=OUTSIDE, headers=headers, extensions=extensions)
    assert answer.messages == [{"type": "websocket.close", "code": 1008, "reason": ""}]
    assert answer.decision.status_code == status


async def test_without_any_extensions_in_the_scope_a_websocket_is_closed() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        del scope["extensions"]
        await refusing()(scope, receive, send)

    assert (await connect(app, client=OUTSIDE)).status == 1008


def test_the_worked_example_of_the_source_documentation() -> None:
    documented = {
        "error": "client_permission_error",
        "request_id": "72gnhpkttcjgc3ns",
        "error_description": "the provided client does not have authorization for this action",
        "stat": "error",
        "code": 403,
    }
    assert list(json.loads(make_body(403, "72gnhpkttcjgc3ns")).items()) == list(documented.items())


async def test_the_worked_example_end_to_end() -> None:
    async def entity(request: Request) -> Response:
        return PlainTextResponse("entity")

    app = Starlette(routes=[Route("/entity", respects_allow_list(True)(entity), methods=["POST"])])
    app.add_middleware(AllowListMiddleware, allow_lists=AllowLists({"acme": ["192.168.0.0/20"]}))
    for address, status in {
        "192.168.0.0": 200,
        "192.168.15.255": 200,
        "192.168.16.0": 403,
        "192.168.44.44": 403,
        "192.167.255.255": 403,
    }.items():
        answer = await call(app, "/entity", "POST", client=(address, 1), headers=basic("acme"))
        assert answer.status == status, address


@pytest.mark.parametrize("status", REFUSALS)
def test_the_schema_describes_every_body(status: int) -> None:
    request_id = make_request_id()
    body = json.loads(make_body(status, request_id))
    properties: Any = SCHEMA["properties"]
    assert list(body) == SCHEMA["required"] == list(properties)
    for name, value in body.items():
        assert value in properties[name].get("enum", [value])
        assert isinstance(value, int if properties[name]["type"] == "integer" else str)
    assert re.fullmatch(properties["request_id"]["pattern"], request_id)
    assert int(DOCUMENTED[503][1]["retry-after"]) == RETRY_AFTER


# --- the request id


def test_request_ids_are_random_and_of_the_documented_alphabet() -> None:
    request_ids = [make_request_id() for _ in range(2000)]
    assert all(map(REQUEST_ID.fullmatch, request_ids))
    assert len(set(request_ids)) == len(request_ids)
    assert {*"".join(request_ids)} == {*"23456789abcdefghjkmnpqrstuvwxyz"}


@refused
@pytest.mark.parametrize("own", [False, True])
async def test_the_request_id_is_that_of_the_log_line(
    own: bool, headers: Any, failing: bool, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    def denial(decision: Decision) -> Response:
        return JSONResponse({"request_id": decision.request_id}, 500)

    app = refusing(failing=failing, denial=denial if own else None)
    answer = await call(app, client=OUTSIDE, headers=headers)
    request_id = answer.json["request_id"]
    assert REQUEST_ID.fullmatch(request_id)
    assert answer.decision.request_id == request_id
    records = [record for record in caplog.records if record.getMessage().startswith(str(status))]
    assert [vars(record)["request_id"] for record in records] == [request_id]
    assert f" request_id={request_id};" in records[0].getMessage()


# --- an unknown client and a wrong address


@pytest.mark.parametrize("make", [call, connect])
@pytest.mark.parametrize("peer", [OUTSIDE, ("testclient", 1), None, ("2001:db9::1", 1)])
async def test_an_unknown_client_cannot_be_told_from_a_wrong_address(make: Any, peer: Any) -> None:
    def seen(answer: Answer) -> Any:
        request_id = answer.decision.request_id.encode()
        assert request_id in answer.body
        return str(answer.messages).replace(request_id.decode(), "*")

    known, empty, unknown = [
        await make(refusing(), client=peer, headers=basic(client)) for client in ("acme", "retired", "stranger")
    ]
    assert seen(known) == seen(empty) == seen(unknown)
    assert known.decision.reason != unknown.decision.reason


# --- a denial of one's own


def says(text: str) -> Denial:
    return lambda decision: PlainTextResponse(f"{text} {decision.status_code}", 418)


@refused
async def test_a_denial_replaces_every_refusal(headers: Any, failing: bool, status: int) -> None:
    decisions: list[Decision] = []

    def denial(decision: Decision) -> Response:
        decisions.append(decision)
        return JSONResponse({"message": "Internal Server Error"}, 500)

    for make in (call, connect):
        answer = await make(refusing(failing=failing, denial=denial), client=OUTSIDE, headers=headers)
        assert (answer.status, answer.json) == (500, {"message": "Internal Server Error"})
        assert answer.headers["cache-control"] == "no-store"
        assert decisions.pop() is answer.decision
        assert answer.decision.status_code == status


def nested(*levels: str, respects: str = "app", methods: bool = False) -> ASGIApp:
    """Return an application whose named levels carry a denial that says their name; one level says who respects."""

    def mark(level: str, target: Any) -> Any:
        if level in levels:
            return respects_allow_list(True, denial=says(level))(target)
        return respects_allow_list(True)(target) if level == respects else target

    class Endpoint(HTTPEndpoint):
        async def get(self, request: Request) -> Response:
            raise AssertionError("nothing of the application may run")  # pragma: no cover

    if "method" in levels or respects == "method":
        Endpoint.get = mark("method", Endpoint.get)  # type: ignore[method-assign]
    route = mark("route", Route("/x", mark("endpoint", Endpoint)))
    inner = mark("inner app", Starlette(routes=[mark("inner mount", Mount("/in", mark("router", Router([route]))))]))
    app = mark("app", Starlette(routes=[mark("mount", Mount("/out", inner))]))
    denial = says("middleware") if "middleware" in levels else None
    app.add_middleware(AllowListMiddleware, allow_lists=LISTS, denial=denial)
    found: ASGIApp = app
    return found


LEVELS = ["method", "endpoint", "route", "router", "inner mount", "inner app", "mount", "app", "middleware"]


@pytest.mark.parametrize("respects", LEVELS[:-1])
@pytest.mark.parametrize("level", LEVELS)
async def test_the_nearest_denial_is_sent_whoever_says_that_the_list_is_respected(level: str, respects: str) -> None:
    levels = LEVELS[LEVELS.index(level) :]
    answer = await call(nested(*levels, respects=respects), "/out/in/x", client=OUTSIDE, headers=basic("acme"))
    assert (answer.status, answer.body) == (418, f"{level} 403".encode())


async def test_without_a_denial_anywhere_the_documented_refusal_is_sent() -> None:
    answer = await call(nested(), "/out/in/x", client=OUTSIDE, headers=basic("acme"))
    assert answer.json["error"] == "client_permission_error"


async def test_a_group_that_ignores_the_list_gives_its_denial_to_the_operations_in_it_that_respect_it() -> None:
    fastapi = pytest.importorskip("fastapi")
    router = respects_allow_list(False, denial=says("router"))(fastapi.APIRouter())
    ran = Recorder()
    router.get("/yes")(respects_allow_list(True)(ran.endpoint("yes")))
    router.get("/no")(ran.endpoint("no"))
    app = fastapi.FastAPI()
    app.include_router(router, prefix="/api")
    app.add_middleware(AllowListMiddleware, allow_lists=LISTS)
    assert (await call(app, "/api/yes", client=OUTSIDE, headers=basic("acme"))).body == b"router 403"
    assert (await call(app, "/api/no", client=OUTSIDE, headers=basic("acme"))).body == b"no"


class Falsy:
    """A denial that is false where somebody asks, as an object with a length of 0 is."""

    def __len__(self) -> int:
        return 0

    def __call__(self, decision: Decision, /) -> Response:
        return PlainTextResponse("own", 418)


async def test_a_denial_that_is_false_is_a_denial() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None: ...

    denial = Falsy()
    assert not denial
    middleware = AllowListMiddleware(
        respects_allow_list(True, denial=denial)(app), allow_lists=LISTS, denial=says("middleware")
    )
    assert (await call(middleware, client=OUTSIDE)).body == b"own"


class Shouting(Response):
    """A response that says more than a response may."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await super().__call__(scope, receive, send)
        await send({"type": "http.response.trailers", "headers": []})


async def chunks() -> AsyncIterator[str]:
    yield "one "
    yield "two"


def cached() -> Response:
    response = PlainTextResponse("own", headers={"Cache-Control": "public, max-age=3600"})
    response.headers.append("cache-control", "immutable")
    return response


RESPONSES: dict[str, tuple[Callable[[], Response], bytes]] = {
    "plain": (lambda: PlainTextResponse("own"), b"own"),
    "cached": (cached, b"own"),
    "streaming": (lambda: StreamingResponse(chunks()), b"one two"),
    "shouting": (lambda: Shouting("own"), b"own"),
    "empty": (lambda: Response(status_code=204), b""),
    "file": (lambda: FileResponse(Path(__file__).parent / "__init__.py"), b""),
    "long file": (lambda: FileResponse(Path(__file__)), Path(__file__).read_bytes()),
}


@pytest.mark.parametrize("name", RESPONSES)
@pytest.mark.parametrize("spec_version", ["2.0", "2.3", "2.4"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
async def test_no_denial_is_stored_or_reads_the_request_and_none_has_a_body_for_head(
    name: str, spec_version: str, method: str
) -> None:
    make, body = RESPONSES[name]
    answer = await call(
        refusing(denial=lambda decision: make()),
        method=method,
        client=OUTSIDE,
        headers=[("authorization", "Basic !"), ("range", "bytes=99999999-")],
        asgi={"version": "3.0", "spec_version": spec_version},
        extensions={"http.response.pathsend": {}} if method == "HEAD" else {},
    )
    start, *rest = answer.messages
    assert [value for field, value in start["headers"] if field == b"cache-control"] == [b"no-store"]
    assert answer.reads == 0
    if method == "HEAD":
        assert rest == [{"type": "http.response.body", "body": b""}]
    elif answer.status != 416:
        assert answer.body == body


@pytest.mark.parametrize("name", set(RESPONSES) - {"shouting"})
async def test_every_denial_is_an_http_response_to_a_websocket(name: str) -> None:
    make, body = RESPONSES[name]
    answer = await connect(refusing(denial=lambda decision: make()), client=OUTSIDE, headers=basic("acme"))
    assert answer.body == body
    assert {*answer.types} == {"websocket.http.response.start", "websocket.http.response.body"}
    assert answer.headers["cache-control"] == "no-store"


async def test_a_background_task_of_a_denial_runs() -> None:
    ran: list[str] = []

    def denial(decision: Decision) -> Response:
        return PlainTextResponse("own", background=BackgroundTask(ran.append, "audit"))

    await call(refusing(denial=denial), client=OUTSIDE)
    assert ran == ["audit"]


# --- a denial that fails


class Silent(Response):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send nothing."""


class Breaking(Response):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("broken before it said anything")


async def coroutine() -> Any: ...


def raising(decision: Decision) -> Response:
    raise ValueError(f"no denial for {decision.reason}")


def answering(value: Any) -> Any:
    return lambda decision: value


FAILING: dict[str, tuple[Any, str]] = {
    "raises": (raising, "ValueError: no denial for"),
    "returns nothing": (answering(None), "TypeError: it returned a NoneType, not a Response"),
    "returns a dict": (answering({"code": 403}), "TypeError: it returned a dict, not a Response"),
    "returns the class": (answering(Response), "TypeError: it returned a type, not a Response"),
    "returns a coroutine": (lambda decision: coroutine(), "TypeError: it returned a coroutine, not a Response"),
    "returns an application": (answering(never), "TypeError: it returned a function, not a Response"),
    "sends nothing": (answering(Silent()), "RuntimeError: its Silent sent nothing"),
    "breaks": (answering(Breaking()), "ValueError: broken before it said anything"),
}


@refused
@pytest.mark.parametrize("make", [call, connect])
@pytest.mark.parametrize("name", FAILING)
async def test_a_denial_that_fails_is_replaced_by_the_documented_refusal(
    name: str, make: Any, headers: Any, failing: bool, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    denial, message = FAILING[name]
    answer = await make(refusing(failing=failing, denial=denial), client=OUTSIDE, headers=headers)
    assert answer.exception is None
    assert answer.status == status
    assert answer.body == DOCUMENTED[status][0].replace("*", answer.decision.request_id).encode()
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.getMessage().partition(" failed; ")[2] for record in errors] == [
        "the documented refusal is sent instead"
    ]
    assert message in caplog.text


async def test_a_denial_that_fails_halfway_is_an_error_and_not_a_passage() -> None:
    async def halfway() -> AsyncIterator[str]:
        yield "one "
        raise ValueError("the rest is gone")

    answer = await call(refusing(denial=lambda decision: StreamingResponse(halfway())), client=OUTSIDE)
    assert isinstance(answer.exception, ValueError)
    assert answer.body == b"one "


async def test_a_denial_that_is_cancelled_stays_cancelled() -> None:
    async def slow() -> AsyncIterator[str]:
        yield "at once"
        await anyio.sleep_forever()

    with anyio.move_on_after(0.05) as limit:
        await call(refusing(denial=lambda decision: StreamingResponse(slow())), client=OUTSIDE)
    assert limit.cancelled_caught


async def test_a_client_that_is_gone_is_not_answered_twice() -> None:
    sent: list[str] = []

    async def send(message: Any) -> None:
        sent.append(message["type"])
        raise OSError("the client is gone")

    async def app(scope: Scope, receive: Receive, _: Send) -> None:
        await refusing(denial=says("own"))(scope, receive, send)

    answer = await call(app, client=OUTSIDE)
    assert isinstance(answer.exception, OSError)
    assert sent == ["http.response.start"]


# --- what a refused call reaches


@refused
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"x" * 100_000])
async def test_a_refused_call_runs_nothing_of_a_fastapi_application(
    body: bytes, headers: Any, failing: bool, status: int
) -> None:
    fastapi, security = pytest.importorskip("fastapi"), pytest.importorskip("fastapi.security")
    ran: list[str] = []

    basic_credentials = fastapi.Depends(security.HTTPBasic())

    def check_secret(credentials: Any = basic_credentials) -> Any:
        ran.append("dependency")
        return credentials.username

    def session() -> Iterator[str]:
        ran.append("dependency with yield")
        yield "session"

    app = fastapi.FastAPI(dependencies=[fastapi.Depends(session)])

    body_of_call, secret = fastapi.Body(), fastapi.Depends(check_secret)

    def entity(number: int, entity: dict[str, int] = body_of_call, client: Any = secret) -> None:
        ran.append("handler")

    app.post("/entity/{number}")(respects_allow_list(True)(entity))
    source: Any = Failing() if failing else LISTS
    app.add_middleware(AllowListMiddleware, allow_lists=source)
    answer = await call(app, "/entity/not-a-number", "POST", body=body, client=OUTSIDE, headers=headers)
    assert (answer.status, answer.reads, ran) == (status, 0, [])
    json_headers = [*basic("acme"), ("content-type", "application/json")]
    app.user_middleware.clear()
    app.middleware_stack = None
    assert (await call(app, "/entity/5", "POST", body=b"{}", headers=json_headers)).status == 200
    assert sorted(ran) == ["dependency", "dependency with yield", "handler"]  # what it would have run
    ran.clear()
    assert answer.body == DOCUMENTED[status][0].replace("*", answer.decision.request_id).encode()


async def test_the_same_application_validates_what_is_let_through() -> None:
    app = pytest.importorskip("fastapi").FastAPI()

    def entity(number: int) -> None: ...

    app.post("/entity/{number}")(respects_allow_list(True)(entity))
    app.add_middleware(AllowListMiddleware, allow_lists=LISTS)
    assert (await call(app, "/entity/not-a-number", "POST", headers=basic("acme"))).status == 422


@refused
async def test_a_refused_handshake_runs_nothing(headers: Any, failing: bool, status: int) -> None:
    async def endpoint(websocket: WebSocket) -> None: ...

    app = Starlette(routes=[WebSocketRoute("/", respects_allow_list(True)(endpoint))])
    source: Any = Failing() if failing else LISTS
    app.add_middleware(AllowListMiddleware, allow_lists=source)
    answer = await connect(app, client=OUTSIDE, headers=headers)
    assert (answer.status, answer.reads) == (status, 0)


@refused
async def test_report_only_lets_every_one_of_them_through(
    headers: Any, failing: bool, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    ran = Recorder()
    app = Starlette(routes=[Route("/", respects_allow_list(True, denial=raising)(ran.endpoint("reached")))])
    source: Any = Failing() if failing else LISTS
    app.add_middleware(AllowListMiddleware, allow_lists=source, report_only=True, denial=raising)
    answer = await call(app, client=OUTSIDE, headers=headers)
    assert (answer.status, answer.body, ran.ran) == (200, b"reached", ["reached"])
    assert (answer.decision.allowed, answer.decision.report_only, answer.decision.status_code) == (False, True, status)
    assert REQUEST_ID.fullmatch(answer.decision.request_id)
    assert "; report only: the call was let through" in caplog.text


@given(st.sampled_from(list(DOCUMENTED)), st.text("23456789abcdefghjkmnpqrstuvwxyz", min_size=16, max_size=16))
def test_a_body_is_json_of_five_fields(status: int, request_id: str) -> None:
    body = json.loads(make_body(status, request_id))
    assert body.pop("request_id") == request_id
    assert body.pop("code") == status
    assert body.pop("stat") == "error"
    assert body == {"error": REFUSALS[status].error, "error_description": REFUSALS[status].description}


# --- failures in the middle of a judgement


class Insistent:
    """An inner middleware that leads to another operation, breaks the scope and tries again whatever happens."""

    def __init__(self, app: ASGIApp, broken: dict[str, Any], inside: str) -> None:
        self.app, self.broken, self.inside = app, broken, inside

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["path"] = self.inside
        scope.update(self.broken)
        with suppress(Exception):  # as careless as a middleware can be
            await self.app(scope, receive, send)
        await self.app(scope, receive, send)


@pytest.mark.parametrize("broken", [{"headers": 5}, {"client": 5}, {"headers": None, "server": object()}])
@pytest.mark.parametrize("inside", ["/private", "/other"])
async def test_a_judgement_that_fails_is_not_passed_at_another_try(inside: str, broken: dict[str, Any]) -> None:
    ran = Recorder()
    app = Starlette(
        routes=[
            Route("/public", respects_allow_list(False)(ran.endpoint("public"))),
            Route("/private", respects_allow_list(True)(ran.endpoint("private"))),
            Route("/other", ran.endpoint("other")),
        ]
    )
    app.add_middleware(Insistent, broken=broken, inside=inside)
    app.add_middleware(AllowListMiddleware, allow_lists=LISTS)
    answer = await call(app, "/public", client=OUTSIDE, headers=basic("acme"))
    assert ran.ran == []
    assert answer.body in (b"", b"Internal Server Error")
