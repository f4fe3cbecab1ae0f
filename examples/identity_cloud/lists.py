"""The source of the middleware: allow lists as the store holds them at the moment of the call."""

from __future__ import annotations

from allowlist_middleware import AllowList
from examples.identity_cloud.store import Store


class StoredAllowLists:
    """Looks lists up in the store, so that a change holds from the next call on."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def allow_list(self, client_id: str) -> AllowList | None:
        """Return the list of a client; `None` for an unknown one."""
        client = self._store.find_client(client_id)
        return None if client is None else client.allow_list

    async def client_ids(self) -> list[str]:
        """Return the ids of all clients, for `allowlist-middleware lists`."""
        return [client.id for client in self._store.find_clients()]
