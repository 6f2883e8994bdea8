"""Keeps the file of the store within ``store.max_size``, by dropping its oldest data."""

from datetime import datetime
from typing import Final

from dnsvigil.store.store import Store

_GROWTH: Final = 24 * 10**6  # bytes in an hour
_FILE_PER_DATA: Final = 2  # a checkpoint may write all that there is anew before it frees the old
_SPAN_TO_DROP: Final = 0.1  # of the time that the data spans


def write_ahead(max_size: int) -> int:
    """Return how many bytes a store of this size may write ahead of a checkpoint.

    A checkpoint writes the last rows of each table anew, so seldom ones cost less.
    """
    return min(max(max_size // 64, 16 * 2**20), 64 * 2**20)


def spare(max_size: int) -> int:
    """Return the bytes of the bound that data never has: what is written ahead, and an hour's growth."""
    return write_ahead(max_size) + _GROWTH


def drop_before(store: Store, max_size: int, oldest: datetime, newest: datetime) -> datetime | None:
    """Return the time before which data is to be dropped, of that from ``oldest`` to ``newest``; None for no need."""
    if _FILE_PER_DATA * store.used() + spare(max_size) <= max_size:
        return None
    return oldest + _SPAN_TO_DROP * (newest - oldest)
