"""An API's "Respects API Client Allow List: Yes / No" line, made executable for Starlette and FastAPI.

from allowlist_middleware import AllowListMiddleware, AllowLists, respects_allow_list

app = FastAPI()
app.add_middleware(AllowListMiddleware, allow_lists=AllowLists({"acme": ["192.168.0.0/20"]}))

@app.get("/entity")
@respects_allow_list(True)
async def entity(client: Annotated[str, Depends(check_secret)]): ...
"""

from allowlist_middleware.annotations import respects_allow_list
from allowlist_middleware.credentials import UnreadableCredentials, basic_client
from allowlist_middleware.denial import Denial
from allowlist_middleware.errors import AllowListError
from allowlist_middleware.middleware import AllowListMiddleware
from allowlist_middleware.networks import ANYWHERE, AllowList
from allowlist_middleware.policy import Decision, Reason
from allowlist_middleware.sources.memory import AllowLists

__all__ = [
    "ANYWHERE",
    "AllowList",
    "AllowListError",
    "AllowListMiddleware",
    "AllowLists",
    "Decision",
    "Denial",
    "Reason",
    "UnreadableCredentials",
    "basic_client",
    "respects_allow_list",
]

__version__ = "0.1.0"
