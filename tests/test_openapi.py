"""The OpenAPI description says what is enforced."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from allowlist_middleware import AllowListMiddleware, Decision, respects_allow_list
from allowlist_middleware.denial import SCHEMA
from allowlist_middleware.openapi import describe
from tests.asgi import LISTS, OUTSIDE, basic, call

pytest.importorskip("fastapi")
pytest.importorskip("openapi_spec_validator")
pytest.importorskip("jsonschema")

import jsonschema
import openapi_spec_validator
from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from fastapi.routing import APIRoute
from starlette.applications import Starlette
from starlette.routing import Mount

pytestmark = pytest.mark.anyio

YES = "Respects API Client Allow List: Yes"
NO = "Respects API Client Allow List: No"

Endpoint = Callable[[], Any]


def endpoint(annotation: Callable[[Endpoint], Endpoint] | None = None, text: str = "") -> Endpoint:
    def answer() -> None: ...

    answer.__doc__ = text
    return answer if annotation is None else annotation(answer)


def make_app(**endpoints: Endpoint) -> FastAPI:
    app = FastAPI()
    app.add_middleware(AllowListMiddleware, allow_lists=LISTS)
    for name, function in endpoints.items():
        app.get(f"/{name}")(function)
    return app


def describe_and_read(app: Any, sub: FastAPI | None = None) -> dict[str, Any]:
    describe(app)
    document: dict[str, Any] = (sub or app).openapi()
    openapi_spec_validator.validate(document)
    return document


def read_lines(document: dict[str, Any]) -> dict[str, tuple[str, bool]]:
    """Return the last line of each description, and the extension."""
    return {
        f"{method.upper()} {path}": (operation["description"].splitlines()[-1], operation["x-respects-allow-list"])
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }


def test_each_operation_says_whether_it_respects_the_list() -> None:
    app = make_app(
        yes=endpoint(respects_allow_list(True), "What it does.\n\nAt length."),
        optional=endpoint(respects_allow_list(True, require_client=False)),
        no=endpoint(respects_allow_list(False), "What it does."),
        nobody=endpoint(),
    )
    document = describe_and_read(app)
    assert read_lines(document) == {
        "GET /yes": (YES, True),
        "GET /optional": (YES, True),
        "GET /no": (NO, False),
        "GET /nobody": (YES, True),
    }
    assert document["paths"]["/yes"]["get"]["description"] == f"What it does.\n\nAt length.\n\n{YES}"
    assert document["paths"]["/nobody"]["get"]["description"] == YES
    statuses = {path: set(item["get"]["responses"]) for path, item in document["paths"].items()}
    assert statuses == {
        "/yes": {"200", "401", "403", "503"},
        "/optional": {"200", "401", "403", "503"},
        "/no": {"200"},
        "/nobody": {"200", "401", "403", "503"},
    }


async def test_the_examples_are_what_a_refused_call_gets() -> None:
    app = make_app(entity=endpoint(respects_allow_list(True)))
    document = describe_and_read(app)
    responses = document["paths"]["/entity"]["get"]["responses"]
    assert document["components"]["schemas"]["AllowListRefusal"] == SCHEMA
    for status, headers in {"401": (), "403": basic("acme")}.items():
        answer = await call(app, "/entity", client=OUTSIDE, headers=headers)
        assert answer.status == int(status)
        media = responses[status]["content"]["application/json"]
        assert media["schema"] == {"$ref": "#/components/schemas/AllowListRefusal"}
        assert media["example"] == {**answer.json, "request_id": "72gnhpkttcjgc3ns"}
        described = {name.lower(): header["example"] for name, header in responses[status]["headers"].items()}
        assert described == {name: value for name, value in answer.headers.items() if not name.startswith("content-")}
    assert responses["503"]["headers"]["Retry-After"]["example"] == "5"
    for status in ("401", "403", "503"):
        jsonschema.validate(responses[status]["content"]["application/json"]["example"], SCHEMA)
        assert responses[status]["description"]


def test_the_documented_example_is_the_documented_refusal() -> None:
    document = describe_and_read(make_app(entity=endpoint(respects_allow_list(True))))
    media = document["paths"]["/entity"]["get"]["responses"]["403"]["content"]["application/json"]
    assert media["example"] == {
        "error": "client_permission_error",
        "request_id": "72gnhpkttcjgc3ns",
        "error_description": "the provided client does not have authorization for this action",
        "stat": "error",
        "code": 403,
    }


# ── Denials ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def internal_server_error(_: Decision) -> Response:
    return JSONResponse({"message": "Internal Server Error", "retry": [1.5, True, None]}, 500)


def by_reason(decision: Decision) -> Response:
    return PlainTextResponse(f"no: {decision.reason} {decision.client_id} {decision.address}", 418)


def broken(decision: Decision) -> Response:
    raise KeyError(decision.reason)


def not_a_response(_: Decision) -> Any:
    return "no"


def describe_denial(denial: Any, **options: Any) -> dict[str, Any]:
    document = describe_and_read(make_app(entity=endpoint(respects_allow_list(True, denial=denial, **options))))
    responses: dict[str, Any] = document["paths"]["/entity"]["get"]["responses"]
    assert responses.pop("200")
    return responses


def test_a_denial_of_ones_own_is_described_by_what_it_answers() -> None:
    (response,) = describe_denial(internal_server_error).values()
    assert response["content"] == {
        "application/json": {
            "example": {"message": "Internal Server Error", "retry": [1.5, True, None]},
            "schema": {
                "type": "object",
                "required": ["message", "retry"],
                "properties": {"message": {"type": "string"}, "retry": {"type": "array"}},
            },
        }
    }
    assert response["description"] == (
        "The allow list of the API client does not admit the caller. The allow list could not be looked up; try again "
        "later. The client credentials cannot be read. Client credentials are required and missing."
    )


def test_a_denial_is_called_for_every_reason() -> None:
    responses = describe_denial(by_reason)
    assert set(responses) == {"418"}
    assert responses["418"]["content"]["text/plain"] == {
        "schema": {"type": "string"},
        "examples": {
            "not_on_list": {"value": "no: not_on_list acme 192.168.44.44"},
            "address_unknown": {"value": "no: address_unknown acme None"},
            "lookup_failed": {"value": "no: lookup_failed acme 192.168.44.44"},
            "unknown_client": {"value": "no: unknown_client acme 192.168.44.44"},
            "unreadable_credentials": {"value": "no: unreadable_credentials None 192.168.44.44"},
            "no_client": {"value": "no: no_client None 192.168.44.44"},
        },
    }
    optional = describe_denial(by_reason, require_client=False)
    assert "no_client" not in optional["418"]["content"]["text/plain"]["examples"]


@pytest.mark.parametrize("denial", [broken, not_a_response])
def test_a_denial_that_fails_is_described_as_what_takes_its_place(denial: Any) -> None:
    assert describe_denial(denial) == describe_denial(None)


@pytest.mark.parametrize(
    ("denial", "content"),
    [
        (lambda _: Response(status_code=404), None),
        (lambda _: StreamingResponse(iter(()), 404, media_type="text/html"), {"text/html": ""}),
        (lambda _: HTMLResponse(b"\xe9", 404), {"text/html": "\xe9"}),
        (lambda _: Response(b"{", 404, media_type="application/problem+json"), {"application/problem+json": "{"}),
    ],
)
def test_a_denial_without_a_body_that_can_be_shown(denial: Any, content: dict[str, str] | None) -> None:
    (response,) = describe_denial(denial).values()
    shown = {media_type: media["example"] for media_type, media in response.get("content", {}).items()}
    assert shown == (content or {})


def test_the_nearest_denial_is_described_and_that_of_the_middleware_if_there_is_none() -> None:
    app = FastAPI()
    app.add_middleware(AllowListMiddleware, allow_lists=LISTS, denial=by_reason)
    router = respects_allow_list(True, denial=internal_server_error)(APIRouter())
    router.get("/near")(endpoint())
    app.include_router(router)
    app.get("/far")(endpoint())
    paths = describe_and_read(app)["paths"]
    assert set(paths["/near"]["get"]["responses"]) == {"200", "500"}
    assert set(paths["/far"]["get"]["responses"]) == {"200", "418"}


def test_every_middleware_on_the_way_is_described() -> None:
    inner = FastAPI()
    inner.add_middleware(AllowListMiddleware, allow_lists=LISTS, denial=by_reason)
    inner.get("/entity")(endpoint(respects_allow_list(True)))
    app = make_app()
    app.mount("/inner", inner)
    responses = describe_and_read(app, inner)["paths"]["/entity"]["get"]["responses"]
    assert set(responses) == {"200", "401", "403", "418", "503"}


# ── What the application says itself ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [403, "4XX", "default"])
def test_what_the_application_says_of_a_status_stays_true(status: int | str) -> None:
    own = {"type": "object", "properties": {"detail": {"type": "string"}}}
    app = make_app()
    responses: Any = {
        status: {
            "description": "You may not.",
            "headers": {"X-Own": {"schema": {"type": "string"}}},
            "content": {"application/json": {"schema": own, "example": {"detail": "no"}}},
        },
        401: {"description": ""},
    }
    app.get("/entity", responses=responses)(endpoint(respects_allow_list(True)))
    described = describe_and_read(app)["paths"]["/entity"]["get"]["responses"]
    assert described["403"]["description"] == "You may not. The allow list of the API client does not admit the caller."
    assert set(described["403"]["headers"]) == {"X-Own", "Cache-Control"}
    media = described["403"]["content"]["application/json"]
    assert media["schema"] == {"anyOf": [own, {"$ref": "#/components/schemas/AllowListRefusal"}]}
    assert list(media["examples"]) == ["own", "not_on_list"]
    assert described["401"]["content"]["application/json"]["schema"] == {
        "anyOf": [{}, {"$ref": "#/components/schemas/AllowListRefusal"}]
    }
    assert ("403" if status == 403 else status) in described


def test_a_response_may_be_a_reference() -> None:
    app = make_app(entity=endpoint(respects_allow_list(True)))
    document = app.openapi()
    document["components"] = {"responses": {"Denied": {"description": "You may not."}}}
    document["paths"]["/entity"]["get"]["responses"]["403"] = {"$ref": "#/components/responses/Denied"}
    document["paths"]["/entity"]["get"]["responses"]["401"] = {"$ref": "#/components/responses/Missing"}
    describe(app)
    described = app.openapi()
    responses = described["paths"]["/entity"]["get"]["responses"]
    assert responses["403"]["description"].startswith("You may not. ")
    assert (
        responses["401"]["description"]
        == "The client credentials cannot be read. Client credentials are required and missing."
    )
    assert described["components"]["responses"]["Denied"] == {"description": "You may not."}


def test_a_schema_of_the_same_name_stays_the_applications() -> None:
    app = make_app(entity=endpoint(respects_allow_list(True)))
    own = {"type": "integer"}
    app.openapi()["components"] = {"schemas": {"AllowListRefusal": own}}
    document = describe_and_read(app)
    assert document["components"]["schemas"]["AllowListRefusal"] == own
    media = document["paths"]["/entity"]["get"]["responses"]["403"]["content"]["application/json"]
    assert media["schema"] == SCHEMA


def test_what_the_application_made_and_keeps_is_not_changed() -> None:
    app = make_app(entity=endpoint(respects_allow_list(True), "What it does."))
    before = copy.deepcopy(app.openapi())
    describe_and_read(app)
    assert app.openapi_schema == before


def test_an_openapi_function_of_ones_own_is_kept() -> None:
    app = make_app(entity=endpoint(respects_allow_list(True)))

    def openapi() -> dict[str, Any]:
        if not app.openapi_schema:
            app.openapi_schema = get_openapi(title="Customised", version="2", routes=app.routes)
            app.openapi_schema["info"]["x-logo"] = {"url": "https://example.com/logo.png"}
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
    document = describe_and_read(app)
    assert document["info"] == {
        "title": "Customised",
        "version": "2",
        "x-logo": {"url": "https://example.com/logo.png"},
    }
    assert read_lines(document) == {"GET /entity": (YES, True)}
    assert app.openapi() == document


def test_describing_twice_says_it_once() -> None:
    app = make_app(entity=endpoint(respects_allow_list(True), f"What it does.\n\n{NO}"))
    first = describe_and_read(app)
    assert first["paths"]["/entity"]["get"]["description"] == f"What it does.\n\n{YES}"
    assert describe_and_read(app) == first
    described = app.openapi
    app.openapi = lambda: described()  # type: ignore[method-assign]
    assert describe_and_read(app) == first


def test_the_description_follows_the_annotations_and_the_routes() -> None:
    function = endpoint()
    app = make_app(entity=function)
    assert read_lines(describe_and_read(app)) == {"GET /entity": (YES, True)}
    respects_allow_list(False)(function)
    app.get("/more")(endpoint())
    assert read_lines(app.openapi()) == {"GET /entity": (NO, False), "GET /more": (YES, True)}


async def test_the_served_document_and_its_page_are_the_described_ones() -> None:
    app = make_app(entity=endpoint(respects_allow_list(True)))
    describe(app)
    assert (await call(app, "/openapi.json")).json == app.openapi()
    assert (await call(app, "/docs")).status == 200


# ── Which operation ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_where_routes_overlap_it_says_what_happens_to_the_call() -> None:
    app = make_app()
    app.get("/items/{item}")(respects_allow_list(False)(lambda item: None))
    app.get("/items/me")(endpoint(respects_allow_list(True)))
    assert read_lines(describe_and_read(app)) == {"GET /items/{item}": (NO, False), "GET /items/me": (NO, False)}
    assert (await call(app, "/items/me", client=OUTSIDE, headers=basic("acme"))).status == 200


def test_where_one_path_stands_for_several_routes_it_says_the_strictest() -> None:
    app = make_app()
    app.get("/items/{item:int}", name="by_number")(respects_allow_list(True)(lambda item: None))
    app.get("/items/{item}", name="by_text")(respects_allow_list(False)(lambda item: None))
    assert read_lines(describe_and_read(app)) == {"GET /items/{item}": (YES, True)}


@pytest.mark.filterwarnings("ignore:Duplicate Operation ID")  # FastAPI gives every method of a route the same
def test_head_follows_get_and_other_methods_stand_for_themselves() -> None:
    app = make_app()
    app.api_route("/entity", methods=["GET", "HEAD"])(endpoint(respects_allow_list(False)))
    app.head("/head")(endpoint(respects_allow_list(False)))
    app.delete("/entity")(endpoint(respects_allow_list(True)))
    describe(app)
    assert read_lines(app.openapi()) == {
        "GET /entity": (NO, False),
        "HEAD /entity": (NO, False),
        "HEAD /head": (NO, False),
        "DELETE /entity": (YES, True),
    }


def test_what_is_described_and_nowhere_served_is_left_alone() -> None:
    app = make_app(entity=endpoint(respects_allow_list(False)))
    document = app.openapi()
    document["paths"]["/elsewhere"] = {
        "summary": "Behind the gateway.",
        "get": {"responses": {"200": {"description": ""}}},
    }
    described = describe_and_read(app)
    assert described["paths"]["/elsewhere"] == document["paths"]["/elsewhere"]


def test_what_takes_every_method_is_described_for_the_method_that_is_written_down() -> None:
    async def asgi(scope: Any, receive: Any, send: Any) -> None: ...

    app = make_app(entity=endpoint())
    app.mount("/opaque", respects_allow_list(False)(asgi))
    app.openapi()["paths"]["/opaque/{path}"] = {
        "get": {
            "parameters": [{"name": "path", "in": "path", "required": True, "schema": {"type": "string"}}],
            "responses": {"200": {"description": ""}},
        }
    }
    assert read_lines(describe_and_read(app))["GET /opaque/{path}"] == (NO, False)


def test_a_route_no_sample_call_fits_is_described_by_its_annotation() -> None:
    class Versioned(APIRoute):
        def matches(self, scope: Any) -> Any:
            match, child_scope = super().matches(scope)
            has_version = any(name == b"x-version" for name, _ in scope["headers"])
            return (match if has_version else type(match).NONE), child_scope

    app = make_app()
    app.router.route_class = Versioned
    app.get("/entity")(endpoint(respects_allow_list(True)))
    document = describe_and_read(app)
    assert read_lines(document) == {"GET /entity": (YES, True)}
    assert set(document["paths"]["/entity"]["get"]["responses"]) == {"200", "401", "403", "503"}


def test_an_application_nothing_is_seen_to_judge_is_described_by_its_annotations() -> None:
    app = FastAPI()
    app.get("/entity")(endpoint(respects_allow_list(True, denial=internal_server_error)))
    document = describe_and_read(app)
    assert read_lines(document) == {"GET /entity": (YES, True)}
    assert set(document["paths"]["/entity"]["get"]["responses"]) == {"200", "500"}


# ── Which application ────────────────────────────────────────────────────────────────────────────────────────────────


def test_included_routers_and_mounted_applications_are_described_by_what_encloses_them() -> None:
    sub = FastAPI()
    sub.get("/s")(endpoint())
    router = respects_allow_list(False)(APIRouter(prefix="/r"))
    router.get("/")(endpoint())
    app = make_app()
    app.include_router(router)
    app.routes.append(respects_allow_list(False)(Mount("/sub", sub)))
    assert read_lines(describe_and_read(app)) == {"GET /r/": (NO, False)}
    assert read_lines(sub.openapi()) == {"GET /s": (NO, False)}


def test_a_mounted_application_that_was_described_alone_is_described_again_by_what_encloses_it() -> None:
    sub = FastAPI()
    sub.get("/s")(endpoint())
    assert read_lines(describe_and_read(sub)) == {"GET /s": (YES, True)}
    app = Starlette(routes=[respects_allow_list(False)(Mount("/sub", sub))])
    describe(app)
    assert read_lines(sub.openapi()) == {"GET /s": (NO, False)}
    describe(sub)
    assert read_lines(sub.openapi()) == {"GET /s": (NO, False)}


def test_an_application_inside_the_middleware_is_described() -> None:
    app = FastAPI()
    app.get("/entity")(endpoint(respects_allow_list(True)))
    wrapped = AllowListMiddleware(app, allow_lists=LISTS, denial=by_reason)
    document = describe_and_read(wrapped, app)
    assert set(document["paths"]["/entity"]["get"]["responses"]) == {"200", "418"}


@pytest.mark.parametrize("app", [Starlette(), 7, None])
def test_without_a_fastapi_application_there_is_nothing_to_describe(app: Any) -> None:
    with pytest.raises(TypeError, match=r"describe: .+ holds no FastAPI application; write describe\(FastAPI\(\)\)"):
        describe(app)
