"""The file format: what is taken, what is refused, and the line that is named."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies

from allowlist_middleware import ANYWHERE, AllowList, AllowListError
from allowlist_middleware.sources.documents import parse_json, parse_toml
from tests.sources.stores import dump

jsonschema = pytest.importorskip("jsonschema")

SCHEMA = json.loads(files("allowlist_middleware.sources").joinpath("allow_lists.schema.json").read_text("utf-8"))

COMPLETE = """\
version = 1
count = 5

[clients]
acme = ["192.168.0.0/20", "2001:db8::/32", "203.0.113.7", "198.51.100.10-198.51.100.20"]
retired = []
partner = { anywhere = true, comment = "asked for by Mr. Jones" }

[clients."caf\u00e9 \\U0001F600"]
anywhere = false
comment = "all shops"
entries = [
    "192.0.2.1",
    { entry = "192.0.2.128/25", comment = "the new office" },
    { entry = "2001:db8:1::/48" },
]

[clients.closed]
entries = []
"""


def test_a_complete_file() -> None:
    lists = parse_toml(COMPLETE.encode())
    assert lists == {
        "acme": AllowList(["192.168.0.0/20", "2001:db8::/32", "203.0.113.7", "198.51.100.10-198.51.100.20"]),
        "retired": AllowList([]),
        "partner": ANYWHERE,
        "caf\u00e9 \U0001f600": AllowList(["192.0.2.1", "192.0.2.128/25", "2001:db8:1::/48"]),
        "closed": AllowList([]),
    }
    assert lists["partner"] is ANYWHERE
    assert parse_json(json.dumps(tomllib.loads(COMPLETE)).encode()) == lists
    assert parse_json(b"\xef\xbb\xbf" + json.dumps(tomllib.loads(COMPLETE)).encode()) == lists
    jsonschema.validate(tomllib.loads(COMPLETE), SCHEMA)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: the file is empty; write version = 1 and clients"),
        (" \n\n", "line 1: the file is empty; write version = 1 and clients"),
        ("version = 1", "line 1: clients is None; write a table from client id to allow list"),
        ("version = 1\nclients = []", "line 2: clients is []; write a table from client id to allow list"),
        ("[clients]", "line 1: the version is None; write 1"),
        ("\nversion = 2\n[clients]", "line 2: the version is 2; write 1"),
        ("version = true\n[clients]", "line 1: the version is True; write 1"),
        ("version = 1\ncount = 2\n[clients]\na = []", "line 2: the count is 2, but there are 1 clients"),
        ("version = 1\nothers = []\n[clients]", "line 2: 'others' is not known here; write one of version, count, "),
        ("version = 1\n[clients]\na = 7", "line 3: client 'a': 7 is neither a list of entries nor a record; write "),
        ("version = 1\n[clients]\na = '*'", "line 3: client 'a': '*' is neither a list of entries nor a record; "),
        ("version = 1\n[clients]\n\n'a:b' = []", "line 4: client 'a:...': a client id holds no colon"),
        ("version = 1\n[clients]\n'' = []", "line 2: client '': a client id is not empty"),
        ('version = 1\n[clients]\n"\\u0007" = []', "line 2: client '\\x07': a client id holds no control"),
        ("version = 1\n[clients.a]", "line 2: client 'a': there are neither entries nor anywhere; write entries = "),
        ("version = 1\n[clients.a]\nanywhere = false", "line 2: client 'a': there are neither entries nor anywhere"),
        ("version = 1\n[clients.t]\nanywhere = true\n[clients.e]", "line 4: client 'e': there are neither entries nor"),
        ("version = 1\n[clients.a]\nanywhere = true\nentries = []", "line 2: client 'a': there are both anywhere and"),
        (
            "version = 1\n[clients.b]\nanywhere = true\n[clients.a]\n# anywhere\nanywhere = 'yes'",
            "line 6: client 'a': anywhere is 'yes'; write true or false",
        ),
        ("version = 1\n[clients.a]\nentries = '::/0'", "line 3: client 'a': '::/0' is not a list of entries; write "),
        ("version = 1\n[clients.a]\n\nentires = []", "line 4: client 'a': 'entires' is not known here; write one of "),
        ("version = 1\n[clients.a]\nentries = []\ncomment = 7", "line 4: client 'a': the comment 7 is not text"),
        (
            "version = 1\n[clients.b]\nentries = []\n[clients.a]\nentries = [\n'::1', # 10.0.0.1/8\n'10.0.0.1/8']",
            "line 7: client 'a': '10.0.0.1/8' has host bits set; write '10.0.0.0/8' or '10.0.0.1/32'",
        ),
        ("version = 1\n[clients]\na = [\n\n7]", "line 3: client 'a': 7 is not an entry; write '192.0.2.0/24', or "),
        ("version = 1\n[clients]\na = [\n['::1']]", "line 3: client 'a': ['::1'] is not an entry; write "),
        (
            "version = 1\n[clients]\na = [\n'::1',\n{ entry = '::2', coment = '' }]",
            "line 5: client 'a': 'coment' is not known here; write one of comment, entry",
        ),
        ("version = 1\n[clients]\na = [\n{ comment = 'x' }]", "line 3: client 'a': {'comment': 'x'} is not an entry"),
        (
            "version = 1\n[clients]\na = [\n{ entry = '::1', comment = 1 }]",
            "line 4: client 'a': the comment 1 is not text",
        ),
        ("version = 1\n[clients]\na = [\n{ entry = '::g' }]", "line 4: client 'a': '::g' is not an address"),
        ('version = 1\n[clients]\na = ["\\u0031"]', "line 3: client 'a': '1' is not an address"),
        ("version = 1\n[clients]\na = ['*']", "line 3: client 'a': '*' is not an address or a network"),
        ("version = 1\n[clients]\na = []\na = []", "line 4: Cannot overwrite a value"),
        ("version = 1\n[clients]\na = [", "line 3: "),
        ("version = 1\n\n[clients]\na = [} ]\n", "line 4: "),
        ("version = 1\n[clients]\na = ['\ud800']", "line 3: it is not UTF-8"),
    ],
)
def test_what_is_refused_and_where(text: str, message: str) -> None:
    with pytest.raises(AllowListError) as error:
        parse_toml(text.encode("utf-8", "surrogatepass"))
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "line 1: [] is not a document; write version = 1 and clients"),
        ("null", "line 1: None is not a document"),
        ('{"version": 1,\n"clients": {"a": [],\n"a": []}}', "line 2: 'a' is there twice; keep one of the two"),
        ('{"version": 1,\n"clients": {"a": {"anywhere": true,\n"anywhere": false}}}', "line 2: 'anywhere' is there t"),
        ('{"version": 1,\n"clients": {}\n', "line 3: Expecting ',' delimiter: line 3 column 1"),
        ('{"version": 1, "clients": {"a": ["::1",]}}', "line 1: "),
        ('{"version": NaN,\n"clients": {}}', "line 1: the version is nan; write 1"),
        ('{"version": 1.0,\n"clients": {}}', "line 1: the version is 1.0; write 1"),
        ("[" * 100_000, "line 1: it is nested too deeply"),
        ("1" * 5_000, "line 1: Exceeds the limit"),
    ],
)
def test_what_json_allows_besides(text: str, message: str) -> None:
    with pytest.raises(AllowListError) as error:
        parse_json(text.encode())
    assert str(error.value).startswith(message)


def test_a_list_may_not_be_too_long() -> None:
    with pytest.raises(AllowListError, match="there are more than 1,000,000 entries; write networks or ranges"):
        parse_json(json.dumps({"version": 1, "clients": {"a": ["::1"] * 1_000_001}}).encode())


# --- the schema says the same


@contextmanager
def suppress(error: type[Exception], match: str) -> Iterator[None]:
    try:
        yield
    except error as raised:
        assert re.search(match, str(raised))  # noqa: PT017 - it need not raise


ODD: Any = strategies.sampled_from([None, True, False, 0, 1, 1.5, "", "x", "*", "10.0.0.1/8", "a:b", [], {}, [7]])
ENTRY: Any = strategies.sampled_from(["10.0.0.0/8", "::1", "10.0.0.1-10.0.0.9", {"entry": "::1", "comment": "x"}]) | ODD
ENTRIES: Any = strategies.lists(ENTRY, max_size=3)
RECORD: Any = ENTRIES | strategies.dictionaries(
    strategies.sampled_from(["entries", "anywhere", "comment", "entires"]), ENTRIES | ODD, max_size=3
)
CLIENTS: Any = strategies.dictionaries(
    strategies.sampled_from(["acme", "b", "", "a:b", "\x07", "\x85"]), RECORD, max_size=2
)
DOCUMENT: Any = strategies.fixed_dictionaries(
    {"version": strategies.sampled_from([1, 1, 1, 2, "1", True]), "clients": CLIENTS | ODD},
    optional={"count": strategies.integers(-1, 3) | ODD, "other": ODD},
)


@hypothesis.given(DOCUMENT)
@hypothesis.settings(max_examples=200, deadline=None)
def test_the_schema_takes_whatever_the_parser_takes(document: Any) -> None:
    try:
        parse_json(json.dumps(document).encode())
    except AllowListError:
        return
    jsonschema.validate(document, SCHEMA)


@hypothesis.given(DOCUMENT)
@hypothesis.example({"version": 1, "clients": {"acme": ["10.0.0.1/8"]}})
@hypothesis.example({"version": 1, "clients": {"acme": ["a:b"]}})
@hypothesis.example({"version": 1, "clients": {}, "count": 2})
@hypothesis.settings(max_examples=200, deadline=None)
def test_the_parser_takes_what_the_schema_takes_but_for_what_a_schema_cannot_say(document: Any) -> None:
    if jsonschema.Draft202012Validator(SCHEMA).is_valid(document):
        # Arithmetic of addresses, and the number of clients.
        with suppress(AllowListError, match="host bits|the count is|:[^']*' is not an address"):
            parse_json(json.dumps(document).encode())


@hypothesis.given(DOCUMENT, strategies.data())
@hypothesis.settings(max_examples=100, deadline=None)
def test_no_part_of_a_json_file_is_taken_for_the_whole(document: Any, data: Any) -> None:
    text = json.dumps(document, indent=1)
    part = text[: data.draw(strategies.integers(0, len(text) - 1))]
    with pytest.raises(AllowListError, match=r"^line \d+: "):
        parse_json(part.encode())


def test_no_part_of_a_toml_file_with_a_count_is_taken_for_the_whole() -> None:
    # It cannot be told whether the last line is whole where the file may end behind it.
    whole = parse_toml(COMPLETE.encode())
    for end in range(len(COMPLETE)):
        try:
            part = parse_toml(COMPLETE[:end].encode())
        except AllowListError:
            continue
        assert part == whole


@hypothesis.given(strategies.binary(max_size=200))
def test_whatever_is_no_file_is_refused_with_a_line(data: bytes) -> None:
    for parse in (parse_json, parse_toml):
        with pytest.raises(AllowListError, match=r"^line \d+: "):
            parse(data)


def test_what_the_tests_write_is_what_they_mean() -> None:
    clients = {"a": {"anywhere": True}, 'b"\\\u00e9\U0001f600': {"entries": ["::1", {"entry": "::2", "comment": "x"}]}}
    assert tomllib.loads(dump(".toml", clients))["clients"] == clients == json.loads(dump(".json", clients))["clients"]
