"""Detectors: their share of one core at the rate of a large operator, and memory with many new names and clients."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import duckdb

from bench.ingestion import WITHOUT_DETECTORS, ingest
from dnsvigil.config.collector import Config, Detectors
from dnsvigil.ingest.detection import DetectionSnapshot
from dnsvigil.ingest.findings import FindingsSnapshot
from dnsvigil.ingest.intake import Intake
from dnsvigil.ingest.novelty import NoveltySnapshot
from dnsvigil.learning.generators import FAMILIES, Lexicon
from dnsvigil.sources.zeek.cursors import Cursors
from dnsvigil.sources.zeek.pending import pending_log
from dnsvigil.sources.zeek.reader import read_batches
from dnsvigil.store.cursors import read_cursors
from dnsvigil.store.store import Store
from evaluation.detection import all_but
from lab import infected, lookalikes, tunnels
from lab.population import Population, addresses, busyness, popular_names
from lab.transactions import lines, mixed
from lab.zeeklog import header

START = 1_750_010_400  # seconds since the epoch
RATE = 10_000  # records per second of event time
CLIENTS, ODD_CLIENTS = 300_000, 50_000  # the latter with programs of which the lookalikes tell
WARM_SECONDS, SECONDS = 240, 120
STEP = 0.5  # seconds of event time that are read at once while it is measured; before, a minute is

DAYS = ((200_000, 40_000), (1_000_000, 200_000), (5_000_000, 1_000_000))
"""New names of a day, and clients that ask for them."""
POPULAR = 20_000
"""Domains in which most of them are."""


@dataclass
class Reading:
    """A collector that follows the log, and the time that it has taken."""

    store: Store
    intake: Intake
    cursors: Cursors
    seconds: float = 0.0  # of CPU, of all threads

    def read(self, log: Path) -> int:
        """Take what is new, as a running collector does; return how many records there were."""
        records = 0
        start = time.process_time()
        pending = pending_log(log, self.cursors)
        for batch in read_batches(log, pending.cursor, False, pending.log_type):
            self.intake.ingest([batch])
            self.intake.snapshot()
            self.cursors.put(batch.cursor)
            records += batch.read
        self.seconds += time.process_time() - start
        return records


def traffic() -> Iterator[tuple[bool, bytes]]:
    """Yield lines of dns.log, step by step, and whether they are to be measured."""
    clients, names = addresses(CLIENTS), popular_names()
    hours = (WARM_SECONDS + SECONDS) / 3600
    words = Lexicon((tuple(name.split(".")[-2] for name in names[5000:7000]),), ("wikipedia", "weather"))
    bots = [
        infected.infected(family, words, clients[9 * n : 9 * n + 9], seed=n, start=START, hours=hours)
        for n, family in enumerate(FAMILIES[::9])
    ]
    leaks = [
        tunnels.leak([clients[-n]], [f"leak{n}.com"], seed=n, start=START, hours=hours, bytes_per_minute=600)
        for n in range(1, 6)
    ]
    odd = lookalikes.everyday(clients[:ODD_CLIENTS], names, seed=1, start=START, hours=hours)
    people = Population(clients, names, per_day=RATE * 86_400 / CLIENTS / busyness(START))
    slices = people.slices(START, hours, STEP)
    waiting: list[bytes] = []
    for number, part in enumerate(mixed(slices, [*bots, *leaks, *odd])):
        measured = number * STEP >= WARM_SECONDS
        waiting.append(lines(part))
        if measured or len(waiting) * STEP >= 60:
            yield measured, b"".join(waiting)
            waiting.clear()


def bench_share(folder: Path) -> None:
    """Print what detection adds to the time of ingestion: two collectors read the same steps in turns."""
    log = folder / "zeek" / "dns.log"
    log.parent.mkdir()
    log.write_bytes(header(START))
    with ExitStack() as stack:
        readings: list[Reading] = []
        for disabled in (all_but(), []):
            store = stack.enter_context(Store(folder / f"state{len(readings)}"))
            intake = stack.enter_context(closing(Intake(store, Config(detectors=Detectors(disabled=disabled)))))
            readings.append(Reading(store, intake, Cursors(read_cursors(store))))
        records = 0
        for measured, data in traffic():
            with log.open("ab") as file:
                file.write(data)
            if measured and not records:
                ((before,),) = readings[1].store.rows("SELECT sum(names) FROM novel")
                for reading in readings:
                    reading.seconds = 0.0
            found = [reading.read(log) for reading in readings]
            records += found[0] if measured else 0
        without, within = (reading.seconds for reading in readings)
        ((new,),) = readings[1].store.rows("SELECT sum(names) FROM novel")
        snapshot = readings[1].intake.snapshot()
    # What the population makes is near the rate, but not that; the time is for the rate.
    core = RATE / records
    print(f"{records:,} records in steps of {STEP} s, {(new - before) / records:.1%} of them with a new name")
    print(f"ingestion alone: {without * core:.1%} of one core")
    print(f"detection beside it: {(within - without) * core:.1%}")
    print(
        f"findings: {snapshot.of(FindingsSnapshot).open}; {snapshot.of(NoveltySnapshot).rows:,} rows of novel traffic"
    )
    for health in snapshot.of(DetectionSnapshot).detectors:
        print(f"{health.name}: {health.runs} evaluations, {health.seconds / max(health.runs, 1) * 1e3:.0f} ms each")


def make_day(path: Path, names: int, clients: int) -> None:
    """Write the log of a day in which every name is new, one in five in a newly observed domain, and one in 25 fails.

    The other domains are popular ones, each with as many names as its rank leads to expect.
    """
    row = (
        f"{START} + n * 86400.0 / {names}",
        "'C' || n",
        "format('10.{}.{}.{}', c // 65536, c // 256 % 256, c % 256)",
        "'40000\t192.0.2.53\t53\tudp\t1\t0.01'",
        "format('{:x}.{}', hash(n), CASE WHEN n % 5 = 0 THEN 'newly' || n // 50 || '.com' ELSE domain END)",
        "'1\tC_INTERNET\t1\tA'",
        "CASE WHEN n % 25 = 0 THEN '3\tNXDOMAIN' ELSE '0\tNOERROR' END",
        "'F\tF\tT\tT\t0'",
        "CASE WHEN n % 25 = 0 THEN '-\t-' ELSE '198.18.0.1\t300.0' END",
        "'F'",
    )
    with duckdb.connect() as connection:
        domains = [name for name in popular_names() if name.count(".") == 1][:POPULAR]
        connection.execute(
            "CREATE TABLE popular AS SELECT unnest(?) AS domain, generate_subscripts(?, 1) - 1 AS rank", [domains] * 2
        )
        asked = (
            f"SELECT n, hash(n) % {clients} AS c, floor(pow({POPULAR}, hash(n, 1) % 1000000 / 1e6))::BIGINT - 1 AS rank"
            f" FROM range({names}) AS r(n)"
        )
        connection.execute(
            f"COPY (SELECT concat_ws('\t', {', '.join(row)}) FROM ({asked}) JOIN popular USING (rank) ORDER BY n)"
            f" TO '{path}' (FORMAT csv, HEADER false, DELIMITER '\x01', QUOTE '', ESCAPE '')"
        )
    body = path.read_bytes()
    path.write_bytes(header(START) + body)


def bench_memory(folder: Path) -> None:
    """Print time, memory and store of a day's new names, at three sizes, beside the same without detectors."""
    print("| new names | clients | ingest | peak memory | without detectors | store, and without |")
    print("|---|---|---|---|---|---|")
    configs = {"on": "{}", "off": WITHOUT_DETECTORS}
    for names, clients in DAYS:
        day = folder / f"{names}"
        day.mkdir()
        log = day / "dns.log"
        make_day(log, names, clients)
        found = []
        for name, text in configs.items():
            config = day / f"{name}.yml"
            config.write_text(text)
            (seconds, _), peak = ingest(log, day / name, config)
            found.append((seconds, peak, (day / name / "dnsvigil.duckdb").stat().st_size / 1e6))
        log.unlink()
        (seconds, peak, size), (quicker, less, smaller) = found
        print(
            f"| {names:,} | {clients:,} | {seconds:.0f} s | {peak:,.0f} MB | {quicker:.0f} s, {less:,.0f} MB"
            f" | {size:,.0f} MB, {smaller:,.0f} MB |",
            flush=True,
        )


def main() -> None:
    """Run both parts in a folder that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="dnsvigil-bench-") as folder:
        print(f"## Detection beside ingestion, {RATE:,} records/s\n")
        bench_share(Path(folder))
        print("\n## A day of new names\n")
        bench_memory(Path(folder))
