"""Sensors in the store: when something of each was read, and of what time; and the event time of all of them."""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from dnsvigil.store.store import Store

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS sensors (
    source VARCHAR, sensor VARCHAR, last_event TIMESTAMP, last_read TIMESTAMP, PRIMARY KEY (source, sensor)
);
"""


def put_sensors(store: "Store", source: str, sensors: Mapping[str, datetime | None]) -> None:
    """Note that something of these sensors was read now, each with the time of its newest record."""
    store.rows(
        "INSERT INTO sensors SELECT ?, unnest(?::VARCHAR[]), unnest(?::TIMESTAMP[]), now()::TIMESTAMP"
        " ON CONFLICT DO UPDATE SET"
        " last_event = greatest(last_event, excluded.last_event), last_read = excluded.last_read",
        source,
        list(sensors),
        list(sensors.values()),
    )


def read_sensors(store: "Store") -> list[tuple[str, str, datetime | None, datetime]]:
    """Return source, sensor, time of the newest record, time when something was last read; both UTC."""
    return store.rows("SELECT source, sensor, last_event, last_read FROM sensors ORDER BY ALL")


def newest_event(store: "Store") -> datetime | None:
    """Return the time up to which the records of most sensors of logs have come; flows have a time of their own."""
    kept = store.rows("SELECT value FROM meta WHERE key = 'event_time'")
    if kept:
        return datetime.fromisoformat(kept[0][0])
    newest: datetime | None = store.rows("SELECT max(last_event) FROM sensors WHERE source <> 'netflow'")[0][0]
    return newest


def put_event_time(store: "Store", time: datetime) -> None:
    """Keep the time up to which records have come."""
    store.rows("INSERT OR REPLACE INTO meta VALUES ('event_time', ?)", time.isoformat())
