"""The checksum that travels with an upload so that the service can verify what it received.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Sequence

DEFAULT = "MD5"
"""What every service understands."""
ALGORITHMS = ("MD5", "CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256")


def field(algorithm: str) -> str:
    """Return botocore's name of the request field that carries a checksum."""
    return "ContentMD5" if algorithm == "MD5" else f"Checksum{algorithm}"


def compute(algorithm: str, data: bytes) -> str:
    """Return the checksum of some bytes, in base64 as S3 wants it.

    Raises
    ------
    ModuleNotFoundError
        CRC32C and CRC64NVME need the extra ``crt``.
    """
    if algorithm == "MD5":
        raw = hashlib.md5(data, usedforsecurity=False).digest()
    elif algorithm == "SHA1":
        raw = hashlib.sha1(data, usedforsecurity=False).digest()
    elif algorithm == "SHA256":
        raw = hashlib.sha256(data).digest()
    elif algorithm == "CRC32":
        raw = zlib.crc32(data).to_bytes(4, "big")
    else:
        try:
            from awscrt import checksums
        except ModuleNotFoundError as exc:
            text = f'checksum_algorithm {algorithm} needs the extra crt: pip install "regfs[crt]"'
            raise ModuleNotFoundError(text, name="awscrt") from exc
        if algorithm == "CRC32C":
            raw = checksums.crc32c(data).to_bytes(4, "big")
        else:
            raw = checksums.crc64nvme(data).to_bytes(8, "big")
    return base64.b64encode(raw).decode()


def etag_of(data: bytes) -> str:
    """Return the ETag of an object that was put whole and not encrypted with a key of KMS; no quotes.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html
    """
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def etag_of_parts(etags: Sequence[str]) -> str:
    """Return the ETag of an object made of parts, in the same cases; "" where the parts' are no digests."""
    try:
        digests = b"".join(bytes.fromhex(etag.strip('"')) for etag in etags)
    except ValueError:
        return ""
    return f"{etag_of(digests)}-{len(etags)}"
