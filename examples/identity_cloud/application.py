"""The application: one router per API, each annotated as a group, and the middleware in front of all of them."""

from __future__ import annotations

from functools import partial
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from allowlist_middleware import AllowListMiddleware
from allowlist_middleware.openapi import describe
from examples.identity_cloud import (
    authentication,
    configuration,
    custom_provider,
    entity,
    entity_type,
    flow,
    legacy,
    openid_connect,
    siem,
    social,
    webhooks,
)
from examples.identity_cloud.answers import (
    Failure,
    answer_failure,
    answer_invalid,
    describe_failures,
    invalid_argument,
    refuse,
)
from examples.identity_cloud.credentials import identify_client
from examples.identity_cloud.lists import StoredAllowLists
from examples.identity_cloud.store import Store

# Where paths overlap, as /config/config/clients does, the API that respects the list comes first.
APIS = (
    authentication,
    configuration,
    flow,
    siem,
    entity,
    entity_type,
    legacy,
    social,
    custom_provider,
    webhooks,
    openid_connect,
)


def make_app(store: Store) -> FastAPI:
    """Return the API on a store."""
    app = FastAPI(title="Identity Cloud", summary="The APIs of Identity Cloud, as far as allow lists are concerned.")
    app.state.store = store
    app.add_middleware(
        AllowListMiddleware,
        allow_lists=StoredAllowLists(store),
        identify_client=identify_client,
        denial=refuse,
        require_annotations=True,
    )
    app.add_exception_handler(Failure, answer_failure)
    app.add_exception_handler(RequestValidationError, answer_invalid)
    app.add_exception_handler(400, answer_unreadable)
    for api in APIS:
        app.include_router(api.router, responses=describe_failures(400, 401))
    vars(app)["openapi"] = partial(make_openapi, app)
    describe(app)
    return app


async def answer_unreadable(request: Request, failure: Exception) -> Response:
    """Answer a call whose body cannot be read."""
    assert isinstance(failure, HTTPException)
    return await answer_failure(request, invalid_argument("body", failure.detail))


def make_openapi(app: FastAPI) -> dict[str, Any]:
    """Return the description without the 422 that FastAPI adds: here arguments that do not fit are a 400."""
    if not app.openapi_schema:
        app.openapi_schema = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
        for path in app.openapi_schema["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)
    return app.openapi_schema
