"""``x-amz-acl: private`` went with every creation, though nobody had asked for an ACL.

Buckets with ACLs disabled, as AWS makes them since 2023, answered 400 to every write. Neither of the two
servers has such buckets, so the proxy before them refuses what S3 refuses there.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/about-object-ownership.html
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from click.testing import CliRunner
from regression.test_settings_on_every_creation import (
    CHUNK,
    LARGE,
    LARGE_OLD,
    SMALL_OLD,
    WRITES,
    append,
    creation,
    leave,
)

from regfs import RegistryFileSystem, StorageDriver
from regfs.cli.group import cli
from regfs.doctor.checks import Verdict
from regfs.doctor.examination import examine

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.proxy import CountingProxy, Request
    from support.servers import Place

_BODY = b"<Error><Code>AccessControlListNotSupported</Code><Message>no ACLs</Message></Error>"
REFUSAL = b"HTTP/1.1 400 Bad Request\r\ncontent-length: %d\r\n\r\n%s" % (len(_BODY), _BODY)
SIZES: dict[str, Any] = {
    "chunksize": CHUNK,
    "multipartcopythresholdsize": CHUNK,
    "multipartcopychunksize": CHUNK,
}

pytestmark = pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)


def refuse_acls(request: Request) -> bytes | None:
    """Answer as S3 does where ACLs are disabled."""
    acl = request.headers.get("x-amz-acl", "bucket-owner-full-control")
    return None if acl == "bucket-owner-full-control" else REFUSAL


@pytest.fixture
def where(proxied_options: dict[str, Any], proxy: CountingProxy, raw: Place) -> dict[str, Any]:
    """A bucket with ACLs disabled, and what some of the writes start from."""
    raw.put(SMALL_OLD[1:], b"old")
    raw.put(LARGE_OLD[1:], bytes(LARGE))
    proxy.fault = refuse_acls
    return {**proxied_options, **SIZES}


@pytest.mark.parametrize("name", WRITES)
def test_every_write_works_there(where: dict[str, Any], proxy: CountingProxy, name: str) -> None:
    _, call = WRITES[name]
    call(StorageDriver(RegistryFileSystem(**where)))
    assert [request for request in proxy.requests if creation(request)]
    assert not [request for request in proxy.requests if "x-amz-acl" in request.headers]


def test_a_resumed_upload_and_another_bucket(
    where: dict[str, Any], proxy: CountingProxy, tmp_path: Path
) -> None:
    driver = StorageDriver(RegistryFileSystem(**where))
    leave(driver, "/new", bytes(LARGE))
    append(driver, "/new", b"x")
    assert driver.stat("/new").size == LARGE + 1
    config = tmp_path / "config.yml"
    config.write_text(yaml.safe_dump({"storage": {"s3": where}}))
    words = ["cp", "regfs:///new", "regfs:///", "--config", str(config)]
    other = f"rootdirectory={where['rootdirectory']}/other"
    result = CliRunner().invoke(cli, [*words, "--to-option", other])
    assert result.exit_code == 0, result.output
    assert driver.stat("/other/new").size == LARGE + 1
    assert not [request for request in proxy.requests if "x-amz-acl" in request.headers]


@pytest.mark.parametrize("name", WRITES)
def test_an_acl_that_was_asked_for_is_named_by_the_error(
    where: dict[str, Any], raw: Place, name: str
) -> None:
    driver = StorageDriver(RegistryFileSystem(**where, objectacl="private"))
    before = raw.keys()
    with pytest.raises(OSError, match=r"ACLs disabled.*leave out objectacl") as caught:
        WRITES[name][1](driver)
    assert caught.value.errno == errno.EINVAL
    assert len(str(caught.value).splitlines()) == 1
    assert (raw.keys(), raw.uploads()) == (before, [])


def test_the_filesystem_says_so_too(where: dict[str, Any], raw: Place) -> None:
    fs = RegistryFileSystem(**where, objectacl="public-read")
    writes: list[Callable[[], object]] = [
        lambda: fs.pipe_file("/new", b"x"),
        lambda: fs.pipe_file("/new", bytes(LARGE)),
        lambda: fs.pipe_file("/new", b"x", mode="create"),
        lambda: fs.copy(SMALL_OLD, "/new"),
        lambda: fs.copy(LARGE_OLD, "/new"),
    ]
    for write in writes:
        with pytest.raises(OSError, match=r"leave out objectacl: 'regfs://"):
            write()
    assert raw.uploads() == []


def test_the_one_that_such_a_bucket_takes(where: dict[str, Any], proxy: CountingProxy) -> None:
    fs = RegistryFileSystem(**where, objectacl="bucket-owner-full-control")
    fs.pipe_file("/new", b"x")
    assert proxy.requests[-1].headers["x-amz-acl"] == "bucket-owner-full-control"


def test_doctor(where: dict[str, Any], proxy: CountingProxy) -> None:
    """By default it finds nothing wrong there; and it names the parameter where that is at fault."""
    checks = examine(lambda: RegistryFileSystem(**where))
    assert not [check for check in checks if check.verdict is Verdict.FAILED]
    assert not [request for request in proxy.requests if "x-amz-acl" in request.headers]
    found = {check.name: check for check in examine(lambda: RegistryFileSystem(**where, objectacl="private"))}
    assert found["PutObject"].verdict is Verdict.FAILED
    assert "objectacl" in found["PutObject"].found
    assert "leave out objectacl" in found["PutObject"].advice


def test_doctor_tries_a_wrong_checksum_as_every_other_put(
    proxied_options: dict[str, Any], proxy: CountingProxy
) -> None:
    """A bucket may refuse what is not encrypted, and it would take that for the checksum's refusal."""
    settings: dict[str, Any] = {"encrypt": True, "storageclass": "REDUCED_REDUNDANCY"}
    examine(lambda: RegistryFileSystem(**proxied_options, **settings, objectacl="bucket-owner-read"))
    (spoilt,) = (
        request for request in proxy.requests if request.method == "PUT" and request.path.endswith("/spoilt")
    )
    assert spoilt.headers["x-amz-server-side-encryption"] == "AES256"
    assert spoilt.headers["x-amz-storage-class"] == "REDUCED_REDUNDANCY"
    assert spoilt.headers["x-amz-acl"] == "bucket-owner-read"
