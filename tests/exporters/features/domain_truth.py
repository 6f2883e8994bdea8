"""The features of domains in plain Python, from queries and tuples one by one, to hold the expressions against.

Nothing of the package is used but the formula of its sketches, where a domain has more than these hold.
"""

from __future__ import annotations

import hashlib
import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from itertools import combinations, pairwise
from typing import NamedTuple

SKETCH = 64
FAILURES: set[int | None] = {2}
LENGTHS = {4: (8, 16, 24), 6: (32, 48, 64)}


class Query(NamedTuple):
    ts: datetime
    client: str | None
    qname: str
    rcode: int | None


class Tuple(NamedTuple):
    rrname: str
    rrtype: str
    rdata: str
    ttl_min: int
    ttl_max: int
    count: int
    time_first: int
    time_last: int


@dataclass
class Places:
    """What the operator's tables know of addresses: prefix to AS number and country."""

    known: Mapping[str, tuple[int | None, str | None]] = field(default_factory=dict)

    def of(self, address: str) -> tuple[int | None, str | None]:
        inside = [each for each in self.known if ip_address(address) in ip_network(each)]
        return self.known[inside[0]] if inside else (None, None)

    def of_each(self, addresses: Sequence[str]) -> tuple[list[int | None], list[str | None]]:
        found = [self.of(address) for address in addresses]
        return [asn for asn, _ in found], [country for _, country in found]


def features(
    queries: Sequence[Query],
    tuples: Sequence[Tuple],
    domain_of: Callable[[str], str],
    words: Iterable[str] = (),
    places: Places | None = None,
) -> dict[str, dict[str, object]]:
    """Return all features of each domain."""
    asked: defaultdict[str, list[Query]] = defaultdict(list)
    owned: defaultdict[str, list[Tuple]] = defaultdict(list)
    for query in queries:
        asked[domain_of(query.qname)].append(query)
    for each in tuples:
        owned[domain_of(each.rrname)].append(each)
    by_name: defaultdict[str, list[Tuple]] = defaultdict(list)
    for each in tuples:
        by_name[each.rrname].append(each)
    addresses = {domain: chained({each.rrname for each in of}, by_name) for domain, of in owned.items()}
    known = set(words)
    at: Counter[str] = Counter(address for found in addresses.values() for address in found)
    everybody = number({query.client for query in queries if query.client is not None})
    found: dict[str, dict[str, object]] = {}
    for domain in {*asked, *owned}:
        row = found[domain] = {
            **of_queries(domain, asked.get(domain, []), everybody, bool(queries)),
            **of_tuples(owned.get(domain, []), bool(tuples)),
            **of_addresses(addresses.get(domain, set()), at, bool(tuples), places or Places()),
            **of_label(domain.split(".")[0], known),
        }
        times = [second(query.ts) for query in asked.get(domain, [])]
        times += [time for each in owned.get(domain, []) for time in (each.time_first, each.time_last)]
        row |= {"first_seen": min(times), "last_seen": max(times), "seen_seconds": max(times) - min(times)}
    return found


def of_queries(domain: str, asked: list[Query], everybody: float, some: bool) -> dict[str, object]:
    known = [query for query in asked if query.rcode != 65_535]
    clients = number({query.client for query in asked if query.client is not None})
    hours = sorted({second(query.ts) // 3600 for query in asked})
    begins = [hour for hour in hours if hour - 1 not in hours]
    steps = [after - before for before, after in pairwise(begins)]
    below = number({query.qname for query in asked if query.qname != domain})
    return {
        "queries": len(asked) if some else None,
        "queries_per_hour": len(asked) / len(hours) if asked else None,
        "subdomains": below if some else None,
        "failed_share": share(sum(query.rcode in FAILURES for query in known), len(known)),
        "nxdomain_share": share(sum(query.rcode == 3 for query in known), len(known)),
        "daily_similarity": similarity(asked),
        "activities": len(begins) or None,
        "activity_variation": variation(steps) if len(steps) > 1 else None,
        "clients": clients or None,
        "magnitude": 10 * math.log(clients) / math.log(everybody) if clients and everybody > 1 else None,
        "prevalence": clients / everybody if clients else None,
    }


def similarity(asked: list[Query]) -> float | None:
    days: defaultdict[object, Counter[int]] = defaultdict(Counter)
    for query in asked:
        days[query.ts.date()][query.ts.hour] += 1
    vectors = [[day[hour] / day.total() for hour in range(24)] for day in days.values()]
    squares = [math.dist(one, other) ** 2 for one, other in combinations(vectors, 2)]
    return 1 - math.sqrt(statistics.fmean(squares)) / math.sqrt(2) if squares else None


def of_tuples(owned: list[Tuple], some: bool) -> dict[str, object]:
    sets: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
    for each in owned:
        sets[each.rrname, each.rrtype].add(each.ttl_max)
    ttls = [max(found) for found in sets.values()]
    bounds = [0, 1, 10, 100, 300, 900, math.inf]
    names = [*(f"ttl_below_{bound}" for bound in bounds[1:-1]), "ttl_from_900"]
    ranges = {
        name: share(sum(low <= ttl < high for ttl in ttls), len(ttls))
        for name, low, high in zip(names, bounds, bounds[1:], strict=False)
    }
    return {
        "ttl_mean": statistics.fmean(ttls) if ttls else None,
        "ttl_variation": variation(ttls) if ttls else None,
        "ttls": len(set(ttls)) if some else None,
        "ttl_changes": sum(len(found) - 1 for found in sets.values()) if some else None,
        "name_servers": len({each.rdata for each in owned if each.rrtype == "NS"}) if some else None,
        **ranges,
    }


def chained(names: set[str], by_name: Mapping[str, list[Tuple]]) -> set[str]:
    """Return the addresses of these names, and of what their CNAMEs lead to."""
    step = names
    for _ in range(4):
        step = {each.rdata for name in step for each in by_name.get(name, ()) if each.rrtype == "CNAME"}
        names = names | step
    found = {(each.rdata, each.rrtype) for name in names for each in by_name.get(name, ())}
    return {text for text, kind in found if kind in ("A", "AAAA") and is_address(text, kind)}


def is_address(text: str, kind: str) -> bool:
    try:
        return isinstance(ip_address(text), IPv4Address if kind == "A" else IPv6Address)
    except ValueError:
        return False


def of_addresses(addresses: set[str], at: Counter[str], some: bool, places: Places) -> dict[str, object]:
    known = [places.of(address) for address in addresses]
    return {
        "ips": len(addresses) if some else None,
        "ip_dispersion": dispersion(addresses) if addresses else None,
        "sharing_domains": max((at[address] - 1 for address in addresses), default=0 if some else None),
        "asns": len({asn for asn, _ in known if asn is not None}) or None,
        "countries": len({country for _, country in known if country is not None}) or None,
    }


def dispersion(addresses: Iterable[str]) -> float:
    families: defaultdict[int, list[IPv4Address | IPv6Address]] = defaultdict(list)
    for address in map(ip_address, addresses):
        families[address.version].append(address)
    found = {}
    for version, members in families.items():
        indexes = []
        for length in LENGTHS[version]:
            counts = Counter(ip_network((each, length), strict=False) for each in members).values()
            shares = [count / len(members) for count in counts]
            most = math.log(min(len(members), 2**length))
            indexes.append(-sum(p * math.log(p) for p in shares) / most if len(counts) > 1 else 0.0)
        found[version] = statistics.fmean(indexes)
    total = sum(map(len, families.values()))
    return sum(index * len(families[version]) for version, index in found.items()) / total


def of_label(label: str, words: set[str]) -> dict[str, object]:
    counts = Counter(label).values()
    shares = [count / len(label) for count in counts]
    ends = range(len(label) + 1)
    inside = [end - begin for end in ends for begin in range(end - 3) if label[begin:end] in words]
    return {
        "digits_share": share(sum("0" <= character <= "9" for character in label), len(label)),
        "longest_word_share": share(max(inside, default=0), len(label)) if words else None,
        "name_entropy": abs(sum(p * math.log2(p) for p in shares)) if label else None,
    }


def number(values: set[str]) -> float:
    """Return how many there are, as the sketches of domains have it."""
    hashes = sorted(hash_of(value) for value in values)
    return float(len(hashes)) if len(hashes) < SKETCH else (SKETCH - 1) * 2**63 / hashes[SKETCH - 1]


def hash_of(text: str) -> int:
    return int.from_bytes(hashlib.md5(text.encode()).digest()[8:], "little") >> 1


def variation(values: Sequence[float]) -> float:
    mean = statistics.fmean(values)
    return statistics.pstdev(values) / mean if mean else 0.0


def share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def second(time: datetime) -> int:
    return math.floor(time.replace(tzinfo=UTC).timestamp())
