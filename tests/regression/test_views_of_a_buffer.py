"""A read that fails leaves no view of its buffer in its exception's traceback.

CPython crashes where its garbage collector finds such a view and its BytesIO in one cycle: 3.10 always, later
versions up to a fix (https://github.com/python/cpython/issues/111049).
"""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from support.proxy import Fate

from regfs import RegistryFileSystem, StorageDriver

if TYPE_CHECKING:
    from support.proxy import CountingProxy
    from support.servers import Place

pytestmark = pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)

SIZE = 400_000


def views() -> list[memoryview]:
    """Return the views of BytesIO objects that were not released."""
    found = []
    for candidate in gc.get_objects():
        if type(candidate) is memoryview:
            try:
                exporter = candidate.obj
            except ValueError:  # it was released
                continue
            if type(exporter).__name__ == "_BytesIOBuffer":
                found.append(candidate)
    return found


async def open_async(fs: RegistryFileSystem) -> None:
    own = RegistryFileSystem(**fs.storage_options, asynchronous=True)
    try:
        async with await own.open_async("/file") as file:
            await file.read()
    finally:
        await own.close()


READS: dict[str, Callable[[RegistryFileSystem], Any]] = {
    "cat_file": lambda fs: fs.cat_file("/file"),
    "a range": lambda fs: fs.cat_file("/file", 1, SIZE - 1),
    "open": lambda fs: fs.open("/file").read(),
    "open_async": lambda fs: asyncio.run(open_async(fs)),
    "reader": lambda fs: StorageDriver(fs).reader("/file").read(),
    "get_content": lambda fs: StorageDriver(fs).get_content("/file"),
}


@pytest.mark.parametrize("how", ["reset", "closed"])
@pytest.mark.parametrize("read", READS)
def test_none_is_left_by_a_failure(
    proxied_options: dict[str, Any], proxy: CountingProxy, raw: Place, read: str, how: Any
) -> None:
    raw.put("file", random.Random(5).randbytes(SIZE))
    fs = RegistryFileSystem(**proxied_options, maxretries=0)
    gc.collect()
    assert views() == []
    proxy.fault = lambda request: Fate(answer=0.5, how=how)
    with pytest.raises(OSError) as caught:
        READS[read](fs)
    assert views() == []
    assert caught.value.filename
    del caught
    gc.collect()
