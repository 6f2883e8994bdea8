"""Names of servers: counters of a server's addresses continue under its name.

A series that is there never jumps, so that no increase of it is counted twice: only a name without counters takes over
those of its addresses. A store keeps which addresses the names stood for, so that a server can be given another name.
"""

import json
from collections.abc import Mapping, Sequence

from dnsvigil.store.counters import CounterTable
from dnsvigil.store.store import Store


def take_names(
    store: Store, key: str, tables: Sequence[CounterTable], label: str, servers: Mapping[str, Sequence[str]]
) -> dict[str, list[str]]:
    """Move the counters of addresses, and of former names, to the names of ``servers``, given with their addresses.

    ``tables`` have servers as their ``label``; the store keeps the names under ``key``. For inside a transaction.
    Returns the labels whose counters each name has taken over. In a store that is only read this is so for as long as
    it is open.
    """
    if store.read_only:
        for table in tables:
            store.rows(f"CREATE TEMP TABLE IF NOT EXISTS {table.table} AS FROM {table.table}")
    former: dict[str, list[str]] = json.loads(store.meta(key, "{}"))
    taken: dict[str, list[str]] = {}
    for name, addresses in servers.items():
        labels = {*addresses, *(each for each, of in former.items() if set(of) <= set(addresses))} - {name}
        if not labels or any(_counts(store, table, label, [name]) for table in tables):
            continue
        taken[name] = sorted(labels)
        for table in tables:
            _rename(store, table, label, taken[name], name)
    if not store.read_only and former != {name: [*of] for name, of in servers.items()}:
        store.rows("UPDATE meta SET value = ? WHERE key = ?", json.dumps(dict(servers)), key)
    return taken


def _counts(store: Store, table: CounterTable, label: str, names: Sequence[str]) -> bool:
    return bool(store.rows(f"SELECT 1 FROM {table.table} WHERE list_contains(?, {label}) LIMIT 1", names))


def _rename(store: Store, table: CounterTable, label: str, names: Sequence[str], name: str) -> None:
    known = f"FROM {table.table} WHERE list_contains(?, {label})"
    table.add(store, f"SELECT * REPLACE (? AS {label}) {known}", name, names)
    store.rows(f"DELETE {known}", names)
