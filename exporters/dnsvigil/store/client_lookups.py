"""Look-ups about mail and addresses in the store: those of the last hours, and by day what each client came to."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

from dnsvigil.records import CLIENT_LOOKUP
from dnsvigil.store.counters import CounterTable
from dnsvigil.store.store import Store

SPAM, SWEEP = ("spam", "sweep")
"""What abuse is reported under. Hours of a client with such a finding never become usual for it."""

DAYS: Final = 7
"""So many days before the current one make what is usual."""

MAX_KEYS: Final = 2000
"""The maximum number of rows of one kind of a client in an hour."""

MAX_ROWS: Final = 500_000
"""The maximum number of rows of either table; clients with most lose theirs first."""

DROPPED: Final = CounterTable("client_lookups_dropped", ("reason",), ("dropped",))

_UNTRIMMED: Final = MAX_ROWS // 10  # rows
_SCHEMA: Final = f"""
CREATE TABLE IF NOT EXISTS client_lookups ({", ".join(f"{name} {kind}" for name, kind in CLIENT_LOOKUP.items())});
CREATE TABLE IF NOT EXISTS client_lookup_days (
    day TIMESTAMP, client VARCHAR, network VARCHAR, kind VARCHAR, amount BIGINT
);
CREATE TABLE IF NOT EXISTS client_lookup_hours (hour TIMESTAMP);
{DROPPED.schema}"""
_MERGED: Final = """
    SELECT hour, client, kind, key, part, sum(queries)::BIGINT AS queries, sum(failures)::BIGINT AS failures,
        min(first_seen) AS first_seen, max(last_seen) AS last_seen
    FROM client_lookups GROUP BY ALL
"""
_NUMBER: Final = "row_number() OVER (PARTITION BY hour, client, kind ORDER BY key, part)"
_UNREPORTED: Final = f"""
    SELECT date_trunc('day', hour), client, kind, max(amount) FROM ({{amounts}}) AS found
    WHERE NOT EXISTS (
        FROM findings WHERE detector IN ('{SPAM}', '{SWEEP}') AND state <> 'dismissed' AND subject = found.client
            AND first_seen < hour + INTERVAL 1 HOUR AND last_seen >= hour
    ) GROUP BY ALL
"""
_MERGE_DAYS: Final = """
    MERGE INTO client_lookup_days AS old USING (
        SELECT unnest(?::TIMESTAMP[]) AS day, unnest(?::VARCHAR[]) AS client, unnest(?::VARCHAR[]) AS kind,
            unnest(?::BIGINT[]) AS amount, unnest(?::VARCHAR[]) AS network
    ) AS new USING (day, client, kind)
    WHEN MATCHED THEN UPDATE SET amount = greatest(old.amount, new.amount) WHEN NOT MATCHED THEN INSERT BY NAME
"""


def network_of(client: str) -> str:
    """Return what a client and those beside it begin with: 24 bits, or 48 of IPv6."""
    separator = ":" if ":" in client else "."
    return separator.join(client.split(separator)[:3]) + separator


class ClientLookupTables:
    """The tables in one store. Callers that change them must have begun a transaction."""

    def __init__(self, store: Store) -> None:
        """Raises :class:`dnsvigil.store.store.StoreError`."""
        self._store = store
        store.create(_SCHEMA)
        self._trimmed = self._added = self.count()
        self._hours = {hour for (hour,) in store.rows("FROM client_lookup_hours")}

    def add(self) -> None:
        """Append the rows of the temporary table ``sum_client_lookups``."""
        ((added,),) = self._store.rows("INSERT INTO client_lookups BY NAME FROM sum_client_lookups")
        self._added += added

    def count(self) -> int:
        """Return the number of rows of the last hours."""
        ((rows,),) = self._store.rows("SELECT count(*) FROM client_lookups")
        return int(rows)

    def trim(self) -> None:
        """Make one row of those with the same key, and drop what is too much, where the rows may be too many."""
        if self._added < max(_UNTRIMMED, 2 * self._trimmed):
            return
        rows = self._store.rows
        rows(f"CREATE OR REPLACE TEMP TABLE merged AS {_MERGED}")
        kept = f"SELECT * FROM merged QUALIFY {_NUMBER} <= {MAX_KEYS} ORDER BY {_NUMBER} LIMIT {MAX_ROWS}"
        rows("DELETE FROM client_lookups")
        ((self._trimmed,),) = rows(f"INSERT INTO client_lookups BY NAME {kept}")
        ((lost,),) = rows("SELECT (SELECT sum(queries) FROM merged) - (SELECT sum(queries) FROM client_lookups)")
        rows("DROP TABLE temp.merged")
        self._drop("rows", int(lost or 0))
        self._added = self._trimmed

    def close(self, before: datetime, amounts: str) -> None:
        """Sum up the hours before a time by day, and drop them; ``amounts`` is the query that does, over ``recent``."""
        query = f"WITH recent AS (FROM client_lookups WHERE hour < $1) {_UNREPORTED.format(amounts=amounts)}"
        found = self._store.rows(query, before)
        if found:
            networks = [network_of(client) for _, client, *_ in found]
            self._store.rows(_MERGE_DAYS, *map(list, zip(*found, strict=True)), networks)
        self._store.rows("DELETE FROM client_lookups WHERE hour < ?", before)
        self._added = self._trimmed = self.count()

    def cover(self, hours: Iterable[datetime]) -> None:
        """Take note of hours of which records were read, whether or not there were such look-ups."""
        for hour in {*hours} - self._hours:
            self._store.rows("INSERT INTO client_lookup_hours VALUES (?)", hour)
            self._hours.add(hour)

    def forget(self, newest: datetime) -> None:
        """Drop days that are too old, and the clients of a day with least, where there are too many."""
        oldest = newest.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=DAYS)
        self._store.rows("DELETE FROM client_lookup_days WHERE day < ?", oldest)
        self._store.rows("DELETE FROM client_lookup_hours WHERE hour < ?", oldest)
        self._hours = {hour for hour in self._hours if hour >= oldest}
        least: list[tuple[Any, ...]] = self._store.rows(
            "SELECT amount FROM client_lookup_days ORDER BY amount DESC LIMIT 1 OFFSET ?", MAX_ROWS
        )
        if least:
            ((dropped,),) = self._store.rows("DELETE FROM client_lookup_days WHERE amount <= ?", least[0][0])
            self._drop("days", dropped)

    def _drop(self, reason: str, dropped: int) -> None:
        DROPPED.add_rows(self._store, [(reason, dropped)])
