from __future__ import annotations

import copy
import ipaddress
import pickle
import re
import socket
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from allowlist_middleware import networks as module
from allowlist_middleware.errors import AllowListError
from allowlist_middleware.networks import (
    ANYWHERE,
    AllowList,
    LongAllowList,
    canonical_ntop,
    find_packed,
    format_packed,
    parse_networks,
    prefer,
    strict_pton,
)
from tests.asgi import EVEN
from tests.vectors import judge, load

if TYPE_CHECKING:
    from collections.abc import Callable

VECTORS = load("ip_membership")
LAST = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

law = settings(deadline=None)

ADDRESSES = st.ip_addresses()
SPELLING_CHARACTERS = st.sampled_from("0123456789abcfxABF.:%/[]- \t\n\0\u0661\uff11\ud800")


@st.composite
def networks(draw: st.DrawFn) -> Network:
    address = draw(ADDRESSES)
    return ipaddress.ip_network((address, draw(st.integers(0, address.max_prefixlen))), strict=False)


@st.composite
def mutated_addresses(draw: st.DrawFn) -> str:
    text = str(draw(ADDRESSES))
    start = draw(st.integers(0, len(text)))
    stop = draw(st.integers(start, min(len(text), start + 2)))
    return text[:start] + draw(st.text(SPELLING_CHARACTERS, max_size=3)) + text[stop:]


@st.composite
def addresses_near(draw: st.DrawFn, among: list[Network]) -> Address:
    """Most random addresses are far from every boundary."""
    edges = [edge for network in among for edge in (network.network_address, network.broadcast_address)]
    if not edges or draw(st.booleans()):
        return draw(ADDRESSES)
    edge = draw(st.sampled_from(edges))
    highest = (1 << edge.max_prefixlen) - 1
    return type(edge)(min(max(int(edge) + draw(st.integers(-1, 1)), 0), highest))


def unmapped(address: Address) -> Address:
    return getattr(address, "ipv4_mapped", None) or address


def is_mapped(network: Network) -> bool:
    return isinstance(network, ipaddress.IPv6Network) and network.network_address.ipv4_mapped is not None


def packed_by_the_standard_library(text: str) -> bytes | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return None if getattr(address, "scope_id", None) else unmapped(address).packed


def spellings(address: Address) -> list[str]:
    texts = [str(address)]
    if isinstance(address, ipaddress.IPv4Address):
        texts += [f"::ffff:{address}", f"0:0:0:0:0:ffff:{address.packed[:2].hex()}:{address.packed[2:].hex()}"]
    texts.append(ipaddress.ip_address(texts[-1]).exploded)
    return texts + [text.upper() for text in texts]


# Vectors


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["id"] for vector in VECTORS])
def test_decides_as_the_vector_expects(vector: dict[str, Any]) -> None:
    assert judge(vector, "expected", answer(vector["entries"], vector["ip"])) == "strict"


def answer(entries: list[Any], text: str) -> str:
    try:
        allow_list = AllowList(entries)
    except AllowListError:
        return "invalid-entry"
    if find_packed(text) is None:
        assert text not in allow_list
        return "invalid-ip"
    return "allow" if text in allow_list else "deny"


def test_the_worked_example() -> None:
    allow_list = AllowList(["192.168.0.0/20"])
    assert "192.168.15.255" in allow_list
    assert "192.168.44.44" not in allow_list


# Addresses


@pytest.mark.parametrize(
    ("text", "packed"),
    [
        ("192.0.2.1", "c0000201"),
        ("::ffff:192.0.2.1", "c0000201"),
        ("::FFFF:C000:201", "c0000201"),
        ("0000:0000:0000:0000:0000:ffff:c000:0201", "c0000201"),
        ("2001:DB8::1", "20010db8000000000000000000000001"),
        ("2001:db8:0:0:0:0:0:1", "20010db8000000000000000000000001"),
        ("2001:db8::192.0.2.1", "20010db80000000000000000c0000201"),
        ("::192.0.2.1", "000000000000000000000000c0000201"),
        ("::ffff:0:192.0.2.1", "00000000000000 00ffff0000c0000201"),
        ("64:ff9b::192.0.2.1", "0064ff9b0000000000000000c0000201"),
        ("2002:c000:201::", "2002c000020100000000000000000000"),
        ("1:2:3:4:5:6:7::", "00010002000300040005000600070000"),
        ("::", "00000000000000000000000000000000"),
    ],
)
def test_reads_every_spelling_and_unwraps_only_mapped_addresses(text: str, packed: str) -> None:
    assert find_packed(text) == bytes.fromhex(packed)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "unknown", "localhost", "testclient", "/run/app.sock", "unix:"),
        *("192.0.2", "192.0.513", "3221225985", "0xc0000201", "0xc0.0.2.1", "192.0.02.1", "192.0.2.001", "0300.0.2.1"),
        *("192.0.2.256", "192.0.2.1.", ".192.0.2.1", "192.0.2.1.1", "192.0.2.-1", "192.0.2.+1", "192.0.2.1e0"),
        *("192.0.2.1:80", "[192.0.2.1]", "192.0.2.1/32", "192.0.2.1%eth0", "192.0.2.1,192.0.2.2"),
        *(" 192.0.2.1", "192.0.2.1 ", "192.0.2.1\n", "192.0.2.1\0", "192.0.2.1\0.example", "\ufeff192.0.2.1"),
        *("192.0.2.\u0661", "\uff11\uff19\uff12.0.2.1", "192\u30020\u30022\u30021", "\ud800", "192.0.2.1\udc80"),
        *("[2001:db8::1]", "[2001:db8::1]:443", "2001:db8::1%eth0", "2001:db8::1%1", "2001:db8::1%", "2001:db8::1/128"),
        *("2001:db8:::1", "2001::db8::1", "2001:db8::00001", "2001:db8::g", "2001:db8::1:", ":2001:db8::1", "2001:db8"),
        *(
            "1:2:3:4:5:6:7:8:9",
            "1:2:3:4:5:6:7:8::",
            "::192.0.2",
            "::192.0.2.01",
            "::ffff:192.0.2.1:80",
            "2001:db8::1\0",
        ),
    ],
)
def test_what_is_not_the_text_of_one_address_is_none(text: str) -> None:
    assert find_packed(text) is None
    assert outcome(strict_pton, socket.AF_INET, text) is None
    assert outcome(strict_pton, socket.AF_INET6, text) is None


@pytest.mark.parametrize("value", [None, 3221225985, b"192.0.2.1", ["192.0.2.1"], {":": 1}, object()])
def test_what_is_not_text_is_no_address(value: Any) -> None:
    assert find_packed(value) is None
    with pytest.raises(ValueError, match="not an address"):
        strict_pton(socket.AF_INET, value)


@law
@given(st.text() | st.text(SPELLING_CHARACTERS) | mutated_addresses() | ADDRESSES.map(str))
@example("::ffff:192.0.2.1")
@example("::%1")
def test_reads_text_as_the_standard_library_does_but_for_zones(text: str) -> None:
    assert find_packed(text) == packed_by_the_standard_library(text)


@pytest.mark.parametrize("text", ["1", "x", "1.", "1:", ":", "%", "\0"])
def test_long_text_is_no_address(text: str) -> None:
    assert find_packed(text * 500_000) is None


@law
@given(ADDRESSES | st.integers(0, 2**32 - 1).map(ipaddress.IPv6Address))
@example(ipaddress.IPv6Address("::"))
@example(ipaddress.IPv6Address("::1"))
@example(ipaddress.IPv6Address("::192.0.2.1"))
@example(ipaddress.IPv6Address("::ffff:192.0.2.1"))
@example(ipaddress.IPv6Address("::ffff:0:192.0.2.1"))
@example(ipaddress.IPv6Address("2001:db8:0:1:1:1:1:1"))
@example(ipaddress.IPv6Address("2001:db8::1:0:0:1"))
@example(ipaddress.IPv6Address("2001:db8:0:0:1::"))
def test_formats_an_address_as_the_standard_library_does(address: Address) -> None:
    assert format_packed(address.packed) == str(address)
    assert find_packed(format_packed(address.packed)) == unmapped(address).packed
    assert canonical_ntop(socket.AF_INET6, address.packed) == str(address)


# Platforms


def inet_aton(family: int, text: str) -> bytes:
    return socket.inet_aton(text) if family == socket.AF_INET else socket.inet_pton(family, text)


def stops_at_nul(family: int, text: str) -> bytes:
    return socket.inet_pton(family, text.partition("\0")[0])


def reads_zones(family: int, text: str) -> bytes:
    return socket.inet_pton(family, text.partition("%")[0])


def reads_no_dotted_tail(family: int, text: str) -> bytes:
    if ":" in text and "." in text:
        raise OSError
    return socket.inet_pton(family, text)


@pytest.mark.parametrize("lenient", [inet_aton, stops_at_nul, reads_zones, reads_no_dotted_tail])
def test_a_platform_that_reads_otherwise_is_not_asked(lenient: Callable[[int, Any], bytes]) -> None:
    probes = [(socket.AF_INET, text) for text in ("192.0.2.01", "192.0.2.1\0")]
    probes += [(socket.AF_INET6, text) for text in ("::192.0.2.1", "2001:db8::1%1")]
    assert prefer(lenient, strict_pton, probes) is strict_pton


def test_a_platform_that_reads_alike_is_preferred() -> None:
    def native(family: int, text: Any) -> bytes:
        return strict_pton(family, text)

    assert prefer(native, strict_pton, [(socket.AF_INET, "192.0.2.1"), (socket.AF_INET, "192.0.2.01")]) is native


@law
@given(mutated_addresses() | ADDRESSES.map(str))
def test_both_ways_to_read_an_address_agree(text: str) -> None:
    ipv4, ipv6 = (outcome(strict_pton, family, text) for family in (socket.AF_INET, socket.AF_INET6))
    assert find_packed(text) == (ipv4 or (ipv6 and unmapped(ipaddress.IPv6Address(ipv6)).packed))


def outcome(parse: Callable[[int, Any], bytes], family: int, text: str) -> bytes | None:
    try:
        return parse(family, text)
    except ValueError:
        return None


# Membership


@pytest.mark.parametrize(
    ("entry", "inside", "outside"),
    [
        ("0.0.0.0/0", ["0.0.0.0", "192.0.2.1", "255.255.255.255", "::ffff:192.0.2.1"], ["::", "::c000:201"]),
        ("::/0", ["::", "2001:db8::1", LAST], ["0.0.0.0", "192.0.2.1", "::ffff:192.0.2.1"]),
        ("0.0.0.0", ["0.0.0.0", "::ffff:0:0"], ["0.0.0.1", "255.255.255.255", "::"]),
        ("::", ["::"], ["::1", "0.0.0.0", LAST]),
        ("255.255.255.255/32", ["255.255.255.255"], ["255.255.255.254", "0.0.0.0"]),
        (f"{LAST}/128", [LAST], ["ffff:" * 7 + "fffe", "::"]),
        ("128.0.0.0/1", ["128.0.0.0", "255.255.255.255"], ["127.255.255.255"]),
        ("8000::/1", ["8000::", LAST], ["7fff:" + "ffff:" * 6 + "ffff"]),
        ("192.0.2.0/24", ["192.0.2.0", "192.0.2.255"], ["192.0.1.255", "192.0.3.0"]),
        ("2001:db8::/32", ["2001:db8::", "2001:db8:ffff::"], ["2001:db7:ffff::", "2001:db9::"]),
        ("198.51.100.10-198.51.100.20", ["198.51.100.10", "198.51.100.20"], ["198.51.100.9", "198.51.100.21"]),
        ("198.51.100.7-198.51.100.7", ["198.51.100.7"], ["198.51.100.6", "198.51.100.8"]),
        ("0.0.0.0-255.255.255.255", ["0.0.0.0", "255.255.255.255"], ["::"]),
        ("2001:db8::1-2001:db8::ff", ["2001:db8::1", "2001:db8::ff"], ["2001:db8::", "2001:db8::100"]),
        ("::ffff:192.0.2.0/120", ["192.0.2.0", "::ffff:192.0.2.255"], ["192.0.3.0", "::192.0.2.1"]),
        ("::ffff:0:0/96", ["0.0.0.0", "255.255.255.255"], ["::", "::1:0:0:0"]),
        ("::ffff:192.0.2.1-192.0.2.9", ["192.0.2.1", "192.0.2.9"], ["192.0.2.10"]),
        ("::fffe:0:0/95", ["::fffe:192.0.2.1"], ["192.0.2.1", "::ffff:192.0.2.1"]),
        ("::192.0.2.0/120", ["::192.0.2.1"], ["192.0.2.1"]),
    ],
)
def test_an_entry_contains_its_addresses_and_no_others(entry: str, inside: list[str], outside: list[str]) -> None:
    allow_list = AllowList([entry])
    assert [text in allow_list for text in inside] == [True] * len(inside)
    assert [text in allow_list for text in outside] == [False] * len(outside)


def test_an_empty_list_admits_nobody_and_is_not_false() -> None:
    empty = AllowList([])
    assert "192.0.2.1" not in empty
    assert "2001:db8::1" not in empty
    assert empty.entries == ()
    assert bool(empty)


@law
@given(st.lists(networks(), max_size=8), st.data())
def test_agrees_with_the_standard_library(among: list[Network], data: st.DataObject) -> None:
    among = [network for network in among if not is_mapped(network)]
    address = unmapped(data.draw(addresses_near(among)))
    expected = any(address in network for network in among)
    allow_list = AllowList([str(network) for network in among])
    assert (address in allow_list) is expected
    assert (str(address) in allow_list) is expected
    assert allow_list.admits(address.packed) is expected


@law
@given(st.lists(networks(), max_size=4), st.data())
def test_every_spelling_of_an_address_gets_one_decision(among: list[Network], data: st.DataObject) -> None:
    allow_list = AllowList([str(network) for network in among])
    address = unmapped(data.draw(addresses_near(among)))
    assert len({text in allow_list for text in spellings(address)}) == 1


@law
@given(ADDRESSES)
def test_every_spelling_of_an_entry_is_one_entry(address: Address) -> None:
    address = unmapped(address)
    assert {AllowList([text]) for text in spellings(address)} == {AllowList([str(address)])}
    assert all(address in AllowList([f"{text}-{text}"]) for text in spellings(address))


@law
@given(st.lists(networks(), max_size=8), st.randoms(use_true_random=False))
def test_entries_are_a_set(among: list[Network], random: Any) -> None:
    entries = [str(network) for network in among]
    shuffled = entries + entries[:3]
    random.shuffle(shuffled)
    assert AllowList(shuffled) == AllowList(entries)
    assert hash(AllowList(shuffled)) == hash(AllowList(entries))


@law
@given(st.lists(networks(), max_size=8), networks(), st.data())
def test_one_more_entry_never_takes_an_address_away(among: list[Network], more: Network, data: st.DataObject) -> None:
    entries = [str(network) for network in among]
    address = data.draw(addresses_near([*among, more]))
    assert (address in AllowList(entries)) <= (address in AllowList([*entries, str(more)]))


@law
@given(networks().filter(lambda network: network.prefixlen < network.max_prefixlen))
@example(ipaddress.ip_network("::/80"))
@example(ipaddress.ip_network("::ffff:0:0/96"))
@example(ipaddress.IPv6Network("::fffe:0:0/95"))  # one half is all mapped addresses, which no IPv6 entry holds
def test_lists_of_the_same_addresses_are_equal(network: Network) -> None:
    whole = AllowList([str(network)])
    halves: list[Network] = list(network.subnets())
    assert (AllowList([str(half) for half in halves]) == whole) is (is_mapped(halves[1]) == is_mapped(network))
    assert (AllowList([str(halves[0])]) != whole) is (is_mapped(halves[1]) == is_mapped(network))
    first, last = network.network_address, network.broadcast_address
    if unmapped(first).version == unmapped(last).version:
        assert AllowList([f"{first}-{last}"]) == whole
    else:  # one end is mapped: the range would join two families
        with pytest.raises(AllowListError, match="does not join two addresses of one family"):
            AllowList([f"{first}-{last}"])


def test_no_ipv6_entry_holds_a_mapped_address() -> None:
    mapped = ipaddress.IPv6Address("::ffff:192.0.2.1").packed
    assert not AllowList(["::/0"]).admits(mapped)
    assert AllowList(["::/0"]) == AllowList(["::-::fffe:ffff:ffff", f"::1:0:0:0-{LAST}"])
    assert AllowList(["::fffe:0:0/95"]) == AllowList(["::fffe:0:0/96"])
    assert AllowList(["::/0", "0.0.0.0/0"]) == AllowList(["::/0", "::ffff:0:0/96"])


@pytest.mark.parametrize(
    ("value", "inside"),
    [
        (ipaddress.ip_address("192.0.2.1"), True),
        (ipaddress.ip_address("::ffff:192.0.2.1"), True),
        (ipaddress.ip_address("2001:db8::1"), True),
        (ipaddress.ip_address("203.0.113.1"), False),
        (ipaddress.ip_address("2001:db8::1%eth0"), False),
        (ipaddress.ip_interface("192.0.2.1/24"), False),
        (ipaddress.ip_network("192.0.2.0/24"), False),
        ("192.0.2.0/24", False),
        ("testclient", False),
        (None, False),
        (b"192.0.2.1", False),
        (b"\xc0\x00\x02\x01", False),
        (3221225985, False),
        (True, False),
        (["192.0.2.1"], False),
    ],
)
def test_text_and_address_objects_can_be_contained(value: object, inside: bool) -> None:
    assert (value in AllowList(["192.0.2.0/24", "2001:db8::/32"])) is inside


# Long lists: the other kind of allow list differs in nothing but how it searches


def lengthened(entries: list[str]) -> AllowList:
    """Return the list as it would be if it were long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_LONG", 0)
        return AllowList(entries)


def test_a_list_is_long_from_65536_bounds_on() -> None:
    assert type(AllowList(EVEN)) is LongAllowList
    assert type(AllowList(EVEN[1:])) is AllowList


def test_a_long_list_contains_its_addresses_and_no_others() -> None:
    allow_list = AllowList([*EVEN, "2001:db8::/32"])
    assert all(text in allow_list for text in EVEN)
    assert not any(f"{text[:-1]}{int(text[-1]) + 1}" in allow_list for text in EVEN)
    outside = ["0.0.0.0", "192.167.255.255", "192.169.0.0", "255.255.255.255", "2001:db9::", "192.168.0.00", "x", ""]
    assert not any(text in allow_list for text in outside)
    assert "2001:db8::1" in allow_list
    assert "::ffff:192.168.0.2" in allow_list
    assert ipaddress.ip_address("192.168.255.254") in allow_list
    assert ipaddress.ip_address("192.168.255.255") not in allow_list
    assert None not in allow_list
    assert pickle.loads(pickle.dumps(allow_list)) == allow_list


@settings(deadline=None, max_examples=40)
@given(st.lists(networks(), max_size=8), st.data())
def test_a_long_list_says_what_a_short_one_says(among: list[Network], data: st.DataObject) -> None:
    entries = [str(network) for network in among]
    short, long = AllowList(entries), lengthened(entries)
    assert (type(short), type(long)) == (AllowList, LongAllowList)
    assert long == short
    assert hash(long) == hash(short)
    for _ in range(20):
        address = unmapped(data.draw(addresses_near(among)))
        inside = address in short
        assert (address in long, str(address) in long, long.admits(address.packed)) == (inside, inside, inside)


# The value


def test_keeps_its_entries_as_they_were_written_and_in_order() -> None:
    entries = ["2001:DB8::/32", "192.0.2.0/24", "192.0.2.0/24", "::ffff:198.51.100.1"]
    assert AllowList(entries).entries == tuple(entries)
    assert AllowList(entry for entry in entries).entries == tuple(entries)
    assert AllowList(dict.fromkeys(entries).keys()).entries == ("2001:DB8::/32", "192.0.2.0/24", "::ffff:198.51.100.1")


def test_shows_its_entries_and_only_the_first_of_many() -> None:
    assert repr(AllowList([])) == "AllowList([])"
    assert repr(AllowList(["192.0.2.1", "2001:db8::/32"])) == "AllowList(['192.0.2.1', '2001:db8::/32'])"
    assert "..." not in repr(AllowList(["192.0.2.1"] * 5))
    many = AllowList([f"198.51.{third}.0/24" for third in range(200)])
    assert repr(many) == (
        "AllowList(['198.51.0.0/24', '198.51.1.0/24', '198.51.2.0/24', '198.51.3.0/24', '198.51.4.0/24', "
        "... (200 entries)])"
    )


@pytest.mark.parametrize("name", ["entries", "_ipv4", "other"])
@pytest.mark.parametrize("allow_list", [AllowList(["192.0.2.1"]), ANYWHERE])
def test_is_frozen(allow_list: AllowList, name: str) -> None:
    with pytest.raises(AttributeError, match="frozen; make another one instead of setting " + name):
        setattr(allow_list, name, ())
    with pytest.raises(AttributeError, match="frozen; make another one instead of deleting " + name):
        delattr(allow_list, name)


def test_differs_from_other_things() -> None:
    allow_list = AllowList(["192.0.2.1"])
    assert allow_list != "192.0.2.1"
    assert allow_list != ("192.0.2.1",)
    assert allow_list != AllowList(["192.0.2.2"])
    assert AllowList(["0.0.0.1"]) != AllowList(["::1"])


@pytest.mark.parametrize("entries", [[], ["192.0.2.1", "2001:db8::/32", "198.51.100.10-198.51.100.20"]])
def test_survives_a_copy(entries: list[str]) -> None:
    allow_list = AllowList(entries)
    for copied in (copy.copy(allow_list), copy.deepcopy(allow_list), pickle.loads(pickle.dumps(allow_list))):
        assert copied == allow_list
        assert copied.entries == allow_list.entries


def test_a_list_of_a_list_is_that_list() -> None:
    allow_list = AllowList(["192.0.2.1"])
    assert AllowList(allow_list) is allow_list
    assert AllowList(ANYWHERE) is ANYWHERE
    assert parse_networks(ANYWHERE, "client 'partner'") is ANYWHERE


@law
@given(st.text() | ADDRESSES | ADDRESSES.map(str) | st.none())
def test_anywhere_contains_every_address_known_or_not(address: object) -> None:
    assert address in ANYWHERE


@law
@given(ADDRESSES)
def test_anywhere_admits_every_packed_address(address: Address) -> None:
    assert ANYWHERE.admits(address.packed)


def test_anywhere_is_one_of_its_kind() -> None:
    assert isinstance(ANYWHERE, AllowList)
    assert repr(ANYWHERE) == "ANYWHERE"
    assert ANYWHERE.entries == ()
    assert AllowList(["0.0.0.0/0", "::/0"]) != ANYWHERE
    assert AllowList([]) != ANYWHERE
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(ANYWHERE, protocol)) is ANYWHERE
    assert copy.copy(ANYWHERE) is ANYWHERE
    assert copy.deepcopy({"partner": ANYWHERE})["partner"] is ANYWHERE


# Mistakes

AS_RANGE = "write the first and the last, as '192.0.2.1-192.0.2.9'"
FORMS = "'192.0.2.7', '192.0.2.0/24' or '192.0.2.1-192.0.2.9'"

MISTAKES: list[tuple[Any, str]] = [
    ("10.0.0.1/8", "'10.0.0.1/8' has host bits set; write '10.0.0.0/8' or '10.0.0.1/32'"),
    ("192.0.2.1/0", "'192.0.2.1/0' has host bits set; write '0.0.0.0/0' or '192.0.2.1/32'"),
    ("2001:db8::1/32", "'2001:db8::1/32' has host bits set; write '2001:db8::/32' or '2001:db8::1/128'"),
    (
        "192.0.2.0/255.255.255.0",
        "'192.0.2.0/255.255.255.0' has a mask in place of a prefix length; write '192.0.2.0/24'",
    ),
    ("192.0.2.0/0.0.0.255", "'192.0.2.0/0.0.0.255' has a mask in place of a prefix length; write '192.0.2.0/24'"),
    (
        "192.0.2.1/255.255.255.0",
        "'192.0.2.1/255.255.255.0' has a mask in place of a prefix length; write '192.0.2.0/24' or '192.0.2.1/32'",
    ),
    ("192.0.2.0/024", "'192.0.2.0/024' has leading zeros in its prefix length; write '192.0.2.0/24'"),
    ("192.0.2.0/33", "'192.0.2.0/33' has no prefix length from 0 to 32; write '192.0.2.0/32' if it is one address"),
    ("192.0.2.0/", "'192.0.2.0/' has no prefix length from 0 to 32; write '192.0.2.0/32' if it is one address"),
    ("192.0.2.0/-1", "'192.0.2.0/-1' has no prefix length from 0 to 32; write '192.0.2.0/32' if it is one address"),
    ("192.0.2.0/+24", "'192.0.2.0/+24' has no prefix length from 0 to 32; write '192.0.2.0/32' if it is one address"),
    (
        "192.0.2.0/2\u0664",
        "'192.0.2.0/2\u0664' has no prefix length from 0 to 32; write '192.0.2.0/32' if it is one address",
    ),
    (
        "2001:db8::/129",
        "'2001:db8::/129' has no prefix length from 0 to 128; write '2001:db8::/128' if it is one address",
    ),
    ("::ffff:192.0.2.0/24", "'::ffff:192.0.2.0/24' counts its prefix length as IPv4 does; write '192.0.2.0/24'"),
    ("*", "'*' is not an address or a network; write ANYWHERE in place of the list"),
    ("10.*", "'10.*' has a wildcard; write '10.0.0.0/8'"),
    ("192.168.*.*", "'192.168.*.*' has a wildcard; write '192.168.0.0/16'"),
    ("192.0.2.*", "'192.0.2.*' has a wildcard; write '192.0.2.0/24'"),
    ("*.*.*.*", f"'*.*.*.*' is not an address, a network or a range; write one such as {FORMS}"),
    (" 192.0.2.1", "' 192.0.2.1' has white space; write '192.0.2.1'"),
    ("192.0.2.0/24\n", r"'192.0.2.0/24\n' has white space; write '192.0.2.0/24'"),
    ("192.0.2.1 - 192.0.2.9", "'192.0.2.1 - 192.0.2.9' has white space; write '192.0.2.1-192.0.2.9'"),
    ("192.0.2. 1", f"'192.0.2. 1' is not an address, a network or a range; write one such as {FORMS}"),
    ("192.0.2.1 # office", "'192.0.2.1 # office' has a comment; write '192.0.2.1'"),
    ("fe80::1%eth0", "'fe80::1%eth0' has a zone; write 'fe80::1'"),
    ("fe80::%eth0/64", "'fe80::%eth0/64' has a zone; write 'fe80::/64'"),
    ("[2001:db8::1]", "'[2001:db8::1]' has brackets; write '2001:db8::1'"),
    ("[2001:db8::1]:443", "'[2001:db8::1]:443' has brackets; write '2001:db8::1'"),
    ("192.0.2.1:80", "'192.0.2.1:80' has a port; write '192.0.2.1'"),
    (
        "192.0.2.1 \u2013 192.0.2.9",
        "'192.0.2.1 \u2013 192.0.2.9' has another dash than '-'; write '192.0.2.1-192.0.2.9'",
    ),
    ("192.0.2.9-192.0.2.1", "'192.0.2.9-192.0.2.1' is reversed; write '192.0.2.1-192.0.2.9'"),
    ("192.0.2.1-15", "'192.0.2.1-15' has a shortened end; write '192.0.2.1-192.0.2.15'"),
    *(
        (
            entry,
            f"'{entry}' does not join two addresses of one family; {AS_RANGE}",
        )
        for entry in (
            "192.0.2.1-2001:db8::1",
            "::1-::ffff:192.0.2.1",
            "::-::ffff:ffff:ffff",  # as a network, ::/80, it can be written
            "192.0.2.0/24-198.51.100.0/24",
            "192.0.2.1-192.0.2.2-192.0.2.3",
        )
    ),
    ("192.0.2.1, 192.0.2.9", "'192.0.2.1, 192.0.2.9' holds several entries; write ['192.0.2.1', '192.0.2.9']"),
    ("192.0.02.1", "'192.0.02.1' has leading zeros, which some read as octal; write decimal numbers without them"),
    ("localhost", "'localhost' is a name, and names are not looked up; write the addresses it stands for"),
    ("api.example.com", "'api.example.com' is a name, and names are not looked up; write the addresses it stands for"),
    *(
        (entry, f"{entry!r} is not an address, a network or a range; write one such as {FORMS}")
        for entry in (
            *(
                "",
                " ",
                "/",
                "-",
                "/24",
                "192.0.2",
                "192.0.2/24",
                "192.0.2.1-",
                "-192.0.2.1",
                "192.0.2.256",
                "0xc0.0.2.1",
            ),
            *("3221225985", "192.0.2.1\0", "\ud800", "2001:db8:::1", "fe80::1%eth0/64", " 192.0.2.1/24", "abcd:"),
        )
    ),
    (3221225985, f"3221225985 is not text; write an address, a network or a range, such as {FORMS}"),
    (True, f"True is not text; write an address, a network or a range, such as {FORMS}"),
    (None, f"None is not text; write an address, a network or a range, such as {FORMS}"),
    (b"192.0.2.1", f"b'192.0.2.1' is not text; write an address, a network or a range, such as {FORMS}"),
    (["192.0.2.1"], f"['192.0.2.1'] is not text; write an address, a network or a range, such as {FORMS}"),
    (ANYWHERE, f"an AllowList is not text; write an address, a network or a range, such as {FORMS}"),
    (ipaddress.ip_network("192.0.2.0/24"), "IPv4Network('192.0.2.0/24') is not text; write '192.0.2.0/24'"),
    (ipaddress.ip_address("2001:db8::1"), "IPv6Address('2001:db8::1') is not text; write '2001:db8::1'"),
    (
        ipaddress.ip_address("fe80::1%eth0"),
        f"an IPv6Address is not text; write an address, a network or a range, such as {FORMS}",
    ),
]


@pytest.mark.parametrize(("entry", "message"), MISTAKES, ids=[repr(entry) for entry, _ in MISTAKES])
def test_a_wrong_entry_is_quoted_with_what_to_write(entry: Any, message: str) -> None:
    with pytest.raises(AllowListError) as raised:
        AllowList(["192.0.2.1", entry, "198.51.100.0/24"])
    assert str(raised.value) == message
    with pytest.raises(AllowListError) as raised:
        parse_networks(["192.0.2.1", entry], "client 'acme'")
    assert str(raised.value) == f"client 'acme': {message}"


@pytest.mark.parametrize("length", ["0", "32", "80", "95"])
def test_a_mapped_network_is_not_shorter_than_the_mapped_block(length: str) -> None:
    with pytest.raises(AllowListError, match="has host bits set"):
        AllowList([f"::ffff:0:0/{length}"])


@pytest.mark.parametrize("message", [message for _, message in MISTAKES])
def test_what_an_error_says_to_write_can_be_written(message: str) -> None:
    AllowList(re.findall("'([^']+)'", message.partition("; write ")[2]))


@law
@given(st.text() | st.text(SPELLING_CHARACTERS) | mutated_addresses())
def test_any_text_is_an_entry_or_an_error_that_helps(text: str) -> None:
    message = ""
    try:
        AllowList([text])
    except AllowListError as error:
        message = str(error)
    assert not message or "; write " in message


@pytest.mark.parametrize(
    "text", ["x", " ", "1.", "1:", "-", "9", "%", "[", "#", "192.0.2.1 ", "192.0.2.1-", "\u2013", "\0"]
)
@pytest.mark.parametrize("start", ["", "192.0.2.1", "192.0.2.1/", "[", "::ffff:"])
def test_the_error_for_a_long_entry_is_short(start: str, text: str) -> None:
    with pytest.raises(AllowListError) as raised:
        AllowList([start + text * 100_000])
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (None, "None is ambiguous; write ANYWHERE or []"),
        ("10.0.0.0/8", "'10.0.0.0/8' is text; write ['10.0.0.0/8']"),
        ("192.0.2.1, 2001:db8::/32", "'192.0.2.1, 2001:db8::/32' is text; write ['192.0.2.1', '2001:db8::/32']"),
        ("*", "'*' is text; write ANYWHERE"),
        ("", "'' is text; write []"),
        (b"192.0.2.1", "b'192.0.2.1' is not a list of entries; write one, such as ['192.0.2.0/24']"),
        (bytearray(b"1"), "a bytearray is not a list of entries; write one, such as ['192.0.2.0/24']"),
        ({"acme": []}, "{'acme': []} is not a list of entries; write one, such as ['192.0.2.0/24']"),
        (7, "7 is not a list of entries; write one, such as ['192.0.2.0/24']"),
        (True, "True is not a list of entries; write one, such as ['192.0.2.0/24']"),
        (
            ipaddress.ip_network("0.0.0.0/0"),
            "an IPv4Network is not a list of entries; write one, such as ['192.0.2.0/24']",
        ),
    ],
)
def test_what_is_not_a_collection_of_entries_is_refused(entries: Any, message: str) -> None:
    with pytest.raises(TypeError) as raised:
        AllowList(entries)
    assert str(raised.value) == message
    with pytest.raises(TypeError) as raised:
        parse_networks(entries, "client 'partner'")
    assert str(raised.value) == f"client 'partner': {message}"


def test_the_entries_are_positional() -> None:
    with pytest.raises(TypeError):
        AllowList(entries=["192.0.2.1"])  # type: ignore[call-arg]
