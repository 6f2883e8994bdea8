"""The times that flows may have: flows outside are skipped, with a reason."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

TIMESTAMP: Final = "timestamp"
"""The reason to skip a flow, or all flows of a file, whose time cannot be right."""

TOO_OLD: Final = "too_old"
"""The reason to skip a flow, or all flows of a file, that the store would not keep."""

_EARLIEST: Final = datetime(1990, 1, 1)
_EPOCH: Final = datetime(1970, 1, 1)


@dataclass(frozen=True)
class Times:
    """The times that flows may have, in UTC without a zone; a flow without a time has that of its file."""

    oldest: datetime
    latest: datetime

    def reason(self, when: datetime) -> str | None:
        """Return the reason to skip a flow of this time; None for a time that it may have."""
        if not _EARLIEST <= when <= self.latest:
            return TIMESTAMP
        return TOO_OLD if when < self.oldest else None

    def skipped(self, ends: NDArray[Any]) -> dict[str, NDArray[np.bool_]]:
        """Return which flows to skip, by reason; ``ends`` are in milliseconds since the epoch, 0 where unknown."""
        earliest, oldest, latest = map(to_milliseconds, (_EARLIEST, self.oldest, self.latest))
        known = ends > 0
        odd = (ends > latest) | known & (ends < earliest)
        return {TIMESTAMP: odd, TOO_OLD: known & ~odd & (ends < oldest)}


def to_milliseconds(when: datetime) -> int:
    """Return a time in UTC in milliseconds since the epoch."""
    return (when - _EPOCH) // timedelta(milliseconds=1)


def from_milliseconds(milliseconds: int) -> datetime | None:
    """Return the time in UTC; None for one that a datetime cannot hold."""
    try:
        return _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return None
