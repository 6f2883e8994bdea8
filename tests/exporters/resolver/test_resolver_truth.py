"""Real resolvers under dnsperf: what is shown agrees with ss, /proc and pidstat read at the same moment.

All installed ones run side by side, once. While they are stopped nothing changes, so every figure has to be exact;
while they serve, a counter has to lie between two readings around the scrape.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from exporters.resolver.exporting import Exporter, labelled, overflow, watching
from exporters.resolver.kernel import COUNTERS, Pidstat, process_metrics, socket_metrics
from exporters.running import Samples
from lab.resolvers import KINDS, LISTEN, Dnsperf, Load, Resolver, installed

PROTOCOLS = ("udp", "tcp")
RATE = 400  # questions a second for each resolver, protocol and address
CLIENTS = 5
WATCHED = 5  # seconds
WAITING = 3  # connections that a stopped resolver leaves in the accept queue, for each address

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("dnsperf", "ss", "pidstat"))), reason="needs dnsperf, iproute2 and sysstat"
)


@dataclass
class Moment:
    """A scrape, and the truth right before and right after it, by kind of resolver."""

    before: dict[str, dict[str, float]]
    shown: Samples
    after: dict[str, dict[str, float]]


@dataclass
class Seen:
    """What came of the one run."""

    resolvers: dict[str, Resolver]
    fresh: Moment  # stopped before the load
    busy: list[Moment]
    spent: Moment  # stopped during the load, which has ended
    sockets: dict[str, dict[str, dict[tuple[str, ...], float]]]  # at that moment, as ss has them
    loads: dict[str, list[Load]]
    pidstat: Pidstat

    def resolver(self, kind: str) -> Resolver:
        if kind not in self.resolvers:
            pytest.skip(f"{kind} is not installed")
        return self.resolvers[kind]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    folder = tmp_path_factory.mktemp("truth")
    with ExitStack() as stack:
        resolvers = {
            kind: stack.enter_context(
                Resolver(kind, folder / kind, process_name=f"{kind[:8]}-{os.getpid() % 1_000_000}")
            )
            for kind in KINDS
            if installed(kind)
        }
        config = watching(*resolvers.values(), host={"enabled": False}, probe={"enabled": False})
        exporter = stack.enter_context(Exporter(folder, config))

        def truth() -> dict[str, dict[str, float]]:
            return {kind: process_metrics(resolver.pids) for kind, resolver in resolvers.items()}

        def moment() -> Moment:
            return Moment(truth(), exporter.scrape(), truth())

        def send_signal(number: int) -> None:
            for resolver in resolvers.values():
                resolver.send_signal(number)

        moment()
        send_signal(signal.SIGSTOP)
        fresh = moment()
        pidstat = Pidstat([pid for resolver in resolvers.values() for pid in resolver.pids], WATCHED)
        send_signal(signal.SIGCONT)
        load = {
            kind: [
                stack.enter_context(Dnsperf(resolver, server=address, mode=mode, seconds=2, rate=RATE, clients=CLIENTS,
                                            arguments=("-q", "10000")))
                for address in LISTEN
                for mode in PROTOCOLS
            ]
            for kind, resolver in resolvers.items()
        }  # fmt: skip
        time.sleep(0.5)
        busy = [moment() for _ in range(5)]
        send_signal(signal.SIGSTOP)
        assert pidstat.watching, "the machine is too slow: pidstat ended before the load"
        for resolver in resolvers.values():
            for address in LISTEN:
                overflow(address, resolver.port)
                for number in range(WAITING + 1):
                    client = stack.enter_context(socket.create_connection((address, resolver.port), 5))
                    client.sendall(b"\0")  # some accept a connection only once there is something to read
                    if number == WAITING:
                        client.close()
        loads = {kind: [each.result() for each in running] for kind, running in load.items()}
        spent = moment()
        sockets = {kind: socket_metrics(resolver.port) for kind, resolver in resolvers.items()}
        pidstat.wait()
        yield Seen(resolvers, fresh, busy, spent, sockets, loads, pidstat)


@pytest.mark.parametrize("kind", KINDS)
def test_every_question_reached_a_socket_that_is_watched(seen: Seen, kind: str) -> None:
    seen.resolver(kind)
    for load in seen.loads[kind]:
        assert load.completed > RATE / 4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("when", ["fresh", "spent"])
def test_a_stopped_resolvers_processes_are_shown_exactly(seen: Seen, kind: str, when: str) -> None:
    resolver = seen.resolver(kind)
    moment: Moment = getattr(seen, when)
    truth = moment.before[kind]
    assert truth == moment.after[kind]
    assert truth["processes_stopped"] == len(resolver.pids)
    assert {name: value(moment.shown, name, kind) for name in truth} == pytest.approx(truth, rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_serving_resolvers_counters_lie_between_two_readings(seen: Seen, kind: str) -> None:
    seen.resolver(kind)
    for moment in seen.busy:
        before, after = moment.before[kind], moment.after[kind]
        for name in COUNTERS:
            assert before[name] <= round(value(moment.shown, name, kind), 6) <= after[name], name
        for name in ("processes", "threads", "max_fds"):
            assert value(moment.shown, name, kind) == before[name] == after[name], name
    first, last = seen.busy[0].shown, seen.busy[-1].shown
    name = "context_switches_total voluntary"
    assert value(first, name, kind) < value(last, name, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stopped_resolvers_sockets_are_shown_exactly(seen: Seen, kind: str) -> None:
    port = str(seen.resolver(kind).port)
    for name, truth in seen.sockets[kind].items():
        shown = labelled(seen.spent.shown, name, port=port)
        assert {key: number for key, number in shown.items() if number} == {
            key: number for key, number in truth.items() if number
        }, name


@pytest.mark.parametrize("kind", KINDS)
def test_the_run_had_what_the_comparison_needs(seen: Seen, kind: str) -> None:
    """Comparing zeroes shows nothing."""
    seen.resolver(kind)
    truth = seen.sockets[kind]
    for family, address in zip(("ipv4", "ipv6"), LISTEN, strict=True):
        assert truth["sockets"][family, "udp", "unconnected"] > 0
        assert truth["sockets"][family, "tcp", "listen"] > 0
        assert truth["sockets"][family, "tcp", "established"] >= WAITING
        assert truth["socket_receive_queue_bytes"][family, "udp"] > 0
        assert truth["socket_receive_queue_bytes"][family, "tcp"] > 0
        assert (
            truth["socket_receive_queue_max_bytes"][family, "udp"]
            > truth["socket_receive_buffer_bytes"][family, "udp"] / 2
        )
        assert truth["accept_queue_length"][address,] > WAITING
        assert truth["sockets"][family, "tcp", "close_wait"] > 0


@pytest.mark.parametrize("kind", KINDS)
def test_pidstat_agrees(seen: Seen, kind: str) -> None:
    pids = {str(pid) for pid in seen.resolver(kind).pids}
    processes, threads = seen.pidstat.tables
    mine = [row for row in processes if row["PID"] in pids]
    tids = {path.name for pid in pids for path in Path(f"/proc/{pid}/task").iterdir()}
    mine_by_thread = [row for row in threads if row["TID"] in tids]
    assert len(mine) == len(pids)
    assert len(mine_by_thread) == len(tids)

    def grown(name: str) -> float:
        return value(seen.spent.shown, name, kind) - value(seen.fresh.shown, name, kind)

    for name, rows, heading, unit in (
        ("cpu_seconds_total user", mine, "%usr", 100),
        ("cpu_seconds_total system", mine, "%system", 100),
        ("read_bytes_total", mine, "kB_rd/s", 1 / 1024),
        ("write_bytes_total", mine, "kB_wr/s", 1 / 1024),
        ("major_page_faults_total", mine, "majflt/s", 1),
        ("context_switches_total voluntary", mine_by_thread, "cswch/s", 1),
        ("context_switches_total involuntary", mine_by_thread, "nvcswch/s", 1),
    ):
        least, most = seen.pidstat.between(row[heading] for row in rows)
        assert least <= grown(name) * unit <= most, name
    for name, heading, factor in (
        ("virtual_memory_bytes", "VSZ", 1024),
        ("resident_memory_bytes", "RSS", 1024),
        ("threads", "threads", 1),
        ("open_fds", "fd-nr", 1),
    ):
        assert value(seen.spent.shown, name, kind) == sum(int(row[heading]) for row in mine) * factor, name


def value(shown: Samples, name: str, kind: str) -> float:
    """Return a metric of a resolver by the name that it has in the truth."""
    name, _, label = name.partition(" ")
    return (
        sum(labelled(shown, name, resolver=kind).values())
        if not label
        else labelled(shown, name, resolver=kind)[label,]
    )
