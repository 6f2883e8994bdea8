"""Finds the logs to read: those that Zeek writes and has rotated, live, or those given once."""

import logging
import os
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path
from typing import Final

from dnsvigil.config import ZeekSource
from dnsvigil.records import Cursor
from dnsvigil.sources.cursors import Cursors
from dnsvigil.sources.kinds import BY_PATH, DNS, Kind
from dnsvigil.sources.logfile import BrokenFileError, Head, LogFile
from dnsvigil.sources.zeek import MAX_LINE, Header, first_kind

log = logging.getLogger(__name__)

SETTLED_SECONDS: Final = 60
"""A rotated file that nobody has touched for so long is taken as finished."""

OLD_SECONDS: Final = 30 * 86400
"""A rotated file last written so long ago is left alone: its cursor may be forgotten, which takes longer."""

_LOG = re.compile(rf"({'|'.join(BY_PATH)})[.-].*")
_LIVE = re.compile(rf"({'|'.join(BY_PATH)})\.(log|json)")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_NOT_A_SENSOR = {"", "/", "current", "logs", "log", "spool", "zeek", "bro"}


@dataclass(frozen=True)
class Pending:
    """A file that has something to read."""

    path: Path
    kind: Kind
    cursor: Cursor
    size: int  # bytes on disk
    finished: bool
    stamp: tuple[int, ...]  # changes when the file does


def sensor_of(path: Path) -> str:
    """Return the sensor's name for a log: the nearest folder above it that is not one of Zeek's own names."""
    for part in reversed(path.parent.parts):
        if part not in _NOT_A_SENSOR and not _DAY.fullmatch(part):
            return part
    return "zeek"


def given_logs(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield the files given, and those below the folders given that are a log to be read by their content.

    So are those that cannot be read, for the reader to say so. Raises ``OSError`` for a path that is not there.
    """
    for path in paths:
        if not path.is_dir():
            path.stat()
            yield path
            continue
        for file in sorted(child for child in path.rglob("*") if child.is_file()):
            try:
                with LogFile(file) as content:
                    content.skip_hole()
                    found = first_kind(content.read(2 * MAX_LINE)) is not None
            except BrokenFileError:
                found = False
            except OSError:
                found = True
            if found:
                yield file


def pending_log(path: Path, cursors: Cursors) -> Pending:
    """Return a given file with its cursor. Raises ``OSError``."""
    status = path.stat()
    head = Head.of(path)
    cursor = cursors.find(sensor_of(path.absolute()), head, str(path))
    settled = time.time() - status.st_mtime > SETTLED_SECONDS
    return Pending(path, _kind(head, cursor, DNS), cursor, status.st_size, settled, _stamp(status))


class Follower:
    """Follows Zeek's folders through rotation, compression and truncation."""

    def __init__(self, sources: list[ZeekSource], cursors: Cursors, since: float) -> None:
        """Follow ``sources``; rotated files that are old or from before ``since`` (Unix time) are left alone."""
        self._sources = sources
        self._cursors = cursors
        self._since = since
        self._read: dict[Path, tuple[tuple[int, ...], str]] = {}  # stamp and cursor of what was read to its end
        self._unread: dict[str, tuple[Path, float]] = {}  # by cursor: where it was, and when it was last there
        self._unreadable: set[Path] = set()
        self._listings: dict[Path, tuple[int, list[Path]]] = {}

    def pending(self) -> list[Pending]:
        """Return the files that have changed since they were last read, oldest first."""
        found: list[tuple[int, Pending]] = []
        present: set[Path] = set()
        for source in self._sources:
            for folder, sensor in _folders(source):
                for path in self._logs(folder, source.archive):
                    present.add(path)
                    if file := self._look(path, sensor, folder):
                        found.append((file.stamp[1], file))
        self._read = {path: known for path, known in self._read.items() if path in present}
        self._unread |= {file.cursor.id: (file.path, time.monotonic()) for _, file in found}
        return [file for _, file in sorted(found, key=lambda pair: pair[0])]

    def done(self, file: Pending) -> None:
        """Take note that the file was read to the end that it had."""
        self._read[file.path] = (file.stamp, file.cursor.id)
        self._unread.pop(file.cursor.id, None)

    def growing(self) -> set[str]:
        """Return the cursors of the files that Zeek may still write to, however long ago it last did."""
        read = {cursor for path, (_, cursor) in self._read.items() if _LIVE.fullmatch(path.name)}
        return read | {cursor for cursor, (path, _) in self._unread.items() if _LIVE.fullmatch(path.name)}

    def lost(self) -> int:
        """Return how many files vanished, since the last call, before they were read to their end."""
        for _, cursor in self._read.values():
            self._unread.pop(cursor, None)
        gone = [
            (cursor, path) for cursor, (path, seen) in self._unread.items() if time.monotonic() - seen > SETTLED_SECONDS
        ]
        for cursor, path in gone:
            log.warning("%s vanished before it was read to its end", path)
            del self._unread[cursor]
        return len(gone)

    def _look(self, path: Path, sensor: str, folder: Path) -> Pending | None:
        try:
            status = path.stat()
            live = bool(_LIVE.fullmatch(path.name))
            if not live and status.st_mtime < max(self._since, time.time() - OLD_SECONDS):
                return None
            settled = not live and time.time() - status.st_mtime > SETTLED_SECONDS
            stamp = (*_stamp(status), int(settled))
            if self._read.get(path, ((), ""))[0] == stamp:
                return None
            head = Head.of(path)
        except FileNotFoundError:
            return None  # rotation was quicker
        except OSError as error:
            if path not in self._unreadable:
                self._unreadable.add(path)
                log.warning("%s cannot be read: %s", path, error.strerror)
            return None
        if not head.records:
            return None
        log_name = path.name[: match.end(1)] if (match := _LOG.fullmatch(path.name)) else DNS.path
        cursor = self._cursors.find(sensor, head, str(folder / log_name))
        if cursor.whole_size == status.st_size:
            self._read[path] = (stamp, cursor.id)
            return None
        return Pending(path, _kind(head, cursor, BY_PATH[log_name]), cursor, status.st_size, settled, stamp)

    def _logs(self, folder: Path, archive: Path | None) -> Iterator[Path]:
        yield from self._listing(folder)
        if archive:
            yield from self._listing(archive)
        above = archive or folder.parent
        try:
            days = [entry.path for entry in os.scandir(above) if _DAY.fullmatch(entry.name)]
        except OSError:
            return
        for day in sorted(days):
            yield from self._listing(Path(day))

    def _listing(self, folder: Path) -> list[Path]:
        """Return the logs in a folder, which is read again only when it has changed."""
        try:
            changed = folder.stat().st_mtime_ns
            known = self._listings.get(folder)
            # A change within the clock's grain of the last look might not show.
            if known and known[0] == changed and time.time_ns() - changed > 2 * 10**9:
                return known[1]
            logs = sorted(Path(entry.path) for entry in os.scandir(folder) if _LOG.fullmatch(entry.name))
        except OSError:
            return []
        self._listings[folder] = (changed, logs)
        return logs


def _kind(head: Head, cursor: Cursor, default: Kind) -> Kind:
    """Return which log a file is; one without a header of its own goes on under that of its cursor."""
    header = Header.parse(cursor.header) if cursor.header else None
    return head.kind or (header.kind if header else None) or default


def _folders(source: ZeekSource) -> Iterator[tuple[Path, str]]:
    """Yield each folder that the source's path matches, with its sensor's name."""
    pattern = source.path
    wild = next((i for i, part in enumerate(pattern.parts) if has_magic(part)), None)
    for name in sorted(glob(str(pattern))):  # noqa: PTH207 (the pattern is a whole path)
        folder = Path(name)
        if not folder.is_dir():
            continue
        named = folder.parts[wild] if wild is not None else sensor_of(folder / "dns.log")
        yield folder, source.sensor or named


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_ino, status.st_mtime_ns, status.st_size)
