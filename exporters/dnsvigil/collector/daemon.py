"""``dnsvigil run``: opens the store, follows the sources and serves the pages until a signal stops it."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar
from wsgiref.types import StartResponse, WSGIEnvironment

from dnsvigil.api.interface import Condition
from dnsvigil.collector.flow_loop import FlowLoop
from dnsvigil.collector.log_loop import LogLoop, StartAfreshError
from dnsvigil.collector.process_metrics import ProcessMetrics
from dnsvigil.collector.site import Site
from dnsvigil.collector.suspects import Suspects
from dnsvigil.collector.write_queue import WriteQueue
from dnsvigil.config.collector import Config
from dnsvigil.config.live import LiveConfig
from dnsvigil.engines.tuples import TupleReader
from dnsvigil.httpd.server import Server
from dnsvigil.ingest.intake import Snapshot
from dnsvigil.ingest.scans import Scans
from dnsvigil.records import utc_now
from dnsvigil.sources.availability import Availability, Place
from dnsvigil.sources.netflow.follower import resolve_submitted
from dnsvigil.store.store import Store, StoreError
from dnsvigil.system.notify import Service
from dnsvigil.system.terminal import counted

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

_FIRST_WAIT: Final = 1.0  # seconds between tries when the store fails
_LONGEST_WAIT: Final = 30.0
_REST_SECONDS: Final = 0.5  # at most, between two looks at flow files: they are found within a second
_LOOK_SECONDS: Final = 10.0  # between two looks at whether folders are there

T = TypeVar("T")


class Daemon:
    """One running collector."""

    def __init__(self, config: Config, state: Path, load: Callable[[], Config]) -> None:
        """Listen. ``load`` reads the configuration again, and may raise ``ConfigError``.

        Raises what :class:`Server` raises, and ``OSError`` where there can be no token.
        """
        self._state = state
        self._service = Service()
        self._stop = threading.Event()
        self._asked = threading.Event()  # to read the configuration again
        self._queue = WriteQueue()
        self._metrics = ProcessMetrics()
        self._opened: Store | None = None
        self._suspects = Suspects()
        self._tuples = TupleReader(lambda: self._store)
        self._flows: FlowLoop | None = None
        self._wait = _FIRST_WAIT
        self._failure = ""  # of the last round
        self._reported: set[tuple[str, str, str]] = set()  # sensor, log and text of what was said of records
        self._live = LiveConfig(config, load, self._take)
        self._take(config)
        self.site = self._coming
        """What is served now."""
        self._metrics.show_configuration(self._live)
        self.server = Server(self._answer, config.listen, config.web_config_file, self)

    def stop(self) -> None:
        """Have :meth:`run` end after the batch that it is at."""
        self._stop.set()
        self._queue.wake()

    def reload(self) -> None:
        """Have the configuration read again after the batch that :meth:`run` is at."""
        self._asked.set()
        self._queue.wake()

    # What the server serves: the site of the configuration in force

    def _answer(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return self.site.application(environ, start_response)

    def proves(self, authorization: str | None) -> bool:
        """Return whether the value of an ``Authorization`` header has the token."""
        return self.site.token.proves(authorization)

    def key_name(self, key: bytes, path: str) -> str | None:
        """Return the name of an API key that opens a path, else None."""
        return self.site.token.key_name(key, path)

    # The backend of the API

    def read(self, query: str, *bound: Any) -> list[Any]:
        """Return the rows of a query, from any thread. Raises :class:`StoreError`."""
        return self._store.read(query, *bound)

    @property
    def tuples(self) -> TupleReader:
        """What looks tuples of passive DNS up, from any thread."""
        return self._tuples

    @property
    def snapshot(self) -> Snapshot:
        """What the newest round left."""
        found = self.site.pages.snapshot
        if found is None:
            raise StoreError("nothing was read from the store yet")
        return found

    @property
    def condition(self) -> Condition:
        """How the process is."""
        return Condition(
            self._metrics.lag(),
            self._availability.problems,
            self._live.problems,
            self._failure,
            self._store.displaced,
        )

    @property
    def folder(self) -> Path:
        """The state folder."""
        return self._state

    def read_tables(self, *queries: tuple[str, Sequence[Any]]) -> list["pa.Table"]:
        """Return the Arrow tables of queries, from any thread. Raises :class:`StoreError`."""
        return self._store.read_tables(*queries)

    def submit(self, task: Callable[[Store], T]) -> Future[T]:
        """Have a task done by the thread that owns the store. Raises :class:`StoreError`."""
        return self._queue.submit(task)

    def submit_files(self, files: list[tuple[Path, str | None]]) -> Future[None]:
        """Have flow files read; once the future is done, they are even if the collector is killed.

        Raises ``OSError`` for one that is no regular file below a folder that the configuration names.
        """
        sources = self._live.current.sources.netflow
        resolved = [(resolve_submitted(path, sources), exporter) for path, exporter in files]
        return self._queue.submit(lambda _: self._flows.submit_files(resolved) if self._flows else None)

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
        self._service.show("Opening the store")
        unseen, threading.excepthook = threading.excepthook, self._thread_failed
        try:
            self._opened = Store(self._state)
            while not self._stop.is_set():
                try:
                    self._reload()
                    self._reopen()
                    self._follow()
                except StartAfreshError:
                    continue
                except StoreError as error:
                    self._try_again(str(error))
                except Exception as error:  # whatever it is, it may pass; the rest is served meanwhile
                    self._try_again(f"{type(error).__name__}: {error}", error)
        finally:
            self._service.stopping()
            threading.excepthook = unseen
            self._queue.close()
            self.server.stop()
            if self._opened:
                self._opened.close()

    def _take(self, config: Config) -> None:
        """Make what follows from a configuration; its site is served once there is something to show."""
        self._coming = Site(config, self._state, self, self._metrics, self._left_out)
        self._availability = Availability(config)
        self._readable: Mapping[Place, bool] = {}
        self._looked = float("-inf")  # at the folders; monotonic

    def _reload(self) -> bool:
        """Read the configuration again if somebody has asked for that; return whether another is in force."""
        if not self._asked.is_set():
            return False
        self._asked.clear()
        self._service.reloading()
        if self._live.reload():
            return True
        self._service.ready(self._status())
        return False

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
        self._failure = reason
        log.error("%s; trying again in %.0f s", reason, self._wait, exc_info=unexpected)
        self._store.close()
        self._service.ready(f"Failing: {reason}")
        self._service.alive()
        self._stop.wait(self._wait)
        self._wait = min(2 * self._wait, _LONGEST_WAIT)

    def _follow(self) -> None:
        """Follow the sources until a signal stops it or another configuration is in force.

        Raises :class:`StoreError`, and :class:`StartAfreshError` once something is set aside.
        """
        with self._store.transaction():
            since = float(self._store.meta("following_since", repr(time.time())))
        self._suspects.set_aside(self._store.set_aside)
        config, site = self._live.current, self._coming
        with ExitStack() as stack:
            logs = LogLoop(
                self._store,
                config,
                since=since,
                publish=site.pages.publish,
                metrics=self._metrics,
                suspects=self._suspects,
                reported=self._reported,
            )
            stack.enter_context(closing(logs))

            def publish() -> None:
                site.pages.publish(logs.snapshot(), flows.snapshot())

            flows = FlowLoop(
                self._store,
                config,
                publish=publish,
                evaluate=logs.evaluate_flows,
                metrics=self._metrics,
                suspects=self._suspects,
            )
            scans = Scans(self._store, config)
            stack.enter_context(closing(flows))
            self._flows = flows
            publish()
            self.site = site
            self._look_at_folders()
            self._service.ready(self._status())
            while not (self._stop.is_set() or self._reload()):
                self._service.alive()
                self._look_at_folders()
                anything = logs.step()
                changed = self._queue.work(self._store)
                if scans.step():
                    logs.evaluate_flows(utc_now())
                    changed = True
                anything = flows.step(changed) or anything
                self._failure = ""
                if anything:
                    self._wait = _FIRST_WAIT
                else:
                    self._queue.wait(min(logs.rest(), _REST_SECONDS))

    def _look_at_folders(self) -> None:
        if time.monotonic() - self._looked > _LOOK_SECONDS:
            self._readable = self._availability.look()
            self._metrics.show_available(self._readable)
            self._looked = time.monotonic()
            self._service.show(self._status())

    def _status(self) -> str:
        """Return what an operator wants to know first, in one line."""
        unreadable = len(self._readable) - sum(self._readable.values())
        reading = f"Following {counted(len(self._readable), 'folder')}" if self._readable else "Nothing to follow"
        if unreadable:
            reading += f", {unreadable} of which cannot be read"
        behind = self._metrics.lag_bytes
        left = f"{behind / 1e6:,.1f} MB of logs to read" if behind else "no log to read"
        return f"{reading}; {left}{self._live.refusal}"

    def _reopen(self) -> None:
        if self._store.closed:
            self._opened = Store(self._state)
