"""Authentication: ignores the allow list, except for the three calls that need an API client."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Form
from pydantic import BaseModel, Field

from allowlist_middleware import respects_allow_list
from examples.identity_cloud.answers import Failure, describe_failures
from examples.identity_cloud.credentials import CLIENT, TheStore
from examples.identity_cloud.placeholders import placeholder

router = respects_allow_list(False)(APIRouter(tags=["Authentication"]))

for path in ("/access/getAuthorizationCode", "/oauth/token"):
    respects_allow_list(True)(placeholder(router, "POST", path, CLIENT))


class AccessToken(BaseModel):
    """A user's own access token."""

    stat: Literal["ok"] = "ok"
    token: str = Field(serialization_alias="accessToken")


@router.post("/access/getAccessToken", dependencies=CLIENT, responses=describe_failures(404))
@respects_allow_list(True)
async def get_access_token(
    store: TheStore, uuid: Annotated[str, Form()], type_name: Annotated[str, Form()] = "user"
) -> AccessToken:
    """Return a token with which a user calls without an API client, from wherever they are."""
    if store.find_entity(type_name, uuid=uuid) is None:
        raise Failure(404, "record_not_found", "there is no such entity")
    return AccessToken(token=store.add_token("oauth", uuid))


placeholder(router, "POST", "/access/getVerificationCode", CLIENT)
placeholder(router, "GET", "/access/getCreationToken", CLIENT)

for path in (
    "/access/useVerificationCode",
    "/access/use_verification_code",
    "/oauth/auth_native",
    "/oauth/auth_native_traditional",
    "/oauth/forgot_password_native",
    "/oauth/link_account_native",
    "/oauth/register_native",
    "/oauth/register_native_traditional",
    "/oauth/update_profile_native",
    "/oauth/verify_email_native",
    "/oauth/unlink_account_native",
):
    placeholder(router, "POST", path)
