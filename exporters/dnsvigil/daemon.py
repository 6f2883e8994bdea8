"""``dnsvigil run``: follows the sources, keeps the store, serves the pages, until it is told to stop."""

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import prometheus_client
from prometheus_client import CollectorRegistry, Gauge, Histogram, ProcessCollector

from dnsvigil.collector import SOURCE, Collector, describe_skipped
from dnsvigil.config import Config
from dnsvigil.exporter.pages import Pages
from dnsvigil.httpd.server import Server
from dnsvigil.sources.cursors import Cursors
from dnsvigil.sources.follow import Follower, Pending
from dnsvigil.sources.reader import Batch, read_ahead, read_batches
from dnsvigil.store.store import Store, StoreError

log = logging.getLogger(__name__)

POLL_SECONDS: Final = 0.5
_BATCHES_PER_ROUND: Final = 16
_FIRST_WAIT: Final = 1.0  # seconds between tries when the store fails
_LONGEST_WAIT: Final = 30.0


class ProcessMetrics:
    """The metrics that begin anew with each start of the process."""

    def __init__(self) -> None:
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.batch_duration = Histogram(
            "dnsvigil_batch_duration_seconds",
            "Time to put one batch into the store.",
            registry=self.registry,
        )
        self.batch_failures = prometheus_client.Counter(
            "dnsvigil_batch_failures",
            "Batches that the store could not take; each is tried again.",
            registry=self.registry,
        )
        self.files_lost = prometheus_client.Counter(
            "dnsvigil_files_lost",
            "Log files that vanished before they were read to their end.",
            ["source"],
            registry=self.registry,
        )
        self.files_lost.labels(SOURCE)
        self.lag_bytes = Gauge(
            "dnsvigil_source_lag_bytes",
            "Bytes of log, as they lie on disk, that are not read yet.",
            ["source", "sensor"],
            registry=self.registry,
        )
        self.lag_seconds = Gauge(
            "dnsvigil_source_lag_seconds",
            "Time since everything that the sensor had written was read; 0 while that is so.",
            ["source", "sensor"],
            registry=self.registry,
        )


@dataclass
class _Reading:
    """A file that is being read."""

    file: Pending
    batches: Iterator[Batch]
    size: int  # bytes on disk, as this and the next
    read: int


class Daemon:
    """One running collector."""

    def __init__(self, config: Config, state: Path) -> None:
        """Open the store and listen. Raises what :class:`Store` and :class:`Server` raise."""
        self._config = config
        self._state = state
        self._stop = threading.Event()
        self._metrics = ProcessMetrics()
        self._pages = Pages(config, self._metrics.registry)
        self._store = Store(state)
        self._wait = _FIRST_WAIT
        self._sensors: set[str] = set()
        self._reported: set[tuple[str, str, str]] = set()  # sensor, log and reason of skipped records
        self._behind_since: dict[str, float] = {}  # by sensor, monotonic; only those that are behind
        try:
            self.server = Server(self._pages.application(), config.listen, config.web_config_file)
        except BaseException:
            self._store.close()
            raise

    def stop(self) -> None:
        """Tell :meth:`run` to end after the batch that it is at."""
        self._stop.set()

    def run(self) -> None:
        """Work until :meth:`stop`; a store that fails is opened again until it works."""
        self.server.start()
        try:
            while not self._stop.is_set():
                try:
                    self._reopen()
                    self._follow()
                except StoreError as error:
                    self._metrics.batch_failures.inc()
                    log.error("%s; trying again in %.0f s", error, self._wait)
                    self._store.close()
                    self._stop.wait(self._wait)
                    self._wait = min(2 * self._wait, _LONGEST_WAIT)
        finally:
            self.server.stop()
            self._store.close()

    def _follow(self) -> None:
        """Follow the sources until told to stop. Raises :class:`StoreError`."""
        with self._store.transaction():
            since = float(self._store.meta("following_since", repr(time.time())))
        cursors = Cursors(self._store.cursors())
        follower = Follower(self._config.sources.zeek, cursors, since)
        readings: deque[_Reading] = deque()
        with closing(Collector(self._store, self._config)) as collector:
            self._pages.publish(collector.snapshot())
            while not self._stop.is_set():
                # By cursor, since a file keeps that when it is renamed or compressed while it is read.
                known = {reading.file.cursor.id: reading for reading in readings}
                pending = follower.pending()
                collector.growing = follower.growing()
                for file in pending:
                    if reading := known.get(file.cursor.id):
                        reading.size = file.size
                    else:
                        batches = read_batches(file.path, file.cursor, file.finished, file.kind)
                        read = min(file.cursor.offset, file.size)  # the offset in compressed data is past its size
                        known[file.cursor.id] = _Reading(file, batches, file.size, read)
                        readings.append(known[file.cursor.id])
                self._metrics.files_lost.labels(SOURCE).inc(follower.lost())
                self._show_lag(readings)
                for reading, batch in read_ahead(_round(readings, follower)):
                    with self._metrics.batch_duration.time():
                        skipped = collector.ingest(batch)
                    self._report(reading.file, skipped)
                    self._wait = _FIRST_WAIT
                    cursors.put(batch.cursor)
                    reading.read = batch.stored_offset
                    # In this order, so that no scrape shows a lag of 0 beside counts that are not there yet.
                    self._pages.publish(collector.snapshot())
                    self._show_lag(readings)
                    if self._stop.is_set():
                        break
                self._show_lag(readings)
                if not readings:
                    self._stop.wait(POLL_SECONDS)

    def _report(self, file: Pending, skipped: Counter[str]) -> None:
        """Say in the log when records of a sensor's log are skipped for a reason that was not met before."""
        new = {(file.cursor.sensor, file.kind.path, reason) for reason in skipped} - self._reported
        if new:
            log.warning("%s: %s; more for the same reason is counted only", file.path, describe_skipped(skipped))
            self._reported |= new

    def _reopen(self) -> None:
        if self._store.closed:
            self._store = Store(self._state)

    def _show_lag(self, readings: Iterable[_Reading]) -> None:
        left: Counter[str] = Counter()
        for reading in tuple(readings):  # a copy, as the next batch is read in another thread
            left[reading.file.cursor.sensor] += max(reading.size - reading.read, 0)
        for sensor in {*left, *self._sensors}:
            if sensor not in self._sensors:
                self._sensors.add(sensor)
                self._metrics.lag_seconds.labels(SOURCE, sensor).set_function(partial(self._behind, sensor))
            self._metrics.lag_bytes.labels(SOURCE, sensor).set(left[sensor])
            if sensor in left:
                self._behind_since.setdefault(sensor, time.monotonic())
            else:
                self._behind_since.pop(sensor, None)

    def _behind(self, sensor: str) -> float:
        since = self._behind_since.get(sensor)
        return time.monotonic() - since if since else 0.0


def _round(readings: deque[_Reading], follower: Follower) -> Iterator[tuple[_Reading, Batch]]:
    """Take a batch of each file in turn, for a while; files that are read to their end leave ``readings``."""
    for _ in range(_BATCHES_PER_ROUND):
        if not readings:
            return
        reading = readings[0]
        try:
            batch = next(reading.batches, None)
        except OSError as error:
            log.warning("%s cannot be read: %s", reading.file.path, error)
            readings.popleft()
            continue
        if batch is None:
            follower.done(reading.file)
            readings.popleft()
        else:
            readings.rotate(-1)
            yield reading, batch
