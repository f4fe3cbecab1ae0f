"""What a fleet asks of the store its workers share: a formula, and a simulation that reproduces it.

`python -m tests.benchmarks.fleet` prints the look-ups a second, and the memory, of a fleet of 1,000 workers. The
simulation runs the cache of the sources itself in simulated time, on a few workers, with calls drawn at random.

A worker asks for a client when a call comes and nothing is remembered that still holds. What is remembered holds for
`ttl`, or until a change of the client is pushed; then it takes until the next call of that client to that worker before
it is asked for again. So with W workers, R calls a second, of which client c makes the share p(c), and each client
changed m times a second:

    hold = (1 - exp(-m * ttl)) / m           (ttl, where m is 0)
    look-ups a second = sum over c of  W / (hold + W / (R * p(c)))

It is never more than R, and never more than W * clients / hold. A change is one message to each of the W workers.
"""

from __future__ import annotations

import asyncio
import gc
import json
import math
import random
import tracemalloc
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any, Final, cast

from allowlist_middleware import AllowList
from allowlist_middleware.sources.cache import Cache
from allowlist_middleware.sources.terms import Terms
from tests.benchmarks.measure import Progress, find_versions, parse_arguments, print_header, write_result
from tests.benchmarks.membership import draw_clients

WORKERS: Final = 1000
CALLS: Final = 100_000.0
"""Calls a second to the whole fleet: 100 for each worker."""
TTLS: Final = (5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0)


@dataclass(frozen=True)
class Fleet:
    """A fleet of workers that share a store, and what is asked of it."""

    clients: int
    ttl: float = 30.0
    exponent: float = 1.0
    """How unevenly clients call: the n-th busiest calls n ** -exponent as often as the busiest; 0 is evenly."""
    changes: float = 1.0
    """Changed lists a second, over all clients."""
    pushed: bool = True
    workers: int = WORKERS
    calls: float = CALLS

    @property
    def shares(self) -> list[float]:
        weights = [number**-self.exponent for number in range(1, self.clients + 1)]
        total = sum(weights)
        return [weight / total for weight in weights]


def find_look_ups(fleet: Fleet) -> float:
    """Return the look-ups a second by the formula."""
    rate = fleet.changes / fleet.clients if fleet.pushed else 0.0
    hold = fleet.ttl if rate == 0 else -math.expm1(-rate * fleet.ttl) / rate
    return sum(fleet.workers / (hold + fleet.workers / (fleet.calls * share)) for share in fleet.shares)


class Simulated(asyncio.SelectorEventLoop):
    """An event loop whose clock goes on only where it is told to."""

    now = 0.0

    def time(self) -> float:
        return self.now


def simulate(fleet: Fleet, sampled: int, seconds: float) -> float:
    """Return the look-ups a second of the fleet, from those of some of its workers over a while of simulated time."""
    with asyncio.Runner(loop_factory=Simulated) as runner:
        return runner.run(_simulate(fleet, sampled, seconds))


async def _simulate(fleet: Fleet, sampled: int, seconds: float) -> float:
    loop, draw = cast("Simulated", asyncio.get_running_loop()), random.Random(7)
    found = AllowList(["192.0.2.0/24"])
    asked = 0

    async def ask(_client: str) -> AllowList:
        nonlocal asked
        asked += 1
        return found

    async def ping() -> None:
        return None

    terms = Terms(ttl=fleet.ttl, max_clients=fleet.clients)
    caches = [Cache(ask, ping, terms, is_pushed=fleet.pushed) for _ in range(sampled)]
    for cache in caches:
        cache.cover()
    names, bounds = [f"client-{number}" for number in range(fleet.clients)], list(accumulate(fleet.shares))
    warm = min(3 * fleet.ttl, seconds)  # all caches are empty at first
    calls = fleet.calls / fleet.workers * sampled
    changes = fleet.changes if fleet.pushed else 0.0
    while loop.now < warm + seconds:
        before = loop.now
        loop.now += draw.expovariate(calls + changes)
        if before < warm <= loop.now:
            asked = 0
        if draw.random() * (calls + changes) < changes:
            changed = draw.choice(names)
            for cache in caches:
                cache.drop(changed)
        else:
            await draw.choice(caches).find(draw.choices(names, cum_weights=bounds)[0])
    for cache in caches:
        await cache.close()
    return asked / seconds * fleet.workers / sampled


def measure_memory(clients: int) -> float:
    """Return the bytes one remembered client of 1 to 10 entries takes in a worker, all that is around it included."""
    records = json.loads(draw_clients(random.Random(7), clients))
    texts = {client: json.dumps(entries) for client, entries in records.items()}
    del records

    async def ask(client: str) -> AllowList:
        return AllowList(json.loads(texts[client]))

    async def ping() -> None:
        return None

    async def fill() -> int:
        cache = Cache(ask, ping, Terms(max_clients=clients), is_pushed=False)
        for client in texts:
            await cache.find(client)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    gc.collect()
    tracemalloc.start()
    try:
        return asyncio.run(fill()) / clients
    finally:
        tracemalloc.stop()


def tabulate(fleets: Sequence[Fleet]) -> list[dict[str, Any]]:
    return [{**asdict(fleet), "look_ups": find_look_ups(fleet)} for fleet in fleets]


def main() -> None:
    arguments = parse_arguments(__doc__ or "")
    versions = find_versions("cachetools")
    print_header("fleet", versions)
    table = tabulate(
        [
            Fleet(clients, ttl, exponent)
            for exponent in (1.0, 0.0)
            for clients in (100, 1_000, 10_000, 100_000)
            for ttl in TTLS
        ]
    )
    checked = [Fleet(1_000, ttl, exponent, changes) for ttl, exponent, changes in (
        (5.0, 1.0, 0.0), (30.0, 1.0, 1.0), (30.0, 0.0, 1.0), (300.0, 1.0, 1.0), (300.0, 1.0, 20.0), (300.0, 0.0, 20.0)
    )]  # fmt: skip
    simulated = []
    with Progress(len(checked) + 1, "fleet") as progress:
        for fleet in checked:
            seconds = 60.0 if arguments.quick else max(300.0, 4 * fleet.ttl)
            by_simulation = simulate(fleet, 2 if arguments.quick else 4, seconds)
            simulated.append({**asdict(fleet), "look_ups": find_look_ups(fleet), "simulated": by_simulation})
            progress.step()
        memory = measure_memory(2_000 if arguments.quick else 20_000)
    print(f"{WORKERS:,} workers, {CALLS:,.0f} calls a second; look-ups a second by the formula\n")
    for one in table:
        spread = "evenly" if one["exponent"] == 0 else "Zipf"
        print(f"{one['clients']:>8,} clients, {spread:>6}, ttl {one['ttl']:>6,.0f} s  {one['look_ups']:>9,.0f}")
    print("\nreproduced by simulation")
    for one in simulated:
        error = one["simulated"] / one["look_ups"] - 1
        print(
            f"{one['clients']:>8,} clients, exponent {one['exponent']:g}, ttl {one['ttl']:>4,.0f} s, "
            f"{one['changes']:>3,.0f} changes/s  {one['look_ups']:>9,.0f}  {one['simulated']:>9,.0f}  {error:+.1%}"
        )
    print(f"\n{memory:,.0f} bytes for each remembered client in each worker")
    if not arguments.no_write:
        write_result("fleet", [], versions, table=table, simulated=simulated, bytes_per_client=memory)


if __name__ == "__main__":
    main()
