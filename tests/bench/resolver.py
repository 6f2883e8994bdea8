"""The resolver exporter beside Debian's node_exporter and process_exporter: time and cost of a scrape, and memory.

Everything runs in network and process namespaces of its own, so nothing else is counted and nothing is left behind.
A real unbound is watched and asked; the sockets are TCP connections that clients on loopback hold open to port 853,
and the processes sleep. Every program is scraped over one connection, as Prometheus does.
"""

from __future__ import annotations

import http.client
import os
import resource
import select
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.namespaces import LabError
from lab.resolvers import Resolver, free_port, installed

ROWS = ((10, 0, 300), (1_000, 0, 300), (1_000, 1_000, 300), (100_000, 0, 100))
"""Sockets, of which half are on port 853 and half on ephemeral ports, sleeping processes, and scrapes."""
PORT = 853
INTERVAL = 15  # seconds between two scrapes, and two probes, in use
IDLE_SECONDS = 5  # during which the probe asks every second

_OTHERS = {"prometheus-node-exporter": [], "prometheus-process-exporter": ["--procnames=unbound"]}
"""Debian's exporters, with their arguments."""
_TICKS = os.sysconf("SC_CLK_TCK")
_COMMAND = "import sys; from dnsvigil.resolver.main import main; sys.exit(main())"


@dataclass
class Program:
    """One exporter."""

    name: str
    process: subprocess.Popen[bytes]
    port: int

    def cpu_seconds(self) -> float:
        """Return the CPU time it has taken."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def megabytes(self) -> float:
        """Return the memory that it has resident."""
        fields = Path(f"/proc/{self.process.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def start_all(folder: Path, resolver: Resolver) -> Iterator[Program]:
    """Start the exporters that are installed, each as it comes, but for what it is to watch."""
    port = free_port()
    config = folder / "resolver.yml"
    config.write_text(
        f"listen: 127.0.0.1:{port}\nresolvers: [{{name: unbound, process: unbound}}]\n"
        f"collectors: {{sockets: {{ports: [{resolver.port}, {PORT}]}},"
        f" probe: {{port: {resolver.port}, interval: 1s, timeout: 1s}}}}\n"
    )
    yield _start(folder, "dnsvigil-resolver-exporter", [sys.executable, "-c", _COMMAND, "-c", config], port)
    for name, arguments in _OTHERS.items():
        if program := shutil.which(name):
            port = free_port()
            yield _start(folder, name, [program, f"--web.listen-address=127.0.0.1:{port}", *arguments], port)


def scrape(connection: http.client.HTTPConnection) -> float:
    """Return the seconds that one scrape takes."""
    start = time.perf_counter()
    connection.request("GET", "/metrics")
    answer = connection.getresponse()
    body = answer.read()
    elapsed = time.perf_counter() - start
    if answer.status != 200 or b"\n" not in body:
        raise RuntimeError(f"status {answer.status}")
    return elapsed


@contextmanager
def connections(count: int) -> Iterator[None]:
    """Hold so many connections to PORT open, both ends."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1] // 2 - 50
    most = min(most, 20_000)  # local ports of one address
    holders: list[int] = []
    try:
        for number in range(-(-count // most)):
            holders.append(_hold(f"127.0.1.{number + 1}", min(most, count - number * most)))
        yield
    finally:
        for pid in holders:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


@contextmanager
def sleepers(count: int) -> Iterator[None]:
    """Let so many processes sleep."""
    running = [subprocess.Popen(["sleep", "3600"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
        for process in running:
            process.wait()


def measure() -> None:
    """Print the table. The namespaces are there."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    print("| sockets | processes | exporter | scrape, median | p99 | resident | CPU per scrape | CPU at 15 s |")
    print("|---|---|---|---|---|---|---|---|")
    for sockets, processes, scrapes in ROWS:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dnsvigil-bench-")))
            resolver = stack.enter_context(Resolver("unbound", folder / "unbound"))
            stack.enter_context(connections(sockets // 2))
            stack.enter_context(sleepers(processes))
            programs = []
            for program in start_all(folder, resolver):
                stack.callback(_end, program)
                programs.append(program)
            for program in programs:
                print(f"| {sockets:,} | {processes:,} | {program.name} | {_measure(program, scrapes)} |", flush=True)


def _measure(program: Program, scrapes: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", program.port, timeout=60)
    for _ in range(3):  # what happens only once
        scrape(connection)
    before = program.cpu_seconds()
    start = time.perf_counter()
    seconds = sorted(scrape(connection) for _ in range(scrapes))
    elapsed = time.perf_counter() - start
    busy = program.cpu_seconds() - before
    time.sleep(IDLE_SECONDS)
    each_second = (program.cpu_seconds() - before - busy) / IDLE_SECONDS
    per_scrape = max(busy - each_second * elapsed, 0) / scrapes
    connection.close()
    return (
        f"{statistics.median(seconds) * 1e3:.1f} ms | {seconds[-(-scrapes * 99 // 100) - 1] * 1e3:.1f} ms"
        f" | {program.megabytes():.1f} MB | {per_scrape * 1e3:.1f} ms | {(per_scrape + each_second) / INTERVAL:.2%}"
    )


def _start(folder: Path, name: str, command: list[str | Path], port: int) -> Program:
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    program = Program(name, process, port)
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return program
    _end(program)
    raise RuntimeError(f"{name} does not listen: {Path(log.name).read_text()[-500:]}")


def _end(program: Program) -> None:
    program.process.kill()
    program.process.wait()


def _hold(address: str, count: int) -> int:
    """Let a child open so many connections to itself; return its process id when it has."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            listener = socket.create_server((address, PORT), backlog=128)
            held = []
            for _ in range(count):
                held.append(socket.create_connection((address, PORT), 10, (address, 0)))
                held.append(listener.accept()[0])
            os.write(writer, b"!")
            signal.pause()
        finally:
            os._exit(1)
    os.close(writer)
    ready = select.select([reader], [], [], 120)[0] and os.read(reader, 1)
    os.close(reader)
    if not ready:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise RuntimeError(f"{count} connections to {address} could not be made")
    return pid


def main() -> None:
    """Measure in namespaces of its own."""
    if not installed("unbound") or not shutil.which("unshare"):
        raise LabError("needs unbound and unshare")
    asked = ["dpkg-query", "--show", "--showformat=${Package} ${Version}; ", *_OTHERS]
    versions = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
    print(f"\n## Resolver exporter\n\n{versions}{os.cpu_count()} cores\n", flush=True)
    root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    apart = ["unshare", *root, "--net", "--pid", "--mount-proc", "--fork", "--kill-child"]
    subprocess.run([*apart, sys.executable, "-m", "bench.resolver"], check=True)


if __name__ == "__main__":
    measure()
