"""``regfs usage REPO``: why one repository is as large as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from regfs.cli.output import Column, Output, counted
from regfs.cli.scanning import abbreviated, plain, section, short, some
from regfs.units import format_size

if TYPE_CHECKING:
    from regfs.catalog.breakdown import Breakdown

_FEW = {"tags": 15, "manifests": 5, "layers": 15}
"""Rows of each table on a terminal, by default."""


def record(found: Breakdown, sort: str, top: int | None) -> dict[str, Any]:
    """Return what ``--json`` prints: all of it, or of each kind the first `top`."""
    return {
        **plain(found.repository),
        "tag_usage": _sorted(plain(found.tags), sort, "tag")[:top],
        "untagged": _sorted(plain(found.manifests), sort, "digest")[:top],
        "blobs": plain(found.blobs)[:top],
    }


def show(out: Output, found: Breakdown, sort: str, top: int | None, human: bool) -> None:
    """Print the tables and what they add up to."""
    kind: Any = "size" if human else "bytes"
    limits = {name: top or (few if out.for_reading else None) for name, few in _FEW.items()}
    sizes = [Column(name, kind) for name in ("stored", "freed")]
    tags = _sorted(plain(found.tags), sort, "tag")
    rows = _cut(tags, limits["tags"], "tag", {})
    shared = [Column("unique", kind, drop=2), Column("shared", kind, drop=3)]
    section(
        out,
        f"Tags ({len(tags):,})",
        [*sizes, *shared, Column("digest", drop=1), Column("tag")],
        _cells(rows, out),
        "tag",
    )
    untagged = _sorted(plain(found.manifests), sort, "digest")
    rows = _cut(untagged, limits["manifests"], "digest", {"role": "-"})
    columns = [*sizes, Column("pushed", "time", drop=2), Column("role"), Column("of", drop=1)]
    columns += [Column("digest")]
    title = f"Manifests that no tag names ({_roles(found)})"
    section(out, title, columns, _cells(rows, out), "manifest")
    blobs = [
        {**plain(blob), "what": "missing" if blob.missing else blob.relation, "stored_bytes": blob.size}
        for blob in found.blobs
    ]
    shown = limits["layers"]
    rest = sum(blob["stored_bytes"] for blob in blobs[shown:]) if shown else 0
    rows = _cut(blobs, shown, "digest", {"what": "-", "stored_bytes": rest})
    for row in rows:
        if "relation" in row:
            row["needed_by"] = some(row["tags"], out) if row["tags"] else "untagged manifests"
            row["shared_with"] = some(row["repositories"], out)
    columns = [
        Column("stored", kind),
        Column("what", drop=1),
        Column("digest"),
        Column("needed_by"),
        Column("shared_with"),
    ]
    section(out, f"Layers and other blobs ({len(blobs):,})", columns, _cells(rows, out), "blob")
    if out.for_reading:
        out.sentences(["", *_sums(found, human)])


def _roles(found: Breakdown) -> str:
    names = {"untagged": "untagged", "child": "of indexes", "referrer": "about other manifests"}
    counts = {role: sum(manifest.role == role for manifest in found.manifests) for role in names}
    return ", ".join(f"{count:,} {names[role]}" for role, count in counts.items() if count)


def _sorted(rows: list[dict[str, Any]], sort: str, name: str) -> list[dict[str, Any]]:
    if sort == "name":
        return sorted(rows, key=lambda row: str(row[name]))
    key = f"{sort}_bytes"
    if rows and key not in rows[0]:  # an untagged manifest has fewer sums than a tag
        key = "stored_bytes"
    return sorted(rows, key=lambda row: (-(row[key] or 0), str(row[name])))


def _cut(
    rows: Sequence[Mapping[str, Any]], most: int | None, label: str, blank: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return the first rows, and one that counts the others. What several free together is not their sum."""
    first = [dict(row) for row in rows[:most]]
    others = rows[len(first) :]
    if others:
        first.append({"digest": None, label: f"({counted(len(others), 'other')})", **blank})
    return first


def _cells(rows: Iterable[dict[str, Any]], out: Output) -> list[dict[str, Any]]:
    shown = []
    for row in rows:
        digests = {key: _digest(row.get(key), out) for key in ("digest", "of")}
        sums = {key.removesuffix("_bytes"): value for key, value in row.items() if key.endswith("_bytes")}
        name = abbreviated(row["tag"], out) if "tag" in row else None
        shown.append({**row, **sums, **digests, "tag": name})
    return shown


def _digest(text: str | None, out: Output) -> str:
    return text if text is not None and text.startswith("(") else short(text, out)


def _sums(found: Breakdown, human: bool) -> list[str]:
    """Write out what the sizes add up to, in the repository and if it is deleted."""
    whole = found.repository
    amount: Callable[[int], str] = format_size if human else "{} B".format
    stored = (
        f"{amount(whole.unique_bytes)} unique + {amount(whole.shared_bytes)} shared with other repositories "
        f"= {amount(whole.stored_bytes)} stored, the sum of all {counted(len(found.blobs), 'blob')}"
    )
    parts = [(whole.unique_bytes, "unique"), (whole.link_bytes, "links"), (whole.upload_bytes, "uploads")]
    freed = " + ".join(f"{amount(number)} {name}" for number, name in parts if number)
    alone = sum(tag.freed_bytes for tag in found.tags) + sum(
        manifest.freed_bytes or 0 for manifest in found.manifests
    )
    freed = f"{freed or amount(0)} = {amount(whole.freed_bytes)} freed if all of it is deleted"
    together = (
        f"{amount(alone)} of it is what tags and manifests free one by one; the rest goes with the last"
    )
    lines = [stored, f"{freed} and garbage collected", together]
    if whole.pending_bytes is None:
        lines.append("what its unfinished uploads hold beside it is not known: S3 refuses to list them")
    elif whole.pending_bytes:
        lines.append(f"beside it {amount(whole.pending_bytes)} of unfinished uploads that no listing shows")
    return lines
