"""The ordinary caller, judged in one function: on every call there is, calling functions costs more than what they do.

It says nothing that `Callers` and `decide` would not say too, and leaves to them whatever is not quite ordinary.
"""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from bisect import bisect_right
from socket import AF_INET
from typing import Final

from starlette.types import Scope

from allowlist_middleware.callers import Caller
from allowlist_middleware.credentials import MAX_AUTHORIZATION
from allowlist_middleware.networks import ANYWHERE, AllowList, pton
from allowlist_middleware.policy import Decision, Reason, Standing
from allowlist_middleware.sources.memory import AllowLists

# An attribute of an enum, and a NamedTuple made by its own __new__, cost more.
_make: Final = tuple.__new__
_ON_LIST: Final = Reason.ON_LIST
_NOT_ON_LIST, _NO_CLIENT = Standing.NOT_ON_LIST, Standing.NO_CLIENT


def judge_ordinary(scope: Scope, lists: AllowLists, report_only: bool) -> Decision | Caller | None:
    """Return the decision about a caller that is on its list, or the caller where that does not settle it.

    Ordinary is a request from a peer with an IPv4 address: with no Authorization line or with one, which holds strict
    Basic credentials of a client that is named, or another scheme. `None` for anything else, which takes a closer look.
    """
    line = None
    for name, value in scope["headers"]:
        if len(name) == 13 and (name == b"authorization" or name.lower() == b"authorization"):
            if line is not None:
                return None
            line = value
    try:
        address, port = scope["client"]
        packed = pton(AF_INET, address)
        if line is None or line[:6] != b"Basic ":
            # What may mention Basic, in whatever letters, takes a closer look.
            if port == 0 or (line is not None and (b"basic" in line.lower() or not line.isascii())):
                return None
            return _make(Caller, (_NO_CLIENT, None, address, None))
        token = line[6:]
        decoded = a2b_base64(token)
        text = decoded.decode()
        client_id, colon, _ = text.partition(":")
        allow_list = lists._lists[client_id]  # noqa: SLF001 - as `find`, without the call
        method = scope["method"]
    except (LookupError, OSError, TypeError, ValueError):
        return None
    if not (
        colon
        and text.isprintable()
        and b2a_base64(decoded, newline=False) == token
        and len(line) <= MAX_AUTHORIZATION
        and port != 0
    ):
        return None
    if type(allow_list) is AllowList:
        is_listed = bisect_right(allow_list._ipv4, packed) & 1  # noqa: SLF001 - as `admits`, without the call
    elif allow_list is ANYWHERE:
        return None
    else:
        is_listed = allow_list.admits(packed)
    if not is_listed:
        return _make(Caller, (_NOT_ON_LIST, client_id, address, None))
    return _make(Decision, (True, report_only, _ON_LIST, None, client_id, address, method, scope["path"], None, None))
