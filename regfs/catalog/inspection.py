"""All there is to tell of one manifest: what it is, what is in it, what is about it.

Reads what a :class:`regfs.catalog.lookup.Lookup` finds; the result is plain data.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from regfs.catalog.lookup import Lookup, Referrer, size_of
from regfs.catalog.snapshot import ReadManifest

if TYPE_CHECKING:
    from datetime import datetime

    from regfs.layout import Digest

_ASSIGNMENT = re.compile(r"(?:/bin/sh -c #\(nop\)\s+)?(?:ENV|ARG)\s+[^=\s]+(?==)")
"""``ENV NAME=value``, as BuildKit records it, or behind the no-operation of the builder before it."""
_ARGUMENTS = re.compile(r"(\|\d+) .*? (/\S+ -\w*c )", re.DOTALL)
"""``RUN |2 NAME=value NAME=value /bin/sh -c ...``."""


@dataclass(frozen=True)
class LayerPart:
    """A layer, as its manifest and the image's configuration tell of it.

    Attributes
    ----------
    number : int
        From 1, the lowest.
    digest : Digest
    size : int or None
        Bytes, compressed; None where the manifest does not tell (schema 1).
    media_type : str
    created_by : str
        The step that made it.
    foreign : bool
        The registry need not have it.
    title : str
        What an artifact calls it.
    repositories : tuple of str or None
        Which other repositories have a link to it; None where that was not looked for.
    """

    number: int
    digest: Digest
    size: int | None
    media_type: str
    created_by: str = ""
    foreign: bool = False
    title: str = ""
    repositories: tuple[str, ...] | None = None


@dataclass(frozen=True)
class ChildPart:
    """A child of an index. `size` is of all that it leads to, in bytes; `problem` why it cannot be read."""

    digest: Digest
    kind: str
    platform: str
    size: int
    media_type: str
    problem: str


@dataclass(frozen=True)
class ConfigPart:
    """What an image's configuration says of how a container runs.

    Of the environment only the names, and of the steps neither its values nor those of build arguments: they
    may be secrets, of which images hold more than they should.
    """

    digest: Digest | None = None
    author: str = ""
    user: str = ""
    workdir: str = ""
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    history: tuple[tuple[str, bool], ...] = ()
    """The steps, and whether each made a layer."""
    problem: str = ""


@dataclass(frozen=True)
class Inspection:
    """What was found.

    Attributes
    ----------
    read : ReadManifest
        The manifest itself.
    platforms : tuple of str
        Of the image, or of an index' images.
    size : int
        Bytes of all that it leads to, each content once, as the manifests tell.
    """

    digest: Digest
    read: ReadManifest
    platforms: tuple[str, ...]
    created: datetime | None
    size: int
    config: ConfigPart
    layers: tuple[LayerPart, ...]
    children: tuple[ChildPart, ...]
    referrers: tuple[Referrer, ...]


def inspect(lookup: Lookup, repository: str, digest: Digest, *, sharing: bool = False) -> Inspection:
    """Find out all about a manifest.

    Parameters
    ----------
    lookup : Lookup
        What to read through.
    repository : str
        The repository through which it is asked for.
    digest : Digest
        The manifest.
    sharing : bool
        Find out which other repositories have its layers; lists the links of the whole registry.

    Raises
    ------
    ValueError
        It is missing, or cannot be read; the message tells why.
    """
    read = lookup.closure([digest])
    top = read[digest]
    if top.manifest is None:
        raise ValueError(f"{repository}@{digest}: {top.problem}")
    config = _config(lookup, top)
    layers = [one for one in top.manifest.references if one.relation == "layer"]
    linked = lookup.links(one.digest for one in layers) if sharing else None
    steps: Iterator[str] = iter(text for text, made in config.history if made)
    annotations = _titles(lookup, digest) if top.manifest.kind == "artifact" else {}
    parts = [
        LayerPart(
            number,
            one.digest,
            one.size,
            one.media_type,
            next(steps, ""),
            one.foreign,
            annotations.get(number, ""),
            None if linked is None else tuple(name for name in linked[one.digest] if name != repository),
        )
        for number, one in enumerate(layers, 1)
    ]
    children = [
        _child(one.digest, one.platform, read)
        for one in top.manifest.references
        if one.relation == "manifest"
    ]
    return Inspection(
        digest,
        top,
        platforms_of(digest, read),
        top.config.created if top.config else None,
        size_of(digest, read),
        config,
        tuple(parts),
        tuple(children),
        tuple(lookup.referrers(repository, digest)),
    )


def platforms_of(digest: Digest, read: Mapping[Digest, ReadManifest]) -> tuple[str, ...]:
    """Give the platforms that an image, or an index of images, is for; attestations have none."""
    found: dict[str, None] = {}
    seen: set[Digest] = set()
    waiting: list[tuple[Digest, str]] = [(digest, "")]
    while waiting:
        one, told = waiting.pop(0)
        if one in seen:
            continue
        seen.add(one)
        this = read.get(one)
        if this is None or this.manifest is None:
            found.update({told: None} if told else {})
        elif this.manifest.kind == "image":
            platform = told or (this.config.platform if this.config else "")
            found.update({platform: None} if platform else {})
        elif this.manifest.kind == "index":
            waiting += [(c.digest, c.platform) for c in this.manifest.references if c.relation == "manifest"]
    return tuple(found)


def _child(digest: Digest, platform: str, read: dict[Digest, ReadManifest]) -> ChildPart:
    this = read[digest]
    if this.manifest is None:
        return ChildPart(digest, "", platform, 0, "", this.problem)
    platform = platform or ", ".join(platforms_of(digest, read))
    return ChildPart(
        digest, this.manifest.kind, platform, size_of(digest, read), this.manifest.media_type, ""
    )


def _config(lookup: Lookup, read: ReadManifest) -> ConfigPart:
    reference = read.manifest.config if read.manifest else None
    if reference is None:
        return ConfigPart()
    if read.manifest and read.manifest.kind != "image":
        return ConfigPart(reference.digest)
    content = lookup.documents([reference.digest], "configurations")[reference.digest]
    if isinstance(content, str):
        return ConfigPart(reference.digest, problem=content)
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return ConfigPart(reference.digest, problem="it is no JSON")
    return _summary(reference.digest, document if isinstance(document, dict) else {})


def _summary(digest: Digest, document: Mapping[str, Any]) -> ConfigPart:
    runtime = document.get("config")
    runtime = runtime if isinstance(runtime, dict) else {}
    labels = runtime.get("Labels")
    history = document.get("history")
    return ConfigPart(
        digest,
        _text(document.get("author")),
        _text(runtime.get("User")),
        _text(runtime.get("WorkingDir")),
        _texts(runtime.get("Entrypoint")),
        _texts(runtime.get("Cmd")),
        tuple(one.partition("=")[0] for one in _texts(runtime.get("Env"))),
        _texts(runtime.get("ExposedPorts")),
        _texts(runtime.get("Volumes")),
        {str(name): str(value) for name, value in labels.items()} if isinstance(labels, dict) else {},
        tuple(
            (_without_values(_text(step.get("created_by"))), not step.get("empty_layer"))
            for step in (history if isinstance(history, list) else ())
            if isinstance(step, dict)
        ),
    )


def _without_values(step: str) -> str:
    """Leave the values of the environment and of build arguments out of a step, as builders record it."""
    if found := _ASSIGNMENT.match(step):
        return f"{found[0]}=…"
    return _ARGUMENTS.sub(r"\1 … \2", step)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: object) -> tuple[str, ...]:
    """Read a list of texts; the names of an object, as Docker writes sets; one text alone."""
    if isinstance(value, str):
        return (value,)
    return tuple(map(str, value)) if isinstance(value, (list, dict)) else ()


def _titles(lookup: Lookup, digest: Digest) -> dict[int, str]:
    """Give the file names that an artifact's layers are annotated with, by the layer's number."""
    content = lookup.documents([digest], "manifests")[digest]
    try:
        document = json.loads(content) if isinstance(content, bytes) else {}
    except (ValueError, RecursionError):  # it went meanwhile, or was another
        return {}
    parts: Sequence[Any] = document.get("layers") or document.get("blobs") or ()
    found = {}
    for number, part in enumerate(parts, 1):
        annotations = part.get("annotations") if isinstance(part, dict) else None
        if isinstance(annotations, dict):
            found[number] = _text(annotations.get("org.opencontainers.image.title"))
    return found
