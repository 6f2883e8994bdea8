"""Stores of older layouts open, and what they hold goes on."""

from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from dnsvigil.config.collector import Archive, Config, Detectors, Servers
from dnsvigil.exporter import dns, records
from dnsvigil.ingest import former_passive_dns
from dnsvigil.ingest.flows import FlowsPart
from dnsvigil.ingest.intake import Intake
from dnsvigil.ingest.passive_dns import PassiveDnsPart
from dnsvigil.sources.zeek.header import Header
from dnsvigil.sources.zeek.lines import Chunk
from dnsvigil.sources.zeek.reader import Batch
from dnsvigil.store import novelty, passive_dns
from dnsvigil.store.archive import Archive as Files
from dnsvigil.store.findings import Finding, Findings
from dnsvigil.store.flow_files import FlowFiles
from dnsvigil.store.migrations import MIGRATIONS, VERSION
from dnsvigil.store.sensors import newest_event
from dnsvigil.store.store import FILE_NAME, Store, StoreError
from exporters.running import line
from exporters.store.layouts import LAYOUTS, make_store
from exporters.store.test_store import CURSOR
from exporters.tuples import all_tuples
from lab.zeeklog import header

NOON = 1_769_860_800  # 2026-01-31 12:00
SERVER = "192.0.2.53"

COUNTED = [
    ("records_ingested", "zeek", "", 1000),
    ("records_ingested", "netflow", "", 7),
    ("records_skipped", "zeek", "columns", 3),
    ("queries", SERVER, "A", 900),
    ("queries", SERVER, "AAAA", 100),
    ("responses", SERVER, "NOERROR", 890),
    ("responses", "other", "unanswered", 1),
    ("durations", SERVER, "0", 10),
    ("durations", SERVER, "12", 880),
    ("durations", "other", "3", 1),
    ("durations_sum", SERVER, "", 5_000_000),
    ("durations_sum", "other", "", 7),
    ("zone_queries", SERVER, "a.example", 800),
    ("zone_queries", SERVER, "unknown a.example", 200),
    ("zone_nxdomain", SERVER, "a.example", 9),
    ("zone_failure_reasons", SERVER, "servfail a.example", 5),
    ("zone_failure_reasons", SERVER, "unknown unknown a.example", 6),
    ("local_name_queries", "mdns", "", 8),
    ("poisoning_signals", "wrong_id", "", 2),
    ("capture", "tap 1", "packets", 2**63 - 1),
    ("capture", "tap 1", "dropped_pdns", 4),
    ("passive_dns_dropped", "age", "", 11),
    ("unusual_dropped", "rows", "", 12),
    ("findings_dropped", "", "closed", 13),
    ("findings_suppressed", "nfsen", "", 14),
    ("set_aside", "log", "", 15),
    ("flows", "edge 1", "udp dns", 30),
    ("flow_packets", "edge 1", "udp dns", 60),
    ("flow_resolver_query_flows", "edge 1", "tcp resolver 1", 16),
    ("flow_resolver_unanswered", "edge 1", "tcp resolver 1", 0),
    ("flow_files", "edge 1", "damaged", 17),
    ("flow_sequence_failures", "edge 1", "", 18),
    ("dns_flows_dropped", "size", "", 19),
]
"""Each counter that layout 2 had."""

TOTALS = {
    "records_ingested": [("netflow", 7), ("zeek", 1000)],
    "records_skipped": [("zeek", "columns", 3)],
    "queries": [(SERVER, "A", 900), (SERVER, "AAAA", 100)],
    "responses": [(SERVER, "NOERROR", 890), ("other", "unanswered", 1)],
    "durations": [(SERVER, "0", 10, 5_000_000), (SERVER, "12", 880, None), ("other", "3", 1, 7)],
    "zones": [(SERVER, "a.example", 800, 9), (SERVER, "unknown a.example", 200, None)],
    "zone_failures": [(SERVER, "a.example", "servfail", 5), (SERVER, "unknown a.example", "unknown", 6)],
    "local_names": [("mdns", 8)],
    "poisoning_signals": [("wrong_id", 2)],
    "capture": [("tap 1", 2**63 - 1, *[None] * 8, 4, None, None)],
    "passive_dns_dropped": [("age", 11)],
    "novel_dropped": [("rows", 12)],
    "findings_dropped": [("closed", 13)],
    "findings_suppressed": [("nfsen", 14)],
    "set_aside": [("log", 15)],
    "flows": [("edge 1", "udp", "dns", 30, 60, None)],
    "flow_resolvers": [("edge 1", "resolver 1", "tcp", 16, *[None] * 4, 0)],
    "flow_files": [("edge 1", "damaged", 17)],
    "flow_sequence_failures": [("edge 1", 18)],
    "dns_flows_dropped": [("size", 19)],
}


def counted(rows: list[tuple[str, str, str, int]]) -> str:
    return f"INSERT INTO counters VALUES {', '.join(map(str, rows))};"


def totals(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    """Return the rows of each table of counters."""
    with closing(Intake(store, Config())) as intake, closing(FlowsPart(store, Config())) as of_flows:
        found = {**intake.snapshot().counters, **of_flows.snapshot().counters}
    return {table.name: [*rows] for table, rows in found.items()}


def columns(store: Store) -> dict[str, list[tuple[str, str]]]:
    """Return the columns of each table, with their types."""
    found: dict[str, list[tuple[str, str]]] = {}
    query = "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE NOT internal ORDER BY ALL"
    for table, column, kind in store.rows(query):
        found.setdefault(table, []).append((column, kind))
    return found


def kept(folder: Path) -> list[Any]:
    """Return the declarations of all tables of a store."""
    with duckdb.connect(folder / FILE_NAME, read_only=True) as connection:
        return connection.execute("SELECT sql FROM duckdb_tables() ORDER BY ALL").fetchall()


def test_every_older_layout_has_a_test() -> None:
    assert [*MIGRATIONS] == [*map(str, LAYOUTS)]
    assert max(LAYOUTS) + 1 == int(VERSION)


def test_each_counter_goes_on(tmp_path: Path) -> None:
    make_store(tmp_path, 2, counted(COUNTED))
    for _ in range(2):  # the second time there is nothing left to do
        with Store(tmp_path) as store:
            assert totals(store).items() >= TOTALS.items()
            assert store.meta("version", "") == VERSION


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_tables_are_those_of_a_new_store(tmp_path: Path, layout: int) -> None:
    found = []
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        if name == "old":
            make_store(tmp_path / name, layout)
        with Store(tmp_path / name) as store:
            Intake(store, Config()).close()
            FlowsPart(store, Config()).close()
            found.append(columns(store))
    assert found[0] == found[1]


def test_metrics_go_on_with_the_next_batch(tmp_path: Path) -> None:
    make_store(tmp_path, 2, counted(COUNTED))
    config = Config(servers=Servers(configured=()))
    with Store(tmp_path) as store, closing(Intake(store, config)) as intake:
        chunk = Chunk(line(NOON, "www.a.example", rcode="2"), Header.parse(header(NOON)))
        intake.ingest([Batch([chunk], 1, Counter(), replace(CURSOR, offset=1), 1)])
        taken = intake.snapshot()
        samples = {
            (each.name, *each.labels.values()): each.value
            for family in (*records.families(taken), *dns.families(taken, config))
            for each in family.samples
        }
    assert samples["dnsvigil_records_ingested_total", "zeek"] == 1001
    assert samples["dnsvigil_queries_total", SERVER, "A"] == 901
    assert samples["dnsvigil_response_duration_seconds_count", SERVER] == 891
    assert samples["dnsvigil_response_duration_seconds_sum", SERVER] == pytest.approx(5.001)
    assert dns.zone_failures(taken)[SERVER, "a.example"] == {"servfail": 6}


def test_what_is_new_is_learned_anew(tmp_path: Path) -> None:
    """The hashes of older layouts are not those of this one: by them nothing would be known."""
    make_store(
        tmp_path,
        3,
        "INSERT INTO novel BY NAME SELECT 'a.example' AS domain, true AS newly_observed, 7 AS names;"
        " INSERT INTO newly_observed_domains VALUES (5, '2026-01-02 03:04:05'); INSERT INTO seen_names VALUES (0, 5)",
    )
    with Store(tmp_path) as store:
        tables = novelty.NovelTables(store, 10**9)
        assert (tables.count(), len(tables.newly_observed()["hash"]), tables.seen()) == (0, 0, {})


def test_novel_traffic_goes_on_and_clients_of_ipv6_become_prefixes(tmp_path: Path) -> None:
    hour = "TIMESTAMP '2026-01-31 12:00:00'"
    make_store(
        tmp_path,
        5,
        f"""
        INSERT INTO novel BY NAME SELECT {hour} AS hour, unnest(['2001:db8::1', '2001:db8::2', '192.0.2.1']) AS client,
            'a.example' AS domain, true AS newly_observed, 3 AS queries, 2 AS failures, 0 AS text_names;
        INSERT INTO listed BY NAME SELECT {hour} AS hour, '2001:db8:1:7::1' AS client;
        INSERT INTO findings BY NAME SELECT unnest([1, 2, 3]) AS id, 'malware' AS detector,
            unnest(['client', 'client', 'server']) AS subject_type, 0.9 AS score, 'warning' AS severity,
            unnest(['2001:db8::1', '192.0.2.1', '2001:db8::53']) AS subject, {hour} AS first_seen, {hour} AS last_seen,
            1 AS count, '{{}}' AS evidence, 'open' AS state;
        INSERT INTO dismissals VALUES ('malware', 'client', '2001:db8:1:7::1', 'warning', [], 'ours', {hour});
        """,
    )
    for prefixes, own, customer in (
        ({"2001:db8:1::/48": 56}, "2001:db8::/64", "2001:db8:1::/56"),
        ({"2001:db8:1::/48": 56}, "2001:db8::/64", "2001:db8:1::/56"),
        ({"::/0": 48}, "2001:db8::/48", "2001:db8:1::/48"),
    ):
        config = Config(detectors=Detectors(client_prefixes=prefixes))
        with Store(tmp_path) as store, closing(Intake(store, config)):
            clients = "SELECT client, sum(missing), sum(resolved) FROM novel GROUP BY client ORDER BY client"
            assert store.rows(clients) == [("192.0.2.1", 2, 1), (own, 4, 2)]
            assert store.rows("SELECT client FROM listed") == [(customer,)]
            assert store.rows("SELECT subject FROM findings ORDER BY id") == [(own,), ("192.0.2.1",), ("2001:db8::53",)]
            at, findings = datetime(2026, 1, 31, 13), Findings(store)
            with store.transaction():
                assert findings.put(Finding("malware", "client", customer, 0.9, "warning", at, at, {})) is None


def test_an_archive_goes_on_with_hashes_that_have_no_key(tmp_path: Path) -> None:
    old = f"""
        CREATE TABLE archive_files (
            root VARCHAR, tbl VARCHAR, day DATE, sensor VARCHAR, name VARCHAR, rows BIGINT, size BIGINT, removed BOOLEAN
        );
        INSERT INTO archive_files VALUES ('{tmp_path}', 'tuples', '2026-01-31', 'ns1', 'x.parquet', 1, 2, false);
        CREATE TABLE archive_domain_hours (
            domain VARCHAR, hour TIMESTAMP, queries BIGINT, known BIGINT, failed BIGINT, nxdomain BIGINT,
            first_seen TIMESTAMP, last_seen TIMESTAMP, clients BIGINT[], names BIGINT[], sensor VARCHAR
        );
        INSERT INTO archive_domain_hours (domain, hour, clients) VALUES ('a.example', '2026-01-31', [1, 2]);
    """
    make_store(tmp_path, 8, old)
    with Store(tmp_path) as store, closing(Intake(store, Config(archive=Archive(tmp_path)))):
        (file,) = Files(store, tmp_path).files()
        assert (file.name, file.site) == ("x.parquet", "")
        assert store.rows("SELECT clients, client_key FROM archive_domain_hours") == [([1, 2], "")]


def test_submitted_files_are_still_to_be_read(tmp_path: Path) -> None:
    make_store(
        tmp_path,
        2,
        "CREATE TABLE flow_handed (path VARCHAR PRIMARY KEY, exporter VARCHAR);"
        " INSERT INTO flow_handed VALUES ('/flows/nfcapd.1', 'edge');"
        " INSERT INTO meta VALUES ('judged', '2026-01-31T11:00:00')",
    )
    with Store(tmp_path) as store:
        assert FlowFiles(store).submitted() == {Path("/flows/nfcapd.1"): "edge"}
        assert store.meta("evaluated", "never") == "2026-01-31T11:00:00"


def test_a_store_in_which_nothing_was_detected_is_brought_up_to_date(tmp_path: Path) -> None:
    make_store(tmp_path, 2, "DROP TABLE unusual; DROP TABLE young_domains; DROP TABLE listed")
    with Store(tmp_path) as store:
        assert store.meta("version", "") == VERSION


def test_failures_without_a_reason_have_an_unknown_one(tmp_path: Path) -> None:
    zones = ["a.example", "unknown a.example", "b.example"]
    rows = [("zone_queries", SERVER, zone, 10) for zone in zones]
    rows += [("zone_failures", SERVER, zone, number) for number, zone in enumerate(zones) if number]
    minutes = ", ".join(f"('2026-01-31', '{SERVER}', '{zone}', 10, {n}, 1)" for n, zone in enumerate(zones))
    columns_of_1 = "minute, server, zone, queries, failures, nxdomain"
    make_store(tmp_path, 1, f"{counted(rows)} INSERT INTO minute_zones ({columns_of_1}) VALUES {minutes}")
    for _ in range(2):
        with Store(tmp_path) as store:
            found = totals(store)
            assert found["zones"] == [(SERVER, zone, 10, None) for zone in sorted(zones)]
            assert found["zone_failures"] == [
                (SERVER, "b.example", "unknown", 2),
                (SERVER, "unknown a.example", "unknown", 1),
            ]
            assert store.rows("SELECT sum(queries), sum(nxdomain) FROM minute_zones") == [(30, 3)]
            assert store.rows("SELECT reason, sum(failures) FROM minute_failures GROUP BY ALL") == [("unknown", 3)]
    with Store(tmp_path) as store, closing(Intake(store, Config())) as intake:
        chunk = Chunk(line(NOON, "www.b.example", rcode="2"), Header.parse(header(NOON)))
        intake.ingest([Batch([chunk], 1, Counter(), replace(CURSOR, offset=1), 1)])
        assert dns.zone_failures(intake.snapshot())[SERVER, "b.example"] == {"unknown": 2, "servfail": 1}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_older_store_that_is_only_read_stays_as_it_is(tmp_path: Path, layout: int) -> None:
    make_store(tmp_path, layout)
    (file,) = tmp_path.iterdir()
    before = file.read_bytes()
    with pytest.raises(StoreError, match=f"has layout {layout}; start the collector, which brings it up to date"):
        Store(tmp_path, read_only=True)
    assert file.read_bytes() == before


def test_a_migration_that_fails_leaves_the_store_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_store(tmp_path, 2, counted(COUNTED))
    broken = {**MIGRATIONS, "2": (*MIGRATIONS["2"], "SELECT error('no space')")}
    monkeypatch.setattr("dnsvigil.store.store.MIGRATIONS", broken)
    with pytest.raises(Exception, match="no space"):
        Store(tmp_path)
    monkeypatch.undo()
    with Store(tmp_path) as store:
        assert passive_dns.DROPPED.rows(store.rows) == [("age", 11)]
        assert newest_event(store) == datetime(2026, 1, 31, 12)


def test_a_table_that_cannot_be_brought_up_to_date_is_an_error_that_says_so(tmp_path: Path) -> None:
    make_store(tmp_path, 2, "DROP TABLE counters; CREATE TABLE counters (metric VARCHAR)")
    before = kept(tmp_path)
    with pytest.raises(StoreError, match=r"has layout 2, cannot be brought up to date, and stays as it was: .*Binder"):
        Store(tmp_path)
    assert kept(tmp_path) == before


def test_tuples_of_passive_dns_move_into_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = "TIMESTAMP '2026-01-30 10:00:00.5', TIMESTAMP '2026-01-31 11:00'"
    rows = [
        f"('h{number}.example', 'A', '192.0.2.1', 'fra', 'example', true, false, true, 5, 60, {number + 1}, {times})"
        for number in range(10)
    ]
    make_store(
        tmp_path,
        4,
        f"""
        INSERT INTO passive_dns_merged VALUES {", ".join(rows[:7])};
        INSERT INTO passive_dns_new VALUES {", ".join(rows[5:])};
    """,
    )
    monkeypatch.setattr(former_passive_dns, "ROWS", 4)
    monkeypatch.setattr(PassiveDnsPart, "_empty", fail_at(3, PassiveDnsPart._empty))
    with Store(tmp_path) as store, pytest.raises(RuntimeError):
        Intake(store, Config())
    with Store(tmp_path) as store, closing(Intake(store, Config())):
        found = all_tuples(store)
        assert not store.rows("SELECT 1 FROM duckdb_tables() WHERE table_name = 'passive_dns_former'")
    assert [(each["rrname"], each["count"]) for each in found] == [
        (f"h{number}.example", (number + 1) * (2 if number in (5, 6) else 1)) for number in range(10)
    ]
    first = datetime(2026, 1, 30, 10, tzinfo=UTC).timestamp()
    assert {(each["bailiwick"], each["seen_in"], each["sensors"], each["time_first"]) for each in found} == {
        ("example", 5, 1, first)
    }


def fail_at(number: int, function: Callable[..., None]) -> Callable[..., None]:
    """Return a function that fails at one call."""
    calls = iter(range(1, 1000))

    def failing(*arguments: object) -> None:
        if next(calls) == number:
            raise RuntimeError
        function(*arguments)

    return failing
