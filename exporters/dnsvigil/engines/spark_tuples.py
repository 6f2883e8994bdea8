"""Looks tuples of passive DNS up in Spark's tasks, of which each reads some of the files."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa

from dnsvigil.engines.spark import Cluster
from dnsvigil.engines.steps import packed, unpacked
from dnsvigil.engines.tuple_merge import engine, merged
from dnsvigil.engines.tuples import TupleReader, Wanted
from dnsvigil.store.store import Store
from dnsvigil.store.tuple_file import SCHEMA, Order, TupleFile, TupleFileError
from dnsvigil.store.tuple_keys import Range

Look: TypeAlias = Callable[[TupleFile], Iterator[pa.Table]]
Found: TypeAlias = tuple[bytes, Mapping[Path, str]]
"""Tuples, and the files that could not be read with the reasons."""


class ClusterTuples(TupleReader):
    """Reads the tuples of one store, whose files all workers find under the paths that they have here."""

    timed = False

    def __init__(self, store: Store, cluster: Cluster) -> None:
        super().__init__(lambda: store)
        self.cluster = cluster

    def _opened(self, paths: Sequence[Path], order: Order, wanted: Wanted) -> "Sequence[_Files]":
        return [_Files(self, paths, order, wanted)] if paths else []


class _Files:
    """Some files, as if they were one :class:`dnsvigil.store.tuple_file.TupleFile`."""

    def __init__(self, reader: ClusterTuples, paths: Sequence[Path], order: Order, wanted: Wanted) -> None:
        self.path = paths[0]
        self._reader, self._order, self._wanted = reader, order, wanted
        tasks = min(len(paths), 2 * reader.cluster.slots)
        self._portions = [paths[number::tasks] for number in range(tasks)]

    def tables(self, low: str, high: str) -> Iterator[pa.Table]:
        """Yield the tuples whose key lies from ``low`` to below ``high``, sorted, each once."""
        return self._merged(partial(TupleFile.tables, low=low, high=high))

    def with_keys(self, keys: Sequence[str]) -> Iterator[pa.Table]:
        """Yield the tuples that have one of the keys, which are ascending, sorted and each once."""
        return self._merged(partial(TupleFile.with_keys, keys=keys))

    def inside(self, ranges: Sequence[Range]) -> Iterator[pa.Table]:
        """Yield the tuples whose keys lie in ranges, as the files have them."""
        return chain.from_iterable(self._streams(partial(TupleFile.inside, ranges=ranges), in_order=False))

    def _merged(self, look: Look) -> Iterator[pa.Table]:
        with engine() as connection, closing(connection.cursor()) as cursor:
            yield from merged(cursor, self._streams(look, in_order=True), self._order)

    def _streams(self, look: Look, *, in_order: bool) -> list[Iterator[pa.Table]]:
        task = partial(_look, self._order, look, self._wanted, in_order)
        found = self._reader.cluster.each(self._portions, task)
        for _, unreadable in found:
            self._reader.unreadable.update(unreadable)
        return [unpacked(tables) for tables, _ in found]


def _look(order: Order, look: Look, wanted: Wanted, in_order: bool, paths: Sequence[Path]) -> Found:
    """Look into files, in a task."""
    unreadable: dict[Path, str] = {}

    def stream(path: Path) -> Iterator[pa.Table]:
        try:
            yield from look(TupleFile(path, order))
        except TupleFileError as error:
            unreadable[path] = error.reason

    streams = [wanted(stream(path)) for path in paths]
    with engine() as connection, closing(connection.cursor()) as cursor:
        tables = merged(cursor, streams, order) if in_order else chain.from_iterable(streams)
        return packed(tables, SCHEMA), unreadable
