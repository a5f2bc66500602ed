"""The key that arrives at the server is the key meant, and lies under the root directory, for any path.

The target of a request is looked at as it came over the wire: whatever an HTTP library makes of "..", of "//"
or of a percent sign would show there. The real server is asked what it stored.
"""

from __future__ import annotations

import contextlib
import unicodedata
import urllib.parse
import urllib.request
import xml.etree.ElementTree as ET
from glob import has_magic
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from security.conftest import OBJECT, answer

from regfs import RegistryFileSystem, StorageDriver

if TYPE_CHECKING:
    from collections.abc import Callable

    from security.conftest import Make
    from support.proxy import CountingProxy, Request
    from support.servers import Place

patient = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)

SEGMENTS = st.sampled_from(
    [
        *("..", ".", "%2e", "%2E%2E", "..%2f", "%2f..", "", "a", "b.txt", "...", ".a", "a.", "~", "a~regfs"),
        *("\\", "..\\", "\\..", "\x00", "a\x00", "\r", "\n", "a\tb", "\x7f", "\x1b[2J"),
        *(
            "\u2024",
            "\u2024\u2024",
            "\uff0e\uff0e",
            "..\u200b",
            "\u200b..",
            "\u2215",
            "\u2044",
            "\uff0f",
            "\ufeff",
        ),
        *(
            "\u202e..",
            "%c0%ae%c0%ae",
            "%252e%252e",
            "%2f",
            "%5c",
            "+",
            " ",
            "  ",
            "?",
            "#",
            ";",
            "&",
            "=",
            ":",
            "@",
        ),
        *(
            "é",
            unicodedata.normalize("NFD", "é"),
            "日本",
            "😀",
            "\ud800",
            "*",
            "'",
            '"',
            "<",
            "|",
            "a?x=1#y",
            "%",
        ),
        *("x-id=GetObject", "?acl", "?uploads", "%0d%0aX-Evil: 1"),
    ]
)
PATHS = st.lists(SEGMENTS, min_size=1, max_size=5).map(lambda parts: "/" + "/".join(parts))
WORKS = PATHS | st.text(max_size=8).map(lambda text: "/" + text)


def meant(path: str) -> str | None:
    """Return the key below the root directory that a path means, None for one that must be refused."""
    if any(part in (".", "..") for part in path.split("/")) or any(ord(c) < 32 or c == "\x7f" for c in path):
        return None
    try:
        path.encode()
    except UnicodeEncodeError:
        return None
    return path.strip("/") and path[1:].rstrip("/")


def keys_of(requests: list[Request], bucket: str) -> set[str]:
    """Return the keys in the targets, decoded once, where nothing may be left to decode wrongly."""
    found = set()
    for request in requests:
        path, _, query = request.target.partition("?")
        assert set(path) <= set(urllib.parse.quote(urllib.parse.unquote(path), safe="/~"))
        assert not {"..", "."} & set(path.split("/"))
        assert f"{path}/".startswith(f"/{bucket}/")
        if "prefix" in dict(urllib.parse.parse_qsl(query)):
            found.add(urllib.parse.parse_qs(query)["prefix"][0].rstrip("/"))
        elif path.rstrip("/") != f"/{bucket}":
            found.add(urllib.parse.unquote(path, errors="strict").removeprefix(f"/{bucket}/"))
    return found


def reply(request: Request) -> bytes:
    """Answer with success, whatever is asked."""
    body = b""
    if "list-type" in request.query:
        body = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
    elif "x-amz-copy-source" in request.headers:
        name = "CopyPartResult" if "partNumber" in request.query else "CopyObjectResult"
        told = "<ETag>&quot;e&quot;</ETag><LastModified>2026-11-23T10:00:00.000Z</LastModified>"
        body = f"<{name}>{told}</{name}>".encode()
    elif "uploads" in request.query and request.method == "POST":
        body = b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
    elif "uploadId" in request.query and request.method == "POST":
        body = b"<CompleteMultipartUploadResult><ETag>&quot;e&quot;</ETag></CompleteMultipartUploadResult>"
    elif "delete" in request.query:
        body = b"<DeleteResult/>"
    return answer("204 No Content" if request.method == "DELETE" else "200 OK", body, **OBJECT)


def operations(fs: RegistryFileSystem, path: str) -> list[Callable[[], Any]]:
    driver = StorageDriver(fs)
    return [
        *(
            lambda: fs.cat_file(path),
            lambda: fs.cat_file(path, 1, 2),
            lambda: fs.info(path),
            lambda: fs.ls(path),
        ),
        *(
            lambda: fs.find(path),
            lambda: fs.pipe_file(path, b"1"),
            lambda: fs.pipe_file(path, b"1", mode="create"),
        ),
        *(lambda: fs.rm_file(path), lambda: fs.rm(path, recursive=True), lambda: fs.open(path).read(1)),
        *(lambda: fs.exists(path), lambda: fs.isdir(path), lambda: fs.touch(path), lambda: fs.du(path)),
        *(
            lambda: driver.get_content(path),
            lambda: driver.put_content(path, b"1"),
            lambda: driver.stat(path),
        ),
        *(lambda: driver.list(path), lambda: driver.delete(path), lambda: driver.reader(path, 1).read(1)),
        *(lambda: driver.walk(path, print), lambda: driver.url_for(path), lambda: fs.sign(path)),
        lambda: fs.pipe_file(path, bytes(5 * 2**20 + 1)),
    ]


@pytest.mark.parametrize("server", ["moto"], indirect=True)
@pytest.mark.parametrize("root", ["", "/roots/a.b", "w%2e ird/ü+"])
@settings(patient, max_examples=40)
@given(path=WORKS, number=st.integers(0, 23), data=st.data())
@example(path="/..", number=0, data=None)
@example(path="/a/../../../b", number=8, data=None)
@example(path="//a", number=5, data=None)
def test_the_target_on_the_wire(
    make: Make, proxy: CountingProxy, root: str, path: str, number: int, data: st.DataObject | None
) -> None:
    fs = make(rootdirectory=root, chunksize=5 * 2**20)
    proxy.fault = reply
    proxy.clear()
    wanted, base = meant(path), fs.space.base
    calls = operations(fs, path)
    assume(number % len(calls) != 8 or not has_magic(path))  # rm looks for what a pattern matches
    result = None
    with contextlib.suppress(OSError):  # an InvalidPathError, or what these answers make of it
        result = calls[number % len(calls)]()
    if wanted is None:
        assert proxy.requests == []
        return
    for key in keys_of(list(proxy.requests), fs.space.bucket):
        assert key == (base + wanted if wanted else base.rstrip("/"))
        assert key.startswith(base) or key == base.rstrip("/")
    if isinstance(result, str) and result.startswith("http"):
        target = urllib.parse.urlsplit(result).path
        assert urllib.parse.unquote(target) == f"/{fs.space.bucket}/{base}{wanted}"


@pytest.mark.parametrize("server", ["moto"], indirect=True)
@settings(patient, max_examples=60)
@given(source=WORKS, target=WORKS, large=st.booleans())
def test_the_source_of_a_copy_and_its_target(
    make: Make, proxy: CountingProxy, source: str, target: str, large: bool
) -> None:
    fs = make(rootdirectory="/base", multipartcopythresholdsize=0 if large else "1GiB")
    proxy.fault = reply
    proxy.clear()
    refused = meant(source) is None or meant(target) is None
    with contextlib.suppress(OSError):
        fs.cp_file(source, target)
    if refused:
        assert all(request.method in ("GET", "HEAD") for request in proxy.requests)
        return
    for request in proxy.requests:
        told = request.headers.get("x-amz-copy-source")
        if told is not None:
            assert urllib.parse.unquote(told) == f"{fs.space.bucket}/base/{meant(source)}"
            assert urllib.parse.unquote(request.target.partition("?")[0]) == (
                f"/{fs.space.bucket}/base/{meant(target)}"
            )


# Servers have rules of their own: SeaweedFS takes no backslash, moto no line feed.
STORABLE = PATHS.filter(lambda path: bool(meant(path)) and "" not in path[1:].split("/"))


@settings(patient, max_examples=25)
@given(path=STORABLE)
@example(path="/..%2f..%2fx")
@example(path="/\uff0e\uff0e/x")
@example(path="/a\\..\\..\\x")
def test_what_the_server_stored(make: Make, raw: Place, path: str) -> None:
    """Written, read and found again by raw boto3, and in the whole bucket there is nothing new beside it."""
    fs = make()
    before = everything(raw)
    try:
        raw.put(path[1:], b"1")
    except raw.s3.exceptions.ClientError:
        return
    if everything(raw) - before != {raw.prefix + path[1:]}:
        raw.clean()
        return
    raw.s3.delete_object(Bucket=raw.bucket, Key=raw.prefix + path[1:])
    fs.pipe_file(path, b"1")
    assert everything(raw) - before == {raw.prefix + path[1:]}
    assert fs.cat_file(path) == b"1"
    with urllib.request.urlopen(fs.sign(path)) as response:
        assert response.read() == b"1"
    fs.rm_file(path)
    assert everything(raw) == before


@settings(patient, max_examples=15)
@given(paths=st.lists(STORABLE, min_size=2, max_size=4, unique=True))
def test_what_the_server_deleted(make: Make, raw: Place, paths: list[str]) -> None:
    """Several at once, whose names travel in a document."""
    fs = make()
    raw.put("kept", b"1")
    try:
        for path in paths:
            raw.put("t" + path, b"1")
    except raw.s3.exceptions.ClientError:  # SeaweedFS has directories: one of the names lies in another
        raw.clean()
        return
    assert len(fs.find("/t")) >= 1
    fs.rm("/t", recursive=True)
    assert raw.keys() == ["kept"]


def everything(raw: Place) -> set[str]:
    pages = raw.s3.get_paginator("list_objects_v2").paginate(Bucket=raw.bucket)
    return {item["Key"] for page in pages for item in page.get("Contents", ())}


def test_a_pattern_is_no_name_of_one_file(make: Make, raw: Place) -> None:
    for name in ("a", "b", "d/c"):
        raw.put(name, b"1")
    fs = make()
    for pattern in ("/*", "/?", "/[ab]", "/**"):
        with pytest.raises(FileNotFoundError):
            fs.rm_file(pattern)
    assert raw.keys() == ["a", "b", "d/c"]
    fs.rm("/[ab]")
    assert raw.keys() == ["d/c"]


@pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)  # moto finds no key that holds a line feed
def test_names_in_a_document_are_the_names_meant(make: Make, raw: Place) -> None:
    """A carriage return would become a line feed, which is another key; some characters XML cannot hold."""
    names = ["a\rb", "a\nb", "a\r\nb", "a\tb", "a&b", "a<b", "]]>", "a\x01b", "a\ufffeb", "é"]
    fs = make()
    for name in names:
        raw.put("t/" + name, b"1")
    raw.put("kept", b"1")
    keys = [raw.prefix + "t/" + name for name in names]
    assert sync_delete(fs, [key for key in keys if key.rpartition("/")[2] not in ("a\nb", "a\r\nb")]) == []
    assert raw.keys() == ["kept", "t/a\nb", "t/a\r\nb"]
    assert sync_delete(fs, keys) == []
    assert raw.keys() == ["kept"]


def sync_delete(fs: RegistryFileSystem, keys: list[str]) -> Any:
    from fsspec.asyn import sync

    return sync(fs.loop, fs.client.delete, keys)


def test_the_documents_are_those_that_botocore_writes() -> None:
    from regfs.s3.documents import delete_request

    keys = ["a\rb", "a\nb", "<&>", "é"]
    assert [key.text for key in ET.fromstring(delete_request(keys)).iter() if key.tag.endswith("Key")] == keys
