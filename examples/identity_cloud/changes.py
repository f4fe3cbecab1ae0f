"""Changes to clients and their lists, as both APIs that manage clients make them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi import Request
from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from allowlist_middleware import ANYWHERE, AllowList, AllowListError
from examples.identity_cloud.answers import invalid_argument
from examples.identity_cloud.store import Client, Store

EVERYWHERE = ["0.0.0.0/0", "::/0"]
"""How the API shows that a client has no list."""

_TEXTS = TypeAdapter(list[str])


def parse_json(argument: str, text: str) -> Any:
    """Return the value of an argument that carries JSON."""
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError:
        raise invalid_argument(argument, "it is not JSON") from None


def parse_texts(argument: str, text: str) -> list[str]:
    """Return the texts of an argument that carries a JSON array of them."""
    try:
        return _TEXTS.validate_python(parse_json(argument, text), strict=True)
    except ValidationError:
        raise invalid_argument(argument, "it is not a JSON array of strings") from None


def parse_networks(argument: str, entries: Iterable[str]) -> AllowList:
    """Return the allow list of the entries; the error says what is wrong with an entry and what to write."""
    try:
        return AllowList(entries)
    except AllowListError as error:
        raise invalid_argument(argument, str(error)) from None


def show_networks(client: Client) -> list[str]:
    """Return the entries of a client's list as the API shows them."""
    return EVERYWHERE if client.allow_list is ANYWHERE else list(client.allow_list.entries)


def find_client(store: Store, client_id: str, argument: str) -> Client:
    """Return a client by its id."""
    client = store.find_client(client_id)
    if client is None:
        raise invalid_argument(argument, "there is no such client")
    return client


def require_way_back(
    request: Request,
    caller: Client,
    client: Client,
    *,
    argument: str,
    allow_list: AllowList | None = None,
    features: Iterable[str] | None = None,
    is_deleted: bool = False,
    force: bool,
) -> None:
    """Refuse a change by which its caller could not call again from the same address, unless it insists.

    The middleware has found that address, behind whatever proxies, and left its decision in the scope.
    """
    if force or client.id != caller.id:
        return
    address = request.scope["allow_list_decision"].address
    is_out = allow_list is not None and address not in allow_list
    is_demoted = features is not None and "owner" not in features
    if is_deleted or is_out or is_demoted:
        raise invalid_argument(
            argument, f"this would lock you out at {address or 'your address'}; insist with force=true"
        )
