"""The reference application with its demonstration, and calls to it as its callers make them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from email.utils import formatdate
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("python_multipart")

from examples.identity_cloud.application import make_app
from examples.identity_cloud.credentials import sign
from examples.identity_cloud.demonstration import API_KEY, BEARER_TOKEN, LOGIN_CLIENT, SECRETS, add_demonstration
from examples.identity_cloud.store import Store
from tests.asgi import Answer, basic, call

ROWS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent.parent / "examples/identity_cloud/operations.json").read_text(encoding="utf-8")
)
INSIDE = ("192.168.0.1", 50000)
"""A peer on the list of `acme` and of `signer`."""
OUTSIDE = ("192.168.44.44", 50000)

INTERNAL_SERVER_ERROR = {"message": "Internal Server Error"}


class ResettableStore(Store):
    """A store that can be what it was at the beginning."""

    def __init__(self) -> None:
        super().__init__()
        add_demonstration(self)
        self.spare, _ = self.add_client("spare", "spare-secret", description="To be changed")
        (entity,) = self.add_entities("user", [{"name": "amy"}])
        self.entity = entity
        self.token = self.add_token("oauth", entity.uuid)
        self._beginning = sqlite3.connect(":memory:")
        self._connection.backup(self._beginning)

    def reset(self) -> None:
        self._beginning.backup(self._connection)

    def close(self) -> None:
        self._beginning.close()
        super().close()


class Cloud(NamedTuple):
    """The application on its store."""

    app: Any
    store: ResettableStore

    async def call(
        self,
        operation: str,
        *,
        form: Mapping[str, Any] | None = None,
        document: Any = None,
        query: Mapping[str, str] | None = None,
        headers: list[tuple[str, str]] | None = None,
        client: Any = INSIDE,
    ) -> Answer:
        """Call an operation; by default as `acme` from an address on its list."""
        method, path = operation.split()
        headers = basic("acme", SECRETS["acme"]) if headers is None else headers
        body = b""
        if form is not None:
            body = urlencode(form).encode()
            headers = [*headers, ("content-type", "application/x-www-form-urlencoded")]
        elif document is not None:
            body = json.dumps(document).encode()
            headers = [*headers, ("content-type", "application/json")]
        text = urlencode(query or {}).encode()
        return await call(self.app, path, method, body=body, headers=headers, client=client, query_string=text)


def make_cloud() -> Cloud:
    store = ResettableStore()
    return Cloud(make_app(store), store)


def signed(
    client_id: str, secret: str, path: str, parameters: Mapping[str, Any], date: str = ""
) -> list[tuple[str, str]]:
    """Return the headers of a signed call."""
    date = date or formatdate(usegmt=True)
    texts = {name: str(value) for name, value in parameters.items()}
    return [("date", date), ("authorization", f"Signature {client_id}:{sign(secret, path, date, texts)}")]


def login() -> list[tuple[str, str]]:
    return basic(*LOGIN_CLIENT)


def bearer(token: str = BEARER_TOKEN) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {token}")]


def api_key(key: str = API_KEY) -> dict[str, str]:
    return {"apiKey": key}
