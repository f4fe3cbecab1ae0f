"""What holds for every operation of an application, as the middleware itself resolves and judges it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Host, Mount, Router

from allowlist_middleware.operations import Operation, Ruling, find_ruling
from allowlist_middleware.policy import Rule
from allowlist_middleware.reachable import ANY_METHOD, Reachable, find_reachable
from allowlist_middleware.samples import make_samples
from allowlist_middleware.stations import Journey, Station, Stations

Origin: TypeAlias = Literal["method", "endpoint", "route", "router", "mount", "application", "nobody"]
"""What carries the annotation that rules an operation."""

_STRICTNESS: Final = (Rule.IGNORES, Rule.RESPECTS, Rule.REQUIRES_CLIENT)


@dataclass(frozen=True, slots=True)
class Answer:
    """What holds for one operation.

    `path` is its template below the application asked, `host` that of the `Host` route around it, if any. `method` is
    `WEBSOCKET` for a handshake, and `*` where all methods arrive. `respects` and `requires_client` are what the
    middleware does with a call of that method and path, `origin` is what carries the annotation it goes by. `is_opaque`
    tells that what serves the call cannot be looked into. `is_judged` tells that an `AllowListMiddleware` was seen
    before it: one that is wrapped around the application asked is not. `shadowed_by` names the endpoint of a route
    before it that takes its calls. `group` is what a table lists it under: FastAPI's tag, or where it is mounted.
    """

    method: str
    path: str
    endpoint: str
    respects: bool
    requires_client: bool
    origin: Origin
    is_opaque: bool
    is_judged: bool
    is_documentation: bool
    host: str | None
    shadowed_by: str | None
    group: str

    def __str__(self) -> str:
        """Return the method and the path."""
        return f"{self.method} {self.path}"


class Judged(NamedTuple):
    """An operation with all its answer follows from; `operation` is the one that serves its calls."""

    reachable: Reachable
    operation: Operation
    ruling: Ruling
    stations: tuple[Station, ...]
    is_shadowed: bool

    @property
    def answer(self) -> Answer:
        """What holds for the operation."""
        reachable, annotation = self.reachable, self.ruling.annotation
        return Answer(
            method=reachable.method,
            path=reachable.path,
            endpoint=name_endpoint(reachable.operation),
            respects=annotation.respects,
            requires_client=annotation.require_client,
            origin=find_origin(self.ruling, self.operation),
            is_opaque=self.operation.is_opaque,
            is_judged=bool(self.stations),
            is_documentation=reachable.is_documentation,
            host=reachable.surroundings.hosts[-1].template if reachable.surroundings.hosts else None,
            shadowed_by=name_endpoint(self.operation) if self.is_shadowed else None,
            group=_find_group(reachable),
        )


def operations(app: Any) -> list[Answer]:
    """Return what holds for every operation an application can be reached at, in the order of its routes.

    The application is one of Starlette or FastAPI, or whatever wraps one. It is neither started nor called.

        assert {f"{o.method} {o.path}": o.respects for o in operations(app)} == {"POST /entity": True, ...}
    """
    return [judged.answer for judged in judge_operations(app)]


def judge_operations(app: Any) -> Iterator[Judged]:
    """Yield every operation with all its answer follows from."""
    stations = Stations(app)
    for reachable in find_reachable(app):
        yield _judge(reachable, stations)


def find_strictest(operation: Operation, method: str, stations: Sequence[Station]) -> tuple[Operation, Ruling]:
    """Return what the strictest of the stations goes by, each with its own view of the operation."""
    views = [station.middleware.find_operation(station.scope) for station in stations]
    views = [view for view in views if view.is_served] or [operation]
    return max(((view, find_ruling(view, method)) for view in views), key=lambda found: find_strictness(found[1]))


def find_strictness(ruling: Ruling) -> int:
    """Return how much the annotation asks of callers, as a number to compare."""
    return _STRICTNESS.index(ruling.annotation.rule)


def find_origin(ruling: Ruling, operation: Operation) -> Origin:
    """Return what kind of object carries the annotation."""
    match ruling.holder:
        case None:
            return "nobody"
        case Starlette():
            return "application"
        case Router():
            return "router"
        case Mount() | Host():
            return "mount"
        case BaseRoute():
            return "route"
        case holder if all(holder is not place for place in operation.places):
            return "method"
        case holder if holder is operation.endpoint and not operation.is_opaque:
            return "endpoint"
    return "application"  # any other ASGI application, or what wraps one


def name_endpoint(operation: Operation) -> str:
    """Return the dotted name of what serves an operation."""
    endpoint = operation.endpoint
    while isinstance(endpoint, partial):
        endpoint = endpoint.func
    if endpoint is None:
        endpoint = next(iter(operation.places), None)
    named = endpoint if hasattr(endpoint, "__qualname__") else type(endpoint)
    return f"{named.__module__}.{named.__qualname__}"


def _judge(reachable: Reachable, stations: Stations) -> Judged:
    journeys = []
    for scope in make_samples(reachable):
        journey = stations.follow(scope)
        if _arrives(journey.operation, reachable):
            return _make(reachable, journey, is_shadowed=False)
        journeys.append(journey)
    if all(journey.operation.is_served for journey in journeys):
        # Another route takes every sample, so that is what holds for these calls.
        return _make(reachable, journeys[0], is_shadowed=True)
    # No sample fits, as for a route that also goes by headers: its own annotation is all there is.
    operation, ruling = reachable.operation, find_ruling(reachable.operation, reachable.method)
    return Judged(reachable, operation, ruling, journeys[0].stations, is_shadowed=False)


def _find_group(reachable: Reachable) -> str:
    if reachable.is_documentation:
        return "documentation"
    return reachable.tags[0] if reachable.tags else reachable.surroundings.prefix or "/"


def _make(reachable: Reachable, journey: Journey, *, is_shadowed: bool) -> Judged:
    method = "GET" if reachable.method == ANY_METHOD else reachable.method  # as the samples have it
    view, ruling = find_strictest(journey.operation, method, journey.stations)
    return Judged(reachable, view, ruling, journey.stations, is_shadowed)


def _arrives(operation: Operation, reachable: Reachable) -> bool:
    return (
        operation.is_served
        and (operation.is_opaque or not reachable.operation.is_opaque)
        and any(place is reachable.anchor for place in operation.places)
    )
