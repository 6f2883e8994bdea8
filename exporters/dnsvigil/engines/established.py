"""Domains that are never newly observed, because half the world asks for them."""

import hashlib
import subprocess
import sys
from functools import cache

import duckdb
import numpy as np
from numpy.typing import NDArray

from dnsvigil.engines.duckdb import queries
from dnsvigil.engines.pandas import leave_out_pandas
from dnsvigil.records import SINGLE_LABEL
from dnsvigil.sources.warninglists import warning_list
from dnsvigil.system.programs import environment

Hashes = NDArray[np.uint64]


@cache
def established() -> Hashes:
    """Return, ascending, the hashes of the domains that are never newly observed, whenever they are first asked for.

    These are the million of the Tranco list of pymispwarninglists, reverse zones and names of one label.
    """
    # The list as texts would leave 85 MB with this process.
    command = [sys.executable, "-P", "-m", "dnsvigil.engines.established"]
    made = subprocess.run(command, env=environment(), stdout=subprocess.PIPE, check=True)  # noqa: S603
    return np.frombuffer(made.stdout, np.uint64)


def is_established(domain: str) -> bool:
    """Return whether a domain is one of :func:`established`."""
    # As domain_hash of dnsvigil.features.novelty has it.
    digest = hashlib.md5(b"d" + domain.encode(), usedforsecurity=False).digest()
    return bool(within(np.frombuffer(digest, "<u8", 1, 8), established())[0])


def within(asked: Hashes, ascending: Hashes) -> NDArray[np.bool_]:
    """Return which hashes are among those that are ascending."""
    if not len(ascending):
        return np.zeros(len(asked), np.bool_)
    places = np.minimum(np.searchsorted(ascending, asked), len(ascending) - 1)
    found: NDArray[np.bool_] = ascending[places] == asked
    return found


def _made() -> Hashes:
    domains = [*warning_list("tranco"), "in-addr.arpa", "ip6.arpa", SINGLE_LABEL]
    with duckdb.connect() as connection:
        connection.register("domains", {"domain": np.array(domains, object)})
        hashes: Hashes = connection.execute(queries("novelty")["domain_hashes"]).fetchnumpy()["hash"]
    return hashes


if __name__ == "__main__":
    leave_out_pandas()
    sys.stdout.buffer.write(_made().tobytes())
