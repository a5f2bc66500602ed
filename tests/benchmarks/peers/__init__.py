"""The clients that are compared, by name. A module imports its library when a client is opened."""

from __future__ import annotations

from .base import Peer, Variants
from .boto3 import Boto3
from .obstore import Obstore
from .pyarrow import PyArrow
from .regfs import Regfs, RegfsDriver
from .s3fs import S3fs

__all__ = ["PEERS", "Peer", "Variants"]

PEERS: dict[str, type[Peer]] = {
    peer.name: peer for peer in (Regfs, RegfsDriver, S3fs, Obstore, Boto3, PyArrow)
}
