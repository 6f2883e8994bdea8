"""Brings the features of domains on one scale, on which distances mean something."""

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from dnsvigil.records import DOMAIN_FEATURES
from dnsvigil.store.domain_file import Facts

_COUNTS: Final = (
    "ips",
    "queries",
    "queries_per_hour",
    "seen_seconds",
    "name_servers",
    "subdomains",
    "activities",
    "ttls",
    "ttl_changes",
    "ttl_mean",
    "asns",
    "countries",
    "sharing_domains",
    "clients",
)
"""The features of which the logarithm is compared: their values span orders of magnitude."""

_ROUNDING: Final = 1e-6  # of the mean: what equal numbers may differ by

_OF_COUNTS: Final = np.array([name in _COUNTS for name in DOMAIN_FEATURES])


@dataclass(frozen=True)
class Scaling:
    """The mean and the standard deviation of each feature, of counts and times those of the logarithm of one more.

    The spread of a feature that is the same everywhere, or that no domain has, is 0.
    """

    means: NDArray[np.float64]
    spreads: NDArray[np.float64]

    @classmethod
    def of(cls, values: NDArray[np.float32]) -> Self:
        """Return that of domains: a row each, with a column for each of ``DOMAIN_FEATURES``, NaN for none."""
        means, spreads = np.zeros(len(DOMAIN_FEATURES)), np.zeros(len(DOMAIN_FEATURES))
        for place in range(len(DOMAIN_FEATURES)):
            column = _comparable(values, place)
            known = column[~np.isnan(column)]
            if len(known):
                means[place], spread = known.mean(), known.std()
                spreads[place] = spread if spread > _ROUNDING * abs(means[place]) else 0.0
        return cls(means, spreads)

    @classmethod
    def of_facts(cls, facts: Facts) -> Self:
        """Return that of a table."""
        return cls(np.array(facts.means), np.array(facts.spreads))

    def rows(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return domains with each feature less its mean and over its spread; 0 for one that a domain lacks."""
        table = np.zeros(values.shape, np.float32)
        for place in np.flatnonzero(self.spreads > 0).tolist():
            column = (_comparable(values, place) - self.means[place]) / self.spreads[place]
            table[:, place] = np.nan_to_num(column)
        return table


def _comparable(values: NDArray[np.float32], place: int) -> NDArray[Any]:
    column = values[:, place].astype(np.float64)  # one at a time: all would be twice the table
    return np.log1p(column) if _OF_COUNTS[place] else column
