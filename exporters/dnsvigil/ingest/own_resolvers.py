"""Resolvers that sensors see from both sides: asked by clients, and asking other servers in turn.

Such a resolver asks for what all of its clients ask for, so that it would seem to be the worst of them.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final

from dnsvigil.config.collector import Config
from dnsvigil.engines.duckdb import is_in
from dnsvigil.records import OTHER
from dnsvigil.store.novelty import KEPT_FOR
from dnsvigil.store.store import Store

_MIN_CLIENTS: Final = 20
_MIN_ZONES: Final = 10  # with a label: other name servers have many clients, too, but not for so many zones
_MIN_CLIENTS_CONFIGURED: Final = 2
_OF_CLIENTS: Final = ("novel", "listed", "client_lookups")
# The smallest hashes of each minute are enough to count so few.
_SERVERS: Final = f"""
    WITH asked AS (
        SELECT server, count(DISTINCT hash) AS clients FROM (
            SELECT server, unnest(sketch[:{_MIN_CLIENTS}]) AS hash FROM minute_clients
            WHERE minute > $1 AND minute <= $2 AND server <> '{OTHER}'
        ) GROUP BY server HAVING count(DISTINCT hash) >= {_MIN_CLIENTS_CONFIGURED}
    ), answering AS (
        SELECT server, count(DISTINCT zone) AS zones FROM minute_zones
        WHERE minute > $1 AND minute <= $2 AND zone <> '{OTHER}' GROUP BY server
    )
    SELECT server, clients >= {_MIN_CLIENTS} AND zones >= {_MIN_ZONES} FROM asked LEFT JOIN answering USING (server)
"""


def own_resolvers(store: Store, config: Config, now: datetime) -> set[str]:
    """Return the clients that are resolvers with clients of their own in the records of a day.

    Those are configured servers with several clients, and others with many clients that ask for many zones. A resolver
    of which only its own queries are seen is none of them: it stands for its clients.
    """
    configured = config.servers.addresses
    addresses: set[str] = set()
    for server, is_resolver in store.rows(_SERVERS, now - KEPT_FOR, now):
        if server in configured:
            addresses.update(configured[server])
        elif is_resolver:
            addresses.add(server)
    return {config.detectors.client_of(address) for address in addresses}


@contextmanager
def hidden(store: Store, clients: Collection[str]) -> Iterator[None]:
    """Let queries of the store see nothing that these clients asked for."""
    ((database,),) = store.rows("SELECT current_database()")
    tables = _OF_CLIENTS if clients else ()
    try:
        for table in tables:
            rows = f"FROM {database}.main.{table} WHERE NOT {is_in('client', clients)}"
            store.rows(f"CREATE OR REPLACE TEMP VIEW {table} AS {rows}")
        yield
    finally:
        for table in tables:
            store.rows(f"DROP VIEW IF EXISTS temp.{table}")
