"""The part of passive DNS: tuples of name, type and data, from the rows that the Zeek package writes of them."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from dnsvigil.config.collector import Config
from dnsvigil.ingest.part import Part, passes
from dnsvigil.ingest.size_bound import spare
from dnsvigil.sources.zeek.log_types import PDNS
from dnsvigil.store.passive_dns import DROPPED, PassiveDns
from dnsvigil.store.store import Store

_MERGE_EVERY: Final = timedelta(minutes=5)
_MERGE_BYTES: Final = 32 * 2**20  # of log that waits to be merged; a part of the tuples where they are more
_MERGE_PART: Final = 16


@dataclass(frozen=True)
class PassiveDnsSnapshot:
    """How much passive DNS there is, at one moment."""

    tuples: int = 0  # one for each sensor that saw it


class PassiveDnsPart(Part):
    """Passive DNS in one store."""

    logs = (PDNS,)
    counters = (DROPPED,)

    def __init__(self, store: Store, config: Config) -> None:
        self._store = store
        self._retention = timedelta(seconds=config.store.retention)
        # In bytes that are not compressed, so that it is a tenth on disk at most: more tuples would be slow to merge.
        self._tuples = PassiveDns(store, (config.store.max_size - spare(config.store.max_size)) // 4)
        self._unmerged = int(self._tuples.has_new())  # bytes of log, at least, since tuples were merged
        self._gathered = 0

    def gather(self, size: int) -> None:
        """Put the rows of the same tuples together."""
        self._tuples.gather(PDNS.view)
        self._gathered = size

    def add(self) -> None:
        """Append what was gathered, to be merged later."""
        self._tuples.add()
        self._unmerged += self._gathered

    def advance(self, before: datetime, newest: datetime) -> None:
        """Merge after some minutes, or where much waits to be merged."""
        much = max(_MERGE_BYTES, self._tuples.bytes // _MERGE_PART)
        if self._unmerged > (0 if passes(before, newest, _MERGE_EVERY) else much):
            self._merge()

    def forget(self, newest: datetime) -> None:
        """Drop the tuples that were not seen for long."""
        self._drop("age", self._tuples.forget(newest - self._retention))

    def flush(self, newest: datetime | None) -> None:
        """Merge what was added."""
        if self._unmerged:
            with self._store.transaction():
                self._merge()

    def snapshot(self) -> PassiveDnsSnapshot:
        """Return the number of tuples after the last merge."""
        return PassiveDnsSnapshot(self._tuples.count)

    def _merge(self) -> None:
        self._drop("size", self._tuples.merge())
        self._unmerged = 0

    def _drop(self, reason: str, dropped: int) -> None:
        DROPPED.add_rows(self._store, [(reason, dropped)])
