"""The check of a registry's storage, and its consequences for pulls.

It adds to a scan (:mod:`regfs.catalog.scan`) the content of every link and, optionally, of every blob. The
registry may be in use, so whatever is missing is looked up again before a fault
(:mod:`regfs.catalog.fsck.faults`) is reported as a finding.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import timedelta
from itertools import islice
from typing import TypeAlias

from regfs.catalog.fsck.breakage import with_broken_tags
from regfs.catalog.fsck.faults import GRACE, Fault, Faults, Reading
from regfs.catalog.fsck.findings import KINDS, Finding, Kind, Severity
from regfs.catalog.fsck.pulls import NO_MANIFEST, Pulls, read_link
from regfs.catalog.lost import lost_links
from regfs.catalog.manifest import LARGEST
from regfs.catalog.reading import altered, batches, understand
from regfs.catalog.scan import Progress
from regfs.catalog.snapshot import File, ReadManifest, Snapshot
from regfs.catalog.source import Source
from regfs.layout import (
    DATABASE_LOCK,
    REPOSITORIES,
    BlobData,
    Digest,
    LayerLink,
    ManifestRevisionLink,
    PathSpec,
    SignatureLink,
    TagCurrentLink,
    TagIndexLink,
    parse,
    revisions_root,
)
from regfs.store.verify import ALGORITHMS

__all__ = ["KINDS", "Finding", "Kind", "Severity", "check"]

LINKS = 512
"""The number of links that are read at once."""
SMALL = 2**20
"""The size in bytes up to which a blob is read whole, in a batch with others."""
STREAMS = 4
"""The number of larger blobs that are streamed at the same time."""

_Link: TypeAlias = LayerLink | ManifestRevisionLink | SignatureLink | TagIndexLink


def check(
    source: Source,
    snapshot: Snapshot,
    *,
    verify: bool = False,
    progress: Progress | None = None,
    grace: timedelta = GRACE,
) -> list[Finding]:
    """Check a registry's storage.

    Costs one GET for each link except tags' current links, which the scan has read; one HEAD and one LIST for
    each missing file; one LIST for each repository with unused links; and with `verify`, one GET for each
    blob that the scan has not read.

    Parameters
    ----------
    source : Source
        The registry's storage.
    snapshot : Snapshot
        The result of a scan. Damaged configurations are detected only if it has read configurations.
    verify : bool
        Read every blob and compare its digest.
    progress : callable, optional
        Called as ``progress(stage, done, total)``; "links" counts links, "verifying" bytes.
    grace : timedelta
        The age up to which a layer link does not count as unused: the manifest of its push may follow.

    Returns
    -------
    list of Finding
        By repository, path and kind.

    Raises
    ------
    OSError
        A listing or a read failed.
    """
    return _Check(source, snapshot, progress or (lambda *_: None), grace).run(verify)


class _Check:
    def __init__(self, source: Source, snapshot: Snapshot, progress: Progress, grace: timedelta) -> None:
        self.source = source
        self.snapshot = snapshot
        self.progress = progress
        self.pulls = Pulls(snapshot)
        self.wrong_links: dict[PathSpec, Reading] = {}
        self.moved_tags: set[tuple[str, str]] = set()
        self.faults = Faults(snapshot, self.pulls, self.wrong_links, self.moved_tags, grace)
        self.rechecked: set[PathSpec] = set()
        self.relisted: set[str] = set()
        self.new_digests: dict[str, set[Digest]] = {}
        self.reread_tags: set[tuple[str, str]] = set()

    def run(self, verify: bool) -> list[Finding]:
        if verify:
            self._verify()
        self._read_links()
        self.progress("checking", 0, None)
        self._read_unlisted_manifests()
        while True:
            faults = [fault for fault in self.faults.all() if not self._excused(fault)]
            if not self._recheck(faults):
                break
        findings = {fault.finding for fault in faults}
        if self.snapshot.database_in_use:
            detail = "the metadata is in a database: the links in the bucket are incomplete or out of date"
            pull = "is served from the database"
            findings.add(Finding("metadata-in-database", "warning", DATABASE_LOCK, "", detail, pull))
        elif lost := lost_links(self.snapshot):
            findings.add(Finding("links-lost", "error", REPOSITORIES, "", lost, str(NO_MANIFEST)))
        ordered = sorted(
            findings, key=lambda finding: (finding.repository, finding.path, finding.kind, finding.detail)
        )
        return with_broken_tags(ordered, self.snapshot, self.pulls)

    # -- links ----------------------------------------------------------------------------------------

    def _links(self) -> Iterator[_Link]:
        for name, repository in sorted(self.snapshot.repositories.items()):
            yield from (LayerLink(name, digest) for digest in repository.layers)
            yield from (ManifestRevisionLink(name, digest) for digest in repository.revisions)
            yield from (SignatureLink(name, *pair) for pair in repository.signatures)
            for tag, files in repository.tags.items():
                yield from (TagIndexLink(name, tag, digest) for digest in files.index)

    def _read_links(self) -> None:
        total = sum(
            len(repository.layers)
            + len(repository.revisions)
            + len(repository.signatures)
            + sum(len(files.index) for files in repository.tags.values())
            for repository in self.snapshot.repositories.values()
        )
        done, links = 0, self._links()
        self.progress("links", done, total)
        while batch := list(islice(links, LINKS)):
            suspects = [link for link, reading in self._readings(batch) if reading != link.digest]
            for link, reading in self._readings(suspects):  # a push may have been writing it
                if reading != link.digest:
                    self._record(link, reading)
            done += len(batch)
            self.progress("links", done, total)

    def _readings(self, links: Sequence[_Link]) -> Iterator[tuple[_Link, Reading]]:
        for link, content in zip(links, self.source.read([item.path for item in links]), strict=True):
            yield link, read_link(content) if isinstance(content, bytes) else None

    def _record(self, link: _Link, reading: Reading) -> None:
        match link:
            case LayerLink(name, digest):
                self.pulls.links["layer", name, digest] = reading
            case ManifestRevisionLink(name, digest):
                self.pulls.links["revision", name, digest] = reading
            case _:
                self.wrong_links[link] = reading

    def _read_unlisted_manifests(self) -> None:
        """Read the manifests that links lead to although they are not revisions of any repository."""
        digests: set[Digest] = set()
        for (kind, _, _), target in self.pulls.links.items():
            if kind == "revision" and isinstance(target, Digest):
                digests.add(target)
        for name, repository in self.snapshot.repositories.items():
            for digest in repository.revisions:
                read = self.snapshot.manifests.get(digest)
                for reference in read.manifest.references if read and read.manifest else ():
                    if reference.relation == "manifest" and self.pulls.link("layer", name, reference.digest):
                        digests.add(reference.digest)
        self._understand(digests)

    def _understand(self, digests: Iterable[Digest]) -> None:
        paths: dict[str, Digest] = {}
        for digest in digests:
            file = self.pulls.file(digest)
            if file is not None and self.pulls.read(digest) is None:
                if file.size > LARGEST:
                    refusal = f"it has {file.size} bytes"
                    self.pulls.others[digest] = ReadManifest(file.size, fault="large", refusal=refusal)
                else:
                    paths[BlobData(digest).path] = digest
        for batch in batches(paths, lambda path: self._size(paths[path])):
            for path, content in zip(batch, self.source.read(batch), strict=True):
                if isinstance(content, bytes):
                    self.pulls.others[paths[path]] = understand(content)
                    self._compare(paths[path], content)

    def _size(self, digest: Digest) -> int:
        file = self.pulls.file(digest)
        return file.size if file else 0

    # -- second look ----------------------------------------------------------------------------------

    def _excused(self, fault: Fault) -> bool:
        """Return whether the fault is an unused link that a manifest pushed since the scan uses."""
        if fault.finding.kind != "unused-link":
            return False
        link = parse(fault.finding.path)
        return isinstance(link, LayerLink) and link.digest in self.new_digests.get(link.repository, ())

    def _recheck(self, faults: Iterable[Fault]) -> bool:
        """Look up again whatever faults depend on; return whether anything was left to look up."""
        blobs: set[BlobData] = set()
        links: set[LayerLink | ManifestRevisionLink] = set()
        tags: set[tuple[str, str]] = set()
        repositories: set[str] = set()
        for fault in faults:
            for spec in fault.absent:
                if isinstance(spec, BlobData):
                    blobs.add(spec)
                elif isinstance(spec, LayerLink | ManifestRevisionLink):
                    links.add(spec)
            if fault.tag:
                tags.add((fault.finding.repository, fault.tag))
            if fault.finding.kind == "unused-link":
                repositories.add(fault.finding.repository)
        self._recheck_blobs(sorted(blobs - self.rechecked, key=str))
        new_links = sorted(links - self.rechecked, key=str)
        for start in range(0, len(new_links), LINKS):
            for link, reading in self._readings(new_links[start : start + LINKS]):
                if reading is not None:
                    self._record(link, reading)
        for name, tag in sorted(tags - self.reread_tags):
            if self._has_moved(name, tag):
                self.moved_tags.add((name, tag))
        for name in sorted(repositories - self.relisted):
            self.new_digests[name] = self._pushed_since(name)
        new = bool(
            (blobs | links) - self.rechecked or tags - self.reread_tags or repositories - self.relisted
        )
        self.rechecked |= blobs | links
        self.reread_tags |= tags
        self.relisted |= repositories
        return new

    def _recheck_blobs(self, blobs: Sequence[BlobData]) -> None:
        for start in range(0, len(blobs), LINKS):
            batch = blobs[start : start + LINKS]
            for blob, entry in zip(batch, self.source.find_many([blob.path for blob in batch]), strict=True):
                if entry is not None:
                    self.pulls.lost.discard(blob.digest)
                    self.pulls.came[blob.digest] = File(entry.size, entry.modified)

    def _has_moved(self, name: str, tag: str) -> bool:
        """Return whether a tag has changed since the scan: it names another manifest or is deleted."""
        files = self.snapshot.repositories[name].tags[tag]
        (content,) = self.source.read([TagCurrentLink(name, tag).path])
        if files.current is None:
            entries = [TagIndexLink(name, tag, digest).path for digest in files.index]
            return isinstance(content, bytes) or not any(self.source.find_many(entries))
        if not isinstance(content, bytes):
            return True
        if files.target is None or files.target.algorithm not in ALGORITHMS:
            return isinstance(read_link(content), Digest)
        return read_link(content) != files.target

    def _pushed_since(self, name: str) -> set[Digest]:
        """Return the manifests pushed to a repository since the scan, and the digests that they refer to."""
        revisions = self.snapshot.repositories[name].revisions
        new = [
            spec.digest
            for page in self.source.pages(revisions_root(name))
            for spec in (parse(entry.path) for entry in page)
            if isinstance(spec, ManifestRevisionLink) and spec.digest not in revisions
        ]
        blobs = zip(new, self.source.find_many(BlobData(digest).path for digest in new), strict=True)
        for digest, entry in blobs:
            if entry is not None and self.pulls.file(digest) is None:
                self.pulls.came[digest] = File(entry.size, entry.modified)
        self._understand(new)
        pushed = set(new)
        for digest in new:
            read = self.pulls.read(digest)
            if read is not None and read.manifest is not None:
                pushed.update(read.manifest.kept)
        return pushed

    # -- content --------------------------------------------------------------------------------------

    def _compare(self, digest: Digest, content: bytes) -> None:
        if altered(digest, content):
            self.pulls.altered.add(digest)

    def _verify(self) -> None:
        """Compare the digests of the blobs that the scan has not verified."""
        verified = {digest for digest, read in self.snapshot.manifests.items() if read.fault != "large"}
        for read in self.snapshot.manifests.values():
            if read.manifest and read.manifest.config and (read.config or read.config_problem):
                verified.add(read.manifest.config.digest)
        wanted = [
            (digest, file.size)
            for digest, file in self.snapshot.blobs.items()
            if digest not in verified and digest.algorithm in ALGORITHMS
        ]
        total = sum(size for _, size in wanted)
        done = 0
        self.progress("verifying", done, total)
        small = {BlobData(digest).path: digest for digest, size in wanted if size <= SMALL}
        for batch in batches(small, lambda path: self.snapshot.blobs[small[path]].size):
            for path, content in zip(batch, self.source.read(batch), strict=True):
                if isinstance(content, bytes):
                    self._compare(small[path], content)
                else:
                    self.pulls.lost.add(small[path])
                done += self.snapshot.blobs[small[path]].size
            self.progress("verifying", done, total)
        large = [digest for digest, size in wanted if size > SMALL]
        hasher = _Hasher(self.source)
        for digest, hexadecimal in each(hasher, large, hasher.stop):
            if hexadecimal is None:
                self.pulls.lost.add(digest)
            elif hexadecimal != digest.hex:
                self.pulls.altered.add(digest)
            done += self.snapshot.blobs[digest].size
            self.progress("verifying", done, total)


class _Hasher:
    """Computes the digest of a large blob; None if the blob is deleted."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.stopped = threading.Event()

    def __call__(self, digest: Digest) -> str | None:
        hasher = hashlib.new(digest.algorithm)
        try:
            for block in self.source.blocks(BlobData(digest).path):
                if self.stopped.is_set():
                    break
                hasher.update(block)
        except FileNotFoundError:
            return None
        return hasher.hexdigest()

    def stop(self) -> None:
        self.stopped.set()


def each(
    function: Callable[[Digest], str | None], digests: Sequence[Digest], stop: Callable[[], None]
) -> Iterator[tuple[Digest, str | None]]:
    """Yield each digest with the function's result, computed in threads; an error or Ctrl-C stops them."""
    with ThreadPoolExecutor(STREAMS) as pool:
        remaining = iter(digests)
        running: dict[Future[str | None], Digest] = {}
        try:
            while True:
                running.update(
                    {pool.submit(function, item): item for item in islice(remaining, STREAMS - len(running))}
                )
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(future), future.result()
        except BaseException:
            stop()
            raise
