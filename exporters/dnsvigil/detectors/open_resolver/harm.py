"""The score: how much harm a host can do, and how sure it is that it is open."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from dnsvigil.detectors.open_resolver.traffic import Counts, Seen

OPEN: Final = 0.5
"""The score of a host that is open for sure and does no harm."""

MAX_OF_FLOWS: Final = 0.75
"""The highest score where flows alone show a host: they cannot know whether it recurses."""

_WEIGHTS: Final = {"volume": 0.35, "amplification": 0.25, "askers": 0.15, "continuity": 0.15, "returning": 0.1}
# Where each counts half.
_VOLUME: Final = 125_000.0  # bytes a second: 1 Mbit/s
_AMPLIFICATION: Final = 28.7  # the mean of open resolvers in Rossow 2014, "Amplification Hell", table III
_ASKERS: Final = 100.0
_RETURNING: Final = 10.0


@dataclass(frozen=True)
class Harm:
    """The parts of the harm, each from 0 to 1."""

    volume: float = 0.0
    amplification: float = 0.0
    askers: float = 0.0
    continuity: float = 0.0
    returning: float = 0.0

    @property
    def whole(self) -> float:
        """Return the weighted mean."""
        return math.fsum(weight * getattr(self, part) for part, weight in _WEIGHTS.items())


def harm_of(seen: Iterable[Seen], scanned: float | None = None) -> Harm:
    """Return the harm of a host: of each part the most that anybody saw; ``scanned`` is a scan's amplification."""
    every = list(seen)
    busiest = [counts for each in every for counts in (each.day, each.recent)]
    factor = max([_gain(counts) for counts in busiest] + [(scanned or 1.0) - 1], default=0.0)
    return Harm(
        _half(max((counts.bytes_per_second for counts in busiest), default=0.0), _VOLUME),
        _half(max(factor, 0.0), _AMPLIFICATION),
        _half(max((each.askers for each in every), default=0), _ASKERS),
        max((min(each.hours / 24, 1.0) for each in every), default=0.0),
        _half(max((each.returning or 0 for each in every), default=0), _RETURNING),
    )


def score_of(harm: Harm, sure: bool, share: float) -> float:
    """Return the score; ``share`` is that of the neighbours that are open, which counts where it is not ``sure``."""
    if sure:
        return OPEN + (0.99 - OPEN) * harm.whole
    return MAX_OF_FLOWS * share * (2 + harm.whole) / 3


def _gain(counts: Counts) -> float:
    return counts.amplification - 1


def _half(value: float, half: float) -> float:
    return value / (value + half)
