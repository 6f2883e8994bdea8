"""Names the kind of a window of signs by its nearest neighbours among windows of known kinds.

A window is a vector of shares, each from 0 to 1. ``windows.csv`` has the windows of known kinds, which the lab made
(``python -m lab.poisonings``).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dnsvigil.detectors.labelled import DISMISSED, Labelled, Neighbours
from dnsvigil.detectors.poisoning.windows import COUNTS, Row
from dnsvigil.store.findings import Finding

ORIGIN: Final = "sensor"
"""Who sees windows."""

FEATURES: Final = (*COUNTS, "answers", "loss", "predictable", "amount")
"""The values of a window."""

_HINTS: Final = ("nxdomain_storm", "forged_ns", "ttl_jumps", "ip_ttl_jumps")
_HINT: Final = 0.3  # the weight of these, which attacks of one kind have or have not, and of what is no sign itself

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

FORGERY: Final = "forgery"
"""The kind of an attack that is like none of these, and whose data landed."""

NOVEL: Final = "novel"

HARMLESS: Final = frozenset({"loss", "one direction", "ordinary", DISMISSED})


@dataclass(frozen=True)
class Kind:
    """The kind of a window."""

    name: str  # one of KINDS, FORGERY, "dismissed" or "novel"
    confidence: float  # the share of the neighbours' weight that this kind has
    neighbours: Sequence[tuple[str, float]]  # kind and distance, the nearest first


def vector(rows: Sequence[Row], loss: float, port_entropy: float | None, id_entropy: float | None) -> dict[str, float]:
    """Return the window of some rows of one resolver or zone. ``loss`` is a share, entropies are in bits."""
    counts = {name: sum(row.signs[name] for row in rows) for name in COUNTS}
    queries, answers = sum(row.queries for row in rows), sum(row.responses for row in rows)
    total = sum(counts.values())
    shares = [min(counts[name] / max(answers, 1), 1.0) ** 0.5 for name in COUNTS]  # one in ten is much already
    known = [bits / 16 for bits in (port_entropy, id_entropy) if bits is not None]
    predictable = 1 - min(known) if known else 0.0
    values = (
        *(share * (_HINT if name in _HINTS else 1) for name, share in zip(COUNTS, shares, strict=True)),
        answers / max(queries + answers, 1),
        _HINT * min(2 * loss, 1.0),
        _HINT * min(max(predictable, 0.0), 1.0),
        _HINT * min(math.log10(1 + total) / 5, 1.0),
    )
    return dict(zip(FEATURES, values, strict=True))


def kind(neighbours: Neighbours, window: Mapping[str, float]) -> Kind:
    """Return the kind of a window: that of its nearest neighbours, weighted by the inverse of their distance."""
    votes = neighbours.votes(ORIGIN, window)
    near = [(example.kind, distance) for example, distance in votes.neighbours]
    name = votes.kind if near[0][1] <= FAR else NOVEL
    return Kind(name, votes.shares[votes.kind], near)


def _witness(finding: Finding, origin: str) -> str | None:
    """Return the kind of an attack whose data passive DNS has in accepted answers."""
    if not finding.evidence.get("landed"):
        return None
    known = finding.evidence.get("kind")
    return known if known in KINDS.keys() - HARMLESS else FORGERY


LABELLED: Final = Labelled(
    "poisoning", Path(__file__).with_name("windows.csv"), dict.fromkeys(FEATURES, 1.0), HARMLESS, _witness
)
