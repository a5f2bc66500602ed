"""Warnings about settings that let others listen or answer in the service's place; each is given once."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from regfs.parameters.notices import warn_once

if TYPE_CHECKING:
    from regfs.parameters.table import DriverParameters


class InsecureWarning(UserWarning):
    """The connection to the service is not protected."""


def warn(parameters: DriverParameters) -> None:
    """Warn of ``skipverify`` and of ``secure: false`` towards another machine, once for each endpoint.

    It is logged and shown as an :class:`InsecureWarning`. Where warnings are errors it is logged alone: that
    is no reason to read nothing.
    """
    endpoint = parameters.endpoint_url or ""
    parts = urlsplit(endpoint)
    plain = parts.scheme == "http" if endpoint else not parameters.secure
    if plain and not _is_here(parts.hostname or ""):
        text = "can be read by others on the way; set secure: true"
        warn_once(f"the requests to {parts.netloc or 'AWS'} {text}", InsecureWarning)
    elif not plain and parameters.skip_verify:
        text = "is who answers; set skipverify: false"
        warn_once(f"nobody verifies that {parts.netloc or 'AWS'} {text}", InsecureWarning)


def _is_here(host: str) -> bool:
    """Return whether a host is this machine, by its name alone (RFC 6761) or as a full address."""
    host = host.removesuffix(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
