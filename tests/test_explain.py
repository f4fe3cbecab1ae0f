"""`explain` is the middleware: the same decisions, and what they follow from."""

from __future__ import annotations

import copy
from types import TracebackType
from typing import Any, Self

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, Router, WebSocketRoute
from starlette.types import ASGIApp, Scope

from allowlist_middleware import (
    ANYWHERE,
    AllowList,
    AllowListError,
    AllowListMiddleware,
    AllowLists,
    Reason,
    respects_allow_list,
)
from allowlist_middleware.entries import find_holding, find_nearest
from allowlist_middleware.explain import Judgement, explain, from_address, make_call
from tests.asgi import INSIDE, OUTSIDE, Recorder, applications, basic, call, connect, http_scope, websocket_scope

pytest.importorskip("fastapi")

from tests.test_decision_table import ADDRESSES, CALLS, CLIENTS, Row, application

LISTS = AllowLists({"acme": ["192.0.2.0/24", "2001:db8::/32"], "partner": ANYWHERE, "retired": []})

anyio_mark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Run on one event loop: what is told of a call does not depend on it."""
    return "asyncio"


def app_with(*routes: Any, **options: Any) -> Starlette:
    app = Starlette(routes=routes)
    app.add_middleware(AllowListMiddleware, allow_lists=LISTS, **options)
    return app


async def explain_one(app: ASGIApp, scope: Scope) -> Judgement:
    (judgement,) = await explain(app, scope)
    return judgement


# ── One code path ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("report_only", [False, True])
@pytest.mark.parametrize("kind", applications())
@pytest.mark.parametrize(("operation", "client", "address", "row"), CALLS)
@anyio_mark
async def test_every_row_of_the_table_is_explained_as_it_is_decided(
    operation: str, client: str, address: str, row: Row, kind: type[Starlette], report_only: bool
) -> None:
    told = application(kind, report_only=report_only)
    for make, send in ((http_scope, call), (websocket_scope, connect)):
        scope = make(f"/{operation}", client=ADDRESSES[address], headers=CLIENTS[client])
        before = copy.deepcopy(scope)
        judgement = await explain_one(told.app, scope)
        assert scope == before
        assert not told.decisions, "explaining is not deciding"
        assert judgement.decision.reason is row.reason
        assert judgement.decision.status_code == row.status
        assert judgement.answered == row.status
        assert bool(judgement.advice) is (row.status is not None)
        answer = await send(told.app, f"/{operation}", client=ADDRESSES[address], headers=CLIENTS[client])
        assert judgement.decision._replace(request_id=None) == answer.decision._replace(request_id=None)
        assert bool(judgement.decision.request_id) is bool(answer.decision.request_id)
        told.ran.clear()
        told.decisions.clear()


@pytest.mark.parametrize("is_served_before", [False, True])
@anyio_mark
async def test_each_middleware_on_the_way_is_asked_up_to_the_first_refusal(is_served_before: bool) -> None:
    ran = Recorder()
    inner = app_with(Route("/inner", respects_allow_list(True)(ran.endpoint())))
    wrapped = AllowListMiddleware(inner, allow_lists={"partner": ["203.0.113.7"]})
    routed = Router([Route("/routed", ran.endpoint())], middleware=[Middleware(AllowListMiddleware, allow_lists=LISTS)])
    route = Route("/route", ran.endpoint(), middleware=[Middleware(AllowListMiddleware, allow_lists=LISTS)])
    app = app_with(Mount("/wrapped", wrapped), Mount("/routed", routed), route)
    partner: dict[str, Any] = {"client": OUTSIDE, "headers": basic("partner")}
    if is_served_before:
        assert (await call(app, "/routed/routed", **partner)).status == 200
    for path, reasons in {
        "/wrapped/inner": [Reason.ANYWHERE, Reason.NOT_ON_LIST],
        "/routed/routed": [Reason.ANYWHERE, Reason.ANYWHERE],
        "/route": [Reason.ANYWHERE, Reason.ANYWHERE],
        "/nowhere": [Reason.ANYWHERE],
    }.items():
        judgements = await explain(app, http_scope(path, **partner))
        assert [judgement.decision.reason for judgement in judgements] == reasons
        answer = await call(app, path, **partner)
        assert answer.decision.reason is reasons[-1]


@anyio_mark
async def test_a_middleware_that_only_reports_does_not_end_the_way() -> None:
    inner = app_with(Route("/inner", respects_allow_list(True)(Recorder().endpoint())))
    app = app_with(Mount("/mounted", inner), report_only=True)
    judgements = await explain(app, http_scope("/mounted/inner", client=OUTSIDE, headers=basic("acme")))
    assert [(one.decision.reason, one.decision.report_only) for one in judgements] == [
        (Reason.NOT_ON_LIST, True),
        (Reason.NOT_ON_LIST, False),
    ]


@anyio_mark
async def test_a_call_nothing_judges_cannot_be_explained() -> None:
    app = Starlette(routes=[Route("/", Recorder().endpoint())])
    with pytest.raises(AllowListError, match="no AllowListMiddleware judges this call; add one with"):
        await explain(app, http_scope())


# ── What a decision follows from ─────────────────────────────────────────────────────────────────────────────────────


@anyio_mark
async def test_an_entry_that_holds_the_address_is_named() -> None:
    app = app_with(Route("/", respects_allow_list(True)(Recorder().endpoint())))
    judgement = await explain_one(app, http_scope(client=INSIDE, headers=basic("acme")))
    assert judgement.holding == ("192.0.2.0/24",)
    assert judgement.nearest == ()
    assert judgement.origin == "endpoint"
    assert judgement.template == "/"


@anyio_mark
async def test_nothing_is_known_of_the_list_of_an_unknown_client() -> None:
    app = app_with(Route("/", Recorder().endpoint()))
    judgement = await explain_one(app, http_scope(client=INSIDE, headers=basic("stranger")))
    assert judgement.allow_list is None
    assert (judgement.holding, judgement.nearest) == ((), ())
    assert judgement.advice.startswith("the client is unknown: name it in allow_lists")


@anyio_mark
async def test_the_status_of_a_denial_of_ones_own_is_told() -> None:
    mark = respects_allow_list(True, denial=lambda _: PlainTextResponse("no", 418))
    app = app_with(Route("/", mark(Recorder().endpoint())))
    judgement = await explain_one(app, http_scope(client=OUTSIDE, headers=basic("acme")))
    assert (judgement.decision.status_code, judgement.answered) == (403, 418)
    assert (await call(app, client=OUTSIDE, headers=basic("acme"))).status == 418


class Opened:
    """A source that has to be opened."""

    def __init__(self) -> None:
        self.events: list[str] = []

    async def __aenter__(self) -> Self:
        self.events.append("open")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.events.append("close")

    async def allow_list(self, client_id: str) -> AllowList | None:
        self.events.append(client_id)
        return ANYWHERE


@anyio_mark
async def test_a_source_is_opened_once_and_closed_and_the_lifespan_of_the_application_does_not_run() -> None:
    source = Opened()
    inner = Starlette(routes=[Route("/", Recorder().endpoint())])
    inner.add_middleware(AllowListMiddleware, allow_lists=source)
    app = Starlette(routes=[Mount("/mounted", inner)], lifespan=lambda _: pytest.fail("the lifespan runs"))
    app.add_middleware(AllowListMiddleware, allow_lists=source)
    await explain(app, http_scope("/mounted/", headers=basic("acme")))
    assert (source.events[0], source.events[-1]) == ("open", "close")
    assert set(source.events[1:-1]) == {"acme"}


# ── Calls as they are named on the command line ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("options", "header"),
    [
        ({}, None),
        ({"trusted_proxies": ["198.51.100.0/24"]}, None),
        ({"trusted_proxies": ["192.0.2.0/24"]}, (b"x-forwarded-for", b"192.0.2.1")),
        ({"trusted_proxies": ["192.0.2.0/24"], "forwarded_header": "Forwarded"}, (b"forwarded", b"for=192.0.2.1")),
        ({"trusted_proxies": ["192.0.2.0/24"], "forwarded_header": "X-Real-IP"}, (b"x-real-ip", b"192.0.2.1")),
    ],
)
@anyio_mark
async def test_a_call_comes_from_the_address_asked_for_even_if_a_trusted_proxy_has_it(
    options: dict[str, Any], header: tuple[bytes, bytes] | None
) -> None:
    app = app_with(Route("/", respects_allow_list(True)(Recorder().endpoint())), **options)
    scope = from_address(app, make_call("get", "/", client_id="acme"), "192.0.2.1")
    assert [field for field in scope["headers"] if field[0] not in (b"host", b"authorization")] == [
        *([header] if header else [])
    ]
    judgement = await explain_one(app, scope)
    assert (judgement.decision.address, judgement.decision.client_id) == ("192.0.2.1", "acme")
    assert judgement.decision.allowed


@anyio_mark
async def test_an_ipv6_address_is_named_in_the_forwarded_header_as_it_has_to_be() -> None:
    app = app_with(Route("/", Recorder().endpoint()), trusted_proxies=["2001:db8::/32"], forwarded_header="Forwarded")
    judgement = await explain_one(app, from_address(app, make_call("GET", "/", client_id="acme"), "2001:db8::1"))
    assert judgement.decision.address == "2001:db8::1"


@anyio_mark
async def test_a_call_over_a_unix_socket() -> None:
    app = app_with(Route("/", Recorder().endpoint()), trusted_proxies=["unix:"])
    headers = [("X-Forwarded-For", "192.0.2.1"), ("Host", "api.example")]
    scope = make_call("GET", "/", peer="unix:", headers=headers)
    assert scope["headers"] == [(b"x-forwarded-for", b"192.0.2.1"), (b"host", b"api.example")]
    judgement = await explain_one(app, scope)
    assert judgement.decision.address == "192.0.2.1"
    assert [hop.address for hop in judgement.walk.hops] == ["unix:", "192.0.2.1"]


@anyio_mark
async def test_a_websocket_handshake() -> None:
    async def endpoint(websocket: Any) -> None: ...

    app = app_with(WebSocketRoute("/", endpoint))
    judgement = await explain_one(app, make_call("websocket", "/", client_id="acme", peer="198.51.100.1"))
    assert judgement.decision.method == "WEBSOCKET"
    assert judgement.decision.reason is Reason.NOT_ON_LIST


# ── Entries ──────────────────────────────────────────────────────────────────────────────────────────────────────────

ENTRIES = ["192.168.0.0/20", "203.0.113.7", "198.51.100.10-198.51.100.20", "2001:db8::/32", "::ffff:192.0.2.0/120"]


@pytest.mark.parametrize(
    ("address", "holding"),
    [
        ("192.168.0.0", ["192.168.0.0/20"]),
        ("192.168.15.255", ["192.168.0.0/20"]),
        ("192.168.16.0", []),
        ("203.0.113.7", ["203.0.113.7"]),
        ("198.51.100.9", []),
        ("198.51.100.10", ["198.51.100.10-198.51.100.20"]),
        ("198.51.100.20", ["198.51.100.10-198.51.100.20"]),
        ("198.51.100.21", []),
        ("192.0.2.77", ["::ffff:192.0.2.0/120"]),
        ("2001:db8:ffff::1", ["2001:db8::/32"]),
        ("2001:db9::", []),
    ],
)
def test_the_entries_that_hold_an_address_are_those_the_list_goes_by(address: str, holding: list[str]) -> None:
    assert find_holding(ENTRIES, address) == holding
    assert (address in AllowList(ENTRIES)) is bool(holding)


@pytest.mark.parametrize(
    ("address", "misses"),
    [
        (
            "192.168.44.44",
            [
                "192.168.0.0/20 ends 7,213 addresses below it, at 192.168.15.255",
                "::ffff:192.0.2.0/120 ends 11,020,589 addresses below it, at 192.0.2.255",
                "198.51.100.10-198.51.100.20 begins 93,009,886 addresses above it, at 198.51.100.10",
            ],
        ),
        ("203.0.113.8", ["203.0.113.7 is 1 address below it"]),
        ("2001:db9::", ["2001:db8::/32 ends 1 address below it, at 2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"]),
    ],
)
def test_the_nearest_entries_and_by_how_much_they_miss(address: str, misses: list[str]) -> None:
    assert [str(miss) for miss in find_nearest(ENTRIES, address, len(misses))] == misses
