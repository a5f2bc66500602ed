"""No answer of a service is expanded, whatever parser reads it; nor does a deep or an endless one do harm."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from security.conftest import OBJECT, answer

import regfs.s3.documents
import regfs.s3.fast
import regfs.s3.session
from regfs import RegistryFileSystem, StorageDriver
from regfs.s3.documents import DocumentError, check, parse

if TYPE_CHECKING:
    from pathlib import Path

    from security.conftest import Make
    from support.proxy import CountingProxy, Request

LAUGHS = "".join(
    f'<!ENTITY l{n} "{"&l" + str(n - 1) + ";" * 1}{("&l" + str(n - 1) + ";") * 9}">' for n in range(1, 12)
)
PAGE = "<ListBucketResult><Name>{}</Name><Contents><Key>root/d/x{}</Key><Size>1</Size><ETag>e</ETag>"
PAGE += "<LastModified>2026-11-23T10:00:00.000Z</LastModified></Contents></ListBucketResult>"
DECLARED = {
    "an entity": f'<!DOCTYPE a [<!ENTITY e "expanded">]>{PAGE.format("", "&e;")}',
    "a billion laughs": f'<!DOCTYPE a [<!ENTITY l0 "lol">{LAUGHS}]>{PAGE.format("", "&l11;")}',
    "quadratic": f'<!DOCTYPE a [<!ENTITY e "{"x" * 100_000}">]>{PAGE.format("&e;" * 10_000, "")}',
    "a file": f'<!DOCTYPE a [<!ENTITY e SYSTEM "FILE">]>{PAGE.format("", "&e;")}',
    "a parameter entity": f'<!DOCTYPE a [<!ENTITY % p SYSTEM "FILE"> %p;]>{PAGE.format("", "")}',
    "a DTD": f'<!DOCTYPE a SYSTEM "FILE">{PAGE.format("", "")}',
    "an attribute": f'<!DOCTYPE a [<!ATTLIST ListBucketResult a CDATA "expanded">]>{PAGE.format("", "")}',
}
DOCUMENTS = {name: text.encode() for name, text in DECLARED.items()}
for _name, _text in list(DECLARED.items())[:1]:
    DOCUMENTS |= {
        f"{_name} in {code}": _text.encode(code) for code in ("utf-16", "utf-16-le", "utf-16-be", "utf-32")
    }
    DOCUMENTS["declared in UTF-16"] = ('<?xml version="1.0" encoding="utf-16"?>' + _text).encode("utf-16")
    # Read as UTF-7, this declares an entity.
    DOCUMENTS["in UTF-7"] = b'<?xml version="1.0" encoding="utf-7"?>' + _text.encode("utf-7").replace(
        b"<", b"+ADw-"
    )
DOCUMENTS["no entity but an undefined one"] = PAGE.format("", "&undefined;").encode()
DOCUMENTS["in Latin-1"] = b'<?xml version="1.0" encoding="latin-1"?>' + PAGE.format("", "é").encode("latin-1")


@pytest.mark.parametrize("document", DOCUMENTS)
@pytest.mark.parametrize("server", ["moto"], indirect=True)
def test_no_listing_expands(make: Make, proxy: CountingProxy, tmp_path: Path, document: str) -> None:
    (tmp_path / "file").write_text("expanded")
    body = DOCUMENTS[document].replace(b"FILE", f"file://{tmp_path}/file".encode())
    proxy.fault = lambda _: answer("200 OK", body)
    fs = make(rootdirectory="root")
    started = time.monotonic()
    for call in (lambda: fs.ls("/d"), lambda: fs.find("/"), lambda: StorageDriver(fs).list("/d"), fs.uploads):
        with pytest.raises(OSError, match=r"that is not S3's|answered 500") as caught:
            call()
        assert "expanded" not in str(caught.value)
    assert time.monotonic() - started < 60


@pytest.mark.parametrize("document", [name for name in DOCUMENTS if name not in ("in Latin-1",)])
@pytest.mark.parametrize("server", ["moto"], indirect=True)
def test_no_other_answer_expands(make: Make, proxy: CountingProxy, document: str) -> None:
    """A copy's, an upload's, an error's: of an error its status is enough."""
    body = DOCUMENTS[document].replace(b"ListBucketResult", b"Error").replace(b"<Name>", b"<Code>NoSuchKey")
    fs = make(rootdirectory="root")

    def reply(request: Request) -> bytes:
        if request.method == "HEAD":
            return answer("200 OK", b"", **OBJECT)
        return answer("200 OK" if request.method in ("PUT", "POST") else "403 Forbidden", body)

    proxy.fault = reply
    with pytest.raises(PermissionError):
        fs.cat_file("/a")
    with pytest.raises(OSError):
        fs.cp_file("/a", "/b")
    with pytest.raises(OSError):
        fs.rm("/d", recursive=True)
    with pytest.raises(OSError):
        StorageDriver(fs).writer("/new").write(bytes(11 * 2**20))


@pytest.mark.parametrize(
    "html", [b"<!DOCTYPE html><html><body>Bad Gateway</body></html>", b"<html>", b"oops", b""]
)
@pytest.mark.parametrize(
    ("status", "kind"), [("403 Forbidden", PermissionError), ("404 Not Found", FileNotFoundError)]
)
@pytest.mark.parametrize("server", ["moto"], indirect=True)
def test_a_page_of_a_proxy_is_told_by_its_status(
    make: Make, proxy: CountingProxy, html: bytes, status: str, kind: type[OSError]
) -> None:
    proxy.fault = lambda _: answer(status, html)
    with pytest.raises(kind):
        make().ls("/d")


@pytest.mark.parametrize(
    "body", [b"<html><body/></html>", b"<x/>", b"", b"{}", b"<Error/>", b"<?xml version='1.0'?><Result/>"]
)
@pytest.mark.parametrize("server", ["moto"], indirect=True)
def test_a_success_that_is_something_else_is_no_empty_directory(
    make: Make, proxy: CountingProxy, body: bytes
) -> None:
    """As of a proxy that wants the user to log in: botocore alone finds no keys in it, and no failures."""
    proxy.fault = lambda request: answer("200 OK", b"" if request.method == "HEAD" else body, **OBJECT)
    fs = make(rootdirectory="root")
    driver = StorageDriver(fs)
    calls: list[Callable[[], Any]] = [
        lambda: fs.ls("/"),
        lambda: fs.find("/d"),
        lambda: driver.list("/"),
        lambda: driver.walk("/", print),
    ]
    calls += [fs.uploads, lambda: fs.rm("/", recursive=True), lambda: fs.cp_file("/a", "/b")]
    calls += [lambda: driver.writer("/w").write(bytes(11 * 2**20)), lambda: fs.du("/")]
    for call in calls:
        with pytest.raises(OSError):
            call()


@pytest.mark.parametrize("server", ["moto"], indirect=True)
@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("status", ["200 OK", "403 Forbidden"])
def test_an_answer_without_end_is_cut(
    make: Make, proxy: CountingProxy, monkeypatch: pytest.MonkeyPatch, chunked: bool, status: str
) -> None:
    """At 64 MiB; here at less, so that the test is quick."""
    assert regfs.s3.documents.LARGEST == vars(regfs.s3.session)["LARGEST"] == 64 * 2**20
    for module in (regfs.s3.documents, regfs.s3.session, regfs.s3.fast):
        if hasattr(module, "LARGEST"):
            monkeypatch.setattr(module, "LARGEST", 2**20)
    body = b"<ListBucketResult>" + b" " * 3 * 2**20
    told = answer(status, body)
    if chunked:
        head = f"HTTP/1.1 {status}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        told = head + b"%x\r\n%s\r\n" % (len(body), body) * 4 + b"0\r\n\r\n"
    proxy.fault = lambda _: told
    with pytest.raises(OSError):
        make().ls("/d")


DEEP = """
import sys
from regfs.s3.documents import parse, parse_page, parse_deleted, parse_error
levels = int(sys.argv[1])
document = b"<ListBucketResult>" + b"<a>" * levels + b"</a>" * levels + b"</ListBucketResult>"
for reader in (parse, parse_page, parse_deleted, parse_error):
    try:
        reader(document)
    except ValueError:
        pass
from botocore.parsers import create_parser
import botocore.session
model = botocore.session.get_session().get_service_model("s3").operation_model("ListObjectsV2").output_shape
for status in (200, 400):
    try:
        create_parser("rest-xml").parse({"body": document, "headers": {}, "status_code": status}, model)
    except RecursionError:
        pass
print("read")
"""


def test_a_deep_document_does_not_bring_the_interpreter_down() -> None:
    """Both parsers, 100,000 levels, in a process of its own."""
    run = subprocess.run([sys.executable, "-c", DEEP, "100000"], capture_output=True, text=True, timeout=150)
    assert run.stdout == "read\n", (run.returncode, run.stderr[-500:])


@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request"])
@pytest.mark.parametrize("server", ["moto"], indirect=True)
def test_a_deep_document_is_an_error_of_the_service(make: Make, proxy: CountingProxy, status: str) -> None:
    body = b"<a>" * 20_000 + b"</a>" * 20_000
    proxy.fault = lambda _: answer(status, body)
    fs = make()
    for call in (lambda: fs.ls("/d"), lambda: fs.uploads(), lambda: fs.rm("/d", recursive=True)):
        with pytest.raises(OSError):
            call()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_what_is_refused_before_it_is_parsed(document: str) -> None:
    with pytest.raises(DocumentError):
        parse(DOCUMENTS[document])
    if "<!DOCTYPE" in DOCUMENTS[document].decode("latin-1"):
        with pytest.raises(DocumentError):
            check(DOCUMENTS[document])


def test_a_document_is_plain(options: dict[str, Any]) -> None:
    assert (
        parse(PAGE.format("", "&lt;!DOCTYPE&gt;&#33;").encode()).find("Contents/Key").text
        == "root/d/x<!DOCTYPE>!"
    )
    assert RegistryFileSystem(**options).find("/") == []
