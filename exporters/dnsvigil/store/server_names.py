"""Servers are given names: what was counted under their addresses goes on under the name.

A series that is there never jumps, so that no increase of it is counted twice: only a name without counters takes over
those of its addresses. A store keeps which addresses the names stood for, so that a server can be given another name.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dnsvigil.store.store import LARGEST, Store


@dataclass(frozen=True)
class ServerCounters:
    """The counters with the label of a server, in SQL."""

    key: str  # under which the store keeps the names
    metrics: str  # the condition that finds them
    label: str  # the expression of the label
    renamed: str  # their a and b with the label $name


def take_names(store: Store, counters: ServerCounters, servers: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Move the counters of addresses, and of former names, to the names of ``servers``, given with their addresses.

    For inside a transaction. Returns the labels whose counters each name has taken over. In a store that is only read
    this is so for as long as it is open.
    """
    if store.read_only:
        store.connection.execute("CREATE TEMP TABLE IF NOT EXISTS counters AS FROM counters")
    former: dict[str, list[str]] = json.loads(store.meta(counters.key, "{}"))
    known = f"FROM counters WHERE {counters.metrics} AND list_contains($labels, {counters.label})"
    taken: dict[str, list[str]] = {}
    for name, addresses in servers.items():
        labels = {*addresses, *(each for each, of in former.items() if set(of) <= set(addresses))} - {name}
        bound = {"labels": sorted(labels)}
        if not labels or store.connection.execute(f"SELECT 1 {known} LIMIT 1", {"labels": [name]}).fetchall():
            continue
        store.connection.execute(
            f"INSERT INTO counters SELECT metric, {counters.renamed}, least(sum(value), {LARGEST}) {known}"
            " GROUP BY 1, 2, 3",
            {"name": name, **bound},
        )
        store.connection.execute(f"DELETE {known}", bound)
        taken[name] = bound["labels"]
    if not store.read_only and former != {name: [*of] for name, of in servers.items()}:
        store.connection.execute("UPDATE meta SET value = ? WHERE key = ?", [json.dumps(dict(servers)), counters.key])
    return taken
