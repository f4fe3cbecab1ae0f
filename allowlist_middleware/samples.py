"""Sample calls for an operation, so that the application's own routing can be asked which operation serves them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Final

from starlette.types import Scope

from allowlist_middleware.reachable import ANY_METHOD, WEBSOCKET, Piece, Reachable

_PARAMETER: Final = re.compile(r"{(\w+)}")

# Some are for int, float and uuid only; several fit a parameter of any text, so that a route before it which takes one
# of them (a literal, another convertor) does not hide it.
_VALUES: Final = ("sample-1", "7", "1.5", "00000000-0000-4000-8000-000000000000", "a/b/c", "x")


def make_samples(reachable: Reachable) -> Iterator[Scope]:
    """Yield scopes of calls for an operation, their parameters filled differently."""
    around = reachable.surroundings
    for turn in range(len(_VALUES)):
        path = _fill((*around.pieces, reachable.piece), turn)
        host = _fill(around.hosts[-1:], turn) or "localhost"
        yield make_scope(reachable.method, path, [(b"host", host.encode())])


def make_scope(method: str, path: str, headers: Iterable[tuple[bytes, bytes]]) -> Scope:
    """Return the scope of a call as a server makes it, without a peer."""
    is_websocket = method == WEBSOCKET
    own = {} if is_websocket else {"method": "GET" if method == ANY_METHOD else method}
    return {
        "type": "websocket" if is_websocket else "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": "ws" if is_websocket else "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": list(headers),
        "client": None,
        "server": ("localhost", 80),
        "state": {},
        **own,
    }


def _fill(pieces: Iterable[Piece], turn: int) -> str:
    path = ""
    for template, convertors in pieces:
        values = {name: _value(convertor.regex, turn) for name, convertor in convertors.items()}
        # Braces that are no parameter stay what they are, as in the framework's own templates.
        path += _PARAMETER.sub(partial(_replace, values), template)
    return path


def _replace(values: Mapping[str, str], parameter: re.Match[str]) -> str:
    return values.get(parameter[1], parameter[0])


def _value(regex: str, turn: int) -> str:
    fitting = [value for value in _VALUES if re.fullmatch(regex, value)] or _VALUES
    return fitting[turn % len(fitting)]
