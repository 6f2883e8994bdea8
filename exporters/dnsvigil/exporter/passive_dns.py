"""The metrics of passive DNS."""

from collections.abc import Iterator

from prometheus_client.metrics_core import Metric

from dnsvigil.exporter.families import alone, by_label, counter, gauge
from dnsvigil.exporter.records import has_package
from dnsvigil.ingest.intake import Snapshot
from dnsvigil.ingest.passive_dns import PassiveDnsSnapshot
from dnsvigil.store.passive_dns import DROPPED


def families(snapshot: Snapshot) -> Iterator[Metric]:
    """Yield the metrics of the tuples; there are none without the Zeek package."""
    if not has_package(snapshot):
        return
    yield gauge(
        "dnsvigil_passive_dns_tuples",
        "Tuples of name, type, data and sensor in the store.",
        [],
        alone(snapshot.of(PassiveDnsSnapshot).tuples),
    )
    yield counter(
        "dnsvigil_passive_dns_dropped",
        "Tuples that the store has dropped: not seen for too long, or too many.",
        ["reason"],
        by_label({"age": 0, "size": 0} | dict(snapshot.rows(DROPPED))),
    )
