"""The part of capture: what the Zeek package logs about the packets that the sensor sees, and those that it loses."""

from typing import Final

from dnsvigil.ingest.part import Part
from dnsvigil.records import CAPTURE
from dnsvigil.sources.zeek.log_types import CAPTURES
from dnsvigil.store.counters import CounterTable
from dnsvigil.store.package_logs import add_records
from dnsvigil.store.store import Store

CAPTURED: Final = CounterTable(
    "capture", ("sensor",), tuple(name for name, kind in CAPTURE.items() if kind == "BIGINT")
)


class CapturePart(Part):
    """The packets of sensors in one store."""

    logs = (CAPTURES,)
    counters = (CAPTURED,)

    def __init__(self, store: Store) -> None:
        self._store = store
        store.create(CAPTURED.schema)

    def add(self) -> None:
        """Append the rows, and count what is in them."""
        add_records(self._store, "capture", CAPTURES.view)
        CAPTURED.add(self._store, f"FROM {CAPTURES.view}")
