"""Keys that end in "/" - consoles and other tools make them as "directories" - broke listings and walks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from regfs import FileInfo, PathNotFoundError, RegistryFileSystem, StopWalk, StorageDriver

if TYPE_CHECKING:
    from support.servers import Place


@pytest.fixture
def driver(options: dict[str, Any]) -> StorageDriver:
    return StorageDriver(RegistryFileSystem(**options))


def walked(driver: StorageDriver, path: str = "/") -> list[tuple[str, bool]]:
    seen: list[tuple[str, bool]] = []

    def look(info: FileInfo) -> None:
        seen.append((info.path, info.is_dir))
        if len(seen) > 100:
            raise StopWalk

    driver.walk(path, look)
    return seen


def test_markers_are_no_entries(driver: StorageDriver, raw: Place) -> None:
    for key in ("a/", "a/b/", "a/b/file", "a/c/", "a/c/d/"):
        raw.put(key)
    assert driver.list("/") == ["/a"]
    assert driver.list("/a") == ["/a/b", "/a/c"]
    assert driver.list("/a/b") == ["/a/b/file"]
    assert driver.list("/a/c") == ["/a/c/d"]
    assert walked(driver) == [
        ("/a", True),
        ("/a/b", True),
        ("/a/b/file", False),
        ("/a/c", True),
        ("/a/c/d", True),
    ]


def test_a_marker_alone_is_an_empty_directory(driver: StorageDriver, raw: Place) -> None:
    raw.put("empty/")
    assert driver.stat("/empty") == FileInfo("/empty", 0, None, True)
    assert driver.list("/") == ["/empty"]
    assert driver.list("/empty") == []
    assert walked(driver) == [("/empty", True)]
    with pytest.raises(PathNotFoundError):
        driver.get_content("/empty")


def test_a_marker_is_deleted_with_its_directory(driver: StorageDriver, raw: Place) -> None:
    for key in ("a/", "a/b/", "a/b/file", "a-b/"):
        raw.put(key)
    driver.delete("/a")
    assert raw.keys() == ["a-b/"]
    driver.delete("/a-b")
    assert raw.keys() == []


def test_a_file_beside_a_marker_of_its_name(driver: StorageDriver, raw: Place) -> None:
    raw.put("a", b"content")
    raw.put("a/b", b"x")
    assert driver.get_content("/a") == b"content"
    assert driver.list("/") == ["/a"]
    assert walked(driver) == [("/a", False), ("/a", True), ("/a/b", False)]


def test_the_marker_of_the_root_directory(driver: StorageDriver, raw: Place) -> None:
    raw.put("")
    raw.put("a/b")
    assert driver.list("/") == ["/a"]
    assert walked(driver) == [("/a", True), ("/a/b", False)]


@pytest.mark.parametrize("server", ["moto"], indirect=True)  # SeaweedFS drops the slash
def test_a_key_with_a_slash_too_many(driver: StorageDriver, raw: Place) -> None:
    raw.put("/x")
    raw.put("a//b")
    raw.put("a/c")
    assert driver.list("/") == ["/a"]
    assert driver.list("/a") == ["/a/c"]
    assert walked(driver) == [("/a", True), ("/a/c", False)]
