"""Finds the flow files to read: those that nfcapd leaves in the folders that are followed, and submitted ones."""

import errno
import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from dnsvigil.config.collector import NetflowSource
from dnsvigil.sources import folders
from dnsvigil.sources.folders import (
    OLD_SECONDS,
    Listing,
    Listings,
    Match,
    expand,
    expand_folders,
    is_settled,
    match_above,
)
from dnsvigil.sources.netflow.flow_file import begin_of, flow_exporter_of, is_finished
from dnsvigil.system.files import check_file, path_text

log = logging.getLogger(__name__)

FIRST_SECONDS: Final = 86400
"""At the very first start, files from longer ago than this are left alone."""

_LOOK_SECONDS: Final = 1.0  # between two looks at the folders, at least

Stamp = tuple[int, int]
"""Size and time of the last change, in nanoseconds; changes when the file does."""


@dataclass(frozen=True)
class PendingFlows:
    """A flow file that is to be read."""

    path: Path
    flow_exporter: str | None  # the name in the configuration, or from whoever submitted the file
    folder: str  # the name of the exporter where the file does not have it either
    begin: datetime | None  # the time in its name, UTC
    stamp: Stamp
    settled: bool


class OutsideError(OSError):
    """A submitted file lies below no folder that the configuration names."""

    def __init__(self, path: Path) -> None:
        super().__init__(errno.EPERM, "it lies below no folder of sources.netflow in the configuration", str(path))

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}"


def pending_file(path: Path, flow_exporter: str | None = None, folder: str | None = None) -> PendingFlows:
    """Return a given file as one to read. Raises ``OSError``."""
    path = path.absolute()
    status = path.stat()
    stamp = (status.st_size, status.st_mtime_ns)
    begin = begin_of(path.name)
    return PendingFlows(path, flow_exporter, folder or flow_exporter_of(path), begin, stamp, is_settled(status))


def given_file(path: Path, sources: Iterable[NetflowSource]) -> PendingFlows:
    """Return a given file as one to read, of the exporter that ``sources`` name for its folder. Raises ``OSError``."""
    path = path.absolute()
    for source in sources:
        if match := match_above(path, source.path.absolute()):
            return pending_file(path, source.exporter, match.part)
    return pending_file(path)


def below_sources(path: Path, sources: Iterable[NetflowSource]) -> bool:
    """Return whether a path without symbolic links lies below one of the folders that are followed."""
    matches = (match for source in sources for match in expand(source.path.absolute()))
    return any(path.is_relative_to(os.path.realpath(match.path)) for match in matches)


def resolve_submitted(path: Path, sources: Iterable[NetflowSource]) -> Path:
    """Return the path of a submitted file without symbolic links; the file need not be there yet.

    Raises ``OSError`` for what is no regular file, or lies below no folder that is followed.
    """
    resolved = Path(os.path.realpath(path))
    if not below_sources(resolved, sources):
        raise OutsideError(path)
    if path_text(resolved) != str(resolved):
        raise OSError(errno.EINVAL, "the path of the file is not UTF-8", path_text(resolved))
    with suppress(FileNotFoundError):
        check_file(resolved)
    return resolved


class FlowFollower:
    """Follows the folders in which flow files appear; memory is some 200 bytes for each file of the last 30 days."""

    def __init__(self, sources: list[NetflowSource], since: float, known: Mapping[Path, Stamp]) -> None:
        """Follow ``sources``; files from long before ``since`` (Unix time) are left alone, as are ``known`` ones."""
        self._sources = sources
        self._since = since
        self._listings = Listings()
        self._seen: dict[Path, Listing] = {}  # the listings whose files were looked at
        self._waiting: dict[Path, PendingFlows] = {}
        self._submitted: dict[Path, str | None] = {}
        self._missing: dict[Path, float] = {}  # of those in ``_waiting``: when each was first missing
        self._unmatched: set[Path] = set()  # patterns of which the log has reported that there is no such folder
        self._unreadable: set[Path] = set()  # folders of which it has reported that they cannot be read
        self._looked = float("-inf")
        self._known: dict[Path, dict[str, Stamp]] = {}
        for path, stamp in known.items():
            self._known.setdefault(path.parent, {})[path.name] = stamp

    def submit_files(self, path: Path, flow_exporter: str | None) -> None:
        """Have a file read wherever it lies."""
        self._submitted[path] = flow_exporter
        self._looked = float("-inf")

    def pending(self) -> list[PendingFlows]:
        """Return the files to read, oldest first; looks at the folders once a second at most."""
        if time.monotonic() - self._looked >= _LOOK_SECONDS:
            self._looked = time.monotonic()
            self._look()
        waiting = (file for path, file in self._waiting.items() if path not in self._missing)
        return sorted(waiting, key=lambda file: (file.begin or datetime.min, file.path))

    def done(self, file: PendingFlows) -> None:
        """Note that a file was read, or need not be."""
        if file.path.parent in self._seen:
            self._known.setdefault(file.path.parent, {})[file.path.name] = file.stamp
        self._waiting.pop(file.path, None)
        self._submitted.pop(file.path, None)
        # Somebody may have moved it from where it was seen first.
        for path in [path for path in self._missing if path.name == file.path.name]:
            if _owner(self._waiting[path]) == _owner(file):
                self._drop(path)

    def lost(self) -> list[Path]:
        """Return the files that vanished before they were read, each once."""
        patience = time.monotonic() - folders.SETTLED_SECONDS
        gone = [path for path, since in self._missing.items() if since < patience]
        for path in gone:
            log.warning("%s vanished before it was read", path)
            self._drop(path)
        return gone

    def _drop(self, path: Path) -> None:
        for kept in (self._missing, self._waiting, self._submitted):
            kept.pop(path, None)

    def _look(self) -> None:
        oldest = max(self._since - FIRST_SECONDS, time.time() - OLD_SECONDS)
        before = datetime.fromtimestamp(oldest, UTC).replace(tzinfo=None)
        found: dict[Path, tuple[str | None, str | None]] = {
            path: (name, None) for path, name in self._submitted.items()
        }
        for path, file in self._waiting.items():
            found.setdefault(path, (file.flow_exporter, file.folder))
        visited: set[Path] = set()
        for source in self._sources:
            for match in self._roots(source.path.absolute()):
                for path in self._changed(match.path, visited):
                    begin = begin_of(path.name)
                    if begin and begin >= before:
                        found[path] = (found.get(path, (None, None))[0] or source.exporter, match.part)
        # Folders that have vanished are forgotten; should one come back, the store knows its files.
        self._listings.keep(visited)
        self._seen = {folder: listing for folder, listing in self._seen.items() if folder in visited}
        self._known = {folder: done for folder, done in self._known.items() if folder in visited}
        for path, (flow_exporter, part) in found.items():
            self._look_at(path, flow_exporter, part)

    def _look_at(self, path: Path, flow_exporter: str | None, part: str | None) -> None:
        try:
            file = pending_file(path, flow_exporter, part)
        except OSError as error:
            if path in self._waiting or path in self._submitted:
                if path not in self._waiting:
                    self._waiting[path] = PendingFlows(path, flow_exporter, flow_exporter_of(path), None, (0, 0), False)
                self._missing.setdefault(path, time.monotonic())
            log.debug("%s: %s", path, error)
            return
        self._missing.pop(path, None)
        if path not in self._submitted and self._known.get(path.parent, {}).get(path.name) == file.stamp:
            self._waiting.pop(path, None)
        else:
            self._waiting[path] = file

    def _roots(self, pattern: Path) -> list[Match]:
        """Return the folders that a pattern matches; the log reports once that there is none."""
        folders = expand_folders(pattern)
        if folders:
            self._unmatched.discard(pattern)
        elif pattern not in self._unmatched:
            self._unmatched.add(pattern)
            log.warning("%s: no such folder; the collector keeps looking for it", pattern)
        return folders

    def _changed(self, folder: Path, visited: set[Path]) -> Iterator[Path]:
        """Yield the files of the folders, this one and all below it, that have changed since the last look."""
        if folder in visited:
            return
        try:
            listing = self._listings.read(folder)
        except OSError as error:
            if folder not in self._unreadable:
                self._unreadable.add(folder)
                log.warning("%s cannot be read: %s", folder, error.strerror)
            return
        visited.add(folder)
        self._unreadable.discard(folder)
        if self._seen.get(folder) is not listing:
            self._seen[folder] = listing
            files = [name for name in listing.files if is_finished(name)]
            done = self._known.get(folder, {})
            self._known[folder] = {name: done[name] for name in files if name in done}
            yield from (folder / name for name in files)
        for name in listing.folders:
            yield from self._changed(folder / name, visited)


def _owner(file: PendingFlows) -> str:
    return file.flow_exporter or file.folder
