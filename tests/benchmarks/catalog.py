"""What a look at a whole registry costs: time, requests and memory, and what they would be for a large one.

``python tests/benchmarks/catalog.py --help``, from the project's root; it needs the extras ``bench`` and
``pandas``. Nothing here is collected by pytest.

The registry is made up, of images with eight layers, five of which are a base's that many repositories share.
All is measured in processes of their own; requests are counted in a run by itself, by a proxy.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import platform
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

if not __package__:  # as a file: Python puts its directory where the one above has to be
    sys.path[0] = str(Path(__file__).absolute().parent.parent)

from rich.table import Table
from support.proxy import CountingProxy, Request

from benchmarks.place import shut_out_settings
from benchmarks.proxy import Proxy
from benchmarks.report import console
from regfs import RegistryFileSystem
from regfs.catalog.manifest import OCI_MANIFEST
from regfs.image import CONFIG_TYPE, LAYER_TYPE
from regfs.layout import (
    BlobData,
    Digest,
    LayerLink,
    ManifestRevisionLink,
    TagCurrentLink,
    TagIndexLink,
    link_content,
)
from regfs.local import LocalS3

LIST_PRICE = 0.005 / 1000
"""Dollars for a LIST in S3's standard class in us-east-1 (https://aws.amazon.com/s3/pricing/, "PUT, COPY,
POST, LIST requests", seen in November 2026)."""
GET_PRICE = 0.0004 / 1000
"""Dollars for a GET there ("GET, SELECT, and all other requests")."""
SIZES = (10_000, 100_000)
LARGE = 10_000_000
"""Objects of the registry that is extrapolated to."""
LATENCY = 20.0
"""Milliseconds in front of each request in the distant run."""

_IMAGES = 10  # of a repository
_OWN, _SHARED = 3, 5  # layers of an image
_BASES = 20
_BATCH = 4000
_MIB = 2**20


# -- the registry ----------------------------------------------------------------------------------------


def registry(objects: int) -> Iterator[tuple[str, bytes]]:
    """Make up the files of a registry of about so many objects: path and content."""
    rng = random.Random(objects)
    bases = [[rng.randbytes(100) for _ in range(_SHARED)] for _ in range(_BASES)]
    for base in bases:
        yield from map(_blob, base)
    # Of an image: own layers, configuration and manifest, a link to each, two of the tag.
    each = _IMAGES * (2 * (_OWN + 2) + 2) + _SHARED
    for number in range((objects - _BASES * _SHARED) // each):
        yield from _repository(f"team{number % 23}/app{number}", rng.choice(bases), rng)


def _repository(name: str, base: list[bytes], rng: random.Random) -> Iterator[tuple[str, bytes]]:
    for layer in base:
        yield _link(LayerLink(name, Digest.of(layer)))
    for number in range(_IMAGES):
        own = [rng.randbytes(rng.randrange(50, 500)) for _ in range(_OWN)]
        created = f"2026-{1 + number:02}-01T00:00:00.123456789Z"
        config = {"architecture": "amd64", "os": "linux", "created": created, "history": ["x" * 900]}
        document = json.dumps({**config, "name": name}).encode()
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "config": _described(CONFIG_TYPE, document),
                "layers": [_described(LAYER_TYPE, layer) for layer in (*base, *own)],
            }
        ).encode()
        digest = Digest.of(manifest)
        for content in (*own, document):
            yield _blob(content)
            yield _link(LayerLink(name, Digest.of(content)))
        yield _blob(manifest)
        for link in (
            ManifestRevisionLink(name, digest),
            TagIndexLink(name, f"1.{number}", digest),
            TagCurrentLink(name, f"1.{number}"),
        ):
            yield link.path, link_content(digest)


def _blob(content: bytes) -> tuple[str, bytes]:
    return BlobData(Digest.of(content)).path, content


def _link(link: LayerLink) -> tuple[str, bytes]:
    return link.path, link_content(link.digest)


def _described(media_type: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": str(Digest.of(content)), "size": len(content)}


def fill(options: Mapping[str, Any], objects: int) -> int:
    """Store the registry; give how many objects it has."""
    fs = RegistryFileSystem(**options)
    batch: dict[str, bytes] = {}
    stored = 0
    for path, content in registry(objects):
        batch[path] = content
        if len(batch) == _BATCH:
            fs.pipe(batch)
            stored += len(batch)
            batch = {}
    fs.pipe(batch)
    return stored + len(batch)


# -- the measuring ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """What one step took: seconds, and MiB at the highest so far above what there was at first."""

    wall: float
    cpu: float
    peak: float


@dataclass
class Figures:
    """What was found of one size.

    Attributes
    ----------
    objects : int
        Of the registry.
    steps : mapping of str to Step
        Scan, and what is made of it, one after the other in one process.
    distant : Step
        The scan alone, with latency.
    requests : mapping of str to int
        Of the scan, by kind.
    """

    objects: int
    steps: dict[str, Step]
    distant: Step
    requests: dict[str, int]


class _Meter:
    def __init__(self) -> None:
        self.base = self._peak()

    def step(self, function: Callable[[], object]) -> Step:
        wall, cpu = time.perf_counter(), time.process_time()
        function()
        return Step(time.perf_counter() - wall, time.process_time() - cpu, self._peak() - self.base)

    @staticmethod
    def _peak() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / _MIB


def measure(options: dict[str, Any], objects: int, whole: bool) -> dict[str, Step]:
    """Look at the registry, in a process that has done nothing else.

    Parameters
    ----------
    options : dict
        Where it is.
    objects : int
        What has to be found.
    whole : bool
        Make usage, tables and Parquet files of it as well.
    """
    shut_out_settings()
    from regfs.catalog import Catalog
    from regfs.frames import Frames

    fs = RegistryFileSystem(**options)
    fs.ls("/")  # the first connection
    catalog = Catalog(fs)
    frames = Frames(catalog)
    names = [name for name in frames if name != "findings"]  # for which all links are read
    meter = _Meter()
    steps = {"scan": meter.step(lambda: catalog.snapshot)}
    if catalog.snapshot.files != objects:
        raise AssertionError(f"found {catalog.snapshot.files} files instead of {objects}")
    if whole:
        steps["usage"] = meter.step(catalog.usage)
        steps["tables"] = meter.step(lambda: [len(frames[name]) for name in names])
        steps["Parquet"] = meter.step(lambda: frames.to_parquet("memory://export", only=names))
    return steps


def apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a new process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def kind(request: Request) -> str:
    """Tell what a request is for, in S3's words."""
    if "list-type" in request.query:
        return "LIST"
    if "uploads" in request.query:
        return "LIST uploads"
    return request.method


def figures(server: LocalS3, objects: int, latency: float, say: Callable[[str], None]) -> Figures:
    """Fill a place of the server and measure there."""
    options = {
        **server.storage_options,
        "rootdirectory": f"/registry-of-{objects}",
    }
    say(f"stores about {objects:,} objects")
    begun = time.perf_counter()
    stored = apart(fill, options, objects)
    say(f"{stored:,} stored, {stored / (time.perf_counter() - begun):,.0f} a second; looks at them")
    steps = apart(measure, options, stored, True)
    say("counts the requests")
    counting = CountingProxy(server.endpoint)
    try:
        apart(measure, {**options, "regionendpoint": counting.endpoint}, stored, False)
        requests = Counter(map(kind, counting.requests[1:]))  # but the first, of the meter's own
    finally:
        counting.close()
    say(f"looks at them with {latency:g} ms in front of each request")
    with Proxy(server.endpoint, latency / 1000) as proxy:
        distant = apart(measure, {**options, "regionendpoint": proxy.endpoint}, stored, False)["scan"]
    return Figures(stored, steps, distant, dict(sorted(requests.items())))


# -- what follows ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Extrapolation:
    """What a look at a large registry of the same make would take: seconds, MiB, dollars."""

    objects: int
    lists: int
    gets: int
    wall: float
    distant_wall: float
    cpu: float
    peak: float
    cost: float


def extrapolate(found: Sequence[Figures], objects: int) -> Extrapolation:
    """Go on in a straight line: through the largest size, and from the smallest if there are several."""
    last = found[-1]
    first = found[0] if len(found) > 1 else None

    def line(of: Callable[[Figures], float]) -> float:
        if first is None:
            return of(last) * objects / last.objects
        slope = (of(last) - of(first)) / (last.objects - first.objects)
        return of(last) + slope * (objects - last.objects)

    def count(*kinds: str) -> int:
        return math.ceil(line(lambda item: sum(item.requests.get(kind, 0) for kind in kinds)))

    lists, gets = count("LIST", "LIST uploads"), count("GET", "HEAD")
    return Extrapolation(
        objects,
        lists,
        gets,
        line(lambda item: item.steps["scan"].wall),
        line(lambda item: item.distant.wall),
        line(lambda item: item.steps["scan"].cpu),
        line(lambda item: item.steps["scan"].peak),
        lists * LIST_PRICE + gets * GET_PRICE,
    )


def table(found: Sequence[Figures], latency: float) -> Table:
    """Lay the figures out."""
    drawn = Table(title="A look at a whole registry", title_justify="left")
    drawn.add_column("")
    for item in found:
        drawn.add_column(f"{item.objects:,} objects", justify="right")
    for name in found[0].steps:
        drawn.add_row(f"{name}, wall", *(f"{item.steps[name].wall:.2f} s" for item in found))
        drawn.add_row(f"{name}, CPU", *(f"{item.steps[name].cpu:.2f} s" for item in found))
        drawn.add_row(f"{name}, memory at most", *(f"{item.steps[name].peak:.0f} MiB" for item in found))
    drawn.add_row(f"scan with {latency:g} ms, wall", *(f"{item.distant.wall:.2f} s" for item in found))
    for name in sorted({kind for item in found for kind in item.requests}):
        drawn.add_row(f"scan, {name} requests", *(f"{item.requests.get(name, 0):,}" for item in found))
    return drawn


def outlook(one: Extrapolation, latency: float) -> Table:
    """Lay the extrapolation out."""
    drawn = Table(title=f"Extrapolated to {one.objects:,} objects", title_justify="left", show_header=False)
    drawn.add_row("LIST requests", f"{one.lists:,}")
    drawn.add_row("GET requests", f"{one.gets:,}")
    drawn.add_row("wall, here", f"{one.wall / 60:.0f} min")
    drawn.add_row(f"wall, {latency:g} ms in front of each request", f"{one.distant_wall / 60:.0f} min")
    drawn.add_row("CPU", f"{one.cpu / 60:.0f} min")
    drawn.add_row("memory", f"{one.peak / 1024:.1f} GiB")
    drawn.add_row("cost of the requests", f"${one.cost:.2f}")
    return drawn


def save(path: Path, found: Sequence[Figures], large: Extrapolation, latency: float) -> None:
    """Write everything down as JSON: times in seconds, memory in MiB, cost in dollars."""
    document = {
        "python": platform.python_version(),
        "processors": os.cpu_count(),
        "latency": latency / 1000,
        "prices": {"LIST": LIST_PRICE, "GET": GET_PRICE},
        "figures": [asdict(item) for item in found],
        "extrapolation": asdict(large),
    }
    path.write_text(json.dumps(document, indent=1) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and tell.

    Parameters
    ----------
    arguments : sequence of str, optional
        The command line; the process's own without it.

    Returns
    -------
    int
        The exit code.
    """
    parser = argparse.ArgumentParser(prog="python tests/benchmarks/catalog.py", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, metavar="N", help="objects")
    parser.add_argument("--large", type=int, default=LARGE, metavar="N", help="what to extrapolate to")
    parser.add_argument("--latency", type=float, default=LATENCY, metavar="MS", help="of the distant run")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    chosen = parser.parse_args(arguments)
    if min(chosen.sizes) < 1000:
        parser.error("--sizes takes numbers from 1,000")
    shut_out_settings()
    started = time.monotonic()

    def say(text: str) -> None:
        sys.stderr.write(f"{time.monotonic() - started:6.0f} s  {text}\n")

    with LocalS3(bucket="registry") as server:
        found = [figures(server, size, chosen.latency, say) for size in sorted(chosen.sizes)]
    large = extrapolate(found, chosen.large)
    out = console()
    out.print(table(found, chosen.latency))
    out.print(outlook(large, chosen.latency))
    if chosen.json:
        save(chosen.json, found, large, chosen.latency)
    return 0


if __name__ == "__main__":
    sys.exit(main())
