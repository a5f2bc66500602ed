"""A registry's bucket as tables: pandas DataFrames, dask DataFrames, Parquet files.

``Frames`` builds them in one process, ``DaskFrames`` in many. Both have the same columns and dtypes, which
`SCHEMAS` defines and the attributes' docstrings describe. Importing this package imports neither pandas nor
dask.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from regfs.frames.schemas import FILES, SCHEMAS, Column, Schema

if TYPE_CHECKING:
    from regfs.frames.distributed import DaskFrames
    from regfs.frames.tables import Frames

__all__ = ["FILES", "SCHEMAS", "Column", "DaskFrames", "Frames", "Schema"]

_MODULES = {"DaskFrames": "distributed", "Frames": "tables"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'regfs.frames' has no attribute {name!r}")
    return getattr(importlib.import_module(f"regfs.frames.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
