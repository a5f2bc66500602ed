"""``python -m regfs.local`` starts a server and prints how to reach it."""

from __future__ import annotations

import sys

from regfs.local.server import main

if __name__ == "__main__":
    sys.exit(main())
