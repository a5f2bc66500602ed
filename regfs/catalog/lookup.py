"""Reading one repository, or one image in it, without scanning the rest of the registry.

:mod:`regfs.catalog.scan` lists everything; this module lists the directory of a single repository and reads
only the manifests that the caller names.
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
"""The largest number of directories in the name of a suggested repository."""
_SHOWN = 4
"""The number of tags that the error for a missing tag names: the most similar, then the last."""
_WIDEST = 100
"""The largest number of directories listed on each level to find suggestions."""


class Referrer(NamedTuple):
    """A referrer of a manifest; `how` says whether its "subject" or its "tag" names that manifest."""

    digest: Digest
    how: Literal["subject", "tag"]
    tag: str
    read: ReadManifest


class Lookup:
    """Reads single repositories and manifests.

    Parameters
    ----------
    source : Source
        The registry's storage.
    progress : callable, optional
        ``progress(stage, done, total)``, called as in a scan.
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
            There is no such repository; the error suggests one with a similar name.
        NoRegistryError
            The storage holds no registry.
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
            There is no such manifest; the error lists similar names.
        AmbiguousDigestError
            Several digests begin with the given one.
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
            similar = [*difflib.get_close_matches(name.tag, tag_names, _SHOWN), *reversed(tag_names)]
            similar = sorted(list(dict.fromkeys(similar))[:_SHOWN])
            text = f"no such tag; there {'is' if len(tag_names) == 1 else 'are'} {', '.join(similar)}"
            text += f" and {len(tag_names) - len(similar):,} more" if len(tag_names) > len(similar) else ""
        raise UnknownNameError(errno.ENOENT, text, str(name))

    def _resolve_digest(self, name: Name) -> Digest:
        algorithm, _, beginning = name.digest.rpartition(":")
        root = f"{revisions_root(name.repository)}/{algorithm}"
        try:
            digest = Digest(algorithm, beginning)
        except InvalidDigestError:
            pass
        else:
            if self.source.find(ManifestRevisionLink(name.repository, digest).path):
                return digest
        hexes = [path.rpartition("/")[2] for path in self.source.directories(root)]
        hexes = sorted(hex_ for hex_ in hexes if hex_.startswith(beginning))
        if len(hexes) == 1:
            return Digest(algorithm, hexes[0])
        if not hexes:
            self.check_repository(name.repository)
            text = "no manifest of the repository has this digest"
            raise UnknownNameError(errno.ENOENT, text, str(name))
        shown = ", ".join(hex_[:16] for hex_ in hexes[:4]) + (", …" if len(hexes) > 4 else "")
        raise AmbiguousDigestError(f"{name}: matches {len(hexes)} digests: {shown}")

    def check_repository(self, name: str) -> None:
        """Raise if there is no such repository.

        Costs one LIST, and more only if the repository is missing.

        Raises
        ------
        UnknownNameError, NoRegistryError
            As :meth:`tags` raises them.
        """
        if any(
            part.rpartition("/")[2].startswith("_") for part in self.source.directories(repository_root(name))
        ):
            return
        if not self.source.directories(ROOT):
            raise no_registry(self.source)
        raise unknown_repository(name, self._some_repositories())

    def _some_repositories(self) -> list[str]:
        """Return the repositories near the root, for suggestions. Costs a LIST per directory."""
        repositories: list[str] = []
        level = [REPOSITORIES]
        for _ in range(_DEEPEST):
            listings = spread(self.source.directories, level[:_WIDEST])
            for path, directories in zip(level, listings, strict=False):
                if any(directory.rpartition("/")[2].startswith("_") for directory in directories):
                    repositories.append(path.removeprefix(f"{REPOSITORIES}/"))
            level = [
                directory
                for directories in listings
                for directory in directories
                if not directory.rpartition("/")[2].startswith("_")
            ]
        return repositories

    def complete(self, beginning: str) -> list[str]:
        """Return the completions of a name: tags, or repositories and their parents (with a slash).

        For shell completion. Costs one LIST, and for repositories one more per match.
        """
        repository, colon, _ = beginning.partition(":")
        if colon:
            paths = self.source.directories(tags_root(repository))
            names = [f"{repository}:{path.rpartition('/')[2]}" for path in paths]
            return [name for name in names if name.startswith(beginning)]
        parent = beginning.rpartition("/")[0]
        paths = self.source.directories(f"{REPOSITORIES}/{parent}".rstrip("/"))
        matches = [
            path
            for path in paths
            if path.startswith(f"{REPOSITORIES}/{beginning}") and not path.rpartition("/")[2].startswith("_")
        ][:_WIDEST]
        completions = []
        for path, directories in zip(matches, spread(self.source.directories, matches), strict=True):
            name = path.removeprefix(f"{REPOSITORIES}/")
            internal = [directory.rpartition("/")[2].startswith("_") for directory in directories]
            completions += [name] if any(internal) else []
            completions += [f"{name}/"] if not all(internal) else []
        return completions

    # -- manifests ------------------------------------------------------------------------------------

    def revisions(self, repository: str) -> dict[Digest, File]:
        """List the revisions of a repository, with their links."""
        links = {}
        for page in self.source.pages(revisions_root(repository)):
            for entry in page:
                spec = parse(entry.path)
                if isinstance(spec, ManifestRevisionLink):
                    links[spec.digest] = File(entry.size, entry.modified)
        return links

    def manifests(self, digests: Iterable[Digest]) -> dict[Digest, ReadManifest]:
        """Read manifests; `problem` says why one is missing or damaged."""
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
        """Read manifests, the children of indexes at any depth, and the configurations of images."""
        manifests: dict[Digest, ReadManifest] = {}
        wanted = list(dict.fromkeys(digests))
        while wanted:
            manifests.update(self.manifests(wanted))
            wanted = list(
                dict.fromkeys(
                    reference.digest
                    for digest in wanted
                    if (manifest := manifests[digest].manifest)
                    for reference in manifest.references
                    if reference.relation == "manifest" and reference.digest not in manifests
                )
            )
        images = {
            digest: manifest.config.digest
            for digest, read in manifests.items()
            if (manifest := read.manifest) and manifest.kind == "image" and manifest.config
        }
        contents = self.documents(images.values(), "configurations")
        for digest, config in images.items():
            manifests[digest] = _with_config(manifests[digest], contents[config])
        return manifests

    def present(self, read: Mapping[Digest, ReadManifest]) -> dict[Digest, ReadManifest]:
        """Return the manifests of a closure whose blobs exist."""
        return {digest: manifest for digest, manifest in read.items() if manifest.problem != MISSING}

    def damage(self, repository: str, read: Mapping[Digest, ReadManifest]) -> Damage:
        """Return what the manifests of a closure refer to but the repository lacks.

        Sends a HEAD for each distinct layer and configuration, and for the link of each index's child, and
        no LIST.
        """
        blobs: dict[Digest, None] = {}
        children: dict[Digest, None] = {}
        for manifest in read.values():
            for reference in manifest.manifest.references if manifest.manifest else ():
                if reference.relation == "manifest":
                    children[reference.digest] = None
                elif reference.relation != "subject" and not reference.foreign:
                    blobs[reference.digest] = None
        without_blob = {child for child in children if child in read and read[child].problem == MISSING}
        with_blob = [child for child in children if child not in without_blob]
        unlinked = self._missing({ManifestRevisionLink(repository, child).path: child for child in with_blob})
        unlinked = self._missing({LayerLink(repository, child).path: child for child in unlinked})
        missing = self._missing({BlobData(digest).path: digest for digest in blobs})
        return Damage(missing, without_blob | unlinked)

    def _missing(self, paths: Mapping[str, Digest]) -> set[Digest]:
        """Return the digests whose paths have no file."""
        missing: set[Digest] = set()
        done = 0
        for batch in batches(paths, lambda _: 0):
            entries = self.source.find_many(batch)
            missing.update(paths[path] for path, entry in zip(batch, entries, strict=True) if entry is None)
            done += len(batch)
            self._progress("blobs", done, len(paths))
        return missing

    def referrers(self, repository: str, digest: Digest) -> list[Referrer]:
        """List the referrers of a manifest: those with it as their subject, or with a tag made of its digest.

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
        manifests = self.manifests({**dict.fromkeys(tagged), **self.revisions(repository)})
        referrers = [
            Referrer(candidate, "tag" if candidate in tagged else "subject", tagged.get(candidate, ""), read)
            for candidate, read in manifests.items()
            if candidate in tagged or (read.manifest and read.manifest.subject == digest)
        ]
        return sorted(referrers, key=lambda referrer: referrer.digest)

    def links(self, digests: Iterable[Digest]) -> dict[Digest, list[str]]:
        """Return the repositories that link to each layer. Lists the links of the whole registry."""
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
        """Read manifests or configurations; where a blob cannot be read, its value is the reason."""
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
            The document is missing or too large, or its content does not match the digest.
        """
        content = self.documents([digest], "manifests")[digest]
        if isinstance(content, str):
            raise ManifestError(f"{digest}: {content}")
        if digest.algorithm == "sha256" and Digest.of(content) != digest:
            raise ManifestError(f"{digest}: is damaged: the content has another digest")
        return content

    def config_document(self, digest: Digest) -> bytes:
        """Read the configuration of a manifest byte for byte as it was pushed.

        Raises
        ------
        ValueError
            The manifest has no configuration, as an index.
        ManifestError
            As :meth:`document` raises it.
        """
        manifest = parse_manifest(self.document(digest))
        if manifest.config is None:
            raise ValueError(f"{digest}: has no configuration: it is an {manifest.kind}")
        return self.document(manifest.config.digest)


def _point(files: TagFiles, content: bytes | OSError) -> None:
    """Set a tag's target, or its problem, from its link."""
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
