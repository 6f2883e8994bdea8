"""Merges sorted streams of passive DNS tuples into one, in bounded memory."""

from collections.abc import Iterable, Iterator
from typing import Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from dnsvigil.engines.duckdb import queries
from dnsvigil.store.tuple_file import SCHEMA, SORTED_BY, Order

_SEPARATOR: Final = "\0"  # below all that keys hold, so that joined keys are in the order of the keys
_MEMORY: Final = "256MB"


def engine() -> duckdb.DuckDBPyConnection:
    """Return a connection for :func:`merged`; each thread needs a cursor of its own."""
    return duckdb.connect(
        config={
            "memory_limit": _MEMORY,
            "threads": 1,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
    )


def merged(
    connection: duckdb.DuckDBPyConnection, streams: Iterable[Iterator[pa.Table]], order: Order
) -> Iterator[pa.Table]:
    """Yield the tuples of all streams, each tuple once, in the order that each stream has; none has a tuple twice.

    Tables have the columns of ``SCHEMA``. All that is held is a table or two of each stream.
    """
    heads = [head for head in (_Head(stream, order) for stream in streams) if head.fill()]
    while len(heads) > 1:
        # What is below the least last key of a stream that may go on is there in full.
        limits = [head.last for head in heads if head.more]
        limit = min(limits) if limits else None
        taken = [head.take(limit) for head in heads]
        if any(table.num_rows for table in taken):
            yield merge(connection, pa.concat_tables(taken), order)
        else:
            for head in heads:
                if head.more and head.last == limit:
                    head.extend()
        heads = [head for head in heads if head.fill()]
    for head in heads:
        yield from head.rest()


def merge(connection: duckdb.DuckDBPyConnection, tuples: pa.Table, order: Order) -> pa.Table:
    """Return the tuples of a table, each once and in order."""
    connection.register("tuples", tuples)
    try:
        query = f"FROM ({queries('passive_dns')['merged']}) ORDER BY {', '.join(SORTED_BY[order])}, bailiwick"
        return connection.execute(query).to_arrow_table().cast(SCHEMA)
    finally:
        connection.unregister("tuples")


class _Head:
    """The first tables of one stream."""

    def __init__(self, stream: Iterator[pa.Table], order: Order) -> None:
        self._stream = stream
        self._order = order
        self._table = SCHEMA.empty_table()
        self._keys = pa.chunked_array([pa.array([], pa.string())])
        self.more = True  # than the table may be to come
        self.last = ""

    def fill(self) -> bool:
        """Have at least one tuple; return False at the end of the stream."""
        while self.more and not self._table.num_rows:
            self.extend()
        return bool(self._table.num_rows)

    def extend(self) -> None:
        """Read one table more."""
        table = next(self._stream, None)
        if table is None:
            self.more = False
            return
        self._table = pa.concat_tables([self._table, table.cast(SCHEMA)])
        self._keys = pc.binary_join_element_wise(*(self._table[key] for key in SORTED_BY[self._order]), _SEPARATOR)
        if len(self._keys):
            self.last = self._keys[-1].as_py()

    def rest(self) -> Iterator[pa.Table]:
        """Yield all that is left."""
        yield self._table
        yield from (table.cast(SCHEMA) for table in self._stream)

    def take(self, limit: str | None) -> pa.Table:
        """Remove and return the tuples below a joined key; all where there is none."""
        size = len(self._keys) if limit is None else pc.sum(pc.less(self._keys, limit)).as_py() or 0
        taken = self._table.slice(0, size)
        self._table, self._keys = self._table.slice(size), self._keys.slice(size)
        return taken
