"""The part of passive DNS: the tuples that the Zeek package writes, and the files in which all tuples end up."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from dnsvigil.config.collector import Config
from dnsvigil.engines.compaction import Result
from dnsvigil.engines.duckdb import Steps, lookup, queries
from dnsvigil.ingest.compaction import Compaction, Compactor
from dnsvigil.ingest.former_passive_dns import drop_former, has_former, newest_former, next_former
from dnsvigil.ingest.part import HOUR, Part, passes
from dnsvigil.sources.zeek.log_types import PDNS
from dnsvigil.store.passive_dns import DROPPED, PassiveDns
from dnsvigil.store.store import Store, StoreError
from dnsvigil.store.tuple_file import SORTED_BY, Order

_MAX_WAITING: Final = 2**18  # tuples in the table


@dataclass(frozen=True)
class PassiveDnsSnapshot:
    """How much passive DNS there is, at one moment."""

    tuples: int = 0  # one for each file that has it, and each batch that is in no file yet
    files: int = 0
    size: int = 0  # bytes of files
    failures: int = 0  # of compactions, since the start


class PassiveDnsPart(Part):
    """Passive DNS in one store. ``tuples`` is where other parts add theirs."""

    logs = (PDNS,)
    counters = (DROPPED,)

    def __init__(self, store: Store, config: Config) -> None:
        self._store = store
        self._bounds = config.passive_dns
        self.tuples = PassiveDns(store)
        self.tuples.remove_orphans()
        self._steps = Steps(store.connection, "passive_dns")
        self._compactor = Compactor(self.tuples, config.passive_dns.max_size)
        if has_former(store):
            self._move_former()

    def close(self) -> None:
        """End the process that merges files."""
        self._compactor.close()

    def gather(self, size: int) -> None:
        """Put the rows of the same tuples together."""
        gather(self._store, self.tuples, self._steps, PDNS.view, "logged")

    def add(self) -> None:
        """Append what was gathered."""
        self.tuples.add("logged")

    def advance(self, before: datetime, newest: datetime) -> None:
        """Move tuples into files where an hour is over or there are many, and merge files."""
        self.tuples.remove_unlisted()
        over = before > datetime.min and passes(before, newest, HOUR)
        if over:
            self._compactor.changed()
        if self.tuples.waiting > (0 if over else _MAX_WAITING):
            self._empty(before if over else newest)
        if done := self._compactor.step(newest):
            replace_files(self._store, self.tuples, *done)

    def forget(self, newest: datetime) -> None:
        """Drop the files of which no tuple was seen since the retention began."""
        since = (newest - timedelta(seconds=self._bounds.retention) - datetime(1970, 1, 1)).total_seconds()
        old = [file for file in self.tuples.files() if file.time_last < since]
        if old:
            self.tuples.unlist([file.stem for file in old])
            _drop(self._store, "age", sum(file.tuples for file in old))

    def flush(self, newest: datetime | None) -> None:
        """Merge the tuples that wait, and the files that are due."""
        if self.tuples.waiting:
            with self._store.transaction():
                self.tuples.merge(merged)
        while newest and self._compactor.wait():
            with self._store.transaction():
                self.advance(newest, newest)

    def snapshot(self) -> PassiveDnsSnapshot:
        """Return how much there is."""
        files = self.tuples.files()
        return PassiveDnsSnapshot(
            sum(file.tuples for file in files) + self.tuples.waiting,
            len(files),
            sum(file.size for file in files),
            self._compactor.failures,
        )

    def _move_former(self) -> None:
        newest = newest_former(self._store)
        while newest and (end := next_former(self._store)):
            self.gather(0)
            with self._store.transaction():
                self.add()
                self._empty(newest)
                drop_former(self._store, end)
        with self._store.transaction():
            drop_former(self._store)

    def _empty(self, period: datetime) -> None:
        try:
            self.tuples.empty(merged, period)
        except OSError as error:
            raise StoreError(f"{self.tuples.folder}: {error}") from error
        self._compactor.changed()


def replace_files(store: Store, tuples: PassiveDns, job: Compaction, result: Result, stem: str) -> None:
    """Have the output of a compaction count in place of its inputs; this takes a transaction."""
    if result.unreadable:
        path, reason = result.unreadable
        for file in job.inputs:
            if file.stem in path:
                tuples.set_aside(file.stem)
                store.set_aside.put("passive_dns", path, reason)
                _drop(store, "unreadable", file.tuples)
        return
    tuples.unlist([file.stem for file in job.inputs])
    if result.written["names"].rows:
        tuples.list_files(stem, job.level, job.period, result.written, job.above)
    _drop(store, "size", result.left_out)


def _drop(store: Store, reason: str, dropped: int) -> None:
    DROPPED.add_rows(store, [(reason, dropped)])


def gather(store: Store, tuples: PassiveDns, steps: Steps, view: str, table: str) -> None:
    """Make the table of the tuples that the records of a view hold; runs before the transaction."""
    sensors = [sensor or "" for (sensor,) in store.rows(f"SELECT DISTINCT sensor FROM {view}")]
    bits = tuples.sensor_bits(sensors)
    lookup(store.connection, "sensor_bits", {"sensor": "VARCHAR", "bit": "UBIGINT"}, [*bits], [*bits.values()])
    steps.run(table)


def merged(table: str, order: Order) -> str:
    """Return the query of the tuples of a table, each once and in order."""
    tuples = queries("passive_dns")["merged"].replace('"tuples"', table)
    return f"FROM ({tuples}) ORDER BY {', '.join(SORTED_BY[order])}"
