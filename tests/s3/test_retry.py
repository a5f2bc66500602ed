"""When something is sent again."""

from __future__ import annotations

import email.utils
import pickle
import time
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.retries.standard import ThrottledRetryableChecker
from hypothesis import given
from hypothesis import strategies as st

from regfs import ThrottledError
from regfs.s3.failures import THROTTLING, retry_after, translate
from regfs.s3.retry import pause


def throttled(**headers: str) -> ClientError:
    told: Any = {"HTTPStatusCode": 503, "HTTPHeaders": {k.replace("_", "-"): v for k, v in headers.items()}}
    return ClientError({"Error": {"Code": "SlowDown"}, "ResponseMetadata": told}, "GetObject")


@pytest.mark.parametrize(("attempt", "longest"), [(1, 0.1), (2, 0.2), (4, 0.8), (12, 20), (999, 20)])
def test_pauses_are_jittered_and_grow(attempt: int, longest: float) -> None:
    pauses = [pause(attempt) for _ in range(200)]
    assert 0 <= min(pauses) < longest / 4
    assert longest * 3 / 4 < max(pauses) <= longest


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("7", 7),
        (" 7 ", 7),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("\u0661", None),
    ],
)
def test_retry_after_in_seconds(text: str, seconds: float | None) -> None:
    assert retry_after(throttled(retry_after=text)) == seconds
    assert pause(1, throttled(retry_after=text)) >= (seconds or 0)


def test_retry_after_as_a_date() -> None:
    then = email.utils.formatdate(time.time() + 100, usegmt=True)
    assert 90 < (retry_after(throttled(retry_after=then)) or 0) <= 100
    past = email.utils.formatdate(time.time() - 100, usegmt=True)
    assert retry_after(throttled(retry_after=past)) == 0


@given(st.text())
def test_any_text_is_seconds_or_nothing(text: str) -> None:
    found = retry_after(throttled(retry_after=text))
    assert found is None or found >= 0


def test_the_error_carries_it_also_through_a_pickle() -> None:
    failure = translate(throttled(retry_after="7"), "regfs://b/a")
    assert isinstance(failure, ThrottledError)
    copy = pickle.loads(pickle.dumps(failure))
    assert (copy.retry_after, copy.errno, str(copy)) == (7, failure.errno, str(failure))
    assert translate(throttled(), "regfs://b/a").retry_after is None  # type: ignore[attr-defined]  # of ThrottledError


def test_what_botocore_takes_for_throttling_is_known() -> None:
    assert set(ThrottledRetryableChecker._THROTTLED_ERROR_CODES) <= THROTTLING
