"""Watches batches for what is novel or listed: runs the expressions of :mod:`dnsvigil.features.novelty`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Final

import duckdb
import numpy as np
from numpy.typing import NDArray

from dnsvigil.config.collector import Config
from dnsvigil.engines.duckdb import Steps, queries
from dnsvigil.engines.established import Hashes, established, within
from dnsvigil.ingest.lists import ListReloader
from dnsvigil.ingest.part import HOUR, MINUTE, Part, passes
from dnsvigil.ingest.seen import NewlyObserved, Novelty, Times
from dnsvigil.records import NOVEL, NOVELTY_COLUMNS
from dnsvigil.sources.blocklists.domain_lists import DomainLists
from dnsvigil.sources.blocklists.list_file import ListFile
from dnsvigil.sources.zeek.log_types import DNS
from dnsvigil.store.novelty import DROPPED, KEPT_FOR, NovelTables
from dnsvigil.store.store import Store

MAX_DOMAINS: Final = 5_000
"""How many newly observed domains of a client are kept in an hour; queries beyond are only counted."""

MAX_NAMES: Final = 50_000
"""So many new names of a client are known in an hour."""


_LATE: Final = timedelta(minutes=5)  # after its end, an hour may have more
_MERGE_ROWS: Final = 200_000  # that came since rows were merged, if those were not more
_SPAN: Final = 100_000  # records
_NOVEL: Final = ", ".join(f"{name} {kind}" for name, kind in NOVEL.items())


class Watcher:
    """Finds what is novel in the batches that :class:`dnsvigil.ingest.summaries.Summarizer` summarizes.

    It needs the tables that the summarizer leaves on the same connection. ``lists`` are those that the operator keeps.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        novelty: Novelty,
        newly_observed: NewlyObserved,
        lists: DomainLists | None,
    ) -> None:
        self._connection = connection
        self._steps = Steps(connection, "novelty")
        self._novelty = novelty
        self._newly_observed = newly_observed
        self._lists = lists
        self._begin()
        connection.execute("CREATE OR REPLACE TEMP TABLE hits (qname VARCHAR, entry VARCHAR, lists VARCHAR[])")
        self.set_busy([])
        self._unlisted = False

    def drain(self) -> list[tuple[int, Hashes]]:
        """Return what became known since the last call, each with its generation."""
        return self._novelty.drain()

    def watch(self) -> None:
        """Fill the tables ``sum_novel`` and ``sum_listed`` from the batch."""
        self._begin()
        for span in self._spans():
            self._connection.execute(f"CREATE OR REPLACE TEMP VIEW watched AS FROM transactions WHERE {span}")
            self._watch()
        self._match()

    def _begin(self) -> None:
        self.new_domains: list[tuple[Hashes, Times]] = []
        """The domains that the batch made newly observed, and since when, in microseconds."""
        self.popular: list[Hashes] = []
        """The domains that are no longer newly observed after the batch."""
        self.refused = 0
        """The domains that were new, and had no room."""
        self._connection.execute(f"CREATE OR REPLACE TEMP TABLE sum_novel ({_NOVEL})")

    def _spans(self) -> Iterator[str]:
        """Yield conditions that cut the batch by time into spans of some ``_SPAN`` records each.

        So what a batch of nothing but new names needs of memory has a bound.
        """
        ((records,),) = self._connection.execute("SELECT count(*) FROM transactions").fetchall()
        count = -(-records // _SPAN)
        if count <= 1:
            yield "true"
            return
        parts = [part / count for part in range(1, count)]
        ((cuts,),) = self._connection.execute(
            "SELECT quantile_disc(ts, $1::DOUBLE[]) FROM transactions", [parts]
        ).fetchall()
        edges = [None, *dict.fromkeys(cuts), None]
        for begin, end in pairwise(edges):
            after = f"ts >= TIMESTAMP '{begin}'" if begin else "true"
            yield f"{after} AND ts < TIMESTAMP '{end}'" if end else after

    def _watch(self) -> None:
        self._steps.run("asked")
        self._find_new(*self._columns("asked", "hash", "domain_hash", "first"))
        self._steps.run("noted", "firsts", "parts")
        (hashes,) = self._columns("parts", "hash")
        self._connection.register("new_parts", {"hash": hashes[self._novelty.unseen(hashes)]})
        self._steps.run("novel_part")
        self._connection.execute("INSERT INTO sum_novel FROM novel_part")
        if self._busy:
            self._steps.append("floods", "sum_novel")
        clients = self._connection.execute(queries("novelty")["domain_clients"]).fetchnumpy()
        self.popular.append(self._newly_observed.meet(clients["hash"], clients["bits"]))

    def forget(self, before: datetime) -> None:
        """Drop the domains that were first asked for before a time."""
        self._newly_observed.forget(int(np.datetime64(before, "us").astype(np.int64)))

    def set_busy(self, clients: Sequence[str]) -> None:
        """Count the requests of these clients as sums alone, from the next batch on."""
        self._busy = bool(clients)
        self._connection.execute(
            "CREATE OR REPLACE TEMP TABLE busy_clients AS SELECT unnest($1::VARCHAR[]) AS client", [list(clients)]
        )

    def _find_new(self, hashes: Hashes, domains: Hashes, first: NDArray[Any]) -> None:
        """Find which names of the table ``asked`` are new, and which are in newly observed domains."""
        new = self._novelty.unseen(hashes)
        at: Times = first.astype("M8[us]").astype(np.int64)
        order = np.argsort(at, kind="stable")
        distinct, places = np.unique(domains[order], return_index=True)
        since = at[order][places]
        fresh = self._novelty.unseen(distinct) & ~within(distinct, established())
        taken = self._newly_observed.add(distinct[fresh], since[fresh])
        self.new_domains.append((distinct[fresh][:taken], since[fresh][:taken]))
        self.refused += int(fresh.sum()) - taken
        newly_observed = self._newly_observed.contains(domains, at)
        chosen = new | newly_observed
        self._connection.register(
            "interesting", {"hash": hashes[chosen], "new": new[chosen], "newly_observed": newly_observed[chosen]}
        )

    def _match(self) -> None:
        """Fill the table ``sum_listed``."""
        found = {}
        if self._lists is not None and len(self._lists):
            names = self._connection.execute("SELECT DISTINCT qname FROM transactions WHERE qname IS NOT NULL")
            found = self._lists.match(name for (name,) in names.fetchall())
        if not found and self._unlisted:
            return
        self._unlisted = not found
        self._connection.execute("DELETE FROM hits")
        if found:
            self._connection.executemany(
                "INSERT INTO hits VALUES (?, ?, ?)", [[name, hit.entry, list(hit.lists)] for name, hit in found.items()]
            )
        self._steps.run("sum_listed")

    def _columns(self, table: str, *names: str) -> list[NDArray[Any]]:
        found = self._connection.execute(f"SELECT {', '.join(names)} FROM {table}").fetchnumpy()
        return [found[name] for name in names]


def newly_observed_domains(
    connection: duckdb.DuckDBPyConnection, hashes: Hashes, first_seen: NDArray[Any]
) -> NewlyObserved:
    """Return those known to be newly observed, with the clients that the table ``novel`` has of them."""
    newly_observed = NewlyObserved(
        hashes, first_seen.astype("M8[us]").astype(np.int64), np.zeros(len(hashes), np.uint64)
    )
    found = connection.execute(queries("novelty")["known_domain_clients"]).fetchnumpy()
    newly_observed.meet(found["hash"], found["bits"])
    return newly_observed


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

    def __init__(self, store: Store, config: Config) -> None:
        self._store = store
        self._tables = NovelTables(store, config.store.max_size)
        folder = config.detectors.lists
        self._lists = None if folder is None else ListReloader(folder, store.set_aside)
        with store.errors():
            newly_observed = self._tables.newly_observed()
            self._watcher = Watcher(
                store.connection,
                Novelty(self._tables.capacity, self._tables.seen()),
                newly_observed_domains(store.connection, newly_observed["hash"], newly_observed["first_seen"]),
                self._lists.lists if self._lists else None,
            )
        self.touched: set[datetime] = set()
        """The hours in which the last round had something novel or listed."""
        # Those before are merged already.
        late = "SELECT DISTINCT hour FROM novel WHERE hour >= (SELECT max(hour) - INTERVAL 1 HOUR FROM novel)"
        self._open_hours = {hour for (hour,) in store.rows(late)}
        self._unmerged = self._merged = 0
        self._busy: list[str] = []
        self._rows = self._tables.count()

    def close(self) -> None:
        """Wait for lists that are being read."""
        if self._lists:
            self._lists.close()

    def gather(self, size: int) -> None:
        """Find what is novel or listed in the records that were summarized."""
        self._watcher.watch()

    def add(self) -> None:
        """Put what was gathered into the store."""
        self._tables.add("novel", "listed")
        self._tables.add_seen(self._watcher.drain())
        for hashes, first_seen in self._watcher.new_domains:
            self._tables.add_newly_observed(hashes, first_seen)
        for hashes in self._watcher.popular:
            self._tables.drop_newly_observed(hashes)
        self._drop("domains", self._watcher.refused)
        both = "(SELECT hour FROM sum_novel UNION ALL SELECT hour FROM sum_listed)"
        rows = dict(self._store.rows(f"SELECT hour, count(*) FROM {both} GROUP BY ALL"))
        self.touched = set(rows)
        self._unmerged += sum(rows.values())
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
        busy = self._tables.busiest(newest.replace(minute=0, second=0, microsecond=0), MAX_DOMAINS, MAX_NAMES)
        if busy != self._busy:
            self._watcher.set_busy(busy)
            self._busy = busy

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
