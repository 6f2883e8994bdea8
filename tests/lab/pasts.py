"""How the data of names changes in passive DNS: by moves and other ordinary causes, and by forged answers.

Each kind gives what was seen of its names, with a past of five days before a moment.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import NamedTuple

DAY = 86_400.0
HOUR = 3600.0


class Seen(NamedTuple):
    """A record, as a sensor saw it."""

    when: float
    name: str
    rrtype: str
    rdata: str
    ttl: int = 300
    answers: int = 5


Kind = Callable[[random.Random, str, float], Iterator[Seen]]
"""Yields what was seen of a zone whose name has a word in it; from the given moment on it changes."""


def anywhere(dice: random.Random) -> str:
    """Return an address of the Internet."""
    return f"{dice.randrange(20, 99)}.{dice.randrange(256)}.{dice.randrange(256)}.{dice.randrange(1, 255)}"


def steady(
    name: str, rrtype: str, rdata: str, begin: float, end: float, *, ttl: int = 300, step: float = 6 * HOUR
) -> Iterator[Seen]:
    """Yield a record again and again."""
    when = begin
    while when < end:
        yield Seen(when, name, rrtype, rdata, ttl)
        when += step


def move(dice: random.Random, word: str, start: float) -> Iterator[Seen]:
    """Move a zone to another provider: other name servers, other addresses, the old ones end."""
    zone, ttl = f"move{word}-x.com", dice.choice([300, 3600])
    for rrtype, name, old, new in (
        ("A", f"www.{zone}", anywhere(dice), anywhere(dice)),
        ("NS", zone, f"ns1.old{word}-x.net", f"ns1.new{word}-x.net"),
    ):
        yield from steady(name, rrtype, old, start - 5 * DAY, start, ttl=ttl)
        yield from steady(name, rrtype, new, start + 60, start + 2 * HOUR, ttl=ttl, step=600)


def move_with_longer_ttl(dice: random.Random, word: str, start: float) -> Iterator[Seen]:
    """Move a zone, and from 300 s to a TTL of a day."""
    zone = f"long{word}-x.com"
    yield from steady(f"www.{zone}", "A", anywhere(dice), start - 5 * DAY, start, ttl=300)
    yield from steady(f"www.{zone}", "A", anywhere(dice), start + 60, start + 2 * HOUR, ttl=86_400, step=600)


def fail_over(dice: random.Random, word: str, start: float) -> Iterator[Seen]:
    """Fail over to another provider, and back after half an hour."""
    name, first, second = f"www.fail{word}-x.com", anywhere(dice), anywhere(dice)
    yield from steady(name, "A", first, start - 5 * DAY, start, ttl=60)
    yield from steady(name, "A", second, start + 60, start + HOUR / 2, ttl=60, step=300)
    yield from steady(name, "A", first, start + HOUR / 2, start + 2 * HOUR, ttl=60, step=600)


def content_delivery(dice: random.Random, word: str, start: float) -> Iterator[Seen]:
    """Give one of 40 addresses in many networks each time."""
    pool = [anywhere(dice) for _ in range(40)]
    for when in [*(start - 5 * DAY + 4 * HOUR * n for n in range(30)), *(start + 600 * n for n in range(12))]:
        yield Seen(when, f"www.cdn{word}-x.com", "A", dice.choice(pool), 20)


def second_provider(dice: random.Random, word: str, start: float) -> Iterator[Seen]:
    """Add an address at another provider, and keep the first."""
    name, first = f"www.two{word}-x.com", anywhere(dice)
    yield from steady(name, "A", first, start - 5 * DAY, start + 2 * HOUR, ttl=300, step=HOUR)
    yield from steady(name, "A", anywhere(dice), start, start + 2 * HOUR, ttl=300, step=600)


def forged(dice: random.Random, word: str, start: float) -> Iterator[Seen]:
    """Give a forged address with a TTL of a day to the clients of one of several resolvers; the others go on."""
    name, true = f"www.forged{word}-x.com", anywhere(dice)
    yield from steady(name, "A", true, start - 5 * DAY, start + 2 * HOUR, ttl=300, step=HOUR)
    yield from steady(name, "A", anywhere(dice), start, start + 2 * HOUR, ttl=86_400, step=600)


def lapsed(dice: random.Random, word: str, start: float) -> Iterator[Seen]:
    """Take a zone over by its name server, whose domain had lapsed."""
    zone, server = f"bank{word}-x.com", f"ns1.lapsed{word}-x.net"
    yield from steady(zone, "NS", server, start - 5 * DAY, start + 2 * HOUR, ttl=3600, step=HOUR)
    yield from steady(server, "A", anywhere(dice), start - 5 * DAY, start - DAY, ttl=3600)
    yield from steady(server, "NXDOMAIN", "", start - DAY, start, ttl=0)
    yield from steady(server, "A", anywhere(dice), start, start + 2 * HOUR, ttl=3600, step=600)


def injected(dice: random.Random, word: str, start: float) -> Iterator[Seen]:
    """Inject one address for a dozen names that have nothing to do with each other, whose own answers go on."""
    address = anywhere(dice)
    for number in range(12):
        name = f"www.n{number}w{word}-x.com"
        yield from steady(name, "A", anywhere(dice), start - 5 * DAY, start + 2 * HOUR, ttl=300, step=HOUR)
        yield Seen(start + 60 * number, name, "A", address, dice.randrange(60, 200))


def new_provider(dice: random.Random, word: str, start: float) -> Iterator[Seen]:
    """Move a dozen domains of one host to one new address, as when a provider moves."""
    old, new = anywhere(dice), anywhere(dice)
    for number in range(12):
        name = f"www.n{number}m{word}-x.com"
        yield from steady(name, "A", old, start - 5 * DAY, start, ttl=300)
        yield from steady(name, "A", new, start + 60, start + 2 * HOUR, ttl=300, step=600)


def seized(dice: random.Random, word: str, start: float) -> Iterator[Seen]:
    """Move a dozen domains from all over to one address, as when they are seized."""
    new = anywhere(dice)
    for number in range(12):
        name = f"www.n{number}s{word}-x.com"
        yield from steady(name, "A", anywhere(dice), start - 5 * DAY, start, ttl=300)
        yield from steady(name, "A", new, start + 60, start + 2 * HOUR, ttl=300, step=600)


KINDS: dict[str, Kind] = {
    "forged address at one of several resolvers": forged,
    "name server whose domain had lapsed": lapsed,
    "address injected for 12 names": injected,
    "move of a zone": move,
    "move with a longer TTL": move_with_longer_ttl,
    "fail-over and back": fail_over,
    "content delivery": content_delivery,
    "second provider": second_provider,
    "12 domains of one host move to one address": new_provider,
    "12 domains from all over are seized": seized,
}
