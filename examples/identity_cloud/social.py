"""Social: calls with an API key, which ignore the allow list."""

from __future__ import annotations

from fastapi import APIRouter

from allowlist_middleware import respects_allow_list
from examples.identity_cloud.credentials import API_KEY
from examples.identity_cloud.placeholders import placeholder

router = respects_allow_list(False)(APIRouter(prefix="/api/v2", tags=["Social"], dependencies=API_KEY))

for path in (
    "/add_domain_patterns",
    "/auth_info",
    "/get_application_settings",
    "/get_available_providers",
    "/get_domain_patterns",
    "/map",
    "/providers",
    "/set_app_settings",
    "/set_auth_providers",
    "/set_domain_patterns",
    "/signin/oauth_token",
    "/unmap",
    "/get_app_settings",
):
    placeholder(router, "POST", path)
