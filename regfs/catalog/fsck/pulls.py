"""What a pull gets from a registry that serves this storage. Pure.

By the rules of distribution 2.8.2: ``handlers/manifests.go`` and ``blob.go``; ``linkedblobstore.go``,
``tagstore.go`` and ``manifeststore.go``. A registry follows links whatever they name, and
compares no content with its digest; that is left to the client.
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
"""A link by its kind, repository and the digest in its path."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A registry's response to a pull.

    Attributes
    ----------
    status : int
        Of HTTP; 0: the connection breaks.
    code : str
        The registry's error code; empty of a success.
    other : bool
        It is a success, but the content is not what the digest names, so a client refuses it.
    note : str
        Why it works all the same, or what the client makes of it.
    platform : str
        Which platform's pull it is, where it is that of one alone; empty otherwise.
    """

    status: int = 200
    code: str = ""
    other: bool = False
    note: str = ""
    platform: str = ""

    @property
    def works(self) -> bool:
        """Whether the client gets what it asked for."""
        return self.status == 200 and not self.other

    def __str__(self) -> str:
        if self.works:
            return f"works: {self.note}" if self.note else "works"
        platform = "the attestation" if self.platform == NO_PLATFORM else self.platform
        fails = f"fails for {platform}" if platform else "fails"
        if self.other:
            note = self.note or "refuses what is not what it asked for"
            return f"{fails}: the registry answers 200, and the client {note}"
        if not self.status:
            return f"{fails}: the registry breaks the connection"
        return f"{fails}: the registry answers {self.status} {self.code}"


NO_MANIFEST = Answer(404, "MANIFEST_UNKNOWN")
NO_BLOB = Answer(404, "BLOB_UNKNOWN")
BAD_DIGEST = Answer(400, "DIGEST_INVALID")
FAILURE = Answer(500, "UNKNOWN")


def read_link(content: bytes) -> Digest | Broken:
    """Read a link file as the registry does, which takes no digest of an algorithm that it does not know."""
    if not content:
        return "empty"
    try:
        digest = parse_link(content)
    except InvalidDigestError:
        return "malformed"
    return digest if digest.algorithm in ALGORITHMS else "malformed"


class Pulls:
    """Foretells answers.

    Parameters
    ----------
    snapshot : Snapshot
        What the storage holds.

    Attributes
    ----------
    links : dict
        Of the links that do not name the digest in their path: what they name, why they name nothing, or
        None where there is a link no more.
    came : dict
        Blobs that the snapshot lacks, but that are there.
    lost : set of Digest
        Blobs that it has, but that are gone.
    altered : set of Digest
        Blobs whose content has another digest.
    others : dict
        Manifests that were read beside those of the snapshot.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self.links: dict[Link, Digest | Broken | None] = {}
        self.came: dict[Digest, File] = {}
        self.lost: set[Digest] = set()
        self.altered: set[Digest] = set(snapshot.altered)
        self.others: dict[Digest, ReadManifest] = {}

    def file(self, digest: Digest) -> File | None:
        """Return a blob's size and time, if it is there."""
        if digest in self.lost:
            return None
        return self._snapshot.blobs.get(digest) or self.came.get(digest)

    def read(self, digest: Digest) -> ReadManifest | None:
        """Return what was read of a manifest."""
        return self._snapshot.manifests.get(digest) or self.others.get(digest)

    def link(self, kind: Literal["layer", "revision"], name: str, digest: Digest) -> Digest | Broken | None:
        """Return what a link names: a digest, why it names none, or None if it is not there."""
        key = (kind, name, digest)
        if key in self.links:
            return self.links[key]
        repository = self._snapshot.repositories[name]
        return digest if digest in (repository.layers if kind == "layer" else repository.revisions) else None

    def target(self, name: str, digest: Digest) -> Digest | Broken | None:
        """Return what a repository has as a manifest of a digest; a layer's link will do (since 2.1.0)."""
        target = self.link("revision", name, digest)
        return target if target is not None else self.link("layer", name, digest)

    def tag(self, repository: Repository, tag: str) -> Answer:
        """Foretell the answer to a tag: ``GET /v2/NAME/manifests/TAG``."""
        files = repository.tags.get(tag)
        if files is None or files.current is None:
            return NO_MANIFEST
        if files.target is None or files.target.algorithm not in ALGORITHMS:
            return FAILURE
        return self.manifest(repository.name, files.target)

    def manifest(self, name: str, digest: Digest) -> Answer:
        """Foretell the answer to a manifest's digest: ``GET /v2/NAME/manifests/DIGEST``."""
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
        """Foretell the answer to a blob's digest: ``GET /v2/NAME/blobs/DIGEST``."""
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
    """Return whether a link leads astray.

    One that names a digest of another algorithm does not: a registry stores all blobs by their SHA-256, and
    links whatever else a client has called them to that.
    """
    return target != digest and target.algorithm == digest.algorithm
