"""Lists of bad domains, addresses and networks that the operator puts in a folder.

A file is a list, known by its content: entries one a line, hosts files and maltrail's trails; response policy zones
(RPZ); MISP's CSV export; under any compression that logs may have. An entry that cannot be used is counted by reason,
and the others are used. In memory an entry is 12 bytes, a hash of 64 bits and the number of its list.
"""

import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dnsvigil.sources.aside import Aside
from dnsvigil.sources.blocklists.addresses import Length, covering
from dnsvigil.sources.blocklists.list_file import ListFile, read_hashes
from dnsvigil.sources.folders import is_unfinished, stamp_of
from dnsvigil.system.files import NotAFileError, path_text

log = logging.getLogger(__name__)

_MAX_NAMES: Final = 20_000_000
_UNREAD: Final = -1  # instead of the number of a list


@dataclass(frozen=True)
class Listed:
    """A name or address on a list.

    ``entry`` is that, or the domain or network that it lies in; ``lists`` are the lists with that entry.
    """

    entry: str
    lists: tuple[str, ...]


class DomainLists:
    """The lists of one folder. :meth:`reload` and :meth:`match` may run in threads of their own."""

    def __init__(self, folder: Path, max_names: int = _MAX_NAMES, set_aside: Aside | None = None) -> None:
        """Hold up to ``max_names`` entries of the files below ``folder``; nothing is read yet.

        A list that fails unexpectedly goes to ``set_aside``.
        """
        self._folder = folder
        self._set_aside = set_aside
        self._max_names = max_names
        self._files: dict[Path, tuple[int, ListFile]] = {}  # with the number of the list among the entries
        self._next = 0
        # Replaced as one, so that a match sees either the old lists or the new ones: hashes in ascending order, the
        # number of each one's list, the names of the lists by number, and the lengths of the prefixes that there are.
        self._entries = (np.zeros(0, np.int64), np.zeros(0, np.int32), dict[int, str](), frozenset[Length]())
        self.version = 0
        """Another number once the entries are others."""

    @property
    def files(self) -> list[ListFile]:
        """What is known of each list, in the order of their names."""
        return sorted((file for _, file in self._files.values()), key=lambda file: file.name)

    @property
    def paths(self) -> list[Path]:
        """The files of the lists."""
        return [*self._files]

    @property
    def has_addresses(self) -> bool:
        """Whether there are addresses or networks among the entries."""
        return bool(self._entries[3])

    @property
    def addresses(self) -> dict[str, list[str]]:
        """Some addresses and networks among the entries, each with the names of its lists."""
        found: dict[str, list[str]] = {}
        for file in self.files:
            for address in sorted(file.addresses):
                found.setdefault(address, []).append(file.name)
        return found

    def __len__(self) -> int:
        return len(self._entries[0])

    def reload(self) -> bool:
        """Read the lists that are new or have changed and forget those that are gone; return whether there were any.

        A list that cannot be read any more stays as it was, with its ``error``. Raises ``OSError`` where the folder
        cannot be read; all lists then stay.
        """
        present = {path: _stamp(path) for path in _find_lists(self._folder)}
        gone = [path for path in self._files if path not in present]
        changed = [
            path for path, stamp in present.items() if path not in self._files or self._files[path][1].stamp != stamp
        ]
        stale = [self._files.pop(path)[0] for path in gone]
        found: dict[int, NDArray[np.int64]] = {}
        for path in changed:
            number, known = self._files.get(path, (_UNREAD, None))
            file = ListFile(path_text(path.relative_to(self._folder)), present[path])
            others = sum(other.names for where, (_, other) in self._files.items() if where != path)
            try:
                hashes = read_hashes(path, file, max(self._max_names - others, 0))
            except Exception as error:  # whatever it is, the other lists are read
                known = known or ListFile(file.name, ())
                self._refuse(path, known, error, file.stamp)
                self._files[path] = (number, known)
                continue
            if self._set_aside:
                self._set_aside.release("list", path)
            stale.append(number)
            self._files[path] = (self._next, file)
            found[self._next] = hashes
            self._next += 1
        if stale:
            self._replace(stale, found)
        return bool(stale)

    def _refuse(self, path: Path, known: ListFile, error: Exception, stamp: tuple[int, ...]) -> None:
        """Note on what is known of a list why it cannot be read, and set it aside where reading again cannot help."""
        reason = (error.strerror if isinstance(error, OSError) else "") or str(error) or type(error).__name__
        if known.error != reason:
            log.warning("list %s cannot be read: %s", path, reason)
        known.error = reason
        if self._set_aside and (isinstance(error, NotAFileError) or not isinstance(error, OSError)):
            self._set_aside.put("list", path, error, stamp)
            known.stamp = stamp  # not read again before it changes

    def _replace(self, stale: list[int], found: dict[int, NDArray[np.int64]]) -> None:
        """Replace the entries of the lists with ``stale`` numbers by those that were found, by number."""
        hashes, owners, *_ = self._entries
        kept = ~np.isin(owners, stale)
        hashes = np.concatenate([hashes[kept], *found.values()])
        owners = np.concatenate([owners[kept], *(np.full(len(each), n, np.int32) for n, each in found.items())])
        order = np.argsort(hashes, kind="stable")
        names = {number: file.name for number, file in self._files.values()}
        lengths = frozenset[Length]().union(*(file.lengths for _, file in self._files.values()))
        self._entries = (hashes[order], owners[order], names, lengths)
        self.version += 1

    def match(self, names: Iterable[str]) -> dict[str, Listed]:
        """Return the names and addresses, of those as in the records, that are on a list or lie in an entry of one.

        Where a name lies in several entries, the longest is returned.
        """
        hashes, owners, lists, lengths = self._entries
        if not len(hashes):
            return {}
        pairs = [(name, tail) for name in names for tail in (*covering(name, lengths), *tails(name))]
        asked = np.fromiter((hash(tail.encode()) for _, tail in pairs), np.int64, len(pairs))
        first = np.searchsorted(hashes, asked)
        hit = np.flatnonzero(hashes[np.minimum(first, len(hashes) - 1)] == asked)
        last = np.searchsorted(hashes, asked[hit], side="right")
        found: dict[str, Listed] = {}
        for place, end in zip(hit.tolist(), last.tolist(), strict=True):
            name, tail = pairs[place]
            if name not in found:
                found[name] = Listed(tail, tuple(sorted(lists[owner] for owner in owners[first[place] : end].tolist())))
        return found


def tails(name: str) -> Iterator[str]:
    """Yield the name, and the names of two labels and more that it lies in, longest first."""
    start = 0
    while (dot := name.find(".", start)) > 0:
        yield name[start:]
        start = dot + 1


def _find_lists(folder: Path) -> list[Path]:
    """Return the finished files below a folder. Raises ``OSError``."""

    def fail(error: OSError) -> None:
        raise error

    return sorted(
        path
        for parent, _, names in os.walk(folder, onerror=fail)
        for name in names
        if not is_unfinished(name) and (path := Path(parent, name)).exists()
    )


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        return stamp_of(path.stat())
    except OSError:
        return ()
