"""Records of firewalls and of both directions: what they add to every measure, through records and through text."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from dnsvigil.cli.main import main
from dnsvigil.config.collector import Config
from dnsvigil.ingest.flow_summaries import FlowSummarizer
from dnsvigil.ingest.flows import FlowsPart
from dnsvigil.ingest.intake import Snapshot
from dnsvigil.ingest.records import INGESTED, SKIPPED
from dnsvigil.sources.netflow import search_file
from dnsvigil.sources.netflow.follower import pending_file
from dnsvigil.sources.netflow.rows import NO_TRAFFIC
from dnsvigil.sources.netflow.tables import FlowReader, Loaded
from dnsvigil.store.flows import RESOLVERS
from dnsvigil.store.store import Store
from exporters.flowfiles import name_at
from exporters.running import metrics_text
from lab.firewalls import ALERT, CREATE, DELETE, DENIED, UPDATE, Record, write

pytestmark = pytest.mark.skipif(not shutil.which("nfdump"), reason="needs nfdump")

START = 1_795_952_400
CASE = Path(__file__).parents[2] / "cases" / "asa" / "input.asa_nopackets.nfcapd"
CLIENT, SERVER = "192.0.2.1", "198.51.100.53"
CLIENT6, SERVER6 = "2001:db8::1", "2001:db8:53::1"
QUERY = Record(CLIENT, 40_000, SERVER, 53)

KINDS = {
    "bidirectional": replace(QUERY, packets=2, bytes=120, out_packets=2, out_bytes=400),
    "bidirectional, IPv6": Record(CLIENT6, 40_000, SERVER6, 53, 17, 1, 80, 1, 300),
    "bidirectional TCP": replace(QUERY, proto=6, packets=6, bytes=400, out_packets=5, out_bytes=900),
    "unanswered": replace(QUERY, packets=3, bytes=180, out_packets=0, out_bytes=0),
    "begun by the server": Record(SERVER, 53, CLIENT, 40_000, 17, 1, 300, 1, 60),
    "only the way back": replace(QUERY, packets=0, bytes=0, out_packets=1, out_bytes=200),
    "between servers": Record("203.0.113.1", 53, SERVER, 53, 17, 1, 60, 1, 100),
    "from a known port": Record(CLIENT, 123, SERVER, 53, 17, 1, 60, 1, 100),
    "no packets": replace(QUERY, bytes=300, out_packets=0, out_bytes=900, event=DELETE),
    "no packets, unanswered": replace(QUERY, bytes=300, out_packets=0, out_bytes=0, event=DELETE),
    "packets of the initiator alone": replace(QUERY, packets=1, bytes=60, out_packets=0, out_bytes=90, event=DELETE),
    "update": replace(QUERY, bytes=70, out_packets=0, out_bytes=80, event=UPDATE),
    "create": replace(QUERY, out_packets=0, out_bytes=0, event=CREATE),
    "denied": replace(QUERY, out_packets=0, out_bytes=0, event=DENIED),
    "alert": replace(QUERY, event=ALERT),
    "denied without counters": replace(QUERY, event=DENIED),
    "translated": replace(QUERY, nat_event=1),
    "translation ended": replace(QUERY, nat_event=2),
    "no bytes": replace(QUERY, packets=4, out_packets=3, out_bytes=0),
    "one way": replace(QUERY, packets=1, bytes=60),
    "one way back": Record(SERVER, 53, CLIENT, 40_000, 17, 1, 500),
    "several flows": replace(QUERY, packets=9, bytes=900, out_packets=9, out_bytes=9000, flows=5),
    "ICMP whose code is 53": Record(CLIENT, 0, SERVER, 53, 1, 1, 56),
    "ICMP, port unreachable": Record(SERVER, 0, CLIENT, 0x0303, 1, 1, 84, 0, 0),
    "ICMPv6 of a code as DNS over TLS": Record(CLIENT6, 0, SERVER6, 853, 58, 1, 90),
    "ESP": Record(CLIENT, 53, SERVER, 443, 50, 3, 900, 3, 800),
    "web": Record(CLIENT, 50_000, SERVER, 443, 6, 10, 1000, 20, 30_000),
    "web of an ASA": Record(CLIENT, 50_000, SERVER, 443, 6, 0, 1000, 0, 30_000, event=DELETE),
}
"""A record of every kind that has counters of each way, or needs none."""

ONE_COUNTER = {
    "no packets, one counter": replace(QUERY, bytes=1200, event=DELETE),
    "one counter, from the server": Record(SERVER, 53, CLIENT, 40_000, 17, 0, 700, event=DELETE),
    "web, one counter": Record(CLIENT, 50_000, SERVER, 443, 6, 0, 5000, event=DELETE),
    "create of old": replace(QUERY, event=CREATE),
}
"""Those of an old ASA, which counts the bytes of both ways together."""


class Reading:
    """A reader, with what it left in the tables and what is made of that."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, nfdump: str = "nfdump") -> None:
        self.connection = connection
        self.reader = FlowReader(connection, nfdump)

    def load(self, path: Path, *, servers: tuple[str, ...] = (SERVER, SERVER6)) -> Loaded:
        loaded = self.reader.load(path)
        summarizer = FlowSummarizer(self.connection, ["198.51.100.0/24", "2001:db8:53::/48"])
        summarizer.count_servers(10)
        summarizer.summarize(datetime(2026, 11, 29, 11, 40), "asa", {server: server for server in servers})
        return loaded

    def rows(self, table: str) -> list[dict[str, Any]]:
        found = self.connection.execute(f"FROM {table} ORDER BY ALL")
        names = [column[0] for column in found.description or ()]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    def everything(self) -> dict[str, list[dict[str, Any]]]:
        tables = (
            "flow_services flow_pairs flow_talkers sum_dns_flows sum_flow_resolvers sum_flow_clients sum_flow_hosts"
        )
        return {table: self.rows(table) for table in tables.split()}


@pytest.fixture
def reading() -> Iterator[Reading]:
    with duckdb.connect() as connection:
        yield Reading(connection)


@pytest.fixture
def by_text(tmp_path: Path) -> Iterator[Reading]:
    """One whose nfdump writes what is not known, so that its text is read."""
    program = tmp_path / "nfdump"
    program.write_text('#!/bin/sh\ncase "$*" in *stdout*) printf unknown;; *) exec nfdump "$@";; esac\n')
    program.chmod(0o755)
    with duckdb.connect() as connection:
        yield Reading(connection, str(program))


def file_of(folder: Path, *records: Record) -> Path:
    return write(folder / name_at(START), START, records)


def test_the_file_of_an_asa(reading: Reading) -> None:
    loaded = reading.load(CASE)
    assert (loaded.flows, loaded.skipped, loaded.damage) == (40, {NO_TRAFFIC: 40}, None)
    assert {row["protocol"]: row for row in reading.rows("flow_services")} == {
        proto: {"protocol": proto, "service": "dns", "flows": 40, "packets": None, "bytes": 24_000}
        for proto in ("tcp", "udp")
    }
    for row in reading.rows("sum_flow_resolvers"):
        assert (row["query_flows"], row["query_bytes"]) == (20, 6000)
        assert (row["response_flows"], row["response_bytes"]) == (20, 18_000)
        assert (row["query_packets"], row["response_packets"], row["unanswered"]) == (None, None, 0)
    assert len(reading.rows("sum_flow_resolvers")) == 2
    sent = {row["talker"]: row for row in reading.rows("flow_talkers") if row["element"] == "srcip"}
    assert (sent[SERVER]["flows"], sent[SERVER]["packets"], sent[SERVER]["bytes"]) == (40, None, 36_000)
    (host,) = reading.rows("sum_flow_hosts")
    assert (host["host"], host["response_flows"], host["response_bytes"], host["peers"]) == (SERVER, 40, 36_000, 20)


# Of the pair of CLIENT and SERVER: query flows, packets, bytes; response flows, packets, bytes; unanswered.
EXPECTED: dict[str, tuple[int | None, ...]] = {
    "bidirectional": (1, 2, 120, 1, 2, 400, 0),
    "bidirectional TCP": (1, 6, 400, 1, 5, 900, 0),
    "unanswered": (1, 3, 180, 0, 0, 0, 3),
    "begun by the server": (1, 1, 60, 1, 1, 300, 0),
    "only the way back": (0, 0, 0, 1, 1, 200, 0),
    "between servers": (1, 1, 60, 1, 1, 100, 0),
    "from a known port": (1, 1, 60, 1, 1, 100, 0),
    "no packets": (1, None, 300, 1, None, 900, 0),
    "no packets, unanswered": (1, None, 300, 0, 0, 0, 1),
    "packets of the initiator alone": (1, 1, 60, 1, None, 90, 0),
    "update": (1, None, 70, 1, None, 80, 0),
    "no bytes": (1, 4, None, 1, 3, None, 1),
    "one way": (1, 1, 60, 0, 0, 0, 1),
    "one way back": (0, 0, 0, 1, 1, 500, 0),
    "several flows": (5, 9, 900, 5, 9, 9000, 0),
    "no packets, one counter": (1, None, None, None, None, None, None),
    "one counter, from the server": (None, None, None, 1, None, None, None),
}


@pytest.mark.parametrize("kind", [*KINDS, *ONE_COUNTER])
def test_each_kind_by_itself(kind: str, reading: Reading, by_text: Reading, tmp_path: Path) -> None:
    record = (KINDS | ONE_COUNTER)[kind]
    file = file_of(tmp_path, record)
    loaded = reading.load(file)
    ways = [(record.packets, record.bytes), (record.out_packets or 0, record.out_bytes or 0)]
    carrying = [way for way in ways if any(way)]
    assert loaded.flows == (record.flows if carrying else 0)
    assert loaded.skipped == ({} if carrying else {NO_TRAFFIC: record.flows})
    services = reading.rows("flow_services")
    assert sum(row["flows"] for row in services) == record.flows * len(carrying)
    for place, name in enumerate(("packets", "bytes")):
        known = [way[place] for way in carrying if way[place]]
        assert [row[name] for row in services] == ([sum(known) or None] if carrying else [])
    found = [(*tuple(row.values())[6:12], row["unanswered"]) for row in reading.rows("sum_dns_flows")]
    if kind in EXPECTED:
        assert found == [EXPECTED[kind]]
    elif kind != "bidirectional, IPv6":
        assert found == []
    # Text does not show what counters a record has; an ASA that counts each way does so in some record.
    others = [KINDS["web of an ASA"]] if record.event and record.out_bytes is not None else []
    file = file_of(tmp_path, record, *others)
    assert by_text.load(file) == reading.load(file)
    assert by_text.everything() == reading.everything()


def test_records_and_text_agree_on_any_mixture(reading: Reading, by_text: Reading, tmp_path: Path) -> None:
    dice = random.Random(12)
    for number in range(6):
        kinds = [*(KINDS if number % 2 else ONE_COUNTER | {"one way": KINDS["one way"]}).values()]
        records = [
            replace(
                record,
                src=record.src.replace("192.0.2.1", f"192.0.2.{dice.randrange(1, 9)}"),
                dst=record.dst.replace("192.0.2.1", f"192.0.2.{dice.randrange(1, 9)}"),
            )
            for record in dice.choices(kinds, k=2000)
        ]
        file = file_of(tmp_path, *records)
        assert by_text.load(file) == reading.load(file)
        assert by_text.everything() == reading.everything()


def test_the_sum_of_all_is_what_nfdump_says(reading: Reading, tmp_path: Path) -> None:
    file = file_of(tmp_path, *KINDS.values(), *ONE_COUNTER.values())
    loaded = reading.load(file)
    rows = list(search_file(file))
    # nfdump -I counts every event as a flow; the rest of it is right.
    assert loaded.flows + sum(loaded.skipped.values()) == sum(row["flows"] for row in rows)
    services = reading.rows("flow_services")
    assert sum(row["packets"] or 0 for row in services) == loaded.info.packets
    assert sum(row["bytes"] or 0 for row in services) == loaded.info.bytes
    for name in ("packets", "bytes"):
        assert sum(row[name] + row[f"out_{name}"] for row in rows) == getattr(loaded.info, name)


def test_what_is_unknown_is_left_out_of_a_sum_and_not_zero(reading: Reading, tmp_path: Path) -> None:
    old = [replace(ONE_COUNTER["no packets, one counter"], src=f"192.0.2.{n}") for n in range(1, 11)]
    known = [replace(KINDS["unanswered"], src=f"192.0.2.{n}") for n in range(20, 25)]
    reading.load(file_of(tmp_path, *old))
    (row,) = reading.rows("sum_flow_resolvers")
    assert (row["query_flows"], row["response_bytes"], row["unanswered"]) == (10, None, None)
    assert all(row["amplification"] is None for row in reading.rows("sum_dns_flows"))
    reading.load(file_of(tmp_path, *old, *known))
    (row,) = reading.rows("sum_flow_resolvers")
    assert (row["query_flows"], row["query_packets"], row["unanswered"]) == (15, 15, 15)


def test_a_service_is_that_of_the_whole_record(reading: Reading, tmp_path: Path) -> None:
    reading.load(file_of(tmp_path, KINDS["from a known port"], KINDS["ICMP whose code is 53"], KINDS["ESP"]))
    found = Counter({(row["protocol"], row["service"]): row["flows"] for row in reading.rows("flow_services")})
    assert found == {("udp", "dns"): 2, ("icmp", "other"): 1, ("other", "other"): 2}


def test_a_damaged_file_of_an_asa_gives_what_comes_before_the_damage(reading: Reading, tmp_path: Path) -> None:
    records = [replace(KINDS["no packets"], src=f"192.0.2.{n % 250 + 1}") for n in range(1500)]
    file = file_of(tmp_path, *records)
    content = file.read_bytes()
    second = 40 + 12 + int.from_bytes(content[44:48], "little")
    file.write_bytes(content[: second + 14] + b"\xff\xff" + content[second + 16 :])
    loaded = reading.load(file)
    assert loaded.damage and loaded.flows == 500
    (row,) = reading.rows("sum_flow_resolvers")
    assert (row["response_flows"], row["response_bytes"], row["unanswered"]) == (500, 500 * 900, 0)


def test_the_collector_accounts_for_events_and_shows_no_count_that_is_not_there(tmp_path: Path) -> None:
    with Store(tmp_path / "state") as store, closing(FlowsPart(store, Config())) as one:
        one.ingest(replace(pending_file(CASE), settled=True))
        counters = {
            row[1:3]: dict(zip(RESOLVERS.values, row[3:], strict=True)) for row in one.snapshot().counters[RESOLVERS]
        }
        text = metrics_text(Snapshot({}, [], 0, None, {}, {}), Config(), one.snapshot())
    assert counters[SERVER, "udp"]["response_bytes"] == 18_000
    assert counters[SERVER, "udp"]["unanswered"] == 0
    assert "dnsvigil_flow_resolver_unanswered_total" in text and "dnsvigil_flows_bytes_total" in text
    assert "_packets{" not in text and "_packets_total{" not in text
    with Store(tmp_path / "state") as store:
        assert INGESTED.rows(store.rows) == [("netflow", 40)]
        assert SKIPPED.rows(store.rows) == [("netflow", NO_TRAFFIC, 40)]


def test_top_talkers_count_what_each_end_sent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def top(by: str, file: Path) -> dict[str, tuple[int | None, ...]]:
        assert main(["flows", "top", "--json", "--limit", "100", "--by", by, str(file)]) == 0
        rows = json.loads(capsys.readouterr().out)
        return {row["talker"]: (row["flows"], row["packets"], row["bytes"]) for row in rows}

    found = top("srcip", CASE)
    assert found[SERVER] == (40, None, 36_000) and found["192.0.2.7"] == (2, None, 600)
    assert top("dstip", CASE)[SERVER] == (40, None, 12_000)
    assert top("srcport", CASE)["53"] == (40, None, 36_000)
    assert top("proto", CASE) == {"tcp": (40, None, 24_000), "udp": (40, None, 24_000)}
    file = file_of(tmp_path, *KINDS.values())
    with duckdb.connect() as connection:
        reading = Reading(connection)
        reading.load(file)
        for element in ("srcip", "dstip"):
            talkers = [row for row in reading.rows("flow_talkers") if row["element"] == element]
            assert top(element, file) == {
                row["talker"]: (row["flows"], row["packets"], row["bytes"]) for row in talkers
            }
