"""Trusted proxies: from the peer and the forwarded header to the one address the decision is about."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from allowlist_middleware.errors import AllowListError, quote
from allowlist_middleware.forwarded import READERS, read_single
from allowlist_middleware.networks import AllowList, find_packed, format_packed, parse_networks

if TYPE_CHECKING:
    from allowlist_middleware.forwarded import Reader

MAX_HEADER: Final = 16_384
"""The longest forwarded header that is read, in bytes over all its lines and the commas between them."""

MAX_HOPS: Final = 100
"""The most elements of a forwarded header that are read, counted from the right."""

UNIX: Final = "unix:"
"""The entry of `trusted_proxies` for peers on a Unix socket."""

_SHOWN: Final = 80  # characters of what a walk ended at
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110, section 5.6.2

# Headers that tell something else, so that every call would be refused.
_OTHER_HEADERS: Final = frozenset(
    ("authorization", "cookie", "host", "via", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto")
)


class Ending(Enum):
    """Why a walk ended, as the sentence an operator reads."""

    UNTRUSTED_PEER = "the peer is not in trusted_proxies, so its {header} is not read"
    UNTRUSTED_HOP = "the rightmost hop of {header} that is not in trusted_proxies"
    ALL_TRUSTED = "every hop of {header} is in trusted_proxies, so the leftmost counts"
    NO_PEER = "the server names no peer"
    UNIX_PEER = "the peer is on a Unix socket, which 'unix:' in trusted_proxies would trust"
    PEER_NOT_ADDRESS = "the peer {text} is not an address"
    NO_HEADER = "the peer is in trusted_proxies but sent no {header}"
    TOO_LONG = f"{{header}} is longer than {MAX_HEADER} bytes"
    TOO_MANY_HOPS = f"{{header}} holds more than {MAX_HOPS} trusted hops"
    SEVERAL_LINES = "{header} was sent in several lines"
    EMPTY_ELEMENT = "an element of {header} is empty"
    NO_ADDRESS = "the element {text} of {header} names no address"


class Hop(NamedTuple):
    """One step of a walk: the address in canonical text, or `unix:`, and whether it is a trusted proxy."""

    address: str
    trusted: bool


class Walk(NamedTuple):
    """One walk from the peer to the deciding address, which is `None` where it could not be determined.

    `passed` are the trusted hops from the peer on, packed, `None` for a Unix socket; `text` is what the walk ended at,
    where it is not an address.
    """

    address: bytes | None
    ending: Ending
    passed: tuple[bytes | None, ...]
    header: str
    text: str = ""

    @property
    def hops(self) -> tuple[Hop, ...]:
        """The hops in the order they were judged: trusted ones, then the one that decides."""
        trusted = tuple(Hop(UNIX if packed is None else format_packed(packed), trusted=True) for packed in self.passed)
        if self.address is None or self.ending is Ending.ALL_TRUSTED:
            return trusted
        return (*trusted, Hop(format_packed(self.address), trusted=False))

    def __str__(self) -> str:
        """Return why the walk ended, what a caller sent cut to 80 characters and escaped."""
        return self.ending.value.format(header=self.header, text=ascii(self.text[:_SHOWN]))


@dataclass(frozen=True, slots=True)
class TrustedProxies:
    """Whom to believe about where a call came from: the proxies, and the header they write.

    `trusted` holds addresses and networks, and `unix:` for peers on a Unix socket. `header` is `X-Forwarded-For`,
    `Forwarded`, or the name of a header that carries exactly one address. Raises `AllowListError` or `TypeError` for
    anything else. A header beyond 16,384 bytes or 100 trusted hops leaves the address unknown.
    """

    trusted: Iterable[str] = ()
    header: str = "X-Forwarded-For"
    trusts_anybody: bool = field(init=False, repr=False, compare=False)
    _networks: AllowList = field(init=False, repr=False, compare=False)
    _unix: bool = field(init=False, repr=False, compare=False)
    _name: bytes = field(init=False, repr=False, compare=False)
    _read: Reader = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        trusted, name = _parse_trusted(self.trusted), _parse_header(self.header)
        values = {
            "trusted": trusted,
            "trusts_anybody": bool(trusted),
            "_networks": parse_networks([entry for entry in trusted if entry != UNIX], "trusted_proxies"),
            "_unix": UNIX in trusted,
            "_name": name,
            "_read": READERS.get(name, read_single),
        }
        for attribute, value in values.items():
            object.__setattr__(self, attribute, value)

    def find(self, client: Any, server: Any, headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
        """Return the packed address a call came from, or `None` where it cannot be determined.

        The arguments are the values of the ASGI scope. The headers are read only behind a trusted proxy.
        """
        peer = _find_peer(client)
        if peer is None or (self.trusts_anybody and self._networks.admits(peer)):
            return self._walk(peer, client, server, headers).address
        return peer

    def explain(self, client: Any, server: Any, headers: Iterable[tuple[bytes, bytes]]) -> Walk:
        """Return how the address was found, or why it was not: `find` with its reasons."""
        peer = _find_peer(client)
        if peer is None or self._networks.admits(peer):
            return self._walk(peer, client, server, headers)
        return Walk(peer, Ending.UNTRUSTED_PEER, (), self.header)

    def has_forwarded_header(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Return whether the forwarded header was sent, by whomever."""
        return any(name.lower() == self._name for name, _ in headers)

    def _walk(self, peer: bytes | None, client: Any, server: Any, headers: Iterable[tuple[bytes, bytes]]) -> Walk:
        if peer is None:
            if client is not None:
                return Walk(None, Ending.PEER_NOT_ADDRESS, (), self.header, str(client[0]) if client else "")
            if not _is_socket_path(server):
                return Walk(None, Ending.NO_PEER, (), self.header)
            if not self._unix:
                return Walk(None, Ending.UNIX_PEER, (), self.header)
        # Servers may keep the case of names (hypercorn can): a line that is overlooked would end the walk elsewhere.
        lines = [line.decode("latin-1") for name, line in headers if name.lower() == self._name]
        passed = [peer]
        address, ending, text = self._walk_lines(lines, passed)
        return Walk(address, ending, tuple(passed), self.header, text)

    def _walk_lines(self, lines: list[str], passed: list[bytes | None]) -> tuple[bytes | None, Ending, str]:
        if not lines:
            return None, Ending.NO_HEADER, ""
        if len(",".join(lines)) > MAX_HEADER:
            return None, Ending.TOO_LONG, ""
        if len(lines) > 1 and self._read is read_single:
            return None, Ending.SEVERAL_LINES, ""
        for text, address in self._read(lines):
            if len(passed) > MAX_HOPS:
                return None, Ending.TOO_MANY_HOPS, ""
            if address is None:
                return None, Ending.NO_ADDRESS if text else Ending.EMPTY_ELEMENT, text
            if not self._networks.admits(address):
                return address, Ending.UNTRUSTED_HOP, ""
            passed.append(address)
        return passed[-1], Ending.ALL_TRUSTED, ""


def _parse_trusted(trusted: Any) -> tuple[str, ...]:
    if trusted is None:
        raise TypeError("trusted_proxies: None is ambiguous; write [] to trust nobody")
    if isinstance(trusted, str) and "*" not in trusted:
        raise TypeError(f"trusted_proxies: {quote(trusted)} is text; write {trusted.replace(',', ' ').split()}")
    if isinstance(trusted, str | bytes | bytearray | Mapping) or not isinstance(trusted, Iterable):
        raise TypeError(f"trusted_proxies: {quote(trusted)} is not a collection; write a list such as ['10.0.0.0/8']")
    entries = tuple(trusted)
    for entry in entries:
        if entry == "*":
            raise AllowListError(
                "trusted_proxies: '*' would believe a header that anybody can write; write the addresses or networks "
                "of the proxies, such as '10.0.0.0/8'"
            )
        if isinstance(entry, str) and entry != UNIX and re.match("(?i:unix(:|$)|/)", entry):
            raise AllowListError(
                f"trusted_proxies: {quote(entry)} names a socket; write 'unix:' to trust every peer on a Unix socket"
            )
    return entries


def _parse_header(header: Any) -> bytes:
    kinds = "'X-Forwarded-For', 'Forwarded' or a header that carries exactly one address, such as 'X-Real-IP'"
    if not isinstance(header, str):
        raise TypeError(f"forwarded_header: {quote(header)} is not a str; write {kinds}")
    if not _TOKEN.fullmatch(header):
        raise AllowListError(f"forwarded_header: {quote(header)} is not the name of one header; write {kinds}")
    name = header.lower()
    if name in _OTHER_HEADERS:
        raise AllowListError(f"forwarded_header: {quote(header)} does not carry the caller's address; write {kinds}")
    # Spelled as in a WSGI environment or a configuration file: it would be a single-address header nobody sends.
    hyphenated = name.removeprefix("http_").replace("_", "-").encode()
    if hyphenated in READERS and hyphenated != name.encode():
        raise AllowListError(f"forwarded_header: {quote(header)} is not how the header is spelled; write {kinds}")
    return name.encode()


def _find_peer(client: Any) -> bytes | None:
    return find_packed(client[0]) if client else None


def _is_socket_path(server: Any) -> bool:
    match server:
        case [str(path), None]:
            return path != ""
    return False
