"""Summaries of flows, beside what plain Python makes of the same pairs."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from ipaddress import ip_address, ip_network
from typing import Any

import duckdb
import pytest

from dnsvigil.engines import duckdb as engine
from dnsvigil.features import flows as features
from dnsvigil.ingest.flow_summaries import FlowSummarizer
from dnsvigil.records import DNS_FLOW
from dnsvigil.store.sketches import SKETCH_SIZE, estimate_distinct

SLOT = datetime(2024, 3, 31, 11, 5)
R1, R2, ELSEWHERE = "192.0.2.53", "2001:db8::53", "203.0.113.5"
OWN = ["192.0.2.0/24", "2001:db8::/32", "198.51.100.128/25", "2001:db9::53/128"]
Pair = tuple[str, str, int, str, int, int, int, int, int, int]


def some_pairs() -> list[Pair]:
    inside = [f"198.51.100.{n}" for n in (127, 128, 255)]
    outside = [
        "198.51.101.1",
        "9.9.9.9",
        "2001:db7:ffff:ffff::1",
        "2001:db9::1",
        "2001:db9::52",
        "2001:db9::54",
        "::1",
        "2001:dbf::ffff:c000:201",
    ]
    clients = [*inside, *outside, "2001:db8:ffff::1", "2001:db9::53"]
    rows: list[Pair] = []
    for number, client in enumerate(clients, 1):
        rows += [
            (client, R1, 53, "udp", number, 2 * number, 100 * number, number, 2 * number - 1, 500 * number),
            (client, R1, 53, "tcp", 3, 20, 900, 1, 20, 9_000),
            (client, R2, 853, "tcp", 2, 10, 800, 3, 12, 4_000),
            (client, ELSEWHERE, 53, "udp", 4, 4, 240, 0, 0, 0),
        ]
    rows.append(("198.51.101.1", "198.51.100.128", 53, "udp", 0, 0, 0, 7, 7, 7_000))
    rows.append(("9.9.9.9", "2001:db9::53", 53, "udp", 1, 1, 60, 1, 1, 3_000))
    return rows


def halves(text: str) -> tuple[int, int]:
    address = ip_address(text)
    return divmod(int(address) | (0xFFFF << 32 if address.version == 4 else 0), 2**64)


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    counts = "flows BIGINT, packets BIGINT, bytes BIGINT"
    columns = ", ".join(
        f"{kind}_{name} BIGINT" for kind in ("query", "response") for name in ("flows", "packets", "bytes")
    )
    numbers = ", ".join(f"{end}_{half} UBIGINT" for end in ("client", "server") for half in ("high", "low"))
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TEMP TABLE flow_services (protocol VARCHAR, service VARCHAR, {counts})")
        connection.execute(f"CREATE TEMP TABLE flow_talkers (element VARCHAR, talker VARCHAR, {counts})")
        connection.execute(
            "CREATE TEMP TABLE flow_pairs"
            f" (client VARCHAR, server VARCHAR, server_port USMALLINT, proto VARCHAR, {columns},"
            f" uncounted BOOLEAN, unsplit BOOLEAN, {numbers})"
        )
        yield connection


def fill(connection: duckdb.DuckDBPyConnection, pairs: list[Pair]) -> None:
    rows = [(*pair, False, False, *halves(pair[0]), *halves(pair[1])) for pair in pairs]
    connection.executemany(f"INSERT INTO flow_pairs VALUES ({', '.join('?' * 16)})", rows)


def rows(connection: duckdb.DuckDBPyConnection, table: str) -> list[dict[str, Any]]:
    found = connection.execute(f"FROM {table}")
    names = [column[0] for column in found.description or ()]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def test_services_and_talkers_get_slot_and_exporter(connection):
    connection.execute("INSERT INTO flow_services VALUES ('udp', 'dns', 1, 2, 3), ('tcp', 'https', 4, 5, 6)")
    connection.execute("INSERT INTO flow_talkers VALUES ('srcip', '192.0.2.53', 7, 8, 9)")
    FlowSummarizer(connection, []).summarize(SLOT, "edge", {})
    assert rows(connection, "sum_flow_services") == [
        {"slot": SLOT, "exporter": "edge", "protocol": "udp", "service": "dns", "flows": 1, "packets": 2, "bytes": 3},
        {"slot": SLOT, "exporter": "edge", "protocol": "tcp", "service": "https", "flows": 4, "packets": 5, "bytes": 6},
    ]
    (talker,) = rows(connection, "sum_flow_talkers")
    assert list(talker.values()) == [SLOT, "edge", "srcip", "192.0.2.53", 7, 8, 9]


def test_dns_flow_records(connection):
    fill(connection, some_pairs())
    summarizer = FlowSummarizer(connection, [])
    summarizer.summarize(SLOT, "it's", {R1: R1})
    found = rows(connection, "sum_dns_flows")
    assert [(name, kind) for name, kind, *_ in connection.execute("DESCRIBE sum_dns_flows").fetchall()] == list(
        DNS_FLOW.items()
    )
    assert len(found) == len(some_pairs())
    by_key = {(row["client"], row["server"], row["proto"]): row for row in found}
    for pair in some_pairs():
        row = by_key[pair[0], pair[1], pair[3]]
        assert (row["ts"], row["exporter"], row["server_port"]) == (SLOT, "it's", pair[2])
        assert list(row.values())[6:12] == list(pair[4:])
        missing = pair[4] - pair[7] if pair[3] == "tcp" else pair[5] - pair[8]
        assert row["unanswered"] == max(missing, 0)
        assert row["amplification"] == (pair[9] / pair[6] if pair[6] else None)


def test_resolvers_that_are_not_shown_are_one(connection):
    fill(connection, some_pairs())
    summarizer = FlowSummarizer(connection, OWN)
    assert summarizer.count_servers(2) == [(R1, 2 * 91 + 13 * 20), (R2, 130)]
    assert summarizer.count_servers(10)[-1] == ("198.51.100.128", 0)
    summarizer.summarize(SLOT, "edge", {each: each for each in (R1, R2, "192.0.2.99")})
    expected: defaultdict[tuple[str, str], list[int]] = defaultdict(lambda: [0] * 7)
    asking: defaultdict[str, set[str]] = defaultdict(set)
    for pair in some_pairs():
        resolver = pair[1] if pair[1] in (R1, R2) else "other"
        missing = pair[4] - pair[7] if pair[3] == "tcp" else pair[5] - pair[8]
        row = expected[resolver, pair[3]]
        for place, value in enumerate((*pair[4:], max(missing, 0))):
            row[place] += value
        asking[resolver].add(pair[0])
    found = rows(connection, "sum_flow_resolvers")
    assert {(row["resolver"], row["proto"]): list(row.values())[4:] for row in found} == expected
    assert list(found[0])[:4] == ["slot", "exporter", "resolver", "proto"]
    assert list(found[0])[-1] == "unanswered"
    sketches = {row["resolver"]: row["sketch"] for row in rows(connection, "sum_flow_clients")}
    assert {resolver: estimate_distinct([sketch]) for resolver, sketch in sketches.items()} == {
        resolver: len(clients) for resolver, clients in asking.items()
    }
    # the next file, with none shown
    summarizer.summarize(SLOT, "core", {})
    assert {(row["exporter"], row["resolver"]) for row in rows(connection, "sum_flow_resolvers")} == {("core", "other")}


def test_sketches_keep_the_smallest_hashes(connection):
    clients = [f"10.{n // 250}.{n % 250}.1" for n in range(1_000)]
    fill(connection, [(client, R1, 53, "udp", 1, 1, 60, 1, 1, 90) for client in clients])
    connection.execute("INSERT INTO flow_pairs SELECT * REPLACE (853 AS server_port) FROM flow_pairs")
    FlowSummarizer(connection, []).summarize(SLOT, "edge", {R1: R1})
    ((resolver, sketch),) = connection.execute("SELECT resolver, sketch FROM sum_flow_clients").fetchall()
    hashes = connection.execute("SELECT DISTINCT hash(client_high, client_low) FROM flow_pairs ORDER BY 1").fetchall()
    assert resolver == R1
    assert sorted(sketch) == [number for (number,) in hashes[:SKETCH_SIZE]]


@pytest.mark.parametrize("first", ["10.0.0.0", "2001:db8::"])
def test_neighbouring_clients_are_counted_within_the_error_of_a_sketch(connection, first):
    resolvers, clients = 50, 1_000
    connection.execute(
        f"""
        INSERT INTO flow_pairs BY NAME
        SELECT 'r' || i // {clients} AS server, $high AS client_high, $low + i AS client_low
        FROM range({resolvers * clients}) AS r(i)
        """,
        dict(zip(("high", "low"), halves(first), strict=True)),
    )
    FlowSummarizer(connection, []).summarize(SLOT, "edge", {f"r{n}": f"r{n}" for n in range(resolvers)})
    sketches = connection.execute("SELECT sketch FROM sum_flow_clients").fetchall()
    errors = [estimate_distinct([sketch]) / clients - 1 for (sketch,) in sketches]
    assert len(errors) == resolvers
    assert max(map(abs, errors)) < 0.25
    assert abs(sum(errors) / resolvers) < 0.03
    assert 0.03 < (sum(error**2 for error in errors) / resolvers) ** 0.5 < 0.09


def test_own_hosts_that_answer_the_outside(connection, monkeypatch):
    fill(connection, some_pairs())
    FlowSummarizer(connection, OWN).summarize(SLOT, "edge", {})
    networks = [ip_network(text) for text in OWN]

    def own(text: str) -> bool:
        return any(ip_address(text) in network for network in networks)

    expected: defaultdict[str, list[Any]] = defaultdict(lambda: [0, 0, 0, 0, set()])
    for pair in some_pairs():
        if pair[2] == 53 and pair[8] and own(pair[1]) and not own(pair[0]):
            row = expected[pair[1]]
            for place, value in enumerate((pair[7], pair[8], pair[9], pair[6])):
                row[place] += value
            row[4].add(pair[0])
    assert len(expected) == 3
    assert {row["host"]: list(row.values())[3:] for row in rows(connection, "sum_flow_hosts")} == {
        host: [*values, len(peers)] for host, (*values, peers) in expected.items()
    }
    monkeypatch.setattr(features, "MAX_HOSTS", 2)
    monkeypatch.setattr(engine, "queries", json.loads(engine.make_queries())["queries"].get)
    FlowSummarizer(connection, OWN).summarize(SLOT, "edge", {})
    kept = sorted(expected, key=lambda host: -expected[host][2])[:2]
    assert {row["host"] for row in rows(connection, "sum_flow_hosts")} == set(kept)
    FlowSummarizer(connection, []).summarize(SLOT, "edge", {})
    assert rows(connection, "sum_flow_hosts") == []


def test_a_file_without_flows(connection):
    summarizer = FlowSummarizer(connection, OWN)
    assert summarizer.count_servers(5) == []
    summarizer.summarize(SLOT, "edge", {R1: R1})
    for name in ("flow_services", "dns_flows", "flow_resolvers", "flow_clients", "flow_hosts", "flow_talkers"):
        assert rows(connection, f"sum_{name}") == []
