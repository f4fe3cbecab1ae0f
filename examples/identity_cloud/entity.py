"""Entity: respects the allow list. Where a user's own token does too, the call may carry no API client at all."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form
from pydantic import BaseModel, JsonValue

from allowlist_middleware import respects_allow_list
from examples.identity_cloud.answers import Failure, Ok, describe_failures, invalid_argument
from examples.identity_cloud.changes import parse_json, parse_texts
from examples.identity_cloud.credentials import CLIENT, CLIENT_OR_USER, TheCaller, TheStore, User
from examples.identity_cloud.store import Entity, Store

router = respects_allow_list(True)(APIRouter(tags=["Entity"], responses=describe_failures(400, 401)))
by_user = respects_allow_list(True, require_client=False)

MISSING = describe_failures(404)
TypeName = Annotated[str, Form()]
Uuid = Annotated[str | None, Form()]
Number = Annotated[int | None, Form(alias="id", ge=1, lt=1 << 63)]
Attributes = Annotated[str, Form(description="A JSON object.")]


class Result(BaseModel):
    """One entity."""

    stat: Literal["ok"] = "ok"
    result: dict[str, JsonValue]


class Results(BaseModel):
    """Several entities."""

    stat: Literal["ok"] = "ok"
    result_count: int
    results: list[dict[str, JsonValue]]


class Counted(BaseModel):
    """How many entities there are, or were."""

    stat: Literal["ok"] = "ok"
    total_count: int


class Created(BaseModel):
    """A new entity."""

    stat: Literal["ok"] = "ok"
    id: int
    uuid: str


class BulkCreated(BaseModel):
    """New entities."""

    stat: Literal["ok"] = "ok"
    results: list[int]
    uuid_results: list[str]


def find(store: Store, caller: TheCaller, type_name: str, uuid: str | None, number: int | None) -> Entity:
    """Return the entity that is asked for; a user has only their own."""
    if isinstance(caller, User):
        uuid, number = caller.uuid, None
    entity = store.find_entity(type_name, uuid=uuid, number=number)
    if entity is None:
        raise Failure(404, "record_not_found", "there is no such entity")
    return entity


def parse_attributes(argument: str, text: str) -> dict[str, Any]:
    """Return the attributes of an entity."""
    value = parse_json(argument, text)
    if not isinstance(value, dict):
        raise invalid_argument(argument, "it is not a JSON object")
    return {name: field for name, field in value.items() if name not in ("id", "uuid")}


@router.post("/entity", dependencies=CLIENT_OR_USER, responses=MISSING)
@by_user
async def get_entity(
    store: TheStore, caller: TheCaller, type_name: TypeName, uuid: Uuid = None, number: Number = None
) -> Result:
    """Return an entity."""
    return Result(result=find(store, caller, type_name, uuid, number).show())


@router.post("/entity.find", dependencies=CLIENT)
async def find_entities(
    store: TheStore,
    type_name: TypeName,
    max_results: Annotated[int, Form(ge=1, le=10_000)] = 100,
    first_result: Annotated[int, Form(ge=0, le=1_000_000)] = 0,
) -> Results:
    """Return the entities of a type; there is no filter here."""
    entities = store.find_entities(type_name, first_result, max_results)
    return Results(result_count=len(entities), results=[entity.show() for entity in entities])


@router.post("/entity.count", dependencies=CLIENT)
async def count_entities(store: TheStore, type_name: TypeName) -> Counted:
    """Return how many entities of a type there are."""
    return Counted(total_count=store.count_entities(type_name))


@router.post("/entity.update", dependencies=CLIENT_OR_USER, responses=MISSING)
@by_user
async def update_entity(
    store: TheStore,
    caller: TheCaller,
    type_name: TypeName,
    attributes: Attributes,
    uuid: Uuid = None,
    number: Number = None,
) -> Ok:
    """Change some attributes of an entity."""
    entity = find(store, caller, type_name, uuid, number)
    store.replace_attributes(entity, {**entity.attributes, **parse_attributes("attributes", attributes)})
    return Ok()


@router.post("/entity.replace", dependencies=CLIENT_OR_USER, responses=MISSING)
@by_user
async def replace_entity(
    store: TheStore,
    caller: TheCaller,
    type_name: TypeName,
    attributes: Attributes,
    uuid: Uuid = None,
    number: Number = None,
) -> Ok:
    """Give an entity other attributes."""
    store.replace_attributes(find(store, caller, type_name, uuid, number), parse_attributes("attributes", attributes))
    return Ok()


@router.post("/entity.create", dependencies=CLIENT_OR_USER)
@by_user
async def create_entity(store: TheStore, type_name: TypeName, attributes: Attributes) -> Created:
    """Create an entity."""
    (entity,) = store.add_entities(type_name, [parse_attributes("attributes", attributes)])
    return Created(id=entity.id, uuid=entity.uuid)


@router.post("/entity.bulkCreate", dependencies=CLIENT)
async def create_entities(
    store: TheStore, type_name: TypeName, all_attributes: Annotated[str, Form(description="A JSON array of objects.")]
) -> BulkCreated:
    """Create several entities."""
    value = parse_json("all_attributes", all_attributes)
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise invalid_argument("all_attributes", "it is not a JSON array of objects")
    entities = store.add_entities(type_name, value)
    return BulkCreated(results=[one.id for one in entities], uuid_results=[one.uuid for one in entities])


@router.post("/entity.delete", dependencies=CLIENT_OR_USER, responses=MISSING)
@by_user
async def delete_entity(
    store: TheStore, caller: TheCaller, type_name: TypeName, uuid: Uuid = None, number: Number = None
) -> Ok:
    """Delete an entity."""
    store.delete_entities(type_name, [find(store, caller, type_name, uuid, number).uuid])
    return Ok()


@router.post("/entity.deleteAccess", dependencies=CLIENT)
async def delete_access(store: TheStore, uuid: Annotated[str, Form()]) -> Ok:
    """Take back the access tokens of an entity."""
    store.delete_tokens("oauth", uuid)
    return Ok()


@router.post("/entity.bulkDelete", dependencies=CLIENT)
async def delete_entities(
    store: TheStore, type_name: TypeName, uuids: Annotated[str, Form(description="A JSON array of UUIDs.")]
) -> Counted:
    """Delete several entities of a type."""
    return Counted(total_count=store.delete_entities(type_name, parse_texts("uuids", uuids)))


@router.post("/entity.purge", dependencies=CLIENT)
async def purge_entities(store: TheStore, type_name: TypeName) -> Counted:
    """Delete all entities of a type."""
    return Counted(total_count=store.delete_entities(type_name))
