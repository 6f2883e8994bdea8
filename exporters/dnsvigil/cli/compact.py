"""``dnsvigil pdns compact``: puts the tuples of archives into passive DNS, month by month."""

import argparse
import logging
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from dnsvigil.cli.errors import UsageError
from dnsvigil.cli.ownership import require_owner
from dnsvigil.cli.remote import as_paths
from dnsvigil.cli.spark import cluster_of, with_master
from dnsvigil.cli.tasks import Files, Read, all_of, portions, task_read
from dnsvigil.cli.totals import say_unread
from dnsvigil.config.collector import Config
from dnsvigil.engines.archive import ArchiveReader, archive_files, is_archive
from dnsvigil.engines.archive_compaction import READ, compact_step, written_in
from dnsvigil.engines.steps import table_of
from dnsvigil.ingest.compaction import MONTH
from dnsvigil.sources.remote.uri import name_of
from dnsvigil.store.archive import Place
from dnsvigil.store.archive_file import ArchiveFileError, read_footer
from dnsvigil.store.passive_dns import PassiveDns
from dnsvigil.store.store import Store
from dnsvigil.store.tuple_file import Order, Written
from dnsvigil.system.terminal import counted

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS compacted_files (period TIMESTAMP, name VARCHAR);
CREATE TABLE IF NOT EXISTS compacted_stems (period TIMESTAMP, stem VARCHAR);
"""

Pairs: TypeAlias = list[tuple[str, Mapping[Order, Written]]]
Bits: TypeAlias = Mapping[str, int]
Compacted: TypeAlias = Callable[[Files, Path, Bits], tuple[Read, Pairs]]
"""Writes the tuples of files into a folder, with the bits of their sensors."""


def compact(options: argparse.Namespace, config: Config) -> int:
    """Put the tuples of archives into the store of the options; return 1 unless all could be read.

    Killed at any instant and started again, it goes on with the month that it was at. Raises ``UsageError``,
    ``OwnerError``, ``StoreError``, ``SparkError`` and ``OSError``.
    """
    state = options.output.absolute()
    require_owner(state)
    with ExitStack() as stack:
        paths, lost = stack.enter_context(as_paths(options.paths))
        if missing := [path for path in paths if not is_archive(path)]:
            raise UsageError(f"{name_of(missing[0])}: there is no archive")
        months = _months(path.absolute() for path in paths)
        store = stack.enter_context(Store(state))
        tuples = PassiveDns(store)
        store.create(_SCHEMA)
        own = {stem for (stem,) in store.rows("SELECT stem FROM compacted_stems")}
        if tuples.waiting or not own >= {each.stem for each in tuples.files()}:
            # What it has of the same records would count twice.
            raise UsageError(f"--output {options.output}: it has passive DNS of a collector; give a folder of its own")
        tuples.remove_orphans()
        due = {period: files for period, files in months.items() if _is_new(store, period, files)}
        kept = [period for period, files in due.items() if _lacks_files(store, period, files)]
        for period in kept:
            log.error(
                "%s: the archives have new files of this month, but some of those that its passive DNS was made of are"
                " gone; it is left as it was, or what these had would be lost",
                f"{period:%Y-%m}",
            )
            del due[period]
        if due and options.engine == "spark":
            compacted: Compacted = stack.enter_context(_on_spark(with_master(config, options)))
        else:
            compacted = _on_duckdb
        reads, total = [], 0
        for period, files in due.items():
            bits = tuples.sensor_bits({Place.of(path).source for path in files} - {""})
            read, pairs = compacted(files, tuples.folder, bits)
            _replace(store, tuples, period, {path.name for path in files if path not in read.unread}, pairs)
            total += sum(written["names"].rows for _, written in pairs)
            reads.append(read)
    unread = [*lost, *all_of(reads).unread]
    done = len(months) - len(due) - len(kept)
    said = [f"{counted(len(due), 'month')} compacted, {counted(total, 'tuple')}"]
    said += [f"{counted(done, 'month')} had nothing new"] if done else []
    said += [f"{counted(len(kept), 'month')} left as before"] if kept else []
    print("; ".join([*said, *say_unread(unread)]), file=sys.stderr)
    return 1 if unread or kept else 0


def _months(archives: Iterable[Path]) -> dict[datetime, list[Path]]:
    """Return the files of tuples by the begin of their month."""
    found: dict[datetime, list[Path]] = defaultdict(list)
    for path in archive_files(*archives):
        place = Place.of(path)
        if place.table == "tuples":
            try:
                day = datetime.strptime(place.day, "%Y-%m-%d")
            except ValueError:
                log.warning("%s: left out, as its folder is no day", path)
                continue
            found[day.replace(day=1)].append(path)
    return dict(sorted(found.items()))


def _known(store: Store, period: datetime) -> set[str]:
    return {name for (name,) in store.rows("SELECT name FROM compacted_files WHERE period = ?", period)}


def _is_new(store: Store, period: datetime, files: Files) -> bool:
    return not {path.name for path in files} <= _known(store, period)


def _lacks_files(store: Store, period: datetime, files: Files) -> bool:
    """Return whether files that a month was made of are gone, and no other has their rows."""
    gone = _known(store, period) - {path.name for path in files}
    for path in files if gone else ():
        with suppress(ArchiveFileError):  # the reader says so
            gone.difference_update(read_footer(path).replaced)
    return bool(gone)


def _replace(store: Store, tuples: PassiveDns, period: datetime, names: Iterable[str], pairs: Pairs) -> None:
    """Have the files of a month count in place of those that it had."""
    with store.transaction():
        tuples.unlist([stem for (stem,) in store.rows("SELECT stem FROM compacted_stems WHERE period = ?", period)])
        for table in ("compacted_files", "compacted_stems"):
            store.rows(f"DELETE FROM {table} WHERE period = ?", period)
        for name in sorted(names):
            store.rows("INSERT INTO compacted_files VALUES (?, ?)", period, name)
        for stem, written in pairs:
            store.rows("INSERT INTO compacted_stems VALUES (?, ?)", period, stem)
            tuples.list_files(stem, MONTH, period, written)
    tuples.remove_unlisted()


def _on_duckdb(files: Files, folder: Path, bits: Bits) -> tuple[Read, Pairs]:
    read = Read()
    tables = _tuples(bits, files, read)
    return read, [*written_in(table_of(chunk) for _, chunk in compact_step(folder)(0, 1, tables))]


@contextmanager
def _on_spark(config: Config) -> Iterator[Compacted]:
    with cluster_of(config) as spark:

        def compacted(files: Files, folder: Path, bits: Bits) -> tuple[Read, Pairs]:
            inputs = portions([[file] for file in files], spark.slots)
            flow, reports = spark.read(inputs, partial(task_read, partial(_tuples, bits)), READ, max(1, len(inputs)))
            pairs = [*written_in(flow.step("compact", compact_step(folder), keep=True).take())]
            return all_of(reports.all()), pairs

        yield compacted


def _tuples(bits: Bits, files: Files, read: Read) -> Iterator[tuple[str, "pa.Table"]]:
    """Yield the rows of the table of tuples; then it is known what became of the files."""
    reader = ArchiveReader(files, bits, one_thread=True)
    yield from (("tuples", table) for table in reader.tuples(negative=True))
    for path, reason in reader.unreadable.items():
        log.error("%s cannot be read: %s", path, reason)
        read.unread.append(path)
