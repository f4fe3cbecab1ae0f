"""The line about a decision in the log, what of the outside may stand in it, and how it gets there."""

from __future__ import annotations

import logging
import traceback
from typing import Any, Final

from allowlist_middleware.policy import Decision

_MAX_TEXT: Final = 200

logger: Final = logging.getLogger("allowlist_middleware")


def printable(text: str) -> str:
    """Return text from outside as a log may show it: bounded, and quoted unless it is plain visible characters."""
    shown = text[:_MAX_TEXT]
    if not shown.isprintable() or " " in shown:
        shown = repr(shown)
    return shown if len(text) <= _MAX_TEXT else f"{shown}..."


def make_line(decision: Decision, ending: str) -> str:
    """Return the line about a decision; `ending` says what to do about a refusal."""
    client = "none" if decision.client_id is None else _quoted(decision.client_id)
    address = decision.address or "unknown"
    call = f"client={client} address={address} {printable(decision.method)} {printable(decision.path)}"
    if decision.allowed:
        return f"allowed {decision.reason} {call}"
    line = f"{decision.status_code} {decision.reason} {call} request_id={decision.request_id}; {ending}"
    return f"{line}; report only: the call was let through" if decision.report_only else line


def make_extra(decision: Decision) -> dict[str, Any]:
    """Return the fields of a decision for the `extra` of a log record; none is the name of a record's own attribute.

    Text is as it came unless it is long or not printable: a format may write a field as it is.
    """
    return {
        name: _escaped(str(value)) if isinstance(value, str) else value for name, value in decision._asdict().items()
    }


def write(level: int, line: str, extra: dict[str, Any] | None = None, *, exc_info: bool = False) -> None:
    """Write a line to the log; what fails in there is shown like `logging` shows it, and never changes an outcome."""
    try:
        try:
            logger.log(level, "%s", line, extra=extra, exc_info=exc_info or None, stacklevel=2)
        except KeyError:
            if extra is None:
                raise
            # The application's own record factory gives a field of that name to every record.
            taken = vars(logger.makeRecord(logger.name, level, "", 0, "", (), None))
            own = {name: extra[name] for name in extra.keys() - taken}
            logger.log(level, "%s", line, extra=own, exc_info=exc_info or None, stacklevel=2)
    except Exception:  # noqa: BLE001 - from a handler, filter or formatter of the application
        if logging.raiseExceptions:
            traceback.print_exc()


def _quoted(text: str) -> str:
    return repr(text) if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]!r}..."


def _escaped(text: str) -> str:
    shown = text[:_MAX_TEXT]
    if not shown.isprintable():
        shown = repr(shown)[1:-1]
    return shown if len(text) <= _MAX_TEXT else f"{shown}..."
