"""Text becomes an address or an allow list here, once; what cannot is refused with what to write instead.

Addresses travel in packed form, 4 or 16 bytes. An IPv4-mapped IPv6 address (RFC 4291, section 2.5.5.2) is its IPv4
address from the moment it is read; nothing else is unwrapped, neither NAT64 nor 6to4 nor Teredo.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_interface
from itertools import accumulate
from operator import itemgetter
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from struct import Struct
from typing import Any, Final, NoReturn, TypeVar, final

from allowlist_middleware.errors import AllowListError, quote

Conversion = TypeVar("Conversion", bound=Callable[[int, Any], object])


def prefer(native: Conversion, own: Conversion, probes: Iterable[tuple[int, object]]) -> Conversion:
    """Return the fast conversion of the platform if it agrees with the strict one of ours on every probe, else ours."""

    def outcome(convert: Conversion, family: int, value: object) -> object:
        try:
            return convert(family, value)
        except (OSError, ValueError):
            return None

    return native if all(outcome(native, *probe) == outcome(own, *probe) for probe in probes) else own


def strict_pton(family: int, text: Any) -> bytes:
    """Return what `inet_pton` should: the packed address, or `ValueError` for anything but one plain address."""
    if not isinstance(text, str) or "%" in text:
        raise ValueError("not an address, or one with a zone")
    return (IPv4Address if family == AF_INET else IPv6Address)(text).packed


def canonical_ntop(_family: int, packed: bytes) -> str:
    """Return what `inet_ntop` should: the text of RFC 5952."""
    return str(ip_address(packed))


# Some platforms read octal, hexadecimal, short, integer or zoned forms, or stop at a NUL.
_IPV4_TEXTS: Final = (
    *("192.0.2.1", "192.0.2.01", "192.0.2.0x1", "192.0.513", "3221225985", "192.0.2.256", "192.0.2.1.", "192.0.2"),
    *("192.0.2.1 ", " 192.0.2.1", "192.0.2.1\n", "192.0.2.1\0", "192.0.2.1/32", "192.0.2.1:80", "192.0.2.\u0661", ""),
)
_IPV6_TEXTS: Final = (
    *("2001:db8::1", "2001:DB8:0:0:0:0:0:1", "::192.0.2.1", "::ffff:192.0.2.1", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8"),
    *("2001:db8::00001", "2001:db8:::1", "2001::db8::1", "1:2:3:4:5:6:7:8:", "1:2:3:4::5:6:7:8", "::192.0.2", ":1"),
    *("::192.0.2.01", "2001:db8::1%1", "2001:db8::1%lo", "2001:db8::1/128", "[2001:db8::1]", "2001:db8::1\0", " ::1"),
)
# Some shorten the wrong run of zeros, or a single one.
_IPV6_CANONICAL: Final = ("2001:db8:0:1::", "::1:0:0:2:2:2", "1:2:0:4:5:6:7:8", "1:0:0:4:5:0:0:8", "::", "::1", "1::")

pton: Final[Callable[[int, Any], bytes]] = prefer(
    inet_pton, strict_pton, [(family, text) for family in (AF_INET, AF_INET6) for text in _IPV4_TEXTS + _IPV6_TEXTS]
)
_ntop: Final[Callable[[int, Any], str]] = prefer(
    inet_ntop, canonical_ntop, [(AF_INET6, strict_pton(AF_INET6, text)) for text in _IPV6_CANONICAL]
)

_MAPPED: Final = bytes(10) + b"\xff\xff"


def find_packed(text: str) -> bytes | None:
    """Return the packed address, or `None` for whatever is not the text of exactly one address."""
    try:
        if ":" not in text:
            return pton(AF_INET, text)
        packed = pton(AF_INET6, text)
    except (OSError, ValueError, TypeError):
        return None
    return packed[12:] if packed.startswith(_MAPPED) else packed


def find_address(text: str) -> tuple[bytes | None, str | None]:
    """Return an address both packed and as canonical text, or twice `None` for whatever is not exactly one address."""
    try:
        if ":" not in text:
            return pton(AF_INET, text), text  # of which there is one spelling
    except (OSError, ValueError, TypeError):
        return None, None
    packed = find_packed(text)
    return packed, None if packed is None else format_packed(packed)


def format_packed(packed: bytes) -> str:
    """Return the canonical text of an address (RFC 5952), the same as that of `ipaddress`."""
    if len(packed) == 4:
        return inet_ntop(AF_INET, packed)
    text = _ntop(AF_INET6, packed)
    # C libraries also write the end of addresses in dotted form that are not mapped, such as `::192.0.2.1`.
    return text if "." not in text else str(ip_address(packed))


@final
class AllowList:
    """The addresses a client may call from: a frozen value that answers `address in allow_list`.

    An entry is an address, a network with clear host bits, or `first-last`; anything else raises `AllowListError` that
    quotes it and says what to write. Two lists are equal if they contain the same addresses. `in` takes text and
    `ipaddress` objects; what is not an address is on no list but `ANYWHERE`. There is no length, so that an empty list
    is as true as any other and `allow_list or ANYWHERE` does not open it.
    """

    __slots__ = ("_ipv4", "_ipv6", "entries")

    entries: tuple[str, ...]
    # The first address of a run, the first one after it, and so on; there is none after the end of a family.
    _ipv4: tuple[bytes, ...]
    _ipv6: tuple[bytes, ...]

    def __new__(cls, entries: AllowList | Iterable[str], /) -> AllowList:
        """Return the allow list of the entries, or an allow list as it is."""
        return parse_networks(entries)

    def __contains__(self, address: object) -> bool:
        try:
            # The ordinary case; the calls below would take as long again.
            return bisect_right(self._ipv4, pton(AF_INET, address)) & 1 == 1
        except (OSError, ValueError, TypeError):
            packed = find_packed(str(address)) if isinstance(address, (str, IPv4Address, IPv6Address)) else None
            return packed is not None and self.admits(packed)

    def admits(self, packed: bytes) -> bool:
        """Return whether it contains an address that `find_packed` returned."""
        return bisect_right(self._ipv4 if len(packed) == 4 else self._ipv6, packed) & 1 == 1

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, AllowList):
            return NotImplemented
        return self._ipv4 == other._ipv4 and self._ipv6 == other._ipv6

    def __hash__(self) -> int:
        return hash((self._ipv4, self._ipv6))

    def __repr__(self) -> str:
        shown = [repr(entry) for entry in self.entries[:5]]
        if len(self.entries) > len(shown):
            shown.append(f"... ({len(self.entries)} entries)")
        return f"AllowList([{', '.join(shown)}])"

    def __reduce__(self) -> str | tuple[type[AllowList], tuple[tuple[str, ...]]]:
        return AllowList, (self.entries,)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"an AllowList is frozen; make another one instead of setting {name}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"an AllowList is frozen; make another one instead of deleting {name}")


class LongAllowList(AllowList):  # type: ignore[misc]  # final for users: callers trust KINDS alone
    """An allow list of so many runs that the first two bytes of an address are looked up before the rest of it.

    Searching all bounds takes as many steps, most of them at places in memory that no other look-up has touched lately.
    """

    __slots__ = ("_starts",)
    __qualname__ = AllowList.__qualname__  # as messages show it

    # By the first two bytes of an address, the number of bounds before those that begin with them.
    _starts: array[int]

    def __contains__(self, address: object) -> bool:
        try:
            packed = pton(AF_INET, address)
        except (OSError, ValueError, TypeError):
            return super().__contains__(address)
        starts, beginning = self._starts, packed[0] << 8 | packed[1]
        return bisect_right(self._ipv4, packed, starts[beginning], starts[beginning + 1]) & 1 == 1

    def admits(self, packed: bytes) -> bool:
        """Return whether it contains an address that `find_packed` returned."""
        if len(packed) != 4:
            return super().admits(packed)
        starts, beginning = self._starts, packed[0] << 8 | packed[1]
        return bisect_right(self._ipv4, packed, starts[beginning], starts[beginning + 1]) & 1 == 1


class Anywhere(AllowList):  # type: ignore[misc]  # as above
    """The allow list that contains whatever is asked for."""

    __slots__ = ()
    __qualname__ = AllowList.__qualname__

    def __contains__(self, address: object) -> bool:
        return True

    def __repr__(self) -> str:
        return "ANYWHERE"

    def __reduce__(self) -> str:
        return "ANYWHERE"


KINDS: Final = (AllowList, LongAllowList, Anywhere)
"""The types of all allow lists: what is of another one may answer anything."""


def parse_networks(entries: AllowList | Iterable[str], place: str = "") -> AllowList:
    """Return the allow list of the entries; the message of an error begins with the place.

    An allow list is returned as it is. Raises `AllowListError` for a wrong entry and `TypeError` for what is not a
    collection of entries.
    """
    if isinstance(entries, AllowList):
        return entries
    written = tuple(entries) if isinstance(entries, (list, tuple)) else _parse_collection(entries, place)
    ipv4, ipv6 = _pack(_merge([_find_run(entry) or _refuse(entry, place) for entry in written]))
    if len(ipv4) < _LONG:
        return _make(AllowList, written, ipv4, ipv6)
    allow_list = _make(LongAllowList, written, ipv4, ipv6)
    object.__setattr__(allow_list, "_starts", _count_beginnings(ipv4))
    return allow_list


_LONG: Final = 1 << 16  # bounds: from as many as there are beginnings on, their table is small beside the list


def _make(
    kind: type[AllowList], entries: tuple[str, ...], ipv4: tuple[bytes, ...], ipv6: tuple[bytes, ...]
) -> AllowList:
    allow_list, fill = object.__new__(kind), object.__setattr__
    fill(allow_list, "entries", entries)
    fill(allow_list, "_ipv4", ipv4)
    fill(allow_list, "_ipv6", ipv6)
    return allow_list


def _count_beginnings(bounds: tuple[bytes, ...]) -> array[int]:
    """Return the number of bounds before those that begin with each two bytes, and of all of them at the end."""
    counts = [0] * ((1 << 16) + 1)
    for bound in bounds:
        counts[(bound[0] << 8 | bound[1]) + 1] += 1
    return array("I", accumulate(counts))


# One run from before the first address, without an end.
ANYWHERE: Final = _make(Anywhere, (), (b"",), (b"",))
"""The allow list that contains every address, known or not."""


# While a list is made, addresses are numbers on one line: IPv4, a gap that no run reaches across, IPv6.
_IPV4_END: Final = 1 << 32
_IPV6: Final = 1 << 128
_IPV6_END: Final = 2 << 128
_MAPPED_BLOCK: Final = (_IPV6 + (0xFFFF << 32), _IPV6 + (0x10000 << 32))

_read_ipv4: Final = Struct(">I").unpack  # as int.from_bytes, but quicker

# By the text of the prefix length: no sign, space, leading zero or foreign digit is in the tables.
_IPV4_SIZES: Final = {str(length): 1 << 32 - length for length in range(33)}
_IPV6_SIZES: Final = {str(length): 1 << 128 - length for length in range(129)}
_MAPPED_SIZES: Final = {str(length): 1 << 128 - length for length in range(96, 129)}


def _find_run(entry: object) -> tuple[int, int] | None:
    """Return the first address of an entry and the first one after it, or `None` for what is not an entry."""
    if not isinstance(entry, str):
        return None
    address, slash, length = entry.partition("/")
    try:
        if ":" not in address:
            (start,) = _read_ipv4(pton(AF_INET, address))
            size = _IPV4_SIZES[length] if slash else 1
        else:
            start = _parse_number(address)
            size = (_IPV6_SIZES if start >= _IPV6 else _MAPPED_SIZES)[length] if slash else 1
    except (OSError, LookupError, ValueError):
        return _find_range(entry)
    return None if start & size - 1 else (start, start + size)


def _find_range(entry: str) -> tuple[int, int] | None:
    try:
        first, last = map(_parse_number, entry.split("-"))
    except ValueError:
        return None
    return (first, last + 1) if first <= last and (first < _IPV6) == (last < _IPV6) else None


def _parse_number(address: str) -> int:
    packed = find_packed(address)
    if packed is None:
        raise ValueError("not an address")
    return int.from_bytes(packed) + (0 if len(packed) == 4 else _IPV6)


_FIRST: Final = itemgetter(0)


def _merge(runs: list[tuple[int, int]]) -> list[int]:
    """Return where runs begin and end, in turn and in order, with those made one that touch or overlap."""
    bounds: list[int] = []
    last = -1
    for start, end in sorted(runs, key=_FIRST):  # whole runs take longer to compare, and order nothing else
        if start > last:
            bounds += start, end
            last = end
        elif end > last:
            bounds[-1] = last = end
    return bounds


def _pack(bounds: list[int]) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    ipv4 = tuple([bound.to_bytes(4) for bound in bounds if bound < _IPV4_END])
    if not bounds or bounds[-1] < _IPV6:
        return ipv4, ()
    if bisect_right(bounds, _MAPPED_BLOCK[0]) & 1:
        # No IPv6 address is mapped: this cuts the block, all of which is in the run, out of it.
        bounds = sorted(set(_MAPPED_BLOCK).symmetric_difference(bounds))
    return ipv4, tuple([bound.to_bytes(17)[1:] for bound in bounds if _IPV6 <= bound < _IPV6_END])


def _parse_collection(entries: object, place: str) -> tuple[Any, ...]:
    if entries is None:
        raise TypeError(f"{_prefix(place)}None is ambiguous; write ANYWHERE or []")
    if isinstance(entries, str):
        correct = "ANYWHERE" if entries == "*" else quote(entries.replace(",", " ").split())
        raise TypeError(f"{_prefix(place)}{quote(entries)} is text; write {correct}")
    # The others are collections too, but of something else.
    if not isinstance(entries, Iterable) or isinstance(entries, (bytes, bytearray, Mapping, IPv4Network, IPv6Network)):
        raise TypeError(
            f"{_prefix(place)}{quote(entries)} is not a list of entries; write one, such as ['192.0.2.0/24']"
        )
    return tuple(entries)


def _refuse(entry: object, place: str) -> NoReturn:
    raise AllowListError(_prefix(place) + _explain(entry))


def _prefix(place: str) -> str:
    return place and f"{place}: "


_FORMS: Final = "'192.0.2.7', '192.0.2.0/24' or '192.0.2.1-192.0.2.9'"

# What is wrong with an entry, if rewriting it so makes it right.
_REWRITINGS: Final = tuple(
    (reason, re.compile(pattern), replacement)
    for reason, pattern, replacement in (
        ("has white space", r"^\s{1,9}|\s{1,9}$|\s{0,9}([-/])\s{0,9}", r"\1"),
        ("has a comment", r"\s?#.*", ""),
        ("has a zone", r"%[^/-]*", ""),
        ("has brackets", r"^\[([^]]*)\](?::\d*)?", r"\1"),
        ("has a port", r"^([\d.]+):\d*$", r"\1"),
        ("has another dash than '-'", "\\s{0,9}[\u2010-\u2015\u2212]\\s{0,9}", "-"),
        ("is reversed", r"^([^-]*)-([^-]*)$", r"\2-\1"),
        ("has a shortened end", r"^((?:\d+\.){3})(\d+-)(\d+)$", r"\1\2\1\3"),
        ("has a wildcard", r"^(\d+)(?:\.\*){1,3}$", r"\1.0.0.0/8"),
        ("has a wildcard", r"^(\d+\.\d+)(?:\.\*){1,2}$", r"\1.0.0/16"),
        ("has a wildcard", r"^(\d+\.\d+\.\d+)\.\*$", r"\1.0/24"),
        ("counts its prefix length as IPv4 does", r"(?i)^::ffff:([\d.]+/\d+)$", r"\1"),
    )
)


def _explain(entry: object) -> str:
    """Return what is wrong with an entry and what to write."""
    if isinstance(entry, (IPv4Address, IPv4Network, IPv6Address, IPv6Network)) and _find_run(str(entry)):
        return f"{entry!r} is not text; write '{entry}'"
    if not isinstance(entry, str):
        return f"{quote(entry)} is not text; write an address, a network or a range, such as {_FORMS}"
    if entry == "*":
        return "'*' is not an address or a network; write ANYWHERE in place of the list"
    for reason, pattern, replacement in _REWRITINGS:
        rewritten = pattern.sub(replacement, entry)
        if _find_run(rewritten):
            return f"{quote(entry)} {reason}; write '{rewritten}'"
    return f"{quote(entry)} {_explain_address(entry) or _explain_length(entry)}"


def _explain_address(entry: str) -> str | None:
    if all(map(_find_run, entry.split("-"))):
        return "does not join two addresses of one family; write the first and the last, as '192.0.2.1-192.0.2.9'"
    several = entry.replace(",", " ").split()
    if several and all(map(_find_run, several)):
        return f"holds several entries; write {quote(several)}"
    if find_packed(entry.partition("/")[0]):
        return None
    if re.search(r"(?:^|[.-])0\d", entry):
        return "has leading zeros, which some read as octal; write decimal numbers without them"
    if entry[:1].isalpha() and ":" not in entry:
        return "is a name, and names are not looked up; write the addresses it stands for"
    return f"is not an address, a network or a range; write one such as {_FORMS}"


def _explain_length(entry: str) -> str:
    address, _, length = entry.partition("/")
    bits = 128 if ":" in address else 32
    try:
        interface = ip_interface(entry)
    except ValueError:
        return f"has no prefix length from 0 to {bits}; write '{address}/{bits}' if it is one address"
    correct = f"'{interface.network}'"
    if interface.ip != interface.network.network_address:
        correct += f" or '{interface.ip}/{bits}'"
    if "." in length:
        return f"has a mask in place of a prefix length; write {correct}"
    if length not in _IPV6_SIZES:
        return f"has leading zeros in its prefix length; write {correct}"
    return f"has host bits set; write {correct}"
