"""The machine's metrics: from trees of /proc and /sys as kernels of all sorts show them, and from this machine."""

# ruff: noqa: E501 (files of /proc are as wide as they are)
from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from dnsvigil.resolver.collectors.host import HostCollector
from dnsvigil.resolver.config import Resolver
from dnsvigil.resolver.kernel import clock as kernel_clock
from dnsvigil.resolver.kernel.clock import Clock, read_clock
from dnsvigil.resolver.kernel.procfs import ProcFs

FILES: Mapping[str, str] = {
    "proc/stat": """\
cpu  700 30 300 9000 50 7 90 11 5 3
cpu0 400 10 100 4000 20 3 40 6 5 3
cpu2 300 20 200 5000 30 4 50 5 0 0
intr 12345 1 2 3
ctxt 999
btime 1700000000
processes 4242
""",
    "proc/loadavg": "1.25 0.80 0.50 3/100 12354\n",
    "proc/meminfo": """\
MemTotal:        8000000 kB
MemFree:         1000000 kB
MemAvailable:    6000000 kB
Buffers:           10000 kB
Cached:           100000 kB
Active:           100000 kB
Inactive:         100000 kB
Shmem:             10000 kB
SwapTotal:       2000000 kB
SwapFree:        1500000 kB
HugePages_Total:       0
""",
    "proc/diskstats": """\
   7       0 loop0 5 0 40 0 0 0 0 0 0 1 1 0 0 0 0 0 0
   8       0 sda 100 2 2000 30 200 4 6000 70 0 1500 100 0 0 0 0 1 2
   8       1 sda1 90 2 1800 30 200 4 6000 70 0 1400 100 0 0 0 0 0 0
 253       0 dm-0 10 0 80 1 20 0 160 2 0 3 3 0 0 0 0 0 0
 104       0 cciss/c0d0 1 0 8 0 1 0 16 0 0 2500 0 0 0 0 0
 259       0 nvme0n1 7 0 56 0 7 0 64 0 0 7 7 0 0 0 0
 259       1 nvme0n1p1 6 0 48 0 6 0 64 0 0 7 7 0 0 0 0
 202       1 xvda1 1 0 8 0 1 0 8 0 0 1000 0 0 0 0 0
""",
    "proc/vmstat": "pswpin 0\npswpout 0\n",
    "proc/self/mountinfo": """\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw,discard
28 27 8:2 / /srv/the\\040cache rw - xfs /dev/mapper/vg-var\\134cache rw
29 27 0:40 / /srv/remote rw shared:1 - nfs4 server:/export rw
30 27 0:41 / /srv/twice rw - tmpfs below rw
31 27 0:42 / /srv/twice rw - tmpfs above rw
""",
    "proc/net/dev": """\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:    1000      10    0    0    0     0          0         0     1000      10    0    0    0     0       0          0
  eth0:20000000000 200    1    2    9     9          9         9 30000000000    300    3    4    9     9       9          9
veth1a2b:     5       5    5    5    5     5          5         5        5       5    5    5    5     5       5          5
""",
    "proc/net/softnet_stat": """\
0000000a 00000001 00000002 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000
ffffffff 00000003 00000004 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000002 00000000 00000000
""",
    "proc/net/snmp": """\
Ip: Forwarding DefaultTTL
Ip: 1 64
Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti MemErrors
Udp: 11 12 13 14 15 16 17 18 19
UdpLite: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti MemErrors
UdpLite: 0 0 0 0 0 0 0 0 0
""",
    "proc/net/snmp6": """\
Ip6InReceives                   \t3
Udp6InDatagrams                 \t21
Udp6NoPorts                     \t22
Udp6InErrors                    \t23
Udp6OutDatagrams                \t24
Udp6RcvbufErrors                \t25
Udp6SndbufErrors                \t26
UdpLite6InDatagrams             \t0
""",
    "proc/net/netstat": """\
TcpExt: SyncookiesSent ListenOverflows ListenDrops TCPHPHits
TcpExt: 1 31 32 4
IpExt: InNoRoutes
IpExt: 0
""",
    "proc/sys/net/netfilter/nf_conntrack_count": "41\n",
    "proc/sys/net/netfilter/nf_conntrack_max": "262144\n",
}
DISKS = ("loop0", "sda", "dm-0", "cciss!c0d0", "nvme0n1", "xvda1")
FULL = os.statvfs_result((4096, 1024, 1000, 600, 500, 300, 200, 100, 0, 255))
"""Block size, fragment size, blocks, free blocks, and those for users; the same of files."""


class Machine:
    """A machine in a folder, and a collector of it."""

    def __init__(self, folder: Path, *folders: str) -> None:
        self.root = folder
        for path, text in FILES.items():
            self.write(path, text)
        for disk in DISKS:
            (folder / "sys/block" / disk).mkdir(parents=True)
        resolvers = [Resolver("unbound", process="unbound", folders=list(map(Path, folders)))]
        self.collector = HostCollector(resolvers, ProcFs(folder / "proc", folder / "sys"))
        self.collector.statvfs = lambda _: FULL
        self.collector.read_clock = lambda: Clock(synchronised=True, offset=0.25, estimated_error=0.5)

    def write(self, path: str, text: str | bytes) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_bytes(text if isinstance(text, bytes) else text.encode())

    def remove(self, *paths: str) -> None:
        for path in paths:
            (self.root / path).unlink()

    def shown(self) -> dict[tuple[str, ...], float]:
        return shown(self.collector)

    def missing(self) -> set[str]:
        self.shown()
        return {part for part, works in self.collector.parts if not works}


def shown(collector: HostCollector) -> dict[tuple[str, ...], float]:
    """The samples by name, without the prefix, and the values of the labels."""
    found: dict[tuple[str, ...], float] = {}
    for metric in collector.collect():
        for sample in metric.samples:
            key = (sample.name.removeprefix("dnsvigil_resolver_host_"), *sample.labels.values())
            assert key not in found
            found[key] = float(sample.value)
    return found


def of(samples: Mapping[tuple[str, ...], float], name: str) -> dict[tuple[str, ...], float]:
    return {key[1:]: value for key, value in samples.items() if key[0] == name}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path, "/")


def test_a_whole_machine(machine: Machine) -> None:
    found = machine.shown()
    assert machine.missing() == set()
    tick = os.sysconf("SC_CLK_TCK")
    modes = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
    assert of(found, "cpu_seconds_total") == {
        **{("0", mode): value / tick for mode, value in zip(modes, (400, 10, 100, 4000, 20, 3, 40, 6), strict=True)},
        **{("2", mode): value / tick for mode, value in zip(modes, (300, 20, 200, 5000, 30, 4, 50, 5), strict=True)},
    }
    assert found["boot_time_seconds",] == 1700000000
    assert found["load1",] == 1.25
    assert found["memory_total_bytes",] == 8000000 * 1024
    assert found["memory_available_bytes",] == 6000000 * 1024
    assert found["swap_total_bytes",] == 2000000 * 1024
    assert found["swap_free_bytes",] == 1500000 * 1024
    assert of(found, "disk_read_bytes_total") == {
        ("sda",): 2000 * 512,
        ("dm-0",): 80 * 512,
        ("cciss/c0d0",): 8 * 512,
        ("nvme0n1",): 56 * 512,
        ("xvda1",): 8 * 512,  # a disk of some clouds, whatever its name
    }
    assert of(found, "disk_written_bytes_total")["sda",] == 6000 * 512
    assert of(found, "disk_io_time_seconds_total") == {
        ("sda",): 1.5,
        ("dm-0",): 0.003,
        ("cciss/c0d0",): 2.5,
        ("nvme0n1",): 0.007,
        ("xvda1",): 1,
    }
    assert {name: of(found, f"network_{name}_total")["eth0",] for name in NETWORK} == NETWORK
    assert of(found, "network_receive_bytes_total").keys() == {("lo",), ("eth0",)}
    assert of(found, "softnet_processed_total") == {("0",): 10, ("2",): 0xFFFFFFFF}
    assert of(found, "softnet_dropped_total") == {("0",): 1, ("2",): 3}
    assert of(found, "softnet_squeezed_total") == {("0",): 2, ("2",): 4}
    for name, ipv4, ipv6 in (
        ("in_datagrams", 11, 21),
        ("no_ports", 12, 22),
        ("in_errors", 13, 23),
        ("out_datagrams", 14, 24),
        ("receive_buffer_errors", 15, 25),
        ("send_buffer_errors", 16, 26),
    ):
        assert of(found, f"udp_{name}_total") == {("ipv4",): ipv4, ("ipv6",): ipv6}
    assert found["tcp_listen_overflows_total",] == 31
    assert found["tcp_listen_drops_total",] == 32
    assert found["conntrack_entries",] == 41
    assert found["conntrack_limit",] == 262144
    assert found["clock_synchronised",] == 1
    assert found["clock_offset_seconds",] == 0.25
    assert found["clock_estimated_error_seconds",] == 0.5
    on_root = ("/", "/dev/sda1", "ext4")
    assert of(found, "filesystem_size_bytes") == {on_root: 1000 * 1024}
    assert of(found, "filesystem_available_bytes") == {on_root: 500 * 1024}
    assert of(found, "filesystem_files") == {on_root: 300}
    assert of(found, "filesystem_files_free") == {on_root: 100}


NETWORK = {
    "receive_bytes": 20000000000,
    "receive_packets": 200,
    "receive_errors": 1,
    "receive_drops": 2,
    "transmit_bytes": 30000000000,
    "transmit_packets": 300,
    "transmit_errors": 3,
    "transmit_drops": 4,
}


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("proc/stat", "cpu"),
        ("proc/loadavg", "cpu"),
        ("proc/meminfo", "memory"),
        ("proc/diskstats", "disk"),
        ("proc/self/mountinfo", "filesystem"),
        ("proc/net/dev", "network"),
        ("proc/net/softnet_stat", "softnet"),
        ("proc/net/snmp", "udp"),
        ("proc/net/netstat", "tcp"),
        ("proc/sys/net/netfilter/nf_conntrack_count", "conntrack"),
    ],
)
def test_a_file_that_is_missing_or_odd_takes_its_part_alone(
    machine: Machine, path: str, part: str, caplog: pytest.LogCaptureFixture
) -> None:
    whole = machine.shown()
    machine.write(path, "a b c\nd: e f\n\n1 2 x y z\n")
    assert machine.missing() == {part}
    machine.remove(path)
    caplog.clear()
    less = machine.shown()
    assert machine.missing() == {part}
    assert less.items() < whole.items()
    assert [record.getMessage() for record in caplog.records] == [
        f"host: {part} not available: [Errno 2] No such file or directory: '{machine.root / path}'"
    ]
    machine.write(path, FILES[path])
    assert machine.shown() == whole
    assert machine.missing() == set()


def test_old_kernels_have_fewer_columns(machine: Machine) -> None:
    machine.write("proc/stat", "cpu  1 2 3 4\ncpu0 400 10 100 4000\nbtime 1700000000\n")
    machine.write("proc/net/softnet_stat", "0000000a 00000001 00000002\n0000000b 00000000 00000000 00000000\n")
    machine.write("proc/net/snmp", "Udp: InDatagrams NoPorts InErrors OutDatagrams\nUdp: 1 2 3 4\n")
    machine.write("proc/diskstats", "   8       0 sda 100 2 2000 30 200 4 6000 70 0 1500 100\n")
    found = machine.shown()
    assert machine.missing() == set()
    assert {mode for _, mode in of(found, "cpu_seconds_total")} == {"user", "nice", "system", "idle"}
    assert of(found, "softnet_processed_total") == {("0",): 10, ("1",): 11}
    assert of(found, "udp_in_errors_total") == {("ipv4",): 3, ("ipv6",): 23}
    assert of(found, "udp_receive_buffer_errors_total") == {("ipv6",): 25}
    assert of(found, "disk_io_time_seconds_total") == {("sda",): 1.5}


def test_new_kernels_have_more_columns(machine: Machine) -> None:
    for path in ("proc/stat", "proc/net/softnet_stat", "proc/diskstats", "proc/loadavg"):
        machine.write(path, "".join(f"{line} 00000007 00000007\n" for line in FILES[path].splitlines()))
    text = FILES["proc/net/snmp"].replace("Udp: In", "Udp: New In").replace("Udp: 11", "Udp: 7 11")
    machine.write("proc/net/snmp", text)
    before = Machine(machine.root / "other", "/").shown()
    assert machine.shown() == before


def test_cpu_time_that_the_kernel_sets_back_stands_still(machine: Machine) -> None:
    tick = os.sysconf("SC_CLK_TCK")
    shown = []
    for iowait in (20 * tick, 20 * tick - 1, 20 * tick + 1, 5 * tick, 6 * tick):
        machine.write("proc/stat", f"cpu0 400 10 100 4000 {iowait} 3 40 6\nbtime 1\n")
        shown.append(machine.shown()["cpu_seconds_total", "0", "iowait"])
    assert shown == [20, 20, 20 + 1 / tick, 5, 6]


def test_in_a_chroot_no_file_system_is_shown(machine: Machine) -> None:
    machine.write("proc/self/mountinfo", "27 1 8:1 / /elsewhere rw - ext4 /dev/sda1 rw\n")
    assert of(machine.shown(), "filesystem_size_bytes") == {}
    assert machine.missing() == {"filesystem"}


def test_a_kernel_without_ipv6(machine: Machine) -> None:
    machine.remove("proc/net/snmp6")
    assert of(machine.shown(), "udp_in_datagrams_total") == {("ipv4",): 11}
    assert machine.missing() == set()


def test_a_container_without_sys(machine: Machine) -> None:
    for disk in DISKS:
        (machine.root / "sys/block" / disk).rmdir()
    (machine.root / "sys/block").rmdir()
    (machine.root / "sys").rmdir()
    machine.write(
        "proc/diskstats",
        FILES["proc/diskstats"] + " 179 0 mmcblk0 0 0 0 0 0 0 0 0 0 0 0\n 179 1 mmcblk0p1 0 0 0 0 0 0 0 0 0 0 0\n",
    )
    devices = {device for (device,) in of(machine.shown(), "disk_read_bytes_total")}
    assert devices == {"sda", "dm-0", "cciss/c0d0", "nvme0n1", "mmcblk0"}
    assert machine.missing() == set()


def test_devices_are_bounded(machine: Machine) -> None:
    numbers = range(1000)
    zeros = " 0" * 16
    machine.write("proc/net/dev", "\n\n" + "".join(f"vlan{n}:{zeros}\nveth{n}:{zeros}\n" for n in numbers))
    machine.write("proc/diskstats", "".join(f"253 {n} dm-{n}{zeros}\n" for n in numbers))
    for n in numbers:
        (machine.root / f"sys/block/dm-{n}").mkdir(exist_ok=True)
    found = machine.shown()
    assert list(of(found, "network_receive_bytes_total")) == [(f"vlan{n}",) for n in range(64)]
    assert list(of(found, "disk_read_bytes_total")) == [(f"dm-{n}",) for n in range(64)]


def test_the_file_systems_of_the_folders(tmp_path: Path) -> None:
    machine = Machine(
        tmp_path,
        "/srv/the cache/of/unbound",
        "/srv/the cache",
        "/srv/remote/x",
        "/srv/twice/a",
        "/srv/the",
        "/srv",
        "/srv/chroot/var",
    )
    assert list(of(machine.shown(), "filesystem_size_bytes")) == [
        ("/srv/the cache", "/dev/mapper/vg-var\\cache", "xfs"),
        ("/srv/twice", "above", "tmpfs"),
        ("/", "/dev/sda1", "ext4"),
    ]


def test_folders_that_are_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/srv/twice/of/it")
    machine = Machine(tmp_path, str(tmp_path / "link/below"))
    assert list(of(machine.shown(), "filesystem_size_bytes")) == [("/srv/twice", "above", "tmpfs")]


def test_without_folders_the_usual_ones_are_looked_at(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    mounts = "".join(f"1 1 8:{n} / {path} rw - ext4 /dev/sda{n} rw\n" for n, path in enumerate(("/", "/var", "/home")))
    machine.write("proc/self/mountinfo", mounts)
    assert [mount for mount, _, _ in of(machine.shown(), "filesystem_size_bytes")] == ["/", "/var"]


def test_a_file_system_that_cannot_be_asked_takes_no_other_away(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "/srv/twice", "/")

    def statvfs(mount: str) -> os.statvfs_result:
        if mount == "/srv/twice":
            raise PermissionError(13, "Permission denied", mount)
        return FULL

    machine.collector.statvfs = statvfs
    assert [mount for mount, _, _ in of(machine.shown(), "filesystem_size_bytes")] == ["/"]
    assert machine.missing() == {"filesystem"}


def test_a_file_system_without_a_number_of_files_shows_none(machine: Machine) -> None:
    machine.collector.statvfs = lambda _: os.statvfs_result((4096, 1024, 1000, 600, 500, 0, 0, 0, 0, 255))
    found = machine.shown()
    assert of(found, "filesystem_files") == of(found, "filesystem_files_free") == {}
    assert len(of(found, "filesystem_available_bytes")) == 1


def test_names_of_any_bytes_can_be_shown(machine: Machine) -> None:
    machine.write("proc/self/mountinfo", b"1 1 8:1 / / rw - ext4 /dev/\xff\xc3\xa4\\011 rw\n")
    assert list(of(machine.shown(), "filesystem_files")) == [("/", "/dev/\\xffä\t", "ext4")]


def test_a_clock_that_may_not_be_read(machine: Machine) -> None:
    def forbidden() -> Clock:
        raise PermissionError(1, "adjtimex: Operation not permitted")

    machine.collector.read_clock = forbidden
    assert not [key for key in machine.shown() if "clock" in key[0]]
    assert machine.missing() == {"clock"}


class Kernel:
    """Its ``adjtimex`` answers as given."""

    def __init__(self, state: int, *, errno: int = 0, **fields: int) -> None:
        self._state, self._errno, self._fields = state, errno, fields

    def adjtimex(self, timex: Any) -> int:
        assert timex._obj.modes == 0  # reads only
        for name, value in self._fields.items():
            setattr(timex._obj, name, value)
        ctypes.set_errno(self._errno)
        return self._state


@pytest.mark.parametrize(
    ("kernel", "clock"),
    [
        (Kernel(0, offset=-1500, esterror=250, status=0x0001), Clock(True, -0.0015, 0.00025)),
        (Kernel(0, offset=-1500, esterror=250, status=0x2001), Clock(True, -0.0000015, 0.00025)),
        (Kernel(5, offset=0, esterror=16000000, status=0x0040), Clock(False, 0, 16)),
        (Kernel(0, offset=0, esterror=16, status=0x2040), Clock(False, 0, 0.000016)),
        (Kernel(1, offset=0, esterror=0, status=0x2001), Clock(True, 0, 0)),  # a leap second comes
    ],
)
def test_units_and_state_of_the_clock(monkeypatch: pytest.MonkeyPatch, kernel: Kernel, clock: Clock) -> None:
    monkeypatch.setattr(kernel_clock, "_LIBC", kernel)
    assert read_clock() == pytest.approx(clock)


def test_a_clock_that_the_system_call_filter_hides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_clock, "_LIBC", Kernel(-1, errno=1))
    with pytest.raises(PermissionError, match="adjtimex: Operation not permitted"):
        read_clock()


def test_this_machine_agrees_with_psutil() -> None:
    def close(value: float, other: float, slack: float) -> bool:
        return abs(value - other) <= slack

    collector = HostCollector([])
    before = psutil.net_io_counters(pernic=True, nowrap=False)
    found = shown(collector)
    after = psutil.net_io_counters(pernic=True, nowrap=False)
    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    assert found["memory_total_bytes",] == memory.total
    assert close(found["memory_available_bytes",], memory.available, 200 * 2**20)
    assert found["swap_total_bytes",] == swap.total
    assert found["boot_time_seconds",] == psutil.boot_time()
    cpu = of(found, "cpu_seconds_total")
    for mode in ("user", "system", "idle", "iowait", "softirq", "steal"):
        total = sum(value for (_, its), value in cpu.items() if its == mode)
        assert close(total, getattr(psutil.cpu_times(), mode), 2), mode
    for (device,), value in of(found, "network_receive_bytes_total").items():
        assert before[device].bytes_recv <= value <= after[device].bytes_recv
        assert before[device].packets_sent <= found["network_transmit_packets_total", device]
    disks = psutil.disk_io_counters(perdisk=True, nowrap=False) or {}
    for (device,), value in of(found, "disk_written_bytes_total").items():
        assert value <= disks[device].write_bytes
        assert found["disk_read_bytes_total", device] <= disks[device].read_bytes
    for (mount, device, _), value in of(found, "filesystem_size_bytes").items():
        assert Path(mount).is_dir()
        assert psutil.disk_usage(mount).total <= value, device  # without what is kept for root
    assert 0 <= found["load1",] < 1000


def test_this_machine_is_read_fast() -> None:
    collector = HostCollector([])
    shown(collector)
    rounds = 20
    start = time.process_time()
    for _ in range(rounds):
        list(collector.collect())
    assert (time.process_time() - start) / rounds < 0.02
