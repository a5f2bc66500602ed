"""A repository, or one image in it, found and read without a look at the rest of the registry.

Where :mod:`regfs.catalog.scan` lists everything, this lists what lies in one repository's directory, and
reads the manifests that are asked for.
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from regfs.catalog.damage import Damage
from regfs.catalog.manifest import LARGEST, ManifestError, parse_config, parse_manifest
from regfs.catalog.names import AmbiguousDigestError, Name, UnknownNameError, unknown_repository
from regfs.catalog.roles import MISSING, referrer_tag
from regfs.catalog.scan import Progress, batches
from regfs.catalog.search import no_registry
from regfs.catalog.snapshot import File, ReadManifest, TagFiles
from regfs.catalog.source import Source, spread
from regfs.layout import (
    REPOSITORIES,
    ROOT,
    BlobData,
    Digest,
    InvalidDigestError,
    LayerLink,
    ManifestRevisionLink,
    TagCurrentLink,
    TagIndexLink,
    parse,
    parse_link,
    repository_root,
    revisions_root,
    tags_root,
)

_DEEPEST = 4
"""Directories that a repository's name is made of, at most, to be suggested."""
_SHOWN = 4
"""Tags that are named where one is not there: the nearest, then the last."""
_WIDEST = 100
"""Directories that are looked into on each level, at most, for a suggestion."""


class Referrer(NamedTuple):
    """A referrer of a manifest; `how` it refers to it: by its "subject" or by its "tag"."""

    digest: Digest
    how: Literal["subject", "tag"]
    tag: str
    read: ReadManifest


class Lookup:
    """Reads what is asked for.

    Parameters
    ----------
    source : Source
        Where the registry is.
    progress : callable, optional
        Told what goes on, as in a scan.
    """

    def __init__(self, source: Source, progress: Progress | None = None) -> None:
        self.source = source
        self._progress = progress or (lambda *_: None)

    # -- names ----------------------------------------------------------------------------------------

    def tags(self, repository: str) -> dict[str, TagFiles]:
        """Return the tags of a repository, by name.

        Raises
        ------
        UnknownNameError
            There is no such repository; a near one is suggested.
        NoRegistryError
            There is not even a registry.
        """
        tag_files: dict[str, TagFiles] = {}
        for page in self.source.pages(tags_root(repository)):
            for entry in page:
                file = File(entry.size, entry.modified)
                match parse(entry.path):
                    case TagCurrentLink(_, tag):
                        tag_files.setdefault(tag, TagFiles()).current = file
                    case TagIndexLink(_, tag, digest):
                        tag_files.setdefault(tag, TagFiles()).index[digest] = file
        if not tag_files:
            self.check_repository(repository)
        current = [tag for tag, files in tag_files.items() if files.current]
        paths = [TagCurrentLink(repository, tag).path for tag in current]
        for tag, content in zip(current, self.source.read(paths), strict=True):
            _point(tag_files[tag], content)
        for files in tag_files.values():
            if files.target is None and not files.problem:
                files.problem = "it has no current link"
        return dict(sorted(tag_files.items()))

    def resolve(self, name: Name) -> Digest:
        """Return the digest of the manifest that a name means.

        Raises
        ------
        UnknownNameError
            There is none; the error lists similar names.
        AmbiguousDigestError
            It is the beginning of several digests.
        ValueError
            The tag's link is damaged.
        """
        if name.digest:
            return self._resolve_digest(name)
        (content,) = self.source.read([TagCurrentLink(name.repository, name.tag).path])
        files = TagFiles()
        _point(files, content)
        if files.target:
            return files.target
        if files.problem and isinstance(content, bytes):
            raise ValueError(f"{name}: {files.problem}; regfs fsck shows what else is broken")
        self.check_repository(name.repository)
        tag_names = sorted(
            path.rpartition("/")[2] for path in self.source.directories(tags_root(name.repository))
        )
        if not tag_names:
            text = "no such tag; the repository has none, only manifests by digest"
        else:
            near = [*difflib.get_close_matches(name.tag, tag_names, _SHOWN), *reversed(tag_names)]
            near = sorted(list(dict.fromkeys(near))[:_SHOWN])
            text = f"no such tag; there {'is' if len(tag_names) == 1 else 'are'} {', '.join(near)}"
            text += f" and {len(tag_names) - len(near):,} more" if len(tag_names) > len(near) else ""
        raise UnknownNameError(errno.ENOENT, text, str(name))

    def _resolve_digest(self, name: Name) -> Digest:
        algorithm, _, beginning = name.digest.rpartition(":")
        root = f"{revisions_root(name.repository)}/{algorithm}"
        try:
            whole = Digest(algorithm, beginning)
        except InvalidDigestError:
            pass
        else:
            if self.source.find(ManifestRevisionLink(name.repository, whole).path):
                return whole
        likely = [path.rpartition("/")[2] for path in self.source.directories(root)]
        likely = sorted(item for item in likely if item.startswith(beginning))
        if len(likely) == 1:
            return Digest(algorithm, likely[0])
        if not likely:
            self.check_repository(name.repository)
            text = "no manifest of the repository has this digest"
            raise UnknownNameError(errno.ENOENT, text, str(name))
        shown = ", ".join(item[:16] for item in likely[:4]) + (", …" if len(likely) > 4 else "")
        raise AmbiguousDigestError(f"{name}: {len(likely)} digests begin so: {shown}")

    def check_repository(self, name: str) -> None:
        """Raise if there is no such repository. One LIST; more where there is none.

        Raises
        ------
        UnknownNameError, NoRegistryError
            As of :meth:`tags`.
        """
        if any(
            part.rpartition("/")[2].startswith("_") for part in self.source.directories(repository_root(name))
        ):
            return
        if not self.source.directories(ROOT):
            raise no_registry(self.source)
        raise unknown_repository(name, self._some_repositories())

    def _some_repositories(self) -> list[str]:
        """Return the names that can be had quickly: a LIST for each directory that is looked into."""
        repositories: list[str] = []
        level = [REPOSITORIES]
        for _ in range(_DEEPEST):
            inside = spread(self.source.directories, level[:_WIDEST])
            for path, below in zip(level, inside, strict=False):
                if any(manifest.rpartition("/")[2].startswith("_") for manifest in below):
                    repositories.append(path.removeprefix(f"{REPOSITORIES}/"))
            level = [
                manifest
                for below in inside
                for manifest in below
                if not manifest.rpartition("/")[2].startswith("_")
            ]
        return repositories

    def complete(self, beginning: str) -> list[str]:
        """Return what a name may go on with: repositories and their parents (with a slash), or tags.

        For a shell. One LIST; for repositories one more for each that fits.
        """
        repository, colon, _ = beginning.partition(":")
        if colon:
            paths = self.source.directories(tags_root(repository))
            names = [f"{repository}:{path.rpartition('/')[2]}" for path in paths]
            return [name for name in names if name.startswith(beginning)]
        parent = beginning.rpartition("/")[0]
        paths = self.source.directories(f"{REPOSITORIES}/{parent}".rstrip("/"))
        fitting = [
            item
            for item in paths
            if item.startswith(f"{REPOSITORIES}/{beginning}") and not item.rpartition("/")[2].startswith("_")
        ][:_WIDEST]
        completions = []
        for path, inside in zip(fitting, spread(self.source.directories, fitting), strict=True):
            name = path.removeprefix(f"{REPOSITORIES}/")
            own = [item.rpartition("/")[2].startswith("_") for item in inside]
            completions += [name] if any(own) else []
            completions += [f"{name}/"] if not all(own) else []
        return completions

    # -- manifests ------------------------------------------------------------------------------------

    def revisions(self, repository: str) -> dict[Digest, File]:
        """Return the manifests that are revisions of a repository."""
        read_manifests = {}
        for page in self.source.pages(revisions_root(repository)):
            for entry in page:
                spec = parse(entry.path)
                if isinstance(spec, ManifestRevisionLink):
                    read_manifests[spec.digest] = File(entry.size, entry.modified)
        return read_manifests

    def manifests(self, digests: Iterable[Digest]) -> dict[Digest, ReadManifest]:
        """Read manifests; what is missing or damaged has its `problem`."""
        read_manifests: dict[Digest, ReadManifest] = {}
        for digest, content in self.documents(digests, "manifests").items():
            if isinstance(content, str):
                read_manifests[digest] = ReadManifest(0, problem=content)
                continue
            try:
                read_manifests[digest] = ReadManifest(len(content), parse_manifest(content))
            except ManifestError as exc:
                read_manifests[digest] = ReadManifest(len(content), problem=str(exc))
        return read_manifests

    def closure(self, digests: Iterable[Digest]) -> dict[Digest, ReadManifest]:
        """Read manifests and, where they are indexes, what those lead to; with images' configurations."""
        manifests: dict[Digest, ReadManifest] = {}
        wanted = list(dict.fromkeys(digests))
        while wanted:
            manifests.update(self.manifests(wanted))
            wanted = list(
                dict.fromkeys(
                    reference.digest
                    for digest in wanted
                    if (this := manifests[digest].manifest)
                    for reference in this.references
                    if reference.relation == "manifest" and reference.digest not in manifests
                )
            )
        images = {
            digest: this.config.digest
            for digest, read in manifests.items()
            if (this := read.manifest) and this.kind == "image" and this.config
        }
        contents = self.documents(images.values(), "configurations")
        for digest, config in images.items():
            manifests[digest] = _with_config(manifests[digest], contents[config])
        return manifests

    def present(self, read: Mapping[Digest, ReadManifest]) -> dict[Digest, ReadManifest]:
        """Return those manifests of a closure that have a blob."""
        return {digest: manifest for digest, manifest in read.items() if manifest.problem != MISSING}

    def damage(self, repository: str, read: Mapping[Digest, ReadManifest]) -> Damage:
        """Return what the manifests of a closure refer to and do not have. Nothing is listed.

        One HEAD for each distinct layer and configuration, and for the link of each child of an index.
        """
        blobs: dict[Digest, None] = {}
        children: dict[Digest, None] = {}
        for item in read.values():
            for reference in item.manifest.references if item.manifest else ():
                if reference.relation == "manifest":
                    children[reference.digest] = None
                elif reference.relation != "subject" and not reference.foreign:
                    blobs[reference.digest] = None
        gone = {child for child in children if child in read and read[child].problem == MISSING}
        linked = [child for child in children if child not in gone]
        unlinked = self._lacking({ManifestRevisionLink(repository, child).path: child for child in linked})
        unlinked = self._lacking({LayerLink(repository, child).path: child for child in unlinked})
        missing = self._lacking({BlobData(digest).path: digest for digest in blobs})
        return Damage(missing, gone | unlinked)

    def _lacking(self, paths: Mapping[str, Digest]) -> set[Digest]:
        """Return the digests of the paths at which there is no file."""
        lacking: set[Digest] = set()
        done = 0
        for batch in batches(paths, lambda _: 0):
            entries = self.source.find_many(batch)
            lacking.update(paths[path] for path, entry in zip(batch, entries, strict=True) if entry is None)
            done += len(batch)
            self._progress("blobs", done, len(paths))
        return lacking

    def referrers(self, repository: str, digest: Digest) -> list[Referrer]:
        """Find what is about a manifest: whose subject it is, or that has a tag made of its digest.

        Reads all manifests of the repository.
        """
        names = {
            TagCurrentLink(repository, tag).path: tag
            for path in self.source.directories(tags_root(repository))
            if referrer_tag(tag := path.rpartition("/")[2]) == digest
        }
        tagged: dict[Digest, str] = {}
        for tag, content in zip(names.values(), self.source.read(list(names)), strict=True):
            _point(files := TagFiles(), content)
            if files.target:
                tagged.setdefault(files.target, tag)
        read = self.manifests({**dict.fromkeys(tagged), **self.revisions(repository)})
        found_ = [
            Referrer(candidate, "tag" if candidate in tagged else "subject", tagged.get(candidate, ""), this)
            for candidate, this in read.items()
            if candidate in tagged or (this.manifest and this.manifest.subject == digest)
        ]
        return sorted(found_, key=lambda item: item.digest)

    def links(self, digests: Iterable[Digest]) -> dict[Digest, list[str]]:
        """Find the repositories that have a link to a layer. Lists the links of the whole registry."""
        repositories: dict[Digest, list[str]] = {digest: [] for digest in digests}
        done = 0
        for page in self.source.pages(REPOSITORIES):
            for entry in page:
                spec = parse(entry.path)
                if isinstance(spec, LayerLink) and spec.digest in repositories:
                    repositories[spec.digest].append(spec.repository)
            done += len(page)
            self._progress("listing", done, None)
        return {digest: sorted(names) for digest, names in repositories.items()}

    def documents(self, digests: Iterable[Digest], stage: str) -> dict[Digest, bytes | str]:
        """Read blobs that are documents; for those that cannot be, why not."""
        wanted = list(dict.fromkeys(digests))
        self._progress(stage, 0, len(wanted))
        entries = self.source.find_many([BlobData(digest).path for digest in wanted])
        contents: dict[Digest, bytes | str] = {}
        paths: dict[str, Digest] = {}
        sizes: dict[str, int] = {}
        for digest, entry in zip(wanted, entries, strict=True):
            if entry is None:
                contents[digest] = MISSING
            elif entry.size > LARGEST:
                contents[digest] = f"it has {entry.size} bytes, more than a registry takes ({LARGEST})"
            else:
                paths[entry.path], sizes[entry.path] = digest, entry.size
        done = 0
        for batch in batches(paths, sizes.__getitem__):
            for path, content in zip(batch, self.source.read(batch), strict=True):
                contents[paths[path]] = content if isinstance(content, bytes) else MISSING
            done += len(batch)
            self._progress(stage, done, len(paths))
        return contents

    def document(self, digest: Digest) -> bytes:
        """Read a manifest or a configuration byte for byte as it was pushed.

        Raises
        ------
        ManifestError
            It is missing, too large to be one, or has another digest than it should.
        """
        content = self.documents([digest], "manifests")[digest]
        if isinstance(content, str):
            raise ManifestError(f"{digest}: {content}")
        if digest.algorithm == "sha256" and Digest.of(content) != digest:
            raise ManifestError(f"{digest}: is damaged: the content has another digest")
        return content

    def config_document(self, digest: Digest) -> bytes:
        """Read the configuration of a manifest as it was pushed; errors are those of :meth:`document`.

        Raises
        ------
        ValueError
            The manifest has no configuration: an index has none.
        """
        manifest = parse_manifest(self.document(digest))
        if manifest.config is None:
            raise ValueError(f"{digest}: has no configuration: it is an {manifest.kind}")
        return self.document(manifest.config.digest)


def _point(files: TagFiles, content: bytes | OSError) -> None:
    """Set a tag's target from its link."""
    if isinstance(content, OSError):
        files.current, files.problem = None, "it has no current link"
        return
    try:
        files.target = parse_link(content)
    except InvalidDigestError:
        files.problem = "its link is empty" if not content else "its link names no digest"


def _with_config(read: ReadManifest, content: bytes | str) -> ReadManifest:
    if isinstance(content, str):
        return ReadManifest(read.size, read.manifest, "", None, content)
    try:
        return ReadManifest(read.size, read.manifest, "", parse_config(content))
    except ManifestError as exc:
        return ReadManifest(read.size, read.manifest, "", None, str(exc))
