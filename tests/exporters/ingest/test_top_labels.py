"""Which labels are shown: few enough, the heaviest, and not others every minute."""

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from dnsvigil.ingest.top_labels import TopLabels


def top(count: int, *, pinned: tuple[str, ...] = (), shown: tuple[str, ...] = ()) -> TopLabels:
    return TopLabels(count, pinned, shown, {})


def test_free_places_go_to_the_heaviest_at_once() -> None:
    labels = top(2)
    labels.offer([("a", 1), ("b", 5), ("c", 3)])
    assert sorted(labels.shown) == ["b", "c"]


def test_places_do_not_change_hands_before_renewal() -> None:
    labels = top(1)
    labels.offer([("a", 1)])
    labels.offer([("b", 1000)])
    assert labels.shown == ["a"]
    labels.rebalance()
    assert labels.shown == ["b"]


def test_places_do_not_change_hands_for_a_little_more() -> None:
    labels = top(1)
    labels.offer([("a", 100)])
    labels.offer([("b", 150)])
    labels.rebalance()
    assert labels.shown == ["a"]
    labels.offer([("b", 1)])
    labels.rebalance()
    assert labels.shown == ["b"]


def test_several_places_change_hands_lightest_first() -> None:
    labels = top(3)
    labels.offer([("a", 1), ("b", 2), ("c", 100)])
    labels.offer([("x", 50), ("y", 60), ("z", 70)])
    labels.rebalance()
    assert sorted(labels.shown) == ["c", "y", "z"]


def test_pinned_labels_take_no_place() -> None:
    labels = top(1, pinned=("p",), shown=("p", "a"))
    assert labels.shown == ["a"]
    labels.offer([("p", 1000), ("b", 2)])
    labels.rebalance()
    assert labels.shown == ["b"]
    assert "p" in labels.known()


def test_what_was_heavy_long_ago_makes_room() -> None:
    labels = top(1)
    labels.offer([("old", 1000)])
    for _ in range(12):
        labels.offer([("new", 10)])
        labels.decay()
        labels.rebalance()
    assert labels.shown == ["new"]


def test_no_places_no_labels() -> None:
    labels = top(0, pinned=("p",))
    labels.offer([("a", 5), ("b", 7)])
    labels.rebalance()
    labels.decay()
    assert (labels.shown, labels.weights) == ([], {})


def test_fewer_places_than_before() -> None:
    assert top(2, shown=("a", "b", "c")).shown == ["a", "b"]


@given(st.lists(st.lists(st.tuples(st.sampled_from("abcdefghijklmnopqrstuvwxyz"), st.integers(1, 1000)))))
def test_never_more_than_its_bounds(batches: list[list[tuple[str, int]]]) -> None:
    labels = top(2, pinned=("z",))
    for batch in batches:
        labels.offer(Counter(dict(batch)).items())
        labels.rebalance()
        assert len(labels.shown) == len(set(labels.shown)) <= 2
        assert len(labels.weights) <= labels.capacity == 20
        assert len(labels.known()) <= 20 + 2 + 1 + 1
        assert all(weight > 0 for weight in labels.weights.values())


def test_the_heavy_ones_are_found_among_very_many() -> None:
    """Misra-Gries: whatever has more than one part in capacity of all weight is a candidate."""
    dice = random.Random(1)
    labels = top(3)
    for _ in range(200):
        tail = Counter(f"rare{dice.randrange(100_000)}" for _ in range(60))
        labels.offer([*tail.items(), ("a", 30), ("b", 20), ("c", 10)])
        labels.rebalance()
    assert sorted(labels.shown) == ["a", "b", "c"]
