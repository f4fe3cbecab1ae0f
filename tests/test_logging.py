"""What stands in the log about a call, and that nothing else can get in."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from allowlist_middleware import (
    ANYWHERE,
    AllowList,
    AllowListMiddleware,
    AllowLists,
    Decision,
    UnreadableCredentials,
    respects_allow_list,
)
from allowlist_middleware.log_line import make_extra, make_line, printable
from allowlist_middleware.policy import Reason
from tests.asgi import INSIDE, LISTS, OUTSIDE, basic, call, connect
from tests.bounded import bounded

LOGGER = logging.getLogger("allowlist_middleware")
PROXY = ("203.0.113.1", 50000)
TRUSTED = {"trusted_proxies": ["203.0.113.0/24"]}


class Kept(logging.Handler):
    """Keeps the records, and what a plain format makes of them."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.format(record)
        self.records.append(record)

    @property
    def calls(self) -> list[logging.LogRecord]:
        """The records about calls, not those about the start."""
        return [record for record in self.records if "operations: " not in record.getMessage()]

    @property
    def lines(self) -> list[str]:
        return [f"{record.levelname} {record.getMessage()}" for record in self.calls]


@contextmanager
def kept(level: int = logging.DEBUG) -> Iterator[Kept]:
    handler, before = Kept(), LOGGER.level
    LOGGER.addHandler(handler)
    LOGGER.setLevel(level)
    try:
        yield handler
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(before)


class Failing:
    async def allow_list(self, client_id: str) -> AllowList | None:
        raise ConnectionError(f"s3cret of {client_id}")


class Junk:
    async def allow_list(self, client_id: str) -> Any:
        return ["192.0.2.0/24"]


def unreadable(connection: HTTPConnection) -> str | None:
    raise UnreadableCredentials("the key s3cret is too short")


async def reached(request: Request) -> Response:
    return PlainTextResponse("reached")


async def health(request: Request) -> Response:
    return PlainTextResponse("healthy")


async def reached_websocket(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.close()


def application(**options: Any) -> ASGIApp:
    lists = AllowLists({**LISTS, "partner": ANYWHERE})
    app = Starlette(
        routes=[
            Route("/entity", respects_allow_list(True)(reached), methods=["POST"]),
            Route("/{path:path}", health, methods=["GET"]),
            WebSocketRoute("/entity", respects_allow_list(True)(reached_websocket)),
        ]
    )
    app.add_middleware(AllowListMiddleware, **{"allow_lists": lists, **options})
    found: ASGIApp = app
    return found


def behind(*values: str, header: str = "x-forwarded-for", client_id: str = "acme") -> dict[str, Any]:
    return {"client": PROXY, "headers": [*basic(client_id), *((header, value) for value in values)]}


def outside(client_id: str = "acme", *more: tuple[str, str]) -> dict[str, Any]:
    return {"client": OUTSIDE, "headers": [*basic(client_id), *more]}


FAILING_LINE = Failing.allow_list.__code__.co_firstlineno + 1
KNOWN = "client='acme' address=unknown POST /entity"
X = "X-Forwarded-For"
NO_ENTRY = "no entry of the client's allow list holds the address"

# The options, the call, and the line: its beginning up to the request id, and what follows that.
LINES: dict[str, tuple[dict[str, Any], dict[str, Any], str, str]] = {
    "a header that was not read": (
        {},
        outside("acme", ("x-forwarded-for", "192.0.2.1")),
        "403 not_on_list client='acme' address=198.51.100.1 POST /entity",
        f"the peer is not in trusted_proxies, so its {X} was not read",
    ),
    "another header that was not read": (
        {"forwarded_header": "CF-Connecting-IP"},
        outside("acme", ("cf-connecting-ip", "192.0.2.1"), ("x-forwarded-for", "192.0.2.1")),
        "403 not_on_list client='acme' address=198.51.100.1 POST /entity",
        "the peer is not in trusted_proxies, so its CF-Connecting-IP was not read",
    ),
    "an address on no list": (
        {},
        outside(),
        "403 not_on_list client='acme' address=198.51.100.1 POST /entity",
        NO_ENTRY,
    ),
    "an address behind a proxy": (
        TRUSTED,
        behind("192.0.2.1, 198.51.100.9"),
        "403 not_on_list client='acme' address=198.51.100.9 POST /entity",
        NO_ENTRY,
    ),
    "proxies all the way": (
        TRUSTED,
        behind("203.0.113.9"),
        "403 not_on_list client='acme' address=203.0.113.9 POST /entity",
        f"{NO_ENTRY}; every hop of {X} is in trusted_proxies, so the leftmost counts",
    ),
    "an IPv6 address": (
        {},
        {"client": ("2001:DB9::0:1", 1), "headers": basic("acme")},
        "403 not_on_list client='acme' address=2001:db9::1 POST /entity",
        NO_ENTRY,
    ),
    "a header that is missing": (
        TRUSTED,
        behind(),
        f"403 address_unknown {KNOWN}",
        f"the peer is in trusted_proxies but sent no {X}",
    ),
    "an element that is no address": (
        TRUSTED,
        behind("s3cret"),
        f"403 address_unknown {KNOWN}",
        f"an element of {X} names no address",
    ),
    "an element that is empty": (TRUSTED, behind(""), f"403 address_unknown {KNOWN}", f"an element of {X} is empty"),
    "a header that is too long": (
        TRUSTED,
        behind("1" * 20_000),
        f"403 address_unknown {KNOWN}",
        f"{X} is longer than 16384 bytes",
    ),
    "too many hops": (
        TRUSTED,
        behind(",".join(["203.0.113.9"] * 200)),
        f"403 address_unknown {KNOWN}",
        f"{X} holds more than 100 trusted hops",
    ),
    "several lines": (
        {**TRUSTED, "forwarded_header": "X-Real-IP"},
        behind("192.0.2.1", "192.0.2.1", header="x-real-ip"),
        f"403 address_unknown {KNOWN}",
        "X-Real-IP was sent in several lines",
    ),
    "an obfuscated hop": (
        {**TRUSTED, "forwarded_header": "Forwarded"},
        behind("for=_s3cret", header="forwarded"),
        f"403 address_unknown {KNOWN}",
        "an element of Forwarded names no address",
    ),
    "the peer of TestClient": (
        {},
        {"client": ("testclient", 50000), "headers": basic("acme")},
        f"403 address_unknown {KNOWN}",
        "the peer 'testclient' is not an address: pass client=('192.0.2.1', 1) to TestClient",
    ),
    "a peer with line breaks": (
        {},
        {"client": ("a\r\n\x1b[31mb\u2028" + "c" * 500, 1), "headers": basic("acme")},
        f"403 address_unknown {KNOWN}",
        "the peer 'a\\r\\n\\x1b[31mb\\u2028" + "c" * 70 + "' is not an address",
    ),
    "no peer": (
        {},
        {"client": None, "headers": basic("acme")},
        f"403 address_unknown {KNOWN}",
        "the server names no peer",
    ),
    "a Unix socket": (
        {},
        {"client": None, "server": ("/run/app.sock", None), "headers": basic("acme")},
        f"403 address_unknown {KNOWN}",
        "the peer is on a Unix socket, which 'unix:' in trusted_proxies would trust",
    ),
    "a client nobody knows": (
        {},
        outside("stranger"),
        "403 unknown_client client='stranger' address=198.51.100.1 POST /entity",
        "the client is unknown: name it in allow_lists, or give every client that is not named a list with others=",
    ),
    "a client that is required": (
        {},
        {"client": OUTSIDE},
        "401 no_client client=none address=198.51.100.1 POST /entity",
        (
            "client credentials are required here: send them as HTTP Basic, or annotate with require_client=False to "
            "leave callers without them to the application"
        ),
    ),
    "credentials that are no base64": (
        {},
        {"client": OUTSIDE, "headers": [("authorization", "Basic s3cret!")]},
        "401 unreadable_credentials client=none address=198.51.100.1 POST /entity",
        "the Basic credentials are not strict base64",
    ),
    "credentials twice": (
        {},
        {"client": OUTSIDE, "headers": basic("acme") * 2},
        "401 unreadable_credentials client=none address=198.51.100.1 POST /entity",
        "there is more than one Authorization line",
    ),
    "credentials a source of one's own never sees": (
        {"allow_lists": Failing()},
        {"client": OUTSIDE, "headers": [("authorization", "Basic s3cret!")]},
        "401 unreadable_credentials client=none address=198.51.100.1 POST /entity",
        "the Basic credentials are not strict base64",
    ),
    "credentials of one's own": (
        {"identify_client": unreadable},
        {"client": OUTSIDE},
        "401 unreadable_credentials client=none address=198.51.100.1 POST /entity",
        "identify_client raised UnreadableCredentials",
    ),
    "a look-up that raises": (
        {"allow_lists": Failing()},
        outside(),
        "503 lookup_failed client='acme' address=198.51.100.1 POST /entity",
        f"the source raised ConnectionError in Failing.allow_list (test_logging.py, line {FAILING_LINE})",
    ),
    "a look-up that returns something else": (
        {"allow_lists": Junk()},
        outside(),
        "503 lookup_failed client='acme' address=198.51.100.1 POST /entity",
        "the source returned a list, which is neither an AllowList nor None",
    ),
}


@pytest.mark.anyio
@pytest.mark.parametrize("report_only", [False, True])
@pytest.mark.parametrize("name", LINES)
async def test_one_line_says_what_was_refused_and_what_to_do(name: str, report_only: bool) -> None:
    options, request, beginning, ending = LINES[name]
    with kept(logging.INFO) as log:
        answer = await call(application(**options, report_only=report_only), "/entity", "POST", **request)
    expected = f"{beginning} request_id={answer.decision.request_id}; {ending}"
    if report_only:
        expected += "; report only: the call was let through"
    assert log.lines == [f"WARNING {expected}"]
    assert "s3cret" not in expected
    assert (answer.body == b"reached") is report_only


@pytest.mark.anyio
async def test_a_handshake_is_logged_as_one() -> None:
    with kept() as log:
        refused = await connect(application(), "/entity", **outside())
        allowed = await connect(application(), "/entity", headers=basic("acme"))
    request_id = refused.decision.request_id
    refusal = (
        f"403 not_on_list client='acme' address=198.51.100.1 WEBSOCKET /entity request_id={request_id}; {NO_ENTRY}"
    )
    assert log.lines == [
        f"WARNING {refusal}",
        "DEBUG allowed on_list client='acme' address=192.0.2.1 WEBSOCKET /entity",
    ]
    assert allowed.status == 101


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("path", "method", "client_id", "line"),
    [
        ("/entity", "POST", "acme", "allowed on_list client='acme' address=192.0.2.1 POST /entity"),
        ("/entity", "POST", "partner", "allowed anywhere client='partner' address=192.0.2.1 POST /entity"),
        ("/health", "GET", None, "allowed no_client client=none address=192.0.2.1 GET /health"),
        ("/health", "PUT", "stranger", "allowed no_operation client='stranger' address=192.0.2.1 PUT /health"),
    ],
)
async def test_an_allowed_call_is_logged_for_debugging_only(
    path: str, method: str, client_id: str | None, line: str
) -> None:
    with kept() as log:
        await call(application(), path, method, headers=basic(client_id))
    assert log.lines == [f"DEBUG {line}"]
    with kept(logging.INFO) as log:
        await call(application(), path, method, headers=basic(client_id))
    assert log.lines == []


@pytest.mark.anyio
async def test_the_fields_of_the_decision_are_fields_of_the_record() -> None:
    with kept() as log:
        refused = await call(application(), "/entity", "POST", **outside())
        allowed = await call(application(), "/entity", "POST", headers=basic("acme"))
    for record, decision in zip(log.calls, (refused.decision, allowed.decision), strict=True):
        fields = decision._asdict()
        assert {name: vars(record)[name] for name in fields} == fields
        assert type(vars(record)["reason"]) is str
    assert not {*Decision._fields} & {*vars(logging.makeLogRecord({})), "message", "asctime"}


@pytest.mark.anyio
async def test_the_trace_of_a_failed_look_up_is_there_for_debugging_only() -> None:
    with kept() as log:
        await call(application(allow_lists=Failing()), "/entity", "POST", **outside())
    trace, line = log.calls
    assert (trace.levelname, trace.getMessage()) == ("DEBUG", "allow_lists: the look-up failed")
    assert "ConnectionError" in str(trace.exc_text)
    assert (line.levelname, line.exc_info) == ("WARNING", None)


# --- nothing from outside

NASTY = [
    "\r\n",
    "\x1b[2J",
    "\0",
    "\u2028",
    "\x85",
    "\u202e",
    "\x7f",
    "%s%n",
    "{0}",
    "' ",
    '"',
    "\udc80",
    "\U000e0001",
    " ",
]
nasty = st.lists(st.sampled_from([*NASTY, "a", "/", ";", "request_id=x"]) | st.text(max_size=3), max_size=12).map(
    "".join
)
visible = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\ud800-\udfff]*")
law = settings(deadline=None, max_examples=200)


def assert_clean(text: str) -> None:
    assert text.isprintable(), text
    assert visible.fullmatch(text)
    assert len(text) < 8000


@law
@given(
    client_id=nasty,
    path=nasty,
    method=nasty,
    peer=nasty,
    headers=st.lists(st.tuples(st.sampled_from(["x-forwarded-for", "host", "user-agent"]), nasty), max_size=4),
    trusts=st.booleans(),
    report_only=st.booleans(),
    source=st.sampled_from([AllowLists(LISTS), AllowLists(others=ANYWHERE), Failing(), Junk()]),
)
def test_nothing_but_visible_characters_gets_into_the_log(
    client_id: str,
    path: str,
    method: str,
    peer: str,
    headers: list[tuple[str, str]],
    trusts: bool,
    report_only: bool,
    source: Any,
) -> None:
    sent = [(name, value.encode("utf-8", "replace").decode("latin-1")) for name, value in headers]
    app = application(
        allow_lists=source,
        report_only=report_only,
        identify_client=lambda connection: client_id or None,
        trusted_proxies=["203.0.113.0/24"] if trusts else (),
    )

    async def attempt() -> None:
        for client in ((peer, 1), PROXY):
            await call(
                app, f"/{path}".encode(errors="replace").decode(), method, client=client, headers=sent
            )  # some of the ids fail the call

    with kept() as log:
        anyio.run(attempt)
    assert_kept(log)


def assert_kept(log: Kept) -> None:
    for record in log.calls:
        assert_clean(record.getMessage())
        for name in Decision._fields:
            assert_clean(str(vars(record).get(name)))


@law
@given(values=st.lists(nasty, min_size=1, max_size=3), name=st.sampled_from(["authorization", "x-forwarded-for"]))
def test_no_header_value_gets_into_the_log(values: list[str], name: str) -> None:
    marked = [f"Basic s3cret{value}" for value in values]
    headers = [(name, value.encode("utf-8", "replace").decode("latin-1")) for value in marked]
    with kept() as log:
        anyio.run(lambda: call(application(**TRUSTED), "/entity", "POST", client=PROXY, headers=headers))
    assert log.calls
    assert_kept(log)
    assert not any("s3cret" in line for line in log.lines)


@law
@given(
    st.builds(
        Decision,
        allowed=st.booleans(),
        report_only=st.booleans(),
        reason=st.sampled_from(Reason),
        status_code=st.sampled_from([401, 403, 503]),
        client_id=st.none() | nasty,
        address=st.none() | st.just("192.0.2.1"),
        method=nasty,
        path=nasty,
        operation=st.none() | nasty,
        request_id=st.just("72gnhpkttcjgc3ns"),
    )
)
def test_a_line_is_visible_characters_and_its_fields_are_too(decision: Decision) -> None:
    assert_clean(make_line(decision, "ending"))
    extra = make_extra(decision)
    assert extra.keys() == decision._asdict().keys()
    for name, value in decision._asdict().items():
        if isinstance(value, str):
            assert_clean(extra[name])
            assert type(extra[name]) is str
            if value.isprintable() and len(value) <= 200:
                assert extra[name] == value
        else:
            assert extra[name] is value


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("/entity", "/entity"),
        ("/entité/ü", "/entité/ü"),
        ("/a b", "'/a b'"),
        ("/a\nb", "'/a\\nb'"),
        ("/a'b", "/a'b"),
        ("x" * 200, "x" * 200),
        ("x" * 201, "x" * 200 + "..."),
        ("\n" * 1_000_000, "'" + "\\n" * 200 + "'..."),
    ],
)
def test_text_from_outside_is_shown_plainly_where_that_is_safe(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.anyio
async def test_a_long_client_id_and_path_are_cut() -> None:
    with kept() as log:
        await call(application(), "/" + "p" * 100_000, client=OUTSIDE, headers=basic("c" * 6000))
    assert log.lines[0].startswith(
        "WARNING 403 unknown_client client='" + "c" * 200 + "'... address=198.51.100.1 GET /pp"
    )
    assert len(log.lines[0]) < 800
    assert vars(log.calls[0])["client_id"] == "c" * 200 + "..."


@pytest.mark.anyio
async def test_a_plain_format_with_fields_stays_on_one_line() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s %(client_id)s %(method)s %(path)s %(reason)s %(message)s"))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("reached")(scope, receive, send)

    middleware = AllowListMiddleware(respects_allow_list(True)(app), allow_lists=LISTS)
    await call(middleware, headers=basic("acme"))
    LOGGER.addHandler(handler)
    try:
        await call(middleware, "/x\nERROR forged\u2028line", "GET\r\nHost: x", client=OUTSIDE, headers=basic("acme"))
    finally:
        LOGGER.removeHandler(handler)
    assert len(stream.getvalue().splitlines()) == 1


# --- a peer the server has rewritten

REWRITTEN = (
    "WARNING the server has rewritten the peer from a forwarded header before it was judged; run uvicorn with "
    "--no-proxy-headers and name the proxies in trusted_proxies="
)


@pytest.mark.anyio
@pytest.mark.parametrize("options", [{}, {"report_only": True}, {"allow_lists": Failing()}])
@pytest.mark.parametrize("peer", [("192.0.2.1", 0), ("2001:db8::1", 0), ["192.0.2.1", 0]])
async def test_a_peer_with_port_0_is_warned_of_once(peer: Any, options: dict[str, Any]) -> None:
    app = application(**options)
    with kept(logging.WARNING) as log:
        for _ in range(3):
            await call(app, "/health", client=peer)
            await connect(app, "/entity", client=peer, headers=basic("acme"))
    assert log.lines.count(REWRITTEN) == 1
    assert log.lines[0] == REWRITTEN


@pytest.mark.anyio
@pytest.mark.parametrize("peer", [("192.0.2.1", 1), None, ("/run/app.sock", 0), ("testclient", 0), ("", 0), (), ("x",)])
async def test_no_other_peer_is_warned_of(peer: Any) -> None:
    with kept(logging.WARNING) as log:
        await call(application(), "/health", client=peer)
    assert log.lines == []


# --- on_decision


@pytest.mark.anyio
async def test_every_decision_is_told_once_as_it_stands_in_the_scope() -> None:
    told: list[Decision] = []
    app = application(on_decision=told.append)
    answers = [
        await call(app, "/entity", "POST", headers=basic("acme")),
        await call(app, "/entity", "POST", headers=basic("partner"), client=OUTSIDE),
        await call(app, "/entity", "POST", **outside()),
        await call(app, "/health"),
        await call(app, "/health", "PUT"),
        await connect(app, "/entity", **outside("stranger")),
    ]
    assert [id(decision) for decision in told] == [id(answer.decision) for answer in answers]
    assert [str(decision.reason) for decision in told] == [
        *("on_list", "anywhere", "not_on_list", "no_client", "no_operation", "unknown_client")
    ]


ERRORS = [
    ValueError("s3cret"),
    KeyError("x"),
    RuntimeError(),
    AssertionError(),
    StopIteration(),
    ExceptionGroup("", [OSError()]),
]


@pytest.mark.anyio
@pytest.mark.parametrize("report_only", [False, True])
@pytest.mark.parametrize("error", ERRORS, ids=[type(error).__name__ for error in ERRORS])
async def test_an_on_decision_that_raises_changes_nothing_and_is_logged(error: Exception, report_only: bool) -> None:
    def on_decision(decision: Decision) -> None:
        raise error

    calls: list[tuple[Any, dict[str, Any], int | None]] = [
        (call, {"headers": basic("acme")}, 200),
        (call, outside(), 200 if report_only else 403),
        (connect, {"headers": basic("acme")}, 101),
        (connect, outside(), 101 if report_only else 403),
    ]
    for make, request, status in calls:
        with kept(logging.WARNING) as log:
            method = ("POST",) if make is call else ()
            answer = await make(
                application(on_decision=on_decision, report_only=report_only), "/entity", *method, **request
            )
        assert (answer.status, answer.exception) == (status, None)
        failures = [record for record in log.calls if record.levelno == logging.ERROR]
        assert [record.getMessage().partition(" failed; ")[2] for record in failures] == ["the call is not affected"]
        assert failures[0].exc_info is not None
        assert failures[0].exc_info[1] is error


def returning(value: Any, decision: Decision) -> Any:
    return value


@pytest.mark.anyio
async def test_what_on_decision_returns_does_not_matter() -> None:
    for value in (False, True, None, PlainTextResponse("let in"), 403):
        app = application(on_decision=partial(returning, value))
        assert (await call(app, "/entity", "POST", **outside())).status == 403


class Stopped(BaseException):
    """As SystemExit."""


@pytest.mark.anyio
async def test_an_on_decision_that_stops_the_program_lets_nothing_through() -> None:
    def on_decision(decision: Decision) -> None:
        raise Stopped

    for request in (outside(), {"headers": basic("acme")}):
        with pytest.raises(Stopped):
            await call(application(on_decision=on_decision), "/entity", "POST", **request)


# --- a decision cannot be changed


@pytest.mark.anyio
async def test_a_decision_is_immutable_and_cannot_change_the_outcome() -> None:
    failures: list[str] = []

    def on_decision(decision: Decision) -> None:
        for name in Decision._fields:
            for change in (partial(setattr, decision, name, True), partial(delattr, decision, name)):
                try:
                    change()
                except AttributeError:
                    failures.append(name)
        try:
            vars(decision)
        except TypeError:
            failures.append("vars")

    answer = await call(application(on_decision=on_decision), "/entity", "POST", **outside())
    assert answer.status == 403
    assert len(failures) == 2 * len(Decision._fields) + 1
    assert hash(answer.decision) == hash(Decision(*answer.decision))
    assert Decision._fields == (
        *("allowed", "report_only", "reason", "status_code", "client_id", "address", "method", "path", "operation"),
        "request_id",
    )


@pytest.mark.anyio
async def test_an_application_that_replaces_the_decision_changes_nothing_for_itself() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["allow_list_decision"] = scope["allow_list_decision"]._replace(allowed=False)
        await PlainTextResponse("reached")(scope, receive, send)

    middleware = AllowListMiddleware(respects_allow_list(False)(app), allow_lists=LISTS)
    assert (await call(middleware, client=OUTSIDE, headers=basic("acme"))).body == b"reached"


@pytest.mark.anyio
async def test_a_decision_shows_no_secret() -> None:
    answer = await call(application(), "/entity", "POST", query_string=b"token=s3cret", **outside())
    assert "s3cret" not in repr(answer.decision) + str(answer.decision) + str(answer.messages)


# --- a log that fails


class Raising(logging.Handler):
    def handle(self, record: logging.LogRecord) -> bool:
        raise OSError("the disk is full")


class RaisingFilter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        raise KeyError("correlation_id")


@pytest.mark.anyio
@pytest.mark.parametrize("report_only", [False, True])
@pytest.mark.parametrize("broken", ["handler", "filter"])
@pytest.mark.parametrize("shows", [False, True])
async def test_a_log_that_fails_changes_nothing(
    broken: str, report_only: bool, shows: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", shows)
    handler, log_filter = Raising(), RaisingFilter()
    with kept():
        if broken == "handler":
            LOGGER.addHandler(handler)
        else:
            LOGGER.addFilter(log_filter)
        try:
            for make, method in ((call, ("POST",)), (connect, ())):
                app = application(report_only=report_only, denial=lambda decision: 1 // 0)
                answer = await make(app, "/entity", *method, **outside())
                assert answer.exception is None
                assert answer.status in ({200, 101} if report_only else {403})
                assert (await call(app, "/entity", "POST", headers=basic("acme"))).status == 200
        finally:
            LOGGER.removeHandler(handler)
            LOGGER.removeFilter(log_filter)
    shown = capsys.readouterr().err
    assert ("the disk is full" in shown or "correlation_id" in shown) is shows


@pytest.mark.anyio
async def test_a_record_factory_that_takes_the_name_of_a_field_keeps_it() -> None:
    before = logging.getLogRecordFactory()

    def factory(*arguments: Any, **options: Any) -> logging.LogRecord:
        record = before(*arguments, **options)
        record.request_id = "of the application"
        return record

    logging.setLogRecordFactory(factory)
    try:
        with kept(logging.WARNING) as log:
            answer = await call(application(), "/entity", "POST", **outside())
    finally:
        logging.setLogRecordFactory(before)
    assert answer.status == 403
    record = vars(log.calls[0])
    assert (record["request_id"], record["client_id"]) == ("of the application", "acme")
    assert f"request_id={answer.decision.request_id}" in log.lines[0]


@pytest.mark.anyio
async def test_a_log_that_is_switched_off_changes_nothing() -> None:
    LOGGER.disabled = True
    try:
        assert (await call(application(), "/entity", "POST", **outside())).status == 403
    finally:
        LOGGER.disabled = False


# --- huge input


@pytest.mark.anyio
@pytest.mark.parametrize(
    "request_",
    [
        {"client": PROXY, "headers": [("x-forwarded-for", "203.0.113.1," * 100_000), *basic("acme")]},
        {"client": OUTSIDE, "headers": [("authorization", "Basic " + "QQ" * 500_000)]},
        {"client": OUTSIDE, "headers": [("x-forwarded-for", "x" * 1_000_000), *basic("acme")]},
        {"client": OUTSIDE, "headers": [(f"x-{number}", "y") for number in range(10_000)] + basic("acme")},
        {"client": ("x" * 1_000_000, 1), "headers": basic("acme")},
        {"client": INSIDE, "headers": basic("a" * 1_000_000)},
    ],
    ids=["hops", "credentials", "unread header", "many headers", "peer", "client id"],
)
async def test_a_huge_call_is_refused_by_bounded_work_and_in_a_short_line(request_: dict[str, Any]) -> None:
    app = application(**TRUSTED)
    with kept(logging.WARNING) as log, bounded():
        answer = await call(app, "/entity", "POST", **request_)
    assert answer.decision.status_code in (401, 403)
    assert [len(line) < 1000 for line in log.lines] == [True]
