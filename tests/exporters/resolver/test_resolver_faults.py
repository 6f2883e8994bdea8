"""Faults made for real, and the metrics in which each shows."""

from __future__ import annotations

import resource
import shutil
import signal
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from exporters.resolver.exporting import Exporter, asking, labelled, one, overflow, watching, write_pidfile
from exporters.resolver.kernel import socket_metrics
from exporters.running import Samples, eventually
from lab.resolvers import KINDS, LISTEN, Resolver, installed

HOST_OFF = {"enabled": False}

pytestmark = pytest.mark.skipif(not shutil.which("ss"), reason="needs iproute2")


@pytest.fixture(params=KINDS)
def resolver(request: pytest.FixtureRequest, tmp_path: Path) -> Resolver:
    if not installed(request.param):
        pytest.skip(f"{request.param} is not installed")
    with Resolver(request.param, tmp_path / request.param, workers=1) as resolver:
        yield resolver


@pytest.fixture
def exporter(resolver: Resolver, tmp_path: Path) -> Exporter:
    with Exporter(tmp_path, watching(resolver, host=HOST_OFF, probe=asking(resolver))) as exporter:
        eventually(lambda: succeeds(exporter.scrape()))
        yield exporter


def test_killed_and_started_again(resolver: Resolver, exporter: Exporter) -> None:
    before = exporter.scrape()
    assert one(before, "context_switches_total", type="voluntary") > 0
    resolver.send_signal(signal.SIGKILL)  # its parent has not waited for it: it is a zombie

    dead = eventually(lambda: (shown := exporter.scrape()) and not succeeds(shown) and shown)
    assert one(dead, "up") == one(dead, "processes") == one(dead, "processes_stopped") == 0
    assert not labelled(dead, "start_time_seconds")
    assert one(dead, "sockets", protocol="udp", family="ipv4", state="unconnected") == 0
    assert one(dead, "sockets", protocol="tcp", family="ipv4", state="listen") == 0
    assert failures(dead) > failures(before)
    not_less(before, dead)

    resolver.start()
    write_pidfile(resolver)
    again = eventually(lambda: (shown := exporter.scrape()) and succeeds(shown) and one(shown, "up") and shown)
    assert one(again, "start_time_seconds") > one(before, "start_time_seconds")
    not_less(dead, again)


def test_stopped_and_continued(resolver: Resolver, exporter: Exporter) -> None:
    assert one(exporter.scrape(), "processes_stopped") == 0
    resolver.send_signal(signal.SIGSTOP)
    queues = []
    for count in (20, 20, 2000):
        overflow(LISTEN[0], resolver.port, count)
        shown = exporter.scrape()
        queues.append(one(shown, "socket_receive_queue_bytes", protocol="udp", family="ipv4"))
    assert 0 < queues[0] < queues[1] < queues[2]
    assert one(shown, "up") == one(shown, "processes_stopped") == 1
    drops = one(shown, "udp_drops_total", address=LISTEN[0])
    assert drops > 0
    assert drops <= socket_metrics(resolver.port)["udp_drops_total"][LISTEN[0],]
    eventually(lambda: not succeeds(exporter.scrape()))
    assert one(exporter.scrape(), "probe_failures_total", reason="timeout") > 0

    resolver.send_signal(signal.SIGCONT)
    shown = eventually(lambda: (shown := exporter.scrape()) and succeeds(shown) and shown)
    assert one(shown, "processes_stopped") == 0
    shown = eventually(lambda: drained(exporter.scrape()))
    assert one(shown, "udp_drops_total", address=LISTEN[0]) >= drops


def test_flood_beyond_the_receive_buffer(tmp_path: Path) -> None:
    """The resolver serves on; only the drops tell. They are all shown, also after the socket has closed."""
    if not installed("unbound"):
        pytest.skip("unbound is not installed")
    with ExitStack() as stack:
        resolver = stack.enter_context(Resolver("unbound", tmp_path / "unbound", receive_buffer=4096))
        exporter = stack.enter_context(Exporter(tmp_path, watching(resolver, probe=asking(resolver))))
        before = exporter.scrape()
        for address in LISTEN:
            eventually(lambda address=address: dropped_by_flood(address, resolver.port))
        truth = socket_metrics(resolver.port)["udp_drops_total"]
        shown = eventually(lambda: (shown := exporter.scrape()) and succeeds(shown) and shown)
        assert one(shown, "up") == 1
        for address, family in zip(LISTEN, ("ipv4", "ipv6"), strict=True):
            assert one(shown, "udp_drops_total", address=address) == truth[address,] > 0
            name = "host_udp_receive_buffer_errors_total"
            assert one(shown, name, family=family) - one(before, name, family=family) >= truth[address,]
            assert one(shown, "socket_receive_buffer_bytes", protocol="udp", family=family) == 8192
        resolver.send_signal(signal.SIGKILL)
        resolver.start()
        after = exporter.scrape()
        for address in LISTEN:
            assert one(after, "udp_drops_total", address=address) >= truth[address,]


def test_file_descriptors_used_up(tmp_path: Path) -> None:
    if not installed("unbound"):
        pytest.skip("unbound is not installed")
    with ExitStack() as stack:
        resolver = stack.enter_context(Resolver("unbound", tmp_path / "unbound", workers=1))
        (pid,) = resolver.pids
        exporter = stack.enter_context(Exporter(tmp_path, watching(resolver, host=HOST_OFF, probe=asking(resolver))))
        free = exporter.scrape()
        assert one(free, "fds_ratio") < 0.5
        limit = int(one(free, "open_fds")) + 5
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]))
        clients = [stack.enter_context(socket.create_connection((LISTEN[0], resolver.port))) for _ in range(20)]
        shown = eventually(lambda: (shown := exporter.scrape()) and one(shown, "fds_ratio") == 1 and shown)
        assert one(shown, "open_fds") == one(shown, "max_fds") == limit
        assert one(shown, "accept_queue_length", address=LISTEN[0]) == len(clients) - 5
        assert one(shown, "sockets", protocol="tcp", family="ipv4", state="established") == len(clients)


def succeeds(shown: Samples) -> bool:
    return set(labelled(shown, "probe_success").values()) == {1}


def failures(shown: Samples) -> float:
    return sum(labelled(shown, "probe_failures_total").values())


def drained(shown: Samples) -> Samples | None:
    return shown if one(shown, "socket_receive_queue_bytes", protocol="udp", family="ipv4") == 0 else None


def dropped_by_flood(address: str, port: int) -> bool:
    overflow(address, port)
    return socket_metrics(port)["udp_drops_total"][address,] > 0


def not_less(before: Samples, after: Samples) -> None:
    """No counter goes down, or vanishes."""
    for (name, labels), value in before.items():
        if name.endswith("_total") and name.startswith("dnsvigil_resolver_"):
            assert after[name, labels] >= value, (name, labels)
