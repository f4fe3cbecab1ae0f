"""Whatever way an application is put together, the nearest annotation rules, and the rest stays as it was."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Host, Match, Mount, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from allowlist_middleware import AllowListMiddleware, Reason, respects_allow_list
from tests.asgi import INSIDE, LISTS, OUTSIDE, Recorder, applications, basic, call

pytestmark = pytest.mark.anyio

yes = respects_allow_list(True)
optional = respects_allow_list(True, require_client=False)
no = respects_allow_list(False)

AppClass = Callable[..., Starlette]
Build = Callable[[AppClass, Recorder], ASGIApp]


class Caller(NamedTuple):
    client_id: str | None
    peer: tuple[str, int]


ON_LIST = Caller("acme", INSIDE)
WRONG_ADDRESS = Caller("acme", OUTSIDE)
NO_CLIENT = Caller(None, INSIDE)
UNKNOWN_CLIENT = Caller("stranger", INSIDE)

Outcomes = dict[Caller, tuple[Reason, int | None]]
"""The outcome for every caller: the reason, and the status of the refusal."""

_CLEARED = (Reason.ON_LIST, None)
_REFUSED: Outcomes = {
    ON_LIST: _CLEARED,
    WRONG_ADDRESS: (Reason.NOT_ON_LIST, 403),
    UNKNOWN_CLIENT: (Reason.UNKNOWN_CLIENT, 403),
}
REQUIRED: Outcomes = {**_REFUSED, NO_CLIENT: (Reason.NO_CLIENT, 401)}
RESPECTS: Outcomes = {**_REFUSED, NO_CLIENT: (Reason.NO_CLIENT, None)}
IGNORES: Outcomes = {**dict.fromkeys(REQUIRED, (Reason.LIST_IGNORED, None)), ON_LIST: _CLEARED}
NOTHING: Outcomes = {**dict.fromkeys(REQUIRED, (Reason.NO_OPERATION, None)), ON_LIST: _CLEARED}
UNANNOTATED = RESPECTS


class Row(NamedTuple):
    """A request, the rule of the operation it is for, the endpoint that runs if it passes, and the status then."""

    method: str
    path: str
    rule: Outcomes
    ran: str | None
    status: int
    more: dict[str, Any]


def at(request: str, rule: Outcomes, ran: str | None = None, *, status: int | None = None, **more: Any) -> Row:
    method, _, path = request.partition(" ")
    return Row(method, path, rule, ran, status or (404 if ran is None else 200), more)


async def judge(app: ASGIApp, ran: Recorder, row: Row, caller: Caller) -> None:
    """Make the call of a row and compare all that can be seen of it with what the table says."""
    more = {**row.more, "headers": [*row.more.get("headers", ()), *basic(caller.client_id)]}
    ran.ran.clear()
    answer = await call(app, row.path, row.method, client=caller.peer, body=b"{}", **more)
    reason, refusal = row.rule[caller]
    assert answer.status == (refusal or row.status), answer
    assert answer.exception is None
    assert ran.ran == ([] if refusal or row.ran is None else [row.ran])
    assert answer.decision.reason is reason
    assert answer.decision.allowed is (refusal is None)
    if refusal:
        assert answer.reads == 0
        assert answer.headers["cache-control"] == "no-store"
        assert answer.body == b"" if row.method == "HEAD" else answer.json["code"] == refusal


def judged(app: Starlette, **options: Any) -> ASGIApp:
    app.add_middleware(AllowListMiddleware, allow_lists=LISTS, **options)
    return app


# --- Starlette's routing ----------------------------------------------------------------------------------------------


def parameters(app: AppClass, ran: Recorder) -> ASGIApp:
    return judged(
        app(
            routes=[
                Route("/entity/{id:int}", yes(ran.endpoint("int"))),
                Route("/entity/{id}", no(ran.endpoint("str"))),
                Route("/price/{amount:float}", yes(ran.endpoint("float"))),
                Route("/item/{item:uuid}", yes(ran.endpoint("uuid"))),
                Route("/file/{path:path}", yes(ran.endpoint("path"))),
                Route("/a.b/{x}-{y}", optional(ran.endpoint("two"))),
            ]
        )
    )


def literal_first(app: AppClass, ran: Recorder) -> ASGIApp:
    return judged(
        app(routes=[Route("/entity/me", no(ran.endpoint("me"))), Route("/entity/{id}", yes(ran.endpoint("id")))])
    )


def parameter_first(app: AppClass, ran: Recorder) -> ASGIApp:
    return judged(
        app(routes=[Route("/entity/{id}", yes(ran.endpoint("id"))), Route("/entity/me", no(ran.endpoint("me")))])
    )


def methods(app: AppClass, ran: Recorder) -> ASGIApp:
    """One path with several methods, by several routes."""
    return judged(
        app(
            routes=[
                Route("/entity", no(ran.endpoint("get"))),
                Route("/entity", yes(ran.endpoint("post")), methods=["POST", "PUT"]),
                Route("/entity", optional(ran.endpoint("options")), methods=["OPTIONS"]),
                Route("/any", yes(ran.endpoint("any")), methods=[]),
                Route("/odd", yes(ran.endpoint("odd")), methods=["purge"]),
            ]
        )
    )


def slashes(app: AppClass, ran: Recorder) -> ASGIApp:
    return judged(
        app(
            routes=[
                Route("/bare", yes(ran.endpoint("bare"))),
                Route("/slash/", yes(ran.endpoint("slash"))),
                Route("/both", yes(ran.endpoint("both"))),
                Route("/both/", no(ran.endpoint("both/"))),
                Mount("/mount", routes=[Route("/", yes(ran.endpoint("mount"))), Route("/x/", yes(ran.endpoint("x")))]),
            ]
        )
    )


def cors_inside(app: AppClass, ran: Recorder) -> ASGIApp:
    class Entity(HTTPEndpoint):
        get = yes(ran.endpoint("class"))

    inside = Middleware(CORSMiddleware, allow_origins=["https://shop.example"], allow_methods=["GET", "POST"])
    routes = [Route("/entity", yes(ran.endpoint())), Route("/class", yes(Entity))]
    return judged(app(routes=routes, middleware=[inside]))


def nested_mounts(app: AppClass, ran: Recorder) -> ASGIApp:
    """A mount within a mount, 16 deep, annotated at the outermost and half way."""
    routes: list[Any] = [Route("/free", no(ran.endpoint("free"))), Route("/leaf", ran.endpoint("leaf"))]
    for depth in range(16, 0, -1):
        mount = Mount(f"/{depth}", routes=routes)
        routes = [no(mount) if depth == 9 else yes(mount) if depth == 1 else mount]
        if depth == 8:
            routes.append(Route("/eight", ran.endpoint("eight")))
    return judged(app(routes=routes))


class Wrapper:
    """A middleware of the plain ASGI kind."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


def closure(app: ASGIApp) -> ASGIApp:
    """A middleware of the closure kind, into which nobody can look."""

    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)

    return middleware


async def dispatch(request: Request, call_next: RequestResponseEndpoint) -> Response:
    return await call_next(request)


def base_http(app: ASGIApp) -> ASGIApp:
    return BaseHTTPMiddleware(app, dispatch=dispatch)


def mounted(app: AppClass, ran: Recorder) -> ASGIApp:
    """Mounted applications and routers: bare, wrapped once, in several middlewares, and into which nobody can look."""

    def api(name: str) -> Starlette:
        routes = [
            Route("/required", yes(ran.endpoint(name))),
            Route("/free", no(ran.endpoint(name))),
            Route("/plain", ran.endpoint(name)),
        ]
        return app(routes=routes)

    async def opaque(scope: Scope, receive: Receive, send: Send) -> None:
        ran.ran.append("opaque")
        await PlainTextResponse("opaque")(scope, receive, send)

    stacked = api("stacked")
    stacked.add_middleware(Wrapper)
    stacked.add_middleware(BaseHTTPMiddleware, dispatch=dispatch)
    return judged(
        app(
            routes=[
                Mount("/bare", api("bare")),
                Mount("/wrapped", Wrapper(api("wrapped"))),
                Mount("/thrice", base_http(Wrapper(base_http(api("thrice"))))),
                Mount("/middleware", api("middleware"), middleware=[Middleware(Wrapper), Middleware(base_http)]),
                Mount("/stacked", stacked),
                Mount("/router", Router(routes=[Route("/free", no(ran.endpoint("router")))])),
                Mount("/closure", closure(api("closure"))),
                no(Mount("/closure-free", closure(api("closure-free")))),
                Mount("/opaque", opaque),
                Mount("/opaque-free", no(functools.partial(opaque))),
                yes(Mount("/opaque-required", functools.partial(opaque))),
                no(Mount("/group", yes(api("group")))),
                yes(Mount("/outer", api("outer"))),
            ]
        )
    )


def hosts(app: AppClass, ran: Recorder) -> ASGIApp:
    return judged(
        app(
            routes=[
                Host("admin.example", Router(routes=[Route("/entity", yes(ran.endpoint("admin")))])),
                no(Host("{name}.tenants.example", Router(routes=[Route("/entity", ran.endpoint("tenant"))]))),
                Mount("/h", routes=[no(Host("inner.example", Router(routes=[Route("/x", ran.endpoint("inner"))])))]),
                Route("/entity", optional(ran.endpoint("others"))),
            ]
        )
    )


def host(value: str) -> dict[str, Any]:
    return {"headers": [("host", value)]}


def class_endpoints(app: AppClass, ran: Recorder) -> ASGIApp:
    def method(name: str) -> Any:
        async def method(self: HTTPEndpoint, request: Request) -> Response:
            ran.ran.append(name)
            return PlainTextResponse(name)

        return method

    @yes
    class OnClass(HTTPEndpoint):
        get = method("get")
        post = no(method("post"))

    class OnMethods(HTTPEndpoint):
        get = no(method("get"))
        post = yes(method("post"))
        put = method("put")

    class Overriding(OnMethods):
        get = method("overriding get")
        post = no(method("overriding post"))
        head = yes(method("head"))

    @yes
    class Subclass(OnMethods):
        delete = method("delete")

    class Inherits(OnClass):
        pass

    class Methods(HTTPEndpoint):
        get = functools.partialmethod(yes(method("get")))
        post = no(method("post"))

    return judged(
        app(
            routes=[
                Route("/class", OnClass),
                Route("/methods", OnMethods),
                no(Route("/route", OnMethods)),
                Route("/overriding", Overriding),
                Route("/subclass", Subclass),
                Route("/inherits", Inherits),
                Mount("/mounted", OnMethods),
                Route("/get-only", OnMethods, methods=["GET"]),
                Route("/partial-method", no(Methods)),
                # Whatever stands between may read the method from anywhere: the strictest of the methods counts.
                no(Route("/partial", functools.partial(OnMethods))),
                no(Route("/middleware", OnMethods, middleware=[Middleware(Wrapper)])),
                no(Mount("/wrapped", Wrapper(OnMethods))),
                no(Mount("/default", Router(default=OnMethods))),
            ]
        )
    )


def callables(app: AppClass, ran: Recorder) -> ASGIApp:
    """Partials, wrappers made with `functools.wraps`, sync functions, methods and objects as endpoints."""

    def wrap(function: Any) -> Any:
        @functools.wraps(function)
        async def wrapper(request: Request) -> Any:
            return await function(request)

        return wrapper

    def sync(request: Request) -> Response:
        ran.ran.append("sync")
        return PlainTextResponse("sync")

    async def with_name(request: Request, name: str) -> Response:
        ran.ran.append(name)
        return PlainTextResponse(name)

    class Views:
        @yes
        async def method(self, request: Request) -> Response:
            return await with_name(request, "method")

    @yes
    class Application:
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            ran.ran.append("object")
            await PlainTextResponse("object")(scope, receive, send)

    return judged(
        app(
            routes=[
                Route("/wrapped", wrap(yes(ran.endpoint("wrapped")))),
                Route("/wrapper", yes(wrap(ran.endpoint("wrapper")))),
                Route("/sync", yes(sync)),
                Route("/partial", functools.partial(yes(functools.partial(with_name, name="inner")), name="partial")),
                Route("/partial-of", functools.partial(no(with_name), name="partial-of")),
                Route("/method", Views().method),
                Route("/object", Application()),
            ]
        )
    )


def groups(app: AppClass, ran: Recorder) -> ASGIApp:
    """An application that respects the list, with exceptions at every level below."""
    inner = no(
        Router(
            routes=[
                Route("/router", ran.endpoint("router")),
                yes(Route("/route", ran.endpoint("route"))),
                yes(Route("/endpoint", no(ran.endpoint("endpoint")))),
                yes(Mount("/mount", routes=[Route("/x", ran.endpoint("mount"))])),
            ]
        )
    )
    application = yes(app(routes=[Route("/app", ran.endpoint("app")), Mount("/inner", inner)]))
    application.router.routes.append(optional(Mount("/sub", no(app(routes=[Route("/x", ran.endpoint("sub"))])))))
    return judged(application)


def one_endpoint_on_two_routes(app: AppClass, ran: Recorder) -> ASGIApp:
    endpoint = ran.endpoint()
    return judged(app(routes=[no(Route("/free", endpoint)), yes(Route("/required", endpoint)), Route("/x", endpoint)]))


def one_router_mounted_twice(app: AppClass, ran: Recorder) -> ASGIApp:
    shared = Router(routes=[Route("/x", ran.endpoint())])
    return judged(app(routes=[no(Mount("/free", shared)), yes(Mount("/required", shared))]))


def a_router_inside_itself(app: AppClass, ran: Recorder) -> ASGIApp:
    shared = Router(routes=[Route("/x", ran.endpoint())])
    shared.routes.append(no(Mount("/again", shared)))
    return judged(app(routes=[yes(Mount("/r", shared))]))


def hostile_paths(app: AppClass, ran: Recorder) -> ASGIApp:
    exact = Route("/entity", yes(ran.endpoint("entity")))
    loose = Route("/loose", yes(ran.endpoint("loose")))
    loose.path_regex = re.compile(loose.path_regex.pattern, re.IGNORECASE)
    return judged(
        app(
            routes=[
                exact,
                loose,
                Route("/dollar$", yes(ran.endpoint("dollar"))),
                Route("/päth/{x}", yes(ran.endpoint("unicode"))),
                Mount("/m", routes=[Route("/x", yes(ran.endpoint("mounted")))]),
                Mount("/everything", routes=[Route("/{path:path}", yes(ran.endpoint("everything")))]),
            ]
        )
    )


def root_mount(app: AppClass, ran: Recorder) -> ASGIApp:
    return judged(
        app(
            routes=[
                Route("/first", no(ran.endpoint("first"))),
                yes(Mount("", routes=[Route("/x", ran.endpoint("x"))])),
                Route("/shadowed", no(ran.endpoint("shadowed"))),
            ]
        )
    )


def default_applications(app: AppClass, ran: Recorder) -> ASGIApp:
    """A router's own `default` answers what no route matches: an opaque application, or one more router."""

    async def opaque(scope: Scope, receive: Receive, send: Send) -> None:
        ran.ran.append("opaque")
        await PlainTextResponse("opaque")(scope, receive, send)

    class OwnNotFound(Router):
        async def not_found(self, scope: Scope, receive: Receive, send: Send) -> None:
            ran.ran.append("not_found")
            await PlainTextResponse("not_found")(scope, receive, send)

    further = Router(routes=[Route("/free", no(ran.endpoint("free"))), Route("/required", yes(ran.endpoint("yes")))])
    return judged(
        app(
            routes=[
                Mount("/opaque", Router(default=opaque, routes=[Route("/x/", yes(ran.endpoint("x")))])),
                no(Mount("/free", Router(default=opaque))),
                Mount("/annotated", Router(default=no(functools.partial(opaque)))),
                Mount("/further", Router(default=further)),
                Mount("/own", OwnNotFound(routes=[Route("/x", no(ran.endpoint("x")))])),
            ]
        )
    )


class Everything(Route):
    """A route with its own `matches`, which looks at no path."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if "x-everything" in Request(scope).headers:
            return Match.FULL, {"endpoint": self.endpoint}
        return super().matches(scope)


class AlwaysPartial(Route):
    """A route that gives way to others, but serves the call where there is none."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child_scope = super().matches(scope)
        return (Match.PARTIAL if match is Match.FULL else match), child_scope


class OwnMethods(Route):
    """A route that matches any method, and leaves it to `handle` to refuse some."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child_scope = super().matches(scope)
        return (Match.FULL if match is Match.PARTIAL else match), child_scope


class OwnHandle(Route):
    """A route that serves the methods it does not match."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


def own_matches(app: AppClass, ran: Recorder) -> ASGIApp:
    return judged(
        app(
            routes=[
                Route("/first", no(ran.endpoint("first"))),
                Everything("/header", yes(ran.endpoint("everything"))),
                AlwaysPartial("/partial", yes(ran.endpoint("partial"))),
                OwnMethods("/methods", yes(ran.endpoint("methods"))),
                OwnHandle("/handle", yes(ran.endpoint("handle"))),
                *(Route(f"/filler/{number}", no(ran.endpoint("filler"))) for number in range(8)),
                Route("/last", no(ran.endpoint("last"))),
            ]
        )
    )


def root_path(app: AppClass, ran: Recorder) -> ASGIApp:
    return judged(
        app(
            routes=[
                Route("/entity", yes(ran.endpoint("entity"))),
                Route("/api/entity", no(ran.endpoint("api/entity"))),
                Mount("/api", routes=[Route("/x", yes(ran.endpoint("x")))]),
            ]
        )
    )


def inside_base_http(app: AppClass, ran: Recorder) -> ASGIApp:
    routes = [
        Route("/required", yes(ran.endpoint("required"))),
        Route("/free", no(ran.endpoint("free"))),
        Mount("/closure", closure(Router(routes=[Route("/x", ran.endpoint("x"))]))),
    ]
    return judged(app(routes=routes, middleware=[Middleware(base_http), Middleware(closure), Middleware(Wrapper)]))


ROUTING: dict[Build, list[Row]] = {
    parameters: [
        at("GET /entity/7", REQUIRED, "int"),
        at("GET /entity/07", REQUIRED, "int"),
        at("GET /entity/-7", IGNORES, "str"),
        at("GET /entity/", NOTHING),
        at("GET /price/1.5", REQUIRED, "float"),
        at("GET /item/8c2b2a9e-0f0f-4d43-8f6e-3b8a9b0c1d2e", REQUIRED, "uuid"),
        at("GET /item/none", NOTHING),
        at("GET /file/", REQUIRED, "path"),
        at("GET /file/a/b/../c", REQUIRED, "path"),
        at("GET /a.b/1-2", RESPECTS, "two"),
        at("GET /aXb/1-2", NOTHING),
    ],
    literal_first: [at("GET /entity/me", IGNORES, "me"), at("GET /entity/you", REQUIRED, "id")],
    parameter_first: [at("GET /entity/me", REQUIRED, "id"), at("GET /entity/you", REQUIRED, "id")],
    methods: [
        at("GET /entity", IGNORES, "get"),
        at("HEAD /entity", IGNORES, "get"),
        at("POST /entity", REQUIRED, "post"),
        at("PUT /entity", REQUIRED, "post"),
        at("OPTIONS /entity", RESPECTS, "options"),
        at("DELETE /entity", NOTHING, status=405),
        at("post /entity", NOTHING, status=405),
        at("HEAD /any", REQUIRED, "any"),
        at("anything /any", REQUIRED, "any"),
        at("PURGE /odd", REQUIRED, "odd"),
        at("purge /odd", NOTHING, status=405),
    ],
    slashes: [
        at("GET /bare/", NOTHING, status=307),
        at("POST /bare/", NOTHING, status=307),
        at("GET /slash", NOTHING, status=307),
        at("GET /both", REQUIRED, "both"),
        at("GET /both/", IGNORES, "both/"),
        at("GET /mount", NOTHING, status=307),
        at("GET /mount/", REQUIRED, "mount"),
        at("GET /mount/x", NOTHING, status=307),
        at("GET /missing/", NOTHING),
        at("GET /", NOTHING),
    ],
    cors_inside: [
        at(
            "OPTIONS /entity",
            NOTHING,
            status=200,
            headers=[("origin", "https://shop.example"), ("access-control-request-method", "GET")],
        ),
        at("OPTIONS /entity", NOTHING, status=405),
        # A class endpoint is an operation for every method, and a preflight is not exempt.
        at("OPTIONS /class", REQUIRED, status=405),
        at("GET /entity", REQUIRED, "endpoint", headers=[("origin", "https://shop.example")]),
    ],
    nested_mounts: [
        at("GET /" + "/".join(map(str, range(1, 17))) + "/leaf", IGNORES, "leaf"),
        at("GET /" + "/".join(map(str, range(1, 17))) + "/free", IGNORES, "free"),
        at("GET /1/2/3/4/5/6/7/eight", REQUIRED, "eight"),
        at("GET /" + "/".join(map(str, range(1, 17))) + "/none", NOTHING),
        at("GET /1/2/3", NOTHING, status=307),
    ],
    mounted: [
        at("GET /bare/required", REQUIRED, "bare"),
        at("GET /bare/free", IGNORES, "bare"),
        at("GET /bare/plain", UNANNOTATED, "bare"),
        at("POST /bare/free", NOTHING, status=405),
        at("GET /bare/none", NOTHING),
        at("GET /bare/free/", NOTHING, status=307),
        at("GET /wrapped/required", REQUIRED, "wrapped"),
        at("GET /wrapped/free", IGNORES, "wrapped"),
        at("POST /wrapped/free", NOTHING, status=405),
        at("GET /thrice/required", REQUIRED, "thrice"),
        at("GET /thrice/free", IGNORES, "thrice"),
        at("GET /thrice/none", NOTHING),
        at("GET /middleware/required", REQUIRED, "middleware"),
        at("GET /middleware/free", IGNORES, "middleware"),
        at("GET /middleware/plain", UNANNOTATED, "middleware"),
        at("GET /stacked/required", REQUIRED, "stacked"),
        at("GET /stacked/free", IGNORES, "stacked"),
        at("GET /stacked/none", NOTHING),
        at("GET /router/free", IGNORES, "router"),
        # Nobody can look behind a closure, so what it holds counts as not annotated.
        at("GET /closure/plain", UNANNOTATED, "closure"),
        at("GET /closure-free/plain", IGNORES, "closure-free"),
        at("GET /opaque/x", UNANNOTATED, "opaque"),
        at("PURGE /opaque", NOTHING, status=307),
        at("GET /opaque-free/x", IGNORES, "opaque"),
        at("GET /opaque-required/x", REQUIRED, "opaque"),
        at("GET /group/plain", REQUIRED, "group"),
        at("GET /group/free", IGNORES, "group"),
        at("GET /outer/plain", REQUIRED, "outer"),
    ],
    hosts: [
        at("GET /entity", REQUIRED, "admin", **host("admin.example")),
        at("GET /entity", REQUIRED, "admin", **host("admin.example:8443")),
        at("GET /none", NOTHING, **host("admin.example")),
        at("GET /entity", IGNORES, "tenant", **host("a.tenants.example")),
        at("GET /entity", IGNORES, "tenant", **host("a.b.tenants.example")),
        at("GET /entity", RESPECTS, "others", **host("admin.example.")),
        at("GET /entity", RESPECTS, "others", **host("admin.example/entity")),
        at("GET /entity", RESPECTS, "others", **host("")),
        at("GET /h/x", IGNORES, "inner", **host("inner.example")),
        at("GET /h/x", NOTHING, **host("admin.example:1")),
    ],
    class_endpoints: [
        at("GET /class", REQUIRED, "get"),
        at("HEAD /class", REQUIRED, "get"),
        at("POST /class", IGNORES, "post"),
        at("DELETE /class", REQUIRED, status=405),
        at("GET /methods", IGNORES, "get"),
        at("HEAD /methods", IGNORES, "get"),
        at("POST /methods", REQUIRED, "post"),
        at("PUT /methods", UNANNOTATED, "put"),
        at("DELETE /methods", UNANNOTATED, status=405),
        at("POST /route", REQUIRED, "post"),
        at("PUT /route", IGNORES, "put"),
        at("GET /overriding", IGNORES, "overriding get"),
        at("POST /overriding", IGNORES, "overriding post"),
        at("HEAD /overriding", REQUIRED, "head"),
        at("GET /subclass", IGNORES, "get"),
        at("PUT /subclass", REQUIRED, "put"),
        at("DELETE /subclass", REQUIRED, "delete"),
        at("GET /inherits", REQUIRED, "get"),
        at("POST /inherits", IGNORES, "post"),
        at("GET /mounted/x", IGNORES, "get"),
        at("POST /mounted/x", REQUIRED, "post"),
        at("GET /get-only", IGNORES, "get"),
        at("POST /get-only", NOTHING, status=405),
        at("GET /partial-method", REQUIRED, "get"),
        at("POST /partial-method", IGNORES, "post"),
        at("GET /partial", REQUIRED, "get"),
        at("POST /partial", REQUIRED, "post"),
        at("GET /middleware", REQUIRED, "get"),
        at("POST /middleware", REQUIRED, "post"),
        at("GET /wrapped/x", REQUIRED, "get"),
        at("POST /wrapped/x", REQUIRED, "post"),
        at("GET /default/x", REQUIRED, "get"),
        at("POST /default/x", REQUIRED, "post"),
    ],
    callables: [
        at("GET /wrapped", REQUIRED, "wrapped"),
        at("GET /wrapper", REQUIRED, "wrapper"),
        at("GET /sync", REQUIRED, "sync"),
        at("GET /partial", REQUIRED, "partial"),
        at("GET /partial-of", IGNORES, "partial-of"),
        at("GET /method", REQUIRED, "method"),
        at("GET /object", REQUIRED, "object"),
        at("ANY /object", REQUIRED, "object"),
    ],
    groups: [
        at("GET /app", REQUIRED, "app"),
        at("GET /inner/router", IGNORES, "router"),
        at("GET /inner/route", REQUIRED, "route"),
        at("GET /inner/endpoint", IGNORES, "endpoint"),
        at("GET /inner/mount/x", REQUIRED, "mount"),
        at("GET /sub/x", IGNORES, "sub"),
        at("GET /none", NOTHING),
        at("POST /app", NOTHING, status=405),
    ],
    one_endpoint_on_two_routes: [
        at("GET /free", IGNORES, "endpoint"),
        at("GET /required", REQUIRED, "endpoint"),
        at("GET /x", UNANNOTATED, "endpoint"),
    ],
    one_router_mounted_twice: [
        at("GET /free/x", IGNORES, "endpoint"),
        at("GET /required/x", REQUIRED, "endpoint"),
    ],
    a_router_inside_itself: [
        at("GET /r/x", REQUIRED, "endpoint"),
        at("GET /r/again/x", IGNORES, "endpoint"),
        at("GET /r/again/again/x", IGNORES, "endpoint"),
        at("GET /r/again/again/again", NOTHING, status=307),
    ],
    hostile_paths: [
        at("GET /entity\n", REQUIRED, "entity"),
        at("GET /entity\n\n", NOTHING),
        at("GET /entity\r", NOTHING),
        at("GET //entity", NOTHING),
        at("GET /Entity", NOTHING),
        at("GET /entity;x=1", NOTHING),
        at("GET /entity%2F", NOTHING),
        at("GET /x/../entity", NOTHING),
        at("GET /entity//", NOTHING, status=307),
        at("GET /entity\0", NOTHING),
        at("GET /LOOSE", REQUIRED, "loose"),
        at("GET /loo\u017fe", REQUIRED, "loose"),
        at("GET /dollar$", REQUIRED, "dollar"),
        at("GET /dollar", NOTHING),
        at("GET /päth/x", REQUIRED, "unicode"),
        at("GET /pa\u0308th/x", NOTHING),
        at("GET /m//x", NOTHING),
        at("GET /m/x\n", NOTHING),
        at("GET /m/../m/x", NOTHING),
        at("GET /everything//../x", REQUIRED, "everything"),
        at("GET ", NOTHING),
        at("GET *", NOTHING),
        at("GET entity", NOTHING),
        at("GET /" + "/" * 4096, NOTHING),
    ],
    root_mount: [
        at("GET /first", IGNORES, "first"),
        at("GET /x", REQUIRED, "x"),
        at("GET /shadowed", NOTHING),
        at("GET /", NOTHING),
    ],
    default_applications: [
        at("GET /opaque/none", UNANNOTATED, "opaque"),
        at("GET /opaque/x/", REQUIRED, "x"),
        at("GET /opaque/x", NOTHING, status=307),
        at("GET /free/x", IGNORES, "opaque"),
        at("GET /annotated/x", IGNORES, "opaque"),
        at("GET /further/free", IGNORES, "free"),
        at("GET /further/required", REQUIRED, "yes"),
        at("GET /further/none", NOTHING),
        at("GET /own/x", IGNORES, "x"),
        at("GET /own/y", UNANNOTATED, "not_found"),
    ],
    own_matches: [
        at("GET /first", IGNORES, "first"),
        at("GET /header", REQUIRED, "everything"),
        at("GET /last", IGNORES, "last"),
        at("GET /last", REQUIRED, "everything", headers=[("x-everything", "1")]),
        at("GET /none", REQUIRED, "everything", headers=[("x-everything", "1")]),
        at("GET /partial", REQUIRED, "partial"),
        at("POST /partial", NOTHING, status=405),
        at("GET /methods", REQUIRED, "methods"),
        at("POST /methods", NOTHING, status=405),
        at("GET /handle", REQUIRED, "handle"),
        at("POST /handle", REQUIRED, "handle"),
    ],
    root_path: [
        at("GET /entity", REQUIRED, "entity"),
        at("GET /api/entity", REQUIRED, "entity", root_path="/api"),
        at("GET /api/entity", IGNORES, "api/entity"),
        at("GET /entity", REQUIRED, "entity", root_path="/api"),
        at("GET /api/api/entity", IGNORES, "api/entity", root_path="/api"),
        at("GET /api/x", NOTHING, root_path="/api"),
        at("GET /api/api/x", REQUIRED, "x", root_path="/api"),
        at("GET /apix/entity", NOTHING, root_path="/api"),
    ],
    inside_base_http: [
        at("GET /required", REQUIRED, "required"),
        at("GET /free", IGNORES, "free"),
        at("POST /free", NOTHING, status=405),
        at("GET /none", NOTHING),
        at("GET /free/", NOTHING, status=307),
        at("GET /closure/x", UNANNOTATED, "x"),
    ],
}


def rows(table: dict[Build, list[Row]]) -> list[Any]:
    return [
        pytest.param(build, row, id=f"{build.__name__}-{row.method} {row.path[:80]!r}"[:120])
        for build, found in table.items()
        for row in found
    ]


@pytest.mark.parametrize("app", applications())
@pytest.mark.parametrize(("build", "row"), rows(ROUTING))
async def test_the_nearest_annotation_rules(app: AppClass, build: Build, row: Row) -> None:
    ran = Recorder()
    application = build(app, ran)
    for caller in row.rule:
        await judge(application, ran, row, caller)


@pytest.mark.parametrize("method", ["PURGE", "purge", "Purge", "DISPATCH", "__INIT__", "SCOPE", "GET", "HEAD", "get"])
async def test_no_method_of_a_class_endpoint_runs_that_respects_the_list(method: str) -> None:
    """Releases of Starlette before 1.1 call whatever has the name of the method, in lower case."""
    ran = Recorder()

    class Views(HTTPEndpoint):
        get = no(ran.method("get"))
        purge = yes(ran.method("purge"))

    class Dispatching(Views):
        async def dispatch(self) -> None:
            await (await self.purge(Request(self.scope)))(self.scope, self.receive, self.send)

    class Dynamic(HTTPEndpoint):
        hidden = yes(ran.method("hidden"))

        def __getattr__(self, name: str) -> Any:
            return self.hidden

    for unprotected in (Dispatching, Dynamic):
        assert (await call(Starlette(routes=[Route("/x", unprotected)]), "/x")).status == 200
    assert ran.ran == ["purge", "hidden"]
    for endpoint, names in ((Views, ["get"]), (Dispatching, []), (Dynamic, [])):
        ran.ran.clear()
        answer = await call(judged(Starlette(routes=[Route("/x", no(endpoint))])), "/x", method)
        assert set(ran.ran) <= set(names)
        if method in ("GET", "HEAD"):
            assert (ran.ran, answer.status) == ((names, 200) if names else ([], 401))


# --- Where the middleware stands --------------------------------------------------------------------------------------


def allow_list(app: ASGIApp) -> AllowListMiddleware:
    return AllowListMiddleware(app, allow_lists=LISTS)


OURS = Middleware(allow_list)


def three(ran: Recorder, name: str = "") -> list[Route]:
    """Return routes with the three answers of an annotation."""
    return [
        Route("/required", yes(ran.endpoint(f"{name}required"))),
        Route("/free", no(ran.endpoint(f"{name}free"))),
        Route("/plain", ran.endpoint(f"{name}plain")),
    ]


def of_three(prefix: str = "", plain: Outcomes = UNANNOTATED, name: str = "") -> list[Row]:
    return [
        at(f"GET {prefix}/required", REQUIRED, f"{name}required"),
        at(f"GET {prefix}/free", IGNORES, f"{name}free"),
        at(f"HEAD {prefix}/free", IGNORES, f"{name}free"),
        at(f"GET {prefix}/plain", plain, f"{name}plain"),
        at(f"GET {prefix}/none", NOTHING),
        at(f"GET {prefix}/free/", NOTHING, status=307),
        at(f"POST {prefix}/free", NOTHING, status=405),
    ]


def given_to_the_application(app: AppClass, ran: Recorder) -> ASGIApp:
    return app(routes=three(ran), middleware=[OURS, Middleware(Wrapper)])


def around_an_application(app: AppClass, ran: Recorder) -> ASGIApp:
    return allow_list(yes(app(routes=three(ran))))


def around_a_wrapped_application(app: AppClass, ran: Recorder) -> ASGIApp:
    return allow_list(Wrapper(base_http(yes(app(routes=three(ran))))))


def around_a_closure(app: AppClass, ran: Recorder) -> ASGIApp:
    return allow_list(closure(app(routes=three(ran))))


def around_a_router(app: AppClass, ran: Recorder) -> ASGIApp:
    return allow_list(yes(Router(routes=three(ran))))


def around_the_router_of_an_application(app: AppClass, ran: Recorder) -> ASGIApp:
    application = yes(app(routes=three(ran)))
    application.middleware_stack = ExceptionMiddleware(allow_list(application.router))
    return application


def around_a_mounted_application(app: AppClass, ran: Recorder) -> ASGIApp:
    return yes(app(routes=[Mount("/api", allow_list(app(routes=three(ran)))), Route("/free", ran.endpoint("outside"))]))


def in_a_router(app: AppClass, ran: Recorder) -> ASGIApp:
    return yes(Router(routes=three(ran), middleware=[Middleware(Wrapper), OURS, Middleware(Wrapper)]))


def in_the_innermost_of_a_router(app: AppClass, ran: Recorder) -> ASGIApp:
    return yes(Router(routes=three(ran), middleware=[OURS]))


def in_a_mounted_router(app: AppClass, ran: Recorder) -> ASGIApp:
    return app(routes=[yes(Mount("/api", Router(routes=three(ran), middleware=[OURS])))])


def in_a_mount(app: AppClass, ran: Recorder) -> ASGIApp:
    return app(routes=[yes(Mount("/api", routes=three(ran), middleware=[Middleware(Wrapper), OURS]))])


def in_a_mount_of_an_annotated_application(app: AppClass, ran: Recorder) -> ASGIApp:
    inner = Mount("/inner", routes=three(ran), middleware=[OURS])
    return yes(app(routes=[Mount("/outer", routes=[inner])]))


def in_a_router_within_an_annotated_application(app: AppClass, ran: Recorder) -> ASGIApp:
    return yes(app(routes=[Mount("/outer", routes=[Mount("/inner", Router(routes=three(ran), middleware=[OURS]))])]))


def in_an_annotated_router_of_a_router(app: AppClass, ran: Recorder) -> ASGIApp:
    return yes(Router(routes=[Mount("/inner", routes=three(ran), middleware=[OURS])]))


def in_routes(app: AppClass, ran: Recorder) -> ASGIApp:
    class Reads(HTTPEndpoint):
        @no
        async def get(self, request: Request) -> Response:
            ran.ran.append("get")
            return PlainTextResponse("get")

        @yes
        async def post(self, request: Request) -> Response:
            ran.ran.append("post")
            return PlainTextResponse("post")

    routes = [
        Route("/required", yes(ran.endpoint("required")), middleware=[OURS]),
        Route("/free", no(ran.endpoint("free")), middleware=[Middleware(Wrapper), OURS, Middleware(Wrapper)]),
        no(Route("/route", ran.endpoint("route"), middleware=[OURS])),
        Route("/plain", ran.endpoint("plain"), middleware=[OURS]),
        Mount("/mount", routes=[Route("/plain", ran.endpoint("plain"), middleware=[OURS])]),
        no(Mount("/free-mount", routes=[Route("/plain", ran.endpoint("plain"), middleware=[OURS])])),
        Route("/class", Reads, middleware=[OURS]),
        Route("/open", ran.endpoint("open")),
    ]
    return yes(app(routes=routes))


def twice(app: AppClass, ran: Recorder) -> ASGIApp:
    """Twice in one stack, and once more in a mount."""
    application = app(routes=[*three(ran), Mount("/mount", routes=three(ran), middleware=[OURS])])
    application.add_middleware(allow_list)
    application.add_middleware(Wrapper)
    application.add_middleware(allow_list)
    return application


def in_a_router_mounted_twice(app: AppClass, ran: Recorder) -> ASGIApp:
    """One middleware stands in two mounts, and cannot tell which of them a call came through."""
    shared = Router(routes=three(ran), middleware=[OURS])
    return app(routes=[no(Mount("/a", shared)), yes(Mount("/b", shared))])


class Switch:
    """A middleware that hands some calls to another application."""

    def __init__(self, app: ASGIApp, *, other: ASGIApp) -> None:
        self.app = app
        self.other = other

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/other"):
            await self.other(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def around_an_application_beside_another(app: AppClass, ran: Recorder) -> ASGIApp:
    """A middleware of one application holds another, which is wrapped: calls for it are judged by its own routes."""
    other = yes(app(routes=[Mount("/other", routes=three(ran))]))
    application = app(routes=[Route("/free", ran.endpoint("outside")), Route("/other/free", yes(ran.endpoint()))])
    application.add_middleware(Switch, other=allow_list(other))
    return application


def deep_in_a_mount(app: AppClass, ran: Recorder) -> ASGIApp:
    """More wrappers than are looked through one by one."""
    inner: ASGIApp = allow_list(Router(routes=three(ran)))
    for _ in range(70):
        inner = Wrapper(inner)
    return yes(app(routes=[Mount("/deep", inner)]))


def before_a_wrapped_router(app: AppClass, ran: Recorder) -> ASGIApp:
    """What stands in the place of an application's router is no router, and nobody can look into it."""
    application: Any = app(routes=three(ran))
    application.router = Wrapper(application.router)
    return judged(application)


class OwnCall(Starlette):
    """An application with its own way in, which nobody can foresee."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await super().__call__(scope, receive, send)


def around_an_application_with_its_own_call(app: AppClass, ran: Recorder) -> ASGIApp:
    return allow_list(OwnCall(routes=three(ran)))


class OwnRouter(Router):
    """A router with its own matching, into which nobody can look."""

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        await super().app(scope, receive, send)


def around_a_router_of_its_own_kind(app: AppClass, ran: Recorder) -> ASGIApp:
    return allow_list(no(OwnRouter(routes=[Route("/plain", ran.endpoint("plain"))])))


def before_a_router_of_its_own_kind(app: AppClass, ran: Recorder) -> ASGIApp:
    application = yes(app())
    application.router = OwnRouter(routes=[Route("/plain", ran.endpoint("plain"))])
    return judged(application)


def as_closure_around_ours(app: AppClass, ran: Recorder) -> ASGIApp:
    """What stands outside of the middleware is not its business."""
    return closure(allow_list(yes(app(routes=three(ran)))))


def around_one_route(app: AppClass, ran: Recorder) -> ASGIApp:
    """A route may be used alone as an application."""
    return allow_list(Route("/required", yes(ran.endpoint("required"))))


def mounted_route(app: AppClass, ran: Recorder) -> ASGIApp:
    return judged(app(routes=[no(Mount("/m", Route("/required", yes(ran.endpoint("required")))))]))


PLACES: dict[Build, list[Row]] = {
    given_to_the_application: of_three(),
    around_an_application: of_three(plain=REQUIRED),
    around_a_wrapped_application: of_three(plain=REQUIRED),
    around_a_closure: [
        at("GET /plain", UNANNOTATED, "plain"),
        # Whoever is let through to the router behind gets its 404.
        at("GET /none", {**UNANNOTATED, NO_CLIENT: (Reason.NO_OPERATION, None)}),
    ],
    around_a_router: of_three(plain=REQUIRED),
    around_the_router_of_an_application: of_three(plain=REQUIRED),
    around_a_mounted_application: of_three("/api", REQUIRED),
    in_a_router: of_three(plain=REQUIRED),
    in_the_innermost_of_a_router: of_three(plain=REQUIRED),
    in_a_mounted_router: of_three("/api", REQUIRED),
    in_a_mount: of_three("/api", REQUIRED),
    in_a_mount_of_an_annotated_application: of_three("/outer/inner", REQUIRED),
    in_a_router_within_an_annotated_application: of_three("/outer/inner", REQUIRED),
    in_an_annotated_router_of_a_router: of_three("/inner", REQUIRED),
    in_routes: [
        at("GET /required", REQUIRED, "required"),
        at("GET /free", IGNORES, "free"),
        at("GET /route", IGNORES, "route"),
        at("GET /plain", REQUIRED, "plain"),
        at("GET /mount/plain", REQUIRED, "plain"),
        at("GET /free-mount/plain", IGNORES, "plain"),
        at("GET /class", IGNORES, "get"),
        at("HEAD /class", IGNORES, "get"),
        at("POST /class", REQUIRED, "post"),
    ],
    twice: [*of_three(), *of_three("/mount")],
    in_a_router_mounted_twice: [
        at("GET /a/required", REQUIRED, "required"),
        at("GET /a/free", IGNORES, "free"),
        at("GET /a/plain", REQUIRED, "plain"),  # the stricter of the two answers
        at("GET /b/plain", REQUIRED, "plain"),
    ],
    around_an_application_beside_another: of_three("/other", REQUIRED),
    deep_in_a_mount: of_three("/deep", REQUIRED),
    before_a_wrapped_router: [
        at("GET /required", REQUIRED, "required"),
        at("GET /plain", UNANNOTATED, "plain"),
    ],
    around_an_application_with_its_own_call: [
        at("GET /required", REQUIRED, "required"),
        at("GET /plain", UNANNOTATED, "plain"),
    ],
    around_a_router_of_its_own_kind: [at("GET /plain", IGNORES, "plain")],
    before_a_router_of_its_own_kind: [at("GET /plain", REQUIRED, "plain")],
    as_closure_around_ours: of_three(plain=REQUIRED),
    around_one_route: [at("GET /required", REQUIRED, "required"), at("POST /required", NOTHING, status=405)],
    mounted_route: [at("GET /m/required", REQUIRED, "required"), at("GET /m/none", NOTHING)],
}


@pytest.mark.parametrize("app", applications())
async def test_what_does_not_reach_the_middleware_is_not_judged(app: AppClass) -> None:
    ran = Recorder()
    answer = await call(around_an_application_beside_another(app, ran), "/free")
    assert (answer.status, answer.decision, ran.ran) == (200, None, ["outside"])


@pytest.mark.parametrize("app", applications())
@pytest.mark.parametrize(("build", "row"), rows(PLACES))
async def test_the_nearest_annotation_rules_wherever_the_middleware_stands(
    app: AppClass, build: Build, row: Row
) -> None:
    ran = Recorder()
    application = build(app, ran)
    for caller in row.rule:
        await judge(application, ran, row, caller)


# --- Changes after the first request ----------------------------------------------------------------------------------

Change = Callable[[], Any]


class Changing(NamedTuple):
    """An application, and what is then done to it."""

    app: ASGIApp
    change: Change


def fillers(ran: Recorder) -> list[Route]:
    """Return routes enough for an index to be worth while."""
    return [Route(f"/filler/{number}", no(ran.endpoint("filler"))) for number in range(16)]


def a_route_added(app: AppClass, ran: Recorder) -> Changing:
    application = app(routes=fillers(ran))
    return Changing(judged(application), lambda: application.add_route("/x", yes(ran.endpoint("new"))))


def a_route_put_first(app: AppClass, ran: Recorder) -> Changing:
    application = app(routes=[*fillers(ran), Route("/x", no(ran.endpoint("old")))])
    return Changing(judged(application), lambda: application.routes.insert(0, Route("/{x}", yes(ran.endpoint("new")))))


def replace(application: Starlette, old: Route, new: Route) -> None:
    application.routes[[route is old for route in application.routes].index(True)] = new


def a_route_replaced_by_an_equal_one(app: AppClass, ran: Recorder) -> Changing:
    endpoint = ran.endpoint("old")
    old, new = no(Route("/x", endpoint)), yes(Route("/x", endpoint))
    application = app(routes=[*fillers(ran), old])
    return Changing(judged(application), lambda: replace(application, old, new))


def a_route_replaced_by_another(app: AppClass, ran: Recorder) -> Changing:
    old, new = Route("/y", no(ran.endpoint("y"))), Route("/x", yes(ran.endpoint("new")))
    application = app(routes=[*fillers(ran), old, Route("/{x}", no(ran.endpoint("old")))])
    return Changing(judged(application), lambda: replace(application, old, new))


def a_route_removed(app: AppClass, ran: Recorder) -> Changing:
    old = Route("/x", no(ran.endpoint("old")))
    application = app(routes=[*fillers(ran), old, Route("/{x}", yes(ran.endpoint("new")))])
    return Changing(judged(application), lambda: application.routes.remove(old))


def the_last_of_few_routes_removed(app: AppClass, ran: Recorder) -> Changing:
    route = Route("/x", no(ran.endpoint("old")))
    application = app(routes=[route])
    application.router.routes[:] = [route]
    return Changing(judged(application), application.router.routes.clear)


def all_routes_replaced(app: AppClass, ran: Recorder) -> Changing:
    application = app(routes=[*fillers(ran), Route("/x", no(ran.endpoint("old")))])
    new = [*fillers(ran), Route("/x", yes(ran.endpoint("new")))]
    return Changing(judged(application), lambda: setattr(application.router, "routes", new))


def routes_turned_round(app: AppClass, ran: Recorder) -> Changing:
    routes = [*fillers(ran), Route("/x", no(ran.endpoint("old"))), Route("/{x}", yes(ran.endpoint("new")))]
    application = app(routes=routes)
    return Changing(judged(application), application.routes.reverse)


def a_few_routes_turned_round(app: AppClass, ran: Recorder) -> Changing:
    router = Router(routes=[Route("/x", no(ran.endpoint("old"))), Route("/{x}", yes(ran.endpoint("new")))])
    return Changing(judged(app(routes=[Mount("", router)])), router.routes.reverse)


def a_method_added(app: AppClass, ran: Recorder) -> Changing:
    first = Route("/x", yes(ran.endpoint("new")), methods=["POST"])
    application = app(routes=[*fillers(ran), first, Route("/x", no(ran.endpoint("old")))])
    return Changing(judged(application), lambda: first.methods.add("GET"))  # type: ignore[union-attr]


def a_route_made_case_insensitive(app: AppClass, ran: Recorder) -> Changing:
    first = Route("/X", yes(ran.endpoint("new")))
    application = app(routes=[*fillers(ran), first, Route("/x", no(ran.endpoint("old")))])
    return Changing(judged(application), lambda: setattr(first, "path_regex", re.compile("^/X$", re.IGNORECASE)))


def a_mount_made_case_insensitive(app: AppClass, ran: Recorder) -> Changing:
    first = Mount("/X", routes=[Route("/", yes(ran.endpoint("new")))])
    application = app(routes=[*fillers(ran), first, Route("/x/", no(ran.endpoint("old")))])
    regex = re.compile(first.path_regex.pattern, re.IGNORECASE)
    return Changing(judged(application), lambda: setattr(first, "path_regex", regex))


def a_route_given_its_own_matches(app: AppClass, ran: Recorder) -> Changing:
    first = Route("/y", yes(ran.endpoint("new")))
    router = Router(routes=[first, Route("/x", no(ran.endpoint("old")))])
    answer = (Match.FULL, {"endpoint": first.endpoint})
    return Changing(judged(app(routes=[Mount("", router)])), lambda: setattr(first, "matches", lambda scope: answer))


def an_endpoint_annotated(app: AppClass, ran: Recorder) -> Changing:
    endpoint = ran.endpoint("old")
    return Changing(judged(no(app(routes=[Route("/x", endpoint)]))), lambda: yes(endpoint))


def a_route_annotated(app: AppClass, ran: Recorder) -> Changing:
    route = Route("/x", ran.endpoint("old"))
    return Changing(judged(no(app(routes=[route]))), lambda: yes(route))


def a_mount_annotated(app: AppClass, ran: Recorder) -> Changing:
    mount = Mount("/x", routes=[Route("/", ran.endpoint("old"))])
    return Changing(judged(no(app(routes=[mount]))), lambda: yes(mount))


def a_method_of_a_class_annotated(app: AppClass, ran: Recorder) -> Changing:
    class Views(HTTPEndpoint):
        async def get(self, request: Request) -> Response:
            ran.ran.append("old")
            return PlainTextResponse("old")

    return Changing(judged(app(routes=[Route("/x", no(Views))])), lambda: yes(Views.get))


def a_route_added_to_a_mounted_application(app: AppClass, ran: Recorder) -> Changing:
    inner = app(routes=[Route("/{x}", no(ran.endpoint("old")))])
    application = app(routes=[*fillers(ran), Mount("/x", Wrapper(inner))])
    return Changing(judged(application), lambda: inner.routes.insert(0, Route("/y", yes(ran.endpoint("new")))))


def a_route_replaced_in_a_mounted_router(app: AppClass, ran: Recorder) -> Changing:
    inner = Router(routes=[*fillers(ran), Route("/y", no(ran.endpoint("old")))])
    application = app(routes=[Mount("/x", inner)])
    return Changing(judged(application), lambda: inner.routes.__setitem__(-1, Route("/y", yes(ran.endpoint("new")))))


def a_mounted_application_exchanged(app: AppClass, ran: Recorder) -> Changing:
    mount = Mount("/x", app(routes=[Route("/y", no(ran.endpoint("old")))]))
    new = app(routes=[Route("/y", yes(ran.endpoint("new")))])
    return Changing(judged(app(routes=[mount])), lambda: setattr(mount, "app", new))


def a_mounted_application_wrapped(app: AppClass, ran: Recorder) -> Changing:
    mount = Mount("/x", app(routes=[Route("/y", no(ran.endpoint("old")))]))
    hidden = closure(app(routes=[Route("/y", ran.endpoint("new"))]))
    return Changing(judged(app(routes=[mount])), lambda: setattr(mount, "app", hidden))


def the_router_exchanged(app: AppClass, ran: Recorder) -> Changing:
    """An application that has served keeps its first router."""
    application = yes(app(routes=[Route("/x", ran.endpoint("old"))]))
    new = Router(routes=[Route("/x", no(ran.endpoint("new")))])
    return Changing(judged(application), lambda: setattr(application, "router", new))


def an_exception_handler_wrapped(app: AppClass, ran: Recorder) -> Changing:
    """Instrumentation may put itself into a stack that has been built."""
    application = app(routes=[Route("/x", no(ran.endpoint("old"))), Route("/y", yes(ran.endpoint("new")))])
    ours = allow_list(ExceptionMiddleware(application.router))
    application.middleware_stack = ours

    async def rewriting(scope: Scope, receive: Receive, send: Send) -> None:
        await application.router({**scope, "path": "/y"}, receive, send)

    return Changing(application, lambda: setattr(ours.app, "app", rewriting))


def a_router_given_its_own_call(app: AppClass, ran: Recorder) -> Changing:
    application = app(routes=[Route("/x", no(ran.endpoint("old"))), Route("/y", yes(ran.endpoint("new")))])

    async def call(router: Router, scope: Scope, receive: Receive, send: Send) -> None:
        await Router.__call__(router, {**scope, "path": "/y"}, receive, send)

    own = type("OwnCall", (type(application.router),), {"__call__": call})
    return Changing(judged(application), lambda: setattr(application.router, "__class__", own))


def the_endpoint_of_a_route_exchanged(app: AppClass, ran: Recorder) -> Changing:
    route, new = Route("/x", no(ran.endpoint("old"))), Route("/x", yes(ran.endpoint("new")))

    def exchange() -> None:
        route.endpoint, route.app = new.endpoint, new.app

    return Changing(judged(app(routes=[route])), exchange)


def the_endpoint_of_a_route_said_to_be_another(app: AppClass, ran: Recorder) -> Changing:
    route = Route("/x", no(ran.endpoint("old")))
    return Changing(judged(app(routes=[route])), lambda: setattr(route, "endpoint", yes(ran.endpoint("new"))))


def an_application_put_into_a_route(app: AppClass, ran: Recorder) -> Changing:
    route, inside = Route("/x", no(ran.endpoint("old"))), Router(routes=[Route("/x", yes(ran.endpoint("new")))])
    return Changing(judged(app(routes=[route])), lambda: setattr(route, "app", inside))


NEW = at("GET /x", REQUIRED, "new")
OLD = at("GET /x", IGNORES, "old")
CHANGES: dict[Callable[[AppClass, Recorder], Changing], tuple[Row, Row]] = {
    a_route_added: (at("GET /x", NOTHING), NEW),
    a_route_put_first: (OLD, NEW),
    a_route_replaced_by_an_equal_one: (OLD, at("GET /x", REQUIRED, "old")),
    a_route_replaced_by_another: (OLD, NEW),
    a_route_removed: (OLD, NEW),
    the_last_of_few_routes_removed: (OLD, at("GET /x", NOTHING)),
    all_routes_replaced: (OLD, NEW),
    routes_turned_round: (OLD, NEW),
    a_few_routes_turned_round: (OLD, NEW),
    a_method_added: (OLD, NEW),
    a_route_made_case_insensitive: (OLD, NEW),
    a_mount_made_case_insensitive: (at("GET /x/", IGNORES, "old"), at("GET /x/", REQUIRED, "new")),
    a_route_given_its_own_matches: (OLD, NEW),
    an_endpoint_annotated: (OLD, at("GET /x", REQUIRED, "old")),
    a_route_annotated: (OLD, at("GET /x", REQUIRED, "old")),
    a_mount_annotated: (at("GET /x/", IGNORES, "old"), at("GET /x/", REQUIRED, "old")),
    a_method_of_a_class_annotated: (OLD, at("GET /x", REQUIRED, "old")),
    a_route_added_to_a_mounted_application: (at("GET /x/y", IGNORES, "old"), at("GET /x/y", REQUIRED, "new")),
    a_route_replaced_in_a_mounted_router: (at("GET /x/y", IGNORES, "old"), at("GET /x/y", REQUIRED, "new")),
    a_mounted_application_exchanged: (at("GET /x/y", IGNORES, "old"), at("GET /x/y", REQUIRED, "new")),
    a_mounted_application_wrapped: (at("GET /x/y", IGNORES, "old"), at("GET /x/y", UNANNOTATED, "new")),
    the_router_exchanged: (at("GET /x", REQUIRED, "old"), at("GET /x", REQUIRED, "old")),
    an_exception_handler_wrapped: (OLD, at("GET /x", REQUIRED, "new")),
    a_router_given_its_own_call: (OLD, at("GET /x", REQUIRED, "new")),
    the_endpoint_of_a_route_exchanged: (OLD, NEW),
    the_endpoint_of_a_route_said_to_be_another: (OLD, at("GET /x", REQUIRED, "old")),
    an_application_put_into_a_route: (OLD, NEW),
}


@pytest.mark.parametrize("app", applications())
@pytest.mark.parametrize("build", CHANGES, ids=lambda build: build.__name__)
async def test_a_change_counts_from_the_next_call_on(
    app: AppClass, build: Callable[[AppClass, Recorder], Changing]
) -> None:
    ran = Recorder()
    changing = build(app, ran)
    before, after = CHANGES[build]
    for caller in before.rule:
        await judge(changing.app, ran, before, caller)
    changing.change()
    for caller in (*after.rule, *after.rule):
        await judge(changing.app, ran, after, caller)


@pytest.mark.parametrize("app", applications())
async def test_a_mount_of_what_a_route_runs_names_no_endpoint_and_is_judged_each_time(app: AppClass) -> None:
    ran = Recorder()
    mount = Mount("/x", Route("/", ran.endpoint("x")).app)
    application = judged(app(routes=[mount]))
    for row in (at("GET /x/", UNANNOTATED, "x"), at("GET /x/y", UNANNOTATED, "x")):
        for caller in row.rule:
            await judge(application, ran, row, caller)
    no(mount)
    for caller in IGNORES:
        await judge(application, ran, at("GET /x/", IGNORES, "x"), caller)


@pytest.mark.parametrize("app", applications())
async def test_calls_to_one_route_are_judged_each_by_its_own(app: AppClass) -> None:
    ran = Recorder()
    routes = [Route("/x", yes(ran.endpoint("x")), methods=["GET"]), Route("/y", no(ran.endpoint("y")), methods=["GET"])]
    application = judged(app(routes=routes))
    rows = [
        at("POST /x", NOTHING, status=405),
        at("GET /x", REQUIRED, "x"),
        at("POST /y", NOTHING, status=405),
        at("GET /y", IGNORES, "y"),
    ]
    for row in (*rows, *reversed(rows), *rows):
        for caller in row.rule:
            await judge(application, ran, row, caller)


@pytest.mark.parametrize("app", applications())
async def test_a_router_shared_by_applications_is_judged_in_each_as_there(app: AppClass) -> None:
    ran = Recorder()
    closed, free = yes(app()), no(app())
    closed.add_route("/x", ran.endpoint("x"))
    free.router = closed.router
    rows = [(judged(closed), at("GET /x", REQUIRED, "x")), (judged(free), at("GET /x", IGNORES, "x"))]
    for application, row in rows * 3:
        for caller in row.rule:
            await judge(application, ran, row, caller)


@pytest.mark.parametrize("app", applications())
async def test_an_operation_is_named_as_it_is_now(app: AppClass) -> None:
    ran = Recorder()
    route = Route("/x/{id}", no(ran.endpoint("x")))
    application = judged(app(routes=[route]))
    assert (await call(application, "/x/1")).decision.operation == "/x/{id}"
    route.path_format = "/x/{number}"
    assert (await call(application, "/x/1")).decision.operation == "/x/{number}"


@pytest.mark.parametrize("app", applications())
async def test_a_route_given_its_own_handle_does_not_answer_for_what_that_enters(app: AppClass) -> None:
    ran = Recorder()
    route, inside = Route("/x", no(ran.endpoint("old"))), Router(routes=[Route("/x", yes(ran.endpoint("new")))])
    application = judged(app(routes=[route]))
    assert (await call(application, "/x")).status == 200
    vars(route)["handle"] = inside
    answer = await call(application, "/x")
    assert (answer.status, answer.json["error"]) == (401, "invalid_client_credentials")


async def test_a_middleware_reached_alone_first_then_counts_what_encloses_it() -> None:
    ours = allow_list(PlainTextResponse("alone"))
    router = yes(Router(routes=[Mount("/x", ours)]))
    for _ in range(2):
        assert (await call(ours, "/x/")).status == 200
        assert (await call(router, "/x/")).status == 401


@pytest.mark.parametrize("app", applications())
@pytest.mark.parametrize("line", ["GET /x", "POST /x", "GET /x/", "GET /none"])
async def test_a_call_with_nothing_in_its_way_leaves_the_router_as_it_was(app: AppClass, line: str) -> None:
    method, path = line.split()
    left_alone = []
    for inside in ([], [Middleware(Wrapper)]):
        application = app(routes=[Route("/x", no(Recorder().endpoint()))], middleware=[OURS, *inside])
        before = application.router.middleware_stack
        for _ in range(2):
            await call(application, path, method)
        left_alone.append(application.router.middleware_stack is before)
    assert left_alone == [True, False]
