"""Rows of slots: what tables have of each exporter in a slot of its own."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from dnsvigil.store.store import Store


def rows_of_slots(
    store: Store, table: str, columns: str, slots: Mapping[str, datetime], *, order: str = "ALL", rest: str = ""
) -> list[Any]:
    """Return columns of the rows of these exporters in these slots."""
    return store.rows(
        f"SELECT {columns} FROM {table}"
        " JOIN (SELECT unnest(?::VARCHAR[]) AS exporter, unnest(?::TIMESTAMP[]) AS slot) USING (exporter, slot)"
        f" {rest} ORDER BY {order}",
        list(slots),
        list(slots.values()),
    )
