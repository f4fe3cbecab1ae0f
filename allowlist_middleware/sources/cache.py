"""The cache inside every source with a store behind it: what is remembered, for how long, and who may ask the store.

Three rules keep it safe. A list is served without asking only while nothing can have changed it unnoticed: for its time
to live and, where changes are pushed, only while the subscription stands that stood when it was asked for. What a
change has dropped never comes back, neither as a stale list nor by a look-up that began before the change. And a store
that fails is never an answer: what it answered last is served for a bounded time, and then nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from math import inf
from typing import Any, NamedTuple, TypeAlias, TypeVar

from cachetools import LRUCache, TTLCache

from allowlist_middleware.errors import AllowListError, quote
from allowlist_middleware.log_line import write
from allowlist_middleware.networks import AllowList
from allowlist_middleware.sources.readiness import Readiness, SourceError
from allowlist_middleware.sources.terms import Terms

T = TypeVar("T")
Ask: TypeAlias = Callable[[str], Coroutine[Any, Any, AllowList | None]]
Ping: TypeAlias = Callable[[], Coroutine[Any, Any, object]]


class Moment(NamedTuple):
    """When the store was asked, and under which subscription, if any stood; the clock of a loop may be too coarse."""

    time: float
    coverage: object | None


class Kept(NamedTuple):
    """A remembered list: when the store was asked for it, and until when it need not be asked again."""

    allow_list: AllowList
    asked: Moment
    fresh_until: float


class Failure(NamedTuple):
    """Why a look-up failed."""

    reason: str


class Flight:
    """The one look-up of a client that is under way; a change of the client drops it."""

    __slots__ = ("is_dropped", "task")

    task: asyncio.Task[AllowList | Failure | None]

    def __init__(self) -> None:
        self.is_dropped = False


class Cache:
    """Remembers what `ask` answered, on the given terms; `ping` tells a store that fails from a list that does.

    `ask` raises `AllowListError` for a record that cannot be read: that client is refused, and its last list is not
    served any more. Whatever else it raises is a failure of the store. Both end within the timeout of the terms by
    themselves. All methods belong to one event loop.
    """

    def __init__(self, ask: Ask, ping: Ping, terms: Terms, *, is_pushed: bool) -> None:
        self._ask = ask
        self._ping = ping
        self._terms = terms
        self._kept: LRUCache[str, Kept] = LRUCache(terms.max_clients)
        self._unknown: TTLCache[str, Moment] = TTLCache(terms.max_unknown, terms.unknown_ttl, now)
        self._failures: TTLCache[str, Failure] = TTLCache(terms.max_unknown, terms.retry, now)
        self._newest: Kept | None = None
        self._is_pushed = is_pushed
        # The subscription that tells of changes; a list asked for under another may have been changed unnoticed.
        self._coverage: object | None = None if is_pushed else object()
        self._gaps: deque[float] = deque()
        self._forget_tasks()

    async def find(self, client_id: str) -> AllowList | None:
        """Return the list of a client, `None` for an unknown one; raises `SourceError`."""
        kept = self._kept.get(client_id)
        if kept is not None and kept.asked.coverage is self._coverage and now() < kept.fresh_until:
            return kept.allow_list
        asked = self._unknown.get(client_id)
        if asked is not None and (self._coverage is None or asked.coverage is self._coverage):
            return None
        failure = self._store_failure or self._failures.get(client_id)
        answer = failure or await self._look_up(client_id)
        return self._find_stale(client_id, answer) if isinstance(answer, Failure) else answer

    def drop(self, client_id: str) -> None:
        """Forget a client that was changed; a look-up under way for it may have read what was there before."""
        self._kept.pop(client_id, None)
        self._unknown.pop(client_id, None)
        self._failures.pop(client_id, None)
        if flight := self._flights.pop(client_id, None):
            flight.is_dropped = True

    def clear(self) -> None:
        """Forget every client."""
        for flight in self._flights.values():
            flight.is_dropped = True
        for remembered in (self._kept, self._unknown, self._failures, self._flights):
            remembered.clear()
        self._newest = None

    def cover(self) -> None:
        """Take note that from now on every change is told by `drop` or `clear`."""
        self._coverage = object()

    def uncover(self) -> None:
        """Take note that changes may go unnoticed from now on: every list has to be asked for again."""
        moment = now()
        if self._coverage is not None:
            self._coverage = None
            self._gaps.append(moment)
        # Lists from before a gap that is older than `max_stale` are dead anyway: one such gap stands for all.
        while len(self._gaps) > 1 and self._gaps[1] + self._terms.max_stale < moment:
            self._gaps.popleft()

    async def readiness(self) -> Readiness:
        """Return how lists are served, after asking the store."""
        if await self._find_failure() is None:
            return Readiness.FRESH
        self._suspect()
        is_served = self._newest is not None and self._is_servable(self._newest)
        return Readiness.STALE if is_served else Readiness.UNAVAILABLE

    async def close(self) -> None:
        """End everything that is under way; the store may answer first, as drivers do not like to be cancelled."""
        tasks, asking = set(self._tasks), set(self._asking)
        for task in tasks:
            task.cancel()
        if tasks | asking:
            await asyncio.wait(tasks | asking, timeout=self._terms.timeout)
        for task in asking:
            task.cancel()
        self._forget_tasks()

    def start(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a task that ends with the cache."""
        return start(coroutine, self._tasks)

    async def limit(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Return what the store answers, which ends by itself within the timeout; what does not end is abandoned."""
        task = start(coroutine, self._asking)
        await asyncio.wait((task,), timeout=2 * self._terms.timeout)
        if not task.done():
            # Not waited for: drivers may hang in what they do when they are cancelled.
            task.cancel()
            raise TimeoutError
        return await task

    def restart(self) -> None:
        """Begin on another event loop, where nothing is under way and changes are not yet told."""
        self._forget_tasks()
        if self._is_pushed:
            self.uncover()

    def _forget_tasks(self) -> None:
        self._flights: dict[str, Flight] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._asking: set[asyncio.Task[Any]] = set()
        # Invented ids never stand in the way of clients, who are asked for in a lane of their own.
        self._lane = asyncio.Semaphore(self._terms.max_lookups)
        self._strangers_lane = asyncio.Semaphore(self._terms.max_lookups)
        self._store_failure: Failure | None = None
        self._is_probing = False

    async def _look_up(self, client_id: str) -> AllowList | Failure | None:
        """Return what the one look-up of a client answers; who stops waiting disturbs neither it nor the others."""
        deadline = now() + self._terms.timeout
        flight = await self._join(client_id, deadline)
        if flight.is_dropped:
            # It may have begun before this call. Another one cannot, so that its answer counts even if it is dropped.
            flight = await self._join(client_id, deadline)
        if not flight.task.done():
            return Failure(f"no answer within {self._terms.timeout:g} seconds")
        return Failure("the source was closed") if flight.task.cancelled() else flight.task.result()

    async def _join(self, client_id: str, deadline: float) -> Flight:
        flight = self._flights.get(client_id)
        if flight is None:
            flight = self._flights[client_id] = Flight()
            flight.task = self.start(self._fly(client_id, flight))
        await asyncio.wait((flight.task,), timeout=deadline - now())
        return flight

    async def _fly(self, client_id: str, flight: Flight) -> AllowList | Failure | None:
        """Ask the store for a client, and remember the answer unless the client was dropped meanwhile."""
        is_asked = False
        lane = self._lane if client_id in self._kept else self._strangers_lane
        try:
            async with asyncio.timeout(self._terms.timeout):
                await lane.acquire()
            try:
                is_asked = True
                asked, allow_list = await self._ask_twice(client_id)
            finally:
                lane.release()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is no answer
            failure = Failure(describe(error))
            if not flight.is_dropped:
                del self._flights[client_id]
                if is_asked:
                    self._land_failure(client_id, error, failure)
            return failure
        if not flight.is_dropped:
            del self._flights[client_id]
            self._land(client_id, asked, allow_list)
        return allow_list

    async def _ask_twice(self, client_id: str) -> tuple[Moment, AllowList | None]:
        asked = Moment(now(), self._coverage)
        try:
            return asked, await self.limit(self._ask(client_id))
        except AllowListError:
            raise
        except Exception:
            if now() - asked.time > self._terms.timeout / 2:
                raise
            # Most likely a pooled connection that had died unnoticed.
            return Moment(now(), self._coverage), await self.limit(self._ask(client_id))

    def _land(self, client_id: str, asked: Moment, allow_list: AllowList | None) -> None:
        if allow_list is None:
            self._kept.pop(client_id, None)
            self._unknown[client_id] = asked
            return
        fresh_until = asked.time + (0 if asked.coverage is None else self._terms.ttl)
        self._newest = self._kept[client_id] = Kept(allow_list, asked, fresh_until)

    def _land_failure(self, client_id: str, error: Exception, failure: Failure) -> None:
        self._failures[client_id] = failure
        if isinstance(error, AllowListError):
            # The store did answer. What its last list held may have been taken away by the very change that broke it.
            self._kept.pop(client_id, None)
            write(logging.ERROR, f"allow lists: {error}; the client is refused")
            return
        write(logging.WARNING, f"allow lists: client {quote(client_id)}: the look-up failed: {failure.reason}")
        self._suspect()

    def _find_stale(self, client_id: str, failure: Failure) -> AllowList:
        kept = self._kept.get(client_id)
        if kept is None or not self._is_servable(kept):
            raise SourceError(failure.reason)
        return kept.allow_list

    def _is_servable(self, kept: Kept) -> bool:
        """Return whether a list may be served while the store fails: for `max_stale` from when it was fresh last."""
        gap = next((gap for gap in self._gaps if gap >= kept.asked.time), inf)
        return now() < min(kept.fresh_until, gap) + self._terms.max_stale

    def _suspect(self) -> None:
        if not self._is_probing:
            self._is_probing = True
            self.start(self._probe())

    async def _probe(self) -> None:
        """Find out whether it is the store that fails, and wait until it does no longer; nothing is asked meanwhile."""
        while failure := await self._find_failure():
            if self._store_failure is None:
                write(
                    logging.ERROR,
                    f"allow lists: the store fails: {failure.reason}; lists read before are served for at most "
                    f"{self._terms.max_stale:g} seconds",
                )
            self._store_failure = failure
            await asyncio.sleep(self._terms.retry)
        if self._store_failure is not None:
            write(logging.INFO, "allow lists: the store answers again")
        self._store_failure = None
        self._is_probing = False

    async def _find_failure(self) -> Failure | None:
        try:
            await self.limit(self._ping())
        except Exception as error:  # noqa: BLE001 - whatever it is, the store does not answer
            return Failure(describe(error))
        return None


def now() -> float:
    """Return the time of the running event loop, in seconds since some moment."""
    return asyncio.get_running_loop().time()


def start(coroutine: Coroutine[Any, Any, T], running: set[asyncio.Task[Any]]) -> asyncio.Task[T]:
    """Start a task that belongs to a set while it runs, and whose failure nobody has to see."""

    def forget(task: asyncio.Task[T]) -> None:
        running.discard(task)
        if not task.cancelled():
            task.exception()  # or asyncio would tell of what was abandoned

    task = asyncio.get_running_loop().create_task(coroutine)
    running.add(task)
    task.add_done_callback(forget)
    return task


def describe(error: BaseException) -> str:
    """Return what kind of error it is and what is at its root; not its message, which may hold a password."""
    root = error
    while isinstance(cause := root.__cause__ or root.__context__, Exception):
        root = cause
    name, root_name = type(error).__qualname__, type(root).__qualname__
    return name if name == root_name else f"{name} ({root_name})"
