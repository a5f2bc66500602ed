"""The verbs that look for what should not be there: ``orphans``, ``fsck``."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from regfs.cli.dates import dated
from regfs.cli.errors import Code, Failure, Refusal
from regfs.cli.options import Duration, confirm, quiet_option, shared, sizes_option, yes_option
from regfs.cli.output import Column, Output, counted, duration, none_older, when
from regfs.cli.place import Place, is_remote, located
from regfs.cli.scanning import (
    catalog,
    check_file,
    ignore_option,
    open_source,
    plain,
    section,
    short,
    some,
    stages,
    url_argument,
)
from regfs.units import format_size

if TYPE_CHECKING:
    from regfs.catalog.fsck.findings import Ignore
    from regfs.catalog.orphans import Applied
    from regfs.catalog.plan import Orphan, Plan
    from regfs.catalog.source import Source

_NOW = "now"
"""What ``--apply`` without a file stands for."""


@click.command()
@url_argument
@click.option(
    "--older-than",
    type=Duration(),
    help="Leave out what was written or linked since then, as 12h or 7d; 0: nothing. [default: 24h]",
)
@click.option(
    "--plan",
    "save",
    metavar="FILE",
    help="Write the plan to a file, to apply it later; {date} and {time} in it are filled in, in UTC.",
)
@click.option("--overwrite", is_flag=True, help="With --plan: replace a file that is there.")
@click.option(
    "--apply",
    "applied",
    is_flag=False,
    flag_value=_NOW,
    metavar="[FILE]",
    help="Delete what the plan of a file names, or what is found now, as far as nothing needs it still.",
)
@click.option("--dry-run", is_flag=True, help="With --apply: look at everything again, and delete nothing.")
@click.option("--allow-most", is_flag=True, help="Even if that is more than half of the blobs or bytes.")
@yes_option
@quiet_option
@sizes_option
@shared
def orphans(
    place: Place,
    out: Output,
    url: str,
    *,
    older_than: timedelta | None,
    save: str | None,
    overwrite: bool,
    applied: str | None,
    dry_run: bool,
    allow_most: bool,
    yes: bool,
    human: bool,
) -> None:
    """List the blobs that no manifest of any repository needs, and --apply their deletion.

    They are what the registry's own "garbage-collect --dry-run" calls eligible. Nothing is deleted without
    --apply, which asks first. It looks at everything anew, and leaves alone what has come to be needed. A
    push that goes on meanwhile may count on an old blob: keep to an age that no push lasts, or set the
    registry to readonly. Afterwards restart a registry that caches blobs in memory.

    Refused where the links in the bucket cannot be the truth: GitLab's registry keeps its metadata in a
    database and has its own online garbage collection; and where no repository has a manifest, or more
    manifests belong to no repository than to one. Harbor keeps tags in its own database: use its collection.

    Before it asks, the plan is tried without deleting anything, so that the question counts what would
    go. Each blob is printed once it is deleted, unless it was listed before the question on the same
    terminal; what was skipped follows, and the sums on stderr. Exit code 1 if something could not be deleted.

    "repositories" are those that had a blob, as far as layer links show: deleting an image leaves these.

    JSON: an object with the plan (place, taken, older_than in seconds, blobs, bytes, incomplete, younger,
    younger_bytes); with --apply also deleted, skipped, failed and lost.
    """
    if applied is not None and is_remote(applied):
        raise Refusal(f"--apply {applied}: is no file; write the URL before --apply")
    from_file = applied not in (None, _NOW)
    if from_file and (save or older_than is not None):
        raise Refusal("--apply FILE: the plan stands already; --plan and --older-than are for a new one")
    if dry_run and applied is None:
        raise Refusal("--dry-run: is for --apply; without that nothing is deleted")
    if overwrite and save is None:
        raise Refusal("--overwrite: is for --plan FILE")
    if save is not None:
        save = dated(save)
        check_file(save, "plan", overwrite=overwrite)
    from regfs.catalog.guards import check_database
    from regfs.catalog.plan import Plan

    source = open_source(place, url)
    loaded = Plan.load(applied) if from_file and applied is not None else None
    check_database(source)  # before a long look that would be for nothing
    if loaded is not None:
        plan = loaded
    else:
        with catalog(place, url, configs=False) as found:
            age = timedelta(days=1) if older_than is None else older_than
            plan = found.orphans(age, allow_most=allow_most)
    if save is not None:
        plan.save(save)
    location = located(source.fs)
    if applied is not None:
        _apply(out, source, plan, location, dry_run=dry_run, allow_most=allow_most, yes=yes, human=human)
    elif out.as_json:
        out.record(plain(plan) | {"bytes": plan.bytes})
    else:
        _show_blobs(out.answer, plan.blobs, human)
        _show_sums(out, plan, location)
        for reason in plan.incomplete:
            click.echo(f"regfs: cannot be read, so nothing can be deleted: {reason}", err=True)
        if save is not None:
            out.summary(f"wrote {save}; regfs orphans --apply {save} deletes what it names")


def _show_blobs(out: Output, blobs: Sequence[Orphan], human: bool) -> None:
    out.table(_columns(human), _rows(out, blobs))


def _columns(human: bool) -> list[Column]:
    kind: Any = "size" if human else "bytes"
    columns = [Column("modified", "time", drop=1), Column("size", kind), Column("links", "number", drop=2)]
    return [*columns, Column("digest"), Column("repositories")]


def _rows(out: Output, blobs: Iterable[Orphan]) -> list[dict[str, Any]]:
    return [
        {**plain(blob), "digest": short(blob.digest, out), "repositories": some(blob.repositories, out)}
        for blob in blobs
    ]


def _show_sums(out: Output, plan: Plan, where: str) -> None:
    count = plan.younger
    younger = f"{count:,} younger {'one' if count == 1 else 'ones'}, {format_size(plan.younger_bytes)}"
    if not plan.blobs:
        out.summary(none_older("orphaned blobs", plan.older_than, younger if count else "", where))
        return
    age = f" older than {duration(plan.older_than)}" if plan.older_than else ""
    left = f" ({younger})" if count else ""
    out.summary(
        f"{counted(len(plan.blobs), 'orphaned blob')}{age}, {format_size(plan.bytes)}{left}, "
        f"as of {when(plan.taken)} UTC, in {where}"
    )


def _apply(
    out: Output,
    source: Source,
    plan: Plan,
    where: str,
    *,
    dry_run: bool,
    allow_most: bool,
    yes: bool,
    human: bool,
) -> None:
    from regfs.catalog.orphans import Applied, IncompletePlanError, apply

    if plan.incomplete:
        raise IncompletePlanError(plan.incomplete)
    if not plan.blobs and not out.as_json:
        _show_sums(out, plan, where)
        return
    result = Applied((), (), (), (), dry_run)
    done = "would delete" if dry_run else "deleted"
    blobs: list[Orphan] = []
    listed = False

    def carry_out(dry_run: bool, deleted: Callable[[Sequence[Orphan]], object]) -> Applied:
        with stages() as progress:
            return apply(source, plan, progress, dry_run=dry_run, deleted=deleted, allow_most=allow_most)

    def show(batch: Sequence[Orphan]) -> None:
        blobs.extend(batch)
        if not listed and not out.as_json:
            section(out, done.capitalize(), _columns(human), _rows(out, batch), done)

    def end() -> None:
        if out.as_json:
            out.record(plain(plan) | {"bytes": plan.bytes} | plain(result))
        out.summary(f"{done} {_much(blobs)}, in {where}")

    going: Sequence[Orphan] = plan.blobs
    if going and not dry_run:
        if sys.stdin.isatty() and not yes:
            trial = carry_out(True, lambda _: None)
            going, result = trial.deleted, replace(trial, deleted=(), dry_run=False)
        if going:
            skipped = len(plan.blobs) - len(going)
            but = f" ({skipped:,} of the plan {'is' if skipped == 1 else 'are'} skipped)" if skipped else ""
            listed = confirm(
                f"Delete {_much(going)}{but}, in {where}?",
                yes,
                lambda: None if out.as_json else _show_blobs(out, going, human),
            )
    if going:
        try:
            result = carry_out(dry_run, show)
        except BaseException:
            if blobs:
                result = Applied(tuple(blobs), (), (), (), dry_run)
                end()
            raise
    if not out.as_json:
        _show_others(out, result)
    end()
    bad = [*result.failed, *result.lost]
    if bad:
        first = f"{bad[0].digest}: {bad[0].reason}"
        raise Failure(f"{first}{f', and {len(bad) - 1} more' if len(bad) > 1 else ''}")


def _much(blobs: Sequence[Orphan]) -> str:
    return f"{counted(len(blobs), 'blob')}, {format_size(sum(blob.size for blob in blobs))}"


def _show_others(out: Output, result: Applied) -> None:
    groups = {"skipped": result.skipped, "failed": result.failed, "needed after all": result.lost}
    for title, skipped_blobs in groups.items():
        rows = [{"digest": short(blob.digest, out), "reason": blob.reason} for blob in skipped_blobs]
        section(out, title.capitalize(), [Column("digest"), Column("reason")], rows, title)


@click.command()
@url_argument
@click.option("--verify", is_flag=True, help="Read all blobs, and compare each with its digest.")
@ignore_option
@shared
@click.pass_context
def fsck(
    ctx: click.Context, place: Place, out: Output, url: str, *, verify: bool, ignore: tuple[Ignore, ...]
) -> None:
    """Check for broken links, manifests and blobs, and show what a pull gets.

    An "error" makes a pull fail; a "warning" does not yet: something that is not used, or that is
    left over, or a platform that an index lacks, as it may on purpose. All links and manifests are read;
    nothing is changed. Exit code 5 if there is an error that --ignore does not accept.

    An error names the tags of which a pull fails, and what to do about it.

    JSON: an object with findings, an array of objects with kind, severity, path, repository, detail, pull,
    breaks (an array of repository:tag, the first hundred), broken_tags (how many in all) and advice.
    """
    from regfs.catalog.fsck.findings import remaining

    with catalog(place, url) as found:
        every = found.fsck(verify=verify)
    findings = remaining(every, ignore)
    records = [{**plain(finding), "advice": finding.advice} for finding in findings]
    columns = [Column("severity"), Column("kind"), Column("path"), Column("detail"), Column("pull")]
    columns.append(Column("advice"))
    if out.for_reading:
        _show_findings(out, records)
    else:
        out.table([Column("repository"), *columns], records, "findings")
    errors = sum(record["severity"] == "error" for record in records)
    warnings = len(records) - errors
    moved = f"; {counted(len(found.changes), 'file')} came or went meanwhile" if found.changes else ""
    ignored = f", {len(every) - len(findings):,} ignored" if ignore else ""
    out.summary(f"{counted(errors, 'error')}, {counted(warnings, 'warning')}{ignored}{moved}")
    if errors:
        ctx.exit(Code.FINDINGS)


_COLORS = {"error": "red", "warning": "yellow"}


def _show_findings(out: Output, records: Sequence[dict[str, Any]]) -> None:
    """Print them by repositories, each finding in a few lines: paths and reasons are long."""
    ordered = sorted(records, key=lambda record: record["repository"])
    for repository, group in itertools.groupby(ordered, key=lambda item: item["repository"]):
        click.secho(repository or "of no repository", bold=True)
        for name in group:
            label = click.style(f"{name['severity']:8}", fg=_COLORS.get(name["severity"]))
            click.echo(f"  {label} {name['kind']}")
            texts = (name["path"], name["detail"], f"a pull {name['pull']}", name["advice"])
            out.lines(f"{'':11}{text}" for text in texts if text)
