"""A manifest: what it is, what it contains, and what refers to it.

Reads what a :class:`regfs.catalog.lookup.Lookup` finds; the result is plain data.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from regfs.catalog.html import Bytes, Cell, table
from regfs.catalog.images import platforms_of
from regfs.catalog.lookup import Lookup, Referrer
from regfs.catalog.reach import size_of
from regfs.catalog.rootfs import RootFilesystem
from regfs.catalog.snapshot import ReadManifest

if TYPE_CHECKING:
    from datetime import datetime

    from regfs.catalog.damage import Damage
    from regfs.catalog.manifest import Reference
    from regfs.layout import Digest

_ASSIGNMENT = re.compile(r"(?:/bin/sh -c #\(nop\)\s+)?(?:ENV|ARG)\s+[^=\s]+(?==)")
"""``ENV NAME=value``, as BuildKit records it, or behind the no-operation of the builder before it."""
_ARGUMENTS = re.compile(r"(\|\d+) .*? (/\S+ -\w*c )", re.DOTALL)
"""``RUN |2 NAME=value NAME=value /bin/sh -c ...``."""


@dataclass(frozen=True)
class LayerPart:
    """A layer, as its manifest and the image's configuration describe it.

    Attributes
    ----------
    number : int
        From 1, the lowest.
    digest : Digest
    size : int or None
        Bytes, compressed; None where the manifest does not state it (schema 1).
    media_type : str
    created_by : str
        The step that made it.
    foreign : bool
        The registry need not have it.
    title : str
        What an artifact calls it.
    repositories : tuple of str or None
        Which other repositories have a link to it; None where that was not looked for.
    problem : str
        "missing" where there is no blob; a foreign layer need not have one.
    """

    number: int
    digest: Digest
    size: int | None
    media_type: str
    created_by: str = ""
    foreign: bool = False
    title: str = ""
    repositories: tuple[str, ...] | None = None
    problem: str = ""


@dataclass(frozen=True)
class ChildPart:
    """A child of an index. `size` is bytes of all that it leads to; `problem` what a pull misses."""

    digest: Digest
    kind: str
    platform: str
    size: int
    media_type: str
    problem: str


@dataclass(frozen=True)
class ConfigPart:
    """An image's configuration of its containers.

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
    """An image, an index of images, or an artifact; a notebook shows it as a table.

    Attributes
    ----------
    name : str
        What it was asked for by, "team/app:v1".
    repository : str
        The repository through which it was asked for.
    read : ReadManifest
        The manifest itself.
    platforms : tuple of str
        Of the image, or of an index' images.
    size : int
        Bytes of all that it leads to, each content once, as the manifests state.
    problem : str
        What a pull of it misses, as a layer whose blob is gone; empty if nothing.
    """

    name: str
    repository: str
    digest: Digest
    read: ReadManifest
    platforms: tuple[str, ...]
    created: datetime | None
    size: int
    config: ConfigPart
    layers: tuple[LayerPart, ...]
    children: tuple[ChildPart, ...]
    referrers: tuple[Referrer, ...]
    problem: str
    lookup: Lookup = field(repr=False, compare=False)

    def rootfs(self, platform: str | None = None) -> RootFilesystem:
        """Return the image's files: to be listed, opened and extracted.

        Reads manifests; layers are read when they are needed.

        Parameters
        ----------
        platform : str, optional
            Of an index: which image, as "linux/arm64".

        Raises
        ------
        regfs.catalog.rootfs.PlatformError
            An index has several images and none is chosen, or none for the platform.
        regfs.catalog.rootfs.UnreadableImageError
            There is no image that can be read.

        Examples
        --------
        >>> rootfs = image.rootfs()  # doctest: +SKIP
        >>> [entry.path for entry in rootfs.entries() if entry.size > 10**6]  # doctest: +SKIP
        >>> rootfs.open("/etc/os-release").read()  # doctest: +SKIP
        """
        return RootFilesystem.of(self.lookup, self.repository, self.digest, platform, name=self.name)

    def manifest_document(self) -> bytes:
        """Read the manifest as it was pushed; errors are those of :meth:`Lookup.document`."""
        return self.lookup.document(self.digest)

    def config_document(self) -> bytes:
        """Read the configuration as it was pushed, with its secrets; see :meth:`Lookup.config_document`."""
        return self.lookup.config_document(self.digest)

    def _repr_html_(self) -> str:
        manifest = self.read.manifest
        kind = manifest.artifact_type or manifest.kind if manifest else None
        rows: list[tuple[Cell, ...]] = [
            ("digest", str(self.digest)),
            ("kind", kind),
            ("platforms", ", ".join(self.platforms) or None),
            ("created", self.created),
            ("size", Bytes(self.size)),
        ]
        rows += [
            (f"layer {layer.number}", None if layer.size is None else Bytes(layer.size))
            for layer in self.layers
        ]
        return table(self.name, [], rows)


def inspect(
    lookup: Lookup, repository: str, digest: Digest, *, sharing: bool = False, name: str = ""
) -> Inspection:
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
    name : str
        What it was asked for by; the repository and the digest if that is not given.

    Raises
    ------
    ValueError
        It is missing, or cannot be read; the message says why.
    """
    read = lookup.closure([digest])
    top = read[digest]
    if top.manifest is None:
        raise ValueError(f"{repository}@{digest}: {top.problem}")
    damage = lookup.damage(repository, read)
    config = configuration(lookup, top)
    layers = [reference for reference in top.manifest.references if reference.relation == "layer"]
    linked = lookup.links(layer.digest for layer in layers) if sharing else None
    steps: Iterator[str] = iter(text for text, made in config.history if made)
    annotations = _titles(lookup, digest) if top.manifest.kind == "artifact" else {}
    parts = [
        LayerPart(
            number,
            descriptor.digest,
            descriptor.size,
            descriptor.media_type,
            next(steps, ""),
            descriptor.foreign,
            annotations.get(number, ""),
            None
            if linked is None
            else tuple(name for name in linked[descriptor.digest] if name != repository),
            "missing" if damage.lacks(descriptor) else "",
        )
        for number, descriptor in enumerate(layers, 1)
    ]
    children = [
        _child(reference, read, damage)
        for reference in top.manifest.references
        if reference.relation == "manifest"
    ]
    return Inspection(
        name or f"{repository}@{digest}",
        repository,
        digest,
        top,
        platforms_of(digest, read),
        top.config.created if top.config else None,
        size_of(digest, read),
        config,
        tuple(parts),
        tuple(children),
        tuple(lookup.referrers(repository, digest)),
        damage.problem(digest, read),
        lookup,
    )


def _child(child: Reference, read: dict[Digest, ReadManifest], damage: Damage) -> ChildPart:
    digest, this = child.digest, read[child.digest]
    if this.manifest is None:
        return ChildPart(digest, "", child.platform, 0, "", this.problem)
    platform = child.platform or ", ".join(platforms_of(digest, read))
    problem = "the repository does not have it" if damage.lacks(child) else damage.problem(digest, read)
    return ChildPart(
        digest, this.manifest.kind, platform, size_of(digest, read), this.manifest.media_type, problem
    )


def configuration(lookup: Lookup, read: ReadManifest) -> ConfigPart:
    """Read the configuration of an image; `problem` says why it cannot be read."""
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
        tuple(text.partition("=")[0] for text in _texts(runtime.get("Env"))),
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
    """Return the file names that an artifact's layers are annotated with, by the layer's number."""
    content = lookup.documents([digest], "manifests")[digest]
    try:
        document = json.loads(content) if isinstance(content, bytes) else {}
    except (ValueError, RecursionError):  # it went meanwhile, or was another
        return {}
    parts: Sequence[Any] = document.get("layers") or document.get("blobs") or ()
    titles = {}
    for number, part in enumerate(parts, 1):
        annotations = part.get("annotations") if isinstance(part, dict) else None
        if isinstance(annotations, dict):
            titles[number] = _text(annotations.get("org.opencontainers.image.title"))
    return titles
