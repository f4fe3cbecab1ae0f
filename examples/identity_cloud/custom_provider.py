"""Custom Provider: token calls, which ignore the allow list."""

from __future__ import annotations

from fastapi import APIRouter

from allowlist_middleware import respects_allow_list
from examples.identity_cloud.credentials import BEARER
from examples.identity_cloud.placeholders import placeholder

router = respects_allow_list(False)(
    APIRouter(
        prefix="/{customerId}/v2/config/low/services/engage-v2/apps", tags=["Custom Provider"], dependencies=BEARER
    )
)

placeholder(router, "GET", "")
placeholder(router, "GET", "/{appId}")
placeholder(router, "GET", "/{appId}/custom-providers")
placeholder(router, "POST", "/{appId}/custom-providers")
placeholder(router, "GET", "/{appId}/custom-providers/{providerId}")
placeholder(router, "PUT", "/{appId}/custom-providers/{providerId}")
