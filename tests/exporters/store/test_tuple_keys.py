"""The keys of passive DNS: made alike in SQL and here, turned back, and in the order that look-ups need."""

import ipaddress
import random

import duckdb
import pytest

from dnsvigil.engines.duckdb import queries
from dnsvigil.store.tuple_keys import (
    END,
    bailiwick_of,
    data_of_key,
    key_of_address,
    key_of_data,
    key_of_name,
    name_of_key,
    network_range,
    prefix_range,
)

DATA = [
    ("A", "192.0.2.1"),
    ("A", "0.0.0.0"),
    ("A", "255.255.255.255"),
    ("A", "256.0.2.1"),
    ("A", "192.0.2.01"),
    ("A", "192.0.2"),
    ("A", "no address"),
    ("A", ""),
    *(
        ("AAAA", text)
        for text in ("::", "::1", "1::", "2001:db8::1", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::", "fe80::a:0")
    ),
    *(
        ("AAAA", text)
        for text in ("1::2::3", ":::", "1:2:3", "12345::", "1:2:3:4:5:6:7:8:9", "::ffff:192.0.2.1", "x::")
    ),
    ("CNAME", "www.example.com"),
    ("NS", "."),
    ("PTR", ""),
    ("MX", "10 mail.example.com"),
    ("MX", "mail.example.com"),
    ("SRV", "0 5 5060 sip.example.com"),
    ("TXT", '"a b. c"'),
    ("SOA", "ns.example.com root.example.com 1 2 3 4 5"),
    ("TYPE65280", "\\x00'; DROP TABLE x"),
]
NAMES = [
    "www.example.com",
    "com",
    ".",
    "",
    "a..b",
    "\\x00\\xff.example",
    "'; DROP TABLE x.example",
    "xn--bcher-kva.example",
]


def of_sql(rows: list[tuple[str, str, str, str | None]]) -> list[tuple[str, str, int | None]]:
    """Return what the engine makes of names, types, data and bailiwicks."""
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE sensor_bits (sensor VARCHAR, bit UBIGINT)")
        connection.execute("CREATE TABLE given (rrname VARCHAR, rrtype VARCHAR, rdata VARCHAR, bailiwick VARCHAR)")
        connection.executemany("INSERT INTO given VALUES (?, ?, ?, ?)", rows)
        time = "TIMESTAMP '2026-01-01'"
        connection.execute(
            f"CREATE VIEW dnsvigil_pdns_records AS SELECT {time} AS ts, 's' AS sensor, '' AS node, *,"
            f" ['answer'] AS section, 1 AS ttl_min, 1 AS ttl_max,"
            f" 1::BIGINT AS count, {time} AS time_first, {time} AS time_last FROM given"
        )
        return connection.execute(f"SELECT nkey, rkey, bailiwick FROM ({queries('passive_dns')['logged']})").fetchall()


@pytest.mark.parametrize(("rrtype", "rdata"), DATA)
def test_data_has_the_same_key_in_sql(rrtype: str, rdata: str) -> None:
    ((_, key, _),) = of_sql([("example", rrtype, rdata, None)])
    if rdata == "::ffff:192.0.2.1":  # the engine has no reader of this form
        assert key == f"r{rdata}"
        return
    assert key == key_of_data(rrtype, rdata)
    canonical = str(ipaddress.ip_address(rdata)) if key[0] in "ab" else rdata
    assert data_of_key(key) == canonical


@pytest.mark.parametrize("name", NAMES)
def test_names_have_the_same_key_in_sql(name: str) -> None:
    ((key, _, _),) = of_sql([(name, "A", "192.0.2.1", None)])
    assert key == key_of_name(name)
    assert name_of_key(key) == name


@pytest.mark.parametrize(
    ("name", "zone", "found"),
    [
        ("www.example.com", "example.com", "example.com"),
        ("www.example.com", "www.example.com", "www.example.com"),
        ("www.example.com", ".", "."),
        ("www.example.com", "com", "com"),
        ("www.example.com", "ample.com", None),
        ("www.example.com", "net", None),
        ("www.example.com", None, None),
        (".", ".", "."),
    ],
)
def test_bailiwicks_are_kept_where_the_name_lies_in_them(name: str, zone: str | None, found: str | None) -> None:
    ((key, _, labels),) = of_sql([(name, "A", "192.0.2.1", zone)])
    assert bailiwick_of(key, labels) == found


NETWORKS = ["192.0.2.0/25", "10.0.0.0/8", "0.0.0.0/0", "2001:db8::/33", "::/0", "192.0.2.1/32"]


@pytest.mark.parametrize("text", NETWORKS)
def test_a_network_is_one_range(text: str) -> None:
    network = ipaddress.ip_network(text)
    dice = random.Random(1)
    low, high = network_range(network)
    made = ipaddress.IPv4Address if network.version == 4 else ipaddress.IPv6Address
    for _ in range(300):
        address = made(int(network.network_address) ^ dice.getrandbits(dice.randrange(1, network.max_prefixlen + 1)))
        assert (low <= key_of_address(address) < high) == (address in network)


def test_what_is_below_a_domain_is_one_range() -> None:
    low, high = prefix_range("com.example.")
    names = ["a.example.com", "x.y.example.com", "example.com", "example.community", "b.example-x.com"]
    assert [name for name in names if low <= key_of_name(name) < high] == names[:2]
    assert max("~", *map(key_of_name, NAMES)) < END
