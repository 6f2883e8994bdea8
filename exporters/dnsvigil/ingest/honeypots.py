"""The part of honeypots: the hosts that attackers fetch from become a list, the operator's own clients sessions."""

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from ipaddress import ip_network
from typing import Any, Final

from dnsvigil.config.collector import Config
from dnsvigil.engines.established import is_established
from dnsvigil.engines.neighbours import neighbours
from dnsvigil.engines.tuples import LookupTimeoutError, TupleReader
from dnsvigil.ingest.part import HOUR, MINUTE, Part, passes
from dnsvigil.sources.honeypots.cowrie import event_of
from dnsvigil.sources.honeypots.dionaea import events_of_connection, events_of_incident
from dnsvigil.sources.honeypots.entries import LIST, NEIGHBOURS, HoneypotHosts
from dnsvigil.sources.honeypots.events import Event
from dnsvigil.sources.honeypots.hosts import address_of
from dnsvigil.sources.honeypots.logs import COWRIE, DIONAEA, DIONAEA_INCIDENTS, HONEYPOT_LOGS
from dnsvigil.sources.public_suffixes import registered_domain
from dnsvigil.sources.warninglists import warning_list
from dnsvigil.sources.zeek.log_types import LogType
from dnsvigil.store.honeypots import (
    ATTACKS,
    COMMAND,
    DOWNLOAD,
    ENTRIES_KEPT,
    LEFT_OUT,
    NEIGHBOUR,
    Entry,
    HoneypotTables,
    Session,
)
from dnsvigil.store.store import Store

log = logging.getLogger(__name__)

_EVENTS: Final[Mapping[LogType, Callable[[Mapping[str, Any]], Iterable[Event]]]] = {
    COWRIE: lambda row: (event_of(row),),
    DIONAEA: events_of_connection,
    DIONAEA_INCIDENTS: events_of_incident,
}
_ROWS: Final = 10_000  # that are looked at together
_MAX_HOSTS: Final = 20  # of a session


@dataclass(frozen=True)
class HoneypotsSnapshot:
    """What there is from honeypots, at one moment."""

    entries: Mapping[str, int] = field(default_factory=dict)  # by their source


class HoneypotsPart(Part):
    """What honeypots saw, in one store; a :class:`HoneypotLogPart` for each of their logs brings it.

    ``names`` is their list, ``touched`` the hours that detectors have to look at.
    """

    counters = (LEFT_OUT, ATTACKS)

    def __init__(self, store: Store, config: Config) -> None:
        self._store = store
        self._tables = HoneypotTables(store)
        self._tuples = TupleReader(lambda: store)
        self._networks = [ip_network(network) for network in config.flows.networks]
        self._client_of = config.detectors.client_of
        self._zones = [zone.name for zone in config.zones.configured]
        self._new = False  # whether entries wait for their neighbours
        self.hosts = HoneypotHosts()
        self.touched: set[datetime] = set()
        self._show()

    def log_parts(self) -> list[Part]:
        """Return the parts of the logs."""
        return [HoneypotLogPart(self._store, log_type, self) for log_type in HONEYPOT_LOGS]

    def understand(self, events: Iterable[Event]) -> "Gathered":
        """Return what events say, put together."""
        gathered = Gathered()
        for event in events:
            gathered.kinds[event.sensor, event.kind] += 1
            if event.honeypot and (address := address_of(event.honeypot)):
                gathered.addresses[str(address)] = max(event.ts, gathered.addresses.get(str(address), event.ts))
            for host in event.hosts:
                self._take(host, event, gathered)
            if event.real and event.client and (own := self._own(event.client)):
                gathered.sessions[own, event.sensor, event.session].append(event)
        return gathered

    def put(self, gathered: "Gathered") -> None:
        """Put it into the store."""
        self._tables.count(gathered.kinds)
        self._tables.leave_out(gathered.left_out)
        self._tables.put(gathered.entries)
        self._tables.put_addresses(gathered.addresses)
        sessions = [_session(key, events) for key, events in gathered.sessions.items()]
        self._tables.add_sessions(sessions)
        self.touched |= {each.last_seen.replace(minute=0, second=0, microsecond=0) for each in sessions}
        if gathered.entries:
            self._new = True
            self._show()

    def advance(self, before: datetime, newest: datetime) -> None:
        """Look the neighbours up by the hour, and by the minute while there are new entries."""
        if passes(before, newest, MINUTE if self._new else HOUR):
            self._look_around(newest)

    def forget(self, newest: datetime) -> None:
        """Drop what is too old."""
        if self._tables.forget(newest):
            self._show()

    def flush(self, newest: datetime | None) -> None:
        """Look the neighbours of new entries up."""
        if newest and self._new:
            with self._store.transaction():
                self._look_around(newest)

    def snapshot(self) -> HoneypotsSnapshot:
        """Return how many entries there are."""
        return HoneypotsSnapshot(Counter(each.source for each in self._tables.entries.values()))

    def _take(self, host: str, event: Event, gathered: "Gathered") -> None:
        """Take a host as an entry, or count why it is none."""
        address = address_of(host)
        reason = self._why_not(host) if address is None else "" if address.is_global else "local"
        if reason:
            gathered.left_out[reason] += 1
            return
        source = DOWNLOAD if event.kind == "download" else COMMAND
        gathered.entries.append(
            Entry(host, address is not None, source, None, [event.sensor], event.session, event.ts, event.ts, 1)
        )

    def _why_not(self, name: str) -> str:
        domain = registered_domain(name)
        if domain is None:
            return "local"
        # The second has hosts below private suffixes, too.
        if is_established(domain) or name in _popular_hosts():
            return "popular"
        own = any(name == zone or name.endswith(f".{zone}") for zone in self._zones)
        return "own_zone" if own else ""

    def _own(self, client: str) -> str:
        """Return what stands for an attacker as a client if it lies in the operator's networks."""
        address = address_of(client)
        if address and any(address in network for network in self._networks):
            return self._client_of(str(address))
        return ""

    def _look_around(self, newest: datetime) -> None:
        self._new = False
        entries = [each for each in self._tables.entries.values() if each.source != NEIGHBOUR]
        names = [each.entry for each in entries if not each.address]
        addresses = [each.entry for each in entries if each.address]
        since = int((newest - ENTRIES_KEPT - datetime(1970, 1, 1)) / timedelta(seconds=1))
        try:
            near = neighbours(self._tuples, names, addresses, since)
        except LookupTimeoutError:
            log.warning("the neighbours of what honeypots saw are not looked up: passive DNS takes too long")
            return
        found = []
        for host, of in near.items():
            address, entry = address_of(host) is not None, self._tables.entries[of]
            if address or not self._why_not(host):
                times = entry.first_seen, entry.last_seen
                found.append(Entry(host, address, NEIGHBOUR, of, entry.sensors, entry.session, *times, entry.events))
        if self._tables.replace_neighbours(found):
            self._show()

    def _show(self) -> None:
        """Have the hosts of the list looked up from now on."""
        self.hosts.replace(
            {
                each.entry: (f"{NEIGHBOURS} of {each.neighbour_of}",)
                if each.neighbour_of
                else tuple(f"{LIST} {sensor}" for sensor in each.sensors)
                for each in self._tables.entries.values()
                if not (each.address and each.neighbour_of)  # which may be that of a provider
            }
        )


@cache
def _popular_hosts() -> frozenset[str]:
    return frozenset(warning_list("cisco_top20k"))


class HoneypotLogPart(Part):
    """One of the logs."""

    def __init__(self, store: Store, log_type: LogType, honeypots: HoneypotsPart) -> None:
        self.logs = (log_type,)
        self._store = store
        self._log_type = log_type
        self._honeypots = honeypots
        self._gathered = Gathered()

    def gather(self, size: int) -> None:
        """Put together what the events in the records say."""
        self._gathered = self._honeypots.understand(self._events())

    def add(self) -> None:
        """Put what was gathered into the store."""
        self._honeypots.put(self._gathered)

    def _events(self) -> Iterator[Event]:
        columns = list(self._log_type.record)
        rows = self._store.connection.execute(f"SELECT {', '.join(columns)} FROM {self._log_type.view}")
        while some := rows.fetchmany(_ROWS):
            for row in some:
                yield from _EVENTS[self._log_type](dict(zip(columns, row, strict=True)))


@dataclass
class Gathered:
    """What the events of a round say."""

    kinds: Counter[tuple[str, str]] = field(default_factory=Counter)  # by sensor
    left_out: Counter[str] = field(default_factory=Counter)  # by reason
    entries: list[Entry] = field(default_factory=list)
    addresses: dict[str, datetime] = field(default_factory=dict)  # of honeypots
    sessions: defaultdict[tuple[str, str, str], list[Event]] = field(default_factory=lambda: defaultdict(list))


def _session(key: tuple[str, str, str], events: list[Event]) -> Session:
    kinds = Counter(event.kind for event in events)
    hosts = list(dict.fromkeys(host for event in events for host in event.hosts))[:_MAX_HOSTS]
    client, sensor, session = key
    return Session(
        client,
        sensor,
        session,
        min(event.ts for event in events),
        max(event.ts for event in events),
        kinds["connection"],
        kinds["login"],
        kinds["command"],
        kinds["download"],
        hosts,
    )
