"""Why a call is allowed or denied: the evaluation of every middleware on its way, and all that it follows from."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from starlette.types import Scope

from allowlist_middleware.audit import Origin, find_origin, name_endpoint
from allowlist_middleware.documented import call_denial
from allowlist_middleware.endings import find_ending
from allowlist_middleware.entries import Miss, find_holding, find_nearest
from allowlist_middleware.errors import AllowListError
from allowlist_middleware.middleware import AllowListMiddleware, Evaluation
from allowlist_middleware.networks import AllowList
from allowlist_middleware.opening import open_sources
from allowlist_middleware.operations import Ruling, find_ruling
from allowlist_middleware.policy import Decision, Standing
from allowlist_middleware.proxies import Ending, Walk
from allowlist_middleware.samples import make_scope
from allowlist_middleware.stations import Station, Stations

_HAVE_LIST: Final = (Standing.ON_LIST, Standing.ANYWHERE, Standing.NOT_ON_LIST, Standing.ADDRESS_UNKNOWN)
_PORT: Final = 50_000


class Judgement(NamedTuple):
    """What one middleware decides about a call, and all that this follows from.

    `holding` are the entries that hold the address, `nearest` those that miss it least; `allow_list` is `None` where
    none was found. `advice` says what to do about a refusal, and `answered` with which HTTP status it is answered.
    """

    decision: Decision
    is_served: bool
    template: str | None
    endpoint: str
    ruling: Ruling
    origin: Origin
    walk: Walk
    allow_list: AllowList | None
    holding: tuple[str, ...]
    nearest: tuple[Miss, ...]
    advice: str
    answered: int | None


def make_call(
    method: str,
    path: str,
    *,
    client_id: str | None = None,
    peer: str | None = None,
    headers: Iterable[tuple[str, str]] = (),
) -> Scope:
    """Return the scope of a call; a client sends its id as Basic credentials, the peer `unix:` is a Unix socket."""
    fields = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    if all(name != b"host" for name, _ in fields):
        fields.insert(0, (b"host", b"localhost"))
    if client_id is not None:
        fields.append((b"authorization", b"Basic " + b64encode(f"{client_id}:".encode())))
    scope = make_scope(method.upper(), path, fields)
    if peer == "unix:":
        scope["server"] = ("/unix.sock", None)
    elif peer is not None:
        scope["client"] = (peer, _PORT)
    return scope


def from_address(app: Any, scope: Scope, address: str) -> Scope:
    """Return the call as it arrives from an address, named by the header where the address is a trusted proxy's."""
    scope = {**scope, "client": (address, _PORT)}
    for station in Stations(app).follow(scope).stations:
        walk = station.middleware.proxies.explain(scope["client"], None, [])
        if walk.ending is Ending.NO_HEADER:
            value = f'for="[{address}]"' if ":" in address else f"for={address}"
            field = value if walk.header.lower() == "forwarded" else address
            scope["headers"] = [*scope["headers"], (walk.header.lower().encode(), field.encode())]
    return scope


async def explain(app: Any, scope: Scope) -> list[Judgement]:
    """Return what every middleware on the way of a call decides, to the first that refuses it.

    Nothing of the application runs, neither its lifespan nor what serves the call; sources are opened and closed.
    Raises `AllowListError` where no middleware judges the call.
    """
    journey = Stations(app).follow(scope)
    if not journey.stations:
        raise AllowListError("no AllowListMiddleware judges this call; add one with app.add_middleware")
    judgements = []
    async with open_sources(station.middleware for station in journey.stations):
        for station in journey.stations:
            judgement = await _judge(station)
            judgements.append(judgement)
            if not judgement.decision.allowed and not judgement.decision.report_only:
                break
    return judgements


async def _judge(station: Station) -> Judgement:
    middleware, _, scope = station
    evaluation = await middleware.evaluate(scope)
    decision, caller, operation, _ = evaluation
    ruling = find_ruling(operation, decision.method)
    allow_list = None
    if caller.standing in _HAVE_LIST:
        allow_list = await middleware.source.allow_list(caller.client_id or "")
    entries = () if allow_list is None else allow_list.entries
    return Judgement(
        decision=decision,
        is_served=operation.is_served,
        template=operation.template,
        endpoint=name_endpoint(operation),
        ruling=ruling,
        origin=find_origin(ruling, operation),
        walk=middleware.proxies.explain(scope.get("client"), scope.get("server"), scope["headers"]),
        allow_list=allow_list,
        holding=() if decision.address is None else tuple(find_holding(entries, decision.address)),
        nearest=() if decision.address is None else tuple(find_nearest(entries, decision.address)),
        advice=_find_advice(middleware, evaluation, scope),
        answered=_find_status(middleware, evaluation),
    )


def _find_advice(middleware: AllowListMiddleware, evaluation: Evaluation, scope: Scope) -> str:
    if evaluation.decision.allowed:
        return ""
    return find_ending(evaluation.decision, evaluation.caller, middleware.proxies, scope)


def _find_status(middleware: AllowListMiddleware, evaluation: Evaluation) -> int | None:
    decision, _, operation, _ = evaluation
    if decision.status_code is None:
        return None
    return call_denial(middleware.find_denial(operation, decision.method), decision, decision.status_code).status_code
