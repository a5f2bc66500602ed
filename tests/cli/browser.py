"""A real browser for the tests of pages: Chromium, spoken to over its debugging pipe.

The protocol: https://chromedevtools.github.io/devtools-protocol/, messages that end in a zero byte, read by
the browser from descriptor 3 and written to descriptor 4.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = [
    "--headless=new",
    "--no-sandbox",  # it does not start as root otherwise; what it opens is our own
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--remote-debugging-pipe",
]
_TIMEOUT = 90.0


def program() -> str | None:
    """Find one."""
    return next((path for name in PROGRAMS if (path := shutil.which(name))), None)


class Browser:
    """A browser with one page, from the ``with`` statement to its end.

    Parameters
    ----------
    path : str
        The program.

    Attributes
    ----------
    events : list of dict
        What the page has told since it was last opened.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._number = 0
        self._buffer = b""
        self._session = ""
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        self._home = tempfile.TemporaryDirectory(prefix="regfs-browser-", ignore_cleanup_errors=True)
        theirs_in, self._to = os.pipe()
        self._from, theirs_out = os.pipe()

        def place() -> None:
            # Through numbers out of the way, as either may be 3 or 4 already.
            os.dup2(theirs_in, 63)
            os.dup2(theirs_out, 64)
            os.dup2(63, 3)
            os.dup2(64, 4)

        self._process = subprocess.Popen(
            [self._path, *_FLAGS, f"--user-data-dir={self._home.name}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            close_fds=False,
            preexec_fn=place,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self._to)
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._from)
        self._home.cleanup()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command, and give its answer."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                result: dict[str, Any] = answer["result"]
                return result

    def _receive(self) -> dict[str, Any]:
        deadline = time.monotonic() + _TIMEOUT
        waiting = select.poll()  # select() knows no descriptor above 1023
        waiting.register(self._from, select.POLLIN)
        while b"\0" not in self._buffer:
            assert time.monotonic() < deadline, "the browser does not answer"
            if waiting.poll(1000):
                data = os.read(self._from, 2**20)
                assert data, "the browser went away"
                self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        if "method" in message:
            self.events.append(message)
        return message

    def open(self, url: str, *, width: int = 1100, height: int = 900, dark: bool = False) -> None:
        """Open a page, and wait until it is complete."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 700,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.events.clear()
        self.call("Page.navigate", url=url)
        while not self.told("Page.loadEventFired"):
            self._receive()
        self.evaluate("new Promise(done => setTimeout(done, 200))")  # what comes after it

    def evaluate(self, expression: str) -> Any:
        """Run an expression in the page, and give its value."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def told(self, method: str) -> list[dict[str, Any]]:
        """Return the events of one kind since the page was opened."""
        return [event["params"] for event in self.events if event["method"] == method]

    def requested(self) -> Sequence[str]:
        """Return the URLs that the page asked for."""
        return [event["request"]["url"] for event in self.told("Network.requestWillBeSent")]

    def picture(self, width: int = 0, height: int = 0) -> bytes:
        """Take a picture of the whole page, or of its upper part with a size in pixels; a PNG."""
        part = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        clip = {"clip": part} if height else {}
        data: str = self.call("Page.captureScreenshot", captureBeyondViewport=True, **clip)["data"]
        return base64.b64decode(data)

    def printed(self) -> bytes:
        """Print the page, as a PDF."""
        data: str = self.call("Page.printToPDF")["data"]
        return base64.b64decode(data)
