"""A part: all that one kind of record adds to the store and to what the store shows."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

from dnsvigil.sources.zeek.log_types import LogType
from dnsvigil.store.counters import CounterTable

MINUTE: Final = timedelta(minutes=1)
HOUR: Final = timedelta(hours=1)


class Part:
    """A part; :class:`dnsvigil.ingest.intake.Intake` is a loop over them. Each method does nothing unless overridden.

    A round calls, for each part that takes a log of which it has records, :meth:`gather`, then in the transaction
    :meth:`add`, for all parts :meth:`advance`, and after the transaction :meth:`evaluate` of those that it has records
    for. The order is that of the parts. All but :meth:`snapshot` may raise :class:`dnsvigil.store.store.StoreError`.
    """

    logs: Collection[LogType] = ()
    """The logs that it takes; their records lie in the views of these types."""

    columns: Collection[str] = ()
    """The columns of these records that it needs; all if none is named."""

    counters: Collection[CounterTable] = ()
    """The counters that it adds to."""

    retained: bool = False
    """Whether records from before ``store.retention`` are skipped as too old."""

    def gather(self, size: int) -> None:
        """Make temporary tables from the records, of ``size`` bytes of log.

        This runs before the transaction, in which DuckDB would read temporary tables with one thread alone.
        """

    def add(self) -> None:
        """Put into the store what was gathered."""

    def advance(self, before: datetime, newest: datetime) -> None:
        """Do what is due as event time moves on from ``before`` to ``newest``, which may be the same."""

    def forget(self, newest: datetime) -> None:
        """Drop what is too old or too much; called each hour of event time, and in the first round."""

    def evaluate(self, newest: datetime) -> None:
        """Do what may fail without harm to the round, which is in the store by now."""

    def evaluate_flows(self, newest: datetime) -> None:
        """Do what :meth:`evaluate` does of flows and scans, where logs have not come so far."""

    def flush(self, newest: datetime | None) -> None:
        """Do what would be due later, for when no more records come."""

    def snapshot(self) -> object:
        """Return what the file of the same name under ``exporter`` turns into metrics, None for nothing."""
        return None

    def close(self) -> None:
        """Free what it holds beside the store."""


def passes(before: datetime, newest: datetime, step: timedelta) -> bool:
    """Return whether a multiple of ``step`` lies after ``before`` and not after ``newest``."""
    return (newest - datetime.min) // step > (before - datetime.min) // step
