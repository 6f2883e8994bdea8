"""Passive DNS as detectors read it: the store's table, and the files beside it."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa

from dnsvigil.records import TUPLE
from dnsvigil.store.passive_dns import FOLDER, NEW
from dnsvigil.store.store import Read
from dnsvigil.store.tuple_file import SORTED_BY, Order, TupleFile, TupleFileError, path_of
from dnsvigil.store.tuple_keys import Range

_EPOCH: Final = datetime(1970, 1, 1)
_COLUMNS: Final = ", ".join(TUPLE)


class Tuples:
    """The tuples of one store. Its queries run where no file can be replaced meanwhile."""

    def __init__(self, state: Path) -> None:
        self._folder = state / FOLDER
        self.unreadable = ""
        """Why files were left out of the last query; empty where none was."""

    def recent(self, read: Read, since: datetime, now: datetime, query: str, *bound: Any) -> list[Any]:
        """Return the rows of a query over ``recent``, the tuples between two times.

        The query begins after ``WITH recent AS (...)``; ``$1`` and ``$2`` are the times, ``bound`` comes after these.
        """
        span = [seconds(time) for time in (since, now)]
        stems = read(
            "SELECT stem FROM passive_dns_files WHERE time_last >= $1 AND time_first <= $2 ORDER BY stem", *span
        )
        files = [str(path_of(self._folder / stem, "names")) for (stem,) in stems]
        self.unreadable = ""
        try:
            return read(f"WITH {_recent(files)}{query}", *span, *bound)
        except duckdb.Error as error:
            readable = [file for file in files if _is_readable(read, file)]
            if readable == files:
                raise
            self.unreadable = f"files of passive DNS cannot be read, and are left out: {error}"
            return read(f"WITH {_recent(readable)}{query}", *span, *bound)

    def inside(self, read: Read, ranges: Sequence[Range], order: Order = "names") -> Iterator[tuple[Any, ...]]:
        """Yield all tuples, as the store has them, whose names lie in ranges, which are ascending and apart.

        With the order ``rdata``, it is their data that does. A tuple comes once for each file that has it.
        """
        self.unreadable = ""
        lows, highs = ([each[place] for each in ranges] for place in (0, 1))
        yield from read(
            f"SELECT {_COLUMNS} FROM {NEW} SEMI JOIN (SELECT unnest($1::VARCHAR[]) AS low, unnest($2::VARCHAR[]) AS"
            f" high) ON {SORTED_BY[order][0]} >= low AND {SORTED_BY[order][0]} < high",
            lows,
            highs,
        )
        for (stem,) in read("SELECT stem FROM passive_dns_files ORDER BY period, stem"):
            try:
                for table in TupleFile(path_of(self._folder / stem, order), order).inside(ranges):
                    yield from _rows(table)
            except TupleFileError as error:
                self.unreadable = f"a file of passive DNS cannot be read, and is left out: {error}"


def seconds(time: datetime) -> int:
    """Return a time as tuples have it: in seconds since 1970."""
    return int((time - _EPOCH).total_seconds())


def time_of(moment: int) -> datetime:
    """Return the time, UTC without a zone, that tuples have in seconds since 1970."""
    return datetime.fromtimestamp(moment, UTC).replace(tzinfo=None)


def _rows(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    return zip(*(table[name].to_pylist() for name in TUPLE), strict=True)


def _recent(files: Sequence[str]) -> str:
    """Return the definition of the common table of the tuples between two times, with those in files."""
    tables = [NEW, *([f"read_parquet({list(files)})"] if files else ())]
    parts = (f"SELECT {_COLUMNS} FROM {table} WHERE time_last >= $1 AND time_first <= $2" for table in tables)
    return f"recent AS NOT MATERIALIZED ({' UNION ALL '.join(parts)})"


def _is_readable(read: Read, file: str) -> bool:
    try:
        read(f"SELECT max(nkey), max(rkey), max(time_last) FROM read_parquet({[file]})")
    except duckdb.Error:
        return False
    return True
