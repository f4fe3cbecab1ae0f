"""The embedded store: clients with their secrets and allow lists, tokens and entities, in SQLite."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import sqlite3
import string
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from allowlist_middleware import ANYWHERE, AllowList

SCHEMA = """
create table if not exists clients (
    id text primary key, kind text not null, salt blob not null, digest blob not null, signing text,
    description text not null, features text not null, entries text
);
create table if not exists tokens (digest blob primary key, kind text not null, subject text not null);
create table if not exists entities (
    id integer primary key autoincrement, uuid text unique not null, type text not null, attributes text not null
);
"""

# Secrets are made here, 32 random characters, so guessing is hopeless at any speed and the cost may be low.
SCRYPT = {"n": 1 << 10, "r": 8, "p": 1}
ALPHABET = string.ascii_lowercase + string.digits


class Client(NamedTuple):
    """An API client; `allow_list` is `ANYWHERE` where it has none."""

    id: str
    description: str
    features: tuple[str, ...]
    allow_list: AllowList

    @property
    def is_owner(self) -> bool:
        """Whether it may manage clients."""
        return "owner" in self.features


class Entity(NamedTuple):
    """A stored entity, such as a user."""

    id: int
    uuid: str
    attributes: dict[str, Any]

    def show(self) -> dict[str, Any]:
        """Return it as the API shows it."""
        return {**self.attributes, "id": self.id, "uuid": self.uuid}


class Store:
    """All that the API keeps. A change is seen by the next call, in every process that uses the same file."""

    def __init__(self, path: str | Path = ":memory:") -> None:
        self._lock = Lock()
        self._connection = sqlite3.connect(path, check_same_thread=False)
        with self._transaction() as database:
            database.executescript(SCHEMA)

    def close(self) -> None:
        """Close the store."""
        self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._connection:
            yield self._connection

    # ── clients ──

    def add_client(
        self,
        client_id: str | None = None,
        secret: str | None = None,
        *,
        allow_list: AllowList = ANYWHERE,
        description: str = "",
        features: Iterable[str] = (),
        kind: str = "api",
        signs: bool = False,
    ) -> tuple[Client, str]:
        """Add a client and return it with its secret, of which only a digest is kept.

        A signature can only be checked by whoever could make it: of clients that sign the secret itself is kept too.
        """
        client = Client(client_id or _make_name(), description, tuple(features), allow_list)
        secret = secret or _make_name()
        salt, digest = _digest(secret)
        row = (client.id, kind, salt, digest, secret if signs else None, description, json.dumps(client.features))
        with self._transaction() as database:
            database.execute("insert into clients values (?, ?, ?, ?, ?, ?, ?, ?)", (*row, _dump(allow_list)))
        return client, secret

    def find_client(self, client_id: str) -> Client | None:
        """Return an API client."""
        return next(iter(self._clients("and id = ?", client_id)), None)

    def find_clients(self) -> list[Client]:
        """Return all API clients."""
        return self._clients("order by rowid")

    def _clients(self, condition: str, *values: str) -> list[Client]:
        query = f"select id, description, features, entries from clients where kind = 'api' {condition}"
        with self._transaction() as database:
            rows = database.execute(query, values).fetchall()
        return [
            Client(name, text, tuple(json.loads(features)), _load(entries)) for name, text, features, entries in rows
        ]

    def change_client(
        self,
        client_id: str,
        *,
        description: str | None = None,
        features: Sequence[str] | None = None,
        allow_list: AllowList | None = None,
    ) -> None:
        """Change what is given of a client; its new list holds from the next call on."""
        values = {
            "description": description,
            "features": None if features is None else json.dumps(features),
        }
        with self._transaction() as database:
            for column, value in values.items():
                if value is not None:
                    database.execute(f"update clients set {column} = ? where id = ?", (value, client_id))
            if allow_list is not None:
                database.execute("update clients set entries = ? where id = ?", (_dump(allow_list), client_id))

    def delete_client(self, client_id: str) -> None:
        """Delete a client."""
        with self._transaction() as database:
            database.execute("delete from clients where id = ?", (client_id,))

    def reset_secret(self, client_id: str) -> str:
        """Give a client a new secret and return it."""
        secret = _make_name()
        salt, digest = _digest(secret)
        with self._transaction() as database:
            database.execute(
                "update clients set salt = ?, digest = ?, signing = iif(signing is null, null, ?) where id = ?",
                (salt, digest, secret, client_id),
            )
        return secret

    def has_secret(self, client_id: str, secret: str, *, kind: str = "api") -> bool:
        """Return whether it is the secret of a client; an unknown client takes the same time."""
        row = self._row("select salt, digest from clients where id = ? and kind = ?", client_id, kind)
        salt, digest = row or (b"no such client", b"")
        return hmac.compare_digest(_digest(secret, salt)[1], digest)

    def find_signing_secret(self, client_id: str) -> str | None:
        """Return the secret of a client that signs."""
        row = self._row("select signing from clients where id = ?", client_id)
        return None if row is None else row[0]

    # ── tokens ──

    def add_token(self, kind: str, subject: str, token: str | None = None) -> str:
        """Add a token, of which only a digest is kept."""
        token = token or _make_name()
        with self._transaction() as database:
            database.execute("insert into tokens values (?, ?, ?)", (_fingerprint(token), kind, subject))
        return token

    def find_subject(self, kind: str, token: str) -> str | None:
        """Return whom a token was given to."""
        row = self._row("select subject from tokens where digest = ? and kind = ?", _fingerprint(token), kind)
        return None if row is None else row[0]

    def delete_tokens(self, kind: str, subject: str) -> None:
        """Take back what was given to somebody."""
        with self._transaction() as database:
            database.execute("delete from tokens where kind = ? and subject = ?", (kind, subject))

    # ── entities ──

    def add_entities(self, type_name: str, all_attributes: Iterable[dict[str, Any]]) -> list[Entity]:
        """Add entities of a type."""
        added = []
        with self._transaction() as database:
            for attributes in all_attributes:
                name = str(uuid.uuid4())
                row = (name, type_name, json.dumps(attributes))
                cursor = database.execute("insert into entities (uuid, type, attributes) values (?, ?, ?)", row)
                added.append(Entity(cursor.lastrowid or 0, name, attributes))
        return added

    def find_entity(self, type_name: str, *, uuid: str | None = None, number: int | None = None) -> Entity | None:
        """Return the entity of a type by its UUID or its id."""
        query = "select id, uuid, attributes from entities where type = ? and (uuid = ? or id = ?)"
        row = self._row(query, type_name, uuid, number)
        return None if row is None else Entity(row[0], row[1], json.loads(row[2]))

    def find_entities(self, type_name: str, first: int, count: int) -> list[Entity]:
        """Return some entities of a type."""
        query = "select id, uuid, attributes from entities where type = ? order by id limit ? offset ?"
        with self._transaction() as database:
            rows = database.execute(query, (type_name, count, first)).fetchall()
        return [Entity(number, name, json.loads(attributes)) for number, name, attributes in rows]

    def count_entities(self, type_name: str) -> int:
        """Return how many entities of a type there are."""
        row = self._row("select count(*) from entities where type = ?", type_name)
        return 0 if row is None else int(row[0])

    def replace_attributes(self, entity: Entity, attributes: dict[str, Any]) -> None:
        """Give an entity other attributes."""
        with self._transaction() as database:
            database.execute("update entities set attributes = ? where id = ?", (json.dumps(attributes), entity.id))

    def delete_entities(self, type_name: str, uuids: Iterable[str] | None = None) -> int:
        """Delete entities of a type, all of them without UUIDs; return how many there were."""
        before = self._connection.total_changes
        with self._transaction() as database:
            if uuids is None:
                database.execute("delete from entities where type = ?", (type_name,))
            else:
                rows = [(type_name, one) for one in uuids]
                database.executemany("delete from entities where type = ? and uuid = ?", rows)
        return self._connection.total_changes - before

    def _row(self, query: str, *values: object) -> Any:
        with self._transaction() as database:
            return database.execute(query, values).fetchone()


def _make_name() -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(32))


def _digest(secret: str, salt: bytes | None = None) -> tuple[bytes, bytes]:
    salt = salt or secrets.token_bytes(16)
    return salt, hashlib.scrypt(secret.encode(), salt=salt, n=SCRYPT["n"], r=SCRYPT["r"], p=SCRYPT["p"])


def _fingerprint(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _dump(allow_list: AllowList) -> str | None:
    return None if allow_list is ANYWHERE else json.dumps(allow_list.entries)


def _load(entries: str | None) -> AllowList:
    return ANYWHERE if entries is None else AllowList(json.loads(entries))
