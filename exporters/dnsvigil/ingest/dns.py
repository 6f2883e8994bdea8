"""The collector: puts each batch's effects and its cursor into one transaction of the store."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from dnsvigil.config.collector import Config
from dnsvigil.features.novelty import COLUMNS as NOVELTY_COLUMNS
from dnsvigil.features.servers import broadcast_addresses
from dnsvigil.features.summaries import COLUMNS, SKETCH_SIZE, estimate_distinct
from dnsvigil.ingest.detection import Detection, DetectionSnapshot
from dnsvigil.ingest.event_time import EventTime, Minute
from dnsvigil.ingest.summaries import SUMMARIES, Summarizer
from dnsvigil.ingest.top_labels import TopLabels
from dnsvigil.records import CAPTURE, OTHER, SIGNALS, utc_now
from dnsvigil.sources.zeek.log_types import CAPTURES, DNS, OPEN_RESOLVERS, PDNS, POISONINGS, LogType
from dnsvigil.sources.zeek.parser import Loaded, Parser
from dnsvigil.sources.zeek.reader import Batch
from dnsvigil.store.findings import SHOWN, Finding, Findings, count_open, findings_in
from dnsvigil.store.passive_dns import PassiveDns
from dnsvigil.store.server_names import ServerCounters, take_names
from dnsvigil.store.store import Store, StoreError
from dnsvigil.system.terminal import counted

SOURCE: Final = DNS.source
"""The label ``source`` of dns.log, and of what is said of a Zeek as a whole."""

LATE: Final = timedelta(minutes=5)
"""How long a minute's summary is open for more of it; what comes later still lands, in rows of its own."""

CLIENTS_WINDOW: Final = timedelta(minutes=5)
"""The event time over which distinct clients are counted."""

OPEN_WINDOW: Final = timedelta(minutes=15)
"""The event time over which open resolvers are counted: three of the intervals in which the sensor logs them."""

CAPTURE_COUNTS: Final = [name for name, kind in CAPTURE.items() if kind == "BIGINT"]
"""The columns of a capture row that are counters, by sensor."""

_SMALL: Final = 4 * 2**20  # bytes of log: twenty thousand records
_MERGE_EVERY: Final = timedelta(minutes=5)
_MERGE_BYTES: Final = 32 * 2**20  # of passive DNS log that waits to be merged; a part of the tuples where they are more
_MERGE_PART: Final = 16
_CURSOR_LIFE: Final = timedelta(days=35)
_FILE_PER_DATA: Final = 2  # a checkpoint may write all that there is anew before it frees the old
_AHEAD: Final = 40 * 10**6  # bytes: what is written ahead of a checkpoint, and an hour's growth
_SPAN_TO_DROP: Final = 0.1  # of the time that the summaries span

_DNS_COUNTERS: Final = """
    SELECT 'queries' AS metric, server AS a, qtype AS b, records AS value FROM sum_types
    UNION ALL SELECT 'responses', server, rcode, records FROM sum_types
    UNION ALL SELECT 'durations', server, bucket::VARCHAR, records FROM sum_latencies
    UNION ALL SELECT 'durations_sum', server, '', rtt FROM sum_latencies
    UNION ALL SELECT 'zone_queries', server, zone, queries FROM sum_zones
    UNION ALL SELECT 'local_name_queries', kind, '', queries FROM local_names
    UNION ALL SELECT 'zone_nxdomain', server, zone, nxdomain FROM sum_zones
    UNION ALL SELECT 'zone_failure_reasons', server, reason || ' ' || zone, failures FROM sum_failures
"""
_COUNTERS: Final = {
    DNS: _DNS_COUNTERS,
    POISONINGS: " UNION ALL ".join(
        f"SELECT 'poisoning_signals' AS metric, '{name}' AS a, '' AS b, {name} AS value FROM {POISONINGS.view}"
        for name in SIGNALS
    ),
    CAPTURES: " UNION ALL ".join(
        f"SELECT 'capture' AS metric, sensor AS a, '{name}' AS b, {name} AS value FROM {CAPTURES.view}"
        for name in CAPTURE_COUNTS
    ),
}
"""What a log's records add to the counters."""

_TABLES: Final = {OPEN_RESOLVERS: "open_resolvers", POISONINGS: "poisoning", CAPTURES: "capture"}
"""Where the records go that are kept as they are."""

_ZONE_COUNTERS: Final = {
    "zone_queries": "b",
    "zone_nxdomain": "b",
    "zone_failure_reasons": "substr(b, instr(b, ' ') + 1)",
}
"""The counters of zones, each with the expression of the zone."""

_SERVER_COUNTERS: Final = ("queries", "responses", "durations", "durations_sum", *_ZONE_COUNTERS)
_SERVERS: Final = ServerCounters("servers", f"metric IN {_SERVER_COUNTERS}", "a", "$name, b")


_RELATIVE_TIMES: Final = (
    "its times are near 1970, as in a capture with relative times: `dnsvigil ingest --start TIME` reads it, with the"
    " time at which the capture began"
)
_UNNAMED_CODES: Final = (
    "some of its answers have no response code that is known: they count for the code `other`, and as no failures"
)


@dataclass(frozen=True)
class Ingested:
    """What became of a batch."""

    records: int
    skipped: Counter[str]  # by reason
    remarks: tuple[str, ...] = ()  # what the log does not say, or how it can be read; the same for all of its batches


@dataclass(frozen=True)
class Snapshot:
    """What the store holds for /metrics, at one moment."""

    counters: list[tuple[str, str, str, int]]  # metric, a, b, value
    sensors: list[tuple[str, str, datetime | None, datetime]]  # source, sensor, newest event, last read; UTC
    zones: frozenset[str]  # those that have a label of their own
    servers: frozenset[str]
    clients: dict[str, float]  # by server
    store_size: int  # bytes
    oldest_minute: datetime | None
    tuples: int  # of passive DNS, one for each sensor that saw it
    open_resolvers: dict[str, int]  # by kind
    detection: DetectionSnapshot
    findings: dict[tuple[str, str], int]  # those open, by detector and severity
    worst: list[Finding]  # of those
    set_aside: dict[str, int]  # by kind

    @property
    def zone_failures(self) -> dict[tuple[str, str], dict[str, int]]:
        """The failures of each server and zone, by reason."""
        found: dict[tuple[str, str], dict[str, int]] = {}
        for metric, server, b, value in self.counters:
            if metric == "zone_failure_reasons":
                reason, _, zone = b.partition(" ")
                found.setdefault((server, zone), {})[reason] = value
        return found

    def shows(self, server: str, zone: str = OTHER) -> bool:
        """Return whether both labels are shown now; one that was and may be again is kept but not shown."""
        return (server == OTHER or server in self.servers) and (zone == OTHER or zone in self.zones)


class Collector:
    """Takes batches into one open store."""

    def __init__(self, store: Store, config: Config) -> None:
        self._store = store
        self._bounds = config.store
        # In bytes that are not compressed, so that it is a tenth on disk at most: more tuples would be slow to merge.
        self._tuples = PassiveDns(store, (config.store.max_size - _AHEAD) // 4)
        self._unmerged = int(self._tuples.has_new())  # bytes of log, at least, since tuples were merged
        self.growing: set[str] = set()  # cursors to keep though their files have not grown for long
        zones = [str(zone.name) for zone in config.zones.configured]
        servers = config.servers
        self._addresses = servers.labels
        self._zones = self._labels("zone", config.zones.top, zones)
        # Where servers are configured, all others are one series.
        self._servers = self._labels("server", 0 if servers.configured else servers.top, servers.names)
        with store.transaction():
            take_names(store, _SERVERS, servers.addresses)
        broadcast = [each for each in broadcast_addresses(config.flows.networks) if each not in self._addresses]
        with store.errors():
            self._parser = Parser(store.connection)
            self._summarizer = Summarizer(
                store.connection, zones, config.zones.failures, servers.excluded_ports, broadcast
            )
        Findings(store)  # they are asked for even if nothing here makes any
        self._detection = Detection.start(store, config)
        self._columns = list(dict.fromkeys([*COLUMNS, *(NOVELTY_COLUMNS if self._detection else ())]))
        self._shown = {"zone": list(self._zones.shown), "server": list(self._servers.shown)}  # as the store has it
        self._time = EventTime(store.newest_event())
        self._newest = self._time.newest
        self._forgotten = False  # since the start
        self._open_minutes: set[datetime] = set()
        self._clients = self._count_clients()
        self._oldest = store.oldest_minute()
        self._open_resolvers = self._count_open_resolvers()

    def close(self) -> None:
        """Free what the collector holds beside the store."""
        self._parser.close()
        if self._detection:
            self._detection.close()

    def ingest(self, batch: Batch) -> Ingested:
        """Put a batch's effects and its cursor into the store, in one transaction.

        Raises :class:`dnsvigil.store.store.StoreError` when the store fails: nothing of the batch is then in it, and
        store and collector must be made anew.
        """
        found = self.put(batch)
        if batch.log_type is DNS and self._detection and self._newest:
            try:
                self._detection.evaluate(self._newest)
            except StoreError:
                raise
            except Exception as error:  # the batch is in the store by now
                self._store.set_aside.put("detector", "findings and scores", error)
        return found

    def put(self, batch: Batch) -> Ingested:
        """Do what :meth:`ingest` does, but do not ask the detectors."""
        log_type = batch.log_type
        ingested, skipped = 0, batch.skipped
        remarks: list[str] = []
        minutes: list[Minute] = []
        self._store.use_one_thread(sum(len(chunk.body) for chunk in batch.chunks) < _SMALL)
        # All of this is temporary tables. Inside the transaction DuckDB would read them with one thread alone.
        with self._store.errors():
            if batch.chunks:
                columns = self._columns if log_type is DNS else None
                # Of the other logs the counters are what matters, and passive DNS forgets by itself.
                keeps_time = self._newest if log_type is DNS else None
                oldest = keeps_time and keeps_time - timedelta(seconds=self._bounds.retention)
                loaded = self._parser.load(
                    log_type, batch.chunks, batch.cursor.sensor, columns, oldest=oldest, options=batch.options
                )
                ingested, skipped = loaded.records, skipped + loaded.skipped
                remarks = _remarks(log_type, batch, loaded)
            if ingested:
                minutes = self._prepare(log_type)
        time = self._time.read(batch.cursor.sensor, minutes, utc_now()) if minutes else None
        with self._store.transaction():
            self._count_records(log_type, ingested, skipped)
            if batch.read:
                self._store.put_sensor(log_type.source, batch.cursor.sensor, time)
            self._store.put_cursor(batch.cursor)
            if time and self._time.newest:
                self._add(log_type)
                self._unmerged += sum(len(chunk.body) for chunk in batch.chunks) if log_type is PDNS else 0
                self._advance(self._time.newest)
        return Ingested(ingested, skipped, tuple(remarks))

    def flush(self) -> None:
        """Do what else is done as time passes, for when no more will come. Raises as :meth:`ingest` does."""
        if self._unmerged:
            with self._store.transaction():
                self._merge_tuples()
        if self._detection and self._newest:
            self._detection.flush(self._newest)

    def snapshot(self) -> Snapshot:
        """Return what the store holds now."""
        return Snapshot(
            counters=self._store.counters(),
            sensors=self._store.sensors(),
            zones=frozenset({*self._zones.pinned, *self._zones.shown}),
            servers=frozenset({*self._servers.pinned, *self._servers.shown}),
            clients=self._clients,
            store_size=self._store.size(),
            oldest_minute=self._oldest,
            tuples=self._tuples.count,
            open_resolvers=self._open_resolvers,
            detection=self._detection.snapshot() if self._detection else DetectionSnapshot(),
            findings=count_open(self._store.rows),
            worst=findings_in(self._store.rows, "open", SHOWN, partial(self._store.set_aside.put, "finding")),
            set_aside=self._store.set_aside.counts(),
        )

    def _labels(self, kind: str, top: int, pinned: Sequence[str]) -> TopLabels:
        known = self._store.labels(kind)
        return TopLabels(top, pinned, known.shown, known.weights)

    def _prepare(self, log_type: LogType) -> list[Minute]:
        """Do what can be done with the parsed records before the transaction; return the minutes that they are of."""
        if log_type is DNS:
            self._summarize()
            if self._detection:
                self._detection.gather()
        elif log_type is PDNS:
            self._tuples.gather(log_type.view)
        query = f"SELECT max(ts), count(*) FROM {log_type.view} GROUP BY date_trunc('minute', ts) ORDER BY ALL"
        return [Minute(*row) for row in self._store.rows(query)]

    def _summarize(self) -> None:
        most = max(self._zones.capacity, self._servers.capacity)
        domains, servers = self._summarizer.count_labels(most)
        self._zones.offer(domains)
        self._servers.offer(servers)
        self._summarizer.summarize(
            [*self._zones.pinned, *self._zones.shown],
            {**self._addresses, **{address: address for address in self._servers.shown}},
        )

    def _add(self, log_type: LogType) -> None:
        """Put the records of the batch into the store."""
        if log_type is DNS:
            self._add_summaries()
            if self._detection:
                self._detection.add()
        elif log_type is PDNS:
            self._tuples.add()
        else:
            self._store.add_rows(_TABLES[log_type], log_type.view)
        if log_type in _COUNTERS:
            self._store.count(_COUNTERS[log_type])

    def _add_summaries(self) -> None:
        for kind, labels in (("zone", self._zones), ("server", self._servers)):
            if labels.shown != self._shown[kind]:
                self._put_labels(kind, labels)
        for name in SUMMARIES:
            self._store.add_summary(name)
        self._open_minutes.update(minute for (minute,) in self._store.rows("SELECT DISTINCT minute FROM sum_types"))

    def _put_labels(self, kind: str, labels: TopLabels) -> None:
        self._store.put_labels(kind, labels.shown, labels.weights)
        self._shown[kind] = list(labels.shown)

    def _count_records(self, log_type: LogType, ingested: int, skipped: Counter[str]) -> None:
        # What was read is the sum of both, so that the two can never disagree.
        self._store.count_values("records_ingested", log_type.source, {"": ingested})
        self._store.count_values("records_skipped", log_type.source, dict(skipped))

    def _advance(self, newest: datetime) -> None:
        """Do what is due as event time moves on: by minute merge and count, by hour forget."""
        before = self._newest or datetime.min
        if newest > before:
            self._store.put_event_time(newest)
        self._newest = newest
        due = (newest - datetime.min) // _MERGE_EVERY > (before - datetime.min) // _MERGE_EVERY
        if self._unmerged > (0 if due else max(_MERGE_BYTES, self._tuples.bytes // _MERGE_PART)):
            self._merge_tuples()
        if not self._forgotten:
            self._forget(newest)
        if _minute(newest) == _minute(before):
            return
        if self._detection:
            self._detection.advance(before, self._newest)
        closed = {minute for minute in self._open_minutes if minute < self._newest - LATE}
        if closed:
            self._store.merge_minutes(closed, SKETCH_SIZE)
            self._open_minutes -= closed
        self._clients = self._count_clients()
        self._open_resolvers = self._count_open_resolvers()
        new_hour = self._newest.replace(minute=0, second=0, microsecond=0) > before
        for kind, labels in (("zone", self._zones), ("server", self._servers)):
            labels.rebalance()
            if new_hour:
                labels.decay()
            self._put_labels(kind, labels)
        if new_hour:
            self._forget(self._newest)
        self._oldest = self._store.oldest_minute()

    def _forget(self, now: datetime) -> None:
        """Keep the store within its bounds."""
        self._forgotten = True
        before = now - timedelta(seconds=self._bounds.retention)
        self._drop_tuples("age", self._tuples.forget(before))
        oldest = self._store.oldest_minute()
        if oldest and _FILE_PER_DATA * self._store.used() + _AHEAD > self._bounds.max_size:
            before = max(before, oldest + _SPAN_TO_DROP * (now - oldest))
        if oldest and oldest < before:
            self._store.forget_minutes(before)
        self._store.forget_cursors(_CURSOR_LIFE, self.growing)
        # Counters outlive their place on the list, so that a label that comes back goes on where it was; those
        # of labels that are not even candidates any more are dropped.
        for metric, zone in _ZONE_COUNTERS.items():
            self._store.forget_counters([metric], zone, self._zones.known())
        self._store.forget_counters(_SERVER_COUNTERS, "a", self._servers.known())

    def _merge_tuples(self) -> None:
        self._drop_tuples("size", self._tuples.merge())
        self._unmerged = 0

    def _drop_tuples(self, reason: str, dropped: int) -> None:
        self._store.count_values("passive_dns_dropped", reason, {"": dropped})

    def _count_open_resolvers(self) -> dict[str, int]:
        return self._store.open_resolvers(self._newest - OPEN_WINDOW) if self._newest else {}

    def _count_clients(self) -> dict[str, float]:
        if self._newest is None:
            return {}
        sketches: dict[str, list[list[int]]] = {}
        for server, found in self._store.client_sketches(_minute(self._newest) - CLIENTS_WINDOW).items():
            sketches.setdefault(self._addresses.get(server, server), []).extend(found)
        return {server: estimate_distinct(found) for server, found in sketches.items()}


def _remarks(log_type: LogType, batch: Batch, loaded: Loaded) -> list[str]:
    headers = [chunk.header for chunk in batch.chunks if chunk.header]
    found = [remark for header in headers for remark in log_type.unknown(header.fields)]
    found += [_UNNAMED_CODES] if loaded.unnamed else []
    found += [_RELATIVE_TIMES] if loaded.relative else []
    return list(dict.fromkeys(found))


def describe_skipped(skipped: Counter[str], what: str = "record") -> str:
    """Return how many records were skipped and why, in words; ``what`` is one of them."""
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in skipped.most_common())
    return f"{counted(skipped.total(), what)} skipped ({reasons})"


def _minute(time: datetime) -> datetime:
    return time.replace(second=0, microsecond=0)
