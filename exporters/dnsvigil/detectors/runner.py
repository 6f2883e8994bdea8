"""Runs the detectors: finds them, calls each when it is due, and keeps their scores and their health."""

import logging
import time
from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from dnsvigil.detectors.contacts import with_contacts
from dnsvigil.detectors.detector import THRESHOLD, Anomaly, Context, Detector
from dnsvigil.detectors.labelled import Labelled
from dnsvigil.store.findings import Finding
from dnsvigil.store.store import Read
from dnsvigil.system.sql import identifier

log = logging.getLogger(__name__)

GROUP: Final = "dnsvigil.detectors"
"""The entry-point group of detectors."""

SCORE_BOUNDS: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Upper bounds of the histogram of scores; one more bucket is above."""

Score = tuple[str, str, str, float]
"""Detector, subject type, subject, score."""


@dataclass(frozen=True)
class DetectorHealth:
    """The health of a detector; counts are since the start of the process."""

    name: str
    problems: tuple[str, ...] = ()  # what restricts its work
    runs: int = 0
    failures: int = 0  # runs that ended in an error
    seconds: float = 0.0  # of all runs
    evaluated: datetime | None = None  # event time of the last run that did not fail
    inputs: Mapping[str, int] = field(default_factory=dict)  # rows of each table that it read then
    lacks: tuple[str, ...] = ()  # what was missing in them
    counts: Mapping[str, int] = field(default_factory=dict)
    model_time: datetime | None = None
    histogram: tuple[int, ...] = (0,) * (len(SCORE_BOUNDS) + 1)  # scores in each bucket
    score_sum: float = 0.0
    limits: tuple[str, ...] = ()  # what it works without
    learning: str = ""  # what it still had to learn at its last run

    @property
    def healthy(self) -> bool:
        """Return whether nothing restricts the detector's work."""
        return not self.problems


class _Running:
    """One detector, or why it could not be made."""

    def __init__(self, entry: EntryPoint, context: Context) -> None:
        self.name = entry.name
        self.detector: Detector | None = None
        self._runs = self._failures = 0
        self._seconds = self._score_sum = 0.0
        self._histogram = [0] * (len(SCORE_BOUNDS) + 1)
        self._evaluated: datetime | None = None
        self._inputs: dict[str, int] = {}
        self._lacks: tuple[str, ...] = ()
        self._learning = ""
        self._failed = ""
        self._thresholds = context.config.detectors.thresholds
        self._latest: Sequence[Anomaly] = ()
        self._last: datetime | None = None
        try:
            self.detector = entry.load()(context)
        except Exception as error:  # another package's code may raise anything
            self._fail(error, "cannot be used")

    @property
    def tables(self) -> set[str]:
        """The tables that the detector reads; other packages' detectors may name none."""
        return set(getattr(self.detector, "reads", ()))

    def is_due(self, now: datetime) -> bool:
        """Return whether another span of the detector's ``every`` has begun."""
        if self.detector is None or self._last is None:
            return True
        begin, every = datetime.min, self.detector.every
        return (now - begin) // every > (self._last - begin) // every

    def evaluate(self, read: Read, now: datetime, apart: bool) -> list[Finding]:
        """Return the findings at ``now``. One ``apart`` from event time leaves the last run as it was."""
        if self.detector is None:
            return []
        self._runs += 1
        self._last = self._last if apart else now
        start = time.perf_counter()
        try:
            # Making a finding checks it.
            found = [(anomaly, _finding(self.name, anomaly)) for anomaly in self.detector.evaluate(read, now)]
            if not apart:
                self._inputs = _rows(read, sorted(self.tables))
                self._lacks = tuple(dict.fromkeys(self.detector.lacks(read, now)))
                self._learning = self.detector.learning(read, now)
        except Exception as error:
            self._failures += 1
            self._fail(error, "failed")
            return []
        finally:
            self._seconds += time.perf_counter() - start
        self._failed = ""
        self._evaluated = self._evaluated if apart else now
        for anomaly, _ in found:
            self._histogram[bisect_left(SCORE_BOUNDS, anomaly.score)] += 1
            self._score_sum += anomaly.score
        if not apart:
            self._latest = [anomaly for anomaly, _ in found]
        return [one for anomaly, one in found if anomaly.score >= self._thresholds.get(one.detector, THRESHOLD)]

    def scores(self) -> list[Score]:
        """Return the scores of the last run."""
        return [(each.detector or self.name, each.subject_type, each.subject, each.score) for each in self._latest]

    def health(self) -> DetectorHealth:
        """Return the detector's health. If the detector cannot report it, that is a problem."""
        problems, counts, model_time = [self._failed] if self._failed else [], {}, None
        limits: Sequence[str] = ()
        if self.detector:
            try:
                problems += self.detector.problems()
                limits = self.detector.limits()
                counts, model_time = dict(self.detector.counts()), self.detector.model_time()
            except Exception as error:
                problems.append(f"{type(error).__name__}: {error}")
        return DetectorHealth(
            self.name,
            tuple(problems),
            self._runs,
            self._failures,
            self._seconds,
            self._evaluated,
            self._inputs,
            self._lacks,
            counts,
            model_time,
            tuple(self._histogram),
            self._score_sum,
            tuple(limits),
            self._learning,
        )

    def _fail(self, error: Exception, what: str) -> None:
        failed = f"{type(error).__name__}: {error}"
        if failed != self._failed:
            log.error("detector %s %s: %s", self.name, what, failed, exc_info=log.isEnabledFor(logging.DEBUG))
        self._failed = failed


class Runner:
    """Some detectors."""

    def __init__(self, detectors: Iterable[EntryPoint], context: Context) -> None:
        """Make all detectors. An exception of one does not affect the others."""
        self._top = context.config.detectors.top
        self._client_of = context.config.detectors.client_of
        self._running = [_Running(entry, context) for entry in detectors]

    def evaluate(
        self,
        read: Read,
        now: datetime,
        *,
        last: bool = False,
        apart: bool = False,
        reading: Collection[str] | None = None,
    ) -> list[Finding]:
        """Return the findings of the detectors that are due at ``now``, the event time.

        All run if it is the ``last`` time, or if ``now`` is ``apart`` from event time. With ``reading``, only those run
        that read one of these tables.
        """
        due = [each for each in self._running if last or apart or each.is_due(now)]
        if reading is not None:
            due = [each for each in due if not each.tables.isdisjoint(reading)]
        return with_contacts(
            read, [found for each in due for found in each.evaluate(read, now, apart)], self._client_of
        )

    def scores(self) -> list[Score]:
        """Return the highest scores of the last runs."""
        found = (score for each in self._running for score in each.scores())
        return sorted(found, key=lambda score: (-score[3], score))[: self._top]

    def health(self) -> list[DetectorHealth]:
        """Return the health of the detectors."""
        return [each.health() for each in self._running]


def enabled(disabled: Iterable[str]) -> list[EntryPoint]:
    """Return the installed detectors that are not ``disabled``, by name; the first of two with the same name."""
    found = {entry.name: entry for entry in sorted(entry_points(group=GROUP), key=str, reverse=True)}
    for name in set(disabled) - found.keys():
        log.warning("detectors.disabled: no detector %r is installed; installed: %s", name, ", ".join(sorted(found)))
    return [found[name] for name in sorted(found) if name not in disabled]


@dataclass(frozen=True)
class Learner:
    """What a detector learns."""

    name: str
    labelled: Labelled | None  # its labelled examples
    learns: str  # in words


def learners(disabled: Iterable[str]) -> list[Learner]:
    """Return what the detectors learn that are not ``disabled``, without those that cannot be loaded."""
    found = []
    for entry in enabled(disabled):
        try:
            kind = entry.load()
        except Exception as error:  # another package's code may raise anything
            log.warning("detector %s cannot be loaded: %s: %s", entry.name, type(error).__name__, error)
        else:
            # Other packages' detectors may not say.
            labelled, learns = getattr(kind, "labelled", None), getattr(kind, "learns", Detector.learns)
            found.append(Learner(entry.name, labelled, learns))
    return found


def labelled(disabled: Iterable[str]) -> list[Labelled]:
    """Return the labelled examples of the detectors that have some."""
    return [each.labelled for each in learners(disabled) if each.labelled]


def _rows(read: Read, tables: Iterable[str]) -> dict[str, int]:
    """Return the number of rows of each table that is there."""
    there = {table for (table,) in read("SELECT table_name FROM duckdb_tables()")}
    return {table: int(read(f"SELECT count(*) FROM {identifier(table)}")[0][0]) for table in tables if table in there}


def _finding(detector: str, anomaly: Anomaly) -> Finding:
    return Finding(
        anomaly.detector or detector,
        anomaly.subject_type,
        anomaly.subject,
        anomaly.score,
        anomaly.severity,
        anomaly.first_seen,
        anomaly.last_seen,
        anomaly.evidence,
        severity_ends=anomaly.severity_ends,
    )
