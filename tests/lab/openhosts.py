"""Hosts that answer the outside, in slots of five minutes: open ones of all kinds, and what looks like them.

    host = made(VARIANTS["abused for reflection", "ANY"], "198.51.100.7", seed=3, hours=24)
    host.slots[-1].exchanges      # what each outside client asked in the last five minutes, and what came back

The numbers are those of a host's whole life, drawn by seed: few or many clients, small or signed answers. Sensors log
rows of it, see :func:`rows`; routers export flows of it, see :func:`flow_records`. Nothing is sent.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_address
from typing import Any, Final, NamedTuple

import numpy as np

from .flows import FLOW, Flows

SLOT: Final = 300
_HEADERS: Final = 28  # bytes of IP and UDP
_PAYLOAD: Final = 1472  # bytes of a packet
_HOUR_SLOTS: Final = 12


class Exchange(NamedTuple):
    """What a client asked a host in a slot."""

    client: str
    queries: int
    query_bytes: int  # of one, DNS alone
    response_bytes: int  # of one; 0 where none came back


@dataclass
class Slot:
    """Five minutes of a host."""

    exchanges: list[Exchange] = field(default_factory=list)
    asked: dict[str, int] = field(default_factory=dict)  # queries of the host, by server
    unsolicited: dict[str, int] = field(default_factory=dict)  # responses of 1,400 bytes, by server


@dataclass(frozen=True)
class Host:
    """A host and what it did."""

    address: str
    kind: str
    variant: str
    recursive: bool  # a sensor sees that it serves recursion
    upstream: str | None  # where a sensor sees it forward to
    slots: list[Slot]


Behaviour = Callable[[random.Random, int], Iterator[Slot]]
"""Yields slots, up to a number of them."""


@dataclass(frozen=True)
class Variant:
    """A way in which hosts of a kind behave."""

    behaviour: Behaviour
    recursive: bool = True
    upstream: str | None = None


def made(kind: str, variant: str, address: str, seed: int, hours: int = 24) -> Host:
    """Return a host."""
    chosen = VARIANTS[kind, variant]
    rng = random.Random(f"{kind}/{variant}/{seed}")
    slots = list(chosen.behaviour(rng, hours * _HOUR_SLOTS))
    return Host(address, kind, variant, chosen.recursive, chosen.upstream, slots)


def anybody(rng: random.Random) -> str:
    """Return an address outside."""
    return str(IPv4Address(rng.randrange(0x0B00_0000, 0xBF00_0000)))


def _poisson(rng: random.Random, mean: float) -> int:
    if mean > 50:
        return max(round(rng.gauss(mean, math.sqrt(mean))), 0)
    limit, count, product = math.exp(-mean), 0, rng.random()
    while product > limit:
        count, product = count + 1, product * rng.random()
    return count


def _scans(rng: random.Random, per_day: float, query: int, response: int, lengths: int = 1) -> list[Exchange]:
    """Return what scanners ask in a slot, for names of so many ``lengths``; none comes twice."""
    found = []
    for _ in range(_poisson(rng, per_day / 288)):
        client = anybody(rng)
        longer = int(IPv4Address(client)) % lengths
        found.append(Exchange(client, rng.choice((1, 1, 1, 2)), query + longer, response + longer))
    return found


def _visits(rng: random.Random, clients: Sequence[str], mean: float, queries: int, response: int) -> list[Exchange]:
    """Return what known clients ask in a slot; a few come often."""
    chosen = {clients[int(len(clients) * rng.random() ** 2)] for _ in range(_poisson(rng, mean))}
    return [
        Exchange(
            client,
            1 + _poisson(rng, queries - 1),
            46 + rng.randrange(-6, 7),
            round(response * rng.uniform(0.8, 1.25)),
        )
        for client in sorted(chosen)
    ]


def _people(rng: random.Random, count: int) -> list[str]:
    return [anybody(rng) for _ in range(count)]


def _daily(number: int) -> float:
    """Return how much people do in a slot: most in the evening."""
    return 0.6 + 0.4 * math.sin(2 * math.pi * (number % 288 - 120) / 288)


def _authoritative(clients: tuple[int, int], share: float, response: tuple[int, int], refresh: int = 0) -> Behaviour:
    def slots(rng: random.Random, count: int) -> Iterator[Slot]:
        resolvers = _people(rng, rng.randrange(*clients))
        mean, size, primary = len(resolvers) * share * rng.uniform(0.5, 1.5), rng.randrange(*response), anybody(rng)
        queries, scanned = rng.randrange(1, 4), rng.uniform(20, 200)
        for number in range(count):
            found = _visits(rng, resolvers, mean * _daily(number), queries, size) + _scans(rng, scanned, 42, 42)
            yield Slot(found, {primary: refresh} if refresh and number % 3 == 0 else {})

    return slots


def _closed(own: float, response: int = 42, lengths: int = 1) -> Behaviour:
    def slots(rng: random.Random, count: int) -> Iterator[Slot]:
        servers, scanned = _people(rng, 800), rng.uniform(50, 500)
        for number in range(count):
            yield Slot(_scans(rng, scanned, 42, response, lengths), _ask(rng, servers, own * _daily(number)))

    return slots


def _ask(rng: random.Random, servers: Sequence[str], mean: float) -> dict[str, int]:
    asked: dict[str, int] = {}
    for _ in range(_poisson(rng, mean)):
        server = servers[int(len(servers) * rng.random() ** 2)]
        asked[server] = asked.get(server, 0) + 1
    return asked


def _resolver(users: tuple[int, int], share: float, servers: int, own: float = 0.0, lengths: int = 1) -> Behaviour:
    """Resolve for strangers, for ``own`` queries of the inside in a slot, and for scanners."""

    def slots(rng: random.Random, count: int) -> Iterator[Slot]:
        people, known = _people(rng, rng.randrange(*users)), _people(rng, servers)
        queries, size, scanned = rng.randrange(3, 15), rng.randrange(85, 160), rng.uniform(50, 400)
        for number in range(count):
            found = _visits(rng, people, len(people) * share * _daily(number), queries, size) if people else []
            found += _scans(rng, scanned, 42, rng.choice((58, 58, 74, 120)), lengths)
            missed = sum(each.queries for each in found) * 0.3
            yield Slot(found, _ask(rng, known, missed + own * _daily(number)))

    return slots


def _forwarder(household: float, seen: bool) -> Behaviour:
    """Pass scanners' queries on, and those of a household; the border may not see to whom."""

    def slots(rng: random.Random, count: int) -> Iterator[Slot]:
        servers, scanned = _people(rng, rng.randrange(1, 3)), rng.uniform(10, 150)
        household_mean = household * rng.uniform(0.3, 2)
        for number in range(count):
            found = _scans(rng, scanned, 42, rng.choice((58, 58, 74, 120)))
            passed = sum(each.queries for each in found) + household_mean * _daily(number)
            yield Slot(found, _ask(rng, servers, passed) if seen else {})

    return slots


def _abused(before: Behaviour, victims: tuple[int, int], rate: tuple[int, int], response: tuple[int, int]) -> Behaviour:
    """Do as ``before``, and in the last hour or two answer ``rate`` queries a second in the name of victims."""

    def slots(rng: random.Random, count: int) -> Iterator[Slot]:
        hit, size = _people(rng, rng.randrange(*victims)), rng.randrange(*response)
        begin, each = count - rng.randrange(6, 25), rng.randrange(*rate) * SLOT // len(hit)
        for number, slot in enumerate(before(rng, count)):
            if number >= begin:
                slot.exchanges += [
                    Exchange(victim, max(round(each * rng.uniform(0.7, 1.3)), 1), 40, size) for victim in hit
                ]
            yield slot

    return slots


def _victim(rng: random.Random, count: int) -> Iterator[Slot]:
    reflectors, begin = _people(rng, rng.randrange(300, 3000)), count - rng.randrange(3, 12)
    rate, servers = rng.randrange(5, 60), _people(rng, 3)
    for number in range(count):
        hit = {server: _poisson(rng, rate) for server in reflectors} if number >= begin else {}
        yield Slot([], _ask(rng, servers, 10 * _daily(number)), hit)


_UPSTREAM: Final = "203.0.113.8"
_IDLE_AUTHORITY: Final = _authoritative((50, 400), 0.1, (90, 200))
_IDLE_RESOLVER: Final = _resolver((0, 1), 0, 300, 40)
_IDLE_FORWARDER: Final = _forwarder(60, True)

VARIANTS: Final[dict[tuple[str, str], Variant]] = {
    ("authoritative server", "zones of a company"): Variant(_IDLE_AUTHORITY, False),
    ("authoritative server", "popular zones"): Variant(_authoritative((3000, 9000), 0.06, (110, 300)), False),
    ("authoritative server", "signed zones"): Variant(_authoritative((300, 3000), 0.08, (350, 1200)), False),
    ("authoritative server", "secondary"): Variant(_authoritative((100, 1500), 0.08, (90, 300), refresh=4), False),
    ("authoritative server", "reverse zones"): Variant(_authoritative((1000, 6000), 0.05, (95, 140)), False),
    ("authoritative server", "signed zones of many"): Variant(_authoritative((4000, 9000), 0.05, (700, 1400)), False),
    ("authoritative server", "zones that few ask for"): Variant(_authoritative((3, 30), 0.1, (90, 250)), False),
    ("closed resolver", "refuses, with clients inside"): Variant(_closed(300), False),
    ("closed resolver", "refuses, idle"): Variant(_closed(0), False),
    ("closed resolver", "refuses, with few clients"): Variant(_closed(20), False),
    ("closed resolver", "answers with the servers of the root"): Variant(_closed(20, 450, 20), False),
    ("victim of reflection", "answers from everywhere"): Variant(_victim, False),
    ("public resolver", "of the operator"): Variant(_resolver((800, 4000), 0.2, 3000)),
    ("public resolver", "of a club"): Variant(_resolver((60, 250), 0.3, 1500)),
    ("customer forwarder", "home router"): Variant(_IDLE_FORWARDER, upstream=_UPSTREAM),
    ("customer forwarder", "router of an office"): Variant(_forwarder(500, True), upstream=_UPSTREAM),
    ("customer forwarder", "upstream out of sight"): Variant(_forwarder(60, False)),
    ("open resolver", "scanned alone"): Variant(_IDLE_RESOLVER),
    ("open resolver", "used by strangers"): Variant(_resolver((5, 60), 0.3, 600, 20)),
    ("open resolver", "scanned for names of all lengths"): Variant(_resolver((0, 1), 0, 300, 40, 20)),
    ("open resolver", "of a busy office"): Variant(_resolver((0, 3), 0.5, 1500, 400)),
    ("abused for reflection", "ANY"): Variant(_abused(_IDLE_RESOLVER, (1, 5), (20, 1500), (1500, 4000))),
    ("abused for reflection", "TXT"): Variant(_abused(_IDLE_RESOLVER, (1, 20), (20, 800), (500, 1400))),
    ("abused for reflection", "a home router"): Variant(
        _abused(_IDLE_FORWARDER, (1, 5), (5, 100), (500, 3000)), upstream=_UPSTREAM
    ),
    ("abused for reflection", "DNSKEY at a whole network"): Variant(
        _abused(_IDLE_RESOLVER, (150, 255), (50, 800), (1100, 1700))
    ),
    ("abused for reflection", "an authoritative server"): Variant(
        _abused(_IDLE_AUTHORITY, (1, 8), (20, 800), (900, 3000)), False
    ),
}
"""The variants of each kind."""


COLUMNS: Final = (
    ("ts", "time"),
    ("node", "string"),
    ("host", "addr"),
    ("kind", "string"),
    ("answered_from", "addr"),
    *(
        (name, "count")
        for name in ("askers", "returning_askers", "queries", "responses", "query_bytes", "response_bytes")
    ),
    ("sample_names", "vector[string]"),
    ("time_first", "time"),
    ("time_last", "time"),
)
"""Names and types of the columns of dnsvigil_open_resolver.log."""


def rows(host: Host, start: int) -> Iterator[dict[str, str]]:
    """Yield the rows that a sensor writes about an open host, as texts of dnsvigil_open_resolver.log.

    Nothing for a host that is not open, as a sensor sees that.
    """
    before: set[str] = set()
    for number, slot in enumerate(host.slots if host.recursive else ()):
        if not slot.exchanges:
            continue
        clients = {each.client for each in slot.exchanges}
        begin = start + number * SLOT
        yield {
            "ts": f"{begin + SLOT - 1}.000000",
            "node": "standalone",
            "host": host.address,
            "kind": "forwarder" if host.upstream else "recursive",
            "answered_from": host.upstream or "-",
            "askers": str(len(clients)),
            "returning_askers": str(len(clients & before)),
            "queries": str(sum(each.queries for each in slot.exchanges)),
            "responses": str(sum(each.queries for each in slot.exchanges)),
            "query_bytes": str(sum(each.queries * each.query_bytes for each in slot.exchanges)),
            "response_bytes": str(sum(each.queries * each.response_bytes for each in slot.exchanges)),
            "sample_names": "www.example.com",
            "time_first": f"{begin + 1}.000000",
            "time_last": f"{begin + SLOT - 2}.000000",
        }
        before = clients


def flow_records(hosts: Sequence[Host], number: int, start: int) -> Flows:
    """Return what a router exports of a slot of hosts."""
    found: list[tuple[Any, ...]] = []
    when = 1000 * (start + number * SLOT + 60)

    def add(source: tuple[str, int], target: tuple[str, int], packets: int, size: int) -> None:
        numbers = (int(ip_address(address)) for address, _ in (source, target))
        halves = [(number >> 64, number & (2**64 - 1)) for number in numbers]
        found.append((when, when + 1000, packets, size, source[1], target[1], 17, 0, *halves))

    for host in hosts:
        slot, server = host.slots[number], (host.address, 53)
        for each in slot.exchanges:
            client, parts = (each.client, 40_000), math.ceil(each.response_bytes / _PAYLOAD)
            add(client, server, each.queries, each.queries * (each.query_bytes + _HEADERS))
            if parts:
                size = each.queries * (each.response_bytes + parts * _HEADERS)
                add(server, client, each.queries * parts, size)
        for other, queries in slot.asked.items():
            add((host.address, 41_000), (other, 53), queries, 70 * queries)
            add((other, 53), (host.address, 41_000), queries, 170 * queries)
        for other, responses in slot.unsolicited.items():
            if responses:
                add((other, 53), (host.address, 42_000), responses, 1428 * responses)
    return np.array(found, FLOW)
