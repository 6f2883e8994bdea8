"""What a host is like: its nearest neighbours among labelled hosts.

The labelled hosts are those of the lab: ``python -m evaluation.open_hosts`` makes ``reference.csv`` beside this file of
them. They are compared in what those who saw the host can know.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dnsvigil.detectors.labelled import DISMISSED, Labelled, Neighbours
from dnsvigil.detectors.open_resolver.traffic import FLOWS, SCAN, SENSOR, Seen
from dnsvigil.store.findings import Finding

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


@dataclass(frozen=True)
class Likeness:
    """What a host is like."""

    kind: str
    share: float  # of the votes, for kinds that are open
    neighbours: tuple[tuple[str, float], ...]  # kind and variant, with the distance


def likeness(neighbours: Neighbours, seen: Seen) -> Likeness:
    """Return what a host is like."""
    votes = neighbours.votes(seen.origin, seen.values())
    named = tuple((f"{example.kind}: {example.name}", distance) for example, distance in votes.neighbours)
    return Likeness(votes.kind, votes.share(OPEN_KINDS), named)


def _witness(finding: Finding, origin: str) -> str | None:
    """Return the kind of a host that flows saw, if a sensor or a scan knows that it is open."""
    seen_by = finding.evidence.get("seen_by")
    if origin != FLOWS or not isinstance(seen_by, list):
        return None
    if SENSOR in seen_by and (kind := finding.evidence.get("looks_like")) in OPEN_KINDS:
        return str(kind)
    return RESOLVER if {SENSOR, SCAN} & {*map(str, seen_by)} else None


LABELLED: Final = Labelled(
    "open_resolver",
    Path(__file__).with_name("reference.csv"),
    WEIGHTS,
    frozenset({*KINDS, DISMISSED} - {*OPEN_KINDS}),
    _witness,
)
