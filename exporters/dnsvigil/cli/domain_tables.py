"""Makes the table of domains from logs or archives, on the engine that was asked for."""

import logging
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final, TypeAlias

from dnsvigil.cli.archive import with_archive
from dnsvigil.cli.errors import CommandError, UsageError
from dnsvigil.cli.ingest import Total, find_given, read_logs, say_known, say_records
from dnsvigil.cli.progress import polled
from dnsvigil.config.collector import Config
from dnsvigil.engines.archive import ArchiveReader, archive_files, is_archive
from dnsvigil.engines.pandas import allow_pandas
from dnsvigil.ingest.archive import archive_parts
from dnsvigil.learning.domains import DomainTable, domain_table, domain_table_on
from dnsvigil.sources.networks import NetworkTableError
from dnsvigil.sources.zeek.cursors import Cursors
from dnsvigil.sources.zeek.given import in_order_of_time
from dnsvigil.sources.zeek.options import LogOptions
from dnsvigil.sources.zeek.pending import pending_log
from dnsvigil.store.store import Store
from dnsvigil.system.terminal import printable

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

_PORTION: Final = 64 * 2**20
"""Bytes of files that a task reads at most, unless there is one file that has more."""


@dataclass
class Read:
    """What became of some files."""

    total: Total = field(default_factory=Total)
    unread: list[Path] = field(default_factory=list)
    messages: list[tuple[int, str]] = field(default_factory=list)  # what was logged: levels and texts


Files: TypeAlias = Sequence[Path]
Opened: TypeAlias = Callable[[Files, Read], AbstractContextManager[ArchiveReader]]
"""Gives what there is in files, for as long as the context lasts; then it is known what became of them."""


def table_of(paths: Files, config: Config, stack: ExitStack, *, on_spark: bool = False) -> tuple[bool, DomainTable]:
    """Return whether all was read, and the domains in logs with their features, for as long as the stack is open.

    In place of logs there may be archives. Raises ``CommandError``, ``StoreError`` and ``OSError``.
    """
    archives = [path for path in paths if is_archive(path)]
    if archives and len(archives) < len(paths):
        raise UsageError("give logs or archives, not both")
    make = _on_spark if on_spark else _on_duckdb
    try:
        if archives:
            files = [file for root in archives for file in archive_files(root)]
            read, table = make([[file] for file in files], _archived, config, stack)
            return not read.unread, table
        options = LogOptions(config.sources.field_names)
        given = find_given(paths, options, logs_only=True)
        opened = partial(_converted, config, options, on_spark)
        read, table = make(_same_logs(given.logs, config, options), opened, config, stack)
    except NetworkTableError as error:
        raise CommandError(f"domains.networks: {error}") from error
    print(printable("; ".join([say_records(read.total), *say_known(read.total)])), file=sys.stderr)
    return not (given.unread or read.unread), table


def _on_duckdb(groups: Iterable[Files], opened: Opened, config: Config, stack: ExitStack) -> tuple[Read, DomainTable]:
    read = Read()
    with opened([file for group in groups for file in group], read) as reader:
        table = stack.enter_context(domain_table(reader.hours(), reader.tuples(), config.domains.networks))
    return read, table


def _on_spark(groups: Iterable[Files], opened: Opened, config: Config, stack: ExitStack) -> tuple[Read, DomainTable]:
    allow_pandas()
    try:
        from dnsvigil.engines.spark import cluster
    except ModuleNotFoundError as error:
        raise CommandError(f"{error.name} is not installed; --engine spark needs dnsvigil[spark]") from error
    with cluster(config.spark) as spark, polled("tasks", spark.status):
        reports = spark.read(portions(groups, spark.slots), partial(_read, opened))
        table = stack.enter_context(domain_table_on(spark, config.domains.networks))
        return _all_of(reports.all()), table


def portions(groups: Iterable[Files], slots: int) -> list[Files]:
    """Return the files for each task, where so many run at once; those of a group stay together."""
    sized = [(list(group), sum(map(_size, group))) for group in groups]
    limit = min(_PORTION, sum(size for _, size in sized) // (2 * slots))
    found: list[list[Path]] = []
    left = 0
    for group, size in sized:
        if size > left:
            found.append([])
            left = limit
        found[-1] += group
        left -= size
    return [*found]


def _same_logs(logs: Files, config: Config, options: LogOptions) -> list[Files]:
    """Return logs by what they begin with: of copies, each record counts once."""
    cursors = Cursors([])
    found: dict[str, list[Path]] = defaultdict(list)
    for path in in_order_of_time(logs):
        try:
            same = pending_log(path, cursors, config.sources.logs, options).cursor.id
        except OSError:
            same = str(path)  # the reader says so
        found[same].append(path)
    return [*found.values()]


def _read(opened: Opened, files: Files, report: Callable[[Read], None]) -> "Iterator[tuple[str, pa.Table]]":
    """Read files in a task; yield rows with the name of their table."""
    read = Read()
    with _heard(read.messages), opened(files, read) as reader:
        yield from (("domain_hours", table) for table in reader.hours())
        yield from (("tuples", table) for table in reader.tuples())
    report(read)


@contextmanager
def _archived(files: Files, read: Read) -> Iterator[ArchiveReader]:
    reader = ArchiveReader(files)
    yield reader
    for path, reason in reader.unreadable.items():
        log.error("%s cannot be read: %s", path, reason)
        read.unread.append(path)


@contextmanager
def _converted(
    config: Config, options: LogOptions, one_thread: bool, logs: Files, read: Read
) -> Iterator[ArchiveReader]:
    """Give logs as an archive, which is gone afterwards."""
    with TemporaryDirectory(prefix="dnsvigil-features-") as folder:
        root = Path(folder, "archive")
        with Store(Path(folder, "state"), one_thread=one_thread) as store:
            bounds = with_archive(config, root)
            read.unread += read_logs(store, logs, bounds, options, total=read.total, parts=archive_parts)
        yield ArchiveReader(archive_files(root))


@contextmanager
def _heard(messages: list[tuple[int, str]]) -> Iterator[None]:
    """Collect what is logged."""
    handler = logging.Handler()
    handler.emit = lambda record: messages.append((record.levelno, record.getMessage()))  # type: ignore[method-assign]
    logger = logging.getLogger("dnsvigil")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def _all_of(reports: Iterable[Read]) -> Read:
    """Add reports up, and log what was logged in tasks."""
    found = Read()
    for each in reports:
        for level, text in each.messages:
            log.log(level, "%s", text)
        found.total.records += each.total.records
        found.total.skipped += each.total.skipped
        found.total.known += each.total.known
        found.unread += each.unread
    return found


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # the reader says so
