"""Names of clients: what a store has of an address of IPv6 goes on under the prefix that stands for its client."""

import json
from collections.abc import Callable, Mapping
from typing import Final

from dnsvigil.store.store import Store

TABLES: Final[Mapping[str, tuple[str, str]]] = {
    "novel": ("client", "true"),
    "listed": ("client", "true"),
    "client_lookups": ("client", "true"),
    "client_lookup_days": ("client", "true"),
    "honeypot_sessions": ("client", "true"),
    "findings": ("subject", "subject_type = 'client'"),
    "dismissals": ("subject", "subject_type = 'client'"),
}
"""The tables with clients: the column, and the condition under which it has one."""

_KEY: Final = "client_prefixes"


def take_client_names(store: Store, prefixes: Mapping[str, int], name: Callable[[str], str]) -> None:
    """Give the clients of ``TABLES``, as far as they are there, their names where the configuration has changed.

    ``prefixes`` are those of the configuration, by which ``name`` returns the name of an address or of a prefix that
    stood for a client. For inside a transaction. A store that is only read stays as it is.
    """
    configured = json.dumps(dict(prefixes), sort_keys=True)
    if store.read_only or store.meta(_KEY, "") == configured:
        return
    there = {table for (table,) in store.rows("SELECT table_name FROM duckdb_tables()")}
    for table in TABLES.keys() & there:
        column, condition = TABLES[table]
        clients = store.rows(f"SELECT DISTINCT {column} FROM {table} WHERE {condition} AND contains({column}, ':')")
        for client, own in ((client, name(client)) for (client,) in clients):
            if own != client:
                store.rows(f"UPDATE {table} SET {column} = ? WHERE {column} = ? AND {condition}", own, client)
    store.rows("UPDATE meta SET value = ? WHERE key = ?", configured, _KEY)
