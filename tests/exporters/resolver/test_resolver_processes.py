from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from dnsvigil.resolver.collectors.process import ProcessCollector
from dnsvigil.resolver.config import Resolver
from dnsvigil.resolver.kernel.procfs import ProcFs
from exporters.resolver.collected import chosen, collected

TICK = 1 / os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
BOOT = 1_700_000_000
RAM = 8 << 30


class Machine:
    """A tree like /proc and /sys, with process 1 in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fs = ProcFs(folder / "proc", folder / "sys")
        self.write("proc/stat", f"cpu  1 2 3\nbtime {BOOT}\n")
        self.write("proc/meminfo", f"MemTotal:       {RAM // 1024} kB\n")
        self.process(1, "systemd")

    def write(self, path: str, content: str) -> None:
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_text(content)

    def process(
        self,
        pid: int,
        comm: str,
        *,
        state: str = "S",
        start: int = 100,
        cpu: tuple[int, int] = (0, 0),
        faults: int = 0,
        memory: tuple[int, int] = (0, 0),
        fds: int = 3,
        max_fds: str = "1024",
        address_space: str = "unlimited",
        io: tuple[int, int] = (0, 0),
        cgroup: str = "0::/init.scope\n",
        switches: dict[int, tuple[int, int]] | None = None,
    ) -> None:
        """Lay out /proc/PID; times in ticks, memory as address space in bytes and resident pages."""
        switches = {pid: (0, 0)} if switches is None else switches
        self.end(pid)
        numbers = [
            1,
            pid,
            pid,
            0,
            -1,
            4194304,
            10,
            20,
            faults,
            40,
            *cpu,
            50,
            60,
            20,
            0,
            len(switches),
            0,
            start,
            *memory,
        ]
        self.write(
            f"proc/{pid}/stat", f"{pid} ({comm}) {state} {' '.join(map(str, numbers))} 18446744073709551615 1 1\n"
        )
        self.write(f"proc/{pid}/comm", f"{comm}\n")
        self.write(f"proc/{pid}/cgroup", cgroup)
        self.write(
            f"proc/{pid}/limits",
            "Limit                     Soft Limit           Hard Limit           Units     \n"
            f"Max address space         {address_space:20} unlimited            bytes     \n"
            f"Max open files            {max_fds:20} 524288               files     \n",
        )
        self.write(
            f"proc/{pid}/io",
            f"rchar: 9\nwchar: 9\nread_bytes: {io[0]}\nwrite_bytes: {io[1]}\ncancelled_write_bytes: 9\n",
        )
        for number in range(fds):
            self.write(f"proc/{pid}/fd/{number}", "")
        for thread, (voluntary, involuntary) in switches.items():
            self.thread(pid, thread, voluntary, involuntary)

    def thread(self, pid: int, thread: int, voluntary: int, involuntary: int) -> None:
        counts = f"voluntary_ctxt_switches:\t{voluntary}\nnonvoluntary_ctxt_switches:\t{involuntary}\n"
        self.write(f"proc/{pid}/task/{thread}/status", f"Name:\tx\n{counts}")

    def children(self, pid: int, *pids: int) -> None:
        self.write(f"proc/{pid}/task/{pid}/children", "".join(f"{child} " for child in pids))

    def end(self, pid: int) -> None:
        if (self.folder / f"proc/{pid}").exists():
            shutil.rmtree(self.folder / f"proc/{pid}")

    def watch(self, *resolvers: Resolver) -> ProcessCollector:
        return ProcessCollector(list(resolvers), self.fs)


UNBOUND = Resolver("unbound", process="unbound")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_figures_of_two_processes_are_summed_up(machine: Machine) -> None:
    machine.process(
        *(100, "kresd"),
        start=1000,
        cpu=(150, 50),
        faults=7,
        memory=(3000, 20),
        fds=3,
        max_fds="12",
        io=(4096, 512),
        switches={100: (10, 1), 101: (20, 2)},
    )
    machine.process(
        *(200, "kresd"),
        state="T",
        start=3000,
        cpu=(50, 0),
        faults=1,
        memory=(1000, 10),
        fds=5,
        max_fds="1000",
        io=(0, 8),
        switches={200: (5, 0)},
    )
    machine.process(300, "kresd-gc")
    assert collected(machine.watch(Resolver("kresd", process="kresd"))) == {
        "up kresd": 1,
        "processes kresd": 2,
        "processes_stopped kresd": 1,
        "start_time_seconds kresd": BOOT + 3000 * TICK,
        "threads kresd": 3,
        "resident_memory_bytes kresd": 30 * PAGE,
        "virtual_memory_bytes kresd": 4000,
        "memory_limit_bytes kresd": RAM,
        "open_fds kresd": 8,
        "max_fds kresd": 1012,
        "fds_ratio kresd": 0.25,
        "cpu_seconds_total kresd user": pytest.approx(200 * TICK),
        "cpu_seconds_total kresd system": pytest.approx(50 * TICK),
        "context_switches_total kresd voluntary": 35,
        "context_switches_total kresd involuntary": 3,
        "read_bytes_total kresd": 4096,
        "write_bytes_total kresd": 520,
        "major_page_faults_total kresd": 8,
    }


def test_a_resolver_that_was_never_seen_is_down(machine: Machine) -> None:
    assert collected(machine.watch(UNBOUND)) == {
        "up unbound": 0,
        "processes unbound": 0,
        "processes_stopped unbound": 0,
    }


def test_the_usual_resolvers_are_shown_from_when_they_are_seen(machine: Machine) -> None:
    collector = machine.watch()
    assert collected(collector) == {}
    machine.process(100, "pdns_recursor")
    assert chosen(collected(collector), "up") == {"up pdns_recursor": 1}
    machine.end(100)
    assert collected(collector)["up pdns_recursor"] == 0


@pytest.mark.parametrize("state", ["Z", "X"])
def test_a_zombie_is_not_up(machine: Machine, state: str) -> None:
    machine.process(100, "unbound", state=state)
    assert collected(machine.watch(UNBOUND))["up unbound"] == 0


def test_names_are_those_of_the_kernel(machine: Machine) -> None:
    machine.process(100, "a) R 1 (b")
    machine.process(101, "fifteen-letters")
    machine.process(102, "fifteen-letter")
    found = collected(
        machine.watch(Resolver("odd", process="a) R 1 (b"), Resolver("long", process="fifteen-letters-and-more"))
    )
    assert chosen(found, "processes") == {"processes odd": 1, "processes long": 1}


UNITS = {
    "0::/system.slice/unbound.service\n": {"unbound.service", "unbound", "system.slice"},
    "1:name=systemd:/system.slice/unbound.service\n4:memory:/x\n": {"unbound.service", "unbound", "system.slice"},
    "0::/system.slice/unbound.service (deleted)\n": {"unbound.service", "unbound", "system.slice"},
    "0::/system.slice/system-kresd.slice/kresd@1.service\n": {
        "kresd@1.service",
        "kresd@.service",
        "kresd@",
        "system.slice",
    },
    "0::/system.slice/system-kresd.slice/kresd@b:c.service/worker\n": {"kresd@.service", "kresd@", "system.slice"},
    "0::/machine.slice/libpod-7.scope/container\n": {"libpod-7.scope"},
    "4:memory:/system.slice/unbound.service\n": set(),
    "0::/user.slice/unbound.service-not\n1:name=systemd:/system-slice\n": set(),
    "0::/\n": set(),
}


@pytest.mark.parametrize(("cgroup", "units"), UNITS.items())
def test_units_are_found_by_their_control_group(machine: Machine, cgroup: str, units: set[str]) -> None:
    machine.process(100, "whatever", cgroup=cgroup)
    every = sorted({"kresd@2.service", "kresd", "bound", *set().union(*UNITS.values())})
    found = collected(machine.watch(*(Resolver(unit, unit=unit) for unit in every)))
    assert {unit for unit in every if found[f"up {unit}"]} == units


def test_a_pidfile_means_the_process_and_its_descendants(machine: Machine) -> None:
    for pid in (100, 101, 102, 103, 104):
        machine.process(pid, f"p{pid}")
    machine.children(100, 101, 102)
    machine.children(102, 103)
    machine.children(103, 100)  # a broken tree ends too
    machine.write("pid", "100\n")
    collector = machine.watch(Resolver("knot", pidfile=machine.folder / "pid"))
    assert collected(collector)["processes knot"] == 4
    machine.end(103)
    assert collected(collector)["processes knot"] == 3
    machine.end(100)
    assert collected(collector)["processes knot"] == 0


@pytest.mark.parametrize("content", ["", "x\n", "-1\n", "999\n", "0", "\0\xff", "9" * 5000])
def test_a_pidfile_without_a_process_means_down(machine: Machine, content: str) -> None:
    machine.write("pid", content)
    collector = machine.watch(Resolver("knot", pidfile=machine.folder / "pid"))
    assert collected(collector)["up knot"] == 0
    (machine.folder / "pid").unlink()
    assert collected(collector)["up knot"] == 0
    assert dict(collector.parts)["processes"]


def test_a_pidfile_that_was_left_over_is_not_believed(machine: Machine) -> None:
    machine.process(100, "unbound", start=1000)
    machine.write("pid", "100\n")
    collector = machine.watch(Resolver("unbound", pidfile=machine.folder / "pid"))
    assert collected(collector)["up unbound"] == 1
    machine.process(100, "cron", start=2000)
    assert collected(collector)["up unbound"] == 0
    assert collected(collector)["up unbound"] == 0
    machine.write("pid", "100\n")
    os.utime(machine.folder / "pid", ns=(1, 1))  # a restart in a container may well have the PID of before
    assert collected(collector)["up unbound"] == 1


def test_a_pidfile_with_the_number_of_a_thread_means_down(tmp_path: Path) -> None:
    script = "import threading, time; threading.Thread(target=time.sleep, args=(60,)).start(); print(flush=True)"
    with started(sys.executable, "-c", script, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        (thread,) = {int(path.name) for path in Path(f"/proc/{process.pid}/task").iterdir()} - {process.pid}
        for number, up in ((process.pid, 1), (thread, 0)):
            (tmp_path / "pid").write_text(str(number))
            assert collected(ProcessCollector([Resolver("x", pidfile=tmp_path / "pid")]))["up x"] == up


def test_counters_never_go_down(machine: Machine) -> None:
    collector = machine.watch(UNBOUND)
    machine.process(100, "unbound", cpu=(100, 10), faults=1, io=(1000, 100), switches={100: (10, 1), 101: (20, 2)})
    machine.process(200, "unbound", cpu=(200, 20), faults=2, io=(2000, 200), switches={200: (30, 3)})
    first = collected(collector)
    machine.end(100)
    second = collected(collector)
    assert _counters(second) == _counters(first)
    machine.process(200, "unbound", cpu=(250, 25), faults=3, io=(2500, 250), switches={200: (40, 4)})
    machine.process(100, "unbound", start=5000, cpu=(1, 1), faults=1, io=(1, 1), switches={100: (1, 1)})  # reused
    assert _counters(collected(collector)) == {
        "cpu_seconds_total unbound user": pytest.approx((300 + 50 + 1) * TICK),
        "cpu_seconds_total unbound system": pytest.approx((30 + 5 + 1) * TICK),
        "major_page_faults_total unbound": 3 + 1 + 1,
        "read_bytes_total unbound": 3000 + 500 + 1,
        "write_bytes_total unbound": 300 + 50 + 1,
        "context_switches_total unbound voluntary": 60 + 10 + 1,
        "context_switches_total unbound involuntary": 6 + 1 + 1,
    }
    machine.end(100)
    machine.end(200)
    assert collected(collector)["cpu_seconds_total unbound user"] == pytest.approx(351 * TICK)


def test_a_process_that_is_not_seen_for_a_while_does_not_count_anew(machine: Machine) -> None:
    collector = machine.watch(UNBOUND)
    machine.process(100, "unbound", cpu=(100, 10), switches={100: (10, 1)})
    first = collected(collector)
    (machine.folder / "proc/100/stat").rename(machine.folder / "stat")
    assert collected(collector)["up unbound"] == 0
    (machine.folder / "stat").rename(machine.folder / "proc/100/stat")
    assert collected(collector) == first
    machine.write("proc/100/comm", "renamed\n")
    assert collected(collector)["up unbound"] == 0
    machine.write("proc/100/comm", "unbound\n")
    assert collected(collector) == first


def _counters(samples: dict[str, float]) -> dict[str, float]:
    return {key: value for key, value in samples.items() if "_total" in key}


def test_switches_of_threads_that_end_or_take_a_number_again_are_kept(machine: Machine) -> None:
    collector = machine.watch(UNBOUND)
    for threads, total in (
        ({100: (1, 0), 101: (50, 5)}, 51),
        ({100: (2, 0)}, 52),
        ({100: (3, 0), 101: (7, 0)}, 60),
        ({100: (3, 0), 101: (6, 0)}, 66),
    ):
        machine.process(100, "unbound", switches=threads)
        assert collected(collector)["context_switches_total unbound voluntary"] == total


def test_of_very_many_threads_some_are_read_each_time(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    collector = machine.watch(UNBOUND)
    threads = range(1000, 1600)
    machine.process(1000, "unbound", switches=dict.fromkeys(threads, (1, 0)))
    assert collected(collector)["context_switches_total unbound voluntary"] == 600
    for thread in threads:
        machine.thread(1000, thread, 2, 0)
    with opens(monkeypatch) as paths:
        totals = [collected(collector)["context_switches_total unbound voluntary"] for _ in range(4)]
    assert totals == [856, 1112, 1200, 1200]
    assert sum("/task/" in path for path in paths) == 4 * 256


def test_a_step_of_the_clock_is_no_restart(machine: Machine) -> None:
    collector = machine.watch(UNBOUND)
    machine.process(100, "unbound", start=1000)
    machine.write("proc/stat", "cpu\n")
    assert "start_time_seconds unbound" not in collected(collector)
    collector = machine.watch(UNBOUND)
    machine.write("proc/stat", f"btime {BOOT}\n")
    before = collected(collector)["start_time_seconds unbound"]
    machine.write("proc/stat", f"btime {BOOT + 3600}\n")
    assert collected(collector)["start_time_seconds unbound"] == before


G = 1 << 30
LIMITS = [
    ("nothing", "0::/a/b\n", {}, "unlimited", RAM),
    ("address space", "0::/a/b\n", {"a/b/memory.max": "max"}, str(2 * G), 2 * G),
    ("own group", "0::/a/b\n", {"a/b/memory.max": f"{G}\n", "a/memory.max": "max\n"}, str(2 * G), G),
    ("group above", "0::/a/b\n", {"a/b/memory.max": f"{3 * G}\n", "a/memory.max": f"{2 * G}\n"}, "unlimited", 2 * G),
    ("root of a container", "0::/\n", {"memory.max": f"{G}\n"}, "unlimited", G),
    (
        "first version",
        "4:memory:/a\n0::/b\n",
        {"memory/a/memory.limit_in_bytes": f"{G}\n", "b/memory.max": "1"},
        "unlimited",
        G,
    ),
    (
        "first version, no limit",
        "4:cpu,memory:/a\n",
        {"memory/a/memory.limit_in_bytes": "9223372036854771712"},
        "unlimited",
        RAM,
    ),
    ("first version, container", "4:memory:/docker/1\n", {"memory/memory.limit_in_bytes": f"{G}"}, "unlimited", G),
    ("beyond the root", "0::/../../x\n", {"x/memory.max": f"{G}"}, "unlimited", G),
    ("no groups", "", {}, "unlimited", RAM),
]


@pytest.mark.parametrize(
    ("cgroup", "files", "address_space", "limit"), [case[1:] for case in LIMITS], ids=[case[0] for case in LIMITS]
)
def test_memory_limit(machine: Machine, cgroup: str, files: dict[str, str], address_space: str, limit: int) -> None:
    machine.process(100, "unbound", cgroup=cgroup, address_space=address_space)
    for path, content in files.items():
        machine.write(f"sys/fs/cgroup/{path}", content)
    assert collected(machine.watch(UNBOUND))["memory_limit_bytes unbound"] == limit


def test_memory_limits_of_several_groups_add_up_to_what_is_above_them(machine: Machine) -> None:
    for number in (1, 2, 3):
        machine.process(number * 100, "kresd", cgroup=f"0::/dns.slice/kresd@{number}.service\n")
        machine.write(f"sys/fs/cgroup/dns.slice/kresd@{number}.service/memory.max", str(G))
    machine.process(400, "kresd", cgroup="0::/dns.slice/kresd@3.service\n")  # shares it
    kresd = Resolver("kresd", unit="kresd@")
    assert collected(machine.watch(kresd))["memory_limit_bytes kresd"] == 3 * G
    machine.write("sys/fs/cgroup/dns.slice/memory.max", str(5 * G // 2))
    assert collected(machine.watch(kresd))["memory_limit_bytes kresd"] == 5 * G // 2


def test_without_limits_nothing_is_said_about_them(machine: Machine) -> None:
    machine.process(100, "unbound", max_fds="unlimited", fds=4)
    machine.write("proc/meminfo", "")
    found = collected(machine.watch(UNBOUND))
    assert found["open_fds unbound"] == 4
    assert not {"max_fds unbound", "fds_ratio unbound", "memory_limit_bytes unbound"} & set(found)


def test_where_processes_are_hidden_none_is_said_to_be_down(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    collector = machine.watch(UNBOUND, Resolver("named", process="named"))
    machine.process(100, "unbound")
    machine.end(1)
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            found = collected(collector)
            assert chosen(found, "up") == {"up unbound": 1}
            assert not dict(collector.parts)["processes"]
        assert len(caplog.records) == 1
        assert "hidepid" in caplog.text
        machine.process(1, "systemd")
        assert chosen(collected(collector), "up") == {"up unbound": 1, "up named": 0}
        assert dict(collector.parts)["processes"]


@pytest.mark.parametrize("hidepid", [1, 2])
def test_a_real_hidepid(hidepid: int) -> None:
    """In a mount namespace of its own, as the user nobody."""
    if os.geteuid():
        pytest.skip("mounting /proc with hidepid needs root")
    script = (
        "import ctypes, os\n"
        "from dnsvigil.resolver.collectors.process import ProcessCollector\n"
        "from dnsvigil.resolver.config import Resolver\n"
        "from exporters.resolver.collected import collected\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "collector = ProcessCollector([Resolver('x', process='nothing'), Resolver('own', process='python-of-test')])\n"
        "ctypes.CDLL(None).prctl(15, b'python-of-test')\n"  # PR_SET_NAME
        "samples = collected(collector)\n"
        "print({key: value for key, value in samples.items() if 'up' in key}, dict(collector.parts)['processes'])\n"
    )
    command = ["unshare", "--mount", "sh", "-c", f'mount -t proc -o hidepid={hidepid} proc /proc && exec "$@"', "-"]
    done = subprocess.run(
        [*command, sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        cwd="/",
    )
    if done.stderr.startswith(("mount:", "unshare:")):
        pytest.skip(f"no mount namespace here: {done.stderr.strip()}")
    assert done.stdout == "{'up own': 1} False\n", done.stderr


def test_a_pidfile_that_may_not_be_read_says_so(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    collector = machine.watch(Resolver("knot", pidfile=machine.folder / "pid"), UNBOUND)
    machine.write("pid", "1\n")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", _refuse)
        assert chosen(collected(collector), "up") == {"up unbound": 0}
        assert not dict(collector.parts)["processes"]
    assert chosen(collected(collector), "up") == {"up knot": 1, "up unbound": 0}
    assert dict(collector.parts)["processes"]


def _refuse(path: Path, *_: object) -> None:
    raise PermissionError(errno.EACCES, "Permission denied", str(path))


def test_what_needs_privileges_is_missing_without_them(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    machine.process(100, "unbound", cpu=(100, 0))
    collector = machine.watch(UNBOUND)
    with (
        failing_on(r"/100/(io|fd)$", PermissionError(errno.EACCES, "Permission denied")),
        caplog.at_level(logging.INFO),
    ):
        for _ in range(2):
            found = collected(collector)
            assert dict(collector.parts) == {"processes": True, "fds": False, "io": False}
    assert found["cpu_seconds_total unbound user"] == pytest.approx(100 * TICK)
    assert found["max_fds unbound"] == 1024
    assert not {"open_fds unbound", "fds_ratio unbound", "read_bytes_total unbound"} & set(found)
    assert [record.message for record in caplog.records] == [
        "process: fds not available: /proc/PID/fd is not readable; this needs the resolver's own user or"
        " CAP_DAC_READ_SEARCH",
        "process: io not available: /proc/PID/io is not readable; this needs the resolver's own user or CAP_SYS_PTRACE"
        " with CAP_DAC_READ_SEARCH",
    ]
    machine.end(100)
    collected(collector)
    assert dict(collector.parts) == {"processes": True, "fds": False, "io": False}  # no process shows otherwise
    machine.process(100, "unbound")
    assert "open_fds unbound" in collected(collector)
    assert dict(collector.parts) == {"processes": True, "fds": True, "io": True}


def test_a_kernel_that_does_not_count_io_lacks_that_part(machine: Machine) -> None:
    machine.process(100, "unbound")
    (machine.folder / "proc/100/io").unlink()
    collector = machine.watch(UNBOUND)
    assert "read_bytes_total unbound" not in collected(collector)
    assert dict(collector.parts) == {"processes": True, "fds": True, "io": False}


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ESRCH, errno.EACCES, errno.EIO])
def test_a_process_may_vanish_at_every_single_read(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    machine.process(100, "unbound", cpu=(1, 1), io=(1, 1), switches={100: (1, 1), 101: (1, 1)})
    machine.children(100, 200)
    machine.process(200, "unbound-helper")
    machine.process(300, "named", cpu=(7, 0))
    machine.write("pid", "100\n")
    resolvers = [
        *(UNBOUND, Resolver("named", process="named"), Resolver("unit", unit="init.scope")),
        Resolver("file", pidfile=machine.folder / "pid"),
    ]
    whole = collected(machine.watch(*resolvers))
    with opens(monkeypatch) as paths:
        collected(machine.watch(*resolvers))
    reads = [path for path in paths if "/100" in path]
    assert len(reads) > 20
    for nth in range(len(reads)):
        with failing_at(nth, OSError(number, os.strerror(number))):
            found = collected(machine.watch(*resolvers))
        assert chosen(found, "named") == chosen(whole, "named")
        assert found["up unit"] == 1


@pytest.mark.parametrize("name", ["stat", "limits", "io", "cgroup", "comm", "task/100/status", "task/100/children"])
@pytest.mark.parametrize(
    "content", ["", "\0\xff\xfe", "100 (unbound) S 1 2\n", "Max open files\nread_bytes: x\n::::\n1 x -\n"]
)
def test_files_that_are_not_as_expected_do_not_stop_the_rest(machine: Machine, name: str, content: str) -> None:
    machine.process(100, "unbound")
    machine.process(300, "named", cpu=(7, 0))
    machine.write("pid", "100\n")
    resolvers = [Resolver("named", process="named"), UNBOUND, Resolver("file", pidfile=machine.folder / "pid")]
    whole = chosen(collected(machine.watch(*resolvers)), "named")
    machine.write(f"proc/100/{name}", content)
    assert chosen(collected(machine.watch(*resolvers)), "named") == whole


def test_a_scrape_reads_one_small_file_of_each_other_process(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.process(100, "unbound")
    for pid in range(1000, 1200):
        machine.write(f"proc/{pid}/comm", "sleep\n")
    with opens(monkeypatch) as paths:
        collected(machine.watch(UNBOUND, Resolver("named", process="named")))
    assert sum(path.endswith("/comm") for path in paths) <= 203
    assert len(paths) < 203 + 15


@pytest.fixture
def crowd(machine: Machine) -> Machine:
    """A machine with 600 other processes, which are known."""
    for pid in range(1000, 1600):
        machine.write(f"proc/{pid}/comm", "sleep\n")
    return machine


def names_read(paths: list[str]) -> int:
    return sum(path.endswith("/comm") and not path.endswith("/1/comm") for path in paths)


def test_of_very_many_processes_some_are_read_again_each_time(crowd: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    collector = crowd.watch(UNBOUND)
    reads = []
    for _ in range(4):
        with opens(monkeypatch) as paths:
            assert collected(collector)["up unbound"] == 0
        reads.append(names_read(paths))
    assert reads[:2] == [600, 600]
    assert all(200 < number <= 256 for number in reads[2:])
    crowd.process(1500, "unbound")
    found = [collected(collector)["up unbound"] for _ in range(3)]
    assert found[-1] == 1
    assert found == sorted(found)


def test_a_process_that_becomes_a_resolver_right_after_its_start_is_found_at_the_next_scrape(crowd: Machine) -> None:
    collector = crowd.watch(UNBOUND, Resolver("unit", unit="unbound.service"))
    for _ in range(3):
        collected(collector)
    crowd.process(2000, "(unbound)")
    assert chosen(collected(collector), "up") == {"up unbound": 0, "up unit": 0}
    crowd.write("proc/2000/comm", "unbound\n")
    crowd.write("proc/2000/cgroup", "0::/system.slice/unbound.service\n")
    assert chosen(collected(collector), "up") == {"up unbound": 1, "up unit": 1}


def test_a_process_with_the_pid_of_one_that_has_ended_is_found_at_once(crowd: Machine) -> None:
    collector = crowd.watch(UNBOUND)
    for _ in range(3):
        collected(collector)
    for pid in (1000, 1250, 1599):
        crowd.process(2000, "unbound")
        (crowd.folder / f"proc/{pid}").rename(crowd.folder / f"ended-{pid}")
        (crowd.folder / "proc/2000").rename(crowd.folder / f"proc/{pid}")
    assert collected(collector)["processes unbound"] == 3


def test_a_process_with_a_used_pid_has_an_inode_of_its_own() -> None:
    sleep = shutil.which("sleep")
    assert sleep
    with started(sleep, "60") as process:
        pid = process.pid
        before = ProcFs().inodes()[str(pid)]
        assert ProcFs().inodes()[str(pid)] == before
    for _ in range(50):  # another program may be quicker
        try:
            Path("/proc/sys/kernel/ns_last_pid").write_text(str(pid - 1))
        except OSError as error:
            pytest.skip(f"the next PID cannot be chosen here: {error}")
        with started(sleep, "60") as process:
            if process.pid == pid:
                assert ProcFs().inodes()[str(pid)] != before
                return
    pytest.skip("the PID was taken by another program")


def test_a_resolvers_own_processes_are_read_each_time(crowd: Machine) -> None:
    collector = crowd.watch(UNBOUND)
    crowd.process(1300, "unbound")
    for name in ("unbound", "unbound", "unbound", "renamed", "unbound", "renamed", "renamed", "unbound"):
        crowd.write("proc/1300/comm", f"{name}\n")
        assert collected(collector)["up unbound"] == (name == "unbound")


@contextmanager
def opens(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Give the paths that are opened or listed meanwhile."""
    paths: list[str] = []
    with monkeypatch.context() as patch:
        _wrap(patch, paths.append)
        yield paths


@contextmanager
def failing_on(pattern: str, error: OSError) -> Iterator[None]:
    """Let whatever reads a path like ``pattern`` fail."""

    def look(path: str) -> None:
        if re.search(pattern, path):
            raise error

    with pytest.MonkeyPatch.context() as patch:
        _wrap(patch, look)
        yield


@contextmanager
def failing_at(nth: int, error: OSError) -> Iterator[None]:
    """Let process 100 vanish at the ``nth`` read of it, and be gone from then on."""
    seen = 0

    def look(path: str) -> None:
        nonlocal seen
        if "/100" in path:
            seen += 1
            if seen > nth:
                raise error

    with pytest.MonkeyPatch.context() as patch:
        _wrap(patch, look)
        yield


def _wrap(patch: pytest.MonkeyPatch, look: Callable[[str], None]) -> None:
    for name in ("open", "scandir"):
        genuine = getattr(os, name)

        def wrapped(path: object, *arguments: object, genuine: Callable[..., object] = genuine) -> object:
            look(str(path))
            return genuine(path, *arguments)

        patch.setattr(os, name, wrapped)


@contextmanager
def started(*command: str, **more: object) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, **more)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def test_a_real_process_through_its_life(tmp_path: Path) -> None:
    sleep = shutil.which("sleep")
    assert sleep
    program = shutil.copy(sleep, tmp_path / "dnsvigil-sleeps")
    collector = ProcessCollector([Resolver("x", process="dnsvigil-sleeps")])
    assert collected(collector)["up x"] == 0
    with started(str(program), "60") as process:
        assert _until(lambda: collected(collector)["up x"] == 1)
        theirs = psutil.Process(process.pid)
        assert _until(lambda: theirs.status() == psutil.STATUS_SLEEPING)
        found = collected(collector)
        assert found["start_time_seconds x"] == pytest.approx(theirs.create_time(), abs=1)
        assert found["open_fds x"] == theirs.num_fds()
        assert found["max_fds x"] == theirs.rlimit(psutil.RLIMIT_NOFILE)[0]
        assert found["virtual_memory_bytes x"] == theirs.memory_info().vms
        assert found["memory_limit_bytes x"] <= psutil.virtual_memory().total
        process.send_signal(signal.SIGSTOP)
        assert _until(lambda: collected(collector)["processes_stopped x"] == 1)
        process.kill()
        assert _until(lambda: collected(collector)["up x"] == 0)  # though nobody has waited for it yet
        assert theirs.status() == psutil.STATUS_ZOMBIE
        assert collected(collector)["context_switches_total x voluntary"] >= 1


def test_a_real_process_with_threads(tmp_path: Path) -> None:
    script = (
        "import sys, threading, time\n"
        "def work():\n"
        "    for _ in range(300): time.sleep(0.001)\n"
        "    time.sleep(60)\n"
        "for _ in range(4): threading.Thread(target=work, daemon=True).start()\n"
        "open(sys.argv[1], 'wb').write(bytes(300000))\n"
        "print(sum(range(3000000)), flush=True); time.sleep(60)\n"
    )
    with started(sys.executable, "-c", script, str(tmp_path / "file"), stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        (tmp_path / "pid").write_text(str(process.pid))
        collector = ProcessCollector([Resolver("x", pidfile=tmp_path / "pid")])
        assert _until(lambda: collected(collector)["context_switches_total x voluntary"] >= 1200)
        assert _until(lambda: _as_psutil(collected(collector), psutil.Process(process.pid)))


def _as_psutil(found: dict[str, float], theirs: psutil.Process) -> bool:
    cpu = theirs.cpu_times()
    threads = [
        dict(line.split(":\t") for line in path.read_text().splitlines() if "ctxt" in line)
        for path in Path(f"/proc/{theirs.pid}/task").glob("*/status")
    ]
    return (
        found["threads x"] == theirs.num_threads() == 5
        # The kernel's stat, which is read here and by pidstat, is a little behind its statm, which psutil reads.
        and found["resident_memory_bytes x"] == pytest.approx(theirs.memory_info().rss, rel=0.1)
        and found["cpu_seconds_total x user"] == pytest.approx(cpu.user)
        and found["cpu_seconds_total x system"] == pytest.approx(cpu.system)
        and found["context_switches_total x voluntary"] == sum(int(one["voluntary_ctxt_switches"]) for one in threads)
        and found["context_switches_total x involuntary"]
        == sum(int(one["nonvoluntary_ctxt_switches"]) for one in threads)
        and found.get("write_bytes_total x") == theirs.io_counters().write_bytes
    )


def _until(condition: Callable[[], bool]) -> bool:
    for _ in range(200):
        if condition():
            return True
        time.sleep(0.05)
    return False
