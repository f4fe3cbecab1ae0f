"""Opening the sources of lists outside the lifespan of their application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from allowlist_middleware.errors import AllowListError
from allowlist_middleware.middleware import AllowListMiddleware


@asynccontextmanager
async def open_sources(middlewares: Iterable[AllowListMiddleware]) -> AsyncIterator[None]:
    """Open the sources that want to be opened, each once, and close them.

    Raises `AllowListError` for a source that cannot be opened.
    """
    sources: dict[int, Any] = {id(one.source): one.source for one in middlewares}
    async with AsyncExitStack() as stack:
        for source in sources.values():
            if hasattr(type(source), "__aenter__"):
                try:
                    await stack.enter_async_context(source)
                except Exception as error:
                    raise AllowListError(
                        f"{name_source(source)} cannot be opened: {describe_failure(error)}"
                    ) from error
        yield


def name_source(source: object) -> str:
    """Return what a report calls a source."""
    return type(source).__qualname__


def describe_failure(error: Exception) -> str:
    """Return what a source failed with, as one line."""
    # Our own messages say what is wrong with an entry; a driver's may hold the password of its connection.
    own = type(error).__module__.partition(".")[0] == __package__
    return " ".join(str(error).split()) if own else f"it raised {type(error).__qualname__}"
