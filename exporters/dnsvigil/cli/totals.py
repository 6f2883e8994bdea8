"""What became of everything that was given, in numbers and in words."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from dnsvigil.ingest.intake import describe_skipped
from dnsvigil.system.terminal import counted


@dataclass
class Total:
    """What became of everything that was given."""

    records: int = 0  # of logs, those skipped among them
    skipped: int = 0
    flows: int = 0
    flows_skipped: Counter[str] = field(default_factory=Counter)  # by reason
    rows: int = 0  # of reports
    rows_skipped: int = 0
    known: list[Path] = field(default_factory=list)  # read by an earlier call

    def add(self, other: "Total") -> None:
        """Add another to this one."""
        self.records += other.records
        self.skipped += other.skipped
        self.flows += other.flows
        self.flows_skipped += other.flows_skipped
        self.rows += other.rows
        self.rows_skipped += other.rows_skipped
        self.known += other.known


def say_records(total: Total) -> str:
    """Return in words what became of records."""
    return f"{counted(total.records, 'record')} read, {total.skipped:,} skipped"


def say_flows(total: Total) -> list[str]:
    """Return in words what became of flows."""
    skipped = [describe_skipped(total.flows_skipped, "flow")] if total.flows_skipped else []
    return [f"{counted(total.flows, 'flow')} read", *skipped]


def say_known(total: Total) -> list[str]:
    """Return in words which files were read before, if any."""
    if len(total.known) == 1:
        return [f"{total.known[0].name} was already read"]
    return [f"{len(total.known):,} files were already read"] if total.known else []


def say_unread(unread: Iterable[Path]) -> list[str]:
    """Return in words how many files or folders were not read, if any."""
    count = len({*unread})
    return [f"{counted(count, 'path')} not read"] if count else []
