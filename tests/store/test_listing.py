"""Listing in parallel: nothing missing, nothing twice, on both servers; and how many requests it takes."""

from __future__ import annotations

import asyncio
import hashlib
import random
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.servers import fresh_place

from regfs import RegistryFileSystem
from regfs.layout import BlobData, Digest, LayerLink
from regfs.store.listing import AT_ONCE, divide, list_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from support.proxy import CountingProxy
    from support.servers import Place, Server

    from regfs.s3.objects import ListPage, ObjectInfo

NAMES = st.text("ab-./", min_size=1, max_size=4).map(lambda text: text.replace("/", "") + "/")


@given(st.sets(NAMES), st.sets(NAMES), st.integers(1, 5))
def test_divide(new: set[str], old: set[str], most: int) -> None:
    old -= new
    texts = list(divide(sorted(new), sorted(old), most))
    for name in new:
        assert sum(name.startswith(text) for text in texts) == 1
    for text in texts:
        begun = [name for name in new if name.startswith(text)]
        assert begun == [text] or 1 <= len(begun) <= most
        assert not any(name.startswith(text) for name in old)


def test_divide_keeps_blobs_of_one_digit_together() -> None:
    new = [f"{number:02x}/" for number in range(32, 256)]
    old = [f"{number:02x}/" for number in range(32)]
    assert list(divide(new, old, 25)) == list("23456789abcdef")
    assert list(divide(new, old, 8)) == new


async def found(fs: RegistryFileSystem, prefix: str, limit: int) -> list[str]:
    keys: list[str] = []

    async def use(objects: list[ObjectInfo]) -> None:
        await asyncio.sleep(0)
        assert objects
        keys.extend(item.key for item in objects)

    await list_all(fs.client, prefix, use, limit)
    return keys


def run(options: dict[str, Any], call: Callable[[RegistryFileSystem], Any]) -> Any:
    """Run a coroutine function of a filesystem in a loop of its own, and leave nothing open."""

    async def main() -> Any:
        fs = RegistryFileSystem(**options, asynchronous=True, skip_instance_cache=True)
        try:
            return await call(fs)
        finally:
            await fs.close()
            assert asyncio.all_tasks() == {asyncio.current_task()}

    return asyncio.run(main())


def put_all(raw: Place, keys: Iterable[str]) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(raw.put, keys))


def random_tree(chance: random.Random) -> list[str]:
    """Name files at any depth, many or few in a directory, with names that services order differently."""
    keys: set[str] = set()

    def fill(prefix: str, depth: int) -> None:
        for _ in range(chance.choice([1, 2, 3, 8])):
            name = "".join(chance.choices("ab-.", k=chance.choice([1, 1, 2])))
            name = name.strip(".") or "c"
            if depth and chance.random() < 0.6:
                fill(f"{prefix}{name}/", depth - 1)
            else:
                keys.add(f"{prefix}{name}.f")

    fill("", 4)
    return sorted(keys)


@pytest.fixture(scope="module")
def trees(server: Server, s3: Any, worker_bucket: str) -> Iterator[list[tuple[Place, list[str]]]]:
    chance = random.Random(5)
    made = []
    with fresh_place(server, s3, worker_bucket) as place:
        keys = sorted({f"{n}/{key}" for n in range(4) for key in random_tree(chance)})
        put_all(place, keys)
        made.append((place, keys))
        yield made


@pytest.mark.parametrize("limit", [1, 3, 10, 40])
def test_all_keys_once(trees: list[tuple[Place, list[str]]], limit: int) -> None:
    for place, keys in trees:

        async def call(fs: RegistryFileSystem, keys: list[str] = keys) -> None:
            base = fs.space.base
            for prefix in ("", "0", "1/", "2/a", "no"):
                names = [key[len(base) :] for key in await found(fs, base + prefix, limit)]
                assert sorted(names) == [key for key in keys if key.startswith(prefix)]

        run(place.options, call)


def registry_keys(blobs: int, links: int) -> list[str]:
    """Name keys as a registry does; all blobs lie in 32 directories, so that each has many."""
    sums = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(blobs)]
    digests = [Digest("sha256", f"{number % 32 * 8:02x}{sums[number][2:]}") for number in range(blobs)]
    keys = [BlobData(digest).path[1:] for digest in digests]
    return keys + [
        LayerLink(f"team{number % 3}/image{number % 10}", digests[number]).path[1:] for number in range(links)
    ]


def test_registry_in_parallel(
    raw: Place, proxied_options: dict[str, Any], proxy: CountingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few more requests than pages, and most of them at the same time."""
    keys = registry_keys(400, 200)
    put_all(raw, keys)
    under_way = most = rounds = 0

    async def call(fs: RegistryFileSystem) -> list[str]:
        list_page = fs.client.list_page

        async def watched(*args: Any, **kwargs: Any) -> ListPage:
            nonlocal under_way, most, rounds
            rounds += under_way == 0
            under_way += 1
            most = max(most, under_way)
            try:
                return await list_page(*args, **kwargs)
            finally:
                under_way -= 1

        monkeypatch.setattr(fs.client, "list_page", watched)
        names = await found(fs, fs.space.base, 40)
        return [name[len(fs.space.base) :] for name in names]

    with proxy.counting() as requests:
        assert sorted(run(proxied_options, call)) == sorted(keys)
    pages = -(-len(keys) // 40)
    assert len(requests) <= 2.5 * pages
    assert AT_ONCE // 2 < most <= 2 * AT_ONCE  # a cut asks for several directories


def test_one_page_is_one_request(raw: Place, proxied_options: dict[str, Any], proxy: CountingProxy) -> None:
    put_all(raw, [f"a/{n}" for n in range(10)])
    with proxy.counting() as requests:
        assert len(run(proxied_options, lambda fs: found(fs, fs.space.prefix("/a"), 1000))) == 10
    assert len(requests) == 1


@pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)
class TestEnd:
    """How a listing ends early: with nothing left under way, which ``run`` looks at."""

    def test_failure_of_a_page(self, raw: Place, options: dict[str, Any], monkeypatch: Any) -> None:
        put_all(raw, registry_keys(60, 0))

        async def call(fs: RegistryFileSystem) -> None:
            list_page = fs.client.list_page
            count = 0

            async def failing(*args: Any, **kwargs: Any) -> ListPage:
                nonlocal count
                count += 1
                if count > 12:
                    raise PermissionError("no more")
                return await list_page(*args, **kwargs)

            monkeypatch.setattr(fs.client, "list_page", failing)
            with pytest.raises(PermissionError, match="no more"):
                await found(fs, fs.space.base, 3)

        run(options, call)

    def test_failure_of_the_user(self, raw: Place, options: dict[str, Any]) -> None:
        put_all(raw, registry_keys(60, 0))

        async def call(fs: RegistryFileSystem) -> None:
            async def use(objects: list[ObjectInfo]) -> None:
                raise RuntimeError("enough")

            with pytest.raises(RuntimeError, match="enough"):
                await list_all(fs.client, fs.space.base, use, 3)

        run(options, call)

    def test_cancelled(self, raw: Place, options: dict[str, Any]) -> None:
        put_all(raw, registry_keys(60, 0))

        async def call(fs: RegistryFileSystem) -> None:
            first = asyncio.Event()

            async def use(objects: list[ObjectInfo]) -> None:
                first.set()
                await asyncio.sleep(60)

            task = asyncio.create_task(list_all(fs.client, fs.space.base, use, 3))
            await first.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        run(options, call)


def test_find_and_delete_of_more_than_a_page(raw: Place, options: dict[str, Any]) -> None:
    keys = registry_keys(700, 350)
    put_all(raw, [*keys, "docker-beside"])
    fs = RegistryFileSystem(**options)
    assert fs.find("/docker") == sorted("/" + key for key in keys)
    assert fs.du("/docker", total=False) == dict.fromkeys(fs.find("/docker"), len(raw.get(keys[0])))
    fs.rm("/docker", recursive=True)
    assert fs.find("/") == ["/docker-beside"]


def test_directories_by_number_take_few_requests(
    raw: Place, proxied_options: dict[str, Any], proxy: CountingProxy
) -> None:
    """The names of a page's directories begin those of others, so that they cannot be cut well."""
    put_all(raw, [f"a/{number // 30}/{number}" for number in range(1500)])
    fs = RegistryFileSystem(**proxied_options)
    with proxy.counting() as requests:
        assert len(fs.find("/a")) == 1500
    assert len(requests) <= 3 * 2
    with proxy.counting() as requests:
        fs.rm("/a", recursive=True)
    assert sum("delete" in request.query for request in requests) == 2  # however the pages come
    assert len(requests) <= 1 + 3 * 2 + 2


def test_pages_as_they_come(raw: Place, options: dict[str, Any]) -> None:
    keys = [f"t/{number % 7}/{number}" for number in range(2500)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda key: raw.put(key, b"x"), [*keys, "t/dir/", "u/other"]))
    fs = RegistryFileSystem(**options)
    pages = list(fs.find_pages("/t"))
    assert sorted(info["name"] for page in pages for info in page) == sorted(f"/{key}" for key in keys)
    assert max(map(len, pages)) <= 1000
    assert list(fs.find_pages("/nowhere")) == []
    first = fs.find_pages("/t")
    assert next(first)
    first.close()  # the rest is not waited for
