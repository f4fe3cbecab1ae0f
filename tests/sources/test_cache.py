"""What the sources with a store behind it remember, shown on a store in memory that answers when it is told to."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Any

import pytest

from allowlist_middleware import AllowList, AllowListError
from allowlist_middleware.sources.cache import Cache, describe
from allowlist_middleware.sources.readiness import Readiness, SourceError
from allowlist_middleware.sources.stores import StoreSource
from allowlist_middleware.sources.terms import TermOptions, Terms
from tests.sources.clock import ClockLoop, now

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "asyncio", {"loop_factory": ClockLoop}


OLD, NEW = AllowList(["192.0.2.1"]), AllowList(["192.0.2.2"])


class Store:
    """A store in memory; a look-up reads when it begins and answers once the gate is open."""

    def __init__(self, **lists: AllowList) -> None:
        self.lists: dict[str, Any] = lists
        self.asked: list[str] = []
        self.pings = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.ping_error: Exception | None = None

    async def ask(self, client_id: str) -> AllowList | None:
        self.asked.append(client_id)
        found, error = self.lists.get(client_id), self.error
        await self.gate.wait()
        if error is None and isinstance(found, Exception):
            error = found
        if error is not None:
            raise error
        return found

    async def ping(self) -> None:
        self.pings += 1
        await self.gate.wait()
        if self.ping_error is not None:
            raise self.ping_error

    def fail(self, error: Exception | None) -> None:
        self.error = self.ping_error = error

    def cache(self, *, is_pushed: bool = False, **terms: Any) -> Cache:
        options: Any = {"ttl": 60.0, "timeout": 0.2, "retry": 0.05, "unknown_ttl": 60.0, **terms}
        return Cache(self.ask, self.ping, Terms(**options), is_pushed=is_pushed)


async def find(cache: Cache, client_id: str = "acme") -> Any:
    """Return the list of a client, or the reason of the failure."""
    try:
        return await cache.find(client_id)
    except SourceError as error:
        return str(error)


async def settle() -> None:
    """Let everything run that waits for nothing."""
    for _ in range(10):
        await asyncio.sleep(0)


# --- what is remembered


async def test_a_list_is_remembered_for_its_time_to_live() -> None:
    store = Store(acme=OLD)
    cache = store.cache(ttl=0.1)
    assert [await find(cache) for _ in range(3)] == [OLD] * 3
    store.lists["acme"] = NEW
    assert await find(cache) == OLD
    assert store.asked == ["acme"]
    await asyncio.sleep(0.11)
    assert await find(cache) == NEW
    assert store.asked == ["acme"] * 2


async def test_the_time_to_live_counts_from_the_question() -> None:
    store = Store(acme=OLD)
    store.gate.clear()
    cache = store.cache(ttl=0.1)
    asking = asyncio.create_task(find(cache))
    await asyncio.sleep(0.08)
    store.lists["acme"] = NEW
    store.gate.set()
    assert await asking == OLD
    await asyncio.sleep(0.03)
    assert await find(cache) == NEW


async def test_that_a_client_is_unknown_is_remembered_more_briefly() -> None:
    store = Store()
    cache = store.cache(unknown_ttl=0.1)
    assert [await find(cache) for _ in range(3)] == [None] * 3
    assert store.asked == ["acme"]
    store.lists["acme"] = NEW
    await asyncio.sleep(0.11)
    assert await find(cache) == NEW


async def test_a_client_that_has_gone_is_unknown() -> None:
    store = Store(acme=OLD)
    cache = store.cache(ttl=0.05)
    assert await find(cache) == OLD
    del store.lists["acme"]
    await asyncio.sleep(0.06)
    assert await find(cache) is None
    store.fail(OSError())
    assert await find(cache) is None
    cache.drop("acme")
    assert await find(cache) == "OSError"


async def test_invented_ids_push_no_client_out_and_stay_few() -> None:
    store = Store(acme=OLD, other=NEW)
    cache = store.cache(max_clients=2, max_unknown=10)
    assert await find(cache) == OLD
    assert await find(cache, "other") == NEW
    for number in range(1_000):
        assert await find(cache, f"invented-{number}") is None
    assert len(cache._unknown) == 10
    store.asked.clear()
    assert await find(cache) == OLD
    assert await find(cache, "other") == NEW
    assert store.asked == []


async def test_the_least_recently_used_client_is_forgotten() -> None:
    store = Store(a=OLD, b=OLD, c=OLD)
    cache = store.cache(max_clients=2)
    for client_id in "abac":
        await find(cache, client_id)
    store.asked.clear()
    assert [await find(cache, client_id) for client_id in "acb"] == [OLD] * 3
    assert store.asked == ["b"]


# --- one look-up at a time


async def test_one_look_up_serves_all_who_wait() -> None:
    store = Store(acme=OLD)
    store.gate.clear()
    cache = store.cache()
    waiting = [asyncio.create_task(find(cache)) for _ in range(1_000)]
    await settle()
    store.gate.set()
    assert await asyncio.gather(*waiting) == [OLD] * 1_000
    assert store.asked == ["acme"]
    assert cache._flights == {}


async def test_who_stops_waiting_disturbs_nobody() -> None:
    store = Store(acme=OLD)
    store.gate.clear()
    cache = store.cache()
    first, second, third = (asyncio.create_task(find(cache)) for _ in range(3))
    await settle()
    first.cancel()
    third.cancel()
    await settle()
    store.gate.set()
    assert await second == OLD
    assert first.cancelled()
    assert third.cancelled()
    assert store.asked == ["acme"]


async def test_a_look_up_nobody_waits_for_any_more_still_counts() -> None:
    store = Store(acme=OLD)
    store.gate.clear()
    cache = store.cache()
    only = asyncio.create_task(find(cache))
    await settle()
    only.cancel()
    await settle()
    store.gate.set()
    await settle()
    assert await find(cache) == OLD
    assert store.asked == ["acme"]


async def test_a_failure_is_shared_and_then_over() -> None:
    store = Store(acme=OLD)
    store.error = OSError()
    cache = store.cache()
    assert await asyncio.gather(*(find(cache) for _ in range(100))) == ["OSError"] * 100
    assert store.asked == ["acme"] * 2  # a connection may have died unnoticed, so that a quick failure is tried again
    store.error = None
    await asyncio.sleep(0.06)
    assert await find(cache) == OLD


async def test_a_connection_that_had_died_is_not_noticed() -> None:
    store = Store(acme=OLD)
    cache = store.cache()
    store.error = ConnectionResetError()
    asking = asyncio.create_task(find(cache))
    while not store.asked:  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0)
    store.error = None
    assert await asking == OLD


async def test_clients_do_not_wait_behind_invented_ids() -> None:
    store = Store(acme=OLD)
    cache = store.cache(ttl=0.01, max_lookups=2)
    assert await find(cache) == OLD
    store.gate.clear()
    flood = [asyncio.create_task(find(cache, f"invented-{number}")) for number in range(50)]
    await asyncio.sleep(0.02)
    assert len(store.asked) == 3
    known = asyncio.create_task(find(cache))
    await settle()
    assert store.asked[-1] == "acme"
    store.gate.set()
    assert await known == OLD
    assert await asyncio.gather(*flood) == [None] * 50


async def test_waiting_in_line_is_no_failure_of_the_store(caplog: pytest.LogCaptureFixture) -> None:
    store = Store(acme=OLD)
    store.gate.clear()
    cache = store.cache(max_lookups=1)
    flood = [asyncio.create_task(find(cache, f"invented-{number}")) for number in range(10)]
    assert await asyncio.gather(*flood) == ["no answer within 0.2 seconds"] * 10
    assert caplog.text == ""
    store.gate.set()
    await settle()
    assert await find(cache) == OLD
    await cache.close()


async def test_a_driver_that_never_ends_is_abandoned() -> None:
    store = Store(acme=OLD)
    stuck, release = [], asyncio.Event()

    async def ask(client_id: str) -> AllowList | None:
        if not release.is_set():
            stuck.append(client_id)
            while not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:  # as a driver does that closes its connection in good order
                    stuck.append("cancelled")
        return OLD

    cache = Cache(ask, store.ping, Terms(timeout=0.05, retry=0.01, max_lookups=1), is_pushed=False)
    began = now()
    assert await find(cache, "one") == "no answer within 0.05 seconds"
    assert now() - began < 0.09
    await asyncio.sleep(0.1)
    assert stuck == ["one", "cancelled"]
    # Its place in the line is free again.
    assert await find(cache, "two") == "no answer within 0.05 seconds"
    assert stuck[-1] == "two"
    await cache.close()
    release.set()
    assert await find(cache, "three") == OLD


# --- changes


async def test_a_change_is_asked_for_at_once() -> None:
    store = Store(acme=OLD, other=OLD)
    cache = store.cache()
    assert await find(cache) == await find(cache, "other") == OLD
    assert await find(cache, "new") is None
    store.lists.update(acme=NEW, other=NEW, new=NEW)
    cache.drop("acme")
    cache.drop("nobody")
    assert [await find(cache, client_id) for client_id in ("acme", "other", "new")] == [NEW, OLD, None]
    cache.clear()
    assert [await find(cache, client_id) for client_id in ("acme", "other", "new")] == [NEW, NEW, NEW]


@pytest.mark.parametrize("how", ["drop", "clear"])
async def test_a_look_up_that_began_before_a_change_is_not_remembered(how: str) -> None:
    store = Store(acme=OLD)
    cache = store.cache()
    store.gate.clear()
    asking = asyncio.create_task(find(cache))
    await settle()
    store.lists["acme"] = NEW
    cache.drop("acme") if how == "drop" else cache.clear()
    # One who asks after the change does not join the look-up from before.
    after = asyncio.create_task(find(cache))
    await settle()
    assert store.asked == ["acme"] * 2
    store.gate.set()
    # Nor is one who asked before it told what was then: it may have joined a look-up that began earlier still.
    assert [await asking, await after] == [NEW, NEW]
    asked = len(store.asked)
    assert await find(cache) == NEW
    assert len(store.asked) == asked <= 3


async def test_a_failure_from_before_a_change_is_not_remembered() -> None:
    store = Store(acme=OLD)
    cache = store.cache(retry=60)
    store.gate.clear()
    store.lists["acme"] = AllowListError("client 'acme': no list")
    asking = asyncio.create_task(find(cache))
    await settle()
    store.lists["acme"] = NEW
    cache.drop("acme")
    store.gate.set()
    assert await asking == NEW
    assert await find(cache) == NEW


async def test_a_client_that_changes_all_the_time_is_answered() -> None:
    store = Store(acme=OLD)
    cache = store.cache()
    store.gate.clear()
    asking = asyncio.create_task(find(cache))
    for allow_list in (NEW, OLD):
        await settle()
        store.lists["acme"] = allow_list
        cache.drop("acme")
        store.gate.set()
        await settle()
        store.gate.clear()
    assert await asking in (OLD, NEW)
    assert len(store.asked) == 2
    store.gate.set()


async def test_every_answer_is_one_that_held_during_the_call() -> None:
    chance = random.Random(7)
    versions = {client_id: [(0.0, AllowList([]))] for client_id in (*map(str, range(5)), *map(str, range(100, 400)))}

    async def ask(client_id: str) -> AllowList | None:
        await asyncio.sleep(chance.random() * 0.002)
        found = versions[client_id][-1][1]
        await asyncio.sleep(chance.random() * 0.002)
        return found

    cache = Cache(ask, Store().ping, Terms(ttl=60, max_clients=150, max_lookups=64, timeout=20), is_pushed=True)
    cache.cover()

    def was_true(client_id: str, allow_list: AllowList | None, began: float) -> bool:
        history = versions[client_id]
        ends = [moment for moment, _ in history[1:]] + [float("inf")]
        return any(each == allow_list and end >= began for (_, each), end in zip(history, ends, strict=True))

    async def call(number: int) -> bool:
        await asyncio.sleep(chance.random())
        client_id = str(chance.randrange(5)) if number % 2 else str(chance.randrange(100, 400))
        began = now()
        return was_true(client_id, await cache.find(client_id), began)

    async def change() -> None:
        for number in range(1_000):
            client_id = chance.choice(list(versions))
            versions[client_id].append((now(), AllowList([f"10.0.{number // 250}.{number % 250}"])))
            cache.drop(client_id) if number % 100 else cache.clear()
            await asyncio.sleep(0.0005)

    changing = asyncio.create_task(change())
    outcomes = await asyncio.gather(*(call(number) for number in range(3_000)))
    await changing
    assert all(outcomes)
    assert all([await cache.find(client_id) == versions[client_id][-1][1] for client_id in versions])


# --- pushed changes


async def test_nothing_counts_as_fresh_before_changes_are_told() -> None:
    store = Store(acme=OLD)
    cache = store.cache(is_pushed=True)
    assert [await find(cache), await find(cache)] == [OLD, OLD]
    assert store.asked == ["acme"] * 2
    cache.cover()
    # What was asked for before may have changed in between.
    assert [await find(cache), await find(cache)] == [OLD, OLD]
    assert store.asked == ["acme"] * 3
    cache.uncover()
    assert [await find(cache), await find(cache)] == [OLD, OLD]
    assert store.asked == ["acme"] * 5


async def test_that_a_client_is_unknown_is_asked_again_once_changes_are_told() -> None:
    store = Store()
    cache = store.cache(is_pushed=True)
    assert [await find(cache), await find(cache)] == [None, None]
    assert store.asked == ["acme"]
    store.lists["acme"] = NEW
    cache.cover()
    assert await find(cache) == NEW


@pytest.mark.parametrize("is_covered_again", [False, True])
async def test_a_look_up_across_a_gap_is_asked_again(is_covered_again: bool) -> None:
    store = Store(acme=OLD)
    cache = store.cache(is_pushed=True)
    cache.cover()
    store.gate.clear()
    asking = asyncio.create_task(find(cache))
    await settle()
    cache.uncover()
    if is_covered_again:
        cache.cover()
    store.lists["acme"] = NEW
    store.gate.set()
    assert await asking == OLD
    assert await find(cache) == NEW


async def test_while_changes_are_not_told_a_list_is_served_no_longer_than_max_stale() -> None:
    store = Store(acme=OLD, other=OLD)
    cache = store.cache(is_pushed=True, max_stale=0.2)
    cache.cover()
    await asyncio.gather(find(cache), find(cache, "other"))
    store.fail(OSError())
    cache.uncover()
    await asyncio.sleep(0.1)
    assert await find(cache) == OLD
    # That changes were told again for a moment makes it no younger.
    cache.cover()
    cache.uncover()
    assert await find(cache) == OLD
    await asyncio.sleep(0.12)
    assert await find(cache) == "OSError"
    assert await cache.readiness() is Readiness.UNAVAILABLE
    store.fail(None)
    await asyncio.sleep(0.1)
    assert await find(cache) == OLD
    await cache.close()


async def test_gaps_are_not_counted_forever() -> None:
    store = Store(acme=OLD)
    cache = store.cache(is_pushed=True, max_stale=0.01)
    for _ in range(5):
        for _ in range(10):
            cache.cover()
            cache.uncover()
        await asyncio.sleep(0.02)
    assert len(cache._gaps) <= 11


# --- failures


async def test_while_the_store_fails_lists_are_served_for_max_stale_and_then_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "allowlist_middleware")
    store = Store(acme=OLD, other=OLD)
    cache = store.cache(ttl=0.1, max_stale=0.3)
    await asyncio.gather(find(cache), find(cache, "other"))
    assert await cache.readiness() is Readiness.FRESH
    store.fail(ConnectionRefusedError("postgresql://user:hunter2@db"))
    await asyncio.sleep(0.11)
    assert await find(cache) == OLD
    assert await cache.readiness() is Readiness.STALE
    asked = len(store.asked)
    for _ in range(50):
        assert await find(cache, "other") == OLD
        assert await find(cache, "new") == "ConnectionRefusedError"
    assert len(store.asked) == asked  # a store that fails is left in peace, but for a ping now and then
    await asyncio.sleep(0.31)
    assert await find(cache) == "ConnectionRefusedError"
    assert await cache.readiness() is Readiness.UNAVAILABLE
    store.fail(None)
    await asyncio.sleep(0.1)
    assert await find(cache) == OLD
    assert await cache.readiness() is Readiness.FRESH
    assert [record.message for record in caplog.records] == [
        "allow lists: client 'acme': the look-up failed: ConnectionRefusedError",
        "allow lists: the store fails: ConnectionRefusedError; lists read before are served for at most 0.3 seconds",
        "allow lists: the store answers again",
    ]
    await cache.close()


async def test_a_store_that_hangs_delays_the_first_calls_and_no_more() -> None:
    store = Store(acme=OLD, other=OLD)
    cache = store.cache(ttl=0.01)
    await asyncio.gather(find(cache), find(cache, "other"))
    store.gate.clear()
    await asyncio.sleep(0.02)
    began = now()
    assert await find(cache) == OLD
    assert 0.19 < now() - began < 0.3
    await asyncio.sleep(0.9)  # a look-up that hangs is given up, and so is a ping
    began = now()
    assert await find(cache) == await find(cache, "other") == OLD
    assert await find(cache, "new") == "TimeoutError"
    assert now() - began < 0.05
    store.gate.set()
    await asyncio.sleep(0.15)
    store.lists["acme"] = NEW
    assert await find(cache) == NEW
    await cache.close()


async def test_a_list_that_cannot_be_looked_up_is_not_a_store_that_fails() -> None:
    store = Store(acme=OLD, other=OLD)
    store.lists["huge"] = TimeoutError()
    cache = store.cache(ttl=0.01)
    assert await find(cache, "other") == OLD
    for allow_list in (NEW, OLD) * 5:
        assert await find(cache, "huge") == "TimeoutError"
        store.lists["other"] = allow_list
        await asyncio.sleep(0.011)
        assert await find(cache, "other") == allow_list
    assert await cache.readiness() is Readiness.FRESH
    assert store.asked.count("huge") < 20


async def test_a_client_whose_record_cannot_be_read_is_refused_at_once(caplog: pytest.LogCaptureFixture) -> None:
    store = Store(acme=OLD)
    cache = store.cache(ttl=0.01)
    assert await find(cache) == OLD
    store.lists["acme"] = AllowListError("client 'acme': '*' is not an address")
    await asyncio.sleep(0.02)
    assert [await find(cache) for _ in range(10)] == ["AllowListError"] * 10
    assert [record.message for record in caplog.records] == [
        "allow lists: client 'acme': '*' is not an address; the client is refused"
    ]
    assert store.asked == ["acme"] * 2
    assert store.pings == 0
    # Nor does a store that fails bring back what it had before.
    store.fail(OSError())
    await asyncio.sleep(0.06)
    assert await find(cache) == "OSError"
    store.fail(None)
    store.lists["acme"] = NEW
    await asyncio.sleep(0.1)
    assert await find(cache) == NEW


async def test_without_max_stale_nothing_is_served_while_the_store_fails() -> None:
    store = Store(acme=OLD)
    cache = store.cache(ttl=0.01, max_stale=0)
    assert await find(cache) == OLD
    store.fail(OSError())
    await asyncio.sleep(0.02)
    assert await find(cache) == "OSError"
    await cache.close()


async def test_a_list_dropped_while_the_store_fails_is_not_served() -> None:
    store = Store(acme=OLD)
    cache = store.cache(ttl=0.01)
    assert await find(cache) == OLD
    store.fail(OSError())
    await asyncio.sleep(0.02)
    assert await find(cache) == OLD
    cache.drop("acme")
    assert await find(cache) == "OSError"
    await cache.close()


async def test_closing_ends_what_is_under_way() -> None:
    store = Store(acme=OLD)
    store.gate.clear()
    cache = store.cache()
    asking = asyncio.create_task(find(cache))
    await settle()
    before = asyncio.all_tasks()
    await cache.close()
    assert await asking == "the source was closed"
    assert len(asyncio.all_tasks()) < len(before)
    store.gate.set()
    assert await find(cache) == OLD
    await Store().cache().close()


def test_the_kind_of_an_error_is_told_and_not_its_message() -> None:
    outer, inner = RuntimeError("hunter2"), OSError("hunter2")
    outer.__cause__ = inner
    assert describe(outer) == "RuntimeError (OSError)"
    assert describe(inner) == "OSError"
    inner.__context__ = asyncio.CancelledError()
    assert describe(inner) == "OSError"


# --- sources


class Source(StoreSource):
    """A source whose store is in memory."""

    def __init__(self, *, is_pushed: bool = False, **options: Any) -> None:
        terms: TermOptions = {"timeout": 0.2, "retry": 0.05, **options}  # type: ignore[typeddict-item]
        super().__init__(terms, is_pushed=is_pushed)
        self.store = Store(acme=OLD)
        self.listened = 0
        self.pages = [["partner", "acme"], ["acme", "zeta"]]

    async def _ask(self, client_id: str) -> AllowList | None:
        return await self.store.ask(client_id)

    async def _ask_ids(self, mark: Any) -> tuple[list[str], Any]:
        return (self.pages[0], 1) if mark is None else (self.pages[mark], None)

    async def _ping(self) -> None:
        await self.store.ping()

    async def _listen(self) -> None:
        self.listened += 1
        if self.listened == 1:
            raise OSError
        self._cover()
        await asyncio.sleep(0.1)


async def test_a_lost_subscription_is_told_of_and_made_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "allowlist_middleware")
    async with Source(is_pushed=True) as source:
        await asyncio.sleep(0.4)
    assert source.listened >= 3
    assert [record.message for record in caplog.records][:3] == [
        "allow lists: changes are not told: OSError; every list is asked for each time",
        "allow lists: changes are told again",
        "allow lists: changes are not told: the connection ended; every list is asked for each time",
    ]


class Stubborn(Source):
    """Loses a cancellation, as redis-py may."""

    async def _listen(self) -> None:
        self.listened += 1
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise OSError from None


async def test_a_driver_that_loses_a_cancellation_is_not_asked_again() -> None:
    before = asyncio.all_tasks()
    async with Stubborn(is_pushed=True) as source:
        await settle()
    assert asyncio.all_tasks() == before
    assert source.listened == 1


async def test_a_source_is_closed_by_the_last_who_opened_it() -> None:
    source = Source(is_pushed=True)
    async with source:
        async with source:
            await source.allow_list("acme")
        assert source._loop is not None
        assert await source.readiness() is Readiness.FRESH
    assert source._loop is None
    await source.aclose()


async def test_clients_are_listed_once_each_and_in_order() -> None:
    source = Source()
    assert await source.client_ids() == ["acme", "partner", "zeta"]
    source.pages = source.pages[:1]
    with pytest.raises(SourceError, match=r"^the clients cannot be listed: IndexError$"):
        await source.client_ids()


def test_a_source_begins_anew_on_another_event_loop() -> None:
    source = Source()

    async def use() -> list[Any]:
        source.store.gate = asyncio.Event()
        source.store.gate.set()
        return [await source.readiness(), await source.allow_list("acme")]

    assert asyncio.run(use()) == [Readiness.FRESH, OLD]
    assert asyncio.run(use()) == [Readiness.FRESH, OLD]
    assert source.store.asked == ["acme"]

    async def close_elsewhere() -> None:
        await source.aclose()

    asyncio.run(close_elsewhere())


def test_on_another_event_loop_pushed_lists_are_stale() -> None:
    source = Source(is_pushed=True)
    source.listened = 1

    async def use(times: int) -> None:
        source.store.gate = asyncio.Event()
        source.store.gate.set()
        await asyncio.sleep(0)
        for _ in range(times):
            assert await source.allow_list("acme") == OLD
            await settle()

    asyncio.run(use(5))
    assert source.store.asked == ["acme"]
    asyncio.run(use(1))
    assert source.store.asked == ["acme"] * 2


# --- terms


@pytest.mark.parametrize("name", ["ttl", "max_stale", "unknown_ttl", "timeout", "retry", "heartbeat"])
@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (-1, AllowListError, "-1 is not a duration; write seconds, such as 30"),
        (float("inf"), AllowListError, "inf is not a duration; write seconds, such as 30"),
        (float("nan"), AllowListError, "nan is not a duration; write seconds, such as 30"),
        ("30", TypeError, "'30' is not a number; write seconds, such as 30"),
        (True, TypeError, "True is not a number; write seconds, such as 30"),
        (None, TypeError, "None is not a number; write seconds, such as 30"),
    ],
)
def test_durations_that_make_no_sense(name: str, value: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as raised:
        Terms(**{name: value})
    assert str(raised.value) == f"{name}: {message}"


@pytest.mark.parametrize("name", ["max_clients", "max_unknown", "max_lookups"])
@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (0, AllowListError, "0 is less than one; write a whole number, such as 10_000"),
        (1.5, TypeError, "1.5 is not a whole number; write one, such as 10_000"),
        (True, TypeError, "True is not a whole number; write one, such as 10_000"),
    ],
)
def test_numbers_that_make_no_sense(name: str, value: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as raised:
        Terms(**{name: value})
    assert str(raised.value) == f"{name}: {message}"


def test_zero_is_a_duration_only_where_nothing_may_be_stale() -> None:
    assert Terms(max_stale=0).max_stale == 0.0
    for name in ("ttl", "timeout", "retry"):
        with pytest.raises(AllowListError, match=f"{name}: 0 is not a duration"):
            Terms(**{name: 0})
