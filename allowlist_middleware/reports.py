"""What the commands print: operations, explanations and lists as text, and as values for JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, fields
from typing import Any, Final

from allowlist_middleware.audit import Answer
from allowlist_middleware.listing import Listed
from allowlist_middleware.networks import ANYWHERE
from allowlist_middleware.tables import align, to_csv, to_markdown

VERSION: Final = 1
"""The version of the JSON documents: it changes when a field is removed or changes its meaning."""

_SHOWN: Final = 5  # entries of one list in a table of all


def name_application(application: Any) -> str:
    """Return what a report calls an application."""
    name = type(application).__qualname__
    title = getattr(application, "title", "")
    return f"{name} {title!r}" if isinstance(title, str) and title else name


# ── operations ───────────────────────────────────────────────────────────────────────────────────────────────────────


def write_operations(answers: Sequence[Answer]) -> Iterator[tuple[str, Answer | None]]:
    """Yield the lines of the table, grouped, each with the operation it is about if any."""
    cells = [
        (
            _yes_or_no(one),
            one.method,
            _located(one),
            _client(one),
            one.origin,
            f"{one.endpoint}{_notes(one)}",
        )
        for one in answers
    ]
    header, *lines = align([("respects", "method", "path", "client", "annotated on", "endpoint"), *cells], "  ")
    yield header, None
    by_answer = dict(zip(map(id, answers), lines, strict=True))
    for group, members in _group(answers):
        yield "", None
        yield group, None
        yield from ((by_answer[id(one)], one) for one in members)


def write_markdown(answers: Sequence[Answer]) -> Iterator[str]:
    """Yield the tables that the documentation of the API needs; the framework's own documentation is left out."""
    for group, members in _group([one for one in answers if not one.is_documentation]):
        yield from (f"### {group}", "")
        rows = [(f"`{one.method} {_located(one)}`", _yes_or_no(one), _client(one)) for one in members]
        yield from to_markdown(("Operation", "Respects API Client Allow List", "API client"), rows)
        yield ""


def write_csv(answers: Sequence[Answer]) -> str:
    """Return the operations as comma-separated values."""
    names = [field.name for field in fields(Answer)]
    return to_csv(names, ([_cell(getattr(one, name)) for name in names] for one in answers))


def _group(answers: Sequence[Answer]) -> Iterator[tuple[str, list[Answer]]]:
    """Yield the groups in the order in which they first appear, each once, and FastAPI's own documentation last."""
    for group in dict.fromkeys(one.group for one in sorted(answers, key=lambda one: one.is_documentation)):
        yield group, [one for one in answers if one.group == group]


def _yes_or_no(answer: Answer) -> str:
    return "Yes" if answer.respects else "No"


def _client(answer: Answer) -> str:
    if not answer.respects:
        return "any"
    return "required" if answer.requires_client else "optional"


def _located(answer: Answer) -> str:
    return f"{answer.host or ''}{answer.path}"


def _notes(answer: Answer) -> str:
    notes = [
        *(["cannot be looked into"] if answer.is_opaque else []),
        *([f"shadowed by {answer.shadowed_by}"] if answer.shadowed_by else []),
        *(["no AllowListMiddleware before it"] if not answer.is_judged else []),
    ]
    return f" ({'; '.join(notes)})" if notes else ""


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def to_values(answers: Iterable[Answer]) -> list[dict[str, Any]]:
    """Return the operations as values for JSON."""
    return [asdict(one) for one in answers]


# ── lists ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def write_lists(found: Iterable[tuple[Listed, Sequence[str]]], *, in_full: bool) -> Iterator[str]:
    """Yield the lines about clients; with each goes what of its list holds the address asked for, if one was."""
    rows = []
    for one, entries in found:
        shown = entries or one.entries or ("nowhere",)
        text = ", ".join(shown if in_full else shown[:_SHOWN])
        if len(shown) > _SHOWN and not in_full:
            text += f", ... ({len(shown):,} entries)"
        rows.append((one.client_id, one.failure or text))
    yield from align([("client", "may call from"), *rows])


def list_to_values(one: Listed, holding: Sequence[str]) -> dict[str, Any]:
    """Return one list as values for JSON."""
    anywhere = one.allow_list is ANYWHERE
    entries = [] if one.allow_list is None else list(one.allow_list.entries)
    return {
        "client": one.client_id,
        "anywhere": anywhere,
        "entries": entries,
        "holding": list(holding),
        "failure": one.failure or None,
    }
