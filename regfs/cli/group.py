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
from click.shell_completion import CompletionItem, add_completion_class

from regfs._version import __version__
from regfs.cli.completion import Bash
from regfs.cli.errors import MEANING, Code, Interrupted, reported
from regfs.cli.options import global_options, quiet_option


class Verb(NamedTuple):
    """A row of the table: the module of :mod:`regfs.cli` that holds the command, and what it does."""

    module: str
    help: str


VERBS: dict[str, dict[str, Verb]] = {
    "Files": {
        "ls": Verb("files", "List directories and files."),
        "stat": Verb("files", "Show a file's or directory's properties."),
        "cat": Verb("files", "Write files to stdout: of the bucket, or out of an image."),
        "cp": Verb("changes", "Copy files: up, down, or between buckets."),
        "mv": Verb("changes", "Move files: up, down, within a bucket or between buckets."),
        "rm": Verb("changes", "Remove files, and directories with -r."),
        "du": Verb("files", "Show disk usage per child."),
        "url": Verb("files", "Print a presigned URL."),
    },
    "Registry": {
        "repos": Verb("registry", "List the repositories, with what each has."),
        "tags": Verb("registry", "List the tags of a repository, with what each names."),
        "show": Verb("image", "Show an image, an index or an artifact."),
        "files": Verb("content", "List the files in an image, by size, by directory, or those wasted."),
        "extract": Verb("content", "Write the files of an image into a local directory."),
        "usage": Verb("registry", "Show which repository uses how much, or why one is so large."),
        "who": Verb("uses", "Show who uses a layer, a configuration or a manifest."),
        "diff": Verb("diff", "Show what changed between two images, two exports, or an export and now."),
        "export": Verb("share", "Write everything as Parquet files."),
        "report": Verb("share", "Write a page with all of it, to read in a browser."),
    },
    "Care": {
        "summary": Verb("summary", "Show usage, orphans, uploads and findings; for cron and Prometheus."),
        "orphans": Verb("care", "List the blobs that nothing needs, and --apply their deletion."),
        "fsck": Verb("care", "Check for broken links, manifests and blobs."),
        "uploads": Verb("uploads", "List pending uploads, and --abort them."),
        "doctor": Verb("doctor", "Check a configuration against its bucket, and say what to change."),
    },
}
"""All verbs, by the sections of the help. The command of the verb "a-b" is the module's function ``a_b``."""

_ELSEWHERE = {
    name: meant
    for meant, names in {
        "repos": "catalog image images repo repositories repository search",
        "ls, or repos": "list",
        "tags": "history tag untagged versions",
        "show": "describe digest get-manifest inspect layers manifest",
        "files": "content contents dive tree wasted",
        "extract": "untar unpack",
        "usage": "df disk-usage sizes space system",
        "orphans": "cleanup clean garbage garbage-collect gc prune vacuum",
        "who": "referrers uses used-by whose why",
        "fsck": "audit check damaged validate verify",
        "diff": "changed changes compare delta",
        "doctor": "diagnose ping test",
        "rm": "del delete remove unlink",
        "cp": "copy download get push pull put save sync upload",
        "mv": "move rename",
        "ls": "dir find",
        "stat": "head info",
        "cat": "print read",
        "url": "presign sign",
        "export": "dump parquet tables",
        "report": "html page",
        "uploads": "abort multipart parts",
        "summary": "cron metrics monitor overview prometheus status stats",
    }.items()
    for name in names.split()
}
"""What other tools call a verb. docker, skopeo, crane, regctl, s5cmd, aws s3 and mc were looked at."""

_ABOUT = """A container registry's S3 bucket on the command line.

A path is regfs://BUCKET/a/b, or /a/b (regfs:///a/b) where the bucket comes from elsewhere. cp and mv also
take local paths, so there a path in the bucket always begins with regfs:.

The bucket and its parameters are those of the registry: of its config.yml (--config FILE or REGFS_CONFIG),
of REGISTRY_STORAGE_S3_<KEY> in the environment, and of -o KEY=VALUE, the later before the earlier. These
options stand before the verb or after it; "regfs help VERB" and "regfs VERB -h" describe a verb.
Without accesskey and secretkey, credentials are looked for as AWS' tools do: environment, profile, web
identity, container, instance.
"""


class Commands(click.Group):
    """The group, which imports no verb before it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs' names, and help."""
        return [*(name for verbs in VERBS.values() for name in verbs), "help"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a verb."""
        if cmd_name == "help":
            return _help
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
        is_verb = args[0] in self.list_commands(ctx) or args[0].startswith("-")
        if not is_verb and not ctx.resilient_parsing:
            near = difflib.get_close_matches(args[0].lower(), self.list_commands(ctx), 1)
            meant = _ELSEWHERE.get(args[0].lower()) or (near[0] if near else "")
            hint = f"; did you mean {meant}?" if meant else ""
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
        items = _verbs(ctx, None, incomplete)
        return items or click.Command.shell_complete(self, ctx, incomplete)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a verb, and turn what it raises into one line and an exit code."""
        with _logged_in_lines(), reported():
            result = super().invoke(ctx)
            sys.stdout.flush()  # here, where a broken pipe can still be reported
            return result


def _verbs(_: click.Context, __: click.Parameter | None, incomplete: str) -> list[CompletionItem]:
    """Return the verbs whose names begin with a text."""
    return [
        CompletionItem(name, help=verb.help)
        for verbs in VERBS.values()
        for name, verb in verbs.items()
        if name.startswith(incomplete)
    ]


@click.command("help")
@click.argument("verb", default="", shell_complete=_verbs)
@click.pass_context
def _help(ctx: click.Context, verb: str) -> None:
    """Describe a verb, or list them all."""
    group = ctx.find_root()
    name, command, _ = cli.resolve_command(group, [verb]) if verb else (None, None, [])
    if command is None:
        click.echo(group.get_help())
        return
    with click.Context(command, info_name=name, parent=group) as described:
        click.echo(command.get_help(described))


@click.group(
    cls=Commands,
    help=_ABOUT,
    context_settings={"max_content_width": 110, "help_option_names": ["-h", "--help"]},
)
@global_options(environment=False)
@quiet_option
@click.version_option(__version__, prog_name="regfs")
def cli(**_: object) -> None:
    """Accept the global options, which :func:`regfs.cli.options.shared` hands to the verb."""


add_completion_class(Bash)


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
    with _ended_by_signals(), warnings.catch_warnings():
        if not sys.warnoptions:
            warnings.simplefilter("ignore")  # what is for the user is logged as well
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
    """End a verb on SIGTERM and SIGHUP as on Ctrl-C, after it has cleaned up.

    Cleaning up may take a while, so Ctrl-C is reported at once; another one ends it.
    """

    def end(number: int, _: object) -> None:
        if number != signal.SIGINT:
            raise SystemExit(128 + number)
        click.echo("regfs: interrupted", err=True)
        raise Interrupted

    handlers: dict[signal.Signals, Any] = {signal.SIGINT: signal.default_int_handler}
    handlers |= dict.fromkeys((signal.SIGTERM, signal.SIGHUP), signal.SIG_DFL)
    free = [number for number, handler in handlers.items() if signal.getsignal(number) == handler]
    before = {number: signal.signal(number, end) for number in free}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _logged_in_lines() -> Iterator[None]:
    """Write what is logged to stderr in one line each, as everything else."""
    logger, handler = logging.getLogger("regfs"), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("regfs: %(levelname)s: %(message)s"))
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
