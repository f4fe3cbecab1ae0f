"""How callers of the API authenticate, and which API client they claim to be.

The middleware asks `identify_client`; the operations check what was claimed by one of the lists of dependencies.
"""

from __future__ import annotations

import hmac
import re
from base64 import b64decode, b64encode
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, NamedTuple

from fastapi import Depends, Request, Security
from fastapi.openapi.models import APIKey, HTTPBase
from fastapi.openapi.models import SecurityBase as Scheme
from fastapi.security.base import SecurityBase
from starlette.requests import HTTPConnection

from allowlist_middleware import UnreadableCredentials, basic_client
from examples.identity_cloud.answers import Failure
from examples.identity_cloud.store import Client, Store

SIGNATURE = re.compile(r"(?i:signature) +([\w.-]+):([A-Za-z0-9+/]+=*)", re.ASCII)
FRESHNESS = timedelta(minutes=10)


class User(NamedTuple):
    """A user who calls with a token of their own."""

    uuid: str


# ── Who calls, as far as the allow lists are concerned ───────────────────────────────────────────────────────────────


def identify_client(connection: HTTPConnection) -> str | None:
    """Return the API client a call claims to come from: its Basic credentials, or its signature."""
    return basic_client(connection) or signed_client(connection)


def signed_client(connection: HTTPConnection) -> str | None:
    """Return the client id of `Signature client_id:signature`."""
    line = connection.headers.get("authorization", "").strip()
    if not line.lower().startswith("signature"):
        return None
    if (signature := SIGNATURE.fullmatch(line)) is None:
        raise UnreadableCredentials("the signature is not 'Signature client_id:signature'")
    return signature[1]


# ── What the operations check ────────────────────────────────────────────────────────────────────────────────────────


def get_store(request: Request) -> Store:
    """Return the store of the application."""
    store: Store = request.app.state.store
    return store


async def check_client(request: Request) -> Client:
    """Return the API client whose secret or signature is right."""
    try:
        client_id = identify_client(request)
    except UnreadableCredentials:
        client_id = None
    if client_id is not None and (_has_secret(request, client_id, "api") or await _has_signed(request, client_id)):
        client = get_store(request).find_client(client_id)
        if client is not None:
            return client
    raise Failure(401, "invalid_client_credentials", "the client id or the secret is wrong")


async def check_basic(request: Request, client: Annotated[Client, Depends(check_client)]) -> Client:
    """Return the API client that sent its secret, where a signature does not do."""
    if _read(request)[0] != "basic":
        raise Failure(401, "invalid_client_credentials", "send the client id and the secret as HTTP Basic")
    return client


async def check_caller(request: Request) -> Client | User:
    """Return the API client, or the user with a token of their own."""
    scheme, token = _read(request)
    if scheme != "oauth":
        return await check_client(request)
    subject = get_store(request).find_subject("oauth", token)
    if subject is None:
        raise Failure(401, "invalid_token", "the access token is wrong or was taken back")
    return User(subject)


async def check_owner(client: Annotated[Client, Depends(check_client)]) -> Client:
    """Return the API client that may manage clients."""
    if not client.is_owner:
        description = "the provided client does not have authorization for this action"
        raise Failure(403, "client_permission_error", description)
    return client


async def check_login_client(request: Request) -> None:
    """Let pass the confidential clients of Hosted Login, which are no API clients."""
    try:
        client_id = basic_client(request)
    except UnreadableCredentials:
        client_id = None
    if client_id is None or not _has_secret(request, client_id, "login"):
        raise Failure(401, "invalid_client_credentials", "the client id or the secret is wrong")


async def check_bearer(request: Request) -> None:
    """Let pass bearer tokens."""
    scheme, token = _read(request)
    if scheme != "bearer" or get_store(request).find_subject("bearer", token) is None:
        raise Failure(401, "invalid_token", "the access token is wrong")


async def check_api_key(request: Request) -> None:
    """Let pass API keys."""
    if get_store(request).find_subject("api-key", request.query_params.get("apiKey", "")) is None:
        raise Failure(401, "invalid_token", "the API key is wrong")


def _read(request: Request) -> tuple[str, str]:
    scheme, _, value = request.headers.get("authorization", "").strip().partition(" ")
    return scheme.lower(), value.strip()


def _has_secret(request: Request, client_id: str, kind: str) -> bool:
    scheme, token = _read(request)
    if scheme != "basic":
        return False
    secret = b64decode(token).decode().partition(":")[2]  # readable: basic_client has read it
    return get_store(request).has_secret(client_id, secret, kind=kind)


async def _has_signed(request: Request, client_id: str) -> bool:
    """Return whether the path, the date and the parameters of the call are signed with the client's secret."""
    signature = SIGNATURE.fullmatch(request.headers.get("authorization", "").strip())
    secret = get_store(request).find_signing_secret(client_id)
    date = request.headers.get("date", "")
    if signature is None or secret is None or not _is_fresh(date):
        return False
    form = await request.form()
    parameters = {**request.query_params, **{name: str(value) for name, value in form.items()}}
    return hmac.compare_digest(sign(secret, request.url.path, date, parameters), signature[2])


def sign(secret: str, path: str, date: str, parameters: dict[str, str]) -> str:
    """Return the signature of a call."""
    lines = [path, date, *sorted(f"{name}={value}" for name, value in parameters.items()), ""]
    return b64encode(hmac.digest(secret.encode(), "\n".join(lines).encode(), "sha1")).decode()


def _is_fresh(date: str) -> bool:
    try:
        sent = parsedate_to_datetime(date)
    except ValueError:
        return False
    return abs(datetime.now(UTC) - sent.astimezone(UTC)) < FRESHNESS


# ── The same for the OpenAPI description ─────────────────────────────────────────────────────────────────────────────


class _Documented(SecurityBase):
    """A way to authenticate that the description names; the check stands beside it."""

    def __init__(self, name: str, model: Scheme) -> None:
        self.scheme_name = name
        self.model = model

    async def __call__(self) -> None:
        """Check nothing."""


def _key(place: str, name: str, description: str) -> Scheme:
    return APIKey.model_validate({"in": place, "name": name, "description": description})


_basic = Security(_Documented("basic", HTTPBase(scheme="basic", description="The id and secret of an API client.")))
_signed = Security(
    _Documented(
        "signed", _key("header", "Authorization", "`Signature client_id:signature`, made with the client's secret.")
    )
)
_oauth = Security(_Documented("oauth", _key("header", "Authorization", "`OAuth token`, the access token of a user.")))
_login = Security(_Documented("login", HTTPBase(scheme="basic", description="A confidential client of Hosted Login.")))
_bearer = Security(_Documented("bearer", HTTPBase(scheme="bearer")))
_api_key = Security(_Documented("apiKey", _key("query", "apiKey", "The key of a social application.")))

Dependencies = list[Any]

BASIC: Dependencies = [_basic, Depends(check_basic)]
CLIENT: Dependencies = [_basic, _signed, Depends(check_client)]
CLIENT_OR_USER: Dependencies = [_basic, _signed, _oauth, Depends(check_caller)]
LOGIN_CLIENT: Dependencies = [_login, Depends(check_login_client)]
BEARER: Dependencies = [_bearer, Depends(check_bearer)]
API_KEY: Dependencies = [_api_key, Depends(check_api_key)]
NOBODY: Dependencies = []

TheStore = Annotated[Store, Depends(get_store)]
TheClient = Annotated[Client, Depends(check_client)]
TheOwner = Annotated[Client, Depends(check_owner)]
TheCaller = Annotated[Client | User, Depends(check_caller)]
