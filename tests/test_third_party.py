"""An application nobody here wrote is listed completely, and judged as listed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount, Route

pytest.importorskip("starlette_admin")

from starlette_admin import BaseAdmin, CustomView
from starlette_admin.auth import AuthProvider

from allowlist_middleware import AllowListMiddleware
from allowlist_middleware.audit import operations
from tests.asgi import LISTS, OUTSIDE, basic, call

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def app() -> Starlette:
    """Return an application with the admin interface of starlette-admin, as its documentation mounts it."""
    app = Starlette()
    app.add_middleware(AllowListMiddleware, allow_lists=LISTS)
    admin = BaseAdmin(secret_key="for the tests", auth_provider=AuthProvider())
    admin.add_view(CustomView("Reports", path="/reports"))
    admin.mount_to(app)
    return app


def walk(routes: Any, prefix: str = "") -> Iterator[str]:
    """Yield method and path of all routes, straight from Starlette's own objects."""
    for route in routes:
        if isinstance(route, Mount) and route.routes:
            yield from walk(route.routes, prefix + route.path)
        elif isinstance(route, Mount):
            yield f"* {prefix}{route.path}/{{path}}"
        else:
            assert isinstance(route, Route)
            for method in (route.methods or set()) - {"HEAD"}:
                yield f"{method} {prefix}{route.path_format}"


def test_every_route_is_listed(app: Starlette) -> None:
    listed = [str(one) for one in operations(app)]
    assert sorted(listed) == sorted(walk(app.routes))
    assert len(listed) > 10
    assert all(one.is_judged and one.origin == "nobody" and not one.shadowed_by for one in operations(app))
    assert [str(one) for one in operations(app) if one.is_opaque] == ["* /admin/static/{path}"]


async def test_every_route_refuses_a_client_from_a_wrong_address(app: Starlette) -> None:
    for one in operations(app):
        path = one.path.replace("{", "").replace("}", "")
        method = "GET" if one.method == "*" else one.method
        assert (await call(app, path, method, client=OUTSIDE, headers=basic("acme"))).status == 403, one
