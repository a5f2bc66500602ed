"""Walking: order, skipping, stopping and resuming, on both servers, and how many requests it takes."""

from __future__ import annotations

import functools
import random
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from support.servers import fresh_place

from regfs import (
    FileInfo,
    InvalidPathError,
    PathNotFoundError,
    RegistryFileSystem,
    SkipDir,
    StopWalk,
    StorageDriver,
)
from regfs.s3.client import S3Client

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from support.proxy import CountingProxy
    from support.servers import Place, Server


@pytest.fixture
def driver(options: dict[str, Any]) -> StorageDriver:
    return StorageDriver(RegistryFileSystem(**options))


@pytest.fixture
def counted(proxied_options: dict[str, Any]) -> StorageDriver:
    """The driver of the same place whose requests ``proxy`` counts."""
    return StorageDriver(RegistryFileSystem(**proxied_options, maxretries=0))


def expected(keys: Iterable[str], under: str = "") -> list[str]:
    """Return what a walk shall show: files and the directories they imply, component by component."""
    shown = {"/" + key for key in keys}
    for path in list(shown):
        while path := path.rpartition("/")[0]:
            shown.add(path)
    return sorted((path for path in shown if path.startswith(under + "/")), key=lambda path: path.split("/"))


def pages_of(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every page of a listing hold only so many entries."""
    monkeypatch.setattr(S3Client, "list_page", functools.partialmethod(S3Client.list_page, limit=count))


def put_all(raw: Place, keys: Iterable[str]) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(raw.put, keys))


TREE = ["a-b/x", "a.b/x", "a/1", "a/10", "a/1-0/y", "a/b/c/d", "a/b/z", "a0/x", "ab", "z"]
WALKED = ["/a", "/a/1", "/a/1-0", "/a/1-0/y", "/a/10", "/a/b", "/a/b/c", "/a/b/c/d", "/a/b/z"]
WALKED += ["/a-b", "/a-b/x", "/a.b", "/a.b/x", "/a0", "/a0/x", "/ab", "/z"]


class TestWalk:
    @pytest.fixture(autouse=True)
    def _tree(self, raw: Place) -> None:
        for key in TREE:
            raw.put(key, b"x" * len(key))

    def walked(self, driver: StorageDriver, path: str = "/", start_after: str | None = None) -> list[str]:
        seen: list[FileInfo] = []
        driver.walk(path, seen.append, start_after)
        return [info.path for info in seen]

    def test_everything_once_and_parents_first(self, driver: StorageDriver) -> None:
        assert self.walked(driver) == WALKED
        assert self.walked(driver, "/a") == [path for path in WALKED if path.startswith("/a/")]
        assert self.walked(driver, "/a/b/c") == ["/a/b/c/d"]

    def test_tells_what_stat_tells(self, driver: StorageDriver) -> None:
        seen: list[FileInfo] = []
        driver.walk("/", seen.append)
        assert seen == [driver.stat(info.path) for info in seen]
        assert [info.path for info in seen if not info.is_dir] == sorted(
            ("/" + key for key in TREE), key=lambda path: path.split("/")
        )

    @pytest.mark.parametrize("path", ["/missing", "/ab", "/a/", "/a/b/c/d"])
    def test_missing_or_a_file(self, driver: StorageDriver, path: str) -> None:
        with pytest.raises((PathNotFoundError, InvalidPathError)):
            self.walked(driver, path)

    def test_skip_dir(self, driver: StorageDriver) -> None:
        for skipped in ("/a", "/a/b", "/a/b/c", "/a0"):
            seen: list[str] = []

            def look(info: FileInfo, skipped: str = skipped, seen: list[str] = seen) -> None:
                seen.append(info.path)
                if info.path == skipped:
                    raise SkipDir

            driver.walk("/", look)
            assert seen == [path for path in WALKED if not path.startswith(skipped + "/")]

    def test_stop_walk(self, counted: StorageDriver, proxy: CountingProxy) -> None:
        for count in range(1, len(WALKED) + 1):
            seen: list[str] = []

            def look(info: FileInfo, count: int = count, seen: list[str] = seen) -> None:
                seen.append(info.path)
                if len(seen) == count:
                    raise StopWalk

            with proxy.counting() as requests:
                counted.walk("/", look)
            assert seen == WALKED[:count]
            assert len(requests) == 1

    def test_start_after_every_path(self, driver: StorageDriver) -> None:
        for index, path in enumerate(WALKED):
            assert self.walked(driver, start_after=path) == WALKED[index + 1 :], path

    @pytest.mark.parametrize(
        ("start_after", "first"),
        [("/0", "/a"), ("/a/0", "/a/1"), ("/a/1-0/z", "/a/10"), ("/a/zz", "/a-b"), ("/a/b/c/d/e", "/a/b/z")],
    )
    def test_start_after_what_is_not_there(self, driver: StorageDriver, start_after: str, first: str) -> None:
        assert self.walked(driver, start_after=start_after) == WALKED[WALKED.index(first) :]

    def test_start_after_everything(self, driver: StorageDriver) -> None:
        assert self.walked(driver, start_after="/zz") == []
        assert self.walked(driver, "/a", start_after="/a-b") == []

    @pytest.mark.parametrize("server", ["moto"], indirect=True)  # SeaweedFS goes on showing the prefix
    def test_a_directory_that_vanishes_is_passed_over(
        self, driver: StorageDriver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pages_of(1, monkeypatch)  # or it would be known from the first page
        seen: list[str] = []

        def look(info: FileInfo) -> None:
            if not seen:
                driver.delete("/a-b")
            seen.append(info.path)

        driver.walk("/", look)
        assert seen == [path for path in WALKED if path != "/a-b/x"]

    def test_other_exceptions_come_through(self, driver: StorageDriver) -> None:
        error = FileNotFoundError("the function's own")

        def look(info: FileInfo) -> None:
            raise error

        with pytest.raises(FileNotFoundError) as caught:
            driver.walk("/", look)
        assert caught.value is error

    def test_file_and_directory_of_one_name(self, driver: StorageDriver, raw: Place) -> None:
        raw.put("z/under", b"")
        seen: list[FileInfo] = []
        driver.walk("/", seen.append)
        assert [(info.path, info.is_dir) for info in seen][-3:] == [
            ("/z", False),
            ("/z", True),
            ("/z/under", False),
        ]

    def test_the_function_may_change_the_store(self, driver: StorageDriver) -> None:
        seen: list[str] = []

        def look(info: FileInfo) -> None:
            seen.append(info.path)
            driver.put_content("/zz/new", b"")

        driver.walk("/a", look)
        assert seen == [path for path in WALKED if path.startswith("/a/")]


NAMES = ["a", "a-b", "a.b", "a0", "ab", "a-b-c", "0", "0.1", "0.1.2", "0.1.20", "_x", "A"]
"""Siblings on both sides of "/" in byte order, each a prefix of another one."""


def some_tree(seed: int) -> list[str]:
    """Return the keys of a random tree, in which no key is another one's directory."""
    rng = random.Random(seed)
    keys = {"/".join(rng.choices(NAMES, k=rng.randint(1, 4))) for _ in range(rng.randint(1, 40))}
    return sorted(key for key in keys if not any(other.startswith(key + "/") for other in keys))


class TestPages:
    """The same, where a page holds only some keys, so that every way of going on is gone."""

    @pytest.fixture(params=[1, 2, 5])
    def _pages(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        pages_of(request.param, monkeypatch)

    @pytest.mark.usefixtures("_pages")
    @pytest.mark.parametrize("seed", range(3))
    def test_as_a_model_of_it(self, driver: StorageDriver, raw: Place, seed: int) -> None:
        keys = some_tree(seed)
        put_all(raw, keys)
        rng = random.Random(seed)
        everything = expected(keys)
        seen: list[str] = []
        driver.walk("/", lambda info: seen.append(info.path))
        assert seen == everything

        directories = sorted({key.rpartition("/")[0] for key in keys} - {""})
        for path in directories:
            seen.clear()
            driver.walk("/" + path, lambda info: seen.append(info.path))
            assert seen == expected(keys, "/" + path)

        for start in rng.sample(everything, min(5, len(everything))):
            seen.clear()
            driver.walk("/", lambda info: seen.append(info.path), start)
            assert seen == everything[everything.index(start) + 1 :], start

        skipped = tuple(f"/{path}" for path in rng.sample(directories, min(2, len(directories))))

        def look(info: FileInfo) -> None:
            seen.append(info.path)
            if info.path in skipped:
                raise SkipDir

        seen.clear()
        driver.walk("/", look)
        below = tuple(path + "/" for path in skipped)
        assert seen == [path for path in everything if not path.startswith(below)]

    @pytest.mark.usefixtures("_pages")
    @pytest.mark.parametrize("seed", [0, 1])
    def test_in_parallel(self, options: dict[str, Any], raw: Place, seed: int) -> None:
        keys = some_tree(seed)
        put_all(raw, keys)
        parallel = StorageDriver(RegistryFileSystem(**options, parallelwalk=True))
        seen: list[str] = []
        parallel.walk("/", lambda info: seen.append(info.path))
        assert sorted(seen) == sorted(expected(keys))
        for index, path in enumerate(seen):
            parent = path.rpartition("/")[0]
            assert parent in ("", *seen[:index])


BLOBS = [f"blobs/{n % 8:02x}/{n:04x}/data" for n in range(1600)]
REST = [f"aside/{name}/{n}" for name in ("a", "a-b", "a.b", "a0") for n in range(60)] + ["z"]
EVERYTHING = expected([*BLOBS, *REST])


@pytest.fixture(scope="module")
def tree(server: Server, s3: Any, worker_bucket: str) -> Iterator[Place]:
    with fresh_place(server, s3, worker_bucket) as place:
        put_all(place, [*BLOBS, *REST])
        yield place


class TestLarge:
    """Three thousand and more entries."""

    @pytest.fixture
    def counted(self, tree: Place, proxy: CountingProxy) -> StorageDriver:
        return StorageDriver(RegistryFileSystem(**{**tree.options, "regionendpoint": proxy.endpoint}))

    def test_all_of_it(self, counted: StorageDriver, proxy: CountingProxy) -> None:
        seen: list[str] = []
        counted.walk("/", lambda info: seen.append(info.path))
        assert seen == EVERYTHING
        assert len(seen) > 3000
        # 1,841 keys are two pages. Listing by directory would be 1 + 5 + 1 + 8 + 1,600 requests.
        assert len(proxy.requests) <= 6
        assert {request.query["list-type"] for request in proxy.requests} == {"2"}

    def test_a_skipped_directory_costs_nothing(self, counted: StorageDriver, proxy: CountingProxy) -> None:
        seen: list[str] = []

        def look(info: FileInfo) -> None:
            seen.append(info.path)
            if info.path in ("/blobs", "/aside/a-b"):
                raise SkipDir

        counted.walk("/", look)
        assert seen == [path for path in EVERYTHING if not path.startswith(("/blobs/", "/aside/a-b/"))]
        prefixes = [request.query["prefix"] for request in proxy.requests]
        assert not [prefix for prefix in prefixes if "blobs/" in prefix]
        assert len(prefixes) <= 3

    def test_stopping_stops_the_requests(self, counted: StorageDriver, proxy: CountingProxy) -> None:
        seen: list[str] = []

        def look(info: FileInfo) -> None:
            seen.append(info.path)
            if len(seen) == 1000:
                raise StopWalk

        counted.walk("/", look)
        assert seen == EVERYTHING[:1000]
        assert len(proxy.requests) <= 4

    @pytest.mark.parametrize(("files", "most"), [(1, 6), (8, 6), (9, 10), (40, 2 * 5 + 2 * 16)])
    def test_reads_ahead_the_further_it_goes(
        self,
        counted: StorageDriver,
        proxy: CountingProxy,
        monkeypatch: pytest.MonkeyPatch,
        files: int,
        most: int,
    ) -> None:
        pages_of(8, monkeypatch)
        seen: list[str] = []

        def look(info: FileInfo) -> None:
            seen.append(info.path)
            if len(seen) == 2 * files:
                time.sleep(0.2)  # what is asked for ahead arrives
                raise StopWalk

        counted.walk("/blobs/00", look)
        assert seen == expected(BLOBS, "/blobs/00")[: 2 * files]
        listed = 1 + 200 // 8  # its page, and its directories
        assert len(proxy.requests) - listed <= most

    def test_page_by_page(self, counted: StorageDriver, proxy: CountingProxy) -> None:
        """As a registry's catalog goes on: so many at a time, behind the last one of before."""
        seen: list[str] = []
        calls = 0
        while True:
            before, calls = len(seen), calls + 1

            def look(info: FileInfo, before: int = before) -> None:
                seen.append(info.path)
                if len(seen) - before == 700:
                    raise StopWalk

            counted.walk("/", look, start_after=seen[-1] if seen else None)
            if len(seen) == before:
                break
        assert seen == EVERYTHING
        assert calls == len(EVERYTHING) // 700 + 2
        assert len(proxy.requests) <= 8 * calls

    def test_in_parallel(self, tree: Place, proxy: CountingProxy) -> None:
        options = {**tree.options, "regionendpoint": proxy.endpoint, "parallelwalk": True}
        seen: list[str] = []
        StorageDriver(RegistryFileSystem(**options)).walk("/", lambda info: seen.append(info.path))
        assert sorted(seen) == sorted(EVERYTHING)
        assert len(proxy.requests) <= 16

    def test_stopping_in_parallel(self, tree: Place) -> None:
        driver = StorageDriver(RegistryFileSystem(**tree.options, parallelwalk=True))
        seen: list[str] = []

        def look(info: FileInfo) -> None:
            seen.append(info.path)
            if info.path.startswith("/blobs/03/"):
                raise StopWalk

        driver.walk("/", look)
        assert sum(path.startswith("/blobs/03/") for path in seen) == 1

    def test_skipping_in_parallel(self, tree: Place, proxy: CountingProxy) -> None:
        options = {**tree.options, "regionendpoint": proxy.endpoint, "parallelwalk": True}
        seen: list[str] = []

        def look(info: FileInfo) -> None:
            seen.append(info.path)
            if info.path == "/blobs":
                raise SkipDir

        StorageDriver(RegistryFileSystem(**options)).walk("/", look)
        assert sorted(seen) == sorted(["/blobs", *expected(REST)])
        assert not [request for request in proxy.requests if "blobs/" in request.query["prefix"]]
