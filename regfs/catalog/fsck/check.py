"""What is wrong with a registry's storage, and what a pull would make of it.

To a look at the storage (:mod:`regfs.catalog.scan`) this adds every link's content and, if asked for, every
blob's. What is missing is looked up again before it is reported, as a registry may be at work: only then is
a fault (:mod:`regfs.catalog.fsck.faults`) a finding.
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
"""Links that are read at once."""
SMALL = 2**20
"""Bytes up to which a blob is read whole, beside others."""
STREAMS = 4
"""Larger blobs that are read at the same time, a mebibyte at a time each."""

_Link: TypeAlias = LayerLink | ManifestRevisionLink | SignatureLink | TagIndexLink


def check(
    source: Source,
    snapshot: Snapshot,
    *,
    verify: bool = False,
    progress: Progress | None = None,
    grace: timedelta = GRACE,
) -> list[Finding]:
    """Check a registry.

    Costs one GET for each link but tags' current ones, which the scan has read; one HEAD and one LIST for
    each thing that is missing; one LIST for each repository that has links nobody uses; with `verify`, one
    GET for each blob that the scan has not read.

    Parameters
    ----------
    source : Source
        Where the registry is.
    snapshot : Snapshot
        What a look at it found; with configurations, or damaged ones are not found.
    verify : bool
        Read every blob, and compare its digest.
    progress : callable, optional
        Told what goes on: "links" counts links, "verifying" bytes.
    grace : timedelta
        How long a link to a layer may wait for the manifest of its push before it counts as unused.

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
        self.odd: dict[PathSpec, Reading] = {}
        self.moved: set[tuple[str, str]] = set()
        self.faults = Faults(snapshot, self.pulls, self.odd, self.moved, grace)
        self.asked: set[PathSpec] = set()
        self.listed: set[str] = set()
        self.fresh: dict[str, set[Digest]] = {}
        self.settled: set[tuple[str, str]] = set()

    def run(self, verify: bool) -> list[Finding]:
        if verify:
            self._verify()
        self._read_links()
        self.progress("checking", 0, None)
        self._read_others()
        while True:
            faults = [fault for fault in self.faults.all() if not self._excused(fault)]
            if not self._ask_again(faults):
                break
        findings = {fault.finding for fault in faults}
        if self.snapshot.database_in_use:
            detail = "the metadata is in a database: what is found in the bucket is not all, or no longer so"
            pull = "gets what the database says"
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
            for link, reading in self._readings(suspects):  # once more
                if reading != link.digest:
                    self._note(link, reading)
            done += len(batch)
            self.progress("links", done, total)

    def _readings(self, links: Sequence[_Link]) -> Iterator[tuple[_Link, Reading]]:
        for link, content in zip(links, self.source.read([item.path for item in links]), strict=True):
            yield link, read_link(content) if isinstance(content, bytes) else None

    def _note(self, link: _Link, reading: Reading) -> None:
        match link:
            case LayerLink(name, digest):
                self.pulls.links["layer", name, digest] = reading
            case ManifestRevisionLink(name, digest):
                self.pulls.links["revision", name, digest] = reading
            case _:
                self.odd[link] = reading

    def _read_others(self) -> None:
        """Read the manifests that are no revisions of any repository, but that links lead to all the same."""
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
                    refused = f"it has {file.size} bytes"
                    self.pulls.others[digest] = ReadManifest(file.size, fault="large", refusal=refused)
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

    # -- once more ------------------------------------------------------------------------------------

    def _excused(self, fault: Fault) -> bool:
        """Return whether it is a link without use that a manifest uses which has come since the look."""
        if fault.finding.kind != "unused-link":
            return False
        link = parse(fault.finding.path)
        return isinstance(link, LayerLink) and link.digest in self.fresh.get(link.repository, ())

    def _ask_again(self, faults: Iterable[Fault]) -> bool:
        """Look up again what faults are based on; return whether there was anything to look up."""
        blobs: set[BlobData] = set()
        links: set[LayerLink | ManifestRevisionLink] = set()
        tags: set[tuple[str, str]] = set()
        names: set[str] = set()
        for fault in faults:
            for spec in fault.absent:
                if isinstance(spec, BlobData):
                    blobs.add(spec)
                elif isinstance(spec, LayerLink | ManifestRevisionLink):
                    links.add(spec)
            if fault.tag:
                tags.add((fault.finding.repository, fault.tag))
            if fault.finding.kind == "unused-link":
                names.add(fault.finding.repository)
        self._ask_blobs(sorted(blobs - self.asked, key=str))
        new_links = sorted(links - self.asked, key=str)
        for at in range(0, len(new_links), LINKS):
            for link, reading in self._readings(new_links[at : at + LINKS]):
                if reading is not None:
                    self._note(link, reading)
        for name, tag in sorted(tags - self.settled):
            if self._moved(name, tag):
                self.moved.add((name, tag))
        for name in sorted(names - self.listed):
            self.fresh[name] = self._pushed_since(name)
        news = bool((blobs | links) - self.asked or tags - self.settled or names - self.listed)
        self.asked |= blobs | links
        self.settled |= tags
        self.listed |= names
        return news

    def _ask_blobs(self, blobs: Sequence[BlobData]) -> None:
        for at in range(0, len(blobs), LINKS):
            group = blobs[at : at + LINKS]
            for blob, entry in zip(group, self.source.find_many([name.path for name in group]), strict=True):
                if entry is not None:
                    self.pulls.lost.discard(blob.digest)
                    self.pulls.came[blob.digest] = File(entry.size, entry.modified)

    def _moved(self, name: str, tag: str) -> bool:
        """Return whether a tag is not as it was any more: it names something else, or is gone."""
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
        """Return what manifests refer to that came to a repository since the look."""
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
        """Compare the digests of the blobs that the scan has not compared."""
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
    """Computes what the digest of a large blob should be; None if it is gone."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.stopped = threading.Event()

    def __call__(self, digest: Digest) -> str | None:
        digest_state = hashlib.new(digest.algorithm)
        try:
            for block in self.source.blocks(BlobData(digest).path):
                if self.stopped.is_set():
                    break
                digest_state.update(block)
        except FileNotFoundError:
            return None
        return digest_state.hexdigest()

    def stop(self) -> None:
        self.stopped.set()


def each(
    function: Callable[[Digest], str | None], digests: Sequence[Digest], stop: Callable[[], None]
) -> Iterator[tuple[Digest, str | None]]:
    """Call a function for each digest, some at a time; a failure, or Ctrl-C, ends those that go on."""
    with ThreadPoolExecutor(STREAMS) as pool:
        waiting = iter(digests)
        going: dict[Future[str | None], Digest] = {}
        try:
            while True:
                going.update(
                    {pool.submit(function, item): item for item in islice(waiting, STREAMS - len(going))}
                )
                if not going:
                    return
                for future in wait(going, return_when=FIRST_COMPLETED).done:
                    yield going.pop(future), future.result()
        except BaseException:
            stop()
            raise
