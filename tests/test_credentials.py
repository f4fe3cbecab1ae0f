from __future__ import annotations

import base64
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from starlette.requests import HTTPConnection

from allowlist_middleware.credentials import (
    MAX_AUTHORIZATION,
    UnreadableCredentials,
    basic_client,
    find_client_id,
    is_client_id,
)
from tests.bounded import bounded
from tests.vectors import expand, judge, load

if TYPE_CHECKING:
    from collections.abc import Callable

fastapi = pytest.importorskip("fastapi")  # whose own reader of Basic credentials is one the laws speak of
security = pytest.importorskip("fastapi.security")

VECTORS = [vector for vector in load("basic_auth") if vector.get("decoding") != "rfc6749"]

law = settings(deadline=None, max_examples=300)


def read(*values: bytes) -> str | None:
    return find_client_id([(b"host", b"example.com"), *((b"authorization", value) for value in values)])


def reason(*values: bytes) -> str:
    with pytest.raises(UnreadableCredentials) as caught:
        read(*values)
    return str(caught.value)


def basic(text: str | bytes) -> bytes:
    return b"Basic " + base64.b64encode(text.encode() if isinstance(text, str) else text)


def read_or_none(*values: bytes) -> str | None:
    try:
        return read(*values)
    except UnreadableCredentials:
        return None


def is_no_client(value: bytes) -> bool:
    try:
        return read(value) is None
    except UnreadableCredentials:
        return False


# --- the shared vectors


def answer(vector: dict[str, Any]) -> str | None:
    return read_or_none(*(expand(value).encode("latin-1") for value in vector["authorization"]))


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["id"] for vector in VECTORS])
def test_vector(vector: dict[str, Any]) -> None:
    with bounded():
        assert judge(vector, "expected_client_id", answer(vector)) != "wrong"


def test_every_vector_gets_the_strict_answer() -> None:
    assert Counter(judge(vector, "expected_client_id", answer(vector)) for vector in VECTORS) == {"strict": 45}


# --- who has client credentials


def test_no_authorization_line_is_no_client() -> None:
    assert read() is None


OTHER_SCHEMES = [
    b"",
    b" ",
    b"bmtpbTpwd2Q=",
    b"Bearer abc",
    b"Bearer basic",
    b"Bearer basic-token",
    b"Bearer BasicQWxhZGRpbg==",
    b"Bearer eyJ.basic.sig",
    b"Bearer xbasic",
    b"Bas-ic YTpi",
    b"Bearer \t basic \t",
    b"Token basic=",
    b'Digest username="Mufasa", realm="basic", uri="/basic", response="abc"',
    b'Digest username="J\xe4ger", realm="x"',
    b'Signature keyId="basic",algorithm="hs2019",headers="(request-target) host"',
    b"AWS4-HMAC-SHA256 Credential=basic/20260101, SignedHeaders=host;date, Signature=abc",
    b"Bearer " + b"x" * 1_000_000,
    b"Bearer " + b"xbasic" * 160_000,
]


@pytest.mark.parametrize("value", OTHER_SCHEMES, ids=lambda value: str(value[:40]))
def test_another_scheme_is_no_client(value: bytes) -> None:
    assert read(value) is None


READABLE = [
    (b"Basic dGVzdDoxMjPCow==", "test"),
    (b"bASIC dGVzdDoxMjPCow==", "test"),
    (b"Basic   dGVzdDoxMjPCow==", "test"),  # RFC 9110, section 11.4: 1*SP
    (b" \tBasic dGVzdDoxMjPCow== \t", "test"),  # RFC 9110, section 5.5: not part of the value
    (basic("a:"), "a"),
    (basic("a:b:c"), "a"),
    (basic(" a b :"), " a b "),
    (basic("us\u00e9r:\u20ac"), "us\u00e9r"),
    (basic("use\u0301r:"), "use\u0301r"),
    (basic("\u00a0\u2028\U0001f511\U0010ffff:"), "\u00a0\u2028\U0001f511\U0010ffff"),
    (basic("my%20client:"), "my%20client"),
    (basic("ACME:x"), "ACME"),
]


@pytest.mark.parametrize(("value", "client_id"), READABLE)
def test_the_client_id_is_taken_literally(value: bytes, client_id: str) -> None:
    assert read(value) == client_id


def test_credentials_of_the_greatest_length_are_read() -> None:
    longest = basic("a:" + "x" * (MAX_AUTHORIZATION // 4 * 3 - 8))

    assert len(longest) + 2 == MAX_AUTHORIZATION
    assert read(longest.replace(b" ", b"   ")) == "a"
    assert reason(longest.replace(b" ", b"    ")) == "the Basic credentials are longer than 8192 bytes"


MENTIONS = "the Authorization line mentions Basic but is not 'Basic <base64>'"
NOT_BASE64 = "the Basic credentials are not strict base64"
CONTROL = "the Basic credentials hold a control character"
UNREADABLE = [
    # the token is not strict
    (b"Basic", NOT_BASE64),
    (b"Basic ", NOT_BASE64),
    (b"Basic ====", NOT_BASE64),
    (b"Basic YTpiYw", NOT_BASE64),
    (b"Basic YTpiYw=", NOT_BASE64),
    (b"Basic YTpiYw===", NOT_BASE64),
    (b"Basic YTpi====", NOT_BASE64),
    (b"Basic YTpi=YTpi", NOT_BASE64),
    (b"Basic YTpiYx==", NOT_BASE64),  # trailing bits are set
    (b"Basic YTp\niYw==", NOT_BASE64),
    (b"Basic \tYTpi", NOT_BASE64),
    (b"Basic \xa0YTpi", NOT_BASE64),
    (b"Basic YTpi!", NOT_BASE64),
    (b"Basic Pj4-Pz8_Ong=", NOT_BASE64),
    (b"Basic YTpi, Bearer x", NOT_BASE64),
    (b"Basic Basic YTpi", NOT_BASE64),
    # its text is not credentials
    (basic(b"\xff:b"), "the Basic credentials are not UTF-8"),
    (basic(b"a:\xa3"), "the Basic credentials are not UTF-8"),
    (basic(b"\xed\xa0\x80:b"), "the Basic credentials are not UTF-8"),
    (basic("a\0:b"), CONTROL),
    (basic("a:b\r\n"), CONTROL),
    (basic("a:\x7f"), CONTROL),
    (basic("a\x85:b"), CONTROL),
    (basic("\x9f"), CONTROL),
    (basic("ab"), "the Basic credentials have no colon"),
    (basic(":b"), "the Basic credentials have an empty client id"),
    # the scheme is one only to a lenient parser
    (b"BasicYTpi", MENTIONS),
    (b"Basic=YTpi", MENTIONS),
    (b"Basic:YTpi", MENTIONS),
    (b"Basic\tYTpi", MENTIONS),
    (b"Basic\xa0YTpi", MENTIONS),
    (b"Basic\x85YTpi", MENTIONS),
    (b"Basic\x1cYTpi", MENTIONS),
    (b"\x0bBasic YTpi", MENTIONS),
    (b"\xa0Basic YTpi", MENTIONS),
    (b"\x00Basic YTpi", MENTIONS),
    (b"\xef\xbb\xbfBasic YTpi", MENTIONS),
    (b'"Basic YTpi"', MENTIONS),
    (b"'Basic' YTpi", MENTIONS),
    (b": Basic YTpi", MENTIONS),
    (b", Basic YTpi", MENTIONS),
    (b"basic-auth YTpi", MENTIONS),
    ("Bas\u0130c YTpi".encode(), MENTIONS),
    ("bas\u0131c YTpi".encode(), MENTIONS),
    ("BA\u017fIC YTpi".encode(), MENTIONS),
    # another scheme stands before it
    (b"Bearer x, Basic YTpi", MENTIONS),
    (b"Bearer x,Basic YTpi", MENTIONS),
    (b"Bearer x,BasicYTpi", MENTIONS),
    (b'Bearer x, "Basic" YTpi', MENTIONS),
    (b"Bearer x; bAsIc\tYTpi", MENTIONS),
    (b"Bearer Basic YTpi", MENTIONS),
    (b"BearerBasic YTpi", MENTIONS),
    (b"X-Basic YTpi", MENTIONS),
    (b"Bearer x\r\nBasic\r\nYTpi", MENTIONS),
    # whatever its length
    (b"Basic" + b" " * 1_000_000 + b"YTpi", "the Basic credentials are longer than 8192 bytes"),
    (b"Basic" + b"\t" * 1_000_000 + b"YTpi", MENTIONS),
    (b"," * 1_000_000 + b"Basic YTpi", MENTIONS),
    (b"\t" * 1_000_000 + b"\xa0Basic YTpi", MENTIONS),
    (b"Bearer " + b"x" * 1_000_000 + b", Basic YTpi", MENTIONS),
]


@pytest.mark.parametrize(("value", "message"), UNREADABLE, ids=lambda value: str(value[:40]))
def test_what_a_lenient_parser_might_accept_is_unreadable(value: bytes, message: str) -> None:
    assert reason(value) == message


@pytest.mark.parametrize("first", [b"Basic YTpi", b"Bearer abc", b""])
@pytest.mark.parametrize("second", [b"Basic YTpi", b"Bearer abc", b""])
def test_more_than_one_line_is_unreadable(first: bytes, second: bytes) -> None:
    assert reason(first, second) == "there is more than one Authorization line"


def test_names_count_in_any_case() -> None:
    assert find_client_id([(b"Authorization", b"Basic YTpi")]) == "a"
    with pytest.raises(UnreadableCredentials):
        find_client_id([(b"authorization", b"Bearer x"), (b"AUTHORIZATION", b"Basic YTpi")])


def test_other_names_do_not_count() -> None:
    assert find_client_id([(b"proxy-authorization", b"Basic YTpi"), (b"x-authentication", b"Basic YTpi")]) is None


@pytest.mark.parametrize("secret", [b"a:s3cr\xff", b"s3cret", b"a:s3cret\0"])
def test_an_error_holds_no_secret(secret: bytes) -> None:
    with pytest.raises(UnreadableCredentials) as caught:
        read(basic(secret))
    assert "s3cr" not in repr(caught.value)
    assert caught.value.__context__ is None


def test_many_lines_take_bounded_work() -> None:
    with bounded():
        assert find_client_id([(b"x-custom-names", b"1")] * 100_000) is None
        assert reason(*[b"Basic YTpi"] * 100_000) == "there is more than one Authorization line"


# --- connections


def connection(*values: bytes) -> HTTPConnection:
    return HTTPConnection({"type": "http", "headers": [(b"authorization", value) for value in values]})


def test_basic_client_reads_the_connection() -> None:
    assert basic_client(connection(b"Basic YTpi")) == "a"
    assert basic_client(connection(b"Bearer x")) is None
    with pytest.raises(UnreadableCredentials):
        basic_client(connection(b"Basic x"))


def test_basic_client_composes() -> None:
    def identify_client(connection: HTTPConnection) -> str | None:
        return basic_client(connection) or "signed"

    assert identify_client(connection(b"Basic YTpi")) == "a"
    assert identify_client(connection(b"Signature x")) == "signed"
    with pytest.raises(UnreadableCredentials):
        identify_client(connection(b"Basic x"))


# --- client ids


@pytest.mark.parametrize(
    "value", ["a", " ", "A", "\u00e9", "e\u0301", "\u00a0", "a%3Ab", "\u202e", "\U0010ffff", "\ufeff"]
)
def test_text_can_name_a_client(value: str) -> None:
    assert is_client_id(value)


@pytest.mark.parametrize("value", ["", ":", "a:b", "\0", "a\n", "\x1f", "\x7f", "\x80", "\x9f", "a\ud800", "\udcff"])
def test_text_cannot_name_a_client(value: str) -> None:
    assert not is_client_id(value)


@pytest.mark.parametrize("value", [None, b"a", 1, True, ["a"]])
def test_other_values_cannot_name_a_client(value: object) -> None:
    assert not is_client_id(value)


# --- laws

client_ids = st.text(min_size=1).filter(is_client_id)
passwords = st.text().filter(lambda text: text == "" or is_client_id(text.replace(":", "-")))

# Headers near the border: something like the scheme, something like a token, something around and between them.
schemes = st.sampled_from([b"Basic", b"basic", b"BASIC", b"bAsIc", b"Bearer", b"Token", "Ba\u017fic".encode(), b""])
gaps = st.sampled_from([b"", b" ", b"  ", b"\t", b"\xa0", b"\x85", b"\x1c", b",", b", ", b";", b"=", b'"', b"x", b"\0"])
tokens = st.one_of(
    st.binary(max_size=12).map(base64.b64encode),
    st.builds(lambda client_id, password: basic(f"{client_id}:{password}")[6:], client_ids, passwords),
    st.binary(max_size=12),
)
near_misses = st.lists(st.one_of(schemes, gaps, tokens), max_size=8).map(b"".join)
written = st.builds(
    lambda scheme, space, client_id, password: scheme + space + basic(f"{client_id}:{password}")[6:],
    st.sampled_from([b"Basic", b"basic", b"bAsIc"]),
    st.sampled_from([b" ", b"  "]),
    client_ids,
    passwords,
)
values = st.one_of(
    st.binary(), near_misses, written, st.builds(lambda *parts: b"".join(parts), gaps, schemes, gaps, tokens, gaps)
)


@law
@given(client_ids, passwords)
def test_reading_inverts_writing(client_id: str, password: str) -> None:
    assert read(basic(f"{client_id}:{password}")) == client_id


@law
@given(values)
def test_every_value_names_a_client_or_none_or_is_unreadable(value: bytes) -> None:
    client_id = read_or_none(value)
    assert client_id is None or is_client_id(client_id)


@law
@given(values)
@example(b"bAsIc  YTpi")
@example(b"bAsIc  YTpj=")
def test_an_id_is_read_from_its_one_encoding_only(value: bytes) -> None:
    client_id = read_or_none(value)
    if client_id is not None:
        token = value.strip().split()[-1]
        assert base64.b64encode(base64.b64decode(token)) == token
        assert base64.b64decode(token).startswith(f"{client_id}:".encode())


def test_the_laws_see_ids() -> None:
    assert read(b"bAsIc  YTpi") == "a"


def fastapi_basic(value: bytes) -> str | None:
    """Return the user name FastAPI's own dependency reads; it awaits nothing."""
    call = security.HTTPBasic()(connection(value))
    try:
        call.send(None)
    except StopIteration as end:
        username: str = end.value.username
        return username
    except fastapi.HTTPException:
        return None
    raise AssertionError("FastAPI waits for something")  # pragma: no cover


def starlette_documentation(value: bytes) -> str | None:
    scheme, token = value.decode("latin-1").split()
    return decode(token) if scheme.lower() == "basic" else None


def prefix(value: bytes) -> str | None:
    text = value.decode("latin-1").strip()
    return decode(text[5:]) if text[:5].lower() == "basic" else None


def search(value: bytes) -> str | None:
    found = re.search(r"basic\s+(\S+)", value.decode(), re.IGNORECASE)
    return decode(found[1]) if found else None


def split_at_word(value: bytes) -> str | None:
    return decode(value.decode("latin-1").split("Basic ")[1])


def folded(value: bytes) -> str | None:
    parts = [part.strip().strip('"') for part in re.split("[,;]", value.decode("latin-1"))]
    return next((decode(part[5:]) for part in parts if part.lower().startswith("basic")), None)


def decode(token: str) -> str:
    return base64.b64decode(token.encode("latin-1") + b"===").decode("latin-1").split(":")[0]


LENIENT = [fastapi_basic, starlette_documentation, prefix, search, split_at_word, folded]


@law
@pytest.mark.parametrize("parse", LENIENT)
@given(value=values)
def test_what_an_application_accepts_is_never_no_client(parse: Callable[[bytes], str | None], value: bytes) -> None:
    try:
        username = parse(value)
    except (ValueError, IndexError):
        return
    assert username is None or not is_no_client(value)


@pytest.mark.parametrize("parse", LENIENT)
def test_lenient_parsers_do_accept(parse: Callable[[bytes], str | None]) -> None:
    assert parse(b"Basic YTpi") == "a"


def test_fastapi_accepts_what_is_not_strict() -> None:
    assert fastapi_basic(b"Basic YTpi!") == "a"
    assert fastapi_basic(b"Bearer YTpi") is None
