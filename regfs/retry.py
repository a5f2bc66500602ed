"""When a failed request is sent again, and how long to wait before that.

tenacity does the waiting; here stands only what is peculiar to S3. botocore's own retries are switched off
(see :mod:`regfs.client`), so that each attempt is counted once, in one place.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")

CONNECT_TIMEOUT = 3.0
"""Seconds that one attempt to connect may take."""
CONNECT_BUDGET = 5.0
"""Seconds after which no further attempt to connect begins: an unreachable endpoint fails within ten."""
READ_TIMEOUT = 60.0
"""Seconds without a byte after which an answer counts as stalled."""

# AWS' own list of what passes by itself: botocore/retries/standard.py and the S3 error pages.
_TRANSIENT_STATUS = {429, 500, 502, 503, 504}
_TRANSIENT_CODES = {
    "RequestTimeout",
    "RequestTimeoutException",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
}


def status(error: BaseException) -> int | None:
    """Give the HTTP status that an error of botocore carries."""
    response = getattr(error, "response", None)
    told = response.get("ResponseMetadata", {}) if isinstance(response, dict) else {}
    found = told.get("HTTPStatusCode")
    return int(found) if found is not None else None


def transient(error: BaseException) -> bool:
    """Tell whether the same request may succeed a moment later."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return status(error) in _TRANSIENT_STATUS or response.get("Error", {}).get("Code") in _TRANSIENT_CODES
    from aiohttp import ClientPayloadError
    from botocore import exceptions as boto

    if isinstance(error, boto.SSLError):
        return False
    return isinstance(error, (boto.HTTPClientError, ClientPayloadError, ConnectionError, TimeoutError))


def _unreachable(error: BaseException | None) -> bool:
    from botocore import exceptions as boto

    return isinstance(error, (boto.EndpointConnectionError, boto.ConnectTimeoutError))


async def retry(call: Callable[[], Awaitable[T]], first: BaseException, attempts: int) -> T:
    """Repeat a call whose first attempt failed, with full jitter between 0.1 s and 20 s.

    Parameters
    ----------
    call : callable
        Gives a new awaitable for each attempt.
    first : BaseException
        What the first attempt raised.
    attempts : int
        How many more attempts there may be.

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
    from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_random_exponential

    def done(state: RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        since = state.seconds_since_start or 0.0
        return state.attempt_number > attempts or (_unreachable(error) and since > CONNECT_BUDGET)

    before: list[BaseException] = [first]

    async def attempt() -> T:
        if before:  # tenacity starts with a call; the one already made stands in for it
            raise before.pop()
        return await call()

    retrying: Any = AsyncRetrying(
        retry=retry_if_exception(transient),
        stop=done,
        wait=wait_random_exponential(multiplier=0.1, max=20),
        reraise=True,
    )
    result: T = await retrying(attempt)
    return result
