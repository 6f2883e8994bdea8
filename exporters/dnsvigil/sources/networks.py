"""Tables of networks that the operator keeps: which AS number and country addresses belong to.

Two formats are read: the CSV of ip-location-db (first and last address, then an AS number or a country code; in text or
as numbers), and the text of pyasn (a prefix and an AS number). Files may be compressed.
"""

import csv
import socket
import threading
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dnsvigil.sources.decompressed import BrokenFileError, DecompressedFile

_IPV4: Final = 0xFFFF << 32  # IPv4 addresses are numbered as those that IPv6 maps them to (RFC 4291)
_BYTES: Final = 16
_PIECE: Final = 2**20
_READING: Final = threading.Lock()
_READ: Final[dict[tuple[Path, ...], "Networks"]] = {}  # the last


class NetworkTableError(Exception):
    """A table of networks cannot be read, or none is in the file."""


class Range(NamedTuple):
    """The addresses from one number to another, and what they belong to."""

    first: int
    last: int
    value: int | str  # AS number or country code


class Networks:
    """The AS numbers and countries of addresses."""

    def __init__(self, paths: Iterable[Path]) -> None:
        """Read tables; where several have an address, the smallest network counts.

        Raises :class:`NetworkTableError`, and ``OSError``.
        """
        self.skipped = 0
        """Lines that are no network."""
        found = [each for path in paths for each in self._read(path)]
        self._asns = _Table([each for each in found if isinstance(each.value, int)])
        self._countries = _Table([each for each in found if isinstance(each.value, str)])

    def places(self, addresses: Sequence[str]) -> tuple[list[int | None], list[str | None]]:
        """Return the AS numbers, and the countries, of addresses; None for what no table has."""
        keys = _keys(map(_number, addresses))
        return self._asns.values(keys), self._countries.values(keys)

    def _read(self, path: Path) -> Iterator[Range]:
        some = False
        try:
            for row in csv.reader(_lines(path)):
                found = _range_of(row)
                if found:
                    some = True
                    yield found
                elif row and not row[0].startswith(";"):
                    self.skipped += 1
        except (BrokenFileError, UnicodeDecodeError, csv.Error) as error:
            raise NetworkTableError(f"{path}: {error}") from error
        if not some:
            raise NetworkTableError(f"{path}: no table of networks, as ip-location-db or pyasn has them")


def networks_of(paths: Sequence[Path]) -> Networks:
    """Return the tables in files, which are read once for all who ask: they take seconds, and much memory.

    Raises as :class:`Networks`.
    """
    key = tuple(paths)
    with _READING:
        if key not in _READ:
            found = Networks(paths)
            _READ.clear()
            _READ[key] = found
        return _READ[key]


class _Table:
    """Ranges that do not overlap, in order."""

    def __init__(self, ranges: list[Range]) -> None:
        ordered = sorted(ranges, key=lambda each: (each.first, -each.last))
        if any(after.first <= before.last for before, after in pairwise(ordered)):
            ordered = list(_apart(ordered))
        self._firsts = _keys(each.first for each in ordered)
        self._lasts = _keys(each.last for each in ordered)
        self._values = [each.value for each in ordered]

    def values(self, keys: NDArray[Any]) -> list[Any]:
        """Return the value of each address."""
        places = np.searchsorted(self._firsts, keys, "right") - 1
        if not len(self._values):
            return [None] * len(keys)
        inside = (places >= 0) & (keys <= self._lasts[places])
        return [self._values[place] if found else None for place, found in zip(places, inside, strict=True)]


def _apart(ordered: Iterable[Range]) -> Iterator[Range]:
    """Yield ranges so that each address is in the smallest that has it; they lie within each other or apart."""
    around: list[Range] = []  # the ranges that the next may lie in, the largest first
    at = 0
    for each in ordered:
        while around and around[-1].last < each.first:
            outer = around.pop()
            if at <= outer.last:
                yield Range(at, outer.last, outer.value)
                at = outer.last + 1
        if around and at < each.first:
            yield Range(at, each.first - 1, around[-1].value)
        at = max(at, each.first)
        around.append(each)
    while around:
        outer = around.pop()
        if at <= outer.last:
            yield Range(at, outer.last, outer.value)
            at = outer.last + 1


def _lines(path: Path) -> Iterator[str]:
    """Yield lines as CSV, to which pyasn's tabs are turned."""
    with DecompressedFile(path) as file:
        left = b""
        while piece := file.read(_PIECE):
            *lines, left = (left + piece).split(b"\n")
            for line in lines:
                yield line.decode().replace("\t", ",")
        if left:
            yield left.decode().replace("\t", ",")


def _range_of(row: Sequence[str]) -> Range | None:
    try:
        if "/" in row[0]:
            network, length = row[0].split("/")
            first = _number(network)
            size = 1 << ((128 if ":" in network else 32) - int(length))
            return Range(first, first + size - 1, int(row[1]))
        first, last, value = _number(row[0]), _number(row[1]), row[2]
    except (ValueError, OSError, IndexError):
        return None
    if not first <= last:
        return None
    if value.isdecimal():
        return Range(first, last, int(value))
    return Range(first, last, value) if len(value) == 2 and value.isalpha() else None


def _number(address: str) -> int:
    """Return the number of an address. Raises ``OSError`` and ``ValueError`` for what is none."""
    if ":" in address:
        return int.from_bytes(socket.inet_pton(socket.AF_INET6, address))
    if "." in address:
        return _IPV4 | int.from_bytes(socket.inet_pton(socket.AF_INET, address))
    number = int(address)
    return number | _IPV4 if number < 2**32 else number


def _keys(numbers: Iterable[int]) -> NDArray[Any]:
    """Return numbers in an array that compares as they do."""
    return np.array([number.to_bytes(_BYTES) for number in numbers], f"S{_BYTES}")
