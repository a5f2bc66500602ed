"""Walking listed all that lies under a skipped directory, and sent an empty start-after.

Some services answer an empty ``start-after`` with nothing at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from regfs import FileInfo, RegistryFileSystem, SkipDir, StorageDriver

if TYPE_CHECKING:
    from proxy import CountingProxy
    from servers import Place


@pytest.fixture
def driver(proxied_options: dict[str, Any], raw: Place) -> StorageDriver:
    for key in ("a/1", "skipped/1", "skipped/deep/er/1", "skipped-not/1", "z"):
        raw.put(key, b"")
    return StorageDriver(RegistryFileSystem(**proxied_options))


def test_nothing_is_asked_under_a_skipped_directory(
    driver: StorageDriver, proxy: CountingProxy, raw: Place
) -> None:
    seen: list[str] = []

    def look(info: FileInfo) -> None:
        seen.append(info.path)
        if info.path == "/skipped":
            raise SkipDir

    driver.walk("/", look)
    assert seen == ["/a", "/a/1", "/skipped", "/skipped-not", "/skipped-not/1", "/z"]
    listed = [request.query["prefix"].removeprefix(raw.prefix) for request in proxy.requests]
    assert sorted(listed) == ["", "a/", "skipped-not/"]
    assert all(request.query["delimiter"] == "/" for request in proxy.requests)


@pytest.mark.parametrize("start_after", [None, ""])
def test_no_empty_start_after_is_sent(
    driver: StorageDriver, proxy: CountingProxy, start_after: str | None
) -> None:
    seen: list[str] = []
    driver.walk("/", lambda info: seen.append(info.path), start_after)
    assert len(seen) == 10
    driver.list("/skipped")
    driver.delete("/a")
    asked = [request.query for request in proxy.requests if "list-type" in request.query]
    assert len(asked) >= 8
    assert all(query.get("start-after") != "" for query in asked)
    assert all(query.get("continuation-token") != "" for query in asked)
