"""The metrics of flows, made from a snapshot of the store. All are listed in docs/metrics.md."""

from collections.abc import Iterator, Sequence
from typing import Any

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector as PrometheusCollector

from dnsvigil.exporter.dns import counter, gauge
from dnsvigil.ingest.flows import SHOWN_HOSTS, FlowSnapshot
from dnsvigil.records import FLOW_ANOMALIES
from dnsvigil.store.counters import CounterTable
from dnsvigil.store.flow_series import SHOWN_TALKERS
from dnsvigil.store.flows import DROPPED, FILES, FLOWS, RESOLVERS, SEQUENCE_FAILURES, Verdict

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


class FlowMetrics(PrometheusCollector):
    """The metrics of one snapshot; there are none while no flow file was read."""

    def __init__(self, snapshot: FlowSnapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        """Yield the metric families."""
        if not self._snapshot.exporters:
            return
        yield from self._files()
        yield from self._services()
        yield from self._resolvers()
        of_services = [verdict for verdict in self._snapshot.verdicts if verdict.resolver is None]
        of_resolvers = [verdict for verdict in self._snapshot.verdicts if verdict.resolver is not None]
        yield from _verdicts("dnsvigil_flow_", ["exporter", "protocol", "service", "measure"], of_services)
        yield from _verdicts("dnsvigil_flow_resolver_", ["exporter", "resolver", "measure"], of_resolvers)
        yield from self._hosts()
        yield from self._talkers()
        yield from self._records()

    def _files(self) -> Iterator[Metric]:
        exporters = self._snapshot.exporters
        files = {(exporter, result): count for exporter, result, count in self._rows(FILES)}
        yield counter(
            "dnsvigil_flow_files",
            "Flow files read, completely or as far as they were readable.",
            ["exporter", "result"],
            (([name, result], files.get((name, result), 0)) for name in exporters for result in ("read", "damaged")),
        )
        failures = dict(self._rows(SEQUENCE_FAILURES))
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
            (([name], offset) for name, offset in sorted(self._snapshot.clock_offsets.items())),
        )
        history = dict.fromkeys(exporters, 0.0)
        for verdict in self._snapshot.verdicts:
            history[verdict.exporter] = max(history.get(verdict.exporter, 0.0), verdict.history_seconds)
        yield gauge(
            "dnsvigil_flow_history_seconds",
            "Length of the history behind the baselines.",
            ["exporter"],
            (([name], seconds) for name, seconds in history.items()),
        )

    def _services(self) -> Iterator[Metric]:
        labels = list(FLOWS.labels)
        rows = [row for row in self._rows(FLOWS) if row[: len(labels)] in self._snapshot.services]
        for column, (name, text) in enumerate(_SERVICE, start=len(labels)):
            yield counter(name, text, labels, _given(rows, len(labels), column))

    def _resolvers(self) -> Iterator[Metric]:
        exporters = set(self._snapshot.exporters)
        shown = self._snapshot.resolvers
        labels = list(RESOLVERS.labels)
        rows = [row for row in self._rows(RESOLVERS) if row[0] in exporters and row[1] in shown]
        for column, name in enumerate(RESOLVERS.values, start=len(labels)):
            yield counter(f"dnsvigil_flow_resolver_{name}", _RESOLVER[name], labels, _given(rows, len(labels), column))
        yield gauge(
            "dnsvigil_flow_resolver_clients",
            "Distinct clients of the resolver in the newest slot, within about 6 %.",
            ["exporter", "resolver"],
            (([exporter, name], count) for exporter, name, count in self._snapshot.clients if name in shown),
        )

    def _hosts(self) -> Iterator[Metric]:
        for column, (metric, text) in enumerate(_HOST.items(), start=2):
            if self._snapshot.hosts:
                yield gauge(
                    f"dnsvigil_flow_host_{metric}",
                    f"{text}, in the newest slot, of the {SHOWN_HOSTS} hosts with the most response bytes.",
                    ["exporter", "host"],
                    (([row[0], row[1]], int(row[column])) for row in self._snapshot.hosts if row[column] is not None),
                )

    def _talkers(self) -> Iterator[Metric]:
        for column, metric in enumerate(("flows", "packets", "bytes"), start=3):
            yield gauge(
                f"dnsvigil_flow_talker_{metric}",
                f"{metric.capitalize()} of the newest slot's {SHOWN_TALKERS} top talkers by bytes.",
                ["exporter", "element", "talker"],
                ((list(row[:3]), int(row[column])) for row in self._snapshot.talkers if row[column] is not None),
            )

    def _records(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("dnsvigil_dns_flows", "DNS flow records in the store.", self._snapshot.records)
        dropped = {"age": 0, "size": 0} | dict(self._rows(DROPPED))
        yield counter(
            "dnsvigil_dns_flows_dropped",
            "DNS flow records that the store has dropped: too old, or too many.",
            ["reason"],
            (([reason], value) for reason, value in dropped.items()),
        )

    def _rows(self, table: CounterTable) -> Sequence[tuple[Any, ...]]:
        return self._snapshot.counters.get(table, ())


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
