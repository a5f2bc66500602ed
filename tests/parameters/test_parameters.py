"""The registry's storage parameters: every rule, every way in, and secrets that never come out."""

from __future__ import annotations

import pickle
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from regfs.parameters import values
from regfs.parameters.table import _ELSEWHERE, PARAMETERS, DriverParameters, ParameterError, parameter_table

MIB, GIB = 2**20, 2**30
AWS: dict[str, Any] = {"bucket": "b", "region": "eu-west-1"}
OTHER: dict[str, Any] = {"bucket": "b", "regionendpoint": "localhost:8333"}
KEYS = {"accesskey": "AKIDEXAMPLE", "secretkey": "wJalrXUtnFEMI"}
SECTION = "storage:\n  s3:\n    bucket: b\n    region: eu-west-1\n"
S3, S3AWS, S3_V2 = "REGISTRY_STORAGE_S3_", "REGISTRY_STORAGE_S3AWS_", "REGISTRY_STORAGE_S3_V2_"


def make(mapping: dict[str, Any], **more: Any) -> DriverParameters:
    return DriverParameters.from_mapping({**mapping, **more})


def refused(mapping: dict[str, Any], **more: Any) -> ParameterError:
    with pytest.raises(ParameterError) as caught:
        make(mapping, **more)
    assert len(str(caught.value).splitlines()) == 1
    return caught.value


@pytest.fixture
def config(tmp_path: Path) -> Any:
    def load(text: str | bytes, environ: dict[str, str] | None = None, **overrides: Any) -> DriverParameters:
        file = tmp_path / "config.yml"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return DriverParameters.from_config(file, environ or {}, overrides)

    return load


class TestTable:
    def test_keys_and_defaults(self) -> None:
        p = make(AWS)
        assert (p.chunk_size, p.max_retries, p.max_requests_per_second) == (10 * MIB, 5, 0)
        assert (p.multipart_copy_chunk_size, p.multipart_copy_threshold_size) == (32 * MIB, 32 * MIB)
        assert (p.multipart_copy_max_concurrency, p.root_directory, p.parallel_walk) == (100, "", False)
        assert (p.secure, p.v4_auth, p.encrypt, p.skip_verify) == (True, True, False, False)
        assert (p.storage_class, p.object_acl, p.log_level) == ("STANDARD", "", "off")
        assert (p.force_path_style, p.checksum_algorithm, p.checksum_disabled) == (None, "", False)
        assert {k for k, row in PARAMETERS.items() if row.secret} == {
            "accesskey",
            "secretkey",
            "sessiontoken",
        }

    def test_markdown(self) -> None:
        head, rule, *rows = parameter_table().strip().splitlines()
        assert {line.count("|") for line in (head, rule, *rows)} == {5}
        assert [row.split("`")[1] for row in rows] == list(PARAMETERS)
        assert "| 10 MiB |" in next(row for row in rows if "`chunksize`" in row)

    def test_import_is_cheap(self) -> None:
        code = "import sys, regfs.parameters; print(sorted({'botocore', 'yaml', 's3fs'} & set(sys.modules)))"
        root = Path(__file__).parents[2]
        run = subprocess.run(
            [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
        )
        assert run.stdout.strip() == "[]"


class TestSizes:
    @pytest.mark.parametrize(
        ("value", "size"),
        [
            (10485760, 10 * MIB),
            ("10485760", 10 * MIB),
            (1.048576e7, 10 * MIB),
            ("1.048576e7", 10 * MIB),
            ("1.34217728e+08", 128 * MIB),  # FACTS, fault 8: Helm's spelling
            (1.34217728e08, 128 * MIB),
            ("10MiB", 10 * MIB),
            ("10 mib", 10 * MIB),
            ("10MB", 10_000_000),
            ("1 gb", 10**9),
            ("6144KiB", 6 * MIB),
            ("6291456B", 6 * MIB),
            ("7.5MiB", 7864320),
            ("5MiB", 5 * MIB),
            ("5 GiB", 5 * GIB),
            ("0.004TiB", None),
            # As Go's strconv.ParseInt with base 0, and go-yaml before it.
            ("0x500000", 5 * MIB),
            ("0o24000000", 5 * MIB),
            ("024000000", 5 * MIB),
            ("0b10100000000000000000000", 5 * MIB),
            ("10_485_760", 10 * MIB),
            ("+10485760", 10 * MIB),
            ("1e7", 10_000_000),
            ("08000000", 8_000_000),
        ],
    )
    def test_accepted(self, value: Any, size: int | None) -> None:
        if size is None:
            refused(AWS, chunksize=value)
        else:
            assert make(AWS, chunksize=value).chunk_size == size

    @pytest.mark.parametrize(
        "value",
        [
            "52428800abc",
            "",
            " ",
            "-5MiB",
            -1,
            0,
            True,
            "nan",
            "inf",
            float("nan"),
            float("inf"),
            5242880.5,
            "1e999999999",
            pytest.param("9" * 5000, id="many digits"),
            pytest.param(10**5000, id="huge"),
            "٥242880",
            "10\n",
            "0x",
            "-0x500000",
            "0x500000MiB",
            "0o98",
            "10__",
            "_",
            "10M",
            "10K",
            "6PiB",
            5 * MIB - 1,
            5 * GIB + 1,
            "4.99MiB",
            [1],
            {},
            object(),
            b"10MiB",
        ],
    )
    def test_refused(self, value: Any) -> None:
        error = refused(AWS, chunksize=value)
        assert error.key == "chunksize"
        assert str(error).startswith("chunksize: ")
        assert len(str(error)) < 250

    @given(st.integers(5 * MIB, 5 * GIB), st.sampled_from(["{}", "{}B", "{} b", "{}e0", "{}.0", "+{}"]))
    def test_exact(self, size: int, form: str) -> None:
        assert make(AWS, chunksize=form.format(size)).chunk_size == size
        assert make(AWS, chunksize=float(size)).chunk_size == size

    @given(st.integers(0, 5 * GIB))
    def test_shown_sizes_are_read_back(self, size: int) -> None:
        assert values.size(values.show(size, values.size)) == size

    @given(st.text() | st.floats() | st.integers() | st.binary() | st.lists(st.integers()))
    def test_junk(self, value: Any) -> None:
        for key in ("chunksize", "multipartcopythresholdsize", "multipartcopymaxconcurrency", "maxretries"):
            with suppress(ParameterError):
                assert isinstance(make(AWS, **{key: value}).to_mapping().get(key, 0), int)

    @pytest.mark.parametrize(
        ("key", "low", "high"),
        [
            ("chunksize", 5 * MIB, 5 * GIB),
            ("multipartcopychunksize", 5 * MIB, 5 * GIB),
            ("multipartcopythresholdsize", 0, 5 * GIB),
            ("multipartcopymaxconcurrency", 1, None),
            ("maxretries", 0, None),
            ("maxrequestspersecond", 0, None),
        ],
    )
    def test_bounds(self, key: str, low: int, high: int | None) -> None:
        assert make(AWS, **{key: low})
        refused(AWS, **{key: low - 1})
        if high is not None:
            assert make(AWS, **{key: high})
            refused(AWS, **{key: high + 1})

    def test_a_count_has_no_unit(self) -> None:
        assert make(AWS, maxretries="1e2").max_retries == 100
        refused(AWS, maxretries="5 MiB")

    @pytest.mark.parametrize(
        ("value", "told"),
        [
            (1048576, ["1048576", "5 MiB"]),
            (1048576, ["5242880 bytes"]),
            ("10M", ["10MiB", "10MB"]),
        ],
    )
    def test_the_message_tells_the_rule(self, value: Any, told: list[str]) -> None:
        message = str(refused(AWS, chunksize=value)).replace(" MiB", "MiB").replace(" MB", "MB")
        assert all(word.replace(" MiB", "MiB") in message for word in told)


class TestBooleans:
    @pytest.mark.parametrize(
        "value", [True, 1, "1", "t", "T", "TRUE", "true", "True", "y", "yes", "Yes", "ON"]
    )
    def test_true(self, value: Any) -> None:
        assert make(AWS, encrypt=value).encrypt is True

    @pytest.mark.parametrize(
        "value", [False, 0, "0", "f", "F", "FALSE", "false", "False", "n", "N", "no", "NO", "off", "Off"]
    )
    def test_false(self, value: Any) -> None:
        assert make(AWS, secure=value).secure is False

    @given(st.text() | st.floats() | st.integers().filter(lambda n: n not in (0, 1)) | st.binary())
    def test_the_rest(self, value: Any) -> None:
        words = (
            "1 t T TRUE true True y Y yes Yes YES on On ON 0 f F FALSE false False n N no No NO off Off OFF"
        )
        if value not in words.split():
            assert "TRUE" in str(refused(AWS, encrypt=value))

    def test_a_huge_number(self) -> None:
        assert "TRUE" in str(refused(AWS, encrypt=10**5000))


class TestText:
    @pytest.mark.parametrize(
        "key",
        [
            "accesskey",
            "secretkey",
            "sessiontoken",
            "bucket",
            "region",
            "regionendpoint",
            "redirectendpoint",
            "keyid",
            "rootdirectory",
            "useragent",
        ],
    )
    @pytest.mark.parametrize(
        "value", ["a\0", "a\r\nX: y", "a\n", "\x7f", "\ud800", True, ["a"], b"a", {"a": 1}]
    )
    def test_refused(self, key: str, value: Any) -> None:
        assert refused({**AWS, **KEYS, "encrypt": True}, **{key: value}).key == key

    def test_numbers_of_yaml(self) -> None:
        assert make(AWS, bucket=123456).bucket == "123456"
        assert make(AWS, rootdirectory=1.5).root_directory == "1.5"

    def test_a_number_that_helm_rendered(self) -> None:
        assert make(AWS, bucket=1.2345678e07).bucket == "12345678"

    def test_not_a_number(self) -> None:
        refused(AWS, rootdirectory=float("nan"))

    @pytest.mark.parametrize("key", ["useragent", "keyid", "accesskey"])
    def test_headers_are_ascii(self, key: str) -> None:
        assert refused({**AWS, **KEYS, "encrypt": True}, **{key: "é"}).key == key

    @pytest.mark.parametrize("value", ["/", "/x/", "x/y", "a..b/...", "é", "a b"])
    def test_root_directory(self, value: str) -> None:
        assert make(AWS, rootdirectory=value).root_directory == value

    @pytest.mark.parametrize("value", [".", "..", "a/../b", "./a", "a/.", "/../"])
    def test_root_directory_that_could_be_left(self, value: str) -> None:
        assert refused(AWS, rootdirectory=value).key == "rootdirectory"

    @pytest.mark.parametrize(
        ("key", "value", "stored"),
        [
            ("storageclass", "standard_ia", "STANDARD_IA"),
            ("storageclass", "none", "NONE"),
            ("storageclass", "Express_OneZone", "EXPRESS_ONEZONE"),
            ("objectacl", "bucket-owner-full-control", "bucket-owner-full-control"),
            ("checksum_algorithm", "crc64nvme", "CRC64NVME"),
            ("checksum_algorithm", "MD5", "MD5"),
            ("checksum_algorithm", "", ""),
            ("loglevel", "debugwithsigning", "debugwithsigning"),
            ("loglevel", False, "off"),
            ("loglevel", "Debug", "debug"),
            # YAML of the registry makes false of each of these.
            ("loglevel", "false", "off"),
            ("loglevel", "No", "off"),
            # GitLab's, of its two drivers
            ("loglevel", "logoff", "off"),
            ("loglevel", "logdebug", "logdebug"),
            ("loglevel", "LogDebugWithHTTPBody", "logdebugwithhttpbody"),
            ("loglevel", "logsigning,logretries", "logsigning,logretries"),
            ("loglevel", "logrequest, logresponse", "logrequest,logresponse"),
            ("loglevel", "logsigning,logoff,logretries", "off"),
        ],
    )
    def test_choices(self, key: str, value: Any, stored: str) -> None:
        assert make(AWS, **{key: value}) == make(AWS, **{key: stored})
        assert make(AWS, **{key: stored}).to_mapping().get(key, stored) == stored

    @pytest.mark.parametrize("key", ["storageclass", "objectacl", "checksum_algorithm", "loglevel"])
    @pytest.mark.parametrize("value", ["nope", 1, True, "public", " ", ","])
    def test_no_choice(self, key: str, value: Any) -> None:
        assert refused(AWS, **{key: value}).key == key


class TestBucket:
    ARNS = (
        "arn:aws:s3:us-west-2:123456789012:accesspoint/my-point",
        "arn:aws-cn:s3:cn-north-1:123456789012:accesspoint:my.point",
        "arn:aws:s3-object-lambda:us-west-2:123456789012:accesspoint/x",
        "arn:aws:s3-outposts:us-west-2:123456789012:outpost/op-1/accesspoint/x",
    )

    @pytest.mark.parametrize("name", ["b", "a.b-c_D", "x" * 255, *ARNS])
    def test_accepted(self, name: str) -> None:
        assert make(AWS, bucket=name).bucket == name

    @pytest.mark.parametrize(
        "name", ["..", ".", "a b", "a/b", "x" * 256, "b\n", "é", "arn:aws:s3:::b", "s3://b"]
    )
    def test_refused(self, name: str) -> None:
        assert refused(AWS, bucket=name).key == "bucket"

    @given(st.text(alphabet="aZ0.-_ /:é", max_size=300).filter(lambda s: s not in ("", ".", "..")))
    def test_as_botocore(self, name: str) -> None:
        from botocore.handlers import VALID_BUCKET, VALID_S3_ARN

        if VALID_BUCKET.search(name) or VALID_S3_ARN.search(name):
            assert make(AWS, bucket=name).bucket == name
        else:
            refused(AWS, bucket=name)

    @pytest.mark.parametrize("given", [{}, {"bucket": ""}, {"bucket": None}])
    def test_required(self, given: dict[str, Any]) -> None:
        assert refused({"region": "eu-west-1", **given}).key == "bucket"

    def test_an_arn_that_botocore_refuses(self) -> None:
        refused(AWS, bucket="arn:aws:s3:us-west-2:123456789012:nonsense")


class TestCredentials:
    def test_pairs(self) -> None:
        assert not make(AWS).access_key
        assert make(AWS, **KEYS, sessiontoken="t").session_token == "t"

    @pytest.mark.parametrize(
        ("given", "key"),
        [
            ({"accesskey": "AKIDEXAMPLE"}, "secretkey"),
            ({"secretkey": "wJalrXUtnFEMI"}, "accesskey"),
            ({"accesskey": "AKIDEXAMPLE", "secretkey": ""}, "secretkey"),
            ({"sessiontoken": "tokentoken"}, "sessiontoken"),
        ],
    )
    def test_one_without_the_other(self, given: dict[str, str], key: str) -> None:
        error = refused(AWS, **given)
        assert error.key == key
        assert not any(value and value in str(error) for value in given.values())


class TestRegion:
    def test_every_region_of_botocore(self) -> None:
        from botocore.session import Session

        session = Session()
        names = [
            name
            for partition in session.get_available_partitions()
            for name in session.get_available_regions("s3", partition)
        ]
        assert len(names) > 30
        for name in names:
            assert make({"bucket": "b"}, region=name).region == name

    def test_a_region_younger_than_botocore(self) -> None:
        assert make(AWS, region="eu-west-9")

    @pytest.mark.parametrize("region", ["", None, "nowhere", "US-EAST-1", "eu-west", "my region"])
    def test_unknown(self, region: Any) -> None:
        assert refused({"bucket": "b"}, region=region).key == "region"

    def test_the_nearest_is_named(self) -> None:
        assert "eu-central-1" in str(refused({"bucket": "b"}, region="eu_central_1"))

    def test_letters_that_no_region_has(self) -> None:
        refused({"bucket": "b"}, region="us-ü-1")

    def test_of_another_service(self) -> None:
        assert make(OTHER).region == ""
        assert make(OTHER, region="garage").region == "garage"

    @pytest.mark.parametrize("region", ["test_region", "-a", "a-", "12", "a.b", "x" * 64, "~", "a:b"])
    def test_of_another_service_by_any_name(self, region: str) -> None:
        """botocore would refuse it; tests/regression sends requests with one."""
        assert make(OTHER, region=region).region == region
        refused({"bucket": "b"}, region=region)

    @pytest.mark.parametrize("region", ["my region", "ü", "a/b", "a,b"])
    def test_what_no_signature_can_hold(self, region: str) -> None:
        assert refused(OTHER, region=region).key == "region"

    def test_signature_version_2(self) -> None:
        """Exactly the regions that botocore's endpoint data lists with "s3" know it."""
        from botocore.loaders import create_loader

        for partition in create_loader().load_data("endpoints")["partitions"]:
            service = partition["services"].get("s3", {})
            usual = service.get("defaults", {}).get("signatureVersions", [])
            for region in partition["regions"]:
                entry = service.get("endpoints", {}).get(region, {})
                known = region in service.get("endpoints", {}) and "s3" in entry.get(
                    "signatureVersions", usual
                )
                for place in ({}, {"regionendpoint": "localhost"}):
                    if known:
                        assert not make({"bucket": "b", **place}, region=region, v4auth="false").v4_auth
                    else:
                        error = refused({"bucket": "b", **place}, region=region, v4auth="false")
                        assert error.key == "v4auth"
                        assert f"the {region} region only works with v4 authentication" in str(error).replace(
                            "The", "the"
                        )

    @pytest.mark.parametrize("region", ["", "garage", "us-east-9"])
    def test_signature_version_2_elsewhere(self, region: str) -> None:
        assert not make(OTHER, region=region, v4auth=False).v4_auth


class TestEndpoints:
    @pytest.mark.parametrize(
        ("value", "secure", "url"),
        [
            ("localhost:8333", False, "http://localhost:8333"),
            ("localhost:8333", True, "https://localhost:8333"),
            ("http://h", True, "http://h"),
            ("https://h:1", False, "https://h:1"),
            ("http://h/", True, "http://h"),
            ("https://h/a/b", True, "https://h/a/b"),
            ("HTTPS://H/a//", False, "https://H/a"),
            ("h.", False, "http://h."),
            ("[::1]:9000", False, "http://[::1]:9000"),
            ("minio_1:9000", False, "http://minio_1:9000"),
            ("http://_minio_server_", True, "http://_minio_server_"),
            ("10.0.0.1", True, "https://10.0.0.1"),
            ("HTTP://h", True, "http://h"),
        ],
    )
    def test_url(self, value: str, secure: bool, url: str) -> None:
        assert make(OTHER, regionendpoint=value, secure=secure).endpoint_url == url

    def test_none_for_aws(self) -> None:
        assert make(AWS).endpoint_url is None

    @pytest.mark.parametrize(
        "value",
        [
            "ftp://h",
            "h h",
            "h?x",
            "h#f",
            "http://",
            "http:/h",
            "h:port",
            "http://[zz]",
            "h/a b",
            "h:0",
            "h:99999",
            "a..b",
            "http://h/../x",
            "h/.",
            "h/%2e%2e/x",
            "http://é",
            "-h",
            "h:",
            "[1:2]",
            "a" * 64,
        ],
    )
    def test_refused(self, value: str) -> None:
        assert refused(OTHER, regionendpoint=value).key == "regionendpoint"

    @pytest.mark.parametrize("key", ["regionendpoint", "redirectendpoint"])
    @pytest.mark.parametrize(
        "value",
        [
            "http://user:hunter2pw@h",
            "user:hunter2pw@h:1/p q",
            "http://user:hunter2pw",
            "http://user:hunter2pw%40h",
            "http://h?X-Amz-Signature=hunter2pw",
        ],
    )
    def test_secrets_in_a_url(self, key: str, value: str) -> None:
        assert "hunter2pw" not in str(refused(OTHER, **{key: value}))

    @pytest.mark.parametrize("value", ["", "http://h", "https://h.example:8443", "https://[::1]"])
    def test_redirect(self, value: str) -> None:
        assert make(AWS, redirectendpoint=value).redirect_endpoint == value

    @pytest.mark.parametrize(
        "value",
        [
            "h",
            "h:1",
            "https://h/",
            "http://a..b",
            "http://h:0",
            "https://h/p",
            "https://h?q",
            "https://h#f",
            "s3://h",
        ],
    )
    def test_redirect_refused(self, value: str) -> None:
        assert refused(AWS, redirectendpoint=value).key == "redirectendpoint"

    @pytest.mark.parametrize(
        ("place", "forced", "style"),
        [
            (AWS, None, False),
            (AWS, True, True),
            (OTHER, None, True),
            (OTHER, "false", False),
            (OTHER, True, True),
            ({"bucket": "b", "regionendpoint": "http://127.0.0.1:9000"}, False, True),
            ({"bucket": "b", "regionendpoint": "[::1]:9000"}, False, True),
        ],
    )
    def test_path_style(self, place: dict[str, Any], forced: Any, style: bool) -> None:
        assert make(place, forcepathstyle=forced).path_style is style


class TestContradictions:
    @pytest.mark.parametrize(
        ("place", "given", "key"),
        [
            (OTHER, {"accelerate": True}, "accelerate"),
            (AWS, {"accelerate": True, "forcepathstyle": True}, "accelerate"),
            (AWS, {"accelerate": True, "usefipsendpoint": True}, "accelerate"),
            (AWS, {"accelerate": True, "bucket": "with.dots"}, "accelerate"),
            ({"bucket": "b", "region": "cn-north-1"}, {"accelerate": True}, "accelerate"),
            ({"bucket": "b", "region": "cn-north-1"}, {"usefipsendpoint": True}, "usefipsendpoint"),
            (OTHER, {"usefipsendpoint": 1}, "usefipsendpoint"),
            (AWS, {"objectownership": True, "objectacl": "public-read"}, "objectownership"),
            (AWS, {**KEYS, "credentialsconfigpath": "/f"}, "credentialsconfigpath"),
        ],
    )
    def test_refused(self, place: dict[str, Any], given: dict[str, Any], key: str) -> None:
        assert refused(place, **given).key == key

    def test_accepted(self) -> None:
        assert make(AWS, keyid="k", encrypt=True).key_id == "k"
        # The registry ignores these.
        assert make(AWS, keyid="k").key_id == "k"
        assert not make(AWS, keyid="k", encrypt="false").encrypt
        assert not make(OTHER, usedualstack="t").use_dual_stack
        assert make(AWS, accelerate=True, usedualstack=True).accelerate
        assert make(AWS, usefipsendpoint=True).use_fips_endpoint


class TestKeys:
    @pytest.mark.parametrize(
        ("key", "near"),
        [
            ("chunk_size", "chunksize"),
            ("buket", "bucket"),
            ("BUCKET", "bucket"),
            ("secretkye", "secretkey"),
            ("root-directory", "rootdirectory"),
            ("checksumalgorithm", "checksum_algorithm"),
        ],
    )
    def test_the_nearest_is_named(self, key: str, near: str) -> None:
        error = refused(AWS, **{key: "hunter2pw"})
        assert repr(key) in str(error)
        assert near in str(error)
        assert "hunter2pw" not in str(error)

    def test_nothing_near(self) -> None:
        assert "did you mean" not in str(refused(AWS, zzzzzz=1))

    @pytest.mark.parametrize(
        ("key", "meant"),
        [
            ("key", "accesskey"),
            ("secret", "secretkey"),
            ("token", "sessiontoken"),
            ("endpoint_url", "regionendpoint"),
            ("use_ssl", "secure"),
            ("default_block_size", "chunksize"),
            ("aws_access_key_id", "accesskey"),
            ("AWS_SECRET_ACCESS_KEY", "secretkey"),
            ("aws_session_token", "sessiontoken"),
            ("region_name", "region"),
            ("endpoint_override", "regionendpoint"),
        ],
    )
    def test_what_other_libraries_call_it(self, config: Any, key: str, meant: str) -> None:
        error = refused(AWS, **{key: "topsecret"})
        assert str(error) == f"{key!r}: unknown parameter; did you mean {meant!r}?"
        variable = S3 + key.upper()
        with pytest.raises(ParameterError) as caught:
            config(SECTION, {variable: "topsecret"})
        assert str(caught.value) == f"{variable}: unknown parameter; did you mean {S3 + meant.upper()}?"

    @pytest.mark.parametrize(
        ("key", "told"),
        [
            ("client_kwargs", ("regionendpoint", "region", "skipverify")),
            ("config_kwargs", ("forcepathstyle", "maxretries")),
            ("s3_additional_kwargs", ("encrypt", "keyid", "storageclass", "objectacl")),
            ("anon", ("RegistryFileSystem(anon=True",)),
            ("profile", ("AWS_PROFILE", "credentialsconfigpath")),
            ("verify", ("skipverify",)),
        ],
    )
    def test_what_is_several_parameters_or_none(self, key: str, told: tuple[str, ...]) -> None:
        text = str(refused(AWS, **{key: {"aws_secret": "topsecret"}}))
        assert text.startswith(f"{key!r}: unknown parameter; ")
        assert [word for word in told if word not in text] == []
        assert "topsecret" not in text

    def test_no_name_of_another_library_is_a_parameter(self) -> None:
        assert not set(_ELSEWHERE) & {name.replace("_", "") for name in PARAMETERS}
        named = {meant for meant in _ELSEWHERE.values() if " " not in meant}
        assert named <= set(PARAMETERS)

    @pytest.mark.parametrize("key", ["secretkey:hunter2pw", "secretkey=hunter2pw"])
    def test_a_value_within_the_key(self, key: str) -> None:
        """YAML reads `{secretkey:abc}` as a key without a value."""
        error = refused(AWS, **{key: None})
        assert "hunter2pw" not in f"{error} {error.key}"

    @pytest.mark.parametrize("key", [1, None, (1, 2), "a\nb", ""])
    def test_odd_keys(self, key: Any) -> None:
        refused({**AWS, key: 1})

    def test_a_long_key(self) -> None:
        assert len(str(refused(AWS, **{"x" * 5000: 1}))) < 250

    def test_none_is_not_given(self) -> None:
        assert make(AWS, **dict.fromkeys(PARAMETERS.keys() - AWS.keys())) == make(AWS)

    @given(
        st.dictionaries(
            st.sampled_from(list(PARAMETERS)) | st.text(),
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats()
            | st.text()
            | st.binary()
            | st.lists(st.text()),
        )
    )
    @settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
    def test_only_parameter_errors_come_out(self, mapping: dict[str, Any]) -> None:
        with suppress(ParameterError):
            DriverParameters.from_mapping(mapping)


class _Loud:
    def __repr__(self) -> str:
        return "hunter2pw\nhunter2pw"


class _Text(str):
    """Text whose every method but str's own fails."""

    def __repr__(self) -> str:
        raise RuntimeError("hunter2pw")

    __str__ = __repr__


class _Broken:
    """An object that fails wherever it is asked."""

    def __repr__(self) -> str:
        raise RuntimeError("hunter2pw")

    @property  # type: ignore[misc]  # over a class attribute
    def __class__(self) -> Any:
        raise RuntimeError("hunter2pw")


class TestErrors:
    def test_long_values_are_cut(self) -> None:
        assert len(str(refused(AWS, objectacl="x" * 5000))) < 300

    def test_pickle(self) -> None:
        error = refused(AWS, chunksize=1)
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), again.key) == (ParameterError, str(error), error.key)

    @pytest.mark.parametrize(
        "value",
        [_Loud(), {"password": "hunter2pw"}],
    )
    def test_only_scalars_are_shown(self, value: Any) -> None:
        assert "hunter2pw" not in str(refused(AWS, chunksize=value))

    def test_the_value_is_kept(self) -> None:
        assert refused(AWS, chunksize=1).value == 1
        assert refused(AWS, **KEYS, region="nowhere").value == "nowhere"

    @pytest.mark.parametrize(
        ("key", "value"),
        [("secretkey", True), ("regionendpoint", "http://a:hunter2pw@h"), ("bucket", ["x"]), ("nope", "x")],
    )
    def test_the_value_is_not_kept(self, key: str, value: Any) -> None:
        assert refused(AWS, **{key: value}).value is None

    def test_odd_objects(self) -> None:
        assert make(AWS, chunksize=_Text("16MiB")).chunk_size == 16 * MIB
        assert type(make(AWS, bucket=_Text("c")).bucket) is str
        assert "'x'" in str(refused(AWS, chunksize=_Text("x")))
        assert "_Broken" in str(refused(AWS, chunksize=_Broken()))
        assert "tuple" in str(refused(AWS, forcepathstyle=()))

    @pytest.mark.parametrize("key", ["chunksize", "maxretries", "encrypt", "bucket", "loglevel"])
    @pytest.mark.parametrize("value", [10**5000, -(10**5000)], ids=["above", "below"])
    def test_numbers_that_python_does_not_write(self, key: str, value: int) -> None:
        message = str(refused(AWS, **{key: value}))
        assert "bits" in message
        assert "digits" not in message


# The file's values: "!" begins a tag, whose constructors fail in their own ways (TestConfig.test_refused).
_PLAIN = st.characters(exclude_characters="!", exclude_categories=["Cs"])
# Letters that no message, key or default has: what is found in a text came from the secret.
secrets = st.text(alphabet="ÄÖÜßλж", min_size=8, max_size=200)


class TestSecrets:
    @given(secrets, secrets, secrets)
    @settings(deadline=None)
    def test_not_in_repr(self, access: str, secret: str, token: str) -> None:
        try:
            p = make(AWS, accesskey=access, secretkey=secret, sessiontoken=token)
        except ParameterError as error:  # an access key may be held to ASCII
            texts = [str(error), repr(error)]
        else:
            texts = [repr(p), str(p), f"{p}"]
            assert "***" in repr(p)
        assert not any(s in text for s in (access, secret, token) for text in texts)

    @given(
        secrets,
        st.sampled_from(["accesskey", "secretkey", "sessiontoken"]),
        st.sampled_from(["", "\n", "\0", "\ud800"]),
        st.fixed_dictionaries(
            {},
            optional={
                "chunksize": st.just("x"),
                "v4auth": st.just(False),
                "region": st.just("nowhere"),
                "keyid": st.just("k"),
                "nonsense": st.just(1),
                "accelerate": st.just("x"),
            },
        ),
        st.booleans(),
    )
    @settings(deadline=None)
    def test_not_in_errors(
        self, secret: str, key: str, tail: str, wrong: dict[str, Any], nested: bool
    ) -> None:
        value: Any = [secret + tail] if nested else secret + tail
        error = refused({**AWS, **wrong}, **{key: value})
        assert secret not in str(error)
        assert secret not in repr(error)
        assert secret not in repr(error.__cause__)

    @given(secrets)
    @settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_not_from_a_damaged_file(self, config: Any, secret: str) -> None:
        for text in (f"storage: {{s3: {{secretkey: {secret}\n]", f"{SECTION}    secretkey: !!int {secret}\n"):
            with pytest.raises(ParameterError) as caught:
                config(text)
            assert secret not in str(caught.value)


class TestValueClass:
    @pytest.mark.parametrize(
        "given",
        [
            AWS,
            OTHER,
            {
                **AWS,
                **KEYS,
                "encrypt": True,
                "keyid": "k",
                "chunksize": "6MiB",
                "forcepathstyle": False,
                "storageclass": "none",
            },
        ],
    )
    def test_round_trips(self, given: dict[str, Any]) -> None:
        p = make(given)
        assert make(p.to_mapping()) == p
        assert pickle.loads(pickle.dumps(p)) == p
        assert hash(make(p.to_mapping())) == hash(p)
        assert p != make(given, maxretries=6)

    def test_to_mapping_leaves_out_defaults(self) -> None:
        assert make(AWS, chunksize="10MiB", secure="true", encrypt="t").to_mapping() == {
            **AWS,
            "encrypt": True,
        }

    def test_direct_construction_runs_the_checks(self) -> None:
        p = DriverParameters(bucket="b", region="eu-west-1", chunk_size="16MiB")  # type: ignore[arg-type]  # text is converted
        assert p.chunk_size == 16 * MIB
        with pytest.raises(ParameterError, match="chunksize"):
            DriverParameters(bucket="b", region="eu-west-1", chunk_size=1)

    def test_frozen(self) -> None:
        with pytest.raises(AttributeError):
            make(AWS).bucket = "c"  # type: ignore[misc]  # it is frozen: that is tested


class TestConfig:
    def test_section(self, config: Any) -> None:
        assert config(SECTION + "    chunksize: 1.34217728e+08\n") == make(AWS, chunksize=128 * MIB)
        assert config("storage: {s3aws: {bucket: b, region: eu-west-1}, delete: {enabled: true}}") == make(
            AWS
        )

    @pytest.mark.parametrize("value", ["~", "", "off"])
    def test_values_that_yaml_changes(self, config: Any, value: str) -> None:
        assert config(f"{SECTION}    loglevel: {value}\n") == make(AWS)

    def test_precedence(self, config: Any) -> None:
        text = SECTION + "    chunksize: 6MiB\n"
        assert config(text).chunk_size == 6 * MIB
        assert config(text, {S3 + "CHUNKSIZE": "7MiB"}).chunk_size == 7 * MIB
        assert config(text, {S3 + "CHUNKSIZE": "7MiB"}, chunksize="8MiB").chunk_size == 8 * MIB
        with pytest.raises(ParameterError, match=r"^chunksize: '1' "):
            config(text, {S3 + "CHUNKSIZE": "2"}, chunksize="1")

    def test_an_override_of_none_is_not_given(self, config: Any) -> None:
        assert config(SECTION + "    encrypt: true\n", {}, encrypt=None).encrypt
        assert config(SECTION, {S3 + "ENCRYPT": "true"}, encrypt=None).encrypt

    def test_variables(self, config: Any) -> None:
        aws = "storage: {s3aws: {bucket: b, region: eu-west-1}}"
        assert config(aws, {S3AWS + "ENCRYPT": "true", S3 + "KEYID": "k"}).key_id == "k"
        assert config(SECTION, {S3 + "CHECKSUM_ALGORITHM": "sha256"}).checksum_algorithm == "SHA256"
        assert config(SECTION + "    encrypt: true\n", {S3 + "ENCRYPT": ""}) == make(AWS)
        assert config(
            SECTION, {"REGISTRY_STORAGE_DELETE_ENABLED": "true", "REGISTRY_HTTP_SECRET": "x"}
        ) == make(AWS)

    def test_the_type_from_the_environment(self, config: Any) -> None:
        for kind, prefix in (("s3", S3), ("s3aws", S3AWS), ("s3_v2", S3_V2)):
            environ = {"REGISTRY_STORAGE": kind, prefix + "BUCKET": "b", prefix + "REGION": "eu-west-1"}
            assert config("storage: {filesystem: {rootdirectory: /x}}", environ) == make(AWS)
        with pytest.raises(ParameterError, match="filesystem"):
            config(SECTION, {"REGISTRY_STORAGE": "filesystem"})
        with pytest.raises(ParameterError, match="bucket"):  # the file's section is gone, as in the registry
            config(SECTION, {"REGISTRY_STORAGE": "s3"})

    @pytest.mark.parametrize("text", ["", "version: 0.1", "storage: {delete: {enabled: true}}"])
    def test_the_section_from_the_environment(self, config: Any, text: str) -> None:
        for prefix in (S3, S3AWS, S3_V2):
            assert config(text, {prefix + "BUCKET": "b", prefix + "REGION": "eu-west-1"}) == make(AWS)

    def test_the_process_environment(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "config.yml").write_text(SECTION)
        monkeypatch.setenv(S3 + "ROOTDIRECTORY", "/r")
        assert DriverParameters.from_config(str(tmp_path / "config.yml")).root_directory == "/r"

    @pytest.mark.parametrize(
        ("environ", "told"),
        [
            ({S3 + "CHUNKSIZE": "1"}, [S3 + "CHUNKSIZE"]),
            ({S3 + "BUKET": "hunter2pw"}, [S3 + "BUKET", "bucket"]),
            ({S3 + "REGION": "nowhere"}, [S3 + "REGION"]),
            ({S3AWS + "BUCKET": "c"}, [S3AWS + "BUCKET"]),
            ({"REGISTRY_STORAGE_s3_MAXRETRIES": "3"}, [S3 + "MAXRETRIES"]),
            ({S3 + "maxretrie": "3"}, [S3 + "maxretrie", S3 + "MAXRETRIES"]),
            ({S3 + "\u212aEYID": "k"}, [S3]),
            ({S3[:-1]: "hunter2pw"}, [S3[:-1], "text", "mapping"]),
            ({S3[:-1]: "{buket: hunter2pw}"}, [S3[:-1], "bucket"]),
            ({S3[:-1]: "{bucket: [hunter2pw"}, [S3[:-1], "YAML"]),
            ({S3 + "SECRETKEY": "hunter2pw: x"}, [S3 + "SECRETKEY", "single quotes"]),
            ({S3 + "SECRETKEY": "*hunter2pw"}, [S3 + "SECRETKEY", "single quotes"]),
            ({S3 + "SECRETKEY": "@hunter2pw"}, [S3 + "SECRETKEY", "single quotes"]),
            ({S3 + "SECRETKEY": "!!int hunter2pw"}, [S3 + "SECRETKEY", "tag"]),
            ({S3_V2 + "BUCKET": "c"}, [S3_V2 + "BUCKET", S3 + "BUCKET"]),
            ({"REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": "/x"}, ["FILESYSTEM_ROOTDIRECTORY", "unset"]),
        ],
    )
    def test_wrong_variables(self, config: Any, environ: dict[str, str], told: list[str]) -> None:
        with pytest.raises(ParameterError) as caught:
            config(SECTION, environ)
        assert all(word.lower() in str(caught.value).lower() for word in told)
        assert "hunter2pw" not in str(caught.value)

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("storage: {s3: {}, s3aws: {}}", "both"),
            (
                "storage: {s3: {bucket: b}, filesystem: {rootdirectory: /x}}",
                "storage.s3 and storage.filesystem",
            ),
            ("storage: {s3: {}, s3_v2: {}, cache: {}}", "storage.s3 and storage.s3_v2"),
            ("storage: {filesystem: {rootdirectory: /x}}", "storage.filesystem"),
            ("", "storage"),
            ("- a", "storage"),
            ("storage: 1", "storage"),
            ("storage: {s3: [a]}", "storage.s3"),
            ("storage: {s3: {1: 2}}", "1"),
            ("storage: {s3: {buket: b}}", "bucket"),
            ("a: b\nc: [", "line 2"),
            (b"\xff\xfe\x00", "config.yml"),
            ("[" * 5000, "config.yml"),
            ("x: 2024-13-45", "config.yml"),
            ("x: !!int ''", "config.yml"),
            ("x: !!bool hunter2pw", "config.yml"),
            ("x: !!timestamp a", "config.yml"),
            ("storage: {s3: {secretkey: !!bool SECRET}}", "config.yml"),
            ("storage: {secret pass: {}}", "storage.s3"),
            ("storage: s3", "bucket"),
            ('storage: {"a\\nb": {}}', "storage"),
        ],
    )
    def test_refused(self, config: Any, text: str | bytes, told: str) -> None:
        with pytest.raises(ParameterError) as caught:
            config(text)
        assert told in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1

    def test_the_type_as_text(self, config: Any) -> None:
        assert config("storage: s3", {S3 + "BUCKET": "b", S3 + "REGION": "eu-west-1"}) == make(AWS)

    def test_a_stream(self, tmp_path: Path) -> None:
        (tmp_path / "config.yml").write_text(SECTION)
        with (tmp_path / "config.yml").open() as stream:
            assert DriverParameters.from_config(stream, {}) == make(AWS)

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"nope\.yml"):
            DriverParameters.from_config(tmp_path / "nope.yml")

    @given(st.text(alphabet=_PLAIN) | st.binary().filter(lambda b: b"!" not in b))
    @settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_any_text(self, config: Any, text: str | bytes) -> None:
        with pytest.raises(ParameterError):
            config(text)
