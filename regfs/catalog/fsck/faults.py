"""The faults of a registry's storage, as far as its scanned contents show them. Pure.

Each fault names the files whose absence it depends on, so they can be looked up again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from regfs.catalog.fsck.findings import Finding, Kind, Severity
from regfs.catalog.fsck.pulls import NO_MANIFEST, Answer, Broken, Pulls, is_other
from regfs.catalog.manifest import NO_PLATFORM
from regfs.layout import (
    ROOT,
    BlobData,
    Digest,
    LayerLink,
    ManifestRevisionLink,
    PathSpec,
    SignatureLink,
    TagCurrentLink,
    TagIndexLink,
    uploads_root,
)
from regfs.store.verify import ALGORITHMS

if TYPE_CHECKING:
    from regfs.catalog.manifest import Reference
    from regfs.catalog.snapshot import File, Repository, Snapshot, TagFiles

OLD = timedelta(days=7)
"""The age at which the registry itself purges an upload."""
GRACE = timedelta(hours=1)
"""The age up to which a layer link may belong to a running push whose manifest will follow."""

Reading: TypeAlias = Digest | Broken | None


class Fault(NamedTuple):
    """A finding that holds only while all of `absent` are missing and `tag`, if any, is unchanged."""

    finding: Finding
    absent: tuple[PathSpec, ...] = ()
    tag: str = ""


@dataclass(slots=True)
class Use:
    """The uses of a digest in a repository: the first manifest with its reference, and their number."""

    reference: Reference
    manifest: Digest
    manifests: int = 1
    sizes: set[int] = field(default_factory=set)

    def __str__(self) -> str:
        more = f" and {self.manifests - 1} more" if self.manifests > 1 else ""
        if self.reference.relation == "manifest":
            return f"{_child_name(self.reference)} of index {self.manifest}{more}"
        return f"a {self.reference.relation} of manifest {self.manifest}{more}"


class Uses:
    """The references of a repository's manifests.

    Attributes
    ----------
    manifests : list of Digest
        The repository's revisions, and other manifests that its tags name.
    blobs, children : dict
        The uses of each digest as a layer or configuration, and as a manifest. Subjects and foreign layers
        are left out.
    indexes : dict
        The children of each index that are manifests.
    all : set of Digest
        The manifests and all digests that they refer to, other than as subjects.
    known : bool
        Whether all manifests could be read.
    """

    def __init__(self, pulls: Pulls, repository: Repository, tags: Mapping[str, TagFiles]) -> None:
        revisions = {
            revision for revision in repository.revisions if pulls.link("revision", repository.name, revision)
        }
        linked = revisions | {files.target for files in tags.values() if files.target}
        self.manifests = sorted(linked)
        self.blobs: dict[Digest, Use] = {}
        self.children: dict[Digest, Use] = {}
        self.indexes: dict[Digest, tuple[Reference, ...]] = {}
        self.all: set[Digest] = set(linked)
        self.known = True
        revisions_only = revisions - repository.layers.keys()
        for digest in self.manifests:
            read = pulls.read(digest)
            if read is None or read.manifest is None:
                # A deleted manifest refers to nothing; the references of an unreadable one are unknown.
                self.known = self.known and pulls.file(digest) is None
                continue
            references = [item for item in read.manifest.references if item.relation != "subject"]
            if read.manifest.kind == "index":
                # A child with a revision link only is pulled as a manifest, whatever media type is stated.
                references = [
                    replace(reference, relation="manifest")
                    if reference.digest in revisions_only
                    else reference
                    for reference in references
                ]
                self.indexes[digest] = tuple(item for item in references if item.relation == "manifest")
            for reference in references:
                self.all.add(reference.digest)
                if not reference.foreign:
                    self._add(reference, digest)
        for child in {item.digest for children in self.indexes.values() for item in children}:
            # Children that are not revisions are served through layer links.
            read = pulls.read(child)
            if read is not None and read.manifest is not None:
                self.all.update(read.manifest.kept)

    def _add(self, reference: Reference, manifest: Digest) -> None:
        uses = self.children if reference.relation == "manifest" else self.blobs
        use = uses.get(reference.digest)
        if use is None:
            use = uses[reference.digest] = Use(reference, manifest)
        elif use.manifest != manifest:
            use.manifests += 1
        if reference.size is not None:
            use.sizes.add(reference.size)


class Faults:
    """Finds the faults of a registry's storage.

    Parameters
    ----------
    snapshot : Snapshot
        The result of a scan.
    pulls : Pulls
        The predictions of pulls, updated after the scan.
    wrong_links : dict
        The links that no pull reads (signatures and tag indexes) and that do not name the digest in their
        path, with values as in `Pulls.links`.
    moved : set of (str, str)
        The repositories and names of tags that have changed since the scan.
    grace : timedelta
        The age up to which a layer link does not count as unused.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        pulls: Pulls,
        wrong_links: Mapping[PathSpec, Reading],
        moved: Set[tuple[str, str]],
        grace: timedelta,
    ) -> None:
        self._snapshot = snapshot
        self._pulls = pulls
        self._wrong_links = wrong_links
        self._moved = moved
        self._grace = grace

    def all(self) -> Iterator[Fault]:
        """Yield all faults, in no particular order."""
        needed: set[Digest] = set()
        for name, repository in sorted(self._snapshot.repositories.items()):
            tags = {tag: files for tag, files in repository.tags.items() if (name, tag) not in self._moved}
            uses = Uses(self._pulls, repository, tags)
            needed |= uses.all
            yield from self._layers(repository, uses)
            yield from self._revisions(repository)
            yield from self._unread_links(repository)
            for tag, files in sorted(tags.items()):
                yield from self._tag(repository, tag, files)
            for digest in uses.manifests:
                yield from self._manifest(name, digest)
            for digest, use in (*uses.blobs.items(), *uses.children.items()):
                yield from self._reference(name, digest, use)
            yield from self._missing_children(name, uses)
            yield from self._uploads(repository)
        for digest in sorted(self._pulls.altered - needed):
            if self._pulls.file(digest) is not None:
                yield _fault("wrong-digest", BlobData(digest), "", _ALTERED, _UNUSED)
        unknown = self._snapshot.unknown
        if unknown.files:
            examples = ", ".join(unknown.examples[:3])
            detail = f"{unknown.files} files of {unknown.bytes} bytes, such as {examples}"
            yield Fault(Finding("unknown-files", "warning", ROOT, "", detail, str(_UNREAD)))

    # -- links ----------------------------------------------------------------------------------------

    def _layers(self, repository: Repository, uses: Uses) -> Iterator[Fault]:
        name = repository.name
        links = {digest: self._pulls.link("layer", name, digest) for digest in uses.all}
        # A blob that is needed by its SHA-512 is stored under its SHA-256, which has a link of its own.
        used_digests = uses.all | {link for link in links.values() if isinstance(link, Digest)}
        for digest, file in repository.layers.items():
            used = digest in uses.blobs or digest in uses.children
            link = self._pulls.link("layer", name, digest)
            answer = self._pulls.blob(name, digest) if used else _UNUSED
            spec = LayerLink(name, digest)
            yield from self._link(spec, digest, link, answer)
            if not isinstance(link, Digest) or not uses.known or {digest, link} & used_digests:
                continue
            if self._pulls.file(link) is not None and self._is_old(file):
                yield _fault("unused-link", spec, name, "no manifest refers to it", _UNUSED)

    def _is_old(self, file: File) -> bool:
        return file.modified <= self._snapshot.started - self._grace

    def _revisions(self, repository: Repository) -> Iterator[Fault]:
        name = repository.name
        for digest in repository.revisions:
            link = self._pulls.link("revision", name, digest)
            answer = self._pulls.manifest(name, digest)
            yield from self._link(ManifestRevisionLink(name, digest), digest, link, answer)

    def _unread_links(self, repository: Repository) -> Iterator[Fault]:
        """Check the links that no pull reads."""
        name = repository.name
        for revision, digest in repository.signatures:
            signature = SignatureLink(name, revision, digest)
            yield from self._link(signature, digest, self._wrong_links.get(signature, digest), _UNREAD)
        for tag, files in repository.tags.items():
            for digest in files.index:
                entry = TagIndexLink(name, tag, digest)
                yield from self._link(entry, digest, self._wrong_links.get(entry, digest), _UNREAD)

    def _link(
        self,
        spec: LayerLink | ManifestRevisionLink | SignatureLink | TagIndexLink,
        digest: Digest,
        link: Reading,
        answer: Answer,
    ) -> Iterator[Fault]:
        if link is None:  # deleted since the scan
            return
        if not isinstance(link, Digest):
            yield _broken(link, spec, spec.repository, answer)
            return
        if is_other(digest, link):
            yield _fault("wrong-link", spec, spec.repository, f"it names {link}", answer)
        if self._pulls.file(link) is None:
            detail = f"there is no blob {link}"
            yield _fault("dangling-link", spec, spec.repository, detail, answer, BlobData(link))

    def _tag(self, repository: Repository, tag: str, files: TagFiles) -> Iterator[Fault]:
        name, spec = repository.name, TagCurrentLink(repository.name, tag)
        answer = self._pulls.tag(repository, tag)
        if files.current is None:
            detail = "it has an index, but no current link"
            yield _fault("tag-without-current", spec, name, detail, NO_MANIFEST, spec, tag=tag)
        elif files.target is None or files.target.algorithm not in ALGORITHMS:
            broken: Broken = "malformed" if files.current.size else "empty"
            yield _broken(broken, spec, name, answer)._replace(tag=tag)
        elif self._pulls.file(files.target) is None:
            blob = BlobData(files.target)
            detail = f"there is no blob {files.target}"
            yield _fault("dangling-link", spec, name, detail, answer, blob, tag=tag)
        elif self._pulls.link("revision", name, files.target) is None:
            revision = ManifestRevisionLink(name, files.target)
            detail = f"{files.target} is no revision of its repository"
            yield _fault("tag-without-revision", spec, name, detail, answer, revision, tag=tag)

    # -- manifests and what they refer to -------------------------------------------------------------

    def _manifest(self, name: str, digest: Digest) -> Iterator[Fault]:
        read = self._pulls.read(digest)
        if read is None or self._pulls.file(digest) is None:
            return
        answer = self._pulls.manifest(name, digest)
        spec = BlobData(digest)
        if digest in self._pulls.altered:
            yield _fault("wrong-digest", spec, name, _ALTERED, answer)
        if read.manifest is None:
            kind = _KINDS_OF_MANIFESTS[read.fault]
            yield _fault(kind, spec, name, read.problem, answer)
        elif read.refusal:
            yield _fault("refused-manifest", spec, name, read.refusal, answer)
        elif read.config_problem and read.manifest.config:
            config = read.manifest.config.digest
            detail = f"{read.config_problem}; the config of manifest {digest}"
            yield _fault("damaged-config", BlobData(config), name, detail, _BAD_CONFIG)

    def _reference(self, name: str, digest: Digest, use: Use) -> Iterator[Fault]:
        child = use.reference.relation == "manifest"
        answer = self._pulls.manifest(name, digest) if child else self._pulls.blob(name, digest)
        target = self._pulls.target(name, digest) if child else self._pulls.link("layer", name, digest)
        blob = target if isinstance(target, Digest) and not is_other(digest, target) else digest
        file = self._pulls.file(blob)
        spec = BlobData(blob)
        if child:
            answer = replace(answer, platform=use.reference.platform)
        missing_child = child and target is None  # reported by `_missing_children`
        if file is None and not missing_child:
            yield _fault("missing-blob", spec, name, f"it is {use}", answer, spec)
        elif file and use.sizes - {file.size} and not missing_child:
            stated_sizes = ", ".join(map(str, sorted(use.sizes - {file.size})))
            detail = f"it has {file.size} bytes, not {stated_sizes}; it is {use}"
            yield _fault("wrong-size", spec, name, detail, _OTHER if answer.works else answer)
        if blob in self._pulls.altered and not (child and self._pulls.link("revision", name, digest)):
            yield _fault("wrong-digest", spec, name, f"{_ALTERED}; it is {use}", answer)
        if not child and target is None:
            link = LayerLink(name, digest)
            yield _fault("missing-link", link, name, f"it is {use}", answer, link)
        elif target is not None and child and file and self._pulls.link("revision", name, digest) is None:
            revision = ManifestRevisionLink(name, digest)
            if answer.works:
                answer = Answer(note="a layer's link leads to it, but what it refers to is garbage")
            yield _fault("missing-revision", revision, name, f"it is {use}", answer, revision)

    def _missing_children(self, name: str, uses: Uses) -> Iterator[Fault]:
        """Yield the children that the repository lacks, with a severity by their indexes' other children.

        An index may lack platforms on purpose: ``skopeo copy``, ``crane`` and ``regctl`` can copy only some,
        and distribution accepts such an index if ``validation.manifests.indexes.platforms`` allows it. A
        missing child is therefore an error only if no other child of one of its indexes can be pulled.
        """
        worst: dict[Digest, Finding] = {}
        for index, children in uses.indexes.items():
            absent = [child for child in children if self._pulls.target(name, child.digest) is None]
            if not absent:
                continue
            pullable = [child for child in children if self._pulls.manifest(name, child.digest).works]
            images = any(child.platform != NO_PLATFORM for child in children)
            useful = [child for child in pullable if child.platform != NO_PLATFORM or not images]
            severity: Severity = "warning" if useful else "error"
            for child in absent:
                reported = worst.get(child.digest)
                if reported is not None and (useful or reported.severity == "error"):
                    continue
                link = ManifestRevisionLink(name, child.digest)
                left = f"{len(pullable)} of {len(children)} manifests" if pullable else "no manifest"
                detail = f"it is {_child_name(child)} of index {index}, of which the repository has {left}"
                answer = replace(NO_MANIFEST, platform=child.platform)
                pull = f"works for {_platforms(useful)}; {answer}" if useful else str(answer)
                worst[child.digest] = Finding("missing-revision", severity, link.path, name, detail, pull)
        for digest, finding in worst.items():
            yield Fault(finding, (ManifestRevisionLink(name, digest),))

    def _uploads(self, repository: Repository) -> Iterator[Fault]:
        for id_, upload in repository.uploads.items():
            start_times: list[datetime] = [item.started for item in upload.pending]
            started = upload.started or (min(start_times) if start_times else upload.modified)
            if started is not None and started <= self._snapshot.started - OLD:
                size = upload.bytes + sum(item.bytes for item in upload.pending)
                at_least = "" if self._snapshot.pending_known else "at least "
                detail = f"begun {started:%Y-%m-%d %H:%M} UTC, it holds {at_least}{size} bytes"
                path = f"{uploads_root(repository.name)}/{id_}"
                yield Fault(Finding("old-upload", "warning", path, repository.name, detail, str(_UNREAD)))


_ALTERED = "its content has another digest"
_UNREAD = Answer(note="no pull reads it")
_UNUSED = Answer(note="no manifest refers to it")
_BAD_CONFIG = Answer(other=True, note="cannot read it")
_OTHER = Answer(other=True)
_KINDS_OF_MANIFESTS: dict[str, Kind] = {
    "damaged": "damaged-manifest",
    "": "damaged-manifest",
    "large": "large-manifest",
    "type": "unknown-manifest",
}


def _child_name(child: Reference) -> str:
    if child.platform == NO_PLATFORM:
        return "an attestation"
    return f"the manifest for {child.platform}" if child.platform else "a manifest"


def _platforms(children: Sequence[Reference]) -> str:
    """Return the first platforms of children, as text."""
    names = list(dict.fromkeys(child.platform for child in children if child.platform))
    if not names:
        return f"{len(children)} other{'s' if len(children) > 1 else ''}"
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _broken(reason: Broken, spec: PathSpec, repository: str, answer: Answer) -> Fault:
    if reason == "empty":
        return _fault("empty-link", spec, repository, "it is empty", answer)
    return _fault("malformed-link", spec, repository, "it names no digest", answer)


def _fault(
    kind: Kind,
    spec: PathSpec,
    repository: str,
    detail: str,
    pull: Answer,
    *absent: PathSpec,
    tag: str = "",
) -> Fault:
    severity: Severity = "warning" if pull.works else "error"
    return Fault(Finding(kind, severity, spec.path, repository, detail, str(pull)), absent, tag)
