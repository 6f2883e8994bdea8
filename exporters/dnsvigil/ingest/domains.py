"""The part of domains: what is asked of each registered domain, by the hour, from which their features are made."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import duckdb

from dnsvigil.config.collector import Config
from dnsvigil.engines.duckdb import Steps, macro
from dnsvigil.ingest.part import HOUR, MINUTE, Part, passes
from dnsvigil.records import RCODES, SUMMARY_COLUMNS, UNANSWERED
from dnsvigil.sources.zeek.log_types import DNS
from dnsvigil.store.domains import DROPPED, DomainHours
from dnsvigil.store.sensors import newest_event
from dnsvigil.store.store import Store

_CLOSED_AFTER: Final = HOUR + timedelta(minutes=5)  # what comes later has rows of its own
_MERGE_ROWS: Final = 200_000  # that wait
_MINUTES: Final = 50  # in which an hour is merged


@dataclass(frozen=True)
class DomainsSnapshot:
    """How much is known of domains, at one moment."""

    rows: int = 0  # of a domain and hour; more, for as long as the hour lasts


class DomainsPart(Part):
    """The summaries of domains in one store. Its part of a round follows that of DNS, whose tables it reads."""

    logs = (DNS,)
    counters = (DROPPED,)
    columns = SUMMARY_COLUMNS
    retained = True

    def __init__(self, store: Store, config: Config) -> None:
        self._store = store
        self._retention = timedelta(seconds=config.store.retention)
        self._hours = DomainHours(store, config.store.max_size)
        newest = newest_event(store)
        # The last hour that is over may have been left in parts.
        self._parts = deque(self._hours.parts(_closed(newest) - HOUR, _closed(newest)) if newest else ())
        with store.errors():
            define_failures(store.connection, config.zones.failures)
            self._steps = Steps(store.connection, "domain_hours")

    def gather(self, size: int) -> None:
        """Sum up the records that were summarized."""
        self._steps.run("sum_domain_hours")

    def add(self) -> None:
        """Append what was gathered."""
        self._hours.add()

    def advance(self, before: datetime, newest: datetime) -> None:
        """Merge the rows of hours that are over, and those that wait where they are many.

        An hour of many domains is merged in as many minutes as it takes: at once, it would hold up the records.
        """
        if passes(_closed(before), _closed(newest), HOUR):
            self._hours.merge()
            self._parts.extend(self._hours.parts(_closed(before), _closed(newest)))
        elif self._hours.unmerged > _MERGE_ROWS:
            self._hours.merge()
        if passes(before, newest, MINUTE):
            for _ in range(-(-len(self._parts) // _MINUTES)):
                self._hours.merge_part(self._parts.popleft())

    def forget(self, newest: datetime) -> None:
        """Drop what is too old, or too much."""
        dropped = {"age": self._hours.forget(newest - self._retention), "rows": self._hours.thin()}
        DROPPED.add_rows(self._store, list(dropped.items()))

    def flush(self, newest: datetime | None) -> None:
        """Merge the hours that are not over."""
        if newest:
            with self._store.transaction():
                self._hours.merge()
                for part in (*self._parts, *self._hours.parts(_closed(newest), datetime.max)):
                    self._hours.merge_part(part)
                self._parts.clear()

    def snapshot(self) -> DomainsSnapshot:
        """Return how it stands now."""
        return DomainsSnapshot(self._hours.rows + self._hours.unmerged)


def _closed(newest: datetime) -> datetime:
    """Return the time up to which the hours that begin then are over."""
    return max(newest, datetime.min + _CLOSED_AFTER) - _CLOSED_AFTER


def define_failures(connection: duckdb.DuckDBPyConnection, failures: Sequence[str]) -> None:
    """Define the function that says whether a code is one of those by which ``zones.failures`` counts."""
    codes = [str(code) for code, name in RCODES.items() if name in failures]
    conditions = [f"code IN ({', '.join(codes)})"] if codes else []
    conditions += ["code IS NULL"] if UNANSWERED in failures else []
    condition = f"coalesce({' OR '.join(conditions)}, false)" if conditions else "false"
    macro(connection, "is_failure(code)", condition)
