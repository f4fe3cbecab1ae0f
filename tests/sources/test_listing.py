"""What the command tells of lists that stand in a store."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from allowlist_middleware import ANYWHERE, AllowList
from tests.programs import find_free_port
from tests.sources.stores import KINDS, Open, becomes

pytest.importorskip("click")

pytestmark = pytest.mark.anyio

APP = """
import os

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import create_async_engine
from starlette.applications import Starlette
from starlette.routing import Route

from allowlist_middleware import AllowListMiddleware
from allowlist_middleware.sources.file import FileAllowLists
from allowlist_middleware.sources.redis import RedisAllowLists
from allowlist_middleware.sources.sql import SQLAllowLists

where = os.environ["WHERE"]
if where.startswith("redis:"):
    lists = RedisAllowLists(Redis.from_url(where), timeout=0.5)
elif "://" in where:
    lists = SQLAllowLists(create_async_engine(where), timeout=0.5)
else:
    lists = FileAllowLists(where)


async def entity(request): ...


app = Starlette(routes=[Route("/entity", entity)])
app.add_middleware(AllowListMiddleware, allow_lists=lists)
"""


async def run(directory: Path, where: str, *arguments: str) -> tuple[int, str, str]:
    """Run the command; return its exit code and what it printed, on standard output and on standard error."""
    (directory / "shop.py").write_text(APP)
    command = [sys.executable, "-m", "allowlist_middleware", *arguments, "--app-dir", str(directory)]
    with anyio.fail_after(60):
        done = await anyio.run_process(command, check=False, env={**os.environ, "WHERE": where})
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def find_url(kind: str, server: Callable[[str], Any], directory: Path) -> str:
    if kind in ("toml", "json"):
        return str(directory / f"lists.{kind}")
    url: str = f"sqlite+aiosqlite:///{directory}/lists.db" if kind == "sqlite" else server(kind).url
    return url


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "memory"])
async def test_who_may_call_from_where(
    kind: str, server: Callable[[str], Any], open_kind: Open, tmp_path: Path
) -> None:
    async with open_kind(kind) as store:
        await store.set("acme", ["192.0.2.0/24"])
        await store.set("partner", ANYWHERE)
        await store.set("retired", [])
        await becomes(store.source, "retired", AllowList([]))
        where = find_url(kind, server, tmp_path)
        lines = ["client   may call from", "acme     192.0.2.0/24", "partner  anywhere", "retired  nowhere"]
        assert await run(tmp_path, where, "lists", "shop:app") == (0, "\n".join([*lines, ""]), "")
        _, decider, _ = await run(tmp_path, where, "operations", "shop:app")
    assert decider.splitlines()[0].endswith("AllowLists with 3 clients, 1 of them anywhere")


async def test_a_store_that_is_down_is_told_without_its_password(tmp_path: Path) -> None:
    where = f"redis://:hunter2@127.0.0.1:{find_free_port()}"
    code, out, error = await run(tmp_path, where, "lists", "shop:app")
    assert (code, out) == (2, "")
    assert "hunter2" not in error
    assert "the clients cannot be listed: ConnectionError" in error
