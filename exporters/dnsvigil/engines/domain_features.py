"""Makes the features of domains on the embedded engine."""

from collections.abc import Callable, Iterable, Sequence

import duckdb

from dnsvigil.engines.duckdb import Steps, lookup, queries
from dnsvigil.records import SHORTEST_WORD
from dnsvigil.sources.public_suffixes import ambiguous_suffixes, public_suffixes
from dnsvigil.store.tuple_keys import data_of_key

Places = Callable[[Sequence[str]], tuple[Sequence[int | None], Sequence[str | None]]]
"""Returns the AS numbers and the countries of addresses, None for those that are not known."""


def make_domain_features(
    connection: duckdb.DuckDBPyConnection, words: Iterable[str], places: Places | None = None
) -> None:
    """Fill the temporary table ``domain_features`` from the tables or views ``domain_hours`` and ``tuples``.

    The tuples are in the form of :data:`dnsvigil.records.TUPLE`, of which ``nkey``, ``rrtype``, ``rkey``, ``ttl_max``
    and the times are enough. The columns made are ``domain``, ``first_seen`` and ``last_seen`` in seconds since the
    epoch, and those of :data:`dnsvigil.records.DOMAIN_FEATURES`. ``words`` are those that are looked for in names.
    """
    suffixes, kinds = zip(*public_suffixes(), strict=True)
    lookup(connection, "suffixes", {"suffix": "VARCHAR", "kind": "VARCHAR"}, suffixes, kinds)
    lookup(connection, "suffix_tails", {"tail": "VARCHAR"}, sorted(ambiguous_suffixes()))
    long = [word for word in words if len(word) >= SHORTEST_WORD]
    begins = [word[:SHORTEST_WORD] for word in long]
    lookup(connection, "words", {"word": "VARCHAR", "begin": "VARCHAR"}, long, begins)
    steps = Steps(connection, "domain_features")
    for name in queries("domain_features"):
        if name == "domain_networks":
            _find_places(connection, places)
        steps.run(name)


def _find_places(connection: duckdb.DuckDBPyConnection, places: Places | None) -> None:
    keys: list[str] = []
    if places:
        found = connection.execute("SELECT DISTINCT address FROM domain_addresses").fetchall()
        keys = [key for (key,) in found]
    asns, countries = places(list(map(data_of_key, keys))) if places else ((), ())
    types = {"address": "VARCHAR", "asn": "BIGINT", "country": "VARCHAR"}
    lookup(connection, "address_places", types, keys, asns, countries)
