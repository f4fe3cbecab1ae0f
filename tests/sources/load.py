"""Calls under load while lists change and stores fail, and the judgement of every answer afterwards."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import cycle, zip_longest
from math import inf
from time import monotonic
from typing import Any, NamedTuple

from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from allowlist_middleware import AllowListMiddleware, respects_allow_list
from tests.asgi import INSIDE, basic, http_scope

ADMITTING = ["192.0.2.0/24"]  # holds the address of INSIDE
REFUSING = ["198.51.100.0/24"]


class Change(NamedTuple):
    """What a client's list said from some moment between two times on."""

    began: float
    ended: float
    admits: bool


class Outcome(NamedTuple):
    client_id: str
    worker: int
    began: float
    ended: float
    status: int


@dataclass
class History:
    """All changes that were made and all answers that were given."""

    changes: dict[str, list[Change]] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)

    def find_stalest(self, status: int) -> float:
        """Return for how long at most an answer had been out of date when its call was made, in seconds.

        That of a 200 is for how long no list in force had admitted the client, that of a 403 the other way round.
        """
        return max((self._age(each) for each in self.outcomes if each.status == status), default=0.0)

    def _age(self, outcome: Outcome) -> float:
        age = inf
        changes = self.changes.get(outcome.client_id, [])
        for change, following in zip_longest(changes, changes[1:]):
            if change.admits is (outcome.status == 200) and change.began <= outcome.ended:
                age = 0 if following is None else max(0, outcome.began - following.ended)
        return age if changes or outcome.status == 200 else 0

    def count(self, *client_ids: str) -> Counter[int]:
        """Return how often each status was the answer to the given clients, or to all."""
        return Counter(each.status for each in self.outcomes if not client_ids or each.client_id in client_ids)


_nothing: Any = None  # the endpoint reads nothing


class Worker:
    """An application behind the middleware, as one process of a fleet; its calls go straight to it."""

    def __init__(self, number: int, source: Any, history: History) -> None:
        self.number, self.history = number, history
        self.app = AllowListMiddleware(respects_allow_list(True)(_endpoint), allow_lists=source)

    async def call(self, client_id: str) -> int:
        """Make a call and take note of the answer."""
        statuses: list[int] = []

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        began = monotonic()
        await self.app(http_scope("/", client=INSIDE, headers=basic(client_id)), _nothing, send)
        self.history.outcomes.append(Outcome(client_id, self.number, began, monotonic(), statuses[0]))
        return statuses[0]


async def _endpoint(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("in")(scope, receive, send)


@asynccontextmanager
async def calling(workers: list[Worker], client_ids: list[str], rate: float) -> AsyncIterator[None]:
    """Make that many calls a second, of clients and at workers chosen at random, for as long as the block runs.

    Calls begin on time however long others take, as those of independent callers do.
    """
    chance = random.Random(1)
    running: set[asyncio.Task[int]] = set()

    async def run() -> None:
        due = monotonic()
        while True:
            due += 1 / rate
            await asyncio.sleep(max(0, due - monotonic()))
            task = asyncio.create_task(chance.choice(workers).call(chance.choice(client_ids)))
            running.add(task)
            task.add_done_callback(running.discard)

    caller = asyncio.create_task(run())
    try:
        yield
    finally:
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
        await asyncio.gather(*running)


@asynccontextmanager
async def changing(
    history: History, put: Callable[[str, list[str]], Awaitable[None]], client_ids: list[str], pause: float
) -> AsyncIterator[None]:
    """Let clients in and shut them out in turn, for as long as the block runs; a change that fails is tried again."""
    is_over = asyncio.Event()

    async def run() -> None:
        turns = cycle([(client_id, admits) for admits in (False, True) for client_id in client_ids])
        while not is_over.is_set():
            client_id, admits = next(turns)
            await change(history, put, client_id, admits=admits)
            await asyncio.sleep(pause)

    changer = asyncio.create_task(run())
    try:
        yield
    finally:
        is_over.set()
        await changer


async def change(
    history: History, put: Callable[[str, list[str]], Awaitable[None]], client_id: str, *, admits: bool
) -> None:
    """Change a client's list until that succeeds, and take note of it."""
    began = monotonic()
    while not await _is_put(put(client_id, ADMITTING if admits else REFUSING)):  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0.02)
    history.changes.setdefault(client_id, []).append(Change(began, monotonic(), admits))


async def _is_put(putting: Awaitable[None]) -> bool:
    try:
        await putting
    except Exception:  # noqa: BLE001 - whatever a failing store raises
        return False
    return True
