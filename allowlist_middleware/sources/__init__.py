"""Where allow lists are looked up: in memory here, in a file, a database or Redis in the modules beside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from allowlist_middleware.networks import AllowList


@runtime_checkable
class Source(Protocol):
    """Anything that looks up the allow list of a client."""

    async def allow_list(self, client_id: str) -> AllowList | None:
        """Return the client's list; `None` means only that there is no such client.

        Whatever else it returns, and whatever it raises, is a failed look-up: operations that respect the list then
        answer 503. A source bounds the time it takes itself.
        """
