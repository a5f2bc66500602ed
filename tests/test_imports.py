"""Who may import whom, and what an import may cost.

The table is the architecture: a module imports those of the layers beneath it and nothing else. A new
module needs a row here, which is the moment to think about where it belongs.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "regfs"

# Lowest layer first. "" is the package itself, whose names are resolved on first use.
MAY_IMPORT: dict[str, set[str]] = {
    "_version": set(),
    "_supervisor": set(),
    "errors": set(),
    "s3": set(),
    "waiting": set(),
    "values": set(),
    "s3.answers": set(),
    "s3.retry": {"errors"},
    "s3.pace": set(),
    "stream": set(),
    "layout": set(),
    "s3.checksums": set(),
    "notices": set(),
    "goyaml": {"notices", "values"},
    "config": {"goyaml", "values"},
    "regions": set(),
    "parameters": {"config", "regions", "values"},
    "paths": {"errors"},
    "s3.sigv4": set(),
    "s3.documents": {"s3.answers"},
    "s3.redaction": set(),
    "s3.http1": set(),
    "s3.wire": {"s3.http1"},
    "s3.pool": {"s3.wire"},
    "s3.fast": {"_version", "s3.documents", "s3.pool", "s3.retry", "s3.sigv4"},
    "s3.session": {"errors", "s3.checksums", "s3.documents", "s3.redaction"},
    "s3.lane": {"_version", "errors", "s3.fast", "s3.pace", "s3.retry", "s3.session", "s3.sigv4"},
    "s3.unfinished": set(),
    "s3.multipart": {"errors", "s3.answers", "s3.checksums", "s3.fast", "s3.lane", "s3.unfinished"},
    "s3.client": {
        "errors",
        "s3.answers",
        "s3.checksums",
        "s3.documents",
        "s3.fast",
        "s3.multipart",
        "s3.retry",
    },
    "listing": {"s3.answers", "s3.client"},
    "upload": {"s3.unfinished"},
    "unclosed": {"notices", "s3.unfinished"},
    "transfer": {"errors", "s3.client", "upload"},
    "verify": {"errors", "layout"},
    "download": {"errors", "s3.answers", "transfer"},
    "resume": {"errors", "paths", "transfer", "upload"},
    "pending": {"errors", "paths", "transfer"},
    "insecure": {"notices"},
    "patterns": {"waiting"},
    "pairs": {"patterns"},
    "tree": {
        "errors",
        "insecure",
        "listing",
        "parameters",
        "paths",
        "patterns",
        "s3.answers",
        "s3.client",
        "s3.lane",
        "waiting",
    },
    "file": {"errors", "stream", "unclosed", "upload", "verify", "waiting"},
    "afile": {"unclosed", "upload"},
    "ranges": set(),
    "contents": {"download", "file", "transfer", "tree", "upload", "verify", "waiting"},
    "bulk": {"contents", "listing", "pairs", "patterns", "ranges", "s3.answers", "transfer", "tree"},
    "arrow": set(),
    "filesystem": {
        "afile",
        "arrow",
        "bulk",
        "errors",
        "file",
        "listing",
        "pending",
        "s3.answers",
        "s3.client",
        "tree",
        "upload",
        "verify",
        "waiting",
    },
    "walk": {"errors", "listing", "s3.answers", "tree"},
    "reader": {"verify", "waiting"},
    "writer": {"resume", "unclosed", "upload", "waiting"},
    "driver": {"config", "errors", "filesystem", "paths", "reader", "s3.client", "waiting", "walk", "writer"},
    "": {"_version"},
    "catalog.manifest": {"layout"},
    "catalog.refusal": {"catalog.manifest"},
    "catalog.snapshot": {"catalog.manifest", "layout"},
    "catalog.source": set(),
    "catalog.database": {"errors", "layout", "notices"},
    "catalog.lost": {"layout", "notices"},
    "catalog.search": {"catalog.source", "layout"},
    "catalog.reading": {"catalog.manifest", "catalog.refusal", "catalog.snapshot", "verify"},
    "catalog.scan": {
        "catalog.database",
        "catalog.lost",
        "catalog.manifest",
        "catalog.reading",
        "catalog.snapshot",
        "catalog.source",
        "layout",
    },
    "catalog.pulls": {"catalog.manifest", "catalog.refusal", "layout", "verify"},
    "catalog.findings": set(),
    "catalog.breakage": {"catalog.findings", "layout"},
    "catalog.faults": {"catalog.findings", "catalog.manifest", "catalog.pulls", "layout", "verify"},
    "catalog.fsck": {
        "catalog.breakage",
        "catalog.faults",
        "catalog.findings",
        "catalog.lost",
        "catalog.manifest",
        "catalog.pulls",
        "catalog.reading",
        "catalog.scan",
        "catalog.snapshot",
        "catalog.source",
        "layout",
        "verify",
    },
    "catalog.reach": set(),
    "catalog.records": {"layout"},
    "catalog.html": set(),
    "catalog.names": {"layout"},
    "catalog.roles": {"catalog.reach", "layout"},
    "catalog.usage": {"catalog.html", "catalog.snapshot", "layout"},
    "catalog.breakdown": {"catalog.roles", "catalog.usage", "layout"},
    "catalog.damage": {"catalog.manifest", "catalog.roles"},
    "catalog.uses": {"catalog.names", "catalog.reach", "catalog.roles", "layout"},
    "catalog.plan": {"catalog.source", "layout"},
    "catalog.guards": {
        "catalog.database",
        "catalog.lost",
        "catalog.manifest",
        "catalog.plan",
        "catalog.reading",
        "catalog.snapshot",
        "catalog.source",
        "layout",
    },
    "catalog.orphans": {
        "catalog.guards",
        "catalog.manifest",
        "catalog.plan",
        "catalog.reach",
        "catalog.reading",
        "catalog.scan",
        "catalog.snapshot",
        "catalog.source",
        "layout",
    },
    "catalog.summary": {"catalog.findings", "catalog.plan", "catalog.records", "catalog.usage"},
    "catalog.conditions": {"catalog.summary"},
    "metrics": {"catalog.summary"},
    "catalog.lookup": {
        "catalog.damage",
        "catalog.manifest",
        "catalog.names",
        "catalog.roles",
        "catalog.scan",
        "catalog.search",
        "catalog.snapshot",
        "catalog.source",
        "layout",
    },
    "catalog.images": {"catalog.manifest", "catalog.snapshot", "layout"},
    "catalog.layers": {"catalog.source", "layout"},
    "catalog.weight": {"catalog.layers"},
    "catalog.extraction": {"catalog.layers"},
    "catalog.rootfs": {
        "catalog.extraction",
        "catalog.images",
        "catalog.layers",
        "catalog.lookup",
        "catalog.manifest",
        "catalog.weight",
        "layout",
    },
    "catalog.inspection": {
        "catalog.html",
        "catalog.images",
        "catalog.lookup",
        "catalog.reach",
        "catalog.rootfs",
        "catalog.snapshot",
    },
    "catalog.catalog": {
        "catalog.breakdown",
        "catalog.database",
        "catalog.findings",
        "catalog.fsck",
        "catalog.html",
        "catalog.inspection",
        "catalog.lookup",
        "catalog.names",
        "catalog.orphans",
        "catalog.reach",
        "catalog.records",
        "catalog.roles",
        "catalog.rootfs",
        "catalog.scan",
        "catalog.search",
        "catalog.snapshot",
        "catalog.source",
        "catalog.summary",
        "catalog.usage",
        "catalog.uses",
        "layout",
    },
    "catalog": {"catalog.catalog"},
    "frames.schemas": set(),
    "frames": {"frames.schemas"},
    "frames.rows": set(),
    "frames.making": {"frames.schemas"},
    "frames.parquet": {"frames.schemas"},
    "frames.tables": {
        "catalog",
        "catalog.findings",
        "frames.making",
        "frames.parquet",
        "frames.rows",
        "frames.schemas",
        "layout",
    },
    "frames.changes": {"frames.making"},
    "frames.partitions": {
        "catalog",
        "catalog.layers",
        "catalog.manifest",
        "catalog.scan",
        "catalog.snapshot",
        "frames.making",
        "frames.rows",
        "frames.schemas",
        "layout",
    },
    "frames.distributed": {
        "catalog",
        "catalog.database",
        "catalog.search",
        "catalog.source",
        "frames.making",
        "frames.partitions",
        "frames.schemas",
        "layout",
    },
    "catalog.packages": set(),
    "catalog.compare": {"catalog.inspection", "catalog.manifest", "catalog.packages", "layout"},
    "catalog.difference": {
        "catalog.compare",
        "catalog.images",
        "catalog.inspection",
        "catalog.layers",
        "catalog.lookup",
        "catalog.packages",
        "catalog.scan",
        "catalog.source",
        "layout",
    },
    "upath": {"paths"},
    "image": {"layout"},
    "local": {"_supervisor"},
    "demo": {"catalog", "driver", "image", "layout", "local"},
    "testing.base": {""},
    "testing.content": {"", "testing.base"},
    "testing.streams": {"", "testing.base"},
    "testing.tree": {"", "testing.base"},
    "testing.machine": {"", "testing.base"},
    "testing": {"testing.base", "testing.content", "testing.machine", "testing.streams", "testing.tree"},
    "doctor.checks": set(),
    "doctor.endpoint": {"doctor.checks", "errors", "s3.fast"},
    "doctor.permissions": {"doctor.checks"},
    "doctor.trial": {
        "doctor.checks",
        "doctor.permissions",
        "errors",
        "s3.answers",
        "s3.checksums",
        "s3.fast",
    },
    "doctor": set(),
    "doctor.examination": {
        "catalog.database",
        "catalog.lost",
        "catalog.search",
        "catalog.source",
        "doctor.checks",
        "doctor.endpoint",
        "doctor.permissions",
        "doctor.trial",
        "errors",
        "goyaml",
        "layout",
        "notices",
        "values",
        "waiting",
    },
    "cli": set(),
    "cli.errors": {"cli", "errors", "values"},
    "cli.place": {"cli.errors", "config", "driver", "filesystem", "parameters", "paths", "values"},
    "cli.output": set(),
    "cli.options": {"cli.errors", "cli.output", "cli.place", "parameters"},
    "cli.completion": {"cli.options", "cli.place", "waiting"},
    "cli.dates": {"cli.errors"},
    "cli.sides": {"cli.errors", "errors", "transfer", "waiting"},
    "cli.transfer": {"cli.sides", "transfer", "waiting"},
    "cli.scanning": {
        "catalog",
        "catalog.database",
        "catalog.findings",
        "catalog.lookup",
        "catalog.source",
        "cli.completion",
        "cli.errors",
        "cli.options",
        "cli.output",
        "cli.place",
        "layout",
    },
    "cli.content": {
        "catalog.layers",
        "catalog.names",
        "catalog.rootfs",
        "cli.errors",
        "cli.options",
        "cli.output",
        "cli.place",
        "cli.scanning",
    },
    "cli.files": {
        "cli.completion",
        "cli.content",
        "cli.errors",
        "cli.options",
        "cli.output",
        "cli.place",
        "cli.sides",
        "errors",
        "paths",
        "waiting",
    },
    "cli.changes": {
        "catalog.database",
        "catalog.source",
        "cli.completion",
        "cli.errors",
        "cli.options",
        "cli.output",
        "cli.place",
        "cli.sides",
        "cli.transfer",
        "layout",
        "paths",
    },
    "cli.uploads": {
        "catalog.source",
        "cli.errors",
        "cli.options",
        "cli.output",
        "cli.place",
        "layout",
        "pending",
        "transfer",
        "waiting",
    },
    "cli.doctor": {
        "cli.errors",
        "cli.options",
        "cli.output",
        "cli.place",
        "doctor.checks",
        "doctor.examination",
    },
    "report.words": set(),
    "report.charts": {"report.words"},
    "report.content": {
        "catalog.database",
        "catalog.findings",
        "catalog.lost",
        "catalog.plan",
        "layout",
        "report.charts",
    },
    "report": {"_version", "catalog.findings", "report.charts", "report.content", "report.words"},
    "cli.care": {
        "catalog.findings",
        "catalog.guards",
        "catalog.orphans",
        "catalog.plan",
        "cli.dates",
        "cli.errors",
        "cli.options",
        "cli.output",
        "cli.place",
        "cli.scanning",
    },
    "cli.summary": {
        "catalog.conditions",
        "catalog.summary",
        "cli.errors",
        "cli.options",
        "cli.output",
        "cli.place",
        "cli.scanning",
        "metrics",
    },
    "cli.diff": {
        "catalog.difference",
        "catalog.layers",
        "catalog.names",
        "cli.errors",
        "cli.options",
        "cli.output",
        "cli.place",
        "cli.scanning",
        "frames",
        "frames.changes",
    },
    "cli.share": {
        "cli.dates",
        "cli.errors",
        "cli.options",
        "cli.output",
        "cli.place",
        "cli.scanning",
        "frames",
        "report",
    },
    "cli.breakdown": {"cli.output", "cli.scanning"},
    "cli.uses": {"catalog.names", "cli.errors", "cli.options", "cli.output", "cli.place", "cli.scanning"},
    "cli.registry": {
        "catalog.damage",
        "catalog.images",
        "catalog.lookup",
        "catalog.reach",
        "catalog.roles",
        "cli.breakdown",
        "cli.errors",
        "cli.options",
        "cli.output",
        "cli.place",
        "cli.scanning",
    },
    "cli.image": {
        "catalog.inspection",
        "catalog.manifest",
        "catalog.names",
        "cli.errors",
        "cli.options",
        "cli.output",
        "cli.place",
        "cli.scanning",
    },
    "cli.group": {"_version", "cli.completion", "cli.errors", "cli.options"},
    "__main__": {"cli"},
}

# Who may import the packages that are large or tell how requests travel; everyone else goes through them.
MAY_IMPORT_OF_OTHERS: dict[str, set[str]] = {
    "aiobotocore": {"s3.session"},
    "aiohttp": {"errors", "s3.fast", "s3.retry", "s3.session"},
    "awscrt": {"s3.checksums"},
    "boto3": set(),
    "botocore": {"errors", "local", "regions", "s3.fast", "s3.retry", "s3.session"},
    "click": {
        f"cli.{name}"
        for name in (
            "care",
            "changes",
            "completion",
            "diff",
            "content",
            "doctor",
            "errors",
            "files",
            "group",
            "image",
            "options",
            "output",
            "registry",
            "scanning",
            "share",
            "summary",
            "uploads",
            "uses",
        )
    },
    "dask": {"frames.distributed"},
    "jinja2": {"report"},
    "hypothesis": {"testing", "testing.machine"},
    "pandas": {"demo", "frames.making", "frames.partitions"},
    "prometheus_client": {"metrics"},
    "pytest": {"testing", *(f"testing.{name}" for name in ("base", "content", "machine", "streams", "tree"))},
    "rich": {"cli.output", "cli.scanning", "demo"},
    "s3fs": {"s3.lane"},
    "squarify": {"report.charts"},
    "tenacity": {"s3.retry"},
    "upath": {"upath"},
    "yaml": {"goyaml"},
}
HEAVY = ("aiobotocore", "aiohttp", "botocore", "dask", "pandas", "s3fs", "yaml")


def imports_of(path: Path) -> set[str]:
    """Give the modules that a module imports, anywhere in it, except for type checkers alone."""
    found: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        match node:
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                waiting += node.orelse
                continue
            case ast.Import():
                found.update(name.name for name in node.names)
            case ast.ImportFrom(level=0, module=str(module)):
                folder = PACKAGE.parent.joinpath(*module.split("."))
                modules = {name.name for name in node.names if (folder / f"{name.name}.py").exists()}
                found.update(f"{module}.{name}" for name in modules)
                if len(modules) < len(node.names):
                    found.add(module)
            case ast.ImportFrom():
                found.add("a relative import")
        waiting += ast.iter_child_nodes(node)
    return found


MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    .removesuffix("__init__")
    .rstrip("."): imports_of(path)
    for path in sorted(PACKAGE.rglob("*.py"))
}


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_every_module_has_a_row_and_every_row_a_module() -> None:
    assert set(MODULES) == set(MAY_IMPORT)


@pytest.mark.parametrize("module", MODULES)
def test_imports_of_our_own_modules(module: str) -> None:
    ours = {
        name.removeprefix("regfs").removeprefix(".")
        for name in MODULES[module]
        if name.split(".")[0] == "regfs"
    }
    assert ours - MAY_IMPORT[module] == set()
    assert MAY_IMPORT[module] - ours - {""} == set(), "in the table, but not imported any more"
    assert "a relative import" not in MODULES[module]


@pytest.mark.parametrize("module", MODULES)
def test_imports_of_others(module: str) -> None:
    packages = {name.split(".")[0] for name in MODULES[module]}
    refused = {package for package in packages if module not in MAY_IMPORT_OF_OTHERS.get(package, {module})}
    assert refused == set()


def test_the_table_points_downwards() -> None:
    order = list(MAY_IMPORT)
    upwards = [
        (module, lower)
        for module, lowers in MAY_IMPORT.items()
        for lower in lowers
        if order.index(lower) > order.index(module)
    ]
    assert upwards == []


@pytest.mark.parametrize(
    "statement",
    [
        "import fsspec, regfs",
        "import regfs.parameters",
        "import regfs.layout, regfs.image, regfs.local",
        "import fsspec; from regfs import RegistryFileSystem, StorageDriver, DriverParameters, FileWriter",
    ],
)
def test_an_import_is_cheap(statement: str) -> None:
    code = f"import sys; {statement}; print(*sorted({{n.split('.')[0] for n in sys.modules}} & set({HEAVY})))"
    assert run(code) == ""


def test_importing_the_package_takes_none_of_its_modules() -> None:
    code = "import sys, regfs; print(*sorted(n for n in sys.modules if n.startswith('regfs.')))"
    assert run(code) == "regfs._version"


def test_making_a_filesystem_opens_no_connection() -> None:
    code = """
import socket
def refuse(*args):
    raise AssertionError(f"connected to {args}")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
import fsspec
from regfs import StorageDriver
options = dict(accesskey="a", secretkey="b", bucket="registry", region="us-east-1")
fs = fsspec.get_filesystem_class("regfs")(**options)
assert fsspec.filesystem("regfs", **options) is fs
assert fs.unstrip_protocol("/a") == "regfs://registry/a"
StorageDriver(fs)
print("made", type(fs).__name__)
"""
    assert run(code) == "made RegistryFileSystem"
