"""Passive DNS of a store, as tests look at it."""

from collections.abc import Iterator
from typing import Any

from dnsvigil.engines.tuples import TupleReader
from dnsvigil.store.store import Store
from dnsvigil.store.tuple_keys import END

COLUMNS = ("rrname", "rrtype", "rdata", "bailiwick", "time_first", "time_last", "count", "ttl_min", "ttl_max")


def all_tuples(store: Store, *, negative: bool = False) -> list[dict[str, Any]]:
    """Return all tuples of a store, sorted by name."""
    reader = TupleReader(lambda: store)
    found = [each for chunk in reader.chunks("names", "", END, negative=negative) for each in chunk.to_pylist()]
    assert not reader.unreadable
    return found


def brief(tuples: list[dict[str, Any]]) -> Iterator[tuple[Any, ...]]:
    """Yield names, types, data and counts."""
    return ((each["rrname"], each["rrtype"], each["rdata"], each["count"]) for each in tuples)
