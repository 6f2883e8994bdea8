"""``dnsvigil ingest``: the same way of the data as live, over files that are given, to their end."""

import logging
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dnsvigil.collector import Collector, describe_skipped
from dnsvigil.config import Config
from dnsvigil.flow_collector import FlowCollector
from dnsvigil.isolation import ingest_rest
from dnsvigil.sources.cursors import Cursors
from dnsvigil.sources.flowfile import is_flow_file
from dnsvigil.sources.flowfolders import begin_of, given_files, pending_file
from dnsvigil.sources.follow import given_logs, in_order_of_time, pending_log
from dnsvigil.sources.netflow import NFDumpError
from dnsvigil.sources.reader import read_ahead, read_batches
from dnsvigil.store.store import Store, StoreError
from dnsvigil.terminal import counted

log = logging.getLogger(__name__)


def ingest(paths: list[Path], config: Config, state: Path) -> bool:
    """Read the files and folders, and say on standard error what became of their records.

    What an earlier call has read is not read again. Returns whether every file could be read; raises
    :class:`dnsvigil.store.store.StoreError` and ``StoreInUseError``.
    """
    logs: list[Path] = []
    flows: list[Path] = []
    unread: list[Path] = []
    for path in paths:
        try:
            found = dict.fromkeys(_flow_files(given_files(path)))
            flows += found
            logs += [file for file in given_logs([path]) if file not in found]
        except OSError as error:
            _report(path, error)
            unread.append(path)
    flows = sorted(dict.fromkeys(flows), key=lambda file: (begin_of(file.name) or datetime.min, file))
    total: Counter[str] = Counter()
    size = sum(file.stat().st_size for file in (*logs, *flows) if file.exists())
    # None: shown on a terminal only.
    bar: tqdm[Any] = tqdm(total=size, unit="B", unit_scale=True, disable=None, dynamic_ncols=True)
    with Store(state) as store, bar:
        if logs or not flows:
            unread += _read_logs(store, config, logs, bar, total)
        if flows:
            unread += _read_flows(store, config, flows, bar, total)
    read, read_flows, without = total.pop("records", 0), total.pop("flows", 0), total.pop("flows_skipped", 0)
    said = [f"{counted(read, 'record')} read, {total.total():,} skipped"] if logs or not flows else []
    said += [f"{counted(read_flows, 'flow')} read"] if flows else []
    said += [f"{counted(without, 'flow')} without traffic skipped"] if without else []
    print("; ".join(said), file=sys.stderr)
    return not unread


def _read_logs(
    store: Store, config: Config, files: Iterable[Path], bar: "tqdm[Any]", total: Counter[str]
) -> Iterator[Path]:
    """Read logs, count what became of their records in ``total``, and yield those that could not be read."""
    with ExitStack() as stack:
        collector = stack.enter_context(closing(Collector(store, config)))
        cursors = Cursors(store.cursors())
        # So that what is older is no more too old for the store than it was when it was written.
        for path in in_order_of_time(files):
            skipped: Counter[str] = Counter()
            try:
                file = pending_log(path, cursors, config.sources.zeek)
                done = 0
                for batch in read_ahead(read_batches(path, file.cursor, file.finished, file.kind)):
                    try:
                        result = collector.ingest(batch)
                    except StoreError:
                        raise
                    except Exception as error:
                        stack.close()
                        result = ingest_rest(store, partial(Collector, store, config), batch, error)
                        collector = stack.enter_context(closing(Collector(store, config)))
                    cursors.put(batch.cursor)
                    total["records"] += batch.read
                    skipped += result
                    bar.update(batch.stored_offset - done)
                    done = batch.stored_offset
                bar.update(file.size - done)
            except StoreError:
                raise
            except OSError as error:
                _report(path, error)
                yield path
            except Exception as error:
                store.set_aside.put("log", path, error)
                stack.close()
                collector = stack.enter_context(closing(Collector(store, config)))
                yield path
            total += skipped
            if skipped:
                log.warning("%s: %s", path, describe_skipped(skipped))
        collector.settle()
    store.set_aside.flush()


def _read_flows(
    store: Store, config: Config, files: Iterable[Path], bar: "tqdm[Any]", total: Counter[str]
) -> Iterator[Path]:
    """Read flow files, count their flows in ``total``, and yield those that could not be read."""
    with ExitStack() as stack:
        collector = stack.enter_context(closing(FlowCollector(store, config)))
        for path in files:
            try:
                file = pending_file(path)
                found = collector.ingest(replace(file, settled=True))
                total["flows"] += found.flows
                total["flows_skipped"] += found.skipped
                if found.damage:
                    log.warning("%s: %s; the readable part is counted", path, found.damage)
                bar.update(file.stamp[0])
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
        collector.settle()
    store.set_aside.flush()


def _flow_files(files: Iterable[Path]) -> Iterator[Path]:
    for file in files:
        try:
            if is_flow_file(file):
                yield file
        except OSError:
            continue  # the reader of logs says so


def _report(path: Path, error: OSError) -> None:
    log.error("%s cannot be read: %s", path, error.strerror or error)
