"""The part of DNS: the summaries and counters of dns.log by server and zone, and which of these have a label."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from dnsvigil.config.collector import Config
from dnsvigil.ingest.local_names import broadcast_addresses
from dnsvigil.ingest.part import HOUR, MINUTE, Part, passes
from dnsvigil.ingest.summaries import SUMMARIES, Summarizer
from dnsvigil.ingest.top_labels import TopLabels
from dnsvigil.records import OTHER, SUMMARY_COLUMNS
from dnsvigil.sources.zeek.log_types import DNS
from dnsvigil.store.counters import CounterTable, schema
from dnsvigil.store.labels import put_labels, read_labels
from dnsvigil.store.minutes import add_summary, client_sketches, merge_minutes
from dnsvigil.store.sensors import newest_event
from dnsvigil.store.server_names import take_names
from dnsvigil.store.sketches import SKETCH_SIZE, estimate_distinct
from dnsvigil.store.store import Store

SOURCE: Final = DNS.source
"""The label ``source`` of dns.log, and of what is said of a Zeek as a whole."""

LATE: Final = timedelta(minutes=5)
"""How long a minute's summary is open for more of it; what comes later still lands, in rows of its own."""

CLIENTS_WINDOW: Final = timedelta(minutes=5)
"""The event time over which distinct clients are counted."""

QUERIES: Final = CounterTable("queries", ("server", "qtype"), ("queries",))
RESPONSES: Final = CounterTable("responses", ("server", "rcode"), ("responses",))
DURATIONS: Final = CounterTable("durations", ("server", "bucket"), ("responses", "rtt"))  # rtt in microseconds
ZONES: Final = CounterTable("zones", ("server", "zone"), ("queries", "nxdomain"))
ZONE_FAILURES: Final = CounterTable("zone_failures", ("server", "zone", "reason"), ("failures",))
LOCAL_NAMES: Final = CounterTable("local_names", ("kind",), ("queries",))

_COUNTERS: Final = {
    QUERIES: "SELECT server, qtype, records AS queries FROM sum_types",
    RESPONSES: "SELECT server, rcode, records AS responses FROM sum_types",
    DURATIONS: "SELECT server, bucket::VARCHAR AS bucket, records AS responses, rtt FROM sum_latencies",
    ZONES: "FROM sum_zones",
    ZONE_FAILURES: "FROM sum_failures",
    LOCAL_NAMES: "FROM local_names",
}
"""What a round adds to each."""

_OF_ZONES: Final = (ZONES, ZONE_FAILURES)
_OF_SERVERS: Final = (QUERIES, RESPONSES, DURATIONS, *_OF_ZONES)


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
    counters = tuple(_COUNTERS)
    columns = SUMMARY_COLUMNS
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
        store.create(schema(self.counters))
        with store.transaction():
            take_names(store, "servers", _OF_SERVERS, "server", servers.addresses)
        broadcast = [each for each in broadcast_addresses(config.flows.networks) if each not in self._addresses]
        with store.errors():
            self._summarizer = Summarizer(
                store.connection, zones, config.zones.failures, servers.excluded_ports, broadcast
            )
        self._open_minutes: set[datetime] = set()
        newest = newest_event(store)
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
            add_summary(self._store, name)
        self._open_minutes.update(minute for (minute,) in self._store.rows("SELECT DISTINCT minute FROM sum_types"))
        for table, query in _COUNTERS.items():
            table.add(self._store, query)

    def advance(self, before: datetime, newest: datetime) -> None:
        """By the minute merge summaries, count clients and give labels to what has become heavy."""
        if not passes(before, newest, MINUTE):
            return
        closed = {minute for minute in self._open_minutes if minute < newest - LATE}
        if closed:
            merge_minutes(self._store, closed, SKETCH_SIZE)
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
        for table in _OF_ZONES:
            table.forget(self._store, "zone", self._labels["zone"].known())
        for table in _OF_SERVERS:
            table.forget(self._store, "server", self._labels["server"].known())

    def snapshot(self) -> DnsSnapshot:
        """Return the labels now, and the clients as of the last minute."""
        shown = {kind: frozenset({*labels.pinned, *labels.shown}) for kind, labels in self._labels.items()}
        return DnsSnapshot(shown["zone"], shown["server"], self._clients)

    def _read_labels(self, kind: str, top: int, pinned: Sequence[str]) -> TopLabels:
        known = read_labels(self._store, kind)
        return TopLabels(top, pinned, known.shown, known.weights)

    def _put_labels(self, kind: str) -> None:
        labels = self._labels[kind]
        put_labels(self._store, kind, labels.shown, labels.weights)
        self._shown[kind] = list(labels.shown)

    def _count_clients(self, newest: datetime) -> dict[str, float]:
        sketches: dict[str, list[list[int]]] = {}
        minute = newest.replace(second=0, microsecond=0)
        for server, found in client_sketches(self._store, minute - CLIENTS_WINDOW).items():
            sketches.setdefault(self._addresses.get(server, server), []).extend(found)
        return {server: estimate_distinct(found) for server, found in sketches.items()}
