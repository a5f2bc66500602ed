"""What may be wrong with a registry's storage: kinds of findings, findings, and which to ignore. Pure."""

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


_NAMED = 2
"""Tags that the advice names."""
_AS_PUSHED = {
    "wrong-size",
    "damaged-manifest",
    "large-manifest",
    "unknown-manifest",
    "refused-manifest",
    "damaged-config",
}
"""What was so when it was pushed, as its digest says."""
_IN_THE_WAY = {"wrong-digest", "empty-link", "malformed-link", "wrong-link"}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    severity : str
        "error": a pull fails. "warning": none does, yet; or only that of a platform which its index lacks, as
        an index may on purpose.
    path : str
        The driver path of what is wrong, present or missing.
    repository : str
        Whose pulls it concerns; empty where it concerns none.
    detail : str
        What is wrong with it.
    pull : str
        What a pull that needs it gets from the registry: "works", or "fails: " and how. Of an index it names
        platforms: "works for linux/amd64; fails for linux/arm64: " and how.
    breaks : tuple of str
        The tags whose pull fails of it, for some platform at least, as ``repository:tag`` by name: the first
        hundred. Empty of a warning, and where no tag leads to it.
    broken_tags : int
        How many tags these are in all.
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
        """The tags that it breaks and the remedy, in one line; empty for a warning."""
        if self.severity != "error":
            return ""
        if self.kind == "links-lost":
            return "restore the links, or copy them where the registry was copied; delete no blobs"
        if not self.broken_tags:
            return "no tag leads to it: only pulls by digest break"
        tags = ", ".join(name.rpartition(":")[2] for name in self.breaks[:_NAMED])
        more = f" (+{self.broken_tags - _NAMED:,})" if self.broken_tags > _NAMED else ""
        return f"breaks {self.repository}:{' ' if self.broken_tags > 1 else ''}{tags}{more}; {self._remedy()}"

    def _remedy(self) -> str:
        which = "one of them" if self.broken_tags > 1 else "it"
        if self.kind in _AS_PUSHED:
            return f"build and push {'them' if self.broken_tags > 1 else 'it'} again"
        if self.kind in _IN_THE_WAY and not self.path.endswith("/current/link"):
            # A registry keeps what is there, but for tags, and clients do not send what it says it has.
            return f"remove that file, and push {which} again"
        return f"push {which} again"


class UnknownKindError(ValueError):
    """A name is not one of `KINDS`."""


@dataclass(frozen=True, slots=True)
class Ignore:
    """Findings that are known and accepted: those of a kind, everywhere or where a pattern says.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    pattern : str
        A glob as of :mod:`fnmatch` that matches the whole name of the finding's repository, or its whole
        path; "*" matches slashes too. Empty: everywhere.
    """

    kind: Kind
    pattern: str = ""

    @classmethod
    def parse(cls, text: str) -> Ignore:
        """Read ``KIND`` or ``KIND:PATTERN``.

        Raises
        ------
        UnknownKindError
            The kind is not one of `KINDS`; the message names the nearest.
        ValueError
            There is a colon, but no pattern.
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
        """Return whether it is about a finding."""
        if finding.kind != self.kind:
            return False
        compared = (finding.repository, finding.path)
        return not self.pattern or any(fnmatchcase(text, self.pattern) for text in compared)


def parse_ignore(texts: Iterable[str | Ignore]) -> tuple[Ignore, ...]:
    """Read several, as :meth:`Ignore.parse` does; those that were read already stay as they are.

    Raises
    ------
    ValueError
        As of :meth:`Ignore.parse`.
    """
    return tuple(text if isinstance(text, Ignore) else Ignore.parse(text) for text in texts)


def remaining(findings: Iterable[Finding], ignored: Sequence[Ignore]) -> list[Finding]:
    """Return the findings that are not ignored, in their order."""
    return [finding for finding in findings if not any(ignore.matches(finding) for ignore in ignored)]
