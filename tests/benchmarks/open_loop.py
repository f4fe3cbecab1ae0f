"""A load generator that does not wait for answers: calls start when they are due, however slow the server is.

A generator that sends the next call only after the last answer leaves out just the calls that would have had to wait.
Here the moments at which calls are due are drawn before (as independent callers make them: exponential gaps), the same
for every server, and a latency is counted from that moment, so that waiting for a free connection counts too.
"""

from __future__ import annotations

import asyncio
import gc
import random
import time
from array import array
from collections import deque
from typing import Final, cast

CONNECTIONS: Final = 64
_SPIN: Final = 0.0005  # seconds before a call is due in which it is not worth to sleep


class _Connection(asyncio.Protocol):
    """One kept connection, one call at a time."""

    def __init__(self, generator: OpenLoop) -> None:
        self._generator = generator
        self._transport: asyncio.Transport
        self._received = b""
        self._due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def call(self, due: float) -> None:
        self._due = due
        self._transport.write(self._generator.request)

    def close(self) -> None:
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._generator.ends(self._received):
            received, self._received = self._received, b""
            self._generator.answered(self, received, self._due)

    def connection_lost(self, exc: Exception | None) -> None:
        self._generator.lost(exc)


class OpenLoop:
    """Calls one URL at a rate, and keeps the latency of every call."""

    def __init__(self, host: str, port: int, path: str, authorization: str, status: int = 200) -> None:
        self._host = host
        self._port = port
        self.request = (
            f"GET {path} HTTP/1.1\r\nHost: api.example.org\r\nAccept: */*\r\nUser-Agent: open-loop\r\n"
            f"Authorization: {authorization}\r\n\r\n"
        ).encode()
        self._expected = f"HTTP/1.1 {status} ".encode()
        self._free: deque[_Connection] = deque()
        self._waiting: deque[float] = deque()
        self._latencies = array("d")
        self.lags = array("d")
        """How late a call was sent although a connection was free: the generator's own share of the latency."""
        self._outstanding = 0
        self._finished: asyncio.Future[None] | None = None
        self._closing = False

    async def run(self, rate: float, seconds: float, seed: int) -> array[float]:
        """Call `rate` times a second on average; return the latencies in seconds."""
        loop = asyncio.get_running_loop()
        connections = []
        for _ in range(CONNECTIONS):
            _, protocol = await loop.create_connection(lambda: _Connection(self), self._host, self._port)
            connections.append(protocol)
        self._free.extend(connections)
        gc.collect()
        gc.disable()
        try:
            await self._call_all(_draw_times(rate, seconds, seed))
        finally:
            gc.enable()
            self._closing = True
            for connection in connections:
                connection.close()
        return self._latencies

    async def _call_all(self, times: array[float]) -> None:
        self._outstanding = len(times)
        self._finished = asyncio.get_running_loop().create_future()
        start = time.perf_counter() + 0.05
        for offset in times:
            due = start + offset
            await _wait_until(due)
            if self._free:
                self.lags.append(time.perf_counter() - due)
                self._free.popleft().call(due)
            else:
                self._waiting.append(due)
        await asyncio.wait_for(self._finished, 30)

    def ends(self, received: bytes) -> bool:
        """Return whether a whole response has come in; both servers name its length."""
        head, separator, body = received.partition(b"\r\n\r\n")
        if not separator:
            return False
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        return len(body) >= int(length)

    def answered(self, connection: _Connection, received: bytes, due: float) -> None:
        self._latencies.append(time.perf_counter() - due)
        if not received.startswith(self._expected):
            self.lost(RuntimeError(f"unexpected answer {received[:60]!r}"))
        if self._waiting:
            connection.call(self._waiting.popleft())
        else:
            self._free.append(connection)
        self._outstanding -= 1
        if not self._outstanding and self._finished is not None and not self._finished.done():
            self._finished.set_result(None)

    def lost(self, error: Exception | None) -> None:
        if not self._closing and self._finished is not None and not self._finished.done():
            self._finished.set_exception(error or ConnectionError("the server closed a connection"))


async def _wait_until(due: float) -> None:
    while (wait := due - time.perf_counter()) > 0:  # noqa: ASYNC110 - time is all that it waits for
        await asyncio.sleep(wait - _SPIN if wait > _SPIN else 0)


def _draw_times(rate: float, seconds: float, seed: int) -> array[float]:
    draw = random.Random(seed)
    times = array("d")
    now = 0.0
    while (now := now + draw.expovariate(rate)) < seconds:
        times.append(now)
    return times
