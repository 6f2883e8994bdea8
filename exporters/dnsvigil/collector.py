"""The collector: puts each batch's effects and its cursor into one transaction of the store."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from dnsvigil.config import Config
from dnsvigil.features.embedded import SUMMARIES, Summarizer
from dnsvigil.features.summaries import COLUMNS, SKETCH_SIZE, estimate_distinct
from dnsvigil.features.toplabels import TopLabels
from dnsvigil.records import OTHER
from dnsvigil.sources.parser import Parser
from dnsvigil.sources.reader import Batch
from dnsvigil.store.store import Store

SOURCE: Final = "zeek"
"""The label ``source`` of what comes from Zeek's logs."""

LATE: Final = timedelta(minutes=5)
"""How long a minute's summary is open for more of it; what comes later still lands, in rows of its own."""

CLIENTS_WINDOW: Final = timedelta(minutes=5)
"""The event time over which distinct clients are counted."""

_CURSOR_LIFE: Final = timedelta(days=35)
_FILE_PER_DATA: Final = 2  # a checkpoint may write all that there is anew before it frees the old
_AHEAD: Final = 40 * 10**6  # bytes: what is written ahead of a checkpoint, and an hour's growth
_SPAN_TO_DROP: Final = 0.1  # of the time that the summaries span

_COUNTERS: Final = """
    SELECT 'queries' AS metric, server AS a, qtype AS b, records AS value FROM sum_types
    UNION ALL SELECT 'responses', server, rcode, records FROM sum_types
    UNION ALL SELECT 'durations', server, bucket::VARCHAR, records FROM sum_latencies
    UNION ALL SELECT 'durations_sum', server, '', rtt FROM sum_latencies
    UNION ALL SELECT 'zone_queries', server, zone, queries FROM sum_zones
    UNION ALL SELECT 'zone_failures', server, zone, failures FROM sum_zones
    UNION ALL SELECT 'zone_nxdomain', server, zone, nxdomain FROM sum_zones
"""
_ZONE_COUNTERS: Final = ("zone_queries", "zone_failures", "zone_nxdomain")
_SERVER_COUNTERS: Final = ("queries", "responses", "durations", "durations_sum", *_ZONE_COUNTERS)


@dataclass(frozen=True)
class Snapshot:
    """What the store holds for /metrics, at one moment."""

    counters: list[tuple[str, str, str, int]]  # metric, a, b, value
    sensors: list[tuple[str, str, datetime | None, datetime]]  # source, sensor, newest event, last read; UTC
    zones: frozenset[str]  # those shown by themselves
    servers: frozenset[str]
    clients: dict[str, float]  # by server
    store_size: int  # bytes
    oldest_minute: datetime | None

    def shows(self, server: str, zone: str = OTHER) -> bool:
        """Return whether both labels are shown now; one that was and may be again is kept but not shown."""
        return (server == OTHER or server in self.servers) and (zone == OTHER or zone in self.zones)


class Collector:
    """Takes batches into one open store."""

    def __init__(self, store: Store, config: Config) -> None:
        self._store = store
        self._bounds = config.store
        zones = [str(zone.name) for zone in config.zones.configured]
        servers = config.servers
        self._zones = self._labels("zone", config.zones.top, zones)
        # Where servers are configured, all others are one series.
        self._servers = self._labels("server", 0 if servers.configured else servers.top, servers.configured)
        with store.errors():
            self._parser = Parser(store.connection, COLUMNS)
            self._summarizer = Summarizer(store.connection, zones, config.zones.failures)
        self._shown = {"zone": list(self._zones.shown), "server": list(self._servers.shown)}  # as the store has it
        self._newest = store.newest_event()
        self._open_minutes: set[datetime] = set()
        self._clients = self._count_clients()
        self._oldest = store.oldest_minute()

    def close(self) -> None:
        """Free what the collector holds beside the store."""
        self._parser.close()

    def ingest(self, batch: Batch) -> Counter[str]:
        """Put a batch's effects and its cursor into the store, in one transaction.

        Returns how many records were skipped, by reason. Raises :class:`dnsvigil.store.store.StoreError` when the
        store fails: nothing of the batch is then in it, and store and collector must be made anew.
        """
        ingested, skipped = 0, batch.skipped
        newest = None
        # All of this is temporary tables. Inside the transaction DuckDB would read them with one thread alone.
        with self._store.errors():
            if batch.pieces:
                ingested, reasons = self._parser.load(batch.pieces, batch.cursor.sensor)
                skipped = skipped + reasons
            if ingested:
                newest = self._summarize()
        with self._store.transaction():
            self._count_records(ingested, skipped)
            if batch.read:
                self._store.put_sensor(SOURCE, batch.cursor.sensor, newest)
            self._store.put_cursor(batch.cursor)
            if newest:
                self._add_summaries()
                self._pass_time(newest)
        return skipped

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
        )

    def _labels(self, kind: str, top: int, pinned: Sequence[str]) -> TopLabels:
        known = self._store.labels(kind)
        return TopLabels(top, pinned, known.shown, known.weights)

    def _summarize(self) -> datetime:
        """Summarize the parsed records; return the time of the newest."""
        most = max(self._zones.capacity, self._servers.capacity)
        domains, servers = self._summarizer.count_labels(most)
        self._zones.offer(domains)
        self._servers.offer(servers)
        self._summarizer.summarize(
            [*self._zones.pinned, *self._zones.shown], [*self._servers.pinned, *self._servers.shown]
        )
        ((newest,),) = self._store.rows("SELECT max(ts) FROM transactions")
        time: datetime = newest
        return time

    def _add_summaries(self) -> None:
        """Put the summaries of the batch into the store."""
        for kind, labels in (("zone", self._zones), ("server", self._servers)):
            if labels.shown != self._shown[kind]:
                self._put_labels(kind, labels)
        for name in SUMMARIES:
            self._store.add_summary(name)
        self._store.count(_COUNTERS)
        self._open_minutes.update(minute for (minute,) in self._store.rows("SELECT DISTINCT minute FROM sum_types"))

    def _put_labels(self, kind: str, labels: TopLabels) -> None:
        self._store.put_labels(kind, labels.shown, labels.weights)
        self._shown[kind] = list(labels.shown)

    def _count_records(self, ingested: int, skipped: Counter[str]) -> None:
        # What was read is the sum of both, so that the two can never disagree.
        self._store.count_values("records_ingested", SOURCE, {"": ingested})
        self._store.count_values("records_skipped", SOURCE, dict(skipped))

    def _pass_time(self, newest: datetime) -> None:
        """Do what is due as event time moves on: by minute merge and count, by hour forget."""
        before = self._newest or datetime.min
        self._newest = max(newest, before)
        if _minute(self._newest) == _minute(before):
            return
        closed = {minute for minute in self._open_minutes if minute < self._newest - LATE}
        if closed:
            self._store.merge_minutes(closed, SKETCH_SIZE)
            self._open_minutes -= closed
        self._clients = self._count_clients()
        new_hour = self._newest.replace(minute=0, second=0, microsecond=0) > before
        for kind, labels in (("zone", self._zones), ("server", self._servers)):
            labels.renew()
            if new_hour:
                labels.fade()
            self._put_labels(kind, labels)
        if new_hour:
            self._forget(self._newest)
        self._oldest = self._store.oldest_minute()

    def _forget(self, now: datetime) -> None:
        """Keep the store within its bounds."""
        before = now - timedelta(seconds=self._bounds.retention)
        oldest = self._store.oldest_minute()
        if oldest and _FILE_PER_DATA * self._store.used() + _AHEAD > self._bounds.max_size:
            before = max(before, oldest + _SPAN_TO_DROP * (now - oldest))
        if oldest and oldest < before:
            self._store.forget_minutes(before)
        self._store.forget_cursors(_CURSOR_LIFE)
        # Counters outlive their place on the list, so that a label that comes back goes on where it was; those
        # of labels that are not even candidates any more are dropped.
        self._store.forget_counters(_ZONE_COUNTERS, "b", self._zones.known())
        self._store.forget_counters(_SERVER_COUNTERS, "a", self._servers.known())

    def _count_clients(self) -> dict[str, float]:
        if self._newest is None:
            return {}
        sketches = self._store.client_sketches(_minute(self._newest) - CLIENTS_WINDOW)
        return {server: estimate_distinct(found) for server, found in sketches.items()}


def describe_skipped(skipped: Counter[str]) -> str:
    """Return how many records were skipped and why, in words."""
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in skipped.most_common())
    return f"{skipped.total():,} records skipped ({reasons})"


def _minute(time: datetime) -> datetime:
    return time.replace(second=0, microsecond=0)
