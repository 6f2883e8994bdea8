"""The metrics of passive DNS."""

from collections.abc import Iterator

from prometheus_client.metrics_core import Metric

from dnsvigil.exporter.families import alone, by_label, counter, gauge
from dnsvigil.ingest.intake import Snapshot
from dnsvigil.ingest.passive_dns import PassiveDnsSnapshot
from dnsvigil.store.passive_dns import DROPPED


def families(snapshot: Snapshot) -> Iterator[Metric]:
    """Yield the metrics of the tuples."""
    found = snapshot.of(PassiveDnsSnapshot)
    yield gauge(
        "dnsvigil_passive_dns_tuples",
        "Tuples of name, type and data, counted once for each file that has them.",
        [],
        alone(found.tuples),
    )
    yield gauge("dnsvigil_passive_dns_files", "Pairs of files with tuples.", [], alone(found.files))
    yield gauge("dnsvigil_passive_dns_size_bytes", "Size of the files with tuples.", [], alone(found.size))
    yield counter(
        "dnsvigil_passive_dns_compaction_failures",
        "Merges of files with tuples that have failed since the collector started.",
        [],
        alone(found.failures),
    )
    yield counter(
        "dnsvigil_passive_dns_dropped",
        "Tuples that are no longer kept: not seen for too long, seen least when there were too many, or in a file that"
        " cannot be read.",
        ["reason"],
        by_label({"age": 0, "size": 0, "unreadable": 0} | dict(snapshot.rows(DROPPED))),
    )
