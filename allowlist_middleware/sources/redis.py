"""Allow lists in Redis: one key for each client."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable
from math import inf
from typing import Any, Final, Unpack
from urllib.parse import quote as percent_encode
from urllib.parse import unquote

from redis.asyncio import Redis
from redis.client import NEVER_DECODE
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from allowlist_middleware.errors import AllowListError, quote
from allowlist_middleware.log_line import write
from allowlist_middleware.networks import AllowList
from allowlist_middleware.sources.cache import start
from allowlist_middleware.sources.documents import load_json
from allowlist_middleware.sources.memory import parse_client_id
from allowlist_middleware.sources.records import VERSION, Listed, make_record, parse_record, split_comments
from allowlist_middleware.sources.stores import StoreSource
from allowlist_middleware.sources.terms import TermOptions

_MAX_VALUE: Final = 64 * 1024 * 1024
_INLINE: Final = 64 * 1024  # bytes that are parsed without a thread
_EXAMPLE: Final = f"""write {{"version": {VERSION}, "client": the id, "entries": ["192.0.2.0/24"]}}"""
_SCANNED: Final = 1_000  # keys of the server, whoever they belong to, that one SCAN looks at
_INVALIDATED: Final = "__redis__:invalidate"  # where Redis tells of keys that were changed by whatever hand


class RedisAllowLists(StoreSource):
    """The allow lists in the keys `<prefix><client id>` of Redis, remembered on terms that the keywords set.

    The client is one of redis-py's asyncio clients; it stays the application's to close. With `push` one connection
    more, beside its pool, listens for changes: those made here, and where the server can track keys (Redis 6) those by
    any other hand, expired keys and an emptied database too.

    Raises `AllowListError` or `TypeError` for an option that makes no sense, naming it.
    """

    def __init__(
        self, redis: Redis, *, prefix: str = "allow-list:", push: bool = True, **terms: Unpack[TermOptions]
    ) -> None:
        if not isinstance(redis, Redis):
            raise TypeError(
                f"RedisAllowLists: {quote(redis)} is not an asyncio client; write redis.asyncio.Redis.from_url("
                "'redis://localhost')"
            )
        if not prefix or not isinstance(prefix, str):
            raise TypeError(f"prefix: {quote(prefix)} is not a text to begin keys with; write 'allow-list:'")
        super().__init__(terms, is_pushed=push)
        self._redis = redis
        self._execute: Callable[..., Awaitable[Any]] = redis.execute_command
        self._prefix = prefix
        self._channel = f"{prefix}changes"

    async def set_client(self, client_id: str, listed: Listed) -> None:
        """Set the list of a client in one step, and tell of it; from now on it holds in this process too."""
        record = make_record(split_comments(listed, parse_client_id(client_id)))
        value = json.dumps({"version": VERSION, "client": client_id, **record}, ensure_ascii=False)
        await self._change(client_id, "SET", self._key(client_id), value)

    async def delete_client(self, client_id: str) -> None:
        """Delete a client, and tell of it; from now on it is unknown in this process too."""
        await self._change(client_id, "DEL", self._key(client_id))

    async def _change(self, client_id: str, *command: str) -> None:
        try:
            async with self._redis.pipeline(transaction=True) as pipeline:
                pipeline.execute_command(*command)
                pipeline.publish(self._channel, client_id)
                await pipeline.execute()
        finally:
            self._cache.drop(client_id)

    def _key(self, client_id: str) -> str:
        # As it is, if it is letters, digits and "_.-~"; so no id holds a wildcard, a brace or a space.
        return self._prefix + percent_encode(client_id, safe="")

    async def _ask(self, client_id: str) -> AllowList | None:
        try:
            # Bounded, and as bytes, whatever the client would make of them.
            async with asyncio.timeout(self._terms.timeout):
                value = await self._execute("GETRANGE", self._key(client_id), 0, _MAX_VALUE, **{NEVER_DECODE: []})
        except ResponseError as error:
            if not str(error).startswith("WRONGTYPE"):
                raise
            raise AllowListError(f"client {quote(client_id)}: its key does not hold a string; SET it") from None
        if not value:
            return None
        if len(value) < _INLINE:
            return _parse_value(value, client_id)
        return await asyncio.to_thread(_parse_value, value, client_id)

    async def _ask_ids(self, mark: Any) -> tuple[list[str], Any]:
        # SCAN, which goes on beside other commands; KEYS would hold them all up.
        pattern = f"{_escape_pattern(self._prefix)}?*"
        async with asyncio.timeout(self._terms.timeout):
            command = ("SCAN", mark or 0, "MATCH", pattern, "COUNT", _SCANNED)
            cursor, keys = await self._execute(*command, **{NEVER_DECODE: []})
        texts = [key.decode("utf-8", "replace") for key in keys]
        ids = [unquote(text.removeprefix(self._prefix)) for text in texts]
        # A key that no id is kept under, such as one of a longer prefix, is none of ours.
        return [one for one, text in zip(ids, texts, strict=True) if self._key(one) == text], cursor or None

    async def _ping(self) -> None:
        async with asyncio.timeout(self._terms.timeout):
            await self._redis.ping()

    async def _listen(self) -> None:
        # Read from the connection itself: redis-py's PubSub connects anew in silence, and changes would be missed.
        # Not one of the pool's, which may speak RESP3: under RESP2 all that is told arrives as messages.
        connection = _make_connection(self._redis.connection_pool)
        try:
            await asyncio.wait_for(connection.connect(), self._terms.timeout)
            await asyncio.wait_for(self._subscribe(connection), self._terms.timeout)
            self._cover()
            await self._hear(connection)
        finally:
            await connection.disconnect(nowait=True)

    async def _subscribe(self, connection: Any) -> None:
        try:
            own_id = await _call(connection, "CLIENT", "ID")
            await _call(connection, "CLIENT", "TRACKING", "ON", "REDIRECT", own_id, "BCAST", "PREFIX", self._prefix)
        except ResponseError as error:
            line = "allow lists: Redis does not track keys: a change by any other hand is noticed after the ttl"
            write(logging.INFO, f"{line} ({type(error).__qualname__})")
        for channel in (self._channel, _INVALIDATED):
            await _call(connection, "SUBSCRIBE", channel)

    async def _hear(self, connection: Any) -> None:
        """Take in changes; raises if the connection ends or does not answer any more."""
        is_tested = False
        reading = _read(connection)
        try:
            while True:
                await asyncio.wait((reading,), timeout=self._terms.timeout if is_tested else self._terms.heartbeat)
                if reading.done():
                    is_tested = False
                    self._take_in(reading.result())
                    reading = _read(connection)
                elif is_tested:
                    raise RedisConnectionError("the subscription does not answer")
                else:
                    is_tested = True
                    await connection.send_command("PING", check_health=False)
        finally:
            reading.cancel()

    def _take_in(self, message: list[Any]) -> None:
        kind, *rest = message
        if kind != b"message":
            return
        channel, told = rest
        if channel == self._channel.encode():
            self._cache.drop(told.decode("utf-8", "replace"))
        elif told is None:  # the database was emptied
            self._cache.clear()
        else:
            for key in told:
                self._cache.drop(unquote(key.decode("utf-8", "replace").removeprefix(self._prefix)))


def _escape_pattern(text: str) -> str:
    """Return the pattern of Redis that stands for the text itself."""
    return re.sub(r"[*?\[\]\\]", r"\\\g<0>", text)


def _make_connection(pool: Any) -> Any:
    # Of maintenance (redis-py 7.1) a server tells under RESP3 only, and the connection would be refused.
    options = {name: option for name, option in pool.connection_kwargs.items() if not name.startswith("maint_")}
    return pool.connection_class(**{**options, "protocol": 2})


def _read(connection: Any) -> asyncio.Task[list[Any]]:
    return start(connection.read_response(disable_decoding=True, timeout=inf), set())


async def _call(connection: Any, *command: Any) -> Any:
    await connection.send_command(*command, check_health=False)
    return await connection.read_response(disable_decoding=True)


def _parse_value(value: bytes, client_id: str) -> AllowList:
    place = f"client {quote(client_id)}"
    if len(value) > _MAX_VALUE:
        raise AllowListError(f"{place}: its value is longer than {_MAX_VALUE:,} bytes; write networks or ranges")
    try:
        record = load_json(value)
    except AllowListError as error:
        raise AllowListError(f"{place}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise AllowListError(f"{place}: its value is not JSON ({type(error).__qualname__}); {_EXAMPLE}") from None
    if not isinstance(record, dict):
        raise AllowListError(f"{place}: {quote(record)} is not a record; {_EXAMPLE}")
    version, owner = record.pop("version", None), record.pop("client", None)
    if type(version) is not int or version != VERSION:
        raise AllowListError(f"{place}: the version is {quote(version)}; {_EXAMPLE}")
    if owner != client_id:
        # It was copied from another client, or it is the answer to another question.
        raise AllowListError(f"{place}: this is the list of client {quote(owner)}; {_EXAMPLE}")
    return parse_record(record, client_id)
