"""The record of one client as a file and Redis hold it: entries with or without comments, or `anywhere`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

from allowlist_middleware.errors import AllowListError, quote
from allowlist_middleware.networks import ANYWHERE, AllowList, parse_networks

VERSION: Final = 1
"""The version of the format, in a file and in every value in Redis."""

MAX_ENTRIES: Final = 1_000_000
"""The longest list that is read for one client from a database or from Redis."""

Path: TypeAlias = tuple[str | int, ...]
Listed: TypeAlias = AllowList | Mapping[str, str] | Iterable[str]
"""What can be stored for a client: an allow list, entries, or a mapping from entries to comments."""

_EXAMPLE: Final = "entries = ['192.0.2.0/24'], or anywhere = true"


class RecordError(AllowListError):
    """A mistake in a record; `path` leads to the key or the value it is about."""

    def __init__(self, message: str, path: Path = ()) -> None:
        super().__init__(message)
        self.path = path


def parse_record(record: Any, client_id: str) -> AllowList:
    """Return the allow list of a record; raises `RecordError` that names the client and quotes what is wrong."""
    place = f"client {quote(client_id)}"
    if isinstance(record, list):
        return parse_entries(record, place)
    if not isinstance(record, dict):
        raise RecordError(f"{place}: {quote(record)} is neither a list of entries nor a record; write {_EXAMPLE}")
    _require_keys(record, {"anywhere", "comment", "entries"}, place)
    _require_text(record.get("comment", ""), place, ("comment",))
    anywhere = record.get("anywhere", False)
    if not isinstance(anywhere, bool):
        raise RecordError(f"{place}: anywhere is {quote(anywhere)}; write true or false", ("anywhere",))
    if anywhere == ("entries" in record):
        problem = "both anywhere and entries" if anywhere else "neither entries nor anywhere"
        raise RecordError(f"{place}: there are {problem}; write {_EXAMPLE}")
    if anywhere:
        return ANYWHERE
    return parse_entries(record["entries"], place, ("entries",))


def parse_entries(entries: Any, place: str, path: Path = ()) -> AllowList:
    """Return the allow list of a list whose entries are text, or text with a comment."""
    if not isinstance(entries, list):
        raise RecordError(f"{place}: {quote(entries)} is not a list of entries; write {_EXAMPLE}", path)
    if len(entries) > MAX_ENTRIES:
        raise RecordError(f"{place}: there are more than {MAX_ENTRIES:,} entries; write networks or ranges", path)
    texts = [
        entry if type(entry) is str else _parse_entry(entry, place, (*path, index))
        for index, entry in enumerate(entries)
    ]
    try:
        return parse_networks(texts, place)
    except AllowListError as error:
        raise RecordError(str(error), (*path, _find_bad(texts))) from None


def _parse_entry(entry: Any, place: str, path: Path) -> str:
    if not isinstance(entry, dict) or not isinstance(entry.get("entry"), str):
        correct = "'192.0.2.0/24', or {entry = '192.0.2.0/24', comment = 'the office'}"
        raise RecordError(f"{place}: {quote(entry)} is not an entry; write {correct}", path)
    _require_keys(entry, {"comment", "entry"}, place, path)
    _require_text(entry.get("comment", ""), place, (*path, "comment"))
    text: str = entry["entry"]
    return text


def _require_keys(record: dict[str, Any], known: set[str], place: str, path: Path = ()) -> None:
    for key in record:
        if key not in known:
            names = ", ".join(sorted(known))
            raise RecordError(f"{place}: {quote(key)} is not known here; write one of {names}", (*path, key))


def _require_text(comment: Any, place: str, path: Path) -> None:
    if not isinstance(comment, str):
        raise RecordError(f"{place}: the comment {quote(comment)} is not text; write it in quotes", path)


def _find_bad(texts: list[str]) -> int:
    """Return the index of the first entry that cannot be parsed."""
    return next(index for index, text in enumerate(texts) if not _is_entry(text))


def _is_entry(text: str) -> bool:
    try:
        parse_networks((text,))
    except AllowListError:
        return False
    return True


def split_comments(listed: Listed, client_id: str) -> dict[str, str | None] | None:
    """Return the entries to store with their comments, in order and once each; `None` where all addresses are meant.

    Raises `AllowListError` or `TypeError` for what is not an allow list.
    """
    entries = tuple(listed) if isinstance(listed, Mapping) else listed
    allow_list = parse_networks(entries, f"client {quote(client_id)}")
    if allow_list is ANYWHERE:
        return None
    comments = listed if isinstance(listed, Mapping) else {}
    return {entry: comments.get(entry) for entry in allow_list.entries}


def make_record(stored: dict[str, str | None] | None) -> dict[str, Any]:
    """Return the record of what `split_comments` returned."""
    if stored is None:
        return {"anywhere": True}
    return {
        "entries": [{"entry": entry, "comment": comment} if comment else entry for entry, comment in stored.items()]
    }
