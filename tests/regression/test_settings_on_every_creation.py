"""Encryption, its key id, ACL and storage class were sent with some requests that create objects, not all.

What counts is on the wire: a put, the beginning of a multipart upload, and a copy.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest

from regfs import RegistryFileSystem, StorageDriver

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.proxy import CountingProxy, Request
    from support.servers import Place

CHUNK = 5 * 2**20
LARGE = 2 * CHUNK + 1
KEY_ID = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"


def creation(request: Request) -> str:
    """Name what a request creates; empty where it creates nothing."""
    if request.method == "POST" and "uploads" in request.query:
        return "upload"
    if request.method == "PUT" and "partNumber" not in request.query:
        return "copy" if "x-amz-copy-source" in request.headers else "put"
    return ""


def write(driver: StorageDriver, path: str, content: bytes) -> None:
    with driver.writer(path) as writer:
        writer.write(content)
        writer.commit()


def append(driver: StorageDriver, path: str, content: bytes) -> None:
    with driver.writer(path, append=True) as writer:
        writer.write(content)
        writer.commit()


def leave(driver: StorageDriver, path: str, content: bytes) -> None:
    with driver.writer(path) as writer:
        writer.write(content)


SMALL_OLD, LARGE_OLD = "/small", "/large"
WRITES: dict[str, tuple[str, Callable[[StorageDriver], object]]] = {
    "put_content": ("put", lambda d: d.put_content("/new", b"x")),
    "put_content-large": ("upload", lambda d: d.put_content("/new", bytes(LARGE))),
    "write_stream": ("put", lambda d: d.write_stream("/new", 0, io.BytesIO(b"x"))),
    "write_stream-large": ("upload", lambda d: d.write_stream("/new", 0, io.BytesIO(bytes(LARGE)))),
    "write_stream-offset": ("put", lambda d: d.write_stream(SMALL_OLD, 2, io.BytesIO(b"x"))),
    "write_stream-large-offset": ("upload", lambda d: d.write_stream(LARGE_OLD, LARGE, io.BytesIO(b"x"))),
    "writer": ("put", lambda d: write(d, "/new", b"x")),
    "writer-large": ("upload", lambda d: write(d, "/new", bytes(LARGE))),
    "writer-append": ("upload", lambda d: append(d, LARGE_OLD, b"x")),
    "writer-close": ("upload", lambda d: leave(d, "/new", b"x")),
    "move": ("copy", lambda d: d.move(SMALL_OLD, "/new")),
    "move-large": ("upload", lambda d: d.move(LARGE_OLD, "/new")),
}


def check(options: dict[str, Any], proxy: CountingProxy, name: str, expected: dict[str, str | None]) -> None:
    small: dict[str, Any] = {"multipartcopythresholdsize": CHUNK, "multipartcopychunksize": CHUNK}
    driver = StorageDriver(RegistryFileSystem(**options, **small, chunksize=CHUNK))
    kind, call = WRITES[name]
    with proxy.counting() as seen:
        call(driver)
    created = [request for request in seen if creation(request)]
    assert kind in map(creation, created)
    for request in created:
        headers = {header: request.headers.get(header) for header in expected}
        assert headers == expected, request


@pytest.fixture(autouse=True)
def _old(raw: Place, name: str) -> None:
    raw.put(SMALL_OLD[1:], b"old")
    if name in ("write_stream-large-offset", "writer-append", "move-large"):
        raw.put(LARGE_OLD[1:], bytes(LARGE))


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("server", ["moto"], indirect=True)  # SeaweedFS knows KMS only by its own aliases
def test_everything_with_a_key_of_ones_own(
    proxied_options: dict[str, Any], proxy: CountingProxy, name: str
) -> None:
    settings = {"encrypt": True, "keyid": KEY_ID, "objectacl": "bucket-owner-read"}
    check(
        {**proxied_options, **settings, "storageclass": "reduced_redundancy"},
        proxy,
        name,
        {
            "x-amz-server-side-encryption": "aws:kms",
            "x-amz-server-side-encryption-aws-kms-key-id": KEY_ID,
            "x-amz-acl": "bucket-owner-read",
            "x-amz-storage-class": "REDUCED_REDUNDANCY",
        },
    )


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)
def test_encryption_alone(proxied_options: dict[str, Any], proxy: CountingProxy, name: str) -> None:
    check(
        {**proxied_options, "encrypt": True},
        proxy,
        name,
        {
            "x-amz-server-side-encryption": "AES256",
            "x-amz-server-side-encryption-aws-kms-key-id": None,
            "x-amz-acl": None,
            "x-amz-storage-class": "STANDARD",
        },
    )


@pytest.mark.parametrize("name", ["put_content", "writer-large", "move"])
@pytest.mark.parametrize("server", ["moto"], indirect=True)
def test_nothing_that_was_not_asked_for(
    proxied_options: dict[str, Any], proxy: CountingProxy, name: str
) -> None:
    check(
        {**proxied_options, "storageclass": "NONE", "encrypt": False},
        proxy,
        name,
        {
            "x-amz-server-side-encryption": None,
            "x-amz-server-side-encryption-aws-kms-key-id": None,
            "x-amz-acl": None,
            "x-amz-storage-class": None,
        },
    )
