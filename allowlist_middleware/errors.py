"""Configuration mistakes: the one error they raise, and how their messages quote a value."""

from __future__ import annotations

import re
from typing import Final

_QUOTED_CHARACTERS: Final = 120
_READ_CHARACTERS: Final = 10_000
_PLAIN: Final = (str, bytes, bool, int, float, type(None))
_COLLECTIONS: Final = (tuple, list, set, frozenset, dict)
_PASSWORD: Final = re.compile(r"(://[^/\s:@]*:)[^\s@]+@")  # of a database address given in place of what reads it


class AllowListError(ValueError):
    """A mistake in the configuration, found where it is written.

    The message names the place, quotes the value and says what to write instead. It never holds a secret. A value of
    the wrong type is a plain `TypeError` with a message of the same form.
    """


def quote(value: object) -> str:
    """Return the value as a message may show it: plain values up to 120 characters, others by their type."""
    if isinstance(value, type):
        return f"the class {value.__qualname__}"
    if isinstance(value, str):
        value = str.__str__(value)
    if not _is_plain(value):
        return quote_type(value)
    text = _PASSWORD.sub(r"\1...@", repr(value)[:_READ_CHARACTERS])
    return text if len(text) <= _QUOTED_CHARACTERS else f"{text[:_QUOTED_CHARACTERS]}..."


def quote_type(value: object) -> str:
    """Return what kind of thing the value is, and nothing of the value."""
    name = type(value).__qualname__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def _is_plain(value: object, depth: int = 3) -> bool:
    """Return whether showing it calls nothing of a user's, whose `repr` may hold a secret."""
    if type(value) not in _COLLECTIONS:
        return type(value) in _PLAIN
    parts = (*value, *value.values()) if isinstance(value, dict) else value
    return depth > 0 and all(_is_plain(part, depth - 1) for part in parts)  # type: ignore[attr-defined]  # a collection
