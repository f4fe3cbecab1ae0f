"""An index over the routes of one router: it only drops routes whose regular expression cannot match a path."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from enum import Enum, auto
from operator import is_
from typing import Any, Final

_PLAIN_FLAGS: Final = re.UNICODE.value
_SPECIAL: Final = frozenset(".^$*+?{}[]|()")
_QUANTIFIERS: Final = frozenset("*+?{")
_WORTHWHILE: Final = 8  # routes; fewer are matched as quickly as they are looked up


class Kind(Enum):
    """How an entry among the routes is matched."""

    ROUTE = auto()
    EFFECTIVE = auto()
    INCLUDED = auto()


Chain = tuple[list[int], ...]
"""The positions of routes under a key and under each shorter one that it begins with, ascending in each."""

Classify = Callable[[Any], tuple[Kind, Any, Any]]
"""Returns the kind of a route, the object whose `path_regex` must match for it to match, or `None`, and the object
whose `matches` decides."""


class RouteIndex:
    """The positions of the routes that could match a path, in the order of the router.

    A route stands under the literal text its regular expression begins with, cut at the last slash. It can match a
    path only if that text is where the path begins, so the longest such beginning leads to all that can.
    """

    __slots__ = (
        "_are_deciders",
        "_carriers",
        "_chains",
        "_deciders",
        "_depth",
        "_matches",
        "_patterns",
        "_positions",
        "all",
        "is_plain",
        "is_short",
        "is_uniform",
        "kinds",
        "known",
        "routes",
    )

    def __init__(self, routes: Sequence[Any], classify: Classify) -> None:
        self.routes = list(routes)
        self._positions: list[int] = []
        self._carriers: list[Any] = []
        self._patterns: list[re.Pattern[str]] = []
        self._deciders: list[Any] = []
        self._matches: list[Any] = []
        self.kinds: list[Kind] = []
        self.is_plain = True
        """Whether the match of every route depends on its regular expression and the methods alone, but for those
        of included routers, of which their own index tells."""
        self.known: dict[int, Any] = {}
        """By the id of what matched, what is known of it; the routes are kept alive, so that ids stay theirs."""
        buckets: dict[str, list[int]] = {}
        for position, route in enumerate(self.routes):
            kind, carrier, decider = classify(route)
            key = "" if carrier is None else _key_of(carrier.path_regex)
            self.kinds.append(kind)
            self._deciders.append(decider)
            self._matches.append(decider.matches)
            self.is_plain &= carrier is not None or kind is Kind.INCLUDED
            buckets.setdefault(key, []).append(position)
            if key:
                self._positions.append(position)
                self._carriers.append(carrier)
                self._patterns.append(carrier.path_regex)
        self._are_deciders = all(map(is_, self._deciders, self.routes))
        self.is_uniform = self.is_plain and Kind.INCLUDED not in self.kinds and Kind.EFFECTIVE not in self.kinds
        """Whether it is plain and holds nothing but routes."""
        self.all = range(len(self.routes))
        self.is_short = len(self.routes) <= _WORTHWHILE
        """Whether all are asked, because that takes no longer than to look up which could match."""
        self._chains = {key: tuple([buckets[one] for one in _beginnings(key) if one in buckets]) for key in buckets}
        self._depth = max((key.count("/") for key in buckets), default=0)

    def positions(self, path: str) -> Sequence[int]:
        """Return the positions of all routes that could match, ascending; the work is bounded by the routes' depth."""
        chains = self._chains
        chain = chains.get(path + "$")
        if chain is None:
            chain = self._find_chain(path)
        if path[-1:] == "\n":  # "$" matches before one trailing newline too
            chain = (*chain, *chains.get(path[:-1] + "$", ()))
        return chain[0] if len(chain) == 1 else sorted({position for bucket in chain for position in bucket})

    def _find_chain(self, path: str) -> Chain:
        """Return the chain of the longest key that a path begins with."""
        chains = self._chains
        end = len(path)
        if path.count("/") > self._depth:
            end = 0
            for _ in range(self._depth):
                end = path.find("/", end) + 1
        while end := path.rfind("/", 0, end) + 1:
            if (chain := chains.get(path[:end])) is not None:
                return chain
            end -= 1
        return chains.get("", ())

    def is_current(self, routes: Sequence[Any], stop: int) -> bool:
        """Return whether the first `stop` routes are those indexed, and each matches by what it did then.

        That is its `matches`, and the regular expression of a route that may have been dropped without being asked.
        """
        if len(routes) != len(self.routes):
            return False
        is_whole = stop == len(routes)
        deciders = routes
        if not self._are_deciders:
            if not all(map(is_, routes if is_whole else routes[:stop], self.routes)):
                return False
            deciders = self._deciders
        # Bound methods are equal if they are of one object, and by then of one function: routes are compared by that.
        matches = [decider.matches for decider in (deciders if is_whole else deciders[:stop])]
        if matches != (self._matches if is_whole else self._matches[:stop]):
            return False
        if self.is_short:
            return True
        pruned = bisect_left(self._positions, stop)
        patterns = [carrier.path_regex for carrier in self._carriers[:pruned]]
        return patterns == (self._patterns if pruned == len(self._patterns) else self._patterns[:pruned])


def _beginnings(key: str) -> Iterator[str]:
    """Yield the keys that every path of a key has in common with it: up to each slash, and the key itself."""
    yield ""
    for position, character in enumerate(key):
        if character == "/" and position + 1 < len(key):
            yield key[: position + 1]
    if key:
        yield key


def _key_of(regex: re.Pattern[str]) -> str:
    """Return the key of a regular expression: "" for one that says nothing of how its paths begin.

    A path that is matched whole is keyed by itself and "$", any other by its literal text up to the last slash.
    """
    pattern = regex.pattern
    if regex.flags != _PLAIN_FLAGS or pattern[:1] != "^" or "|" in pattern:
        return ""
    literal: list[str] = []
    position = 1
    while position < len(pattern) and pattern[position] not in _SPECIAL:
        escaped = pattern[position] == "\\"
        character = pattern[position + escaped]
        if escaped and character.isalnum():  # a class or an assertion, not an escaped literal
            break
        literal.append(character)
        position += 1 + escaped
    rest = pattern[position:]
    if rest == "$":
        return "".join(literal) + "$"
    if rest[:1] in _QUANTIFIERS:  # the last character may be missing
        del literal[-1:]
    beginning = "".join(literal)
    return beginning[: beginning.rfind("/") + 1]
