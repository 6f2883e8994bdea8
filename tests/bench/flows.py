"""Reading flow files: three sizes and that of a large operator, beside nfdump that prints the same flows to nowhere."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import psutil

from bench.collector import peak_memory
from dnsvigil.features.flows import FlowSummarizer
from dnsvigil.sources.flowfile import FlowReader
from lab.flows import resolver_traffic, write

START = 1_750_000_200  # seconds since the epoch
FILES = (("mixed", 1_000_000, 0.4), ("mixed", 5_000_000, 0.4), ("mixed", 20_000_000, 0.4), ("DNS, 9,500/s", None, 0.0))
"""What is in it, flows (None: five minutes of 9,500 questions a second), and the share of web traffic."""
SERVERS = ["198.51.100.53", "198.51.100.54", "198.51.100.55", "198.51.100.56", "198.51.100.57"]


def read(path: str) -> None:
    """Read a file into summaries, and print the seconds of both steps."""
    with tempfile.TemporaryDirectory(prefix="dnsvigil-bench-") as spill:
        connection = duckdb.connect(
            config={"memory_limit": "200MB", "preserve_insertion_order": False, "temp_directory": spill}
        )
        reader = FlowReader(connection)
        summarizer = FlowSummarizer(connection, ["198.51.100.0/24", "2001:db8::/32"])
        start = time.perf_counter()
        reader.load(Path(path))
        loaded = time.perf_counter()
        summarizer.count_servers(20)
        summarizer.summarize(datetime.fromtimestamp(START, UTC), "bench", SERVERS)
        print(loaded - start, time.perf_counter() - loaded)
        reader.close()
        connection.close()


def measure(path: Path) -> tuple[float, float, float, float]:
    """Return the seconds of both steps, and the peak memory in MB of the process and of the nfdump that it runs."""
    command = [sys.executable, "-c", f"from bench.flows import read; read({str(path)!r})"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    own = nfdump = 0.0
    while process.poll() is None:
        with suppress(psutil.Error, OSError):
            own = max(own, peak_memory(process.pid))
            # Until it has become nfdump it has the memory of its parent.
            for child in psutil.Process(process.pid).children():
                if child.name() == "nfdump":
                    nfdump = max(nfdump, peak_memory(child.pid))
        time.sleep(0.02)
    load, summarize = map(float, process.communicate()[0].split())
    return load, summarize, own, nfdump


def main() -> None:
    """Print a table; without nfdump say so."""
    if not shutil.which("nfdump"):
        print("needs nfdump")
        return
    print("| flows | kind | nfdump > /dev/null | load | summarize | ratio of the rates | peak memory, and nfdump's |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="dnsvigil-bench-") as folder:
        path = Path(folder) / "nfcapd"
        for kind, size, others in FILES:
            flows = write(path, resolver_traffic(START, size, others))
            start = time.perf_counter()
            subprocess.run(["nfdump", "-r", path], check=True, stdout=subprocess.DEVNULL)
            printed = time.perf_counter() - start
            load, summarize, own, nfdump = measure(path)
            print(
                f"| {flows:,} | {kind} | {printed:.1f} s | {load:.1f} s | {summarize:.1f} s"
                f" | {printed / (load + summarize):.1f} | {own:,.0f} + {nfdump:,.0f} MB |",
                flush=True,
            )
