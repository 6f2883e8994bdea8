"""The collector of host metrics, as far as DNS depends on them. Switch it off beside node_exporter."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, Self

import psutil
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from dnsvigil.resolver.config import Config, Resolver
from dnsvigil.resolver.kernel import snmp
from dnsvigil.resolver.kernel.clock import Clock, read_clock
from dnsvigil.resolver.kernel.conntrack import conntrack
from dnsvigil.resolver.kernel.cpu import cpu_times
from dnsvigil.resolver.kernel.mounts import mount_point, mounts
from dnsvigil.resolver.kernel.procfs import ProcFs
from dnsvigil.resolver.kernel.softnet import softnet
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
_MAX_SET_BACK: Final = 3  # seconds
_NOT_A_DISK: Final = re.compile(r"(loop|ram|zram|fd|sr)\d+")
_PARTITION: Final = re.compile(r"(s|h|v|xv)d[a-z]+\d+|.*\dp\d+")  # where there is no /sys
_VIRTUAL_DEVICE: Final = re.compile(r"(veth|docker|br-|virbr|vnet|tap|cali|cilium|lxc|flannel|cni|ifb)")
_NETWORK_FSTYPE: Final = re.compile(r"nfs4?|cifs|smb3|ceph|afs|fuse\.(sshfs|glusterfs|ceph.*|s3fs|rclone)")
_DROPS: Final = "Packets not {} for lack of buffer space, or because no protocol handled them."
_NOT_UNDERSTOOD: Final = (ValueError, LookupError, AssertionError)  # the last is psutil's, for a broken net/dev


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
            except OSError as error:
                self.parts.missing(part, str(error))
            except _NOT_UNDERSTOOD as error:
                self.parts.missing(part, f"not understood: {error!r}")
            else:
                self.parts.works(part)

    def _cpu(self) -> Iterator[Metric]:
        times = cpu_times(self._fs)
        if times.boot_time is not None:
            yield _gauge("boot_time_seconds", "When the machine was booted.", value=times.boot_time)
        values = [(labels, self._held(labels, seconds)) for labels, seconds in times.seconds.items()]
        yield _counter("cpu_seconds", "CPU time spent in the mode.", ["cpu", "mode"], values)
        load = self._fs.text("loadavg").split()[0]  # psutil has it from the C library, which reads /proc alone
        yield _gauge(
            "load1", "Processes that run or wait for a CPU or a disk, averaged over a minute.", value=float(load)
        )

    def _held(self, labels: tuple[str, str], seconds: float) -> float:
        """Keep ``idle`` and ``iowait`` from going down, which the kernel at times sets back a little.

        Prometheus would take that for a restart of the counter. A CPU that was offline may be set back for good.
        """
        before = self._cpu_seconds.get(labels, 0)
        self._cpu_seconds[labels] = before if before - _MAX_SET_BACK < seconds < before else seconds
        return self._cpu_seconds[labels]

    def _memory(self) -> Iterator[Metric]:
        memory = self._fs.psutil(psutil.virtual_memory)
        yield _gauge("memory_total_bytes", "Memory of the machine.", value=memory.total)
        yield _gauge("memory_available_bytes", "Memory that programs can use without swapping.", value=memory.available)
        swap = self._fs.psutil(psutil.swap_memory)
        yield _gauge("swap_total_bytes", "Swap space.", value=swap.total)
        yield _gauge("swap_free_bytes", "Free swap space.", value=swap.free)

    def _disk(self) -> Iterator[Metric]:
        read = _counter("disk_read_bytes", "Bytes read from the disk.", ["device"])
        written = _counter("disk_written_bytes", "Bytes written to the disk.", ["device"])
        busy = _counter("disk_io_time_seconds", "Time for which the disk was busy.", ["device"])
        disks = {name.replace("!", "/") for name in self._fs.names_sys("block")}  # partitions are not among them
        self._fs.content("diskstats")  # raises OSError where psutil would walk /sys/block of this machine instead
        counted = self._fs.psutil(psutil.disk_io_counters, perdisk=True, nowrap=False)
        for device in [device for device in counted if _is_disk(device, disks)][:MAX_DEVICES]:
            read.add_metric([device], counted[device].read_bytes)
            written.add_metric([device], counted[device].write_bytes)
            busy.add_metric([device], counted[device].busy_time / 1000)
        yield from (read, written, busy)

    def _filesystem(self) -> Iterator[Metric]:
        labels = ["mountpoint", "device", "fstype"]
        size = _gauge("filesystem_size_bytes", "Size of the file system.", labels)
        available = _gauge("filesystem_available_bytes", "Space left for users other than root.", labels)
        files = _gauge("filesystem_files", "Files that the file system can hold.", labels)
        free = _gauge("filesystem_files_free", "Files that the file system can still hold.", labels)
        mounted = mounts(self._fs)
        failed: OSError | None = None
        seen: set[str] = set()
        for folder in self._folders:
            point = mount_point(os.path.realpath(folder), mounted)
            mount = mounted[point]
            if mount.number in seen or _NETWORK_FSTYPE.fullmatch(mount.fstype):
                continue
            seen.add(mount.number)
            try:
                found = self.statvfs(point)
            except OSError as error:
                failed = error
                continue
            values = [_printable(text) for text in (point, mount.device, mount.fstype)]
            size.add_metric(values, found.f_blocks * found.f_frsize)
            available.add_metric(values, found.f_bavail * found.f_frsize)
            if found.f_files:  # some, such as btrfs, have no limit
                files.add_metric(values, found.f_files)
                free.add_metric(values, found.f_favail)
        yield from (size, available, files, free)
        if failed:
            raise failed

    def _network(self) -> Iterator[Metric]:
        counted = self._fs.psutil(psutil.net_io_counters, pernic=True, nowrap=False)
        shown = [device for device in counted if not _VIRTUAL_DEVICE.match(device)][:MAX_DEVICES]
        for name, text, counter in (
            ("receive_bytes", "Bytes received.", "bytes_recv"),
            ("receive_packets", "Packets received.", "packets_recv"),
            ("receive_errors", "Packets not received for an error.", "errin"),
            ("receive_drops", _DROPS.format("received"), "dropin"),
            ("transmit_bytes", "Bytes sent.", "bytes_sent"),
            ("transmit_packets", "Packets sent.", "packets_sent"),
            ("transmit_errors", "Packets not sent for an error.", "errout"),
            ("transmit_drops", _DROPS.format("sent"), "dropout"),
        ):
            values = [([device], getattr(counted[device], counter)) for device in shown]
            yield _counter(f"network_{name}", text, ["device"], values)

    def _softnet(self) -> Iterator[Metric]:
        counted = softnet(self._fs)
        for what, text in (
            ("processed", "Packets that the CPU took from the network devices."),
            ("dropped", "Packets that the CPU dropped because its backlog was full."),
            ("squeezed", "Times that the CPU ran out of its budget with packets left."),
        ):
            values = [([str(one.cpu)], getattr(one, what)) for one in counted]
            yield _counter(f"softnet_{what}", text, ["cpu"], values)

    def _udp(self) -> Iterator[Metric]:
        families = snmp.udp(self._fs)
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
        found = snmp.tcp(self._fs)
        for name, key, text in (
            ("tcp_listen_overflows", "ListenOverflows", "Connections dropped because the accept queue was full."),
            ("tcp_listen_drops", "ListenDrops", "Connections dropped before they were accepted, for any reason."),
        ):
            yield _counter(name, text, [], [([], found[key])])

    def _conntrack(self) -> Iterator[Metric]:
        found = conntrack(self._fs)
        yield _gauge("conntrack_entries", "Connections that the kernel tracks.", value=found.entries)
        yield _gauge("conntrack_limit", "Connections that the kernel can track.", value=found.limit)

    def _clock(self) -> Iterator[Metric]:
        clock = self.read_clock()
        yield _gauge("clock_synchronised", "Whether the clock is synchronised.", value=clock.synchronised)
        yield _gauge("clock_offset_seconds", "Correction that is being applied to the clock.", value=clock.offset)
        yield _gauge("clock_estimated_error_seconds", "Estimated error of the clock.", value=clock.estimated_error)


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
    if _NOT_A_DISK.fullmatch(device):
        return False
    return device in disks if disks else not _PARTITION.fullmatch(device)


def _printable(text: str) -> str:
    """Names of files may be any bytes; labels are UTF-8."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")
