"""The figures of a registry for monitoring: usage, orphans, uploads, findings. Pure.

`FIGURES` lists them all, by their names in JSON, in conditions and in metrics. An unknown figure is None,
never 0, and has a reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Literal, NamedTuple, TypeAlias

from regfs.catalog.fsck.findings import Finding
from regfs.catalog.plan import Plan
from regfs.catalog.records import UploadRecord
from regfs.catalog.usage import Usage

Unit: TypeAlias = Literal["count", "bytes", "seconds"]

_NOT_LISTED = "S3 refuses to list pending multipart uploads"
_NOT_EXAMINED = "fsck was left out"


class Figure(NamedTuple):
    """A figure's unit and its meaning."""

    unit: Unit
    meaning: str


FIGURES: Mapping[str, Figure] = MappingProxyType(
    {
        "repositories": Figure("count", "repositories"),
        "tags": Figure("count", "tags that name a manifest"),
        "manifests": Figure("count", "manifests, each counted once across repositories"),
        "blobs": Figure("count", "blobs"),
        "total_bytes": Figure("bytes", "all files in the listing"),
        "logical_bytes": Figure("bytes", "the manifests and their blobs if nothing were shared"),
        "stored_bytes": Figure("bytes", "blobs that a repository needs, each once"),
        "unique_bytes": Figure("bytes", "blobs that one repository alone needs"),
        "shared_bytes": Figure("bytes", "blobs that several repositories need, each once"),
        "link_bytes": Figure("bytes", "links"),
        "unknown_bytes": Figure("bytes", "files that no registry writes"),
        "orphans": Figure("count", "orphaned blobs of the minimum age"),
        "orphaned_bytes": Figure("bytes", "orphaned blobs of the minimum age"),
        "uploads": Figure("count", "unfinished uploads"),
        "upload_bytes": Figure("bytes", "the files of unfinished uploads"),
        "pending_bytes": Figure("bytes", "the parts of unfinished uploads, which no listing shows"),
        "oldest_upload": Figure("seconds", "age of the oldest unfinished upload"),
        "findings": Figure("count", "findings of fsck that are not ignored"),
        "errors": Figure("count", "findings that make a pull fail"),
        "warnings": Figure("count", "findings that do not make a pull fail yet"),
    }
)
"""The figures by name."""


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of one scan.

    Attributes
    ----------
    taken, ended : datetime
        When the scan began and ended, UTC.
    database_in_use : bool or None
        Whether the registry keeps its metadata in a database, so the figures are incomplete; None if
        unknown.
    usage : Usage
        The usage of repositories and tags.
    manifests : int
        The number of manifests with a blob.
    uploads : tuple of UploadRecord
        The unfinished uploads.
    older_than : timedelta
        The minimum age of orphaned blobs.
    orphans : Plan or None
        The orphaned blobs of that age; None if they cannot be determined.
    orphans_problem : str
        Why they cannot be determined; else empty.
    findings : tuple of Finding or None
        The findings of fsck except ignored ones; None if fsck was left out.
    ignored : int
        The number of ignored findings.
    changes : int
        The number of files that appeared or vanished during the scan.
    """

    taken: datetime
    ended: datetime
    database_in_use: bool | None
    usage: Usage
    manifests: int
    uploads: tuple[UploadRecord, ...]
    older_than: timedelta
    orphans: Plan | None
    orphans_problem: str
    findings: tuple[Finding, ...] | None
    ignored: int
    changes: int

    @property
    def figures(self) -> dict[str, int | float | None]:
        """The figures, with the names and in the order of `FIGURES`; an unknown one is None."""
        totals, repositories, plan = self.usage.totals, self.usage.repositories, self.orphans
        severities = Counter(finding.severity for finding in self.findings or ())
        examined = self.findings is not None
        ages = [upload.age.total_seconds() for upload in self.uploads if upload.age is not None]
        values: dict[str, int | float | None] = {
            "repositories": len(repositories),
            "tags": sum(repository.tags for repository in repositories),
            "manifests": self.manifests,
            "blobs": totals.blobs,
            "total_bytes": totals.bytes,
            "logical_bytes": sum(repository.logical_bytes for repository in repositories),
            "stored_bytes": totals.unique_bytes + totals.shared_bytes,
            "unique_bytes": totals.unique_bytes,
            "shared_bytes": totals.shared_bytes,
            "link_bytes": totals.link_bytes,
            "unknown_bytes": totals.unknown_bytes,
            "orphans": len(plan.blobs) if plan else None,
            "orphaned_bytes": plan.bytes if plan else None,
            "uploads": len(self.uploads),
            "upload_bytes": totals.upload_bytes,
            "pending_bytes": totals.pending_bytes,
            "oldest_upload": max(ages, default=0.0),
            "findings": len(self.findings or ()) if examined else None,
            "errors": severities["error"] if examined else None,
            "warnings": severities["warning"] if examined else None,
        }
        return {name: values[name] for name in FIGURES}

    @property
    def problems(self) -> dict[str, str]:
        """The reasons why figures are unknown, by figure."""
        return dict(self._problems())

    def _problems(self) -> Iterator[tuple[str, str]]:
        if self.orphans is None:
            yield from ((name, self.orphans_problem) for name in ("orphans", "orphaned_bytes"))
        if self.usage.totals.pending_bytes is None:
            yield "pending_bytes", _NOT_LISTED
        if self.findings is None:
            yield from ((name, _NOT_EXAMINED) for name in ("findings", "errors", "warnings"))

    @property
    def kinds(self) -> Sequence[tuple[str, str, int]]:
        """The numbers of findings as (severity, kind, number), errors first."""
        counts = Counter((finding.severity, finding.kind) for finding in self.findings or ())
        return [(severity, kind, count) for (severity, kind), count in sorted(counts.items())]
