"""Tunnels and leaks: what is found of them, when, and what is found where there are none. It takes a few minutes.

Everything goes the whole way: lines of dns.log, the reader, the collector, the store, the detector, its findings.
"""

from __future__ import annotations

import gzip
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from dnsvigil.config.collector import Config, Detectors
from dnsvigil.store.findings import Finding
from lab import evasions, floods, lookalikes, sensor, tunnels
from lab.population import Population, addresses, popular_names
from lab.transactions import Session, Transactions, mixed

from .detection import Watched, all_but, of_logs, of_parts, subjects, watch

START: Final = 1_718_000_000 // 86_400 * 86_400
FIRST: Final = 100  # queries
HOURS: Final = 6.0
SPREADS: Final = ((1, 1), (1, 3), (3, 1), (3, 3), (4, 4), (5, 2))
RATES: Final = (2.5, 5.0, 10.0, 20.0, 40.0)
STYLES: Final[dict[str, dict[str, object]]] = {
    "hexadecimal": {"encoding": "hex"},
    "base32": {"encoding": "base32"},
    "base64url": {"encoding": "base64url"},
    "no such name, no number, Poisson": {"encoding": "base64url", "numbered": False, "jitter": 1.0, "exists": False},
    "60 bytes at once": {"encoding": "hex", "chunk": 60, "jitter": 1.0},
    "TXT": {"encoding": "hex", "qtype": "TXT"},
}
FLOODS: Final = {"one client": (1, 5.0), "400 clients": (400, 5.0), "400 clients, slow": (400, 0.3)}
"""Clients, and names a second, of floods of 3,000 names."""
CLIENTS: Final = 2_000
DAY: Final = 24.0
SEED: Final = 101  # nothing was chosen on this one and those above it
SIZES: Final = (1, 4, 20)  # clients
SCORES: Final = (0.5, 0.7, 0.9)
SHARED: Final = Path(__file__).parents[3] / "shared" / "data"

CONFIG: Final = Config(detectors=Detectors(disabled=all_but("tunnel"), top=1000))


def parts(sessions: Iterable[Session]) -> Iterator[Transactions]:
    """Yield the transactions of sessions, in the order of time."""
    yield Transactions.join([session.transactions for session in sessions])


def of(session: Session, watched: Watched) -> list[tuple[float, Finding]]:
    """Return when each finding came that names the session's clients or domains, and the finding."""
    return [
        (one.when, one.finding)
        for one in watched.found
        if one.finding.subject in subjects(session.clients)
        or set(session.domains) & set(one.finding.evidence["domains"])
    ]


def captures() -> Iterator[tuple[str, Watched]]:
    """Yield each captured tunnel's first queries, as Zeek reads them, with what was found."""
    for capture in sorted((SHARED / "pcap-tunnel").glob("*/dns.pcap.gz")):
        with tempfile.TemporaryDirectory() as folder:
            plain = Path(folder) / "dns.pcap"
            with gzip.open(capture) as packed, plain.open("wb") as file:
                shutil.copyfileobj(packed, file)
            log = sensor.run(plain, Path(folder) / "zeek", {}, as_json=False).folder / "dns.log"
            yield capture.parent.name, watch(of_logs([first(log, FIRST)]), config=CONFIG)


def first(log: Path, queries: int) -> Path:
    """Return a log beside one of Zeek in TSV with its first records, and one two minutes later, as time goes on."""
    lines = log.read_bytes().splitlines(keepends=True)
    records = sorted((line for line in lines if not line.startswith(b"#")), key=lambda line: float(line.split()[0]))
    last = records[:queries][-1].split(b"\t")
    last[0], last[9] = b"%f" % (float(last[0]) + 120), b"www.example.org"
    head = [line for line in lines if line.startswith(b"#") and not line.startswith(b"#close")]
    cut = log.with_name("first.log")
    cut.write_bytes(b"".join([*head, *records[:queries], b"\t".join(last)]))
    return cut


def programs() -> list[tuple[Session, Watched]]:
    """Return the first queries of each program, type and encoding, idle and at work, with what was found."""
    sessions: list[Session] = []
    for phases in (tunnels.IDLE, tunnels.SHELL):
        for made in tunnels.quick("10.0.0.1", f"net{len(sessions)}-q.com", seed=SEED, start=START, phases=phases):
            rows = made.transactions[:FIRST]
            rows.client[:] = f"10.1.0.{len(sessions)}"
            sessions.append(Session(made.kind, made.what, rows, made.domains))
    watched = watch(of_parts(parts(sessions)), config=CONFIG)
    return [(session, watched) for session in sessions]


def leaks(rates: Sequence[float]) -> list[tuple[str, float, tuple[int, int], Session]]:
    """Return leaks in each style at 10 bytes a minute, in the first at each rate, over each spread."""
    made: list[tuple[str, float, tuple[int, int], Session]] = []
    for place, (style, values) in enumerate(STYLES.items()):
        for rate in rates if not place else (10.0,):
            for spread in SPREADS:
                number = len(made)
                clients = [f"10.{number}.7.{each + 1}" for each in range(spread[0])]
                domains = [f"site{each}of{number}-x.com" for each in range(spread[1])]
                leak = tunnels.leak(
                    clients, domains, seed=SEED + number, start=START + 1000, hours=HOURS, bytes_per_minute=rate,
                    **values,  # type: ignore[arg-type]
                )  # fmt: skip
                made.append((style, rate, spread, leak))
    return made


def benign(clients: int, seed: int, hours: float = DAY) -> Watched:
    """Return what was found among clients with everyday's look-alikes, half of them people besides."""
    everyone, names = addresses(clients), popular_names()
    odd = lookalikes.everyday(everyone, names, seed=seed, start=START, hours=hours)
    people = Population(everyone[: clients // 2], names, seed=seed, per_day=800)
    return watch(of_parts(mixed(people.slices(START, hours, 600), odd)), config=CONFIG, seconds=1800)


def highest(watched: Watched) -> float:
    """Return the highest score that was shown."""
    return max(
        (score for (name, *_), shown in watched.scores.items() if name == "tunnel" for _, score in shown), default=0
    )


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table in Markdown."""
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(map(str, row))} |")
    print()


def main() -> None:
    """Print the tables of docs/detectors/tunnel.md."""
    _captures()
    _programs()
    _leaks()
    _floods()
    _lookalikes()
    _everyday()


def _captures() -> None:
    if not (shutil.which("zeek") and SHARED.is_dir()):
        print("Captured tunnels: needs zeek and ../shared/data\n")
        return
    print(f"Captured tunnels, their first {FIRST} queries\n")
    rows = []
    for name, watched in captures():
        alike = [one.finding.evidence.get("resembles", "found") for one in watched.found]
        rows.append((name, f"{highest(watched):.2f}", ", ".join(alike) or "-"))
    table(("capture", "score", "resembles"), rows)


def _programs() -> None:
    print(f"Programs of the lab, their first {FIRST} queries, idle and at a shell\n")
    found: dict[str, list[float]] = {}
    for session, watched in programs():
        best = max((finding.score for _, finding in of(session, watched)), default=0.0)
        found.setdefault(session.what.split()[0], []).append(best)
    rows = [(name, f"{sum(map(bool, each))} of {len(each)}", f"{min(each):.2f}") for name, each in found.items()]
    table(("program", "found", "lowest score"), rows)


def _leaks() -> None:
    made = leaks(RATES)
    watched = watch(of_parts(parts(leak for *_, leak in made)), config=CONFIG, seconds=300)
    print(f"Leaks of {HOURS:g} hours over so many clients × domains: hours until found\n")
    cells: dict[tuple[str, float], list[str]] = {}
    for style, rate, _, leak in made:
        times = [when for when, _ in of(leak, watched)]
        cells.setdefault((style, rate), []).append(f"{(min(times) - START - 1000) / 3600:.1f}" if times else "-")
    spreads = (f"{clients} × {domains}" for clients, domains in SPREADS)
    rows = [(style, f"{rate:g}", *row) for (style, rate), row in cells.items()]
    table(("", "bytes a minute", *spreads), rows)
    disguised = evasions.disguised(["10.9.9.9"], "quiet-x.com", popular_names(), seed=SEED, start=START, hours=12)
    times = [when for when, _ in of(disguised, watch(of_parts(parts([disguised])), config=CONFIG, seconds=300))]
    after = f"{(min(times) - START) / 3600:.1f} hours" if times else "never"
    print(f"In others' clothes, 10 bytes a minute: found after {after}\n")


def _floods() -> None:
    print("Floods of 3,000 random names: the score, and whether a leak was found instead, or beside it\n")
    made: list[Session] = []
    for values in floods.STYLES.values():
        for count, rate in FLOODS.values():
            number = len(made)
            clients = [f"10.{number}.{place // 200}.{place % 200 + 1}" for place in range(count)]
            made.append(
                floods.flood(
                    clients, f"victim{number}-x.com", seed=SEED + number, start=START + 600, per_second=rate,
                    **values,  # type: ignore[arg-type]
                )
            )  # fmt: skip
    watched = watch(of_parts(parts(made)), config=CONFIG)
    cells = []
    for flood in made:
        found = [finding for _, finding in of(flood, watched)]
        scores = [finding.score for finding in found if finding.detector == "flood"]
        leak = ", a leak" if any(finding.detector == "tunnel" for finding in found) else ""
        cells.append((f"{max(scores):.2f}" if scores else "-") + leak)
    width = len(FLOODS)
    rows = [(style, *cells[width * place : width * (place + 1)]) for place, style in enumerate(floods.STYLES)]
    table(("names", *FLOODS), rows)


def _lookalikes() -> None:
    print(f"Look-alikes alone, {HOURS:g} hours: the highest score\n")
    rows = []
    for kind in lookalikes.KINDS:
        scores = []
        for clients in SIZES[: 1 if kind == "guest network" else None]:
            odd = lookalikes.lookalike(kind, addresses(clients), popular_names(), seed=SEED, start=START, hours=HOURS)
            scores.append(f"{highest(watch(of_parts(parts([odd])), config=CONFIG, seconds=3600)):.2f}")
        rows.append((kind, *scores, *[""] * (len(SIZES) - len(scores))))
    table(("look-ups", *(f"{size} clients" for size in SIZES)), rows)


def _everyday() -> None:
    watched = benign(CLIENTS, SEED)
    shown = [max(score for _, score in scores) for scores in watched.scores.values()]
    print(f"{CLIENTS:,} clients with everyday's look-alikes, {DAY:g} hours, {watched.records:,} records\n")
    counts = [(score, sum(each >= score for each in shown)) for score in SCORES]
    rows = [(score, count, count * 10_000 * 24 / DAY / CLIENTS) for score, count in counts]
    table(("score", "false findings", "per 10,000 clients and day"), rows)
    print(f"The highest score is {max(shown, default=0):.2f}.")
