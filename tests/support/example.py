"""The registry of the README: its session on a terminal and its picture.

``python tests/support/example.py notebooks/report.png`` makes the picture anew; needs Debian's ``chromium``.
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if not __package__:  # as a file: Python puts its directory where the one above has to be
    sys.path[0] = str(Path(__file__).absolute().parent.parent)

from cli.browser import Browser, program
from cli.shop import Shop, configured

from regfs.catalog import Catalog
from regfs.filesystem import RegistryFileSystem
from regfs.image import Layer, build_image
from regfs.local import LocalS3
from regfs.report import make

if TYPE_CHECKING:
    from regfs.layout import Digest

WIDTH, HEIGHT = 1200, 1240
"""Of the picture, in pixels."""


def _layer(seed: int, kibibytes: int, path: str) -> Layer:
    return {path: random.Random(seed).randbytes(1024 * kibibytes)}


def example() -> Shop:
    """Return a registry of four repositories: shared layers, overwritten tags, and a blob of nobody."""
    registry = Shop()
    base = _layer(1, 3000, "usr/bin/python3")
    packages = _layer(2, 1200, "usr/lib/python3/packages.zip")

    def push(repository: str, *layers: Layer, tags: tuple[str, ...]) -> Digest:
        return registry.image(repository, configured(build_image(list(layers))), *tags)

    push("library/python", base, tags=("3.13", "latest"))
    for number in range(4):  # each takes the tag "latest" from the one before
        release = _layer(10 + number, 700, "srv/api.pyz")
        push("team/api", base, packages, release, tags=(f"1.{number}", "latest"))
    for number in range(3):
        push("team/web", base, _layer(20 + number, 400, "srv/site.tar"), tags=("latest",))
    push("team/model", base, packages, _layer(30, 4800, "srv/weights.bin"), tags=("v1",))
    registry.blob(random.Random(40).randbytes(1024 * 900))
    return registry


def picture(file: Path) -> None:
    """Write a picture of the report of this registry, a PNG.

    Raises
    ------
    FileNotFoundError
        There is no chromium.
    """
    browser = program()
    if browser is None:
        raise FileNotFoundError("chromium is needed to take the picture")
    with LocalS3(bucket="registry") as server, tempfile.TemporaryDirectory() as directory:
        fs = RegistryFileSystem(**server.storage_options)
        example().store(fs)
        page = Path(directory, "report.html")
        page.write_text(make(Catalog(fs)), encoding="utf-8")
        with Browser(browser) as running:
            running.open(page.as_uri(), width=WIDTH, height=HEIGHT)
            file.write_bytes(running.picture(WIDTH, HEIGHT))


if __name__ == "__main__":
    picture(Path(sys.argv[1]))
