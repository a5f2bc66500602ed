"""The verb ``uploads``: multipart uploads that were neither completed nor aborted."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from regfs.cli.errors import Refusal
from regfs.cli.options import Duration, confirm, shared, yes_option
from regfs.cli.output import Column, Output, counted, size
from regfs.cli.place import Place, split

if TYPE_CHECKING:
    from regfs.pending import PendingUpload


@click.command()
@click.argument("url", default="/", metavar="[regfs://BUCKET]")
@click.option("--older-than", type=Duration(), help="Only those begun so long ago, as 12h or 7d.")
@click.option(
    "--abort", is_flag=True, help="Remove them. Needs --older-than: somebody may be writing others."
)
@yes_option
@shared
def uploads(
    place: Place, out: Output, url: str, *, older_than: timedelta | None, abort: bool, yes: bool
) -> None:
    """List uploads under the root directory that were begun and never ended, and --abort them.

    No listing shows them, and they are paid for. A registry's own uploads are among them for as long as
    somebody pushes: abort none that may still be alive.

    JSON: an array of objects with path, started, parts, bytes and id, also of those that were aborted.
    """
    bucket, path = split(url)
    if path != "/":
        raise Refusal(f"{url}: uploads are those of a whole root directory; give regfs://BUCKET")
    fs = place.filesystem(bucket)
    columns = [Column("started", "time"), Column("bytes", "size"), Column("parts", "number"), Column("path")]
    if not abort:
        out.table(columns, _records(fs.uploads(older_than)))
        return
    if older_than is None:
        raise Refusal("--abort: give --older-than, an age beyond which nobody is still writing, as 7d")
    found = fs.uploads(older_than)
    much = f"{counted(len(found), 'upload')}, {size(sum(upload.bytes for upload in found))}"
    if found:
        if not out.as_json:
            out.table(columns, _records(found))
        confirm(f"Abort {much}?", yes)
        fs.abort_uploads(older_than, dry_run=False)
    if out.as_json:
        out.table(columns, _records(found))
    out.note(f"aborted {much}")


def _records(found: Iterable[PendingUpload]) -> list[dict[str, Any]]:
    return [
        {"path": one.path, "started": one.started, "parts": one.parts, "bytes": one.bytes, "id": one.id}
        for one in found
    ]
