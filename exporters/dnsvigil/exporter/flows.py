"""The metrics of flows."""

from collections.abc import Iterator, Sequence
from typing import Any

from prometheus_client.metrics_core import Metric

from dnsvigil.exporter.families import alone, by_label, counter, gauge
from dnsvigil.ingest.flows import SHOWN_HOSTS, FlowSnapshot
from dnsvigil.records import FLOW_ANOMALIES
from dnsvigil.store.flow_series import SHOWN_TALKERS
from dnsvigil.store.flow_verdicts import Verdict
from dnsvigil.store.flows import DROPPED, FILES, FLOWS, RESOLVERS, SEQUENCE_FAILURES

_SERVICE = (
    ("dnsvigil_flows", "Flows."),
    ("dnsvigil_flows_packets", "Packets in flows."),
    ("dnsvigil_flows_bytes", "Bytes in flows."),
)
_RESOLVER = {
    "query_flows": "Flows to the resolver's DNS ports.",
    "query_packets": "Packets to the resolver's DNS ports.",
    "query_bytes": "Bytes to the resolver's DNS ports.",
    "response_packets": "Packets from the resolver's DNS ports.",
    "response_bytes": "Bytes from the resolver's DNS ports.",
    "unanswered": "Queries without a response from the resolver: packets of UDP, flows where packets are not counted.",
}
_VERDICT = {
    "value": "The newest slot's value of the series.",
    "baseline": "The expected value of the series.",
    "spread": "One standard deviation around the baseline, as estimated.",
    "deviation": "Distance of the value from the baseline in spreads, negative below it.",
}
_HOST = {
    "response_flows": "Flows from the host's port 53 to the outside",
    "response_packets": "Packets from the host's port 53 to the outside",
    "response_bytes": "Bytes from the host's port 53 to the outside",
    "query_bytes": "Bytes from the outside to the host's port 53",
    "peers": "Hosts outside that the host's port 53 answered",
}


def families(snapshot: FlowSnapshot) -> Iterator[Metric]:
    """Yield the metrics of flows; there are none while no flow file was read."""
    if not snapshot.exporters:
        return
    yield from _files(snapshot)
    yield from _services(snapshot)
    yield from _resolvers(snapshot)
    of_services = [verdict for verdict in snapshot.verdicts if verdict.resolver is None]
    of_resolvers = [verdict for verdict in snapshot.verdicts if verdict.resolver is not None]
    yield from _verdicts("dnsvigil_flow_", ["exporter", "protocol", "service", "measure"], of_services)
    yield from _verdicts("dnsvigil_flow_resolver_", ["exporter", "resolver", "measure"], of_resolvers)
    yield from _hosts(snapshot)
    yield from _talkers(snapshot)
    yield from _records(snapshot)


def _files(snapshot: FlowSnapshot) -> Iterator[Metric]:
    exporters = snapshot.exporters
    files = {(exporter, result): count for exporter, result, count in snapshot.rows(FILES)}
    yield counter(
        "dnsvigil_flow_files",
        "Flow files read, completely or as far as they were readable.",
        ["exporter", "result"],
        (([name, result], files.get((name, result), 0)) for name in exporters for result in ("read", "damaged")),
    )
    failures = dict(snapshot.rows(SEQUENCE_FAILURES))
    yield counter(
        "dnsvigil_flow_sequence_failures",
        "Gaps in the exporter's sequence numbers, as nfcapd recorded them.",
        ["exporter"],
        (([name], failures.get(name, 0)) for name in exporters),
    )
    yield gauge(
        "dnsvigil_flow_clock_offset_seconds",
        "How far outside its slot the newest flow of the newest file ended; 0 up to a minute.",
        ["exporter"],
        (([name], offset) for name, offset in sorted(snapshot.clock_offsets.items())),
    )
    history = dict.fromkeys(exporters, 0.0)
    for verdict in snapshot.verdicts:
        history[verdict.exporter] = max(history.get(verdict.exporter, 0.0), verdict.history_seconds)
    yield gauge(
        "dnsvigil_flow_history_seconds",
        "Length of the history behind the baselines.",
        ["exporter"],
        (([name], seconds) for name, seconds in history.items()),
    )


def _services(snapshot: FlowSnapshot) -> Iterator[Metric]:
    rows = [row for row in snapshot.rows(FLOWS) if row[:3] in snapshot.services]
    for column, (name, text) in enumerate(_SERVICE, start=3):
        yield counter(name, text, FLOWS.labels, _given(rows, 3, column))


def _resolvers(snapshot: FlowSnapshot) -> Iterator[Metric]:
    exporters = set(snapshot.exporters)
    shown = snapshot.resolvers
    rows = [row for row in snapshot.rows(RESOLVERS) if row[0] in exporters and row[1] in shown]
    for column, name in enumerate(RESOLVERS.values, start=3):
        yield counter(f"dnsvigil_flow_resolver_{name}", _RESOLVER[name], RESOLVERS.labels, _given(rows, 3, column))
    yield gauge(
        "dnsvigil_flow_resolver_clients",
        "Distinct clients of the resolver in the newest slot, within about 6 %.",
        ["exporter", "resolver"],
        (([exporter, name], count) for exporter, name, count in snapshot.clients if name in shown),
    )


def _hosts(snapshot: FlowSnapshot) -> Iterator[Metric]:
    for column, (metric, text) in enumerate(_HOST.items(), start=2):
        if snapshot.hosts:
            yield gauge(
                f"dnsvigil_flow_host_{metric}",
                f"{text}, in the newest slot, of the {SHOWN_HOSTS} hosts with the most response bytes.",
                ["exporter", "host"],
                (([row[0], row[1]], int(row[column])) for row in snapshot.hosts if row[column] is not None),
            )


def _talkers(snapshot: FlowSnapshot) -> Iterator[Metric]:
    for column, metric in enumerate(("flows", "packets", "bytes"), start=3):
        yield gauge(
            f"dnsvigil_flow_talker_{metric}",
            f"{metric.capitalize()} of the newest slot's {SHOWN_TALKERS} top talkers by bytes.",
            ["exporter", "element", "talker"],
            ((list(row[:3]), int(row[column])) for row in snapshot.talkers if row[column] is not None),
        )


def _records(snapshot: FlowSnapshot) -> Iterator[Metric]:
    yield gauge("dnsvigil_dns_flows", "DNS flow records in the store.", [], alone(snapshot.records))
    yield counter(
        "dnsvigil_dns_flows_dropped",
        "DNS flow records that the store has dropped: too old, or too many.",
        ["reason"],
        by_label({"age": 0, "size": 0} | dict(snapshot.rows(DROPPED))),
    )


def _given(rows: Sequence[tuple[Any, ...]], labels: int, column: int) -> Iterator[tuple[list[str], float]]:
    """Yield the labels and the value of each row. What the exporter does not count is not there; what is 0 is."""
    return ((list(row[:labels]), row[column]) for row in rows if row[column] is not None)


def _verdicts(prefix: str, labels: list[str], verdicts: list[Verdict]) -> Iterator[Metric]:
    for name, text in _VERDICT.items():
        rows = [([getattr(verdict, label) for label in labels], getattr(verdict, name)) for verdict in verdicts]
        yield gauge(f"{prefix}{name}", text, labels, ((values, value) for values, value in rows if value is not None))
    yield gauge(
        f"{prefix}anomaly",
        "1 if the newest slot of the series has the anomaly.",
        [*labels, "anomaly"],
        (
            ([*(getattr(verdict, label) for label in labels), anomaly], float(anomaly in verdict.anomalies))
            for verdict in verdicts
            for anomaly in FLOW_ANOMALIES
        ),
    )
