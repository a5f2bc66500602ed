"""Images as OCI image layouts: directories that skopeo copies from and to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from regfs.image import MANIFEST_TYPE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from regfs.image import Image


def write_oci_layout(directory: Path, images: Mapping[str, Image]) -> None:
    """Write images by tag, as https://github.com/opencontainers/image-spec/blob/main/image-layout.md says."""
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    manifests = []
    for tag, image in images.items():
        for digest, content in image.blobs.items():
            (blobs / digest.hex).write_bytes(content)
        manifests.append(
            {
                "mediaType": MANIFEST_TYPE,
                "digest": str(image.manifest_digest),
                "size": len(image.manifest),
                "annotations": {"org.opencontainers.image.ref.name": tag},
            }
        )
    (directory / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}))
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": manifests}))


def read_oci_layout(directory: Path) -> dict[str, bytes]:
    """Read all blobs of a layout, by digest."""
    return {
        f"{algorithm.name}:{blob.name}": blob.read_bytes()
        for algorithm in (directory / "blobs").iterdir()
        for blob in algorithm.iterdir()
    }
