"""The command line."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from .place import shut_out_settings
from .race import Conditions, Race, Result
from .report import console, save, summary, table, versions
from .works import WORKS

_PUBLISHED = 5
"""Rounds below which figures are for nobody else."""
_ABOUT = """
Compare regfs with other clients of S3. Each work gets a server of its own on 127.0.0.1, and each client a
process of its own. First every client's variants are tried and the quickest kept; then all take turns, round
after round. The medians of the rounds are told. CPU and memory are the client's process alone: memory is the
peak above what it had before its first run. All works together take a quarter of an hour and 20 GB of
disk (in TMPDIR). Other work on the same machine shows in the figures.
"""


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    names = sorted({work.name for work in WORKS} | {work.group for work in WORKS if work.group})
    parser = argparse.ArgumentParser(prog="python tests/benchmarks", description=_ABOUT)
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument("--rounds", type=int, default=_PUBLISHED, metavar="N", help="default: %(default)s")
    parser.add_argument(
        "--latency", type=float, default=0.0, metavar="MS", help="milliseconds in front of each request"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all rounds there")
    parser.add_argument("--quick", action="store_true", help="little of everything, to see that it works")
    chosen = parser.parse_args(arguments)
    if chosen.rounds < 1 or chosen.latency < 0:
        parser.error("--rounds takes 1 or more, --latency 0 or more")
    return chosen


def _on_signal(*_: object) -> None:
    raise SystemExit(128 + signal.SIGTERM)  # through all blocks, so that servers and clients are stopped


def main(arguments: Sequence[str] | None = None) -> int:
    """Hold the races.

    Parameters
    ----------
    arguments : sequence of str, optional
        The command line; the process's own without it.

    Returns
    -------
    int
        The exit code: 1 if a client failed or gave a wrong answer. A goal that is not reached is no failure.
    """
    chosen = _parse(arguments)
    shut_out_settings()
    signal.signal(signal.SIGTERM, _on_signal)
    conditions = Conditions(chosen.rounds, chosen.latency / 1000, chosen.quick)
    out = console()
    out.print(", ".join(f"{name} {version}" for name, version in versions().items()), highlight=False)
    if chosen.latency:
        out.print(f"{chosen.latency:g} ms in front of each request", highlight=False)
    if chosen.quick or chosen.rounds < _PUBLISHED:
        out.print(f"Not for publication: that takes {_PUBLISHED} rounds, not quick ones.")
    results: dict[str, list[Result]] = {}
    started = time.monotonic()
    for kind in WORKS:
        if chosen.only and not {kind.name, kind.group} & set(chosen.only):
            continue
        work = kind(chosen.quick)

        def say(text: str, name: str = kind.name) -> None:
            sys.stderr.write(f"{time.monotonic() - started:6.0f} s  {name}: {text}\n")

        results[work.name] = Race(work, conditions, say).hold()
        out.print(table(work, results[work.name]))
        if chosen.json:  # after each work, as the next may take long
            save(chosen.json, results, conditions)
    out.print(summary(results, conditions))
    return int(any(result.error for some in results.values() for result in some))
