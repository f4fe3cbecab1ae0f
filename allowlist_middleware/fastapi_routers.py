"""What FastAPI adds to Starlette's routing, known only if the application itself imported FastAPI.

FastAPI keeps an included router as one entry among the routes. What is inside has no public reader that keeps the
routers on the way, so this module names private ones, each with a safe answer for a release that lacks it.
"""

from __future__ import annotations

import re
import sys
from functools import lru_cache
from types import ModuleType
from typing import Any, Final

from starlette.routing import Match, Router
from starlette.types import Scope

from allowlist_middleware.errors import AllowListError

_OLDEST: Final = (0, 138)
_MIDDLEWARE: Final = ("AsyncExitStackMiddleware", "ExceptionTelemetryMiddleware", "AppBodyLimitMiddleware")


def require_known_release() -> None:
    """Raise `AllowListError` for a FastAPI whose included routers lose the annotations of their groups."""
    fastapi = sys.modules.get("fastapi")
    version = getattr(fastapi, "__version__", "")
    release = re.match(r"(\d+)\.(\d+)", version)  # also of a pre-release such as 1.0a1
    if release is not None and (int(release[1]), int(release[2])) < _OLDEST:
        raise AllowListError(
            f"AllowListMiddleware: FastAPI {version} loses the annotations of included routers; install fastapi>=0.138"
        )


def _routing() -> ModuleType | None:
    return sys.modules.get("fastapi.routing")


def is_included(route: object) -> bool:
    """Return whether it is the entry of a router included with `include_router`."""
    routing = _routing()
    return routing is not None and isinstance(route, getattr(routing, "_IncludedRouter", ()))


def is_effective(route: object) -> bool:
    """Return whether it is a route in the context of its inclusion, prefix applied."""
    routing = _routing()
    return routing is not None and isinstance(route, getattr(routing, "_EffectiveRouteContext", ()))


def is_api_router(router: object) -> bool:
    """Return whether it is FastAPI's kind of router."""
    routing = _routing()
    return routing is not None and isinstance(router, routing.APIRouter)


def is_api_route(route: object) -> bool:
    """Return whether it is FastAPI's kind of route."""
    routing = _routing()
    return routing is not None and isinstance(route, routing.APIRoute)


def is_application(app: object) -> bool:
    """Return whether it is FastAPI's kind of application."""
    fastapi = sys.modules.get("fastapi")
    return fastapi is not None and isinstance(app, fastapi.FastAPI)


def find_root_path(app: Any) -> str:
    """Return the `root_path` a FastAPI application puts into the scope before anything else; empty for others."""
    return str(app.root_path) if is_application(app) else ""


def application_calls() -> tuple[Any, ...]:
    """Return the `__call__` of FastAPI's application, whose way into the router is known."""
    fastapi = sys.modules.get("fastapi")
    return () if fastapi is None else (fastapi.FastAPI.__call__,)


def stack_builders() -> tuple[Any, ...]:
    """Return the `build_middleware_stack` of FastAPI's application, which adds only its own middleware."""
    fastapi = sys.modules.get("fastapi")
    return () if fastapi is None else (fastapi.FastAPI.build_middleware_stack,)


def middleware() -> tuple[type, ...]:
    """Return the middleware of its own that FastAPI puts around a user's, and between that and the router."""
    return _middleware(sys.modules.get("fastapi.applications"))


@lru_cache(maxsize=2)
def _middleware(applications: ModuleType | None) -> tuple[type, ...]:
    found = (getattr(applications, name, None) for name in _MIDDLEWARE)
    return tuple(one for one in found if one is not None)


def router_apps() -> tuple[Any, ...]:
    """Return the `app` of FastAPI's router, which matches as Starlette's does."""
    routing = _routing()
    return () if routing is None else (routing.APIRouter.app,)


def routes() -> tuple[type, ...]:
    """Return FastAPI's kinds of route."""
    routing = _routing()
    return () if routing is None else (routing.APIRoute, routing.APIWebSocketRoute)


def handles_plainly(router: Any) -> bool:
    """Return whether an included router selects among its routes as FastAPI itself does."""
    routing = _routing()
    return (
        routing is not None
        and getattr(router.matches, "__func__", None) is routing.APIRouter.matches
        and getattr(router.handle, "__func__", None) is routing.APIRouter.handle
    )


def match_effective(context: Any, scope: Scope) -> tuple[Match, Scope]:
    """Match a route in the context of its inclusion the way FastAPI's included router does."""
    if not is_api_route(context.original_route):
        match, child_scope = context.matches(scope)
        return match, child_scope
    # APIRoute.matches, which a route class may override, finds its context in the scope.
    fastapi = {**scope.get("fastapi", {}), "effective_route_context": context}
    match, child_scope = context.original_route.matches({**scope, "fastapi": fastapi})
    return match, child_scope


def may_serve_frontend(router: Router, scope: Scope) -> bool:
    """Return whether a low-priority frontend route would answer what no other route matches; true if it cannot tell."""
    if not is_api_router(router) or not hasattr(router, "frontend"):
        return False
    match_low_priority = getattr(router, "_match_low_priority", None)
    if match_low_priority is None:
        return True
    return bool(match_low_priority(dict(scope))[0] is not Match.NONE)


def has_frontend(router: Router) -> bool:
    """Return whether low-priority frontend routes answer what no other route of the router matches."""
    if not is_api_router(router) or not hasattr(router, "frontend"):
        return False
    routes = getattr(router, "_iter_low_priority_routes", None)
    return routes is None or any(True for _ in routes())


def candidates(included: Any) -> list[Any]:
    """Return the routes of an included router, each in the context of its inclusion; none that cannot be read."""
    found = getattr(included, "effective_candidates", None)
    return [] if found is None else list(found())
