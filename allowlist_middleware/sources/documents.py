"""A file of allow lists, TOML or JSON: its text becomes the lists of all clients, or an error that names the line."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from itertools import islice
from typing import Any, Final, TypeAlias

from allowlist_middleware.errors import AllowListError, quote
from allowlist_middleware.networks import AllowList
from allowlist_middleware.sources.memory import parse_client_id
from allowlist_middleware.sources.records import VERSION, Path, RecordError, parse_record

_KEYS: Final = ("version", "count", "clients")
_LINE: Final = re.compile(r"line (\d+)")
_TRIES: Final = 8  # each reads the whole text once more
_MARK: Final = "-7c1f"  # may stand in strings and in bare keys

_BROKEN: Final = object()

Load: TypeAlias = Callable[[str], Any]


def parse_toml(data: bytes) -> dict[str, AllowList]:
    """Return the allow lists of a TOML file by client id; raises `AllowListError` that begins with the line."""
    return _parse(data, tomllib.loads)


def parse_json(data: bytes) -> dict[str, AllowList]:
    """Return the allow lists of a JSON file by client id; raises `AllowListError` that begins with the line."""
    return _parse(data, load_json)


def load_json(text: str | bytes) -> Any:
    """Return the value of a JSON text; a key that is there twice is an error, not the last of its values."""
    return json.loads(text, object_pairs_hook=_require_unique)


def _require_unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise RecordError(f"{quote(twice)} is there twice; keep one of the two", (twice,))
    return record


def _parse(data: bytes, load: Load) -> dict[str, AllowList]:
    if not data.strip():
        raise AllowListError("line 1: the file is empty; write version = 1 and clients")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise AllowListError(f"line {line}: it is not UTF-8") from None
    try:
        return _parse_document(load(text))
    except RecordError as error:
        raise AllowListError(f"line {_find_line(text, load, error.path)}: {error}") from None
    except ValueError as error:  # of the parser, whose messages hold a position and nothing of the text
        found = _LINE.search(str(error))
        line = int(found[1]) if found else text.count("\n") + 1
        raise AllowListError(f"line {line}: {error}") from None
    except RecursionError:
        raise AllowListError("line 1: it is nested too deeply") from None


def _parse_document(document: Any) -> dict[str, AllowList]:
    if not isinstance(document, dict):
        raise RecordError(f"{quote(document)} is not a document; write version = {VERSION} and clients")
    for key in document:
        if key not in _KEYS:
            raise RecordError(f"{quote(key)} is not known here; write one of {', '.join(_KEYS)}", (key,))
    version, clients = document.get("version"), document.get("clients")
    if type(version) is not int or version != VERSION:
        raise RecordError(f"the version is {quote(version)}; write {VERSION}", ("version",))
    if not isinstance(clients, dict):
        raise RecordError(f"clients is {quote(clients)}; write a table from client id to allow list", ("clients",))
    count = document.get("count", len(clients))
    if type(count) is not int or count != len(clients):
        raise RecordError(f"the count is {quote(count)}, but there are {len(clients)} clients", ("count",))
    return {client_id: _parse_client(client_id, record) for client_id, record in clients.items()}


def _parse_client(client_id: str, record: Any) -> AllowList:
    try:
        parse_client_id(client_id)
        return parse_record(record, client_id)
    except RecordError as error:
        raise RecordError(str(error), ("clients", client_id, *error.path)) from None
    except AllowListError as error:
        raise RecordError(str(error), ("clients", client_id)) from None


def _find_line(text: str, load: Load, path: Path) -> int:
    """Return the line of what the path leads to, or of what holds it.

    The parsers keep no positions. So a mark is put where it may stand, one place after the other: the right one is
    where the mark changes what the path leads to.
    """
    for length in range(len(path), 0, -1):
        before = _probe(text, load, path[:length])
        token = _token(path[length - 1], before)
        for position in _find_places(text, token, path) if token else ():
            marked = f"{text[:position]}{_MARK}{text[position:]}"
            holder = _probe(marked, load, path[: length - 1])
            if isinstance(holder, dict | list) and _dig(holder, path[length - 1 : length]) != before:
                return text.count("\n", 0, position) + 1
    return 1


def _token(last: str | int, value: Any) -> str:
    """Return the text to look for: a key, or an entry."""
    if isinstance(last, str):
        return last
    entry = value.get("entry") if isinstance(value, dict) else value
    return entry if isinstance(entry, str) else ""


def _find_places(text: str, token: str, path: Path) -> list[int]:
    """Return where the token ends, first of all behind the client it is about."""
    start = max(0, text.find(str(path[1]))) if len(path) > 1 else 0
    places = re.finditer(re.escape(token), text[start:])
    return [start + place.end() for place in islice(places, _TRIES)]


def _probe(text: str, load: Load, path: Path) -> Any:
    """Return what the path leads to, if it leads anywhere."""
    try:
        return _dig(load(text), path)
    except ValueError:
        return _BROKEN


def _dig(value: Any, path: Path) -> Any:
    try:
        for step in path:
            value = value[step]
    except (KeyError, IndexError, TypeError):
        return None
    return value
