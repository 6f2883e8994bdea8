"""One open host: what sensors, flows and scans know of it, put together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from dnsvigil.detectors.labelled import Neighbours
from dnsvigil.detectors.open_resolver.harm import Harm, harm_of, score_of
from dnsvigil.detectors.open_resolver.kinds import ABUSED, CLOSED, Likeness, likeness
from dnsvigil.detectors.open_resolver.traffic import FLOWS, SCAN, SENSOR, Seen

_REFERS: Final = 0.5
"""What counts of the likeness to open hosts where all answers add the same to their queries."""


@dataclass
class Host:
    """A host, by whoever knows of it."""

    address: str
    sensor: Seen | None = None
    flows: Seen | None = None
    scans: list[Mapping[str, Any]] = field(default_factory=list)  # with the columns of SCANNED_HOST

    @property
    def seen(self) -> list[Seen]:
        """Return what was seen of its traffic, that of the sensor first: it knows more."""
        return [each for each in (self.sensor, self.flows) if each]

    @property
    def origins(self) -> list[str]:
        """Return who knows of it."""
        return [name for name, is_so in ((SENSOR, self.sensor), (FLOWS, self.flows), (SCAN, self.scans)) if is_so]

    @property
    def sure(self) -> bool:
        """Return whether it is known to recurse, and not only to answer."""
        return bool(self.sensor or self.scans)

    @property
    def first(self) -> datetime:
        """Return when anybody saw it first."""
        first: datetime = min([each.first for each in self.seen] + [scan["first_seen"] for scan in self.scans])
        return first

    @property
    def scanned_amplification(self) -> float | None:
        """Return the amplification that a scan measured."""
        return max((scan["min_amplification"] for scan in self.scans if scan["min_amplification"]), default=None)


@dataclass(frozen=True)
class Verdict:
    """What a host is like, and how bad that is."""

    likeness: Likeness | None  # None where nobody saw its traffic
    harm: Harm
    score: float
    active: bool  # whether anybody saw it answer of late

    @property
    def abused(self) -> bool:
        """Return whether the host is being used for reflection now."""
        return self.active and self.likeness is not None and self.likeness.kind == ABUSED


def verdict_on(host: Host, neighbours: Neighbours) -> Verdict:
    """Return the verdict on a host; where a sensor and flows saw it, the worse likeness counts."""
    likes = [_like(neighbours, each) for each in host.seen]
    chosen = next((each for each in likes if each.kind == ABUSED), likes[0] if likes else None)
    harm = harm_of(host.seen, host.scanned_amplification)
    active = any(each.recent.slots for each in host.seen)
    return Verdict(chosen, harm, score_of(harm, host.sure, chosen.share if chosen else 1.0), active)


def _like(neighbours: Neighbours, seen: Seen) -> Likeness:
    """Return what a host is like. One that refers everybody to the root may recurse, as far as flows know."""
    like = likeness(neighbours, seen)
    return replace(like, kind=CLOSED, share=like.share * _REFERS) if seen.added and like.kind != ABUSED else like


def together(sensor: Sequence[Seen], flows: Sequence[Seen], scans: Sequence[Mapping[str, Any]]) -> list[Host]:
    """Return the hosts that anybody knows of."""
    hosts: dict[str, Host] = {}
    for each in sensor:
        hosts.setdefault(each.host, Host(each.host)).sensor = each
    for each in flows:
        hosts.setdefault(each.host, Host(each.host)).flows = each
    for scan in scans:
        hosts.setdefault(scan["host"], Host(scan["host"])).scans.append(scan)
    return list(hosts.values())
