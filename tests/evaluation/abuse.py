"""Abuse by clients: which spam bots and sweeps of the lab are found, when, and what is found where there are none.

Everything goes the whole way: lines of dns.log, the reader, the store, the detector, its findings. Each store first
reads a day, so that there is something usual.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from dnsvigil.config.collector import Config, Detectors
from lab import abuse, lookalikes
from lab.population import Population, addresses, popular_names
from lab.transactions import NOERROR, Asked, Session, Transactions, mixed

from .detection import Steps, Watched, all_but, of_logs, of_parts, subjects, watch
from .infected import real_logs
from .tunnels import START, table

RATES: Final = (20, 50, 100, 300, 1000)  # an hour
SEEDS: Final = (401, 402, 403)  # nothing was chosen on these
HOURS: Final = 4
DAYS: Final = 4  # of the clients whose trade it is; the first is not evaluated
EACH: Final = 4  # of them
CLIENTS: Final = 2_000
CONFIG: Final = Config(detectors=Detectors(disabled=all_but("abuse"), top=1000))
SUBJECTS: Final = ("spam", "sweep")


def domains() -> list[str]:
    """Return domains that mail goes to, those with most mail first."""
    return [name for name in popular_names() if name.count(".") == 1][:50_000]


def joined(sessions: Iterable[Session]) -> Iterator[Transactions]:
    """Yield what the sessions ask for, in the order of time."""
    yield Transactions.join([session.transactions for session in sessions])


def quiet(start: float) -> Session:
    """Return a day before ``start`` in which one client asks for one name every ten minutes."""
    asked = (Asked(start - 600 * place, "10.255.0.1", "www.example.org", "A", NOERROR) for place in range(1, 145))
    return Session("benign", "quiet", Transactions.of(asked))


def after_a_day(day: Iterable[Session], steps: Steps, seconds: float) -> Watched:
    """Return what is found in what follows a day."""
    with tempfile.TemporaryDirectory() as folder:
        watch(of_parts(joined(day)), config=CONFIG, state=Path(folder), seconds=3600)
        return watch(steps, config=CONFIG, state=Path(folder), seconds=seconds)


def sessions() -> Iterator[tuple[str, int, Session]]:
    """Yield each kind of abuse at each rate, for each seed, with a client of its own."""
    names = domains()
    for number, (what, hour) in enumerate(abuse.ABUSE.items()):
        for place, rate in enumerate(RATES):
            for seed in SEEDS:
                client = f"10.{number}.{seed - 400}.{place + 1}"
                yield (
                    what,
                    rate,
                    abuse.habit(what, hour, client, names, seed=seed, start=START + 1000, hours=HOURS, count=rate),
                )


def at_work(days: range, seed: int, each: int = EACH, hours: int = 24) -> list[Session]:
    """Return what clients ask for whose trade it is, until an hour of the last day."""
    names = domains()
    return [
        abuse.habit(
            what, hour, f"10.{seed % 256}.{number}.{place + 1}", names,
            seed=seed + days.start, start=START + 86_400 * days.start, hours=24 * (len(days) - 1) + hours, count=count,
        )
        for number, (what, (hour, count)) in enumerate(abuse.TRADE.items())
        for place in range(each)
    ]  # fmt: skip


def false(watched: Watched) -> list[str]:
    """Return who is found, and as what."""
    return [f"{subject} ({name})" for name in SUBJECTS for subject in watched.first(name)]


def main() -> None:
    """Print the tables of docs/detectors/abuse.md."""
    made = list(sessions())
    watched = after_a_day([quiet(START)], of_parts(joined(one for *_, one in made)), 60)
    print(
        f"Abuse of {HOURS} hours, {len(SEEDS)} of each: how many are found, minutes and queries until then (median)\n"
    )
    cells: dict[str, list[str]] = {what: [] for what in abuse.ABUSE}
    for what, rate in dict.fromkeys((what, rate) for what, rate, _ in made):
        cells[what].append(_cell([one for name, each, one in made if (name, each) == (what, rate)], what, watched))
    table(("", *(f"{rate} an hour" for rate in RATES)), ((what, *row) for what, row in cells.items()))
    print("The same as tunnels, malware or floods: ", end="")
    wrong = watch(of_parts(joined(one for *_, one in made)), config=Config(), seconds=600)
    print(", ".join(sorted({one.finding.detector for one in wrong.found} - {*SUBJECTS})) or "none", "\n")
    _trade()
    _everyday()
    _real()


def _cell(some: Sequence[Session], what: str, watched: Watched) -> str:
    name = "spam" if what.startswith("spam") else "sweep"
    first = watched.first(name)
    minutes, queries = [], []
    for session in some:
        (client,) = subjects(session.clients)
        if client in first:
            times = session.transactions.ts / 1e6
            minutes.append((first[client] - times[0]) / 60)
            queries.append(int((times <= first[client]).sum()))
    if not minutes:
        return "0"
    return f"{len(minutes)}: {np.median(minutes):.0f} min, {np.median(queries):.0f}"


def _trade() -> None:
    for seed in SEEDS[:2]:
        clients = EACH * len(abuse.TRADE)
        watched = after_a_day(at_work(range(1), seed), of_parts(joined(at_work(range(1, DAYS), seed))), 1800)
        best = max((score for shown in watched.scores.values() for _, score in shown), default=0)
        print(f"{clients} clients whose trade it is, {DAYS - 1} days: {', '.join(false(watched)) or 'none'}", end="; ")
        print(f"the highest score is {best:.2f}\n")


def _everyday() -> None:
    everyone, names = addresses(CLIENTS), popular_names()
    odd = lookalikes.everyday(everyone, names, seed=SEEDS[0], start=START, hours=24)
    people = Population(everyone, names, seed=SEEDS[0])
    watched = after_a_day([quiet(START)], of_parts(mixed(people.slices(START, 24, 600), odd)), 1800)
    best = max((score for shown in watched.scores.values() for _, score in shown), default=0)
    print(f"{CLIENTS:,} clients of every kind, a day after a day without such look-ups:", end=" ")
    print(f"{', '.join(false(watched)) or 'none'}; the highest score is {best:.2f}\n")


def _real() -> None:
    print("Real logs, after a day without such look-ups: what is found, and the highest score\n")
    rows = []
    for name, paths in real_logs():
        begin = next(of_logs(paths)(3600))[0]
        watched = after_a_day([quiet(begin // 86_400 * 86_400)], of_logs(paths), 600)
        best = max((score for shown in watched.scores.values() for _, score in shown), default=0)
        rows.append((name, watched.records, ", ".join(false(watched)) or "-", f"{best:.2f}"))
    table(("logs", "records", "found", "highest score"), rows)
