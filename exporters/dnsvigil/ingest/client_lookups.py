"""The part of look-ups about mail and addresses: those of each client in the last hours, and what is usual for it."""

from datetime import datetime, timedelta
from typing import Final

from dnsvigil.engines.duckdb import Steps, queries
from dnsvigil.ingest.part import MINUTE, Part, passes
from dnsvigil.sources.zeek.log_types import DNS
from dnsvigil.store.client_lookups import DROPPED, ClientLookupTables
from dnsvigil.store.findings import QUIET
from dnsvigil.store.store import Store

_LATE: Final = timedelta(minutes=5)


class ClientLookupsPart(Part):
    """Look-ups in one store.

    It comes after the parts whose tables it needs, those of DNS and of novel traffic, and after detection: an hour is
    summed up when no detector needs it any more, without the clients that were reported.
    """

    logs = (DNS,)
    counters = (DROPPED,)
    columns = ("ts", "client", "qname", "qtype", "rcode")

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tables = ClientLookupTables(store)
        self._steps = Steps(store.connection, "client_lookups")
        self._amounts = queries("client_lookups")["amounts"]
        self._closed = datetime.min

    def gather(self, size: int) -> None:
        """Sum up the look-ups of the round."""
        self._steps.run("sum_client_lookups")

    def add(self) -> None:
        """Append them."""
        self._tables.add()
        hours = self._store.rows("SELECT DISTINCT date_trunc('hour', minute) FROM sum_types")
        self._tables.cover(hour for (hour,) in hours)

    def advance(self, before: datetime, newest: datetime) -> None:
        """By the minute keep the rows within their bounds."""
        if passes(before, newest, MINUTE):
            self._tables.trim()

    def evaluate(self, newest: datetime) -> None:
        """Sum up the hours of which no finding can be confirmed any more."""
        closing = (newest - _LATE - QUIET).replace(minute=0, second=0, microsecond=0)
        if closing > self._closed:
            with self._store.transaction():
                self._tables.close(closing, self._amounts)
            self._closed = closing

    def forget(self, newest: datetime) -> None:
        """Drop days that are too old."""
        self._tables.forget(newest)
