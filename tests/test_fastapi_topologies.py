"""What FastAPI adds to Starlette's routing: included routers, frontends, its own root path, and what runs first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pytest
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Host, Match, Mount, Route, Router
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from allowlist_middleware.fastapi_routers import candidates
from tests.asgi import Recorder, basic, call
from tests.test_topologies import (
    IGNORES,
    NO_CLIENT,
    NOTHING,
    OURS,
    REQUIRED,
    RESPECTS,
    UNANNOTATED,
    UNKNOWN_CLIENT,
    WRONG_ADDRESS,
    AlwaysPartial,
    Changing,
    Outcomes,
    Row,
    Wrapper,
    allow_list,
    at,
    closure,
    host,
    judge,
    judged,
    no,
    optional,
    yes,
)

fastapi = pytest.importorskip("fastapi")

from fastapi import APIRouter, Body, Depends, FastAPI  # noqa: E402
from fastapi.responses import StreamingResponse  # noqa: E402
from fastapi.routing import APIRoute  # noqa: E402

pytestmark = pytest.mark.anyio

Build = Callable[[Recorder], ASGIApp]


def three(router: Any, ran: Recorder) -> Any:
    """Add operations with the three answers of an annotation to a router or application."""
    router.get("/required")(yes(ran.endpoint("required")))
    router.get("/free")(no(ran.endpoint("free")))
    router.get("/plain")(ran.endpoint("plain"))
    return router


def of_three(prefix: str, plain: Outcomes = UNANNOTATED) -> list[Row]:
    return [
        at(f"GET {prefix}/required", REQUIRED, "required"),
        at(f"GET {prefix}/free", IGNORES, "free"),
        at(f"GET {prefix}/plain", plain, "plain"),
        at(f"GET {prefix}/none", NOTHING),
        at(f"GET {prefix}/free/", NOTHING, status=307),
        at(f"HEAD {prefix}/free", NOTHING, status=405),
    ]


def operations(ran: Recorder) -> ASGIApp:
    app = FastAPI()

    @app.get("/items/{item}")
    @yes
    async def item(item: int) -> str:
        ran.ran.append("item")
        return "item"

    @yes
    @app.post("/items/{item}")
    def sync(item: str, body: Annotated[dict[str, Any], Body()]) -> str:
        ran.ran.append("sync")
        return "sync"

    @app.api_route("/many", methods=["GET", "QUERY", "options"])
    @optional
    async def many() -> str:
        ran.ran.append("many")
        return "many"

    @app.get("/stream")
    @no
    async def stream() -> Response:
        async def body() -> Any:
            ran.ran.append("stream")
            yield b"stream"

        return StreamingResponse(body())

    return judged(app)


def included(ran: Recorder) -> ASGIApp:
    """Routers included twice, nested, with prefixes of their own and of the inclusion."""
    inner = three(APIRouter(prefix="/inner"), ran)
    inner.get("")(yes(ran.endpoint("empty")))
    middle = yes(APIRouter(prefix="/middle"))
    middle.include_router(inner, prefix="/via")
    middle.get("/plain")(ran.endpoint("middle plain"))
    other = no(APIRouter())
    other.include_router(inner, prefix="/other")
    app = FastAPI()
    app.include_router(middle, prefix="/v1")
    app.include_router(middle, prefix="/v2")
    app.include_router(other)
    app.include_router(inner)
    app.get("/{anything}/inner/plain")(yes(ran.endpoint("anything")))
    return judged(app)


def within_included(ran: Recorder) -> ASGIApp:
    """Mounts, hosts, class endpoints, and Starlette's own routes within an included router."""

    class Views(HTTPEndpoint):
        @yes
        async def post(self, request: Request) -> Response:
            ran.ran.append("post")
            return PlainTextResponse("post")

    sub = three(FastAPI(), ran)
    router = no(APIRouter())
    router.mount("/sub", sub)
    router.routes.append(yes(Mount("/wrapped", Wrapper(three(FastAPI(), ran)))))
    router.routes.append(Mount("/closure", closure(sub)))
    router.routes.append(Host("h.example", Router(routes=[yes(Route("/host", ran.endpoint("host")))])))
    router.routes.append(Route("/views", Views))
    router.routes.append(yes(Route("/route", ran.endpoint("route"))))
    router.routes.append(AlwaysPartial("/partial", yes(ran.endpoint("partial"))))
    app = FastAPI()
    app.include_router(router, prefix="/r")
    return judged(app)


def in_mounts_of_included(ran: Recorder) -> ASGIApp:
    """The middleware stands in mounts within included routers, whose annotations hold there.

    Of a `Route` within an included router FastAPI drops all middleware, so that it can stand in none.
    """
    inner, outer = APIRouter(), yes(APIRouter())
    for router in (inner, outer):
        routes = [Route("/plain", ran.endpoint("plain")), Route("/free", no(ran.endpoint("free")))]
        router.routes.append(Mount("/mount", routes=routes, middleware=[OURS]))
    outer.include_router(inner, prefix="/inner")
    app = FastAPI()
    app.include_router(outer, prefix="/r")
    return app


class Everything(APIRoute):
    """A route with its own `matches`."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] == "http" and "x-everything" in Request(scope).headers:
            return Match.FULL, {"endpoint": self.endpoint, "path_params": {}}
        return super().matches(scope)


class GivesWay(APIRoute):
    """A route that gives way to others, but serves the call where there is none."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child_scope = super().matches(scope)
        return (Match.PARTIAL if match is Match.FULL else match), child_scope


class OwnHandle(APIRoute):
    """A route that serves the methods it does not match."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await super().handle({**scope, "method": "GET"}, receive, send)


class OwnRouter(APIRouter):
    """A router with its own idea of what it matches and how it serves that."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return (Match.FULL if scope["path"].startswith("/own") else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.routes[0].handle(scope, receive, send)


def own_kinds(ran: Recorder) -> ASGIApp:
    router = APIRouter(route_class=Everything)
    router.get("/everything")(yes(ran.endpoint("everything")))
    handles = APIRouter(route_class=OwnHandle)
    handles.get("/handle")(yes(ran.endpoint("handle")))
    gives_way = APIRouter(route_class=GivesWay)
    gives_way.get("/way")(yes(ran.endpoint("way")))
    own = yes(OwnRouter())
    own.get("/x")(no(ran.endpoint("own")))
    by_instance = APIRouter()
    by_instance.get("/x")(yes(ran.endpoint("by instance")))
    vars(by_instance)["matches"] = lambda scope: (Match.FULL if scope["path"] == "/by-instance" else Match.NONE, {})
    vars(by_instance)["handle"] = by_instance.routes[0].handle
    only_matches, only_handles = APIRouter(), APIRouter()
    only_matches.get("/never")(yes(ran.endpoint("never")))
    vars(only_matches)["matches"] = lambda scope: (Match.NONE, {})
    only_handles.get("/handles")(no(ran.endpoint("never")))
    vars(only_handles)["handle"] = by_instance.routes[0].handle
    app = FastAPI()
    for each in (router, handles, gives_way, own, by_instance, only_matches, only_handles):
        app.include_router(each)
    for number in range(6):
        app.get(f"/free/{number}")(no(ran.endpoint("free")))
    return judged(app)


def root_paths(ran: Recorder) -> Starlette:
    """FastAPI puts its own `root_path` into the scope, also where it is mounted."""
    app, sub = FastAPI(), FastAPI()
    app.root_path, sub.root_path = "/api", "/elsewhere"  # what the deprecated option sets
    three(app, ran).get("/api/free")(yes(ran.endpoint("api/free")))
    app.mount("/sub", three(sub, ran))
    return app


def root_path_outside(ran: Recorder) -> ASGIApp:
    return allow_list(root_paths(ran))


def root_path_inside(ran: Recorder) -> ASGIApp:
    return judged(root_paths(ran))


def default_of_a_router(ran: Recorder) -> ASGIApp:
    async def opaque(scope: Scope, receive: Receive, send: Send) -> None:
        ran.ran.append("opaque")
        await PlainTextResponse("opaque")(scope, receive, send)

    app = FastAPI()
    app.mount("/m", three(no(APIRouter(default=opaque)), ran))
    app.router.default = opaque
    return judged(app)


def documentation(ran: Recorder) -> ASGIApp:
    return judged(three(FastAPI(), ran))


BUILDS: dict[Build, list[Row]] = {
    operations: [
        at("GET /items/7", REQUIRED, "item"),
        at("GET /items/seven", REQUIRED, status=422),
        at("POST /items/7", REQUIRED, "sync", headers=[("content-type", "application/json")]),
        at("POST /items/7", REQUIRED, status=422, headers=[("content-type", "text/plain")]),
        at("HEAD /items/7", NOTHING, status=405),
        at("QUERY /many", RESPECTS, "many"),
        at("OPTIONS /many", RESPECTS, "many"),
        at("GET /stream", IGNORES, "stream"),
    ],
    included: [
        *(
            row
            for prefix, plain in (
                ("/v1/middle/via/inner", REQUIRED),
                ("/v2/middle/via/inner", REQUIRED),
                ("/other/inner", IGNORES),
                ("/inner", UNANNOTATED),
            )
            for row in of_three(prefix, plain)
        ),
        at("GET /v1/middle/via/inner", REQUIRED, "empty"),
        at("GET /inner", REQUIRED, "empty"),
        at("GET /v2/middle/plain", REQUIRED, "middle plain"),
        at("GET /x/inner/plain", REQUIRED, "anything"),
        at("GET /other/inner/plain\n", IGNORES, "plain"),
    ],
    within_included: [
        *of_three("/r/sub", IGNORES),
        *of_three("/r/wrapped", REQUIRED),
        at("GET /r/closure/plain", IGNORES, "plain"),
        at("GET /r/host", REQUIRED, "host", **host("h.example")),
        at("GET /r/host", NOTHING),
        at("GET /host", NOTHING, **host("h.example")),
        at("POST /r/views", REQUIRED, "post"),
        at("GET /r/views", IGNORES, status=405),
        at("GET /r/route", REQUIRED, "route"),
        at("GET /r/partial", REQUIRED, "partial"),
    ],
    in_mounts_of_included: [
        at("GET /r/mount/plain", REQUIRED, "plain"),
        at("GET /r/mount/free", IGNORES, "free"),
        at("GET /r/inner/mount/plain", REQUIRED, "plain"),
        at("GET /r/inner/mount/free", IGNORES, "free"),
    ],
    own_kinds: [
        at("GET /everything", REQUIRED, "everything"),
        at("GET /free/5", IGNORES, "free"),
        at("GET /free/5", REQUIRED, "everything", headers=[("x-everything", "1")]),
        at("GET /handle", REQUIRED, "handle"),
        at("POST /handle", REQUIRED, "handle"),
        at("GET /way", REQUIRED, "way"),
        at("POST /way", NOTHING, status=405),
        at("GET /own", REQUIRED, "own"),
        at("GET /by-instance", UNANNOTATED, "by instance"),
        at("GET /never", NOTHING),
        at("GET /handles", UNANNOTATED, "by instance"),
    ],
    root_path_outside: [
        *of_three("/api"),
        *of_three(""),
        at("GET /api/free", IGNORES, "free"),
        at("GET /api/api/free", REQUIRED, "api/free"),
        at("GET /api/sub/free", NOTHING),
    ],
    root_path_inside: [
        *of_three("/api"),
        at("GET /api/api/free", REQUIRED, "api/free"),
        at("GET /api/sub/free", NOTHING),
    ],
    default_of_a_router: [
        *of_three("/m", IGNORES)[:3],
        at("GET /m/none", IGNORES, "opaque"),
        at("GET /none", UNANNOTATED, "opaque"),
        at("GET /m", NOTHING, status=307),
    ],
    documentation: [
        *of_three(""),
        at("GET /docs", UNANNOTATED, status=200),
        at("GET /openapi.json", UNANNOTATED, status=200),
        at("HEAD /docs", UNANNOTATED, status=200),
    ],
}


@pytest.mark.parametrize(
    ("build", "row"),
    [
        pytest.param(build, row, id=f"{build.__name__}-{row.method} {row.path!r}")
        for build, found in BUILDS.items()
        for row in found
    ],
)
async def test_the_nearest_annotation_rules(build: Build, row: Row) -> None:
    ran = Recorder()
    app = build(ran)
    for caller in row.rule:
        await judge(app, ran, row, caller)


class Fickle(APIRoute):
    """A route that matches from the second time on it is asked."""

    asked = 0

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        self.asked += 1
        return super().matches(scope) if self.asked > 1 else (Match.NONE, {})


@pytest.mark.parametrize("depth", [0, 1, 2])
async def test_a_route_that_changes_its_mind_serves_nobody_it_should_refuse(depth: int) -> None:
    ran = Recorder()
    router: Any = APIRouter(route_class=Fickle)
    router.get("/x")(yes(ran.endpoint("closed")))
    for _ in range(depth):
        outer = APIRouter()
        outer.include_router(router)
        router = outer
    app = FastAPI()
    if depth:
        app.include_router(router)
    else:
        app.router.routes.extend(router.routes)
    app.get("/x")(no(ran.endpoint("free")))
    answer = await call(judged(app), "/x")
    assert (answer.status, ran.ran) == (401, [])


async def test_a_route_that_stands_in_several_places_is_judged_where_it_is_met() -> None:
    ran = Recorder()
    router = no(APIRouter())
    router.get("/shared")(ran.endpoint("shared"))
    app, closed = FastAPI(), yes(APIRouter())
    closed.routes.extend(router.routes)
    app.router.routes.extend(router.routes)
    app.include_router(router, prefix="/free")
    app.include_router(closed, prefix="/closed")
    judged(app)
    rows = [
        at("GET /shared", UNANNOTATED, "shared"),
        at("GET /free/shared", IGNORES, "shared"),
        at("GET /closed/shared", REQUIRED, "shared"),
    ]
    for row in (*rows, *reversed(rows), *rows):
        for caller in row.rule:
            await judge(app, ran, row, caller)


# --- Frontends and files ----------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "index.html").write_text("<p>home</p>")
    (tmp_path / "app.js").write_text("1")
    return tmp_path


FILES = [
    at("GET /app.js", UNANNOTATED, status=200),
    at("GET /", UNANNOTATED, status=200),
    at("POST /app.js", UNANNOTATED, status=405),
    at("GET /free", IGNORES, "free"),
    at("GET /free/", NOTHING, status=307),
    at("GET /static/app.js", IGNORES, status=200),
    at("GET /static/none", IGNORES, status=404),
    at("GET /closed/app.js", REQUIRED, status=200),
]


@pytest.mark.parametrize("row", FILES, ids=lambda row: f"{row.method} {row.path}")
async def test_files_are_operations_of_what_holds_them(row: Row, files: Path) -> None:
    ran = Recorder()
    app = three(FastAPI(), ran)
    app.mount("/static", no(StaticFiles(directory=files)))
    app.mount("/closed", yes(StaticFiles(directory=files)))
    app.frontend("/", directory=files)
    judged(app)
    for caller in row.rule:
        await judge(app, ran, row, caller)


async def test_a_frontend_of_an_included_router_is_an_operation_where_the_release_serves_it(files: Path) -> None:
    ran = Recorder()
    app, nested = three(FastAPI(), ran), no(APIRouter())
    nested.frontend("/nested", directory=files)
    app.include_router(nested)
    rule = {200: UNANNOTATED, 404: NOTHING}
    found = (await call(app, "/nested/app.js")).status
    assert found in rule
    app.middleware_stack = None
    judged(app)
    row = at("GET /nested/app.js", rule[found], status=found)
    for caller in row.rule:
        await judge(app, ran, row, caller)


async def test_a_frontend_is_an_operation_of_its_application(files: Path) -> None:
    ran = Recorder()
    app = yes(three(FastAPI(), ran))
    app.frontend("/", directory=files)
    row = at("GET /app.js", REQUIRED, status=200)
    for caller in row.rule:
        await judge(judged(app) if app.middleware_stack is None else app, ran, row, caller)


async def test_what_a_frontend_may_serve_is_judged_where_its_reader_has_another_name(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = Recorder()
    app = yes(three(FastAPI(), ran))
    app.frontend("/", directory=files)
    judged(app)
    monkeypatch.delattr(APIRouter, "_match_low_priority")
    row = at("GET /app.js", REQUIRED)
    for caller in (WRONG_ADDRESS, UNKNOWN_CLIENT, NO_CLIENT):
        await judge(app, ran, row, caller)


# --- Changes after the first request ----------------------------------------------------------------------------------


def an_operation_added(ran: Recorder) -> Changing:
    app = FastAPI()
    app.get("/{anything}")(no(ran.endpoint("old")))
    return Changing(judged(app), lambda: app.get("/new")(yes(ran.endpoint("new"))))


def an_operation_added_to_an_included_router(ran: Recorder) -> Changing:
    router = APIRouter()
    for number in range(6):
        router.get(f"/filler/{number}")(no(ran.endpoint("filler")))
    app = FastAPI()
    app.include_router(router, prefix="/r")
    app.get("/r/x")(no(ran.endpoint("old")))
    return Changing(judged(app), lambda: router.get("/x")(yes(ran.endpoint("new"))))


def an_operation_added_to_a_nested_router(ran: Recorder) -> Changing:
    inner, middle, app = APIRouter(), APIRouter(), FastAPI()
    middle.include_router(inner, prefix="/inner")
    app.include_router(middle, prefix="/r")
    app.get("/r/inner/x")(no(ran.endpoint("old")))
    return Changing(judged(app), lambda: inner.get("/x")(yes(ran.endpoint("new"))))


def a_router_included(ran: Recorder) -> Changing:
    app, late = FastAPI(), yes(APIRouter())
    late.get("/x")(ran.endpoint("new"))
    router = APIRouter()
    app.include_router(router)
    app.get("/x")(no(ran.endpoint("old")))
    return Changing(judged(app), lambda: router.include_router(late))


def an_included_router_annotated(ran: Recorder) -> Changing:
    app, router = FastAPI(), APIRouter()
    router.get("/x")(ran.endpoint("old"))
    app.include_router(router)
    return Changing(judged(no(app)), lambda: yes(router))


def an_included_route_annotated(ran: Recorder) -> Changing:
    app, router = FastAPI(), APIRouter()
    router.get("/x")(ran.endpoint("old"))
    app.include_router(router)
    return Changing(judged(no(app)), lambda: yes(router.routes[0]))


def an_inclusion_removed(ran: Recorder) -> Changing:
    app, router = FastAPI(), APIRouter()
    router.get("/x")(no(ran.endpoint("old")))
    app.include_router(router)
    app.get("/x")(yes(ran.endpoint("new")))
    return Changing(judged(app), lambda: app.router.routes.pop(-2))


def a_route_put_into_an_included_router_unseen(ran: Recorder) -> Changing:
    """FastAPI itself does not see a route that is put among those of a router it has included."""
    app, router = FastAPI(), APIRouter()
    router.get("/{anything}")(no(ran.endpoint("old")))
    app.include_router(router)
    unseen: BaseRoute = APIRoute("/x", yes(ran.endpoint("new")))
    return Changing(judged(app), lambda: router.routes.insert(0, unseen))


OLD = at("GET /x", IGNORES, "old")
CHANGES: dict[Callable[[Recorder], Changing], tuple[Row, Row]] = {
    an_operation_added: (at("GET /new", IGNORES, "old"), at("GET /new", IGNORES, "old")),
    an_operation_added_to_an_included_router: (at("GET /r/x", IGNORES, "old"), at("GET /r/x", REQUIRED, "new")),
    an_operation_added_to_a_nested_router: (
        at("GET /r/inner/x", IGNORES, "old"),
        at("GET /r/inner/x", REQUIRED, "new"),
    ),
    a_router_included: (OLD, at("GET /x", REQUIRED, "new")),
    an_included_router_annotated: (OLD, at("GET /x", REQUIRED, "old")),
    an_included_route_annotated: (OLD, at("GET /x", REQUIRED, "old")),
    an_inclusion_removed: (OLD, at("GET /x", REQUIRED, "new")),
    a_route_put_into_an_included_router_unseen: (OLD, OLD),
}


@pytest.mark.parametrize("build", CHANGES, ids=lambda build: build.__name__)
async def test_a_change_counts_from_the_next_call_on(build: Callable[[Recorder], Changing]) -> None:
    ran = Recorder()
    changing = build(ran)
    before, after = CHANGES[build]
    for caller in before.rule:
        await judge(changing.app, ran, before, caller)
    changing.change()
    for caller in (*after.rule, *after.rule):
        await judge(changing.app, ran, after, caller)


# --- What runs before an endpoint -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Route, APIRoute])
@pytest.mark.parametrize("others", [0, 20], ids=["few", "many"])
async def test_an_included_route_given_its_own_matches_serves_nobody_it_should_refuse(kind: Any, others: int) -> None:
    ran = Recorder()
    closed = kind("/closed", yes(ran.endpoint("closed")))
    further = [kind(f"/other/{number}", no(ran.endpoint("other"))) for number in range(others)]
    router = APIRouter(routes=[closed, *further, kind("/x", no(ran.endpoint("free")))])
    application = FastAPI()
    application.include_router(router)
    asked = judged(application)
    for _ in range(2):
        assert (await call(asked, "/x")).status == 200
    ran.ran.clear()
    answer = (Match.FULL, {"endpoint": closed.endpoint, "path_params": {}})
    for context in (context for included in application.routes for context in candidates(included)):
        if context.original_route is closed:
            decider = context.starlette_route or closed
            decider.matches = lambda scope: answer
    assert (await call(asked, "/x")).status == 401
    assert ran.ran == []


async def test_a_refused_call_runs_no_dependency_and_no_validation_and_reads_no_body() -> None:
    ran: list[str] = []

    async def of_the_application() -> None:
        ran.append("application")

    async def of_the_router() -> Any:
        ran.append("router")
        yield
        ran.append("router exit")

    def of_the_operation() -> None:
        ran.append("operation")

    router = APIRouter(dependencies=[Depends(of_the_router)])

    @router.post("/items/{item}", dependencies=[Depends(of_the_operation)])
    @yes
    async def items(item: int, body: Annotated[int, Body()]) -> int:
        ran.append("endpoint")
        return item

    app = FastAPI(dependencies=[Depends(of_the_application)])
    app.include_router(router, prefix="/v1")
    judged(app)
    json = [("content-type", "application/json")]
    for path in ("/v1/items/1", "/v1/items/invalid"):
        refused = await call(app, path, "POST", headers=[*json, *basic("stranger")], body=b"broken")
        assert (refused.status, refused.reads, ran) == (403, 0, [])
    passed = await call(app, "/v1/items/1", "POST", headers=[*json, *basic("acme")], body=b"1")
    assert (passed.status, ran) == (200, ["application", "router", "operation", "endpoint", "router exit"])
