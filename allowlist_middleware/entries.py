"""The entries of an allow list one by one: which hold an address, and by how much the others miss it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import NamedTuple, TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address


class Miss(NamedTuple):
    """How an entry misses an address: its bound on that side, and how many addresses further the address is."""

    entry: str
    bound: str
    distance: int
    is_above: bool

    def __str__(self) -> str:
        """Return it as a sentence about the entry and the address it misses."""
        count = "1 address" if self.distance == 1 else f"{self.distance:,} addresses"
        side = "above" if self.is_above else "below"
        if self.entry == self.bound:
            return f"{self.entry} is {count} {side} it"
        return f"{self.entry} {'begins' if self.is_above else 'ends'} {count} {side} it, at {self.bound}"


def find_holding(entries: Iterable[str], address: str) -> list[str]:
    """Return the entries that hold an address."""
    return [entry for entry, first, last in _find_runs(entries, address) if first <= int(_parse(address)) <= last]


def find_nearest(entries: Iterable[str], address: str, count: int = 3) -> list[Miss]:
    """Return the nearest entries of the address's family that do not hold it, the nearest first."""
    number, family = int(_parse(address)), type(_parse(address))
    misses = []
    for entry, first, last in _find_runs(entries, address):
        if number < first:
            misses.append(Miss(entry, str(family(first)), first - number, is_above=True))
        elif number > last:
            misses.append(Miss(entry, str(family(last)), number - last, is_above=False))
    return sorted(misses, key=lambda miss: miss.distance)[:count]


def _find_runs(entries: Iterable[str], address: str) -> Iterator[tuple[str, int, int]]:
    """Yield the entries of the address's family with the numbers of their first and last addresses."""
    family = type(_parse(address))
    for entry in entries:
        first, dash, last = entry.partition("-")
        if not dash:
            network = ip_network(entry)
            first, last = str(network[0]), str(network[-1])
        start, end = _parse(first), _parse(last)
        if type(start) is type(end) is family:
            yield entry, int(start), int(end)


def _parse(text: str) -> Address:
    address = ip_address(text)
    return getattr(address, "ipv4_mapped", None) or address
