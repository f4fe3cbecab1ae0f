"""Servers that fail under load: nobody is let in who should not be, and nobody known is shut out; a short run.

`python -m tests.benchmarks.sources_faults` makes the long one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from allowlist_middleware.sources.readiness import Readiness
from tests.sources.faults import FAULTS, POOL, STEADY, Ground, stand, suffer
from tests.sources.stores import PUSHED

pytestmark = pytest.mark.anyio

DOWN = 0.7
TERMS = {"ttl": 1.0, "max_stale": 10.0, "timeout": 0.3, "retry": 0.1, "heartbeat": 0.3}
# While a worker cannot hear of a change it cannot ask either, and what it remembers is as old as the fault. After that
# it takes a ping, which is made every `retry`, and a look-up.
RECOVERY = 0.8


@pytest.mark.parametrize("kind", PUSHED)
@pytest.mark.parametrize("name", FAULTS)
async def test_a_failing_server_opens_nothing_and_closes_nothing(
    kind: str, name: str, server: Callable[[str], Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    before = asyncio.all_tasks()
    async with stand(kind, server(kind), workers=2, **TERMS) as ground:
        connections = await ground.count_connections()
        history = await suffer(ground, FAULTS[name](DOWN), rate=400)
        assert len(history.outcomes) > 400
        assert history.find_stalest(200) < DOWN + RECOVERY
        assert history.find_stalest(403) < DOWN + RECOVERY
        assert history.count(*STEADY).keys() == {200}
        assert history.count("shut").keys() == {403}
        # Pools keep what they have; those in the air at the end of a fault go when the server notices.
        async with asyncio.timeout(10):
            while await ground.count_connections() > connections + 2 * POOL:
                ...
        for source in ground.sources:
            assert await source.readiness() is Readiness.FRESH
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("kind", PUSHED)
async def test_nothing_is_served_once_it_is_too_old(
    kind: str, server: Callable[[str], Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    terms = {**TERMS, "max_stale": 1.0}
    async with stand(kind, server(kind), workers=1, **terms) as ground:

        async def fault(ground: Ground) -> None:
            await FAULTS["hold"](3.0)(ground)
            assert await ground.sources[0].readiness() is Readiness.FRESH

        async def watch() -> list[Readiness]:
            found = []
            for pause in (1.0, 1.2):
                await asyncio.sleep(pause)
                found.append(await ground.sources[0].readiness())
            return found

        watching = asyncio.create_task(watch())
        history = await suffer(ground, fault, rate=400)
        assert await watching == [Readiness.STALE, Readiness.UNAVAILABLE]
        assert history.count(*STEADY).keys() == {200, 503}
        assert history.find_stalest(200) < terms["ttl"] + terms["max_stale"]
        last = [outcome.status for outcome in history.outcomes if outcome.client_id in STEADY][-20:]
        assert last == [200] * 20
