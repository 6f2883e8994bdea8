"""The collector that sends probes to the resolver, in the background and not during scrapes.

Every question, and the identity of every server, has a thread of its own, so one that hangs delays no other.
"""

import contextlib
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, NamedTuple, Self

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rdataclass
import dns.rdatatype
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from dnsvigil.records import OTHER, RCODES
from dnsvigil.resolver.config import Config, Probe, Question
from dnsvigil.resolver.scrape import Collector, Parts

log = logging.getLogger(__name__)

REASONS: Final = ("timeout", "rcode", "answer", "dnssec", "malformed", "refused", "tls", "network")
"""Why a probe fails."""

BOUNDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the duration histogram, in seconds."""

MAX_CHARACTERS: Final = 64
"""Maximum length of a server's identity and version."""

_PAYLOAD: Final = 1232  # bytes; what a datagram can carry on any path
_LABELS: Final = ("server", "protocol", "dns_name", "qtype")
_RECVERR: Final = {socket.AF_INET: (socket.IPPROTO_IP, 11), socket.AF_INET6: (socket.IPPROTO_IPV6, 25)}  # linux/in.h


class Failed(Exception):
    """A probe failed without a response; the text is one of :data:`REASONS`, the cause has the details."""


class Target(NamedTuple):
    """The server that a question is sent to."""

    address: str
    port: int
    protocol: str

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


class ProbeCollector(Collector):
    """Sends probes from :meth:`start` to :meth:`stop`, and reports their results."""

    name = "probe"

    def __init__(self, config: Probe) -> None:
        self._config = config
        self._stopping = threading.Event()
        self._failing: dict[tuple[str, ...], str | None] = {}
        self._rcodes: dict[tuple[str, ...], str] = {}
        self._identities: dict[str, tuple[str, str]] = {}
        self.parts = Parts(self.name, ())
        self._registry = registry = CollectorRegistry()
        prefix = "dnsvigil_resolver_probe"
        self._success = Gauge(f"{prefix}_success", "Whether the last probe succeeded.", _LABELS, registry=registry)
        self._last = Gauge(f"{prefix}_last_timestamp_seconds", "When the last probe ended.", _LABELS, registry=registry)
        self._probes = Counter(f"{prefix}s", "Probes that have ended.", _LABELS, registry=registry)
        self._failures = Counter(f"{prefix}_failures", "Probes that failed.", [*_LABELS, "reason"], registry=registry)
        self._spoofed = Counter(
            f"{prefix}_spoofed",
            "Datagrams ignored: from another address, or with the id of another question.",
            _LABELS,
            registry=registry,
        )
        self._duration = Histogram(
            f"{prefix}_duration_seconds",
            "Time from the query to the response, right or wrong.",
            _LABELS,
            registry=registry,
            buckets=BOUNDS,
        )
        for question in config.questions:
            labels = self._labels(question)
            self._probes.labels(*labels)
            self._spoofed.labels(*labels)
            self._duration.labels(*labels)
            for reason in REASONS:
                self._failures.labels(*labels, reason)

    @classmethod
    def from_config(cls, config: Config) -> Self:
        """Return the collector as the operator configured it."""
        return cls(config.collectors.probe)

    def start(self) -> None:
        """Begin to send probes; returns at once."""
        tasks = [partial(self._probe, question) for question in self._config.questions]
        if self._config.identity:
            targets = [self._target(question) for question in self._config.questions]
            targets = targets or [Target(self._config.server, self._config.port, "udp")]
            first_of_server = {str(target): target for target in reversed(targets)}
            tasks += [partial(self._identify, target) for target in first_of_server.values()]
        for number, task in enumerate(tasks, start=1):
            wait = self._config.interval * number / len(tasks)
            threading.Thread(target=self._repeat, args=(task, wait), name="probe", daemon=True).start()

    def stop(self) -> None:
        """Send no more probes; a probe in progress runs until its timeout."""
        self._stopping.set()

    def collect(self) -> Iterator[Metric]:
        """Yield the results so far, without sending anything."""
        yield from self._registry.collect()
        rcodes = GaugeMetricFamily(
            "dnsvigil_resolver_probe_rcode",
            "Always 1; the label rcode is that of the last probe's response.",
            labels=[*_LABELS, "rcode"],
        )
        for labels, rcode in self._rcodes.copy().items():
            rcodes.add_metric([*labels, rcode], 1)
        yield rcodes
        identities = GaugeMetricFamily(
            "dnsvigil_resolver_identity_info",
            "Always 1; its labels are the server's last answers about its identity and version.",
            labels=["server", "id_server", "version_bind"],
        )
        for server, identity in self._identities.copy().items():
            identities.add_metric([server, *identity], 1)
        yield identities

    def _repeat(self, task: Callable[[], None], wait: float) -> None:
        """Do the task at once, after ``wait`` seconds, by which tasks are spread, and then at every interval."""
        task()
        due = time.monotonic() + wait
        while not self._stopping.wait(due - time.monotonic()):
            task()
            due = max(due + self._config.interval, time.monotonic())

    def _probe(self, question: Question) -> None:
        labels = self._labels(question)
        query = dns.message.make_query(
            question.qname, question.rdtype, use_edns=0, payload=_PAYLOAD, want_dnssec=question.dnssec
        )
        start = time.perf_counter()
        try:
            response = ask(query, self._target(question), self._config.timeout, self._spoofed.labels(*labels).inc)
        except Failed as failed:
            failure: str | None = str(failed)
            why: str | None = f"{failed}: {failed.__cause__}" if failed.__cause__ else failure
            self._rcodes.pop(labels, None)
        else:
            self._duration.labels(*labels).observe(time.perf_counter() - start)
            self._rcodes[labels] = RCODES.get(response.rcode(), OTHER)
            failure = why = _shortcoming(response, question)
        if failure:
            self._failures.labels(*labels, failure).inc()
        if failure != self._failing.get(labels):
            level = logging.WARNING if failure else logging.INFO
            log.log(level, "probe of %s by %s for %s %s: %s", *labels, why or "works again")
        self._failing[labels] = failure
        self._probes.labels(*labels).inc()
        self._success.labels(*labels).set(not failure)
        self._last.labels(*labels).set_to_current_time()

    def _identify(self, target: Target) -> None:
        with contextlib.suppress(Failed):  # then the last identity stays, so that alerts can name the silent server
            identity, version = (self._chaos_text(name, target) for name in ("id.server", "version.bind"))
            identity = identity or self._chaos_text("hostname.bind", target)
            self._identities[str(target)] = (identity, version)

    def _chaos_text(self, name: str, target: Target) -> str:
        """Return the text of a name of class CHAOS; empty where the server gives none. Raises :class:`Failed`."""
        query = dns.message.make_query(name, dns.rdatatype.TXT, dns.rdataclass.CH)
        response = ask(query, target, self._config.timeout)
        for rrset in response.answer:
            if rrset.rdtype == dns.rdatatype.TXT:
                return escaped(b" ".join(rrset[0].strings))
        return ""

    def _target(self, question: Question) -> Target:
        return Target(*self._config.address_of(question), question.protocol)

    def _labels(self, question: Question) -> tuple[str, ...]:
        target = self._target(question)
        dns_name = question.qname.to_text(omit_final_dot=True).lower()
        return str(target), target.protocol, dns_name, dns.rdatatype.to_text(question.rdtype)


def ask(
    query: dns.message.Message, target: Target, timeout: float, on_spoofed: Callable[[], object] = lambda: None
) -> dns.message.Message:
    """Return the response to ``query``; raises :class:`Failed` where none comes within ``timeout`` seconds.

    Datagrams that answer something else, or come from elsewhere, are reported and passed over. A response that did
    not fit into a datagram is requested again over TCP. Certificates are not verified: the server is known by address.
    """
    deadline = time.monotonic() + timeout
    try:
        if target.protocol == "tls":
            return dns.query.tls(query, target.address, timeout, target.port, ssl_context=_TLS)
        if target.protocol == "udp":
            wire = _datagram(query.to_wire(), target, deadline, on_spoofed)
            with contextlib.suppress(dns.message.Truncated):
                response = dns.message.from_wire(wire, raise_on_truncation=True)
                if not query.is_response(response):
                    raise Failed("malformed")
                return response
        return dns.query.tcp(query, target.address, max(0, deadline - time.monotonic()), target.port)
    except Failed:
        raise
    except (TimeoutError, dns.exception.Timeout):
        raise Failed("timeout") from None
    except ConnectionRefusedError as error:
        raise Failed("refused") from error
    except ssl.SSLError as error:
        raise Failed("tls") from error
    except OSError as error:
        raise Failed("network") from error
    except Exception as error:  # hostile bytes can make the library raise anything
        raise Failed("malformed") from error


def escaped(raw: bytes) -> str:
    """Return ``raw`` with all but printable ASCII as ``\\xNN``, cut before it has more than :data:`MAX_CHARACTERS`."""
    text = ""
    for byte in raw:
        piece = chr(byte) if 0x20 <= byte < 0x7F and byte != 0x5C else f"\\x{byte:02x}"
        if len(text) + len(piece) > MAX_CHARACTERS:
            break
        text += piece
    return text


def _datagram(wire: bytes, target: Target, deadline: float, on_spoofed: Callable[[], object]) -> bytes:
    """Send ``wire`` and return the first datagram that comes from the target with the same id."""
    family, kind, _, _, where = socket.getaddrinfo(
        target.address, target.port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST
    )[0]
    with socket.socket(family, kind) as sock:
        # A connected socket would report that nothing listens there, too, but not receive datagrams from elsewhere.
        sock.setsockopt(*_RECVERR[family], 1)
        sock.sendto(wire, where)
        while (left := deadline - time.monotonic()) > 0:
            sock.settimeout(left)
            answer, source = sock.recvfrom(65535)
            if source == where and answer[:2] == wire[:2]:
                return answer
            on_spoofed()
    raise TimeoutError


def _shortcoming(response: dns.message.Message, question: Question) -> str | None:
    """Return the reason for which the response is not the expected one; None where it is."""
    if RCODES.get(response.rcode()) != question.rcode:
        return "rcode"
    found = {rdata for rrset in response.answer for rdata in rrset}
    if not found.issuperset(question.rdatas):
        return "answer"
    if question.dnssec and not response.flags & dns.flags.AD:
        return "dnssec"
    return None


def _tls_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["dot"])
    return context


_TLS: Final = _tls_context()
