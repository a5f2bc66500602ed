"""The records of a catalog: one row each, with what is known of one thing. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from regfs.layout import Digest


@dataclass(frozen=True, slots=True)
class RepositoryRecord:
    """A repository.

    Attributes
    ----------
    repository : str
        Its name.
    tags, manifests, layers, uploads : int
        How many of each: tags, revisions, links to layers and configurations, unfinished uploads.
    files : int
        Its own files: links, and what uploads hold as objects. Blobs belong to the registry.
    stored_bytes : int
        The blobs that it needs, each once, as of :class:`~regfs.catalog.usage.RepositoryUsage`.
    link_bytes, upload_bytes : int
        Its links, and what its unfinished uploads hold as files.
    pending_bytes : int or None
        The parts of its unfinished uploads, which no listing shows; None where the service does not let us
        ask for them.
    modified : datetime or None
        When one of its files was last written, UTC.
    """

    repository: str
    tags: int
    manifests: int
    layers: int
    uploads: int
    files: int
    stored_bytes: int
    link_bytes: int
    upload_bytes: int
    pending_bytes: int | None
    modified: datetime | None

    @property
    def name(self) -> str:
        """The repository's name, as earlier versions called it."""
        return self.repository


@dataclass(frozen=True, slots=True)
class TagRecord:
    """A tag.

    Attributes
    ----------
    repository, name : str
    digest : Digest or None
        The manifest that it names now; None where `problem` says why it names none.
    modified : datetime or None
        When it was last moved, UTC.
    history : tuple of (Digest, datetime)
        What it names or has named, and since when (UTC), the oldest first; from its index.
    problem : str
        Empty unless the tag is broken.
    """

    repository: str
    name: str
    digest: Digest | None
    modified: datetime | None
    history: tuple[tuple[Digest, datetime], ...]
    problem: str


@dataclass(frozen=True, slots=True)
class ManifestRecord:
    """A manifest, of one or several repositories.

    Attributes
    ----------
    digest : Digest
    repositories, tags : int
        How many repositories have it as a revision, and how many tags name it now.
    media_type : str
    kind : str
        "image", "index", "artifact", "schema1"; empty where it could not be read.
    role : str
        What it is to the other manifests: "tagged", "child", "referrer" or "untagged", as
        :data:`regfs.catalog.roles.ROLES` defines it; whichever repositories these are in.
    artifact_type : str
        Of an artifact; else empty.
    platform : str
        "linux/amd64", as an image's configuration or an index states it.
    created : datetime or None
        When the image was made, by its configuration, UTC.
    config, subject : Digest or None
        Its configuration; what it is about.
    size : int
        Bytes of the manifest itself.
    content_size : int
        Bytes of what it refers to and keeps, as it states: configuration and layers, or child manifests.
    annotations : mapping of str to str
    problem : str
        Why it could not be read; empty if it could.
    """

    digest: Digest
    repositories: int
    tags: int
    media_type: str
    kind: str
    role: str
    artifact_type: str
    platform: str
    created: datetime | None
    config: Digest | None
    subject: Digest | None
    size: int
    content_size: int
    annotations: Mapping[str, str]
    problem: str


@dataclass(frozen=True, slots=True)
class ReferenceRecord:
    """An edge: a manifest refers to something.

    Attributes
    ----------
    manifest : Digest
    relation : str
        "config", "layer", "manifest" (child of an index) or "subject".
    position : int
        Its place among the manifest's references of this relation, from 0.
    digest : Digest
    media_type : str
    size : int or None
        Bytes, as the manifest states; None in schema 1.
    platform : str
        Of an index' child.
    """

    manifest: Digest
    relation: str
    position: int
    digest: Digest
    media_type: str
    size: int | None
    platform: str


@dataclass(frozen=True, slots=True)
class BlobRecord:
    """A blob: a layer, a configuration, a manifest, or anything else.

    Attributes
    ----------
    digest : Digest
    size : int
        Bytes.
    modified : datetime
        When it was written, UTC.
    manifests : int
        How many manifests refer to it (subjects included).
    repositories : int
        How many repositories need it: have it as a revision, or have a manifest that keeps it.
    """

    digest: Digest
    size: int
    modified: datetime
    manifests: int
    repositories: int


@dataclass(frozen=True, slots=True)
class UploadRecord:
    """A unfinished upload.

    Attributes
    ----------
    repository, id : str
    path : str
        Of its data, the driver path.
    started : datetime or None
        When it began, UTC.
    age : timedelta or None
        For how long it has been so, at the time of the look.
    parts, pending_bytes : int or None
        Of its multipart uploads: parts, and their size. S3 charges for them; no listing shows them. None
        where the service does not let us ask for them.
    files, upload_bytes : int
        Its objects (start time, states of the hash), and their size.
    multipart_ids : tuple of str
        The ids of its multipart uploads in S3.
    """

    repository: str
    id: str
    path: str
    started: datetime | None
    age: timedelta | None
    parts: int | None
    pending_bytes: int | None
    files: int
    upload_bytes: int
    multipart_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LinkRecord:
    """A link file.

    Attributes
    ----------
    kind : str
        "layer", "revision", "signature", "tag" (what it names now) or "tag index" (has named).
    repository : str
    tag : str
        Of the two kinds of tags; else empty.
    digest : Digest or None
        What it leads to; None of a tag that is broken.
    path : str
        The driver path.
    size : int
        Bytes.
    modified : datetime
        When it was written, UTC.
    """

    kind: str
    repository: str
    tag: str
    digest: Digest | None
    path: str
    size: int
    modified: datetime
