"""What clients ask: ordinary names, names outside the lab's zones, and names that are awkward to handle."""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass

from . import world

_TYPES = {"A": 1, "AAAA": 28, "TXT": 16, "HTTPS": 65}
_KINDS = ("A", "AAAA", "HTTPS", "MX", "TXT", "NS", "SOA", "CAA", "ANY")
_KIND_WEIGHTS = (55, 22, 9, 3, 5, 2, 2, 1, 1)


@dataclass(frozen=True)
class Question:
    """A name in dnsperf's own notation, and a type."""

    name: str
    kind: str


@dataclass(frozen=True)
class RawQuestion:
    """A name of any bytes, as labels, and a type."""

    labels: tuple[bytes, ...]
    kind: str

    def message(self) -> bytes:
        """Return the query message, with its length before it."""
        name = b"".join(bytes([len(label)]) + label for label in self.labels) + b"\0"
        body = struct.pack("!6H", 0, 0x0100, 1, 0, 0, 0) + name + struct.pack("!2H", _TYPES[self.kind], 1)
        return struct.pack("!H", len(body)) + body


_OUTSIDE = (
    Question(".", "NS"),
    Question(".", "SOA"),
    Question("router", "A"),
    Question("wpad", "A"),
    Question("com", "NS"),
    Question("nowhere.com", "A"),
    Question("no-such-name.example", "AAAA"),
    Question("_dns.resolver.arpa", "HTTPS"),
)


def ordinary(zone: str | None, dice: random.Random) -> Question:
    """Return one ordinary question about a zone's names, or, for None, about a name outside all zones."""
    if zone is None:
        return dice.choice(_OUTSIDE)
    if zone.endswith(".arpa"):
        return Question(f"{dice.randrange(1, 255)}.{zone}", "PTR")
    (kind,) = dice.choices(_KINDS, _KIND_WEIGHTS)
    luck = dice.random()
    if luck < 0.04:
        host = f"no-{dice.randrange(1000)}."
    elif luck < 0.06:
        host, kind = dice.choice([("_sip._tcp.", "SRV"), ("_dmarc.", "TXT")])
    elif kind in {"A", "AAAA"}:
        host = dice.choice(["www.", "mail.", "api.", f"h{dice.randrange(world.HOSTS)}."])
    else:
        host = ""
    return Question(host + zone, kind)


def mixed_case(asked: Question, dice: random.Random) -> Question:
    """Return the question with each letter in either case, as clients do that guard against forged answers."""
    return Question("".join(dice.choice([one.upper(), one.lower()]) for one in asked.name), asked.kind)


def awkward() -> list[RawQuestion]:
    """Return questions, all about names in odd.example, that break what takes names for plain text."""
    zone = (b"odd", b"example")
    filler = tuple(letter * 63 for letter in (b"a", b"b", b"c"))
    room = 255 - 1 - sum(len(label) + 1 for label in filler + zone) - 1
    names: list[tuple[bytes, ...]] = [
        (b"UPPER", b"MiXeD"),
        (b"_under", b"_score"),
        (b"a space",),
        (b" ",),
        (b'"quoted"',),
        (b"it's",),
        (b"back\\slash",),
        (b"\\x41",),
        (b"com,ma",),
        (b"tab\there",),
        (b"nul\0here",),
        (b"new\nline",),
        (b"carriage\rreturn",),
        (b"escape\x1b[31m",),
        (b"delete\x7f",),
        (b"\xff\xfe",),
        (b"caf\xe9",),
        ("bücher".encode(),),
        ("日本".encode(),),
        ("\U0001f600".encode(),),
        ("mixed-é".encode() + b"\xff",),
        (b"dot.inside",),
        (b"{}",),
        (b'{server="x"}',),
        (b"(empty)",),
        (b"-",),
        (b"#fields",),
        (b"%s%n",),
        (b"$(id)",),
        (b"<script>alert(1)</script>",),
        (b"' OR 1=1 --",),
        (b"*",),
        (b"xn--bcher-kva",),
        (b"xn--a",),
        (b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"8", b"9", b"10", b"11", b"12"),
        tuple(b"x" for _ in range(120)),
        (b"l" * 63,),
        (*filler, b"d" * room),
    ]
    kinds = list(_TYPES)
    return [RawQuestion(name + zone, kinds[index % len(kinds)]) for index, name in enumerate(names)]
