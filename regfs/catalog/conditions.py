"""Conditions on the figures of a :class:`~regfs.catalog.summary.Summary`: ``orphaned > 10GiB``. Pure."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from regfs.catalog.summary import FIGURES, Summary, Unit

_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}
_UNITS: Mapping[Unit, Mapping[str, int]] = {
    "count": {},
    "bytes": {"b": 1}
    | {f"{letter}b": 1000**power for power, letter in enumerate("kmgtp", 1)}
    | {f"{letter}ib": 1024**power for power, letter in enumerate("kmgtp", 1)},
    "seconds": {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400},
}
_VALUES: Mapping[Unit, str] = {
    "count": "a whole number, such as 5",
    "bytes": "a size with a unit, such as 10GiB, 10GB or 500MB",
    "seconds": "a duration with a unit, such as 12h or 7d",
}
_FORM = re.compile(r"\s*([A-Za-z_-]+)\s*(>=|<=|==|!=|>|<)\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", re.ASCII)


class ConditionError(ValueError):
    """An invalid condition; the message names the valid values."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A comparison of a figure with a value.

    Attributes
    ----------
    text : str
        The condition as given to :meth:`parse`.
    figure : str
        One of :data:`regfs.catalog.summary.FIGURES`.
    operator : str
        ">", ">=", "<", "<=", "==" or "!=".
    value : float
        In the figure's unit.
    """

    text: str
    figure: str
    operator: str
    value: float

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Parse ``FIGURE OPERATOR VALUE``; blanks and the suffix ``_bytes`` are optional.

        Raises
        ------
        ConditionError
            The text is not a condition, there is no such figure, or the value has the wrong unit.
        """
        match = _FORM.fullmatch(text)
        if match is None:
            raise ConditionError(
                f"{text[:80]!r}: must be FIGURE OPERATOR VALUE, such as 'orphaned > 10GiB'; operators are "
                f"{' '.join(_OPERATORS)}, figures are {', '.join(short_names())}"
            )
        name, sign, number, unit = match.groups()
        name = name.replace("-", "_")
        figure = name if name in FIGURES else f"{name}_bytes"
        if figure not in FIGURES:
            raise ConditionError(f"{match[1]!r}: is not a figure; figures are {', '.join(short_names())}")
        kind = FIGURES[figure].unit
        units = _UNITS[kind]
        unit = unit.lower()
        whole = "." not in number
        if (unit not in units) if units and (unit or float(number)) else (unit or not whole):
            raise ConditionError(f"{text.strip()[:80]!r}: {match[1]} takes {_VALUES[kind]}")
        amount = int(number) if whole else float(number)
        return cls(text.strip(), figure, sign, amount * units.get(unit, 1))

    def __str__(self) -> str:
        return self.text

    def holds(self, summary: Summary) -> bool | None:
        """Return whether the condition holds; None if the figure is unknown."""
        figure = summary.figures[self.figure]
        return None if figure is None else _OPERATORS[self.operator](figure, self.value)


def short_names() -> list[str]:
    """Return the names of the figures in conditions, without ``_bytes``."""
    return [name.removesuffix("_bytes") for name in FIGURES]
