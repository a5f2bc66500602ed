"""The S3 operations that regfs uses, in terms of keys. Knows requests and answers, no paths and no files.

Every request that creates an object takes its encryption, ACL and storage class from one place,
:meth:`S3Client._creation`. How a request travels is :mod:`regfs.lane`'s business.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any

from regfs import checksums
from regfs.answers import Body, EmptyStream, ListPage, ObjectInfo, PartInfo, UploadInfo, object_info
from regfs.errors import BucketNotFoundError, FileChangedError, UploadNotFoundError
from regfs.lane import CanonicalLane

PAGE = 1000
"""The most keys that one listing page or one DeleteObjects request holds."""
MAX_PRESIGN = 7 * 24 * 3600
"""Seconds that a presigned URL may be valid, signature version 4's own limit."""
CONTENT_TYPE = "application/octet-stream"
"""What the registry's driver gives every object (Go: ``getContentType``)."""

logger = logging.getLogger("regfs")


class S3Client:
    """The operations on one bucket.

    Parameters
    ----------
    lane : CanonicalLane
        Carries the requests.
    """

    def __init__(self, lane: CanonicalLane) -> None:
        self.lane = lane
        self.parameters = lane.parameters
        self.space = lane.space
        self.bucket = lane.space.bucket

    def _creation(self) -> dict[str, Any]:
        """Give what every request that creates an object carries, be it put, copy or multipart."""
        p = self.parameters
        extra: dict[str, Any] = {"ACL": p.object_acl}
        if p.encrypt:
            extra["ServerSideEncryption"] = "aws:kms" if p.key_id else "AES256"
            if p.key_id:
                extra["SSEKMSKeyId"] = p.key_id
        if p.storage_class != "NONE":
            extra["StorageClass"] = p.storage_class
        return extra

    @property
    def _algorithm(self) -> str:
        return "" if self.parameters.checksum_disabled else self.parameters.checksum_algorithm

    async def _checksum(self, data: bytes) -> dict[str, str]:
        """Give the field that lets the service verify a body, if one is asked for."""
        if not self._algorithm:
            return {}
        value = await asyncio.to_thread(checksums.compute, self._algorithm, data)
        return {checksums.field(self._algorithm): value}

    # -- reading --------------------------------------------------------------------------------------

    async def get(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """Read an object or its bytes from `start` up to `stop`; past the end is empty. One GET."""

        async def once() -> bytes:
            body = await self._open(key, start, stop, None)
            try:
                return await body.read(body.info.size)
            finally:
                body.close()

        return await self.lane.attempts(once, "get_object", key)

    async def get_suffix(self, key: str, length: int) -> bytes:
        """Read the last `length` bytes, or all of a shorter object. One GET."""

        async def once() -> bytes:
            body = await self._open(key, 0, None, None, f"bytes=-{length}")
            try:
                return await body.read(length)
            finally:
                body.close()

        return await self.lane.attempts(once, "get_object", key)

    async def open(self, key: str, start: int = 0, stop: int | None = None, etag: str | None = None) -> Body:
        """Begin to read from `start` up to `stop`, of the version `etag` if given. One GET.

        Raises
        ------
        FileChangedError
            The object has another ETag by now.
        """
        return await self.lane.attempts(lambda: self._open(key, start, stop, etag), "get_object", key)

    async def _open(
        self, key: str, start: int, stop: int | None, etag: str | None, span: str | None = None
    ) -> Body:
        kwargs: dict[str, Any] = {"Bucket": self.bucket, "Key": key}
        if span is None and (start or stop is not None):
            span = f"bytes={start}-{'' if stop is None else stop - 1}"
        if span:
            kwargs["Range"] = span
        if etag:
            kwargs["IfMatch"] = etag
        session = await self.lane.session()
        from botocore.exceptions import ClientError

        try:
            answer = await session.get_object(**kwargs)
        except ClientError as exc:
            meta = exc.response.get("ResponseMetadata", {})
            if meta.get("HTTPStatusCode") != 416:
                raise
            # At or past the end. The header tells the size; where a service leaves it out, only a range
            # that begins at 0 is certain to mean an empty object.
            told = meta.get("HTTPHeaders", {}).get("content-range", "").rpartition("/")[2]
            size = int(told) if told.isdigit() else (await self.head(key)).size if start else 0
            info = ObjectInfo(key, size, datetime.fromtimestamp(0, timezone.utc), etag or "")
            return Body(info, EmptyStream(), 0, lambda exc: self.lane.failed(key, exc))
        length = int(answer["ContentLength"])
        size = int(answer.get("ContentRange", f"/{length}").rpartition("/")[2])
        return Body(
            object_info(key, size, answer), answer["Body"], length, lambda exc: self.lane.failed(key, exc)
        )

    async def head(self, key: str) -> ObjectInfo:
        """Ask for an object's size and properties. One HEAD."""
        answer = await self.lane.call("head_object", key, Key=key)
        return object_info(key, int(answer["ContentLength"]), answer)

    async def list_page(
        self,
        prefix: str,
        *,
        delimiter: str = "",
        token: str | None = None,
        start_after: str = "",
        limit: int = PAGE,
    ) -> ListPage:
        """List one page, in the service's own order. One LIST.

        Raises
        ------
        OSError
            The service answered with a key outside `prefix`, which might lie outside the root directory.
        """
        kwargs: dict[str, Any] = {"Prefix": prefix, "MaxKeys": limit}
        if delimiter:
            kwargs["Delimiter"] = delimiter
        if token:
            kwargs["ContinuationToken"] = token
        elif start_after:  # some services answer an empty StartAfter with nothing
            kwargs["StartAfter"] = start_after
        try:
            answer = await self.lane.call("list_objects_v2", prefix, **kwargs)
        except FileNotFoundError as exc:  # a listing can miss nothing but its bucket
            text = "the bucket does not exist; create it or correct bucket and regionendpoint"
            raise BucketNotFoundError(errno.ENOENT, text, self.space.url("/")) from exc
        objects = [object_info(item["Key"], int(item["Size"]), item) for item in answer.get("Contents", ())]
        prefixes = [item["Prefix"] for item in answer.get("CommonPrefixes", ())]
        for name in (*(item.key for item in objects), *prefixes):
            if not name.startswith(prefix):
                text = f"the service listed {name!r}, which does not begin with {prefix!r}"
                raise OSError(errno.EIO, text, self.space.url(self.space.path(prefix)))
        return ListPage(objects, prefixes, answer.get("NextContinuationToken"))

    async def pages(
        self, prefix: str, *, delimiter: str = "", start_after: str = ""
    ) -> AsyncIterator[ListPage]:
        """List all pages under a prefix, one LIST for each 1,000 entries."""
        page = await self.list_page(prefix, delimiter=delimiter, start_after=start_after)
        yield page
        while page.token:
            page = await self.list_page(prefix, delimiter=delimiter, token=page.token)
            yield page

    # -- writing --------------------------------------------------------------------------------------

    async def put(self, key: str, data: bytes, *, exclusive: bool = False) -> None:
        """Store an object whole. One PUT.

        Raises
        ------
        FileExistsError
            `exclusive`, and the key is taken.
        """
        condition = {"IfNoneMatch": "*"} if exclusive else {}
        with self._taken(key, exclusive):
            await self.lane.call(
                "put_object",
                key,
                Key=key,
                Body=data,
                ContentType=CONTENT_TYPE,
                **condition,
                **await self._checksum(data),
                **self._creation(),
            )

    @contextmanager
    def _taken(self, key: str, exclusive: bool) -> Iterator[None]:
        """Call a failed condition what it is where the condition was that the key is free."""
        try:
            yield
        except FileChangedError as exc:
            if not exclusive:
                raise
            raise FileExistsError(errno.EEXIST, "File exists", self.space.url(self.space.path(key))) from exc

    async def delete(self, keys: Sequence[str]) -> list[tuple[str, str]]:
        """Delete up to 1,000 keys, be they there or not. One DELETE.

        Returns
        -------
        list of (str, str)
            The keys that could not be deleted, each with S3's error code.
        """
        if len(keys) == 1:
            try:
                await self.lane.call("delete_object", keys[0], Key=keys[0])
            except PermissionError:
                return [(keys[0], "AccessDenied")]
            return []
        batch = {"Objects": [{"Key": key} for key in keys], "Quiet": True}
        answer = await self.lane.call("delete_objects", keys[0], Delete=batch)
        return [(item.get("Key", "?"), item.get("Code", "?")) for item in answer.get("Errors", ())]

    async def copy(self, source: ObjectInfo, key: str) -> None:
        """Copy an object within the bucket on the server, on condition that it is still `source`. One PUT.

        Content type and metadata come along; encryption, ACL and storage class are those of the parameters.
        """
        await self.lane.call(
            "copy_object",
            source.key,
            Key=key,
            CopySource={"Bucket": self.bucket, "Key": source.key},
            **({"CopySourceIfMatch": source.etag} if source.etag else {}),
            **self._creation(),
        )

    # -- multipart uploads ----------------------------------------------------------------------------

    async def create_upload(self, key: str, like: ObjectInfo | None = None) -> str:
        """Begin a multipart upload and give its id; `like` hands down content type and metadata."""
        extra: dict[str, Any] = {"ContentType": (like and like.content_type) or CONTENT_TYPE}
        if like and like.metadata:
            extra["Metadata"] = like.metadata
        if self._algorithm not in ("", "MD5"):  # a part may only carry what the upload was begun with
            extra["ChecksumAlgorithm"] = self._algorithm
        answer = await self.lane.call("create_multipart_upload", key, Key=key, **extra, **self._creation())
        return str(answer["UploadId"])

    async def upload_part(self, key: str, upload: str, number: int, data: bytes) -> PartInfo:
        """Upload one part."""
        checksum = await self._checksum(data)
        fields = {"UploadId": upload, "PartNumber": number, "Body": data, **checksum}
        answer = await self.lane.call("upload_part", key, Key=key, **fields)
        return PartInfo(number, answer["ETag"], len(data), checksum.get(f"Checksum{self._algorithm}", ""))

    async def copy_part(
        self, key: str, upload: str, number: int, source: ObjectInfo, start: int, stop: int
    ) -> PartInfo:
        """Make a part of the bytes from `start` up to `stop` of an object that is still `source`."""
        answer = await self.lane.call(
            "upload_part_copy",
            key,
            Key=key,
            UploadId=upload,
            PartNumber=number,
            CopySource={"Bucket": self.bucket, "Key": source.key},
            CopySourceRange=f"bytes={start}-{stop - 1}",
            **({"CopySourceIfMatch": source.etag} if source.etag else {}),
        )
        return PartInfo(number, answer["CopyPartResult"]["ETag"], stop - start)

    async def complete_upload(
        self, key: str, upload: str, parts: Sequence[PartInfo], *, exclusive: bool = False
    ) -> None:
        """Make the object of the parts, which must be in order of their numbers."""
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
        with self._taken(key, exclusive):
            await self.lane.call(
                "complete_multipart_upload",
                key,
                Key=key,
                UploadId=upload,
                MultipartUpload=listed,
                **condition,
            )

    async def give_up(self, key: str, upload: str) -> None:
        """Abort an upload after a failure, which must not be hidden by another one here."""
        try:
            await self.abort_upload(key, upload)
        except OSError as exc:
            logger.warning("upload %s of %s could not be aborted and stays: %s", upload, key, exc)

    async def abort_upload(self, key: str, upload: str) -> None:
        """Remove an upload and its parts; one that is gone already is no error."""
        try:
            await self.lane.call("abort_multipart_upload", key, Key=key, UploadId=upload)
        except UploadNotFoundError:
            logger.debug("upload %s of %s was gone already", upload, key)

    async def uploads(self, prefix: str) -> AsyncIterator[UploadInfo]:
        """List all pending uploads under a prefix, page by page."""
        marker: dict[str, str] = {}
        while True:
            answer = await self.lane.call("list_multipart_uploads", prefix, Prefix=prefix, **marker)
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
            if following in ({}, marker):
                raise OSError(errno.EIO, "the service repeats a page of uploads", self.space.url("/"))
            marker = following

    async def parts(self, key: str, upload: str) -> list[PartInfo]:
        """List an upload's parts in order; of a part uploaded twice, the version that counts."""
        found: dict[int, tuple[tuple[datetime, int], PartInfo]] = {}
        after = 0
        while True:
            answer = await self.lane.call("list_parts", key, Key=key, UploadId=upload, PartNumberMarker=after)
            for item in answer.get("Parts", ()):
                part = PartInfo(int(item["PartNumber"]), item["ETag"], int(item["Size"]))
                # Services tell seconds; a part that was uploaded again has only grown.
                version = item["LastModified"], part.size
                if part.number not in found or found[part.number][0] <= version:
                    found[part.number] = version, part
            after, before = int(answer.get("NextPartNumberMarker") or 0), after
            if not answer.get("IsTruncated") or after <= before:
                return [found[number][1] for number in sorted(found)]

    # -- presigned URLs -------------------------------------------------------------------------------

    async def presign(self, method: str, key: str, expires: int) -> str:
        """Sign a URL for a GET or HEAD without any request.

        Parameters
        ----------
        method : str
            "GET" or "HEAD".
        key : str
            The object's key; it need not exist.
        expires : int
            Seconds from now.
        """
        session = await self.lane.session(self.parameters.redirect_endpoint or None)
        operation = {"GET": "get_object", "HEAD": "head_object"}[method]
        try:
            url = await session.generate_presigned_url(
                operation, Params={"Bucket": self.bucket, "Key": key}, ExpiresIn=expires, HttpMethod=method
            )
        except Exception as exc:
            raise self.lane.failed(key, exc) from exc
        return str(url)
