"""The files of an image: the choice of an image in an index, its entries, their contents and extraction.

Layers are read from the uppermost down, and only as many as an operation needs. A layer is always read to its
end and verified against its digest before any of its data is returned, so no result comes from a damaged
layer. Entries are cached, contents are not.
"""

from __future__ import annotations

import difflib
import errno
import io
import posixpath
import shutil
import tempfile
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from functools import cached_property
from typing import IO, TYPE_CHECKING, Protocol

from regfs.catalog.extraction import Extraction, extracted
from regfs.catalog.images import images_of
from regfs.catalog.layers import (
    MOST_LINKS,
    Content,
    Entry,
    LayerError,
    Member,
    Overlay,
    Placement,
    inside,
    read_members,
)
from regfs.catalog.lookup import Lookup
from regfs.catalog.manifest import BUILDKIT_CACHE
from regfs.catalog.weight import DirectorySize, Waste, directory_sizes, waste
from regfs.layout import BlobData

if TYPE_CHECKING:
    import os

    from regfs.catalog.manifest import Reference
    from regfs.catalog.scan import Progress
    from regfs.catalog.source import Source
    from regfs.layout import Digest

_IN_MEMORY = 8 * 2**20
"""The largest file, in bytes, that is opened in memory; a larger one is in a temporary file."""
_BLOCK = 2**20
_SUGGESTIONS = 3
"""The number of paths that the error for a missing file suggests."""


class PlatformError(ValueError):
    """An index has images for several platforms and none was chosen, or no image for the chosen one.

    Attributes
    ----------
    name : str
        The name of the index.
    platforms : tuple of str
        The platforms for which it has images.
    """

    def __init__(self, name: str, text: str, platforms: tuple[str, ...]) -> None:
        super().__init__(f"{name}: {text}")
        self.name = name
        self.platforms = platforms


class BuildCacheError(ValueError):
    """The manifest is a build cache, whose layers are not those of an image."""


class UnreadableImageError(ValueError):
    """An image, or every image of an index, has a missing or damaged manifest."""


class Store(Protocol):
    """A store for file contents until their layer has been verified."""

    def wants(self, entry: Entry) -> bool:
        """Return whether the store should keep a file's content."""

    def expect(self, path: str) -> None:
        """Register a path whose content may be requested."""

    def put(self, entry: Entry, content: Content) -> None:
        """Store the content of a file."""

    def has(self, entry: Entry) -> bool:
        """Return whether the content of a file is stored."""


class _Nothing:
    """A store that keeps nothing."""

    def wants(self, entry: Entry) -> bool:
        return False

    def expect(self, path: str) -> None:
        pass

    def put(self, entry: Entry, content: Content) -> None:
        raise AssertionError(entry)

    def has(self, entry: Entry) -> bool:
        return False


class _Opened:
    """A store of files to be returned to the caller, in memory or in temporary files."""

    def __init__(self) -> None:
        self._paths: set[str] = set()
        self._files: dict[tuple[int, int], IO[bytes]] = {}
        self._taken: set[tuple[int, int]] = set()

    def wants(self, entry: Entry) -> bool:
        return entry.path in self._paths

    def expect(self, path: str) -> None:
        self._paths.add(path)

    def put(self, entry: Entry, content: Content) -> None:
        self._files[entry.key] = _temporary(content)

    def has(self, entry: Entry) -> bool:
        return entry.key in self._files

    def take(self, entry: Entry) -> IO[bytes]:
        file = self._files[entry.key]
        if entry.key not in self._taken:
            self._taken.add(entry.key)
            return file
        copy = _temporary(file)
        file.seek(0)
        return copy

    def close(self) -> None:
        for key, file in self._files.items():
            if key not in self._taken:
                file.close()


def _temporary(content: Content | IO[bytes]) -> IO[bytes]:
    """Copy a content to a seekable file: in memory, or a temporary file if it is large."""
    beginning = io.BytesIO()
    while beginning.tell() <= _IN_MEMORY:
        data = content.read(_BLOCK)
        beginning.write(data)
        if not data:
            beginning.seek(0)
            return beginning
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller's to close
    try:
        file.write(beginning.getbuffer())
        shutil.copyfileobj(content, file, _BLOCK)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file


class RootFilesystem:
    """The files in an image as a container sees them: the overlay of its layers.

    Parameters
    ----------
    source : Source
        The registry's storage.
    name : str
        The image's name in error messages.
    layers : sequence of Reference
        The image's layers, lowest first.
    digest : Digest, optional
        The digest of the image's manifest.
    cache : bool
        Whether the layers are those of a build cache, which only :meth:`layer_entries` can read.
    progress : callable, optional
        ``progress(stage, done, total)``, called as in a scan.

    Attributes
    ----------
    layers : tuple of Reference
        The layers, lowest first; their numbers start at 1.
    digest : Digest or None
        The digest of the image's manifest; for an index, that of the chosen image.

    Examples
    --------
    >>> rootfs = Catalog(fs).image("team/app:v1").rootfs()  # doctest: +SKIP
    >>> rootfs.open("/etc/os-release").read()  # doctest: +SKIP
    >>> rootfs.extract("app")  # doctest: +SKIP
    """

    def __init__(
        self,
        source: Source,
        name: str,
        layers: Sequence[Reference],
        *,
        digest: Digest | None = None,
        cache: bool = False,
        progress: Progress | None = None,
    ) -> None:
        self.source = source
        self.name = name
        self.layers = tuple(layers)
        self.digest = digest
        self._cache = cache
        self._progress = progress or (lambda *_: None)
        self._overlay = Overlay()

    @classmethod
    def of(
        cls,
        lookup: Lookup,
        repository: str,
        digest: Digest,
        platform: str | None = None,
        *,
        name: str = "",
        progress: Progress | None = None,
    ) -> RootFilesystem:
        """Return the filesystem of an image, or of an index's image for a platform.

        Reads the manifest and everything below it except layers.

        Parameters
        ----------
        lookup : Lookup
            The reader of manifests.
        repository : str
            The repository that has the manifest.
        digest : Digest
            The digest of the image or index.
        platform : str, optional
            Such as "linux/arm64"; not needed if there is only one image.
        name : str
            The image's name in error messages; by default the repository and the digest.
        progress : callable, optional
            As for the class.

        Raises
        ------
        PlatformError
            The index has several images and `platform` is not given, or it has no image for `platform`. The
            message lists the platforms.
        UnreadableImageError
            No image can be read; the message says why.
        """
        read = lookup.closure([digest])
        name = name or f"{repository}@{digest}"
        top = read[digest].manifest
        if top and top.config and top.config.media_type == BUILDKIT_CACHE:
            layers = [reference for reference in top.references if reference.relation == "layer"]
            return cls(lookup.source, name, layers, digest=digest, cache=True, progress=progress)
        images = images_of(digest, read)
        offered = tuple(sorted({image.platform for image in images if image.platform}))
        candidates = [image for image in images if image.platform == platform] if platform else images
        if platform and not candidates:
            available = ", ".join(offered) or "no image that states its platform"
            raise PlatformError(name, f"has no image for {platform}; there is {available}", offered)
        if not platform and len(candidates) > 1:
            text = f"has images for several platforms; choose one: {', '.join(offered)}"
            raise PlatformError(name, text, offered)
        if not candidates:
            problems = "; ".join(manifest.problem for manifest in read.values() if manifest.problem)
            reason = problems or "the index has no images"
            raise UnreadableImageError(f"{name}: has no image that can be read: {reason}")
        image = candidates[0]
        return cls(lookup.source, name, image.layers, digest=image.digest, progress=progress)

    def __repr__(self) -> str:
        return f"<RootFilesystem {self.name}: {len(self.layers)} layers>"

    @cached_property
    def absent(self) -> tuple[int, ...]:
        """The numbers of the foreign layers that the registry does not have, which are left out."""
        return tuple(
            number
            for number, layer in enumerate(self.layers, 1)
            if layer.foreign and not self.source.find(BlobData(layer.digest).path)
        )

    def entries(self, *, every: bool = False) -> list[Entry]:
        """Read all layers, and return the entries of the image.

        Parameters
        ----------
        every : bool
            Return the entries of all layers, including those that are not in the image; their `state` says
            why.

        Returns
        -------
        list of Entry
            By path; of several entries for a path, that of the uppermost layer comes first.

        Raises
        ------
        LayerError
            A layer is missing or damaged, or its format is not supported.
        BuildCacheError
            The layers are those of a build cache.
        """
        return self.overlay.entries(every=every)

    @property
    def overlay(self) -> Overlay:
        """The overlay of all layers; reads them, with the errors of :meth:`entries`."""
        while self._read_next(_Nothing()):
            pass
        return self._overlay

    def directory_sizes(self, depth: int | None = None) -> list[DirectorySize]:
        """Read all layers, and sum up file sizes: see :func:`regfs.catalog.weight.directory_sizes`."""
        return directory_sizes(self.overlay, depth)

    def waste(self) -> Waste:
        """Read all layers, and find wasted contents: see :func:`regfs.catalog.weight.waste`."""
        return waste(self.overlay)

    def layer_entries(self, number: int) -> Iterator[Entry]:
        """Yield a layer's entries in the order of its archive; raises the errors of :meth:`entries`."""
        return (member.entry for member in self._members(number))

    def find(self, path: str) -> Entry:
        """Return the entry of a path; symbolic links are followed inside the image.

        Raises
        ------
        FileNotFoundError
            There is no such file in the image; the error suggests similar paths.
        NotADirectoryError
            A parent of the path is a file.
        OSError
            There are too many symbolic links, as in a loop (``errno.ELOOP``).
        LayerError, BuildCacheError
            As :meth:`entries` raises them.
        """
        entry = self._resolve(path, _Nothing())
        # A directory that is only implied by its content may have an entry in a lower layer.
        return entry if entry.layer else self.overlay.visible.get(entry.path, entry)

    def open(self, path: str) -> IO[bytes]:
        """Open a file of the image for reading.

        Layers are read from the uppermost down to the one that has the file, which is read to its end and
        verified before this method returns. Contents over 8 MiB are in a temporary file, smaller ones in
        memory.

        Parameters
        ----------
        path : str
            The file's path. Symbolic links are followed inside the image, whose root directory is its own
            parent. A hard link has the content that its target had in the link's layer.

        Returns
        -------
        file
            A seekable binary file, at its start.

        Raises
        ------
        IsADirectoryError
            The path is a directory.
        OSError
            The path is a device or a FIFO, which has no content (``errno.EINVAL``); or as :meth:`find` raises
            it.
        LayerError, BuildCacheError
            As :meth:`entries` raises them.
        """
        return self.open_many([path])[0]

    def open_many(self, paths: Sequence[str]) -> list[IO[bytes]]:
        """Open several files as :meth:`open` does; reads each layer once, unless links require it again."""
        opened = _Opened()
        for path in paths:
            opened.expect(inside("/", path))
        try:
            contents = [self._content(path, self._resolve(path, opened), opened) for path in paths]
            self._fetch(contents, opened)
            return [opened.take(content) for content in contents]
        finally:
            opened.close()

    def extract(self, directory: str | os.PathLike[str], path: str = "/") -> Extraction:
        """Extract the image's files, or a part of them, into a local directory: all of them or none.

        A directory's content is extracted into `directory`; a file is extracted into it under the file's own
        name. Archives never write outside of `directory`, and damaged layers never write into it: see
        :mod:`regfs.catalog.extraction`.

        Parameters
        ----------
        directory : str or path-like
            An empty directory, or a new one in an existing directory.
        path : str
            A directory or file of the image; links in it are followed inside the image.

        Returns
        -------
        Extraction
            The files written and those left out.

        Raises
        ------
        FileExistsError
            `directory` is not empty, or is not a directory.
        regfs.catalog.extraction.ExtractionError
            The local file system does not support a name, or the target of a hard link is missing. Nothing
            was written.
        OSError
            A file could not be written; or as :meth:`find` raises it.
        LayerError, BuildCacheError
            As :meth:`entries` raises them.
        """
        with extracted(directory, inside("/", path)) as target:
            while self._read_next(target):
                pass
            top = self._resolve(path, target).path
            overlay = self._overlay
            if top in overlay.directories:
                entries = {name: overlay.visible[full] for name, full in _below(top, overlay.visible).items()}
                directories = set(_below(top, overlay.directories))
            else:
                entries, directories = {posixpath.basename(top): overlay.visible[top]}, set()
            contents = map(overlay.content, entries.values())
            self._fetch([content for content in contents if content and content.kind == "file"], target)
            return target.write(entries, directories, overlay.content)

    # -- reading --------------------------------------------------------------------------------------

    @property
    def readable(self) -> list[tuple[int, Digest]]:
        """The numbers and digests of the layers to read, lowest first.

        Raises
        ------
        LayerError
            A layer is encrypted.
        BuildCacheError
            The layers are those of a build cache.
        """
        if self._cache:
            raise BuildCacheError(f"{self.name}: is a build cache, whose layers make no image")
        numbers = [number for number in range(1, len(self.layers) + 1) if number not in self.absent]
        for number in numbers:
            self._check(number)
        return [(number, self.layers[number - 1].digest) for number in numbers]

    @cached_property
    def _unread(self) -> list[int]:
        """The numbers of the layers that have not been read yet; the next is the last."""
        return [number for number, _ in self.readable]

    def _check(self, number: int) -> None:
        layer = self.layers[number - 1]
        if layer.media_type.endswith("+encrypted"):
            raise LayerError(f"{layer.digest}: layer {number} is encrypted")

    def _members(self, number: int) -> Iterator[Member]:
        self._check(number)
        for member in read_members(self.source, self.layers[number - 1].digest, number):
            if member.entry.position % 500 == 0:
                self._progress(f"layer {number}", member.entry.position, None)
            yield member

    def _read_next(self, store: Store) -> bool:
        """Read the next lower layer; return whether there was one."""
        if not self._unread:
            return False
        placement = Placement()
        entries = []
        for member in self._members(self._unread[-1]):
            entry = placement.place(member.entry)
            entries.append(entry)
            in_image = entry.kind == "file" and not entry.state and not self._overlay.hides(entry)
            if in_image and store.wants(entry):
                store.put(entry, member.open())
        self._overlay.add(entries)
        self._unread.pop()
        return True

    def _fetch(self, contents: Iterable[Entry], store: Store) -> None:
        """Read layers again for contents that are not stored."""
        missing: defaultdict[int, dict[int, Entry]] = defaultdict(dict)
        for entry in contents:
            if not store.has(entry):
                missing[entry.layer][entry.position] = entry
        for number, by_position in missing.items():
            for member in self._members(number):
                if member.entry.position in by_position:
                    store.put(by_position[member.entry.position], member.open())

    def _resolve(self, path: str, store: Store) -> Entry:
        """Return the entry of a path, following links; reads layers until it is found."""
        remaining = deque(path.split("/"))
        current = _root()
        followed = 0
        while remaining:
            part = remaining.popleft()
            if part in ("", "."):
                continue
            if current.kind != "directory":
                raise NotADirectoryError(errno.ENOTDIR, f"is not a directory in {self.name}", current.path)
            step = inside(current.path.rstrip("/") + "/", part)
            store.expect(inside(step, posixpath.join(step, *remaining)))
            entry = self._visible(step, path, store, passing=bool(remaining))
            target = self._origin(entry, store)
            if target.kind == "symlink":
                followed += 1
                if followed > MOST_LINKS:
                    raise OSError(errno.ELOOP, f"too many symbolic links in {self.name}", path)
                remaining.extendleft(reversed(target.target.split("/")))
                current = _root() if target.target.startswith("/") else current
                continue
            current = entry
        return current

    def _visible(self, path: str, requested: str, store: Store, *, passing: bool) -> Entry:
        """Return the visible entry of a path; for a directory without an entry, a generated one."""
        while True:
            if path in self._overlay.visible:
                return self._overlay.visible[path]
            removed = self._overlay.removed(path)
            if path in self._overlay.directories or (
                passing and not removed and self._overlay.must_be_directory(path)
            ):
                return replace(_root(), path=path)
            if removed or not self._read_next(store):
                raise self._missing(requested, path)

    def _origin(self, entry: Entry, store: Store) -> Entry:
        """Return the target of a hard link; any other entry is returned as it is."""
        while (origin := self._overlay.content(entry)) is None:
            if not self._read_next(store):
                text = f"is a hard link to {entry.target}, which is not in {self.name}"
                raise FileNotFoundError(errno.ENOENT, text, entry.path)
        return origin

    def _content(self, path: str, entry: Entry, store: Store) -> Entry:
        origin = self._origin(entry, store)
        if origin.kind == "directory":
            raise IsADirectoryError(errno.EISDIR, f"is a directory in {self.name}", path)
        if origin.kind != "file":
            raise OSError(errno.EINVAL, f"is a {origin.kind} in {self.name}, which has no content", path)
        return origin

    def _missing(self, requested: str, path: str) -> FileNotFoundError:
        """Return the error for a missing file, with similar paths from the layers read so far."""
        parent, name = posixpath.split(path)
        siblings, namesakes = [], []
        for other in self._overlay.visible:
            if posixpath.dirname(other) == parent:
                siblings.append(posixpath.basename(other))
            elif posixpath.basename(other) == name:
                namesakes.append(other)
        matches = difflib.get_close_matches(name, siblings, _SUGGESTIONS, 0.7)
        suggestions = [posixpath.join(parent, match) for match in matches]
        suggestions = [*suggestions, *sorted(namesakes, key=len)][:_SUGGESTIONS]
        hint = f"; did you mean {' or '.join(suggestions)}?" if suggestions else ""
        return FileNotFoundError(errno.ENOENT, f"no such file in {self.name}{hint}", requested)


def _below(top: str, paths: Iterable[str]) -> dict[str, str]:
    """Map the relative paths of a directory and everything below it to the absolute paths."""
    within = top.rstrip("/") + "/"
    return {path[len(within) :]: path for path in paths if f"{path}/".startswith(within)}


def _root() -> Entry:
    """Return an entry for the root directory, for which layers need not have one."""
    return Entry("/", "directory", 0, "drwxr-xr-x", "0:0", datetime.fromtimestamp(0, timezone.utc), "", 0)
