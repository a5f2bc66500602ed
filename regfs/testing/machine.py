"""Calls in random order against a driver and against a dictionary, which must agree (Hypothesis)."""

from __future__ import annotations

import io
import unittest
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from regfs import FileInfo, PathNotFoundError
from regfs.testing.base import MIB, Driver, Writer, content_of

PATHS = st.sampled_from(
    ["a", "a/a", "a/a-b", "a/b", "a/b/c", "a/b0", "a-b", "a-b/c", "a.b", "a.b/c/d", "a0", "a0/b", "ab"]
)
"""Few, so that calls meet each other's files; each with siblings on both sides of "/"."""
SEEDS = st.integers(0, 9)
LARGE = 2**62
"""Stands for the machine's own ``large`` among the sizes, which are bytes."""
SIZES = st.sampled_from([0, 1, 71, 4096, LARGE])


class DriverMachine(RuleBasedStateMachine):
    """A driver beside a dictionary of what it must hold.

    What an upload that was closed without commit means for a path that is then put, moved or deleted is
    nobody's rule, so that is left out; everything else may follow everything.

    Attributes
    ----------
    large : int
        Bytes of the larger contents; set it beyond what the driver sends in one request.
    ghosts : bool
        Whether the service goes on listing directories for a while after their last file is gone.
    overlaps : bool
        Whether a file may have the name of a directory. S3 says yes; not every service does.
    """

    large: int = 6 * MIB
    ghosts: bool = False
    overlaps: bool = True

    def __init__(self) -> None:
        super().__init__()
        self.driver = self.make_driver()
        self.root = f"/suite-{uuid.uuid4().hex[:12]}"
        self.files: dict[str, bytes] = {}
        self.kept: dict[str, bytes] = {}
        self.writers: dict[str, tuple[Writer, bytearray]] = {}
        self.gone: set[str] = set()

    def make_driver(self) -> Driver:
        """Return the driver; to be overridden."""
        raise NotImplementedError("override make_driver()")

    def leftovers(self) -> list[str]:
        """List what is left after everything was deleted; override to look behind the interface."""
        found: list[str] = []
        with suppress(PathNotFoundError):
            self.driver.walk(self.root, lambda info: found.append(info.path))
        return found

    # -- the dictionary -------------------------------------------------------------------------------

    def path(self, path: str) -> str:
        """Return the driver path of a path of the model."""
        return f"{self.root}/{path}" if path else self.root

    def content(self, size: int, seed: int) -> bytes:
        """Return content of one of the sizes."""
        return content_of(self.large if size == LARGE else size, seed)

    @staticmethod
    def above(paths: Iterable[str]) -> set[str]:
        """Return the directories that paths imply; "" is the root directory."""
        split = (path.split("/") for path in paths)
        return {"/".join(parts[:depth]) for parts in split for depth in range(len(parts))}

    @property
    def directories(self) -> set[str]:
        """The directories that there must be."""
        return self.above(self.files)

    @property
    def optional(self) -> set[str]:
        """The directories that there may be: what a driver keeps of an unfinished upload may lie there."""
        return self.above([*self.writers, *self.kept]) - self.directories - {""}

    def is_free(self, path: str) -> bool:
        """Return whether no writer and no upload is at a path or under it."""
        busy = [*self.writers, *self.kept]
        return not any(other == path or other.startswith(path + "/") for other in busy)

    def takes(self, path: str) -> bool:
        """Return whether a file may be made at a path."""
        if self.overlaps:
            return True
        files = {*self.files, *self.writers, *self.kept}
        return path not in self.gone and not any(
            other.startswith(path + "/") or path.startswith(other + "/") for other in files
        )

    # -- reading --------------------------------------------------------------------------------------

    @rule(path=PATHS, offset=st.sampled_from([0, 1, 70, 71, 5000]))
    def read(self, path: str, offset: int) -> None:
        """Read whole and from an offset."""
        if path not in self.files:
            for call in (self.driver.get_content, self.driver.reader, self.driver.read_stream):
                with pytest.raises(PathNotFoundError):
                    call(self.path(path))
            return
        assert self.driver.get_content(self.path(path)) == self.files[path]
        with self.driver.reader(self.path(path), offset) as stream:
            assert stream.read() == self.files[path][offset:]

    @rule(path=PATHS)
    def stat(self, path: str) -> None:
        """Compare what is at a path."""
        if path in self.files:
            info = self.driver.stat(self.path(path))
            assert (info.path, info.size, info.is_dir) == (self.path(path), len(self.files[path]), False)
        elif path in self.directories:
            assert self.driver.stat(self.path(path)) == FileInfo(self.path(path), 0, None, True)
        elif path not in self.optional:
            with pytest.raises(PathNotFoundError):
                self.driver.stat(self.path(path))

    @rule(path=st.one_of(st.just(""), PATHS))
    def list(self, path: str) -> None:
        """List a directory."""
        start = path + "/" if path else ""
        below = {other for other in {*self.files, *self.directories} if other and other.startswith(start)}
        expected = {start + other[len(start) :].split("/")[0] for other in below}
        try:
            listed = self.driver.list(self.path(path))
        except PathNotFoundError:
            assert not expected
            return
        assert len(listed) == len(set(listed))
        surplus = set(listed) - {self.path(other) for other in (*expected, *self.optional)}
        if self.ghosts:
            surplus -= {self.path(other) for other in self.gone}
        assert not surplus
        assert {self.path(other) for other in expected} <= set(listed)
        assert expected or self.ghosts or path in self.optional, "an empty list of what is not there"

    @precondition(lambda self: self.files)
    @rule()
    def walk(self) -> None:
        """Walk everything: each path once, parents first."""
        seen: list[FileInfo] = []
        self.driver.walk(self.root, seen.append)
        found = [(info.path, info.is_dir) for info in seen]
        assert len(found) == len(set(found))
        files = {(self.path(path), False) for path in self.files}
        directories = {(self.path(path), True) for path in self.directories if path}
        optional = {(self.path(path), True) for path in self.optional}
        assert set(found) - optional == files | directories
        for index, (path, _) in enumerate(found):
            assert (path.rpartition("/")[0], True) in ((self.root, True), *found[:index])

    # -- changing -------------------------------------------------------------------------------------

    @rule(path=PATHS, size=SIZES, seed=SEEDS)
    def put(self, path: str, size: int, seed: int) -> None:
        """Write a whole file."""
        if self.is_free(path) and self.takes(path):
            self.driver.put_content(self.path(path), self.content(size, seed))
            self.files[path] = self.content(size, seed)

    @rule(path=PATHS, offset=st.sampled_from([0, 1, 70, 71, 5000]), size=SIZES, seed=SEEDS)
    def write_stream(self, path: str, offset: int, size: int, seed: int) -> None:
        """Write at an offset."""
        if self.is_free(path) and self.takes(path):
            content = self.content(size, seed)
            assert self.driver.write_stream(self.path(path), offset, io.BytesIO(content)) == len(content)
            self.files[path] = self.files.get(path, b"")[:offset].ljust(offset, b"\0") + content

    @rule(source=PATHS, dest=PATHS)
    def move(self, source: str, dest: str) -> None:
        """Move a file."""
        if source == dest or not (self.is_free(source) and self.is_free(dest) and self.takes(dest)):
            return
        if source in self.files:
            self.driver.move(self.path(source), self.path(dest))
            self.gone |= self.directories
            self.files[dest] = self.files.pop(source)
        else:
            with pytest.raises(PathNotFoundError):
                self.driver.move(self.path(source), self.path(dest))

    @rule(path=PATHS)
    def delete(self, path: str) -> None:
        """Delete a file and what lies under it."""
        if not self.is_free(path):
            return
        deleted = [other for other in self.files if other == path or other.startswith(path + "/")]
        if deleted:
            self.driver.delete(self.path(path))
            self.gone |= self.directories
            for other in deleted:
                del self.files[other]
        else:
            with pytest.raises(PathNotFoundError):
                self.driver.delete(self.path(path))

    # -- writers --------------------------------------------------------------------------------------

    @rule(path=PATHS)
    def begin(self, path: str) -> None:
        """Open a writer that begins anew."""
        if path not in self.writers and self.takes(path):
            self.kept.pop(path, None)
            writer = self.driver.writer(self.path(path))
            assert writer.size == 0
            self.writers[path] = writer, bytearray()

    @rule(path=PATHS)
    def go_on(self, path: str) -> None:
        """Open a writer that continues an upload or a file."""
        if path in self.writers or not self.takes(path):
            return
        if path not in self.kept and path not in self.files:
            with pytest.raises(PathNotFoundError):
                self.driver.writer(self.path(path), append=True)
            return
        content = self.kept.pop(path) if path in self.kept else self.files[path]
        writer = self.driver.writer(self.path(path), append=True)
        assert writer.size == len(content)
        self.writers[path] = writer, bytearray(content)

    @precondition(lambda self: self.writers)
    @rule(data=st.data(), size=SIZES, seed=SEEDS)
    def write(self, data: Any, size: int, seed: int) -> None:
        """Write to one of the open writers."""
        writer, content = self.writers[data.draw(st.sampled_from(sorted(self.writers)))]
        piece = self.content(size, seed)
        assert writer.write(piece) == len(piece)
        content += piece
        assert writer.size == len(content)

    @precondition(lambda self: self.writers)
    @rule(data=st.data(), end=st.sampled_from(["close", "cancel", "commit", "commit"]))
    def end(self, data: Any, end: str) -> None:
        """End one of the open writers."""
        path = data.draw(st.sampled_from(sorted(self.writers)))
        writer, content = self.writers.pop(path)
        if end == "commit":
            writer.commit()
            self.files[path] = bytes(content)
        elif end == "cancel":
            writer.cancel()
        else:
            self.kept[path] = bytes(content)
        writer.close()
        self.gone |= self.above([path])

    def teardown(self) -> None:
        """Compare everything, delete it by the driver, and look for leftovers."""
        for writer, _ in self.writers.values():
            writer.cancel()
            writer.close()
        for path, content in self.kept.items():
            writer = self.driver.writer(self.path(path), append=True)
            assert writer.size == len(content)
            writer.cancel()
            writer.close()
        for path, content in self.files.items():
            assert self.driver.get_content(self.path(path)) == content
        if self.files:
            self.driver.delete(self.root)
        assert self.leftovers() == []


def machine(make_driver: Callable[[], Driver], **attributes: Any) -> type[unittest.TestCase]:
    """Make a test of random calls of a callable that gives a driver.

    Parameters
    ----------
    make_driver : callable
        Called for each sequence of calls. The drivers may share one store.
    **attributes
        Values for the attributes of :class:`DriverMachine`.

    Returns
    -------
    type
        A ``unittest.TestCase``, which pytest collects; its attribute ``settings`` is Hypothesis'.
    """
    members = {"make_driver": lambda self: make_driver(), **attributes}
    made: type[DriverMachine] = type("DriverMachine", (DriverMachine,), members)
    case: type[unittest.TestCase] = made.TestCase
    return case
