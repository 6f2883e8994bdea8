"""Makes one file of the archive of the many that a day leaves, in a thread."""

import logging
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import Final

import pyarrow as pa

from dnsvigil.store.archive import Archive, ArchiveFile
from dnsvigil.store.archive_clients import without_addresses
from dnsvigil.store.archive_file import ArchiveFileError, Written, read, read_footer, write

log = logging.getLogger(__name__)

MAX_SIZE: Final = 512 * 10**6
"""The bytes that a file has at most, unless it was written with more; those of half as many are merged no more."""


@dataclass(frozen=True)
class Merged:
    """What became of the files of a day and sensor."""

    inputs: Sequence[ArchiveFile]
    output: Path
    written: Written | None = None
    unreadable: ArchiveFileError | None = None


def due(files: Sequence[ArchiveFile], today: date, site: str) -> Sequence[ArchiveFile]:
    """Return the files of a table, day and sensor that become one, none where nothing is to do.

    They are small ones of a day that is over, or any that are not of this ``site``.
    """
    for (_, day, _), group in groupby(files, lambda file: (file.table, file.day, file.sensor)):
        some = list(group)
        if others := list(_first([file for file in some if file.site != site])):
            return others
        small = list(_first([file for file in some if file.size < MAX_SIZE // 2]))
        if day < today and len(small) > 1:
            return small
    return []


def _first(files: Sequence[ArchiveFile]) -> Iterator[ArchiveFile]:
    size = 0
    for number, file in enumerate(files):
        size += file.size
        if number and size > MAX_SIZE:
            return
        yield file


class Merger:
    """Merges one day and sensor at a time."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._thread: threading.Thread | None = None
        self._merged: Merged | None = None
        self._closed = False
        self.failures = 0

    def start(self, today: date) -> bool:
        """Begin what is due, unless something is under way; return whether anything is."""
        if self._thread is None and (inputs := due(self._archive.named_files(), today, self._archive.site)):
            first = inputs[0]
            output = self._archive.new_path(first.table, first.day, first.sensor)
            self._thread = threading.Thread(target=self._run, args=(inputs, output), name="archive")
            self._thread.start()
        return self._thread is not None

    def take(self) -> Merged | None:
        """Return what has been merged since."""
        if self._thread is None or self._thread.is_alive():
            return None
        self._thread = None
        merged, self._merged = self._merged, None
        return merged

    def close(self) -> None:
        """End what is under way."""
        self._closed = True
        self.wait()

    def wait(self) -> None:
        """Wait for what is under way."""
        if self._thread:
            self._thread.join()

    def _run(self, inputs: Sequence[ArchiveFile], output: Path) -> None:
        paths = [self._archive.path(file) for file in inputs]
        try:
            table = inputs[0].table
            replaced = {name for path in paths for name in (path.name, *read_footer(path).replaced)}
            rows = read(table, paths)
            if table == "domain_hours" and self._archive.site:
                rows = map(without_addresses, rows)
            written = write(output, table, self._until_closed(rows), replaced)
            self._merged = Merged(inputs, output, written)
        except ArchiveFileError as error:
            self._merged = Merged(inputs, output, unreadable=error)
        except _ClosedError:
            pass
        except OSError as error:
            self.failures += 1
            log.error("archive: %d files of %s cannot be merged: %s", len(paths), paths[0].parent, error)

    def _until_closed(self, parts: Iterator[pa.Table]) -> Iterator[pa.Table]:
        for part in parts:
            if self._closed:
                raise _ClosedError
            yield part


class _ClosedError(Exception):
    """There is no time to finish."""
