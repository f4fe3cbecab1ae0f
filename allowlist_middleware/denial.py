"""The documented responses to refused calls, as values."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from starlette.responses import Response

    from allowlist_middleware.policy import Decision

RETRY_AFTER: Final = 5
"""Seconds after which a caller refused with 503 may try again."""

_ALPHABET: Final = b"23456789abcdefghjkmnpqrstuvwxyz"  # nothing that is misread over a telephone
_TO_ALPHABET: Final = bytes(_ALPHABET[byte % len(_ALPHABET)] for byte in range(256))


class Denial(Protocol):
    """How refusals look: a plain function from the decision to the response.

    The middleware adds `Cache-Control: no-store` and drops the body for HEAD. A denial that raises, or returns
    anything else than a Starlette response, is replaced by the documented one.
    """

    def __call__(self, decision: Decision, /) -> Response:
        """Return the response to the refused call; `decision.status_code` and `decision.request_id` are set."""


class Refusal(NamedTuple):
    """One documented kind of refusal: the texts of its body and its own headers."""

    error: str
    description: str
    headers: tuple[tuple[str, str], ...]


REFUSALS: Final = {
    401: Refusal(
        "invalid_client_credentials",
        "the client credentials are missing or cannot be read",
        (("www-authenticate", 'Basic realm="API client", charset="UTF-8"'),),  # RFC 7617, section 2.1
    ),
    403: Refusal(
        "client_permission_error",
        "the provided client does not have authorization for this action",
        (),
    ),
    503: Refusal(
        "temporarily_unavailable",
        "the service is temporarily unavailable, try again later",
        (("retry-after", str(RETRY_AFTER)),),  # RFC 9110, section 10.2.3
    ),
}
"""By HTTP status. 403 stands for an unknown client and a wrong address alike, so that neither tells on the other."""

SCHEMA: Final = {
    "type": "object",
    "title": "AllowListRefusal",
    "description": "The answer to a call that the API client's allow list does not let in.",
    "required": ["error", "request_id", "error_description", "stat", "code"],
    "properties": {
        "error": {"type": "string", "enum": [refusal.error for refusal in REFUSALS.values()]},
        "request_id": {"type": "string", "pattern": f"^[{_ALPHABET.decode()}]{{16}}$"},
        "error_description": {"type": "string"},
        "stat": {"type": "string", "enum": ["error"]},
        "code": {"type": "integer", "enum": list(REFUSALS)},
    },
    "additionalProperties": False,
}
"""JSON Schema of the body of every documented refusal."""


def _make_text(status_code: int, refusal: Refusal) -> tuple[bytes, bytes]:
    body = {
        "error": refusal.error,
        "request_id": None,
        "error_description": refusal.description,
        "stat": "error",
        "code": status_code,
    }
    before, _, after = json.dumps(body, separators=(",", ":")).partition("null")
    return f'{before}"'.encode("ascii"), f'"{after}'.encode("ascii")


_TEXTS: Final = {status_code: _make_text(status_code, refusal) for status_code, refusal in REFUSALS.items()}


def make_request_id() -> str:
    """Return 16 random characters by which a caller and an operator find the same log line."""
    # The modulo bias of some characters is harmless: the id is a name, not a secret.
    return os.urandom(16).translate(_TO_ALPHABET).decode("ascii")


def make_body(status_code: int, request_id: str) -> bytes:
    """Return the JSON text of a refusal, its five fields in the documented order; the id is of `make_request_id`."""
    before, after = _TEXTS[status_code]
    return before + request_id.encode("ascii") + after


_HEADERS: Final = {
    status_code: (
        (b"content-type", b"application/json"),
        (b"cache-control", b"no-store"),  # RFC 9111, section 5.2.2.5: a refusal is about this caller, now
        *((name.encode(), value.encode()) for name, value in refusal.headers),
    )
    for status_code, refusal in REFUSALS.items()
}


def make_headers(status_code: int, body: bytes) -> list[tuple[bytes, bytes]]:
    """Return the header fields of a refusal as ASGI has them, names in lower case."""
    return [(b"content-length", b"%d" % len(body)), *_HEADERS[status_code]]
