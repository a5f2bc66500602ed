"""Where the data lies: one bucket of one server, in words that go from process to process."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from obstore.store import S3Store


@dataclass(frozen=True)
class Place:
    """A bucket and the way to it."""

    endpoint: str
    """``http://HOST:PORT``."""
    access_key: str
    secret_key: str
    bucket: str
    region: str

    def store(self) -> S3Store:
        """Open it with obstore, to prepare a work and to look at what it left, outside all measuring."""
        from obstore.store import S3Store

        return S3Store(
            self.bucket,
            endpoint=self.endpoint,
            access_key_id=self.access_key,
            secret_access_key=self.secret_key,
            region=self.region,
            virtual_hosted_style_request=False,
            client_options={"allow_http": True, "timeout": "20m"},
        )


def shut_out_settings() -> None:
    """Drop from the environment whatever would lead a client elsewhere; before any client is imported."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "REGISTRY_", "FSSPEC_")) or name.lower().endswith("_proxy"):
            del os.environ[name]
    os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
