"""Finds the flow files to read: those that nfcapd leaves in the folders that are followed, and those handed over."""

import errno
import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from glob import glob, has_magic
from pathlib import Path
from typing import Final

from dnsvigil.config.collector import NetflowSource
from dnsvigil.sources.netflow.flow_file import begin_of, flow_exporter_of, is_finished
from dnsvigil.system.files import check_file, path_text

log = logging.getLogger(__name__)

SETTLED_SECONDS: Final = 60
"""A file that nobody has touched for so long is taken as finished."""

FIRST_SECONDS: Final = 86400
"""At the very first start, files from longer ago than this are left alone."""

OLD_SECONDS: Final = 30 * 86400
"""A file from so long ago is left alone: what tells that it was read may be forgotten, which takes longer."""

_LOOK_SECONDS: Final = 1.0  # between two looks at the folders
_GRAIN: Final = 2 * 10**9  # nanoseconds within which a folder can change again and show no other time

Stamp = tuple[int, int]
"""Size and time of the last change, in nanoseconds; changes when the file does."""


@dataclass(frozen=True)
class PendingFlows:
    """A flow file that is to be read."""

    path: Path
    flow_exporter: str | None  # as the configuration, or who handed it over, calls it
    folder: str  # how it is called where the file does not say it either
    begin: datetime | None  # the time in its name; UTC, as all here
    stamp: Stamp
    settled: bool


class OutsideError(OSError):
    """A file that is handed over lies below no folder that the configuration names."""

    def __init__(self, path: Path) -> None:
        super().__init__(errno.EPERM, "it lies below no folder of sources.netflow in the configuration", str(path))

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}"


def pending_file(path: Path, flow_exporter: str | None = None, folder: str | None = None) -> PendingFlows:
    """Return a file that is given, as one to read. Raises ``OSError``."""
    path = path.absolute()
    status = path.stat()
    settled = time.time() - status.st_mtime > SETTLED_SECONDS
    stamp = (status.st_size, status.st_mtime_ns)
    return PendingFlows(path, flow_exporter, folder or flow_exporter_of(path), begin_of(path.name), stamp, settled)


def below_sources(path: Path, sources: Iterable[NetflowSource]) -> bool:
    """Tell whether a path without symbolic links lies below one of the folders that are followed."""
    folders = (name for source in sources for name in glob(str(source.path.absolute())))  # noqa: PTH207
    return any(path.is_relative_to(os.path.realpath(folder)) for folder in folders)


def resolve_submitted(path: Path, sources: Iterable[NetflowSource]) -> Path:
    """Return the path of a file that is handed over, without symbolic links. One that is not there yet may come.

    Raises ``OSError`` for one that is no regular file, or lies below no folder that is followed.
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
        self._folders: dict[Path, _Folder] = {}
        self._waiting: dict[Path, PendingFlows] = {}
        self._submitted: dict[Path, str | None] = {}
        self._missing: dict[Path, float] = {}  # of those that waited: when each was first not there
        self._said: set[Path] = set()
        self._looked = float("-inf")
        self._known: dict[Path, dict[str, Stamp]] = {}
        for path, stamp in known.items():
            self._known.setdefault(path.parent, {})[path.name] = stamp

    def submit_files(self, path: Path, flow_exporter: str | None) -> None:
        """Have a file read wherever it lies."""
        self._submitted[path] = flow_exporter
        self._looked = float("-inf")

    def pending(self) -> list[PendingFlows]:
        """Return the files that are to be read, oldest first; looks at the folders once a second at most."""
        if time.monotonic() - self._looked >= _LOOK_SECONDS:
            self._looked = time.monotonic()
            self._look()
        waiting = (file for path, file in self._waiting.items() if path not in self._missing)
        return sorted(waiting, key=lambda file: (file.begin or datetime.min, file.path))

    def done(self, file: PendingFlows) -> None:
        """Take note that a file was read, or need not be."""
        if file.path.parent in self._folders:
            self._known.setdefault(file.path.parent, {})[file.path.name] = file.stamp
        self._waiting.pop(file.path, None)
        self._submitted.pop(file.path, None)
        # It may have been seen elsewhere before somebody moved it.
        for path in [path for path in self._missing if path.name == file.path.name]:
            if _owner(self._waiting[path]) == _owner(file):
                self._drop(path)

    def lost(self) -> list[Path]:
        """Return the files that vanished before they were read, each once."""
        patience = time.monotonic() - SETTLED_SECONDS
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
            for folder, part in self._roots(source.path):
                for path in self._changed(folder, visited):
                    begin = begin_of(path.name)
                    if begin and begin >= before:
                        found[path] = (found.get(path, (None, None))[0] or source.exporter, part)
        # Of a folder that is not there any more nothing is kept; should it come back, the store knows its files.
        self._folders = {folder: listing for folder, listing in self._folders.items() if folder in visited}
        self._known = {folder: read for folder, read in self._known.items() if folder in visited}
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

    def _roots(self, pattern: Path) -> Iterator[tuple[Path, str | None]]:
        """Yield each folder that the pattern matches, with the part that its first wildcard did."""
        pattern = pattern.absolute()
        wild = next((i for i, part in enumerate(pattern.parts) if has_magic(part)), None)
        folders = [Path(name) for name in sorted(glob(str(pattern)))]  # noqa: PTH207 (the pattern is a whole path)
        folders = [folder for folder in folders if folder.is_dir()]
        if folders:
            self._said.discard(pattern)
        elif pattern not in self._said:
            self._said.add(pattern)
            log.warning("%s: no such folder; the collector keeps looking for it", pattern)
        for folder in folders:
            yield folder, folder.parts[wild] if wild is not None else None

    def _changed(self, folder: Path, visited: set[Path]) -> Iterator[Path]:
        """Yield the files of this folder and of those below it that have changed since the last look."""
        if folder in visited:
            return
        visited.add(folder)
        known = self._folders.get(folder)
        try:
            changed = folder.stat().st_mtime_ns
            if not known or known.changed != changed or time.time_ns() - changed < _GRAIN:
                known = self._folders[folder] = _Folder.read(folder, changed)
                read = self._known.get(folder, {})
                self._known[folder] = {name: read[name] for name in known.files if name in read}
                yield from (folder / name for name in known.files)
        except OSError as error:
            visited.discard(folder)
            if folder not in self._said:
                self._said.add(folder)
                log.warning("%s cannot be read: %s", folder, error.strerror)
            return
        self._said.discard(folder)
        for below in known.folders:
            yield from self._changed(below, visited)


@dataclass(frozen=True)
class _Folder:
    """What a folder holds, and when that last changed."""

    changed: int
    files: list[str]
    folders: list[Path]

    @classmethod
    def read(cls, folder: Path, changed: int) -> "_Folder":
        files, folders = [], []
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(Path(entry.path))
                elif is_finished(entry.name):
                    files.append(entry.name)
        return cls(changed, files, sorted(folders))


def _owner(file: PendingFlows) -> str:
    return file.flow_exporter or file.folder
