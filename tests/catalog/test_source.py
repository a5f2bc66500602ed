"""Reading is the same whatever lies beneath, and every failure but a missing file is one."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from catalog.faces import ELSEWHERE, ON_S3, Face, elsewhere, foreign, on_s3
from catalog.faces import on_seaweedfs as pytest_generate_tests  # noqa: F401 - pytest looks for it
from memory import MemoryDriver

import regfs
from regfs.catalog.source import Source, spread
from regfs.layout import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy import CountingProxy, Request
    from servers import Place

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
    assert [one and (one.path, one.size) for one in found] == [
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
    with pytest.raises(TypeError, match="a catalog needs an fsspec filesystem or a storage driver, not dict"):
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
