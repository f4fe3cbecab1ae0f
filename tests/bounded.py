"""Bounded work, whatever is sent."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

_LIMIT = 5.0  # seconds of the processor, so that a busy machine changes nothing


@contextmanager
def bounded() -> Iterator[None]:
    """Fail if the block takes far more than what is linear takes; what is quadratic in a megabyte takes hours."""
    started = time.process_time()
    yield
    assert time.process_time() - started < _LIMIT
