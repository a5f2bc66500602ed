"""How an open file reads: a small first block, then one response for as long as reading is sequential.

Opening costs one GET of the first block, which tells size and version as well, so a small file is read by
that GET alone. Reading on from there is served out of a single response that stays open; a jump elsewhere
costs a GET of what is asked for, and only if reading goes on behind it a response is opened again.
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
NEAR = 256 * 1024
"""Bytes that are rather read and dropped than jumped over by a new request."""


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
        if self._body is not None and 0 <= start - self._body_at <= NEAR:
            self._read_body(self._body, start - self._body_at)
        else:
            self.close()
            if follows:
                self._body = self._open_body(start, self.size)
            else:
                self._single(start, stop)
                return
        assert self._body is not None  # noqa: S101 - for the type checker
        self._window = self._read_body(self._body, max(stop - start, WINDOW))
        self._window_start = start
        self._body_at = start + len(self._window)

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
            self._drop_body(body)

    def __getstate__(self) -> dict[str, Any]:
        raise TypeError("an open response cannot be pickled; the file is opened anew")
