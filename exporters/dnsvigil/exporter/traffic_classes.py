"""The metrics of traffic classes."""

from collections.abc import Iterator

from prometheus_client.metrics_core import Metric

from dnsvigil.exporter.families import counter
from dnsvigil.ingest.dns import DnsSnapshot
from dnsvigil.ingest.intake import Snapshot
from dnsvigil.ingest.traffic_classes import TRAFFIC_CLASSES


def families(snapshot: Snapshot) -> Iterator[Metric]:
    """Yield the queries by class."""
    shown = snapshot.of(DnsSnapshot)
    yield counter(
        "dnsvigil_traffic_class_queries",
        "Queries by class: canonical, overloaded (the DNS as a database) or unwanted (can never succeed).",
        TRAFFIC_CLASSES.labels,
        (
            ([server, network, traffic_class], queries)
            for server, network, traffic_class, queries in snapshot.rows(TRAFFIC_CLASSES)
            if shown.shows(server)
        ),
    )
