"""pyarrow's filesystem over regfs, for paths with and without a leading slash."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyarrow.fs import FSSpecHandler

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem
    from typing_extensions import Self


class RegistryHandler(FSSpecHandler):
    """The handler that pyarrow calls. pyarrow compares listings with its own path as text."""

    fs: AbstractFileSystem

    def __reduce__(self) -> tuple[type[Self], tuple[AbstractFileSystem]]:
        return type(self), (self.fs,)

    def normalize_path(self, path: str) -> str:
        """Return a path as listings have it."""
        return "/" + path.strip("/")
