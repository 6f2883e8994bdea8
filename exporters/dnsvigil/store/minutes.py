"""Summaries in the store: sums per minute, in a table ``minute_NAME`` for each.

Batches append rows of their own, which are merged once a minute is over.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from dnsvigil.store.store import Store

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS minute_types (
    minute TIMESTAMP, server VARCHAR, qtype VARCHAR, rcode VARCHAR, records BIGINT
);
CREATE TABLE IF NOT EXISTS minute_zones (
    minute TIMESTAMP, server VARCHAR, zone VARCHAR, queries BIGINT, nxdomain BIGINT
);
CREATE TABLE IF NOT EXISTS minute_failures (
    minute TIMESTAMP, server VARCHAR, zone VARCHAR, reason VARCHAR, failures BIGINT
);
CREATE TABLE IF NOT EXISTS minute_latencies (
    minute TIMESTAMP, server VARCHAR, bucket TINYINT, records BIGINT, rtt BIGINT
);
CREATE TABLE IF NOT EXISTS minute_clients (minute TIMESTAMP, server VARCHAR, sketch UBIGINT[]);
"""

_MERGED: Final = {
    "minute_types": "SELECT minute, server, qtype, rcode, sum(records) FROM {rows} GROUP BY ALL",
    "minute_zones": "SELECT minute, server, zone, sum(queries), sum(nxdomain) FROM {rows} GROUP BY ALL",
    "minute_failures": "SELECT minute, server, zone, reason, sum(failures) FROM {rows} GROUP BY ALL",
    "minute_latencies": "SELECT minute, server, bucket, sum(records), sum(rtt) FROM {rows} GROUP BY ALL",
    "minute_clients": "SELECT minute, server, list_sort(list_distinct(flatten(list(sketch))))[:{sketch_size}]"
    " FROM {rows} GROUP BY ALL",
}
"""Summary table to the query that makes one row of the several that batches left for a minute."""

SUMMARIES: Final = tuple(_MERGED)


def add_summary(store: "Store", name: str) -> None:
    """Append the rows of the temporary table ``sum_NAME`` to the summaries ``minute_NAME``."""
    store.rows(f"INSERT INTO minute_{name} BY NAME FROM sum_{name}")


def merge_minutes(store: "Store", minutes: Iterable[datetime], sketch_size: int) -> None:
    """Make one row of the several that batches left in these minutes, in each summary table."""
    bound = list(minutes)
    bounds = bound, min(bound), max(bound)
    inside = "list_contains($1, minute) AND minute BETWEEN $2 AND $3"
    for table, query in _MERGED.items():
        merged = query.format(rows=f"(FROM {table} WHERE {inside})", sketch_size=sketch_size)
        store.rows(f"CREATE OR REPLACE TEMP TABLE merged AS {merged}", *bounds)
        store.rows(f"DELETE FROM {table} WHERE {inside}", *bounds)
        store.rows(f"INSERT INTO {table} FROM merged")


def forget_minutes(store: "Store", before: datetime) -> None:
    """Drop the summaries of the minutes before a time."""
    for table in SUMMARIES:
        store.rows(f"DELETE FROM {table} WHERE minute < ?", before)


def oldest_minute(store: "Store") -> datetime | None:
    """Return the first minute that has a summary."""
    oldest: datetime | None = store.rows("SELECT min(minute) FROM minute_zones")[0][0]
    return oldest


def client_sketches(store: "Store", since: datetime) -> dict[str, list[list[int]]]:
    """Return the sketches of distinct clients by server, from the minute ``since`` on."""
    found: dict[str, list[list[int]]] = {}
    for server, sketch in store.rows("SELECT server, sketch FROM minute_clients WHERE minute >= ?", since):
        found.setdefault(server, []).append(sketch)
    return found
