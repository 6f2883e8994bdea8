"""A log file that has something to read, and where its reading goes on."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dnsvigil.config.collector import ZeekSource
from dnsvigil.records import Cursor
from dnsvigil.sources.folders import is_settled, stamp_of
from dnsvigil.sources.remote.uri import name_of
from dnsvigil.sources.zeek.cursors import Cursors
from dnsvigil.sources.zeek.head import Head
from dnsvigil.sources.zeek.header import Header
from dnsvigil.sources.zeek.log_names import sensor_of
from dnsvigil.sources.zeek.log_types import DNS, LogType
from dnsvigil.sources.zeek.options import STOCK, LogOptions
from dnsvigil.sources.zeek.writers import find_cursor, writers_of


@dataclass(frozen=True)
class Pending:
    """A log file that has something to read."""

    path: Path
    log_type: LogType
    cursor: Cursor
    size: int  # bytes on disk
    finished: bool  # whether nobody writes it any more
    stamp: tuple[int, ...]  # changes when the file does
    recognized: bool = True  # whether its content shows which log it is

    @property
    def read(self) -> bool:
        """Whether it was read to its end, and has the size that it had then."""
        return self.cursor.offset > 0 and self.size in (self.cursor.offset, self.cursor.whole_size)


def pending_log(
    path: Path, cursors: Cursors, sources: Iterable[ZeekSource] = (), options: LogOptions = STOCK
) -> Pending:
    """Return a given file with its cursor; the sensor is that of ``sources`` where the file is one of theirs.

    Raises ``OSError``.
    """
    status = path.stat()
    head = Head.of(path, options)
    writers = writers_of(sources)
    folder = path.resolve().parent
    candidates = [writer for writer in writers if folder == writer.folder.resolve()]
    candidates = candidates or [writer for writer in writers if folder in writer.archives(path)]
    if candidates:
        cursor = find_cursor(cursors, path, head, candidates, writers)
    else:
        cursor = cursors.find(sensor_of(path.absolute()), head, name_of(path.resolve()))
    log_type = log_type_under(head, cursor, options)
    recognized = log_type is not None
    return Pending(path, log_type or DNS, cursor, status.st_size, is_settled(status), stamp_of(status), recognized)


def log_type_under(head: Head, cursor: Cursor, options: LogOptions) -> LogType | None:
    """Return which log a file is; a file without a header of its own goes on under that of its cursor."""
    header = Header.parse(cursor.header, options) if cursor.header else None
    return head.log_type or (header.log_type if header else None)
