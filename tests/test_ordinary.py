"""The short way says what the long one says: of every caller, ordinary or not."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from allowlist_middleware import ANYWHERE, AllowLists, Decision, Reason, basic_client
from allowlist_middleware.callers import Caller, Callers
from allowlist_middleware.ordinary import judge_ordinary
from allowlist_middleware.policy import Standing
from allowlist_middleware.proxies import TrustedProxies
from tests.asgi import EVEN, INSIDE, OUTSIDE

law = settings(deadline=None, max_examples=400)

CALLERS = AllowLists(
    {"acme": ["192.0.2.0/24", "2001:db8::/32"], "partner": ANYWHERE, "retired": [], "long": EVEN},
)
OTHERS = AllowLists({"acme": ["192.0.2.0/24"]}, others=["198.51.100.0/24"])


def basic(text: str) -> bytes:
    return b"Basic " + b64encode(text.encode())


def make_scope(
    client: Any, *lines: bytes, name: bytes = b"authorization", method: str | None = "GET"
) -> dict[str, Any]:
    headers = [(b"host", b"api.example.org"), *((name, line) for line in lines), (b"accept-language", b"en")]
    scope = {"type": "http", "path": "/entity", "headers": headers, "client": client, "server": ("203.0.113.80", 80)}
    return scope if method is None else {**scope, "method": method}


def find_at_length(scope: dict[str, Any], lists: AllowLists) -> Caller:
    """Return the caller as it is found where the short way says nothing; nothing of it has to wait."""
    finding = Callers(basic_client, lists, TrustedProxies()).find(scope)
    with pytest.raises(StopIteration) as found:
        finding.send(None)
    caller: Caller = found.value.value
    return caller


# --- ordinary callers take the short way


@pytest.mark.parametrize(
    ("scope", "standing"),
    [
        (make_scope(INSIDE, basic("acme:secret")), Standing.ON_LIST),
        (make_scope(INSIDE, basic("acme:")), Standing.ON_LIST),
        (make_scope(INSIDE, basic("acme:p:q")), Standing.ON_LIST),
        (make_scope(INSIDE, basic("acme:secret"), name=b"Authorization"), Standing.ON_LIST),
        (make_scope(OUTSIDE, basic("acme:secret")), Standing.NOT_ON_LIST),
        (make_scope(INSIDE, basic("retired:secret")), Standing.NOT_ON_LIST),
        (make_scope(OUTSIDE), Standing.NO_CLIENT),
        (make_scope(OUTSIDE, b"Bearer token"), Standing.NO_CLIENT),
        (make_scope(OUTSIDE, b""), Standing.NO_CLIENT),
        (make_scope(("192.168.0.2", 50000), basic("long:secret")), Standing.ON_LIST),
        (make_scope(("192.168.0.3", 50000), basic("long:secret")), Standing.NOT_ON_LIST),
    ],
)
def test_an_ordinary_caller_is_told_at_once(scope: dict[str, Any], standing: Standing) -> None:
    found = judge_ordinary(scope, CALLERS, False)
    assert (Standing.ON_LIST if isinstance(found, Decision) else found and found.standing) is standing


@pytest.mark.parametrize("report_only", [True, False])
def test_the_decision_tells_all_there_is(report_only: bool) -> None:
    found = judge_ordinary(make_scope(INSIDE, basic("acme:secret"), method="PATCH"), CALLERS, report_only)
    assert found == Decision(True, report_only, Reason.ON_LIST, None, "acme", INSIDE[0], "PATCH", "/entity", None, None)


# --- whoever is not ordinary is looked at more closely


@pytest.mark.parametrize(
    "scope",
    [
        make_scope(INSIDE, basic("acme:secret"), basic("acme:secret")),
        make_scope(INSIDE, basic("acme:secret"), b"Bearer token"),
        make_scope(INSIDE, b"basic YWNtZTpzZWNyZXQ="),
        make_scope(INSIDE, b"Basic  YWNtZTpzZWNyZXQ="),
        make_scope(INSIDE, b"Basic YWNtZTpzZWNyZXQ"),
        make_scope(INSIDE, b"Basic YWNtZTpzZWNyZXR="),
        make_scope(INSIDE, b"Basic YWNtZTpz ZWNyZXQ="),
        make_scope(INSIDE, b"Bearer x, Basic YWNtZTpzZWNyZXQ="),
        make_scope(INSIDE, "Ba\u017fic YWNtZTpzZWNyZXQ=".encode()),  # to some, a letter s
        make_scope(INSIDE, basic("acme")),
        make_scope(INSIDE, basic(":secret")),
        make_scope(INSIDE, basic("acme:se\ncret")),
        make_scope(INSIDE, basic("acme:" + "x" * 8192)),
        make_scope(INSIDE, b"Basic " + b"\xff"),
        make_scope(INSIDE, b"Basic /w=="),
        make_scope(INSIDE, basic("unknown:secret")),
        make_scope(INSIDE, basic("partner:secret")),
        make_scope(("2001:db8::1", 50000), basic("acme:secret")),
        make_scope(("::ffff:192.0.2.1", 50000), basic("acme:secret")),
        make_scope(("192.0.2.1", 0), basic("acme:secret")),
        make_scope(("192.0.2.1", 0)),
        make_scope(("testclient", 50000), basic("acme:secret")),
        make_scope(("192.0.2.01", 50000), basic("acme:secret")),
        make_scope((None, 50000), basic("acme:secret")),
        make_scope((), basic("acme:secret")),
        make_scope(None, basic("acme:secret")),
        make_scope(INSIDE, basic("acme:secret"), method=None),  # a WebSocket has none
        {"type": "http", "path": "/", "headers": [(b"authorization", basic("acme:secret"))]},
    ],
)
def test_any_other_caller_is_left_to_the_long_way(scope: dict[str, Any]) -> None:
    assert judge_ordinary(scope, CALLERS, False) is None


# --- and never is there another answer

texts = st.sampled_from(
    ["acme:secret", "acme:", "retired:x", "partner:x", "unknown:x", "acme", ":x", "acme:\x85", "é:x"]
)
encoded = st.one_of(texts.map(basic), st.text(max_size=6).map(basic), st.binary(max_size=8))
edited = st.builds(
    lambda line, at, piece, length: line[:at] + piece + line[at + length :],
    encoded,
    st.integers(0, 30),
    st.sampled_from([b"", b" ", b"=", b"==", b"\t", b",", b"A", b"\xff", b"Basic ", b"basic ", b"\n"]),
    st.integers(0, 3),
)
lines = st.lists(st.one_of(encoded, edited, st.just(b"Bearer token")), max_size=2)
names = st.sampled_from(
    [b"authorization", b"authorization", b"Authorization", b"authorizatiom", b"proxy-authorization"]
)
addresses = st.sampled_from(
    ["192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "::ffff:192.0.2.1", "192.0.2.1 ", "0300.0.2.1", "", "x"]
)
clients = st.one_of(
    st.sampled_from([INSIDE, OUTSIDE]),
    st.none(),
    st.just(()),
    st.tuples(st.one_of(addresses, st.none()), st.sampled_from([50000, 0, 1])),
    st.just(("", "")),
)


@law
@given(clients, lines, names, st.sampled_from([CALLERS, OTHERS]))
@example(INSIDE, [basic("acme:secret")], b"authorization", CALLERS)
@example(OUTSIDE, [basic("acme:secret")], b"authorization", CALLERS)
@example(OUTSIDE, [], b"authorization", CALLERS)
def test_the_short_way_says_what_the_long_one_says(
    client: Any, written: list[bytes], name: bytes, lists: AllowLists
) -> None:
    scope = make_scope(client, *written, name=name)
    found = judge_ordinary(scope, lists, False)
    if isinstance(found, Decision):
        found = Caller(Standing.ON_LIST, found.client_id, found.address, None)
    assert found is None or found == find_at_length(scope, lists)
