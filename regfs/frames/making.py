"""Rows to DataFrames, with the dtypes that a schema promises, however many rows there are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from regfs.frames.schemas import CATEGORY, MAYBE, SPAN, TEXT, TIME

try:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
except ImportError as exc:
    raise ImportError('tables need pandas and pyarrow: pip install "regfs[pandas]"') from exc

if TYPE_CHECKING:
    from regfs.frames.schemas import Column, Schema

NO_CATEGORIES: Mapping[str, Sequence[str]] = {}


def frame(
    schema: Schema, rows: Iterable[Sequence[Any]], categories: Mapping[str, Sequence[str]] = NO_CATEGORIES
) -> pd.DataFrame:
    """Make a table.

    Parameters
    ----------
    schema : Schema
        What it shall be.
    rows : iterable of sequence
        Values in the order of the columns; None and empty text are NA.
    categories : mapping of str to sequence of str
        All categories of columns that have no fixed ones, where they are known; else those that occur.
    """
    cells = list(zip(*rows, strict=True)) or [()] * len(schema.columns)
    made: pd.DataFrame = pd.DataFrame(
        {
            column.name: _array(column, values, categories.get(column.name))
            for column, values in zip(schema.columns, cells, strict=True)
        }
    )
    return made


def text(values: Iterable[Any]) -> Any:
    """Make a column of text."""
    return pd.array(pa.array([str(value) if value else None for value in values], pa.string()), dtype=TEXT)


def category(values: Iterable[Any], categories: Iterable[str] | None = None) -> Any:
    """Make a column of text that repeats itself."""
    listed = [str(value) if value else None for value in values]
    names = sorted({item for item in listed if item}) if categories is None else categories
    return pd.Categorical(listed, dtype=pd.CategoricalDtype(pd.Index(text(names))))


def _array(column: Column, values: Sequence[Any], categories: Sequence[str] | None) -> Any:
    if column.dtype == TEXT:
        return text(values)
    if column.dtype == CATEGORY:
        return category(values, column.categories or categories)
    if column.dtype == TIME:
        return times(values)
    if column.dtype == SPAN:
        return np.array(values, dtype="timedelta64[us]")
    if column.dtype == MAYBE:
        return pd.array(list(values), dtype="Int64")
    return np.array(values, dtype=column.dtype)


def times(values: Iterable[datetime | None]) -> Any:
    """Make a column of moments, out of aware ones in UTC."""
    # By way of numpy: pandas 2 would take them as nanoseconds, which do not reach the year 2263.
    naive = [value.replace(tzinfo=None) if value else None for value in values]
    return pd.DatetimeIndex(np.array(naive, dtype="datetime64[us]")).tz_localize("UTC")
