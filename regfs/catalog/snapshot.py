"""What a look at a registry's storage finds, in as little memory as Python takes for it. Pure.

The mutable half of a catalog: :mod:`regfs.catalog.scan` fills it, :mod:`regfs.catalog` makes records of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple

from regfs.catalog.manifest import ImageConfig, Manifest
from regfs.layout import Digest


class File(NamedTuple):
    """Of a file that is known by what it is: `size` in bytes, `modified` aware and in UTC."""

    size: int
    modified: datetime


@dataclass(slots=True)
class TagFiles:
    """A tag. `target` is what its link names; None where `problem` says why it names nothing."""

    current: File | None = None
    target: Digest | None = None
    problem: str = ""
    index: dict[Digest, File] = field(default_factory=dict)


@dataclass(slots=True)
class UploadFiles:
    """A unfinished upload: its files, and the multipart uploads of its data."""

    started: datetime | None = None
    files: int = 0
    bytes: int = 0
    modified: datetime | None = None
    pending: list[Any] = field(default_factory=list)


@dataclass(slots=True)
class Repository:
    """All files of one repository; `files` and `bytes` count them, its blobs not included."""

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
        """The bytes that its unfinished uploads hold as files."""
        return sum(upload.bytes for upload in self.uploads.values())

    @property
    def pending_bytes(self) -> int:
        """The bytes in parts of its unfinished uploads, as far as they are known."""
        return sum(part.bytes for upload in self.uploads.values() for part in upload.pending)


@dataclass(frozen=True, slots=True)
class ReadManifest:
    """A manifest's blob, read: `manifest`, or in `problem` why there is none; an image's configuration.

    `fault` sorts the problems; `refusal` is why a registry does not serve it, whether or not regfs can read
    it.
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
    """A change during the scan: a file that "appeared" since the listing, or "vanished"."""

    what: Literal["appeared", "vanished"]
    path: str


@dataclass(slots=True)
class Unknown:
    """Files in the registry's directory that no registry writes: counted, with some examples.

    `links` of them have the form of links, so some registry may have written them; `first_link` is one.
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
        When the look was taken, UTC.
    repositories : dict
        By name.
    blobs : dict
        By digest.
    manifests : dict
        By digest: all revisions of all repositories and all that tags name, as far as there is a blob.
    altered : set
        Of the manifests and configurations that were read, those whose content has another digest.
    unknown : Unknown
        Files that no registry writes.
    changes : list of Change
        What moved meanwhile.
    pending_known : bool
        False where the service does not let us ask for pending multipart uploads.
    database_in_use : bool or None
        Whether a lock file says that the registry's metadata is in a database, so that this is not all; None
        where the credentials do not allow reading it. Of a scan of a part: False.
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
        """All files."""
        own = sum(repository.files for repository in self.repositories.values())
        return len(self.blobs) + own + self.unknown.files

    @property
    def bytes(self) -> int:
        """All bytes, as a listing adds them up."""
        own = sum(repository.bytes for repository in self.repositories.values())
        return sum(blob.size for blob in self.blobs.values()) + own + self.unknown.bytes
