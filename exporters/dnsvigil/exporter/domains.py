"""The metrics of what is known of domains."""

from collections.abc import Iterator

from prometheus_client.metrics_core import Metric

from dnsvigil.exporter.families import alone, by_label, counter, gauge
from dnsvigil.ingest.domains import DomainsSnapshot
from dnsvigil.ingest.intake import Snapshot
from dnsvigil.store.domains import DROPPED


def families(snapshot: Snapshot) -> Iterator[Metric]:
    """Yield the metrics of the summaries of domains."""
    yield gauge(
        "dnsvigil_domain_summaries",
        "Summaries of a registered domain and hour in the store.",
        [],
        alone(snapshot.of(DomainsSnapshot).rows),
    )
    yield counter(
        "dnsvigil_domain_summaries_dropped",
        "Summaries of a domain and hour that the store has dropped.",
        ["reason"],
        by_label({"age": 0, "rows": 0} | dict(snapshot.rows(DROPPED))),
    )
