"""The records of a catalog: repositories, tags, manifests, references, blobs, uploads and links. Pure."""

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
        The repository's name.
    tags, manifests, layers, uploads : int
        The numbers of its tags, of its revisions, of its links to layers and configurations, and of its
        unfinished uploads.
    files : int
        The number of its own files: links, and the objects of uploads. Blobs belong to the registry.
    stored_bytes : int
        Bytes of the blobs that it needs, each once, as in :class:`~regfs.catalog.usage.RepositoryUsage`.
    link_bytes, upload_bytes : int
        Bytes of its links, and of the objects of its unfinished uploads.
    pending_bytes : int or None
        Bytes of the parts of its unfinished uploads, which no listing shows; None if the service forbids
        listing them.
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
        """The repository's name; earlier versions had only this attribute."""
        return self.repository


@dataclass(frozen=True, slots=True)
class TagRecord:
    """A tag.

    Attributes
    ----------
    repository, name : str
    digest : Digest or None
        The manifest that it names now; None if the tag is broken.
    modified : datetime or None
        When it was last moved, UTC.
    history : tuple of (Digest, datetime)
        The manifests that it names or has named, each with the time (UTC) at which it was last moved there,
        the oldest first; from its index directory.
    problem : str
        Why the tag names no manifest; empty unless it is broken.
    """

    repository: str
    name: str
    digest: Digest | None
    modified: datetime | None
    history: tuple[tuple[Digest, datetime], ...]
    problem: str


@dataclass(frozen=True, slots=True)
class ManifestRecord:
    """A manifest, in one or several repositories.

    Attributes
    ----------
    digest : Digest
    repositories, tags : int
        The number of repositories that have it as a revision, and the number of tags that name it now.
    media_type : str
    kind : str
        "image", "index", "artifact", "schema1"; empty if it could not be read.
    role : str
        "tagged", "child", "referrer" or "untagged", as :data:`regfs.catalog.roles.ROLES` defines them, over
        all repositories.
    artifact_type : str
        The type of an artifact; else empty.
    platform : str
        The platform that an image's configuration or an index states, such as "linux/amd64".
    created : datetime or None
        When the image was created, as its configuration states, UTC.
    config, subject : Digest or None
        Its configuration and its subject.
    size : int
        Bytes of the manifest itself.
    content_size : int
        Bytes of the configuration and layers, or of the child manifests, as the manifest states.
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
    """A reference of a manifest to other content.

    Attributes
    ----------
    manifest : Digest
    relation : str
        "config", "layer", "manifest" (child of an index) or "subject".
    position : int
        Its position among the manifest's references with this relation, from 0.
    digest : Digest
    media_type : str
    size : int or None
        Bytes, as the manifest states; None in schema 1.
    platform : str
        The platform of an index's child; else empty.
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
        The number of manifests that refer to it, also as their subject.
    repositories : int
        The number of repositories that need it: that have it as a revision, or a manifest that keeps it.
    """

    digest: Digest
    size: int
    modified: datetime
    manifests: int
    repositories: int


@dataclass(frozen=True, slots=True)
class UploadRecord:
    """An unfinished upload.

    Attributes
    ----------
    repository, id : str
    path : str
        The driver path of its data.
    started : datetime or None
        When it began, UTC.
    age : timedelta or None
        The time from its start to the scan.
    parts, pending_bytes : int or None
        The number of parts of its multipart uploads, and their bytes. S3 charges for them, but no listing
        shows them. None if the service forbids listing them.
    files, upload_bytes : int
        The number of its objects (start time, hash states), and their bytes.
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
        "layer", "revision", "signature", "tag" (a tag's current link) or "tag index" (a link in its history).
    repository : str
    tag : str
        The tag's name for the two kinds of tag links; else empty.
    digest : Digest or None
        The digest that it links to; None for a broken tag.
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
