"""The Starlette applications that are measured, and the calls they get."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Scope

from allowlist_middleware import AllowListMiddleware, AllowLists, respects_allow_list

LISTED: Final = "192.0.2.1"
"""An address on the list of `acme`, the only client."""
UNLISTED: Final = "198.51.100.1"
ENTRIES: Final = ("192.0.2.0/24",)
TOKEN: Final = b"Bearer 0dZK2rX1pZcQvV8Jb3mT6yWn5hLfGq9s"


def basic(client: str) -> bytes:
    """Return the credentials of a client, with a secret of usual length."""
    return b"Basic " + base64.b64encode(f"{client}:0dZK2rX1pZcQvV8Jb3mT6yWn".encode())


# What an API client sends with every call; httpx sends just these.
_HEADERS: Final = (
    (b"host", b"api.example.org"),
    (b"accept", b"*/*"),
    (b"accept-encoding", b"gzip, deflate"),
    (b"connection", b"keep-alive"),
    (b"user-agent", b"python-httpx/0.28.1"),
)

Annotate = Callable[[Any], Any]
AddMiddleware = Callable[[Any], None]

RESPECTS: Final[Annotate] = respects_allow_list(True)
IGNORES: Final[Annotate] = respects_allow_list(False)


# ── Applications ──────────────────────────────────────────────────────────────────────────────────────────────────────


def path_of(number: int) -> str:
    """Return a path that only the route of that number matches."""
    return f"/v1/things-{number}/42"


def make_starlette(count: int, annotate: Annotate, add: AddMiddleware | None = None, prefix: str = "/v1") -> Starlette:
    """Return an application of `count` routes, each with an endpoint of its own; `{tenant}` may be the prefix."""

    def make_route(number: int) -> Route:
        async def endpoint(request: Request) -> Response:
            return PlainTextResponse("thing 42")

        return Route(f"{prefix}/things-{number}/{{id}}", annotate(endpoint))

    app = Starlette(routes=[make_route(number) for number in range(count)])
    if add is not None:
        add(app)
    return app


def add_ours(app: Any, entries: Sequence[str] = ENTRIES) -> None:
    lists = AllowLists({"acme": entries, "elsewhere": ["203.0.113.0/24"]})
    app.add_middleware(AllowListMiddleware, allow_lists=lists)


# ── Calls ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Call(NamedTuple):
    """A call as a server hands it over."""

    path: str
    authorization: bytes | None
    address: str

    def make_scope(self) -> Scope:
        """Return a fresh scope, as every request of a server gets one."""
        headers = [*_HEADERS]
        if self.authorization is not None:
            headers.append((b"authorization", self.authorization))
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "server": ("203.0.113.80", 80),
            "client": (self.address, 50000),
            "scheme": "http",
            "method": "GET",
            "root_path": "",
            "path": self.path,
            "raw_path": self.path.encode(),
            "query_string": b"",
            "headers": headers,
            "state": {},
        }


def ordinary(number: int = 0) -> Call:
    """Return the call of a client from its list."""
    return Call(path_of(number), basic("acme"), LISTED)


def token(number: int = 0) -> Call:
    """Return the call of a user with a token, from anywhere."""
    return Call(path_of(number), TOKEN, UNLISTED)


def refused(number: int = 0) -> Call:
    """Return the call of a client from elsewhere."""
    return Call(path_of(number), basic("acme"), UNLISTED)


async def receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(message: Message) -> None:
    """Take a message as a server that has nothing to do."""


async def ask(app: ASGIApp, call: Call) -> tuple[int, bytes]:
    """Return the status and the body an application answers with."""
    messages: list[Message] = []

    async def collect(message: Message) -> None:
        messages.append(message)

    await app(call.make_scope(), receive, collect)
    return messages[0]["status"], b"".join(message.get("body", b"") for message in messages[1:])


async def check_answers(apps: Iterable[ASGIApp], call: Call, status: int) -> None:
    """Make sure that what is about to be measured does what it should; twice, for what is set up by the first call."""
    for app in apps:
        for _ in range(2):
            found, body = await ask(app, call)
            if found != status:
                raise AssertionError(f"{call.path} answered {found} instead of {status}: {body!r}")
        if status == 200 and b"42" not in body:
            raise AssertionError(f"{call.path} answered {body!r}")
        if status == 403 and body.startswith(b"{") and json.loads(body)["error"] != "client_permission_error":
            raise AssertionError(f"{call.path} was refused with {body!r}")


def silence() -> None:
    """Turn off the logging of refusals."""
    logging.getLogger("allowlist_middleware").setLevel(logging.CRITICAL)
