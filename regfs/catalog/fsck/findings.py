"""The findings of a check: their kinds, values, and rules to ignore them. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal[
    "dangling-link",
    "empty-link",
    "malformed-link",
    "wrong-link",
    "tag-without-current",
    "tag-without-revision",
    "missing-blob",
    "missing-link",
    "missing-revision",
    "wrong-size",
    "wrong-digest",
    "damaged-manifest",
    "large-manifest",
    "unknown-manifest",
    "refused-manifest",
    "damaged-config",
    "unused-link",
    "unknown-files",
    "old-upload",
    "metadata-in-database",
    "links-lost",
]
Severity: TypeAlias = Literal["error", "warning"]

KINDS: Mapping[Kind, str] = {
    "dangling-link": "a link to a blob that is not there",
    "empty-link": "a link without content",
    "malformed-link": "a link that names no digest that a registry knows",
    "wrong-link": "a link that names another digest than its path",
    "tag-without-current": "a tag with a history that names nothing now",
    "tag-without-revision": "a tag that names a manifest which its repository does not have",
    "missing-blob": "a manifest refers to a blob that is not there",
    "missing-link": "a manifest refers to a blob that its repository has no link to",
    "missing-revision": "an index refers to a manifest which its repository does not have",
    "wrong-size": "a blob has another size than a manifest states",
    "wrong-digest": "a blob's content has another digest than its path",
    "damaged-manifest": "a manifest that cannot be read",
    "large-manifest": "a manifest of more than 4 MiB",
    "unknown-manifest": "a manifest of an unknown media type",
    "refused-manifest": "a manifest that can be read, but not by the registry",
    "damaged-config": "an image's configuration that is no JSON",
    "unused-link": "a link to a layer that no manifest of its repository refers to",
    "unknown-files": "files that no registry writes",
    "old-upload": "an upload that was begun more than a week ago",
    "metadata-in-database": "the registry's metadata is in a database, not in the bucket alone",
    "links-lost": "there are blobs, and no repository has a manifest",
}


_MAX_TAGS = 2
"""The maximum number of tags that the advice names."""
_PUSHED_DAMAGED = {
    "wrong-size",
    "damaged-manifest",
    "large-manifest",
    "unknown-manifest",
    "refused-manifest",
    "damaged-config",
}
"""The kinds that existed when the content was pushed, because its digest is right."""
_BLOCKS_PUSHES = {"wrong-digest", "empty-link", "malformed-link", "wrong-link"}


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault of a registry's storage.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    severity : str
        "error" if a pull fails. "warning" if none fails yet, or only that of a platform which the index
        lacks, perhaps on purpose.
    path : str
        The driver path of the damaged or missing file.
    repository : str
        The repository whose pulls are affected; empty if none are.
    detail : str
        The fault.
    pull : str
        The result of a pull that needs the file: "works", or "fails: " and the registry's response. For an
        index it names platforms: "works for linux/amd64; fails for linux/arm64: " and the response.
    breaks : tuple of str
        The first hundred tags whose pull fails, for at least one platform, as ``repository:tag`` by name.
        Empty for a warning, and if no tag leads to the file.
    broken_tags : int
        The number of all such tags.
    """

    kind: Kind
    severity: Severity
    path: str
    repository: str
    detail: str
    pull: str
    breaks: tuple[str, ...] = ()
    broken_tags: int = 0

    @property
    def advice(self) -> str:
        """The broken tags and the remedy, in one line; empty for a warning."""
        if self.severity != "error":
            return ""
        if self.kind == "links-lost":
            return "restore the links, or copy them if the registry was copied; delete no blobs"
        if not self.broken_tags:
            return "no tag leads to it: only pulls by digest break"
        tags = ", ".join(name.rpartition(":")[2] for name in self.breaks[:_MAX_TAGS])
        more = f" (+{self.broken_tags - _MAX_TAGS:,})" if self.broken_tags > _MAX_TAGS else ""
        return f"breaks {self.repository}:{' ' if self.broken_tags > 1 else ''}{tags}{more}; {self._remedy()}"

    def _remedy(self) -> str:
        tag = "one of them" if self.broken_tags > 1 else "it"
        if self.kind in _PUSHED_DAMAGED:
            return f"build and push {'them' if self.broken_tags > 1 else 'it'} again"
        if self.kind in _BLOCKS_PUSHES and not self.path.endswith("/current/link"):
            # A registry overwrites no file but a tag's link, and clients do not upload existing blobs.
            return f"remove that file, and push {tag} again"
        return f"push {tag} again"


class UnknownKindError(ValueError):
    """A name that is not one of `KINDS`."""


@dataclass(frozen=True, slots=True)
class Ignore:
    """A rule for known and accepted findings: a kind, and optionally a pattern.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    pattern : str
        An :mod:`fnmatch` glob for the whole name of the finding's repository or for its whole path; "*" also
        matches slashes. If empty, all findings of the kind are ignored.
    """

    kind: Kind
    pattern: str = ""

    @classmethod
    def parse(cls, text: str) -> Ignore:
        """Parse ``KIND`` or ``KIND:PATTERN``.

        Raises
        ------
        UnknownKindError
            The kind is not one of `KINDS`; the message suggests the nearest.
        ValueError
            The colon is not followed by a pattern.
        """
        name, colon, pattern = text.partition(":")
        kind = next((kind for kind in KINDS if kind == name), None)
        if kind is None:
            near = difflib.get_close_matches(name, KINDS, 1, 0.5)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(KINDS)}"
            raise UnknownKindError(f"{name[:80]!r} is not a kind of finding; {hint}")
        if colon and not pattern:
            raise ValueError(f"{text!r} has no pattern; leave the colon out to ignore the kind everywhere")
        return cls(kind, pattern)

    def __str__(self) -> str:
        return f"{self.kind}:{self.pattern}" if self.pattern else self.kind

    def matches(self, finding: Finding) -> bool:
        """Return whether the rule applies to a finding."""
        if finding.kind != self.kind:
            return False
        names = (finding.repository, finding.path)
        return not self.pattern or any(fnmatchcase(name, self.pattern) for name in names)


def parse_ignore(texts: Iterable[str | Ignore]) -> tuple[Ignore, ...]:
    """Parse texts with :meth:`Ignore.parse`; `Ignore` objects are returned unchanged.

    Raises
    ------
    ValueError
        A text is invalid, as for :meth:`Ignore.parse`.
    """
    return tuple(text if isinstance(text, Ignore) else Ignore.parse(text) for text in texts)


def remaining(findings: Iterable[Finding], ignored: Sequence[Ignore]) -> list[Finding]:
    """Return the findings that no rule ignores, in the same order."""
    return [finding for finding in findings if not any(ignore.matches(finding) for ignore in ignored)]
