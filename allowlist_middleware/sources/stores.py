"""What the sources with a store behind it have in common: the cache, the subscription, opening and closing."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

from allowlist_middleware.errors import AllowListError
from allowlist_middleware.log_line import write
from allowlist_middleware.networks import AllowList
from allowlist_middleware.sources.cache import Cache, describe
from allowlist_middleware.sources.readiness import Readiness, SourceError
from allowlist_middleware.sources.terms import TermOptions, Terms


class StoreSource(ABC):
    """A source that asks a store, remembers the answers and follows the changes that the store tells of.

    It begins with the application's lifespan or an `async with`, and where neither runs with the first look-up. It runs
    on asyncio, on one event loop at a time; on another loop it begins anew, with what it remembers considered stale.
    """

    def __init__(self, options: TermOptions, *, is_pushed: bool) -> None:
        self._terms = Terms(**options)
        self._cache = Cache(self._ask, self._ping, self._terms, is_pushed=is_pushed)
        self._is_pushed = is_pushed
        self._loop: asyncio.AbstractEventLoop | None = None
        self._run: object = None
        self._is_lost = False
        self._depth = 0

    @abstractmethod
    async def _ask(self, client_id: str) -> AllowList | None:
        """Return what the store holds; raises `AllowListError` for a record that cannot be read."""

    @abstractmethod
    async def _ask_ids(self, mark: Any) -> tuple[Iterable[str], Any]:
        """Return some of the client ids, and the mark from which to go on; it is `None` at the start and the end."""

    @abstractmethod
    async def _ping(self) -> None:
        """Ask the store for anything; raises if it does not answer."""

    @abstractmethod
    async def _listen(self) -> None:
        """Subscribe to changes, call `_cover`, and then `drop` and `clear` of the cache; ends once that is lost."""

    async def allow_list(self, client_id: str) -> AllowList | None:
        """Return the client's list, `None` for an unknown client; raises `SourceError` where it cannot be told."""
        if self._loop is not asyncio.get_running_loop():
            self._begin()
        return await self._cache.find(client_id)

    async def client_ids(self) -> list[str]:
        """Return the ids of all clients as the store holds them now, in order; raises `SourceError` if it fails."""
        if self._loop is not asyncio.get_running_loop():
            self._begin()
        client_ids: set[str] = set()
        mark = None
        while True:
            try:
                part, mark = await self._cache.limit(self._ask_ids(mark))
            except Exception as error:  # noqa: BLE001 - whatever it is, the store does not answer
                raise SourceError(f"the clients cannot be listed: {describe(error)}") from None
            client_ids.update(part)
            if mark is None:
                return sorted(client_ids)

    async def readiness(self) -> Readiness:
        """Return whether lists are served fresh, stale or not at all; the store is asked each time."""
        if self._loop is not asyncio.get_running_loop():
            self._begin()
        return await self._cache.readiness()

    async def __aenter__(self) -> Self:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            name = type(self).__qualname__
            raise AllowListError(f"{name}: it runs on asyncio only; write FileAllowLists or AllowLists") from None
        if self._loop is not loop:
            self._begin()
        self._depth += 1
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._depth -= 1
        if not self._depth:
            await self.aclose()

    async def aclose(self) -> None:
        """End the subscription and what is under way; the engine or client stays the application's to close."""
        if self._loop is not asyncio.get_running_loop():
            return
        self._loop = self._run = None
        await self._cache.close()

    def _begin(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._cache.restart()
        if self._is_pushed:
            self._run = object()
            self._cache.start(self._follow(self._run))

    async def _follow(self, run: object) -> None:
        """Keep the subscription; while it is lost, everything is stale."""
        while self._run is run:  # a driver may lose a cancellation
            reason = "the connection ended"
            try:
                await self._listen()
            except Exception as error:  # noqa: BLE001 - whatever it is, the subscription is lost
                reason = describe(error)
            finally:
                self._cache.uncover()
            if not self._is_lost:
                line = f"allow lists: changes are not told: {reason}; every list is asked for each time"
                write(logging.WARNING, line)
            self._is_lost = True
            await asyncio.sleep(self._terms.retry)

    def _cover(self) -> None:
        self._cache.cover()
        if self._is_lost:
            write(logging.INFO, "allow lists: changes are told again")
        self._is_lost = False
