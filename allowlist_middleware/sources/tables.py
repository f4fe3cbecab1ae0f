"""The tables that allow lists are kept in: for an application's own metadata, its migrations and its transactions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    DDL,
    Boolean,
    Column,
    Dialect,
    ExecutableDDLElement,
    ForeignKey,
    MetaData,
    Table,
    Text,
    delete,
    event,
    false,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from allowlist_middleware.sources.memory import parse_client_id
from allowlist_middleware.sources.records import Listed, split_comments

CHANNEL: Final = "allow_lists"
"""The PostgreSQL channel on which changes are told."""

_MAX_TOLD: Final = 1_000  # clients that one statement tells of by name
_MAX_PAYLOAD: Final = 7_000  # bytes; PostgreSQL takes less than 8,000
_BATCH: Final = 5_000

# Binary collations: equal is what has the same characters, whatever the collation of the database.
_EXACT: Final = Text().with_variant(Text(collation="C"), "postgresql").with_variant(Text(collation="BINARY"), "sqlite")

INSERTS: Final = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}
"""The kinds of database that are supported, with what an upsert begins with."""


class Tables(NamedTuple):
    """The table of clients and the table of their entries."""

    clients: Table
    entries: Table


def make_tables(metadata: MetaData) -> Tables:
    """Return the two tables, `allow_list_clients` and `allow_list_entries`, made in the given metadata.

    `metadata.create_all` also creates the triggers on PostgreSQL; a migration executes `make_triggers`.
    """
    # A check of its own, because SQLite keeps a value of any type in any column.
    anywhere = Boolean(create_constraint=True, name="allow_list_anywhere")
    clients = Table(
        "allow_list_clients",
        metadata,
        Column("client_id", _EXACT, primary_key=True),
        Column("anywhere", anywhere, nullable=False, default=False, server_default=false()),
        Column("comment", Text),
    )
    owner = ForeignKey(clients.c.client_id, ondelete="CASCADE", onupdate="CASCADE")
    entries = Table(
        "allow_list_entries",
        metadata,
        Column("client_id", _EXACT, owner, primary_key=True),
        Column("entry", _EXACT, primary_key=True),
        Column("comment", Text),
    )
    make_ddl: Callable[[str], ExecutableDDLElement] = DDL
    for table in (clients, entries):
        for statement in _make_triggers(table):
            event.listen(table, "after_create", make_ddl(statement).execute_if(dialect="postgresql"))
    return Tables(clients, entries)


def make_triggers(tables: Tables) -> list[str]:
    """Return the statements, for a migration, that make PostgreSQL tell of every change by whatever hand.

    The triggers fire once a statement, under replication too, and name the clients or, if there are many, all of them.
    """
    return [statement for table in tables for statement in _make_triggers(table)]


async def set_client(connection: AsyncConnection, tables: Tables, client_id: str, listed: Listed) -> None:
    """Set the list of a client within the connection's transaction; the comments of a mapping are kept.

    Raises `AllowListError` or `TypeError` for a client id or an entry that is none, before anything is changed.
    """
    parse_client_id(client_id)
    stored = split_comments(listed, client_id)
    row = {"client_id": client_id, "anywhere": stored is None}
    upsert: Any = INSERTS[connection.dialect.name](tables.clients).values(row)
    # The row of the client is locked from here on, so that changes made at the same time wait for each other.
    await connection.execute(
        upsert.on_conflict_do_update(index_elements=["client_id"], set_={"anywhere": upsert.excluded.anywhere})
    )
    await connection.execute(delete(tables.entries).where(tables.entries.c.client_id == client_id))
    rows = iter((stored or {}).items())
    while batch := [{"client_id": client_id, "entry": entry, "comment": text} for entry, text in islice(rows, _BATCH)]:
        await connection.execute(tables.entries.insert(), batch)


async def delete_client(connection: AsyncConnection, tables: Tables, client_id: str) -> None:
    """Delete a client and its entries within the connection's transaction; it is unknown from then on."""
    for table in tables:  # SQLite leaves the entries where they are unless it is told to watch foreign keys
        await connection.execute(delete(table).where(table.c.client_id == client_id))


def _make_triggers(table: Table) -> Iterator[str]:
    dialect: Callable[[], Dialect] = postgresql.dialect
    preparer = dialect().identifier_preparer
    name = preparer.format_table(table)
    function = f"{preparer.quote_schema(table.schema)}.tell_allow_lists" if table.schema else "tell_allow_lists"
    yield _FUNCTION.format(function=function, channel=CHANNEL, max_told=_MAX_TOLD, max_payload=_MAX_PAYLOAD)
    for change, rows in _CHANGES.items():
        trigger = f"{table.name}_{change.lower()}"
        yield (
            f"CREATE TRIGGER {trigger} AFTER {change} ON {name} {rows}FOR EACH STATEMENT EXECUTE FUNCTION {function}()"
        )
        yield f"ALTER TABLE {name} ENABLE ALWAYS TRIGGER {trigger}"


_CHANGES: Final = {
    "INSERT": "REFERENCING NEW TABLE AS new_rows ",
    "UPDATE": "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows ",
    "DELETE": "REFERENCING OLD TABLE AS old_rows ",
    "TRUNCATE": "",
}

# Under a collation that folds case, DISTINCT would tell of one client only where two were changed.
_FUNCTION: Final = """\
CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed text[];
    client text;
BEGIN
    IF TG_OP = 'INSERT' THEN
        SELECT array_agg(DISTINCT client_id COLLATE "C") INTO changed FROM new_rows;
    ELSIF TG_OP = 'DELETE' THEN
        SELECT array_agg(DISTINCT client_id COLLATE "C") INTO changed FROM old_rows;
    ELSIF TG_OP = 'UPDATE' THEN
        SELECT array_agg(DISTINCT client_id COLLATE "C") INTO changed
        FROM (SELECT client_id FROM old_rows UNION ALL SELECT client_id FROM new_rows) AS rows;
    END IF;
    IF TG_OP = 'TRUNCATE' OR cardinality(changed) > {max_told} THEN
        PERFORM pg_notify('{channel}', '');
    ELSIF changed IS NOT NULL THEN
        FOREACH client IN ARRAY changed LOOP
            PERFORM pg_notify('{channel}', CASE WHEN octet_length(client) < {max_payload} THEN client ELSE '' END);
        END LOOP;
    END IF;
    RETURN NULL;
END
$$"""
