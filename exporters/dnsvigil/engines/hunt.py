"""Looks many indicators up in the whole history of passive DNS, piece by piece, so that it can stop in between."""

import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from dnsvigil.engines.tuples import TupleReader, decoded
from dnsvigil.sources.blocklists.addresses import length_of
from dnsvigil.store.tuple_file import SORTED_BY, Order
from dnsvigil.store.tuple_keys import NEGATIVE_TYPES, Range, key_of_name, network_range, united

MAX_SAMPLES: Final = 10
"""How many records of a hit are kept."""

_MAX_DATA: Final = 200  # characters of one


@dataclass(frozen=True)
class Indicator:
    """What is looked for: a name, all below a name, an address, or a network."""

    text: str  # for people
    order: Order
    ranges: Sequence[Range]  # of keys


def entry(text: str) -> Indicator:
    """Return the indicator of a list's entry: a name, which stands for all below it, an address or a network."""
    if length_of(text):
        return Indicator(text, "rdata", [network_range(ip_network(text))])
    key = key_of_name(text)
    return Indicator(text, "names", [(key, f"{key}\0"), (f"{key}.", f"{key}/")])  # the next character


@dataclass
class Hit:
    """What passive DNS has of an indicator. Times are in seconds since 1970."""

    time_first: int = 2**32
    time_last: int = 0
    count: int = 0
    records: dict[str, None] = field(default_factory=dict)  # samples, as text

    def add(self, tuples: pa.Table) -> None:
        """Add tuples, at least one, in the form of the store."""
        self.time_first = min(self.time_first, pc.min(tuples["time_first"]).as_py())
        self.time_last = max(self.time_last, pc.max(tuples["time_last"]).as_py())
        self.count += pc.sum(tuples["count"]).as_py()
        if len(self.records) < MAX_SAMPLES:
            for each in decoded(tuples.slice(0, MAX_SAMPLES)).to_pylist():
                data = "" if each["rrtype"] in NEGATIVE_TYPES else f" {each['rdata'][:_MAX_DATA]}"
                self.records.setdefault(f"{each['rrname']} {each['rrtype']}{data}")


class Hunt:
    """A hunt for some indicators, in the history as of its first step."""

    def __init__(self, reader: TupleReader, indicators: Sequence[Indicator]) -> None:
        self.indicators = indicators
        self.hits: dict[str, Hit] = {}
        """By the text of the indicator; all counts are complete once the hunt is."""
        self._reader = reader
        self._pieces = self._look()

    @property
    def unreadable(self) -> dict[Path, str]:
        """The files that could not be read, each with the reason: there may be more in them."""
        return self._reader.unreadable

    def step(self, seconds: float) -> bool:
        """Go on for so long, or little longer; return whether the hunt is complete.

        Raises :class:`dnsvigil.store.store.StoreError`.
        """
        end = time.perf_counter() + seconds
        return all(time.perf_counter() <= end for _ in self._pieces)

    def _look(self) -> Iterator[None]:
        for order in SORTED_BY:
            wanted = _Wanted(order, [each for each in self.indicators if each.order == order])
            if wanted.apart:
                for table in self._reader.apart(order, wanted.apart):
                    for text, found in wanted.of(table):
                        self.hits.setdefault(text, Hit()).add(found)
                    yield


class _Wanted:
    """The ranges of indicators of one order."""

    def __init__(self, order: Order, indicators: Sequence[Indicator]) -> None:
        self._key = SORTED_BY[order][0]
        self._all = sorted((low, high, each.text) for each in indicators for low, high in each.ranges)
        self._lows = [low for low, _, _ in self._all]
        self.apart = united((low, high) for low, high, _ in self._all)
        self._highs = [high for _, high in self.apart]

    def of(self, table: pa.Table) -> Iterator[tuple[str, pa.Table]]:
        """Yield the texts of indicators that a sorted table has tuples of, with these."""
        keys = table[self._key].to_pylist()
        place = 0
        while place < len(keys):
            # All ranges that a key lies in are among those that were united into one.
            first, last = self.apart[bisect_right(self._highs, keys[place])]
            for low, high, text in self._all[bisect_left(self._lows, first) : bisect_left(self._lows, last)]:
                begin = bisect_left(keys, low, place)
                end = bisect_left(keys, high, begin)
                if begin < end:
                    yield text, table.slice(begin, end - begin)
            place = bisect_left(keys, last, place)
