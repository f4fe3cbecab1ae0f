"""The decision: a total table from what is known of the caller and of the operation to a verdict."""

from __future__ import annotations

from enum import IntEnum, StrEnum, auto
from typing import Final, NamedTuple


class Standing(IntEnum):  # int, whose hash costs nothing, as the key of a table on every call
    """How a caller stands towards its allow list, before the operation is looked at."""

    ON_LIST = auto()
    ANYWHERE = auto()
    NOT_ON_LIST = auto()
    ADDRESS_UNKNOWN = auto()
    LOOKUP_FAILED = auto()
    UNKNOWN_CLIENT = auto()
    UNREADABLE = auto()
    NO_CLIENT = auto()


class Rule(IntEnum):
    """What an operation asks of its callers."""

    REQUIRES_CLIENT = auto()
    RESPECTS = auto()
    IGNORES = auto()
    NO_OPERATION = auto()


class Reason(StrEnum):
    """Why a call was allowed or refused; each equals its lower-case text."""

    ON_LIST = "on_list"
    ANYWHERE = "anywhere"
    LIST_IGNORED = "list_ignored"
    NO_OPERATION = "no_operation"
    NO_CLIENT = "no_client"
    NOT_ON_LIST = "not_on_list"
    ADDRESS_UNKNOWN = "address_unknown"
    LOOKUP_FAILED = "lookup_failed"
    UNKNOWN_CLIENT = "unknown_client"
    UNREADABLE_CREDENTIALS = "unreadable_credentials"


class Verdict(NamedTuple):
    """The outcome of one row of the table; `status_code` is `None` where the call passes."""

    reason: Reason
    status_code: int | None


class Decision(NamedTuple):
    """What was decided about one call, and why.

    `client_id` is what the caller claims to be: nothing here has verified it. `address` is canonical text (RFC 5952),
    or `None` where it could not be determined. `operation` is the path template, such as `/entity/{id}`, where the
    operation was resolved. `status_code` and `request_id` are `None` where the call is allowed. `method` is
    `WEBSOCKET` for a handshake. With `report_only` the verdict did not take effect. A decision is a tuple and so
    always truthy: test `decision.allowed`.
    """

    allowed: bool
    report_only: bool
    reason: Reason
    status_code: int | None
    client_id: str | None
    address: str | None
    method: str
    path: str
    operation: str | None
    request_id: str | None


_PASS_ON_LIST = Verdict(Reason.ON_LIST, None)
_PASS_ANYWHERE = Verdict(Reason.ANYWHERE, None)
_PASS_IGNORED = Verdict(Reason.LIST_IGNORED, None)
_PASS_NO_CLIENT = Verdict(Reason.NO_CLIENT, None)
_PASS_NO_OPERATION = Verdict(Reason.NO_OPERATION, None)
_DENY = Verdict(Reason.NOT_ON_LIST, 403)

_REFUSALS: Final = {
    Standing.NOT_ON_LIST: _DENY,
    Standing.ADDRESS_UNKNOWN: Verdict(Reason.ADDRESS_UNKNOWN, 403),
    Standing.LOOKUP_FAILED: Verdict(Reason.LOOKUP_FAILED, 503),
    Standing.UNKNOWN_CLIENT: Verdict(Reason.UNKNOWN_CLIENT, 403),
    Standing.UNREADABLE: Verdict(Reason.UNREADABLE_CREDENTIALS, 401),
    Standing.NO_CLIENT: Verdict(Reason.NO_CLIENT, 401),
}

CLEARED: Final = {Standing.ON_LIST: _PASS_ON_LIST, Standing.ANYWHERE: _PASS_ANYWHERE}
"""Callers for whom the answer does not depend on the operation, so that it need not be resolved."""

_TABLE: Final[dict[tuple[Rule, Standing], Verdict]] = {
    **{(rule, standing): verdict for rule in Rule for standing, verdict in CLEARED.items()},
    **{(Rule.NO_OPERATION, standing): _PASS_NO_OPERATION for standing in _REFUSALS},
    **{(Rule.IGNORES, standing): _PASS_IGNORED for standing in _REFUSALS},
    **{(Rule.RESPECTS, standing): verdict for standing, verdict in _REFUSALS.items()},
    **{(Rule.REQUIRES_CLIENT, standing): verdict for standing, verdict in _REFUSALS.items()},
    (Rule.RESPECTS, Standing.NO_CLIENT): _PASS_NO_CLIENT,
}


def decide(rule: Rule, standing: Standing) -> Verdict:
    """Return the verdict of the table; a row that is missing denies."""
    return _TABLE.get((rule, standing), _DENY)
