"""The API of the quickstart on several workers behind a real nginx, with its lists in a real Redis, changed live.

`python -m examples.fleet` starts a private Redis, four uvicorn processes and nginx on free ports, changes a list three
times while calls flow, shows what each worker answered and how soon the last one followed, and stops them. It needs the
`nginx`, `redis-server` and `redis-cli` programs, and the loopback addresses of Linux. The same application is served by
`uvicorn examples.fleet:app --no-proxy-headers`, with its lists in the Redis that `REDIS_URL` names.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import NamedTuple

from fastapi import FastAPI, Response
from redis.asyncio import Redis

from allowlist_middleware import AllowListMiddleware
from allowlist_middleware.sources.readiness import Readiness
from allowlist_middleware.sources.redis import RedisAllowLists
from examples.behind_nginx import find_free_port, require, require_address, run, run_nginx
from examples.quickstart import ACME, router

# ── The API ───────────────────────────────────────────────────────────────────────────────────────────────────────────

redis = Redis.from_url(os.environ.get("REDIS_URL", "redis://127.0.0.1:6379"))
allow_lists = RedisAllowLists(redis)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Close the client at the end, after the lists, which may be asking still; the middleware opens them."""
    yield
    await allow_lists.aclose()
    await redis.aclose()


app = FastAPI(title="Fleet", lifespan=lifespan)
app.add_middleware(AllowListMiddleware, allow_lists=allow_lists, trusted_proxies=["127.0.0.1"])
app.include_router(router)


@app.get("/ready")  # not annotated: it answers everybody who sends no client credentials
async def ready(response: Response) -> str:
    """Say how lists are served; only a worker that cannot serve any is taken out."""
    readiness = await allow_lists.readiness()
    if readiness is Readiness.UNAVAILABLE:
        response.status_code = 503
    return readiness


# ── Its callers ───────────────────────────────────────────────────────────────────────────────────────────────────────

WORKERS = 4
CALLER = "127.0.0.44"
ELSEWHERE = "192.0.2.0/24"
BOUND = 5.0  # seconds; without push it would be the ttl, 30 seconds

# Round robin is what nginx does by itself.
SERVERS = """
    upstream workers {{ {workers} }}
    server {{
        listen 127.0.0.1:{front};
        location / {{ proxy_pass http://workers; }}
    }}
"""


class Answer(NamedTuple):
    """When a call began and was answered, by which worker, and how."""

    began: float
    ended: float
    worker: str
    status: int


def call(port: int, path: str = "/entity", authorization: str = ACME) -> Answer:
    """Call the API."""
    began = time.monotonic()
    connection = HTTPConnection("127.0.0.1", port, timeout=10, source_address=(CALLER, 0))
    connection.request("GET", path, headers={"Authorization": authorization} if authorization else {})
    response = connection.getresponse()
    response.read()
    connection.close()
    return Answer(began, time.monotonic(), response.headers["X-Worker"], response.status)


@contextmanager
def calling(port: int) -> Iterator[list[Answer]]:
    """Let calls flow until the end of the block."""
    answers: list[Answer] = []
    is_over = Event()

    def keep_calling() -> None:
        while not is_over.wait(0.002):
            answers.append(call(port))

    with ThreadPoolExecutor() as pool:
        callers = [pool.submit(keep_calling) for _ in range(4)]
        try:
            yield answers
        finally:
            is_over.set()
        for caller in callers:
            caller.result()


def follow(port: int, change: Callable[[], None], status: int) -> None:
    """Change a list while calls flow; print what each worker answered, and when it followed."""
    with calling(port) as answers:
        time.sleep(0.5)
        changed = time.monotonic()
        change()
        while len({each.worker for each in answers if each.began > changed and each.status == status}) < WORKERS:
            if time.monotonic() > changed + BOUND:
                raise SystemExit(f"not every worker answers {status} within {BOUND:g} seconds")
            time.sleep(0.01)
        time.sleep(0.5)
    last = changed
    for worker in sorted({each.worker for each in answers}):
        own = [each for each in answers if each.worker == worker]
        followed = min(each.ended for each in own if each.began > changed and each.status == status)
        before, after = (count(each for each in own if (each.began > changed) is late) for late in (False, True))
        print(f"  worker {worker}  {before}, then {after}; followed after {followed - changed:.3f} s")
        last = max(last, followed)
    late = [each for each in answers if each.began > last]
    wrong = sum(each.status != status for each in late)
    print(f"  all {WORKERS} workers followed within {last - changed:.3f} s of the command;", end=" ")
    print(f"of {len(late)} calls begun after that, {wrong} went by the old list", flush=True)
    if wrong:
        raise SystemExit("a worker went back to the old list")


def count(answers: Iterable[Answer]) -> str:
    """Return how many answers there were of which status."""
    return " and ".join(f"{times} x {status}" for status, times in sorted(Counter(a.status for a in answers).items()))


# ── Who changes lists ─────────────────────────────────────────────────────────────────────────────────────────────────


def set_client(url: str, client_id: str, entries: list[str]) -> None:
    """Set a list as an admin page or a script does: through a source of its own."""

    async def main() -> None:
        async with Redis.from_url(url) as redis, RedisAllowLists(redis, push=False) as lists:
            await lists.set_client(client_id, entries)

    print(f"\n── await allow_lists.set_client({client_id!r}, {entries!r})", flush=True)
    asyncio.run(main())


def by_hand(port: int, *command: str) -> None:
    """Do something in Redis that no source knows of."""
    arguments = ["redis-cli", "-p", str(port), *command]
    print(f"\n── {shlex.join(arguments)}", flush=True)
    subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)


def show_log(log: Path) -> None:
    """Print the newest line the workers logged of a refused call."""
    *_, refused = (line for line in log.read_text().splitlines() if " 403 " in line)
    print(refused, flush=True)


def main() -> None:
    """Start the servers, change lists while calls flow, and print everything."""
    require("nginx", "nginx-light")
    require("redis-cli", "redis-tools")
    redis_server = require("redis-server", "redis-server")
    require_address(CALLER)
    with TemporaryDirectory() as name, ExitStack() as running:
        directory = Path(name)
        log = running.enter_context((directory / "log").open("w"))
        front, redis_port, *ports = (find_free_port() for _ in range(2 + WORKERS))
        redis_command = [redis_server, "--port", str(redis_port), "--bind", "127.0.0.1", "--save", "", "--dir", name]
        running.enter_context(run(redis_command, ("127.0.0.1", redis_port), log))
        url = os.environ["REDIS_URL"] = f"redis://127.0.0.1:{redis_port}"
        print(f"$ export REDIS_URL={url}", flush=True)
        uvicorn = [sys.executable, "-m", "uvicorn", "--no-proxy-headers", "--log-level", "warning"]
        for number, port in enumerate(ports, 1):
            command = [*uvicorn, "--header", f"X-Worker:{number}", "--port", str(port), "examples.fleet:app"]
            running.enter_context(run(command, ("127.0.0.1", port), log))
        workers = " ".join(f"server 127.0.0.1:{port};" for port in ports)
        running.enter_context(run_nginx(directory, SERVERS.format(workers=workers, front=front), front))
        for answer in [call(port, "/ready", "") for port in ports]:
            print(f"  worker {answer.worker}  GET /ready  {answer.status}", flush=True)

        set_client(url, "acme", [CALLER])
        follow(front, lambda: set_client(url, "acme", [ELSEWHERE]), 403)
        show_log(directory / "log")
        value = f'{{"version": 1, "client": "acme", "entries": ["{CALLER}"]}}'
        follow(front, lambda: by_hand(redis_port, "SET", "allow-list:acme", value), 200)
        follow(front, lambda: by_hand(redis_port, "DEL", "allow-list:acme"), 403)
        show_log(directory / "log")


if __name__ == "__main__":
    main()
