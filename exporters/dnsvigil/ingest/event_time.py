"""The time that most records say: one clock that is wrong moves no other sensor's time, and a few records move none."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

NEAR: Final = timedelta(hours=1)
"""What is farther ahead than this needs more than a few records. Times so near to the wall clock are right."""

_FEW: Final = 3  # records, less than which move no time in a batch of ten or more
_SHARE: Final = 20  # less than one record in so many moves no time either
_TRUST: Final = 100  # records that a time rests on, at most


@dataclass(frozen=True)
class Minute:
    """The records of one minute in a batch."""

    newest: datetime  # UTC
    records: int


@dataclass
class _Clock:
    """The time of one sensor."""

    time: datetime
    trust: int  # records that it rests on
    doubt: int = 0  # records that say another time


class EventTime:
    """The event time of a store, and that of each sensor since the start."""

    def __init__(self, newest: datetime | None) -> None:
        """Go on from ``newest``, the event time of the store."""
        self.newest = newest
        self._clocks: dict[str, _Clock] = {}
        self._sparse: dict[str, _Clock] = {}

    def read(self, sensor: str, minutes: Sequence[Minute], wall: datetime, *, sparse: bool = False) -> datetime:
        """Take note of a batch of a sensor, at least one minute, in their order; return the sensor's own time.

        ``wall`` is the present time in UTC; no time of a sensor is ahead of it. One with ``sparse`` logs may have
        nothing to write for days: in a history its time counts only as long as there is no other's.
        """
        found = min(newest_of(minutes), wall)
        records = sum(minute.records for minute in minutes)
        clock = (self._sparse if sparse else self._clocks).setdefault(sensor, _Clock(found, 0))
        _move(clock, found, records, wall)
        times = sorted(each.time for each in (self._clocks or self._sparse).values())
        latest = max(each.time for each in (*self._clocks.values(), *self._sparse.values()))
        # As long as somebody's time is that of the wall clock, that is it; in a history, what half of the sensors say.
        now = latest if wall - latest <= NEAR else times[(len(times) - 1) // 2]
        self.newest = max(self.newest or now, now)
        return clock.time


def newest_of(minutes: Sequence[Minute]) -> datetime:
    """Return the time of the newest record but for those few that are far ahead of most."""
    records = left = sum(minute.records for minute in minutes)
    few = max(_FEW if records >= 10 else 0, records // _SHARE)
    top = minutes[0].newest
    for minute in minutes:
        if minute.newest - top > NEAR and left < few:
            break
        top = minute.newest
        left -= minute.records
    return top


def _move(clock: _Clock, found: datetime, records: int, wall: datetime) -> None:
    if abs(found - clock.time) <= NEAR or wall - NEAR <= found:
        clock.time = max(clock.time, found)
        clock.trust = min(clock.trust + records, _TRUST)
        clock.doubt = max(clock.doubt - records, 0)
    elif found > clock.time or wall - clock.time > NEAR:
        # Either it begins anew, after a pause or with other logs, or it is wrong for some records.
        clock.doubt += records
        if 2 * clock.doubt > clock.trust:
            clock.time, clock.trust, clock.doubt = found, min(clock.doubt, _TRUST), 0
