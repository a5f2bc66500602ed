"""The S3 operations that regfs uses, in terms of keys. Knows requests and answers, no paths and no files.

Every request that creates an object takes its encryption, ACL and storage class from one place,
:meth:`S3Client.creation`. How a request travels is :mod:`regfs.s3.transport`'s business:
each of the hot ones has two forms, one for the fast transport and one for botocore.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any, TypeVar

from regfs.errors import BucketNotFoundError, FileChangedError, UploadNotFoundError
from regfs.s3 import checksums, unfinished
from regfs.s3.body import Body, CopyingStream, EmptyStream
from regfs.s3.checksums import compute, etag_of, etag_of_parts
from regfs.s3.documents import delete_request, nameable, parse_deleted, parse_page
from regfs.s3.failures import THROTTLING
from regfs.s3.fast import LARGE, read
from regfs.s3.objects import ListPage, ObjectInfo, PartInfo, UploadInfo, header_info, object_info
from regfs.s3.retry import DEADLINE, TRANSIENT_CODES, pause, status
from regfs.s3.transport import Transport

T = TypeVar("T")

logger = logging.getLogger("regfs")

PAGE = 1000
"""The most keys that one listing page or one DeleteObjects request holds."""
EMPTY_PAGES = 1000
"""Pages without an entry, one after the other, that are taken for a listing; many deleted keys make such."""
MAX_PRESIGN = 7 * 24 * 3600
"""Seconds that a presigned URL may be valid, signature version 4's own limit."""

CONTENT_TYPE = "application/octet-stream"
"""What the registry's driver gives every object (Go: ``getContentType``)."""
MAX_PART = 10_000
"""The highest number of a part."""
MAX_PAGES = 1000
"""Pages of uploads behind which one without any is taken for a listing that has no end."""

_HEADERS = {
    "ACL": "x-amz-acl",
    "ContentMD5": "content-md5",
    "ContentType": "content-type",
    "SSEKMSKeyId": "x-amz-server-side-encryption-aws-kms-key-id",
    "ServerSideEncryption": "x-amz-server-side-encryption",
    "StorageClass": "x-amz-storage-class",
    **{f"Checksum{name}": f"x-amz-checksum-{name.lower()}" for name in checksums.ALGORITHMS if name != "MD5"},
}
_PARAMETERS = {
    "Prefix": "prefix",
    "Delimiter": "delimiter",
    "ContinuationToken": "continuation-token",
    "StartAfter": "start-after",
}


def _span(start: int, stop: int | None) -> str:
    """Return the Range header of the bytes from `start` up to `stop`; "" for all."""
    return f"bytes={start}-{'' if stop is None else stop - 1}" if start or stop is not None else ""


def _size(content_range: str | None, length: int) -> int:
    """Return the size of the object that a response is a part or all of."""
    size = int(content_range.rpartition("/")[2]) if content_range else length
    if not 0 <= size < 2**63:
        raise ValueError("no object is so large")
    return size


async def _all(body: Body) -> bytes:
    return await body.read(body.info.size)


def headers(fields: dict[str, str]) -> dict[str, str]:
    """Return the HTTP headers of some of botocore's fields."""
    return {_HEADERS[name]: value for name, value in fields.items()}


class S3Client:
    """The operations on one bucket.

    Parameters
    ----------
    transport : Transport
        Carries the requests.
    """

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.parameters = transport.parameters
        self.space = transport.space
        self.bucket = transport.space.bucket

    async def close(self) -> None:
        """Close the running loop's connections; the next request opens new ones."""
        await self.transport.close()

    def creation(self) -> dict[str, Any]:
        """Return what every request that creates an object carries: put, copy or multipart."""
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
        """Return the field that lets the service verify a body, unless that is off."""
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

    # -- reading --------------------------------------------------------------------------------------

    async def get(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """Read an object or its bytes from `start` up to `stop`; past the end is empty. One GET."""
        return await self.fetch(key, _all, start, stop)

    async def get_suffix(self, key: str, length: int) -> bytes:
        """Read the last `length` bytes, or all of a shorter object. One GET."""
        return await self._use(await self._open(key, 0, f"bytes=-{length}", None), _all)

    async def fetch(
        self,
        key: str,
        use: Callable[[Body], Awaitable[T]],
        start: int = 0,
        stop: int | None = None,
        etag: str | None = None,
    ) -> T:
        """Open an object as :meth:`open` does, use its body and close it.

        Parameters
        ----------
        key, start, stop, etag
            As for :meth:`open`.
        use : callable
            ``await use(body)``.
        """
        return await self._use(await self.open(key, start, stop, etag), use)

    async def _use(self, body: Body, use: Callable[[Body], Awaitable[T]]) -> T:
        try:
            return await use(body)
        finally:
            body.close()

    async def open(self, key: str, start: int = 0, stop: int | None = None, etag: str | None = None) -> Body:
        """Open an object from `start` up to `stop`, of the version `etag` if given. One GET.

        Where the connection breaks, the body goes on from there with another GET, of the same version.

        Raises
        ------
        FileChangedError
            The object has another ETag by now.
        """
        return await self._open(key, start, _span(start, stop), etag)

    async def _open(self, key: str, start: int, span: str, etag: str | None) -> Body:
        async def fast() -> Body:
            request_headers = {"range": span} if span else {}
            if etag:
                request_headers["if-match"] = etag
            response = await self.transport.fast.send(
                "GET", key, headers=request_headers, success=(206 if span else 200, 200)
            )
            try:
                response_headers = response.headers
                length = int(response_headers["content-length"])
                info = header_info(
                    key, _size(response_headers.get("content-range"), length), response_headers
                )
                reach = self._reach(key, start, span, length, response_headers.get("content-range"))
            except BaseException:
                response.close()
                raise
            return Body(info, response, *reach, self._again)

        async def call() -> Body:
            fields = {name: value for name, value in (("Range", span), ("IfMatch", etag)) if value}
            answer = await self.transport.request("get_object", None, Key=key, **fields)
            length = int(answer["ContentLength"])
            info = object_info(key, _size(answer.get("ContentRange"), length), answer)
            try:
                reach = self._reach(key, start, span, length, answer.get("ContentRange"))
            except BaseException:
                answer["Body"].close()
                raise
            return Body(info, CopyingStream(answer["Body"]), *reach, self._again)

        def unless_past_end(open_: Callable[[], Awaitable[Body]]) -> Callable[[], Awaitable[Body]]:
            async def opening() -> Body:
                try:
                    return await open_()
                except Exception as exc:
                    if status(exc) == 416:
                        return await self._past_end(key, start, etag, exc)
                    raise

            return opening

        return await self.transport.attempts(unless_past_end(call), "get_object", key, unless_past_end(fast))

    def _reach(
        self, key: str, start: int, span: str, length: int, content_range: str | None
    ) -> tuple[int, int]:
        """Return where the response to a range begins and ends: that range or, by some proxies, the whole.

        Raises
        ------
        OSError
            It is neither: the range would lie behind all that comes before it, or it is another one.
        """
        first, _, last = span.removeprefix("bytes=").partition("-")
        if content_range and span:
            begin, _, end = content_range.removeprefix("bytes ").partition("/")[0].partition("-")
            fits = begin.isdigit() and end.isdigit() and int(end) - int(begin) == length - 1
            if fits and (not first or (begin == first and (not last or int(end) <= int(last)))):
                return int(begin), int(end) + 1
        elif not content_range and (not span or (not first and length <= int(last))):
            return 0, length
        elif not content_range and first == "0":
            return 0, min(length, int(last) + 1) if last else length
        served = content_range or "the whole object"
        text = f"the service answered {span} with {served}; correct the proxy before it"
        raise OSError(errno.EIO, text, self.space.url(self.space.path(key)))

    async def _again(self, info: ObjectInfo, start: int, stop: int, broken: Exception, breaks: int) -> Body:
        """Open the rest of a body that broke, of the same version.

        Raises
        ------
        OSError
            What broke it, where the version is unknown or it broke too often in one place.
        FileChangedError
            The object was replaced meanwhile.
        """
        if not info.etag or breaks > self.parameters.max_retries:
            raise self.transport.failed(info.key, broken) from broken
        logger.debug("get_object %s: goes on from byte %d, after %s", info.key, start, type(broken).__name__)
        await asyncio.sleep(pause(breaks))
        rest = await self.open(info.key, start, stop, info.etag)
        if rest.stop != stop:
            rest.close()
            raise self.transport.failed(info.key, broken) from broken
        return rest

    async def _past_end(self, key: str, start: int, etag: str | None, refusal: Any) -> Body:
        """Return the empty body of a range that begins at or past the end."""
        # The header has the size; where a service leaves it out, only a range that begins at 0 is certain
        # to mean an empty object.
        headers = refusal.response["ResponseMetadata"].get("HTTPHeaders", {})
        total = headers.get("content-range", "").rpartition("/")[2]
        size = int(total) if total.isdigit() else (await self.head(key)).size if start else 0
        info = ObjectInfo(key, size, datetime.fromtimestamp(0, timezone.utc), etag or "")
        return Body(info, EmptyStream(), start, start, self._again)

    async def head(self, key: str) -> ObjectInfo:
        """Return an object's properties. One HEAD."""

        async def fast() -> ObjectInfo:
            response = await self.transport.fast.send("HEAD", key)
            response.close()
            return header_info(key, int(response.headers["content-length"]), response.headers)

        async def call() -> ObjectInfo:
            answer = await self.transport.request("head_object", Key=key)
            return object_info(key, int(answer["ContentLength"]), answer)

        return await self.transport.attempts(call, "head_object", key, fast)

    async def find(self, key: str) -> ObjectInfo | None:
        """Return an object's properties as :meth:`head` does, or None if the bucket has no such key."""
        try:
            return await self.head(key)
        except BucketNotFoundError:  # also a FileNotFoundError, as the faces raise it
            raise
        except FileNotFoundError:
            return None

    async def _look(self, key: str) -> ObjectInfo | None:
        """Return an object's properties by one attempt, or None if that fails."""
        try:
            answer = await self.transport.request("head_object", None, Key=key)
            return object_info(key, int(answer["ContentLength"]), answer)
        except Exception:  # noqa: BLE001 - the failure that led here is reported
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

    async def list_page(
        self,
        prefix: str,
        *,
        delimiter: str = "",
        token: str | None = None,
        start_after: str = "",
        limit: int = PAGE,
    ) -> ListPage:
        """List one page, in the service's own order. One LIST, and one more for each page that holds nothing.

        Raises
        ------
        OSError
            The service answered with a key outside `prefix`, which might lie outside the root directory; or
            its pages come to no end.
        """
        for _ in range(EMPTY_PAGES):
            page = await self._page(prefix, delimiter, token, start_after, limit)
            if not page.token or (page.token != token and (page.objects or page.prefixes)):
                return page
            if page.token == token:
                break
            token = page.token
        text = "the service's listing goes on without end; list it by another program to see what it does"
        raise OSError(errno.EIO, text, self.space.url(self.space.path(prefix)))

    async def _page(
        self, prefix: str, delimiter: str, token: str | None, start_after: str, limit: int
    ) -> ListPage:
        # Some services answer an empty start-after with nothing.
        fields = {
            "Prefix": prefix,
            "Delimiter": delimiter,
            "ContinuationToken": token or "",
            "StartAfter": "" if token else start_after,
        }
        fields = {name: value for name, value in fields.items() if value or name == "Prefix"}

        async def fast() -> ListPage:
            names = [(_PARAMETERS[name], value) for name, value in fields.items()]
            query = [("list-type", "2"), ("encoding-type", "url"), ("max-keys", str(limit)), *names]
            return parse_page(await read(await self.transport.fast.send("GET", "", query=query)))

        async def call() -> ListPage:
            answer = await self.transport.request("list_objects_v2", None, **fields, MaxKeys=limit)
            objects = [
                object_info(item["Key"], int(item["Size"]), item) for item in answer.get("Contents", ())
            ]
            prefixes = [item["Prefix"] for item in answer.get("CommonPrefixes", ())]
            return ListPage(objects, prefixes, answer.get("NextContinuationToken"))

        try:
            page = await self.transport.attempts(call, "list_objects_v2", prefix, fast)
        except FileNotFoundError as exc:  # a listing can miss nothing but its bucket
            text = "the bucket does not exist; create it or correct bucket and regionendpoint"
            raise BucketNotFoundError(errno.ENOENT, text, self.space.url("/")) from exc
        for name in (*(item.key for item in page.objects), *page.prefixes):
            if not name.startswith(prefix):
                text = f"the service listed {name[:200]!r}, which does not begin with {prefix!r}"
                raise OSError(errno.EIO, text, self.space.url(self.space.path(prefix)))
        return page

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
        fields = {"ContentType": CONTENT_TYPE, **await self._checksum(data), **self.creation()}

        async def fast() -> bool:
            (await self.transport.fast.send("PUT", key, headers=headers(fields), body=data)).close()
            return True

        async def call() -> bool:
            await self.transport.request("put_object", data, Key=key, **condition, **fields)
            return True

        async def settle() -> bool | None:
            stored = await self._look(key)
            return True if stored and stored.etag.strip('"') == etag_of(data) else None

        condition = {"IfNoneMatch": "*"} if exclusive else {}
        if not exclusive:
            await self.transport.attempts(call, "put_object", key, fast)
            return
        with self._taken(key, exclusive):
            await self.transport.attempts(call, "put_object", key, settle=settle)

    async def delete(self, keys: Sequence[str]) -> list[tuple[str, str]]:
        """Delete up to 1,000 keys, whether or not they exist. One DELETE.

        Keys that the service refuses for the moment (``SlowDown``, ``InternalError``) are sent again, as a
        whole request would be.

        Returns
        -------
        list of (str, str)
            The keys that could not be deleted, each with S3's error code.
        """
        started = time.monotonic()
        failures = await self._delete_once(keys)
        for attempt in range(1, self.parameters.max_retries + 1):
            refused = list(dict.fromkeys(key for key, code in failures if code in TRANSIENT_CODES))
            seconds = pause(attempt)
            if not refused or time.monotonic() - started + seconds > DEADLINE:
                break
            if any(code in THROTTLING for _, code in failures):
                self.transport.pace().throttled(time.monotonic())
            await asyncio.sleep(seconds)
            failures = [failure for failure in failures if failure[1] not in TRANSIENT_CODES]
            failures += await self._delete_once(refused)
        return failures

    async def _delete_once(self, keys: Sequence[str]) -> list[tuple[str, str]]:
        if len(keys) == 1:
            return await self._delete_one(keys[0])
        if not all(map(nameable, keys)):
            rest = [key for key in keys if nameable(key)]
            failed = await self._delete_once(rest) if rest else []
            for key in keys:
                failed += [] if nameable(key) else await self._delete_one(key)
            return failed

        async def fast() -> list[tuple[str, str]]:
            body = delete_request(keys)
            sums = {"content-md5": compute("MD5", body), "content-type": "application/xml"}
            response = await self.transport.fast.send(
                "POST", "", query=[("delete", "")], headers=sums, body=body
            )
            return parse_deleted(await read(response))

        async def call() -> list[tuple[str, str]]:
            batch = {"Objects": [{"Key": key} for key in keys], "Quiet": True}
            answer = await self.transport.request("delete_objects", Delete=batch)
            return [(item.get("Key", "?"), item.get("Code", "?")) for item in answer.get("Errors", ())]

        return await self.transport.attempts(call, "delete_objects", keys[0], fast)

    async def _delete_one(self, key: str) -> list[tuple[str, str]]:
        async def fast() -> None:
            (await self.transport.fast.send("DELETE", key, success=(204, 200))).close()

        async def call() -> None:
            await self.transport.request("delete_object", Key=key)

        try:
            await self.transport.attempts(call, "delete_object", key, fast)
        except PermissionError:
            return [(key, "AccessDenied")]
        return []

    async def copy(self, source: ObjectInfo, key: str) -> None:
        """Copy an object within the bucket on the server, on condition that it is still `source`. One PUT.

        Content type and metadata come along; encryption, ACL and storage class are those of the parameters.
        """
        await self.transport.call(
            "copy_object",
            source.key,
            Key=key,
            CopySource={"Bucket": self.bucket, "Key": source.key},
            **({"CopySourceIfMatch": source.etag} if source.etag else {}),
            **self.creation(),
        )

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
        session = await self.transport.session(self.parameters.redirect_endpoint or None)
        operation = {"GET": "get_object", "HEAD": "head_object"}[method]
        try:
            url = await session.generate_presigned_url(
                operation, Params={"Bucket": self.bucket, "Key": key}, ExpiresIn=expires, HttpMethod=method
            )
        except Exception as exc:
            raise self.transport.failed(key, exc) from exc
        return str(url)

    # -- multipart uploads ----------------------------------------------------------------------------

    async def create_upload(self, key: str, like: ObjectInfo | None = None) -> str:
        """Create a multipart upload and return its id; `like` hands down content type and metadata.

        An attempt whose response was lost may have begun one, too, whose id is unknown. It is looked for and
        removed, by its key, its time, and that it has no parts.
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
            uploads = [item async for item in self.uploads(key) if item.key == key]
            now = next((item.started for item in uploads if item.id == upload), datetime.now(timezone.utc))
            since = now - timedelta(seconds=seconds + 1)  # services have whole seconds
            for item in uploads:
                if item.id != upload and item.started >= since and not await self.parts(key, item.id):
                    await self.abort_upload(key, item.id)
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
            stored = await self._look(key)
            made = stored is not None and (stored.size, stored.etag.strip('"')) == (size, etag)
            return etag if made else None

        with self._taken(key, exclusive):
            made = await self.transport.attempts(call, "complete_multipart_upload", key, settle=settle)
        unfinished.remove(upload)
        if made.strip('"') == etag:
            return
        # Not the ETag that these parts make; where the object is encrypted with a key of KMS, it never is.
        url = self.space.url(self.space.path(key))
        try:
            stored = await self.head(key)
        except FileNotFoundError as exc:
            text = f"the service made an object of {size} bytes, but nothing is there; write it again"
            raise OSError(errno.EIO, text, url) from exc
        if stored.size != size and stored.etag.strip('"') == made.strip('"'):
            text = f"the service made an object of {stored.size} bytes out of {size}; write it again"
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
        markers: list[dict[str, str]] = []
        while True:
            markers.append(marker)
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
            idle = not answer.get("Uploads") and len(markers) >= MAX_PAGES
            if idle or following == {} or following in markers:
                raise OSError(errno.EIO, "the service repeats a page of uploads", self.space.url("/"))
            marker = following

    async def parts(self, key: str, upload: str) -> list[PartInfo]:
        """List an upload's parts in order; of a part uploaded twice, the version that counts."""
        parts_by_number: dict[int, tuple[tuple[datetime, int], PartInfo]] = {}
        after = 0
        while True:
            answer = await self.transport.call(
                "list_parts", key, Key=key, UploadId=upload, PartNumberMarker=after
            )
            for item in answer.get("Parts", ()):
                part = self._part(int(item["PartNumber"]), int(item["Size"]), item)
                # Services have whole seconds; a part that was uploaded again has only grown.
                version = item["LastModified"], part.size
                if part.number not in parts_by_number or parts_by_number[part.number][0] <= version:
                    parts_by_number[part.number] = version, part
            after, before = int(answer.get("NextPartNumberMarker") or 0), after
            if not answer.get("IsTruncated") or not before < after <= MAX_PART:
                return [parts_by_number[number][1] for number in sorted(parts_by_number)]
