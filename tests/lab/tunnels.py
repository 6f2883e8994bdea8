"""Tunnels through DNS as dns.log shows them: iodine, dnscat2 and dns2tcp at work and idle, and leaks that take hours.

The programs' forms (headers, alphabets, label lengths, record types, keep-alives) are those that their protocols are
documented with; what is carried is random bytes, as compressed and enciphered data is. Letters are in lower case, as
in dns.log, and answers of types that Zeek does not read show the type's number alone.
"""

from __future__ import annotations

import base64
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

from .transactions import NOERROR, NXDOMAIN, Asked, Session, Transactions, escaped, number_of, txt

_LONGEST_NAME = 253  # characters of a name as text, RFC 1035
_LONGEST_LABEL = 63
_MAX_QUERIES = 200  # a second, of a tunnel that is busy
_PACKET = 40  # bytes at least that go up in one name, as an acknowledgement of TCP or a line typed
_BASE32 = b"abcdefghijklmnopqrstuvwxyz012345"
_BASE64 = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-0123456789+"
_BASE128 = _BASE64[:52] + _BASE64[53:63] + bytes(range(0xBC, 0xFE))
_BASE64_COMMON = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


@dataclass(frozen=True)
class Phase:
    """A time in which so many bytes a second go up (from the client) and down."""

    seconds: float
    up: float = 0
    down: float = 0


IDLE = (Phase(600),)
SHELL = (Phase(5), Phase(20, 30, 200), Phase(40), Phase(30, 40, 600), Phase(120)) * 3
DOWNLOAD = (Phase(5), Phase(60, 100, 8000), Phase(30))
UPLOAD = (Phase(5), Phase(120, 1500, 50), Phase(30))
"""What a tunnel is used for: nothing, a person at a shell, a file each way."""


@dataclass
class _Wire:
    """One tunnel's transactions so far."""

    client: str
    now: float
    dice: random.Random
    ttl: int
    rtt: float  # seconds, the median
    asked: list[Asked] = field(default_factory=list)

    def ask(self, qname: str, qtype: str, answers: str, rcode: int = NOERROR, held: float = 0) -> None:
        rtt = held + self.rtt * self.dice.lognormvariate(0, 0.4)
        self.asked.append(Asked(self.now, self.client, qname, qtype, rcode, answers, self.ttl, rtt))
        self.now += 0.001

    def text(self, alphabet: bytes, length: int) -> bytes:
        return bytes(self.dice.choices(alphabet, k=length))

    def busy(self, phase: Phase, up_room: int, down_room: int, idle: float) -> Iterator[tuple[float, float]]:
        """Yield for each query of a phase how many bytes go up and down in it; ``idle`` seconds between those of none.

        The rooms are the most bytes that a query and an answer hold.
        """
        end = self.now + phase.seconds
        rate = min(1.25 * max(phase.up / up_room, phase.down / down_room), _MAX_QUERIES)
        up_owed = down_owed = 0.0
        while self.now < end:
            busy = rate * idle > 1
            gap = self.dice.expovariate(rate) if busy else idle * self.dice.uniform(0.95, 1.05)
            up_owed += phase.up * gap
            down_owed += phase.down * gap
            up = min(up_owed, up_room) if up_owed >= min(_PACKET, up_room) else 0.0
            down = min(down_owed, down_room)
            up_owed -= up
            down_owed -= down
            yield up, down
            self.now += gap
        self.now = end


def iodine(
    client: str,
    domain: str,
    *,
    seed: int,
    start: float,
    phases: Sequence[Phase] = SHELL,
    qtype: str = "NULL",
    encoding: str = "base128",
) -> Session:
    """Return an IP tunnel of iodine: NULL, PRIVATE, TXT, SRV, MX, CNAME or A; base32, base64 or base128 upstream.

    A handshake in names of one letter each (version, login, case, codecs, sizes of fragments), then data in names
    that begin with the user's number, cut at 57 characters, and pings that begin with p: in lazy mode the server
    keeps the last query until there is something to say, at most four seconds.
    """
    alphabet = {"base32": _BASE32, "base64": _BASE64, "base128": _BASE128}[encoding]
    bits = int(math.log2(len(alphabet)))
    wire = _Wire(client, start, random.Random(f"iodine/{seed}"), 0, 0.01)
    room = _LONGEST_NAME - len(domain) - 1 - 5
    room -= room // 57 + 1
    down_room = {"NULL": 1100, "PRIVATE": 1100, "TXT": 700, "MX": 600, "SRV": 600}.get(qtype, 120)

    def ask(label: bytes, down: float, held: float = 0) -> None:
        name = b".".join(label[at : at + 57] for at in range(0, len(label), 57)).lower()
        wire.ask(f"{escaped(name)}.{domain}", qtype, _iodine_answer(wire, qtype, int(down)), held=held)

    for letter, length, size in (("v", 10, 9), ("l", 31, 40), ("i", 6, 5), ("z", 0, 90), ("y", 6, 50), ("s", 5, 7)):
        check = b"aabbccddeeffgghhiijjkkllmmnnooppqqrrssttuuvvwwxxyyzz" if letter == "z" else b""
        ask(letter.encode() + check + wire.text(_BASE32, length), size)
        wire.now += wire.dice.uniform(0.02, 0.2)
    for size in (768, 1152, 960, 1056, 1104):
        ask(b"r" + wire.text(_BASE32, 4) + wire.text(alphabet, room - 10), min(size, down_room))
        wire.now += wire.dice.uniform(0.02, 0.2)
    ask(b"n" + wire.text(_BASE32, 7), 2)
    count = 0
    for phase in phases:
        for up, down in wire.busy(phase, room * bits // 8, down_room, 4.0):
            count += 1
            cycle = b"abcdefghijklmnopqrstuvwxyz0123456789"[count % 36 : count % 36 + 1]
            if up >= 1:
                header = bytes((_BASE32[count // 16 % 8 + 8], _BASE32[count % 16], _BASE32[count // 3 % 32]))
                data = wire.text(alphabet, math.ceil(min(up + 2, room * bits / 8) * 8 / bits))
                ask(b"0" + header + cycle + data, down + 2)
            else:
                ask(
                    b"pa" + wire.text(_BASE32, 2) + b"e" + wire.text(_BASE32, 2) + cycle,
                    down + 2,
                    held=0 if down >= 1 else 3.9,
                )
    return Session("tunnel", f"iodine {qtype} {encoding}", Transactions.of(wire.asked), (domain,))


def _iodine_answer(wire: _Wire, qtype: str, down: int) -> str:
    if qtype in {"NULL", "PRIVATE"}:
        return f"<unknown type={number_of(qtype)}>"
    if qtype == "TXT":
        return txt(b"r" + bytes(wire.dice.randrange(256) for _ in range(down)))
    hosts = []
    for _ in range(max(1, math.ceil(down / 150))):
        text = b"h" + wire.text(_BASE32, min(math.ceil(down * 8 / 5), 230))
        hosts.append(b".".join(text[at : at + 57] for at in range(0, len(text), 57)).decode() + ".xy")
        down -= 150
    return ",".join(hosts[: 1 if qtype in {"CNAME", "A"} else None])


def dnscat2(
    client: str,
    domain: str,
    *,
    seed: int,
    start: float,
    phases: Sequence[Phase] = SHELL,
    qtypes: Sequence[str] = ("TXT", "CNAME", "MX"),
    poll: float = 1.0,
) -> Session:
    """Return a command channel of dnscat2: enciphered packets in hexadecimal, both ways, a poll each second.

    A packet begins with its number (random), its type and its session, five bytes; then a signature of six, a nonce
    of two, and sequence numbers of four, so that an idle poll has 34 digits.
    """
    wire = _Wire(client, start, random.Random(f"dnscat2/{seed}"), 60, 0.01)
    session = wire.dice.randbytes(2).hex()
    room = 127 - len(domain) - 1 - 4 - 17  # bytes, as the client reckons

    def ask(kind: str, up: float, down: float) -> None:
        def packet(size: float) -> str:
            text = wire.dice.randbytes(2).hex() + kind + session + wire.dice.randbytes(12 + int(size)).hex()
            return ".".join(text[at : at + 62] for at in range(0, len(text), 62))

        qtype = wire.dice.choice(qtypes)
        answer = packet(down)
        if qtype == "TXT":
            answer = txt(answer.replace(".", "").encode())
        elif qtype in {"CNAME", "MX"}:
            answer = f"{answer}.{domain}"
        else:
            raw = bytes.fromhex(answer.replace(".", ""))
            size = 4 if qtype == "A" else 16
            pieces = (raw[at : at + size].ljust(size, b"\0") for at in range(0, len(raw), size))
            answer = ",".join(str(ip_address(piece)) for piece in pieces)
        wire.ask(f"{packet(up)}.{domain}", qtype, answer)

    for kind, size in (("03", 55), ("03", 23), ("00", 20)):
        ask(kind, size, size)
        wire.now += wire.dice.uniform(0.05, 0.3)
    for phase in phases:
        for up, down in wire.busy(phase, room, room, poll):
            ask("01", min(up, room), min(down, room))
    return Session("tunnel", f"dnscat2 {'/'.join(qtypes)}", Transactions.of(wire.asked), (domain,))


def dns2tcp(
    client: str,
    domain: str,
    *,
    seed: int,
    start: float,
    phases: Sequence[Phase] = SHELL,
    qtype: str = "TXT",
) -> Session:
    """Return a TCP connection through dns2tcp: base64 both ways, TXT or KEY.

    A header of seven bytes (session, acknowledged, number, type) before the data; words with an equals sign while it
    connects; the server holds a question without news for half a second.
    """
    wire = _Wire(client, start, random.Random(f"dns2tcp/{seed}"), 3, 0.01)
    session = wire.dice.randbytes(2)
    room = (_LONGEST_NAME - len(domain) - 1 - 3) * 6 // 8 - 8
    count = 0

    def ask(up: float, down: float, word: str = "", held: float = 0) -> None:
        nonlocal count
        count += 1
        header = session + bytes((0, count % 7, count >> 8 & 255, count & 255, 4 if up >= 1 else 0))
        text = base64.b64encode(header + wire.dice.randbytes(int(up))).decode().rstrip("=").lower()
        labels = [text[at : at + _LONGEST_LABEL] for at in range(0, len(text), _LONGEST_LABEL)]
        name = ".".join([*labels, *([f"={word}"] if word else []), domain])
        if qtype == "TXT":
            reply = txt(b"A" + base64.b64encode(header + wire.dice.randbytes(int(down))).rstrip(b"=")) + " TXT 0 "
        else:
            reply = f"<unknown type={number_of(qtype)}>"
        wire.ask(name, qtype, reply, held=held)

    for word, said, heard in (("auth", 0, 16), ("auth", 40, 0), ("resource", 0, 30), ("connect", 4, 0)):
        ask(said, heard, word)
        wire.now += wire.dice.uniform(0.02, 0.2)
    for phase in phases:
        for up, down in wire.busy(phase, room, 180, 1.0):
            ask(min(up, room), min(down, 180), held=0 if up >= 1 or down >= 1 else 0.5)
    return Session("tunnel", f"dns2tcp {qtype}", Transactions.of(wire.asked), (domain,))


def leak(
    clients: Sequence[str],
    domains: Sequence[str],
    *,
    seed: int,
    start: float,
    hours: float,
    bytes_per_minute: float = 10,
    chunk: int = 10,
    encoding: str = "hex",
    numbered: bool = True,
    jitter: float = 0.3,
    qtype: str = "A",
    exists: bool = True,
) -> Session:
    """Return a slow leak upstream: ``chunk`` bytes in each name, hex, base32 or base64url, at this rate in all.

    A name holds a random number for the leak, a running number if ``numbered``, and the data. Times vary by
    ``jitter``, a share of the interval; 1 and above makes them those of a Poisson process. Domains and clients are
    taken at random, so that each of them sees a part. ``exists`` says whether the names' server gives an address, or
    says that there is no such name.
    """
    encode = {"hex": base64.b16encode, "base32": base64.b32encode, "base64url": base64.urlsafe_b64encode}[encoding]
    dice = random.Random(f"leak/{seed}")
    mark = f"{dice.randrange(36**3):x}"
    interval = 60 * chunk / bytes_per_minute
    asked = []
    now, end, number = start + dice.uniform(0, interval), start + hours * 3600, 0
    while now < end:
        text = encode(dice.randbytes(chunk)).decode().rstrip("=").lower()
        labels = [text[at : at + _LONGEST_LABEL] for at in range(0, len(text), _LONGEST_LABEL)]
        name = ".".join([*labels, *([f"{number:x}", mark] if numbered else []), dice.choice(domains)])
        if len(name) > _LONGEST_NAME:
            raise ValueError(f"{chunk} bytes make a name of {len(name)} characters")
        answer = (NOERROR, "198.18.254.1" if qtype == "A" else txt(b"ok")) if exists else (NXDOMAIN, "-")
        asked.append(Asked(now, dice.choice(clients), name, qtype, *answer, 1, dice.lognormvariate(-3, 0.5)))
        number += 1
        now += dice.expovariate(1 / interval) if jitter >= 1 else interval * dice.uniform(1 - jitter, 1 + jitter)
    return Session("tunnel", f"leak {encoding}", Transactions.of(asked), tuple(domains))


def quick(client: str, domain: str, *, seed: int, start: float, phases: Sequence[Phase] = SHELL) -> list[Session]:
    """Return one tunnel of every program, type and encoding, each below a domain of its own."""
    made = []
    for qtype in ("NULL", "PRIVATE", "TXT", "SRV", "MX", "CNAME", "A"):
        for encoding in ("base32", "base64", "base128"):
            where = f"{qtype}-{encoding}-{domain}".lower()
            made.append(iodine(client, where, seed=seed, start=start, phases=phases, qtype=qtype, encoding=encoding))
    for qtypes in (("TXT", "CNAME", "MX"), ("TXT",), ("CNAME",), ("MX",), ("A",), ("AAAA",)):
        where = f"{'-'.join(qtypes)}-cat-{domain}".lower()
        made.append(dnscat2(client, where, seed=seed, start=start, phases=phases, qtypes=qtypes))
    for qtype in ("TXT", "KEY"):
        made.append(
            dns2tcp(client, f"{qtype}-tcp-{domain}".lower(), seed=seed, start=start, phases=phases, qtype=qtype)
        )
    return made
