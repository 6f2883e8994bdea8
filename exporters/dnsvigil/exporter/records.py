"""The metrics of records by source: how many were read, and when."""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from prometheus_client.metrics_core import Metric

from dnsvigil.exporter.families import by_label, counter, gauge, unix_time
from dnsvigil.ingest.dns import SOURCE
from dnsvigil.ingest.intake import Snapshot
from dnsvigil.ingest.records import INGESTED, SKIPPED
from dnsvigil.sources.honeypots.logs import HONEYPOT_LOGS
from dnsvigil.sources.netflow.rows import NO_TRAFFIC
from dnsvigil.sources.zeek.log_types import LOG_TYPES
from dnsvigil.sources.zeek.skip_reasons import SKIP_REASONS

_HONEYPOTS: Final = {log.source for log in HONEYPOT_LOGS}
_PACKAGE: Final = [log.source for log in LOG_TYPES if log.source != SOURCE]


def has_package(snapshot: Snapshot) -> bool:
    """Return whether there are logs of the Zeek package.

    Without them its metrics are left out; with them, all count from 0.
    """
    seen = {source for source, *_ in (*snapshot.rows(INGESTED), *snapshot.rows(SKIPPED))}
    return not seen.isdisjoint(_PACKAGE)


def families(snapshot: Snapshot) -> Iterator[Metric]:
    """Yield the metrics of records and sensors."""
    ingested = dict(snapshot.rows(INGESTED))
    sources = [SOURCE, *_PACKAGE] if has_package(snapshot) else [SOURCE]
    sources += sorted(_HONEYPOTS.intersection(ingested))
    # Every reason is there from the start, so that the first record skipped for it is an increase.
    skipped = dict.fromkeys(((source, reason) for source in sources for reason in SKIP_REASONS), 0)
    if "netflow" in ingested:
        skipped["netflow", NO_TRAFFIC] = 0
    skipped |= {(source, reason): records for source, reason, records in snapshot.rows(SKIPPED)}
    read = Counter(ingested)
    for (source, _), records in skipped.items():
        read[source] += records
    yield counter("dnsvigil_records_read", "Records read, ingested and skipped ones.", ["source"], by_label(read))
    yield counter("dnsvigil_records_ingested", "Records ingested into the store.", ["source"], by_label(ingested))
    yield counter(
        "dnsvigil_records_skipped",
        "Records that could not be used, by reason.",
        ["source", "reason"],
        skipped.items(),
    )
    # The package's logs are silent where there is nothing suspicious, and those of honeypots where nobody attacks.
    sensors = [row for row in snapshot.sensors if row[0] not in {*_PACKAGE, *_HONEYPOTS}]
    yield gauge(
        "dnsvigil_last_event_timestamp_seconds",
        "Time of the newest record.",
        ["source", "sensor"],
        (([source, sensor], unix_time(event)) for source, sensor, event, _ in sensors if event),
    )
    yield gauge(
        "dnsvigil_source_last_read_timestamp_seconds",
        "When the collector last read something from the sensor.",
        ["source", "sensor"],
        (([source, sensor], unix_time(read_at)) for source, sensor, _, read_at in sensors),
    )
