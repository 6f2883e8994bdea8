"""What was asked and how it ended, per server and zone, by several witnesses.

dnsperf's report on each query makes truth.json. Unbound's and BIND's own logs, and Zeek's, are read into the same
form, so that they can be held against it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NotRequired, TypedDict, TypeVar

from . import world, zeeklog

Outcome = str | None
"""The name of a response code, or None where no answer came."""
Tally = Counter[tuple[str, str, Outcome]]
"""Queries by server address, zone and outcome."""
OUTSIDE = "outside"
"""Stands for all names that are in none of the lab's zones."""


_Key = TypeVar("_Key", bound=tuple[Outcome, ...])


class Counts(TypedDict):
    """Of one zone on one server: queries = the sum of rcodes + unanswered."""

    queries: int
    rcodes: dict[str, int]
    unanswered: int


class Event(TypedDict):
    """Something done to the traffic, at seconds since the epoch."""

    time: float
    what: str
    zones: list[str]


class Truth(TypedDict):
    """The whole of truth.json; the README says what each key means."""

    zones: list[str]
    servers: dict[str, dict[str, Counts]]
    resolvers: NotRequired[dict[str, list[str]]]
    started: NotRequired[float]
    ended: NotRequired[float]
    events: NotRequired[list[Event]]


def summarize(counted: Mapping[tuple[str, str, Outcome], int]) -> Truth:
    """Put a tally into the form of truth.json."""
    servers: dict[str, dict[str, Counts]] = {}
    for (server, zone, outcome), number in sorted(
        counted.items(), key=lambda item: (item[0][0], item[0][1], item[0][2] or "")
    ):
        nothing: Counts = {"queries": 0, "rcodes": {}, "unanswered": 0}
        counts = servers.setdefault(server, {}).setdefault(zone, nothing)
        counts["queries"] += number
        if outcome is None:
            counts["unanswered"] += number
        else:
            counts["rcodes"][outcome] = counts["rcodes"].get(outcome, 0) + number
    zones = {zone for zones in servers.values() for zone in zones} - {OUTSIDE}
    return {"zones": sorted(zones), "servers": servers}


def tally(truth: Truth) -> Tally:
    """Return the tally that a truth.json was made of."""
    counted: Tally = Counter()
    for server, zones in truth["servers"].items():
        for zone, counts in zones.items():
            for rcode, number in counts["rcodes"].items():
                counted[server, zone, rcode] += number
            if counts["unanswered"]:
                counted[server, zone, None] += counts["unanswered"]
    return counted


def differences(expected: Mapping[_Key, int], found: Mapping[_Key, int]) -> list[str]:
    """Return a line for each key whose numbers differ; no line means that both say the same."""
    keys = sorted(set(expected) | set(found), key=str)
    return [
        f"{' '.join(map(str, key))}: {expected.get(key, 0)} expected, {found.get(key, 0)} found"
        for key in keys
        if expected.get(key, 0) != found.get(key, 0)
    ]


def zone_or_outside(name: str) -> str:
    """Return the zone that a name lies in, or OUTSIDE."""
    return world.zone_of(name) or OUTSIDE


_DNSPERF = re.compile(r"^> (\S+) (?:(binary input)|(\S+) \S+)")


def from_dnsperf(server: str, log: Path, raw_zone: str) -> Tally:
    """Read what ``dnsperf -v`` printed. Of raw questions it does not print the names: ``raw_zone`` is their zone."""
    counted: Tally = Counter()
    for line in log.read_text(errors="replace").splitlines():
        if found := _DNSPERF.match(line):
            outcome, raw, name = found.groups()
            zone = raw_zone if raw else zone_or_outside(name)
            counted[server, zone, None if outcome == "T" else outcome] += 1
    return counted


def from_zeek(log: Path) -> Tally:
    """Read a dns.log, in either form."""
    counted: Tally = Counter()
    for record in zeeklog.records(log):
        zone = zone_or_outside(record.get("query", ""))
        counted[record["id.resp_h"], zone, record.get("rcode_name")] += 1
    return counted


_UNBOUND = re.compile(r" (query|reply): (\S+) (\S+) \S+ IN(?: (\S+))?")


def from_unbound(log: Path, ignored: Iterable[str]) -> Tally:
    """Read Unbound's log of queries and replies; a query without a reply got none.

    Leaves out these clients. Unbound does not log the address asked, but each of its two has a family of its own.
    """
    leave_out = set(ignored)
    asked: Counter[tuple[str, str]] = Counter()
    counted: Tally = Counter()
    for line in log.read_text(errors="replace").splitlines():
        found = _UNBOUND.search(line)
        if not found or found[2] in leave_out:
            continue
        kind, client, name, rcode = found.groups()
        # In a name of 255 octets Unbound's log has "&" for the last label; all such names are in one zone.
        zone = world.ODD if name.endswith("&") else zone_or_outside(name)
        key = world.UNBOUND.clients[":" in client], zone
        if kind == "query":
            asked[key] += 1
        else:
            counted[*key, rcode] += 1
            asked[key] -= 1
    for key, number in asked.items():
        if number:
            counted[*key, None] = number
    return counted


_BIND = re.compile(r"client \S+ ([^# ]+)#\d+ .*: query: (\S+) \S+ \S+ \S+ \((\S+)\)$")


def from_bind(log: Path, ignored: Iterable[str]) -> Counter[tuple[str, str]]:
    """Read BIND's query log: queries by server address and zone, without these clients."""
    leave_out = set(ignored)
    counted: Counter[tuple[str, str]] = Counter()
    for line in log.read_text(errors="replace").splitlines():
        found = _BIND.search(line)
        if found and found[1] not in leave_out:
            counted[found[3], zone_or_outside(found[2])] += 1
    return counted
