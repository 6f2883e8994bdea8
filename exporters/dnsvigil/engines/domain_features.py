"""Makes the features of domains, in one database or in many."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import duckdb

from dnsvigil.engines.duckdb import Steps, lookup, macro, queries
from dnsvigil.records import SHORTEST_WORD
from dnsvigil.sources.public_suffixes import ambiguous_suffixes, public_suffixes
from dnsvigil.store.tuple_keys import data_of_key

Places = Callable[[Sequence[str]], tuple[Sequence[int | None], Sequence[str | None]]]
"""Returns the AS numbers and the countries of addresses, None for those that are not known."""

SUBJECT: Final = "domain_features"

OF_DOMAINS: Final = (
    "feature_domains",
    "asked_domains",
    "domain_days",
    "domain_activity",
    "domain_clients",
    "domain_subdomains",
    "domain_rrsets",
    "domain_servers",
    "domain_labels",
    "domain_words",
)
"""The tables that have the number of a domain in ``domain``, and are made of the domain's own rows alone."""

_JOINED: Final = (*OF_DOMAINS, "domain_dispersion", "domain_networks")
_AT_ONCE: Final = 2**18
"""Domains that are joined at once: the engine has the tables that it joins in memory, all of them at a time."""


def make_domain_features(
    connection: duckdb.DuckDBPyConnection, words: Iterable[str], places: Places | None = None
) -> None:
    """Make the table ``domain_features`` from the tables ``domain_hours`` and ``tuples``.

    The tuples are in the form of :data:`dnsvigil.records.TUPLE`, of which ``nkey``, ``rrtype``, ``rkey``, ``ttl_max``
    and the times are enough. The columns made are ``domain``, ``first_seen`` and ``last_seen`` in seconds since the
    epoch, and those of :data:`dnsvigil.records.DOMAIN_FEATURES`. ``words`` are those that are looked for in names.
    """
    add_suffixes(connection)
    add_words(connection, words)
    macro(connection, "domain_number(name)", "row_number() OVER ()")
    steps = Steps(connection, SUBJECT)
    for name in queries(SUBJECT):
        if name == "domain_networks":
            add_places(connection, places)
        if name != SUBJECT:
            steps.run(name)
    join_features(connection)


def join_features(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the table ``domain_features`` from those that it is joined of, in memory that does not grow with them."""
    steps = Steps(connection, SUBJECT)
    ((domains,),) = connection.execute("SELECT count(*) FROM feature_domains").fetchall()
    parts = -(-domains // _AT_ONCE)
    if parts < 2:
        steps.run(SUBJECT)
        return
    for name in _JOINED:
        connection.execute(f"ALTER TABLE {name} RENAME TO whole_{name}")
    for part in range(parts):
        for name in _JOINED:
            rows = f"FROM whole_{name} WHERE domain % {parts} = {part}"
            connection.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS {rows}")
        if part:
            steps.append(SUBJECT, SUBJECT)
        else:
            steps.run(SUBJECT)
    for name in _JOINED:
        connection.execute(f"DROP VIEW {name}")
        connection.execute(f"ALTER TABLE whole_{name} RENAME TO {name}")


def add_suffixes(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the tables of public suffixes."""
    suffixes, kinds = zip(*public_suffixes(), strict=True)
    lookup(connection, "suffixes", {"suffix": "VARCHAR", "kind": "VARCHAR"}, suffixes, kinds)
    lookup(connection, "suffix_tails", {"tail": "VARCHAR"}, sorted(ambiguous_suffixes()))


def add_words(connection: duckdb.DuckDBPyConnection, words: Iterable[str]) -> None:
    """Make the table of words that are long enough."""
    long = [word for word in words if len(word) >= SHORTEST_WORD]
    begins = [word[:SHORTEST_WORD] for word in long]
    lookup(connection, "words", {"word": "VARCHAR", "begin": "VARCHAR"}, long, begins)


def add_places(connection: duckdb.DuckDBPyConnection, places: Places | None) -> None:
    """Make the table of what is known of the addresses in ``domain_addresses``."""
    found: Sequence[Sequence[object]] = ((), (), ())
    if places:
        rows = connection.execute("SELECT DISTINCT address FROM domain_addresses").fetchall()
        keys = [key for (key,) in rows]
        found = (keys, *places([data_of_key(key) for key in keys]))
    lookup(connection, "address_places", {"address": "VARCHAR", "asn": "BIGINT", "country": "VARCHAR"}, *found)
