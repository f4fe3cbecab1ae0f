"""Functions a user hands over: whether they are plain or async, found out before the first call."""

from __future__ import annotations

import functools
import inspect
from typing import Any

from allowlist_middleware.errors import quote


def is_async(function: Any) -> bool:
    """Return whether calling it makes a coroutine: a coroutine function, a partial of one, an object with such a call.

    A class is plain: calling it makes an object.
    """
    return any(map(inspect.iscoroutinefunction, _called(function)))


def require_plain(place: str, function: Any, call: str) -> None:
    """Raise `TypeError` unless it is a plain function that can be called as `call` shows."""
    require_callable(place, function, call)
    if is_async(function):
        raise TypeError(f"{place}: {name_of(function)} is async; write a plain function, {call}")


def require_callable(place: str, function: Any, call: str) -> None:
    """Raise `TypeError` unless it can be called with one argument, as `call` shows, and then runs."""
    if not callable(function):
        raise TypeError(f"{place}: {quote(function)} is not a function; write {call}")
    called = _called(function)
    if any(map(inspect.isgeneratorfunction, called)) or any(map(inspect.isasyncgenfunction, called)):
        raise TypeError(f"{place}: {name_of(function)} is a generator, which nobody would run; write {call}")
    try:
        # Not that of a wrapped function: the wrapper may add arguments of its own.
        signature = inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):
        return  # some functions written in C have none
    try:
        signature.bind(None)
    except TypeError as error:
        raise TypeError(
            f"{place}: {name_of(function)} cannot be called with one argument ({error}); write {call}"
        ) from None


def name_of(function: Any) -> str:
    """Return what a message calls it: its qualified name, or its type where it has none."""
    name = getattr(function, "__qualname__", None)
    return name if isinstance(name, str) else quote(function)


def _called(function: Any) -> tuple[Any, ...]:
    """Return the functions a call may run."""
    while isinstance(function, functools.partial):
        function = function.func
    return (function,) if isinstance(function, type) else (function, getattr(function, "__call__", None))  # noqa: B004 - the method is inspected, not looked for
