"""The verb ``who``: who uses a blob."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from regfs.cli.errors import Failure
from regfs.cli.options import shared
from regfs.cli.output import Column, Output, counted, when
from regfs.cli.place import Place
from regfs.cli.scanning import abbreviated, catalog, plain, some, url_argument
from regfs.units import format_size

if TYPE_CHECKING:
    from regfs.catalog.uses import Step, Use, Uses

_WORDS = {
    "manifest": "manifest of the repository",
    "layer link": "layer link alone, which keeps nothing",
    "signature link": "signature link, which keeps nothing",
    "tag history": "named by the tag before, which keeps nothing",
}


@click.command()
@click.argument("digest")
@url_argument
@shared
def who(place: Place, out: Output, digest: str, url: str) -> None:
    """Show who uses a blob: a layer, a configuration, or a manifest.

    DIGEST may be cut short where no other begins so, and its "sha256:" left out. Each row is one way to it:
    the manifest that has it, the index that this is a child of, and the tags that name the last of them.
    What is only about it (a referrer), a layer link alone, and what a tag has named before keep nothing.

    JSON: an object with digest, size (null where there is no blob), modified, repositories (those that need
    it) and uses, an array of objects with repository, how, steps, tags and keeps.
    """
    from regfs.catalog.names import UnknownNameError, parse_digest

    parse_digest(digest)  # before all is listed
    with catalog(place, url, configs=False) as scanned:
        try:
            uses = scanned.uses_of(digest)
        except UnknownNameError as exc:
            raise Failure(f"{exc.filename}: {exc.strerror}") from exc
    if out.as_json:
        out.record(plain(uses))
        return
    rows = [
        {**plain(use), "tags": some(use.tags, out), "use": abbreviated(_use(use), out)} for use in uses.uses
    ]
    if out.for_reading:
        out.sentences([str(uses.digest), _verdict(uses), *([""] if rows else [])])
    out.table([Column("repository"), Column("tags"), Column("use", "prose")], rows)
    if not out.for_reading and not uses.repositories:
        out.summary(_verdict(uses))


def _verdict(found: Uses) -> str:
    blob = "its blob is missing"
    if found.size is not None and found.modified is not None:
        blob = f"{format_size(found.size)}, written {when(found.modified)} UTC"
    needing = len(found.repositories)
    if needing:
        return f"{blob}; {needing:,} {'repository needs' if needing == 1 else 'repositories need'} it"
    left = [use for use in found.uses if not use.steps]
    links = f", but {counted(len(left), 'link')} to it remain{'s' * (len(left) == 1)}" if left else ""
    return f"{blob}; no manifest needs it{links}"


def _use(use: Use) -> str:
    if not use.steps:
        return _WORDS[use.how]
    text = ", ".join(map(_step, use.steps))
    return text if use.keeps else f"{text}, which keeps nothing"


def _step(step: Step) -> str:
    if step.how == "subject":
        return f"subject of {step.kind or 'manifest'} {step.digest}"
    platform = f" for {step.platform}" if step.platform else ""
    return f"{step.how}{platform} of {step.kind or 'manifest'} {step.digest}"
