"""What a registry's bucket holds, as records: all of it from one flat listing and the manifests.

Nothing is written here, and a registry may be at work beside it. Beneath lies any fsspec filesystem or
storage driver (:mod:`regfs.catalog.source`); :mod:`regfs.frames` makes tables of the records.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from regfs.catalog.fsck import Finding, check
from regfs.catalog.orphans import Plan, plan
from regfs.catalog.reach import needs
from regfs.catalog.records import (
    BlobRecord,
    LinkRecord,
    ManifestRecord,
    ReferenceRecord,
    RepositoryRecord,
    TagRecord,
    UploadRecord,
)
from regfs.catalog.scan import Progress, scan
from regfs.catalog.search import no_registry
from regfs.catalog.snapshot import Change, Snapshot, Unknown
from regfs.catalog.source import Source
from regfs.catalog.usage import Usage, usage
from regfs.layout import (
    Digest,
    LayerLink,
    ManifestRevisionLink,
    SignatureLink,
    TagCurrentLink,
    TagIndexLink,
    UploadData,
)

if TYPE_CHECKING:
    from regfs.catalog.snapshot import File, Repository, UploadFiles


class Catalog:
    """Everything in a registry's bucket, read when it is first asked for.

    Parameters
    ----------
    fs : AbstractFileSystem or storage driver
        What to read through; nothing is written.
    progress : callable, optional
        ``progress(stage, done, total)`` is told what goes on; `total` may be None.
    configs : bool
        Read images' configurations too: one GET each, for platform and time of creation.

    Raises
    ------
    TypeError
        `fs` is neither.
    regfs.catalog.search.NoRegistryError
        When it is read: there is no registry. The error tells where there is one.
    OSError
        When it is read: a listing or a read failed.

    Examples
    --------
    >>> catalog = Catalog(fs)  # doctest: +SKIP
    >>> [tag.name for tag in catalog.tags if tag.repository == "library/hello"]  # doctest: +SKIP
    ['latest']
    """

    def __init__(self, fs: Any, progress: Progress | None = None, *, configs: bool = True) -> None:
        self.source = Source(fs)
        self._progress = progress
        self._configs = configs

    def __repr__(self) -> str:
        return f"Catalog({self.source.url('/')!r})"

    @cached_property
    def snapshot(self) -> Snapshot:
        """What was found, in the form that the records are made of."""
        found = scan(self.source, self._progress, configs=self._configs)
        if not found.repositories and not found.blobs and not found.unknown.files:
            raise no_registry(self.source)
        return found

    def refresh(self) -> None:
        """Forget what was read; it is read anew when it is next asked for."""
        for name in ("snapshot", "needed"):
            self.__dict__.pop(name, None)

    @property
    def changes(self) -> list[Change]:
        """What moved while it was read: files that appeared or vanished since the listing."""
        return self.snapshot.changes

    @property
    def unknown(self) -> Unknown:
        """Files in the registry's directory that no registry writes."""
        return self.snapshot.unknown

    @property
    def repositories(self) -> list[RepositoryRecord]:
        """The repositories, by name."""
        return [
            RepositoryRecord(
                one.name,
                sum(files.current is not None for files in one.tags.values()),
                len(one.revisions),
                len(one.layers),
                len(one.uploads),
                one.files,
                one.bytes,
                one.modified,
            )
            for one in self._repositories()
        ]

    @property
    def tags(self) -> list[TagRecord]:
        """The tags, by repository and name."""
        found = []
        for repository in self._repositories():
            for name, files in sorted(repository.tags.items()):
                history = sorted(
                    ((digest, file.modified) for digest, file in files.index.items()),
                    key=lambda item: (item[1], item[0]),
                )
                problem = files.problem or ("" if files.current else "it has no current link")
                modified = files.current.modified if files.current else None
                found.append(
                    TagRecord(repository.name, name, files.target, modified, tuple(history), problem)
                )
        return found

    @property
    def manifests(self) -> list[ManifestRecord]:
        """The manifests, by digest."""
        revisions = Counter(d for one in self.snapshot.repositories.values() for d in one.revisions)
        tagged = Counter(
            files.target for one in self.snapshot.repositories.values() for files in one.tags.values()
        )
        told: dict[Digest, str] = {}
        for read in self.snapshot.manifests.values():
            for child in read.manifest.references if read.manifest else ():
                if child.relation == "manifest":  # if indexes differ, the same one counts in every look
                    told[child.digest] = max(child.platform, told.get(child.digest, ""))
        found = []
        for digest, read in sorted(self.snapshot.manifests.items()):
            this, config = read.manifest, read.config
            kept = [one for one in this.references if one.relation != "subject"] if this else []
            found.append(
                ManifestRecord(
                    digest,
                    revisions[digest],
                    tagged[digest],
                    this.media_type if this else "",
                    this.kind if this else "",
                    this.artifact_type if this else "",
                    (config.platform if config else "") or told.get(digest, ""),
                    config.created if config else None,
                    this.config.digest if this and this.config else None,
                    this.subject if this else None,
                    read.size,
                    sum(one.size if one.size is not None else self._size(one.digest) for one in kept),
                    this.annotations if this else {},
                    read.problem,
                )
            )
        return found

    @property
    def references(self) -> list[ReferenceRecord]:
        """What each manifest refers to, by the manifest's digest and in its own order."""
        found = []
        for digest, read in sorted(self.snapshot.manifests.items()):
            at: Counter[str] = Counter()
            for one in read.manifest.references if read.manifest else ():
                found.append(
                    ReferenceRecord(
                        digest,
                        one.relation,
                        at[one.relation],
                        one.digest,
                        one.media_type,
                        one.size,
                        one.platform,
                    )
                )
                at[one.relation] += 1
        return found

    @property
    def blobs(self) -> list[BlobRecord]:
        """The blobs, by digest."""
        manifests = Counter(
            digest
            for read in self.snapshot.manifests.values()
            if read.manifest
            for digest in {one.digest for one in read.manifest.references}
        )
        needing = self.needed
        return [
            BlobRecord(digest, file.size, file.modified, manifests[digest], len(needing.get(digest, ())))
            for digest, file in sorted(self.snapshot.blobs.items())
        ]

    @property
    def uploads(self) -> list[UploadRecord]:
        """The unfinished uploads, by repository and id."""
        return [
            self._upload(repository.name, id_, upload)
            for repository in self._repositories()
            for id_, upload in sorted(repository.uploads.items())
        ]

    @property
    def links(self) -> list[LinkRecord]:
        """All link files, by repository and kind."""
        return [link for repository in self._repositories() for link in _links(repository)]

    @cached_property
    def needed(self) -> dict[Digest, tuple[str, ...]]:
        """Which repositories need a blob, by digest, as the registry's garbage collector sees it."""
        found: defaultdict[Digest, list[str]] = defaultdict(list)
        for repository in self._repositories():
            for digest in needs(self.snapshot, repository):
                found[digest].append(sys.intern(repository.name))
        return {digest: tuple(names) for digest, names in found.items()}

    def usage(self) -> Usage:
        """Reckon up who uses how much, what is shared, and what a deletion would free."""
        return usage(self.snapshot)

    def orphans(self, older_than: timedelta | float | None = None) -> Plan:
        """Take a plan to delete the blobs that nothing needs; :func:`regfs.catalog.orphans.apply` applies it.

        Parameters
        ----------
        older_than : timedelta or float, optional
            Leave out what was written, or linked to a repository, less than that ago; a number in seconds.
            A registry that is at work needs such an age: what is being pushed looks like garbage.
        """
        return plan(self.source, self.snapshot, older_than)

    def fsck(self, verify: bool = False) -> list[Finding]:
        """Tell what is wrong, and what a pull would make of it.

        Reads every link, and asks once more for what is missing.

        Parameters
        ----------
        verify : bool
            Read every blob as well, and compare its digest.

        Returns
        -------
        list of Finding
            By repository, path and kind.
        """
        return check(self.source, self.snapshot, verify=verify, progress=self._progress)

    # -- inside ---------------------------------------------------------------------------------------

    def _repositories(self) -> list[Repository]:
        return [one for _, one in sorted(self.snapshot.repositories.items())]

    def _size(self, digest: Digest) -> int:
        file = self.snapshot.blobs.get(digest)
        return file.size if file else 0

    def _upload(self, repository: str, id_: str, upload: UploadFiles) -> UploadRecord:
        pending, known = upload.pending, self.snapshot.pending_known
        begun = [one.started for one in pending]
        started = upload.started or (min(begun) if begun else upload.modified)
        return UploadRecord(
            repository,
            id_,
            UploadData(repository, id_).path,
            started,
            self.snapshot.started - started if started else None,
            sum(one.parts for one in pending) if known else None,
            sum(one.bytes for one in pending) if known else None,
            upload.files,
            upload.bytes,
            tuple(one.id for one in pending),
        )


def _links(repository: Repository) -> list[LinkRecord]:
    name = repository.name

    def record(kind: str, digest: Digest | None, path: str, file: File, tag: str = "") -> LinkRecord:
        return LinkRecord(kind, name, tag, digest, path, file.size, file.modified)

    found = [record("layer", d, LayerLink(name, d).path, f) for d, f in sorted(repository.layers.items())]
    found += [
        record("revision", d, ManifestRevisionLink(name, d).path, f)
        for d, f in sorted(repository.revisions.items())
    ]
    found += [
        record("signature", d, SignatureLink(name, revision, d).path, f)
        for (revision, d), f in sorted(repository.signatures.items())
    ]
    for tag, files in sorted(repository.tags.items()):
        if files.current:
            path = TagCurrentLink(name, tag).path
            found.append(record("tag", files.target, path, files.current, tag))
        found += [
            record("tag index", d, TagIndexLink(name, tag, d).path, f, tag)
            for d, f in sorted(files.index.items())
        ]
    return found
