"""The fsspec face of a store."""

from __future__ import annotations

from regfs.filesystem.spec import RegistryFileSystem

__all__ = ["RegistryFileSystem"]
