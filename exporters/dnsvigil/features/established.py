"""Domains that are never newly observed, because half the world asks for them."""

import hashlib
from collections.abc import Collection
from functools import cache

import duckdb
import ibis
import numpy as np

from dnsvigil.features import unusual
from dnsvigil.features.novelty import Hashes, within
from dnsvigil.features.warninglists import warning_list


@cache
def never_young() -> Hashes:
    """Return, ascending, the hashes of the domains that are not young whenever they are first asked for.

    These are the million of the Tranco list of pymispwarninglists, reverse zones and names of one label.
    """
    return _hashes([*warning_list("tranco"), "in-addr.arpa", "ip6.arpa", unusual.SINGLE_LABEL])


def is_never_young(domain: str) -> bool:
    """Return whether a domain is one of :func:`never_young`."""
    # As unusual.domain_hash has it.
    digest = hashlib.md5(b"d" + domain.encode(), usedforsecurity=False).digest()
    return bool(within(np.frombuffer(digest, "<u8", 1, 8), never_young())[0])


def _hashes(domains: Collection[str]) -> Hashes:
    expression = unusual.domain_hash(ibis.table({"domain": "string"}, name="known").domain)
    query = ibis.to_sql(expression.name("hash").as_table().order_by("hash"), dialect="duckdb")
    with duckdb.connect() as connection:
        connection.register("known", {"domain": np.array(domains, object)})
        hashes: Hashes = connection.execute(str(query)).fetchnumpy()["hash"]
    return hashes
