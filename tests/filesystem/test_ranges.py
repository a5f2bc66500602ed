"""Byte ranges: which are read together, and what random access costs beside s3fs."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import s3fs
from fsspec.caching import ReadAheadCache
from hypothesis import given
from hypothesis import strategies as st

from regfs import RegistryFileSystem
from regfs.filesystem import stream
from regfs.filesystem.stream import FIRST_BLOCK, StreamCache
from regfs.store.ranges import LARGEST, NEAR, merge

if TYPE_CHECKING:
    from support.proxy import CountingProxy
    from support.servers import Place

CONTENT = random.Random(0).randbytes(300_000)
RANGES = st.lists(
    st.tuples(
        st.sampled_from(["/a", "/b"]),
        st.none() | st.integers(-50, 300),
        st.none() | st.integers(-50, 300),
    ),
    max_size=12,
)


class TestMerge:
    @given(RANGES, st.integers(0, 40), st.integers(0, 100))
    def test_every_range_lies_in_its_block(self, ranges: Any, gap: int, largest: int) -> None:
        blocks = merge(ranges, gap, largest)
        assert sorted(position for block in blocks for position in block.wanted) == list(range(len(ranges)))
        for block in blocks:
            for position in block.wanted:
                path, start, stop = ranges[position]
                assert path == block.path
                if len(block.wanted) > 1:
                    assert block.start is not None
                    assert block.stop is not None
                    assert block.start <= (start or 0)
                    assert stop <= block.stop
                else:
                    assert (start or 0, stop) == (block.start or 0, block.stop)

    def test_near_and_far(self) -> None:
        found = merge([("/a", 0, 10), ("/a", 10 + NEAR, 20 + NEAR), ("/a", 21 + 2 * NEAR, 30 + 2 * NEAR)])
        assert [(block.start, block.stop) for block in found] == [
            (0, 20 + NEAR),
            (21 + 2 * NEAR, 30 + 2 * NEAR),
        ]

    def test_blocks_stay_small_enough_for_several_at_once(self) -> None:
        whole = [("/a", start, start + LARGEST // 4) for start in range(0, 4 * LARGEST, LARGEST // 4)]
        assert len(merge(whole)) == 4

    def test_order_is_no_matter(self) -> None:
        ranges = [("/a", start, start + 10) for start in range(0, 1000, 10)]
        random.Random(0).shuffle(ranges)
        [block] = merge(ranges)
        assert (block.start, block.stop) == (0, 1000)


@pytest.fixture
def fs(proxied_options: dict[str, Any], raw: Place) -> RegistryFileSystem:
    raw.put("a", CONTENT)
    raw.put("b", CONTENT[::-1])
    return RegistryFileSystem(**proxied_options)


class TestCatRanges:
    def test_near_ranges_are_one_request(self, fs: RegistryFileSystem, proxy: CountingProxy) -> None:
        starts = list(range(0, 100_000, 1000))
        with proxy.counting() as seen:
            found = fs.cat_ranges(["/a"] * 100, starts, [start + 100 for start in starts])
        assert found == [CONTENT[start : start + 100] for start in starts]
        assert len(seen) == 1

    def test_a_gap_may_be_asked_for(self, fs: RegistryFileSystem, proxy: CountingProxy) -> None:
        paths, starts, ends = ["/a", "/b", "/a", "/a"], [0, 0, 10, 25], [10, 10, 20, 30]
        for gap, requests in ((0, 3), (4, 3), (5, 2)):
            with proxy.counting() as seen:
                found = fs.cat_ranges(paths, starts, ends, max_gap=gap)
            assert found == [CONTENT[:10], CONTENT[::-1][:10], CONTENT[10:20], CONTENT[25:30]]
            assert len(seen) == requests

    def test_every_kind_of_range(self, fs: RegistryFileSystem) -> None:
        ranges = [(0, 10), (None, 5), (5, None), (-7, None), (-9, -2), (10, 10), (20, 10), (299_990, 400_000)]
        ranges += [(400_000, 400_010), (0, 10), (3, 3)]
        found = fs.cat_ranges(["/a"] * len(ranges), [r[0] for r in ranges], [r[1] for r in ranges])
        assert found == [CONTENT[start:stop] for start, stop in ranges]

    def test_one_bound_for_all(self, fs: RegistryFileSystem) -> None:
        assert fs.cat_ranges(["/a", "/b"], 2, 5) == [CONTENT[2:5], CONTENT[::-1][2:5]]
        assert fs.cat_ranges([], [], []) == []

    def test_errors_stand_in_their_place_or_are_raised(self, fs: RegistryFileSystem, raw: Place) -> None:
        paths = ["/a", "/missing", "/missing", "/b"]
        found = fs.cat_ranges(paths, [0, 0, 5, 0], 10)
        assert [isinstance(item, FileNotFoundError) for item in found] == [False, True, True, False]
        assert f"regfs://{raw.bucket}/missing" in str(found[1])
        with pytest.raises(FileNotFoundError):
            fs.cat_ranges(paths, [0, 0, 5, 0], 10, on_error="raise")

    def test_bad_input(self, fs: RegistryFileSystem) -> None:
        with pytest.raises(TypeError):
            fs.cat_ranges("/a", [0], [1])
        with pytest.raises(ValueError, match="length"):
            fs.cat_ranges(["/a"], [0, 1], [1])


class TestParquet:
    """Reads of a column, counted beside s3fs on the same file: no more requests, hardly more bytes."""

    ROWS = 1_000_000

    def cost(
        self, proxy: CountingProxy, fs: Any, path: str, columns: list[str] | None, pre_buffer: bool
    ) -> tuple[int, int, Any]:
        import pyarrow.parquet as pq

        with proxy.counting() as seen, fs.open(path, "rb") as file:
            # In one thread: with more the order of the reads is chance, and so are the counts, for s3fs too.
            table = pq.ParquetFile(file, pre_buffer=pre_buffer).read(columns=columns, use_threads=False)
        gets = [request for request in seen if request.method == "GET"]
        asked = 0
        for request in gets:
            start, _, stop = request.headers["range"].removeprefix("bytes=").partition("-")
            asked += int(stop) + 1 - int(start)
        return len(seen), asked, table

    @pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)
    @pytest.mark.parametrize("pre_buffer", [False, True])
    def test_columns(
        self, proxied_options: dict[str, Any], proxy: CountingProxy, raw: Place, pre_buffer: bool
    ) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        rng = random.Random(0)
        table = pa.table(
            {
                "small": pa.array([n % 7 for n in range(self.ROWS)], pa.int8()),
                "large": pa.array([rng.random() for _ in range(self.ROWS)]),
                "text": pa.array([f"row {n % 1000}" for n in range(self.ROWS)]),
                "noise": pa.array([rng.randbytes(8) for _ in range(self.ROWS)]),
            }
        )
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, row_group_size=250_000)
        content = sink.getvalue().to_pybytes()
        raw.put("table.parquet", content)
        theirs = s3fs.S3FileSystem(
            key=proxied_options["accesskey"],
            secret=proxied_options["secretkey"],
            endpoint_url=proxy.endpoint,
            skip_instance_cache=True,
        )
        ours = RegistryFileSystem(**proxied_options)
        full = f"{raw.bucket}/{raw.prefix}table.parquet"
        for columns in (["small"], ["large"], ["noise"], ["small", "text"], ["small", "noise"], None):
            requests, asked, got = self.cost(proxy, ours, "/table.parquet", columns, pre_buffer)
            their_requests, their_bytes, expected = self.cost(proxy, theirs, full, columns, pre_buffer)
            assert got.equals(expected)
            assert requests <= their_requests, columns
            assert asked <= their_bytes + 64 * 1024, columns


class TestJumps:
    """An open file that is read here and there."""

    LARGE = 6 * 2**20

    @pytest.fixture
    def large(self, raw: Place) -> bytes:
        content = random.Random(1).randbytes(self.LARGE)
        raw.put("large", content)
        return content

    def test_forward_is_one_response(
        self, fs: RegistryFileSystem, proxy: CountingProxy, large: bytes
    ) -> None:
        with proxy.counting() as seen, fs.open("/large") as file:
            for at in [*range(100_000, self.LARGE, 500_000), 2_000_000]:  # back to what it has passed, too
                file.seek(at)
                assert file.read(1000) == large[at : at + 1000]
        assert len(seen) == 2

    def test_here_and_there_asks_for_little(
        self, fs: RegistryFileSystem, proxy: CountingProxy, large: bytes
    ) -> None:
        with proxy.counting() as seen, fs.open("/large") as file:
            for at in range(5_000_000, 100_000, -300_000):
                file.seek(at)
                assert file.read(1000) == large[at : at + 1000]
        spans = []
        for request in seen:
            start, _, stop = request.headers["range"].removeprefix("bytes=").partition("-")
            spans.append(int(stop) + 1 - int(start))
        assert len(spans) == 1 + 17
        assert max(spans[4:]) == 64 * 1024

    def test_every_way_about(self, fs: RegistryFileSystem, large: bytes) -> None:
        rng = random.Random(2)
        with fs.open("/large") as file:
            for _ in range(150):
                at, count = rng.randrange(self.LARGE + 1000), rng.choice([0, 1, 1000, 100_000, 2_000_000])
                file.seek(at)
                assert file.read(count) == large[at : at + count]
                assert file.tell() == max(at, min(at + count, self.LARGE))


class _Opened:
    """Stands for a response, on a content in memory; breaks when told to."""

    def __init__(self, start: int, stop: int) -> None:
        self.at, self.stop = start, stop


class TestStream:
    """The cache alone, with smaller limits, on 64 MiB of which every byte tells its place."""

    AHEAD, KEPT = 5 * 2**20, 16 * 2**20
    SIZE = 64 * 2**20
    CONTENT = np.arange(SIZE // 4, dtype=np.uint32).tobytes()

    def cache(self, opened: list[tuple[int, int]], broken: list[bool]) -> StreamCache:
        def open_body(start: int, stop: int) -> Any:
            opened.append((start, stop))
            return _Opened(start, stop)

        def read_body(body: Any, n: int) -> bytes:
            n = min(n, body.stop - body.at)
            body.at += n if not broken else n // 2
            if broken:
                raise ConnectionResetError(broken.pop())
            return self.CONTENT[body.at - n : body.at]

        return StreamCache(self.SIZE, self.CONTENT[:FIRST_BLOCK], open_body, read_body, lambda body: None)

    @pytest.fixture(autouse=True)
    def smaller(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(stream, "AHEAD", self.AHEAD)
        monkeypatch.setattr(stream, "KEPT", self.KEPT)

    @pytest.mark.parametrize("seed", range(10))
    def test_every_way_about(self, seed: int) -> None:
        rng = random.Random(seed)
        broken: list[bool] = []
        cache = self.cache([], broken)
        at = 0
        for _ in range(400):
            way = rng.random()
            if way < 0.2:
                at = rng.randrange(self.SIZE + 10)
            elif way < 0.5:
                at = max(0, at + rng.randrange(-3_000_000, 6_000_000))
            stop = at + rng.choice([0, 1, 1000, 70_000, 3_000_000, 9_000_000])
            if rng.random() < 0.05 and not broken:
                broken.append(True)
            try:
                assert cache._fetch(at, stop) == self.CONTENT[at:stop]
            except ConnectionResetError:
                assert cache._fetch(at, stop) == self.CONTENT[at:stop]
            at = stop
        assert sum(len(piece) for _, piece in cache._pieces) <= self.KEPT + 9_000_000

    def test_sequential_is_one_response_and_keeps_little(self) -> None:
        opened: list[tuple[int, int]] = []
        cache = self.cache(opened, [])
        for at in range(0, self.SIZE, 100_000):
            assert cache._fetch(at, at + 100_000) == self.CONTENT[at : at + 100_000]
            assert sum(len(piece) for _, piece in cache._pieces) <= 3 * 2**20
            if at > 500_000:  # and steps back
                assert cache._fetch(at - 500_000, at) == self.CONTENT[at - 500_000 : at]
        assert opened == [(FIRST_BLOCK, self.SIZE)]

    def test_never_more_requests_than_by_reading_ahead(self) -> None:
        # Parquet's way: column by column through the row groups, each group behind the one before.
        columns = [0, 5_000, 2_000_000, 2_050_000]  # where each begins in its group
        for wanted in ([0], [1], [2], [0, 2], [0, 1, 2], [1, 0], [2, 0]):
            opened: list[tuple[int, int]] = []
            cache = self.cache(opened, [])
            theirs: list[tuple[int, int]] = []
            other = ReadAheadCache(
                self.AHEAD, lambda a, b, t=theirs: t.append((a, b)) or self.CONTENT[a:b], self.SIZE
            )
            for column in wanted:
                for group in range(4, 50_000_000, 5_500_000):
                    start, stop = group + columns[column], group + columns[column + 1]
                    assert cache._fetch(start, stop) == other._fetch(start, stop)
            assert len(opened) <= len(theirs)
            cost = [sum(b - a for a, b in spans) for spans in (opened, theirs)]
            assert cost[0] <= cost[1] + FIRST_BLOCK, (wanted, opened, theirs)
