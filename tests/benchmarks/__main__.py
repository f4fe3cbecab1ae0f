"""Every goal, measured by one command: `python -m tests.benchmarks`, in less than an hour; `--quick` for a look.

Runs the benchmarks one after the other, each also to be run alone, draws the plots, and ends with the goals.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Final

import pytest

from tests.benchmarks.measure import Row, Spread, parse_arguments, print_rows, read_result
from tests.servers import find_program

SOURCES: Final = ("sources_sizes", "sources_propagation", "sources_faults")
MEASURED: Final = ("overhead", "stages", "membership", "end_to_end", "fleet", *SOURCES, "soak", "guard")
NEEDED: Final = {"end_to_end": ("wrk",), **dict.fromkeys(SOURCES, ("initdb", "redis-server"))}
"""The programs without which a benchmark is left out."""
WITH_GOALS: Final = ("overhead", "membership", "end_to_end")


def _find_reason(name: str) -> str:
    """Return why a benchmark is left out, or nothing."""
    try:
        for program in NEEDED.get(name, ()):
            find_program(program)
    except pytest.skip.Exception as missing:
        return str(missing)
    return ""


def _run(name: str, *options: str) -> bool:
    print(f"── python -m tests.benchmarks.{' '.join((name, *options))}", flush=True)
    return subprocess.run([sys.executable, "-m", f"tests.benchmarks.{name}", *options], check=False).returncode == 0


def _read_rows(name: str) -> list[Row]:
    rows = []
    for row in read_result(name)["rows"]:
        if row["goal"] is not None:
            value = Spread(**row["value"])
            rows.append(Row(row["name"], value, row["unit"], row["goal"], row["at_least"], note=row["note"]))
    return rows


def main() -> None:
    arguments = parse_arguments(__doc__ or "")
    options = ["--quick"] * arguments.quick
    failed = []
    for name in MEASURED:
        if reason := _find_reason(name):
            print(f"── {name} is left out: {reason}")
            continue
        if not _run(name, *(["--inside"] * arguments.quick if name == "guard" else options)):
            failed.append(name)
    if not arguments.quick:
        if not _run("plots"):
            failed.append("plots")
        print_rows("goals", [row for name in WITH_GOALS for row in _read_rows(name)])
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
