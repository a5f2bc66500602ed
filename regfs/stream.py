"""How an open file reads: a small first block, then one response for as long as reading goes forward.

Opening costs one GET of the first block, which tells size and version as well, so a small file is read by
that GET alone. What lies behind is read out of a response that stays open. A jump forward reads on through
it, for a request costs the time of megabytes, and takes from the wire no more than what is passed; a jump
elsewhere opens another response. Where jumps go on, each is a GET of what is asked for alone, so that the
connection lives: a response that is not read to its end takes its connection with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fsspec.caching import BaseCache

if TYPE_CHECKING:
    from regfs.answers import Body

FIRST_BLOCK = 64 * 1024
"""Bytes that opening a file reads: links, manifests and configs whole, of a blob hardly anything."""
WINDOW = 2**20
"""Bytes that are taken from an open response at once, so that small reads do not each wait for the loop."""
SPAN = 50 * 2**20
"""Bytes behind a jump that one response covers, and that are rather passed than jumped over."""
JUMPS = 3
"""Responses that may be dropped half-read, one after the other, before jumps get what they ask for alone."""


class StreamCache(BaseCache):  # type: ignore[misc]  # fsspec ships no types
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
        self._window = b""
        self._window_start = len(head)
        self._open_body = open_body
        self._read_body = read_body
        self._drop_body = drop_body
        self._body: Body | None = None
        self._body_at = 0
        self._body_stop = 0
        self._dropped = 0

    def _fetch(self, start: int | None, stop: int | None) -> bytes:
        start = start or 0
        stop = self.size if stop is None else min(stop, self.size)
        pieces = []
        while start < stop:
            if start < len(self._head):
                piece = self._head[start:stop]
            else:
                if not self._window_start <= start < self._window_start + len(self._window):
                    self._load(start, stop)
                offset = start - self._window_start
                piece = self._window[offset : offset + stop - start]
            pieces.append(piece)
            start += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _load(self, start: int, stop: int) -> None:
        """Put the window where reading is: over [start, …), at least one byte of it."""
        follows = start == self._window_start + len(self._window)
        if self._body is None or not self._body_at <= start < self._body_stop:
            self.close()
            if not follows and self._dropped >= JUMPS:
                self._single(start, stop)
                return
            self._body_stop = self.size if follows else min(start + SPAN, self.size)
            self._body = self._open_body(start, self._body_stop)
            self._body_at = start
        while self._body_at < start:
            self._body_at += len(self._read_body(self._body, min(start - self._body_at, WINDOW)))
        self._window = self._read_body(self._body, max(stop - start, WINDOW if follows else FIRST_BLOCK))
        self._window_start = start
        self._body_at = start + len(self._window)
        if follows or self._body_at == self._body_stop:
            self._dropped = 0

    def _single(self, start: int, stop: int) -> None:
        stop = min(max(stop, start + FIRST_BLOCK), self.size)
        body = self._open_body(start, stop)
        try:
            self._window = self._read_body(body, stop - start)
            self._window_start = start
        finally:
            self._drop_body(body)

    def close(self) -> None:
        """Drop the open response."""
        body, self._body = self._body, None
        if body is not None:
            self._dropped += self._body_at < self._body_stop
            self._drop_body(body)

    def __getstate__(self) -> dict[str, Any]:
        raise TypeError("an open response cannot be pickled; the file is opened anew")
