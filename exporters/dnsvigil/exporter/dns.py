"""The metrics of DNS by server and zone."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from prometheus_client.metrics_core import Metric

from dnsvigil.config.collector import Config
from dnsvigil.exporter.families import by_label, counter, gauge, histogram
from dnsvigil.ingest.dns import DURATIONS, LOCAL_NAMES, QUERIES, RESPONSES, ZONE_FAILURES, ZONES, DnsSnapshot
from dnsvigil.ingest.intake import Snapshot
from dnsvigil.ingest.local_names import LOCAL_KINDS
from dnsvigil.records import LATENCY_BOUNDS, OTHER, UNANSWERED, UNKNOWN, failure_reason
from dnsvigil.store.counters import CounterTable


def families(snapshot: Snapshot, config: Config) -> Iterator[Metric]:
    """Yield the metrics of servers and zones."""
    yield from _queries(snapshot)
    yield _durations(snapshot)
    yield _clients(snapshot)
    yield from _zones(snapshot, config)
    yield from _limits(snapshot, config)


def zone_failures(snapshot: Snapshot) -> dict[tuple[str, str], dict[str, int]]:
    """Return the failures of each server and zone, by reason."""
    found: dict[tuple[str, str], dict[str, int]] = {}
    for server, zone, reason, failures in snapshot.rows(ZONE_FAILURES):
        found.setdefault((server, zone), {})[reason] = failures
    return found


def _of_servers(snapshot: Snapshot, table: CounterTable) -> list[tuple[Any, ...]]:
    shown = snapshot.of(DnsSnapshot)
    return [row for row in snapshot.rows(table) if shown.shows(row[0])]


def _queries(snapshot: Snapshot) -> Iterator[Metric]:
    yield counter(
        "dnsvigil_queries",
        "Queries by type.",
        QUERIES.labels,
        (([server, qtype], queries) for server, qtype, queries in _of_servers(snapshot, QUERIES)),
    )
    outcomes = _of_servers(snapshot, RESPONSES)
    yield counter(
        "dnsvigil_responses",
        "Responses by response code.",
        RESPONSES.labels,
        (([server, rcode], count) for server, rcode, count in outcomes if rcode not in (UNANSWERED, UNKNOWN)),
    )
    yield counter(
        "dnsvigil_unanswered",
        "Queries to which no answer was seen.",
        ["server"],
        (([server], count) for server, rcode, count in outcomes if rcode == UNANSWERED),
    )
    unknown = {server: 0 for server, *_ in outcomes}
    unknown |= {server: count for server, rcode, count in outcomes if rcode == UNKNOWN}
    yield counter(
        "dnsvigil_outcome_unknown",
        "Queries in logs that do not say whether and how they were answered.",
        ["server"],
        by_label(unknown),
    )
    yield counter(
        "dnsvigil_local_name_queries",
        "Queries that no DNS server was asked: multicast DNS, LLMNR, NetBIOS, groups and whole networks.",
        ["kind"],
        by_label(dict.fromkeys(LOCAL_KINDS, 0) | dict(snapshot.rows(LOCAL_NAMES))),
    )


def _durations(snapshot: Snapshot) -> Metric:
    sums: Counter[str] = Counter()
    counts: dict[str, list[int]] = {}
    for server, bucket, responses, rtt in _of_servers(snapshot, DURATIONS):
        counts.setdefault(server, [0] * (len(LATENCY_BOUNDS) + 1))[int(bucket)] = responses
        sums[server] += rtt or 0
    return histogram(
        "dnsvigil_response_duration_seconds",
        "Time from a query to its answer, where the sensor saw both.",
        "server",
        LATENCY_BOUNDS,
        ((server, per_bucket, sums[server] / 1e6) for server, per_bucket in counts.items()),
    )


def _clients(snapshot: Snapshot) -> Metric:
    dns = snapshot.of(DnsSnapshot)
    return gauge(
        "dnsvigil_clients",
        "Distinct clients in the last five minutes of event time, within about 6 %.",
        ["server"],
        (([server], round(count)) for server, count in sorted(dns.clients.items()) if dns.shows(server)),
    )


def _zones(snapshot: Snapshot, config: Config) -> Iterator[Metric]:
    shown = snapshot.of(DnsSnapshot)
    rows = [row for row in snapshot.rows(ZONES) if shown.shows(*row[:2])]
    labels = ["server", "dns_zone"]
    yield counter(
        "dnsvigil_zone_queries",
        "Queries for names in the zone.",
        labels,
        (([server, zone], queries) for server, zone, queries, _ in rows),
    )
    yield counter(
        "dnsvigil_zone_nxdomain",
        "Queries in the zone that were answered with NXDOMAIN.",
        labels,
        (([server, zone], nxdomain or 0) for server, zone, _, nxdomain in rows),
    )
    # A ratio needs its numerator from the first query on, so a zone without failures shows none as 0.
    reasons = dict.fromkeys(map(failure_reason, config.zones.failures), 0)
    failures = zone_failures(snapshot)
    yield counter(
        "dnsvigil_zone_failures",
        "Queries in the zone that failed, as the configuration defines it, by reason.",
        [*labels, "reason"],
        (
            ([server, zone, reason], count)
            for server, zone, *_ in rows
            for reason, count in (reasons | failures.get((server, zone), {})).items()
        ),
    )


def _limits(snapshot: Snapshot, config: Config) -> Iterator[Metric]:
    limits = {zone: config.zones.limits(zone) for zone in sorted({*snapshot.of(DnsSnapshot).zones, OTHER})}
    yield gauge(
        "dnsvigil_zone_failure_ratio_threshold",
        "The ratio of failures to queries above which the zone is failing.",
        ["dns_zone"],
        (([zone], ratio) for zone, (ratio, _) in limits.items()),
    )
    yield gauge(
        "dnsvigil_zone_failure_ratio_min_queries",
        "Queries in five minutes below which the failure ratio is not evaluated.",
        ["dns_zone"],
        (([zone], queries) for zone, (_, queries) in limits.items()),
    )
