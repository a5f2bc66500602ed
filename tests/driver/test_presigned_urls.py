"""Presigned URLs."""

from __future__ import annotations

import urllib.error
import urllib.request
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from regfs import (
    RegistryFileSystem,
    StorageDriver,
    UnsupportedMethodError,
)

if TYPE_CHECKING:
    from support.proxy import CountingProxy
    from support.servers import Place

from support.drivers import (
    content_of,
    eventually,
    on_seaweedfs,
)


def fetch(url: str, method: str = "GET") -> tuple[int, bytes, dict[str, str]]:
    """Get a URL as any HTTP client does."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=30) as got:
            return got.status, got.read(), dict(got.headers)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), dict(error.headers)


def in_seconds(seconds: float) -> datetime:
    return datetime.now(timezone.utc) + timedelta(seconds=seconds)


class TestPresigned:
    @pytest.mark.parametrize("method", ["url_for", "redirect_url"])
    def test_is_fetched(self, driver: StorageDriver, raw: Place, method: str) -> None:
        content = content_of(100_000)
        raw.put("a/b..-_Z", content)
        status, got, _ = fetch(getattr(driver, method)("/a/b..-_Z"))
        assert (status, got) == (200, content)
        status, got, headers = fetch(getattr(driver, method)("/a/b..-_Z", "HEAD"), "HEAD")
        assert (status, got) == (200, b"")
        assert {name.lower(): value for name, value in headers.items()}["content-length"] == "100000"

    def test_no_request_is_made(self, counted: StorageDriver, proxy: CountingProxy) -> None:
        for method in ("GET", "HEAD"):
            assert counted.url_for("/missing", method, in_seconds(60)).startswith(proxy.endpoint)
            assert counted.redirect_url("/missing", method).startswith(proxy.endpoint)
        assert counted.redirect_url("/missing", "PUT") == ""
        assert proxy.count() == 0

    @pytest.mark.parametrize("method", ["PUT", "DELETE", "POST", "get", "", "GET "])
    def test_other_methods(self, driver: StorageDriver, method: str) -> None:
        assert driver.redirect_url("/file", method) == ""
        with pytest.raises(UnsupportedMethodError, match=r"^s3aws: ") as caught:
            driver.url_for("/file", method)
        assert repr(method) in str(caught.value)
        assert caught.value.path == "/file"

    def test_twenty_minutes_unless_told(self, driver: StorageDriver) -> None:
        assert "X-Amz-Expires=1200&" in driver.url_for("/file") + "&"
        assert "X-Amz-Expires=1200&" in driver.redirect_url("/file") + "&"
        for seconds in (1, 61, 7 * 24 * 3600 - 1):
            url = driver.url_for("/file", expiry=in_seconds(seconds))
            assert f"X-Amz-Expires={seconds}&" in url + "&"
        elsewhere = in_seconds(90).astimezone(timezone(timedelta(hours=-7)))
        assert "X-Amz-Expires=90&" in driver.url_for("/file", expiry=elsewhere) + "&"

    def test_expiry_out_of_bounds(self, driver: StorageDriver) -> None:
        wrong = [
            datetime.now(),  # noqa: DTZ005 - without a zone on purpose - naive is what this is about
            datetime.now() + timedelta(hours=1),  # noqa: DTZ005 - without a zone on purpose
            in_seconds(-1),
            in_seconds(-(10**8)),
            in_seconds(7 * 24 * 3600 + 60),
            datetime.max.replace(tzinfo=timezone.utc),
        ]
        for expiry in wrong:
            with pytest.raises(ValueError, match="expiry"):
                driver.url_for("/file", expiry=expiry)

    @on_seaweedfs
    def test_the_wrong_method_is_refused(self, driver: StorageDriver, raw: Place) -> None:
        raw.put("file", b"content")
        url = driver.url_for("/file")
        for method in ("HEAD", "DELETE", "PUT"):
            assert fetch(url, method)[0] == 403
        assert fetch(driver.url_for("/file", "HEAD"), "GET")[0] == 403
        assert fetch(url)[:2] == (200, b"content")

    @on_seaweedfs
    def test_tampering_is_refused(self, driver: StorageDriver, raw: Place) -> None:
        raw.put("file", b"content")
        raw.put("fils", b"secret")
        url = driver.url_for("/file")
        start, _, signature = url.partition("X-Amz-Signature=")
        other = "0" if signature[0] != "0" else "1"
        for tampered in (
            url.replace("/file?", "/fils?"),
            url.replace("X-Amz-Expires=1200", "X-Amz-Expires=9999"),
            f"{start}X-Amz-Signature={other}{signature[1:]}",
            url.partition("?")[0],
        ):
            assert tampered != url
            status, body, _ = fetch(tampered)
            assert status == 403
            assert b"secret" not in body
        assert fetch(url)[0] == 200

    @on_seaweedfs
    def test_it_expires(self, driver: StorageDriver, raw: Place) -> None:
        raw.put("file", b"content")
        url = driver.url_for("/file", expiry=in_seconds(2))
        assert fetch(url)[:2] == (200, b"content")
        assert eventually(lambda: fetch(url)[0] == 403)
        assert fetch(driver.url_for("/file"))[0] == 200

    @on_seaweedfs
    def test_signature_version_2(self, options: dict[str, Any], raw: Place) -> None:
        raw.put("file", b"content")
        driver = StorageDriver(RegistryFileSystem(**options, v4auth=False))
        url = driver.url_for("/file", expiry=in_seconds(60))
        assert "X-Amz-" not in url
        assert "Signature=" in url
        assert fetch(url)[:2] == (200, b"content")
        assert fetch(url.replace("Signature=", "Signature=A"))[0] == 403


# -- requests per operation -----------------------------------------------------------------------------
