"""What type checkers see. Each `type: ignore` below is an error that mypy has to find: an unused one is one too."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from ipaddress import ip_address
from typing import Any, assert_type

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

import allowlist_middleware
from allowlist_middleware import (
    ANYWHERE,
    AllowList,
    AllowListMiddleware,
    AllowLists,
    Decision,
    Denial,
    Reason,
    basic_client,
    respects_allow_list,
)


async def app(scope: Scope, receive: Receive, send: Send) -> None: ...


class Source:
    async def allow_list(self, client_id: str) -> AllowList | None:
        raise NotImplementedError  # pragma: no cover - only its type is used, as of all of these


class PlainSource:
    def allow_list(self, client_id: str) -> AllowList | None:
        raise NotImplementedError  # pragma: no cover


def denial(decision: Decision) -> Response:
    return PlainTextResponse(decision.reason, decision.status_code or 403)


async def asynchronous_denial(decision: Decision) -> Response:
    raise NotImplementedError  # pragma: no cover


def identify(connection: HTTPConnection) -> str | None:
    raise NotImplementedError  # pragma: no cover


async def identify_later(connection: HTTPConnection) -> str | None:
    raise NotImplementedError  # pragma: no cover


def identify_by_number(connection: HTTPConnection) -> int:
    raise NotImplementedError  # pragma: no cover


def right() -> list[AllowListMiddleware]:
    """Return what every option may be."""
    decisions: list[Decision] = []
    return [
        AllowListMiddleware(app, allow_lists={"acme": ["192.0.2.0/24"], "partner": ANYWHERE}),
        AllowListMiddleware(app, allow_lists=AllowLists({"acme": ("192.0.2.0/24",)}, others=ANYWHERE)),
        AllowListMiddleware(app, allow_lists=Source()),
        AllowListMiddleware(app, allow_lists={}, trusted_proxies={"10.0.0.0/8"}, forwarded_header="X-Real-IP"),
        AllowListMiddleware(app, allow_lists={}, identify_client=identify),
        AllowListMiddleware(app, allow_lists={}, identify_client=basic_client),
        AllowListMiddleware(app, allow_lists={}, identify_client=identify_later),
        AllowListMiddleware(app, allow_lists={}, denial=denial, on_decision=decisions.append),
        AllowListMiddleware(app, allow_lists={}, denial=functools.partial(denial), on_decision=print),
        AllowListMiddleware(app, allow_lists={}, report_only=True, require_annotations=True),
    ]


def test_what_type_checks_is_taken() -> None:
    for middleware in right():
        assert_type(middleware, AllowListMiddleware)
        asgi: ASGIApp = middleware
        assert asgi is middleware


def install() -> Starlette:
    application = Starlette(middleware=[Middleware(AllowListMiddleware, allow_lists={"acme": []})])
    application.add_middleware(AllowListMiddleware, allow_lists=AllowLists(), report_only=True)
    return application


def test_it_installs_as_any_middleware() -> None:
    assert len(install().user_middleware) == 2


def wrong() -> None:  # pragma: no cover - only read by the type checker
    AllowListMiddleware(app)  # type: ignore[call-arg]
    AllowListMiddleware(app, {})  # type: ignore[call-arg]
    AllowListMiddleware(app, allow_list={})  # type: ignore[call-arg]
    AllowListMiddleware(app, allow_lists=None)  # type: ignore[arg-type]
    AllowListMiddleware(app, allow_lists=["192.0.2.0/24"])  # type: ignore[arg-type]
    AllowListMiddleware(app, allow_lists=Source)  # type: ignore[arg-type]
    AllowListMiddleware(app, allow_lists=PlainSource())  # type: ignore[arg-type]
    AllowListMiddleware(app, allow_lists={}, trusted_proxies=None)  # type: ignore[arg-type]
    AllowListMiddleware(app, allow_lists={}, forwarded_header=None)  # type: ignore[arg-type]
    AllowListMiddleware(app, allow_lists={}, identify_client=identify_by_number)  # type: ignore[arg-type]
    AllowListMiddleware(app, allow_lists={}, denial=asynchronous_denial)  # type: ignore[arg-type]
    AllowListMiddleware(app, allow_lists={}, report_only="yes")  # type: ignore[arg-type]
    AllowLists({"acme": None})  # type: ignore[dict-item]
    AllowLists(["acme"])  # type: ignore[arg-type]
    AllowLists()["acme"] = None  # type: ignore[assignment]
    AllowList(None)  # type: ignore[arg-type]
    respects_allow_list("yes")  # type: ignore[arg-type]
    respects_allow_list(respects=True)  # type: ignore[call-arg]
    respects_allow_list(True, denial=asynchronous_denial)  # type: ignore[arg-type]
    decision().allowed = True  # type: ignore[misc]


def decision() -> Decision:
    return Decision(
        allowed=False,
        report_only=False,
        reason=Reason.NOT_ON_LIST,
        status_code=403,
        client_id="acme",
        address="198.51.100.1",
        method="GET",
        path="/entity",
        operation="/entity",
        request_id="72gnhpkttcjgc3ns",
    )


def test_a_decision_is_typed() -> None:
    made = decision()
    assert_type(made.allowed, bool)
    assert_type(made.reason, Reason)
    assert_type(made.status_code, int | None)
    assert_type(made.client_id, str | None)
    assert_type(made.address, str | None)
    assert_type(made.operation, str | None)
    assert_type(made.request_id, str | None)
    own: Denial = denial
    assert own(made).status_code == 403
    assert made.reason == "not_on_list"


def test_an_annotated_target_keeps_its_type() -> None:
    @respects_allow_list(True)
    def plain(request: Request, *, page: int = 1) -> str:
        return f"page {page}"

    @respects_allow_list(False)
    async def asynchronous() -> int:
        raise NotImplementedError  # pragma: no cover

    assert_type(plain(Request({"type": "http"}), page=2), str)
    assert_type(asynchronous, Callable[[], Coroutine[Any, Any, int]])
    assert_type(respects_allow_list(True)(Mount("/m", app)), Mount)
    assert_type(respects_allow_list(True)(Starlette()), Starlette)
    assert_type(respects_allow_list(True)(Route("/", plain)), Route)
    assert_type(respects_allow_list(False)(StaticFiles(directory=".", check_dir=False)), StaticFiles)
    assert inspect.iscoroutinefunction(asynchronous)


def test_lists_are_typed() -> None:
    lists = AllowLists({"acme": ["192.0.2.0/24"]})
    assert_type(lists["acme"], AllowList)
    assert_type(lists.find("acme"), AllowList | None)
    assert_type(lists.others, AllowList | None)
    assert_type("192.0.2.1" in lists["acme"], bool)
    assert_type(ip_address("192.0.2.1") in AllowList(["192.0.2.0/24"]), bool)
    assert_type(lists.setdefault("new", ["192.0.2.1"]), AllowList)
    look_up: Callable[[str], Awaitable[AllowList | None]] = lists.allow_list
    assert inspect.iscoroutinefunction(look_up)


def test_the_public_names_are_the_documented_ones() -> None:
    assert allowlist_middleware.__all__ == [
        *("ANYWHERE", "AllowList", "AllowListError", "AllowListMiddleware", "AllowLists", "Decision", "Denial"),
        *("Reason", "UnreadableCredentials", "basic_client", "respects_allow_list"),
    ]
    assert all(hasattr(allowlist_middleware, name) for name in allowlist_middleware.__all__)
