"""Which bucket a command is about: a URL, options, a registry's ``config.yml``, the environment.

Nothing is opened before a verb asks for it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from regfs.cli.errors import Refusal
from regfs.parameters.values import ParameterError, boolean
from regfs.paths import PROTOCOL, split_url, without_user

if TYPE_CHECKING:
    from regfs.driver.driver import StorageDriver
    from regfs.filesystem.spec import RegistryFileSystem


def is_remote(path: str) -> bool:
    """Return whether a path of ``cp`` or ``mv`` lies in a bucket: there it always begins with ``regfs:``."""
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
            raise Refusal(f"{without_user(path)}: is no {PROTOCOL}:// URL")
        if not rest.startswith("//"):
            raise Refusal(
                f"{without_user(path)}: write {PROTOCOL}://BUCKET/path, "
                f"or {PROTOCOL}:///path with -o or --config"
            )
    return split_url(path)


def located(fs: RegistryFileSystem, *others: RegistryFileSystem) -> str:
    """Return the place of a filesystem: bucket, root directory, and endpoint or region.

    Parameters
    ----------
    fs : RegistryFileSystem
        The filesystem.
    *others : RegistryFileSystem
        More of the same parameters, perhaps of other buckets.
    """
    buckets = list(dict.fromkeys(item.space.bucket for item in (fs, *others)))
    p = fs.parameters
    return (
        f"bucket{'s' * (len(buckets) > 1)} {', '.join(buckets)}, root directory {p.root_directory or '/'}, "
        + (f"endpoint {p.endpoint_url}" if p.endpoint_url else f"region {p.region}")
    )


def place_url(fs: RegistryFileSystem) -> str:
    """Return the URL of a filesystem's root, with root directory and endpoint; no secret."""
    parameters = fs.parameters
    distinctions = {
        "rootdirectory": parameters.root_directory.rstrip("/"),
        "regionendpoint": parameters.endpoint_url,
    }
    query = urlencode({name: value for name, value in distinctions.items() if value}, safe="/:[]")
    return f"{PROTOCOL}://{fs.space.bucket}/" + (f"?{query}" if query else "")


def _of_environment() -> dict[str, Any]:
    """Return the parameters that the registry's variables set where there is no ``config.yml``."""
    from regfs.parameters import config

    if not config.in_environment(os.environ):
        return {}
    parameters = config.read(None, os.environ)
    return {key: value for key, (value, _) in parameters.items() if value is not None}


@dataclass(frozen=True)
class Place:
    """The place that the command line names.

    Attributes
    ----------
    config : str or None
        A registry's ``config.yml``.
    given : mapping of str to str
        Storage parameters by the registry's spelling. They may be secrets and appear in no text.
    """

    config: str | None
    given: Mapping[str, str] = field(repr=False)
    _opened: list[RegistryFileSystem] = field(default_factory=list, repr=False, compare=False)

    def opened(self) -> list[str]:
        """Return the URLs of the places that were opened, each once and without secrets."""
        return list(dict.fromkeys(map(place_url, self._opened)))

    def beside(self, config: str | None, given: Mapping[str, str]) -> Place:
        """Return another place of the same command, whose filesystems count as opened here, too."""
        return Place(config, given, self._opened)

    def options(self, bucket: str = "") -> dict[str, Any]:
        """Return the storage options of the filesystem, of another bucket if that is named.

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
        from regfs.parameters.table import canonical

        return {**canonical(_of_environment()), **canonical(options)}

    def filesystem(self, bucket: str = "") -> RegistryFileSystem:
        """Open the filesystem; no connection is made yet."""
        from regfs.filesystem.spec import RegistryFileSystem

        options = self.options(bucket)
        try:
            fs = RegistryFileSystem(**options)
        except ParameterError as exc:
            if exc.key == "region" and not exc.value and not options.keys() - {"bucket"}:
                ways = "--config FILE or -o KEY=VALUE, or set REGFS_CONFIG or REGISTRY_STORAGE_S3_<KEY>"
                raise Refusal(f"region: is required, and no options are given; give {ways}") from exc
            if exc.key == "bucket" and not exc.value:
                ways = f"a URL {PROTOCOL}://BUCKET/..., -o bucket=BUCKET, or --config FILE"
                raise Refusal(f"bucket: is required; give {ways}") from exc
            raise
        self._opened.append(fs)
        return fs

    def open(self, path: str) -> tuple[RegistryFileSystem, str]:
        """Return the filesystem of a remote path, and its driver path there."""
        bucket, within = split(path)
        return self.filesystem(bucket), within

    def driver(self, bucket: str = "") -> StorageDriver:
        """Open the storage driver; no connection is made yet."""
        from regfs.driver.driver import StorageDriver

        return StorageDriver(self.filesystem(bucket))
