"""The collector of host metrics, as far as DNS depends on them. Switch it off beside node_exporter."""

import contextlib
import ctypes
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Self

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from dnsvigil.resolver.config import Config, Resolver
from dnsvigil.resolver.kernel.procfs import ProcFs
from dnsvigil.resolver.scrape import Collector, Parts

MAX_DEVICES: Final = 64
"""How many disks, and network devices, have metrics: the first ones in the kernel's order."""

FOLDERS: Final = tuple(
    Path(folder)
    for folder in (
        "/",
        "/var",
        "/var/log",
        "/var/lib/unbound",
        "/var/cache/bind",
        "/var/lib/bind",
        "/var/cache/knot-resolver",
        "/var/lib/knot-resolver",
        "/var/lib/pdns-recursor",
        "/var/lib/dnsdist",
        "/var/lib/knot",
    )
)
"""Folders whose file systems have metrics if no resolver has ``folders``; a missing folder counts as its parent."""

_PREFIX: Final = "dnsvigil_resolver_host_"
_CPU_MODES: Final = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
_SET_BACK: Final = 3  # seconds
_SECTOR: Final = 512  # bytes; the unit of /proc/diskstats whatever the disk's own
_NO_DISK: Final = re.compile(r"(loop|ram|zram|fd|sr)\d+")
_PARTITION: Final = re.compile(r"(s|h|v|xv)d[a-z]+\d+|.*\dp\d+")  # where there is no /sys
_OF_CONTAINERS: Final = re.compile(r"(veth|docker|br-|virbr|vnet|tap|cali|cilium|lxc|flannel|cni|ifb)")
_ASKS_THE_NETWORK: Final = re.compile(r"nfs4?|cifs|smb3|ceph|afs|fuse\.(sshfs|glusterfs|ceph.*|s3fs|rclone)")

STA_UNSYNC: Final = 0x0040  # this and the next two: linux/timex.h
STA_NANO: Final = 0x2000
TIME_ERROR: Final = 5

_LIBC: Final = ctypes.CDLL(None, use_errno=True)


class Clock(NamedTuple):
    """The state of the kernel's clock."""

    synchronised: bool
    offset: float  # seconds that are left to set right
    estimated_error: float  # seconds


class HostCollector(Collector):
    """Collects host metrics. A part that cannot be read affects only its own metrics."""

    name = "host"

    def __init__(self, resolvers: Sequence[Resolver], fs: ProcFs = ProcFs()) -> None:
        self._fs = fs
        self._cpu_seconds: dict[tuple[str, str], float] = {}
        self._folders = [folder for resolver in resolvers for folder in resolver.folders] or FOLDERS
        self._readers: dict[str, Callable[[], Iterable[Metric]]] = {
            "cpu": self._cpu,
            "memory": self._memory,
            "disk": self._disk,
            "filesystem": self._filesystem,
            "network": self._network,
            "softnet": self._softnet,
            "udp": self._udp,
            "tcp": self._tcp,
            "conntrack": self._conntrack,
            "clock": self._clock,
        }
        self.parts = Parts(self.name, self._readers)
        self.statvfs: Callable[[str], os.statvfs_result] = os.statvfs
        self.read_clock: Callable[[], Clock] = read_clock

    @classmethod
    def from_config(cls, config: Config) -> Self:
        """Return the collector as the operator configured it."""
        return cls(config.resolvers)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of every part that can be read, even if only partly."""
        for part, read in self._readers.items():
            try:
                yield from read()
            except (OSError, ValueError, LookupError) as error:
                self.parts.missing(part, str(error) if isinstance(error, OSError) else f"not understood: {error!r}")
            else:
                self.parts.works(part)

    def _cpu(self) -> Iterator[Metric]:
        seconds = _counter("cpu_seconds", "CPU time spent in the mode.", ["cpu", "mode"])
        ticks = os.sysconf("SC_CLK_TCK")
        for line in self._text("stat").splitlines():
            key, *values = line.split()
            if re.fullmatch(r"cpu\d+", key):
                # Old kernels have fewer columns.
                for mode, value in zip(_CPU_MODES, values, strict=False):
                    labels = (key[3:], mode)
                    seconds.add_metric(labels, self._not_back(labels, int(value) / ticks))
            elif key == "btime":
                yield _gauge("boot_time_seconds", "When the machine was booted.", value=int(values[0]))
        yield seconds
        load = self._text("loadavg").split()[0]
        yield _gauge(
            "load1", "Processes that run or wait for a CPU or a disk, averaged over a minute.", value=float(load)
        )

    def _not_back(self, labels: tuple[str, str], seconds: float) -> float:
        """Hold ``idle`` and ``iowait``, which the kernel at times sets back a little, where they were.

        Prometheus would take it for a restart of the counter. A CPU that was off in between may be set back for good.
        """
        before = self._cpu_seconds.get(labels, 0)
        self._cpu_seconds[labels] = before if before - _SET_BACK < seconds < before else seconds
        return self._cpu_seconds[labels]

    def _memory(self) -> Iterator[Metric]:
        sizes = {}
        for line in self._text("meminfo").splitlines():
            key, _, value = line.partition(":")
            sizes[key] = int(value.split()[0]) * 1024
        for name, key, text in (
            ("memory_total_bytes", "MemTotal", "Memory of the machine."),
            ("memory_available_bytes", "MemAvailable", "Memory that programs can use without swapping."),
            ("swap_total_bytes", "SwapTotal", "Swap space."),
            ("swap_free_bytes", "SwapFree", "Free swap space."),
        ):
            yield _gauge(name, text, value=sizes[key])

    def _disk(self) -> Iterator[Metric]:
        read = _counter("disk_read_bytes", "Bytes read from the disk.", ["device"])
        written = _counter("disk_written_bytes", "Bytes written to the disk.", ["device"])
        busy = _counter("disk_io_time_seconds", "Time for which the disk was busy.", ["device"])
        disks = {name.replace("!", "/") for name in self._fs.names_sys("block")}  # partitions are not among them
        lines = [line.split() for line in self._text("diskstats").splitlines()]
        for fields in [fields for fields in lines if _is_disk(fields[2], disks)][:MAX_DEVICES]:
            device = [fields[2]]
            read.add_metric(device, int(fields[5]) * _SECTOR)
            written.add_metric(device, int(fields[9]) * _SECTOR)
            busy.add_metric(device, int(fields[12]) / 1000)
        yield from (read, written, busy)

    def _filesystem(self) -> Iterator[Metric]:
        labels = ["mountpoint", "device", "fstype"]
        size = _gauge("filesystem_size_bytes", "Size of the file system.", labels)
        available = _gauge("filesystem_available_bytes", "Space left for users other than root.", labels)
        files = _gauge("filesystem_files", "Files that the file system can hold.", labels)
        free = _gauge("filesystem_files_free", "Files that the file system can still hold.", labels)
        mounts = _mounts(self._text("self/mountinfo"))
        failed: OSError | None = None
        seen: set[str] = set()
        for folder in self._folders:
            mount = _mount_of(os.path.realpath(folder), mounts)
            number, device, fstype = mounts[mount]
            if number in seen or _ASKS_THE_NETWORK.fullmatch(fstype):
                continue
            seen.add(number)
            try:
                found = self.statvfs(mount)
            except OSError as error:
                failed = error
                continue
            values = [_printable(text) for text in (mount, device, fstype)]
            size.add_metric(values, found.f_blocks * found.f_frsize)
            available.add_metric(values, found.f_bavail * found.f_frsize)
            if found.f_files:  # some, such as btrfs, have no limit
                files.add_metric(values, found.f_files)
                free.add_metric(values, found.f_favail)
        yield from (size, available, files, free)
        if failed:
            raise failed

    def _network(self) -> Iterator[Metric]:
        lines = (line.partition(":") for line in self._text("net/dev").splitlines()[2:])
        devices = [(name.strip(), fields.split()) for name, _, fields in lines]
        shown = [(name, fields) for name, fields in devices if not _OF_CONTAINERS.match(name)][:MAX_DEVICES]
        for first, direction, done in ((0, "receive", "received"), (8, "transmit", "sent")):
            for column, (what, text) in enumerate(
                (
                    ("bytes", f"Bytes {done}."),
                    ("packets", f"Packets {done}."),
                    ("errors", f"Packets not {done} for an error."),
                    ("drops", f"Packets not {done} for lack of buffer space, or because no protocol handled them."),
                ),
                start=first,
            ):
                values = [([name], int(fields[column])) for name, fields in shown]
                yield _counter(f"network_{direction}_{what}", text, ["device"], values)

    def _softnet(self) -> Iterator[Metric]:
        rows = [[int(field, 16) for field in line.split()] for line in self._text("net/softnet_stat").splitlines()]
        # Linux before 5.10 omits the CPU's number, which is the line's number unless CPUs are offline.
        cpus = [[str(row[12] if len(row) > 12 else number)] for number, row in enumerate(rows)]
        for column, (what, text) in enumerate(
            (
                ("processed", "Packets that the CPU took from the network devices."),
                ("dropped", "Packets that the CPU dropped because its backlog was full."),
                ("squeezed", "Times that the CPU ran out of its budget with packets left."),
            )
        ):
            yield _counter(f"softnet_{what}", text, ["cpu"], zip(cpus, (row[column] for row in rows), strict=True))

    def _udp(self) -> Iterator[Metric]:
        families = {"ipv4": _pairs_of_lines(self._text("net/snmp"))["Udp"]}
        with contextlib.suppress(FileNotFoundError):  # a kernel without IPv6
            lines = (line.split() for line in self._text("net/snmp6").splitlines())
            families["ipv6"] = {line[0].removeprefix("Udp6"): int(line[1]) for line in lines if "Udp6" in line[0]}
        for name, key, text in (
            ("udp_in_datagrams", "InDatagrams", "Datagrams delivered to programs."),
            ("udp_out_datagrams", "OutDatagrams", "Datagrams sent."),
            ("udp_no_ports", "NoPorts", "Datagrams to a port where nothing listens."),
            ("udp_in_errors", "InErrors", "Datagrams not delivered to programs, also because of full receive buffers."),
            ("udp_receive_buffer_errors", "RcvbufErrors", "Datagrams dropped because the receive buffer was full."),
            ("udp_send_buffer_errors", "SndbufErrors", "Datagrams not sent because the send buffer was full."),
        ):
            values = [([family], found[key]) for family, found in families.items() if key in found]
            yield _counter(name, text, ["family"], values)

    def _tcp(self) -> Iterator[Metric]:
        found = _pairs_of_lines(self._text("net/netstat"))["TcpExt"]
        for name, key, text in (
            ("tcp_listen_overflows", "ListenOverflows", "Connections dropped because the accept queue was full."),
            ("tcp_listen_drops", "ListenDrops", "Connections dropped before they were accepted, for any reason."),
        ):
            yield _counter(name, text, [], [([], found[key])])

    def _conntrack(self) -> Iterator[Metric]:
        entries = int(self._text("sys/net/netfilter/nf_conntrack_count"))
        limit = int(self._text("sys/net/netfilter/nf_conntrack_max"))
        yield _gauge("conntrack_entries", "Connections that the kernel tracks.", value=entries)
        yield _gauge("conntrack_limit", "Connections that the kernel can track.", value=limit)

    def _clock(self) -> Iterator[Metric]:
        clock = self.read_clock()
        yield _gauge("clock_synchronised", "Whether the clock is synchronised.", value=clock.synchronised)
        yield _gauge("clock_offset_seconds", "Correction that is being applied to the clock.", value=clock.offset)
        yield _gauge("clock_estimated_error_seconds", "Estimated error of the clock.", value=clock.estimated_error)

    def _text(self, path: str) -> str:
        return os.fsdecode(self._fs.content(path))


class _Timex(ctypes.Structure):
    """The first fields of ``struct timex`` (linux/timex.h), and room for the rest."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    )


def read_clock() -> Clock:
    """Read the kernel's clock state. Raises ``OSError`` where a filter of system calls forbids it."""
    timex = _Timex()
    state = _LIBC.adjtimex(ctypes.byref(timex))
    if state < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"adjtimex: {os.strerror(number)}")
    return Clock(
        synchronised=state != TIME_ERROR and not timex.status & STA_UNSYNC,
        offset=timex.offset / (1e9 if timex.status & STA_NANO else 1e6),
        estimated_error=timex.esterror / 1e6,
    )


def _counter(
    name: str, text: str, labels: Sequence[str], values: Iterable[tuple[Sequence[str], float]] = ()
) -> CounterMetricFamily:
    family = CounterMetricFamily(_PREFIX + name, text, labels=labels)
    for labelled, value in values:
        family.add_metric(labelled, value)
    return family


def _gauge(name: str, text: str, labels: Sequence[str] = (), value: float | None = None) -> GaugeMetricFamily:
    return GaugeMetricFamily(_PREFIX + name, text, value=value, labels=labels if value is None else None)


def _is_disk(device: str, disks: set[str]) -> bool:
    if _NO_DISK.fullmatch(device):
        return False
    return device in disks if disks else not _PARTITION.fullmatch(device)


def _pairs_of_lines(text: str) -> dict[str, dict[str, int]]:
    """Read a line of names and one of values, both after the same word, by that word."""
    found: dict[str, dict[str, int]] = {}
    lines = text.splitlines()
    for names, values in zip(lines[::2], lines[1::2], strict=False):
        word, _, rest = names.partition(":")
        found[word] = dict(zip(rest.split(), map(int, values.partition(":")[2].split()), strict=False))
    return found


def _mounts(mountinfo: str) -> dict[str, tuple[str, str, str]]:
    """Return number, device and type by mount point; of file systems on top of each other the last, which is seen.

    The number, ``major:minor``, is the same wherever a file system is mounted (Documentation/filesystems/proc.rst).
    """
    mounts = {}
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        _, _, number, _, mount = before.split(" ")[:5]
        fstype, device = after.split(" ")[:2]
        mounts[_unescaped(mount)] = (number, _unescaped(device), fstype)
    return mounts


def _mount_of(folder: str, mounts: Mapping[str, object]) -> str:
    """Return the mount point above ``folder``, whether the folder exists or not."""
    path = Path(folder)
    for above in (path, *path.parents):
        if str(above) in mounts:
            return str(above)
    raise LookupError(f"no mount point above {folder}; this happens in a chroot")


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def _printable(text: str) -> str:
    """Names of files may be any bytes; labels are UTF-8."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")
