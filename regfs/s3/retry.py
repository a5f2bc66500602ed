"""When a failed request is sent again, and how long to wait before that.

tenacity does the waiting; here stands only what is peculiar to S3. botocore's own retries are switched off
(see :mod:`regfs.s3.client`), so that each attempt is counted once, in one place.
"""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from regfs.s3.failures import THROTTLING, retry_after

T = TypeVar("T")

CONNECT_TIMEOUT = 3.0
"""Seconds that one attempt to connect may take."""
CONNECT_BUDGET = 5.0
"""Seconds after which no further attempt to connect begins: an unreachable endpoint fails within ten."""
READ_TIMEOUT = 60.0
"""Seconds without a byte after which a response counts as stalled."""
DEADLINE = 120.0
"""Seconds since the first attempt after which none begins any more."""
FIRST_PAUSE = 0.1
"""Seconds before the second attempt, at most; before each further one twice as many."""
LONGEST_PAUSE = 20.0
"""Seconds before any attempt, at most, unless the service asks for more."""

# AWS' own list of what passes by itself: botocore/retries/standard.py and the S3 error pages.
_TRANSIENT_STATUS = {429, 500, 502, 503, 504}
# A bad digest is one of bytes that were right when they were sent.
TRANSIENT_CODES = {
    "BadDigest",
    "ConditionalRequestConflict",
    "InternalError",
    "OperationAborted",
    "RequestTimeout",
    "RequestTimeoutException",
    "ServiceUnavailable",
    "XAmzContentSHA256Mismatch",
} | THROTTLING
_THROTTLING_STATUS = {429, 503}

_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"}


def status(error: BaseException) -> int | None:
    """Return the HTTP status that an error of botocore carries."""
    response = getattr(error, "response", None)
    metadata = response.get("ResponseMetadata", {}) if isinstance(response, dict) else {}
    code = metadata.get("HTTPStatusCode")
    return int(code) if code is not None else None


def transient(error: BaseException) -> bool:
    """Return whether the same request may succeed a moment later."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return status(error) in _TRANSIENT_STATUS or response.get("Error", {}).get("Code") in TRANSIENT_CODES
    from aiohttp import ClientPayloadError
    from botocore import exceptions as boto

    if isinstance(error, boto.SSLError):
        return False
    broken = (boto.HTTPClientError, boto.ConnectionError, ClientPayloadError, ConnectionError, TimeoutError)
    return isinstance(error, broken)


def throttling(error: BaseException) -> bool:
    """Return whether the service asks for fewer requests: by code, or by status, which is all a HEAD has."""
    response = getattr(error, "response", None)
    if not isinstance(response, dict):
        return False
    return status(error) in _THROTTLING_STATUS or response.get("Error", {}).get("Code") in THROTTLING


def expired(error: BaseException) -> bool:
    """Return whether newer credentials may help."""
    response = getattr(error, "response", None)
    return isinstance(response, dict) and response.get("Error", {}).get("Code") in _EXPIRED


def _unreachable(error: BaseException | None) -> bool:
    from botocore import exceptions as boto

    return isinstance(error, (boto.EndpointConnectionError, boto.ConnectTimeoutError))


def pause(attempt: int, error: BaseException | None = None) -> float:
    """Choose the seconds to wait before an attempt: full jitter, and as long as the service asks for.

    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/

    Parameters
    ----------
    attempt : int
        Which repetition it will be, from 1.
    error : BaseException, optional
        What the attempt before raised.
    """
    longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(attempt - 1, 16))
    return max(random.uniform(0, longest), retry_after(error) or 0.0)  # noqa: S311 - nobody's secret


async def retry(call: Callable[[], Awaitable[T]], first: BaseException, attempts: int, started: float) -> T:
    """Repeat a call whose first attempt failed.

    Parameters
    ----------
    call : callable
        Gives a new awaitable for each attempt.
    first : BaseException
        What the first attempt raised.
    attempts : int
        How many more attempts there may be.
    started : float
        When the first one began, by ``time.monotonic()``.

    Returns
    -------
    object
        What the call returned.

    Raises
    ------
    BaseException
        The last attempt's error, or `first` where it is not transient or no attempt is left.
    """
    if attempts < 1 or not transient(first):
        raise first
    from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

    def last(state: RetryCallState) -> BaseException | None:
        return state.outcome.exception() if state.outcome else None

    def wait(state: RetryCallState) -> float:
        return pause(state.attempt_number, last(state))

    def done(state: RetryCallState) -> bool:
        spent = time.monotonic() - started
        return (
            state.attempt_number > attempts
            or spent + state.upcoming_sleep > DEADLINE
            or (_unreachable(last(state)) and spent > CONNECT_BUDGET)
        )

    before: list[BaseException] = [first]

    async def attempt() -> T:
        if before:  # tenacity starts with a call; the one already made stands in for it
            raise before.pop()
        return await call()

    retrying: Any = AsyncRetrying(retry=retry_if_exception(transient), stop=done, wait=wait, reraise=True)
    result: T = await retrying(attempt)
    return result
