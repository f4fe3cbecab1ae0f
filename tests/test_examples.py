"""The examples, run as their docstrings say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.programs import find_free_port, listens, needs, wait_for_port

pytest.importorskip("fastapi")

from examples import quickstart

ROOT = Path(__file__).resolve().parent.parent

needs_addresses = pytest.mark.skipif(
    not quickstart.has_address("127.0.0.44"), reason="127.0.0.44 is not an address of this machine"
)

ANSWERS = {
    "acme, on its list": "200",
    "acme, not on its list": "403 not_on_list",
    "acme, not on its list, with a forged header": "403 not_on_list",
    "acme, behind the trusted proxy, on its list": "200",
    "acme, behind the trusted proxy, not on its list": "403 not_on_list",
    "acme, on its list, with a wrong secret": "401",
    "partner, which may call from anywhere": "200",
    "retired, whose list is empty": "403 not_on_list",
    "stranger, which nobody knows": "403 unknown_client",
    "nobody, where a client is required": "401 no_client",
    "a user with a token": "200",
    "nobody, where nothing is annotated": "200",
    "acme, not on its list, where nothing is annotated": "403 not_on_list",
}
ANSWERS_BEHIND_NGINX = {
    "acme, on its list": "200",
    "acme, not on its list": "403 not_on_list",
    "acme, not on its list, with a forged header": "403 not_on_list",
    "partner, which may call from anywhere": "200",
    "a user with a token": "200",
}
EXCHANGE = re.compile(r"^(.+)\n  asked   .+\n(?:  log     (\d+ \w+) .*\n)?  answer  (\d+) .*$", re.MULTILINE)
FOLLOWED = re.compile(r"^  worker (\d)  (.+), then (.+); followed after (\S+) s$", re.MULTILINE)
ALL_FOLLOWED = re.compile(
    r"all 4 workers followed within (\S+) s of the command; of (\d+) calls begun after that, (\d+) "
)
DOCUMENTED = (
    r'403 {"error":"client_permission_error","request_id":"[2-9a-z]{16}",'
    r'"error_description":"the provided client does not have authorization for this action","stat":"error","code":403}'
)


def run(module: str, **more: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False, **more)


def read(transcript: str) -> dict[str, str]:
    """Return what each caller of a transcript got: the status, and the reason if the middleware refused the call."""
    return {what: logged or status for what, logged, status in EXCHANGE.findall(transcript)}


@needs_addresses
def test_the_quickstart_shows_who_asked_what_and_what_came_back() -> None:
    done = run("examples.quickstart")

    assert (done.returncode, done.stderr) == (0, "")
    assert read(done.stdout) == ANSWERS
    assert len(re.findall(DOCUMENTED, done.stdout)) == list(ANSWERS.values()).count("403 not_on_list") + 1
    assert "192.168.44.44" in done.stdout


def test_the_quickstart_does_with_one_loopback_address(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(quickstart, "has_address", lambda address: False)

    quickstart.main()

    statuses = {what: answer[:3] for what, answer in ANSWERS.items()}
    assert read(capsys.readouterr().out) == statuses
    assert "address=192.168.44.44" in caplog.text


def test_an_address_no_machine_has_is_none_of_this_one() -> None:
    assert not quickstart.has_address("192.0.2.1")


@needs_addresses
def test_uvicorn_serves_the_application_of_the_quickstart() -> None:
    port = find_free_port()
    command = [sys.executable, "-m", "uvicorn", "examples.quickstart:app", "--port", str(port), "--no-proxy-headers"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as server:
        wait_for_port(port)
        inside, outside = (quickstart.send(call, port) for call in quickstart.CALLS[:2])
        server.terminate()

    assert inside == '200 {"entity":"42","client":"acme"}'
    assert re.fullmatch(DOCUMENTED, outside)


@needs("nginx")
@needs_addresses
def test_behind_nginx_over_tcp_and_over_a_unix_socket() -> None:
    done = run("examples.behind_nginx")

    assert (done.returncode, done.stderr) == (0, "")
    _, over_tcp, over_unix = done.stdout.split("\n── ")
    past_nginx = {"acme, past nginx, with a forged header": "403 not_on_list"}
    assert read(over_tcp) == ANSWERS_BEHIND_NGINX | past_nginx
    assert read(over_unix) == ANSWERS_BEHIND_NGINX
    ports = re.findall(r"--port (\d+)", done.stdout)
    assert [listens(int(port)) for port in ports] == [False]


def test_behind_nginx_says_what_to_install() -> None:
    done = run("examples.behind_nginx", env={"PATH": ""})

    assert done.returncode == 1
    assert done.stderr == "nginx is not installed; on Debian and Ubuntu: apt-get install nginx-light\n"


@pytest.fixture
def fleet() -> Any:
    """Return the example, where what it needs of Python is installed."""
    pytest.importorskip("redis")
    pytest.importorskip("cachetools")
    from examples import fleet

    return fleet


@needs("nginx")
@needs("redis-server")
@needs("redis-cli")
@needs_addresses
def test_every_worker_of_a_fleet_follows_a_change(fleet: Any) -> None:
    done = run("examples.fleet")

    assert (done.returncode, done.stderr) == (0, "")
    start, _, moved, returned, deleted = done.stdout.split("\n── ")
    assert re.findall(r"^  worker (\d)  GET /ready  200$", start, re.MULTILINE) == ["1", "2", "3", "4"]
    for part, old, new in ((moved, "200", "403"), (returned, "403", "200"), (deleted, "200", "403")):
        workers = FOLLOWED.findall(part)
        assert [number for number, *_ in workers] == ["1", "2", "3", "4"]
        for _, before, after, seconds in workers:
            assert re.fullmatch(rf"\d+ x {old}", before)
            assert f" x {new}" in after
            assert float(seconds) < fleet.BOUND
        seconds, calls, wrong = ALL_FOLLOWED.findall(part)[0]
        assert float(seconds) == max(float(each) for *_, each in workers)
        assert (int(calls) > 4, wrong) == (True, "0")
    assert "\n  log     403 not_on_list client='acme' address=127.0.0.44 GET /entity " in moved
    assert "\n  log     403 unknown_client client='acme' address=127.0.0.44 GET /entity " in deleted
    ports = re.findall(r"--port (\d+)", done.stdout)
    assert [listens(int(port)) for port in ports] == [False] * 5


@needs_addresses
def test_a_worker_of_the_fleet_without_its_redis_is_not_ready(fleet: Any) -> None:
    port, nowhere = find_free_port(), find_free_port()
    uvicorn = [sys.executable, "-m", "uvicorn", "--no-proxy-headers"]
    command = [*uvicorn, "--port", str(port), "--header", "X-Worker:1", "examples.fleet:app"]
    environment = {**os.environ, "REDIS_URL": f"redis://127.0.0.1:{nowhere}"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        wait_for_port(port)
        answers = [fleet.call(port, "/ready", ""), fleet.call(port)]
        server.terminate()
        said, _ = server.communicate()

    assert [(answer.worker, answer.status) for answer in answers] == [("1", 503), ("1", 503)]
    assert b"503 lookup_failed client='acme'" in said


def test_the_fleet_says_what_to_install(fleet: Any, tmp_path: Path) -> None:
    missing = [("nginx", "nginx-light"), ("redis-cli", "redis-tools"), ("redis-server", "redis-server")]
    for program, package in missing:
        done = run("examples.fleet", env={"PATH": str(tmp_path)})

        assert done.returncode == 1
        assert done.stderr == f"{program} is not installed; on Debian and Ubuntu: apt-get install {package}\n"
        (tmp_path / program).touch(mode=0o755)
