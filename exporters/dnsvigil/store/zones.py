"""Queries and failures of zones on servers in the last minutes, from the summaries of the store."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

WINDOW: Final = timedelta(minutes=5)
"""The time over which failure ratios are evaluated, here as in the rules."""

_MINUTE: Final = timedelta(minutes=1)
_AHEAD: Final = timedelta(minutes=5)  # by which a sensor's clock may be ahead; what is beyond is not the last minutes


@dataclass
class ZoneCounts:
    """The queries for a zone on a server, and those of them that failed, by reason."""

    queries: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def failures(self) -> int:
        """Those for all reasons."""
        return self.reasons.total()


@dataclass(frozen=True)
class ZoneState:
    """The counts in a span of whole minutes, ``begin`` to ``end`` exclusive; both UTC."""

    begin: datetime | None  # None, as ``end``: there is no data
    end: datetime | None
    current: bool  # whether the span is the last five minutes, and not the last with data
    counts: Mapping[tuple[str, str], ZoneCounts]  # by server and zone


def zone_state(read: Callable[..., list[Any]], labels: Mapping[str, str], now: datetime) -> ZoneState:
    """Return the counts of zones in the five minutes up to ``now``, or in the last five with data if these have none.

    ``read`` runs a query, ``labels`` are those of the addresses of configured servers.
    """
    minute = now.replace(second=0, microsecond=0)
    ((newest,),) = read("SELECT max(minute) FROM minute_zones WHERE minute <= ?", minute + _AHEAD)
    if newest is None:
        return ZoneState(None, None, False, {})
    current = newest >= minute - WINDOW
    begin, end = minute - WINDOW if current else newest + _MINUTE - WINDOW, newest + _MINUTE
    counts: dict[tuple[str, str], ZoneCounts] = {}
    inside = "WHERE minute >= ? AND minute < ? GROUP BY ALL"
    for server, zone, queries in read(
        f"SELECT server, zone, sum(queries)::BIGINT FROM minute_zones {inside}", begin, end
    ):
        counts.setdefault((labels.get(server, server), zone), ZoneCounts()).queries += queries
    query = f"SELECT server, zone, reason, sum(failures)::BIGINT FROM minute_failures {inside}"
    for server, zone, reason, failures in read(query, begin, end):
        counts.setdefault((labels.get(server, server), zone), ZoneCounts()).reasons[reason] += failures
    return ZoneState(begin, end, current, counts)
