"""``python -m regfs.demo``: one image, stored as a registry does and read back by URL, in a few seconds.

A tour for the first minute. It needs no account and no network: the S3 server is the embedded one, and the
image is made of files that come with Python. It uses what the README shows and nothing behind that.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import signal
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec

from regfs.catalog import Catalog
from regfs.driver.driver import create
from regfs.image import Image, build_image, store_image
from regfs.layout import BLOBS, ROOT, BlobData, Digest, TagCurrentLink, parse, parse_link
from regfs.local.server import LocalS3

_ABOUT = "Store a container image in an embedded S3 server and read it back by URL."
_REPOSITORY = "python"
_FILE = "lib/json/tool.py"
_BAR = 28
"""Columns of the longest bar."""


class _Tour:
    """The steps, in order; each says what it does and shows what came of it."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console()
        self._number = 0

    @contextmanager
    def _step(self, title: str) -> Iterator[None]:
        """Print a step's title, and on a terminal a spinner for as long as it takes."""
        self._number += 1
        self._console.print(f"\n[bold]{self._number}. {title}[/]", highlight=False)
        with self._console.status("", spinner="line"):
            yield

    def _show(self, *lines: str) -> None:
        for line in lines:
            self._console.print(f"   {line}", markup=False, highlight=False, soft_wrap=True)

    def run(self) -> None:
        """Run all steps."""
        started, server = time.monotonic(), LocalS3()
        try:
            with self._step("Start an S3 server on this machine: SeaweedFS, a real one"):
                server.start()
                self._show(f"{server.endpoint} with bucket {server.bucket!r}, its data temporary")
            options = {**server.storage_options, "rootdirectory": "/demo", "encrypt": True}
            image = self._build()
            self._store(options, image)
            bucket = f"regfs://{server.bucket}"
            manifest = self._read_manifest(bucket, options)
            self._list_blobs(bucket, options, manifest)
            self._read_layer(bucket, options, manifest)
            self._round_trip(f"{bucket}/notes/releases.parquet", options)
            self._usage(options, image)
        finally:
            server.stop()
        took = time.monotonic() - started
        self._console.print(f"\n[bold]Done in {took:.1f} s, the server is stopped. Try next:[/]")
        python = min(sys.executable, os.path.relpath(sys.executable), key=len)
        self._show(
            f"{python} -m regfs.local  # such a server for you, until Ctrl-C",
            'fsspec.filesystem("regfs", config="config.yml")  # your own registry',
            "README.md  # a filesystem, a driver, what the bucket holds; errors and limits",
        )

    def _build(self) -> Image:
        with self._step("Build an OCI image out of files that come with Python"):
            (layer,) = self._layers()
            image = build_image([layer])
            size = f"{len(image.layers[0]):,} bytes of tar and gzip"
            self._show(f"{len(layer)} files of the json package in one layer, {size}")
        return image

    def _store(self, options: dict[str, Any], image: Image) -> None:
        with self._step(f"Store it through the StorageDriver as {_REPOSITORY}:latest"):
            driver = create("s3", options)
            store_image(driver, image, _REPOSITORY, "latest")
            settings = "with rootdirectory /demo and encrypt true, as a registry may have them"
            self._show(f"{len(driver.fs.find(ROOT))} files in the registry's own tree, {ROOT},", settings)

    def _read_manifest(self, bucket: str, options: dict[str, Any]) -> dict[str, Any]:
        with self._step("Open the tag and its manifest by URL: fsspec.open(url, **storage_options)"):
            link = bucket + TagCurrentLink(_REPOSITORY, "latest").path
            with fsspec.open(link, **options) as file:
                digest = parse_link(file.read())
            with fsspec.open(bucket + BlobData(digest).path, **options) as file:
                manifest: dict[str, Any] = json.load(file)
            self._show(_shorten(link), f"holds {_short(digest)}")
            self._show(_shorten(bucket + BlobData(digest).path), f"has type {manifest['mediaType']}")
        return manifest

    def _list_blobs(self, bucket: str, options: dict[str, Any], manifest: dict[str, Any]) -> None:
        with self._step("List the blobs as a pandas DataFrame"):
            import pandas as pd
            from rich.padding import Padding
            from rich.table import Table

            described = [manifest["config"], *manifest["layers"]]
            types = {entry["digest"]: entry["mediaType"] for entry in described}
            infos = fsspec.filesystem("regfs", **options).find(bucket + BLOBS, detail=True)
            blobs = pd.DataFrame(infos.values())
            blobs["digest"] = [str(getattr(parse(path), "digest", path)) for path in blobs["name"]]
            blobs["type"] = blobs["digest"].map(types).fillna(manifest["mediaType"])
            table = Table(box=None)
            table.add_column("digest")
            table.add_column("size", justify="right")
            table.add_column("media type", overflow="fold")
            for digest, size, kind in blobs[["digest", "size", "type"]].itertuples(index=False):
                table.add_row(_short(Digest.parse(digest)), f"{size:,}", kind)
            self._console.print(Padding(table, (0, 0, 0, 2), expand=False))

    def _read_layer(self, bucket: str, options: dict[str, Any], manifest: dict[str, Any]) -> None:
        with self._step("Read one file out of the layer by a chain of URLs"):
            layer = BlobData(Digest.parse(manifest["layers"][0]["digest"])).path
            url = f"tar://{_FILE}::{bucket}{layer}"
            with fsspec.open(url, "rb", tar={"compression": "gzip"}, regfs=options) as file:
                content = file.read()
            if content != Path(sysconfig.get_path("stdlib"), "json", "tool.py").read_bytes():
                raise RuntimeError(f"{_FILE} in the layer differs from the file it was made of")
            self._show(
                _shorten(url), f"{len(content):,} bytes, the same as in this Python's own json/tool.py"
            )

    def _round_trip(self, url: str, options: dict[str, Any]) -> None:
        with self._step("Write a DataFrame as Parquet and read it back"):
            import pandas as pd

            written = pd.DataFrame({"release": ["3.12", "3.13", "3.14"], "year": [2023, 2024, 2025]})
            written.to_parquet(url, storage_options=options)
            read = pd.read_parquet(url, storage_options=options)
            pd.testing.assert_frame_equal(read, written)
            self._show(f"{url}: {len(read)} rows, equal to what was written")

    def _usage(self, options: dict[str, Any], image: Image) -> None:
        with self._step("Store two more images, and see who uses how much: Catalog(driver).usage()"):
            from rich.padding import Padding
            from rich.table import Table
            from rich.text import Text

            driver = create("s3", options)
            store_image(driver, image, "team/copy", "1.0")  # the same blobs, and links of its own
            store_image(driver, build_image(self._layers("json", "email")), "team/mail", "1.0")
            usage = Catalog(driver).usage()
            most = max(repository.stored_bytes for repository in usage.repositories)
            unique, shared = "#=" if self._console.options.ascii_only else "█░"
            table = Table(box=None)
            for name in ("repository", "stored", "freed by deletion"):
                table.add_column(name, justify="left" if name == "repository" else "right")
            table.add_column(f"{unique} unique  {shared} shared")
            for repository in usage.repositories:
                bar = Text()
                for mark, size in (unique, repository.unique_bytes), (shared, repository.shared_bytes):
                    bar.append(mark * round(_BAR * size / most), "yellow" if mark == unique else "cyan")
                sizes = (repository.stored_bytes, repository.freed_bytes)
                table.add_row(repository.repository, *(f"{size:,}" for size in sizes), bar)
            self._console.print(Padding(table, (0, 0, 0, 2), expand=False))
            totals = usage.totals
            self._show(
                f"{totals.bytes:,} bytes in all, each counted once; {totals.shared_bytes:,} are shared"
            )

    @staticmethod
    def _layers(*packages: str) -> list[dict[str, Path]]:
        """Return a layer for each of these packages of the standard library, by default json alone."""
        library = Path(sysconfig.get_path("stdlib"))
        return [
            {f"lib/{package}/{file.name}": file for file in sorted((library / package).glob("*.py"))}
            for package in packages or ("json",)
        ]


def _short(digest: Digest) -> str:
    return f"{digest.algorithm}:{digest.hex[:12]}"


def _shorten(url: str) -> str:
    """Leave out what all URLs share, and most of a digest's 64 digits, for the eye."""
    parts = url.replace(ROOT, "/...").split("/")
    return "/".join(part[:6] + "..." if len(part) == 64 else part for part in parts)


def _shut_out_settings() -> None:
    """Use neither the user's AWS profile nor their proxy for the server on this machine."""
    for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE"):
        os.environ.pop(name, None)
    os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull
    spared = (os.environ.get("no_proxy"), os.environ.get("NO_PROXY"), "127.0.0.1")
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(filter(None, spared))


def _on_interrupt(*_: object) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first one is enough, the server's end takes a second
    raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tour and give the exit code: 1 after an error, 2 if the extra is missing, 130 after Ctrl-C."""
    argparse.ArgumentParser(prog="python -m regfs.demo", description=_ABOUT).parse_args(arguments)
    signal.signal(signal.SIGINT, _on_interrupt)
    _shut_out_settings()
    try:
        missing = [name for name in ("rich", "pandas", "pyarrow") if not importlib.util.find_spec(name)]
        if missing:
            raise ModuleNotFoundError(f"not installed: {', '.join(missing)}")  # noqa: TRY301 - one handler reports all
        _Tour().run()
    except KeyboardInterrupt:
        error, code = "interrupted; the S3 server is stopped", 130
    except ModuleNotFoundError as caught:
        error, code = f'{str(caught).partition(": pip ")[0]}: pip install "regfs[demo]"', 2
    except (OSError, RuntimeError, ValueError) as caught:
        error, code = str(caught), 1
    else:
        return 0
    sys.stderr.write(f"regfs.demo: {error}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
