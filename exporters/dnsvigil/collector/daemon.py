"""``dnsvigil run``: follows the sources, keeps the store and serves the pages until a signal stops it."""

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import prometheus_client
from prometheus_client import CollectorRegistry, Gauge, Histogram, ProcessCollector

from dnsvigil.api.app import api
from dnsvigil.api.routes import open_paths
from dnsvigil.collector.application import application
from dnsvigil.collector.write_queue import Inbox
from dnsvigil.config.collector import Config
from dnsvigil.exporter.pages import OPEN_PATHS, Pages
from dnsvigil.httpd.access import TOKEN_FILE, Access, Token, is_loopback
from dnsvigil.httpd.server import Server
from dnsvigil.ingest.dns import SOURCE
from dnsvigil.ingest.flows import SOURCE as FLOWS
from dnsvigil.ingest.flows import FlowCollector
from dnsvigil.ingest.intake import Ingested, Intake, describe_skipped
from dnsvigil.ingest.isolation import ingest_rest
from dnsvigil.records import utc_now
from dnsvigil.sources.availability import Availability, Place
from dnsvigil.sources.netflow.flow_file import UnfinishedFileError
from dnsvigil.sources.netflow.follower import FlowFollower, OutsideError, PendingFlows, resolve_submitted
from dnsvigil.sources.netflow.process import NFDumpError, NFDumpLimitError
from dnsvigil.sources.read_ahead import read_ahead
from dnsvigil.sources.zeek.cursors import Cursors
from dnsvigil.sources.zeek.follower import Follower, Pending
from dnsvigil.sources.zeek.options import LogOptions
from dnsvigil.sources.zeek.reader import Batch, read_batches
from dnsvigil.store.set_aside import SetAside
from dnsvigil.store.store import EngineError, Store, StoreError
from dnsvigil.system.files import NotAFileError

log = logging.getLogger(__name__)

POLL_SECONDS: Final = 0.5
_BATCHES_PER_ROUND: Final = 16
_FIRST_WAIT: Final = 1.0  # seconds between tries when the store fails
_LONGEST_WAIT: Final = 30.0
_RETRY_SECONDS: Final = 10.0  # for a flow file that could not be read
_PUBLISH_SECONDS: Final = 2.0  # between two looks of the scrapes at flows, while there are more to read
_FINDINGS_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 10.0  # between two looks at whether folders are there

T = TypeVar("T")


class _StartAfreshError(Exception):
    """What collectors hold in memory may be half changed, and has to be read from the store again."""


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
            "Batches that could not be written to the store; each is retried.",
            registry=self.registry,
        )
        self.files_lost = prometheus_client.Counter(
            "dnsvigil_files_lost",
            "Files that disappeared before they were read to their end.",
            ["source"],
            registry=self.registry,
        )
        self.files_lost.labels(SOURCE)
        self.files_lost.labels(FLOWS)
        self.lag_bytes = Gauge(
            "dnsvigil_source_lag_bytes",
            "Bytes of log on disk that are not read yet.",
            ["source", "sensor"],
            registry=self.registry,
        )
        self.lag_seconds = Gauge(
            "dnsvigil_source_lag_seconds",
            "Time since everything that the sensor had written was read; 0 while up to date.",
            ["source", "sensor"],
            registry=self.registry,
        )
        self.available = Gauge(
            "dnsvigil_source_available",
            "Whether a folder that the configuration names can be read: 1, or 0.",
            ["source", "path"],
            registry=self.registry,
        )

    def show(self, available: Mapping[Place, bool]) -> None:
        """Show which folders can be read."""
        for place, is_there in available.items():
            self.available.labels(place.source, str(place.path)).set(is_there)


@dataclass(frozen=True)
class _Suspect:
    """An input on which the engine failed."""

    kind: str
    path: Path
    stamp: tuple[int, ...]
    reason: str = ""

    def is_same(self, other: "_Suspect") -> bool:
        """Tell whether it is the same input; a log may have grown."""
        return (self.kind, self.path) == (other.kind, other.path)

    @property
    def entry(self) -> tuple[str, Path, str, tuple[int, ...]]:
        """What is set aside."""
        return self.kind, self.path, self.reason, self.stamp


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
        """Listen. Raises what :class:`Server` raises, and ``OSError`` where there can be no token."""
        self._config = config
        self._state = state
        self._stop = threading.Event()
        self._inbox = Inbox()
        self._metrics = ProcessMetrics()
        self._availability = Availability(config)
        self._pages = Pages(config, self._metrics.registry, self._left_out)
        self._opened: Store | None = None
        self._suspect: _Suspect | None = None  # on what the engine failed last
        self._guilty: _Suspect | None = None  # on what it failed twice
        self._flows: _FlowReading | None = None
        self._wait = _FIRST_WAIT
        self._sensors: set[str] = set()
        self._reported: set[tuple[str, str, str]] = set()  # sensor, log and reason of skipped records
        self._behind_since: dict[str, float] = {}  # by sensor, monotonic; only those that are behind
        token = Token(config.api.token_file or state / TOKEN_FILE)
        access = Access(token.path, [*OPEN_PATHS, *open_paths(config)], loopback=is_loopback(config.listen))
        blueprints = (self._pages.blueprint(), api(self, config, lambda: self._pages.ready))
        app = application(blueprints, access)
        self.server = Server(app, config.listen, config.web_config_file, token)

    def stop(self) -> None:
        """Tell :meth:`run` to end after the batch that it is at."""
        self._stop.set()
        self._inbox.wake()

    # The backend of the API

    def read(self, query: str, *bound: Any) -> list[Any]:
        """Return the rows of a query, from any thread. Raises :class:`StoreError`."""
        return self._store.read(query, *bound)

    def submit(self, task: Callable[[Store], T]) -> Future[T]:
        """Have a task done by the thread that owns the store. Raises :class:`StoreError`."""
        return self._inbox.submit(task)

    def submit_files(self, files: list[tuple[Path, str | None]]) -> Future[None]:
        """Have flow files read; once the future is done, they are even if the collector is killed.

        Raises ``OSError`` for one that is no regular file below a folder that the configuration names.
        """
        sources = self._config.sources.netflow
        resolved = [(resolve_submitted(path, sources), exporter) for path, exporter in files]
        return self._inbox.submit(lambda _: self._flows.submit_files(resolved) if self._flows else None)

    @property
    def _store(self) -> Store:
        if self._opened is None:
            raise StoreError("the store is not open yet")
        return self._opened

    def run(self) -> None:
        """Work until :meth:`stop`; a store that fails is opened again until it works.

        Raises what :class:`Store` raises where it cannot be opened at the start.
        """
        self.server.start()
        unseen, threading.excepthook = threading.excepthook, self._thread_failed
        try:
            self._opened = Store(self._state)
            while not self._stop.is_set():
                try:
                    self._reopen()
                    self._follow()
                except _StartAfreshError:
                    continue
                except StoreError as error:
                    self._try_again(str(error))
                except Exception as error:  # whatever it is, it may pass; the rest is served meanwhile
                    self._try_again(f"{type(error).__name__}: {error}", error)
        finally:
            threading.excepthook = unseen
            self._inbox.close()
            self.server.stop()
            if self._opened:
                self._opened.close()

    def _left_out(self, metric: str, reason: str) -> None:
        if self._opened:
            self._opened.set_aside.put("metric", metric, reason)

    def _thread_failed(self, failure: threading.ExceptHookArgs) -> None:
        """Report what ended another thread: nobody else would."""
        name = failure.thread.name if failure.thread else "a thread"
        error = failure.exc_value or failure.exc_type()
        log.error("thread %s ended: %s", name, error, exc_info=error)
        if self._opened:
            self._opened.set_aside.put("thread", name, error)

    def _try_again(self, reason: str, unexpected: Exception | None = None) -> None:
        self._metrics.batch_failures.inc()
        log.error("%s; trying again in %.0f s", reason, self._wait, exc_info=unexpected)
        self._store.close()
        self._stop.wait(self._wait)
        self._wait = min(2 * self._wait, _LONGEST_WAIT)

    def _follow(self) -> None:
        """Follow the sources until a signal stops it.

        Raises :class:`StoreError`, and :class:`_StartAfreshError` once something is set aside.
        """
        with self._store.transaction():
            since = float(self._store.meta("following_since", repr(time.time())))
        cursors = Cursors(self._store.cursors())
        set_aside = self._store.set_aside
        if self._guilty:
            set_aside.put(*self._guilty.entry)
            set_aside.flush()
            self._guilty = None
        options = LogOptions(self._config.sources.field_names)
        follower = Follower(self._config.sources.zeek, cursors, since, set_aside, options)
        looked = float("-inf")
        readings: deque[_Reading] = deque()
        with (
            closing(Intake(self._store, self._config)) as collector,
            closing(FlowCollector(self._store, self._config)) as flow_collector,
        ):

            def publish() -> None:
                self._pages.publish(collector.snapshot(), flow_collector.snapshot())

            following = self._follow_flows(flow_collector)
            flows = _FlowReading(
                flow_collector,
                following,
                publish=publish,
                metrics=self._metrics,
                set_aside=set_aside,
                blame=self._blame,
            )
            self._flows = flows
            publish()
            while not self._stop.is_set():
                # By cursor, since a file keeps that when it is renamed or compressed while it is read.
                known = {reading.file.cursor.id: reading for reading in readings}
                if time.monotonic() - looked > _LOOK_SECONDS:
                    self._metrics.show(self._availability.look())
                    looked = time.monotonic()
                pending = follower.pending()
                collector.growing = follower.growing()
                for file in pending:
                    if reading := known.get(file.cursor.id):
                        reading.size = file.size
                    else:
                        batches = read_batches(file.path, file.cursor, file.finished, file.log_type, options)
                        read = min(file.cursor.offset, file.size)  # the offset in compressed data is past its size
                        known[file.cursor.id] = _Reading(file, batches, file.size, read)
                        readings.append(known[file.cursor.id])
                self._metrics.files_lost.labels(SOURCE).inc(follower.lost())
                self._show_lag(readings)
                for reading, batch in read_ahead(_round(readings, follower, set_aside)):
                    try:
                        with self._metrics.batch_duration.time():
                            (found,) = collector.ingest([batch])
                    except EngineError as error:
                        self._blame(_Suspect("log", reading.file.path, reading.file.stamp), error)
                        raise
                    except StoreError:
                        raise
                    except Exception as error:
                        self._set_aside(reading.file, batch, error, collector.growing)
                    self._report(reading.file, found)
                    self._wait = _FIRST_WAIT
                    cursors.put(batch.cursor)
                    reading.read = batch.stored_offset
                    # In this order, so that no scrape shows a lag of 0 beside counts that are not there yet.
                    self._pages.publish(collector.snapshot())
                    self._show_lag(readings)
                    self._take_turn(flows)
                    if self._stop.is_set():
                        break
                self._show_lag(readings)
                if set_aside.flush():
                    self._pages.publish(collector.snapshot())
                if not (self._take_turn(flows) or readings):
                    self._inbox.wait(POLL_SECONDS)

    def _follow_flows(self, collector: FlowCollector) -> FlowFollower:
        if self._config.sources.netflow:
            collector.prepare()
        with self._store.transaction():
            since = float(self._store.meta("following_flows_since", repr(time.time())))
        follower = FlowFollower(self._config.sources.netflow, since, collector.known_files())
        for path, exporter in collector.submitted().items():
            follower.submit_files(path, exporter)
        return follower

    def _take_turn(self, flows: "_FlowReading") -> bool:
        """Do what else there is beside logs: tasks, and a flow file; return whether there was something."""
        changed = self._inbox.work(self._store)
        busy = flows.step(changed)
        self._wait = _FIRST_WAIT if busy else self._wait
        return busy

    def _blame(self, suspect: "_Suspect", error: EngineError) -> None:
        """Take note of the input on which the engine failed; failing twice, it is set aside once the store is open."""
        if self._suspect and self._suspect.is_same(suspect):
            self._guilty = replace(suspect, reason=str(error))
        self._suspect = suspect

    def _set_aside(self, file: Pending, batch: Batch, error: Exception, growing: set[str]) -> NoReturn:
        """Put the records of a batch into the store that do not make the collector fail, or else leave the file.

        Raises :class:`_StartAfreshError`, and :class:`StoreError`.
        """

        def make() -> Intake:
            collector = Intake(self._store, self._config)
            collector.growing = growing
            return collector

        log.warning("%s: a batch failed; looking for the records that are to blame: %s", file.path, error)
        try:
            self._report(file, ingest_rest(self._store, make, batch, error))
        except StoreError:
            raise
        except Exception as failure:
            self._store.set_aside.put("log", file.path, failure, file.stamp)
        self._store.set_aside.flush()
        raise _StartAfreshError

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

    def _reopen(self) -> None:
        if self._store.closed:
            self._opened = Store(self._state)

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


class _FlowReading:
    """Takes flow files into the store, one at a time."""

    def __init__(
        self,
        collector: FlowCollector,
        follower: FlowFollower,
        *,
        publish: Callable[[], None],
        metrics: ProcessMetrics,
        set_aside: SetAside,
        blame: Callable[[_Suspect, EngineError], None],
    ) -> None:
        self._collector = collector
        self._follower = follower
        self._publish = publish
        self._metrics = metrics
        self._set_aside = set_aside
        self._blame = blame
        self._later: dict[Path, tuple[PendingFlows, float]] = {}  # when to try a file that stays as it is; monotonic
        self._said: dict[Path, str] = {}  # what was logged of a file that could not be read yet
        self._reported: set[tuple[str, str]] = set()  # exporter or folder, and reason of skipped flows
        self._paused = self._published = self._quiet = float("-inf")
        self._unevaluated = self._unpublished = True

    def submit_files(self, files: Sequence[tuple[Path, str | None]]) -> None:
        """Have files read wherever they lie. Raises :class:`StoreError`."""
        self._collector.submit_files(files)
        for path, exporter in files:
            self._follower.submit_files(path, exporter)

    def step(self, changed: bool) -> bool:
        """Read the next file, or judge the series when there is none; return whether there was a file.

        ``changed`` means that the content of /metrics has changed. Raises :class:`StoreError`.
        """
        self._unpublished = self._unpublished or changed
        self._close_findings()
        for path in self._follower.lost():
            self._metrics.files_lost.labels(FLOWS).inc()
            self._collector.give_up(path)
        due = self._due()
        if due:
            self._read(due[0])
        elif self._unevaluated:
            self._unevaluated = False
            self._unpublished = self._collector.flush() or self._unpublished
        if self._unpublished and (len(due) <= 1 or time.monotonic() - self._published > _PUBLISH_SECONDS):
            self._publish()
            self._published, self._unpublished = time.monotonic(), False
        return bool(due)

    def _due(self) -> list[PendingFlows]:
        now = time.monotonic()
        if now < self._paused:
            return []
        pending = {file.path: file for file in self._follower.pending()}
        self._later = {path: later for path, later in self._later.items() if path in pending}
        self._said = {path: text for path, text in self._said.items() if path in pending}
        return [file for path, file in pending.items() if path not in self._later or self._may_retry(file, now)]

    def _may_retry(self, file: PendingFlows, now: float) -> bool:
        tried, when = self._later[file.path]
        return now >= when or (file.stamp, file.settled) != (tried.stamp, tried.settled)

    def _read(self, file: PendingFlows) -> None:
        if self._set_aside.holds("flow_file", file.path, file.stamp):
            self._leave(file)
            return
        try:
            found = self._collector.ingest(file)
        except UnfinishedFileError as error:
            log.debug("%s", error)
            self._later[file.path] = file, float("inf")
        except (NotAFileError, OutsideError, NFDumpLimitError) as error:
            self._set_aside.put("flow_file", file.path, error, file.stamp)
            self._leave(file)
        except EngineError as error:
            self._blame(_Suspect("flow_file", file.path, file.stamp), error)
            raise
        except StoreError:
            raise
        except (NFDumpError, OSError) as error:
            # Mostly it concerns all files; where it does not, none is to be left out for one that comes before it.
            self._later[file.path] = file, time.monotonic() + _RETRY_SECONDS
            self._paused = time.monotonic() + _FIRST_WAIT
            self._say(file.path, str(error))
        except Exception as error:
            self._set_aside.put("flow_file", file.path, error, file.stamp)
            self._set_aside.flush()
            raise _StartAfreshError from error
        else:
            self._follower.done(file)
            self._set_aside.release("flow_file", file.path)
            if found.damage:
                log.warning("%s: %s; the readable part is counted", file.path, found.damage)
            reasons = {(file.flow_exporter or file.folder, reason) for reason in found.skipped}
            if found.untimely and not reasons <= self._reported:
                log.warning("%s: %s; the next for the same reason are only counted", file.path, found.untimely)
                self._reported |= reasons
            self._unevaluated = self._unpublished = True

    def _leave(self, file: PendingFlows) -> None:
        """Take a file that is set aside as one that need not be read, until it changes."""
        self._collector.give_up(file.path)
        self._follower.done(file)

    def _say(self, path: Path, text: str) -> None:
        """Say in the log why a file cannot be read yet: once for each file, and once if that is the same for many."""
        if text not in self._said.values():
            log.warning("%s cannot be read: %s; it is tried again", path, text)
        self._said[path] = text

    def _close_findings(self) -> None:
        if time.monotonic() - self._quiet > _FINDINGS_SECONDS:
            self._quiet = time.monotonic()
            if self._collector.close_findings(utc_now()):
                self._unpublished = True


def _round(readings: deque[_Reading], follower: Follower, set_aside: SetAside) -> Iterator[tuple[_Reading, Batch]]:
    """Take a batch of each file in turn, for a while; files that are read to their end leave ``readings``."""
    for _ in range(_BATCHES_PER_ROUND):
        if not readings:
            return
        reading = readings[0]
        try:
            batch = next(reading.batches, None)
        except OSError as error:
            if not isinstance(error, FileNotFoundError):  # which is rotation that was quicker
                log.warning("%s cannot be read: %s", reading.file.path, error)
            readings.popleft()
            continue
        except Exception as error:
            set_aside.put("log", reading.file.path, error, reading.file.stamp)
            readings.popleft()
            continue
        if batch is None:
            follower.done(reading.file)
            set_aside.release("log", reading.file.path)
            readings.popleft()
        else:
            readings.rotate(-1)
            yield reading, batch
