"""Which labels are shown: a bounded, stable list of the heaviest ones."""

from collections.abc import Iterable
from typing import Final

from dnsvigil.records import OTHER

_CANDIDATES_PER_PLACE: Final = 10
_LEAD: Final = 1.5  # how much heavier than a shown label another must be to take its place


class TopLabels:
    """The ``top`` heaviest of a stream of labels, and the labels that are ``pinned``.

    Weights are counts in a Misra-Gries summary, which merges batches and never holds more than ten candidates per
    place (Agarwal et al., PODS 2012, "Mergeable summaries"). While there is room, every label is shown as soon as it
    is seen; later a place changes hands only at :meth:`rebalance`, and only for a label clearly heavier.
    """

    def __init__(self, top: int, pinned: Iterable[str], shown: Iterable[str], weights: dict[str, float]) -> None:
        self.pinned = frozenset(pinned)
        self.shown = [label for label in shown if label not in self.pinned][:top]
        self.weights = weights
        self._top = top
        self.capacity = _CANDIDATES_PER_PLACE * top

    def offer(self, counts: Iterable[tuple[str, int]]) -> None:
        """Add counts, and fill the places that are free."""
        for label, count in counts:
            if label not in self.pinned:
                self.weights[label] = self.weights.get(label, 0) + count
        if len(self.weights) > self.capacity:
            spare = sorted(self.weights.values(), reverse=True)[self.capacity]
            self.weights = {label: weight - spare for label, weight in self.weights.items() if weight > spare}
        if len(self.shown) < self._top:
            free = self._top - len(self.shown)
            self.shown += [label for label in self._heaviest() if label not in self.shown][:free]

    def rebalance(self) -> None:
        """Give the places of light labels to clearly heavier ones."""
        challengers = [label for label in self._heaviest() if label not in self.shown]
        incumbents = sorted(self.shown, key=lambda label: (self.weights.get(label, 0), label))
        for light, heavy in zip(incumbents, challengers, strict=False):
            if self.weights[heavy] <= _LEAD * self.weights.get(light, 0):
                break
            self.shown[self.shown.index(light)] = heavy

    def decay(self) -> None:
        """Halve all weights, so that what was heavy long ago makes room."""
        self.weights = {label: weight / 2 for label, weight in self.weights.items() if weight >= 1}

    def known(self) -> set[str]:
        """Return every label that is shown or may come to be, and the one that stands for all others."""
        return {*self.pinned, *self.shown, *self.weights, OTHER}

    def _heaviest(self) -> list[str]:
        return sorted(self.weights, key=lambda label: (-self.weights[label], label))
