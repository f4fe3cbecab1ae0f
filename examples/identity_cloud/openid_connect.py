"""OpenID Connect, OAuth 2 and Hosted Login: end users can always log in, whatever the list of the client they use."""

from __future__ import annotations

from fastapi import APIRouter

from allowlist_middleware import respects_allow_list
from examples.identity_cloud.credentials import BEARER, LOGIN_CLIENT
from examples.identity_cloud.placeholders import placeholder

router = respects_allow_list(False)(
    APIRouter(prefix="/{customerId}", tags=["OpenID Connect, OAuth 2, and Hosted Login"])
)

placeholder(router, "GET", "/login/authorize")
placeholder(router, "POST", "/login/token", LOGIN_CLIENT)
placeholder(router, "POST", "/{hostedLoginDomain}/login/token")
placeholder(router, "POST", "/login/token/introspect", LOGIN_CLIENT)
placeholder(router, "POST", "/login/token/revoke", LOGIN_CLIENT)
placeholder(router, "GET", "/login/.well-known/openid-configuration")
placeholder(router, "GET", "/login/jwk")
placeholder(router, "GET", "/profiles/oidc/userinfo", BEARER)
placeholder(router, "GET", "/config/clients", BEARER)
placeholder(router, "POST", "/config/clients", BEARER)
placeholder(router, "GET", "/config/clients/{oidcClientId}", BEARER)
placeholder(router, "PUT", "/config/clients/{oidcClientId}", BEARER)
placeholder(router, "DELETE", "/config/clients/{oidcClientId}", BEARER)
placeholder(router, "GET", "/config/clients/{oidcClientId}/secret", BEARER)
placeholder(router, "POST", "/config/clients/{oidcClientId}/secret", BEARER)
placeholder(router, "GET", "/config/loginPolicies", BEARER)
placeholder(router, "POST", "/config/loginPolicies", BEARER)
placeholder(router, "DELETE", "/config/loginPolicies", BEARER)
placeholder(router, "GET", "/config/loginPolicies/{loginPolicyId}", BEARER)
placeholder(router, "PUT", "/config/loginPolicies/{loginPolicyId}", BEARER)
placeholder(router, "GET", "/config/loginPolicies/{loginPolicyId}/pushClaims", BEARER)
placeholder(router, "PUT", "/config/loginPolicies/{loginPolicyId}/pushClaims", BEARER)
placeholder(router, "GET", "/config/loginPolicies/{loginPolicyId}/allowedResponseTypes", BEARER)
placeholder(router, "PUT", "/config/loginPolicies/{loginPolicyId}/allowedResponseTypes", BEARER)
placeholder(router, "GET", "/config/tokenPolicies", BEARER)
placeholder(router, "POST", "/config/tokenPolicies", BEARER)
