"""How many requests are sent in a second: any number, up to a fixed rate, or up to what the service bears.

Owns that rate and the queue of the requests that wait for it. Knows neither requests nor responses: a
transport asks before it sends, and reports what was throttled.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable

logger = logging.getLogger("regfs")

BETA = 0.7
"""What throttling leaves of the rate at which it occurred, as in botocore's ``CubicCalculator``."""
RECOVERY = 2.0
"""Seconds from there until that rate is allowed again. botocore's formula takes 2 s for 10 requests a second,
14 s for 3,500; one time for all rates lets a stray answer cost little at any."""
RELEASE_FACTOR = 4.0
"""How many times that rate must be allowed without throttling until the limit ends, which takes 6.3 s."""
MINIMUM = 1.0
"""Requests a second that are always allowed."""
MINIMUM_ALONE = 20.0
"""The same while no request waits for its turn: who sends one after another is held up enough by the pauses
before further attempts, the first of which is 0.05 s on average."""
WINDOW = 1.0
"""Seconds over which the rate of requests is measured."""
SHORTEST_WINDOW = 0.1
"""Seconds that the first requests after a pause count as, at least."""
MEMORY = 512
"""Requests whose times are kept to measure it."""
SLACK = 0.02
"""Seconds' worth of requests that may be sent at once after a rest: a second then has 2 % too many."""
CATCH_UP = 0.1
"""Seconds' worth of them that may be sent at once where requests waited and the timer was late, so that the
rate is kept; not while the service throttles, which would refuse them."""
TICK = 0.01
"""Seconds between two looks at the queue, at least; each wakes the event loop."""


class Pace:
    """The rate of one event loop's requests.

    How a transport sends a request; nothing else happens while there is no limit::

        if pace.limited:
            await pace.turn()
        sent = pace.mark()
        ...
        pace.throttled(sent)  # where that was the response

    Throttling starts a limit at `BETA` times the rate of requests, or lowers it to that. From there it grows
    along the curve of CUBIC (https://www.rfc-editor.org/rfc/rfc9438), as in botocore's adaptive retry mode:
    slowly about the rate that was throttled, then quickly, until it ends.

    Parameters
    ----------
    maximum : float
        The most requests a second, retries included; 0 for any number.
    clock : callable
        Returns seconds that never go back.

    Attributes
    ----------
    limited : bool
        Whether requests have to wait for their turn.
    """

    def __init__(self, maximum: float = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self.limited = maximum > 0
        self._maximum = maximum or math.inf
        self._clock = clock
        self._sent: deque[float] = deque(maxlen=MEMORY)
        self._peak = 0.0  # the rate that throttling's limit grows back to; 0 without such a limit
        self._throttled = -math.inf
        self._tokens = 1.0
        self._filled = clock()
        self._queue: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def rate(self) -> float:
        """The requests a second that may be sent now; infinite while there is no limit."""
        return self._rate(self._clock())

    def mark(self) -> float:
        """Record that a request is sent, and return the time."""
        now = self._clock()
        self._sent.append(now)
        return now

    async def turn(self) -> None:
        """Wait until the next request may be sent, behind those that wait already."""
        if not self._queue and self._take(SLACK):
            return
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        self._queue.append(turn)
        if self._timer is None:
            self._timer = loop.call_later(self._delay(), self._release)
        await turn

    def throttled(self, sent: float) -> None:
        """Start or lower the limit, as the service has throttled a request.

        Parameters
        ----------
        sent : float
            When it was sent, by :meth:`mark`. What was under way when the limit was lowered does not lower
            it again.
        """
        if sent <= self._throttled:
            return
        now = self._clock()
        before = self._rate(now)
        used = min(before, self._measure(now))
        rate = min(before, max(BETA * used, MINIMUM if self._queue else MINIMUM_ALONE))
        event = "the limit is lowered to" if self._peak else "a limit starts at"
        logger.debug("throttled at %.1f requests/s: %s %.1f/s", used, event, rate)
        self._peak = rate / BETA
        self._throttled = self._filled = now
        self._tokens = 0.0
        self.limited = True

    def _measure(self, now: float) -> float:
        recent = [sent for sent in self._sent if sent > now - WINDOW]
        return len(recent) / max(now - recent[0], SHORTEST_WINDOW) if recent else 0.0

    def _rate(self, now: float) -> float:
        if not self._peak:
            return self._maximum
        growth = ((now - self._throttled) / RECOVERY - 1) ** 3
        rate, enough = self._peak * (1 + (1 - BETA) * growth), self._peak * RELEASE_FACTOR
        if rate < enough:
            return min(rate, self._maximum)
        logger.debug("no throttling up to %.1f requests/s: the limit ends", enough)
        self._peak = 0.0
        self.limited = self._maximum < math.inf
        return self._maximum

    def _take(self, slack: float) -> bool:
        """Count a request and return whether it may be sent now."""
        now = self._clock()
        rate = self._rate(now)
        if rate == math.inf:
            return True
        self._tokens = min(self._tokens + (now - self._filled) * rate, 1 + slack * rate)
        self._filled = now
        if self._tokens < 0.999:  # a clock's resolution is no reason to wait for another tick
            return False
        self._tokens -= 1
        return True

    def _delay(self) -> float:
        return max((1 - self._tokens) / self._rate(self._filled), TICK)

    def _release(self) -> None:
        """Release the requests whose turn it is."""
        self._timer = None
        while self._queue:
            if self._queue[0].done():  # cancelled
                self._queue.popleft()
            elif self._take(SLACK if self._peak else CATCH_UP):
                self._queue.popleft().set_result(None)
            else:
                self._timer = asyncio.get_running_loop().call_later(self._delay(), self._release)
                return
