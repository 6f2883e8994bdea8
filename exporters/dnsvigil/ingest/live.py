"""The part of the live tail: the newest transactions in memory, but only while somebody looks at them."""

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from dnsvigil.ingest.part import Part
from dnsvigil.sources.zeek.log_types import DNS
from dnsvigil.store.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS: Final = ("ts", "sensor", "client", "server", "qname", "qtype", "rcode", "rtt_seconds", "answers")
"""The columns of the records, which are among those that other parts have read anyway."""

KEPT: Final = 20_000
"""How many records there are at most, some three megabytes: two seconds of ten thousand a second."""

_WATCHED_SECONDS: Final = 30.0
_ANSWERS: Final = 8  # of a record

_NEWEST: Final = f"""
    SELECT * REPLACE (answers[:{_ANSWERS}] AS answers) FROM (SELECT {", ".join(COLUMNS)} FROM transactions)
    ORDER BY ts DESC LIMIT {KEPT}
"""


@dataclass(frozen=True)
class Seen:
    """What has come since a place in the tail."""

    place: int  # to look from the next time
    tables: "tuple[pa.Table, ...]" = ()  # the newest first, as the records in each
    missed: int = 0  # records that are no longer there


class Tail:
    """The newest records. Nobody waits for who looks at them: what a slow viewer has not taken in time is gone."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._tables: deque[tuple[int, pa.Table]] = deque()  # each with the place behind it; the newest first
        self._place = 0
        self._watched = float("-inf")
        self._closed = False

    @property
    def watched(self) -> bool:
        """Whether somebody has looked in the last half minute."""
        return time.monotonic() - self._watched < _WATCHED_SECONDS

    @property
    def closed(self) -> bool:
        """Whether nothing will come any more."""
        return self._closed

    def put(self, table: "pa.Table") -> None:
        """Add records, the newest first, and drop the oldest that are too many."""
        with self._changed:
            self._place += table.num_rows
            self._tables.appendleft((self._place, table))
            while len(self._tables) > 1 and self._place - self._tables[-1][0] + self._tables[-1][1].num_rows > KEPT:
                self._tables.pop()
            self._changed.notify_all()

    def clear(self) -> None:
        """Drop all records."""
        with self._changed:
            self._tables.clear()

    def after(self, place: int, wait: float) -> Seen:
        """Return what has come since a place, 0 for all that is there; wait so many seconds until there is anything."""
        with self._changed:
            self._watched = time.monotonic()
            if self._place <= place:
                self._changed.wait(wait)
                self._watched = time.monotonic()
            new = tuple(table for end, table in self._tables if end > place)
            there = sum(table.num_rows for table in new)
            return Seen(self._place, new, self._place - place - there if place else 0)

    def close(self) -> None:
        """End: nobody waits any longer."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class LivePart(Part):
    """The tail of one store. It needs the view of transactions that the part of DNS makes."""

    logs = (DNS,)
    columns = COLUMNS

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tail = Tail()

    def gather(self, size: int) -> None:
        """Take the newest records, if somebody looks."""
        if not self._tail.watched:
            self._tail.clear()
            return
        with self._store.errors():
            self._tail.put(self._store.connection.execute(_NEWEST).to_arrow_table())

    def snapshot(self) -> Tail:
        """Return the tail itself."""
        return self._tail

    def close(self) -> None:
        """End the tail."""
        self._tail.close()
