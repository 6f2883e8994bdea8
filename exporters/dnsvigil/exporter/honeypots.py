"""The metrics of honeypots: what was done at them, and the list that follows from it."""

from collections.abc import Iterator

from prometheus_client.metrics_core import Metric

from dnsvigil.exporter.families import by_label, counter, gauge
from dnsvigil.ingest.honeypots import HoneypotsSnapshot
from dnsvigil.ingest.intake import Snapshot
from dnsvigil.store.honeypots import ATTACKS, LEFT_OUT, REASONS, SOURCES


def families(snapshot: Snapshot) -> Iterator[Metric]:
    """Yield the metrics of honeypots; there are none without one."""
    attacks = snapshot.rows(ATTACKS)
    if not attacks:
        return
    yield counter(
        "dnsvigil_honeypot_events",
        "Events at honeypots, by what the attacker did.",
        ["sensor", "kind"],
        (([sensor, kind], events) for sensor, kind, events in attacks),
    )
    yield gauge(
        "dnsvigil_honeypot_entries",
        "Hosts on the list of what attackers of honeypots fetch from, by where they come from.",
        ["source"],
        by_label(dict.fromkeys(SOURCES, 0) | dict(snapshot.of(HoneypotsSnapshot).entries)),
    )
    yield counter(
        "dnsvigil_honeypot_left_out",
        "Hosts that attackers of honeypots named and that are not on the list, by reason.",
        ["reason"],
        by_label(dict.fromkeys(REASONS, 0) | dict(snapshot.rows(LEFT_OUT))),
    )
