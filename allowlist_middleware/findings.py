"""What is not sound about an application: nobody decided, nobody looks, or its description says something else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from allowlist_middleware.audit import Judged, find_strictness
from allowlist_middleware.middleware import AllowListMiddleware
from allowlist_middleware.openapi import EXTENSION, find_documented
from allowlist_middleware.reachable import ANY_METHOD, WEBSOCKET

_LINE: Final = re.compile(r"^Respects API Client Allow List: (Yes|No)\s*$", re.MULTILINE)
_PARAMETER: Final = re.compile(r"{[^}]*}")


class Finding(NamedTuple):
    """Something that may be wrong: its kind, the operation it is about if it is about one, and what to do."""

    kind: str
    operation: str
    advice: str

    @property
    def name(self) -> str:
        """What it is accepted by; its kind alone accepts all of that kind."""
        return f"{self.kind}:{self.operation}" if self.operation else self.kind

    def __str__(self) -> str:
        """Return it as one line."""
        return f"{self.name}: {self.advice}"


def find_findings(judged: Iterable[Judged], middlewares: Iterable[AllowListMiddleware]) -> Iterator[Finding]:
    """Yield what is not sound about the operations of an application and what judges them."""
    if any(middleware.report_only for middleware in middlewares):
        yield Finding("report-only", "", "every call is let through; remove report_only=True")
    judged = list(judged)
    is_judged = any(one.stations for one in judged)
    if not is_judged and any(one.ruling.holder is not None for one in judged):
        advice = "endpoints are annotated and nothing enforces it; write app.add_middleware(AllowListMiddleware, ...)"
        yield Finding("no-middleware", "", advice)
    for one in judged:
        yield from _find_of(one, is_judged=is_judged)


def _find_of(judged: Judged, *, is_judged: bool) -> Iterator[Finding]:
    answer = judged.answer
    if answer.is_opaque:
        advice = "what serves it cannot be looked into; annotate the mount or the application"
        yield Finding("opaque", str(answer), advice)
    elif answer.origin == "nobody" and not answer.is_documentation:
        yield Finding("not-annotated", str(answer), "nobody annotated it; write @respects_allow_list(True) or (False)")
    if is_judged and answer.origin != "nobody" and not answer.is_judged:
        yield Finding("not-judged", str(answer), "no AllowListMiddleware stands before it; add one to its application")
    if answer.shadowed_by:
        yield Finding("shadowed", str(answer), f"{answer.shadowed_by} takes its calls; put its route before that one")


def compare(judged: Iterable[Judged], document: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield where a published OpenAPI description disagrees with the code, in the order of the code."""
    strictest: dict[tuple[str, str], Judged] = {}
    for one in judged:
        key = (_PARAMETER.sub("{}", one.reachable.path), one.reachable.method)
        strictest[key] = max(strictest.get(key, one), one, key=lambda each: find_strictness(each.ruling))
    published = list(find_documented(document))
    described = {(_PARAMETER.sub("{}", path), method) for path, method, _ in published}
    for key, one in strictest.items():
        if one.reachable.is_described and key not in described and key[1] not in (WEBSOCKET, ANY_METHOD):
            yield Finding("description", str(one.answer), "it is missing from the description; publish it anew")
    for path, method, operation in published:
        keys = [
            (_PARAMETER.sub("{}", path), each) for each in (method, ANY_METHOD, "GET" if method == "HEAD" else method)
        ]
        found = next((strictest[key] for key in keys if key in strictest), None)
        if found is None:
            advice = "it is described, and nothing in the application serves it"
            yield Finding("description", f"{method} {path}", advice)
        else:
            yield from _disagreement(f"{method} {path}", operation, respects=found.ruling.annotation.respects)


def _disagreement(name: str, operation: Mapping[str, Any], *, respects: bool) -> Iterator[Finding]:
    line = _LINE.search(operation.get("description", ""))
    stated = {operation.get(EXTENSION), None if line is None else line[1] == "Yes"} - {None}
    if not stated:
        yield Finding("description", name, "the description does not say whether it respects the allow list")
    elif stated != {respects}:
        truth = "respects" if respects else "ignores"
        yield Finding("description", name, f"the description says otherwise, the code {truth} the allow list")
