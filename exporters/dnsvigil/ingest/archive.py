"""The parts of the archive: rows wait in the store, and move into Parquet files each hour, or when they are many."""

import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import pyarrow as pa

from dnsvigil.config.collector import Archive as Bounds
from dnsvigil.config.collector import Config
from dnsvigil.engines.duckdb import Steps, macro
from dnsvigil.engines.tuples import decoded
from dnsvigil.ingest.answers import AnswersPart
from dnsvigil.ingest.archive_merge import Merged, Merger
from dnsvigil.ingest.dns import DnsPart
from dnsvigil.ingest.domains import define_failures
from dnsvigil.ingest.part import HOUR, Part, passes
from dnsvigil.ingest.passive_dns import PassiveDnsPart, merged
from dnsvigil.records import DNS_FLOW, DOMAIN_HOUR, SUMMARY_COLUMNS, TRANSACTION, TUPLE
from dnsvigil.sources.zeek.log_types import DNS, PDNS
from dnsvigil.store.archive import ARCHIVED, DROPPED, Archive
from dnsvigil.store.archive_clients import with_counts, without_addresses, without_pseudonyms
from dnsvigil.store.archive_file import SCHEMAS
from dnsvigil.store.counters import CounterTable
from dnsvigil.store.domains import merged_hours
from dnsvigil.store.pseudonyms import Pseudonyms
from dnsvigil.store.store import Store, StoreError
from dnsvigil.system.sql import literal

log = logging.getLogger(__name__)

MAX_WAITING: Final = 2**18
"""So many rows of a table become files, be the hour over or not."""

MAX_KEPT: Final = 2**20
"""So many rows of a table wait for a disk that is full; more are dropped, and counted."""

_RETRY_SECONDS: Final = 60.0
_AT_ONCE: Final = 65_536  # rows
_SPARE: Final = 0.05  # of the size bound, made free when it is reached


@dataclass(frozen=True)
class _Waiting:
    """How the rows of a table wait, and what they become."""

    columns: Mapping[str, str]
    day: str  # SQL
    sensor: str  # SQL
    query: Callable[[str], str]  # returns the SQL of what is written, from the rows of a day and sensor
    read: Callable[[pa.Table, Bounds], pa.Table] = lambda rows, _: rows


def _hours(rows: pa.Table, bounds: Bounds) -> pa.Table:
    """Return summaries of domains with what is to be known of clients."""
    rows = with_counts(rows)
    if bounds.clients == "counts":
        return without_pseudonyms(rows, pa.repeat(True, len(rows)))
    return without_addresses(rows) if bounds.site else rows


def _tuples(rows: pa.Table, _: Bounds) -> pa.Table:
    """Return tuples as people read them, with times."""
    found = decoded(rows)
    for name in ("time_first", "time_last"):
        seconds = found[name].cast(pa.timestamp("s", "UTC"))
        found = found.set_column(found.schema.get_field_index(name), name, seconds)
    return found


_TABLES: Final = {
    "transactions": _Waiting(TRANSACTION, "ts::DATE", "coalesce(sensor, '')", lambda rows: f"FROM {rows} ORDER BY ts"),
    "domain_hours": _Waiting(
        DOMAIN_HOUR | {"sensor": "VARCHAR", "client_key": "VARCHAR"},
        "hour::DATE",
        "coalesce(sensor, '')",
        lambda rows: f"FROM ({merged_hours(rows, 'client_key')}) ORDER BY domain, hour",
        _hours,
    ),
    "tuples": _Waiting(
        TUPLE,
        "to_timestamp(time_last)::DATE",
        # A tuple that waits is of one sensor; those beyond the bits that there are share one.
        "coalesce((SELECT min(sensor) FROM passive_dns_sensors WHERE 1::UBIGINT << number = sensors), '')",
        lambda rows: merged(rows, "names"),
        _tuples,
    ),
    "dns_flows": _Waiting(
        {name: kind for name, kind in DNS_FLOW.items() if name != "amplification"},  # which does not add up
        "ts::DATE",
        "exporter",
        lambda rows: f"FROM {rows} ORDER BY ts, client, server",
    ),
}
_OF_LOGS: Final = ("domain_hours", "tuples")
_SCHEMA: Final = "".join(
    f"CREATE TABLE IF NOT EXISTS archive_{name}"
    f" ({', '.join(f'{column} {kind}' for column, kind in table.columns.items())});\n"
    for name, table in _TABLES.items()
)


@dataclass(frozen=True)
class ArchiveSnapshot:
    """How much the archive has, at one moment."""

    files: Mapping[str, int] = field(default_factory=dict)  # by table
    size: Mapping[str, int] = field(default_factory=dict)  # bytes
    waiting: Mapping[str, int] = field(default_factory=dict)  # rows that are in no file yet
    failures: int = 0  # to write or merge files, since the start


class ArchivePart(Part):
    """The archive of one store. Its part of a round follows those of DNS and answers, whose tables it reads."""

    logs = (DNS,)
    counters: Collection[CounterTable] = (ARCHIVED, DROPPED)

    def __init__(self, store: Store, config: Config, *, waits: bool = True) -> None:
        """``waits`` is whether rows wait for a disk that is full; else that is a ``StoreError``."""
        assert config.archive.path
        self._store = store
        self._waits = waits
        self._bounds = config.archive
        self._own = ("transactions", *_OF_LOGS) if config.archive.transactions else _OF_LOGS
        self.columns = () if config.archive.transactions else (*SUMMARY_COLUMNS, "sensor")
        store.create(_SCHEMA)
        with store.errors():
            define_failures(store.connection, config.zones.failures)
            self._steps = Steps(store.connection, "domain_hours")
        self._archive = Archive(store, config.archive.path, config.archive.site or "")
        self._merger = Merger(self._archive)
        counts = {name: store.rows(f"SELECT count(*) FROM archive_{name}")[0][0] for name in SCHEMAS}
        self._waiting = Counter[str](counts)
        self._due: list[str] = []  # tables to write
        self._retry = 0.0  # monotonic
        self._failed = ""
        self._failures = 0
        if not store.read_only:
            pseudonyms = Pseudonyms(store, config.archive.pseudonym_key_file)
            with store.errors():
                macro(store.connection, "client_pseudonym(client)", pseudonyms.macro)
            self._key = pseudonyms.id
            self._flush_files()

    def close(self) -> None:
        """End what is under way."""
        self._merger.close()

    def gather(self, size: int) -> None:
        """Sum up the records that were summarized, sensor by sensor."""
        self._steps.run("sum_sensor_domain_hours")

    def add(self) -> None:
        """Append the records, what was gathered, and the tuples of answers."""
        if "transactions" in self._own:
            self.append("transactions", f"SELECT {', '.join(TRANSACTION)} FROM {DNS.view}")
        self.append("domain_hours", f"SELECT *, {literal(self._key)} AS client_key FROM sum_sensor_domain_hours")
        self.append("tuples", "FROM answered")

    def append(self, name: str, query: str) -> None:
        """Append the rows of a query to what waits."""
        ((added,),) = self._store.rows(f"INSERT INTO archive_{name} BY NAME {query}")
        self._waiting[name] += added

    def advance(self, before: datetime, newest: datetime) -> None:
        """Move rows into files where an hour is over or there are many, and merge the files of days that are over.

        One table in a round: all at once would hold up the records.
        """
        over = before > datetime.min and passes(before, newest, HOUR)
        due = [name for name in SCHEMAS if self._waiting[name] > (0 if over else MAX_WAITING)]
        self._due += [name for name in due if name not in self._due]
        if self._due:
            self._empty(self._due.pop(0))
        if done := self._merger.take():
            self._replace(done)
            self._merger.start(newest.date())
        elif over:
            self._merger.start(newest.date())

    def evaluate(self, newest: datetime) -> None:
        """Give the files that count since the transaction their names."""
        self._flush_files()

    def forget(self, newest: datetime) -> None:
        """Drop the days that are too old, and the oldest where there is too much."""
        files = sorted(self._archive.files(), key=lambda file: file.day)
        last = (newest - timedelta(seconds=self._bounds.retention)).date()
        dropped = {"age": [file for file in files if file.day < last], "size": []}
        left = [file for file in files if file.day >= last]
        size = sum(file.size for file in left)
        if size > self._bounds.max_size:
            for file in left:
                if size <= (1 - _SPARE) * self._bounds.max_size:
                    break
                dropped["size"].append(file)
                size -= file.size
        for reason, some in dropped.items():
            self._archive.remove(some)
            DROPPED.add_rows(self._store, [(file.table, reason, file.rows) for file in some])

    def flush(self, newest: datetime | None) -> None:
        """Move all rows into files, and merge those of days that are over."""
        if newest is None:
            return
        self._retry = 0.0
        with self._store.transaction():
            for name in SCHEMAS:
                if self._waiting[name]:
                    self._empty(name)
        self._flush_files()
        while self._merger.start(newest.date()):
            self._merger.wait()
            done = self._merger.take()
            if done is None:
                break  # the disk is full
            with self._store.transaction():
                self._replace(done)
            self._flush_files()

    def snapshot(self) -> ArchiveSnapshot:
        """Return how much there is."""
        sizes = self._archive.sizes()
        return ArchiveSnapshot(
            {name: sizes.get(name, (0, 0))[0] for name in self._own},
            {name: sizes.get(name, (0, 0))[1] for name in self._own},
            {name: self._waiting[name] for name in self._own},
            self._failures + self._merger.failures,
        )

    def _empty(self, name: str) -> None:
        """Write the rows of a table that wait, a file for each day and sensor."""
        if time.monotonic() < self._retry:
            self._drop_rows(name)
            return
        table = _TABLES[name]
        days = f"SELECT DISTINCT {table.day}, {table.sensor} FROM archive_{name} ORDER BY ALL"
        try:
            for day, sensor in self._store.rows(days):
                where = f"{table.day} = ? AND {table.sensor} = ?"
                rows = self._rows(table, f"(FROM archive_{name} WHERE {where})", [day, sensor])
                ARCHIVED.add_rows(self._store, [(name, self._archive.write(name, day, sensor, rows))])
                ((written,),) = self._store.rows(f"DELETE FROM archive_{name} WHERE {where}", day, sensor)
                self._waiting[name] -= written
        except OSError as error:
            self._fail(error)
            self._drop_rows(name)

    def _rows(self, table: _Waiting, rows: str, bound: list[Any]) -> Iterator[pa.Table]:
        with self._store.errors():
            reader = self._store.connection.execute(table.query(rows), bound).to_arrow_reader(_AT_ONCE)
            for batch in reader:
                yield table.read(pa.Table.from_batches([batch]), self._bounds)

    def _drop_rows(self, name: str) -> None:
        if self._waiting[name] > MAX_KEPT:
            self._store.rows(f"DELETE FROM archive_{name}")
            DROPPED.add_rows(self._store, [(name, "unwritable", self._waiting[name])])
            self._waiting[name] = 0

    def _replace(self, done: Merged) -> None:
        """Have a merged file count in place of those that it was made from."""
        if error := done.unreadable:
            (file,) = (file for file in done.inputs if self._archive.path(file) == error.path)
            self._archive.set_aside(file)
            self._store.set_aside.put("archive", error.path, error.reason)
            DROPPED.add_rows(self._store, [(file.table, "unreadable", file.rows)])
            return
        counted = {file.name for file in self._archive.files()}
        first = done.inputs[0]
        if done.written and all(file.name in counted for file in done.inputs):
            self._archive.put(first.table, first.day, first.sensor, done.output, done.written)
            self._archive.remove(done.inputs)
        else:  # some were dropped meanwhile
            done.output.unlink(missing_ok=True)

    def _flush_files(self) -> None:
        try:
            self._archive.flush()
        except OSError as error:
            self._fail(error)
        else:
            if time.monotonic() > self._retry:
                self._failed = ""

    def _fail(self, error: OSError) -> None:
        reason = os.strerror(error.errno) if error.errno else str(error)  # Arrow has sentences of its own
        if not self._waits:
            raise StoreError(f"{self._bounds.path} cannot be written: {reason}") from error
        self._failures += 1
        self._retry = time.monotonic() + _RETRY_SECONDS
        if reason != self._failed:
            log.error("archive: %s cannot be written: %s; trying again each minute", self._bounds.path, reason)
            self._failed = reason


class _Gathered(Part):
    """What another part makes of records before the transaction, without its effects on the store."""

    def __init__(self, part: Part) -> None:
        self.logs, self.columns = part.logs, part.columns
        self.gather, self.close = part.gather, part.close  # type: ignore[method-assign]


def archive_parts(store: Store, config: Config) -> list[Part]:
    """Return the parts that take records into the archive alone."""
    passive_dns = PassiveDnsPart(store, config)
    needed = [DnsPart(store, config), AnswersPart(store, passive_dns.tuples), passive_dns]
    archive = ArchivePart(store, config, waits=False)
    return [*map(_Gathered, needed), archive, ArchivedTuplesPart(archive)]


class ArchivedTuplesPart(Part):
    """The tuples of dnsvigil_pdns.log in the archive. Its part of a round follows that of passive DNS."""

    logs = (PDNS,)

    def __init__(self, archive: ArchivePart) -> None:
        self._archive = archive

    def add(self) -> None:
        """Append the tuples."""
        self._archive.append("tuples", "FROM logged")

    def evaluate(self, newest: datetime) -> None:
        """Give the files that count since the transaction their names."""
        self._archive.evaluate(newest)
