"""A plan to delete orphaned blobs, as a value and as a file. This module deletes nothing.

A plan's file is JSON, with a line for each blob. It holds no secrets and no paths: blobs are identified by
digest, so a tampered file cannot name anything outside of the directory of blobs.
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
"""The version that `Plan.save` writes. `Plan.load` also reads version 1, which names no repositories."""


class PlanError(ValueError):
    """A file is not a plan, or the plan is damaged or for another place."""


class IncompletePlanError(PlanError):
    """Manifests cannot be read, so the blobs that they need are unknown.

    Attributes
    ----------
    manifests : tuple of str
        For each manifest its digest, its repository and the problem.
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
        The number of repositories with a layer link to it. A layer link alone keeps no blob.
    linked : datetime or None
        When the newest of these links was written, UTC.
    repositories : tuple of str
        The names of these repositories, sorted; empty in a plan of version 1, which does not have them.
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
    """The blobs that may be deleted, with the place and time of the scan.

    Attributes
    ----------
    place : str
        The registry's URL, root directory and endpoint.
    taken : datetime
        When the scan began, UTC.
    older_than : timedelta or None
        The minimum age of the blobs: the plan leaves out those written or linked more recently.
    blobs : tuple of Orphan
        By digest.
    incomplete : tuple of str
        Manifests that could not be read. The blobs that they need are unknown and may be in the plan, so
        such a plan can be reviewed but not applied.
    younger, younger_bytes : int
        The number and the bytes of the orphans that were left out for their age; 0 in a plan read from a
        file, which does not have them.

    Raises
    ------
    ValueError
        A blob is listed twice or is younger than `older_than`; or the age is negative.
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
                raise ValueError(f"{blob.digest} is listed twice")
            seen.add(blob.digest)
            if self.older_than is not None and blob.touched > self.taken - self.older_than:
                raise ValueError(f"{blob.digest} is younger than the plan's age")

    @property
    def bytes(self) -> int:
        """The number of bytes that it would free."""
        return sum(blob.size for blob in self.blobs)

    def save(self, file: str | os.PathLike[str]) -> None:
        """Write the plan to a file, atomically; only the file's owner may read it.

        Raises
        ------
        OSError
            The file cannot be written.
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
                out.write(f"{',' if number else ''}\n  {json.dumps(_to_json(blob))}".encode())
            out.write(b"\n ]\n}\n")

    @classmethod
    def load(cls, file: str | os.PathLike[str]) -> Plan:
        """Read a plan from a file.

        Raises
        ------
        PlanError
            The file is not a plan, is damaged or has an unknown version.
        OSError
            The file cannot be read.
        """
        with open(file, "rb") as stream:
            data = stream.read()
        try:
            return _plan(json.loads(data))
        except (ValueError, OverflowError, RecursionError) as exc:
            reason = "it is not JSON" if isinstance(exc, (json.JSONDecodeError, UnicodeError)) else str(exc)
            reason = "it is nested too deeply" if isinstance(exc, RecursionError) else reason
            raise PlanError(f"plan {os.fspath(file)}: {reason:.300}; create a new one") from exc


def place(source: Source) -> str:
    """Return the place for a plan: the URL with root directory and endpoint, without secrets.

    For a storage driver without a filesystem it is only the path, which does not distinguish two of them.
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


def _to_json(orphan: Orphan) -> dict[str, Any]:
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
        raise ValueError("it is not a plan of orphaned blobs")
    version = document.get("version")
    if type(version) is not int or version not in _BLOB:
        raise ValueError(f"its version is {version!r:.20}, not {VERSION}")
    _keys(document, _HEAD, "it")
    older = document["older_than"]
    if older is not None and (type(older) not in (int, float) or not math.isfinite(older)):
        raise ValueError("its older_than is not a number of seconds")
    if not isinstance(document["blobs"], list):
        raise ValueError("its blobs are not a list")
    incomplete = document["incomplete"]
    if not isinstance(incomplete, list) or not all(isinstance(manifest, str) for manifest in incomplete):
        raise ValueError("its incomplete is not a list of strings")
    if not isinstance(document["place"], str):
        raise ValueError("its place is not a string")
    plan = Plan(
        document["place"],
        _time(document["taken"], "its taken"),
        None if older is None else timedelta(seconds=older),
        tuple(_orphan(blob, f"blob {number}", version) for number, blob in enumerate(document["blobs"], 1)),
        tuple(incomplete),
    )
    if document["count"] != len(plan.blobs) or document["bytes"] != plan.bytes:
        raise ValueError("its count or bytes do not match its blobs")
    return plan


def _orphan(blob: Any, name: str, version: int) -> Orphan:
    if not isinstance(blob, dict):
        raise ValueError(f"{name} is not an object")
    _keys(blob, _BLOB[version], name)
    if not isinstance(blob["digest"], str):
        raise ValueError(f"the digest of {name} is not a string")
    linked = None if blob["linked"] is None else _time(blob["linked"], f"the linked of {name}")
    links = _count(blob["links"], f"the links of {name}")
    if (links > 0) != (linked is not None):
        raise ValueError(f"links and linked of {name} contradict each other")
    repositories = blob.get("repositories", [])
    if not isinstance(repositories, list) or not all(isinstance(item, str) for item in repositories):
        raise ValueError(f"the repositories of {name} are not a list of strings")
    if len(repositories) > links:
        raise ValueError(f"links and repositories of {name} contradict each other")
    return Orphan(
        Digest.parse(blob["digest"]),
        _count(blob["size"], f"the size of {name}"),
        _time(blob["modified"], f"the modified of {name}"),
        links,
        linked,
        tuple(check_repository(repository) for repository in repositories),
    )


def _keys(document: Mapping[str, Any], expected: set[str], name: str) -> None:
    if missing := sorted(expected - document.keys()):
        raise ValueError(f"{name} lacks {missing[0]}")
    if unknown := sorted(document.keys() - expected):
        raise ValueError(f"{name} has {unknown[0]!r:.40}, an unknown field")


def _count(value: Any, name: str) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{name} is not a whole number from 0")
    return value


def _time(value: Any, name: str) -> datetime:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ValueError(f"{name} is not a time with a time zone")
    return moment
