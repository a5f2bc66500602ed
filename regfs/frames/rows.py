"""The rows of each table, as tuples in the order of its columns. Pure; no pandas here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from regfs.catalog import Catalog
    from regfs.catalog.fsck.check import Finding
    from regfs.catalog.layers import Entry
    from regfs.catalog.records import ManifestRecord, ReferenceRecord
    from regfs.catalog.usage import Usage

Row: TypeAlias = "tuple[Any, ...]"


def _repositories(catalog: Catalog) -> Iterator[Row]:
    for one in catalog.repositories:
        yield (
            one.repository,
            one.tags,
            one.manifests,
            one.layers,
            one.uploads,
            one.files,
            one.stored_bytes,
            one.link_bytes,
            one.upload_bytes,
            one.pending_bytes,
            one.modified,
        )


def _tags(catalog: Catalog) -> Iterator[Row]:
    for one in catalog.tags:
        yield one.repository, one.name, one.digest, one.modified, len(one.history), one.problem


def _history(catalog: Catalog) -> Iterator[Row]:
    for one in catalog.tags:
        for digest, since in one.history:
            yield one.repository, one.name, digest, since, digest == one.digest


def manifest(one: ManifestRecord) -> Row:
    """Give one row of the table of manifests."""
    annotations = json.dumps(dict(one.annotations), sort_keys=True, ensure_ascii=False)
    return (
        one.digest,
        one.repositories,
        one.tags,
        one.media_type,
        one.kind,
        one.role,
        one.artifact_type,
        one.platform,
        one.created,
        one.config,
        one.subject,
        one.size,
        one.content_size,
        annotations if one.annotations else None,
        one.problem,
    )


def reference(one: ReferenceRecord) -> Row:
    """Give one row of the table of references."""
    return one.manifest, one.relation, one.position, one.digest, one.media_type, one.size, one.platform


def _manifests(catalog: Catalog) -> Iterator[Row]:
    return map(manifest, catalog.manifests)


def _references(catalog: Catalog) -> Iterator[Row]:
    return map(reference, catalog.references)


def _blobs(catalog: Catalog) -> Iterator[Row]:
    for one in catalog.blobs:
        yield one.digest, one.size, one.modified, one.manifests, one.repositories


def _uploads(catalog: Catalog) -> Iterator[Row]:
    for one in catalog.uploads:
        yield (
            one.repository,
            one.id,
            one.path,
            one.started,
            one.age,
            one.parts,
            one.pending_bytes,
            one.files,
            one.upload_bytes,
            " ".join(one.multipart_ids),
        )


def _links(catalog: Catalog) -> Iterator[Row]:
    for one in catalog.links:
        yield one.kind, one.repository, one.tag, one.digest, one.path, one.size, one.modified


CATALOG: Mapping[str, Callable[[Catalog], Iterable[Row]]] = {
    "repositories": _repositories,
    "tags": _tags,
    "history": _history,
    "manifests": _manifests,
    "references": _references,
    "blobs": _blobs,
    "uploads": _uploads,
    "links": _links,
}


def _usage_repositories(usage: Usage) -> Iterator[Row]:
    for one in usage.repositories:
        yield (
            one.repository,
            one.tags,
            one.manifests,
            one.logical_bytes,
            one.stored_bytes,
            one.unique_bytes,
            one.shared_bytes,
            one.link_bytes,
            one.upload_bytes,
            one.pending_bytes,
            one.freed_bytes,
        )


def _usage_tags(usage: Usage) -> Iterator[Row]:
    for one in usage.tags:
        yield (
            one.repository,
            one.tag,
            one.digest,
            one.logical_bytes,
            one.stored_bytes,
            one.unique_bytes,
            one.shared_bytes,
            one.freed_bytes,
        )


def _growth(usage: Usage) -> Iterator[Row]:
    for month, blobs, size, total in usage.growth:
        yield datetime(month.year, month.month, 1, tzinfo=timezone.utc), blobs, size, total


USAGE: Mapping[str, Callable[[Usage], Iterable[Row]]] = {
    "usage_repositories": _usage_repositories,
    "usage_tags": _usage_tags,
    "sharing": lambda usage: usage.sharing(),
    "growth": _growth,
}


def file(entry: Entry) -> Row:
    """Return the row of a file in an image."""
    return (
        entry.path,
        entry.kind,
        entry.size,
        entry.mode,
        entry.owner,
        entry.modified,
        entry.target,
        entry.layer,
        entry.state,
    )


def finding(one: Finding) -> Row:
    """Give one row of the table of findings."""
    breaks = " ".join(one.breaks)
    return one.kind, one.severity, one.path, one.repository, one.detail, one.pull, breaks, one.broken_tags
