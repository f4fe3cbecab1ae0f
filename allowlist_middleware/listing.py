"""Who may call from where, as the sources tell it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable

from allowlist_middleware.errors import AllowListError
from allowlist_middleware.middleware import AllowListMiddleware
from allowlist_middleware.networks import ANYWHERE, AllowList
from allowlist_middleware.opening import describe_failure, name_source, open_sources
from allowlist_middleware.sources import Source
from allowlist_middleware.sources.memory import AllowLists

OTHERS: Final = "(others)"
"""What stands in place of a client id for every client that is not named."""

_MAX_COUNTED: Final = 1_000  # look-ups, to say how many of a store's clients may call from anywhere


@runtime_checkable
class Listable(Protocol):
    """A source that also tells which clients it knows."""

    async def client_ids(self) -> Iterable[str]:
        """Return the ids of all clients."""


class Listed(NamedTuple):
    """A client and its list; where the list cannot be had it is `None`, and `failure` says why."""

    client_id: str
    allow_list: AllowList | None
    failure: str = ""

    @property
    def entries(self) -> tuple[str, ...]:
        """The entries as written, `anywhere` where all addresses are on the list."""
        if self.allow_list is ANYWHERE:
            return ("anywhere",)
        return () if self.allow_list is None else self.allow_list.entries


class Decider(NamedTuple):
    """What decides at one place: whether it enforces, whom it believes, and the lists it goes by.

    `clients` is `None` where the source does not tell, `anywhere` also where there are too many to look up; `others`
    tells that clients which are not named have a list too.
    """

    place: str
    report_only: bool
    trusted_proxies: tuple[str, ...]
    forwarded_header: str
    source: str
    clients: int | None
    anywhere: int | None
    others: bool
    failure: str | None

    def __str__(self) -> str:
        """Return it as one line."""
        trusted = f"{', '.join(self.trusted_proxies)} by {self.forwarded_header}" if self.trusted_proxies else "none"
        mode = "report only" if self.report_only else "enforcing"
        return f"{self.place}: {mode}; trusted proxies: {trusted}; lists: {self.source}{self._lists()}"

    def _lists(self) -> str:
        if self.failure is not None:
            return f", which cannot be read: {self.failure}"
        if self.clients is None:
            return ", which does not list its clients"
        count = "1 client" if self.clients == 1 else f"{self.clients:,} clients"
        anywhere = "" if self.anywhere is None else f", {self.anywhere} of them anywhere"
        return f" with {count}{anywhere}{', and a list for all others' if self.others else ''}"


async def find_client_ids(source: Any) -> list[str] | None:
    """Return the ids of all clients a source knows, `None` for a source that cannot tell."""
    return list(await source.client_ids()) if isinstance(source, Listable) else None


async def list_clients(source: Source, client_ids: Iterable[str]) -> list[Listed]:
    """Return the lists of clients, and what holds for all others where the source has that."""
    listed = [await _look_up(source, client_id) for client_id in client_ids]
    if isinstance(source, AllowLists) and source.others is not None:
        listed.append(Listed(OTHERS, source.others))
    return listed


async def find_decider(middleware: AllowListMiddleware, place: str) -> Decider:
    """Return what decides; a store that is down is no reason to say nothing of the operations."""
    source, clients, anywhere, failure = middleware.source, None, None, None
    try:
        async with open_sources([middleware]):
            clients, anywhere = await _count(source)
    except Exception as error:  # noqa: BLE001 - whatever the store's client library raises
        failure = describe_failure(error)
    return Decider(
        place=place,
        report_only=middleware.report_only,
        trusted_proxies=tuple(middleware.proxies.trusted),
        forwarded_header=middleware.proxies.header,
        source=name_source(source),
        clients=clients,
        anywhere=anywhere,
        others=isinstance(source, AllowLists) and source.others is not None,
        failure=failure,
    )


async def _count(source: Source) -> tuple[int | None, int | None]:
    """Return how many clients a source knows, and how many of them may call from anywhere."""
    client_ids = await find_client_ids(source)
    if client_ids is None:
        return None, None
    if len(client_ids) > _MAX_COUNTED:
        return len(client_ids), None
    listed = await list_clients(source, client_ids)
    return len(client_ids), sum(one.allow_list is ANYWHERE and one.client_id != OTHERS for one in listed)


async def find_lists(middlewares: Iterable[AllowListMiddleware], client_id: str | None = None) -> list[Listed]:
    """Return the lists all middlewares go by, or that of one client; raises `AllowListError` where none are told."""
    listed: list[Listed] = []
    sources = {id(one.source): one for one in middlewares}.values()
    async with open_sources(sources):
        for source in [one.source for one in sources]:
            if client_id is not None:
                listed.append(await _look_up(source, client_id))
                continue
            client_ids = await find_client_ids(source)
            if client_ids is None:
                raise AllowListError(f"{name_source(source)} does not list its clients; name one with --client")
            listed += await list_clients(source, client_ids)
    return listed


async def _look_up(source: Source, client_id: str) -> Listed:
    try:
        allow_list = await source.allow_list(client_id)
    except Exception as error:  # noqa: BLE001 - the other lists are told all the same
        return Listed(client_id, None, f"invalid: {describe_failure(error)}")
    return Listed(client_id, allow_list, "" if allow_list is not None else "unknown client")
