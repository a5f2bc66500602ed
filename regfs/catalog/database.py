"""Whether a registry keeps its metadata in a database, so that the links in its bucket are not the truth.

GitLab's registry does (since 17.3, the default of new installations since 19.0): manifests, tags and links
are in PostgreSQL, and the bucket holds the blobs, with links of the time before an import at best. A lock
file says so: https://docs.gitlab.com/administration/packages/container_registry_metadata_database/. It can
be missing all the same (gitlab-org/container-registry#1776), and "filesystem-in-use" beside it proves
nothing for the same reason; so :mod:`regfs.catalog.guards` does not rely on lock files alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regfs.layout import DATABASE_LOCK
from regfs.parameters.notices import warn
from regfs.s3.failures import lacks_permission

if TYPE_CHECKING:
    from regfs.catalog.source import Source


class MetadataDatabaseWarning(UserWarning):
    """The registry keeps its metadata in a database: what the bucket shows is not all, or no longer true."""


def database_in_use(source: Source) -> bool | None:
    """Return whether GitLab's lock file says that the metadata is in a database. Costs one HEAD.

    Parameters
    ----------
    source : Source
        Where the registry is.

    Returns
    -------
    bool or None
        None if the credentials do not allow to find out.

    Raises
    ------
    PermissionError
        The service does not accept the credentials.
    OSError
        The request failed otherwise.
    """
    try:
        return locked(source)
    except PermissionError as exc:
        if not lacks_permission(exc):  # so nothing else can be read either, and that is what to say
            raise
        return None


def locked(source: Source) -> bool:
    """Return whether the lock file is there. Costs one HEAD.

    Raises
    ------
    PermissionError
        The credentials do not allow to find out.
    OSError
        The request failed otherwise.
    """
    try:
        return source.is_file(DATABASE_LOCK)
    except PermissionError:
        # What is missing is denied, too, to whoever may list some prefixes alone.
        directory = DATABASE_LOCK.rpartition("/")[0]
        return any(entry.path == DATABASE_LOCK for page in source.pages(directory) for entry in page)


def notice(source: Source, in_use: bool | None) -> str:
    """Return the line that warns readers of what this registry's bucket does not show; empty if nothing.

    Parameters
    ----------
    source : Source
        Where the registry is.
    in_use : bool or None
        The answer of :func:`database_in_use`.
    """
    file = source.url(DATABASE_LOCK)
    if in_use is None:
        return f"{file}: access denied, so it is unknown whether the registry's metadata is in a database"
    if in_use:
        return (
            f"{file}: this registry's metadata is in a database (GitLab's registry); what the bucket shows "
            "of repositories, tags and manifests is not all, and may be out of date"
        )
    return ""


def warn_readers(source: Source, in_use: bool | None) -> None:
    """Log the notice, and show it as a :class:`MetadataDatabaseWarning`, if there is one."""
    if text := notice(source, in_use):
        warn(text, MetadataDatabaseWarning)
