"""All operations of Akamai Identity Cloud, each respecting the allow list or ignoring it as its documentation says.

    uvicorn examples.identity_cloud:app --no-proxy-headers

keeps everything in memory, or in the SQLite file that `IDENTITY_CLOUD_DATABASE` names.
"""

import atexit
import os

from examples.identity_cloud.application import make_app
from examples.identity_cloud.demonstration import add_demonstration
from examples.identity_cloud.store import Store

store = Store(os.environ.get("IDENTITY_CLOUD_DATABASE", ":memory:"))
atexit.register(store.close)
add_demonstration(store)
app = make_app(store)
