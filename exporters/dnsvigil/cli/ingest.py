"""``dnsvigil ingest``: the same way of the data as live, over files that are given, to their end."""

import argparse
import logging
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from tqdm import tqdm

from dnsvigil.cli.flow_files import GivenFlows, archive_flows, has_nfdump
from dnsvigil.cli.ownership import require_owner
from dnsvigil.cli.progress import read_bytes
from dnsvigil.cli.totals import Total, say_flows, say_known, say_records, say_unread
from dnsvigil.config.collector import Config
from dnsvigil.ingest.archive import archive_parts
from dnsvigil.ingest.flows import FlowsPart
from dnsvigil.ingest.intake import Ingested, Intake, Parts, all_parts, describe_skipped
from dnsvigil.ingest.isolation import ingest_apart
from dnsvigil.ingest.part import HOUR, passes
from dnsvigil.ingest.rounds import Read, read, rounds
from dnsvigil.ingest.scans import Scans
from dnsvigil.records import Cursor, utc_now
from dnsvigil.sources.netflow.flow_file import given_files, in_order, is_flow_file
from dnsvigil.sources.read_ahead import read_ahead
from dnsvigil.sources.remote.mirror import whole
from dnsvigil.sources.remote.uri import Uri, name_of
from dnsvigil.sources.shadowserver.report import is_report
from dnsvigil.sources.zeek.cursors import Cursors
from dnsvigil.sources.zeek.given import describe_file, given_logs, in_order_of_time
from dnsvigil.sources.zeek.options import LogOptions
from dnsvigil.sources.zeek.pending import Pending, pending_log
from dnsvigil.sources.zeek.reader import Batch, read_batches
from dnsvigil.store.cursors import read_cursors
from dnsvigil.store.store import Store, StoreError
from dnsvigil.system.terminal import counted, printable

log = logging.getLogger(__name__)


MAX_NAMED: Final = 5
"""So many files that are not read are named, each with what it is."""


@dataclass
class Given:
    """The files that were given, by what they are."""

    logs: list[Path] = field(default_factory=list)
    flows: list[Path] = field(default_factory=list)
    reports: list[Path] = field(default_factory=list)
    unread: list[Path] = field(default_factory=list)  # that are none of these, or not there

    @property
    def has_logs(self) -> bool:
        """Whether there are logs, or else nothing."""
        return bool(self.logs) or not (self.flows or self.reports)


def command(options: argparse.Namespace, config: Config) -> int:
    """Ingest the files of the options; return 1 unless all were read. Raises as :func:`ingest`, and ``OwnerError``."""
    require_owner(options.state)
    return 0 if ingest(options.paths, config, options.state, options.start) else 1


def ingest(
    paths: list[Path],
    config: Config,
    state: Path,
    start: datetime | None = None,
    *,
    archive: bool = False,
    lost: Iterable[Path] = (),
) -> bool:
    """Read the files and folders, and say on standard error what became of their records.

    What an earlier call has read is not read again. ``start`` (UTC) is when captures with relative times began. For an
    ``archive`` alone, no reports are read. Returns whether every file could be read, none is ``lost``, and something
    was recognized in each path; raises :class:`dnsvigil.store.store.StoreError` and ``StoreInUseError``.
    """
    options = LogOptions(config.sources.field_names, start)
    given = find_given(paths, options, reports=not archive)
    unread = [*lost, *given.unread]
    total = Total()
    with Store(state) as store:
        if given.has_logs:
            parts = archive_parts if archive else all_parts
            unread += read_logs(store, given.logs, config, options, total=total, parts=parts)
        if given.flows and not has_nfdump(config):
            unread += given.flows
        elif given.flows:
            unread += (archive_flows if archive else _read_flows)(store, config, given.flows, total)
        if given.reports:
            unread += _read_reports(store, config, given.reports, total)
    report_total(given, total, unread)
    return not unread


def report_total(given: Given, total: Total, unread: Iterable[Path]) -> None:
    """Say on standard error what became of everything."""
    said = [say_records(total)] if given.has_logs else []
    said += say_flows(total) if given.flows else []
    said += [f"{counted(total.rows, 'row')} of reports read, {total.rows_skipped:,} skipped"] if given.reports else []
    print(printable("; ".join([*said, *say_known(total), *say_unread(unread)])), file=sys.stderr)


def find_given(paths: Iterable[Path], options: LogOptions, *, flows: bool = True, reports: bool = True) -> Given:
    """Return the files at paths by what they are, and report those that are nothing that is read."""
    found = Given()
    for path in paths:
        try:
            flow_files = dict.fromkeys(_recognized(given_files(path), is_flow_file) if flows else ())
            report_files = dict.fromkeys(_recognized(given_files(path), is_report) if reports else ())
            others = flow_files | report_files
            given = {file: what for file, what in given_logs(path, options) if file not in others}
        except OSError as error:
            _report(path, error)
            found.unread.append(path)
            continue
        logs = [file for file, what in given.items() if not what]
        found.flows += flow_files
        found.reports += report_files
        found.logs += logs
        if not (logs or others):
            found.unread.append(path)
        if path.is_dir():
            _report_others(path, {file: what for file, what in given.items() if what}, bool(logs or others))
    found.flows = in_order(dict.fromkeys(found.flows))
    return found


def read_logs(
    store: Store, logs: Iterable[Path], config: Config, options: LogOptions, *, total: Total, parts: Parts
) -> list[Path]:
    """Read logs into a store, and count them; return those that could not be read. Raises :class:`StoreError`."""
    with closing(_LogIngestion(store, config, options, total, parts)) as ingestion:
        ingestion.read(logs)
        return ingestion.unread


@dataclass
class _Log:
    """A log that was given, and what has become of it."""

    path: Path
    file: Pending | None = None
    cursor: Cursor | None = None  # after the last batch
    records: int = 0
    skipped: Counter[str] = field(default_factory=Counter)  # by reason
    shown: int = 0  # bytes on disk, in the progress bar
    failed: bool = False  # the rest of it is left out


class _LogIngestion:
    """Takes logs into a store, in rounds; what is too old for it is so as it was when the log was written."""

    def __init__(self, store: Store, config: Config, options: LogOptions, total: Total, parts: Parts) -> None:
        self.unread: list[Path] = []  # files that could not be read, or are no log
        self._store = store
        self._config = config
        self._parts = parts
        self._options = options
        self._total = total
        self._cursors = Cursors(read_cursors(store))
        self._intake = self._make()
        self._remarks: set[tuple[str, str, str]] = set()  # sensor, log and text of those that were made

    def close(self) -> None:
        """Free what is held beside the store."""
        self._intake.close()

    def _make(self) -> Intake:
        intake = Intake(self._store, self._config, self._parts)
        if self._parts is not all_parts:
            intake.growing = {cursor.id for cursor in read_cursors(self._store)}  # an archive is for long
        return intake

    def read(self, paths: Iterable[Path]) -> None:
        """Read logs to their ends. Raises :class:`StoreError`."""
        ordered = in_order_of_time(paths)
        with read_bytes(ordered[0].name if ordered else "", sum(map(_size, ordered))) as bar:
            for found in read_ahead(rounds(self._steps(ordered), lambda _: False)):
                self._ingest([(log, step) for log, step in found if isinstance(step, Batch) and not log.failed], bar)
                for log, step in found:
                    if not isinstance(step, Batch) and not log.failed:
                        self._end(log, step)
        self._intake.flush()
        self._store.set_aside.flush()

    def _steps(self, paths: Iterable[Path]) -> Iterator[tuple[_Log, Read]]:
        for path in paths:
            given = _Log(path)
            try:
                if Uri.of(path) and path.exists() and self._open(given, path).read:  # as its mirror shows
                    yield given, None
                    continue
                with whole(path) as copy:
                    file = self._open(given, copy)
                    batches = read_batches(copy, file.cursor, file.finished, file.log_type, self._options)
                    while isinstance(step := read(batches), Batch) and not given.failed:
                        self._cursors.put(step.cursor)  # at once, as the next file may be a copy of this
                        yield given, step
            except Exception as error:
                step = error
            yield given, step

    def _open(self, given: _Log, path: Path) -> Pending:
        given.file = file = pending_log(path, self._cursors, self._config.sources.logs, self._options)
        given.cursor = file.cursor
        return file

    def _ingest(self, batches: Sequence[tuple[_Log, Batch]], bar: "tqdm[Any]") -> None:
        if not batches:
            return
        try:
            found: list[Ingested | None] = [*self._intake.ingest([batch for _, batch in batches])]
        except StoreError:
            raise
        except Exception:
            self._intake.close()
            found = [self._ingest_apart(given, batch) for given, batch in batches]
            self._intake = self._make()
        for (given, batch), each in zip(batches, found, strict=True):
            bar.set_description(printable(given.path.name), refresh=False)
            bar.update(batch.stored_offset - given.shown)
            given.shown = batch.stored_offset
            given.cursor = batch.cursor
            if each:
                self._count(given, batch, each)

    def _ingest_apart(self, given: _Log, batch: Batch) -> Ingested | None:
        """Put a batch of a round that failed into the store; return None where it is the log that fails."""
        try:
            return ingest_apart(self._store, self._make, batch)
        except StoreError:
            raise
        except Exception as error:
            self._fail(given, error)
        return None

    def _fail(self, given: _Log, error: Exception) -> None:
        self._store.set_aside.put("log", name_of(given.path), error)
        self.unread.append(given.path)
        given.failed = True

    def _count(self, given: _Log, batch: Batch, found: Ingested) -> None:
        given.records += found.records
        given.skipped += found.skipped
        self._total.records += found.records + found.skipped.total()
        self._total.skipped += found.skipped.total()
        for remark in found.remarks:
            if (key := (batch.cursor.sensor, batch.log_type.path, remark)) not in self._remarks:
                self._remarks.add(key)
                log.warning("%s: %s", given.path, remark)

    def _end(self, given: _Log, error: Exception | None) -> None:
        """Say what has become of a log that is read to its end, or cannot be read."""
        try:
            if error:
                raise error
            self._report(given)
        except OSError as failure:
            _report(given.path, failure)
            self.unread.append(given.path)
        except Exception as failure:
            self._fail(given, failure)

    def _report(self, given: _Log) -> None:
        """Say what has become of a log that is read to its end. Raises ``OSError``."""
        path, file, cursor = given.path, given.file, given.cursor
        assert file and cursor
        if given.skipped:
            log.warning("%s: %s", path, describe_skipped(given.skipped))
        if given.skipped and not given.records and file.recognized:
            self.unread.append(path)  # it would look like a log in which there is nothing
        elif not (file.recognized or given.records):
            with whole(path) as copy:
                found = printable(describe_file(copy, self._options))
            log.error("%s: no log that is read is recognized in it: %s", path, found)
            self.unread.append(path)
        elif cursor is file.cursor and cursor.offset:
            self._total.known.append(path)
        if not file.finished and cursor.whole_size == 0 and cursor.offset < file.size:
            log.warning("%s: its end is still being written, or lacks a line end; it is left for later", path)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # the reader says so


def _read_flows(store: Store, config: Config, files: Sequence[Path], total: Total) -> Iterator[Path]:
    """Read flow files, count their flows, and yield those that could not be read."""
    make = partial(FlowsPart, store, config)
    with (
        closing(Intake(store, config)) as intake,
        closing(GivenFlows(store, config, total, make, settled=True)) as given,
    ):
        before = given.taker.newest
        for path in files:
            if not given.read(path):
                yield path
            newest = given.taker.newest
            if newest and passes(before or datetime.min, newest, HOUR):
                before = newest
                intake.evaluate_flows(newest)
        part = given.taker
        part.flush()
        if part.newest:
            intake.evaluate_flows(part.newest)
        if part.forgotten:
            log.warning(
                "flows from before %s are counted, but are not kept: `store.retention` ends there", part.forgotten
            )
    store.set_aside.flush()


def _report_others(folder: Path, others: Mapping[Path, str], recognized: bool) -> None:
    """Say which files of a folder are not read, and what they are."""
    named = [f"{file.relative_to(folder)} ({what})" for file, what in list(others.items())[:MAX_NAMED]]
    more = [f"{len(others) - MAX_NAMED:,} more"] if len(others) > MAX_NAMED else []
    listed = printable(", ".join([*named, *more])) or "there is no file in it"
    if not recognized:
        log.error("%s: no log that is read is recognized in it: %s", folder, listed)
    elif others:
        log.warning("%s: not read, as no log that is read is recognized: %s", folder, listed)


def _recognized(files: Iterable[Path], is_it: Callable[[Path], bool]) -> Iterator[Path]:
    for file in files:
        try:
            if is_it(file):
                yield file
        except OSError:
            continue  # the reader of logs says so


def _read_reports(store: Store, config: Config, files: Iterable[Path], total: Total) -> Iterator[Path]:
    """Read reports of scans, count their rows, and yield those that could not be read."""
    scans = Scans(store, config)
    for path in files:
        try:
            found = scans.ingest(path)
        except OSError as error:
            _report(path, error)
            yield path
            continue
        total.rows += found.rows
        total.rows_skipped += found.skipped
        if found.known:
            total.known.append(path)
        if found.problem:
            yield path
    with closing(Intake(store, config)) as intake:
        intake.evaluate_flows(utc_now())


def _report(path: Path, error: OSError) -> None:
    log.error("%s cannot be read: %s", path, error.strerror or error)
