"""What botocore knows of AWS' regions: their names, and which still take signature version 2.

botocore is imported on first use: it costs more than the rest of regfs together.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Mapping
from typing import Any


def is_known(region: str) -> bool:
    """Tell whether a region is AWS': listed, or younger than botocore and named like a partition's others."""
    expressions = (partition["regionRegex"].strip("^$") for partition in _data("partitions"))
    return region in _names() or any(re.fullmatch(e, region, re.ASCII) for e in expressions)


def nearest(region: str) -> str:
    """Give the listed region that is spelled most alike, or "" if none is near."""
    near = difflib.get_close_matches(region[:80].lower(), _names(), n=1)
    return near[0] if near else ""


def signature_versions(region: str) -> tuple[str, ...] | None:
    """Give the signature versions of S3 in a region, "s3" being version 2; None if it is not listed."""
    return _signature_versions().get(region)


def _names() -> list[str]:
    return [name for partition in _data("partitions") for name in partition["regions"]]


@functools.cache
def _signature_versions() -> Mapping[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = dict.fromkeys(_names(), ())
    for partition in _data("endpoints"):
        service = partition["services"].get("s3", {})
        usual = service.get("defaults", {}).get("signatureVersions", ())
        found |= dict.fromkeys(partition["regions"], ())
        for region, entry in service.get("endpoints", {}).items():
            found[region] = tuple(entry.get("signatureVersions", usual))
    return found


@functools.cache
def _data(name: str) -> list[Mapping[str, Any]]:
    from botocore.loaders import create_loader

    found: list[Mapping[str, Any]] = create_loader().load_data(name)["partitions"]
    return found
