"""The features of domains, beside what plain Python makes of the same queries and tuples."""

from __future__ import annotations

import gzip
import itertools
import json
import math
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import duckdb
import pytest
import tldextract

from dnsvigil.engines.domain_features import make_domain_features
from dnsvigil.engines.duckdb import Steps, lookup, macro
from dnsvigil.features.addresses import LEVELS
from dnsvigil.records import DOMAIN_FEATURES, DOMAIN_HOUR
from dnsvigil.store.tuple_keys import key_of_data, key_of_name
from exporters.features import domain_truth as truth
from exporters.features.domain_truth import Places, Query, Tuple

SAMPLES = Path(__file__).parents[2] / "lab" / "samples"
BEGIN = datetime(2026, 3, 1, 22, 30)
EXTRACT = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None, include_psl_private_domains=True)
WORDS = ("mail", "mailbox", "shop", "example", "cloud", "loud", "content", "ten")

Row = dict[str, Any]


TRANSACTIONS = {"ts": "TIMESTAMP", "client": "VARCHAR", "qname": "VARCHAR", "rcode": "USMALLINT"}
TUPLE = dict.fromkeys(("nkey", "rrtype", "rkey"), "VARCHAR") | dict.fromkeys(Tuple._fields[3:], "BIGINT")


@cache
def domain_of(name: str) -> str:
    found = EXTRACT(name)
    # Without a rule, the last label is the suffix.
    return found.top_domain_under_public_suffix or (name if found.suffix else ".".join(name.split(".")[-2:]))


def found_in(
    asked: Sequence[Query], tuples: Sequence[Tuple], words: Iterable[str] = (), places: Places | None = None
) -> dict[str, Row]:
    """What the expressions make of queries, in rows of several batches, and tuples."""
    with duckdb.connect() as connection:
        fill(connection, asked, tuples)
        make_domain_features(connection, words, places and places.of_each)
        found = connection.execute("FROM domain_features")
        columns = [column[0] for column in found.description or ()]
        rows = [dict(zip(columns, row, strict=True)) for row in found.fetchall()]
    assert columns == ["domain", "first_seen", "last_seen", *DOMAIN_FEATURES]
    assert len({row["domain"] for row in rows}) == len(rows)
    return {row.pop("domain"): row for row in rows}


def fill(
    connection: duckdb.DuckDBPyConnection,
    asked: Sequence[Query],
    tuples: Sequence[Tuple],
) -> None:
    def make(table: str, types: dict[str, str], rows: Iterable[Sequence[Any]]) -> None:
        columns = list(zip(*rows, strict=True)) or [()] * len(types)
        lookup(connection, table, types, *([each(value) for value in column] for column in columns))

    def each(value: Any) -> Any:
        return str(value) if isinstance(value, datetime) else value

    make("domain_hours", DOMAIN_HOUR, [])
    keys = [(key_of_name(each.rrname), each.rrtype, key_of_data(each.rrtype, each.rdata)) for each in tuples]
    make("tuples", TUPLE, [(*key, *each[3:]) for key, each in zip(keys, tuples, strict=True)])
    macro(connection, "is_failure(code)", f"code IN ({', '.join(map(str, truth.FAILURES))})")
    batches = Steps(connection, "domain_hours")
    for number in range(3):
        batch = asked[number::3]
        names = {query.qname: domain_of(query.qname) for query in batch}
        make("transactions", TRANSACTIONS, batch)
        make("names", {"qname": "VARCHAR", "domain": "VARCHAR"}, names.items())
        batches.append("sum_domain_hours", "domain_hours")


def compare(found: dict[str, Row], expected: dict[str, Row]) -> None:
    assert found.keys() == expected.keys()
    for domain, row in expected.items():
        assert set(found[domain]) == set(row) == {"first_seen", "last_seen", *DOMAIN_FEATURES}
        for name, value in row.items():
            same = None if value is None else pytest.approx(value, rel=1e-9, abs=1e-7)
            assert found[domain][name] == same, (domain, name)


def some_queries(dice: random.Random) -> list[Query]:
    """Queries of five days for names of which some have a pattern, many clients, or many names."""
    found = []
    for domain, hosts, clients in (
        ("example.com", ["", "www.", "a.b.", "mail."], 5),
        ("shopmail77.co.uk", [f"{n}." for n in range(200)], 3),
        ("big-content.net", ["", "www."], 300),
        ("user.github.io", [""], 1),
        ("192.in-addr.arpa", ["1.2.0.", "2.2.0."], 65),
        ("x.invalid", [""], 2),
        ("localhost", [""], 2),
    ):
        for _ in range(dice.choice((30, 400))):
            ts = BEGIN + timedelta(seconds=dice.random() ** 2 * 5 * 86_400)
            client = None if dice.random() < 0.02 else f"10.0.{dice.randrange(clients)}.1"
            rcode = dice.choice((0, 0, 0, 2, 3, None, 65_535))
            found.append(Query(ts, client, dice.choice(hosts) + domain, rcode))
    for day in range(5):  # every night at three
        found += [
            Query(BEGIN.replace(hour=3) + timedelta(days=day, minutes=n), "10.0.0.1", "backup.org", 0) for n in (0, 9)
        ]
    return [*found, Query(BEGIN, "10.0.0.1", ".", 0)]


def some_tuples(dice: random.Random) -> list[Tuple]:
    def one(rrname: str, rrtype: str, rdata: str, ttl: int | None = None) -> Tuple:
        ttl = dice.choice((0, 5, 60, 99, 300, 299, 900, 2**31 - 1)) if ttl is None else ttl
        first = int(BEGIN.replace(tzinfo=UTC).timestamp()) + dice.randrange(400_000)
        return Tuple(rrname, rrtype, rdata, ttl // 2, ttl, dice.randrange(1, 9), first, first + dice.randrange(9_000))

    found = [one("www.big-content.net", "A", f"198.51.{n % 7}.{n}") for n in range(100)]
    found += [one("big-content.net", "AAAA", f"2001:db8:{n % 3 + 7:x}::{n + 1:x}") for n in range(20)]
    found += [one("big-content.net", "A", address) for address in ("192.0.2.1", "not an address", "2001:db8::9")]
    found += [one("big-content.net", "NS", f"ns{n}.example.com") for n in (1, 2)]
    found += [one("sub.big-content.net", "NS", "ns2.example.com")]
    chain = ["www.example.com", "a.cdn.example.net", "b.cdn.example.net", "www.big-content.net"]
    found += [one(*pair[:1], "CNAME", pair[1]) for pair in itertools.pairwise(chain)]
    long = [f"n{n}.long{n}.org" for n in range(7)]
    found += [one(before, "CNAME", after) for before, after in itertools.pairwise(long)]
    found += [one(long[-1], "A", "203.0.113.9"), one("loop.org", "CNAME", "loop.org")]
    found += [one(f"{n}.example.com", "A", f"203.0.113.{n}", 300) for n in range(4)]
    found += [one(f"{n}.example.com", "A", f"203.0.113.{n}", 60) for n in range(4)]
    found += [one("v6.user.github.io", "AAAA", address) for address in ADDRESSES]
    found += [
        one("mail.shopmail77.co.uk", "MX", "10 mail.example.com"),
        *(one("ranges.org", kind, "x", ttl) for kind, ttl in RANGES),
    ]
    found += [one("com", "NS", "a.example"), one(".", "NS", "root.example"), one(r"\x00'; DROP.example.com", "TXT", "")]
    return found


RANGES = (("TXT", 0), ("MX", 9), ("SPF", 99), ("SRV", 299), ("CAA", 899), ("SOA", 900))
ADDRESSES = (
    "::",
    "::1",
    "1::",
    "2001:db8::1",
    "2001:db8:0:1::",
    "2001:db8:1:2:3:4:5:6",
    "fe80::1:2:3:4",
    "::ffff:1.2.3.4",
)
PLACES = Places(
    {
        "198.51.0.0/17": (64_500, "NL"),
        "2001:db8:1::/48": (64_501, None),
        "203.0.113.0/24": (None, "BR"),
        "192.0.2.0/24": (64_500, "NL"),
    }
)


@pytest.mark.parametrize("seed", range(4))
def test_features_are_what_plain_python_makes_of_them(seed):
    dice = random.Random(seed)
    asked, tuples = some_queries(dice), some_tuples(dice)
    expected = truth.features(asked, tuples, domain_of, WORDS, PLACES)
    compare(found_in(asked, tuples, WORDS, PLACES), expected)
    assert {name for row in expected.values() for name, value in row.items() if value} == {
        "first_seen",
        "last_seen",
        *DOMAIN_FEATURES,
    }


def test_features_of_the_lab():
    asked, tuples = logged(SAMPLES / "dns.json.gz")
    compare(found_in(asked, tuples, WORDS), truth.features(asked, tuples, domain_of, WORDS))
    assert len(tuples) > 100


def logged(path: Path) -> tuple[list[Query], list[Tuple]]:
    """The queries in a log, and tuples of the answers to those for addresses."""
    asked: list[Query] = []
    seen: defaultdict[tuple[str, str, str], list[tuple[int, int]]] = defaultdict(list)
    for line in gzip.decompress(path.read_bytes()).decode().splitlines():
        record = json.loads(line)
        ts = datetime.fromtimestamp(record["ts"], UTC).replace(tzinfo=None)
        if "query" not in record:
            continue
        name = record["query"] or "."
        asked.append(Query(ts, record["id.orig_h"], name, record.get("rcode")))
        owner = name
        for rdata, ttl in zip(record.get("answers", ()), record.get("TTLs", ()), strict=True):
            kind = kind_of(rdata, record["qtype_name"])
            seen[owner, kind, rdata].append((int(ttl), truth.second(ts)))
            owner = rdata if kind == "CNAME" else owner
    return asked, [
        Tuple(*key, min(ttl for ttl, _ in of), max(ttl for ttl, _ in of), len(of), of[0][1], of[-1][1])
        for key, of in seen.items()
    ]


def kind_of(rdata: str, asked: str) -> str:
    try:
        return "A" if ip_address(rdata).version == 4 else "AAAA"
    except ValueError:
        return "CNAME" if asked in ("A", "AAAA") else asked


def dispersion_of(addresses: Iterable[str]) -> float | None:
    tuples = [Tuple("example.com", "AAAA" if ":" in each else "A", each, 60, 60, 1, 0, 0) for each in addresses]
    found: float | None = found_in([], tuples)["example.com"]["ip_dispersion"]
    return found


class TestDispersion:
    @pytest.mark.parametrize("count", [1, 2, 50, 255])
    def test_of_one_network_is_0(self, count):
        assert dispersion_of(f"192.0.2.{n}" for n in range(count)) == 0
        assert dispersion_of(f"2001:db8::{n:x}" for n in range(count)) == 0

    @pytest.mark.parametrize("count", [2, 3, 17, 200])
    def test_of_a_network_for_each_address_is_1(self, count):
        assert dispersion_of(f"{n + 1}.2.3.4" for n in range(count)) == pytest.approx(1)
        assert dispersion_of(f"{n + 0x2001:x}:db8::1" for n in range(count)) == pytest.approx(1)

    def test_is_1_where_a_level_has_fewer_networks_than_there_are_addresses(self):
        assert dispersion_of(f"{n % 256}.{n // 256}.3.4" for n in range(1024)) == pytest.approx(1)

    def test_is_between_where_the_levels_differ(self):
        levels = len(LEVELS[4])
        assert dispersion_of(f"198.51.{n}.1" for n in range(9)) == pytest.approx(1 / levels)
        assert dispersion_of(f"198.{n}.3.1" for n in range(9)) == pytest.approx(2 / levels)

    def test_weighs_families_by_their_addresses(self):
        spread, one = [f"{n + 1}.2.3.4" for n in range(6)], ["2001:db8::1", "2001:db8::2"]
        assert dispersion_of(spread + one) == pytest.approx(6 / 8)

    def test_of_what_is_no_address_is_unknown(self):
        assert dispersion_of(["nowhere", "1.2.3", "::g"]) is None


def test_nothing_found_is_not_could_not_look():
    tuples = [Tuple("example.com", "A", "192.0.2.1", 60, 60, 1, 0, 0)]
    row = found_in([], tuples)["example.com"]
    assert (row["queries"], row["clients"], row["subdomains"], row["failed_share"]) == (None, None, None, None)
    assert (row["ips"], row["asns"], row["countries"], row["longest_word_share"]) == (1, None, None, None)
    asked = [Query(BEGIN, "10.0.0.1", "example.org", 0)]
    row = found_in(asked, [])["example.org"]
    assert (row["ips"], row["name_servers"], row["sharing_domains"], row["ttl_mean"]) == (None, None, None, None)
    both = found_in(asked, tuples)
    assert (both["example.com"]["queries"], both["example.org"]["ips"]) == (0, 0)
    assert found_in([], []) == {}


def test_days_that_are_alike_have_similarity_1_and_others_0():
    def similarity(hours: list[int]) -> float:
        asked = [Query(datetime(2026, 3, 1 + day, hour), "10.0.0.1", "a.org", 0) for day, hour in enumerate(hours)]
        found: float = found_in(asked, [])["a.org"]["daily_similarity"]
        return found

    assert similarity([3, 3, 3]) == 1
    assert similarity([3, 4, 5]) == pytest.approx(0)
    assert 0 < similarity([3, 3, 4]) < 1
    assert similarity([3]) is None


def test_magnitude_of_what_all_clients_ask_for_is_10():
    asked = [Query(BEGIN, f"10.0.0.{n}", "all.org", 0) for n in range(50)] + [Query(BEGIN, "10.0.0.1", "one.org", 0)]
    found = found_in(asked, [])
    assert [found[domain]["magnitude"] for domain in ("all.org", "one.org")] == [pytest.approx(10), 0]
    assert found["one.org"]["prevalence"] == pytest.approx(1 / 50)
    assert math.isclose(found["all.org"]["clients"], 50)
