"""The part of the retro hunt: new entries of the lists are looked up in all of passive DNS, a little in each round."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from dnsvigil.detectors.retro_hunt import finding
from dnsvigil.engines.hunt import Hunt, entry
from dnsvigil.engines.tuples import TupleReader
from dnsvigil.ingest.new_entries import NewEntries, Wave
from dnsvigil.ingest.part import Part
from dnsvigil.sources.blocklists.domain_lists import DomainLists
from dnsvigil.sources.zeek.log_types import DNS, PDNS
from dnsvigil.store.findings import Findings
from dnsvigil.store.hunted import FOUND, HUNTED, INCOMPLETE, NOT_FOUND, Hunted, hashes_of
from dnsvigil.store.sensors import newest_event
from dnsvigil.store.store import Store, StoreError

SECONDS: Final = 0.1
"""How long a round goes on with the hunt."""


@dataclass(frozen=True)
class HuntSnapshot:
    """How far the hunt is."""

    waiting: int = 0  # entries
    seconds: float = 0.0  # of hunting, since the start


class HuntPart(Part):
    """The retro hunt in one store. Which entries were hunted outlives a restart."""

    logs = (DNS, PDNS)
    columns = ("ts",)
    counters = (HUNTED,)

    def __init__(self, store: Store, lists: DomainLists) -> None:
        self._store = store
        self._lists = lists
        self._findings = Findings(store)
        self._hunted = Hunted(store)
        self._new = NewEntries(lists, self._hunted.hashes)
        self._wave = Wave()
        self._version = lists.version
        self._since = newest_event(store)
        """The event time at which the lists became what they are: queries since are compared with them as they come."""
        self._hunt: Hunt | None = None
        self._waiting = 0
        self._seconds = 0.0

    def close(self) -> None:
        """Wait for lists that are being read."""
        self._new.wait()

    def evaluate(self, newest: datetime) -> None:
        """Go on for ``SECONDS``. Raises :class:`StoreError`; whatever else fails is set aside."""
        try:
            self._step(newest, SECONDS)
        except StoreError:
            raise
        except Exception as error:
            self._hunt = None  # its entries are hunted after the next change of a list, or a restart
            self._store.set_aside.put("detector", "the retro hunt", error)

    def flush(self, newest: datetime | None) -> None:
        """Hunt for all entries that wait."""
        while newest:
            self._new.look()
            self._new.wait()
            if not self._step(newest, float("inf")):
                break

    def snapshot(self) -> HuntSnapshot:
        """Return how far it is."""
        return HuntSnapshot(self._waiting, self._seconds)

    def _step(self, newest: datetime, seconds: float) -> bool:
        """Go on; return whether there was something to do."""
        if self._hunt is None:
            self._begin(newest)
        if self._hunt is None:
            return False
        start = time.perf_counter()
        try:
            if self._hunt.step(seconds):
                self._finish(self._hunt, newest)
                self._hunt = None
        finally:
            self._seconds += time.perf_counter() - start
        return True

    def _begin(self, newest: datetime) -> None:
        if self._lists.version != self._version:
            self._version, self._since = self._lists.version, newest
        self._new.look()
        if wave := self._new.take():
            self._wave, self._waiting = wave, wave.waiting
            # A reader of its own, as its footers of files take memory.
            self._hunt = Hunt(TupleReader(lambda: self._store), [entry(name.decode()) for name in wave.names])

    def _finish(self, hunt: Hunt, newest: datetime) -> None:
        since = self._since.replace(tzinfo=UTC).timestamp() if self._since else 0
        hits = {text: hit for text, hit in hunt.hits.items() if hit.time_first <= since}
        listed = self._lists.match(hits)
        found = [
            finding(each, hits[each.text], listed[each.text].lists, newest)
            for each in hunt.indicators
            if each.text in listed and listed[each.text].entry == each.text
        ]
        for path, reason in hunt.unreadable.items():
            self._store.set_aside.put("passive_dns", path, reason)
        missed = len(hunt.indicators) - len(hits)
        outcome = INCOMPLETE if hunt.unreadable else NOT_FOUND
        with self._store.transaction():
            self._findings.put_all(found)
            self._hunted.add(hashes_of(self._wave.names))
            self._hunted.forget(self._wave.gone)
            HUNTED.add_rows(self._store, [(FOUND, len(hits)), (outcome, missed)])
        self._waiting -= len(hunt.indicators)
