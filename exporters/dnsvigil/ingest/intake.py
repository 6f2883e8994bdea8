"""The loop over parts: puts the effects of a round and its cursors into one transaction of the store.

A round is what all sensors have written since the last one: batches of several files, bounded as
:func:`dnsvigil.ingest.rounds.rounds` says.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, TypeAlias, TypeVar

from dnsvigil.config.collector import Config
from dnsvigil.detectors.runner import enabled
from dnsvigil.ingest.answers import AnswersPart
from dnsvigil.ingest.archive import ArchivedTuplesPart, ArchivePart
from dnsvigil.ingest.capture import CapturePart
from dnsvigil.ingest.client_lookups import ClientLookupsPart
from dnsvigil.ingest.detection import DetectionPart
from dnsvigil.ingest.dns import DnsPart
from dnsvigil.ingest.domain_groups import DomainGroupsPart
from dnsvigil.ingest.domains import DomainsPart
from dnsvigil.ingest.event_time import EventTime, Minute
from dnsvigil.ingest.findings import FindingsPart
from dnsvigil.ingest.honeypots import HoneypotsPart
from dnsvigil.ingest.hunt import HuntPart
from dnsvigil.ingest.live import LivePart
from dnsvigil.ingest.novelty import NoveltyPart
from dnsvigil.ingest.open_resolvers import OpenResolversPart
from dnsvigil.ingest.part import HOUR, MINUTE, Part, passes
from dnsvigil.ingest.passive_dns import PassiveDnsPart
from dnsvigil.ingest.poisoning import PoisoningPart
from dnsvigil.ingest.records import TABLES as RECORDS
from dnsvigil.ingest.records import count_records
from dnsvigil.ingest.size_bound import drop_before, write_ahead
from dnsvigil.ingest.traffic_classes import TrafficClassesPart
from dnsvigil.records import utc_now
from dnsvigil.sources.honeypots.logs import HONEYPOT_LOGS
from dnsvigil.sources.zeek.log_types import LogType
from dnsvigil.sources.zeek.parser import Loaded, Parser
from dnsvigil.sources.zeek.reader import Batch
from dnsvigil.store.counters import CounterTable, schema
from dnsvigil.store.cursors import forget_cursors, put_cursors
from dnsvigil.store.minutes import forget_minutes, oldest_minute
from dnsvigil.store.package_logs import forget_records, oldest_record
from dnsvigil.store.sensors import newest_event, put_event_time, put_sensors, read_sensors
from dnsvigil.store.set_aside import COUNTER as SET_ASIDE
from dnsvigil.store.store import Store
from dnsvigil.system.terminal import counted

_SMALL: Final = 4 * 2**20  # bytes of log: twenty thousand records
_CURSOR_LIFE: Final = timedelta(days=35)
_RELATIVE_TIMES: Final = (
    "its times are near 1970, as in a capture with relative times: `dnsvigil ingest --start TIME` reads it, with the"
    " time at which the capture began"
)
_UNNAMED_CODES: Final = (
    "some of its answers have no response code that is known: they count for the code `other`, and as no failures"
)

T = TypeVar("T")


@dataclass(frozen=True)
class Ingested:
    """What became of a batch."""

    records: int
    skipped: Counter[str]  # by reason
    remarks: tuple[str, ...] = ()  # what the log does not say, or how it can be read; the same for all of its batches


@dataclass(frozen=True)
class Snapshot:
    """What the store holds for /metrics, at one moment."""

    counters: Mapping[CounterTable, Sequence[tuple[Any, ...]]]  # the rows of each
    sensors: list[tuple[str, str, datetime | None, datetime]]  # source, sensor, newest event, last read; UTC
    store_size: int  # bytes
    oldest_minute: datetime | None
    set_aside: dict[str, int]  # by kind
    parts: Mapping[type, object]  # the snapshot of each part, by its class

    def rows(self, table: CounterTable) -> Sequence[tuple[Any, ...]]:
        """Return the rows of a table of counters; none where no part has it."""
        return self.counters.get(table, ())

    def of(self, part: type[T]) -> T:
        """Return the snapshot of this class; an empty one where there is no such part."""
        found = self.parts.get(part)
        return found if isinstance(found, part) else part()


Parts: TypeAlias = Callable[[Store, Config], list[Part]]
"""Makes the parts, those that use another's tables or state after it."""


def all_parts(store: Store, config: Config) -> list[Part]:
    """Return all that a collector has."""
    passive_dns = PassiveDnsPart(store, config)
    honeypots = HoneypotsPart(store, config)
    poisoning = PoisoningPart(store)
    open_resolvers = OpenResolversPart(store)
    found: list[Part] = [
        DnsPart(store, config),
        LivePart(store),
        TrafficClassesPart(store, config),
        DomainsPart(store, config),
        DomainGroupsPart(store),
        AnswersPart(store, passive_dns.tuples),
        passive_dns,
        open_resolvers,
        poisoning,
        CapturePart(store),
        *honeypots.log_parts(),
        honeypots,
        FindingsPart(store, config),
    ]
    if config.archive.path:
        archive = ArchivePart(store, config)
        found += [archive, ArchivedTuplesPart(archive)]
    if detectors := enabled(config.detectors.disabled):
        novelty = NoveltyPart(store, config, honeypots.hosts)
        found += [
            novelty,
            DetectionPart(store, config, detectors, novelty, honeypots, open_resolvers, poisoning),
            ClientLookupsPart(store),
        ]
        if novelty.lists is not None:
            found.append(HuntPart(store, novelty.lists))
    return found


class Intake:
    """Takes rounds into one open store."""

    def __init__(self, store: Store, config: Config, parts: Parts = all_parts) -> None:
        self._store = store
        self._bounds = config.store
        self.growing: set[str] = set()  # cursors to keep though their files have not grown for long
        store.checkpoint_after(write_ahead(config.store.max_size))
        store.create(schema(RECORDS))
        self._parts = parts(store, config)
        self._counters = (*RECORDS, SET_ASIDE, *(table for part in self._parts for table in part.counters))
        with store.errors():
            self._parser = Parser(store.connection)
        self._time = EventTime(newest_event(store))
        self._newest = self._time.newest
        self._forgotten = False  # since the start
        self._oldest = self._oldest_minute()

    def close(self) -> None:
        """Free what it holds beside the store."""
        self._parser.close()
        for part in self._parts:
            part.close()

    def ingest(self, batches: Sequence[Batch]) -> list[Ingested]:
        """Put the effects of a round and its cursors into the store, in one transaction; return what became of each.

        Raises :class:`dnsvigil.store.store.StoreError` when the store fails: nothing of the round is then in it, and
        store and intake must be made anew.
        """
        found, parts = self._put(batches)
        if self._newest:
            for part in parts:
                part.evaluate(self._newest)
        return found

    def evaluate_flows(self, newest: datetime) -> bool:
        """Have flows and scans evaluated at ``newest``, if no log has come so far; return whether they were.

        Raises :class:`dnsvigil.store.store.StoreError`.
        """
        if self._newest and newest <= self._newest:
            return False
        for part in self._parts:
            part.evaluate_flows(newest)
        return True

    def put(self, batches: Sequence[Batch]) -> list[Ingested]:
        """Do what :meth:`ingest` does, but do not ask the detectors."""
        return self._put(batches)[0]

    def flush(self) -> None:
        """Do what else is done as time passes, for when no more will come. Raises as :meth:`ingest` does."""
        for part in self._parts:
            part.flush(self._newest)

    def snapshot(self) -> Snapshot:
        """Return what the store holds now."""
        parts = [part.snapshot() for part in self._parts]
        return Snapshot(
            counters={table: table.rows(self._store.rows) for table in self._counters},
            sensors=read_sensors(self._store),
            store_size=self._store.size(),
            oldest_minute=self._oldest,
            set_aside=self._store.set_aside.counts(),
            parts={type(each): each for each in parts if each is not None},
        )

    def _put(self, batches: Sequence[Batch]) -> tuple[list[Ingested], list[Part]]:
        """Put a round into the store; return what became of each batch, and the parts that it had records for."""
        sizes: Counter[LogType] = Counter()
        for batch in batches:
            sizes[batch.log_type] += batch.size
        self._store.use_one_thread(sizes.total() < _SMALL)
        # All of this is temporary tables. Inside the transaction DuckDB would read them with one thread alone.
        with self._store.errors():
            loaded = self._load(batches)
            filled = {batch.log_type for batch, each in zip(batches, loaded, strict=True) if each.minutes}
            parts = [part for part in self._parts if not filled.isdisjoint(part.logs)]
            for part in parts:
                part.gather(sum(sizes[log] for log in part.logs))
        found = [
            Ingested(each.records, batch.skipped + each.skipped, _remarks(batch, each))
            for batch, each in zip(batches, loaded, strict=True)
        ]
        times = [self._read_time(batch, each) for batch, each in zip(batches, loaded, strict=True)]
        with self._store.transaction():
            self._count_records(batches, found)
            self._put_sensors(batches, times)
            put_cursors(self._store, (batch.cursor for batch in batches))
            if filled and self._time.newest:
                for part in parts:
                    part.add()
                self._advance(self._time.newest)
        self._parser.drop()
        return found, parts

    def _load(self, batches: Sequence[Batch]) -> list[Loaded]:
        """Parse the batches into the views of their logs; return what became of each."""
        loaded = [Loaded([], Counter()) for _ in batches]
        for log in dict.fromkeys(batch.log_type for batch in batches):
            numbers = [number for number, batch in enumerate(batches) if batch.log_type is log and batch.chunks]
            if not numbers:
                continue
            parts = [part for part in self._parts if log in part.logs]
            columns = {column: None for part in parts for column in part.columns}
            if any(not part.columns for part in parts):
                columns.clear()
            keeps_time = self._newest if any(part.retained for part in parts) else None
            oldest = keeps_time and keeps_time - timedelta(seconds=self._bounds.retention)
            found = self._parser.load([batches[number] for number in numbers], list(columns), oldest=oldest)
            for number, each in zip(numbers, found, strict=True):
                loaded[number] = each
        return loaded

    def _read_time(self, batch: Batch, loaded: Loaded) -> datetime | None:
        """Take note of the times in a batch; return the time of its sensor, None where it has no records."""
        minutes = [Minute(*minute) for minute in loaded.minutes]
        sparse = batch.log_type in HONEYPOT_LOGS
        return self._time.read(batch.cursor.sensor, minutes, utc_now(), sparse=sparse) if minutes else None

    def _put_sensors(self, batches: Sequence[Batch], times: Sequence[datetime | None]) -> None:
        newest: dict[str, dict[str, datetime | None]] = defaultdict(dict)  # by source and sensor
        for batch, time in zip(batches, times, strict=True):
            if batch.read:
                known = newest[batch.log_type.source].get(batch.cursor.sensor)
                newest[batch.log_type.source][batch.cursor.sensor] = max(
                    known, time, key=lambda each: each or datetime.min
                )
        for source, sensors in newest.items():
            put_sensors(self._store, source, sensors)

    def _count_records(self, batches: Sequence[Batch], found: Sequence[Ingested]) -> None:
        ingested: Counter[str] = Counter()
        skipped: dict[str, Counter[str]] = defaultdict(Counter)
        for batch, each in zip(batches, found, strict=True):
            ingested[batch.log_type.source] += each.records
            skipped[batch.log_type.source] += each.skipped
        for source, records in ingested.items():
            count_records(self._store, source, records, skipped[source])

    def _advance(self, newest: datetime) -> None:
        """Do what is due as event time moves on, which is by the minute or by the hour."""
        before = self._newest or datetime.min
        if newest > before:
            put_event_time(self._store, newest)
        self._newest = newest
        for part in self._parts:
            part.advance(before, newest)
        if passes(before, newest, HOUR) or not self._forgotten:
            self._forget(newest)
        if passes(before, newest, MINUTE):
            self._oldest = self._oldest_minute()

    def _forget(self, now: datetime) -> None:
        """Keep the store within its bounds."""
        self._forgotten = True
        before = now - timedelta(seconds=self._bounds.retention)
        oldest = self._oldest_minute()
        if oldest and (full := drop_before(self._store, self._bounds.max_size, oldest, now)):
            before = max(before, full)
        if oldest and oldest < before:
            forget_minutes(self._store, before)
            forget_records(self._store, before)
        forget_cursors(self._store, _CURSOR_LIFE, self.growing)
        for part in self._parts:
            part.forget(now)

    def _oldest_minute(self) -> datetime | None:
        """Return the first minute that has a summary or a record."""
        oldest = (oldest_minute(self._store), oldest_record(self._store))
        return min((minute for minute in oldest if minute), default=None)


def _remarks(batch: Batch, loaded: Loaded) -> tuple[str, ...]:
    headers = [chunk.header for chunk in batch.chunks if chunk.header]
    found = [remark for header in headers for remark in batch.log_type.unknown(header.fields)]
    found += [_UNNAMED_CODES] if loaded.unnamed else []
    found += [_RELATIVE_TIMES] if loaded.relative else []
    return tuple(dict.fromkeys(found))


def describe_skipped(skipped: Counter[str], what: str = "record") -> str:
    """Return how many records were skipped and why, in words; ``what`` is one of them."""
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in skipped.most_common())
    return f"{counted(skipped.total(), what)} skipped ({reasons})"
