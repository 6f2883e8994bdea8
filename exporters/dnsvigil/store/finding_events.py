"""What people did with findings: dismissals, their reversal and notes, each with the name of who did it."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from dnsvigil.store.store import Read, Store

KEPT_EVENTS: Final = 100_000
"""How many events the store keeps, the newest ones. Those of a finding are dropped with it."""

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS finding_events (
    finding BIGINT, done_at TIMESTAMP, done_by VARCHAR, action VARCHAR, text VARCHAR, until TIMESTAMP
);
"""


@dataclass(frozen=True)
class Event:
    """Something that was done with a finding. Times are UTC without a zone."""

    done_at: datetime
    done_by: str  # a user, or what they have shown
    action: str  # dismissed, reopened, noted; expired: found again after the end of its dismissal
    text: str | None = None
    until: datetime | None = None  # of a dismissal

    def record(self) -> dict[str, Any]:
        """Return the event as JSON has it."""
        times = {name: f"{value:%Y-%m-%dT%H:%M:%SZ}" for name in ("done_at", "until") if (value := getattr(self, name))}
        return vars(self) | times


def add_event(store: "Store", finding: int, event: Event) -> None:
    """Add what was done with a finding. For inside a transaction."""
    store.rows("INSERT INTO finding_events VALUES (?, ?, ?, ?, ?, ?)", finding, *vars(event).values())
    newest = f"SELECT rowid FROM finding_events ORDER BY done_at DESC, rowid DESC LIMIT {KEPT_EVENTS}"
    store.rows(f"DELETE FROM finding_events WHERE rowid NOT IN ({newest})")


def events_of(read: "Read", finding: int) -> list[Event]:
    """Return what was done with a finding, the newest first."""
    columns = "done_at, done_by, action, text, until"
    rows = read(f"SELECT {columns} FROM finding_events WHERE finding = ? ORDER BY done_at DESC, rowid DESC", finding)
    return [Event(*row) for row in rows]


def forget_events(store: "Store") -> None:
    """Drop what was done with findings that are no longer there. For inside a transaction."""
    store.rows("DELETE FROM finding_events WHERE finding NOT IN (SELECT id FROM findings)")
