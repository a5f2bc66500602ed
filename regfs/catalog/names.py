"""How an image is named: ``REPO``, ``REPO:TAG``, ``REPO@DIGEST``. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from regfs.layout import InvalidDigestError, check_repository, check_tag

DEFAULT_TAG = "latest"
"""The tag that a name without one means."""
_DIGEST = re.compile(r"(?:(?P<algorithm>[a-z0-9_-]+):)?(?P<hex>[a-f0-9]+)")


class UnknownNameError(FileNotFoundError):
    """There is no repository, tag or manifest of a name."""


class AmbiguousDigestError(ValueError):
    """Several manifests of a repository have a digest that begins so."""


@dataclass(frozen=True)
class Name:
    """What one is asked for: ``REPO``, ``REPO:TAG`` or ``REPO@DIGEST``, as in ``docker pull``.

    Attributes
    ----------
    repository : str
    tag : str
        Empty if there is a digest.
    digest : str
        Empty, or a digest, or how it begins; with its algorithm, which may be left out of the text
        where it is SHA-256.
    """

    repository: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> Name:
        """Read a name. Without tag and digest it means ``latest``; with both, the digest counts.

        Raises
        ------
        ValueError
            It breaks a rule of the registry.
        """
        name, at, digest = text.partition("@")
        repository, colon, tag = name.rpartition(":")
        if not colon:
            repository, tag = name, ""
        check_repository(repository)
        if colon:
            check_tag(tag)
        if at:
            found = _DIGEST.fullmatch(digest)
            if found is None:
                raise InvalidDigestError(f"digest {digest[:150]!r}: expected sha256:… or how its hex begins")
            return cls(repository, "", f"{found['algorithm'] or 'sha256'}:{found['hex']}")
        return cls(repository, tag or DEFAULT_TAG)

    def __str__(self) -> str:
        return f"{self.repository}@{self.digest}" if self.digest else f"{self.repository}:{self.tag}"
