"""What groups of domains are called, and which of them are those of the table before."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dnsvigil.learning.clusters import Clusters
from dnsvigil.records import DOMAIN_FEATURES, NO_GROUP
from dnsvigil.store.domain_file import Facts, Group

OUTSTANDING: Final = 1.0
"""A feature stands out where the mean of a group is so many standard deviations from that of all."""

SAME: Final = 2.0
"""Two groups of two tables are the same if their centres are at most so far apart, in standard deviations."""

_SHOWN: Final = 5  # features of a group
_MOST: Final = 0.5  # of the members of a group, or of the known domains of a kind
_SOME: Final = 0.1  # of the members, where most of a kind are in the group
_LIFT: Final = 2.0  # so many times the share of a kind in all domains its share in a group is at least

Kinds = Mapping[str, NDArray[np.bool_]]
"""Which domains are known to be of a kind."""


def describe(
    found: Clusters, kinds: Kinds, former: Facts | None, moved: NDArray[np.float64]
) -> tuple[list[Group], int]:
    """Return the groups, in order, and the next id that is free.

    ``moved`` are their centres as the former table's scaling has them. A group that was there before keeps its id and
    name.
    """
    before = former.groups if former else []
    same = matched(moved, np.array([group.centre for group in before]).reshape(len(before), len(DOMAIN_FEATURES)))
    names = {before[place].name for place in same.values()} | {NO_GROUP}
    next_id = former.next_id if former else 1
    groups = []
    for label, centre in enumerate(found.centres):
        own = found.labels == label
        ranked = sorted(zip(DOMAIN_FEATURES, centre.tolist(), strict=True), key=lambda each: -abs(each[1]))
        outstanding = {name: value for name, value in ranked if abs(value) >= OUTSTANDING}
        if label in same:
            number, name = before[same[label]].id, before[same[label]].name
        else:
            number, next_id = next_id, next_id + 1
            name = _unlike(name_of(outstanding, own, kinds), names)
            names.add(name)
        shown = dict(list(outstanding.items())[:_SHOWN])
        groups.append(Group(number, name, int(own.sum()), shown, centre.tolist()))
    return groups, next_id


def matched(centres: NDArray[np.float64], former: NDArray[np.float64]) -> dict[int, int]:
    """Return which of the former groups each group is, by their centres, for those that are any of them.

    Of all pairings it is the one with the least sum of distances (Kuhn 1955, "The Hungarian method for the assignment
    problem"), of which pairs that are not ``SAME`` are left out.
    """
    from scipy.optimize import linear_sum_assignment

    distances = np.sqrt(((centres[:, None] - former[None]) ** 2).sum(axis=2))
    # What is too far apart is no pair, however far.
    rows, columns = linear_sum_assignment(np.minimum(distances, SAME))
    pairs = zip(rows.tolist(), columns.tolist(), strict=True)
    return {row: column for row, column in pairs if distances[row, column] < SAME}


def name_of(outstanding: Mapping[str, float], own: NDArray[np.bool_], kinds: Kinds) -> str:
    """Name a group by the kind that distinguishes it most, else by the two features that stand out most."""
    lifts = {kind: lift for kind, members in kinds.items() if (lift := _lift(own, members)) >= _LIFT}
    if lifts:
        return max(lifts, key=lambda kind: lifts[kind])
    words = [f"{'high' if value > 0 else 'low'} {name}" for name, value in outstanding.items()]
    return ", ".join(words[:2]) or "ordinary"


def _lift(own: NDArray[np.bool_], members: NDArray[np.bool_]) -> float:
    """Return the share of a kind in a group over its share in all domains, 0 where it does not describe the group."""
    both, total = int((own & members).sum()), int(members.sum())
    share = both / int(own.sum())
    if share < _MOST and not (share >= _SOME and both >= _MOST * total):
        return 0.0
    return share / (total / len(members))


def _unlike(name: str, names: set[str]) -> str:
    """Return a name, with a number if it is taken."""
    numbered: Sequence[str] = [name, *(f"{name} {number}" for number in range(2, len(names) + 2))]
    return next(each for each in numbered if each not in names)
