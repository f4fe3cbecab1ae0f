"""Calling an ASGI application as a server does, with a scope of one's choice, and all that comes back."""

from __future__ import annotations

import base64
import importlib.util
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import chain, repeat
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Scope

INSIDE = ("192.0.2.1", 50000)
"""A peer on the list of `acme`."""
OUTSIDE = ("198.51.100.1", 50000)
"""A peer on no list but that of `partner`, who may call from anywhere."""
EVEN = [f"192.168.{number >> 7}.{number % 128 * 2}" for number in range(1 << 15)]
"""Entries of so many runs that their list is of the long kind."""
LISTS = {"acme": ["192.0.2.0/24", "2001:db8::/32"], "retired": []}

REFUSED = (401, 403, 503)

_ENDS = {"websocket.accept": 101, "websocket.close": 1000}

Headers = Iterable[tuple[str, str]]


@dataclass
class Answer:
    """What an application sent, and what it took and raised."""

    scope: Scope
    messages: list[Message] = field(default_factory=list)
    reads: int = 0
    exception: BaseException | None = None

    @property
    def status(self) -> int | None:
        """The status of the response; for a WebSocket 101 where it was accepted, else the close code."""
        ends = (message.get("status", message.get("code", _ENDS.get(message["type"]))) for message in self.messages)
        return next((int(end) for end in ends if end is not None), None)

    @property
    def headers(self) -> dict[str, str]:
        start = next(message for message in self.messages if message["type"].endswith("http.response.start"))
        return {name.decode("latin-1"): value.decode("latin-1") for name, value in start["headers"]}

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def types(self) -> list[str]:
        return [message["type"] for message in self.messages]

    @property
    def decision(self) -> Any:
        return self.scope.get("allow_list_decision")


def basic(client_id: str | None, secret: str = "s3cret") -> list[tuple[str, str]]:
    """Return the headers that carry a client's credentials; none for `None`."""
    if client_id is None:
        return []
    return [("authorization", "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode())]


def http_scope(
    path: str = "/", method: str = "GET", *, client: Any = INSIDE, headers: Headers = (), **more: Any
) -> Scope:
    return {**_scope("http", path, client, headers), "method": method, "scheme": "http", "http_version": "1.1", **more}


def websocket_scope(path: str = "/", *, client: Any = INSIDE, headers: Headers = (), **more: Any) -> Scope:
    """Return the scope of a handshake, of a server that offers the HTTP-response extension."""
    own = {"scheme": "ws", "subprotocols": [], "extensions": {"websocket.http.response": {}}}
    return {**_scope("websocket", path, client, headers), **own, **more}


def _scope(kind: str, path: str, client: Any, headers: Headers) -> Scope:
    fields = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    if not any(name == b"host" for name, _ in fields):
        fields.insert(0, (b"host", b"api.example"))
    return {
        "type": kind,
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": fields,
        "client": client,
        "server": ("203.0.113.80", 80),
        "state": {},
        "extensions": {},
    }


async def send_to(app: ASGIApp, scope: Scope, incoming: Iterable[Message] = ()) -> Answer:
    """Call an application with a scope; an exception it lets out ends up in the answer.

    The caller leaves after its last message.
    """
    answer = Answer(scope)
    messages = chain(incoming, repeat({"type": f"{scope['type']}.disconnect"}))

    async def receive() -> Message:
        answer.reads += 1
        return next(messages)

    async def send(message: Message) -> None:
        answer.messages.append(message)

    with anyio.move_on_after(10) as limit:
        try:
            await app(scope, receive, send)
        except Exception as exception:  # noqa: BLE001 - a server would log it
            answer.exception = exception
    assert not limit.cancelled_caught, "the application does not end"
    return answer


async def call(app: ASGIApp, path: str = "/", method: str = "GET", *, body: bytes = b"", **more: Any) -> Answer:
    """Make an HTTP request; the keywords are those of `http_scope`."""
    return await send_to(app, http_scope(path, method, **more), [{"type": "http.request", "body": body}])


async def connect(app: ASGIApp, path: str = "/", **more: Any) -> Answer:
    """Open a WebSocket and leave at once; the keywords are those of `websocket_scope`."""
    incoming: list[Message] = [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1001}]
    return await send_to(app, websocket_scope(path, **more), incoming)


class Recorder:
    """Makes endpoints that answer with their name, and remembers which of them ran."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    def method(self, name: str) -> Callable[[Any, Request], Any]:
        """Return a new method for a class endpoint."""
        endpoint = self.endpoint(name)

        async def method(self: Any, request: Request) -> Response:
            response: Response = await endpoint(request)
            return response

        return method

    def endpoint(self, name: str = "endpoint") -> Callable[[Request], Any]:
        """Return a new async endpoint, for Starlette and FastAPI alike."""

        async def endpoint(request: Request) -> Response:
            self.ran.append(name)
            return PlainTextResponse(name)

        return endpoint


def applications() -> list[type[Starlette]]:
    """Return the application classes of the frameworks that are installed."""
    found = [importlib.import_module(name) for name in ["fastapi"] if importlib.util.find_spec(name)]
    return [Starlette, *(module.FastAPI for module in found)]
