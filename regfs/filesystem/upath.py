"""The path class that universal_pathlib uses for ``regfs://`` URLs; it finds it by an entry point."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from typing import Any

from fsspec import get_filesystem_class
from upath import UPath

from regfs.paths import PROTOCOL, split_url

get_filesystem_class(PROTOCOL)  # universal_pathlib asks classes that are loaded how they read their URLs


class RegistryPath(UPath):
    """A path in a registry's bucket: ``UPath("regfs://bucket/a/b", **storage_options)``.

    Its text is the full URL, bucket included, wherever the bucket was named.

    Raises
    ------
    ValueError
        The URL names another bucket than the options.
    """

    __slots__ = ()

    @classmethod
    def _transform_init_args(
        cls, args: tuple[Any, ...], protocol: str, storage_options: dict[str, Any]
    ) -> tuple[tuple[Any, ...], str, dict[str, Any]]:
        # universal_pathlib lets the option win without a word.
        for arg in args[:1]:
            named, option = split_url(str(arg))[0], storage_options.get("bucket")
            if named and option and named != option:
                raise ValueError(f"bucket: the URL names {named!r} but the option bucket is {option!r}")
        return super()._transform_init_args(args, protocol, storage_options)

    def glob(self, pattern: str, **kwargs: Any) -> Iterator[RegistryPath]:
        """Yield what matches a pattern under this directory, whose own name is no part of the pattern."""
        base = self.absolute()
        if not glob.has_magic(base.path):
            yield from super().glob(pattern, **kwargs)
            return
        for name in self.fs.glob(f"{glob.escape(base.path)}/{pattern}"):
            yield base.with_segments(name)

    def rglob(self, pattern: str, **kwargs: Any) -> Iterator[RegistryPath]:
        """Yield what matches a pattern at any depth under this directory."""
        if glob.has_magic(self.absolute().path):
            return self.glob(f"**/{pattern}", **kwargs)
        return super().rglob(pattern, **kwargs)

    def __str__(self) -> str:
        text = super().__str__()
        bucket = self.storage_options.get("bucket", "")
        short = f"{PROTOCOL}:///"
        return f"{PROTOCOL}://{bucket}/{text[len(short) :]}" if text.startswith(short) else text
