"""Allow lists in PostgreSQL or SQLite, through SQLAlchemy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Unpack

from sqlalchemy import MetaData, Row, Select, and_, bindparam, literal, select, type_coerce
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.types import NullType

from allowlist_middleware.errors import AllowListError, quote
from allowlist_middleware.networks import ANYWHERE, AllowList
from allowlist_middleware.sources.cache import start
from allowlist_middleware.sources.records import MAX_ENTRIES, Listed, parse_entries
from allowlist_middleware.sources.stores import StoreSource
from allowlist_middleware.sources.tables import (
    CHANNEL,
    INSERTS,
    Tables,
    delete_client,
    make_tables,
    make_triggers,
    set_client,
)
from allowlist_middleware.sources.terms import TermOptions

__all__ = ["TABLES", "SQLAllowLists", "Tables", "delete_client", "make_tables", "make_triggers", "set_client"]

TABLES: Final = make_tables(MetaData())
"""The tables for an application without metadata of its own: `TABLES.clients.metadata.create_all` creates them."""

_PART: Final = 5_000  # rows between which the event loop gets its turn, and ids that are asked for at once


class SQLAllowLists(StoreSource):
    """The allow lists in the tables of a database, remembered on terms that the keywords set.

    The engine is one of SQLAlchemy's, for PostgreSQL or SQLite; it stays the application's to dispose of. With `push`,
    which is the default on PostgreSQL through asyncpg, one connection beside the pool's listens for changes.

    Raises `AllowListError` or `TypeError` for an option that makes no sense, naming it.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        *,
        tables: Tables = TABLES,
        push: bool | None = None,
        **terms: Unpack[TermOptions],
    ) -> None:
        if not isinstance(engine, AsyncEngine):
            raise TypeError(
                f"SQLAllowLists: {quote(engine)} is not an async engine; write create_async_engine('sqlite+aiosqlite://"
                "/allow_lists.db')"
            )
        if engine.dialect.name not in INSERTS:
            raise AllowListError(f"SQLAllowLists: {engine.dialect.name} is not supported; use PostgreSQL or SQLite")
        can_push = (engine.dialect.name, engine.dialect.driver) == ("postgresql", "asyncpg")
        if push and not can_push:
            raise AllowListError("SQLAllowLists: push needs postgresql+asyncpg; write push=False")
        super().__init__(terms, is_pushed=can_push if push is None else push)
        self._engine = engine
        # One statement is one snapshot: it needs no transaction around it, and PostgreSQL no round trips for one.
        level = {"isolation_level": "AUTOCOMMIT"} if engine.dialect.name == "postgresql" else {}
        self._reading = engine.execution_options(**level)
        self._tables = tables
        self._query = _make_query(tables)
        own_id = tables.clients.c.client_id
        self._ids_query = select(own_id).where(own_id > bindparam("after")).order_by(own_id).limit(_PART)

    async def set_client(self, client_id: str, listed: Listed) -> None:
        """Set the list of a client in a transaction of its own; from now on it holds in this process too."""
        try:
            async with self._engine.begin() as connection:
                await set_client(connection, self._tables, client_id, listed)
        finally:
            self._cache.drop(client_id)

    async def delete_client(self, client_id: str) -> None:
        """Delete a client in a transaction of its own; from now on it is unknown in this process too."""
        try:
            async with self._engine.begin() as connection:
                await delete_client(connection, self._tables, client_id)
        finally:
            self._cache.drop(client_id)

    async def _ask(self, client_id: str) -> AllowList | None:
        rows: list[Row[Any]] = []
        async with self._connect() as connection:
            result = await connection.execute(self._query, {"client_id": client_id})
            for part in result.partitions(_PART):
                rows += part
                if len(part) == _PART:
                    await asyncio.sleep(0)
        if len(rows) < _PART:
            return _parse_rows(rows, client_id)
        return await asyncio.to_thread(_parse_rows, rows, client_id)

    async def _ask_ids(self, mark: Any) -> tuple[list[str], Any]:
        # By the key, part by part, so that the timeout holds for each and not for all of however many clients.
        async with self._connect() as connection:
            ids = (await connection.execute(self._ids_query, {"after": "" if mark is None else mark})).scalars().all()
        # SQLite keeps a value of any type in any column, and none but text is an id.
        return [one for one in ids if isinstance(one, str)], ids[-1] if len(ids) == _PART else None

    async def _ping(self) -> None:
        async with self._connect() as connection:
            await connection.execute(select(literal(1)).select_from(self._tables.clients).limit(1))

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[AsyncConnection]:
        """Lend a connection, and end what takes too long on it."""
        async with asyncio.timeout(self._terms.timeout) as limit, self._reading.connect() as connection:
            driver: Any = (await connection.get_raw_connection()).driver_connection
            if not hasattr(driver, "terminate"):
                yield connection
                return
            # asyncpg takes a cancellation to the server, and waits however long that takes.
            deadline: Any = limit.when()
            limit.reschedule(None)
            ending = asyncio.get_running_loop().call_at(deadline, driver.terminate)
            try:
                yield connection
            finally:
                ending.cancel()

    async def _listen(self) -> None:
        async with asyncio.timeout(self._terms.timeout) as limit, self._engine.connect() as connection:
            raw = await connection.get_raw_connection()
            driver: Any = raw.driver_connection
            raw.detach()  # from the pool, which opens another one in its place
            limit.reschedule(None)
            ended = asyncio.Event()
            driver.add_termination_listener(lambda _: ended.set())
            try:
                if await self._is_done(driver.add_listener(CHANNEL, self._hear)):
                    self._cover()
                    await self._wait_for_end(driver, ended)
            finally:
                driver.terminate()  # closing it in good order would wait for a server that may be gone

    async def _wait_for_end(self, driver: Any, ended: asyncio.Event) -> None:
        """Return once the connection has ended, or does not answer any more."""
        is_alive = True
        while is_alive:
            with suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), self._terms.heartbeat)
            is_alive = await self._is_done(driver.execute("SELECT 1"))

    async def _is_done(self, command: Coroutine[Any, Any, object]) -> bool:
        """Return whether a command of asyncpg succeeds in time; it is never cancelled."""
        task = start(command, set())
        await asyncio.wait((task,), timeout=self._terms.timeout)
        return task.done() and task.exception() is None

    def _hear(self, _driver: object, _process: int, _channel: str, client_id: str) -> None:
        if client_id:
            self._cache.drop(client_id)
        else:
            self._cache.clear()


def _make_query(tables: Tables) -> Select[Any]:
    clients, entries = tables
    # The entries of a client that may call from anywhere are not read. The flag is read as it is stored: SQLite keeps a
    # text where a truth value belongs, and every text but the empty one would count as true.
    own = and_(entries.c.client_id == clients.c.client_id, clients.c.anywhere.is_(False))
    return (
        select(
            clients.c.client_id,
            type_coerce(clients.c.anywhere, NullType()).label("anywhere"),
            entries.c.client_id.label("owner"),
            entries.c.entry,
        )
        .select_from(clients.outerjoin(entries, own))
        .where(clients.c.client_id == bindparam("client_id"))
        .limit(MAX_ENTRIES + 1)
    )


def _parse_rows(rows: list[Row[Any]], client_id: str) -> AllowList | None:
    # A column may have been given a collation that takes other ids for the same.
    rows = [row for row in rows if row.client_id == client_id]
    if not rows:
        return None
    place = f"client {quote(client_id)}"
    anywhere = rows[0].anywhere
    if type(anywhere) not in (bool, int) or anywhere not in (0, 1):
        raise AllowListError(f"{place}: anywhere is {quote(anywhere)}; write true or false")
    if anywhere:
        return ANYWHERE
    return parse_entries([row.entry for row in rows if row.owner == client_id], place)
