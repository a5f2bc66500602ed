"""Pending multipart uploads: what was begun and neither committed nor aborted, and how to be rid of it.

S3 keeps and charges such parts for ever, and shows them in no listing of objects.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from regfs.errors import UploadNotFoundError
from regfs.paths import RECORD_SUFFIX
from regfs.store.transfer import delete_keys, gather

if TYPE_CHECKING:
    from regfs.s3.client import S3Client
    from regfs.s3.objects import UploadInfo


@dataclass(frozen=True, slots=True)
class PendingUpload:
    """A pending upload.

    Attributes
    ----------
    path : str
        The driver path of the file it would become.
    id : str
        The upload's id in S3.
    started : datetime
        When it was begun, aware, UTC.
    parts : int
        Parts uploaded so far.
    bytes : int
        Their size together.
    """

    path: str
    id: str
    started: datetime
    parts: int
    bytes: int


async def find(client: S3Client, older_than: timedelta | float | None) -> list[PendingUpload]:
    """Find the uploads under the root directory that were begun at least so long ago, oldest first.

    Parameters
    ----------
    client : S3Client
        The bucket.
    older_than : timedelta or float, optional
        Age, a number in seconds; all by default.
    """
    age = older_than if isinstance(older_than, timedelta) else timedelta(seconds=older_than or 0)
    before = None if older_than is None else datetime.now(timezone.utc) - age
    found = [
        upload async for upload in client.uploads(client.space.base) if client.space.addressable(upload.key)
    ]
    wanted = sorted(
        (item for item in found if before is None or item.started <= before),
        key=lambda item: (item.started, item.key),
    )

    def look(upload: UploadInfo) -> Callable[[], Awaitable[PendingUpload | None]]:
        async def parts() -> PendingUpload | None:
            try:
                listed = await client.parts(upload.key, upload.id)
            except UploadNotFoundError:
                return None  # committed or aborted since it was listed
            size = sum(part.size for part in listed)
            return PendingUpload(client.space.path(upload.key), upload.id, upload.started, len(listed), size)

        return parts

    return [entry for entry in await gather([look(name) for name in wanted]) if entry]


async def abort(
    client: S3Client,
    entries: Sequence[PendingUpload],
    aborted: Callable[[PendingUpload], object] = lambda _: None,
) -> None:
    """Remove uploads, and the records that belong to them.

    Parameters
    ----------
    client : S3Client
        The bucket.
    entries : sequence of PendingUpload
        The uploads; one that is gone already is no error.
    aborted : callable
        Told of each upload once it has been removed.
    """

    def remove(entry: PendingUpload) -> Callable[[], Awaitable[None]]:
        async def call() -> None:
            await client.abort_upload(client.space.key(entry.path), entry.id)
            aborted(entry)

        return call

    await gather([remove(entry) for entry in entries])
    records = {client.space.key(entry.path) + RECORD_SUFFIX for entry in entries}
    await delete_keys(client, sorted(records))
