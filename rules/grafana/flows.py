"""The dashboard of flows: how much traffic there is, what stands out, and whether the flows themselves arrive."""

from collections.abc import Iterator
from typing import Final

from common import COLLECTOR, Panel, board, dashed, graph, listing, number, variable
from grafana_foundation_sdk.models.dashboard import Dashboard

EXPORTER: Final = f'{COLLECTOR}, exporter=~"$exporter"'
SERVICE: Final = f'{EXPORTER}, protocol=~"$protocol", service=~"$service"'
RESOLVER: Final = f'{EXPORTER}, resolver=~"$resolver"'
SERIES: Final = "{{instance}} {{exporter}} {{protocol}} {{service}} {{measure}}"
NAME: Final = "{{instance}} {{exporter}}"


def traffic() -> Iterator[Panel]:
    """How much traffic is there?"""
    for what, unit, metric, factor in (
        ("Bits", "bps", "dnsvigil_flows_bytes_total", "8 * "),
        ("Packets", "pps", "dnsvigil_flows_packets_total", ""),
        ("Flows", "cps", "dnsvigil_flows_total", ""),
    ):
        yield graph(
            what,
            "By exporter, protocol and service. Flows come in files of five minutes, so the steps are as long.",
            unit,
            (
                f"{factor}sum by (exporter, protocol, service) (rate({metric}{{{SERVICE}}}[15m]))",
                "{{exporter}} {{protocol}} {{service}}",
            ),
            stacked=True,
        )
    for measure in ("bytes", "flows"):
        of = f'{SERVICE}, measure="{measure}"'
        yield dashed(
            graph(
                f"Value and baseline: {measure}",
                f"The {measure} of the newest five minutes, and what is usual at this time of the week.",
                "bytes" if measure == "bytes" else "none",
                (f"dnsvigil_flow_value{{{of}}}", f"{NAME} {{{{protocol}}}} {{{{service}}}}"),
                (f"dnsvigil_flow_baseline{{{of}}}", f"usual: {NAME} {{{{protocol}}}} {{{{service}}}}"),
                runbook="DnsvigilFlowAnomaly",
            )
        )
    yield graph(
        "Top talkers",
        "The ten addresses with most bytes in the newest five minutes.",
        "bytes",
        (f"topk(10, dnsvigil_flow_talker_bytes{{{EXPORTER}}})", f"{NAME} {{{{element}}}} {{{{talker}}}}"),
        stacked=True,
    )


def unusual() -> Iterator[Panel]:
    """What stands out?"""
    yield number(
        "Unusual series",
        "Series with an anomaly in the newest five minutes. No data: no series was evaluated.",
        "none",
        f"sum(dnsvigil_flow_anomaly{{{EXPORTER}}})",
        "series",
        ("green", None),
        ("orange", 1),
        runbook="DnsvigilFlowAnomaly",
    )
    yield number(
        "Unusual resolvers",
        "Measures of resolvers with an anomaly in the newest five minutes.",
        "none",
        f"sum(dnsvigil_flow_resolver_anomaly{{{RESOLVER}}})",
        "measures",
        ("green", None),
        ("orange", 1),
        runbook="DnsvigilFlowResolverAnomaly",
    )
    yield number(
        "History",
        "Length of the history behind the baselines. Nothing is unusual before there are two days.",
        "s",
        f"dnsvigil_flow_history_seconds{{{EXPORTER}}}",
        NAME,
        ("orange", None),
        ("green", 172800),
    )
    yield listing(
        "Anomalies now",
        "The anomalies of the newest five minutes.",
        f"dnsvigil_flow_anomaly{{{SERVICE}}} == 1 or dnsvigil_flow_resolver_anomaly{{{RESOLVER}}} == 1",
        runbook="DnsvigilFlowAnomaly",
        resolver="server:${__data.fields.resolver:percentencode}",
    )
    yield graph(
        "Largest deviations",
        "The ten series that are farthest from what is usual, in spreads. An anomaly is beyond 4 to 5.5.",
        "none",
        (f"topk(10, abs(dnsvigil_flow_deviation{{{SERVICE}}}))", SERIES),
        limit=5.5,
    )
    yield graph(
        "Largest deviations of resolvers",
        "The ten measures of resolvers that are farthest from what is usual, in spreads.",
        "none",
        (f"topk(10, abs(dnsvigil_flow_resolver_deviation{{{RESOLVER}}}))", f"{NAME} {{{{resolver}}}} {{{{measure}}}}"),
        limit=5.5,
    )
    yield graph(
        "Amplification",
        "Bytes that a host of yours sends to the outside from port 53 for each byte that it is asked with.",
        "none",
        (
            f"exporter_host:dnsvigil_flow_host_response_bytes:ratio_query_bytes15m{{{EXPORTER}}}",
            f"{NAME} {{{{host}}}}",
        ),
        limit=5,
        runbook="DnsvigilFlowAmplifier",
    )


def resolvers() -> Iterator[Panel]:
    """How are the resolvers used?"""
    by = "sum by (exporter, resolver, protocol)"
    for what, metric in (("Queries", "query_packets"), ("Responses", "response_packets")):
        yield graph(
            f"{what}, in packets",
            f"{what} of each resolver, in the flows.",
            "pps",
            (
                f"{by} (rate(dnsvigil_flow_resolver_{metric}_total{{{RESOLVER}}}[15m]))",
                "{{exporter}} {{resolver}} {{protocol}}",
            ),
        )
    yield dashed(
        graph(
            "Queries without a response",
            "Share over a quarter of an hour, and the limit: twice what was usual in the last day, and 10 %.",
            "percentunit",
            (
                f"exporter_resolver:dnsvigil_flow_resolver_unanswered:ratio_rate15m{{{RESOLVER}}}",
                f"{NAME} {{{{resolver}}}}",
            ),
            (
                f"exporter_resolver:dnsvigil_flow_resolver_unanswered:limit1d{{{RESOLVER}}}",
                f"limit: {NAME} {{{{resolver}}}}",
            ),
            runbook="DnsvigilFlowResolverUnanswered",
        )
    )
    yield graph(
        "Clients",
        "Distinct clients of each resolver in the newest five minutes, within about 6 %.",
        "none",
        (f"dnsvigil_flow_resolver_clients{{{RESOLVER}}}", f"{NAME} {{{{resolver}}}}"),
    )
    yield graph(
        "Bits of responses",
        "What each resolver sends to its clients.",
        "bps",
        (
            f"8 * {by} (rate(dnsvigil_flow_resolver_response_bytes_total{{{RESOLVER}}}[15m]))",
            "{{exporter}} {{resolver}} {{protocol}}",
        ),
    )


def arriving() -> Iterator[Panel]:
    """Do the flows arrive?"""
    yield graph(
        "Time since the last file",
        "Time since a flow file of the exporter was read. There is one in five minutes.",
        "s",
        (f"exporter:dnsvigil_source_last_read_timestamp_seconds:age{{{EXPORTER}}}", NAME),
        limit=900,
        runbook="DnsvigilFlowsMissing",
    )
    yield graph(
        "Flow files",
        "Flow files read in a quarter of an hour, completely or as far as they were readable.",
        "none",
        (f"increase(dnsvigil_flow_files_total{{{EXPORTER}}}[15m])", f"{NAME} {{{{result}}}}"),
        runbook="DnsvigilFlowFilesDamaged",
    )
    yield graph(
        "Flows lost on the way",
        "Gaps in the sequence numbers of the exporter in half an hour.",
        "none",
        (f"increase(dnsvigil_flow_sequence_failures_total{{{EXPORTER}}}[30m])", NAME),
        limit=10,
        runbook="DnsvigilFlowSequenceFailures",
    )
    yield graph(
        "Clocks",
        "How far the newest flows ended outside of the five minutes of their file.",
        "s",
        (f"abs(dnsvigil_flow_clock_offset_seconds{{{EXPORTER}}})", NAME),
        limit=60,
        runbook="DnsvigilFlowClockSkew",
    )
    yield graph(
        "DNS flow records",
        "DNS flow records in the store.",
        "none",
        (f"dnsvigil_dns_flows{{{COLLECTOR}}}", "{{instance}}"),
    )
    yield graph(
        "DNS flow records dropped",
        "Records that the store has dropped, being too old or too many.",
        "cps",
        (
            f"sum by (instance, reason) (rate(dnsvigil_dns_flows_dropped_total{{{COLLECTOR}}}[15m]))",
            "{{instance}} {{reason}}",
        ),
    )


def dashboard() -> Dashboard:
    """Return the dashboard."""
    return board(
        "flows",
        "flows",
        "How much traffic is there, and what is unusual in it? Do the flows arrive?",
        (traffic, unusual, resolvers, arriving),
        variable("exporter", "Exporter", f"label_values(dnsvigil_flow_files_total{{{COLLECTOR}}}, exporter)"),
        variable("protocol", "Protocol", f"label_values(dnsvigil_flows_total{{{EXPORTER}}}, protocol)"),
        variable("service", "Service", f"label_values(dnsvigil_flows_total{{{EXPORTER}}}, service)"),
        variable(
            "resolver", "Resolver", f"label_values(dnsvigil_flow_resolver_query_flows_total{{{EXPORTER}}}, resolver)"
        ),
    )
