"""Clients that abuse resolvers, and those that look as if they did: spam bots and mail servers, sweeps and monitors.

A client's habit is made hour by hour, so that it can go on for days before something changes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

from .transactions import NOERROR, NXDOMAIN, Asked, Session, Transactions

LISTS = (
    "zen.spamhaus.org", "bl.spamcop.net", "b.barracudacentral.org", "bl.mailspike.net", "psbl.surriel.com",
    "dnsbl.sorbs.net", "dnsbl-1.uceprotect.net", "ix.dnsbl.manitu.net",
)  # fmt: skip

Hour = Callable[[random.Random, str, Sequence[str], float, float], Iterator[Asked]]
"""What a client asks for in an hour: by dice, its address, popular domains, when the hour begins, and how much."""


def _turned(address: str) -> str:
    return ".".join(reversed(address.split(".")))


def _address(dice: random.Random) -> str:
    return ".".join(str(dice.randrange(1, 255)) for _ in range(4))


def _times(dice: random.Random, begin: float, count: float) -> Iterator[float]:
    now = begin + dice.expovariate(count / 3600)
    while now < begin + 3600:
        yield now
        now += dice.expovariate(count / 3600)


def _domain(dice: random.Random, names: Sequence[str]) -> str:
    """Return a domain that mail goes to: half of all mail goes to the largest ones."""
    return names[int(len(names) ** dice.random()) - 1] if dice.random() < 0.5 else dice.choice(names)


def _mail_servers(dice: random.Random, now: float, client: str, domain: str, dead: float) -> Iterator[Asked]:
    if dice.random() < dead:
        yield Asked(now, client, domain, "MX", NXDOMAIN)
        return
    yield Asked(now, client, domain, "MX", NOERROR, f"mx1.{domain},mx2.{domain}", 3600)
    yield Asked(now + 0.03, client, f"mx1.{domain}", "A", NOERROR, _address(dice), 300)


def spam(dice: random.Random, client: str, names: Sequence[str], begin: float, count: float) -> Iterator[Asked]:
    """A spam bot: mail to ``count`` addresses, of a list that is old, and every hour a look whether it is listed."""
    for now in _times(dice, begin, count):
        yield from _mail_servers(dice, now, client, _domain(dice, names), 0.2)
    now = begin + dice.uniform(0, 600)
    for zone in LISTS[: dice.randint(4, len(LISTS))]:
        yield Asked(now, client, f"{_turned(client)}.{zone}", "A", NXDOMAIN)
        now += 0.1


def quiet_spam(dice: random.Random, client: str, names: Sequence[str], begin: float, count: float) -> Iterator[Asked]:
    """A spam bot that never looks itself up."""
    for now in _times(dice, begin, count):
        yield from _mail_servers(dice, now, client, _domain(dice, names), 0.2)


def outgoing(dice: random.Random, client: str, names: Sequence[str], begin: float, count: float) -> Iterator[Asked]:
    """A server that sends mail, such as a newsletter's: more by day, and much more now and then."""
    hour = begin / 3600 % 24
    busy = count * (1.5 if 7 <= hour < 18 else 0.3) * (3 if dice.random() < 0.04 else dice.uniform(0.6, 1.4))
    for now in _times(dice, begin, busy):
        yield from _mail_servers(dice, now, client, _domain(dice, names), 0.02)


def incoming(dice: random.Random, client: str, names: Sequence[str], begin: float, count: float) -> Iterator[Asked]:
    """A server that receives mail: the senders in block lists, their names, and answers to some of them."""
    hour = begin / 3600 % 24
    for mail in _times(dice, begin, count * (1.4 if 7 <= hour < 18 else 0.5) * dice.uniform(0.6, 1.4)):
        now = mail
        # Large providers send from a few networks.
        sender = f"198.18.{dice.randrange(4)}.{dice.randrange(256)}" if dice.random() < 0.4 else _address(dice)
        for zone in LISTS[:4]:
            yield Asked(now, client, f"{_turned(sender)}.{zone}", "A", NXDOMAIN)
            now += 0.004
        yield Asked(now, client, f"{_turned(sender)}.in-addr.arpa", "PTR", NOERROR, "mail.example.net", 3600)
        if dice.random() < 0.5:
            yield from _mail_servers(dice, now + 0.01, client, _domain(dice, names), 0.02)


def sweep(dice: random.Random, client: str, names: Sequence[str], begin: float, count: float) -> Iterator[Asked]:
    """A worm: the names of all addresses of a network, one after the other, and of the next network then."""
    first = f"{dice.choice((10, 100, 172, 203))}.{dice.randrange(16, 32)}"
    third = dice.randrange(200)
    for number in range(int(count)):
        address = f"{first}.{third + number // 256}.{number % 256}"
        named = dice.random() < 0.3
        answer = (NOERROR, f"host{number}.example.net") if named else (NXDOMAIN, "-")
        yield Asked(begin + number * 3600 / count, client, f"{_turned(address)}.in-addr.arpa", "PTR", *answer)


def shuffled_sweep(
    dice: random.Random, client: str, names: Sequence[str], begin: float, count: float
) -> Iterator[Asked]:
    """A scanner that takes the addresses of a network in no order."""
    asked = list(sweep(dice, client, names, begin, count))
    questions = [one.qname for one in asked]
    dice.shuffle(questions)
    yield from (one._replace(qname=name) for one, name in zip(asked, questions, strict=True))


def ipv6_sweep(dice: random.Random, client: str, names: Sequence[str], begin: float, count: float) -> Iterator[Asked]:
    """A scanner that walks through the low addresses of a network of IPv6."""
    network = "".join(dice.choices("0123456789abcdef", k=8))
    for number in range(int(count)):
        digits = f"20010db8{network}{number:016x}"
        yield Asked(begin + number * 3600 / count, client, f"{'.'.join(reversed(digits))}.ip6.arpa", "PTR", NXDOMAIN)


def walk(dice: random.Random, client: str, names: Sequence[str], begin: float, count: float) -> Iterator[Asked]:
    """A scanner that tries the numbered names of hosts below somebody's domain."""
    domain = f"corp{dice.randrange(10_000)}-x.com"
    kind = dice.choice(("host{0:03}", "srv-{0}", "10-0-{1}-{0}", "db{1}-node{0}"))
    for number in range(int(count)):
        exists = dice.random() < 0.1
        answer = (NOERROR, _address(dice)) if exists else (NXDOMAIN, "-")
        name = kind.format(number % 256, number // 256)
        yield Asked(begin + number * 3600 / count, client, f"{name}.{domain}", "A", *answer)


def log_analyser(dice: random.Random, client: str, names: Sequence[str], begin: float, count: float) -> Iterator[Asked]:
    """The names of the addresses in the log of a web server: of everywhere, and some networks of crawlers."""
    crawlers = [f"{dice.randrange(20, 200)}.{dice.randrange(250)}.{dice.randrange(250)}" for _ in range(3)]
    for now in _times(dice, begin, count):
        address = f"{dice.choice(crawlers)}.{dice.randrange(1, 120)}" if dice.random() < 0.1 else _address(dice)
        named = dice.random() < 0.6
        answer = (NOERROR, "host.example.net") if named else (NXDOMAIN, "-")
        yield Asked(now, client, f"{_turned(address)}.in-addr.arpa", "PTR", *answer, 3600)


def monitor(dice: random.Random, client: str, names: Sequence[str], begin: float, count: float) -> Iterator[Asked]:
    """A monitoring host: the names of all addresses of its own networks every hour, and itself in block lists."""
    for number in range(int(count)):
        name = f"{_turned(f'10.9.{number // 256}.{number % 256}')}.in-addr.arpa"
        yield Asked(begin + number * 0.2, client, name, "PTR", NOERROR, f"host{number}.example.net", 300)
    for place, zone in enumerate(LISTS):
        yield Asked(begin + place, client, f"{_turned(client)}.{zone}", "A", NXDOMAIN)


def validator(dice: random.Random, client: str, names: Sequence[str], begin: float, count: float) -> Iterator[Asked]:
    """A web server that checks the addresses that visitors give: large domains, and typos."""
    for now in _times(dice, begin, count * dice.uniform(0.5, 1.5)):
        yield from _mail_servers(dice, now, client, _domain(dice, names), 0.1)


ABUSE: dict[str, Hour] = {
    "spam": spam, "spam, not listed by itself": quiet_spam, "sweep": sweep, "sweep in no order": shuffled_sweep,
    "sweep of IPv6": ipv6_sweep, "walk through numbered names": walk,
}  # fmt: skip
"""What should be found."""

TRADE: dict[str, tuple[Hour, float]] = {
    "outgoing mail": (outgoing, 60), "newsletters": (outgoing, 600), "incoming mail": (incoming, 400),
    "log analyser": (log_analyser, 800), "monitoring": (monitor, 500), "validator": (validator, 15),
}  # fmt: skip
"""What should not, with an amount an hour that it may have."""


def habit(
    what: str, hour: Hour, client: str, names: Sequence[str], *, seed: int, start: float, hours: int, count: float
) -> Session:
    """Return what a client asks for in so many hours from ``start`` on."""
    dice = random.Random(f"{what}/{client}/{seed}")
    begins = [start + 3600 * number for number in range(hours)]
    return Session("abuse", what, Transactions.of(one for at in begins for one in hour(dice, client, names, at, count)))
