"""Reads what clients ask for about mail and addresses, and what is usual for them and their peers."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median_low
from typing import Final

from dnsvigil.engines.duckdb import queries
from dnsvigil.store.client_lookups import DAYS, network_of
from dnsvigil.store.store import Read

_MAX_AMOUNTS: Final = 50_000  # that are read, the largest first
_FULL_DAY: Final = 12  # hours of which records were read
_MIN_PEERS: Final = 3
_COLUMNS: Final = "hour, client, kind, amount, keys, queries, failures, first_seen, last_seen, samples"
_DAYS: Final = f"""
    SELECT count(*) FROM (
        SELECT date_trunc('day', hour) FROM client_lookup_hours WHERE hour >= $1 AND hour < $2
        GROUP BY ALL HAVING count(*) >= {_FULL_DAY}
    )
"""
_PEAKS: Final = """
    SELECT network, client, kind, list_sort(list(amount), 'DESC') FROM client_lookup_days
    WHERE day >= $1 AND day < $2 AND list_contains($3::VARCHAR[], network) GROUP BY ALL
"""


@dataclass(frozen=True)
class Amount:
    """What a client asked for of one kind in an hour, as :func:`dnsvigil.features.client_lookups.amounts` has it."""

    hour: datetime
    client: str
    kind: str
    amount: int
    keys: int
    queries: int
    failures: int
    first_seen: datetime
    last_seen: datetime
    samples: Sequence[str]


Hour = Mapping[str, Amount]
"""The amounts of one client in one hour, by kind."""


def hours(read: Read, since: datetime, now: datetime) -> list[Hour]:
    """Return what clients asked for in hours that begin after ``since`` and before ``now``."""
    query = f"""
        WITH recent AS (FROM client_lookups WHERE hour > $1 AND hour < $2)
        SELECT {_COLUMNS} FROM ({queries("client_lookups")["amounts"]})
        ORDER BY amount DESC, client LIMIT {_MAX_AMOUNTS}
    """
    found: defaultdict[tuple[datetime, str], dict[str, Amount]] = defaultdict(dict)
    for amount in (Amount(*row) for row in read(query, since, now)):
        found[amount.hour, amount.client][amount.kind] = amount
    return list(found.values())


class Usual:
    """What is usual for clients: on more than half of the days before, they had an hour with at least so much."""

    def __init__(self, read: Read, now: datetime, clients: Sequence[str]) -> None:
        """Read the days of these clients and of their networks."""
        today = now.replace(hour=0, minute=0, second=0, microsecond=0)
        bounds = today - timedelta(days=DAYS), today
        ((self.days,),) = read(_DAYS, *bounds)
        self._usual: defaultdict[tuple[str, str], dict[str, int]] = defaultdict(dict)  # by network and kind, by client
        networks = list({network_of(client) for client in clients})
        for network, client, kind, peaks in read(_PEAKS, *bounds, networks) if networks else ():
            if len(peaks) > self.days // 2:
                self._usual[network, kind][client] = peaks[self.days // 2]

    def of(self, client: str, kind: str) -> int:
        """Return the amount in an hour that is usual for a client, or for those beside it where these are several."""
        beside = dict(self._usual[network_of(client), kind])
        own = beside.pop(client, 0)
        return max(own, median_low(beside.values()) if len(beside) >= _MIN_PEERS else 0)
