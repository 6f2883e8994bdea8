"""Implants: after how many queries each family is found, and what is found where there are none.

Families on which nothing was chosen are reported apart. Each is cut off after so many queries, with a client and
domains of its own, so that one pass over the log tells the delay. Everything goes the whole way: dns.log, the
collector, the detector, its findings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from dnsvigil.config.collector import Config, Detectors
from lab import implants, lookalikes
from lab.lookalikes import EVERYDAY
from lab.population import Population, addresses
from lab.transactions import Session, mixed

from .detection import Watched, all_but, of_logs, of_parts, subjects, watch
from .infected import DATA, HEAVY, names, real_logs
from .tunnels import START, parts, table

BENIGN: Final = (("everyday", EVERYDAY, 1500, 81), ("everyday", EVERYDAY, 1200, 82), ("NXDOMAIN-heavy", HEAVY, 300, 83))
"""Shares of look-alikes, clients, and seeds on which nothing was chosen; each is a day."""

QUERIES: Final = (5, 10, 15, 20, 30, 40, 50, 60, 80, 100, 144)
SEEDS: Final = (1, 2, 3)
CONFIG: Final = Config(detectors=Detectors(disabled=all_but("tunnel"), top=1000))


def cut_off(families: Iterable[str]) -> list[tuple[str, int, Session]]:
    """Return families, each after so many queries, with the sessions of all seeds."""
    made: list[tuple[str, int, Session]] = []
    for what in families:
        for queries in QUERIES:
            for seed in SEEDS:
                number = len(made)
                domains = [f"{seed}site{number}of{place}-x.com" for place in range(5)]
                client = f"10.40.{number >> 8}.{number & 255}"
                whole = implants.implant(what, client, domains, seed=seed, start=START + 600)
                if queries <= len(whole.transactions):
                    first = whole.transactions[:queries]
                    made.append((what, queries, Session(whole.kind, what, first, whole.domains)))
    return made


def found(sessions: Iterable[Session]) -> tuple[set[str], Watched]:
    """Return the clients of these sessions that are found, and what else was."""
    own = [*sessions]
    watched = watch(of_parts(parts(own)), config=CONFIG, seconds=3600)
    clients = {client for session in own for client in subjects(session.clients)}
    return clients & watched.first("tunnel").keys(), watched


def delays(families: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """Yield each family, with how many of its seeds are found after each number of queries."""
    made = cut_off(families)
    those, _ = found(session for *_, session in made)
    hits = Counter((what, queries) for what, queries, session in made if session.clients[0] in those)
    there = {(what, queries) for what, queries, _ in made}
    for what in dict.fromkeys(what for what, *_ in made):
        yield what, *(f"{hits[what, each]} of {len(SEEDS)}" if (what, each) in there else "" for each in QUERIES)


def quiet(shares: Mapping[str, float], clients: int, seed: int) -> Watched:
    """Return what is found in a day of benign traffic."""
    everyone = addresses(clients)
    people = Population(everyone, names(), seed=seed)
    odd = lookalikes.everyday(everyone, names(), seed=seed, start=START, hours=24, shares=shares)
    return watch(of_parts(mixed(people.slices(START, 24, 600), odd)), config=CONFIG, seconds=3600)


def highest(watched: Watched) -> str:
    """Return the highest score, and how many findings there were."""
    scores = [score for (name, *_), shown in watched.scores.items() if name == "tunnel" for _, score in shown]
    return f"{max(scores, default=0):.2f}, {len(watched.found)} found"


def main() -> None:
    """Print the tables of docs/detectors/tunnel.md."""
    for title, families in (("Thresholds were chosen on", implants.DEVELOPMENT), ("Held out", implants.HELD_OUT)):
        print(f"{title}: found after so many queries\n")
        table(("family", *map(str, QUERIES)), delays(families))
    print("Benign: clients in a day, the highest score\n")
    rows = [(title, clients, highest(quiet(shares, clients, seed))) for title, shares, clients, seed in BENIGN]
    table(("traffic", "clients", "highest score"), rows)
    if DATA.is_dir():
        table(
            ("real log", "highest score"),
            [(name, highest(watch(of_logs(paths), config=CONFIG, seconds=600))) for name, paths in real_logs()],
        )
    else:
        print(f"Real logs: no data in {DATA}\n")
