"""What one file costs: to ``dnsvigil ingest`` as a process of its own, and to a bare scan by DuckDB."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final, NamedTuple

import duckdb

from dnsvigil.detectors.runner import GROUP
from lab.zeeklog import DNS_COLUMNS

DISABLED: Final = f"{{disabled: [{', '.join(sorted(entry_points(group=GROUP).names))}]}}"
WITHOUT_DETECTORS: Final = f"{{detectors: {DISABLED}}}"


class Cost(NamedTuple):
    """What something takes: seconds of wall clock, and seconds of CPU of all threads and child processes."""

    wall: float
    cpu: float


def scan(path: Path) -> Cost:
    """Return what it costs DuckDB alone to count the log's records by server, type and response code."""
    columns = ", ".join(f"'{name}': 'VARCHAR'" for name, _ in DNS_COLUMNS)
    query = (
        f"SELECT \"id.resp_h\", qtype, rcode, count(*) FROM read_csv('{path}', delim = '\t', quote = '',"
        f" escape = '', header = false, skip = 8, auto_detect = false, columns = {{{columns}}}) GROUP BY ALL"
    )
    with duckdb.connect() as connection:
        start, used = time.perf_counter(), time.process_time()
        connection.execute(query).fetchall()
        return Cost(time.perf_counter() - start, time.process_time() - used)


def ingest(path: Path, state: Path, config: Path) -> tuple[Cost, float]:
    """Return what ``dnsvigil ingest`` costs, start-up included, and its peak memory in MB.

    Raises RuntimeError where it fails.
    """
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "dnsvigil", "-c", config, "--state", state, "ingest", path])
    peak = 0.0
    while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
        peak = max(peak, peak_memory(process.pid))
        time.sleep(0.02)
    _, status, usage = ended
    process.returncode = os.waitstatus_to_exitcode(status)  # it has been waited for
    if process.returncode:
        raise RuntimeError(f"dnsvigil ingest ended with {process.returncode}")
    return Cost(time.perf_counter() - start, usage.ru_utime + usage.ru_stime), peak


def peak_memory(pid: int) -> float:
    """Return the most memory in MB that a process had resident; what wait() tells begins with its parent's."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1000
    return 0.0  # it has ended
