from __future__ import annotations

import dataclasses
from collections import Counter
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from allowlist_middleware.errors import AllowListError
from allowlist_middleware.networks import find_packed, format_packed
from allowlist_middleware.proxies import MAX_HEADER, MAX_HOPS, Ending, Hop, TrustedProxies
from tests.bounded import bounded
from tests.vectors import expand, judge, load

VECTORS = load("client_ip")
SERVER = ("192.0.2.250", 443)
SOCKET = ("/run/app.sock", None)

law = settings(deadline=None, max_examples=300)


def lines(name: str, *values: str | bytes) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value if isinstance(value, bytes) else value.encode("latin-1")) for value in values]


def find(proxies: TrustedProxies, peer: str, *values: str | bytes) -> str | None:
    packed = proxies.find((peer, 1234), SERVER, lines(proxies.header, *values))
    return None if packed is None else format_packed(packed)


UNTOUCHABLE: Any = object()  # headers that raise when they are read


XFF = TrustedProxies(["10.0.0.0/8", "2001:db8:a::/48"])
FORWARDED = TrustedProxies(["10.0.0.0/8", "2001:db8:a::/48"], "Forwarded")
REAL_IP = TrustedProxies(["10.0.0.0/8"], "X-Real-IP")


# --- the shared vectors


def answer(vector: dict[str, Any]) -> str | None:
    mode = vector["mode"]
    header = {"none": "X-Forwarded-For"}.get(mode, mode.removeprefix("single:"))
    proxies = TrustedProxies([] if mode == "none" else vector["trusted_proxies"], header)
    client = None if vector["peer"] is None else (vector["peer"], 1234)
    headers = [header for name, value in vector["headers"] for header in lines(name, expand(value))]
    packed = proxies.find(client, SERVER, headers)
    assert proxies.explain(client, SERVER, headers).address == packed
    return None if packed is None else format_packed(packed)


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["id"] for vector in VECTORS])
def test_vector(vector: dict[str, Any]) -> None:
    with bounded():
        assert judge(vector, "expected", answer(vector)) != "wrong"


# Contested questions the product decides: all hops trusted is the leftmost, a zone is no part of a peer's address, and
# what stands left of the deciding element never matters.
DECIDED = {"all-trusted", "peer-zone", "forwarded-malformed-left"}


def test_every_vector_gets_the_strict_answer_unless_the_product_decides() -> None:
    judged = [(judge(vector, "expected", answer(vector)), vector.get("contested")) for vector in VECTORS]
    assert Counter(verdict for verdict, _ in judged) == {"strict": 113, "acceptable": 8}
    assert {contested for verdict, contested in judged if verdict == "acceptable"} == DECIDED


# --- configuration

SOME = ["10.0.0.0/8"]
KINDS = "'X-Forwarded-For', 'Forwarded' or a header that carries exactly one address, such as 'X-Real-IP'"
MISTAKES: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"trusted": None}, TypeError, "trusted_proxies: None is ambiguous; write [] to trust nobody"),
    ({"trusted": "10.0.0.1"}, TypeError, "trusted_proxies: '10.0.0.1' is text; write ['10.0.0.1']"),
    ({"trusted": "10.0.0.1, ::1"}, TypeError, "trusted_proxies: '10.0.0.1, ::1' is text; write ['10.0.0.1', '::1']"),
    ({"trusted": ""}, TypeError, "trusted_proxies: '' is text; write []"),
    ({"trusted": "*"}, TypeError, "trusted_proxies: '*' is not a collection; write a list such as ['10.0.0.0/8']"),
    (
        {"trusted": b"::1"},
        TypeError,
        "trusted_proxies: b'::1' is not a collection; write a list such as ['10.0.0.0/8']",
    ),
    ({"trusted": 10}, TypeError, "trusted_proxies: 10 is not a collection; write a list such as ['10.0.0.0/8']"),
    ({"trusted": {}}, TypeError, "trusted_proxies: {} is not a collection; write a list such as ['10.0.0.0/8']"),
    (
        {"trusted": XFF},
        TypeError,
        "trusted_proxies: a TrustedProxies is not a collection; write a list such as ['10.0.0.0/8']",
    ),
    (
        {"trusted": ["*"]},
        AllowListError,
        (
            "trusted_proxies: '*' would believe a header that anybody can write; write the addresses or networks of "
            "the proxies, such as '10.0.0.0/8'"
        ),
    ),
    *(
        (
            {"trusted": [socket]},
            AllowListError,
            f"trusted_proxies: '{socket}' names a socket; write 'unix:' to trust every peer on a Unix socket",
        )
        for socket in ("unix", "Unix:", "unix:/run/app.sock", "unix://", "/run/app.sock")
    ),
    (
        {"trusted": ["10.0.0.1/8"]},
        AllowListError,
        "trusted_proxies: '10.0.0.1/8' has host bits set; write '10.0.0.0/8' or '10.0.0.1/32'",
    ),
    ({"header": None}, TypeError, f"forwarded_header: None is not a str; write {KINDS}"),
    ({"header": b"Forwarded"}, TypeError, f"forwarded_header: b'Forwarded' is not a str; write {KINDS}"),
    *(
        (
            {"header": header},
            AllowListError,
            f"forwarded_header: {header!r} is not the name of one header; write {KINDS}",
        )
        for header in (
            "",
            " ",
            "X-Real-IP:",
            "X-Real-IP ",
            "X-Forwarded-For, Forwarded",
            "X-R\u00e9al-IP",
            "X-Real-IP\n",
        )
    ),
    *(
        (
            {"header": header},
            AllowListError,
            f"forwarded_header: '{header}' does not carry the caller's address; write {KINDS}",
        )
        for header in ("Authorization", "Cookie", "HOST", "Via", "X-Forwarded-Host", "X-Forwarded-Proto")
    ),
    *(
        (
            {"header": header},
            AllowListError,
            f"forwarded_header: '{header}' is not how the header is spelled; write {KINDS}",
        )
        for header in ("X_Forwarded_For", "HTTP_X_FORWARDED_FOR", "http_forwarded")
    ),
]


@pytest.mark.parametrize(("options", "error", "message"), MISTAKES, ids=lambda value: str(value)[:60])
def test_a_mistake_is_refused_where_it_is_written(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        TrustedProxies(**options)
    assert type(caught.value) is error
    assert str(caught.value) == message


@pytest.mark.parametrize("entry", ["localhost", "", " ", "10.0.0", "unixproxy", 5, None, b"10.0.0.1", ["10.0.0.1"]])
def test_an_entry_that_is_no_network_is_refused(entry: Any) -> None:
    with pytest.raises(AllowListError, match=r"^trusted_proxies: (?!.* names a socket)"):
        TrustedProxies(["10.0.0.0/8", entry])


def test_it_is_a_frozen_value() -> None:
    proxies = TrustedProxies(iter(["10.0.0.0/8"]), "Forwarded")

    assert proxies == TrustedProxies(("10.0.0.0/8",), header="Forwarded")
    assert hash(proxies) == hash(TrustedProxies(["10.0.0.0/8"], "Forwarded"))
    assert proxies != TrustedProxies(["10.0.0.0/8"])
    assert repr(proxies) == "TrustedProxies(trusted=('10.0.0.0/8',), header='Forwarded')"
    with pytest.raises(dataclasses.FrozenInstanceError):
        proxies.header = "X-Real-IP"  # type: ignore[misc]


@pytest.mark.parametrize(("trusted", "expected"), [([], False), (["10.0.0.1"], True), (["unix:"], True)])
def test_it_tells_whether_anybody_is_trusted(trusted: list[str], expected: bool) -> None:
    assert TrustedProxies(trusted).trusts_anybody is expected


# --- the peer


@pytest.mark.parametrize(
    "client", [None, (), [], (None, None), ("", 0), ("testclient", 1), ("unix:", 1), (b"10.0.0.1", 1)]
)
@pytest.mark.parametrize("proxies", [TrustedProxies(), TrustedProxies(["0.0.0.0/0", "::/0"])])
def test_a_peer_that_is_no_address_is_unknown_whatever_is_trusted(proxies: TrustedProxies, client: Any) -> None:
    assert proxies.find(client, SERVER, UNTOUCHABLE) is None


def test_a_mapped_peer_is_its_ipv4_address() -> None:
    assert find(XFF, "::ffff:192.0.2.1") == "192.0.2.1"
    assert find(XFF, "::ffff:10.0.0.1", "192.0.2.1") == "192.0.2.1"
    assert find(TrustedProxies(["::/0"]), "::ffff:10.0.0.1", "192.0.2.1") == "10.0.0.1"


@pytest.mark.parametrize(
    ("client", "server", "expected"),
    [
        (None, ("/run/app.sock", None), "192.0.2.1"),
        (None, ["/run/app.sock", None], "192.0.2.1"),
        (None, ("", None), None),
        (None, (None, None), None),
        (None, ("192.0.2.250", 443), None),
        (None, ("/run/app.sock", "0"), None),
        (None, None, None),
        (None, "ab", None),
        (("", 0), ("/run/app.sock", None), None),
        (("", "0"), ("/run/app.sock", "0"), None),
        (("/run/app.sock", None), ("/run/app.sock", None), None),
        (("192.0.2.7", 1), ("/run/app.sock", None), "192.0.2.7"),
    ],
)
def test_a_unix_socket_is_a_trusted_hop_where_it_is_trusted(client: Any, server: Any, expected: str | None) -> None:
    packed = TrustedProxies(["unix:"]).find(client, server, lines("X-Forwarded-For", "192.0.2.1"))
    assert packed == (expected and find_packed(expected))


def test_a_unix_socket_is_not_trusted_by_networks() -> None:
    assert TrustedProxies(["0.0.0.0/0", "::/0"]).find(None, SOCKET, UNTOUCHABLE) is None


def test_behind_a_unix_socket_the_walk_goes_on() -> None:
    walk = TrustedProxies(["unix:", "10.0.0.0/8"]).explain(
        None, SOCKET, lines("X-Forwarded-For", "198.51.100.9, 192.0.2.1, 10.0.0.7")
    )
    assert walk.hops == (Hop("unix:", True), Hop("10.0.0.7", True), Hop("192.0.2.1", False))


# --- X-Forwarded-For

CHAINS: list[tuple[list[str], str | None]] = [
    (["192.0.2.1"], "192.0.2.1"),
    (["192.0.2.1, 10.0.0.1"], "192.0.2.1"),
    (["192.0.2.1,10.0.0.1"], "192.0.2.1"),
    (["192.0.2.1\t ,\t10.0.0.1 "], "192.0.2.1"),
    (["192.0.2.1", "10.0.0.1"], "192.0.2.1"),
    (["198.51.100.1, 192.0.2.1", "10.0.0.1", "10.0.0.2, 10.0.0.3"], "192.0.2.1"),
    (["10.0.0.9, 10.0.0.1"], "10.0.0.9"),
    (["junk, 192.0.2.1"], "192.0.2.1"),
    ([",,, 192.0.2.1"], "192.0.2.1"),
    (['\xff\0", 192.0.2.1'], "192.0.2.1"),
    (["192.0.2.1, junk"], None),
    (["192.0.2.1, junk, 10.0.0.1"], None),
    (["192.0.2.1,, 10.0.0.1"], None),
    (["192.0.2.1", ""], None),
    (["192.0.2.1,"], None),
    ([""], None),
    ([], None),
    (["192.0.2.1:80"], "192.0.2.1"),
    (["192.0.2.1:0"], "192.0.2.1"),
    (["192.0.2.1:65535"], "192.0.2.1"),
    (["192.0.2.1:00080"], "192.0.2.1"),
    (["192.0.2.1:65536"], None),
    (["192.0.2.1:000080"], None),
    (["192.0.2.1:"], None),
    (["192.0.2.1:\xb2"], None),
    (["192.0.2.1:+80"], None),
    (["192.0.2.1:80:80"], None),
    (["192.0.2.1:_port"], None),
    (["192.0.2.1:80\n"], None),
    (["[192.0.2.1]"], None),
    (["2001:db8::1"], "2001:db8::1"),
    (["2001:DB8:0::0:1"], "2001:db8::1"),
    (["[2001:db8::1]"], "2001:db8::1"),
    (["[2001:db8::1]:443"], "2001:db8::1"),
    (["[2001:db8::1]443"], None),
    (["[2001:db8::1"], None),
    (["[2001:db8::1]:_port"], None),
    (["[[2001:db8::1]]"], None),
    (["2001:db8::1%eth0"], None),
    (["[fe80::1%25eth0]:443"], None),
    (["::ffff:192.0.2.1"], "192.0.2.1"),
    (["[::ffff:192.0.2.1]:80"], "192.0.2.1"),
    (["192.0.2.1, ::ffff:10.0.0.1"], "192.0.2.1"),
    (["64:ff9b::192.0.2.1"], "64:ff9b::c000:201"),
    (["2002:c000:201::"], "2002:c000:201::"),
    (["010.0.0.1"], None),
    (["3221225985"], None),
    (["0xc0000201"], None),
    (["192.0.513"], None),
    (["192.0.2.1 10.0.0.1"], None),
    (["\xa0192.0.2.1"], None),
    (["\x0b192.0.2.1"], None),
    (["192.0.2.1\0"], None),
    (['"192.0.2.1"'], None),
    (["for=192.0.2.1"], None),
    (["unknown"], None),
]


@pytest.mark.parametrize(("values", "expected"), CHAINS)
def test_x_forwarded_for_is_walked_from_the_right(values: list[str], expected: str | None) -> None:
    assert find(XFF, "10.0.0.2", *values) == expected


# --- Forwarded

ELEMENTS: list[tuple[list[str], str | None]] = [
    (["for=192.0.2.1"], "192.0.2.1"),
    (["FOR=192.0.2.1;Proto=https"], "192.0.2.1"),
    (["by=10.0.0.9;for=192.0.2.1;host=example.com"], "192.0.2.1"),
    (["for=198.51.100.1, for=192.0.2.1,for=10.0.0.1"], "192.0.2.1"),
    (["for=198.51.100.1", "for=192.0.2.1", "for=10.0.0.1"], "192.0.2.1"),
    (["for=10.0.0.9, for=10.0.0.1"], "10.0.0.9"),
    (["for=192.0.2.1; proto=https ;by=_x"], "192.0.2.1"),
    (["for=192.0.2.1;;"], "192.0.2.1"),
    ([";for=192.0.2.1"], "192.0.2.1"),
    ([" \tfor=192.0.2.1\t "], "192.0.2.1"),
    (['for="192.0.2.1"'], "192.0.2.1"),
    (['for="192.0.2.1:80"'], "192.0.2.1"),
    (["for=192.0.2.1:80"], "192.0.2.1"),
    (['for="192.0.2.1:_x.-1"'], "192.0.2.1"),
    (['for="[2001:db8::1]"'], "2001:db8::1"),
    (['for="[2001:db8::1]:443"'], "2001:db8::1"),
    (['for="[2001:db8::1]:_x"'], "2001:db8::1"),
    (["for=[2001:db8::1]:443"], "2001:db8::1"),
    (['for="[::ffff:192.0.2.1]"'], "192.0.2.1"),
    ([r'for="\1\9\2.0.2.1"'], "192.0.2.1"),
    (['for=192.0.2.1;host="a,b;c=\\"d\\\\"'], "192.0.2.1"),
    (['host="\\\\\\"";for=192.0.2.1'], "192.0.2.1"),
    (['host="";for=192.0.2.1'], "192.0.2.1"),
    (['host="caf\xe9";for=192.0.2.1'], "192.0.2.1"),
    (['x=", for=198.51.100.1";for=192.0.2.1'], "192.0.2.1"),
    (["unknown, for=192.0.2.1"], "192.0.2.1"),
    # names nobody
    (["for=192.0.2.1, for=unknown"], None),
    (["for=192.0.2.1, for=_hidden, for=10.0.0.1"], None),
    (["for=192.0.2.1, proto=https"], None),
    (["for=192.0.2.1,"], None),
    (["for=192.0.2.1", " "], None),
    (["for=192.0.2.1, ;"], None),
    (["for=192.0.2.1;for=192.0.2.1"], None),
    (["for=192.0.2.1;FOR=10.0.0.1"], None),
    ([""], None),
    ([], None),
    # malformed
    (["192.0.2.1"], None),
    (["for"], None),
    (["for="], None),
    (['for=""'], None),
    (["=192.0.2.1"], None),
    (["for =192.0.2.1"], None),
    (["for= 192.0.2.1"], None),
    (["for=192.0.2.1;proto"], None),
    (["for=192.0.2.1;pro to=https"], None),
    (["for=192.0.2.1 proto=https"], None),
    (['for=" 192.0.2.1"'], None),
    (['for="192.0.2.1'], None),
    (['for=192.0.2.1"'], None),
    (['for="192.0.2.1"x'], None),
    (['for=x"192.0.2.1"'], None),
    (['for=192.0.2.1;host="a"b"'], None),
    (['for=192.0.2.1;host="a\\\\"b"'], None),
    (['for=192.0.2.1;host="a\\"'], None),
    (['for="192.0.2.1\0"'], None),
    (['for=192.0.2.1;host="\0"'], None),
    (["for\0=192.0.2.1"], None),
    (["for='192.0.2.1'"], None),
    (['for="2001:db8::1"'], None),
    (["for=2001:db8::1"], None),
    (['for="[192.0.2.1]"'], None),
    (['for="[2001:db8::1%lo]"'], None),
    (['for="192.0.2.1:65536"'], None),
    (['for="192.0.2.1:_"'], None),
    (["for=192.0.2.01"], None),
    (['for="192.0.2.1, for=192.0.2.7"'], None),
]


@pytest.mark.parametrize(("values", "expected"), ELEMENTS)
def test_forwarded_is_walked_from_the_right(values: list[str], expected: str | None) -> None:
    assert find(FORWARDED, "10.0.0.2", *values) == expected


FORGERIES = [
    'for="198.51.100.1',
    "for=198.51.100.1;host=",
    'for=198.51.100.1;host="',
    'for=198.51.100.1;host="\\',
    'for=198.51.100.1;host="\\"',
    'for=198.51.100.1;host="", for="',
    'for=198.51.100.1;x="=',
    'for=198.51.100.1"',
    "for=198.51.100.1;",
    "for=198.51.100.1,",
    "\\",
    '"',
]


@pytest.mark.parametrize(
    "appended", ["for=192.0.2.1", 'for="192.0.2.1"', 'for=192.0.2.1;host="a.test"', 'x=",";for=192.0.2.1']
)
@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_caller_cannot_reach_into_what_a_proxy_appends(forgery: str, appended: str) -> None:
    assert find(FORWARDED, "10.0.0.2", f"{forgery}, {appended}") == "192.0.2.1"
    assert find(FORWARDED, "10.0.0.2", forgery, appended) == "192.0.2.1"
    assert find(FORWARDED, "10.0.0.2", f"{forgery}, {appended}", 'for="10.0.0.3";by="x"') == "192.0.2.1"


def test_a_quoted_string_does_not_go_on_in_the_next_line() -> None:
    assert find(FORWARDED, "10.0.0.2", 'for=198.51.100.1;x="', '"') is None


# --- headers that carry one address


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["192.0.2.1"], "192.0.2.1"),
        ([" 192.0.2.1\t"], "192.0.2.1"),
        (["\xa0192.0.2.1"], None),
        (["192.0.2.1:80"], "192.0.2.1"),
        (["2001:db8::1"], "2001:db8::1"),
        (["[2001:db8::1]:80"], "2001:db8::1"),
        (["::ffff:192.0.2.1"], "192.0.2.1"),
        (["10.0.0.9"], "10.0.0.9"),
        (["192.0.2.1, 192.0.2.1"], None),
        (["192.0.2.1", "192.0.2.1"], None),
        (["192.0.2.1", ""], None),
        (["for=192.0.2.1"], None),
        (["unknown"], None),
        ([""], None),
        ([], None),
    ],
)
def test_a_single_address_header_has_one_line_with_one_address(values: list[str], expected: str | None) -> None:
    assert find(REAL_IP, "10.0.0.2", *values) == expected


# --- names


def test_only_the_configured_header_counts() -> None:
    others = [
        *lines("Forwarded", "for=192.0.2.1"),
        *lines("X-Real-IP", "192.0.2.1"),
        *lines("X-Forwarded", "192.0.2.1"),
    ]
    assert XFF.find(("10.0.0.2", 1), SERVER, others) is None


def test_names_count_in_any_case() -> None:
    headers = [(b"x-forwarded-for", b"198.51.100.1"), (b"X-Forwarded-For", b"192.0.2.1")]
    assert TrustedProxies(["10.0.0.0/8"], "x-forwarded-FOR").find(("10.0.0.2", 1), SERVER, headers) == bytes(
        (192, 0, 2, 1)
    )
    assert XFF.has_forwarded_header([(b"accept", b""), (b"X-FORWARDED-FOR", b"")])
    assert not XFF.has_forwarded_header([(b"accept", b""), (b"forwarded", b"")])


# --- why

ENDINGS: list[tuple[TrustedProxies, Any, Any, list[str], Ending, str]] = [
    (
        XFF,
        ("192.0.2.1", 1),
        SERVER,
        ["192.0.2.9"],
        Ending.UNTRUSTED_PEER,
        "the peer is not in trusted_proxies, so its X-Forwarded-For is not read",
    ),
    (
        XFF,
        ("10.0.0.2", 1),
        SERVER,
        ["192.0.2.9"],
        Ending.UNTRUSTED_HOP,
        "the rightmost hop of X-Forwarded-For that is not in trusted_proxies",
    ),
    (
        XFF,
        ("10.0.0.2", 1),
        SERVER,
        ["10.0.0.1"],
        Ending.ALL_TRUSTED,
        "every hop of X-Forwarded-For is in trusted_proxies, so the leftmost counts",
    ),
    (XFF, None, SERVER, [], Ending.NO_PEER, "the server names no peer"),
    (
        XFF,
        None,
        SOCKET,
        [],
        Ending.UNIX_PEER,
        "the peer is on a Unix socket, which 'unix:' in trusted_proxies would trust",
    ),
    (XFF, ("testclient", 1), SERVER, [], Ending.PEER_NOT_ADDRESS, "the peer 'testclient' is not an address"),
    (XFF, (), SERVER, [], Ending.PEER_NOT_ADDRESS, "the peer '' is not an address"),
    (FORWARDED, ("10.0.0.2", 1), SERVER, [], Ending.NO_HEADER, "the peer is in trusted_proxies but sent no Forwarded"),
    (XFF, ("10.0.0.2", 1), SERVER, ["x" * 20_000], Ending.TOO_LONG, "X-Forwarded-For is longer than 16384 bytes"),
    (XFF, ("10.0.0.2", 1), SERVER, ["10.0.0.1," * 500], Ending.EMPTY_ELEMENT, "an element of X-Forwarded-For is empty"),
    (
        XFF,
        ("10.0.0.2", 1),
        SERVER,
        ["10.0.0.1", *["10.0.0.1"] * 500],
        Ending.TOO_MANY_HOPS,
        "X-Forwarded-For holds more than 100 trusted hops",
    ),
    (REAL_IP, ("10.0.0.2", 1), SERVER, ["192.0.2.9"] * 2, Ending.SEVERAL_LINES, "X-Real-IP was sent in several lines"),
    (
        XFF,
        ("10.0.0.2", 1),
        SERVER,
        ["192.0.2.9, \x1b[1m\n\xff'"],
        Ending.NO_ADDRESS,
        'the element "\\x1b[1m\\n\\xff\'" of X-Forwarded-For names no address',
    ),
    (
        XFF,
        ("10.0.0.2", 1),
        SERVER,
        ["x" * 90],
        Ending.NO_ADDRESS,
        f"the element '{'x' * 80}' of X-Forwarded-For names no address",
    ),
    (
        FORWARDED,
        ("10.0.0.2", 1),
        SERVER,
        ["for=192.0.2.9, for=_hidden;by=x , for=10.0.0.1"],
        Ending.NO_ADDRESS,
        "the element 'for=_hidden;by=x' of Forwarded names no address",
    ),
    (
        FORWARDED,
        ("10.0.0.2", 1),
        SERVER,
        ['for=192.0.2.9, x"\t ', "for=10.0.0.1"],
        Ending.NO_ADDRESS,
        "the element 'for=192.0.2.9, x\"' of Forwarded names no address",
    ),
    (
        FORWARDED,
        ("10.0.0.2", 1),
        SERVER,
        ["y" * 90 + '"' + " " * 90],
        Ending.NO_ADDRESS,
        f"the element '{'y' * 79}\"' of Forwarded names no address",
    ),
]


@pytest.mark.parametrize(
    ("proxies", "client", "server", "values", "ending", "sentence"), ENDINGS, ids=lambda value: str(value)[:40]
)
def test_a_walk_says_why_it_ended(
    proxies: TrustedProxies, client: Any, server: Any, values: list[str], ending: Ending, sentence: str
) -> None:
    walk = proxies.explain(client, server, lines(proxies.header, *values))
    assert (walk.ending, str(walk)) == (ending, sentence)


def test_every_ending_has_its_example() -> None:
    assert {ending for *_, ending, _ in ENDINGS} == set(Ending)


def test_a_walk_tells_its_hops() -> None:
    def hops(peer: str, *values: str) -> tuple[Hop, ...]:
        return XFF.explain((peer, 1), SERVER, lines("X-Forwarded-For", *values)).hops

    assert hops("192.0.2.1") == (Hop("192.0.2.1", False),)
    assert hops("::ffff:10.0.0.2", "junk, 192.0.2.1, [2001:DB8:a::1]:80") == (
        Hop("10.0.0.2", True),
        Hop("2001:db8:a::1", True),
        Hop("192.0.2.1", False),
    )
    assert hops("10.0.0.2", "10.0.0.8, 10.0.0.9") == (
        Hop("10.0.0.2", True),
        Hop("10.0.0.9", True),
        Hop("10.0.0.8", True),
    )
    assert hops("10.0.0.2", "junk, 10.0.0.9") == (Hop("10.0.0.2", True), Hop("10.0.0.9", True))
    assert hops("testclient") == ()


# --- bounds


def test_a_header_of_the_greatest_length_is_read() -> None:
    value = ", 192.0.2.1".rjust(MAX_HEADER, "x")
    assert find(XFF, "10.0.0.2", value) == "192.0.2.1"
    assert find(XFF, "10.0.0.2", f"x{value}") is None
    assert find(XFF, "10.0.0.2", "x", value[2:]) == "192.0.2.1"
    assert find(XFF, "10.0.0.2", "x", value[1:]) is None


@pytest.mark.parametrize(("proxies", "element"), [(XFF, "{}"), (FORWARDED, "for={}")])
def test_a_chain_of_the_greatest_number_of_hops_is_read(proxies: TrustedProxies, element: str) -> None:
    def chain(first: str, trusted: int) -> str:
        return ",".join([element.format(first), *[element.format("10.0.0.1")] * trusted])

    assert find(proxies, "10.0.0.2", chain("192.0.2.1", MAX_HOPS - 1)) == "192.0.2.1"
    assert find(proxies, "10.0.0.2", chain("10.0.0.9", MAX_HOPS - 1)) == "10.0.0.9"
    assert find(proxies, "10.0.0.2", chain("192.0.2.1", MAX_HOPS)) is None
    assert find(proxies, "10.0.0.2", chain("junk", MAX_HOPS)) is None
    assert find(proxies, "10.0.0.2", ",,," + chain("192.0.2.1", MAX_HOPS - 1)) == "192.0.2.1"


NEAR = MAX_HEADER - 100
HOSTILE = [
    "1" * 1_000_000,
    "," * 1_000_000,
    "10.0.0.1," * 100_000 + "10.0.0.1",
    "for=10.0.0.1," * 100_000 + "for=10.0.0.1",
    "10.0.0.1," * (NEAR // 9) + "10.0.0.1",
    "for=10.0.0.1;;," * (NEAR // 15) + "for=10.0.0.1",
    'for="' * (NEAR // 5) + "for=10.0.0.1",
    ";" * NEAR,
    " " * NEAR + "x",
    "x" + " " * NEAR,
    "a=b;" * (NEAR // 4),
    "a" * NEAR,
    "a=" + "a" * NEAR,
    '"' * NEAR,
    '"' + "a" * NEAR + '"',
    '"' + "\\" * NEAR + '"',
    'x="' + "\\" * NEAR + '"',
    '"' + 'a\\"' * (NEAR // 3) + '"',
    '"' + "a\\\\" * (NEAR // 3) + '"',
    '"' + "a\\\\\\" * (NEAR // 4) + '"',
    "[" * NEAR,
    "1:" * (NEAR // 2),
    "1." * (NEAR // 2),
    "[" + ".:" * (NEAR // 2) + "]",
]


@pytest.mark.parametrize("proxies", [XFF, FORWARDED, REAL_IP])
@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: value[:12])
def test_hostile_headers_take_bounded_work(proxies: TrustedProxies, value: str) -> None:
    with bounded():
        assert find(proxies, "10.0.0.2", value) is None


@pytest.mark.parametrize("value", ["", "10.0.0.1", "for=10.0.0.1"])
@pytest.mark.parametrize("proxies", [XFF, FORWARDED, REAL_IP])
def test_many_lines_take_bounded_work(proxies: TrustedProxies, value: str) -> None:
    with bounded():
        assert find(proxies, "10.0.0.2", *[value] * 100_000) is None
        assert proxies.find(("10.0.0.2", 1), SERVER, lines("X-Other", value) * 100_000) is None


# --- laws

texts = st.text(st.characters(max_codepoint=0xFF), max_size=40)
addresses = st.ip_addresses().map(str)
outside = addresses.filter(lambda text: find(XFF, text) == text)
inside = st.one_of(st.integers(0, 255).map("10.0.0.{}".format), st.integers(0, 255).map("2001:db8:a::{:x}".format))
junk = st.one_of(
    texts,
    st.lists(
        st.sampled_from(
            [
                "for=",
                "For=",
                "10.0.0.1",
                "192.0.2.66",
                "[2001:db8:a::1]",
                '"',
                "\\",
                ",",
                ", ",
                ";",
                " ",
                "=",
                "x",
                "unknown",
            ]
        ),
        max_size=12,
    ).map("".join),
)


@law
@given(addresses, st.sampled_from([(), ("203.0.113.0/24",), ("unix:",)]))
def test_without_a_trusted_proxy_no_header_is_read(peer: str, trusted: tuple[str, ...]) -> None:
    proxies = TrustedProxies(trusted)
    assume(trusted != ("203.0.113.0/24",) or not peer.startswith("203.0.113."))
    packed = find_packed(peer)
    assert packed is not None
    assert proxies.find((peer, 1), SERVER, UNTOUCHABLE) == packed
    assert proxies.explain((peer, 1), SERVER, UNTOUCHABLE).address == packed


@law
@given(junk, st.booleans(), outside, st.lists(inside, max_size=4))
def test_nothing_left_of_an_untrusted_hop_matters(forged: str, joined: bool, caller: str, proxies: list[str]) -> None:
    chain = ", ".join([caller, *proxies])
    values = [f"{forged}, {chain}"] if joined else [forged, chain]
    assert find(XFF, "10.0.0.2", *values) == find(XFF, "10.0.0.2", chain) == caller


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def node(address: str) -> str:
    return quoted(f"[{address}]" if ip_address(address).version == 6 else address)


quotables = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_categories=["Cc"]), max_size=12)
parameters = st.tuples(st.sampled_from(["by", "Host", "proto", "x-for"]), quotables.map(quoted)).map("=".join)
around = st.tuples(st.lists(parameters, max_size=2), st.lists(parameters, max_size=2))


def element(address: str, parameters: tuple[list[str], list[str]]) -> str:
    before, after = parameters
    return ";".join([*before, f"for={node(address)}", *after])


@law
@given(junk, st.booleans(), outside, around, st.lists(st.tuples(inside, around), max_size=3))
def test_nothing_left_of_a_forwarded_element_matters(
    forged: str, joined: bool, caller: str, with_caller: tuple[list[str], list[str]], proxies: list[Any]
) -> None:
    chain = ", ".join([element(caller, with_caller), *(element(*proxy) for proxy in proxies)])
    values = [f"{forged}, {chain}"] if joined else [forged, chain]
    assert find(FORWARDED, "10.0.0.2", *values) == find(FORWARDED, "10.0.0.2", chain) == caller


clients = st.one_of(
    st.none(), st.tuples(st.one_of(st.none(), addresses, inside, texts), st.integers(0, 65535)), st.just(())
)
servers = st.sampled_from([None, SERVER, SOCKET, ("", None)])
chains = st.lists(st.one_of(st.lists(st.one_of(addresses, inside, junk), max_size=4).map(", ".join), junk), max_size=3)


@law
@given(st.sampled_from(["X-Forwarded-For", "Forwarded", "X-Real-IP"]), clients, servers, chains)
def test_a_walk_finds_what_it_explains(header: str, client: Any, server: Any, values: list[str]) -> None:
    proxies = TrustedProxies(["10.0.0.0/8", "2001:db8:a::/48", "unix:"], header)
    headers = lines(header, *values)

    walk = proxies.explain(client, server, headers)

    assert walk.address == proxies.find(client, server, headers)
    assert str(walk).isascii()
    deciding = [hop.address for hop in walk.hops if not hop.trusted]
    if walk.ending in (Ending.UNTRUSTED_PEER, Ending.UNTRUSTED_HOP):
        assert walk.address is not None
        assert deciding == [format_packed(walk.address)]
    else:
        assert deciding == []
        assert (walk.address is None) is (walk.ending is not Ending.ALL_TRUSTED)
    assert walk.hops[:-1] == tuple(hop for hop in walk.hops[:-1] if hop.trusted)
