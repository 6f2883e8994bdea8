"""Logs of the Zeek package in the store: their records are kept as they are."""

from datetime import datetime
from typing import TYPE_CHECKING, Final

from dnsvigil.records import CAPTURE, OPEN_RESOLVER, POISONING

if TYPE_CHECKING:
    from dnsvigil.store.store import Read, Store

_TABLES: Final = {"open_resolvers": OPEN_RESOLVER, "poisoning": POISONING, "capture": CAPTURE}  # with their columns

_LATER: Final = {"open_resolvers": ("returning_askers",), "poisoning": ("odd_fragments", "sample_records")}
"""Columns that tables of former versions lack."""

SCHEMA: Final = "".join(
    f"CREATE TABLE IF NOT EXISTS {table} ({', '.join(f'{name} {kind}' for name, kind in columns.items())});\n"
    for table, columns in _TABLES.items()
) + "".join(
    f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {name} {_TABLES[table][name]};\n"
    for table, names in _LATER.items()
    for name in names
)


def add_records(store: "Store", table: str, view: str) -> None:
    """Append the records of a view to a table."""
    store.rows(f"INSERT INTO {table} BY NAME FROM {view}")


def forget_records(store: "Store", before: datetime) -> None:
    """Drop the records from before a time."""
    for table in _TABLES:
        store.rows(f"DELETE FROM {table} WHERE ts < ?", before)


def oldest_record(store: "Store") -> datetime | None:
    """Return the minute of the first record."""
    oldest = ", ".join(f"(SELECT min(ts) FROM {table})" for table in _TABLES)
    first: datetime | None = store.rows(f"SELECT date_trunc('minute', least({oldest}))")[0][0]
    return first


def capture_since(read: "Read", since: datetime) -> list[tuple[str, int, int, int, int]]:
    """Return sensor, packets, packets dropped, DNS responses and those without a query, after ``since``."""
    sums = ("packets", "packets_dropped", "dns_responses", "unmatched_responses")
    columns = ", ".join(f"coalesce(sum({name}), 0)::BIGINT" for name in sums)
    return read(f"SELECT sensor, {columns} FROM capture WHERE ts > ? GROUP BY sensor ORDER BY sensor", since)


def count_open_resolvers(store: "Store", since: datetime) -> dict[str, int]:
    """Return how many hosts have a record from ``since`` on, by their kind."""
    query = "SELECT kind, count(DISTINCT host) FROM open_resolvers WHERE ts >= ? GROUP BY kind"
    return dict(store.rows(query, since))
