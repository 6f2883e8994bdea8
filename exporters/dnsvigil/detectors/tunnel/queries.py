"""Reads the tables of :mod:`dnsvigil.features.leaks` from the store."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from dnsvigil.detectors.floods import Row
from dnsvigil.engines.duckdb import queries
from dnsvigil.records import NOVEL_COUNTS, STANDING
from dnsvigil.store.novelty import recent_hours
from dnsvigil.store.store import Read

_MAX_DOMAINS: Final = 2000  # those that carry most, or have most names
_RECENT: Final = recent_hours("novel", since=">")
_CHOSEN: Final = "chosen AS (SELECT unnest($3::VARCHAR[]) AS domain)"
_CARRIED: Final = (
    "client", "domain", "clients", *NOVEL_COUNTS, "active", "newly_observed", "first_seen", "last_seen", "samples",
    "received", "sources",
)  # fmt: skip
_SUMS: Final = {*NOVEL_COUNTS, "active"}


class Leaks:
    """Reads these tables for the hours after ``since`` and before ``now``.

    ``read`` is :meth:`dnsvigil.store.store.Store.rows`, or raises the same.
    """

    def __init__(self) -> None:
        most = f"WHERE carried >= $3 ORDER BY carried DESC, domain LIMIT {_MAX_DOMAINS}"
        self._carriers = _Query("carriers", ["domain", *NOVEL_COUNTS, "carried"], [_RECENT], most)
        order = f"ORDER BY names DESC, domain LIMIT {_MAX_DOMAINS}"
        self._lonely = _Query("lonely", ["domain", *STANDING], [_RECENT], order)
        self._carried = _Query("carried", _CARRIED, [_RECENT, _CHOSEN], "ORDER BY domain, client")

    def carriers(self, read: Read, since: datetime, now: datetime, least: float) -> list[Row]:
        """Return the rows of ``carriers`` with at least ``least`` octets, those with most first."""
        return self._carriers.rows(read, since, now, least)

    def lonely(self, read: Read, since: datetime, now: datetime) -> list[Row]:
        """Return the rows of ``lonely``, those with most names first."""
        return self._lonely.rows(read, since, now)

    def carried(self, read: Read, since: datetime, now: datetime, domains: Sequence[str]) -> list[Row]:
        """Return the rows of ``carried`` for these domains."""
        return self._carried.rows(read, since, now, domains) if domains else []


class _Query:
    def __init__(self, name: str, columns: Sequence[str], tables: Sequence[str], order: str) -> None:
        self._columns = columns
        # Sums have 128 bits, and take four times as long as 64 to become Python's numbers.
        shown = ", ".join(f"{each}::BIGINT AS {each}" if each in _SUMS else each for each in columns)
        self._sql = f"WITH {', '.join(tables)} SELECT {shown} FROM ({queries('leaks')[name]}) {order}"

    def rows(self, read: Read, *bound: Any) -> list[Row]:
        return [dict(zip(self._columns, row, strict=True)) for row in read(self._sql, *bound)]
