"""The verb ``doctor``: :mod:`regfs.doctor`, a line for each check."""

from __future__ import annotations

from functools import partial

import click

from regfs.cli.errors import Code, Refusal
from regfs.cli.options import shared
from regfs.cli.output import Column, Output, counted, visible
from regfs.cli.place import Place, split
from regfs.doctor.checks import Check, Verdict

_SIGNS = {
    Verdict.OK: ("✓", "green"),
    Verdict.WARNING: ("!", "yellow"),
    Verdict.FAILED: ("✗", "red"),
    Verdict.SKIPPED: ("–", "bright_black"),
}


@click.command()
@click.argument("url", default="/", metavar="[regfs://BUCKET]")
@click.option("--read-only", is_flag=True, help="Write nothing; permissions to write are not checked.")
@shared
@click.pass_context
def doctor(ctx: click.Context, place: Place, out: Output, url: str, *, read_only: bool) -> None:
    """Check everything that a registry's driver needs, and say what to change.

    Parameters, name, connection, TLS, clock, credentials, signature, bucket, region; then each request that
    the driver makes, on a scratch directory under the root directory, which is removed at the end; then
    encryption, storage class, consistency, abandoned uploads, and whether there is a registry.

    Exit code 5 if a check failed; warnings alone are no failure.

    JSON: an object with checks, an array of objects with check, verdict (ok, warning, failed, skipped),
    found and advice.
    """
    from regfs.doctor.examination import examine

    bucket, path = split(url)
    if path != "/":
        raise Refusal(f"{url}: a whole root directory is examined; give regfs://BUCKET")

    def show(check: Check) -> None:
        if not out.as_json:
            _tell(out, check)

    checks = examine(partial(place.filesystem, bucket), show, read_only=read_only)
    if out.as_json:
        out.table(
            [Column("check")],
            (
                {"check": c.name, "verdict": c.verdict.value, "found": c.found, "advice": c.advice}
                for c in checks
            ),
            "checks",
        )
    failures = sum(check.verdict is Verdict.FAILED for check in checks)
    if failures:
        out.summary(f"{counted(failures, 'check')} failed")
        ctx.exit(Code.FINDINGS)


def _tell(out: Output, check: Check) -> None:
    sign, colour = _SIGNS[check.verdict]
    if out.for_reading:
        sign = click.style(sign, fg=colour)
    lines = [f"{sign} {check.name}: {visible(check.found)}"]
    lines += [f"    {visible(check.advice)}"] if check.advice else []
    click.echo("\n".join(lines))
