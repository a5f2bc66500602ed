"""The KMS key id was dropped where an upload had to be made again on resume.

``test_settings_on_every_creation.py`` has what one writer creates; here are several sittings, and what the
object in the end is encrypted with. moto reports KMS key ids; SeaweedFS knows KMS only by its own aliases,
so there it is encryption alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from regfs import RegistryFileSystem, StorageDriver

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.proxy import CountingProxy, Request
    from support.servers import Place, Server

CHUNK = 5 * 2**20
LARGE = 2 * CHUNK + 1
PATH = "/a/data"
KEY_ID = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
ENCRYPTION = "x-amz-server-side-encryption"
DENIED = b"HTTP/1.1 403 -\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
def settings(server: Server) -> dict[str, Any]:
    return {"encrypt": True, "keyid": KEY_ID} if server.name == "moto" else {"encrypt": True}


@pytest.fixture
def expected(server: Server) -> tuple[str, str | None]:
    """Kind of encryption and key id."""
    return ("aws:kms", KEY_ID) if server.name == "moto" else ("AES256", None)


@pytest.fixture
def driver(proxied_options: dict[str, Any], settings: dict[str, Any]) -> StorageDriver:
    return StorageDriver(RegistryFileSystem(**proxied_options, **settings, chunksize=CHUNK, maxretries=0))


def committed(driver: StorageDriver, raw: Place, size: int) -> bytes:
    """A file that was stored before anybody asked for encryption."""
    raw.put("a/data", b"c" * size)
    return b"c" * size


def foreign(driver: StorageDriver, raw: Place, size: int) -> bytes:
    """An upload of somebody who did not encrypt, with a small last part and no record of it."""
    target = {"Bucket": raw.bucket, "Key": raw.prefix + "a/data"}
    upload = raw.s3.create_multipart_upload(**target)["UploadId"]
    content = b"f" * size
    for number, start in enumerate(range(0, size, CHUNK), 1):
        body = content[start : start + CHUNK]
        raw.s3.upload_part(**target, UploadId=upload, PartNumber=number, Body=body)
    return content


def crashed(driver: StorageDriver, raw: Place, size: int, proxy: CountingProxy) -> bytes:
    """A committed file, and the beginning of a copy of it that came to nothing."""
    content = committed(driver, raw, size)
    proxy.fault = lambda request: DENIED if request.query.get("partNumber") == "2" else None
    writer = driver.writer(PATH, append=True)
    with pytest.raises(PermissionError):
        writer.write(bytes(CHUNK))
        writer.commit()
    proxy.fault = None
    assert len(raw.uploads()) == 1
    return content


def created(requests: list[Request]) -> list[Request]:
    """Keep what makes an object: a put, a copy, the beginning of an upload."""
    return [
        request
        for request in requests
        if (request.method == "POST" and "uploads" in request.query)
        or (request.method == "PUT" and "partNumber" not in request.query)
    ]


@pytest.mark.parametrize(
    ("before", "size"),
    [("committed", 3), ("committed", LARGE), ("foreign", 3), ("foreign", LARGE), ("crashed", LARGE)],
)
def test_an_upload_made_again(
    driver: StorageDriver,
    proxy: CountingProxy,
    raw: Place,
    expected: tuple[str, str | None],
    before: str,
    size: int,
) -> None:
    left: dict[str, Callable[[], bytes]] = {
        "committed": lambda: committed(driver, raw, size),
        "foreign": lambda: foreign(driver, raw, size),
        "crashed": lambda: crashed(driver, raw, size, proxy),
    }
    content = left[before]()
    proxy.clear()
    for number in range(2):
        with driver.writer(PATH, append=True) as writer:
            assert writer.size == len(content)
            writer.write(b"%d" % number)
            content += b"%d" % number
            if number == 1:
                writer.commit()
    found = created(proxy.requests)
    assert any(item.method == "POST" for item in found)
    for item in found:
        assert (item.headers.get(ENCRYPTION), item.headers.get(f"{ENCRYPTION}-aws-kms-key-id")) == expected, (
            item
        )
    assert raw.get("a/data") == content
    head = raw.head("a/data")
    assert (head["ServerSideEncryption"], head.get("SSEKMSKeyId")) == expected
    assert raw.uploads() == []
    assert raw.keys() == ["a/data"]


def test_a_foreign_upload_without_parts(
    driver: StorageDriver, raw: Place, expected: tuple[str, str | None]
) -> None:
    """Nothing can be completed, so the object is a put."""
    foreign(driver, raw, 0)
    writer = driver.writer(PATH, append=True)
    writer.commit()
    writer.close()
    head = raw.head("a/data")
    assert (head["ServerSideEncryption"], head.get("SSEKMSKeyId")) == expected


def test_the_small_rest_is_kept_under_the_same_key(
    driver: StorageDriver, raw: Place, expected: tuple[str, str | None]
) -> None:
    """A record holds content."""
    with driver.writer(PATH) as writer:
        writer.write(b"small")
    (record,) = raw.keys()
    head = raw.head(record)
    assert (head["ServerSideEncryption"], head.get("SSEKMSKeyId")) == expected
