"""A store of each kind, its lists changed as another process would change them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import anyio
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from allowlist_middleware import AllowList, AllowLists
from allowlist_middleware.sources import Source
from allowlist_middleware.sources.file import FileAllowLists
from allowlist_middleware.sources.readiness import SourceError
from allowlist_middleware.sources.records import Listed, make_record, split_comments
from allowlist_middleware.sources.redis import RedisAllowLists
from allowlist_middleware.sources.sql import TABLES, SQLAllowLists

BAD_ENTRY = "10.0.0.1/8"
FAILED: Any = "failed"


class Store(Protocol):
    """A source, and the hands of another process on the store behind it."""

    source: Any

    async def set(self, client_id: str, listed: Listed) -> None: ...
    async def delete(self, client_id: str) -> None: ...


Open = Callable[..., AbstractAsyncContextManager[Store]]


class MemoryStore:
    def __init__(self) -> None:
        self.source = AllowLists()

    async def set(self, client_id: str, listed: Listed) -> None:
        self.source[client_id] = list(listed) if isinstance(listed, dict) else listed

    async def delete(self, client_id: str) -> None:
        del self.source[client_id]


class FileStore:
    """Writes a new file and renames it, as editors do."""

    def __init__(self, path: Path, **options: Any) -> None:
        self.path = path
        self.clients: dict[str, Any] = {}
        self.write()
        self.source = FileAllowLists(path, **options)

    def write(self) -> None:
        new = self.path.with_name("new")
        new.write_text(dump(self.path.suffix, self.clients), encoding="utf-8")
        new.rename(self.path)

    async def set(self, client_id: str, listed: Listed) -> None:
        self.clients[client_id] = make_record(split_comments(listed, client_id))
        self.write()

    async def delete(self, client_id: str) -> None:
        del self.clients[client_id]
        self.write()


def dump(suffix: str, clients: dict[str, Any]) -> str:
    """Return the text of a file of allow lists."""
    if suffix == ".json":
        return json.dumps({"version": 1, "clients": clients}, ensure_ascii=False, indent=1)
    # A JSON string is one of TOML, too; what a record holds is strings, lists, tables and `true`.
    lines = [f"{_dump_value(client_id)} = {_dump_value(record)}" for client_id, record in clients.items()]
    return "\n".join(["version = 1", "[clients]", *lines, ""])


def _dump_value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_dump_value(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_dump_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


class SQLStore:
    """Changes the tables through another source with an engine of its own."""

    def __init__(self, source: SQLAllowLists, other: SQLAllowLists) -> None:
        self.source, self.other = source, other

    async def set(self, client_id: str, listed: Listed) -> None:
        await self.other.set_client(client_id, listed)

    async def delete(self, client_id: str) -> None:
        await self.other.delete_client(client_id)

    async def spoil(self, client_id: str) -> None:
        await self.set(client_id, [])
        async with self.other._engine.begin() as connection:
            await connection.execute(
                text("INSERT INTO allow_list_entries (client_id, entry) VALUES (:client_id, :entry)"),
                {"client_id": client_id, "entry": BAD_ENTRY},
            )


class RedisStore:
    def __init__(self, source: RedisAllowLists, other: RedisAllowLists) -> None:
        self.source, self.other = source, other

    async def set(self, client_id: str, listed: Listed) -> None:
        await self.other.set_client(client_id, listed)

    async def delete(self, client_id: str) -> None:
        await self.other.delete_client(client_id)

    async def spoil(self, client_id: str) -> None:
        value = {"version": 1, "client": client_id, "entries": [BAD_ENTRY]}
        await self.other._redis.set(self.other._key(client_id), json.dumps(value))


@asynccontextmanager
async def open_sql(url: str, **options: Any) -> AsyncIterator[SQLStore]:
    engine, other = create_async_engine(url), create_async_engine(url)
    metadata = TABLES.clients.metadata
    try:
        async with engine.begin() as connection:
            await connection.run_sync(metadata.drop_all)
            await connection.run_sync(metadata.create_all)
        async with SQLAllowLists(engine, **options) as source, SQLAllowLists(other, push=False) as writer:
            yield SQLStore(source, writer)
    finally:
        await engine.dispose()
        await other.dispose()


@asynccontextmanager
async def open_redis(url: str, **options: Any) -> AsyncIterator[RedisStore]:
    async with Redis.from_url(url) as redis, Redis.from_url(url) as other:
        await redis.flushall()
        async with RedisAllowLists(redis, **options) as source, RedisAllowLists(other, push=False) as writer:
            yield RedisStore(source, writer)


KINDS = ("memory", "toml", "json", "sqlite", "postgresql", "redis")
REMOTE = ("sqlite", "postgresql", "redis")
PUSHED = ("postgresql", "redis")


@asynccontextmanager
async def open_store(kind: str, server: Callable[[str], Any], directory: Path, **options: Any) -> AsyncIterator[Store]:
    """Open a store of a kind, empty; without push it is asked again soon."""
    if kind == "memory":
        yield MemoryStore()
    elif kind in ("toml", "json"):
        store = FileStore(directory / f"lists.{kind}", poll=0.2)
        async with store.source:
            yield store
    elif kind == "redis":
        async with open_redis(server(kind).url, **options) as redis_store:
            yield redis_store
    else:
        if kind == "sqlite":
            options = {"ttl": 0.1, "unknown_ttl": 0.1, **options}
        url = f"sqlite+aiosqlite:///{directory}/lists.db" if kind == "sqlite" else server(kind).url
        async with open_sql(url, **options) as sql_store:
            yield sql_store


async def spoil(store: Any, client_id: str) -> None:
    """Give a client an entry that is none, as by hand."""
    await store.spoil(client_id)


async def becomes(source: Source, client_id: str, expected: AllowList | None, within: float = 5) -> None:
    """Wait until the list of a client is the expected one."""
    with anyio.fail_after(within):
        while await find(source, client_id) != expected:  # noqa: ASYNC110 - nothing tells of it
            await anyio.sleep(0.01)


async def fails(source: Source, client_id: str, within: float = 5) -> None:
    """Wait until the look-up of a client fails."""
    await becomes(source, client_id, FAILED, within)


async def find(source: Source, client_id: str) -> Any:
    """Return the list of a client, or `FAILED`."""
    try:
        return await source.allow_list(client_id)
    except SourceError:
        return FAILED
