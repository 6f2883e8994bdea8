"""Reads the tables of :mod:`dnsvigil.features.flux` from passive DNS."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from dnsvigil.detectors.passive_dns import Tuples as PassiveDns
from dnsvigil.engines.duckdb import queries
from dnsvigil.store.store import Read

MAX_NAMES: Final = 20_000
"""So many scattered names are looked at, those in most networks first."""

MAX_HOSTS: Final = 200_000
"""So many addresses of chosen names are read at most, the newest first."""

_CHOSEN: Final = ", chosen AS (SELECT unnest($3::VARCHAR[]) AS nkey)"


class Host(NamedTuple):
    """An address that a name had; times in seconds since 1970."""

    key: str  # as dnsvigil.store.tuple_keys has it
    first: int
    last: int
    ttl: int | None  # seconds


class Tuples:
    """What this detector asks of passive DNS."""

    def __init__(self, state: Path) -> None:
        self._tuples = PassiveDns(state)
        self._queries = queries("flux")

    @property
    def unreadable(self) -> str:
        """Why files were left out of the last query; empty where none was."""
        return self._tuples.unreadable

    def has_addresses(self, read: Read, since: datetime, now: datetime) -> bool:
        """Return whether any name had an address."""
        query = " SELECT 1 FROM recent WHERE rrtype IN ('A', 'AAAA') LIMIT 1"
        return bool(self._tuples.recent(read, since, now, query))

    def scattered(self, read: Read, since: datetime, now: datetime) -> list[str]:
        """Return the keys of names that had addresses in several networks."""
        query = f"SELECT nkey FROM ({self._queries['scattered']}) ORDER BY networks DESC, nkey LIMIT {MAX_NAMES}"
        return [key for (key,) in self._tuples.recent(read, since, now, f" {query}")]

    def hosts(self, read: Read, since: datetime, now: datetime, names: Sequence[str]) -> dict[str, list[Host]]:
        """Return the addresses of names by their key, the first that was seen first."""
        query = f"SELECT nkey, rkey, first, last, ttl FROM ({self._queries['hosts']})"
        query = f"FROM ({query} ORDER BY last DESC, nkey, rkey LIMIT {MAX_HOSTS}) ORDER BY nkey, first, rkey"
        found: dict[str, list[Host]] = {}
        for key, *host in self._chosen(read, since, now, query, names):
            found.setdefault(key, []).append(Host(*host))
        return found

    def name_servers(self, read: Read, since: datetime, now: datetime, names: Sequence[str]) -> dict[str, set[str]]:
        """Return the keys of the name servers of domains, by the domain's key."""
        query = f"SELECT nkey, rkey[2:] FROM ({self._queries['name_servers']})"
        found: dict[str, set[str]] = {}
        for key, server in self._chosen(read, since, now, query, names):
            found.setdefault(key, set()).add(server)
        return found

    def _chosen(self, read: Read, since: datetime, now: datetime, query: str, names: Sequence[str]) -> list[Any]:
        return self._tuples.recent(read, since, now, f"{_CHOSEN} {query}", list(names)) if names else []
