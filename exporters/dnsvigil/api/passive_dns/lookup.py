"""Asks the tuples a question, and gives what is found in sets of records, as records or as a sum."""

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import pyarrow as pa

from dnsvigil.api.passive_dns.reader import Reader

MAX_RDATA: Final = 1000
"""How many records of one name and type are put together at most."""

SECONDS: Final = 60.0
"""How long a look-up may take."""


class Asked(Protocol):
    """A question, or several as one."""

    def read(self, reader: Reader, deadline: float) -> Iterator[pa.Table]:
        """Yield the tuples that are asked for. Raises what the reader raises."""


class LimitedError(Exception):
    """There is more than what was given; the message says why."""


@dataclass(slots=True)
class Found:
    """Records with the same name and type: the sum of their counts, and the bounds of their times."""

    rrname: str
    rrtype: str
    rdata: list[str]
    bailiwick: str | None
    time_first: int  # seconds since 1970, as the next
    time_last: int
    count: int
    sensors: int  # a bit for each

    def add(self, other: "Found") -> None:
        """Add the count and times of another."""
        self.time_first = min(self.time_first, other.time_first)
        self.time_last = max(self.time_last, other.time_last)
        self.count += other.count
        self.sensors |= other.sensors


Finds = Iterator[Found | None]
"""What is found; None wherever it takes time to find more."""


def records(reader: Reader, questions: Iterable[Asked], deadline: float | None = None) -> Finds:
    """Yield each tuple as one record, in the order of the reader.

    ``deadline`` is of ``time.monotonic``, by default ``SECONDS`` from now. Raises what the reader raises, and
    :class:`LimitedError` at the end where files could not be read.
    """
    end = deadline_of(reader) if deadline is None else deadline
    for question in questions:
        for table in question.read(reader, end):
            yield from _rows(table)
            yield None
    if missing := len(reader.unreadable):
        files = "1 file" if missing == 1 else f"{missing} files"
        raise LimitedError(f"{files} of passive DNS cannot be read, so there may be more")


def deadline_of(reader: Reader) -> float:
    """Return when a look-up that begins now is to end, of ``time.monotonic``."""
    return time.monotonic() + SECONDS if reader.timed else math.inf


def record_sets(found: Finds) -> Finds:
    """Yield sets of records of the same name, type and bailiwick, with ``MAX_RDATA`` records at most."""
    sets: dict[str | None, Found] = {}
    owner: tuple[str, str] | None = None
    held = 0
    for each in found:
        if each is None:
            yield None
            continue
        if (each.rrname, each.rrtype) != owner or held >= MAX_RDATA:
            yield from sets.values()
            sets, owner, held = {}, (each.rrname, each.rrtype), 0
        held += 1
        if known := sets.get(each.bailiwick):
            known.rdata += each.rdata
            known.add(each)
        else:
            sets[each.bailiwick] = each
    yield from sets.values()


def without_bailiwick(found: Finds) -> Finds:
    """Yield records that are found by their data: one for each name, type and data."""
    last: Found | None = None
    for each in found:
        if each is None:
            yield None
        elif last and (each.rrname, each.rrtype, each.rdata) == (last.rrname, last.rrtype, last.rdata):
            last.add(each)
        else:
            if last:
                yield last
            last = each
            last.bailiwick = None
    if last:
        yield last


def page(found: Finds, offset: int, limit: int) -> Finds:
    """Yield ``limit`` of what is found, after ``offset``. Raises :class:`LimitedError` where there are more."""
    number = 0
    for each in found:
        if each is None:
            yield None
            continue
        number += 1
        if number > offset + limit:
            raise LimitedError("Result limit reached")
        if number > offset:
            yield each


def summary(found: Finds, max_count: int | None) -> Iterator[Mapping[str, int] | None]:
    """Yield the number of what is found, the sum of counts and the bounds of times, as DNSDB does.

    Where the sum reaches ``max_count``, or something raises :class:`LimitedError`, the summary is of what was found
    before, and the error is raised after it.
    """
    whole: Found | None = None
    number = 0
    limited: LimitedError | None = None
    try:
        for each in found:
            if each is None:
                yield None
                continue
            number += 1
            if whole:
                whole.add(each)
            else:
                whole = each
            if max_count is not None and whole.count >= max_count:
                raise LimitedError("Count limit reached")
    except LimitedError as error:
        limited = error
    times = {"time_first": whole.time_first, "time_last": whole.time_last} if whole else {}
    yield {"count": whole.count if whole else 0, "num_results": number, **times}
    if limited:
        raise limited


def _rows(table: pa.Table) -> Iterator[Found]:
    columns = (table[name].to_pylist() for name in _COLUMNS)
    for rrname, rrtype, rdata, *others in zip(*columns, strict=True):
        yield Found(rrname, rrtype, [rdata], *others)


_COLUMNS: Final = ("rrname", "rrtype", "rdata", "bailiwick", "time_first", "time_last", "count", "sensors")
