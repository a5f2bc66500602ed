"""The verb ``uploads``: multipart uploads that were neither completed nor aborted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import click

from regfs.cli.errors import Refusal
from regfs.cli.options import Duration, confirm, quiet_option, shared, yes_option
from regfs.cli.output import Column, Output, counted, none_older
from regfs.cli.place import Place, located, split
from regfs.units import format_size

if TYPE_CHECKING:
    from regfs.filesystem.spec import RegistryFileSystem
    from regfs.store.pending import PendingUpload

_COLUMNS = [
    Column("started", "time", drop=2),
    Column("bytes", "size"),
    Column("parts", "number", drop=3),
    Column("path"),
]
_BATCH = 100
"""Uploads that are aborted before they are printed."""


@click.command()
@click.argument("url", default="/", metavar="[regfs://BUCKET]")
@click.option("--older-than", type=Duration(), help="Only those begun so long ago, as 12h, 7d or 1d12h.")
@click.option("--abort", is_flag=True, help="Remove them. Needs --older-than: others may still be written.")
@click.option("--dry-run", is_flag=True, help="With --abort: only print what would be removed.")
@yes_option
@quiet_option
@shared
def uploads(
    place: Place,
    out: Output,
    url: str,
    *,
    older_than: timedelta | None,
    abort: bool,
    dry_run: bool,
    yes: bool,
) -> None:
    """List pending uploads under the root directory, and --abort them.

    No listing shows them, and they are paid for. A registry's own uploads are among them for as long as
    somebody pushes: abort none that may still be alive. Those that are aborted are the ones that were listed
    before the question; the sums are printed at the end, on stderr.

    A registry's upload is aborted with the files in its directory (startedat and others), as the registry's
    own purge removes them, unless one of them is younger than --older-than.

    JSON: an object with uploads, an array of objects with path, started, parts, bytes and id; with --abort of
    those that were aborted, each with the files that were removed.
    """
    bucket, path = split(url)
    if path != "/":
        raise Refusal(f"{url}: uploads are those of a whole root directory; give regfs://BUCKET")
    if abort and older_than is None:
        raise Refusal("--abort: give --older-than, an age beyond which no upload is still written, as 7d")
    if dry_run and not abort:
        raise Refusal("--dry-run: is for --abort; without that nothing is removed")
    fs = place.filesystem(bucket)
    pending: Sequence[PendingUpload] = fs.uploads()
    before = datetime.now(timezone.utc) - (older_than or timedelta())
    chosen = [upload for upload in pending if older_than is None or upload.started <= before]
    location = located(fs)
    if abort and chosen:
        files = _files(fs, pending, chosen, before)
        removal = _Removal(out, fs, files)
        if dry_run:
            removal.preview(chosen)
            return
        listed = confirm(
            f"Abort {_much(chosen)}{_and(files.values(), 'remove')}, in {location}?",
            yes,
            lambda: None if out.as_json else out.table(_COLUMNS, _records(chosen), "uploads"),
        )
        removal.run(chosen, listed=listed)
        return
    out.answer.table(_COLUMNS, _records(chosen), "uploads")
    if chosen:
        out.summary(f"{_much(chosen)}, in {location}")
    else:
        count, total = len(pending), sum(upload.bytes for upload in pending)
        younger = (
            f"{count:,} younger {'one' if count == 1 else 'ones'}, {format_size(total)}" if pending else ""
        )
        out.summary(none_older("pending uploads", older_than, younger, location))


def _files(
    fs: RegistryFileSystem,
    pending: Iterable[PendingUpload],
    chosen: Iterable[PendingUpload],
    before: datetime,
) -> dict[str, dict[str, int]]:
    """Find what registries have beside the uploads that are to be aborted.

    Returns
    -------
    dict of str to dict
        The files' sizes in bytes by their paths, for each path of an upload: those in its directory,
        provided that all of them are old and no younger upload leads to the same path.
    """
    from regfs.catalog.source import spread
    from regfs.layout import UploadData, parse

    chosen_ids = {upload.id for upload in chosen}
    alive = {upload.path for upload in pending if upload.id not in chosen_ids}
    paths = {upload.path for upload in chosen if isinstance(parse(upload.path), UploadData)} - alive
    ordered = sorted(paths)
    listings = spread(lambda path: fs.find(path.rpartition("/")[0], detail=True), ordered)
    return {
        path: {name: info["size"] for name, info in listing.items()}
        for path, listing in zip(ordered, listings, strict=True)
        if listing and all(info["LastModified"] <= before for info in listing.values())
    }


class _Removal:
    """Aborts uploads, and removes the files of those that a registry began; nothing twice.

    Parameters
    ----------
    out : Output
        Where each upload is printed.
    fs : RegistryFileSystem
        The bucket.
    files : dict
        As :func:`_files` returns them.
    """

    def __init__(self, out: Output, fs: RegistryFileSystem, files: dict[str, dict[str, int]]) -> None:
        self._out = out
        self._fs = fs
        self._files = files
        self._aborted: list[PendingUpload] = []
        self._removed: dict[str, dict[str, int]] = {}

    def preview(self, chosen: Sequence[PendingUpload]) -> None:
        """Print what :meth:`run` would do."""
        self._out.table(_COLUMNS, _records(chosen, self._files), "uploads")
        self._out.summary(
            f"would abort {_much(chosen)}{_and(self._files.values(), 'remove')}, in {located(self._fs)}"
        )

    def run(self, chosen: Sequence[PendingUpload], *, listed: bool) -> None:
        """Do it, and print each upload that has been aborted, unless they were `listed` before."""
        left = Counter(upload.path for upload in chosen)
        try:
            for start in range(0, len(chosen), _BATCH):
                self._abort(chosen[start : start + _BATCH], left, listed)
        except BaseException:
            if self._aborted:
                self._report()
            raise
        self._report()

    def _abort(self, uploads: Sequence[PendingUpload], left: Counter[str], listed: bool) -> None:
        from regfs.filesystem.waiting import sync

        batch: list[PendingUpload] = []
        try:
            sync(self._fs.loop, self._fs.store.abort_uploads, uploads, batch.append)
        finally:
            self._aborted += batch
            if not listed and not self._out.as_json:
                self._out.table(_COLUMNS, _records(batch), "uploads")
        left.subtract(upload.path for upload in batch)
        self._remove([path for path in self._files if not left[path] and path not in self._removed])

    def _remove(self, paths: Sequence[str]) -> None:
        """Remove the files beside uploads of which none is left."""
        from regfs.filesystem.waiting import sync

        names = [name for path in paths for name in self._files[path]]
        sync(self._fs.loop, self._fs.store.delete, names)
        self._removed.update((path, self._files[path]) for path in paths)

    def _report(self) -> None:
        if self._out.as_json:
            self._out.table(_COLUMNS, _records(self._aborted, self._removed), "uploads")
        much = f"{_much(self._aborted)}{_and(self._removed.values(), 'removed')}"
        self._out.summary(f"aborted {much}, in {located(self._fs)}")


def _and(files: Iterable[Mapping[str, int]], done: str) -> str:
    sizes = [length for beside in files for length in beside.values()]
    return f", and {done} {counted(len(sizes), 'file')} of theirs, {format_size(sum(sizes))}" if sizes else ""


def _much(found: Sequence[PendingUpload]) -> str:
    return f"{counted(len(found), 'upload')}, {format_size(sum(upload.bytes for upload in found))}"


def _records(
    found: Iterable[PendingUpload], files: Mapping[str, Mapping[str, int]] | None = None
) -> list[dict[str, Any]]:
    """Return the uploads as records, with the `files` beside them where they are given."""
    return [
        {
            "path": upload.path,
            "started": upload.started,
            "parts": upload.parts,
            "bytes": upload.bytes,
            "id": upload.id,
            **({} if files is None else {"files": sorted(files.get(upload.path, ()))}),
        }
        for upload in found
    ]
