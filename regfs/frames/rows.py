"""The rows of each table, as tuples in the order of its columns. Pure, without pandas."""

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
    for repository in catalog.repositories:
        yield (
            repository.repository,
            repository.tags,
            repository.manifests,
            repository.layers,
            repository.uploads,
            repository.files,
            repository.stored_bytes,
            repository.link_bytes,
            repository.upload_bytes,
            repository.pending_bytes,
            repository.modified,
        )


def _tags(catalog: Catalog) -> Iterator[Row]:
    for tag in catalog.tags:
        yield tag.repository, tag.name, tag.digest, tag.modified, len(tag.history), tag.problem


def _history(catalog: Catalog) -> Iterator[Row]:
    for tag in catalog.tags:
        for digest, since in tag.history:
            yield tag.repository, tag.name, digest, since, digest == tag.digest


def manifest(record: ManifestRecord) -> Row:
    """Return a manifest's row."""
    annotations = json.dumps(dict(record.annotations), sort_keys=True, ensure_ascii=False)
    return (
        record.digest,
        record.repositories,
        record.tags,
        record.media_type,
        record.kind,
        record.role,
        record.artifact_type,
        record.platform,
        record.created,
        record.config,
        record.subject,
        record.size,
        record.content_size,
        annotations if record.annotations else None,
        record.problem,
    )


def reference(record: ReferenceRecord) -> Row:
    """Return a reference's row."""
    return (
        record.manifest,
        record.relation,
        record.position,
        record.digest,
        record.media_type,
        record.size,
        record.platform,
    )


def _manifests(catalog: Catalog) -> Iterator[Row]:
    return map(manifest, catalog.manifests)


def _references(catalog: Catalog) -> Iterator[Row]:
    return map(reference, catalog.references)


def _blobs(catalog: Catalog) -> Iterator[Row]:
    for blob in catalog.blobs:
        yield blob.digest, blob.size, blob.modified, blob.manifests, blob.repositories


def _uploads(catalog: Catalog) -> Iterator[Row]:
    for upload in catalog.uploads:
        yield (
            upload.repository,
            upload.id,
            upload.path,
            upload.started,
            upload.age,
            upload.parts,
            upload.pending_bytes,
            upload.files,
            upload.upload_bytes,
            " ".join(upload.multipart_ids),
        )


def _links(catalog: Catalog) -> Iterator[Row]:
    for link in catalog.links:
        yield link.kind, link.repository, link.tag, link.digest, link.path, link.size, link.modified


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
    for repository in usage.repositories:
        yield (
            repository.repository,
            repository.tags,
            repository.manifests,
            repository.logical_bytes,
            repository.stored_bytes,
            repository.unique_bytes,
            repository.shared_bytes,
            repository.link_bytes,
            repository.upload_bytes,
            repository.pending_bytes,
            repository.freed_bytes,
        )


def _usage_tags(usage: Usage) -> Iterator[Row]:
    for tag in usage.tags:
        yield (
            tag.repository,
            tag.tag,
            tag.digest,
            tag.logical_bytes,
            tag.stored_bytes,
            tag.unique_bytes,
            tag.shared_bytes,
            tag.freed_bytes,
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


def finding(record: Finding) -> Row:
    """Return a finding's row."""
    return (
        record.kind,
        record.severity,
        record.path,
        record.repository,
        record.detail,
        record.pull,
        " ".join(record.breaks),
        record.broken_tags,
    )
