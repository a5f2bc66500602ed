"""Tables as Parquet files, in a local directory or wherever fsspec leads."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import fsspec
import pyarrow as pa
from pyarrow import parquet

from regfs.frames.schemas import SCHEMAS

if TYPE_CHECKING:
    import pandas as pd

    from regfs.frames.schemas import Schema

_ROWS = 2**17
"""Rows of a group; what a reader takes at least."""


def write(
    frames: Iterable[tuple[str, pd.DataFrame]],
    names: Sequence[str],
    directory: str | os.PathLike[str],
    about: Mapping[str, str],
    overwrite: bool,
    storage_options: Mapping[str, Any],
) -> list[str]:
    """Write the files, as :meth:`regfs.frames.Frames.to_parquet` tells.

    Parameters
    ----------
    frames : iterable of (str, DataFrame)
        Names and frames; each is let go once it is written.
    names : sequence of str
        The same names.
    directory, overwrite, storage_options
        As there.
    about : mapping of str to str
        Metadata of each file.
    """
    if unknown := [name for name in names if name not in SCHEMAS]:
        raise KeyError(f"{unknown[0]}: no such frame; there are {', '.join(SCHEMAS)}")
    # An instance of its own: nobody else's files are to be part of the transaction.
    fs, base = fsspec.url_to_fs(os.fspath(directory), skip_instance_cache=True, **storage_options)
    paths = {name: f"{base.rstrip('/')}/{name}.parquet" for name in names}
    if not overwrite:
        for path in paths.values():
            if fs.exists(path):
                told = "it is there already; choose another directory, or overwrite=True"
                raise FileExistsError(errno.EEXIST, told, fs.unstrip_protocol(path))
    fs.makedirs(base, exist_ok=True)
    with fs.transaction:
        for name, frame in frames:
            table = _table(SCHEMAS[name], frame, about)
            with fs.open(paths[name], "wb") as file:
                parquet.write_table(table, file, compression="zstd", row_group_size=_ROWS)
    return list(paths.values())


def _table(schema: Schema, frame: pd.DataFrame, about: Mapping[str, str]) -> pa.Table:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    fields = [
        table.schema.field(column.name).with_metadata({"unit": column.unit, "meaning": column.meaning})
        for column in schema.columns
    ]
    told = {"frame": schema.name, "row": schema.row, **about}
    metadata = {**(table.schema.metadata or {}), **{f"regfs.{key}": value for key, value in told.items()}}
    return table.cast(pa.schema(fields, metadata=metadata))
