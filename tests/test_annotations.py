"""The annotation: what can hold it, that it changes nothing else, and where it is found again."""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import pickle
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint, WebSocketEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Host, Mount, Route, Router, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from allowlist_middleware import AllowListError, AllowListMiddleware, Decision, respects_allow_list
from allowlist_middleware.annotations import Annotation, find_annotation
from allowlist_middleware.policy import Rule
from tests.asgi import LISTS, OUTSIDE, applications, basic, call

yes, no = respects_allow_list(True), respects_allow_list(False)
optional = respects_allow_list(True, require_client=False)


def plain(request: Request) -> Response:
    return PlainTextResponse("plain")


async def asynchronous(request: Request) -> Response:
    return PlainTextResponse("asynchronous")


def generator() -> Iterator[str]:
    yield "generator"


async def asynchronous_generator() -> AsyncIterator[str]:
    yield "asynchronous generator"


async def application(scope: Scope, receive: Receive, send: Send) -> None: ...


class Endpoint(HTTPEndpoint):
    """A class endpoint."""


class Socket(WebSocketEndpoint):
    """A class endpoint of WebSockets."""


class Middleware:
    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


# What makes a new target each time.
TARGETS: dict[str, Callable[[], Any]] = {
    "plain function": lambda: copy_of(plain),
    "async function": lambda: copy_of(asynchronous),
    "generator function": lambda: copy_of(generator),
    "async generator function": lambda: copy_of(asynchronous_generator),
    "lambda": lambda: lambda request: plain(request),
    "partial": lambda: functools.partial(plain),
    "cached function": lambda: functools.lru_cache(copy_of(plain)),
    "class endpoint": lambda: type("Own", (Endpoint,), {}),
    "WebSocket endpoint": lambda: type("Own", (Socket,), {}),
    "class of an application": lambda: type("Own", (Middleware,), {}),
    "Route": lambda: Route("/", plain),
    "WebSocketRoute": lambda: WebSocketRoute("/", Socket),
    "Mount": lambda: Mount("/", application),
    "Host": lambda: Host("api.example", application),
    "Router": Router,
    "APIRouter": lambda: pytest.importorskip("fastapi").APIRouter(),
    "Starlette": Starlette,
    "FastAPI": lambda: pytest.importorskip("fastapi").FastAPI(),
    "middleware": lambda: Middleware(application),
    "static files": lambda: StaticFiles(directory=".", check_dir=False),
}


def copy_of(function: Any) -> Any:
    """Return a new function like it, so that each test annotates its own."""
    made = type(function)(function.__code__, function.__globals__, function.__name__)
    made.__annotations__ = dict(function.__annotations__)
    return made


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("mark", [yes, optional, no])
def test_the_target_comes_back_as_it_is(name: str, mark: Any) -> None:
    target = TARGETS[name]()
    before = {key: value for key, value in vars(target).items() if key != "__respects_allow_list__"}
    signature = inspect.signature(target)
    kinds = [kind(target) for kind in (inspect.iscoroutinefunction, inspect.isgeneratorfunction, callable)]
    assert mark(target) is target
    assert inspect.signature(target) == signature
    assert [kind(target) for kind in (inspect.iscoroutinefunction, inspect.isgeneratorfunction, callable)] == kinds
    assert {key: value for key, value in vars(target).items() if key != "__respects_allow_list__"} == before
    assert find_annotation(target) is not None


@pytest.mark.parametrize(
    ("mark", "respects", "require_client", "rule", "text"),
    [
        (yes, True, True, Rule.REQUIRES_CLIENT, "@respects_allow_list(True)"),
        (optional, True, False, Rule.RESPECTS, "@respects_allow_list(True, require_client=False)"),
        (no, False, False, Rule.IGNORES, "@respects_allow_list(False)"),
        (respects_allow_list(False, require_client=True), False, False, Rule.IGNORES, "@respects_allow_list(False)"),
        (respects_allow_list(False, require_client=False), False, False, Rule.IGNORES, "@respects_allow_list(False)"),
    ],
)
def test_what_is_written_is_what_is_found(
    mark: Any, respects: bool, require_client: bool, rule: Rule, text: str
) -> None:
    annotation = find_annotation(mark(copy_of(plain)))
    assert annotation == Annotation(respects, require_client)
    assert annotation is not None
    assert (annotation.rule, str(annotation)) == (rule, text)


def test_an_annotation_is_frozen() -> None:
    annotation = find_annotation(yes(copy_of(plain)))
    with pytest.raises(AttributeError):
        annotation.respects = False  # type: ignore[misc, union-attr]
    assert hash(annotation) == hash(Annotation(respects=True, require_client=True))


def test_saying_the_same_twice_is_no_mistake() -> None:
    denial = denial_of("same")
    target = copy_of(plain)
    for _ in range(2):
        assert respects_allow_list(True, denial=denial)(target) is target
    for mark in (no, respects_allow_list(False, require_client=False)):
        assert mark(TARGETS["partial"]()) is not None


def denial_of(text: str) -> Callable[[Decision], Response]:
    return lambda decision: PlainTextResponse(text)


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize(
    ("first", "second"),
    [
        (yes, no),
        (no, yes),
        (yes, optional),
        (optional, no),
        (respects_allow_list(True, denial=denial_of("one")), respects_allow_list(True, denial=denial_of("other"))),
        (yes, respects_allow_list(True, denial=denial_of("one"))),
    ],
)
def test_saying_two_things_of_one_object_is_a_mistake(name: str, first: Any, second: Any) -> None:
    target = first(TARGETS[name]())
    before = find_annotation(target)
    with pytest.raises(AllowListError, match="already annotated"):
        second(target)
    assert find_annotation(target) is before


def test_objects_that_only_resemble_each_other_are_annotated_apart() -> None:
    one, other = Route("/", plain), Route("/", plain)
    assert one == other
    yes(one)
    assert find_annotation(other) is None
    no(other)
    assert (find_annotation(one), find_annotation(other)) == (Annotation(True, True), Annotation(False, False))


# --- where it is found again


def wrap(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*arguments: Any, **options: Any) -> Any: ...

    return wrapper


def wrap_without_attributes(function: Any) -> Any:
    """Wrap as a decorator does that keeps only the reference to what it wraps."""

    def wrapper(*arguments: Any, **options: Any) -> Any: ...

    wrapper.__wrapped__ = function  # type: ignore[attr-defined]
    return wrapper


WRAPPERS: dict[str, Callable[[Any], Any]] = {
    "wraps": wrap,
    "wraps twice": lambda function: wrap(wrap(function)),
    "wrapped without attributes": wrap_without_attributes,
    "partial": functools.partial,
    "partial of a wrapper": lambda function: functools.partial(wrap_without_attributes(function)),
    "wrapper of a partial": lambda function: wrap_without_attributes(functools.partial(function)),
    "cached": functools.lru_cache,
    "deep": lambda function: functools.reduce(lambda inner, _: wrap_without_attributes(inner), range(20), function),
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_a_wrapper_keeps_the_annotation(name: str) -> None:
    assert find_annotation(WRAPPERS[name](no(copy_of(plain)))) == Annotation(False, False)
    assert find_annotation(WRAPPERS[name](copy_of(plain))) is None


@pytest.mark.parametrize("name", ["partial", "wrapped without attributes", "partial of a wrapper", "cached"])
def test_the_annotation_of_a_wrapper_is_nearer_than_that_of_what_it_wraps(name: str) -> None:
    if name == "cached":  # it copies the attributes, so it would be annotated twice
        with pytest.raises(AllowListError):
            yes(WRAPPERS[name](no(copy_of(plain))))
        return
    assert find_annotation(yes(WRAPPERS[name](no(copy_of(plain))))) == Annotation(True, True)


def test_a_wrapper_of_itself_has_no_annotation() -> None:
    looped = copy_of(plain)
    looped.__wrapped__ = looped
    assert find_annotation(looped) is None


class AnswersEverything:
    """An object that has every attribute, as proxies and mocks have."""

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: None

    def __call__(self) -> None:
        """Do nothing."""


def test_an_object_that_has_every_attribute_is_not_annotated_by_that() -> None:
    assert find_annotation(AnswersEverything()) is None
    assert find_annotation(no(AnswersEverything())) == Annotation(False, False)


@pytest.mark.parametrize("target", [None, 1, "text", object(), Ellipsis, [], plain, Endpoint, application])
def test_what_nobody_annotated_has_no_annotation(target: Any) -> None:
    assert find_annotation(target) is None


def test_methods_hold_it_whatever_kind_they_are() -> None:
    class Views(HTTPEndpoint):
        @yes
        def get(self, request: Request) -> Any: ...

        @no
        @staticmethod
        def above(request: Request) -> Any: ...

        @staticmethod
        @no
        def below(request: Request) -> Any: ...

        @no
        @classmethod
        def of_class(cls, request: Request) -> Any: ...

    for method in (Views.above, Views.below, Views.of_class):
        assert find_annotation(method) == Annotation(False, False)
    assert find_annotation(Views.get) == Annotation(True, True)
    assert find_annotation(Views({"type": "http"}, None, None).get) == Annotation(True, True)  # type: ignore[arg-type]
    assert find_annotation(Views) is None


def test_a_class_inherits_and_may_say_otherwise() -> None:
    base = yes(TARGETS["class endpoint"]())
    derived = type("Derived", (base,), {})
    assert find_annotation(derived) == Annotation(True, True)
    assert no(derived) is derived
    assert (find_annotation(base), find_annotation(derived)) == (Annotation(True, True), Annotation(False, False))


def test_the_objects_of_a_class_inherit_and_may_say_otherwise() -> None:
    kind = no(TARGETS["class of an application"]())
    one, other = kind(application), yes(kind(application))
    assert (find_annotation(one), find_annotation(other)) == (Annotation(False, False), Annotation(True, True))


def test_a_pickled_and_a_copied_function_hold_it() -> None:
    assert find_annotation(copy.copy(functools.partial(no(copy_of(plain))))) == Annotation(False, False)
    assert pickle.loads(pickle.dumps(Annotation(True, False))) == Annotation(True, False)


# --- in use


@pytest.mark.anyio
@pytest.mark.parametrize("kind", applications())
async def test_the_order_of_the_decorators_does_not_matter(kind: type[Starlette]) -> None:
    app = pytest.importorskip("fastapi").FastAPI()

    async def endpoint() -> str:
        return "endpoint"

    above, below, later = (copy_of(endpoint) for _ in range(3))
    app.get("/above")(no(above))
    no(app.get("/below")(below))
    app.get("/later")(later)
    app.add_middleware(AllowListMiddleware, allow_lists=LISTS)
    outer = kind(routes=[Mount("/", app)])
    for path in ("/above", "/below"):
        assert (await call(outer, path, client=OUTSIDE, headers=basic("acme"))).status == 200
    assert (await call(outer, "/later", client=OUTSIDE, headers=basic("acme"))).status == 403
    no(later)
    assert (await call(outer, "/later", client=OUTSIDE, headers=basic("acme"))).status == 200


@pytest.mark.anyio
async def test_an_annotated_function_is_called_as_before() -> None:
    assert no(copy_of(plain))(None).body == b"plain"
    assert (await yes(copy_of(asynchronous))(None)).body == b"asynchronous"
    assert list(yes(copy_of(generator))()) == ["generator"]
    assert [item async for item in yes(copy_of(asynchronous_generator))()] == ["asynchronous generator"]


def test_annotating_needs_no_event_loop_and_calls_nothing() -> None:
    called: list[str] = []
    target = functools.partial(called.append, "called")
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
    assert no(target) is target
    assert called == []
