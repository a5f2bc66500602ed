"""The verb ``summary``: the figures that an operator watches, for a person, a cron job, or Prometheus."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from regfs.cli.errors import Code, Failure, Refusal
from regfs.cli.options import Duration, quiet_option, shared
from regfs.cli.output import Output, counted, duration, visible, when
from regfs.cli.place import Place, located
from regfs.cli.scanning import catalog, check_file, ignore_option, labelled, url_argument, write_file
from regfs.units import format_size

if TYPE_CHECKING:
    from regfs.catalog.conditions import Condition
    from regfs.catalog.summary import Summary
    from regfs.filesystem.spec import RegistryFileSystem

_LARGEST = 5
"""Repositories that are named on a terminal."""


class _ConditionText(click.ParamType):  # type: ignore[type-arg]  # before click 8.2 it takes none
    """``FIGURE OPERATOR VALUE``, a :class:`~regfs.catalog.conditions.Condition`."""

    name = "condition"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from regfs.catalog.conditions import Condition, ConditionError

        try:
            return value if isinstance(value, Condition) else Condition.parse(str(value))
        except ConditionError as exc:
            raise Refusal(f"--fail-if {exc}") from exc


@click.command()
@url_argument
@click.option(
    "--older-than",
    type=Duration(),
    default="24h",
    show_default=True,
    help="The age from which orphaned blobs count, as 12h or 7d; 0: of any age.",
)
@click.option("--fsck/--no-fsck", default=True, help="With what fsck finds (default), or without.")
@ignore_option
@click.option(
    "--fail-if",
    "conditions",
    multiple=True,
    type=_ConditionText(),
    metavar="CONDITION",
    help="Exit with 5 if it holds, as 'orphaned > 10GiB' or 'errors > 0'. May be repeated.",
)
@click.option("--prometheus", "file", metavar="FILE.prom", help="Write the figures for node exporter.")
@click.option("--per-repository", is_flag=True, help="With --prometheus: a series for each repository, too.")
@quiet_option
@shared
@click.pass_context
def summary(
    ctx: click.Context,
    place: Place,
    out: Output,
    url: str,
    *,
    older_than: timedelta,
    fsck: bool,
    ignore: tuple[Any, ...],
    conditions: tuple[Condition, ...],
    file: str | None,
    per_repository: bool,
) -> None:
    """Show usage, orphans, uploads and findings, of one scan.

    Where orphans cannot be known (see "regfs orphans --help"), their figures are left out, with the reason;
    they are never 0 then.

    \b
    A condition is FIGURE OPERATOR VALUE.
    operators  >  >=  <  <=  ==  !=
    sizes      total, logical, stored, unique, shared, link, unknown,
               orphaned, upload, pending             as 10GiB, 10GB, 500MB
    counts     repositories, tags, manifests, blobs, orphans, uploads,
               findings, errors, warnings            as 5
    durations  oldest-upload                         as 12h, 7d

    Each condition that holds is a line on stderr, and the exit code is 5. A condition over a figure that
    cannot be known is a line too, and the exit code is 1 if no other one holds.

    --prometheus replaces the file at once, for node exporter's directory of textfiles: gauges "regfs_…" with
    the labels bucket and root, and the time of the scan. If the scan fails, the old file stays.

    JSON: an object with the figures (null: unknown, for the reason in problems), older_than in seconds,
    kinds of findings, ignored, and conditions.
    """  # noqa: D301 - \b is click's
    if per_repository and file is None:
        raise Refusal("--per-repository: is for --prometheus FILE")
    for condition in conditions:
        if not fsck and condition.figure in ("findings", "errors", "warnings"):
            raise Refusal(f"--fail-if {condition}: --no-fsck leaves the findings out; give one of the two")
    if file is not None:
        _check_metrics(file)
    with catalog(place, url, configs=fsck) as registry:
        result = registry.summary(older_than, fsck=fsck, ignore=ignore)
    fs = registry.source.fs
    if file is not None:
        _write_metrics(file, result, fs, per_repository=per_repository)
    if out.as_json:
        out.record(_record(result, conditions))
    elif not out.quiet and out.for_reading:
        out.lines(labelled(_sentences(result, located(fs))))
    elif not out.quiet:
        out.record(result.figures)
        for name, reason in result.problems.items():
            click.echo(f"regfs: {name}: unknown: {reason}", err=True)
    _check(ctx, result, conditions)


def _check_metrics(file: str) -> None:
    try:
        import regfs.catalog.metrics  # noqa: F401 - before the scan
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] != "prometheus_client":
            raise
        ways = 'pip install "regfs[prometheus]"'
        raise Refusal(f"--prometheus needs prometheus_client: {ways}") from exc
    if not file.endswith(".prom"):
        raise Refusal(f"--prometheus {file}: node exporter reads only files whose names end in .prom")
    check_file(file, "metrics", overwrite=True)


def _write_metrics(file: str, result: Summary, fs: RegistryFileSystem, *, per_repository: bool) -> None:
    from regfs.catalog.metrics import exposition

    root = fs.parameters.root_directory or "/"
    write_file(file, exposition(result, fs.space.bucket, root, per_repository=per_repository))


def _record(result: Summary, conditions: Sequence[Condition]) -> dict[str, Any]:
    figures = result.figures
    return {
        "taken": result.taken,
        "ended": result.ended,
        "database_in_use": result.database_in_use,
        **figures,
        "older_than": result.older_than.total_seconds(),
        "problems": result.problems,
        "kinds": [
            {"severity": severity, "kind": kind, "findings": count} for severity, kind, count in result.kinds
        ],
        "ignored": result.ignored,
        "changes": result.changes,
        "conditions": [
            {
                "condition": str(condition),
                "value": figures[condition.figure],
                "holds": condition.holds(result),
            }
            for condition in conditions
        ],
    }


def _check(ctx: click.Context, result: Summary, conditions: Sequence[Condition]) -> None:
    """Print the conditions that hold or cannot be checked, and exit accordingly."""
    unknown = []
    failed = False
    for condition in conditions:
        holds = condition.holds(result)
        if holds is None:
            reason = result.problems[condition.figure]
            unknown.append(f"{condition}: cannot be checked: {reason}")
        elif holds:
            failed = True
            value = result.figures[condition.figure]
            click.echo(f"regfs: {condition}: it is {_shown(condition.figure, value)}", err=True)
    for line in unknown if failed else unknown[:-1]:
        click.echo(f"regfs: {visible(line)}", err=True)
    if failed:
        ctx.exit(Code.FINDINGS)
    if unknown:
        raise Failure(unknown[-1])


def _shown(figure: str, value: Any) -> str:
    from regfs.catalog.summary import FIGURES

    unit = FIGURES[figure].unit
    if unit == "bytes":
        return format_size(value)
    return _age(value) if unit == "seconds" else f"{value:,}"


def _age(seconds: float) -> str:
    """Return an age, rounded to its largest unit."""
    for unit in (86_400, 3600, 60):
        if seconds >= unit:
            return duration(timedelta(seconds=seconds // unit * unit))
    return duration(timedelta(seconds=int(seconds)))


def _sentences(result: Summary, where: str) -> Iterator[tuple[str, str]]:
    f: dict[str, Any] = result.figures
    yield "Registry", where
    yield (
        "Scan",
        f"{when(result.taken)} UTC"
        + (f"; {counted(result.changes, 'file')} came or went meanwhile" if result.changes else ""),
    )
    repositories = f"{f['repositories']:,} {'repository' if f['repositories'] == 1 else 'repositories'}"
    nouns = ("tag", "manifest", "blob")
    yield "Content", ", ".join([repositories, *(counted(f[f"{noun}s"], noun) for noun in nouns)])
    yield (
        "Stored",
        (
            f"{format_size(f['stored_bytes'])}: {format_size(f['unique_bytes'])} unique, "
            f"{format_size(f['shared_bytes'])} shared; "
            f"{format_size(f['logical_bytes'])} if nothing were shared"
        ),
    )
    yield "In all", f"{format_size(f['total_bytes'])} with links, orphans, uploads and unknown files"
    yield "Orphaned", _orphans(result, f)
    yield "Uploads", _uploads(f)
    yield "Findings", _findings(result, f)
    largest = sorted(result.usage.repositories, key=lambda item: (-item.stored_bytes, item.repository))
    for number, repository in enumerate(largest[:_LARGEST]):
        label = "Largest" if number == 0 else ""
        yield label, f"{format_size(repository.stored_bytes):>8}  {repository.repository}"


def _orphans(result: Summary, figures: dict[str, Any]) -> str:
    plan = result.orphans
    if plan is None:
        return f"unknown: {result.orphans_problem}"
    age = f" older than {duration(plan.older_than)}" if plan.older_than else ""
    younger = f" ({plan.younger:,} younger, {format_size(plan.younger_bytes)})" if plan.younger else ""
    if not plan.blobs:
        return f"no blobs{age}{younger}"
    return f"{format_size(figures['orphaned_bytes'])} in {counted(len(plan.blobs), 'blob')}{age}{younger}"


def _uploads(figures: dict[str, Any]) -> str:
    pending = figures["pending_bytes"]
    parts = (
        "parts unknown: S3 refuses to list them" if pending is None else f"{format_size(pending)} of parts"
    )
    if not figures["uploads"]:
        return "none unfinished" + ("" if pending is not None else f"; {parts}")
    return (
        f"{figures['uploads']:,} unfinished, the oldest {_age(figures['oldest_upload'])} old; "
        f"{format_size(figures['upload_bytes'])} of files, {parts}"
    )


def _findings(result: Summary, figures: dict[str, Any]) -> str:
    if result.findings is None:
        return "not looked for (--no-fsck)"
    ignored = f", {result.ignored:,} ignored" if result.ignored else ""
    kinds = "; ".join(f"{kind} {count:,}" for _, kind, count in result.kinds)
    sums = f"{counted(figures['errors'], 'error')}, {counted(figures['warnings'], 'warning')}{ignored}"
    return f"{sums}: {kinds}" if kinds else sums
