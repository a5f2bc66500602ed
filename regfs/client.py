"""The S3 operations that regfs uses, in terms of keys. Knows requests and answers, no paths and no files.

Every request that creates an object takes its encryption, ACL and storage class from one place,
:meth:`MultipartClient._creation`. How a request travels is :mod:`regfs.lane`'s business:
each of the hot ones has two forms, one for the fast lane and one for botocore.
"""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime, timezone
from typing import Any, TypeVar

from regfs.answers import Body, EmptyStream, ListPage, ObjectInfo, header_info, object_info
from regfs.checksums import compute
from regfs.documents import delete_request, parse_deleted, parse_page
from regfs.errors import BucketNotFoundError
from regfs.fast import Stream, read
from regfs.multipart import CONTENT_TYPE, MultipartClient, headers
from regfs.retry import status

T = TypeVar("T")

PAGE = 1000
"""The most keys that one listing page or one DeleteObjects request holds."""
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


async def _all(body: Body) -> bytes:
    return await body.read(body.info.size)


class S3Client(MultipartClient):
    """The operations on one bucket.

    Parameters
    ----------
    lane : CanonicalLane
        Carries the requests.
    """

    # -- reading --------------------------------------------------------------------------------------

    async def get(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """Read an object or its bytes from `start` up to `stop`; past the end is empty. One GET."""
        return await self.fetch(key, _all, start, stop)

    async def get_suffix(self, key: str, length: int) -> bytes:
        """Read the last `length` bytes, or all of a shorter object. One GET."""
        return await self._fetch(key, _all, 0, f"bytes=-{length}", None)

    async def fetch(
        self,
        key: str,
        use: Callable[[Body], Awaitable[T]],
        start: int = 0,
        stop: int | None = None,
        etag: str | None = None,
    ) -> T:
        """Open an object as :meth:`open` does and use its body, from the beginning again if that breaks.

        Parameters
        ----------
        key, start, stop, etag
            As for :meth:`open`.
        use : callable
            ``await use(body)``; the body is closed afterwards.
        """
        return await self._fetch(key, use, start, _span(start, stop), etag)

    async def _fetch(
        self, key: str, use: Callable[[Body], Awaitable[T]], start: int, span: str, etag: str | None
    ) -> T:
        async def through(opening: Awaitable[Body]) -> T:
            body = await opening
            try:
                return await use(body)
            finally:
                body.close()

        return await self.lane.attempts(
            lambda: through(self._open(key, start, span, etag)),
            "get_object",
            key,
            lambda: through(self._open_fast(key, start, span, etag)),
        )

    async def open(self, key: str, start: int = 0, stop: int | None = None, etag: str | None = None) -> Body:
        """Begin to read from `start` up to `stop`, of the version `etag` if given. One GET.

        Raises
        ------
        FileChangedError
            The object has another ETag by now.
        """
        span = _span(start, stop)
        return await self.lane.attempts(
            lambda: self._open(key, start, span, etag),
            "get_object",
            key,
            lambda: self._open_fast(key, start, span, etag),
        )

    async def _open_fast(self, key: str, start: int, span: str, etag: str | None) -> Body:
        headers = {"range": span} if span else {}
        if etag:
            headers["if-match"] = etag
        try:
            response = await self.lane.fast.send(
                "GET", key, headers=headers, success=(206 if span else 200, 200)
            )
        except Exception as exc:
            if status(exc) == 416:
                return await self._past_end(key, start, etag, exc)
            raise
        try:
            length = int(response.headers["Content-Length"])
            size = int(response.headers.get("Content-Range", f"/{length}").rpartition("/")[2])
            info = header_info(key, size, response.headers)
            length = self._wanted(key, span, length, response.status == 206)
        except (KeyError, ValueError, OSError):
            response.close()
            raise
        return Body(info, Stream(response), length, lambda exc: self.lane.failed(key, exc))

    async def _open(self, key: str, start: int, span: str, etag: str | None) -> Body:
        session = await self.lane.session()
        kwargs = {name: value for name, value in (("Range", span), ("IfMatch", etag)) if value}
        try:
            answer = await session.get_object(Bucket=self.bucket, Key=key, **kwargs)
        except Exception as exc:
            if status(exc) == 416:
                return await self._past_end(key, start, etag, exc)
            raise
        length = int(answer["ContentLength"])
        size = int(answer.get("ContentRange", f"/{length}").rpartition("/")[2])
        try:
            length = self._wanted(key, span, length, answer["ResponseMetadata"]["HTTPStatusCode"] == 206)
        except OSError:
            answer["Body"].close()
            raise
        return Body(
            object_info(key, size, answer), answer["Body"], length, lambda exc: self.lane.failed(key, exc)
        )

    def _wanted(self, key: str, span: str, length: int, partial: bool) -> int:
        """Give how many bytes of an answer belong to the range; some proxies answer with the whole object.

        Raises
        ------
        OSError
            They are not its first ones: the range would lie behind all that comes before it.
        """
        if partial or not span:
            return length
        first, _, last = span.removeprefix("bytes=").partition("-")
        if first == "0":
            return min(length, int(last) + 1) if last else length
        if not first and length <= int(last):
            return length
        text = f"the service answered {span} with the whole object; correct the proxy before it"
        raise OSError(errno.EIO, text, self.space.url(self.space.path(key)))

    async def _past_end(self, key: str, start: int, etag: str | None, refusal: Any) -> Body:
        """Give the empty body of a range that begins at or past the end."""
        # The header tells the size; where a service leaves it out, only a range that begins at 0 is certain
        # to mean an empty object.
        headers = refusal.response["ResponseMetadata"].get("HTTPHeaders", {})
        told = headers.get("content-range", "").rpartition("/")[2]
        size = int(told) if told.isdigit() else (await self.head(key)).size if start else 0
        info = ObjectInfo(key, size, datetime.fromtimestamp(0, timezone.utc), etag or "")
        return Body(info, EmptyStream(), 0, lambda exc: self.lane.failed(key, exc))

    async def head(self, key: str) -> ObjectInfo:
        """Ask for an object's size and properties. One HEAD."""

        async def fast() -> ObjectInfo:
            response = await self.lane.fast.send("HEAD", key)
            response.release()
            return header_info(key, int(response.headers["Content-Length"]), response.headers)

        async def call() -> ObjectInfo:
            answer = await self.lane.request("head_object", Key=key)
            return object_info(key, int(answer["ContentLength"]), answer)

        return await self.lane.attempts(call, "head_object", key, fast)

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
            return parse_page(await read(await self.lane.fast.send("GET", "", query=query)))

        async def call() -> ListPage:
            answer = await self.lane.request("list_objects_v2", None, **asked, MaxKeys=limit)
            objects = [
                object_info(item["Key"], int(item["Size"]), item) for item in answer.get("Contents", ())
            ]
            prefixes = [item["Prefix"] for item in answer.get("CommonPrefixes", ())]
            return ListPage(objects, prefixes, answer.get("NextContinuationToken"))

        try:
            page = await self.lane.attempts(call, "list_objects_v2", prefix, fast)
        except FileNotFoundError as exc:  # a listing can miss nothing but its bucket
            text = "the bucket does not exist; create it or correct bucket and regionendpoint"
            raise BucketNotFoundError(errno.ENOENT, text, self.space.url("/")) from exc
        for name in (*(item.key for item in page.objects), *page.prefixes):
            if not name.startswith(prefix):
                text = f"the service listed {name!r}, which does not begin with {prefix!r}"
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
        fields = {"ContentType": CONTENT_TYPE, **await self._checksum(data), **self._creation()}

        async def fast() -> None:
            (await self.lane.fast.send("PUT", key, headers=headers(fields), body=data)).release()

        async def call() -> None:
            condition = {"IfNoneMatch": "*"} if exclusive else {}
            await self.lane.request("put_object", data, Key=key, **condition, **fields)

        with self._taken(key, exclusive):
            # What depends on the key's being free must not be sent twice without need.
            await self.lane.attempts(call, "put_object", key, None if exclusive else fast)

    async def delete(self, keys: Sequence[str]) -> list[tuple[str, str]]:
        """Delete up to 1,000 keys, be they there or not. One DELETE.

        Returns
        -------
        list of (str, str)
            The keys that could not be deleted, each with S3's error code.
        """
        if len(keys) == 1:
            return await self._delete_one(keys[0])

        async def fast() -> list[tuple[str, str]]:
            body = delete_request(keys)
            sums = {"content-md5": compute("MD5", body), "content-type": "application/xml"}
            response = await self.lane.fast.send("POST", "", query=[("delete", "")], headers=sums, body=body)
            return parse_deleted(await read(response))

        async def call() -> list[tuple[str, str]]:
            batch = {"Objects": [{"Key": key} for key in keys], "Quiet": True}
            answer = await self.lane.request("delete_objects", Delete=batch)
            return [(item.get("Key", "?"), item.get("Code", "?")) for item in answer.get("Errors", ())]

        return await self.lane.attempts(call, "delete_objects", keys[0], fast)

    async def _delete_one(self, key: str) -> list[tuple[str, str]]:
        async def fast() -> None:
            (await self.lane.fast.send("DELETE", key, success=(204, 200))).release()

        async def call() -> None:
            await self.lane.request("delete_object", Key=key)

        try:
            await self.lane.attempts(call, "delete_object", key, fast)
        except PermissionError:
            return [(key, "AccessDenied")]
        return []

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
