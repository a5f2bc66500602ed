"""A storage driver that keeps everything in a dictionary: the suite's second subject.

Its only purpose is to be simple and right, so that a rule which the suite holds against the S3 driver alone
shows as one.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from datetime import datetime, timezone
from typing import BinaryIO

from regfs import (
    FileInfo,
    InvalidOffsetError,
    PathNotFoundError,
    SkipDir,
    StopWalk,
    UnsupportedMethodError,
)
from regfs.paths import check_driver_path


class MemoryDriver:
    """Files by path, and uploads by path."""

    name = "memory"

    def __init__(self) -> None:
        self.files: dict[str, tuple[bytes, datetime]] = {}
        self.uploads: dict[str, bytes] = {}
        self.lock = threading.RLock()

    def _check(self, path: str, *, root: bool = False) -> str:
        return check_driver_path(path, self.name, root=root)

    def _missing(self, path: str) -> PathNotFoundError:
        return PathNotFoundError("path not found", path, self.name)

    def _below(self, path: str) -> list[str]:
        return [file for file in self.files if file.startswith(path.rstrip("/") + "/")]

    def get_content(self, path: str) -> bytes:
        if self._check(path) not in self.files:
            raise self._missing(path)
        return self.files[path][0]

    def put_content(self, path: str, content: bytes) -> None:
        with self.lock:
            self.files[self._check(path)] = bytes(content), datetime.now(timezone.utc)

    def reader(self, path: str, offset: int = 0) -> BinaryIO:
        content = self.get_content(path)
        if offset < 0:
            raise InvalidOffsetError(f"invalid offset {offset}", path, self.name, offset)
        return io.BytesIO(content[offset:])

    def read_stream(self, path: str, offset: int = 0) -> BinaryIO:
        return self.reader(path, offset)

    def writer(self, path: str, append: bool = False) -> MemoryWriter:
        self._check(path)
        content = b""
        if append:
            content = self.uploads[path] if path in self.uploads else self.get_content(path)
        else:
            self.uploads.pop(path, None)
        return MemoryWriter(self, path, content)

    def write_stream(self, path: str, offset: int, reader: BinaryIO) -> int:
        self._check(path)
        if offset < 0:
            raise InvalidOffsetError(f"invalid offset {offset}", path, self.name, offset)
        old = self.files.get(path, (b"", None))[0]
        new = bytearray()
        try:
            while data := reader.read(65536):
                new += data
        except Exception as exc:
            exc.bytes_read = len(new)  # type: ignore[attr-defined]  # any exception may carry it
            raise
        self.put_content(path, old[:offset].ljust(offset, b"\0") + new)
        return len(new)

    def stat(self, path: str) -> FileInfo:
        if self._check(path, root=True) in self.files:
            content, written = self.files[path]
            return FileInfo(path, len(content), written, False)
        if path != "/" and not self._below(path):
            raise self._missing(path)
        return FileInfo(path, 0, None, True)

    def list(self, path: str) -> list[str]:
        start = self._check(path, root=True).rstrip("/") + "/"
        found = {start + file[len(start) :].split("/")[0] for file in self._below(path)}
        if not found and path != "/":
            raise self._missing(path)
        return sorted(found)

    def walk(self, path: str, fn: Callable[[FileInfo], object], start_after: str | None = None) -> None:
        after = self._check(start_after).split("/") if start_after else []
        self.list(path)
        entries = {
            FileInfo(file, len(self.files[file][0]), self.files[file][1], False) for file in self._below(path)
        }
        for file in self._below(path):
            while len(file := file.rpartition("/")[0]) > len(path.rstrip("/")):
                entries.add(FileInfo(file, 0, None, True))
        skipped: tuple[str, ...] = ()
        for info in sorted(entries, key=lambda info: (info.path.split("/"), info.is_dir)):
            if info.path.split("/") > after and not info.path.startswith(skipped or ("\0",)):
                try:
                    fn(info)
                except SkipDir:
                    skipped += (info.path + "/",) * info.is_dir
                except StopWalk:
                    return

    def move(self, source: str, dest: str) -> None:
        with self.lock:
            self._check(dest)
            self.get_content(source)
            self.files[dest] = self.files.pop(source)

    def delete(self, path: str) -> None:
        with self.lock:
            there = [file for file in (self._check(path), *self._below(path)) if file in self.files]
            if not there:
                raise self._missing(path)
            for file in there:
                del self.files[file]

    def redirect_url(self, path: str, method: str = "GET") -> str:
        self._check(path)
        return ""

    def url_for(self, path: str, method: str = "GET", expiry: datetime | None = None) -> str:
        raise UnsupportedMethodError("it has no URLs", self._check(path), self.name)


class MemoryWriter:
    """A writer of a MemoryDriver."""

    def __init__(self, driver: MemoryDriver, path: str, content: bytes) -> None:
        self._driver = driver
        self._path = path
        self._content = bytearray(content)
        self._state = ""

    @property
    def size(self) -> int:
        return len(self._content)

    def _check(self) -> None:
        if self._state:
            raise ValueError(f"already {self._state}")

    def write(self, data: bytes) -> int:
        self._check()
        self._content += data
        return len(data)

    def commit(self) -> None:
        self._check()
        self._driver.put_content(self._path, bytes(self._content))
        self._driver.uploads.pop(self._path, None)
        self._state = "committed"

    def cancel(self) -> None:
        self._check()
        self._driver.uploads.pop(self._path, None)
        self._state = "cancelled"

    def close(self) -> None:
        if self._state == "closed":
            raise ValueError("already closed")
        if not self._state:
            self._driver.uploads[self._path] = bytes(self._content)
        self._state = "closed"
