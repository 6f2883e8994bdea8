"""Groups keep their ids and names from table to table, and are named by what their domains are known to be."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from numpy.typing import NDArray

from dnsvigil.learning.clusters import centres_of, cluster, cut
from dnsvigil.learning.groups import SAME, Kinds, describe, matched, name_of
from dnsvigil.learning.scaling import Scaling
from dnsvigil.records import DOMAIN_FEATURES
from dnsvigil.store.domain_file import Facts, Group

FEATURES = list(DOMAIN_FEATURES)
Values = NDArray[np.float32]


def domains_like(counts: dict[str, int], seed: int = 1) -> tuple[Values, NDArray[np.str_]]:
    """The features of so many domains of each kind, with the kind of each."""
    dice = np.random.default_rng(seed)
    kinds = np.repeat(list(counts), list(counts.values()))
    values = np.ones((len(kinds), len(FEATURES)), np.float32)
    for kind, name in (("many", "ips"), ("failing", "failed_share"), ("deep", "subdomains")):
        if kind in counts:
            column = values[:, FEATURES.index(name)]
            column += np.abs(dice.normal(0, 0.3, len(kinds)))
            column[kinds == kind] += 9
    return values, kinds


def table_of(values: Values, former: Facts | None = None, seed: int = 0, kinds: Kinds | None = None) -> Facts:
    scaling = Scaling.of(values)
    found = cluster(scaling.rows(values), seed)
    before = Scaling.of_facts(former) if former else scaling
    groups, next_id = describe(found, kinds or {}, former, centres_of(cut(before.rows(values)), found.labels))
    return Facts(
        datetime(2026, 3, 1, tzinfo=UTC),
        FEATURES,
        scaling.means.tolist(),
        scaling.spreads.tolist(),
        {},
        groups,
        found.silhouette,
        next_id,
    )


def ids(facts: Facts) -> dict[str, int]:
    return {group.name: group.id for group in facts.groups}


ALL = {"many": 60, "failing": 50, "deep": 40, "plain": 90}


def test_the_same_data_has_the_same_groups_and_other_data_like_it_too():
    first = table_of(domains_like(ALL)[0])
    assert [group.id for group in first.groups] == [1, 2, 3, 4]
    assert ids(table_of(domains_like(ALL)[0], first)) == ids(first)
    for seed in (2, 3):  # others like them, in other numbers, and so on another scale and in another order
        values, _ = domains_like({"deep": 90, "many": 70, "plain": 60, "failing": 40}, seed)
        again = table_of(values, first, seed)
        assert ids(again) == ids(first)
        assert [group.id for group in again.groups] != [group.id for group in first.groups]


def test_a_group_that_is_new_gets_an_id_that_none_ever_had():
    first = table_of(domains_like(ALL)[0])
    gone = table_of(domains_like({kind: count for kind, count in ALL.items() if kind != "deep"})[0], first)
    assert len(gone.groups) == 3
    assert ids(gone).items() < ids(first).items()
    back = table_of(domains_like(ALL)[0], gone)
    assert sorted(set(ids(back).values()) - set(ids(gone).values())) == [5]
    assert back.next_id == 6


def test_centres_that_are_too_far_apart_are_no_pair():
    centres = np.array([[0.0, 0], [10, 0], [20, 0]])
    former = np.array([[20 + SAME * 0.9, 0], [SAME * 0.9, 0], [10 + SAME * 1.1, 0]])
    assert matched(centres, former) == {0: 1, 2: 0}
    assert matched(centres, np.zeros((0, 2))) == matched(np.zeros((0, 2)), former) == {}
    # The nearest to the first is also the only one for the second.
    assert matched(np.array([[0.0], [1.5]]), np.array([[0.5], [-1.0]])) == {0: 1, 1: 0}


def members(text: str) -> NDArray[np.bool_]:
    return np.array([character == "x" for character in text])


@pytest.mark.parametrize(
    ("own", "kinds", "name"),
    [
        ("xxxx......", {"CDN": "xxx......."}, "CDN"),  # most of the group
        ("xxxx......", {"CDN": "xxx...xxxx"}, "low ttls"),  # of which there are as many elsewhere
        ("xxxxx.....", {"mail": "x........."}, "mail"),  # not most of the group, but all that there are
        ("xxxx" + 26 * ".", {"mail": "x......xx" + 21 * "."}, "low ttls"),  # neither, though more than elsewhere
        ("xxxx......", {"popular": "xxxx.xxx..", "CDN": "xxx......."}, "CDN"),  # what distinguishes it most
        ("xxxx......", {"CDN": ".........."}, "low ttls"),
        ("xxxx......", {}, "low ttls"),
    ],
)
def test_a_kind_names_a_group_that_it_distinguishes(own, kinds, name):
    found = {kind: members(text) for kind, text in kinds.items()}
    assert name_of({"ttls": -2.0}, members(own), found) == name


def test_without_a_kind_the_features_that_stand_out_name_a_group():
    own = members("xx.")
    assert name_of({"ips": 3.0, "ttls": -2.0, "queries": 1.5}, own, {}) == "high ips, low ttls"
    assert name_of({}, own, {}) == "ordinary"


def test_no_two_groups_have_one_name():
    values, kinds = domains_like(ALL)
    known = {"CDN": np.isin(kinds, ("many", "deep")), "none": kinds == "failing"}
    assert sorted(ids(table_of(values, kinds=known))) == ["CDN", "CDN 2", "none 2", "ordinary"]


def test_the_former_name_stays_whatever_is_known_now():
    values, kinds = domains_like(ALL)
    first = table_of(values)
    assert ids(table_of(values, first, kinds={"CDN": kinds == "many"})) == ids(first)


def test_a_group_has_the_features_that_stand_out():
    groups = {group.name: group for group in table_of(domains_like(ALL)[0]).groups}
    assert isinstance(groups["high ips"], Group)
    assert list(groups["high ips"].features) == ["ips"]
    assert groups["high ips"].features["ips"] == pytest.approx(groups["high ips"].centre[FEATURES.index("ips")])
