"""Reading is the same whatever lies beneath, and every failure but a missing file is one."""

from __future__ import annotations

import errno
import os
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from catalog.faces import ELSEWHERE, ON_S3, Face, elsewhere, foreign, on_s3
from catalog.faces import on_seaweedfs as pytest_generate_tests  # noqa: F401 - pytest looks for it
from fsspec.asyn import AsyncFileSystem
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from support.memory import MemoryDriver

import regfs
from regfs.catalog.source import Source, spread
from regfs.layout import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.proxy import CountingProxy, Request
    from support.servers import Place

FILES = {f"{ROOT}/a/one": b"1", f"{ROOT}/a/b/two": b"22", f"{ROOT}/a-b/three": b"", f"{ROOT}/c": b"333"}


@pytest.fixture(params=[*ON_S3, *ELSEWHERE])
def face(request: pytest.FixtureRequest, raw: Place, tmp_path: Path) -> Iterator[Face]:
    if request.param in ON_S3:
        yield on_s3(request.param, raw)
    else:
        with elsewhere(request.param, tmp_path) as found:
            yield found


@pytest.fixture
def source(face: Face) -> Source:
    for path, content in FILES.items():
        face.put(path, content)
    return Source(face.beneath)


def listed(source: Source, path: str) -> dict[str, int]:
    return {entry.path: entry.size for page in source.pages(path) for entry in page}


def test_pages(source: Source) -> None:
    assert listed(source, ROOT) == {path: len(content) for path, content in FILES.items()}
    assert set(listed(source, f"{ROOT}/a")) == {f"{ROOT}/a/one", f"{ROOT}/a/b/two"}, "no sibling"
    assert listed(source, f"{ROOT}/gone") == {}
    for page in source.pages(ROOT):
        for entry in page:
            age = datetime.now(timezone.utc) - entry.modified
            assert timedelta(seconds=-5) < age < timedelta(minutes=5)
            assert entry.modified.utcoffset() == timedelta(0)


def test_what_was_listed_before_is_listed_anew(source: Source, face: Face) -> None:
    assert len(listed(source, ROOT)) == 4
    assert source.directories(f"{ROOT}/a") == [f"{ROOT}/a/b"]
    assert source.find(f"{ROOT}/new/file") is None
    face.put(f"{ROOT}/new/file", b"new")
    face.put(f"{ROOT}/a/new/file", b"new")
    assert len(listed(source, ROOT)) == 6
    assert source.directories(f"{ROOT}/a") == [f"{ROOT}/a/b", f"{ROOT}/a/new"]
    found = source.find(f"{ROOT}/new/file")
    assert found is not None
    assert (found.path, found.size) == (f"{ROOT}/new/file", 3)


def test_directories(source: Source) -> None:
    assert source.directories(ROOT) == [f"{ROOT}/a", f"{ROOT}/a-b"]
    assert source.directories("/") == ["/docker"]
    assert source.directories("/gone") == []


def test_read(source: Source) -> None:
    assert source.read([]) == []
    paths = [f"{ROOT}/c", f"{ROOT}/gone", f"{ROOT}/a/b/two", f"{ROOT}/a-b/three"]
    first, gone, second, empty = source.read(paths)
    assert (first, second, empty) == (b"333", b"22", b"")
    assert isinstance(gone, FileNotFoundError)
    (alone,) = source.read([f"{ROOT}/c"])
    assert alone == b"333"
    (alone,) = source.read([f"{ROOT}/gone"])
    assert isinstance(alone, FileNotFoundError)


def test_find_many_and_a_directory_is_no_file(source: Source) -> None:
    found = source.find_many([f"{ROOT}/c", f"{ROOT}/gone", f"{ROOT}/a", f"{ROOT}/a/one"])
    assert [item and (item.path, item.size) for item in found] == [
        (f"{ROOT}/c", 3),
        None,
        None,
        (f"{ROOT}/a/one", 1),
    ]


def test_blocks_and_open(source: Source, face: Face) -> None:
    content = bytes(range(256)) * 1000
    face.put(f"{ROOT}/large", content)
    blocks = list(source.blocks(f"{ROOT}/large", 100_000))
    assert b"".join(blocks) == content
    assert max(map(len, blocks)) <= 100_000
    with source.open(f"{ROOT}/large") as file:
        assert file.read(3) == content[:3]
    with pytest.raises(FileNotFoundError):
        list(source.blocks(f"{ROOT}/gone"))


def test_delete(source: Source) -> None:
    source.delete([f"{ROOT}/c", f"{ROOT}/a/one"])
    assert set(listed(source, ROOT)) == {f"{ROOT}/a/b/two", f"{ROOT}/a-b/three"}


def test_url_and_uploads(source: Source) -> None:
    assert source.url(f"{ROOT}/c").endswith("docker/registry/v2/c")
    assert source.uploads() == []


def test_what_nothing_can_be_read_through() -> None:
    with pytest.raises(TypeError, match=r"a catalog needs an fsspec filesystem, .* not dict"):
        Source({})
    with pytest.raises(TypeError, match="a catalog blocks"):
        Source(regfs.RegistryFileSystem(asynchronous=True, bucket="x", region="us-east-1"))


def test_a_failure_is_no_missing_file(proxied_options: dict[str, Any], proxy: CountingProxy) -> None:
    refused = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"

    def refuse(request: Request) -> bytes | None:
        return refused if request.path.endswith("/b") or "prefix" in request.query else None

    driver = regfs.create("s3", proxied_options)
    for name in "abc":
        driver.put_content(f"/{name}", name.encode())
    proxy.fault = refuse
    for beneath in (driver, driver.fs):
        source = Source(beneath)
        with pytest.raises(PermissionError):
            source.read(["/a", "/b", "/c"])
        with pytest.raises(PermissionError):
            source.find_many(["/a", "/b"])
        with pytest.raises(PermissionError):
            list(source.pages("/"))
        with pytest.raises(PermissionError):
            source.directories("/x")


def test_a_failure_of_a_driver_without_a_filesystem() -> None:
    class Failing(MemoryDriver):
        def get_content(self, path: str) -> bytes:
            if path == "/b":
                raise ConnectionError("lost")
            return super().get_content(path)

    with pytest.raises(ConnectionError, match="lost"):
        Source(Failing()).read(["/a", "/b", "/c"])


def test_s3fs_is_read_anew(raw: Place) -> None:
    fs = foreign(raw)
    raw.put("a/b", b"1")
    assert fs.ls("a", detail=False) == ["a/b"]  # now it has a listing
    raw.put("a/c", b"2")
    assert fs.ls("a", detail=False) == ["a/b"]
    assert set(listed(Source(fs), "/a")) == {"/a/b", "/a/c"}


def test_spread_keeps_the_order_and_raises_the_first_failure() -> None:
    assert spread(lambda n: n * n, range(100)) == [n * n for n in range(100)]
    assert spread(str, []) == []
    with pytest.raises(ZeroDivisionError):
        spread(lambda n: 1 // (n - 50), range(100))


@pytest.mark.parametrize("kind", ["local", "memory"])
def test_a_directory_whose_name_is_a_pattern(kind: str, tmp_path: Path) -> None:
    # Its files were not found, and those of the directory that the pattern matches were read and deleted.
    fs: Any = LocalFileSystem(auto_mkdir=True) if kind == "local" else MemoryFileSystem()
    for name in ("m1", "m[1]"):
        for path, content in FILES.items():
            fs.pipe_file(f"{tmp_path}/{name}{path}", name.encode() + content)
    source = Source(DirFileSystem(f"{tmp_path}/m[1]", fs))
    paths = list(FILES)
    assert source.read(paths) == [b"m[1]" + FILES[path] for path in paths]
    source.delete(paths[:2])
    assert set(listed(source, ROOT)) == set(paths[2:])
    assert [isinstance(content, FileNotFoundError) for content in source.read(paths)] == [
        True,
        True,
        False,
        False,
    ]
    assert set(listed(Source(DirFileSystem(f"{tmp_path}/m1", fs)), ROOT)) == set(paths)


@pytest.mark.parametrize("below", ["a", "a/b"])
@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO])
def test_a_directory_that_cannot_be_read_is_not_empty(below: str, code: int, tmp_path: Path) -> None:
    # fsspec's find() left it out, and regfs deleted the blobs that its links kept.
    class Failing(LocalFileSystem):  # type: ignore[misc]  # fsspec has no types
        cachable = False

        def ls(self, path: str, detail: bool = False, **kwargs: Any) -> Any:
            if path.endswith(f"/{below}"):
                raise OSError(code, "it fails", path)
            return super().ls(path, detail, **kwargs)

    fs = Failing(auto_mkdir=True)
    for path, content in FILES.items():
        fs.pipe_file(f"{tmp_path}{path}", content)
    for source, root in ((Source(fs), f"{tmp_path}{ROOT}"), (Source(DirFileSystem(str(tmp_path), fs)), ROOT)):
        with pytest.raises(OSError, match="it fails") as caught:
            listed(source, root)
        assert caught.value.errno == code
        assert listed(source, f"{root}/gone") == {}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_directory_without_permission_is_not_empty(tmp_path: Path) -> None:
    (tmp_path / "x/y").mkdir(parents=True)
    (tmp_path / "x").chmod(0)
    try:
        with pytest.raises(PermissionError):
            listed(Source(DirFileSystem(str(tmp_path), LocalFileSystem())), "/")
    finally:
        (tmp_path / "x").chmod(0o700)


@pytest.mark.parametrize("target", ["directory", "nothing"])
def test_a_symbolic_link_to_a_directory_is_not_passed_over(target: str, tmp_path: Path) -> None:
    fs = LocalFileSystem(auto_mkdir=True)
    for path, content in FILES.items():
        fs.pipe_file(f"{tmp_path}/top{path}", content)
    if target == "directory":
        fs.pipe_file(f"{tmp_path}/directory/file", b"elsewhere")
    link = tmp_path / f"top{ROOT}/a/link"
    link.symlink_to(tmp_path / target)
    source = Source(DirFileSystem(f"{tmp_path}/top", fs))
    with pytest.raises(OSError, match=f"a symbolic link to (a )?{target} is not") as caught:
        listed(source, ROOT)
    assert caught.value.filename == f"{ROOT}/a/link"
    assert set(listed(source, f"{ROOT}/a-b")) == {f"{ROOT}/a-b/three"}


def test_a_symbolic_link_to_a_file_is_the_file(tmp_path: Path) -> None:
    fs = LocalFileSystem(auto_mkdir=True)
    for path, content in FILES.items():
        fs.pipe_file(f"{tmp_path}/top{path}", content)
    (tmp_path / "data").write_bytes(b"elsewhere")
    (tmp_path / f"top{ROOT}/a/link").symlink_to(tmp_path / "data")
    source = Source(DirFileSystem(f"{tmp_path}/top", fs))
    assert listed(source, ROOT) == {path: len(content) for path, content in FILES.items()} | {
        f"{ROOT}/a/link": 9
    }
    (tmp_path / "whole").symlink_to(tmp_path / "top")
    assert len(listed(Source(DirFileSystem(f"{tmp_path}/whole", fs)), ROOT)) == 5, "the root may be a link"


def test_a_generic_asynchronous_filesystem_is_listed_by_directory() -> None:
    class Remote(AsyncFileSystem):  # type: ignore[misc]  # fsspec has no types
        cachable = False

        async def _ls(self, path: str, detail: bool = True, **kwargs: Any) -> Any:
            if path.endswith("secret"):
                raise PermissionError(errno.EACCES, "denied", path)
            return [{"name": f"{path}/secret", "type": "directory", "size": 0}]

    with pytest.raises(PermissionError, match="denied"):
        listed(Source(Remote()), "/a")


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_walk_that_ends_early_lists_nothing(after: int) -> None:
    # A directory that vanishes while a driver walks is told as one that is missing: so seemed the whole tree.
    class Vanishing(MemoryDriver):
        def walk(self, path: str, fn: Any, start_after: str | None = None) -> None:
            seen: list[Any] = []

            def look(info: Any) -> None:
                if len(seen) == after:
                    raise self._missing(f"{path}/gone")
                seen.append(info)
                fn(info)

            super().walk(path, look, start_after)

    driver = Vanishing()
    for path, content in FILES.items():
        driver.put_content(path, content)
    with pytest.raises(FileNotFoundError):
        listed(Source(driver), ROOT)
    assert listed(Source(driver), f"{ROOT}/never") == {}
