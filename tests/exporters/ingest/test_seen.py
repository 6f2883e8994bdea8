"""What was never seen before, against sets of Python."""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dnsvigil.engines.established import Hashes
from dnsvigil.ingest.seen import MAX_NEWLY_OBSERVED, NEWLY_OBSERVED_FOR, NewlyObserved, Novelty, Seen

HASHES = st.lists(st.lists(st.integers(0, 40), max_size=12), max_size=30)


def u8(numbers: object) -> Hashes:
    return np.array(numbers, np.uint64)


@given(HASHES, st.integers(1, 30))
@settings(deadline=None)
def test_it_is_two_generations_of_sets(batches: list[list[int]], capacity: int) -> None:
    made = Novelty(capacity, {})
    older: set[int] = set()
    newer: set[int] = set()
    for batch in batches:
        asked = set(batch)
        assert made.unseen(u8(batch)).tolist() == [number not in older | newer for number in batch]
        fresh = asked - newer
        if fresh and len(newer) + len(fresh) > capacity and newer:
            older, newer = newer, set()
        newer |= fresh


@given(HASHES, st.integers(1, 30), st.integers(0, 29))
@settings(deadline=None)
def test_it_goes_on_from_what_was_kept(batches: list[list[int]], capacity: int, cut: int) -> None:
    whole, first = Novelty(capacity, {}), Novelty(capacity, {})
    kept: dict[int, list[int]] = {}
    for batch in batches[:cut]:
        whole.unseen(u8(batch))
        first.unseen(u8(batch))
        for generation, hashes in first.drain():
            kept.setdefault(generation, []).extend(hashes.tolist())
    second = Novelty(capacity, {generation: u8(hashes) for generation, hashes in kept.items()})
    for batch in batches[cut:]:
        assert second.unseen(u8(batch)).tolist() == whole.unseen(u8(batch)).tolist()


def test_what_is_met_often_stays_known_and_memory_is_bounded() -> None:
    made = Novelty(200_000, {})
    made.unseen(u8([7]))
    for start in range(10, 2_000_000, 50_000):
        made.unseen(np.arange(start, start + 50_000, dtype=np.uint64))
        assert not made.unseen(u8([7]))[0]
        assert len(made) <= 200_000
    assert made.unseen(u8([10]))[0]  # it was not met again, and is forgotten
    assert not made.unseen(u8([1_999_999]))[0]


def test_domains_are_newly_observed_for_a_day_and_for_few_clients() -> None:
    newly_observed = NewlyObserved(u8([]), np.zeros(0, np.int64), u8([]))
    assert newly_observed.add(u8([3, 9]), np.array([1000, 2000])) == 2
    assert newly_observed.add(u8([5]), np.array([1500])) == 1
    at = np.array([1500 + NEWLY_OBSERVED_FOR] * 4)
    assert newly_observed.contains(u8([3, 5, 9, 4]), at).tolist() == [False, False, True, False]
    few, many = (1 << 39) - 1, ((1 << 20) - 1) << 30
    assert newly_observed.meet(u8([9, 5, 4]), u8([few, few, 1 << 63])).tolist() == []
    assert newly_observed.meet(u8([5]), u8([many])).tolist() == [5]
    assert not newly_observed.contains(u8([5]), np.array([1500]))[0]
    newly_observed.forget(1001)
    assert len(newly_observed) == 1


def test_domains_beyond_the_bound_are_refused() -> None:
    most = MAX_NEWLY_OBSERVED
    newly_observed = NewlyObserved(
        np.arange(most - 1, dtype=np.uint64), np.zeros(most - 1, np.int64), u8([0] * (most - 1))
    )
    assert newly_observed.add(u8([most, most + 1]), np.array([1, 1])) == 1
    assert len(newly_observed) == most


@given(st.lists(st.sets(st.integers(0, 2000), max_size=60), max_size=40))
@settings(deadline=None)
def test_a_set_has_few_levels_however_it_grew(batches: list[set[int]]) -> None:
    made, truth = Seen(u8([])), set[int]()
    for batch in batches:
        asked = u8(sorted(batch))
        assert made.contains(asked).tolist() == [number in truth for number in sorted(batch)]
        made.add(u8(sorted(batch - truth)))
        truth |= batch
        assert len(made) == len(truth)
        sizes = [len(level) for level in made._levels]
        assert all(one >= 2 * next for one, next in pairwise(sizes))
