"""Passive DNS in the store: each tuple of name, type and data with how often, when and with what TTL it was seen.

What batches bring is appended; from time to time it is merged into the tuples that are there. With an index on the
tuples each batch could update them at once, but that costs thirty times as much, and memory for the whole index.
"""

from datetime import datetime
from typing import Final

from dnsvigil.store.counters import LARGEST, CounterTable
from dnsvigil.store.store import Store

ROW_BYTES: Final = 64
"""The assumed size of a tuple beside its text, in bytes. On disk, compression makes it a quarter of the whole."""

DROPPED: Final = CounterTable("passive_dns_dropped", ("reason",), ("tuples",))

_SPARE: Final = 0.1  # of the bytes that tuples may take, made free when they are used up
_KEY: Final = "rrname, rrtype, rdata, sensor"
_GATHERED: Final = """
    SELECT rrname, rrtype, coalesce(rdata, '') AS rdata, sensor, bailiwick,
        coalesce(list_contains(section, 'answer'), false) AS in_answer,
        coalesce(list_contains(section, 'authority'), false) AS in_authority,
        coalesce(list_contains(section, 'additional'), false) AS in_additional,
        ttl_min, ttl_max, count, time_first, time_last
    FROM {rows}
"""
# Zones of one name, written backwards, begin like each other: the deepest is the greatest.
_MERGED: Final = f"""
    SELECT {_KEY}, reverse(max(reverse(bailiwick))) AS bailiwick, bool_or(in_answer) AS in_answer,
        bool_or(in_authority) AS in_authority, bool_or(in_additional) AS in_additional, min(ttl_min) AS ttl_min,
        max(ttl_max) AS ttl_max, least(sum(count), {LARGEST})::BIGINT AS count, min(time_first) AS time_first,
        max(time_last) AS time_last
    FROM {{rows}} GROUP BY {_KEY}
"""
_MERGE: Final = f"""
    MERGE INTO passive_dns_merged AS old USING new_tuples AS new USING ({_KEY})
    WHEN MATCHED THEN UPDATE SET
        bailiwick = reverse(greatest(reverse(old.bailiwick), reverse(new.bailiwick))),
        in_answer = old.in_answer OR new.in_answer,
        in_authority = old.in_authority OR new.in_authority,
        in_additional = old.in_additional OR new.in_additional,
        ttl_min = least(old.ttl_min, new.ttl_min),
        ttl_max = greatest(old.ttl_max, new.ttl_max),
        count = least(old.count::HUGEINT + new.count, {LARGEST})::BIGINT,
        time_first = least(old.time_first, new.time_first),
        time_last = greatest(old.time_last, new.time_last)
    WHEN NOT MATCHED THEN INSERT BY NAME
"""
_COLUMNS: Final = """
    rrname VARCHAR, rrtype VARCHAR, rdata VARCHAR, sensor VARCHAR, bailiwick VARCHAR, in_answer BOOLEAN,
    in_authority BOOLEAN, in_additional BOOLEAN, ttl_min UINTEGER, ttl_max UINTEGER, count BIGINT,
    time_first TIMESTAMP, time_last TIMESTAMP
"""
_SCHEMA: Final = f"""
CREATE TABLE IF NOT EXISTS passive_dns_merged ({_COLUMNS});
CREATE TABLE IF NOT EXISTS passive_dns_new ({_COLUMNS});
CREATE VIEW IF NOT EXISTS passive_dns AS
    {_MERGED.format(rows="(FROM passive_dns_merged UNION ALL FROM passive_dns_new)")};
{DROPPED.schema}"""


class PassiveDns:
    """The tuples in one store."""

    def __init__(self, store: Store, max_bytes: int) -> None:
        """Keep the tuples under ``max_bytes``, counted as ``ROW_BYTES`` says.

        Raises :class:`dnsvigil.store.store.StoreError`.
        """
        self._store = store
        self._max_bytes = max_bytes
        store.create(_SCHEMA)
        self._measure()

    def gather(self, view: str) -> None:
        """Put the passive DNS rows of a view together, for :meth:`add`; runs before the transaction."""
        rows = f"({_GATHERED.format(rows=view)})"
        self._store.connection.execute(f"CREATE OR REPLACE TEMP TABLE gathered AS {_MERGED.format(rows=rows)}")

    def add(self) -> None:
        """Append what was gathered last."""
        self._store.connection.execute("INSERT INTO passive_dns_new BY NAME FROM gathered")

    def has_new(self) -> bool:
        """Return whether there is something to merge."""
        return bool(self._store.rows("FROM passive_dns_new LIMIT 1"))

    def merge(self) -> int:
        """Merge what was added into the tuples; return how many were dropped to stay under the bound.

        Those seen least recently go first.
        """
        run = self._store.connection.execute
        run(f"CREATE OR REPLACE TEMP TABLE new_tuples AS {_MERGED.format(rows='passive_dns_new')}")
        run("DELETE FROM passive_dns_new")
        run(_MERGE)
        run("DROP TABLE new_tuples")
        self._measure()
        if self.bytes <= self._max_bytes:
            return 0
        spare = self.bytes - (1 - _SPARE) * self._max_bytes
        least = int(self.count * spare / self.bytes) + 1
        run(
            "DELETE FROM passive_dns_merged WHERE rowid IN"
            " (SELECT rowid FROM passive_dns_merged ORDER BY time_last LIMIT ?)",
            [least],
        )
        self._measure()
        return least

    def forget(self, before: datetime) -> int:
        """Drop the tuples not seen since a time; return how many."""
        ((dropped,),) = self._store.rows("DELETE FROM passive_dns_merged WHERE time_last < ?", before)
        self._measure()
        return int(dropped)

    def _measure(self) -> None:
        ((self.count, self.bytes),) = self._store.rows(
            f"SELECT count(*), coalesce(sum(strlen(rrname) + strlen(rdata) + {ROW_BYTES}), 0)::BIGINT"
            " FROM passive_dns_merged"
        )
