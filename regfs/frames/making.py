"""The conversion of rows to DataFrames whose dtypes are always those of a schema."""

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
    """Create a table.

    Parameters
    ----------
    schema : Schema
        The table's schema.
    rows : iterable of sequence
        Values in the order of the columns; None and empty text become NA.
    categories : mapping of str to sequence of str
        The categories of columns whose schema does not fix them; by default the values that occur.
    """
    values_by_column = list(zip(*rows, strict=True)) or [()] * len(schema.columns)
    table: pd.DataFrame = pd.DataFrame(
        {
            column.name: _array(column, values, categories.get(column.name))
            for column, values in zip(schema.columns, values_by_column, strict=True)
        }
    )
    return table


def text(values: Iterable[Any]) -> Any:
    """Create a text column."""
    return pd.array(pa.array([str(value) if value else None for value in values], pa.string()), dtype=TEXT)


def category(values: Iterable[Any], categories: Iterable[str] | None = None) -> Any:
    """Create a categorical column of text."""
    texts = [str(value) if value else None for value in values]
    names = sorted({value for value in texts if value}) if categories is None else categories
    return pd.Categorical(texts, dtype=pd.CategoricalDtype(pd.Index(text(names))))


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
    """Create a column of times from timezone-aware ones in UTC."""
    # Through numpy, as pandas 2 would convert them to nanoseconds, which end in the year 2262.
    naive = [value.replace(tzinfo=None) if value else None for value in values]
    return pd.DatetimeIndex(np.array(naive, dtype="datetime64[us]")).tz_localize("UTC")
