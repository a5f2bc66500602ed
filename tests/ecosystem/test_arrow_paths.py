"""pyarrow over `fs.arrow()`: datasets with and without a leading slash; what polars can do."""

from __future__ import annotations

import pickle
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs
import pyarrow.parquet as pq
import pytest

from regfs import RegistryFileSystem

pytestmark = pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)
TABLE = pa.table({"day": ["mon", "tue"], "pulls": [5, 7]})


@pytest.mark.parametrize("path", ["reports/days", "/reports/days", "reports/days/"])
def test_a_dataset(options: dict[str, Any], path: str) -> None:
    fs = RegistryFileSystem(**options)
    arrow = pickle.loads(pickle.dumps(fs.arrow()))
    ds.write_dataset(
        TABLE, path, filesystem=arrow, format="parquet", partitioning=["day"], partitioning_flavor="hive"
    )
    assert fs.ls("/reports/days", detail=False) == ["/reports/days/day=mon", "/reports/days/day=tue"]
    dataset = ds.dataset(path, filesystem=arrow, partitioning="hive")
    assert dataset.to_table(columns=["day", "pulls"]).sort_by("day").equals(TABLE)
    assert pq.read_table(path, filesystem=arrow).num_rows == 2
    assert pl.scan_pyarrow_dataset(dataset).select(pl.col("pulls").sum()).collect().item() == 12


def test_polars_takes_a_url_for_a_local_file(options: dict[str, Any]) -> None:
    fs = RegistryFileSystem(**options)
    pq.write_table(TABLE, "a.parquet", filesystem=fs.arrow())
    with fs.open("/a.parquet") as file:
        assert pl.read_parquet(file)["pulls"].sum() == 12
    with pytest.raises(FileNotFoundError, match="No such file or directory"):
        pl.scan_parquet(f"regfs://{options['bucket']}/a.parquet").collect()


def test_a_path_that_pyarrow_would_compare(options: dict[str, Any]) -> None:
    fs = RegistryFileSystem(**options)
    fs.pipe("/a/b", b"x")
    arrow = fs.arrow()
    (info,) = arrow.get_file_info(pyarrow.fs.FileSelector(arrow.normalize_path("a")))
    assert info.path == "/a/b"
    assert arrow.open_input_file("a/b").read() == b"x"
