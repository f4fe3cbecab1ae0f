"""A schema-driven fuzzer finds no error of the reference application and no answer outside its description."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("python_multipart")
pytest.importorskip("schemathesis")

import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import CHECKS, load_all_checks
from starlette.types import Receive, Scope, Send

from examples.identity_cloud.demonstration import API_KEY, SECRETS
from tests.asgi import basic
from tests.identity_cloud import INSIDE, INTERNAL_SERVER_ERROR, OUTSIDE, ROWS, Cloud, bearer, login, make_cloud

load_all_checks()
CONFORMANCE = CHECKS.get_by_names(
    [
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
    ]
)

RIGHT = {"basic": basic("acme", SECRETS["acme"]), "login": login(), "bearer": bearer()}
WRONG = [[], basic("acme", "guess"), basic("stranger"), [("authorization", "Basic !")], bearer("guess")]


class FromAddress:
    """Calls the application from an address of one's choice."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.client = INSIDE
        self.decision: Any = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["client"] = self.client
        await self.cloud.app(scope, receive, send)
        self.decision = scope.get("allow_list_decision")


@pytest.fixture(scope="module")
def caller() -> Iterator[FromAddress]:
    cloud = make_cloud()
    yield FromAddress(cloud)
    cloud.store.close()


@pytest.fixture(scope="module")
def schema(caller: FromAddress) -> Any:
    return schemathesis.openapi.from_asgi("/openapi.json", app=caller)


@pytest.mark.parametrize("row", ROWS, ids=[f"{row['method']} {row['path']}" for row in ROWS])
def test_every_answer_is_described_and_none_is_an_error(row: dict[str, Any], caller: FromAddress, schema: Any) -> None:
    operation = schema[row["path"]][row["method"]]
    schemes = [name for scheme in operation.definition.raw.get("security", []) for name in scheme]
    right = next((RIGHT[name] for name in schemes if name in RIGHT), [])

    count = 16 if "requestBody" in operation.definition.raw else 3

    @settings(
        max_examples=count, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(
        case=operation.as_strategy() | operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE),
        headers=st.sampled_from([*[right] * 15, *WRONG]),
        client=st.sampled_from([*[INSIDE] * 6, OUTSIDE, ("testclient", 1)]),
        key=st.sampled_from([API_KEY, API_KEY, API_KEY, "guess"]),
    )
    def check(case: Any, headers: list[tuple[str, str]], client: Any, key: str) -> None:
        caller.cloud.store.reset()
        caller.client = client
        response = case.call(headers=dict(headers), params={"apiKey": key} if "apiKey" in schemes else None)
        case.validate_response(response, checks=CONFORMANCE)
        if response.status_code >= 500:
            assert not caller.decision.allowed
            assert response.json() == INTERNAL_SERVER_ERROR

    check()
