"""What failed unexpectedly and was set aside with its reason, so that all the rest goes on.

What is set aside is not tried again before it changes, after a restart either. What fails for a while only, such as a
disk that is full or a file without permission, is never set aside: it is tried again.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from dnsvigil.records import utc_now
from dnsvigil.store.counters import CounterTable
from dnsvigil.system.terminal import printable

if TYPE_CHECKING:
    from dnsvigil.store.store import Store

log = logging.getLogger(__name__)

KINDS: Final = {
    "log": "a log of Zeek",
    "record": "a record of a log",
    "flow_file": "a flow file",
    "passive_dns": "a file of passive DNS",
    "archive": "a file of the archive",
    "list": "a list of domains",
    "scan_report": "a report of scans",
    "domains": "the table of domains",
    "finding": "a finding in the store",
    "detector": "what a detector found",
    "metric": "a part of /metrics",
    "thread": "work of a thread",
}
"""What can be set aside: the values of the label ``kind``."""

MAX_KEPT: Final = 1000
"""The maximum number of entries; the oldest are dropped first."""

KEPT_FOR: Final = timedelta(days=30)
"""How long it is kept."""

RETRY_SECONDS: Final = 60.0
"""A file that changes all the time is tried again no sooner than this."""

COUNTER: Final = CounterTable("set_aside", ("kind",), ("inputs",))

_SCHEMA: Final = f"""
CREATE TABLE IF NOT EXISTS set_aside (
    kind VARCHAR, subject VARCHAR, reason VARCHAR, stamp VARCHAR, since TIMESTAMP, PRIMARY KEY (kind, subject)
);
{COUNTER.schema}"""

_MAX_SUBJECT: Final = 1024  # characters, as the next
_MAX_REASON: Final = 500


@dataclass(frozen=True)
class Entry:
    """One thing that is set aside. ``since`` is UTC without a zone."""

    kind: str  # one of KINDS
    subject: str  # the path of a file, the name of a thread; what cannot be printed is escaped
    reason: str
    stamp: str = ""  # of a file: changes when the file does
    since: datetime = datetime.min

    def record(self) -> dict[str, Any]:
        """Return the entry as JSON has it."""
        record = {name: getattr(self, name) for name in ("kind", "subject", "reason")}
        return record | {"since": f"{self.since:%Y-%m-%dT%H:%M:%SZ}"}


class SetAside:
    """What is set aside in one store. Any thread may call all but :meth:`flush`."""

    def __init__(self, store: "Store") -> None:
        """Raises :class:`dnsvigil.store.store.StoreError`."""
        store.create(_SCHEMA)
        self._store = store
        self._lock = threading.Lock()
        self._known = {(entry.kind, entry.subject): entry for entry in entries(store.rows)}
        self._changed: dict[tuple[str, str], bool] = {}  # to be written, and whether it is new
        self._tried: dict[tuple[str, str], float] = {}  # monotonic

    def put(self, kind: str, subject: object, reason: BaseException | str, stamp: Sequence[int] = ()) -> None:
        """Set something aside; ``stamp`` is what changes when a file does. It is logged once."""
        now = utc_now().replace(microsecond=0)
        entry = Entry(kind, _subject(subject), printable(_words(reason))[:_MAX_REASON], _stamp(stamp), now)
        key = (kind, entry.subject)
        with self._lock:
            before = self._known.get(key)
            self._tried[key] = time.monotonic()
            if before and (before.reason, before.stamp) == (entry.reason, entry.stamp):
                return
            self._known[key] = entry
            new = before is None or before.reason != entry.reason
            self._changed[key] = self._changed.get(key, False) or new
        if new:
            error = reason if isinstance(reason, BaseException) and log.isEnabledFor(logging.DEBUG) else None
            log.error("%s is set aside: %s: %s", KINDS[kind], entry.subject, entry.reason, exc_info=error)

    def holds(self, kind: str, subject: object, stamp: Sequence[int]) -> bool:
        """Return whether a file is set aside as it is now, or was tried too recently to be tried again."""
        key = (kind, _subject(subject))
        with self._lock:
            known = self._known.get(key)
            if known is None:
                return False
            return known.stamp == _stamp(stamp) or time.monotonic() < self._tried.get(key, 0.0) + RETRY_SECONDS

    def release(self, kind: str, subject: object) -> None:
        """Remove the entry of something that can be used after all."""
        key = (kind, _subject(subject))
        with self._lock:
            if self._known.pop(key, None):
                self._changed[key] = False

    def counts(self) -> dict[str, int]:
        """Return how much is set aside now, by kind."""
        with self._lock:
            return dict.fromkeys(KINDS, 0) | Counter(kind for kind, _ in self._known)

    def flush(self) -> bool:
        """Write what has changed, in a transaction of its own; return whether anything was.

        Only the thread that owns the store may call it. Raises :class:`dnsvigil.store.store.StoreError`.
        """
        with self._lock:
            self._forget()
            changed = {key: (self._known.get(key), new) for key, new in self._changed.items()}
        if not changed:
            return False
        with self._store.transaction():
            for (kind, subject), (entry, new) in changed.items():
                self._store.rows("DELETE FROM set_aside WHERE kind = ? AND subject = ?", kind, subject)
                if entry:
                    row = (entry.kind, entry.subject, entry.reason, entry.stamp, entry.since)
                    self._store.rows("INSERT INTO set_aside VALUES (?, ?, ?, ?, ?)", *row)
                COUNTER.add_rows(self._store, [(kind, int(new))])
        with self._lock:
            self._changed = {
                key: new for key, new in self._changed.items() if changed.get(key, (None,))[0] != self._known.get(key)
            }
        return True

    def _forget(self) -> None:
        oldest = utc_now() - KEPT_FOR
        by_age = sorted(self._known.values(), key=lambda entry: entry.since)
        for number, entry in enumerate(by_age):
            if entry.since >= oldest and number >= len(by_age) - MAX_KEPT:
                break
            del self._known[entry.kind, entry.subject]
            self._changed.setdefault((entry.kind, entry.subject), False)
        self._tried = {key: when for key, when in self._tried.items() if key in self._known}


def entries(read: Callable[..., list[Any]]) -> list[Entry]:
    """Return what is set aside, the newest first; ``read`` is as :meth:`dnsvigil.store.store.Store.rows`."""
    rows = read("SELECT kind, subject, reason, stamp, since FROM set_aside ORDER BY since DESC, kind, subject")
    return [Entry(*row) for row in rows if row[0] in KINDS]


def _words(reason: BaseException | str) -> str:
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror  # the path is the subject
    return f"{type(reason).__name__}: {reason}" if isinstance(reason, BaseException) else reason


def _subject(subject: object) -> str:
    return printable(str(subject))[:_MAX_SUBJECT]


def _stamp(stamp: Sequence[int]) -> str:
    return " ".join(map(str, stamp))
