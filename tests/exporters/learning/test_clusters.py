"""Groups of domains: those that differ come apart, and neither seeds nor halves of the data matter where they do."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from dnsvigil.learning.clusters import MAX_GROUPS, cluster
from dnsvigil.records import DOMAIN_FEATURES

FEATURES = list(DOMAIN_FEATURES)
KINDS = ({"ips": 3.0, "ttl_mean": -2.0}, {"subdomains": 3.0, "name_entropy": 2.0}, {})


def rows_of(sizes: tuple[int, ...], seed: int = 1) -> tuple[NDArray[np.float32], list[int]]:
    """So many domains of each kind, as scaled features, with the kind of each."""
    dice = np.random.default_rng(seed)
    kinds = [kind for kind, size in enumerate(sizes) for _ in range(size)]
    table = dice.normal(0, 0.3, (len(kinds), len(FEATURES))).astype(np.float32)
    for row, kind in enumerate(kinds):
        for name, value in KINDS[kind].items():
            table[row, FEATURES.index(name)] += value
    return table, kinds


@pytest.mark.parametrize("factor", [1, 26])
def test_kinds_come_apart_whatever_the_seed(factor):
    table, kinds = rows_of((40 * factor, 60 * factor, 100 * factor))
    for seed in range(3):
        found = cluster(table, seed)
        assert adjusted_rand_score(kinds, found.labels) == 1
        assert np.bincount(found.labels).tolist() == [100 * factor, 60 * factor, 40 * factor]
        assert found.silhouette and found.silhouette > 0.4
        assert found.centres[1, FEATURES.index("subdomains")] == pytest.approx(3, abs=0.2)


def test_halves_of_the_domains_agree():
    table, _ = rows_of((50, 50, 50))
    whole = cluster(table).labels
    for half in (slice(0, None, 2), slice(1, None, 2)):
        assert adjusted_rand_score(whole[half], cluster(table[half]).labels) == 1


def test_of_numbers_that_are_nearly_as_good_the_largest_is_taken():
    # Two kinds far apart, of which one is two that are nearer to each other.
    table, _ = rows_of((0, 60, 60))
    table[:30, FEATURES.index("ips")] += 2.5
    assert np.bincount(cluster(table).labels).tolist() == [60, 30, 30]
    assert np.bincount(cluster(table, former=2).labels).tolist() == [60, 60]  # so many as before
    assert np.bincount(cluster(table, former=9).labels).tolist() == [60, 30, 30]  # which would be far worse


def test_the_oddest_domain_is_the_farthest_from_its_centre():
    table, _ = rows_of((0, 0, 60))
    table[17] += 1.5
    found = cluster(table)
    own = found.labels == found.labels[17]
    assert found.distances[17] == found.distances[own].max()
    assert found.distances.shape == (60,)
    assert (found.distances[own] > 0).all() or own.sum() == 1


@pytest.mark.parametrize("count", [0, 1, 2, 3, MAX_GROUPS])
def test_few_or_equal_domains_are_a_group(count):
    found = cluster(np.zeros((count, len(FEATURES)), np.float32))
    assert np.bincount(found.labels).tolist() == ([count] if count else [])
    assert len(found.centres) == min(count, 1)
    assert found.silhouette is None
    assert found.distances.tolist() == [0] * count
