"""One list: its format, known by its content, and its names as hashes."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dnsvigil.sources.blocklists.addresses import Length, length_of
from dnsvigil.sources.blocklists.hosts import Hosts
from dnsvigil.sources.blocklists.misp import MispExport, columns_of
from dnsvigil.sources.blocklists.rpz import PolicyZone, is_policy_zone
from dnsvigil.sources.decompressed import BrokenFileError, DecompressedFile

MAX_ADDRESSES: Final = 20_000
"""How many addresses and networks of a list are kept as texts, to be looked for in flows."""

_CHUNK: Final = 2**20  # bytes, uncompressed
_MAX_LINE: Final = 2**16
_AT_ONCE: Final = 2**18  # names
_LETTERS: Final = ord("a")  # and what is above, in which most names end


@dataclass
class ListFile:
    """What was read of one list, what was skipped and why."""

    name: str  # its path below the folder
    stamp: tuple[int, ...]  # changes when the file does
    names: int = 0  # addresses and networks among them
    skipped: Counter[str] = field(default_factory=Counter)
    error: str = ""
    lengths: set[Length] = field(default_factory=set)  # of the prefixes of networks among the names
    addresses: set[str] = field(default_factory=set)  # with networks, among the names, the first ``MAX_ADDRESSES``

    @property
    def changed(self) -> float | None:
        """Return when the file was last changed, in seconds since 1970; None for one that is not there."""
        return self.stamp[1] / 1e9 if self.stamp else None


def read_hashes(path: Path, file: ListFile, room: int) -> NDArray[np.int64]:
    """Return the hashes of a list's names, ascending and each once, ``room`` at most, and count them in ``file``.

    Raises ``OSError``.
    """
    found = np.zeros(0, np.int64)
    with DecompressedFile(path) as content:
        names = _noting(_names(_chunks(content, file.skipped), file.skipped), file)
        parts = [found]
        waiting = 0
        while True:
            # Every process has a key of its own for hash(), so nobody can make names that collide.
            part = np.fromiter(map(hash, islice(names, _AT_ONCE)), np.int64)
            parts.append(part)
            waiting += len(part)
            if not len(part) or waiting > max(len(found), 4 * _AT_ONCE):
                found = np.concatenate(parts)
                found.sort()  # np.unique takes several times the memory
                first = np.ones(len(found), np.bool_)
                first[1:] = found[1:] != found[:-1]
                found = found[first]
                if len(found) > room:
                    file.skipped["too_many"] += len(found) - room
                    found = found[:room]
                parts, waiting = [found], 0
            if not len(part):
                break
    file.names = len(found)
    return found


def _noting(names: Iterator[bytes], file: ListFile) -> Iterator[bytes]:
    """Yield names, and note the lengths of the prefixes among them, and some addresses."""
    for name in names:
        if (name[-1] < _LETTERS or b":" in name) and (length := length_of(name.decode())):
            file.lengths.add(length)
            if len(file.addresses) < MAX_ADDRESSES:
                file.addresses.add(name.decode())
        yield name


def read_names(path: Path) -> Iterator[bytes]:
    """Yield a list's names as they stand in it, some perhaps more than once. Raises ``OSError``."""
    skipped: Counter[str] = Counter()
    with DecompressedFile(path) as content:
        yield from _names(_chunks(content, skipped), skipped)


def _chunks(content: DecompressedFile, skipped: Counter[str]) -> Iterator[bytes]:
    """Yield whole lines in lower case, many at a time."""
    rest, too_long = b"", False
    while True:
        try:
            data = content.read(_CHUNK)
        except BrokenFileError:
            skipped["truncated"] += 1  # with the rest, which may be half a name
            return
        if not data:
            if rest:
                yield rest.lower()
            return
        if too_long:
            _, end, data = data.partition(b"\n")
            if not end:
                continue
        data = rest + data
        cut = data.rfind(b"\n") + 1
        if cut:
            yield data[:cut].lower()
        rest = data[cut:]
        too_long = len(rest) > _MAX_LINE
        if too_long:
            skipped["too_long"] += 1
            rest = b""


def _names(chunks: Iterator[bytes], skipped: Counter[str]) -> Iterator[bytes]:
    """Yield the names of a list in whichever format its beginning shows."""
    first = next(chunks, b"").removeprefix(b"\xef\xbb\xbf")
    head, _, rest = first.partition(b"\n")
    reader: Hosts | PolicyZone | MispExport
    if columns := columns_of(head):
        reader, first = MispExport(columns, skipped), rest
    elif is_policy_zone(first):
        reader = PolicyZone(skipped)
    else:
        reader = Hosts(skipped)
    yield from reader.names(first)
    for chunk in chunks:
        yield from reader.names(chunk)
