"""Looks tuples of passive DNS up: in the table of the store and in all files, as of one moment."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from dnsvigil.engines.tuple_merge import engine, merge, merged
from dnsvigil.store.passive_dns import FOLDER, NEW
from dnsvigil.store.store import Store, StoreError
from dnsvigil.store.tuple_file import SCHEMA, SORTED_BY, Order, TupleFile, TupleFileError, path_of, rows_inside
from dnsvigil.store.tuple_keys import END, NEGATIVE_TYPES, Range, bailiwick_of, data_of_key, name_of_key

DECODED: Final = pa.schema(
    [
        *((name, pa.string()) for name in ("rrname", "rrtype", "rdata", "bailiwick")),
        *((name, pa.int64()) for name in ("time_first", "time_last", "count", "ttl_min", "ttl_max")),
        ("sensors", pa.uint64()),
        ("seen_in", pa.uint8()),
        ("nkey", pa.string()),
        ("rkey", pa.string()),
    ]
)
"""The columns of what is looked up: names and data as logs have them, times in seconds since 1970 in UTC."""

Select = Callable[[pa.Table], pa.Table]
"""Returns the tuples, by their keys and types, that are wanted of a table as the store has it; once or twice."""

Wanted = Callable[[Iterator[pa.Table]], Iterator[pa.Table]]

_MAX_DECODED: Final = 4096  # rows at once
_MAX_OPEN: Final = 256  # files; the footer of each takes memory


class LookupTimeoutError(Exception):
    """A look-up has taken longer than it may."""


class TupleReader:
    """Reads the tuples of one store, from any thread.

    ``unreadable`` has the files that were left out of look-ups because they cannot be read, each with the reason: an
    answer is then not all that was seen.
    """

    timed = True
    """Whether a look-up may only take so long."""

    def __init__(self, store: Callable[[], Store]) -> None:
        self._store = store
        self._files: OrderedDict[Path, TupleFile] = OrderedDict()
        self._lock = threading.Lock()
        self.unreadable: dict[Path, str] = {}

    def chunks(
        self,
        order: Order,
        low: str,
        high: str,
        *,
        deadline: float | None = None,
        select: Select | None = None,
        negative: bool = False,
    ) -> Iterator[pa.Table]:
        """Yield the tuples whose key in this order lies from ``low`` to below ``high``, sorted, in bounded tables.

        The columns are those of ``DECODED``. Negative answers have no data, and come only where they are asked for by
        name. Raises :class:`dnsvigil.store.store.StoreError`, and :class:`LookupTimeoutError` after ``deadline``, which
        is of ``time.monotonic``.
        """
        if high == f"{low}\0":
            yield from self.with_keys(order, [low], deadline=deadline, select=select, negative=negative)
            return
        for table in self.encoded(order, low, high, deadline=deadline, select=select, negative=negative):
            for begin in range(0, max(table.num_rows, 1), _MAX_DECODED):  # whoever wants a few need not wait for all
                yield decoded(table.slice(begin, _MAX_DECODED))

    def with_keys(
        self,
        order: Order,
        keys: Iterable[str],
        *,
        deadline: float | None = None,
        select: Select | None = None,
        negative: bool = False,
    ) -> Iterator[pa.Table]:
        """Yield the tuples that have one of many keys, as :meth:`chunks` does: no part of a file is read twice."""
        ascending = sorted(set(keys))
        condition = f"list_contains(?::VARCHAR[], {SORTED_BY[order][0]})"
        wanted = _filter(order, deadline, select, negative)
        recent, files = self._snapshot(order, condition, [ascending], wanted)
        streams = [self._guarded(file, file.with_keys(ascending)) for file in files]
        for table in self._merged(order, recent, streams, wanted):
            yield decoded(table)

    def encoded(
        self,
        order: Order,
        low: str = "",
        high: str = END,
        *,
        deadline: float | None = None,
        select: Select | None = None,
        negative: bool = False,
    ) -> Iterator[pa.Table]:
        """Yield what :meth:`chunks` does in the form of the store, which costs a third of it."""
        key = SORTED_BY[order][0]
        wanted = _filter(order, deadline, select, negative)
        recent, files = self._snapshot(order, f"{key} >= ? AND {key} < ?", [low, high], wanted)
        streams = [self._guarded(file, file.tables(low, high)) for file in files]
        yield from self._merged(order, recent, streams, wanted)

    def apart(self, order: Order, ranges: Sequence[Range]) -> Iterator[pa.Table]:
        """Yield the tuples whose keys lie in ranges, ascending and apart, in the form of the store, also negative ones.

        A tuple comes once for each file that has it, and each batch that is in no file yet. A table, which may be
        empty, is a few milliseconds of work, but for the first. Raises :class:`dnsvigil.store.store.StoreError`.
        """
        key = SORTED_BY[order][0]
        recent, files = self._snapshot(order, f"{key} >= ? AND {key} < ?", [ranges[0][0], ranges[-1][1]], iter)
        yield recent.take(rows_inside(recent[key].to_pylist(), ranges))
        del recent
        for file in files:
            yield from self._guarded(file, file.inside(ranges))

    @cached_property
    def _engine(self) -> duckdb.DuckDBPyConnection:
        return engine()

    def _merged(
        self, order: Order, recent: pa.Table, streams: Iterable[Iterator[pa.Table]], wanted: Wanted
    ) -> Iterator[pa.Table]:
        with closing(self._engine.cursor()) as cursor:
            once = [merge(cursor, recent, order)] if recent.num_rows else []  # each batch may have had a tuple
            yield from merged(cursor, [wanted(stream) for stream in (iter(once), *streams)], order)

    def _snapshot(
        self, order: Order, condition: str, bound: Sequence[Any], wanted: Wanted
    ) -> tuple[pa.Table, Sequence[TupleFile]]:
        """Return the tuples that are in no file yet and meet a condition, sorted, and the files."""
        columns, sorting = ", ".join(SCHEMA.names), ", ".join(SORTED_BY[order])
        recent = f"SELECT {columns} FROM {NEW} WHERE {condition} ORDER BY {sorting}"
        listed = "SELECT stem FROM passive_dns_files ORDER BY period, stem"
        for _ in range(3):  # a file may be superseded before it is open
            store = self._store()
            found, stems = store.read_tables((recent, bound), (listed, ()))
            folder = store.path.with_name(FOLDER)
            paths = [path_of(folder / stem, order) for stem in stems["stem"].to_pylist()]
            with suppress(FileNotFoundError):
                return found.cast(SCHEMA), self._opened(paths, order, wanted)
        raise StoreError(f"files of passive DNS are missing in {folder}")

    def _opened(self, paths: Sequence[Path], order: Order, wanted: Wanted) -> Sequence[Any]:
        """Return what reads files as :class:`dnsvigil.store.tuple_file.TupleFile` does, without those that cannot be.

        All that is looked for is what is ``wanted`` of them. Raises ``FileNotFoundError``.
        """
        return [file for path in paths if (file := self._open(path, order))]

    def _open(self, path: Path, order: Order) -> TupleFile | None:
        """Return an open file, None where it cannot be read. Raises ``FileNotFoundError``."""
        with self._lock:
            if file := self._files.get(path):
                self._files.move_to_end(path)
                return file
        try:
            file = TupleFile(path, order)
        except TupleFileError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise error.__cause__ from None
            self.unreadable[path] = error.reason
            return None
        with self._lock:
            self._files[path] = file
            if len(self._files) > _MAX_OPEN:
                self._files.popitem(last=False)
        return file

    def _guarded(self, file: TupleFile, stream: Iterator[pa.Table]) -> Iterator[pa.Table]:
        """Yield from a file as far as it can be read."""
        try:
            yield from stream
        except TupleFileError as error:
            self.unreadable[file.path] = error.reason


def _filter(order: Order, deadline: float | None, select: Select | None, negative: bool) -> Wanted:
    """Return what takes from a stream what is asked for."""
    keep = negative and order == "names"
    negative_types = pa.array(NEGATIVE_TYPES)

    def wanted(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
        for table in tables:
            if deadline is not None and time.monotonic() > deadline:
                raise LookupTimeoutError
            found = table if keep else table.filter(pc.invert(pc.is_in(table["rrtype"], negative_types)))
            yield select(found) if select and found.num_rows else found

    return wanted


def decoded(tuples: pa.Table) -> pa.Table:
    """Return tuples in the form of the store in that of ``DECODED``."""
    nkeys, rkeys, labels = (tuples[name].to_pylist() for name in ("nkey", "rkey", "bailiwick"))
    columns = {name: tuples[name] for name in tuples.column_names} | {
        "rrname": pa.array(map(name_of_key, nkeys), pa.string()),
        "rdata": pa.array(map(data_of_key, rkeys), pa.string()),
        "bailiwick": pa.array(map(bailiwick_of, nkeys, labels), pa.string()),
    }
    return pa.table({name: columns[name] for name in DECODED.names}).cast(DECODED)
