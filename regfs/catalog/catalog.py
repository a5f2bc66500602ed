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

from regfs.catalog.breakdown import Breakdown, breakdown
from regfs.catalog.database import database_in_use, warn_readers
from regfs.catalog.fsck.check import check
from regfs.catalog.fsck.findings import Finding, Ignore, parse_ignore, remaining
from regfs.catalog.html import Bytes, Cell, table
from regfs.catalog.inspection import Inspection, inspect
from regfs.catalog.lookup import Lookup
from regfs.catalog.names import Name, unknown_repository
from regfs.catalog.orphans import IncompletePlanError, Plan, PlanError, plan
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
from regfs.catalog.roles import RevisionRecord, revisions, standings, tag_names
from regfs.catalog.rootfs import RootFilesystem
from regfs.catalog.scan import Progress, scan
from regfs.catalog.search import no_registry
from regfs.catalog.snapshot import Change, Snapshot, Unknown
from regfs.catalog.source import Source
from regfs.catalog.summary import Summary
from regfs.catalog.usage import Usage, usage
from regfs.catalog.uses import Uses, find_digest, uses
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
    from collections.abc import Iterable, Mapping

    from regfs.catalog.snapshot import File, Repository, UploadFiles

ORPHAN_AGE = timedelta(days=1)
"""The age from which orphaned blobs count in a summary."""


class Catalog:
    """Everything in a registry's bucket, read when it is first asked for.

    Parameters
    ----------
    fs : AbstractFileSystem, str, storage driver or Catalog
        What to read through, or the URL of it; nothing is written. By default the registry of the
        environment, as of a :class:`~regfs.RegistryFileSystem` without options.
    progress : callable, optional
        ``progress(stage, done, total)`` is called as the work goes on; `total` may be None.
    configs : bool
        Read images' configurations too: one GET each, for platform and time of creation.
    storage_options : mapping, optional
        Of the URL's filesystem.

    Raises
    ------
    TypeError
        `fs` is none of these, or there are `storage_options` and it is no URL.
    regfs.catalog.search.NoRegistryError
        When it is read: there is no registry. The error names another place that has one.
    OSError
        When it is read: a listing or a read failed.

    Warns
    -----
    regfs.MetadataDatabaseWarning
        When it is read: the registry keeps its metadata in a database, so that this is not all.

    Examples
    --------
    >>> catalog = Catalog(fs)  # doctest: +SKIP
    >>> [tag.name for tag in catalog.tags if tag.repository == "library/hello"]  # doctest: +SKIP
    ['latest']
    """

    def __init__(
        self,
        fs: Any = "regfs://",
        progress: Progress | None = None,
        *,
        configs: bool = True,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        self.source = Source.of(fs, storage_options)
        self._progress = progress
        self._configs = configs

    def __repr__(self) -> str:
        return f"Catalog({self.source.url('/')!r})"

    def _repr_html_(self) -> str:
        """Return the figures of what was read as a table; nothing is read for it."""
        snapshot: Snapshot | None = vars(self).get("snapshot")
        rows: list[tuple[Cell, ...]] = [("place", self.source.url("/"))]
        if snapshot is None:
            return table("Catalog", [], rows, note="nothing is read before it is asked for, as by usage()")
        repositories = snapshot.repositories.values()
        rows += [
            ("read", snapshot.started),
            ("repositories", len(snapshot.repositories)),
            ("tags", sum(len(repository.tags) for repository in repositories)),
            ("manifests", len(snapshot.manifests)),
            ("blobs", len(snapshot.blobs)),
            ("unfinished uploads", sum(len(repository.uploads) for repository in repositories)),
            ("bytes", Bytes(snapshot.bytes)),
        ]
        note = (
            "the registry keeps its metadata in a database: this is not all"
            if snapshot.database_in_use
            else ""
        )
        return table("Catalog", [], rows, note=note)

    @cached_property
    def snapshot(self) -> Snapshot:
        """The scan's result, which the records are made of."""
        scanned = scan(self.source, self._progress, configs=self._configs)
        empty = not scanned.repositories and not scanned.blobs and not scanned.unknown.files
        if empty and not scanned.database_in_use:
            raise no_registry(self.source)
        return scanned

    def refresh(self) -> None:
        """Forget what was read; it is read anew when it is next asked for."""
        for name in ("snapshot", "needed"):
            self.__dict__.pop(name, None)

    @property
    def database_in_use(self) -> bool | None:
        """Whether a lock file says that the metadata is in a database (GitLab's registry): this is not all.

        None where the credentials do not allow reading that file.
        """
        return self.snapshot.database_in_use

    @property
    def changes(self) -> list[Change]:
        """Changes during the scan: files that appeared or vanished since the listing."""
        return self.snapshot.changes

    @property
    def unknown(self) -> Unknown:
        """Files in the registry's directory that no registry writes."""
        return self.snapshot.unknown

    @property
    def repositories(self) -> list[RepositoryRecord]:
        """The repositories, by name."""
        return [self._repository(repository) for repository in self._repositories()]

    @property
    def tags(self) -> list[TagRecord]:
        """The tags, by repository and name."""
        records = []
        for repository in self._repositories():
            for name, files in sorted(repository.tags.items()):
                history = sorted(
                    ((digest, file.modified) for digest, file in files.index.items()),
                    key=lambda item: (item[1], item[0]),
                )
                problem = files.problem or ("" if files.current else "it has no current link")
                modified = files.current.modified if files.current else None
                records.append(
                    TagRecord(repository.name, name, files.target, modified, tuple(history), problem)
                )
        return records

    @property
    def manifests(self) -> list[ManifestRecord]:
        """The manifests, by digest."""
        revisions = Counter(
            d for repository in self.snapshot.repositories.values() for d in repository.revisions
        )
        tagged = Counter(
            files.target
            for repository in self.snapshot.repositories.values()
            for files in repository.tags.values()
        )
        tags = (tag for repository in self.snapshot.repositories.values() for tag in repository.tags.items())
        roles = standings(self.snapshot.manifests, tag_names(tags))
        child_platforms: dict[Digest, str] = {}
        for read in self.snapshot.manifests.values():
            for child in read.manifest.references if read.manifest else ():
                if child.relation == "manifest":  # if indexes differ, the same one counts in every look
                    child_platforms[child.digest] = max(child.platform, child_platforms.get(child.digest, ""))
        records = []
        for digest, read in sorted(self.snapshot.manifests.items()):
            this, config = read.manifest, read.config
            kept = (
                [reference for reference in this.references if reference.relation != "subject"]
                if this
                else []
            )
            records.append(
                ManifestRecord(
                    digest,
                    revisions[digest],
                    tagged[digest],
                    this.media_type if this else "",
                    this.kind if this else "",
                    roles[digest].role,
                    this.artifact_type if this else "",
                    (config.platform if config else "") or child_platforms.get(digest, ""),
                    config.created if config else None,
                    this.config.digest if this and this.config else None,
                    this.subject if this else None,
                    read.size,
                    sum(blob.size if blob.size is not None else self._size(blob.digest) for blob in kept),
                    this.annotations if this else {},
                    read.problem,
                )
            )
        return records

    @property
    def references(self) -> list[ReferenceRecord]:
        """The references of each manifest, by its digest and in its own order."""
        records = []
        for digest, read in sorted(self.snapshot.manifests.items()):
            at: Counter[str] = Counter()
            for reference in read.manifest.references if read.manifest else ():
                records.append(
                    ReferenceRecord(
                        digest,
                        reference.relation,
                        at[reference.relation],
                        reference.digest,
                        reference.media_type,
                        reference.size,
                        reference.platform,
                    )
                )
                at[reference.relation] += 1
        return records

    @property
    def blobs(self) -> list[BlobRecord]:
        """The blobs, by digest."""
        manifests = Counter(
            digest
            for read in self.snapshot.manifests.values()
            if read.manifest
            for digest in {reference.digest for reference in read.manifest.references}
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
        repositories: defaultdict[Digest, list[str]] = defaultdict(list)
        for repository in self._repositories():
            for digest in needs(self.snapshot, repository):
                repositories[digest].append(sys.intern(repository.name))
        return {digest: tuple(names) for digest, names in repositories.items()}

    def image(self, name: str, *, sharing: bool = False) -> Inspection:
        """Read one image, index or artifact, as it is now; nothing else of the registry is read.

        Parameters
        ----------
        name : str
            ``REPO``, ``REPO:TAG`` or ``REPO@DIGEST``, as in ``docker pull``; without a tag ``latest``, and a
            digest may be cut short.
        sharing : bool
            Find out which other repositories have its layers; lists the links of the whole registry.

        Returns
        -------
        Inspection
            Digest, platforms, size in bytes, time of creation, configuration, layers, children of an index,
            and what refers to it. Its :meth:`~regfs.catalog.inspection.Inspection.rootfs` has the files: it
            lists them, opens them, and extracts them.

        Raises
        ------
        regfs.catalog.names.UnknownNameError
            There is no such repository, tag or manifest; the error says what there is.
        regfs.catalog.names.AmbiguousDigestError
            Several digests begin so.
        ValueError
            The name breaks a rule of the registry, or the manifest cannot be read.

        Examples
        --------
        >>> image = catalog.image("library/hello:1.0")  # doctest: +SKIP
        >>> image.rootfs().open("/etc/os-release").read()  # doctest: +SKIP
        """
        parsed, lookup, digest = self._resolve(name)
        return inspect(lookup, parsed.repository, digest, sharing=sharing, name=str(parsed))

    def rootfs(self, name: str, platform: str | None = None) -> RootFilesystem:
        """Return the files in one image: to be listed, opened and extracted.

        The same as ``image(name).rootfs(platform)``, and reads less: only the manifests that lead to the
        image. Layers are read when they are needed.

        Parameters
        ----------
        name : str
            As of :meth:`image`.
        platform : str, optional
            Of an index: which image, as "linux/arm64".

        Raises
        ------
        regfs.catalog.rootfs.PlatformError
            An index has several images and none is chosen, or none for the platform.
        regfs.catalog.rootfs.UnreadableImageError
            There is no image that can be read.
        ValueError, OSError
            As of :meth:`image`.

        Examples
        --------
        >>> rootfs = catalog.rootfs("library/hello")  # doctest: +SKIP
        >>> rootfs.extract("hello", "/etc")  # doctest: +SKIP
        """
        parsed, lookup, digest = self._resolve(name)
        return RootFilesystem.of(lookup, parsed.repository, digest, platform, name=str(parsed))

    def usage(self) -> Usage:
        """Reckon up who uses how much, what is shared, and what a deletion would free."""
        return usage(self.snapshot)

    def usage_of(self, repository: str) -> Breakdown:
        """Return why one repository is as large as it is: its tags, its untagged manifests, its blobs.

        Parameters
        ----------
        repository : str
            Its name.

        Raises
        ------
        regfs.catalog.names.UnknownNameError
            There is no such repository; the error names the nearest. It is a FileNotFoundError.
        """
        self._named(repository)
        return breakdown(self.snapshot, repository, self.usage(), self.needed)

    def uses_of(self, digest: Digest | str) -> Uses:
        """Return who uses a blob: every way that leads to it from a tag, a manifest or a link.

        Parameters
        ----------
        digest : Digest or str
            The digest, or how its hex begins where no other does; the algorithm may be left out.

        Raises
        ------
        regfs.catalog.names.AmbiguousDigestError
            Several digests begin so.
        regfs.catalog.names.UnknownNameError
            No blob has it, and no link or manifest refers to it. It is a FileNotFoundError.
        """
        return uses(self.snapshot, find_digest(self.snapshot, str(digest)))

    def revisions(self, repository: str) -> list[RevisionRecord]:
        """Return the manifests of a repository, each with its role and its tags, the last pushed first.

        Raises
        ------
        regfs.catalog.names.UnknownNameError
            There is no such repository; the error names the nearest. It is a FileNotFoundError.
        """
        named = self._named(repository)
        return revisions(repository, named.revisions, named.tags, self.snapshot.manifests)

    def orphans(self, older_than: timedelta | float | None = None, *, allow_most: bool = False) -> Plan:
        """Plan the deletion of the blobs that nothing needs; :func:`regfs.catalog.orphans.apply` applies it.

        Parameters
        ----------
        older_than : timedelta or float, optional
            Leave out what was written, or linked to a repository, less than that ago; a number in seconds.
            A registry that is at work needs such an age: what is being pushed looks like garbage.
        allow_most : bool
            Let the plan name more than half of the blobs or of their bytes.

        Raises
        ------
        regfs.catalog.orphans.PlanError
            The metadata is in a database (:class:`regfs.MetadataDatabaseError`), the links cannot be the
            truth for another reason, or the plan names more than half without `allow_most`.
        """
        return plan(self.source, self.snapshot, older_than, allow_most=allow_most, progress=self._progress)

    def fsck(self, verify: bool = False, ignore: Iterable[str | Ignore] = ()) -> list[Finding]:
        """Check the registry, and what a pull of each damaged thing gets.

        Reads every link, and asks once more for what is missing.

        Parameters
        ----------
        verify : bool
            Read every blob as well, and compare its digest.
        ignore : iterable of str or Ignore
            What is known and left out: ``KIND``, or ``KIND:PATTERN`` where a glob matches the repository or
            the path; see :class:`regfs.catalog.fsck.findings.Ignore`.

        Returns
        -------
        list of Finding
            By repository, path and kind.

        Raises
        ------
        regfs.catalog.fsck.findings.UnknownKindError
            There is no such kind, of which the error names the nearest; nothing was read.
        """
        ignored = parse_ignore(ignore)
        findings = check(self.source, self.snapshot, verify=verify, progress=self._progress)
        return remaining(findings, ignored)

    def summary(
        self,
        older_than: timedelta | float = ORPHAN_AGE,
        *,
        fsck: bool = True,
        ignore: Iterable[str | Ignore] = (),
    ) -> Summary:
        """Return the figures that an operator watches: usage, orphans, uploads, findings, of one scan.

        Parameters
        ----------
        older_than : timedelta or float
            The age from which orphaned blobs count, as in :meth:`orphans`; a number in seconds.
        fsck : bool
            With what :meth:`fsck` finds, for which every link is read.
        ignore : iterable of str or Ignore
            Findings that are only counted as ignored, as in :meth:`fsck`.

        Returns
        -------
        Summary
            Where :meth:`orphans` refuses, or a manifest cannot be read, the orphans are None, and
            `orphans_problem` says why.

        Raises
        ------
        ValueError
            `ignore` or the age is not valid.
        regfs.NoRegistryError, OSError
            As for the class.
        """
        ignored = parse_ignore(ignore)
        age = older_than if isinstance(older_than, timedelta) else timedelta(seconds=older_than)
        snapshot = self.snapshot
        orphans, problem = self._known_orphans(age)
        findings = self.fsck() if fsck else None
        left = None if findings is None else tuple(remaining(findings, ignored))
        return Summary(
            snapshot.started,
            snapshot.ended,
            snapshot.database_in_use,
            self.usage(),
            len(snapshot.manifests),
            tuple(self.uploads),
            age,
            orphans,
            problem,
            left,
            len(findings or ()) - len(left or ()),
            len(snapshot.changes),
        )

    def _known_orphans(self, age: timedelta) -> tuple[Plan | None, str]:
        """Return the orphaned blobs, or why they cannot be known."""
        try:
            taken = self.orphans(age)
        except (PlanError, PermissionError) as exc:
            return None, str(exc)
        if taken.incomplete:
            return None, str(IncompletePlanError(taken.incomplete))
        return taken, ""

    # -- inside ---------------------------------------------------------------------------------------

    def _resolve(self, name: str) -> tuple[Name, Lookup, Digest]:
        parsed = Name.parse(name)
        lookup = Lookup(self.source, self._progress)
        warn_readers(self.source, database_in_use(self.source))
        return parsed, lookup, lookup.resolve(parsed)

    def _repositories(self) -> list[Repository]:
        return [repository for _, repository in sorted(self.snapshot.repositories.items())]

    def _named(self, repository: str) -> Repository:
        if repository not in self.snapshot.repositories:
            raise unknown_repository(repository, sorted(self.snapshot.repositories))
        return self.snapshot.repositories[repository]

    def _repository(self, repository: Repository) -> RepositoryRecord:
        upload_bytes = repository.upload_bytes
        return RepositoryRecord(
            repository.name,
            sum(files.current is not None for files in repository.tags.values()),
            len(repository.revisions),
            len(repository.layers),
            len(repository.uploads),
            repository.files,
            sum(map(self._size, needs(self.snapshot, repository))),
            repository.bytes - upload_bytes,
            upload_bytes,
            repository.pending_bytes if self.snapshot.pending_known else None,
            repository.modified,
        )

    def _size(self, digest: Digest) -> int:
        file = self.snapshot.blobs.get(digest)
        return file.size if file else 0

    def _upload(self, repository: str, id_: str, upload: UploadFiles) -> UploadRecord:
        pending, pending_known = upload.pending, self.snapshot.pending_known
        begun = [item.started for item in pending]
        started = upload.started or (min(begun) if begun else upload.modified)
        return UploadRecord(
            repository,
            id_,
            UploadData(repository, id_).path,
            started,
            self.snapshot.started - started if started else None,
            sum(item.parts for item in pending) if pending_known else None,
            sum(item.bytes for item in pending) if pending_known else None,
            upload.files,
            upload.bytes,
            tuple(item.id for item in pending),
        )


def _links(repository: Repository) -> list[LinkRecord]:
    name = repository.name

    def record(kind: str, digest: Digest | None, path: str, file: File, tag: str = "") -> LinkRecord:
        return LinkRecord(kind, name, tag, digest, path, file.size, file.modified)

    links = [record("layer", d, LayerLink(name, d).path, f) for d, f in sorted(repository.layers.items())]
    links += [
        record("revision", d, ManifestRevisionLink(name, d).path, f)
        for d, f in sorted(repository.revisions.items())
    ]
    links += [
        record("signature", d, SignatureLink(name, revision, d).path, f)
        for (revision, d), f in sorted(repository.signatures.items())
    ]
    for tag, files in sorted(repository.tags.items()):
        if files.current:
            path = TagCurrentLink(name, tag).path
            links.append(record("tag", files.target, path, files.current, tag))
        links += [
            record("tag index", d, TagIndexLink(name, tag, d).path, f, tag)
            for d, f in sorted(files.index.items())
        ]
    return links
