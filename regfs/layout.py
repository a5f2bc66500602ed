"""The registry's storage tree: typed path specs ⇄ driver paths. Pure: no I/O, no driver, no S3.

All knowledge of what a registry stores where is here, and nowhere else (Go: ``registry/storage/paths.go``)::

    /docker/registry/v2/
      blobs/<algorithm>/<first two of hex>/<hex>/data                   BlobData
      repositories/<repository, may contain "/">/
        _layers/<algorithm>/<hex>/link                                  LayerLink
        _manifests/
          revisions/<algorithm>/<hex>/
            link                                                        ManifestRevisionLink
            signatures/<algorithm>/<hex>/link                           SignatureLink (schema 1, before v2.3)
          tags/<tag>/
            current/link                                                TagCurrentLink
            index/<algorithm>/<hex>/link                                TagIndexLink
        _uploads/<id>/
          data                                                          UploadData
          startedat                                                     UploadStartedAt
          hashstates/<algorithm>/<offset>                               UploadHashState
    /docker/registry/lockfiles/database-in-use                          DATABASE_LOCK (GitLab's registry)

A link file holds a digest as text (`link_content`, `parse_link`). Blobs belong to the whole registry; the
links say which repository has which blob, and a blob that no link leads to is garbage.
No component of a repository's name begins with "_", so the first one that does ends the name.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TypeAlias

ROOT = "/docker/registry/v2"
BLOBS = f"{ROOT}/blobs"
REPOSITORIES = f"{ROOT}/repositories"
DATABASE_LOCK = "/docker/registry/lockfiles/database-in-use"
"""Where it exists, GitLab's registry keeps manifests, tags and links in a database."""

MAX_REPOSITORY_LENGTH = 255
"""Characters (distribution: ``reference.NameTotalLengthMax``)."""

_HEX_LENGTH = {"sha256": 64, "sha384": 96, "sha512": 128}
"""The algorithms that distribution itself takes (go-digest), with the length of what they encode."""

_HEX = re.compile(r"[a-f0-9]+")
# The digest grammar of the OCI image specification (descriptor.md) without "+", "." and "=": the registry
# turns the first two into "/", which cannot be undone, and its driver allows no path with the third.
_ALGORITHM = re.compile(r"[a-z0-9]+(?:[_-][a-z0-9]+)*")
_ENCODED = re.compile(r"[A-Za-z0-9_-]{2,}")
# distribution: reference/regexp.go, NameRegexp. The registry takes a host name with capitals in front, so
# "Team/app" is stored; it would take a port there, too, but its driver allows no path with ":".
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*/)?{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_UPLOAD_ID = re.compile(r"[A-Za-z0-9_-]+")
_OFFSET = re.compile(r"0|[1-9][0-9]{0,18}")


class InvalidDigestError(ValueError):
    """Not a digest, or one that the registry could not store."""


class InvalidNameError(ValueError):
    """Not a repository, a tag or an upload by the registry's rules."""


@dataclass(frozen=True, order=True)
class Digest:
    """The name of content by its hash, ``algorithm:hex``.

    Parameters
    ----------
    algorithm : str
        ``sha256``, ``sha384`` or ``sha512``; others are taken as long as they can be part of a path.
    hex : str
        The hash in lower-case hexadecimal. Algorithms not named above may encode it otherwise.

    Raises
    ------
    InvalidDigestError
        If the two are not a digest.
    """

    algorithm: str
    hex: str

    def __post_init__(self) -> None:
        length = _HEX_LENGTH.get(self.algorithm)
        if length is not None:
            if len(self.hex) != length or not _HEX.fullmatch(self.hex):
                rule = f"{self.algorithm} takes {length} lower-case hexadecimal digits"
                raise InvalidDigestError(f"digest {str(self)!r}: {rule}")
        elif not (_ALGORITHM.fullmatch(self.algorithm) and _ENCODED.fullmatch(self.hex)):
            raise InvalidDigestError(f"digest {str(self)!r}: expected algorithm:hex, as in sha256:9f86d0…")

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Read a digest as manifests, links and URLs spell it.

        Raises
        ------
        InvalidDigestError
            If the text is not ``algorithm:hex`` and nothing else: no white space, no capitals.
        """
        algorithm, _, encoded = text.partition(":")
        return cls(algorithm, encoded)

    @classmethod
    def of(cls, data: bytes) -> Digest:
        """Compute the SHA-256 digest of some content, the one that registries use throughout."""
        return cls("sha256", hashlib.sha256(data).hexdigest())


def check_repository(name: str) -> str:
    """Apply the rule for a repository's name, and give the name back.

    The rule is what the registry takes (``reference.WithName``). That is more than the distribution
    specification's: the first of several components may have the form of a host name, with capitals.

    Raises
    ------
    InvalidNameError
        If it breaks the rule.
    """
    if len(name) > MAX_REPOSITORY_LENGTH:
        rule = f"{len(name)} characters, more than {MAX_REPOSITORY_LENGTH}"
        raise InvalidNameError(f"repository {name[:40] + '…'!r}: {rule}")
    if not _REPOSITORY.fullmatch(name):
        rule = "lower-case letters and digits, separated by one of . _ __ or hyphens; components by /"
        raise InvalidNameError(f"repository {name!r}: allowed are {rule}")
    return name


def check_tag(tag: str) -> str:
    """Apply the rule for a tag (``reference.TagRegexp``), and give the tag back.

    Raises
    ------
    InvalidNameError
        If it breaks the rule.
    """
    if not _TAG.fullmatch(tag):
        rule = "1 to 128 letters, digits and _ . -, the first no . or -"
        raise InvalidNameError(f"tag {tag[:150]!r}: allowed are {rule}")
    return tag


def link_content(digest: Digest) -> bytes:
    """Return what a link file to a digest holds: its text without a newline, 71 bytes for SHA-256."""
    return str(digest).encode("ascii")


def parse_link(data: bytes) -> Digest:
    """Read the digest out of a link file's content, as strictly as the registry does.

    Raises
    ------
    InvalidDigestError
        If the content is not a digest and nothing else.
    """
    try:
        return Digest.parse(data.decode("ascii"))
    except UnicodeDecodeError as error:
        raise InvalidDigestError(f"link {data[:80]!r}: expected a digest in ASCII") from error


# -- Directories ---------------------------------------------------------------------------------------


def repository_root(name: str) -> str:
    """Return a repository's directory; other repositories may lie in it, beside the ``_`` directories."""
    return f"{REPOSITORIES}/{check_repository(name)}"


def layers_root(name: str) -> str:
    """Return the directory of a repository's links to its layers and configurations."""
    return f"{repository_root(name)}/_layers"


def revisions_root(name: str) -> str:
    """Return the directory of a repository's links to its manifests."""
    return f"{repository_root(name)}/_manifests/revisions"


def tags_root(name: str) -> str:
    """Return the directory that has one directory per tag of a repository."""
    return f"{repository_root(name)}/_manifests/tags"


def uploads_root(name: str) -> str:
    """Return the directory of a repository's unfinished uploads."""
    return f"{repository_root(name)}/_uploads"


def _directories(digest: Digest) -> str:
    return f"{digest.algorithm}/{digest.hex}"


def _upload_root(name: str, upload_id: str) -> str:
    if not _UPLOAD_ID.fullmatch(upload_id):
        raise InvalidNameError(f"upload id {upload_id!r}: allowed are letters, digits, _ and -")
    return f"{uploads_root(name)}/{upload_id}"


# -- Files ---------------------------------------------------------------------------------------------


class _Spec:
    """The base of all path specs. A path that would break a rule raises ``ValueError``."""

    def __post_init__(self) -> None:
        str(self)

    @property
    def path(self) -> str:
        """The absolute driver path."""
        return str(self)


@dataclass(frozen=True)
class BlobData(_Spec):
    """A blob's content: a layer, a configuration, a manifest or anything else."""

    digest: Digest

    def __str__(self) -> str:
        return f"{BLOBS}/{self.digest.algorithm}/{self.digest.hex[:2]}/{self.digest.hex}/data"


@dataclass(frozen=True)
class LayerLink(_Spec):
    """The link that makes a blob (a layer or a configuration) readable through a repository."""

    repository: str
    digest: Digest

    def __str__(self) -> str:
        return f"{layers_root(self.repository)}/{_directories(self.digest)}/link"


@dataclass(frozen=True)
class ManifestRevisionLink(_Spec):
    """The link that makes a blob a manifest of a repository, to be pulled by its digest."""

    repository: str
    digest: Digest

    def __str__(self) -> str:
        return f"{revisions_root(self.repository)}/{_directories(self.digest)}/link"


@dataclass(frozen=True)
class SignatureLink(_Spec):
    """The link from a schema 1 manifest to a signature; registries before v2.3 wrote these."""

    repository: str
    revision: Digest
    digest: Digest

    def __str__(self) -> str:
        revision = f"{revisions_root(self.repository)}/{_directories(self.revision)}"
        return f"{revision}/signatures/{_directories(self.digest)}/link"


@dataclass(frozen=True)
class TagCurrentLink(_Spec):
    """The link from a tag to the manifest that it names now."""

    repository: str
    tag: str

    def __str__(self) -> str:
        return f"{tags_root(self.repository)}/{check_tag(self.tag)}/current/link"


@dataclass(frozen=True)
class TagIndexLink(_Spec):
    """The link from a tag to a manifest that it names or has named."""

    repository: str
    tag: str
    digest: Digest

    def __str__(self) -> str:
        return f"{tags_root(self.repository)}/{check_tag(self.tag)}/index/{_directories(self.digest)}/link"


@dataclass(frozen=True)
class UploadData(_Spec):
    """The content of an unfinished upload; on S3 only ListMultipartUploads shows it."""

    repository: str
    id: str

    def __str__(self) -> str:
        return f"{_upload_root(self.repository, self.id)}/data"


@dataclass(frozen=True)
class UploadStartedAt(_Spec):
    """When an upload began, as text (RFC 3339, UTC); what upload purging goes by."""

    repository: str
    id: str

    def __str__(self) -> str:
        return f"{_upload_root(self.repository, self.id)}/startedat"


@dataclass(frozen=True)
class UploadHashState(_Spec):
    """The state of the hash over an upload's first ``offset`` bytes, in Go's own encoding."""

    repository: str
    id: str
    algorithm: str
    offset: int

    def __str__(self) -> str:
        if not _ALGORITHM.fullmatch(self.algorithm):
            raise InvalidDigestError(f"algorithm {self.algorithm!r}: expected a name like sha256")
        if not _OFFSET.fullmatch(str(self.offset)):
            raise InvalidNameError(f"offset {self.offset}: expected 0 or more, at most 19 digits")
        root = _upload_root(self.repository, self.id)
        return f"{root}/hashstates/{self.algorithm}/{self.offset}"


PathSpec: TypeAlias = (
    BlobData
    | LayerLink
    | ManifestRevisionLink
    | SignatureLink
    | TagCurrentLink
    | TagIndexLink
    | UploadData
    | UploadStartedAt
    | UploadHashState
)


def parse(path: str) -> PathSpec | None:
    """Parse a driver path of the registry's tree; the inverse of ``.path``.

    Parameters
    ----------
    path : str
        An absolute driver path.

    Returns
    -------
    PathSpec or None
        None for directories, and for files that no registry has written: readers skip them.
    """
    if not path.startswith(f"{ROOT}/"):
        return None
    try:
        match path[len(ROOT) + 1 :].split("/"):
            case ["blobs", algorithm, shard, encoded, "data"] if shard == encoded[:2]:
                return BlobData(Digest(algorithm, encoded))
            case ["repositories", *parts]:
                length = next((at for at, part in enumerate(parts) if part.startswith("_")), 0)
                return _parse_in_repository("/".join(parts[:length]), parts[length:])
    except ValueError:
        pass
    return None


def _parse_in_repository(name: str, parts: list[str]) -> PathSpec | None:
    match parts:
        case ["_layers", algorithm, encoded, "link"]:
            return LayerLink(name, Digest(algorithm, encoded))
        case ["_manifests", "revisions", algorithm, encoded, "link"]:
            return ManifestRevisionLink(name, Digest(algorithm, encoded))
        case ["_manifests", "revisions", algorithm, encoded, "signatures", kind, signature, "link"]:
            return SignatureLink(name, Digest(algorithm, encoded), Digest(kind, signature))
        case ["_manifests", "tags", tag, "current", "link"]:
            return TagCurrentLink(name, tag)
        case ["_manifests", "tags", tag, "index", algorithm, encoded, "link"]:
            return TagIndexLink(name, tag, Digest(algorithm, encoded))
        case ["_uploads", upload_id, "data"]:
            return UploadData(name, upload_id)
        case ["_uploads", upload_id, "startedat"]:
            return UploadStartedAt(name, upload_id)
        case ["_uploads", upload_id, "hashstates", algorithm, offset] if _OFFSET.fullmatch(offset):
            return UploadHashState(name, upload_id, algorithm, int(offset))
    return None


def resembles_link(path: str) -> bool:
    """Return whether a driver path has the form of a repository's link, even one that `parse` does not read.

    The repository's name, a tag or a digest may break our rules, and not those of what wrote the file.
    """
    directory, _, name = path.removeprefix(f"{REPOSITORIES}/").rpartition("/")
    if name != "link" or not path.startswith(f"{REPOSITORIES}/"):
        return False
    return not {"_manifests", "_layers"}.isdisjoint(directory.split("/"))
