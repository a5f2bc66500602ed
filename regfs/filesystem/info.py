"""fsspec's info dictionaries of what a store lists."""

from __future__ import annotations

from typing import Any

from regfs.s3.objects import ObjectInfo
from regfs.store.store import Entry

Info = dict[str, Any]


def file_info(path: str, item: ObjectInfo) -> Info:
    """Return the properties of a file."""
    return {
        "name": path,
        "size": item.size,
        "type": "file",
        "mtime": item.modified.timestamp(),  # pyarrow's FileInfo reads it
        "LastModified": item.modified,
        "ETag": item.etag,
        "StorageClass": item.storage_class,
    }


def directory_info(path: str) -> Info:
    """Return the properties of a directory."""
    return {"name": path, "size": 0, "type": "directory", "StorageClass": "DIRECTORY"}


def info_of(entry: Entry) -> Info:
    """Return the properties of a file or directory."""
    return directory_info(entry.path) if entry.object is None else file_info(entry.path, entry.object)
