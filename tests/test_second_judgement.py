"""A call let through is judged again where it arrives: no middleware on the way can turn it into another operation."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import anyio
import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.endpoints import HTTPEndpoint
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Host, Match, Mount, Route, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from allowlist_middleware import ANYWHERE, AllowListMiddleware, AllowLists, Decision, Reason
from tests.asgi import OUTSIDE, Answer, Recorder, applications, basic, call
from tests.test_topologies import (
    NO_CLIENT,
    ON_LIST,
    UNKNOWN_CLIENT,
    WRONG_ADDRESS,
    AppClass,
    Wrapper,
    allow_list,
    closure,
    judged,
    no,
    optional,
    yes,
)

pytestmark = pytest.mark.anyio

REFUSALS = {WRONG_ADDRESS: 403, UNKNOWN_CLIENT: 403, NO_CLIENT: 401}

# --- How a middleware hands on what it rewrites -----------------------------------------------------------------------

Rewrite = Callable[[Scope], None]
Hand = Callable[[Scope, Rewrite], Scope]


def in_place(scope: Scope, rewrite: Rewrite) -> Scope:
    rewrite(scope)
    return scope


def on_a_copy(scope: Scope, rewrite: Rewrite) -> Scope:
    scope = dict(scope)
    rewrite(scope)
    return scope


ASGI_NAMES = {
    *("type", "asgi", "http_version", "method", "scheme", "path", "raw_path", "query_string", "root_path"),
    *("headers", "client", "server", "subprotocols", "extensions", "state"),
}


def from_scratch(scope: Scope, rewrite: Rewrite) -> Scope:
    """Return a scope that holds only what the specification of ASGI names."""
    scope = {name: scope[name] for name in scope.keys() & ASGI_NAMES}
    rewrite(scope)
    return scope


HANDS: list[Hand] = [in_place, on_a_copy, from_scratch]

# --- The styles a middleware is written in ----------------------------------------------------------------------------

Style = Callable[[ASGIApp, Hand, Rewrite], ASGIApp]


class PlainClass:
    def __init__(self, app: ASGIApp, hand: Hand, rewrite: Rewrite) -> None:
        self.app = app
        self._hand = hand
        self._rewrite = rewrite

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(self._hand(scope, self._rewrite), receive, send)


def function(app: ASGIApp, hand: Hand, rewrite: Rewrite) -> ASGIApp:
    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        await app(hand(scope, rewrite), receive, send)

    return middleware


def base_http(app: ASGIApp, hand: Hand, rewrite: Rewrite) -> ASGIApp:
    """Return one that rewrites in place, the only way there is in this style."""

    async def dispatch(request: Request, call_next: RequestResponseEndpoint) -> Response:
        rewrite(request.scope)
        return await call_next(request)

    return BaseHTTPMiddleware(app, dispatch=dispatch)


class Delegating(PlainClass):
    """One that answers for what it wraps whatever it is asked, as proxies do."""

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)["app"], name)


STYLES: list[Style] = [PlainClass, Delegating, function, base_http]


def on_loops(name: str, found: Iterable[Any], *on_trio: Any) -> pytest.MarkDecorator:
    """Parametrize by what is found on asyncio, and by a part of it on trio.

    The second judgement awaits nothing but the sending of a refusal. An event loop has a part in it only where a
    middleware runs what follows in a task, and where the call under way is known by a context variable alone.
    """
    rows = [*(("asyncio", one) for one in found), *(("trio", one) for one in on_trio)]
    return pytest.mark.parametrize(
        ("anyio_backend", name), [pytest.param(*row, id=f"{row[0]}-{row[1].__name__}") for row in rows]
    )


# --- What it rewrites, and what protects the operation it leads to ----------------------------------------------------


class Target(NamedTuple):
    """A call, how it is rewritten, and the routes of the free operation it is for and the protected one it gets to."""

    path: str
    rewrite: Rewrite
    build: Callable[[AppClass, Recorder], Starlette]


def to_path(end: str) -> Rewrite:
    def rewrite(scope: Scope) -> None:
        scope["path"] = scope["path"].replace("/free", end)
        scope["raw_path"] = scope["path"].encode()

    return rewrite


def to_method(method: str) -> Rewrite:
    return lambda scope: scope.update(method=method)


def to_root_path(scope: Scope) -> None:
    scope["root_path"] = scope.get("root_path", "") + "/api"


def to_host(scope: Scope) -> None:
    scope["headers"] = [(b"host", b"closed.example"), *(line for line in scope["headers"] if line[0] != b"host")]


def by_routes(*routes: Callable[[Recorder], Any]) -> Callable[[AppClass, Recorder], Starlette]:
    def build(app: AppClass, ran: Recorder) -> Starlette:
        return app(routes=[route(ran) for route in (free, *routes)])

    return build


def free(ran: Recorder) -> Any:
    return Route("/free", no(ran.endpoint("free")))


def of_application(app: AppClass, ran: Recorder) -> Starlette:
    return yes(app(routes=[free(ran), Route("/to", ran.endpoint("to"))]))


def of_sub_application(app: AppClass, ran: Recorder) -> Starlette:
    return app(routes=[free(ran), Mount("/to", yes(app(routes=[Route("/x", ran.endpoint("to"))])))])


def of_class(ran: Recorder) -> Route:
    class Views(HTTPEndpoint):
        get = no(ran.method("free"))
        post = yes(ran.method("to"))

    return Route("/class", Views)


TARGETS = {
    "endpoint": Target("/free", to_path("/to"), by_routes(lambda ran: Route("/to", yes(ran.endpoint("to"))))),
    "route": Target("/free", to_path("/to"), by_routes(lambda ran: yes(Route("/to", ran.endpoint("to"))))),
    "mount": Target(
        "/free", to_path("/to/x"), by_routes(lambda ran: yes(Mount("/to", routes=[Route("/x", ran.endpoint("to"))])))
    ),
    "router": Target(
        "/free",
        to_path("/to/x"),
        by_routes(lambda ran: Mount("/to", yes(Router(routes=[Route("/x", ran.endpoint("to"))])))),
    ),
    "sub-application": Target("/free", to_path("/to/x"), of_sub_application),
    "application": Target("/free", to_path("/to"), of_application),
    "method": Target(
        "/free", to_method("POST"), by_routes(lambda ran: Route("/free", yes(ran.endpoint("to")), methods=["POST"]))
    ),
    "method of a class": Target("/class", to_method("POST"), by_routes(of_class)),
    "root_path": Target(
        "/api/to",
        to_root_path,
        by_routes(
            lambda ran: Route("/api/to", no(ran.endpoint("free"))), lambda ran: Route("/to", yes(ran.endpoint("to")))
        ),
    ),
    "host": Target(
        "/x",
        to_host,
        by_routes(
            lambda ran: Host("closed.example", Router(routes=[Route("/x", yes(ran.endpoint("to")))])),
            lambda ran: no(Host("{name}.example", Router(routes=[Route("/x", ran.endpoint("free"))]))),
            lambda ran: Route("/x", no(ran.endpoint("free"))),
        ),
    ),
}

# --- Where it stands --------------------------------------------------------------------------------------------------

Middle = Callable[[ASGIApp], ASGIApp]
Place = Callable[[AppClass, Starlette, Middle], ASGIApp]
PREFIX = "/v"


def in_the_application(app: AppClass, inner: Starlette, middle: Middle) -> ASGIApp:
    inner.add_middleware(middle)
    return judged(inner)


def in_the_application_that_is_wrapped(app: AppClass, inner: Starlette, middle: Middle) -> ASGIApp:
    inner.add_middleware(middle)
    return allow_list(inner)


def around_the_application(app: AppClass, inner: Starlette, middle: Middle) -> ASGIApp:
    return allow_list(middle(inner))


def around_a_router(app: AppClass, inner: Starlette, middle: Middle) -> ASGIApp:
    return allow_list(middle(inner.router))


def in_a_router(app: AppClass, inner: Starlette, middle: Middle) -> ASGIApp:
    router = Router(routes=inner.routes, middleware=[Middleware(Wrapper), Middleware(middle), Middleware(Wrapper)])
    return allow_list(router)


def in_a_router_with_ours(app: AppClass, inner: Starlette, middle: Middle) -> ASGIApp:
    return Router(routes=inner.routes, middleware=[Middleware(allow_list), Middleware(middle)])


def in_a_mounted_router(app: AppClass, inner: Starlette, middle: Middle) -> ASGIApp:
    return judged(app(routes=[Mount(PREFIX, Router(routes=inner.routes, middleware=[Middleware(middle)]))]))


def in_a_mount(app: AppClass, inner: Starlette, middle: Middle) -> ASGIApp:
    return judged(app(routes=[Mount(PREFIX, inner, middleware=[Middleware(middle)])]))


def in_a_mount_with_ours(app: AppClass, inner: Starlette, middle: Middle) -> ASGIApp:
    return app(routes=[Mount(PREFIX, inner, middleware=[Middleware(allow_list), Middleware(middle)])])


def around_a_mounted_application(app: AppClass, inner: Starlette, middle: Middle) -> ASGIApp:
    return judged(app(routes=[Mount(PREFIX, middle(inner))]))


def in_a_mounted_application(app: AppClass, inner: Starlette, middle: Middle) -> ASGIApp:
    inner.add_middleware(middle)
    return judged(app(routes=[Mount(PREFIX, Wrapper(inner))]))


def behind_a_closure(app: AppClass, inner: Starlette, middle: Middle) -> ASGIApp:
    return judged(app(routes=[no(Mount(PREFIX, closure(middle(inner))))]))


def of_a_host(app: AppClass, inner: Starlette, middle: Middle) -> ASGIApp:
    return judged(app(routes=[Host("{host:path}", middle(inner))]))


def twice_ours(app: AppClass, inner: Starlette, middle: Middle) -> ASGIApp:
    inner.add_middleware(allow_list)
    inner.add_middleware(middle)
    return judged(inner)


PLACES: list[Place] = [
    in_the_application,
    in_the_application_that_is_wrapped,
    around_the_application,
    around_a_router,
    in_a_router,
    in_a_router_with_ours,
    in_a_mounted_router,
    in_a_mount,
    in_a_mount_with_ours,
    around_a_mounted_application,
    in_a_mounted_application,
    behind_a_closure,
    of_a_host,
    twice_ours,
]
OPAQUE = {
    around_the_application,
    around_a_router,
    in_a_router_with_ours,
    in_a_mount,
    in_a_mount_with_ours,
    around_a_mounted_application,
    of_a_host,
}
"""Places where what is a closure leads nobody knows where, so that what is behind counts as not annotated."""
MOUNTED = {
    in_a_mounted_router,
    in_a_mount,
    in_a_mount_with_ours,
    around_a_mounted_application,
    in_a_mounted_application,
    behind_a_closure,
}
GROUPS_LOST = {around_a_router, in_a_router, in_a_router_with_ours, in_a_mounted_router}
"""Places that take the routes out of their application, and so out of its annotation."""


def put(place: Place, app: AppClass, inner: Starlette, style: Style, hand: Hand, rewrite: Rewrite) -> ASGIApp:
    return place(app, inner, lambda wrapped: style(wrapped, hand, rewrite))


def check_refused(answer: Answer, status: int) -> None:
    """Assert that the refusal is all there is."""
    assert (answer.status, answer.exception) == (status, None), answer
    assert set(answer.types) == {"http.response.start", "http.response.body"}
    assert answer.json["code"] == status


@pytest.mark.parametrize("app", applications())
@on_loops("style", STYLES, base_http)
@pytest.mark.parametrize(
    ("place", "name"),
    [
        pytest.param(place, name, id=f"{place.__name__}-{name}")
        for place in PLACES
        for name in TARGETS
        if name != "application" or place not in GROUPS_LOST
    ],
)
async def test_a_call_rewritten_on_the_way_is_judged_where_it_arrives(
    app: AppClass, style: Style, place: Place, name: str
) -> None:
    target = TARGETS[name]
    path = (PREFIX if place in MOUNTED else "") + target.path
    for hand in HANDS if style is not base_http else HANDS[:1]:
        ran = Recorder()
        application = put(place, app, target.build(app, ran), style, hand, target.rewrite)
        for _ in range(2):  # the second call finds everything in place
            for caller, status in REFUSALS.items():
                answer = await call(application, path, client=caller.peer, headers=basic(caller.client_id))
                check_refused(answer, status)
                assert ran.ran == []
        answer = await call(application, path, client=ON_LIST.peer, headers=basic(ON_LIST.client_id))
        assert (answer.status, answer.exception, ran.ran) == (200, None, ["to"])


NOTHING_THERE = {
    "404": (to_path("/none"), 404),
    "405": (to_method("DELETE"), 405),
    "redirect": (to_path("/free/"), 307),
    "another free operation": (to_path("/other"), 200),
}


@pytest.mark.parametrize("app", applications())
@on_loops("style", STYLES, base_http)
@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
@pytest.mark.parametrize("name", NOTHING_THERE)
async def test_a_call_rewritten_to_what_protects_nothing_gets_what_is_there(
    app: AppClass, style: Style, place: Place, name: str
) -> None:
    rewrite, status = NOTHING_THERE[name]
    path = (PREFIX if place in MOUNTED else "") + "/free"
    for hand in HANDS if style is not base_http else HANDS[:1]:
        ran = Recorder()
        inner = app(routes=[free(ran), Route("/other", no(ran.endpoint("other")))])
        application = put(place, app, inner, style, hand, rewrite)
        callers = [NO_CLIENT, ON_LIST] if style is function and place in OPAQUE else [*REFUSALS, ON_LIST]
        for client_id, peer in callers:
            ran.ran.clear()
            answer = await call(application, path, client=peer, headers=basic(client_id))
            assert (answer.status, ran.ran) == (status, ["other"] if status == 200 else [])


class Asgi:
    """An endpoint that is an application, new for every test as annotations stay."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


# --- Several ways through one call ------------------------------------------------------------------------------------


def hand_on(scope: Scope, path: str, hand: Hand) -> Scope:
    return hand(scope, lambda scope: scope.update(path=path))


async def ignore(message: Message) -> None:
    """Send nothing."""


async def fall_back(app: ASGIApp, hand: Hand, scope: Scope, receive: Receive, send: Send) -> None:
    """Try one path after the other, and send what the last one answers."""
    await app(hand_on(scope, "/none", hand), receive, ignore)
    await app(hand_on(scope, "/free", hand), receive, ignore)
    await app(hand_on(scope, "/to", hand), receive, send)


async def try_again(app: ASGIApp, hand: Hand, scope: Scope, receive: Receive, send: Send) -> None:
    """Try again whatever was raised."""
    for _ in range(3):
        try:
            await app(hand_on(scope, "/to", hand), receive, send)
        except BaseException:  # noqa: BLE001 - as bad middleware does
            continue


async def in_a_task(app: ASGIApp, hand: Hand, scope: Scope, receive: Receive, send: Send) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(Asgi(app), hand_on(scope, "/to", hand), receive, send)


async def in_many_tasks(app: ASGIApp, hand: Hand, scope: Scope, receive: Receive, send: Send) -> None:
    async with anyio.create_task_group() as group:
        for path in ("/to", "/to"):
            group.start_soon(Asgi(app), hand_on(scope, path, hand), receive, send)


async def with_a_finally(app: ASGIApp, hand: Hand, scope: Scope, receive: Receive, send: Send) -> None:
    try:
        await app(hand_on(scope, "/to", hand), receive, send)
    finally:
        await send({"type": "http.response.body", "body": b"finally"})


async def raising_instead(app: ASGIApp, hand: Hand, scope: Scope, receive: Receive, send: Send) -> None:
    try:
        await app(hand_on(scope, "/to", hand), receive, send)
    except BaseException as error:
        raise RuntimeError("instead") from error


WAYS = [fall_back, try_again, in_a_task, in_many_tasks, with_a_finally, raising_instead]


@pytest.mark.parametrize("app", applications())
@pytest.mark.parametrize("hand", HANDS, ids=lambda hand: hand.__name__)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
async def test_every_way_through_a_call_is_judged(app: AppClass, hand: Hand, way: Any) -> None:
    ran = Recorder()
    inner = app(routes=[free(ran), Route("/to", yes(ran.endpoint("to")))])

    def middle(wrapped: ASGIApp) -> ASGIApp:
        async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
            await way(wrapped, hand, scope, receive, send)

        return middleware

    inner.add_middleware(middle)
    judged(inner)
    for caller, status in REFUSALS.items():
        ran.ran.clear()
        check_refused(await call(inner, "/free", client=caller.peer, headers=basic(caller.client_id)), status)
        assert "to" not in ran.ran


@pytest.mark.parametrize("hand", HANDS, ids=lambda hand: hand.__name__)
async def test_a_response_that_has_begun_ends_where_a_further_way_is_refused(hand: Hand) -> None:
    ran = Recorder()
    inner = Starlette(routes=[free(ran), Route("/to", yes(ran.endpoint("to")))])

    def middle(wrapped: ASGIApp) -> ASGIApp:
        async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"begun", "more_body": True})
            await wrapped(hand_on(scope, "/to", hand), receive, send)

        return middleware

    inner.add_middleware(middle)
    answer = await call(judged(inner), "/free")
    assert (answer.types, answer.body) == (["http.response.start", "http.response.body"], b"begun")
    assert (ran.ran, answer.exception) == ([], None)


# --- What a middleware keeps what follows in --------------------------------------------------------------------------


async def to_the_other(app: ASGIApp, hand: Hand, scope: Scope, receive: Receive, send: Send) -> None:
    await app(hand(scope, to_path("/to")), receive, send)


class Slots:
    __slots__ = ("_hand", "_next", "_unset")

    def __init__(self, app: ASGIApp, hand: Hand) -> None:
        self._next = app
        self._hand = hand

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await to_the_other(self._next, self._hand, scope, receive, send)


class OneSlot(Slots):
    __slots__ = "_more"


class Holding:
    def __init__(self, held: Any, find: Callable[[Any], ASGIApp], hand: Hand) -> None:
        self._held = held
        self._find = find
        self._hand = hand

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await to_the_other(self._find(self._held), self._hand, scope, receive, send)


def a_default(app: ASGIApp, hand: Hand) -> ASGIApp:
    async def middleware(scope: Scope, receive: Receive, send: Send, app: ASGIApp = app) -> None:
        await to_the_other(app, hand, scope, receive, send)

    return middleware


def a_keyword_default(app: ASGIApp, hand: Hand) -> ASGIApp:
    async def middleware(scope: Scope, receive: Receive, send: Send, *, app: ASGIApp = app) -> None:
        await to_the_other(app, hand, scope, receive, send)

    return middleware


def a_closure_with_an_empty_cell(app: ASGIApp, hand: Hand) -> ASGIApp:
    gone = True

    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope is not None or gone  # noqa: F821 - its cell is empty
        await to_the_other(app, hand, scope, receive, send)

    del gone
    return middleware


async def with_keywords(scope: Scope, receive: Receive, send: Send, *, app: ASGIApp, hand: Hand) -> None:
    await to_the_other(app, hand, scope, receive, send)


REPLACEABLE: dict[str, Callable[[ASGIApp, Hand], ASGIApp]] = {
    "slots": Slots,
    "one slot": OneSlot,
    "list": lambda app, hand: Holding([None, app], lambda held: held[1], hand),
    "mapping": lambda app, hand: Holding({"app": app}, lambda held: held["app"], hand),
    "partial": lambda app, hand: functools.partial(to_the_other, app, hand),
    "keyword of a partial": lambda app, hand: functools.partial(with_keywords, app=app, hand=hand),
    "default": a_default,
    "keyword default": a_keyword_default,
    "closure with an empty cell": a_closure_with_an_empty_cell,
    "method": lambda app, hand: Slots(app, hand).__call__,
}


def nest(held: Any) -> Any:
    return functools.reduce(lambda inner, _: [inner], range(300), held)


def unnest(held: Any) -> Any:
    return functools.reduce(lambda outer, _: outer[0], range(300), held)


UNREPLACEABLE: dict[str, Callable[[ASGIApp, Hand], ASGIApp]] = {
    "tuple": lambda app, hand: Holding((app,), lambda held: held[0], hand),
    "what is written in C": lambda app, hand: Holding("app", {"app": app}.__getitem__, hand),
    "more than is looked through": lambda app, hand: Holding(nest(app), unnest, hand),
    "set": lambda app, hand: Holding(frozenset({app}), lambda held: next(iter(held)), hand),
}


@on_loops("hand", HANDS, from_scratch)
@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
@pytest.mark.parametrize("name", REPLACEABLE)
async def test_a_call_is_judged_again_whatever_a_middleware_keeps_what_follows_in(
    name: str, place: Place, hand: Hand
) -> None:
    ran = Recorder()
    inner = Starlette(routes=[free(ran), Route("/to", yes(ran.endpoint("to")))])
    application = place(Starlette, inner, lambda app: REPLACEABLE[name](app, hand))
    path = (PREFIX if place in MOUNTED else "") + "/free"
    for _ in range(2):
        for caller, status in REFUSALS.items():
            check_refused(await call(application, path, client=caller.peer, headers=basic(caller.client_id)), status)
            assert ran.ran == []


@pytest.mark.parametrize("name", UNREPLACEABLE)
async def test_where_no_guard_can_stand_the_last_comparison_withholds_the_response(name: str) -> None:
    ran = Recorder()
    middle = Middleware(lambda app: UNREPLACEABLE[name](app, in_place))
    to = Route("/to", yes(ran.endpoint("to")))
    for routes, status in (([free(ran), to], None), ([free(ran)], 404), ([free(ran), post_only(ran)], 405)):
        application = judged(Starlette(routes=[Mount("", Router(routes=routes, middleware=[middle]))]))
        for caller, refusal in REFUSALS.items():
            answer = await call(application, "/free", client=caller.peer, headers=basic(caller.client_id))
            assert answer.status == (status or refusal)
            assert answer.body != b"to"


def post_only(ran: Recorder) -> Route:
    return Route("/to", no(ran.endpoint("post")), methods=["POST"])


def with_router(router: Router) -> Starlette:
    """Return an application whose own router it is."""
    application = Starlette()
    application.router = router
    return application


ROUTER_PLACES: dict[str, Callable[[Router], Starlette]] = {
    "mounted": lambda router: Starlette(routes=[Mount("", router)]),
    "its own": with_router,
}


@pytest.mark.parametrize("hand", HANDS, ids=lambda hand: hand.__name__)
@pytest.mark.parametrize("place", ROUTER_PLACES)
@pytest.mark.parametrize("around", [[], [Middleware(Wrapper)]], ids=["bare", "wrapped"])
@pytest.mark.parametrize("serves", [True, False], ids=["later", "before"])
async def test_a_middleware_put_around_a_router_is_judged_behind(
    hand: Hand, place: str, around: list[Middleware], serves: bool
) -> None:
    ran = Recorder()
    router = Router(routes=[free(ran), Route("/to", yes(ran.endpoint("to")))], middleware=around)
    application = judged(ROUTER_PLACES[place](router))
    if serves:
        assert (await call(application, "/free")).status == 200
    router.middleware_stack = PlainClass(router.middleware_stack, hand, to_path("/to"))
    for caller, status in REFUSALS.items():
        check_refused(await call(application, "/free", client=caller.peer, headers=basic(caller.client_id)), status)
    answer = await call(application, "/free", client=ON_LIST.peer, headers=basic(ON_LIST.client_id))
    assert (answer.status, ran.ran) == (200, [*["free"] * serves, "to"])


# --- Another application beside --------------------------------------------------------------------------------------


class Switch:
    """A middleware that hands some calls to another application, as one that chooses among versions does."""

    def __init__(self, app: ASGIApp, hand: Hand, others: dict[str, ASGIApp]) -> None:
        self.app = app
        self._hand = hand
        self._others = others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        other = scope["type"] == "http" and Request(scope).headers.get("x-version")
        app = self._others[other] if other else self.app
        await app(self._hand(scope, lambda scope: None), receive, send)


def switch_function(app: ASGIApp, hand: Hand, others: dict[str, ASGIApp]) -> ASGIApp:
    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        other = Request(scope).headers.get("x-version")
        await (others[other] if other else app)(hand(scope, lambda scope: None), receive, send)

    return middleware


OTHERS: dict[str, Callable[[AppClass, Recorder], ASGIApp]] = {
    "application": lambda app, ran: app(routes=[Route("/free", yes(ran.endpoint("to")))]),
    "annotated application": lambda app, ran: yes(app(routes=[Route("/free", ran.endpoint("to"))])),
    "router": lambda app, ran: Router(routes=[Route("/free", yes(ran.endpoint("to")))]),
    "annotated router": lambda app, ran: yes(Router(routes=[Route("/free", ran.endpoint("to"))])),
    "mount": lambda app, ran: app(routes=[Mount("", yes(app(routes=[Route("/free", ran.endpoint("to"))])))]),
    "wrapped": lambda app, ran: Wrapper(closure(app(routes=[Route("/free", yes(ran.endpoint("to")))]))),
    "route": lambda app, ran: Route("/free", yes(ran.endpoint("to"))),
}


@pytest.mark.parametrize("app", applications())
@on_loops("style", [Switch, switch_function], Switch)
@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
@pytest.mark.parametrize("name", OTHERS)
async def test_a_call_handed_to_another_application_is_judged_there(
    app: AppClass, style: Any, place: Place, name: str
) -> None:
    path = (PREFIX if place in MOUNTED else "") + "/free"
    hands = HANDS if name != "route" else HANDS[:1]  # nothing stands before a route alone but the last comparison
    for hand in hands:
        for below in ("/free", "/none"):
            ran = Recorder()
            others = {"2": OTHERS[name](app, ran)}
            inner = app(routes=[Route(below, no(ran.endpoint("free")))])
            application = place(app, inner, lambda app: style(app, hand, others))  # noqa: B023
            for caller, status in REFUSALS.items():
                headers = [*basic(caller.client_id), ("x-version", "2")]
                answer = await call(application, path, client=caller.peer, headers=headers)
                check_refused(answer, status)
                assert ran.ran == [] or name == "route"


class OwnWayIn(Router):
    """A router that rewrites before it does anything else."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await super().__call__({**scope, "path": scope["path"].replace("/free", "/to")}, receive, send)


@pytest.mark.parametrize("app", applications())
async def test_a_router_with_its_own_way_in_is_judged_behind_it(app: AppClass) -> None:
    ran = Recorder()

    def routes() -> list[Route]:
        return [free(ran), Route("/to", yes(ran.endpoint("to")))]

    application = app()
    application.router = OwnWayIn(routes=routes())
    for built, path in (
        (judged(application), "/free"),
        (judged(app(routes=[Mount("/m", OwnWayIn(routes=routes()))])), "/m/free"),
        (allow_list(OwnWayIn(routes=routes())), "/free"),
    ):
        for caller, status in REFUSALS.items():
            check_refused(await call(built, path, client=caller.peer, headers=basic(caller.client_id)), status)
            assert ran.ran == []


def keeping_the_decision(scope: Scope, rewrite: Rewrite) -> Scope:
    """Return a scope from scratch, but for the one key that is documented."""
    return {**from_scratch(scope, rewrite), "allow_list_decision": scope["allow_list_decision"]}


KEPT: dict[str, Any] = {}


def of_an_earlier_call(scope: Scope, rewrite: Rewrite) -> Scope:
    """Return a scope made from that of the first call there was."""
    kept = KEPT.setdefault("scope", dict(scope))
    return {**from_scratch(scope, rewrite), **{name: kept[name] for name in kept.keys() - ASGI_NAMES}}


@pytest.mark.parametrize("hand", [keeping_the_decision, of_an_earlier_call], ids=lambda hand: hand.__name__)
async def test_what_a_middleware_keeps_of_a_scope_hides_nothing(hand: Hand) -> None:
    KEPT.clear()
    ran = Recorder()
    inner = Starlette(routes=[free(ran), Route("/x", no(ran.endpoint("x"))), Route("/to", yes(ran.endpoint("to")))])
    inner.add_middleware(lambda app: PlainClass(app, hand, to_path("/to")))
    judged(inner)
    assert (await call(inner, "/x", client=OUTSIDE, headers=basic("acme"))).status == 200
    for caller, status in REFUSALS.items():
        check_refused(await call(inner, "/free", client=caller.peer, headers=basic(caller.client_id)), status)
    assert ran.ran == ["x"]


# --- What an application does by itself -------------------------------------------------------------------------------


def asking(ran: Recorder, path: str, headers: Any = ()) -> Any:
    """Return an endpoint that calls its own application, as a program of its own would."""

    async def endpoint(request: Request) -> Response:
        ran.ran.append("asking")
        answer = await call(request.app.outermost, path, headers=headers)
        return PlainTextResponse(str(answer.status))

    return endpoint


async def test_what_an_endpoint_asks_of_its_own_application_is_a_call_of_its_own() -> None:
    ran = Recorder()
    acme = basic("acme")
    to = Route("/to", yes(ran.endpoint("to")))
    asks = Route("/as-acme", no(asking(ran, "/to", acme)))
    asks_as_nobody = Route("/as-nobody", no(asking(ran, "/to")))
    opaque = no(Mount("/opaque", closure(Router(routes=[Route("/x", asking(ran, "/to", acme))]))))
    application: Any = Starlette(routes=[to, asks, asks_as_nobody, opaque])
    application.add_middleware(allow_list)
    application.add_middleware(Wrapper)
    judged(application)
    application.outermost = application
    for path, status, names in (
        ("/as-acme", b"200", ["asking", "to"]),
        ("/as-nobody", b"401", ["asking"]),
        ("/opaque/x", b"200", ["asking", "to"]),
    ):
        ran.ran.clear()
        answer = await call(application, path)
        assert (answer.status, answer.body, ran.ran) == (200, status, names)


# --- Several instances ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hand", HANDS, ids=lambda hand: hand.__name__)
async def test_an_inner_instance_takes_nothing_from_the_outer_one(hand: Hand) -> None:
    """The inner one admits every client from everywhere, but the list of the outer one holds too."""
    ran = Recorder()
    inner = Starlette(routes=[free(ran), Route("/to", yes(ran.endpoint("to")))])
    inner.add_middleware(AllowListMiddleware, allow_lists=AllowLists({}, others=ANYWHERE))
    inner.add_middleware(lambda app: PlainClass(app, hand, to_path("/to")))
    judged(inner)
    for caller, status in REFUSALS.items():
        check_refused(await call(inner, "/free", client=caller.peer, headers=basic(caller.client_id)), status)
    assert ran.ran == []
    answer = await call(inner, "/free", client=ON_LIST.peer, headers=basic(ON_LIST.client_id))
    assert (answer.status, ran.ran) == (200, ["to"])


# --- What is reported -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hand", HANDS, ids=lambda hand: hand.__name__)
async def test_every_verdict_is_reported_once_and_the_last_one_stays(hand: Hand) -> None:
    ran, decisions = Recorder(), list[Decision]()
    inner = Starlette(routes=[free(ran), Route("/to", yes(ran.endpoint("to"))), Route("/x", no(ran.endpoint("x")))])
    inner.add_middleware(lambda app: PlainClass(app, hand, to_path("/to")))
    judged(inner, on_decision=decisions.append)
    answer = await call(inner, "/free", client=OUTSIDE, headers=basic("acme"))
    assert [(one.reason, one.operation) for one in decisions] == [
        (Reason.LIST_IGNORED, "/free"),
        (Reason.NOT_ON_LIST, "/to"),
    ]
    assert answer.decision is decisions[-1]
    assert answer.json["request_id"] == decisions[-1].request_id
    # What a caller asked for is what it is told of, whatever was made of that on the way.
    assert {(one.method, one.path) for one in decisions} == {("GET", "/free")}
    decisions.clear()
    await call(inner, "/x", client=OUTSIDE, headers=basic("acme"))
    assert [one.reason for one in decisions] == [Reason.LIST_IGNORED]


@pytest.mark.parametrize("hand", HANDS, ids=lambda hand: hand.__name__)
async def test_report_only_lets_a_rewritten_call_through_and_reports_it(hand: Hand) -> None:
    ran, decisions = Recorder(), list[Decision]()
    inner = Starlette(routes=[free(ran), Route("/to", yes(ran.endpoint("to")))])
    inner.add_middleware(lambda app: PlainClass(app, hand, to_path("/to")))
    judged(inner, on_decision=decisions.append, report_only=True)
    answer = await call(inner, "/free", client=OUTSIDE, headers=basic("acme"))
    assert (answer.status, ran.ran) == (200, ["to"])
    assert [(one.allowed, one.report_only, one.reason) for one in decisions] == [
        (True, True, Reason.LIST_IGNORED),
        (False, True, Reason.NOT_ON_LIST),
    ]
    assert answer.decision is decisions[-1]


@pytest.mark.parametrize("hand", HANDS, ids=lambda hand: hand.__name__)
async def test_report_only_reports_once_what_would_have_been_refused_at_once(hand: Hand) -> None:
    ran, decisions = Recorder(), list[Decision]()
    inner = Starlette(routes=[Route("/free", yes(ran.endpoint("free"))), Route("/to", no(ran.endpoint("to")))])
    inner.add_middleware(lambda app: PlainClass(app, hand, to_path("/to")))
    judged(inner, on_decision=decisions.append, report_only=True)
    answer = await call(inner, "/free", client=OUTSIDE, headers=basic("acme"))
    assert (answer.status, ran.ran) == (200, ["to"])
    assert [(one.allowed, one.reason) for one in decisions] == [(False, Reason.NOT_ON_LIST)]


async def test_the_decision_of_the_innermost_instance_stays_in_the_scope() -> None:
    ran = Recorder()
    inner = Starlette(routes=[Route("/x", optional(ran.endpoint("x")))])
    inner.add_middleware(AllowListMiddleware, allow_lists={"acme": ANYWHERE})
    inner.add_middleware(allow_list)
    answer = await call(inner, "/x", headers=basic("acme"))
    assert answer.decision.reason is Reason.ANYWHERE
    answer = await call(inner, "/x", headers=basic("partner"))
    assert (answer.status, answer.decision.reason) == (403, Reason.UNKNOWN_CLIENT)


# --- The last net -----------------------------------------------------------------------------------------------------

HIDDEN: dict[str, ASGIApp] = {}
RAN: list[str] = []


async def hidden(scope: Scope, receive: Receive, send: Send) -> None:
    """Lead to an application nobody can find beforehand."""
    await HIDDEN["app"](scope, receive, send)


class Fickle(Route):
    """A route that matches when it is asked for the third time: by the router itself, after both judgements."""

    asked = 0

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        self.asked += 1
        return super().matches(scope) if self.asked % 3 == 0 else (Match.NONE, {})


def behind_a_free_mount(app: AppClass, endpoint: Any) -> ASGIApp:
    HIDDEN["app"] = Router(routes=[Route("/x", endpoint)])
    return judged(app(routes=[no(Mount("", hidden))]))


def behind_a_middleware(app: AppClass, endpoint: Any) -> ASGIApp:
    HIDDEN["app"] = Router(routes=[Route("/x", endpoint)])
    application = app(routes=[Route("/x", no(Recorder().endpoint()))])
    application.add_middleware(lambda app: hidden)
    return judged(application)


def by_a_fickle_route(app: AppClass, endpoint: Any) -> ASGIApp:
    return judged(app(routes=[Fickle("/x", endpoint), Route("/x", no(Recorder().endpoint()))]))


SURPRISES = [behind_a_free_mount, behind_a_middleware, by_a_fickle_route]


async def plain(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("secret", background=BackgroundTask(RAN.append, "background"))(scope, receive, send)


async def streaming(scope: Scope, receive: Receive, send: Send) -> None:
    async def body() -> AsyncIterator[str]:
        yield "secret"
        RAN.append("streamed on")

    await StreamingResponse(body(), background=BackgroundTask(RAN.append, "background"))(scope, receive, send)


def message_first(kind: str, **fields: Any) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": kind, **fields})
        RAN.append(f"past {kind}")

    return app


def raising(error: Callable[[], BaseException]) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise error()

    return app


async def insisting(scope: Scope, receive: Receive, send: Send) -> None:
    for _ in range(3):
        with suppress(BaseException):
            await PlainTextResponse("secret")(scope, receive, send)


async def from_a_task(scope: Scope, receive: Receive, send: Send) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(PlainTextResponse("secret"), scope, receive, send)
        group.start_soon(PlainTextResponse("secret"), scope, receive, send)


LEAKS = {
    "response": plain,
    "stream": streaming,
    "early hint": message_first("http.response.early_hint", links=[b"</secret>"]),
    "debug": message_first("http.response.debug", info={"template": "secret"}),
    "file": message_first("http.response.pathsend", path="/secret"),
    "push": message_first("http.response.push", path="/secret", headers=[]),
    "exception": raising(lambda: RuntimeError("secret")),
    "handled exception": raising(lambda: HTTPException(418, "secret")),
    "exception group": raising(lambda: ExceptionGroup("secret", [RuntimeError("secret")])),
    "insisting": insisting,
    "tasks": from_a_task,
}


@pytest.mark.parametrize("leak", LEAKS)
async def test_without_the_middleware_each_of_them_lets_something_out(leak: str) -> None:
    RAN.clear()
    answer = await call(LEAKS[leak], "/x")
    assert "secret" in repr((answer.messages, answer.exception))
    assert all(ran in ("background", "streamed on") or "past" in ran for ran in RAN)


@pytest.mark.parametrize("app", applications())
@pytest.mark.parametrize("build", SURPRISES, ids=lambda build: build.__name__)
@pytest.mark.parametrize("leak", LEAKS)
async def test_not_one_byte_comes_from_another_endpoint_than_the_one_judged(
    app: AppClass, build: Any, leak: str, caplog: pytest.LogCaptureFixture
) -> None:
    for caller, status in REFUSALS.items():
        application = build(app, yes(Asgi(LEAKS[leak])))
        application.debug = True  # an exception would be shown in full
        RAN.clear()
        caplog.clear()
        answer = await call(application, "/x", client=caller.peer, headers=basic(caller.client_id))
        check_refused(answer, status)
        assert b"secret" not in answer.body
        assert RAN == []
        # Nobody knows where that middleware leads, so that whoever names a client is refused at once.
        is_surprise = build is not behind_a_middleware or caller is NO_CLIENT
        assert [record.levelname for record in caplog.records].count("ERROR") == is_surprise


@pytest.mark.parametrize("app", applications())
@pytest.mark.parametrize("build", SURPRISES, ids=lambda build: build.__name__)
async def test_an_unexpected_endpoint_counts_as_not_annotated_but_for_its_own_annotation(
    app: AppClass, build: Any
) -> None:
    ran = Recorder()
    for annotate in (no, optional):
        answer = await call(build(app, annotate(ran.endpoint("served"))), "/x", headers=basic(None))
        assert answer.body == b"served"
    answer = await call(build(app, ran.endpoint("served")), "/x", headers=basic(None))
    assert answer.body == b"served"


class Wavering(Route):
    """A route that matches when it is asked for the second time."""

    asked = 0

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        self.asked += 1
        return super().matches(scope) if self.asked % 2 == 0 else (Match.NONE, {})


@pytest.mark.parametrize("app", applications())
@pytest.mark.parametrize("others", [0, 20], ids=["few", "many"])
async def test_a_route_exchanged_for_one_that_changes_its_mind_serves_nobody_it_should_refuse(
    app: AppClass, others: int
) -> None:
    ran = Recorder()
    first, *further = (Route(f"/other/{number}", no(ran.endpoint("other"))) for number in range(others + 1))
    application = app(routes=[first, *further, Route("/x", no(ran.endpoint("free")))])
    place = application.routes.index(first)  # FastAPI puts routes of its own in front
    asked = judged(application)
    assert (await call(asked, "/x")).status == 200
    application.routes[place] = Wavering("/x", yes(ran.endpoint("closed")))
    assert (await call(asked, "/x")).status == 401
    assert ran.ran == ["free"]


def put_on_the_object(route: Any, matches: Any) -> None:
    route.matches = partial(matches, route)


def put_on_its_class(route: Any, matches: Any) -> None:
    type(route).matches = matches


@pytest.mark.parametrize("app", applications())
@pytest.mark.parametrize("others", [0, 20], ids=["few", "many"])
@pytest.mark.parametrize("is_known", [False, True])
@pytest.mark.parametrize("put", [put_on_the_object, put_on_its_class])
@pytest.mark.parametrize("is_steady", [True, False], ids=["steady", "wavering"])
async def test_a_route_given_its_own_matches_serves_nobody_it_should_refuse(
    app: AppClass, others: int, is_known: bool, put: Any, is_steady: bool
) -> None:
    asked = 0

    def matches(route: Any, scope: Scope) -> tuple[Match, Scope]:
        nonlocal asked
        asked += 1
        hit = is_steady or asked % 2 == 0
        return (Match.FULL, {"endpoint": route.endpoint, "path_params": {}}) if hit else (Match.NONE, {})

    ran = Recorder()
    closed = type("Own", (Route,), {})("/closed", yes(ran.endpoint("closed")))
    further = [Route(f"/other/{number}", no(ran.endpoint("other"))) for number in range(others)]
    application = judged(app(routes=[closed, *further, Route("/x", no(ran.endpoint("free")))]))
    for _ in range(1 + is_known):
        assert (await call(application, "/x")).status == 200
    ran.ran.clear()
    put(closed, matches)
    assert (await call(application, "/x")).status == 401
    assert ran.ran == []
