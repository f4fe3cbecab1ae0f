"""What a middleware holds, so that the place of one object in a stack can be found and taken."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from operator import setitem
from types import CellType, FunctionType, MethodType
from typing import Any, Final

from starlette.applications import Starlette
from starlette.routing import Router

_MAX_HOLDERS: Final = 256
_MAX_HELD: Final = 256
_EMPTY: Final = CellType()

Replace = Callable[[Any], None]
"""Puts another object in the place of one that is held; raises `AttributeError` or `TypeError` where that cannot be."""


def find_reference(stack: Any, is_sought: Callable[[Any], bool]) -> Replace | None:
    """Return what replaces the sought object in the middleware that holds it, or `None` if nothing seen holds it.

    Attributes, closures, defaults, partials and collections are seen, whatever their names. Applications and routers
    inside are not entered.
    """
    return next((replace for value, replace in _find_held(stack) if is_sought(value)), None)


def find_routers(app: Any) -> list[Router]:
    """Return the routers an application that cannot be looked into may lead to."""
    found: list[Router] = []
    for value in (app, *(held for held, _ in _find_held(app))):
        router = value.router if isinstance(value, Starlette) else value
        if isinstance(router, Router) and not any(router is known for known in found):
            found.append(router)
    return found


def _find_held(app: Any) -> Iterator[tuple[Any, Replace]]:
    queue: deque[Any] = deque([app])
    seen: set[int] = set()
    for _ in range(_MAX_HOLDERS):
        if not queue:
            return
        for value, replace in islice(_references(queue.popleft()), _MAX_HELD):
            if isinstance(value, type):
                continue
            if callable(value):
                yield value, replace
            elif not isinstance(value, dict | list | tuple | set | frozenset):
                continue
            if id(value) not in seen and not isinstance(value, Router | Starlette):
                seen.add(id(value))
                queue.append(value)


def _references(holder: Any) -> Iterator[tuple[Any, Replace]]:
    for name, value in list(getattr(holder, "__dict__", {}).items()):
        yield value, partial(setattr, holder, name)
    for name in _slots(type(holder)):
        yield getattr(holder, name, None), partial(setattr, holder, name)
    for cell in getattr(holder, "__closure__", None) or ():
        if cell != _EMPTY:
            yield cell.cell_contents, partial(setattr, cell, "cell_contents")
    yield from _parts(holder)


def _slots(cls: type) -> Iterator[str]:
    for one in cls.__mro__:
        names = vars(one).get("__slots__", ())
        yield from (names,) if isinstance(names, str) else names


def _parts(holder: Any) -> Iterator[tuple[Any, Replace]]:
    if isinstance(holder, dict):
        yield from ((value, partial(setitem, holder, key)) for key, value in list(holder.items()))
    elif isinstance(holder, list):
        yield from ((value, partial(setitem, holder, index)) for index, value in enumerate(list(holder)))
    elif isinstance(holder, FunctionType):
        defaults = holder.__defaults__ or ()
        yield from ((value, partial(_set_default, holder, index)) for index, value in enumerate(defaults))
        yield holder.__kwdefaults__, _refuse
    elif isinstance(holder, partial):
        yield from ((value, partial(_set_argument, holder, index)) for index, value in enumerate(holder.args))
        yield from ((value, partial(setitem, holder.keywords, name)) for name, value in list(holder.keywords.items()))
        yield holder.func, _refuse
    elif isinstance(holder, MethodType):
        yield holder.__self__, _refuse
    elif isinstance(holder, tuple | set | frozenset):
        yield from ((value, _refuse) for value in list(holder))


def _set_default(function: FunctionType, index: int, value: Any) -> None:
    defaults = list(function.__defaults__ or ())
    defaults[index] = value
    function.__defaults__ = tuple(defaults)


def _set_argument(holder: Any, index: int, value: Any) -> None:
    function, arguments, keywords, attributes = holder.__reduce__()[2]
    holder.__setstate__((function, (*arguments[:index], value, *arguments[index + 1 :]), keywords, attributes))


def _refuse(value: Any) -> None:
    raise TypeError(f"what holds it cannot be given {value!r} in its place")
