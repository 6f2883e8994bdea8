"""The metrics of the store itself."""

from collections.abc import Iterator

from prometheus_client.metrics_core import Metric

from dnsvigil.config.collector import Config
from dnsvigil.exporter.families import alone, gauge, unix_time
from dnsvigil.ingest.intake import Snapshot


def families(snapshot: Snapshot, config: Config) -> Iterator[Metric]:
    """Yield the sizes of the store, and how far back it reaches."""
    yield gauge("dnsvigil_store_size_bytes", "Size of the store on disk.", [], alone(snapshot.store_size))
    yield gauge("dnsvigil_store_max_size_bytes", "The maximum size of the store.", [], alone(config.store.max_size))
    oldest = snapshot.oldest_minute
    yield gauge(
        "dnsvigil_store_oldest_minute_timestamp_seconds",
        "The first minute with a summary in the store.",
        [],
        alone(unix_time(oldest)) if oldest else [],
    )
