"""``dnsvigil ingest``: the same way of the data as live, over files that are given, to their end."""

import argparse
import logging
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from tqdm import tqdm

from dnsvigil.cli.ownership import require_owner
from dnsvigil.config.collector import Config
from dnsvigil.ingest.flows import FlowCollector
from dnsvigil.ingest.intake import Intake, describe_skipped
from dnsvigil.ingest.isolation import ingest_rest
from dnsvigil.sources.netflow.flow_file import given_files, in_order, is_flow_file
from dnsvigil.sources.netflow.follower import pending_file
from dnsvigil.sources.netflow.process import NFDumpError
from dnsvigil.sources.read_ahead import read_ahead
from dnsvigil.sources.zeek.cursors import Cursors
from dnsvigil.sources.zeek.follower import given_logs, in_order_of_time, met_in, pending_log
from dnsvigil.sources.zeek.options import LogOptions
from dnsvigil.sources.zeek.reader import read_batches
from dnsvigil.store.store import Store, StoreError
from dnsvigil.system.terminal import counted, printable

log = logging.getLogger(__name__)


MAX_NAMED: Final = 5
"""So many files that are not read are named, each with what it is."""


@dataclass
class _Total:
    """What became of everything that was given."""

    records: int = 0
    skipped: int = 0
    flows: int = 0
    flows_skipped: Counter[str] = field(default_factory=Counter)  # by reason
    known: list[Path] = field(default_factory=list)  # read by an earlier call


def command(options: argparse.Namespace, config: Config) -> int:
    """Ingest the files of the options; return 1 unless all were read. Raises as :func:`ingest`, and ``OwnerError``."""
    require_owner(options.state)
    return 0 if ingest(options.paths, config, options.state, options.start) else 1


def ingest(paths: list[Path], config: Config, state: Path, start: datetime | None = None) -> bool:
    """Read the files and folders, and say on standard error what became of their records.

    What an earlier call has read is not read again. ``start`` (UTC) is when captures with relative times began.
    Returns whether every file could be read and something was recognized in each path; raises
    :class:`dnsvigil.store.store.StoreError` and ``StoreInUseError``.
    """
    options = LogOptions(config.sources.field_names, start)
    logs: list[Path] = []
    flows: list[Path] = []
    unread: list[Path] = []
    for path in paths:
        try:
            flow_files = dict.fromkeys(_flow_files(given_files(path)))
            given = {file: what for file, what in given_logs(path, options) if file not in flow_files}
        except OSError as error:
            _report(path, error)
            unread.append(path)
            continue
        found = [file for file, what in given.items() if not what]
        flows += flow_files
        logs += found
        if not (found or flow_files):
            unread.append(path)
        if path.is_dir():
            _report_others(path, {file: what for file, what in given.items() if what}, bool(found or flow_files))
    flows = in_order(dict.fromkeys(flows))
    total = _Total()
    with Store(state) as store:
        if logs or not flows:
            unread += _read_logs(store, config, logs, options, total)
        if flows:
            unread += _read_flows(store, config, flows, total)
    said = [f"{counted(total.records, 'record')} read, {total.skipped:,} skipped"] if logs or not flows else []
    said += [f"{counted(total.flows, 'flow')} read"] if flows else []
    said += [describe_skipped(total.flows_skipped, "flow")] if total.flows_skipped else []
    said += [f"{total.known[0].name} was already read"] if len(total.known) == 1 else []
    said += [f"{len(total.known):,} files were already read"] if len(total.known) > 1 else []
    print(printable("; ".join(said)), file=sys.stderr)
    return not unread


def _read_logs(
    store: Store, config: Config, files: Iterable[Path], options: LogOptions, total: _Total
) -> Iterator[Path]:
    """Read logs, count what became of their records, and yield those that could not be read or are no log."""
    remarks: set[tuple[str, str, str]] = set()  # sensor, log and text of those that were made
    with ExitStack() as stack:
        collector = stack.enter_context(closing(Intake(store, config)))
        cursors = Cursors(store.cursors())
        # So that what is older is no more too old for the store than it was when it was written.
        for path in in_order_of_time(files):
            skipped: Counter[str] = Counter()
            records = batches = 0
            try:
                file = pending_log(path, cursors, config.sources.zeek, options)
                cursor = file.cursor
                with _progress(path, file.size) as bar:
                    for batch in read_ahead(read_batches(path, cursor, file.finished, file.log_type, options)):
                        try:
                            (found,) = collector.ingest([batch])
                        except StoreError:
                            raise
                        except Exception as error:
                            stack.close()
                            found = ingest_rest(store, partial(Intake, store, config), batch, error)
                            collector = stack.enter_context(closing(Intake(store, config)))
                        cursor = batch.cursor
                        cursors.put(cursor)
                        batches += 1
                        records += found.records
                        skipped += found.skipped
                        bar.update(batch.stored_offset - bar.n)
                        for remark in found.remarks:
                            if (key := (cursor.sensor, file.log_type.path, remark)) not in remarks:
                                remarks.add(key)
                                log.warning("%s: %s", path, remark)
            except StoreError:
                raise
            except OSError as error:
                _report(path, error)
                yield path
                continue
            except Exception as error:
                store.set_aside.put("log", path, error)
                stack.close()
                collector = stack.enter_context(closing(Intake(store, config)))
                yield path
                continue
            finally:
                total.records += records + skipped.total()
                total.skipped += skipped.total()
            if skipped:
                log.warning("%s: %s", path, describe_skipped(skipped))
            if skipped and not records and file.recognized:
                yield path  # it would look like a log in which there is nothing
            elif not (file.recognized or records):
                log.error("%s: no log that is read is recognized in it: %s", path, printable(met_in(path, options)))
                yield path
            elif not batches and cursor.offset:
                total.known.append(path)
            if not file.finished and cursor.whole_size == 0 and cursor.offset < file.size:
                log.warning("%s: its end is still being written, or lacks a line end; it is left for later", path)
        collector.flush()
    store.set_aside.flush()


def _read_flows(store: Store, config: Config, files: Iterable[Path], total: _Total) -> Iterator[Path]:
    """Read flow files, count their flows, and yield those that could not be read."""
    with ExitStack() as stack:
        collector = stack.enter_context(closing(FlowCollector(store, config)))
        for path in files:
            try:
                file = pending_file(path)
                with _progress(path, file.stamp[0]) as bar:
                    found = collector.ingest(replace(file, settled=True))
                    bar.update(file.stamp[0])
                total.flows += found.flows
                total.flows_skipped += Counter(found.skipped)
                if found.known:
                    total.known.append(path)
                if found.untimely:
                    log.warning("%s: %s", path, found.untimely)
                    if not found.flows:
                        yield path  # it would look like a file in which there is nothing
                if found.damage:
                    log.warning("%s: %s; the readable part is counted", path, found.damage)
            except OSError as error:
                _report(path, error)
                yield path
            except NFDumpError as error:
                log.error("%s cannot be read: %s", path, error)
                yield path
            except StoreError:
                raise
            except Exception as error:
                store.set_aside.put("flow_file", path, error)
                stack.close()
                collector = stack.enter_context(closing(FlowCollector(store, config)))
                yield path
        collector.flush()
        if collector.forgotten:
            log.warning(
                "flows from before %s are counted, but are not kept: `store.retention` ends there", collector.forgotten
            )
    store.set_aside.flush()


def _progress(path: Path, size: int) -> "tqdm[Any]":
    """Return the bar of a file; it is shown on a terminal only."""
    name = printable(path.name)
    return tqdm(total=size, desc=name, unit="B", unit_scale=True, disable=None, dynamic_ncols=True, leave=False)


def _report_others(folder: Path, others: Mapping[Path, str], recognized: bool) -> None:
    """Say which files of a folder are not read, and what they are."""
    named = [f"{file.relative_to(folder)} ({what})" for file, what in list(others.items())[:MAX_NAMED]]
    more = [f"{len(others) - MAX_NAMED:,} more"] if len(others) > MAX_NAMED else []
    listed = printable(", ".join([*named, *more])) or "there is no file in it"
    if not recognized:
        log.error("%s: no log that is read is recognized in it: %s", folder, listed)
    elif others:
        log.warning("%s: not read, as no log that is read is recognized: %s", folder, listed)


def _flow_files(files: Iterable[Path]) -> Iterator[Path]:
    for file in files:
        try:
            if is_flow_file(file):
                yield file
        except OSError:
            continue  # the reader of logs says so


def _report(path: Path, error: OSError) -> None:
    log.error("%s cannot be read: %s", path, error.strerror or error)
