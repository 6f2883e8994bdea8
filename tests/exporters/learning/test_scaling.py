"""Features on one scale: what is the same everywhere says nothing, and what is missing is taken for the mean."""

import numpy as np
import pytest

from dnsvigil.learning.scaling import Scaling
from dnsvigil.records import DOMAIN_FEATURES

FEATURES = list(DOMAIN_FEATURES)


def values_of(**columns):
    values = np.full((4, len(FEATURES)), 0.1, np.float32)
    for name, column in columns.items():
        values[:, FEATURES.index(name)] = column
    return values


def column(rows, name):
    return rows[:, FEATURES.index(name)].tolist()


def test_shares_are_scaled_as_they_are_and_counts_by_their_logarithm():
    values = values_of(failed_share=[0, 0, 1, 1], queries=[0, np.e - 1, np.e**2 - 1, np.nan])
    rows = Scaling.of(values).rows(values)
    assert column(rows, "failed_share") == pytest.approx([-1, -1, 1, 1])
    assert column(rows, "queries") == pytest.approx([-np.sqrt(1.5), 0, np.sqrt(1.5), 0], abs=1e-6)


def test_a_feature_that_is_the_same_everywhere_or_nowhere_is_0():
    values = np.tile(values_of(asns=[np.nan] * 4, ttl_mean=[1, 1, 1, np.nan]), (25, 1))
    assert np.log1p(values[:, FEATURES.index("queries")].astype(float)).std() > 0  # by rounding
    assert not Scaling.of(values).rows(values).any()


def test_other_domains_are_on_the_scale_that_is_given():
    scaling = Scaling.of(values_of(failed_share=[0, 0, 1, 1]))
    assert column(scaling.rows(values_of(failed_share=[2, 0.5, np.nan, 0])), "failed_share") == [3, 0, 0, -1]
