"""Flow files into the store: what they add, that each counts once, and what goes wrong with them."""

from __future__ import annotations

import bz2
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations
from pathlib import Path

import pytest

from dnsvigil.config.collector import Config, ConfiguredServer, Flows, FlowThreshold, NetflowSource, Servers, Sources
from dnsvigil.config.types import Network, ServerAddress
from dnsvigil.ingest.flow_files import Ingested
from dnsvigil.ingest.flows import FlowSnapshot, FlowsPart
from dnsvigil.ingest.records import INGESTED, SKIPPED
from dnsvigil.sources.netflow.flow_file import UnfinishedFileError, slot_of
from dnsvigil.sources.netflow.follower import pending_file
from dnsvigil.sources.netflow.process import NFDumpError
from dnsvigil.sources.netflow.stream import UnknownFormError
from dnsvigil.sources.netflow.times import TIMESTAMP, TOO_OLD
from dnsvigil.store.counters import CounterTable
from dnsvigil.store.flows import DROPPED, FILES, FLOWS, RESOLVERS, SEQUENCE_FAILURES
from dnsvigil.store.sensors import newest_event, read_sensors
from dnsvigil.store.store import Store
from exporters.flowfiles import (
    MANY,
    OTHER_RESOLVER,
    RESOLVER,
    SLOT,
    OneWay,
    asking,
    damage,
    dialogues,
    many,
    name_at,
    write_flows,
    write_past,
)

pytestmark = pytest.mark.skipif(not shutil.which("nfdump"), reason="needs nfdump")

BEGIN = int(time.time()) // SLOT * SLOT - 4 * SLOT
OLD = (BEGIN - 100,) * 2
YEAR = 365 * 86400 // SLOT * SLOT


class Ingesting:
    """A collector on a store of its own."""

    def __init__(self, folder: Path, config: Config) -> None:
        self.config = config
        self.folder = folder
        self.store = Store(folder)
        self.collector = FlowsPart(self.store, config)

    def read(self, path: Path, exporter: str | None = None, *, settled: bool = True) -> Ingested:
        return self.collector.ingest(replace(pending_file(path, exporter), settled=settled))

    def again(self) -> None:
        """End it and start anew."""
        self.close()
        self.__init__(self.folder, self.config)

    def close(self) -> None:
        self.collector.close()
        self.store.close()

    def counter(self, table: CounterTable, value: str) -> dict[tuple[str, ...], int]:
        size = len(table.labels)
        column = size + table.values.index(value)
        return {row[:size]: row[column] for row in table.rows(self.store.rows) if row[column] is not None}

    def sums(self) -> list[tuple[object, ...]]:
        """All that the store has of flows but for the files."""
        tables = {
            "slot_services": "slot, exporter, protocol, service, sum(flows), sum(packets), sum(bytes)",
            "slot_resolvers": "slot, exporter, resolver, proto, sum(query_packets), sum(unanswered)",
            "slot_clients": "slot, exporter, resolver, clients, sum(1)",
            "dns_flows": "ts, exporter, client, server, proto, sum(query_packets), sum(response_packets)",
        }
        queries = [f"SELECT {columns} FROM {table} GROUP BY ALL" for table, columns in tables.items()]
        found = [row for query in queries for row in self.store.rows(query)]
        counters = [
            (table.name, *row)
            for table in (FLOWS, RESOLVERS, SEQUENCE_FAILURES, DROPPED, INGESTED, SKIPPED)
            for row in table.rows(self.store.rows)
        ]
        return sorted(map(str, [*found, *counters]))

    def snapshot(self) -> FlowSnapshot:
        return self.collector.snapshot()


@contextmanager
def ingesting(folder: Path, config: Config | None = None) -> Iterator[Ingesting]:
    one = Ingesting(folder, config or Config())
    try:
        yield one
    finally:
        one.close()


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Ingesting]:
    with ingesting(tmp_path / "state") as one:
        yield one


def slot(number: int = 0) -> datetime:
    return datetime.fromtimestamp(BEGIN + number * SLOT, UTC).replace(tzinfo=None)


def test_what_a_file_adds(one: Ingesting, tmp_path: Path) -> None:
    flows = [
        *dialogues(10),
        *dialogues(3, OTHER_RESOLVER),
        asking("198.51.100.200", packets=2, bytes=150),
        OneWay("198.51.100.1", 50_000, RESOLVER, 853, proto=6, packets=5, bytes=500, count=2),
        OneWay("198.51.100.1", 50_000, "203.0.113.1", 443, proto=6, packets=10, bytes=9000),
    ]
    assert one.read(write_flows(tmp_path, BEGIN, flows, lost=7)) == Ingested(30)
    assert one.counter(FLOWS, "flows") == {
        ("edge", "udp", "dns"): 27,
        ("edge", "tcp", "dot"): 2,
        ("edge", "tcp", "https"): 1,
    }
    assert one.counter(FLOWS, "packets")["edge", "tcp", "dot"] == 10
    assert one.counter(FLOWS, "bytes")["edge", "udp", "dns"] == 13 * (60 + 120) + 150
    assert one.counter(RESOLVERS, "query_packets") == {
        ("edge", RESOLVER, "udp"): 12,
        ("edge", RESOLVER, "tcp"): 10,
        ("edge", OTHER_RESOLVER, "udp"): 3,
    }
    assert one.counter(RESOLVERS, "unanswered") == {
        ("edge", RESOLVER, "udp"): 2,
        ("edge", RESOLVER, "tcp"): 2,
        ("edge", OTHER_RESOLVER, "udp"): 0,
    }
    assert one.counter(FILES, "files") == {("edge", "read"): 1}
    assert one.counter(SEQUENCE_FAILURES, "failures") == {("edge",): 7}
    assert one.counter(INGESTED, "records") == {("netflow",): 30}
    snapshot = one.snapshot()
    assert {(exporter, resolver): count for exporter, resolver, count in snapshot.clients} == {
        ("edge", RESOLVER): 12,
        ("edge", OTHER_RESOLVER): 3,
    }
    assert snapshot.records == one.store.rows("SELECT count(*) FROM dns_flows")[0][0] == 15
    ((source, sensor, event, _),) = read_sensors(one.store)
    assert (source, sensor, event) == ("netflow", "edge", slot(1))
    assert newest_event(one.store) is None  # that of the logs
    top = next(row for row in snapshot.talkers if row[1] == "dstip")
    assert top[:3] == ("edge", "dstip", "203.0.113.1")


def test_servers_that_are_not_configured_are_the_others(tmp_path: Path) -> None:
    config = Config(servers=Servers(configured=[ConfiguredServer.parse(OTHER_RESOLVER)]))
    with ingesting(tmp_path / "state", config) as one:
        one.read(write_flows(tmp_path, BEGIN, [*dialogues(10), *dialogues(3, OTHER_RESOLVER)]))
        assert one.counter(RESOLVERS, "query_packets") == {
            ("edge", "other", "udp"): 10,
            ("edge", OTHER_RESOLVER, "udp"): 3,
        }
        assert one.snapshot().resolvers == {"other", OTHER_RESOLVER}


def test_a_server_with_a_name_has_the_flows_of_all_its_addresses(tmp_path: Path) -> None:
    named = Servers(configured=[ConfiguredServer("cache1", [ServerAddress(a) for a in (RESOLVER, OTHER_RESOLVER)])])
    with ingesting(tmp_path / "state", Config()) as one:
        one.read(write_flows(tmp_path, BEGIN, [*dialogues(10), *dialogues(3, OTHER_RESOLVER)]))
    for number in (1, 2):  # nothing is taken over twice
        with ingesting(tmp_path / "state", Config(servers=named)) as one:
            begin = BEGIN + 300 * number
            one.read(write_flows(tmp_path, begin, [*dialogues(10), *dialogues(3, OTHER_RESOLVER)]))
            assert one.counter(RESOLVERS, "query_packets") == {("edge", "cache1", "udp"): 13 * (number + 1)}
            assert one.snapshot().resolvers == {"other", "cache1"}
            assert one.store.rows("SELECT resolver, sum(query_packets) FROM slot_resolvers GROUP BY ALL") == [
                ("cache1", 13 * (number + 1))
            ]
            found = one.store.rows("SELECT slot, exporter, resolver FROM slot_clients")
            assert len(found) == len(set(found)) == number + 1
            assert {resolver for _, _, resolver in found} == {"cache1"}


def test_own_hosts_that_answer_the_outside(tmp_path: Path) -> None:
    config = Config(flows=Flows(networks=[Network("192.0.2.0/24")]))
    with ingesting(tmp_path / "state", config) as one:
        one.read(write_flows(tmp_path, BEGIN, [*dialogues(4), *dialogues(3, "203.0.113.53")]))
        assert one.snapshot().hosts == [("edge", RESOLVER, 4, 4, 4 * 120, 4 * 60, 4)]


# A file counts once


def test_the_same_file_under_other_names(one: Ingesting, tmp_path: Path) -> None:
    path = write_flows(tmp_path / "a", BEGIN, dialogues(100))
    assert one.read(path).flows == 200
    before = one.sums()
    copy = Path(shutil.copy(path, tmp_path / "copied-by-hand"))
    moved = path.rename(tmp_path / path.name)
    for file in (copy, moved, copy):
        assert one.read(file) == Ingested(known=True)
    assert one.sums() == before


@pytest.mark.parametrize("option", ["-J2", "-J1"])
def test_a_file_that_is_compressed_later(one: Ingesting, tmp_path: Path, option: str) -> None:
    path = write_flows(tmp_path, BEGIN, dialogues(100))
    one.read(path)
    before, size = one.sums(), path.stat().st_size
    subprocess.run(["nfdump", option, "-r", path], check=True, capture_output=True, timeout=30)
    assert path.stat().st_size < size
    assert one.read(path) == Ingested(known=True)
    assert one.sums() == before
    # And from then on without nfdump.
    one.collector._reader.reader.load = None
    assert one.read(path) == Ingested(known=True)
    assert one.read(path.rename(tmp_path / "moved")) == Ingested(known=True)


def test_a_file_that_grew_is_exchanged(one: Ingesting, tmp_path: Path) -> None:
    """As nfcapd appends to the file of a slot when it was started anew in the middle of it."""
    path = write_flows(tmp_path / "live", BEGIN, dialogues(10), lost=1)
    one.read(path)
    one.read(write_flows(tmp_path / "live", BEGIN, dialogues(25), lost=3, name=path.name))
    with ingesting(tmp_path / "other") as once:
        once.read(path)
        assert one.sums() == once.sums()
        assert one.snapshot().records == once.snapshot().records == 25
    assert one.counter(SEQUENCE_FAILURES, "failures") == {("edge",): 3}


def test_two_files_of_one_slot_add_up(one: Ingesting, tmp_path: Path) -> None:
    one.read(write_flows(tmp_path / "a", BEGIN, dialogues(10)))
    one.read(write_flows(tmp_path / "b", BEGIN, dialogues(25)))
    assert one.counter(FLOWS, "flows") == {("edge", "udp", "dns"): 70}
    assert [row[2] for row in one.snapshot().clients] == [25]
    ((queries,),) = one.store.rows("SELECT sum(query_packets)::BIGINT FROM slot_resolvers WHERE slot = ?", slot())
    assert queries == 35


def test_files_of_a_minute_add_up_in_their_slot(one: Ingesting, tmp_path: Path) -> None:
    complete = []
    for minute in range(6):
        clients = [asking(f"198.51.100.{minute * 10 + i}") for i in range(10)]
        one.read(write_flows(tmp_path, BEGIN + 60 * minute, clients))
        complete.append(one.collector._tables.files.complete_slot("edge"))
    assert complete[1:] == [slot(-1), slot(-1), slot(-1), slot(0), slot(0)]
    assert one.store.rows("SELECT slot, clients FROM slot_clients ORDER BY slot") == [(slot(0), 50), (slot(1), 10)]


def test_exporters_are_told_apart(one: Ingesting, tmp_path: Path) -> None:
    one.read(write_flows(tmp_path / "upstream" / "2026" / "11", BEGIN, dialogues(1), ident="none"))
    one.read(write_flows(tmp_path / "b", BEGIN, dialogues(2), ident="ident"))
    one.read(write_flows(tmp_path / "c", BEGIN, dialogues(3), ident="ident"), "configured")
    one.read(write_flows(tmp_path / "d", BEGIN, dialogues(4), ident='a "b"\t\\'))
    assert {exporter: value for (exporter, *_), value in one.counter(FLOWS, "flows").items()} == {
        "upstream": 2,
        "ident": 4,
        "configured": 6,
        'a "b"\\x09\\': 8,
    }


def test_a_second_start_goes_on(one: Ingesting, tmp_path: Path) -> None:
    first = write_flows(tmp_path, BEGIN, dialogues(10))
    one.read(first)
    one.again()
    assert one.read(first) == Ingested(known=True)
    assert one.collector.known_files() == {first: pending_file(first).stamp}
    one.read(write_flows(tmp_path, BEGIN + SLOT, dialogues(10)))
    assert one.counter(FLOWS, "flows") == {("edge", "udp", "dns"): 40}


def test_without_a_time_in_its_name_a_file_is_of_its_first_flow(one: Ingesting, tmp_path: Path) -> None:
    one.read(write_flows(tmp_path, BEGIN, [asking("198.51.100.1", late=320)], name="nfcapd-sample"))
    assert one.store.rows("SELECT DISTINCT slot FROM slot_services") == [(slot(1),)]
    assert one.snapshot().clock_offsets == {"edge": 0}


# What goes wrong


def test_nfdump_is_missing(one: Ingesting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_flows(tmp_path, BEGIN, dialogues(10))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NFDumpError):
        one.read(path)
    assert one.sums() == []
    monkeypatch.undo()
    assert one.read(path).flows == 20


def test_a_file_that_is_still_written(one: Ingesting, tmp_path: Path) -> None:
    path = write_flows(tmp_path, BEGIN, many())
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])  # as cp has it half-way
    with pytest.raises(UnfinishedFileError):
        one.read(path, settled=False)
    assert one.sums() == []
    path.write_bytes(whole)
    assert one.read(path, settled=False) == Ingested(MANY)


def test_a_damaged_file_counts_as_far_as_it_can_be_read(one: Ingesting, tmp_path: Path) -> None:
    path = write_flows(tmp_path, BEGIN, many())
    damage(path)
    found = one.read(path)
    assert found.damage
    assert 0 < found.flows < MANY
    assert list(one.counter(FILES, "files").values()) == [1]
    assert {result for _, result in one.counter(FILES, "files")} == {"damaged"}
    before = one.sums()
    assert one.read(path) == Ingested(known=True)
    assert one.sums() == before


def test_a_damaged_file_that_is_made_whole(one: Ingesting, tmp_path: Path) -> None:
    path = write_flows(tmp_path, BEGIN, many())
    whole = damage(path)
    part = one.read(path, "edge").flows
    path.write_bytes(whole)
    assert one.read(path, "edge") == Ingested(MANY - part)
    assert one.counter(FLOWS, "flows") == {("edge", "udp", "dns"): MANY}


def test_an_empty_file_is_one_of_a_silent_exporter(one: Ingesting, tmp_path: Path) -> None:
    one.read(write_flows(tmp_path, BEGIN, dialogues(10)))
    one.read(shared_empty(tmp_path, BEGIN + SLOT))
    ((_, sensor, event, _),) = read_sensors(one.store)
    assert (sensor, event) == ("edge", slot(1))
    assert one.collector._tables.files.complete_slot("edge") == slot(1)


def test_an_empty_file_without_a_time_makes_nobody_forget(one: Ingesting, tmp_path: Path) -> None:
    """It has the time of its last change only, which may be years after the flows beside it."""
    years = 3 * 365 * 86400 // SLOT * SLOT
    one.read(write_flows(tmp_path, BEGIN - years, dialogues(10)))
    empty = shared_empty(tmp_path / "empty", BEGIN)
    one.read(empty.rename(tmp_path / "untimed"))
    one.read(shared_empty(tmp_path / "empty", BEGIN))
    one.again()
    one.read(write_flows(tmp_path, BEGIN - years + SLOT, dialogues(10)))
    assert one.store.rows("SELECT count(DISTINCT slot) FROM slot_services") == [(2,)]


def test_one_exporter_whose_files_are_far_ahead_hides_no_other(one: Ingesting, tmp_path: Path) -> None:
    for number in range(2):
        for exporter, ahead in (("a", 0), ("b", 0), ("wrong", 20 * 3600), ("c", 0)):
            path = tmp_path / exporter
            one.read(write_flows(path, BEGIN + number * SLOT + ahead, dialogues(2), ident=exporter))
        assert {exporter for exporter, _, _ in one.snapshot().clients} >= {"a", "b", "c"}
        one.again()
        assert {exporter for exporter, _, _ in one.snapshot().clients} >= {"a", "b", "c"}


def shared_empty(folder: Path, begin: float) -> Path:
    """A file of nfcapd's without a flow."""
    path = folder / name_at(begin)
    source = write_flows(folder / "source", begin, dialogues(1))
    command = ["nfdump", "-r", source, "-w", path, "src port 1"]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    source.unlink()
    return path


def test_clocks_that_are_wrong(one: Ingesting, tmp_path: Path) -> None:
    for exporter, late in (("right", 200), ("early", -4000), ("late", 4000), ("nearly", 350)):
        one.read(write_flows(tmp_path / exporter, BEGIN, [asking("198.51.100.1", late=late)], ident=exporter))
    assert one.snapshot().clock_offsets == {"right": 0, "early": -4000, "late": 3700, "nearly": 0}
    assert one.store.rows("SELECT DISTINCT slot FROM slot_services") == [(slot(),)]


@pytest.mark.parametrize("name", [None, "untimed"])
@pytest.mark.parametrize(
    ("seconds", "reason"), [(2 * 86400, TIMESTAMP), (4 * YEAR, TIMESTAMP), (-4 * YEAR, TOO_OLD), (5 - BEGIN, TIMESTAMP)]
)
def test_a_file_of_another_time_is_skipped_and_moves_no_time(
    one: Ingesting, tmp_path: Path, seconds: int, reason: str, name: str | None
) -> None:
    one.read(write_flows(tmp_path, BEGIN, dialogues(10)))
    before = [row for row in one.sums() if "records_skipped" not in row]
    path = write_flows(tmp_path / "other", BEGIN + seconds, dialogues(3), name=name)
    found = one.read(path)
    assert (found.flows, found.skipped) == (0, {reason: 6})
    assert f"6 flows skipped ({reason}: " in found.untimely
    assert one.counter(SKIPPED, "records") == {("netflow", reason): 6}
    assert one.read(path) == Ingested(known=True)
    subprocess.run(["nfdump", "-J2", "-r", path], check=True, capture_output=True, timeout=30)
    assert one.read(path) == Ingested(known=True)
    assert [row for row in one.sums() if "records_skipped" not in row] == before
    one.again()
    assert one.read(path) == Ingested(known=True)
    assert one.collector._newest == slot()


@pytest.mark.parametrize("printed", [False, True])
def test_records_of_another_time_are_skipped_one_by_one(
    one: Ingesting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, printed: bool
) -> None:
    if printed:

        def unknown(_: object) -> Iterator[object]:
            raise UnknownFormError("another form")
            yield

        monkeypatch.setattr("dnsvigil.sources.netflow.tables.read_stream", unknown)
    one.read(write_flows(tmp_path / "before", BEGIN - SLOT, dialogues(1)))
    odd = {20 * 3600: 1, 4 * YEAR: 2, 86400 + 7200: 3, -40 * 86400: 4, 1000 - BEGIN: 5, -86400: 6}
    flows = [*dialogues(50), *(asking("198.51.100.200", late=late, count=count) for late, count in odd.items())]
    found = one.read(write_flows(tmp_path, BEGIN, flows))
    assert found == Ingested(100 + 1 + 6, {TIMESTAMP: 10, TOO_OLD: 4})
    assert one.counter(INGESTED, "records") == {("netflow",): 2 + 107}
    assert one.counter(FLOWS, "flows") == {("edge", "udp", "dns"): 2 + 107}
    # Not even the exporter's clock is said to be wrong for a few of them.
    assert one.snapshot().clock_offsets == {"edge": 0}
    assert one.collector._newest == slot()
    assert one.store.rows("SELECT DISTINCT slot FROM slot_services ORDER BY ALL") == [(slot(-1),), (slot(),)]


def test_what_is_skipped_of_a_file_that_grew_counts_once(one: Ingesting, tmp_path: Path) -> None:
    wrong = asking("198.51.100.200", late=4 * YEAR)
    path = write_flows(tmp_path, BEGIN, [*dialogues(10), wrong])
    assert one.read(path) == Ingested(20, {TIMESTAMP: 1})
    write_flows(tmp_path, BEGIN, [*dialogues(25), replace(wrong, count=3)], name=path.name)
    assert one.read(path) == Ingested(30, {TIMESTAMP: 2})
    assert one.counter(SKIPPED, "records")["netflow", TIMESTAMP] == 3


def test_an_exporter_whose_clock_is_years_wrong_shows_it(one: Ingesting, tmp_path: Path) -> None:
    one.read(write_flows(tmp_path, BEGIN, [asking("198.51.100.1", late=4 * YEAR, count=9)]))
    assert one.counter(SKIPPED, "records")["netflow", TIMESTAMP] == 9
    assert one.snapshot().clock_offsets == {"edge": 4 * YEAR - SLOT}


def test_files_of_years_in_any_order_are_counted_or_skipped(tmp_path: Path) -> None:
    """Beside an empty one and one of the future; and nothing is dropped without a word."""
    for number, order in enumerate(permutations(("past", "longer past", "empty", "future"))):
        with ingesting(tmp_path / f"state{number}") as one:
            made = {
                "past": write_flows(tmp_path / "a", BEGIN - 3 * YEAR, dialogues(10)),
                "longer past": write_flows(tmp_path / "b", BEGIN - 4 * YEAR, dialogues(20)),
                "future": write_flows(tmp_path / "c", BEGIN + 4 * YEAR, dialogues(30)),
            }
            made["empty"] = shared_empty(tmp_path / "d", BEGIN).rename(tmp_path / "d" / "untimed")
            found = {name: one.read(made[name]) for name in order}
            in_order = order.index("longer past") < order.index("past")
            assert found["past"] == Ingested(20)
            assert found["longer past"] == (Ingested(40) if in_order else Ingested(0, {TOO_OLD: 40}))
            assert found["future"] == Ingested(0, {TIMESTAMP: 60})
            assert found["empty"] == Ingested()
            assert bool(one.collector.forgotten) is in_order
            begin = slot() - timedelta(seconds=3 * YEAR)
            assert one.store.rows("SELECT DISTINCT slot FROM slot_services") == [(slot_of(begin),)]


def test_what_is_no_flow_file(one: Ingesting, tmp_path: Path) -> None:
    path = tmp_path / name_at(BEGIN)
    path.write_bytes(bz2.compress(b"no flows"))
    try:
        found = one.read(path)
    except NFDumpError:
        return
    assert found.flows == 0
    assert found.damage


def test_records_that_are_older_than_sums_may_be_are_dropped_and_counted(tmp_path: Path) -> None:
    with ingesting(tmp_path / "state") as one:
        one.read(write_flows(tmp_path, BEGIN - 13 * SLOT, dialogues(5)))
        one.read(write_flows(tmp_path, BEGIN - 10 * 86400, dialogues(10)))
        assert one.counter(FLOWS, "flows") == {("edge", "udp", "dns"): 30}
        one.read(write_flows(tmp_path, BEGIN, dialogues(1)))  # another hour
        assert one.counter(FLOWS, "flows") == {("edge", "udp", "dns"): 32}
        assert one.counter(DROPPED, "records") == {("age",): 10}
        assert one.store.rows("SELECT min(slot) FROM slot_services") == [(slot(-2880),)]
        assert one.snapshot().records == 6


# Judging


def test_series_are_judged_when_their_slot_is_complete(one: Ingesting, tmp_path: Path) -> None:
    one.read(write_flows(tmp_path, BEGIN, dialogues(5)))
    assert one.collector.flush()
    assert not one.collector.flush()
    verdicts = one.snapshot().verdicts
    of_services = {verdict.measure: verdict for verdict in verdicts if verdict.service}
    assert of_services.keys() == {"flows", "packets", "bytes"}
    assert (of_services["flows"].protocol, of_services["flows"].service) == ("udp", "dns")
    assert of_services["flows"].value == 10
    assert of_services["flows"].baseline is None
    of_resolver = {verdict.measure: verdict.value for verdict in verdicts if verdict.resolver == RESOLVER}
    assert of_resolver == {
        "clients": 5,
        "query_packets": 5,
        "query_bytes": 300,
        "response_bytes": 600,
        "tcp_ratio": 0,
    }
    one.again()
    assert one.snapshot().verdicts == verdicts
    assert not one.collector.flush()


def test_a_spike_against_four_weeks(tmp_path: Path) -> None:
    limits = [
        FlowThreshold("flows", above=2000, service="dns"),
        FlowThreshold("packets", below=1, exporter="elsewhere"),
        FlowThreshold("bytes", below=10**9, protocol="udp"),
    ]
    with ingesting(tmp_path / "state", Config(flows=Flows(thresholds=limits))) as one:
        write_past(one.store, BEGIN)
        one.read(write_flows(tmp_path, BEGIN, [asking("198.51.100.1", count=5000)]))
        assert one.collector.flush()
        found = one.snapshot().verdicts
    verdicts = {verdict.measure: verdict for verdict in found if verdict.service == "dns"}
    resolver = {verdict.measure: verdict for verdict in found if verdict.resolver == RESOLVER}
    flows = verdicts["flows"]
    assert flows.history_seconds == 28 * 86400
    assert flows.baseline == pytest.approx(1025, rel=0.05)
    assert flows.deviation > 10
    assert flows.anomalies == ("spike", "threshold")
    assert verdicts["packets"].anomalies == ("spike",)
    assert verdicts["bytes"].anomalies == ("spike", "threshold")
    assert resolver["query_packets"].anomalies == ("spike",)
    assert resolver["query_packets"].baseline == pytest.approx(525, rel=0.05)
    assert resolver["clients"].anomalies == ("drop",)
    assert resolver["tcp_ratio"].value == 0


def test_a_silent_exporter_has_no_value_and_no_drop(one: Ingesting, tmp_path: Path) -> None:
    one.read(write_flows(tmp_path, BEGIN, dialogues(5)))
    one.read(shared_empty(tmp_path, BEGIN + SLOT))
    assert one.collector.flush()
    assert {(verdict.value, verdict.anomalies) for verdict in one.snapshot().verdicts} == {(None, ())}


def test_what_was_said_of_an_exporter_that_is_gone_is_not_shown(one: Ingesting, tmp_path: Path) -> None:
    one.read(write_flows(tmp_path / "a", BEGIN - 4 * SLOT, dialogues(5), ident="gone"))
    one.read(write_flows(tmp_path / "b", BEGIN, dialogues(5)))
    one.collector.flush()
    snapshot = one.snapshot()
    assert {verdict.exporter for verdict in snapshot.verdicts} == {"edge"}
    assert {row[0] for row in snapshot.talkers} == {"edge"}
    assert snapshot.exporters == ["edge", "gone"]
    one.read(write_flows(tmp_path / "c", BEGIN + 8 * 86400 - 7 * 86400, dialogues(5)))
    assert one.snapshot().exporters == ["edge", "gone"]


def test_files_that_are_handed_over_are_kept(tmp_path: Path) -> None:
    with ingesting(tmp_path / "state", Config(sources=Sources(netflow=[NetflowSource(tmp_path)]))) as one:
        handing_over(one, tmp_path)


def handing_over(one: Ingesting, tmp_path: Path) -> None:
    path = write_flows(tmp_path, BEGIN, dialogues(5))
    one.collector.submit_files([(path, "name"), (tmp_path / "nothing", None)])
    one.again()
    assert one.collector.submitted() == {path: "name", tmp_path / "nothing": None}
    one.read(path, "name")
    assert one.collector.submitted() == {tmp_path / "nothing": None}
    one.collector.give_up(tmp_path / "nothing")
    assert one.collector.submitted() == {}
    one.collector.submit_files([(path, None)])
    assert one.read(path) == Ingested(known=True)
    assert one.collector.submitted() == {}


# dns_flow logs


def test_logs_in_zeeks_form(tmp_path: Path) -> None:
    config = Config(flows=Flows(log=tmp_path / "logs"))
    begin = BEGIN // 3600 * 3600
    with ingesting(tmp_path / "state", config) as one:
        flows = [asking("198.51.100.1", bytes=100), asking("198.51.100.1").back, asking("2001:db8::1", OTHER_RESOLVER)]
        one.read(write_flows(tmp_path / "a", begin, [*flows, asking(RESOLVER, "203.0.113.1").back], ident="a/b\\c"))
        day = datetime.fromtimestamp(begin, UTC)
        log = tmp_path / "logs" / f"{day:%Y-%m-%d}" / f"dns_flow.a%2Fb%5Cc.{day:%H}:00:00-{day:%H}:05:00.log"
        assert list((tmp_path / "logs").rglob("*.*")) == [log]
        lines = log.read_text().splitlines()
        assert lines[4] == "#path\tdns_flow"
        head = {line.split("\t")[0]: line.split("\t")[1:] for line in lines if line.startswith("#")}
        assert len(head["#fields"]) == len(head["#types"])
        rows = [dict(zip(head["#fields"], line.split("\t"), strict=True)) for line in lines if not line.startswith("#")]
        assert [(row["client"], row["server"], row["unanswered"], row["amplification"]) for row in rows] == [
            ("192.0.2.53", "203.0.113.1", "0", "-"),
            ("198.51.100.1", RESOLVER, "0", "1.200000"),
            ("2001:db8::1", OTHER_RESOLVER, "1", "0.000000"),
        ]
        assert {(row["ts"], row["exporter"], row["proto"]) for row in rows} == {
            (f"{begin}.000000", r"a\x5cb\x5cc", "udp")
        } or {row["exporter"] for row in rows} == {r"a/b\x5cc"}
        # A second file of the slot adds to it.
        one.read(write_flows(tmp_path / "b", begin, [asking("198.51.100.1"), asking("198.51.100.9")], ident="a/b\\c"))
        rows = [line.split("\t") for line in log.read_text().splitlines() if not line.startswith("#")]
        assert len(rows) == 4
        assert [row[7] for row in rows if row[2] == "198.51.100.1"] == ["2"]
    if shutil.which("zeek-cut"):
        cut = ["zeek-cut", "client", "query_packets"]
        with log.open() as stream:
            found = subprocess.run(cut, stdin=stream, capture_output=True, text=True, check=True).stdout
        assert "198.51.100.1\t2\n" in found


def test_a_log_that_cannot_be_written_holds_its_file_back(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file")
    with ingesting(tmp_path / "state", Config(flows=Flows(log=tmp_path / "logs"))) as one:
        path = write_flows(tmp_path, BEGIN, dialogues(5))
        with pytest.raises(OSError):
            one.read(path)
        assert one.sums() == []
        (tmp_path / "logs").unlink()
        assert one.read(path).flows == 10
    assert len(list((tmp_path / "logs").rglob("*.log"))) == 1


def test_what_is_added_after_the_records_are_gone_has_a_log_of_its_own(tmp_path: Path) -> None:
    with ingesting(tmp_path / "state", Config(flows=Flows(log=tmp_path / "logs"))) as one:
        one.read(write_flows(tmp_path / "a", BEGIN - 2 * 86400, dialogues(5)))
        one.read(write_flows(tmp_path / "a", BEGIN, dialogues(5)))
        assert one.counter(DROPPED, "records") == {("age",): 5}
        one.read(write_flows(tmp_path / "b", BEGIN - 2 * 86400, dialogues(7)))
    old, added, new = sorted((tmp_path / "logs").rglob("*.log"), key=lambda path: (path.parent, len(path.name)))
    assert [len(path.read_text().splitlines()) - 8 for path in (old, added, new)] == [5, 7, 5]
    assert added.name.startswith(old.name.removesuffix("log"))


def test_a_real_file(shared_data: Path, tmp_path: Path) -> None:
    sample = shared_data / "netflow" / "derived-normal" / "nfcapd.202308050935"
    with ingesting(tmp_path / "state") as one:
        flows = one.read(sample, "mcfp").flows
        said = subprocess.run(["nfdump", "-I", "-r", sample], check=True, capture_output=True, text=True).stdout
        assert f"Flows: {flows}\n" in said
        assert sum(one.counter(FLOWS, "flows").values()) == flows
        assert sum(one.counter(FLOWS, "bytes").values()) == int(said.split("\nBytes: ")[1].split()[0])
        moved = tmp_path / sample.name
        shutil.copy(sample, moved)
        assert one.read(moved, "mcfp") == Ingested(known=True)


def test_memory_of_the_time_is_that_of_the_files(one: Ingesting, tmp_path: Path) -> None:
    one.read(write_flows(tmp_path, BEGIN, dialogues(1)))
    os.utime(tmp_path / name_at(BEGIN), OLD)
    assert one.read(tmp_path / name_at(BEGIN)) == Ingested(known=True)
    assert one.collector._since() == slot() - timedelta(days=7)
