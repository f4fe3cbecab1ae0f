"""The decision table of the specification, a row per row, through real ASGI."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from starlette.applications import Starlette
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from allowlist_middleware import (
    ANYWHERE,
    AllowList,
    AllowListMiddleware,
    AllowLists,
    Decision,
    Reason,
    respects_allow_list,
)
from allowlist_middleware.policy import CLEARED, Rule, Standing, decide
from tests.asgi import LISTS, OUTSIDE, Answer, Recorder, applications, basic, call, connect, send_to

Mark = Callable[[Any], Any]

OPERATIONS: dict[str, Mark | None] = {
    "required": respects_allow_list(True),
    "optional": respects_allow_list(True, require_client=False),
    "unannotated": lambda endpoint: endpoint,
    "ignoring": respects_allow_list(False),
    "missing": None,
}
RESPECTING = {"required", "optional", "unannotated"}
NOT_REQUIRING = {"optional", "unannotated"}

CLIENT_IDS = {"listed": "acme", "empty": "retired", "anywhere": "partner", "failing": "broken", "unknown": "stranger"}
CLIENTS: dict[str, list[tuple[str, str]]] = {
    **{client: basic(client_id) for client, client_id in CLIENT_IDS.items()},
    "unreadable": [("authorization", "Basic !")],
    "none": [],
}
WITH_LIST = {"listed", "empty"}

# On the list of acme, on that list in another spelling, on no list, and not an address.
ADDRESSES: dict[str, Any] = {
    "on": ("192.0.2.1", 1),
    "on_mapped": ("::ffff:192.0.2.1", 1),
    "off": OUTSIDE,
    "undetermined": ("testclient", 1),
}
ON = {"on", "on_mapped"}
OFF = set(ADDRESSES) - ON - {"undetermined"}
ANY = frozenset((*OPERATIONS, *CLIENTS, *ADDRESSES))


@pytest.fixture
def anyio_backend() -> str:
    """Run on one event loop: there are many rows, and none depends on the loop."""
    return "asyncio"


class Row(NamedTuple):
    operations: Any
    clients: Any
    addresses: Any
    status: int | None  # of the refusal, or None for a call that passes
    reason: Reason


# The order of the rows is that of the specification; the first that holds, holds.
TABLE = [
    Row(ANY, {"listed"}, ON, None, Reason.ON_LIST),
    Row(ANY, {"anywhere"}, ANY, None, Reason.ANYWHERE),
    Row({"ignoring"}, ANY, ANY, None, Reason.LIST_IGNORED),
    Row(RESPECTING, {"listed"}, OFF, 403, Reason.NOT_ON_LIST),
    Row(RESPECTING, {"empty"}, ON | OFF, 403, Reason.NOT_ON_LIST),
    Row(RESPECTING, WITH_LIST, {"undetermined"}, 403, Reason.ADDRESS_UNKNOWN),
    Row(RESPECTING, {"failing"}, ANY, 503, Reason.LOOKUP_FAILED),
    Row(RESPECTING, {"unknown"}, ANY, 403, Reason.UNKNOWN_CLIENT),
    Row(RESPECTING, {"unreadable"}, ANY, 401, Reason.UNREADABLE_CREDENTIALS),
    Row({"required"}, {"none"}, ANY, 401, Reason.NO_CLIENT),
    Row(NOT_REQUIRING, {"none"}, ANY, None, Reason.NO_CLIENT),
    Row({"missing"}, ANY, ANY, None, Reason.NO_OPERATION),
]


def find_row(operation: str, client: str, address: str) -> Row:
    return next(row for row in TABLE if operation in row[0] and client in row[1] and address in row[2])


# Every operation with every client and address, and the row that holds for them.
CALLS = [
    pytest.param(*each, row := find_row(*each), id="-".join((*each, row.reason)))
    for each in itertools.product(OPERATIONS, CLIENTS, ADDRESSES)
]


class Failing:
    """A source as a user writes it; its look-up fails for one client."""

    lists = AllowLists({**LISTS, "partner": ANYWHERE})

    async def allow_list(self, client_id: str) -> AllowList | None:
        if client_id == "broken":
            raise ConnectionError("no route to the database")
        return await self.lists.allow_list(client_id)


class Application(NamedTuple):
    """An application with an operation of each kind, and all that it ran and was told."""

    app: ASGIApp
    ran: list[str]
    decisions: list[Decision]


def application(kind: type[Starlette], *, report_only: bool) -> Application:
    ran = Recorder()
    decisions: list[Decision] = []

    def websocket_endpoint(name: str) -> Any:
        async def endpoint(websocket: WebSocket) -> None:
            ran.ran.append(name)
            await websocket.accept()
            await websocket.close()

        return endpoint

    present = {name: mark for name, mark in OPERATIONS.items() if mark is not None}
    app = kind(
        routes=[
            *(Route(f"/{name}", mark(ran.endpoint(name))) for name, mark in present.items()),
            *(WebSocketRoute(f"/{name}", mark(websocket_endpoint(name))) for name, mark in present.items()),
        ]
    )
    source = Failing()
    app.add_middleware(AllowListMiddleware, allow_lists=source, report_only=report_only, on_decision=decisions.append)
    return Application(app, ran.ran, decisions)


async def make_call(app: ASGIApp, protocol: str, operation: str, client: str, address: str) -> Answer:
    more: dict[str, Any] = {"client": ADDRESSES[address], "headers": CLIENTS[client]}
    if protocol == "http":
        return await call(app, f"/{operation}", **more)
    if protocol == "websocket_without_extension":
        more["extensions"] = {}
    return await connect(app, f"/{operation}", **more)


PASSES = {"http": 200, "websocket": 101, "websocket_without_extension": 101}
MISSING = {"http": 404, "websocket": 1000, "websocket_without_extension": 1000}  # what the framework answers


@pytest.mark.anyio
@pytest.mark.parametrize("protocol", PASSES)
@pytest.mark.parametrize(("operation", "client", "address", "row"), CALLS)
async def test_decision_table(protocol: str, operation: str, client: str, address: str, row: Row) -> None:
    for kind, report_only in itertools.product(applications(), (False, True)):
        app, ran, decisions = application(kind, report_only=report_only)
        answer = await make_call(app, protocol, operation, client, address)
        passes = row.status is None or report_only
        passed_status = (MISSING if operation == "missing" else PASSES)[protocol]
        refused_status = 1008 if protocol == "websocket_without_extension" else row.status
        assert answer.status == (passed_status if passes else refused_status), (kind, report_only)
        assert ran == ([operation] if passes and operation != "missing" else []), (kind, report_only)
        assert decisions == [answer.decision]
        decision = decisions[0]
        assert decision == Decision(
            allowed=row.status is None,
            report_only=report_only,
            reason=row.reason,
            status_code=row.status,
            client_id=CLIENT_IDS.get(client),
            address={"on": "192.0.2.1", "on_mapped": "192.0.2.1", "off": OUTSIDE[0], "undetermined": None}[address],
            method="GET" if protocol == "http" else "WEBSOCKET",
            path=f"/{operation}",
            operation=None if row.reason in ("on_list", "anywhere", "no_operation") else f"/{operation}",
            request_id=decision.request_id,
        )
        assert (decision.request_id is None) is decision.allowed


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("operation", "client", "address", "row"),
    [each for each in CALLS if "failing" not in each.values],  # lists in memory cannot fail
)
async def test_lists_in_memory_decide_by_the_same_table(operation: str, client: str, address: str, row: Row) -> None:
    decisions: list[Decision] = []
    app = application(Starlette, report_only=False).app
    assert isinstance(app, Starlette)
    app.user_middleware.clear()
    app.add_middleware(AllowListMiddleware, allow_lists=Failing.lists, on_decision=decisions.append)
    await make_call(app, "http", operation, client, address)
    assert [(decision.reason, decision.status_code) for decision in decisions] == [(row.reason, row.status)]


# --- the table itself

RULES = {
    Rule.REQUIRES_CLIENT: "required",
    Rule.RESPECTS: "optional",
    Rule.IGNORES: "ignoring",
    Rule.NO_OPERATION: "missing",
}
STANDINGS = {
    Standing.ON_LIST: ("listed", "on"),
    Standing.ANYWHERE: ("anywhere", "off"),
    Standing.NOT_ON_LIST: ("listed", "off"),
    Standing.ADDRESS_UNKNOWN: ("listed", "undetermined"),
    Standing.LOOKUP_FAILED: ("failing", "on"),
    Standing.UNKNOWN_CLIENT: ("unknown", "on"),
    Standing.UNREADABLE: ("unreadable", "on"),
    Standing.NO_CLIENT: ("none", "on"),
}


@pytest.mark.parametrize("rule", Rule)
@pytest.mark.parametrize("standing", Standing)
def test_decide_is_total_and_equals_the_table(rule: Rule, standing: Standing) -> None:
    operation, (client, address) = RULES[rule], STANDINGS[standing]
    row = find_row(operation, client, address)
    assert decide(rule, standing) == (row.reason, row.status)


@pytest.mark.parametrize("rule", [*Rule, 0, 99, None, "IGNORES"])
@pytest.mark.parametrize("standing", [0, 99, None, "ON_LIST"])
def test_a_row_that_is_missing_denies(rule: Any, standing: Any) -> None:
    assert decide(rule, standing).status_code == 403
    if not isinstance(rule, Rule):
        assert all(decide(rule, known).status_code is not None for known in Standing)


def test_only_callers_cleared_by_their_list_pass_whatever_the_operation() -> None:
    assert {standing for standing in Standing if all(decide(rule, standing).status_code is None for rule in Rule)} == {
        *CLEARED
    }
    for standing, verdict in CLEARED.items():
        assert {decide(rule, standing) for rule in Rule} == {verdict}


def test_reasons_equal_their_text() -> None:
    assert {reason: str(reason) for reason in Reason} == {
        Reason.ON_LIST: "on_list",
        Reason.ANYWHERE: "anywhere",
        Reason.LIST_IGNORED: "list_ignored",
        Reason.NOT_ON_LIST: "not_on_list",
        Reason.ADDRESS_UNKNOWN: "address_unknown",
        Reason.LOOKUP_FAILED: "lookup_failed",
        Reason.UNKNOWN_CLIENT: "unknown_client",
        Reason.UNREADABLE_CREDENTIALS: "unreadable_credentials",
        Reason.NO_CLIENT: "no_client",
        Reason.NO_OPERATION: "no_operation",
    }


# --- who is judged at all


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["mqtt", "", "HTTP", None])
async def test_a_scope_of_an_unknown_type_raises(kind: Any) -> None:
    async def app(*_: Any) -> None: ...

    middleware = AllowListMiddleware(app, allow_lists={})
    answer = await send_to(middleware, {"type": kind})
    assert str(answer.exception) == f"AllowListMiddleware cannot judge a scope of type {kind!r}"


@pytest.mark.anyio
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "DELETE", "get", "PROPFIND", ""])
async def test_no_method_is_exempt(method: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)

    async def app(*_: Any) -> None: ...

    middleware = AllowListMiddleware(respects_allow_list(True)(app), allow_lists=LISTS)
    assert (await call(middleware, "/", method, client=OUTSIDE, headers=basic("acme"))).status == 403
