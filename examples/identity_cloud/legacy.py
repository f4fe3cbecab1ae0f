"""Legacy clients and settings: respect the allow list, and change it."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Form, Request
from pydantic import BaseModel, Field

from allowlist_middleware import ANYWHERE, respects_allow_list
from examples.identity_cloud.answers import Ok, describe_failures
from examples.identity_cloud.changes import (
    find_client,
    parse_networks,
    parse_texts,
    require_way_back,
    show_networks,
)
from examples.identity_cloud.credentials import CLIENT, TheOwner, TheStore
from examples.identity_cloud.placeholders import placeholder
from examples.identity_cloud.store import Client

router = respects_allow_list(True)(
    APIRouter(tags=["Legacy Clients and Settings"], dependencies=CLIENT, responses=describe_failures(400, 401))
)
OWNER = describe_failures(403)
ClientId = Annotated[str, Form()]
Features = Annotated[str, Form(description="A JSON array of strings.")]
Force = Annotated[bool, Form(description="Insist on a change that locks its caller out.")]

# ── Clients ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class LegacyClient(BaseModel):
    """An API client."""

    client_id: str
    description: str
    features: list[str]
    networks: list[str] = Field(serialization_alias="whitelist")


class LegacyClients(BaseModel):
    """All API clients."""

    stat: Literal["ok"] = "ok"
    results: list[LegacyClient]


class LegacySecret(BaseModel):
    """A new secret, which is told only now."""

    stat: Literal["ok"] = "ok"
    client_id: str
    client_secret: str


def show(client: Client) -> LegacyClient:
    """Return a client as this API shows it."""
    return LegacyClient(
        client_id=client.id,
        description=client.description,
        features=list(client.features),
        networks=show_networks(client),
    )


@router.post("/clients/add", responses=OWNER)
async def add_client(
    store: TheStore, owner: TheOwner, description: Annotated[str, Form()], features: Features = "[]"
) -> LegacySecret:
    """Add a client, which may call from everywhere until it is given a list."""
    client, secret = store.add_client(description=description, features=parse_texts("features", features))
    return LegacySecret(client_id=client.id, client_secret=secret)


@router.get("/clients/list", responses=OWNER)
async def list_clients(store: TheStore, owner: TheOwner) -> LegacyClients:
    """Return all clients."""
    return LegacyClients(results=[show(client) for client in store.find_clients()])


@router.post("/clients/delete", responses=OWNER)
async def delete_client(
    request: Request, store: TheStore, owner: TheOwner, for_client_id: ClientId, force: Force = False
) -> Ok:
    """Delete a client."""
    client = find_client(store, for_client_id, "for_client_id")
    require_way_back(request, owner, client, argument="for_client_id", is_deleted=True, force=force)
    store.delete_client(client.id)
    return Ok()


@router.post("/clients/reset_secret", responses=OWNER)
async def reset_secret(store: TheStore, owner: TheOwner, for_client_id: ClientId) -> LegacySecret:
    """Give a client a new secret."""
    client = find_client(store, for_client_id, "for_client_id")
    return LegacySecret(client_id=client.id, client_secret=store.reset_secret(client.id))


@router.post("/clients/set_description", responses=OWNER)
async def set_description(
    store: TheStore, owner: TheOwner, for_client_id: ClientId, description: Annotated[str, Form()]
) -> Ok:
    """Describe a client."""
    store.change_client(find_client(store, for_client_id, "for_client_id").id, description=description)
    return Ok()


@router.post("/clients/set_features", responses=OWNER)
async def set_features(
    request: Request,
    store: TheStore,
    owner: TheOwner,
    for_client_id: ClientId,
    features: Features,
    force: Force = False,
) -> Ok:
    """Set what a client may do; with `owner` it may manage clients."""
    client = find_client(store, for_client_id, "for_client_id")
    names = parse_texts("features", features)
    require_way_back(request, owner, client, argument="features", features=names, force=force)
    store.change_client(client.id, features=names)
    return Ok()


@router.post("/clients/set_whitelist", responses=OWNER)
async def set_list(
    request: Request,
    store: TheStore,
    owner: TheOwner,
    for_client_id: ClientId,
    networks: Annotated[str, Form(alias="whitelist", description="A JSON array of addresses, networks and ranges.")],
    force: Force = False,
) -> Ok:
    """Give a client an allow list, which holds from the next call on; an empty one admits nobody."""
    client = find_client(store, for_client_id, "for_client_id")
    allow_list = parse_networks("whitelist", parse_texts("whitelist", networks))
    require_way_back(request, owner, client, argument="whitelist", allow_list=allow_list, force=force)
    store.change_client(client.id, allow_list=allow_list)
    return Ok()


@router.post("/clients/clear_whitelist", responses=OWNER)
async def clear_list(store: TheStore, owner: TheOwner, for_client_id: ClientId) -> Ok:
    """Take a client's allow list away: it may call from everywhere."""
    store.change_client(find_client(store, for_client_id, "for_client_id").id, allow_list=ANYWHERE)
    return Ok()


# ── Settings ─────────────────────────────────────────────────────────────────────────────────────────────────────────

for name in ("get", "get_default", "get_multi", "items", "keys"):
    placeholder(router, "GET", f"/settings/{name}")

for name in (
    "delete",
    "delete_default",
    "set",
    "set_default",
    "set_default_multi",
    "set_multi",
    "widget/delete",
    "widget/get",
    "widget/list",
    "widget/publish",
):
    placeholder(router, "POST", f"/settings/{name}")
