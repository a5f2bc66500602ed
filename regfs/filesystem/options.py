"""How a filesystem is made of options, URLs, a configuration file or the environment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fsspec.asyn import AsyncFileSystem
from fsspec.config import apply_config

from regfs.parameters.table import Options, resolve

FSSPEC_OPTIONS = frozenset({"use_listings_cache", "listings_expiry_time", "max_paths", "skip_instance_cache"})
"""fsspec's own options that are accepted and have no effect on what is read."""
_FACE_OPTIONS = {"anon", "asynchronous", "loop", "batch_size"} | FSSPEC_OPTIONS
"""The options that are no parameters of the registry's."""


class FileSystemOptions(Options, total=False):
    """The registry's parameters, and fsspec's options beside the explicit ones."""

    use_listings_cache: bool
    listings_expiry_time: float | None
    max_paths: int | None
    skip_instance_cache: bool


class UrlBucket(str):
    """A bucket named in a URL. fsspec compares it with the storage option of the same name."""

    __slots__ = ()

    def __ne__(self, other: object) -> bool:
        if str.__ne__(self, other):
            raise ValueError(f"bucket: the URL names {str(self)!r} but the option bucket is {other!r}")
        return False

    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return str.__eq__(self, other)

    def __reduce__(self) -> tuple[Any, ...]:
        return str, (str(self),)


if TYPE_CHECKING:
    Resolving = type  # so that checkers take the signature of calls from __init__
else:

    class Resolving(type(AsyncFileSystem)):
        """Replaces a configuration file's name and the environment by the parameters that they mean.

        fsspec caches and pickles an instance by its options. These must mean the same bucket after the file
        or the environment has changed, and on a worker that has neither.
        """

        def __call__(cls, *args: Any, **kwargs: Any) -> Any:
            """Return the instance that the parameters mean."""
            default: dict[str, Any] = apply_config(cls, {})
            options = {**default, **kwargs}
            face_options = {name: value for name, value in options.items() if name in _FACE_OPTIONS}
            config = options.pop("config", None)
            parameters = {name: value for name, value in options.items() if name not in face_options}
            # None keeps fsspec from adding its configuration once more.
            return super().__call__(
                *args, **{**dict.fromkeys(default), **face_options, **resolve(parameters, config)}
            )
