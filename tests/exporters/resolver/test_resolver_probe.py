"""The probe against real resolvers, and against servers that answer whatever a hostile one would."""

from __future__ import annotations

import shutil
import signal
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import dns.flags
import dns.message
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnsvigil.config.types import Address, Duration
from dnsvigil.resolver.collectors.probe import REASONS, Failed, ProbeCollector, Target, ask, escaped
from dnsvigil.resolver.config import Probe, Question
from exporters.httpd.support import Authority
from exporters.running import eventually
from lab.resolvers import ADDRESS, NAME, Resolver, free_port, installed

Answer = Callable[[dns.message.Message], list[bytes]]
"""What a server sends for a question: any number of datagrams or of TCP messages, which need not be any."""

RIGHT = "192.0.2.1"


class Server:
    """A server on a port of 127.0.0.1, for UDP or TCP, that sends what ``answer`` returns. Use it in a ``with``."""

    def __init__(self, answer: Answer, *, tcp: bool = False, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self._answer = answer
        self._tls = tls
        self._tcp = tcp
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", port))
        if tcp:
            self._socket.listen()
        self._socket.settimeout(0.05)
        self.port: int = self._socket.getsockname()[1]
        self.queries: list[dns.message.Message] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while not self._stopping.is_set():
            try:
                self._connection() if self._tcp else self._datagram()
            except OSError:
                continue

    def _datagram(self) -> None:
        wire, peer = self._socket.recvfrom(65535)
        for answer in self._answers(wire):
            self._socket.sendto(answer, peer)

    def _connection(self) -> None:
        with self._socket.accept()[0] as connection:
            connection.settimeout(5)
            stream = self._tls.wrap_socket(connection, server_side=True) if self._tls else connection
            with stream:
                wire = stream.recv(65535)
                for answer in self._answers(wire[2:]):
                    stream.sendall(answer)
                    if self._stopping.wait(0.05):
                        return

    def _answers(self, wire: bytes) -> list[bytes]:
        query = dns.message.from_wire(wire)
        self.queries.append(query)
        return self._answer(query)


def response(query: dns.message.Message, *records: str, flags: int = 0, rcode: int = 0) -> dns.message.Message:
    """A response with these records, given as in a zone file without the name."""
    made = dns.message.make_response(query, recursion_available=True)
    made.flags |= flags
    made.set_rcode(rcode)
    made.answer = [dns.rrset.from_text(query.question[0].name, 60, *record.split(maxsplit=2)) for record in records]
    return made


def right(query: dns.message.Message) -> list[bytes]:
    return [response(query, f"IN A {RIGHT}").to_wire()]


def framed(*messages: dns.message.Message) -> bytes:
    return b"".join(struct.pack("!H", len(wire := message.to_wire())) + wire for message in messages)


def other_id(wire: bytes) -> bytes:
    return bytes([wire[0] ^ 0xFF]) + wire[1:]


def elsewhere(query: dns.message.Message) -> dns.message.Message:
    """A right response, to another question."""
    other = dns.message.make_query("other.example.", "A", id=query.id)
    return response(other, f"IN A {RIGHT}")


def probe(*questions: Question, timeout: float = 0.3, interval: float = 30, identity: bool = False) -> ProbeCollector:
    return ProbeCollector(
        Probe(interval=Duration(interval), timeout=Duration(timeout), identity=identity, questions=list(questions))
    )


@contextmanager
def asking(collector: ProbeCollector) -> Iterator[ProbeCollector]:
    collector.start()
    try:
        yield collector
    finally:
        collector.stop()


def shown(collector: ProbeCollector, name: str, **labels: str) -> list[tuple[dict[str, str], float]]:
    """The samples of a name that have these labels, each with its other labels."""
    return [
        ({key: text for key, text in sample.labels.items() if key not in labels}, sample.value)
        for metric in collector.collect()
        for sample in metric.samples
        if sample.name == f"dnsvigil_resolver_{name}" and sample.labels.items() >= labels.items()
    ]


def value(collector: ProbeCollector, name: str, **labels: str) -> float:
    ((_, found),) = shown(collector, name, **labels)
    return found


def asked(collector: ProbeCollector, **labels: str) -> Any:
    """Wait for one probe, and return what came of it: True, or the reason of the failure."""
    eventually(lambda: value(collector, "probes_total", **labels) >= 1, 10)
    failures = {
        sample["reason"]: count for sample, count in shown(collector, "probe_failures_total", **labels) if count
    }
    success = value(collector, "probe_success", **labels)
    assert success == (not failures)
    assert list(failures.values()) in ([], [1])
    return next(iter(failures), True)


def test_before_the_first_answer_counters_are_zero_and_nothing_is_said_of_success() -> None:
    collector = probe(Question("www.example"))
    assert shown(collector, "probe_success") == []
    assert shown(collector, "probe_last_timestamp_seconds") == []
    assert shown(collector, "probe_rcode") == []
    assert shown(collector, "identity_info") == []
    assert {sample["reason"]: count for sample, count in shown(collector, "probe_failures_total")} == dict.fromkeys(
        REASONS, 0
    )
    assert value(collector, "probes_total") == value(collector, "probe_spoofed_total") == 0
    assert value(collector, "probe_duration_seconds_count") == 0


@pytest.mark.parametrize(
    ("answer", "asks", "result"),
    [
        (right, {}, True),
        (right, {"answer": [RIGHT]}, True),
        (right, {"answer": ["192.0.2.2"]}, "answer"),
        (lambda q: [response(q, f"IN A {RIGHT}", "IN A 192.0.2.3").to_wire()], {"answer": [RIGHT]}, True),
        (lambda q: [response(q, "IN A 192.0.2.3").to_wire()], {"answer": [RIGHT, "192.0.2.3"]}, "answer"),
        (lambda q: [response(q).to_wire()], {"answer": [RIGHT]}, "answer"),
        (lambda q: [response(q).to_wire()], {}, True),
        (
            lambda q: [response(q, "IN MX 10 Mail.EXAMPLE.").to_wire()],
            {"type": "mx", "answer": ["10 mail.example"]},
            True,
        ),
        (lambda q: [response(q, r'IN TXT "a;\255"').to_wire()], {"type": "TXT", "answer": [r'"a\;\255"']}, True),
        (lambda q: [response(q, rcode=3).to_wire()], {"rcode": "NXDOMAIN"}, True),
        (lambda q: [response(q, rcode=2).to_wire()], {}, "rcode"),
        (lambda q: [response(q, rcode=16).to_wire()], {"rcode": "BADVERS"}, True),
        (right, {"rcode": "NXDOMAIN"}, "rcode"),
        (lambda q: [response(q, rcode=3841).to_wire()], {}, "rcode"),
        (right, {"dnssec": True}, "dnssec"),
        (lambda q: [response(q, f"IN A {RIGHT}", flags=dns.flags.AD).to_wire()], {"dnssec": True}, True),
        (lambda q: [], {}, "timeout"),
        (lambda q: [other_id(right(q)[0])], {}, "timeout"),
        (lambda q: [elsewhere(q).to_wire()], {}, "malformed"),
        (lambda q: [q.to_wire()], {}, "malformed"),  # not a response
        (lambda q: [right(q)[0][:20]], {}, "malformed"),
        (lambda q: [right(q)[0][:2]], {}, "malformed"),
        (lambda q: [right(q)[0] + b"junk"], {}, "malformed"),
        (lambda q: [right(q)[0][:2] + b"\x81\x80" + b"\xff" * 500], {}, "malformed"),
        (lambda q: [b""], {}, "timeout"),
        (lambda q: [dns.message.from_wire(right(q)[0][:2] + b"\x81\x82" + bytes(8)).to_wire()], {}, "rcode"),  # empty
    ],
)
def test_what_a_datagram_says(answer: Answer, asks: dict[str, Any], result: object) -> None:
    with Server(answer) as server, asking(probe(Question("www.example", port=server.port, **asks))) as collector:
        assert asked(collector) == result
        responded = result not in ("timeout", "malformed")
        assert value(collector, "probe_duration_seconds_count") == responded
        assert len(shown(collector, "probe_rcode")) == responded
        assert value(collector, "probe_last_timestamp_seconds") == pytest.approx(time.time(), abs=30)


def test_the_question_on_the_wire() -> None:
    with (
        Server(right) as server,
        asking(probe(Question("www.example", "TYPE65", port=server.port, dnssec=True))) as collector,
    ):
        asked(collector)
    (query,) = server.queries
    assert query.question[0].to_text() == "www.example. IN HTTPS"
    assert query.flags & dns.flags.RD
    assert query.edns == 0
    assert query.ednsflags & dns.flags.DO
    assert query.payload == 1232


def test_datagrams_with_a_wrong_id_are_passed_over_and_counted() -> None:
    def answer(query: dns.message.Message) -> list[bytes]:
        return [other_id(right(query)[0]), b"", b"x", right(query)[0]]

    with Server(answer) as server, asking(probe(Question("www.example", port=server.port))) as collector:
        assert asked(collector) is True
        assert value(collector, "probe_spoofed_total") == 3


@pytest.mark.parametrize("then_right", [True, False])
def test_datagrams_from_elsewhere_are_passed_over_and_counted(then_right: bool) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wrong_address, ExitStack() as stack:
        wrong_address.bind(("127.0.0.2", 0))
        wrong_port = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        wrong_port.bind(("127.0.0.1", 0))
        server = Server(lambda query: right(query) if then_right else [])

        def datagram() -> None:
            wire, peer = server._socket.recvfrom(65535)
            forged = response(dns.message.from_wire(wire), "IN A 203.0.113.66").to_wire()
            wrong_address.sendto(forged, peer)
            wrong_port.sendto(forged, peer)
            for each in server._answers(wire):
                server._socket.sendto(each, peer)

        server._datagram = datagram  # type: ignore[method-assign]
        stack.enter_context(server)
        question = Question("www.example", port=server.port, answer=[RIGHT])
        collector = stack.enter_context(asking(probe(question)))
        assert asked(collector) == (True if then_right else "timeout")
        assert value(collector, "probe_spoofed_total") == 2


def test_a_flood_of_forged_datagrams_does_not_outlast_the_timeout() -> None:
    def answer(query: dns.message.Message) -> list[bytes]:
        return [other_id(right(query)[0])] * 500

    with Server(answer) as server, asking(probe(Question("www.example", port=server.port))) as collector:
        assert asked(collector) == "timeout"
        assert value(collector, "probe_spoofed_total") > 1


@pytest.mark.parametrize("protocol", ["udp", "tcp", "tls"])
def test_where_nothing_listens(protocol: Any) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM if protocol != "udp" else socket.SOCK_DGRAM) as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        if protocol == "udp":
            unused.close()
        # A bound TCP socket that does not listen keeps the port from others, and refuses.
        with asking(probe(Question("www.example", port=port, protocol=protocol))) as collector:
            assert asked(collector) == "refused"


@pytest.mark.parametrize("protocol", ["udp", "tcp", "tls"])
def test_where_no_packet_can_go(protocol: Any) -> None:
    broadcast = Question("www.example", server=Address("255.255.255.255"), port=53, protocol=protocol)
    with asking(probe(broadcast)) as collector:
        assert asked(collector) == "network"


def test_what_does_not_fit_into_a_datagram_comes_by_tcp() -> None:
    def cut(query: dns.message.Message) -> list[bytes]:
        return [response(query, flags=dns.flags.TC).to_wire()]

    def whole(query: dns.message.Message) -> list[bytes]:
        return [framed(response(query, f"IN A {RIGHT}"))]

    with ExitStack() as stack:
        udp = stack.enter_context(Server(cut))
        stack.enter_context(Server(whole, tcp=True, port=udp.port))
        collector = stack.enter_context(asking(probe(Question("www.example", port=udp.port, answer=[RIGHT]))))
        assert asked(collector) is True
    with Server(cut) as udp, asking(probe(Question("www.example", port=udp.port))) as collector:
        assert asked(collector) == "refused"


def half(query: dns.message.Message) -> list[bytes]:
    return [framed(response(query, f"IN A {RIGHT}"))[:-3]]


def drip(query: dns.message.Message) -> list[bytes]:
    return [bytes([byte]) for byte in framed(response(query, f"IN A {RIGHT}"))]


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (lambda q: [framed(response(q, f"IN A {RIGHT}"))], True),
        (lambda q: [framed(response(q, f"IN A {RIGHT}"))[:1], framed(response(q, f"IN A {RIGHT}"))[1:]], True),
        (half, "malformed"),
        (lambda q: [], "malformed"),  # closed without a word
        (drip, "timeout"),
        (lambda q: [framed(elsewhere(q))], "malformed"),
        (lambda q: [b"\0\0"], "malformed"),
        (lambda q: [b"HTTP/1.1 400 Bad Request\r\n\r\n"], "malformed"),
    ],
)
@pytest.mark.parametrize("tls", [False, True])
def test_what_a_stream_says(tmp_path: Path, answer: Answer, result: object, tls: bool) -> None:
    context = None
    if tls:
        Authority(tmp_path, "unknown").issue("server")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    with Server(answer, tcp=True, tls=context) as server:
        question = Question("www.example", port=server.port, protocol="tls" if tls else "tcp")
        with asking(probe(question, timeout=1)) as collector:
            found = asked(collector)
    # A TLS server that closes without saying so is at fault in both ways.
    assert found == result or (tls and result == "malformed" and found == "tls")


def test_a_server_that_does_not_speak_tls() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    with listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65535)
                connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n" * 10)

        thread = threading.Thread(target=serve)
        thread.start()
        question = Question("www.example", port=listener.getsockname()[1], protocol="tls")
        with asking(probe(question, timeout=2)) as collector:
            assert asked(collector) == "tls"
        thread.join(5)


def test_one_that_hangs_delays_no_other() -> None:
    with Server(lambda _: []) as silent, Server(right) as server:
        hanging = [Question(f"h{number}.example", port=silent.port) for number in range(20)]
        with asking(probe(*hanging, Question("www.example", port=server.port), timeout=20)) as collector:
            assert asked(collector, dns_name="www.example") is True
            assert all(value(collector, "probes_total", dns_name=f"h{number}.example") == 0 for number in range(20))


def test_questions_come_again_at_every_interval_until_the_end() -> None:
    with Server(right) as server, asking(probe(Question("www.example", port=server.port), interval=0.3)) as collector:
        start = time.monotonic()
        eventually(lambda: value(collector, "probes_total") >= 5, 20)
        assert time.monotonic() - start > 1  # the first at once, four intervals
        collector.stop()
        time.sleep(0.5)
        count = len(server.queries)
        time.sleep(1)
        assert len(server.queries) == count


def test_a_failure_is_logged_once_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    answers = [[], [], "right", "right", []]

    def answer(query: dns.message.Message) -> list[bytes]:
        return right(query) if len(server.queries) in (3, 4) else []

    with Server(answer) as server, asking(probe(Question("x.example", port=server.port), interval=0.4)) as collector:
        eventually(lambda: value(collector, "probes_total") >= len(answers), 20)
    logged = [record.getMessage() for record in caplog.records if "probe of" in record.getMessage()][:3]
    assert logged == [
        f"probe of 127.0.0.1:{server.port} by udp for x.example A: {what}"
        for what in ("timeout", "works again", "timeout")
    ]


def test_labels() -> None:
    collector = probe(
        Question(".", "NS"),
        Question("WWW.Example.", "TYPE28", server=Address("::1"), port=5300),
        Question("münchen.example", protocol="tls"),
        Question('a\\.b\\000\\"\n.example', protocol="tcp"),
    )
    assert [tuple(labels.values()) for labels, _ in shown(collector, "probes_total")] == [
        ("127.0.0.1:53", "udp", ".", "NS"),
        ("[::1]:5300", "udp", "www.example", "AAAA"),
        ("127.0.0.1:853", "tls", "xn--mnchen-3ya.example", "A"),
        ("127.0.0.1:53", "tcp", 'a\\.b\\000\\"\\010.example', "A"),
    ]


def chaos(**texts: str) -> Answer:
    """Answers the names given, such as id_server, with the TXT record given; refuses others."""

    def answer(query: dns.message.Message) -> list[bytes]:
        asked = query.question[0]
        text = texts.get(asked.name.to_text(omit_final_dot=True).replace(".", "_"))
        if text is None or asked.rdclass != dns.rdataclass.CH or asked.rdtype != dns.rdatatype.TXT:
            return [response(query, rcode=5).to_wire()]
        return [response(query, f"CH TXT {text}").to_wire()]

    return answer


def identity(answer: Answer) -> tuple[str, str]:
    with Server(answer) as server, asking(probe(Question(".", port=server.port), identity=True)) as collector:
        ((labels, one),) = eventually(lambda: shown(collector, "identity_info"), 10)
    assert one == 1
    assert labels.pop("server") == f"127.0.0.1:{server.port}"
    return labels["id_server"], labels["version_bind"]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (chaos(id_server="node-1", version_bind='"unbound 1.17"'), ("node-1", "unbound 1.17")),
        (chaos(hostname_bind="node-2"), ("node-2", "")),
        (chaos(id_server="node-3", hostname_bind="host"), ("node-3", "")),
        (chaos(), ("", "")),
        (chaos(id_server='a b "c d"'), ("a b c d", "")),
        (chaos(id_server=r'"\"\\\010\255{}"', version_bind="x" * 200), (r'"\x5c\x0a\xff{}', "x" * 64)),
        (chaos(id_server=r"\000" * 200), (r"\x00" * 16, "")),
    ],
)
def test_identity(answer: Answer, expected: tuple[str, str]) -> None:
    assert identity(answer) == expected


def test_identity_stays_known_when_the_server_falls_silent() -> None:
    silent = threading.Event()
    answer = chaos(id_server="node-1", version_bind="1")
    with Server(lambda query: [] if silent.is_set() else answer(query)) as server:
        question = Question(".", port=server.port, rcode="REFUSED")
        with asking(probe(question, identity=True, interval=0.3, timeout=0.2)) as collector:
            eventually(lambda: shown(collector, "identity_info"), 10)
            silent.set()
            eventually(lambda: value(collector, "probe_failures_total", reason="timeout") >= 3, 10)
            assert value(collector, "identity_info", id_server="node-1", version_bind="1") == 1


def test_identity_is_asked_of_each_server_once() -> None:
    with Server(chaos(id_server="one")) as one, Server(chaos(id_server="two")) as two:
        questions = [Question(name, port=server.port) for name in ("a", "b") for server in (one, two)]
        with asking(probe(*questions, Question("a", port=two.port, protocol="tcp"), identity=True)) as collector:
            eventually(lambda: len(shown(collector, "identity_info")) == 2, 10)
            assert {labels["id_server"] for labels, _ in shown(collector, "identity_info")} == {"one", "two"}
    for server in (one, two):
        assert sum(query.question[0].rdclass == dns.rdataclass.CH for query in server.queries) == 2


@given(st.binary(max_size=600))
def test_escaped_is_printable_short_and_whole(raw: bytes) -> None:
    text = escaped(raw)
    assert len(text) <= 64
    assert text.isascii()
    assert text.isprintable()
    decoded = text.encode().decode("unicode_escape").encode("latin-1")
    assert raw.startswith(decoded)
    assert decoded == raw or len(text) > 60


@pytest.fixture(scope="module")
def parrot() -> Iterator[tuple[Target, list[bytes]]]:
    """A server that answers with the bytes put into the list, behind the id."""
    content = [b""]
    with Server(lambda query: [query.to_wire()[:2] + content[0]]) as server:
        yield Target("127.0.0.1", server.port, "udp"), content


@settings(deadline=None, max_examples=150)
@given(rest=st.binary(max_size=300), like=st.booleans())
def test_whatever_is_answered_ends_as_a_response_or_a_reason(
    parrot: tuple[Target, list[bytes]], rest: bytes, like: bool
) -> None:
    target, content = parrot
    # Half of them look like a response with its question, so that the records are what is read.
    head = b"\x81\x80\0\1\0\2\0\0\0\1" + dns.message.make_query("www.example.", "A").to_wire()[12:] if like else b""
    content[0] = head + rest
    question = Question("www.example", port=target.port, answer=[RIGHT])
    collector = probe(question, timeout=5)
    collector._probe(question)  # what its thread does, without the waiting
    assert value(collector, "probes_total") == 1
    failures = [sample["reason"] for sample, count in shown(collector, "probe_failures_total") if count]
    assert failures in ([], *([reason] for reason in REASONS if reason not in ("timeout", "network", "tls")))


@pytest.mark.parametrize(
    ("kind", "version"), [("unbound", "unbound "), ("named", "9."), ("kresd", ""), ("pdns_recursor", "PowerDNS ")]
)
def test_the_real_resolvers_answer_and_say_what_they_are(tmp_path: Path, kind: str, version: str) -> None:
    if not installed(kind):
        pytest.skip(f"{kind} is not installed")
    with Resolver(kind, tmp_path / kind) as resolver:
        questions = [
            Question(NAME, port=resolver.port, answer=[ADDRESS], server=Address("::1")),
            Question(NAME, port=resolver.port, answer=[ADDRESS], protocol="tcp"),
            Question(".", "NS", port=resolver.port),
        ]
        with asking(probe(*questions, timeout=5, identity=True)) as collector:
            eventually(lambda: all(count for _, count in shown(collector, "probes_total")), 20)
            assert [success for _, success in shown(collector, "probe_success")] == [1, 1, 1]
            identities = eventually(lambda: found if len(found := shown(collector, "identity_info")) == 2 else None)
    for labels, _ in identities:
        assert labels["version_bind"].startswith(version)
        # Knot Resolver gives neither; the others are called after the machine.
        assert bool(labels["id_server"]) == bool(labels["version_bind"]) == (kind != "kresd")


UNBOUND = """
server:
  do-daemonize: no
  use-syslog: no
  chroot: ""
  username: ""
  pidfile: ""
  directory: "{folder}"
  interface: 127.0.0.1@{port}
  interface: ::1@{port}
  interface: 127.0.0.1@{tls}
  tls-port: {tls}
  tls-service-pem: "{folder}/server.pem"
  tls-service-key: "{folder}/server.key"
  module-config: "iterator"
  identity: "node-7"
  version: "9.9"
  local-zone: "." static
  local-data: "www.example. A 192.0.2.1"
  local-data: "www.example. A 192.0.2.2"
{big}
remote-control:
  control-enable: no
"""


def test_a_real_resolver_by_every_protocol_and_stopped(tmp_path: Path) -> None:
    program = shutil.which("unbound", path="/usr/sbin:/usr/bin")
    if not program:
        pytest.skip("unbound is not installed")
    port, tls = free_port(), free_port()
    Authority(tmp_path, "ca").issue("server")
    big = "\n".join(f"  local-data: 'big.example. TXT {str(number) * 250}'" for number in range(10))
    (tmp_path / "unbound.conf").write_text(UNBOUND.format(folder=tmp_path, port=port, tls=tls, big=big))
    process = subprocess.Popen([program, "-d", "-c", tmp_path / "unbound.conf"], stderr=subprocess.DEVNULL)
    try:
        at = Target("127.0.0.1", port, "udp")

        def up() -> bool:
            assert process.poll() is None
            try:
                return bool(ask(dns.message.make_query("www.example.", "A"), at, 0.5))
            except Failed:
                return False

        eventually(up)
        questions = [
            Question("www.example", port=port, answer=["192.0.2.2"]),
            Question("www.example", port=port, answer=["192.0.2.2"], server=Address("::1")),
            Question("www.example", port=port, answer=["192.0.2.2"], protocol="tcp"),
            Question("www.example", port=tls, answer=["192.0.2.2"], protocol="tls"),
            Question("big.example", "TXT", port=port),
            Question("nothing.example", port=port, rcode="NXDOMAIN"),
        ]
        collector = probe(*questions, timeout=1, interval=1.2, identity=True)
        with asking(collector):
            eventually(lambda: all(count for _, count in shown(collector, "probes_total")), 10)
            assert [success for _, success in shown(collector, "probe_success")] == [1] * len(questions)
            identities = eventually(lambda: found if len(found := shown(collector, "identity_info")) == 3 else None)
            assert {(each["id_server"], each["version_bind"]) for each, _ in identities} == {("node-7", "9.9")}
            process.send_signal(signal.SIGSTOP)
            eventually(lambda: not any(success for _, success in shown(collector, "probe_success")), 10)
            failures = shown(collector, "probe_failures_total")
            assert {each["reason"] for each, count in failures if count} == {"timeout"}
            assert shown(collector, "probe_rcode") == []
            process.send_signal(signal.SIGCONT)
            eventually(lambda: all(success for _, success in shown(collector, "probe_success")), 10)
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()
