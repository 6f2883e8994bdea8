"""The whole /metrics, but for the probe, from copies of /proc and /sys, held against golden files.

``RENEW=1 pytest tests/exporters/resolver/test_resolver_golden.py`` writes the golden files anew; look at
``git diff`` afterwards. ``python -m lab.procfs_fixture KIND FILE``, run in tests/, takes a copy anew.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from dnsvigil.resolver.collectors.host import HostCollector
from dnsvigil.resolver.collectors.process import ProcessCollector
from dnsvigil.resolver.collectors.sockets import SocketCollector
from dnsvigil.resolver.config import Resolver, Sockets
from dnsvigil.resolver.kernel.clock import Clock
from dnsvigil.resolver.kernel.procfs import ProcFs
from dnsvigil.resolver.scrape import Scrape
from lab.procfs_fixture import PORTS, replay, unpack

# The copies lack what psutil reads of memory beyond what is shown.
pytestmark = pytest.mark.filterwarnings("ignore:.*memory stats couldn't be determined:RuntimeWarning")

FIXTURES = Path(__file__).with_name("fixtures")
RESOLVERS = {
    "debian": [Resolver("unbound", unit="unbound.service"), Resolver("kresd", unit="kresd@")],
    "bare": [],
}
VARIES = re.compile(r"^(\w+_(?:duration_seconds|build_info)\{[^}]*\}) .*\n", re.MULTILINE)
"""What differs from run to run and from version to version."""
COLLECTORS = ("process", "sockets", "host")
SHARED = ("proc/stat", "proc/meminfo")
"""What more than one collector reads."""
ONLY_SOURCE = ("proc/net/tcp", "proc/net/udp")
"""Without netlink there is nothing else to read in their place."""


@pytest.fixture(params=RESOLVERS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def copy(kind: str, tmp_path: Path) -> Path:
    unpack(FIXTURES / f"{kind}.tree", tmp_path)
    return tmp_path


def collectors(kind: str, copy: Path) -> CollectorRegistry:
    """Return what collects from a copy that is laid out."""
    fs = ProcFs(copy / "proc", copy / "sys")
    host = HostCollector(RESOLVERS[kind], fs)
    # f_bsize, f_frsize, f_blocks, f_bfree, f_bavail, f_files, f_ffree, f_favail, f_flag, f_namemax
    host.statvfs = lambda _: os.statvfs_result((4096, 4096, 1000, 400, 350, 500, 300, 300, 0, 255))
    host.read_clock = _clock if kind == "debian" else _no_clock
    sockets = SocketCollector(Sockets(ports=sorted(PORTS.values())), fs, ask=replay(copy))
    registry = CollectorRegistry()
    registry.register(Scrape([ProcessCollector(RESOLVERS[kind], fs), sockets, host]))
    return registry


def text(registry: CollectorRegistry) -> str:
    return VARIES.sub("", generate_latest(registry).decode())


def _clock() -> Clock:
    return Clock(synchronised=True, offset=-0.000125, estimated_error=0.000016)


def _no_clock() -> Clock:
    raise PermissionError(1, "adjtimex: Operation not permitted")


def test_metrics_are_the_golden_ones(kind: str, copy: Path) -> None:
    golden = FIXTURES / f"{kind}.metrics"
    found = text(collectors(kind, copy))
    if os.environ.get("RENEW"):
        golden.write_text(found)
    assert found.splitlines() == golden.read_text().splitlines()


def test_a_second_scrape_of_the_same_shows_the_same(kind: str, copy: Path) -> None:
    registry = collectors(kind, copy)
    assert text(registry) == text(registry)


@pytest.mark.parametrize("kind", ["debian"])
def test_netlink_and_proc_say_the_same_of_sockets(kind: str, copy: Path) -> None:
    """But for limits of queues, which /proc lacks."""
    by_netlink = of_collector("sockets", text(collectors(kind, copy)))
    shutil.rmtree(copy / "netlink")
    by_proc = of_collector("sockets", text(collectors(kind, copy)))
    lacking = ("accept_queue_limit", "socket_receive_buffer_bytes", "part_available")
    assert {line for line in by_netlink - by_proc if not any(name in line for name in lacking)} == set()
    assert by_proc - by_netlink == {'dnsvigil_resolver_part_available{collector="sockets",part="netlink"} 0.0'}


@pytest.mark.parametrize("change", ["gone", "empty", "half", "garbage"])
def test_no_file_takes_more_than_its_own_metrics_along(kind: str, copy: Path, change: str) -> None:
    """Each file in turn is gone or broken: no collector fails, and the others show what they showed."""
    whole = text(collectors(kind, copy))
    folders = ("netlink", "fd", "block")
    paths = [path for path in copy.rglob("*") if path.is_file() and path.parent.name not in folders]
    assert len(paths) > 20
    for path in paths:
        name = str(path.relative_to(copy))
        kept = path.read_text()
        if change == "gone":
            path.unlink()
        else:
            path.write_text({"empty": "", "half": kept[: len(kept) // 2], "garbage": "\0\x7f garbage: -1 \n"}[change])
        found = text(collectors(kind, copy))
        path.write_text(kept)
        failed = set(re.findall(r'collector_success\{collector="(\w+)"\} 0.0', found))
        assert failed == ({"sockets"} if (kind, change) == ("bare", "gone") and name in ONLY_SOURCE else set()), name
        changed = {each for each in COLLECTORS if of_collector(each, found) != of_collector(each, whole)}
        assert len(changed) <= (2 if name in SHARED else 1), (name, changed)


@pytest.mark.parametrize("kind", ["debian"])
def test_numbers_changed_in_the_copy_change_those_metrics(kind: str, copy: Path) -> None:
    registry = collectors(kind, copy)
    before = set(text(registry).splitlines())
    for name, pattern, replacement in (
        ("net/snmp", r"^(Udp: \d+ \d+) \d+ (\d+) \d+", r"\1 7000001 \2 7000002"),
        ("meminfo", r"(MemAvailable: +)\d+", r"\g<1>1000"),
    ):
        path = copy / "proc" / name
        path.write_text(re.sub(pattern, replacement, path.read_text(), flags=re.MULTILINE))
    assert set(text(registry).splitlines()) - before == {
        "dnsvigil_resolver_host_memory_available_bytes 1.024e+06",
        'dnsvigil_resolver_host_udp_in_errors_total{family="ipv4"} 7.000001e+06',
        'dnsvigil_resolver_host_udp_receive_buffer_errors_total{family="ipv4"} 7.000002e+06',
    }


def of_collector(collector: str, shown: str) -> set[str]:
    """Return the samples that come from a collector, and those about it."""

    def origin(line: str) -> str:
        if found := re.search(r'[{,]collector="(\w+)"', line):
            return found[1]
        if line.startswith("dnsvigil_resolver_host_"):
            return "host"
        return "process" if re.search(r'[{,]resolver="', line) else "sockets"

    return {line for line in shown.splitlines() if line[:1] != "#" and origin(line) == collector}
