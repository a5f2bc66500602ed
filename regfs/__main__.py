"""``python -m regfs``: the ``regfs`` command."""

from __future__ import annotations

import sys

from regfs.cli import main

if __name__ == "__main__":
    sys.exit(main(program="python -m regfs"))
