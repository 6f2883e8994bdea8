"""What a start costs: CPU of short commands, of the collector until it listens, and what it holds at rest."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from bench.collector import SAMPLE

URL = "http://127.0.0.1:19957/metrics"
REST = 20  # seconds: detectors have judged by then
COMMANDS = (["--help"], ["check-config"], ["findings"], ["metrics"])


def main() -> None:
    """Print it."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        logs = folder / "logs"
        logs.mkdir()
        config = folder / "dnsvigil.yml"
        config.write_text(f"listen: 127.0.0.1:19957\nsources:\n  zeek:\n    - path: {logs}\n")
        command = [sys.executable, "-m", "dnsvigil", "-c", str(config), "--state", str(folder / "state")]
        for _ in range(2):  # a first start may make what the next ones find
            collector(logs, [*command, "run"])
        for arguments in COMMANDS:
            before = os.times()
            for _ in range(5):
                subprocess.run([*command, *arguments], check=False, capture_output=True)
            after = os.times()
            cpu = after.children_user + after.children_system - before.children_user - before.children_system
            print(f"dnsvigil {' '.join(arguments)}: {cpu / 5:.2f} s of CPU")


def collector(logs: Path, command: list[str]) -> None:
    """Start a collector, with all detectors, before an empty folder; write the sample once it listens."""
    log = logs / "dns.log"
    log.unlink(missing_ok=True)
    process = subprocess.Popen(command)
    try:
        _wait()
        print(f"collector: listening after {_cpu(process.pid):.2f} s of CPU, resident {_resident(process.pid):.0f} MB")
        log.write_bytes(gzip.decompress(SAMPLE.read_bytes()))
        time.sleep(REST)
        print(f"collector: {_resident(process.pid):.0f} MB at rest, after {_cpu(process.pid):.2f} s of CPU")
    finally:
        process.terminate()
        process.wait()


def _wait() -> None:
    for _ in range(600):
        try:
            with urllib.request.urlopen(URL, timeout=30) as answer:
                answer.read()
        except OSError:  # until the store is open the answer is 503
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"nothing answers at {URL}")


def _cpu(pid: int) -> float:
    """Return the CPU seconds of a process, and of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _resident(pid: int) -> float:
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1000
