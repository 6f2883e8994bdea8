"""Converts files into an archive in Spark's tasks, of which the store in the archive knows which have counted."""

import os
import shutil
import socket
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from dnsvigil.cli.flow_files import archive_flows, has_nfdump
from dnsvigil.cli.ingest import find_given, read_logs, report_total
from dnsvigil.cli.spark import cluster_of
from dnsvigil.cli.tasks import Files, Read, all_of, heard, portions, same_flows, same_logs
from dnsvigil.config.collector import Config
from dnsvigil.ingest.archive import ArchivePart, archive_parts
from dnsvigil.records import Cursor
from dnsvigil.sources.zeek.options import LogOptions
from dnsvigil.store.archive import Archive, ArchiveFile, new_name
from dnsvigil.store.archive_file import Written
from dnsvigil.store.cursors import put_cursors, read_cursors
from dnsvigil.store.flow_files import FlowFile, FlowFiles
from dnsvigil.store.pseudonyms import KEY_FILE, Pseudonyms
from dnsvigil.store.store import Store
from dnsvigil.system.secret_files import make_secret

_WAVE: Final = 4
"""So many tasks for each that runs at once; then what they have read counts."""


@dataclass(frozen=True)
class _Task:
    """What a task reads, and what the store in the archive knows of that."""

    logs: Files = ()
    cursors: Sequence[Cursor] = ()
    flows: Files = ()
    flow_files: Sequence[FlowFile] = ()


@dataclass(frozen=True)
class _Converted:
    """What a task has made."""

    read: Read
    cursors: Sequence[Cursor]
    flow_files: Sequence[FlowFile]
    files: Sequence[tuple[ArchiveFile, Path]]  # with where they are until they count


def archive_on_spark(
    paths: Files, config: Config, root: Path, state: Path, start: datetime | None, *, lost: Files = ()
) -> bool:
    """Convert files that were not converted yet; return whether all were read, and none of them is ``lost``.

    Killed at any instant and started again, each record is there once: files have their names from the commit of the
    transaction on that has what is known of logs and flow files. Raises ``CommandError``, ``StoreError`` and
    ``OSError``.
    """
    options = LogOptions(config.sources.field_names, start)
    given = find_given([path.absolute() for path in paths], options, reports=False)  # tasks run in other folders
    reports = [Read()]
    with Store(state) as store, cluster_of(config) as spark:
        with closing(ArchivePart(store, config, waits=False)) as waiting:
            waiting.flush(datetime.min)  # what a call without Spark has left that was killed
        config = replace(config, archive=replace(config.archive, path=root.absolute()))
        archive = Archive(store, root, config.archive.site or "")
        flow_files = FlowFiles(store)
        key = Pseudonyms(store, config.archive.pseudonym_key_file).key
        groups = same_logs(given.logs, config, options, read_cursors(store), reports[0])
        known = {file: cursors for files, cursors in groups for file in files}
        flows, flows_before = same_flows(given.flows, flow_files)
        tasks = [
            _Task(logs=files, cursors=[cursor for file in files for cursor in known[file]])
            for files in portions([files for files, _ in groups], spark.slots)
        ]
        tasks += [
            _Task(flows=files, flow_files=flow_files.files({file.name for file in files}))
            for files in portions(flows, spark.slots)
        ]
        wave = _WAVE * spark.slots
        for begin in range(0, len(tasks), wave):
            done = spark.each(tasks[begin : begin + wave], partial(_convert, config, options, archive.writer, key))
            with store.transaction():
                if cursors := [cursor for each in done for cursor in each.cursors]:
                    put_cursors(store, cursors)
                for flow_file in (read for each in done for read in each.flow_files):
                    flow_files.add_file(flow_file)
                for file, path in (made for each in done for made in each.files):
                    archive.put(file.table, file.day, file.sensor, path, Written(file.rows, file.size))
            archive.flush()
            reports += [each.read for each in done]
        Archive(store, root, config.archive.site or "").flush()  # removes what tasks have left that ran once more
    read = all_of(reports)
    read.total.known += flows_before
    unread = [*lost, *given.unread, *read.unread]
    report_total(given, read.total, unread)
    return not unread


def _convert(config: Config, options: LogOptions, writer: str, key: str, task: _Task) -> _Converted:
    """Convert logs from where their cursors are, and flow files, and leave new files in the archive."""
    root = config.archive.path
    assert root
    read = Read()
    with TemporaryDirectory(prefix="dnsvigil-archive-") as name, heard(read.messages):
        folder = Path(name)
        own = replace(config, archive=replace(config.archive, path=folder / "archive", pseudonym_key_file=None))
        with Store(folder / "state", one_thread=True) as store:
            make_secret(folder / "state" / KEY_FILE, key)
            flow_files = FlowFiles(store)
            with store.transaction():
                if task.cursors:
                    put_cursors(store, task.cursors)
                for number, file in enumerate(task.flow_files):
                    flow_files.put_file(number, file)
            if task.logs:
                read.unread += read_logs(store, task.logs, own, options, total=read.total, parts=archive_parts)
            if task.flows and has_nfdump(config, f"worker {socket.gethostname()}: "):
                read.unread += archive_flows(store, own, task.flows, read.total)
            else:
                read.unread += task.flows
            archive = Archive(store, folder / "archive", config.archive.site or "")
            files = [(file, _moved(archive.path(file), folder / "archive", root, writer)) for file in archive.files()]
            return _Converted(read, read_cursors(store), flow_files.files()[len(task.flow_files) :], files)


def _moved(path: Path, own: Path, root: Path, writer: str) -> Path:
    """Copy a file into an archive under a name that no engine reads; return its path there."""
    to = root / path.relative_to(own).with_name(new_name(writer))
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, to)
    with to.open("rb+") as file:
        os.fsync(file.fileno())
    return to
