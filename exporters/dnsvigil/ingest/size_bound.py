"""Keeps the file of the store within ``store.max_size``, by dropping its oldest data."""

from datetime import datetime
from typing import Final

from dnsvigil.store.store import Store

SPARE: Final = 40 * 10**6
"""Bytes of the bound that data never has: what is written ahead of a checkpoint, and an hour's growth."""

_FILE_PER_DATA: Final = 2  # a checkpoint may write all that there is anew before it frees the old
_SPAN_TO_DROP: Final = 0.1  # of the time that the data spans


def drop_before(store: Store, max_size: int, oldest: datetime, newest: datetime) -> datetime | None:
    """Return the time before which data is to be dropped, of that from ``oldest`` to ``newest``; None for no need."""
    if _FILE_PER_DATA * store.used() + SPARE <= max_size:
        return None
    return oldest + _SPAN_TO_DROP * (newest - oldest)
