"""What may be wrong with a registry's storage: the kinds of findings, and the finding itself. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
    "wrong-size": "a blob has another size than a manifest tells",
    "wrong-digest": "a blob's content has another digest than its path",
    "damaged-manifest": "a manifest that cannot be read",
    "large-manifest": "a manifest of more than 4 MiB",
    "unknown-manifest": "a manifest of an unknown media type",
    "refused-manifest": "a manifest that can be read, but not by the registry",
    "damaged-config": "an image's configuration that is no JSON",
    "unused-link": "a link to a layer that no manifest of its repository refers to",
    "unknown-files": "files that no registry writes",
    "old-upload": "an upload that was begun more than a week ago",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    severity : str
        "error": a pull fails. "warning": none does, yet.
    path : str
        The driver path of what is wrong, be it there or missing.
    repository : str
        Whose pulls it concerns; empty where it concerns none.
    detail : str
        What is wrong with it.
    pull : str
        What a pull that needs it gets from the registry: "works", or "fails: " and how.
    """

    kind: Kind
    severity: Severity
    path: str
    repository: str
    detail: str
    pull: str
