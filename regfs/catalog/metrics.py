"""A summary in Prometheus' text format, for node exporter's textfile collector.

A metric's name is ``regfs_`` and the figure's name in :data:`regfs.catalog.summary.FIGURES`. An unknown
figure has no sample, so ``absent()`` detects it. The time of the scan is a metric too, so an alert can detect
an outdated file.
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
    "logical_bytes": "bytes of its manifests and their blobs if nothing were shared",
    "stored_bytes": "bytes of the blobs that it needs, each once",
    "unique_bytes": "bytes of the blobs that no other repository needs",
    "shared_bytes": "bytes of the blobs that another repository needs too",
    "freed_bytes": "bytes that deleting it and collecting garbage would free",
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
        Add the figures of each repository, which multiplies the number of series.

    Returns
    -------
    str
        Gauges with HELP and TYPE lines; label values are escaped.
    """
    registry = CollectorRegistry()

    def add(name: str, meaning: str, value: float) -> None:
        gauge = Gauge(f"regfs_{name}", meaning, _PLACE, registry=registry)
        gauge.labels(bucket, root).set(value)

    for name, value in summary.figures.items():
        if value is not None:
            add(f"{name}{_ENDINGS[FIGURES[name].unit]}", _sentence(name), value)
    add("orphans_min_age_seconds", "The minimum age of orphans.", summary.older_than.total_seconds())
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
