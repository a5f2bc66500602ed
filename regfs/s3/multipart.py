"""The operations of multipart uploads, and what every request that creates an object carries.

The lower half of :class:`~regfs.s3.client.S3Client`.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any

from regfs.errors import FileChangedError, UploadNotFoundError
from regfs.s3 import checksums, unfinished
from regfs.s3.checksums import compute, etag_of_parts
from regfs.s3.fast import LARGE
from regfs.s3.objects import ObjectInfo, PartInfo, UploadInfo, header_info, object_info
from regfs.s3.transport import Transport

CONTENT_TYPE = "application/octet-stream"
"""What the registry's driver gives every object (Go: ``getContentType``)."""

MAX_PART = 10_000
"""The highest number of a part."""
MAX_PAGES = 1000
"""Pages of uploads behind which one without any is taken for a listing that has no end."""

logger = logging.getLogger("regfs")

_HEADERS = {
    "ACL": "x-amz-acl",
    "ContentMD5": "content-md5",
    "ContentType": "content-type",
    "SSEKMSKeyId": "x-amz-server-side-encryption-aws-kms-key-id",
    "ServerSideEncryption": "x-amz-server-side-encryption",
    "StorageClass": "x-amz-storage-class",
    **{f"Checksum{name}": f"x-amz-checksum-{name.lower()}" for name in checksums.ALGORITHMS if name != "MD5"},
}


def headers(fields: dict[str, str]) -> dict[str, str]:
    """Give the HTTP headers of some of botocore's fields."""
    return {_HEADERS[name]: value for name, value in fields.items()}


class MultipartClient:
    """The base of :class:`~regfs.s3.client.S3Client`, which documents the parameters."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.parameters = transport.parameters
        self.space = transport.space
        self.bucket = transport.space.bucket

    async def close(self) -> None:
        """Close the running loop's connections; the next request opens new ones."""
        await self.transport.close()

    def creation(self) -> dict[str, Any]:
        """Return what every request that creates an object carries, be it put, copy or multipart."""
        p = self.parameters
        extra: dict[str, Any] = {"ACL": p.object_acl} if p.object_acl else {}
        if p.encrypt:
            extra["ServerSideEncryption"] = "aws:kms" if p.key_id else "AES256"
            if p.key_id:
                extra["SSEKMSKeyId"] = p.key_id
        if p.storage_class != "NONE":
            extra["StorageClass"] = p.storage_class
        return extra

    @property
    def _algorithm(self) -> str:
        p = self.parameters
        return "" if p.checksum_disabled else p.checksum_algorithm or checksums.DEFAULT

    async def _checksum(self, data: bytes) -> dict[str, str]:
        """Give the field that lets the service verify a body, unless that is off."""
        name = self._algorithm
        if not name:
            return {}
        large = len(data) >= LARGE
        value = await asyncio.to_thread(compute, name, data) if large else compute(name, data)
        return {checksums.field(name): value}

    def _part(self, number: int, size: int, answer: dict[str, Any]) -> PartInfo:
        """Return a part as the service describes it, with the checksum that the upload's completion needs."""
        checksum = "" if self._algorithm in ("", "MD5") else answer.get(checksums.field(self._algorithm), "")
        return PartInfo(number, answer["ETag"], size, checksum)

    async def head(self, key: str) -> ObjectInfo:
        """Ask for an object's size and properties. One HEAD."""

        async def fast() -> ObjectInfo:
            response = await self.transport.fast.send("HEAD", key)
            response.close()
            return header_info(key, int(response.headers["content-length"]), response.headers)

        async def call() -> ObjectInfo:
            answer = await self.transport.request("head_object", Key=key)
            return object_info(key, int(answer["ContentLength"]), answer)

        return await self.transport.attempts(call, "head_object", key, fast)

    async def _look(self, key: str) -> ObjectInfo | None:
        """Ask once what lies at a key; None if nothing does or there is no telling."""
        try:
            answer = await self.transport.request("head_object", None, Key=key)
            return object_info(key, int(answer["ContentLength"]), answer)
        except Exception:  # noqa: BLE001 - the failure that led here is the one to tell
            return None

    @contextmanager
    def _taken(self, key: str, exclusive: bool) -> Iterator[None]:
        """Call a failed condition what it is where the condition was that the key is free."""
        try:
            yield
        except FileChangedError as exc:
            if not exclusive:
                raise
            raise FileExistsError(errno.EEXIST, "File exists", self.space.url(self.space.path(key))) from exc

    async def create_upload(self, key: str, like: ObjectInfo | None = None) -> str:
        """Begin a multipart upload and give its id; `like` hands down content type and metadata.

        An attempt whose answer was lost may have begun one, too, whose id nobody knows. It is looked for and
        removed, by all that tells it: the key, the time, and that it has no parts.
        """
        extra: dict[str, Any] = {"ContentType": (like and like.content_type) or CONTENT_TYPE}
        if like and like.metadata:
            extra["Metadata"] = dict(like.metadata)
        if self._algorithm not in ("", "MD5"):  # a part may only carry what the upload was begun with
            extra["ChecksumAlgorithm"] = self._algorithm
        extra |= self.creation()
        started = time.monotonic()
        doubts: list[str] = []

        async def call() -> str:
            answer = await self.transport.request("create_multipart_upload", None, Key=key, **extra)
            return str(answer["UploadId"])

        async def settle() -> None:
            doubts.append(key)

        upload = ""
        try:
            upload = await self.transport.attempts(call, "create_multipart_upload", key, settle=settle)
        finally:
            if upload:
                unfinished.add(self, key, upload)
            if doubts:
                await self._sweep(key, upload, time.monotonic() - started)
        return upload

    async def _sweep(self, key: str, upload: str, seconds: float) -> None:
        """Remove the other uploads of a key that were begun in the last seconds and have no parts."""
        try:
            found = [one async for one in self.uploads(key) if one.key == key]
            now = next((one.started for one in found if one.id == upload), datetime.now(timezone.utc))
            since = now - timedelta(seconds=seconds + 1)  # services tell seconds
            for one in found:
                if one.id != upload and one.started >= since and not await self.parts(key, one.id):
                    await self.abort_upload(key, one.id)
        except OSError as exc:
            logger.warning("an upload of %s whose answer was lost may have been left behind: %s", key, exc)

    async def upload_part(self, key: str, upload: str, number: int, data: bytes) -> PartInfo:
        """Upload one part."""
        checksum = await self._checksum(data)

        async def fast() -> str:
            query = [("partNumber", str(number)), ("uploadId", upload)]
            sums = headers(checksum)
            response = await self.transport.fast.send("PUT", key, query=query, headers=sums, body=data)
            response.close()
            return response.headers["etag"]

        async def call() -> str:
            fields = {"Key": key, "UploadId": upload, "PartNumber": number, **checksum}
            return str((await self.transport.request("upload_part", data, **fields))["ETag"])

        etag = await self.transport.attempts(call, "upload_part", key, fast)
        return PartInfo(number, etag, len(data), checksum.get(f"Checksum{self._algorithm}", ""))

    async def copy_part(
        self, key: str, upload: str, number: int, source: ObjectInfo, start: int, stop: int
    ) -> PartInfo:
        """Make a part of the bytes from `start` up to `stop` of an object that is still `source`."""
        answer = await self.transport.call(
            "upload_part_copy",
            key,
            Key=key,
            UploadId=upload,
            PartNumber=number,
            CopySource={"Bucket": self.bucket, "Key": source.key},
            CopySourceRange=f"bytes={start}-{stop - 1}",
            **({"CopySourceIfMatch": source.etag} if source.etag else {}),
        )
        return self._part(number, stop - start, answer["CopyPartResult"])

    async def complete_upload(
        self, key: str, upload: str, parts: Sequence[PartInfo], *, exclusive: bool = False
    ) -> None:
        """Make the object of the parts, which must be in order of their numbers, and see that it is whole.

        Raises
        ------
        FileExistsError
            `exclusive`, and the key is taken.
        OSError
            The service says that it made the object, but there is none, or one of another size.
        """
        listed = {
            "Parts": [
                {
                    "PartNumber": part.number,
                    "ETag": part.etag,
                    **({checksums.field(self._algorithm): part.checksum} if part.checksum else {}),
                }
                for part in parts
            ]
        }
        condition = {"IfNoneMatch": "*"} if exclusive else {}
        size, etag = sum(part.size for part in parts), etag_of_parts([part.etag for part in parts])

        async def call() -> str:
            answer = await self.transport.request(
                "complete_multipart_upload",
                None,
                Key=key,
                UploadId=upload,
                MultipartUpload=listed,
                **condition,
            )
            return str(answer.get("ETag", ""))

        async def settle() -> str | None:
            there = await self._look(key)
            made = there is not None and (there.size, there.etag.strip('"')) == (size, etag)
            return etag if made else None

        with self._taken(key, exclusive):
            made = await self.transport.attempts(call, "complete_multipart_upload", key, settle=settle)
        unfinished.remove(upload)
        if made.strip('"') == etag:
            return
        # Not the ETag that these parts make; where the object is encrypted with a key of KMS, it never is.
        url = self.space.url(self.space.path(key))
        try:
            there = await self.head(key)
        except FileNotFoundError as exc:
            text = f"the service made an object of {size} bytes, but nothing is there; write it again"
            raise OSError(errno.EIO, text, url) from exc
        if there.size != size and there.etag.strip('"') == made.strip('"'):
            text = f"the service made an object of {there.size} bytes out of {size}; write it again"
            raise OSError(errno.EIO, text, url)

    async def give_up(self, key: str, upload: str) -> None:
        """Abort an upload after a failure, which must not be hidden by another one here."""
        try:
            await self.abort_upload(key, upload)
        except OSError as exc:
            self.log_leftover(key, upload, exc)

    def log_leftover(self, key: str, upload: str, error: Exception) -> None:
        """Log that an upload could not be aborted, and why."""
        url = self.space.url(self.space.path(key))
        reason = str(error) if isinstance(error, OSError) and str(error) else repr(error)
        logger.warning("upload %s of %s could not be aborted and stays: %s", upload, url, reason)

    async def abort_upload(self, key: str, upload: str) -> None:
        """Remove an upload and its parts; one that is gone already is no error."""

        async def fast() -> None:
            query = [("uploadId", upload)]
            (await self.transport.fast.send("DELETE", key, query=query, success=(204, 200))).close()

        async def call() -> None:
            await self.transport.request("abort_multipart_upload", Key=key, UploadId=upload)

        try:
            await self.transport.attempts(call, "abort_multipart_upload", key, fast)
        except UploadNotFoundError:
            logger.debug("upload %s of %s was gone already", upload, key)
        unfinished.remove(upload)

    async def uploads(self, prefix: str) -> AsyncIterator[UploadInfo]:
        """List all pending uploads under a prefix, page by page."""
        marker: dict[str, str] = {}
        asked: list[dict[str, str]] = []
        while True:
            asked.append(marker)
            answer = await self.transport.call("list_multipart_uploads", prefix, Prefix=prefix, **marker)
            for item in answer.get("Uploads", ()):
                if item["Key"].startswith(prefix):
                    yield UploadInfo(
                        item["Key"], item["UploadId"], item["Initiated"].astimezone(timezone.utc)
                    )
            if not answer.get("IsTruncated"):
                return
            # Both markers: S3 ignores an upload id without its key and would repeat the first page for ever.
            # SeaweedFS pages by upload id alone, names no key, and skips uploads where it is given one.
            names = ("KeyMarker", "UploadIdMarker")
            following = {name: answer[f"Next{name}"] for name in names if answer.get(f"Next{name}")}
            idle = not answer.get("Uploads") and len(asked) >= MAX_PAGES
            if idle or following == {} or following in asked:
                raise OSError(errno.EIO, "the service repeats a page of uploads", self.space.url("/"))
            marker = following

    async def parts(self, key: str, upload: str) -> list[PartInfo]:
        """List an upload's parts in order; of a part uploaded twice, the version that counts."""
        found: dict[int, tuple[tuple[datetime, int], PartInfo]] = {}
        after = 0
        while True:
            answer = await self.transport.call(
                "list_parts", key, Key=key, UploadId=upload, PartNumberMarker=after
            )
            for item in answer.get("Parts", ()):
                part = self._part(int(item["PartNumber"]), int(item["Size"]), item)
                # Services tell seconds; a part that was uploaded again has only grown.
                version = item["LastModified"], part.size
                if part.number not in found or found[part.number][0] <= version:
                    found[part.number] = version, part
            after, before = int(answer.get("NextPartNumberMarker") or 0), after
            if not answer.get("IsTruncated") or not before < after <= MAX_PART:
                return [found[number][1] for number in sorted(found)]
