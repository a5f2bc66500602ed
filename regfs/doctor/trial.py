"""May these credentials do what the registry's driver does? Each request is tried, one by one.

All that is written lies in one scratch directory, which no registry uses, and is removed at the end, however
that comes. A request that fails keeps only those from being tried that need what it would have made.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import secrets
import ssl
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from regfs.doctor.checks import Report, Verdict, failed, ok, skipped, warning
from regfs.doctor.permissions import WRITING, FaultError, LackingError, Tries, code_of, refused
from regfs.errors import UploadNotFoundError
from regfs.s3 import checksums
from regfs.s3.fast import trust
from regfs.s3.objects import ObjectInfo, PartInfo

if TYPE_CHECKING:
    from regfs.filesystem.spec import RegistryFileSystem

SCRATCH = ".regfs-doctor-"
"""Begins the name of the scratch directory, in the root directory."""
_TIMEOUT = 10.0
_FIRST, _SECOND = b"first content", b"second, longer content"

logger = logging.getLogger("regfs")


class Trial:
    """The requests of a driver, tried on one filesystem.

    Parameters
    ----------
    fs : RegistryFileSystem
        The place.
    report : callable
        Called with each check as it ends.
    """

    def __init__(self, fs: RegistryFileSystem, report: Report) -> None:
        self._fs = fs
        self._client = fs.client
        self._report = report
        self._try = Tries(fs.parameters, fs.space, report)
        self._base = f"{fs.space.base}{SCRATCH}{secrets.token_hex(8)}/"
        self._content = b""
        self._existing: ObjectInfo | None = None
        self._objects: dict[str, bool] = {}
        """The keys of objects that were made, and whether that is certain: the answer may be lost."""
        self._uploads: dict[str, str] = {}
        self._begun: set[str] = set()
        """The keys of uploads that may have begun, without a response with their ids."""
        self._parts: dict[str, PartInfo] = {}

    async def run(self, *, read_only: bool) -> None:
        """Try everything, or what writes nothing."""
        await self._try("ListObjectsV2", self._list)
        if read_only:
            for name in WRITING:
                self._report(skipped(name, "writes (--read-only)"))
            await self._reading()
            await self._try("ListMultipartUploads", self._list_uploads)
            for name in ("DeleteObject", "DeleteObjects"):
                self._report(skipped(name, "writes (--read-only)"))
            return
        try:
            await self._writing()
            await self._reading()
            await self._try("list after write", self._listed, "PutObject", "ListObjectsV2")
            await self._multipart()
            await self._try("encryption", self._encryption, "PutObject", "HeadObject")
            await self._try("storage class", self._storage_class, "PutObject", "HeadObject")
            await self._try("DeleteObject", self._delete)
            await self._try("DeleteObjects", self._delete_several)
        finally:
            await self._clean()

    def _key(self, name: str) -> str:
        return self._base + name

    def _object(self, name: str) -> ObjectInfo:
        """Describe an object of ours, without the ETag: so it may be of any version."""
        return ObjectInfo(self._key(name), len(self._content), datetime.now(timezone.utc), "")

    @contextmanager
    def _making(self, name: str) -> Iterator[None]:
        """Record the object of a request before it is sent: the response may be lost."""
        key = self._key(name)
        new = key not in self._objects
        self._objects.setdefault(key, False)
        try:
            yield
        except Exception as exc:
            if new and refused(exc):
                del self._objects[key]
            raise
        self._objects[key] = True

    # -- writing --------------------------------------------------------------------------------------

    async def _writing(self) -> None:
        await self._try("PutObject", partial(self._put, _FIRST))
        await self._try("PutObject again", partial(self._put, _SECOND), "PutObject")
        await self._try("If-None-Match", self._put_new, "PutObject")
        await self._try("checksum", self._put_spoilt, "PutObject")
        await self._try("CopyObject", self._copy, "PutObject")

    async def _put(self, content: bytes) -> str:
        with self._making("object"):
            await self._client.put(self._key("object"), content)
        self._content = content
        return "replaces an object" if content is _SECOND else "makes an object"

    async def _put_new(self) -> str:
        text = 'only "xb" and --no-clobber need it: they cannot rely on it here'
        try:
            await self._client.put(self._key("object"), self._content, exclusive=True)
        except FileExistsError:
            return "keeps an object from being replaced"
        except OSError as exc:
            raise FaultError(f"is refused: {exc.strerror}", text, Verdict.WARNING) from exc
        raise FaultError("is ignored: the object was replaced", text, Verdict.WARNING)

    async def _put_spoilt(self) -> str:
        p = self._fs.parameters
        if p.checksum_disabled:
            raise LackingError("checksum_disabled: true")
        name = p.checksum_algorithm or checksums.DEFAULT
        wrong = {checksums.field(name): checksums.compute(name, b"something else")} | self._client.creation()
        try:
            with self._making("spoilt"):
                await self._client.transport.request("put_object", _FIRST, Key=self._key("spoilt"), **wrong)
        except Exception as exc:
            if not code_of(exc):
                raise self._client.transport.failed(self._key("spoilt"), exc) from exc
            return f"{name}: content that does not match is refused"
        text = "what is damaged on the way to this service is stored as it arrives"
        raise FaultError(f"{name}: content that does not match is taken", text, Verdict.WARNING)

    async def _copy(self) -> str:
        with self._making("copy"):
            await self._client.copy(self._object("object"), self._key("copy"))
        return "copies on the server"

    # -- reading --------------------------------------------------------------------------------------

    async def _reading(self) -> None:
        await self._try("HeadObject", self._head)
        await self._try("GetObject", self._get)
        await self._try("GetObject range", self._get_range)
        await self._try("presigned GET", self._get_presigned)

    def _readable(self) -> tuple[str, bytes | None]:
        """Return an object to read, and its content if it is ours."""
        if self._content:
            return self._key("object"), self._content
        if self._existing is None:
            raise LackingError("there is no object to read")
        return self._existing.key, None

    async def _head(self) -> str:
        key, content = self._readable()
        size = (await self._client.head(key)).size
        if content is not None and size != len(content):
            raise FaultError(f"reports {size} bytes instead of {len(content)}", "see the service's own log")
        return "reports the size"

    async def _get(self) -> str:
        key, content = self._readable()
        if content is None:
            (await self._client.open(key)).close()  # it may be large
            return "reads an object that was there"
        if await self._client.get(key) != content:
            text = "a registry needs a service that is strongly consistent"
            raise FaultError("does not give what was written last", text)
        return "gives what was written last"

    async def _get_range(self) -> str:
        key, content = self._readable()
        if content is None:
            await self._client.get(key, 0, 1)
        elif await self._client.get(key, 2, 6) != content[2:6]:
            raise FaultError("gives other bytes than asked for", "see the service, or the proxy before it")
        return "gives the bytes asked for"

    async def _get_presigned(self) -> str:
        key, content = self._readable()
        url = await self._client.presign("GET", key, 60)
        p = self._fs.parameters
        parts = urlsplit(url)
        host = f"{parts.scheme}://{parts.netloc}"
        server_name = f"redirectendpoint {host}" if p.redirect_endpoint else host
        advice = "correct redirectendpoint; what answers there must pass the Host header on as it is"
        if not p.redirect_endpoint:
            advice = "allow s3:GetObject; a policy may refuse signatures in a URL"
        try:
            got = await asyncio.to_thread(
                _fetch, url, None if content is None else len(content) + 1, p.skip_verify
            )
        except urllib.error.HTTPError as exc:
            exc.close()
            raise FaultError(f"{server_name} answers {exc.code} {exc.reason}", advice) from exc
        except OSError as exc:
            reason = " ".join(str(getattr(exc, "reason", exc)).split())
            raise FaultError(f"{server_name} cannot be reached: {reason}", advice) from exc
        if content is not None and got != content:
            raise FaultError(f"{server_name} gives other content", advice)
        return f"works with any HTTP client, at {host}"

    # -- listing --------------------------------------------------------------------------------------

    async def _list(self) -> str:
        page = await self._client.list_page(self._fs.space.base, limit=10)
        readable = (item for item in page.objects if item.size and self._fs.space.addressable(item.key))
        self._existing = next(readable, None)
        return "lists keys"

    async def _listed(self) -> str:
        page = await self._client.list_page(self._base)
        if self._key("object") not in [item.key for item in page.objects]:
            text = "a registry needs a service whose listings are strongly consistent"
            raise FaultError("an object written a moment ago is not listed", text)
        return "what was written is listed"

    # -- multipart uploads ----------------------------------------------------------------------------

    async def _multipart(self) -> None:
        await self._try("CreateMultipartUpload", self._create)
        await self._try("UploadPart", self._part, "CreateMultipartUpload")
        await self._try("UploadPartCopy", self._copy_part, "CreateMultipartUpload", "PutObject")
        await self._try("ListParts", self._list_parts, "CreateMultipartUpload")
        await self._try("ListMultipartUploads", self._list_uploads)
        await self._try("CompleteMultipartUpload", self._complete, "CreateMultipartUpload")
        await self._try("AbortMultipartUpload", self._abort, "CreateMultipartUpload")

    async def _create(self) -> str:
        for key in (self._key("parts"), self._key("copied-parts")):
            self._begun.add(key)
            try:
                self._uploads[key] = await self._client.create_upload(key)
            except Exception as exc:
                if refused(exc):
                    self._begun.remove(key)
                raise
            self._begun.remove(key)
        return "begins an upload"

    async def _part(self) -> str:
        key = self._key("parts")
        self._parts[key] = await self._client.upload_part(key, self._uploads[key], 1, _SECOND)
        return "stores a part"

    async def _copy_part(self) -> str:
        key, source = self._key("copied-parts"), self._object("object")
        part = await self._client.copy_part(key, self._uploads[key], 1, source, 0, source.size)
        self._parts[key] = part
        return "makes a part of an object"

    async def _list_parts(self) -> str:
        for key, upload in self._uploads.items():
            wanted = [(p.number, p.size) for p in [self._parts.get(key)] if p]
            if [(p.number, p.size) for p in await self._client.parts(key, upload)] != wanted:
                raise FaultError("does not list the parts as they are", "see the service's own log")
        return "lists parts"

    async def _list_uploads(self) -> str:
        ids = {upload.id async for upload in self._client.uploads(self._base)}
        if not ids >= set(self._uploads.values()):
            text = "uploads of this service cannot be resumed, nor abandoned ones be found"
            raise FaultError("an upload begun a moment ago is not listed", text)
        return "lists uploads"

    async def _complete(self) -> str:
        for key in [key for key in self._uploads if key in self._parts]:
            with self._making(key.removeprefix(self._base)):
                await self._client.complete_upload(key, self._uploads[key], [self._parts[key]])
            del self._uploads[key]
            return "makes an object of parts"
        raise LackingError("needs UploadPart or UploadPartCopy")

    async def _abort(self) -> str:
        key, upload = list(self._uploads.items())[-1]
        await self._client.abort_upload(key, upload)
        if "ListMultipartUploads" in self._try.well:
            pending = {each.id async for each in self._client.uploads(self._base)}
            if upload in pending:
                raise FaultError("the upload is still there", "see the service's own log")
        del self._uploads[key]
        return "removes an upload"

    # -- what was asked for -----------------------------------------------------------------------------

    async def _made(self) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """Yield the object that each creating request has made."""
        made = {"PutObject": "object", "CopyObject": "copy", "CompleteMultipartUpload": "parts"}
        for request, name in made.items():
            if request in self._try.well and self._key(name) not in self._uploads:
                with suppress(FileNotFoundError):  # completed of the other upload
                    key = self._key(name)
                    yield request, await self._client.transport.call("head_object", key, Key=key)

    async def _encryption(self) -> str:
        p = self._fs.parameters
        wanted = ("aws:kms" if p.key_id else "AES256") if p.encrypt else ""
        algorithm = ""
        async for request, answer in self._made():
            algorithm = answer.get("ServerSideEncryption", "")
            if wanted and algorithm != wanted:
                text = "switch encryption on in the service, or leave encrypt out"
                raise FaultError(f"{request} asked for {wanted} and reports {algorithm or 'none'}", text)
            key = answer.get("SSEKMSKeyId", "")
            # An alias comes back as the key that it stands for.
            if (
                p.encrypt
                and p.key_id
                and "alias/" not in p.key_id
                and key.rpartition("/")[2] != p.key_id.rpartition("/")[2]
            ):
                raise FaultError(f"{request} reports the key {key or 'none'}", "correct keyid")
        if p.key_id and not p.encrypt:
            text = "set encrypt: true, or leave keyid out"
            raise FaultError("keyid is without effect, as encrypt is false", text, Verdict.WARNING)
        if not wanted:
            return f"not asked for; the service reports {algorithm or 'none'}"
        return f"reported as asked for: {wanted}"

    async def _storage_class(self) -> str:
        wanted = self._fs.parameters.storage_class
        async for request, answer in self._made():
            reported = answer.get("StorageClass") or "STANDARD"
            if wanted not in ("NONE", reported):
                text = "the service may not have this class: set storageclass to one that it has, or to NONE"
                raise FaultError(
                    f"{request} asked for {wanted} and reports {reported}", text, Verdict.WARNING
                )
        return f"reported as asked for: {wanted}" if wanted != "NONE" else "not asked for"

    # -- removing -------------------------------------------------------------------------------------

    async def _delete(self) -> str:
        key = self._key("object")
        self._refused(await self._client.delete([key]))
        if {"HeadObject", "PutObject"} <= self._try.well:
            with suppress(FileNotFoundError):
                await self._client.head(key)
                text = "a registry needs a service that is strongly consistent"
                raise FaultError("the object is still there", text)
        return "removes an object"

    async def _delete_several(self) -> str:
        self._refused(await self._client.delete([self._key(name) for name in ("copy", "parts")]))
        return "removes several objects at once"

    def _refused(self, failures: list[tuple[str, str]]) -> None:
        for key, code in failures:
            if code == "AccessDenied":
                raise PermissionError(errno.EACCES, "access denied", self._url(key))
            raise FaultError(f"is answered with {code}", "see the service's own log")

    async def _clean(self) -> None:
        """Remove what was made in the scratch directory, by any request that is allowed."""
        uploads, begun = set(self._uploads.items()), set(self._begun)
        with suppress(OSError):  # what is known is removed in any case
            uploads |= {(upload.key, upload.id) async for upload in self._client.uploads(self._base)}
            begun.clear()
        left = [
            f"an upload of {self._url(key)}" for key, id_ in sorted(uploads) if not await self._end(key, id_)
        ]
        remaining = await self._delete_all(sorted(self._objects))
        left += [self._url(key) for key in remaining if self._objects[key]]
        doubtful = [f"an upload of {self._url(key)}" for key in sorted(begun)]
        doubtful += [self._url(key) for key in remaining if not self._objects[key]]
        advice = f"remove them: regfs rm -r {self._url(self._base)}; regfs uploads --older-than 1d --abort"
        perhaps = f"perhaps left behind, as no answer came: {'; '.join(doubtful)}" if doubtful else ""
        if left:
            leftovers = f"left behind: {'; '.join(left)}" + (f"; {perhaps}" if perhaps else "")
            self._report(failed("clean-up", leftovers, advice))
        elif perhaps:
            self._report(warning("clean-up", perhaps, advice))
        else:
            self._report(ok("clean-up", "nothing is left behind"))

    def _url(self, key: str) -> str:
        return self._fs.space.url(self._fs.space.path(key))

    async def _end(self, key: str, upload: str) -> bool:
        """Be rid of an upload: abort it, or make an object of it, which can be deleted."""
        for end in (self._client.abort_upload, self._make_of):
            try:
                await end(key, upload)
            except UploadNotFoundError:  # it was ended, and the answer was lost
                return True
            except OSError as exc:
                logger.debug("upload of %s: %s", key, exc)
            else:
                return True
        return False

    async def _make_of(self, key: str, upload: str) -> None:
        parts = await self._client.parts(key, upload)
        with self._making(key.removeprefix(self._base)):
            await self._client.complete_upload(key, upload, parts)

    async def _delete_all(self, keys: list[str]) -> list[str]:
        """Delete keys; return those that may still be there, and note those that are for certain."""
        left: list[str] = []
        for key in await self._delete_together(keys):
            try:
                left += [each for each, _ in await self._client.delete([key])]
            except OSError as exc:
                logger.debug("delete_object %s: %s", key, exc)
                left.append(key)
        if left and "ListObjectsV2" in self._try.well:
            with suppress(OSError):
                listed = {item.key for item in (await self._client.list_page(self._base)).objects}
                self._objects |= dict.fromkeys(listed, True)
                return [key for key in left if key in listed]
        return [key for key in left if await self._may_exist(key)]

    async def _delete_together(self, keys: list[str]) -> list[str]:
        try:
            return [key for key, _ in await self._client.delete(keys)] if keys else []
        except OSError as exc:
            logger.debug("delete_objects: %s", exc)
            return keys

    async def _may_exist(self, key: str) -> bool:
        try:
            await self._client.head(key)
        except FileNotFoundError:
            return False
        except OSError as exc:
            logger.debug("head_object %s: %s", key, exc)
        else:
            self._objects[key] = True
        return True


def _fetch(url: str, limit: int | None, skip_verify: bool) -> bytes:
    """Read the begin of what a URL gives, as any program would."""
    context = trust() if not skip_verify else ssl._create_unverified_context()  # noqa: S323, SLF001 - as asked
    with urllib.request.urlopen(url, timeout=_TIMEOUT, context=context) as answer:  # noqa: S310 - of our own
        return bytes(answer.read(limit))
