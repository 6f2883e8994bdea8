"""The collector's metrics, made from a snapshot of the store. All are listed in docs/metrics.md."""

import platform
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import duckdb
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector as PrometheusCollector

from dnsvigil import __version__
from dnsvigil.config.collector import Config
from dnsvigil.ingest.capture import CAPTURED
from dnsvigil.ingest.dns import (
    DURATIONS,
    LOCAL_NAMES,
    QUERIES,
    RESPONSES,
    SOURCE,
    ZONES,
    DnsSnapshot,
)
from dnsvigil.ingest.intake import Snapshot
from dnsvigil.ingest.local_names import LOCAL_KINDS
from dnsvigil.ingest.open_resolvers import OpenResolversSnapshot
from dnsvigil.ingest.passive_dns import PassiveDnsSnapshot
from dnsvigil.ingest.poisoning import SIGNAL_COUNTS
from dnsvigil.ingest.records import INGESTED, SKIPPED
from dnsvigil.records import LATENCY_BOUNDS, OPEN_KINDS, OTHER, SIGNALS, UNANSWERED, UNKNOWN, failure_reason
from dnsvigil.sources.netflow.rows import NO_TRAFFIC
from dnsvigil.sources.zeek.lines import SKIP_REASONS
from dnsvigil.sources.zeek.log_types import LOG_TYPES
from dnsvigil.store.counters import CounterTable
from dnsvigil.store.passive_dns import DROPPED as TUPLES_DROPPED
from dnsvigil.store.set_aside import COUNTER as SET_ASIDE
from dnsvigil.store.set_aside import KINDS as KINDS_SET_ASIDE

_ZONE_HELP = (
    ("dnsvigil_zone_queries", "Queries for names in the zone."),
    ("dnsvigil_zone_nxdomain", "Queries in the zone that were answered with NXDOMAIN."),
)
_CAPTURE_HELP = {
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
_STATE = "dropped_"  # before the part of the package
_PACKAGE = [log_type.source for log_type in LOG_TYPES if log_type.source != SOURCE]


def build_info() -> GaugeMetricFamily:
    """Return the metric that tells the version that runs."""
    info = GaugeMetricFamily(
        "dnsvigil_build_info",
        "Always 1; its labels describe the build.",
        labels=["version", "python_version", "duckdb_version"],
    )
    info.add_metric([__version__, platform.python_version(), duckdb.__version__], 1)
    return info


class StoreMetrics(PrometheusCollector):
    """The metrics of one snapshot."""

    def __init__(self, snapshot: Snapshot, config: Config) -> None:
        self._snapshot = snapshot
        self._dns = snapshot.of(DnsSnapshot)
        self._config = config

    def collect(self) -> Iterator[Metric]:
        """Yield the metric families."""
        yield build_info()
        # Whoever has Zeek alone sees nothing of the package; with it, everything counts from 0.
        seen = {source for source, *_ in (*self._rows(INGESTED), *self._rows(SKIPPED))}
        package = not seen.isdisjoint(_PACKAGE)
        yield from self._records([SOURCE, *_PACKAGE] if package else [SOURCE])
        yield from self._queries()
        yield self._durations()
        yield from self._zones()
        if package:
            yield from self._passive_dns()
            yield from self._suspicions()
            yield from self._capture()
        yield from self._sensors()
        yield from self._store()
        yield from self._set_aside()

    def _records(self, sources: list[str]) -> Iterator[Metric]:
        ingested = [([source], records) for source, records in self._rows(INGESTED)]
        # Every reason is there from the start, so that the first record skipped for it is an increase.
        reasons = dict.fromkeys(((source, reason) for source in sources for reason in SKIP_REASONS), 0)
        if any(labels == ["netflow"] for labels, _ in ingested):
            reasons["netflow", NO_TRAFFIC] = 0
        reasons |= {(source, reason): records for source, reason, records in self._rows(SKIPPED)}
        skipped = [([source, reason], value) for (source, reason), value in reasons.items()]
        read: dict[str, int] = defaultdict(int)
        for labels, value in (*ingested, *skipped):
            read[labels[0]] += value
        yield counter(
            "dnsvigil_records_read",
            "Records read, ingested and skipped ones.",
            ["source"],
            (([source], value) for source, value in read.items()),
        )
        yield counter("dnsvigil_records_ingested", "Records ingested into the store.", ["source"], ingested)
        yield counter(
            "dnsvigil_records_skipped", "Records that could not be used, by reason.", ["source", "reason"], skipped
        )

    def _queries(self) -> Iterator[Metric]:
        queries = self._of_shown_servers(QUERIES)
        yield counter(
            "dnsvigil_queries",
            "Queries by type.",
            ["server", "qtype"],
            (([server, qtype], value) for server, qtype, value in queries),
        )
        outcomes = list(self._of_shown_servers(RESPONSES))
        yield counter(
            "dnsvigil_responses",
            "Responses by response code.",
            ["server", "rcode"],
            (([server, rcode], value) for server, rcode, value in outcomes if rcode not in (UNANSWERED, UNKNOWN)),
        )
        yield counter(
            "dnsvigil_unanswered",
            "Queries to which no answer was seen.",
            ["server"],
            (([server], value) for server, rcode, value in outcomes if rcode == UNANSWERED),
        )
        unknown = {server: 0 for server, _, _ in outcomes}
        unknown |= {server: value for server, rcode, value in outcomes if rcode == UNKNOWN}
        yield counter(
            "dnsvigil_outcome_unknown",
            "Queries in logs that do not say whether and how they were answered.",
            ["server"],
            (([server], value) for server, value in unknown.items()),
        )

        local = dict.fromkeys(LOCAL_KINDS, 0) | dict(self._rows(LOCAL_NAMES))
        yield counter(
            "dnsvigil_local_name_queries",
            "Queries that no DNS server was asked: multicast DNS, LLMNR, NetBIOS, groups and whole networks.",
            ["kind"],
            (([kind], value) for kind, value in local.items()),
        )

    def _durations(self) -> Metric:
        family = HistogramMetricFamily(
            "dnsvigil_response_duration_seconds",
            "Time from a query to its answer, where the sensor saw both.",
            labels=["server"],
        )
        sums: Counter[str] = Counter()
        counts: dict[str, list[int]] = {}
        for server, bucket, responses, rtt in self._of_shown_servers(DURATIONS):
            counts.setdefault(server, [0] * (len(LATENCY_BOUNDS) + 1))[int(bucket)] = responses
            sums[server] += rtt or 0
        for server, per_bucket in counts.items():
            buckets = []
            total = 0
            for bound, count in zip([*map(str, LATENCY_BOUNDS), "+Inf"], per_bucket, strict=True):
                total += count
                buckets.append((bound, total))
            family.add_metric([server], buckets, sums[server] / 1e6)
        return family

    def _zones(self) -> Iterator[Metric]:
        rows = [row for row in self._rows(ZONES) if self._dns.shows(*row[:2])]
        shown = [(server, zone) for server, zone, *_ in rows]
        for column, (name, text) in enumerate(_ZONE_HELP, start=2):
            yield counter(name, text, ["server", "dns_zone"], (([*row[:2]], row[column] or 0) for row in rows))
        # A ratio needs its numerator from the first query on, so a zone without failures shows none as 0.
        reasons = dict.fromkeys(map(failure_reason, self._config.zones.failures), 0)
        failures = self._snapshot.zone_failures
        yield counter(
            "dnsvigil_zone_failures",
            "Queries in the zone that failed, as the configuration defines it, by reason.",
            ["server", "dns_zone", "reason"],
            (([*key, reason], value) for key in shown for reason, value in (reasons | failures.get(key, {})).items()),
        )
        threshold = GaugeMetricFamily(
            "dnsvigil_zone_failure_ratio_threshold",
            "The ratio of failures to queries above which the zone is failing.",
            labels=["dns_zone"],
        )
        minimum = GaugeMetricFamily(
            "dnsvigil_zone_failure_ratio_min_queries",
            "Queries in five minutes below which the failure ratio is not evaluated.",
            labels=["dns_zone"],
        )
        for label in sorted({*self._dns.zones, OTHER}):
            ratio, queries = self._config.zones.limits(label)
            threshold.add_metric([label], ratio)
            minimum.add_metric([label], queries)
        yield threshold
        yield minimum

    def _passive_dns(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "dnsvigil_passive_dns_tuples",
            "Tuples of name, type, data and sensor in the store.",
            self._snapshot.of(PassiveDnsSnapshot).tuples,
        )
        dropped = {"age": 0, "size": 0} | dict(self._rows(TUPLES_DROPPED))
        yield counter(
            "dnsvigil_passive_dns_dropped",
            "Tuples that the store has dropped: not seen for too long, or too many.",
            ["reason"],
            (([reason], value) for reason, value in dropped.items()),
        )

    def _suspicions(self) -> Iterator[Metric]:
        hosts = GaugeMetricFamily(
            "dnsvigil_open_resolvers",
            "Hosts that answered outside clients in the last fifteen minutes of event time.",
            labels=["kind"],
        )
        found = self._snapshot.of(OpenResolversSnapshot).hosts
        for kind in OPEN_KINDS:
            hosts.add_metric([kind], found.get(kind, 0))
        hosts.add_metric([OTHER], sum(number for kind, number in found.items() if kind not in OPEN_KINDS))
        yield hosts
        signals = dict.fromkeys(SIGNALS, 0) | dict(self._rows(SIGNAL_COUNTS))
        yield counter(
            "dnsvigil_poisoning_signals",
            "Possible signs of cache poisoning.",
            ["signal"],
            (([signal], value) for signal, value in signals.items()),
        )

    def _capture(self) -> Iterator[Metric]:
        counts = {sensor: dict(zip(CAPTURED.values, row, strict=True)) for sensor, *row in self._rows(CAPTURED)}
        for column, (name, text) in _CAPTURE_HELP.items():
            # A ratio needs its numerator from the first interval on, so what was never lost shows as 0.
            found = (([sensor], count[column] or 0) for sensor, count in counts.items())
            yield counter(f"dnsvigil_capture_{name}", text, ["sensor"], found)
        parts = [column for column in CAPTURED.values if column.startswith(_STATE)]
        yield counter(
            "dnsvigil_capture_state_dropped",
            "Entries that a part of the Zeek package refused or evicted, to stay within its bounds.",
            ["sensor", "part"],
            (
                ([sensor, column.removeprefix(_STATE)], count[column] or 0)
                for sensor, count in counts.items()
                for column in parts
            ),
        )

    def _sensors(self) -> Iterator[Metric]:
        clients = GaugeMetricFamily(
            "dnsvigil_clients",
            "Distinct clients in the last five minutes of event time, within about 6 %.",
            labels=["server"],
        )
        for server, value in sorted(self._dns.clients.items()):
            if self._dns.shows(server):
                clients.add_metric([server], round(value))
        yield clients
        event = GaugeMetricFamily(
            "dnsvigil_last_event_timestamp_seconds",
            "Time of the newest record.",
            labels=["source", "sensor"],
        )
        read = GaugeMetricFamily(
            "dnsvigil_source_last_read_timestamp_seconds",
            "When the collector last read something from the sensor.",
            labels=["source", "sensor"],
        )
        for source, sensor, last_event, last_read in self._snapshot.sensors:
            if source in _PACKAGE:
                continue  # where there is nothing suspicious these are silent, and rightly so
            if last_event:
                event.add_metric([source, sensor], unix_time(last_event))
            read.add_metric([source, sensor], unix_time(last_read))
        yield event
        yield read

    def _store(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("dnsvigil_store_size_bytes", "Size of the store on disk.", self._snapshot.store_size)
        yield GaugeMetricFamily(
            "dnsvigil_store_max_size_bytes", "The maximum size of the store.", self._config.store.max_size
        )
        oldest = GaugeMetricFamily(
            "dnsvigil_store_oldest_minute_timestamp_seconds", "The first minute with a summary in the store."
        )
        if self._snapshot.oldest_minute:
            oldest.add_metric([], unix_time(self._snapshot.oldest_minute))
        yield oldest

    def _set_aside(self) -> Iterator[Metric]:
        total = dict.fromkeys(KINDS_SET_ASIDE, 0) | dict(self._rows(SET_ASIDE))
        yield counter(
            "dnsvigil_set_aside",
            "Inputs that failed unexpectedly and were set aside.",
            ["kind"],
            (([kind], value) for kind, value in total.items()),
        )
        yield gauge(
            "dnsvigil_set_aside_items",
            "Inputs that are set aside now.",
            ["kind"],
            (([kind], value) for kind, value in self._snapshot.set_aside.items()),
        )

    def _rows(self, table: CounterTable) -> Sequence[tuple[Any, ...]]:
        return self._snapshot.counters.get(table, ())

    def _of_shown_servers(self, table: CounterTable) -> Iterator[tuple[Any, ...]]:
        return (row for row in self._rows(table) if self._dns.shows(row[0]))


def counter(name: str, text: str, labels: list[str], values: Iterable[tuple[list[str], float]]) -> CounterMetricFamily:
    """Return a counter with a value for each list of label values."""
    family = CounterMetricFamily(name, text, labels=labels)
    for label_values, value in values:
        family.add_metric(label_values, value)
    return family


def gauge(name: str, text: str, labels: list[str], values: Iterable[tuple[list[str], float]]) -> GaugeMetricFamily:
    """Return a gauge with a value for each list of label values."""
    family = GaugeMetricFamily(name, text, labels=labels)
    for label_values, value in values:
        family.add_metric(label_values, value)
    return family


def unix_time(time: datetime) -> float:
    """Return the Unix time of a naive UTC time."""
    return time.replace(tzinfo=UTC).timestamp()
