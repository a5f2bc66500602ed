"""The installed packages of an image, read from its package database: dpkg, apk, rpm.

Formats: https://www.debian.org/doc/debian-policy/ch-controlfields.html (dpkg),
https://wiki.alpinelinux.org/wiki/Apk_spec (apk), https://rpm.org/docs/4.20.x/manual/format_header.html and
rpm's lib/backend/sqlite.c (rpm). Databases come from images and are untrusted input.
"""

from __future__ import annotations

import posixpath
import re
import sqlite3
import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Literal, TypeAlias
from urllib.parse import quote

Manager: TypeAlias = Literal["dpkg", "apk", "rpm"]

LARGEST = 512 * 2**20
"""The largest database, in bytes, that is read."""
_STATUS = "/var/lib/dpkg/status"
_APK = ("/lib/apk/db/installed", "/usr/lib/apk/db/installed")
_RPM_DIRECTORIES = ("/var/lib/rpm", "/usr/lib/sysimage/rpm", "/usr/share/rpm")
_RPM_UNREADABLE = {
    "Packages.db": "is in rpm's format ndb, which cannot be read here; only sqlite can",
    "Packages": "is in rpm's format BerkeleyDB, which cannot be read here; only sqlite can",
    "rpmdb.sqlite-wal": "holds changes to the database beside it that are not read here",
}
"""Files of rpm's databases that cannot be read, and why. rpm leaves an empty -wal, which does not count."""
_MOST_ENTRIES, _LARGEST_HEADER = 2**16, 256 * 2**20
"""rpm's own limits for a header: its entries, and its bytes."""
_NAME, _VERSION, _RELEASE, _EPOCH, _ARCH = 1000, 1001, 1002, 1003, 1022
_INT32, _STRING, _STRING_ARRAY, _I18NSTRING = 4, 6, 8, 9
_TABLE = re.compile(
    r"CREATE TABLE ['\"]?Packages['\"]? "
    r"\(hnum INTEGER PRIMARY KEY AUTOINCREMENT, ?blob BLOB NOT NULL\)"
)
"""The table as rpm's sqlite backend creates it."""


class DatabaseError(ValueError):
    """A package database cannot be read."""


@dataclass(frozen=True, slots=True, order=True)
class Package:
    """An installed package.

    Attributes
    ----------
    manager : str
        "dpkg", "apk" or "rpm".
    name, architecture : str
        The architecture is empty if the database states none.
    version : str
        Includes epoch and release if there are any, as in "1:2.3-4".
    """

    manager: Manager
    name: str
    architecture: str
    version: str


@dataclass(frozen=True, slots=True)
class PackageChange:
    """A package that was added, removed or changed; several versions may be installed at once."""

    manager: Manager
    name: str
    architecture: str
    change: Literal["added", "removed", "changed"]
    old_versions: tuple[str, ...]
    new_versions: tuple[str, ...]


def manager_of(path: str) -> Manager | None:
    """Return the manager whose database a file in an image belongs to, or None."""
    directory, name = posixpath.split(path)
    if path == _STATUS or (directory == f"{_STATUS}.d" and not name.endswith(".md5sums")):
        return "dpkg"
    if path in _APK:
        return "apk"
    is_rpm = directory in _RPM_DIRECTORIES and (name == "rpmdb.sqlite" or name in _RPM_UNREADABLE)
    return "rpm" if is_rpm else None


def read_database(path: str, file: str) -> list[Package]:
    """Read the installed packages from a database.

    Parameters
    ----------
    path : str
        The database's path in the image, which determines its format; see `manager_of`.
    file : str
        A local copy of the database.

    Raises
    ------
    DatabaseError
        The database is damaged, or its format is not supported.
    OSError
        The copy cannot be read.
    """
    manager = manager_of(path)
    if manager == "rpm":
        if reason := _RPM_UNREADABLE.get(posixpath.basename(path)):
            raise DatabaseError(f"{path}: {reason}")
        try:
            return list(_rpm(file))
        except (sqlite3.Error, DatabaseError) as exc:
            raise DatabaseError(f"{path}: cannot be read: {exc}") from exc
    with open(file, encoding="utf-8", errors="replace") as lines:
        return list(_dpkg(lines) if manager == "dpkg" else _apk(lines))


def _dpkg(lines: Iterable[str]) -> Iterator[Package]:
    for fields in _stanzas(lines, ": "):
        # Distroless images leave out the field and list installed packages only.
        installed = fields.get("Status", "installed").split()[-1:] == ["installed"]
        if installed and "Package" in fields:
            yield Package(
                "dpkg", fields["Package"], fields.get("Architecture", ""), fields.get("Version", "")
            )


def _apk(lines: Iterable[str]) -> Iterator[Package]:
    for fields in _stanzas(lines, ":"):
        if "P" in fields:
            yield Package("apk", fields["P"], fields.get("A", ""), fields.get("V", ""))


def _stanzas(lines: Iterable[str], separator: str) -> Iterator[dict[str, str]]:
    """Yield the fields of each paragraph; repeated fields and continuation lines are ignored."""
    fields: dict[str, str] = {}
    for line in lines:
        line = line.rstrip("\n")
        if not line:
            if fields:
                yield fields
            fields = {}
        elif not line[0].isspace():
            name, delimiter, value = line.partition(separator)
            if delimiter:
                fields.setdefault(name, value.strip())
    if fields:
        yield fields


def _rpm(file: str) -> Iterator[Package]:
    # immutable: sqlite uses neither locks nor a write-ahead log beside the copy.
    with closing(sqlite3.connect(f"file:{quote(file)}?mode=ro&immutable=1", uri=True)) as database:
        database.execute("PRAGMA trusted_schema=OFF")
        schema = database.execute("SELECT sql FROM sqlite_master WHERE name='Packages' AND type='table'")
        # A view, a virtual table or a computed column could run code of the image's choice.
        if not _TABLE.fullmatch((schema.fetchone() or ("",))[0] or ""):
            raise DatabaseError("it has no table of packages as rpm creates it")
        for (blob,) in database.execute("SELECT blob FROM Packages ORDER BY hnum"):
            if not isinstance(blob, bytes):
                raise DatabaseError("a header is not a blob")
            tags = _header(blob)
            if _NAME not in tags:
                raise DatabaseError("a header has no name")
            epoch = f"{tags[_EPOCH]}:" if _EPOCH in tags else ""
            release = f"-{tags[_RELEASE]}" if _RELEASE in tags else ""
            version = f"{epoch}{tags.get(_VERSION, '')}{release}"
            yield Package("rpm", tags[_NAME], tags.get(_ARCH, ""), version)


def _header(blob: bytes) -> Mapping[int, str]:
    """Parse the name, version, release, epoch and architecture in an rpm header, by tag.

    A header is the number of index entries, the number of bytes in the store, the index and the store. An
    index entry is a tag, a type, an offset in the store and a count. All numbers are big-endian.
    """
    try:
        entries, length = struct.unpack_from(">2I", blob)
        if entries > _MOST_ENTRIES or length > _LARGEST_HEADER or len(blob) < 8 + 16 * entries + length:
            raise DatabaseError("a header is truncated or too large")
        index = struct.iter_unpack(">2IiI", blob[8 : 8 + 16 * entries])
        store = blob[8 + 16 * entries :]
        tags = {}
        for tag, kind, offset, _ in index:
            if tag == _EPOCH and kind == _INT32:
                tags[tag] = str(struct.unpack_from(">I", store, offset)[0])
            elif tag in (_NAME, _VERSION, _RELEASE, _ARCH) and kind in (_STRING, _STRING_ARRAY, _I18NSTRING):
                if not 0 <= offset < length:
                    raise DatabaseError("a header's index points outside of the header")
                tags[tag] = store[offset : store.index(b"\0", offset)].decode("utf-8", "replace")
    except (struct.error, ValueError) as exc:
        if isinstance(exc, DatabaseError):
            raise
        raise DatabaseError(f"a header is damaged: {exc}") from exc
    return tags


def compare_packages(old: Iterable[Package], new: Iterable[Package]) -> list[PackageChange]:
    """Return the packages that were added, removed or changed, by manager, name and architecture."""
    old_versions, new_versions = _versions(old), _versions(new)
    changes = []
    for key in sorted(old_versions.keys() | new_versions.keys()):
        before, after = old_versions.get(key, ()), new_versions.get(key, ())
        if before != after:
            kind: Literal["added", "removed", "changed"] = "changed" if before and after else "added"
            if not after:
                kind = "removed"
            changes.append(PackageChange(*key, kind, before, after))
    return changes


def _versions(packages: Iterable[Package]) -> dict[tuple[Manager, str, str], tuple[str, ...]]:
    versions_by_package: defaultdict[tuple[Manager, str, str], list[str]] = defaultdict(list)
    for package in packages:
        versions_by_package[package.manager, package.name, package.architecture].append(package.version)
    return {key: tuple(sorted(versions)) for key, versions in versions_by_package.items()}
