"""The properties of one manifest: its kind, contents and referrers.

They are read through a :class:`regfs.catalog.lookup.Lookup`; the result is plain data.
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
"""``ENV NAME=value`` as BuildKit records it, or after the ``#(nop)`` of the legacy builder."""
_ARGUMENTS = re.compile(r"(\|\d+) .*? (/\S+ -\w*c )", re.DOTALL)
"""``RUN |2 NAME=value NAME=value /bin/sh -c ...``."""


@dataclass(frozen=True)
class LayerPart:
    """A layer, as its manifest and the image's configuration describe it.

    Attributes
    ----------
    number : int
        The layer's number; 1 is the lowest.
    digest : Digest
    size : int or None
        The compressed size in bytes; None if the manifest does not state it (schema 1).
    media_type : str
    created_by : str
        The build step that created the layer.
    foreign : bool
        Whether the registry may lack the layer.
    title : str
        The layer's title in an artifact.
    repositories : tuple of str or None
        The other repositories with a link to the layer; None if they were not requested.
    problem : str
        "missing" if there is no blob; a foreign layer does not need one.
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
    """A child of an index; `size` is that of its closure in bytes, `problem` what a pull of it misses."""

    digest: Digest
    kind: str
    platform: str
    size: int
    media_type: str
    problem: str


@dataclass(frozen=True)
class ConfigPart:
    """An image's configuration of its containers.

    `environment` has only names, and `history` omits the values of variables and build arguments, because
    they may be secrets.
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
    """The build steps, and whether each created a layer."""
    problem: str = ""


@dataclass(frozen=True)
class Inspection:
    """The properties of an image, index or artifact; notebooks show them as a table.

    Attributes
    ----------
    name : str
        The requested name, for example "team/app:v1".
    repository : str
        The repository in the name.
    read : ReadManifest
        The manifest itself.
    platforms : tuple of str
        The platforms of the image, or of the index's images.
    size : int
        The sum in bytes of the sizes that the manifests state for the whole closure, each content once.
    problem : str
        What a pull of it misses, for example a layer without a blob; empty if nothing.
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
        """Return the image's filesystem, whose files can be listed, opened and extracted.

        Only manifests are read at first; layers are read when they are needed.

        Parameters
        ----------
        platform : str, optional
            The platform to choose from an index, for example "linux/arm64".

        Raises
        ------
        regfs.catalog.rootfs.PlatformError
            The index has several images and `platform` is None, or it has no image for `platform`.
        regfs.catalog.rootfs.UnreadableImageError
            No image can be read.

        Examples
        --------
        >>> rootfs = image.rootfs()  # doctest: +SKIP
        >>> [entry.path for entry in rootfs.entries() if entry.size > 10**6]  # doctest: +SKIP
        >>> rootfs.open("/etc/os-release").read()  # doctest: +SKIP
        """
        return RootFilesystem.of(self.lookup, self.repository, self.digest, platform, name=self.name)

    def manifest_document(self) -> bytes:
        """Return the manifest as it was pushed; errors are those of :meth:`Lookup.document`."""
        return self.lookup.document(self.digest)

    def config_document(self) -> bytes:
        """Return the configuration as it was pushed, secrets included; see :meth:`Lookup.config_document`."""
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
    """Return the properties of a manifest.

    Parameters
    ----------
    lookup : Lookup
        The lookup to read through.
    repository : str
        A repository that has the manifest.
    digest : Digest
        The manifest.
    sharing : bool
        Find the other repositories that have its layers, by listing the links of the whole registry.
    name : str
        The requested name; by default repository and digest.

    Raises
    ------
    ValueError
        The manifest is missing or cannot be read; the message has the reason.
    """
    read = lookup.closure([digest])
    top = read[digest]
    if top.manifest is None:
        raise ValueError(f"{repository}@{digest}: {top.problem}")
    damage = lookup.damage(repository, read)
    config = configuration(lookup, top)
    layers = [reference for reference in top.manifest.references if reference.relation == "layer"]
    linked = lookup.links(layer.digest for layer in layers) if sharing else None
    steps: Iterator[str] = iter(step for step, created_layer in config.history if created_layer)
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
    digest, read_manifest = child.digest, read[child.digest]
    manifest = read_manifest.manifest
    if manifest is None:
        return ChildPart(digest, "", child.platform, 0, "", read_manifest.problem)
    platform = child.platform or ", ".join(platforms_of(digest, read))
    problem = "the repository does not have it" if damage.lacks(child) else damage.problem(digest, read)
    return ChildPart(digest, manifest.kind, platform, size_of(digest, read), manifest.media_type, problem)


def configuration(lookup: Lookup, read: ReadManifest) -> ConfigPart:
    """Read the configuration of an image; `problem` has the reason if it cannot be read."""
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
        return ConfigPart(reference.digest, problem="it is not JSON")
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
    """Return a build step without the values of variables and build arguments."""
    if assignment := _ASSIGNMENT.match(step):
        return f"{assignment[0]}=…"
    return _ARGUMENTS.sub(r"\1 … \2", step)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: object) -> tuple[str, ...]:
    """Return a list's texts, an object's names (Docker writes sets as objects), or a text as a tuple."""
    if isinstance(value, str):
        return (value,)
    return tuple(map(str, value)) if isinstance(value, (list, dict)) else ()


def _titles(lookup: Lookup, digest: Digest) -> dict[int, str]:
    """Return the titles (file names) of an artifact's layers, by the layer's number."""
    content = lookup.documents([digest], "manifests")[digest]
    try:
        document = json.loads(content) if isinstance(content, bytes) else {}
    except (ValueError, RecursionError):  # the blob was deleted or replaced meanwhile
        return {}
    parts: Sequence[Any] = document.get("layers") or document.get("blobs") or ()
    titles = {}
    for number, part in enumerate(parts, 1):
        annotations = part.get("annotations") if isinstance(part, dict) else None
        if isinstance(annotations, dict):
            titles[number] = _text(annotations.get("org.opencontainers.image.title"))
    return titles
