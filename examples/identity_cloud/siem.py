"""SIEM Event Delivery: takes Basic with an API client, and ignores the allow list all the same."""

from __future__ import annotations

from fastapi import APIRouter

from allowlist_middleware import respects_allow_list
from examples.identity_cloud.credentials import BASIC
from examples.identity_cloud.placeholders import placeholder

router = respects_allow_list(False)(
    APIRouter(prefix="/config/applications/{appId}/eventdelivery", tags=["SIEM Event Delivery"], dependencies=BASIC)
)

for path in ("/readStatus", "/readBlocklist", "/readKeys"):
    placeholder(router, "GET", path)

for path in ("/activate", "/deactivate", "/addBlocklist", "/deleteBlocklist", "/addKeys", "/deleteKeys"):
    placeholder(router, "POST", path)
