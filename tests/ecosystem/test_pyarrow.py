"""pyarrow's own filesystem tests, through ``PyFileSystem(FSSpecHandler(fs))``."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from pyarrow.fs import FileSelector, FileSystem, FileType, FSSpecHandler, PyFileSystem
from pyarrow.tests import test_fs

from regfs import RegistryFileSystem

PLAIN = (
    "copy_file delete_file filesystem_equals_none filesystem_pickling move_directory move_file "
    "normalize_path non_path_like_input_raises open_append_stream open_input_file open_input_stream "
    "open_input_stream_not_found open_output_stream open_output_stream_metadata"
)
"""The suite's tests of any filesystem."""
MADE = (
    "create_dir delete_dir delete_dir_contents delete_dir_with_explicit_subdir "
    "filesystem_is_functional_after_pickling get_file_info get_file_info_with_selector"
)
"""Those that look for a directory which they have made and put nothing into. The suite marks or branches each
of them for s3fs as well: S3 has no directories of its own, and a registry's driver leaves no marker that
would stand for one. :class:`TestDirectories` asks the same of directories with something in them."""


@pytest.fixture
def fs(options: dict[str, Any]) -> FileSystem:
    return PyFileSystem(FSSpecHandler(RegistryFileSystem(**options)))


@pytest.fixture
def pathfn() -> Callable[[str], str]:
    return "test/".__add__


@pytest.fixture
def allow_move_dir() -> bool:
    return False  # an empty one: as for the suite's S3 filesystems


@pytest.fixture
def allow_append_to_file() -> bool:
    return True


@pytest.fixture
def pickle_module() -> Any:
    return pickle


pickle_with_and_without_subtree_filesystem = test_fs.pickle_with_and_without_subtree_filesystem

for _name in PLAIN.split():
    globals()[f"test_{_name}"] = getattr(test_fs, f"test_{_name}")
for _name in MADE.split():
    _mark = pytest.mark.xfail(strict=True, reason="S3 has no empty directories; see MADE")
    globals()[f"test_{_name}"] = _mark(getattr(test_fs, f"test_{_name}"))


def test_none_of_the_suites_is_forgotten() -> None:
    of_any = {
        name.removeprefix("test_")
        for name, test in inspect.getmembers(test_fs, inspect.isfunction)
        if name.startswith("test_") and "fs" in inspect.signature(test).parameters
    }
    assert of_any == {*PLAIN.split(), *MADE.split()}


class TestDirectories:
    @pytest.fixture(autouse=True)
    def tree(self, fs: FileSystem) -> None:
        for path in ("d/a", "d/nested/b", "d2/c"):
            with fs.open_output_stream(path) as file:
                file.write(path.encode())

    def names(self, fs: FileSystem, base: str = "", **how: Any) -> list[str]:
        return sorted(info.path for info in fs.get_file_info(FileSelector(base, **how)))

    def test_infos(self, fs: FileSystem) -> None:
        for restored in (fs, pickle.loads(pickle.dumps(fs))):
            infos = restored.get_file_info(["d", "d/", "d/a", "nope"])
            assert [info.type for info in infos] == [
                FileType.Directory,
                FileType.Directory,
                FileType.File,
                FileType.NotFound,
            ]
            assert infos[2].size == 3

    def test_selectors(self, fs: FileSystem) -> None:
        assert self.names(fs, "d") == ["/d/a", "/d/nested"]
        assert self.names(fs, "d", recursive=True) == ["/d/a", "/d/nested", "/d/nested/b"]
        assert self.names(fs, "nope", allow_not_found=True) == []
        with pytest.raises(FileNotFoundError):
            fs.get_file_info(FileSelector("nope"))

    def test_deleting_a_directory(self, fs: FileSystem) -> None:
        fs.delete_dir("d/")
        assert self.names(fs, recursive=True) == ["/d2", "/d2/c"]
        with pytest.raises(FileNotFoundError):
            fs.delete_dir("d")

    # SeaweedFS goes on listing a directory's directories for a while after their last file is gone.
    @pytest.mark.parametrize("server", ["moto"], indirect=True)
    def test_deleting_what_is_in_it(self, fs: FileSystem) -> None:
        fs.delete_dir_contents("d")
        assert self.names(fs, recursive=True) == ["/d2", "/d2/c"]
        fs.delete_dir_contents("d", missing_dir_ok=True)
        with pytest.raises(FileNotFoundError):
            fs.delete_dir_contents("d")
        for root in ("", "/", "//"):
            with pytest.raises(ValueError, match="called on path"):
                fs.delete_dir_contents(root)
        fs.delete_dir_contents("/", accept_root_dir=True)
        assert self.names(fs, recursive=True) == []

    def test_moving(self, fs: FileSystem) -> None:
        fs.move("d", "moved")
        assert self.names(fs, recursive=True) == [
            "/d2",
            "/d2/c",
            "/moved",
            "/moved/a",
            "/moved/nested",
            "/moved/nested/b",
        ]
