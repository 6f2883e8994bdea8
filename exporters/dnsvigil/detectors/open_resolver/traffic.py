"""What a sensor, or flows, saw of a host that answers the outside."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

SLOT: Final = timedelta(minutes=5)
"""The interval in which both count."""

DAY: Final = timedelta(hours=24)
"""A host that has not answered for so long is not open any more."""

RECENT: Final = timedelta(minutes=15)
"""What a host does now is what it did in so much time."""

_RECORD: Final = 0.15
"""A response is longer than its query by this part at least if it has a record, for that takes 16 bytes."""

SENSOR, FLOWS, SCAN = ("sensor", "flows", "scan")
"""Who saw a host."""


@dataclass(frozen=True)
class Counts:
    """Sums over the slots of five minutes in which a host answered; bytes are DNS bytes, of flows IP bytes."""

    slots: int = 0
    askers: int = 0  # distinct in the slot that had most
    asker_slots: int = 0  # distinct in each slot, summed up
    responses: int = 0
    query_bytes: int = 0
    response_bytes: int = 0

    @property
    def amplification(self) -> float:
        """Return the response bytes for each query byte; 0 where there are no queries."""
        return self.response_bytes / self.query_bytes if self.query_bytes else 0.0

    @property
    def bytes_per_second(self) -> float:
        """Return the response bytes of a second while the host answers."""
        return self.response_bytes / (self.slots * SLOT.total_seconds()) if self.slots else 0.0


@dataclass(frozen=True)
class Seen:
    """A host, as the sensors or the flows have it in a day; what these cannot know is None."""

    host: str
    origin: str  # SENSOR or FLOWS
    first: datetime
    last: datetime
    hours: int  # of the day, in which it answered
    day: Counts
    recent: Counts
    askers: int  # distinct in the day; of a sensor's rows at least so many
    returning: int | None  # of these, those that came back
    forwarder: float | None  # of a sensor 1 or 0, of flows the queries that it sends for each response, at most 1
    upstreams: int | None = None  # servers that it queries
    unsolicited: int | None = None  # recent responses to it that it did not ask for
    answered_from: str | None = None
    names: Sequence[str] = ()
    added: Sequence[int] = ()  # bytes that it adds to queries of every length, where these are a few sizes; of flows

    @property
    def now(self) -> Counts:
        """Return what it did of late; of a host that rests, what it does when it answers."""
        return self.recent if self.recent.slots else self.day

    def values(self) -> dict[str, float | None]:
        """Return what hosts are compared by: shares, and logarithms to the base 10."""
        now, slots = self.now, max(self.now.slots, 1)
        returning = None if self.returning is None else min(self.returning / max(self.askers, 1), 1.0)
        return {
            "larger": min(max((now.amplification - 1) / _RECORD, 0.0), 1.0),
            "amplification": math.log10(max(now.amplification, 0.1)),
            "response_bytes": math.log10(max(now.response_bytes, 1) / max(now.responses, 1)),
            "responses": math.log10(1 + now.responses / slots),
            "askers": math.log10(1 + now.asker_slots / slots),
            "responses_per_asker": math.log10(1 + now.responses / max(now.asker_slots, 1)),
            "returning": returning,
            "forwarder": self.forwarder,
            "upstreams": None if self.upstreams is None else math.log10(1 + self.upstreams),
            "unsolicited": None if self.unsolicited is None else math.log10(1 + self.unsolicited),
        }
