"""The metrics of cache poisoning."""

from collections.abc import Iterator

from prometheus_client.metrics_core import Metric

from dnsvigil.exporter.families import by_label, counter
from dnsvigil.exporter.records import has_package
from dnsvigil.ingest.intake import Snapshot
from dnsvigil.ingest.poisoning import SIGNAL_COUNTS
from dnsvigil.records import SIGNALS


def families(snapshot: Snapshot) -> Iterator[Metric]:
    """Yield the counter of signs; there is none without the Zeek package."""
    if has_package(snapshot):
        yield counter(
            "dnsvigil_poisoning_signals",
            "Possible signs of cache poisoning.",
            SIGNAL_COUNTS.labels,
            by_label(dict.fromkeys(SIGNALS, 0) | dict(snapshot.rows(SIGNAL_COUNTS))),
        )
