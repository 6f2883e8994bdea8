"""Faults made for real on five resolver hosts, their exporters, a real Prometheus with our rules, a real Alertmanager.

Each host is a resolver with an exporter of its own; that of the machine they share is off.
"""

from __future__ import annotations

import resource
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep

import pytest

from alerting import TIME_SCALE, Alerting, needs_prometheus, wait_until
from exporters.resolver.exporting import Exporter, asking, overflow, watching, write_pidfile
from exporters.running import get
from lab.resolvers import LISTEN, Resolver, installed

HOSTS = {
    "healthy": "kresd",
    "killed": "pdns_recursor",
    "stopped": "named",
    "flooded": "unbound",
    "without-descriptors": "unbound",
}
EXPECTED = {
    ("DnsvigilResolverDown", "killed"),
    ("DnsvigilResolverDown", "stopped"),
    ("DnsvigilResolverUdpDrops", "flooded"),
    ("DnsvigilResolverDescriptorsLow", "without-descriptors"),
}
HEALTHY_SECONDS = 300 / TIME_SCALE

pytestmark = [
    needs_prometheus,
    pytest.mark.skipif(
        not all(map(installed, HOSTS.values())), reason=f"needs {', '.join(sorted(set(HOSTS.values())))}"
    ),
]


@pytest.fixture
def resolvers(tmp_path: Path) -> Iterator[dict[str, Resolver]]:
    with ExitStack() as stack:
        yield {
            host: stack.enter_context(
                Resolver(kind, tmp_path / host, workers=1, receive_buffer=4096 if host == "flooded" else 0)
            )
            for host, kind in HOSTS.items()
        }


def test_each_fault_is_reported_where_it_is_and_resolved(resolvers: dict[str, Resolver], tmp_path: Path) -> None:
    with ExitStack() as stack:
        exporters = {
            host: stack.enter_context(
                Exporter(tmp_path / host, watching(resolver, host={"enabled": False}, probe=asking(resolver)))
            )
            for host, resolver in resolvers.items()
        }
        hosts = {exporter.address: host for host, exporter in exporters.items()}
        alerting = stack.enter_context(Alerting(tmp_path, {"dnsvigil-resolver": list(hosts)}))
        arrived = alerting.arrived

        def told(status: str) -> set[tuple[str, str]]:
            return {
                (alert["labels"]["alertname"], hosts[alert["labels"]["instance"]])
                for alert in arrived
                if alert["status"] == status
            }

        def until_all_are(status: str, seconds: float) -> None:
            end = monotonic() + seconds
            while not told(status) >= EXPECTED and monotonic() < end:
                sleep(0.25)
            assert told(status) == EXPECTED

        def all_serve() -> bool:
            return len(alerting.query("dnsvigil_resolver_probe_success == 1")) == len(hosts)

        wait_until("Prometheus has every host's probe", all_serve, 60)
        sleep(HEALTHY_SECONDS)  # nothing may be reported
        assert not arrived

        resolvers["killed"].send_signal(signal.SIGKILL)
        resolvers["stopped"].send_signal(signal.SIGSTOP)
        flood = stack.enter_context(Flood(resolvers["flooded"]))
        starve = resolvers["without-descriptors"]
        (pid,) = starve.pids
        limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        few = len(list(Path(f"/proc/{pid}/fd").iterdir())) + 5
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (few, limits[1]))
        with ExitStack() as clients:
            for _ in range(20):
                clients.enter_context(socket.create_connection((LISTEN[0], starve.port)))
            until_all_are("firing", 60)
            sleep(HEALTHY_SECONDS)  # nothing else may follow
            assert not told("resolved")
            for alert in arrived:
                assert f"<h1>{alert['labels']['alertname']}</h1>" in get(alert["annotations"]["runbook_url"])

            resolvers["killed"].start()
            write_pidfile(resolvers["killed"])
            resolvers["stopped"].send_signal(signal.SIGCONT)
            flood.stop()
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        until_all_are("resolved", 90)
        assert all_serve()

    assert told("firing") == told("resolved") == EXPECTED


class Flood(threading.Thread):
    """Bursts of datagrams, ten a second, each more than the resolver's receive buffer holds."""

    def __init__(self, resolver: Resolver) -> None:
        super().__init__(daemon=True)
        self._resolver = resolver
        self._ended = threading.Event()

    def __enter__(self) -> Flood:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def run(self) -> None:
        while not self._ended.wait(0.1):
            overflow(LISTEN[0], self._resolver.port, 100)

    def stop(self) -> None:
        self._ended.set()
        self.join()
