"""What botocore knows of AWS' regions: their names, what S3 offers there, which take signature version 2.

botocore is imported on first use: it costs more than the rest of regfs together.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Mapping
from typing import Any

_HOST_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)", re.ASCII)
_DIRECTORY = ("--x-s3", "--xa-s3")


def is_known(region: str) -> bool:
    """Return whether a region is AWS': listed, or newer than botocore and named like a partition's others."""
    expressions = (partition["regionRegex"].strip("^$") for partition in _data("partitions"))
    return region in _names() or any(re.fullmatch(e, region, re.ASCII) for e in expressions)


def nearest(region: str) -> str:
    """Return the listed region that is spelled most alike, or "" if none is near."""
    near = difflib.get_close_matches(region[:80].lower(), _names(), n=1)
    return near[0] if near else ""


def signature_versions(region: str) -> tuple[str, ...] | None:
    """Return the signature versions of S3 in a region, "s3" being version 2; None if it is not listed."""
    return _signature_versions().get(region)


def objection(
    region: str, bucket: str, *, accelerate: bool, dual_stack: bool, fips: bool
) -> tuple[str, str] | None:
    """Return what AWS has no endpoint for; None where there is one.

    The rules are those of botocore's endpoint ruleset for S3, by which it refuses the first request.

    Parameters
    ----------
    region : str
        A region of AWS.
    bucket : str
        A bucket's name, or an access point's ARN.
    accelerate, dual_stack, fips : bool
        The kinds of endpoint that are asked for.

    Returns
    -------
    (str, str) or None
        The parameter at fault, and its rule.
    """
    partition = _partition(region)
    if accelerate:
        if fips:
            return "accelerate", "cannot be combined with usefipsendpoint"
        if partition == "aws-cn":
            return "accelerate", f"is not available in {region}"
        if not _HOST_LABEL.fullmatch(bucket) or bucket.endswith(_DIRECTORY):
            text = "needs a bucket whose name can begin a host name: no dots, capitals or underscores"
            return "accelerate", f"{text}, no access point and no directory bucket"
    if fips and partition == "aws-cn":
        return "usefipsendpoint", f"is not available in {region}"
    if not bucket.startswith("arn:"):
        return None
    _, _, service, place, *_ = bucket.split(":")
    if dual_stack and (service != "s3" or not place):
        return "usedualstack", "is not available at this kind of access point"
    if fips and (service == "s3-outposts" or not place):
        return "usefipsendpoint", "is not available at this kind of access point"
    return None


def _partition(region: str) -> str:
    """Return the id of a region's partition."""
    for partition in _data("partitions"):
        if region in partition["regions"] or re.fullmatch(partition["regionRegex"], region, re.ASCII):
            return str(partition["id"])
    return "aws"


def _names() -> list[str]:
    return [name for partition in _data("partitions") for name in partition["regions"]]


@functools.cache
def _signature_versions() -> Mapping[str, tuple[str, ...]]:
    versions: dict[str, tuple[str, ...]] = dict.fromkeys(_names(), ())
    for partition in _data("endpoints"):
        service = partition["services"].get("s3", {})
        usual = service.get("defaults", {}).get("signatureVersions", ())
        versions |= dict.fromkeys(partition["regions"], ())
        for region, entry in service.get("endpoints", {}).items():
            versions[region] = tuple(entry.get("signatureVersions", usual))
    return versions


@functools.cache
def _data(name: str) -> list[Mapping[str, Any]]:
    from botocore.loaders import create_loader

    partitions: list[Mapping[str, Any]] = create_loader().load_data(name)["partitions"]
    return partitions
