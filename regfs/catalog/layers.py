"""The contents of an image's layers: streamed from their archives and merged.

Formats: https://github.com/opencontainers/image-spec/blob/main/layer.md (tar, tar+gzip, tar+zstd; whiteouts).
A layer is never held in memory; its digest is verified after its last byte.

Within a layer, an entry's path follows the symbolic links that precede it in the archive, without leaving the
image, and a later entry replaces an earlier one, as when an archive is unpacked. Between layers, a directory
replaces a symbolic link in a lower layer, as in overlayfs.
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
"""The state of an entry: in the image; hidden by an upper layer; hiding entries of lower layers."""

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_SKIPPABLE = b"\x2a\x4d\x18"
"""The magic number of a zstd frame without content, after a byte from 0x50 to 0x5f; it may come first."""
_BLOCK = 2**20
MOST_LINKS = 40
"""The maximum number of symbolic links followed for one path, as on Linux; more are a loop."""
_KINDS = {
    tarfile.DIRTYPE: ("directory", stat.S_IFDIR),
    tarfile.SYMTYPE: ("symlink", stat.S_IFLNK),
    tarfile.LNKTYPE: ("hardlink", stat.S_IFREG),
    tarfile.CHRTYPE: ("device", stat.S_IFCHR),
    tarfile.BLKTYPE: ("device", stat.S_IFBLK),
    tarfile.FIFOTYPE: ("fifo", stat.S_IFIFO),
}


class LayerError(ValueError):
    """A layer that cannot be read: damaged, missing, or in an unknown format."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A member of a layer's archive.

    Attributes
    ----------
    path : str
        The absolute path in the image.
    kind : str
        "file", "directory", "symlink", "hardlink", "device" or "fifo".
    size : int
        The size of a file in bytes; 0 for other kinds.
    mode : str
        The mode in the form of ``ls -l``.
    owner : str
        ``uid:gid``, as numbers.
    modified : datetime
        UTC, in whole seconds.
    target : str
        The target of a link; empty for other kinds.
    layer : int
        The number of its layer; 1 is the lowest.
    state : str
        Empty if the entry is in the image; otherwise "overridden" or "whiteout".
    position : int
        Its position in the layer's archive, from 0.
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
        """The layer and the position there, which together identify an entry of an image."""
        return self.layer, self.position


@dataclass(frozen=True, slots=True)
class Member:
    """An entry and its content, which can be read until the next member is read."""

    entry: Entry
    _archive: tarfile.TarFile
    _member: tarfile.TarInfo
    _digest: Digest

    def open(self) -> Content:
        """Open the content of a file."""
        return Content(self._archive.extractfile(self._member), self._digest)


class Content:
    """The content of a file in a layer, as a stream.

    It is unverified until the whole layer has been read and its digest compared.
    """

    def __init__(self, file: IO[bytes] | None, digest: Digest) -> None:
        self._file = file
        self._digest = digest

    def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes, or the remaining bytes.

        Raises
        ------
        LayerError
            The layer is damaged.
        """
        with _damage(self._digest):
            return self._file.read(size) if self._file else b""


class _Hashed:
    """A stream that hashes the bytes that are read from it."""

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
        """Read the remaining bytes, and raise LayerError if the layer has another digest."""
        while self.read(_BLOCK):
            pass
        if self._hash and self._hash.hexdigest() != self._digest.hex:
            raise LayerError(f"{self._digest}: is damaged: the content has another digest")


def read_layer(source: Source, digest: Digest, number: int = 1) -> Iterator[Entry]:
    """Read the entries of a layer in the order of its archive.

    Parameters
    ----------
    source : Source
        The registry's storage.
    digest : Digest
        The layer's digest.
    number : int
        The layer's number, for the entries.

    Raises
    ------
    LayerError
        The layer is missing, damaged, not a tar archive, or compressed in an unsupported way. Damage may be
        detected only at the end, after entries were yielded.
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
            # In an empty archive, next() would seek backwards on Python 3.10. typeshed lacks the attribute.
            empty = archive.firstmember is None  # type: ignore[attr-defined]  # as above
            while not empty:
                with _damage(digest):
                    member = archive.next()
                if member is None:
                    break
                yield Member(_entry(member, number, position), archive, member, digest)
                position += 1
                archive.members.clear()  # type: ignore[attr-defined]  # keeps memory constant
        with _damage(digest):
            hashed.finish()


@contextmanager
def _damage(digest: Digest) -> Iterator[None]:
    """Convert the errors of reading a damaged layer to LayerError, which names the layer."""
    try:
        yield
    except LayerError:
        raise
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as exc:
        raise LayerError(f"{digest}: is damaged or not a tar archive: {exc}") from exc
    except ValueError as exc:
        raise LayerError(f"{digest}: is damaged: {exc}") from exc


def _decompressed(file: _Hashed, digest: Digest) -> IO[bytes]:
    """Return the decompressed stream, by the layer's first bytes: media types can be wrong."""
    start = file.read(4)
    stream: Any = _Prefixed(start, file)
    if start.startswith(_GZIP):
        return gzip.GzipFile(fileobj=stream, mode="rb")  # type: ignore[return-value]  # as below
    if start == _ZSTD or (start[1:] == _SKIPPABLE and start[0] >> 4 == 5):
        return _zstd(stream, digest)
    return stream  # type: ignore[no-any-return]  # a file, as far as tarfile needs one


class _Prefixed:
    """A stream that starts with bytes that were already read from it."""

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
            return _ZstdStream(reader, module.ZstdError)  # type: ignore[return-value]  # as far as tarfile needs
        return _ZstdStream(module.ZstdFile(file), module.ZstdError)  # type: ignore[return-value]  # as above
    raise LayerError(f"{digest}: is compressed with zstd; to read it: pip install zstandard")


class _ZstdStream:
    """A decompressed stream that raises ValueError instead of the module's own error."""

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
    except (ValueError, OverflowError, OSError):  # outside the range of datetime
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
    """Return the permission bits of an entry, including set-user-ID, set-group-ID and the sticky bit."""
    bits = 0
    for position, letter in enumerate(entry.mode[1:]):
        bits |= (letter in "rwxst") << (8 - position)
        if letter in "sStT":
            bits |= stat.S_ISUID >> (position // 3)
    return bits


def _normal(name: str) -> str:
    """Return an absolute path in the image; ".." cannot lead out of it."""
    return posixpath.normpath("/" + name.lstrip("/"))


@dataclass
class _Above:
    """The paths of the upper layers, hidden ones included, that hide entries of lower layers."""

    paths: set[str] = field(default_factory=set)
    """The paths of all entries but whiteouts."""
    files: set[str] = field(default_factory=set)
    """The `paths` that are not directories: lower entries below them are hidden."""
    implied: set[str] = field(default_factory=set)
    """The parent directories of all entries."""
    removed: set[str] = field(default_factory=set)
    """The paths that whiteouts remove, with everything below them."""
    opaque: set[str] = field(default_factory=set)
    """The directories whose lower contents are removed."""

    def hides(self, path: str, directory: bool) -> bool:
        if path in self.paths or path in self.removed:
            return True
        if path in self.implied and not directory:
            return True
        while path != "/":
            path = posixpath.dirname(path)
            if path in self.removed or path in self.opaque or path in self.files:
                return True
        return False

    def add(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            parent, name = posixpath.split(entry.path)
            if name == _OPAQUE:
                self.opaque.add(parent)
            elif entry.state == "whiteout":
                self.removed.add(posixpath.join(parent, name[len(_WHITEOUT) :]))
            else:
                self.paths.add(entry.path)
                if entry.kind != "directory":
                    self.files.add(entry.path)
            while parent not in self.implied:
                self.implied.add(parent)
                parent = posixpath.dirname(parent)


class Placement:
    """Resolves the paths of one layer's entries through the symbolic links that precede them."""

    def __init__(self) -> None:
        self._links: dict[str, str] = {}

    def place(self, entry: Entry) -> Entry:
        """Return an entry with its path in the image; call this in the archive's order."""
        path = self._resolve(entry.path)
        target = self._resolve(entry.target) if entry.kind == "hardlink" else entry.target
        self._links.pop(path, None)
        if entry.kind == "symlink" and path != "/":
            self._links[path] = target
        unmoved = path == entry.path and target == entry.target
        return entry if unmoved else replace(entry, path=path, target=target)

    def _resolve(self, path: str) -> str:
        """Resolve the links among a path's parents, inside the image; loops stay unresolved."""
        for _ in range(MOST_LINKS if self._links else 0):
            parent = posixpath.dirname(path)
            link = ""
            while parent != "/":
                if parent in self._links:
                    link = parent  # the uppermost link is resolved first
                parent = posixpath.dirname(parent)
            if not link:
                break
            path = _normal(f"{inside(link, self._links[link])}{path[len(link) :]}")
        return path


def inside(link: str, target: str) -> str:
    """Return the path that a symbolic link leads to, inside the image: its root is its own parent.

    Parameters
    ----------
    link : str
        The link's path.
    target : str
        The link's target, absolute or relative to the link's directory.
    """
    return _normal(posixpath.join(posixpath.dirname(link), target))


class _Layer:
    """The entries of one layer after unpacking: a later entry replaces an earlier one."""

    def __init__(self) -> None:
        self.latest: dict[str, Entry] = {}
        self._parents = {"/"}

    def put(self, entry: Entry) -> list[Entry]:
        """Add an entry and return those that it replaces, or the entry itself if it cannot exist."""
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
    """The merged layers of an image, as a container sees them; layers are added from the uppermost down.

    Attributes
    ----------
    visible : dict
        The entries in the image, by path, from the layers added so far.
    hidden : list of Entry
        The entries not in the image: overridden ones and whiteouts.
    directories : set of str
        All directories in the image, including those without an entry of their own.
    """

    def __init__(self) -> None:
        self.visible: dict[str, Entry] = {}
        self.hidden: list[Entry] = []
        self._above = _Above()
        self.directories = {"/"}
        self._origins: dict[tuple[int, int], Entry] = {}
        self._unresolved: list[Entry] = []

    def add(self, entries: Iterable[Entry]) -> None:
        """Add the next lower layer, whose entries' paths were resolved by a :class:`Placement`."""
        layer = _Layer()
        unresolved: list[Entry] = []
        for entry in entries:
            if entry.kind == "hardlink":
                if entry.target in layer.latest:
                    self._origins[entry.key] = layer.latest[entry.target]
                else:
                    unresolved.append(entry)
            self.hidden += map(_hidden, layer.put(entry))
        latest = layer.latest
        self._resolve_links(latest)
        self._unresolved += unresolved
        for path, entry in latest.items():
            if entry.state or self._above.hides(path, entry.kind == "directory"):
                self.hidden.append(_hidden(entry))
            else:
                self.visible[path] = entry
            if not entry.state:
                self._add_directories(path if entry.kind == "directory" else posixpath.dirname(path))
        self._above.add(latest.values())

    def _add_directories(self, path: str) -> None:
        """Add a directory and its parents, which are in the image even if their contents are hidden."""
        while path not in self.directories:
            if not self._above.hides(path, directory=True):
                self.directories.add(path)
            path = posixpath.dirname(path)

    def _resolve_links(self, latest: dict[str, Entry]) -> None:
        """Find the targets of hard links in upper layers whose own layer does not have them."""
        if not self._unresolved:
            return
        layer = _Above()
        layer.add(latest.values())
        unresolved = []
        for link in self._unresolved:
            if link.target in latest:
                self._origins[link.key] = latest[link.target]
            elif not layer.hides(link.target, directory=False):
                unresolved.append(link)
        self._unresolved = unresolved

    def hides(self, entry: Entry) -> bool:
        """Return whether the layers added so far hide an entry of a lower layer."""
        return self._above.hides(entry.path, entry.kind == "directory")

    def removed(self, path: str) -> bool:
        """Return whether everything at a path in lower layers is hidden."""
        return self._above.hides(path, directory=True)

    def must_be_directory(self, path: str) -> bool:
        """Return whether only a directory can be visible at a path in lower layers."""
        return path in self._above.implied

    def content(self, entry: Entry) -> Entry | None:
        """Return the entry with the content of `entry`: the target of a hard link, else `entry` itself.

        None if the layers added so far do not have it.
        """
        while entry.kind == "hardlink":
            if entry.key not in self._origins:
                return None
            entry = self._origins[entry.key]  # in a lower layer or earlier in the same one, so the loop ends
        return entry

    def entries(self, *, every: bool = False) -> list[Entry]:
        """Return the entries in the image, by path; with `every` also hidden ones, lower layers last."""
        shown = [*self.hidden, *self.visible.values()] if every else list(self.visible.values())
        return sorted(shown, key=lambda item: (item.path, -item.layer))


def merged(layers: Sequence[Iterator[Entry]], *, every: bool = False) -> list[Entry]:
    """Merge layers, as a container sees them.

    Parameters
    ----------
    layers : sequence of iterator of Entry
        The layers, lowest first. The uppermost is read first.
    every : bool
        Also return hidden entries and whiteouts.

    Returns
    -------
    list of Entry
        By path, and for the same path the uppermost layer first.
    """
    overlay = Overlay()
    for layer in reversed(layers):
        overlay.add(map(Placement().place, layer))
    return overlay.entries(every=every)


def _hidden(entry: Entry) -> Entry:
    if entry.state:
        return entry
    return replace(entry, state="overridden")
