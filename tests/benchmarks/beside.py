"""What the middleware is measured beside: FastAPI applications, and what one would use otherwise or uses anyway."""

from __future__ import annotations

import logging
from binascii import a2b_base64
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from socket import AF_INET, inet_pton
from typing import Any, Final

from fastapi import APIRouter, FastAPI
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from allowlist_middleware import AllowList
from tests.benchmarks.apps import ENTRIES, AddMiddleware, Annotate

try:
    import guard as fastapi_guard
except ImportError:
    fastapi_guard = None


def make_fastapi(
    count: int, annotate: Annotate, add: AddMiddleware | None = None, *, included: bool = False
) -> FastAPI:
    """Return an application of `count` routes, on the application itself or on a router that it includes."""
    app = FastAPI()
    holder: Any = APIRouter() if included else app

    def add_route(number: int) -> None:
        async def endpoint(id: str) -> dict[str, str]:  # noqa: A002 - it is the name in the path
            return {"thing": id}

        holder.add_api_route(f"/v1/things-{number}/{{id}}", annotate(endpoint))

    for number in range(count):
        add_route(number)
    if included:
        app.include_router(holder)
    if add is not None:
        add(app)
    return app


# ── Middleware ────────────────────────────────────────────────────────────────────────────────────────────────────────


class NoOp:
    """The least a middleware can do."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


class NoOpByBase(BaseHTTPMiddleware):
    """The least a middleware made with Starlette's base class can do."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        return await call_next(request)


class HandMade:
    """What one writes in an afternoon: the client of the Basic credentials, its list, the peer.

    It knows neither proxies nor annotations, takes whatever base64 there is and makes no decision anybody could read.
    The list is that of this package, so that the difference is not one of look-ups.
    """

    def __init__(self, app: ASGIApp, bounds: Mapping[str, tuple[bytes, ...]]) -> None:
        self.app = app
        self.bounds = bounds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._admits(scope):
            await PlainTextResponse("Forbidden", 403)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _admits(self, scope: Scope) -> bool:
        for name, value in scope["headers"]:
            if name == b"authorization":
                client = a2b_base64(value[6:]).partition(b":")[0].decode()
                bounds = self.bounds.get(client, ())
                return bisect_right(bounds, inet_pton(AF_INET, scope["client"][0])) & 1 == 1
        return False


def add_no_op(app: Any) -> None:
    app.add_middleware(NoOp)


def add_no_op_by_base(app: Any) -> None:
    app.add_middleware(NoOpByBase)


def add_trusted_host(app: Any) -> None:
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["api.example.org"])


def add_hand_made(app: Any, entries: Sequence[str] = ENTRIES) -> None:
    app.add_middleware(HandMade, bounds={"acme": AllowList(entries)._ipv4})


def add_fastapi_guard(app: Any, entries: Sequence[str] = ENTRIES) -> None:
    """Add fastapi-guard with only a list: one for all callers, as it knows no clients; all else that it does is off."""
    logging.getLogger("guard_core").disabled = True
    config = fastapi_guard.SecurityConfig(
        whitelist=list(entries),
        enable_redis=False,
        enable_rate_limiting=False,
        enable_ip_banning=False,
        enable_penetration_detection=False,
        security_headers=None,
        log_suspicious_level=None,
    )
    app.add_middleware(fastapi_guard.SecurityMiddleware, config=config)


YARDSTICKS: Final[dict[str, AddMiddleware]] = {
    "no-op ASGI middleware": add_no_op,
    "hand-made check": add_hand_made,
    "TrustedHostMiddleware": add_trusted_host,
    "BaseHTTPMiddleware, no-op": add_no_op_by_base,
    **({} if fastapi_guard is None else {"fastapi-guard, one list": add_fastapi_guard}),
}
"""What one would use otherwise, or uses anyway."""
