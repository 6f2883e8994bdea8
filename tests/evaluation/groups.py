"""Groups of domains: how well they come apart, whether seeds and halves agree, and where known kinds are."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from dnsvigil.cli.domain_tables import table_of
from dnsvigil.config.collector import Config
from dnsvigil.learning.clusters import Clusters, cluster
from dnsvigil.learning.domain_kinds import kinds_of
from dnsvigil.learning.scaling import Scaling
from lab import lookalikes, tunnels
from lab.population import Population, addresses, popular_names
from lab.transactions import mixed, write

SHARED: Final = Path(__file__).parents[3] / "shared" / "data" / "zeek-logs"
LAB: Final = Path(__file__).parents[1] / "lab" / "samples" / "dns.json.gz"
SETS: Final = {
    "office network": ["zed-sample-data/zeek-default"],
    "crawl": ["from-pcap/normal_*"],
    "crawl and tunnels": ["from-pcap/normal_*", "from-pcap/iodine*", "from-pcap/dns*"],
}
"""Folders of logs below those that are shared, by what they are of."""
MIXED: Final = {"a crawl": "from-pcap/normal_00000*", "an office network": "zed-sample-data/zeek-default"}
"""Folders of logs that the lab's tunnels, and people with all their programs, are mixed with, by what they are of."""
KINDS: Final = ("CDN", "reverse", "disposable")
SINGLE: Final = "one address"
SEEDS: Final = (1, 2, 3)
CLIENTS, HOURS = 500, 6.0
START: Final = 1_521_911_720  # seconds since the epoch, when the office network's logs begin

Kinds = Mapping[str, NDArray[np.bool_]]


def main() -> None:
    """Print the table."""
    print("## Groups of domains\n")
    print("| logs | domains | groups | silhouette | ARI, seeds | ARI, halves |", *(f"{kind} |" for kind in KINDS))
    print("|---" * (6 + len(KINDS)) + "|")
    sets = {name: [path for each in patterns for path in sorted(SHARED.glob(each))] for name, patterns in SETS.items()}
    for name, paths in ({"lab": [LAB]} | sets).items():
        if paths:
            print(f"| {name} | {row(paths)} |", flush=True)
    for name, pattern in MIXED.items():
        if paths := sorted(SHARED.glob(pattern)):
            apart(name, paths)


def row(paths: Sequence[Path]) -> str:
    """Return the cells of a row."""
    values, kinds = table(paths)
    found = of(values)
    seeds = [adjusted_rand_score(found.labels, of(values, seed).labels) for seed in SEEDS]
    halves = [adjusted_rand_score(found.labels[half::2], of(values[half::2]).labels) for half in range(2)]
    cells = [f"{len(values):,}", str(len(found.centres)), f"{found.silhouette or 0:.2f}"]
    cells += [f"{min(each):.2f}" for each in (seeds, halves)]
    return " | ".join([*cells, *(placed(found, kinds[kind]) for kind in KINDS)])


def apart(name: str, paths: Sequence[Path]) -> None:
    """Print how many domains of each kind are in each group, where real traffic and the lab's are together."""
    clients, popular = addresses(CLIENTS), popular_names()
    people = Population(clients, popular, seed=1, per_day=400).slices(START, HOURS)
    odd = lookalikes.everyday(clients, popular, seed=1, start=START, hours=HOURS)
    moved = tunnels.quick("198.51.100.9", "moves.com", seed=1, start=START)
    with tempfile.TemporaryDirectory(prefix="dnsvigil-groups-") as folder:
        log = Path(folder) / "dns.log"
        write(log, mixed(people, [*moved, *odd]))
        values, kinds = table([*paths, log], {"tunnel": {domain for each in moved for domain in each.domains}})
    found = of(values)
    groups = range(len(found.centres))
    print(f"\n### Tunnels and people of the lab, and {name}\n")
    print("| domains |", *(f"{group + 1} |" for group in groups))
    print("|---" * (1 + len(groups)) + "|")
    shown = {kind: kinds[kind] for kind in ("CDN", SINGLE, "reverse", "DNS-based list", "tunnel")}
    for kind, members in ({"all": np.ones(len(values), np.bool_)} | shown).items():
        print(f"| {kind} |", *(f"{np.count_nonzero(found.labels[members] == group):,} |" for group in groups))


def table(
    paths: Sequence[Path], known: Mapping[str, Collection[str]] | None = None
) -> tuple[NDArray[np.float32], Kinds]:
    """Return the features of the domains in logs, and which domains are of each kind."""
    with ExitStack() as stack:
        _, made = table_of(list(paths), Config(), stack)
        domains, values = made.values()
        kinds = kinds_of(made.connection, domains, known or {})
        hosts = made.connection.execute("SELECT domain FROM domain_features WHERE ips = 1").fetchall()
    single = {domain for (domain,) in hosts}
    return values, kinds | {SINGLE: np.array([domain in single for domain in domains], np.bool_)}


def of(values: NDArray[np.float32], seed: int = 0) -> Clusters:
    """Return the groups of domains by themselves."""
    return cluster(Scaling.of(values).rows(values), seed)


def placed(found: Clusters, members: NDArray[np.bool_]) -> str:
    """Return how many of a kind are in the group that has most of them, its size, and how odd the oddest is."""
    if not members.any():
        return "none"
    counts = np.bincount(found.labels[members])
    size = int((found.labels == counts.argmax()).sum())
    odd = int((found.distances > found.distances[members].max()).sum()) + 1
    return f"{counts.max()} of {members.sum()} in a group of {size:,}, oddest no. {odd:,}"


if __name__ == "__main__":
    main()
