"""The part of capture: what the Zeek package logs about the packets that the sensor sees, and those that it loses."""

from typing import Final

from dnsvigil.ingest.part import Part
from dnsvigil.records import CAPTURE
from dnsvigil.sources.zeek.log_types import CAPTURES
from dnsvigil.store.store import Store

CAPTURE_COUNTS: Final = [name for name, kind in CAPTURE.items() if kind == "BIGINT"]
"""The columns of a capture row that are counters, by sensor."""

_COUNTERS: Final = " UNION ALL ".join(
    f"SELECT 'capture' AS metric, sensor AS a, '{name}' AS b, {name} AS value FROM {CAPTURES.view}"
    for name in CAPTURE_COUNTS
)


class CapturePart(Part):
    """The packets of sensors in one store."""

    logs = (CAPTURES,)

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self) -> None:
        """Append the rows, and count what is in them."""
        self._store.add_rows("capture", CAPTURES.view)
        self._store.count(_COUNTERS)
