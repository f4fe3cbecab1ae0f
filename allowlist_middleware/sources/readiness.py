"""Whether a source can serve its lists, and the error where it cannot."""

from __future__ import annotations

from enum import StrEnum


class Readiness(StrEnum):
    """How a source serves its lists at the moment; each equals its lower-case text."""

    FRESH = "fresh"
    """As they are in the store."""

    STALE = "stale"
    """As they were when the store could last be read."""

    UNAVAILABLE = "unavailable"
    """Not at all: the store fails, and no list is young enough to be served."""


class SourceError(Exception):
    """The allow list of a client cannot be told: operations that respect it answer 503."""
