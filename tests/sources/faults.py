"""Faults of real servers while calls flow and lists change; short in the tests, long in the benchmarks."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio import Redis
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

from allowlist_middleware.sources.redis import RedisAllowLists
from allowlist_middleware.sources.sql import TABLES, SQLAllowLists
from tests.servers import Proxy
from tests.sources.load import REFUSING, History, Worker, calling, change, changing

STEADY: Final = [f"steady-{number}" for number in range(10)]
CHANGING: Final = [f"changing-{number}" for number in range(5)]
POOL: Final = 10
SHUT: Final = ["shut", "unknown"]

Fault = Callable[["Ground"], Awaitable[None]]


@dataclass
class Ground:
    """A server, workers that reach it through a proxy each, and the hand that changes lists."""

    kind: str
    server: Any
    proxies: list[Proxy]
    workers: list[Worker]
    sources: list[Any]
    writer: Any
    history: History
    way: Any = None
    """The proxy of the hand that changes lists, which never fails."""

    async def count_connections(self) -> int:
        """Return how many connections the server has, but for those of the writer and of this question."""
        gc.collect()  # closes connections a driver has lost in a fault
        if self.kind == "redis":
            clients = await self.writer._redis.client_list()
            return sum(1 for client in clients if client["cmd"] != "client|list")
        async with self.writer._engine.connect() as connection:
            others = "backend_type = 'client backend' AND pid != pg_backend_pid()"
            result = await connection.execute(text(f"SELECT count(*) FROM pg_stat_activity WHERE {others}"))
            return int(result.scalar_one())


@asynccontextmanager
async def stand(kind: str, server: Any, workers: int, **terms: Any) -> AsyncIterator[Ground]:
    """Set up workers with warm caches."""
    history = History()
    async with AsyncExitStack() as stack:
        proxies = [await stack.enter_async_context(Proxy(server.port)) for _ in range(workers)]
        way = await stack.enter_async_context(Proxy(server.port))
        writer = await open_source(stack, kind, server.url, way.port, push=False)
        if kind == "redis":
            await writer._redis.flushall()
        else:
            async with writer._engine.begin() as connection:
                await connection.run_sync(TABLES.clients.metadata.drop_all)
                await connection.run_sync(TABLES.clients.metadata.create_all)
        sources = [await open_source(stack, kind, server.url, proxy.port, **terms) for proxy in proxies]
        ground = Ground(kind, server, proxies, [], sources, writer, history, way)
        ground.workers = [Worker(number, source, history) for number, source in enumerate(sources)]
        for client_id in [*STEADY, *CHANGING]:
            await change(history, writer.set_client, client_id, admits=True)
        await writer.set_client("shut", REFUSING)
        for worker in ground.workers:
            for client_id in [*STEADY, *CHANGING, *SHUT]:
                while await worker.call(client_id) == 503:
                    ...
        history.outcomes.clear()
        yield ground


async def open_source(stack: AsyncExitStack, kind: str, url: str, port: int, **options: Any) -> Any:
    """Open a source that reaches the server through a port."""
    if kind == "redis":
        redis = await stack.enter_async_context(Redis(host="127.0.0.1", port=port))
        return await stack.enter_async_context(RedisAllowLists(redis, **options))
    engine = create_async_engine(make_url(url).set(port=port), pool_size=POOL, max_overflow=0)
    stack.push_async_callback(engine.dispose)
    return await stack.enter_async_context(SQLAllowLists(engine, **options))


async def suffer(ground: Ground, fault: Fault, rate: float) -> History:
    """Let calls flow and lists change while the fault happens, and a little before and after."""
    clients = [*STEADY, *CHANGING, *SHUT]
    async with (
        calling(ground.workers, clients, rate),
        changing(ground.history, ground.writer.set_client, CHANGING, 0.02),
    ):
        await asyncio.sleep(0.3)
        await fault(ground)
        await asyncio.sleep(0.5)
    return ground.history


# --- the faults


def restart(down: float) -> Fault:
    """The server is killed, and started again."""

    async def fault(ground: Ground) -> None:
        await asyncio.to_thread(ground.server.stop)
        await asyncio.sleep(down)
        await asyncio.to_thread(ground.server.start)
        await asyncio.sleep(0.5)

    return fault


def cut(times: int) -> Fault:
    """Every connection is reset, again and again."""

    async def fault(ground: Ground) -> None:
        for _ in range(times):
            for proxy in ground.proxies:
                proxy.cut()
            await asyncio.sleep(0.1)

    return fault


def refuse(down: float) -> Fault:
    """No connection can be made, and those there were are reset."""

    async def fault(ground: Ground) -> None:
        for proxy in ground.proxies:
            await proxy.close()
        await asyncio.sleep(down)
        for proxy in ground.proxies:
            await proxy.open()

    return fault


def hold(down: float) -> Fault:
    """The network drops all packets."""

    async def fault(ground: Ground) -> None:
        for proxy in ground.proxies:
            proxy.hold()
        await asyncio.sleep(down)
        for proxy in ground.proxies:
            proxy.release()

    return fault


def slow_down(seconds: float, down: float) -> Fault:
    """Every answer takes that long."""

    async def fault(ground: Ground) -> None:
        for proxy in ground.proxies:
            proxy.delay = seconds
        await asyncio.sleep(down)
        for proxy in ground.proxies:
            proxy.delay = 0

    return fault


def freeze(down: float) -> Fault:
    """The server stands still, with all connections open."""

    async def fault(ground: Ground) -> None:
        ground.server.freeze()
        await asyncio.sleep(down)
        ground.server.thaw()

    return fault


FAULTS: Final[dict[str, Callable[[float], Fault]]] = {
    "restart": restart,
    "cut": lambda down: cut(max(1, int(down / 0.1))),
    "refuse": refuse,
    "hold": hold,
    "slow": lambda down: slow_down(0.5, down),
    "freeze": freeze,
}
