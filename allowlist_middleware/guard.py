"""The second judgement: a call let through for another reason than its list is judged again before every router."""

from __future__ import annotations

import logging
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import suppress
from contextvars import ContextVar
from types import MethodType
from typing import Any, Final, NamedTuple, Protocol

from starlette.applications import Starlette
from starlette.routing import Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from allowlist_middleware.log_line import printable
from allowlist_middleware.operations import Enclosure, Operation, find_rule
from allowlist_middleware.policy import Decision, Rule
from allowlist_middleware.references import find_reference, find_routers
from allowlist_middleware.routing import Guard, find_guarded, find_operation_from, serves_itself

DECISION: Final = "allow_list_decision"
"""The key in the scope under which the decision about a request stands."""

_PASSAGES: Final = "allow_list_passages"
_GUARDED: Final = "_allow_list_guarded"

passages: ContextVar[tuple[Passage, ...]] = ContextVar("allow_list_passages", default=())
"""The calls under way, for an inner middleware that makes a scope from scratch instead of copying the one it has."""

_logger = logging.getLogger("allowlist_middleware")


class Withheld(BaseException):
    """Stops an application whose call turned out to be refused; not an `Exception`, which applications catch."""


class Call(NamedTuple):
    """A call as it arrived; what an inner middleware changes later does not change who called for what."""

    scope: Scope
    receive: Receive
    send: Send
    method: str
    path: str


class Judge(Protocol):
    """Decides about a caller and the operation its call arrived at."""

    report_only: bool

    def decide(self, call: Call, caller: Any, rule: Rule, operation: Operation) -> Decision:
        """Return the decision, reported."""

    async def refuse(self, call: Call, decision: Decision, operation: Operation) -> None:
        """Send the response to a refused call."""


class Passage:
    """A call that was let through, until the operation that serves it is known to be the one judged."""

    __slots__ = (
        "_call",
        "_caller",
        "_decision",
        "_has_started",
        "_is_reached",
        "_judge",
        "_known",
        "_operation",
        "_rule",
        "_seen",
        "is_over",
        "is_refused",
        "is_settled",
    )

    def __init__(
        self, judge: Judge, call: Call, caller: Any, rule: Rule, operation: Operation, decision: Decision
    ) -> None:
        self._judge = judge
        self._call = call
        self._caller = caller
        self._rule = rule
        self._operation = operation
        self._decision = decision
        self._known = operation.enclosures
        self._seen = call.scope
        self._has_started = self._is_reached = self.is_settled = self.is_refused = self.is_over = False

    async def run(self, app: ASGIApp) -> None:
        """Run the application; it obtains no byte for a call that turns out to be refused."""
        scope = self._call.scope
        scope[_PASSAGES] = under_way = (*scope.get(_PASSAGES, ()), self)
        token = passages.set(under_way)
        self._guard_routers()
        try:
            await app(scope, self._call.receive, self._send)
        except BaseException as exception:
            if not await self._swallows(exception):
                raise
        finally:
            self.is_over = True
            passages.reset(token)

    def is_of(self, judge: Judge) -> bool:
        """Return whether it was this judge that let the call through."""
        return self._judge is judge

    def made(self, decision: Decision) -> bool:
        """Return whether the decision is the last one about this call."""
        return self._decision is decision

    async def confirm(self, router: Router, scope: Scope) -> bool:
        """Judge again at a router, from there on and by what the scope says now; return whether the call has arrived.

        It has where the endpoint follows. Whatever that calls is its own affair, unless it hands on the scope.
        """
        if self.is_refused:  # an application that caught what stopped it tries again
            raise Withheld
        operation = find_operation_from(self._enclosure_of(router, scope), scope)
        rule = find_rule(operation, scope.get("method", self._call.method))
        changed = rule is not self._rule or not operation.is_same_as(self._operation)
        reached, *further = operation.enclosures
        self._known = (*further, reached, *(known for known in self._known if known.router is not router))
        self._operation, self._rule, self._seen = operation, rule, scope
        self._guard_routers()
        self._is_reached = True
        if changed and await self._refused(operation, rule):
            raise Withheld
        is_endpoint = operation.is_served and not (further or operation.is_opaque or operation.guessed)
        return is_endpoint and serves_itself(operation.places[1], operation.endpoint)

    async def _send(self, message: Message) -> None:
        if self.is_refused or (not self.is_settled and await self._settled_by_refusal()):
            raise Withheld
        self._has_started = True
        await self._call.send(message)

    async def _swallows(self, exception: BaseException) -> bool:
        """Return whether the exception ends here: the application was stopped, or its exception must not be shown."""
        if isinstance(exception, Exception) and not self.is_settled:
            return await self._settled_by_refusal()
        if isinstance(exception, BaseExceptionGroup):
            return self.is_refused and exception.split((Withheld, Exception))[1] is None
        return self.is_refused and isinstance(exception, Withheld | Exception)

    async def _settled_by_refusal(self) -> bool:
        """Compare the endpoint that really served the call with the one judged; return whether the call is refused."""
        self.is_settled = self.is_refused = True  # whatever fails before it is decided lets nothing out
        self.is_refused = await self._is_served_amiss()
        return self.is_refused

    async def _is_served_amiss(self) -> bool:
        judged, served = self._operation, self._seen.get("endpoint")
        if judged.guessed is not None:
            judged = judged.guessed
        elif any(served is endpoint for endpoint in (judged.endpoint, *self._entered())):
            return False
        operation = judged if served is judged.endpoint else self._served(judged, served)
        rule = find_rule(operation, self._seen.get("method", self._call.method))
        refused = await self._refused(operation, rule)
        if refused:
            _logger.error(
                "%s %s was served by another endpoint than the one judged; its response is withheld",
                printable(self._decision.method),
                printable(self._decision.path),
            )
        return refused

    async def _refused(self, operation: Operation, rule: Rule) -> bool:
        self.is_refused = True  # whatever fails before it is decided lets nothing through, also at another try
        before, self._decision = self._decision, self._judge.decide(self._call, self._caller, rule, operation)
        for scope in (self._call.scope, self._seen):
            if scope.get(DECISION) is before:  # an inner instance of the middleware has the last word there
                scope[DECISION] = self._decision
        self.is_refused = not (self._decision.allowed or self._decision.report_only)
        if not self.is_refused:
            return False
        self.is_settled = True
        if not self._has_started:  # else there is one response already, which ends here
            await self._judge.refuse(self._call, self._decision, operation)
        return True

    def _served(self, judged: Operation, served: Any) -> Operation:
        """Return the operation of an endpoint nobody expected: not annotated beyond its own annotation."""
        if self._is_reached:
            reached = self._operation.enclosures[0]
            scope = {**self._seen, "endpoint": reached.endpoint}
            if not (left := find_operation_from(reached, scope)).is_served and left.endpoint is served:
                return left  # what a partial match left: the router answers 405
        around = judged.places if judged.is_opaque else ()
        return Operation(served, (served, *around), None, True, True, (), None)

    def _enclosure_of(self, router: Router, scope: Scope) -> Enclosure:
        """Return the router as it was met on the way, or on its own if nothing led there."""
        known = [enclosure for enclosure in self._known if enclosure.router is router]
        endpoint = scope.get("endpoint")
        for enclosure in known:
            if enclosure.endpoint is endpoint:  # a router that is mounted inside itself is met more than once
                return enclosure
        if known:
            return known[0]
        application = scope.get("app")
        inside = (router, application) if getattr(application, "router", None) is router else (router,)
        around = self._operation.places if self._operation.is_opaque else ()
        return Enclosure(router, (*inside, *around), "", endpoint)

    def _entered(self) -> Iterator[Any]:
        """Return what stands in the scope if a middleware answers in place of a router not yet reached."""
        return (enclosure.endpoint for enclosure in self._operation.enclosures[self._is_reached :])

    def _guard_routers(self) -> None:
        operation = self._operation
        for enclosure in operation.enclosures:
            place_guard(enclosure.router)
            for group in enclosure.groups:
                if isinstance(group, Starlette):
                    _guard_stack(group)
        for opaque in (operation, operation.guessed):
            if opaque is not None and opaque.is_opaque:
                # A router it leads to after all is judged there, by what is annotated inside.
                for app in opaque.places[:2]:
                    guard_all(app)


def adopt(scope: Scope, judge: Judge) -> None:
    """Put the calls under way, of which a scope made from scratch tells nothing, into the scope.

    A call that enters the same middleware again is another one, which an application on the way makes by itself.
    """
    if _PASSAGES not in scope:
        scope[_PASSAGES] = tuple(passage for passage in passages.get() if not passage.is_of(judge))


def _find_under_way(scope: Scope) -> tuple[Passage, ...]:
    """Return the calls under way of which the scope tells nothing, made from scratch or from that of an earlier call.

    A decision that is none of theirs shows that it is another call, which only happens to run inside of theirs.
    """
    under_way = passages.get()
    decision = scope.get(DECISION)
    if decision is None or _PASSAGES in scope or any(one.made(decision) for one in under_way):
        return under_way
    return ()


class RouterGuard(Guard):
    """Stands directly before the matching of a router, inside the router's own middleware."""

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Coroutine[Any, Any, None]:
        """Confirm the call if one is under way, and go on to the matching."""
        under_way = scope.get(_PASSAGES)
        if under_way is None or (under_way and all(one.is_over for one in under_way)):
            under_way = _find_under_way(scope)
        if not under_way:
            matching: Coroutine[Any, Any, None] = self._app(scope, receive, send)
            return matching
        return self._confirm(under_way, scope, receive, send)

    async def _confirm(self, under_way: Iterable[Passage], scope: Scope, receive: Receive, send: Send) -> None:
        further = [one for one in under_way if not (one.is_over or await one.confirm(self._router, scope))]
        token = passages.set(tuple(further))
        try:
            await self._app(scope, receive, send)
        finally:
            passages.reset(token)


def place_guard(router: Router) -> None:
    """Put a guard before the matching of a router, once for every stack, and inside the router's own middleware."""
    stack: Any = router.middleware_stack
    if vars(router).get(_GUARDED) is not stack:
        vars(router)[_GUARDED] = stack
        vars(router)[_GUARDED] = router.middleware_stack = guarded = _with_guard(router, stack)
        if not isinstance(guarded, RouterGuard):
            guard_all(guarded)


def _with_guard(router: Router, stack: Any) -> Any:
    matching = router.app
    if stack == matching:
        return RouterGuard(router, matching)
    if find_reference(stack, lambda held: find_guarded(held) is router) is not None:
        return stack
    replace = find_reference(stack, lambda held: type(held) is MethodType and held == matching)
    if replace is not None:
        with suppress(AttributeError, TypeError):
            replace(RouterGuard(router, matching))
            return stack
    # It cannot be put there: stand outside the router's middleware, and leave the rest to the last comparison.
    return RouterGuard(router, stack)


def guard_all(app: Any) -> None:
    """Put a guard before every router an application may lead to, as far as can be seen.

    A middleware may hold another application, and hand some calls to that.
    """
    for router in find_routers(app):
        place_guard(router)


def _guard_stack(application: Starlette) -> None:
    """Put a guard before every router the middleware of an application may lead to, once for every stack."""
    stack: Any = application.middleware_stack
    if stack is None:  # the application is about to build it
        guard_all([(each.cls, each.args, each.kwargs) for each in application.user_middleware])
    elif vars(application).get(_GUARDED) is not stack:
        vars(application)[_GUARDED] = stack
        guard_all(stack)
