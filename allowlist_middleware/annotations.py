"""The annotation `@respects_allow_list` leaves on an endpoint or a group; nothing is ever wrapped."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from types import MethodType
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from allowlist_middleware.callables import name_of, require_plain
from allowlist_middleware.errors import AllowListError, quote
from allowlist_middleware.policy import Rule

if TYPE_CHECKING:
    from allowlist_middleware.denial import Denial

_ATTRIBUTE: Final = "__respects_allow_list__"
_FRAMEWORKS: Final = frozenset(("fastapi", "starlette"))
_MAX_LAYERS: Final = 64  # of partials and wrappers around one function: a longer chain is a loop

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Annotation:
    """One answer to "does this respect the allow list?"."""

    respects: bool
    require_client: bool
    denial: Denial | None = None
    rule: Rule = field(init=False, repr=False, compare=False)
    """What the annotated operation asks of its callers."""

    def __post_init__(self) -> None:
        rule = Rule.REQUIRES_CLIENT if self.require_client else Rule.RESPECTS
        object.__setattr__(self, "rule", rule if self.respects else Rule.IGNORES)

    def __str__(self) -> str:
        """Return the annotation as it is written."""
        require_client = ", require_client=False" if self.rule is Rule.RESPECTS else ""
        denial = "" if self.denial is None else f", denial={name_of(self.denial)}"
        return f"@respects_allow_list({self.respects}{require_client}{denial})"


UNANNOTATED: Final = Annotation(respects=True, require_client=False)
"""What holds for an operation nobody annotated."""


class _Mark(Protocol):
    def __call__(self, target: T, /) -> T: ...


def respects_allow_list(respects: bool, /, *, require_client: bool = True, denial: Denial | None = None) -> _Mark:
    """Annotate an endpoint or a group: it respects the allow list of the API client that calls it, or ignores it.

    Endpoints are functions, `functools.partial` objects, endpoint classes and their methods; groups are routes, mounts,
    hosts, routers, applications and other ASGI apps. The target is returned as it is, the very same object, so the
    order relative to the framework's own decorators does not matter. The nearest annotation wins.

    With `require_client=False` callers without client credentials are left to the application. `denial` replaces the
    documented refusals here. Raises `TypeError` for a target that cannot hold an annotation, and `AllowListError` for
    one that already holds a different one.
    """
    if not isinstance(respects, bool):
        raise TypeError(
            f"respects_allow_list: {name_of(respects)} is neither True nor False; write @respects_allow_list(True) or "
            "@respects_allow_list(False)"
        )
    if not isinstance(require_client, bool):
        raise TypeError(
            f"respects_allow_list: require_client: {quote(require_client)} is neither True nor False; "
            "write one of the two"
        )
    if denial is not None:
        require_plain("respects_allow_list: denial", denial, "denial(decision) returning a Response")
    # Where the list is ignored no client is required, so both spellings are the same answer.
    annotation = Annotation(respects, require_client and respects, denial)

    def mark(target: T, /) -> T:
        _set_annotation(target, annotation)
        return target

    return mark


def _set_annotation(target: Any, annotation: Annotation) -> None:
    if isinstance(target, staticmethod | classmethod):
        target = target.__func__
    if (mistake := _find_mistake(target)) is not None:
        raise TypeError(f"respects_allow_list: {_name_of(target)} {mistake}")
    present = vars(target).get(_ATTRIBUTE) if hasattr(target, "__dict__") else None
    if present is not None and present != annotation:
        raise AllowListError(
            f"respects_allow_list: {_name_of(target)} is already annotated {present}, not {annotation}; "
            "keep one of the two"
        )
    try:
        setattr(target, _ATTRIBUTE, annotation)
    except (AttributeError, TypeError):
        raise TypeError(
            f"respects_allow_list: {_name_of(target)} cannot hold an annotation; annotate its route or mount instead"
        ) from None


def _find_mistake(target: Any) -> str | None:
    """Return why an annotation on it would not be what is meant, and what to annotate instead."""
    if isinstance(target, MethodType):
        return "is a bound method, made anew at every access; annotate the function in its class instead"
    if not callable(target):
        return (
            "is neither an endpoint nor a group; annotate the endpoint function or class, the route, mount, router or "
            "application"
        )
    if getattr(target, "__name__", None) == "__call__":
        return "is not looked for on a call; annotate the object that is called instead"
    if isinstance(target, type) and target.__module__.partition(".")[0] in _FRAMEWORKS:
        return "is shared by everything that uses the framework; annotate your own class or object instead"
    return None


def _name_of(target: Any) -> str:
    path = getattr(target, "path", None)
    return f"{name_of(target)} at {quote(path)}" if isinstance(path, str) and path else name_of(target)


def find_annotation(target: object) -> Annotation | None:
    """Return the annotation of an endpoint or a group, looked for below partials and `functools.wraps` wrappers too."""
    layers = 0
    while True:
        found = getattr(target, _ATTRIBUTE, None)
        if type(found) is Annotation:  # an object that answers every attribute is not annotated by that
            return found
        inner = target.func if isinstance(target, functools.partial) else getattr(target, "__wrapped__", None)
        if inner is None or layers == _MAX_LAYERS:
            return None
        target = inner
        layers += 1
