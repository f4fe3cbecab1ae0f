"""Configuration: API clients, entity types and settings respect the allow list; a refusal is the documented 500."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, Field

from allowlist_middleware import ANYWHERE, respects_allow_list
from examples.identity_cloud.answers import Ok, describe_failures, refuse_configuration
from examples.identity_cloud.changes import find_client, parse_networks, require_way_back, show_networks
from examples.identity_cloud.credentials import BASIC, TheOwner, TheStore
from examples.identity_cloud.placeholders import placeholder
from examples.identity_cloud.store import Client


async def name_application(_: Annotated[str, Path(alias="appId")]) -> None:
    """Take the id of the application, of which there is one here, by whatever name."""


router = respects_allow_list(True, denial=refuse_configuration)(
    APIRouter(
        prefix="/config/{appId}",
        dependencies=[*BASIC, Depends(name_application)],
        responses=describe_failures(400, 401),
    )
)
clients = APIRouter(tags=["Configuration: API Clients"])
entity_types = APIRouter(tags=["Configuration: Entity Types"])
settings = APIRouter(tags=["Configuration: Settings"])
OWNER = describe_failures(403)
ClientId = Annotated[str, Path(alias="clientId")]
Force = Annotated[bool, Query(description="Insist on a change that locks its caller out.")]

# ── API clients ──────────────────────────────────────────────────────────────────────────────────────────────────────


class ApiClientChange(BaseModel):
    """What is to hold for a client; what is left out stays."""

    description: str | None = None
    features: list[str] | None = None
    networks: list[str] | None = Field(
        default=None, validation_alias="ipWhitelist", description="Addresses, networks and ranges."
    )


class ApiClient(BaseModel):
    """An API client."""

    id: str
    description: str
    features: list[str]
    networks: list[str] = Field(serialization_alias="ipWhitelist")


class NewApiClient(ApiClient):
    """A new API client with its secret, which is told only now."""

    secret: str


class ApiClients(BaseModel):
    """All API clients."""

    clients: list[ApiClient]


class ApiSecret(BaseModel):
    """A new secret, which is told only now."""

    secret: str


def show(client: Client) -> ApiClient:
    """Return a client as this API shows it."""
    return ApiClient(
        id=client.id,
        description=client.description,
        features=list(client.features),
        networks=show_networks(client),
    )


@clients.get("/clients", responses=OWNER)
async def list_clients(store: TheStore, owner: TheOwner) -> ApiClients:
    """Return all clients."""
    return ApiClients(clients=[show(client) for client in store.find_clients()])


@clients.post("/clients", responses=OWNER)
async def add_client(change: ApiClientChange, store: TheStore, owner: TheOwner) -> NewApiClient:
    """Add a client, which may call from everywhere unless it is given a list."""
    allow_list = ANYWHERE if change.networks is None else parse_networks("ipWhitelist", change.networks)
    client, secret = store.add_client(
        allow_list=allow_list, description=change.description or "", features=change.features or ()
    )
    return NewApiClient(**show(client).model_dump(), secret=secret)


@clients.get("/clients/{clientId}", responses=OWNER)
async def get_client(client_id: ClientId, store: TheStore, owner: TheOwner) -> ApiClient:
    """Return a client."""
    return show(find_client(store, client_id, "clientId"))


@clients.put("/clients/{clientId}", responses=OWNER)
async def put_client(
    request: Request,
    client_id: ClientId,
    change: ApiClientChange,
    store: TheStore,
    owner: TheOwner,
    force: Force = False,
) -> ApiClient:
    """ApiClientChange a client; its new list holds from the next call on."""
    client = find_client(store, client_id, "clientId")
    allow_list = None if change.networks is None else parse_networks("ipWhitelist", change.networks)
    require_way_back(
        request,
        owner,
        client,
        argument="ipWhitelist" if change.features is None else "features",
        allow_list=allow_list,
        features=change.features,
        force=force,
    )
    store.change_client(client_id, description=change.description, features=change.features, allow_list=allow_list)
    return show(find_client(store, client_id, "clientId"))


@clients.delete("/clients/{clientId}", responses=OWNER)
async def delete_client(
    request: Request, client_id: ClientId, store: TheStore, owner: TheOwner, force: Force = False
) -> Ok:
    """Delete a client."""
    client = find_client(store, client_id, "clientId")
    require_way_back(request, owner, client, argument="clientId", is_deleted=True, force=force)
    store.delete_client(client_id)
    return Ok()


@clients.put("/clients/{clientId}/secret", responses=OWNER)
async def put_secret(client_id: ClientId, store: TheStore, owner: TheOwner) -> ApiSecret:
    """Give a client a new secret."""
    find_client(store, client_id, "clientId")
    return ApiSecret(secret=store.reset_secret(client_id))


placeholder(clients, "GET", "/clients/{clientId}/settings")
placeholder(clients, "PUT", "/clients/{clientId}/settings")

# ── Entity types and settings ────────────────────────────────────────────────────────────────────────────────────────

placeholder(entity_types, "GET", "/entityTypes")
placeholder(entity_types, "GET", "/entityTypes/{entityType}")
placeholder(entity_types, "GET", "/entityTypes/{entityType}/attributes")
placeholder(entity_types, "GET", "/entityTypes/{entityType}/attributes/{attributeName}")

placeholder(settings, "GET", "/settings")
placeholder(settings, "PUT", "/settings")
placeholder(settings, "GET", "/settings/options")

for part in (clients, entity_types, settings):
    router.include_router(part)
