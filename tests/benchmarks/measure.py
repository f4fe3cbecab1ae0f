"""Measuring on a machine that is not quiet: interleaved rounds, ratios within a round, medians and quartiles.

Every subject runs one short batch in every round, in an order drawn anew. A subject is compared with the baseline of
the same round, so that a slow second of the machine slows both. What is reported is the median of these ratios and the
quartiles around it. Within one process it is processor time that is measured: other processes do not count.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, Self

try:
    from rich import progress as bars
except ImportError:  # a guard in a bare environment needs none
    bars = None

HERE: Final = Path(__file__).parent
RESULTS: Final = HERE / "results"
PLOTS: Final = HERE / "plots"

ALWAYS: Final = ("allowlist_middleware", "starlette", "fastapi")
"""Distributions whose versions stand in every result."""

Batch = Callable[[], float]
"""Runs one batch and returns the seconds of one operation."""


@dataclass(frozen=True)
class Spread:
    """The median of some values, and the quartiles around it."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        if len(values) < 2:
            return cls(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)

    def __format__(self, spec: str) -> str:
        return f"{self.median:{spec}} [{self.low:{spec}}..{self.high:{spec}}]"


@dataclass(frozen=True)
class Row:
    """One line of a report: a figure, and the goal it is held against; `at_least` where more is better."""

    name: str
    value: Spread
    unit: str = "ratio"
    goal: float | None = None
    at_least: bool = False
    seconds: Spread | None = None
    note: str = ""

    @property
    def is_reached(self) -> bool | None:
        if self.goal is None:
            return None
        return self.value.median >= self.goal if self.at_least else self.value.median <= self.goal


class Progress:
    """A progress bar on a terminal; nothing without `rich`."""

    def __init__(self, total: int, name: str) -> None:
        self._name = name
        self._bar: Any = None
        self._task: Any = None
        if bars is not None:
            self._bar = bars.Progress(*bars.Progress.get_default_columns(), bars.MofNCompleteColumn(), transient=True)
            self._task = self._bar.add_task(name, total=total)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, text: str | None = None, count: int = 1) -> None:
        if self._bar is not None:
            self._bar.update(self._task, advance=count, description=self._name if text is None else text)


def interleave(
    subjects: Mapping[str, Batch], rounds: int, progress: Progress | None = None, seed: int = 7
) -> dict[str, list[float]]:
    """Run one batch of every subject in every round; return their seconds by subject, one for each round."""
    order = list(subjects)
    shuffle = random.Random(seed).shuffle
    seconds: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(rounds):
        shuffle(order)
        for name in order:
            seconds[name].append(subjects[name]())
        if progress is not None:
            progress.step()
    return seconds


def ratios(seconds: Mapping[str, Sequence[float]], name: str, baseline: str) -> Spread:
    """Return a subject's time to that of the baseline, round by round."""
    return Spread.of([own / base for own, base in zip(seconds[name], seconds[baseline], strict=True)])


now: Final = time.process_time


@contextmanager
def without_collector() -> Iterator[None]:
    """Keep the cyclic collector out of a batch, as `timeit` does; what the last batch left is collected before."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def timed(function: Callable[[], object], count: int, *, collecting: bool = False) -> Batch:
    """Return a batch that calls a plain function; `count` is the number of operations one call performs.

    With `collecting` the cyclic collector runs as it would otherwise: it is part of what making many objects costs.
    """

    def batch() -> float:
        with nullcontext() if collecting else without_collector():
            start = now()
            function()
            return (now() - start) / count

    return batch


@contextmanager
def settled() -> Iterator[None]:
    """Exempt what exists now from collection, so that applications of many routes do not slow the measuring."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def calibrate(function: Callable[[int], float], target: float) -> int:
    """Return how many operations take about `target` seconds; `function` returns the seconds of so many."""
    count = 1
    while (seconds := function(count)) < target / 4 and count < 1 << 24:
        count *= 4
    return max(1, round(count * target / max(seconds, 1e-9)))


# ── What a result says about itself ───────────────────────────────────────────────────────────────────────────────────


def describe_machine() -> dict[str, Any]:
    """Return the processor, the cores and the interpreter: all that is said about a machine."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": platform.system(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def find_versions(*distributions: str) -> dict[str, str]:
    """Return the versions of those distributions that are installed."""
    found = {}
    for name in (*ALWAYS, *distributions):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def write_result(name: str, rows: Sequence[Row], versions: Mapping[str, str], **more: Any) -> Path:
    """Write the rows and whatever else was found as JSON; return where."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    result = {
        "benchmark": name,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": describe_machine(),
        "versions": dict(versions),
        "rows": [{**asdict(row), "reached": row.is_reached} for row in rows],
        **more,
    }
    path.write_text(json.dumps(_rounded(result), indent=1) + "\n")
    return path


def read_result(name: str) -> dict[str, Any]:
    """Return what `write_result` wrote."""
    result: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return result


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(one) for one in value]
    return value


def print_header(name: str, versions: Mapping[str, str]) -> None:
    machine = describe_machine()
    print(f"{name}: {machine['processor']}, {machine['cores']} cores, {machine['python']}")
    print(", ".join(f"{distribution} {number}" for distribution, number in versions.items()))
    print(f"load average {os.getloadavg()[0]:.2f}\n" if hasattr(os, "getloadavg") else "")


def print_rows(title: str, rows: Sequence[Row], digits: int = 3) -> None:
    """Print rows as a table: figure, quartiles, absolute time, goal, and whether it was reached."""
    width = max((len(row.name) for row in rows), default=0)
    print(f"{title}\n{'':{width}}  {'median':>9}  {'quartiles':>19}  {'time':>10}  {'goal':>7}")
    for row in rows:
        spread = f"[{row.value.low:.{digits}f}..{row.value.high:.{digits}f}]"
        seconds = "" if row.seconds is None else show_seconds(row.seconds.median)
        goal = "" if row.goal is None else f"{'>=' if row.at_least else '<='} {row.goal:g}"
        verdict = {None: "", True: "reached", False: "NOT reached"}[row.is_reached]
        print(
            f"{row.name:{width}}  {row.value.median:9.{digits}f}  {spread:>19}  {seconds:>10}  {goal:>7}  "
            f"{verdict} {row.note}".rstrip()
        )
    print()


def show_seconds(seconds: float) -> str:
    """Return a time as a reader sees it best."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def parse_arguments(description: str, more: Callable[[argparse.ArgumentParser], None] | None = None) -> Any:
    """Return the options every benchmark has, and those `more` adds."""
    parser = argparse.ArgumentParser(prog=f"python -m {_module_name()}", description=description)
    parser.add_argument("--quick", action="store_true", help="fewer rounds: a look, which is not written")
    parser.add_argument("--no-write", action="store_true", help="do not write the result as JSON")
    if more is not None:
        more(parser)
    arguments = parser.parse_args()
    arguments.no_write |= arguments.quick
    return arguments


def _module_name() -> str:
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name if spec is not None else Path(sys.argv[0]).name
