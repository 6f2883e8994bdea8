"""What honeypots saw, in the store: hosts that attackers fetch from, and the sessions of the operator's own clients.

There are few entries, so that they are held in memory, too. Callers that change tables must have begun a transaction.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from dnsvigil.store.counters import CounterTable
from dnsvigil.store.store import Store

MAX_ENTRIES: Final = 10_000
"""The maximum number of entries; beyond it, neighbours go first, then what attackers only typed, the oldest first."""

MAX_SESSIONS: Final = 100_000
"""The maximum number of rows of sessions; beyond it, new ones are dropped."""

ENTRIES_KEPT: Final = timedelta(days=30)
"""An entry that was not seen again for so long is dropped: addresses and names change hands."""

SESSIONS_KEPT: Final = timedelta(hours=25)

DOWNLOAD, COMMAND, NEIGHBOUR = ("download", "command", "neighbour")
"""Where an entry comes from: a download, a command that an attacker typed, passive DNS."""

SOURCES: Final = (DOWNLOAD, COMMAND, NEIGHBOUR)

REASONS: Final = ("popular", "own_zone", "local", "room")
"""Why a host is no entry: a popular domain has the name, or a configured zone; nobody could register the name, or the
address is not global; there are too many."""

LEFT_OUT: Final = CounterTable("honeypot_left_out", ("reason",), ("hosts",))
ATTACKS: Final = CounterTable("honeypot_attacks", ("sensor", "kind"), ("events",))

_TABLES: Final[dict[str, dict[str, str]]] = {
    "honeypot_entries": {
        "entry": "VARCHAR",
        "address": "BOOLEAN",
        "source": "VARCHAR",
        "neighbour_of": "VARCHAR",
        "sensors": "VARCHAR[]",
        "session": "VARCHAR",
        "first_seen": "TIMESTAMP",
        "last_seen": "TIMESTAMP",
        "events": "BIGINT",
    },
    "honeypot_sessions": {
        "client": "VARCHAR",
        "sensor": "VARCHAR",
        "session": "VARCHAR",
        "first_seen": "TIMESTAMP",
        "last_seen": "TIMESTAMP",
        "connections": "BIGINT",
        "logins": "BIGINT",
        "commands": "BIGINT",
        "downloads": "BIGINT",
        "hosts": "VARCHAR[]",
    },
    "honeypot_addresses": {"address": "VARCHAR", "last_seen": "TIMESTAMP"},
}

_SCHEMA: Final = "".join(
    f"CREATE TABLE IF NOT EXISTS {table} ({', '.join(f'{name} {kind}' for name, kind in columns.items())});\n"
    for table, columns in _TABLES.items()
) + (LEFT_OUT.schema + ATTACKS.schema)


@dataclass(frozen=True)
class Entry:
    """A host of the list."""

    entry: str  # a name or an address
    address: bool
    source: str  # one of SOURCES
    neighbour_of: str | None  # the entry that a neighbour belongs to
    sensors: Sequence[str]
    session: str  # the last one
    first_seen: datetime
    last_seen: datetime
    events: int


@dataclass(frozen=True)
class Session:
    """What one client did in one session, as far as a batch has it; rows add up."""

    client: str
    sensor: str
    session: str
    first_seen: datetime
    last_seen: datetime
    connections: int
    logins: int
    commands: int
    downloads: int
    hosts: Sequence[str]


class HoneypotTables:
    """The tables in one store."""

    def __init__(self, store: Store) -> None:
        """Raises :class:`dnsvigil.store.store.StoreError`."""
        self._store = store
        store.create(_SCHEMA)
        rows = store.rows("FROM honeypot_entries ORDER BY entry")
        self.entries = {row[0]: Entry(*row) for row in rows}
        """The entries by their host."""
        ((self._sessions,),) = store.rows("SELECT count(*) FROM honeypot_sessions")

    def put(self, entries: Iterable[Entry]) -> None:
        """Add entries, or what was seen of known ones; a neighbour never takes the place of an entry of its own."""
        changed: dict[str, Entry] = {}
        for new in entries:
            known = self.entries.get(new.entry)
            if known is None or (known.source == NEIGHBOUR and new.source != NEIGHBOUR):
                changed[new.entry] = new
            elif (known.source == NEIGHBOUR) == (new.source == NEIGHBOUR):
                changed[new.entry] = _merged(known, new)
            else:
                continue
            self.entries[new.entry] = changed[new.entry]
        self._drop([entry for entry in changed if entry in self.entries])
        self._insert("honeypot_entries", [astuple(each) for each in changed.values()])
        if (left := len(self.entries) - MAX_ENTRIES) > 0:
            # Many names are typed faster than they are downloaded.
            oldest = sorted(self.entries.values(), key=lambda each: (-SOURCES.index(each.source), each.last_seen))
            self._forget([each.entry for each in oldest[:left]])
            self.leave_out(Counter(room=left))

    def replace_neighbours(self, neighbours: Iterable[Entry]) -> bool:
        """Have these neighbours in place of all that there are; return whether they are others."""
        new = {each.entry: each for each in neighbours if self.entries.get(each.entry, each).source == NEIGHBOUR}
        old = {name: each for name, each in self.entries.items() if each.source == NEIGHBOUR}
        if new == old:
            return False
        self._forget(list(old))
        self.put(new.values())
        return True

    def add_sessions(self, sessions: Sequence[Session]) -> None:
        """Append what was seen of sessions, as long as there is room."""
        taken = sessions[: max(MAX_SESSIONS - self._sessions, 0)]
        self._insert("honeypot_sessions", [astuple(each) for each in taken])
        self._sessions += len(taken)

    def put_addresses(self, addresses: dict[str, datetime]) -> None:
        """Note addresses of honeypots, with when they were attacked last."""
        if addresses:
            self._store.rows("DELETE FROM honeypot_addresses WHERE list_contains(?, address)", list(addresses))
            self._insert("honeypot_addresses", list(addresses.items()))

    def leave_out(self, hosts: Counter[str]) -> None:
        """Count hosts that are no entries, by reason."""
        LEFT_OUT.add_rows(self._store, hosts.items())

    def count(self, events: Counter[tuple[str, str]]) -> None:
        """Count events by sensor and kind."""
        ATTACKS.add_rows(self._store, [(*labels, number) for labels, number in events.items()])

    def forget(self, now: datetime) -> bool:
        """Drop what is too old; return whether entries are among it."""
        old = [name for name, each in self.entries.items() if each.last_seen < now - ENTRIES_KEPT]
        self._forget(old)
        self._store.rows("DELETE FROM honeypot_sessions WHERE last_seen < ?", now - SESSIONS_KEPT)
        self._store.rows("DELETE FROM honeypot_addresses WHERE last_seen < ?", now - ENTRIES_KEPT)
        ((self._sessions,),) = self._store.rows("SELECT count(*) FROM honeypot_sessions")
        return bool(old)

    def _forget(self, entries: Sequence[str]) -> None:
        self._drop(entries)
        for entry in entries:
            del self.entries[entry]

    def _drop(self, entries: Sequence[str]) -> None:
        if entries:
            self._store.rows("DELETE FROM honeypot_entries WHERE list_contains(?, entry)", list(entries))

    def _insert(self, table: str, rows: Sequence[Sequence[Any]]) -> None:
        # All at once: each statement of a transaction takes memory of its own.
        if rows:
            values = ", ".join(f"unnest(?::{kind}[])" for kind in _TABLES[table].values())
            self._store.rows(f"INSERT INTO {table} SELECT {values}", *map(list, zip(*rows, strict=True)))


def _merged(known: Entry, new: Entry) -> Entry:
    latest = max(known, new, key=lambda each: each.last_seen)
    return replace(
        known,
        source=DOWNLOAD if DOWNLOAD in (known.source, new.source) else known.source,
        sensors=sorted({*known.sensors, *new.sensors}),
        session=latest.session,
        first_seen=min(known.first_seen, new.first_seen),
        last_seen=latest.last_seen,
        events=known.events + new.events,
    )
