"""The captures that the tests of open resolvers and of poisoning read.

``PYTHONPATH=tests python tests/zeek-scripts/detection_traces.py`` writes them, message by message, with addresses and
names for documentation only. Checksums of changed headers are wrong, so Zeek reads them with -C. ``open-hosts.pcap``
beside them is the lab's: ``lab.openresolver.make``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
from zeek_traces import START, exchange, query, response

from lab.packets import Flow, Frame, udp, write

FOLDER = Path(__file__).parent / "Traces"
RESOLVER, SERVER, OTHER = "203.0.113.200", "198.51.100.1", "198.51.100.2"
_ETHERNET, _IP = 14, 20


def ask(name: str, number: int, kind: str = "A") -> dns.message.Message:
    """Return a question as a resolver asks it."""
    made = query(name, kind, number)
    made.flags = dns.flags.Flag(0)
    return made


def tell(asked: dns.message.Message, address: str = "192.0.2.1", ttl: int = 300) -> dns.message.Message:
    """Return an authoritative answer with one address."""
    name = asked.question[0].name.to_text()
    return response(asked, [f"{name} {ttl} A {address}"], flags=dns.flags.AA)


def numbered(message: dns.message.Message, number: int) -> dns.message.Message:
    """Return the same message with another id."""
    made = dns.message.from_wire(message.to_wire())
    made.id = number
    return made


def with_hops(frame: bytes, ttl: int) -> bytes:
    """Return a frame of IPv4 with another TTL."""
    at = _ETHERNET + 8
    return frame[:at] + bytes([ttl]) + frame[at + 1 :]


def from_station(frame: bytes, station: int) -> bytes:
    """Return a frame as another station sends it."""
    return frame[:6] + bytes([2, 0, 0, 0, 0, station]) + frame[12:]


def fragments(frame: bytes, size: int, number: int = 7) -> list[bytes]:
    """Return a frame of IPv4 in fragments with so many bytes of payload, a multiple of eight."""
    head, payload = frame[_ETHERNET : _ETHERNET + _IP], frame[_ETHERNET + _IP :]
    made = []
    for at in range(0, len(payload), size):
        part = payload[at : at + size]
        more = 0x2000 if at + size < len(payload) else 0
        middle = struct.pack("!HHH", _IP + len(part), number, more | at // 8)
        made.append(frame[:_ETHERNET] + head[:2] + middle + head[8:] + part)
    return made


def unreachable(frame: bytes) -> bytes:
    """Return "port unreachable" from the host that a frame of IPv4 was for."""
    packet = frame[_ETHERNET : _ETHERNET + _IP + 8]
    payload = struct.pack("!BBHI", 3, 3, 0, 0) + packet
    head = struct.pack("!BBHHHBBH", 0x45, 0, _IP + len(payload), 0, 0, 64, 1, 0) + packet[16:20] + packet[12:16]
    return frame[6:12] + frame[:6] + frame[12:_ETHERNET] + head + payload


def signals() -> Iterator[Frame]:
    """Every sign of poisoning, each in a zone of its own, after answers that show what is usual."""
    flow = Flow(RESOLVER, 40000, SERVER)

    def again(number: int) -> Flow:
        return Flow(RESOLVER, 41000 + number, SERVER)

    for number in range(10):
        asked = ask(f"h{number}.usual.example", number)
        yield from exchange(START + number / 10, again(number), asked, tell(asked))
    asked = ask("www.id.example", 1000)
    yield from exchange(START + 2, flow, asked, numbered(tell(asked), 1001), tell(asked))
    other = ask("mail.id.example", 1100)
    yield from exchange(START + 2.1, flow, other, tell(other))
    for number in range(2):
        yield START + 2.2 + number / 100, flow.response(numbered(tell(asked), 1002 + number).to_wire())
    asked = ask("www.port.example", 2000)
    yield START + 3, flow.query(asked.to_wire())
    for number in range(2):
        yield START + 3.01 + number / 100, Flow(RESOLVER, 50000 + number, SERVER).response(tell(asked).to_wire())
    asked = ask("www.conflict.example", 3000)
    yield from exchange(START + 4, flow, asked, tell(asked), tell(asked, "192.0.2.66"), tell(asked))
    # Asked twice, so that two answers are due.
    asked = ask("www.twice.example", 3001)
    yield START + 4.5, flow.query(asked.to_wire())
    yield from exchange(START + 4.6, flow, asked, tell(asked), tell(asked, "192.0.2.66"))
    # An answer to nothing asked, and one from a server that was not asked.
    yield START + 5, flow.response(tell(ask("www.unasked.example", 4000)).to_wire())
    asked = ask("www.server.example", 4001)
    yield START + 5.1, flow.query(asked.to_wire())
    yield START + 5.2, Flow(RESOLVER, 40000, OTHER).response(tell(asked).to_wire())
    asked = ask("www.bailiwick.example", 5000)
    poison = response(
        asked,
        ["www.bailiwick.example. 300 A 192.0.2.1"],
        ["bailiwick.example. 300 NS ns.elsewhere.example."],
        ["ns.elsewhere.example. 300 A 192.0.2.66"],
    )
    yield from exchange(START + 6, flow, asked, poison)
    # The same server with the other zone: now it may speak of both.
    asked = ask("www.elsewhere.example", 5001)
    yield from exchange(START + 6.1, flow, asked, tell(asked))
    asked = ask("mail.bailiwick.example", 5002)
    glue = response(asked, ["mail.bailiwick.example. 300 A 192.0.2.1"], [], ["ns.elsewhere.example. 300 A 192.0.2.2"])
    yield from exchange(START + 6.2, flow, asked, glue)
    # A delegation by a top-level domain, with glue from another one: all in order.
    asked = ask("www.delegated.example", 5003)
    to_child = response(
        asked,
        [],
        ["delegated.example. 300 NS ns.host.test."],
        ["ns.host.test. 300 A 192.0.2.2"],
        flags=dns.flags.Flag(0),
    )
    yield from exchange(START + 6.3, flow, asked, to_child)
    # A storm of missing names, then name servers that replace all there were.
    soa = "storm.example. 300 SOA ns1.storm.example. host.storm.example. 1 2 3 4 5"
    for number in range(6):
        asked = ask(f"x{number}.storm.example", 6000 + number)
        yield from exchange(START + 7 + number / 10, flow, asked, response(asked, [], [soa], rcode=dns.rcode.NXDOMAIN))
    for number, server in ((6, "ns1.storm.example."), (7, "ns2.storm.example.")):
        asked = ask(f"x{number}.storm.example", 6000 + number)
        to_child = response(asked, [], [f"storm.example. 300 NS {server}"], flags=dns.flags.Flag(0))
        yield from exchange(START + 7 + number / 10, flow, asked, to_child)
    asked = ask("www.fragment.example", 7000)
    yield START + 8, flow.query(asked.to_wire())
    long = response(asked, [f"www.fragment.example. 300 TXT {'x' * 200}{n}" for n in range(6)], flags=dns.flags.AA)
    for frame in fragments(flow.response(long.to_wire(max_size=65535)), 552):
        yield START + 8.01, frame
    # A fragment that contradicts another one.
    first, *_ = fragments(flow.response(tell(asked).to_wire()), 32, number=8)
    yield START + 8.1, first
    yield START + 8.11, first[:-4] + b"evil"
    for number in range(3):
        probe = udp(SERVER, 53, RESOLVER, 30000 + number, b"?" * 20)
        yield START + 9 + number / 100, probe
        yield START + 9.005 + number / 100, unreachable(probe)
    asked = ask("h99.usual.example", 8000)
    yield from exchange(START + 10, flow, asked, tell(asked, ttl=86400))
    asked = ask("www.hops.example", 9000)
    yield START + 11, flow.query(asked.to_wire())
    yield START + 11.01, flow.response(numbered(tell(asked), 9001).to_wire())
    yield START + 11.02, with_hops(flow.response(numbered(tell(asked), 9002).to_wire()), 57)
    # IPv6 as well.
    flow6 = Flow("2001:db8:a::200", 40006, "2001:db8:b::1")
    asked = ask("www.six.example", 9500)
    yield from exchange(START + 12, flow6, asked, numbered(tell(asked), 9501), tell(asked))


def guessing() -> Iterator[Frame]:
    """One question, 150 guesses, and the right answer."""
    flow = Flow(RESOLVER, 4053, SERVER)
    asked = ask("x1.victim.example", 20000)
    yield START, flow.query(asked.to_wire())
    forged = response(
        asked,
        ["x1.victim.example. 86400 A 192.0.2.66"],
        ["victim.example. 86400 NS ns.victim.example."],
        ["ns.victim.example. 86400 A 192.0.2.66"],
        flags=dns.flags.AA,
    )
    for number in range(150):
        yield START + 0.01 + number / 10000, flow.response(numbered(forged, number).to_wire())
    yield START + 0.1, flow.response(tell(asked).to_wire())


def predictable() -> Iterator[Frame]:
    """Three resolvers: ids that count up, ports that count up, and neither. The last one asks as a stub does, too."""
    state = 1
    for number in range(300):
        # A linear congruential generator (Numerical Recipes) is random enough, and the same everywhere.
        state = (state * 1664525 + 1013904223) % 2**32
        port, drawn = 1024 + (state >> 16) % 64000, (state * 48271 % (2**31 - 1)) % 65536
        for resolver, asks_from, number_asked in (
            ("203.0.113.201", port, number),
            ("203.0.113.202", 1024 + number, drawn),
            ("203.0.113.203", port, drawn),
        ):
            asked = ask(f"h{number}.example.com", number_asked)
            yield START + number / 100, Flow(resolver, asks_from, SERVER).query(asked.to_wire())
    yield START + 5, Flow("203.0.113.204", 40000, SERVER).query(query("stub.example").to_wire())


def forwarders() -> Iterator[Frame]:
    """A resolver that forwards; one that forwards to another one inside; a stub; and one that serves outside alone."""
    inside, outside = "203.0.113.205", "198.51.100.53"
    for number, (asker, host, upstream) in enumerate(
        (
            ("203.0.113.99", inside, outside),
            ("203.0.113.99", "203.0.113.206", inside),
            (None, "203.0.113.207", outside),
            ("192.0.2.9", "203.0.113.208", outside),
        )
    ):
        for again in range(2):
            asked = query(f"h{again}.example.com", number=again)
            answer = response(asked, [f"h{again}.example.com. 60 A 192.0.2.1"])
            when = START + number + again / 2
            if asker:
                yield from exchange(when, Flow(asker, 40000 + again, host), asked, answer)
            yield from exchange(when + 0.2, Flow(host, 41000 + again, upstream), asked, answer)


def open_host() -> Iterator[Frame]:
    """A resolver open to all, asked by two; what it refuses; a stub inside; and a forwarder seen at work."""
    host, closed, forwarder = "203.0.113.10", "203.0.113.11", "203.0.113.12"
    for number, asker in enumerate(("198.51.100.7", "198.51.100.8", "198.51.100.8")):
        asked = query(f"h{number}.example.com", number=number)
        flow = Flow(asker, 40000 + number, host)
        yield from exchange(START + number, flow, asked, response(asked, [f"h{number}.example.com. 60 A 192.0.2.1"]))
    # Also an answer without records, one with AA, and a question that gets none.
    asked = query("gone.example.com", number=10)
    yield from exchange(START + 5, Flow("198.51.100.7", 40010, host), asked, response(asked, rcode=dns.rcode.NXDOMAIN))
    asked = query("own.example.com", number=11)
    yield from exchange(START + 6, Flow("198.51.100.7", 40011, host), asked, tell(asked))
    yield START + 7, Flow("198.51.100.7", 40012, host).query(query("silent.example.com", number=12).to_wire())
    asked = query("h1.example.com", number=13)
    refused = response(asked, rcode=dns.rcode.REFUSED, flags=dns.flags.Flag(0))
    yield from exchange(START + 8, Flow("198.51.100.7", 40013, closed), asked, refused)
    # Neither authoritative nor recursive, whatever it is.
    odd = response(asked, ["h1.example.com. 60 A 192.0.2.1"], flags=dns.flags.Flag(0))
    yield from exchange(START + 8.5, Flow("198.51.100.7", 40014, closed), asked, odd)
    # From inside: nobody's business.
    yield from exchange(
        START + 9, Flow("203.0.113.99", 40014, closed), asked, response(asked, ["h1.example.com. 60 A 192.0.2.1"])
    )
    # Asked from outside, it asks another one, and hands the answer on.
    asked = query("passed.example.com", number=14)
    answer = response(asked, ["passed.example.com. 60 A 192.0.2.1"])
    yield START + 10, Flow("198.51.100.7", 40015, forwarder).query(asked.to_wire())
    yield from exchange(
        START + 10.01, Flow(forwarder, 5000, "198.51.100.53"), numbered(asked, 77), numbered(answer, 77)
    )
    yield START + 10.05, Flow("198.51.100.7", 40015, forwarder).response(answer.to_wire())


def relay() -> Iterator[Frame]:
    """A host that relays to a resolver outside; and a scanner that asks all hosts in the same words."""
    asker, host, outside = "198.51.100.7", "203.0.113.10", "192.0.2.53"
    for number in range(2):
        asked = query(f"h{number}.example.com", number=number)
        answer = response(asked, [f"h{number}.example.com. 60 A 192.0.2.1"])
        yield START + number, from_station(Flow(asker, 40000 + number, host).query(asked.to_wire()), 1)
        to_outside = Flow(asker, 40000 + number, outside)
        yield START + number + 0.01, from_station(with_hops(to_outside.query(asked.to_wire()), 63), 2)
        yield START + number + 0.05, from_station(to_outside.response(answer.to_wire()), 1)
    scan = query("scan.example.com", number=1)
    for last in (20, 21, 22, 23):
        yield (
            START + 5 + last / 1000,
            from_station(Flow("198.51.100.9", 50000, f"203.0.113.{last}").query(scan.to_wire()), 1),
        )
    answer = response(scan, ["scan.example.com. 60 A 192.0.2.1"])
    yield START + 6, Flow("198.51.100.9", 50000, "203.0.113.22").response(answer.to_wire())
    # From an address that was not asked, but who was meant?
    yield START + 6.1, Flow("198.51.100.9", 50000, "203.0.113.30").response(answer.to_wire())


TRACES = {
    "poisoning": signals,
    "guessing": guessing,
    "predictable": predictable,
    "forwarders": forwarders,
    "open-host": open_host,
    "relay": relay,
}


def main(folder: Path = FOLDER) -> None:
    """Write every trace into the folder."""
    for name, frames in TRACES.items():
        write(folder / f"{name}.pcap", frames())


if __name__ == "__main__":
    main()
