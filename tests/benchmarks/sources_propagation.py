"""How long a changed list takes to the last of several workers, with push and without.

`python -m tests.benchmarks.sources_propagation` takes about four minutes. Eight processes ask for one client every
millisecond; another one changes its list at random moments. A change counts from when `set_client` has returned, which
is after the commit, or from when the file has been renamed. The clock is the one all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import random
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any, Final

from sqlalchemy.ext.asyncio import create_async_engine

from allowlist_middleware.sources.file import FileAllowLists
from allowlist_middleware.sources.sql import TABLES
from tests.benchmarks.measure import Row, Spread, find_versions, parse_arguments, print_header, print_rows, write_result
from tests.servers import PostgreSQLServer, RedisServer, run_server
from tests.sources.faults import open_source

WORKERS: Final = 8
CLIENT: Final = "acme"
PAUSE: Final = 0.1
TTL: Final = 2.0
"""Seconds; the pauses between changes are drawn over one of these, so that a change meets lists of every age."""
_SPAWN: Final = multiprocessing.get_context("spawn")


@asynccontextmanager
async def opened(kind: str, where: Any, **options: Any) -> AsyncIterator[Any]:
    async with AsyncExitStack() as stack:
        if kind == "file":
            yield await stack.enter_async_context(FileAllowLists(where, **options))
        else:
            yield await open_source(stack, kind, *where, **options)


def follow(kind: str, where: Any, options: Any, rounds: int, number: int, seen: Any) -> None:
    """Report when each list was served first, and that this worker is ready for the next."""
    asyncio.run(_follow(kind, where, options, rounds, number, seen))


async def _follow(kind: str, where: Any, options: Any, rounds: int, number: int, seen: Any) -> None:
    async with opened(kind, where, **options) as source:
        for change in range(rounds):
            address = f"192.0.2.{change}"
            while True:
                allow_list = await source.allow_list(CLIENT)
                if allow_list is not None and address in allow_list:
                    break
                await asyncio.sleep(0.001)
            seen.put((change, number, monotonic()))


async def measure(kind: str, where: Any, options: Any, put: Callable[[int], Any], rounds: int) -> list[float]:
    """Return for each change how long the last worker took."""
    seen, draw = _SPAWN.Queue(), random.Random(7)
    await put(0)
    arguments = [(kind, where, options, rounds, number, seen) for number in range(WORKERS)]
    workers = [_SPAWN.Process(target=follow, args=each) for each in arguments]
    for worker in workers:
        worker.start()
    last = []
    for change in range(rounds):
        if change:
            await asyncio.sleep(PAUSE + draw.uniform(0, TTL))
            await put(change)
        changed = monotonic()
        moments = [await asyncio.to_thread(seen.get, timeout=60) for _ in workers]
        last.append(max(moment for _, _, moment in moments) - changed)
    for worker in workers:
        worker.join()
    return last[1:]


async def measure_store(kind: str, server: Any, options: Any, rounds: int) -> list[float]:
    where = (server.url, server.port)
    if kind == "postgresql":
        engine = create_async_engine(server.url)
        async with engine.begin() as connection:
            await connection.run_sync(TABLES.clients.metadata.create_all)
        await engine.dispose()
    async with opened(kind, where, push=False) as writer:
        return await measure(
            kind, where, options, lambda change: writer.set_client(CLIENT, [f"192.0.2.{change}"]), rounds
        )


async def measure_file(options: Any, rounds: int) -> list[float]:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "lists.json"

        async def put(change: int) -> None:
            new = path.with_suffix(".new")
            new.write_text(json.dumps({"version": 1, "clients": {CLIENT: [f"192.0.2.{change}"]}}))
            new.replace(path)

        return await measure("file", path, options, put, rounds)


def main() -> None:
    arguments = parse_arguments(__doc__ or "")
    versions = find_versions("SQLAlchemy", "asyncpg", "redis", "watchfiles")
    print_header("propagation", versions)
    rounds = 5 if arguments.quick else 40
    few = 4 if arguments.quick else 12
    found: dict[str, list[float]] = {"file, watched": asyncio.run(measure_file({}, rounds))}
    for kind, make in (("postgresql", PostgreSQLServer), ("redis", RedisServer)):
        with run_server(make) as server:
            found[f"{kind}, pushed, ttl=60"] = asyncio.run(measure_store(kind, server, {"ttl": 60}, rounds))
            slow = {"ttl": TTL, "push": False}
            found[f"{kind}, not pushed, ttl={TTL:g}"] = asyncio.run(measure_store(kind, server, slow, few))
    rows = [
        Row(name, Spread.of([1e3 * each for each in seconds]), "ms", note=f"slowest {1e3 * max(seconds):.1f} ms")
        for name, seconds in found.items()
    ]
    print_rows(f"from the change to the last of {WORKERS} workers, in ms", rows, digits=1)
    if not arguments.no_write:
        slowest = {name: max(seconds) for name, seconds in found.items()}
        print(write_result("sources_propagation", rows, versions, workers=WORKERS, slowest=slowest, seconds=found))


if __name__ == "__main__":
    main()
