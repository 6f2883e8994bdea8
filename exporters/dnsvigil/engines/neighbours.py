"""The neighbours of bad hosts in passive DNS: names and addresses that share an address with them."""

import time
from collections import defaultdict
from collections.abc import Iterable
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from dnsvigil.engines.tuples import TupleReader
from dnsvigil.sources.public_suffixes import registered_domain
from dnsvigil.store.tuple_file import Order
from dnsvigil.store.tuple_keys import data_of_key, key_of_data, key_of_name, name_of_key

MAX_ADDRESSES: Final = 8
"""The addresses of a name with more are nobody's in particular: a network of a CDN, or of a botnet."""

MAX_DOMAINS: Final = 5
"""An address at which more registered domains lie is a shared one."""

MAX_NAMES: Final = 100
"""So is one with more names, whatever their domains."""

_SECONDS: Final = 5.0  # that a look-up may take
_TYPES: Final = ("A", "AAAA")


def neighbours(tuples: TupleReader, names: Iterable[str], addresses: Iterable[str], since: int) -> dict[str, str]:
    """Return the names and addresses that share an address with any of these hosts, each with the host.

    Only what was seen from ``since`` on counts, in seconds since 1970. Raises what :meth:`TupleReader.with_keys` does.
    """
    deadline = time.monotonic() + _SECONDS
    keys = {key_of_name(name): name for name in names}
    shared = {key_of_data("AAAA" if ":" in address else "A", address): address for address in addresses}
    for nkey, rkeys in _pairs(tuples, "names", keys, since, deadline).items():
        if len(rkeys) <= MAX_ADDRESSES:
            shared |= {rkey: keys[nkey] for rkey in rkeys if rkey not in shared}
    found: dict[str, str] = {}
    for rkey, nkeys in _pairs(tuples, "rdata", shared, since, deadline).items():
        near = [name_of_key(nkey) for nkey in nkeys]
        if len(near) <= MAX_NAMES and len({registered_domain(name) or name for name in near}) <= MAX_DOMAINS:
            found |= {host: shared[rkey] for host in (*near, data_of_key(rkey)) if host not in found}
    return {host: of for host, of in found.items() if host not in keys.values() and host not in shared.values()}


def _pairs(tuples: TupleReader, order: Order, keys: Iterable[str], since: int, deadline: float) -> dict[str, set[str]]:
    """Return the other keys of each of these, up to one more than there may be of names."""
    own, other = ("nkey", "rkey") if order == "names" else ("rkey", "nkey")
    found: defaultdict[str, set[str]] = defaultdict(set)
    types = pa.array(_TYPES)  # not before it is needed, as Arrow loads pandas for it

    def select(table: pa.Table) -> pa.Table:
        return table.filter(pc.and_(pc.is_in(table["rrtype"], types), pc.greater_equal(table["time_last"], since)))

    for table in tuples.with_keys(order, keys, deadline=deadline, select=select):
        for key, value in zip(table[own].to_pylist(), table[other].to_pylist(), strict=True):
            if len(found[key]) <= MAX_NAMES:
                found[key].add(value)
    return found
