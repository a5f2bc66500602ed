"""How an open file reads: a small first block, then one response for as long as reading goes forward.

Opening costs one GET of the first block, whose response has size and version as well, so a small file is read
by that GET alone. What lies behind is read out of a response that stays open and is read no further than
asked: to the end of the file where reading is sequential, and behind a jump as far as s3fs would have read at
once. A jump forward reads on through it. What passes by a reader that jumps is kept for a while, so that it
finds there what it comes back for. Where it comes back for nothing, each jump is a GET of what is asked for
alone, so that the connection lives: a response that is not read to its end takes its connection with it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fsspec.caching import BaseCache

if TYPE_CHECKING:
    from regfs.s3.body import Body

FIRST_BLOCK = 64 * 1024
"""Bytes that opening a file reads: links, manifests and configs whole, of a blob hardly anything."""
WINDOW = 2**20
"""Bytes that are taken from an open response at once, so that small reads do not each wait for the loop."""
AHEAD = 50 * 2**20
"""Bytes that the response to a jump covers beyond what was asked for, and that a jump forward rather passes
than jumps over; s3fs' block size."""
KEPT = 50 * 2**20
"""Bytes that are kept of what a jumping reader has passed; s3fs keeps a block."""
JUMPS = 3
"""Jumps, one after the other, whose responses were good for nothing else, before more ask for no more."""


class StreamCache(BaseCache):
    """The default cache of files opened for reading.

    Parameters
    ----------
    size : int
        The file's size in bytes.
    head : bytes
        Its first bytes, as opening got them.
    open_body : callable
        ``(start, stop) -> Body``; blocks.
    read_body : callable
        ``(body, n) -> bytes``; blocks.
    drop_body : callable
        ``(body) -> None``; does not block.
    """

    name = "stream"

    def __init__(
        self,
        size: int,
        head: bytes,
        open_body: Callable[[int, int], Body],
        read_body: Callable[[Body, int], bytes],
        drop_body: Callable[[Body], None],
    ) -> None:
        super().__init__(WINDOW, None, size)
        self._head = head
        # What is kept: pieces that follow each other, the last of them up to where the response is read.
        self._pieces: deque[tuple[int, bytes]] = deque()
        self._at = len(head)
        self._open_body = open_body
        self._read_body = read_body
        self._drop_body = drop_body
        self._body: Body | None = None
        self._body_stop = 0
        self._ahead: int | None = None  # None: reading is sequential, responses cover all the rest
        self._last = 0  # where the last read ended
        self._reach = 0  # how far a look ahead goes that began with a read out of the head
        self._jumps = 0

    def _fetch(self, start: int | None, stop: int | None) -> bytes:
        start = start or 0
        stop = self.size if stop is None else min(stop, self.size)
        pieces = []
        if start < len(self._head):
            self._reach = stop + AHEAD if stop > self._reach else self._reach
            if start not in (0, self._last) and not self._pieces:
                self._ahead = 0
        self._last = max(start, stop)
        while start < stop:
            piece = self._kept(start, stop)
            if piece is None:
                self._load(start, stop)
            else:
                pieces.append(piece)
                start += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _kept(self, start: int, stop: int) -> bytes | None:
        """Return what is there of [start, stop) from its start on, if anything is."""
        if start < len(self._head):
            return self._head[start:stop]
        for begin, piece in reversed(self._pieces):
            if begin <= start:
                return piece[start - begin : stop - begin] if start < begin + len(piece) else None
        return None

    def _load(self, start: int, stop: int) -> None:
        """Get at least one byte of [start, stop), which are not kept."""
        follows = start == self._at
        if self._body is None or not self._at <= start <= self._at + AHEAD or start >= self._body_stop:
            self._turn(start, stop, follows)
        elif self._ahead is not None:
            self._jumps = 0  # the response to a jump serves another read
        stop = min(max(stop, start + (WINDOW if self._ahead is None else FIRST_BLOCK)), self._body_stop)
        while self._at <= start:
            # What is passed comes in windows, what is wanted in one piece.
            self._take((stop if self._at == start else min(self._at + WINDOW, start)) - self._at)
        if self._at == self._body_stop:
            self.close()

    def _turn(self, start: int, stop: int, follows: bool) -> None:
        """Open another response, from start on."""
        self.close()
        if not follows:
            # A look ahead that the head has served so far goes no further than if it had begun there.
            near = start < self._reach and stop <= self._reach
            self._ahead = self._reach - stop if near else AHEAD if self._jumps < JUMPS else 0
            self._reach = 0
            self._jumps += 1
            self._pieces.clear()
        elif self._ahead is not None:
            self._jumps = 0
            self._ahead = AHEAD
        end = self.size if self._ahead is None else max(stop + self._ahead, start + FIRST_BLOCK)
        self._body_stop = min(end, self.size)
        self._body = self._open_body(start, self._body_stop)
        self._at = start

    def _take(self, n: int) -> None:
        try:
            piece = self._read_body(self._body, n)  # type: ignore[arg-type]  # _load has opened it
        except BaseException:
            self.close()  # nobody knows how far it was read
            raise
        self._pieces.append((self._at, piece))
        self._at += len(piece)
        # A sequential reader keeps two windows, for the few bytes that it may step back.
        least = 2 * WINDOW if self._ahead is None else KEPT
        while len(self._pieces) > 2 and self._at - self._pieces[1][0] >= least:
            self._pieces.popleft()

    def close(self) -> None:
        """Close the open response, read to its end or not."""
        body, self._body = self._body, None
        if body is not None:
            self._drop_body(body)

    def __getstate__(self) -> dict[str, Any]:
        raise TypeError("an open response cannot be pickled; the file is opened anew")
