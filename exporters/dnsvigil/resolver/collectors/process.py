"""The collector of the resolvers' processes: whether they run, and what they use.

A resolver's processes are found anew at every scrape, so a restart under another PID goes on counting (what is kept
of a process that is not a resolver's: :mod:`dnsvigil.resolver.kernel.process_table`):

- by ``process``: the name in /proc/PID/comm, of which the kernel keeps 15 characters;
- by ``unit``: every process in the control group of the unit (or of a scope or slice), delegated groups below it
  included. ``unbound`` is short for ``unbound.service``; ``kresd@`` and ``kresd@.service`` are all instances of that
  template;
- by ``pidfile``: that process and its descendants. When the PID has gone to another process although the file was
  not written again, the file is left over, and the resolver is down.

Figures of one resolver are sums over its processes; pages that they share are counted in each. The counters go on
over the end of a process. Where foreign processes are hidden (hidepid), a resolver that is not seen may well be up,
so it is not reported as down: it has no metrics at all, and the part ``processes`` is missing.
"""

import os
import re
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

import psutil
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from dnsvigil.resolver.config import DEFAULT_RESOLVERS, Config, Resolver
from dnsvigil.resolver.kernel.cgroups import MemoryLimits, unit_pattern
from dnsvigil.resolver.kernel.process_stat import process_stat
from dnsvigil.resolver.kernel.process_table import Entry, ProcessTable, read_comm
from dnsvigil.resolver.kernel.procfs import ProcFs
from dnsvigil.resolver.kernel.switches import ThreadSwitches
from dnsvigil.resolver.scrape import Collector, Parts

_COMM: Final = 15
_FILES: Final = {"fds": ("fd", "CAP_DAC_READ_SEARCH"), "io": ("io", "CAP_SYS_PTRACE with CAP_DAC_READ_SEARCH")}
_LIMIT = re.compile(r"^(Max open files|Max address space)\s+(\d+)", re.MULTILINE)
_IO = re.compile(rb"^(read_bytes|write_bytes): (\d+)", re.MULTILINE)

_GAUGES: Final = {
    "up": "Whether at least one process of the resolver is running; zombies do not count.",
    "processes": "Processes of the resolver.",
    "processes_stopped": "Processes of the resolver that are stopped by a signal or a debugger.",
    "start_time_seconds": "When the newest process of the resolver started, in seconds since 1970.",
    "threads": "Threads of the resolver.",
    "resident_memory_bytes": "Memory of the resolver that is in RAM.",
    "virtual_memory_bytes": "Address space of the resolver.",
    "memory_limit_bytes": "Memory limit of the resolver: the lowest of control groups, RLIMIT_AS and RAM.",
    "open_fds": "Open file descriptors of the resolver.",
    "max_fds": "Limit of open file descriptors of the resolver: the sum of the soft limits.",
    "fds_ratio": "Open file descriptors over the limit, of the process nearest to its limit.",
}
_COUNTERS: Final = {
    "cpu_seconds": ("CPU time of the resolver.", "mode"),
    "context_switches": ("Context switches of all threads of the resolver.", "type"),
    "read_bytes": ("Bytes that the resolver had read from disk.", ""),
    "write_bytes": ("Bytes that the resolver had written to disk.", ""),
    "major_page_faults": ("Page faults of the resolver that waited for a disk.", ""),
}


@dataclass
class _Process:
    """What is known of one process since it was first seen."""

    started: float | None  # None: unknown
    counted: dict[tuple[str, str], float] = field(default_factory=dict)
    switches: ThreadSwitches = field(default_factory=ThreadSwitches)


@dataclass
class _Group:
    """The processes of one resolver."""

    resolver: Resolver
    exported: bool
    processes: dict[tuple[int, int], _Process] = field(default_factory=dict)  # by PID and start, in ticks since boot
    totals: defaultdict[tuple[str, str], float] = field(default_factory=lambda: defaultdict(float))
    pidfile: tuple[int, int, int] | None = None  # when it was written, its PID, that process's start
    unknown: bool = False  # whether its processes could not be searched for


class ProcessCollector(Collector):
    """Collects figures of the processes of ``resolvers``; without any, of the usual resolvers once they are seen."""

    name = "process"

    def __init__(self, resolvers: list[Resolver], fs: ProcFs = ProcFs()) -> None:
        self.parts = Parts(self.name, ["processes", "fds", "io"])
        self._fs = fs
        self._groups = [_Group(resolver, exported=bool(resolvers)) for resolver in resolvers or DEFAULT_RESOLVERS]
        self._table = ProcessTable(
            fs,
            names=any(group.resolver.process is not None for group in self._groups),
            cgroups=any(group.resolver.unit is not None for group in self._groups),
        )
        self._tick = 1 / os.sysconf("SC_CLK_TCK")
        # The size of /proc/PID/fd is the number of descriptors since Linux 6.2, for everyone to see. In a copy of
        # /proc on a disk it is not; there folders have a size, in /proc itself they have none.
        self._counts_fds = _size(fs.proc) == 0
        self._why: dict[str, str] = {}  # why parts are missing
        self._had: set[str] = set()  # parts that some process gave

    @classmethod
    def from_config(cls, config: Config) -> Self:
        """Return the collector as the operator configured it."""
        return cls(config.resolvers)

    def collect(self) -> Iterable[Metric]:
        """Return the metrics of all resolvers."""
        self._why = {}
        self._had = {"processes"}
        gauges = {
            name: GaugeMetricFamily(f"dnsvigil_resolver_{name}", text, labels=["resolver"])
            for name, text in _GAUGES.items()
        }
        counters = {
            name: CounterMetricFamily(
                f"dnsvigil_resolver_{name}", text, labels=["resolver", *([label] if label else [])]
            )
            for name, (text, label) in _COUNTERS.items()
        }
        processes = self._table.update(pid for group in self._groups for pid, _ in group.processes)
        hidden = self._hidden(processes)
        boot = self._boot_time()
        for group, found in zip(self._groups, self._find(processes), strict=True):
            figures = self._read(group, found, boot)
            group.processes = {key: kept for key, kept in group.processes.items() if key[0] in processes}
            group.exported |= figures["up"] > 0
            if not group.exported or (not figures["up"] and (hidden or group.unknown)):
                continue
            for name, value in figures.items():
                gauges[name].add_metric([group.resolver.name], value)
            for (name, mode), total in group.totals.items():
                counters[name].add_metric([group.resolver.name, *([mode] if mode else [])], total)
        for part, _ in self.parts:
            if part in self._why:
                self.parts.missing(part, self._why[part])
            elif part in self._had:
                self.parts.works(part)
        return [*gauges.values(), *counters.values()]

    def _hidden(self, pids: Iterable[int]) -> bool:
        """Return whether no process of another user is visible, not even process 1."""
        if self._fs.read("1/comm") is not None or any(self._is_foreign(pid) for pid in pids):
            return False
        self._why["processes"] = (
            f"{self._fs.proc}/1 and the processes of other users are hidden; if /proc is mounted with hidepid, this"
            " needs CAP_SYS_PTRACE, or the group of the mount option gid"
        )
        return True

    def _is_foreign(self, pid: int) -> bool:
        try:
            owner = (self._fs.proc / str(pid)).stat().st_uid
        except OSError:
            return False
        return owner != os.geteuid() and bool(read_comm(self._fs, pid))

    def _boot_time(self) -> float | None:
        try:
            return self._fs.psutil(psutil.boot_time)
        except (OSError, RuntimeError, ValueError, LookupError):
            return None

    def _find(self, processes: Mapping[int, Entry]) -> list[set[int]]:
        """Return the processes of each group."""
        found: list[set[int]] = [set() for _ in self._groups]
        names: defaultdict[bytes, list[set[int]]] = defaultdict(list)
        units: list[tuple[re.Pattern[str], set[int]]] = []
        for group, members in zip(self._groups, found, strict=True):
            resolver = group.resolver
            if resolver.process is not None:
                names[resolver.process.encode()[:_COMM]].append(members)
            elif resolver.unit is not None:
                units.append((unit_pattern(resolver.unit), members))
            else:
                members.update(self._family(self._main_process(group, processes)))
        for pid, process in processes.items():
            for members in names.get(process.comm, ()):
                members.add(pid)
            for pattern, members in units:
                if pattern.search(process.cgroups):
                    members.add(pid)
        return found

    def _main_process(self, group: _Group, pids: Container[int]) -> int | None:
        path = group.resolver.pidfile
        assert path is not None
        group.unknown = False
        try:
            with path.open("rb") as file:
                pid = int(file.read(64))
                written = os.fstat(file.fileno()).st_mtime_ns
        except PermissionError as error:
            self._why["processes"] = f"{path} cannot be read ({error.strerror})"
            group.unknown = True
            return None
        except (OSError, ValueError):
            return None
        if pid not in pids:  # it may be that of a thread, which /proc has too, though it does not list it
            return None
        stat = process_stat(self._fs, pid)
        if stat is None:
            return None
        if group.pidfile and group.pidfile[:2] == (written, pid) and group.pidfile[2] != stat.start:
            return None
        group.pidfile = (written, pid, stat.start)
        return pid

    def _family(self, pid: int | None) -> Iterator[int]:
        """Yield a process and its descendants.

        ``psutil.Process.children`` reads the parent of every process on the machine: 60 ms where there are 1,000.
        """
        family = [] if pid is None else [pid]
        for member in family:  # grows on the way
            yield member
            for thread in self._fs.names(f"{member}/task"):
                children = self._fs.read(f"{member}/task/{thread}/children") or ""
                family.extend(
                    int(child) for child in children.split() if child.isdecimal() and int(child) not in family
                )

    def _read(self, group: _Group, pids: set[int], boot: float | None) -> dict[str, float]:
        """Add to the group's totals, and return its gauges."""
        figures: defaultdict[str, float] = defaultdict(float, up=0, processes=0, processes_stopped=0)
        limits = MemoryLimits(self._fs)
        for pid in sorted(pids):
            stat = process_stat(self._fs, pid)
            if stat is None or not stat.runs:
                continue
            started = None if boot is None else boot + stat.start * self._tick
            # A start is kept, so that a step of the clock does not look like a restart.
            known = group.processes.setdefault((pid, stat.start), _Process(started))
            figures["up"] = 1
            figures["processes"] += 1
            figures["processes_stopped"] += stat.state in "Tt"
            if known.started is not None:
                figures["start_time_seconds"] = max(figures["start_time_seconds"], known.started)
            figures["threads"] += stat.threads
            figures["resident_memory_bytes"] += stat.resident
            figures["virtual_memory_bytes"] += stat.virtual
            soft = dict(_LIMIT.findall(self._fs.read(f"{pid}/limits") or ""))
            limits.add(self._fs.read(f"{pid}/cgroup") or "", soft.get("Max address space"))
            self._descriptors(pid, soft.get("Max open files"), figures)
            _count(group, known, "cpu_seconds", "user", stat.user * self._tick)
            _count(group, known, "cpu_seconds", "system", stat.system * self._tick)
            _count(group, known, "major_page_faults", "", stat.major_faults)
            self._io(pid, group, known)
            for grown in known.switches.grown(self._fs, pid):
                group.totals["context_switches", "voluntary"] += grown.voluntary
                group.totals["context_switches", "involuntary"] += grown.involuntary
        if figures["up"] and (limit := limits.limit()) is not None:
            figures["memory_limit_bytes"] = limit
        return figures

    def _descriptors(self, pid: int, limit: str | None, figures: defaultdict[str, float]) -> None:
        """Add the open descriptors and their limit (None: no limit, or unknown).

        For a process of another user, ``num_fds`` and ``rlimit`` of psutil need privileges. The size of /proc/PID/fd
        and the file /proc/PID/limits, where the limit is from, need none.
        """
        if limit is not None:
            figures["max_fds"] += int(limit)
        folder = self._fs.proc / str(pid) / "fd"
        count = _size(folder) if self._counts_fds else 0
        if not count:
            try:
                with os.scandir(folder) as entries:
                    count = sum(1 for _ in entries)
            except OSError as error:
                self._note("fds", pid, error)
                return
        self._had.add("fds")
        figures["open_fds"] += count
        if limit is not None and int(limit) > 0:
            figures["fds_ratio"] = max(figures["fds_ratio"], count / int(limit))

    def _io(self, pid: int, group: _Group, known: _Process) -> None:
        # psutil takes 32 µs for a Process object and its io_counters, this takes 8 µs.
        try:
            text = self._fs.content(f"{pid}/io")
        except OSError as error:
            self._note("io", pid, error)
            return
        self._had.add("io")
        for name, value in _IO.findall(text):
            _count(group, known, name.decode(), "", int(value))

    def _note(self, part: str, pid: int, error: OSError) -> None:
        if isinstance(error, PermissionError):
            name, capabilities = _FILES[part]
            self._why[part] = f"/proc/PID/{name} is not readable; this needs the resolver's own user or {capabilities}"
        elif process_stat(self._fs, pid) is not None:
            self._why[part] = f"this kernel does not provide it ({error.strerror})"


def _count(group: _Group, known: _Process, name: str, mode: str, value: float) -> None:
    before = known.counted.get((name, mode), 0)
    if value >= before:
        group.totals[name, mode] += value - before
        known.counted[name, mode] = value


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
