"""The verbs that look for what should not be there: ``orphans``, ``fsck``."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from regfs.cli.errors import Code, Failure, Refusal
from regfs.cli.options import Duration, confirm, shared, yes_option
from regfs.cli.output import Column, Output, counted, size, when
from regfs.cli.place import Place, is_remote
from regfs.cli.scanning import (
    catalog,
    check_file,
    open_source,
    plain,
    section,
    short,
    sizes_option,
    stages,
    url_argument,
)

if TYPE_CHECKING:
    from regfs.catalog.orphans import Applied
    from regfs.catalog.plan import Plan
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
@click.option("--plan", "save", metavar="FILE", help="Write the plan to a file, to apply it later.")
@click.option(
    "--apply",
    "applied",
    is_flag=False,
    flag_value=_NOW,
    metavar="[FILE]",
    help="Delete what the plan of a file names, or what is found now, as far as nothing needs it still.",
)
@click.option("--dry-run", is_flag=True, help="With --apply: look at everything again, and delete nothing.")
@yes_option
@sizes_option
@shared
def orphans(
    place: Place,
    out: Output,
    url: str,
    *,
    older_than: timedelta | None,
    save: str | None,
    applied: str | None,
    dry_run: bool,
    yes: bool,
    human: bool,
) -> None:
    """List the blobs that no manifest of any repository needs, and --apply their deletion.

    They are what the registry's own "garbage-collect --dry-run" calls eligible. Nothing is deleted without
    --apply, which asks first. It looks at everything anew, and leaves alone what has come to be needed. A
    push that goes on meanwhile may count on an old blob: keep to an age that no push lasts, or set the
    registry to readonly. Afterwards restart a registry that caches blobs in memory.

    Exit code 1 if something could not be deleted.

    JSON: an object with the plan (place, taken, older_than in seconds, blobs, bytes, incomplete); with
    --apply also deleted, skipped, failed and lost.
    """
    if applied is not None and is_remote(applied):
        raise Refusal(f"--apply {applied}: is no file; write the URL before --apply")
    from_file = applied not in (None, _NOW)
    if from_file and (save or older_than is not None):
        raise Refusal("--apply FILE: the plan stands already; --plan and --older-than are for a new one")
    if dry_run and applied is None:
        raise Refusal("--dry-run: is for --apply; without that nothing is deleted")
    if save is not None:
        check_file(save, "plan")
    if from_file and applied is not None:
        from regfs.catalog.plan import Plan

        plan, source = Plan.load(applied), open_source(place, url)
    else:
        with catalog(place, url, configs=False) as found:
            plan = found.orphans(timedelta(days=1) if older_than is None else older_than)
        source = found.source
    if save is not None:
        plan.save(save)
    if not out.as_json:
        _show_plan(out, plan, human=human, listed=applied is None or not yes)
    if applied is None:
        if out.as_json:
            out.record(plain(plan) | {"bytes": plan.bytes})
        elif save is not None:
            out.note(f"wrote {save}; regfs orphans --apply {save} deletes what it names")
        return
    _apply(out, source, plan, dry_run=dry_run, yes=yes)


def _show_plan(out: Output, plan: Plan, *, human: bool, listed: bool) -> None:
    if listed:
        columns = [Column("modified", "time"), Column("size", "size" if human else "bytes")]
        columns.append(Column("links", "number"))
        rows = ({**plain(one), "digest": short(one.digest, out)} for one in plan.blobs)
        out.table([*columns, Column("digest")], rows)
    age = f", none younger than {_age(plan.older_than)}" if plan.older_than else ""
    out.note(
        f"{counted(len(plan.blobs), 'orphaned blob')}, {size(plan.bytes)}{age}, as of {when(plan.taken)} UTC"
    )
    for reason in plan.incomplete:
        click.echo(f"regfs: cannot be read, so nothing can be deleted: {reason}", err=True)


def _age(age: timedelta) -> str:
    hours = age.total_seconds() / 3600
    return f"{hours / 24:g} d" if hours >= 48 else f"{hours:g} h"


def _apply(out: Output, source: Source, plan: Plan, *, dry_run: bool, yes: bool) -> None:
    from regfs.catalog.orphans import Applied, IncompletePlanError, apply

    if plan.incomplete:
        raise IncompletePlanError(plan.incomplete)
    result = Applied((), (), (), (), dry_run)
    if plan.blobs:
        if not dry_run:
            confirm(f"Delete {counted(len(plan.blobs), 'blob')}, {size(plan.bytes)}?", yes)
        with stages() as progress:
            result = apply(source, plan, progress, dry_run=dry_run)
    if out.as_json:
        out.record(plain(plan) | {"bytes": plan.bytes} | plain(result))
    else:
        _show_applied(out, result)
    bad = [*result.failed, *result.lost]
    if bad:
        first = f"{bad[0].digest}: {bad[0].reason}"
        raise Failure(f"{first}{f', and {len(bad) - 1} more' if len(bad) > 1 else ''}")


def _show_applied(out: Output, result: Applied) -> None:
    groups = {"skipped": result.skipped, "failed": result.failed, "needed after all": result.lost}
    for title, found in groups.items():
        rows = [{"digest": short(one.digest, out), "reason": one.reason} for one in found]
        section(out, title.capitalize(), [Column("digest"), Column("reason")], rows, title)
    done = "would delete" if result.dry_run else "deleted"
    out.note(f"{done} {counted(len(result.deleted), 'blob')}, {size(result.bytes)}")


@click.command()
@url_argument
@click.option("--verify", is_flag=True, help="Read all blobs, and compare each with its digest.")
@shared
@click.pass_context
def fsck(ctx: click.Context, place: Place, out: Output, url: str, *, verify: bool) -> None:
    """Look for what is broken, and tell what a pull gets from the registry.

    An "error" is what a pull fails of; a "warning" is none yet: something that nobody uses, or that is
    left over. All links and manifests are read; nothing is changed. Exit code 5 if there is an error.

    JSON: an array of objects with kind, severity, path, repository, detail and pull.
    """
    with catalog(place, url) as found:
        findings: Sequence[Any] = found.fsck(verify=verify)
    records = [plain(one) for one in findings]
    columns = [Column("severity"), Column("kind"), Column("path"), Column("detail"), Column("pull")]
    if out.for_reading:
        _show_findings(out, records)
    else:
        out.table([Column("repository"), *columns], records)
    errors = sum(one["severity"] == "error" for one in records)
    warnings = len(records) - errors
    moved = f"; {counted(len(found.changes), 'file')} came or went meanwhile" if found.changes else ""
    out.note(f"{counted(errors, 'error')}, {counted(warnings, 'warning')}{moved}")
    if errors:
        ctx.exit(Code.FINDINGS)


_COLORS = {"error": "red", "warning": "yellow"}


def _show_findings(out: Output, records: Sequence[dict[str, Any]]) -> None:
    """Print them by repositories, each finding in a few lines: paths and reasons are long."""
    ordered = sorted(records, key=lambda one: one["repository"])
    for repository, group in itertools.groupby(ordered, key=lambda one: one["repository"]):
        click.secho(repository or "of no repository", bold=True)
        for one in group:
            label = click.style(f"{one['severity']:8}", fg=_COLORS.get(one["severity"]))
            click.echo(f"  {label} {one['kind']}")
            out.lines(f"{'':11}{text}" for text in (one["path"], one["detail"], f"a pull {one['pull']}"))
