"""A service that lists what is not ours or not to be named: nothing outside is touched, and it ends."""

from __future__ import annotations

import contextlib
import os
import posixpath
import re
import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote
from xml.sax.saxutils import escape

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from security.conftest import OBJECT, answer

import regfs.s3.client
from regfs import RegistryFileSystem, StorageDriver

if TYPE_CHECKING:
    from security.conftest import Make
    from support.proxy import CountingProxy, Request
    from support.servers import Place

pytestmark = pytest.mark.parametrize("server", ["moto"], indirect=True)

ROOT = "base"
# Below the root directory by their text, elsewhere once somebody resolves them.
LEAVING = [
    "../outside",
    "..",
    "../base-evil/x",
    "a/../../outside",
    "./../outside",
    "a/..",
    "../../../../etc/passwd",
]
# Not below it at all.
FOREIGN = ["outside", "base-evil/x", "base", "/base/x", "", "../base/x", "BASE/x", "base\\x", "/etc/passwd"]
# Odd, but below it.
ODD = [
    "a\x01b",
    "a\rb",
    "a\nb",
    "/",
    "//",
    "/etc/passwd",
    "x//y",
    "a/",
    "~",
    "~root/x",
    "C:\\x",
    "a\\..\\..\\x",
    "\x7f",
    "é" * 600,
]


def page(keys: list[str], prefixes: list[str] = [], token: str = "") -> bytes:  # noqa: B006 - it is only read
    def name(key: str) -> str:  # in the form that tells all characters
        return quote(key, safe="/~")

    more = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{escape(token)}</NextContinuationToken>"
    contents = "".join(
        f"<Contents><Key>{name(key)}</Key><LastModified>2026-11-23T10:00:00.000Z</LastModified>"
        "<ETag>&quot;e&quot;</ETag><Size>1</Size><StorageClass>STANDARD</StorageClass></Contents>"
        for key in keys
    )
    common = "".join(f"<CommonPrefixes><Prefix>{name(key)}</Prefix></CommonPrefixes>" for key in prefixes)
    head = "<ListBucketResult><EncodingType>url</EncodingType>" + (more if token else "")
    body = f"{head}{contents}{common}</ListBucketResult>".encode()
    return answer("200 OK", body, Content_Type="application/xml")


def uploads(keys: list[str], following: str = "") -> bytes:
    each = "".join(
        f"<Upload><Key>{escape(key)}</Key><UploadId>u</UploadId><Initiated>2026-11-23T10:00:00.000Z</Initiated></Upload>"
        for key in keys
    )
    more = f"<IsTruncated>true</IsTruncated><NextKeyMarker>{following}</NextKeyMarker>" if following else ""
    return answer("200 OK", f"<ListMultipartUploadsResult>{more}{each}</ListMultipartUploadsResult>".encode())


def lists(what: bytes) -> Callable[[Request], bytes]:
    """Answer listings so, and everything else with success and one byte."""

    def reply(request: Request) -> bytes:
        if "list-type" in request.query:
            return what
        if "uploads" in request.query and request.method == "GET":
            return uploads([])
        if "delete" in request.query:
            return answer("200 OK", b"<DeleteResult/>")
        if request.method == "DELETE":
            return answer("204 No Content")
        body = b"" if request.method in ("PUT", "HEAD") else b"1"
        if "x-amz-copy-source" in request.headers:
            body = b"<CopyObjectResult><ETag>&quot;e&quot;</ETag></CopyObjectResult>"
        told = answer("200 OK", body, **OBJECT)
        return told.replace(b"Content-Length: 0", b"Content-Length: 1") if request.method == "HEAD" else told

    return reply


def outside(proxy: CountingProxy, bucket: str) -> list[str]:
    """Return the targets of requests for what does not lie under the root directory, however read."""
    root = f"/{bucket}/{ROOT}/"

    def inside(key: str) -> bool:
        resolved = posixpath.normpath(key) + "/"
        return (
            f"{key}/".startswith(root) and resolved.startswith(root) and not {"..", "."} & set(key.split("/"))
        )

    found = []
    for request in proxy.requests:
        if not {"list-type", "uploads", "delete"} & set(request.query):
            names = [
                request.target.partition("?")[0],
                "/" + request.headers.get("x-amz-copy-source", root[1:]),
            ]
            found += [request.target for name in names if not inside(unquote(name))]
    return found


def walked(driver: StorageDriver) -> list[str]:
    seen: list[str] = []
    driver.walk("/", lambda info: seen.append(info.path))
    return seen


READS: dict[str, Callable[[RegistryFileSystem], Any]] = {
    "ls": lambda fs: fs.ls("/", detail=False),
    "find": lambda fs: fs.find("/", withdirs=True),
    "walk": lambda fs: [names for _, *names in fs.walk("/")],
    "du": lambda fs: fs.du("/", total=False),
    "glob": lambda fs: fs.glob("/**"),
    "cat": lambda fs: fs.cat("/", recursive=True),
    "driver.list": lambda fs: StorageDriver(fs).list("/"),
    "driver.walk": lambda fs: walked(StorageDriver(fs)),
}
CHANGES: dict[str, Callable[[RegistryFileSystem], Any]] = {
    "rm": lambda fs: fs.rm("/", recursive=True),
    "rm deep": lambda fs: fs.rm("/", recursive=True, maxdepth=3),
    "cp": lambda fs: fs.cp("/", "/copy", recursive=True),
    "mv": lambda fs: fs.mv("/", "/moved", recursive=True),
    "driver.delete": lambda fs: StorageDriver(fs).delete("/a"),
}


@pytest.mark.parametrize("keys", [[key] for key in FOREIGN] + [["base/a", *FOREIGN]])
@pytest.mark.parametrize("operation", [*READS, *CHANGES])
def test_keys_of_others_are_an_error(
    make: Make, proxy: CountingProxy, operation: str, keys: list[str]
) -> None:
    fs = make(rootdirectory=ROOT)
    # The root itself may be named where directories are.
    for told in (page(keys), page([], [key + "/" for key in keys if key != ROOT] or ["/"])):
        proxy.fault = lists(told)
        proxy.clear()
        with pytest.raises(OSError):
            {**READS, **CHANGES}[operation](fs)
        assert outside(proxy, fs.space.bucket) == []
        changed = [request.target for request in proxy.requests if request.method not in ("GET", "HEAD")]
        assert changed == []


@pytest.mark.parametrize("operation", [*READS, *CHANGES])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=12)
@given(
    keys=st.lists(st.sampled_from(LEAVING + ODD + ["a", "a/b", "a/c"]), min_size=1, max_size=6),
    prefixes=st.lists(st.sampled_from(["../", "a/", "/", "./", "a/../", "//", "\x01/"]), max_size=2),
)
@example(keys=LEAVING + ODD, prefixes=["../", "./"])
def test_keys_that_leave_are_left_alone(
    make: Make, proxy: CountingProxy, operation: str, keys: list[str], prefixes: list[str]
) -> None:
    fs = make(rootdirectory=ROOT)
    below = "a/" if operation == "driver.delete" else ""
    proxy.fault = lists(
        page([f"{ROOT}/{below}{key}" for key in keys], [f"{ROOT}/{below}{key}" for key in prefixes])
    )
    proxy.clear()
    try:
        told = {**READS, **CHANGES}[operation](fs)
    except OSError:
        told = None
    assert outside(proxy, fs.space.bucket) == []
    if operation in READS and told is not None:
        for text in walk_texts(told):
            assert not {".", ".."} & set(text.split("/"))
            assert "\x01" not in text


def walk_texts(told: Any) -> Iterator[str]:
    if isinstance(told, str):
        yield told
    elif isinstance(told, (list, tuple, dict)):
        for item in told:
            yield from walk_texts(item)


@pytest.mark.parametrize("many", [False, True])
def test_a_tree_with_keys_that_leave_is_deleted_but_for_them(
    make: Make, proxy: CountingProxy, raw: Place, many: bool
) -> None:
    """In a bucket where somebody put such keys, as S3 allows: they are named, and the rest is gone."""
    names = ["t/../kept", *(f"t/{n}" for n in range(3 if many else 1))]
    for name in names:
        raw.put(name, b"1")
    raw.put("kept", b"1")
    fs = make()
    with pytest.raises(OSError, match=r"could not be deleted: .*InvalidPath"):
        fs.rm("/t", recursive=True)
    assert raw.keys() == ["kept", "t/../kept"]
    with pytest.raises(OSError, match="InvalidPath"):
        StorageDriver(fs).delete("/t")
    assert raw.keys() == ["kept", "t/../kept"]


@pytest.mark.parametrize("target", ["relative", "absolute"])
def test_a_tree_that_is_fetched_stays_in_its_directory(
    make: Make, proxy: CountingProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    """No key writes beside it: "Zip Slip" (https://security.snyk.io/research/zip-slip-vulnerability)."""
    room = tmp_path / "room"
    home = tmp_path / "home"
    for folder in (room, home):
        folder.mkdir()
    monkeypatch.chdir(room)
    monkeypatch.setenv("HOME", str(home))
    fs = make(rootdirectory=ROOT)
    absolute = str(tmp_path / "absolute")
    for number, keys in enumerate(
        [[key] for key in LEAVING + ODD + [absolute, "/" + absolute]] + [LEAVING + ODD + [absolute]]
    ):
        proxy.fault = lists(page([f"{ROOT}/{key}" for key in ["fine", *keys]]))
        place = f"into{number}" if target == "relative" else str(room / f"into{number}")
        with contextlib.suppress(OSError):
            fs.get("/", place, recursive=True)
        assert {entry.name for entry in room.iterdir()} <= {f"into{number}"}
        assert {entry.name for entry in tmp_path.iterdir()} == {"room", "home"}
        assert list(home.iterdir()) == []
        for where, _, files in os.walk(room):
            assert all(Path(where, name).resolve().is_relative_to(room / f"into{number}") for name in files)
        shutil.rmtree(room / f"into{number}", ignore_errors=True)


def ever_another() -> Callable[[], bytes]:
    numbers = count()
    return lambda: page([], token=f"t{next(numbers)}")


ENDLESS: dict[str, Callable[[], Callable[[], bytes]]] = {
    "the same token": lambda: lambda: page([f"{ROOT}/a/b"], token="t"),
    "the same token and nothing": lambda: lambda: page([], token="t"),
    "other tokens and nothing": ever_another,
    "an empty token": lambda: (
        lambda: page([]).replace(b"<ListBucketResult>", b"<ListBucketResult><IsTruncated>true</IsTruncated>")
    ),
}


@pytest.mark.parametrize("how", ENDLESS)
@pytest.mark.parametrize("operation", [*READS, *CHANGES])
def test_a_listing_without_end_ends(
    make: Make, proxy: CountingProxy, monkeypatch: pytest.MonkeyPatch, operation: str, how: str
) -> None:
    monkeypatch.setattr(regfs.s3.client, "EMPTY_PAGES", 20)
    told = ENDLESS[how]()
    fs = make(rootdirectory=ROOT)
    answers = lists(b"")
    proxy.fault = lambda request: _listed(told) if "list-type" in request.query else answers(request)
    if how != "an empty token":
        with pytest.raises(OSError, match="without end"):
            {**READS, **CHANGES}[operation](fs)
    else:
        with contextlib.suppress(OSError):
            {**READS, **CHANGES}[operation](fs)
    assert len(proxy.requests) < 200


def _listed(told: Callable[[], bytes]) -> bytes:
    body = told()
    head, _, rest = body.partition(b"\r\n\r\n")
    return re.sub(rb"Content-Length: \d+", b"Content-Length: %d" % len(rest), head) + b"\r\n\r\n" + rest


def test_pages_that_hold_nothing_are_passed_over(make: Make, proxy: CountingProxy) -> None:
    """As services make them where much was deleted: they are no end, and no proof that nothing is there."""
    pages = {"": page([], token="1"), "1": page([], token="2"), "2": page([f"{ROOT}/d/x"])}
    proxy.fault = lambda request: (
        pages[request.query.get("continuation-token", "")]
        if "list-type" in request.query
        else answer("404 Not Found")
    )
    fs = make(rootdirectory=ROOT)
    assert fs.isdir("/d")
    assert fs.find("/") == ["/d/x"]
    assert StorageDriver(fs).stat("/d").is_dir


class TestUploads:
    def test_those_of_others_and_those_that_leave_are_not_seen(
        self, make: Make, proxy: CountingProxy
    ) -> None:
        keys = (
            [f"{ROOT}/{key}" for key in LEAVING if "\x01" not in key]
            + FOREIGN
            + [f"{ROOT}/fine", f"{ROOT}/x//", f"{ROOT}/"]
        )
        parts = answer("200 OK", b"<ListPartsResult></ListPartsResult>")

        def reply(request: Request) -> bytes:
            if request.method == "GET" and "uploads" in request.query:
                return uploads(keys)
            return parts if request.method == "GET" else lists(b"")(request)

        proxy.fault = reply
        fs = make(rootdirectory=ROOT)
        assert [upload.path for upload in fs.uploads()] == ["/fine"]
        proxy.clear()
        assert [upload.path for upload in fs.abort_uploads(dry_run=False)] == ["/fine"]
        assert outside(proxy, fs.space.bucket) == []
        changed = {r.target.partition("?")[0] for r in proxy.requests if r.method == "DELETE"}
        assert changed == {f"/{fs.space.bucket}/{ROOT}/fine", f"/{fs.space.bucket}/{ROOT}/fine~regfs"}

    @pytest.mark.parametrize("markers", ["one", "two in turn", "ever another"])
    def test_a_listing_without_end_ends(
        self, make: Make, proxy: CountingProxy, monkeypatch: pytest.MonkeyPatch, markers: str
    ) -> None:
        monkeypatch.setattr(regfs.s3.client, "MAX_PAGES", 20)
        numbers = count()
        limit = {"one": 1, "two in turn": 2, "ever another": 10**6}[markers]
        proxy.fault = lambda _: uploads([], following=f"m{next(numbers) % limit}")
        with pytest.raises(OSError, match="repeats a page of uploads"):
            make(rootdirectory=ROOT).uploads()
        assert proxy.count() < 30

    def test_parts_without_end_end(self, make: Make, proxy: CountingProxy) -> None:
        numbers = count(1, 1000)

        def reply(request: Request) -> bytes:
            if "uploads" in request.query:
                return uploads([f"{ROOT}/fine"])
            more = (
                f"<IsTruncated>true</IsTruncated><NextPartNumberMarker>{next(numbers)}</NextPartNumberMarker>"
            )
            return answer("200 OK", f"<ListPartsResult>{more}</ListPartsResult>".encode())

        proxy.fault = reply
        assert [upload.parts for upload in make(rootdirectory=ROOT).uploads()] == [0]
        assert proxy.count() < 15


def test_what_could_not_be_deleted_is_told_in_one_line(make: Make, proxy: CountingProxy) -> None:
    evil = "a\u2028b\nINFO root logged in" + "x" * 10**6
    body = f"<DeleteResult><Error><Key>{evil}</Key><Code>Denied\r\nx</Code></Error></DeleteResult>".encode()
    told = lists(page([f"{ROOT}/a", f"{ROOT}/b"]))
    proxy.fault = lambda request: answer("200 OK", body) if "delete" in request.query else told(request)
    with pytest.raises(OSError, match="1 of 2 could not be deleted") as caught:
        make(rootdirectory=ROOT).rm("/", recursive=True)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value.strerror)) < 2000


def test_keys_of_ten_megabytes(make: Make, proxy: CountingProxy) -> None:
    proxy.fault = lists(page([f"{ROOT}/" + "k" * 10 * 2**20, f"{ROOT}/fine"]))
    fs = make(rootdirectory=ROOT)
    assert fs.find("/") == fs.ls("/", detail=False) == StorageDriver(fs).list("/") == ["/fine"]
    proxy.fault = lists(page(["evil" * 10 * 2**20]))
    with pytest.raises(OSError, match="does not begin with") as caught:
        fs.find("/")
    assert len(str(caught.value)) < 2000
