"""The part of detection: lets the detectors evaluate what is novel or listed, as event time moves on."""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import EntryPoint
from typing import Any, Final

from dnsvigil.config.collector import Config
from dnsvigil.detectors.detector import Context
from dnsvigil.detectors.runner import DetectorHealth, Runner, Score
from dnsvigil.ingest.honeypots import HoneypotsPart
from dnsvigil.ingest.novelty import NoveltyPart
from dnsvigil.ingest.open_resolvers import OpenResolversPart
from dnsvigil.ingest.own_resolvers import hidden, own_resolvers
from dnsvigil.ingest.part import HOUR, MINUTE, Part, passes
from dnsvigil.ingest.poisoning import PoisoningPart
from dnsvigil.records import utc_now
from dnsvigil.sources.honeypots.logs import HONEYPOT_LOGS
from dnsvigil.store.contacts import Contacts
from dnsvigil.store.findings import Findings
from dnsvigil.store.store import Store, StoreError

_APART_SECONDS: Final = 60.0
_BESIDE_LOGS: Final = ("dns_flows", "slot_hosts", "scanned_hosts")  # tables that no log fills

_SCORES: Final = """
CREATE TABLE IF NOT EXISTS anomaly_scores (detector VARCHAR, subject_type VARCHAR, subject VARCHAR, score DOUBLE)
"""


@dataclass(frozen=True)
class DetectionSnapshot:
    """How the detectors are, and what they found last."""

    detectors: tuple[DetectorHealth, ...] = ()
    scores: tuple[Score, ...] = ()  # the highest


class DetectionPart(Part):
    """Detectors over one store."""

    logs = (*NoveltyPart.logs, *HONEYPOT_LOGS, *PoisoningPart.logs, *OpenResolversPart.logs)
    columns = NoveltyPart.columns

    def __init__(
        self,
        store: Store,
        config: Config,
        detectors: Sequence[EntryPoint],
        novelty: NoveltyPart,
        *others: HoneypotsPart | OpenResolversPart | PoisoningPart,
    ) -> None:
        """``others`` are the parts beside ``novelty`` that take note of the hours of their records."""
        self._store = store
        self._config = config
        self._detectors = detectors
        self._novelty = novelty
        self._inputs = (novelty, *others)
        self._findings = Findings(store)
        self._contacts = Contacts(store)
        store.create(_SCORES)
        with store.transaction():
            self._evaluated = datetime.fromisoformat(store.meta("evaluated", datetime.min.isoformat()))
        self._touched: set[datetime] = set()
        self._apart: set[datetime] = set()  # ends of hours that are still to be evaluated beside event time
        self._evaluated_apart = time.monotonic()
        self._unevaluated = False  # whether anything came after the last evaluation
        self._runner: Runner | None = None
        self._scores: list[Score] = store.rows(
            "FROM anomaly_scores ORDER BY score DESC, detector, subject_type, subject"
        )

    def add(self) -> None:
        """Take note of the hours in which there is more to evaluate."""
        self._touched = set().union(*(each.touched for each in self._inputs))
        for each in self._inputs:
            each.touched = set()
        self._unevaluated = self._unevaluated or bool(self._touched)

    def evaluate(self, newest: datetime) -> None:
        """Let the detectors evaluate at ``newest``, and before at each end of an hour that had more.

        Hours that were passed long ago, or that a clock that is wrong has begun too early, are evaluated beside that.
        Raises :class:`dnsvigil.store.store.StoreError`; whatever else fails is set aside.
        """
        try:
            self._evaluate(newest)
        except StoreError:
            raise
        except Exception as error:
            self._store.set_aside.put("detector", "findings and scores", error)

    def evaluate_flows(self, newest: datetime) -> None:
        """Let the detectors evaluate that read flows or scans, as :meth:`evaluate`."""
        try:
            self._evaluate_at(newest, reading=_BESIDE_LOGS)
        except StoreError:
            raise
        except Exception as error:
            self._store.set_aside.put("detector", "findings and scores", error)

    def flush(self, newest: datetime | None) -> None:
        """Evaluate what has not been evaluated yet."""
        if newest is None:
            return
        self._evaluate_apart()
        if self._evaluated < newest or self._unevaluated:
            self._evaluate_at(newest, last=True)

    def snapshot(self) -> DetectionSnapshot:
        """Return how it stands now."""
        health = self._runner.health() if self._runner else [DetectorHealth(entry.name) for entry in self._detectors]
        return DetectionSnapshot(tuple(health), tuple(self._scores))

    def _evaluate(self, newest: datetime) -> None:
        ends = [hour + HOUR for hour in sorted(self._touched)]
        self._touched = set()
        self._apart |= {end for end in ends if end <= min(self._evaluated, newest - HOUR) or end > newest + HOUR}
        for now in [*(end for end in ends if self._evaluated < end < newest), newest]:
            if passes(self._evaluated, now, MINUTE):
                self._evaluate_at(now)
        # Live, a few late records do not start an evaluation with each round.
        if time.monotonic() - self._evaluated_apart > _APART_SECONDS or newest < utc_now() - HOUR:
            self._evaluate_apart()

    def _evaluate_apart(self) -> None:
        for end in sorted(self._apart):
            self._evaluate_at(end, apart=True)
        self._apart.clear()
        self._evaluated_apart = time.monotonic()

    def _evaluate_at(
        self, now: datetime, *, last: bool = False, apart: bool = False, reading: Collection[str] | None = None
    ) -> None:
        if self._runner is None:
            # Not before there is something to evaluate: loading what detectors need takes a second.
            self._runner = Runner(self._detectors, Context(self._store.path.parent, self._config))
        of_logs = not apart and reading is None
        self._store.use_one_thread(True)  # what a detector adds up needs as much memory for each of them
        with hidden(self._store, own_resolvers(self._store, self._config, now)):
            found = self._runner.evaluate(self._read, now, last=last, apart=apart, reading=reading)
        self._scores = self._runner.scores()
        with self._store.transaction():
            self._findings.put_all(found)
            self._contacts.watch(self._novelty.listed_addresses)
            self._put_scores()
            if of_logs:
                self._store.rows("UPDATE meta SET value = ? WHERE key = 'evaluated'", now.isoformat())
        if of_logs:
            self._evaluated, self._unevaluated = now, False
        self._novelty.look_again()

    def _put_scores(self) -> None:
        self._store.rows("DELETE FROM anomaly_scores")
        if self._scores:
            texts = "unnest(?::VARCHAR[]), unnest(?::VARCHAR[]), unnest(?::VARCHAR[])"
            columns = map(list, zip(*self._scores, strict=True))
            self._store.rows(f"INSERT INTO anomaly_scores SELECT {texts}, unnest(?::DOUBLE[])", *columns)

    def _read(self, query: str, *bound: Any) -> list[Any]:
        # Not the store's way: what a detector's query fails of is not the store's failure.
        return self._store.connection.execute(query, list(bound)).fetchall()
