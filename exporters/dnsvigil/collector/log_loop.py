"""Follows logs: finds what sensors have written, and takes it into the store in rounds."""

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NoReturn

from dnsvigil.collector.process_metrics import ProcessMetrics
from dnsvigil.collector.suspects import Input, Suspects
from dnsvigil.config.collector import Config
from dnsvigil.ingest.dns import SOURCE
from dnsvigil.ingest.intake import Ingested, Intake, Snapshot, describe_skipped
from dnsvigil.ingest.isolation import ingest_apart
from dnsvigil.ingest.rounds import Read, read, rounds
from dnsvigil.sources.read_ahead import read_ahead
from dnsvigil.sources.zeek.cursors import Cursors
from dnsvigil.sources.zeek.follower import Follower
from dnsvigil.sources.zeek.options import LogOptions
from dnsvigil.sources.zeek.pending import Pending
from dnsvigil.sources.zeek.reader import Batch, read_batches
from dnsvigil.store.cursors import read_cursors
from dnsvigil.store.store import EngineError, Store, StoreError

log = logging.getLogger(__name__)

MAX_AGE: Final = 1.6
"""Seconds after which a record is in the store; the promise is two. Until then looks at the logs rest: a round costs
much the same for a few records as for thousands."""

_EASES: Final = 0.9  # how the time that a round takes is forgotten, by the round


class StartAfreshError(Exception):
    """What is held in memory may be half changed, and has to be read from the store again."""


@dataclass
class _Reading:
    """A file that is being read."""

    file: Pending
    batches: Iterator[Batch]
    size: int  # bytes on disk, as this and the next
    read: int

    @property
    def input(self) -> Input:
        return Input("log", self.file.path, self.file.stamp)


class LogLoop:
    """Takes logs into one open store, a round at a time."""

    def __init__(
        self,
        store: Store,
        config: Config,
        *,
        since: float,
        publish: Callable[[Snapshot], None],
        metrics: ProcessMetrics,
        suspects: Suspects,
        reported: set[tuple[str, str, str]],
    ) -> None:
        """Follow the logs of the configuration, rotated ones from ``since`` (Unix time) on.

        ``reported`` has sensor, log and text of what the log has said of records. Raises :class:`StoreError`.
        """
        self._store = store
        self._config = config
        self._publish = publish
        self._metrics = metrics
        self._suspects = suspects
        self._reported = reported
        self._cursors = Cursors(read_cursors(store))
        self._options = LogOptions(config.sources.field_names)
        self._follower = Follower(config.sources.logs, self._cursors, since, store.set_aside, self._options)
        self._intake = Intake(store, config)
        self._readings: dict[str, _Reading] = {}  # by cursor, since a file keeps that when it is renamed
        self._rounds: Generator[list[tuple[_Reading, Read]]] | None = None
        self._due = self._looked = 0.0  # monotonic
        self._took = 0.0  # seconds, a round of late

    def close(self) -> None:
        """Wait for what is being read, and free what is held beside the store."""
        if self._rounds:
            self._rounds.close()
        self._intake.close()

    def snapshot(self) -> Snapshot:
        """Return what the store holds now."""
        return self._intake.snapshot()

    def evaluate_flows(self, newest: datetime) -> bool:
        """Have flows and scans evaluated where no log has come so far; return whether they were.

        Raises :class:`StoreError`.
        """
        return self._intake.evaluate_flows(newest)

    def rest(self) -> float:
        """Return the seconds until :meth:`step` has something to do."""
        return 0.0 if self._rounds else max(self._due - time.monotonic(), 0.0)

    def step(self) -> bool:
        """Take a round into the store, or look for new records if it is time to; return whether there was a round.

        Raises :class:`StoreError`, and :class:`StartAfreshError` once something is set aside.
        """
        if self._rounds is None and time.monotonic() >= self._due:
            self._look()
        found = next(self._rounds, None) if self._rounds else None
        if found is None:
            self._rounds = None
            if self._store.set_aside.flush():
                self._publish(self.snapshot())
            if self._readings:
                self._due = 0.0  # there was more than a look takes
            return False
        self._take(found)
        return True

    def _look(self) -> None:
        """Find the files that have something to read, and begin with rounds of them."""
        self._looked = time.monotonic()
        self._due = self._looked + max(MAX_AGE - self._took, 0.0)
        for file in self._follower.pending():
            if reading := self._readings.get(file.cursor.id):
                reading.size = file.size
                continue
            batches = read_batches(file.path, file.cursor, file.finished, file.log_type, self._options)
            already = min(file.cursor.offset, file.size)  # the offset in compressed data is past its size
            self._readings[file.cursor.id] = _Reading(file, batches, file.size, already)
        self._intake.growing = self._follower.growing()
        self._metrics.files_lost.labels(SOURCE).inc(self._follower.lost())
        self._show_lag()
        if self._readings:
            steps = _steps(deque(self._readings.values()))
            self._rounds = read_ahead(rounds(steps, lambda reading: reading.input in self._suspects))

    def _take(self, found: list[tuple[_Reading, Read]]) -> None:
        """Take a round into the store, and show what it holds then."""
        started = time.monotonic()
        batches = [(reading, step) for reading, step in found if isinstance(step, Batch)]
        if batches:
            self._ingest(batches)
        for reading, step in found:
            if not isinstance(step, Batch):
                self._end(reading, step)
        # In this order, so that no scrape shows a lag of 0 beside counts that are not there yet.
        self._publish(self.snapshot())
        self._show_lag()
        self._took = max(time.monotonic() - started, _EASES * self._took)
        self._due = self._looked + max(MAX_AGE - self._took, 0.0)

    def _ingest(self, batches: list[tuple[_Reading, Batch]]) -> None:
        inputs = [reading.input for reading, _ in batches]
        try:
            with self._metrics.batch_duration.time():
                found = self._intake.ingest([batch for _, batch in batches])
        except EngineError as error:
            self._suspects.blame(inputs, error)
            raise
        except StoreError:
            raise
        except Exception as error:
            self._ingest_apart(batches, error)
        self._suspects.clear(inputs)
        for (reading, batch), each in zip(batches, found, strict=True):
            self._report(reading.file, each)
            self._cursors.put(batch.cursor)
            reading.read = batch.stored_offset
            self._readings[reading.file.cursor.id] = self._readings.pop(reading.file.cursor.id)  # the last in turn

    def _ingest_apart(self, batches: list[tuple[_Reading, Batch]], error: Exception) -> NoReturn:
        """Put a round that failed into the store, but for the records or else the files that make it fail.

        Raises :class:`StartAfreshError`, and :class:`StoreError`.
        """

        def make() -> Intake:
            intake = Intake(self._store, self._config)
            intake.growing = self._intake.growing
            return intake

        names = ", ".join(str(reading.file.path) for reading, _ in batches)
        log.warning("%s: a batch failed; looking for the records that are to blame: %s", names, error)
        for reading, batch in batches:
            try:
                self._report(reading.file, ingest_apart(self._store, make, batch))
            except StoreError:
                raise
            except Exception as failure:
                self._store.set_aside.put("log", reading.file.path, failure, reading.file.stamp)
        self._store.set_aside.flush()
        raise StartAfreshError from error

    def _end(self, reading: _Reading, error: Exception | None) -> None:
        """Take note that a file is read to its end, or cannot be read."""
        file = reading.file
        self._readings.pop(file.cursor.id)
        if error is None:
            self._follower.done(file)
            self._store.set_aside.release("log", file.path)
        elif not isinstance(error, OSError):
            self._store.set_aside.put("log", file.path, error, file.stamp)
        elif not isinstance(error, FileNotFoundError):  # which is rotation that was quicker
            log.warning("%s cannot be read: %s", file.path, error)

    def _report(self, file: Pending, found: Ingested) -> None:
        """Say in the log when records of a sensor's log are skipped for a reason that was not met before."""
        new = {(file.cursor.sensor, file.log_type.path, reason) for reason in found.skipped} - self._reported
        if new:
            skipped = describe_skipped(found.skipped)
            log.warning("%s: %s; the next for the same reason are only counted", file.path, skipped)
            self._reported |= new
        for remark in found.remarks:
            if (key := (file.cursor.sensor, file.log_type.path, remark)) not in self._reported:
                log.warning("%s: %s", file.path, remark)
                self._reported.add(key)

    def _show_lag(self) -> None:
        left: Counter[str] = Counter()
        for reading in self._readings.values():
            left[reading.file.cursor.sensor] += max(reading.size - reading.read, 0)
        self._metrics.show_lag(left)


def _steps(readings: deque[_Reading]) -> Iterator[tuple[_Reading, Read]]:
    """Take a batch of each file in turn, until all are at their ends or a look is due that finds what is new."""
    end = time.monotonic() + MAX_AGE
    while readings:
        reading = readings.popleft()
        step = read(reading.batches)
        yield reading, step
        if isinstance(step, Batch):
            readings.append(reading)
        if time.monotonic() > end:
            return
