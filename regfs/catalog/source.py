"""The storage that a catalog reads: any fsspec filesystem or storage driver, behind one small interface.

Paths are always driver paths, "/docker/registry/v2/...". This module knows neither S3 nor the meaning of the
files.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from glob import has_magic
from typing import Any, NamedTuple, TypeVar

from fsspec.asyn import AsyncFileSystem
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.spec import AbstractFileSystem

T = TypeVar("T")
U = TypeVar("U")

AT_ONCE = 32
"""The number of concurrent calls to a storage whose methods take one path each."""
_TIMES = ("LastModified", "mtime", "last_modified", "modified", "created")
"""The keys that fsspec's filesystems use for the modification time."""


class Entry(NamedTuple):
    """A file in a listing: `size` in bytes, `modified` timezone-aware in UTC."""

    path: str
    size: int
    modified: datetime


class Source:
    """A registry's storage.

    Parameters
    ----------
    storage : AbstractFileSystem or storage driver
        An fsspec filesystem whose root is the registry's root directory; or an object with a storage driver's
        ``walk``, ``get_content``, ``stat`` and ``delete``, of regfs or any other package.

    Attributes
    ----------
    fs : AbstractFileSystem or None
        The filesystem, if the storage is one or has one.

    Raises
    ------
    TypeError
        `storage` is neither.
    """

    def __init__(self, storage: Any) -> None:
        self._driver = storage
        is_fs = _has(storage, "find", "cat_file", "info")
        if not is_fs and not _has(storage, "walk", "get_content", "stat"):
            kind = f"the class {storage.__name__}" if isinstance(storage, type) else type(storage).__name__
            text = "an fsspec filesystem, its URL, a storage driver or another catalog"
            raise TypeError(f"a catalog needs {text}, not {kind}")
        self.fs: Any = storage if is_fs else getattr(storage, "fs", None)
        if getattr(self.fs, "asynchronous", False):
            raise TypeError("a catalog blocks; give it a filesystem made without asynchronous=True")

    @classmethod
    def of(cls, registry: Any, storage_options: Mapping[str, Any] | None = None) -> Source:
        """Open a registry's storage, given in any form.

        Parameters
        ----------
        registry : AbstractFileSystem, str, storage driver or Catalog
            A storage as for the class, the URL of its root directory, or a catalog, whose source is returned.
        storage_options : mapping, optional
            The options for the URL's filesystem.

        Raises
        ------
        TypeError
            `registry` is none of these; or `storage_options` is given and `registry` is not a URL.
        ValueError
            A URL of regfs has a path, which belongs in the option ``rootdirectory``.
        """
        if isinstance(registry, str):
            return cls(_opened(registry, storage_options or {}))
        if storage_options is not None:
            raise TypeError(
                f"storage_options: belong to a URL, not to an object of {type(registry).__name__}"
            )
        source = getattr(registry, "source", None)
        return source if isinstance(source, cls) else cls(registry)

    def url(self, path: str) -> str:
        """Return the URL of a path; for a driver without a filesystem, the path itself."""
        return path if self.fs is None else str(self.fs.unstrip_protocol(self._own(path)))

    def pages(self, path: str) -> Iterator[list[Entry]]:
        """Yield pages of all files under a directory, in no order; nothing if the directory does not exist.

        Raises
        ------
        OSError
            The listing of a directory failed; or a symbolic link is broken or leads to a directory.
        """
        if self.fs is None:
            yield self._walk(path)
        elif hasattr(self.fs, "find_pages"):
            for page in self.fs.find_pages(path):
                yield [Entry(info["name"], info["size"], info["LastModified"]) for info in page]
        elif _walks(self.fs):
            self.fs.invalidate_cache()
            yield from self._directory_pages(self._own(path))
        else:
            self.fs.invalidate_cache()
            infos = self.fs.find(self._own(path), detail=True)
            # The names in the infos may be those of a wrapped filesystem; the keys are always right.
            yield [
                _entry({**info, "name": name}) for name, info in infos.items() if info.get("type") == "file"
            ]

    def _directory_pages(self, path: str) -> Iterator[list[Entry]]:
        """Yield the files of a tree, a page per directory.

        fsspec's own ``find`` treats an unreadable directory as empty, whatever `on_error` is, and skips
        symbolic links.
        """
        pending = [path]
        while pending:
            directory = pending.pop()
            try:
                infos = self.fs.ls(directory, detail=True)
            except FileNotFoundError:  # also if it was removed after its parent was listed
                continue
            files = []
            for info in infos:
                if info.get("islink") or info["type"] not in ("directory", "file"):
                    info = self._resolved(info)
                if info["type"] == "file":
                    files.append(_entry(info))
                elif info["type"] == "directory" and info["name"].strip("/") != directory.strip("/"):
                    pending.append(info["name"])
            if files:
                yield files

    def _resolved(self, info: dict[str, Any]) -> dict[str, Any]:
        """Return the properties of a symbolic link's target, with the link's name."""
        try:
            target = self.fs.info(info["name"])
        except FileNotFoundError:
            target = {"type": "nothing"}
        if target["type"] in ("directory", "nothing"):
            raise OSError(
                errno.ENOTSUP,
                f"a symbolic link to {'a directory' if target['type'] == 'directory' else 'nothing'} is not "
                "followed, so what lies behind it is unknown; mount or move the directory there instead",
                _absolute(info["name"]),
            )
        return {**target, "name": info["name"]}

    def _walk(self, path: str) -> list[Entry]:
        entries: list[Entry] = []

        def add(info: Any) -> None:
            if not info.is_dir:
                entries.append(Entry(info.path, info.size, info.mod_time))

        try:
            self._driver.walk(path, add)
        except FileNotFoundError:
            if self._exists(path):  # a file below it vanished, and the listing is incomplete
                raise
            return []
        return entries

    def _exists(self, path: str) -> bool:
        try:
            self._driver.stat(path)
        except FileNotFoundError:
            return False
        return True

    def directories(self, path: str) -> list[str]:
        """List the subdirectories of a directory, sorted; empty if the directory does not exist."""
        try:
            if self.fs is not None:
                self.fs.invalidate_cache(self._own(path))
                infos = self.fs.ls(self._own(path), detail=True)
                return sorted(_absolute(info["name"]) for info in infos if info["type"] == "directory")
            return sorted(name for name in self._driver.list(path) if self._driver.stat(name).is_dir)
        except FileNotFoundError:
            return []

    def read(self, paths: Sequence[str]) -> list[bytes | OSError]:
        """Read small files concurrently.

        Returns
        -------
        list of bytes or OSError
            For each path its content, or FileNotFoundError if the file does not exist.

        Raises
        ------
        OSError
            Any other failure, such as a missing permission or a failed connection.
        """
        if not paths:
            return []
        if self.fs is not None and not self._magic(paths):
            contents = self.fs.cat([self._own(path) for path in paths], on_error="return")
            results = {_absolute(name): content for name, content in contents.items()}
            # Some filesystems leave out missing paths instead of returning an error for them.
            return [_checked(results.get(path, _missing(path))) for path in paths]

        def read_file(path: str) -> bytes | Exception:
            try:
                if self.fs is not None:
                    content: bytes = self.fs.cat_file(self._own(path))
                else:
                    content = self._driver.get_content(path)
            except Exception as exc:  # noqa: BLE001 - _checked raises it
                return exc
            return content

        return [_checked(result) for result in spread(read_file, paths)]

    def read_beginnings(self, paths: Sequence[str], size: int) -> list[bytes | OSError]:
        """Read the first `size` bytes of files, or all of shorter ones; otherwise as :meth:`read`."""
        if not paths:
            return []
        if self.fs is not None:
            names = [self._own(path) for path in paths]
            return [_checked(result) for result in self.fs.cat_ranges(names, 0, size, on_error="return")]

        def read_beginning(path: str) -> bytes | Exception:
            try:
                with self._driver.reader(path, 0) as file:
                    content: bytes = file.read(size)
            except Exception as exc:  # noqa: BLE001 - _checked raises it
                return exc
            return content

        return [_checked(result) for result in spread(read_beginning, paths)]

    def find(self, path: str) -> Entry | None:
        """Return a file's entry, or None if there is no such file."""
        try:
            if self.fs is not None:
                self.fs.invalidate_cache(self._own(path))
                info = self.fs.info(self._own(path))
                return _entry(info) if info["type"] == "file" else None
            file_info = self._driver.stat(path)
        except FileNotFoundError:
            return None
        return None if file_info.is_dir else Entry(path, file_info.size, file_info.mod_time)

    def is_file(self, path: str) -> bool:
        """Return whether a path is a file; costs one HEAD with regfs's own filesystem.

        Raises
        ------
        OSError
            The request failed.
        """
        # fsspec's default isfile() returns False after any failure.
        return bool(self.fs.isfile(path)) if hasattr(self.fs, "find_pages") else self.find(path) is not None

    def find_many(self, paths: Iterable[str]) -> list[Entry | None]:
        """Return the entries of several files, concurrently; None for those that do not exist."""
        return spread(self.find, list(paths))

    def blocks(self, path: str, size: int = 2**20) -> Iterator[bytes]:
        """Yield the content of a large file in blocks of `size` bytes."""
        if self.fs is not None:
            file = self.fs.open(self._own(path), "rb")
        else:
            file = self._driver.reader(path, 0)
        with file:
            while data := file.read(size):
                yield data

    def open(self, path: str) -> Any:
        """Open a file for reading; it is seekable if the storage has a filesystem."""
        return self.fs.open(self._own(path), "rb") if self.fs is not None else self._driver.reader(path, 0)

    def delete(self, paths: Sequence[str]) -> None:
        """Delete files.

        Raises
        ------
        OSError
            Some files could not be deleted. A driver still deletes the others.
        """
        if self.fs is not None and not self._magic(paths):
            self.fs.rm([self._own(path) for path in paths])
            return

        def delete_file(path: str) -> OSError | None:
            try:
                if self.fs is not None:
                    self.fs.rm_file(self._own(path))
                else:
                    self._driver.delete(path)
            except OSError as exc:
                return exc
            return None

        failures = [failure for failure in spread(delete_file, paths) if failure]
        if failures:
            raise failures[0]

    def uploads(self) -> list[Any] | None:
        """Return the pending multipart uploads; empty if the storage has no such concept.

        None if listing them is forbidden: it takes another permission than listing and reading objects.
        """
        try:
            return self.fs.uploads() if hasattr(self.fs, "uploads") else []
        except PermissionError:
            return None

    def _magic(self, paths: Iterable[str]) -> bool:
        """Return whether the filesystem may treat a path, or its own path prefix, as a glob pattern."""
        return has_magic(str(getattr(self.fs, "path", ""))) or any(map(has_magic, paths))

    def _own(self, path: str) -> str:
        """Return a path in the filesystem's form, which may have no leading slash."""
        return path if self.fs.root_marker == "/" else path.lstrip("/")


def _has(instance: Any, *methods: str) -> bool:
    return not isinstance(instance, type) and all(hasattr(instance, name) for name in methods)


def _opened(url: str, storage_options: Mapping[str, Any]) -> Any:
    """Open a URL's filesystem with its path as the root."""
    from fsspec.core import url_to_fs

    fs, path = url_to_fs(url, **storage_options)
    if not path.strip("/"):
        return fs
    if hasattr(fs, "find_pages"):
        text = (
            f"a registry lies in the root directory; give storage_options={{'rootdirectory': {path!r}, ...}}"
        )
        raise ValueError(f"{fs.unstrip_protocol(path)}: has a path, but {text}")
    from fsspec.implementations.dirfs import DirFileSystem

    return DirFileSystem(path, fs)


def spread(function: Callable[[T], U], items: Sequence[T]) -> list[U]:
    """Call a blocking function for each item, concurrently; raises the first failure."""
    if len(items) < 2:
        return [function(item) for item in items]
    with ThreadPoolExecutor(min(AT_ONCE, len(items))) as pool:
        return list(pool.map(function, items))


def _walks(fs: Any) -> bool:
    """Return whether a filesystem's ``find`` is fsspec's default, which lists directory by directory."""
    while isinstance(fs, DirFileSystem):
        fs = fs.fs
    defaults = AbstractFileSystem.find, vars(AsyncFileSystem)["_find"]
    return (type(fs).find, getattr(type(fs), "_find", defaults[1])) == defaults


def _absolute(name: str) -> str:
    return name if name.startswith("/") else "/" + name


def _entry(info: dict[str, Any]) -> Entry:
    modified = next((info[name] for name in _TIMES if info.get(name) is not None), None)
    if isinstance(modified, (int, float)):
        modified = datetime.fromtimestamp(modified, timezone.utc)
    elif isinstance(modified, str):
        modified = datetime.fromisoformat(modified.replace("Z", "+00:00"))
    elif not isinstance(modified, datetime):
        modified = datetime.fromtimestamp(0, timezone.utc)
    if modified.tzinfo is None:
        modified = modified.replace(tzinfo=timezone.utc)
    return Entry(_absolute(info["name"]), int(info["size"] or 0), modified.astimezone(timezone.utc))


def _missing(path: str) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, "No such file or directory", path)


def _checked(result: bytes | Exception) -> bytes | OSError:
    """Return a content or FileNotFoundError; raise any other exception."""
    if isinstance(result, Exception) and not isinstance(result, FileNotFoundError):
        raise result
    return result
