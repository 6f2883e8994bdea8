"""The same evaluation at the end of the whole way: flow files of the lab, nfdump, the collector, its verdicts.

Two weeks of questions to five resolvers in files of five minutes; on the day after them one resolver at a time gets
more or fewer than its share. It takes some ten minutes.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np

from dnsvigil.config.collector import Config, ConfiguredServer, Servers
from dnsvigil.ingest.flows import FlowsPart
from dnsvigil.sources.netflow.follower import pending_file
from dnsvigil.store.store import Store
from lab.flows import Flows, resolver_traffic, write

from .weeks import MONDAY

DAYS: Final = 15
JUDGED_DAYS: Final = 1
SLOTS: Final = 288  # of a day
FLOWS: Final = 4_000  # of a slot in the evening; in the morning there are a third of them
SIZES: Final = (1.5, 2.0, 3.0, 5.0, 0.5, 0.2, 0.0)
APART: Final = 3  # slots from one change to the next; the one of the same resolver is five times as far
RESOLVERS: Final = [f"198.51.100.{last}" for last in range(53, 58)]
MEASURE: Final = "query_packets"
SEED: Final = 3


def slots(days: range) -> Iterator[tuple[int, int, int]]:
    """Yield day, slot of the day, and when that begins (Unix time)."""
    for day in days:
        for slot in range(SLOTS):
            yield day, slot, MONDAY + 86_400 * day + 300 * slot


def change_at(day: int, slot: int) -> tuple[int, float]:
    """Return which resolver is changed in a slot, and by what; 1 where none is."""
    if day < DAYS - JUDGED_DAYS or slot % APART or not slot:
        return 0, 1.0
    number = (day - DAYS + JUDGED_DAYS) * (SLOTS // APART) + slot // APART
    return number % len(RESOLVERS), SIZES[number % len(SIZES)]


def traffic(begin: int, day: int, slot: int, rng: np.random.Generator) -> Flows:
    """Return the flows of five minutes."""
    hour = slot / 12
    level = FLOWS * (2 + np.cos((hour - 20) / 24 * 2 * np.pi)) / 3 * rng.normal(1, 0.03)
    flows = np.concatenate(list(resolver_traffic(begin, 2 * int(level / 2), 0.2, seed=int(rng.integers(2**31)))))
    resolver, size = change_at(day, slot)
    # What the lab writes for IPv6 has the same lower half of the address.
    address = 0xC633_6435 + resolver
    its = (flows["src"][:, 1] == address) | (flows["dst"][:, 1] == address)
    copies = np.where(its, rng.poisson(size, len(flows)) if size > 1 else rng.random(len(flows)) < size, 1)
    return np.repeat(flows, copies)


def main() -> None:
    """Print what was found of the changes, by size, and how many alarms were false."""
    if not shutil.which("nfdump"):
        print("needs nfdump")
        return
    rng = np.random.default_rng(SEED)
    config = Config(servers=Servers(configured=[ConfiguredServer.parse(resolver) for resolver in RESOLVERS]))
    found: defaultdict[float, list[bool]] = defaultdict(list)
    false = evaluated = 0
    with (
        tempfile.TemporaryDirectory(prefix="dnsvigil-evaluation-") as folder,
        Store(Path(folder)) as store,
        closing(FlowsPart(store, config)) as collector,
    ):
        for day, slot, begin in slots(range(DAYS)):
            path = Path(folder) / f"nfcapd.{datetime.fromtimestamp(begin, UTC):%Y%m%d%H%M}+0000"
            write(path, [traffic(begin, day, slot, rng)])
            collector.ingest(pending_file(path))
            path.unlink()
            if day < DAYS - JUDGED_DAYS:
                continue
            collector.flush()
            changed, size = change_at(day, slot)
            for verdict in collector.snapshot().verdicts:
                if verdict.resolver not in RESOLVERS or verdict.measure != MEASURE:
                    continue
                evaluated += 1
                wanted = {"spike", "shift_up"} if size > 1 else {"drop", "shift_down"}
                if size != 1 and verdict.resolver == RESOLVERS[changed]:
                    found[size].append(bool(wanted & set(verdict.anomalies)))
                else:
                    false += bool(verdict.anomalies)
    print(f"Flow files of the lab, {len(RESOLVERS)} resolvers: found in the slot itself, of so many\n")
    print("| " + " | ".join(f"×{size:g}" for size in SIZES) + " | false alarms |")
    print("|" + "---:|" * (len(SIZES) + 1))
    cells = [f"{sum(found[size])} of {len(found[size])}" for size in SIZES]
    print(f"| {' | '.join(cells)} | {false} in {evaluated - sum(map(len, found.values()))} slots |")
