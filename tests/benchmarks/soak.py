"""Memory does not grow, however many addresses, client ids and paths come by.

`python -m tests.benchmarks.soak` makes a million calls, no two of them alike, and compares what the process holds after
the first tenth with what it holds in the end: the memory blocks and the objects of Python, and the resident memory;
then a tenth as many calls again with every byte traced. It fails if anything has grown. `--calls 20000` is for a test.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import random
import sys
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from allowlist_middleware import AllowListMiddleware, AllowLists, respects_allow_list
from tests.benchmarks.apps import Call, basic, receive, send, silence
from tests.benchmarks.measure import (
    find_versions,
    parse_arguments,
    print_header,
    write_result,
)

TOLERATED: Final = {"blocks": 500, "objects": 200, "resident": 2 * 1024 * 1024, "traced": 16 * 1024}
"""Blocks, objects, bytes, bytes. One leaked in a thousand calls would be 900 blocks, two bytes a call 1.8 MB."""


@dataclass(frozen=True)
class Holding:
    """What a process holds at a moment; `traced` are the bytes allocated since tracing began."""

    blocks: int
    objects: int
    resident: int
    traced: int = 0


def make_app(lists: AllowLists, *, by_source: bool = False, is_opaque: bool = False) -> Starlette:
    """Return an application with operations of every kind; opaque where middleware stands between them and the list."""

    async def endpoint(request: Request) -> Response:
        return PlainTextResponse("thing")

    routes = [
        Route("/respects/{id}", respects_allow_list(True)(_copy(endpoint))),
        Route("/ignores/{id}", respects_allow_list(False)(_copy(endpoint))),
        Route("/open/{id}", endpoint),
        Mount("/mounted", routes=[Route(f"/{number}/{{id}}", endpoint) for number in range(20)]),
    ]
    app = Starlette(routes=routes)
    if is_opaque:
        app.add_middleware(_Inner)
    source: Any = _Source(lists) if by_source else lists
    app.add_middleware(AllowListMiddleware, allow_lists=source, trusted_proxies=["192.0.2.0/24"])
    return app


def _copy(endpoint: Any) -> Any:
    async def copied(request: Request) -> Response:
        answer: Response = await endpoint(request)
        return answer

    return copied


class _Inner:
    """A middleware inside, which might send a call anywhere: so every call is judged a second time."""

    def __init__(self, app: ASGIApp) -> None:
        self._inner = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._inner(dict(scope), receive, send)


class _Source:
    """A source of a user's own: the way that awaits."""

    def __init__(self, lists: AllowLists) -> None:
        self._lists = lists

    async def allow_list(self, client_id: str) -> Any:
        return await self._lists.allow_list(client_id)


def draw_calls(draw: random.Random, count: int) -> Iterator[tuple[Call, bytes | None]]:
    """Yield calls that are never the same again: address, client id and path; some behind a proxy, some without."""
    kinds = ("/respects", "/ignores", "/open", "/mounted/7", "/nowhere", "/mounted/nowhere")
    for number in range(count):
        path = f"{draw.choice(kinds)}/{number}-{draw.getrandbits(64):x}"
        address = ".".join(map(str, draw.randbytes(4))) if number % 3 else f"2001:db8::{draw.getrandbits(32):x}"
        client = draw.choice(("acme", f"client-{number}-{draw.getrandbits(64):x}"))
        authorization = draw.choice((basic(client), basic(client), b"Bearer x", None, b"Basic !"))
        if number % 4:
            yield Call(path, authorization, address), None
        else:
            yield Call(path, authorization, "192.0.2.1"), address.encode()


async def run(apps: list[Starlette], lists: AllowLists, calls: Iterator[tuple[Call, bytes | None]]) -> None:
    for number, (call, forwarded) in enumerate(calls):
        scope = call.make_scope()
        if forwarded is not None:
            scope["headers"].append((b"x-forwarded-for", forwarded))
        await apps[number % len(apps)](scope, receive, send)
        if number % 1000 == 0:  # lists change while the application runs
            lists["acme"] = ["10.0.0.0/8", f"2001:db8::{number % 4096:x}"]


def take_stock() -> Holding:
    gc.collect()
    traced = tracemalloc.get_traced_memory()[0]
    return Holding(sys.getallocatedblocks(), len(gc.get_objects()), _resident(), traced)


def _resident() -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


def soak(count: int) -> Iterator[tuple[int, Holding]]:
    """Make the calls, in ten parts, and a tenth as many traced; yield what is held after each part."""
    silence()
    lists = AllowLists({"acme": ["10.0.0.0/8"]})
    apps = [make_app(lists), make_app(lists, by_source=True), make_app(lists, is_opaque=True)]
    draw = random.Random(7)
    with asyncio.Runner() as runner:
        for part in range(1, 11):
            runner.run(run(apps, lists, draw_calls(draw, count // 10)))
            yield count // 10 * part, take_stock()
        tracemalloc.start()
        for part in range(1, 11):
            runner.run(run(apps, lists, draw_calls(draw, count // 100)))
            yield count + count // 100 * part, take_stock()
        tracemalloc.stop()


def find_growth(held: list[Holding]) -> list[str]:
    """Return what has grown beyond what is tolerated: since the first tenth, and since the first tenth traced."""
    found = []
    for name, tolerated in TOLERATED.items():
        part = held[10:] if name == "traced" else held[:10]
        first, last = asdict(part[0])[name], asdict(part[-1])[name]
        if last - first > tolerated:
            found.append(f"{name}: {first:,} after the first tenth, {last:,} in the end")
    return found


def _more(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--calls", type=int, default=1_000_000)


def main() -> None:
    arguments = parse_arguments(__doc__ or "", _more)
    count = 100_000 if arguments.quick else arguments.calls
    print_header("soak", versions := find_versions())
    start = time.monotonic()
    print(f"{'calls':>10}  {'blocks':>9}  {'objects':>9}  {'resident':>12}  {'traced':>9}")
    held = []
    for calls, one in soak(count):
        held.append(one)
        print(f"{calls:10,}  {one.blocks:9,}  {one.objects:9,}  {one.resident:12,}  {one.traced:9,}", flush=True)
    growth = find_growth(held)
    print(f"{time.monotonic() - start:.0f} s;", "; ".join(growth) if growth else "nothing has grown")
    if not arguments.no_write:
        write_result("soak", [], versions, calls=count, held=[asdict(one) for one in held], growth=growth)
    sys.exit(bool(growth))


if __name__ == "__main__":
    main()
