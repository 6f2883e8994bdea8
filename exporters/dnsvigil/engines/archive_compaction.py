"""Makes files of passive DNS of the tuples in archives: each tuple once, in both orders."""

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa

from dnsvigil.engines.duckdb import queries
from dnsvigil.engines.steps import COMMAND, Give, Step
from dnsvigil.store.passive_dns import write_sorted
from dnsvigil.store.tuple_file import SCHEMA, SORTED_BY, Order, Written, path_of

READ: Final = Step(lambda connection, _: _ensure(connection), [Give("compact", "tuples", "nkey")])
"""The step that reads: its tasks have the ``tuples`` of some files."""

_ROWS: Final = 65_536


def compact_step(folder: Path) -> Step:
    """Return the step that merges and writes: a task has all ``tuples`` of some names, and makes a pair of files."""
    return Step(partial(_write, folder), [Give(COMMAND, "written")])


def written_in(tables: Iterable[tuple[str, pa.Table]]) -> Iterator[tuple[str, Mapping[Order, Written]]]:
    """Yield the stems of the pairs that tasks have written, with what is in them."""
    for _, table in tables:
        for stem, content in zip(*(table[name].to_pylist() for name in ("stem", "content")), strict=True):
            yield stem, {order: Written(**each) for order, each in json.loads(content).items()}


def _ensure(connection: duckdb.DuckDBPyConnection) -> None:
    """Have the table of tuples, of which there may be none."""
    connection.register("no_tuples", SCHEMA.empty_table())
    connection.execute("CREATE TABLE IF NOT EXISTS tuples AS FROM no_tuples")
    connection.unregister("no_tuples")


def _write(folder: Path, connection: duckdb.DuckDBPyConnection, _: int) -> None:
    _ensure(connection)
    connection.execute("CREATE TABLE written (stem VARCHAR, content VARCHAR)")
    connection.execute(f"CREATE OR REPLACE TABLE tuples AS {queries('passive_dns')['merged']}")
    ((rows,),) = connection.execute("SELECT count(*) FROM tuples").fetchall()
    if rows:
        folder.mkdir(parents=True, exist_ok=True)
        stem = uuid.uuid4().hex
        written = {order: asdict(_written(connection, path_of(folder / stem, order), order)) for order in SORTED_BY}
        connection.execute("INSERT INTO written VALUES (?, ?)", [stem, json.dumps(written)])


def _written(connection: duckdb.DuckDBPyConnection, path: Path, order: Order) -> Written:
    columns, keys = ", ".join(SCHEMA.names), ", ".join(SORTED_BY[order])
    rows = connection.execute(f"SELECT {columns} FROM tuples ORDER BY {keys}, bailiwick")
    return write_sorted(path, order, rows.to_arrow_reader(_ROWS))
