"""A storage driver on a socket, for programs in other languages.

A message is a line of JSON and behind it as many bytes as its "length" says. A connection carries one call;
that of a reader, a writer or a walk goes on to its end. The other side is ``gosuite/driver_test.go``.
"""

from __future__ import annotations

import contextlib
import functools
import json
import socketserver
import threading
from typing import TYPE_CHECKING, Any

from regfs import DriverError, SkipDir

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from regfs import FileInfo, FileWriter, StorageDriver

_BLOCK = 2**20


@contextlib.contextmanager
def serve(driver: StorageDriver) -> Iterator[str]:
    """Serve a driver on a free port of 127.0.0.1, and give its address; the end waits for open calls."""
    with _Server(("127.0.0.1", 0), _Call) as server:
        server.driver = driver
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="driver-socket")
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


class _Server(socketserver.ThreadingTCPServer):
    request_queue_size = 128
    driver: StorageDriver


class _HangUp(Exception):  # noqa: N818 - no error but how a call may end
    """The other side is gone."""


class _WalkFailedError(Exception):
    """The other side's function failed, and it knows how."""


class _Call(socketserver.StreamRequestHandler):
    """Answers one connection; each call is a method of the driver's method's name with an underscore."""

    disable_nagle_algorithm = True  # answers are small, and each is waited for
    server: _Server

    def handle(self) -> None:
        with contextlib.suppress(_HangUp):
            message, body = self._receive()
            call = getattr(self, f"_{message.pop('call')}")
            self._answer(functools.partial(call, body, **message))

    def _answer(self, function: Callable[[], Any]) -> None:
        """Send what a function returns or raises."""
        try:
            value = function()
        except _HangUp:
            raise
        except Exception as error:  # whatever it is, it is for the other side to see
            self._send(error=self._describe(error))
        else:
            self._send(value)

    def _describe(self, error: Exception) -> dict[str, str]:
        if isinstance(error, DriverError):
            kind = type(error).__name__
            return {"kind": kind, "text": str(error), "path": error.path, "driver": error.driver}
        return {"text": f"{type(error).__name__}: {error}", "driver": self.server.driver.name}

    # -- messages -------------------------------------------------------------------------------------

    def _receive(self) -> tuple[dict[str, Any], bytes]:
        try:
            line = self.rfile.readline()
            if not line.endswith(b"\n"):
                raise _HangUp
            message = json.loads(line)
            length = message.pop("length")
            body = self.rfile.read(length)
        except OSError as broken:
            raise _HangUp from broken
        if len(body) < length:
            raise _HangUp
        return message, body

    def _send(self, value: Any = None, error: dict[str, str] | None = None) -> None:
        body = value if isinstance(value, bytes) else b""
        message = {"value": None if body else value, "error": error, "length": len(body)}
        try:
            self.wfile.write(json.dumps(message).encode() + b"\n")
            self.wfile.write(body)
        except OSError as broken:
            raise _HangUp from broken

    # -- calls of one answer --------------------------------------------------------------------------

    def _name(self, _: bytes) -> str:
        return self.server.driver.name

    def _get_content(self, _: bytes, path: str) -> bytes:
        return self.server.driver.get_content(path)

    def _put_content(self, body: bytes, path: str) -> None:
        self.server.driver.put_content(path, body)

    def _stat(self, _: bytes, path: str) -> dict[str, Any]:
        return _fields(self.server.driver.stat(path))

    def _list(self, _: bytes, path: str) -> list[str]:
        return self.server.driver.list(path)

    def _move(self, _: bytes, path: str, dest: str) -> None:
        self.server.driver.move(path, dest)

    def _delete(self, _: bytes, path: str) -> None:
        self.server.driver.delete(path)

    def _url_for(self, _: bytes, path: str, method: str = "GET") -> str:
        return self.server.driver.url_for(path, method)

    # -- calls that go on; what they return is sent last -----------------------------------------------

    def _reader(self, _: bytes, path: str, offset: int) -> None:
        with self.server.driver.reader(path, offset) as reader:
            self._send()
            while block := reader.read(_BLOCK):
                self._send(block)

    def _writer(self, _: bytes, path: str, append: bool) -> int:
        with self.server.driver.writer(path, append) as writer:  # which closes it, whoever ends this
            self._send(writer.size)
            while (message := self._receive())[0]["call"] != "close":
                self._answer(functools.partial(_forward, writer, *message))
        return writer.size

    def _walk(self, _: bytes, path: str) -> None:
        def look(info: FileInfo) -> None:
            self._send(_fields(info))
            verdict = self._receive()[0]["call"]
            if verdict == "skip":
                raise SkipDir
            if verdict == "fail":
                raise _WalkFailedError

        self._send()
        self.server.driver.walk(path, look)


def _forward(writer: FileWriter, message: dict[str, Any], body: bytes) -> int:
    """Call a writer's method, and give the size that the writer then has."""
    if message["call"] == "write":
        writer.write(body)
    else:
        getattr(writer, message["call"])()
    return writer.size


def _fields(info: FileInfo) -> dict[str, Any]:
    """Return a FileInfo's fields, named as in Go in small letters."""
    time = info.mod_time and info.mod_time.isoformat()
    return {"path": info.path, "size": info.size, "modtime": time, "isdir": info.is_dir}
