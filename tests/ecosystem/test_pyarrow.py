"""pyarrow's own filesystem tests, through ``PyFileSystem(FSSpecHandler(fs))``."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from pyarrow.fs import FileSelector, FileSystem, FileType, FSSpecHandler, PyFileSystem
from pyarrow.tests import test_fs

from regfs import RegistryFileSystem

PLAIN = (
    "copy_file delete_file filesystem_equals_none filesystem_pickling move_file "
    "normalize_path non_path_like_input_raises open_append_stream open_input_file open_input_stream "
    "open_input_stream_not_found open_output_stream open_output_stream_metadata"
)
"""The suite's tests of any filesystem."""
MADE = (
    "create_dir delete_dir delete_dir_with_explicit_subdir filesystem_is_functional_after_pickling "
    "get_file_info move_directory"
)
"""Those that look for a directory which they have made. S3 has no directories of its own, so they are given
ones with a file in them: see :class:`Keeping`."""
EMPTY = "delete_dir_contents get_file_info_with_selector"
"""Those that need an empty directory. The suite expects both to fail, or fewer entries, with s3fs as well.
:class:`TestDirectories` asks the same of directories with something in them."""


class Keeping(FSSpecHandler):
    """Puts a file into each directory that it makes."""

    def create_dir(self, path: str, recursive: bool) -> None:
        super().create_dir(path, recursive)
        self.fs.touch(f"{path.rstrip('/')}/.keep")


@pytest.fixture
def fs(options: dict[str, Any]) -> FileSystem:
    return PyFileSystem(FSSpecHandler(RegistryFileSystem(**options)))


@pytest.fixture
def pathfn() -> Callable[[str], str]:
    return "test/".__add__


@pytest.fixture
def allow_append_to_file() -> bool:
    return True


@pytest.fixture
def pickle_module() -> Any:
    return pickle


pickle_with_and_without_subtree_filesystem = test_fs.pickle_with_and_without_subtree_filesystem

for _name in PLAIN.split():
    globals()[f"test_{_name}"] = getattr(test_fs, f"test_{_name}")
for _name in EMPTY.split():
    _mark = pytest.mark.xfail(strict=True, raises=(FileNotFoundError, AssertionError), reason="see EMPTY")
    globals()[f"test_{_name}"] = _mark(getattr(test_fs, f"test_{_name}"))


class TestMade:
    @pytest.fixture
    def fs(self, options: dict[str, Any]) -> FileSystem:
        return PyFileSystem(Keeping(RegistryFileSystem(**options)))

    @pytest.fixture
    def allow_move_dir(self) -> bool:
        return True


for _name in MADE.split():
    setattr(TestMade, f"test_{_name}", staticmethod(getattr(test_fs, f"test_{_name}")))


def test_none_of_the_suites_is_forgotten() -> None:
    of_any = {
        name.removeprefix("test_")
        for name, test in inspect.getmembers(test_fs, inspect.isfunction)
        if name.startswith("test_") and "fs" in inspect.signature(test).parameters
    }
    assert of_any == {*PLAIN.split(), *MADE.split(), *EMPTY.split()}


def test_names_and_equality(fs: FileSystem, options: dict[str, Any]) -> None:
    assert fs.type_name == "py::fsspec+regfs"
    RegistryFileSystem.clear_instance_cache()  # so that it is another object
    assert fs == PyFileSystem(FSSpecHandler(RegistryFileSystem(**options)))
    assert fs != PyFileSystem(FSSpecHandler(RegistryFileSystem(**{**options, "rootdirectory": "/other"})))


# The paths of datasets begin with a slash, as those in regfs' listings do: pyarrow compares the two as text.
def test_datasets(fs: FileSystem) -> None:
    table = pa.table({"year": [2024, 2024, 2025], "n": [1, 2, 3]})
    ds.write_dataset(table, "/set", filesystem=fs, format="parquet", partitioning=["year"])
    factory = ds.FileSystemDatasetFactory(
        fs,
        FileSelector("/set", recursive=True),
        ds.ParquetFileFormat(),
        ds.FileSystemFactoryOptions(
            partition_base_dir="/set", partitioning=ds.partitioning(field_names=["year"])
        ),
    )
    dataset = factory.finish()
    assert len(dataset.files) == 2
    assert dataset.to_table(filter=ds.field("year") == 2025)["n"].to_pylist() == [3]
    assert sorted(ds.dataset("/set", filesystem=fs).to_table()["n"].to_pylist()) == [1, 2, 3]


def test_parquet(fs: FileSystem) -> None:
    table = pa.table({"n": list(range(1000))})
    pq.write_table(table, "/x/y.parquet", filesystem=fs, row_group_size=100)
    assert pq.read_table("/x/y.parquet", filesystem=fs).equals(table)
    assert pq.read_table("/x", filesystem=fs, filters=[("n", "<", 5)])["n"].to_pylist() == [0, 1, 2, 3, 4]
    assert pq.ParquetFile("/x/y.parquet", filesystem=fs).read_row_group(3)["n"][0].as_py() == 300


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
            test_fs.check_mtime(infos[2])
            test_fs.check_mtime_absent(infos[0])

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
            fs.delete_dir("d/nested")
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
