"""Converts logs into an archive in Spark's tasks, of which the store in the archive knows which have counted."""

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from dnsvigil.cli.ingest import find_given, read_logs, say_known, say_records, say_unread
from dnsvigil.cli.spark import cluster_of
from dnsvigil.cli.tasks import Files, Read, all_of, heard, portions, same_logs
from dnsvigil.config.collector import Config
from dnsvigil.ingest.archive import archive_parts
from dnsvigil.records import Cursor
from dnsvigil.sources.zeek.options import LogOptions
from dnsvigil.store.archive import Archive, ArchiveFile, new_name
from dnsvigil.store.archive_file import Written
from dnsvigil.store.cursors import put_cursors, read_cursors
from dnsvigil.store.pseudonyms import KEY_FILE, Pseudonyms
from dnsvigil.store.store import Store
from dnsvigil.system.secret_files import make_secret
from dnsvigil.system.terminal import printable

_WAVE: Final = 4
"""So many tasks for each that runs at once; then what they have read counts."""


@dataclass(frozen=True)
class _Converted:
    """What a task has made."""

    read: Read
    cursors: Sequence[Cursor]
    files: Sequence[tuple[ArchiveFile, Path]]  # with where they are until they count


def archive_on_spark(
    paths: Files, config: Config, root: Path, state: Path, start: datetime | None, *, lost: Files = ()
) -> bool:
    """Convert logs that were not converted yet; return whether all were read, and none of them is ``lost``.

    Killed at any instant and started again, each record is there once: files have their names from the commit of the
    transaction on that has the cursors of their logs. Raises ``CommandError``, ``StoreError`` and ``OSError``.
    """
    options = LogOptions(config.sources.field_names, start)
    given = find_given([path.absolute() for path in paths], options, logs_only=True)  # tasks run in other folders
    config = replace(config, archive=replace(config.archive, path=root.absolute()))
    reports = [Read()]
    with Store(state) as store, cluster_of(config) as spark:
        archive = Archive(store, root, config.archive.site or "")
        archive.flush()
        key = Pseudonyms(store, config.archive.pseudonym_key_file).key
        groups = same_logs(given.logs, config, options, read_cursors(store), reports[0])
        known = {file: cursors for files, cursors in groups for file in files}
        tasks = [
            (files, [cursor for file in files for cursor in known[file]])
            for files in portions([files for files, _ in groups], spark.slots)
        ]
        wave = _WAVE * spark.slots
        for begin in range(0, len(tasks), wave):
            done = spark.each(tasks[begin : begin + wave], partial(_convert, config, options, archive.writer, key))
            with store.transaction():
                if cursors := [cursor for each in done for cursor in each.cursors]:
                    put_cursors(store, cursors)
                for file, path in (made for each in done for made in each.files):
                    archive.put(file.table, file.day, file.sensor, path, Written(file.rows, file.size))
            archive.flush()
            reports += [each.read for each in done]
        Archive(store, root, config.archive.site or "").flush()  # removes what tasks have left that ran once more
    read = all_of(reports)
    unread = [*lost, *given.unread, *read.unread]
    print(printable("; ".join([say_records(read.total), *say_known(read.total), *say_unread(unread)])), file=sys.stderr)
    return not unread


def _convert(
    config: Config, options: LogOptions, writer: str, key: str, task: tuple[Files, Sequence[Cursor]]
) -> _Converted:
    """Convert logs from where their cursors are, and leave new files in the archive."""
    logs, cursors = task
    root = config.archive.path
    assert root
    read = Read()
    with TemporaryDirectory(prefix="dnsvigil-archive-") as name, heard(read.messages):
        folder = Path(name)
        own = replace(config, archive=replace(config.archive, path=folder / "archive", pseudonym_key_file=None))
        with Store(folder / "state", one_thread=True) as store:
            make_secret(folder / "state" / KEY_FILE, key)
            if cursors:
                with store.transaction():
                    put_cursors(store, cursors)
            read.unread += read_logs(store, logs, own, options, total=read.total, parts=archive_parts)
            archive = Archive(store, folder / "archive", config.archive.site or "")
            files = [(file, _moved(archive.path(file), folder / "archive", root, writer)) for file in archive.files()]
            return _Converted(read, read_cursors(store), files)


def _moved(path: Path, own: Path, root: Path, writer: str) -> Path:
    """Copy a file into an archive under a name that no engine reads; return its path there."""
    to = root / path.relative_to(own).with_name(new_name(writer))
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, to)
    with to.open("rb+") as file:
        os.fsync(file.fileno())
    return to
