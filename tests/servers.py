"""Private PostgreSQL and Redis servers, and a proxy that fails on demand: real servers and real faults for the tests.

Nothing here touches a server that is not its own. Where a binary is missing the test is skipped, and `.ci/run` fails.
"""

from __future__ import annotations

import asyncio
import gc
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import pytest

from tests.programs import find_free_port, listens

_START_SECONDS = 30


def find_program(name: str) -> str:
    """Return the path of a server's binary; skips the test where there is none."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    found = shutil.which(name) or shutil.which(name, path=os.pathsep.join(map(str, versions)))
    return found or pytest.skip(f"{name} is not installed")


class Server(ABC):
    """A server process on a free port, in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = find_free_port()
        self.user = _find_user()
        self.process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """Return the command that runs it."""

    def is_up(self) -> bool:
        return listens(self.port)

    def start(self) -> Self:
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command(), stdout=log, stderr=log, cwd=self.directory, start_new_session=True, **self.user
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self.is_up():
            assert self.process.poll() is None, (self.directory / "log").read_text()
            assert time.monotonic() < deadline, "the server does not start"
            time.sleep(0.01)
        return self

    def stop(self, number: signal.Signals = signal.SIGQUIT) -> None:
        """End the server; by default without letting it finish anything."""
        if self.process is not None:  # pragma: no branch - it is where a server could not be started
            self.thaw()
            self.process.send_signal(number)
            self.process.wait(_START_SECONDS)
            self.process = None

    def freeze(self) -> None:
        """Keep the server from answering, with every connection open."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> None:
        assert self.process is not None
        with suppress(OSError):
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
            for pid in (*map(int, children.split()), self.process.pid):
                os.kill(pid, number)


class RedisServer(Server):
    """A Redis that writes every change to disk before it answers, so that it comes back with what it had."""

    def command(self) -> list[str]:
        options = {
            "port": self.port,
            "bind": "127.0.0.1",
            "dir": self.directory,
            "save": "",
            "appendonly": "yes",
            "appendfsync": "always",
        }
        return [
            find_program("redis-server"),
            *(part for name, value in options.items() for part in (f"--{name}", str(value))),
        ]

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def stop(self, number: signal.Signals = signal.SIGKILL) -> None:
        super().stop(number)


class PostgreSQLServer(Server):
    """A PostgreSQL that trusts whoever connects from this machine."""

    def initialise(self) -> Self:
        options = ["-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-locale", "--no-sync"]
        command = [find_program("initdb"), "-D", str(self.data), *options]
        subprocess.run(command, check=True, capture_output=True, cwd=self.directory, **self.user)
        return self

    @property
    def data(self) -> Path:
        return self.directory / "data"

    def command(self) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self.directory,
            "fsync": "off",
            "max_connections": 200,
        }
        pairs = (part for name, value in settings.items() for part in ("-c", f"{name}={value}"))
        return [find_program("postgres"), "-D", str(self.data), *pairs]

    def is_up(self) -> bool:
        probe = [find_program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return listens(self.port) and subprocess.run(probe, check=False).returncode == 0

    @property
    def url(self) -> str:
        # Cancelled while it asks for TLS, asyncpg leaves a future behind whose exception nobody retrieves.
        return f"postgresql+asyncpg://postgres@127.0.0.1:{self.port}/postgres?ssl=disable"

    def psql(self, *statements: str, stdin: str | None = None) -> str:
        """Run statements, or a script, as an operator would."""
        commands = (part for statement in statements for part in ("-c", statement))
        arguments = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-qAt", "-v", "ON_ERROR_STOP=1"]
        command = [find_program("psql"), *arguments, *commands]
        done = subprocess.run(command, check=False, capture_output=True, text=True, input=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout


def _find_user() -> dict[str, Any]:
    """Return whom to run a server as: PostgreSQL refuses to run as root, but not to run as whoever else there is."""
    user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}


@contextmanager
def run_server(make: Callable[[Path], Server]) -> Iterator[Any]:
    """Run a server in a new directory, and remove both."""
    directory = Path(tempfile.mkdtemp(prefix="allow-lists-"))
    server = make(directory)
    os.chown(directory, server.user.get("user", -1), server.user.get("group", -1))
    try:
        if isinstance(server, PostgreSQLServer):
            server.initialise()
        yield server.start()
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)


class Proxy:
    """Stands between a client and a server on this machine, and drops, delays or holds what passes."""

    def __init__(self, port: int) -> None:
        self.target = port
        self.port = 0
        self.delay = 0.0
        self.connections: set[asyncio.StreamWriter] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._server: asyncio.Server
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        gc.collect()  # closes connections a driver has lost in a fault, while there is still an event loop for it

    async def open(self) -> None:
        """Take connections, on the same port as before."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Refuse connections and reset those that are open."""
        self._server.close()
        self.cut()

    def cut(self) -> None:
        """Reset all connections that are open."""
        for writer in tuple(self.connections):
            writer.transport.abort()

    def hold(self) -> None:
        """Let nothing pass any more, as a network does that drops packets."""
        self._flows.clear()

    def release(self) -> None:
        self._flows.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections.add(writer)
        try:
            to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
        else:
            self.connections.add(to_writer)
            await asyncio.gather(self._pump(reader, to_writer), self._pump(to_reader, writer))
            self.connections.discard(to_writer)
        finally:
            self._tasks.discard(task)
            self.connections.discard(writer)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if self.delay:
                    await asyncio.sleep(self.delay)
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
        writer.close()
