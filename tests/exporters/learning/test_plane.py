"""The plane of groups: what lies apart in many features lies apart in it, and groups of before lie where they were."""

import numpy as np

from dnsvigil.learning.plane import MAX_POINTS, plane
from dnsvigil.learning.scaling import Scaling
from dnsvigil.records import DOMAIN_FEATURES
from dnsvigil.store.domain_file import Facts, Group, facts_of
from exporters.domain_tables import MADE

COUNT = len(DOMAIN_FEATURES)


def test_groups_lie_apart_where_they_are_and_where_they_were():
    """Two groups differ in the first feature; the second of them was farther out, in the units of before."""
    dice = np.random.default_rng(1)
    groups = np.repeat([3, 7], 2000)
    rows = dice.normal(0, 0.2, (4000, COUNT)).astype(np.float32)
    rows[groups == 7, 0] += 3
    centre = [0.0] * COUNT
    centre[0] = 1.0  # of before, which is 2 * 1 + 1 in values, and 3 in units of now
    now = Scaling(np.zeros(COUNT), np.ones(COUNT))
    former = Facts(
        MADE, [*DOMAIN_FEATURES], [1.0] * COUNT, [2.0] * COUNT, {}, [Group(7, "far", 9, {}, centre)], None, 8
    )
    found = plane(rows, groups, now, former)
    assert next(iter(found.axes[0])) == next(iter(DOMAIN_FEATURES))
    assert len(found.points) == MAX_POINTS
    assert found.centres["7"][0] - found.centres["3"][0] > 2.9
    for x, _, group in found.points:
        assert (x > 0) == (group == 7)
    assert abs(found.former["7"][0] - found.centres["7"][0]) < 0.1


def test_a_plane_is_read_as_it_was_written():
    rows = np.eye(COUNT, dtype=np.float32)
    found = plane(rows, np.ones(COUNT, np.int64), Scaling(np.zeros(COUNT), np.ones(COUNT)), None)
    facts = Facts(MADE, [*DOMAIN_FEATURES], [], [], {}, [], None, 2, found)
    again = facts_of(facts.text()).plane
    assert [tuple(point) for point in again.points] == list(found.points)
    assert again.axes == found.axes


def test_no_domains_have_no_plane():
    nothing = np.empty((0, COUNT), np.float32)
    assert plane(nothing, np.empty(0, np.int64), Scaling(np.zeros(COUNT), np.ones(COUNT)), None) is None
