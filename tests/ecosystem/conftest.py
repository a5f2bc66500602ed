"""What of the ecosystem's tests is not run yet."""

from __future__ import annotations

# Unfinished: 20 of their 717 tests fail on differences that are still to be mended or told of in the README,
# and dask, polars and duckdb are not in the extra `test` yet.
collect_ignore = ["test_dask.py", "test_pandas.py", "test_parity.py", "test_urls.py"]
