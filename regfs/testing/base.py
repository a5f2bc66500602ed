"""What the tests of the suite stand on: the interface, its hooks, and the check that nothing is left."""

from __future__ import annotations

import contextlib
import random
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, BinaryIO, Protocol, TypeVar

import pytest

from regfs import FileInfo, PathNotFoundError

MIB = 2**20


class Writer(Protocol):
    """A chunked writer (Go: ``storagedriver.FileWriter``)."""

    @property
    def size(self) -> int: ...

    def write(self, data: bytes) -> int: ...

    def commit(self) -> None: ...

    def cancel(self) -> None: ...

    def close(self) -> None: ...


class Driver(Protocol):
    """The registry's driver interface, both generations; :class:`regfs.StorageDriver` documents it."""

    @property
    def name(self) -> str: ...

    def get_content(self, path: str) -> bytes: ...

    def put_content(self, path: str, content: bytes) -> None: ...

    def reader(self, path: str, offset: int = 0) -> BinaryIO: ...

    def read_stream(self, path: str, offset: int = 0) -> BinaryIO: ...

    def writer(self, path: str, append: bool = False) -> Writer: ...

    def write_stream(self, path: str, offset: int, reader: BinaryIO) -> int: ...

    def stat(self, path: str) -> FileInfo: ...

    def list(self, path: str) -> list[str]: ...

    def walk(self, path: str, fn: Callable[[FileInfo], object], start_after: str | None = None) -> None: ...

    def move(self, source: str, dest: str) -> None: ...

    def delete(self, path: str) -> None: ...

    def redirect_url(self, path: str, method: str = "GET") -> str: ...

    def url_for(self, path: str, method: str = "GET", expiry: datetime | None = None) -> str: ...


S = TypeVar("S", bound="SuiteBase")


def content_of(size: int, seed: int = 0) -> bytes:
    """Return bytes in which every place differs from its surroundings, the same for the same arguments."""
    return random.Random(f"{seed} {size}").randbytes(size)  # noqa: S311 - not for secrets


def eventually(condition: Callable[[], bool], seconds: float) -> bool:
    """Poll until a condition holds, for some seconds at most."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= end:
            return False
        time.sleep(0.05)
    return True


class SuiteBase:
    """The hooks and fixtures of :class:`regfs.testing.StorageDriverSuite`, which documents them."""

    presigned: bool = True
    large: int = 12 * MIB
    many: int = 1100
    patience: float = 0.0

    @classmethod
    def of(cls: type[S], make_driver: Callable[[], Driver], **attributes: Any) -> type[S]:
        """Make a test class of a callable that gives a driver over an empty store.

        Parameters
        ----------
        make_driver : callable
            Called for each test.
        **attributes
            Values for the attributes of the suite.
        """
        made = type(cls.__name__, (cls,), {"make_driver": lambda self: make_driver(), **attributes})
        made.__doc__ = cls.__doc__
        return made

    def make_driver(self) -> Driver:
        """Return a driver over an empty store. To be overridden, or else the fixture ``driver``."""
        raise NotImplementedError("override make_driver(), or the fixture driver")

    def reopen(self, driver: Driver) -> Driver:
        """Return another driver over the same store, as a new process would; by default the same one."""
        return driver

    def leftovers(self, driver: Driver) -> list[str]:
        """List everything in the store.

        Override it to report what the interface does not show, such as pending uploads.
        """
        found: list[str] = []
        driver.walk("/", lambda info: found.append(info.path))
        return found

    @pytest.fixture
    def driver(self) -> Driver:
        """Make the driver under test."""
        return self.make_driver()

    @pytest.fixture
    def root(self, driver: Driver) -> Iterator[str]:
        """Yield a directory for one test; it is deleted at the end, and then nothing may be left."""
        before = set(self.leftovers(driver))
        path = f"/suite-{uuid.uuid4().hex[:12]}"
        yield path
        with contextlib.suppress(PathNotFoundError):
            driver.delete(path)
        left: set[str] = set()

        def is_clean() -> bool:
            left.clear()
            left.update(set(self.leftovers(driver)) - before)
            return not left

        if not eventually(is_clean, self.patience):
            pytest.fail(f"left behind: {', '.join(sorted(left))}")
