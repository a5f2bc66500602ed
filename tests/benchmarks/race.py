"""A race: one work, all clients that can do it, on one server made for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median

from regfs.local import LocalS3

from .peers import PEERS
from .place import Place
from .proxy import Proxy
from .worker import Measure, Worker, WorkerError
from .works import PROBE, WARM_UP, Work


@dataclass
class Result:
    """What a client took for a work."""

    work: str
    peer: str
    count: int
    """The operations in one run."""
    variant: str = ""
    """The settings that took part."""
    tried: dict[str, float] = field(default_factory=dict)
    """Seconds by variant: the median of its runs before the race."""
    rounds: list[Measure] = field(default_factory=list)
    requests: int | None = None
    """In one run."""
    error: str = ""
    """Why it did not finish."""

    @property
    def wall(self) -> float:
        """The median, in seconds."""
        return median(item.wall for item in self.rounds)

    @property
    def cpu(self) -> float:
        """The median, in seconds."""
        return median(item.cpu for item in self.rounds)

    @property
    def peak(self) -> float:
        """The median, in MiB."""
        return median(item.peak for item in self.rounds)


@dataclass(frozen=True)
class Conditions:
    """How races are held."""

    rounds: int = 5
    latency: float = 0.0
    """Seconds in front of each request."""
    quick: bool = False


class Race:
    """One work's race.

    Parameters
    ----------
    work : Work
        The work.
    conditions : Conditions
        How it is held.
    say : callable
        Told in a few words what goes on.
    """

    def __init__(self, work: Work, conditions: Conditions, say: Callable[[str], None]) -> None:
        self.work = work
        self.conditions = conditions
        self.say = say
        self.workers: dict[str, Worker] = {}
        self.results = {
            name: Result(work.name, name, work.count)
            for name, peer in PEERS.items()
            if work.operation in peer.variants
        }
        self._runs = 0

    def hold(self) -> list[Result]:
        """Hold it, and give every client's result."""
        with ExitStack() as stack:
            server = stack.enter_context(LocalS3(bucket="benchmark"))
            proxy = stack.enter_context(Proxy(server.endpoint, self.conditions.latency))
            stack.callback(self._stop)
            direct = Place(
                server.endpoint, server.access_key, server.secret_key, server.bucket, server.region
            )
            distant = dataclasses.replace(direct, endpoint=proxy.endpoint)
            self.store = direct.store()
            self.store.put(PROBE, b"")
            self.say("prepares the bucket")
            self.work.prepare(self.store)
            for result in self.results.values():
                self._calibrate(result, distant if self.conditions.latency else direct)
            for number in range(self.conditions.rounds):
                self.say(f"round {number + 1}")
                results = list(self.results.values())
                turn = number % len(results)
                for result in results[turn:] + results[:turn]:
                    if measure := self._try(self.workers.get(result.peer), result):
                        result.rounds.append(measure)
            for result in self.results.values():
                self._count(result, distant, proxy)
        return list(self.results.values())

    def _stop(self) -> None:
        for worker in self.workers.values():
            worker.stop()

    def _try(self, worker: Worker | None, result: Result, name: str = "run") -> Measure | None:
        """Run once. A client that failed goes no further, and the others go on."""
        if worker is None or result.error:
            return None
        self._runs += 1
        run = f"{self.work.name}-{name}-{self._runs}"
        try:
            self.work.before(self.store, run)
            measure = worker.run(run)
            self.work.after(self.store, run)
        except (WorkerError, AssertionError) as exc:
            self._failed(result, exc)
            return None
        return measure

    def _failed(self, result: Result, error: Exception) -> None:
        result.error = str(error) or type(error).__name__
        self.say(f"{result.peer} ({result.variant}) failed: {result.error}")

    def _start(self, result: Result, variant: str, place: Place) -> Worker | None:
        settings = PEERS[result.peer].variants[self.work.operation][variant]
        result.variant, result.error = variant, ""
        try:
            return Worker(self.work.name, result.peer, self.conditions.quick, place, settings)
        except WorkerError as exc:
            self._failed(result, exc)
            return None

    def _calibrate(self, result: Result, place: Place) -> None:
        """Warm each variant up, try it, and keep the process of the best."""
        self.say(f"tries {result.peer}")
        variants = PEERS[result.peer].variants[self.work.operation]
        trials = 1 if self.conditions.quick else self.work.trials
        workers: dict[str, Worker] = {}
        for variant in variants:
            if (worker := self._start(result, variant, place)) is None:
                continue
            workers[variant] = worker
            self._try(worker, result, WARM_UP)
            runs = [self._try(worker, result) for _ in range(trials)] if len(variants) > 1 else []
            if not result.error:
                result.tried[variant] = median(run.wall for run in runs if run) if runs else 0.0
        if result.tried:
            result.variant, result.error = min(result.tried, key=lambda item: result.tried[item]), ""
            self.workers[result.peer] = workers.pop(result.variant)
        for worker in workers.values():
            worker.stop()

    def _count(self, result: Result, place: Place, proxy: Proxy) -> None:
        """Count the requests of one more run, in a process of its own."""
        self.say(f"counts the requests of {result.peer}")
        if result.error or (worker := self._start(result, result.variant, place)) is None:
            return
        try:
            before = proxy.count
            if self._try(worker, result):
                result.requests = proxy.count - before
        finally:
            worker.stop()
