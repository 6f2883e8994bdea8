"""Names that move over hosts: fast flux as botnets do it, and what else has many addresses or changes them.

Addresses are drawn from networks of real autonomous systems, or from made-up networks that lie in as many places.
"""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from .transactions import Asked, Session, Transactions

Draw = Callable[[random.Random], str]
"""Returns an address."""


@dataclass(frozen=True)
class Networks:
    """Networks to draw addresses from, each with the number of the system that it belongs to."""

    ranges: Sequence[tuple[int, int, int]]  # first and last address, AS number

    @classmethod
    def of_table(cls, path: Path) -> Networks:
        """Read a table of ip-location-db (``asn-ipv4.csv.gz``)."""
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            rows = (line.split(",", 3) for line in lines)
            found = [(int(IPv4Address(first)), int(IPv4Address(last)), int(asn)) for first, last, asn, _ in rows]
        return cls([row for row in found if row[1] - row[0] >= 255 and IPv4Address(row[0]).is_global])

    @classmethod
    def made_up(cls, seed: int) -> Networks:
        """Return networks of 256 addresses all over the Internet."""
        rng = random.Random(seed)
        firsts = (rng.randrange(1 << 24, 223 << 24) & ~0xFF for _ in range(20_000))
        return cls([(first, first + 255, first >> 16) for first in firsts if IPv4Address(first).is_global])

    def anywhere(self) -> Draw:
        """Return what draws from all networks, large ones more often, as the customers of providers are."""
        weights = [last - first for first, last, _ in self.ranges]
        population = range(len(self.ranges))

        def draw(rng: random.Random) -> str:
            ((first, last, _),) = (self.ranges[rng.choices(population, cum_weights=cumulated)[0]],)
            return str(IPv4Address(rng.randint(first + 1, last - 1)))

        cumulated, total = [], 0
        for weight in weights:
            total += weight
            cumulated.append(total)
        return draw

    def of_systems(self, count: int, seed: int) -> Draw:
        """Return what draws from the networks of so many systems, as a provider's own hosts are."""
        rng = random.Random(seed)
        chosen = set(rng.sample(sorted({asn for *_, asn in self.ranges}), count))
        ranges = [each for each in self.ranges if each[2] in chosen]

        def draw(rng: random.Random) -> str:
            first, last, _ = rng.choice(ranges)
            return str(IPv4Address(rng.randint(first + 1, last - 1)))

        return draw


def asked_for(
    clients: Sequence[str],
    name: str,
    answers: Callable[[float], Sequence[str]],
    *,
    seed: int,
    start: float,
    hours: float,
    ttl: int,
    per_hour: float,
) -> Session:
    """Return queries of clients for a name through a cache; ``answers`` are those of its servers at a time."""
    rng = random.Random(seed)

    def asked() -> Iterator[Asked]:
        cached: Sequence[str] = ()
        fetched, now = float("-inf"), start
        while now < start + 3600 * hours:
            if now >= fetched + ttl:
                cached, fetched = answers(now), now
            left = max(int(fetched + ttl - now), 1)
            yield Asked(now, rng.choice(clients), name, answers=",".join(cached), ttl=left)
            now += rng.expovariate(per_hour / 3600)

    domain = ".".join(name.split(".")[-2:])
    return Session("flux", name, Transactions.of(asked()), (domain,))


def flux(
    draw: Draw, *, seed: int, agents: int = 1000, at_once: int = 5, lifetime: float = 6.0
) -> Callable[[float], Sequence[str]]:
    """Return the answers of a botnet: some of the agents that are up, each for ``lifetime`` hours on average."""
    rng = random.Random(seed)
    up: list[tuple[float, str]] = []  # until when, and its address

    def answers(now: float) -> Sequence[str]:
        up[:] = [agent for agent in up if agent[0] > now]
        while len(up) < agents:
            up.append((now + rng.expovariate(1 / (3600 * lifetime)), draw(rng)))
        return [address for _, address in rng.sample(up, at_once)]

    return answers


def pool(draw: Draw, *, seed: int, hosts: int, at_once: int) -> Callable[[float], Sequence[str]]:
    """Return the answers of servers that take turns: always the same hosts, some of them at a time."""
    rng = random.Random(seed)
    members = [draw(rng) for _ in range(hosts)]
    return lambda now: rng.sample(members, at_once)


def dynamic(draw: Draw, *, seed: int, hours: float) -> Callable[[float], Sequence[str]]:
    """Return the answers of one host, whose provider gives it another address after so many hours."""
    rng = random.Random(seed)
    known: dict[int, str] = {}

    def answers(now: float) -> Sequence[str]:
        return [known.setdefault(int(now // (3600 * hours)), draw(rng))]

    return answers
