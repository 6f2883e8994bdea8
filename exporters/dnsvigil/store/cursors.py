"""Cursors in the store: how far each file of a log is read."""

from collections.abc import Iterable
from dataclasses import astuple
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from dnsvigil.records import Cursor

if TYPE_CHECKING:
    from dnsvigil.store.store import Store

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS cursors (
    id VARCHAR PRIMARY KEY, sensor VARCHAR, head_size BIGINT, head_hash VARCHAR, "offset" BIGINT, header BLOB,
    path VARCHAR, whole_size BIGINT, used_at TIMESTAMP
);
"""


def read_cursors(store: "Store") -> list[Cursor]:
    """Return all cursors, the one used last at the end."""
    columns = 'id, sensor, head_size, head_hash, "offset", header, path, whole_size'
    return [Cursor(*row) for row in store.rows(f"SELECT {columns} FROM cursors ORDER BY used_at")]


def put_cursors(store: "Store", cursors: Iterable[Cursor]) -> None:
    """Keep cursors, at least one; of several with the same id, the last."""
    rows = [astuple(cursor) for cursor in {cursor.id: cursor for cursor in cursors}.values()]
    types = ("VARCHAR", "VARCHAR", "BIGINT", "VARCHAR", "BIGINT", "BLOB", "VARCHAR", "BIGINT")
    values = ", ".join(f"unnest(?::{kind}[])" for kind in types)
    store.rows(f"INSERT OR REPLACE INTO cursors SELECT {values}, now()::TIMESTAMP", *map(list, zip(*rows, strict=True)))


def forget_cursors(store: "Store", unused_for: timedelta, keep: Iterable[str]) -> None:
    """Drop the cursors of files not read for so long, but for those to ``keep``."""
    store.rows(
        "DELETE FROM cursors WHERE used_at < now()::TIMESTAMP - ? AND NOT list_contains(?, id)", unused_for, list(keep)
    )
