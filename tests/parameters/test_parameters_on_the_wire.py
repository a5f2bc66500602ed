"""What a parameter asks for is what arrives at the server, by either lane, in each request that it concerns.

moto stands behind the proxy: it takes every KMS key, storage class, token and checksum. Hosts are the
business of ``test_addresses.py`` and ``regression/test_bucket_in_the_host.py``.
"""

from __future__ import annotations

import base64
import hashlib
import threading
import zlib
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from fsspec.asyn import sync

from regfs import RegistryFileSystem
from regfs.parameters.table import PARAMETERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.proxy import CountingProxy, Request
    from support.servers import Server

MIB = 2**20
CHUNK = 5 * MIB
SMALL: dict[str, Any] = {
    "chunksize": CHUNK,
    "multipartcopythresholdsize": CHUNK,
    "multipartcopychunksize": CHUNK,
}
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
BUSY = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n"

pytestmark = pytest.mark.parametrize("server", ["moto"], indirect=True)
both_lanes = pytest.mark.parametrize("lane", ["fast", "botocore"])


def opened(options: dict[str, Any], lane: str, **more: Any) -> RegistryFileSystem:
    fs = RegistryFileSystem(**{**options, **SMALL, **more}, skip_instance_cache=True)
    if lane == "botocore":
        fs.client.transport.fast.off()
    return fs


def kind(request: Request) -> str:
    """Name S3's operation."""
    query, headers = request.query, request.headers
    if request.method == "PUT" and "partNumber" in query:
        return "UploadPartCopy" if "x-amz-copy-source" in headers else "UploadPart"
    if request.method == "PUT":
        return "CopyObject" if "x-amz-copy-source" in headers else "PutObject"
    if request.method == "POST":
        return {"uploads": "CreateMultipartUpload", "delete": "DeleteObjects"}.get(
            next(iter(query)), "CompleteMultipartUpload"
        )
    if request.method == "GET":
        return {"list-type": "ListObjectsV2", "uploads": "ListMultipartUploads"}.get(
            next((name for name in ("list-type", "uploads") if name in query), ""), "GetObject"
        )
    return {"HEAD": "HeadObject", "DELETE": "DeleteObject"}[request.method]


def everything(fs: RegistryFileSystem) -> None:
    """Send at least one request of each kind that regfs sends."""
    fs.pipe_file("/put", b"put")
    fs.pipe_file("/new", b"new", mode="create")
    fs.pipe_file("/parts", b"x" * (CHUNK + 1))
    fs.copy("/put", "/copy")
    fs.copy("/parts", "/copied-parts")
    assert fs.cat_file("/put") == b"put"
    assert fs.info("/put")["size"] == 3
    fs.find("/")
    fs.uploads()
    fs.rm_file("/put")
    fs.rm(["/new", "/parts", "/copy", "/copied-parts"])


ALL = {
    *("PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "CopyObject"),
    *("UploadPartCopy", "GetObject", "HeadObject", "ListObjectsV2", "ListMultipartUploads"),
    *("DeleteObject", "DeleteObjects"),
}
CREATING = {"PutObject", "CreateMultipartUpload", "CopyObject"}
WITH_BODY = {"PutObject", "UploadPart"}
KEY_ID = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
SSE = "x-amz-server-side-encryption"


def says(name: str, expected: str | None) -> Callable[[Request], bool]:
    return lambda request: request.headers.get(name) == expected


def signed_by(key: str, region: str) -> Callable[[Request], bool]:
    def check(request: Request) -> bool:
        told = request.headers["authorization"].partition("Credential=")[2].partition(",")[0]
        return told.startswith(f"{key}/") and told.endswith(f"/{region}/s3/aws4_request")

    return check


def without_checksum(request: Request) -> bool:
    return not [
        name for name in request.headers if name == "content-md5" or name.startswith("x-amz-checksum")
    ]


def of_root(request: Request) -> bool:
    bucket, _, key = request.path.removeprefix("/").partition("/")
    return bool(bucket) and (key or request.query.get("prefix", "a/place/")).startswith("a/place/")


# Parameter -> its value, and what else it needs; the requests that it concerns; what each of them carries.
# All other requests must not.
ARRIVING: dict[str, tuple[dict[str, Any], set[str], Callable[[Request], bool]]] = {
    "encrypt": ({"encrypt": True}, CREATING, says(SSE, "AES256")),
    "encrypt: false": ({}, ALL, says(SSE, None)),
    "keyid": (
        {"encrypt": True, "keyid": KEY_ID},
        CREATING,
        lambda request: says(SSE, "aws:kms")(request) and says(f"{SSE}-aws-kms-key-id", KEY_ID)(request),
    ),
    "storageclass": ({"storageclass": "onezone_ia"}, CREATING, says("x-amz-storage-class", "ONEZONE_IA")),
    "storageclass: NONE": ({"storageclass": "NONE"}, ALL, says("x-amz-storage-class", None)),
    "objectacl": ({"objectacl": "public-read"}, CREATING, says("x-amz-acl", "public-read")),
    "objectacl: unset": ({}, ALL, says("x-amz-acl", None)),
    "objectownership": ({"objectownership": True}, ALL, says("x-amz-acl", None)),
    "useragent": ({"useragent": "backup/1.0 (nightly)"}, ALL, says("user-agent", "backup/1.0 (nightly)")),
    "useragent: unset": ({}, ALL, lambda request: "regfs/" in request.headers["user-agent"]),
    "sessiontoken": ({"sessiontoken": "the+token/="}, ALL, says("x-amz-security-token", "the+token/=")),
    "sessiontoken: unset": ({}, ALL, says("x-amz-security-token", None)),
    "accesskey": ({"accesskey": "AKIDOTHER", "secretkey": "s"}, ALL, signed_by("AKIDOTHER", "us-east-1")),
    "region": ({"region": "eu-west-3"}, ALL, signed_by("moto", "eu-west-3")),
    "v4auth": (
        {"v4auth": False},
        ALL,
        lambda request: request.headers["authorization"].startswith("AWS moto:"),
    ),
    "rootdirectory": ({"rootdirectory": "/a/place/"}, ALL, of_root),
    "checksum_algorithm": (
        {"checksum_algorithm": "SHA256"},
        WITH_BODY,
        lambda request: "x-amz-checksum-sha256" in request.headers and "content-md5" not in request.headers,
    ),
    "checksum_algorithm: uploads": (
        {"checksum_algorithm": "crc32"},
        {"CreateMultipartUpload"},
        says("x-amz-checksum-algorithm", "CRC32"),
    ),
    "checksum_algorithm: unset": (
        {},
        {*WITH_BODY, "DeleteObjects"},
        lambda request: "content-md5" in request.headers,
    ),
    "checksum_disabled": ({"checksum_disabled": True}, ALL - {"DeleteObjects"}, without_checksum),
    "forcepathstyle": (
        {"forcepathstyle": True},
        ALL,
        lambda request: request.path.startswith("/regfs-") and request.headers["host"].startswith("127."),
    ),
}

# What is on the wire in another way, and where that is tested.
ELSEWHERE = {
    "secretkey": "test_sigv4.py",
    "credentialsconfigpath": "regression/test_configurations_that_registries_take.py",
    "bucket": "test_addresses.py",
    "regionendpoint": "test_addresses.py",
    "pathstyle": "test_parameters.py",
    "virtualhostedstyle": "test_parameters.py",
    "redirectendpoint": "regression/test_presigned_for_its_host.py",
    "secure": "test_addresses.py",
    "skipverify": "security/test_tls.py",
    "usedualstack": "test_addresses.py",
    "accelerate": "test_addresses.py",
    "usefipsendpoint": "test_addresses.py",
    "loglevel": "security/test_secrets.py",
    "maxrequestspersecond": "test_fast.py",
    "parallelwalk": "test_walk.py",
}
BELOW = {
    *("chunksize", "multipartcopychunksize", "multipartcopymaxconcurrency", "multipartcopythresholdsize"),
    "maxretries",
}


@both_lanes
@pytest.mark.parametrize("name", ARRIVING)
def test_each_request_carries_it(
    proxied_options: dict[str, Any], proxy: CountingProxy, name: str, lane: str
) -> None:
    settings, concerned, arrives = ARRIVING[name]
    with proxy.counting() as seen:
        everything(opened({**proxied_options, "rootdirectory": ""}, lane, **settings))
    assert {kind(request) for request in seen} == ALL
    wrong = [request for request in seen if arrives(request) != (kind(request) in concerned)]
    assert wrong == []
    mine = {"botocore" if "expect" in item.headers else "fast" for item in seen if kind(item) == "UploadPart"}
    assert mine == {"botocore" if "v4auth" in settings else lane}


def test_every_parameter_is_looked_at(server: Server) -> None:
    assert {name.partition(":")[0] for name in ARRIVING} | BELOW | set(ELSEWHERE) == set(PARAMETERS)


def test_the_lanes_ask_for_the_same(proxied_options: dict[str, Any], proxy: CountingProxy) -> None:
    """Whatever the parameters: all that S3 reads of a request but its signature is the same on both."""
    settings: dict[str, Any] = {"encrypt": True, "keyid": KEY_ID, "objectacl": "private", "useragent": "u"}
    of_lane = {
        *("authorization", "x-amz-date", "x-amz-content-sha256", "amz-sdk-invocation-id", "amz-sdk-request"),
        *("accept", "accept-encoding", "expect", "content-length", "content-type"),
    }

    def asked(lane: str) -> dict[str, set[frozenset[tuple[str, str]]]]:
        with proxy.counting() as seen:
            everything(opened(proxied_options, lane, **settings))
        found: dict[str, set[frozenset[tuple[str, str]]]] = {}
        for request in seen:
            query = {name: value for name, value in request.query.items() if name != "uploadId"}
            headers = {name: value for name, value in request.headers.items() if name not in of_lane}
            if kind(request) == "DeleteObjects":
                headers["content-md5"] = f"{len(headers['content-md5'])} characters"
            found.setdefault(kind(request), set()).add(frozenset({**query, **headers}.items()))
        return found

    assert asked("fast") == asked("botocore")


@both_lanes
@pytest.mark.parametrize("name", ["MD5", "CRC32", "SHA1", "SHA256"])
def test_a_checksum_is_the_contents(
    proxied_options: dict[str, Any], proxy: CountingProxy, lane: str, name: str
) -> None:
    compute: dict[str, Callable[[bytes], bytes]] = {
        "MD5": lambda data: hashlib.md5(data).digest(),
        "CRC32": lambda data: zlib.crc32(data).to_bytes(4, "big"),
        "SHA1": lambda data: hashlib.sha1(data).digest(),
        "SHA256": lambda data: hashlib.sha256(data).digest(),
    }
    opened(proxied_options, lane, checksum_algorithm=name).pipe_file("/put", b"put")
    header = "content-md5" if name == "MD5" else f"x-amz-checksum-{name.lower()}"
    assert base64.b64decode(proxy.requests[-1].headers[header]) == compute[name](b"put")


class TestSizes:
    @both_lanes
    @pytest.mark.parametrize("size", [5 * MIB, 6 * MIB])
    def test_chunksize(
        self, proxied_options: dict[str, Any], proxy: CountingProxy, lane: str, size: int
    ) -> None:
        fs = opened(proxied_options, lane, chunksize=size)
        with proxy.counting() as seen:
            fs.pipe_file("/whole", b"x" * size)
            fs.pipe_file("/parts", b"x" * (2 * size + 1))
        sent = {
            (kind(request), request.query.get("partNumber", ""), int(request.headers["content-length"]))
            for request in seen
            if request.method == "PUT"
        }
        parts = {("UploadPart", "1", size), ("UploadPart", "2", size), ("UploadPart", "3", 1)}
        assert sent == {("PutObject", "", size)} | parts

    def test_copies(self, proxied_options: dict[str, Any], proxy: CountingProxy) -> None:
        """Above ``multipartcopythresholdsize`` by parts of ``multipartcopychunksize``, else whole."""
        fs = opened(proxied_options, "fast", multipartcopythresholdsize=6 * MIB)
        fs.pipe_file("/small", b"x" * (6 * MIB))
        fs.pipe_file("/large", b"x" * (6 * MIB + 1))
        with proxy.counting() as seen:
            fs.copy("/small", "/a")
            fs.copy("/large", "/b")
        copies = [
            (request.path.rpartition("/")[2], request.headers.get("x-amz-copy-source-range"))
            for request in seen
            if "x-amz-copy-source" in request.headers
        ]
        ranges = [f"bytes=0-{CHUNK - 1}", f"bytes={CHUNK}-{6 * MIB}"]
        assert sorted(copies, key=str) == sorted([("a", None), ("b", ranges[0]), ("b", ranges[1])], key=str)

    @pytest.mark.parametrize("most", [1, 2])
    def test_copies_at_once(self, proxied_options: dict[str, Any], proxy: CountingProxy, most: int) -> None:
        fs = opened(proxied_options, "fast", multipartcopymaxconcurrency=most)
        fs.pipe_file("/large", b"x" * (3 * CHUNK + 1))
        lock, together, highest = threading.Lock(), threading.Barrier(most), [0, 0]

        def hold(request: Request) -> None:
            if kind(request) != "UploadPartCopy":
                return
            with lock:
                highest[0] += 1
                highest[1] = max(highest)
            together.wait(60)  # so many come at once
            with lock:
                highest[0] -= 1

        proxy.fault = hold
        fs.copy("/large", "/copy")
        proxy.fault = None
        assert highest == [0, most]


@pytest.mark.parametrize("retries", [0, 1, 3])
@both_lanes
def test_maxretries(proxied_options: dict[str, Any], proxy: CountingProxy, lane: str, retries: int) -> None:
    fs = opened(proxied_options, lane, maxretries=retries)
    proxy.fault = lambda _: BUSY
    with proxy.counting() as seen, pytest.raises(OSError, match="500"):
        fs.cat_file("/a")
    assert len(seen) == 1 + retries


@pytest.mark.parametrize("settings", [{}, {"v4auth": False}], ids=["v4", "v2"])
def test_presigned_urls(proxied_options: dict[str, Any], settings: dict[str, Any]) -> None:
    """They carry who signs, the token, and for how long; none of what concerns creation."""
    creating: dict[str, Any] = {"encrypt": True, "storageclass": "ONEZONE_IA", "objectacl": "public-read"}
    fs = RegistryFileSystem(**proxied_options, **creating, **settings, sessiontoken="the+token/=")
    query = parse_qs(urlsplit(fs.sign("/a", 60)).query)
    if settings:
        assert set(query) == {"AWSAccessKeyId", "Signature", "x-amz-security-token", "Expires"}
        assert query["x-amz-security-token"] == ["the+token/="]
    else:
        assert query["X-Amz-Security-Token"] == ["the+token/="]
        assert query["X-Amz-Expires"] == ["60"]
        assert {name.lower() for name in query} <= {
            f"x-amz-{name}"
            for name in (
                *("algorithm", "credential", "date", "expires"),
                *("signedheaders", "security-token", "signature"),
            )
        }


def test_a_path_in_regionendpoint(proxied_options: dict[str, Any], proxy: CountingProxy) -> None:
    endpoint = f"{proxied_options['regionendpoint']}/in/front"
    for lane in ("fast", "botocore"):
        fs = opened(proxied_options, lane, regionendpoint=endpoint, rootdirectory="")
        proxy.fault = lambda _: OK.replace(b"\r\n\r\n", b'\r\netag: "e"\r\n\r\n')
        fs.pipe_file("/a", b"x")
        proxy.fault = None
        assert proxy.requests[-1].path == f"/in/front/{fs.space.bucket}/a"
        assert fs.sign("/a").startswith(f"{endpoint}/{fs.space.bucket}/a?")


class TestPartsWithChecksums:
    """An upload begun with a checksum needs that of each part to be completed, also of copied and old ones.

    S3 answers 400 otherwise ("The complete request must include the checksum for each part"). Neither server
    does, so the test answers in its place.
    https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html
    """

    @staticmethod
    def of_s3(request: Request) -> bytes | None:
        def document(name: str, content: str) -> bytes:
            body = f"<{name}>{content}</{name}>".encode()
            return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)

        number = request.query.get("partNumber", "")
        checked = f'<ETag>"e"</ETag><ChecksumSHA256>sum{number}</ChecksumSHA256>'
        if request.method == "HEAD":
            told = f'content-length: {CHUNK + 1}\r\netag: "e"\r\nlast-modified: Mon, 23 Nov 2026 10:00:00 GMT'
            return f"HTTP/1.1 200 OK\r\n{told}\r\n\r\n".encode()
        if kind(request) == "UploadPartCopy":
            time = "<LastModified>2026-11-23T10:00:00Z</LastModified>"
            return document("CopyPartResult", time + checked)
        if kind(request) == "CreateMultipartUpload":
            return document("InitiateMultipartUploadResult", "<UploadId>u</UploadId>")
        if kind(request) == "CompleteMultipartUpload":
            return document("CompleteMultipartUploadResult", '<ETag>"e-2"</ETag>')
        if "uploadId" in request.query:
            time = "<LastModified>2026-11-23T10:00:00Z</LastModified>"
            return document(
                "ListPartsResult",
                f"<Part><PartNumber>1</PartNumber>{time}<Size>{CHUNK}</Size>{checked}</Part>"
                "<IsTruncated>false</IsTruncated>",
            )
        return None

    def test_of_a_copy(self, proxied_options: dict[str, Any], proxy: CountingProxy) -> None:
        fs = opened(proxied_options, "fast", checksum_algorithm="SHA256")
        proxy.fault = self.of_s3
        with proxy.counting() as seen:
            fs.cp_file("/large", "/copy")
        (completed,) = (item for item in seen if kind(item) == "CompleteMultipartUpload")
        assert completed.body.count(b"<ChecksumSHA256>sum1</ChecksumSHA256>") == 1
        assert completed.body.count(b"<ChecksumSHA256>sum2</ChecksumSHA256>") == 1

    def test_of_parts_that_are_there(self, proxied_options: dict[str, Any], proxy: CountingProxy) -> None:
        fs = opened(proxied_options, "fast", checksum_algorithm="SHA256")
        proxy.fault = self.of_s3
        (part,) = sync(fs.loop, fs.client.parts, "large", "u")
        assert part.checksum == "sum"
        old = opened(proxied_options, "fast")  # begun with none
        (part,) = sync(old.loop, old.client.parts, "large", "u")
        assert part.checksum == ""
