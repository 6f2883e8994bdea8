"""What look-ups need of :class:`dnsvigil.engines.tuples.TupleReader`."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from dnsvigil.store.tuple_file import Order

Select = Callable[[pa.Table], pa.Table]


class Reader(Protocol):
    """Reads tuples."""

    timed: bool
    unreadable: dict[Path, str]

    def chunks(
        self, order: Order, low: str, high: str, *, deadline: float | None = None, select: Select | None = None
    ) -> Iterator[pa.Table]:
        """Yield the tuples whose key lies from ``low`` to below ``high``, sorted and merged."""

    def with_keys(
        self, order: Order, keys: Iterable[str], *, deadline: float | None = None, select: Select | None = None
    ) -> Iterator[pa.Table]:
        """Yield the tuples that have one of many keys, sorted and merged."""
