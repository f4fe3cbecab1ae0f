"""What the middleware says when the application starts, and when it refuses to start."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Router

from allowlist_middleware import fastapi_routers
from allowlist_middleware.errors import AllowListError
from allowlist_middleware.operations import find_ruling
from allowlist_middleware.proxies import TrustedProxies
from allowlist_middleware.reachable import Reachable

_SHOWN = 20


class Survey(NamedTuple):
    """How the operations of an application are annotated; FastAPI's own documentation routes are not counted."""

    respecting: int
    ignoring: int
    not_annotated: tuple[Reachable, ...]
    opaque: tuple[Reachable, ...]
    has_cors_inside: bool


def survey(reachable: Sequence[Reachable], app: Any) -> Survey:
    """Count the operations; `app` is what the middleware wraps."""
    counts: Counter[bool] = Counter()
    not_annotated = []
    for one in reachable:
        ruling = find_ruling(one.operation, one.method)
        if ruling.holder is not None:
            counts[ruling.annotation.respects] += 1
        elif not one.is_documentation:
            not_annotated.append(one)
    opaque = tuple(one for one in reachable if one.operation.is_opaque)
    return Survey(counts[True], counts[False], tuple(not_annotated), opaque, _has_cors(app))


def _has_cors(app: Any) -> bool:
    """Return whether CORS middleware stands anywhere inside: around the routes, around some of them or in a mount."""
    pending, seen = [app], set()
    while pending:
        app = pending.pop()
        if id(app) in seen:
            continue
        seen.add(id(app))
        if isinstance(app, CORSMiddleware):
            return True
        if isinstance(app, Starlette):
            if any(isinstance(kind, type) and issubclass(kind, CORSMiddleware) for kind, *_ in app.user_middleware):
                return True
            pending.append(app.router)
        elif isinstance(app, Router):
            pending += (app.middleware_stack, *map(_inside, app.routes))
        else:
            pending.append(_inside(app))
    return False


def _inside(app: Any) -> Any:
    return app.original_router if fastapi_routers.is_included(app) else getattr(app, "app", None)


def require_annotated(found: Survey) -> None:
    """Raise `AllowListError` with the list of operations nobody annotated."""
    missing = found.not_annotated
    if missing:
        raise AllowListError(
            f"require_annotations: {_count(missing)} not annotated: {_named(missing, len(missing))}; "
            "write @respects_allow_list(True) or @respects_allow_list(False) on each, or on their router, mount or "
            "application"
        )


def make_summary(found: Survey, *, report_only: bool, proxies: TrustedProxies) -> tuple[int, str]:
    """Return the level and the text of the line about the start."""
    warnings = []
    if report_only:
        warnings.append("every call is let through, remove report_only=True to enforce")
    if found.not_annotated:
        warnings.append(f"not annotated: {_named(found.not_annotated)}")
    if found.opaque:
        warnings.append(f"cannot be looked into: {_named(found.opaque)}")
    if found.has_cors_inside:
        warnings.append(
            "CORSMiddleware stands inside, so refusals lack its headers: add it after AllowListMiddleware, which puts "
            "it outside"
        )
    line = (
        f"{'report only' if report_only else 'enforcing'}; trusted proxies: {_trusted(proxies)}; operations: "
        f"{found.respecting} respect the allow list, {found.ignoring} ignore it, "
        f"{len(found.not_annotated)} are not annotated"
    )
    return logging.WARNING if warnings else logging.INFO, "; ".join((line, *warnings))


def _trusted(proxies: TrustedProxies) -> str:
    if not proxies.trusts_anybody:
        return "none"
    return f"{', '.join(proxies.trusted)} by {proxies.header}"


def _count(operations: Sequence[Reachable]) -> str:
    return "1 operation is" if len(operations) == 1 else f"{len(operations)} operations are"


def _named(operations: Sequence[Reachable], shown: int = _SHOWN) -> str:
    names = [f"{one.method} {one.path}" for one in operations[:shown]]
    if len(operations) > shown:
        names.append(f"and {len(operations) - shown} more")
    return ", ".join(names)
