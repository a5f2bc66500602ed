"""A summary as Prometheus' text format, for node exporter's textfile collector.

The names are those of :data:`regfs.catalog.summary.FIGURES` behind ``regfs_``. A figure that cannot be known
has no sample, so that ``absent()`` finds it. Each file has the time of its scan, so that an old one shows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from regfs.catalog.summary import FIGURES

if TYPE_CHECKING:
    from regfs.catalog.summary import Summary

_ENDINGS = {"count": "", "bytes": "", "seconds": "_seconds"}
_PLACE = ("bucket", "root")
_REPOSITORY = {
    "tags": "tags that name a manifest",
    "manifests": "revisions",
    "logical_bytes": "what the manifests would take if nothing were shared",
    "stored_bytes": "blobs that the repository needs, each once",
    "unique_bytes": "of these, what no other repository needs",
    "shared_bytes": "of these, what another repository needs too",
    "freed_bytes": "what deleting the repository and collecting garbage would free",
}


def exposition(summary: Summary, bucket: str, root: str, *, per_repository: bool = False) -> str:
    """Return the figures of a summary in Prometheus' text format.

    Parameters
    ----------
    summary : Summary
        The figures.
    bucket, root : str
        The labels of each sample: the bucket and the root directory in it.
    per_repository : bool
        Add a series for each repository and kind of bytes: as many series as there are repositories.

    Returns
    -------
    str
        Gauges with HELP and TYPE; labels' values are escaped.
    """
    registry = CollectorRegistry()

    def add(name: str, meaning: str, value: float) -> None:
        gauge = Gauge(f"regfs_{name}", meaning, _PLACE, registry=registry)
        gauge.labels(bucket, root).set(value)

    for name, value in summary.figures.items():
        if value is not None:
            add(f"{name}{_ENDINGS[FIGURES[name].unit]}", _sentence(name), value)
    add("orphans_min_age_seconds", "The age from which orphans count.", summary.older_than.total_seconds())
    add("scan_timestamp_seconds", "When the scan began, in Unix time.", summary.taken.timestamp())
    duration = (summary.ended - summary.taken).total_seconds()
    add("scan_duration_seconds", "How long the scan took.", duration)
    for name, meaning in _REPOSITORY.items() if per_repository else ():
        gauge = Gauge(
            f"regfs_repository_{name}",
            f"Per repository: {meaning}.",
            (*_PLACE, "repository"),
            registry=registry,
        )
        for repository in summary.usage.repositories:
            gauge.labels(bucket, root, repository.repository).set(getattr(repository, name))
    return generate_latest(registry).decode()


def _sentence(name: str) -> str:
    unit, meaning = FIGURES[name]
    if unit == "seconds":
        return f"{meaning[0].upper()}{meaning[1:]}, in seconds."
    return f"{'Bytes' if unit == 'bytes' else 'Number'} of {meaning}."
