"""Sources open and close with the application, or begin with the first look-up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import anyio
import pytest
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.types import Message

from allowlist_middleware import AllowList, AllowListError, AllowListMiddleware
from allowlist_middleware.sources.redis import RedisAllowLists
from tests.sources.stores import FileStore, Open, becomes

pytestmark = pytest.mark.anyio

on_both_loops = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])


class Lifespan:
    """Runs the lifespan of an application as a server does."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.is_sent = anyio.Event()
        self.ends = anyio.Event()
        self.received = 0

    async def receive(self) -> Message:
        self.received += 1
        if self.received == 1:
            return {"type": "lifespan.startup"}
        await self.ends.wait()
        return {"type": "lifespan.shutdown"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)
        self.is_sent.set()

    @property
    def types(self) -> list[str]:
        return [message["type"].removeprefix("lifespan.") for message in self.sent]


@asynccontextmanager
async def running(app: Any) -> AsyncIterator[Lifespan]:
    lifespan = Lifespan()
    async with anyio.create_task_group() as group:
        group.start_soon(app, {"type": "lifespan", "state": {}}, lifespan.receive, lifespan.send)
        await lifespan.is_sent.wait()
        yield lifespan
        lifespan.ends.set()


class Opened:
    """A source as a user writes it, which is an async context manager."""

    def __init__(self, events: list[str], error: Exception | None = None) -> None:
        self.events, self.error = events, error

    async def allow_list(self, client_id: str) -> AllowList | None: ...

    async def __aenter__(self) -> Self:
        if self.error is not None:
            raise self.error
        self.events.append("source opened")
        return self

    async def __aexit__(self, *_: object) -> None:
        self.events.append("source closed")


def make_app(source: Any, events: list[str]) -> Any:
    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        events.append("application started")
        yield
        events.append("application stopped")

    app = Starlette(lifespan=lifespan)
    app.add_middleware(AllowListMiddleware, allow_lists=source)
    return app


@on_both_loops
async def test_a_source_is_open_while_the_application_runs() -> None:
    events: list[str] = []
    async with running(make_app(Opened(events), events)) as lifespan:
        assert lifespan.types == ["startup.complete"]
    assert events == ["source opened", "application started", "application stopped", "source closed"]
    assert lifespan.types == ["startup.complete", "shutdown.complete"]


@on_both_loops
@pytest.mark.parametrize(
    ("error", "message"),
    [
        (AllowListError("lists.toml: there is no such file"), "lists.toml: there is no such file"),
        (
            OSError("postgresql://user:hunter2@db"),
            "allow_lists: an Opened cannot be opened: it raised OSError",
        ),
    ],
)
async def test_a_source_that_cannot_be_opened_refuses_the_start(
    error: Exception, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[str] = []
    async with running(make_app(Opened(events, error), events)) as lifespan:
        pass
    assert lifespan.sent == [{"type": "lifespan.startup.failed", "message": message}]
    assert events == ["application started", "application stopped"]
    assert "hunter2" not in caplog.text


async def test_a_source_is_closed_where_the_lifespan_is_cut_off() -> None:
    events: list[str] = []
    lifespan = Lifespan()
    limit = anyio.CancelScope()

    async def serve() -> None:
        with limit:
            app = make_app(Opened(events), events)
            await app({"type": "lifespan", "state": {}}, lifespan.receive, lifespan.send)

    async with anyio.create_task_group() as group:
        group.start_soon(serve)
        await lifespan.is_sent.wait()
        limit.cancel()
    assert events == ["source opened", "application started", "source closed"]


async def test_a_source_that_another_task_may_not_leave_is_left_by_its_own() -> None:
    events: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        async with anyio.create_task_group() as group:
            group.start_soon(send, {"type": "lifespan.shutdown.complete"})
        events.append("application done")

    async with running(AllowListMiddleware(app, allow_lists=Opened(events))):
        pass
    assert events == ["source opened", "application done", "source closed"]


@on_both_loops
async def test_a_file_is_watched_while_the_application_runs(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "lists.toml", poll=30)
    async with running(make_app(store.source, [])):
        await anyio.sleep(0.2)
        await store.set("acme", ["192.0.2.1"])
        await becomes(store.source, "acme", AllowList(["192.0.2.1"]))
    assert store.source._group is None


@on_both_loops
async def test_a_file_is_looked_at_where_no_lifespan_runs(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "lists.toml", poll=0.05)
    await store.set("acme", ["192.0.2.1"])
    await becomes(store.source, "acme", AllowList(["192.0.2.1"]))


@on_both_loops
async def test_a_file_may_be_shared_by_applications(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "lists.toml", poll=0.05)
    async with running(AllowListMiddleware(make_app(store.source, []), allow_lists=store.source)):
        async with running(make_app(store.source, [])):
            pass
        assert store.source._group is not None
    assert store.source._group is None


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_a_store_needs_asyncio_and_says_so() -> None:
    redis = Redis(port=1)
    async with running(make_app(RedisAllowLists(redis), [])) as lifespan:
        pass
    assert lifespan.sent[0]["message"] == (
        "RedisAllowLists: it runs on asyncio only; write FileAllowLists or AllowLists"
    )
    with pytest.raises(RuntimeError):
        await RedisAllowLists(redis).allow_list("acme")


@pytest.mark.parametrize("kind", ["postgresql", "redis"])
async def test_a_store_begins_with_the_first_look_up_and_follows_changes(kind: str, open_kind: Open) -> None:
    async with open_kind(kind, ttl=60) as store:
        await store.source.aclose()
        await store.set("acme", ["192.0.2.1"])
        await becomes(store.source, "acme", AllowList(["192.0.2.1"]))
        await anyio.sleep(0.3)
        await becomes(store.source, "acme", AllowList(["192.0.2.1"]))
        await store.set("acme", ["192.0.2.2"])
        await becomes(store.source, "acme", AllowList(["192.0.2.2"]))
