"""How an image is named: ``REPO``, ``REPO:TAG``, ``REPO@DIGEST``. Pure."""

from __future__ import annotations

import difflib
import errno
import re
from collections.abc import Sequence
from dataclasses import dataclass

from regfs.layout import InvalidDigestError, check_repository, check_tag

DEFAULT_TAG = "latest"
"""The tag that a name without one means."""
_DIGEST = re.compile(r"(?:(?P<algorithm>[a-z0-9_-]+):)?(?P<hex>[a-f0-9]+)")


class UnknownNameError(FileNotFoundError):
    """There is no repository, tag or manifest of a name."""


class AmbiguousDigestError(ValueError):
    """Several digests begin so."""


def unknown_repository(name: str, names: Sequence[str]) -> UnknownNameError:
    """Return the error that there is no such repository; it names the nearest of `names`."""
    within = name.partition("/")[2]  # of a host
    near = [within] if within in names else difflib.get_close_matches(name, names, 1, 0.7)
    if not near:  # the right name under another organisation, or the other way round
        near = [other for other in names if other.rpartition("/")[2] == name.rpartition("/")[2]][:1]
    hint = f"; did you mean {near[0]}?" if near else ""
    return UnknownNameError(errno.ENOENT, f"no such repository{hint}", name)


def parse_digest(text: str) -> tuple[str, str]:
    """Split a digest, or the beginning of one, into its algorithm, perhaps "", and its hex.

    Raises
    ------
    InvalidDigestError
        It is neither.
    """
    match = _DIGEST.fullmatch(text)
    if match is None:
        raise InvalidDigestError(f"digest {text[:150]!r}: expected sha256:… or how its hex begins")
    return match["algorithm"] or "", match["hex"]


@dataclass(frozen=True)
class Name:
    """An image's name: ``REPO``, ``REPO:TAG`` or ``REPO@DIGEST``, as in ``docker pull``.

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
        host, slash, rest = text.partition("/")
        if slash and ":" in host and "@" not in host:
            raise ValueError(f"{text[:150]!r}: leave out the host: {rest[:150]!r}")
        name, at, digest = text.partition("@")
        repository, colon, tag = name.rpartition(":")
        if not colon:
            repository, tag = name, ""
        check_repository(repository)
        if colon:
            check_tag(tag)
        if at:
            algorithm, beginning = parse_digest(digest)
            return cls(repository, "", f"{algorithm or 'sha256'}:{beginning}")
        return cls(repository, tag or DEFAULT_TAG)

    def __str__(self) -> str:
        return f"{self.repository}@{self.digest}" if self.digest else f"{self.repository}:{self.tag}"
