"""Both lanes, each alone, and what there is to see of an error."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from regfs import RegistryFileSystem
from regfs.parameters import notices

if TYPE_CHECKING:
    from support.proxy import CountingProxy


class Make(Protocol):
    """Makes a filesystem that sends its requests by one lane."""

    def __call__(self, **more: Any) -> RegistryFileSystem:
        """Make it, with other options."""


@pytest.fixture(params=["fast", "canonical"])
def lane(request: pytest.FixtureRequest) -> str:
    """Return the lane that requests are sent by; of the fast one, what it cannot do itself is botocore's."""
    return str(request.param)


@pytest.fixture
def make(proxied_options: dict[str, Any], proxy: CountingProxy, lane: str) -> Make:
    def made(**more: Any) -> RegistryFileSystem:
        options = {**proxied_options, "maxretries": 0, **more}
        fs = RegistryFileSystem(
            **{k: v for k, v in options.items() if v is not None}, skip_instance_cache=True
        )
        if lane == "canonical":
            fs.client.transport.fast.off()
        return fs

    return made


@pytest.fixture
def untold() -> Iterator[None]:
    """Let warnings that were told before be told again."""
    before = set(notices._given)
    notices._given.clear()
    yield
    notices._given.update(before)


def chain(error: BaseException) -> list[BaseException]:
    """Return an error and all that it came of, whether Python shows it or not."""
    found: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is not None and all(one is not other for other in found):
            found.append(one)
            waiting += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]
    return found


def shown(error: BaseException) -> str:
    """Return everything that a log, a notebook, a debugger or a crash report may show of an error."""
    texts = traceback.format_exception(error)
    for item in chain(error):
        texts += [
            str(item),
            repr(item),
            repr(item.args),
            repr(getattr(item, "__notes__", "")),
            repr(vars(item)),
        ]
    return "\n".join(texts)


def answer(status: str, body: bytes = b"", **headers: str) -> bytes:
    """Write a response."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


OBJECT = {"ETag": '"d41d8cd98f00b204e9800998ecf8427e"', "Last_Modified": "Mon, 23 Nov 2026 10:00:00 GMT"}
