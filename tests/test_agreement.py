"""The operation judged is the one the framework then runs: its own routers are asked, on trees of routes at random."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, event, given, note, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint, WebSocketEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Host, Match, Mount, Route, Router, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from allowlist_middleware import AllowListMiddleware
from allowlist_middleware.operations import Operation
from allowlist_middleware.routing import find_operation
from tests.asgi import LISTS, Answer, Recorder, applications, basic, http_scope, send_to, websocket_scope
from tests.test_second_judgement import HANDS, Hand, PlainClass
from tests.test_topologies import NO_CLIENT, ON_LIST, WRONG_ADDRESS, Caller, no, optional, yes

FASTAPI: Any = next((app for app in applications() if app is not Starlette), None)
APIRouter: Any = type(FASTAPI().router) if FASTAPI else None

pytestmark = pytest.mark.anyio

EXAMPLES = int(os.environ.get("ALLOW_LIST_EXAMPLES", "100"))
law = settings(deadline=None, max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])

# --- Trees ------------------------------------------------------------------------------------------------------------


class Node(NamedTuple):
    """One entry among the routes, and what is below it."""

    kind: str
    path: str
    methods: tuple[str, ...] | None = None
    children: tuple[Node, ...] = ()
    default: str = ""
    redirects: bool = True
    fillers: int = 0
    """How many routes that no call reaches stand before the children, so that there are enough for an index."""


PATHS = ["/", "/a", "/a/", "/a/b", "/a/b/", "/b", "/ab", "/{x}", "/{x}/", "/{x:int}", "/a/{x}", "/a/{x:path}"]
PATHS += ["/{x:path}", "/a{x}", "/{x}/b", "/{x:float}/{y}", "/a.b", "/a$", "/é", "/1/{x}", "/1/b"]
PREFIXES = ["", "/", "/a", "/b", "/a/b", "/{p}", "/{p:int}", "/a{p}", "/1"]
HOSTS = ["a.example", "{h}.example", "{h}"]
METHODS = [None, ("GET",), ("POST",), ("GET", "POST"), ("PURGE",), ()]
FILLERS, FILLER = 9, Recorder().endpoint("filler")
DEFAULTS = ["", "", "", "opaque", "router"]
LEAVES = ["function", "function", "function", "partial", "wrapped", "class", "object", "websocket", "websocket class"]
LEAVES += ["own matches", "gives way", "takes all methods", "any case", "own handle"]
MOUNTS = ["mount", "mount router", "mount application", "mount wrapped", "mount route", "endpoint"]
MOUNTS += ["mount api", "include", "include", "include with a prefix of its own"] if FASTAPI else []

leaves = st.tuples(st.sampled_from(LEAVES), st.sampled_from(PATHS), st.sampled_from(METHODS)).map(
    lambda leaf: Node(*leaf)
)


def holders(kinds: list[str], paths: list[str], below: st.SearchStrategy[Node], most: int) -> st.SearchStrategy[Node]:
    children = st.lists(below, max_size=most).map(tuple)
    drawn = st.tuples(
        *(st.sampled_from(kinds), st.sampled_from(paths), children),
        *(st.sampled_from(DEFAULTS), st.booleans(), st.sampled_from([0, FILLERS])),
    )
    return drawn.map(lambda holder: Node(holder[0], holder[1], None, holder[2], holder[3], holder[4], holder[5]))


nodes: st.SearchStrategy[Node] = leaves
for _ in range(3):
    nodes = leaves | holders(MOUNTS, PREFIXES, nodes, 4) | holders(["host"], HOSTS, nodes, 3)
TOPS = ["router", "application", *([] if FASTAPI is None else ["api router", "api"])]
trees = holders(TOPS, [""], nodes, 8)


class Around:
    """What encloses some routes, nearest first; known when it has been made, after the routes."""

    def __init__(self, outer: Around | None = None) -> None:
        self._outer = outer
        self.groups: list[Any] = []

    def all(self) -> list[Any]:
        return [*self.groups, *(self._outer.all() if self._outer else [])]


class Wrapper:
    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


class OwnMatches(Route):
    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        matches = scope["type"] == "http" and len(scope["path"]) % 3 == 0
        return (Match.FULL, {"endpoint": self.endpoint}) if matches else (Match.NONE, {})


class GivesWay(Route):
    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child_scope = super().matches(scope)
        return (Match.PARTIAL if match is Match.FULL else match), child_scope


class TakesAllMethods(Route):
    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child_scope = super().matches(scope)
        return (Match.FULL if match is Match.PARTIAL else match), child_scope


class OwnHandle(Route):
    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


OWN_KINDS = {
    "own matches": OwnMatches,
    "gives way": GivesWay,
    "takes all methods": TakesAllMethods,
    "own handle": OwnHandle,
}


class Served(NamedTuple):
    """An endpoint, or an opaque application, and all that may be annotated about it, nearest first."""

    endpoint: Any
    places: Callable[[], list[Any]]


class Tree:
    """An application made from nodes, which remembers what of it runs."""

    def __init__(self, top: Node) -> None:
        self.ran: list[Served] = []
        self._parameters = 0
        self.routers: list[tuple[Any, Around, bool]] = []
        around = Around()
        if top.kind == "application":
            self.app: Any = Starlette()
        elif top.kind == "api":
            self.app = FASTAPI(openapi_url=None)
        else:
            self.app = Router() if top.kind == "router" else APIRouter()
        router = getattr(self.app, "router", self.app)
        around.groups = [router] if router is self.app else [router, self.app]
        self._fill(router, top, around, in_api=top.kind == "api")

    def _fill(self, router: Any, node: Node, around: Around, *, in_api: bool) -> Any:
        self.routers.append((router, around, in_api))
        router.redirect_slashes = node.redirects
        if node.default == "opaque":
            router.default = self._opaque(around)
        elif node.default == "router":
            inner = Around(around)
            router.default = self._fill(Router(), Node("router", "", children=node.children[:1]), inner, in_api=in_api)
            inner.groups = [router.default]
        router.routes += [Route(f"/filler/{number}", FILLER) for number in range(node.fillers)]
        for child in node.children:
            self.add(router, child, around, in_api=in_api)
        return router

    def _path(self, node: Node) -> str:
        """Return the path of a node, its parameters named as no other."""
        self._parameters += 1
        return re.sub(r"{(\w+)", rf"{{\g<1>{self._parameters}", node.path)

    def add(self, router: Any, node: Node, around: Around, *, in_api: bool) -> None:
        """Add a node to the routes of a router."""
        if node.kind.startswith("include"):
            self._include(router, node, around, in_api=in_api)
        elif in_api and node.kind == "function" and node.methods and hasattr(router, "add_api_route"):
            serve, served = self._endpoint(around)
            router.add_api_route(self._path(node), serve, methods=list(node.methods))
            served.append(router.routes[-1])
        elif in_api and node.kind == "websocket" and hasattr(router, "add_api_route"):
            serve, served = self._websocket(around)
            router.add_api_websocket_route(self._path(node), serve)
            served.append(router.routes[-1])
        else:
            router.routes.append(self.make(node, around, in_api=in_api))

    def _include(self, router: Any, node: Node, around: Around, *, in_api: bool) -> None:
        if not hasattr(router, "include_router"):
            self.add(router, node._replace(kind="mount"), around, in_api=in_api)
            return
        own = node.kind != "include"
        inner = Around(around)
        included = APIRouter(prefix="/b" if own else "")
        inner.groups = [included]
        self._fill(included, node, inner, in_api=in_api)
        prefix = self._path(node).rstrip("/") or "/a"  # FastAPI refuses some inclusions without any
        router.include_router(included, prefix=prefix)

    def make(self, node: Node, around: Around, *, in_api: bool) -> BaseRoute:
        """Return the route of a node, with all that is below it."""
        if node.kind == "host" or node.kind == "endpoint" or node.kind.startswith("mount"):
            return self._holder(node, around, in_api=in_api)
        if node.kind.startswith("websocket"):
            return self._websocket_route(node, around)
        serve, served = self._endpoint(around)
        endpoint: Any = serve
        if node.kind == "partial":
            endpoint = functools.partial(serve)
        elif node.kind == "wrapped":
            endpoint = wrap(serve)
        elif node.kind == "class":
            # An operation for every method, also one it lacks.
            methods = dict.fromkeys(("get", "post", "method_not_allowed"), method(serve))
            endpoint = type("Views", (HTTPEndpoint,), methods)
        elif node.kind == "object":
            endpoint = Asgi(serve)
        route = OWN_KINDS.get(node.kind, Route)(self._path(node), endpoint, methods=node.methods)
        if node.kind == "any case":
            route.path_regex = re.compile(route.path_regex.pattern, re.IGNORECASE)
        served[:] = [endpoint, route]
        return route

    def _websocket_route(self, node: Node, around: Around) -> BaseRoute:
        serve, served = self._websocket(around)
        endpoint: Any = serve
        if node.kind == "websocket class":
            endpoint = type("Socket", (WebSocketEndpoint,), {"on_connect": method(serve), "on_disconnect": nothing})
        route = WebSocketRoute(self._path(node), endpoint)
        served[:] = [endpoint, route]
        return route

    def _holder(self, node: Node, around: Around, *, in_api: bool) -> BaseRoute:
        inner = Around(around)
        if node.kind == "mount route":
            return self._mounted_route(node, inner)
        if node.kind == "mount application":
            app: Any = Starlette()
        else:
            app = FASTAPI(openapi_url=None) if node.kind == "mount api" else Router()
        router = getattr(app, "router", app)
        self._fill(router, node, inner, in_api=in_api or node.kind == "mount api")
        groups = [router] if router is app else [router, app]
        if node.kind == "mount wrapped":
            app = Wrapper(app)
            groups.append(app)
        route: BaseRoute
        if node.kind == "host":
            route = Host(self._path(node), app)
        elif node.kind == "endpoint":
            route = Route(self._path(node).rstrip("/") + "/{rest:path}", app)
        else:
            route = Mount(self._path(node), app)
        inner.groups = [*groups, route]
        return route

    def _mounted_route(self, node: Node, inner: Around) -> BaseRoute:
        serve, served = self._endpoint(inner)
        served.append(Route("/{x_alone}", serve, methods=node.methods))
        mount = Mount(self._path(node), served[-1])
        inner.groups = [mount]
        return mount

    def _endpoint(self, around: Around) -> tuple[Any, list[Any]]:
        async def endpoint(request: Request) -> Response:
            self.ran.append(Served(places[0], lambda: [*places, *around.all()]))
            return PlainTextResponse("served")

        places: list[Any] = [endpoint]
        return endpoint, places

    def _websocket(self, around: Around) -> tuple[Any, list[Any]]:
        async def endpoint(websocket: WebSocket) -> None:
            self.ran.append(Served(places[0], lambda: [*places, *around.all()]))
            await websocket.accept()

        places: list[Any] = [endpoint]
        return endpoint, places

    def _opaque(self, around: Around) -> ASGIApp:
        async def opaque(scope: Scope, receive: Receive, send: Send) -> None:
            self.ran.append(Served(None, lambda: [opaque, *around.all()]))
            if scope["type"] == "http":
                await PlainTextResponse("opaque")(scope, receive, send)

        return opaque


class Asgi:
    def __init__(self, serve: Callable[[Request], Awaitable[Response]]) -> None:
        self._serve = serve

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._serve(Request(scope) if scope["type"] == "http" else Request({**scope, "type": "http"}))
        await response(scope, receive, send)


def wrap(serve: Any) -> Any:
    @functools.wraps(serve)
    async def wrapper(request: Request) -> Any:
        return await serve(request)

    return wrapper


def method(serve: Any) -> Any:
    async def method(self: Any, connection: Any) -> Any:
        return await serve(connection)

    return method


async def nothing(self: Any, websocket: WebSocket, close_code: int) -> None:
    """Be told of the end."""


# --- Calls ------------------------------------------------------------------------------------------------------------

SEGMENTS = ["a", "b", "ab", "1", "1.5", "x", "", "A", "é", "a.b", "a$", "..", "%2F", ";"]
junk = st.one_of(
    st.builds(lambda parts: "/" + "/".join(parts), st.lists(st.sampled_from(SEGMENTS), max_size=5)),
    st.sampled_from(["", "*", "a", "/" * 9]),
    st.text(max_size=4),
)


def find_paths(node: Node, prefix: str = "") -> list[str]:
    """Return the paths of a node and of all below it, with something in the place of every parameter."""
    own = (
        "" if node.kind == "host" else {"include with a prefix of its own": node.path + "/b"}.get(node.kind, node.path)
    )
    path = prefix.rstrip("/") + re.sub(r"{\w+:?(\w*)}", lambda parameter: FILLED[parameter[1]], own)
    return [path, *(found for child in node.children for found in find_paths(child, path))]


FILLED = {"": "b", "int": "1", "float": "1.5", "path": "a/b"}
ENDS = ["", "", "", "", "/", "\n", "//", "x", "/a"]


def calls_of(top: Node) -> st.SearchStrategy[Scope]:
    paths = st.builds(str.__add__, st.sampled_from(find_paths(top)), st.sampled_from(ENDS))
    return st.builds(
        make_scope,
        st.sampled_from([http_scope, http_scope, http_scope, websocket_scope]),
        st.one_of(paths, paths, paths, paths.map(str.upper), junk),
        st.sampled_from(["GET", "GET", "GET", "POST", "HEAD", "OPTIONS", "PURGE", "get", "get ", ""]),
        st.sampled_from(["a.example", "A.example:80", "b.example", "x", "", "a.example/a", "a.example\x00"]),
        st.sampled_from(["", "", "", "", "/a", "/a/", "/", "/1"]),
    )


def make_scope(kind: Callable[..., Scope], path: str, method: str, host: str, root_path: str) -> Scope:
    method_of_http = {"method": method} if kind is http_scope else {}
    return kind(root_path + path, headers=[("host", host)], root_path=root_path, **method_of_http)


trees_and_calls = trees.flatmap(lambda top: st.tuples(st.just(top), st.lists(calls_of(top), min_size=1, max_size=12)))


async def run(tree: Tree, scope: Scope, app: ASGIApp | None = None) -> Answer:
    tree.ran.clear()
    http: list[Message] = [{"type": "http.request"}]
    websocket: list[Message] = [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1001}]
    return await send_to(app or tree.app, scope, http if scope["type"] == "http" else websocket)


async def check(tree: Tree, scope: Scope) -> None:
    operation = find_operation(tree.app, dict(scope), ())
    answer = await run(tree, scope)
    note(f"{scope['type']} {scope.get('method')} {scope['path']!r} {answer.status} {answer.exception!r}")
    event("served" if tree.ran else "not served")
    compare(tree, operation, answer)


def compare(tree: Tree, operation: Operation, answer: Answer) -> None:
    # That of a mount too, where its application answers that there is nothing.
    assert answer.scope.get("endpoint") is operation.endpoint
    if tree.ran:
        check_served(tree, operation)
    else:
        check_not_served(operation, answer)


def check_served(tree: Tree, operation: Operation) -> None:
    served = tree.ran[0]
    assert operation.is_served
    assert operation.is_opaque == (served.endpoint is None)
    if served.endpoint is not None:
        assert operation.endpoint is served.endpoint
    expected = served.places()
    found = [place for place in operation.places if any(place is one for one in expected)]
    assert list(map(id, found)) == list(map(id, expected))


def check_not_served(operation: Operation, answer: Answer) -> None:
    assert not operation.is_served
    assert answer.status in (404, 405, 307, 1000) or answer.exception is not None


@law
@given(trees_and_calls)
async def test_the_operation_judged_is_the_endpoint_the_framework_runs(drawn: tuple[Node, list[Scope]]) -> None:
    top, scopes = drawn
    note(repr(top))
    tree = Tree(top)
    for scope in scopes:
        await check(tree, scope)


BELOW = (Node("function", "/b", ("GET",)), Node("websocket", "/b"))
EVERY_KIND = [
    *(Node(kind, "/a", methods) for kind in dict.fromkeys(LEAVES) for methods in (None, ("GET",))),
    *(
        Node(kind, "a.example" if kind == "host" else "/a", None, BELOW, default)
        for kind in dict.fromkeys([*MOUNTS, "host"])
        for default in dict.fromkeys(DEFAULTS)
    ),
]


@pytest.mark.parametrize("fillers", [0, FILLERS], ids=["few", "many"])
@pytest.mark.parametrize("kind", TOPS)
@pytest.mark.parametrize("node", EVERY_KIND, ids=lambda node: f"{node.kind} {node.methods or node.default}")
async def test_it_is_so_of_every_kind_of_route(kind: str, node: Node, fillers: int) -> None:
    """What the law below may happen to leave out."""
    tree = Tree(Node(kind, "", None, (node._replace(fillers=fillers), Node("function", "/{x}")), fillers=fillers))
    for make in (http_scope, websocket_scope):
        for path in ("/a", "/a/", "/a/b", "/b", "/a/b/b", "/a/none", "/none"):
            for method in ("GET", "POST"):
                scope = make_scope(make, path, method, "a.example", "")
                compare(tree, find_operation(tree.app, dict(scope), ()), await run(tree, scope))


CHANGES: dict[str, Callable[[list[Any], int, BaseRoute], object]] = {
    "reverse": lambda routes, at, new: routes.reverse(),
    "remove": lambda routes, at, new: routes.pop(at) if routes else None,
    "insert": lambda routes, at, new: routes.insert(at, new),
    "replace": lambda routes, at, new: routes.__setitem__(slice(at, at + 1), [new]),
    "any case": lambda routes, at, new: take_any_case(routes[at : at + 1]),
    "any method": lambda routes, at, new: [vars(route).update(methods=None) for route in routes[at : at + 1]],
}


def take_any_case(routes: list[Any]) -> None:
    for route in [route for route in routes if hasattr(route, "path_regex")]:  # an included router has none
        route.path_regex = re.compile(route.path_regex.pattern, re.IGNORECASE)


@pytest.mark.parametrize("fillers", [0, FILLERS], ids=["few", "many"])
@pytest.mark.parametrize("change", CHANGES)
async def test_it_is_so_after_each_of_the_changes(change: str, fillers: int) -> None:
    children = (Node("function", "/a", ("GET",)), Node("function", "/{x}"))
    tree = Tree(Node("router", "", None, children, fillers=fillers))
    for _ in range(2):
        for path in ("/a", "/A", "/b", "/a/b"):
            scope = make_scope(http_scope, path, "POST", "a.example", "")
            compare(tree, find_operation(tree.app, dict(scope), ()), await run(tree, scope))
        router, around, in_api = tree.routers[0]
        new = tree.make(Node("function", "/a/b"), around, in_api=in_api)
        CHANGES[change](router.routes, fillers, new)


changes = st.lists(
    st.tuples(st.integers(0, 9), st.sampled_from(list(CHANGES)), st.integers(0, FILLERS + 9), leaves),
    min_size=1,
    max_size=4,
)


@law
@given(trees_and_calls, changes)
async def test_it_is_so_after_every_change_of_the_routes(
    drawn: tuple[Node, list[Scope]], changes: list[tuple[int, str, int, Node]]
) -> None:
    top, scopes = drawn
    note(f"{top} {changes}")
    tree = Tree(top)
    for scope in scopes:
        await check(tree, dict(scope))
    for which, change, place, leaf in changes:
        router, around, in_api = tree.routers[which % len(tree.routers)]
        new = tree.make(leaf, around, in_api=in_api)
        CHANGES[change](router.routes, place % (len(router.routes) or 1), new)
        for scope in scopes:
            await check(tree, dict(scope))


RULES: dict[Any, dict[Caller, int | None]] = {
    yes: {NO_CLIENT: 401, WRONG_ADDRESS: 403, ON_LIST: None},
    optional: {NO_CLIENT: None, WRONG_ADDRESS: 403, ON_LIST: None},
    no: {NO_CLIENT: None, WRONG_ADDRESS: None, ON_LIST: None},
}


Marks = list[tuple[int, Any]]
marks = st.lists(st.tuples(st.integers(0, 99), st.sampled_from([yes, optional, no])), max_size=8)


class Marked:
    """A tree some of whose places are annotated, and what its calls get without the middleware."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.plain: list[tuple[Answer, list[Served]]] = []
        self._marks: dict[int, Any] = {}

    @classmethod
    async def make(cls, top: Node, scopes: list[Scope], marks: Marks) -> Marked:
        marked = cls(Tree(top))
        for scope in scopes:
            marked.plain.append((await run(marked.tree, dict(scope)), marked.tree.ran[:]))
        places = [place for _, ran in marked.plain for served in ran for place in served.places()]
        for which, mark in marks if places else ():
            place = places[which % len(places)]
            if id(place) not in marked._marks:
                marked._marks[id(place)] = mark
                mark(place)
        return marked

    def refusal(self, number: int, caller: Caller) -> int | None:
        """Return the status a caller is refused with by the nearest annotation."""
        _, ran = self.plain[number]
        if not ran:
            return None
        nearest = (self._marks[id(place)] for place in ran[0].places() if id(place) in self._marks)
        return RULES[next(nearest, optional)][caller]

    async def check(self, app: ASGIApp, asked: int, served: int, scope: Scope) -> None:
        """Check that every caller gets the refusal of what it asks for, that of what serves it, or what is served."""
        answer, ran = self.plain[served]
        for caller in (NO_CLIENT, WRONG_ADDRESS, ON_LIST):
            refusal = self.refusal(asked, caller) or self.refusal(served, caller)
            credentials = [(name.encode(), value.encode()) for name, value in basic(caller.client_id)]
            judged = await run(
                self.tree, {**scope, "client": caller.peer, "headers": [*scope["headers"], *credentials]}, app
            )
            note(f"{scope['type']} {scope.get('method')} {scope['path']!r} {caller} {judged.status} {refusal}")
            assert judged.status == (refusal or answer.status)
            assert len(self.tree.ran) == (0 if refusal else len(ran))
            event("refused" if refusal else "passed")


@law
@given(trees_and_calls, marks)
async def test_the_middleware_refuses_by_the_nearest_annotation_and_changes_nothing_else(
    drawn: tuple[Node, list[Scope]], marks: Marks
) -> None:
    top, scopes = drawn
    note(f"{top} {marks}")
    marked = await Marked.make(top, scopes, marks)
    app = AllowListMiddleware(marked.tree.app, allow_lists=LISTS)
    for number, scope in enumerate(scopes):
        await marked.check(app, number, number, scope)


def update(new: Scope, scope: Scope) -> None:
    scope.update(new)


@law
@given(trees_and_calls, marks, st.integers(1, 11), st.sampled_from(HANDS))
async def test_it_does_so_wherever_a_middleware_leads(
    drawn: tuple[Node, list[Scope]], marks: Marks, step: int, hand: Hand
) -> None:
    """A middleware makes every call the one that stands some steps further in the list."""
    top, scopes = drawn
    note(f"{top} {marks} {step} {hand}")
    marked = await Marked.make(top, scopes, marks)
    names = ("path", "method", "root_path", "headers")
    for number, scope in enumerate(scopes):
        further = (number + step) % len(scopes)
        target = scopes[further]
        if target["type"] == scope["type"]:
            new = {name: target[name] for name in names if name in target}
            middle = PlainClass(marked.tree.app, hand, functools.partial(update, new))
            await marked.check(AllowListMiddleware(middle, allow_lists=LISTS), number, further, scope)
