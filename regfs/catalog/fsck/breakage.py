"""Which tags a finding breaks. Pure.

Only what findings name is looked for, repository by repository, so that it takes time and memory in
proportion to the references of the manifests that tags lead to, and not to the findings times the tags.
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

MOST = 100
"""Tags that a finding names, at most; `Finding.broken_tags` counts all of them."""


def with_broken_tags(findings: Iterable[Finding], snapshot: Snapshot, pulls: Pulls) -> list[Finding]:
    """Return the findings, the errors among them with the tags whose pull fails of them.

    Parameters
    ----------
    findings : iterable of Finding
        In any order, which stays.
    snapshot : Snapshot
        What the storage holds.
    pulls : Pulls
        What links name, and the manifests that were read beside the snapshot's.
    """
    findings = list(findings)
    wanted: defaultdict[str, set[Digest]] = defaultdict(set)
    for finding in findings:
        if finding.severity == "error" and (digest := _digest(finding)):
            wanted[finding.repository].add(digest)
    broken = {
        name: _broken(snapshot.repositories[name], digests, pulls)
        for name, digests in wanted.items()
        if name in snapshot.repositories
    }
    return [
        finding if finding.severity != "error" else _named(finding, broken.get(finding.repository, {}))
        for finding in findings
    ]


def _named(finding: Finding, broken: dict[Digest, list[str]]) -> Finding:
    spec = parse(finding.path)
    if isinstance(spec, TagCurrentLink):
        tags: Sequence[str] = (spec.tag,)
    else:
        digest = _digest(finding)
        tags = broken.get(digest, ()) if digest else ()
    names = tuple(f"{finding.repository}:{tag}" for tag in tags[:MOST])
    return replace(finding, breaks=names, broken_tags=len(tags))


def _digest(finding: Finding) -> Digest | None:
    spec = parse(finding.path)
    return spec.digest if isinstance(spec, BlobData | LayerLink | ManifestRevisionLink) else None


def _broken(repository: Repository, digests: Collection[Digest], pulls: Pulls) -> dict[Digest, list[str]]:
    """Return the tags that lead to each of some digests, by name."""
    # What is needed by another name, as its SHA-512, is stored by the digest that its link names.
    others = {
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
            every = set(_reached(files.target, pulls))
            every.update(others[digest] for digest in every & others.keys())
            reached[files.target] = every & set(digests)
        for digest in reached[files.target]:
            tags[digest].append(tag)
    return tags


def _reached(top: Digest, pulls: Pulls) -> Iterator[Digest]:
    """Yield the digests that a pull of a manifest, for any platform, requests."""
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
