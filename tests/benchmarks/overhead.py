"""What the middleware adds to a call, in one process, as a ratio to the bare application of the same round.

`python -m tests.benchmarks.overhead` measures every row of the goals, beside what one would use otherwise, and how the
cost grows with the number of routes and of clients.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import cycle
from typing import Any, Final, NamedTuple

from starlette.types import ASGIApp

from allowlist_middleware import AllowListMiddleware, AllowLists
from tests.benchmarks.apps import (
    IGNORES,
    LISTED,
    RESPECTS,
    Annotate,
    Call,
    add_ours,
    basic,
    check_answers,
    make_starlette,
    ordinary,
    path_of,
    receive,
    refused,
    send,
    silence,
    token,
)
from tests.benchmarks.beside import YARDSTICKS, make_fastapi
from tests.benchmarks.measure import (
    Batch,
    Progress,
    Row,
    Spread,
    calibrate,
    find_versions,
    interleave,
    now,
    parse_arguments,
    print_header,
    print_rows,
    ratios,
    settled,
    without_collector,
    write_result,
)

BARE: Final = "bare"
OURS: Final = "allowlist_middleware"
INSTANCES: Final = 3
LOGGED: Final = "allowlist_middleware, logging on"
ROUTES: Final = (1, 10, 50, 100, 200, 500, 1000)
CLIENTS: Final = (1, 100, 10_000, 100_000, 1_000_000)

_logger = logging.getLogger("allowlist_middleware")


class Subject(NamedTuple):
    """Applications that are alike, the calls they get in turn, and the status of the answer they must give.

    They take turns, one a round: where the objects of one happen to lie in memory may make it a few percent slower.
    """

    apps: Sequence[ASGIApp]
    calls: tuple[Call, ...]
    status: int = 200
    logs: bool = False


class Experiment(NamedTuple):
    """Subjects that are compared with the bare application, and the goals."""

    name: str
    subjects: dict[str, Subject]
    goals: dict[str, float]
    note: str = ""


class Plan(NamedTuple):
    """How long to measure."""

    rounds: int
    batch_seconds: float


FULL: Final = Plan(200, 0.004)
QUICK: Final = Plan(20, 0.002)


# ── Experiments ───────────────────────────────────────────────────────────────────────────────────────────────────────


def goals_experiments() -> Iterator[Experiment]:
    """Make the experiments of the goals, one after the other: an application of 500 routes is not small."""
    starlette, fastapi = make_starlette, make_fastapi
    yield _experiment("ordinary call, Starlette, 1 route", starlette, 1, ordinary(), 1.30, YARDSTICKS)
    yield _experiment("ordinary call, FastAPI, 1 route", fastapi, 1, ordinary(), 1.08, YARDSTICKS)
    for kind, make in (("Starlette", starlette), ("FastAPI", fastapi)):
        yield _experiment(f"ordinary call, {kind}, 500 routes, the last", make, 500, ordinary(499), 1.03)
        yield _experiment(f"ordinary call, {kind}, 500 routes, a middle one", make, 500, ordinary(250), 1.03)
    included = partial(make_fastapi, included=True)
    yield _experiment("token call, Starlette, 1 route", starlette, 1, token(), 1.50)
    yield _experiment("token call, Starlette, 500 routes, the last", starlette, 500, token(499), 1.04)
    yield _experiment("token call, Starlette, 500 routes, a middle one", starlette, 500, token(250), 1.04)
    yield _experiment("token call, FastAPI, 200 direct routes", fastapi, 200, token(199), 1.06)
    yield _experiment("token call, FastAPI, 200 included routes", included, 200, token(199), 1.10)
    yield _refusal("refusal, Starlette, 1 route", starlette, 1)
    yield _refusal("refusal, FastAPI, 1 route", fastapi, 1)
    yield _refusal("refusal, Starlette, 500 routes", starlette, 500)


def _make_some(make: Callable[..., Any], *arguments: Any) -> list[ASGIApp]:
    return [make(*arguments) for _ in range(INSTANCES)]


def _experiment(
    name: str, make: Callable[..., Any], count: int, call: Call, goal: float, yardsticks: dict[str, Any] | None = None
) -> Experiment:
    annotate: Annotate = RESPECTS if call.address == LISTED else IGNORES
    adders = {BARE: None, **(yardsticks or {}), OURS: add_ours}
    subjects = {label: Subject(_make_some(make, count, annotate, add), (call,)) for label, add in adders.items()}
    return Experiment(name, subjects, {OURS: goal})


def _refusal(name: str, make: Callable[..., Any], count: int) -> Experiment:
    subjects = {
        BARE: Subject(_make_some(make, count, RESPECTS), (ordinary(count - 1),)),
        OURS: Subject(_make_some(make, count, RESPECTS, add_ours), (refused(count - 1),), 403),
        LOGGED: Subject(_make_some(make, count, RESPECTS, add_ours), (refused(count - 1),), 403, logs=True),
    }
    # HandMade refuses before it knows the operation, and says nothing to an operator.
    for label in ("hand-made check", "fastapi-guard, one list"):
        if label in YARDSTICKS:
            apps = _make_some(make, count, RESPECTS, YARDSTICKS[label])
            subjects[label] = Subject(apps, (refused(count - 1),), 403)
    return Experiment(name, subjects, {OURS: 0.6}, "to a bare allowed call")


def routes_experiments(counts: tuple[int, ...]) -> Iterator[tuple[str, int, Experiment]]:
    """Make the experiments of the cost against the number of routes; the call goes to the last one."""
    included = partial(make_fastapi, included=True)
    kinds: tuple[tuple[str, Callable[..., Any]], ...] = (
        ("Starlette", make_starlette),
        ("FastAPI", make_fastapi),
        ("FastAPI, included", included),
        ("Starlette, paths that begin with a parameter", partial(make_starlette, prefix="/{tenant}")),
    )
    for kind, make in kinds:
        for count in counts:
            for name, annotate, call, status in (
                ("ordinary", RESPECTS, ordinary(count - 1), 200),
                ("token", IGNORES, token(count - 1), 200),
                ("refused", RESPECTS, refused(count - 1), 403),
            ):
                subjects = {
                    BARE: Subject(_make_some(make, count, annotate), (ordinary(count - 1),)),
                    OURS: Subject(_make_some(make, count, annotate, add_ours), (call,), status),
                }
                yield f"{kind}: {name}", count, Experiment(f"{count} routes, {kind}, {name}", subjects, {})


def clients_experiments(counts: tuple[int, ...]) -> Iterator[tuple[str, int, Experiment]]:
    """Make the experiments of the cost against the number of clients, which call in turn from their lists."""
    draw = random.Random(7)
    for count in counts:
        lists = AllowLists({f"client-{number}": [_address(number)] for number in range(count)})
        app = make_starlette(1, RESPECTS)
        app.add_middleware(AllowListMiddleware, allow_lists=lists)
        chosen = [draw.randrange(count) for _ in range(min(count, 2000))]
        calls = tuple(Call(path_of(0), basic(f"client-{number}"), _address(number)) for number in chosen)
        subjects = {BARE: Subject([make_starlette(1, RESPECTS)], calls), OURS: Subject([app], calls)}
        yield "Starlette: ordinary", count, Experiment(f"{count} clients", subjects, {})


def _address(number: int) -> str:
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


# ── Measuring ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _run(app: ASGIApp, calls: Sequence[Call], count: int) -> float:
    """Return the seconds of `count` calls; the scopes are made before, as the server makes them."""
    scopes = [calls[number % len(calls)].make_scope() for number in range(count)]
    with without_collector():
        start = now()
        for scope in scopes:
            await app(scope, receive, send)
        return now() - start


@contextmanager
def _logging(*, on: bool) -> Iterator[None]:
    """Turn the logging of refusals on, with a handler and a format as they are usual, into nowhere; or off."""
    if not on:
        yield
        return
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - it is not a path
        handler = logging.StreamHandler(nowhere)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
        _logger.addHandler(handler)
        _logger.propagate = False
        _logger.setLevel(logging.WARNING)
        try:
            yield
        finally:
            _logger.removeHandler(handler)
            _logger.propagate = True
            silence()


def measure(runner: asyncio.Runner, experiment: Experiment, plan: Plan) -> dict[str, list[float]]:
    """Check the answers, then return the seconds of a call by subject, one for each round."""
    for subject in experiment.subjects.values():
        runner.run(check_answers(subject.apps, subject.calls[0], subject.status))
    with settled():
        batches = {label: _batch(runner, subject, plan) for label, subject in experiment.subjects.items()}
        return interleave(batches, plan.rounds)


def _batch(runner: asyncio.Runner, subject: Subject, plan: Plan) -> Batch:
    turns = cycle(subject.apps)

    def run(count: int) -> float:
        with _logging(on=subject.logs):
            return runner.run(_run(next(turns), subject.calls, count))

    count = calibrate(run, plan.batch_seconds)
    return lambda: run(count) / count


def _rows(experiment: Experiment, seconds: dict[str, list[float]]) -> list[Row]:
    rows = [Row(f"{experiment.name}: {BARE}", Spread(1, 1, 1), seconds=Spread.of(seconds[BARE]))]
    for label in experiment.subjects:
        if label != BARE:
            own = Spread.of(seconds[label])
            ratio = ratios(seconds, label, BARE)
            name = f"{experiment.name}: {label}"
            rows.append(Row(name, ratio, goal=experiment.goals.get(label), seconds=own, note=experiment.note))
    return rows


def _point(seconds: dict[str, list[float]]) -> dict[str, Any]:
    added = [own - bare for own, bare in zip(seconds[OURS], seconds[BARE], strict=True)]
    return {
        "ratio": ratios(seconds, OURS, BARE).median,
        "added_seconds": Spread.of(added).median,
        "bare_seconds": Spread.of(seconds[BARE]).median,
    }


def main() -> None:
    arguments = parse_arguments(__doc__ or "")
    plan = QUICK if arguments.quick else FULL
    sweep = Plan(max(10, plan.rounds // 3), plan.batch_seconds)
    routes, clients = (ROUTES[:-1:2], CLIENTS[:-1]) if arguments.quick else (ROUTES, CLIENTS)
    versions = find_versions("fastapi-guard")
    silence()
    print_header("in-process overhead", versions)
    rows: list[Row] = []
    by_routes: list[dict[str, Any]] = []
    by_clients: list[dict[str, Any]] = []
    with asyncio.Runner() as runner, Progress(13 + 12 * len(routes) + len(clients), "overhead") as progress:
        for experiment in goals_experiments():
            progress.step(experiment.name)
            rows += _rows(experiment, measure(runner, experiment, plan))
        for found, experiments in ((by_routes, routes_experiments(routes)), (by_clients, clients_experiments(clients))):
            for series, count, experiment in experiments:
                progress.step(experiment.name)
                found.append({"series": series, "count": count, **_point(measure(runner, experiment, sweep))})
    print_rows("ratio to the bare application", rows)
    for title, found in (("routes", by_routes), ("clients", by_clients)):
        for point in found:
            cost = f"{point['ratio']:.3f}  {point['added_seconds'] * 1e6:+7.2f} us"
            print(f"{point['count']:>9} {title}  {cost}  {point['series']}")
    if not arguments.no_write:
        path = write_result("overhead", rows, versions, by_routes=by_routes, by_clients=by_clients, rounds=plan.rounds)
        print(f"written to {path.relative_to(path.parents[3])}")


if __name__ == "__main__":
    main()
