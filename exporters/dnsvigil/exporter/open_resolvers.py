"""The metrics of open resolvers."""

from collections.abc import Iterator

from prometheus_client.metrics_core import Metric

from dnsvigil.exporter.families import by_label, gauge
from dnsvigil.exporter.records import has_package
from dnsvigil.ingest.intake import Snapshot
from dnsvigil.ingest.open_resolvers import OpenResolversSnapshot
from dnsvigil.records import OPEN_KINDS, OTHER


def families(snapshot: Snapshot) -> Iterator[Metric]:
    """Yield the number of open resolvers; there is none without the Zeek package."""
    if not has_package(snapshot):
        return
    hosts = dict.fromkeys((*OPEN_KINDS, OTHER), 0)
    for kind, number in snapshot.of(OpenResolversSnapshot).hosts.items():
        hosts[kind if kind in OPEN_KINDS else OTHER] += number
    yield gauge(
        "dnsvigil_open_resolvers",
        "Hosts that answered outside clients in the last fifteen minutes of event time.",
        ["kind"],
        by_label(hosts),
    )
