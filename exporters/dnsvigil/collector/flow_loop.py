"""Follows flow files: finds those that nfcapd has written or somebody has submitted, and takes them into the store."""

import logging
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from dnsvigil.collector.log_loop import StartAfreshError
from dnsvigil.collector.process_metrics import ProcessMetrics
from dnsvigil.collector.suspects import Input, Suspects
from dnsvigil.config.collector import Config
from dnsvigil.ingest.flows import SOURCE as FLOWS
from dnsvigil.ingest.flows import FlowSnapshot, FlowsPart
from dnsvigil.records import utc_now
from dnsvigil.sources.netflow.flow_file import UnfinishedFileError
from dnsvigil.sources.netflow.follower import FlowFollower, OutsideError, PendingFlows
from dnsvigil.sources.netflow.process import NFDumpError, NFDumpLimitError
from dnsvigil.store.store import EngineError, Store, StoreError
from dnsvigil.system.files import NotAFileError

log = logging.getLogger(__name__)

_RETRY_SECONDS: Final = 10.0  # for a flow file that could not be read
_PAUSE_SECONDS: Final = 1.0  # after a file that could not be read
_PUBLISH_SECONDS: Final = 2.0  # between two looks of the scrapes at flows, while there are more to read
_FINDINGS_SECONDS: Final = 60.0


class FlowLoop:
    """Takes flow files into the store, one at a time."""

    def __init__(
        self,
        store: Store,
        config: Config,
        *,
        publish: Callable[[], None],
        evaluate: Callable[[datetime], object],
        metrics: ProcessMetrics,
        suspects: Suspects,
    ) -> None:
        """``evaluate`` has detectors look at flows, up to a time. Raises :class:`StoreError`."""
        self._evaluate = evaluate
        self._set_aside = store.set_aside
        self._publish = publish
        self._metrics = metrics
        self._suspects = suspects
        self._flows = FlowsPart(store, config)
        if config.sources.netflow:
            self._flows.prepare()
        with store.transaction():
            since = float(store.meta("following_flows_since", repr(time.time())))
        self._follower = FlowFollower(config.sources.netflow, since, self._flows.known_files())
        for path, exporter in self._flows.submitted().items():
            self._follower.submit_files(path, exporter)
        self._later: dict[Path, tuple[PendingFlows, float]] = {}  # when to try a file that stays as it is; monotonic
        self._said: dict[Path, str] = {}  # what was logged of a file that could not be read yet
        self._reported: set[tuple[str, str]] = set()  # exporter or folder, and reason of skipped flows
        self._paused = self._published = self._quiet = float("-inf")
        self._unevaluated = self._unpublished = True

    def close(self) -> None:
        """Free what is held beside the store."""
        self._flows.close()

    def snapshot(self) -> FlowSnapshot:
        """Return what the store holds now."""
        return self._flows.snapshot()

    def submit_files(self, files: Sequence[tuple[Path, str | None]]) -> None:
        """Have files read wherever they lie. Raises :class:`StoreError`."""
        self._flows.submit_files(files)
        for path, exporter in files:
            self._follower.submit_files(path, exporter)

    def step(self, changed: bool) -> bool:
        """Read the next file, or evaluate the series when there is none; return whether there was a file.

        ``changed`` means that the content of /metrics has changed. Raises :class:`StoreError`.
        """
        self._unpublished = self._unpublished or changed
        self._close_findings()
        for path in self._follower.lost():
            self._metrics.files_lost.labels(FLOWS).inc()
            self._flows.give_up(path)
        due = self._due()
        if due:
            self._read(due[0])
        elif self._unevaluated:
            self._unevaluated = False
            self._unpublished = self._flows.flush() or self._unpublished
            if newest := self._flows.newest:
                self._evaluate(newest)
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
        suspect = Input("flow_file", file.path, file.stamp)
        try:
            found = self._flows.ingest(file)
        except UnfinishedFileError as error:
            log.debug("%s", error)
            self._later[file.path] = file, float("inf")
        except (NotAFileError, OutsideError, NFDumpLimitError) as error:
            self._set_aside.put("flow_file", file.path, error, file.stamp)
            self._leave(file)
        except EngineError as error:
            self._suspects.blame([suspect], error)
            raise
        except StoreError:
            raise
        except (NFDumpError, OSError) as error:
            # Mostly it concerns all files; where it does not, none is to be left out for one that comes before it.
            self._later[file.path] = file, time.monotonic() + _RETRY_SECONDS
            self._paused = time.monotonic() + _PAUSE_SECONDS
            self._say(file.path, str(error))
        except Exception as error:
            self._set_aside.put("flow_file", file.path, error, file.stamp)
            self._set_aside.flush()
            raise StartAfreshError from error
        else:
            self._suspects.clear([suspect])
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
        self._flows.give_up(file.path)
        self._follower.done(file)

    def _say(self, path: Path, text: str) -> None:
        """Say in the log why a file cannot be read yet: once for each file, and once if that is the same for many."""
        if text not in self._said.values():
            log.warning("%s cannot be read: %s; it is tried again", path, text)
        self._said[path] = text

    def _close_findings(self) -> None:
        if time.monotonic() - self._quiet > _FINDINGS_SECONDS:
            self._quiet = time.monotonic()
            if self._flows.close_findings(utc_now()):
                self._unpublished = True
