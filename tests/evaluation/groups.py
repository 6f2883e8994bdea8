"""Groups of domains: how well they come apart, whether seeds and halves agree, and where known kinds are."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from dnsvigil.cli.domains import table_of_logs
from dnsvigil.config.collector import Config
from dnsvigil.learning.clusters import Clusters, cluster
from dnsvigil.learning.domain_kinds import kinds_of
from dnsvigil.learning.scaling import Scaling

SHARED: Final = Path(__file__).parents[3] / "shared" / "data" / "zeek-logs"
LAB: Final = Path(__file__).parents[1] / "lab" / "samples" / "dns.json.gz"
SETS: Final = {
    "office network": ["zed-sample-data/zeek-default"],
    "crawl": ["from-pcap/normal_*"],
    "crawl and tunnels": ["from-pcap/normal_*", "from-pcap/iodine*", "from-pcap/dns*"],
}
"""Folders of logs below those that are shared, by what they are of."""
KINDS: Final = ("CDN", "reverse", "disposable")
SEEDS: Final = (1, 2, 3)


def main() -> None:
    """Print the table."""
    print("## Groups of domains\n")
    print("| logs | domains | groups | silhouette | ARI, seeds | ARI, halves |", *(f"{kind} |" for kind in KINDS))
    print("|---" * (6 + len(KINDS)) + "|")
    sets = {name: [path for each in patterns for path in sorted(SHARED.glob(each))] for name, patterns in SETS.items()}
    for name, paths in ({"lab": [LAB]} | sets).items():
        if paths:
            print(f"| {name} | {row(paths)} |", flush=True)


def row(paths: Sequence[Path]) -> str:
    """Return the cells of a row."""
    with ExitStack() as stack:
        _, table = table_of_logs(list(paths), Config(), stack)
        domains, values = table.values()
        kinds = kinds_of(table.connection, domains, {})
    found = cluster(Scaling.of(values).rows(values))
    seeds = [adjusted_rand_score(found.labels, of(values, seed).labels) for seed in SEEDS]
    halves = [adjusted_rand_score(found.labels[half::2], of(values[half::2]).labels) for half in range(2)]
    cells = [f"{len(domains):,}", str(len(found.centres)), f"{found.silhouette or 0:.2f}"]
    cells += [f"{min(each):.2f}" for each in (seeds, halves)]
    return " | ".join([*cells, *(placed(found, kinds[kind]) for kind in KINDS)])


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
