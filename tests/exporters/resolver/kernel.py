"""Processes and sockets according to ``ss``, ``/proc`` and ``pidstat``, read with as little code as possible."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
STATES = {"UNCONN": "unconnected", "ESTAB": "established", "FIN-WAIT-1": "fin_wait1", "FIN-WAIT-2": "fin_wait2"}
"""How ss calls the states that the kernel calls by another name than ss in lower case."""

COUNTERS = (
    "cpu_seconds_total user",
    "cpu_seconds_total system",
    "context_switches_total voluntary",
    "context_switches_total involuntary",
    "read_bytes_total",
    "write_bytes_total",
    "major_page_faults_total",
)


@dataclass(frozen=True)
class Socket:
    """One line of ss."""

    protocol: str
    state: str
    receive_queue: int
    send_queue: int
    address: str
    port: int
    receive_buffer: int  # its limit
    drops: int

    @property
    def family(self) -> str:
        return "ipv6" if ":" in self.address else "ipv4"


def sockets(port: int) -> list[Socket]:
    """Return the sockets with this local port."""
    found = []
    for protocol, flag in (("udp", "-u"), ("tcp", "-t")):
        command = ["ss", "-H", "-O", "-a", "-n", "-m", flag, f"sport = :{port}"]
        for line in subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.splitlines():
            state, receive_queue, send_queue, local, *_ = line.split()
            memory = re.search(r"skmem:\(r\d+,rb(\d+),.*,d(\d+)\)", line)  # absent in TIME-WAIT
            address, _, number = local.rpartition(":")
            found.append(
                Socket(
                    protocol,
                    STATES.get(state, state.lower().replace("-", "_")),
                    int(receive_queue),
                    int(send_queue),
                    address.strip("[]").partition("%")[0],
                    int(number),
                    int(memory[1]) if memory else 0,
                    int(memory[2]) if memory else 0,
                )
            )
    return found


def socket_metrics(port: int) -> dict[str, dict[tuple[str, ...], float]]:
    """Return what the metrics of a port are to be: values by the labels but ``port``, in label order."""
    wanted: dict[str, Counter[tuple[str, ...]]] = {
        name: Counter()
        for name in (
            *("sockets", "socket_receive_queue_bytes", "socket_send_queue_bytes", "socket_receive_queue_max_bytes"),
            *("socket_receive_buffer_bytes", "udp_drops_total", "accept_queue_length", "accept_queue_limit"),
        )
    }
    fullest: dict[tuple[str, ...], int] = {}
    for each in sockets(port):
        key = (each.family, each.protocol)
        wanted["sockets"][(*key, each.state)] += 1
        if each.state == "listen":
            wanted["accept_queue_length"][each.address,] += each.receive_queue
            wanted["accept_queue_limit"][each.address,] += each.send_queue
            continue
        wanted["socket_receive_queue_bytes"][key] += each.receive_queue
        wanted["socket_send_queue_bytes"][key] += each.send_queue
        wanted["socket_receive_queue_max_bytes"][key] = max(
            wanted["socket_receive_queue_max_bytes"][key], each.receive_queue
        )
        if each.protocol == "udp":
            wanted["udp_drops_total"][each.address,] += each.drops
            if each.receive_queue >= fullest.get(key, 0):
                fullest[key] = each.receive_queue
                wanted["socket_receive_buffer_bytes"][key] = each.receive_buffer
    return {name: dict(values) for name, values in wanted.items()}


def process_metrics(pids: Iterable[int]) -> dict[str, float]:
    """Return what the metrics of a resolver are to be that has these processes: value by name and label."""
    total: Counter[str] = Counter()
    for pid in pids:
        proc = Path("/proc", str(pid))
        fields = (proc / "stat").read_text().rpartition(")")[2].split()  # from the third of proc(5) on
        total["processes"] += 1
        total["processes_stopped"] += fields[0] in "Tt"
        total["major_page_faults_total"] += int(fields[9])
        total["cpu_seconds_total user"] += int(fields[11])
        total["cpu_seconds_total system"] += int(fields[12])
        total["threads"] += int(fields[17])
        total["virtual_memory_bytes"] += int(fields[20])
        total["resident_memory_bytes"] += int(fields[21]) * PAGE
        total["open_fds"] += len(list((proc / "fd").iterdir()))
        limit = re.search(r"Max open files +(\d+)", (proc / "limits").read_text())
        assert limit
        total["max_fds"] += int(limit[1])
        for key in ("read_bytes", "write_bytes"):
            total[f"{key}_total"] += _number(rf"^{key}: ", proc / "io")
        for status in proc.glob("task/*/status"):
            total["context_switches_total voluntary"] += _number(r"^voluntary_ctxt_switches:\t", status)
            total["context_switches_total involuntary"] += _number(r"^nonvoluntary_ctxt_switches:\t", status)
    return {name: value / TICKS if name.startswith("cpu") else float(value) for name, value in total.items()}


def _number(before: str, path: Path) -> int:
    found = re.search(before + r"(\d+)", path.read_text(), re.MULTILINE)
    assert found, path
    return int(found[1])


class Pidstat:
    """A pidstat that watches processes, and their threads, for a while."""

    def __init__(self, pids: Iterable[int], seconds: int) -> None:
        """Start it; return when it has read the counters for the first time."""
        self._seconds = seconds
        listed = ",".join(map(str, pids))
        flags = (["-u", "-r", "-d", "-v"], ["-w", "-t"])
        self._start = time.monotonic()
        self._running = [
            subprocess.Popen(
                ["pidstat", "-h", *chosen, "-p", listed, str(seconds), "1"],
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "LC_ALL": "C", "S_COLORS": "never"},
            )
            for chosen in flags
        ]
        for process in self._running:
            calm = 0
            while calm < 3:  # it sleeps only once it has read
                time.sleep(0.05)
                asleep = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"
                calm = calm + 1 if asleep else 0

    @property
    def watching(self) -> bool:
        """Whether it has yet to read the counters for the second time."""
        return all(process.poll() is None for process in self._running)

    def wait(self) -> None:
        """Wait for its end. ``tables`` are then its rows about processes, and those about threads, by heading."""
        tables = []
        for process in self._running:
            lines = process.communicate(timeout=60)[0].splitlines()
            heading = next(line for line in lines if line.startswith("#")).strip("# ").split()
            numbers = [line.split() for line in lines if line[:1].isdigit()]
            tables.append([dict(zip(heading, row, strict=False)) for row in numbers])
        self.elapsed = time.monotonic() - self._start
        self.tables = tables

    def between(self, rates: Iterable[str]) -> tuple[float, float]:
        """Return the least and the most that counters with these printed rates can have grown by.

        The rates have two decimals; the time they are taken over is at least what was asked for, to a hundredth
        of a second, and less than the programs ran.
        """
        values = [float(rate) for rate in rates]
        slack = 0.005 * len(values)
        return (sum(values) - slack) * (self._seconds - 0.01), (sum(values) + slack) * (self.elapsed + 0.01)
