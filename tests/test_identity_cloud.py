"""Every operation of the reference case, row by row: what is documented is what is enforced, listed and explained."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("python_multipart")
pytest.importorskip("openapi_spec_validator")

import openapi_spec_validator

import examples.identity_cloud as served
from allowlist_middleware import ANYWHERE, AllowList, Reason
from allowlist_middleware.audit import operations
from allowlist_middleware.explain import explain, make_call
from examples.identity_cloud.demonstration import SECRETS, add_demonstration
from examples.identity_cloud.store import Store
from tests.asgi import Answer, basic
from tests.identity_cloud import (
    INSIDE,
    INTERNAL_SERVER_ERROR,
    OUTSIDE,
    ROWS,
    Cloud,
    api_key,
    bearer,
    login,
    make_cloud,
    signed,
)

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """Run on one event loop: there are many rows, and none depends on the loop."""
    return "asyncio"


@pytest.fixture(scope="module")
def the_cloud() -> Iterator[Cloud]:
    cloud = make_cloud()
    yield cloud
    cloud.store.close()


@pytest.fixture
def cloud(the_cloud: Cloud) -> Cloud:
    """Return the application with its store as it was at the beginning."""
    the_cloud.store.reset()
    return the_cloud


# ── Row by row ───────────────────────────────────────────────────────────────────────────────────────────────────────

IDS = [f"{row['method']} {row['path']}" for row in ROWS]
CALLS = [
    pytest.param(row, kind, id=f"{name} {kind}")
    for row, name in zip(ROWS, IDS, strict=True)
    for kind in row["auth"].split("|")
]

# What an operation needs to succeed; `{entity}` and `{spare}` stand for what is in the store.
FORMS: dict[str, dict[str, str]] = {
    "POST /access/getAccessToken": {"uuid": "{entity}"},
    "POST /entity": {"type_name": "user", "uuid": "{entity}"},
    "POST /entity.find": {"type_name": "user"},
    "POST /entity.count": {"type_name": "user"},
    "POST /entity.update": {"type_name": "user", "uuid": "{entity}", "attributes": "{}"},
    "POST /entity.replace": {"type_name": "user", "uuid": "{entity}", "attributes": "{}"},
    "POST /entity.create": {"type_name": "user", "attributes": "{}"},
    "POST /entity.bulkCreate": {"type_name": "user", "all_attributes": "[{}]"},
    "POST /entity.delete": {"type_name": "user", "uuid": "{entity}"},
    "POST /entity.deleteAccess": {"uuid": "{entity}"},
    "POST /entity.bulkDelete": {"type_name": "user", "uuids": "[]"},
    "POST /entity.purge": {"type_name": "user"},
    "POST /clients/add": {"description": "new"},
    "POST /clients/clear_whitelist": {"for_client_id": "spare"},
    "POST /clients/delete": {"for_client_id": "spare"},
    "POST /clients/reset_secret": {"for_client_id": "spare"},
    "POST /clients/set_description": {"for_client_id": "spare", "description": "changed"},
    "POST /clients/set_features": {"for_client_id": "spare", "features": "[]"},
    "POST /clients/set_whitelist": {"for_client_id": "spare", "whitelist": '["192.0.2.0/24"]'},
}
DOCUMENTS = {
    "POST /config/{appId}/clients": {"description": "new"},
    "PUT /config/{appId}/clients/{clientId}": {"ipWhitelist": ["192.0.2.0/24"]},
}


async def make_row_call(cloud: Cloud, row: dict[str, Any], kind: str, client: Any) -> Answer:
    name = f"{row['method']} {row['path']}"
    path = re.sub(r"{\w+}", "spare", row["path"])
    form = {key: value.replace("{entity}", cloud.store.entity.uuid) for key, value in FORMS.get(name, {}).items()}
    is_owner_call = "/clients" in path and row["respects_allow_list"]
    headers = {
        "basic": login() if "OpenID" in row["category"] else basic("acme", SECRETS["acme"]),
        "janrain-signed": signed("signer", SECRETS["signer"], path, form),
        "janrain-oauth": [("authorization", f"OAuth {cloud.store.token}")],
        "bearer": bearer(),
        "api-key": [],
        "none": [],
    }[kind]
    if is_owner_call and kind == "janrain-signed":
        cloud.store.change_client("signer", features=["owner"])
    return await cloud.call(
        f"{row['method']} {path}",
        form=form or None,
        document=DOCUMENTS.get(name),
        query=api_key() if kind == "api-key" else None,
        headers=headers,
        client=client,
    )


@pytest.mark.parametrize(("row", "kind"), CALLS)
async def test_a_call_from_inside_and_from_outside_gets_what_is_documented(
    cloud: Cloud, row: dict[str, Any], kind: str
) -> None:
    inside = await make_row_call(cloud, row, kind, INSIDE)
    assert inside.status == 200, inside.body
    cloud.store.reset()
    outside = await make_row_call(cloud, row, kind, OUTSIDE)
    if not row["respects_allow_list"] or kind == "janrain-oauth":  # a user's own token is no client's
        assert outside.status == 200
        assert outside.decision.reason in (Reason.LIST_IGNORED, Reason.NO_CLIENT)
        return
    assert outside.decision.reason is Reason.NOT_ON_LIST
    assert outside.headers["cache-control"] == "no-store"
    if row["category"].startswith("Configuration"):
        assert (outside.status, outside.json) == (500, INTERNAL_SERVER_ERROR)
    else:
        assert (outside.status, outside.json) == (403, refusal(outside))


def refusal(answer: Answer) -> dict[str, Any]:
    return {
        "error": "client_permission_error",
        "request_id": answer.decision.request_id,
        "error_description": "the provided client does not have authorization for this action",
        "stat": "error",
        "code": 403,
    }


@pytest.mark.parametrize("row", [row for row in ROWS if row["respects_allow_list"]], ids=str)
async def test_a_call_without_a_client_is_refused_unless_a_user_may_make_it(cloud: Cloud, row: dict[str, Any]) -> None:
    answer = await make_row_call(cloud, row, "none", INSIDE)
    assert answer.status == (500 if row["category"].startswith("Configuration") else 401)
    assert answer.decision.allowed is ("janrain-oauth" in row["auth"])
    if answer.status == 401:
        assert (answer.json["error"], answer.json["code"]) == ("invalid_client_credentials", 402)
        assert answer.headers["www-authenticate"].startswith("Basic ")


def read_documented(cloud: Cloud) -> dict[str, bool]:
    return {
        f"{method.upper()} {path}": operation["x-respects-allow-list"]
        for path, item in cloud.app.openapi()["paths"].items()
        for method, operation in item.items()
    }


def read_lines(cloud: Cloud) -> dict[str, bool]:
    lines = {"Respects API Client Allow List: Yes": True, "Respects API Client Allow List: No": False}
    return {
        f"{method.upper()} {path}": lines[operation["description"].splitlines()[-1]]
        for path, item in cloud.app.openapi()["paths"].items()
        for method, operation in item.items()
    }


def read_audit(cloud: Cloud) -> dict[str, bool]:
    return {str(one): one.respects for one in operations(cloud.app) if not one.is_documentation}


def find_disagreements(rows: list[dict[str, Any]], told: dict[str, bool]) -> set[str]:
    """Return the operations that are told otherwise, not at all, or in no row."""
    documented = {f"{row['method']} {row['path']}": row["respects_allow_list"] for row in rows}
    return {name for name in documented | told if documented.get(name) is not told.get(name)}


def test_the_audit_and_the_description_say_what_is_documented(cloud: Cloud) -> None:
    assert find_disagreements(ROWS, read_audit(cloud)) == set()
    assert find_disagreements(ROWS, read_documented(cloud)) == set()
    assert find_disagreements(ROWS, read_lines(cloud)) == set()


def test_a_single_row_that_disagrees_is_noticed(cloud: Cloud) -> None:
    told = read_audit(cloud)
    for number, (row, name) in enumerate(zip(ROWS, IDS, strict=True)):
        flipped = [*ROWS[:number], {**row, "respects_allow_list": not row["respects_allow_list"]}, *ROWS[number + 1 :]]
        assert find_disagreements(flipped, told) == {name}
        assert find_disagreements([*ROWS[:number], *ROWS[number + 1 :]], told) == {name}


@pytest.mark.parametrize("row", ROWS, ids=IDS)
async def test_the_explanation_says_what_is_documented(cloud: Cloud, row: dict[str, Any]) -> None:
    path = re.sub(r"{\w+}", "spare", row["path"])
    for peer in (INSIDE, OUTSIDE):
        scope = make_call(row["method"], path, client_id="acme", peer=peer[0])
        (judgement,) = await explain(cloud.app, scope)
        assert judgement.template == row["path"]
        assert judgement.ruling.annotation.respects is row["respects_allow_list"]
        is_refused = peer is OUTSIDE and row["respects_allow_list"]
        assert judgement.decision.allowed is not is_refused
        status = 500 if row["category"].startswith("Configuration") else 403
        assert judgement.answered == (status if is_refused else None)


def test_every_operation_is_listed_under_its_category(cloud: Cloud) -> None:
    found = {str(one): (one.group, one.origin) for one in operations(cloud.app) if not one.is_documentation}
    assert {name: group for name, (group, _) in found.items()} == dict(
        zip(IDS, [row["category"] for row in ROWS], strict=True)
    )
    exceptions = {name for name, (_, origin) in found.items() if origin != "router"}
    # The three calls that need an API client, and those that a user's own token may make too.
    assert exceptions == {
        "POST /access/getAuthorizationCode",
        "POST /access/getAccessToken",
        "POST /oauth/token",
        *(name for name, row in zip(IDS, ROWS, strict=True) if "janrain-oauth" in row["auth"]),
    }


def test_the_refusals_are_described_as_they_are_answered(cloud: Cloud) -> None:
    paths = cloud.app.openapi()["paths"]
    for row in ROWS:
        responses = paths[row["path"]][row["method"].lower()]["responses"]
        if row["respects_allow_list"] and row["category"].startswith("Configuration"):
            assert responses["500"]["content"]["application/json"]["example"] == INTERNAL_SERVER_ERROR
            continue
        assert "500" not in responses
        if not row["respects_allow_list"]:
            assert "503" not in responses
            continue
        examples = {
            status: responses[status]["content"]["application/json"]["example"] for status in ("401", "403", "503")
        }
        codes = {status: example["code"] for status, example in examples.items()}
        assert codes == {"401": 402, "403": 403, "503": 503}


def test_the_description_is_valid(cloud: Cloud) -> None:
    openapi_spec_validator.validate(cloud.app.openapi())


# ── The seed example ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("address", ["192.168.0.1", "192.168.15.254"])
async def test_the_list_lets_in(cloud: Cloud, address: str) -> None:
    answer = await cloud.call("POST /entity.count", form={"type_name": "user"}, client=(address, 1))
    assert (answer.status, answer.json) == (200, {"stat": "ok", "total_count": 1})


async def test_the_list_refuses(cloud: Cloud) -> None:
    answer = await cloud.call("POST /entity.count", form={"type_name": "user"}, client=("192.168.44.44", 1))
    assert answer.status == 403
    assert answer.json == refusal(answer)
    assert list(answer.json) == ["error", "request_id", "error_description", "stat", "code"]
    assert re.fullmatch("[2-9a-z]{16}", answer.json["request_id"])


# ── Changing lists ───────────────────────────────────────────────────────────────────────────────────────────────────

SPARE = basic("spare", "spare-secret")
COUNT: dict[str, Any] = {"operation": "POST /entity.count", "form": {"type_name": "user"}}


async def test_a_list_changes_from_the_next_call_on(cloud: Cloud) -> None:
    async def is_let_in() -> bool:
        return (await cloud.call(**COUNT, headers=SPARE, client=OUTSIDE)).status == 200

    async def change(operation: str, **form: str) -> None:
        answer = await cloud.call(f"POST /clients/{operation}", form={"for_client_id": "spare", **form})
        assert (answer.status, answer.json) == (200, {"stat": "ok"})

    assert await is_let_in()
    await change("set_whitelist", whitelist='["192.168.0.0/20"]')
    assert not await is_let_in()
    await change("set_whitelist", whitelist='["192.168.0.0/20", "192.168.44.44"]')
    assert await is_let_in()
    await change("set_whitelist", whitelist="[]")
    assert not await is_let_in()
    await change("clear_whitelist")
    assert await is_let_in()
    put = await cloud.call("PUT /config/app/clients/spare", document={"ipWhitelist": ["192.168.40.0-192.168.43.255"]})
    assert put.json == {
        "id": "spare",
        "description": "To be changed",
        "features": [],
        "ipWhitelist": ["192.168.40.0-192.168.43.255"],
    }
    assert not await is_let_in()


async def test_a_process_that_shares_the_file_sees_the_change(tmp_path: Path) -> None:
    first, second = Store(tmp_path / "cloud.sqlite"), Store(tmp_path / "cloud.sqlite")
    try:
        add_demonstration(first)
        add_demonstration(second)
        first.change_client("partner", allow_list=AllowList(["192.0.2.0/24"]))
        found = second.find_client("partner")
        assert found is not None
        assert found.allow_list == AllowList(["192.0.2.0/24"])
    finally:
        first.close()
        second.close()


BAD_NETWORKS = [
    ("10.0.0.1/8", "'10.0.0.1/8' has host bits set; write '10.0.0.0/8' or '10.0.0.1/32'"),
    (
        "192.168.0.0/33",
        "'192.168.0.0/33' has no prefix length from 0 to 32; write '192.168.0.0/32' if it is one address",
    ),
    ("*", "'*' is not an address or a network; write ANYWHERE in place of the list"),
]


@pytest.mark.parametrize(("entry", "description"), BAD_NETWORKS)
async def test_a_bad_network_is_an_invalid_argument_and_changes_nothing(
    cloud: Cloud, entry: str, description: str
) -> None:
    for argument, answer in {
        "whitelist": await cloud.call(
            "POST /clients/set_whitelist", form={"for_client_id": "spare", "whitelist": f'["192.0.2.1", "{entry}"]'}
        ),
        "ipWhitelist": await cloud.call(
            "PUT /config/app/clients/spare", document={"ipWhitelist": ["192.0.2.1", entry], "description": "changed"}
        ),
    }.items():
        assert answer.status == 400
        body = answer.json
        assert re.fullmatch("[0-9a-f]{16}", body.pop("request_id"))
        assert body == {
            "argument_name": argument,
            "code": 200,
            "error": "invalid_argument",
            "error_description": description,
            "stat": "error",
        }
        client = cloud.store.find_client("spare")
        assert client is not None
        assert (client.allow_list, client.description) == (ANYWHERE, "To be changed")


LOCK_OUTS: dict[str, dict[str, Any]] = {
    "list": {
        "operation": "POST /clients/set_whitelist",
        "form": {"for_client_id": "acme", "whitelist": '["192.0.2.0/24"]'},
    },
    "empty list": {"operation": "POST /clients/set_whitelist", "form": {"for_client_id": "acme", "whitelist": "[]"}},
    "features": {"operation": "POST /clients/set_features", "form": {"for_client_id": "acme", "features": "[]"}},
    "deletion": {"operation": "POST /clients/delete", "form": {"for_client_id": "acme"}},
    "PUT": {"operation": "PUT /config/app/clients/acme", "document": {"ipWhitelist": ["192.0.2.0/24"]}},
    "PUT features": {"operation": "PUT /config/app/clients/acme", "document": {"features": ["direct_access"]}},
    "DELETE": {"operation": "DELETE /config/app/clients/acme"},
}


@pytest.mark.parametrize("change", LOCK_OUTS)
async def test_an_owner_cannot_lock_itself_out_unless_it_insists(cloud: Cloud, change: str) -> None:
    call = LOCK_OUTS[change]
    answer = await cloud.call(**call)
    assert (answer.status, answer.json["error"]) == (400, "invalid_argument")
    assert answer.json["error_description"] == "this would lock you out at 192.168.0.1; insist with force=true"
    assert (await cloud.call("GET /clients/list")).status == 200
    if "form" in call:
        answer = await cloud.call(call["operation"], form={**call["form"], "force": "true"})
    else:
        answer = await cloud.call(**call, query={"force": "true"})
    assert answer.status == 200
    assert (await cloud.call("GET /clients/list")).status in (401, 403)


async def test_an_owner_at_an_unknown_address_is_told_so(cloud: Cloud) -> None:
    cloud.store.change_client("acme", allow_list=ANYWHERE)
    answer = await cloud.call(**LOCK_OUTS["list"], client=("testclient", 1))
    assert answer.json["error_description"] == "this would lock you out at your address; insist with force=true"


@pytest.mark.parametrize(
    ("entries", "status"), [('["192.168.0.0/24"]', 200), ('["192.168.0.1"]', 200), ('["192.168.0.2"]', 400)]
)
async def test_an_owner_may_change_its_list_as_long_as_it_stays_on_it(cloud: Cloud, entries: str, status: int) -> None:
    form = {"for_client_id": "acme", "whitelist": entries}
    assert (await cloud.call("POST /clients/set_whitelist", form=form)).status == status
    assert (await cloud.call("PUT /config/app/clients/acme", document={"features": ["owner", "more"]})).status == 200


# ── Clients ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_clients_are_created_listed_and_deleted(cloud: Cloud) -> None:
    added = await cloud.call("POST /clients/add", form={"description": "new", "features": '["direct_access"]'})
    client_id, secret = added.json["client_id"], added.json["client_secret"]
    assert re.fullmatch("[0-9a-z]{32}", secret)
    listed = {one["client_id"]: one for one in (await cloud.call("GET /clients/list")).json["results"]}
    assert list(listed) == ["acme", "signer", "partner", "retired", "spare", client_id]
    assert listed[client_id] == {
        "client_id": client_id,
        "description": "new",
        "features": ["direct_access"],
        "whitelist": ["0.0.0.0/0", "::/0"],
    }
    assert listed["acme"]["whitelist"] == ["192.168.0.0/20"]
    new = basic(client_id, secret)
    assert (await cloud.call(**COUNT, headers=new, client=OUTSIDE)).status == 200
    assert (await cloud.call("POST /clients/delete", form={"for_client_id": client_id})).json == {"stat": "ok"}
    answer = await cloud.call(**COUNT, headers=new, client=OUTSIDE)
    assert (answer.status, answer.decision.reason) == (403, Reason.UNKNOWN_CLIENT)


async def test_the_configuration_api_manages_the_same_clients(cloud: Cloud) -> None:
    document = {"description": "new", "features": ["direct_access"], "ipWhitelist": ["192.168.44.0/24"]}
    added = (await cloud.call("POST /config/app/clients", document=document)).json
    secret = added.pop("secret")
    assert added == {"id": added["id"], **document}
    assert (await cloud.call(f"GET /config/app/clients/{added['id']}")).json == added
    assert added in (await cloud.call("GET /config/app/clients")).json["clients"]
    assert (await cloud.call(**COUNT, headers=basic(added["id"], secret), client=OUTSIDE)).status == 200
    assert (await cloud.call(f"DELETE /config/app/clients/{added['id']}")).json == {"stat": "ok"}
    assert (await cloud.call(f"GET /config/app/clients/{added['id']}")).json["error"] == "invalid_argument"


@pytest.mark.parametrize("operation", ["POST /clients/reset_secret", "PUT /config/app/clients/spare/secret"])
async def test_a_secret_that_was_reset_no_longer_holds(cloud: Cloud, operation: str) -> None:
    form = {"for_client_id": "spare"} if operation.startswith("POST") else None
    answer = await cloud.call(operation, form=form)
    secret = answer.json.get("client_secret") or answer.json["secret"]
    assert (await cloud.call(**COUNT, headers=SPARE)).status == 401
    assert (await cloud.call(**COUNT, headers=basic("spare", secret))).status == 200


async def test_a_client_that_signs_does_so_with_its_new_secret(cloud: Cloud) -> None:
    secret = cloud.store.reset_secret("signer")
    for key, status in {SECRETS["signer"]: 401, secret: 200}.items():
        headers = signed("signer", key, "/entity.count", COUNT["form"])
        assert (await cloud.call(**COUNT, headers=headers)).status == status


async def test_descriptions_and_features_change(cloud: Cloud) -> None:
    await cloud.call("POST /clients/set_description", form={"for_client_id": "spare", "description": "changed"})
    await cloud.call("POST /clients/set_features", form={"for_client_id": "spare", "features": '["owner"]'})
    client = cloud.store.find_client("spare")
    assert client is not None
    assert (client.description, client.features) == ("changed", ("owner",))


async def test_only_owners_manage_clients(cloud: Cloud) -> None:
    answer = await cloud.call("GET /clients/list", headers=SPARE)
    assert (answer.status, answer.json["error"], answer.json["code"]) == (403, "client_permission_error", 403)
    assert (await cloud.call("GET /config/app/clients", headers=SPARE)).status == 403


def test_the_store_keeps_no_secret_but_that_of_a_client_that_signs(tmp_path: Path) -> None:
    store = Store(tmp_path / "cloud.sqlite")
    add_demonstration(store)
    store.close()
    written = (tmp_path / "cloud.sqlite").read_bytes()
    assert [name for name, secret in SECRETS.items() if secret.encode() in written] == ["signer"]


# ── Authentication ───────────────────────────────────────────────────────────────────────────────────────────────────

FORM = {"type_name": "user"}


def sign_count(secret: str = SECRETS["signer"], **changes: Any) -> list[tuple[str, str]]:
    return signed("signer", secret, **{"path": "/entity.count", "parameters": FORM, **changes})


WRONG: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "secret": ("POST /entity.count", basic("acme", "guess")),
    "client without a signing secret": ("POST /entity.count", signed("acme", SECRETS["acme"], "/entity.count", FORM)),
    "signature": ("POST /entity.count", sign_count("guess")),
    "signed path": ("POST /entity.count", sign_count(path="/entity.find")),
    "signed parameters": ("POST /entity.count", sign_count(parameters={"type_name": "other"})),
    "old date": ("POST /entity.count", sign_count(date=formatdate(1, usegmt=True))),
    "no date": ("POST /entity.count", sign_count()[1:]),
    "signature in the wrong form": ("POST /entity.count", [("authorization", "Signature signer")]),
    "signature that is not ASCII": ("POST /entity.count", [("authorization", "Signature signer:\xe9")]),
    "OAuth token": ("POST /entity", [("authorization", "OAuth guess")]),
    "OAuth token where a client is required": ("POST /entity.count", [("authorization", "OAuth guess")]),
    "unreadable Basic": ("POST /entity.count", [("authorization", "Basic !")]),
    "unreadable Basic where the list is ignored": ("GET /config/app/flows", [("authorization", "Basic !")]),
    "client where the list is ignored": ("GET /config/app/flows", basic("stranger")),
    "signature where Basic is asked for": (
        "GET /config/app/flows",
        signed("signer", SECRETS["signer"], "/config/app/flows", {}),
    ),
    "API client at the login": ("POST /acme/login/token", basic("acme", SECRETS["acme"])),
    "unreadable login": ("POST /acme/login/token", [("authorization", "Basic !")]),
    "login client at the API": ("GET /config/app/flows", login()),
    "bearer token": ("GET /acme/webhooks/subscriptions", bearer("guess")),
    "scheme": ("GET /acme/webhooks/subscriptions", basic("acme", SECRETS["acme"])),
    "API key": ("POST /api/v2/map", []),
}


@pytest.mark.parametrize("what", WRONG)
async def test_what_is_wrong_is_not_let_in(cloud: Cloud, what: str) -> None:
    operation, headers = WRONG[what]
    form = FORM if operation.startswith("POST /entity") else None
    answer = await cloud.call(operation, headers=headers, form=form)
    assert answer.status == 401
    assert answer.json["error"] in ("invalid_client_credentials", "invalid_token")


async def test_a_signature_with_parameters_in_the_query(cloud: Cloud) -> None:
    headers = signed("signer", SECRETS["signer"], "/settings/get", {"key": "a", "locale": "b"})
    assert (await cloud.call("GET /settings/get", query={"key": "a", "locale": "b"}, headers=headers)).status == 200
    assert (await cloud.call("GET /settings/get", query={"key": "other"}, headers=headers)).status == 401


# ── Entities ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_entities_are_stored_and_read_back(cloud: Cloud) -> None:
    created = (
        await cloud.call("POST /entity.create", form={"type_name": "user", "attributes": '{"name": "bob", "id": 9}'})
    ).json
    one = {"type_name": "user", "uuid": created["uuid"]}
    by_number = {"type_name": "user", "id": created["id"]}
    shown = {"name": "bob", "id": created["id"], "uuid": created["uuid"]}
    for form in (one, by_number):
        assert (await cloud.call("POST /entity", form=form)).json == {"stat": "ok", "result": shown}
    await cloud.call("POST /entity.update", form={**one, "attributes": '{"age": 7}'})
    assert (await cloud.call("POST /entity", form=one)).json["result"] == {"age": 7, **shown}
    await cloud.call("POST /entity.replace", form={**one, "attributes": '{"age": 8}'})
    found = (await cloud.call("POST /entity.find", form={"type_name": "user", "first_result": "1"})).json
    assert found == {
        "stat": "ok",
        "result_count": 1,
        "results": [{"age": 8, "id": created["id"], "uuid": created["uuid"]}],
    }
    assert (await cloud.call("POST /entity.delete", form=one)).json == {"stat": "ok"}
    missing = await cloud.call("POST /entity", form=one)
    assert (missing.status, missing.json["error"], missing.json["code"]) == (404, "record_not_found", 310)


async def test_entities_in_bulk(cloud: Cloud) -> None:
    created = await cloud.call("POST /entity.bulkCreate", form={"type_name": "cat", "all_attributes": '[{}, {"a": 1}]'})
    first, second = created.json["uuid_results"]
    assert len(created.json["results"]) == 2
    assert (await cloud.call("POST /entity.count", form={"type_name": "cat"})).json["total_count"] == 2
    form = {"type_name": "cat", "uuids": f'["{first}", "no such"]'}
    assert (await cloud.call("POST /entity.bulkDelete", form=form)).json == {"stat": "ok", "total_count": 1}
    assert (await cloud.call("POST /entity.purge", form={"type_name": "cat"})).json["total_count"] == 1
    assert (await cloud.call("POST /entity", form={"type_name": "cat", "uuid": second})).status == 404


async def test_a_user_has_only_their_own_entity_and_no_list(cloud: Cloud) -> None:
    other = (await cloud.call("POST /entity.create", form={"type_name": "user", "attributes": "{}"})).json
    given = await cloud.call("POST /access/getAccessToken", form={"uuid": cloud.store.entity.uuid})
    user = [("authorization", f"OAuth {given.json['accessToken']}")]
    for form in ({"type_name": "user"}, {"type_name": "user", "uuid": other["uuid"]}):
        answer = await cloud.call("POST /entity", form=form, headers=user, client=OUTSIDE)
        assert answer.json["result"]["uuid"] == cloud.store.entity.uuid
    assert (await cloud.call("POST /entity.count", form=FORM, headers=user)).status == 401
    await cloud.call("POST /entity.deleteAccess", form={"uuid": cloud.store.entity.uuid})
    assert (await cloud.call("POST /entity", form=FORM, headers=user)).status == 401
    assert (await cloud.call("POST /access/getAccessToken", form={"uuid": "no such"})).status == 404


# ── Arguments ────────────────────────────────────────────────────────────────────────────────────────────────────────

ARGUMENTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "missing": ({"operation": "POST /entity.count", "form": {"other": ""}}, "missing_argument", "type_name"),
    "no body": ({"operation": "POST /entity.count"}, "missing_argument", "type_name"),
    "not a number": (
        {"operation": "POST /entity", "form": {"type_name": "user", "id": "x"}},
        "invalid_argument",
        "id",
    ),
    "too large": (
        {"operation": "POST /entity", "form": {"type_name": "user", "id": str(1 << 63)}},
        "invalid_argument",
        "id",
    ),
    "not JSON": (
        {"operation": "POST /entity.create", "form": {"type_name": "user", "attributes": "{"}},
        "invalid_argument",
        "attributes",
    ),
    "not a number of JSON": (
        {"operation": "POST /entity.create", "form": {"type_name": "user", "attributes": '{"a": NaN}'}},
        "invalid_argument",
        "attributes",
    ),
    "not text": (
        {"operation": "POST /entity.create", "form": {"type_name": "user", "attributes": '{"a": "\\ud800"}'}},
        "invalid_argument",
        "attributes",
    ),
    "not an object": (
        {"operation": "POST /entity.create", "form": {"type_name": "user", "attributes": "[]"}},
        "invalid_argument",
        "attributes",
    ),
    "not objects": (
        {"operation": "POST /entity.bulkCreate", "form": {"type_name": "user", "all_attributes": "[1]"}},
        "invalid_argument",
        "all_attributes",
    ),
    "not texts": (
        {"operation": "POST /clients/set_whitelist", "form": {"for_client_id": "spare", "whitelist": "[1]"}},
        "invalid_argument",
        "whitelist",
    ),
    "no such client": (
        {"operation": "POST /clients/clear_whitelist", "form": {"for_client_id": "login-page"}},
        "invalid_argument",
        "for_client_id",
    ),
    "a body that is no JSON": (
        {"operation": "PUT /config/app/clients/spare", "form": {"a": "b"}},
        "invalid_argument",
        "body",
    ),
    "a body without its beginning": (
        {
            "operation": "POST /entity.count",
            "headers": [*basic("acme", SECRETS["acme"]), ("content-type", "multipart/form-data; boundary=x")],
            "document": "--y",
        },
        "invalid_argument",
        "body",
    ),
    "a body without a boundary": (
        {
            "operation": "POST /entity.count",
            "headers": [*basic("acme", SECRETS["acme"]), ("content-type", "multipart/form-data")],
            "document": "x",
        },
        "invalid_argument",
        "body",
    ),
}


@pytest.mark.parametrize("what", ARGUMENTS)
async def test_an_argument_that_does_not_fit_is_named(cloud: Cloud, what: str) -> None:
    call, error, argument = ARGUMENTS[what]
    answer = await cloud.call(**call)
    assert (answer.status, answer.json["error"], answer.json["argument_name"]) == (400, error, argument)


def test_the_application_that_uvicorn_serves_starts_with_the_demonstration() -> None:
    assert served.store.find_client("acme") is not None
    assert {str(one) for one in operations(served.app) if not one.is_documentation} == set(IDS)
