"""The databases of packages: what is read out of them, and what is refused."""

from __future__ import annotations

import sqlite3
import struct
from contextlib import closing
from pathlib import Path

import pytest
import support.rpmdb as rpmdb

from regfs.catalog.packages import (
    DatabaseError,
    Package,
    PackageChange,
    compare_packages,
    manager_of,
    read_database,
)

DPKG = """Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.36-9
Description: GNU C Library
 Version: 1 is no field
 .
 more

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: held
Status: hold ok installed
Architecture: all
Version: 1:2.0-1
"""
APK = """C:Q1abc=
P:musl
V:1.2.4-r2
A:x86_64
T:the musl c library (libc) implementation
F:lib
R:libc.musl-x86_64.so.1

P:busybox
V:1.36.1-r5
A:x86_64
"""
SQLITE = "/usr/lib/sysimage/rpm/rpmdb.sqlite"


def read(tmp_path: Path, path: str, content: bytes) -> list[Package]:
    file = tmp_path / "copy #?%"  # characters that mean something in a URI
    file.write_bytes(content)
    return read_database(path, str(file))


def test_dpkg(tmp_path: Path) -> None:
    assert read(tmp_path, "/var/lib/dpkg/status", DPKG.encode()) == [
        Package("dpkg", "libc6", "amd64", "2.36-9"),
        Package("dpkg", "held", "all", "1:2.0-1"),
    ]


def test_dpkg_of_a_distroless_image(tmp_path: Path) -> None:
    content = b"Package: tzdata\nVersion: 2024a-0\nArchitecture: all"
    assert read(tmp_path, "/var/lib/dpkg/status.d/tzdata", content) == [
        Package("dpkg", "tzdata", "all", "2024a-0")
    ]


@pytest.mark.parametrize("path", ["/lib/apk/db/installed", "/usr/lib/apk/db/installed"])
def test_apk(tmp_path: Path, path: str) -> None:
    assert read(tmp_path, path, APK.encode()) == [
        Package("apk", "musl", "x86_64", "1.2.4-r2"),
        Package("apk", "busybox", "x86_64", "1.36.1-r5"),
    ]


def test_rpm(tmp_path: Path) -> None:
    headers = [
        rpmdb.header("bash", "5.2.15", "3.fc38", "x86_64"),
        rpmdb.header("dbus", "1.14.6", "1.fc38", "x86_64", epoch=1),
        rpmdb.header("gpg-pubkey", "eb10b464", "6202d9c6", None),
    ]
    assert read(tmp_path, SQLITE, rpmdb.database(tmp_path, headers)) == [
        Package("rpm", "bash", "x86_64", "5.2.15-3.fc38"),
        Package("rpm", "dbus", "x86_64", "1:1.14.6-1.fc38"),
        Package("rpm", "gpg-pubkey", "", "eb10b464-6202d9c6"),
    ]


@pytest.mark.parametrize(
    ("path", "form"), [("/var/lib/rpm/Packages", "BerkeleyDB"), ("/usr/lib/sysimage/rpm/Packages.db", "ndb")]
)
def test_rpm_in_other_forms(tmp_path: Path, path: str, form: str) -> None:
    with pytest.raises(DatabaseError, match=f"{path}: is in rpm's format {form}, which cannot be read here"):
        read(tmp_path, path, b"anything")


def test_changes_beside_a_database_are_named(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="sqlite-wal: holds changes to the database beside it"):
        read(tmp_path, f"{SQLITE}-wal", b"log")


GOOD = rpmdb.header("bash", "5.2.15", "3.fc38", "x86_64", epoch=2)


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        GOOD[:20],
        GOOD[:-1],
        struct.pack(">II", 2**31, 4) + GOOD[8:],
        struct.pack(">II", 1, 4) + struct.pack(">IIiI", rpmdb.NAME, rpmdb.STRING, 4000, 1) + b"abc\0",
        struct.pack(">II", 1, 4) + struct.pack(">IIiI", rpmdb.NAME, rpmdb.STRING, -1, 1) + b"abc\0",
        struct.pack(">II", 1, 4) + struct.pack(">IIiI", rpmdb.EPOCH, rpmdb.INT32, 2, 1) + b"abc\0",
        struct.pack(">II", 1, 3) + struct.pack(">IIiI", rpmdb.NAME, rpmdb.STRING, 0, 1) + b"abc",
        struct.pack(">II", 0, 0),
    ],
)
def test_a_damaged_header_is_an_error(tmp_path: Path, blob: bytes) -> None:
    content = rpmdb.database(tmp_path, [GOOD, blob])
    with pytest.raises(DatabaseError, match=f"{SQLITE}: cannot be read: a header"):
        read(tmp_path, SQLITE, content)


def test_what_is_no_sqlite_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="cannot be read: file is not a database"):
        read(tmp_path, SQLITE, b"no database" * 100)


@pytest.mark.parametrize(
    "schema",
    [
        "CREATE VIEW Packages AS WITH RECURSIVE n(b) AS (SELECT 1 UNION ALL SELECT 1 FROM n) SELECT b FROM n",
        "CREATE TABLE Packages (hnum INTEGER, blob BLOB GENERATED ALWAYS AS (hex(zeroblob(100000000))))",
        "CREATE TABLE Others (blob BLOB)",
    ],
)
def test_a_database_that_would_run_something(tmp_path: Path, schema: str) -> None:
    with closing(sqlite3.connect(tmp_path / "db")) as connection:
        connection.execute(schema)
        connection.commit()
    with pytest.raises(DatabaseError, match="it has no table of packages as rpm creates it"):
        read(tmp_path, SQLITE, (tmp_path / "db").read_bytes())


def test_which_files_are_databases() -> None:
    managers = {
        "/var/lib/dpkg/status": "dpkg",
        "/var/lib/dpkg/status.d/base": "dpkg",
        "/var/lib/dpkg/status.d/base.md5sums": None,
        "/var/lib/dpkg/status-old": None,
        "/lib/apk/db/installed": "apk",
        "/lib/apk/db/scripts.tar": None,
        "/var/lib/rpm/rpmdb.sqlite": "rpm",
        "/var/lib/rpm/rpmdb.sqlite-wal": "rpm",
        "/var/lib/rpm/rpmdb.sqlite-shm": None,
        "/srv/Packages": None,
    }
    assert {path: manager_of(path) for path in managers} == managers


def test_changes_of_packages() -> None:
    old = [
        Package("dpkg", "a", "amd64", "1"),
        Package("dpkg", "b", "amd64", "1"),
        Package("dpkg", "c", "amd64", "1"),
        Package("rpm", "kernel", "x86_64", "5"),
    ]
    new = [
        Package("rpm", "kernel", "x86_64", "6"),
        Package("rpm", "kernel", "x86_64", "5"),
        Package("dpkg", "c", "amd64", "1"),
        Package("dpkg", "b", "amd64", "2"),
        Package("dpkg", "b", "i386", "2"),
    ]
    assert compare_packages(old, new) == [
        PackageChange("dpkg", "a", "amd64", "removed", ("1",), ()),
        PackageChange("dpkg", "b", "amd64", "changed", ("1",), ("2",)),
        PackageChange("dpkg", "b", "i386", "added", (), ("2",)),
        PackageChange("rpm", "kernel", "x86_64", "changed", ("5",), ("5", "6")),
    ]
