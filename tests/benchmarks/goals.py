"""What regfs is to reach beside the other clients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from .race import Result

DISTANT = 0.02
"""Seconds of latency, at least, under which the goals for distant servers hold."""


@dataclass(frozen=True)
class Goal:
    """A quotient: the peer's median divided by regfs'."""

    work: str
    peer: str
    of: Literal["wall", "cpu"]
    least: float
    distant: bool = False
    """Whether it holds for a server with latency, and else for one without."""


def _goals(works: str, **peers: str) -> Iterator[Goal]:
    for work in works.split():
        for peer, terms in peers.items():
            for term in terms.split():
                of, _, least = term.partition("=")
                yield Goal(work, peer, "cpu" if of == "cpu" else "wall", float(least))


GOALS: Sequence[Goal] = (
    *_goals("cat", s3fs="wall=6 cpu=8", obstore="wall=1 cpu=1"),
    *_goals("pipe", s3fs="wall=4", obstore="wall=1"),
    *_goals("get-content stat put-content", s3fs="wall=5", obstore="wall=0.8"),
    *_goals("find walk", s3fs="cpu=8"),
    *(Goal(work, "obstore", "wall", 4, distant=True) for work in ("find", "walk")),
    *_goals("stream-write", s3fs="wall=2", obstore="wall=1"),
    *_goals("stream-read", s3fs="wall=1.5", obstore="wall=1"),
    *_goals("get-object", s3fs="wall=3", obstore="wall=1"),
    *_goals("delete", s3fs="wall=2", obstore="wall=1"),
)


@dataclass(frozen=True)
class Outcome:
    """How a goal fared."""

    goal: Goal
    ours: str
    """Which of regfs' faces."""
    found: float | None
    """The quotient; None if either did not finish."""

    @property
    def reached(self) -> bool:
        """Whether it was."""
        return self.found is not None and self.found >= self.goal.least


def ratio(of: Literal["wall", "cpu"], ours: Result, theirs: Result) -> float | None:
    """Divide a peer's median by regfs'; None if either did not finish."""
    if ours.error or theirs.error:
        return None
    mine = getattr(ours, of)
    return getattr(theirs, of) / mine if mine else None


def outcomes(results: Mapping[str, Sequence[Result]], latency: float) -> list[Outcome]:
    """Look at the goals of the works that were done, for each of regfs' faces.

    Parameters
    ----------
    results : mapping
        By work.
    latency : float
        In seconds.
    """
    found = []
    for goal in GOALS:
        if goal.distant != bool(latency) or (goal.distant and latency < DISTANT):
            continue
        here = {result.peer: result for result in results.get(goal.work, ())}
        for name, ours in here.items():
            if name.startswith("regfs") and goal.peer in here:
                found.append(Outcome(goal, name, ratio(goal.of, ours, here[goal.peer])))
    return found
