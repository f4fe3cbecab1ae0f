"""Lists in Redis: keys, changes by every hand, odd values, and servers that cannot do everything."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.asyncio.connection import ConnectionPool

from allowlist_middleware import ANYWHERE, AllowList, AllowListError
from allowlist_middleware.sources.readiness import Readiness, SourceError
from allowlist_middleware.sources.redis import RedisAllowLists
from tests.servers import Proxy, RedisServer
from tests.sources.stores import becomes, fails

pytestmark = pytest.mark.anyio

OLD, NEW = AllowList(["192.0.2.1"]), AllowList(["192.0.2.2"])
LONG: Any = {"ttl": 60, "unknown_ttl": 60}  # so that only push can tell of a change


@pytest.fixture
async def server_url(server: Callable[[str], Any]) -> str:
    found: RedisServer = server("redis")
    async with Redis.from_url(found.url) as redis:
        await redis.flushall()
    return found.url


def value(*entries: str, client: str = "acme", **more: Any) -> str:
    return json.dumps({"version": 1, "client": client, "entries": entries, **more})


@asynccontextmanager
async def opened(url: str, **options: Any) -> AsyncIterator[tuple[RedisAllowLists, Redis]]:
    """Open a source, and a client beside it."""
    connection = options.pop("connection", {})
    async with (
        Redis.from_url(url, **connection) as redis,
        Redis.from_url(url) as other,
        RedisAllowLists(redis, **options) as source,
    ):
        yield source, other


# --- keys and values


@pytest.mark.parametrize(
    ("client_id", "key"),
    [
        ("acme", "allow-list:acme"),
        ("Acme_1.x-y~z", "allow-list:Acme_1.x-y~z"),
        ("a b*{c}", "allow-list:a%20b%2A%7Bc%7D"),
        ("%41", "allow-list:%2541"),
        ("caf\u00e9/\U0001f600", "allow-list:caf%C3%A9%2F%F0%9F%98%80"),
    ],
)
async def test_the_key_of_a_client(client_id: str, key: str, server_url: str) -> None:
    async with opened(server_url) as (source, redis):
        await source.set_client(client_id, ANYWHERE)
        await source.delete_client(client_id)
        assert await redis.keys("*") == []
        await source.set_client(client_id, {"192.0.2.1": "the office", "192.0.2.2": ""})
        assert await redis.keys("*") == [key.encode()]
        stored: Any = await redis.get(key)
    assert json.loads(stored) == {
        "version": 1,
        "client": client_id,
        "entries": [{"entry": "192.0.2.1", "comment": "the office"}, "192.0.2.2"],
    }


async def test_two_prefixes_are_two_stores(server_url: str) -> None:
    async with opened(server_url, prefix="a:") as (one, _), opened(server_url, prefix="b:") as (two, _):
        await one.set_client("acme", OLD)
        assert await one.allow_list("acme") == OLD
        assert await two.allow_list("acme") is None


async def test_the_clients_listed_are_those_of_the_prefix(server_url: str) -> None:
    async with opened(server_url, prefix="a*[b]?\\", connection={"decode_responses": True}) as (source, redis):
        names = [f"client-{number:04}" for number in range(3_000)]
        await redis.mset({source._key(name): value(client=name) for name in names})
        strangers = ("axx[b]y\\acme", "axxbyacme", "a*[b]?\\", "a*[b]?\\not encoded", "a*[b]?\\b:acme", b"a*[b]?\\\xff")
        for stranger in strangers:
            await redis.set(stranger, value())
        assert await source.client_ids() == names


async def test_clients_are_not_listed_while_redis_does_not_answer(server: Callable[[str], Any]) -> None:
    async with Proxy(server("redis").port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}"
        async with opened(url, timeout=0.2) as (source, _):
            await source.set_client("acme", OLD)
            proxy.hold()
            with pytest.raises(SourceError, match=r"^the clients cannot be listed: TimeoutError"):
                await asyncio.wait_for(source.client_ids(), 2)
            proxy.release()
            assert await source.client_ids() == ["acme"]


ODD_VALUES: dict[str, tuple[Any, str]] = {
    "not JSON": ("192.0.2.1", "its value is not JSON (JSONDecodeError); write "),
    "half": (value("192.0.2.1")[:-2], "its value is not JSON (JSONDecodeError); write "),
    "not text": (b"\xff", "its value is not JSON (UnicodeDecodeError); write "),
    "nested": ("[" * 100_000, "its value is not JSON (RecursionError); write "),
    "a list": ('["192.0.2.1"]', "['192.0.2.1'] is not a record; write "),
    "null": ("null", "None is not a record; write "),
    "no version": ('{"client": "odd", "entries": []}', "the version is None; write "),
    "true as version": (value(client="odd", version=True), "the version is True; write "),
    "another version": (value(client="odd", version=2), "the version is 2; write "),
    "no client": ('{"version": 1, "entries": []}', "this is the list of client None; write "),
    "another client": (value("0.0.0.0/0"), "this is the list of client 'acme'; write "),
    "another case": (value("0.0.0.0/0", client="ODD"), "this is the list of client 'ODD'; write "),
    "twice": ('{"version": 1, "client": "odd", "entries": [], "entries": ["::/0"]}', "'entries' is there twice; keep "),
    "both": (value(client="odd", anywhere=True), "there are both anywhere and entries; write "),
    "neither": ('{"version": 1, "client": "odd"}', "there are neither entries nor anywhere; write "),
    "anywhere as text": (
        '{"version": 1, "client": "odd", "anywhere": "yes"}',
        "anywhere is 'yes'; write true or false",
    ),
    "a bad entry": (value("10.0.0.1/8", client="odd"), "'10.0.0.1/8' has host bits set; write '10.0.0.0/8' or "),
    "a number": ('{"version": 1, "client": "odd", "entries": [7]}', "7 is not an entry; write "),
    "a typing error": (
        value(client="odd", entires=[]),
        "'entires' is not known here; write one of anywhere, comment, ",
    ),
    "huge": (" " * (64 * 1024 * 1024 + 1), "its value is longer than 67,108,864 bytes; write networks or ranges"),
}


@pytest.mark.parametrize("odd", ODD_VALUES)
async def test_an_odd_value_refuses_its_client_and_no_other(
    odd: str, server_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    stored, message = ODD_VALUES[odd]
    async with opened(server_url) as (source, redis):
        await redis.set("allow-list:acme", value("192.0.2.1"))
        await redis.set("allow-list:odd", stored)
        with pytest.raises(SourceError):
            await source.allow_list("odd")
        assert f"allow lists: client 'odd': {message}" in caplog.text
        assert "; the client is refused" in caplog.text
        assert await source.allow_list("acme") == OLD
        assert await source.readiness() is Readiness.FRESH


async def test_a_key_of_another_type_refuses_its_client_and_no_other(
    server_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(server_url) as (source, redis):
        await redis.set("allow-list:acme", value("192.0.2.1"))
        await redis.sadd("allow-list:odd", "192.0.2.1")
        with pytest.raises(SourceError):
            await source.allow_list("odd")
        assert "client 'odd': its key does not hold a string; SET it; the client is refused" in caplog.text
        assert await source.allow_list("acme") == OLD


async def test_a_key_that_may_not_be_read_is_a_failure_of_its_look_up(
    server_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with Redis.from_url(server_url) as admin:
        await admin.execute_command("ACL", "SETUSER", "narrow", "on", ">secret", "~allow-list:acme", "&*", "+@all")  # type: ignore[no-untyped-call]
        connection = {"username": "narrow", "password": "secret"}
        async with opened(server_url, connection=connection, push=False) as (source, _):
            assert await source.allow_list("acme") is None
            with pytest.raises(SourceError, match="NoPermissionError"):
                await source.allow_list("other")
            await asyncio.sleep(0.05)
            assert await source.readiness() is Readiness.FRESH
        await admin.execute_command("ACL", "DELUSER", "narrow")  # type: ignore[no-untyped-call]
    assert caplog.messages == ["allow lists: client 'other': the look-up failed: NoPermissionError"]


async def test_an_empty_value_is_no_client(server_url: str) -> None:
    async with opened(server_url) as (source, redis):
        await redis.set("allow-list:acme", "")
        assert await source.allow_list("acme") is None


async def test_a_long_list_is_parsed_beside_the_event_loop(server_url: str) -> None:
    async with opened(server_url) as (source, _):
        await source.set_client("acme", [f"10.0.{number // 250}.{number % 250}" for number in range(20_000)])
        found = await source.allow_list("acme")
    assert found is not None
    assert len(found.entries) == 20_000


# --- changes by hand


@pytest.mark.parametrize(
    "connection",
    [{"protocol": 2}, {"protocol": 3}, {"decode_responses": True}, {"health_check_interval": 0.1}],
    ids=str,
)
async def test_every_change_by_hand_is_followed_at_once(connection: Any, server_url: str) -> None:
    async with opened(server_url, connection=connection, **LONG) as (source, redis):
        key = "allow-list:acme"
        await becomes(source, "acme", None)
        for command, expected in (
            (("SET", key, value("192.0.2.1")), OLD),
            (("SET", key, value("192.0.2.2")), NEW),
            (("RENAME", key, "elsewhere"), None),
            (("COPY", "elsewhere", key), NEW),
            (("DEL", key), None),
            (("SET", key, value("192.0.2.1"), "PX", 300), OLD),
            (("GET", "nothing"), None),  # it expires
            (("MSET", key, value("192.0.2.1"), "other", "x"), OLD),
            (("APPEND", key, " "), OLD),
            (("FLUSHDB",), None),
            (("SET", key, '{"version": 1, "client": "acme", "anywhere": true}'), ANYWHERE),
            (("FLUSHALL", "ASYNC"), None),
        ):
            await redis.execute_command(*command)  # type: ignore[no-untyped-call]
            await becomes(source, "acme", expected, within=1)


async def test_an_emptied_redis_refuses_everybody(server_url: str) -> None:
    async with opened(server_url, **LONG) as (source, redis):
        for client_id in ("acme", "partner"):
            await source.set_client(client_id, ANYWHERE)
            assert await source.allow_list(client_id) is ANYWHERE
        await asyncio.sleep(0.2)
        assert await source.allow_list("partner") is ANYWHERE
        await redis.flushall()
        await becomes(source, "partner", None, within=1)
        assert await source.allow_list("acme") is None


async def test_without_push_an_emptied_redis_refuses_after_the_ttl(server_url: str) -> None:
    async with opened(server_url, push=False, ttl=0.1) as (source, redis):
        await source.set_client("acme", ANYWHERE)
        assert await source.allow_list("acme") is ANYWHERE
        await redis.flushall()
        await asyncio.sleep(0.11)
        assert await source.allow_list("acme") is None


async def test_a_message_that_makes_no_sense_does_no_harm(server_url: str) -> None:
    async with opened(server_url, **LONG) as (source, redis):
        await source.set_client("acme", OLD)
        await becomes(source, "acme", OLD)
        await asyncio.sleep(0.1)
        for message in (b"\xff\xfe", b"", b"acme"):
            await redis.publish("allow-list:changes", message)
        await redis.set(b"allow-list:\xff", "x")
        await redis.set("allow-list:%zz", "x")
        await redis.set("allow-list:acme", value("192.0.2.2"))
        await becomes(source, "acme", NEW, within=1)


@pytest.mark.parametrize("denied", ["-client|tracking", "-client|id"])
async def test_a_server_that_cannot_track_keys_tells_of_what_is_published(
    denied: str, server_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "allowlist_middleware")
    async with Redis.from_url(server_url) as admin:
        await admin.execute_command("ACL", "SETUSER", "limited", "on", ">secret", "~*", "&*", "+@all", denied)  # type: ignore[no-untyped-call]
        connection = {"username": "limited", "password": "secret", "protocol": 2}
        async with opened(server_url, connection=connection, **LONG) as (source, _), opened(server_url) as (other, _):
            for allow_list in (OLD, NEW):
                await other.set_client("acme", allow_list)
                await becomes(source, "acme", allow_list, within=1)
                await asyncio.sleep(0.1)
            await admin.execute_command("ACL", "DELUSER", "limited")  # type: ignore[no-untyped-call]
    line = "allow lists: Redis does not track keys: a change by any other hand is noticed after the ttl"
    assert caplog.messages[0] == f"{line} (NoPermissionError)"


async def test_a_subscription_that_is_not_permitted_leaves_every_list_stale(
    server_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with Redis.from_url(server_url) as admin:
        await admin.execute_command("ACL", "SETUSER", "deaf", "on", ">secret", "~*", "+@all")  # type: ignore[no-untyped-call]
        connection = {"username": "deaf", "password": "secret"}
        async with opened(server_url, connection=connection, retry=0.05, **LONG) as (source, _):
            for entry in ("192.0.2.1", "192.0.2.2"):
                await admin.set("allow-list:acme", value(entry))
                assert await source.allow_list("acme") == AllowList([entry])
            await asyncio.sleep(0.2)
        await admin.execute_command("ACL", "DELUSER", "deaf")  # type: ignore[no-untyped-call]
    assert caplog.messages == [
        "allow lists: changes are not told: NoPermissionError; every list is asked for each time"
    ]


async def test_a_connection_that_hangs_is_noticed_by_its_heartbeat(
    server: Callable[[str], Any], server_url: str
) -> None:
    async with Proxy(server("redis").port) as proxy:
        terms = {"heartbeat": 0.1, "timeout": 0.2, "retry": 0.1, **LONG}
        async with opened(f"redis://127.0.0.1:{proxy.port}", **terms) as (source, _), opened(server_url) as (other, _):
            await other.set_client("acme", OLD)
            await becomes(source, "acme", OLD)
            await asyncio.sleep(0.5)
            assert source._cache._coverage is not None
            proxy.hold()
            await asyncio.sleep(0.6)
            assert source._cache._coverage is None
            proxy.cut()
            proxy.release()
            await other.set_client("acme", NEW)
            await becomes(source, "acme", NEW, within=2)


# --- clients of redis-py


async def test_the_answer_of_a_cancelled_look_up_never_reaches_another_client(
    server: Callable[[str], Any], server_url: str
) -> None:
    async with Proxy(server("redis").port) as proxy:
        proxy.delay = 0.01
        url = f"redis://127.0.0.1:{proxy.port}"
        pool = ConnectionPool.from_url(url, max_connections=2)
        async with Redis(connection_pool=pool) as redis, opened(server_url) as (writer, _):
            lists = {f"client-{number}": AllowList([f"192.0.2.{number}"]) for number in range(50)}
            for client_id, allow_list in lists.items():
                await writer.set_client(client_id, allow_list)
            source = RedisAllowLists(redis, push=False, ttl=0.001, timeout=0.03, retry=0.001)
            for number in range(300):
                client_id = f"client-{number % 50}"
                proxy.delay = 0.001 if number % 7 else 0.05
                with suppress(SourceError):
                    assert await source.allow_list(client_id) == lists[client_id]
            await source.aclose()
        await pool.aclose()


async def test_a_client_id_is_followed_across_a_restart(server_url: str, server: Callable[[str], Any]) -> None:
    terms = {"retry": 0.05, "timeout": 0.5, "max_stale": 60, **LONG}
    async with opened(server_url, **terms) as (source, _):
        await source.set_client("acme", OLD)
        await becomes(source, "acme", OLD)
        await asyncio.sleep(0.2)
        await asyncio.to_thread(server("redis").stop)
        await asyncio.sleep(0.2)
        assert await source.allow_list("acme") == OLD
        await fails(source, "stranger")
        await asyncio.to_thread(server("redis").start)
        await becomes(source, "stranger", None)
        async with opened(server_url) as (other, _):
            await other.set_client("acme", NEW)
        await becomes(source, "acme", NEW)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: RedisAllowLists("redis://:hunter2@db"),  # type: ignore[arg-type]
            TypeError,
            (
                "RedisAllowLists: 'redis://:...@db' is not an asyncio client; write redis.asyncio.Redis.from_url("
                "'redis://localhost')"
            ),
        ),
        (
            lambda: RedisAllowLists(Redis(), prefix=""),
            TypeError,
            "prefix: '' is not a text to begin keys with; write 'allow-list:'",
        ),
        (
            lambda: RedisAllowLists(Redis(), prefix=7),  # type: ignore[arg-type]
            TypeError,
            "prefix: 7 is not a text to begin keys with; write 'allow-list:'",
        ),
        (
            lambda: RedisAllowLists(Redis(), ttl=-1),
            AllowListError,
            "ttl: -1 is not a duration; write seconds, such as 30",
        ),
    ],
)
async def test_options_that_make_no_sense(make: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as raised:
        make()
    assert str(raised.value) == message
