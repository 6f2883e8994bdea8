"""Reading flow files: three sizes and that of a large operator, beside nfdump that prints the same flows to nowhere."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import closing, suppress
from ipaddress import IPv4Address
from pathlib import Path
from statistics import median

import psutil

from bench.ingestion import peak_memory
from dnsvigil.config.collector import Config, ConfiguredServer, Flows, Servers
from dnsvigil.config.types import Network
from dnsvigil.ingest.flows import FlowsPart
from dnsvigil.sources.netflow.contacts import contacts
from dnsvigil.sources.netflow.follower import pending_file
from dnsvigil.store.contacts import MAX_LISTED, MAX_WATCHED
from dnsvigil.store.store import Store
from lab.flows import resolver_traffic, write

START = 1_750_000_200  # seconds since the epoch
REFERENCE = "DNS, 9,500/s"
MAX_SECONDS = 3.0
"""What a file of the reference may take, from the file to committed summaries and verdicts."""
ROUNDS = 9
SEARCHED = 1_000_000  # flows
FILES = (("mixed", 1_000_000, 0.4), ("mixed", 5_000_000, 0.4), ("mixed", 20_000_000, 0.4), (REFERENCE, None, 0.0))
"""What is in it, flows (None: five minutes of 9,500 questions a second), and the share of web traffic."""
SERVERS = [ConfiguredServer.parse(f"198.51.100.{last}") for last in range(53, 58)]
NETWORKS = [Network("198.51.100.0/24"), Network("2001:db8::/32")]


def read(*paths: str) -> None:
    """Take files into a new store; print for each the seconds until it is committed and judged, and those of CPU."""
    config = Config(flows=Flows(networks=NETWORKS), servers=Servers(configured=SERVERS))
    with (
        tempfile.TemporaryDirectory(prefix="dnsvigil-bench-") as state,
        Store(Path(state)) as store,
        closing(FlowsPart(store, config)) as collector,
    ):
        collector.prepare()
        for path in paths:
            start, used = time.perf_counter(), sum(os.times()[:4])
            collector.ingest(pending_file(Path(path)))
            collector.flush()
            print(time.perf_counter() - start, sum(os.times()[:4]) - used, flush=True)


def reading(*paths: Path) -> list[str]:
    """Return the command that runs :func:`read` in a process of its own."""
    names = ", ".join(repr(str(path)) for path in paths)
    return [sys.executable, "-c", f"from bench.flows import read; read({names})"]


def measure(path: Path) -> tuple[float, float, float]:
    """Return the seconds, and the peak memory in MB of the process and of the nfdump that it runs."""
    process = subprocess.Popen(reading(path), stdout=subprocess.PIPE, text=True)
    own = nfdump = 0.0
    while process.poll() is None:
        with suppress(psutil.Error, OSError):
            own = max(own, peak_memory(process.pid))
            # Until it has become nfdump it has the memory of its parent.
            for child in psutil.Process(process.pid).children():
                if child.name() == "nfdump":
                    nfdump = max(nfdump, peak_memory(child.pid))
        time.sleep(0.02)
    return float(process.communicate()[0].split()[0]), own, nfdump


def search(path: Path) -> None:
    """Print what it takes to search a file for watched addresses, as many as there may be, few or most used in it."""
    dice = random.Random(1)
    for count, used in ((2_500, 5), (MAX_WATCHED + MAX_LISTED, 5), (MAX_WATCHED + MAX_LISTED, 50)):
        watched = {f"203.0.113.{number}": True for number in range(used)}
        while len(watched) < count:
            watched[str(IPv4Address(dice.randrange(0x0B00_0000, 0xBF00_0000)))] = True
        before = os.times()
        found = contacts(path, watched, "nfdump")
        own, _, nfdump, *_ = (after - then for after, then in zip(os.times(), before, strict=True))
        print(
            f"searched for {count:,} addresses, {used} of them in it: {len(found):,} pairs, CPU {own:.2f} s, and"
            f" nfdump's {nfdump:.2f} s",
            flush=True,
        )


def judge_reference(path: Path) -> None:
    """Say whether two files of the reference, one after the other, take no longer than they may."""
    following = path.with_name("following")
    write(following, resolver_traffic(START + 300))
    # Without a look at their memory meanwhile: that takes time of its own.
    rounds = [
        [float(number) for number in subprocess.check_output(reading(path, following), text=True).split()]
        for _ in range(ROUNDS)
    ]
    new, new_cpu, next_, next_cpu = zip(*rounds, strict=True)
    for name, seconds, used in (("new store", new, new_cpu), ("running collector", next_, next_cpu)):
        verdict = "below" if median(seconds) < MAX_SECONDS else "NOT below"
        print(
            f"{REFERENCE}, {name}: {min(seconds):.2f} to {max(seconds):.2f} s, median {median(seconds):.2f} s of"
            f" {ROUNDS}, {verdict} {MAX_SECONDS:g} s; CPU, with nfdump's, median {median(used):.2f} s;"
            f" load {os.getloadavg()[0]:.1f}",
            flush=True,
        )


def main() -> None:
    """Print a table; without nfdump say so."""
    if not shutil.which("nfdump"):
        print("needs nfdump")
        return
    print("| flows | kind | nfdump > /dev/null | to the store | ratio of the rates | peak memory, and nfdump's |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="dnsvigil-bench-") as folder:
        path = Path(folder) / "nfcapd"
        for kind, size, others in FILES:
            flows = write(path, resolver_traffic(START, size, others))
            start = time.perf_counter()
            subprocess.run(["nfdump", "-r", path], check=True, stdout=subprocess.DEVNULL)
            printed = time.perf_counter() - start
            seconds, own, nfdump = measure(path)
            print(
                f"| {flows:,} | {kind} | {printed:.1f} s | {seconds:.1f} s"
                f" | {printed / seconds:.1f} | {own:,.0f} + {nfdump:,.0f} MB |",
                flush=True,
            )
            if flows == SEARCHED:
                search(path)
            if kind == REFERENCE:
                judge_reference(path)
