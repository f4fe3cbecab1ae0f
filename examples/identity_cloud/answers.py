"""The bodies the API answers with, as its vendor documents them."""

from __future__ import annotations

import secrets
from typing import Any, Literal

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from allowlist_middleware import Decision

# The vendor's code table; a code is not the HTTP status.
CODES = {
    "missing_argument": 100,
    "invalid_argument": 200,
    "record_not_found": 310,
    "invalid_client_credentials": 402,
    "client_permission_error": 403,
    "invalid_token": 413,
}
TEMPORARILY_UNAVAILABLE = 503


class Ok(BaseModel):
    """The call succeeded."""

    stat: Literal["ok"] = "ok"


class Error(BaseModel):
    """The call failed."""

    stat: Literal["error"] = "error"
    code: int
    error: str
    error_description: str
    request_id: str
    argument_name: str | None = Field(default=None, description="The argument that is wrong, where one is.")


class Failure(Exception):  # noqa: N818 - it is an answer
    """Ends a call with a documented error."""

    def __init__(self, status_code: int, error: str, description: str, argument: str | None = None) -> None:
        self.status_code = status_code
        self.error = error
        self.description = description
        self.argument = argument


def invalid_argument(argument: str, description: str) -> Failure:
    """Return the failure of an argument that makes no sense."""
    return Failure(400, "invalid_argument", description, argument)


def describe_failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what FastAPI puts into the description of operations that fail with these statuses."""
    return {status: {"model": Error} for status in statuses}


async def answer_failure(_: Request, failure: Exception) -> JSONResponse:
    """Answer a call that failed."""
    assert isinstance(failure, Failure)
    error = Error(
        code=CODES[failure.error],
        error=failure.error,
        error_description=failure.description,
        request_id=secrets.token_hex(8),
        argument_name=failure.argument,
    )
    headers = {"WWW-Authenticate": 'Basic realm="API client", charset="UTF-8"'} if failure.status_code == 401 else None
    return JSONResponse(error.model_dump(exclude_none=True), failure.status_code, headers)


async def answer_invalid(request: Request, failure: Exception) -> JSONResponse:
    """Answer a call whose arguments do not fit, in place of FastAPI's 422."""
    assert isinstance(failure, RequestValidationError)
    first = failure.errors()[0]
    error = "missing_argument" if first["type"] == "missing" else "invalid_argument"
    argument = ".".join(map(str, first["loc"][1:])) or "body"
    return await answer_failure(request, Failure(400, error, first["msg"], argument))


# ── Refusals by the allow list ───────────────────────────────────────────────────────────────────────────────────────


def refuse(decision: Decision, /) -> JSONResponse:
    """Return the refusal of the API: the five documented fields, `code` from the vendor's table."""
    status_code, error, description = {
        401: (401, "invalid_client_credentials", "the client credentials are missing or cannot be read"),
        503: (503, "temporarily_unavailable", "the service is temporarily unavailable, try again later"),
    }.get(
        decision.status_code or 403,
        (403, "client_permission_error", "the provided client does not have authorization for this action"),
    )
    body = {
        "error": error,
        "request_id": decision.request_id,
        "error_description": description,
        "stat": "error",
        "code": CODES.get(error, TEMPORARILY_UNAVAILABLE),
    }
    headers = {
        401: {"WWW-Authenticate": 'Basic realm="API client", charset="UTF-8"'},
        503: {"Retry-After": "5"},
    }
    return JSONResponse(body, status_code, headers.get(status_code))


def refuse_configuration(_: Decision, /) -> JSONResponse:
    """Return the refusal the Configuration API is documented to give, whatever the reason."""
    return JSONResponse({"message": "Internal Server Error"}, 500)
