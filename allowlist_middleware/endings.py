"""What an operator can do about a refusal: the end of its log line."""

from __future__ import annotations

from typing import Final

from starlette.types import Scope

from allowlist_middleware.callers import Caller
from allowlist_middleware.policy import Decision, Reason
from allowlist_middleware.proxies import Ending, TrustedProxies, Walk

_ENDINGS: Final = {
    Reason.NOT_ON_LIST: "no entry of the client's allow list holds the address",
    Reason.UNKNOWN_CLIENT: (
        "the client is unknown: name it in allow_lists, or give every client that is not named a list with others="
    ),
    Reason.NO_CLIENT: (
        "client credentials are required here: send them as HTTP Basic, or annotate with require_client=False to leave "
        "callers without them to the application"
    ),
}

_FORBIDDEN: Final = frozenset((Reason.NOT_ON_LIST, Reason.ADDRESS_UNKNOWN, Reason.UNKNOWN_CLIENT))


def find_ending(decision: Decision, caller: Caller, proxies: TrustedProxies, scope: Scope) -> str:
    """Return what explains a refusal and what to do; it holds nothing of the caller's headers."""
    if decision.reason is Reason.LOOKUP_FAILED:
        return f"the source {caller.failure}"
    if decision.reason is Reason.UNREADABLE_CREDENTIALS:
        return str(caller.failure)
    if decision.reason not in _FORBIDDEN:
        return _ENDINGS[decision.reason]
    # All of it for an unknown client too: the time it takes must not tell an unknown client from a wrong address.
    headers = scope.get("headers", ())  # what an inner middleware left, where the call is judged again
    walk = proxies.explain(scope.get("client"), scope.get("server"), headers)
    is_unread = walk.ending is Ending.UNTRUSTED_PEER and proxies.has_forwarded_header(headers)
    if decision.reason is Reason.ADDRESS_UNKNOWN:
        return _unknown(walk)
    ending = _ENDINGS[decision.reason]
    if decision.reason is Reason.NOT_ON_LIST and is_unread:
        return f"the peer is not in trusted_proxies, so its {walk.header} was not read"
    return f"{ending}; {walk}" if walk.ending is Ending.ALL_TRUSTED else ending


def _unknown(walk: Walk) -> str:
    if walk.ending is Ending.PEER_NOT_ADDRESS and walk.text == "testclient":
        return f"{walk}: pass client=('192.0.2.1', 1) to TestClient"
    if walk.ending is Ending.NO_ADDRESS:
        return f"an element of {walk.header} names no address"
    return str(walk)
