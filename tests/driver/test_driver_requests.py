"""The requests that each method takes, and many threads."""

from __future__ import annotations

import io
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from regfs import (
    FileInfo,
    PathNotFoundError,
    StorageDriver,
)

if TYPE_CHECKING:
    from support.proxy import CountingProxy
    from support.servers import Place

from support.drivers import CHUNK, content_of, kinds


class TestRequests:
    """The contract of what a registry's bucket costs."""

    def test_get_content(self, counted: StorageDriver, proxy: CountingProxy, raw: Place) -> None:
        for size in (0, 71, CHUNK):
            raw.put("file", content_of(size))
            with proxy.counting() as seen:
                counted.get_content("/file")
            assert kinds(seen) == ["GET"]

    def test_missing_get_content(self, counted: StorageDriver, proxy: CountingProxy) -> None:
        with proxy.counting() as seen, pytest.raises(PathNotFoundError):
            counted.get_content("/missing")
        assert kinds(seen) == ["GET"]

    def test_put_content(self, counted: StorageDriver, proxy: CountingProxy) -> None:
        for size in (0, 71, CHUNK):
            with proxy.counting() as seen:
                counted.put_content("/file", content_of(size))
            assert kinds(seen) == ["PUT"]

    def test_stat(self, counted: StorageDriver, proxy: CountingProxy, raw: Place) -> None:
        raw.put("dir/file", b"x")
        for path, expected in (("/dir/file", ["HEAD"]), ("/dir", ["HEAD", "LIST"]), ("/", [])):
            with proxy.counting() as seen:
                counted.stat(path)
            assert kinds(seen) == expected
        with proxy.counting() as seen, pytest.raises(PathNotFoundError):
            counted.stat("/missing")
        assert kinds(seen) == ["HEAD", "LIST"]

    def test_list(self, counted: StorageDriver, proxy: CountingProxy, raw: Place) -> None:
        raw.put("dir/file", b"x")
        raw.put("dir/sub/file", b"x")
        for path in ("/", "/dir", "/dir/sub"):
            with proxy.counting() as seen:
                counted.list(path)
            assert kinds(seen) == ["LIST"]

    def test_delete(self, counted: StorageDriver, proxy: CountingProxy, raw: Place) -> None:
        for key in ("file", "tree/1", "tree/2/3", "tree-4", "one/1"):
            raw.put(key, b"x")
        for path in ("/file", "/tree", "/one"):
            with proxy.counting() as seen:
                counted.delete(path)
            assert kinds(seen).count("DELETE") == 1
            assert kinds(seen).count("HEAD") + kinds(seen).count("LIST") == len(seen) - 1 <= 2

    def test_write_stream(self, counted: StorageDriver, proxy: CountingProxy) -> None:
        with proxy.counting() as seen:
            counted.write_stream("/file", 0, io.BytesIO(b"content"))
        assert kinds(seen) == ["PUT"]

    def test_more_than_a_page(self, counted: StorageDriver, proxy: CountingProxy, raw: Place) -> None:
        names = [f"{kind}{number}" for number in range(503) for kind in ("s-", "s")]
        folders = {"s-0", "s-77", "s500"}
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda name: raw.put(f"t/{name}{'/x' * (name in folders)}"), names))
        raw.put("t/s/x")
        with proxy.counting() as seen:
            assert counted.list("/t") == sorted(f"/t/{name}" for name in [*names, "s"])
        assert kinds(seen) == ["LIST", "LIST"]
        with proxy.counting() as seen:
            counted.delete("/t/s")  # a thousand siblings share its prefix
        *looks, last = kinds(seen)
        assert (sorted(looks), last) == (["HEAD", "LIST"], "DELETE")  # the two are sent together
        walked: list[FileInfo] = []
        with proxy.counting() as seen:
            counted.walk("/t", walked.append)
        assert len([info for info in walked if not info.is_dir]) == len(names)
        found = {info.path for info in walked if info.is_dir}
        # SeaweedFS shows the prefix of what was deleted for a while.
        assert found - {"/t/s"} == {f"/t/{name}" for name in folders}
        # A flat page, which is not all, then the directory's two, and one page from the first directory on.
        assert len(seen) <= 4 + len(found)
        with proxy.counting() as seen:
            counted.delete("/t")
        asked, deleted = len(seen) - kinds(seen).count("DELETE"), kinds(seen).count("DELETE")
        assert asked <= 2 + 1
        assert deleted <= 2 + 1
        assert raw.keys() == []


# -- threads --------------------------------------------------------------------------------------------


def test_sixteen_threads_on_one_driver(driver: StorageDriver, raw: Place) -> None:
    barrier = threading.Barrier(16)

    def work(number: int) -> None:
        content = content_of(5000 + number, seed=number)
        mine = f"/t{number}"
        barrier.wait()
        driver.put_content(f"{mine}/put", content)
        assert driver.write_stream(f"{mine}/stream", number, io.BytesIO(content)) == len(content)
        with driver.writer(f"{mine}/writer") as writer:
            for start in range(0, len(content), 1000):
                writer.write(content[start : start + 1000])
            writer.commit()
        for _ in range(3):
            assert driver.get_content(f"{mine}/put") == content
            assert driver.get_content(f"{mine}/stream") == bytes(number) + content
            with driver.reader(f"{mine}/writer", number) as stream:
                assert stream.read() == content[number:]
            assert driver.stat(f"{mine}/stream").size == len(content) + number
            assert driver.list(mine) == [f"{mine}/put", f"{mine}/stream", f"{mine}/writer"]
        driver.move(f"{mine}/put", f"{mine}/moved")
        assert driver.get_content(f"{mine}/moved") == content
        assert f"/t{number}/stream" in driver.url_for(f"{mine}/stream")
        with pytest.raises(PathNotFoundError) as caught:
            driver.get_content(f"{mine}/put")
        assert caught.value.path == f"{mine}/put"
        if number % 2:
            driver.delete(mine)

    with ThreadPoolExecutor(16) as pool:
        for done in [pool.submit(work, number) for number in range(16)]:
            done.result()
    left = itertools.product(range(0, 16, 2), ("moved", "stream", "writer"))
    assert raw.keys() == sorted(f"t{number}/{name}" for number, name in left)
    assert raw.uploads() == []
