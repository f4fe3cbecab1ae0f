"""The refusals of an operation as OpenAPI writes responses, made by calling the denials themselves."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from starlette.responses import Response

from allowlist_middleware.denial import SCHEMA, Denial, make_body, make_headers
from allowlist_middleware.policy import Decision, Reason, Rule, Standing, decide

COMPONENT: Final = str(SCHEMA["title"])
REFERENCE: Final = {"$ref": f"#/components/schemas/{COMPONENT}"}

_SENTENCES: Final = {
    Reason.NO_CLIENT: "Client credentials are required and missing.",
    Reason.UNREADABLE_CREDENTIALS: "The client credentials cannot be read.",
    Reason.NOT_ON_LIST: "The allow list of the API client does not admit the caller.",
    Reason.LOOKUP_FAILED: "The allow list could not be looked up; try again later.",
}
_JSON_TYPES: Final = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array"}
# About the message, or of every message: no part of what a refusal says.
_UNSAID: Final = frozenset(("content-length", "content-type", "date", "server"))


class Sample(NamedTuple):
    """What one denial answers for one reason."""

    reason: Reason
    status_code: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    is_documented: bool

    @property
    def media_type(self) -> str:
        """The media type of the body, without its parameters."""
        return dict(self.headers).get("content-type", "").partition(";")[0].strip()


def make_responses(rules: Iterable[tuple[Rule, Denial | None]], decision: Decision) -> dict[str, dict[str, Any]]:
    """Return the responses by status: what each denial answers where its rule refuses, `decision` filled in."""
    responses: dict[str, dict[str, Any]] = {}
    for rule, denial in rules:
        for sample in _make_samples(rule, denial, decision):
            _add(responses.setdefault(str(sample.status_code), {"description": ""}), sample)
    return responses


def _make_samples(rule: Rule, denial: Denial | None, decision: Decision) -> Iterator[Sample]:
    for standing in Standing:
        reason, status_code = decide(rule, standing)
        if status_code is not None:
            yield call_denial(
                denial,
                decision._replace(
                    allowed=False,
                    reason=reason,
                    status_code=status_code,
                    client_id=None if standing in (Standing.NO_CLIENT, Standing.UNREADABLE) else decision.client_id,
                    address=None if standing is Standing.ADDRESS_UNKNOWN else decision.address,
                ),
                status_code,
            )


def call_denial(denial: Denial | None, decision: Decision, status_code: int) -> Sample:
    """Return what a denial answers, with what the middleware adds; the documented refusal where it fails."""
    response: Any = None
    if denial is not None:
        try:
            response = denial(decision)
        except Exception:  # noqa: BLE001 - the middleware answers with the documented refusal then, and so says this
            response = None
    if isinstance(response, Response):
        headers = {**response.headers, "cache-control": "no-store"}
        body = bytes(getattr(response, "body", b""))
        return Sample(decision.reason, response.status_code, tuple(headers.items()), body, is_documented=False)
    body = make_body(status_code, decision.request_id or "")
    own = tuple((name.decode(), value.decode()) for name, value in make_headers(status_code, body))
    return Sample(decision.reason, status_code, own, body, is_documented=True)


def _add(response: dict[str, Any], sample: Sample) -> None:
    sentence = _SENTENCES.get(sample.reason, "")
    if sentence not in response["description"]:
        response["description"] = f"{response['description']} {sentence}".lstrip()
    for name, value in sample.headers:
        if name not in _UNSAID:
            header = {"schema": {"type": "string"}, "example": value}
            response.setdefault("headers", {}).setdefault(name.title().replace("Www-", "WWW-"), header)
    if not sample.media_type:
        return
    media = response.setdefault("content", {}).setdefault(sample.media_type, {"examples": {}})
    value = _parse(sample)
    add_schema(media, REFERENCE if sample.is_documented else _schema_of(value))
    if value not in [example["value"] for example in media["examples"].values()]:
        media["examples"][str(sample.reason)] = {"value": value}


def add_schema(media: dict[str, Any], schema: dict[str, Any]) -> None:
    """Let a media type also be what a schema describes."""
    present = media.get("schema", schema)
    known = present.get("anyOf", [present])
    media["schema"] = present if schema in known else {"anyOf": [*known, schema]}


def _parse(sample: Sample) -> Any:
    try:
        return json.loads(sample.body) if sample.media_type.endswith("json") else sample.body.decode()
    except ValueError:
        return sample.body.decode("latin-1")


def _schema_of(value: Any) -> dict[str, Any]:
    """Return a schema of what an example shows: its types, and the fields of an object."""
    if isinstance(value, dict):
        fields = {name: _schema_of(field) for name, field in value.items()}
        return {"type": "object", "required": list(fields), "properties": fields}
    return {"type": _JSON_TYPES[type(value)]} if type(value) in _JSON_TYPES else {}
