"""stat, list, move and delete."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from regfs import (
    FileInfo,
    PathNotFoundError,
    RegistryFileSystem,
    StorageDriver,
)

if TYPE_CHECKING:
    from support.proxy import CountingProxy, Request
    from support.servers import Place, Server

from support.drivers import CHUNK, DENIED, SIBLINGS, answer, content_of, kinds


class TestStat:
    def test_a_file(self, driver: StorageDriver, raw: Place) -> None:
        raw.put("dir/file", b"content")
        info = driver.stat("/dir/file")
        assert info == FileInfo("/dir/file", 7, raw.head("dir/file")["LastModified"], False)
        assert info.mod_time is not None
        assert info.mod_time.tzinfo == timezone.utc
        assert abs(datetime.now(timezone.utc) - info.mod_time) < timedelta(minutes=5)

    def test_an_empty_file_is_a_file(self, driver: StorageDriver, raw: Place) -> None:
        raw.put("file", b"")
        assert driver.stat("/file").is_dir is False

    def test_a_directory(self, driver: StorageDriver, raw: Place) -> None:
        raw.put("a/b/c", b"content")
        for path in ("/a", "/a/b"):
            assert driver.stat(path) == FileInfo(path, 0, None, True)

    def test_file_and_directory_of_one_name(self, driver: StorageDriver, raw: Place) -> None:
        raw.put("a", b"content")
        raw.put("a/b", b"x")
        info = driver.stat("/a")
        assert (info.path, info.size, info.is_dir) == ("/a", 7, False)

    @pytest.mark.parametrize("path", ["/missing", "/a", "/abc/de", "/abc/def/g", "/ab", "/abcd"])
    def test_missing(self, driver: StorageDriver, raw: Place, path: str) -> None:
        raw.put("abc/def", b"x")
        with pytest.raises(PathNotFoundError) as caught:
            driver.stat(path)
        assert str(caught.value) == f"s3aws: path not found: {path!r}"

    def test_the_root_always_exists(self, driver: StorageDriver, raw: Place) -> None:
        assert driver.stat("/") == FileInfo("/", 0, None, True)
        raw.put("a", b"")
        assert driver.stat("/") == FileInfo("/", 0, None, True)

    def test_an_info_cannot_be_changed(self, driver: StorageDriver) -> None:
        with pytest.raises(AttributeError):
            driver.stat("/").size = 1  # type: ignore[misc]  # it is frozen: that is tested


class TestList:
    def test_children_only(self, driver: StorageDriver, raw: Place) -> None:
        for key in ("a/1", "a/2/x", "a/2/y/z", "a/3", "b", "c/d/e/f"):
            raw.put(key, b"")
        assert driver.list("/") == ["/a", "/b", "/c"]
        assert driver.list("/a") == ["/a/1", "/a/2", "/a/3"]
        assert driver.list("/a/2") == ["/a/2/x", "/a/2/y"]
        assert driver.list("/c/d") == ["/c/d/e"]

    def test_siblings(self, driver: StorageDriver, raw: Place) -> None:
        for name in SIBLINGS:
            raw.put(f"d/{name}/x", b"")
        assert driver.list("/d") == sorted(f"/d/{name}" for name in SIBLINGS)
        for name in SIBLINGS:
            assert driver.list(f"/d/{name}") == [f"/d/{name}/x"]

    def test_an_empty_store(self, driver: StorageDriver) -> None:
        assert driver.list("/") == []

    def test_without_root_directory(self, server: Server, bucket: str) -> None:
        driver = StorageDriver(RegistryFileSystem(**server.storage_options(bucket)))
        assert driver.list("/") == []
        driver.put_content("/a/b", b"x")
        assert driver.list("/") == ["/a"]
        assert driver.list("/a") == ["/a/b"]
        driver.delete("/a")

    @pytest.mark.parametrize("path", ["/missing", "/a/b", "/a/bc", "/a/b/c"])
    def test_missing_or_a_file(self, driver: StorageDriver, raw: Place, path: str) -> None:
        raw.put("a/b", b"x")
        with pytest.raises(PathNotFoundError, match=f"^s3aws: path not found: '{path}'"):
            driver.list(path)

    def test_file_and_directory_of_one_name_are_one(self, driver: StorageDriver, raw: Place) -> None:
        raw.put("a", b"x")
        raw.put("a/b", b"x")
        assert driver.list("/") == ["/a"]
        assert driver.list("/a") == ["/a/b"]

    def test_fresh_every_time(self, driver: StorageDriver, raw: Place) -> None:
        raw.put("a/1", b"")
        assert driver.list("/a") == ["/a/1"]
        raw.put("a/2", b"")
        assert driver.list("/a") == ["/a/1", "/a/2"]
        driver.delete("/a/1")
        assert driver.list("/a") == ["/a/2"]


# -- move and delete ------------------------------------------------------------------------------------


class TestMove:
    @pytest.mark.parametrize("size", [0, 71, CHUNK + 1])
    def test_moves(self, driver: StorageDriver, raw: Place, size: int) -> None:
        raw.put("a/from", content_of(size))
        driver.move("/a/from", "/b/c/to")
        assert raw.keys() == ["b/c/to"]
        assert raw.get("b/c/to") == content_of(size)

    def test_replaces_the_destination(self, driver: StorageDriver, raw: Place) -> None:
        raw.put("from", b"new")
        raw.put("to", b"old and longer")
        driver.move("/from", "/to")
        assert raw.keys() == ["to"]
        assert raw.get("to") == b"new"

    @pytest.mark.parametrize("source", ["/missing", "/dir", "/dir/fil"])
    def test_a_missing_source_leaves_the_destination(
        self, driver: StorageDriver, raw: Place, source: str
    ) -> None:
        raw.put("dir/file", b"x")
        raw.put("to", b"old")
        with pytest.raises(PathNotFoundError, match=f"^s3aws: path not found: '{source}'"):
            driver.move(source, "/to")
        assert raw.keys() == ["dir/file", "to"]
        assert raw.get("to") == b"old"

    def test_onto_itself(self, driver: StorageDriver, raw: Place) -> None:
        raw.put("file", b"content")
        driver.move("/file", "/file")
        assert raw.keys() == ["file"]
        assert raw.get("file") == b"content"
        with pytest.raises(PathNotFoundError):
            driver.move("/missing", "/missing")

    def test_only_the_file_and_no_sibling(self, driver: StorageDriver, raw: Place) -> None:
        for key in ("a", "a/b", "ab", "a-b"):
            raw.put(key, b"x")
        driver.move("/a", "/to")
        assert raw.keys() == ["a-b", "a/b", "ab", "to"]

    @pytest.mark.parametrize("size", [CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 1])
    def test_by_parts_above_the_threshold(
        self, proxied_options: dict[str, Any], proxy: CountingProxy, raw: Place, size: int
    ) -> None:
        small: dict[str, Any] = {"multipartcopythresholdsize": CHUNK, "multipartcopychunksize": CHUNK}
        driver = StorageDriver(RegistryFileSystem(**proxied_options, **small))
        raw.put("from", content_of(size), ContentType="text/plain", Metadata={"key": "value"})
        driver.move("/from", "/to")
        assert raw.keys() == ["to"]
        assert raw.get("to") == content_of(size)
        assert raw.uploads() == []
        head = raw.head("to")
        assert head["ContentType"] == "text/plain"
        assert head["Metadata"] == {"key": "value"}
        parts = [request for request in proxy.requests if "partNumber" in request.query]
        assert len(parts) == (0 if size <= CHUNK else -(-size // CHUNK))
        assert all("x-amz-copy-source" in part.headers for part in parts)

    @pytest.mark.parametrize("size", [71, CHUNK + 1])
    def test_encryption_and_storage_class_are_the_drivers(
        self, options: dict[str, Any], raw: Place, size: int
    ) -> None:
        small: dict[str, Any] = {"multipartcopythresholdsize": CHUNK, "multipartcopychunksize": CHUNK}
        settings: dict[str, Any] = {"encrypt": True, "storageclass": "REDUCED_REDUNDANCY"}
        driver = StorageDriver(RegistryFileSystem(**options, **small, **settings))
        raw.put("from", content_of(size))
        assert "ServerSideEncryption" not in raw.head("from")
        driver.move("/from", "/to")
        head = raw.head("to")
        assert head["ServerSideEncryption"] == "AES256"
        assert head["StorageClass"] == "REDUCED_REDUNDANCY"
        assert raw.get("to") == content_of(size)

    @pytest.mark.parametrize("failing", ["copy", "check", "delete"])
    def test_the_source_stays_until_the_copy_is_there(
        self, counted: StorageDriver, proxy: CountingProxy, raw: Place, failing: str
    ) -> None:
        raw.put("from", b"content")

        def fault(request: Request) -> bytes | None:
            hit = {
                "copy": request.method == "PUT",
                "check": request.method == "HEAD" and request.path.endswith("/to"),
                "delete": "DELETE" in kinds([request]),
            }
            if not hit[failing]:
                return None
            return DENIED if request.method != "HEAD" else answer(403)

        proxy.fault = fault
        with pytest.raises(PermissionError):
            counted.move("/from", "/to")
        assert raw.get("from") == b"content"


class TestDelete:
    @pytest.mark.parametrize("name", ["a", "a-b", "a.b", "a0", "ab"])
    def test_a_tree_and_no_sibling(self, driver: StorageDriver, raw: Place, name: str) -> None:
        for sibling in SIBLINGS:
            for key in ("x", "y/z", "y/y/y"):
                raw.put(f"{sibling}/{key}", b"")
        before = raw.keys()
        driver.delete(f"/{name}")
        assert raw.keys() == [key for key in before if not key.startswith(f"{name}/")]
        with pytest.raises(PathNotFoundError):
            driver.stat(f"/{name}")

    def test_a_file(self, driver: StorageDriver, raw: Place) -> None:
        for key in ("a/b", "a/bc", "a/b-c"):
            raw.put(key, b"")
        driver.delete("/a/b")
        assert raw.keys() == ["a/b-c", "a/bc"]

    def test_file_and_directory_of_one_name(self, driver: StorageDriver, raw: Place) -> None:
        for key in ("a", "a/b", "a/c/d", "ab"):
            raw.put(key, b"")
        driver.delete("/a")
        assert raw.keys() == ["ab"]

    @pytest.mark.parametrize("path", ["/missing", "/abc/de", "/ab", "/a", "/abc/def/g"])
    def test_missing(self, driver: StorageDriver, raw: Place, path: str) -> None:
        raw.put("abc/def", b"")
        with pytest.raises(PathNotFoundError, match=f"^s3aws: path not found: '{path}'"):
            driver.delete(path)
        assert raw.keys() == ["abc/def"]

    def test_twice(self, driver: StorageDriver, raw: Place) -> None:
        raw.put("a/b", b"")
        driver.delete("/a")
        with pytest.raises(PathNotFoundError):
            driver.delete("/a")

    def failing(self, raw: Place, *failures: tuple[str, str]) -> bytes:
        errors = "".join(
            f"<Error><Key>{raw.prefix}{key}</Key><Code>{code}</Code><Message>m</Message></Error>"
            for key, code in failures
        )
        return answer(200, f'<?xml version="1.0"?><DeleteResult>{errors}</DeleteResult>')

    def test_failures_are_raised_together(
        self, counted: StorageDriver, proxy: CountingProxy, raw: Place
    ) -> None:
        for name in "bcde":
            raw.put(f"a/{name}", b"")
        told = self.failing(raw, ("a/c", "AccessDenied"), ("a/e", "InternalError"))
        proxy.fault = lambda request: told if request.method == "POST" else None
        with pytest.raises(OSError, match="2 of 4 could not be deleted") as caught:
            counted.delete("/a")
        assert "/a/c (AccessDenied)" in str(caught.value)
        assert "/a/e (InternalError)" in str(caught.value)
        assert "/a/b" not in str(caught.value)
        assert "\n" not in str(caught.value)
        assert not isinstance(caught.value, (PermissionError, FileNotFoundError))

    def test_failures_by_lack_of_permission(
        self, counted: StorageDriver, proxy: CountingProxy, raw: Place
    ) -> None:
        names = [f"a/{number}" for number in range(7)]
        for name in names:
            raw.put(name, b"")
        told = self.failing(raw, *((name, "AccessDenied") for name in names))
        proxy.fault = lambda request: told if request.method == "POST" else None
        with pytest.raises(PermissionError, match=r"7 of 7 .* and 2 more"):
            counted.delete("/a")

    def test_a_lone_key_fails_as_the_others_do(
        self, counted: StorageDriver, proxy: CountingProxy, raw: Place
    ) -> None:
        raw.put("a", b"")
        proxy.fault = lambda request: DENIED if request.method == "DELETE" else None
        with pytest.raises(PermissionError, match="1 of 1 could not be deleted: /a "):
            counted.delete("/a")
        assert raw.keys() == ["a"]

    def test_a_file_goes_with_the_directory_of_its_name(
        self, counted: StorageDriver, proxy: CountingProxy, raw: Place
    ) -> None:
        for key in ("a", "a/b", "a/c", "ab"):
            raw.put(key, b"")
        with proxy.counting() as seen:
            counted.delete("/a")
        assert sorted(kinds(seen)) == ["DELETE", "HEAD", "LIST"]
        assert raw.keys() == ["ab"]


# -- presigned URLs -------------------------------------------------------------------------------------
