"""Records by source: each one that is read is either ingested or skipped for a reason, and counted as that."""

from collections.abc import Mapping
from typing import Final

from dnsvigil.store.counters import CounterTable
from dnsvigil.store.store import Store

INGESTED: Final = CounterTable("records_ingested", ("source",), ("records",))
SKIPPED: Final = CounterTable("records_skipped", ("source", "reason"), ("records",))
TABLES: Final = (INGESTED, SKIPPED)


def count_records(store: Store, source: str, ingested: int, skipped: Mapping[str, int]) -> None:
    """Count records of a source; ``skipped`` has them by reason. For inside a transaction."""
    # What was read is the sum of both, so that the two can never disagree.
    INGESTED.add_rows(store, [(source, ingested)])
    SKIPPED.add_rows(store, [(source, reason, records) for reason, records in skipped.items()])
