"""Counting what a call executes: figures that a busy machine does not change.

`python -m tests.benchmarks.counting` prints what each kind of call executes, by function; with `--drive` it is what
runs under Valgrind.
"""

from __future__ import annotations

import argparse
import gc
import os
import re
import shutil
import subprocess
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any, Final, NamedTuple

from starlette.applications import Starlette

from tests.benchmarks.apps import (
    IGNORES,
    RESPECTS,
    AddMiddleware,
    Annotate,
    Call,
    add_ours,
    make_starlette,
    ordinary,
    receive,
    refused,
    send,
    silence,
    token,
)

PACKAGE: Final = "allowlist_middleware"


class Kind(NamedTuple):
    """A kind of call: the application it goes to, and the bare application it is held against."""

    routes: int
    annotate: Annotate
    call: Callable[[int], Call]
    add: AddMiddleware | None = add_ours

    def make(self, *, bare: bool = False) -> Callable[[], None]:
        """Return what makes one call after another; what only a first call does is behind it."""
        app = make_starlette(self.routes, self.annotate, None if bare else self.add)
        run = _driver(app, ordinary(self.routes - 1) if bare else self.call(self.routes - 1))
        for _ in range(20):  # specialised by the interpreter, and set up by the framework
            run()
        return run


KINDS: Final = {
    "ordinary call, 1 route": Kind(1, RESPECTS, ordinary),
    "token call, 1 route": Kind(1, IGNORES, token),
    "refused call, 1 route": Kind(1, RESPECTS, refused),
    "ordinary call, 500 routes": Kind(500, RESPECTS, ordinary),
    "token call, 500 routes": Kind(500, IGNORES, token),
    "refused call, 500 routes": Kind(500, RESPECTS, refused),
}


def _driver(app: Starlette, call: Call) -> Callable[[], None]:
    """Return what calls an application without an event loop: nothing it awaits ever suspends."""

    def run() -> None:
        coroutine = app(call.make_scope(), receive, send)
        try:
            coroutine.send(None)
        except StopIteration:
            return
        raise AssertionError("the application waits for something")

    return run


_MOST_TRACES: Final = 20

# ── Inside the interpreter ────────────────────────────────────────────────────────────────────────────────────────────


def count_bytecodes(run: Callable[[], None]) -> Counter[str]:
    """Return how many bytecodes each function executes."""
    found = _trace(run)
    for _ in range(_MOST_TRACES):
        before, found = found, _trace(run)
        if found == before:
            return found
    raise AssertionError("two calls that are alike never executed the same")


def _trace(run: Callable[[], None]) -> Counter[str]:
    """Return what one call executes; from CPython 3.12 on it takes some calls until all code is instrumented."""
    found: Counter[str] = Counter()

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        if event == "opcode":
            code = frame.f_code
            found[f"{Path(code.co_filename).parent.name}/{Path(code.co_filename).stem}.{code.co_qualname}"] += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        run()
    finally:
        sys.settrace(before)
    return found


def count_calls(run: Callable[[], None]) -> int:
    """Return how many functions are called, those written in C included."""
    found = 0

    def profile(_frame: FrameType, event: str, _: Any) -> None:
        nonlocal found
        found += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        run()
    finally:
        sys.setprofile(None)
    return found


def measure_peak(run: Callable[[], None]) -> int:
    """Return the most bytes that are allocated at once during a call."""
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        run()  # fills the free lists
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        run()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
        gc.enable()


# ── Under Valgrind ────────────────────────────────────────────────────────────────────────────────────────────────────

_FEW: Final = 50
_MANY: Final = 250


def has_callgrind() -> bool:
    return shutil.which("valgrind") is not None


class _Job(NamedTuple):
    name: str
    bare: bool
    calls: int


def count_instructions(names: Sequence[str], lanes: int) -> dict[str, tuple[float, float]]:
    """Return the machine instructions of a call, and those of the bare application, by kind of call.

    Of two runs that differ in the number of calls the difference is taken, so that neither start nor imports count.
    """
    first = {KINDS[name].routes: name for name in reversed(names)}  # one bare application for each number of routes
    kinds = [(name, False) for name in names] + [(name, True) for name in first.values()]
    jobs = [_Job(*kind, count) for kind in kinds for count in (_FEW, _MANY)]
    with ThreadPoolExecutor(lanes) as pool:
        totals = dict(zip(jobs, pool.map(_run_callgrind, jobs), strict=True))

    def per_call(name: str, *, bare: bool) -> float:
        return (totals[_Job(name, bare, _MANY)] - totals[_Job(name, bare, _FEW)]) / (_MANY - _FEW)

    return {name: (per_call(name, bare=False), per_call(first[KINDS[name].routes], bare=True)) for name in names}


def _run_callgrind(job: _Job) -> int:
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable, "-m", __spec__.name]
    command += ["--drive", job.name, "--count", str(job.calls)] + ["--bare"] * job.bare
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    found = re.search(r"Collected : (\d+)", finished.stderr)
    if finished.returncode or found is None:
        raise RuntimeError(f"callgrind failed: {finished.stderr[-2000:]}")
    return int(found[1])


def _drive(name: str, *, bare: bool, count: int) -> None:
    run = KINDS[name].make(bare=bare)
    gc.collect()
    gc.disable()
    for _ in range(count):
        run()


def main() -> None:
    parser = argparse.ArgumentParser(prog=f"python -m {__spec__.name}", description=__doc__)
    parser.add_argument("--drive", choices=list(KINDS))
    parser.add_argument("--bare", action="store_true")
    parser.add_argument("--count", type=int, default=1)
    arguments = parser.parse_args()
    silence()
    if arguments.drive is not None:
        _drive(arguments.drive, bare=arguments.bare, count=arguments.count)
        return
    for name, kind in KINDS.items():
        bare, found = count_bytecodes(kind.make(bare=True)), count_bytecodes(kind.make())
        print(f"{name}: {found.total()} bytecodes, the bare application {bare.total()}")
        for function, count in (found - bare).most_common():
            print(f"{count:7d}  {function}")


if __name__ == "__main__":
    main()
