"""The errors of both faces.

The filesystem raises builtin ``OSError`` with errno, text and the full ``regfs://`` URL. The driver
raises the registry's own errors (Go: ``storagedriver.PathNotFoundError`` and its siblings), each of which
is also the matching builtin. Nothing here may know how requests are made.
"""

from __future__ import annotations

import errno
from typing import Any


class DriverError(OSError):
    """An error of the registry's driver interface.

    Parameters
    ----------
    text : str
        What is wrong and what to do about it, one line.
    path : str
        The driver path that the call was about.
    driver : str
        The driver's name; the message begins with it, as in Go.

    Attributes
    ----------
    path : str
        As given.
    driver : str
        As given.
    """

    _errno = errno.EIO

    def __init__(self, text: str, path: str, driver: str = "regfs") -> None:
        super().__init__(self._errno, text, path)
        self.path = path
        self.driver = driver

    def __str__(self) -> str:
        return f"{self.driver}: {self.strerror}: {self.path!r}"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.strerror, self.path, self.driver)


class PathNotFoundError(DriverError, FileNotFoundError):
    """Neither a file nor a directory is stored at the path (Go: ``PathNotFoundError``)."""

    _errno = errno.ENOENT


class InvalidPathError(DriverError, ValueError):
    """The path breaks the rule of its face (Go: ``InvalidPathError``)."""

    _errno = errno.EINVAL


class InvalidOffsetError(DriverError, ValueError):
    """A negative offset (Go: ``InvalidOffsetError``).

    Attributes
    ----------
    offset : int
        The offset that was asked for, in bytes.
    """

    _errno = errno.EINVAL

    def __init__(self, text: str, path: str, driver: str = "regfs", offset: int = -1) -> None:
        super().__init__(text, path, driver)
        self.offset = offset

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.strerror, self.path, self.driver, self.offset)


class UnsupportedMethodError(DriverError, NotImplementedError):
    """A URL was asked for a method that is neither GET nor HEAD (Go: ``ErrUnsupportedMethod``)."""

    _errno = errno.ENOSYS


class BucketNotFoundError(FileNotFoundError):
    """The bucket itself is missing, which must never look like a missing file or an empty directory."""


class UploadNotFoundError(OSError):
    """The multipart upload is gone: it was committed or aborted elsewhere."""


class InvalidSeekError(OSError, ValueError):
    """A place before the beginning of a file: ``EINVAL`` as of a local file, and fsspec's ``ValueError``."""


class FileChangedError(OSError):
    """The object was replaced while it was being read; bytes of two versions are never mixed."""


class ThrottledError(OSError):
    """The service asks for fewer requests, or is overloaded, and went on so through all repetitions.

    Attributes
    ----------
    retry_after : float or None
        Seconds that the service asks to wait (its header ``Retry-After``); None where it does not say.
    """

    retry_after: float | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.errno, self.strerror, self.filename), {"retry_after": self.retry_after}


class DigestMismatchError(OSError):
    """The content has another digest than its path: the blob is damaged, or was changed on the way."""


class HeaderValueError(ValueError):
    """A value cannot stand in a header of a request, which it would end, or which is text of ASCII.

    Attributes
    ----------
    name : str
        The header's, in lower case; its value is kept secret.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"header {name}: holds a control character, or one that is not of ASCII")
        self.name = name

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.name,)
