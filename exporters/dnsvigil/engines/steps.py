"""Steps of a computation on many machines: queries on tables, of which each task has the rows of some keys.

Rows go from task to task as tables in Arrow's format, compressed. So an engine between them moves bytes, and DuckDB
alone knows what they are.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

import duckdb
import pyarrow as pa

from dnsvigil.engines.duckdb import bounds

COMMAND: Final = "command"
"""The step of rows that go to the command."""

_ROWS: Final = 65_536
_PART: Final = "part_of_step"  # the column that has the task that a row goes to
_OPTIONS: Final = pa.ipc.IpcWriteOptions(compression="lz4")


class Chunk(NamedTuple):
    """Some rows of a table, on their way to a task of a step."""

    to: str  # the step
    table: str
    rows: bytes


Chunks = Iterable[tuple[int, Chunk]]  # with the number of the task


@dataclass(frozen=True)
class Give:
    """Rows that go to another step: to the task that has those of their key."""

    to: str
    table: str
    key: str = "0"  # SQL
    source: str = ""  # SQL; by default the table
    columns: str = "*"
    once: bool = False  # whether there are rows that are alike


@dataclass(frozen=True)
class Step:
    """What a task does with its rows, which come as tables."""

    run: Callable[[duckdb.DuckDBPyConnection, int], None]  # makes tables; the number is that of the task
    gives: Sequence[Give]
    once: Sequence[str] = field(default=())  # the tables of which several tasks give rows that are alike

    def __call__(self, number: int, parts: int, tables: Iterable[tuple[str, pa.Table]]) -> Iterator[tuple[int, Chunk]]:
        """Run in the task of a number on the rows of tables; the step that is next has so many ``parts``."""
        with database() as connection:
            connection.execute(bounds(load(connection, tables), threads=1))
            for name in self.once:
                connection.execute(f"CREATE OR REPLACE TABLE {name} AS SELECT DISTINCT * FROM {name}")
            self.run(connection, number)
            yield from given(connection, self.gives, number, parts)


@contextmanager
def database() -> Iterator[duckdb.DuckDBPyConnection]:
    """Give a database that a task has for itself, with bounded memory."""
    with (
        TemporaryDirectory(prefix="dnsvigil-task-") as folder,
        duckdb.connect(
            config={
                "temp_directory": folder,
                "preserve_insertion_order": False,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            }
        ) as connection,
    ):
        connection.execute(f"{bounds(threads=1)}; SET TimeZone = 'UTC'")
        yield connection


def load(connection: duckdb.DuckDBPyConnection, tables: Iterable[tuple[str, pa.Table]]) -> int:
    """Make tables of rows, which come with the name of their table; return how many rows there are."""
    made: set[str] = set()
    found = 0
    for name, rows in tables:
        append(connection, name, rows, new=name not in made)
        made.add(name)
        found += rows.num_rows
    return found


def append(connection: duckdb.DuckDBPyConnection, name: str, rows: pa.Table, *, new: bool) -> None:
    """Append rows to a table, which is new or has these columns."""
    connection.register("chunk", rows)
    connection.execute(f"CREATE TABLE {name} AS FROM chunk" if new else f"INSERT INTO {name} BY NAME FROM chunk")
    connection.unregister("chunk")


def given(
    connection: duckdb.DuckDBPyConnection, gives: Iterable[Give], number: int, parts: int
) -> Iterator[tuple[int, Chunk]]:
    """Yield what a task gives. That of number 0 gives of each table to all, so that none lacks it."""
    for give in gives:
        missing = set() if number else {0} if give.to == COMMAND else {*range(parts)}
        reader = _reader(connection, give, parts)
        for batch in reader:
            for part, rows in _parted(pa.Table.from_batches([batch])):
                missing.discard(part)
                yield part, Chunk(give.to, give.table, packed([rows], rows.schema))
        nothing = reader.schema.empty_table().drop_columns(_PART)
        for part in missing:
            yield part, Chunk(give.to, give.table, packed([], nothing.schema))


def table_of(chunk: Chunk) -> tuple[str, pa.Table]:
    """Return the name of a chunk's table, and the rows."""
    return chunk.table, pa.ipc.open_stream(chunk.rows).read_all()


def _reader(connection: duckdb.DuckDBPyConnection, give: Give, parts: int) -> pa.RecordBatchReader:
    """Return the rows that are given, in the order of the tasks that they go to."""
    distinct = "DISTINCT " if give.once else ""
    of = "0" if give.to == COMMAND else f"hash({give.key}) % {parts}"
    query = f"SELECT {distinct}({of})::INTEGER AS {_PART}, {give.columns} FROM {give.source or give.table}"
    # Arrow has sums, which are of 128 bits, as decimals alone.
    described = connection.execute(f"DESCRIBE {query}").fetchall()
    names = [name if kind != "HUGEINT" else f"{name}::BIGINT AS {name}" for name, kind, *_ in described]
    order = f" ORDER BY {_PART}" if parts > 1 else ""
    return connection.execute(f"SELECT {', '.join(names)} FROM ({query}){order}").to_arrow_reader(_ROWS)


def _parted(table: pa.Table) -> Iterator[tuple[int, pa.Table]]:
    """Yield the rows for each task."""
    parts = table[_PART].to_numpy()
    rows = table.drop_columns(_PART)
    begin = 0
    while begin < len(parts):
        end = int(parts.searchsorted(parts[begin], side="right"))
        yield int(parts[begin]), rows.slice(begin, end - begin)
        begin = end


def packed(tables: Iterable[pa.Table], schema: pa.Schema) -> bytes:
    """Return the bytes of tables of one schema."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema, options=_OPTIONS) as writer:
        for table in tables:
            if table.num_rows:
                writer.write_table(table.cast(schema))
    return bytes(sink.getvalue().to_pybytes())


def unpacked(content: bytes) -> Iterator[pa.Table]:
    """Yield the tables of what :func:`packed` returned."""
    reader = pa.ipc.open_stream(content)
    yield from (pa.Table.from_batches([batch]) for batch in reader)
