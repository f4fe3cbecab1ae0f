"""Where the time of a call goes: the same checks in one function, one more of them at each stage.

`python -m tests.benchmarks.stages` shows what each check costs inside a running application, where caches are cold, and
what is left for the structure of the package: its functions, its values, its support for proxies and other sources.
The last stage is a floor, not an alternative: it knows one application, one list and no proxy.
"""

from __future__ import annotations

import asyncio
import os
from binascii import a2b_base64, b2a_base64
from bisect import bisect_right
from collections.abc import Callable, Sequence
from socket import AF_INET, inet_pton
from typing import Any, Final

from starlette.types import ASGIApp

from allowlist_middleware import AllowList, Decision, Reason
from allowlist_middleware.annotations import find_annotation
from allowlist_middleware.denial import make_request_id
from tests.benchmarks.apps import ENTRIES, IGNORES, RESPECTS, Call, add_ours, ordinary, refused, silence, token
from tests.benchmarks.apps import make_starlette as make
from tests.benchmarks.measure import (
    Progress,
    Row,
    Spread,
    find_versions,
    parse_arguments,
    print_header,
    print_rows,
    ratios,
    write_result,
)
from tests.benchmarks.overhead import BARE, FULL, INSTANCES, OURS, QUICK, Experiment, Subject, measure

_HEADERS: Final = [(b"content-type", b"application/json"), (b"content-length", b"170"), (b"cache-control", b"no-store")]
_HEADER: Final = """
    line = None
    for name, value in scope["headers"]:
        if len(name) == 13 and name.lower() == b"authorization":
            if line is not None:
                raise RuntimeError
            line = value"""
_SCHEME: Final = """
    value = line.strip(b" \\t")
    scheme, _, token = value.partition(b" ")
    if scheme.lower() != b"basic" or len(value) > 8192:
        raise RuntimeError
    token = token.lstrip(b" ")"""
_BASE64: Final = """
    decoded = a2b_base64(token)
    if not decoded or b2a_base64(decoded, newline=False) != token:
        raise RuntimeError"""
_CLIENT: Final = """
    text = decoded.decode()
    if not text.isprintable():
        raise RuntimeError
    client_id, colon, _ = text.partition(":")
    if not colon or not client_id:
        raise RuntimeError"""
_PEER: Final = """
    client = scope.get("client")
    if not client or client[-1] == 0:
        raise RuntimeError
    address = client[0]
    packed = inet_pton(AF_INET, address)"""
_LIST: Final = """
    if bisect_right(LISTS[client_id], packed) & 1 != IS_LISTED:
        raise RuntimeError"""
_ROUTE: Final = """
    route = scope["app"].router.routes[0]
    if not route.path_regex.match(scope["path"]) or scope["method"] not in route.methods:
        raise RuntimeError"""
_ANNOTATION: Final = """
    annotation = find_annotation(route.endpoint)
    if annotation.respects != RESPECTED or annotation.denial is not None:
        raise RuntimeError"""
_MAKE: Final = """
    scope["allow_list_decision"] = tuple.__new__(Decision, (
        IS_ALLOWED, False, REASON, None, CLIENT, address, scope.get("method"), scope["path"], None, REQUEST_ID
    ))"""
_PASS_ON: Final = """
    await self.app(scope, receive, send)"""
_REFUSE: Final = """
    await send({"type": "http.response.start", "status": 403, "headers": [*HEADERS]})
    await send({"type": "http.response.body", "body": BEFORE + REQUEST_ID.encode() + BEFORE})"""

Stages = Sequence[tuple[str, str]]

ORDINARY: Final[Stages] = (
    ("no-op middleware", ""),
    ("the Authorization line", _HEADER),
    ("its scheme", _SCHEME),
    ("base64, strictly", _BASE64),
    ("the client id", _CLIENT),
    ("the peer's address", _PEER),
    ("its list", _LIST),
    ("the decision", _MAKE.replace("CLIENT", "client_id").replace("REQUEST_ID", "None")),
)
TOKEN: Final[Stages] = (
    ("no-op middleware", ""),
    ("the Authorization line", _HEADER),
    ("the peer's address", _PEER),
    ("the route, by its regular expression", _ROUTE),
    ("its annotation", _ANNOTATION),
    ("the decision", _MAKE.replace("CLIENT", "None").replace("REQUEST_ID", "None")),
)
REFUSED: Final[Stages] = (
    ("a constant refusal", ""),
    ("client, address and list", _HEADER + _SCHEME + _BASE64 + _CLIENT + _PEER + _LIST),
    ("the route, by its regular expression", _ROUTE),
    ("its annotation", _ANNOTATION),
    ("request id", "\n    request_id = make_request_id()"),
    ("the decision", _MAKE.replace("CLIENT", "client_id").replace("REQUEST_ID", "request_id")),
)


def _make_middleware(source: str, names: dict[str, Any]) -> type:
    """Return a middleware that does all of it in one function: a call to another one would be part of the cost."""
    found: dict[str, Any] = {}
    exec(f"async def call(self, scope, receive, send):{source}", names, found)

    def __init__(self: Any, app: ASGIApp) -> None:  # noqa: N807
        self.app = app

    return type("Stage", (), {"__init__": __init__, "__call__": found["call"]})


def _experiment(name: str, stages: Stages, annotate: Any, call: Call, *, status: int) -> Experiment:
    is_refused = status == 403
    names = {
        "LISTS": {"acme": AllowList(ENTRIES)._ipv4},
        "IS_LISTED": not is_refused,
        "IS_ALLOWED": not is_refused,
        "RESPECTED": annotate is RESPECTS,
        "REASON": Reason.NOT_ON_LIST if is_refused else Reason.ON_LIST,
        "HEADERS": _HEADERS,
        "BEFORE": b'"error": "client_permission_error"' * 2,
        **{one.__name__: one for one in (Decision, a2b_base64, b2a_base64, bisect_right, inet_pton, find_annotation)},
        "make_request_id": make_request_id,
        "AF_INET": AF_INET,
    }
    allowed = call if status == 200 else ordinary()
    subjects = {BARE: Subject([make(1, annotate) for _ in range(INSTANCES)], (allowed,))}
    source = ""
    for label, stage in stages:
        source += stage
        request_id = "request_id" if "request_id =" in source else "'23456789abcdefgh'"
        ending = _REFUSE.replace("REQUEST_ID", request_id) if is_refused else _PASS_ON
        middleware = _make_middleware(source + ending, names)
        subjects[label] = Subject(_make_some(annotate, middleware), (call,), status)
    subjects[OURS] = Subject([make(1, annotate, add_ours) for _ in range(INSTANCES)], (call,), status)
    return Experiment(name, subjects, {})


def _make_some(annotate: Any, middleware: Any) -> list[ASGIApp]:
    def add(app: Any) -> None:
        app.add_middleware(middleware)

    return [make(1, annotate, add) for _ in range(INSTANCES)]


def main() -> None:
    arguments = parse_arguments(__doc__ or "")
    plan = QUICK if arguments.quick else FULL
    versions = find_versions()
    silence()
    print_header("stages", versions)
    experiments: tuple[Callable[[], Experiment], ...] = (
        lambda: _experiment("ordinary call", ORDINARY, RESPECTS, ordinary(), status=200),
        lambda: _experiment("token call", TOKEN, IGNORES, token(), status=200),
        lambda: _experiment("refused call", REFUSED, RESPECTS, refused(), status=403),
    )
    rows = []
    with asyncio.Runner() as runner, Progress(len(experiments), "stages") as progress:
        for experiment in (make_experiment() for make_experiment in experiments):
            seconds = measure(runner, experiment, plan)
            progress.step(experiment.name)
            rows += [
                Row(f"{experiment.name}: {label}", ratios(seconds, label, BARE), seconds=Spread.of(seconds[label]))
                for label in experiment.subjects
            ]
    print_rows("Starlette, 1 route, to the bare application; each line does all that the lines before do", rows)
    if not arguments.no_write:
        write_result("stages", rows, versions, rounds=plan.rounds, load=os.getloadavg()[0])


if __name__ == "__main__":
    main()
