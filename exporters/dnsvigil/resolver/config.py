"""The resolver exporter's configuration, ``/etc/dnsvigil/resolver.yml``; without a file, the defaults apply."""

import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final, Literal

import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype

from dnsvigil.config.types import Address, Duration, Listen
from dnsvigil.config.yaml_file import Invalid, load_given
from dnsvigil.records import RCODES

DEFAULT_PATH: Final = Path("/etc/dnsvigil/resolver.yml")

MAX_PORTS: Final = 64
"""Ports that serve DNS; each is a condition in the request to the kernel."""

MAX_QUESTIONS: Final = 64
"""Each has a thread of its own."""


@dataclass(frozen=True)
class Resolver:
    """One resolver on this host: all processes that ``process``, ``unit`` or ``pidfile`` finds."""

    name: str  # the value of the label "resolver"
    process: str | None = None  # the name of the program, as in /proc/PID/comm
    unit: str | None = None  # a systemd unit, by its control group
    pidfile: Path | None = None
    folders: list[Path] = field(default_factory=list)  # whose file systems it needs: cache, logs, state

    def __post_init__(self) -> None:
        if not self.name:
            raise Invalid("name", "expected a name")
        if sum(way is not None for way in (self.process, self.unit, self.pidfile)) != 1:
            raise Invalid("name", "expected one of process, unit and pidfile beside it")
        if self.unit is not None and not re.fullmatch(r"[^/\s]+\.(service|scope|slice)|[^/\s.]+@?", self.unit):
            raise Invalid("unit", "expected a systemd unit such as unbound.service")
        if self.pidfile is not None and not self.pidfile.is_absolute():
            raise Invalid("pidfile", f"expected a path from the root, found {str(self.pidfile)!r}")
        for folder in self.folders:
            if not folder.is_absolute():
                raise Invalid("folders", f"expected paths from the root, found {str(folder)!r}")


DEFAULT_RESOLVERS: Final = (
    Resolver("unbound", process="unbound"),
    Resolver("named", process="named"),
    Resolver("kresd", process="kresd"),
    Resolver("pdns_recursor", process="pdns_recursor"),
    Resolver("dnsdist", process="dnsdist"),
    Resolver("knotd", process="knotd"),
)
"""The resolvers to look for if none is configured; each has metrics from the time it is first seen."""


@dataclass(frozen=True)
class Process:
    """The collector of the resolvers' processes."""

    enabled: bool = True


@dataclass(frozen=True)
class Sockets:
    """The collector of the sockets that serve DNS."""

    enabled: bool = True
    ports: list[int] = field(default_factory=lambda: [53, 853])
    listeners: int = 64  # local addresses with labels of their own; the rest is summed up as "other"

    def __post_init__(self) -> None:
        if not self.ports or not all(1 <= port <= 65535 for port in self.ports):
            raise Invalid("ports", f"expected ports from 1 to 65535, found {self.ports}")
        if len(set(self.ports)) < len(self.ports):
            raise Invalid("ports", "a port is given twice")
        if len(self.ports) > MAX_PORTS:
            raise Invalid("ports", f"expected at most {MAX_PORTS}, found {len(self.ports)}")
        if not 1 <= self.listeners <= 1000:
            raise Invalid("listeners", f"expected 1 to 1000, found {self.listeners}")


@dataclass(frozen=True)
class Host:
    """The collector of host metrics; switch it off beside node_exporter."""

    enabled: bool = True


@dataclass(frozen=True)
class Question:
    """One question, sent in every interval, and the expected answer."""

    name: str
    type: str = "A"
    server: Address | None = None  # default: that of the probe
    port: int | None = None  # default: that of the probe; 853 for tls
    protocol: Literal["udp", "tcp", "tls"] = "udp"
    rcode: str = "NOERROR"
    answer: list[str] = field(
        default_factory=list
    )  # record data that the answer must contain; none: any answer is right
    dnssec: bool = False  # the answer has to be authenticated (AD)

    def __post_init__(self) -> None:
        try:
            if not self.name:
                raise ValueError("it is empty")
            dns.name.from_text(self.name)
        except Exception as error:  # dnspython's old versions raise more than its own exceptions
            raise Invalid("name", f"expected a domain name, found {self.name!r} ({error})") from None
        try:
            if dns.rdatatype.is_metatype(self.rdtype):
                raise ValueError("not a type of records")
        except (dns.exception.DNSException, ValueError):
            raise Invalid("type", f"expected a record type such as A or TYPE65, found {self.type!r}") from None
        if self.rcode not in RCODES.values():
            raise Invalid("rcode", f"expected a response code such as NOERROR, found {self.rcode!r}")
        try:
            _ = self.rdatas
        except Exception as error:
            raise Invalid("answer", f"expected data of {self.type} records, found {self.answer} ({error})") from None
        _check_port(self.port)

    @property
    def qname(self) -> dns.name.Name:
        """The name, absolute."""
        return dns.name.from_text(self.name)

    @property
    def rdtype(self) -> dns.rdatatype.RdataType:
        """The type."""
        return dns.rdatatype.from_text(self.type)

    @cached_property
    def rdatas(self) -> frozenset[dns.rdata.Rdata]:
        """The record data that has to be in the answer; names in it are absolute."""
        return frozenset(
            dns.rdata.from_text(dns.rdataclass.IN, self.rdtype, text, origin=dns.name.root, relativize=False)
            for text in self.answer
        )


@dataclass(frozen=True)
class Probe:
    """The collector that probes the resolver."""

    enabled: bool = True
    interval: Duration = Duration(15)
    timeout: Duration = Duration(2)
    server: Address = Address("127.0.0.1")
    port: int = 53
    identity: bool = True  # query id.server and version.bind as well
    questions: list[Question] = field(default_factory=lambda: [Question(".", "NS")])

    def __post_init__(self) -> None:
        _check_port(self.port)
        if not self.interval > 0:
            raise Invalid("interval", "expected more than 0")
        if not 0 < self.timeout <= self.interval:
            raise Invalid("timeout", "expected more than 0 and at most the interval")
        if len(self.questions) > MAX_QUESTIONS:
            raise Invalid("questions", f"expected at most {MAX_QUESTIONS}, found {len(self.questions)}")
        sent = [(self.address_of(one), one.protocol, one.qname, one.rdtype) for one in self.questions]
        for number, question in enumerate(self.questions):
            if sent[number] in sent[:number]:
                raise Invalid("questions", f"{question.name} {question.type} is sent twice to the same server")

    def address_of(self, question: Question) -> tuple[str, int]:
        """Return the address and the port that the question goes to."""
        return question.server or self.server, question.port or (853 if question.protocol == "tls" else self.port)


@dataclass(frozen=True)
class Collectors:
    """The collectors, each of which can be switched off."""

    process: Process = field(default_factory=Process)
    sockets: Sockets = field(default_factory=Sockets)
    host: Host = field(default_factory=Host)
    probe: Probe = field(default_factory=Probe)


@dataclass(frozen=True)
class Config:
    """The whole configuration."""

    listen: Listen = Listen("127.0.0.1:9954")
    web_config_file: Path | None = None
    resolvers: list[Resolver] = field(default_factory=list)  # none: DEFAULT_RESOLVERS, each once it is seen
    collectors: Collectors = field(default_factory=Collectors)

    def __post_init__(self) -> None:
        names = [resolver.name for resolver in self.resolvers]
        for name in names:
            if names.count(name) > 1:
                raise Invalid("resolvers", f"resolver {name} is given twice")


def load_config(path: Path | None) -> Config:
    """Read ``path``; with None the default file if there is one, else the defaults.

    Raises :class:`dnsvigil.config.yaml_file.ConfigError` for any mistake.
    """
    return load_given(path, DEFAULT_PATH, Config)


def _check_port(port: int | None) -> None:
    if port is not None and not 1 <= port <= 65535:
        raise Invalid("port", f"expected 1 to 65535, found {port}")
