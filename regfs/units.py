"""Numbers of bytes for reading."""

from __future__ import annotations

UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def format_size(count: float) -> str:
    """Format a number of bytes in three digits at most: ``71 B``, ``1.5 KiB``, ``12 MiB``."""
    number, unit = float(count), UNITS[0]
    for unit in UNITS:
        if number < 999.5 or unit == UNITS[-1]:
            break
        number /= 1024
    digits = 1 if unit != "B" and 0 < number < 9.95 else 0
    return f"{number:.{digits}f} {unit}"
