"""Names that look like patterns were taken for patterns: others were deleted, moved, copied or read instead.

``UPath(".../filename[t].csv").unlink()`` removed ``filenamet.csv`` and left the file that was named. A path
that exists is meant literally, and what has no patterns in its interface never expands any.
"""

from __future__ import annotations

import asyncio
import contextlib
import glob
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import fsspec
import pandas as pd
import pytest
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.mapping import FSMap
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow.fs import FSSpecHandler, PyFileSystem
from support.servers import Place, fresh_place
from upath import UPath

from regfs import RegistryFileSystem

if TYPE_CHECKING:
    from support.proxy import CountingProxy
    from support.servers import Server

TRAPS = {
    "test?file.txt": ["test_file.txt"],
    "filename[t].csv": ["filenamet.csv"],
    "a*": ["ab", "a"],
    "[!a]": ["b"],
    "**": ["c"],
    "x[y": ["xy"],
    "[[]x": ["[x"],
}
"""Names, each with others that it matches as a pattern."""


@pytest.fixture
def fs(options: dict[str, Any]) -> RegistryFileSystem:
    return RegistryFileSystem(**options)


@pytest.fixture
def siblings(raw: Place) -> dict[str, str]:
    """What is stored beside: files that the names match."""
    return fill(raw, *(f"d/{name}" for others in TRAPS.values() for name in others))


@pytest.fixture
def trees(raw: Place) -> dict[str, str]:
    """What is stored beside: directories that the names match."""
    return fill(raw, *(f"trees/{name}/x" for others in TRAPS.values() for name in others))


def fill(raw: Place, *keys: str) -> dict[str, str]:
    """Store files whose contents are their keys."""
    for key in keys:
        raw.put(key, key.encode())
    return {key: md5(key.encode()) for key in keys}


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


NAMED = md5(b"named")


def stored(raw: Place) -> dict[str, str]:
    """Return the MD5 sum of each key's content."""
    pages = raw.s3.get_paginator("list_objects_v2").paginate(Bucket=raw.bucket, Prefix=raw.prefix)
    items = (item for page in pages for item in page.get("Contents", ()))
    return {item["Key"].removeprefix(raw.prefix): item["ETag"].strip('"') for item in items}


def arrow_of(fs: RegistryFileSystem) -> PyFileSystem:
    return PyFileSystem(FSSpecHandler(fs))


def path_of(fs: RegistryFileSystem, path: str) -> UPath:
    return UPath(fs.unstrip_protocol(path), **fs.storage_options)


def upath_move(fs: RegistryFileSystem, source: str, target: str) -> None:
    path_of(fs, source).move(path_of(fs, target))


Call = Callable[[RegistryFileSystem, str], object]
REMOVALS: dict[str, Call] = {
    "rm": lambda fs, path: fs.rm(path),
    "rm of a URL": lambda fs, path: fs.rm(fs.unstrip_protocol(path)),
    "rm of a list": lambda fs, path: fs.rm([path]),
    "rm of a tree": lambda fs, path: fs.rm(path, recursive=True),
    "rm to a depth": lambda fs, path: fs.rm(path, recursive=True, maxdepth=1),
    "rm_file": lambda fs, path: fs.rm_file(path),
    "delete": lambda fs, path: fs.delete(path),
    "UPath.unlink": lambda fs, path: path_of(fs, path).unlink(),
    "pyarrow delete_file": lambda fs, path: arrow_of(fs).delete_file(path),
    "del mapper": lambda fs, path: fs.get_mapper("/d").__delitem__(path[3:]),
    "mapper.pop": lambda fs, path: fs.get_mapper("/d").pop(path[3:]),
    "mapper.delitems": lambda fs, path: fs.get_mapper("/d").delitems([path[3:]]),
    "a mapper by URL": lambda fs, path: fsspec.get_mapper(
        fs.unstrip_protocol("/d"), **fs.storage_options
    ).__delitem__(path[3:]),
    "a mapper of a prefix": lambda fs, path: FSMap("", DirFileSystem("/d", fs)).__delitem__(path[3:]),
}
MOVES: dict[str, Callable[[RegistryFileSystem, str, str], object]] = {
    "mv": lambda fs, *paths: fs.mv(*paths),
    "mv of a tree": lambda fs, *paths: fs.mv(*paths, recursive=True),
    "mv to a depth": lambda fs, *paths: fs.mv(*paths, recursive=True, maxdepth=1),
    "move": lambda fs, *paths: fs.move(*paths),
    "rename": lambda fs, *paths: fs.rename(*paths),
    "UPath.rename": lambda fs, *paths: path_of(fs, paths[0]).rename(path_of(fs, paths[1])),
    "UPath.move": upath_move,
    "pyarrow move": lambda fs, *paths: arrow_of(fs).move(*paths),
}
COPIES: dict[str, Callable[[RegistryFileSystem, str, str], object]] = {
    "cp": lambda fs, *paths: fs.cp(*paths),
    "copy of a tree": lambda fs, *paths: fs.copy(*paths, recursive=True),
    "copy to a depth": lambda fs, *paths: fs.copy(*paths, recursive=True, maxdepth=1),
    "cp_file": lambda fs, *paths: fs.cp_file(*paths),
    "lists": lambda fs, *paths: fs.copy(*([path] for path in paths)),
    "UPath.copy": lambda fs, *paths: path_of(fs, paths[0]).copy(path_of(fs, paths[1])),
    "pyarrow copy_file": lambda fs, *paths: arrow_of(fs).copy_file(*paths),
}
NAMES_ONLY = ("UPath", "pyarrow", "mapper", "a mapper")


def only_names(operation: str) -> bool:
    """Whether an operation has no patterns in its interface."""
    return any(word in operation for word in NAMES_ONLY) or operation.endswith("_file")


class TestWhatExists:
    """is the very thing that is meant."""

    @pytest.mark.parametrize("operation", REMOVALS)
    def test_removed(
        self, fs: RegistryFileSystem, raw: Place, siblings: dict[str, str], operation: str
    ) -> None:
        for name in TRAPS:
            raw.put(f"d/{name}", b"named")
            REMOVALS[operation](fs, f"/d/{name}")
            assert stored(raw) == siblings

    @pytest.mark.parametrize("operation", MOVES)
    def test_moved(
        self, fs: RegistryFileSystem, raw: Place, siblings: dict[str, str], operation: str
    ) -> None:
        for number, name in enumerate(TRAPS):
            raw.put(f"d/{name}", b"named")
            MOVES[operation](fs, f"/d/{name}", f"/new/{number}")
            siblings[f"new/{number}"] = NAMED
            assert stored(raw) == siblings

    @pytest.mark.parametrize("operation", COPIES)
    def test_copied(
        self, fs: RegistryFileSystem, raw: Place, siblings: dict[str, str], operation: str
    ) -> None:
        for number, name in enumerate(TRAPS):
            raw.put(f"d/{name}", b"named")
            COPIES[operation](fs, f"/d/{name}", f"/new/{number}")
            siblings |= {f"new/{number}": NAMED, f"d/{name}": NAMED}
            assert stored(raw) == siblings

    def test_copied_into_a_directory(
        self, fs: RegistryFileSystem, raw: Place, siblings: dict[str, str]
    ) -> None:
        raw.put("there/x", b"named")
        for name in TRAPS:
            raw.put(f"d/{name}", b"named")
            fs.cp(f"/d/{name}", "/new/")
            fs.cp(f"/d/{name}", "/there")
        named = [f"{directory}/{name}" for directory in ("d", "new", "there") for name in TRAPS]
        assert stored(raw) == {**siblings, **dict.fromkeys([*named, "there/x"], NAMED)}

    def test_a_target(
        self, fs: RegistryFileSystem, raw: Place, siblings: dict[str, str], tmp_path: Path
    ) -> None:
        (tmp_path / "local").write_bytes(b"named")
        for name in TRAPS:
            fs.put(str(tmp_path / "local"), f"/d/{name}")
            fs.cp(f"/d/{name}", f"/d/{name}.2")
            fs.mv(f"/d/{name}.2", f"/d/{name}.3")
            fs.pipe(f"/d/{name}.4", b"named")
            fs.touch(f"/d/{name}.5")
            siblings |= {f"d/{name}{suffix}": NAMED for suffix in ("", ".3", ".4")}
            siblings[f"d/{name}.5"] = md5(b"")
        assert stored(raw) == siblings

    @pytest.mark.usefixtures("siblings")
    @pytest.mark.parametrize("name", ["filename[t].csv", "a*", "**"])
    def test_read(self, fs: RegistryFileSystem, raw: Place, name: str) -> None:
        raw.put(f"d/{name}", b"named")
        path = f"/d/{name}"
        assert fs.cat(path) == fs.cat(path, recursive=True) == b"named"
        assert fs.cat([path]) == {path: b"named"}
        assert fs.expand_path(path) == fs.expand_path(path, recursive=True) == [path]
        assert fs.find(path) == [path]
        assert [info["name"] for info in fs.ls(path)] == [path]
        assert fs.info(path)["name"] == path
        assert fs.exists(path)
        assert fs.isfile(path)
        assert fs.du(path) == fs.size(path) == 5
        assert fs.modified(path) == fs.created(path)
        assert fs.head(path) == fs.tail(path) == fs.read_bytes(path) == b"named"
        assert fs.cat_ranges([path], [1], [3]) == [b"am"]
        assert fs.glob(glob.escape(path)) == [path]
        mapper = fs.get_mapper("/d")
        assert mapper[name] == b"named"
        assert mapper.getitems([name]) == {name: b"named"}
        assert path_of(fs, path).read_bytes() == b"named"
        with fsspec.open(fs.unstrip_protocol(path), **fs.storage_options) as file:
            assert file.read() == b"named"
        url = f"simplecache::{fs.unstrip_protocol(path)}"
        with fsspec.open(url, regfs=fs.storage_options) as file:
            assert file.read() == b"named"

    @pytest.mark.usefixtures("siblings")
    def test_downloaded(self, fs: RegistryFileSystem, raw: Place, tmp_path: Path) -> None:
        (tmp_path / "into").mkdir()
        expected: set[str] = set()
        for number, name in enumerate(TRAPS):
            raw.put(f"d/{name}", b"named")
            fs.get(f"/d/{name}", f"{tmp_path}/get{number}")
            fs.get(f"/d/{name}", f"{tmp_path}/{name}")
            fs.get(f"/d/{name}", f"{tmp_path}/new/")
            fs.get(f"/d/{name}", f"{tmp_path}/into")
            fs.get(f"/d/{name}", f"{tmp_path}/tree{number}", recursive=True)
            fs.download(f"/d/{name}", f"{tmp_path}/download{number}")
            expected |= {f"{word}{number}" for word in ("get", "tree", "download")}
            expected |= {f"{directory}{name}" for directory in ("", "new/", "into/")}
        files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
        assert files == expected
        assert {(tmp_path / file).read_bytes() for file in files} == {b"named"}

    def test_uploaded(self, fs: RegistryFileSystem, raw: Place, tmp_path: Path) -> None:
        for other in [other for others in TRAPS.values() for other in others]:
            (tmp_path / other).write_bytes(b"sibling")
        expected: list[str] = []
        for number, name in enumerate(TRAPS):
            (tmp_path / name).write_bytes(b"named")
            fs.put(f"{tmp_path}/{name}", f"/put{number}")
            fs.upload(f"{tmp_path}/{name}", f"/upload{number}")
            fs.put(f"{tmp_path}/{name}", f"/tree{number}", recursive=True)
            fs.put(f"{tmp_path}/{name}", "/new/")
            fs.put(f"{tmp_path}/{name}", "/new")
            fs.put([f"{tmp_path}/{name}"], "/list")
            fs.put(tmp_path / name, "/path")
            expected += [f"{word}{number}" for word in ("put", "upload", "tree")]
            expected += [f"{directory}/{name}" for directory in ("new", "list", "path")]
        assert stored(raw) == dict.fromkeys(expected, NAMED)

    @pytest.mark.parametrize("name", ["filename[t].csv", "a*", "**"])
    def test_a_tree_removed(
        self, fs: RegistryFileSystem, raw: Place, trees: dict[str, str], name: str
    ) -> None:
        path = f"/trees/{name}"
        removals: list[Callable[[], object]] = [
            lambda: fs.rm(path, recursive=True),
            lambda: fs.rm([path], recursive=True),
            lambda: path_of(fs, path).rmdir(),
            lambda: arrow_of(fs).delete_dir(path),
            lambda: arrow_of(fs).delete_dir_contents(path),
            lambda: fs.get_mapper(path).clear(),
        ]
        for remove in removals:
            raw.put(f"trees/{name}/x", b"named")
            raw.put(f"trees/{name}/*", b"named")
            remove()
            assert stored(raw) == trees

    @pytest.mark.parametrize("name", ["filename[t].csv", "a*", "**"])
    def test_a_tree_copied_and_moved(
        self, fs: RegistryFileSystem, raw: Place, trees: dict[str, str], tmp_path: Path, name: str
    ) -> None:
        raw.put(f"trees/{name}/x", b"named")
        raw.put(f"trees/{name}/y/[z]", b"named")
        fs.cp(f"/trees/{name}", "/copy", recursive=True)
        fs.get(f"/trees/{name}", f"{tmp_path}/got", recursive=True)
        fs.put(f"{tmp_path}/got", "/put", recursive=True)
        (tmp_path / "got").rename(tmp_path / name)
        fs.put(f"{tmp_path}/{name}", "/named", recursive=True)
        arrow_of(fs).move(f"/trees/{name}", "/arrow")
        fs.mv("/arrow", "/moved", recursive=True)
        files = [f"{top}/{file}" for top in ("copy", "put", "named", "moved") for file in ("x", "y/[z]")]
        assert stored(raw) == {**trees, **dict.fromkeys(files, NAMED)}

    @pytest.mark.parametrize("name", ["filename[t].csv", "a*", "**"])
    def test_a_directory(
        self, fs: RegistryFileSystem, raw: Place, siblings: dict[str, str], name: str
    ) -> None:
        raw.put(f"d/{name}/x", b"named")
        with pytest.raises(IsADirectoryError):
            fs.rm(f"/d/{name}")
        with pytest.raises(IsADirectoryError):
            fs.cat(f"/d/{name}")
        with pytest.raises(IsADirectoryError):
            fs.mv(f"/d/{name}", "/new")
        fs.cp(f"/d/{name}", "/new")  # as in fsspec, only a recursive copy takes anything of a directory
        assert stored(raw) == {**siblings, f"d/{name}/x": NAMED}
        assert fs.find(f"/d/{name}") == fs.glob(f"{glob.escape('/d/' + name)}/*") == [f"/d/{name}/x"]
        assert [top for top, _, _ in fs.walk(f"/d/{name}")] == [f"/d/{name}"]
        below = path_of(fs, f"/d/{name}")
        assert [path.path for path in below.glob("*")] == [f"/d/{name}/x"]
        assert [path.path for path in below.glob("?")] == [f"/d/{name}/x"]
        assert [path.path for path in below.rglob("x")] == [f"/d/{name}/x"]
        assert [path.path for path in path_of(fs, "/d").glob("*/x")] == [f"/d/{name}/x"]


class TestWhatDoesNotExist:
    """is a pattern only where patterns are taken."""

    @pytest.mark.parametrize("operation", [name for name in [*REMOVALS, *MOVES, *COPIES] if only_names(name)])
    def test_names_only(
        self, fs: RegistryFileSystem, raw: Place, siblings: dict[str, str], operation: str
    ) -> None:
        changes: dict[str, Callable[..., object]] = {**REMOVALS, **MOVES, **COPIES}
        for name in TRAPS:
            paths = (f"/d/{name}",) if operation in REMOVALS else (f"/d/{name}", "/new")
            with pytest.raises((FileNotFoundError, KeyError)):
                changes[operation](fs, *paths)
        assert stored(raw) == siblings

    def test_trees_of_names_only(self, fs: RegistryFileSystem, raw: Place, trees: dict[str, str]) -> None:
        for name in TRAPS:
            path = f"/trees/{name}"
            with pytest.raises(FileNotFoundError):
                arrow_of(fs).delete_dir(path)
            with pytest.raises(FileNotFoundError):
                arrow_of(fs).move(path, "/new")
            with pytest.raises(NotADirectoryError):
                path_of(fs, path).rmdir()
            fs.get_mapper(path).clear()
        assert stored(raw) == trees

    def test_reading_of_names_only(self, fs: RegistryFileSystem, siblings: dict[str, str]) -> None:
        mapper = fs.get_mapper("/d")
        for name in TRAPS:
            with pytest.raises(KeyError):
                mapper[name]
            with pytest.raises(KeyError):
                mapper.getitems([name])
            assert mapper.getitems([name], on_error="omit") == {}
        assert len(mapper) == len(siblings)

    def test_zarr(self, options: dict[str, Any], raw: Place, trees: dict[str, str]) -> None:
        storage = pytest.importorskip("zarr.storage", reason="zarr 3 needs Python 3.11")

        async def delete() -> None:
            fs = RegistryFileSystem(**options, asynchronous=True)
            try:
                store = storage.FsspecStore(fs, path="/trees")
                await store.delete("a/*")
                await store.delete_dir("a*")
                await store.delete_dir("*")
            finally:
                await fs.close()

        asyncio.run(delete())
        assert stored(raw) == trees

    def test_patterns(self, fs: RegistryFileSystem, raw: Place, tmp_path: Path) -> None:
        before = fill(
            raw, "d/a1.csv", "d/a2.csv", "d/b1.csv", "d/b2", "trees/a1/x", "trees/a2/y", "trees/b/z"
        )
        assert fs.cat("/d/b[1].csv") == {"/d/b1.csv": b"d/b1.csv"}
        assert sorted(fs.cat("/trees/a*", recursive=True)) == ["/trees/a1/x", "/trees/a2/y"]
        assert fs.expand_path("/d/a*") == ["/d/a1.csv", "/d/a2.csv"]
        fs.get("/d/a*", f"{tmp_path}/got/")
        assert sorted(path.name for path in (tmp_path / "got").iterdir()) == ["a1.csv", "a2.csv"]
        fs.put(f"{tmp_path}/got/a?.csv", "/put/")
        fs.cp("/d/b?", "/copied/")
        fs.mv("/d/b?", "/moved/")
        fs.rm("/d/a*")
        fs.rm("/trees/a*", recursive=True)
        gone = {"d/a1.csv", "d/a2.csv", "d/b2", "trees/a1/x", "trees/a2/y"}
        new = {"put/a1.csv": "d/a1.csv", "put/a2.csv": "d/a2.csv", "copied/b2": "d/b2", "moved/b2": "d/b2"}
        kept = {key: content for key, content in before.items() if key not in gone}
        assert stored(raw) == {**kept, **{key: before[source] for key, source in new.items()}}
        for call in (fs.rm, fs.cat, fs.expand_path):
            for recursive in (False, True):
                with pytest.raises(FileNotFoundError):
                    call("/d/nothing*", recursive=recursive)

    @pytest.mark.parametrize("recursive", [False, True])
    def test_an_escaped_name_matches_itself_alone(
        self, fs: RegistryFileSystem, raw: Place, siblings: dict[str, str], recursive: bool
    ) -> None:
        for name in TRAPS:
            path = glob.escape(f"/d/{name}")
            assert fs.glob(path) == []
            with pytest.raises(FileNotFoundError):
                fs.rm(path, recursive=recursive)
            raw.put(f"d/{name}", b"named")
            assert fs.glob(path) == list(fs.glob(path, detail=True)) == [f"/d/{name}"]
            assert fs.cat(path) == {f"/d/{name}": b"named"}
            fs.rm(path, recursive=recursive)
            assert stored(raw) == siblings


class TestSeveralTrees:
    """are what they are when they are given, not what they look like once others of the list are gone."""

    KEYS = ("d[1]/a", "d[1]/e/b", "d1/a", "d1/b")

    @pytest.mark.parametrize(
        "names",
        [
            ["/d[1]", "/d[1]/a"],
            ["/d[1]/a", "/d[1]/e/b", "/d[1]"],
            ["/d[1]", "/d[1]/a", "/d[1]/nothing"],
            ["/d[1]/a", "/d[1]/e"],
            ["/d[1]/[a]", "/d[1]/*"],
            ["/d[1]/a", "/d[1]/e", "/d[1]/[a-z]"],
        ],
    )
    def test_removed(self, fs: RegistryFileSystem, raw: Place, names: list[str]) -> None:
        before = fill(raw, *self.KEYS)
        fs.rm(names, recursive=True)
        assert stored(raw) == {key: content for key, content in before.items() if key.startswith("d1/")}

    def test_all_that_lies_in_a_directory(self, fs: RegistryFileSystem, raw: Place) -> None:
        calls: list[Callable[[], list[str]]] = [
            lambda: fs.find("/d[1]", withdirs=True),
            lambda: fs.expand_path("/d[1]", recursive=True),
            lambda: fs.ls("/d[1]", detail=False),
        ]
        for paths in calls:
            before = fill(raw, *self.KEYS)
            fs.rm(paths(), recursive=True)
            assert stored(raw) == {key: content for key, content in before.items() if key.startswith("d1/")}

    def test_of_plain_names(self, fs: RegistryFileSystem, raw: Place) -> None:
        fill(raw, "d/a", "d/e/b")
        kept = fill(raw, "d1/a")
        fs.rm(["/d", "/d/a", "/d/e"], recursive=True)
        assert stored(raw) == kept

    def test_what_matches_another_of_the_list(self, fs: RegistryFileSystem, raw: Place) -> None:
        kept = fill(raw, "e/a")
        fill(raw, "d1/a", "d2/a")
        fs.rm(["/d*", "/d1/a", "/d?/a"], recursive=True)
        assert stored(raw) == kept

    def test_nothing_is_removed_where_a_pattern_matches_nothing(
        self, fs: RegistryFileSystem, raw: Place
    ) -> None:
        before = fill(raw, *self.KEYS)
        with pytest.raises(FileNotFoundError):
            fs.rm(["/d1", "/x*"], recursive=True)
        assert stored(raw) == before

    @pytest.mark.parametrize("server", ["moto"], indirect=True)
    def test_requests(self, raw: Place, proxied_options: dict[str, Any], proxy: CountingProxy) -> None:
        fs = RegistryFileSystem(**proxied_options)
        fill(raw, *self.KEYS)
        names = fs.find("/d[1]", withdirs=True)
        with proxy.counting() as requests:
            fs.rm(names, recursive=True)
        assert sorted(request.method for request in requests) == ["GET", "HEAD", "POST"]


class TestADirectoryThatExists:
    """is meant literally above what does not exist, too."""

    KEYS = ("z/d[1]/a", "z/d[1]/e[2]/b", "z/d1/a", "z/d1/m", "z/d1/sub/q", "z/d1/e2/b", "z/d1/e2/m")
    CALLS: ClassVar[dict[str, Callable[[Any, str, str], object]]] = {
        "rm": lambda fs, path, _: fs.rm(path),
        "rm of a list": lambda fs, path, _: fs.rm([path], recursive=True),
        "rm of a tree": lambda fs, path, _: fs.rm(path, recursive=True),
        "rm to a depth": lambda fs, path, _: fs.rm(path, recursive=True, maxdepth=1),
        "mv": lambda fs, path, _: fs.mv(path, "new"),
        "mv of a tree": lambda fs, path, _: fs.mv(path, "new", recursive=True),
        "copy": lambda fs, path, _: fs.copy(path, "new"),
        "copy of a tree": lambda fs, path, _: fs.copy(path, "new", recursive=True),
        "cat": lambda fs, path, _: fs.cat(path),
        "cat of a tree": lambda fs, path, _: fs.cat(path, recursive=True),
        "get": lambda fs, path, local: fs.get(path, f"{local}/x"),
        "get of a tree": lambda fs, path, local: fs.get(path, f"{local}/x", recursive=True),
        "expand_path of a tree": lambda fs, path, _: fs.expand_path(path, recursive=True),
    }

    @staticmethod
    def below(fs: RegistryFileSystem, chained: bool) -> Any:
        if not chained:
            return DirFileSystem("/z/d[1]", fs)
        url = f"dir::{fs.unstrip_protocol('/z/d[1]')}"
        return fsspec.url_to_fs(url, regfs=fs.storage_options)[0]

    @pytest.mark.parametrize("call", CALLS)
    @pytest.mark.parametrize("path", ["m", "sub", "m*", "e[2]/m", "e[2]/m*"])
    def test_what_is_missing_there(
        self, fs: RegistryFileSystem, raw: Place, tmp_path: Path, call: str, path: str
    ) -> None:
        before = fill(raw, *self.KEYS)
        for chained in (False, True):
            with pytest.raises(FileNotFoundError):
                self.CALLS[call](self.below(fs, chained), path, str(tmp_path))
        assert stored(raw) == before
        assert not [file for file in tmp_path.rglob("*") if file.is_file()]

    @pytest.mark.parametrize(
        ("path", "keys"),
        [
            ("*", {"z/d[1]/a"}),
            ("[a]", {"z/d[1]/a"}),
            ("e[2]/*", {"z/d[1]/e[2]/b"}),
            ("e?2?/*", {"z/d[1]/e[2]/b"}),
            ("e[[]2]/[b]", {"z/d[1]/e[2]/b"}),
            (glob.escape("e[2]/b"), {"z/d[1]/e[2]/b"}),
        ],
    )
    def test_what_matches_there(
        self, fs: RegistryFileSystem, raw: Place, tmp_path: Path, path: str, keys: set[str]
    ) -> None:
        before = fill(raw, *self.KEYS)
        path = f"/z/d[1]/{path}"
        files = [name for name in fs.expand_path(path) if fs.isfile(name)]
        assert set(files) == {f"/{key}" for key in keys}
        assert fs.expand_path(path, recursive=True)
        fs.get(path, f"{tmp_path}/")
        assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == [Path(files[0]).name]
        fs.mv(path, "/new/")
        assert {key: before.get(key) for key in stored(raw) if not key.startswith("new/")} == {
            key: content for key, content in before.items() if key not in keys
        }

    def test_trees_that_match_there(self, fs: RegistryFileSystem, raw: Place) -> None:
        before = fill(raw, *self.KEYS)
        self.below(fs, chained=True).rm("*", recursive=True)
        assert stored(raw) == {key: content for key, content in before.items() if key.startswith("z/d1/")}

    def test_a_directory_there(self, fs: RegistryFileSystem, raw: Place) -> None:
        before = fill(raw, *self.KEYS, "z/d[1]/sub/q")
        with pytest.raises(IsADirectoryError):
            fs.rm("/z/d[1]/sub")
        with pytest.raises(IsADirectoryError):
            fs.cat("/z/d[1]/e[2]")
        assert stored(raw) == before

    def test_uploaded(self, fs: RegistryFileSystem, raw: Place, tmp_path: Path) -> None:
        for name in ("g[1]/a", "g[1]/e[2]/b", "g1/a", "g1/m", "g1/e2/b"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(b"named" if "[" in name else b"sibling")
        for number, (path, recursive) in enumerate(
            [
                ("g[1]/*", False),
                ("g[1]/[a]", False),
                ("g[1]/e[2]/*", False),
                ("g[1]/e*", True),
                ("g[1]/*", True),
            ]
        ):
            fs.put(f"{tmp_path}/{path}", f"/put{number}/", recursive=recursive)
        assert set(stored(raw).values()) == {NAMED}
        assert [key for key in sorted(stored(raw)) if key[3] in "012"] == ["put0/a", "put1/a", "put2/b"]
        assert fs.find("/put4") == ["/put4/a", "/put4/e[2]/b"]
        before = stored(raw)
        for path in ("g[1]/m", "g[1]/m*", "g[1]/e2/b", "g[1]/e[2]/m"):
            for recursive in (False, True):
                with pytest.raises(FileNotFoundError):
                    fs.put(f"{tmp_path}/{path}", "/new", recursive=recursive)
        assert stored(raw) == before
        fs.put(f"{tmp_path}/g?/m", "/pattern/")
        assert fs.find("/pattern") == ["/pattern/m"]

    @pytest.mark.parametrize("server", ["moto"], indirect=True)
    @pytest.mark.parametrize(
        ("path", "pattern", "more"),
        [
            ("/z/m", "", 0),
            ("/z/m*", "/z/m*", 0),
            ("/z/d[1]/m", "", 1),
            ("/z/d[1]/m*", "/z/d[[]1]/m*", 1),
            ("/z/d[1]/e[2]/m", "", 2),
            ("/z/d[1]/e[2]/m*", "/z/d[[]1]/e[[]2]/m*", 2),
            ("/x[1]/e[2]/m*", "/x[1]/e[2]/m*", 1),
        ],
    )
    def test_requests(
        self,
        raw: Place,
        proxied_options: dict[str, Any],
        proxy: CountingProxy,
        path: str,
        pattern: str,
        more: int,
    ) -> None:
        fs = RegistryFileSystem(**proxied_options)
        fill(raw, *self.KEYS)
        fs.exists("/z/d1/a")
        with proxy.counting() as listing:
            assert fs.glob(pattern) == [] or not pattern
        with proxy.counting() as requests, contextlib.suppress(FileNotFoundError):
            fs.expand_path([path])
        lists, least = (
            sum("list-type" in request.query for request in counted) for counted in (requests, listing)
        )
        assert lists == (least if pattern else 0) + more


def test_nothing_is_moved_onto_or_into_itself(fs: RegistryFileSystem, raw: Place) -> None:
    # It would be copied there, and then deleted as the source.
    raw.put("a/x", b"x")
    for source, target in (("/a", "/a/b"), ("/a", "/"), ("/", "/b")):
        with pytest.raises(OSError, match="itself"):
            fs.mv(source, target, recursive=True)
    for source, target in (("/a/x", "/a"), ("/a/x", "/a/"), ("/a/x", fs.unstrip_protocol("/a/x"))):
        with pytest.raises(OSError, match="itself"):
            fs.mv(source, target)
    assert stored(raw) == {"a/x": md5(b"x")}


def test_no_two_files_are_moved_to_one_place(fs: RegistryFileSystem, raw: Place) -> None:
    before = fill(raw, "a/x", "b/x")
    with pytest.raises(OSError, match="Several files"):
        fs.mv(["/a/x", "/b/x"], "/c")
    assert stored(raw) == before


def test_what_comes_after_a_pattern_was_expanded_is_not_moved(
    fs: RegistryFileSystem, raw: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw.put("d/1.csv", b"1")
    copy = RegistryFileSystem._cp_file

    async def cp_file(self: RegistryFileSystem, path1: str, path2: str, **kwargs: Any) -> None:
        raw.put("d/2.csv", b"2")
        await copy(self, path1, path2, **kwargs)

    monkeypatch.setattr(RegistryFileSystem, "_cp_file", cp_file)
    fs.mv("/d/*.csv", "/new/")
    assert stored(raw) == {"d/2.csv": md5(b"2"), "new/1.csv": md5(b"1")}


def test_a_subclass_has_its_own_operations(options: dict[str, Any]) -> None:
    class Kept(RegistryFileSystem):
        async def _rm(self, path: Any, *args: Any, **kwargs: Any) -> None:
            raise PermissionError(path)

    with pytest.raises(PermissionError, match="/x"):
        Kept(**options).rm("/x")
    assert "Delete files" in str(RegistryFileSystem.rm.__doc__)


def test_mv_to_a_depth_deletes_no_more_than_it_copied(fs: RegistryFileSystem, raw: Place) -> None:
    raw.put("d/1", b"1")
    raw.put("d/e/2", b"2")
    fs.mv("/d", "/new", recursive=True, maxdepth=1)
    assert stored(raw) == {"new/1": md5(b"1"), "d/e/2": md5(b"2")}


class TestRequests:
    """At most one HEAD more than a plain name takes, whatever the operation."""

    OPERATIONS: ClassVar[dict[str, Callable[[RegistryFileSystem, str, Path], object]]] = {
        "cat": lambda fs, path, _: fs.cat(path),
        "cat of a list": lambda fs, path, _: fs.cat([path]),
        "cat of a tree": lambda fs, path, _: fs.cat(path, recursive=True),
        "cp": lambda fs, path, _: fs.cp(path, "/new"),
        "cp of a tree": lambda fs, path, _: fs.cp(path, "/new", recursive=True),
        "get": lambda fs, path, local: fs.get(path, str(local / "x")),
        "get of a tree": lambda fs, path, local: fs.get(path, str(local / "x"), recursive=True),
        "mv": lambda fs, path, _: fs.mv(path, "/new"),
        "mv of a tree": lambda fs, path, _: fs.mv(path, "/new", recursive=True),
        "rm": lambda fs, path, _: fs.rm(path),
        "rm of a tree": lambda fs, path, _: fs.rm(path, recursive=True),
        "mapper": lambda fs, path, _: fs.get_mapper("/d")[path[3:]],
        "del mapper": lambda fs, path, _: fs.get_mapper("/d").__delitem__(path[3:]),
        "unlink": lambda fs, path, _: path_of(fs, path).unlink(),
    }
    NONE_MORE = ("tree", "mapper", "unlink")

    def methods(
        self, raw: Place, options: dict[str, Any], proxy: CountingProxy, operation: str, key: str, path: Path
    ) -> list[str]:
        fs = RegistryFileSystem(**options)
        raw.put(key, b"named")
        fs.exists("/" + key)  # connected
        with proxy.counting() as requests:
            self.OPERATIONS[operation](fs, "/d/" + key.split("/")[1], path)
        raw.clean()
        return sorted("LIST" if "list-type" in request.query else request.method for request in requests)

    @pytest.mark.parametrize("server", ["moto"], indirect=True)
    @pytest.mark.parametrize(
        ("operation", "below"),
        [
            (name, below)  # without recursive=True a directory is an error, or nothing at all
            for name in OPERATIONS
            for below in (["", "/x"] if name.endswith("tree") else [""])
        ],
    )
    def test_more(
        self,
        raw: Place,
        proxied_options: dict[str, Any],
        proxy: CountingProxy,
        tmp_path: Path,
        operation: str,
        below: str,
    ) -> None:
        plain, magic = (
            self.methods(raw, proxied_options, proxy, operation, f"d/{name}{below}", tmp_path / str(number))
            for number, name in enumerate(["plain", "ma[gic].*"])
        )
        if not any(word in operation for word in self.NONE_MORE):
            plain = sorted([*plain, "HEAD"])
        assert magic == plain

    @pytest.mark.parametrize("server", ["moto"], indirect=True)
    def test_of_a_pattern(self, raw: Place, proxied_options: dict[str, Any], proxy: CountingProxy) -> None:
        fs = RegistryFileSystem(**proxied_options)
        for name in ("a1", "a2"):
            raw.put(f"d/{name}", b"")
        fs.exists("/d/a1")
        with proxy.counting() as listing:
            fs.glob("/d/a*")
        with proxy.counting() as requests:
            fs.cat("/d/a*")
        assert [request.method for request in requests].count("HEAD") == 1 + [
            request.method for request in listing
        ].count("HEAD")
        assert len(requests) == len(listing) + 1 + 2

    @pytest.mark.parametrize("server", ["moto"], indirect=True)
    def test_an_escaped_directory_is_where_a_glob_begins(
        self, raw: Place, proxied_options: dict[str, Any], proxy: CountingProxy
    ) -> None:
        fs = RegistryFileSystem(**proxied_options)
        for key in ("d[1]/x", "d1/x", "d2/x"):
            raw.put(key, b"")
        with proxy.counting() as requests:
            assert fs.glob("/d[[]1]/**/x") == ["/d[1]/x"]
            assert [path.path for path in path_of(fs, "/d[1]").rglob("x")] == ["/d[1]/x"]
        prefixes = {request.query["prefix"] for request in requests if "prefix" in request.query}
        assert prefixes == {f"{raw.prefix}d[1]/"}


# -- any names ------------------------------------------------------------------------------------------

COMPONENT = st.text("ab*?[]!-{}", min_size=1, max_size=4)
PATHS = st.lists(COMPONENT, min_size=1, max_size=2).map("/".join)


@pytest.fixture(scope="module")
def place(server: Server, s3: Any, worker_bucket: str) -> Iterator[Place]:
    with fresh_place(server, s3, worker_bucket) as place:
        yield place


@pytest.mark.parametrize("server", ["moto"], indirect=True)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), paths=st.sets(PATHS, min_size=2, max_size=5))
def test_every_operation_touches_the_named_path_alone(
    place: Place, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, paths: set[str]
) -> None:
    place.clean()
    fs = RegistryFileSystem(**place.options)
    local = tmp_path_factory.mktemp("local")
    model = {f"d/{path}": path.encode() for path in paths}
    fs.pipe({f"/{key}": content for key, content in model.items()})
    for number in range(2):
        keys = sorted(key for key in model if key.startswith("d/"))
        if not keys:
            break
        key = data.draw(st.sampled_from(keys), label="key")
        path = "/" + key
        kind = data.draw(st.sampled_from(["read", "remove", "move", "copy"]), label="kind")
        if kind == "read":
            assert fs.cat(path) == fs.cat_file(path) == model[key]
            fs.get(path, str(local / f"{number}"))
            assert (local / f"{number}").read_bytes() == model[key]
            mapper = fs.get_mapper("/d")
            assert mapper.getitems([key[2:]]) == {key[2:]: model[key]}
            assert fs.glob(glob.escape(path)) == [path]
            continue
        tables: dict[str, dict[str, Any]] = {"remove": REMOVALS, "move": MOVES, "copy": COPIES}
        table = tables[kind]
        operations = sorted(name for name in table if "tree" not in name and "depth" not in name)
        operation = data.draw(st.sampled_from(operations), label="operation")
        target = f"new/{number}/{data.draw(COMPONENT, label='target')}"
        table[operation](fs, path, *(["/" + target] if kind != "remove" else []))
        if kind != "remove":
            model[target] = model[key]
        if kind != "copy":
            del model[key]
        assert stored(place) == {key: md5(content) for key, content in model.items()}


def test_libraries_read_the_named_file(fs: RegistryFileSystem, raw: Place, options: dict[str, Any]) -> None:
    frames = pytest.importorskip("dask.dataframe")
    for key, content in {"d/f[1].csv": b"n\n1\n", "d/f1.csv": b"n\n2\n"}.items():
        raw.put(key, content)
    url = fs.unstrip_protocol("/d/f[1].csv")
    assert pd.read_csv(url, storage_options=options).n.tolist() == [1]
    assert frames.read_csv(url, storage_options=options).n.compute().tolist() == [1]
    table = pd.DataFrame({"n": [3]})
    table.to_parquet(fs.unstrip_protocol("/d/g[1]*.parquet"), storage_options=options)
    assert "d/g[1]*.parquet" in raw.keys()
    read = pd.read_parquet(fs.unstrip_protocol("/d/g[1]*.parquet"), storage_options=options)
    assert read.n.tolist() == [3]
