"""The contents that a pull of an image would miss, found without reading links or layers. Pure.

:mod:`regfs.catalog.fsck.check` finds more: it also reads links and blobs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

from regfs.catalog.manifest import NO_PLATFORM
from regfs.catalog.roles import MISSING

if TYPE_CHECKING:
    from regfs.catalog.manifest import Reference
    from regfs.catalog.snapshot import ReadManifest, Repository, Snapshot
    from regfs.layout import Digest


@dataclass(frozen=True, slots=True)
class Damage:
    """The missing references of one repository's manifests.

    Attributes
    ----------
    blobs : set of Digest
        Layers and configurations without a blob.
    children : set of Digest
        Children of indexes without a link in the repository or without a blob.
    """

    blobs: Set[Digest]
    children: Set[Digest]

    def lacks(self, reference: Reference) -> bool:
        """Return whether a layer, configuration or child is missing; a foreign layer never is."""
        return reference.digest in (self.children if reference.relation == "manifest" else self.blobs) and (
            not reference.foreign
        )

    def problem(self, digest: Digest, read: Mapping[Digest, ReadManifest]) -> str:
        """Return what a pull of a manifest would miss, in one line; empty if nothing.

        An index without some of its children, which may be on purpose, "lacks" their platforms.

        Parameters
        ----------
        digest : Digest
            The manifest.
        read : mapping of Digest to ReadManifest
            The manifest and those that it leads to; a manifest that is not in the mapping has no blob.
        """
        problems = list(dict.fromkeys(self._problems(digest, read, set())))
        more = f" (+{len(problems) - 1:,} more)" if len(problems) > 1 else ""
        return f"{problems[0]}{more}" if problems else ""

    def _problems(
        self, digest: Digest, read: Mapping[Digest, ReadManifest], seen: set[Digest]
    ) -> Iterator[str]:
        seen.add(digest)
        top = read.get(digest)
        if top is None or top.manifest is None:
            yield top.problem if top else MISSING
            return
        for reference in top.manifest.references:
            if reference.relation in ("layer", "config") and self.lacks(reference):
                yield f"{reference.relation} {reference.digest} is missing"
        if top.config_problem and top.config_problem != MISSING and top.manifest.config:
            yield f"config {top.manifest.config.digest}: {top.config_problem}"
        children = [item for item in top.manifest.references if item.relation == "manifest"]
        lacking = [child for child in children if self.lacks(child)]
        pullable = [child for child in children if child not in lacking and child.platform != NO_PLATFORM]
        for child in lacking:
            yield f"lacks {_name(child)}" if pullable else f"manifest {child.digest} is missing"
        for child in children:
            if child.digest not in seen and child not in lacking:
                platform = f"{child.platform}: " if child.platform else ""
                yield from (f"{platform}{text}" for text in self._problems(child.digest, read, seen))


def damage(snapshot: Snapshot, repository: Repository) -> Damage:
    """Return what is missing of the manifests that a repository's tags lead to."""
    blobs: set[Digest] = set()
    children: set[Digest] = set()
    waiting = [files.target for files in repository.tags.values() if files.target]
    seen = set(waiting)
    while waiting:
        read = snapshot.manifests.get(waiting.pop())
        for reference in read.manifest.references if read and read.manifest else ():
            digest = reference.digest
            if reference.relation == "manifest":
                linked = digest in repository.revisions or digest in repository.layers
                if digest not in snapshot.blobs or not linked:
                    children.add(digest)
                elif digest not in seen:
                    seen.add(digest)
                    waiting.append(digest)
            elif reference.relation != "subject" and digest not in snapshot.blobs:
                blobs.add(digest)
    return Damage(blobs, children)


def _name(child: Reference) -> str:
    return child.platform or str(child.digest)
