"""The parser of manifests: their kind, and the content that they refer to. Pure: bytes in, values out.

Formats: https://github.com/opencontainers/image-spec (manifest.md, image-index.md, config.md) and
https://distribution.github.io/distribution/spec/ (manifest-v2-2, manifest-v2-1).
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Literal

from regfs.layout import Digest, InvalidDigestError

Kind = Literal["image", "index", "artifact", "schema1"]
Relation = Literal["config", "layer", "manifest", "subject"]

LARGEST = 4 * 2**20
"""The largest manifest in bytes that a registry accepts (distribution: ``maxManifestBodySize``)."""

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+json"
DOCKER_SCHEMA1_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"

BUILDKIT_CACHE = "application/vnd.buildkit.cacheconfig.v0"
"""The media type of a build cache's configuration, which BuildKit stores in an index or in a manifest."""

NO_PLATFORM = "unknown/unknown"
"""The platform that buildx states for attestations, so clients do not choose one to run."""

_INDEXES = {OCI_INDEX, DOCKER_LIST}
_SCHEMA1 = {DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED}
_MANIFESTS = {*_INDEXES, *_SCHEMA1, OCI_MANIFEST, OCI_ARTIFACT, DOCKER_MANIFEST}
_IMAGE_CONFIGS = {
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
}
_IMAGE_LAYERS = ("application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs.")
_FOREIGN = (
    "application/vnd.oci.image.layer.nondistributable.",
    "application/vnd.docker.image.rootfs.foreign.",
)

# RFC 3339 with any number of fractional digits, as Go writes it; Python 3.10 reads three or six.
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?([Zz]|[+-]\d\d:\d\d)")


_LARGEST_NUMBER = 2**63 - 1
"""The largest size that a registry, written in Go, can read."""


_SPELLINGS = {
    *("schemaVersion", "mediaType", "artifactType", "config", "layers", "manifests", "blobs", "subject"),
    *("annotations", "fsLayers", "blobSum", "signatures", "payload", "digest", "size", "platform", "urls"),
}
"""The fields of manifests (schema 1 included) and descriptors that this module reads."""
_FIELDS = {name.casefold(): name for name in _SPELLINGS}


class ManifestError(ValueError):
    """Not a manifest, or a damaged one."""


class MediaTypeError(ManifestError):
    """A manifest of an unknown media type, so the blobs that it needs are unknown."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A descriptor in a manifest.

    Attributes
    ----------
    relation : str
        "config", "layer" (any other blob), "manifest" (a child of an index) or "subject" (the manifest that
        a referrer is about).
    digest : Digest
        The content's digest.
    size : int or None
        Bytes, as the manifest states; None in schema 1, which states no sizes.
    media_type : str
        As the manifest states.
    platform : str
        The platform of an index's child, such as "linux/amd64"; else empty.
    urls : tuple of str
        Other places to download the content from.
    """

    relation: Relation
    digest: Digest
    size: int | None
    media_type: str
    platform: str = ""
    urls: tuple[str, ...] = ()

    @property
    def foreign(self) -> bool:
        """Whether it is a layer that a registry need not store: a nondistributable one, or one with URLs.

        The rules are those of distribution's ``ocimanifesthandler.go`` and ``schema2manifesthandler.go``.
        """
        return self.media_type.startswith(_FOREIGN) or (self.relation == "layer" and bool(self.urls))


@dataclass(frozen=True, slots=True)
class Manifest:
    """A parsed manifest.

    Attributes
    ----------
    media_type : str
        As the manifest states, or else inferred from its fields.
    kind : str
        "image", "index" (of manifests, also nested, or of a build cache's layers), "artifact" (anything that
        is not a runnable image) or "schema1" (Docker's first format).
    references : tuple of Reference
        Configuration, layers, children and subject, in the manifest's order.
    artifact_type : str
        The type that an artifact or an index states, or else its configuration's media type; empty for
        images.
    annotations : mapping of str to str
        The manifest's annotations.
    """

    media_type: str
    kind: Kind
    references: tuple[Reference, ...]
    artifact_type: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def config(self) -> Reference | None:
        """The configuration, if it has one."""
        return next((reference for reference in self.references if reference.relation == "config"), None)

    @property
    def subject(self) -> Digest | None:
        """The digest of its subject, if it has one."""
        return next(
            (reference.digest for reference in self.references if reference.relation == "subject"), None
        )

    @property
    def kept(self) -> tuple[Digest, ...]:
        """The digests that it keeps from garbage collection (Go: ``References()``): all but the subject."""
        return tuple(reference.digest for reference in self.references if reference.relation != "subject")


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """The platform and the creation time in an image's configuration.

    Attributes
    ----------
    platform : str
        Such as "linux/amd64" or "linux/arm/v7"; empty if the configuration states none.
    created : datetime or None
        Timezone-aware, UTC.
    """

    platform: str = ""
    created: datetime | None = None


def parse_manifest(data: bytes) -> Manifest:
    """Parse a manifest of any format that registries store.

    Parameters
    ----------
    data : bytes
        The manifest's blob.

    Raises
    ------
    MediaTypeError
        The media type is not that of a manifest.
    ManifestError
        The data is not a manifest, or does not say which blobs it needs, which a garbage collector must know.
    """
    document = _folded(_object(data))
    media_type = document.get("mediaType")
    if media_type is not None and not isinstance(media_type, str):
        raise ManifestError("mediaType is not a string")
    media_type = _printable(media_type or "") or _infer_media_type(document)
    annotations = _annotations(document.get("annotations"))
    # The registry gives schemaVersion precedence over the media type.
    if media_type in _SCHEMA1 or document.get("schemaVersion") == 1:
        return Manifest(media_type, "schema1", _schema1(document), "", annotations)
    subject = _references("subject", [document["subject"]]) if document.get("subject") else ()
    if media_type in _INDEXES:
        children = _references("manifest", _list(document, "manifests"))
        artifact_type = _text(document, "artifactType")
        if not artifact_type:
            artifact_type = next((child.media_type for child in children if child.relation == "config"), "")
        return Manifest(media_type, "index", (*children, *subject), artifact_type, annotations)
    if media_type == OCI_ARTIFACT:
        blobs = _references("layer", document.get("blobs") or [])
        artifact_type = _text(document, "artifactType")
        return Manifest(media_type, "artifact", (*blobs, *subject), artifact_type, annotations)
    if media_type not in (OCI_MANIFEST, DOCKER_MANIFEST):
        raise MediaTypeError(f"the media type {media_type[:80]!r} is not that of a manifest")
    config = _references("config", [document.get("config")])
    layers = _references("layer", _list(document, "layers"))
    artifact_type = _text(document, "artifactType")
    image = not artifact_type and config[0].media_type in _IMAGE_CONFIGS
    # BuildKit's attestations have the configuration of an image, but no layers to unpack.
    image = image and (not layers or any(layer.media_type.startswith(_IMAGE_LAYERS) for layer in layers))
    if not image:
        artifact_type = artifact_type or config[0].media_type
    kind: Kind = "image" if image else "artifact"
    return Manifest(media_type, kind, (*config, *layers, *subject), artifact_type, annotations)


def parse_config(data: bytes) -> ImageConfig:
    """Parse an image's configuration; missing and malformed fields are left empty.

    Raises
    ------
    ManifestError
        The data is not a JSON object.
    """
    document = _object(data)
    return ImageConfig(_platform(document), parse_time(document.get("created")))


def parse_time(text: object) -> datetime | None:
    """Parse a time as Go writes it (RFC 3339), in UTC; None if it is malformed or Go's zero time."""
    match = _TIME.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return None
    day, clock, fraction, zone = match.groups()
    zone = "+00:00" if zone in "Zz" else zone
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}.{(fraction or '').ljust(6, '0')[:6]}{zone}")
        moment = moment.astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return None
    return moment if moment.year > 1 else None


def _object(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data, object_pairs_hook=_members)
    except (ValueError, RecursionError) as exc:
        raise ManifestError("it is not JSON") from exc
    if not isinstance(document, dict):
        raise ManifestError("it is not a JSON object")
    return document


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object's members; a name may occur several times."""
    members = dict(pairs)
    return members if len(members) == len(pairs) else _assigned(pairs)


def _assigned(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Assign values to names as Go does (``encoding/json``, ``Unmarshal``), ordered by last occurrence.

    The last of several values counts, except that null replaces only a list.
    """
    members: dict[str, Any] = {}
    for name, value in pairs:
        if value is None and not isinstance(members.get(name, []), list):
            continue
        members.pop(name, None)
        members[name] = value
    return members


def _folded(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a JSON object with the usual spelling of its field names, whose case Go ignores."""
    if document.keys() <= _SPELLINGS:
        return document
    return _assigned((_spelling(name), value) for name, value in document.items())


def _spelling(name: str) -> str:
    spelling = _FIELDS.get(name.casefold(), name)
    # Python folds some letters to several; Go does not.
    return spelling if len(spelling) == len(name) else name


def _infer_media_type(document: Mapping[str, Any]) -> str:
    """Infer the media type of a manifest that omits it, as OCI allows."""
    if document.get("manifests") is not None:
        return OCI_INDEX
    if document.get("schemaVersion") != 1 and "config" in document and "layers" in document:
        return OCI_MANIFEST
    if document.get("schemaVersion") == 1 or "fsLayers" in document:
        return DOCKER_SCHEMA1_SIGNED if "signatures" in document else DOCKER_SCHEMA1
    if "signatures" in document and "payload" in document:
        return DOCKER_SCHEMA1_SIGNED
    raise ManifestError("it is JSON, but has neither a media type nor the fields of a manifest")


def _schema1(document: Mapping[str, Any]) -> tuple[Reference, ...]:
    if "payload" in document:  # a JSON Web Signature that contains the manifest
        text = document["payload"]
        try:
            payload = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except (TypeError, ValueError) as exc:
            raise ManifestError("its payload is not base64") from exc
        document = _folded(_object(payload))
    layers = document.get("fsLayers")
    if not isinstance(layers, list):
        raise ManifestError("fsLayers is not a list")
    references = []
    for layer in layers:
        digest = _folded(layer).get("blobSum") if isinstance(layer, dict) else None
        references.append(Reference("layer", _digest(digest, "fsLayers"), None, ""))
    return tuple(references)


def _list(document: Mapping[str, Any], name: str) -> object:
    """Return a required list; null counts as an empty one, as Go writes it."""
    value = document.get(name)
    return [] if value is None and name in document else value


def _references(relation: Relation, descriptors: object) -> tuple[Reference, ...]:
    """Parse descriptors. The relation of an index's child ("manifest") depends on its media type."""
    if not isinstance(descriptors, list):
        raise ManifestError(f"its {relation}s are not a list")
    references = []
    for descriptor in descriptors:
        if not isinstance(descriptor, dict):
            raise ManifestError(f"its {relation} is not a descriptor")
        fields = _folded(descriptor)
        digest, size = _digest(fields.get("digest"), relation), fields.get("size")
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= _LARGEST_NUMBER:
            raise ManifestError(f"the size of its {relation} {digest} is not a number of bytes")
        media_type, platform = _text(fields, "mediaType"), fields.get("platform")
        references.append(
            Reference(
                _relation_of_child(media_type) if relation == "manifest" else relation,
                digest,
                size,
                media_type,
                _platform(platform) if isinstance(platform, dict) else "",
                _urls(fields.get("urls")),
            )
        )
    return tuple(references)


def _relation_of_child(media_type: str) -> Relation:
    """Return the relation of an index to its child. A child without a media type counts as a manifest.

    Clients fetch a child of any other type as a blob. Registries accept an index of blobs: distribution
    accepts any link of the repository for a child.
    """
    if not media_type or media_type in _MANIFESTS:
        return "manifest"
    return "config" if media_type == BUILDKIT_CACHE or media_type in _IMAGE_CONFIGS else "layer"


def _urls(value: object) -> tuple[str, ...]:
    urls = value if isinstance(value, list) else ()
    return tuple(_printable(url) for url in urls if isinstance(url, str))


def _digest(text: object, field_name: str) -> Digest:
    try:
        return Digest.parse(text if isinstance(text, str) else "")
    except InvalidDigestError as exc:
        shown = repr(text[:80]) if isinstance(text, str) else "not a string"
        raise ManifestError(f"the digest of its {field_name} is invalid: {shown}") from exc


def _text(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    return _printable(value) if isinstance(value, str) else ""


def _printable(text: str) -> str:
    """Replace lone surrogates, which JSON allows but no output can encode."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _platform(document: Mapping[str, Any]) -> str:
    parts = [_text(document, name) for name in ("os", "architecture", "variant")]
    return "/".join(part for part in parts if part)


def _annotations(value: object) -> Mapping[str, str]:
    if not isinstance(value, dict):
        return {}
    return {_printable(name): _printable(text) for name, text in value.items() if isinstance(text, str)}
