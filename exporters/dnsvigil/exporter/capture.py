"""The metrics of capture: what each sensor saw, and lost."""

from collections.abc import Iterator
from typing import Final

from prometheus_client.metrics_core import Metric

from dnsvigil.exporter.families import counter
from dnsvigil.exporter.records import has_package
from dnsvigil.ingest.capture import CAPTURED
from dnsvigil.ingest.intake import Snapshot

_HELP: Final = {
    "packets": ("packets", "Packets that Zeek received."),
    "packets_dropped": ("packets_dropped", "Packets that were dropped before Zeek could read them."),
    "link_packets": ("link_packets", "Packets on the link, if Zeek knows them."),
    "bytes": ("bytes", "Bytes that Zeek received."),
    "dns_queries": ("queries", "DNS queries that Zeek saw."),
    "dns_responses": ("responses", "DNS responses that Zeek saw."),
    "unmatched_queries": ("unmatched_queries", "DNS queries to which Zeek saw no response."),
    "unmatched_responses": ("unmatched_responses", "DNS responses to which Zeek saw no query."),
    "malformed": ("malformed", "Faults that Zeek found in DNS messages."),
}
_STATE: Final = "dropped_"  # before the part of the package


def families(snapshot: Snapshot) -> Iterator[Metric]:
    """Yield the metrics of the sensors of the Zeek package."""
    if not has_package(snapshot):
        return
    counts = {sensor: dict(zip(CAPTURED.values, row, strict=True)) for sensor, *row in snapshot.rows(CAPTURED)}
    for column, (name, text) in _HELP.items():
        # A ratio needs its numerator from the first interval on, so what was never lost shows as 0.
        values = (([sensor], count[column] or 0) for sensor, count in counts.items())
        yield counter(f"dnsvigil_capture_{name}", text, ["sensor"], values)
    yield counter(
        "dnsvigil_capture_state_dropped",
        "Entries that a part of the Zeek package refused or evicted, to stay within its bounds.",
        ["sensor", "part"],
        (
            ([sensor, column.removeprefix(_STATE)], number or 0)
            for sensor, count in counts.items()
            for column, number in count.items()
            if column.startswith(_STATE)
        ),
    )
