"""What is in an image's layers: their archives read as they stream by, and laid over each other.

Formats: https://github.com/opencontainers/image-spec/blob/main/layer.md (tar, tar+gzip, tar+zstd; whiteouts).
No layer is ever held whole, and each is checked against its digest when its last byte has come.
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
_KINDS = {
    tarfile.DIRTYPE: ("directory", stat.S_IFDIR),
    tarfile.SYMTYPE: ("symlink", stat.S_IFLNK),
    tarfile.LNKTYPE: ("hardlink", stat.S_IFREG),
    tarfile.CHRTYPE: ("device", stat.S_IFCHR),
    tarfile.BLKTYPE: ("device", stat.S_IFBLK),
    tarfile.FIFOTYPE: ("fifo", stat.S_IFIFO),
}


class LayerError(ValueError):
    """A layer cannot be read: it is damaged, missing, or of a form that nobody here can read."""


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


class _Hashed:
    """A stream whose bytes are hashed as they are read."""

    def __init__(self, file: Any, digest: Digest) -> None:
        self._file = file
        self._digest = digest
        known = digest.algorithm in ("sha256", "sha384", "sha512")
        self._hash = hashlib.new(digest.algorithm) if known else None

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
        What the entries tell as their layer.

    Raises
    ------
    LayerError
        It is missing or damaged, no tar archive, or compressed in a way that cannot be read here. Damage
        may show only at the end, after entries were given.
    """
    try:
        file = source.open(BlobData(digest).path)
    except FileNotFoundError as exc:
        raise LayerError(f"{digest}: is missing: the registry has no such blob") from exc
    with file:
        hashed = _Hashed(file, digest)
        try:
            with tarfile.open(fileobj=_decompressed(hashed, digest), mode="r|") as archive:
                while (member := archive.next()) is not None:
                    yield _entry(member, number)
                    archive.members.clear()  # type: ignore[attr-defined]  # it would keep all of them
        except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as exc:
            raise LayerError(f"{digest}: is damaged, or no tar archive: {exc}") from exc
        except ValueError as exc:
            if isinstance(exc, LayerError):
                raise
            raise LayerError(f"{digest}: is damaged: {exc}") from exc
        hashed.finish()


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


def _entry(member: tarfile.TarInfo, number: int) -> Entry:
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
    )


def _normal(name: str) -> str:
    """Give the place of an entry in the image: no "..", which would be no place in it, leads out."""
    return posixpath.normpath("/" + name.lstrip("/"))


@dataclass
class _Above:
    """What the layers above hide of those below; of hidden entries as well, as they hid something in turn."""

    there: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)
    """Of those, all that are no directories: nothing can be in them."""
    implied: set[str] = field(default_factory=set)
    """Directories that something is in."""
    gone: set[str] = field(default_factory=set)
    """What is removed, and all under it."""
    emptied: set[str] = field(default_factory=set)
    """Directories under which nothing is left."""

    def hides(self, entry: Entry) -> bool:
        path = entry.path
        if path in self.there or path in self.gone:
            return True
        if path in self.implied and entry.kind != "directory":
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
    above = _Above()
    found: list[Entry] = []
    for layer in reversed(layers):
        latest: dict[str, Entry] = {}
        for entry in layer:
            if (before := latest.pop(entry.path, None)) and every:
                found.append(_hidden(before))  # an archive may have a path twice; the last one counts
            latest[entry.path] = entry
        for entry in latest.values():
            if not entry.state and not above.hides(entry):
                found.append(entry)
            elif every:
                found.append(_hidden(entry))
        above.add(latest.values())
    return sorted(found, key=lambda one: (one.path, -one.layer))


def _hidden(entry: Entry) -> Entry:
    if entry.state:
        return entry
    return replace(entry, state="overridden")
