"""Folders that are followed and paths that are given: wildcards, listings, and when a file is finished or old."""

import os
import time
from collections.abc import Container
from dataclasses import dataclass
from fnmatch import fnmatchcase
from glob import glob, has_magic
from pathlib import Path
from typing import Final

from dnsvigil.system.files import check_file

SETTLED_SECONDS: Final = 60
"""A file that nobody has written to for so long is taken as finished."""

OLD_SECONDS: Final = 30 * 86400
"""A file last written so long ago is left alone: how far it was read may be forgotten, which takes longer."""

_GRAIN: Final = 2 * 10**9  # nanoseconds within which a folder can change twice and show one time
_UNFINISHED: Final = ("~", ".tmp", ".part", ".swp", ".new")  # ends of names


@dataclass(frozen=True)
class Match:
    """A path that a pattern matches; ``part`` is what its first wildcard stands in, None in a pattern without any."""

    path: Path
    part: str | None


def expand(pattern: Path) -> list[Match]:
    """Return what there is at a path that may have wildcards, in order."""
    paths = [Path(name) for name in sorted(glob(str(pattern)))]  # noqa: PTH207 (the pattern is a whole path)
    return [_match(path, pattern) for path in paths]


def match_above(path: Path, pattern: Path) -> Match | None:
    """Return the folder above a path that a pattern matches by its names alone, None where none does."""
    above = path.parent.parts[: len(pattern.parts)]
    same = len(above) == len(pattern.parts) and all(map(fnmatchcase, above, pattern.parts))
    return _match(Path(*above), pattern) if same else None


def _match(path: Path, pattern: Path) -> Match:
    wild = next((place for place, part in enumerate(pattern.parts) if has_magic(part)), None)
    return Match(path, None if wild is None else path.parts[wild])


def expand_folders(pattern: Path) -> list[Match]:
    """Return the folders at a path that may have wildcards, in order."""
    return [match for match in expand(pattern) if match.path.is_dir()]


def files_below(path: Path) -> list[Path]:
    """Return the files below a folder, in order; a file that is given is itself.

    Folders whose names begin with a dot are left out: programs keep there what is for them alone, such as keys.

    Raises ``OSError`` for a path that is not there, or is neither a folder nor a regular file.
    """
    if path.is_dir():
        found = (file for file in path.rglob("*") if file.is_file())
        return sorted(file for file in found if not _is_hidden(file.relative_to(path).parent))
    check_file(path)
    return [path]


def _is_hidden(folder: Path) -> bool:
    return any(part.startswith(".") for part in folder.parts)


def is_settled(status: os.stat_result) -> bool:
    """Return whether nobody has written to a file for :data:`SETTLED_SECONDS`."""
    return time.time() - status.st_mtime > SETTLED_SECONDS


def is_unfinished(name: str) -> bool:
    """Return whether a file with this name is hidden, or still being written, as programs name such files."""
    return name.startswith(".") or name.endswith(_UNFINISHED)


def stamp_of(status: os.stat_result) -> tuple[int, int, int]:
    """Return what changes when the file does: inode, time of the last change in nanoseconds, and size."""
    return (status.st_ino, status.st_mtime_ns, status.st_size)


@dataclass(frozen=True, eq=False)
class Listing:
    """What a folder holds: the names of its folders, without links to folders, and of all else, in order."""

    changed: int  # nanoseconds
    folders: tuple[str, ...]
    files: tuple[str, ...]


class Listings:
    """The listings of folders; a folder is read again only when it has changed, and is else the same object."""

    def __init__(self) -> None:
        self._known: dict[Path, Listing] = {}

    def read(self, folder: Path) -> Listing:
        """Return what a folder holds now. Raises ``OSError``."""
        changed = folder.stat().st_mtime_ns
        known = self._known.get(folder)
        if known and known.changed == changed and time.time_ns() - changed >= _GRAIN:
            return known
        folders: list[str] = []
        files: list[str] = []
        with os.scandir(folder) as entries:
            for entry in entries:
                (folders if entry.is_dir(follow_symlinks=False) else files).append(entry.name)
        listing = self._known[folder] = Listing(changed, tuple(sorted(folders)), tuple(sorted(files)))
        return listing

    def keep(self, folders: Container[Path]) -> None:
        """Forget all other folders."""
        self._known = {folder: listing for folder, listing in self._known.items() if folder in folders}
