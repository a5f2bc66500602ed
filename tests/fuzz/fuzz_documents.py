"""Fuzz the readers of S3's documents with atheris: ``python tests/fuzz/fuzz_documents.py -runs=100000``."""

from __future__ import annotations

import contextlib
import sys

import atheris

with atheris.instrument_imports():
    from regfs.s3.documents import DocumentError, parse_deleted, parse_error, parse_page

_HEADS = (b"", b"<ListBucketResult>", b"<DeleteResult>", b"<Error>")
_ENTRY = (
    b"<Contents><Key>%s</Key><Size>%s</Size><LastModified>%s</LastModified><ETag>%s</ETag></Contents>"
    b"<CommonPrefixes><Prefix>%s</Prefix></CommonPrefixes><IsTruncated>%s</IsTruncated>"
)


def one(data: bytes) -> None:
    """Read one document: nothing but the documented error may come out, and only what makes sense."""
    source = atheris.FuzzedDataProvider(data)
    head = _HEADS[source.ConsumeIntInRange(0, len(_HEADS) - 1)]
    if head and source.ConsumeBool():
        fields = tuple(source.ConsumeBytes(12) for _ in range(6))
        document = head + _ENTRY % fields + head.replace(b"<", b"</")
    else:
        document = head + source.ConsumeBytes(sys.maxsize)
    parse_error(document)
    with contextlib.suppress(DocumentError):
        parse_deleted(document)
    with contextlib.suppress(DocumentError):
        page = parse_page(document)
        assert all(item.key and item.size >= 0 and item.modified.tzinfo for item in page.objects)
        assert None not in page.prefixes


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
