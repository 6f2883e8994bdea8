"""Connections to listed addresses that DNS did not lead to: what is found where nobody is infected.

Everything goes the whole way: dns.log, flow files, lists, the collector, nfdump, the detector. Lists have the shape of
real ones: servers of malware, scanners of a month, whole networks of providers that shelter criminals, and, wrongly,
addresses that popular names lead to. It takes some minutes.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import Any, Final

import numpy as np

from dnsvigil.config.collector import Config, Detectors
from dnsvigil.ingest.flows import FlowsPart
from dnsvigil.sources.netflow.follower import pending_file
from dnsvigil.store.store import Store
from exporters.flowfiles import name_at
from lab.flows import FLOW, write
from lab.population import Population, addresses, popular_names
from lab.transactions import MICROSECONDS, Transactions

from .detection import all_but, of_parts, watch
from .tunnels import START, table

CLIENTS: Final = 400
HOURS: Final = 6.0
SLOT: Final = 300  # seconds
SEED: Final = 702  # nothing was chosen on it
ELSEWHERE: Final = 0.1  # of the clients ask a resolver that nobody watches
SHARERS: Final = 0.03  # of the clients exchange files with anybody
PEERS: Final = 20  # of each in a slot
INFECTED: Final = 10  # clients besides, that have the address of a server in them
SERVERS, SCANNERS, NETWORKS, WRONG = 1_000, 10_000, 1_000, 50
"""How many addresses of malware's servers, of scanners, networks, and addresses of popular names are listed."""

FOUND, SHOWN = 0.6, 0.3
"""The scores of such connections."""

Flow = tuple[str, int, str, int]
"""Client, its port, server, its port."""


class Traffic:
    """A day of clients, in dns.log and in flows."""

    def __init__(self) -> None:
        self.dice = random.Random(SEED)
        self.flows: defaultdict[int, list[Flow]] = defaultdict(list)
        everyone = addresses(CLIENTS)
        dealt = self.dice.sample(everyone, len(everyone))
        elsewhere, sharers = int(CLIENTS * ELSEWHERE), int(CLIENTS * SHARERS)
        self.elsewhere, self.sharers = set(dealt[:elsewhere]), dealt[elsewhere : elsewhere + sharers]
        self.infected = [f"10.99.0.{number + 1}" for number in range(INFECTED)]
        self.people = Population(everyone, popular_names(), seed=SEED, per_day=800)

    def lists(self, folder: Path) -> list[str]:
        """Write the lists; return the servers of malware."""
        servers = [self.anybody() for _ in range(SERVERS)]
        # Of what is asked for in the evening, every address as likely.
        seen = {address for part in self.people.slices(START + 72_000, 0.2, 600) for address in answered(part)}
        networks = [f"{self.anybody()}/{self.dice.randrange(16, 23)}" for _ in range(NETWORKS)]
        for name, entries in (
            ("servers", servers),
            ("scanners", [self.anybody() for _ in range(SCANNERS)]),
            ("networks", networks),
            ("wrong", self.dice.sample(sorted(seen), WRONG)),
        ):
            (folder / f"{name}.txt").write_text("\n".join(entries) + "\n")
        return servers

    def anybody(self) -> str:
        """Return an address outside."""
        return str(IPv4Address(self.dice.randrange(0x0B00_0000, 0xBF00_0000)))

    def parts(self, servers: list[str]) -> Iterator[Transactions]:
        """Yield what dns.log has, and keep what flows have: whoever asks for a name connects to it."""
        for part in self.people.slices(START, HOURS, SLOT):
            slot = int(part.ts[0]) // MICROSECONDS // SLOT
            for client, answers in zip(part.client, part.answers, strict=True):
                if address := last_address(answers):
                    self.connect(slot, client, address, 443)
                    if self.dice.random() < 0.3:  # from its cache
                        self.connect(slot + self.dice.randrange(1, 24), client, address, 443)
            for client in self.sharers:
                for _ in range(PEERS):
                    self.connect(slot, client, self.anybody(), self.dice.randrange(1024, 50_000))
            for client, server in zip(self.infected, servers, strict=False):
                if self.dice.random() < 0.3:
                    self.connect(slot, client, server, 443)
            yield part[np.array([client not in self.elsewhere for client in part.client])]

    def connect(self, slot: int, client: str, server: str, port: int) -> None:
        """Keep a connection, where both have the same version of IP."""
        if (":" in client) == (":" in server):
            self.flows[slot].append((client, self.dice.randrange(50_000, 65_536), server, port))

    def file(self, folder: Path, slot: int) -> Path:
        """Write the flow file of a slot."""
        rows: list[tuple[Any, ...]] = []
        for client, port, server, served in self.flows.pop(slot, []):
            ends = [
                (number >> 64, number & (2**64 - 1)) for number in (int(ip_address(client)), int(ip_address(server)))
            ]
            when = 1000 * (slot * SLOT + 60)
            rows += [
                (when, when + 1000, 8, 900, port, served, 6, 0x1B, ends[0], ends[1]),
                (when, when + 1000, 9, 9000, served, port, 6, 0x1B, ends[1], ends[0]),
            ]
        path: Path = folder / name_at(slot * SLOT)
        write(path, [np.array(rows, FLOW)] if rows else [], "edge")
        return path


def last_address(answers: str) -> str:
    """Return the last answer, if it is an address."""
    last = answers.rpartition(",")[2]
    return last if last[-1:].isdigit() or ":" in last else ""


def answered(part: Transactions) -> Iterator[str]:
    """Yield the addresses of answers."""
    yield from filter(None, map(last_address, part.answers))


def main() -> None:
    """Print the table of docs/detectors/malware.md."""
    if not shutil.which("nfdump"):
        print("Connections to listed addresses: needs nfdump\n")
        return
    traffic = Traffic()
    with tempfile.TemporaryDirectory() as made:
        lists, flows = Path(made) / "lists", Path(made) / "flows"
        lists.mkdir()
        flows.mkdir()
        servers = traffic.lists(lists)
        config = Config(detectors=Detectors(disabled=all_but("malware"), top=1000, lists=lists))
        parts: dict[Store, FlowsPart] = {}

        def each(when: float, store: Store) -> None:
            if store not in parts:
                parts[store] = FlowsPart(store, config)
            path = traffic.file(flows, int(when) // SLOT - 1)
            parts[store].ingest(pending_file(path))
            path.unlink()

        watched = watch(of_parts(traffic.parts(servers)), config=config, seconds=SLOT, each=each)
    # Who asked for a name that leads to a listed address is another finding; connections have one of two scores.
    found, shown = (
        {subject for (_, _, subject), each in watched.scores.items() if any(score == wanted for _, score in each)}
        for wanted in (FOUND, SHOWN)
    )
    print(f"{CLIENTS:,} clients, {HOURS:g} hours, {watched.records:,} records of DNS\n")
    rows = []
    for kind, size in (
        ("infected", INFECTED),
        ("exchange files", len(traffic.sharers)),
        ("ask elsewhere", len(traffic.elsewhere)),
        ("all others", CLIENTS - len(traffic.sharers) - len(traffic.elsewhere)),
    ):
        of_kind = [{subject for subject in subjects if who(traffic, subject) == kind} for subjects in (found, shown)]
        rows.append((kind, size, len(of_kind[0]), len(of_kind[1] - of_kind[0])))
    table(("clients", "number", "found", "with a score of 0.3"), rows)


def who(traffic: Traffic, subject: str) -> str:
    """Return what a client is."""
    client_of = Detectors().client_of
    for kind, clients in (
        ("infected", traffic.infected),
        ("exchange files", traffic.sharers),
        ("ask elsewhere", traffic.elsewhere),
    ):
        if subject in {client_of(each) for each in clients}:
            return kind
    return "all others"
