"""An image's files: the choice of an image and its layers, its entries, their contents, their extraction.

Layers are read from the uppermost down, and only as far as a question needs. One that is read is read to its
end and checked against its digest before anything out of it is handed on, so nothing that is returned here
comes out of a damaged layer. The entries are remembered, the contents are not.
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
"""Bytes of an opened file that are kept in memory; a larger one lies in a temporary file."""
_BLOCK = 2**20
_NEAR = 3
"""Names that are suggested where one is not there, at most."""


class PlatformError(ValueError):
    """An index has images for several platforms and none is chosen, or none for the one that is.

    Attributes
    ----------
    name : str
        The index.
    platforms : tuple of str
        The platforms that it has images for.
    """

    def __init__(self, name: str, text: str, platforms: tuple[str, ...]) -> None:
        super().__init__(f"{name}: {text}")
        self.name = name
        self.platforms = platforms


class BuildCacheError(ValueError):
    """A build cache, whose layers make no image."""


class UnreadableImageError(ValueError):
    """An image, or each one of an index, cannot be read: its manifest is missing or damaged."""


class Store(Protocol):
    """Where contents are kept until their layer has been checked."""

    def wants(self, entry: Entry) -> bool:
        """Return whether a file's content is to be kept."""

    def expect(self, path: str) -> None:
        """Prepare for a path that may turn out to be the one that is wanted."""

    def put(self, entry: Entry, content: Content) -> None:
        """Keep the content of a file."""

    def has(self, entry: Entry) -> bool:
        """Return whether the content of a file is kept."""


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
    """A store that keeps files to be handed on, in memory or in temporary files."""

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
    """Copy a content to where it can be read at will: memory, or a temporary file if it is large."""
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
    """The files in an image, as a container sees them: its layers, laid over each other.

    Parameters
    ----------
    source : Source
        Where the registry is.
    name : str
        What errors call the image.
    layers : sequence of Reference
        The image's layers, lowest first.
    digest : Digest, optional
        The image's manifest.
    cache : bool
        Whether they are those of a build cache, which make no image: only :meth:`layer_entries` reads them.
    progress : callable, optional
        ``progress(stage, done, total)``, as of a scan.

    Attributes
    ----------
    layers : tuple of Reference
        The layers, lowest first; number 1 is the first.
    digest : Digest or None
        The image's manifest: of an index, that of the image for the platform.

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
        """Choose an image and find its layers; of an index, those of its image for a platform.

        Reads the manifest, and those that it leads to; no layer.

        Parameters
        ----------
        lookup : Lookup
            What to read through.
        repository : str
            The repository through which it is asked for.
        digest : Digest
            The manifest.
        platform : str, optional
            As "linux/arm64"; an index of one image needs none.
        name : str
            What errors call it; the repository and the digest if that is not given.
        progress : callable, optional
            As of the class.

        Raises
        ------
        PlatformError
            The index has several images and no `platform` is given, or none for it. The message names them.
        UnreadableImageError
            There is no image that can be read; the message says why.
        """
        read = lookup.closure([digest])
        name = name or f"{repository}@{digest}"
        top = read[digest].manifest
        if top and top.config and top.config.media_type == BUILDKIT_CACHE:
            layers = [reference for reference in top.references if reference.relation == "layer"]
            return cls(lookup.source, name, layers, digest=digest, cache=True, progress=progress)
        images = images_of(digest, read)
        offered = tuple(sorted({image.platform for image in images if image.platform}))
        fitting = [image for image in images if image.platform == platform] if platform else images
        if platform and not fitting:
            available = ", ".join(offered) or "none that is stated"
            raise PlatformError(name, f"has no image for {platform}; there is {available}", offered)
        if not platform and len(fitting) > 1:
            text = f"has images for several platforms; choose one: {', '.join(offered)}"
            raise PlatformError(name, text, offered)
        if not fitting:
            problems = "; ".join(manifest.problem for manifest in read.values() if manifest.problem)
            reason = problems or "it is an index of no images"
            raise UnreadableImageError(f"{name}: has no image that can be read: {reason}")
        image = fitting[0]
        return cls(lookup.source, name, image.layers, digest=image.digest, progress=progress)

    def __repr__(self) -> str:
        return f"<RootFilesystem {self.name}: {len(self.layers)} layers>"

    @cached_property
    def absent(self) -> tuple[int, ...]:
        """The numbers of layers that are left out: foreign ones, which the registry does not have."""
        return tuple(
            number
            for number, layer in enumerate(self.layers, 1)
            if layer.foreign and not self.source.find(BlobData(layer.digest).path)
        )

    def entries(self, *, every: bool = False) -> list[Entry]:
        """Read all layers, and return what is in the image.

        Parameters
        ----------
        every : bool
            Return each layer's own entries, also those that are not in the image; their `state` says why.

        Returns
        -------
        list of Entry
            By path and, where a path has several entries, the uppermost layer first.

        Raises
        ------
        LayerError
            A layer is missing or damaged, or cannot be read here.
        BuildCacheError
            The layers make no image.
        """
        return self.overlay.entries(every=every)

    @property
    def overlay(self) -> Overlay:
        """All layers, read and laid over each other; errors are those of :meth:`entries`."""
        while self._read_next(_Nothing()):
            pass
        return self._overlay

    def directory_sizes(self, depth: int | None = None) -> list[DirectorySize]:
        """Read all layers, and add up the files: see :func:`regfs.catalog.weight.directory_sizes`."""
        return directory_sizes(self.overlay, depth)

    def waste(self) -> Waste:
        """Read all layers, and find what is not in the image: see :func:`regfs.catalog.weight.waste`."""
        return waste(self.overlay)

    def layer_entries(self, number: int) -> Iterator[Entry]:
        """Read the entries of one layer, as they stand in its archive; errors as of :meth:`entries`."""
        return (member.entry for member in self._members(number))

    def find(self, path: str) -> Entry:
        """Return the entry of a path; symbolic links are followed inside the image.

        Raises
        ------
        FileNotFoundError
            There is no such file in the image; the error suggests near names.
        NotADirectoryError
            Something on the way is a file.
        OSError
            Symbolic links are a loop (``errno.ELOOP``).
        LayerError, BuildCacheError
            As of :meth:`entries`.
        """
        entry = self._resolve(path, _Nothing())
        # A directory that something is in may have an entry of its own in a lower layer.
        return entry if entry.layer else self.overlay.visible.get(entry.path, entry)

    def open(self, path: str) -> IO[bytes]:
        """Open a file of the image for reading.

        The layers are read from the uppermost down to the one that has the file, which is read to its end
        and checked before this returns. Up to 8 MiB of content are in memory, more is in a temporary file.

        Parameters
        ----------
        path : str
            The file. Symbolic links are followed inside the image, whose root is its own parent, and hard
            links lead to the content that they had in their layer.

        Returns
        -------
        file
            Binary, at its start; it can seek.

        Raises
        ------
        IsADirectoryError
            It is a directory.
        OSError
            It is a device or a fifo, which has no content (``errno.EINVAL``); or as of :meth:`find`.
        LayerError, BuildCacheError
            As of :meth:`entries`.
        """
        return self.open_many([path])[0]

    def open_many(self, paths: Sequence[str]) -> list[IO[bytes]]:
        """Open several files, as :meth:`open` does; each layer is read once where links do not prevent it."""
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
        """Write the image's files, or a part of them, into a local directory: whole, or not at all.

        The directory becomes what `path` is in the image; where that is a file, it is written into the
        directory by its name. Nothing of the archives is ever written outside of it, and nothing of a
        damaged layer inside: see :mod:`regfs.catalog.extraction`.

        Parameters
        ----------
        directory : str or path-like
            A new directory in one that is there, or an empty one.
        path : str
            A directory or file of the image; links on the way are followed inside the image.

        Returns
        -------
        Extraction
            What was written, and what was left out.

        Raises
        ------
        FileExistsError
            The directory is there and not empty, or is something else.
        regfs.catalog.extraction.ExtractionError
            The file system here cannot have a name, or a hard link leads to nothing. Nothing was written.
        OSError
            It could not be written, or as of :meth:`find`.
        LayerError, BuildCacheError
            As of :meth:`entries`.
        """
        with extracted(directory, inside("/", path)) as target:
            while self._read_next(target):
                pass
            top = self._resolve(path, target).path
            overlay = self._overlay
            if top in overlay.directories:
                entries = {name: overlay.visible[it] for name, it in _below(top, overlay.visible).items()}
                directories = set(_below(top, overlay.directories))
            else:
                entries, directories = {posixpath.basename(top): overlay.visible[top]}, set()
            contents = map(overlay.content, entries.values())
            self._fetch([content for content in contents if content and content.kind == "file"], target)
            return target.write(entries, directories, overlay.content)

    # -- reading --------------------------------------------------------------------------------------

    @property
    def readable(self) -> list[tuple[int, Digest]]:
        """The numbers and digests of the layers that the image is made of here, lowest first.

        Raises
        ------
        LayerError
            One is encrypted.
        BuildCacheError
            The layers make no image.
        """
        if self._cache:
            raise BuildCacheError(f"{self.name}: is a build cache, whose layers make no image")
        numbers = [number for number in range(1, len(self.layers) + 1) if number not in self.absent]
        for number in numbers:
            self._check(number)
        return [(number, self.layers[number - 1].digest) for number in numbers]

    @cached_property
    def _unread(self) -> list[int]:
        """The numbers of the layers that have not been read yet, the next one last."""
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
        """Read layers again, for contents that turned out to be needed."""
        lacking: defaultdict[int, dict[int, Entry]] = defaultdict(dict)
        for entry in contents:
            if not store.has(entry):
                lacking[entry.layer][entry.position] = entry
        for number, by_position in lacking.items():
            for member in self._members(number):
                if member.entry.position in by_position:
                    store.put(by_position[member.entry.position], member.open())

    def _resolve(self, path: str, store: Store) -> Entry:
        """Return the entry of a path, links followed; reads layers until it is known."""
        remaining = deque(path.split("/"))
        current = _root()
        followed = 0
        while remaining:
            part = remaining.popleft()
            if part in ("", "."):
                continue
            if current.kind != "directory":
                raise NotADirectoryError(errno.ENOTDIR, f"is no directory in {self.name}", current.path)
            step = inside(current.path.rstrip("/") + "/", part)
            store.expect(inside(step, posixpath.join(step, *remaining)))
            entry = self._known(step, path, store, passing=bool(remaining))
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

    def _known(self, path: str, wanted: str, store: Store, *, passing: bool) -> Entry:
        """Return the visible entry of a path; of a directory that has none of its own, one made up."""
        while True:
            if path in self._overlay.visible:
                return self._overlay.visible[path]
            removed = self._overlay.removed(path)
            if path in self._overlay.directories or (
                passing and not removed and self._overlay.must_be_directory(path)
            ):
                return replace(_root(), path=path)
            if removed or not self._read_next(store):
                raise self._missing(wanted, path)

    def _origin(self, entry: Entry, store: Store) -> Entry:
        """Return what a hard link leads to, or the entry itself where it is none."""
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

    def _missing(self, wanted: str, path: str) -> FileNotFoundError:
        """Make the error that there is no file, with names that are near, of the layers read so far."""
        parent, name = posixpath.split(path)
        beside, elsewhere = [], []
        for other in self._overlay.visible:
            if posixpath.dirname(other) == parent:
                beside.append(posixpath.basename(other))
            elif posixpath.basename(other) == name:
                elsewhere.append(other)
        near = [
            posixpath.join(parent, match) for match in difflib.get_close_matches(name, beside, _NEAR, 0.7)
        ]
        near = [*near, *sorted(elsewhere, key=len)][:_NEAR]
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        return FileNotFoundError(errno.ENOENT, f"no such file in {self.name}{hint}", wanted)


def _below(top: str, paths: Iterable[str]) -> dict[str, str]:
    """Return the paths at and below a directory, by what they are relative to it."""
    within = top.rstrip("/") + "/"
    return {path[len(within) :]: path for path in paths if f"{path}/".startswith(within)}


def _root() -> Entry:
    """Return an entry for the root directory, which needs none in any layer."""
    return Entry("/", "directory", 0, "drwxr-xr-x", "0:0", datetime.fromtimestamp(0, timezone.utc), "", 0)
