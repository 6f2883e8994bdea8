"""The four resolvers of Debian on loopback, each answering from data of its own, and dnsperf to ask them.

A resolver listens on 127.0.0.1 and ::1, on the same free port for UDP and TCP. It holds the root zone of a world of
one zone, so that no question ever leaves the machine. Needs no privilege.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import dns.exception
import dns.message
import dns.query

from .namespaces import LabError, Process

KINDS: Mapping[str, str] = {"unbound": "unbound", "named": "named", "kresd": "kresd", "pdns_recursor": "pdns_recursor"}
"""The kinds of resolvers, with the names of their programs."""
LISTEN = ("127.0.0.1", "::1")
NAME = "www.example."
"""The name below which every resolver has A records: this one, and ``h0.example.`` to ``h99.example.``."""
ADDRESS = "192.0.2.80"
"""The address that all names have."""
START_SECONDS = 20

_HOSTS = 100


class Resolver:
    """One resolver, running. Use it in a ``with`` statement."""

    def __init__(
        self,
        kind: str,
        folder: Path,
        *,
        port: int = 0,
        workers: int = 2,
        receive_buffer: int = 0,
        process_name: str = "",
    ) -> None:
        """Write its configuration into ``folder``, which is made, and start it.

        ``port`` 0 is a free one. It has ``workers`` threads, or, for kresd, processes, each with sockets of its own on
        the one port. ``receive_buffer`` is what it asks the kernel for, in bytes; 0 is the kernel's default. Only
        unbound can be told. ``process_name`` is for processes that are not to be taken for others of the same program.
        Raises LabError where the program is not installed, or does not answer.
        """
        self.kind = kind
        self.process_name = process_name or KINDS[kind]
        self.folder = folder
        self.port = port or free_port()
        self._workers = workers
        self._receive_buffer = receive_buffer
        self._processes: list[Process] = []
        folder.mkdir(parents=True)
        self.questions = self._write("questions", *(f"{name} A" for name in _names()))
        try:
            self.start()
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pids(self) -> list[int]:
        """The ids of its processes, running or not."""
        return [process.pid for process in self._processes]

    def start(self) -> None:
        """Start it, again where it has ended, and wait until it answers. Raises LabError where it does not."""
        if not (program := _program(self.kind)):
            raise LabError(f"{self.kind} is not installed")
        link = self.folder / self.process_name
        if not link.exists():
            link.symlink_to(program)
        make: Mapping[str, Callable[[], list[list[str]]]] = {
            "unbound": self._unbound,
            "named": self._named,
            "kresd": self._kresd,
            "pdns_recursor": self._pdns_recursor,
        }
        commands = make[self.kind]()
        self._processes = [
            Process([str(link), *command], self.folder / f"{self.kind}-{number}.log")
            for number, command in enumerate(commands)
        ]
        deadline = time.monotonic() + START_SECONDS
        while _listeners(self.port) < len(LISTEN) * self._workers or not all(map(self.answers, LISTEN)):
            for process in self._processes:
                if not process.running:
                    raise LabError(f"{process} ended: {process.tail()}")
            if time.monotonic() > deadline:
                raise LabError(f"{self.kind} does not answer on port {self.port}; see {self.folder}")
            time.sleep(0.02)

    def stop(self) -> None:
        """End it, whatever state it is in."""
        for process in self._processes:
            process.send_signal(signal.SIGCONT)
            process.stop()

    def send_signal(self, number: int) -> None:
        """Send a signal to all its processes, and wait until one that stops or kills them has done so."""
        for process in self._processes:
            process.send_signal(number)
        wanted = {signal.SIGSTOP: "T", signal.SIGKILL: "Z"}.get(signal.Signals(number))
        deadline = time.monotonic() + START_SECONDS
        while wanted and not all(state == wanted for pid in self.pids for state in _states(pid)):
            if time.monotonic() > deadline:
                raise LabError(f"{self.kind} does not heed signal {number}")
            time.sleep(0.01)

    def answers(self, address: str = LISTEN[0], seconds: float = 0.5) -> bool:
        """Ask for NAME over UDP; tell whether the answer is right."""
        try:
            response = dns.query.udp(
                dns.message.make_query(NAME, "A"), address, seconds, self.port, ignore_unexpected=True
            )
        except (dns.exception.DNSException, OSError):
            return False
        return any(record.to_text() == ADDRESS for rrset in response.answer for record in rrset)

    def _write(self, name: str, *lines: str) -> Path:
        path = self.folder / name
        path.write_text("\n".join(lines) + "\n")
        return path

    def _root_zone(self) -> Path:
        return self._write(
            "root.zone",
            "$TTL 3600",
            ". SOA ns.example. hostmaster.example. 1 3600 600 86400 60",
            ". NS ns.example.",
            f"ns.example. A {ADDRESS}",
            *(f"{name} A {ADDRESS}" for name in _names()),
        )

    def _unbound(self) -> list[list[str]]:
        config = self._write(
            "unbound.conf",
            "server:",
            *(f"  interface: {address}@{self.port}" for address in LISTEN),
            f"  num-threads: {self._workers}",
            "  so-reuseport: yes",
            f"  so-rcvbuf: {self._receive_buffer}",
            "  so-sndbuf: 0",
            '  username: ""',
            '  chroot: ""',
            '  pidfile: ""',
            f'  directory: "{self.folder}"',
            "  use-syslog: no",
            '  module-config: "iterator"',
            "  incoming-num-tcp: 50",
            '  local-zone: "." static',
            '  local-data: ". 3600 SOA ns.example. hostmaster.example. 1 3600 600 86400 60"',
            '  local-data: ". 3600 NS ns.example."',
            *(f'  local-data: "{name} 3600 A {ADDRESS}"' for name in _names()),
            "remote-control:",
            "  control-enable: no",
        )
        return [["-d", "-c", str(config)]]

    def _named(self) -> list[list[str]]:
        config = self._write(
            "named.conf",
            "options {",
            f'  directory "{self.folder}";',
            "  pid-file none;",
            "  session-keyfile none;",
            "  lock-file none;",
            f"  listen-on port {self.port} {{ {LISTEN[0]}; }};",
            f"  listen-on-v6 port {self.port} {{ {LISTEN[1]}; }};",
            "  recursion yes;",
            "  dnssec-validation no;",
            "  empty-zones-enable no;",
            "  max-cache-size 32m;",
            "  notify no;",
            "};",
            "controls { };",
            f'zone "." {{ type primary; file "{self._root_zone()}"; }};',
        )
        return [["-f", "-n", str(self._workers), "-c", str(config)]]

    def _kresd(self) -> list[list[str]]:
        commands = []
        for number in range(self._workers):
            folder = self.folder / f"instance-{number}"
            folder.mkdir(exist_ok=True)
            config = self._write(
                f"kresd-{number}.conf",
                *(f"net.listen('{address}', {self.port}, {{ kind = 'dns' }})" for address in LISTEN),
                "cache.size = 10 * MB",
                "trust_anchors.remove('.')",
                *(f"modules.unload('{name}')" for name in ("priming", "ta_update", "detect_time_skew")),
                f"policy.add(policy.suffix(policy.ANSWER({{ [kres.type.A] = {{ rdata = kres.str2ip('{ADDRESS}'),"
                " ttl = 3600 } }), policy.todnames({'example.'})))",
                r"policy.add(policy.domains(policy.ANSWER({ [kres.type.NS] = { rdata = '\2ns\7example\0',"
                " ttl = 3600 } }), policy.todnames({'.'})))",
                "policy.add(policy.all(policy.DENY))",
            )
            commands.append(["-n", "-c", str(config), str(folder)])
        return commands

    def _pdns_recursor(self) -> list[list[str]]:
        self._write(
            "recursor.conf",
            f"local-address={', '.join(LISTEN)}",
            f"local-port={self.port}",
            "socket-dir=.",  # the path of a socket has 107 bytes at most
            f"auth-zones=.={self._root_zone()}",
            f"threads={self._workers}",
            "pdns-distributes-queries=no",
            "reuseport=yes",
            "dnssec=off",
            "hint-file=no",
            "security-poll-suffix=",
            "write-pid=no",
            "daemon=no",
            "disable-syslog=yes",
        )
        return [[f"--config-dir={self.folder}"]]


@dataclass(frozen=True)
class Load:
    """What dnsperf says about its questions."""

    sent: int
    completed: int
    lost: int


class Dnsperf:
    """A dnsperf that asks a resolver, in the background. Use it in a ``with`` statement."""

    def __init__(
        self,
        resolver: Resolver,
        *,
        server: str = LISTEN[0],
        mode: str = "udp",
        seconds: float = 2,
        rate: int = 1000,
        clients: int = 4,
        timeout: float = 1,
        arguments: tuple[str, ...] = (),
    ) -> None:
        """Start it: ``rate`` questions a second from ``clients`` sockets for ``seconds``, over "udp" or "tcp".

        ``arguments`` are more of dnsperf's own.
        """
        if not (program := shutil.which("dnsperf")):
            raise LabError("dnsperf is not installed")
        log = resolver.folder / f"dnsperf-{mode}-{server.replace(':', '_')}.log"
        self._process = Process(
            [
                *(program, "-s", server, "-p", str(resolver.port), "-m", mode, "-d", str(resolver.questions)),
                *("-l", str(seconds), "-Q", str(rate), "-c", str(clients), "-T", "1", "-t", str(timeout), *arguments),
            ],
            log,
        )
        self._seconds = seconds + timeout + 20

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.stop()

    def result(self) -> Load:
        """Wait until it has ended; return what it says. Raises LabError where it fails."""
        self._process.wait(self._seconds)
        said = self._process.log.read_text()
        numbers = [re.search(rf"Queries {what}: +(\d+)", said) for what in ("sent", "completed", "lost")]
        if not all(numbers):
            raise LabError(f"{self._process} says {self._process.tail()}")
        return Load(*(int(number[1]) for number in numbers if number))


def installed(kind: str) -> bool:
    """Whether this machine has the program of a kind of resolver."""
    return _program(kind) is not None


def free_port() -> int:
    """Return a port that is free for UDP and TCP on both addresses of loopback."""
    for _ in range(100):
        port = 0
        sockets: list[socket.socket] = []
        try:
            for family, address in ((socket.AF_INET, LISTEN[0]), (socket.AF_INET6, LISTEN[1])):
                for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                    sockets.append(socket.socket(family, kind))
                    sockets[-1].bind((address, port))
                    port = sockets[-1].getsockname()[1]
        except OSError:
            continue
        finally:
            for each in sockets:
                each.close()
        return port
    raise LabError("no free port on 127.0.0.1 and ::1")


def _program(kind: str) -> str | None:
    return shutil.which(KINDS[kind], path=os.environ.get("PATH", "") + ":/usr/sbin")


def _names() -> list[str]:
    return [NAME, *(f"h{number}.example." for number in range(_HOSTS))]


def _listeners(port: int) -> int:
    """Return how many UDP sockets have this local port."""
    tables = (Path("/proc/net", name).read_text().splitlines()[1:] for name in ("udp", "udp6"))
    return sum(line.split()[1].endswith(f":{port:04X}") for table in tables for line in table)


def _states(pid: int) -> list[str]:
    """Return the states of a process's threads, a letter each; none where it is gone."""
    try:
        texts = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    except FileNotFoundError:
        return []
    return [text.rpartition(")")[2].split()[0] for text in texts]
