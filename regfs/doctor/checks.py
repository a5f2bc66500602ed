"""What an examination finds: one value for each thing that was looked at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum


class Verdict(str, Enum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check.

    Attributes
    ----------
    name : str
        What it is; a permission is called by S3's operation.
    verdict : Verdict
        "warning": it works, but not as it should. "skipped": it could not be tried, or was not to be.
    found : str
        What was found, one line, never a secret.
    advice : str
        What to change; empty where there is nothing.
    """

    name: str
    verdict: Verdict
    found: str
    advice: str = ""


Report = Callable[[Check], object]
"""Called with each check as it ends."""


def ok(name: str, found: str) -> Check:
    """Make a check that found all well."""
    return Check(name, Verdict.OK, found)


def warning(name: str, found: str, advice: str) -> Check:
    """Make a check that found something to think about."""
    return Check(name, Verdict.WARNING, found, advice)


def failed(name: str, found: str, advice: str) -> Check:
    """Make a check that found a fault."""
    return Check(name, Verdict.FAILED, found, advice)


def skipped(name: str, reason: str) -> Check:
    """Make a check that was not carried out."""
    return Check(name, Verdict.SKIPPED, reason)
