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
        steps.run(name)


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
