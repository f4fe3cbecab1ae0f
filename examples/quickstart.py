"""An API that checks its clients' secrets and refuses them from the wrong address, called over real sockets.

`python -m examples.quickstart` shows who asked what from where, what came back and what was logged. The same
application is served by `uvicorn examples.quickstart:app --no-proxy-headers`.
"""

from __future__ import annotations

import logging
import socket
import sys
import time
from base64 import b64encode
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from secrets import compare_digest
from threading import Thread
from typing import Annotated, NamedTuple

import uvicorn
from fastapi import APIRouter, Depends, FastAPI, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBasic, HTTPBasicCredentials, HTTPBearer

from allowlist_middleware import ANYWHERE, AllowListMiddleware, AllowLists, respects_allow_list

# ── The API ───────────────────────────────────────────────────────────────────────────────────────────────────────────

SECRETS = {"acme": "acme-secret", "partner": "partner-secret", "retired": "retired-secret"}
TOKENS = {"amy-token": "amy"}

allow_lists = AllowLists(
    {
        "acme": ["127.0.0.1", "192.168.0.0/20"],
        "partner": ANYWHERE,  # a known client that may call from every address
        "retired": [],  # an empty list admits nobody
    }
)
router = APIRouter()


def check_secret(sent: Annotated[HTTPBasicCredentials, Depends(HTTPBasic())]) -> str:
    """Return the client id if its secret is right; the middleware has only read who the caller claims to be."""
    secret = SECRETS.get(sent.username)
    if secret is None or not compare_digest(sent.password.encode(), secret.encode()):
        raise HTTPException(401, "wrong client id or secret", {"WWW-Authenticate": "Basic"})
    return sent.username


def check_token(sent: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())]) -> str:
    """Return the user whose token it is."""
    for token, user in TOKENS.items():
        if compare_digest(sent.credentials.encode(), token.encode()):
            return user
    raise HTTPException(401, "wrong token", {"WWW-Authenticate": "Bearer"})


@router.get("/entity")
@respects_allow_list(True)  # API clients only, each from its list
async def entity(client: Annotated[str, Depends(check_secret)]) -> dict[str, str]:
    """Answer an API client."""
    return {"entity": "42", "client": client}


@router.get("/profile")
@respects_allow_list(False)  # users call from everywhere, whatever the list of a client says
async def profile(user: Annotated[str, Depends(check_token)]) -> dict[str, str]:
    """Answer a user with a token."""
    return {"user": user}


@router.get("/status")  # not annotated: it answers everybody, except an API client that is not on its list
async def status() -> dict[str, str]:
    """Answer everybody."""
    return {"status": "up"}


def make_app(trusted_proxies: Collection[str]) -> FastAPI:
    """Return the API, which believes these proxies about where a call comes from."""
    app = FastAPI(title="Quickstart")
    app.add_middleware(AllowListMiddleware, allow_lists=allow_lists, trusted_proxies=trusted_proxies)
    app.include_router(router)
    return app


app = make_app(trusted_proxies=["127.0.0.2"])

# ── Its callers ───────────────────────────────────────────────────────────────────────────────────────────────────────


class Call(NamedTuple):
    """A call: the address it comes from, the Authorization and the X-Forwarded-For it carries, if any."""

    what: str
    path: str
    source: str
    authorization: str = ""
    forwarded_for: str = ""


def basic(client_id: str, secret: str) -> str:
    """Return the Authorization of an API client."""
    return f"Basic {b64encode(f'{client_id}:{secret}'.encode()).decode()}"


ACME = basic("acme", "acme-secret")

CALLS = (
    Call("acme, on its list", "/entity", "127.0.0.1", ACME),
    Call("acme, not on its list", "/entity", "127.0.0.44", ACME),
    Call("acme, not on its list, with a forged header", "/entity", "127.0.0.44", ACME, "192.168.0.1"),
    Call("acme, behind the trusted proxy, on its list", "/entity", "127.0.0.2", ACME, "192.168.15.254"),
    Call("acme, behind the trusted proxy, not on its list", "/entity", "127.0.0.2", ACME, "192.168.44.44"),
    Call("acme, on its list, with a wrong secret", "/entity", "127.0.0.1", basic("acme", "guess")),
    Call("partner, which may call from anywhere", "/entity", "127.0.0.44", basic("partner", "partner-secret")),
    Call("retired, whose list is empty", "/entity", "127.0.0.1", basic("retired", "retired-secret")),
    Call("stranger, which nobody knows", "/entity", "127.0.0.1", basic("stranger", "guess")),
    Call("nobody, where a client is required", "/entity", "127.0.0.1"),
    Call("a user with a token", "/profile", "127.0.0.44", "Bearer amy-token"),
    Call("nobody, where nothing is annotated", "/status", "127.0.0.44"),
    Call("acme, not on its list, where nothing is annotated", "/status", "127.0.0.44", ACME),
)


def send(call: Call, port: int, *, through_proxy: bool = False) -> str:
    """Return the status and the body of the answer to a call."""
    forwarded_for, source = call.forwarded_for, call.source
    if through_proxy:  # a proxy at 127.0.0.1 appends the address it was called from
        forwarded_for, source = f"{forwarded_for}, {source}".removeprefix(", "), "127.0.0.1"
    headers = {"Authorization": call.authorization, "X-Forwarded-For": forwarded_for}
    connection = HTTPConnection("127.0.0.1", port, timeout=10, source_address=(source, 0))
    connection.request("GET", call.path, headers={name: value for name, value in headers.items() if value})
    response = connection.getresponse()
    answer = f"{response.status} {response.read().decode()}"
    connection.close()
    return answer


def show(calls: Collection[Call], port: int, *, through_proxy: bool = False) -> None:
    """Send calls and print what comes back; what is logged meanwhile appears in between."""
    for call in calls:
        forwarded_for = f" with X-Forwarded-For: {call.forwarded_for}" if call.forwarded_for else ""
        print(f"\n{call.what}\n  asked   GET {call.path} from {call.source}{forwarded_for}", flush=True)
        print(f"  answer  {send(call, port, through_proxy=through_proxy)}", flush=True)


@contextmanager
def serve(app: FastAPI) -> Iterator[int]:
    """Serve an application from a thread on a free port of this machine."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, proxy_headers=False, ws="none"))
        thread = Thread(target=server.run, args=([listener],))
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


def has_address(address: str) -> bool:
    """Return whether this machine can call from an address: Linux has all of 127.0.0.0/8, macOS only 127.0.0.1."""
    try:
        socket.create_server((address, 0)).close()
    except OSError:
        return False
    return True


def main() -> None:
    """Serve the API, call it and print everything."""
    logging.basicConfig(format="  log     %(message)s", stream=sys.stdout)
    for client_id, allow_list in allow_lists.items():
        print(f"{client_id} may call from {allow_list}")
    one_address = not has_address("127.0.0.2")
    with serve(make_app(["127.0.0.1", "127.0.0.2"]) if one_address else app) as port:
        show(CALLS, port, through_proxy=one_address)


if __name__ == "__main__":
    main()
