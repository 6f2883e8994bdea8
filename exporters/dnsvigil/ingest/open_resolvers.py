"""The part of open resolvers: the rows that the Zeek package writes about hosts that answer everybody."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from dnsvigil.ingest.part import MINUTE, Part, passes
from dnsvigil.sources.zeek.log_types import OPEN_RESOLVERS
from dnsvigil.store.package_logs import add_records, count_open_resolvers
from dnsvigil.store.sensors import newest_event
from dnsvigil.store.store import Store

WINDOW: Final = timedelta(minutes=15)
"""The event time over which open resolvers are counted: three of the intervals in which the sensor logs them."""


@dataclass(frozen=True)
class OpenResolversSnapshot:
    """How many hosts are open resolvers, at one moment."""

    hosts: Mapping[str, int] = field(default_factory=dict)  # by how they are: see OPEN_KINDS


class OpenResolversPart(Part):
    """Open resolvers in one store."""

    logs = (OPEN_RESOLVERS,)

    def __init__(self, store: Store) -> None:
        self._store = store
        self.touched: set[datetime] = set()
        """The hours that detectors have to look at."""
        newest = newest_event(store)
        self._hosts = count_open_resolvers(store, newest - WINDOW) if newest else {}

    def add(self) -> None:
        """Append the rows."""
        add_records(self._store, "open_resolvers", OPEN_RESOLVERS.view)
        hours = self._store.rows(f"SELECT DISTINCT date_trunc('hour', ts) FROM {OPEN_RESOLVERS.view}")
        self.touched |= {hour for (hour,) in hours}

    def advance(self, before: datetime, newest: datetime) -> None:
        """Count by the minute."""
        if passes(before, newest, MINUTE):
            self._hosts = count_open_resolvers(self._store, newest - WINDOW)

    def snapshot(self) -> OpenResolversSnapshot:
        """Return the hosts as of the last minute."""
        return OpenResolversSnapshot(self._hosts)
