"""What was asked of each registered domain, by the hour, in the store.

What rounds bring is appended to ``domain_hours_new``. Many such rows become few in ``domain_hours_merged``, in which an
hour gets one row for each domain after it is over, part by part. Until then its rows add up; the view ``domain_hours``
has all.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dnsvigil.records import DOMAIN_HOUR
from dnsvigil.store.counters import CounterTable
from dnsvigil.store.sketches import DOMAIN_SKETCH_SIZE
from dnsvigil.store.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

    ReadTables = Callable[[tuple[str, Sequence[Any]]], Sequence[pa.Table]]

ROW_BYTES: Final = 1_000
"""The store's size for each row that it may have. On disk, a row has a tenth of that at most."""

DROPPED: Final = CounterTable("domain_hours_dropped", ("reason",), ("rows",))

_SPARE: Final = 0.1  # of the rows that there may be, made free when they are used up
_READ_AT_ONCE: Final = 50_000  # rows: with full sketches, 50 MB
_MERGED_AT_ONCE: Final = 100_000  # rows: DuckDB keeps all of an aggregate with lists in memory
_COLUMNS: Final = ", ".join(f"{name} {kind}" for name, kind in DOMAIN_HOUR.items())
_SKETCH: Final = f"nullif(list_sort(list_distinct(flatten(list({{0}}))))[:{DOMAIN_SKETCH_SIZE}], []) AS {{0}}"
_SCHEMA: Final = f"""
CREATE TABLE IF NOT EXISTS domain_hours_new ({_COLUMNS});
CREATE TABLE IF NOT EXISTS domain_hours_merged ({_COLUMNS});
CREATE VIEW IF NOT EXISTS domain_hours AS FROM domain_hours_merged UNION ALL FROM domain_hours_new;
{DROPPED.schema}"""


def merged_hours(rows: str, *keys: str) -> str:
    """Return the query that makes one row of those of each domain, hour and further ``keys``."""
    grouped = ", ".join(["domain", "hour", *keys])
    return f"""
        SELECT {grouped}, sum(queries)::BIGINT AS queries, sum(known)::BIGINT AS known, sum(failed)::BIGINT AS failed,
            sum(nxdomain)::BIGINT AS nxdomain, min(first_seen) AS first_seen, max(last_seen) AS last_seen,
            {_SKETCH.format("clients")}, {_SKETCH.format("names")}
        FROM {rows} GROUP BY {grouped}
    """


class Part(NamedTuple):
    """A part of the domains in an hour."""

    hour: datetime
    number: int
    of: int


class DomainHours:
    """The summaries in one store. Callers that change them must have begun a transaction."""

    def __init__(self, store: Store, max_size: int) -> None:
        """Take the store's greatest size in bytes. Raises :class:`dnsvigil.store.store.StoreError`."""
        self._store = store
        self._max_rows = max_size // ROW_BYTES
        store.create(_SCHEMA)
        self.unmerged = self._count("domain_hours_new")
        """How many rows wait to be merged."""
        self.rows = self._count("domain_hours_merged")
        """How many others there are."""

    def add(self) -> None:
        """Append the rows of the temporary table ``sum_domain_hours``."""
        ((added,),) = self._store.rows("INSERT INTO domain_hours_new BY NAME FROM sum_domain_hours")
        self.unmerged += added

    def merge(self) -> None:
        """Make one row of those of each domain and hour that were added since."""
        if self.unmerged:
            run = self._store.connection.execute
            run(f"INSERT INTO domain_hours_merged {merged_hours('domain_hours_new')}")
            run("DELETE FROM domain_hours_new")
            self.unmerged = 0
            self.rows = self._count("domain_hours_merged")

    def parts(self, after: datetime, last: datetime) -> list[Part]:
        """Return what is to be merged of the hours after a time, up to the ``last``: a row for each domain is left."""
        counts = self._store.rows(
            "SELECT hour, count(*) FROM domain_hours_merged WHERE hour > ? AND hour <= ? GROUP BY hour ORDER BY hour",
            after,
            last,
        )
        sizes = {hour: count // _MERGED_AT_ONCE + 1 for hour, count in counts}
        return [Part(hour, number, size) for hour, size in sizes.items() for number in range(size)]

    def merge_part(self, part: Part) -> None:
        """Leave one row of each domain in a part of an hour."""
        run = self._store.connection.execute
        own = f"hour = ? AND hash(domain) % {part.of} = {part.number}"
        several = f"SELECT domain FROM domain_hours_merged WHERE {own} GROUP BY domain HAVING count(*) > 1"
        run(f"CREATE OR REPLACE TEMP TABLE several AS {several}", [part.hour])
        rows = "(FROM domain_hours_merged SEMI JOIN several USING (domain) WHERE hour = ?)"
        run(f"CREATE OR REPLACE TEMP TABLE merged AS {merged_hours(rows)}", [part.hour])
        same = "domain_hours_merged.domain = several.domain"
        run(f"DELETE FROM domain_hours_merged USING several WHERE hour = ? AND {same}", [part.hour])
        run("INSERT INTO domain_hours_merged FROM merged")
        run("DROP TABLE temp.merged")
        self.rows = self._count("domain_hours_merged")

    def forget(self, before: datetime) -> int:
        """Drop the hours before a time; return how many rows they had."""
        ((dropped,),) = self._store.rows("DELETE FROM domain_hours_merged WHERE hour < ?", before)
        self.rows -= dropped
        return int(dropped)

    def thin(self) -> int:
        """Drop rows where there are too many: those of the fewest queries, of these the oldest; return how many."""
        if self.rows <= self._max_rows:
            return 0
        left = self.rows - int((1 - _SPARE) * self._max_rows)
        ((dropped,),) = self._store.rows(
            "DELETE FROM domain_hours_merged WHERE rowid IN"
            " (SELECT rowid FROM domain_hours_merged ORDER BY queries, hour LIMIT ?)",
            left,
        )
        self.rows -= dropped
        return int(dropped)

    def _count(self, table: str) -> int:
        ((rows,),) = self._store.rows(f"SELECT count(*) FROM {table}")
        return int(rows)


def read_hours(read_tables: "ReadTables") -> Iterator["pa.Table"]:
    """Yield all summaries, in tables of bounded size of which each has all rows of its domains in an hour.

    ``read_tables`` is as :meth:`dnsvigil.store.store.Store.read_tables`, and raises what that does.
    """
    (counts,) = read_tables(("SELECT hour, count(*) AS rows FROM domain_hours GROUP BY hour ORDER BY hour", ()))
    for hour, rows in zip(counts["hour"].to_pylist(), counts["rows"].to_pylist(), strict=True):
        parts = rows // _READ_AT_ONCE + 1
        for number in range(parts):
            yield from read_tables((f"FROM domain_hours WHERE hour = ? AND hash(domain) % {parts} = {number}", [hour]))
