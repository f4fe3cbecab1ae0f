"""The command, as people and pipelines use it."""

from __future__ import annotations

import contextlib
import csv
import functools
import importlib
import io
import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

pytest.importorskip("click")

from allowlist_middleware.cli import main

APP = '''
"""An application and what can go wrong with one."""
import functools

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Host, Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles

from allowlist_middleware import ANYWHERE, AllowListMiddleware, AllowLists, AllowList, respects_allow_list

print("importing")


@respects_allow_list(True)
async def entity(request):
    return PlainTextResponse("entity")


@respects_allow_list(False)
async def token(request):
    return PlainTextResponse("token")


async def health(request):
    return PlainTextResponse("up")


async def talk(websocket): ...


class Files(StaticFiles): ...


def lists():
    return AllowLists({
        "acme": ["192.168.0.0/20", "2001:db8::/32", "203.0.113.7", "198.51.100.10-198.51.100.20"],
        "partner": ANYWHERE,
        "retired": [],
        "many": [f"192.0.2.{number}" for number in range(6)],
    })


def make(*routes, **options):
    app = Starlette(routes=routes)
    app.add_middleware(AllowListMiddleware, **{"allow_lists": lists(), **options})
    return app


sound = make(Route("/entity", entity, methods=["POST"]), Route("/token", token))
app = make(
    Route("/entity/{id:int}", entity, methods=["POST"]),
    Route("/token", token),
    Route("/health", health),
    WebSocketRoute("/ws", respects_allow_list(True, require_client=False)(talk)),
    Mount("/static", Files(directory=".")),
    Host("{tenant}.example", Starlette(routes=[Route("/|", health)])),
    Route("/token", entity),
    trusted_proxies=["10.0.0.0/8"],
)
reporting = make(Route("/entity", entity), report_only=True, trusted_proxies=["unix:"], forwarded_header="Forwarded")
unjudged = Starlette(routes=[Route("/entity", entity), Route("/health", health)])
partly = Starlette(routes=[Mount("/in", make(Route("/entity", entity))), Route("/out", entity)])
twice = make(Mount("/in", make(Route("/entity", entity), report_only=True)), report_only=True)
around = AllowListMiddleware(Starlette(routes=[Route("/entity", entity)]), allow_lists={"acme": ["192.0.2.1"]})
others = make(Route("/", health), allow_lists=AllowLists({"acme": ["192.0.2.1"]}, others=ANYWHERE))
by_partial = make(Route("/", functools.partial(entity)), respects_allow_list(True)(Route("/route", health)))
keyed = make(Route("/", entity), identify_client=lambda connection: connection.headers.get("x-api-key"))


def by_mount():
    mount = respects_allow_list(False)(Mount("/m", routes=[Route("/", health)]))
    host = respects_allow_list(False)(Host("api.example", Starlette(routes=[Route("/h", health)])))
    return respects_allow_list(False)(make(mount, host, Route("/a", health)))


class Bare:
    """A source that does not list its clients."""

    async def allow_list(self, client_id):
        return AllowList(["192.0.2.1"]) if client_id == "acme" else None


class Stored(Bare):
    """A source that lists its clients; one of their lists is broken, and so is the look-up of another."""

    count = 3

    async def client_ids(self):
        return [f"client-{number}" for number in range(self.count)]

    async def allow_list(self, client_id):
        if client_id == "client-1":
            return AllowList(["192.0.2.1/24"])
        if client_id == "client-2":
            raise ConnectionError("password=secret")
        return ANYWHERE


class Large(Stored):
    count = 2000


class Closed(Stored):
    async def __aenter__(self):
        raise ConnectionError("password=secret")

    async def __aexit__(self, *_):
        raise AssertionError


bare = make(Route("/", entity), allow_lists=Bare())
stored = make(Route("/", entity), allow_lists=Stored())
large = make(Route("/", entity), allow_lists=Large())
closed = make(Route("/", entity), allow_lists=Closed())
empty = Starlette()


def factory():
    return sound


def failing_factory():
    raise ValueError("no\\nconfiguration")


def wsgi(environ, start_response): ...


class Registry(dict):
    """A class whose parameters cannot be told."""


wrong = make(Route("/", entity), trusted_proxies="10.0.0.0/8")
confused = make(Route("/", entity), identify_client=lambda connection: 1 / 0)
'''


class Result(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def json(self) -> Any:
        document = json.loads(self.out)
        assert document["version"] == 1
        return document


Run = Callable[..., Result]


@pytest.fixture(scope="module", autouse=True)
def _directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Be in a directory with the applications."""
    directory = tmp_path_factory.mktemp("cli")
    (directory / "shop.py").write_text(APP, encoding="utf-8")
    (directory / "broken.py").write_text("import nowhere_at_all", encoding="utf-8")
    (directory / "exiting.py").write_text("raise SystemExit", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        patch.setattr(sys, "path", list(sys.path))
        yield
    for name in ("shop", "broken", "exiting"):
        sys.modules.pop(name, None)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str) -> Result:
        with pytest.raises(SystemExit) as exit_:
            main(arguments)
        assert isinstance(exit_.value.code, int)
        return Result(exit_.value.code, *capsys.readouterr())

    return run


# ── operations ───────────────────────────────────────────────────────────────────────────────────────────────────────


DECIDES = (
    "Starlette: enforcing; trusted proxies: 10.0.0.0/8 by X-Forwarded-For; lists: AllowLists with 4 clients, 1 of them"
)
TABLE = """\
  respects  method     path                client    annotated on  endpoint

/
  Yes       POST       /entity/{id}        required  endpoint      shop.entity
  No        GET        /token              any       endpoint      shop.token
  Yes       GET        /health             optional  nobody        shop.health
  Yes       WEBSOCKET  /ws                 optional  endpoint      shop.talk
  Yes       GET        {tenant}.example/|  optional  nobody        shop.health
  No        GET        /token              any       endpoint      shop.entity (shadowed by shop.token)

/static
  Yes       *          /static/{path}      optional  nobody        shop.Files (cannot be looked into)
"""


def test_operations_as_a_table(run: Run) -> None:
    result = run("operations", "shop:app")
    assert result.code == 0
    assert result.lines[:2] == [f"{DECIDES} anywhere", ""]
    assert result.lines[2:] == TABLE.splitlines()


@pytest.mark.parametrize(
    ("app", "line"),
    [
        (
            "reporting",
            "Starlette: report only; trusted proxies: unix: by Forwarded; lists: AllowLists with 4 clients, 1 ",
        ),
        ("unjudged", "no AllowListMiddleware: nothing is enforced"),
        (
            "around",
            "AllowListMiddleware: enforcing; trusted proxies: none; lists: AllowLists with 1 client, 0 of them ",
        ),
        (
            "others",
            "Starlette: enforcing; trusted proxies: none; lists: AllowLists with 1 client, 0 of them anywhere, and a ",
        ),
        ("bare", "Starlette: enforcing; trusted proxies: none; lists: Bare, which does not list its clients"),
        ("stored", "Starlette: enforcing; trusted proxies: none; lists: Stored with 3 clients, 1 of them anywhere"),
        ("large", "Starlette: enforcing; trusted proxies: none; lists: Large with 2,000 clients"),
        (
            "closed",
            "Starlette: enforcing; trusted proxies: none; lists: Closed, which cannot be read: Closed cannot be opened",
        ),
    ],
)
def test_it_starts_with_what_decides(run: Run, app: str, line: str) -> None:
    assert run("operations", f"shop:{app}").lines[0].startswith(line)


def test_an_application_without_operations(run: Run) -> None:
    assert run("operations", "shop:empty").code == 0
    assert run("check", "shop:empty").code == 0


def test_what_may_be_an_application_is_taken_for_one(run: Run) -> None:
    assert (
        run("operations", "shop:Registry")
        .lines[-1]
        .endswith("shop.Registry (cannot be looked into; no AllowListMiddleware before it)")
    )


def test_what_nothing_judges_is_marked(run: Run) -> None:
    assert run("operations", "shop:partly").lines[-1].endswith("shop.entity (no AllowListMiddleware before it)")


def test_operations_as_json(run: Run) -> None:
    document = run("operations", "shop:app", "--format", "json").json
    assert list(document) == ["version", "middleware", "operations"]
    assert document["middleware"] == [
        {
            "place": "Starlette",
            "report_only": False,
            "trusted_proxies": ["10.0.0.0/8"],
            "forwarded_header": "X-Forwarded-For",
            "source": "AllowLists",
            "clients": 4,
            "anywhere": 1,
            "others": False,
            "failure": None,
        }
    ]
    assert document["operations"][0] == {
        "method": "POST",
        "path": "/entity/{id}",
        "endpoint": "shop.entity",
        "respects": True,
        "requires_client": True,
        "origin": "endpoint",
        "is_opaque": False,
        "is_judged": True,
        "is_documentation": False,
        "host": None,
        "shadowed_by": None,
        "group": "/",
    }
    assert len(document["operations"]) == 7


def test_operations_as_csv(run: Run) -> None:
    rows = list(csv.DictReader(io.StringIO(run("operations", "shop:app", "--format", "csv").out)))
    assert len(rows) == 7
    assert rows[1] == {
        "method": "GET",
        "path": "/token",
        "endpoint": "shop.token",
        "respects": "false",
        "requires_client": "false",
        "origin": "endpoint",
        "is_opaque": "false",
        "is_judged": "true",
        "is_documentation": "false",
        "host": "",
        "shadowed_by": "",
        "group": "/",
    }


def test_operations_as_markdown(run: Run) -> None:
    assert run("operations", "shop:app", "--format", "markdown").lines == [
        "### /",
        "",
        "| Operation | Respects API Client Allow List | API client |",
        "| --- | --- | --- |",
        "| `POST /entity/{id}` | Yes | required |",
        "| `GET /token` | No | any |",
        "| `GET /health` | Yes | optional |",
        "| `WEBSOCKET /ws` | Yes | optional |",
        "| `GET {tenant}.example/&#124;` | Yes | optional |",
        "| `GET /token` | No | any |",
        "",
        "### /static",
        "",
        "| Operation | Respects API Client Allow List | API client |",
        "| --- | --- | --- |",
        "| `* /static/{path}` | Yes | optional |",
    ]


def test_what_the_application_prints_is_not_in_the_output(tmp_path: Path, run: Run) -> None:
    (tmp_path / "loud.py").write_text("from shop import sound\nprint('hello')", encoding="utf-8")
    result = run("operations", "loud:sound", "--app-dir", str(tmp_path), "--format", "json")
    assert result.json["operations"]
    assert result.err == "hello\n"


# ── check ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_sound_application(run: Run) -> None:
    assert run("check", "shop:sound") == Result(0, "operations: 2; findings: 0; accepted: 0\n", "")


@pytest.mark.parametrize(
    ("app", "names"),
    [
        (
            "app",
            [
                "not-annotated:GET /health",
                "opaque:* /static/{path}",
                "not-annotated:GET /|",
                "shadowed:GET /token",
            ],
        ),
        ("reporting", ["report-only"]),
        ("unjudged", ["no-middleware", "not-annotated:GET /health"]),
        ("partly", ["not-judged:GET /out"]),
    ],
)
def test_findings(run: Run, app: str, names: list[str]) -> None:
    result = run("check", f"shop:{app}", "--format", "json")
    assert result.code == 1
    assert not result.json["sound"]
    findings = result.json["findings"]
    assert [one["name"] for one in findings] == names
    assert all(one["advice"] and not one["accepted"] for one in findings)
    text = run("check", f"shop:{app}")
    assert text.code == 1
    assert text.lines[:-1] == [f"{one['name']}: {one['advice']}" for one in findings]


def test_findings_are_accepted_by_name_or_by_kind(run: Run) -> None:
    one = ("--accept", "opaque:* /static/{path}", "--accept", "shadowed", "--accept", "not-annotated:GET /health")
    result = run("check", "shop:app", *one)
    assert result.code == 1
    assert result.lines[-1] == "operations: 7; findings: 1; accepted: 3"
    assert run("check", "shop:app", *one, "--accept", "not-annotated").code == 0
    stale = run("check", "shop:sound", "--accept", "not-annotated:GET /gone")
    assert stale.code == 0
    assert stale.err == "allowlist-middleware: nothing to accept by the name 'not-annotated:GET /gone'\n"


LINE = "Respects API Client Allow List: {}"
PUBLISHED = {
    "/entity": {"post": {"description": f"Stores.\n\n{LINE.format('Yes')}", "x-respects-allow-list": True}},
    "/token": {"get": {"x-respects-allow-list": False}},
}


@pytest.mark.parametrize(
    ("changes", "findings"),
    [
        ({}, []),
        ({"/token": {"get": {"description": LINE.format("No")}}}, []),
        (
            {"/token": {"get": {"description": LINE.format("Yes")}}},
            ["description:GET /token: the description says otherwise, the code ignores the allow list"],
        ),
        (
            {"/entity": {"post": {"description": LINE.format("Yes"), "x-respects-allow-list": False}}},
            ["description:POST /entity: the description says otherwise, the code respects the allow list"],
        ),
        (
            {"/token": {"get": {}}},
            ["description:GET /token: the description does not say whether it respects the allow list"],
        ),
        (
            {"/token": {}, "/gone/{id}": {"get": {}}},
            [
                "description:GET /token: it is missing from the description; publish it anew",
                "description:GET /gone/{id}: it is described, and nothing in the application serves it",
            ],
        ),
    ],
)
def test_a_published_description_is_compared(
    run: Run, tmp_path: Path, changes: dict[str, Any], findings: list[str]
) -> None:
    file = tmp_path / "openapi.json"
    file.write_text(json.dumps({"paths": {**PUBLISHED, **changes}}), encoding="utf-8")
    result = run("check", "shop:sound", "--against", str(file))
    assert (result.code, result.lines[:-1]) == (1 if findings else 0, findings)
    assert run("check", "shop:sound", "--against", str(file), "--accept", "description").code == 0


def test_parameters_may_be_named_otherwise_in_a_description(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "openapi.json"
    paths = {
        "/entity/{number}": {"post": {"x-respects-allow-list": True}},
        "/token": {"get": {"x-respects-allow-list": False}},
        "/health": {"get": {"x-respects-allow-list": True}},
        "/|": {"get": {"x-respects-allow-list": True}},
        "/static/{file}": {"get": {"x-respects-allow-list": True}},
    }
    file.write_text(json.dumps({"paths": paths}), encoding="utf-8")
    result = run("check", "shop:app", "--against", str(file), "--accept", "not-annotated", "--accept", "opaque")
    assert [line for line in result.lines if line.startswith("description")] == []


# ── explain ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_call_of_the_documentation_is_denied(run: Run) -> None:
    result = run("explain", "shop:sound", "--client", "acme", "--address", "192.168.44.44", "POST", "/entity")
    assert result.code == 1
    place = f"shop.py:{APP.splitlines().index('@respects_allow_list(True)') + 1}"
    assert result.lines == [
        "denied: not_on_list, answered with 403",
        "  no entry of the client's allow list holds the address",
        "  operation   POST /entity, shop.entity",
        f"  annotation  @respects_allow_list(True) on endpoint shop.entity at {place}",
        "  client      acme, as claimed",
        "  address     192.168.44.44: the peer is not in trusted_proxies, so its X-Forwarded-For is not read",
        "  list        4 entries, none of which holds the address",
        "  nearest     192.168.0.0/20 ends 7,213 addresses below it, at 192.168.15.255",
        "  nearest     198.51.100.10-198.51.100.20 begins 93,009,886 addresses above it, at 198.51.100.10",
        "  nearest     203.0.113.7 is 173,556,955 addresses above it",
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "lines"),
    [
        (
            ["shop:app", "--client", "acme", "--address", "192.168.15.254", "POST", "/entity/7"],
            0,
            [
                "allowed: on_list",
                "  operation   POST /entity/{id}, shop.entity",
                "  entry       192.168.0.0/20 holds the address",
            ],
        ),
        (
            ["shop:app", "--peer", "10.0.0.1", "--header", "X-Forwarded-For: 192.0.2.1, 10.0.0.2", "get", "/token"],
            0,
            [
                "allowed: list_ignored",
                "  client      none",
                "  hop         10.0.0.1, a trusted proxy",
                "  hop         10.0.0.2, a trusted proxy",
                "  address     192.0.2.1: the rightmost hop of X-Forwarded-For that is not in trusted_proxies",
            ],
        ),
        (
            ["shop:app", "--peer", "10.0.0.1", "--client", "acme", "GET", "/health"],
            1,
            [
                "denied: address_unknown, answered with 403",
                "  the peer is in trusted_proxies but sent no X-Forwarded-For",
                "  annotation  none: API clients from their lists, and whoever sends no client credentials",
                "  address     unknown: the peer is in trusted_proxies but sent no X-Forwarded-For",
            ],
        ),
        (
            ["shop:app", "--address", "192.0.2.1", "POST", "/entity/7?verbose=1"],
            1,
            ["denied: no_client, answered with 401"],
        ),
        (
            ["shop:app", "--client", "partner", "--address", "192.0.2.1", "WEBSOCKET", "/ws"],
            0,
            ["allowed: anywhere", "  list        ANYWHERE, which holds every address"],
        ),
        (
            ["shop:app", "--client", "retired", "--address", "192.0.2.1", "GET", "/health"],
            1,
            ["denied: not_on_list, answered with 403", "  list        empty: it admits nobody"],
        ),
        (
            ["shop:around", "--client", "acme", "--address", "192.0.2.2", "GET", "/entity"],
            1,
            ["  list        1 entry, none of which holds the address", "  nearest     192.0.2.1 is 1 address below it"],
        ),
        (
            [
                "shop:reporting",
                "--client",
                "acme",
                "--peer",
                "unix:",
                "--header",
                "Forwarded: for=192.0.2.1",
                "GET",
                "/entity",
            ],
            1,
            ["denied: not_on_list, report only, let through", "  hop         unix:, a trusted proxy"],
        ),
        (
            ["shop:twice", "--client", "acme", "--address", "192.0.2.1", "GET", "/in/entity"],
            1,
            ["denied: not_on_list, report only, let through", "", "denied: not_on_list, report only, let through"],
        ),
        (
            ["shop:app", "--address", "192.0.2.1", "--header", "Host: a.example", "GET", "/%7C"],
            0,
            ["allowed: no_client", "  operation   GET /|, shop.health"],
        ),
        (
            ["shop:by_partial", "--address", "192.0.2.1", "GET", "/route"],
            1,
            ["  annotation  @respects_allow_list(True) on route /route"],
        ),
        (
            ["shop:by_mount", "--factory", "--address", "192.0.2.1", "GET", "/m/"],
            0,
            ["  annotation  @respects_allow_list(False) on mount /m"],
        ),
        (
            ["shop:by_mount", "--factory", "--address", "192.0.2.1", "--header", "host: api.example", "GET", "/h"],
            0,
            ["  annotation  @respects_allow_list(False) on mount api.example"],
        ),
        (
            ["shop:by_mount", "--factory", "--address", "192.0.2.1", "GET", "/a"],
            0,
            ["  annotation  @respects_allow_list(False) on application Starlette"],
        ),
    ],
)
def test_why_a_call_is_decided_so(run: Run, arguments: list[str], code: int, lines: list[str]) -> None:
    result = run("explain", *arguments)
    assert result.code == code
    assert [line for line in lines if line not in result.lines] == [], result.out
    assert result.err == ""


def test_a_partial_is_explained_by_its_function(run: Run) -> None:
    result = run("explain", "shop:by_partial", "--address", "192.0.2.1", "GET", "/")
    assert "  operation   GET /, shop.entity" in result.lines
    assert any("on endpoint shop.entity at shop.py:" in line for line in result.lines)


def test_credentials_the_application_does_not_take_are_pointed_out(run: Run) -> None:
    result = run("explain", "shop:keyed", "--client", "acme", "--address", "192.0.2.1", "GET", "/")
    assert result.code == 1
    assert result.err.startswith("allowlist-middleware: identify_client does not take Basic credentials; send")
    result = run("explain", "shop:keyed", "--header", "X-API-Key: acme", "--address", "203.0.113.7", "GET", "/")
    assert (result.code, result.err) == (0, "")


def test_an_explanation_as_json(run: Run) -> None:
    arguments = ("shop:app", "--client", "acme", "--address", "192.168.44.44", "--format", "json", "POST", "/entity/7")
    result = run("explain", *arguments)
    assert result.code == 1
    document = result.json
    assert (document["allowed"], document["reason"]) == (False, "not_on_list")
    (judgement,) = document["judgements"]
    assert len(judgement.pop("request_id")) == 16
    assert judgement.pop("annotation")["origin"] == "endpoint"
    assert judgement == {
        "allowed": False,
        "report_only": False,
        "reason": "not_on_list",
        "status_code": 403,
        "client_id": "acme",
        "address": "192.168.44.44",
        "method": "POST",
        "path": "/entity/7",
        "operation": "/entity/{id}",
        "endpoint": "shop.entity",
        "hops": [{"address": "192.168.44.44", "trusted": False}],
        "ending": "the peer is not in trusted_proxies, so its X-Forwarded-For is not read",
        "list": {
            "anywhere": False,
            "entries": ["192.168.0.0/20", "2001:db8::/32", "203.0.113.7", "198.51.100.10-198.51.100.20"],
        },
        "holding": [],
        "nearest": [
            {"entry": "192.168.0.0/20", "bound": "192.168.15.255", "distance": 7213, "is_above": False},
            {
                "entry": "198.51.100.10-198.51.100.20",
                "bound": "198.51.100.10",
                "distance": 93009886,
                "is_above": True,
            },
            {"entry": "203.0.113.7", "bound": "203.0.113.7", "distance": 173556955, "is_above": True},
        ],
        "advice": "no entry of the client's allow list holds the address",
        "answered": 403,
    }
    unknown = run(
        "explain", "shop:app", "--client", "x", "--address", "192.0.2.1", "--format", "json", "GET", "/health"
    )
    assert unknown.json["judgements"][0]["list"] is None


# ── lists ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_who_may_call_from_where(run: Run) -> None:
    result = run("lists", "shop:app")
    assert result.code == 0
    assert result.lines == [
        "client   may call from",
        "acme     192.168.0.0/20, 2001:db8::/32, 203.0.113.7, 198.51.100.10-198.51.100.20",
        "partner  anywhere",
        "retired  nowhere",
        "many     192.0.2.0, 192.0.2.1, 192.0.2.2, 192.0.2.3, 192.0.2.4, ... (6 entries)",
    ]
    assert run("lists", "shop:app", "--client", "many").lines[1].endswith("192.0.2.4, 192.0.2.5")
    assert run("lists", "shop:others").lines[-1] == "(others)  anywhere"


def test_who_admits_an_address(run: Run) -> None:
    result = run("lists", "shop:app", "--address", "192.168.3.4")
    assert result == Result(0, "client   may call from\nacme     192.168.0.0/20\npartner  anywhere\n", "")
    assert run("lists", "shop:around", "--address", "192.168.3.4") == Result(1, "", "")
    assert run("lists", "shop:app", "--address", "192.168.3.4", "--client", "retired").code == 1


def test_which_lists_are_invalid(run: Run) -> None:
    result = run("lists", "shop:stored")
    assert result.code == 0
    assert result.lines == [
        "client    may call from",
        "client-0  anywhere",
        "client-1  invalid: '192.0.2.1/24' has host bits set; write '192.0.2.0/24' or '192.0.2.1/32'",
        "client-2  invalid: it raised ConnectionError",
    ]
    unknown = run("lists", "shop:bare", "--client", "stranger")
    assert (unknown.code, unknown.lines[-1]) == (1, "stranger  unknown client")
    assert run("lists", "shop:bare", "--client", "acme").lines[-1] == "acme    192.0.2.1"


def test_lists_as_json(run: Run) -> None:
    assert run("lists", "shop:app", "--address", "203.0.113.7", "--format", "json").json["lists"] == [
        {
            "client": "acme",
            "anywhere": False,
            "entries": ["192.168.0.0/20", "2001:db8::/32", "203.0.113.7", "198.51.100.10-198.51.100.20"],
            "holding": ["203.0.113.7"],
            "failure": None,
        },
        {"client": "partner", "anywhere": True, "entries": [], "holding": ["anywhere"], "failure": None},
    ]
    broken = run("lists", "shop:stored", "--client", "client-2", "--format", "json").json["lists"]
    assert [(one["entries"], one["failure"]) for one in broken] == [([], "invalid: it raised ConnectionError")]


# ── What goes wrong ──────────────────────────────────────────────────────────────────────────────────────────────────

MISTAKES = [
    ("frob", "No such command 'frob'."),
    ("operations", "Missing argument 'APP'."),
    ("operations nowhere:app", "nowhere:app: there is no module 'nowhere'; name the directory it is in with --app-dir"),
    (
        "operations shop.inner:app",
        "shop.inner:app: there is no module 'shop.inner'; name the directory it is in with --app-dir",
    ),
    ("operations shop", "shop: not 'module:attribute'; write the one that uvicorn serves, such as main:app"),
    ("operations shop:", "shop:: not 'module:attribute'; write the one that uvicorn serves, such as main:app"),
    ("operations shop:nothing", "shop:nothing: shop has no attribute 'nothing'"),
    ("operations shop:app.nothing", "shop:app.nothing: shop has no attribute 'app.nothing'"),
    ("operations shop:APP", "shop:APP: shop has no attribute 'APP'"),
    ("operations shop:__doc__", "shop:__doc__: str is not an ASGI application"),
    ("operations shop:wsgi", "shop:wsgi: function is not an ASGI application"),
    ("operations shop:factory", "shop:factory: function is not an ASGI application; pass --factory if it returns one"),
    (
        "operations shop:failing_factory --factory",
        "shop:failing_factory: calling it raised ValueError: no configuration",
    ),
    ("operations shop:__doc__ --factory", "shop:__doc__: str is not a factory; leave out --factory"),
    (
        "operations broken:app",
        "broken:app: importing broken raised ModuleNotFoundError: No module named 'nowhere_at_all'",
    ),
    ("operations exiting:app", "exiting:app: importing exiting raised SystemExit"),
    ("operations shop:wrong", "trusted_proxies: '10.0.0.0/8' is text; write ['10.0.0.0/8']"),
    (
        "operations shop:app --format yaml",
        "Invalid value for '--format': 'yaml' is not one of 'text', 'json', 'markdown', 'csv'.",
    ),
    ("check shop:app --against no.json", "Invalid value for '--against': 'no.json': No such file or directory"),
    (
        "check shop:app --against shop.py",
        "--against: shop.py: it is not JSON: Extra data: line 2 column 3 (char 3)",
    ),
    ("check shop:app --against list.json", "--against: list.json: it is not an OpenAPI description: it has no 'paths'"),
    ("explain shop:app GET /health", "write one of --address and --peer"),
    ("explain shop:app --address 192.0.2.1 --peer 192.0.2.1 GET /health", "write one of --address and --peer"),
    (
        "explain shop:app --address 1.2.3 GET /health",
        "--address: '1.2.3' is not an address; write one such as 192.0.2.1 or 2001:db8::1",
    ),
    (
        "explain shop:app --peer local GET /health",
        "--peer: 'local' is not an address; write one such as 192.0.2.1 or 2001:db8::1",
    ),
    ("explain shop:app --peer 192.0.2.1 --header Host GET /health", "--header: 'Host' is not 'Name: value'"),
    (
        "explain shop:app --peer 192.0.2.1 --header X:\xe9 GET /",
        "--header: 'X:\xe9' is not ASCII; send it percent-encoded, as clients do",
    ),
    ("explain shop:app --address 192.0.2.1 GET health", "'health' is not a path; write '/health'"),
    (
        "explain shop:app --address 192.0.2.1 GET /nowhere",
        "shop:app: no operation serves GET /nowhere: the framework answers the call itself",
    ),
    (
        "explain shop:app --address 192.0.2.1 PUT /health",
        "shop:app: no operation serves PUT /health: the framework answers the call itself",
    ),
    (
        "explain shop:app --address 192.0.2.1 websocket /x",
        "shop:app: no operation serves websocket /x: the framework answers the handshake itself",
    ),
    (
        "explain shop:app --address 192.0.2.1 --client a:b GET /health",
        "client 'a:...': a client id holds no colon, which ends it in the credentials; write 'a'",
    ),
    (
        "explain shop:unjudged --address 192.0.2.1 GET /entity",
        "no AllowListMiddleware judges this call; add one with app.add_middleware",
    ),
    ("explain shop:confused --address 192.0.2.1 GET /", "ZeroDivisionError: division by zero"),
    ("explain shop:closed --client a --address 192.0.2.1 GET /", "Closed cannot be opened: it raised ConnectionError"),
    ("lists shop:unjudged", "shop:unjudged: no AllowListMiddleware in it, so there are no lists"),
    ("lists shop:bare", "Bare does not list its clients; name one with --client"),
    (
        "lists shop:app --address 192.0.2.1/24",
        "--address: '192.0.2.1/24' is not an address; write one such as 192.0.2.1 or 2001:db8::1",
    ),
]


@pytest.mark.parametrize(("arguments", "line"), MISTAKES, ids=[arguments for arguments, _ in MISTAKES])
def test_a_mistake_is_one_line_and_exit_code_2(run: Run, arguments: str, line: str) -> None:
    Path("list.json").write_text("[]", encoding="utf-8")
    result = run(*arguments.split())
    assert result.out == ""
    assert result.err.removeprefix("importing\n") == f"allowlist-middleware: {line}\n"
    assert result.code == 2


def test_a_factory_is_called(run: Run) -> None:
    assert run("check", "shop:factory", "--factory").code == 0


def test_an_interruption(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("interrupted.py").write_text("raise KeyboardInterrupt", encoding="utf-8")
    assert run("check", "interrupted:app").code == 2


# ── As a program ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_help_lists_the_commands(run: Run) -> None:
    for arguments, code in {(): 2, ("--help",): 0, ("-h",): 0}.items():
        result = run(*arguments)
        assert result.code == code
        assert all(name in result.out + result.err for name in ("operations", "check", "explain", "lists"))
    assert run("--version").out.startswith("allowlist-middleware, version ")
    assert "Exit with 0 if a call is allowed and 1 if it is denied" in run("explain", "--help").out


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are those of POSIX")
@pytest.mark.parametrize("no_color", ["", "1"])
def test_colours_on_a_terminal_only(run: Run, no_color: str) -> None:
    pty = importlib.import_module("pty")
    mine, its = pty.openpty()
    environment = {**os.environ, "NO_COLOR": no_color, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", "allowlist_middleware", "check", "shop:app"]
    with subprocess.Popen(command, stdout=its, stderr=subprocess.DEVNULL, env=environment) as process:
        os.close(its)
        shown: list[bytes] = []
        with contextlib.suppress(OSError):  # the other end is closed
            shown.extend(iter(functools.partial(os.read, mine, 65536), b""))
    os.close(mine)
    assert process.returncode == 1
    assert b"".join(shown).count(b"\x1b[31m") == (0 if no_color else 4)
    assert "\x1b" not in run("check", "shop:app").out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    monkeypatch.setenv("_ALLOWLIST_MIDDLEWARE_COMPLETE", f"{shell}_source")
    result = run()
    assert result.code == 0
    assert "_allowlist_middleware_completion" in result.out


def test_as_a_module(run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert importlib.import_module("allowlist_middleware.__main__").main is main
    monkeypatch.setattr(sys, "argv", ["allowlist-middleware", "check", "shop:sound"])
    monkeypatch.delitem(sys.modules, "allowlist_middleware.__main__")
    with pytest.raises(SystemExit) as exit_:
        runpy.run_module("allowlist_middleware", run_name="__main__")
    assert exit_.value.code == 0
    assert capsys.readouterr().out == "operations: 2; findings: 0; accepted: 0\n"


@pytest.mark.parametrize("missing", ["click", "anyio"])
def test_without_the_extra_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], missing: str
) -> None:
    for name in ("allowlist_middleware.cli", "allowlist_middleware.options", "allowlist_middleware.__main__"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    if missing == "click":
        with pytest.raises(SystemExit) as exit_:
            importlib.import_module("allowlist_middleware.__main__")
        assert exit_.value.code == 2
        line = "allowlist-middleware: install its extra: pip install 'allowlist_middleware[cli]'\n"
        assert capsys.readouterr().err == line
    else:  # something else is wrong, which must not be hidden
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module("allowlist_middleware.__main__")


# ── Applications nobody here wrote ───────────────────────────────────────────────────────────────────────────────────

ADMIN = """
from starlette.applications import Starlette
from starlette_admin import BaseAdmin

app = Starlette()
BaseAdmin(secret_key="for the tests").mount_to(app)
"""


def test_a_third_party_application_is_listed_completely(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("starlette_admin")
    (tmp_path / "admin_site.py").write_text(ADMIN, encoding="utf-8")
    for form in ("text", "json", "markdown", "csv"):
        result = run("operations", "admin_site:app", "--app-dir", str(tmp_path), "--format", form)
        assert (result.code, result.err) == (0, "")
        assert "/admin/static/{path}" in result.out
    assert run("check", "admin_site:app").code == 1


def test_the_reference_application(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fastapi")
    pytest.importorskip("python_multipart")
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent))
    assert run("check", "examples.identity_cloud:app") == Result(0, "operations: 182; findings: 0; accepted: 0\n", "")
    arguments = ("--client", "acme", "--address", "192.168.44.44", "GET", "/config/app/clients")
    result = run("explain", "examples.identity_cloud:app", *arguments)
    assert result.lines[0] == "denied: not_on_list, answered with 500"
    assert (
        "  annotation  @respects_allow_list(True, denial=refuse_configuration) on router /config/{appId}"
        in result.lines
    )
    document = Path("published.json")
    served = importlib.import_module("examples.identity_cloud")
    document.write_text(json.dumps(served.app.openapi()), encoding="utf-8")
    assert run("check", "examples.identity_cloud:app", "--against", str(document)).code == 0
