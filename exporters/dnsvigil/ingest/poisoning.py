"""The part of cache poisoning: the signs of it that the Zeek package logs, by resolver."""

from datetime import datetime
from typing import Final

from dnsvigil.ingest.part import Part
from dnsvigil.records import SIGNALS
from dnsvigil.sources.zeek.log_types import POISONINGS
from dnsvigil.store.counters import CounterTable
from dnsvigil.store.package_logs import add_records
from dnsvigil.store.store import Store

SIGNAL_COUNTS: Final = CounterTable("poisoning_signals", ("signal",), ("signals",))

_ADDED: Final = (
    f"SELECT unnest({list(SIGNALS)}) AS signal, unnest([{', '.join(SIGNALS)}]) AS signals FROM {POISONINGS.view}"
)
_HOURS: Final = f"SELECT DISTINCT date_trunc('hour', ts) FROM {POISONINGS.view}"


class PoisoningPart(Part):
    """Signs of poisoning in one store. ``touched`` are the hours that detectors have to look at."""

    logs = (POISONINGS,)
    counters = (SIGNAL_COUNTS,)

    def __init__(self, store: Store) -> None:
        self._store = store
        self.touched: set[datetime] = set()
        store.create(SIGNAL_COUNTS.schema)

    def add(self) -> None:
        """Append the rows, and count the signs."""
        add_records(self._store, "poisoning", POISONINGS.view)
        SIGNAL_COUNTS.add(self._store, _ADDED)
        self.touched |= {hour for (hour,) in self._store.rows(_HOURS)}
