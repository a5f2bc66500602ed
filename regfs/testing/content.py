"""Paths, errors, and files as a whole."""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from regfs import InvalidPathError, PathNotFoundError
from regfs.testing.base import MIB, Driver, SuiteBase, content_of

VALID = (
    *("/a", "/2", "/aa", "/a.a", "/0-9/abcdefg", "/abcdefg/z.75", "/abc/1.2.3.4.5-6_zyx/123.z/4"),
    *("/docker/docker-registry", "/123.abc", "/abc./abc", "/.abc", "/a--b", "/a-.b", "/_.abc", "/-", "/_"),
    *("/Docker/docker-registry", "/Abc/Cba", "/...", "/a/..a", "/a../b", "/" + "long" * 50),
)
INVALID = (
    *("", "abc", "123.abc", "a/b", "//bcd", "/a//b", "/abc_123/", "/a/", "//"),
    *("/a b", "/ä", "/a\n", "/a\x00", "/a:b", "/a=b", "/a\\b", "/a~b", "/a%2e"),
    # The rule's expression lets these through, but an HTTP client would resolve them.
    *("/.", "/..", "/a/.", "/a/..", "/a/../b", "/./a", "/../a"),
)
CALLS: dict[str, Callable[[Driver, str], object]] = {
    "get_content": lambda driver, path: driver.get_content(path),
    "put_content": lambda driver, path: driver.put_content(path, b"x"),
    "reader": lambda driver, path: driver.reader(path),
    "read_stream": lambda driver, path: driver.read_stream(path, 0),
    "writer": lambda driver, path: driver.writer(path),
    "writer to append": lambda driver, path: driver.writer(path, append=True),
    "write_stream": lambda driver, path: driver.write_stream(path, 0, io.BytesIO(b"x")),
    "move from": lambda driver, path: driver.move(path, "/valid"),
    "move to": lambda driver, path: driver.move("/valid", path),
    "delete": lambda driver, path: driver.delete(path),
    "url_for": lambda driver, path: driver.url_for(path),
    "redirect_url": lambda driver, path: driver.redirect_url(path),
    "stat": lambda driver, path: driver.stat(path),
    "list": lambda driver, path: driver.list(path),
    "walk": lambda driver, path: driver.walk(path, lambda info: None),
}
OF_DIRECTORIES = ("stat", "list", "walk")
"""The calls that "/" is valid for."""


class ContentTests(SuiteBase):
    """``get_content`` and ``put_content``, and what every call does with a bad or missing path."""

    def test_the_name_is_text(self, driver: Driver) -> None:
        assert isinstance(driver.name, str)
        assert driver.name

    @pytest.mark.parametrize("path", VALID)
    def test_valid_path(self, driver: Driver, root: str, path: str) -> None:
        driver.put_content(root + path, b"content of " + path.encode())
        assert driver.get_content(root + path) == b"content of " + path.encode()
        assert driver.stat(root + path).path == root + path

    @pytest.mark.parametrize("path", [*INVALID, "/"])
    def test_invalid_path(self, driver: Driver, path: str) -> None:
        for name, call in CALLS.items():
            if path == "/" and name in OF_DIRECTORIES:
                continue
            with pytest.raises(InvalidPathError) as caught:
                call(driver, path)
                pytest.fail(f"{name} took {path!r}")
            assert isinstance(caught.value, ValueError)
            assert str(caught.value).startswith(f"{driver.name}:"), name

    def test_an_invalid_path_changes_nothing(self, driver: Driver, root: str) -> None:
        driver.put_content(f"{root}/dir/file", b"content")
        for path in (f"{root}/dir/../dir", f"{root}/dir/.", f"{root}/dir/"):
            with pytest.raises(InvalidPathError):
                driver.delete(path)
            with pytest.raises(InvalidPathError):
                driver.move(f"{root}/dir/file", path)
        assert driver.get_content(f"{root}/dir/file") == b"content"

    @pytest.mark.parametrize(
        "call", ["get_content", "reader", "read_stream", "writer to append", "delete", "stat", "list", "walk"]
    )
    def test_missing(self, driver: Driver, root: str, call: str) -> None:
        driver.put_content(f"{root}/missing-not", b"a sibling that shares the name's beginning")
        path = f"{root}/missing"
        with pytest.raises(PathNotFoundError) as caught:
            CALLS[call](driver, path)
        assert isinstance(caught.value, FileNotFoundError)
        assert str(caught.value).startswith(f"{driver.name}:")
        assert path in str(caught.value)

    @pytest.mark.parametrize(
        "content",
        [b"", b"a", "ß".encode(), b"\x80\x80\x80\x80", bytes(range(256)), b"\0" * 1000, b"\r\n"],
        ids=["empty", "a letter", "UTF-8", "no UTF-8", "every byte", "zeros", "a line's end"],
    )
    def test_round_trip(self, driver: Driver, root: str, content: bytes) -> None:
        driver.put_content(f"{root}/file", content)
        got = driver.get_content(f"{root}/file")
        assert isinstance(got, bytes)
        assert got == content
        assert driver.stat(f"{root}/file").size == len(content)

    def test_round_trip_of_sizes(self, driver: Driver, root: str) -> None:
        for size in (1, 71, 4096, MIB - 1, MIB, MIB + 1, self.large):
            driver.put_content(f"{root}/file", content_of(size))
            assert driver.get_content(f"{root}/file") == content_of(size)

    def test_put_replaces_completely(self, driver: Driver, root: str) -> None:
        for size in (MIB, 1024, 0, 4096, 2048):
            driver.put_content(f"{root}/file", content_of(size))
            assert driver.get_content(f"{root}/file") == content_of(size)
            assert driver.stat(f"{root}/file").size == size

    def test_a_directory_is_no_file(self, driver: Driver, root: str) -> None:
        driver.put_content(f"{root}/dir/file", b"content")
        for call in ("get_content", "reader", "read_stream", "writer to append"):
            with pytest.raises(PathNotFoundError):
                CALLS[call](driver, f"{root}/dir")
        with pytest.raises(PathNotFoundError):
            driver.move(f"{root}/dir", f"{root}/elsewhere")
        assert driver.get_content(f"{root}/dir/file") == b"content"

    def test_many_threads_at_once(self, driver: Driver, root: str) -> None:
        def work(number: int) -> None:
            path = f"{root}/thread/{number}"
            for turn in range(3):
                content = content_of(1000 + number, turn)
                driver.put_content(path, content)
                assert driver.get_content(path) == content
                assert driver.stat(path).size == len(content)
            driver.move(path, path + "-moved")
            with driver.reader(path + "-moved", 500) as stream:
                assert stream.read() == content_of(1000 + number, 2)[500:]
            driver.delete(path + "-moved")

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(16)))
