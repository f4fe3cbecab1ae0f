"""Allow lists in memory, which may be changed while the application runs."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, MutableMapping, ValuesView
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from allowlist_middleware.credentials import is_client_id
from allowlist_middleware.errors import AllowListError, quote
from allowlist_middleware.networks import AllowList, parse_networks

Entries: TypeAlias = AllowList | Iterable[str]
"""An allow list, or the entries of one."""

_EMPTY: Final[Mapping[str, Entries]] = MappingProxyType({})


class AllowLists(MutableMapping[str, AllowList]):
    """The allow lists of an application's clients, by client id.

    Each change is atomic and counts from the next request on, from whichever thread it is made; a bad entry raises and
    changes nothing. `others` is the list of every client that is not named; without it such a client is unknown and
    refused. Raises `AllowListError` or `TypeError` that names the client and quotes the entry.
    """

    __slots__ = ("_lists", "_others")

    def __init__(self, mapping: Mapping[str, Entries] = _EMPTY, /, *, others: Entries | None = None) -> None:
        # Keys are exact str and values are frozen, so that each method of the dict is one step to every other thread.
        self._lists = _parse_all(mapping)
        self._others = None if others is None else parse_networks(others, "others")

    def find(self, client_id: str) -> AllowList | None:
        """Return the list that holds for a client, that of `others` for one not named, `None` for an unknown one."""
        return self._lists.get(client_id, self._others)

    async def allow_list(self, client_id: str) -> AllowList | None:
        """Return what `find` returns; this is what makes it a source."""
        return self.find(client_id)

    async def client_ids(self) -> list[str]:
        """Return the ids of the clients named at this moment."""
        return list(self._lists)

    @property
    def others(self) -> AllowList | None:
        """The list of every client that is not named."""
        return self._others

    def __getitem__(self, client_id: str) -> AllowList:
        return self._lists[client_id]

    def __setitem__(self, client_id: str, entries: Entries) -> None:
        client_id, allow_list = _parse(client_id, entries)
        self._lists[client_id] = allow_list

    def __delitem__(self, client_id: str) -> None:
        del self._lists[client_id]

    def __contains__(self, client_id: object) -> bool:
        return client_id in self._lists

    def __iter__(self) -> Iterator[str]:
        return iter(self._lists.copy())  # those of this moment: a change meanwhile does not disturb the iteration

    def __len__(self) -> int:
        return len(self._lists)

    def keys(self) -> KeysView[str]:
        """Return the ids of the clients named at this moment."""
        return self._lists.copy().keys()

    def values(self) -> ValuesView[AllowList]:
        """Return the lists of the clients named at this moment."""
        return self._lists.copy().values()

    def items(self) -> ItemsView[str, AllowList]:
        """Return the clients named at this moment with their lists."""
        return self._lists.copy().items()

    def pop(self, client_id: str, *default: Any) -> Any:
        """Remove a client and return its list, or the default for one that is not named."""
        return self._lists.pop(client_id, *default)

    def popitem(self) -> tuple[str, AllowList]:
        """Remove and return one client with its list."""
        return self._lists.popitem()

    def clear(self) -> None:
        """Remove every client."""
        self._lists.clear()

    def setdefault(self, client_id: str, entries: Entries = ()) -> AllowList:
        """Return the list of a client, which for one that is not named becomes that of the entries."""
        return self._lists.setdefault(*_parse(client_id, entries))

    # Entries are wider than the values that are kept, which the type of a mapping cannot say.
    def update(self, mapping: Mapping[str, Entries] = _EMPTY, /, **lists: Entries) -> None:  # type: ignore[override]
        """Set the lists of several clients at once; one bad entry changes none of them."""
        self._lists.update({**_parse_all(mapping), **_parse_all(lists)})

    def __repr__(self) -> str:
        others = "" if self._others is None else f", others={self._others!r}"
        return f"AllowLists({len(self._lists)} clients{others})"


def parse_client_id(client_id: object) -> str:
    """Return the client id as plain text; `AllowListError` or `TypeError` for what can never be one."""
    if isinstance(client_id, bytes):
        claimed = client_id.partition(b":")[0].decode(errors="replace")  # what follows it may be the secret
        raise TypeError(f"client b{quote(claimed)}: a client id is text; write {quote(claimed)}")
    if not isinstance(client_id, str):
        written = quote(str(client_id)) if type(client_id) is int else "it as the client sends it"
        raise TypeError(f"client {quote(client_id)}: a client id is text; write {written}")
    client_id = str.__str__(client_id)
    name, colon, _ = client_id.partition(":")
    if colon:
        raise AllowListError(
            f"client {quote(name + ':...')}: a client id holds no colon, which ends it in the credentials; write "
            f"{quote(name) if is_client_id(name) else 'what the client sends before it'}"
        )
    if not client_id:
        raise AllowListError("client '': a client id is not empty; write what the client sends before the colon")
    if not is_client_id(client_id):
        stripped = client_id.strip()
        raise AllowListError(
            f"client {quote(client_id)}: a client id holds no control characters (RFC 7617); write "
            f"{quote(stripped) if is_client_id(stripped) else 'it without them'}"
        )
    return client_id


def _parse_all(mapping: Any) -> dict[str, AllowList]:
    if not isinstance(mapping, Mapping):
        raise TypeError(
            f"AllowLists: {quote(mapping)} is not a mapping; write {{'acme': ['192.0.2.0/24']}}, by client id"
        )
    return dict(_parse(client_id, entries) for client_id, entries in mapping.items())


def _parse(client_id: object, entries: Entries) -> tuple[str, AllowList]:
    name = parse_client_id(client_id)
    return name, parse_networks(entries, f"client {quote(name)}")
