"""Which bucket a command is about: a URL, options, a registry's ``config.yml``, the environment.

Nothing is opened before a verb asks for it.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from regfs.cli.errors import Refusal
from regfs.paths import PROTOCOL, split_url
from regfs.values import ParameterError, boolean

if TYPE_CHECKING:
    from regfs.driver import StorageDriver
    from regfs.filesystem import RegistryFileSystem

_VARIABLES = ("REGISTRY_STORAGE_S3_", "REGISTRY_STORAGE_S3AWS_")


def is_remote(path: str) -> bool:
    """Tell whether a path of ``cp`` or ``mv`` lies in a bucket: there it always begins with ``regfs:``."""
    return path.startswith(f"{PROTOCOL}:")


def split(path: str) -> tuple[str, str]:
    """Split a remote path into bucket, perhaps "", and driver path.

    Raises
    ------
    Refusal
        It is a URL of another kind, or one slash is missing.
    """
    scheme, colon, rest = path.partition(":")
    if colon and "/" not in scheme and (rest.startswith("//") or scheme == PROTOCOL):
        if scheme != PROTOCOL:
            raise Refusal(f"{path}: is no {PROTOCOL}:// URL")
        if not rest.startswith("//"):
            raise Refusal(
                f"{path}: write {PROTOCOL}://BUCKET/path, or {PROTOCOL}:///path with -o or --config"
            )
    return split_url(path)


def _of_environment() -> dict[str, Any]:
    """Give the parameters that the registry's variables set where there is no ``config.yml``."""
    if not any(name.startswith(_VARIABLES) and os.environ[name] for name in os.environ):
        return {}
    from regfs import config

    found = config.read(io.StringIO(""), os.environ)
    return {key: value for key, (value, _) in found.items() if value is not None}


@dataclass(frozen=True)
class Place:
    """What the command line says of the place.

    Attributes
    ----------
    config : str or None
        A registry's ``config.yml``.
    given : mapping of str to str
        Storage parameters by the registry's spelling. They may be secrets and appear in no text.
    """

    config: str | None
    given: Mapping[str, str] = field(repr=False)

    def options(self, bucket: str = "") -> dict[str, Any]:
        """Give the storage options of the filesystem, of another bucket if that is named.

        Raises
        ------
        Refusal
            The URL and ``-o bucket=`` name different buckets.
        """
        options: dict[str, Any] = dict(self.given)
        if bucket and options.get("bucket", bucket) != bucket:
            raise Refusal(
                f"the URL names the bucket {bucket!r}, but -o bucket={options['bucket']!r}; name one"
            )
        if bucket:
            options["bucket"] = bucket
        if "anon" in options:
            try:
                options["anon"] = boolean(options["anon"])
            except ValueError as exc:
                raise Refusal(f"anon: {options['anon']!r} {exc}") from exc
        if self.config is not None:
            options["config"] = self.config  # which the environment overrides by itself
            return options
        return {**_of_environment(), **options}

    def filesystem(self, bucket: str = "") -> RegistryFileSystem:
        """Open the filesystem; no connection is made yet."""
        from regfs.filesystem import RegistryFileSystem

        try:
            return RegistryFileSystem(**self.options(bucket))
        except ParameterError as exc:
            if exc.key == "bucket" and not exc.value:
                ways = f"a URL {PROTOCOL}://BUCKET/..., -o bucket=BUCKET, or --config FILE"
                raise Refusal(f"bucket: is required; give {ways}") from exc
            raise

    def open(self, path: str) -> tuple[RegistryFileSystem, str]:
        """Give the filesystem of a remote path, and its driver path there."""
        bucket, within = split(path)
        return self.filesystem(bucket), within

    def driver(self, bucket: str = "") -> StorageDriver:
        """Open the storage driver; no connection is made yet."""
        from regfs.driver import StorageDriver

        return StorageDriver(self.filesystem(bucket))
