"""The audit of FastAPI's own kinds of routers and routes."""

from __future__ import annotations

from enum import Enum
from pathlib import Path

import pytest

from allowlist_middleware import AllowListMiddleware, respects_allow_list
from allowlist_middleware.audit import operations
from tests.asgi import LISTS, OUTSIDE, basic, call

pytest.importorskip("fastapi")

from fastapi import APIRouter, FastAPI, WebSocket

pytestmark = pytest.mark.anyio


class Tag(Enum):
    ENTITIES = "Entities"


def endpoint() -> None: ...


def make_app() -> FastAPI:
    app = FastAPI(openapi_url=None)
    app.add_middleware(AllowListMiddleware, allow_lists=LISTS)
    return app


def test_the_routes_of_its_own_documentation_are_told_apart() -> None:
    app = FastAPI()
    app.get("/entity")(endpoint)
    found = {str(one): (one.is_documentation, one.group) for one in operations(app)}
    assert found == {
        "GET /openapi.json": (True, "documentation"),
        "GET /docs": (True, "documentation"),
        "GET /docs/oauth2-redirect": (True, "documentation"),
        "GET /redoc": (True, "documentation"),
        "GET /entity": (False, "/"),
    }


def test_included_routers_keep_their_prefixes_tags_and_annotations() -> None:
    inner = APIRouter(prefix="/inner", tags=["Inner"])
    inner.get("/{x:int}")(endpoint)
    inner.post("/exception")(respects_allow_list(True)(lambda: None))

    @inner.websocket("/ws")
    async def ws(websocket: WebSocket) -> None: ...

    outer = respects_allow_list(False)(APIRouter(tags=[Tag.ENTITIES]))
    outer.include_router(inner, prefix="/a")
    app = make_app()
    app.include_router(outer, prefix="/v1")
    app.include_router(inner, prefix="/v2")
    found = {str(one): (one.respects, one.origin, one.group) for one in operations(app)}
    assert found == {
        "GET /v1/a/inner/{x}": (False, "router", "Entities"),
        "POST /v1/a/inner/exception": (True, "endpoint", "Entities"),
        "WEBSOCKET /v1/a/inner/ws": (False, "router", "/"),
        "GET /v2/inner/{x}": (True, "nobody", "Inner"),
        "POST /v2/inner/exception": (True, "endpoint", "Inner"),
        "WEBSOCKET /v2/inner/ws": (True, "nobody", "/"),
    }


async def test_a_mount_inside_an_included_router_keeps_the_prefix() -> None:
    sub = FastAPI(openapi_url=None)
    sub.get("/s")(respects_allow_list(False)(lambda: None))
    router = APIRouter()
    router.mount("/sub", sub)
    app = make_app()
    app.include_router(router, prefix="/v1")
    (answer,) = operations(app)
    assert (str(answer), answer.respects, answer.group) == ("GET /v1/sub/s", False, "/v1/sub")
    assert (await call(app, "/v1/sub/s", client=OUTSIDE, headers=basic("acme"))).status == 200


def test_a_frontend_is_opaque(tmp_path: Path) -> None:
    app = make_app()
    app.frontend("/", directory=tmp_path)
    (answer,) = operations(app)
    assert (str(answer), answer.is_opaque, answer.origin) == ("* /{path}", True, "nobody")
    respects_allow_list(False)(app)
    (answer,) = operations(app)
    assert (answer.respects, answer.origin) == (False, "application")


@pytest.mark.filterwarnings("ignore:The `root_path` parameter is deprecated")
async def test_an_application_with_a_root_path_of_its_own() -> None:
    app = FastAPI(openapi_url=None, root_path="/api")
    app.add_middleware(AllowListMiddleware, allow_lists=LISTS)
    app.get("/entity")(respects_allow_list(False)(lambda: None))
    app.get("/{anything:path}")(endpoint)
    assert {str(one): one.respects for one in operations(app)} == {"GET /entity": False, "GET /{anything}": True}
    assert (await call(app, "/api/entity", client=OUTSIDE, headers=basic("acme"))).status == 200
