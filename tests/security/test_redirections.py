"""A service that sends a request elsewhere: nobody else is given a request, a signature or a token."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from support.proxy import CountingProxy

from regfs import RegistryFileSystem, StorageDriver

if TYPE_CHECKING:
    from support.servers import Place, Server

# moto takes any token; what arrives elsewhere is what matters here.
pytestmark = pytest.mark.parametrize("server", ["moto"], indirect=True)

STATUSES = ("301 Moved Permanently", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent")


@pytest.fixture
def stranger(server: Server) -> Iterator[CountingProxy]:
    """Another host, which has an answer for everything."""
    elsewhere = CountingProxy(server.endpoint)
    body = b"not yours"
    elsewhere.fault = lambda _: (
        b'HTTP/1.1 200 OK\r\nETag: "e"\r\nLast-Modified: Mon, 23 Nov 2026 10:00:00 GMT\r\n'
        b"Content-Length: %d\r\n\r\n" % len(body) + body
    )
    yield elsewhere
    elsewhere.close()


def redirection(status: str, target: str, **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Location: {target}", "Content-Length: 0"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


OPERATIONS = {
    "get": lambda driver: driver.get_content("/file"),
    "head": lambda driver: driver.stat("/file"),
    "list": lambda driver: driver.list("/d"),
    "put": lambda driver: driver.put_content("/new", b"secret content"),
    "delete": lambda driver: driver.fs.rm_file("/file"),
    "copy": lambda driver: driver.fs.cp_file("/file", "/copy"),
    "exclusive": lambda driver: driver.fs.pipe_file("/once", b"secret content", mode="create"),
}


@pytest.mark.parametrize("lane", ["fast", "canonical"])
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("status", STATUSES)
def test_no_other_host_is_asked(
    proxied_options: dict[str, Any],
    proxy: CountingProxy,
    raw: Place,
    stranger: CountingProxy,
    lane: str,
    operation: str,
    status: str,
) -> None:
    raw.put("file", b"file")
    raw.put("d/1", b"1")
    fs = RegistryFileSystem(**proxied_options, sessiontoken="a-token-for-one-host", maxretries=1)
    if lane == "canonical":
        fs.client.transport.fast.off()
    proxy.fault = lambda request: redirection(status, stranger.endpoint + request.path)
    with pytest.raises(OSError):
        OPERATIONS[operation](StorageDriver(fs))
    assert proxy.requests
    assert stranger.requests == []


@pytest.mark.parametrize("lane", ["fast", "canonical"])
def test_no_other_key_is_read(
    proxied_options: dict[str, Any], proxy: CountingProxy, raw: Place, lane: str
) -> None:
    raw.put("file", b"file")
    raw.put("other", b"other")
    fs = RegistryFileSystem(**proxied_options, maxretries=1)
    if lane == "canonical":
        fs.client.transport.fast.off()
    proxy.fault = lambda request: (
        redirection("302 Found", request.path.replace("file", "other")) if "file" in request.path else None
    )
    with pytest.raises(OSError):
        fs.cat_file("/file")
    assert not [request for request in proxy.requests if request.path.endswith("other")]


@pytest.mark.parametrize("region", ["eu-west-1", "evil.example/", "a@evil.example", "x" * 300, "\u00e9"])
def test_a_region_that_the_service_makes_up_leads_to_nobody_else(
    proxied_options: dict[str, Any], proxy: CountingProxy, raw: Place, stranger: CountingProxy, region: str
) -> None:
    """botocore goes where a redirection's header says that the bucket is; here that is one host at most."""
    raw.put("file", b"file")
    fs = RegistryFileSystem(**proxied_options, maxretries=1)
    proxy.fault = lambda _: redirection(
        "301 Moved Permanently", stranger.endpoint, x_amz_bucket_region=region
    )
    with pytest.raises(OSError):
        fs.cat_file("/file")
    assert stranger.requests == []
