"""Fast flux: which nets of the lab are found, when, and what is found where there are none.

Everything goes the whole way: lines of dns.log, the reader, passive DNS, the detector, its findings. Addresses are
drawn from the real table of AS numbers in ../shared/data, and counted with that table and without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from dnsvigil.config.collector import Config, Detectors, Domains
from lab import flux
from lab.population import addresses
from lab.transactions import Session, Transactions

from .detection import Watched, all_but, of_logs, of_parts, watch
from .infected import real_logs
from .tunnels import SHARED, START, table

HOURS: Final = 12.0
SEEDS: Final = (301, 302, 303)  # nothing was chosen on these
TABLES: Final = [SHARED / "ip-asn" / f"asn-{family}.csv.gz" for family in ("ipv4", "ipv6")]

Answers = Callable[[float], Sequence[str]]


class Kind(NamedTuple):
    """How a name behaves, and the TTL of its answers."""

    answers: Callable[[flux.Networks, int], Answers]
    ttl: int
    per_hour: float = 60.0


NETS: Final = {
    "5 of 1,000 agents, TTL 300": Kind(lambda nets, seed: flux.flux(nets.anywhere(), seed=seed), 300),
    "10 of 1,000 agents, TTL 60": Kind(lambda nets, seed: flux.flux(nets.anywhere(), seed=seed, at_once=10), 60),
    "1 of 1,000 agents, TTL 180": Kind(lambda nets, seed: flux.flux(nets.anywhere(), seed=seed, at_once=1), 180),
    "5 of 100 agents, TTL 300": Kind(
        lambda nets, seed: flux.flux(nets.anywhere(), seed=seed, agents=100, lifetime=48), 300
    ),
    "2 of 1,000 agents, TTL 1,800": Kind(lambda nets, seed: flux.flux(nets.anywhere(), seed=seed, at_once=2), 1800),
    "5 of 1,000 agents, TTL 300, two queries an hour": Kind(
        lambda nets, seed: flux.flux(nets.anywhere(), seed=seed), 300, 2
    ),
}
"""Nets of agents all over the Internet."""

ALIKE: Final = {
    "CDN: 4 of 300 addresses in 3 systems, TTL 60": Kind(
        lambda nets, seed: flux.pool(nets.of_systems(3, seed), seed=seed, hosts=300, at_once=4), 60
    ),
    "CDN: 4 of 300 addresses in 10 systems, TTL 60": Kind(
        lambda nets, seed: flux.pool(nets.of_systems(10, seed), seed=seed, hosts=300, at_once=4), 60
    ),
    "round robin: all of 12 hosts in 12 places": Kind(
        lambda nets, seed: flux.pool(nets.anywhere(), seed=seed, hosts=12, at_once=12), 60
    ),
    "round robin: 1 of 12 hosts in 12 places": Kind(
        lambda nets, seed: flux.pool(nets.anywhere(), seed=seed, hosts=12, at_once=1), 60
    ),
    "round robin: 2 of 24 hosts in 24 places": Kind(
        lambda nets, seed: flux.pool(nets.anywhere(), seed=seed, hosts=24, at_once=2), 60
    ),
    "home with another address every hour": Kind(
        lambda nets, seed: flux.dynamic(nets.of_systems(1, seed), seed=seed, hours=1), 60
    ),
    "a pool that no list has: 4 of 3,000 servers, TTL 130": Kind(
        lambda nets, seed: flux.pool(nets.anywhere(), seed=seed, hosts=3000, at_once=4), 130
    ),
}
"""What else has many addresses; the last cannot be told apart but by a list."""


def config(tables: Sequence[Path]) -> Config:
    """Return a configuration for this detector alone."""
    return Config(detectors=Detectors(disabled=all_but("fast_flux"), top=1000), domains=Domains(networks=[*tables]))


def sessions(nets: flux.Networks, kinds: dict[str, Kind]) -> Iterator[tuple[str, Session]]:
    """Yield a session of each kind and seed, each below a domain of its own."""
    clients = addresses(50)
    for number, (name, kind) in enumerate(kinds.items()):
        for seed in SEEDS:
            session = flux.asked_for(
                clients, f"www.of{number}by{seed}-x.com", kind.answers(nets, seed), seed=seed, start=START + 600,
                hours=HOURS, ttl=kind.ttl, per_hour=kind.per_hour,
            )  # fmt: skip
            yield name, session


def delays(made: Sequence[tuple[str, Session]], watched: Watched) -> dict[str, list[float]]:
    """Return for each kind how many minutes each of its names was asked for until it was found."""
    found: dict[str, list[float]] = {name: [] for name, _ in made}
    first = watched.first("fast_flux", "domain")
    for name, session in made:
        if session.domains[0] in first:
            found[name].append((first[session.domains[0]] - session.transactions.ts[0] / 1e6) / 60)
    return found


def main() -> None:
    """Print the tables of docs/detectors/fast_flux.md."""
    if not TABLES[0].exists():
        print("Fast flux: needs ../shared/data/ip-asn\n")
        return
    nets = flux.Networks.of_table(TABLES[0])
    for title, kinds in ("Nets of the lab", NETS), ("What is alike", ALIKE):
        made = list(sessions(nets, kinds))
        columns = []
        for tables in (TABLES, []):
            parts = iter([Transactions.join([session.transactions for _, session in made])])
            columns.append(delays(made, watch(of_parts(parts), config=config(tables), seconds=300)))
        print(f"{title}, {HOURS:g} hours, {len(SEEDS)} of each: how many are found, and after how many minutes\n")
        rows = [(name, *(_cell(column[name]) for column in columns)) for name in kinds]
        table(("", "by AS number", "by network"), rows)
    _real()


def _cell(minutes: Sequence[float]) -> str:
    return f"{len(minutes)}: {', '.join(f'{each:.0f}' for each in sorted(minutes))}" if minutes else "0"


def _real() -> None:
    print("Real logs: what is found, and the highest score\n")
    rows = []
    for name, paths in real_logs():
        for tables in (TABLES, []):
            watched = watch(of_logs(paths), config=config(tables), seconds=300)
            scores = [(score, key[2]) for key, shown in watched.scores.items() for _, score in shown]
            found = ", ".join(watched.first("fast_flux", "domain")) or "-"
            best = "{:.2f} {}".format(*max(scores)) if scores else "-"
            rows.append((name, "AS number" if tables else "network", watched.records, found, best))
    table(("logs", "by", "records", "found", "highest score"), rows)
