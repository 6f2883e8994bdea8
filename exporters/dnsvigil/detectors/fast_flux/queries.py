"""Reads the tables of :mod:`dnsvigil.features.flux` from passive DNS: the store's table, and the files beside it."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import duckdb

from dnsvigil.engines.duckdb import queries
from dnsvigil.records import TUPLE
from dnsvigil.store.passive_dns import FOLDER, NEW
from dnsvigil.store.store import Read
from dnsvigil.store.tuple_file import path_of

MAX_NAMES: Final = 20_000
"""So many scattered names are looked at, those in most networks first."""

MAX_HOSTS: Final = 200_000
"""So many addresses of chosen names are read at most, the newest first."""

_EPOCH: Final = datetime(1970, 1, 1)
_COLUMNS: Final = ", ".join(TUPLE)


class Host(NamedTuple):
    """An address that a name had; times in seconds since 1970."""

    key: str  # as dnsvigil.store.tuple_keys has it
    first: int
    last: int
    ttl: int | None  # seconds


class Tuples:
    """Passive DNS as a detector reads it, whose queries run where no file can be replaced meanwhile."""

    def __init__(self, state: Path) -> None:
        self._folder = state / FOLDER
        self._queries = queries("flux")
        self.unreadable = ""
        """Why files were left out of the last query; empty where none was."""

    def scattered(self, read: Read, since: datetime, now: datetime) -> list[str]:
        """Return the keys of names that had addresses in several networks."""
        query = f"SELECT nkey FROM ({self._queries['scattered']}) ORDER BY networks DESC, nkey LIMIT {MAX_NAMES}"
        return [key for (key,) in self._rows(read, since, now, "", query)]

    def hosts(self, read: Read, since: datetime, now: datetime, names: Sequence[str]) -> dict[str, list[Host]]:
        """Return the addresses of names by their key, the first that was seen first."""
        query = f"SELECT nkey, rkey, first, last, ttl FROM ({self._queries['hosts']})"
        query = f"FROM ({query} ORDER BY last DESC, nkey, rkey LIMIT {MAX_HOSTS}) ORDER BY nkey, first, rkey"
        found: dict[str, list[Host]] = {}
        for key, *host in self._rows(read, since, now, _CHOSEN, query, list(names)) if names else ():
            found.setdefault(key, []).append(Host(*host))
        return found

    def name_servers(self, read: Read, since: datetime, now: datetime, names: Sequence[str]) -> dict[str, set[str]]:
        """Return the keys of the name servers of domains, by the domain's key."""
        query = f"SELECT nkey, rkey[2:] FROM ({self._queries['name_servers']})"
        found: dict[str, set[str]] = {}
        for key, server in self._rows(read, since, now, _CHOSEN, query, list(names)) if names else ():
            found.setdefault(key, set()).add(server)
        return found

    def _rows(self, read: Read, since: datetime, now: datetime, more: str, query: str, *bound: list[str]) -> list[Any]:
        span = [int((time - _EPOCH).total_seconds()) for time in (since, now)]
        stems = read(
            "SELECT stem FROM passive_dns_files WHERE time_last >= $1 AND time_first <= $2 ORDER BY stem", *span
        )
        files = [str(path_of(self._folder / stem, "names")) for (stem,) in stems]
        self.unreadable = ""
        try:
            return read(f"WITH {_recent(files)}{more} {query}", *span, *bound)
        except duckdb.Error as error:
            readable = [file for file in files if _is_readable(read, file)]
            if readable == files:
                raise
            self.unreadable = f"files of passive DNS cannot be read, and are left out: {error}"
            return read(f"WITH {_recent(readable)}{more} {query}", *span, *bound)


_CHOSEN: Final = ", chosen AS (SELECT unnest($3::VARCHAR[]) AS nkey)"


def _recent(files: Sequence[str]) -> str:
    """Return the definition of the common table of the tuples between two times, with those in files."""
    tables = [NEW, *([f"read_parquet({list(files)})"] if files else ())]
    parts = (f"SELECT {_COLUMNS} FROM {table} WHERE time_last >= $1 AND time_first <= $2" for table in tables)
    return f"recent AS NOT MATERIALIZED ({' UNION ALL '.join(parts)})"


def _is_readable(read: Read, file: str) -> bool:
    try:
        read(f"SELECT max(nkey), max(rkey), max(time_last) FROM read_parquet({[file]})")
    except duckdb.Error:
        return False
    return True
