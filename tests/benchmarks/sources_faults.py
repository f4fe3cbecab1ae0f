"""Faults of real servers under load: who was let in, who was shut out, how late, and what was left behind.

`python -m tests.benchmarks.sources_faults` takes about six minutes. Two workers answer 500 calls a second, of ten
clients whose lists stay, five whose lists change 25 times a second, one that is shut out and one that is unknown. Each
reaches its own private server through a proxy that fails. `stalest` is for how long at most an answer had been out of
date when its call was made: what the README calls the bound.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any, Final, Self

from allowlist_middleware.sources.file import FileAllowLists
from tests.benchmarks.measure import find_versions, parse_arguments, print_header, write_result
from tests.servers import PostgreSQLServer, RedisServer, find_program, run_server
from tests.sources.faults import CHANGING, FAULTS, STEADY, Fault, Ground, stand, suffer
from tests.sources.load import ADMITTING, REFUSING, Change, History, Worker, change

RATE: Final = 500.0
TERMS: Final[dict[str, float]] = {"ttl": 2.0, "max_stale": 30.0, "timeout": 0.5, "retry": 0.25, "heartbeat": 1.0}
SERVERS: Final[dict[str, Any]] = {"postgresql": PostgreSQLServer, "redis": RedisServer}


class Standby(PostgreSQLServer):
    """A PostgreSQL that follows another one and may take its place."""

    @classmethod
    def follow(cls, primary: PostgreSQLServer) -> Self:
        """Start a standby of a running server."""
        directory = Path(tempfile.mkdtemp(prefix="allow-lists-"))
        standby = cls(directory)
        os.chown(directory, standby.user.get("user", -1), standby.user.get("group", -1))
        source = ["-h", "127.0.0.1", "-p", str(primary.port), "-U", "postgres"]
        command = [find_program("pg_basebackup"), *source, "-D", str(standby.data), "-R", "-c", "fast", "--no-sync"]
        subprocess.run(command, check=True, capture_output=True, cwd=directory, **standby.user)
        return standby.start()

    def promote(self) -> None:
        self.psql("SELECT pg_promote()")

    def discard(self) -> None:
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


def fail_over(down: float) -> Fault:
    """The server is killed and its standby takes over, at the address it had."""

    async def fault(ground: Ground) -> None:
        primary = ground.server
        ground.server = await asyncio.to_thread(Standby.follow, primary)
        await asyncio.to_thread(primary.stop)
        await asyncio.sleep(down)
        await asyncio.to_thread(ground.server.promote)
        for proxy in (*ground.proxies, ground.way):
            proxy.target = ground.server.port
        await asyncio.sleep(2)

    return fault


def flush(down: float) -> Fault:
    """The database is emptied, and filled again."""

    async def fault(ground: Ground) -> None:
        began = monotonic()
        await ground.writer._redis.flushall()
        for client_id in STEADY:
            ground.history.changes[client_id].append(Change(began, monotonic(), admits=False))
        await asyncio.sleep(down)
        for client_id in STEADY:
            await change(ground.history, ground.writer.set_client, client_id, admits=True)

    return fault


async def measure(kind: str, name: str, make: Callable[[float], Fault], seconds: float) -> dict[str, Any]:
    gc.collect()
    tasks, objects = len(asyncio.all_tasks()), len(gc.get_objects())
    with run_server(SERVERS[kind]) as server:
        async with stand(kind, server, workers=2, **TERMS) as ground:
            connections = await ground.count_connections()
            began = monotonic()
            history = await suffer(ground, make(seconds), RATE)
            took = monotonic() - began
            left = {"connections_before": connections, "connections_after": await ground.count_connections()}
        if ground.server is not server:
            ground.server.discard()
    gc.collect()
    left |= {"tasks_left": len(asyncio.all_tasks()) - tasks}
    report = describe(history, took)
    history.outcomes.clear()
    history.changes.clear()
    gc.collect()
    return {"kind": kind, "fault": name, **report, **left, "objects_left": len(gc.get_objects()) - objects}


def describe(history: History, took: float) -> dict[str, Any]:
    latencies = sorted(outcome.ended - outcome.began for outcome in history.outcomes)
    return {
        "calls": len(latencies),
        "calls_a_second": len(latencies) / took,
        "changes": sum(map(len, history.changes.values())),
        "stalest_admitted": history.find_stalest(200),
        "stalest_refused": history.find_stalest(403),
        "steady": dict(history.count(*STEADY)),
        "changing": dict(history.count(*CHANGING)),
        "shut": dict(history.count("shut")),
        "unknown": dict(history.count("unknown")),
        "median": statistics.median(latencies),
        "p99": latencies[int(len(latencies) * 0.99)],
        "slowest": latencies[-1],
    }


# --- a file


@asynccontextmanager
async def stand_on_file(path: Path) -> AsyncIterator[Ground]:
    """Set up workers that watch one file; whoever changes a list writes the file anew."""
    lists = dict.fromkeys([*STEADY, *CHANGING], ADMITTING) | {"shut": REFUSING}
    history = History()

    class Writer:
        is_broken = False

        async def set_client(self, client_id: str, entries: list[str]) -> None:
            lists[client_id] = entries
            if self.is_broken:
                raise OSError("a broken file is written by nobody")
            new = path.with_suffix(".new")
            new.write_text(json.dumps({"version": 1, "clients": lists}))
            new.replace(path)

    writer = Writer()
    for client_id in (*STEADY, *CHANGING):
        await change(history, writer.set_client, client_id, admits=True)
    async with FileAllowLists(path) as one, FileAllowLists(path) as two:
        workers = [Worker(number, source, history) for number, source in enumerate((one, two))]
        yield Ground("file", path, [], workers, [one, two], writer, history)


def break_file(down: float) -> Fault:
    """The file is broken, emptied, deleted, and mended."""

    async def fault(ground: Ground) -> None:
        path, whole = ground.server, ground.server.read_text()
        ground.writer.is_broken = True
        for spoil in (lambda: path.write_text(whole[:-50]), lambda: path.write_text(""), path.unlink):
            await asyncio.sleep(down / 3)
            spoil()
        await asyncio.sleep(down / 3)
        ground.writer.is_broken = False

    return fault


async def measure_file(seconds: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as directory:
        async with stand_on_file(Path(directory) / "lists.json") as ground:
            began = monotonic()
            history = await suffer(ground, break_file(seconds), RATE)
            return {"kind": "file", "fault": "broken and mended", **describe(history, monotonic() - began)}


def main() -> None:
    arguments = parse_arguments(__doc__ or "")
    logging.disable(logging.CRITICAL)
    versions = find_versions("SQLAlchemy", "asyncpg", "redis", "cachetools", "watchfiles")
    print_header("faults of the sources", versions)
    seconds = 1.0 if arguments.quick else 12.0
    faults = {
        "postgresql": {**FAULTS, "fail over": fail_over},
        "redis": {**FAULTS, "flush": flush},
    }
    table = []
    for kind, each in faults.items():
        for name, make in each.items():
            table.append(asyncio.run(measure(kind, name, make, seconds)))
            print_line(table[-1])
    table.append(asyncio.run(measure_file(seconds)))
    print_line(table[-1])
    if not arguments.no_write:
        terms = {**TERMS, "down": seconds}
        print(write_result("sources_faults", [], versions, terms=terms, unit="seconds", table=table))


def print_line(row: dict[str, Any]) -> None:
    print(
        f"{row['kind']:10} {row['fault']:18} {row['calls']:6} calls at {row['calls_a_second']:.0f}/s, "
        f"stalest admitted {row['stalest_admitted']:.2f} s, refused {row['stalest_refused']:.2f} s, "
        f"steady {row['steady']}, changing {row['changing']}, unknown {row['unknown']}, p99 {row['p99'] * 1e3:.1f} ms, "
        f"slowest {row['slowest'] * 1e3:.0f} ms, left {row.get('tasks_left', 0)} tasks, "
        f"{row.get('connections_before')}->{row.get('connections_after')} connections, "
        f"{row.get('objects_left', 0)} objects",
        flush=True,
    )


if __name__ == "__main__":
    main()
