"""Configuration of flows: takes Basic with an API client, and ignores the allow list all the same."""

from __future__ import annotations

from fastapi import APIRouter

from allowlist_middleware import respects_allow_list
from examples.identity_cloud.credentials import BASIC
from examples.identity_cloud.placeholders import placeholder

router = respects_allow_list(False)(
    APIRouter(prefix="/config/{appId}/flows", tags=["Configuration: Flow"], dependencies=BASIC)
)

for operation in """
GET
GET   /{flow}
PUT   /{flow}
POST  /{flow}/copy
GET   /{flow}/fields
POST  /{flow}/fields
GET   /{flow}/fields/{field}
PUT   /{flow}/fields/{field}
DELETE /{flow}/fields/{field}
GET   /{flow}/forms
POST  /{flow}/forms
GET   /{flow}/forms/{form}
PUT   /{flow}/forms/{form}
DELETE /{flow}/forms/{form}
GET   /{flow}/links
POST  /{flow}/links
GET   /{flow}/links/{linkId}
PUT   /{flow}/links/{linkId}
DELETE /{flow}/links/{linkId}
GET   /{flow}/locales
GET   /{flow}/locales/{locale}
GET   /{flow}/locales/{locale}/2faMessages
POST  /{flow}/locales/{locale}/2faMessages
GET   /{flow}/locales/{locale}/2faMessages/{messageId}
PUT   /{flow}/locales/{locale}/2faMessages/{messageId}
GET   /{flow}/locales/{locale}/fields
POST  /{flow}/locales/{locale}/fields
PUT   /{flow}/locales/{locale}/fields/{field}
GET   /{flow}/locales/{locale}/mailTemplates
GET   /{flow}/locales/{locale}/mailTemplates/{template}
PUT   /{flow}/locales/{locale}/mailTemplates/{template}
GET   /{flow}/locales/{locale}/mailTemplates/{template}/body
GET   /{flow}/locales/{locale}/mailTemplates/{template}/subject
PUT   /{flow}/locales/{locale}/mailTemplates/{template}/subject
GET   /{flow}/translations
PATCH /{flow}/translations
""".strip().splitlines():
    method, _, path = operation.partition(" ")
    placeholder(router, method, path.strip())
