"""The predicted responses of a registry that serves a storage. Pure.

The rules are those of distribution 2.8.2: ``handlers/manifests.go`` and ``blob.go``; ``linkedblobstore.go``,
``tagstore.go`` and ``manifeststore.go``. A registry follows links whatever digest they name, and does not
verify content; clients do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from regfs.catalog.fsck.refusal import CRASH
from regfs.catalog.manifest import NO_PLATFORM
from regfs.layout import Digest, InvalidDigestError, parse_link
from regfs.store.verify import ALGORITHMS

if TYPE_CHECKING:
    from regfs.catalog.snapshot import File, ReadManifest, Repository, Snapshot

Broken: TypeAlias = Literal["empty", "malformed"]
Link: TypeAlias = tuple[Literal["layer", "revision"], str, Digest]
"""A link: its kind, repository, and the digest in its path."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A registry's response to a pull.

    Attributes
    ----------
    status : int
        The HTTP status code; 0 if the registry closes the connection.
    code : str
        The registry's error code; empty for a success.
    other : bool
        Whether a success has content that does not match the request, so a client rejects it.
    note : str
        The reason why the pull works, or the client's reaction.
    platform : str
        The platform, if only its pull is affected; otherwise empty.
    """

    status: int = 200
    code: str = ""
    other: bool = False
    note: str = ""
    platform: str = ""

    @property
    def works(self) -> bool:
        """Whether the client gets the requested content."""
        return self.status == 200 and not self.other

    def __str__(self) -> str:
        if self.works:
            return f"works: {self.note}" if self.note else "works"
        platform = "the attestation" if self.platform == NO_PLATFORM else self.platform
        fails = f"fails for {platform}" if platform else "fails"
        if self.other:
            note = self.note or "refuses the content, which does not match the request"
            return f"{fails}: the registry answers 200, and the client {note}"
        if not self.status:
            return f"{fails}: the registry closes the connection"
        return f"{fails}: the registry answers {self.status} {self.code}"


NO_MANIFEST = Answer(404, "MANIFEST_UNKNOWN")
NO_BLOB = Answer(404, "BLOB_UNKNOWN")
BAD_DIGEST = Answer(400, "DIGEST_INVALID")
FAILURE = Answer(500, "UNKNOWN")


def read_link(content: bytes) -> Digest | Broken:
    """Parse a link file as the registry does, which accepts only digests of algorithms that it supports."""
    if not content:
        return "empty"
    try:
        digest = parse_link(content)
    except InvalidDigestError:
        return "malformed"
    return digest if digest.algorithm in ALGORITHMS else "malformed"


class Pulls:
    """Predicts a registry's responses.

    Parameters
    ----------
    snapshot : Snapshot
        The contents of the storage.

    Attributes
    ----------
    links : dict
        The links that do not name the digest in their path. The value is the digest that the link names, the
        reason why it names none, or None if the link no longer exists.
    came : dict
        The files of existing blobs that the snapshot lacks.
    lost : set of Digest
        The blobs in the snapshot that no longer exist.
    altered : set of Digest
        The blobs whose content has another digest.
    others : dict
        The manifests that were read after the snapshot.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self.links: dict[Link, Digest | Broken | None] = {}
        self.came: dict[Digest, File] = {}
        self.lost: set[Digest] = set()
        self.altered: set[Digest] = set(snapshot.altered)
        self.others: dict[Digest, ReadManifest] = {}

    def file(self, digest: Digest) -> File | None:
        """Return a blob's size and time, or None if it does not exist."""
        if digest in self.lost:
            return None
        return self._snapshot.blobs.get(digest) or self.came.get(digest)

    def read(self, digest: Digest) -> ReadManifest | None:
        """Return a manifest that was read, or None."""
        return self._snapshot.manifests.get(digest) or self.others.get(digest)

    def link(self, kind: Literal["layer", "revision"], name: str, digest: Digest) -> Digest | Broken | None:
        """Return the digest that a link names, the reason why it names none, or None without a link."""
        key = (kind, name, digest)
        if key in self.links:
            return self.links[key]
        repository = self._snapshot.repositories[name]
        return digest if digest in (repository.layers if kind == "layer" else repository.revisions) else None

    def target(self, name: str, digest: Digest) -> Digest | Broken | None:
        """Return the target of a manifest's link; a layer link also counts (distribution since 2.1.0)."""
        target = self.link("revision", name, digest)
        return target if target is not None else self.link("layer", name, digest)

    def tag(self, repository: Repository, tag: str) -> Answer:
        """Return the response for a tag: ``GET /v2/NAME/manifests/TAG``."""
        files = repository.tags.get(tag)
        if files is None or files.current is None:
            return NO_MANIFEST
        if files.target is None or files.target.algorithm not in ALGORITHMS:
            return FAILURE
        return self.manifest(repository.name, files.target)

    def manifest(self, name: str, digest: Digest) -> Answer:
        """Return the response for a manifest: ``GET /v2/NAME/manifests/DIGEST``."""
        target = self.target(name, digest)
        if target is None:
            return NO_MANIFEST
        if not isinstance(target, Digest):
            return FAILURE
        if self.file(target) is None:
            return NO_MANIFEST
        read = self.read(target)
        if read is not None and read.refusal:
            return Answer(0) if read.refusal == CRASH else FAILURE
        return Answer(other=self._differs(digest, target))

    def blob(self, name: str, digest: Digest) -> Answer:
        """Return the response for a blob: ``GET /v2/NAME/blobs/DIGEST``."""
        if digest.algorithm not in ALGORITHMS:
            return BAD_DIGEST
        target = self.link("layer", name, digest)
        if target is None:
            return NO_BLOB
        if not isinstance(target, Digest):
            return FAILURE
        if self.file(target) is None:
            return NO_BLOB
        return Answer(other=self._differs(digest, target))

    def _differs(self, digest: Digest, target: Digest) -> bool:
        return target in self.altered or is_other(digest, target)


def is_other(digest: Digest, target: Digest) -> bool:
    """Return whether a link names other content than its path.

    A target of another algorithm is right: a registry stores all blobs under their SHA-256 digests, and links
    the other digests that clients use to those.
    """
    return target != digest and target.algorithm == digest.algorithm
