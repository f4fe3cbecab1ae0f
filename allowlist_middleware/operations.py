"""The operation a call is for, and which annotation rules it: the nearest one."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial, partialmethod
from operator import is_
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from starlette.endpoints import HTTPEndpoint, WebSocketEndpoint

from allowlist_middleware.annotations import UNANNOTATED, Annotation, find_annotation
from allowlist_middleware.policy import Rule

if TYPE_CHECKING:
    from starlette.routing import Router

    from allowlist_middleware.denial import Denial

# The names `HTTPEndpoint` dispatches to (starlette/endpoints.py); "query" from 1.1 on.
HTTP_METHODS: Final = ("get", "head", "post", "put", "patch", "delete", "options", "query")
_WEBSOCKET_METHODS: Final = ("on_connect", "on_receive", "on_disconnect")
_OF_DISPATCHING: Final = ("dispatch", "__await__", "__init__", "__new__", "__getattribute__")
_LEADS_TO_CLASS: Final = (type, partial)  # all other endpoints have no methods, so that their places say it all
_STRICTNESS: Final = (Rule.IGNORES, Rule.RESPECTS, Rule.REQUIRES_CLIENT)


class Enclosure(NamedTuple):
    """A router on the way to an operation, and what encloses its routes, nearest first, itself included.

    `endpoint` is what stands in the scope when the router is entered.
    """

    router: Router
    groups: tuple[Any, ...]
    template: str
    endpoint: Any


class Operation(NamedTuple):
    """Where a call would arrive.

    `endpoint` is what the framework then leaves in `scope["endpoint"]`, for a 404, 405 or redirect too, of which
    `is_served` is false. `places` is all that may be annotated, nearest first: the endpoint, its route, the groups
    around. `enclosures` are the routers on the way, outermost first. `guessed` is the operation it is instead if a
    wrapper that was looked through does not lead where its `.app` points. `is_direct` tells that nothing of the
    application's stands between the judgement and the endpoint, so that the call cannot arrive anywhere else.
    """

    endpoint: Any
    places: tuple[Any, ...]
    template: str | None
    is_served: bool
    is_opaque: bool
    enclosures: tuple[Enclosure, ...]
    guessed: Operation | None
    is_direct: bool = False

    def is_same_as(self, other: Operation) -> bool:
        """Return whether both are one operation, by identity: routes compare equal by path, endpoint and methods."""
        return (
            self.endpoint is other.endpoint
            and self.is_served == other.is_served
            and len(self.places) == len(other.places)
            and all(map(is_, self.places, other.places))
        )


class Ruling(NamedTuple):
    """The annotation that rules an operation, and the object that holds it: `None` where nobody annotated it."""

    annotation: Annotation
    holder: Any


_NOBODY: Final = Ruling(UNANNOTATED, None)
_ITSELF: Final = (None,)


def find_ruling(operation: Operation, method: str) -> Ruling:
    """Return the nearest annotation: method, endpoint, route, groups; the strictest if the method cannot be known."""
    if find_class(operation.endpoint) is None:
        return _nearest(operation.places)
    names = _method_names(operation, method)
    return max((_nearest(_places(operation, name)) for name in names), key=_strictness)


def find_rule(operation: Operation, method: str) -> Rule:
    """Return what the operation asks of its callers."""
    if not operation.is_served:
        return Rule.NO_OPERATION
    if isinstance(operation.endpoint, _LEADS_TO_CLASS):
        return find_ruling(operation, method).annotation.rule
    for place in operation.places:
        annotation = find_annotation(place)
        if annotation is not None:
            return annotation.rule
    return UNANNOTATED.rule


def find_denial(operation: Operation, method: str) -> Denial | None:
    """Return the nearest denial an annotation carries, whichever annotation rules."""
    if isinstance(operation.endpoint, _LEADS_TO_CLASS):
        places = tuple(place for name in _method_names(operation, method) for place in _places(operation, name))
    else:
        places = operation.places
    for place in places:
        annotation = find_annotation(place)
        if annotation is not None and annotation.denial is not None:
            return annotation.denial
    return None


def _nearest(places: Iterable[Any]) -> Ruling:
    for place in places:
        annotation = find_annotation(place)
        if annotation is not None:
            return Ruling(annotation, place)
    return _NOBODY


def _places(operation: Operation, name: str | None) -> Iterable[Any]:
    """Return the places, those of a class endpoint led by its methods of that name, the overriding one first."""
    if name is None:
        return operation.places
    mro = getattr(find_class(operation.endpoint), "__mro__", ())
    methods = [vars(one)[name] for one in mro if name in vars(one)]
    return (*map(_function, methods), *operation.places)


def _method_names(operation: Operation, method: str) -> tuple[str | None, ...]:
    """Return the methods of the endpoint that may serve the call; `None` stands for the endpoint itself."""
    endpoint = operation.endpoint
    cls = find_class(endpoint)
    if cls is None:
        return _ITSELF
    if issubclass(cls, WebSocketEndpoint):
        return (*_WEBSOCKET_METHODS, *find_methods(cls))
    if not _dispatches_plainly(endpoint, operation.places):
        return (None, *find_methods(cls))
    name = method.lower()  # of any method: Starlette before 1.1 calls whatever has the name of the method
    return ("get",) if name == "head" and not hasattr(endpoint, "head") else (name,)


def find_class(endpoint: Any) -> type | None:
    """Return the class that serves as an endpoint, below partials too."""
    while isinstance(endpoint, partial):
        endpoint = endpoint.func
    return endpoint if isinstance(endpoint, type) else None


def find_methods(cls: type) -> dict[str, Any]:
    """Return the methods of a class that are annotated."""
    held = {name: _function(value) for one in reversed(cls.__mro__) for name, value in vars(one).items()}
    return {name: function for name, function in held.items() if find_annotation(function) is not None}


def _function(held: Any) -> Any:
    """Return the function of what a class holds: a static method, a class method or a partial one leads to it."""
    return held.func if isinstance(held, partialmethod) else getattr(held, "__func__", held)


def _dispatches_plainly(endpoint: Any, places: tuple[Any, ...]) -> bool:
    """Return whether `HTTPEndpoint` itself chooses the method, with nothing between it and the route's match.

    A class that dispatches by itself, or a middleware of the route, may read the method from anywhere.
    """
    return (
        isinstance(endpoint, type)
        and issubclass(endpoint, HTTPEndpoint)
        and all(getattr(endpoint, name) is getattr(HTTPEndpoint, name) for name in _OF_DISPATCHING)
        and not hasattr(endpoint, "__getattr__")
        and any(getattr(place, "app", None) is endpoint for place in places[1:2])
    )


def _strictness(ruling: Ruling) -> int:
    return _STRICTNESS.index(ruling.annotation.rule)
