"""The part of DNS: the summaries and counters of dns.log by server and zone, and which of these have a label."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from dnsvigil.config.collector import Config
from dnsvigil.features.servers import broadcast_addresses
from dnsvigil.features.summaries import COLUMNS, SKETCH_SIZE, estimate_distinct
from dnsvigil.ingest.part import HOUR, MINUTE, Part, passes
from dnsvigil.ingest.summaries import SUMMARIES, Summarizer
from dnsvigil.ingest.top_labels import TopLabels
from dnsvigil.records import OTHER
from dnsvigil.sources.zeek.log_types import DNS
from dnsvigil.store.server_names import ServerCounters, take_names
from dnsvigil.store.store import Store

SOURCE: Final = DNS.source
"""The label ``source`` of dns.log, and of what is said of a Zeek as a whole."""

LATE: Final = timedelta(minutes=5)
"""How long a minute's summary is open for more of it; what comes later still lands, in rows of its own."""

CLIENTS_WINDOW: Final = timedelta(minutes=5)
"""The event time over which distinct clients are counted."""

_COUNTERS: Final = """
    SELECT 'queries' AS metric, server AS a, qtype AS b, records AS value FROM sum_types
    UNION ALL SELECT 'responses', server, rcode, records FROM sum_types
    UNION ALL SELECT 'durations', server, bucket::VARCHAR, records FROM sum_latencies
    UNION ALL SELECT 'durations_sum', server, '', rtt FROM sum_latencies
    UNION ALL SELECT 'zone_queries', server, zone, queries FROM sum_zones
    UNION ALL SELECT 'local_name_queries', kind, '', queries FROM local_names
    UNION ALL SELECT 'zone_nxdomain', server, zone, nxdomain FROM sum_zones
    UNION ALL SELECT 'zone_failure_reasons', server, reason || ' ' || zone, failures FROM sum_failures
"""
_ZONE_COUNTERS: Final = {
    "zone_queries": "b",
    "zone_nxdomain": "b",
    "zone_failure_reasons": "substr(b, instr(b, ' ') + 1)",
}
"""The counters of zones, each with the expression of the zone."""

_SERVER_COUNTERS: Final = ("queries", "responses", "durations", "durations_sum", *_ZONE_COUNTERS)
_SERVERS: Final = ServerCounters("servers", f"metric IN {_SERVER_COUNTERS}", "a", "$name, b")


@dataclass(frozen=True)
class DnsSnapshot:
    """Which servers and zones have a label now, and how many clients ask the servers."""

    zones: frozenset[str] = frozenset()
    servers: frozenset[str] = frozenset()
    clients: Mapping[str, float] = field(default_factory=dict)  # by server

    def shows(self, server: str, zone: str = OTHER) -> bool:
        """Return whether both labels are shown now; one that was and may be again is kept but not shown."""
        return (server == OTHER or server in self.servers) and (zone == OTHER or zone in self.zones)


class DnsPart(Part):
    """DNS in one store.

    Its :class:`dnsvigil.ingest.summaries.Summarizer` leaves tables of the records to other parts of the same log.
    """

    logs = (DNS,)
    columns = COLUMNS
    retained = True

    def __init__(self, store: Store, config: Config) -> None:
        self._store = store
        zones = [str(zone.name) for zone in config.zones.configured]
        servers = config.servers
        self._addresses = servers.labels
        # Where servers are configured, all others are one series.
        self._labels = {
            "zone": self._read_labels("zone", config.zones.top, zones),
            "server": self._read_labels("server", 0 if servers.configured else servers.top, servers.names),
        }
        self._shown = {kind: list(labels.shown) for kind, labels in self._labels.items()}  # as the store has it
        with store.transaction():
            take_names(store, _SERVERS, servers.addresses)
        broadcast = [each for each in broadcast_addresses(config.flows.networks) if each not in self._addresses]
        with store.errors():
            self._summarizer = Summarizer(
                store.connection, zones, config.zones.failures, servers.excluded_ports, broadcast
            )
        self._open_minutes: set[datetime] = set()
        newest = store.newest_event()
        self._clients = self._count_clients(newest) if newest else {}

    def gather(self, size: int) -> None:
        """Make the summaries of the records."""
        zones, servers = self._labels["zone"], self._labels["server"]
        heaviest_zones, heaviest_servers = self._summarizer.count_labels(max(zones.capacity, servers.capacity))
        zones.offer(heaviest_zones)
        servers.offer(heaviest_servers)
        self._summarizer.summarize(
            [*zones.pinned, *zones.shown], {**self._addresses, **{address: address for address in servers.shown}}
        )

    def add(self) -> None:
        """Append the summaries, and add them to the counters."""
        for kind, labels in self._labels.items():
            if labels.shown != self._shown[kind]:
                self._put_labels(kind)
        for name in SUMMARIES:
            self._store.add_summary(name)
        self._open_minutes.update(minute for (minute,) in self._store.rows("SELECT DISTINCT minute FROM sum_types"))
        self._store.count(_COUNTERS)

    def advance(self, before: datetime, newest: datetime) -> None:
        """By the minute merge summaries, count clients and give labels to what has become heavy."""
        if not passes(before, newest, MINUTE):
            return
        closed = {minute for minute in self._open_minutes if minute < newest - LATE}
        if closed:
            self._store.merge_minutes(closed, SKETCH_SIZE)
            self._open_minutes -= closed
        self._clients = self._count_clients(newest)
        for kind, labels in self._labels.items():
            labels.rebalance()
            if passes(before, newest, HOUR):
                labels.decay()
            self._put_labels(kind)

    def forget(self, newest: datetime) -> None:
        """Drop the counters of labels that are not even candidates any more.

        Others outlive their place on the list, so that a label that comes back goes on where it was.
        """
        for metric, zone in _ZONE_COUNTERS.items():
            self._store.forget_counters([metric], zone, self._labels["zone"].known())
        self._store.forget_counters(_SERVER_COUNTERS, "a", self._labels["server"].known())

    def snapshot(self) -> DnsSnapshot:
        """Return the labels now, and the clients as of the last minute."""
        shown = {kind: frozenset({*labels.pinned, *labels.shown}) for kind, labels in self._labels.items()}
        return DnsSnapshot(shown["zone"], shown["server"], self._clients)

    def _read_labels(self, kind: str, top: int, pinned: Sequence[str]) -> TopLabels:
        known = self._store.labels(kind)
        return TopLabels(top, pinned, known.shown, known.weights)

    def _put_labels(self, kind: str) -> None:
        labels = self._labels[kind]
        self._store.put_labels(kind, labels.shown, labels.weights)
        self._shown[kind] = list(labels.shown)

    def _count_clients(self, newest: datetime) -> dict[str, float]:
        sketches: dict[str, list[list[int]]] = {}
        minute = newest.replace(second=0, microsecond=0)
        for server, found in self._store.client_sketches(minute - CLIENTS_WINDOW).items():
            sketches.setdefault(self._addresses.get(server, server), []).extend(found)
        return {server: estimate_distinct(found) for server, found in sketches.items()}
