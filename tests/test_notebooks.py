"""The notebooks run from a clean kernel, and what is committed is what a reader should see."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
MACHINE = re.compile(r"/(?:home|root|tmp|work|Users)/|\bsecretkey\b|localhost|\b[\w-]+\.local\b")


RUN = """
import sys
import nbformat
from nbclient import NotebookClient

notebook = nbformat.read(sys.argv[1], as_version=4)
for cell in notebook.cells:
    if cell.cell_type == "code":
        cell.outputs, cell.execution_count = [], None
NotebookClient(notebook, timeout=110).execute()
nbformat.write(notebook, sys.argv[2])
"""


def cells(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in found if cell["cell_type"] == "code"]


def kind(output: dict[str, Any]) -> str:
    """Tell what an output is: a stream's name, or the richest of its forms."""
    if output["output_type"] == "stream":
        return str(output["name"])
    return next(form for form in ("image/png", "text/html", "text/plain") if form in output["data"])


def kinds(path: Path) -> list[list[str]]:
    """Give what each cell shows, in order; how often a stream was flushed is chance."""
    return [[one for one, _ in groupby(map(kind, cell["outputs"]))] for cell in cells(path)]


def test_there_are_four() -> None:
    assert [path.stem for path in NOTEBOOKS] == [
        "dask_over_a_bucket",
        "images_as_data",
        "registry_bucket_from_pandas",
        "where_do_the_bytes_go",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_from_a_clean_kernel(path: Path, tmp_path: Path) -> None:
    # In a process of its own, and with nothing of the user's: what jupyter leaves behind is not ours.
    # The first import of matplotlib on a machine tells on stderr that it looks for fonts; this one does it.
    subprocess.run([sys.executable, "-c", "import matplotlib.pyplot"], check=True, capture_output=True)
    room = tmp_path / "room"
    room.mkdir()
    env = {
        **os.environ,
        "JUPYTER_DATA_DIR": str(tmp_path / "jupyter"),
        "IPYTHONDIR": str(tmp_path / "ipython"),
    }
    executed = tmp_path / path.name
    command = [sys.executable, "-c", RUN, str(path), str(executed)]
    run = subprocess.run(command, cwd=room, env=env, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    assert kinds(executed) == kinds(path)
    assert list(room.iterdir()) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_is_committed_with_its_outputs(path: Path) -> None:
    assert [cell["execution_count"] for cell in cells(path)] == list(range(1, len(cells(path)) + 1))
    shown = [one for outputs in kinds(path) for one in outputs]
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
