"""What features of domains cost on DuckDB and on Spark, with one worker and with two, from logs and from an archive."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import psutil

from bench.collector import make_log
from exporters.standalone_spark import Standalone, standalone

SIZES: Final = (1_000_000, 3_000_000, 10_000_000)
FILES: Final = 8  # of a log
WORKERS: Final = (1, 2)

_SAMPLE_SECONDS: Final = 0.2


class Cost(NamedTuple):
    """What a run takes."""

    wall: float  # seconds
    cpu: float  # seconds of all processes, workers among them
    memory: float  # peak of all processes of a worker, or of the command where there is none, MB
    shuffled: int  # bytes


def main() -> None:
    """Print the table."""
    print("## Features of domains on Spark\n")
    print("| records | from | engine | wall | CPU for a million records | peak memory | shuffled, bytes a record |")
    print("|---" * 7 + "|")
    for records in SIZES:
        with tempfile.TemporaryDirectory(prefix="dnsvigil-bench-") as name:
            folder = Path(name)
            logs, archive = _inputs(folder, records)
            for given in (logs, archive):
                _print(records, given.name, "DuckDB", measure(folder, given))
            for workers in WORKERS:
                with standalone(folder, workers) as cluster:
                    for given in (logs, archive):
                        engine = f"Spark, {workers} worker{'s' * (workers > 1)}"
                        _print(records, given.name, engine, measure(folder, given, cluster))


def measure(folder: Path, given: Path, cluster: Standalone | None = None) -> Cost:
    """Return what the features of what is given cost. Raises RuntimeError where the command fails."""
    config, events = folder / "dnsvigil.yml", folder / "events"
    events.mkdir(exist_ok=True)
    own = {"enabled": "true", "dir": events.as_uri(), "compress": "false", "rolling.enabled": "false"}
    config.write_text(json.dumps({"spark": {"properties": {f"spark.eventLog.{key}": own[key] for key in own}}}))
    command = [sys.executable, "-m", "dnsvigil", "-c", str(config), "domains", "features", "--json"]
    command += ["--engine", "spark", "--master", cluster.master] if cluster else []
    workers = [psutil.Process(each.pid) for each in cluster.workers] if cluster else []
    start, before = time.perf_counter(), _cpu_of(workers)
    process = subprocess.Popen([*command, str(given)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    roots = [psutil.Process(process.pid), *workers]
    used: dict[int, float] = {}
    peak = 0.0
    while process.poll() is None:
        used |= _cpu_of(roots)
        peak = max([peak, *map(_memory, workers or roots)])
        time.sleep(_SAMPLE_SECONDS)
    if process.returncode:
        raise RuntimeError(f"dnsvigil domains features ended with {process.returncode}")
    cpu = sum(used.values()) - sum(before.values())
    shuffled = sum(map(_shuffled, events.iterdir()))
    for each in events.iterdir():
        each.unlink()
    return Cost(time.perf_counter() - start, cpu, peak, shuffled)


def _inputs(folder: Path, records: int) -> tuple[Path, Path]:
    """Write a log in several files, and an archive of it."""
    logs, archive = folder / "logs", folder / "archive"
    logs.mkdir()
    make_log(folder / "all.log", records)
    lines = (folder / "all.log").read_bytes().splitlines(keepends=True)
    (folder / "all.log").unlink()
    head = [line for line in lines[:20] if line.startswith(b"#")]
    body = lines[len(head) :]
    for number in range(FILES):
        part = body[number * len(body) // FILES : (number + 1) * len(body) // FILES]
        (logs / f"dns.{number}.log").write_bytes(b"".join([*head, *part]))
    command = [sys.executable, "-m", "dnsvigil", "archive", "--output", str(archive), str(logs)]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    return logs, archive


def _tree(root: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return [root, *root.children(recursive=True)]
    return []


def _cpu_of(roots: Sequence[psutil.Process]) -> dict[int, float]:
    """Return the seconds of CPU of each process below some, and of these."""
    found = {}
    for each in (each for root in roots for each in _tree(root)):
        with suppress(psutil.NoSuchProcess):
            times = each.cpu_times()
            found[each.pid] = times.user + times.system
    return found


def _memory(root: psutil.Process) -> float:
    found = 0
    for each in _tree(root):
        with suppress(psutil.NoSuchProcess):
            found += each.memory_info().rss
    return found / 1e6


def _shuffled(events: Path) -> int:
    """Return the bytes that the tasks of a log of events have written for others."""
    found = 0
    with events.open() as lines:
        for line in lines:
            event = json.loads(line)
            if event["Event"] == "SparkListenerTaskEnd" and (metrics := event.get("Task Metrics")):
                found += metrics["Shuffle Write Metrics"]["Shuffle Bytes Written"]
    return found


def _print(records: int, given: str, engine: str, cost: Cost) -> None:
    cells = (f"{records:,}", given, engine, f"{cost.wall:.0f} s", f"{cost.cpu / records * 1e6:.1f} s")
    print(f"| {' | '.join(cells)} | {cost.memory:,.0f} MB | {cost.shuffled / records:,.0f} |", flush=True)
