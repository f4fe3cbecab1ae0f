from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.servers import PostgreSQLServer, RedisServer, Server, run_server

if TYPE_CHECKING:
    from tests.sources.stores import Store

# Where the extras of the sources are not installed, there is nothing to test.
_NEEDED = ("aiosqlite", "asyncpg", "cachetools", "redis", "sqlalchemy", "watchfiles")
collect_ignore_glob = [] if all(map(find_spec, _NEEDED)) else ["test_*.py"]

MAKERS: dict[str, Callable[[Path], Server]] = {"postgresql": PostgreSQLServer, "redis": RedisServer}


@pytest.fixture
def anyio_backend() -> str:
    """Run on asyncio, the only event loop the drivers of databases know."""
    return "asyncio"


@pytest.fixture(scope="session")
def server() -> Iterator[Callable[[str], Any]]:
    """Return the server of a kind; one for all tests, started when it is asked for."""
    with ExitStack() as stack:
        running: dict[str, Any] = {}

        def find(kind: str) -> Any:
            if kind not in running:
                running[kind] = stack.enter_context(run_server(MAKERS[kind]))
            return running[kind]

        yield find


@pytest.fixture
def open_kind(server: Callable[[str], Any], tmp_path: Path) -> Callable[..., AbstractAsyncContextManager[Store]]:
    """Return what opens an empty store of a kind."""

    def open_one(kind: str, **options: Any) -> AbstractAsyncContextManager[Store]:
        from tests.sources.stores import open_store

        return open_store(kind, server, tmp_path, **options)

    return open_one
