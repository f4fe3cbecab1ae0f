"""Entity Type: respects the allow list. A type may also be read with a user's own token, which names no client."""

from __future__ import annotations

from fastapi import APIRouter

from allowlist_middleware import respects_allow_list
from examples.identity_cloud.credentials import CLIENT, CLIENT_OR_USER
from examples.identity_cloud.placeholders import placeholder

router = respects_allow_list(True)(APIRouter(tags=["Entity Type"]))

respects_allow_list(True, require_client=False)(placeholder(router, "POST", "/entityType", CLIENT_OR_USER))

for name in (
    "list",
    "create",
    "addAttribute",
    "removeAttribute",
    "addRule",
    "rules",
    "removeRule",
    "setAttributeConstraints",
    "setPasswordSettings",
    "getAccessSchema",
    "setAccessSchema",
    "deleteAccessSchema",
):
    placeholder(router, "POST", f"/entityType.{name}", CLIENT)
