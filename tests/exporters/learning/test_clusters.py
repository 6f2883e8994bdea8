"""Groups of domains: those that differ come apart, and seeds do not matter where they do."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from dnsvigil.learning import clusters
from dnsvigil.learning.clusters import MAX_GROUPS, cluster
from dnsvigil.records import DOMAIN_FEATURES

FEATURES = list(DOMAIN_FEATURES)
KINDS = ({"ips": 3.0, "ttl_mean": -2.0}, {"subdomains": 3.0, "name_entropy": 2.0}, {})


def domains_of(sizes: tuple[int, ...], seed: int = 1) -> tuple[list[str], NDArray[np.float32], list[int]]:
    """So many domains of each kind, as scaled features, with the kind of each."""
    dice = np.random.default_rng(seed)
    kinds = [kind for kind, size in enumerate(sizes) for _ in range(size)]
    table = dice.normal(0, 0.3, (len(kinds), len(FEATURES))).astype(np.float32)
    for row, kind in enumerate(kinds):
        for name, value in KINDS[kind].items():
            table[row, FEATURES.index(name)] += value
    return [f"{kind}-{row}.example" for row, kind in enumerate(kinds)], table, kinds


@pytest.mark.parametrize("large", [False, True])
def test_kinds_come_apart_whatever_the_seed(monkeypatch, large):
    monkeypatch.setattr(clusters, "_LARGE", 0 if large else 10**9)
    domains, table, kinds = domains_of((40, 60, 100))
    for seed in range(3):
        found = cluster(domains, table, seed)
        assert adjusted_rand_score(kinds, found.labels) == 1
        assert [group.domains for group in found.groups] == [100, 60, 40]
        assert found.silhouette and found.silhouette > 0.4
    ordinary, entropy, ips = found.groups
    assert ordinary.name == "ordinary"
    assert entropy.name == "high subdomains, high name_entropy"
    assert ips.name == "high ips, low ttl_mean"
    assert all(name.startswith("1-") for name in entropy.members)


def test_halves_of_the_domains_agree():
    domains, table, _ = domains_of((50, 50, 50))
    whole = cluster(domains, table).labels
    for half in (slice(0, None, 2), slice(1, None, 2)):
        assert adjusted_rand_score(whole[half], cluster(domains[half], table[half]).labels) == 1


def test_the_oddest_domain_is_the_farthest_from_its_centre():
    domains, table, _ = domains_of((0, 0, 60))
    table[17] += 1.5
    found = cluster(domains, table)
    odd = {name for group in found.groups for name, _ in group.odd[:1]}
    assert domains[17] in odd or 1 in [group.domains for group in found.groups]
    assert found.distances.shape == (60,)


def test_reverse_zones_are_named():
    domains, table, kinds = domains_of((30, 0, 50))
    domains = [
        f"{n}.in-addr.arpa" if kind == 0 else name for n, (name, kind) in enumerate(zip(domains, kinds, strict=True))
    ]
    assert [group.name for group in cluster(domains, table).groups] == ["ordinary", "reverse"]


@pytest.mark.parametrize("count", [0, 1, 2, 3, MAX_GROUPS])
def test_few_or_equal_domains_are_a_group(count):
    table = np.zeros((count, len(FEATURES)), np.float32)
    found = cluster([f"{n}.example" for n in range(count)], table)
    assert [group.domains for group in found.groups] == ([count] if count else [])
    assert found.silhouette is None
    assert found.distances.tolist() == [0] * count
