"""The ``regfs`` command: where it begins.

It imports nothing but itself, so that a missing extra is reported in one line. The commands are listed in
:mod:`regfs.cli.group`.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

MISSING = 'the command needs click and rich: pip install "regfs[cli]"'
"""The message where the extra is missing."""


def main(arguments: Sequence[str] | None = None, program: str = "regfs") -> int:
    """Run the command.

    Parameters
    ----------
    arguments : sequence of str, optional
        The command line; the process's own by default.
    program : str
        What the command is called in usages.

    Returns
    -------
    int
        The exit code: :class:`regfs.cli.errors.Code`.
    """
    for name in ("stdout", "stderr"):  # None where the shell has closed it
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - for as long as the process lives
    try:
        group = importlib.import_module("regfs.cli.group")
    except KeyboardInterrupt:
        return 130
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] not in ("click", "rich"):
            raise
        sys.stderr.write(f"regfs: {MISSING}\n")
        return 2
    code: int = group.run(arguments, program)
    return code
