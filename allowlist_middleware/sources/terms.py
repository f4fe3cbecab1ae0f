"""The terms on which a source remembers what a store answered."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TypedDict

from allowlist_middleware.errors import AllowListError, quote


class TermOptions(TypedDict, total=False):
    """The options that every source with a store behind it takes; `Terms` describes them."""

    ttl: float
    max_stale: float
    unknown_ttl: float
    timeout: float
    retry: float
    heartbeat: float
    max_clients: int
    max_unknown: int
    max_lookups: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How long, and how much, a source remembers of what its store answered; durations in seconds.

    A list is served for `ttl` without asking again, and for at most `max_stale` more while the store fails. That a
    client is unknown is remembered for `unknown_ttl`. A look-up takes at most `timeout`; a failing store, or a client
    whose list cannot be read, is asked again after `retry`. Where changes are pushed, the subscription is tested every
    `heartbeat`. At most `max_clients` lists are remembered, the least recently used forgotten first, and `max_unknown`
    unknown ids. At most `max_lookups` run at once for clients that are remembered, and as many for others.
    """

    ttl: float = 30.0
    max_stale: float = 300.0
    unknown_ttl: float = 5.0
    timeout: float = 2.0
    retry: float = 1.0
    heartbeat: float = 5.0
    max_clients: int = 10_000
    max_unknown: int = 10_000
    max_lookups: int = 4

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.startswith("max_") and field.name != "max_stale":
                _require_number_of(field.name, value)
            else:
                object.__setattr__(self, field.name, parse_seconds(field.name, value, zero=field.name == "max_stale"))


def parse_seconds(place: str, value: object, *, zero: bool = False) -> float:
    """Return a duration as a float; raises `AllowListError` or `TypeError` that begins with the place."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{place}: {quote(value)} is not a number; write seconds, such as 30")
    if not math.isfinite(value) or value < 0 or (value == 0 and not zero):
        raise AllowListError(f"{place}: {quote(value)} is not a duration; write seconds, such as 30")
    return float(value)


def _require_number_of(place: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{place}: {quote(value)} is not a whole number; write one, such as 10_000")
    if value < 1:
        raise AllowListError(f"{place}: {quote(value)} is less than one; write a whole number, such as 10_000")
