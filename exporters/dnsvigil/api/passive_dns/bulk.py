"""Many questions as one, so that no part of a file is read twice and each tuple is found once."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from dnsvigil.api.passive_dns.question import Question
from dnsvigil.api.passive_dns.reader import Reader
from dnsvigil.store.tuple_file import SORTED_BY, Order
from dnsvigil.store.tuple_keys import Range, united

_FEW: Final = 200  # ranges that are read one by one; reading all between them costs less for more


def together(questions: Iterable[Question]) -> list["Questions"]:
    """Return the questions as one for each order. All have the same type, bailiwick and fences."""
    by_order: dict[Order, list[Question]] = {}
    for question in questions:
        by_order.setdefault(question.order, []).append(question)
    found: list[Questions] = []
    for order, parts in sorted(by_order.items()):
        found.append(Questions(order, parts, found[-1] if found else None))
    return found


@dataclass(frozen=True)
class Questions:
    """Questions of one order, of which a tuple has to fit one."""

    order: Order
    parts: Sequence[Question]
    others: "Questions | None" = None  # of which it must fit none, since they have found it already

    def read(self, reader: Reader, deadline: float) -> Iterator[pa.Table]:
        """Yield the tuples that are asked for. Raises what the reader raises."""
        keys = self._keys.to_pylist()
        if keys:
            for chunk in reader.with_keys(self.order, keys, deadline=deadline, select=self._new):
                yield self.parts[0].answer(chunk)
        ranges = united([*self._wide, *(each for part in self._patterned for each in part.ranges)])
        if len(ranges) > _FEW:
            ranges = [(ranges[0][0], ranges[-1][1])]
        for low, high in ranges:
            for chunk in reader.chunks(self.order, low, high, deadline=deadline, select=self._select):
                yield self.parts[0].answer(chunk)

    def _new(self, table: pa.Table) -> pa.Table:
        """Return the rows with a right type that the other questions have not found."""
        table = self.parts[0].of_type(table)
        if self.others is None or not table.num_rows:
            return table
        return table.filter(pc.invert(self.others._fit(table)))

    def _select(self, table: pa.Table) -> pa.Table:
        """Return the rows in the ranges, with a right type, that nothing else has found."""
        table = self._new(table)
        if not table.num_rows:
            return table
        return table.filter(pc.and_not(self._fit_range(table), self._fit_key(table)))

    def _fit(self, table: pa.Table) -> pa.ChunkedArray:
        return pc.or_(self._fit_key(table), self._fit_range(table))

    def _fit_key(self, table: pa.Table) -> pa.ChunkedArray:
        return pc.is_in(table[SORTED_BY[self.order][0]], self._keys)

    def _fit_range(self, table: pa.Table) -> pa.ChunkedArray:
        """Return which rows of a table, which is not empty, have a key in the ranges that fits."""
        keys = table[SORTED_BY[self.order][0]]
        first, last = pc.min(keys).as_py(), pc.max(keys).as_py()
        mask = pa.chunked_array([pa.repeat(False, len(keys))])
        for low, high in self._wide[max(bisect_left(self._wide, (first,)) - 1, 0) :]:
            if low > last:
                break
            mask = pc.or_(mask, _between(keys, low, high))
        for part in self._patterned:
            fits = pc.match_substring_regex(keys, part.pattern)
            for low, high in part.ranges:
                mask = pc.or_(mask, pc.and_(fits, _between(keys, low, high)))
        return mask

    @cached_property
    def _keys(self) -> pa.Array:
        return pa.array([low for low, high in self._plain if high == f"{low}\0"], pa.string())

    @cached_property
    def _wide(self) -> Sequence[Range]:
        return united((low, high) for low, high in self._plain if high != f"{low}\0")

    @cached_property
    def _plain(self) -> Sequence[Range]:
        return [each for part in self.parts if part.pattern is None for each in part.ranges]

    @cached_property
    def _patterned(self) -> Sequence[Question]:
        return [part for part in self.parts if part.pattern is not None]


def _between(keys: pa.ChunkedArray, low: str, high: str) -> pa.ChunkedArray:
    return pc.and_(pc.greater_equal(keys, low), pc.less(keys, high))
