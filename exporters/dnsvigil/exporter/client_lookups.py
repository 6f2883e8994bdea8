"""The metrics of look-ups about mail and addresses."""

from collections.abc import Iterator

from prometheus_client.metrics_core import Metric

from dnsvigil.exporter.families import by_label, counter
from dnsvigil.ingest.detection import DetectionSnapshot
from dnsvigil.ingest.intake import Snapshot
from dnsvigil.store.client_lookups import DROPPED


def families(snapshot: Snapshot) -> Iterator[Metric]:
    """Yield what was dropped, where a detector is in use."""
    if snapshot.of(DetectionSnapshot).detectors:
        yield counter(
            "dnsvigil_client_lookups_dropped",
            "Look-ups about mail and addresses, and days of clients with few, dropped for lack of room.",
            ["reason"],
            by_label({"rows": 0, "days": 0} | dict(snapshot.rows(DROPPED))),
        )
