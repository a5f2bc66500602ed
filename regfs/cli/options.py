"""The options that all verbs share, and how their values are written."""

from __future__ import annotations

import contextlib
import functools
import re
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import click

from regfs.cli.errors import Refusal
from regfs.cli.output import Output, visible
from regfs.cli.place import Place

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_PART = re.compile(rf"(\d{{1,9}})([{''.join(_UNITS)}]?)", re.ASCII)
_DURATION = re.compile(rf"(?:\d{{1,9}}[{''.join(_UNITS)}])*\d{{1,9}}[{''.join(_UNITS)}]?", re.ASCII)
_LONGEST = timedelta(days=100 * 365)
"""Longer times cannot be subtracted from today."""


class Duration(click.ParamType):  # type: ignore[type-arg]  # before click 8.2 it takes none
    """A time with its unit: ``90s``, ``20m``, ``12h``, ``7d``, ``2w``, or several, ``1d12h``.

    ``0`` alone needs no unit.
    """

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Read a time."""
        if isinstance(value, timedelta):
            return value
        text = str(value).strip()
        if not _DURATION.fullmatch(text):
            self.fail(f"{value!r}: must be a number and a unit, as 90s, 20m, 12h, 7d, 2w, 1d12h", param, ctx)
        parts = _PART.findall(text)
        if text.strip("0") and not parts[-1][1]:
            self.fail(f"{value!r}: give a unit, as 7d, 12h, 20m or 90s", param, ctx)
        seconds = sum(int(number) * _UNITS[unit or "s"] for number, unit in parts)
        if seconds > _LONGEST.total_seconds():
            self.fail(f"{value!r}: must be at most {_LONGEST.days}d", param, ctx)
        return timedelta(seconds=seconds)


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

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        from regfs.parameters.table import PARAMETERS

        return [CompletionItem(f"{key}=") for key in PARAMETERS if key.startswith(incomplete)]


SETTING = _Setting()
"""``KEY=VALUE``, a tuple of the two."""


def global_options(*, environment: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that adds ``--config``, ``-o``, ``--json`` and ``--header``.

    Parameters
    ----------
    environment : bool
        Whether ``REGFS_CONFIG`` is read. Before the verb it is not: what follows may name another file.
    """
    variable = "REGFS_CONFIG"
    options = [
        click.option(
            "--config",
            envvar=variable if environment else None,
            metavar="FILE",
            type=click.Path(dir_okay=False),
            help=f"The registry's config.yml.  [env var: {variable}]",
        ),
        click.option(
            "-o",
            "--option",
            "given",
            multiple=True,
            type=SETTING,
            metavar="KEY=VALUE",
            help="A storage parameter, before those of the file; may be repeated. "
            "Other users of the machine can see it: keep secrets in the file or the environment.",
        ),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON document."),
        click.option("--header", is_flag=True, help="Print the heading of a table in pipes, too."),
    ]

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def shared(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the global options to a verb, whose first two arguments become a Place and an Output.

    It stands closest to the function, so that a verb's help lists its own options first.
    """

    @global_options(environment=True)
    @functools.wraps(function)
    def call(*args: Any, config: object, given: object, as_json: bool, header: bool, **kwargs: Any) -> Any:
        context = click.get_current_context()
        before = _before_verb(context)
        if before.get("quiet") and "quiet" not in kwargs:
            raise click.NoSuchOption("-q", ctx=context)
        quiet = bool(kwargs.pop("quiet", False) or before.get("quiet"))
        place = place_of(context)
        as_json = as_json or before.get("as_json", False)
        out = Output(as_json, quiet, header or before.get("header", False), place.opened)
        return function(place, out, *args, **kwargs)

    return call


def place_of(context: click.Context) -> Place:
    """Return the place that the options before and after a verb name.

    Parameters
    ----------
    context : click.Context
        The verb's.

    Raises
    ------
    Refusal
        ``--config`` stands before and after the verb, with different values.
    """
    before = _before_verb(context)
    config, first = context.params.get("config"), before.get("config")
    if first is not None:
        if config not in (None, first) and _typed(context, "config"):
            raise Refusal(f"--config: is given twice, as {first} and as {config}; give one")
        config = first
    return Place(config, dict((*(before.get("given") or ()), *(context.params.get("given") or ()))))


def _before_verb(context: click.Context) -> dict[str, Any]:
    """Return the options that were typed before the verb."""
    group = context.find_root()
    if group is context:
        return {}
    return {name: value for name, value in group.params.items() if _typed(group, name)}


def _typed(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask.")
"""For verbs that destroy something; see :func:`confirm`."""

quiet_option = click.option(
    "--quiet",
    "-q",
    is_flag=True,
    help="Print no changes and no sums: only errors, questions, a list that was asked for, and with --json "
    "the document.",
)
"""For verbs that change something; see :class:`~regfs.cli.output.Output`."""

sizes_option = click.option(
    "--human/--bytes", " /-b", default=True, help="Sizes for reading (default), or in bytes."
)
"""For verbs that print sizes."""


def confirm(question: str, yes: bool, show: Callable[[], object] = lambda: None) -> bool:
    """Ask for confirmation before something is destroyed.

    Parameters
    ----------
    question : str
        What would be done, with its size and its place.
    yes : bool
        Whether ``--yes`` was given.
    show : callable
        Prints what the question is about, before it is asked: to stderr where stdout is no terminal, as
        what is printed there has been done.

    Returns
    -------
    bool
        Whether `show` has printed to stdout.

    Raises
    ------
    Refusal
        The answer is no or the end of the input (Ctrl-D), or there is no terminal to ask on.
    """
    if yes:
        return False
    if not sys.stdin.isatty():
        raise Refusal(f"{question} Nobody is there to ask: give --yes")
    visibly = sys.stdout.isatty()
    with contextlib.nullcontext() if visibly else contextlib.redirect_stdout(sys.stderr):
        show()
    try:
        agreed = click.confirm(visible(question), err=True)
    except click.Abort as exc:
        if not isinstance(exc.__context__, EOFError):
            raise
        click.echo(err=True)
        agreed = False
    if not agreed:
        raise Refusal("nothing was done")
    return visibly
