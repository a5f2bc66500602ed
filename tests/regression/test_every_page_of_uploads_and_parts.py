"""Only the first 1,000 uploads or parts were looked at on resume, or the first page of uploads for ever.

S3 ignores an ``UploadIdMarker`` that comes without its ``KeyMarker``. Neither test server pages uploads as S3
does (moto never, SeaweedFS from 10,000 on and by other markers), so the proxy lists them in the server's
place. Whatever else is asked goes to the server.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from regfs import PathNotFoundError, RegistryFileSystem, StorageDriver
from regfs.store.resume import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from support.proxy import CountingProxy, Request
    from support.servers import Place

MIB = 2**20
CHUNK = 5 * MIB
LONG_AGO = datetime(2020, 1, 1, tzinfo=timezone.utc)


@pytest.fixture
def driver(proxied_options: dict[str, Any]) -> StorageDriver:
    return StorageDriver(RegistryFileSystem(**proxied_options, chunksize=CHUNK, maxretries=0))


class Listing:
    """Answers ListMultipartUploads as S3 does; a fault of the proxy.

    ``entries`` are (key, upload id) in the order in which they are listed, each begun a second after the one
    before. Those that were aborted or completed are left out.
    """

    def __init__(self, raw: Place, entries: Iterable[tuple[str, str]], page: int = 1000) -> None:
        self.entries = [(raw.prefix + key, upload) for key, upload in entries]
        self.started = {
            upload: LONG_AGO + timedelta(seconds=at) for at, (_, upload) in enumerate(self.entries)
        }
        self.page = page
        self.ended: set[str] = set()

    def start(self, request: Request, shown: list[tuple[str, str]]) -> int:
        """Return the place in the list where the page that is asked for begins."""
        key, upload = (request.query.get(name, "") for name in ("key-marker", "upload-id-marker"))
        if not key:
            return 0
        if not upload:
            return max(at for at, entry in enumerate(shown) if entry[0] == key) + 1
        return shown.index((key, upload)) + 1

    def __call__(self, request: Request) -> bytes | None:
        if request.method in ("DELETE", "POST") and "uploadId" in request.query:
            self.ended.add(request.query["uploadId"])
        if request.method != "GET" or "uploads" not in request.query:
            return None
        prefix = request.query.get("prefix", "")
        shown = [
            entry for entry in self.entries if entry[0].startswith(prefix) and entry[1] not in self.ended
        ]
        start = self.start(request, shown)
        told = shown[start : start + self.page]
        more = start + self.page < len(shown)
        following = ("<NextKeyMarker>%s</NextKeyMarker><NextUploadIdMarker>%s</NextUploadIdMarker>") % (
            told[-1] if more else ("", "")
        )
        uploads = "".join(
            f"<Upload><Key>{key}</Key><UploadId>{upload}</UploadId>"
            f"<Initiated>{self.started[upload]:%Y-%m-%dT%H:%M:%S.000Z}</Initiated></Upload>"
            for key, upload in told
        )
        truncated = f"<IsTruncated>{str(more).lower()}</IsTruncated>"
        body = (
            f"<ListMultipartUploadsResult>{truncated}{following}{uploads}</ListMultipartUploadsResult>"
        ).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n\r\n"
        return head.encode() + body


class DeafListing(Listing):
    """Gives the first page whatever it is asked for."""

    def start(self, request: Request, shown: list[tuple[str, str]]) -> int:
        return 0


def asked(proxy: CountingProxy) -> list[tuple[str, str]]:
    """Return the markers of each ListMultipartUploads request."""
    return [
        (request.query.get("key-marker", ""), request.query.get("upload-id-marker", ""))
        for request in list(proxy.requests)
        if request.method == "GET" and "uploads" in request.query
    ]


def begin(raw: Place, key: str, *parts: bytes) -> str:
    """Leave an upload with these parts."""
    target = {"Bucket": raw.bucket, "Key": raw.prefix + key}
    upload: str = raw.s3.create_multipart_upload(**target)["UploadId"]
    for number, body in enumerate(parts, 1):
        raw.s3.upload_part(**target, UploadId=upload, PartNumber=number, Body=body)
    return upload


def neighbours(count: int) -> list[tuple[str, str]]:
    """Uploads of keys that begin with the key looked for."""
    return [(f"a/data{'-x' if at % 2 else '/x'}", f"other-{at}") for at in range(count)]


def only(driver: StorageDriver, monkeypatch: pytest.MonkeyPatch, operation: str, **fields: int) -> None:
    """Add fields to each request of one operation, so that the server's own pages are small."""
    transport = driver.fs.client.transport
    call = transport.call

    async def small(method: str, key: str, **kwargs: Any) -> Any:
        return await call(method, key, **kwargs, **(fields if method == operation else {}))

    monkeypatch.setattr(transport, "call", small)


# -- uploads --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [0, 999, 1000, 2499])
def test_the_newest_upload_of_the_very_key_is_found(
    driver: StorageDriver, proxy: CountingProxy, raw: Place, place: int
) -> None:
    upload = begin(raw, "a/data", b"n" * CHUNK)
    others = [("a/data", f"older-{at}") for at in range(20)] + neighbours(2479)
    proxy.fault = listing = Listing(raw, [*others[:place], ("a/data", upload), *others[place:]])
    listing.started[upload] = LONG_AGO + timedelta(days=1)
    listing.started[others[-1][1]] = LONG_AGO + timedelta(days=2)  # newer still, but of another key
    writer = driver.writer("/a/data", append=True)
    assert writer.size == CHUNK
    following = [listing.entries[at] for at in (999, 1999)]
    assert asked(proxy) == [("", ""), *following]
    writer.write(b"end")
    writer.commit()
    writer.close()
    assert raw.get("a/data") == b"n" * CHUNK + b"end"


def test_an_older_upload_is_not_continued_after_the_commit(
    driver: StorageDriver, proxy: CountingProxy, raw: Place
) -> None:
    """The registry's own driver leaves an upload behind where it begins the same file anew."""
    uploads = [("a/data", begin(raw, "a/data", bytes([number]) * CHUNK)) for number in (1, 2)]
    proxy.fault = Listing(raw, uploads)
    with driver.writer("/a/data", append=True) as writer:
        writer.write(b"end")
        writer.commit()
    content = b"\x02" * CHUNK + b"end"
    assert raw.get("a/data") == content
    writer = driver.writer("/a/data", append=True)
    assert writer.size == len(content), "of what was committed"
    writer.commit()
    writer.close()
    assert raw.get("a/data") == content


def test_neighbours_alone_are_nothing_to_continue(
    driver: StorageDriver, proxy: CountingProxy, raw: Place
) -> None:
    proxy.fault = Listing(raw, neighbours(2500))
    with pytest.raises(PathNotFoundError):
        driver.writer("/a/data", append=True)
    assert len(asked(proxy)) == 3


def test_a_last_page_that_is_full_is_the_last(
    driver: StorageDriver, proxy: CountingProxy, raw: Place
) -> None:
    proxy.fault = Listing(raw, neighbours(2000))
    with pytest.raises(PathNotFoundError):
        driver.writer("/a/data", append=True)
    assert len(asked(proxy)) == 2


def test_a_first_page_without_end_is_an_error(
    driver: StorageDriver, proxy: CountingProxy, raw: Place
) -> None:
    proxy.fault = DeafListing(raw, neighbours(1001))
    calls: list[Callable[[], object]] = [
        lambda: driver.writer("/a/data", append=True),
        driver.fs.uploads,
        driver.fs.abort_uploads,
    ]
    for call in calls:
        proxy.clear()
        with pytest.raises(OSError, match="repeats a page of uploads"):
            call()
        assert len(asked(proxy)) == 2


def test_a_fresh_writer_removes_what_is_on_any_page(
    driver: StorageDriver, proxy: CountingProxy, raw: Place
) -> None:
    mine = [("a/data", begin(raw, "a/data")) for _ in range(5)]
    other = ("a/data-x", begin(raw, "a/data-x"))
    proxy.fault = Listing(raw, [*mine, other], page=2)
    with driver.writer("/a/data") as writer:
        writer.write(b"new")
        writer.commit()
    assert raw.uploads() == [other]
    assert len(asked(proxy)) == 3


def test_all_pending_uploads_are_seen_and_removed(
    driver: StorageDriver, proxy: CountingProxy, raw: Place
) -> None:
    keys = ["a/data", "a/data-x", "b"] * 3
    proxy.fault = Listing(raw, [(key, begin(raw, key, b"part")) for key in sorted(keys)], page=2)
    found = driver.fs.uploads()
    assert [(entry.path, entry.parts, entry.bytes) for entry in found] == [
        (f"/{key}", 1, 4) for key in sorted(keys)
    ]
    assert sorted((entry.path[1:], entry.id) for entry in found) == raw.uploads()
    assert len(asked(proxy)) == 5
    assert driver.fs.abort_uploads() == found
    assert len(raw.uploads()) == 9
    assert driver.fs.abort_uploads(dry_run=False) == found
    assert raw.uploads() == []
    assert driver.fs.uploads() == []


@pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)
def test_markers_of_another_service(
    driver: StorageDriver, monkeypatch: pytest.MonkeyPatch, proxy: CountingProxy, raw: Place
) -> None:
    """SeaweedFS sorts by upload id and names no key to go on from; with one it would leave uploads out."""
    for key in ["a/data", "a/data-x", "b"] * 3:
        begin(raw, key)
    only(driver, monkeypatch, "list_multipart_uploads", MaxUploads=2)
    found = driver.fs.uploads()
    assert sorted((entry.path[1:], entry.id) for entry in found) == raw.uploads()
    assert len(asked(proxy)) == 5


@pytest.mark.huge
@pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)
def test_more_than_a_thousand_real_uploads(
    proxied_options: dict[str, Any], proxy: CountingProxy, raw: Place
) -> None:
    fs = RegistryFileSystem(**proxied_options)
    keys = ["a/data", "a/data-x"] * 501
    with ThreadPoolExecutor(8) as pool:
        uploads = list(pool.map(lambda key: begin(raw, key), keys))
    proxy.fault = Listing(raw, sorted(zip(keys, uploads, strict=True)))
    assert {entry.id for entry in fs.abort_uploads(dry_run=False)} == set(uploads)
    assert len(asked(proxy)) == 2
    assert raw.uploads() == []


# -- parts ----------------------------------------------------------------------------------------------


def test_parts_of_every_page_are_continued(
    driver: StorageDriver, monkeypatch: pytest.MonkeyPatch, proxy: CountingProxy, raw: Place
) -> None:
    content = b"".join(bytes([number]) * CHUNK for number in range(1, 5)) + b"small"
    with driver.writer("/a/data") as writer:
        writer.write(content)
    only(driver, monkeypatch, "list_parts", MaxParts=2)
    proxy.clear()
    writer = driver.writer("/a/data", append=True)
    assert writer.size == len(content)
    listed = [
        request for request in proxy.requests if request.method == "GET" and "uploadId" in request.query
    ]
    assert [item.query.get("part-number-marker", "0") for item in listed] == ["0", "2", "4"]
    writer.write(b"more")
    writer.commit()
    writer.close()
    assert raw.get("a/data") == content + b"more"
    assert raw.uploads() == []


@pytest.mark.parametrize("server", ["moto"], indirect=True)  # SeaweedFS lists them all at once
def test_more_than_a_thousand_parts(driver: StorageDriver, proxy: CountingProxy, raw: Place) -> None:
    """Small ones: they can be found and gone on with; only S3 refuses them in the end."""
    upload = begin(raw, "a/data")
    numbers = itertools.count(1)

    def work() -> None:  # unsigned, which moto takes: boto3 needs 7 s for them
        url = urlsplit(raw.server.endpoint)
        with contextlib.closing(http.client.HTTPConnection(url.hostname or "", url.port)) as connection:
            while (number := next(numbers)) <= 1001:
                target = f"/{raw.bucket}/{raw.prefix}a/data?partNumber={number}&uploadId={upload}"
                connection.request("PUT", target, b"%05d" % number)
                with connection.getresponse() as told:
                    assert (told.status, told.read()) == (200, b"")

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(work) for _ in range(2)]:
            done.result()
    raw.put("a/data~regfs", bytes(Record(upload, 1001, tail=b"01001")))
    (entry,) = driver.fs.uploads()
    assert (entry.parts, entry.bytes) == (1001, 5005)
    proxy.clear()
    writer = driver.writer("/a/data", append=True)
    assert writer.size == 5005
    listed = [
        request for request in proxy.requests if request.method == "GET" and "uploadId" in request.query
    ]
    assert [item.query.get("part-number-marker", "0") for item in listed] == ["0", "1000"]
    writer.write(b"more")
    writer.close()
    assert [request.query["partNumber"] for request in proxy.requests if "partNumber" in request.query] == [
        "1001"
    ]
    assert driver.writer("/a/data", append=True).size == 5009
