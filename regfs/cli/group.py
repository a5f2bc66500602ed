"""The table of verbs. A verb's module is imported when it is called, so that help is quick."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import logging
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import click
from click.shell_completion import CompletionItem

from regfs._version import __version__
from regfs.cli.errors import MEANING, Code, Interrupted, told


class Verb(NamedTuple):
    """A row of the table: the module of :mod:`regfs.cli` that holds the command, and what it does."""

    module: str
    help: str


VERBS: dict[str, dict[str, Verb]] = {
    "Files": {
        "ls": Verb("files", "List directories and files."),
        "stat": Verb("files", "Show all there is to know of a file or directory."),
        "cat": Verb("files", "Write files to stdout, one after the other."),
        "cp": Verb("changes", "Copy files: up, down, or between buckets."),
        "mv": Verb("changes", "Move files: up, down, within a bucket or between buckets."),
        "rm": Verb("changes", "Remove files, and directories with -r."),
        "du": Verb("files", "Tell what a directory takes, by its children."),
        "url": Verb("files", "Make a URL that needs no credentials for a while."),
    },
    "Registry": {
        "repos": Verb("registry", "List the repositories, with what each has."),
        "tags": Verb("registry", "List the tags of a repository, with what each names."),
        "show": Verb("image", "Show all there is to tell of an image, an index or an artifact."),
        "files": Verb("image", "List the files in an image's layers."),
        "usage": Verb("registry", "Tell which repository, or which tag, uses how much."),
        "export": Verb("share", "Write all there is to know as Parquet files."),
        "report": Verb("share", "Write a page about all of it, to be read in a browser."),
    },
    "Care": {
        "orphans": Verb("care", "List the blobs that nothing needs, and --apply their deletion."),
        "fsck": Verb("care", "Look for what is broken, and tell what a pull would get."),
        "uploads": Verb("uploads", "List uploads that were never ended, and --abort them."),
        "doctor": Verb("doctor", "Check all that a registry's driver needs, and say what to change."),
    },
}
"""All verbs, by the sections of the help. The command of the verb "a-b" is the module's function ``a_b``."""

_ABOUT = """A container registry's S3 bucket on the command line.

A path is regfs://BUCKET/a/b, or /a/b (regfs:///a/b) where the bucket comes from elsewhere. cp and mv also
take local paths, so there a path in the bucket always begins with regfs:.

The bucket and its parameters are those of the registry: of its config.yml (--config FILE or REGFS_CONFIG),
of REGISTRY_STORAGE_S3_<KEY> in the environment, and of -o KEY=VALUE, the later before the earlier.
Without accesskey and secretkey, credentials are looked for as AWS' tools do: environment, profile, web
identity, container, instance.
"""


class Commands(click.Group):
    """The group, which imports no verb before it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Give the verbs' names."""
        return [name for verbs in VERBS.values() for name in verbs]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a verb."""
        for verbs in VERBS.values():
            if cmd_name in verbs:
                module = importlib.import_module(f"regfs.cli.{verbs[cmd_name].module}")
                command = getattr(module, cmd_name.replace("-", "_"))
                assert isinstance(command, click.Command)  # noqa: S101 - the table is wrong otherwise
                return command
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb that was asked for, or name the nearest."""
        if args[0] not in self.list_commands(ctx) and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], self.list_commands(ctx), 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            ctx.fail(f"there is no verb {args[0]!r}{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the verbs by sections, and the exit codes."""
        for section, verbs in VERBS.items():
            with formatter.section(section):
                formatter.write_dl([(name, verb.help) for name, verb in verbs.items()])
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code.value), text) for code, text in MEANING.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete a verb's name out of the table."""
        found = [
            CompletionItem(name, help=verb.help)
            for verbs in VERBS.values()
            for name, verb in verbs.items()
            if name.startswith(incomplete)
        ]
        return found or click.Command.shell_complete(self, ctx, incomplete)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a verb, and turn what it raises into one line and an exit code."""
        with told():
            result = super().invoke(ctx)
            sys.stdout.flush()  # here, where a broken pipe can still be told
            return result


@click.group(cls=Commands, help=_ABOUT, context_settings={"max_content_width": 110})
@click.version_option(__version__, prog_name="regfs")
def cli() -> None:
    """Carry the verbs."""


def run(arguments: Sequence[str] | None, program: str) -> int:
    """Run the command as a process of its own.

    Parameters
    ----------
    arguments : sequence of str, optional
        The command line; the process's own by default.
    program : str
        What the command is called in usages.

    Returns
    -------
    int
        The exit code.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):  # replaced by something that is no text file
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # as above
    with _ended_by_signals(), _warned_in_lines():
        try:
            cli.main(
                None if arguments is None else list(arguments),
                prog_name=program,
                complete_var="_REGFS_COMPLETE",
            )
        except SystemExit as exc:  # click's way to say it
            return exc.code if isinstance(exc.code, int) else Code.FAILED
        except KeyboardInterrupt:  # before a verb has begun
            return Code.INTERRUPTED


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end a verb as Ctrl-C does: through all that it has to tidy up.

    That may take a while, so Ctrl-C is told of at once; another one leaves it at that.
    """

    def end(number: int, _: object) -> None:
        if number != signal.SIGINT:
            raise SystemExit(128 + number)
        click.echo("regfs: interrupted", err=True)
        raise Interrupted

    ours: dict[signal.Signals, Any] = {signal.SIGINT: signal.default_int_handler}
    ours |= dict.fromkeys((signal.SIGTERM, signal.SIGHUP), signal.SIG_DFL)
    free = [number for number, handler in ours.items() if signal.getsignal(number) == handler]
    before = {number: signal.signal(number, end) for number in free}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _warned_in_lines() -> Iterator[None]:
    """Write warnings to stderr in one line each, as everything else."""
    logger, handler = logging.getLogger("regfs"), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("regfs: %(levelname)s: %(message)s"))
    logger.addHandler(handler)
    try:
        with warnings.catch_warnings():
            if not sys.warnoptions:
                warnings.simplefilter("ignore")  # what is for the user is logged as well
            yield
    finally:
        logger.removeHandler(handler)
