"""Reports of scans: finds new ones in the folder of the configuration, and puts what they have into the store."""

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from dnsvigil.config.collector import Config
from dnsvigil.ingest.records import TABLES, count_records
from dnsvigil.records import utc_now
from dnsvigil.sources.folders import files_below, is_unfinished, stamp_of
from dnsvigil.sources.shadowserver.report import Report, read_report
from dnsvigil.store.counters import schema
from dnsvigil.store.scanned_hosts import ScannedHosts
from dnsvigil.store.store import Store, StoreError
from dnsvigil.system.terminal import counted

log = logging.getLogger(__name__)

SOURCE: Final = "shadowserver"
"""The label ``source`` of rows of reports."""

_LOOK_SECONDS: Final = 60.0
_SETTLED_SECONDS: Final = 5.0  # a file that changed since may still be written
_AHEAD: Final = timedelta(days=1)


@dataclass(frozen=True)
class Read:
    """What became of a report."""

    rows: int = 0
    skipped: int = 0
    known: bool = False  # one with this content was read before
    problem: str = ""


class Scans:
    """The reports in one store."""

    def __init__(self, store: Store, config: Config) -> None:
        """Raises :class:`StoreError`."""
        self._store = store
        self._folder = config.sources.shadowserver
        self._hosts = ScannedHosts(store)
        store.create(schema(TABLES))
        self._done: dict[Path, tuple[int, int, int]] = {}
        self._failed: set[Path] = set()
        self._looked = float("-inf")

    def step(self) -> bool:
        """Read what is new in the folder, if it is time to look; return whether it was. Raises :class:`StoreError`."""
        if self._folder is None or time.monotonic() - self._looked < _LOOK_SECONDS:
            return False
        self._looked = time.monotonic()
        for path in self._new(self._folder):
            self._read(path)
        return True

    def ingest(self, path: Path) -> Read:
        """Put what a report has into the store. Raises ``OSError`` and :class:`StoreError`."""
        now = utc_now()
        report = read_report(path, now + _AHEAD)
        if self._hosts.has_read(report.digest):
            return Read(known=True)
        with self._store.transaction():
            self._put(report)
        if report.problem:
            log.warning("%s: %s", path, report.problem)
        log.info("%s: %s with %s", path, counted(report.rows, "row"), counted(len(report.hosts), "open resolver"))
        return Read(report.rows, report.skipped.total(), problem=report.problem)

    def _put(self, report: Report) -> None:
        now = utc_now()
        self._hosts.put([*report.hosts.values()])
        self._hosts.put_report(report.digest, report.path.name, now)
        self._hosts.forget(now)
        count_records(self._store, SOURCE, report.rows, report.skipped)

    def _new(self, folder: Path) -> Iterable[Path]:
        """Yield the files that have changed and are not written to just now, in the order of their names."""
        try:
            paths = files_below(folder)
        except OSError:
            return  # whoever looks at the folders reports it
        for path in paths:
            try:
                status = path.stat()
            except OSError:
                continue
            settled = time.time() - status.st_mtime > _SETTLED_SECONDS
            if not is_unfinished(path.name) and settled and self._done.get(path) != stamp_of(status):
                self._done[path] = stamp_of(status)
                yield path

    def _read(self, path: Path) -> None:
        try:
            self.ingest(path)
        except StoreError:
            raise
        except OSError as error:
            if path not in self._failed:
                log.warning("%s cannot be read: %s; it is tried again", path, error.strerror or error)
            self._failed.add(path)
            self._done.pop(path, None)
        except Exception as error:
            self._store.set_aside.put("scan_report", path, error)
        else:
            self._failed.discard(path)
            self._store.set_aside.release("scan_report", path)
