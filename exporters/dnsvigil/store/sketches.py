"""Sketches of distinct values: the smallest hashes of a set. The sketches of several sets make that of their union."""

from collections.abc import Sequence
from typing import Final

SKETCH_SIZE: Final = 256
"""Hashes kept in a sketch of distinct clients; its standard error is 1/sqrt(254), 6 %."""

DOMAIN_SKETCH_SIZE: Final = 64
"""Hashes kept in a sketch of what is distinct about one domain, of which there are many; its standard error is 13 %."""

DOMAIN_HASHES: Final = 2**63
"""The number of these hashes: they have no sign bit, which other engines' integers have."""

_HASHES: Final = 2**64


def estimate_distinct(sketches: Sequence[Sequence[int]]) -> float:
    """Return the number of distinct values in the union of ``sketches``, each of the ``SKETCH_SIZE`` smallest hashes.

    It is exact below ``SKETCH_SIZE``, else (k - 1) / the k-th smallest hash as a fraction of the hashes' range
    (Beyer et al., SIGMOD 2007, "On synopses for distinct-value estimation under multiset operations").
    """
    smallest = sorted({value for sketch in sketches for value in sketch})[:SKETCH_SIZE]
    if len(smallest) < SKETCH_SIZE:
        return float(len(smallest))
    return (SKETCH_SIZE - 1) * _HASHES / smallest[-1]
