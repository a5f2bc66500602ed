"""What somebody with a table tries first: pandas with a URL and ``storage_options``."""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from regfs import ParameterError, RegistryFileSystem

if TYPE_CHECKING:
    from support.servers import Place

READERS: dict[str, Callable[..., Any]] = {
    "read_csv": pd.read_csv,
    "read_json": pd.read_json,
    "read_parquet": pd.read_parquet,
    "read_pickle": pd.read_pickle,
}
ON_SEAWEEDFS = pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)  # moto refuses nobody


@pytest.fixture
def table() -> pd.DataFrame:
    """A table with a column of each everyday kind."""
    frame: pd.DataFrame = pd.DataFrame(
        {
            "tag": ["1.0", "zwölf", 'a "quoted", one'],
            "pulls": [12, 34, 56],
            "share": [0.5, 0.25, 0.25],
            "official": [True, False, True],
        }
    )
    return frame


@pytest.fixture
def base(options: dict[str, Any]) -> str:
    """What the URLs begin with; the bucket is in it and in the options."""
    return f"regfs://{options['bucket']}"


class TestFormats:
    def test_csv(self, table: pd.DataFrame, base: str, options: dict[str, Any], raw: Place) -> None:
        url = f"{base}/reports/pulls.csv"
        table.to_csv(url, index=False, storage_options=options)
        assert raw.get("reports/pulls.csv") == table.to_csv(index=False).encode()
        read = pd.read_csv(url, dtype={"tag": str}, storage_options=options)
        pd.testing.assert_frame_equal(read, table)

    def test_the_bucket_of_the_url_is_enough(
        self, table: pd.DataFrame, base: str, options: dict[str, Any]
    ) -> None:
        rest = {k: v for k, v in options.items() if k != "bucket"}
        table.to_csv(f"{base}/x.csv", index=False, storage_options=rest)
        for url in (f"{base}/x.csv", "regfs:///x.csv"):
            read = pd.read_csv(url, dtype={"tag": str}, storage_options=options)
            pd.testing.assert_frame_equal(read, table)

    def test_csv_in_chunks(self, base: str, options: dict[str, Any], raw: Place) -> None:
        raw.put("x.csv", b"n\n" + b"".join(b"%d\n" % i for i in range(50_000)))
        with pd.read_csv(f"{base}/x.csv", chunksize=20_000, storage_options=options) as chunks:
            assert [len(chunk) for chunk in chunks] == [20_000, 20_000, 10_000]
        first = pd.read_csv(f"{base}/x.csv", nrows=3, storage_options=options)
        assert list(first["n"]) == [0, 1, 2]

    # In "utf-16" pandas' own wrapper writes no mark to a file that cannot seek, and misses it when it reads.
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16-le", "latin-1"])
    def test_csv_in_an_encoding(
        self, table: pd.DataFrame, base: str, options: dict[str, Any], encoding: str
    ) -> None:
        table.to_csv(f"{base}/x.csv", index=False, encoding=encoding, storage_options=options)
        read = pd.read_csv(f"{base}/x.csv", dtype={"tag": str}, encoding=encoding, storage_options=options)
        pd.testing.assert_frame_equal(read, table)

    def test_json_lines(self, table: pd.DataFrame, base: str, options: dict[str, Any], raw: Place) -> None:
        url = f"{base}/reports/pulls.jsonl"
        table.to_json(url, orient="records", lines=True, storage_options=options)
        assert raw.get("reports/pulls.jsonl").count(b"\n") == len(table)
        read = pd.read_json(url, lines=True, dtype={"tag": str}, storage_options=options)
        pd.testing.assert_frame_equal(read, table)

    @pytest.mark.parametrize("compression", ["snappy", "zstd", None])
    def test_parquet(
        self,
        table: pd.DataFrame,
        base: str,
        options: dict[str, Any],
        raw: Place,
        compression: Any,
    ) -> None:
        url = f"{base}/reports/pulls.parquet"
        table.to_parquet(url, compression=compression, storage_options=options)
        assert raw.keys() == ["reports/pulls.parquet"]
        pd.testing.assert_frame_equal(pd.read_parquet(url, storage_options=options), table)
        column = pd.read_parquet(url, columns=["pulls"], storage_options=options)
        pd.testing.assert_frame_equal(column, table[["pulls"]])

    def test_parquet_through_an_open_file(
        self, table: pd.DataFrame, options: dict[str, Any], raw: Place
    ) -> None:
        fs = RegistryFileSystem(**options)
        with fs.open("/x.parquet", "wb") as file:
            table.to_parquet(file)
        with fs.open("/x.parquet") as file:
            pd.testing.assert_frame_equal(pd.read_parquet(file), table)
        pd.testing.assert_frame_equal(pd.read_parquet("/x.parquet", filesystem=fs), table)
        assert pq.read_metadata(pa.BufferReader(raw.get("x.parquet"))).num_rows == len(table)

    def test_a_large_parquet_file_is_read_in_parts(self, base: str, options: dict[str, Any]) -> None:
        wide = pd.DataFrame({f"c{i}": range(i, i + 60_000) for i in range(12)})
        url = f"{base}/wide.parquet"
        wide.to_parquet(url, row_group_size=10_000, compression=None, storage_options=options)
        few = pd.read_parquet(url, columns=["c3"], filters=[("c3", ">", 60_000)], storage_options=options)
        assert list(few["c3"]) == [60_001, 60_002]

    def test_a_partitioned_dataset(
        self, table: pd.DataFrame, base: str, options: dict[str, Any], raw: Place
    ) -> None:
        years = table.assign(year=[2024, 2024, 2025])
        url = f"{base}/reports/by-year"
        years.to_parquet(url, partition_cols=["year"], storage_options=options)
        folders = {key.rpartition("/")[0] for key in raw.keys()}
        assert folders == {"reports/by-year/year=2024", "reports/by-year/year=2025"}

        read = pd.read_parquet(url, storage_options=options).sort_values("pulls")
        assert list(read["pulls"]) == [12, 34, 56]
        assert [int(year) for year in read["year"]] == [2024, 2024, 2025]
        late = pd.read_parquet(url, filters=[("year", "==", 2025)], storage_options=options)
        assert list(late["tag"]) == [table["tag"][2]]
        one = pd.read_parquet(f"{url}/year=2025", storage_options=options)
        assert list(one["pulls"]) == [56]

    def test_pickle(self, table: pd.DataFrame, base: str, options: dict[str, Any]) -> None:
        table.to_pickle(f"{base}/x.pkl", storage_options=options)
        read = pd.read_pickle(f"{base}/x.pkl", storage_options=options)
        pd.testing.assert_frame_equal(read, table)

    @pytest.mark.parametrize("name", ["x.csv", "x.jsonl", "x.pkl"])
    @pytest.mark.parametrize(
        ("ending", "unpack"),
        [(".gz", gzip.decompress), (".bz2", bz2.decompress), (".xz", lzma.decompress), (".zip", None)],
    )
    def test_compression_by_file_name(
        self,
        table: pd.DataFrame,
        base: str,
        options: dict[str, Any],
        raw: Place,
        name: str,
        ending: str,
        unpack: Callable[[bytes], bytes] | None,
    ) -> None:
        url = f"{base}/{name}{ending}"
        if name == "x.csv":
            table.to_csv(url, index=False, storage_options=options)
            read = pd.read_csv(url, dtype={"tag": str}, storage_options=options)
        elif name == "x.jsonl":
            table.to_json(url, orient="records", lines=True, storage_options=options)
            read = pd.read_json(url, lines=True, dtype={"tag": str}, storage_options=options)
        else:
            table.to_pickle(url, storage_options=options)
            read = pd.read_pickle(url, storage_options=options)
        pd.testing.assert_frame_equal(read, table)
        stored = raw.get(name + ending)
        if unpack is None:
            assert stored.startswith(b"PK\x03\x04")
        else:
            assert len(unpack(stored)) > 0


class TestNothingThere:
    @pytest.mark.parametrize("reader", READERS)
    def test_a_missing_file_is_named(self, reader: str, base: str, options: dict[str, Any]) -> None:
        url = f"{base}/no/such.file"
        with pytest.raises(FileNotFoundError) as caught:
            READERS[reader](url, storage_options=options)
        if reader == "read_parquet":  # pyarrow drops regfs' error and raises one with the bare path
            assert str(caught.value) == "/no/such.file"
        else:
            assert (caught.value.filename, caught.value.errno) == (url, errno.ENOENT)

    @pytest.mark.parametrize("reader", READERS)
    def test_a_missing_bucket_is_told(self, reader: str, options: dict[str, Any]) -> None:
        elsewhere = {**options, "bucket": "no-such-bucket"}
        # As above: to pyarrow a bucket that is not there is a file that is not there.
        text = "^/x$" if reader == "read_parquet" else "bucket does not exist"
        with pytest.raises(FileNotFoundError, match=text):
            READERS[reader]("regfs:///x", storage_options=elsewhere)

    def test_an_empty_csv_is_pandas_own_error(self, base: str, options: dict[str, Any], raw: Place) -> None:
        raw.put("empty.csv", b"")
        with pytest.raises(pd.errors.EmptyDataError):
            pd.read_csv(f"{base}/empty.csv", storage_options=options)


def without_keys(options: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in options.items() if k not in ("accesskey", "secretkey")}


def with_a_wrong_secret(options: dict[str, Any]) -> dict[str, Any]:
    return {**options, "secretkey": "wrong-secret"}


@ON_SEAWEEDFS
@pytest.mark.parametrize("spoil", [without_keys, with_a_wrong_secret])
class TestNoPermission:
    @pytest.mark.parametrize("reader", READERS)
    @pytest.mark.parametrize("there", [True, False])
    def test_reading(
        self,
        reader: str,
        there: bool,
        base: str,
        options: dict[str, Any],
        raw: Place,
        spoil: Callable[[dict[str, Any]], dict[str, Any]],
    ) -> None:
        if there:
            raw.put("x", b"a\n1\n")
        with pytest.raises(PermissionError, match="regfs://") as caught:
            READERS[reader](f"{base}/x", storage_options=spoil(options))
        assert "wrong-secret" not in str(caught.value)

    def test_reading_a_dataset(
        self,
        base: str,
        options: dict[str, Any],
        table: pd.DataFrame,
        spoil: Callable[[dict[str, Any]], dict[str, Any]],
    ) -> None:
        table.to_parquet(f"{base}/set", partition_cols=["official"], storage_options=options)
        with pytest.raises(PermissionError, match="regfs://"):
            pd.read_parquet(f"{base}/set", storage_options=spoil(options))

    @pytest.mark.parametrize("method", ["to_csv", "to_json", "to_parquet", "to_pickle"])
    def test_writing(
        self,
        method: str,
        base: str,
        options: dict[str, Any],
        raw: Place,
        table: pd.DataFrame,
        spoil: Callable[[dict[str, Any]], dict[str, Any]],
    ) -> None:
        with pytest.raises(PermissionError, match="regfs://"):
            getattr(table, method)(f"{base}/x", storage_options=spoil(options))
        assert raw.keys() == []
        assert raw.uploads() == []

    def test_writing_a_dataset(
        self,
        base: str,
        options: dict[str, Any],
        raw: Place,
        table: pd.DataFrame,
        spoil: Callable[[dict[str, Any]], dict[str, Any]],
    ) -> None:
        with pytest.raises(PermissionError, match="regfs://"):
            table.to_parquet(f"{base}/x", partition_cols=["official"], storage_options=spoil(options))
        assert raw.keys() == []


@ON_SEAWEEDFS
class TestWrongOptions:
    @pytest.mark.parametrize(
        ("wrong", "meant"),
        [("acces_key", "accesskey"), ("chunk_size", "chunksize"), ("region_endpoint", "regionendpoint")],
    )
    def test_an_unknown_option_is_told_with_the_nearest(
        self, wrong: str, meant: str, base: str, options: dict[str, Any], table: pd.DataFrame
    ) -> None:
        bad = {**options, wrong: "x"}
        with pytest.raises(ParameterError, match=f"did you mean '{meant}'"):
            pd.read_csv(f"{base}/x.csv", storage_options=bad)
        with pytest.raises(ValueError, match=f"did you mean '{meant}'"):
            table.to_parquet(f"{base}/x.parquet", storage_options=bad)

    def test_what_s3fs_calls_its_options_is_told(self, base: str, options: dict[str, Any]) -> None:
        for wrong in ("key", "secret", "token", "endpoint_url", "client_kwargs"):
            with pytest.raises(ParameterError, match=wrong):
                pd.read_csv(f"{base}/x.csv", storage_options={**options, wrong: "x"})

    def test_two_buckets_are_told(self, options: dict[str, Any], raw: Place, table: pd.DataFrame) -> None:
        for use in (
            lambda: pd.read_csv("regfs://other/x.csv", storage_options=options),
            lambda: pd.read_parquet("regfs://other/x.parquet", storage_options=options),
            lambda: table.to_csv("regfs://other/x.csv", storage_options=options),
            lambda: table.to_parquet("regfs://other/x.parquet", storage_options=options),
        ):
            with pytest.raises(ValueError, match=f"'other'.*{options['bucket']!r}"):
                use()
        assert raw.keys() == []

    def test_no_bucket_is_told(self, options: dict[str, Any]) -> None:
        rest = {k: v for k, v in options.items() if k != "bucket"}
        with pytest.raises(ParameterError, match="bucket"):
            pd.read_csv("regfs:///x.csv", storage_options=rest)
