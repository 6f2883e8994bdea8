"""The part of cache poisoning: the signs of it that the Zeek package logs, by resolver."""

from typing import Final

from dnsvigil.ingest.part import Part
from dnsvigil.records import SIGNALS
from dnsvigil.sources.zeek.log_types import POISONINGS
from dnsvigil.store.store import Store

_COUNTERS: Final = " UNION ALL ".join(
    f"SELECT 'poisoning_signals' AS metric, '{name}' AS a, '' AS b, {name} AS value FROM {POISONINGS.view}"
    for name in SIGNALS
)


class PoisoningPart(Part):
    """Signs of poisoning in one store."""

    logs = (POISONINGS,)

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self) -> None:
        """Append the rows, and count the signs."""
        self._store.add_rows("poisoning", POISONINGS.view)
        self._store.count(_COUNTERS)
