"""Presigned URLs were made for one host and rewritten to another, whose signature then is wrong.

The host is signed; so a URL for ``redirectendpoint`` has to be signed for that host. And signing is
arithmetic: it needs no request.
"""

from __future__ import annotations

import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from regfs import RegistryFileSystem, StorageDriver

if TYPE_CHECKING:
    from support.proxy import CountingProxy
    from support.servers import Place


def fetch(url: str, method: str = "GET") -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=30) as got:
            return got.status, got.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_signed_for_the_redirect_endpoint(
    options: dict[str, Any], proxy: CountingProxy, raw: Place, method: str
) -> None:
    raw.put("a/file", b"content")
    driver = StorageDriver(RegistryFileSystem(**options, redirectendpoint=proxy.endpoint))
    for url in (driver.redirect_url("/a/file", method), driver.url_for("/a/file", method)):
        assert proxy.count() == 0
        assert url.startswith(f"{proxy.endpoint}/{raw.bucket}/{raw.prefix}a/file?")
        assert fetch(url, method) == (200, b"content" if method == "GET" else b"")
        assert proxy.count() == 1
        proxy.clear()
    # Everything else goes to the service itself.
    assert driver.get_content("/a/file") == b"content"
    assert proxy.count() == 0


@pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)
def test_a_rewritten_host_would_be_refused(options: dict[str, Any], proxy: CountingProxy, raw: Place) -> None:
    raw.put("file", b"content")
    driver = StorageDriver(RegistryFileSystem(**options, redirectendpoint=proxy.endpoint))
    url = driver.redirect_url("/file")
    rewritten = url.replace(proxy.endpoint, options["regionendpoint"])
    assert rewritten != url
    assert fetch(rewritten)[0] == 403
    assert fetch(url)[0] == 200


@pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)
def test_another_name_of_the_same_host_counts(options: dict[str, Any], raw: Place) -> None:
    raw.put("file", b"content")
    port = urlsplit(options["regionendpoint"]).port
    driver = StorageDriver(RegistryFileSystem(**options, redirectendpoint=f"http://localhost:{port}"))
    url = driver.redirect_url("/file")
    assert url.startswith(f"http://localhost:{port}/")
    assert fetch(url) == (200, b"content")
    assert fetch(url.replace("localhost", "127.0.0.1"))[0] == 403


def test_signing_needs_no_network() -> None:
    endpoints: dict[str, Any] = {
        "regionendpoint": "http://s3.invalid",
        "redirectendpoint": "https://cdn.invalid",
    }
    keys: dict[str, Any] = {"accesskey": "a", "secretkey": "s"}
    fs = RegistryFileSystem(bucket="registry", region="us-east-1", secure=False, **endpoints, **keys)
    url = StorageDriver(fs).redirect_url("/file")
    assert url.startswith("https://cdn.invalid/registry/file?")
