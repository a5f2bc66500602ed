"""The tables, and the file."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from .goals import outcomes, ratio
from .peers import PEERS
from .race import Conditions, Result
from .works import Work


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{1000 * value:.1f} ms"


def _quotient(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def versions() -> dict[str, str]:
    """Return the version of each client."""
    packages = {peer.package for peer in PEERS.values()} | {"botocore", "aiobotocore", "fsspec"}
    return {package: importlib.metadata.version(package) for package in sorted(packages)}


def table(work: Work, results: Sequence[Result]) -> Table:
    """Lay out one work's results. The first of regfs' faces is what the others are compared with."""
    size = f"{work.size:,}" if work.size < 2**20 else f"{work.size >> 20} MiB"
    drawn = Table(title=f"{work.name} ({size}): {work.about}", title_justify="left", min_width=100)
    for name in ("client", "variant"):
        drawn.add_column(name, no_wrap=True)
    for name in (
        "wall",
        f"CPU / {work.unit}",
        "memory",
        "requests",
        "regfs is × faster",
        "uses × less CPU",
    ):
        drawn.add_column(name, justify="right")
    ours = next((result for result in results if result.peer.startswith("regfs")), None)
    for result in results:
        if result.error:
            drawn.add_row(result.peer, result.variant, "failed: " + result.error.partition("\n")[0])
            continue
        compared = ours is not None and result is not ours
        drawn.add_row(
            result.peer,
            result.variant,
            _seconds(result.wall),
            f"{1000 * result.cpu / result.count:,.3g} ms",
            f"{result.peak:.0f} MiB",
            "-" if result.requests is None else f"{result.requests:,}",
            *(_quotient(ratio(of, ours, result)) if compared and ours else "" for of in ("wall", "cpu")),
        )
    return drawn


def summary(results: Mapping[str, Sequence[Result]], conditions: Conditions) -> Table:
    """Lay out the goals of the works that were done."""
    drawn = Table(title="Goals: quotients of medians", title_justify="left", min_width=80)
    for name in ("work", "of", "against", "measure"):
        drawn.add_column(name, no_wrap=True)
    for name in ("goal", "found", "reached"):
        drawn.add_column(name, justify="right")
    for outcome in outcomes(results, conditions.latency):
        goal = outcome.goal
        drawn.add_row(
            goal.work,
            outcome.ours,
            goal.peer,
            "CPU" if goal.of == "cpu" else goal.of,
            f"≥ {goal.least:g}",
            _quotient(outcome.found),
            "yes" if outcome.reached else "no",
        )
    return drawn


def console() -> Console:
    """Make the console: wide enough for the tables where nobody says how wide it is."""
    plain = Console()
    return plain if plain.is_terminal else Console(width=140)


def save(path: Path, results: Mapping[str, Sequence[Result]], conditions: Conditions) -> None:
    """Write everything down as JSON: times in seconds, memory in MiB."""

    def entry(result: Result) -> dict[str, Any]:
        done = result.rounds and not result.error
        medians = {"wall": result.wall, "cpu": result.cpu, "peak": result.peak} if done else None
        return {**asdict(result), "median": medians}

    document = {
        "conditions": asdict(conditions),
        "python": platform.python_version(),
        "system": platform.system(),
        "processors": os.cpu_count(),
        "versions": versions(),
        "results": [entry(result) for some in results.values() for result in some],
        "goals": [
            {**asdict(outcome), "reached": outcome.reached}
            for outcome in outcomes(results, conditions.latency)
        ],
    }
    path.write_text(json.dumps(document, indent=1) + "\n")
