"""The captures that the package's tests read. Run it with ``PYTHONPATH=tests`` to write them.

Made message by message, with addresses and names for documentation only, so that each shows one thing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from lab.packets import Flow, Frame, tcp, udp, write

FOLDER = Path(__file__).parent / "Traces"
START = 1_700_000_000.0
CLIENT, RESOLVER = "198.51.100.7", "198.51.100.53"
ASK = Flow(CLIENT, 40000, RESOLVER)
ASK6 = Flow("2001:db8:c::7", 40006, "2001:db8:c::53")

TYPES = """
    types.example. 300 A 192.0.2.1
    types.example. 300 AAAA 2001:db8::1
    www.types.example. 300 CNAME types.example.
    types.example. 300 NS ns1.types.example.
    types.example. 300 MX 10 mail.types.example.
    types.example. 300 TXT "v=spf1 -all" "two \\"quoted\\" and a back\\\\slash" "\\000\\031\\127\\255, comma" ""
    types.example. 300 SPF "v=spf1 -all"
    _sip._tcp.types.example. 300 SRV 1 2 5060 sip.types.example.
    1.2.0.192.in-addr.arpa. 300 PTR types.example.
    types.example. 300 SOA ns1.types.example. host.types.example. 2024010101 7200 900 1209600 86400
    types.example. 300 CAA 128 issue "ca.example; account=\\"7\\""
    types.example. 300 HTTPS 1 . alpn=h2,h3 ipv4hint=192.0.2.1
    alias.types.example. 300 HTTPS 0 Target.Types.Example.
    _dns.types.example. 300 SVCB 1 dns.types.example. alpn=dot
    types.example. 300 DS 12345 13 2 2BB183AF5F22588179A53B0A98631FAD1A292118CFD5EDD7C6F1C3A7B8C6D5E4
    types.example. 300 DNSKEY 257 3 13 bWRzc3dVeXIzRFBXMTMybU9pOFY5eEVTV0U4alRv
    types.example. 300 SSHFP 4 2 123456789ABCDEF67890123456789ABCDEF67890123456789ABCDEF123456789
    types.example. 300 TYPE65280 \\# 4 01020304
    old.types.example. 300 DNAME types.example.
    types.example. 300 NSEC www.types.example. A NS SOA
    . 518400 NS a.root-servers.example.
    . 86400 SOA a.root-servers.example. . 1 2 3 4 5
"""
"""A record of every type that the tests look at; the last but three are left out or known by number only."""


def query(name: str, kind: str = "A", number: int = 1, **options: object) -> dns.message.Message:
    """Return a query with recursion desired."""
    return dns.message.make_query(name, kind, id=number, **options)  # type: ignore[arg-type]


def response(
    asked: dns.message.Message,
    answer: Iterable[str] = (),
    authority: Iterable[str] = (),
    additional: Iterable[str] = (),
    *,
    rcode: dns.rcode.Rcode = dns.rcode.NOERROR,
    flags: int = dns.flags.RA,
) -> dns.message.Message:
    """Return the response with these records, in zone file form."""
    made = dns.message.make_response(asked)
    made.flags |= flags
    made.set_rcode(rcode)
    for section, lines in ((made.answer, answer), (made.authority, authority), (made.additional, additional)):
        section.extend(map(record, lines))
    return made


def record(line: str) -> dns.rrset.RRset:
    """Return the record that a line with owner, TTL, type and data says."""
    owner, ttl, kind, data = line.split(maxsplit=3)
    return dns.rrset.from_text(owner, int(ttl), "IN", kind, data)


def exchange(when: float, flow: Flow, asked: dns.message.Message, *answers: dns.message.Message) -> Iterator[Frame]:
    """Yield a query and, 10 ms apart, what came in return."""
    yield when, flow.query(asked.to_wire())
    for number, answer in enumerate(answers, 1):
        yield when + number / 100, flow.response(answer.to_wire(max_size=65535))


def types() -> Iterator[Frame]:
    """Every type once, then EDNS in its forms."""
    for number, line in enumerate(TYPES.strip().splitlines()):
        made = record(line.strip())
        asked = query(made.name.to_text(), dns.rdatatype.to_text(made.rdtype), number)
        yield from exchange(START + number, ASK, asked, response(asked, [line.strip()]))


def sizes() -> Iterator[Frame]:
    """Sizes, EDNS, extended errors; over IPv6 and TCP too; a chain of types in one answer; queries without answers."""
    plain = query("plain.example", number=1)
    yield from exchange(START, ASK, plain, response(plain, ["plain.example. 60 A 192.0.2.1"]))
    edns = query("edns.example", number=2, use_edns=0, payload=1232)
    chain = ["edns.example. 60 CNAME a.example.", "a.example. 60 A 192.0.2.1", "a.example. 60 A 192.0.2.2"]
    yield from exchange(START + 1, ASK6, edns, response(edns, chain))
    dnssec = query("dnssec.example", "TYPE65280", number=3, want_dnssec=True, payload=4096)
    odd = ["dnssec.example. 60 TYPE65280 \\# 2 0102", 'dnssec.example. 60 CAA 0 issue "ca.example"']
    yield from exchange(START + 2, ASK, dnssec, response(dnssec, odd))
    # Stale answer and network error, beside a cookie and an option that nobody knows.
    failed = query("failed.example", number=4, use_edns=0)
    servfail = response(failed, rcode=dns.rcode.SERVFAIL)
    servfail.use_edns(
        0,
        options=[
            dns.edns.GenericOption(10, bytes(range(16))),
            dns.edns.EDEOption(22, "no reachable authority"),
            dns.edns.GenericOption(65001, b"??"),
            dns.edns.EDEOption(23),
        ],
    )
    yield from exchange(START + 3, ASK, failed, servfail)
    stale = query("stale.example", number=5, use_edns=0)
    answer = response(stale, ["stale.example. 30 A 192.0.2.1"])
    answer.use_edns(0, options=[dns.edns.EDEOption(3)])
    yield from exchange(START + 4, ASK6, stale, answer)
    # What looks like an OPT record, in a text before the real one; and an option that runs out of the message.
    decoy = query("decoy.example", "TXT", number=6, use_edns=0)
    text = '"\\000\\000\\041\\004\\208\\000\\000\\000\\000\\000\\006\\000\\015\\000"'
    answer = response(decoy, [f"decoy.example. 30 TXT {text}"])
    answer.use_edns(0, payload=1232)
    yield from exchange(START + 5, ASK, decoy, answer)
    broken = query("broken.example", number=7, use_edns=0)
    wire = bytearray(servfail.to_wire())
    wire[0:2] = b"\0\7"
    yield START + 6, ASK.query(broken.to_wire())
    yield START + 6.01, ASK.response(bytes(wire[:-4]))
    large = query("large.example", "TXT", number=8, use_edns=0)
    texts = [f'large.example. 60 TXT "{number:05} {"x" * 200}"' for number in range(280)]
    wire = response(large, texts).to_wire(max_size=65535)
    framed = struct.pack("!H", len(wire)) + wire
    asked = large.to_wire()
    yield from tcp(Flow(CLIENT, 40008, RESOLVER), struct.pack("!H", len(asked)) + asked, framed, START + 7)
    yield from exchange(START + 8, ASK, query("silent.example", number=9))


def rows() -> Iterator[Frame]:
    """One tuple over three hours with TTLs up and down, in another section too; and tuples that come once."""
    address = "long.example. {} A 192.0.2.1"
    for number, (hour, ttl) in enumerate([(0, 300), (0.2, 200), (0.4, 400), (0.9, 250), (1.5, 100), (2.8, 300)]):
        asked = query("long.example", number=number)
        yield from exchange(START + hour * 3600, ASK, asked, response(asked, [address.format(ttl)]))
    asked = query("mx.example", "MX", number=50)
    mail = ["mx.example. 60 MX 10 long.example."]
    yield from exchange(START + 2.9 * 3600, ASK, asked, response(asked, mail, [], [address.format(7)]))
    asked = query("none.example", number=51)
    soa = ["example. 900 SOA ns1.example. host.example. 1 2 3 4 5"]
    yield from exchange(START + 2.95 * 3600, ASK, asked, response(asked, [], soa, rcode=dns.rcode.NXDOMAIN))


def unasked() -> Iterator[Frame]:
    """Records that answer nobody's question: only good.example, thrice, and twice.example's first are passive DNS."""
    good = query("good.example", number=1)
    yield from exchange(START, ASK, good, response(good, ["good.example. 60 A 192.0.2.1"]))
    # Twice answered: the second is late, or forged.
    twice = query("twice.example", number=2)
    first, second = (response(twice, [f"twice.example. 60 A 192.0.2.{last}"]) for last in (1, 66))
    yield from exchange(START + 1, ASK, twice, first, second)
    # Answered with another id, and never asked at all.
    asked = query("guess.example", number=3)
    forged = response(asked, ["guess.example. 60 A 192.0.2.66"])
    forged.id = 4
    yield from exchange(START + 2, ASK, asked, forged)
    nobody = query("unasked.example", number=5)
    never = response(nobody, ["unasked.example. 60 A 192.0.2.66"])
    yield START + 3, Flow(CLIENT, 40100, RESOLVER).response(never.to_wire())
    # Another name, another type, no question, two questions.
    for number, name, kind in ((10, "other.example", "A"), (11, "asked.example", "AAAA")):
        asked, other = query("asked.example", number=number), query(name, kind, number=number)
        data = "2001:db8::66" if kind == "AAAA" else "192.0.2.66"
        yield from exchange(START + number, ASK, asked, response(other, [f"{name}. 60 {kind} {data}"]))
    yield from exchange(START + 11.5, ASK, good, response(good, ["good.example. 60 A 192.0.2.1"]))
    asked = query("asked.example", number=12)
    without = response(asked, ["asked.example. 60 A 192.0.2.66"])
    without.question = []
    yield from exchange(START + 12, ASK, asked, without)
    asked = query("asked.example", number=13)
    double = response(asked, ["asked.example. 60 A 192.0.2.66"])
    double.question.insert(0, record("second.example. 0 A 192.0.2.66"))
    yield from exchange(START + 13, ASK, asked, double)
    # Refused, of class CH, a query that brings answers, an update.
    asked = query("refused.example", number=14)
    refused = response(asked, [], ["example. 60 NS ns.bad.example."], rcode=dns.rcode.REFUSED)
    yield from exchange(START + 14, ASK, asked, refused)
    asked = dns.message.make_query("version.bind", "TXT", "CH", id=15)
    chaos = response(asked)
    chaos.answer.append(dns.rrset.from_text("version.bind.", 0, "CH", "TXT", '"9"'))
    yield from exchange(START + 15, ASK, asked, chaos)
    yield from exchange(START + 15.5, ASK, good, response(good, ["good.example. 60 A 192.0.2.1"]))
    asked = query("brings.example", number=16)
    asked.answer.append(record("brings.example. 60 A 192.0.2.66"))
    yield from exchange(START + 16, ASK, asked)
    update = query("update.example", "SOA", number=17)
    update.set_opcode(dns.opcode.UPDATE)
    yield from exchange(START + 17, ASK, update, response(update, ["update.example. 60 A 192.0.2.66"]))


def local() -> Iterator[Frame]:
    """Multicast DNS, LLMNR and NetBIOS names: in dns.log, and nowhere else."""
    asked = query("printer.local", number=0)
    told = response(asked, ["printer.local. 120 A 192.168.1.9"], flags=dns.flags.AA)
    yield START, udp("192.168.1.8", 5353, "224.0.0.251", 5353, asked.to_wire())
    yield START + 0.01, udp("192.168.1.9", 5353, "224.0.0.251", 5353, told.to_wire())
    yield from exchange(START + 1, Flow("192.168.1.8", 5353, "192.168.1.9", 5353), asked, told)
    asked = query("laptop", number=2)
    flow = Flow("192.168.1.8", 50000, "192.168.1.9", 5355)
    yield from exchange(START + 2, flow, asked, response(asked, ["laptop. 30 A 192.168.1.9"]))
    asked = query("EJFDEBFEEBFACACACACACACACACACAAA", "TYPE32", number=3)
    yield from exchange(START + 3, Flow("192.168.1.8", 137, "192.168.1.255", 137), asked)


def delegation() -> Iterator[Frame]:
    """A resolver walks from the root to zone.example; then servers say what is not theirs to say."""
    root, tld, child, stranger = (Flow("203.0.113.200", 40000, f"203.0.113.{last}") for last in (1, 2, 3, 4))

    def ask(name: str, number: int, kind: str = "A") -> dns.message.Message:
        made = query(name, kind, number)
        made.flags = dns.flags.Flag(0)
        return made

    def say(
        asked: dns.message.Message, answer: list[str], authority: Iterable[str] = (), additional: Iterable[str] = ()
    ) -> dns.message.Message:
        return response(asked, answer, authority, additional, flags=dns.flags.AA if answer else 0)

    asked = ask("www.zone.example", 1)
    to_tld = ["example. 172800 NS a.tld-servers.example."], ["a.tld-servers.example. 172800 A 203.0.113.2"]
    yield from exchange(START, root, asked, say(asked, [], *to_tld))
    asked = ask("www.zone.example", 2)
    # One server with glue; one whose name lies elsewhere, found out by a question of its own.
    to_child = [f"zone.example. 3600 NS {name}" for name in ("ns1.zone.example.", "ns.host.example.")]
    yield from exchange(START + 1, tld, asked, say(asked, [], to_child, ["ns1.zone.example. 3600 A 203.0.113.3"]))
    asked = ask("ns.host.example", 3)
    yield from exchange(START + 2, tld, asked, say(asked, ["ns.host.example. 3600 A 203.0.113.5"]))
    asked = ask("www.zone.example", 4)
    # The answer, an alias that leads out of the zone, and poison.
    answer = ["www.zone.example. 60 A 192.0.2.80", "www.bank.example. 60 A 192.0.2.66"]
    poison = ["example. 172800 NS ns.zone.example.", "zone.example. 3600 NS ns1.zone.example."]
    glue = ["ns.zone.example. 3600 A 192.0.2.66", "ns1.bank.example. 3600 A 192.0.2.66"]
    yield from exchange(START + 3, child, asked, say(asked, answer, poison, glue))
    asked = ask("mail.zone.example", 5)
    elsewhere = Flow("203.0.113.200", 40000, "203.0.113.5")
    yield from exchange(START + 4, elsewhere, asked, say(asked, ["mail.zone.example. 60 A 192.0.2.25"]))
    # Nobody delegated anything to this one, so nothing is known of it, nor believed.
    asked = ask("www.lost.example", 6)
    claim = ["example. 172800 NS ns.lost.example."], ["ns.lost.example. 172800 A 203.0.113.4"]
    yield from exchange(START + 5, stranger, asked, say(asked, ["www.lost.example. 60 A 192.0.2.90"], *claim))
    asked = ask("again.lost.example", 7)
    yield from exchange(START + 6, stranger, asked, say(asked, ["again.lost.example. 60 A 192.0.2.91"]))
    # A tuple that the parent gave is now given by the zone itself.
    asked = ask("zone.example", 8, "NS")
    yield from exchange(START + 7, child, asked, say(asked, to_child))


def names() -> Iterator[Frame]:
    """Names and data of any bytes."""
    labels = [b"\n\t\0", b"sp ace", b"\x1b[31m", b"\xff\xfe", b"com,ma", b'"', b"back\\slash", b"dot.in"]
    labels.append("bücher".encode())
    for number, label in enumerate(labels):
        name = dns.name.Name([label, b"NAMES", b"example", b""])
        asked = dns.message.make_query(name, "CNAME", id=number)
        answer = response(asked)
        target = dns.name.Name([label, b"target", b"example", b""])
        alias = dns.rdata.from_wire("IN", "CNAME", target.to_wire(), 0, len(target.to_wire()))
        answer.answer.append(dns.rrset.from_rdata(name, 60, alias))
        yield from exchange(START + number, ASK, asked, answer)
    long = dns.name.from_text(".".join(["x" * 63] * 3 + ["y" * 61]))
    asked = dns.message.make_query(long, "A", id=90)
    answer = response(asked)
    answer.answer.append(dns.rrset.from_text(long, 60, "IN", "A", "192.0.2.1"))
    yield from exchange(START + 90, ASK, asked, answer)
    asked = query("long.example", "TXT", number=91)
    strings = " ".join(f'"{"z" * 250}"' for _ in range(20))
    yield from exchange(START + 91, ASK, asked, response(asked, [f"long.example. 60 TXT {strings}"]))


def malformed() -> Iterator[Frame]:
    """Messages that break the rules, each the answer to a proper question."""
    head = struct.Struct("!6H")
    question = b"\3bad\7example\0" + struct.pack("!2H", 1, 1)
    to_name = b"\xc0\x0c"
    address = struct.pack("!HHIH", 1, 1, 60, 4) + bytes([192, 0, 2, 66])
    # Forty pointers, each to the one before.
    first = 12 + len(question) + 12
    pointers = [0x0C, *range(first, first + 78, 2)]
    chain = struct.pack("!HHIH", 65280, 1, 60, 80) + struct.pack("!40H", *(0xC000 | to for to in pointers))
    bodies = {
        "loop": (1, question + b"\xc0\x1d" + address),
        "two pointers": (1, question + b"\xc0\x1f\xc0\x1d" + address),
        "forward pointer": (1, question + b"\xc0\xff" + address),
        "chain of pointers": (2, question + to_name + chain + struct.pack("!H", 0xC000 | first + 78) + address),
        "label of 64": (1, question + b"\x40" + b"a" * 64 + b"\0" + address),
        "label past the end": (1, question + b"\x3fshort"),
        "name of 600": (1, question + (b"\x3f" + b"n" * 63) * 9 + b"\0" + address),
        "more records than there are": (65535, question + to_name + address),
        "data past the end": (1, question + to_name + struct.pack("!HHIH", 1, 1, 60, 400) + b"\1\2"),
        "address of three": (1, question + to_name + struct.pack("!HHIH", 1, 1, 60, 3) + b"\1\2\3"),
        "text past its data": (1, question + to_name + struct.pack("!HHIH", 16, 1, 60, 3) + b"\xffab"),
        "tag past its data": (1, question + to_name + struct.pack("!HHIH", 257, 1, 60, 4) + b"\0\xffis"),
        "no data": (2, question + to_name + struct.pack("!HHIH", 1, 1, 60, 0) + to_name + address),
        "short soa": (1, question + to_name + struct.pack("!HHIH", 6, 1, 60, 8) + bytes(8)),
        "short svcb": (1, question + to_name + struct.pack("!HHIH", 65, 1, 60, 2) + b"\0\1"),
        "short ds": (1, question + to_name + struct.pack("!HHIH", 43, 1, 60, 2) + b"\0\1"),
        "short key": (1, question + to_name + struct.pack("!HHIH", 48, 1, 60, 2) + b"\0\1"),
        "rest of nothing": (1, question),
    }
    asked = query("bad.example").to_wire()
    for number, (answers, body) in enumerate(bodies.values()):
        yield START + number, ASK.query(head.pack(number, 0x0100, 1, 0, 0, 0) + asked[12:])
        yield START + number + 0.01, ASK.response(head.pack(number, 0x8180, 1, answers, 0, 0) + body)
    ends = Flow(CLIENT, 40099, RESOLVER)
    yield START + 50, ends.query(head.pack(50, 0x0100, 65535, 0, 0, 0) + asked[12:])
    yield START + 51, ends.query(b"\0\1\2")
    yield START + 52, ends.response(b"")
    yield START + 53, ends.query(bytes(512))
    yield START + 54, ends.response(b"\xff" * 512)
    # Over TCP: a length that is too long, one of nothing, and 64 KB of nothing but pointers.
    framed = struct.pack("!H", len(asked)) + asked
    yield from tcp(Flow(CLIENT, 40101, RESOLVER), framed, struct.pack("!H", 4000) + b"short", START + 60)
    yield from tcp(Flow(CLIENT, 40102, RESOLVER), framed, b"\0\0" * 20, START + 61)
    sixty_four = (head.pack(1, 0x8180, 1, 65535, 0, 0) + question + b"\xc0\x0c" * 32768)[:65535]
    yield from tcp(Flow(CLIENT, 40103, RESOLVER), framed, b"\xff\xff" + sixty_four, START + 62)
    # And an ordinary one afterwards.
    good = query("good.example", number=99)
    yield from exchange(START + 70, ASK, good, response(good, ["good.example. 60 A 192.0.2.1"]))


def one_direction(responses: bool) -> Iterator[Frame]:
    """One half of twenty exchanges, over UDP and TCP."""
    for number in range(20):
        asked = query(f"half{number}.example", number=number)
        answer = response(asked, [f"half{number}.example. 60 A 192.0.2.1"])
        flow = Flow(CLIENT, 40000 + number, RESOLVER)
        if number % 4:
            yield list(exchange(START + number, flow, asked, answer))[responses]
            continue
        framed = [struct.pack("!H", len(message.to_wire())) + message.to_wire() for message in (asked, answer)]
        server = number_of_source(RESOLVER)
        for when, frame in tcp(flow, *framed, START + number):
            if (frame[26:30] == server) == responses:
                yield when, frame


def number_of_source(address: str) -> bytes:
    """Return an IPv4 address in its four octets."""
    return bytes(map(int, address.split(".")))


TRACES = {
    "types": types,
    "sizes": sizes,
    "rows": rows,
    "unasked": unasked,
    "local": local,
    "delegation": delegation,
    "names": names,
    "malformed": malformed,
    "queries-only": lambda: one_direction(False),
    "responses-only": lambda: one_direction(True),
}


def main(folder: Path = FOLDER) -> None:
    """Write every trace into the folder."""
    for name, frames in TRACES.items():
        write(folder / f"{name}.pcap", frames())


if __name__ == "__main__":
    main()
