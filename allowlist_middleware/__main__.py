"""The command as `python -m allowlist_middleware`, and what it says where its library is not installed."""

from __future__ import annotations

import sys

try:
    from allowlist_middleware.cli import main
except ModuleNotFoundError as missing:
    if missing.name != "click":
        raise
    sys.stderr.write("allowlist-middleware: install its extra: pip install 'allowlist_middleware[cli]'\n")
    raise SystemExit(2) from None

if __name__ == "__main__":
    main()
