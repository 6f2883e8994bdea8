"""The metrics of what is set aside."""

from collections.abc import Iterator

from prometheus_client.metrics_core import Metric

from dnsvigil.exporter.families import by_label, counter, gauge
from dnsvigil.ingest.intake import Snapshot
from dnsvigil.store.set_aside import COUNTER, KINDS


def families(snapshot: Snapshot) -> Iterator[Metric]:
    """Yield how much was ever set aside, and how much is now."""
    yield counter(
        "dnsvigil_set_aside",
        "Inputs that failed unexpectedly and were set aside.",
        ["kind"],
        by_label(dict.fromkeys(KINDS, 0) | dict(snapshot.rows(COUNTER))),
    )
    yield gauge("dnsvigil_set_aside_items", "Inputs that are set aside now.", ["kind"], by_label(snapshot.set_aside))
