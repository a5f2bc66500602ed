"""The operations of both faces that faults happen to, and how it is seen what they did."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from regfs import FileInfo, RegistryFileSystem, StorageDriver

SMALL = b"small"
LARGE = random.Random(0).randbytes(700_000)
PART = 5 * 2**20
"""The smallest that S3 takes."""
PARTS = random.Random(1).randbytes(PART + 4096)
OLD = b"what was there before"

State = Mapping[str, "bytes | None"]


@dataclass(frozen=True)
class Cell:
    """Where one operation happens.

    Attributes
    ----------
    fs, driver
        The two faces, of one object.
    base : str
        A driver path that is its own.
    local : Path
        A local directory that is its own.
    """

    fs: RegistryFileSystem
    driver: StorageDriver
    base: str
    local: Path

    def path(self, name: str) -> str:
        """Return a driver path."""
        return f"{self.base}/{name}"

    def relative(self, paths: Any) -> list[str]:
        """Return paths below the base, sorted."""
        return sorted(path.removeprefix(self.base + "/") for path in paths)


@dataclass(frozen=True)
class Operation:
    """One call.

    Attributes
    ----------
    name : str
        As its users call it.
    group : str
        Operations that the table tells of together.
    run : callable
        ``run(cell)`` does it.
    result : object
        What `run` returns.
    before : mapping
        The objects that are there before.
    after : mapping
        Those that it changes, as they are afterwards; None for what is gone. After a failure each is either
        as before or as this.
    """

    name: str
    group: str
    run: Callable[[Cell], Any]
    result: Any = None
    before: Mapping[str, bytes] = field(default_factory=dict)
    after: State = field(default_factory=dict)


def _read_file(cell: Cell) -> bytes:
    with cell.fs.open(cell.path("large")) as file:
        return b"".join(iter(lambda: file.read(50_000), b""))


def _get_file(cell: Cell) -> bytes:
    target = cell.local / "got"
    try:
        cell.fs.get_file(cell.path("large"), str(target))
    finally:
        left = [path.name for path in cell.local.iterdir() if path != target]
        assert not left, f"left behind: {left}"
    return target.read_bytes()


def _reader(cell: Cell) -> bytes:
    with cell.driver.reader(cell.path("large"), 1000) as stream:
        return stream.read()


def _walk(cell: Cell) -> list[str]:
    seen: list[FileInfo] = []
    cell.driver.walk(cell.base, seen.append)
    return cell.relative(info.path for info in seen)


def _put_file(cell: Cell) -> None:
    source = cell.local / "source"
    source.write_bytes(SMALL)
    cell.fs.put_file(str(source), cell.path("x"))


def _open_write(data: bytes, mode: str = "wb") -> Callable[[Cell], None]:
    def run(cell: Cell) -> None:
        with cell.fs.open(cell.path("x"), mode) as file:
            file.write(data)

    return run


def _writer(cell: Cell) -> None:
    writer = cell.driver.writer(cell.path("x"))
    try:
        writer.write(PARTS)
        writer.commit()
    except BaseException:
        writer.cancel()
        raise
    writer.close()


def _resumed(cell: Cell) -> None:
    writer = cell.driver.writer(cell.path("x"))
    try:
        writer.write(PARTS[:1000])
        writer.close()
        writer = cell.driver.writer(cell.path("x"), append=True)
        writer.write(PARTS[1000:])
        writer.commit()
    except BaseException:
        for path in (cell.path("x"), cell.path("x~regfs")):  # as an operator would
            cell.fs.abort_uploads(dry_run=False)
            if cell.fs.exists(path) and "~" in path:
                cell.fs.rm_file(path)
        raise
    writer.close()


def _abort_uploads(cell: Cell) -> int:
    try:
        writer = cell.driver.writer(cell.path("pending"))
        writer.write(SMALL)
        writer.close()
    except BaseException:
        cell.fs.abort_uploads(dry_run=False)
        raise
    return len(cell.fs.abort_uploads(dry_run=False))


TREE = {f"t/{name}": name.encode() for name in ("1", "2/a", "2/b", "3-")}
_FILES = {"small": SMALL, "large": LARGE}

OPERATIONS = (
    Operation("fs.cat_file", "reads", lambda c: c.fs.cat_file(c.path("small")), SMALL, _FILES),
    Operation("fs.cat_file by ranges", "reads", lambda c: c.fs.cat_file(c.path("large")), LARGE, _FILES),
    Operation(
        "fs.cat of many",
        "reads",
        lambda c: sorted(c.fs.cat([c.path(k) for k in TREE]).values()),
        sorted(TREE.values()),
        TREE,
    ),
    Operation("fs.get_file", "reads", _get_file, LARGE, _FILES),
    Operation("fs.open rb", "reads", _read_file, LARGE, _FILES),
    Operation("driver.get_content", "reads", lambda c: c.driver.get_content(c.path("small")), SMALL, _FILES),
    Operation("driver.reader", "reads", _reader, LARGE[1000:], _FILES),
    Operation("fs.info", "looks", lambda c: c.fs.info(c.path("small"))["size"], len(SMALL), _FILES),
    Operation("fs.exists", "looks", lambda c: c.fs.exists(c.path("small")), True, _FILES),
    Operation(
        "fs.ls",
        "looks",
        lambda c: c.relative(c.fs.ls(c.path("t"), detail=False)),
        ["t/1", "t/2", "t/3-"],
        TREE,
    ),
    Operation("fs.find", "looks", lambda c: c.relative(c.fs.find(c.base)), sorted(TREE), TREE),
    Operation("driver.stat", "looks", lambda c: c.driver.stat(c.path("t")).is_dir, True, TREE),
    Operation(
        "driver.list", "looks", lambda c: c.relative(c.driver.list(c.path("t/2"))), ["t/2/a", "t/2/b"], TREE
    ),
    Operation("driver.walk", "looks", _walk, sorted([*TREE, "t", "t/2"]), TREE),
    Operation(
        "fs.pipe_file", "writes", lambda c: c.fs.pipe_file(c.path("x"), SMALL), None, {"x": OLD}, {"x": SMALL}
    ),
    Operation("fs.put_file", "writes", _put_file, None, {"x": OLD}, {"x": SMALL}),
    Operation("fs.open wb", "writes", _open_write(SMALL), None, {"x": OLD}, {"x": SMALL}),
    Operation("fs.open xb", "writes", _open_write(SMALL, "xb"), None, {}, {"x": SMALL}),
    Operation(
        "driver.put_content",
        "writes",
        lambda c: c.driver.put_content(c.path("x"), SMALL),
        None,
        {"x": OLD},
        {"x": SMALL},
    ),
    Operation(
        "fs.pipe_file in parts",
        "uploads",
        lambda c: c.fs.pipe_file(c.path("x"), PARTS),
        None,
        {"x": OLD},
        {"x": PARTS},
    ),
    Operation("fs.open wb in parts", "uploads", _open_write(PARTS), None, {"x": OLD}, {"x": PARTS}),
    Operation("fs.open xb in parts", "uploads", _open_write(PARTS, "xb"), None, {}, {"x": PARTS}),
    Operation("driver.writer", "uploads", _writer, None, {"x": OLD}, {"x": PARTS}),
    Operation("driver.writer, resumed", "uploads", _resumed, None, {"x": OLD}, {"x": PARTS}),
    Operation(
        "driver.write_stream at 3",
        "uploads",
        lambda c: c.driver.write_stream(c.path("x"), 3, io.BytesIO(PARTS)),
        len(PARTS),
        {"x": OLD},
        {"x": OLD[:3] + PARTS},
    ),
    Operation("fs.abort_uploads", "uploads", _abort_uploads, 1),
    Operation(
        "fs.cp_file",
        "copies",
        lambda c: c.fs.cp_file(c.path("small"), c.path("x")),
        None,
        _FILES,
        {"x": SMALL},
    ),
    Operation(
        "fs.cp_file by parts",
        "copies",
        lambda c: c.fs.cp_file(c.path("parts"), c.path("x")),
        None,
        {"parts": PARTS},
        {"x": PARTS},
    ),
    Operation(
        "fs.mv_file",
        "copies",
        lambda c: c.fs.mv(c.path("small"), c.path("x")),
        None,
        _FILES,
        {"x": SMALL, "small": None},
    ),
    Operation(
        "driver.move",
        "copies",
        lambda c: c.driver.move(c.path("small"), c.path("x")),
        None,
        _FILES,
        {"x": SMALL, "small": None},
    ),
    Operation(
        "fs.rm_file", "deletions", lambda c: c.fs.rm_file(c.path("small")), None, _FILES, {"small": None}
    ),
    Operation(
        "fs.rm of a tree",
        "deletions",
        lambda c: c.fs.rm(c.path("t"), recursive=True),
        None,
        TREE,
        dict.fromkeys(TREE),
    ),
    Operation(
        "driver.delete", "deletions", lambda c: c.driver.delete(c.path("t")), None, TREE, dict.fromkeys(TREE)
    ),
)
