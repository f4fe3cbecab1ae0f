"""Webhooks v3: token calls, which ignore the allow list."""

from __future__ import annotations

from fastapi import APIRouter

from allowlist_middleware import respects_allow_list
from examples.identity_cloud.credentials import BEARER
from examples.identity_cloud.placeholders import placeholder

router = respects_allow_list(False)(
    APIRouter(prefix="/{customerId}/webhooks/subscriptions", tags=["Webhooks v3"], dependencies=BEARER)
)

placeholder(router, "GET", "")
placeholder(router, "POST", "")
placeholder(router, "GET", "/{subscriptionId}")
placeholder(router, "PATCH", "/{subscriptionId}")
placeholder(router, "DELETE", "/{subscriptionId}")
placeholder(router, "GET", "/{subscriptionId}/events")
placeholder(router, "GET", "/{subscriptionId}/events/{eventId}")
placeholder(router, "GET", "/{subscriptionId}/events/{eventId}/history")
placeholder(router, "POST", "/{subscriptionId}/events/{eventId}/redeliver")
placeholder(router, "POST", "/{subscriptionId}/test")
