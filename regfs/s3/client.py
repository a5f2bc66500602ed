"""The S3 operations that regfs uses, in terms of keys. Knows requests and answers, no paths and no files.

Every request that creates an object takes its encryption, ACL and storage class from one place,
:meth:`MultipartClient.creation`. How a request travels is :mod:`regfs.s3.transport`'s business:
each of the hot ones has two forms, one for the fast transport and one for botocore.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime, timezone
from typing import Any, TypeVar

from regfs.errors import BucketNotFoundError
from regfs.s3.body import Body, CopyingStream, EmptyStream
from regfs.s3.checksums import compute, etag_of
from regfs.s3.documents import delete_request, nameable, parse_deleted, parse_page
from regfs.s3.failures import THROTTLING
from regfs.s3.fast import read
from regfs.s3.multipart import CONTENT_TYPE, MultipartClient, headers
from regfs.s3.objects import ListPage, ObjectInfo, header_info, object_info
from regfs.s3.retry import DEADLINE, TRANSIENT_CODES, pause, status

T = TypeVar("T")

logger = logging.getLogger("regfs")

PAGE = 1000
"""The most keys that one listing page or one DeleteObjects request holds."""
EMPTY_PAGES = 1000
"""Pages without an entry, one after the other, that are taken for a listing; many deleted keys make such."""
MAX_PRESIGN = 7 * 24 * 3600
"""Seconds that a presigned URL may be valid, signature version 4's own limit."""

_PARAMETERS = {
    "Prefix": "prefix",
    "Delimiter": "delimiter",
    "ContinuationToken": "continuation-token",
    "StartAfter": "start-after",
}


def _span(start: int, stop: int | None) -> str:
    """Give the Range header of the bytes from `start` up to `stop`; "" for all."""
    return f"bytes={start}-{'' if stop is None else stop - 1}" if start or stop is not None else ""


def _size(content_range: str | None, length: int) -> int:
    """Give the size of the object that an answer is a part or all of."""
    size = int(content_range.rpartition("/")[2]) if content_range else length
    if not 0 <= size < 2**63:
        raise ValueError("no object is so large")
    return size


async def _all(body: Body) -> bytes:
    return await body.read(body.info.size)


class S3Client(MultipartClient):
    """The operations on one bucket.

    Parameters
    ----------
    transport : Transport
        Carries the requests.
    """

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
        """Begin to read from `start` up to `stop`, of the version `etag` if given. One GET.

        Where the connection breaks, the body goes on from there with another GET, of the same version.

        Raises
        ------
        FileChangedError
            The object has another ETag by now.
        """
        return await self._open(key, start, _span(start, stop), etag)

    async def _open(self, key: str, start: int, span: str, etag: str | None) -> Body:
        async def fast() -> Body:
            asked = {"range": span} if span else {}
            if etag:
                asked["if-match"] = etag
            response = await self.transport.fast.send(
                "GET", key, headers=asked, success=(206 if span else 200, 200)
            )
            try:
                told = response.headers
                length = int(told["content-length"])
                info = header_info(key, _size(told.get("content-range"), length), told)
                reach = self._reach(key, start, span, length, told.get("content-range"))
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

    def _reach(self, key: str, start: int, span: str, length: int, told: str | None) -> tuple[int, int]:
        """Give where an answer to a range begins and ends, be it that range or, by some proxies, the whole.

        Raises
        ------
        OSError
            It is neither: the range would lie behind all that comes before it, or it is another one.
        """
        first, _, last = span.removeprefix("bytes=").partition("-")
        if told and span:
            begin, _, end = told.removeprefix("bytes ").partition("/")[0].partition("-")
            fits = begin.isdigit() and end.isdigit() and int(end) - int(begin) == length - 1
            if fits and (not first or (begin == first and (not last or int(end) <= int(last)))):
                return int(begin), int(end) + 1
        elif not told and (not span or (not first and length <= int(last))):
            return 0, length
        elif not told and first == "0":
            return 0, min(length, int(last) + 1) if last else length
        text = f"the service answered {span} with {told or 'the whole object'}; correct the proxy before it"
        raise OSError(errno.EIO, text, self.space.url(self.space.path(key)))

    async def _again(self, info: ObjectInfo, start: int, stop: int, broken: Exception, breaks: int) -> Body:
        """Open the rest of a body that broke, of the same version.

        Raises
        ------
        OSError
            What broke it, where nothing tells the version or it broke too often in one place.
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
        """Give the empty body of a range that begins at or past the end."""
        # The header tells the size; where a service leaves it out, only a range that begins at 0 is certain
        # to mean an empty object.
        headers = refusal.response["ResponseMetadata"].get("HTTPHeaders", {})
        told = headers.get("content-range", "").rpartition("/")[2]
        size = int(told) if told.isdigit() else (await self.head(key)).size if start else 0
        info = ObjectInfo(key, size, datetime.fromtimestamp(0, timezone.utc), etag or "")
        return Body(info, EmptyStream(), start, start, self._again)

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
        asked = {
            "Prefix": prefix,
            "Delimiter": delimiter,
            "ContinuationToken": token or "",
            "StartAfter": "" if token else start_after,
        }
        asked = {name: value for name, value in asked.items() if value or name == "Prefix"}

        async def fast() -> ListPage:
            names = [(_PARAMETERS[name], value) for name, value in asked.items()]
            query = [("list-type", "2"), ("encoding-type", "url"), ("max-keys", str(limit)), *names]
            return parse_page(await read(await self.transport.fast.send("GET", "", query=query)))

        async def call() -> ListPage:
            answer = await self.transport.request("list_objects_v2", None, **asked, MaxKeys=limit)
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
            there = await self._look(key)
            return True if there and there.etag.strip('"') == etag_of(data) else None

        condition = {"IfNoneMatch": "*"} if exclusive else {}
        if not exclusive:
            await self.transport.attempts(call, "put_object", key, fast)
            return
        with self._taken(key, exclusive):
            await self.transport.attempts(call, "put_object", key, settle=settle)

    async def delete(self, keys: Sequence[str]) -> list[tuple[str, str]]:
        """Delete up to 1,000 keys, be they there or not. One DELETE.

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
