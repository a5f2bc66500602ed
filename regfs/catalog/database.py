"""The check whether a registry keeps its metadata in a database, which makes the bucket's links unreliable.

GitLab's registry does (since 17.3; the default of new installations since 19.0): manifests, tags and links
are in PostgreSQL. The bucket holds the blobs, and at best the links from before an import. A lock file
declares it: https://docs.gitlab.com/administration/packages/container_registry_metadata_database/. The file
can be missing nevertheless (gitlab-org/container-registry#1776), and for the same reason the file
"filesystem-in-use" proves nothing, so :mod:`regfs.catalog.guards` does not rely on lock files alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regfs.layout import DATABASE_LOCK
from regfs.parameters.notices import warn
from regfs.s3.failures import lacks_permission

if TYPE_CHECKING:
    from regfs.catalog.source import Source


class MetadataDatabaseWarning(UserWarning):
    """The registry keeps its metadata in a database: the bucket is incomplete or out of date."""


def database_in_use(source: Source) -> bool | None:
    """Return whether GitLab's lock file says that the metadata is in a database. Costs one HEAD.

    Parameters
    ----------
    source : Source
        The registry's storage.

    Returns
    -------
    bool or None
        None if the credentials do not allow reading the lock file.

    Raises
    ------
    PermissionError
        The service rejects the credentials.
    OSError
        The request failed for another reason.
    """
    try:
        return locked(source)
    except PermissionError as exc:
        if not lacks_permission(exc):  # rejected credentials can read nothing else either
            raise
        return None


def locked(source: Source) -> bool:
    """Return whether the lock file exists. Costs one HEAD, and a listing if that is denied.

    Raises
    ------
    PermissionError
        The credentials allow neither reading nor listing the lock file.
    OSError
        The request failed for another reason.
    """
    try:
        return source.is_file(DATABASE_LOCK)
    except PermissionError:
        # S3 also denies HEAD of a missing object to credentials that may list only some prefixes.
        directory = DATABASE_LOCK.rpartition("/")[0]
        return any(entry.path == DATABASE_LOCK for page in source.pages(directory) for entry in page)


def notice(source: Source, in_use: bool | None) -> str:
    """Return a line that warns that the bucket is incomplete; empty if it is complete.

    Parameters
    ----------
    source : Source
        The registry's storage.
    in_use : bool or None
        The result of :func:`database_in_use`.
    """
    file = source.url(DATABASE_LOCK)
    if in_use is None:
        return f"{file}: access denied, so it is unknown whether the registry's metadata is in a database"
    if in_use:
        return (
            f"{file}: this registry's metadata is in a database (GitLab's registry); the repositories, tags "
            "and manifests in the bucket are incomplete and may be out of date"
        )
    return ""


def warn_readers(source: Source, in_use: bool | None) -> None:
    """Log the notice, if any, and emit it as a :class:`MetadataDatabaseWarning`."""
    if text := notice(source, in_use):
        warn(text, MetadataDatabaseWarning)
