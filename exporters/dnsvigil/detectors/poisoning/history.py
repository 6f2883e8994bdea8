"""Tells an answer that leaves a name's past: what changed, and how unlike a normal move that is.

Each sign has a weight in nats, found by thought and checked on moves, fail-over and roll-overs of the lab; the score is
the logistic function of their sum, less ``PRIOR``. No sign is enough alone.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from dnsvigil.detectors.places import Places, network_of
from dnsvigil.detectors.poisoning.past import Had, Past
from dnsvigil.store.tuple_keys import IPV4, IPV6

PRIOR: Final = 5.0
WEIGHTS: Final = {
    "forged data": 6.0,
    "wrong answers differ": 5.0,
    "another network": 2.0,
    "perhaps another network": 1.0,
    "another country": 0.5,
    "longer TTL": 1.0,
    "old data goes on": 2.5,
    "other name servers": 1.5,
    "name server moved": 1.5,
    "name server had lapsed": 3.5,
}
"""What each sign adds, in nats."""

MEANINGS: Final = {
    "forged data": "the new data is that of wrong answers on the wire",
    "wrong answers differ": "wrong answers on the wire have data that the name never had",
    "another network": "no address of the name was in that network before",
    "perhaps another network": "the address is in another /16, which no table of AS numbers has",
    "another country": "no address of the name was in that country before",
    "longer TTL": "the TTL is more than four times the longest before",
    "old data goes on": "answers with the old data continue, longer than caches may keep them",
    "other name servers": "all name servers of the zone are others",
    "name server moved": "the zone's name server itself has another address",
    "name server had lapsed": "the domain of the name server did not exist for a while before",
}

_STABLE_SECONDS: Final = 2 * 86_400
_STABLE_ANSWERS: Final = 10
_MAX_STABLE: Final = 6  # addresses
_MAX_NETWORKS: Final = 2
_TTL: Final = 4.0
_LAPSED_SECONDS: Final = 90 * 86_400
_SLACK: Final = 60  # seconds that the clocks of sensors may be apart, and an answer late


@dataclass(frozen=True)
class Change:
    """How a name left its past."""

    key: str  # of the name
    kind: str  # "address" or "NS"
    new: Sequence[Had]  # the newest first
    old: Sequence[Had]
    signs: Sequence[str]  # keys of WEIGHTS

    @property
    def sum(self) -> float:
        """Return the sum of the weights, in nats."""
        return sum(WEIGHTS[sign] for sign in self.signs)

    @property
    def score(self) -> float:
        """Return the score: 0.5 where the weights make up for the prior."""
        return 1 / (1 + math.exp(PRIOR - self.sum))

    @property
    def landed(self) -> bool:
        """Return whether data of wrong answers is in answers that were accepted."""
        return "forged data" in self.signs

    @property
    def cached(self) -> bool:
        """Return whether a cache gave the new data, so that clients got it."""
        return any(had.cached for had in self.new)

    @property
    def answers(self) -> int:
        """Return the answers with the new data."""
        return sum(had.answers for had in self.new)


def change(key: str, past: Past, since: int, places: Places, forged: Collection[str] = ()) -> Change | None:
    """Return how the addresses of a name left its past from ``since`` on, in seconds; None where they did not.

    ``forged`` are keys of data that wrong answers held for this name. Only a stable name has a past: one with few
    addresses in one or two networks, for two days.
    """
    old, new = _divided(past.addresses, since)
    landed = any(had.rkey in forged and (had.answered or had.cached) for had in new)
    stable = _is_stable(old, since, places)
    if not (landed or (stable and (new or forged))):
        return None
    signs = ["forged data"] if landed else []
    signs += ["wrong answers differ"] if stable and not {had.rkey for had in old}.issuperset(forged) else []
    if old and new:
        signs += _places(old, new, places) + _times(old, new)
    return Change(key, "address", new, old, signs) if signs else None


def change_of_servers(key: str, past: Past, since: int, places: Places, servers: Mapping[str, Past]) -> Change | None:
    """Return how the name servers of a zone left its past; ``servers`` has the past of each, by the key of its name.

    Either the NS records are others, or the names are the same and their addresses are others, as where the domain of
    a name server had lapsed and somebody else registered it.
    """
    old, new = _divided(past.servers, since)
    if old and new and not any(had.last >= since for had in old) and _lasted(old, since):
        signs = ["other name servers", *_times(old, new)]
        signs += _lapsed([had.rkey[1:] for had in new], servers, new[-1].first)
        return Change(key, "NS", new, old, signs)
    for had in old:
        server = servers.get(had.rkey[1:])
        moved = server and change(had.rkey[1:], server, since, places)
        if server and moved:
            lapsed = _lapsed([moved.key], servers, min(each.first for each in moved.new))
            return Change(key, "NS", moved.new, moved.old, ["name server moved", *moved.signs, *lapsed])
    return None


def _divided(had: Sequence[Had], since: int) -> tuple[list[Had], list[Had]]:
    ordered = sorted(had, key=lambda each: -each.first)
    return [each for each in ordered if each.first < since], [each for each in ordered if each.first >= since]


def _is_stable(old: Sequence[Had], since: int, places: Places) -> bool:
    known = [had for had in old if had.rkey[:1] in (IPV4, IPV6)]
    return (
        0 < len(known) <= _MAX_STABLE
        and _lasted(known, since)
        and len({places.of(had.rkey) for had in known}) <= _MAX_NETWORKS
    )


def _lasted(old: Sequence[Had], since: int) -> bool:
    return (
        since - min(had.first for had in old) >= _STABLE_SECONDS and sum(had.answers for had in old) >= _STABLE_ANSWERS
    )


def _places(old: Sequence[Had], new: Sequence[Had], places: Places) -> list[str]:
    before = {places.of(had.rkey) for had in old}
    networks = {network_of(had.rkey) for had in old}
    outside = [had for had in new if places.of(had.rkey) not in before and network_of(had.rkey) not in networks]
    if not outside:
        return []
    # Where a table has a hole, the network may be one of a system that the name was in before.
    whole = all(each.startswith("AS") for each in before | {places.of(had.rkey) for had in outside})
    signs = ["another network" if whole or places.unit == "networks" else "perhaps another network"]
    countries = {places.country(had.rkey) for had in old}
    lies = {places.country(had.rkey) for had in outside}
    return signs + ["another country"] * (None not in countries | lies and not countries & lies)


def _times(old: Sequence[Had], new: Sequence[Had]) -> list[str]:
    before = max((had.ttl for had in old if had.ttl is not None), default=None)
    now = max((had.ttl for had in new if had.ttl is not None), default=None)
    longer = before is not None and now is not None and now > _TTL * max(before, 1)
    began = min(had.first for had in new)
    goes_on = any(had.last > began + (had.ttl or 0) + _SLACK for had in old)
    return ["longer TTL"] * longer + ["old data goes on"] * goes_on


def _lapsed(servers: Sequence[str], pasts: Mapping[str, Past], began: int) -> list[str]:
    """Return whether the name or the domain of a server did not exist shortly before its new addresses began."""
    for server in servers:
        for key in (server, server.rpartition(".")[0]):
            if key in pasts and any(
                first < began and last >= began - 90 * 86_400 for first, last in pasts[key].missing
            ):
                return ["name server had lapsed"]
    return []
