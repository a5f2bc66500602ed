"""Starts the benchmark, as a module (``-m tests.benchmarks``) or as a directory (``tests/benchmarks``)."""

import sys
from pathlib import Path

if __name__ == "__main__":
    if __package__:
        from .cli import main
    else:  # as a directory, which Python puts where the directory above has to be
        sys.path[0] = str(Path(__file__).absolute().parent.parent)
        from benchmarks.cli import main
    sys.exit(main())
