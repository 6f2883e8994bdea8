"""What a host is like: its nearest neighbours among labelled hosts.

The labelled hosts are those of the lab: ``python -m evaluation.open_hosts`` makes ``reference.csv`` beside this file of
them. They are compared in what those who saw the host can know.
"""

import csv
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

import numpy as np

from dnsvigil.detectors.open_resolver.traffic import FLOWS, SENSOR

AUTHORITATIVE: Final = "authoritative server"
CLOSED: Final = "closed resolver"
VICTIM: Final = "victim of reflection"
PUBLIC: Final = "public resolver"
FORWARDER: Final = "customer forwarder"
RESOLVER: Final = "open resolver"
ABUSED: Final = "abused for reflection"

KINDS: Final = (AUTHORITATIVE, CLOSED, VICTIM, PUBLIC, FORWARDER, RESOLVER, ABUSED)
OPEN_KINDS: Final = (PUBLIC, FORWARDER, RESOLVER, ABUSED)

WEIGHTS: Final = {
    "larger": 2.0,
    "amplification": 2.0,
    "response_bytes": 2.0,
    "responses": 1.0,
    "askers": 1.0,
    "responses_per_asker": 1.0,
    "returning": 2.0,
    "forwarder": 1.5,
    "upstreams": 0.5,
    "unsolicited": 1.0,
}
"""How much a difference of one counts: of shares from none to all, of all else from one to ten times as much."""

K: Final = 5
"""How many neighbours vote, each with one over its distance."""

_NEAREST: Final = 0.05  # distances below count as this


@dataclass(frozen=True)
class Likeness:
    """What a host is like."""

    kind: str
    share: float  # of the votes, for kinds that are open
    neighbours: tuple[tuple[str, float], ...]  # kind and variant, with the distance


class References:
    """The labelled hosts."""

    def __init__(self) -> None:
        rows: defaultdict[str, list[dict[str, str]]] = defaultdict(list)
        with files(__package__).joinpath("reference.csv").open(encoding="utf-8") as file:
            for row in csv.DictReader(file):
                rows[row["origin"]].append(row)
        self._of = {origin: _Points(rows[origin]) for origin in (SENSOR, FLOWS)}

    def like(self, origin: str, values: Mapping[str, float | None]) -> Likeness:
        """Return what a host is like that ``origin`` saw."""
        return self._of[origin].like(values)


class _Points:
    def __init__(self, rows: list[dict[str, str]]) -> None:
        # What nobody who sees hosts in this way can know is empty.
        self._names = [name for name in WEIGHTS if all(row[name] for row in rows)]
        self._weights = np.array([WEIGHTS[name] for name in self._names])
        self._points = np.array([[float(row[name]) for name in self._names] for row in rows]) * self._weights
        self._labels = [(row["kind"], row["variant"]) for row in rows]

    def like(self, values: Mapping[str, float | None]) -> Likeness:
        # A few hundred points: scikit-learn's search would find the same, and take 150 MB of the collector.
        known = np.array([values[name] is not None for name in self._names])
        point = np.array([values[name] or 0.0 for name in self._names]) * self._weights
        distances = np.linalg.norm((self._points - point)[:, known], axis=1)
        votes: defaultdict[str, float] = defaultdict(float)
        named = []
        for place in np.argsort(distances, kind="stable")[:K].tolist():
            (kind, variant), distance = self._labels[place], float(distances[place])
            votes[kind] += 1 / max(distance, _NEAREST)
            named.append((f"{kind}: {variant}", distance))
        share = sum(votes[kind] for kind in OPEN_KINDS if kind in votes) / sum(votes.values())
        return Likeness(max(votes, key=lambda kind: votes[kind]), share, tuple(named))
