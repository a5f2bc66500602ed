"""The doctor: finds each fault where there is one and none where there is none, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support.proxy import Fate

from regfs.doctor import examination
from regfs.doctor.checks import Check, Verdict
from regfs.filesystem import RegistryFileSystem

if TYPE_CHECKING:
    from support.proxy import CountingProxy, Request
    from support.servers import Place, Server

on_seaweedfs = pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)
Found = dict[str, Check]

CONNECTION = ["parameters", "name", "connection", "TLS", "HTTP", "clock"]
ACCESS = ["credentials", "signature", "bucket", "region"]


def examine(options: dict[str, Any], *, read_only: bool = False) -> Found:
    """Examine a place; the same checks are reported as they end and given at the end."""
    reported: list[Check] = []
    checks = examination.examine(lambda: RegistryFileSystem(**options), reported.append, read_only=read_only)
    assert checks == reported
    names = [check.name for check in checks]
    assert len(set(names)) == len(names)
    for check in checks:
        assert "\n" not in check.found + check.advice
        assert bool(check.advice) == (check.verdict in (Verdict.FAILED, Verdict.WARNING))
        for key in ("accesskey", "secretkey"):
            secret = str(options.get(key) or "")
            assert len(secret) < 8 or secret not in check.found + check.advice
    return {check.name: check for check in checks}


def verdicts(found: Found, verdict: Verdict) -> set[str]:
    """Name those that ended so; "registry" is left out, as the bucket holds other tests' trees as well."""
    return {name for name, check in found.items() if check.verdict is verdict and name != "registry"}


# -- all is well --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "extra",
    [{}, {"encrypt": True, "storageclass": "REDUCED_REDUNDANCY"}, {"checksum_algorithm": "SHA256"}],
    ids=["plain", "encrypted", "sha256"],
)
def test_all_is_well(server: Server, options: dict[str, Any], raw: Place, extra: dict[str, Any]) -> None:
    found = examine({**options, **extra})
    assert list(found)[:10] == CONNECTION + ACCESS
    assert verdicts(found, Verdict.FAILED) == set()
    # moto takes whatever content comes, and tells the region; SeaweedFS does neither.
    assert verdicts(found, Verdict.WARNING) == ({"checksum"} if server.name == "moto" else set())
    assert verdicts(found, Verdict.SKIPPED) == ({"TLS"} if server.name == "moto" else {"TLS", "region"})
    assert found["encryption"].found.endswith("AES256" if extra.get("encrypt") else "none")
    assert found["storage class"].found.endswith(extra.get("storageclass", "STANDARD"))
    assert (raw.keys(), raw.uploads()) == ([], [])


@pytest.mark.parametrize("server", ["moto"], indirect=True)
def test_a_kms_key(options: dict[str, Any]) -> None:
    found = examine({**options, "encrypt": True, "keyid": "11111111-2222-3333-4444-555555555555"})
    assert found["encryption"] == Check("encryption", Verdict.OK, "reported as asked for: aws:kms")


@on_seaweedfs
def test_read_only_writes_nothing(proxied_options: dict[str, Any], proxy: CountingProxy, raw: Place) -> None:
    raw.put("docker/registry/v2/blobs/x", b"0123456789")
    found = examine(proxied_options, read_only=True)
    assert {request.method for request in proxy.requests} == {"GET", "HEAD"}
    assert verdicts(found, Verdict.FAILED) | verdicts(found, Verdict.WARNING) == set()
    for name in ("GetObject", "GetObject range", "HeadObject", "presigned GET", "ListMultipartUploads"):
        assert found[name].verdict is Verdict.OK
    for name in ("PutObject", "DeleteObject", "CompleteMultipartUpload"):
        assert found[name] == Check(name, Verdict.SKIPPED, "writes (--read-only)")
    assert found["registry"].found.endswith("/docker/registry/v2")


@on_seaweedfs
def test_read_only_of_an_empty_bucket_has_nothing_to_read(server: Server, bucket: str) -> None:
    found = examine(server.storage_options(bucket), read_only=True)
    assert found["GetObject"] == Check("GetObject", Verdict.SKIPPED, "there is no object to read")
    assert found["registry"] == Check("registry", Verdict.OK, "none in this bucket yet")


# -- before the first permission ----------------------------------------------------------------------


def test_a_wrong_parameter() -> None:
    found = examine({"bucket": "registry", "region": "us-east-1", "chunksize": "1KiB"})
    assert list(found) == ["parameters"]
    assert "chunksize" in found["parameters"].found
    assert found["parameters"].verdict is Verdict.FAILED


def test_a_missing_config() -> None:
    found = examine({"config": "/nonexistent/config.yml"})
    assert found["parameters"].found == "/nonexistent/config.yml: No such file or directory"


def test_nothing_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    endpoint = f"http://127.0.0.1:{port}"
    found = examine({"bucket": "registry", "regionendpoint": endpoint, "accesskey": "a", "secretkey": "bcd"})
    assert list(found) == ["parameters", "name", "connection", "everything else"]
    assert verdicts(found, Verdict.FAILED) == {"connection"}


@on_seaweedfs
def test_no_credentials(options: dict[str, Any]) -> None:
    found = examine({**options, "accesskey": "", "secretkey": ""})
    assert list(found)[-1] == "credentials"
    assert found["credentials"].found == "none found"
    assert "AWS_ACCESS_KEY_ID" in found["credentials"].advice


@on_seaweedfs
def test_credentials_of_the_environment(
    options: dict[str, Any], server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.secret_key)
    found = examine({**options, "accesskey": "", "secretkey": ""})
    assert verdicts(found, Verdict.FAILED) == set()
    text = f"{server.access_key[:4]}…{server.access_key[-4:]} from the environment"
    assert found["credentials"].found == text


@on_seaweedfs
@pytest.mark.parametrize(
    ("wrong", "found", "advice"),
    [
        ({"accesskey": "AKIAWRONG"}, "does not know the access key", "accesskey"),
        ({"secretkey": "something else"}, "is not the access key's", "secretkey"),
    ],
)
def test_wrong_credentials(options: dict[str, Any], wrong: dict[str, str], found: str, advice: str) -> None:
    checks = examine({**options, **wrong})
    assert list(checks)[-2:] == ["signature", "everything else"]
    assert verdicts(checks, Verdict.FAILED) == {"signature"}
    assert found in checks["signature"].found
    assert advice in checks["signature"].advice


def test_a_missing_bucket(options: dict[str, Any]) -> None:
    found = examine({**options, "bucket": "no-such-bucket"})
    assert verdicts(found, Verdict.FAILED) == {"bucket"}
    assert found["signature"].verdict is Verdict.OK
    assert list(found)[-1] == "everything else"


@pytest.mark.parametrize("server", ["moto"], indirect=True)
def test_another_region(options: dict[str, Any]) -> None:
    found = examine({**options, "region": "eu-west-1"})
    assert found["region"].verdict is Verdict.WARNING
    assert found["region"].advice == "set region: us-east-1"


# -- each permission ----------------------------------------------------------------------------------


def _answer(status: str, body: bytes = b"", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\n{headers}content-length: {len(body)}\r\n\r\n".encode() + body


def denied(request: Request) -> bytes:
    body = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
    return _answer("403 Forbidden", b"" if request.method == "HEAD" else body)


def _of_object(request: Request) -> bool:
    return "/.regfs-doctor-" in request.path


def _plain_get(request: Request) -> bool:
    return (
        request.method == "GET"
        and _of_object(request)
        and not {"uploadId", "X-Amz-Signature"} & set(request.query)
    )


def _plain_put(request: Request) -> bool:
    return (
        request.method == "PUT"
        and "partNumber" not in request.query
        and not {"x-amz-copy-source", "if-none-match"} & set(request.headers)
    )


KINDS: dict[str, Callable[[Request], bool]] = {
    "ListObjectsV2": lambda r: r.method == "GET" and "list-type" in r.query,
    "PutObject": _plain_put,
    "CopyObject": lambda r: "x-amz-copy-source" in r.headers and "partNumber" not in r.query,
    "HeadObject": lambda r: r.method == "HEAD" and _of_object(r),
    "GetObject": lambda r: _plain_get(r) and "range" not in r.headers,
    "GetObject range": lambda r: _plain_get(r) and "range" in r.headers,
    "presigned GET": lambda r: "X-Amz-Signature" in r.query,
    "CreateMultipartUpload": lambda r: r.method == "POST" and "uploads" in r.query,
    "UploadPart": lambda r: "partNumber" in r.query and "x-amz-copy-source" not in r.headers,
    "UploadPartCopy": lambda r: "partNumber" in r.query and "x-amz-copy-source" in r.headers,
    "ListParts": lambda r: r.method == "GET" and "uploadId" in r.query,
    "ListMultipartUploads": lambda r: r.method == "GET" and "uploads" in r.query,
    "CompleteMultipartUpload": lambda r: r.method == "POST" and "uploadId" in r.query,
    "AbortMultipartUpload": lambda r: r.method == "DELETE" and "uploadId" in r.query,
    "DeleteObject": lambda r: r.method == "DELETE" and "uploadId" not in r.query,
    "DeleteObjects": lambda r: r.method == "POST" and "delete" in r.query,
}
ACTIONS = {
    "ListObjectsV2": "s3:ListBucket",
    "CopyObject": "s3:GetObject and s3:PutObject",
    "HeadObject": "s3:GetObject",
    "GetObject": "s3:GetObject",
    "GetObject range": "s3:GetObject",
    "presigned GET": "s3:GetObject",
    "UploadPartCopy": "s3:GetObject and s3:PutObject",
    "ListParts": "s3:ListMultipartUploadParts",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
    "DeleteObject": "s3:DeleteObject",
    "DeleteObjects": "s3:DeleteObject",
}
"""All others: s3:PutObject."""
DEPENDENT = {
    "ListObjectsV2": {"list after write", "links"},
    "PutObject": {
        *("PutObject again", "If-None-Match", "checksum", "CopyObject", "UploadPartCopy"),
        *("list after write", "encryption", "storage class"),
    },
    "HeadObject": {"encryption", "storage class"},
    "CreateMultipartUpload": {
        *("UploadPart", "UploadPartCopy", "ListParts", "CompleteMultipartUpload", "AbortMultipartUpload"),
    },
    "ListMultipartUploads": {"pending uploads"},
}
"""What cannot be tried where a request is denied."""


def deny(proxy: CountingProxy, *kinds: str) -> None:
    proxy.fault = lambda request: denied(request) if any(KINDS[kind](request) for kind in kinds) else None


@on_seaweedfs
@pytest.mark.parametrize("kind", KINDS)
def test_one_permission_is_missing(
    proxied_options: dict[str, Any], proxy: CountingProxy, raw: Place, kind: str
) -> None:
    raw.put("there-before", b"0123456789")
    deny(proxy, kind)
    found = examine(proxied_options)
    assert verdicts(found, Verdict.FAILED) == {kind}
    assert verdicts(found, Verdict.SKIPPED) == {"TLS", "region"} | DEPENDENT.get(kind, set())
    bucket = f"arn:aws:s3:::{raw.bucket}"
    where = bucket if kind.startswith("List") and kind != "ListParts" else f"{bucket}/{raw.prefix}*"
    if kind == "presigned GET":
        assert "s3:GetObject" in found[kind].advice
    else:
        assert found[kind].advice == f"allow {ACTIONS.get(kind, 's3:PutObject')} on {where}"
    # All other requests of a driver were tried, and went well.
    assert verdicts(found, Verdict.OK) >= set(KINDS) - {kind} - DEPENDENT.get(kind, set())
    assert found["clean-up"].found == "nothing is left behind"
    assert (raw.keys(), raw.uploads()) == (["there-before"], [])


@on_seaweedfs
def test_the_advice_names_what_the_parameters_bring_with_them(
    proxied_options: dict[str, Any], proxy: CountingProxy
) -> None:
    deny(proxy, "PutObject")
    extra = {"encrypt": True, "keyid": "my-key", "objectacl": "bucket-owner-full-control"}
    advice = examine({**proxied_options, **extra})["PutObject"].advice
    assert "s3:PutObject and s3:PutObjectAcl" in advice
    assert "kms:GenerateDataKey and kms:Decrypt on my-key" in advice


@on_seaweedfs
def test_what_cannot_be_removed_is_named(
    proxied_options: dict[str, Any], proxy: CountingProxy, raw: Place
) -> None:
    deny(proxy, "DeleteObject", "DeleteObjects", "AbortMultipartUpload", "CompleteMultipartUpload")
    found = examine(proxied_options)
    assert found["clean-up"].verdict is Verdict.FAILED
    keys, uploads = raw.keys(), raw.uploads()
    assert keys
    assert uploads
    for key in [*keys, *(key for key, _ in uploads)]:
        assert f"regfs://{raw.bucket}/{key}" in found["clean-up"].found
    assert f"regfs rm -r regfs://{raw.bucket}/.regfs-doctor-" in found["clean-up"].advice


WRITES = ("PutObject", "CopyObject", "CreateMultipartUpload", "UploadPart", "UploadPartCopy")
REMOVALS = ("DeleteObject", "DeleteObjects", "AbortMultipartUpload", "CompleteMultipartUpload")


@on_seaweedfs
@pytest.mark.parametrize("listed", [True, False], ids=["listed", "not listed"])
def test_what_was_never_made_is_not_left_behind(
    proxied_options: dict[str, Any], proxy: CountingProxy, raw: Place, listed: bool
) -> None:
    """All puts are denied, and so is their removal: there is nothing to be removed."""
    reads = () if listed else ("ListObjectsV2", "ListMultipartUploads", "HeadObject", "GetObject")
    deny(proxy, *WRITES, *REMOVALS, *reads)
    found = examine(proxied_options)
    assert {"PutObject", "CreateMultipartUpload", "DeleteObject"} <= verdicts(found, Verdict.FAILED)
    assert found["clean-up"] == Check("clean-up", Verdict.OK, "nothing is left behind")
    assert (raw.keys(), raw.uploads()) == ([], [])


@on_seaweedfs
def test_only_what_was_made_is_named(
    proxied_options: dict[str, Any], proxy: CountingProxy, raw: Place
) -> None:
    """Of five objects one is made; nothing can be removed, listed or looked at."""
    denied_ = (*WRITES[1:], *REMOVALS, "ListObjectsV2", "ListMultipartUploads", "HeadObject")
    deny(proxy, *denied_)
    found = examine({**proxied_options, "checksum_disabled": True})["clean-up"]
    (key,) = raw.keys()
    assert found.verdict is Verdict.FAILED
    assert found.found == f"left behind: regfs://{raw.bucket}/{key}"


def lost(proxy: CountingProxy, kind: str, *denied_: str) -> None:
    """Lose the answers to one request, which the service carries out, and deny others."""

    def answer(request: Request) -> bytes | Fate | None:
        if KINDS[kind](request):
            return Fate(answer=-1)
        return denied(request) if any(KINDS[each](request) for each in denied_) else None

    proxy.fault = answer


@on_seaweedfs
@pytest.mark.parametrize("looked", ["ListObjectsV2", "HeadObject", ""])
def test_a_put_whose_answer_is_lost(
    proxied_options: dict[str, Any], proxy: CountingProxy, raw: Place, looked: str
) -> None:
    """It is left behind for certain where the service can be asked, else perhaps."""
    asking = {"ListObjectsV2", "HeadObject"} - {looked}
    lost(proxy, "PutObject", "DeleteObject", "DeleteObjects", *asking)
    found = examine({**proxied_options, "maxretries": 0, "checksum_disabled": True})["clean-up"]
    (key,) = (key for key in raw.keys() if key.endswith("/object"))
    if looked:
        assert found.verdict is Verdict.FAILED
        assert found.found.startswith("left behind: ")
    else:
        assert "perhaps left behind, as no answer came: " in found.found
    assert f"regfs://{raw.bucket}/{key}" in found.found
    assert f"{key.removesuffix('object')}spoilt" not in found.found


@on_seaweedfs
def test_an_upload_whose_answer_is_lost(
    proxied_options: dict[str, Any], proxy: CountingProxy, raw: Place
) -> None:
    lost(proxy, "CreateMultipartUpload", "ListMultipartUploads")
    found = examine({**proxied_options, "maxretries": 0})["clean-up"]
    ((key, _),) = raw.uploads()
    text = f"perhaps left behind, as no answer came: an upload of regfs://{raw.bucket}/{key}"
    assert (found.verdict, found.found) == (Verdict.WARNING, text)
    assert "regfs uploads --older-than 1d --abort" in found.advice


@on_seaweedfs
@pytest.mark.parametrize("kind", ["CompleteMultipartUpload", "AbortMultipartUpload", "CopyObject"])
def test_a_lost_answer_leaves_nothing_behind(
    proxied_options: dict[str, Any], proxy: CountingProxy, raw: Place, kind: str
) -> None:
    lost(proxy, kind)
    found = examine({**proxied_options, "maxretries": 0})
    assert (raw.keys(), raw.uploads()) == ([], [])
    assert found["clean-up"] == Check("clean-up", Verdict.OK, "nothing is left behind")


@on_seaweedfs
def test_a_request_that_the_service_does_not_offer(
    proxied_options: dict[str, Any], proxy: CountingProxy
) -> None:
    body = b"<Error><Code>NotImplemented</Code><Message>Not here</Message></Error>"

    def unknown(request: Request) -> bytes | None:
        return _answer("501 Not Implemented", body) if KINDS["UploadPartCopy"](request) else None

    proxy.fault = unknown
    found = examine({**proxied_options, "maxretries": 0})
    assert verdicts(found, Verdict.FAILED) == {"UploadPartCopy"}
    assert "may not offer" in found["UploadPartCopy"].advice
    assert "501" in found["UploadPartCopy"].found


# -- what was asked for -------------------------------------------------------------------------------


@on_seaweedfs
def test_a_condition_that_is_ignored(proxied_options: dict[str, Any], proxy: CountingProxy) -> None:
    taken = _answer("200 OK", headers='etag: "x"\r\n')
    proxy.fault = lambda request: taken if "if-none-match" in request.headers else None
    found = examine(proxied_options)
    assert verdicts(found, Verdict.FAILED) == set()
    assert found["If-None-Match"].verdict is Verdict.WARNING
    assert "is ignored" in found["If-None-Match"].found


@on_seaweedfs
def test_a_condition_that_is_refused_is_no_failure(
    proxied_options: dict[str, Any], proxy: CountingProxy
) -> None:
    proxy.fault = lambda request: denied(request) if "if-none-match" in request.headers else None
    found = examine(proxied_options)
    assert verdicts(found, Verdict.WARNING) == {"If-None-Match"}
    assert verdicts(found, Verdict.FAILED) == set()


def head_of(name: str, headers: str) -> Callable[[Request], bytes | None]:
    """Answer each HEAD of one object of the doctor's in the service's place, until it is deleted."""
    deleted: list[Request] = []
    told = 'last-modified: Tue, 24 Nov 2026 11:00:00 GMT\r\netag: "x"\r\n'

    def answer(request: Request) -> bytes | None:
        if KINDS["DeleteObject"](request):
            deleted.append(request)
        if deleted or request.method != "HEAD" or not request.path.endswith(f"/{name}"):
            return None
        return f"HTTP/1.1 200 OK\r\n{told}{headers}content-length: 22\r\n\r\n".encode()

    return answer


@on_seaweedfs
@pytest.mark.parametrize(("name", "request_"), [("object", "PutObject"), ("copy", "CopyObject")])
def test_encryption_that_is_not_honoured(
    proxied_options: dict[str, Any], proxy: CountingProxy, name: str, request_: str
) -> None:
    proxy.fault = head_of(name, "")
    found = examine({**proxied_options, "encrypt": True})
    assert verdicts(found, Verdict.FAILED) == {"encryption"}
    assert found["encryption"].found == f"{request_} asked for AES256 and reports none"


@pytest.mark.parametrize("server", ["moto"], indirect=True)
def test_another_kms_key(proxied_options: dict[str, Any], proxy: CountingProxy) -> None:
    told = "x-amz-server-side-encryption: aws:kms\r\nx-amz-server-side-encryption-aws-kms-key-id: other\r\n"
    proxy.fault = head_of("object", told)
    found = examine({**proxied_options, "encrypt": True, "keyid": "mine"})
    assert verdicts(found, Verdict.FAILED) == {"encryption"}
    assert found["encryption"].found == "PutObject reports the key other"


@on_seaweedfs
def test_a_storage_class_that_is_not_honoured(proxied_options: dict[str, Any], proxy: CountingProxy) -> None:
    proxy.fault = head_of("object", "")
    found = examine({**proxied_options, "storageclass": "STANDARD_IA"})
    assert verdicts(found, Verdict.WARNING) == {"storage class"}
    assert found["storage class"].found == "PutObject asked for STANDARD_IA and reports STANDARD"


@on_seaweedfs
def test_old_content_after_an_overwrite(proxied_options: dict[str, Any], proxy: CountingProxy) -> None:
    stale = _answer("200 OK", b"first content", "last-modified: Tue, 24 Nov 2026 11:00:00 GMT\r\n")
    proxy.fault = lambda request: stale if KINDS["GetObject"](request) else None
    found = examine(proxied_options)
    assert verdicts(found, Verdict.FAILED) == {"GetObject"}
    assert "strongly consistent" in found["GetObject"].advice


@on_seaweedfs
def test_an_object_that_is_not_listed(proxied_options: dict[str, Any], proxy: CountingProxy) -> None:
    empty = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
    listing = _answer("200 OK", empty, "content-type: application/xml\r\n")
    proxy.fault = lambda request: listing if KINDS["ListObjectsV2"](request) else None
    found = examine(proxied_options)
    assert verdicts(found, Verdict.FAILED) == {"list after write"}


# -- the presigned URL --------------------------------------------------------------------------------


@on_seaweedfs
def test_the_presigned_url_goes_through_redirectendpoint(
    options: dict[str, Any], proxy: CountingProxy
) -> None:
    found = examine({**options, "redirectendpoint": proxy.endpoint})
    assert proxy.endpoint in found["presigned GET"].found
    assert [request.status for request in proxy.requests] == [200]


@on_seaweedfs
def test_a_dead_redirectendpoint(options: dict[str, Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    found = examine({**options, "redirectendpoint": f"http://127.0.0.1:{port}"})
    assert verdicts(found, Verdict.FAILED) == {"presigned GET"}
    assert "cannot be reached" in found["presigned GET"].found
    assert "redirectendpoint" in found["presigned GET"].advice


# -- what lies there ----------------------------------------------------------------------------------


@on_seaweedfs
def test_an_old_pending_upload(options: dict[str, Any], raw: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    key = raw.prefix + "docker/registry/v2/x"
    upload = raw.s3.create_multipart_upload(Bucket=raw.bucket, Key=key)["UploadId"]
    raw.s3.upload_part(Bucket=raw.bucket, Key=key, UploadId=upload, PartNumber=1, Body=b"x" * 1000)
    assert examine(options)["pending uploads"].verdict is Verdict.OK  # young
    monkeypatch.setattr(examination, "OLD", timedelta(0))
    check = examine(options)["pending uploads"]
    assert check.verdict is Verdict.WARNING
    assert check.found.startswith("1 upload older")
    assert "1000 bytes" in check.found
    assert "regfs uploads --older-than" in check.advice
    assert [found for _, found in raw.uploads()] == [upload]


@pytest.mark.parametrize(("root", "advice"), [("", "/inner/deep"), ("/nowhere", "/inner/deep")])
@on_seaweedfs
def test_a_registry_elsewhere(server: Server, bucket: str, root: str, advice: str) -> None:
    with contextlib.closing(server.client()) as s3:
        s3.put_object(Bucket=bucket, Key="inner/deep/docker/registry/v2/blobs/x", Body=b"x")
    check = examine({**server.storage_options(bucket), "rootdirectory": root})["registry"]
    assert check.verdict is Verdict.WARNING
    assert check.advice == f"if that is the one, set rootdirectory: {advice}"


def test_every_verdict_has_a_sign() -> None:
    from regfs.cli.doctor import _SIGNS

    signs: Iterable[Verdict] = _SIGNS
    assert set(signs) == set(Verdict)
