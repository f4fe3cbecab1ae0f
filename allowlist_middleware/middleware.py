"""The middleware: read the scope, decide, then call the application or send the denial."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, NamedTuple

from starlette.types import ASGIApp, Receive, Scope, Send

from allowlist_middleware import fastapi_routers
from allowlist_middleware.callables import is_async, name_of, require_callable, require_plain
from allowlist_middleware.callers import Caller, Callers, IdentifyClient
from allowlist_middleware.credentials import basic_client
from allowlist_middleware.denial import Denial, make_request_id
from allowlist_middleware.endings import find_ending
from allowlist_middleware.errors import AllowListError, quote
from allowlist_middleware.guard import DECISION, Call, Passage, adopt, passages
from allowlist_middleware.lifespan import MadeLate, run_with_source
from allowlist_middleware.log_line import logger, make_extra, make_line, write
from allowlist_middleware.networks import AllowList
from allowlist_middleware.operations import Operation, find_denial, find_rule
from allowlist_middleware.ordinary import judge_ordinary
from allowlist_middleware.placement import Placement
from allowlist_middleware.policy import CLEARED, Decision, Rule, decide
from allowlist_middleware.proxies import TrustedProxies
from allowlist_middleware.reachable import find_reachable
from allowlist_middleware.refusal import send_refusal
from allowlist_middleware.sources import Source
from allowlist_middleware.sources.memory import AllowLists
from allowlist_middleware.startup import make_summary, require_annotated, survey

OnDecision = Callable[[Decision], object]

_WEBSOCKET: Final = "WEBSOCKET"
_DEBUG, _WARNING = logging.DEBUG, logging.WARNING
_make: Final = tuple.__new__
_JUDGED: Final = ("http", "websocket")


class Evaluation(NamedTuple):
    """What would be decided about a call, and all that it follows from."""

    decision: Decision
    caller: Caller
    operation: Operation
    rule: Rule


class AllowListMiddleware(metaclass=MadeLate):
    """Refuses API clients that call from an address their allow list does not hold.

    It reads who the caller claims to be and from where, decides, and answers a refused call before anything of the
    application runs. It does not authenticate: the application checks the secret.

    `allow_lists` is an `AllowLists`, a mapping as shorthand for one, or any object with
    `async def allow_list(self, client_id) -> AllowList | None`. `trusted_proxies` are the addresses and networks whose
    `forwarded_header` is believed, and `"unix:"` for peers on a Unix socket. `identify_client` must recognise every way
    the application accepts client credentials. `on_decision` is called with every decision. With `report_only` every
    call is let through; with `require_annotations` the application does not start while an operation is not annotated.

    Raises `AllowListError` or `TypeError` for an option that makes no sense, naming it.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        allow_lists: Source | Mapping[str, Any],
        trusted_proxies: Collection[str] = (),
        forwarded_header: str = "X-Forwarded-For",
        identify_client: IdentifyClient = basic_client,
        denial: Denial | None = None,
        report_only: bool = False,
        on_decision: OnDecision | None = None,
        require_annotations: bool = False,
    ) -> None:
        fastapi_routers.require_known_release()
        if not callable(app):
            raise TypeError(f"app: {quote(app)} is not an ASGI application; write AllowListMiddleware(app, ...)")
        require_callable(
            "identify_client", identify_client, "identify_client(connection) returning a client id or None"
        )
        if denial is not None:
            require_plain("denial", denial, "denial(decision) returning a Response")
        if on_decision is not None:
            require_plain("on_decision", on_decision, "on_decision(decision)")
        _require_bool("report_only", report_only)
        _require_bool("require_annotations", require_annotations)
        self.app = app
        self.report_only = report_only
        self._denial = denial
        self._on_decision = on_decision
        self._require_annotations = require_annotations
        self._proxies = TrustedProxies(trusted_proxies, forwarded_header)
        self._callers = Callers(identify_client, _parse_source(allow_lists), self._proxies)
        self._lists = self._callers.at_hand
        self._placement = Placement(self)
        self._is_checked = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Judge an HTTP request or a WebSocket handshake; pass a lifespan, and refuse any other kind of scope."""
        if scope["type"] not in _JUDGED:
            await self._pass(scope, receive, send)
            return
        if not self._is_checked:
            self._check_start(scope)
        if passages.get():
            adopt(scope, self)
        lists = self._lists
        found = None if lists is None else judge_ordinary(scope, lists, self.report_only)
        if found is None:
            found = await self._look_closer(scope)
        if isinstance(found, Decision):
            scope[DECISION] = found
            if self._on_decision is not None or logger.isEnabledFor(_DEBUG):
                self._report(found, None, scope)
            await self.app(scope, receive, send)
            return
        method, path = scope.get("method", _WEBSOCKET), scope["path"]
        operation = self._placement.find_operation(scope)
        rule = find_rule(operation, method)
        scope[DECISION] = decision = self._make_decision(method, path, found, rule, operation.template)
        if self._on_decision is not None or logger.isEnabledFor(_DEBUG if decision.allowed else _WARNING):
            self._report(decision, found, scope)
        if not (decision.allowed or self.report_only):
            await send_refusal(decision, self.find_denial(operation, method), scope, receive, send, method)
        elif operation.is_direct or not decision.allowed:
            await self.app(scope, receive, send)
        else:
            call = Call(scope, receive, send, method, path)
            await Passage(self, call, found, rule, operation, decision).run(self.app)

    async def _look_closer(self, scope: Scope) -> Decision | Caller:
        """Return the decision about a caller that needs no operation for it, or the caller."""
        caller = await self._callers.find(scope)
        if caller.standing not in CLEARED:
            return caller
        method = scope.get("method", _WEBSOCKET)
        return self._make_decision(method, scope["path"], caller, Rule.RESPECTS, None)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            raise RuntimeError(f"AllowListMiddleware cannot judge a scope of type {quote(scope['type'])}")
        source = self._callers.source
        await run_with_source(source, self.app, scope, receive, send, lambda: self._find_refusal_to_start(scope))

    def decide(self, call: Call, caller: Caller, rule: Rule, operation: Operation) -> Decision:
        """Return the decision about a caller and the operation its call arrived at, reported."""
        decision = self._make_decision(call.method, call.path, caller, rule, operation.template)
        self._report(decision, caller, call.scope)
        return decision

    def _make_decision(self, method: str, path: str, caller: Caller, rule: Rule, template: str | None) -> Decision:
        reason, status_code = decide(rule, caller.standing)
        fields = (
            status_code is None,
            self.report_only,
            reason,
            status_code,
            caller.client_id,
            caller.address,
            method,
            path,
            template,
            None if status_code is None else make_request_id(),
        )
        return _make(Decision, fields)

    async def refuse(self, call: Call, decision: Decision, operation: Operation) -> None:
        """Send the nearest denial as the response to a refused call."""
        denial = self.find_denial(operation, call.method)
        await send_refusal(decision, denial, call.scope, call.receive, call.send, call.method)

    async def evaluate(self, scope: Scope) -> Evaluation:
        """Return what is decided about a call when it arrives here; nothing is reported and nothing runs."""
        method = scope.get("method", _WEBSOCKET)
        caller = await self._callers.find(scope)
        operation = self.find_operation(scope)
        rule = find_rule(operation, method)
        template = None if caller.standing in CLEARED else operation.template
        decision = self._make_decision(method, scope["path"], caller, rule, template)
        return Evaluation(decision, caller, operation, rule)

    def find_operation(self, scope: Scope) -> Operation:
        """Return the operation that would serve a call that arrives here."""
        return self._placement.find_operation(scope)

    def find_denial(self, operation: Operation, method: str) -> Denial | None:
        """Return the denial of a call that is refused here; `None` stands for the documented one."""
        nearest = find_denial(operation, method)
        return self._denial if nearest is None else nearest

    @property
    def source(self) -> Source:
        """Where the lists are looked up."""
        return self._callers.source

    @property
    def proxies(self) -> TrustedProxies:
        """Whom to believe about where a call came from."""
        return self._proxies

    def _report(self, decision: Decision, caller: Caller | None, scope: Scope) -> None:
        level = _DEBUG if decision.allowed else _WARNING
        if logger.isEnabledFor(level):
            ending = "" if caller is None or decision.allowed else find_ending(decision, caller, self._proxies, scope)
            write(level, make_line(decision, ending), make_extra(decision))
        if self._on_decision is not None:
            try:
                self._on_decision(decision)
            except Exception:  # noqa: BLE001 - the user's, who reads of it
                line = f"on_decision: {name_of(self._on_decision)} failed; the call is not affected"
                write(logging.ERROR, line, exc_info=True)

    def _check_start(self, scope: Scope) -> None:
        start = self._placement.find_start(scope)
        found = survey(list(find_reachable(start.app, start.groups)), self.app)
        if self._require_annotations:
            require_annotated(found)
        self._is_checked = True
        level, summary = make_summary(found, report_only=self.report_only, proxies=self._proxies)
        write(level, summary)

    def _find_refusal_to_start(self, scope: Scope) -> str:
        try:
            self._check_start(scope)
        except AllowListError as refusal:
            return str(refusal)
        except Exception:  # noqa: BLE001 - the first call would raise it again, and so would every other
            return traceback.format_exc()
        return ""


def _require_bool(place: str, value: object) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"{place}: {quote(value)} is neither True nor False; write one of the two")


def _parse_source(allow_lists: Any) -> Source:
    is_mapping = isinstance(allow_lists, Mapping)
    # A mapping may answer attributes with its items.
    look_up = getattr(type(allow_lists) if is_mapping else allow_lists, "allow_list", None)
    if is_mapping and look_up is None:
        return AllowLists(allow_lists)
    if isinstance(allow_lists, AllowList):
        raise TypeError("allow_lists: one AllowList names no client; write AllowLists(others=...) if all share it")
    if isinstance(allow_lists, type) or look_up is None:
        raise TypeError(
            f"allow_lists: {quote(allow_lists)} is neither a mapping nor a source; write "
            "AllowLists({'acme': ['192.0.2.0/24']}), or an object with async def allow_list(self, client_id)"
        )
    source: Source = allow_lists
    require_callable("allow_lists", source.allow_list, "async def allow_list(self, client_id)")
    if not is_async(source.allow_list):
        raise TypeError(
            f"allow_lists: {name_of(source.allow_list)} is not async; write async def allow_list(self, client_id)"
        )
    return source
