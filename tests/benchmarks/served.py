"""Servers to be measured: `python -m tests.benchmarks.served starlette ours 8000` serves one by uvicorn, one worker."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from socket import socket
from typing import Any, Final

import uvicorn

from tests.benchmarks.apps import RESPECTS, AddMiddleware, add_ours, basic, make_starlette, path_of, silence
from tests.benchmarks.beside import YARDSTICKS, add_fastapi_guard, add_hand_made, add_no_op, make_fastapi

HOST: Final = "127.0.0.1"
PATH: Final = path_of(0)
INSIDE: Final = basic("acme").decode()
"""Credentials of a client that may call from loopback."""
OUTSIDE: Final = basic("elsewhere").decode()
"""Credentials of a client that may not."""

MAKERS: Final[dict[str, Callable[..., Any]]] = {"starlette": make_starlette, "fastapi": make_fastapi}
_LOOPBACK: Final = (HOST,)
ADDERS: Final[dict[str, AddMiddleware]] = {
    "bare": lambda _app: None,
    "no-op": add_no_op,
    "hand-made": lambda app: add_hand_made(app, _LOOPBACK),
    "ours": lambda app: add_ours(app, _LOOPBACK),
}
if "fastapi-guard, one list" in YARDSTICKS:
    ADDERS["fastapi-guard"] = lambda app: add_fastapi_guard(app, _LOOPBACK)

_START_SECONDS: Final = 60


class Server:
    """A server under way, and the processor time it has taken."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.port = port

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}{PATH}"

    @property
    def processor_seconds(self) -> float:
        """What the kernel has counted for the process so far; 0 where it does not tell."""
        try:
            fields = Path(f"/proc/{self.process.pid}/schedstat").read_text().split()
        except OSError:
            return 0.0
        return int(fields[0]) / 1e9

    def ask(self, authorization: str) -> int:
        connection = HTTPConnection(HOST, self.port, timeout=10)
        connection.request("GET", PATH, headers={"Authorization": authorization})
        status = connection.getresponse().status
        connection.close()
        return status


@contextmanager
def serving(framework: str, middleware: str) -> Iterator[Server]:
    """Serve one application in a process of its own until it answers as it should; stop it in the end."""
    with socket() as free:
        free.bind((HOST, 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", __spec__.name, framework, middleware, str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    server = Server(process, port)
    try:
        _wait(server)
        _check(server, middleware)
        yield server
    finally:
        process.terminate()
        process.wait()


def _wait(server: Server) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and server.process.poll() is None:
        try:
            server.ask(INSIDE)
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"the server {server.process.args!r} does not answer")


def _check(server: Server, middleware: str) -> None:
    expected = {INSIDE: 200}
    if middleware in ("ours", "hand-made"):
        expected[OUTSIDE] = 403
    for authorization, status in expected.items():
        if (found := server.ask(authorization)) != status:
            raise AssertionError(f"{middleware} answered {found} instead of {status}")


def main() -> None:
    framework, middleware, port = sys.argv[1:]
    silence()
    app = MAKERS[framework](1, RESPECTS, ADDERS[middleware])
    logging.getLogger("uvicorn.access").disabled = True
    # The address is that of the connection, as the README says to run it.
    uvicorn.run(app, host=HOST, port=int(port), proxy_headers=False, access_log=False, log_level="warning")


if __name__ == "__main__":
    main()
