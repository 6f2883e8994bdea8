"""Follows the folders in which Zeek writes and has rotated logs."""

import logging
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from os import stat_result
from pathlib import Path
from typing import Final

from dnsvigil.config.collector import ZeekSource
from dnsvigil.sources import folders
from dnsvigil.sources.aside import Aside
from dnsvigil.sources.decompressed import BrokenFileError, DecompressedFile
from dnsvigil.sources.folders import OLD_SECONDS, Listing, Listings, is_settled, stamp_of
from dnsvigil.sources.logs import LOG_OF
from dnsvigil.sources.zeek.cursors import Cursors
from dnsvigil.sources.zeek.head import Head
from dnsvigil.sources.zeek.log_names import is_day, is_live, is_wanted
from dnsvigil.sources.zeek.options import STOCK, LogOptions
from dnsvigil.sources.zeek.pending import Pending, log_type_under
from dnsvigil.sources.zeek.recognition import first_log_type
from dnsvigil.sources.zeek.skip_reasons import MAX_LINE
from dnsvigil.sources.zeek.writers import Writer, find_cursor, log_path, writers_of
from dnsvigil.system.files import NotAFileError

log = logging.getLogger(__name__)

_MAX_REPORTED: Final = 1000  # names of logs that are not read


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

        So are files that are ``set_aside``; what is no regular file or fails unexpectedly goes there.
        """
        self._set_aside = set_aside
        self._sources = sources
        self._cursors = cursors
        self._since = since
        self._options = options
        self._read: dict[Path, tuple[tuple[int, ...], str]] = {}  # stamp and cursor of what was read to its end
        self._unread: dict[str, tuple[Path, float]] = {}  # by cursor: where it was, and when it was last there
        self._unreadable: set[Path] = set()
        self._listings = Listings()
        self._logs: dict[tuple[Path, tuple[str, ...]], _Logs] = {}  # by folder, and the patterns of names in it
        self._followed: set[Path] = set()  # files that the log has reported as read
        self._reported: set[str] = set()  # logs that it has reported as not read, digits replaced

    def pending(self) -> list[Pending]:
        """Return the files that have changed since they were last read, oldest first."""
        found: list[tuple[int, Pending]] = []
        writers = writers_of(self._sources)
        paths = self._paths(writers)
        for path, status, candidates in self._files(paths):
            if file := self._look(path, status, candidates, writers):
                found.append((file.stamp[1], file))
        self._read = {path: known for path, known in self._read.items() if path in paths}
        self._followed &= paths.keys()
        self._unread |= {file.cursor.id: (file.path, time.monotonic()) for _, file in found}
        return [file for _, file in sorted(found, key=lambda pair: pair[0])]

    def done(self, file: Pending) -> None:
        """Note that the file was read to the end that it had."""
        self._read[file.path] = (file.stamp, file.cursor.id)
        self._unread.pop(file.cursor.id, None)

    def growing(self) -> set[str]:
        """Return the cursors of the files that Zeek may still write to, however long ago it last did so."""
        read = {cursor for path, (_, cursor) in self._read.items() if is_live(path.name)}
        return read | {cursor for cursor, (path, _) in self._unread.items() if is_live(path.name)}

    def lost(self) -> int:
        """Return how many files vanished, since the last call, before they were read to their end."""
        for _, cursor in self._read.values():
            self._unread.pop(cursor, None)
        patience = time.monotonic() - folders.SETTLED_SECONDS
        gone = [(cursor, path) for cursor, (path, seen) in self._unread.items() if seen < patience]
        for cursor, path in gone:
            log.warning("%s vanished before it was read to its end", path)
            del self._unread[cursor]
        return len(gone)

    def _paths(self, writers: list[Writer]) -> dict[Path, list[Writer]]:
        """Return each log with the writers that it may be of: those of the folder it lies in, else of the archive."""
        live: dict[Path, list[Writer]] = {}
        archived: dict[Path, list[Writer]] = {}
        visited: set[Path] = set()
        for writer in writers:
            visited.add(writer.folder)
            for path in self._logs_in(writer.folder, writer.source, live=True):
                live.setdefault(path, []).append(writer)
            for folder in self._archives(writer, visited):
                for path in self._logs_in(folder, writer.source):
                    archived.setdefault(path, []).append(writer)
        self._listings.keep(visited)
        self._logs = {key: logs for key, logs in self._logs.items() if key[0] in visited}
        return archived | live

    def _files(self, paths: dict[Path, list[Writer]]) -> Iterator[tuple[Path, stat_result, list[Writer]]]:
        """Yield each file once, whatever links there are to it, and the writers that it may be of."""
        files: dict[tuple[int, int], tuple[Path, stat_result, list[Writer]]] = {}
        for path, writers in paths.items():
            try:
                status = path.stat()
            except OSError as error:
                self._refuse(path, error)
                continue
            first = files.setdefault((status.st_dev, status.st_ino), (path, status, []))
            first[2].extend(writer for writer in writers if writer not in first[2])
        yield from files.values()

    def _look(self, path: Path, status: stat_result, candidates: list[Writer], writers: list[Writer]) -> Pending | None:
        live = is_live(path.name)
        if not live and status.st_mtime < max(self._since, time.time() - OLD_SECONDS):
            return None
        settled = not live and is_settled(status)
        stamp = (*stamp_of(status), int(settled))
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
        cursor = find_cursor(self._cursors, path, head, candidates, writers)
        if cursor.whole_size == status.st_size:
            self._read[path] = (stamp, cursor.id)
            return None
        if path not in self._followed and (live or not cursor.offset):
            self._followed.add(path)
            log.info("reading %s, a %s log of sensor %s", path, "current" if live else "rotated", cursor.sensor)
        log_type = log_type_under(head, cursor, self._options) or LOG_OF[log_path(path, head)]
        return Pending(path, log_type, cursor, status.st_size, settled, stamp)

    def _refuse(self, path: Path, error: OSError) -> None:
        """Report once that a file cannot be read, unless rotation was quicker."""
        if not isinstance(error, FileNotFoundError) and path not in self._unreadable:
            self._unreadable.add(path)
            log.warning("%s cannot be read: %s", path, error.strerror)

    def _archives(self, writer: Writer, visited: set[Path]) -> Iterator[Path]:
        """Yield the folders in which rotated logs of a writer may lie, and add what is read for it to ``visited``."""
        above = writer.source.archive or writer.folder.parent
        visited.add(above)
        if writer.source.archive:
            yield above
        try:
            listing = self._listings.read(above)
        except OSError:
            return
        for name in sorted((*listing.folders, *listing.files)):
            if is_day(name):
                visited.add(above / name)
                yield above / name

    def _logs_in(self, folder: Path, source: ZeekSource, *, live: bool = False) -> list[Path]:
        """Return the logs in a folder; logs that are not read for their names are reported once."""
        try:
            listing = self._listings.read(folder)
        except OSError:
            return []
        key = (folder, tuple(source.files))
        known = self._logs.get(key)
        if known and known.listing is listing:
            return known.paths
        names = sorted((*listing.folders, *listing.files))
        logs = _Logs(listing, [folder / name for name in names if is_wanted(name, source.files)])
        wanted = {path.name for path in logs.paths}
        for name in names:
            if name in wanted or not ("dns" in name or (live and not re.search(r"\d", name))):
                continue
            if (known and name in known.others) or self._report_unread(folder / name):
                logs.others.add(name)
        self._logs[key] = logs
        return logs.paths

    def _report_unread(self, path: Path) -> bool:
        """Report once a log that is not read because of its name; return whether it had enough content to recognize."""
        try:
            if not path.is_file() or not path.stat().st_size:
                return path.exists()
            with DecompressedFile(path) as content:
                log_type = first_log_type(content.read(2 * MAX_LINE))
        except (OSError, BrokenFileError):
            return False
        alike = re.sub(r"\d+", "#", str(path))
        if log_type and alike not in self._reported and len(self._reported) < _MAX_REPORTED:
            self._reported.add(alike)
            log.warning(
                "%s is a %s log that is not read, because of its name: see sources.zeek[].files", path, log_type.path
            )
        return True


@dataclass
class _Logs:
    """The logs in a folder that a source reads."""

    listing: Listing
    paths: list[Path]
    others: set[str] = field(default_factory=set)  # names that were looked into, and need not be again
