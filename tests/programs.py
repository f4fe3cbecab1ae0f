"""Other programs the tests run: a test is skipped where its program is missing, and `.ci/run` then fails."""

from __future__ import annotations

import shutil
import socket
import time

import pytest


def needs(program: str) -> pytest.MarkDecorator:
    """Return the mark of a test that runs the program."""
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


def find_free_port() -> int:
    """Return a TCP port nobody listens on at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def listens(port: int) -> bool:
    """Return whether somebody listens on a TCP port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for_port(port: int) -> None:
    """Wait until somebody listens on a TCP port, for at most half a minute."""
    deadline = time.monotonic() + 30
    while not listens(port):
        assert time.monotonic() < deadline
        time.sleep(0.05)
