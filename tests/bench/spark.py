"""What features of domains cost on DuckDB and on Spark, with one worker and with two, from logs and from an archive."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from bisect import bisect
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import date, timedelta
from itertools import chain, islice
from pathlib import Path
from typing import Final, NamedTuple
from unittest.mock import patch

import duckdb
import psutil

from bench.collector import make_log
from dnsvigil.engines import domain_features
from dnsvigil.engines.archive import ArchiveReader, archive_files
from dnsvigil.engines.duckdb import Steps
from dnsvigil.engines.spark import STEP
from dnsvigil.learning.domains import domain_table
from dnsvigil.store.archive import Place
from exporters.standalone_spark import Standalone, standalone

SIZES: Final = (1_000_000, 10_000_000, 30_000_000, 100_000_000)
LARGEST_LOG: Final = 10_000_000  # archives of more are of further days
FILES: Final = 8  # of a log
STAGES_OF: Final = 10_000_000

_SAMPLE_SECONDS: Final = 0.2
_STEPS: Final = {
    **{name: name for name in ("aliases_2", "aliases_3", "aliases_4")},
    "domain_addresses": "addresses",
    "address_sharing": "sharing",
    **dict.fromkeys(("domain_dispersion", "domain_networks", "domain_features"), "features"),
}
"""The step that makes a table; all others are a domain's ``own``."""

_SHIFTED: Final = {
    "domain_hours": ("domain", ("hour", "first_seen", "last_seen")),
    "tuples": ("rrname", ("time_first", "time_last")),
}
"""The name and the times in the rows of each table."""


class Cost(NamedTuple):
    """What a run takes."""

    wall: float  # seconds
    cpu: float  # seconds of all processes, workers among them
    memory: float  # peak of all processes of a worker, or of the command where there is none, MB
    shuffled: int  # bytes
    stages: dict[str, float]  # seconds of CPU of the workers, by step


def main() -> None:
    """Print the tables."""
    print("## Features of domains on Spark\n")
    print("| records | from | engine | wall | CPU for a million records | peak memory | shuffled, bytes a record |")
    print("|---" * 7 + "|")
    stages = {}
    with tempfile.TemporaryDirectory(prefix="dnsvigil-bench-") as name:
        folder = Path(name)
        for records in SIZES:
            given = [*_inputs(folder, records)]
            for each in given:
                _print(records, each.name, "DuckDB", measure(folder, each))
            if records == STAGES_OF:
                stages["archive, DuckDB"] = stages_here(folder / "archive")
            for workers in (1, 2) if records <= LARGEST_LOG else (1,):
                engine = f"Spark, {workers} worker{'s' * (workers > 1)}"
                with standalone(folder, workers) as cluster:
                    for each in given:
                        cost = measure(folder, each, cluster)
                        _print(records, each.name, engine, cost)
                        if records == STAGES_OF:
                            stages[f"{each.name}, {engine}"] = cost.stages
    print(f"\nSeconds of CPU, on Spark the workers', for a million records, of {STAGES_OF:,}, by step:\n")
    steps = dict.fromkeys(step for found in stages.values() for step in found)
    print(f"| step | {' | '.join(stages)} |")
    print("|---" * (1 + len(stages)) + "|")
    for step in steps:
        print(
            f"| {step} | {' | '.join(f'{found.get(step, 0.0) / STAGES_OF * 1e6:.2f}' for found in stages.values())} |"
        )


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
    by_time: list[tuple[float, float]] = []  # seconds since 1970, and of the workers' CPU
    peak = 0.0
    while process.poll() is None:
        by_workers = _cpu_of(workers)
        used |= by_workers | _cpu_of(roots[:1])
        by_time.append((time.time(), sum(seconds for pid, seconds in used.items() if pid != process.pid)))
        peak = max([peak, *map(_memory, workers or roots)])
        time.sleep(_SAMPLE_SECONDS)
    if process.returncode:
        raise RuntimeError(f"dnsvigil domains features ended with {process.returncode}")
    cpu = sum(used.values()) - sum(before.values())
    shuffled = sum(map(_shuffled, events.iterdir()))
    stages = {step: cost for each in events.iterdir() for step, cost in _stages(each, by_time).items()}
    for each in events.iterdir():
        each.unlink()
    return Cost(time.perf_counter() - start, cpu, peak, shuffled, stages)


def stages_here(archive: Path) -> dict[str, float]:
    """Return the seconds of CPU that each step takes on DuckDB, in this process."""
    spent = defaultdict[str, float](float)
    own_run, own_join = Steps.run, domain_features.join_features

    def run(steps: Steps, *names: str) -> None:
        for name in names:
            begin = time.process_time()
            own_run(steps, name)
            if name != "archived":
                spent[_STEPS.get(name, "own")] += time.process_time() - begin

    def join(connection: duckdb.DuckDBPyConnection) -> None:
        before, begin = spent["features"], time.process_time()
        own_join(connection)
        spent["features"] = before + time.process_time() - begin

    begin = time.process_time()
    reader = ArchiveReader(archive_files(archive))
    with (
        patch.object(Steps, "run", run),
        patch.object(domain_features, "join_features", join),
        domain_table(reader.hours(), reader.tuples(), []),
    ):
        whole = time.process_time() - begin
    return {"read": whole - sum(spent.values()), **spent}


def _inputs(folder: Path, records: int) -> Iterator[Path]:
    """Write a log in several files, and an archive of it; where that is large, only the archive, of several days."""
    logs, archive = folder / "logs", folder / "archive"
    if records > LARGEST_LOG:
        shutil.rmtree(logs, ignore_errors=True)
        for day in range(1, records // LARGEST_LOG):
            _write_day(archive, day)
    else:
        for each in (logs, archive):
            shutil.rmtree(each, ignore_errors=True)
        write_logs(logs, records)
        yield logs
        command = [sys.executable, "-m", "dnsvigil", "archive", "--output", str(archive), str(logs)]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    yield archive


def write_logs(folder: Path, records: int) -> None:
    """Write a log in several files."""
    folder.mkdir()
    whole = folder.with_suffix(".whole")
    make_log(whole, records)
    with whole.open("rb") as lines:
        head = [line for line in islice(lines, 20) if line.startswith(b"#")]
        lines.seek(sum(map(len, head)))
        for number in range(FILES):
            count = (number + 1) * records // FILES - number * records // FILES
            with (folder / f"dns.{number}.log").open("wb") as file:
                file.writelines(chain(head, islice(lines, count)))
    whole.unlink()


def _write_day(archive: Path, day: int) -> None:
    """Write the files of the archive once more for a later day, unless they are there: new names are other ones."""
    for path in [*archive.glob("*/day=*/sensor=*/*.parquet")]:
        place = Place.of(path)
        if path.name.startswith("later"):
            continue
        name, times = _SHIFTED[place.table]
        fresh = f"regexp_replace({name}, '(^|\\.)d(\\d+)\\.example$', '\\1d\\2x{day}.example')"
        columns = (
            f"* REPLACE ({fresh} AS {name}, {', '.join(f'{each} + INTERVAL {day} DAY AS {each}' for each in times)})"
        )
        later = date.fromisoformat(place.day) + timedelta(days=day)
        to = archive / place.table / f"day={later}" / path.parent.name / f"later{day}-{path.name}"
        to.parent.mkdir(parents=True, exist_ok=True)
        with duckdb.connect() as connection:
            connection.execute(
                f"COPY (SELECT {columns} FROM read_parquet('{path}', hive_partitioning = false))"
                f" TO '{to}' (FORMAT parquet, COMPRESSION zstd)"
            )


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


def _stages(events: Path, by_time: Sequence[tuple[float, float]]) -> dict[str, float]:
    """Return the seconds of CPU that the workers took while each step of a log of events ran."""

    def cpu_at(milliseconds: int) -> float:
        return by_time[min(bisect(by_time, (milliseconds / 1000, 0.0)), len(by_time) - 1)][1]

    found = defaultdict[str, float](float)
    with events.open() as lines:
        for line in lines:
            event = json.loads(line)
            if event["Event"] == "SparkListenerStageCompleted":
                stage = event["Stage Info"]
                names = {each["RDD ID"]: each["Name"] for each in stage["RDD Info"] if each["Name"].startswith(STEP)}
                step = names[max(names)].removeprefix(STEP) if names else "start"
                found[step] += cpu_at(stage["Completion Time"]) - cpu_at(stage["Submission Time"])
    return found


def _print(records: int, given: str, engine: str, cost: Cost) -> None:
    cells = (f"{records:,}", given, engine, f"{cost.wall:.0f} s", f"{cost.cpu / records * 1e6:.1f} s")
    print(f"| {' | '.join(cells)} | {cost.memory:,.0f} MB | {cost.shuffled / records:,.0f} |", flush=True)
