"""The Authorization header: from its bytes to the client id it claims, or to none (RFC 7617)."""

from __future__ import annotations

import re
from binascii import a2b_base64, b2a_base64
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.requests import HTTPConnection

MAX_AUTHORIZATION: Final = 8_192
"""The longest readable Basic credentials, as bytes of the field value."""

_OWS: Final = b" \t"  # RFC 9110, section 5.6.3; around a field value it is not part of it (section 5.5)

# RFC 7617, section 2 forbids controls in both parts; C1 are controls to Unicode and to terminals. Surrogates are not
# text: UTF-8 has none, so no caller could send such an id.
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

# Letters other than ASCII that a parser which decodes as UTF-8 and compares by upper() or re.IGNORECASE takes for i, s.
_LOOK_ALIKES: Final = (("\u0130".encode(), b"i"), ("\u0131".encode(), b"i"), ("\u017f".encode(), b"s"))

# White space to some parser or other: ASCII controls, and after decoding as Latin-1 also NEL and no-break space.
_FOLD: Final = bytes(
    ord(" ") if byte <= 0x20 or byte >= 0x7F else ord(",") if byte == ord(";") else byte for byte in range(256)
)
_DECORATION: Final = bytes(byte for byte in range(256) if not (chr(byte).isascii() and chr(byte).isalnum())).translate(
    None, b",;"
)


class UnreadableCredentials(Exception):  # noqa: N818 - it names what was found, the caller's mistake and not ours
    """The request carries client credentials that are not strictly readable.

    They are refused and not ignored: the application's own parser may be more lenient and accept them. The message
    says what is wrong and never holds any part of the header.
    """


def basic_client(connection: HTTPConnection) -> str | None:
    """Return the client id of the connection's Basic credentials, or `None` where it carries none.

    This is what `identify_client` is unless it is set; it composes with other kinds of client credentials:

        def identify_client(connection):
            return basic_client(connection) or signed_client(connection)

    Raises `UnreadableCredentials`, which the middleware answers with 401 on operations that respect the list; let it
    pass. The id is what the caller claims, taken literally: checking the secret stays the application's authentication,
    and an application that reads ids more freely (percent-decoding, folding case) has to identify its callers itself.
    """
    return find_client_id(connection.scope["headers"])


def find_client_id(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Return the client id claimed in raw ASGI headers, or `None` where they carry no client credentials.

    `None` means no Authorization line, or one that does not mention Basic. A line mentions it where `basic`, in any
    case, opens the value or one of its parts between commas and semicolons, after nothing but other bytes than letters
    and digits; or where white space and more follow it anywhere. So `Bearer basic-token` does not, and
    `Bearer x, Basic y`, a folded header, does. Raises `UnreadableCredentials` for a line that mentions Basic and is not
    exactly `Basic`, spaces and the canonical base64 of `id:password`, for one beyond 8,192 bytes, and for more than one
    line of whatever schemes.
    """
    # Servers may keep the case of names (hypercorn can), and mounted applications may fold it (Django does).
    line = None
    for name, value in headers:
        if len(name) == 13 and name.lower() == b"authorization":
            if line is not None:
                raise UnreadableCredentials("there is more than one Authorization line")
            line = value
    if line is None:
        return None
    value = line.strip(_OWS)
    scheme, _, token = value.partition(b" ")
    if scheme.lower() == b"basic":
        if len(value) > MAX_AUTHORIZATION:
            raise UnreadableCredentials(f"the Basic credentials are longer than {MAX_AUTHORIZATION} bytes")
        return _parse_token(token.lstrip(b" "))  # RFC 9110, section 11.4: 1*SP
    if mentions_basic(value):
        raise UnreadableCredentials("the Authorization line mentions Basic but is not 'Basic <base64>'")
    return None


def is_client_id(value: object) -> bool:
    """Return whether it can name a client: non-empty text without a colon, control characters or lone surrogates."""
    return isinstance(value, str) and value != "" and ":" not in value and _CONTROL.search(value) is None


def _parse_token(token: bytes) -> str:
    # Nothing is raised inside the handlers: the errors caught there hold the secret, and would stay as __context__.
    try:
        decoded = a2b_base64(token)
    except ValueError:
        decoded = b""
    # RFC 4648, section 3.5: bytes have one encoding. This refuses all that decoders skip (other characters, excess
    # padding, set trailing bits), which strict_mode does not.
    if not decoded or b2a_base64(decoded, newline=False) != token:
        raise UnreadableCredentials("the Basic credentials are not strict base64")
    try:
        text = decoded.decode()
    except UnicodeDecodeError:
        text = None
    if text is None:
        raise UnreadableCredentials("the Basic credentials are not UTF-8")
    if not text.isprintable() and _CONTROL.search(text) is not None:  # printable text holds none, and is most text
        raise UnreadableCredentials("the Basic credentials hold a control character")
    client_id, colon, _ = text.partition(":")
    if not colon:
        raise UnreadableCredentials("the Basic credentials have no colon")
    if not client_id:
        raise UnreadableCredentials("the Basic credentials have an empty client id")
    return client_id


def mentions_basic(value: bytes) -> bool:
    """Return whether a parser more lenient than ours may find Basic credentials in an Authorization line."""
    value = value.lower()
    if not value.isascii():
        for look_alike, letter in _LOOK_ALIKES:
            value = value.replace(look_alike, letter)
    if b"basic" not in value:
        return False
    if b"basic " in value.translate(_FOLD):  # for parsers that split the value at "Basic ", or search for it
        return True
    parts = value.translate(_FOLD, _DECORATION)
    return parts.startswith(b"basic") or b",basic" in parts
