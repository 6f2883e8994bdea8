"""Open resolvers that scans found, in the store, and the reports that were read.

Callers that change them must have begun a transaction.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from dnsvigil.records import SCANNED_HOST
from dnsvigil.store.store import Read, Store

MAX_HOSTS: Final = 100_000
"""The maximum number of hosts; beyond it, those go that no scan has found for longest."""

KEPT: Final = timedelta(days=35)
"""A host that no report names for so long is dropped; so is the memory of a report."""

CLOSED_AFTER: Final = timedelta(hours=48)
"""A host is not open any more by the scans if the reports of so much time do not name it."""

OUTDATED_AFTER: Final = timedelta(days=7)
"""What scans found longer ago no longer counts."""

_TEXTS: Final = [name for name in SCANNED_HOST if name not in ("host", "protocol", "port", "first_seen", "last_seen")]
_SCHEMA: Final = f"""
CREATE TABLE IF NOT EXISTS scanned_hosts (
    {", ".join(f"{name} {kind}" for name, kind in SCANNED_HOST.items())}, PRIMARY KEY (host, protocol, port)
);
CREATE TABLE IF NOT EXISTS scan_reports (digest VARCHAR PRIMARY KEY, name VARCHAR, read_at TIMESTAMP);
"""
# The newest row says what the host is; a report may be read before an older one.
_NEWEST: Final = "{0} = CASE WHEN excluded.last_seen >= last_seen THEN excluded.{0} ELSE {0} END"
_PUT: Final = f"""
INSERT INTO scanned_hosts SELECT {", ".join(f"unnest(?::{kind}[])" for kind in SCANNED_HOST.values())}
ON CONFLICT (host, protocol, port) DO UPDATE SET
    {", ".join(_NEWEST.format(name) for name in _TEXTS)},
    first_seen = least(first_seen, excluded.first_seen), last_seen = greatest(last_seen, excluded.last_seen)
"""
_OPEN: Final = """
WITH newest AS (SELECT max(last_seen) AS last_seen FROM scanned_hosts WHERE last_seen < $1)
SELECT {} FROM scanned_hosts, newest WHERE scanned_hosts.last_seen < $1
    AND scanned_hosts.last_seen >= newest.last_seen - $2 AND scanned_hosts.last_seen >= $1 - $3
ORDER BY host, port, protocol
"""


class ScannedHosts:
    """The hosts in one store. Everything raises :class:`dnsvigil.store.store.StoreError`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        store.create(_SCHEMA)

    def has_read(self, digest: str) -> bool:
        """Return whether a report with this content was read."""
        return bool(self._store.rows("SELECT 1 FROM scan_reports WHERE digest = ?", digest))

    def put_report(self, digest: str, name: str, now: datetime) -> None:
        """Take note that a report was read."""
        self._store.rows("INSERT OR REPLACE INTO scan_reports VALUES (?, ?, ?)", digest, name, now)

    def put(self, hosts: Sequence[Mapping[str, Any]]) -> None:
        """Add what one report has, a mapping with the columns of ``SCANNED_HOST`` for each host, protocol and port."""
        if hosts:
            self._store.rows(_PUT, *([host[name] for host in hosts] for name in SCANNED_HOST))

    def forget(self, now: datetime) -> None:
        """Drop what is old, or too much."""
        self._store.rows("DELETE FROM scanned_hosts WHERE last_seen < ?", now - KEPT)
        self._store.rows("DELETE FROM scan_reports WHERE read_at < ?", now - KEPT)
        newest = f"SELECT rowid FROM scanned_hosts ORDER BY last_seen DESC, host LIMIT {MAX_HOSTS}"
        self._store.rows(f"DELETE FROM scanned_hosts WHERE rowid NOT IN ({newest})")


def open_by_scans(read: Read, now: datetime) -> list[dict[str, Any]]:
    """Return the hosts that are open at ``now`` as far as scans know, with the columns of ``SCANNED_HOST``."""
    if not _is_there(read):
        return []
    columns = ", ".join(f"scanned_hosts.{name}" for name in SCANNED_HOST)
    rows = read(_OPEN.format(columns), now, CLOSED_AFTER, OUTDATED_AFTER)
    return [dict(zip(SCANNED_HOST, row, strict=True)) for row in rows]


def newest_scan(read: Read, now: datetime) -> datetime | None:
    """Return when a scan found a host last, before ``now``."""
    if not _is_there(read):
        return None
    newest: datetime | None = read("SELECT max(last_seen) FROM scanned_hosts WHERE last_seen < $1", now)[0][0]
    return newest


def _is_there(read: Read) -> bool:
    return bool(read("SELECT 1 FROM duckdb_tables() WHERE table_name = 'scanned_hosts'"))
