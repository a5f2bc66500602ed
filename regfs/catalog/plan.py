"""A plan to delete orphaned blobs, as a value and as a file. Nothing is deleted here.

A plan's file is JSON, one blob a line. It holds no secret, and no path: a blob is named by its digest, so
that no file can lead out of the directory of blobs.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from regfs.atomic import replacing
from regfs.catalog.source import Source
from regfs.layout import ROOT, Digest, check_repository

FORMAT = "regfs orphans"
VERSION = 2
"""Plans of version 1, which name no repositories, are read as well."""


class PlanError(ValueError):
    """Not a plan, a damaged one, or one for another place."""


class IncompletePlanError(PlanError):
    """Manifests cannot be read, so which blobs they need is unknown.

    Attributes
    ----------
    manifests : tuple of str
        Which, where, and why not.
    """

    def __init__(self, manifests: Sequence[str]) -> None:
        more = f" (and {len(manifests) - 1} more)" if len(manifests) > 1 else ""
        reason = "what it needs is unknown, so nothing is deleted; see regfs fsck, and repair or delete it"
        super().__init__(f"manifest {manifests[0]}{more}: {reason}")
        self.manifests = tuple(manifests)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.manifests,)


@dataclass(frozen=True, slots=True)
class Orphan:
    """A blob that nothing needs.

    Attributes
    ----------
    digest : Digest
    size : int
        Bytes.
    modified : datetime
        When it was written, UTC.
    links : int
        How many repositories have a layer link to it; such a link keeps nothing alive.
    linked : datetime or None
        When the newest of them was written, UTC.
    repositories : tuple of str
        Those repositories, by name; unknown, and empty, in a plan of version 1.
    """

    digest: Digest
    size: int
    modified: datetime
    links: int = 0
    linked: datetime | None = None
    repositories: tuple[str, ...] = ()

    @property
    def touched(self) -> datetime:
        """When it was last written or linked."""
        return max(self.modified, self.linked or self.modified)


@dataclass(frozen=True, slots=True)
class Plan:
    """The blobs that may be deleted, and the time of the scan.

    Attributes
    ----------
    place : str
        Where: URL, root directory and endpoint.
    taken : datetime
        When the look began that it is the result of, UTC.
    older_than : timedelta or None
        What was written or linked less than that before is not in it.
    blobs : tuple of Orphan
        By digest.
    incomplete : tuple of str
        Manifests that could not be read. What they need is unknown, and may be in the plan: such a plan
        is to be looked at, not to be applied.
    younger, younger_bytes : int
        How many blobs nothing needs either but were left out for their age, and their size; 0 in a plan
        that was read from a file, which does not keep it.

    Raises
    ------
    ValueError
        A blob is in it twice, or is younger than it should be; or the age is negative.
    """

    place: str
    taken: datetime
    older_than: timedelta | None
    blobs: tuple[Orphan, ...]
    incomplete: tuple[str, ...] = ()
    younger: int = field(default=0, compare=False)
    younger_bytes: int = field(default=0, compare=False)

    def __post_init__(self) -> None:
        if self.older_than is not None and self.older_than < timedelta():
            raise ValueError(f"older_than {self.older_than.total_seconds()} s: must not be negative")
        seen: set[Digest] = set()
        for blob in self.blobs:
            if blob.digest in seen:
                raise ValueError(f"{blob.digest} is in it twice")
            seen.add(blob.digest)
            if self.older_than is not None and blob.touched > self.taken - self.older_than:
                raise ValueError(f"{blob.digest} is younger than the plan's age")

    @property
    def bytes(self) -> int:
        """The bytes that it would free."""
        return sum(blob.size for blob in self.blobs)

    def save(self, file: str | os.PathLike[str]) -> None:
        """Write it to a file, whole or not at all; only its owner may read it.

        Raises
        ------
        OSError
            It cannot be written.
        """
        head = {
            "format": FORMAT,
            "version": VERSION,
            "place": self.place,
            "taken": self.taken.isoformat(),
            "older_than": None if self.older_than is None else self.older_than.total_seconds(),
            "incomplete": self.incomplete,
            "count": len(self.blobs),
            "bytes": self.bytes,
        }
        with replacing(file, private=True) as out:
            out.write(json.dumps(head, indent=1)[:-2].encode() + b',\n "blobs": [')
            for number, blob in enumerate(self.blobs):
                out.write(f"{',' if number else ''}\n  {json.dumps(_written(blob))}".encode())
            out.write(b"\n ]\n}\n")

    @classmethod
    def load(cls, file: str | os.PathLike[str]) -> Plan:
        """Read it back.

        Raises
        ------
        PlanError
            It is no plan, not one of this version, or a damaged one.
        OSError
            It cannot be read.
        """
        with open(file, "rb") as stream:
            data = stream.read()
        try:
            return _plan(json.loads(data))
        except (ValueError, OverflowError, RecursionError) as exc:
            why = "it is no JSON" if isinstance(exc, (json.JSONDecodeError, UnicodeError)) else exc
            reason = "it is nested too deeply" if isinstance(exc, RecursionError) else why
            raise PlanError(f"plan {os.fspath(file)}: {reason!s:.300}; take a new one") from exc


def place(source: Source) -> str:
    """Return the place of a plan: its URL with root directory and endpoint. No secret is in it.

    Of a storage driver that has no filesystem it is the path alone: plans of two of them look alike.
    """
    fs, path = source.fs, ROOT
    if fs is None:
        return source.url(ROOT)
    while hasattr(fs, "fs") and hasattr(fs, "path"):  # fsspec's DirFileSystem, whose URLs leave its path out
        fs, path = fs.fs, f"/{fs.path.strip('/')}{path}"
    parameters = getattr(fs, "parameters", None)
    distinctions = {
        "rootdirectory": getattr(parameters, "root_directory", "").rstrip("/"),
        "regionendpoint": getattr(parameters, "endpoint_url", None),
    }
    query = urlencode({name: value for name, value in distinctions.items() if value}, safe="/:[]")
    return str(fs.unstrip_protocol(path)) + (f"?{query}" if query else "")


def _written(orphan: Orphan) -> dict[str, Any]:
    return {
        "digest": str(orphan.digest),
        "size": orphan.size,
        "modified": orphan.modified.isoformat(),
        "links": orphan.links,
        "linked": orphan.linked and orphan.linked.isoformat(),
        "repositories": orphan.repositories,
    }


_HEAD = {"format", "version", "place", "taken", "older_than", "incomplete", "count", "bytes", "blobs"}
_BLOB = {1: {"digest", "size", "modified", "links", "linked"}}
_BLOB[2] = {*_BLOB[1], "repositories"}


def _plan(document: Any) -> Plan:
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ValueError("it is no plan of orphaned blobs")
    version = document.get("version")
    if type(version) is not int or version not in _BLOB:
        raise ValueError(f"it is of version {version!r:.20}, not {VERSION}")
    _keys(document, _HEAD, "it")
    older = document["older_than"]
    if older is not None and (type(older) not in (int, float) or not math.isfinite(older)):
        raise ValueError("its older_than is no number of seconds")
    if not isinstance(document["blobs"], list):
        raise ValueError("its blobs are no list")
    incomplete = document["incomplete"]
    if not isinstance(incomplete, list) or not all(isinstance(item, str) for item in incomplete):
        raise ValueError("its incomplete is no list of texts")
    if not isinstance(document["place"], str):
        raise ValueError("its place is no text")
    plan = Plan(
        document["place"],
        _time(document["taken"], "its taken"),
        None if older is None else timedelta(seconds=older),
        tuple(_orphan(blob, f"blob {at}", version) for at, blob in enumerate(document["blobs"], 1)),
        tuple(incomplete),
    )
    if document["count"] != len(plan.blobs) or document["bytes"] != plan.bytes:
        raise ValueError("its blobs are not as many, or not as large, as it states")
    return plan


def _orphan(item: Any, where: str, version: int) -> Orphan:
    if not isinstance(item, dict):
        raise ValueError(f"{where} is no object")
    _keys(item, _BLOB[version], where)
    if not isinstance(item["digest"], str):
        raise ValueError(f"the digest of {where} is no text")
    linked = None if item["linked"] is None else _time(item["linked"], f"the linked of {where}")
    links = _count(item["links"], f"the links of {where}")
    if (links > 0) != (linked is not None):
        raise ValueError(f"links and linked of {where} contradict each other")
    names = item.get("repositories", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"the repositories of {where} are no list of texts")
    if len(names) > links:
        raise ValueError(f"links and repositories of {where} contradict each other")
    return Orphan(
        Digest.parse(item["digest"]),
        _count(item["size"], f"the size of {where}"),
        _time(item["modified"], f"the modified of {where}"),
        links,
        linked,
        tuple(check_repository(name) for name in names),
    )


def _keys(document: Mapping[str, Any], expected: set[str], where: str) -> None:
    if lacking := sorted(expected - document.keys()):
        raise ValueError(f"{where} lacks {lacking[0]}")
    if strange := sorted(document.keys() - expected):
        raise ValueError(f"{where} has {strange[0]!r:.40}, which no plan has")


def _count(value: Any, where: str) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{where} is no number from 0")
    return value


def _time(value: Any, where: str) -> datetime:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ValueError(f"{where} is no time with its zone")
    return moment
