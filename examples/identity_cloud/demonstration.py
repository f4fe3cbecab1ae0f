"""The clients and tokens of the demonstration. Their secrets are published here: never use them anywhere else."""

from __future__ import annotations

from allowlist_middleware import ANYWHERE, AllowList
from examples.identity_cloud.store import Store

SECRETS = {
    "acme": "3q8vt5n7x2h6k4m9c1w0z8r5b2j7f6d4",
    "signer": "9d4f2k7m1x8c6v3b5n0z2q8w4r6t1y7h",
    "partner": "5h2j8k4l9z1x7c3v6b0n2m8q4w1e9r5t",
    "retired": "1a7s3d9f5g2h8j4k6l0z3x7c9v1b5n2m",
}
LOGIN_CLIENT = ("login-page", "7u3i9o5p1a8s4d2f6g0h7j3k9l5z1x8c")
BEARER_TOKEN = "4t8y2u6i1o9p5a3s7d0f4g8h2j6k1l9z"
API_KEY = "6b1n9m5q3w7e2r8t4y0u6i1o9p5a3s7d"


def add_demonstration(store: Store) -> None:
    """Add the clients and tokens to a store that lacks them."""
    if store.find_client("acme") is not None:
        return
    home = AllowList(["192.168.0.0/20"])
    store.add_client("acme", SECRETS["acme"], allow_list=home, description="Manages clients", features=["owner"])
    store.add_client("signer", SECRETS["signer"], allow_list=home, description="Signs its calls", signs=True)
    store.add_client("partner", SECRETS["partner"], allow_list=ANYWHERE, description="May call from everywhere")
    store.add_client("retired", SECRETS["retired"], allow_list=AllowList([]), description="May call from nowhere")
    store.add_client(*LOGIN_CLIENT, description="The login page", kind="login")
    store.add_token("bearer", "configuration", BEARER_TOKEN)
    store.add_token("api-key", "social", API_KEY)
