"""The embedded engine: the one way from the expressions of features to DuckDB's SQL and tables.

Ibis takes a second of CPU and 60 MB to load. So the SQL is made once, and kept in a file beside this one. Nothing of
the configuration is in it: what varies is in tables, and in macros, which DuckDB puts in their place.
"""

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Final

import duckdb

from dnsvigil.engines import kept
from dnsvigil.system.sql import literal

SUBJECTS: Final = (
    "client_lookups",
    "domain_features",
    "domain_groups",
    "domain_hours",
    "flows",
    "flux",
    "infections",
    "leaks",
    "novelty",
    "passive_dns",
    "summaries",
    "traffic_classes",
)
"""The modules of features that have expressions, in their function ``expressions``, by the names of their tables."""

FILE: Final = Path(__file__).with_name("queries.json")

_SOURCES: Final = (
    "features/*.py",
    "engines/duckdb.py",
    "records.py",
    "store/counters.py",
    "store/sketches.py",
    "store/tuple_keys.py",
    "system/sql.py",
)
_COMPILERS: Final = ("ibis-framework", "sqlglot")

Queries = dict[str, dict[str, str]]  # by subject, by table


class Steps:
    """The queries of one subject, each of which makes a table of its name, on one connection."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, subject: str) -> None:
        self._connection = connection
        self._queries = queries(subject)
        self._views: set[str] = set()

    def run(self, *names: str) -> None:
        """Fill the temporary tables of these names anew, in this order."""
        for name in names:
            self.fill(name, name)

    def fill(self, table: str, name: str) -> None:
        """Fill a temporary table by the query of another name."""
        self._connection.execute(f"CREATE OR REPLACE TEMP TABLE {table} AS {self._queries[name]}")

    def view(self, name: str) -> None:
        """Make the temporary view of this name, unless it is there; its query runs each time that it is read."""
        if name not in self._views:
            self._connection.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS {self._queries[name]}")
            self._views.add(name)

    def append(self, name: str, table: str) -> None:
        """Append the rows of the query to a table."""
        self._connection.execute(f"INSERT INTO {table} {self._queries[name]}")


def queries(subject: str) -> Mapping[str, str]:
    """Return the SQL of a subject, by the name of the table that it is for."""
    return _queries()[subject]


def bounds(rows: int = 0, threads: int = min(os.cpu_count() or 1, 4)) -> str:
    """Return the SQL that bounds memory and threads for queries on tables of so many rows.

    What does not fit is on the disk, but each thread has a part in memory, and a part grows with the rows. 35.6 million
    tuples were grouped in 1 GB, and not in half of it.
    """
    megabytes = max(512, 256 * threads) + rows * 32 // 10**6
    return f"SET memory_limit = '{megabytes}MB'; SET threads = {threads}"


def lookup(
    connection: duckdb.DuckDBPyConnection, name: str, types: Mapping[str, str], *columns: Sequence[object]
) -> None:
    """Make a small temporary table to join with, of the columns' types and values."""
    declared = ", ".join(f"{column} {kind}" for column, kind in types.items())
    values = ", ".join(f"unnest(?::JSON::{kind}[])" for kind in types.values())
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} ({declared})")
    # A list that is bound is converted value by value, which takes 5 µs for each; JSON takes 0.3.
    connection.execute(f"INSERT INTO {name} SELECT {values}", [json.dumps(list(column)) for column in columns])


def macro(connection: duckdb.DuckDBPyConnection, function: str, value: str) -> None:
    """Define a function of :mod:`dnsvigil.features.functions`, such as ``f(x)``, by an SQL expression."""
    connection.execute(f"CREATE OR REPLACE TEMP MACRO {function} AS ({value})")


def is_in(operand: str, texts: Iterable[str]) -> str:
    """Return the SQL condition that an operand is one of some texts."""
    listed = ", ".join(map(literal, texts))
    return f"{operand} IN ({listed})" if listed else "false"


def cases(operand: str, values: Mapping[str, str]) -> str:
    """Return the SQL expression that maps an operand, NULL where it is none of the keys; both sides are SQL."""
    whens = "".join(f" WHEN {key} THEN {value}" for key, value in values.items())
    return f"CASE {operand}{whens} END" if values else "NULL::VARCHAR"


def make_queries() -> bytes:
    """Return what the file holds; this loads Ibis."""
    import ibis

    made = {}
    for subject in SUBJECTS:
        expressions = import_module(f"dnsvigil.features.{subject}").expressions()
        made[subject] = {name: str(ibis.to_sql(each, dialect="duckdb")) for name, each in expressions.items()}
    return json.dumps({"made_from": made_from(), "queries": made}, indent=1).encode() + b"\n"


def made_from() -> str:
    """Return a hash of all that the SQL depends on."""
    return kept.fingerprint(_SOURCES, _COMPILERS)


@cache
def _queries() -> Queries:
    return kept.load(FILE, "dnsvigil.engines.duckdb", _current)


def _current(content: kept.Content) -> Queries:
    found = json.loads(bytes(content))
    if found["made_from"] != made_from():
        raise ValueError("the sources are others")
    return {subject: dict(found["queries"][subject]) for subject in SUBJECTS}


if __name__ == "__main__":
    sys.stdout.buffer.write(make_queries())
