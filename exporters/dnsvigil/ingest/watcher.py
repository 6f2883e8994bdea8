"""Watches batches for what is novel or listed: runs the expressions of :mod:`dnsvigil.features.novelty`."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import product
from typing import Any, Final

import duckdb
import numpy as np
from numpy.typing import NDArray

from dnsvigil.engines.duckdb import Steps, lookup, queries
from dnsvigil.engines.established import Hashes, established, within
from dnsvigil.ingest.seen import Crowd, NewlyObserved, Novelty, Seen, Times
from dnsvigil.records import CARRIED, LISTED, NOVEL
from dnsvigil.sources.blocklists.joined import NameLists
from dnsvigil.store.novelty import Crowded

_SPAN: Final = 100_000  # novel names whose records are looked at together, which bounds what that takes of memory
_MAX_UNLISTED: Final = 4_000_000  # names, in eight bytes each
_MAX_PREFIXES: Final = 100_000  # of addresses, that are remembered
_NOTHING: Final[Hashes] = np.zeros(0, np.uint64)
_TABLES: Final = {"sum_novel": NOVEL, "sum_listed": LISTED}
_PREFIXES: Final = {"address": "VARCHAR", "prefix": "VARCHAR"}
_FLOODING: Final = {"client": "VARCHAR", "domain": "VARCHAR"}


class Watcher:
    """Finds what is novel in the batches that :class:`dnsvigil.ingest.summaries.Summarizer` summarizes.

    It needs the tables that the summarizer leaves on the same connection. Names are looked up in ``lists``.
    ``client_of`` returns the prefix that stands for the client with an address, or the address.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        novelty: Novelty,
        newly_observed: NewlyObserved,
        lists: NameLists,
        client_of: Callable[[str], str],
    ) -> None:
        self._connection = connection
        self._steps = Steps(connection, "novelty")
        self._novelty = novelty
        self._newly_observed = newly_observed
        self._lists = lists
        self._lists_version = 0
        self._unlisted = Seen(_NOTHING)
        self.filled = {*_TABLES}
        """Which of the tables ``sum_novel`` and ``sum_listed`` may have rows."""
        self._begin()
        self._client_of = lru_cache(_MAX_PREFIXES)(client_of)
        self._crowd = Crowd()
        self._prefixed = self._flooding = False  # whether these tables have rows
        self._fill_lookup("client_prefixes", _PREFIXES, [])
        self._fill_lookup("flooding", _FLOODING, [])
        connection.execute("CREATE OR REPLACE TEMP TABLE flooded (qname VARCHAR, queries BIGINT)")
        self.set_crowded(Crowded())

    def _begin(self) -> None:
        for table in self.filled:
            # Made anew, as rows that are deleted from a temporary table keep their memory.
            columns = ", ".join(f"{name} {kind}" for name, kind in _TABLES[table].items())
            self._connection.execute(f"CREATE OR REPLACE TEMP TABLE {table} ({columns})")
        self.filled.clear()
        self.new_domains: tuple[Hashes, Times] = _NOTHING, np.zeros(0, np.int64)
        """The domains that the batch made newly observed, and since when, in microseconds."""
        self.popular = _NOTHING
        """The domains that are no longer newly observed after the batch."""
        self.refused = 0
        """The domains that were new, and had no room."""
        self.flooded = 0
        """The queries of clients that ask for too much, which are sums alone."""

    def drain(self) -> list[tuple[int, Hashes]]:
        """Return what became known since the last call, each with its generation."""
        return self._novelty.drain()

    def watch(self) -> None:
        """Fill the tables ``sum_novel`` and ``sum_listed`` from the batch.

        Names that are known cost a look-up: without a new one, or one in a newly observed domain, nothing else runs.
        """
        self._begin()
        self._name_clients()
        self._flood()
        self._steps.view("asked")
        hashes, texts, domains, first = self._columns("asked", "hash", "text_hash", "domain_hash", "first")
        new, newly_observed = self._find_new(hashes, domains, first.astype("M8[us]").astype(np.int64))
        new_text = texts > 0
        new_text[new_text] = self._novelty.unseen(texts[new_text])
        found = np.flatnonzero(new | new_text | newly_observed)
        # By domain, so that a domain's rows are summed at once.
        spans = -(-len(found) // _SPAN)
        for span in range(spans):
            own = found[domains[found] % spans == span]
            columns = {"hash": hashes, "new": new, "new_text": new_text, "newly_observed": newly_observed}
            self._connection.register("interesting", {name: column[own] for name, column in columns.items()})
            self._steps.run("noted")
            self._connection.register("carried", self._carried())
            self._fill("sum_novel")
        if spans:
            clients = self._connection.execute(queries("novelty")["domain_clients"]).fetchnumpy()
            self.popular = self._newly_observed.meet(clients["hash"], clients["bits"])
        if self._flooding:
            self._steps.append("floods", "sum_novel")
            self.filled.add("sum_novel")
        self._match()

    def _fill(self, table: str) -> None:
        self._steps.append(table, table)
        self.filled.add(table)

    def forget(self, before: datetime) -> None:
        """Drop the domains that were first asked for before a time, and what was counted of crowds; by the hour."""
        self._crowd.begin()
        self._newly_observed.forget(int(np.datetime64(before, "us").astype(np.int64)))

    def set_crowded(self, crowded: Crowded) -> None:
        """Count what there is too much of as sums alone, from the next batch on; anything else ends."""
        self._crowded = crowded
        full = [*crowded.full, *product(crowded.spent, (False, True))]
        self._fill_lookup("crowded", {"client": "VARCHAR", "fails": "BOOLEAN"}, full)
        self._fill_lookup("heavy", _FLOODING, crowded.heavy)
        busy = dict.fromkeys((client,) for client, _ in (*full, *crowded.heavy))
        self._fill_lookup("busy", {"client": "VARCHAR"}, [*busy])
        self._busy = bool(busy)

    def _name_clients(self) -> None:
        """Find the prefixes that stand for the batch's clients."""
        query = "SELECT client FROM (SELECT DISTINCT client FROM transactions) WHERE contains(client, ':')"
        clients = [client for (client,) in self._connection.execute(query).fetchall()]
        named = [(client, prefix) for client in clients if (prefix := self._client_of(client)) != client]
        if named or self._prefixed:
            self._fill_lookup("client_prefixes", _PREFIXES, named)
        self._prefixed = bool(named)

    def _flood(self) -> None:
        """Find in the batch what there is no room for."""
        if not (self._busy or self._flooding):
            return
        self._steps.run("crowds", "crowd_domains")
        clients, names, hashes = self._columns("crowd_domains", "client", "names", "hash")
        lost = self._crowd.without_room(hashes, names) | np.isin(clients, self._crowded.spent)
        self._connection.register("lost", {"hash": hashes[lost]})
        self._steps.run("flooding", "flooded")
        ((self.flooded,),) = self._connection.execute(
            "SELECT coalesce(sum(queries), 0)::BIGINT FROM flooded"
        ).fetchall()
        self._flooding = self._busy

    def _fill_lookup(self, table: str, types: Mapping[str, str], rows: Sequence[tuple[Any, ...]]) -> None:
        lookup(self._connection, table, types, *(zip(*rows, strict=True) if rows else [[] for _ in types]))

    def _find_new(self, hashes: Hashes, domains: Hashes, first: Times) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return which names, by their hashes, are new, and which are in newly observed domains."""
        new = self._novelty.unseen(hashes)
        distinct = np.unique(domains)
        unseen = self._novelty.unseen(distinct)
        if unseen.any():
            self._observe(distinct[unseen], domains, first)
        return new, self._newly_observed.contains(domains, first)

    def _observe(self, unseen: Hashes, domains: Hashes, first: Times) -> None:
        """Take domains that were never seen, unless they are established, from when they were asked for first on."""
        self._connection.register("fresh", {"hash": unseen})
        found = self._connection.execute(queries("novelty")["established"]).fetchnumpy()
        fresh = np.sort(found["hash"][~within(found["key"], established())])
        places = np.searchsorted(fresh, domains)
        ours = within(domains, fresh)
        since = np.full(len(fresh), np.iinfo(np.int64).max)
        np.minimum.at(since, places[ours], first[ours])
        taken = self._newly_observed.add(fresh, since)
        self.new_domains = fresh[:taken], since[:taken]
        self.refused = len(fresh) - taken

    def _carried(self) -> dict[str, NDArray[Any]]:
        """Return what the labels and answers of each new name carry that nobody had before, by the name's ``hash``."""
        # To look twice at the few names that have several records costs less than to copy all.
        self._steps.view("firsts")
        self._steps.view("parts")
        columns = self._columns("parts", "name", "ts", "hash", "answer", "octets")
        order = np.argsort(columns[1], kind="stable")
        name, _, hashes, answer, octets = (column[order] for column in columns)
        hashes, places = np.unique(hashes, return_index=True)
        places = places[self._novelty.unseen(hashes)]
        names, of = np.unique(name[places], return_inverse=True)
        answer, octets = answer[places], octets[places]
        sums = (~answer, np.where(answer, 0, octets), np.where(answer, octets, 0))
        counts = (np.bincount(of, each, len(names)).astype(np.int64) for each in sums)
        return {"hash": names, **dict(zip(CARRIED, counts, strict=True))}

    def _match(self) -> None:
        """Fill the table ``sum_listed``. What is on no list is not looked up again until the lists change."""
        lists = self._lists
        if not len(lists):
            return
        if lists.version != self._lists_version or len(self._unlisted) > _MAX_UNLISTED:
            self._lists_version, self._unlisted = lists.version, Seen(_NOTHING)
        if self._look_up("names", "qname", "n"):
            self._fill("sum_listed")
        if lists.has_addresses:
            self._steps.run("answered_addresses")
            if self._look_up("answered_addresses", "answer", "a"):
                self._steps.append("listed_answers", "sum_listed")
                self.filled.add("sum_listed")

    def _look_up(self, table: str, column: str, kind: str) -> bool:
        """Fill the table ``hits`` with what is on a list of a column; return whether there is any."""
        (hashes,) = self._columns(f"(SELECT novelty_hash('{kind}', {column}) AS hash FROM {table})", "hash")
        hashes.sort()
        self._connection.register("unmatched", {"hash": hashes[~self._unlisted.contains(hashes)]})
        query = f"SELECT {column}, hash FROM {table} JOIN unmatched ON novelty_hash('{kind}', {column}) = hash"
        unmatched = self._connection.execute(query).fetchnumpy()
        texts = unmatched[column].tolist()
        found = self._lists.match(texts)
        self._unlisted.add(np.sort(unmatched["hash"][[text not in found for text in texts]]))
        if found:
            self._connection.execute("CREATE OR REPLACE TEMP TABLE hits (text VARCHAR, entry VARCHAR, lists VARCHAR[])")
            self._connection.executemany(
                "INSERT INTO hits VALUES (?, ?, ?)", [[text, hit.entry, list(hit.lists)] for text, hit in found.items()]
            )
        return bool(found)

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
