"""The contents of a registry's bucket as records, read from one flat listing and the manifests.

Nothing here writes, and a registry may keep serving the bucket meanwhile. The bucket is read through any
fsspec filesystem or storage driver (:mod:`regfs.catalog.source`); :mod:`regfs.frames` turns the records into
tables.
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
"""The default age from which a summary counts orphaned blobs."""


class Catalog:
    """The contents of a registry's bucket, read on first use.

    Parameters
    ----------
    fs : AbstractFileSystem, str, storage driver or Catalog
        The filesystem, its URL, or the storage driver to read through; nothing is written. By default the
        registry that the environment configures, as for a :class:`~regfs.RegistryFileSystem` without options.
    progress : callable, optional
        Called as ``progress(stage, done, total)`` during the work; `total` may be None.
    configs : bool
        Also read the images' configurations, for platforms and creation times: one GET each.
    storage_options : mapping, optional
        Options of the URL's filesystem.

    Raises
    ------
    TypeError
        `fs` is none of these, or `storage_options` are given and `fs` is not a URL.
    regfs.catalog.search.NoRegistryError
        On first use: there is no registry. The error names another place that has one.
    OSError
        On first use: a listing or a read failed.

    Warns
    -----
    regfs.MetadataDatabaseWarning
        On first use: the registry keeps its metadata in a database, so the catalog is incomplete.

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
        """Return the counts of what was read so far as an HTML table, without reading anything."""
        snapshot: Snapshot | None = vars(self).get("snapshot")
        rows: list[tuple[Cell, ...]] = [("place", self.source.url("/"))]
        if snapshot is None:
            return table("Catalog", [], rows, note="nothing is read until it is needed, e.g. by usage()")
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
            "the registry keeps its metadata in a database: these figures are incomplete"
            if snapshot.database_in_use
            else ""
        )
        return table("Catalog", [], rows, note=note)

    @cached_property
    def snapshot(self) -> Snapshot:
        """The result of the scan, from which the records are made."""
        scanned = scan(self.source, self._progress, configs=self._configs)
        empty = not scanned.repositories and not scanned.blobs and not scanned.unknown.files
        if empty and not scanned.database_in_use:
            raise no_registry(self.source)
        return scanned

    def refresh(self) -> None:
        """Discard what was read; the next use scans the registry again."""
        for name in ("snapshot", "needed"):
            self.__dict__.pop(name, None)

    @property
    def database_in_use(self) -> bool | None:
        """Whether GitLab's lock file says that the metadata is in a database: the catalog is then incomplete.

        None if the credentials do not allow reading that file.
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
                if child.relation == "manifest":  # max: every scan must choose alike if indexes differ
                    child_platforms[child.digest] = max(child.platform, child_platforms.get(child.digest, ""))
        records = []
        for digest, read in sorted(self.snapshot.manifests.items()):
            manifest, config = read.manifest, read.config
            kept = (
                [reference for reference in manifest.references if reference.relation != "subject"]
                if manifest
                else []
            )
            records.append(
                ManifestRecord(
                    digest,
                    revisions[digest],
                    tagged[digest],
                    manifest.media_type if manifest else "",
                    manifest.kind if manifest else "",
                    roles[digest].role,
                    manifest.artifact_type if manifest else "",
                    (config.platform if config else "") or child_platforms.get(digest, ""),
                    config.created if config else None,
                    manifest.config.digest if manifest and manifest.config else None,
                    manifest.subject if manifest else None,
                    read.size,
                    sum(blob.size if blob.size is not None else self._size(blob.digest) for blob in kept),
                    manifest.annotations if manifest else {},
                    read.problem,
                )
            )
        return records

    @property
    def references(self) -> list[ReferenceRecord]:
        """The references of each manifest, by its digest and in its own order."""
        records = []
        for digest, read in sorted(self.snapshot.manifests.items()):
            positions: Counter[str] = Counter()
            for reference in read.manifest.references if read.manifest else ():
                records.append(
                    ReferenceRecord(
                        digest,
                        reference.relation,
                        positions[reference.relation],
                        reference.digest,
                        reference.media_type,
                        reference.size,
                        reference.platform,
                    )
                )
                positions[reference.relation] += 1
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
        """The repositories that need each blob, by the rules of the registry's garbage collector."""
        repositories: defaultdict[Digest, list[str]] = defaultdict(list)
        for repository in self._repositories():
            for digest in needs(self.snapshot, repository):
                repositories[digest].append(sys.intern(repository.name))
        return {digest: tuple(names) for digest, names in repositories.items()}

    def image(self, name: str, *, sharing: bool = False) -> Inspection:
        """Read the current state of one image, index or artifact, without scanning the registry.

        Parameters
        ----------
        name : str
            ``REPO``, ``REPO:TAG`` or ``REPO@DIGEST``, as in ``docker pull``. The default tag is ``latest``,
            and a digest may be abbreviated.
        sharing : bool
            Find the other repositories that have its layers, by listing the links of the whole registry.

        Returns
        -------
        Inspection
            Digest, platforms, size in bytes, creation time, configuration, layers, children of an index,
            and referrers. Its :meth:`~regfs.catalog.inspection.Inspection.rootfs` lists, opens and extracts
            the files.

        Raises
        ------
        regfs.catalog.names.UnknownNameError
            There is no such repository, tag or manifest; the error suggests existing ones.
        regfs.catalog.names.AmbiguousDigestError
            Several digests have the prefix.
        ValueError
            The registry does not allow the name, or the manifest cannot be read.

        Examples
        --------
        >>> image = catalog.image("library/hello:1.0")  # doctest: +SKIP
        >>> image.rootfs().open("/etc/os-release").read()  # doctest: +SKIP
        """
        parsed, lookup, digest = self._resolve(name)
        return inspect(lookup, parsed.repository, digest, sharing=sharing, name=str(parsed))

    def rootfs(self, name: str, platform: str | None = None) -> RootFilesystem:
        """Return the filesystem of one image, whose files can be listed, opened and extracted.

        The result is that of ``image(name).rootfs(platform)``, but only the manifests that lead to the image
        are read. Layers are read when they are needed.

        Parameters
        ----------
        name : str
            As in :meth:`image`.
        platform : str, optional
            The platform to choose from an index, for example "linux/arm64".

        Raises
        ------
        regfs.catalog.rootfs.PlatformError
            The index has several images and `platform` is None, or it has no image for `platform`.
        regfs.catalog.rootfs.UnreadableImageError
            No image can be read.
        ValueError, OSError
            As in :meth:`image`.

        Examples
        --------
        >>> rootfs = catalog.rootfs("library/hello")  # doctest: +SKIP
        >>> rootfs.extract("hello", "/etc")  # doctest: +SKIP
        """
        parsed, lookup, digest = self._resolve(name)
        return RootFilesystem.of(lookup, parsed.repository, digest, platform, name=str(parsed))

    def usage(self) -> Usage:
        """Return the usage of each repository and tag, what they share, and what deletions would free."""
        return usage(self.snapshot)

    def usage_of(self, repository: str) -> Breakdown:
        """Return the usage of one repository by its tags, untagged manifests and blobs.

        Parameters
        ----------
        repository : str
            The repository's name.

        Raises
        ------
        regfs.catalog.names.UnknownNameError
            There is no such repository; the error suggests the nearest. It is a FileNotFoundError.
        """
        self._find_repository(repository)
        return breakdown(self.snapshot, repository, self.usage(), self.needed)

    def uses_of(self, digest: Digest | str) -> Uses:
        """Return the users of a blob: every path to it from a tag, a manifest or a link.

        Parameters
        ----------
        digest : Digest or str
            The digest or a unique prefix of its hex digits; the algorithm may be omitted.

        Raises
        ------
        regfs.catalog.names.AmbiguousDigestError
            Several digests have the prefix.
        regfs.catalog.names.UnknownNameError
            No blob has the digest, and no link or manifest refers to it. It is a FileNotFoundError.
        """
        return uses(self.snapshot, find_digest(self.snapshot, str(digest)))

    def revisions(self, repository: str) -> list[RevisionRecord]:
        """Return the manifests of a repository with their roles and tags, the last pushed first.

        Raises
        ------
        regfs.catalog.names.UnknownNameError
            There is no such repository; the error suggests the nearest. It is a FileNotFoundError.
        """
        files = self._find_repository(repository)
        return revisions(repository, files.revisions, files.tags, self.snapshot.manifests)

    def orphans(self, older_than: timedelta | float | None = None, *, allow_most: bool = False) -> Plan:
        """Return a plan for :func:`regfs.catalog.orphans.apply` to delete the blobs that nothing needs.

        Parameters
        ----------
        older_than : timedelta or float, optional
            Keep blobs that were written, or linked to a repository, more recently than this; a number is in
            seconds. A registry in use needs such an age: blobs of a running push look like garbage.
        allow_most : bool
            Allow a plan of more than half of the blobs or of their bytes.

        Raises
        ------
        regfs.catalog.orphans.PlanError
            The metadata is in a database (:class:`regfs.MetadataDatabaseError`), the links are unreliable
            for another reason, or the plan covers more than half without `allow_most`.
        """
        return plan(self.source, self.snapshot, older_than, allow_most=allow_most, progress=self._progress)

    def fsck(self, verify: bool = False, ignore: Iterable[str | Ignore] = ()) -> list[Finding]:
        """Check the registry for damage, and predict which pulls fail.

        Every link is read, and whatever is missing is looked up once more.

        Parameters
        ----------
        verify : bool
            Also read every blob and compare its digest.
        ignore : iterable of str or Ignore
            Findings to leave out: ``KIND``, or ``KIND:PATTERN`` with a glob for the repository or the path;
            see :class:`regfs.catalog.fsck.findings.Ignore`.

        Returns
        -------
        list of Finding
            By repository, path and kind.

        Raises
        ------
        regfs.catalog.fsck.findings.UnknownKindError
            There is no such kind; the error suggests the nearest. Nothing was read.
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
        """Return the figures to monitor, from one scan: usage, orphans, uploads and findings.

        Parameters
        ----------
        older_than : timedelta or float
            The age from which orphaned blobs count, as in :meth:`orphans`; a number is in seconds.
        fsck : bool
            Include the findings of :meth:`fsck`, which reads every link.
        ignore : iterable of str or Ignore
            Findings that only count as ignored, as in :meth:`fsck`.

        Returns
        -------
        Summary
            If :meth:`orphans` raises an error or a manifest cannot be read, the orphans are None and
            `orphans_problem` has the reason.

        Raises
        ------
        ValueError
            `ignore` or the age is invalid.
        regfs.NoRegistryError, OSError
            As documented for the class.
        """
        ignored = parse_ignore(ignore)
        age = older_than if isinstance(older_than, timedelta) else timedelta(seconds=older_than)
        snapshot = self.snapshot
        orphans, problem = self._known_orphans(age)
        findings = self.fsck() if fsck else None
        reported = None if findings is None else tuple(remaining(findings, ignored))
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
            reported,
            len(findings or ()) - len(reported or ()),
            len(snapshot.changes),
        )

    def _known_orphans(self, age: timedelta) -> tuple[Plan | None, str]:
        """Return a plan of the orphaned blobs, or the reason why they are unknown."""
        try:
            orphans = self.orphans(age)
        except (PlanError, PermissionError) as exc:
            return None, str(exc)
        if orphans.incomplete:
            return None, str(IncompletePlanError(orphans.incomplete))
        return orphans, ""

    # -- internals ------------------------------------------------------------------------------------

    def _resolve(self, name: str) -> tuple[Name, Lookup, Digest]:
        parsed = Name.parse(name)
        lookup = Lookup(self.source, self._progress)
        warn_readers(self.source, database_in_use(self.source))
        return parsed, lookup, lookup.resolve(parsed)

    def _repositories(self) -> list[Repository]:
        return [repository for _, repository in sorted(self.snapshot.repositories.items())]

    def _find_repository(self, repository: str) -> Repository:
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
        start_times = [item.started for item in pending]
        started = upload.started or (min(start_times) if start_times else upload.modified)
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
