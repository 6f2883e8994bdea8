"""What detection costs over the traffic of a provider: ``dnsvigil ingest`` with and without, beside a bare scan."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench.ingestion import WITHOUT_DETECTORS, Cost, ingest, scan
from lab import provider

RUNS = ((500_000, 2), (1_000_000, 1), (10_000_000, 1), (30_000_000, 1))
"""Records of a log, and how many such logs a new store takes in turn: of the second it knows what the first had."""
DISK = 250  # bytes of each record of a log: its line, and what the stores keep of it
DAY = 820_000_000  # records


class Result(NamedTuple):
    """What one log has cost, and the peak memory in MB of those that ingested it."""

    scan: Cost
    without: tuple[Cost, float]
    detecting: tuple[Cost, float]

    def __str__(self) -> str:
        cells = [f"{self.scan.cpu:.2f} s"]
        cells += [f"{cost.cpu:.1f} s | {cost.wall:.1f} s | {peak:,.0f} MB" for cost, peak in self[1:]]
        (without, _), (detecting, _) = self[1:]
        cells.append(f"{detecting.cpu / without.cpu:.2f}")
        cells += [f"{self.scan.cpu / cost.cpu:.3f}" for cost in (without, detecting)]
        return " | ".join(cells)


def measure(folder: Path, records: int, logs: int) -> Iterator[Result]:
    """Yield the result of each of so many logs, which follow one another into the same two stores."""
    configs = {"without": WITHOUT_DETECTORS, "detecting": "{}"}
    for name, text in configs.items():
        (folder / f"{name}.yml").write_text(text)
    for seed in range(1, logs + 1):
        log = folder / f"dns{seed}.log"
        provider.write(log, records, seed)
        before = scan(log)
        without, detecting = (ingest(log, folder / name, folder / f"{name}.yml") for name in configs)
        fastest = min(before, scan(log), key=lambda cost: cost.cpu)
        log.unlink()
        yield Result(fastest, without, detecting)


def main() -> None:
    """Print the table, and what a day would take. Where the disk lacks room say so, and leave out the rest."""
    print("## Detection over a provider's traffic\n")
    print(
        "| records | store | scan: CPU | without detectors: CPU | wall | peak memory | with: CPU | wall | peak memory"
        " | CPU, with : without | CPU, scan : without | scan : with |"
    )
    print("|---" * 12 + "|")
    last = ""
    for records, logs in RUNS:
        with tempfile.TemporaryDirectory(prefix="dnsvigil-bench-") as folder:
            needed, free = records * DISK / 1e9, shutil.disk_usage(folder).free / 1e9
            if needed > free:
                print(f"\nNot measured, from {records:,} records on: {needed:.1f} GB needed, {free:.1f} GB free")
                break
            for number, result in enumerate(measure(Path(folder), records, logs)):
                print(f"| {records:,} | {'known' if number else 'new'} | {result} |", flush=True)
                last = of_a_day(records, result)
    print(f"\n{last}")


def of_a_day(records: int, result: Result) -> str:
    """Say what a day would take at the speed of a log of so many records."""
    without, detecting = (cost.wall / records * DAY / 3600 for cost, _ in result[1:])
    return (
        f"A day of {DAY:,} records, as the last row: {without:.1f} h without detectors, {detecting:.1f} h with,"
        f" on {os.cpu_count()} cores"
    )
