"""The tags that a finding breaks. Pure.

Only the digests that findings name are searched for, one repository at a time. Time and memory are therefore
proportional to the references of tagged manifests, not to the number of findings times the number of tags.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from regfs.catalog.fsck.findings import Finding
from regfs.layout import BlobData, Digest, LayerLink, ManifestRevisionLink, TagCurrentLink, parse

if TYPE_CHECKING:
    from regfs.catalog.fsck.pulls import Pulls
    from regfs.catalog.snapshot import Repository, Snapshot

MAX_TAGS = 100
"""The maximum number of tags that a finding names; `Finding.broken_tags` counts all of them."""


def with_broken_tags(findings: Iterable[Finding], snapshot: Snapshot, pulls: Pulls) -> list[Finding]:
    """Return the findings, with the tags whose pull fails because of them for errors.

    Parameters
    ----------
    findings : iterable of Finding
        In any order, which is kept.
    snapshot : Snapshot
        The contents of the storage.
    pulls : Pulls
        The targets of links, and the manifests that the snapshot lacks.
    """
    findings = list(findings)
    wanted: defaultdict[str, set[Digest]] = defaultdict(set)
    for finding in findings:
        if finding.severity == "error" and (digest := _digest(finding)):
            wanted[finding.repository].add(digest)
    broken_tags = {
        name: _broken_tags(snapshot.repositories[name], digests, pulls)
        for name, digests in wanted.items()
        if name in snapshot.repositories
    }
    return [
        finding
        if finding.severity != "error"
        else _with_tags(finding, broken_tags.get(finding.repository, {}))
        for finding in findings
    ]


def _with_tags(finding: Finding, tags_by_digest: dict[Digest, list[str]]) -> Finding:
    spec = parse(finding.path)
    if isinstance(spec, TagCurrentLink):
        tags: Sequence[str] = (spec.tag,)
    else:
        digest = _digest(finding)
        tags = tags_by_digest.get(digest, ()) if digest else ()
    names = tuple(f"{finding.repository}:{tag}" for tag in tags[:MAX_TAGS])
    return replace(finding, breaks=names, broken_tags=len(tags))


def _digest(finding: Finding) -> Digest | None:
    spec = parse(finding.path)
    return spec.digest if isinstance(spec, BlobData | LayerLink | ManifestRevisionLink) else None


def _broken_tags(
    repository: Repository, digests: Collection[Digest], pulls: Pulls
) -> dict[Digest, list[str]]:
    """Return the names of the tags that lead to each of the digests."""
    # A blob that manifests name by another digest, such as its SHA-512, is stored under its link's target.
    stored_digests = {
        digest: target
        for (_, name, digest), target in pulls.links.items()
        if name == repository.name and isinstance(target, Digest)
    }
    tags: defaultdict[Digest, list[str]] = defaultdict(list)
    reached: dict[Digest, set[Digest]] = {}
    for tag, files in sorted(repository.tags.items()):
        if files.current is None or files.target is None:
            continue
        if files.target not in reached:
            closure = set(_closure(files.target, pulls))
            closure.update(stored_digests[digest] for digest in closure & stored_digests.keys())
            reached[files.target] = closure & set(digests)
        for digest in reached[files.target]:
            tags[digest].append(tag)
    return tags


def _closure(top: Digest, pulls: Pulls) -> Iterator[Digest]:
    """Yield the digests that pulls of a manifest, for all platforms, request."""
    waiting, seen = [top], {top}
    while waiting:
        digest = waiting.pop()
        yield digest
        read = pulls.read(digest)
        for reference in read.manifest.references if read and read.manifest else ():
            if reference.relation == "subject" or reference.digest in seen:
                continue
            seen.add(reference.digest)
            if reference.relation == "manifest":
                waiting.append(reference.digest)
            else:
                yield reference.digest
