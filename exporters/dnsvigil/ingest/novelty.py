"""The part of novel traffic: what is novel or listed, by the hour, and the clients that ask too much."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from dnsvigil.config.collector import Config
from dnsvigil.engines.duckdb import macro
from dnsvigil.ingest.lists import ListReloader
from dnsvigil.ingest.part import HOUR, MINUTE, Part, passes
from dnsvigil.ingest.seen import Novelty
from dnsvigil.ingest.watcher import Watcher, newly_observed_domains
from dnsvigil.records import NOVELTY_COLUMNS
from dnsvigil.sources.blocklists.joined import JoinedLists
from dnsvigil.sources.blocklists.list_file import ListFile
from dnsvigil.sources.honeypots.entries import HoneypotHosts
from dnsvigil.sources.zeek.log_types import DNS
from dnsvigil.store.novelty import DROPPED, KEPT_FOR, Crowded, NovelTables
from dnsvigil.store.store import Store
from dnsvigil.system.sql import literal

MAX_DOMAINS: Final = 2_500
"""How many domains of a client that fail, and how many others, are kept in an hour, before it must ask for several
names below one more."""

MAX_NAMES: Final = 25_000
"""From so many new names of a client in an hour on, the domains with most of them are only counted."""

_LATE: Final = timedelta(minutes=5)  # after its end, an hour may have more
_MERGE_ROWS: Final = 200_000  # that came since rows were merged, if those were not more


@dataclass(frozen=True)
class NoveltySnapshot:
    """What there is of novel traffic, at one moment."""

    rows: int = 0
    lists: tuple[ListFile, ...] = ()


class NoveltyPart(Part):
    """What is novel or listed, in one store. Its part of a round follows that of DNS, whose tables it reads."""

    logs = (DNS,)
    counters = (DROPPED,)
    columns = NOVELTY_COLUMNS

    def __init__(self, store: Store, config: Config, honeypot_hosts: HoneypotHosts) -> None:
        self._store = store
        self._tables = NovelTables(store, config.store.max_size)
        folder = config.detectors.lists
        self._lists = None if folder is None else ListReloader(folder, store.set_aside)
        self.lists = self._lists.lists if self._lists else None
        """The operator's lists."""
        with store.errors():
            macro(store.connection, "novelty_hash(kind, text)", f"hash({literal(self._tables.salt)} || kind || text)")
            newly_observed = self._tables.newly_observed()
            self._watcher = Watcher(
                store.connection,
                Novelty(self._tables.capacity, self._tables.seen()),
                newly_observed_domains(store.connection, newly_observed["hash"], newly_observed["first_seen"]),
                JoinedLists(*([self.lists] if self.lists else []), honeypot_hosts),
                config.detectors.client_of,
            )
        self.touched: set[datetime] = set()
        """The hours in which the last round had something novel or listed."""
        # Those before are merged already.
        late = "SELECT DISTINCT hour FROM novel WHERE hour >= (SELECT max(hour) - INTERVAL 1 HOUR FROM novel)"
        self._open_hours = {hour for (hour,) in store.rows(late)}
        self._unmerged = self._merged = 0
        self._crowded = Crowded()
        self._rows = self._tables.count()

    @property
    def listed_addresses(self) -> dict[str, list[str]]:
        """Some addresses on the operator's lists, each with the names of its lists."""
        return self.lists.addresses if self.lists else {}

    def close(self) -> None:
        """Wait for lists that are being read."""
        if self._lists:
            self._lists.close()

    def gather(self, size: int) -> None:
        """Find what is novel or listed in the records that were summarized."""
        self._watcher.watch()

    def add(self) -> None:
        """Put what was gathered into the store."""
        watcher = self._watcher
        self._tables.add(watcher.filled)
        self._tables.add_seen(watcher.drain())
        self._tables.add_newly_observed(*watcher.new_domains)
        self._tables.drop_newly_observed(watcher.popular)
        self._drop("domains", watcher.refused)
        self._drop("flood", watcher.flooded)
        rows = Counter[datetime]()
        for table in watcher.filled:
            rows.update(dict(self._store.rows(f"SELECT hour, count(*) FROM {table} GROUP BY hour")))
        self.touched = set(rows)
        self._unmerged += rows.total()
        self._open_hours |= self.touched

    def advance(self, before: datetime, newest: datetime) -> None:
        """By the minute merge the hours that are over, and find the clients that ask too much."""
        if not passes(before, newest, MINUTE):
            return
        closed = {each for each in self._open_hours if each + HOUR + _LATE < newest}
        if self._unmerged > max(_MERGE_ROWS, self._merged):
            closed = self._open_hours
        if closed:
            self._merge(closed)
        hour = newest.replace(minute=0, second=0, microsecond=0)
        crowded = self._tables.crowded(hour, MAX_DOMAINS, MAX_NAMES)
        if crowded != self._crowded:
            self._watcher.set_crowded(crowded)
            self._crowded = crowded

    def forget(self, newest: datetime) -> None:
        """Drop what is too old, or too much."""
        self._drop("rows", self._tables.forget(newest))
        self._watcher.forget(newest - KEPT_FOR)

    def look_again(self) -> None:
        """Count the rows, and read the lists that have changed."""
        self._rows = self._tables.count()
        if self._lists:
            self._lists.reload()

    def flush(self, newest: datetime | None) -> None:
        """Merge the hours that are not over."""
        if newest:
            with self._store.transaction():
                self._merge(self._open_hours)

    def snapshot(self) -> NoveltySnapshot:
        """Return how it stands now."""
        return NoveltySnapshot(self._rows, tuple(self._lists.files) if self._lists else ())

    def _merge(self, hours: set[datetime]) -> None:
        self._merged = self._tables.merge(hours)
        self._open_hours = self._open_hours - hours
        self._unmerged = 0

    def _drop(self, reason: str, dropped: int) -> None:
        DROPPED.add_rows(self._store, [(reason, dropped)])
