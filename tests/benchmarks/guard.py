"""A guard against regressions: what an ordinary, a token and a refused call execute, held against committed figures.

`python -m tests.benchmarks.guard` fails where a figure is beyond its tolerance. It needs nothing but the package:
bytecodes, calls and bytes are counted inside the interpreter, and are the same on every machine with the same CPython
minor version. Where Valgrind is installed, machine instructions are counted too, which see the work done in C.

What is compared of bytecodes, calls and bytes is what the middleware adds to the bare application, and of a refused
call the whole of it: so a Starlette that grows or shrinks changes nothing. Instructions depend on how the interpreter
was built, so they are compared as a ratio to those of the bare application.

`--update` writes the figures of this run, to be committed with the change that explains them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.benchmarks.apps import silence
from tests.benchmarks.counting import (
    KINDS,
    count_bytecodes,
    count_calls,
    count_instructions,
    has_callgrind,
    measure_peak,
)
from tests.benchmarks.measure import HERE

COMMITTED: Final = HERE / "instructions.json"
PYTHON: Final = f"{sys.version_info.major}.{sys.version_info.minor}"
BYTECODES, CALLS, BYTES, INSTRUCTIONS = "bytecodes", "calls", "bytes at once", "instructions, ratio to bare"


class Tolerance(NamedTuple):
    """How much a figure may grow: a share of the committed one, and at least so much."""

    share: float
    least: float


TOLERANCES: Final = {
    BYTECODES: Tolerance(0.02, 8),
    CALLS: Tolerance(0.02, 2),
    BYTES: Tolerance(0.10, 256),
    INSTRUCTIONS: Tolerance(0.05, 0.02),
}
"""Bytecodes and calls differ by a few between releases of Starlette, bytes by how full an allocator's arena is."""

BY_CALLGRIND: Final = [name for name in KINDS if name.startswith("token") or name.endswith("1 route")]

Figures = dict[str, dict[str, float]]


def count_inside() -> Figures:
    """Return what each kind of call adds to the bare application, by counting inside the interpreter."""
    silence()
    found: Figures = {}
    for name, kind in KINDS.items():
        run, bare = kind.make(), kind.make(bare=True)
        share = 0 if name.startswith("refused") else 1
        found[name] = {
            BYTECODES: count_bytecodes(run).total() - share * count_bytecodes(bare).total(),
            CALLS: count_calls(run) - share * count_calls(bare),
            BYTES: measure_peak(run) - share * measure_peak(bare),
        }
    return found


def count_outside(found: Figures) -> None:
    """Add the machine instructions."""
    for name, (own, bare) in count_instructions(BY_CALLGRIND, os.cpu_count() or 1).items():
        found[name][INSTRUCTIONS] = round(own / bare, 4)


def find_regressions(committed: Figures, found: Figures) -> Iterator[str]:
    """Return a line for every figure that is beyond its tolerance, or is not committed."""
    for name, figures in found.items():
        for figure, value in figures.items():
            before = committed.get(name, {}).get(figure)
            if before is None:
                yield f"{name}: {figure}: {value:g} is not committed"
            elif value > before + max(TOLERANCES[figure].share * abs(before), TOLERANCES[figure].least):
                yield f"{name}: {figure}: {value:g}, committed {before:g}"


def main() -> None:
    parser = argparse.ArgumentParser(prog=f"python -m {__spec__.name}", description=__doc__)
    parser.add_argument("--update", action="store_true", help="write the figures of this run")
    parser.add_argument("--inside", action="store_true", help="do not count instructions, even where Valgrind is")
    arguments = parser.parse_args()
    committed: dict[str, Figures] = json.loads(COMMITTED.read_text()) if COMMITTED.exists() else {}
    found = count_inside()
    if not arguments.inside and has_callgrind():
        count_outside(found)
    _print(committed.get(PYTHON, {}), found)
    if arguments.update:
        _write(COMMITTED, {**committed, PYTHON: found})
    elif PYTHON not in committed:
        print(f"no figures are committed for Python {PYTHON}, so nothing was compared")
    elif regressions := list(find_regressions(committed[PYTHON], found)):
        print("REGRESSION, or a change to be committed with --update:", *regressions, sep="\n  ")
        sys.exit(1)
    else:
        print("every figure is within its tolerance")


def _print(committed: Figures, found: Figures) -> None:
    for name, figures in found.items():
        print(name)
        for figure, value in figures.items():
            before = committed.get(name, {}).get(figure)
            shown = "-" if before is None else f"{before:g}"
            print(f"  {figure:28} {value:>9g}   committed {shown:>9}")


def _write(path: Path, figures: dict[str, Any]) -> None:
    path.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
