"""Makes the table of domains from logs or archives, on the engine that was asked for."""

import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final, TypeAlias

from dnsvigil.cli.archive import with_archive
from dnsvigil.cli.errors import CommandError, UsageError
from dnsvigil.cli.ingest import find_given, read_logs
from dnsvigil.cli.remote import Place, as_paths
from dnsvigil.cli.spark import cluster_of
from dnsvigil.cli.tasks import Files, Read, all_of, portions, same_logs, task_read
from dnsvigil.cli.totals import say_known, say_records, say_unread
from dnsvigil.config.collector import Archive, Config
from dnsvigil.engines.archive import ArchiveReader, archive_files, is_archive
from dnsvigil.ingest.archive import archive_parts
from dnsvigil.learning.domains import DomainTable, domain_table, domain_table_on
from dnsvigil.sources.networks import NetworkTableError
from dnsvigil.sources.zeek.options import LogOptions
from dnsvigil.store.pseudonyms import KEY_FILE
from dnsvigil.store.store import Store
from dnsvigil.system.secret_files import make_secret
from dnsvigil.system.terminal import counted, printable

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

_KEY: Final = "no-key-that-is-secret"  # each run makes the same hashes, which are gone afterwards

Opened: TypeAlias = Callable[[Files, Read], AbstractContextManager[ArchiveReader]]
"""Gives what there is in files, for as long as the context lasts; then it is known what became of them."""


def table_of(
    places: Iterable[Place], config: Config, stack: ExitStack, *, on_spark: bool = False, for_groups: bool = False
) -> tuple[bool, DomainTable]:
    """Return whether all was read, and the domains in logs with their features, for as long as the stack is open.

    In place of logs there may be archives. ``for_groups`` is whether the table is to be divided into groups. Raises
    ``CommandError``, ``StoreError`` and ``OSError``.
    """
    paths, lost = stack.enter_context(as_paths(places))
    if on_spark:
        paths = [path.absolute() for path in paths]  # tasks run in other folders
    archives = [path for path in paths if is_archive(path)]
    if archives and len(archives) < len(paths):
        raise UsageError("give logs or archives, not both")
    make = partial(_on_spark, for_groups) if on_spark else _on_duckdb
    try:
        if archives:
            files = archive_files(*archives)
            read, table = make([[file] for file in files], partial(_archived, on_spark), config, stack)
            said = [f"{counted(len(files) - len(read.unread), 'file')} read"]
        else:
            options = LogOptions(config.sources.field_names)
            given = find_given(paths, options, flows=False, reports=False)
            lost += given.unread
            opened = partial(_converted, config, options, on_spark)
            read, table = make([files for files, _ in same_logs(given.logs, config, options)], opened, config, stack)
            said = [say_records(read.total), *say_known(read.total)]
    except NetworkTableError as error:
        raise CommandError(f"domains.networks: {error}") from error
    unread = [*lost, *read.unread]
    print(printable("; ".join([*said, *say_unread(unread)])), file=sys.stderr)
    return not unread, table


def _on_duckdb(groups: Iterable[Files], opened: Opened, config: Config, stack: ExitStack) -> tuple[Read, DomainTable]:
    read = Read()
    with opened([file for group in groups for file in group], read) as reader:
        table = stack.enter_context(domain_table(reader.hours(), reader.tuples(), config.domains.networks))
    return read, table


def _on_spark(
    for_groups: bool, groups: Iterable[Files], opened: Opened, config: Config, stack: ExitStack
) -> tuple[Read, DomainTable]:
    with cluster_of(config) as spark:
        inputs = portions(groups, spark.slots) or [[]]
        made = domain_table_on(
            spark, inputs, partial(task_read, partial(_rows, opened)), config.domains.networks, for_kinds=for_groups
        )
        table, reports = stack.enter_context(made)
        return all_of(reports), table


def _rows(opened: Opened, files: Files, read: Read) -> "Iterator[tuple[str, pa.Table]]":
    """Yield rows of what is in files, with the name of their table."""
    with opened(files, read) as reader:
        yield from (("domain_hours", table) for table in reader.hours())
        yield from (("tuples", table) for table in reader.tuples())


@contextmanager
def _archived(one_thread: bool, files: Files, read: Read) -> Iterator[ArchiveReader]:
    reader = ArchiveReader(files, one_thread=one_thread)
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
        root, state = Path(folder, "archive"), Path(folder, "state")
        with Store(state, one_thread=one_thread) as store:
            make_secret(state / KEY_FILE, _KEY)
            bounds = with_archive(replace(config, archive=Archive()), root)
            read.unread += read_logs(store, logs, bounds, options, total=read.total, parts=archive_parts)
        yield ArchiveReader(archive_files(root), one_thread=one_thread)
