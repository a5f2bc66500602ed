"""StorageDriver: the registry's driver interface over a RegistryFileSystem.

Thin: it adds the registry's path rule and its typed errors, nothing else. Both generations of the interface
are methods of the one object; where they name the same thing twice, one calls the other.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, BinaryIO

from regfs.driver.reader import BodyReader, open_body
from regfs.driver.walk import StopWalk, Walk, read
from regfs.driver.writer import FileWriter
from regfs.errors import BucketNotFoundError, InvalidOffsetError, PathNotFoundError, UnsupportedMethodError
from regfs.filesystem.spec import DEFAULT_EXPIRY, RegistryFileSystem
from regfs.filesystem.waiting import sync
from regfs.parameters.config import KINDS
from regfs.paths import check_driver_path
from regfs.s3.client import MAX_PRESIGN
from regfs.store.store import Entry, Store

_BLOCK = 2**20
_ZEROS = memoryview(bytes(_BLOCK))


@dataclass(frozen=True, slots=True)
class FileInfo:
    """The properties of a path (Go: ``storagedriver.FileInfo``).

    Attributes
    ----------
    path : str
        The driver path.
    size : int
        Bytes; 0 for a directory.
    mod_time : datetime or None
        When it was written, aware, UTC; None for a directory.
    is_dir : bool
        Whether it is a directory, that is, whether keys lie under it.
    """

    path: str
    size: int
    mod_time: datetime | None
    is_dir: bool


class StorageDriver:
    """A registry's storage driver (Go: ``storagedriver.StorageDriver``).

    Every method blocks and may be called from any thread.

    Parameters
    ----------
    fs : RegistryFileSystem
        The filesystem, which holds all settings.
    name : str
        The driver's name; its errors begin with it.

    Raises
    ------
    ValueError
        `fs` is for use in coroutines.
    """

    def __init__(self, fs: RegistryFileSystem, name: str = "s3aws") -> None:
        if fs.asynchronous:
            raise ValueError("fs: made with asynchronous=True, but the driver's methods block")
        self.fs = fs
        self._name = name

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any], name: str = "s3aws") -> StorageDriver:
        """Make a driver and check by one request that bucket and credentials are right.

        Parameters
        ----------
        parameters : mapping
            The registry's parameters (:class:`~regfs.DriverParameters`).
        name : str
            The driver's name.

        Raises
        ------
        regfs.ParameterError
            A parameter breaks its rule; nothing was sent.
        regfs.BucketNotFoundError
            The bucket does not exist.
        PermissionError
            The credentials are missing, wrong or lack the permission; the text says which.
        ConnectionError
            The endpoint cannot be reached; after at most ten seconds.
        """
        driver = cls(RegistryFileSystem(**parameters), name)
        sync(driver.fs.loop, driver.fs.store.check)
        return driver

    @property
    def name(self) -> str:
        """The driver's name, as the registry's configuration has it."""
        return self._name

    def __repr__(self) -> str:
        return f"StorageDriver({self.fs!r}, name={self._name!r})"

    # -- whole files ----------------------------------------------------------------------------------

    def get_content(self, path: str) -> bytes:
        """Read a file whole: by one GET up to 16 MiB, by several at once beyond.

        Raises
        ------
        PathNotFoundError
            There is no such file.
        """
        with self._errors(path):
            data: bytes = self._run(self._store.read, self._check(path))
            return data

    def put_content(self, path: str, content: bytes) -> None:
        """Store a file whole, replacing what was there; by one PUT up to ``chunksize``."""
        with self._errors(path):
            self._run(self._store.write, self._check(path), content)

    # -- streams --------------------------------------------------------------------------------------

    def reader(self, path: str, offset: int = 0, *, verify: bool = False) -> BinaryIO:
        """Open a file for reading from an offset in bytes, as one response that is read as it arrives.

        At or past the end the stream is empty. With `verify`, the read that reaches a blob's end compares its
        content as :meth:`RegistryFileSystem.verify` does.

        Raises
        ------
        ValueError
            `verify`, and the path promises no digest or `offset` is not 0.
        InvalidOffsetError
            `offset` is negative.
        PathNotFoundError
            There is no such file: at once, not at the first read.
        """
        self._check_offset(path, offset)
        with self._errors(path):
            body, verifier = self._run(open_body, self._store, self._check(path), offset, verify=verify)
        return io.BufferedReader(BodyReader(self.fs, body, self._store.url(path), verifier), _BLOCK)

    def read_stream(self, path: str, offset: int = 0) -> BinaryIO:
        """Open a file for reading; v2.0.0-alpha.2's name of :meth:`reader`."""
        return self.reader(path, offset)

    def writer(self, path: str, append: bool = False) -> FileWriter:
        """Open a file for chunked writing; its content is readable after ``commit()``.

        Parameters
        ----------
        path : str
            The file.
        append : bool
            Continue an upload that was closed without commit, here or anywhere, or else the committed file.

        Raises
        ------
        PathNotFoundError
            `append`, and there is neither.
        """
        with self._errors(path):
            return FileWriter(self.fs, self._check(path), append=append)

    def write_stream(self, path: str, offset: int, reader: BinaryIO) -> int:
        """Write a reader's bytes at an offset; v2.0.0-alpha.2.

        The file becomes its own first `offset` bytes, filled up with zeros where it is shorter or missing,
        and then what the reader gives; what lay behind is gone. All of it appears at once.

        Returns
        -------
        int
            The bytes read from the reader.

        Raises
        ------
        InvalidOffsetError
            `offset` is negative.
        Exception
            Whatever the reader or S3 raised, with an attribute ``bytes_read``. The old file is still there
            and no upload is left behind.
        """
        self._check_offset(path, offset)
        count = 0
        upload = None
        try:
            with self._errors(path):
                upload = self._run(self._store.open_at, path, offset)
            while (gap := offset - upload.size) > 0:
                self._run(upload.write, _ZEROS[:gap])
            while data := reader.read(_BLOCK):
                count += len(data)
                self._run(upload.write, data)
            self._run(upload.commit)
        except BaseException as exc:
            if upload is not None:
                self._run(upload.give_up)
            exc.bytes_read = count  # type: ignore[attr-defined]  # any exception may carry it
            raise
        return count

    # -- what is there --------------------------------------------------------------------------------

    def stat(self, path: str) -> FileInfo:
        """Return what is at a path; of a file and a directory with one name, the file.

        Raises
        ------
        PathNotFoundError
            Neither is there. "/" always is.
        """
        with self._errors(path):
            return _file_info(self._run(self._store.stat, self._check(path, root=True)))

    def list(self, path: str) -> list[str]:
        """List the driver paths directly under a directory, sorted; one LIST for each 1,000, "/" one more.

        Raises
        ------
        PathNotFoundError
            Nothing lies under `path`; "/" may be empty.
        """
        path = self._check(path, root=True)
        with self._errors(path):
            if path == "/":  # an empty store must look empty at once, and this is rarely asked and small
                entries = self._run(read, self._store, path).entries
            else:
                entries = self._run(self._store.children, path)
            if entries is None:
                raise self._store.not_found(path)
        return list(dict.fromkeys(entry.path for entry in entries))

    def walk(self, path: str, fn: Callable[[FileInfo], object], start_after: str | None = None) -> None:
        """Call a function for everything under a directory, parents before children, in order of names.

        One LIST for each 1,000 keys, and about as many again where directories hold more; once the function
        has skipped a directory, one for each directory that it does not skip.

        Parameters
        ----------
        path : str
            The directory.
        fn : callable
            ``fn(FileInfo)``, called in this thread; it may raise :class:`~regfs.SkipDir` or
            :class:`~regfs.StopWalk`.
        start_after : str, optional
            Begin behind this path, whether or not it exists, as if everything up to it had been seen.

        Raises
        ------
        PathNotFoundError
            Nothing lies under `path`.

        Notes
        -----
        With the parameter ``parallelwalk`` and without `start_after`, several directories are listed at once
        and siblings come in no order; parents still come before what lies in them. What is deleted during
        a walk may still be shown.
        """
        path = self._check(path, root=True)

        def run(function: Callable[..., Any], *args: Any) -> Any:
            with self._errors(path):  # around the requests alone: what `fn` raises is its own
                return self._run(function, *args)

        loop = self.fs.loop
        assert loop is not None  # noqa: S101 - __init__ takes blocking filesystems only
        walk = Walk(self._store, loop, lambda entry: fn(_file_info(entry)), run)
        with suppress(StopWalk):
            if start_after:
                walk.run_after(path, self._check(start_after))
            elif self.fs.parameters.parallel_walk:
                walk.run_parallel(path)
            else:
                walk.run(path)

    # -- changes --------------------------------------------------------------------------------------

    def move(self, source: str, dest: str) -> None:
        """Move a file of any size on the server, replacing what is at the destination.

        Raises
        ------
        PathNotFoundError
            There is no such file; the destination is untouched.
        """
        self._check(dest)
        with self._errors(source):
            self._run(self._store.move, self._check(source), dest)

    def delete(self, path: str) -> None:
        """Delete a file and everything under it as a directory.

        Raises
        ------
        PathNotFoundError
            There is neither.
        OSError
            Some keys could not be deleted; they are named together.
        """
        with self._errors(path):
            self._run(self._store.delete_tree, self._check(path))

    # -- URLs -----------------------------------------------------------------------------------------

    def redirect_url(self, path: str, method: str = "GET") -> str:
        """Make a presigned URL, valid for 20 minutes; empty for other methods than GET and HEAD."""
        return self.url_for(path, method) if method in ("GET", "HEAD") else ""

    def url_for(self, path: str, method: str = "GET", expiry: datetime | None = None) -> str:
        """Make a presigned URL without any request; v2.0.0-alpha.2.

        Parameters
        ----------
        path : str
            The file; it need not exist.
        method : str
            "GET" or "HEAD".
        expiry : datetime, optional
            When it ends to be valid, aware; 20 minutes from now by default, at most 7 days.

        Raises
        ------
        UnsupportedMethodError
            Another method.
        ValueError
            `expiry` is naive, past or more than 7 days away.
        """
        self._check(path)
        if method not in ("GET", "HEAD"):
            raise UnsupportedMethodError(f"unsupported method {method!r}, use GET or HEAD", path, self._name)
        seconds: float = DEFAULT_EXPIRY
        if expiry is not None:
            if expiry.tzinfo is None:
                raise ValueError(f"expiry {expiry!r}: must carry its time zone")
            seconds = (expiry - datetime.now(timezone.utc)).total_seconds()
            if not 0 < seconds <= MAX_PRESIGN:
                raise ValueError(f"expiry {expiry.isoformat()}: must be within the next 7 days")
        with self._errors(path):
            return self.fs.sign(path, max(1, round(seconds)), method)

    # -- inside ---------------------------------------------------------------------------------------

    def _check(self, path: str, *, root: bool = False) -> str:
        return check_driver_path(path, self._name, root=root)

    def _check_offset(self, path: str, offset: int) -> None:
        self._check(path)
        if offset < 0:
            text = f"invalid offset {offset}, it must not be negative"
            raise InvalidOffsetError(text, path, self._name, offset)

    @property
    def _store(self) -> Store:
        return self.fs.store

    def _run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return sync(self.fs.loop, function, *args, **kwargs)

    @contextmanager
    def _errors(self, path: str) -> Iterator[None]:
        """Raise a missing file as the registry's error; all other errors pass."""
        try:
            yield
        except (BucketNotFoundError, PathNotFoundError):
            raise
        except FileNotFoundError as exc:
            raise PathNotFoundError("path not found", path, self._name) from exc


def _file_info(entry: Entry) -> FileInfo:
    item = entry.object
    return FileInfo(entry.path, item.size if item else 0, item.modified if item else None, item is None)


def create(name: str, parameters: Mapping[str, Any]) -> StorageDriver:
    """Make a driver by its name (Go: ``factory.Create``).

    Parameters
    ----------
    name : str
        "s3", "s3aws", or GitLab's "s3_v2".
    parameters : mapping
        As for :meth:`StorageDriver.from_parameters`, whose errors are raised here, too.

    Raises
    ------
    ValueError
        Another name.
    """
    if name not in KINDS:
        drivers = f"{', '.join(map(repr, KINDS[:-1]))} and {KINDS[-1]!r}"
        raise ValueError(f"name {name!r}: the drivers are {drivers}")
    return StorageDriver.from_parameters(parameters, name)
