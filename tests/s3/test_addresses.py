"""Requests of both lanes and presigned URLs name one host: the one that botocore sends requests to.

Nothing is sent: a request of botocore is caught before that. What arrives at a server is the business of
``regression/test_bucket_in_the_host.py`` and ``test_parameters_on_the_wire.py``.
"""

from __future__ import annotations

import functools
import itertools
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError
from click.testing import CliRunner
from fsspec.asyn import sync

from regfs import RegistryFileSystem, StorageDriver
from regfs.cli.group import cli
from regfs.parameters import DriverParameters, ParameterError, regions, values

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEYS: dict[str, Any] = {"accesskey": "A", "secretkey": "B"}
KINDS = ("accelerate", "usedualstack", "usefipsendpoint")
REGIONS = regions._names()
FEW = [
    "us-east-1",
    "af-south-1",
    "cn-north-1",
    "us-gov-west-1",
    "us-iso-east-1",
    "eusc-de-east-1",
    "aws-global",
]


class Address(NamedTuple):
    """Where a request goes, and the region in its signature; "" where that names none."""

    url: str
    region: str


class CaughtError(Exception):
    """A request was about to be sent there."""

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        self.address = address


def _scope(headers: Any) -> str:
    carried = headers["Authorization"]
    text = carried.decode() if isinstance(carried, bytes) else carried
    return text.partition("Credential=")[2].partition(",")[0].split("/")[2] if "Credential=" in text else ""


def catch(request: Any, **_: Any) -> None:
    raise CaughtError(Address(request.url, _scope(request.headers)))


@functools.cache
def _session() -> Any:
    return botocore.session.Session({"profile": (None, None, None, None)})


def of_botocore(options: dict[str, Any]) -> Address:
    """Return where botocore by itself sends a request, told what the parameters tell."""
    config: dict[str, Any] = {"signature_version": "s3" if options.get("v4auth") is False else "s3v4"}
    if "forcepathstyle" in options:
        config["s3"] = {"addressing_style": "path" if options["forcepathstyle"] else "virtual"}
    if options.get("accelerate"):
        config["s3"] = {"use_accelerate_endpoint": True}
    client = _session().create_client(
        "s3",
        region_name=options.get("region"),
        endpoint_url=options.get("regionendpoint"),
        use_ssl=options.get("secure", True),
        aws_access_key_id="A",
        aws_secret_access_key="B",
        config=Config(
            **config,
            use_dualstack_endpoint=options.get("usedualstack"),
            use_fips_endpoint=options.get("usefipsendpoint"),
        ),
    )
    client.meta.events.register("before-send.s3", catch)
    with pytest.raises(CaughtError) as caught:
        client.get_object(Bucket=options["bucket"], Key="d/k")
    client.close()
    return caught.value.address


def of_regfs(options: dict[str, Any]) -> Iterator[tuple[str, Address]]:
    """Return where each part of regfs sends the same request."""
    fs = RegistryFileSystem(**options, **KEYS, skip_instance_cache=True)

    async def canonical() -> Address:
        (await fs.client.transport.session()).meta.events.register("before-send.s3", catch)
        with pytest.raises(CaughtError) as caught:
            await fs.client.transport.request("get_object", Key="d/k")
        return caught.value.address

    yield "botocore's lane", sync(fs.loop, canonical)
    fast = fs.client.transport.fast
    if sync(fs.loop, fast.ready):
        (way,) = fast._ways.values()
        assert way is not None
        yield "fast lane", Address(f"{way.scheme}://{way.host}{way.path}d/k", way.signer._region)
    else:
        assert options.get("v4auth") is False
    driver = StorageDriver(fs)
    for name, url in {
        "sign": fs.sign("/d/k"),
        "url": fs.url("/d/k"),
        "url_for": driver.url_for("/d/k"),
        "redirect_url HEAD": driver.redirect_url("/d/k", "HEAD"),
    }.items():
        query = parse_qs(urlsplit(url).query)
        region = query["X-Amz-Credential"][0].split("/")[2] if "X-Amz-Credential" in query else ""
        yield name, Address(url.partition("?")[0], region)
    sync(fs.loop, fs.close)


def check(**options: Any) -> Address:
    host = urlsplit(options.get("regionendpoint", "")).hostname or ""
    # botocore would put a bucket with dots before an address.
    expected = of_botocore({**options, "forcepathstyle": True} if values.is_address(host) else options)
    for name, address in of_regfs(options):
        assert address == expected, name
    return expected


@pytest.mark.parametrize("region", REGIONS)
def test_every_region(region: str) -> None:
    url, _ = check(bucket="plain", region=region)
    own = "s3.amazonaws.com" if region in ("us-east-1", "aws-global") else f"s3.{region}."
    assert url.startswith(f"https://plain.{own}")


def _possible(options: dict[str, Any]) -> bool:
    try:
        DriverParameters.from_mapping(options)
    except ParameterError:
        return False
    return True


def _combinations() -> Iterator[dict[str, Any]]:
    """Return what the parameters take, of all that can be asked for in some regions."""
    flags = [(False, True)] * 3
    for region, *chosen in itertools.product(FEW, *flags):
        kinds: dict[str, Any] = {kind: True for kind, yes in zip(KINDS, chosen, strict=True) if yes}
        for bucket in ("plain", "with.dots", "With_Under"):
            yield {"bucket": bucket, "region": region, **kinds}
        yield {"bucket": "plain", "region": region, **kinds, "forcepathstyle": True}


COMBINATIONS = [combination for combination in _combinations() if _possible(combination)]


@pytest.mark.parametrize("options", COMBINATIONS, ids=lambda item: "-".join(map(str, item.values())))
def test_every_kind_of_endpoint(options: dict[str, Any]) -> None:
    check(**options)


@pytest.mark.parametrize(
    "more",
    [{"secure": False}, {"v4auth": False}, {"forcepathstyle": False}, {"v4auth": False, "secure": False}],
)
@pytest.mark.parametrize("bucket", ["plain", "with.dots"])
def test_other_parameters(bucket: str, more: dict[str, Any]) -> None:
    for region in ("us-east-1", "eu-west-1"):
        check(bucket=bucket, region=region, **more)


@pytest.mark.parametrize(
    "endpoint",
    ["http://s3.test:9000", "https://s3.test", "http://s3.test/a/b", "http://10.1.2.3:9", "http://[::1]:9"],
)
@pytest.mark.parametrize("style", [{}, {"forcepathstyle": True}, {"forcepathstyle": False}], ids=str)
@pytest.mark.parametrize("bucket", ["plain", "with.dots", "With_Under"])
def test_an_endpoint(endpoint: str, style: dict[str, Any], bucket: str) -> None:
    url, _ = check(bucket=bucket, region="us-east-1", regionendpoint=endpoint, **style)
    if style == {"forcepathstyle": False} and bucket == "plain" and "s3.test" in endpoint:
        assert urlsplit(url).netloc == f"plain.{urlsplit(endpoint).netloc}"
    if "forcepathstyle" not in style:
        assert url == f"{endpoint}/{bucket}/d/k"


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Set a variable that botocore reads."""

    def put(name: str, value: str) -> None:
        monkeypatch.setenv(name, value)
        _session.cache_clear()

    yield put
    _session.cache_clear()


@pytest.mark.parametrize(
    ("name", "value", "style", "expected"),
    [
        ("AWS_S3_US_EAST_1_REGIONAL_ENDPOINT", "regional", {}, "https://plain.s3.us-east-1.amazonaws.com/"),
        ("AWS_USE_DUALSTACK_ENDPOINT", "true", {}, "https://plain.s3.dualstack.us-east-1.amazonaws.com/"),
        ("AWS_ENDPOINT_URL", "http://s3.test", {}, "http://s3.test/plain/"),
        ("AWS_ENDPOINT_URL", "http://s3.test", {"forcepathstyle": False}, "http://plain.s3.test/"),
    ],
)
def test_the_environment(
    environment: Callable[[str, str], None], name: str, value: str, style: dict[str, Any], expected: str
) -> None:
    """What AWS' own settings say of the endpoint holds for all alike."""
    environment(name, value)
    url, _ = check(bucket="plain", region="us-east-1", **style)
    assert url == f"{expected}d/k"


def test_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "A")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "B")
    result = CliRunner().invoke(cli, ["url", "regfs://plain/d/k", "--option", "region=af-south-1"])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("https://plain.s3.af-south-1.amazonaws.com/d/k?X-Amz-Algorithm=")


@pytest.mark.parametrize("bucket", ["plain", "with.dots", "With_Under", "bkt--use1-az4--x-s3"])
@pytest.mark.parametrize("region", [*FEW, "eu-west-1"])
def test_what_botocore_refuses_is_refused_at_once(region: str, bucket: str) -> None:
    """And nothing else is."""
    for chosen in itertools.product((False, True), repeat=3):
        kinds: dict[str, Any] = {kind: True for kind, yes in zip(KINDS, chosen, strict=True) if yes}
        agrees(bucket, region, kinds)


ARNS = {
    "access point": "arn:aws:s3:eu-west-1:123456789012:accesspoint/point",
    "of China": "arn:aws-cn:s3:cn-north-1:123456789012:accesspoint/point",
    "multi-region": "arn:aws:s3::123456789012:accesspoint/mfzwi23gnjvgw.mrap",
    "object lambda": "arn:aws:s3-object-lambda:eu-west-1:123456789012:accesspoint/point",
    "outposts": "arn:aws:s3-outposts:eu-west-1:123456789012:outpost/op-01234567890123456/accesspoint/point",
}


@pytest.mark.parametrize(
    ("name", "region"),
    [(name, region) for name in ARNS for region in ("eu-west-1", "us-east-1") if name != "of China"]
    + [("of China", "cn-north-1")],
)
def test_access_points(name: str, region: str) -> None:
    for chosen in itertools.product((False, True), repeat=3):
        kinds: dict[str, Any] = {kind: True for kind, yes in zip(KINDS, chosen, strict=True) if yes}
        agrees(ARNS[name], region, kinds)


def agrees(bucket: str, region: str, kinds: dict[str, Any]) -> None:
    """See that the parameters refuse what botocore has no endpoint for, and name the one at fault."""
    options = {"bucket": bucket, "region": region, **kinds}
    try:
        resolve(options)
    except BotoCoreError:
        with pytest.raises(ParameterError) as caught:
            DriverParameters.from_mapping(options)
        assert caught.value.key in kinds
        assert str(caught.value).startswith(f"{caught.value.key}: ")
    else:
        DriverParameters.from_mapping(options)


def resolve(options: dict[str, Any]) -> None:
    config: dict[str, Any] = {"s3": {"use_accelerate_endpoint": options.get("accelerate", False)}}
    client = _session().create_client(
        "s3",
        region_name=options["region"],
        aws_access_key_id="A",
        aws_secret_access_key="B",
        config=Config(
            **config,
            use_dualstack_endpoint=options.get("usedualstack"),
            use_fips_endpoint=options.get("usefipsendpoint"),
        ),
    )
    operation = client.meta.service_model.operation_model("GetObject")
    client._resolve_endpoint_ruleset(operation, {"Bucket": options["bucket"], "Key": "k"}, {})
    client.close()


class TestRedirectEndpoint:
    """Presigned URLs name it; requests go where they went without it."""

    def signed(self, **options: Any) -> tuple[str, str]:
        fs = RegistryFileSystem(bucket="plain", redirectendpoint="https://cdn.test", **options, **KEYS)
        requests, _ = sync(fs.loop, fs.client.transport.address)
        return fs.sign("/d/k").partition("?")[0], requests

    @pytest.mark.parametrize(
        "kind", [{}, {"accelerate": True}, {"usedualstack": True}, {"usefipsendpoint": True}], ids=str
    )
    def test_beside_aws(self, kind: dict[str, Any]) -> None:
        expected = of_botocore({"bucket": "plain", "region": "eu-west-1", **kind}).url.removesuffix("d/k")
        assert self.signed(region="eu-west-1", **kind) == ("https://cdn.test/plain/d/k", expected)

    @pytest.mark.parametrize(
        ("style", "expected"),
        [
            ({}, ("https://cdn.test/plain/d/k", "http://s3.test/plain/")),
            ({"forcepathstyle": True}, ("https://cdn.test/plain/d/k", "http://s3.test/plain/")),
            ({"forcepathstyle": False}, ("https://plain.cdn.test/d/k", "http://plain.s3.test/")),
        ],
    )
    def test_beside_an_endpoint(self, style: dict[str, Any], expected: tuple[str, str]) -> None:
        assert self.signed(regionendpoint="http://s3.test", **style) == expected
