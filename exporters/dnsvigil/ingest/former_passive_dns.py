"""Moves the passive DNS of a store of layout 4, which had all tuples in a table, to where it lies now."""

from datetime import datetime
from typing import Final

from dnsvigil.sources.zeek.log_types import PDNS
from dnsvigil.store.store import Store

FORMER: Final = "passive_dns_former"
"""The table that the migration of the store leaves."""

ROWS: Final = 200_000
"""How many tuples are moved at once."""

_AS_LOGGED: Final = f"""
    CREATE OR REPLACE TEMP VIEW {PDNS.view} AS
    SELECT time_last AS ts, sensor, '' AS node, rrname, rrtype, rdata, list_filter([
            CASE WHEN in_answer THEN 'answer' END, CASE WHEN in_authority THEN 'authority' END,
            CASE WHEN in_additional THEN 'additional' END
        ], lambda section: section IS NOT NULL) AS section, bailiwick, ttl_min, ttl_max, count, time_first, time_last
    FROM {FORMER} WHERE rowid < {{end}}
"""


def has_former(store: Store) -> bool:
    """Return whether there are tuples to move."""
    return bool(store.rows("SELECT 1 FROM duckdb_tables() WHERE table_name = ?", FORMER))


def next_former(store: Store) -> int | None:
    """Make the view of passive DNS rows from the next tuples; return where they end, None after the last."""
    ((end,),) = store.rows(f"SELECT max(rowid) + 1 FROM (SELECT rowid FROM {FORMER} ORDER BY rowid LIMIT {ROWS})")
    if end is not None:
        store.rows(_AS_LOGGED.format(end=end))
    return end and int(end)


def newest_former(store: Store) -> datetime | None:
    """Return when a tuple was last seen."""
    found: datetime | None = store.rows(f"SELECT max(time_last) FROM {FORMER}")[0][0]
    return found


def drop_former(store: Store, end: int | None = None) -> None:
    """Drop the tuples that end there, or the table; this takes a transaction."""
    store.rows(f"DROP TABLE {FORMER}" if end is None else f"DELETE FROM {FORMER} WHERE rowid < {end}")
