"""The images that a manifest leads to: itself, or those of an index, each for its platform."""

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
        Its manifest.
    manifest : ReadManifest
        What was read of it.
    platform : str
        As the index, else the configuration has it, like "linux/arm64"; empty where neither says.
    layers : tuple of Reference
        Its layers, lowest first.
    """

    digest: Digest
    manifest: ReadManifest
    platform: str
    layers: tuple[Reference, ...]


def images_of(digest: Digest, read: Mapping[Digest, ReadManifest]) -> list[Image]:
    """Return the images that can be read of a manifest and its closure.

    Attestations and other artifacts are none, but an artifact that is itself asked for is taken as one.

    Parameters
    ----------
    digest : Digest
        The manifest.
    read : mapping
        Its closure, as :meth:`regfs.catalog.lookup.Lookup.closure` reads it.
    """
    platforms = {
        child.digest: child.platform
        for manifest in read.values()
        if manifest.manifest
        for child in manifest.manifest.references
        if child.relation == "manifest" and child.platform
    }
    images = []
    for candidate, its_read in read.items():
        manifest = its_read.manifest
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
            layers.reverse()  # it has the uppermost first
        images.append(Image(candidate, its_read, platform, tuple(layers)))
    return images


def platforms_of(digest: Digest, read: Mapping[Digest, ReadManifest]) -> tuple[str, ...]:
    """Return the platforms that an image, or an index of images, is for; attestations have none."""
    platforms: dict[str, None] = {}
    seen: set[Digest] = set()
    waiting: list[tuple[Digest, str]] = [(digest, "")]
    while waiting:
        candidate, stated_platform = waiting.pop(0)
        if candidate in seen:
            continue
        seen.add(candidate)
        this = read.get(candidate)
        if this is None or this.manifest is None:
            platforms.update({stated_platform: None} if stated_platform else {})
        elif this.manifest.kind == "image":
            platform = stated_platform or (this.config.platform if this.config else "")
            platforms.update({platform: None} if platform else {})
        elif this.manifest.kind == "index":
            children = [child for child in this.manifest.references if child.relation == "manifest"]
            waiting += [(child.digest, child.platform) for child in children if child.platform != NO_PLATFORM]
    return tuple(platforms)
