"""Which entries of lists were hunted in passive DNS: hashes that are the same after a restart, in eight bytes each."""

from collections.abc import Iterable
from typing import Final

import numpy as np
import xxhash
from numpy.typing import NDArray

from dnsvigil.store.counters import CounterTable
from dnsvigil.store.store import Store

HUNTED: Final = CounterTable("hunted", ("outcome",), ("entries",))

FOUND, NOT_FOUND, INCOMPLETE = OUTCOMES = ("found", "not_found", "incomplete")
"""What became of an entry. Where files cannot be read, nothing found is ``INCOMPLETE``."""

Hashes = NDArray[np.uint64]

_SCHEMA: Final = f"CREATE TABLE IF NOT EXISTS hunted (hash UBIGINT);{HUNTED.schema}"


def hashes_of(names: Iterable[bytes]) -> Hashes:
    """Return the hash of each name."""
    return np.fromiter(map(xxhash.xxh64_intdigest, names), np.uint64)


class Hunted:
    """The entries that were hunted, in one store. Callers that change them must have begun a transaction."""

    def __init__(self, store: Store) -> None:
        """Raises :class:`dnsvigil.store.store.StoreError`."""
        self._store = store
        store.create(_SCHEMA)

    def hashes(self) -> Hashes:
        """Return them all, ascending, from any thread. Raises :class:`dnsvigil.store.store.StoreError`."""
        (table,) = self._store.read_tables(("SELECT DISTINCT hash FROM hunted ORDER BY hash", ()))
        found: Hashes = table["hash"].to_numpy()
        return found

    def add(self, hashes: Hashes) -> None:
        """Add some."""
        self._store.rows("INSERT INTO hunted SELECT unnest(?::UBIGINT[])", hashes.tolist())

    def forget(self, hashes: Hashes) -> None:
        """Forget some, which no list has any more."""
        if len(hashes):
            self._store.rows("DELETE FROM hunted WHERE hash IN (SELECT unnest(?::UBIGINT[]))", hashes.tolist())
