"""What is in an image's layers: their archives read as they stream by, and laid over each other.

Formats: https://github.com/opencontainers/image-spec/blob/main/layer.md (tar, tar+gzip, tar+zstd; whiteouts).
No layer is ever held whole, and each is checked against its digest when its last byte has come.

Within a layer an entry lies behind the symbolic links that the layer made before it, inside the image, and
the later entry takes the place of an earlier one, as in an archive that is unpacked. Across layers a
directory takes the place of a symbolic link below, as in overlayfs.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib
import posixpath
import stat
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import IO, Any, Literal

from regfs.catalog.source import Source
from regfs.layout import BlobData, Digest

State = Literal["", "overridden", "whiteout"]
"""Of an entry: it is in the image; something in a layer above hides it; it only hides what is below."""

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_SKIPPABLE = b"\x2a\x4d\x18"
"""Of a zstd frame that holds no content, behind a byte from 0x50 to 0x5f; some tools begin with one."""
_BLOCK = 2**20
MOST_LINKS = 40
"""Symbolic links that are followed for one path, as Linux does; more are a loop."""
_KINDS = {
    tarfile.DIRTYPE: ("directory", stat.S_IFDIR),
    tarfile.SYMTYPE: ("symlink", stat.S_IFLNK),
    tarfile.LNKTYPE: ("hardlink", stat.S_IFREG),
    tarfile.CHRTYPE: ("device", stat.S_IFCHR),
    tarfile.BLKTYPE: ("device", stat.S_IFBLK),
    tarfile.FIFOTYPE: ("fifo", stat.S_IFIFO),
}


class LayerError(ValueError):
    """A layer cannot be read: it is damaged, missing, or of an unknown form."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Something in a layer's archive.

    Attributes
    ----------
    path : str
        Absolute, in the image.
    kind : str
        "file", "directory", "symlink", "hardlink", "device" or "fifo".
    size : int
        Bytes, of a file.
    mode : str
        As ``ls -l`` shows it.
    owner : str
        ``uid:gid``, numbers.
    modified : datetime
        UTC, to the second.
    target : str
        Where a link leads.
    layer : int
        The layer that it is in, counted from 1, the lowest.
    state : str
        Empty if it is in the image; "overridden" or "whiteout" if not.
    position : int
        Its number in the layer's archive, from 0.
    """

    path: str
    kind: str
    size: int
    mode: str
    owner: str
    modified: datetime
    target: str
    layer: int
    state: State = ""
    position: int = 0

    @property
    def key(self) -> tuple[int, int]:
        """Its layer and its position there, which no other entry of an image has."""
        return self.layer, self.position


@dataclass(frozen=True, slots=True)
class Member:
    """An entry, and a way to its content until the next member is read."""

    entry: Entry
    _archive: tarfile.TarFile
    _member: tarfile.TarInfo
    _digest: Digest

    def open(self) -> Content:
        """Open the content of a file."""
        return Content(self._archive.extractfile(self._member), self._digest)


class Content:
    """The content of a file in a layer, to be read in order.

    What it is worth shows only when the whole layer has been read, and its digest with it.
    """

    def __init__(self, file: IO[bytes] | None, digest: Digest) -> None:
        self._file = file
        self._digest = digest

    def read(self, size: int = -1) -> bytes:
        """Read some bytes.

        Raises
        ------
        LayerError
            The layer is damaged here.
        """
        with _damage(self._digest):
            return self._file.read(size) if self._file else b""


class _Hashed:
    """A stream whose bytes are hashed as they are read."""

    def __init__(self, file: Any, digest: Digest) -> None:
        self._file = file
        self._digest = digest
        supported = digest.algorithm in ("sha256", "sha384", "sha512")
        self._hash = hashlib.new(digest.algorithm) if supported else None

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._file.read(_BLOCK if size < 0 else size)
        if self._hash:
            self._hash.update(data)
        return data

    def finish(self) -> None:
        """Read what is left, and see whether it all was what the digest names."""
        while self.read(_BLOCK):
            pass
        if self._hash and self._hash.hexdigest() != self._digest.hex:
            raise LayerError(f"{self._digest}: is damaged: the content has another digest")


def read_layer(source: Source, digest: Digest, number: int = 1) -> Iterator[Entry]:
    """Read the entries of a layer, as they stand in its archive.

    Parameters
    ----------
    source : Source
        Where the registry is.
    digest : Digest
        The layer.
    number : int
        The entries' layer number.

    Raises
    ------
    LayerError
        It is missing or damaged, no tar archive, or compressed in a way that cannot be read here. Damage
        may show only at the end, after entries were given.
    """
    return (member.entry for member in read_members(source, digest, number))


def read_members(source: Source, digest: Digest, number: int = 1) -> Iterator[Member]:
    """Read the entries of a layer with their contents; parameters and errors are those of `read_layer`."""
    try:
        file = source.open(BlobData(digest).path)
    except FileNotFoundError as exc:
        raise LayerError(f"{digest}: is missing: the registry has no such blob") from exc
    with file:
        hashed = _Hashed(file, digest)
        with _damage(digest):
            archive = tarfile.open(fileobj=_decompressed(hashed, digest), mode="r|")  # noqa: SIM115 - below
        position = 0
        with archive:
            # Where there is none, next() would seek backwards on Python 3.10. typeshed lacks the attribute.
            empty = archive.firstmember is None  # type: ignore[attr-defined]  # as above
            while not empty:
                with _damage(digest):
                    member = archive.next()
                if member is None:
                    break
                yield Member(_entry(member, number, position), archive, member, digest)
                position += 1
                archive.members.clear()  # type: ignore[attr-defined]  # it would keep all of them
        with _damage(digest):
            hashed.finish()


@contextmanager
def _damage(digest: Digest) -> Iterator[None]:
    """Raise what reading a damaged layer raises as an error that names the layer."""
    try:
        yield
    except LayerError:
        raise
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as exc:
        raise LayerError(f"{digest}: is damaged, or no tar archive: {exc}") from exc
    except ValueError as exc:
        raise LayerError(f"{digest}: is damaged: {exc}") from exc


def _decompressed(file: _Hashed, digest: Digest) -> IO[bytes]:
    """Open what a layer is compressed with, by its first bytes: media types are not always right."""
    start = file.read(4)
    rest: Any = _Prefixed(start, file)
    if start.startswith(_GZIP):
        return gzip.GzipFile(fileobj=rest, mode="rb")  # type: ignore[return-value]  # as below
    if start == _ZSTD or (start[1:] == _SKIPPABLE and start[0] >> 4 == 5):
        return _zstd(rest, digest)
    return rest  # type: ignore[no-any-return]  # a file, as far as tarfile needs one


class _Prefixed:
    """A stream with the bytes before it that were read already."""

    def __init__(self, start: bytes, file: _Hashed) -> None:
        self._start = start
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if not self._start:
            return self._file.read(size)
        wanted = len(self._start) if size < 0 else size
        data, self._start = self._start[:wanted], self._start[wanted:]
        return data + self._file.read(wanted - len(data)) if len(data) < wanted else data


def _zstd(file: Any, digest: Digest) -> IO[bytes]:
    for name in ("compression.zstd", "zstandard"):  # the first is Python's own, from 3.14
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError:
            continue
        if name == "zstandard":
            reader = module.ZstdDecompressor().stream_reader(file, read_across_frames=True)
            return _Told(reader, module.ZstdError)  # type: ignore[return-value]  # as far as tarfile needs
        return _Told(module.ZstdFile(file), module.ZstdError)  # type: ignore[return-value]  # as above
    raise LayerError(f"{digest}: is compressed with zstd; to read it: pip install zstandard")


class _Told:
    """A stream whose own errors become those of this module."""

    def __init__(self, file: Any, error: type[Exception]) -> None:
        self._file = file
        self._error = error

    def read(self, size: int = -1) -> bytes:
        try:
            data: bytes = self._file.read(size)
        except self._error as exc:
            raise ValueError(str(exc)) from exc
        return data


def _entry(member: tarfile.TarInfo, number: int, position: int) -> Entry:
    kind, bits = _KINDS.get(member.type, ("file", stat.S_IFREG))
    path = _normal(member.name)
    name = posixpath.basename(path)
    target = member.linkname if kind in ("symlink", "hardlink") else ""
    try:
        modified = datetime.fromtimestamp(int(member.mtime), timezone.utc)
    except (ValueError, OverflowError, OSError):  # a year that no calendar has
        modified = datetime.fromtimestamp(0, timezone.utc)
    return Entry(
        path,
        kind,
        member.size if kind == "file" else 0,
        stat.filemode(bits | (member.mode & 0o7777)),
        f"{member.uid}:{member.gid}",
        modified,
        _normal(target) if kind == "hardlink" else target,
        number,
        "whiteout" if name.startswith(_WHITEOUT) else "",
        position,
    )


def permissions(entry: Entry) -> int:
    """Return the permission bits of an entry, set-user-ID, set-group-ID and the sticky bit among them."""
    bits = 0
    for place, letter in enumerate(entry.mode[1:]):
        bits |= (letter in "rwxst") << (8 - place)
        if letter in "sStT":
            bits |= stat.S_ISUID >> (place // 3)
    return bits


def _normal(name: str) -> str:
    """Return the place of an entry in the image: no "..", which would be no place in it, leads out."""
    return posixpath.normpath("/" + name.lstrip("/"))


@dataclass
class _Above:
    """The entries that the layers above hide, and those that hidden entries hide in turn."""

    there: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)
    """Of those, all that are no directories: nothing can be in them."""
    implied: set[str] = field(default_factory=set)
    """Directories that something is in."""
    gone: set[str] = field(default_factory=set)
    """What is removed, and all under it."""
    emptied: set[str] = field(default_factory=set)
    """Directories under which nothing is left."""

    def hides(self, path: str, directory: bool) -> bool:
        if path in self.there or path in self.gone:
            return True
        if path in self.implied and not directory:
            return True
        while path != "/":
            path = posixpath.dirname(path)
            if path in self.gone or path in self.emptied or path in self.files:
                return True
        return False

    def add(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            parent, name = posixpath.split(entry.path)
            if name == _OPAQUE:
                self.emptied.add(parent)
            elif entry.state == "whiteout":
                self.gone.add(posixpath.join(parent, name[len(_WHITEOUT) :]))
            else:
                self.there.add(entry.path)
                if entry.kind != "directory":
                    self.files.add(entry.path)
            while parent not in self.implied:
                self.implied.add(parent)
                parent = posixpath.dirname(parent)


class Placement:
    """Where the entries of one layer come to lie: behind the symbolic links that it made before them."""

    def __init__(self) -> None:
        self._links: dict[str, str] = {}

    def place(self, entry: Entry) -> Entry:
        """Return an entry with the path that it gets in the image; entries come in the archive's order."""
        path = self._through(entry.path)
        target = self._through(entry.target) if entry.kind == "hardlink" else entry.target
        self._links.pop(path, None)
        if entry.kind == "symlink" and path != "/":
            self._links[path] = target
        unmoved = path == entry.path and target == entry.target
        return entry if unmoved else replace(entry, path=path, target=target)

    def _through(self, path: str) -> str:
        """Follow the links among a path's parents, inside the image; a loop is left as it is."""
        for _ in range(MOST_LINKS if self._links else 0):
            parent = posixpath.dirname(path)
            link = ""
            while parent != "/":
                if parent in self._links:
                    link = parent  # the uppermost one is the first to be followed
                parent = posixpath.dirname(parent)
            if not link:
                break
            path = _normal(f"{inside(link, self._links[link])}{path[len(link) :]}")
        return path


def inside(link: str, target: str) -> str:
    """Return where a symbolic link leads within the image, whose root is its own parent.

    Parameters
    ----------
    link : str
        The link's path.
    target : str
        What it holds: absolute, or relative to the link's directory.
    """
    return _normal(posixpath.join(posixpath.dirname(link), target))


class _Layer:
    """The entries of one layer, unpacked: a later one takes the place of an earlier one."""

    def __init__(self) -> None:
        self.latest: dict[str, Entry] = {}
        self._parents = {"/"}

    def put(self, entry: Entry) -> list[Entry]:
        """Add an entry; return those that it takes the place of, or itself where nothing can be."""
        path, latest = entry.path, self.latest
        if path == "/" and entry.kind != "directory":
            return [entry]
        replaced = [latest.pop(path)] if path in latest else []
        if not entry.state:
            if entry.kind != "directory" and path in self._parents:
                within = path + "/"
                replaced += [latest.pop(other) for other in list(latest) if other.startswith(within)]
                self._parents = {item for item in self._parents if not f"{item}/".startswith(within)}
            parent = posixpath.dirname(path)
            while parent not in self._parents:
                self._parents.add(parent)
                if parent in latest and latest[parent].kind != "directory":
                    replaced.append(latest.pop(parent))
                parent = posixpath.dirname(parent)
        latest[path] = entry
        return replaced


class Overlay:
    """Layers laid over each other, from the uppermost down, as a container sees them.

    Attributes
    ----------
    visible : dict
        What is in the image as far as the layers added so far show, by path.
    hidden : list of Entry
        What is not: the overridden entries, and the whiteouts.
    directories : set of str
        All directories in the image; some have no entry, only something that is in them.
    """

    def __init__(self) -> None:
        self.visible: dict[str, Entry] = {}
        self.hidden: list[Entry] = []
        self._above = _Above()
        self.directories = {"/"}
        self._origins: dict[tuple[int, int], Entry] = {}
        self._sought: list[Entry] = []

    def add(self, entries: Iterable[Entry]) -> None:
        """Add the next lower layer, of which each entry went through a :class:`Placement`."""
        layer = _Layer()
        sought: list[Entry] = []
        for entry in entries:
            if entry.kind == "hardlink":
                if entry.target in layer.latest:
                    self._origins[entry.key] = layer.latest[entry.target]
                else:
                    sought.append(entry)
            self.hidden += map(_hidden, layer.put(entry))
        latest = layer.latest
        self._seek(latest)
        self._sought += sought
        for path, entry in latest.items():
            if entry.state or self._above.hides(path, entry.kind == "directory"):
                self.hidden.append(_hidden(entry))
            else:
                self.visible[path] = entry
            if not entry.state:
                self._add_directories(path if entry.kind == "directory" else posixpath.dirname(path))
        self._above.add(latest.values())

    def _add_directories(self, path: str) -> None:
        """Add a directory and its parents: they are in the image even if what is in them is hidden."""
        while path not in self.directories:
            if not self._above.hides(path, directory=True):
                self.directories.add(path)
            path = posixpath.dirname(path)

    def _seek(self, latest: dict[str, Entry]) -> None:
        """Find what the hard links of layers above lead to, of which there is nothing in their own."""
        if not self._sought:
            return
        layer = _Above()
        layer.add(latest.values())
        left = []
        for link in self._sought:
            if link.target in latest:
                self._origins[link.key] = latest[link.target]
            elif not layer.hides(link.target, directory=False):
                left.append(link)
        self._sought = left

    def hides(self, entry: Entry) -> bool:
        """Return whether the layers added so far hide an entry of a lower one."""
        return self._above.hides(entry.path, entry.kind == "directory")

    def removed(self, path: str) -> bool:
        """Return whether no lower layer can have anything visible at a path."""
        return self._above.hides(path, directory=True)

    def must_be_directory(self, path: str) -> bool:
        """Return whether a lower layer can have nothing visible at a path but a directory."""
        return path in self._above.implied

    def content(self, entry: Entry) -> Entry | None:
        """Return the entry that an entry's content comes with: of a hard link what it leads to, else itself.

        None where the layers added so far do not have it.
        """
        while entry.kind == "hardlink":
            if entry.key not in self._origins:
                return None
            entry = self._origins[entry.key]  # in a lower layer or before it, so this ends
        return entry

    def entries(self, *, every: bool = False) -> list[Entry]:
        """Return what is in the image, by path; with `every` also the hidden ones, lower layers last."""
        shown = [*self.hidden, *self.visible.values()] if every else list(self.visible.values())
        return sorted(shown, key=lambda item: (item.path, -item.layer))


def merged(layers: Sequence[Iterator[Entry]], *, every: bool = False) -> list[Entry]:
    """Lay layers over each other, as a container sees them.

    Parameters
    ----------
    layers : sequence of iterator of Entry
        The layers, lowest first. The uppermost is read first.
    every : bool
        Give the entries that are hidden, and the whiteouts that hide them, as well.

    Returns
    -------
    list of Entry
        By path and, where a path has several entries, the uppermost layer first.
    """
    overlay = Overlay()
    for layer in reversed(layers):
        overlay.add(map(Placement().place, layer))
    return overlay.entries(every=every)


def _hidden(entry: Entry) -> Entry:
    if entry.state:
        return entry
    return replace(entry, state="overridden")
