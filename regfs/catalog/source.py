"""What a catalog reads through: any fsspec filesystem, or any storage driver, behind one small interface.

Paths are driver paths, "/docker/registry/v2/...", whatever the object beneath calls them. Nothing here knows
S3 or what the files mean.
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
"""Files that are read, or asked for, at the same time where the object beneath takes one at a time."""
_TIMES = ("LastModified", "mtime", "last_modified", "modified", "created")
"""The keys under which fsspec's filesystems return the time of writing."""


class Entry(NamedTuple):
    """A file as a listing shows it: `size` in bytes, `modified` aware and in UTC."""

    path: str
    size: int
    modified: datetime


class Source:
    """A place to read from.

    Parameters
    ----------
    beneath : AbstractFileSystem or storage driver
        A filesystem of fsspec whose root is the registry's root directory; or an object with a registry
        driver's ``walk``, ``get_content``, ``stat`` and ``delete``, of regfs or any other.

    Attributes
    ----------
    fs : AbstractFileSystem or None
        The filesystem, if it is or has one.

    Raises
    ------
    TypeError
        It is neither.
    """

    def __init__(self, beneath: Any) -> None:
        self._driver = beneath
        is_fs = _has(beneath, "find", "cat_file", "info")
        if not is_fs and not _has(beneath, "walk", "get_content", "stat"):
            kind = f"the class {beneath.__name__}" if isinstance(beneath, type) else type(beneath).__name__
            text = "an fsspec filesystem, its URL, a storage driver or another catalog"
            raise TypeError(f"a catalog needs {text}, not {kind}")
        self.fs: Any = beneath if is_fs else getattr(beneath, "fs", None)
        if getattr(self.fs, "asynchronous", False):
            raise TypeError("a catalog blocks; give it a filesystem made without asynchronous=True")

    @classmethod
    def of(cls, registry: Any, storage_options: Mapping[str, Any] | None = None) -> Source:
        """Open a registry's storage, given in any form.

        Parameters
        ----------
        registry : AbstractFileSystem, str, storage driver or Catalog
            As for the class, the URL of its root directory, or a catalog, whose source is returned.
        storage_options : mapping, optional
            Of the URL's filesystem.

        Raises
        ------
        TypeError
            It is none of them; or there are `storage_options`, and it is no URL.
        ValueError
            A URL of regfs has a path, which the option ``rootdirectory`` takes.
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
        """Return the full name of a path, as far as the object beneath has one."""
        return path if self.fs is None else str(self.fs.unstrip_protocol(self._own(path)))

    def pages(self, path: str) -> Iterator[list[Entry]]:
        """List all files under a directory, some at a time and in no order; nothing if there is none.

        Raises
        ------
        OSError
            The listing of a directory failed; or a symbolic link leads to a directory, or nowhere.
        """
        if self.fs is None:
            yield self._walked(path)
        elif hasattr(self.fs, "find_pages"):
            for page in self.fs.find_pages(path):
                yield [Entry(info["name"], info["size"], info["LastModified"]) for info in page]
        elif _walks(self.fs):
            self.fs.invalidate_cache()
            yield from self._directory_pages(self._own(path))
        else:
            self.fs.invalidate_cache()
            infos = self.fs.find(self._own(path), detail=True)
            # The names in the infos are not always those of this filesystem, the keys are.
            yield [
                _entry({**info, "name": name}) for name, info in infos.items() if info.get("type") == "file"
            ]

    def _directory_pages(self, path: str) -> Iterator[list[Entry]]:
        """List a tree, one directory after the other.

        fsspec's own ``find`` takes a directory that it cannot read for an empty one, whatever `on_error` is,
        and passes over symbolic links.
        """
        pending = [path]
        while pending:
            directory = pending.pop()
            try:
                infos = self.fs.ls(directory, detail=True)
            except FileNotFoundError:  # it is not there, or has gone since its parent was listed
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
        """Return the properties of what a symbolic link leads to, under the link's name."""
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

    def _walked(self, path: str) -> list[Entry]:
        entries: list[Entry] = []

        def look(info: Any) -> None:
            if not info.is_dir:
                entries.append(Entry(info.path, info.size, info.mod_time))

        try:
            self._driver.walk(path, look)
        except FileNotFoundError:
            if self._there(path):  # what vanished lies in it, and the rest has not been listed
                raise
            return []
        return entries

    def _there(self, path: str) -> bool:
        try:
            self._driver.stat(path)
        except FileNotFoundError:
            return False
        return True

    def directories(self, path: str) -> list[str]:
        """Return the directories directly in a directory, sorted; nothing if there is none."""
        try:
            if self.fs is not None:
                self.fs.invalidate_cache(self._own(path))
                infos = self.fs.ls(self._own(path), detail=True)
                return sorted(_absolute(info["name"]) for info in infos if info["type"] == "directory")
            return sorted(name for name in self._driver.list(path) if self._driver.stat(name).is_dir)
        except FileNotFoundError:
            return []

    def read(self, paths: Sequence[str]) -> list[bytes | OSError]:
        """Read small files at once.

        Returns
        -------
        list of bytes or OSError
            For each path its content, or FileNotFoundError for what is not there (any more).

        Raises
        ------
        OSError
            Another failure: of a permission, of the connection.
        """
        if not paths:
            return []
        if self.fs is not None and not self._magic(paths):
            contents = self.fs.cat([self._own(path) for path in paths], on_error="return")
            answers = {_absolute(name): content for name, content in contents.items()}
            # What a filesystem leaves out is not there: some do not return an error where a path is missing.
            return [_settled(answers.get(path, _missing(path))) for path in paths]

        def read_file(path: str) -> bytes | Exception:
            try:
                if self.fs is not None:
                    content: bytes = self.fs.cat_file(self._own(path))
                else:
                    content = self._driver.get_content(path)
            except Exception as exc:  # noqa: BLE001 - sorted out by _settled
                return exc
            return content

        return [_settled(answer) for answer in spread(read_file, paths)]

    def read_beginnings(self, paths: Sequence[str], size: int) -> list[bytes | OSError]:
        """Read the first `size` bytes of files at once, or fewer where a file is shorter; as :meth:`read`."""
        if not paths:
            return []
        if self.fs is not None:
            names = [self._own(path) for path in paths]
            return [_settled(answer) for answer in self.fs.cat_ranges(names, 0, size, on_error="return")]

        def beginning(path: str) -> bytes | Exception:
            try:
                with self._driver.reader(path, 0) as file:
                    content: bytes = file.read(size)
            except Exception as exc:  # noqa: BLE001 - sorted out by _settled
                return exc
            return content

        return [_settled(answer) for answer in spread(beginning, paths)]

    def find(self, path: str) -> Entry | None:
        """Return one file's entry, or None."""
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
        """Return whether there is a file; one HEAD where the filesystem is regfs' own.

        Raises
        ------
        OSError
            The request failed.
        """
        # fsspec's own isfile() takes every failure for a no.
        return bool(self.fs.isfile(path)) if hasattr(self.fs, "find_pages") else self.find(path) is not None

    def find_many(self, paths: Iterable[str]) -> list[Entry | None]:
        """Return several files' entries, read at once."""
        return spread(self.find, list(paths))

    def blocks(self, path: str, size: int = 2**20) -> Iterator[bytes]:
        """Read a large file in order, `size` bytes at a time."""
        if self.fs is not None:
            file = self.fs.open(self._own(path), "rb")
        else:
            file = self._driver.reader(path, 0)
        with file:
            while data := file.read(size):
                yield data

    def open(self, path: str) -> Any:
        """Open a file for reading; it can seek where the object beneath is a filesystem."""
        return self.fs.open(self._own(path), "rb") if self.fs is not None else self._driver.reader(path, 0)

    def delete(self, paths: Sequence[str]) -> None:
        """Delete files.

        Raises
        ------
        OSError
            Some could not be deleted; a driver's others are.
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
        """Return the pending multipart uploads, where the filesystem knows of such things.

        None where listing them is forbidden: the permission is another than that to list and read objects.
        """
        try:
            return self.fs.uploads() if hasattr(self.fs, "uploads") else []
        except PermissionError:
            return None

    def _magic(self, paths: Iterable[str]) -> bool:
        """Return whether the filesystem may take paths for patterns; a `DirFileSystem` has one of its own."""
        return has_magic(str(getattr(self.fs, "path", ""))) or any(map(has_magic, paths))

    def _own(self, path: str) -> str:
        """Return a path as the filesystem names it."""
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
    """Call a blocking function for each item, several at once; the first failure is raised."""
    if len(items) < 2:
        return [function(item) for item in items]
    with ThreadPoolExecutor(min(AT_ONCE, len(items))) as pool:
        return list(pool.map(function, items))


def _walks(fs: Any) -> bool:
    """Return whether a filesystem's ``find`` is fsspec's own, which lists directory by directory."""
    while isinstance(fs, DirFileSystem):
        fs = fs.fs
    own = AbstractFileSystem.find, vars(AsyncFileSystem)["_find"]
    return (type(fs).find, getattr(type(fs), "_find", own[1])) == own


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


def _settled(answer: bytes | Exception) -> bytes | OSError:
    """Return a content or FileNotFoundError; raise every other failure."""
    if isinstance(answer, Exception) and not isinstance(answer, FileNotFoundError):
        raise answer
    return answer
