"""The OpenAPI description of a FastAPI application says of each operation whether it respects the allow list."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from typing import Any, Final, TypeAlias

from starlette.applications import Starlette

from allowlist_middleware import fastapi_routers
from allowlist_middleware.audit import Judged, find_strictness, judge_operations
from allowlist_middleware.denial import SCHEMA, Denial
from allowlist_middleware.documented import COMPONENT, REFERENCE, add_schema, make_responses
from allowlist_middleware.errors import quote
from allowlist_middleware.operations import find_denial, find_rule
from allowlist_middleware.policy import Decision, Reason, Rule
from allowlist_middleware.reachable import ANY_METHOD, find_reachable
from allowlist_middleware.routing import look_into

EXTENSION: Final = "x-respects-allow-list"

Document: TypeAlias = dict[str, Any]

_LINE: Final = "Respects API Client Allow List: {}"
_OLD_LINE: Final = re.compile(r"\n*^Respects API Client Allow List: .*$", re.MULTILINE)
_METHODS: Final = ("get", "put", "post", "delete", "options", "head", "patch", "trace", "query")


def describe(app: Any) -> None:
    """Make the OpenAPI description of an application, and of those mounted in it, say what the allow list does.

    Call it after `app.openapi` was customised and applications were mounted; routes and annotations may change later:
    each description is made from what holds when it is asked for. Raises `TypeError` for what holds no FastAPI
    application.
    """
    applications = list(_find_applications(app))
    if not applications:
        raise TypeError(f"describe: {quote(app)} holds no FastAPI application; write describe(FastAPI())")
    for application in applications:
        present: Any = getattr(application, "openapi")  # noqa: B009 - FastAPI's, which is not imported
        if not isinstance(present, _Description):
            vars(application)["openapi"] = _Description(application, present, app)
        elif application is not app:
            present.root = app  # it says more than the application alone: groups around it, and what judges there


class _Description:
    """Takes the place of an application's `openapi`: its description, and what holds for each operation."""

    def __init__(self, application: Starlette, make: Callable[[], Document], root: Any) -> None:
        self._application = application
        self._make = make
        self.root = root

    def __call__(self) -> Document:
        """Return the description as it holds now; what the application made, and may keep, is not changed."""
        document: Document = deepcopy(self._make())
        judged = _index(self.root, self._application)
        for path, method, operation in find_documented(document):
            found = judged.get((path, method)) or judged.get((path, ANY_METHOD))
            if found is None and method == "HEAD":
                found = judged.get((path, "GET"))
            if found is not None:
                _write(document, operation, found, method)
        return document


def _find_applications(app: Any) -> Iterator[Starlette]:
    own = look_into(app).application
    found = [] if own is None else [own]
    for reachable in find_reachable(app):
        found += [application for application, _ in reachable.surroundings.applications]
    for application in {id(one): one for one in found}.values():
        if fastapi_routers.is_application(application):
            yield application


def _index(root: Any, application: Starlette) -> dict[tuple[str, str], Judged]:
    """Return the operations by path below the application and method, the strictest where several share both."""
    index: dict[tuple[str, str], Judged] = {}
    for judged in judge_operations(root):
        for around, length in judged.reachable.surroundings.applications:
            if around is application:
                key = (judged.reachable.path[length:], judged.reachable.method)
                index[key] = max(index.get(key, judged), judged, key=lambda one: find_strictness(one.ruling))
    return index


def find_documented(document: Mapping[str, Any]) -> Iterator[tuple[str, str, Document]]:
    """Yield the operations of a description: path, method and what it says."""
    for path, item in document.get("paths", {}).items():
        for method in _METHODS:
            if method in item:
                yield path, method.upper(), item[method]


def _write(document: Document, operation: Document, judged: Judged, method: str) -> None:
    respects = judged.ruling.annotation.respects
    text = _OLD_LINE.sub("", operation.get("description", "")).rstrip()
    operation["description"] = f"{text}\n\n{_LINE.format('Yes' if respects else 'No')}".lstrip()
    operation[EXTENSION] = respects
    if respects:
        decision = _make_decision(method, judged.reachable.path)
        for status, response in make_responses(_find_rules(judged, method), decision).items():
            _merge(document, operation.setdefault("responses", {}), status, response)


def _find_rules(judged: Judged, method: str) -> Iterator[tuple[Rule, Denial | None]]:
    """Yield what every middleware on the way asks, and the denial it refuses with."""
    if not judged.stations:
        yield judged.ruling.annotation.rule, find_denial(judged.operation, method)
    for middleware, _, scope in judged.stations:
        operation = middleware.find_operation(scope)
        if not operation.is_served:  # the sample call fits nothing, for a route that also goes by headers
            operation = judged.operation
        yield find_rule(operation, method), middleware.find_denial(operation, method)


def _make_decision(method: str, path: str) -> Decision:
    """Return the decision the examples are about: that of the documented one."""
    return Decision(
        allowed=False,
        report_only=False,
        reason=Reason.NOT_ON_LIST,
        status_code=403,
        client_id="acme",
        address="192.168.44.44",
        method=method,
        path=path,
        operation=path,
        request_id="72gnhpkttcjgc3ns",
    )


def _merge(document: Document, responses: Document, status: str, refusal: Document) -> None:
    """Add a refusal to the responses; what the application says of that status stays true beside it."""
    present = next((responses[key] for key in (status, f"{status[0]}XX", "default") if key in responses), None)
    refusal = _refer(document, refusal)
    if present is None:
        responses[status] = refusal
    else:
        refusal = responses[status] = _add_to(deepcopy(_resolve(document, present)), refusal)
    for media in refusal.get("content", {}).values():
        if len(media.get("examples", ())) == 1:
            (example,) = media.pop("examples").values()
            media["example"] = example["value"]


def _add_to(merged: Document, refusal: Document) -> Document:
    if refusal["description"] not in merged.get("description", ""):
        merged["description"] = f"{merged.get('description', '')} {refusal['description']}".lstrip()
    merged["headers"] = {**refusal.get("headers", {}), **merged.get("headers", {})}
    for media_type, media in refusal.get("content", {}).items():
        own = merged.setdefault("content", {}).setdefault(media_type, {})
        own.setdefault("schema", {})  # the application's answers, of which nothing is known
        add_schema(own, media["schema"])
        if "example" in own and {"value": own["example"]} not in media["examples"].values():
            own["examples"] = {"own": {"value": own["example"]}}
        own.pop("example", None)
        own["examples"] = {**own.get("examples", {}), **media["examples"]}
    return merged


def _refer(document: Document, refusal: Document) -> Document:
    """Return the refusal with the schema it refers to in the document, or in itself where the name is taken."""
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    if schemas.setdefault(COMPONENT, deepcopy(SCHEMA)) == SCHEMA:
        return refusal
    own: Document = _replace(refusal, REFERENCE, SCHEMA)
    return own


def _replace(value: Any, old: Any, new: Any) -> Any:
    if value == old:
        return new
    if isinstance(value, dict):
        return {name: _replace(field, old, new) for name, field in value.items()}
    return [_replace(one, old, new) for one in value] if isinstance(value, list) else value


def _resolve(document: Document, response: Document) -> Document:
    found: Any = response
    if "$ref" in response:
        found = document
        for step in response["$ref"].removeprefix("#/").split("/"):
            found = found.get(step, {})
    return dict(found)
