"""What becomes a header can neither end it nor begin another: refused by a typed error, before it is sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from fsspec.asyn import sync
from security.conftest import OBJECT, answer, shown

from regfs import DriverParameters, InvalidPathError, ParameterError, RegistryFileSystem, StorageDriver
from regfs.s3.sigv4 import EMPTY_SHA256, Credentials, Signer

if TYPE_CHECKING:
    from security.conftest import Make
    from support.proxy import CountingProxy

ENDS = [
    "\r\nX-Evil: 1",
    "\nX-Evil: 1",
    "\rX-Evil: 1",
    "\0",
    "\x0b",
    "\x7f",
    "\u0085X-Evil: 1",
    "\u2028X",
    "é",
    "日",
]
HEADERS = ["useragent", "keyid", "accesskey", "sessiontoken"]
OTHERS = [
    "objectacl",
    "storageclass",
    "region",
    "regionendpoint",
    "redirectendpoint",
    "checksum_algorithm",
    "bucket",
]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("key", [*HEADERS, *OTHERS, "secretkey", "rootdirectory"])
def test_parameters(key: str, end: str) -> None:
    options = {"bucket": "b", "region": "us-east-1", "accesskey": "a", "secretkey": "s", "encrypt": True}
    if key in ("secretkey", "rootdirectory") and end.isprintable():
        DriverParameters.from_mapping(
            {**options, key: "x" + end}
        )  # signed with, or quoted, and never a header
        return
    if key in ("secretkey", "rootdirectory") and end[0] in "\u0085\u2028":
        return
    for value in ("x" + end, end + "x", end):
        with pytest.raises(ParameterError) as caught:
            DriverParameters.from_mapping({**options, key: value})
        assert caught.value.key == key
        assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN"])
@pytest.mark.parametrize("end", ["\r\nX-Evil: 1", "\nX-Evil: 1", "\x01", "é"])
@pytest.mark.parametrize("server", ["moto"], indirect=True)
def test_credentials_of_the_chain(
    make: Make, proxy: CountingProxy, monkeypatch: pytest.MonkeyPatch, name: str, end: str
) -> None:
    for each in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(each, "sEcReT")
    monkeypatch.setenv(name, "sEcReT" + end)
    fs = make(accesskey=None, secretkey=None, maxretries=2)
    driver = StorageDriver(fs)
    for call in (lambda: fs.cat_file("/a"), lambda: driver.put_content("/a", b"1"), lambda: fs.sign("/a")):
        try:
            url = call()
        except PermissionError as exc:
            assert "sEcReT" not in shown(exc)  # noqa: PT017 - a URL is no failure
        else:
            assert isinstance(url, str)
            assert url.isprintable()
            assert url.isascii()
    assert all("x-evil" not in request.headers for request in proxy.requests)
    assert proxy.requests == []


@pytest.mark.parametrize("server", ["moto"], indirect=True)
@pytest.mark.parametrize(
    "told",
    [
        {"Content_Type": "text/plain\x01"},
        {"Content_Type": "text/\xe9"},
        {"Content_Type": "a" * 3000},
        {"x_amz_meta_name": "\xe9"},
        {"x_amz_meta_name": "a\x7fb"},
        {"x_amz_meta_name": "=?UTF-8?B?DQpYLUV2aWw6IDE=?="},
        {"x_amz_meta_na\xefve": "a"},
        {"ETag": '"\x01"'},
        {"ETag": '"e"\t'},
        {"ETag": '"e",*'},
    ],
)
def test_what_a_service_says_of_an_object_that_is_continued(
    make: Make, proxy: CountingProxy, told: dict[str, str]
) -> None:
    """Content type, metadata and ETag are handed on: to the new object, and in conditions."""
    head = {"Content_Type": "text/plain", **OBJECT, **told}
    proxy.fault = lambda request: (
        answer("200 OK", b"", **head).replace(b"Content-Length: 0", b"Content-Length: 6000000")
        if request.method == "HEAD"
        else answer("404 Not Found", b"<Error><Code>NoSuchUpload</Code></Error>")
    )
    fs = make(multipartcopythresholdsize=0)
    calls: list[Callable[[], Any]] = [lambda: fs.cp_file("/a", "/b"), lambda: fs.open("/a", "ab")]
    calls.append(lambda: fs.cat_file("/a", -5))
    for call in calls:
        with pytest.raises(OSError):
            call()
    for request in proxy.requests:
        assert "x-evil" not in request.headers
        assert not any(
            ord(c) < 32 or ord(c) == 127 for value in request.headers.values() for c in value.strip()
        )


@pytest.mark.parametrize("end", ["\r\nX-Evil: 1", "\n", "\0"])
@pytest.mark.parametrize("server", ["moto"], indirect=True)
def test_keys_in_the_source_of_a_copy(make: Make, proxy: CountingProxy, end: str) -> None:
    fs = make()
    for source, target in (("/a" + end, "/b"), ("/a", "/b" + end)):
        for call in (fs.cp_file, fs.mv, StorageDriver(fs).move):
            with pytest.raises(InvalidPathError):
                call(source, target)
    assert {request.method for request in proxy.requests} <= {"GET", "HEAD"}  # mv looks at its source first


@pytest.mark.parametrize("server", ["moto"], indirect=True)
def test_quoted_ends_stay_quoted(make: Make, proxy: CountingProxy) -> None:
    fs = make()
    fs.pipe_file("/a%0d%0aX-Evil: 1", b"1")
    fs.cp_file("/a%0d%0aX-Evil: 1", "/b")
    assert fs.cat_file("/b") == b"1"
    assert any(
        "%250d%250aX-Evil" in request.headers.get("x-amz-copy-source", "") for request in proxy.requests
    )


@pytest.mark.parametrize("end", ["\r\nX-Evil: 1", "\n", "\r", "\0", "\x7f"])
@pytest.mark.parametrize("where", ["header", "key", "token"])
def test_the_signer(where: str, end: str) -> None:
    keys = Credentials("a" + end * (where == "key"), "s", "t" + end * (where == "token"))
    headers = {"x-amz-acl": "private" + end * (where == "header")}
    with pytest.raises(ValueError, match="control character") as caught:
        Signer("r", "h").sign("GET", "/", "", headers, EMPTY_SHA256, keys, 0)
    assert "Evil" not in str(caught.value)


def test_a_forced_key_fails_on_either_lane(options: dict[str, Any]) -> None:
    """Whatever got past the parameters: the HTTP library is not the first to look."""
    fs = RegistryFileSystem(**options)
    object.__setattr__(fs.parameters, "session_token", "t\r\nX-Evil: 1")
    for canonical in (False, True):
        if canonical:
            fs.client.transport.fast.off()
        with pytest.raises(OSError):
            sync(fs.loop, fs.client.head, "a")
