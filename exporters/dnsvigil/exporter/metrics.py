"""The collector's metrics, made from a snapshot of the store. All are listed in docs/metrics.md."""

import platform
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

import duckdb
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector as PrometheusCollector

from dnsvigil import __version__
from dnsvigil.collector import SOURCE, Snapshot
from dnsvigil.config import Config
from dnsvigil.features.summaries import LATENCY_BOUNDS
from dnsvigil.records import OTHER, UNANSWERED
from dnsvigil.sources.zeek import SKIP_REASONS

_ZONE_HELP = {
    "zone_queries": ("dnsvigil_zone_queries", "Queries for names in the zone."),
    "zone_failures": ("dnsvigil_zone_failures", "Queries in the zone that failed, as the configuration defines it."),
    "zone_nxdomain": ("dnsvigil_zone_nxdomain", "Queries in the zone that were answered with NXDOMAIN."),
}


def build_info() -> GaugeMetricFamily:
    """Return the metric that tells the version that runs."""
    info = GaugeMetricFamily(
        "dnsvigil_build_info",
        "Always 1; its labels tell which build this is.",
        labels=["version", "python_version", "duckdb_version"],
    )
    info.add_metric([__version__, platform.python_version(), duckdb.__version__], 1)
    return info


class StoreMetrics(PrometheusCollector):
    """The metrics of one snapshot."""

    def __init__(self, snapshot: Snapshot, config: Config) -> None:
        self._snapshot = snapshot
        self._config = config

    def collect(self) -> Iterator[Metric]:
        """Yield the metric families."""
        values: dict[str, list[tuple[str, str, int]]] = defaultdict(list)
        for metric, a, b, value in self._snapshot.counters:
            values[metric].append((a, b, value))
        yield build_info()
        yield from self._records(values)
        yield from self._queries(values)
        yield self._durations(values)
        yield from self._zones(values)
        yield from self._sensors()
        yield from self._store()

    def _records(self, values: dict[str, list[tuple[str, str, int]]]) -> Iterator[Metric]:
        ingested = [([source], value) for source, _, value in values["records_ingested"]]
        # Every reason is there from the start, so that the first record skipped for it is an increase.
        reasons = dict.fromkeys(((SOURCE, reason) for reason in SKIP_REASONS), 0)
        reasons |= {(source, reason): value for source, reason, value in values["records_skipped"]}
        skipped = [([source, reason], value) for (source, reason), value in reasons.items()]
        read: dict[str, int] = defaultdict(int)
        for labels, value in (*ingested, *skipped):
            read[labels[0]] += value
        yield _counter(
            "dnsvigil_records_read",
            "Records read: those ingested and those skipped.",
            ["source"],
            (([source], value) for source, value in read.items()),
        )
        yield _counter("dnsvigil_records_ingested", "Records that went into the store.", ["source"], ingested)
        yield _counter(
            "dnsvigil_records_skipped", "Records that could not be used, by reason.", ["source", "reason"], skipped
        )

    def _queries(self, values: dict[str, list[tuple[str, str, int]]]) -> Iterator[Metric]:
        queries = self._of_shown_servers(values["queries"])
        yield _counter(
            "dnsvigil_queries",
            "Queries by type.",
            ["server", "qtype"],
            (([server, qtype], value) for server, qtype, value in queries),
        )
        outcomes = list(self._of_shown_servers(values["responses"]))
        yield _counter(
            "dnsvigil_responses",
            "Responses by response code.",
            ["server", "rcode"],
            (([server, rcode], value) for server, rcode, value in outcomes if rcode != UNANSWERED),
        )
        yield _counter(
            "dnsvigil_unanswered",
            "Queries to which no answer was seen.",
            ["server"],
            (([server], value) for server, rcode, value in outcomes if rcode == UNANSWERED),
        )

    def _durations(self, values: dict[str, list[tuple[str, str, int]]]) -> Metric:
        family = HistogramMetricFamily(
            "dnsvigil_response_duration_seconds",
            "Time from a query to its answer, where the sensor saw both.",
            labels=["server"],
        )
        sums = {server: value / 1e6 for server, _, value in values["durations_sum"]}
        counts: dict[str, list[int]] = {}
        for server, bucket, value in self._of_shown_servers(values["durations"]):
            counts.setdefault(server, [0] * (len(LATENCY_BOUNDS) + 1))[int(bucket)] = value
        for server, per_bucket in counts.items():
            buckets = []
            total = 0
            for bound, count in zip([*map(str, LATENCY_BOUNDS), "+Inf"], per_bucket, strict=True):
                total += count
                buckets.append((bound, total))
            family.add_metric([server], buckets, sums.get(server, 0.0))
        return family

    def _zones(self, values: dict[str, list[tuple[str, str, int]]]) -> Iterator[Metric]:
        for metric, (name, text) in _ZONE_HELP.items():
            family = CounterMetricFamily(name, text, labels=["server", "dns_zone"])
            # A ratio needs its numerator from the first query on, so a zone without failures shows none as 0.
            found = {(server, zone): value for server, zone, value in values[metric]}
            for server, zone, _ in values["zone_queries"]:
                if self._snapshot.shows(server, zone):
                    family.add_metric([server, zone], found.get((server, zone), 0))
            yield family
        threshold = GaugeMetricFamily(
            "dnsvigil_zone_failure_ratio_threshold",
            "The ratio of failures to queries above which the zone is failing.",
            labels=["dns_zone"],
        )
        minimum = GaugeMetricFamily(
            "dnsvigil_zone_failure_ratio_min_queries",
            "Queries in five minutes below which the failure ratio says nothing.",
            labels=["dns_zone"],
        )
        zones = self._config.zones
        configured = {str(zone.name): zone for zone in zones.configured}
        for label in sorted({*self._snapshot.zones, OTHER}):
            own = configured.get(label)
            ratio = own.failure_ratio_threshold if own else None
            queries = own.min_queries if own else None
            threshold.add_metric([label], zones.failure_ratio_threshold if ratio is None else ratio)
            minimum.add_metric([label], zones.min_queries if queries is None else queries)
        yield threshold
        yield minimum

    def _sensors(self) -> Iterator[Metric]:
        clients = GaugeMetricFamily(
            "dnsvigil_clients",
            "Distinct clients in the last five minutes of event time, within about 6 %.",
            labels=["server"],
        )
        for server, value in sorted(self._snapshot.clients.items()):
            if self._snapshot.shows(server):
                clients.add_metric([server], round(value))
        yield clients
        event = GaugeMetricFamily(
            "dnsvigil_last_event_timestamp_seconds",
            "The newest record's own time.",
            labels=["source", "sensor"],
        )
        read = GaugeMetricFamily(
            "dnsvigil_source_last_read_timestamp_seconds",
            "When something was last read from the sensor.",
            labels=["source", "sensor"],
        )
        for source, sensor, last_event, last_read in self._snapshot.sensors:
            if last_event:
                event.add_metric([source, sensor], _seconds(last_event))
            read.add_metric([source, sensor], _seconds(last_read))
        yield event
        yield read

    def _store(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("dnsvigil_store_size_bytes", "The store on disk.", self._snapshot.store_size)
        yield GaugeMetricFamily(
            "dnsvigil_store_max_size_bytes", "The size that the store is kept under.", self._config.store.max_size
        )
        oldest = GaugeMetricFamily(
            "dnsvigil_store_oldest_minute_timestamp_seconds", "The first minute that the store has a summary of."
        )
        if self._snapshot.oldest_minute:
            oldest.add_metric([], _seconds(self._snapshot.oldest_minute))
        yield oldest

    def _of_shown_servers(self, rows: list[tuple[str, str, int]]) -> Iterator[tuple[str, str, int]]:
        return (row for row in rows if self._snapshot.shows(row[0]))


def _counter(name: str, text: str, labels: list[str], values: Iterable[tuple[list[str], int]]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=labels)
    for label_values, value in values:
        family.add_metric(label_values, value)
    return family


def _seconds(time: datetime) -> float:
    """Return the Unix time of a naive UTC time."""
    return time.replace(tzinfo=UTC).timestamp()
