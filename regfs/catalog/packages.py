"""The packages that a distribution's databases in an image say are installed: dpkg, apk, rpm.

Formats: https://www.debian.org/doc/debian-policy/ch-controlfields.html (dpkg),
https://wiki.alpinelinux.org/wiki/Apk_spec (apk), https://rpm.org/docs/4.20.x/manual/format_header.html and
rpm's lib/backend/sqlite.c (rpm). A database comes out of an image and is as hostile as that.
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
"""Bytes of a database that is read, at most."""
_STATUS = "/var/lib/dpkg/status"
_APK = ("/lib/apk/db/installed", "/usr/lib/apk/db/installed")
_RPM_DIRECTORIES = ("/var/lib/rpm", "/usr/lib/sysimage/rpm", "/usr/share/rpm")
_RPM_UNREADABLE = {
    "Packages.db": "is in rpm's format ndb, which cannot be read here; only sqlite can",
    "Packages": "is in rpm's format BerkeleyDB, which cannot be read here; only sqlite can",
    "rpmdb.sqlite-wal": "holds changes to the database beside it that are not read here",
}
"""Files of rpm's databases, and why the packages in them are unknown. rpm leaves an empty -wal."""
_MOST_ENTRIES, _LARGEST_HEADER = 2**16, 256 * 2**20
"""What rpm itself takes for a sound header, at most."""
_NAME, _VERSION, _RELEASE, _EPOCH, _ARCH = 1000, 1001, 1002, 1003, 1022
_INT32, _STRING, _STRING_ARRAY, _I18NSTRING = 4, 6, 8, 9
_TABLE = re.compile(
    r"CREATE TABLE ['\"]?Packages['\"]? "
    r"\(hnum INTEGER PRIMARY KEY AUTOINCREMENT, ?blob BLOB NOT NULL\)"
)
"""As rpm's sqlite backend creates it."""


class DatabaseError(ValueError):
    """A database of packages cannot be read."""


@dataclass(frozen=True, slots=True, order=True)
class Package:
    """An installed package.

    Attributes
    ----------
    manager : str
        "dpkg", "apk" or "rpm".
    name, architecture : str
        The architecture is empty where the database has none.
    version : str
        With epoch and release where there are any, as "1:2.3-4".
    """

    manager: Manager
    name: str
    architecture: str
    version: str


@dataclass(frozen=True, slots=True)
class PackageChange:
    """A package that came, went, or has another version; several versions may be installed at once."""

    manager: Manager
    name: str
    architecture: str
    change: Literal["added", "removed", "changed"]
    old_versions: tuple[str, ...]
    new_versions: tuple[str, ...]


def manager_of(path: str) -> Manager | None:
    """Return whose database a file of an image is, or belongs to; None if it is none."""
    directory, name = posixpath.split(path)
    if path == _STATUS or (directory == f"{_STATUS}.d" and not name.endswith(".md5sums")):
        return "dpkg"
    if path in _APK:
        return "apk"
    is_rpm = directory in _RPM_DIRECTORIES and (name == "rpmdb.sqlite" or name in _RPM_UNREADABLE)
    return "rpm" if is_rpm else None


def read_database(path: str, file: str) -> list[Package]:
    """Read the packages of a database.

    Parameters
    ----------
    path : str
        Its path in the image, which says what it is; see `manager_of`.
    file : str
        A local copy of it.

    Raises
    ------
    DatabaseError
        It is damaged, or of a format that cannot be read here.
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
        # Distroless images leave the field out: what they list is installed.
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
    """Read paragraphs of fields, of which the first of a name counts; lines that go on are left out."""
    fields: dict[str, str] = {}
    for line in lines:
        line = line.rstrip("\n")
        if not line:
            if fields:
                yield fields
            fields = {}
        elif not line[0].isspace():
            name, found, value = line.partition(separator)
            if found:
                fields.setdefault(name, value.strip())
    if fields:
        yield fields


def _rpm(file: str) -> Iterator[Package]:
    # immutable: neither locks nor a write-ahead log are looked for beside the copy.
    with closing(sqlite3.connect(f"file:{quote(file)}?mode=ro&immutable=1", uri=True)) as database:
        database.execute("PRAGMA trusted_schema=OFF")
        schema = database.execute("SELECT sql FROM sqlite_master WHERE name='Packages' AND type='table'")
        # A view, a virtual table or a computed column would run what the image wants.
        if not _TABLE.fullmatch((schema.fetchone() or ("",))[0] or ""):
            raise DatabaseError("it has no table of packages as rpm makes it")
        for (blob,) in database.execute("SELECT blob FROM Packages ORDER BY hnum"):
            if not isinstance(blob, bytes):
                raise DatabaseError("a header is no blob")
            tags = _header(blob)
            if _NAME not in tags:
                raise DatabaseError("a header has no name")
            epoch = f"{tags[_EPOCH]}:" if _EPOCH in tags else ""
            release = f"-{tags[_RELEASE]}" if _RELEASE in tags else ""
            version = f"{epoch}{tags.get(_VERSION, '')}{release}"
            yield Package("rpm", tags[_NAME], tags.get(_ARCH, ""), version)


def _header(blob: bytes) -> Mapping[int, str]:
    """Read the tags of an rpm header that are of interest.

    It is two counts, of the index' entries and of the store's bytes, the index, and the store; each entry is
    a tag, a type, an offset in the store and a count. All numbers are big-endian.
    """
    try:
        entries, length = struct.unpack_from(">2I", blob)
        if entries > _MOST_ENTRIES or length > _LARGEST_HEADER or len(blob) < 8 + 16 * entries + length:
            raise DatabaseError("a header is cut short, or larger than one may be")
        index = struct.iter_unpack(">2IiI", blob[8 : 8 + 16 * entries])
        store = blob[8 + 16 * entries :]
        tags = {}
        for tag, kind, offset, _ in index:
            if tag == _EPOCH and kind == _INT32:
                tags[tag] = str(struct.unpack_from(">I", store, offset)[0])
            elif tag in (_NAME, _VERSION, _RELEASE, _ARCH) and kind in (_STRING, _STRING_ARRAY, _I18NSTRING):
                if not 0 <= offset < length:
                    raise DatabaseError("a header's index leads out of it")
                tags[tag] = store[offset : store.index(b"\0", offset)].decode("utf-8", "replace")
    except (struct.error, ValueError) as exc:
        if isinstance(exc, DatabaseError):
            raise
        raise DatabaseError(f"a header is damaged: {exc}") from exc
    return tags


def compare_packages(old: Iterable[Package], new: Iterable[Package]) -> list[PackageChange]:
    """Return the packages that came, went or changed, by manager, name and architecture."""
    before, after = _versions(old), _versions(new)
    changes = []
    for key in sorted(before.keys() | after.keys()):
        was, now = before.get(key, ()), after.get(key, ())
        if was != now:
            kind: Literal["added", "removed", "changed"] = "changed" if was and now else "added"
            if not now:
                kind = "removed"
            changes.append(PackageChange(*key, kind, was, now))
    return changes


def _versions(packages: Iterable[Package]) -> dict[tuple[Manager, str, str], tuple[str, ...]]:
    versions_by_package: defaultdict[tuple[Manager, str, str], list[str]] = defaultdict(list)
    for package in packages:
        versions_by_package[package.manager, package.name, package.architecture].append(package.version)
    return {key: tuple(sorted(versions)) for key, versions in versions_by_package.items()}
