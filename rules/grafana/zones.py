"""The dashboard of zones and servers: which zones fail and why, how the servers answer, and how fast."""

from collections.abc import Iterator
from typing import Final

from common import COLLECTOR, WIDTH, Panel, board, dashed, graph, heat_map, listing, number, variable
from grafana_foundation_sdk.models.dashboard import Dashboard

SERVER: Final = f'{COLLECTOR}, server=~"$server"'
ZONE: Final = f'{SERVER}, dns_zone=~"$dns_zone"'
LIMIT: Final = f'{COLLECTOR}, dns_zone=~"$dns_zone"'
RATIO: Final = f"server_dns_zone:dnsvigil_zone_failures:ratio_rate5m{{{ZONE}}}"
FAILING: Final = f"server_dns_zone:dnsvigil_zone_failing:ratio_rate5m{{{ZONE}}}"
THRESHOLD: Final = f"dns_zone:dnsvigil_zone_failure_ratio_threshold:last5m{{{LIMIT}}}"
RUNNING: Final = f"0 * count(dnsvigil_build_info{{{COLLECTOR}}})"
"""0 where a collector is scraped, and nothing otherwise: no panel says 0 where nobody looks."""


def failing() -> Iterator[Panel]:
    """Which zones fail?"""
    yield number(
        "Failing zones",
        "Pairs of server and zone above the threshold of the zone, over five minutes.",
        "none",
        f"count({FAILING}) or {RUNNING}",
        "failing",
        ("green", None),
        ("red", 1),
        runbook="DnsvigilZoneFailureRatio",
    )
    yield number(
        "Age of the newest query",
        "Time since the newest DNS query that was read. While it grows, nothing here is of now.",
        "s",
        f'time() - max(dnsvigil_last_event_timestamp_seconds{{{COLLECTOR}, source="zeek"}})',
        "newest query",
        ("green", None),
        ("orange", 300),
        ("red", 900),
        runbook="DnsvigilNoLogs",
    )
    yield number(
        "Alerts",
        "Firing alerts about zones and servers.",
        "none",
        'count(ALERTS{alertname=~"Dnsvigil(Zone|Server|Servfail|Nxdomain).+", alertstate="firing", job=~"$job"})'
        f" + {RUNNING} or {RUNNING}",
        "firing",
        ("green", None),
        ("red", 1),
    )
    yield listing(
        "Zones above their thresholds",
        "Pairs of server and zone that fail now, with the share of queries that failed in five minutes.",
        FAILING,
        value="failure ratio",
        unit="percentunit",
        runbook="DnsvigilZoneFailureRatio",
        dns_zone="zone:${__data.fields.dns_zone:percentencode}",
        server="server:${__data.fields.server:percentencode}",
    )
    yield graph(
        "Why queries fail",
        "Failed queries of the chosen zones by reason.",
        "reqps",
        (f"sum by (reason) (rate(dnsvigil_zone_failures_total{{{ZONE}}}[$__rate_interval]))", "{{reason}}"),
        stacked=True,
    )
    yield dashed(
        graph(
            "Failure ratios",
            "The ten highest ratios over five minutes, where there were enough queries to tell, and their thresholds.",
            "percentunit",
            (f"topk(10, {RATIO})", "{{instance}} {{server}} {{dns_zone}}"),
            (
                f"{THRESHOLD} and on (job, instance, dns_zone) topk(10, {RATIO})",
                "threshold: {{instance}} {{dns_zone}}",
            ),
            runbook="DnsvigilZoneFailureRatio",
        )
    )
    yield graph(
        "Zones with most queries",
        "The ten zones that are asked for most, on all chosen servers. Zones without a label of their own are other.",
        "reqps",
        (
            f"topk(10, sum by (dns_zone) (rate(dnsvigil_zone_queries_total{{{ZONE}}}[$__rate_interval])))",
            "{{dns_zone}}",
        ),
        stacked=True,
    )
    yield graph(
        "Zones with most failures",
        "The ten zones with most failed queries, whatever their share.",
        "reqps",
        (
            f"topk(10, sum by (dns_zone) (rate(dnsvigil_zone_failures_total{{{ZONE}}}[$__rate_interval])))",
            "{{dns_zone}}",
        ),
    )
    yield graph(
        "Zones with most NXDOMAIN",
        "The ten zones with most names that do not exist.",
        "reqps",
        (
            f"topk(10, sum by (dns_zone) (rate(dnsvigil_zone_nxdomain_total{{{ZONE}}}[$__rate_interval])))",
            "{{dns_zone}}",
        ),
        runbook="DnsvigilNxdomainJump",
    )


def answering() -> Iterator[Panel]:
    """How do the servers answer?"""
    yield graph(
        "Queries",
        "Queries to each server.",
        "reqps",
        (
            f"sum by (instance, server) (rate(dnsvigil_queries_total{{{SERVER}}}[$__rate_interval]))",
            "{{instance}} {{server}}",
        ),
        stacked=True,
    )
    yield graph(
        "Query types",
        "The ten most frequent types.",
        "reqps",
        (f"topk(10, sum by (qtype) (rate(dnsvigil_queries_total{{{SERVER}}}[$__rate_interval])))", "{{qtype}}"),
        stacked=True,
    )
    yield graph(
        "Responses by code",
        "Responses of the chosen servers, and queries to which none was seen.",
        "reqps",
        (f"sum by (rcode) (rate(dnsvigil_responses_total{{{SERVER}}}[$__rate_interval]))", "{{rcode}}"),
        (f"sum(rate(dnsvigil_unanswered_total{{{SERVER}}}[$__rate_interval]))", "unanswered"),
        stacked=True,
    )
    for code, runbook in (("SERVFAIL", "DnsvigilServfailJump"), ("NXDOMAIN", "DnsvigilNxdomainJump")):
        rcode = f'{SERVER}, rcode="{code}"'
        yield dashed(
            graph(
                f"{code}, share of responses",
                f"Share of {code} of each server over five minutes, less what failing zones explain, and the limit "
                "from the last six hours. It needs 500 responses in five minutes.",
                "percentunit",
                (f"server_rcode:dnsvigil_unexplained:ratio_rate5m{{{rcode}}}", "{{instance}} {{server}}"),
                (f"server_rcode:dnsvigil_unexplained:limit6h{{{rcode}}}", "limit: {{instance}} {{server}}"),
                runbook=runbook,
            )
        )
    yield graph(
        "Clients",
        "Distinct clients of each server in the last minutes, as estimated.",
        "none",
        (f"dnsvigil_clients{{{SERVER}}}", "{{instance}} {{server}}"),
    )


def speed() -> Iterator[Panel]:
    """How fast are the answers?"""
    buckets = f"rate(dnsvigil_response_duration_seconds_bucket{{{SERVER}}}[$__rate_interval])"
    yield heat_map(
        "Response times",
        "How many responses took how long, on all chosen servers.",
        "s",
        f"sum by (le) ({buckets})",
    ).span(2 * WIDTH)
    yield graph(
        "Slow responses",
        "The median and the 95th percentile of each server's response times.",
        "s",
        *(
            (
                f"histogram_quantile({share}, sum by (instance, server, le) ({buckets}))",
                f"{{{{instance}}}} {{{{server}}}} {name}",
            )
            for share, name in ((0.5, "median"), (0.95, "95 %"))
        ),
    )


def dashboard() -> Dashboard:
    """Return the dashboard."""
    return board(
        "zones",
        "zones and servers",
        "Which zones fail, on which servers and why? How do the servers answer, and how fast?",
        (failing, answering, speed),
        variable("server", "Server", f"label_values(dnsvigil_queries_total{{{COLLECTOR}}}, server)"),
        variable("dns_zone", "Zone", f"label_values(dnsvigil_zone_queries_total{{{SERVER}}}, dns_zone)"),
    )
