"""The options that all verbs share, and how their values are written."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import click

from regfs.cli.errors import Refusal
from regfs.cli.output import Output
from regfs.cli.place import Place

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_DURATION = re.compile(rf"(\d+)([{''.join(_UNITS)}]?)")


class Duration(click.ParamType):  # type: ignore[type-arg]  # before click 8.2 it takes none
    """A time: ``90`` or ``90s`` seconds, ``20m``, ``12h``, ``7d``, ``2w``."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Read a time."""
        if isinstance(value, timedelta):
            return value
        found = _DURATION.fullmatch(str(value).strip())
        if not found or len(found[1]) > 9:
            self.fail(f"{value!r}: must be a number and a unit, as 90s, 20m, 12h, 7d, 2w", param, ctx)
        return timedelta(seconds=int(found[1]) * _UNITS[found[2] or "s"])


class _Setting(click.ParamType):  # type: ignore[type-arg]  # as above
    name = "key=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        key, equals, setting = str(value).partition("=")
        if not equals or not key.strip():
            # Not the value: it may be a secret whose key was forgotten.
            self.fail("must be KEY=VALUE, as bucket=registry", param, ctx)
        return key.strip(), setting


SETTING = _Setting()
"""``KEY=VALUE``, a tuple of the two."""


def shared(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb ``--config``, ``-o`` and ``--json``, as its first two arguments: a Place and an Output.

    It stands closest to the function, so that a verb's help tells its own options first.
    """

    @click.option(
        "--config",
        envvar="REGFS_CONFIG",
        show_envvar=True,
        metavar="FILE",
        type=click.Path(dir_okay=False),
        help="The registry's config.yml.",
    )
    @click.option(
        "-o",
        "--option",
        "given",
        multiple=True,
        type=SETTING,
        metavar="KEY=VALUE",
        help="A storage parameter, before those of the file; may be repeated. "
        "Others of this machine can see it: secrets belong into the file or the environment.",
    )
    @click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
    @functools.wraps(function)
    def call(
        *args: Any, config: str | None, given: tuple[tuple[str, str], ...], as_json: bool, **kwargs: Any
    ) -> Any:
        return function(Place(config, dict(given)), Output(as_json), *args, **kwargs)

    return call


yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask.")
"""For verbs that destroy something; see :func:`confirm`."""


def confirm(question: str, yes: bool) -> None:
    """Ask before something is destroyed.

    Parameters
    ----------
    question : str
        What would be done, with its size.
    yes : bool
        Whether ``--yes`` was given.

    Raises
    ------
    Refusal
        The answer is no, or there is nobody to ask.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise Refusal(f"{question} Nobody is there to ask: give --yes")
    if not click.confirm(question, err=True):
        raise Refusal("nothing was done")
