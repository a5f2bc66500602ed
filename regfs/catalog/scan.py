"""The scan of a registry's whole storage: a flat listing, the tags' links, the manifests.

The listing provides nearly everything, as the paths of links contain the digests that they link to. The scan
reads only the content that paths do not contain: the links of tags, manifests, and images' configurations. It
keeps each digest in memory only once.

The registry may be in use during the scan, and a listing is not atomic. Therefore the scan checks again for
everything that seems to be missing, and records the files that appeared or vanished since the listing
(`Snapshot.changes`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any, Literal

from regfs.catalog.database import database_in_use, warn_readers
from regfs.catalog.lost import warn_readers as warn_of_lost_links
from regfs.catalog.manifest import (
    LARGEST,
    ImageConfig,
    ManifestError,
    parse_config,
    parse_time,
)
from regfs.catalog.reading import altered, batches, too_large, understand
from regfs.catalog.snapshot import Change, File, Repository, Snapshot, TagFiles, UploadFiles
from regfs.catalog.source import Entry, Source
from regfs.layout import (
    ROOT,
    BlobData,
    Digest,
    InvalidDigestError,
    LayerLink,
    ManifestRevisionLink,
    SignatureLink,
    TagCurrentLink,
    TagIndexLink,
    UploadData,
    UploadHashState,
    UploadStartedAt,
    parse,
    parse_link,
    resembles_link,
    tags_root,
    uploads_root,
)

__all__ = ["Progress", "altered", "batches", "scan", "scan_part", "too_large", "understand"]

Progress = Callable[[str, int, "int | None"], object]
"""``progress(stage, done, total)``: the stage, the number of items done, and of all items if it is known."""

_EXAMPLES = 20
"""The number of unknown files that a snapshot names."""
_ROUNDS = 5
"""How often manifests that are newer than the listing are followed; each round is one manifest deeper."""
_RECENT = timedelta(hours=1)
"""The blobs of layers linked less than this before the scan are checked again; it covers clock skew."""


def scan(source: Source, progress: Progress | None = None, *, configs: bool = True) -> Snapshot:
    """Scan the whole registry.

    Parameters
    ----------
    source : Source
        The registry's storage.
    progress : callable, optional
        ``progress(stage, done, total)``, called as the scan proceeds.
    configs : bool
        Read images' configurations, which have the platform and the time of creation.

    Returns
    -------
    Snapshot
        The registry's content; empty if there is no registry.

    Warns
    -----
    regfs.MetadataDatabaseWarning
        At the start: the registry keeps its metadata in a database, so the snapshot is incomplete.
    regfs.catalog.lost.LostLinksWarning
        At the end: there are blobs but no repository has a manifest.

    Raises
    ------
    OSError
        A listing or a read failed.
    """
    return _Scan(source, progress or (lambda *_: None), configs).run()


def scan_part(source: Source, directories: Iterable[str], pending: Iterable[Any] | None = ()) -> Snapshot:
    """Scan some directories only: their listing, uploads and tags, without manifests.

    Parameters
    ----------
    source : Source
        The registry's storage.
    directories : iterable of str
        Driver paths, none of them inside another.
    pending : iterable of PendingUpload, optional
        The pending multipart uploads to include; None if they are unknown.

    Raises
    ------
    OSError
        A listing or a read failed.
    """
    return _Scan(source, lambda *_: None, configs=False).part(directories, pending)


class _Scan:
    def __init__(self, source: Source, progress: Progress, configs: bool) -> None:
        self.source = source
        self.progress = progress
        self.configs = configs
        now = datetime.now(timezone.utc)
        self.snapshot = Snapshot(now, now)
        self._digests: dict[Digest, Digest] = {}
        self._documents: dict[Digest, tuple[ImageConfig | None, str]] = {}
        self._checked: set[str] = set()

    def run(self) -> Snapshot:
        self.snapshot.database_in_use = database_in_use(self.source)
        warn_readers(self.source, self.snapshot.database_in_use)
        self._list((ROOT,))
        self._read_uploads(self.source.uploads)
        self._read_tags()
        wanted = self._manifests_wanted()
        for _ in range(_ROUNDS):
            self._read_manifests(wanted)
            self._check_missing()
            wanted = self._manifests_wanted()
            if not wanted:
                break
        self.snapshot.ended = datetime.now(timezone.utc)
        warn_of_lost_links(self.source, self.snapshot)
        return self.snapshot

    def part(self, directories: Iterable[str], pending: Iterable[Any] | None) -> Snapshot:
        self._list(directories)
        self._read_uploads(lambda: pending)
        self._read_tags()
        self.snapshot.ended = datetime.now(timezone.utc)
        return self.snapshot

    # -- the listing ----------------------------------------------------------------------------------

    def _list(self, directories: Iterable[str]) -> None:
        done = 0
        self.progress("listing", done, None)
        for directory in directories:
            for page in self.source.pages(directory):
                for entry in page:
                    self._add(entry)
                done += len(page)
                self.progress("listing", done, None)

    def _add(self, entry: Entry) -> None:
        """Add a file to the snapshot. A file that is listed twice, after another write, counts once."""
        spec = parse(entry.path)
        file = File(entry.size, entry.modified)
        match spec:
            case None:
                unknown = self.snapshot.unknown
                unknown.files += 1
                unknown.bytes += entry.size
                if len(unknown.examples) < _EXAMPLES:
                    unknown.examples.append(entry.path)
                if resembles_link(entry.path):
                    unknown.links += 1
                    unknown.first_link = min(unknown.first_link or entry.path, entry.path)
            case BlobData(digest):
                self.snapshot.blobs[self._same(digest)] = file
            case LayerLink(name, digest):
                self._keep(name, self._repository(name).layers, digest, file)
            case ManifestRevisionLink(name, digest):
                self._keep(name, self._repository(name).revisions, digest, file)
            case SignatureLink(name, revision, digest):
                pair = self._same(revision), self._same(digest)
                self._count(name, file, self._repository(name).signatures.get(pair))
                self._repository(name).signatures[pair] = file
            case TagIndexLink(name, tag, digest):
                self._keep(name, self._tag(name, tag).index, digest, file)
            case TagCurrentLink(name, tag):
                files = self._tag(name, tag)
                self._count(name, file, files.current)
                files.current = file
            case UploadData(name, id_) | UploadStartedAt(name, id_) | UploadHashState(name, id_):
                upload = self._repository(name).uploads.setdefault(id_, UploadFiles())
                upload.files += 1
                upload.bytes += entry.size
                upload.modified = max(upload.modified or entry.modified, entry.modified)
                self._count(name, file)

    def _keep(self, name: str, files: dict[Digest, File], digest: Digest, file: File) -> None:
        digest = self._same(digest)
        self._count(name, file, files.get(digest))
        files[digest] = file

    def _repository(self, name: str) -> Repository:
        if name not in self.snapshot.repositories:
            self.snapshot.repositories[name] = Repository(name)
        return self.snapshot.repositories[name]

    def _tag(self, name: str, tag: str) -> TagFiles:
        return self._repository(name).tags.setdefault(tag, TagFiles())

    def _count(self, name: str, file: File, before: File | None = None) -> None:
        repository = self._repository(name)
        repository.files += before is None
        repository.bytes += file.size - (before.size if before else 0)
        repository.modified = max(repository.modified or file.modified, file.modified)

    def _same(self, digest: Digest) -> Digest:
        return self._digests.setdefault(digest, digest)

    # -- contents -------------------------------------------------------------------------------------

    def _read_uploads(self, pending_uploads: Callable[[], Iterable[Any] | None]) -> None:
        uploads = {
            UploadStartedAt(repository.name, id_).path: (repository, id_)
            for repository in self.snapshot.repositories.values()
            for id_ in repository.uploads
        }
        for path, content in self._contents(uploads, "uploads", lambda path: 64):
            repository, id_ = uploads[path]
            if isinstance(content, bytes):
                repository.uploads[id_].started = parse_time(content.decode("ascii", "replace").strip())
            else:
                self._list_upload(repository, id_)
        self.progress("pending uploads", 0, None)
        listed = pending_uploads()
        self.snapshot.pending_known = listed is not None
        for pending in listed or ():
            if isinstance(spec := parse(pending.path), UploadData):
                upload_files = self._repository(spec.repository).uploads
                upload_files.setdefault(spec.id, UploadFiles()).pending.append(pending)

    def _list_upload(self, repository: Repository, id_: str) -> None:
        """List an upload without a start time again: it may have ended and been removed since the listing."""
        before = repository.uploads.pop(id_)
        repository.files -= before.files
        repository.bytes -= before.bytes
        if len(self._list_again(f"{uploads_root(repository.name)}/{id_}")) < before.files:
            self._changed("vanished", UploadStartedAt(repository.name, id_).path)

    def _list_tag(self, repository: Repository, tag: str) -> None:
        """List a tag again whose link has vanished: its index has usually vanished too."""
        before = repository.tags.pop(tag)
        current = TagCurrentLink(repository.name, tag).path
        files = {
            TagIndexLink(repository.name, tag, digest).path: file for digest, file in before.index.items()
        }
        if before.current:
            files[current] = before.current
        repository.files -= len(files)
        repository.bytes -= sum(file.size for file in files.values())
        listed = self._list_again(f"{tags_root(repository.name)}/{tag}")
        for path in sorted(files.keys() - listed):
            self._changed("vanished", path)
        if current in listed:  # the tag was created again
            self._read_tag(repository, tag, self.source.read([current])[0])

    def _list_again(self, root: str) -> set[str]:
        entries = [entry for page in self.source.pages(root) for entry in page]
        for entry in entries:
            self._add(entry)
        return {entry.path for entry in entries}

    def _read_tags(self) -> None:
        tags = {
            TagCurrentLink(repository.name, tag).path: (repository, tag)
            for repository in self.snapshot.repositories.values()
            for tag, files in repository.tags.items()
            if files.current
        }
        for path, content in self._contents(tags, "tags", lambda path: 128):
            repository, tag = tags[path]
            if isinstance(content, OSError):
                self._list_tag(repository, tag)
            else:
                self._read_tag(repository, tag, content)

    def _read_tag(self, repository: Repository, tag: str, content: bytes | OSError) -> None:
        files = repository.tags[tag]
        if isinstance(content, OSError):
            files.problem = "its link comes and goes"
            return
        try:
            files.target = self._same(parse_link(content))
        except InvalidDigestError:
            files.problem = "its link is empty" if not content else "its link names no digest"

    def _manifests_wanted(self) -> list[Digest]:
        wanted: dict[Digest, None] = {}
        for repository in self.snapshot.repositories.values():
            wanted.update(dict.fromkeys(repository.revisions))
            wanted.update(dict.fromkeys(tag.target for tag in repository.tags.values() if tag.target))
        return [
            digest
            for digest in wanted
            if digest in self.snapshot.blobs and digest not in self.snapshot.manifests
        ]

    def _read_manifests(self, wanted: Sequence[Digest]) -> None:
        small = []
        for digest in wanted:
            size = self.snapshot.blobs[digest].size
            if size > LARGEST:
                self.snapshot.manifests[digest] = too_large(size)
            else:
                small.append(digest)
        paths = {BlobData(digest).path: digest for digest in small}
        images: dict[Digest, Digest] = {}
        for path, content in self._contents(paths, "manifests", lambda path: self._size(paths[path])):
            digest = paths[path]
            if isinstance(content, OSError):
                self._changed("vanished", path)
                del self.snapshot.blobs[digest]
                continue
            read = self.snapshot.manifests[digest] = understand(content)
            manifest = read.manifest
            self._compare(digest, content)
            if manifest and manifest.kind == "image" and manifest.config:
                images[digest] = self._same(manifest.config.digest)
        if self.configs:
            self._read_configs(images)

    def _read_configs(self, images: Mapping[Digest, Digest]) -> None:
        blobs = self.snapshot.blobs
        paths = {
            BlobData(config).path: config
            for config in images.values()
            if config in blobs and config not in self._documents and blobs[config].size <= LARGEST
        }
        for path, content in self._contents(paths, "configurations", lambda path: self._size(paths[path])):
            digest = paths[path]
            if isinstance(content, OSError):
                self._changed("vanished", path)
                del self.snapshot.blobs[digest]
                continue
            self._compare(digest, content)
            try:
                self._documents[digest] = parse_config(content), ""
            except ManifestError as exc:
                self._documents[digest] = None, str(exc)
        for digest, config in images.items():
            read = self.snapshot.manifests[digest]
            document, problem = self._documents.get(config, (None, ""))
            self.snapshot.manifests[digest] = replace(read, config=document, config_problem=problem)

    def _compare(self, digest: Digest, content: bytes) -> None:
        if altered(digest, content):
            self.snapshot.altered.add(digest)

    def _size(self, digest: Digest) -> int:
        return self.snapshot.blobs[digest].size

    def _contents(
        self, paths: Mapping[str, Any], stage: str, size: Callable[[str], int]
    ) -> Iterator[tuple[str, bytes | OSError]]:
        done = 0
        if paths:
            self.progress(stage, done, len(paths))
        for batch in batches(paths, size):
            yield from zip(batch, self.source.read(batch), strict=True)
            done += len(batch)
            self.progress(stage, done, len(paths))

    # -- changes --------------------------------------------------------------------------------------

    def _check_missing(self) -> None:
        """Check again for files that seem to be missing: they may have been written since the listing."""
        blobs: set[Digest] = set()
        links: set[tuple[str, Digest]] = set()
        for repository in self.snapshot.repositories.values():
            needed: set[Digest] = {tag.target for tag in repository.tags.values() if tag.target}
            for digest in repository.revisions:
                read = self.snapshot.manifests.get(digest)
                if read and read.manifest:
                    for reference in read.manifest.references:
                        if reference.relation == "manifest":
                            needed.add(reference.digest)
                        elif reference.relation != "subject" and not reference.foreign:
                            blobs.add(reference.digest)
            links.update((repository.name, digest) for digest in needed - repository.revisions.keys())
            blobs.update(needed, repository.revisions)
            # A registry writes a blob before its link, so the blob of an old link was deleted, not delayed.
            since = self.snapshot.started - _RECENT
            blobs.update(blob for blob, file in repository.layers.items() if file.modified > since)
        paths = [BlobData(digest).path for digest in blobs - self.snapshot.blobs.keys()]
        paths += [ManifestRevisionLink(name, digest).path for name, digest in links]
        paths = [path for path in paths if path not in self._checked]
        self._checked.update(paths)
        done = 0
        if paths:
            self.progress("checking", done, len(paths))
        for batch in batches(paths, lambda path: 0):
            for entry in self.source.find_many(batch):
                if entry is not None:
                    self._add(entry)
                    self._changed("appeared", entry.path)
            done += len(batch)
            self.progress("checking", done, len(paths))

    def _changed(self, change: Literal["appeared", "vanished"], path: str) -> None:
        self.snapshot.changes.append(Change(change, path))
