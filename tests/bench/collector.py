"""The collector's speed and memory: three sizes of log at once, and a minute of live logs, a busy one and several."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import duckdb

from bench.ingestion import DISABLED, WITHOUT_DETECTORS, ingest, peak_memory, scan
from lab.provider import RATE
from lab.zeeklog import DNS_COLUMNS, header, lines

SAMPLE = Path(__file__).parents[1] / "lab" / "samples" / "dns.log.gz"
SIZES = (1_000_000, 10_000_000, 30_000_000)
START = 1_750_000_000  # seconds since the epoch
LIVE_RATE = 100_000  # records per second
LIVE_SECONDS = 60
IDLE_SECONDS = 10
SENSORS = 5
SENSOR_RATE = 2_000

_NAMES = [name for name, _ in DNS_COLUMNS]
_QUERY = _NAMES.index("query")


def make_log(path: Path, records: int) -> None:
    """Write a TSV log of so many records: the sample over and over, ``RATE`` a second, with many new names.

    Every third name gets a label of its own, and every twentieth is of a domain of its own.
    """
    columns = ", ".join(f"'c{i}': 'VARCHAR'" for i in range(len(_NAMES)))
    body = path.with_suffix(".body")
    body.write_bytes(b"".join(lines(SAMPLE)))
    source = (
        f"read_csv('{body}', delim = '\t', quote = '', escape = '', header = false, auto_detect = false,"
        f" columns = {{{columns}}})"
    )
    query = f"c{_QUERY}"
    name = (
        f"CASE WHEN strlen({query}) > 200 THEN {query}"
        " WHEN n % 20 = 7 THEN 'd' || left(hash(n)::VARCHAR, 8) || '.example'"
        f" WHEN n % 3 = 0 AND {query} <> '-' THEN 'h' || left(hash(n)::VARCHAR, 9) || '.' || {query}"
        f" ELSE {query} END"
    )
    values = [f"printf('%.6f', {START} + n / {RATE}.0)"]
    values += [name if i == _QUERY else f"c{i}" for i in range(1, len(_NAMES))]
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE sample AS FROM {source}")
        ((count,),) = connection.execute("SELECT count(*) FROM sample").fetchall()
        rounds = -(-records // count)
        connection.execute(
            f"COPY (SELECT {', '.join(values)} FROM (SELECT *, rowid + round * {count} AS n FROM sample,"
            f" range({rounds}) AS r(round)) ORDER BY n LIMIT {records})"
            f" TO '{body}' (FORMAT csv, DELIMITER '\t', QUOTE '', ESCAPE '', HEADER false)"
        )
    with path.open("wb", buffering=0) as log, body.open("rb") as data:
        log.write(header(time.time()))
        while os.sendfile(log.fileno(), data.fileno(), None, 2**30):
            pass
    body.unlink()


def bench_ingest(folder: Path) -> None:
    """Print the speed of ingestion, without detectors, beside that of the bare scan, at three sizes."""
    config = folder / "ingest.yml"
    config.write_text(WITHOUT_DETECTORS)
    print("| records | log | scan, records/s | ingest, records/s | ratio | peak memory |")
    print("|---|---|---|---|---|---|")
    for records in SIZES:
        log = folder / f"{records}" / "dns.log"
        log.parent.mkdir()
        make_log(log, records)
        size = log.stat().st_size / 1e9
        scans = [scan(log).wall]
        (seconds, _), memory = ingest(log, folder / f"state-{records}", config)
        scans.append(scan(log).wall)
        fastest = min(scans)
        print(
            f"| {records:,} | {size:.2f} GB | {records / fastest:,.0f} | {records / seconds:,.0f}"
            f" | {fastest / seconds:.2f} | {memory:,.0f} MB |",
            flush=True,
        )
        log.unlink()


@dataclass
class Written:
    """What the writer had written, and when."""

    times: list[float]
    counts: list[int]


def _write(logs: list[Path], rate: int, blocks: list[list[bytes]], written: Written) -> None:
    """Write ``rate`` records per second to each log in steps of a twentieth, each with the time it is written."""
    total = 0
    start = time.time()
    with ExitStack() as stack:
        outs = [stack.enter_context(log.open("ab", buffering=0)) for log in logs]
        for number, out in enumerate(outs):
            out.write(header(start + number))
        for step in range(LIVE_SECONDS * 20):
            pause = start + step / 20 - time.time()
            if pause > 0:
                time.sleep(pause)
            for number, out in enumerate(outs):
                now = b"%.6f" % time.time()
                rows = blocks[(step + number) % len(blocks)][: rate // 20]
                out.write(b"".join([now + row for row in rows]))
                total += len(rows)
            written.times.append(time.time())
            written.counts.append(total)


def bench_live(folder: Path, sensors: int, rate: int, detectors: str, viewers: int = 0) -> None:
    """Print how far behind busy logs the collector is, what it costs, and how long scrapes take meanwhile.

    Each of the ``sensors`` writes a log of ``rate`` records a second; ``detectors`` is that key of the configuration.
    Each of the ``viewers`` asks for the page Now every second.
    """
    source = folder / "source.log"
    make_log(source, 20 * rate // 20)
    rows = [line[line.index(b"\t") :] for line in source.read_bytes().splitlines(keepends=True) if line[:1] != b"#"]
    per_step = rate // 20
    blocks = [rows[i : i + per_step] for i in range(0, len(rows) - per_step + 1, per_step)]
    logs = [folder / "live" / f"sensor{number}" / "dns.log" for number in range(sensors)]
    for log in logs:
        log.parent.mkdir(parents=True)
    config = folder / "dnsvigil.yml"
    config.write_text(
        f"listen: 127.0.0.1:19953\nsources:\n  zeek:\n    - path: {folder}/live/*\ndetectors: {detectors}\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "dnsvigil", "-c", config, "--state", folder / "state-live", "run"]
    )
    url = "http://127.0.0.1:19953/metrics"
    try:
        _wait_for(url)
        idle = _cpu_seconds(process.pid)
        time.sleep(IDLE_SECONDS)
        idle = _cpu_seconds(process.pid) - idle
        written = Written([], [])
        begun = _cpu_seconds(process.pid)
        writer = threading.Thread(target=_write, args=(logs, rate, blocks, written))
        writer.start()
        looking = Viewers("http://127.0.0.1:19953/", viewers)
        seen: list[tuple[float, int]] = []
        durations: list[float] = []
        expected = sensors * LIVE_SECONDS * 20 * per_step
        while not seen or seen[-1][1] < expected:
            start = time.perf_counter()
            count = _ingested(url)
            durations.append(time.perf_counter() - start)
            seen.append((time.time(), count))
            time.sleep(0.25)
            if written.times and time.time() - written.times[0] > 3 * LIVE_SECONDS:
                break
        writer.join()
        looking.stop()
        used = _cpu_seconds(process.pid) - begun
        peak = peak_memory(process.pid)
    finally:
        process.terminate()
        process.wait()
    seconds = written.times[-1] - written.times[0]
    behind = [_behind(written, when, count) for when, count in seen]
    print(f"written {written.counts[-1]:,} records at {written.counts[-1] / seconds:,.0f}/s; ingested {seen[-1][1]:,}")
    print(
        f"age of the oldest record not ingested yet: median {statistics.median(behind):.2f} s, most {max(behind):.2f} s"
    )
    print(f"scrapes: {_quantiles(durations)}")
    if viewers:
        print(f"pages for {viewers} viewers: {_quantiles(looking.durations)}; failed {looking.failed}")
    print(
        f"collector: {used:.0f} s of CPU, {used / seconds:.1%} of one core; idle {idle / IDLE_SECONDS:.1%};"
        f" peak memory {peak:,.0f} MB"
    )


class Viewers:
    """Threads that ask for a page each second."""

    def __init__(self, url: str, count: int) -> None:
        self._url = url
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._look) for _ in range(count)]
        self.durations: list[float] = []  # seconds
        self.failed = 0
        for thread in self._threads:
            thread.start()
            time.sleep(1 / max(count, 1))  # so that they do not ask all at once

    def stop(self) -> None:
        """End them."""
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _look(self) -> None:
        while not self._ended.wait(1):
            start = time.perf_counter()
            try:
                with urllib.request.urlopen(self._url, timeout=30) as answer:
                    answer.read()
            except OSError:
                self.failed += 1
            self.durations.append(time.perf_counter() - start)


def _quantiles(durations: list[float]) -> str:
    ordered = sorted(durations)
    median, late = (ordered[int(len(ordered) * share)] * 1e3 for share in (0.5, 0.99))
    return f"{len(ordered)}, median {median:.0f} ms, p99 {late:.0f} ms"


def _cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used."""
    used = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(used[11]) + int(used[12])) / os.sysconf("SC_CLK_TCK")


def _behind(written: Written, when: float, count: int) -> float:
    """Return the age, at ``when``, of the first record after the first ``count``; 0 where there is none."""
    for time_written, total in zip(written.times, written.counts, strict=False):
        if total > count:
            return max(when - time_written, 0.0)
    return 0.0


def _ingested(url: str) -> int:
    with urllib.request.urlopen(url, timeout=30) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith("dnsvigil_records_ingested_total"):
                return int(float(line.rpartition(" ")[2]))
    return 0


def _wait_for(url: str) -> None:
    for _ in range(200):
        try:
            _ingested(url)
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"nothing answers at {url}")


def main() -> None:
    """Run all parts in folders that are removed afterwards."""
    print(f"DuckDB {duckdb.__version__}, {os.cpu_count()} cores\n\n## Ingestion of one file\n")
    with tempfile.TemporaryDirectory(prefix="dnsvigil-bench-") as folder:
        bench_ingest(Path(folder))
    for sensors, rate, detectors in ((1, LIVE_RATE, DISABLED), (SENSORS, SENSOR_RATE, "{}")):
        with tempfile.TemporaryDirectory(prefix="dnsvigil-bench-") as folder:
            what = "without detectors" if detectors == DISABLED else "with detectors"
            print(f"\n## Live, {sensors} x {rate:,} records/s for {LIVE_SECONDS} s, {what}\n", flush=True)
            bench_live(Path(folder), sensors, rate, detectors)
