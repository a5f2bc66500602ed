"""A suite that nothing fails proves nothing: drivers with one fault each, and the tests that must tell of it.

The faults are those that storage drivers of registries have had.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FAULTY = """
import io
from hypothesis import Phase, settings
from support.memory import MemoryDriver, MemoryWriter
from regfs import PathNotFoundError, SkipDir, FileInfo
from regfs.testing import StorageDriverSuite, machine


class DeletesSiblings(MemoryDriver):
    def _below(self, path):
        return [file for file in self.files if file.startswith(path)]


class StatsSiblings(MemoryDriver):
    def stat(self, path):
        if path not in self.files and any(file.startswith(path) for file in self.files):
            return FileInfo(path, 0, None, True)
        return super().stat(path)


class ListsGrandchildren(MemoryDriver):
    def list(self, path):
        super().list(path)
        return sorted(self._below(path))


class TakesDots(MemoryDriver):
    def _check(self, path, *, root=False):
        return path if "/.." in path else super()._check(path, root=root)


class KeepsWhatLayBehind(MemoryDriver):
    def write_stream(self, path, offset, reader):
        old = self.files.get(path, (b"", None))[0]
        count = super().write_stream(path, offset, reader)
        self.put_content(path, self.files[path][0] + old[offset + count:])
        return count


class WritesBeforeTheReaderHasEnded(MemoryDriver):
    def write_stream(self, path, offset, reader):
        super().write_stream(path, offset, io.BytesIO(b""))
        return super().write_stream(path, offset, reader)


class LeavesAnUpload(MemoryDriver):
    def write_stream(self, path, offset, reader):
        self.uploads[path] = b""
        count = super().write_stream(path, offset, reader)
        del self.uploads[path]
        return count


class MissesLate(MemoryDriver):
    def reader(self, path, offset=0):
        try:
            return super().reader(path, offset)
        except PathNotFoundError:
            return io.BytesIO()


class WalksOn(MemoryDriver):
    def walk(self, path, fn, start_after=None):
        def look(info):
            try:
                fn(info)
            except SkipDir:
                pass
        super().walk(path, look, start_after)


class Writer(MemoryWriter):
    def close(self):
        if not self._state:
            self.end()
        super().close()


class PublishesOnClose(MemoryDriver):
    class Kind(Writer):
        def end(self):
            self._driver.put_content(self._path, bytes(self._content))

    def writer(self, path, append=False):
        made = super().writer(path, append)
        return self.Kind(self, path, made._content)


class LosesTheTail(PublishesOnClose):
    class Kind(Writer):
        def end(self):
            del self._content[len(self._content) // 32 * 32:]


class ForgetsTheUpload(PublishesOnClose):
    class Kind(Writer):
        def end(self):
            pass

        def cancel(self):
            self._check()
            self._driver.uploads[self._path] = b""
            self._state = "cancelled"


def suite(driver):
    def leftovers(self, driver):
        return [*driver.files, *(f"an upload of {path}" for path in driver.uploads)]

    return StorageDriverSuite.of(driver, presigned=False, large=100_000, many=10, leftovers=leftovers)


TestNone = suite(MemoryDriver)
for kind in (
    DeletesSiblings, StatsSiblings, ListsGrandchildren, TakesDots, KeepsWhatLayBehind,
    WritesBeforeTheReaderHasEnded, LeavesAnUpload, MissesLate, WalksOn, PublishesOnClose, LosesTheTail,
    ForgetsTheUpload,
):
    globals()[f"Test{kind.__name__}"] = suite(kind)
del kind

for kind in (None, DeletesSiblings, KeepsWhatLayBehind, LosesTheTail):
    made = machine(kind or MemoryDriver, large=5000)
    made.settings = settings(phases=[Phase.generate], derandomize=True, deadline=None)
    globals()[f"Test{kind and kind.__name__}AtRandom"] = made
del kind, made
"""
FOUND_BY = {
    "DeletesSiblings": "test_delete_a_directory_and_no_sibling",
    "StatsSiblings": "test_a_sibling_is_another_one",
    "ListsGrandchildren": "test_list_children_alone",
    "TakesDots": "test_invalid_path",
    "KeepsWhatLayBehind": "test_write_stream",
    "WritesBeforeTheReaderHasEnded": "test_write_stream_from_a_reader_that_fails",
    "LeavesAnUpload": "test_write_stream_from_a_reader_that_fails",
    "MissesLate": "test_a_missing_file_is_told_of_at_the_call",
    "WalksOn": "test_walk_and_skip",
    "PublishesOnClose": "test_content_is_readable_only_after_the_commit",
    "LosesTheTail": "test_continue",
    "ForgetsTheUpload": "test_cancel",
    "DeletesSiblingsAtRandom": "runTest",
    "KeepsWhatLayBehindAtRandom": "runTest",
    "LosesTheTailAtRandom": "runTest",
}


@pytest.fixture(scope="module")
def failures(tmp_path_factory: pytest.TempPathFactory) -> set[tuple[str, str]]:
    """Run the suite in a process of its own; give (class, test) of what failed or left something."""
    file = tmp_path_factory.mktemp("faulty") / "test_faulty.py"
    file.write_text(FAULTY, encoding="utf-8")
    wanted = " or ".join(sorted(set(FOUND_BY.values())))
    options = ["-q", "-rfE", "--tb=no", "-p", "no:cacheprovider", "-k", wanted]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(file)],
        cwd=file.parent,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent), "COLUMNS": "300"},
        capture_output=True,
        text=True,
        timeout=170,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return set(re.findall(r"^(?:FAILED|ERROR) test_faulty\.py::Test(\w+)::(\w+)", done.stdout, re.MULTILINE))


@pytest.mark.parametrize("fault", FOUND_BY)
def test_a_fault_is_found(failures: set[tuple[str, str]], fault: str) -> None:
    assert FOUND_BY[fault] in {test for driver, test in failures if driver == fault}


@pytest.mark.parametrize("driver", ["None", "NoneAtRandom"])
def test_no_fault_is_none(failures: set[tuple[str, str]], driver: str) -> None:
    assert not [test for name, test in failures if name == driver]
