"""Infected clients among benign ones, found or not, and how soon; benign traffic of many kinds, and who is found in it.

Prints the tables of docs/detectors/malware.md. Families are divided by a hash of their names: what was tuned on one
half is reported on the other, and on lists of real families, which nothing was tuned on. Everything goes the whole way:
dns.log, the collector, the detector, findings.
"""

from __future__ import annotations

import json
import os
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from dnsvigil.config.collector import Config, Detectors
from dnsvigil.learning.evaluate import read_families
from dnsvigil.learning.generators import FAMILIES, Family, Lexicon
from dnsvigil.learning.samples import english_words, popular_domains, share
from lab import evasions, lookalikes
from lab.infected import HABITS, infected
from lab.lookalikes import EVERYDAY
from lab.population import Population, addresses, popular_names
from lab.transactions import Session, mixed

from .detection import Watched, all_but, of_logs, of_parts, subjects, watch

DATA: Final = Path(__file__).parents[3] / "shared" / "data"
START: Final = 1_700_092_800  # midnight
WARM: Final = 1.2  # hours before the first infection
SPREAD: Final = 0.3  # hours over which infections begin
AFTER: Final = 0.5  # hours that each has at least
WITHIN: Final = 15  # minutes in which an infection should be found
SEED: Final = 20
CONFIG: Final = Config(detectors=Detectors(disabled=all_but("malware"), top=1000))
HEAVY: Final = {
    "search suffixes": 0.3, "browser probes": 0.5, "block lists": 0.004, "antivirus": 0.02, "telemetry": 0.1,
    "mail policy": 0.004, "reverse": 0.002, "service discovery": 0.1, "typos": 0.5, "crawler": 0.002,
    "dead names": 0.1, "heartbeats": 0.2, "guest network": 0.006,
}  # fmt: skip
"""Shares of clients with each practice where most of what is asked for fails."""


@dataclass(frozen=True)
class Listed:
    """A real family: its names are those of a list."""

    name: str
    known: Sequence[str]
    dated: bool = False

    def names(self, seeds: Sequence[int], per_seed: int, lexicon: Lexicon) -> list[str]:
        """Return some of the names, the same for a seed."""
        names = list(self.known)
        random.Random(seeds[0]).shuffle(names)
        return names[:per_seed]


@cache
def names() -> list[str]:
    """Return popular names, and behind them a million that Chrome's users visit, of which Tranco has few."""
    lists = files("pymispwarninglists").joinpath("data/misp-warninglists/lists")
    visited = json.loads(lists.joinpath("google-chrome-crux-1million/list.json").read_text(encoding="utf-8"))["list"]
    return [*popular_names(), *sorted(visited, key=lambda name: share(name, "tail"))]


@cache
def lexicon() -> Lexicon:
    """Return words and brands of the same sources that training takes them from."""
    words = english_words()
    labels = (domain.partition(".")[0] for domain in popular_domains())
    return Lexicon(
        (words[:6000], words), [label for label in labels if label.isalpha() and 6 <= len(label) <= 12][:20_000]
    )


def reported() -> list[Family]:
    """Return the generators that nothing was tuned on."""
    return [family for family in FAMILIES if share(family.name.partition("-")[0], "split") >= 0.5]


def tuned() -> list[Family]:
    """Return the other generators."""
    return [family for family in FAMILIES if share(family.name.partition("-")[0], "split") < 0.5]


def real() -> list[Listed]:
    """Return the real families whose lists have names enough to be asked for, none where the data are not there."""
    folder = DATA / "domains-dga"
    families = read_families(folder) if folder.is_dir() else {}
    return [Listed(name, known) for name, known in families.items() if len(known) >= HABITS["few"].names[0]]


Delays = dict[str, dict[str, float]]
"""Family, habit, minutes from its first query to the finding; infinite where there is none."""


def infections(families: Sequence[Family | Listed], seed: int = SEED, clients: int = 600) -> tuple[Delays, int]:
    """Return the delays of one client of each family and habit among benign ones, and how many of those are found."""
    dice = random.Random(seed)
    everyone = addresses(clients + len(families) * len(HABITS))
    free = dice.sample(everyone, len(everyone))
    hours = WARM + SPREAD + AFTER
    sessions = list(lookalikes.everyday(everyone, names(), seed=seed, start=START, hours=hours))
    bots: dict[tuple[str, str], Session] = {}
    for family in families:
        for habit in HABITS:
            begin = START + 3600 * (WARM + SPREAD * dice.random())
            bots[family.name, habit] = infected(
                family, lexicon(), [free.pop()], seed=seed + len(bots), start=begin,  # type: ignore[arg-type]
                hours=(START + 3600 * hours - begin) / 3600, habit=HABITS[habit], staggered=0,
            )  # fmt: skip
    people = Population(everyone, names(), seed=seed)
    watched = watch(of_parts(mixed(people.slices(START, hours), [*sessions, *bots.values()])), config=CONFIG)
    first = watched.first("malware")
    delays: Delays = defaultdict(dict)
    for (family_name, habit), bot in bots.items():
        (subject,) = subjects(bot.clients)
        found = first.get(subject, float("inf"))
        delays[family_name][habit] = (found - bot.transactions.ts[0] / 1e6) / 60
    ill = {client for bot in bots.values() for client in subjects(bot.clients)}
    return dict(delays), len(set(first) - ill)


def quiet(shares: Mapping[str, float], clients: int, hours: float, seed: int) -> tuple[float, int]:
    """Return the client-days of benign traffic, and how many clients are found in it."""
    everyone = addresses(clients)
    people = Population(everyone, names(), seed=seed)
    sessions = list(lookalikes.everyday(everyone, names(), seed=seed, start=START, hours=hours, shares=shares))
    watched = watch(of_parts(mixed(people.slices(START, hours), sessions)), config=CONFIG, seconds=300)
    return clients * hours / 24, len(watched.first("malware"))


def logs(paths: Sequence[Path]) -> tuple[int, dict[str, float]]:
    """Return how many records real logs have, and the clients that are found in them."""
    watched = watch(of_logs(paths), config=CONFIG)
    return watched.records, watched.first("malware")


def dealt() -> Watched:
    """Return what becomes of a botnet that deals its names out, 5 to a client, among others."""
    everyone = addresses(400)
    family = next(family for family in reported() if family.name == "necurs" or family.dated)
    bots = evasions.dealt(family, lexicon(), everyone[:40], seed=SEED, start=START + 3600, hours=2, names=200)
    people = Population(everyone, names(), seed=SEED)
    return watch(of_parts(mixed(people.slices(START, 3), [bots])), config=CONFIG, seconds=300)


def table(delays: Delays) -> Iterator[str]:
    """Yield the lines of the delays by family, and of how many are found in time."""
    width = max(map(len, delays))
    yield f"{'minutes until found':{width}}  " + "  ".join(f"{habit[:9]:>9}" for habit in HABITS)
    for family, by_habit in sorted(delays.items(), key=lambda item: (-max(item[1].values()), item[0])):
        yield f"{family:{width}}  " + "  ".join(f"{by_habit[habit]:9.0f}" for habit in HABITS)
    found = (sum(each[habit] <= WITHIN for each in delays.values()) / len(delays) for habit in HABITS)
    yield f"{'in time':{width}}  " + "  ".join(f"{part:9.1%}" for part in found)


def real_logs() -> Iterator[tuple[str, list[Path]]]:
    """Yield the real logs in which nothing is known to be wrong, by name, in the order of time."""
    folder = DATA / "zeek-logs"
    yield "zed-sample-data", [folder / "zed-sample-data/zeek-default/dns.log.gz"]
    yield "rita-missing-host", sorted((folder / "rita-missing-host").rglob("dns.*.log.gz"))
    for path in sorted(folder.glob("from-pcap/normal_*/dns.log.xz")):
        yield path.parent.name, [path]
    yield "knot-live", [folder / "from-pcap/knot-live/dns.log.xz"]


BENIGN: Final = (
    ("everyday", EVERYDAY, 1200, 71),
    ("NXDOMAIN-heavy", HEAVY, 300, 72),
    ("everyday", EVERYDAY, 1500, 73),
    ("NXDOMAIN-heavy", HEAVY, 400, 75),
)
"""Shares of look-alikes, clients, and seeds on which nothing was chosen; each is a day."""


def main() -> None:
    """Print the tables."""
    os.environ["OMP_NUM_THREADS"] = "1"
    # Processes of their own that see it; threads would only wait for each other.
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        parts = {
            "generators that nothing was tuned on": pool.submit(infections, reported()),
            "real families": pool.submit(infections, real()) if real() else None,
        }
        benign = [(title, pool.submit(quiet, shares, clients, 24, seed)) for title, shares, clients, seed in BENIGN]
        read = {
            name: pool.submit(logs, paths)
            for name, paths in (real_logs() if DATA.is_dir() else ())
            if paths[0].exists()
        }
        spread = pool.submit(dealt)
        for title, delays in parts.items():
            if delays is None:
                print(f"{title}: no data in {DATA}")
                continue
            by_family, false = delays.result()
            print(f"\n{title}: {len(by_family)}", *table(by_family), f"benign clients found: {false}", sep="\n")
        print("\nbenign traffic: client-days, clients found")
        for title, figures in benign:
            days, found = figures.result()
            print(f"{title:18} {days:8.0f} {found:4}")
        print("\nreal logs: records, clients found")
        for title, those in read.items():
            records, first = those.result()
            print(f"{title:32} {records:8} {len(first):4}  {' '.join(sorted(first)[:5])}")
        watched = spread.result()
        print(f"\nnames dealt out over 40 clients: {len(watched.first('malware'))} clients found")
        print("at", *sorted(_minutes(watched.first("malware", "domain"))), "minutes after its beginning")


def _minutes(first: Mapping[str, float]) -> Iterable[str]:
    return (f"{(when - START - 3600) / 60:.0f}" for when in first.values())


if __name__ == "__main__":
    main()
