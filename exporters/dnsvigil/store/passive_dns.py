"""Passive DNS in the store: the newest tuples in a table, all others in files beside it, which a table lists.

What batches bring is appended. Once that is much, or an hour is over, it moves into a pair of files. A pair counts from
the commit of the transaction that lists it: killed at any instant, no tuple is lost, and none counts twice.
"""

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from dnsvigil.records import TUPLE
from dnsvigil.store.counters import CounterTable
from dnsvigil.store.store import Store
from dnsvigil.store.tuple_file import SORTED_BY, Order, TupleWriter, Written, path_of
from dnsvigil.store.tuple_keys import NEGATIVE_TYPES

DROPPED: Final = CounterTable("passive_dns_dropped", ("reason",), ("tuples",))

FOLDER: Final = "passive-dns"
"""The folder of the files, in that of the state."""

NEW: Final = "passive_dns_new"
"""The table of the tuples that are in no file yet."""

MAX_SENSORS: Final = 63
"""The bit that all sensors from this number on share."""

_COLUMNS: Final = ", ".join(f"{name} {kind}" for name, kind in TUPLE.items())
_SCHEMA: Final = f"""
CREATE TABLE IF NOT EXISTS {NEW} ({_COLUMNS});
CREATE TABLE IF NOT EXISTS passive_dns_files (
    stem VARCHAR, level TINYINT, period TIMESTAMP, tuples BIGINT, size BIGINT, time_first UINTEGER, time_last UINTEGER,
    types VARCHAR[], above BIGINT
);
CREATE TABLE IF NOT EXISTS passive_dns_sensors (sensor VARCHAR, number TINYINT);
{DROPPED.schema}"""

_UNREADABLE: Final = ".unreadable"
_BATCH: Final = 65_536  # rows that are written at once

Merge = Callable[[str, Order], str]
"""Returns the query of a table's tuples, each once and in order."""


@dataclass(frozen=True)
class TupleFiles:
    """A pair of files with the same tuples in both orders."""

    stem: str  # of their names
    level: int  # 0: as they left the table; 1: an hour's, 2: a day's, 3: a month's
    period: datetime  # event time when they left the table; the begin of the hour, day or month
    tuples: int
    size: int  # bytes
    time_first: int  # the earliest of the tuples, in seconds since 1970, as the next
    time_last: int
    types: Sequence[str]
    above: int = 0  # tuples that were seen so often or less have been dropped


class PassiveDns:
    """The tuples in one store."""

    def __init__(self, store: Store) -> None:
        """Raises :class:`dnsvigil.store.store.StoreError`."""
        self._store = store
        self.folder = store.path.with_name(FOLDER)
        store.create(_SCHEMA)
        self._unlisted: set[str] = set()  # stems of files to remove
        ((self.waiting,),) = store.rows(f"SELECT count(*) FROM {NEW}")  # tuples in the table, as often as added

    # The table

    def sensor_bits(self, sensors: Iterable[str]) -> dict[str, int]:
        """Return the bits of these sensors and of all others that are known; new ones get the next, for good."""
        known = dict(self._store.rows("SELECT sensor, number FROM passive_dns_sensors"))
        if new := sorted(set(sensors) - known.keys()):
            numbers = [min(number, MAX_SENSORS) for number in range(len(known), len(known) + len(new))]
            known |= dict(zip(new, numbers, strict=True))
            with self._store.transaction():
                self._store.rows(
                    "INSERT INTO passive_dns_sensors SELECT unnest(?::VARCHAR[]), unnest(?::TINYINT[])", new, numbers
                )
        return {sensor: 1 << number for sensor, number in known.items()}

    def add(self, table: str) -> None:
        """Append the tuples of a table."""
        ((added,),) = self._store.rows(f"INSERT INTO {NEW} BY NAME FROM {table}")
        self.waiting += added

    def merge(self, merge: Merge) -> None:
        """Leave each tuple in the table once; this takes a transaction."""
        self._store.rows(f"CREATE OR REPLACE TEMP TABLE merged_tuples AS {merge(NEW, 'names')}")
        self._store.rows(f"DELETE FROM {NEW}")
        self.waiting = 0
        self.add("merged_tuples")
        self._store.rows("DROP TABLE merged_tuples")

    # The files

    def files(self) -> list[TupleFiles]:
        """Return the files that count, the oldest period first."""
        return [
            TupleFiles(*row)
            for row in self._store.rows(
                "SELECT stem, level, period, tuples, size, time_first, time_last, types, above FROM passive_dns_files"
                " ORDER BY period, stem"
            )
        ]

    def new_stem(self) -> str:
        """Return a stem that no file has or had."""
        return uuid.uuid4().hex

    def path(self, stem: str) -> Path:
        """Return the path of a pair, less the order and what follows it."""
        return self.folder / stem

    def empty(self, merge: Merge, period: datetime) -> None:
        """Move the tuples of the table into a pair of files; this takes a transaction.

        Raises :class:`dnsvigil.store.store.StoreError`, and ``OSError`` where the files cannot be written.
        """
        self.folder.mkdir(exist_ok=True)
        stem = self.new_stem()
        written = {
            order: write_sorted(
                path_of(self.path(stem), order),
                order,
                self._store.connection.execute(merge(NEW, order)).to_arrow_reader(_BATCH),
            )
            for order in SORTED_BY
        }
        self.list_files(stem, 0, period, written)
        self._store.rows(f"DELETE FROM {NEW}")
        self.waiting = 0

    def list_files(
        self, stem: str, level: int, period: datetime, written: Mapping[Order, Written], above: int = 0
    ) -> None:
        """Have a pair of files count; this takes a transaction."""
        names = written["names"]
        size = sum(each.size for each in written.values())
        self._store.rows(
            "INSERT INTO passive_dns_files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            *(stem, level, period, names.rows, size, names.time_first, names.time_last, list(names.types), above),
        )

    def raise_level(self, stem: str, level: int, period: datetime) -> None:
        """Have a pair stand for a longer period; this takes a transaction."""
        self._store.rows("UPDATE passive_dns_files SET level = ?, period = ? WHERE stem = ?", level, period, stem)

    def unlist(self, stems: Sequence[str]) -> None:
        """Have files count no more; this takes a transaction, after which :meth:`remove_unlisted` removes them."""
        self._store.rows("DELETE FROM passive_dns_files WHERE list_contains(?::VARCHAR[], stem)", list(stems))
        self._unlisted.update(stems)

    def remove_unlisted(self) -> None:
        """Remove the files that earlier transactions have unlisted. A look-up that has opened one reads on in it."""
        if self._unlisted:
            listed = {each.stem for each in self.files()}  # again, where the transaction failed
            for stem in self._unlisted - listed:
                for order in SORTED_BY:
                    path_of(self.path(stem), order).unlink(missing_ok=True)
            self._unlisted.clear()

    def remove_orphans(self) -> None:
        """Remove what a process that was killed has left; nothing else may be at work on the folder."""
        listed = {each.stem for each in self.files()}
        for path in self.folder.glob("*.*") if self.folder.is_dir() else ():
            if path.name.split(".")[0] not in listed and path.suffix != _UNREADABLE:
                with suppress(OSError):
                    path.unlink()

    def set_aside(self, stem: str) -> None:
        """Have a pair count no more because one of the two is unreadable; they are kept under other names."""
        self._store.rows("DELETE FROM passive_dns_files WHERE stem = ?", stem)
        for order in SORTED_BY:
            path = path_of(self.path(stem), order)
            with suppress(OSError):
                path.rename(f"{path}{_UNREADABLE}")


def write_sorted(path: Path, order: Order, batches: Iterable[pa.RecordBatch]) -> Written:
    """Write tuples, which come in the order of the file. Raises ``OSError``; nothing is then left."""
    writer = TupleWriter(path, order)
    try:
        for batch in batches:
            writer.write(without_negative(pa.Table.from_batches([batch]), order))
        return writer.close()
    except BaseException:
        writer.abandon()
        raise


def without_negative(tuples: pa.Table, order: Order) -> pa.Table:
    """Return the tuples that the files of an order have: where data is the key, there are none without."""
    if order == "names":
        return tuples
    return tuples.filter(pc.invert(pc.is_in(tuples["rrtype"], pa.array(NEGATIVE_TYPES))))
