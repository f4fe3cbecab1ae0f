"""Lists in PostgreSQL and SQLite: the tables, changes by every hand, and odd rows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Column, MetaData, Table, Text, inspect, text
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.dialects.sqlite.aiosqlite import SQLiteDialect_aiosqlite
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool, StaticPool

from allowlist_middleware import ANYWHERE, AllowList, AllowListError
from allowlist_middleware.sources.readiness import Readiness, SourceError
from allowlist_middleware.sources.sql import (
    TABLES,
    SQLAllowLists,
    Tables,
    delete_client,
    make_tables,
    make_triggers,
    set_client,
)
from tests.servers import PostgreSQLServer, Proxy
from tests.sources.stores import Open, becomes, open_sql

pytestmark = pytest.mark.anyio

OLD, NEW = AllowList(["192.0.2.1"]), AllowList(["192.0.2.2"])
LONG: Any = {"ttl": 60, "unknown_ttl": 60}  # so that only push can tell of a change


@pytest.fixture
def postgresql(server: Callable[[str], Any]) -> PostgreSQLServer:
    found: PostgreSQLServer = server("postgresql")
    return found


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/lists.db")
    async with engine.begin() as connection:
        await connection.run_sync(TABLES.clients.metadata.create_all)
    yield engine
    await engine.dispose()


async def execute(engine: AsyncEngine, *statements: str) -> None:
    async with engine.begin() as connection:
        for statement in statements:
            await connection.execute(text(statement))


# --- changes by hand

BY_HAND = [
    (
        "INSERT INTO allow_list_entries VALUES ('acme', '192.0.2.2', 'the new office'); "
        "DELETE FROM allow_list_entries WHERE entry = '192.0.2.1'"
    ),
    "UPDATE allow_list_entries SET entry = '192.0.2.2' WHERE client_id = 'acme'",
    "BEGIN; TRUNCATE allow_list_entries; INSERT INTO allow_list_entries VALUES ('acme', '192.0.2.2'); COMMIT",
    (
        "DELETE FROM allow_list_clients; INSERT INTO allow_list_clients VALUES ('acme'); "
        "INSERT INTO allow_list_entries VALUES ('acme', '192.0.2.2')"
    ),
    (
        "INSERT INTO allow_list_clients VALUES ('heir'); "
        "UPDATE allow_list_entries SET client_id = 'heir', entry = '192.0.2.2'; "
        "DELETE FROM allow_list_clients WHERE client_id = 'acme'; UPDATE allow_list_clients SET client_id = 'acme'"
    ),
    (
        "INSERT INTO allow_list_clients SELECT 'bulk-' || n FROM generate_series(1, 2000) n; "
        "INSERT INTO allow_list_entries SELECT client_id, '192.0.2.2' FROM allow_list_clients; "
        "DELETE FROM allow_list_entries WHERE entry = '192.0.2.1'"
    ),
    "SET session_replication_role = replica; UPDATE allow_list_entries SET entry = '192.0.2.2'",
    (
        "MERGE INTO allow_list_entries e USING (VALUES ('acme', '192.0.2.2')) AS v (id, entry) ON e.client_id = v.id "
        "WHEN MATCHED THEN UPDATE SET entry = v.entry"
    ),
]


@pytest.mark.parametrize("statements", BY_HAND, ids=lambda statements: statements[:30])
async def test_an_edit_in_psql_is_followed_at_once(
    statements: str, open_kind: Open, postgresql: PostgreSQLServer
) -> None:
    async with open_kind("postgresql", **LONG) as store:
        await store.set("acme", ["192.0.2.1"])
        await becomes(store.source, "acme", OLD)
        await asyncio.to_thread(postgresql.psql, statements)
        await becomes(store.source, "acme", NEW, within=1)


async def test_a_restore_is_followed_at_once(open_kind: Open, postgresql: PostgreSQLServer) -> None:
    async with open_kind("postgresql", **LONG) as store:
        await store.set("acme", ["192.0.2.2"])
        rows = await asyncio.to_thread(postgresql.psql, "COPY allow_list_entries TO STDOUT")
        await store.set("acme", ["192.0.2.1"])
        await becomes(store.source, "acme", OLD)
        copy = f"TRUNCATE allow_list_entries;\nCOPY allow_list_entries FROM STDIN;\n{rows}\\.\n"
        await asyncio.to_thread(postgresql.psql, stdin=copy)
        await becomes(store.source, "acme", NEW, within=1)


async def test_a_change_that_passes_the_triggers_by_is_told_of_by_hand(
    open_kind: Open, postgresql: PostgreSQLServer
) -> None:
    async with open_kind("postgresql", **LONG) as store:
        await store.set("acme", ["192.0.2.1"])
        await becomes(store.source, "acme", OLD)
        change = "UPDATE allow_list_entries SET entry = '192.0.2.2'"
        await asyncio.to_thread(postgresql.psql, "ALTER TABLE allow_list_entries DISABLE TRIGGER USER", change)
        await asyncio.sleep(0.2)
        assert await store.source.allow_list("acme") == OLD
        await asyncio.to_thread(postgresql.psql, "NOTIFY allow_lists")
        await becomes(store.source, "acme", NEW, within=1)


async def test_a_change_that_is_rolled_back_is_none(open_kind: Open, postgresql: PostgreSQLServer) -> None:
    async with open_kind("postgresql", **LONG) as store:
        await store.set("acme", ["192.0.2.1"])
        await becomes(store.source, "acme", OLD)
        await asyncio.to_thread(postgresql.psql, "BEGIN; DELETE FROM allow_list_clients; ROLLBACK")
        assert await store.source.allow_list("acme") == OLD


async def test_a_client_whose_id_is_too_long_to_be_told_is_followed_too(open_kind: Open) -> None:
    client_id = "\U0001f600" * 2_000  # compresses well enough for an index
    async with open_kind("postgresql", **LONG) as store:
        for allow_list in (OLD, NEW):
            await store.set(client_id, allow_list)
            await becomes(store.source, client_id, allow_list, within=1)


async def test_a_client_may_call_from_anywhere_only_where_its_row_says_so(
    open_kind: Open, postgresql: PostgreSQLServer
) -> None:
    async with open_kind("postgresql", **LONG) as store:
        await asyncio.to_thread(postgresql.psql, "INSERT INTO allow_list_clients (client_id) VALUES ('acme')")
        await becomes(store.source, "acme", AllowList([]))
        await asyncio.to_thread(postgresql.psql, "UPDATE allow_list_clients SET anywhere = true")
        await becomes(store.source, "acme", ANYWHERE)
        # Entries are kept for the time after.
        await asyncio.to_thread(postgresql.psql, "INSERT INTO allow_list_entries VALUES ('acme', '192.0.2.1')")
        await asyncio.sleep(0.1)
        assert await store.source.allow_list("acme") is ANYWHERE
        await asyncio.to_thread(postgresql.psql, "UPDATE allow_list_clients SET anywhere = false")
        await becomes(store.source, "acme", OLD)
        await asyncio.to_thread(postgresql.psql, "DELETE FROM allow_list_entries")
        await becomes(store.source, "acme", AllowList([]))


async def test_comments_are_kept(open_kind: Open, postgresql: PostgreSQLServer) -> None:
    async with open_kind("postgresql") as store:
        await store.set("acme", {"192.0.2.1": "the office", "192.0.2.2": ""})
        rows = await asyncio.to_thread(postgresql.psql, "SELECT entry, comment FROM allow_list_entries ORDER BY entry")
    assert rows == "192.0.2.1|the office\n192.0.2.2|\n"


# --- the tables


async def test_the_tables_live_in_the_metadata_and_schema_of_the_application(postgresql: PostgreSQLServer) -> None:
    metadata = MetaData(schema="API clients")
    own = Table("own", metadata, Column("id", Text, primary_key=True))
    tables = make_tables(metadata)
    engine = create_async_engine(postgresql.url)
    try:
        await execute(engine, 'DROP SCHEMA IF EXISTS "API clients" CASCADE', 'CREATE SCHEMA "API clients"')
        async with engine.begin() as connection:
            await connection.run_sync(metadata.create_all)
        async with SQLAllowLists(engine, tables=tables, **LONG) as source:
            await source.set_client("acme", OLD)
            await becomes(source, "acme", OLD)
            # In one transaction with what else belongs to it; nothing is told before that is committed.
            async with engine.begin() as connection:
                await connection.execute(own.insert(), {"id": "acme"})
                await set_client(connection, tables, "acme", NEW)
                assert await source.allow_list("acme") == OLD
            await becomes(source, "acme", NEW, within=1)
            async with engine.begin() as connection:
                await delete_client(connection, tables, "acme")
            await becomes(source, "acme", None, within=1)
        await execute(engine, 'DROP SCHEMA "API clients" CASCADE')
    finally:
        await engine.dispose()


async def test_a_migration_creates_the_triggers(postgresql: PostgreSQLServer) -> None:
    metadata = MetaData()
    tables = make_tables(metadata)
    engine = create_async_engine(postgresql.url)
    try:
        await execute(
            engine,
            "DROP TABLE IF EXISTS allow_list_entries, allow_list_clients",
            "DROP FUNCTION IF EXISTS tell_allow_lists CASCADE",
            'CREATE TABLE allow_list_clients (client_id text COLLATE "C" PRIMARY KEY, anywhere bool NOT NULL)',
            "CREATE TABLE allow_list_entries (client_id text REFERENCES allow_list_clients, entry text, comment text)",
            *make_triggers(tables),
        )
        async with SQLAllowLists(engine, tables=tables, **LONG) as source, SQLAllowLists(engine, push=False) as writer:
            for allow_list in (OLD, NEW):
                await writer.set_client("acme", allow_list)
                await becomes(source, "acme", allow_list, within=1)
    finally:
        await engine.dispose()


async def test_a_look_up_uses_an_index(open_kind: Open, postgresql: PostgreSQLServer) -> None:
    async with open_kind("postgresql") as store:
        dialect = store.source._engine.dialect
        query = str(store.source._query.compile(dialect=dialect))
        for name, value in (("$1::VARCHAR", "'bulk-7'"), ("$1::TEXT", "'bulk-7'"), ("$2::INTEGER", "9")):
            query = query.replace(name, value)
        plan = await asyncio.to_thread(
            postgresql.psql,
            "INSERT INTO allow_list_clients SELECT 'bulk-' || n FROM generate_series(1, 5000) n",
            "INSERT INTO allow_list_entries SELECT client_id, '192.0.2.2' FROM allow_list_clients",
            "ANALYZE allow_list_clients, allow_list_entries",
            f"EXPLAIN {query}",
        )
    assert "Seq Scan" not in plan
    assert "allow_list_clients_pkey" in plan
    assert "allow_list_entries_pkey" in plan


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_the_default_of_anywhere_is_no(kind: str, open_kind: Open) -> None:
    async with open_kind(kind) as store:
        async with store.source._engine.begin() as connection:
            await connection.execute(TABLES.clients.insert(), {"client_id": "acme"})
            columns = await connection.run_sync(lambda sync: inspect(sync).get_columns("allow_list_clients"))
        assert await store.source.allow_list("acme") == AllowList([])
    assert next(column for column in columns if column["name"] == "anywhere")["nullable"] is False


# --- exact comparison, whatever the collation


@pytest.mark.parametrize("case", ["postgresql", "sqlite"])
async def test_ids_are_compared_exactly_under_a_collation_that_folds_case(
    case: str, postgresql: PostgreSQLServer, tmp_path: Path
) -> None:
    postgres = case == "postgresql"
    engine = create_async_engine(postgresql.url if postgres else f"sqlite+aiosqlite:///{tmp_path}/lists.db")
    collation = "folding" if postgres else "NOCASE"
    try:
        await execute(engine, "DROP TABLE IF EXISTS allow_list_entries", "DROP TABLE IF EXISTS allow_list_clients")
        if postgres:
            await execute(
                engine,
                "DROP COLLATION IF EXISTS folding",
                "CREATE COLLATION folding (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
            )
        await execute(
            engine,
            f"CREATE TABLE allow_list_clients (client_id text COLLATE {collation}, anywhere boolean DEFAULT false)",
            f"CREATE TABLE allow_list_entries (client_id text COLLATE {collation}, entry text)",
            *(make_triggers(TABLES) if postgres else ()),
        )
        async with SQLAllowLists(engine, **LONG) as source:
            await execute(
                engine,
                "INSERT INTO allow_list_clients VALUES ('acme', false), ('ACME', true), ('Acme', false)",
                "INSERT INTO allow_list_entries VALUES ('acme', '192.0.2.1'), ('Acme', '192.0.2.2')",
            )
            expected = {"acme": OLD, "ACME": ANYWHERE, "Acme": NEW, "aCME": None}
            for client_id, allow_list in expected.items():
                await becomes(source, client_id, allow_list)
            if postgres:
                await execute(engine, "DELETE FROM allow_list_entries")
                await becomes(source, "acme", AllowList([]), within=1)
                await becomes(source, "Acme", AllowList([]), within=1)
    finally:
        await execute(engine, "DROP TABLE allow_list_entries", "DROP TABLE allow_list_clients")
        await engine.dispose()


# --- what SQLite stores, whatever the column says

ODD_ROWS = {
    "anywhere as text": (
        "INSERT INTO allow_list_clients VALUES ('odd', 'false')",
        "anywhere is 'false'; write true or",
    ),
    "anywhere as 2": ("INSERT INTO allow_list_clients VALUES ('odd', 2)", "anywhere is 2; write true or false"),
    "anywhere as 1.0": ("INSERT INTO allow_list_clients VALUES ('odd', 1.5)", "anywhere is 1.5; write true or false"),
    "no anywhere": ("INSERT INTO allow_list_clients VALUES ('odd', NULL)", "anywhere is None; write true or false"),
    "an entry of bytes": (
        "INSERT INTO allow_list_clients VALUES ('odd', 0); INSERT INTO allow_list_entries VALUES ('odd', x'c0000201')",
        "b'\\xc0\\x00\\x02\\x01' is not an entry",
    ),
    "a number": (
        "INSERT INTO allow_list_clients VALUES ('odd', 0); INSERT INTO allow_list_entries VALUES ('odd', 7)",
        "'7' is not an address",
    ),
    "a star": (
        "INSERT INTO allow_list_clients VALUES ('odd', 0); INSERT INTO allow_list_entries VALUES ('odd', '*')",
        "'*' is not an address or a network",
    ),
}


@pytest.mark.parametrize("odd", ODD_ROWS)
async def test_an_odd_row_refuses_its_client_and_no_other(
    odd: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/lists.db")
    rows, message = ODD_ROWS[odd]
    try:
        await execute(
            engine,
            "CREATE TABLE allow_list_clients (client_id text, anywhere boolean)",
            "CREATE TABLE allow_list_entries (client_id text, entry text)",
            "INSERT INTO allow_list_clients VALUES ('acme', 0), (x'6f6464', 1), ('partner', 1)",
            "INSERT INTO allow_list_entries VALUES ('acme', '192.0.2.1')",
            *rows.split("; "),
        )
        async with SQLAllowLists(engine) as source:
            with pytest.raises(SourceError):
                await source.allow_list("odd")
            assert f"allow lists: client 'odd': {message}" in caplog.text
            assert await source.allow_list("acme") == OLD
            assert await source.allow_list("partner") is ANYWHERE
            assert await source.readiness() is Readiness.FRESH
    finally:
        await engine.dispose()


async def test_the_check_of_our_own_tables_takes_no_other_truth_values(engine: AsyncEngine) -> None:
    with pytest.raises(IntegrityError):
        await execute(engine, "INSERT INTO allow_list_clients VALUES ('acme', 'false', NULL)")


async def test_a_long_list_is_read_without_holding_up_others(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(TABLES.clients.insert(), {"client_id": "long"})
        rows = [{"client_id": "long", "entry": f"10.0.{i // 250}.{i % 250}"} for i in range(20_000)]
        await connection.execute(TABLES.entries.insert(), rows)
    async with SQLAllowLists(engine, timeout=30) as source:
        found = await source.allow_list("long")
        assert found is not None
        assert len(found.entries) == 20_000
        assert "10.0.1.1" in found


async def test_many_clients_are_listed_in_order(engine: AsyncEngine) -> None:
    names = [f"client-{number:05}" for number in range(12_000)]
    async with engine.begin() as connection:
        await connection.execute(TABLES.clients.insert(), [{"client_id": name} for name in reversed(names)])
        await connection.execute(text("INSERT INTO allow_list_clients (client_id) VALUES (x'61636d65'), ('')"))
    source = SQLAllowLists(engine)  # opened by no lifespan
    assert await source.client_ids() == names
    await source.aclose()


async def test_clients_are_not_listed_without_their_table(tmp_path: Path) -> None:
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/empty.db")
    async with SQLAllowLists(engine) as source:
        with pytest.raises(SourceError, match=r"^the clients cannot be listed: OperationalError"):
            await source.client_ids()
    await engine.dispose()


async def test_clients_are_not_listed_while_postgresql_does_not_answer(postgresql: PostgreSQLServer) -> None:
    async with Proxy(postgresql.port) as proxy:
        engine = create_async_engine(postgresql.url.replace(str(postgresql.port), str(proxy.port)))
        # Without push there is one connection in the pool, which ends; another one would be found dead later.
        source = SQLAllowLists(engine, push=False, timeout=0.2)
        async with open_sql(postgresql.url, push=False) as store, source:
            await store.set("acme", OLD)
            assert await source.client_ids() == ["acme"]
            proxy.hold()
            with pytest.raises(SourceError, match=r"^the clients cannot be listed: "):
                await asyncio.wait_for(source.client_ids(), 2)
            proxy.cut()
            proxy.release()
            assert await source.client_ids() == ["acme"]
        await engine.dispose()


# --- changes through the source


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_a_change_holds_at_once_in_the_process_that_made_it(kind: str, open_kind: Open) -> None:
    async with open_kind(kind, push=False, ttl=60, unknown_ttl=60) as store:
        for allow_list in (OLD, NEW, ANYWHERE):
            await store.source.set_client("acme", allow_list)
            assert await store.source.allow_list("acme") == allow_list
        await store.source.delete_client("acme")
        assert await store.source.allow_list("acme") is None


async def test_changes_made_at_the_same_time_wait_for_each_other(open_kind: Open) -> None:
    async with open_kind("postgresql") as store:
        lists = [[f"192.0.2.{number}", f"198.51.100.{number}"] for number in range(30)]
        await asyncio.gather(*(store.set("acme", entries) for entries in lists), store.delete("acme"))
        store.source._cache.clear()
        found = await store.source.allow_list("acme")
        assert found is None or found in map(AllowList, lists)


async def test_deleting_a_client_deletes_its_entries_where_the_database_does_not(engine: AsyncEngine) -> None:
    async with SQLAllowLists(engine) as source:
        await source.set_client("acme", ["192.0.2.1"])
        await source.delete_client("acme")
        await execute(engine, "INSERT INTO allow_list_clients (client_id) VALUES ('acme')")
        assert await source.allow_list("acme") == AllowList([])


async def test_a_change_that_fails_changes_nothing(engine: AsyncEngine) -> None:
    async with SQLAllowLists(engine) as source:
        await source.set_client("acme", OLD)
        await execute(
            engine,
            "CREATE TRIGGER no BEFORE INSERT ON allow_list_entries WHEN NEW.entry = '192.0.2.2' "
            "BEGIN SELECT RAISE(ABORT, 'no'); END",
        )
        with pytest.raises(IntegrityError):
            await source.set_client("acme", ["192.0.2.3", "192.0.2.2"])
        assert await source.allow_list("acme") == OLD


# --- engines


async def test_an_engine_without_a_pool_and_one_in_memory() -> None:
    for pool, url in (
        (NullPool, "sqlite+aiosqlite:///file:lists?mode=memory&cache=shared&uri=true"),
        (StaticPool, "sqlite+aiosqlite://"),
    ):
        engine = create_async_engine(url, poolclass=pool)
        async with engine.connect() as keeper:
            await keeper.run_sync(TABLES.clients.metadata.create_all)
            await keeper.commit()
            async with SQLAllowLists(engine) as source:
                await source.set_client("acme", OLD)
                assert await source.allow_list("acme") == OLD
        await engine.dispose()


async def test_listening_takes_no_connection_of_the_pool(postgresql: PostgreSQLServer) -> None:
    engine = create_async_engine(postgresql.url, pool_size=1, max_overflow=0, pool_timeout=1)
    try:
        async with open_sql(postgresql.url, push=False), SQLAllowLists(engine, **LONG) as source:
            await becomes(source, "acme", None)
            await asyncio.sleep(0.2)
            async with engine.connect():
                pass
            assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    finally:
        await engine.dispose()


class Deaf(asyncpg.Connection):
    """Cannot listen, as on a server that is a hot standby."""

    async def add_listener(self, *_: Any) -> None:
        raise asyncpg.FeatureNotSupportedError("cannot execute LISTEN during recovery")


async def test_a_subscription_that_cannot_be_had_leaves_every_list_stale(
    postgresql: PostgreSQLServer, caplog: pytest.LogCaptureFixture
) -> None:
    engine = create_async_engine(postgresql.url, connect_args={"connection_class": Deaf})
    try:
        async with open_sql(postgresql.url, push=False) as store, SQLAllowLists(engine, retry=0.05, **LONG) as source:
            for allow_list in (OLD, NEW):
                await store.set("acme", allow_list)
                assert await source.allow_list("acme") == allow_list
            await asyncio.sleep(0.2)
        assert caplog.text.count("changes are not told: the connection ended; every list is asked for each time") == 1
    finally:
        await engine.dispose()


async def test_a_connection_that_hangs_is_noticed_by_its_heartbeat(postgresql: PostgreSQLServer) -> None:
    async with Proxy(postgresql.port) as proxy:
        engine = create_async_engine(postgresql.url.replace(str(postgresql.port), str(proxy.port)))
        try:
            async with (
                open_sql(postgresql.url, push=False) as store,
                SQLAllowLists(engine, heartbeat=0.1, timeout=0.2, retry=0.1, **LONG) as source,
            ):
                await store.set("acme", OLD)
                await becomes(source, "acme", OLD)
                await asyncio.sleep(0.3)
                assert source._cache._coverage is not None
                proxy.hold()
                await asyncio.sleep(0.5)
                assert source._cache._coverage is None
                proxy.cut()
                proxy.release()
                await store.set("acme", NEW)
                await becomes(source, "acme", NEW, within=2)
        finally:
            await engine.dispose()


# --- options that make no sense


class OtherDatabase(SQLiteDialect_aiosqlite):
    name = "other"
    supports_statement_cache = True


class OtherDriver(PGDialect_asyncpg):
    driver = "other"
    supports_statement_cache = True


registry.register("other.aiosqlite", __name__, "OtherDatabase")
registry.register("postgresql.other", __name__, "OtherDriver")


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: SQLAllowLists("postgresql://user:hunter2@db"),  # type: ignore[arg-type]
            TypeError,
            (
                "SQLAllowLists: 'postgresql://user:...@db' is not an async engine; write create_async_engine("
                "'sqlite+aiosqlite:///allow_lists.db')"
            ),
        ),
        (
            lambda: SQLAllowLists(create_async_engine("other+aiosqlite://")),
            AllowListError,
            "SQLAllowLists: other is not supported; use PostgreSQL or SQLite",
        ),
        (
            lambda: SQLAllowLists(create_async_engine("sqlite+aiosqlite://"), push=True),
            AllowListError,
            "SQLAllowLists: push needs postgresql+asyncpg; write push=False",
        ),
        (
            lambda: SQLAllowLists(create_async_engine("postgresql+other://"), push=True),
            AllowListError,
            "SQLAllowLists: push needs postgresql+asyncpg; write push=False",
        ),
        (
            lambda: SQLAllowLists(create_async_engine("sqlite+aiosqlite://"), ttl=0),
            AllowListError,
            "ttl: 0 is not a duration; write seconds, such as 30",
        ),
        (
            lambda: SQLAllowLists(create_async_engine("sqlite+aiosqlite://"), ttI=30),  # type: ignore[call-arg]
            TypeError,
            "Terms.__init__() got an unexpected keyword argument 'ttI'",
        ),
    ],
)
def test_options_that_make_no_sense(make: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as raised:
        make()
    assert str(raised.value).removesuffix(". Did you mean 'ttl'?") == message  # as Python 3.13 adds


def test_tables_are_two() -> None:
    assert isinstance(TABLES, Tables)
    assert [table.name for table in TABLES] == ["allow_list_clients", "allow_list_entries"]
