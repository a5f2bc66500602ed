"""Walking listed all that lies under a skipped directory, and sent an empty start-after.

Some services answer an empty ``start-after`` with nothing at all.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import pytest

from regfs import FileInfo, RegistryFileSystem, SkipDir, StorageDriver
from regfs.s3.client import S3Client

if TYPE_CHECKING:
    from support.proxy import CountingProxy
    from support.servers import Place


@pytest.fixture
def driver(proxied_options: dict[str, Any], raw: Place) -> StorageDriver:
    for key in ("a/1", "skipped/1", "skipped/deep/er/1", "skipped-not/1", "z"):
        raw.put(key, b"")
    return StorageDriver(RegistryFileSystem(**proxied_options))


@pytest.mark.parametrize("page", [1, 2, 1000])
def test_nothing_is_asked_under_a_skipped_directory(
    driver: StorageDriver, proxy: CountingProxy, raw: Place, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr(S3Client, "list_page", functools.partialmethod(S3Client.list_page, limit=page))
    seen: list[str] = []
    asked: list[dict[str, str]] = []

    def look(info: FileInfo) -> None:
        seen.append(info.path)
        if info.path == "/skipped":
            proxy.clear()
            raise SkipDir
        if info.path == "/z":
            asked.extend(request.query for request in proxy.requests)

    driver.walk("/", look)
    assert seen == ["/a", "/a/1", "/skipped", "/skipped-not", "/skipped-not/1", "/z"]
    for query in asked:
        assert query["prefix"] == raw.prefix + "skipped-not/"


@pytest.mark.parametrize("start_after", [None, ""])
def test_no_empty_start_after_is_sent(
    driver: StorageDriver, proxy: CountingProxy, monkeypatch: pytest.MonkeyPatch, start_after: str | None
) -> None:
    monkeypatch.setattr(S3Client, "list_page", functools.partialmethod(S3Client.list_page, limit=1))
    seen: list[str] = []
    driver.walk("/", lambda info: seen.append(info.path), start_after)
    assert len(seen) == 10
    driver.list("/skipped")
    driver.delete("/a")
    asked = [request.query for request in proxy.requests if "list-type" in request.query]
    assert len(asked) >= 8
    assert all(query.get("start-after") != "" for query in asked)
    assert all(query.get("continuation-token") != "" for query in asked)
