"""Many clients and long lists: how long they take to load and to look up, and the memory they take.

`python -m tests.benchmarks.sources_sizes` takes about five minutes. 100,000 clients have one to ten entries each, and
one more has 1,000,000. Each source is measured in a process of its own. The naive way, in the same run, asks the store
on every call and compares the address with each entry through `ipaddress`. `gap` is for how long at most the event loop
did not get its turn while the long list was loaded, `idle` that of a loop with nothing to do.
"""

from __future__ import annotations

import asyncio
import gc
import json
import multiprocessing
import random
import resource
import statistics
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from ipaddress import ip_address, ip_network
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from allowlist_middleware import AllowLists
from allowlist_middleware.sources.file import FileAllowLists
from allowlist_middleware.sources.redis import RedisAllowLists
from allowlist_middleware.sources.sql import TABLES, SQLAllowLists
from tests.benchmarks.measure import find_versions, parse_arguments, print_header, show_seconds, write_result
from tests.servers import PostgreSQLServer, RedisServer, run_server
from tests.sources.stores import dump

KINDS: Final = ("memory", "toml", "json", "sqlite", "postgresql", "redis")
HUGE: Final = "huge"
ADDRESS: Final = "203.0.113.7"
_SPAWN: Final = multiprocessing.get_context("spawn")


def make_lists(clients: int, long: int) -> tuple[dict[str, list[str]], list[str]]:
    """Return the lists of many clients, and one long list of networks that do not touch."""
    chance = random.Random(3)

    def entry() -> str:
        number = chance.getrandbits(32)
        return f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}.0/24"

    lists = {f"client-{number:06}": [entry() for _ in range(chance.randint(1, 10))] for number in range(clients)}
    numbers = chance.sample(range(1 << 22), long)
    return lists, [f"{10 + (n >> 20)}.{n >> 12 & 255}.{n >> 4 & 255}.{(n & 15) << 4}/29" for n in numbers]


# --- stores


async def fill_sql(url: str, lists: dict[str, list[str]], huge: list[str]) -> None:
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(TABLES.clients.metadata.create_all)
        names = [{"client_id": name, "anywhere": False} for name in (*lists, HUGE)]
        await connection.execute(TABLES.clients.insert(), names)
        rows = [
            {"client_id": name, "entry": entry} for name, entries in lists.items() for entry in dict.fromkeys(entries)
        ]
        rows += [{"client_id": HUGE, "entry": entry} for entry in huge]
        for start in range(0, len(rows), 50_000):
            await connection.execute(TABLES.entries.insert(), rows[start : start + 50_000])
    async with engine.connect() as connection:
        await connection.execute(text("ANALYZE"))
    await engine.dispose()


async def fill_redis(url: str, lists: dict[str, list[str]], huge: list[str]) -> None:
    async with Redis.from_url(url) as redis:
        source = RedisAllowLists(redis, push=False)
        everything = [*lists.items(), (HUGE, huge)]
        for start in range(0, len(everything), 5_000):
            pipeline = redis.pipeline(transaction=False)
            for name, entries in everything[start : start + 5_000]:
                pipeline.set(source._key(name), json.dumps({"version": 1, "client": name, "entries": entries}))
            await pipeline.execute()


@contextmanager
def filled(kind: str, directory: Path, lists: dict[str, list[str]], huge: list[str]) -> Iterator[str]:
    """Fill a store of a kind; yield where it is."""
    if kind == "memory":
        yield ""
    elif kind in ("toml", "json"):
        path = directory / f"lists.{kind}"
        path.write_text(dump(path.suffix, {**lists, HUGE: huge}))
        yield str(path)
    elif kind == "sqlite":
        url = f"sqlite+aiosqlite:///{directory}/lists.db"
        asyncio.run(fill_sql(url, lists, huge))
        yield url
    else:
        with run_server(PostgreSQLServer if kind == "postgresql" else RedisServer) as server:
            asyncio.run((fill_sql if kind == "postgresql" else fill_redis)(server.url, lists, huge))
            yield server.url


@asynccontextmanager
async def opened(kind: str, where: str, lists: Any) -> AsyncIterator[tuple[Any, Callable[[str], Awaitable[list[str]]]]]:
    """Open a source, and the naive way to the entries of a client."""
    terms: Any = {"ttl": 3600.0, "timeout": 60.0, "max_clients": 200_000, "push": False}
    async with AsyncExitStack() as stack:
        if kind in ("memory", "toml", "json"):

            async def find(client_id: str) -> list[str]:
                return list(lists[client_id])

            yield (AllowLists(lists) if kind == "memory" else FileAllowLists(where)), find
        elif kind == "redis":
            redis = await stack.enter_async_context(Redis.from_url(where))

            async def get(client_id: str) -> list[str]:
                entries: list[str] = json.loads(await redis.get(f"allow-list:{client_id}") or b"")["entries"]
                return entries

            yield await stack.enter_async_context(RedisAllowLists(redis, **terms)), get
        else:
            engine = create_async_engine(where)
            stack.push_async_callback(engine.dispose)
            query = text("SELECT entry FROM allow_list_entries WHERE client_id = :client_id")

            async def query_all(client_id: str) -> list[str]:
                async with engine.connect() as connection:
                    return list((await connection.execute(query, {"client_id": client_id})).scalars())

            yield await stack.enter_async_context(SQLAllowLists(engine, **terms)), query_all


# --- figures


def peak() -> float:
    """Return the most memory this process has had, in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def resident() -> float:
    """Return the memory this process has, in megabytes."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


async def find_gap(waiting: Awaitable[Any]) -> tuple[float, float]:
    """Return how long something takes, and for how long at most the event loop stood still meanwhile."""
    gaps = [0.0]

    async def tick() -> None:
        last = perf_counter()
        while True:
            await asyncio.sleep(0.001)
            gaps.append(perf_counter() - last)
            last = perf_counter()

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(0.05)
    gaps.clear()
    began = perf_counter()
    await waiting
    took = perf_counter() - began
    ticking.cancel()
    await asyncio.gather(ticking, return_exceptions=True)
    return took, max(gaps, default=0.0)


async def time_each(names: list[str], look_up: Callable[[str], Awaitable[object]]) -> float:
    """Return the median of how long a look-up takes."""
    seconds = []
    for name in names:
        began = perf_counter()
        await look_up(name)
        seconds.append(perf_counter() - began)
    return statistics.median(seconds)


async def measure(kind: str, where: str, lists: dict[str, list[str]], huge: list[str], samples: int) -> dict[str, Any]:
    everything = {**lists, HUGE: huge} if kind in ("memory", "toml", "json") else {}
    names = random.Random(5).sample(list(lists), samples)
    before = resident()
    began = perf_counter()
    async with opened(kind, where, everything) as (source, find):
        found: dict[str, Any] = {"kind": kind}
        if everything:
            found["load"] = perf_counter() - began

        async def look_up(name: str) -> bool:
            allow_list = await source.allow_list(name)
            return ADDRESS in allow_list

        async def naive(name: str) -> bool:
            address = ip_address(ADDRESS)
            return any(address in ip_network(entry) for entry in await find(name))

        if not everything:
            found["idle"] = (await find_gap(asyncio.sleep(1)))[1]
            found["cold"] = await time_each(names, look_up)
            found["load_huge"], found["gap"] = await find_gap(look_up(HUGE))
            for name in lists:
                await source.allow_list(name)
        found["memory"] = resident() - before
        found["hot"] = await time_each(names, look_up)
        found["hot_huge"] = await time_each([HUGE] * samples, look_up)
        found["naive"] = await time_each(names, naive)
        found["naive_huge"] = await time_each([HUGE], naive)
        found["peak"] = peak()
    return found


def measure_apart(kind: str, where: str, clients: int, long: int, samples: int, queue: Any) -> None:
    lists, huge = make_lists(clients, long)
    queue.put(asyncio.run(measure(kind, where, lists, huge, samples)))


def main() -> None:
    arguments = parse_arguments(__doc__ or "")
    versions = find_versions("SQLAlchemy", "aiosqlite", "asyncpg", "redis", "hiredis", "cachetools")
    print_header("sizes", versions)
    clients, long, samples = (2_000, 20_000, 200) if arguments.quick else (100_000, 1_000_000, 2_000)
    lists, huge = make_lists(clients, long)
    table = []
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as directory, filled(kind, Path(directory), lists, huge) as where:
            queue = _SPAWN.Queue()
            process = _SPAWN.Process(target=measure_apart, args=(kind, where, clients, long, samples, queue))
            process.start()
            table.append(queue.get())
            process.join()
        times = {
            key: show_seconds(value)
            for key, value in table[-1].items()
            if isinstance(value, float) and "m" not in key[:1] and key != "peak"
        }
        print(f"{kind:10} {times} memory {table[-1]['memory']:.0f} MB, peak {table[-1]['peak']:.0f} MB", flush=True)
    if not arguments.no_write:
        print(write_result("sources_sizes", [], versions, clients=clients, long=long, unit="seconds, MB", table=table))


if __name__ == "__main__":
    main()
