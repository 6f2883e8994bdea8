"""The metrics of the retro hunt."""

from collections.abc import Iterator

from prometheus_client.metrics_core import Metric

from dnsvigil.exporter.families import alone, by_label, counter, gauge
from dnsvigil.ingest.hunt import HuntSnapshot
from dnsvigil.ingest.intake import Snapshot
from dnsvigil.store.hunted import HUNTED, OUTCOMES


def families(snapshot: Snapshot) -> Iterator[Metric]:
    """Yield the metrics of the hunt for entries of lists; none where there are no lists."""
    if HuntSnapshot not in snapshot.parts:
        return
    found = snapshot.of(HuntSnapshot)
    yield gauge(
        "dnsvigil_hunt_waiting_entries",
        "Entries of lists that are still to be looked up in the history of passive DNS.",
        [],
        alone(found.waiting),
    )
    yield counter(
        "dnsvigil_hunt_entries",
        "Entries of lists that were looked up in the history of passive DNS, by what became of them.",
        ["outcome"],
        by_label(dict.fromkeys(OUTCOMES, 0) | dict(snapshot.rows(HUNTED))),
    )
    yield counter(
        "dnsvigil_hunt_seconds",
        "Time that the hunt has taken since the collector started.",
        [],
        alone(found.seconds),
    )
