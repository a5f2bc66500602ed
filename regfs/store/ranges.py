"""Which byte ranges of files are read together: a request costs more time than some bytes in between.

Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

NEAR = 64 * 1024
"""Bytes between two ranges that are rather read along than jumped over by another request."""
LARGEST = 8 * 2**20
"""Bytes that ranges are merged up to: beyond, several requests at once are faster than one."""

Range = tuple[str, "int | None", "int | None"]


@dataclass
class Block:
    """A range to be read, and which of the wanted ranges lie in it.

    Attributes
    ----------
    path : str
        The file.
    start, stop : int or None
        As for ``cat_file``.
    wanted : list of int
        Positions in the list of ranges.
    """

    path: str
    start: int | None
    stop: int | None
    wanted: list[int] = field(default_factory=list)


def merge(ranges: Sequence[Range], gap: int = NEAR, largest: int = LARGEST) -> list[Block]:
    """Find as few blocks as hold all ranges.

    Parameters
    ----------
    ranges : sequence of (str, int or None, int or None)
        Path, start and stop, in any order; they may overlap. One that counts from the end of its file, or has
        no stop, is a block of its own.
    gap : int
        Bytes between two ranges of one file that are read along.
    largest : int
        Bytes that a block grows to, unless ranges overlap.
    """
    blocks = []
    plain: list[tuple[str, int, int, int]] = []
    for position, (path, start, stop) in enumerate(ranges):
        if stop is None or stop < 0 or (start or 0) < 0:
            blocks.append(Block(path, start, stop, [position]))
        else:
            plain.append((path, start or 0, stop, position))
    path, end, block = "", 0, None
    for name, start, stop, position in sorted(plain):
        near = block is not None and name == path and start - end <= gap
        overlaps = near and start < end
        if block is not None and near and (overlaps or stop - (block.start or 0) <= largest):
            block.wanted.append(position)
            block.stop = end = max(end, stop)
        else:
            block = Block(name, start, stop, [position])
            blocks.append(block)
            path, end = name, stop
    return blocks
