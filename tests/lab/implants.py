"""Implants that take commands through ordinary look-ups, carry a key out in short names, or only report that they live.

Made after published descriptions of such families (of researchers and vendors), not after captures of them: Saitama,
BONDUPDATER and its likes for A, ISMDoor for AAAA, SUNBURST for CNAME behind A, Cobalt Strike and Pupy for idle
beacons. What they have in common: each name is asked once, since a cache would answer the second time; below domains
that nobody else asks for; and the answers are no hosts, but data in the form of addresses, targets or TTLs.
"""

from __future__ import annotations

import ipaddress
import random
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from .transactions import NOERROR, NXDOMAIN, Asked, Session, Transactions

_HEX = "0123456789abcdef"
_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
_BASE36 = string.ascii_lowercase + string.digits
_COMMANDS = "whoami ipconfig /all; net user /domain; dir c:\\users; tasklist /v; nltest /dclist: ; type c:\\a.txt "


class Answer(NamedTuple):
    """What a server of commands gives back."""

    qtype: str
    data: str
    ttl: int = 60
    rcode: int = NOERROR


Label = Callable[[random.Random, int], str]
"""Makes the labels below the domain of the nth query."""

Reply = Callable[[random.Random, int], Answer]


def _some(dice: random.Random, letters: str, length: int) -> str:
    return "".join(dice.choices(letters, k=length))


def _encoded(letters: str, least: int, most: int) -> Label:
    """A counter and data, shuffled into letters: no two are alike."""
    return lambda dice, number: _some(dice, letters, dice.randint(least, most))


def _address(dice: random.Random) -> str:
    return str(ipaddress.IPv4Address(dice.randbytes(4)))


def _scattered(dice: random.Random, _: int) -> Answer:
    return Answer("A", _address(dice))


def _text_in_aaaa(dice: random.Random, number: int) -> Answer:
    at = 14 * number % len(_COMMANDS)
    text = (_COMMANDS * 2)[at : at + 16].encode()
    return Answer("AAAA", str(ipaddress.IPv6Address(text)))


def _cipher_in_aaaa(dice: random.Random, _: int) -> Answer:
    return Answer("AAAA", str(ipaddress.IPv6Address(dice.randbytes(16))))


def _text_behind_prefix(dice: random.Random, number: int) -> Answer:
    """The lower half alone is text; the upper is that of a network."""
    text = (_COMMANDS * 2)[8 * number % len(_COMMANDS) :][:8].encode()
    return Answer("AAAA", str(ipaddress.IPv6Address(bytes.fromhex("26065700001200ab") + text)))


def _target_of_cname(dice: random.Random, _: int) -> Answer:
    return Answer("CNAME", f"{_some(dice, _BASE32, 18)}.{_some(dice, _BASE36, 4)}-cdn.net", 300)


def _target_behind_a(dice: random.Random, _: int) -> Answer:
    return Answer("A", f"{_some(dice, _BASE32, 20)}.appsync-edge.net,198.51.100.77", 300)


def _in_ttl(dice: random.Random, _: int) -> Answer:
    return Answer("A", "198.51.100.40", dice.randrange(1, 65_536))


def _in_few_ttls(dice: random.Random, _: int) -> Answer:
    """A byte in each TTL, above a common floor."""
    return Answer("A", "198.51.100.41", 600 + dice.randrange(256))


def _idle(dice: random.Random, _: int) -> Answer:
    return Answer("A", "198.51.100.60", 1)


def _nothing(dice: random.Random, _: int) -> Answer:
    return Answer("A", "-", rcode=NXDOMAIN)


@dataclass(frozen=True)
class Family:
    """A way to ask and to be answered."""

    label: Label
    reply: Reply
    queries: int = 60
    gap: float = 40.0  # seconds between two queries, the mean
    jitter: float = 0.5  # the share of the gap by which a query is early or late
    domains: int = 1  # that it rotates among
    idle: Reply | None = field(default=None)  # what seven of ten queries get


DEVELOPMENT = {
    "A, base36": Family(_encoded(_BASE36, 6, 9), _scattered),
    "A, hexadecimal, three domains": Family(_encoded(_HEX, 12, 12), _scattered, domains=3),
    "AAAA, text": Family(_encoded(_HEX, 8, 8), _text_in_aaaa),
    "upload, hexadecimal": Family(_encoded(_HEX, 14, 14), _idle, queries=50, gap=36.0),
    "idle, hexadecimal": Family(_encoded(_HEX, 8, 8), _idle, queries=144, gap=600.0, jitter=0.1),
}
"""Those on which thresholds were chosen."""

HELD_OUT = {
    "A, letters, mostly idle": Family(_encoded(string.ascii_lowercase, 7, 12), _scattered, idle=_idle),
    "A, counter beside data, five domains": Family(
        lambda dice, number: f"{number:04x}.{_some(dice, _BASE32, 10)}", _scattered, queries=100, domains=5
    ),
    "AAAA, encrypted": Family(_encoded(_BASE32, 10, 10), _cipher_in_aaaa),
    "AAAA, text behind a prefix": Family(_encoded(_BASE36, 5, 7), _text_behind_prefix),
    "CNAME": Family(_encoded(_BASE36, 6, 6), _target_of_cname),
    "CNAME behind A": Family(_encoded(_BASE32, 12, 20), _target_behind_a),
    "TTL": Family(_encoded(_HEX, 10, 10), _in_ttl),
    "TTL, a byte": Family(_encoded(_BASE36, 8, 8), _in_few_ttls, domains=2),
    "upload, base32, no such name": Family(_encoded(_BASE32, 16, 16), _nothing, queries=50, gap=36.0),
    "idle, base32, two domains": Family(_encoded(_BASE32, 9, 12), _idle, queries=144, gap=600.0, jitter=0.3, domains=2),
    "idle, now and then a command": Family(
        _encoded(_BASE36, 8, 10), _scattered, queries=144, gap=600.0, jitter=0.3, idle=_idle
    ),
}
"""Those on which nothing was chosen; the channels of CNAME and TTL are in these alone."""


def implant(what: str, client: str, domains: Sequence[str], *, seed: int, start: float) -> Session:
    """Return the session of one family, by its name, which takes as many of the domains as it rotates among."""
    family = (DEVELOPMENT | HELD_OUT)[what]
    dice = random.Random(f"implant/{what}/{seed}")
    used = domains[: family.domains]
    now, asked = start, list[Asked]()
    for number in range(family.queries):
        reply = family.idle if family.idle and dice.random() < 0.7 else family.reply
        answer = reply(dice, number)
        name = f"{family.label(dice, number)}.{dice.choice(used)}"
        asked.append(Asked(now, client, name, answer.qtype, answer.rcode, answer.data, answer.ttl))
        now += family.gap * dice.uniform(1 - family.jitter, 1 + family.jitter)
    return Session("tunnel", what, Transactions.of(asked), tuple(used))
