"""A real S3 server, SeaweedFS, on this machine: for tests and to try things."""

from __future__ import annotations

from regfs.local.server import LocalS3

__all__ = ["LocalS3"]
