"""The contents of a registry's bucket: :class:`Catalog` and the modules that it is built from.

Only :func:`regfs.catalog.orphans.apply` writes. A :mod:`~regfs.catalog.scan` reads a
:mod:`~regfs.catalog.source` once and returns a :mod:`~regfs.catalog.snapshot`, from which everything else is
computed; :mod:`~regfs.catalog.lookup` reads a single image without a scan.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from regfs.catalog.catalog import Catalog

__all__ = ["Catalog"]


def __getattr__(name: str) -> Any:
    """Import `Catalog` on first use: a command about one image starts faster without it."""
    if name != "Catalog":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from regfs.catalog.catalog import Catalog

    return Catalog
