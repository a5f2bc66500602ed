"""The XML that the fast lane reads: as botocore reads it, and nothing that is no such document."""

from __future__ import annotations

import contextlib
from datetime import datetime, timezone
from xml.sax.saxutils import escape

import botocore.session
import pytest
from botocore.parsers import create_parser
from hypothesis import given
from hypothesis import strategies as st

from regfs.s3.documents import (
    DocumentError,
    delete_request,
    moment,
    parse,
    parse_deleted,
    parse_error,
    parse_page,
)
from regfs.s3.objects import ListPage, ObjectInfo
from regfs.s3.sigv4 import quote

SPACE = ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


def page(keys: list[str], prefixes: list[str], *, url: bool, space: str = SPACE, more: str = "") -> bytes:
    """Write a listing as S3 does."""
    text = quote if url else escape
    contents = "".join(
        f"<Contents><Key>{text(key)}</Key><LastModified>2026-01-31T12:00:00.250Z</LastModified>"
        f"<ETag>&quot;e{number}&quot;</ETag><Size>{number}</Size><StorageClass>STANDARD_IA</StorageClass>"
        f"<Owner><ID>x</ID></Owner></Contents>"
        for number, key in enumerate(keys)
    )
    common = "".join(f"<CommonPrefixes><Prefix>{text(p)}</Prefix></CommonPrefixes>" for p in prefixes)
    encoding = "<EncodingType>url</EncodingType>" if url else ""
    head = '<?xml version="1.0" encoding="UTF-8"?>'
    return f"{head}<ListBucketResult{space}>{encoding}{more}{contents}{common}</ListBucketResult>".encode()


@given(st.lists(KEYS, max_size=5), st.lists(KEYS, max_size=3))
def test_any_key_comes_back(keys: list[str], prefixes: list[str]) -> None:
    found = parse_page(page(keys, prefixes, url=True))
    assert [item.key for item in found.objects] == keys
    assert found.prefixes == prefixes


@pytest.mark.parametrize("space", ["", SPACE])
@pytest.mark.parametrize("url", [True, False])
def test_a_page(space: str, url: bool) -> None:
    more = "<IsTruncated>true</IsTruncated><NextContinuationToken>to/ken+=</NextContinuationToken>"
    when = datetime(2026, 1, 31, 12, 0, 0, 250_000, timezone.utc)
    assert parse_page(page(["a b+&<c", "ü"], ["d/"], url=url, space=space, more=more)) == ListPage(
        [
            ObjectInfo("a b+&<c", 0, when, '"e0"', "STANDARD_IA"),
            ObjectInfo("ü", 1, when, '"e1"', "STANDARD_IA"),
        ],
        ["d/"],
        "to/ken+=",
    )


def test_a_page_is_what_botocore_reads() -> None:
    data = page(["plain", "a b", "ü/%25"], ["p/", "q r/"], url=False)
    service = botocore.session.get_session().get_service_model("s3")
    parser = create_parser(service.protocol)
    model = service.operation_model("ListObjectsV2").output_shape
    told = parser.parse({"body": data, "headers": {}, "status_code": 200}, model)
    ours = parse_page(data)
    assert [item.key for item in ours.objects] == [item["Key"] for item in told["Contents"]]
    assert [item.modified for item in ours.objects] == [item["LastModified"] for item in told["Contents"]]
    assert [item.etag for item in ours.objects] == [item["ETag"] for item in told["Contents"]]
    assert ours.prefixes == [item["Prefix"] for item in told["CommonPrefixes"]]


def test_an_empty_page() -> None:
    assert parse_page(f"<ListBucketResult{SPACE}/>".encode()) == ListPage([], [], None)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<",
        b"<html/>",
        b"not xml",
        b"<ListBucketResult>",
        b"<ListBucketResult><Contents/></ListBucketResult>",
        b"<ListBucketResult><Contents><Key>a</Key></Contents></ListBucketResult>",
        b"<ListBucketResult><CommonPrefixes/></ListBucketResult>",
        b"<ListBucketResult><CommonPrefixes><Prefix/></CommonPrefixes></ListBucketResult>",
        b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
        b"<ListBucketResult>\xff</ListBucketResult>",
        '<?xml version="1.0" encoding="UTF-16"?><ListBucketResult/>'.encode("utf-16"),
        "<ListBucketResult/>".encode("utf-16-le"),
        "<!DOCTYPE a><ListBucketResult/>".encode("utf-16-be"),
        b'<!DOCTYPE a [<!ENTITY e "x">]><ListBucketResult>&e;</ListBucketResult>',
        b"<ListBucketResult>&undefined;</ListBucketResult>",
        page(["a"], [], url=False).replace(b"Z</LastModified>", b"</LastModified>"),
        page(["a"], [], url=False).replace(b"<Size>0", b"<Size>many"),
    ],
)
def test_what_is_no_page_is_refused(data: bytes) -> None:
    with pytest.raises(DocumentError):
        parse_page(data)


@given(st.binary(max_size=200) | st.text(st.sampled_from("<>/&;!?[]a=\"' "), max_size=60).map(str.encode))
def test_only_one_error_comes_out(data: bytes) -> None:
    for reader in (parse, parse_page, parse_deleted):
        with contextlib.suppress(DocumentError):
            reader(data)
    parse_error(data)


def test_an_error() -> None:
    assert parse_error(b"<Error><Code>NoSuchKey</Code><Message>It is gone</Message></Error>") == (
        "NoSuchKey",
        "It is gone",
    )
    assert parse_error(b"<html/>") == parse_error(b"502") == ("", "")


@given(st.lists(KEYS.filter(str.isprintable), min_size=1, max_size=5))
def test_a_deletion_names_the_keys(keys: list[str]) -> None:
    root = parse(delete_request(keys))
    space = "{http://s3.amazonaws.com/doc/2006-03-01/}"
    assert [item.text for item in root.iter(f"{space}Key")] == keys
    assert root.findtext(f"{space}Quiet") == "true"


def test_what_could_not_be_deleted() -> None:
    data = (
        f"<DeleteResult{SPACE}><Error><Key>a</Key><Code>AccessDenied</Code></Error></DeleteResult>".encode()
    )
    assert parse_deleted(data) == [("a", "AccessDenied")]
    assert parse_deleted(f"<DeleteResult{SPACE}/>".encode()) == []
    with pytest.raises(DocumentError):
        parse_deleted(b"<Error><Code>InternalError</Code></Error>")


def test_times() -> None:
    assert moment("2026-01-31T12:00:00.000Z") == datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
    assert moment("2026-01-31T12:00:00Z") == datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
    for wrong in ("2026-01-31T12:00:00", "yesterday", "", "Z"):
        with pytest.raises(ValueError, match=r"time|format"):
            moment(wrong)
