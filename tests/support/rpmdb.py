"""A database of rpm in the form of sqlite, with headers as rpm writes them."""

from __future__ import annotations

import sqlite3
import struct
from contextlib import closing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

NAME, VERSION, RELEASE, EPOCH, ARCH = 1000, 1001, 1002, 1003, 1022
INT32, STRING, BIN = 4, 6, 7


def header(name: str, version: str, release: str, arch: str | None, epoch: int | None = None) -> bytes:
    """Return a header: its index begins with the region that all other entries are in, as rpm's do."""
    texts = [(NAME, name), (VERSION, version), (RELEASE, release), *([(ARCH, arch)] if arch else [])]
    entries, store = [], b""
    for tag, text in texts:
        entries.append((tag, STRING, len(store), 1))
        store += text.encode() + b"\0"
    if epoch is not None:
        store += b"\0" * (-len(store) % 4)
        entries.append((EPOCH, INT32, len(store), 1))
        store += struct.pack(">I", epoch)
    count = len(entries) + 1
    region = (63, BIN, len(store), 16)
    store += struct.pack(">IIiI", 63, BIN, -16 * count, 16)
    index = b"".join(struct.pack(">IIiI", *entry) for entry in (region, *entries))
    return struct.pack(">II", count, len(store)) + index + store


def database(directory: Path, headers: Iterable[bytes]) -> bytes:
    """Return the content of an rpmdb.sqlite."""
    file = directory / "rpmdb.sqlite"
    file.unlink(missing_ok=True)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS 'Packages' ("
            "hnum INTEGER PRIMARY KEY AUTOINCREMENT,blob BLOB NOT NULL)"
        )
        connection.executemany("INSERT INTO Packages (blob) VALUES (?)", [(blob,) for blob in headers])
        connection.commit()
    return file.read_bytes()
