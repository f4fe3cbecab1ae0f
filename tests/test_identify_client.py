"""Who a call claims to come from: the function of one's own that says so, and the sources that know the lists."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from allowlist_middleware import (
    ANYWHERE,
    AllowList,
    AllowListMiddleware,
    AllowLists,
    Reason,
    UnreadableCredentials,
    basic_client,
    respects_allow_list,
)
from allowlist_middleware.sources import Source
from tests.asgi import EVEN, INSIDE, LISTS, OUTSIDE, Answer, basic, call, connect

pytestmark = pytest.mark.anyio

PATHS = ("/required", "/optional", "/unannotated", "/ignoring", "/missing")


def application(**options: Any) -> ASGIApp:
    """Return an application with an operation of each kind, over HTTP and WebSocket."""

    async def endpoint(request: Request) -> Response:
        return PlainTextResponse("reached")

    async def websocket_endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close()

    marks: dict[str, Callable[[Any], Any]] = {
        "/required": respects_allow_list(True),
        "/optional": respects_allow_list(True, require_client=False),
        "/unannotated": lambda endpoint: endpoint,
        "/ignoring": respects_allow_list(False),
    }
    app = Starlette(
        routes=[
            *(Route(path, mark(functools.partial(endpoint))) for path, mark in marks.items()),
            *(WebSocketRoute(path, mark(functools.partial(websocket_endpoint))) for path, mark in marks.items()),
        ]
    )
    app.add_middleware(AllowListMiddleware, **{"allow_lists": LISTS, **options})
    found: ASGIApp = app
    return found


def with_key(key: str | None) -> list[tuple[str, str]]:
    return [] if key is None else [("x-api-key", key)]


# --- the shapes of the function

KEYS = {"key-of-acme": "acme", "key-of-retired": "retired"}


def plain(connection: HTTPConnection) -> str | None:
    return KEYS.get(connection.headers.get("x-api-key", ""))


async def asynchronous(connection: HTTPConnection) -> str | None:
    await anyio.lowlevel.checkpoint()
    return plain(connection)


def returning_an_awaitable(connection: HTTPConnection) -> Awaitable[str | None]:
    return asynchronous(connection)


def by(keys: dict[str, str], connection: HTTPConnection) -> str | None:
    return keys.get(connection.headers.get("x-api-key", ""))


class Keys:
    def __call__(self, connection: HTTPConnection) -> str | None:
        return plain(connection)

    def method(self, connection: HTTPConnection) -> str | None:
        return plain(connection)


class AsynchronousKeys:
    async def __call__(self, connection: HTTPConnection) -> str | None:
        return await asynchronous(connection)


class Later:
    """An awaitable that is no coroutine."""

    def __init__(self, connection: HTTPConnection) -> None:
        self.connection = connection

    def __await__(self) -> Any:
        return asynchronous(self.connection).__await__()


SHAPES: dict[str, Any] = {
    "plain": plain,
    "async": asynchronous,
    "partial": functools.partial(by, KEYS),
    "async partial": functools.partial(asynchronous),
    "object": Keys(),
    "async object": AsynchronousKeys(),
    "method": Keys().method,
    "awaitable from a plain function": returning_an_awaitable,
    "class whose objects are awaited": Later,
    "lambda": lambda connection: plain(connection),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("make", [call, connect])
@pytest.mark.parametrize(
    ("key", "peer", "reason"),
    [
        ("key-of-acme", INSIDE, Reason.ON_LIST),
        ("key-of-acme", OUTSIDE, Reason.NOT_ON_LIST),
        ("key-of-retired", INSIDE, Reason.NOT_ON_LIST),
        ("another key", INSIDE, Reason.NO_CLIENT),
        (None, INSIDE, Reason.NO_CLIENT),
    ],
)
async def test_a_function_of_any_shape_names_the_client(
    shape: str, make: Any, key: str | None, peer: Any, reason: Reason
) -> None:
    answer = await make(application(identify_client=SHAPES[shape]), "/required", client=peer, headers=with_key(key))
    assert answer.decision.reason == reason
    assert answer.decision.allowed is (reason is Reason.ON_LIST)
    assert answer.decision.client_id == (None if key is None else KEYS.get(key))


async def test_basic_client_composes_with_other_credentials() -> None:
    def identify_client(connection: HTTPConnection) -> str | None:
        return basic_client(connection) or plain(connection)

    app = application(identify_client=identify_client)
    for headers, reason in [
        (basic("acme"), Reason.ON_LIST),
        (with_key("key-of-acme"), Reason.ON_LIST),
        (basic("stranger") + with_key("key-of-acme"), Reason.UNKNOWN_CLIENT),
        ([("authorization", "Basic !"), *with_key("key-of-acme")], Reason.UNREADABLE_CREDENTIALS),
        ([("authorization", "Bearer token"), *with_key("key-of-acme")], Reason.ON_LIST),
        ([], Reason.NO_CLIENT),
    ]:
        answer = await call(app, "/required", headers=headers)
        assert answer.decision.reason == reason


async def test_it_sees_the_connection_but_can_read_no_body() -> None:
    seen: list[HTTPConnection] = []

    def identify_client(connection: HTTPConnection) -> str | None:
        seen.append(connection)
        return connection.query_params.get("client")

    for make, kind in ((call, "http"), (connect, "websocket")):
        app = application(identify_client=identify_client)
        answer = await make(app, "/required", query_string=b"client=acme", client=OUTSIDE)
        assert answer.decision.reason == Reason.NOT_ON_LIST
        assert (answer.reads, seen[-1].scope["type"], type(seen[-1])) == (0, kind, HTTPConnection)


@pytest.mark.parametrize("make", [call, connect])
@pytest.mark.parametrize(
    ("path", "status"), [("/required", 401), ("/optional", 401), ("/unannotated", 401), ("/ignoring", None)]
)
@pytest.mark.parametrize("is_async", [False, True])
async def test_unreadable_credentials_are_what_the_function_says_they_are(
    is_async: bool, path: str, status: int | None, make: Any
) -> None:
    def unreadable(connection: HTTPConnection) -> str | None:
        raise UnreadableCredentials("the signature is not hexadecimal")

    async def unreadable_later(connection: HTTPConnection) -> str | None:
        return unreadable(connection)

    answer = await make(application(identify_client=unreadable_later if is_async else unreadable), path)
    assert answer.decision.status_code == status
    assert answer.decision.client_id is None
    if status:
        assert answer.decision.reason == Reason.UNREADABLE_CREDENTIALS
        assert answer.headers["www-authenticate"].startswith("Basic ")


# --- a function that fails: the call fails, whatever the operation, and in report-only mode too


class EqualsEverything:
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        return True

    def __contains__(self, address: object) -> bool:
        return True

    def admits(self, packed: bytes) -> bool:
        return True


class Junk:
    def __repr__(self) -> str:
        return "s3cret"

    __str__ = __repr__


class Disguised(str):
    """Text that says of itself what it is not."""

    __slots__ = ()

    def __contains__(self, item: object) -> bool:
        return False

    def isprintable(self) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return hash("acme")


JUNK: dict[str, Any] = {
    "empty": "",
    "with a colon": "s3cret:acme",
    "line break": "s3cret\n",
    "NUL": "s3cret\0",
    "DEL": "s3cret\x7f",
    "C1": "s3cret\x85",
    "surrogate": "s3cret\udc80",
    "bytes": b"s3cret",
    "empty bytes": b"",
    "true": True,
    "false": False,
    "zero": 0,
    "number": 5,
    "tuple": ("s3cret", "acme"),
    "empty list": [],
    "object": Junk(),
    "class": Junk,
    "allow list": ANYWHERE,
    "disguised colon": Disguised("s3cret:acme"),
    "disguised and empty": Disguised(""),
    "equal to everything": EqualsEverything(),
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("report_only", [False, True])
@pytest.mark.parametrize("name", JUNK)
async def test_what_is_no_client_id_fails_the_call(
    name: str, report_only: bool, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    app = application(identify_client=lambda connection: JUNK[name], report_only=report_only)
    for answer in (await call(app, path), await connect(app, path)):
        assert_failed(answer, TypeError)
        message = str(answer.exception)
        assert message.startswith("identify_client: it returned a")
        assert message.endswith(
            " that is not a client id; return None, or non-empty text without colons and control characters"
        )
        assert "s3cret" not in message + caplog.text


def assert_failed(answer: Answer, kind: type[BaseException]) -> None:
    assert type(answer.exception) is kind
    assert answer.decision is None
    assert answer.body in (b"", b"Internal Server Error")  # Starlette's own, outside the middleware
    assert answer.status in (None, 500)


class WeirdError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("this exception cannot even be shown")  # pragma: no cover - nobody may ask

    __repr__ = __str__


ERRORS: dict[str, BaseException] = {
    "KeyError": KeyError("s3cret"),
    "RuntimeError": RuntimeError(),
    "PermissionError": PermissionError(),
    "TimeoutError": TimeoutError(),
    "StopIteration": StopIteration("acme"),
    "StopAsyncIteration": StopAsyncIteration("acme"),
    "RecursionError": RecursionError(),
    "MemoryError": MemoryError(),
    "weird": WeirdError(),
    "ExceptionGroup": ExceptionGroup("several", [ValueError()]),
    "UnicodeDecodeError": UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"),
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("report_only", [False, True])
@pytest.mark.parametrize("name", ERRORS)
async def test_what_the_function_raises_fails_the_call(name: str, report_only: bool, path: str) -> None:
    def identify_client(connection: HTTPConnection) -> str | None:
        raise ERRORS[name]

    async def identify_later(connection: HTTPConnection) -> str | None:
        raise ERRORS[name]

    for function in (identify_client, identify_later):
        app = application(identify_client=function, report_only=report_only)
        for answer in (await call(app, path), await connect(app, path)):
            kind = type(ERRORS[name])
            assert_failed(answer, RuntimeError if kind is StopIteration else kind)  # it cannot leave a coroutine


async def test_an_awaitable_of_an_awaitable_fails_the_call() -> None:
    async def twice(connection: HTTPConnection) -> Any:
        return Later(connection)

    assert_failed(await call(application(identify_client=twice), "/ignoring"), TypeError)


def test_what_is_disguised_would_deceive_whoever_asks_it() -> None:
    text, value = Disguised("a:b"), EqualsEverything()
    assert text == "acme"
    assert ":" not in text
    assert text.isprintable()
    assert {"acme": 1}[text] == 1
    assert value == ANYWHERE
    assert value
    assert "192.0.2.1" in value
    assert value.admits(b"")
    assert isinstance(Pretender(), AllowList)
    assert str(Junk()) == "s3cret"


class Client(StrEnum):
    ACME = "acme"


class Name(str):
    __slots__ = ()


@pytest.mark.parametrize("client_id", [Client.ACME, Name("acme"), Disguised("acme")])
async def test_a_subclass_of_str_counts_as_its_text_alone(client_id: str) -> None:
    app = application(identify_client=lambda connection: client_id)
    answer = await call(app, "/required")
    assert answer.decision.reason == Reason.ON_LIST
    assert type(answer.decision.client_id) is str
    assert answer.decision.client_id == "acme"


async def test_a_disguised_id_is_not_the_client_it_equals() -> None:
    app = application(identify_client=lambda connection: Disguised("stranger"))
    assert (await call(app, "/required")).decision.reason == Reason.UNKNOWN_CLIENT


# --- sources


class Returning:
    def __init__(self, value: Any) -> None:
        self.value = value

    async def allow_list(self, client_id: str) -> Any:
        return self.value


class Raising:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    async def allow_list(self, client_id: str) -> AllowList | None:
        raise self.error


class Pretender(EqualsEverything):
    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return AllowList


def make_subclass() -> Any:
    """Return an allow list of a subclass, which type checkers forbid and Python does not."""
    kind: Any = type("Wider", (AllowList,), {"admits": lambda self, packed: True})
    return object.__new__(kind)


RETURNED: dict[str, Any] = {
    "true": True,
    "false": False,
    "list": ["192.0.2.0/24"],
    "empty list": [],
    "text": "192.0.2.0/24",
    "star": "*",
    "number": 1,
    "the class": AllowList,
    "lists": AllowLists({"acme": ANYWHERE}),
    "equal to everything": EqualsEverything(),
    "pretending": Pretender(),
    "subclass": make_subclass(),
    "not implemented": NotImplemented,
    "function": lambda: ANYWHERE,
    "awaitable": Later(HTTPConnection({"type": "http", "headers": []})),
}


@pytest.mark.parametrize("report_only", [False, True])
@pytest.mark.parametrize(
    "source",
    [
        *(pytest.param(Returning(value), id=f"returns {name}") for name, value in RETURNED.items()),
        *(pytest.param(Raising(error), id=f"raises {name}") for name, error in ERRORS.items()),
        pytest.param(Raising(UnreadableCredentials("not for a source to say")), id="raises UnreadableCredentials"),
    ],
)
async def test_a_failed_look_up_lets_nobody_in(
    source: Source, report_only: bool, caplog: pytest.LogCaptureFixture
) -> None:
    app = application(allow_lists=source, report_only=report_only)
    for path in ("/required", "/optional", "/unannotated"):
        for answer in (await call(app, path, headers=basic("acme")), await connect(app, path, headers=basic("acme"))):
            assert (answer.decision.reason, answer.decision.status_code) == (Reason.LOOKUP_FAILED, 503)
            assert answer.exception is None
            assert (answer.status == 503) is not report_only
            if not report_only:
                assert answer.headers["retry-after"] == "5"
    answer = await call(app, "/ignoring", headers=basic("acme"))
    assert (answer.status, answer.decision.reason) == (200, Reason.LIST_IGNORED)
    assert "s3cret" not in caplog.text


async def test_none_means_that_there_is_no_such_client() -> None:
    app = application(allow_lists=Returning(None))
    answer = await call(app, "/required", headers=basic("acme"))
    assert (answer.status, answer.decision.reason) == (403, Reason.UNKNOWN_CLIENT)


@pytest.mark.parametrize(("address", "reason"), [("192.168.0.2", Reason.ON_LIST), ("192.168.0.3", Reason.NOT_ON_LIST)])
async def test_a_long_list_is_an_allow_list_like_any_other(address: str, reason: Reason) -> None:
    for source in (Returning(AllowList(EVEN)), AllowLists({"acme": EVEN})):
        answer = await call(application(allow_lists=source), "/required", headers=basic("acme"), client=(address, 1))
        assert answer.decision.reason is reason


class Stopped(BaseException):
    """As SystemExit or GeneratorExit, which are not to be raised in a test."""


@pytest.mark.parametrize("error", [Stopped(), BaseExceptionGroup("several", [Stopped()])])
@pytest.mark.parametrize("path", PATHS)
async def test_what_stops_the_program_is_no_failed_look_up(error: BaseException, path: str) -> None:
    async def identify_client(connection: HTTPConnection) -> str | None:
        raise error

    for options in ({"allow_lists": Raising(error)}, {"identify_client": identify_client}):
        with pytest.raises(type(error)):
            await call(application(**options), path, headers=basic("acme"))


async def test_a_call_cancelled_during_the_look_up_stays_cancelled() -> None:
    class Slow:
        async def allow_list(self, client_id: str) -> AllowList | None:
            await anyio.sleep_forever()
            return ANYWHERE  # pragma: no cover - it is cancelled before

    async def slow(connection: HTTPConnection) -> str | None:
        await anyio.sleep_forever()
        return "acme"  # pragma: no cover - it is cancelled before

    for options in ({"allow_lists": Slow()}, {"identify_client": slow}):
        with anyio.move_on_after(0.05) as limit:
            await call(application(**options), "/ignoring", headers=basic("acme"))
        assert limit.cancelled_caught


law = settings(deadline=None, max_examples=200)
failures = st.one_of(
    st.sampled_from([Raising(error) for error in ERRORS.values()]),
    st.sampled_from([Returning(value) for value in RETURNED.values()]),
    st.one_of(st.binary(), st.text(), st.integers(), st.booleans(), st.lists(st.text()), st.tuples()).map(Returning),
)


@law
@given(
    source=failures,
    path=st.sampled_from(PATHS),
    client_id=st.sampled_from(["acme", "stranger", "retired"]),
    peer=st.sampled_from([INSIDE, OUTSIDE, None, ("testclient", 1), ("2001:db8::1", 1)]),
    is_websocket=st.booleans(),
)
def test_a_source_that_fails_never_lets_a_call_through(
    source: Source, path: str, client_id: str, peer: Any, is_websocket: bool
) -> None:
    make = connect if is_websocket else call

    async def attempt() -> Answer:
        return await make(application(allow_lists=source), path, client=peer, headers=basic(client_id))

    answer = anyio.run(attempt)
    if path == "/ignoring":
        assert answer.decision.reason == Reason.LIST_IGNORED
    elif path == "/missing":
        assert answer.decision.reason == Reason.NO_OPERATION
        assert answer.status in (404, 1000)
    else:
        assert (answer.status, answer.decision.reason) == (503, Reason.LOOKUP_FAILED)


class Subclassed(AllowLists):
    """Lists in memory whose look-up is one's own."""

    async def allow_list(self, client_id: str) -> AllowList | None:
        return await super().allow_list(client_id.lower())


async def test_a_subclass_of_allow_lists_looks_up_as_it_says() -> None:
    app = application(allow_lists=Subclassed(LISTS))
    assert (await call(app, "/required", headers=basic("ACME"))).decision.reason == Reason.ON_LIST
    plain_app = application(allow_lists=AllowLists(LISTS))
    assert (await call(plain_app, "/required", headers=basic("ACME"))).decision.reason == Reason.UNKNOWN_CLIENT


async def test_a_subclass_that_overrides_find_looks_up_by_it() -> None:
    class Found(AllowLists):
        def find(self, client_id: str) -> AllowList | None:
            return ANYWHERE if client_id == "new" else None

    app = application(allow_lists=Found(LISTS))
    assert (await call(app, "/required", headers=basic("new"))).decision.reason == Reason.ANYWHERE
    assert (await call(app, "/required", headers=basic("acme"))).decision.reason == Reason.UNKNOWN_CLIENT


async def test_a_mapping_that_is_a_source_is_asked_and_not_copied() -> None:
    class Both(dict[str, Any]):
        async def allow_list(self, client_id: str) -> AllowList | None:
            return ANYWHERE

    app = application(allow_lists=Both(acme="not entries at all"))
    assert (await call(app, "/required", headers=basic("acme"))).decision.reason == Reason.ANYWHERE


# --- lists that change


async def test_a_change_counts_from_the_next_request_on() -> None:
    lists = AllowLists({"acme": ["192.0.2.0/24"]})
    app = application(allow_lists=lists)

    async def reason(client_id: str = "acme") -> str:
        decision = (await call(app, "/required", headers=basic(client_id))).decision
        return str(decision.reason)

    assert await reason() == "on_list"
    lists["acme"] = []
    assert await reason() == "not_on_list"
    lists["acme"] = ANYWHERE
    assert await reason() == "anywhere"
    del lists["acme"]
    assert await reason() == "unknown_client"
    lists.update({"acme": ["192.0.2.1"], "new": ["198.51.100.0/24"]})
    assert [await reason("acme"), await reason("new")] == ["on_list", "not_on_list"]
    lists.clear()
    assert await reason() == "unknown_client"


async def test_a_mapping_is_copied() -> None:
    mapping = {"acme": ["192.0.2.0/24"]}
    app = AllowListMiddleware(application(), allow_lists=mapping)
    mapping["acme"] = []
    assert (await call(app, "/required", headers=basic("acme"))).decision.reason == Reason.ON_LIST


@pytest.mark.parametrize(
    ("others", "reason"),
    [
        (None, Reason.UNKNOWN_CLIENT),
        ([], Reason.NOT_ON_LIST),
        (["198.51.100.0/24"], Reason.NOT_ON_LIST),
        (["192.0.2.1"], Reason.ON_LIST),
        (ANYWHERE, Reason.ANYWHERE),
    ],
)
async def test_others_is_the_list_of_every_client_not_named(others: Any, reason: Reason) -> None:
    app = application(allow_lists=AllowLists({"retired": []}, others=others))
    assert (await call(app, "/required", headers=basic("stranger"))).decision.reason == reason
    assert (await call(app, "/required", headers=basic("retired"))).decision.reason == Reason.NOT_ON_LIST
    assert (await call(app, "/required")).decision.reason == Reason.NO_CLIENT


async def test_a_source_is_asked_once_for_a_call_and_only_for_a_client() -> None:
    asked: list[str] = []

    class Counting:
        async def allow_list(self, client_id: str) -> AllowList | None:
            asked.append(client_id)
            return AllowList(["192.0.2.0/24"])

    app = application(allow_lists=Counting())
    for path in PATHS:
        await call(app, path, headers=basic("acme"))
    assert asked == ["acme"] * len(PATHS)
    await call(app, "/required", headers=[("authorization", "Basic !")])
    await call(app, "/optional")
    assert asked == ["acme"] * len(PATHS)


async def test_a_list_may_be_changed_from_any_thread_while_calls_are_judged() -> None:
    lists = AllowLists({"acme": ["192.0.2.0/24"]})
    app = application(allow_lists=lists)
    stop = threading.Event()

    def change() -> None:
        while not stop.is_set():
            lists["acme"] = []
            lists.update({"acme": ["192.0.2.0/24"], "other": []})
            del lists["other"]

    thread = threading.Thread(target=change)
    thread.start()
    try:
        reasons = {(await call(app, "/required", headers=basic("acme"))).decision.reason for _ in range(200)}
    finally:
        stop.set()
        thread.join()
    assert reasons <= {Reason.ON_LIST, Reason.NOT_ON_LIST}
