"""The nearest of labelled examples: which kind something is, and how well that is known of what was left out.

A few hundred distances are computed with numpy: scikit-learn's search would find the same, and take the collector a
second and 150 MB.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dnsvigil.learning.examples import Example

K: Final = 5
"""How many neighbours vote, each with one over its distance."""

_NEAREST: Final = 0.05  # distances below count as this


@dataclass(frozen=True)
class Votes:
    """What the nearest examples are."""

    shares: Mapping[str, float]  # of the votes, by kind
    neighbours: Sequence[tuple[Example, float]]  # with the distance, the nearest first

    @property
    def kind(self) -> str:
        """Return the kind with most votes."""
        return max(self.shares, key=lambda kind: self.shares[kind])

    def share(self, kinds: Collection[str]) -> float:
        """Return the share of the votes for some kinds."""
        return sum(share for kind, share in self.shares.items() if kind in kinds)


class Nearest:
    """Examples, by who saw them."""

    def __init__(self, examples: Iterable[Example], weights: Sequence[float]) -> None:
        """``weights`` has how much a difference of one counts, of each value."""
        by_origin: defaultdict[str, list[Example]] = defaultdict(list)
        for each in examples:
            by_origin[each.origin].append(each)
        self._of = {origin: _Points(each, weights) for origin, each in by_origin.items()}

    def __contains__(self, origin: str) -> bool:
        return origin in self._of

    def votes(self, origin: str, values: Sequence[float | None]) -> Votes:
        """Return what the examples next to some values are; what is None in these does not count."""
        return self._of[origin].votes(values)


class _Points:
    def __init__(self, examples: Sequence[Example], weights: Sequence[float]) -> None:
        self._examples = examples
        # What nobody who sees in this way can know is None everywhere.
        self._used = [place for place in range(len(weights)) if examples[0].values[place] is not None]
        self._weights = np.array(weights)[self._used]
        self._points = self._chosen([each.values for each in examples])

    def votes(self, values: Sequence[float | None]) -> Votes:
        differences = self._points - self._chosen([values])
        distances = np.linalg.norm(np.nan_to_num(differences, nan=0.0), axis=1)
        votes: defaultdict[str, float] = defaultdict(float)
        neighbours = []
        for place in np.argsort(distances, kind="stable")[:K].tolist():
            example, distance = self._examples[place], float(distances[place])
            votes[example.kind] += 1 / max(distance, _NEAREST)
            neighbours.append((example, distance))
        total = sum(votes.values())
        return Votes({kind: vote / total for kind, vote in votes.items()}, neighbours)

    def _chosen(self, rows: Sequence[Sequence[float | None]]) -> NDArray[np.float64]:
        chosen: NDArray[np.float64] = np.array(rows, dtype=np.float64)[:, self._used] * self._weights
        return chosen


@dataclass(frozen=True)
class KindFigures:
    """How the examples of one kind are named by the others, without those of the same name."""

    origin: str
    kind: str
    examples: int
    named: int  # as this kind
    sided: int  # as a kind that is harmless or not, as this one


def figures(examples: Sequence[Example], weights: Sequence[float], harmless: Collection[str]) -> list[KindFigures]:
    """Return the figures of each kind; a name that is held out is held out with all of its examples."""
    counts: defaultdict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    for name in dict.fromkeys(each.name for each in examples):
        others = Nearest((each for each in examples if each.name != name), weights)
        for each in examples:
            if each.name == name and each.origin in others:
                kind = others.votes(each.origin, each.values).kind
                rights = (True, kind == each.kind, (kind in harmless) == (each.kind in harmless))
                count = counts[each.origin, each.kind]
                count[:] = [had + right for had, right in zip(count, rights, strict=True)]
    return [KindFigures(*key, *count) for key, count in counts.items()]
