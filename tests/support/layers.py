"""The architecture: which part of regfs may import which, and the modules' imports as they are.

``python tests/support/layers.py`` prints the floors: each part stands on the highest floor above all parts
that it imports, for type checkers alone included.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "regfs"

# A part is a package or a module directly in regfs, or a package in a package. It imports parts of the lines
# above its own, and itself. The package regfs itself, whose names are resolved on first use, is everybody's.
LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"", "_version", "atomic", "errors", "layout", "units"}),
    frozenset({"image", "local", "parameters", "paths", "s3.http"}),
    frozenset({"s3"}),
    frozenset({"store"}),
    frozenset({"filesystem"}),
    frozenset({"driver"}),
    frozenset({"catalog", "catalog.fsck"}),
    frozenset({"frames", "report", "doctor", "testing", "demo"}),
    frozenset({"cli", "__main__"}),
)
SAME_LAYER = {("catalog", "catalog.fsck"), ("catalog.fsck", "catalog"), ("__main__", "cli")}
"""Parts of one layer that may import each other, module by module without a circle."""


def name_of(path: Path) -> str:
    """Return a module's name within regfs: "s3.client", and "s3" for the package's own file."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip(".")


NAMES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
PACKAGES = {name for name, path in NAMES.items() if path.name == "__init__.py"}


def part_of(module: str) -> str:
    """Return the part that a module belongs to."""
    while module not in PACKAGES and "." in module:
        module = module.rpartition(".")[0]
    return module


def _imported(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Import():
            yield from (name.name for name in node.names)
        case ast.ImportFrom(level=0, module=str(module)):
            for name in node.names:
                inner = f"{module}.{name.name}"
                yield inner if inner.removeprefix("regfs.") in NAMES else module
        case ast.ImportFrom():
            yield "a relative import"


def imports_of(path: Path) -> set[str]:
    """Return the modules that a module imports anywhere in it, for type checkers alone included."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {name for node in ast.walk(tree) for name in _imported(node)}


IMPORTS = {module: imports_of(path) for module, path in NAMES.items()}
OURS = {
    module: {
        name.removeprefix("regfs").removeprefix(".") for name in imports if name.partition(".")[0] == "regfs"
    }
    for module, imports in IMPORTS.items()
}
"""Of each module, those of regfs that it imports."""


def parts() -> dict[str, set[str]]:
    """Return of each part the other parts that it imports; the catalog and its package fsck are one."""

    def part(module: str) -> str:
        return part_of(module).removesuffix(".fsck")

    graph: dict[str, set[str]] = {}
    for module, ours in OURS.items():
        if module:
            graph.setdefault(part(module), set()).update(
                {part(name) for name in ours if name} - {part(module)}
            )
    return graph


def floors(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the parts by floor, the lowest first.

    Raises
    ------
    graphlib.CycleError
        Some import each other in a circle.
    """
    floor: dict[str, int] = {}
    for name in TopologicalSorter(graph).static_order():
        floor[name] = 1 + max((floor[lower] for lower in graph.get(name, ())), default=-1)
    return [
        sorted(name for name, at in floor.items() if at == level) for level in range(max(floor.values()) + 1)
    ]


if __name__ == "__main__":
    for level, names in reversed(list(enumerate(floors(parts())))):
        sys.stdout.write(f"{level}: {', '.join(names)}\n")
