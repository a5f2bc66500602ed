"""The rate of requests, in virtual time: no test here waits, and none depends on the machine."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import selectors
from collections.abc import Awaitable, Callable, Iterator
from itertools import pairwise
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs.s3.pace import BETA, MINIMUM, MINIMUM_ALONE, RECOVERY, RELEASE_FACTOR, Pace

T = TypeVar("T")

ENDS = RECOVERY * (1 + ((RELEASE_FACTOR - 1) / (1 - BETA)) ** (1 / 3))
"""Seconds after the last throttling when a limit ends."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer instead of waiting for it."""

    def __init__(self) -> None:
        self.now = 1000.0
        loop = self

        class Selector(selectors.SelectSelector):
            def select(self, timeout: float | None = None) -> Any:
                loop.now += timeout or 0
                return super().select(0)

        super().__init__(Selector())

    def time(self) -> float:
        return self.now


def run(test: Callable[[VirtualLoop], Awaitable[T]]) -> T:
    loop = VirtualLoop()

    async def main() -> T:
        return await test(loop)

    try:
        return loop.run_until_complete(main())
    finally:
        loop.close()


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop()
    yield loop
    loop.close()


async def send(pace: Pace) -> float:
    if pace.limited:
        await pace.turn()
    return pace.mark()


async def send_all(pace: Pace, number: int, workers: int) -> list[float]:
    requests = iter(range(number))
    times: list[float] = []

    async def worker() -> None:
        for _ in requests:
            sent = await send(pace)
            times.append(sent)

    await asyncio.gather(*(worker() for _ in range(workers)))
    return times


def throttle(pace: Pace, loop: VirtualLoop, rate: int) -> None:
    """Send so many requests in a second, the last of which is throttled."""
    for _ in range(rate):
        sent = pace.mark()
        loop.now += 0.9999 / rate
    pace.throttled(sent)


class TestUnlimited:
    def test_nothing_waits_by_default(self) -> None:
        pace = Pace()
        assert not pace.limited
        assert pace.rate == math.inf

    def test_sending_limits_nothing(self) -> None:
        pace = Pace()
        for _ in range(10_000):
            pace.mark()
        assert not pace.limited


class TestMaximum:
    @pytest.mark.parametrize("rate", [1, 7, 50, 350, 3000])
    @pytest.mark.parametrize("workers", [1, 64])
    def test_the_rate_is_kept(self, rate: int, workers: int) -> None:
        async def test(loop: VirtualLoop) -> list[float]:
            return await send_all(Pace(rate, loop.time), rate * 3 + 1, workers)

        times = run(test)
        assert (len(times) - 1) / (times[-1] - times[0]) == pytest.approx(rate, rel=0.02)

    def test_no_second_has_more_after_a_rest(self) -> None:
        async def test(loop: VirtualLoop) -> list[float]:
            pace = Pace(350, loop.time)
            times: list[float] = []
            for rest in (0.01, 0.5, 100, 0):
                times += await send_all(pace, 700, 64)
                await asyncio.sleep(rest)
            return times

        times = run(test)
        for first in times[::7]:
            assert sum(first <= sent < first + 1 for sent in times) <= 350 * 1.02 + 1

    def test_a_late_timer_is_made_up_for(self) -> None:
        async def test(loop: VirtualLoop) -> list[float]:
            def stall() -> None:
                loop.now += 0.05
                loop.call_later(0.2, stall)

            stall()
            return await send_all(Pace(350, loop.time), 1051, 64)

        times = run(test)
        assert (len(times) - 1) / (times[-1] - times[0]) == pytest.approx(350, rel=0.02)

    def test_who_waits_first_goes_first(self) -> None:
        async def test(loop: VirtualLoop) -> list[int]:
            pace = Pace(10, loop.time)
            order: list[int] = []

            async def one(number: int) -> None:
                await pace.turn()
                order.append(number)

            await asyncio.gather(*map(one, range(20)))
            return order

        assert run(test) == list(range(20))

    def test_who_is_cancelled_takes_no_turn(self) -> None:
        async def test(loop: VirtualLoop) -> float:
            pace = Pace(10, loop.time)
            await pace.turn()
            begun = loop.time()
            tasks = [asyncio.create_task(pace.turn()) for _ in range(10)]
            await asyncio.sleep(0)
            for task in tasks[:9]:
                task.cancel()
            await tasks[9]
            return loop.time() - begun

        assert run(test) == pytest.approx(0.1)


class TestThrottled:
    def test_a_limit_starts_below_the_rate_that_was_throttled(
        self, loop: VirtualLoop, caplog: pytest.LogCaptureFixture
    ) -> None:
        pace = Pace(clock=loop.time)
        with caplog.at_level(logging.DEBUG, "regfs"):
            throttle(pace, loop, 100)
        assert pace.limited
        assert pace.rate == pytest.approx(70, rel=0.02)
        assert caplog.messages == ["throttled at 100.0 requests/s: a limit starts at 70.0/s"]

    def test_what_was_under_way_lowers_it_no_further(self, loop: VirtualLoop) -> None:
        pace = Pace(clock=loop.time)
        sent = [pace.mark() for _ in range(64)]
        loop.now += 0.01
        for time in sent:
            pace.throttled(time)
        assert pace.rate == pytest.approx(BETA * 640)

    def test_what_was_sent_since_does(self, loop: VirtualLoop, caplog: pytest.LogCaptureFixture) -> None:
        pace = Pace(clock=loop.time)
        throttle(pace, loop, 100)
        loop.now += 0.001
        sent = pace.mark()
        with caplog.at_level(logging.DEBUG, "regfs"):
            pace.throttled(sent)
        assert pace.rate == pytest.approx(BETA * BETA * 100, rel=0.02)
        assert caplog.messages == ["throttled at 70.1 requests/s: the limit is lowered to 49.0/s"]

    def test_it_follows_the_rate_that_is_used(self, loop: VirtualLoop) -> None:
        """Not the one that is allowed: somebody else may use up what the service bears."""
        pace = Pace(clock=loop.time)
        throttle(pace, loop, 400)
        loop.now += RECOVERY
        throttle(pace, loop, 50)
        assert pace.rate == pytest.approx(BETA * 50, rel=0.02)

    def test_who_sends_one_after_another_is_not_held_up_for_long(self, loop: VirtualLoop) -> None:
        pace = Pace(clock=loop.time)
        for _ in range(20):
            pace.throttled(pace.mark())
            loop.now += 0.01
        assert pace.rate == pytest.approx(MINIMUM_ALONE, rel=0.02)

    def test_who_sends_many_at_once_is_held_up_as_long_as_the_service_wants(self) -> None:
        async def test(loop: VirtualLoop) -> None:
            pace = Pace(clock=loop.time)
            throttle(pace, loop, 100)
            waiting = [asyncio.create_task(pace.turn()) for _ in range(1000)]
            for _ in range(20):
                await asyncio.sleep(0.01)
                pace.throttled(pace.mark())
            assert pace.rate == pytest.approx(MINIMUM, rel=0.02)
            await asyncio.wait(waiting)

        run(test)

    def test_it_grows_back_slowly_about_the_rate_that_was_throttled(self, loop: VirtualLoop) -> None:
        pace = Pace(clock=loop.time)
        throttle(pace, loop, 100)
        rates = []
        while pace.limited and loop.now < 1100:
            rates.append(pace.rate)
            loop.now += RECOVERY / 4
        steps = [after - before for before, after in pairwise(rates)]
        assert rates[4] == pytest.approx(100, rel=0.01)
        assert min(steps[:-1]) == pytest.approx(steps[3])
        assert rates[-1] == math.inf

    @pytest.mark.parametrize("rate", [30, 100, 3500])
    def test_it_ends(self, loop: VirtualLoop, rate: int, caplog: pytest.LogCaptureFixture) -> None:
        pace = Pace(clock=loop.time)
        throttle(pace, loop, rate)
        loop.now += ENDS - 0.1
        assert pace.rate < math.inf
        loop.now += 0.2
        with caplog.at_level(logging.DEBUG, "regfs"):
            loop.run_until_complete(pace.turn())
        assert not pace.limited
        assert pace.rate == math.inf
        assert len(caplog.messages) == 1
        assert caplog.messages[0].endswith("the limit ends")

    def test_who_waits_when_it_ends_is_let_go(self) -> None:
        async def test(loop: VirtualLoop) -> float:
            pace = Pace(clock=loop.time)
            throttle(pace, loop, 10)
            begun = loop.time()
            await asyncio.gather(*(pace.turn() for _ in range(10_000)))
            assert not pace.limited
            return loop.time() - begun

        assert run(test) == pytest.approx(ENDS, abs=0.5)

    def test_a_maximum_stays(self) -> None:
        async def test(loop: VirtualLoop) -> list[float]:
            pace = Pace(100, loop.time)
            await send_all(pace, 100, 1)
            pace.throttled(await send(pace))
            assert pace.rate == pytest.approx(70, rel=0.03)
            rates = []
            for _ in range(100):
                rates.append(pace.rate)
                await asyncio.sleep(0.1)
            assert pace.limited
            return rates

        rates = run(test)
        assert max(rates) == rates[-1] == 100

    @given(st.lists(st.tuples(st.floats(0, 3), st.integers(0, 200), st.booleans()), max_size=30))
    def test_any_course_of_events_ends_without_a_limit(self, events: list[tuple[float, int, bool]]) -> None:
        now = 1000.0
        pace = Pace(clock=lambda: now)
        for seconds, requests, refused in events:
            now += seconds
            sent = now
            for _ in range(requests):
                sent = pace.mark()
            before = pace.rate
            if refused:
                pace.throttled(sent)
            assert MINIMUM_ALONE * 0.999 <= pace.rate <= before
            assert pace.limited == (pace.rate < math.inf)
        now += ENDS + 0.01
        assert pace.rate == math.inf
        assert not pace.limited


class Service:
    """Bears `rate` requests a second, `burst` of them at once."""

    def __init__(self, loop: VirtualLoop, rate: float, burst: float, latency: float) -> None:
        self.loop, self.rate, self.burst, self.latency = loop, rate, burst, latency
        self.tokens, self.filled = burst, loop.time()
        self.refused = 0

    async def request(self, rng: random.Random) -> bool:
        await asyncio.sleep(self.latency * rng.uniform(0.4, 0.6))
        now = self.loop.time()
        self.tokens = min(self.burst, self.tokens + (now - self.filled) * self.rate)
        self.filled = now
        accepted = self.tokens >= 1
        self.tokens -= accepted
        self.refused += not accepted
        await asyncio.sleep(self.latency * rng.uniform(0.4, 0.6))
        return accepted


@pytest.mark.parametrize("latency", [0.005, 0.05])
@pytest.mark.parametrize(
    ("rate", "burst", "number"),
    [(5, 5, 100), (20, 5, 200), (300, 30, 2000), (300, 300, 2000), (300, 300, 10_000), (3500, 3500, 20_000)],
)
def test_a_service_that_throttles_is_used_to_the_full(
    rate: int, burst: int, number: int, latency: float
) -> None:
    """By 64 workers that begin at once: nobody runs out of attempts, and few requests are in vain."""

    async def test(loop: VirtualLoop) -> None:
        rng = random.Random(rate + number)
        service = Service(loop, rate, burst, latency)
        pace = Pace(clock=loop.time)
        most, left = 0, number

        async def worker() -> None:
            nonlocal most, left
            while left > 0:
                left -= 1
                for attempt in range(1, 100):
                    sent = await send(pace)
                    most = max(most, attempt)
                    if await service.request(rng):
                        break
                    pace.throttled(sent)
                    await asyncio.sleep(rng.uniform(0, 0.1 * 2 ** (attempt - 1)))

        begun = loop.time()
        await asyncio.gather(*(worker() for _ in range(64)))
        assert most <= 6
        assert service.refused < 3 * 64 + 0.02 * number
        ideal = max((number - burst) / rate, number * latency / 64)
        assert loop.time() - begun < 1.1 * ideal + 1
        assert pace.rate < 1.5 * rate or not pace.limited

    run(test)
