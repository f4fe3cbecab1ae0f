"""Sending the response to a refused call, documented or a user's own."""

from __future__ import annotations

import logging
from inspect import iscoroutine
from typing import Any, Final

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from allowlist_middleware.callables import name_of
from allowlist_middleware.denial import Denial, make_body, make_headers
from allowlist_middleware.errors import quote_type
from allowlist_middleware.log_line import write
from allowlist_middleware.policy import Decision

_POLICY_VIOLATION: Final = 1008  # RFC 6455, section 7.4.1
_HTTP: Final = ("http.response.start", "http.response.body")
_WEBSOCKET: Final = tuple(f"websocket.{name}" for name in _HTTP)
_NO_STORE: Final = (b"cache-control", b"no-store")


async def send_refusal(
    decision: Decision, denial: Denial | None, scope: Scope, receive: Receive, send: Send, method: str
) -> None:
    """Answer a refused call; a WebSocket by an HTTP response where the server offers it, else by closing it."""
    if scope["type"] == "websocket" and "websocket.http.response" not in (scope.get("extensions") or ()):
        await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": ""})
        return
    if denial is not None and await _send_own(decision, denial, scope, receive, send, method):
        return
    status_code = decision.status_code or 403
    body = make_body(status_code, decision.request_id or "")
    start, rest = _HTTP if scope["type"] == "http" else _WEBSOCKET
    await send({"type": start, "status": status_code, "headers": make_headers(status_code, body)})
    await send({"type": rest, "body": b"" if method == "HEAD" else body})


async def _send_own(
    decision: Decision, denial: Denial, scope: Scope, receive: Receive, send: Send, method: str
) -> bool:
    """Send a user's denial; return whether it was sent, false where the documented one must take its place."""
    started = is_over = False

    async def send_checked(message: Message) -> None:
        nonlocal started, is_over
        if is_over:
            return
        if message["type"].endswith("http.response.start"):
            # Here and not on the response, which may send another one in its place (a file whose range is wrong).
            others = [field for field in message.get("headers", ()) if field[0].lower() != _NO_STORE[0]]
            message = {**message, "headers": [*others, _NO_STORE]}
        elif method == "HEAD":
            message = {"type": "http.response.body", "body": b""}
            is_over = True
        started = True
        await send(message)

    try:
        response: Any = denial(decision)
        if not isinstance(response, Response):
            if iscoroutine(response):
                response.close()  # it will never be awaited, which Python would warn of
            raise TypeError(f"it returned {quote_type(response)}, not a Response")
        await response(_without_listening(scope), receive, send_checked)
        if not started:
            raise RuntimeError(f"its {type(response).__qualname__} sent nothing")
    except Exception:
        if started:
            raise
        line = f"denial: {name_of(denial)} failed; the documented refusal is sent instead"
        write(logging.ERROR, line, exc_info=True)
        return False
    return True


def _without_listening(scope: Scope) -> Scope:
    # Before ASGI 2.4 a response learns of a disconnect by reading on: a stream or a file would take the request body.
    return {**scope, "asgi": {**scope.get("asgi", {}), "spec_version": "2.4"}}
