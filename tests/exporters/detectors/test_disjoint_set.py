"""Disjoint sets, beside scipy's."""

from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import DisjointSet as Theirs

from dnsvigil.detectors.disjoint_set import DisjointSet

MEMBERS = st.integers(0, 30)


@given(st.lists(MEMBERS, unique=True, min_size=1), st.data())
def test_it_is_what_scipy_has(members: list[int], data: st.DataObject) -> None:
    mine, theirs = DisjointSet(members), Theirs(members)
    for one, other in data.draw(st.lists(st.tuples(st.sampled_from(members), st.sampled_from(members)))):
        mine.merge(one, other)
        theirs.merge(one, other)
    assert list(mine.subsets()) == theirs.subsets()
    assert all((mine[one] == mine[other]) == (theirs[one] == theirs[other]) for one in members for other in members)
