"""The API of the quickstart behind a real nginx, over TCP and over a Unix socket.

`python -m examples.behind_nginx` starts a private nginx and two uvicorn servers on free ports, shows who asked what
from where and what came back, and stops them. It needs the `nginx` program, and the loopback addresses of Linux.
"""

from __future__ import annotations

import logging
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from examples.quickstart import ACME, Call, basic, has_address, make_app, show

logging.basicConfig(format="  log     %(message)s", stream=sys.stdout)

# Each believes the nginx in front of it and nobody else.
tcp_app = make_app(trusted_proxies=["127.0.0.1"])
unix_app = make_app(trusted_proxies=["unix:"])

# $proxy_add_x_forwarded_for is whatever the caller sent, a comma, and the address the caller has.
NGINX_CONF = """
pid {directory}/nginx.pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    fastcgi_temp_path {directory}/fastcgi;
    proxy_temp_path {directory}/proxy;
    scgi_temp_path {directory}/scgi;
    uwsgi_temp_path {directory}/uwsgi;

    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    {servers}
}}
"""
SERVERS = """
    server {{
        listen 127.0.0.1:{tcp_front};
        location / {{ proxy_pass http://127.0.0.1:{tcp_back}; }}
    }}
    server {{
        listen 127.0.0.1:{unix_front};
        location / {{ proxy_pass http://unix:{unix_back}; }}
    }}
"""

CALLS = (
    Call("acme, on its list", "/entity", "127.0.0.1", ACME),
    Call("acme, not on its list", "/entity", "127.0.0.44", ACME),
    Call("acme, not on its list, with a forged header", "/entity", "127.0.0.44", ACME, "192.168.0.1"),
    Call("partner, which may call from anywhere", "/entity", "127.0.0.44", basic("partner", "partner-secret")),
    Call("a user with a token", "/profile", "127.0.0.44", "Bearer amy-token"),
)
PAST_NGINX = (Call("acme, past nginx, with a forged header", "/entity", "127.0.0.44", ACME, "192.168.0.1"),)


def find_free_port() -> int:
    """Return a port nobody listens on at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def require(program: str, package: str) -> str:
    """Return where a program is; without it the example ends, and says what to install."""
    path = shutil.which(program)
    if path is None:
        raise SystemExit(f"{program} is not installed; on Debian and Ubuntu: apt-get install {package}")
    return path


def require_address(address: str) -> None:
    """End the example where this machine does not have an address to call from."""
    if not has_address(address):
        raise SystemExit(f"{address} is not an address of this machine; on macOS: sudo ifconfig lo0 alias {address}")


@contextmanager
def run(command: list[str], address: tuple[str, int] | str, log: IO[str] | None = None) -> Iterator[None]:
    """Run a server until the end of the block, from the moment it listens at its address."""
    print("$", shlex.join(command), flush=True)
    process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        while not listens(address):
            if process.poll() is not None:
                said = "" if log is None else f"\n{Path(log.name).read_text()}"
                raise SystemExit(f"{command[0]} ended with status {process.returncode}{said}")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait()


def listens(address: tuple[str, int] | str) -> bool:
    """Return whether somebody listens at a TCP address or at the path of a socket."""
    with socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET) as probe:
        return probe.connect_ex(address) == 0


@contextmanager
def run_nginx(directory: Path, servers: str, port: int) -> Iterator[None]:
    """Run nginx with these servers, one of which listens on the port, until the end of the block."""
    directory.chmod(0o755)  # started by root it works as another user, who has to reach what is in there
    conf = directory / "nginx.conf"
    conf.write_text(NGINX_CONF.format(directory=directory, servers=servers.strip()))
    command = [require("nginx", "nginx-light"), "-e", "stderr", "-c", str(conf), "-g", "daemon off;"]
    with run(command, ("127.0.0.1", port)):
        yield


def main() -> None:
    """Start the servers, call them and print everything."""
    require("nginx", "nginx-light")
    require_address("127.0.0.44")
    with TemporaryDirectory() as name, ExitStack() as running:
        directory = Path(name)
        tcp_front, unix_front, tcp_back = find_free_port(), find_free_port(), find_free_port()
        unix_back = str(directory / "api.sock")
        ports = {"tcp_front": tcp_front, "unix_front": unix_front, "tcp_back": tcp_back}
        uvicorn = [sys.executable, "-m", "uvicorn", "--no-proxy-headers", "--log-level", "warning"]
        tcp_command = [*uvicorn, "--port", str(tcp_back), "examples.behind_nginx:tcp_app"]
        running.enter_context(run(tcp_command, ("127.0.0.1", tcp_back)))
        running.enter_context(run([*uvicorn, "--uds", unix_back, "examples.behind_nginx:unix_app"], unix_back))
        running.enter_context(run_nginx(directory, SERVERS.format(unix_back=unix_back, **ports), tcp_front))

        print("\n── nginx → TCP → uvicorn", flush=True)
        show(CALLS, tcp_front)
        show(PAST_NGINX, tcp_back)
        print("\n── nginx → Unix socket → uvicorn", flush=True)
        show(CALLS, unix_front)


if __name__ == "__main__":
    main()
