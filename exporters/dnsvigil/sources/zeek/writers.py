"""The folders in which sensors' Zeeks write, and whose a log is."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from dnsvigil.config.collector import ZeekSource
from dnsvigil.records import Cursor
from dnsvigil.sources.folders import expand_folders
from dnsvigil.sources.zeek.cursors import Cursors
from dnsvigil.sources.zeek.head import Head
from dnsvigil.sources.zeek.log_names import ends_with, is_day, path_in, sensor_of
from dnsvigil.sources.zeek.log_types import DNS
from dnsvigil.system.files import path_text


@dataclass(frozen=True)
class Writer:
    """A folder in which a sensor's Zeek writes."""

    source: ZeekSource = field(compare=False)
    folder: Path
    sensor: str
    names: frozenset[str]  # what the sensor may be called in the names of rotated logs

    def log(self, name: str) -> str:
        """Return the path of a log, whichever way the folder is written."""
        return path_text(self.folder.resolve() / name)

    def archives(self, path: Path) -> Iterator[Path]:
        """Yield the folders where a rotated log at ``path`` lies if it is of this writer, one of them by its day."""
        if self.source.archive:
            yield self.source.archive.resolve()
        if is_day(day := path.resolve().parent.name):
            yield (self.source.archive or self.folder.parent).resolve() / day


def writers_of(sources: Iterable[ZeekSource]) -> list[Writer]:
    """Return a writer for each folder that the path of a source matches."""
    found = []
    for source in sources:
        for match in expand_folders(source.path):
            nearest = sensor_of(match.path / "dns.log")
            matched = match.part or nearest
            sensor = source.sensor or path_text(matched)
            found.append(Writer(source, match.path, sensor, frozenset((sensor, matched, nearest))))
    return found


def log_path(path: Path, head: Head) -> str:
    """Return which log a file is, by its name or else by what it begins with: its path as in Zeek."""
    return path_in(path.name) or (head.log_type or DNS).path


def find_cursor(
    cursors: Cursors, path: Path, head: Head, candidates: Sequence[Writer], writers: Iterable[Writer]
) -> Cursor:
    """Return the cursor of a file that may be of any of the ``candidates`` among all ``writers``."""
    log_name = log_path(path, head)
    named = _named_in(path.name, candidates)
    first = (named or candidates)[0]
    # Two logs may have the same short content; their names then decide which is whose.
    others = named if named and not head.is_unique else candidates
    cursor = cursors.find(
        first.sensor,
        head,
        first.log(log_name),
        among={writer.log(log_name) for writer in others},
        apart={writer.log(log_name) for writer in writers},
    )
    return cursor if len(candidates) > 1 else replace(cursor, sensor=first.sensor)


def _named_in(name: str, candidates: Sequence[Writer]) -> list[Writer]:
    """Return the writers that the end of a rotated log's name names; the longest name that fits counts."""
    named = [(len(called), writer) for writer in candidates for called in writer.names if ends_with(name, called)]
    longest = max((length for length, _ in named), default=0)
    return [writer for length, writer in named if length == longest]
