"""What a registry's bucket holds, read and reckoned up: :class:`Catalog`, and what it is made with.

Nothing here writes but :func:`regfs.catalog.orphans.apply`. One look goes from :mod:`~regfs.catalog.source`
through :mod:`~regfs.catalog.scan` into a :mod:`~regfs.catalog.snapshot`, of which all else is made;
:mod:`~regfs.catalog.lookup` finds a single image without such a look.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from regfs.catalog.catalog import Catalog

__all__ = ["Catalog"]


def __getattr__(name: str) -> Any:
    """Load `Catalog` on first use, so that a command about one image starts without it."""
    if name != "Catalog":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from regfs.catalog.catalog import Catalog

    return Catalog
