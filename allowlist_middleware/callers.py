"""The caller: who a call claims to come from, from where, and how that stands towards its allow list."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from traceback import walk_tb
from typing import Any, NamedTuple, TypeAlias

from starlette.requests import HTTPConnection
from starlette.types import Scope

from allowlist_middleware.credentials import UnreadableCredentials, basic_client, find_client_id, is_client_id
from allowlist_middleware.errors import quote_type
from allowlist_middleware.log_line import write
from allowlist_middleware.networks import ANYWHERE, KINDS, AllowList, find_address, find_packed, format_packed
from allowlist_middleware.policy import Standing
from allowlist_middleware.proxies import TrustedProxies
from allowlist_middleware.sources import Source
from allowlist_middleware.sources.memory import AllowLists

IdentifyClient: TypeAlias = Callable[[HTTPConnection], "str | Awaitable[str | None] | None"]
"""Names the client a connection carries credentials of; it raises `UnreadableCredentials` where it cannot read them."""


class Caller(NamedTuple):
    """Who calls from where: the client id as claimed, the canonical address, and what failed."""

    standing: Standing
    client_id: str | None
    address: str | None
    failure: str | None


class Callers:
    """Finds the caller of a connection."""

    def __init__(self, identify_client: IdentifyClient, source: Source, proxies: TrustedProxies) -> None:
        self.identify_client = identify_client
        self.source = source
        self.proxies = proxies
        # Where nothing has to be awaited. A subclass may look up elsewhere, so the type must be exact.
        self._lists = source if identify_client is basic_client and type(source) is AllowLists else None
        self.at_hand = None if proxies.trusts_anybody else self._lists
        """The lists of ordinary callers: with Basic credentials, looked up in memory, who call from their peer."""
        self._has_warned = False

    async def find(self, scope: Scope) -> Caller:
        """Return the caller; what `identify_client` raises, or a result that is no client id, raises here."""
        if self._lists is not None:
            return self._find_in(self._lists, scope)
        packed, address = self._locate(scope)
        try:
            client_id = await self._identify(scope)
        except UnreadableCredentials as error:
            # A message of the user's may hold what it is about.
            is_own = self.identify_client is basic_client
            failure = str(error) if is_own else "identify_client raised UnreadableCredentials"
            return Caller(Standing.UNREADABLE, None, address, failure)
        if client_id is None:
            return Caller(Standing.NO_CLIENT, None, address, None)
        try:
            allow_list = await self.source.allow_list(client_id)
        except Exception as error:  # noqa: BLE001 - whatever it raises is a failed look-up, which never lets in
            write(logging.DEBUG, "allow_lists: the look-up failed", exc_info=True)
            return Caller(Standing.LOOKUP_FAILED, client_id, address, _explain_failure(error))
        # By its type: what only says that it is an allow list may answer anything.
        if allow_list is not None and type(allow_list) not in KINDS:
            failure = f"returned {quote_type(allow_list)}, which is neither an AllowList nor None"
            return Caller(Standing.LOOKUP_FAILED, client_id, address, failure)
        return Caller(_stand(allow_list, packed), client_id, address, None)

    def _find_in(self, lists: AllowLists, scope: Scope) -> Caller:
        packed, address = self._locate(scope)
        try:
            client_id = find_client_id(scope["headers"])
        except UnreadableCredentials as error:
            return Caller(Standing.UNREADABLE, None, address, str(error))
        if client_id is None:
            return Caller(Standing.NO_CLIENT, None, address, None)
        return Caller(_stand(lists.find(client_id), packed), client_id, address, None)

    def _locate(self, scope: Scope) -> tuple[bytes | None, str | None]:
        """Return the address, packed and as canonical text."""
        client: Any = scope.get("client")
        if client and client[-1] == 0 and not self._has_warned:
            self._warn_of_rewritten_peer(client[0])
        if not self.proxies.trusts_anybody:
            return find_address(client[0]) if client else (None, None)
        packed = self.proxies.find(client, scope.get("server"), scope["headers"])
        return packed, None if packed is None else format_packed(packed)

    def _warn_of_rewritten_peer(self, peer: Any) -> None:
        # uvicorn writes port 0 where it took the peer from X-Forwarded-For (uvicorn/middleware/proxy_headers.py).
        if find_packed(peer) is not None:
            self._has_warned = True
            write(
                logging.WARNING,
                "the server has rewritten the peer from a forwarded header before it was judged; run uvicorn with "
                "--no-proxy-headers and name the proxies in trusted_proxies=",
            )

    async def _identify(self, scope: Scope) -> str | None:
        found: Any = self.identify_client(HTTPConnection(scope))
        if inspect.isawaitable(found):
            found = await found
        if found is None:
            return None
        if isinstance(found, str):
            client_id = str.__str__(found)  # the text alone: a subclass may compare, hash and print as it likes
            if is_client_id(client_id):
                return client_id
        # The value itself may be a secret that was mistaken for the id.
        raise TypeError(
            f"identify_client: it returned {quote_type(found)} that is not a client id; return None, or non-empty text "
            "without colons and control characters"
        )


def _explain_failure(error: Exception) -> str:
    """Return what was raised and where; not its message, which may hold the password of a database."""
    *_, (frame, line) = walk_tb(error.__traceback__)
    name = Path(frame.f_code.co_filename).name
    return f"raised {type(error).__qualname__} in {frame.f_code.co_qualname} ({name}, line {line})"


def _stand(allow_list: AllowList | None, address: bytes | None) -> Standing:
    if allow_list is None:
        return Standing.UNKNOWN_CLIENT
    if allow_list is ANYWHERE:
        return Standing.ANYWHERE
    if address is None:
        return Standing.ADDRESS_UNKNOWN
    return Standing.ON_LIST if allow_list.admits(address) else Standing.NOT_ON_LIST
