"""Detection in logs: notes what is novel in each batch, and as time passes lets the detectors judge."""

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.metadata import EntryPoint
from typing import Any, Final, Self

from dnsvigil.config.collector import Config
from dnsvigil.detectors.detector import Context
from dnsvigil.detectors.runner import DetectorHealth, Runner, Score, enabled
from dnsvigil.ingest.novelty import Watcher, newly_observed_domains
from dnsvigil.ingest.seen import Novelty
from dnsvigil.records import utc_now
from dnsvigil.sources.blocklists.lists import DomainLists, ListFile
from dnsvigil.store.findings import Findings
from dnsvigil.store.novelty import KEPT_FOR, NovelTables
from dnsvigil.store.store import Store

log = logging.getLogger(__name__)

MAX_DOMAINS: Final = 5_000
"""How many newly observed domains of a client are kept in an hour; queries beyond are only counted."""

MAX_NAMES: Final = 50_000
"""So many new names of a client are known in an hour."""

_LATE: Final = timedelta(minutes=5)  # after its end, an hour may have more
_MERGE_ROWS: Final = 200_000  # that came since rows were merged, if those were not more
_RELOAD_SECONDS: Final = 60.0
_APART_SECONDS: Final = 60.0
_MINUTE: Final = timedelta(minutes=1)
_HOUR: Final = timedelta(hours=1)

_SCORES: Final = """
CREATE TABLE IF NOT EXISTS anomaly_scores (detector VARCHAR, subject_type VARCHAR, subject VARCHAR, score DOUBLE)
"""


@dataclass(frozen=True)
class DetectionSnapshot:
    """What /metrics shows of detection, at one moment."""

    detectors: tuple[DetectorHealth, ...] = ()
    scores: tuple[Score, ...] = ()  # the highest
    lists: tuple[ListFile, ...] = ()
    rows: int = 0  # of novel traffic


class Detection:
    """Detection over the batches of one open store."""

    @classmethod
    def start(cls, store: Store, config: Config) -> Self | None:
        """Return the detection of what is configured, None without a detector."""
        detectors = enabled(config.detectors.disabled)
        return cls(store, config, detectors) if detectors else None

    def __init__(self, store: Store, config: Config, detectors: Sequence[EntryPoint]) -> None:
        self._store = store
        self._config = config
        self._detectors = detectors
        self._findings = Findings(store)
        self._tables = NovelTables(store, config.store.max_size)
        store.create(_SCORES)
        with store.transaction():
            self._evaluated = datetime.fromisoformat(store.meta("judged", datetime.min.isoformat()))
        self._apart: set[datetime] = set()  # ends of hours that are still to be judged beside event time
        self._evaluated_apart = time.monotonic()
        self._unevaluated = False  # whether anything came after the last judgement
        lists = config.detectors.lists
        self._lists = None if lists is None else DomainLists(lists, set_aside=store.set_aside)
        self._missing: list[ListFile] = []
        self._reloaded = time.monotonic()
        if self._lists is not None:
            self._reload_lists(self._lists)
        self._reloading: threading.Thread | None = None
        with store.errors():
            newly_observed = self._tables.newly_observed()
            self._watcher = Watcher(
                store.connection,
                Novelty(self._tables.capacity, self._tables.seen()),
                newly_observed_domains(store.connection, newly_observed["hash"], newly_observed["first_seen"]),
                self._lists,
            )
        self._runner: Runner | None = None
        self._state = store.path.parent
        self._touched: set[datetime] = set()
        # Those before are merged already.
        late = "SELECT DISTINCT hour FROM novel WHERE hour >= (SELECT max(hour) - INTERVAL 1 HOUR FROM novel)"
        self._open_hours = {hour for (hour,) in store.rows(late)}
        self._unmerged = self._merged = 0
        self._busy: list[str] = []
        self._scores: list[Score] = store.rows(
            "FROM anomaly_scores ORDER BY score DESC, detector, subject_type, subject"
        )
        self._rows = self._tables.count()

    def close(self) -> None:
        """Wait for lists that are being read. The store stays open."""
        if self._reloading:
            self._reloading.join()

    def gather(self) -> None:
        """Find what is novel or listed in the batch that was summarized, before the transaction."""
        self._watcher.watch()

    def add(self) -> None:
        """Put what was gathered into the store, in the batch's transaction."""
        self._tables.add("novel", "listed")
        self._tables.add_seen(self._watcher.drain())
        for hashes, first_seen in self._watcher.new_domains:
            self._tables.add_newly_observed(hashes, first_seen)
        for hashes in self._watcher.popular:
            self._tables.drop_newly_observed(hashes)
        self._drop("domains", self._watcher.refused)
        both = "(SELECT hour FROM sum_novel UNION ALL SELECT hour FROM sum_listed)"
        rows = dict(self._store.rows(f"SELECT hour, count(*) FROM {both} GROUP BY ALL"))
        self._touched = set(rows)
        self._unevaluated = self._unevaluated or bool(rows)
        self._unmerged += sum(rows.values())
        self._open_hours |= self._touched

    def advance(self, before: datetime, newest: datetime) -> None:
        """Do what is due as event time moves on, in the batch's transaction: merge, forget, count who asks too much."""
        hour = _hour(newest)
        closed = {each for each in self._open_hours if each + _HOUR + _LATE < newest}
        if self._unmerged > max(_MERGE_ROWS, self._merged):
            closed = self._open_hours
        if closed:
            self._merge(closed)
        if hour > before:
            self._drop("rows", self._tables.forget(newest))
            self._watcher.forget(newest - KEPT_FOR)
        busy = self._tables.busiest(hour, MAX_DOMAINS, MAX_NAMES)
        if busy != self._busy:
            self._watcher.set_busy(busy)
            self._busy = busy

    def evaluate(self, newest: datetime) -> None:
        """Let the detectors judge, after the batch: at ``newest``, and before at each end of an hour that had more.

        Hours that were passed long ago, or that a clock that is wrong has begun too early, are judged beside that.
        Raises :class:`dnsvigil.store.store.StoreError`.
        """
        ends = [hour + _HOUR for hour in sorted(self._touched)]
        self._touched = set()
        self._apart |= {end for end in ends if end <= min(self._evaluated, newest - _HOUR) or end > newest + _HOUR}
        for now in [*(end for end in ends if self._evaluated < end < newest), newest]:
            if _steps(self._evaluated, _MINUTE) < _steps(now, _MINUTE):
                self._evaluate_at(now)
        # Live, a few records that are late make no judgement with each batch.
        if time.monotonic() - self._evaluated_apart > _APART_SECONDS or newest < utc_now() - _HOUR:
            self._evaluate_apart()

    def flush(self, newest: datetime) -> None:
        """Do what else is done as time passes, for when no more will come. Raises as :meth:`evaluate` does."""
        with self._store.transaction():
            self._merge(self._open_hours)
        self._evaluate_apart()
        if self._evaluated < newest or self._unevaluated:
            self._evaluate_at(newest, last=True)

    def snapshot(self) -> DetectionSnapshot:
        """Return how it stands now."""
        health = self._runner.health() if self._runner else [DetectorHealth(entry.name) for entry in self._detectors]
        lists = [] if self._lists is None else [*self._lists.files, *self._missing]
        return DetectionSnapshot(tuple(health), tuple(self._scores), tuple(lists), self._rows)

    def _merge(self, hours: set[datetime]) -> None:
        self._merged = self._tables.merge(hours)
        self._open_hours = self._open_hours - hours
        self._unmerged = 0

    def _evaluate_apart(self) -> None:
        for end in sorted(self._apart):
            self._evaluate_at(end, apart=True)
        self._apart.clear()
        self._evaluated_apart = time.monotonic()

    def _evaluate_at(self, now: datetime, *, last: bool = False, apart: bool = False) -> None:
        if self._runner is None:
            # Not before there is something to judge: to load what detectors need takes a second.
            self._runner = Runner(self._detectors, Context(self._state, self._config))
        self._store.use_one_thread(True)  # what a detector adds up needs as much memory for each of them
        found = self._runner.evaluate(self._read, now, last=last, apart=apart)
        self._scores = self._runner.scores()
        with self._store.transaction():
            for finding in found:
                self._findings.put(finding)
            self._store.rows("DELETE FROM anomaly_scores")
            for score in self._scores:
                self._store.rows("INSERT INTO anomaly_scores VALUES (?, ?, ?, ?)", *score)
            if not apart:
                self._store.rows("UPDATE meta SET value = ? WHERE key = 'judged'", now.isoformat())
        if not apart:
            self._evaluated, self._unevaluated = now, False
        self._rows = self._tables.count()
        self._reload()

    def _read(self, query: str, *bound: Any) -> list[Any]:
        # Not the store's way: what a detector's query fails of is not the store's failure.
        return self._store.connection.execute(query, list(bound)).fetchall()

    def _drop(self, reason: str, dropped: int) -> None:
        self._store.count_values("novel_dropped", reason, {"": dropped})

    def _reload(self) -> None:
        """Read the lists that have changed, beside all else, if it is time to."""
        if self._lists is None or (self._reloading and self._reloading.is_alive()):
            return
        if time.monotonic() - self._reloaded > _RELOAD_SECONDS:
            self._reloaded = time.monotonic()
            self._reloading = threading.Thread(target=self._reload_lists, args=(self._lists,), name="lists")
            self._reloading.start()

    def _reload_lists(self, lists: DomainLists) -> None:
        try:
            lists.reload()
            self._missing = []
        except OSError as error:
            if not self._missing:
                log.warning("lists in %s cannot be read: %s", self._config.detectors.lists, error.strerror or error)
            self._missing = [ListFile(str(self._config.detectors.lists), (), error=error.strerror or str(error))]
        except Exception as error:  # this is a thread of its own: nobody else would see it
            self._store.set_aside.put("thread", "lists", error)
            self._missing = [ListFile(str(self._config.detectors.lists), (), error=type(error).__name__)]
        else:
            self._store.set_aside.release("thread", "lists")


def _steps(when: datetime, step: timedelta) -> int:
    return (when - datetime.min) // step


def _hour(when: datetime) -> datetime:
    return when.replace(minute=0, second=0, microsecond=0)
