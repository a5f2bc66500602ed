"""The result of a scan, in compact form. Pure.

It is the mutable half of a catalog: :mod:`regfs.catalog.scan` fills it, and :mod:`regfs.catalog` creates
records from it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple

from regfs.catalog.manifest import ImageConfig, Manifest
from regfs.layout import Digest


class File(NamedTuple):
    """A file's properties: `size` in bytes, `modified` timezone-aware in UTC."""

    size: int
    modified: datetime


@dataclass(slots=True)
class TagFiles:
    """A tag's files. `target` is the digest in its link; None if `problem` says why there is none."""

    current: File | None = None
    target: Digest | None = None
    problem: str = ""
    index: dict[Digest, File] = field(default_factory=dict)


@dataclass(slots=True)
class UploadFiles:
    """An unfinished upload: its files, and the multipart uploads of its data."""

    started: datetime | None = None
    files: int = 0
    bytes: int = 0
    modified: datetime | None = None
    pending: list[Any] = field(default_factory=list)


@dataclass(slots=True)
class Repository:
    """The files of one repository; `files` and `bytes` are their totals, which do not include blobs."""

    name: str
    layers: dict[Digest, File] = field(default_factory=dict)
    revisions: dict[Digest, File] = field(default_factory=dict)
    signatures: dict[tuple[Digest, Digest], File] = field(default_factory=dict)
    tags: dict[str, TagFiles] = field(default_factory=dict)
    uploads: dict[str, UploadFiles] = field(default_factory=dict)
    files: int = 0
    bytes: int = 0
    modified: datetime | None = None

    @property
    def upload_bytes(self) -> int:
        """The bytes of the files of its unfinished uploads."""
        return sum(upload.bytes for upload in self.uploads.values())

    @property
    def pending_bytes(self) -> int:
        """The bytes of the known parts of its unfinished uploads."""
        return sum(part.bytes for upload in self.uploads.values() for part in upload.pending)


@dataclass(frozen=True, slots=True)
class ReadManifest:
    """A manifest that was read, with its image's configuration.

    `manifest` is None if `problem` says why it cannot be parsed; `fault` classifies the problem. `refusal`
    says why a registry does not serve the manifest, whether or not regfs can parse it.
    """

    size: int
    manifest: Manifest | None = None
    problem: str = ""
    config: ImageConfig | None = None
    config_problem: str = ""
    fault: Literal["", "damaged", "large", "type"] = ""
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """A change during the scan: a file that "appeared" or "vanished" since the listing."""

    what: Literal["appeared", "vanished"]
    path: str


@dataclass(slots=True)
class Unknown:
    """Counts and examples of the files in the registry's directory that no registry writes.

    `links` is the number of those that look like links, which a registry may have written; `first_link` is
    the first of them by path.
    """

    files: int = 0
    bytes: int = 0
    examples: list[str] = field(default_factory=list)
    links: int = 0
    first_link: str = ""


@dataclass(slots=True)
class Snapshot:
    """The result of a scan.

    Attributes
    ----------
    started, ended : datetime
        When the scan began and ended, UTC.
    repositories : dict
        The repositories by name.
    blobs : dict
        The blobs' files by digest.
    manifests : dict
        The existing manifests by digest: the revisions of all repositories and the targets of all tags.
    altered : set
        The manifests and configurations that were read and whose content does not match their digest.
    unknown : Unknown
        The files that no registry writes.
    changes : list of Change
        The files that appeared or vanished during the scan.
    pending_known : bool
        False if the service forbids listing pending multipart uploads.
    database_in_use : bool or None
        Whether a lock file says that the registry's metadata is in a database, so the snapshot is
        incomplete; None if the credentials do not allow reading the file. Always False for a partial scan.
    """

    started: datetime
    ended: datetime
    repositories: dict[str, Repository] = field(default_factory=dict)
    blobs: dict[Digest, File] = field(default_factory=dict)
    manifests: dict[Digest, ReadManifest] = field(default_factory=dict)
    altered: set[Digest] = field(default_factory=set)
    unknown: Unknown = field(default_factory=Unknown)
    changes: list[Change] = field(default_factory=list)
    pending_known: bool = True
    database_in_use: bool | None = False

    @property
    def files(self) -> int:
        """The number of all files."""
        in_repositories = sum(repository.files for repository in self.repositories.values())
        return len(self.blobs) + in_repositories + self.unknown.files

    @property
    def bytes(self) -> int:
        """The bytes of all files in the listing."""
        in_repositories = sum(repository.bytes for repository in self.repositories.values())
        return sum(blob.size for blob in self.blobs.values()) + in_repositories + self.unknown.bytes
