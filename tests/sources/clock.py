"""An event loop whose clock goes on only while nothing else can happen, so that a test of times waits for none."""

from __future__ import annotations

import asyncio
import selectors
from typing import Any

_STEP = 1e-6
"""Seconds that a round of the loop takes, so that what began later also ends later."""


class _Selector(selectors.DefaultSelector):
    """Finds nothing ready at once instead of later, and says how long it would have waited."""

    waited = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0 if timeout is not None else None)
        self.waited += _STEP if ready or timeout is None else timeout + _STEP
        return ready


class ClockLoop(asyncio.SelectorEventLoop):
    """Runs real tasks by a clock of its own; not for what waits on threads or sockets."""

    def __init__(self) -> None:
        self._waiting: Any = _Selector()
        super().__init__(self._waiting)

    def time(self) -> float:
        """Return the seconds waited so far."""
        return float(self._waiting.waited)


def now() -> float:
    """Return the time of the running loop."""
    return asyncio.get_running_loop().time()
