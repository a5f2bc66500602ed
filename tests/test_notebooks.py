"""The notebooks run from a clean kernel, and what is committed is what a reader should see.

Those that write refuse any place but the server that they started, and the one for a registry of one's own
only reads: what they send is looked at.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cli.conftest import write_config
from cli.shop import BASE, Shop, shop

from regfs.filesystem import RegistryFileSystem
from regfs.image import build_image
from regfs.layout import BlobData

if TYPE_CHECKING:
    from support.proxy import CountingProxy
    from support.servers import Place

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
YOURS = next(path for path in NOTEBOOKS if path.stem == "your_registry")
WRITING = [path for path in NOTEBOOKS if path != YOURS]
WRITES = re.compile(r"store_image\(driver|\.(?:pipe|pipe_file|put_content|delete|writer|to_parquet)\(")
on_seaweedfs = pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)
MACHINE = re.compile(r"/(?:home|root|tmp|work|Users)/|\bsecretkey\b|localhost|\b[\w-]+\.local\b")


RUN = """
import sys
import nbformat
from nbclient import NotebookClient

source, target, inserted = sys.argv[1:]
notebook = nbformat.read(source, as_version=4)
for cell in notebook.cells:
    if cell.cell_type == "code":
        cell.outputs, cell.execution_count = [], None
if inserted:  # behind the first cell of code, and then all others run, whichever fail
    notebook.cells.insert(2, nbformat.v4.new_code_cell(inserted))
NotebookClient(notebook, timeout=110, allow_errors=bool(inserted)).execute()
nbformat.write(notebook, target)
"""


def execute(path: Path, tmp_path: Path, *, inserted: str = "", **environ: str) -> Path:
    """Run a notebook and return the path of the result."""
    # In a process of its own, and with nothing of the user's: what jupyter leaves behind is not ours.
    # The first import of matplotlib on a machine tells on stderr that it looks for fonts; this one does it.
    subprocess.run([sys.executable, "-c", "import matplotlib.pyplot"], check=True, capture_output=True)
    room = tmp_path / "room"
    room.mkdir()
    env = {
        **os.environ,
        "JUPYTER_DATA_DIR": str(tmp_path / "jupyter"),
        "IPYTHONDIR": str(tmp_path / "ipython"),
        **environ,
    }
    executed = tmp_path / path.name
    command = [sys.executable, "-c", RUN, str(path), str(executed), inserted]
    run = subprocess.run(command, cwd=room, env=env, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    assert list(room.iterdir()) == []
    return executed


def cells(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in found if cell["cell_type"] == "code"]


def kind(output: dict[str, Any]) -> str:
    """Tell what an output is: a stream's name, or the richest of its forms."""
    if output["output_type"] == "stream":
        return str(output["name"])
    return next(form for form in ("image/png", "text/html", "text/plain") if form in output["data"])


def kinds(path: Path) -> list[list[str]]:
    """Return what each cell shows, in order; how often a stream was flushed is chance."""
    return [[one for one, _ in groupby(map(kind, cell["outputs"]))] for cell in cells(path)]


def test_there_are_five() -> None:
    assert [path.stem for path in NOTEBOOKS] == [
        "dask_over_a_bucket",
        "images_as_data",
        "registry_bucket_from_pandas",
        "where_do_the_bytes_go",
        "your_registry",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("path", WRITING, ids=lambda path: path.stem)
def test_runs_from_a_clean_kernel(path: Path, tmp_path: Path) -> None:
    assert kinds(execute(path, tmp_path)) == kinds(path)


@pytest.mark.slow
@on_seaweedfs
def test_your_registry_is_only_read(
    raw: Place, options: dict[str, Any], proxied_options: dict[str, Any], proxy: CountingProxy, tmp_path: Path
) -> None:
    shop().store(RegistryFileSystem(**options))
    raw.s3.create_multipart_upload(Bucket=raw.bucket, Key=f"{raw.prefix}docker/registry/v2/x")
    before = raw.keys(), raw.uploads()
    config = write_config(tmp_path / "config.yml", proxied_options)
    executed = execute(YOURS, tmp_path, REGFS_CONFIG=config)
    assert kinds(executed) == kinds(YOURS)
    assert proxy.requests
    assert {request.method for request in proxy.requests} <= {"GET", "HEAD"}
    assert (raw.keys(), raw.uploads()) == before


@pytest.mark.slow
@on_seaweedfs
def test_your_registry_may_be_odd(raw: Place, options: dict[str, Any], tmp_path: Path) -> None:
    """One image whose only layer is gone, no tag that moved, nothing shared, nothing untagged."""
    made = Shop()
    image = build_image([BASE])
    made.image("only", image, "1")
    del made.files[BlobData(image.layer_digests[0]).path]
    made.store(RegistryFileSystem(**options))
    executed = execute(YOURS, tmp_path, REGFS_CONFIG=write_config(tmp_path / "config.yml", options))
    said = [
        "".join(output["text"])
        for cell in cells(executed)
        for output in cell["outputs"]
        if output["output_type"] == "stream"
    ]
    assert any("is missing: the registry has no such blob" in text for text in said), said
    assert "only:1: an unknown share of what its layers hold is in the image\n" in said


def test_your_registry_names_no_call_that_writes() -> None:
    assert not [source for cell in cells(YOURS) if WRITES.search(source := "".join(cell["source"]))]


@pytest.mark.parametrize("path", WRITING, ids=lambda path: path.stem)
def test_each_cell_that_writes_checks_where(path: Path) -> None:
    writing = [source for cell in cells(path) if WRITES.search(source := "".join(cell["source"]))]
    assert writing
    for source in writing:
        assert "server.check(" in source[: WRITES.search(source).start()], source  # type: ignore[union-attr]  # it matches


@pytest.mark.slow
@on_seaweedfs
@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=[pytest.mark.again] if path != WRITING[-1] else []) for path in WRITING],
    ids=lambda path: path.stem,
)
def test_another_place_is_refused(
    path: Path, raw: Place, proxied_options: dict[str, Any], proxy: CountingProxy, tmp_path: Path
) -> None:
    """Somebody puts a registry of their own in place of `options`, and goes on whatever fails."""
    executed = execute(path, tmp_path, inserted=f"options = {proxied_options!r}")
    errors = [
        output["evalue"]
        for cell in cells(executed)
        for output in cell["outputs"]
        if output["output_type"] == "error"
    ]
    assert f"regionendpoint {proxy.endpoint}: is not this server" in errors[0]
    assert {request.method for request in proxy.requests} <= {"GET", "HEAD"}
    assert (raw.keys(), raw.uploads()) == ([], [])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_is_committed_with_its_outputs(path: Path) -> None:
    assert [cell["execution_count"] for cell in cells(path)] == list(range(1, len(cells(path)) + 1))
    shown = [output for outputs in kinds(path) for output in outputs]
    assert "stderr" not in shown
    assert shown.count("image/png") >= 2
    assert "text/html" in shown


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_tells_nothing_of_a_machine(path: Path) -> None:
    for cell in cells(path):
        for output in cell["outputs"]:
            texts = [value for form, value in output.get("data", {}).items() if form != "image/png"]
            assert not MACHINE.search(json.dumps([texts, output.get("text", "")]))
    metadata = json.loads(path.read_text(encoding="utf-8"))["metadata"]
    assert metadata == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
