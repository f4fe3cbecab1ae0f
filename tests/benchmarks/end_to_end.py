"""Over loopback: uvicorn with one worker and a real load generator, with the middleware and without.

`python -m tests.benchmarks.end_to_end` measures requests a second with `wrk` (Debian: apt-get install wrk), and the
latency at equal request rates with an open-loop generator.
"""

from __future__ import annotations

import asyncio
import random
import re
import shutil
import subprocess
import sys
from array import array
from contextlib import ExitStack
from typing import Any, Final, NamedTuple

try:
    import uvloop
except ImportError:
    uvloop = None

from tests.benchmarks.measure import (
    Progress,
    Row,
    Spread,
    find_versions,
    parse_arguments,
    print_header,
    print_rows,
    ratios,
    show_seconds,
    write_result,
)
from tests.benchmarks.open_loop import OpenLoop
from tests.benchmarks.served import ADDERS, HOST, INSIDE, MAKERS, OUTSIDE, PATH, Server, serving

GOALS: Final = {"starlette": 0.80, "fastapi": 0.95}
PERCENTILES: Final = (50.0, 90.0, 99.0, 99.9)
SHARES: Final = (0.2, 0.4, 0.6)
"""Request rates, as shares of what the bare application can do."""
CONNECTIONS: Final = 32
REFUSED: Final = "ours, refused"


class Target(NamedTuple):
    """A server, and the credentials it is called with."""

    server: Server
    authorization: str = INSIDE
    status: int = 200


class Plan(NamedTuple):
    """How long to measure."""

    rounds: int
    seconds: int
    latency_rounds: int
    latency_seconds: float


FULL: Final = Plan(15, 2, 9, 6.0)
QUICK: Final = Plan(3, 1, 2, 2.0)


# ── Requests a second ─────────────────────────────────────────────────────────────────────────────────────────────────


def run_wrk(target: Target, seconds: int) -> tuple[float, float]:
    """Return the seconds of a request: on the clock, and of the server's processor."""
    command = ["wrk", "-t", "1", "-c", str(CONNECTIONS), "-d", f"{seconds}s", "-H"]
    command += [f"Authorization: {target.authorization}", target.server.url]
    before = target.server.processor_seconds
    report = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 30).stdout
    busy = target.server.processor_seconds - before
    requests, took = re.findall(r"(\d+) requests in ([\d.]+)s", report)[0]
    failed = re.findall(r"Non-2xx or 3xx responses: (\d+)", report)
    if (int(failed[0]) if failed else 0) != (int(requests) if target.status == 403 else 0):
        raise AssertionError(f"{target.server.url}: {report}")
    return float(took) / int(requests), busy / int(requests)


def measure_throughput(targets: dict[str, Target], plan: Plan, progress: Progress) -> dict[str, dict[str, list[float]]]:
    """Return the seconds of a request, on the clock and of the processor, by target, one for each round."""
    found: dict[str, dict[str, list[float]]] = {name: {"clock": [], "processor": []} for name in targets}
    for target in targets.values():
        run_wrk(target, 1)
    order = list(targets)
    for _ in range(plan.rounds):
        random.Random(len(found[order[0]]["clock"])).shuffle(order)
        for name in order:
            progress.step(f"requests a second: {name}")
            clock, processor = run_wrk(targets[name], plan.seconds)
            found[name]["clock"].append(clock)
            found[name]["processor"].append(processor)
    return found


def _throughput_rows(framework: str, found: dict[str, dict[str, list[float]]]) -> list[Row]:
    rows = []
    for measured, note in (("clock", ""), ("processor", "by the server's processor time")):
        seconds = {name: times[measured] for name, times in found.items()}
        for name in seconds:
            # Requests a second are the inverse of seconds a request: the ratio is turned over.
            inverse = ratios(seconds, "bare", name)
            goal = GOALS[framework] if name == "ours" else None
            own = Spread.of(seconds[name])
            text = f"{1 / own.median:,.0f} requests/s {note}".strip()
            rows.append(Row(f"{framework}: {name}", inverse, goal=goal, at_least=True, seconds=own, note=text))
    return rows


# ── Latency ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def percentiles(latencies: array[float]) -> dict[str, float]:
    ordered = sorted(latencies)
    return {f"{share:g}": ordered[min(len(ordered) - 1, int(len(ordered) * share / 100))] for share in PERCENTILES}


def measure_latency(
    targets: dict[str, Target], rate: float, plan: Plan, progress: Progress
) -> dict[str, dict[str, Spread]]:
    """Return the percentiles of the latency at one request rate, by target; of each the spread over the rounds."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in targets}
    order = list(targets)
    for number in range(plan.latency_rounds):
        random.Random(number).shuffle(order)
        for name in order:
            progress.step(f"latency at {rate:,.0f}/s: {name}")
            target = targets[name]
            generator = OpenLoop(HOST, target.server.port, PATH, target.authorization, target.status)
            with asyncio.Runner(loop_factory=None if uvloop is None else uvloop.new_event_loop) as runner:
                latencies = runner.run(generator.run(rate, plan.latency_seconds, seed=number))
            found[name].append({**percentiles(latencies), "lag 99": percentiles(generator.lags)["99"]})
    return {
        name: {share: Spread.of([one[share] for one in rounds]) for share in rounds[0]}
        for name, rounds in found.items()
    }


def main() -> None:
    arguments = parse_arguments(__doc__ or "")
    if shutil.which("wrk") is None:
        sys.exit("wrk is not installed; on Debian and Ubuntu: apt-get install wrk")
    plan = QUICK if arguments.quick else FULL
    versions = {**find_versions("uvicorn", "uvloop", "httptools", "fastapi-guard"), "wrk": _wrk_version()}
    print_header("end to end", versions)
    rows: list[Row] = []
    latency = []
    steps = len(MAKERS) * (plan.rounds * (len(ADDERS) + 1) + len(SHARES) * 2 * plan.latency_rounds)
    with Progress(steps, "end to end") as progress:
        for framework in MAKERS:
            with ExitStack() as stack:
                targets = {name: Target(stack.enter_context(serving(framework, name))) for name in ADDERS}
                pair = {name: targets[name] for name in ("bare", "ours")}
                targets[REFUSED] = Target(targets["ours"].server, OUTSIDE, 403)
                found = measure_throughput(targets, plan, progress)
                rows += _throughput_rows(framework, found)
                capacity = 1 / Spread.of(found["bare"]["clock"]).median
                for share in SHARES:
                    rate = round(capacity * share, -2)
                    measured = measure_latency(pair, rate, plan, progress)
                    latency.append({"framework": framework, "rate": rate, "share": share, "latency": _plain(measured)})
    print_rows("requests a second, to the bare application", rows)
    _print_latency(latency)
    if not arguments.no_write:
        write_result("end_to_end", rows, versions, latency=latency, rounds=plan._asdict(), connections=CONNECTIONS)


def _plain(found: dict[str, dict[str, Spread]]) -> dict[str, dict[str, list[float]]]:
    return {
        name: {share: [spread.low, spread.median, spread.high] for share, spread in shares.items()}
        for name, shares in found.items()
    }


def _print_latency(latency: list[dict[str, Any]]) -> None:
    print("latency at equal request rates, counted from the moment a call is due")
    for one in latency:
        for name, shares in one["latency"].items():
            shown = "  ".join(f"{share:>4} {show_seconds(median):>7}" for share, (_, median, _) in shares.items())
            print(f"{one['framework']:>9} {one['rate']:6,.0f}/s ({one['share']:.0%} of capacity)  {name:5} {shown}")


def _wrk_version() -> str:
    report = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"wrk \S*?/?(\d[\w.+-]*)", report)
    return found[1] if found else "?"


if __name__ == "__main__":
    main()
