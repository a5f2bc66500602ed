"""regfs: a container registry's S3 bucket as an fsspec filesystem and as the registry's storage driver.

Names are resolved on first use, so that ``import regfs`` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from regfs._version import __version__

if TYPE_CHECKING:
    from regfs.catalog import Catalog
    from regfs.catalog.database import MetadataDatabaseWarning
    from regfs.catalog.guards import MetadataDatabaseError
    from regfs.catalog.lost import LostLinksWarning
    from regfs.catalog.search import NoRegistryError
    from regfs.driver.driver import FileInfo, StorageDriver, create
    from regfs.driver.walk import SkipDir, StopWalk
    from regfs.driver.writer import FileWriter
    from regfs.errors import (
        BucketNotFoundError,
        DigestMismatchError,
        DriverError,
        FileChangedError,
        InvalidOffsetError,
        InvalidPathError,
        PathNotFoundError,
        ThrottledError,
        UnsupportedMethodError,
        UploadNotFoundError,
    )
    from regfs.filesystem.spec import RegistryFileSystem
    from regfs.parameters.goyaml import ConfigurationWarning
    from regfs.parameters.insecure import InsecureWarning
    from regfs.parameters.table import DriverParameters, ParameterError
    from regfs.store.pending import PendingUpload

__all__ = [
    "BucketNotFoundError",
    "Catalog",
    "ConfigurationWarning",
    "DigestMismatchError",
    "DriverError",
    "DriverParameters",
    "FileChangedError",
    "FileInfo",
    "FileWriter",
    "InsecureWarning",
    "InvalidOffsetError",
    "InvalidPathError",
    "LostLinksWarning",
    "MetadataDatabaseError",
    "MetadataDatabaseWarning",
    "NoRegistryError",
    "ParameterError",
    "PathNotFoundError",
    "PendingUpload",
    "RegistryFileSystem",
    "SkipDir",
    "StopWalk",
    "StorageDriver",
    "ThrottledError",
    "UnsupportedMethodError",
    "UploadNotFoundError",
    "__version__",
    "create",
]

_HOMES = {
    "catalog.catalog": ("Catalog",),
    "catalog.database": ("MetadataDatabaseWarning",),
    "catalog.guards": ("MetadataDatabaseError",),
    "catalog.lost": ("LostLinksWarning",),
    "catalog.search": ("NoRegistryError",),
    "driver.driver": ("FileInfo", "StorageDriver", "create"),
    "errors": (
        "BucketNotFoundError",
        "DigestMismatchError",
        "DriverError",
        "FileChangedError",
        "InvalidOffsetError",
        "InvalidPathError",
        "PathNotFoundError",
        "ThrottledError",
        "UnsupportedMethodError",
        "UploadNotFoundError",
    ),
    "filesystem.spec": ("RegistryFileSystem",),
    "parameters.goyaml": ("ConfigurationWarning",),
    "parameters.insecure": ("InsecureWarning",),
    "parameters.table": ("DriverParameters", "ParameterError"),
    "store.pending": ("PendingUpload",),
    "driver.walk": ("SkipDir", "StopWalk"),
    "driver.writer": ("FileWriter",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'regfs' has no attribute {name!r}")
    return getattr(importlib.import_module(f"regfs.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
