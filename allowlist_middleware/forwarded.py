"""The headers in which proxies say whom they forward: their elements from the right end, and the address of each.

Only what stands right of an untrusted hop was written by trusted proxies, so that is where reading starts.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from allowlist_middleware.networks import find_packed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    # Reads the lines of a header from the right: the text of each element, and its address if it names one.
    Reader = Callable[[list[str]], Iterator[tuple[str, bytes | None]]]

_OWS: Final = " \t"  # RFC 9110, section 5.6.3: all that may surround a list element
_SHOWN: Final = 80  # characters of what cannot be read

_TCHAR: Final = r"!#$%&'*+\-.^_`|~0-9A-Za-z"  # RFC 9110, section 5.6.2

# RFC 7239, section 6: a node as it stands in both headers, apart from a bare IPv6 address. A zone is not part of it.
_NODE: Final = r"(?:(?P<v4>[0-9.]+)|\[(?P<v6>[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*)\])(?::(?:(?P<port>[0-9]{1,5})%s))?"
_PLAIN_NODE: Final = re.compile(_NODE % "")
_FORWARDED_NODE: Final = re.compile(_NODE % r"|_[0-9A-Za-z._\-]+")  # an obfuscated port names nobody

# One forwarded-pair of RFC 7239, section 4, and what ends it, as the mirror image of the grammar: the header is read
# from its right end, so that an open quote or a backslash which a caller sent on the left cannot change how the element
# a trusted proxy appended is read. Empty pairs are in the grammar; white space around ";" is not, but is common.
_MIRRORED_PAIR: Final = re.compile(
    r"[ \t]*"
    r'(?:(?:"(?P<quoted>(?:[\t -~\x80-\xff]\\|[\t !#-\[\]-~\x80-\xff])*)"'  # RFC 9110, section 5.6.4
    rf"|(?P<plain>[{_TCHAR}:\[\]]+))"  # ":" and brackets need quotes, but many proxies write none
    rf"=(?P<name>[{_TCHAR}]+)[ \t]*)?"
    r"(?P<end>[;,]|\Z)"
)
_QUOTED_PAIR: Final = re.compile(r"\\(.)")


def read_single(lines: list[str]) -> Iterator[tuple[str, bytes | None]]:
    """Read the one line of a header that carries exactly one address."""
    text = lines[0].strip(_OWS)
    yield text, _find_plain(text)


def _read_plain(lines: list[str]) -> Iterator[tuple[str, bytes | None]]:
    for element in reversed(",".join(lines).split(",")):  # RFC 9110, section 5.3: several lines are one list
        text = element.strip(_OWS)
        yield text, _find_plain(text)


def _read_forwarded(lines: list[str]) -> Iterator[tuple[str, bytes | None]]:
    # Line by line: a quoted string does not go on in the next field line, where another proxy may have written.
    for line in reversed(lines):
        mirrored, start, at, nodes = line[::-1], 0, 0, []
        while pair := _MIRRORED_PAIR.match(mirrored, at):
            quoted, plain, name, end = pair.groups()
            at = pair.end()
            if name is not None and name.lower() == "rof":
                nodes.append(plain[::-1] if quoted is None else _QUOTED_PAIR.sub(r"\1", quoted[::-1]))
            if end == ";":
                continue
            yield mirrored[start : at - len(end)][::-1].strip(_OWS), _find_forwarded(nodes)
            if not end:
                break
            start, nodes = at, []
        else:
            yield mirrored[start:].lstrip(_OWS)[:_SHOWN][::-1], None


READERS: Final[dict[bytes, Reader]] = {b"x-forwarded-for": _read_plain, b"forwarded": _read_forwarded}
"""By lower-case name, those of the headers that carry a chain of hops."""


def _find_plain(text: str) -> bytes | None:
    packed = find_packed(text)
    return packed if packed is not None else _find_node(_PLAIN_NODE.fullmatch(text))


def _find_forwarded(nodes: list[str]) -> bytes | None:
    # RFC 7239, section 4: no parameter may occur twice in an element.
    return _find_node(_FORWARDED_NODE.fullmatch(nodes[0])) if len(nodes) == 1 else None


def _find_node(node: re.Match[str] | None) -> bytes | None:
    if node is None or (node["port"] is not None and int(node["port"]) > 65535):
        return None
    return find_packed(node["v4"] or node["v6"])
