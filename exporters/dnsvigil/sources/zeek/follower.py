"""Finds the logs to read: those that Zeek writes and has rotated, live, or those given once."""

import logging
import os
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from fnmatch import fnmatchcase
from glob import glob, has_magic
from pathlib import Path
from typing import Final

from dnsvigil.config.collector import ZeekSource
from dnsvigil.records import Cursor
from dnsvigil.sources.aside import Aside
from dnsvigil.sources.zeek.cursors import Cursors
from dnsvigil.sources.zeek.lines import MAX_LINE, Header, describe, first_log_type
from dnsvigil.sources.zeek.log_file import BrokenFileError, Head, LogFile
from dnsvigil.sources.zeek.log_types import BY_PATH, DNS, LogType
from dnsvigil.sources.zeek.options import STOCK, LogOptions
from dnsvigil.system.files import NotAFileError, path_text

log = logging.getLogger(__name__)

SETTLED_SECONDS: Final = 60
"""A rotated file that nobody has touched for so long is taken as finished."""

OLD_SECONDS: Final = 30 * 86400
"""A rotated file last written so long ago is left alone: its cursor may be forgotten, which takes longer."""

_LOG = re.compile(rf"({'|'.join(BY_PATH)})([.-]|__).*")
_LIVE = re.compile(rf"({'|'.join(BY_PATH)})\.(log|json)")
_ENDING = re.compile(r"(__)?(\.(log|json))?(\.(gz|xz|zst))?$")
_COMPRESSED = re.compile(r"\.(gz|xz|zst)$")
_EPOCH = re.compile(rb"(?<![\w.-])(\d{10}\d{0,9})(?![\w:-])")
_ISO = re.compile(rb"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_MAX_NAMED: Final = 1000  # files that are not read, in the log
_NOT_A_SENSOR = {"", "/", "current", "logs", "log", "spool", "zeek", "bro"}


@dataclass(frozen=True)
class Pending:
    """A file that has something to read."""

    path: Path
    log_type: LogType
    cursor: Cursor
    size: int  # bytes on disk
    finished: bool
    stamp: tuple[int, ...]  # changes when the file does
    recognized: bool = True  # whether its content says which log it is


@dataclass(frozen=True)
class _Writer:
    """A folder in which a sensor's Zeek writes."""

    folder: Path
    sensor: str
    names: frozenset[str]  # how the sensor may be called in the names of rotated logs

    def log(self, name: str) -> str:
        """Return the path of a log, however the folder is written."""
        return path_text(self.folder.resolve() / name)


def sensor_of(path: Path) -> str:
    """Return the sensor's name for a log: the nearest folder above it that is not one of Zeek's own names."""
    for part in reversed(path.parent.parts):
        if part not in _NOT_A_SENSOR and not _DAY.fullmatch(part):
            return path_text(part)
    return "zeek"


def given_logs(path: Path, options: LogOptions = STOCK) -> Iterator[tuple[Path, str]]:
    """Yield the file given, or each file below the folder given, with what it is in words where that is no log to read.

    A file that cannot be read is yielded as a log, for the reader to say so, and so is one that is given itself.
    Raises ``OSError`` for a path that is not there.
    """
    if not path.is_dir():
        path.stat()
        yield path, ""
        return
    for file in sorted(child for child in path.rglob("*") if child.is_file()):
        try:
            found, head = _first_lines(file, options)
        except OSError:
            yield file, ""
        else:
            yield file, "" if found else head


def in_order_of_time(paths: Iterable[Path]) -> list[Path]:
    """Return logs in the order of their first records, as far as the times in these can be made out."""
    return sorted(paths, key=_first_time)


def _first_time(path: Path) -> float:
    try:
        line = Head.of(path).records.partition(b"\n")[0]
    except OSError:
        return 0.0
    if epoch := _EPOCH.search(line):
        return int(epoch[1][:10])
    try:
        return datetime.fromisoformat(f"{_ISO.findall(line)[0].decode()}+00:00").timestamp()
    except (IndexError, ValueError):
        return 0.0


def met_in(path: Path, options: LogOptions = STOCK) -> str:
    """Return in words what a file is in which no log is recognized. Raises ``OSError``."""
    return _first_lines(path, options)[1]


def _first_lines(path: Path, options: LogOptions) -> tuple[LogType | None, str]:
    """Return which log a file is by its first lines, and in words what these are."""
    try:
        with LogFile(path) as content:
            content.skip_hole()
            head = content.read(2 * MAX_LINE)
    except BrokenFileError:
        return None, "compressed data of which nothing can be read"
    return first_log_type(head, options), describe(head, options)


def pending_log(
    path: Path, cursors: Cursors, sources: Iterable[ZeekSource] = (), options: LogOptions = STOCK
) -> Pending:
    """Return a given file with its cursor, of the sensor that it has where it is one of ``sources``.

    Raises ``OSError``.
    """
    status = path.stat()
    head = Head.of(path, options)
    pairs = [(source, writer) for source in sources for writer in _writers(source)]
    folder = path.resolve().parent
    candidates = [writer for _, writer in pairs if folder == writer.folder.resolve()]
    candidates = candidates or [writer for source, writer in pairs if folder in _archives(source, writer, path)]
    if candidates:
        cursor = _find(cursors, path, head, candidates, [writer for _, writer in pairs])
    else:
        cursor = cursors.find(sensor_of(path.absolute()), head, path_text(path.resolve()))
    settled = time.time() - status.st_mtime > SETTLED_SECONDS
    log_type = _log_type(head, cursor, options)
    return Pending(path, log_type or DNS, cursor, status.st_size, settled, _stamp(status), log_type is not None)


class Follower:
    """Follows Zeek's folders through rotation, compression and truncation."""

    def __init__(
        self,
        sources: list[ZeekSource],
        cursors: Cursors,
        since: float,
        set_aside: Aside | None = None,
        options: LogOptions = STOCK,
    ) -> None:
        """Follow ``sources``; rotated files that are old or from before ``since`` (Unix time) are left alone.

        So is what is ``set_aside``, and what is no file or fails unexpectedly goes there.
        """
        self._set_aside = set_aside
        self._sources = sources
        self._cursors = cursors
        self._since = since
        self._options = options
        self._read: dict[Path, tuple[tuple[int, ...], str]] = {}  # stamp and cursor of what was read to its end
        self._unread: dict[str, tuple[Path, float]] = {}  # by cursor: where it was, and when it was last there
        self._unreadable: set[Path] = set()
        self._listings: dict[tuple[Path, tuple[str, ...]], _Listing] = {}
        self._followed: set[Path] = set()  # what the log has said of it
        self._named: set[str] = set()

    def pending(self) -> list[Pending]:
        """Return the files that have changed since they were last read, oldest first."""
        found: list[tuple[int, Pending]] = []
        followed = [(source, writer) for source in self._sources for writer in _writers(source)]
        paths = self._paths(followed)
        writers = [writer for _, writer in followed]
        for path, status, candidates in self._files(paths):
            if file := self._look(path, status, candidates, writers):
                found.append((file.stamp[1], file))
        self._read = {path: known for path, known in self._read.items() if path in paths}
        self._followed &= paths.keys()
        self._unread |= {file.cursor.id: (file.path, time.monotonic()) for _, file in found}
        return [file for _, file in sorted(found, key=lambda pair: pair[0])]

    def done(self, file: Pending) -> None:
        """Take note that the file was read to the end that it had."""
        self._read[file.path] = (file.stamp, file.cursor.id)
        self._unread.pop(file.cursor.id, None)

    def growing(self) -> set[str]:
        """Return the cursors of the files that Zeek may still write to, however long ago it last did."""
        read = {cursor for path, (_, cursor) in self._read.items() if _is_live(path.name)}
        return read | {cursor for cursor, (path, _) in self._unread.items() if _is_live(path.name)}

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

    def _paths(self, followed: list[tuple[ZeekSource, _Writer]]) -> dict[Path, list[_Writer]]:
        """Return each log with the writers that it may be of: those of the folder it lies in, else of the archive."""
        live: dict[Path, list[_Writer]] = {}
        archived: dict[Path, list[_Writer]] = {}
        for source, writer in followed:
            for path in self._listing(writer.folder, source, live=True):
                live.setdefault(path, []).append(writer)
            for path in self._archived(source, writer.folder):
                archived.setdefault(path, []).append(writer)
        return archived | live

    def _files(self, paths: dict[Path, list[_Writer]]) -> Iterator[tuple[Path, os.stat_result, list[_Writer]]]:
        """Yield each file once, whatever links there are to it, and the writers that it may be of."""
        files: dict[tuple[int, int], tuple[Path, os.stat_result, list[_Writer]]] = {}
        for path, writers in paths.items():
            try:
                status = path.stat()
            except OSError as error:
                self._refuse(path, error)
                continue
            first = files.setdefault((status.st_dev, status.st_ino), (path, status, []))
            first[2].extend(writer for writer in writers if writer not in first[2])
        yield from files.values()

    def _look(
        self, path: Path, status: os.stat_result, candidates: list[_Writer], writers: list[_Writer]
    ) -> Pending | None:
        live = _is_live(path.name)
        if not live and status.st_mtime < max(self._since, time.time() - OLD_SECONDS):
            return None
        settled = not live and time.time() - status.st_mtime > SETTLED_SECONDS
        stamp = (*_stamp(status), int(settled))
        if self._read.get(path, ((), ""))[0] == stamp:
            return None
        if self._set_aside and self._set_aside.holds("log", path, stamp):
            return None
        try:
            head = Head.of(path, self._options)
        except NotAFileError as error:
            if self._set_aside:
                self._set_aside.put("log", path, error, stamp)
            return None
        except OSError as error:
            self._refuse(path, error)
            return None
        except Exception as error:
            if self._set_aside is None:
                raise
            self._set_aside.put("log", path, error, stamp)
            return None
        if not head.records:
            return None
        cursor = _find(self._cursors, path, head, candidates, writers)
        if cursor.whole_size == status.st_size:
            self._read[path] = (stamp, cursor.id)
            return None
        if path not in self._followed and (live or not cursor.offset):
            self._followed.add(path)
            log.info("reading %s, a %s log of sensor %s", path, "current" if live else "rotated", cursor.sensor)
        log_type = _log_type(head, cursor, self._options) or BY_PATH[_log_of(path, head)]
        return Pending(path, log_type, cursor, status.st_size, settled, stamp)

    def _refuse(self, path: Path, error: OSError) -> None:
        """Say once that a file cannot be read, where it is not that rotation was quicker."""
        if not isinstance(error, FileNotFoundError) and path not in self._unreadable:
            self._unreadable.add(path)
            log.warning("%s cannot be read: %s", path, error.strerror)

    def _archived(self, source: ZeekSource, folder: Path) -> Iterator[Path]:
        if source.archive:
            yield from self._listing(source.archive, source)
        above = source.archive or folder.parent
        try:
            days = [entry.path for entry in os.scandir(above) if _DAY.fullmatch(entry.name)]
        except OSError:
            return
        for day in sorted(days):
            yield from self._listing(Path(day), source)

    def _listing(self, folder: Path, source: ZeekSource, *, live: bool = False) -> list[Path]:
        """Return the logs in a folder, which is read again only when it has changed."""
        key = (folder, tuple(source.files))
        try:
            changed = folder.stat().st_mtime_ns
            known = self._listings.get(key)
            # A change within the clock's grain of the last look might not show.
            if known and known.changed == changed and time.time_ns() - changed > 2 * 10**9:
                return known.logs
            with os.scandir(folder) as entries:
                names = sorted(entry.name for entry in entries)
        except OSError:
            return []
        listing = _Listing(changed, [folder / name for name in names if _is_wanted(name, source.files)])
        wanted = {path.name for path in listing.logs}
        for name in names:
            if name in wanted or not ("dns" in name or (live and not re.search(r"\d", name))):
                continue
            if (known and name in known.others) or self._name_unread(folder / name):
                listing.others.add(name)
        self._listings[key] = listing
        return listing.logs

    def _name_unread(self, path: Path) -> bool:
        """Say once that a log is not read for its name; return whether there was enough in it to tell what it is."""
        try:
            if not path.is_file() or not path.stat().st_size:
                return path.exists()
            with LogFile(path) as content:
                log_type = first_log_type(content.read(2 * MAX_LINE))
        except (OSError, BrokenFileError):
            return False
        alike = re.sub(r"\d+", "#", str(path))
        if log_type and alike not in self._named and len(self._named) < _MAX_NAMED:
            self._named.add(alike)
            log.warning(
                "%s is a %s log that is not read, because of its name: see sources.zeek[].files", path, log_type.path
            )
        return True


@dataclass
class _Listing:
    """What a folder holds."""

    changed: int  # nanoseconds
    logs: list[Path]
    others: set[str] = field(default_factory=set)  # that were looked into, and need not be again


def _is_wanted(name: str, patterns: Sequence[str]) -> bool:
    """Return whether a name is one that Zeek gives its logs, or matches one of the patterns, compressed or not."""
    if not patterns:
        return bool(_LOG.fullmatch(name))
    return any(fnmatchcase(one, pattern) for pattern in patterns for one in (name, _COMPRESSED.sub("", name)))


def _is_live(name: str) -> bool:
    """Return whether a log of this name is one that Zeek writes to; of other names, those that have no number."""
    return bool(_LIVE.fullmatch(name)) or not (_LOG.fullmatch(name) or re.search(r"\d", _COMPRESSED.sub("", name)))


def _log_type(head: Head, cursor: Cursor, options: LogOptions) -> LogType | None:
    """Return which log a file is; one without a header of its own goes on under that of its cursor."""
    header = Header.parse(cursor.header, options) if cursor.header else None
    return head.log_type or (header.log_type if header else None)


def _writers(source: ZeekSource) -> Iterator[_Writer]:
    """Yield each folder that the source's path matches."""
    pattern = source.path
    wild = next((i for i, part in enumerate(pattern.parts) if has_magic(part)), None)
    for name in sorted(glob(str(pattern))):  # noqa: PTH207 (the pattern is a whole path)
        folder = Path(name)
        if not folder.is_dir():
            continue
        nearest = sensor_of(folder / "dns.log")
        matched = folder.parts[wild] if wild is not None else nearest
        sensor = source.sensor or path_text(matched)
        yield _Writer(folder, sensor, frozenset((sensor, matched, nearest)))


def _archives(source: ZeekSource, writer: _Writer, path: Path) -> Iterator[Path]:
    """Yield the folders in which a rotated log of the writer may lie, for one that lies in such a folder by day."""
    if source.archive:
        yield source.archive.resolve()
    if _DAY.fullmatch(day := path.resolve().parent.name):
        yield (source.archive or writer.folder.parent).resolve() / day


def _find(
    cursors: Cursors, path: Path, head: Head, candidates: Sequence[_Writer], writers: Iterable[_Writer]
) -> Cursor:
    """Return the cursor of a file that may be of several writers, of all that there are."""
    log_name = _log_of(path, head)
    said = _named_in(path.name, candidates)
    first = (said or candidates)[0]
    # Of two that have the same short content, the names say which is whose.
    others = said if said and not head.is_unique else candidates
    cursor = cursors.find(
        first.sensor,
        head,
        first.log(log_name),
        among={writer.log(log_name) for writer in others},
        apart={writer.log(log_name) for writer in writers},
    )
    return cursor if len(candidates) > 1 else replace(cursor, sensor=first.sensor)


def _named_in(name: str, candidates: Sequence[_Writer]) -> list[_Writer]:
    """Return the writers that the end of a rotated log's name says, as in ``dns.11:00:00-12:00:00-logger-1.log.gz``."""
    stem = _ENDING.sub("", name, count=1)
    said = [
        (len(called), writer)
        for writer in candidates
        for called in writer.names
        if stem.endswith((f"-{called}", f"_{called}"))
    ]
    longest = max((length for length, _ in said), default=0)
    return [writer for length, writer in said if length == longest]


def _log_of(path: Path, head: Head) -> str:
    """Return which log a file is by its name, else by what it begins with."""
    match = _LOG.fullmatch(path.name)
    return match[1] if match else (head.log_type or DNS).path


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_ino, status.st_mtime_ns, status.st_size)
