"""The collector of the sockets that serve DNS: those with a configured local port.

A socket's family is that of the socket, as ``ss`` has it: one that listens on ``::`` serves IPv4 as well, and what it
accepts from there counts as ipv6 too, with an address such as ``::ffff:192.0.2.1``.

The sockets come by netlink. Where that is forbidden or the kernel lacks it, /proc/net is read instead. Neither is a
snapshot: a socket that opens or closes meanwhile may be missed or counted twice, in this scrape only. Both have the
sockets of this exporter's network namespace. For a replay of netlink see :mod:`dnsvigil.resolver.kernel.sockdiag`.
"""

import errno
import re
import socket
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from dnsvigil.resolver.config import Config, Sockets
from dnsvigil.resolver.kernel import procnet, sockdiag
from dnsvigil.resolver.kernel.procfs import ProcFs
from dnsvigil.resolver.kernel.sockdiag import LISTEN, Batch, Socket
from dnsvigil.resolver.scrape import Collector, Parts

_FAMILIES: Final[dict[int, str]] = {socket.AF_INET: "ipv4", socket.AF_INET6: "ipv6"}
_PROTOCOLS: Final[dict[int, str]] = {socket.IPPROTO_TCP: "tcp", socket.IPPROTO_UDP: "udp"}
_ANSWERS: Final = (  # what comes in one answer
    (socket.IPPROTO_TCP, (socket.AF_INET, socket.AF_INET6)),
    (socket.IPPROTO_UDP, (socket.AF_INET,)),
    (socket.IPPROTO_UDP, (socket.AF_INET6,)),
)
_UNCONNECTED: Final = 7
_TCP_STATES: Final = (
    "established syn_sent syn_recv fin_wait1 fin_wait2 time_wait close close_wait last_ack listen closing"
)
_STATES: Final = {
    socket.IPPROTO_TCP: dict(enumerate(_TCP_STATES.split(), 1)),
    socket.IPPROTO_UDP: {1: "established", _UNCONNECTED: "unconnected"},
}
_ALWAYS: Final = {socket.IPPROTO_TCP: (1, 3, 6, 8, LISTEN), socket.IPPROTO_UDP: (1, _UNCONNECTED)}  # exported at 0, too
_REMEMBERED: Final = 20  # scrapes; an answer may miss a socket, whose drops must not count anew


@dataclass
class _Sums:
    """The sums of one answer of the kernel, by (family, local port) unless noted otherwise."""

    sockets: Counter[tuple[int, int, int]] = field(default_factory=Counter)  # by family, state, local port
    receive: Counter[tuple[int, int]] = field(default_factory=Counter)
    send: Counter[tuple[int, int]] = field(default_factory=Counter)
    fullest: dict[tuple[int, int], Socket] = field(default_factory=dict)
    accept: Counter[tuple[str, int]] = field(default_factory=Counter)  # by address, port
    accept_limit: Counter[tuple[str, int]] = field(default_factory=Counter)
    used: defaultdict[int, set[int]] = field(default_factory=lambda: defaultdict(set))  # local ports by family


class SocketCollector(Collector):
    """Collects figures of the sockets on the DNS ports.

    ``ask`` is the way to the kernel's netlink; by default a tree other than /proc is read by its files alone.
    """

    name = "sockets"

    def __init__(self, settings: Sockets, fs: ProcFs = ProcFs(), *, ask: sockdiag.Exchange | None = None) -> None:
        self.parts = Parts(self.name, ["netlink"])
        self._ports = frozenset(settings.ports)
        self._listeners = settings.listeners
        self._fs = fs
        self._ask = ask or (sockdiag.exchange if fs.proc == Path("/proc") else _no_netlink)
        self._addresses: set[str] = set()  # those that have a label of their own
        self._states: set[tuple[int, int, int, int]] = {  # protocol, family, state, port: exported at 0, too
            (protocol, family, state, port)
            for protocol, families in _ANSWERS
            for family in families
            for state in _ALWAYS[protocol]
            for port in self._ports
        }
        self._drops: defaultdict[tuple[str, int], int] = defaultdict(int)  # by address, port
        self._dropped: dict[int, tuple[int, int]] = {}  # by inode: drops of a socket, and the scrape that saw it
        self._scrape = 0

    @classmethod
    def from_config(cls, config: Config) -> Self:
        """Return the collector as the operator configured it."""
        return cls(config.collectors.sockets)

    def collect(self) -> Iterable[Metric]:
        """Return the metrics of the sockets. Raises ``OSError`` where there is neither netlink nor /proc/net."""
        self._scrape += 1
        metrics = _Metrics()
        ephemeral, reserved = self._ephemeral()
        without = ""
        for protocol, families in _ANSWERS:
            try:
                sums = self._sum(protocol, self._by_netlink(protocol, families, ephemeral))
            except OSError as error:
                without = f"{error}; /proc/net is read instead, which is slower and lacks limits of queues"
                sums = self._sum(protocol, self._by_proc(protocol, families))
                sums.accept_limit.clear()
            self._states |= {(protocol, *key) for key in sums.sockets}
            self._add(metrics, protocol, families, sums)
            if ephemeral:
                for family in families:
                    used = len({port for port in sums.used[family] if port in ephemeral} - reserved)
                    metrics.ephemeral_used.add_metric([_PROTOCOLS[protocol], _FAMILIES[family]], used)
        if without:
            self.parts.missing("netlink", without)
        else:
            self.parts.works("netlink")
        if ephemeral:
            metrics.ephemeral.add_metric([], len(ephemeral) - len(reserved))
        for (address, port), drops in self._drops.items():
            metrics.drops.add_metric([address, str(port)], drops)
        oldest = self._scrape - _REMEMBERED
        self._dropped = {inode: seen for inode, seen in self._dropped.items() if seen[1] > oldest}
        return vars(metrics).values()

    def _ephemeral(self) -> tuple[range, set[int]]:
        """Return the range of ephemeral ports, and those in it that are never given away."""
        ends = re.fullmatch(r"(\d{1,5})\s+(\d{1,5})\s*", self._fs.read("sys/net/ipv4/ip_local_port_range") or "")
        ports = range(int(ends[1]), min(int(ends[2]), 65535) + 1) if ends else range(0)
        reserved: set[int] = set()
        listed = self._fs.read("sys/net/ipv4/ip_local_reserved_ports") or ""
        for first, last in re.findall(r"(\d{1,5})(?:-(\d{1,5}))?", listed):
            reserved.update(range(int(first), int(last or first) + 1))
        return ports, {port for port in reserved if port in ports}  # membership in a range is quick, walking it is not

    def _by_netlink(self, protocol: int, families: tuple[int, ...], ephemeral: range) -> Iterator[Batch]:
        one = len(families) == 1
        message = sockdiag.request(protocol, families[0] if one else socket.AF_UNSPEC, self._ports, ephemeral)
        return sockdiag.sockets(self._ask, message, protocol, self._ports)

    def _by_proc(self, protocol: int, families: tuple[int, ...]) -> Iterator[Batch]:
        for family in families:
            try:
                yield from procnet.sockets(self._fs, protocol, family, self._ports)
            except FileNotFoundError:
                if family != socket.AF_INET6:  # which a kernel may do without
                    raise

    def _sum(self, protocol: int, batches: Iterator[Batch]) -> _Sums:
        sums = _Sums()
        for batch in batches:
            sums.sockets.update(batch.counts)
            for family, ports in batch.ports.items():
                sums.used[family].update(ports)
            for one in batch.sockets:
                if protocol == socket.IPPROTO_TCP and one.state == LISTEN:
                    listener = self._listener(one)
                    sums.accept[listener] += one.receive_queue
                    sums.accept_limit[listener] += one.send_queue
                    continue
                key = one.family, one.port
                sums.receive[key] += one.receive_queue
                sums.send[key] += one.send_queue
                if key not in sums.fullest or one.receive_queue > sums.fullest[key].receive_queue:
                    sums.fullest[key] = one
                if protocol == socket.IPPROTO_UDP and one.state == _UNCONNECTED:
                    self._count_drops(one)
        return sums

    def _listener(self, one: Socket) -> tuple[str, int]:
        address = socket.inet_ntop(one.family, one.address)
        if address not in self._addresses and len(self._addresses) < self._listeners:
            self._addresses.add(address)
        return (address if address in self._addresses else "other", one.port)

    def _count_drops(self, one: Socket) -> None:
        listener = self._listener(one)
        total = self._drops[listener]
        if not one.drops:
            self._dropped.pop(one.inode, None)
            return
        # The inode is the key because both sources of sockets have it. Another socket may have taken it over.
        before, _ = self._dropped.get(one.inode, (0, 0))
        self._drops[listener] = total + one.drops - (before if before <= one.drops else 0)
        self._dropped[one.inode] = one.drops, self._scrape

    def _add(self, metrics: "_Metrics", protocol: int, families: tuple[int, ...], sums: _Sums) -> None:
        name = _PROTOCOLS[protocol]
        for _, family, state, port in sorted(key for key in self._states if key[0] == protocol and key[1] in families):
            labels = [name, _FAMILIES[family], str(port), _STATES[protocol].get(state, "unknown")]
            metrics.sockets.add_metric(labels, sums.sockets[family, state, port])
        for family in families:
            for port in sorted(self._ports):
                labels = [name, _FAMILIES[family], str(port)]
                metrics.receive.add_metric(labels, sums.receive[family, port])
                metrics.send.add_metric(labels, sums.send[family, port])
                fullest = sums.fullest.get((family, port))
                metrics.receive_max.add_metric(labels, fullest.receive_queue if fullest else 0)
                if fullest and fullest.receive_buffer is not None:
                    metrics.receive_buffer.add_metric(labels, fullest.receive_buffer)
        for (address, port), length in sums.accept.items():
            metrics.accept.add_metric([address, str(port)], length)
        for (address, port), limit in sums.accept_limit.items():
            metrics.accept_limit.add_metric([address, str(port)], limit)


def _no_netlink(_: bytes) -> Iterator[bytes]:
    raise OSError(errno.EOPNOTSUPP, "netlink only reads the running kernel")


class _Metrics:
    """The metric families, empty."""

    def __init__(self) -> None:
        port, listener = ["protocol", "family", "port"], ["address", "port"]
        self.sockets = _gauge("sockets", "Sockets on the DNS ports.", [*port, "state"])
        self.receive = _gauge("socket_receive_queue_bytes", "Bytes that wait to be read, without listeners.", port)
        self.receive_max = _gauge("socket_receive_queue_max_bytes", "Bytes that wait on the fullest socket.", port)
        self.receive_buffer = _gauge("socket_receive_buffer_bytes", "Receive buffer of the fullest UDP socket.", port)
        self.send = _gauge("socket_send_queue_bytes", "Bytes that wait to be sent or acknowledged.", port)
        self.accept = _gauge("accept_queue_length", "Connections that wait to be accepted.", listener)
        self.accept_limit = _gauge("accept_queue_limit", "Connections that may wait to be accepted.", listener)
        self.ephemeral_used = _gauge("ephemeral_ports_used", "Ephemeral ports in use.", ["protocol", "family"])
        self.ephemeral = _gauge("ephemeral_ports", "Number of ephemeral ports.", [])
        self.drops = CounterMetricFamily(
            "dnsvigil_resolver_udp_drops", "Datagrams dropped at the receive queue of UDP sockets.", labels=listener
        )


def _gauge(name: str, text: str, labels: list[str]) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"dnsvigil_resolver_{name}", text, labels=labels)
