"""Makes the features of domains, on any engine."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from dnsvigil.engines.duckdb import queries
from dnsvigil.engines.engine import Engine
from dnsvigil.records import SHORTEST_WORD
from dnsvigil.sources.public_suffixes import ambiguous_suffixes, public_suffixes
from dnsvigil.store.tuple_keys import data_of_key

Places = Callable[[Sequence[str]], tuple[Sequence[int | None], Sequence[str | None]]]
"""Returns the AS numbers and the countries of addresses, None for those that are not known."""


def make_domain_features(engine: Engine, words: Iterable[str], places: Places | None = None) -> None:
    """Make the table ``domain_features`` from the tables ``domain_hours`` and ``tuples``.

    The tuples are in the form of :data:`dnsvigil.records.TUPLE`, of which ``nkey``, ``rrtype``, ``rkey``, ``ttl_max``
    and the times are enough. The columns made are ``domain``, ``first_seen`` and ``last_seen`` in seconds since the
    epoch, and those of :data:`dnsvigil.records.DOMAIN_FEATURES`. ``words`` are those that are looked for in names.
    """
    suffixes, kinds = zip(*public_suffixes(), strict=True)
    engine.lookup("suffixes", {"suffix": "VARCHAR", "kind": "VARCHAR"}, suffixes, kinds)
    engine.lookup("suffix_tails", {"tail": "VARCHAR"}, sorted(ambiguous_suffixes()))
    long = [word for word in words if len(word) >= SHORTEST_WORD]
    begins = [word[:SHORTEST_WORD] for word in long]
    engine.lookup("words", {"word": "VARCHAR", "begin": "VARCHAR"}, long, begins)
    for name in queries("domain_features"):
        if name == "domain_networks":
            _find_places(engine, places)
        engine.run("domain_features", name)


def _find_places(engine: Engine, places: Places | None) -> None:
    types = {"address": "VARCHAR", "asn": "BIGINT", "country": "VARCHAR"}
    if places:
        addresses = "SELECT DISTINCT address FROM domain_addresses"
        engine.derive("address_places", types, addresses, partial(_places_of_keys, places))
    else:
        engine.lookup("address_places", types, (), (), ())


def _places_of_keys(places: Places, keys: Sequence[str]) -> Sequence[Sequence[object]]:
    return places([data_of_key(key) for key in keys])
