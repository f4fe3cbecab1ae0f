"""An explanation as text, and as values for JSON."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from functools import partial
from os.path import relpath
from typing import Any

from starlette.applications import Starlette
from starlette.routing import Host

from allowlist_middleware.audit import Origin
from allowlist_middleware.explain import Judgement
from allowlist_middleware.networks import ANYWHERE
from allowlist_middleware.operations import Ruling
from allowlist_middleware.reports import name_application
from allowlist_middleware.tables import align


def write_judgement(judgement: Judgement) -> Iterator[str]:
    """Yield the lines about one judgement: the answer, then the walk."""
    decision, walk = judgement.decision, judgement.walk
    effect = "report only, let through" if decision.report_only else f"answered with {judgement.answered}"
    yield f"allowed: {decision.reason}" if decision.allowed else f"denied: {decision.reason}, {effect}"
    if judgement.advice:
        yield f"  {judgement.advice}"
    place = locate(judgement.ruling)
    yield from align(
        (
            ("operation", f"{decision.method} {judgement.template}, {judgement.endpoint}"),
            ("annotation", _describe_annotation(judgement.ruling, judgement.origin) + (place and f" at {place}")),
            ("client", f"{decision.client_id}, as claimed" if decision.client_id else "none"),
            *(("hop", f"{hop.address}, a trusted proxy") for hop in walk.hops if hop.trusted),
            ("address", f"{decision.address or 'unknown'}: {walk}"),
            *(("entry", f"{entry} holds the address") for entry in judgement.holding),
            *_describe_list(judgement),
        ),
        "  ",
    )


def _describe_list(judgement: Judgement) -> Iterator[tuple[str, str]]:
    allow_list = judgement.allow_list
    if allow_list is None:
        return
    if allow_list is ANYWHERE:
        yield "list", "ANYWHERE, which holds every address"
        return
    if judgement.holding:
        return
    count = "1 entry" if len(allow_list.entries) == 1 else f"{len(allow_list.entries):,} entries"
    yield "list", f"{count}, none of which holds the address" if allow_list.entries else "empty: it admits nobody"
    yield from (("nearest", str(miss)) for miss in judgement.nearest)


def _describe_annotation(ruling: Ruling, origin: Origin) -> str:
    if origin == "nobody":
        return "none: API clients from their lists, and whoever sends no client credentials"
    return f"{ruling.annotation} on {origin} {_name_holder(ruling.holder)}"


def _name_holder(holder: Any) -> str:
    while isinstance(holder, partial):
        holder = holder.func
    if hasattr(holder, "__qualname__"):
        return f"{holder.__module__}.{holder.__qualname__}"
    if isinstance(holder, Starlette):
        return name_application(holder)
    if isinstance(holder, Host):
        return holder.host
    tags = ", ".join(str(getattr(tag, "value", tag)) for tag in getattr(holder, "tags", None) or ())
    return getattr(holder, "path", "") or getattr(holder, "prefix", "") or tags or type(holder).__qualname__


def locate(ruling: Ruling) -> str:
    """Return the file and line where the annotated function or class begins, empty for groups."""
    holder = ruling.holder
    while isinstance(holder, partial):
        holder = holder.func
    holder = inspect.unwrap(holder) if callable(holder) else holder
    try:
        return f"{relpath(inspect.getsourcefile(holder) or '')}:{inspect.getsourcelines(holder)[1]}"
    except (OSError, TypeError, ValueError):  # not written in Python, not in a file, or on another drive
        return ""


def judgement_to_values(judgement: Judgement) -> dict[str, Any]:
    """Return one judgement as values for JSON."""
    walk, allow_list = judgement.walk, judgement.allow_list
    return {
        **judgement.decision._asdict(),
        "reason": str(judgement.decision.reason),
        "operation": judgement.template,
        "endpoint": judgement.endpoint,
        "annotation": {
            "respects": judgement.ruling.annotation.respects,
            "requires_client": judgement.ruling.annotation.require_client,
            "origin": judgement.origin,
            "place": locate(judgement.ruling),
        },
        "hops": [hop._asdict() for hop in walk.hops],
        "ending": str(walk),
        "list": None if allow_list is None else {"anywhere": allow_list is ANYWHERE, "entries": allow_list.entries},
        "holding": judgement.holding,
        "nearest": [miss._asdict() for miss in judgement.nearest],
        "advice": judgement.advice,
        "answered": judgement.answered,
    }
