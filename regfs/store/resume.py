"""Uploads that outlive their writer, from what lies in S3 alone.

All bytes that a ``close()`` accepted lie in the parts of one pending multipart upload, numbered from 1
without gaps: the form of the registry's own driver, so either continues what the other began. Two things
cannot be derived from the parts, so a small *record* is kept beside the object as long as they matter:

- The last part may be small, but only the last one, and the parts of an unfinished upload cannot be read.
  So ``close()`` first writes the small part's bytes into the record (*tail*), then uploads the part. A
  later writer takes them from there and uploads that part number again once there is more.
- A writer that continues an object copies it into a new upload. Until all of it is there, the object and not
  the upload holds the truth - the very picture that a fresh writer over an old object leaves, too, where
  it is the other way round. So the record (*base*) is written before the copy begins.

Where a small last part has no record (the registry's own driver left it) or a crash left a gap in the parts,
the upload is completed, as the registry's driver does it, and the object continued.

The record is removed last. Each step is harmless to repeat, so a crash between any two loses nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from regfs.errors import BucketNotFoundError
from regfs.paths import RECORD_SUFFIX
from regfs.store.transfer import delete_keys
from regfs.store.upload import MIN_PART, Upload

if TYPE_CHECKING:
    from regfs.s3.client import S3Client
    from regfs.s3.objects import ObjectInfo, PartInfo


@dataclass(frozen=True)
class Record:
    """The record beside an object that is being written in several sittings.

    Attributes
    ----------
    upload : str
        The upload that the tail belongs to.
    number : int
        The part that the tail lies in; 0 says that this is a base.
    base : int
        Bytes that the object holds and a pending upload must reach before it counts.
    etag : str
        The object's, where it was known when the record was written.
    early : bool
        Whether the object was never committed and is there only to be continued.
    tail : bytes
        The small last part.
    """

    upload: str = ""
    number: int = 0
    base: int = 0
    etag: str = ""
    early: bool = False
    tail: bytes = b""

    @classmethod
    def parse(cls, data: bytes) -> Record:
        """Read a record; what is none counts as an empty one."""
        head, _, tail = data.partition(b"\n")
        try:
            fields = json.loads(head)
            upload, number, base = str(fields["upload"]), int(fields["number"]), int(fields["base"])
            return cls(upload, number, base, str(fields["etag"]), bool(fields["early"]), tail)
        except (ValueError, KeyError, TypeError):
            return cls()

    def __bytes__(self) -> bytes:
        fields = {k: v for k, v in asdict(self).items() if k != "tail"}
        return json.dumps(fields).encode() + b"\n" + self.tail

    def fits(self, info: ObjectInfo) -> bool:
        """Return whether an object is the one that a base record was written for."""
        return info.size == self.base and self.etag in ("", info.etag)


class ResumableUpload:
    """A file that is written in one or several sittings.

    Made by :meth:`open`.

    Attributes
    ----------
    upload : Upload
        Takes the bytes, once :meth:`prepare` has run.
    ready : bool
        Whether it has.
    """

    def __init__(self, client: S3Client, key: str) -> None:
        self._client = client
        self._key = key
        self._record_key = key + RECORD_SUFFIX
        self._record: Record | None = None
        self._object: ObjectInfo | None = None
        self._unusable: tuple[str, list[PartInfo]] | None = None
        self._stale: list[str] = []
        self.upload = Upload(client, key, resumable=True)
        self.ready = False

    @property
    def size(self) -> int:
        """Bytes accepted so far, in all sittings."""
        if self._unusable:
            return sum(part.size for part in self._unusable[1])
        return self._object.size if self._object else self.upload.size

    @classmethod
    async def open(cls, client: S3Client, key: str, append: bool) -> ResumableUpload:
        """Begin a new upload, or find the one to continue. Nothing is written yet.

        Raises
        ------
        FileNotFoundError
            `append`, and there is neither an upload nor an object.
        """
        self = cls(client, key)
        if append:
            await self._find()
        return self

    async def _find(self) -> None:
        pending, self._record = await asyncio.gather(self._pending(), self._read_record())
        if pending:
            record = self._record or Record()
            # The newest counts, by S3's seconds; a record, which the last close() wrote, knows better.
            chosen = record.upload if record.upload in pending else pending[-1]
            await self._find_upload(chosen, record)
            self._stale = [upload for upload in pending if self._object or upload != chosen]
            return
        try:
            self._object = await self._client.head(self._key)
        except BucketNotFoundError:
            raise
        except FileNotFoundError:
            await self._forget()
            raise
        if self._record and (self._record.number or not self._record.fits(self._object)):
            self._record = Record()  # of an upload that was committed; it is removed with the next commit

    async def _find_upload(self, upload: str, record: Record) -> None:
        listed = await self._client.parts(self._key, upload)
        parts = [part for number, part in enumerate(listed, 1) if part.number == number]
        if record.base > sum(part.size for part in parts):
            with contextlib.suppress(FileNotFoundError):
                info = await self._client.head(self._key)
                if record.fits(info):
                    self._object = info  # the copy had not come far enough, so the object is the truth
                    return
        tail = record.number if record.upload == upload else 0
        last = parts[-1] if parts else None
        if len(parts) < len(listed):
            self._unusable = upload, parts
        elif tail == len(parts) + 1:
            self._use(Upload.resumed(self._client, self._key, upload, parts, record.tail))
        elif last and tail == last.number and last.size <= len(record.tail):
            kept = last if last.size == len(record.tail) else None
            self._use(Upload.resumed(self._client, self._key, upload, parts[:-1], record.tail, kept))
        elif last and last.size < MIN_PART:
            self._unusable = upload, parts
        else:
            self._use(Upload.resumed(self._client, self._key, upload, parts))

    def _use(self, upload: Upload) -> None:
        self.upload, self.ready = upload, True

    async def prepare(self) -> None:
        """Make :attr:`upload` take bytes, behind everything there is."""
        if self.ready:
            return
        if self._unusable:
            await self._complete_unusable()
        if self._object:
            info = self._object
            early = self._record is not None and self._record.early
            await self._write_record(Record(base=info.size, etag=info.etag, early=early))
            await self._abort_pending()
            self.upload = Upload(self._client, self._key, like=info, resumable=True)
            await self.upload.begin()
            await self.upload.copy(info, 0, info.size)
            self._object = None
        else:
            await self._abort_pending()  # what an earlier writer left would be continued instead of this
        self.ready = True

    async def _complete_unusable(self) -> None:
        """Complete an upload that cannot be continued into an object that can."""
        assert self._unusable is not None  # noqa: S101 - for the type checker
        upload, parts = self._unusable
        if parts:
            total = sum(part.size for part in parts)
            await self._write_record(Record(base=total, early=True))
            await self._client.complete_upload(self._key, upload, parts)
            self._object = await self._client.head(self._key)
        else:
            await self._client.abort_upload(self._key, upload)
        self._unusable = None

    async def suspend(self) -> None:
        """Bring every byte into the parts of a pending upload, for a later sitting."""
        if not self.ready:
            if self._object or self._unusable:
                return  # nothing came to what is there
            await self.prepare()
        await self._abort_stale()
        await self.upload.begin()
        await self.upload.settle()
        tail = self.upload.unsent
        if 0 < len(tail) < MIN_PART:
            record = Record(self.upload.id, self.upload.number, tail=tail, early=self._early)
            if record != self._record:
                await self._write_record(record)
            await self.upload.finish()
        else:
            await self.upload.finish()
            await self._forget()

    async def commit(self) -> None:
        """Publish everything there is."""
        await self._abort_stale()
        if self._unusable:
            upload, parts = self._unusable
            if parts:
                await self._client.complete_upload(self._key, upload, parts)
                self._unusable = None
        elif not self._object:
            await self.prepare()
            await self.upload.commit()
        if self._unusable:  # a crash left no usable part at all
            await self.prepare()
            await self.upload.commit()
        await self._forget()

    async def cancel(self) -> None:
        """Remove the upload, and with it an object that was there only to be continued."""
        early = self._early
        await self.upload.abort()
        await self._abort_pending()
        if early:
            await delete_keys(self._client, [self._key])
        await self._forget()

    # -- inside ---------------------------------------------------------------------------------------

    @property
    def _early(self) -> bool:
        return self._record is not None and self._record.early

    async def _pending(self) -> list[str]:
        """Find the ids of the pending uploads of this very key, the newest last."""
        found = [upload async for upload in self._client.uploads(self._key) if upload.key == self._key]
        return [item.id for item in sorted(found, key=lambda item: item.started)]

    async def _abort_stale(self) -> None:
        """Remove the uploads that were not chosen: once the chosen one is gone, the next writer would."""
        while self._stale:
            await self._client.abort_upload(self._key, self._stale[0])
            del self._stale[0]

    async def _abort_pending(self) -> None:
        for upload in await self._pending():
            await self._client.abort_upload(self._key, upload)

    async def _read_record(self) -> Record | None:
        try:
            return Record.parse(await self._client.get(self._record_key))
        except BucketNotFoundError:
            raise
        except FileNotFoundError:
            return None

    async def _write_record(self, record: Record) -> None:
        await self._client.put(self._record_key, bytes(record))
        self._record = record

    async def _forget(self) -> None:
        if self._record is not None:
            await delete_keys(self._client, [self._record_key])
            self._record = None
