"""The images that a manifest leads to: itself, or an index's images by platform."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from regfs.catalog.manifest import NO_PLATFORM, Reference
from regfs.catalog.snapshot import ReadManifest
from regfs.layout import Digest


@dataclass(frozen=True)
class Image:
    """An image with its platform.

    Attributes
    ----------
    digest : Digest
        The digest of its manifest.
    manifest : ReadManifest
        The manifest.
    platform : str
        The platform in the index, else in the configuration, for example "linux/arm64"; empty if neither
        has one.
    layers : tuple of Reference
        The layers, lowest first.
    """

    digest: Digest
    manifest: ReadManifest
    platform: str
    layers: tuple[Reference, ...]


def images_of(digest: Digest, read: Mapping[Digest, ReadManifest]) -> list[Image]:
    """Return the readable images in the closure of a manifest.

    Attestations and other artifacts are not images, but if `digest` is an artifact, it counts as one.

    Parameters
    ----------
    digest : Digest
        The manifest.
    read : mapping
        The manifest's closure, as read by :meth:`regfs.catalog.lookup.Lookup.closure`.
    """
    platforms = {
        child.digest: child.platform
        for manifest in read.values()
        if manifest.manifest
        for child in manifest.manifest.references
        if child.relation == "manifest" and child.platform
    }
    images = []
    for candidate, read_manifest in read.items():
        manifest = read_manifest.manifest
        if (
            manifest is None
            or manifest.kind == "index"
            or (manifest.kind == "artifact" and candidate != digest)
        ):
            continue
        platform = platforms.get(candidate) or ", ".join(platforms_of(candidate, read))
        if platform == NO_PLATFORM and candidate != digest:  # an attestation that looks like an image
            continue
        layers = [reference for reference in manifest.references if reference.relation == "layer"]
        if manifest.kind == "schema1":
            layers.reverse()  # schema 1 lists the uppermost first
        images.append(Image(candidate, read_manifest, platform, tuple(layers)))
    return images


def platforms_of(digest: Digest, read: Mapping[Digest, ReadManifest]) -> tuple[str, ...]:
    """Return the platforms of an image or of an index's images; attestations have none."""
    platforms: dict[str, None] = {}
    seen: set[Digest] = set()
    waiting: list[tuple[Digest, str]] = [(digest, "")]
    while waiting:
        candidate, stated_platform = waiting.pop(0)
        if candidate in seen:
            continue
        seen.add(candidate)
        read_manifest = read.get(candidate)
        manifest = read_manifest.manifest if read_manifest else None
        config = read_manifest.config if read_manifest else None
        if manifest is None:
            platforms.update({stated_platform: None} if stated_platform else {})
        elif manifest.kind == "image":
            platform = stated_platform or (config.platform if config else "")
            platforms.update({platform: None} if platform else {})
        elif manifest.kind == "index":
            children = [child for child in manifest.references if child.relation == "manifest"]
            waiting += [(child.digest, child.platform) for child in children if child.platform != NO_PLATFORM]
    return tuple(platforms)
