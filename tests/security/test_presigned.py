"""A presigned URL is valid for seven days at most, on both faces and in both generations of the interface."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from regfs import RegistryFileSystem, StorageDriver

WEEK = 7 * 24 * 3600


@pytest.fixture(params=[True, False], ids=["v4", "v2"])
def fs(request: pytest.FixtureRequest) -> RegistryFileSystem:
    options: dict[str, Any] = {"regionendpoint": "http://127.0.0.1:9", "bucket": "b", "secure": False}
    return RegistryFileSystem(**options, accesskey="a", secretkey="s", v4auth=request.param)


@pytest.mark.parametrize(
    "seconds",
    [0, -1, 0.5, WEEK + 1, WEEK + 0.5, 10**30, -(10**30), float("inf"), float("-inf"), float("nan"), 2**63],
)
def test_the_filesystem_refuses(fs: RegistryFileSystem, seconds: float) -> None:
    for call in (fs.sign, fs.url):
        with pytest.raises(ValueError, match="1 to 604800 seconds"):
            call("/a", expiration=seconds)


@pytest.mark.parametrize(
    "away",
    [
        timedelta(0),
        timedelta(seconds=-1),
        timedelta(days=7, seconds=2),
        timedelta(days=3650),
        timedelta(days=-3650),
    ],
)
def test_the_driver_refuses(fs: RegistryFileSystem, away: timedelta) -> None:
    with pytest.raises(ValueError, match="within the next 7 days"):
        StorageDriver(fs).url_for("/a", expiry=datetime.now(timezone.utc) + away)


@pytest.mark.parametrize("expiry", [datetime.max, datetime.min])  # noqa: DTZ901 - it gets its zone below
def test_the_driver_refuses_the_ends_of_time(fs: RegistryFileSystem, expiry: datetime) -> None:
    for zone in (timezone.utc, timezone(timedelta(hours=14)), timezone(timedelta(hours=-14)), None):
        with pytest.raises(ValueError, match=r"expiry"):
            StorageDriver(fs).url_for("/a", expiry=expiry.replace(tzinfo=zone))


def seconds_of(url: str) -> float:
    asked = parse_qs(urlsplit(url).query)
    if "X-Amz-Expires" in asked:
        return int(asked["X-Amz-Expires"][0])
    return int(asked["Expires"][0]) - datetime.now(timezone.utc).timestamp()


def test_what_is_taken_is_what_is_signed(fs: RegistryFileSystem) -> None:
    driver = StorageDriver(fs)
    soon = datetime.now(timezone.utc) + timedelta(days=7)
    for url, seconds in [
        (fs.sign("/a", 1), 1),
        (fs.sign("/a", WEEK), WEEK),
        (fs.url("/a", 1.9), 1),
        (fs.sign("/a"), 1200),
        (driver.redirect_url("/a"), 1200),
        (driver.redirect_url("/a", "HEAD"), 1200),
        (driver.url_for("/a"), 1200),
        (driver.url_for("/a", expiry=soon), WEEK),
    ]:
        assert seconds - 5 <= seconds_of(url) <= WEEK
        assert seconds_of(url) <= seconds
