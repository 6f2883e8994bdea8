"""Names the kind of a window of signs by its nearest neighbours among windows of known kinds.

A window is a vector of shares, each from 0 to 1. ``windows.csv`` has the windows of known kinds, which the lab made
(``python -m lab.poisonings``). The few hundred distances are computed with numpy: scikit-learn would take a second and
150 MB to load for them.
"""

import csv
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dnsvigil.detectors.poisoning.windows import COUNTS, Row

FILE: Final = Path(__file__).with_name("windows.csv")

FEATURES: Final = (*COUNTS, "answers", "loss", "predictable", "amount")
"""The columns of ``windows.csv`` after the kind."""

_HINTS: Final = ("nxdomain_storm", "forged_ns", "ttl_jumps", "ip_ttl_jumps")
_HINT: Final = 0.3  # the weight of these, which attacks of one kind have or have not, and of what is no sign itself

NEIGHBOURS: Final = 5
FAR: Final = 0.5
"""A window farther from all known ones is novel."""

KINDS: Final = {
    "guessing": "guesses of the id or the port of a query",
    "injection": "answers forged on the path, that race the true ones",
    "bailiwick": "records for zones that the server does not have",
    "fragments": "forged fragments of answers",
    "scan": "a scan for the open port of a query (SAD DNS)",
    "loss": "a tap that loses packets",
    "one direction": "a tap that sees one direction",
    "ordinary": "ordinary traffic",
}
"""The kinds, and what each is in words."""


@dataclass(frozen=True)
class Kind:
    """The kind of a window."""

    name: str  # one of KINDS, or "novel"
    confidence: float  # the share of the neighbours' weight that this kind has
    distance: float  # to the nearest window
    neighbours: Sequence[tuple[str, float]]  # kind and distance, the nearest first


def vector(rows: Sequence[Row], loss: float, port_entropy: float | None, id_entropy: float | None) -> list[float]:
    """Return the window of some rows of one resolver or zone. ``loss`` is a share, entropies are in bits."""
    counts = {name: sum(row.signs[name] for row in rows) for name in COUNTS}
    queries, answers = sum(row.queries for row in rows), sum(row.responses for row in rows)
    total = sum(counts.values())
    shares = [min(counts[name] / max(answers, 1), 1.0) ** 0.5 for name in COUNTS]  # one in ten is much already
    known = [bits / 16 for bits in (port_entropy, id_entropy) if bits is not None]
    predictable = 1 - min(known) if known else 0.0
    return [
        *(share * (_HINT if name in _HINTS else 1) for name, share in zip(COUNTS, shares, strict=True)),
        answers / max(queries + answers, 1),
        _HINT * min(2 * loss, 1.0),
        _HINT * min(max(predictable, 0.0), 1.0),
        _HINT * min(math.log10(1 + total) / 5, 1.0),
    ]


def kind(window: Sequence[float]) -> Kind:
    """Return the kind of a window: that of its nearest neighbours, weighted by the inverse of their distance."""
    names, known = _known()
    distances = np.linalg.norm(known - np.array(window), axis=1)
    nearest = np.argsort(distances, kind="stable")[:NEIGHBOURS]
    near = [(names[place], float(distances[place])) for place in nearest]
    weights: defaultdict[str, float] = defaultdict(float)
    for name, distance in near:
        weights[name] += 1 / (distance + 0.01)
    best = max(weights, key=lambda name: weights[name])
    name = best if near[0][1] <= FAR else "novel"
    return Kind(name, weights[best] / sum(weights.values()), near[0][1], near)


def rows_of(windows: Mapping[str, Sequence[Sequence[float]]]) -> str:
    """Return the content of ``windows.csv`` for windows by their kind."""
    lines = [",".join(("kind", *FEATURES))]
    lines += [
        ",".join((name, *(f"{value:.4g}" for value in window))) for name, each in windows.items() for window in each
    ]
    return "\n".join(lines) + "\n"


@cache
def _known() -> tuple[list[str], NDArray[np.float64]]:
    with FILE.open(newline="") as file:
        head, *rows = csv.reader(file)
    if tuple(head[1:]) != FEATURES:
        raise ValueError(f"{FILE}: expected the columns kind, {', '.join(FEATURES)}")
    return [row[0] for row in rows], np.array([[float(value) for value in row[1:]] for row in rows])
