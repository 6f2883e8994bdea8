"""Passive DNS in the store: merged in any order, moved into files, bounded, and counted."""

import json
import random
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dnsvigil.config.collector import Config
from dnsvigil.config.collector import PassiveDns as Bounds
from dnsvigil.config.types import Duration, Size
from dnsvigil.engines.compaction import Job, run
from dnsvigil.engines.tuples import TupleReader
from dnsvigil.ingest import compaction, passive_dns
from dnsvigil.store import tuple_file
from dnsvigil.store.passive_dns import FOLDER
from dnsvigil.store.set_aside import entries
from dnsvigil.store.store import Store
from exporters.ingest.taking import Taking
from exporters.tuples import all_tuples, brief
from exporters.zeeklogs import START, package_line, tsv

PDNS = "dnsvigil_pdns"
HOUR, DAY = 3600, 86400


@pytest.fixture
def taking(tmp_path: Path) -> Iterator[Taking]:
    with Store(tmp_path) as store, closing(Taking(store, Config())) as taking:
        yield taking


class InProcess:
    """Merges files in this process, as starting another takes a second."""

    returncode = 0

    def __init__(self, *_: object, **__: object) -> None:
        self.stdin = self
        self._output = b""

    def write(self, line: bytes) -> None:
        result = run(Job(**json.loads(line)))
        self._output = json.dumps(asdict(result)).encode()

    def flush(self) -> None:
        pass

    def wait(self) -> int:
        return 0

    poll = wait

    def kill(self) -> None:
        pass

    def communicate(self) -> tuple[bytes, bytes]:
        return self._output, b""


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "subprocess", SimpleNamespace(Popen=InProcess, PIPE=None))


def at(seconds: float) -> str:
    return f"{START + seconds:.6f}"


def row(seconds: float = 0, **values: Any) -> bytes:
    times = {"ts": at(seconds), "time_first": at(seconds), "time_last": at(seconds)}
    return package_line(PDNS, **times | {name: str(value) for name, value in values.items()})


def levels(store: Store) -> list[int]:
    return [level for (level,) in store.rows("SELECT level FROM passive_dns_files ORDER BY period, level")]


def test_rows_of_a_tuple_add_up(taking: Taking) -> None:
    taking.take(PDNS, row(10, count=2, ttl_min=50, ttl_max=60, section="answer", bailiwick="com"))
    taking.take(PDNS, row(400, count=3, ttl_min=20, ttl_max=30, section="additional", bailiwick="com"))
    taking.take(PDNS, row(5, count=4, ttl_min="-", ttl_max="-", section="-", bailiwick="com"), sensor="other")
    taking.take(PDNS, row(700.9, count=1, bailiwick="example.com"), row(650, rdata="-", count=7, bailiwick="-"))
    second, third, first = all_tuples(taking.store)
    assert (first["rdata"], first["count"], first["bailiwick"]) == ("", 7, None)
    assert list(brief([second, third])) == [("www.example.com", "A", "192.0.2.80", count) for count in (9, 1)]
    assert (second["bailiwick"], third["bailiwick"]) == ("com", "example.com")
    assert (second["time_first"], second["time_last"], third["time_last"]) == (START + 5, START + 400, START + 700)
    assert (second["ttl_min"], second["ttl_max"], second["seen_in"], second["sensors"]) == (20, 60, 5, 3)
    assert third["sensors"] == 1


def random_rows(dice: random.Random, count: int) -> list[tuple[str, bytes]]:
    """Rows of few tuples over two months, with the sensor of each, in the order of time."""
    rows = []
    for first in sorted(dice.randrange(60 * DAY) for _ in range(count)):
        ttl = dice.randrange(1, 100)
        values = {
            "rrname": f"h{dice.randrange(6)}.a.example.com",
            "rrtype": dice.choice(["A", "TXT"]),
            "rdata": dice.choice(["192.0.2.1", "x y", "-"]),
            "section": dice.choice(["answer", "authority", "answer,additional", "-"]),
            "bailiwick": dice.choice(["com", "example.com", "a.example.com", ".", "-"]),
            "ttl_min": dice.choice([str(ttl), "-"]),
            "ttl_max": str(ttl + dice.randrange(100)),
            "count": str(dice.randrange(1, 10**6)),
            "ts": at(first + 900),
            "time_first": at(first),
            "time_last": at(first + dice.randrange(900)),
        }
        rows.append((dice.choice(["fra", "ams"]), package_line(PDNS, **values)))
    return rows


@pytest.mark.usefixtures("in_process")
def test_any_batches_files_and_restarts_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dice = random.Random(2)
    rows = random_rows(dice, 200)
    found = []
    monkeypatch.setattr(tuple_file, "ROWS", 16)
    for number in range(3):
        monkeypatch.setattr(passive_dns, "_MAX_WAITING", [2**20, 0, 20][number])
        size = [200, 11, 7][number]
        with Store(tmp_path / str(number)) as store, closing(Taking(store, Config())) as taking:
            for begin in range(0, len(rows), size):
                for sensor in ("ams", "fra"):
                    part = [line for of, line in rows[begin : begin + size] if of == sensor]
                    if part:
                        taking.take(PDNS, *part, sensor=sensor)
                if dice.random() < 0.05:
                    taking.restart()
            before = all_tuples(store)
            taking.restart()
            taking.intake.flush()
            assert all_tuples(store) == before
            assert len(levels(store)) <= 35
            found.append(before)
    assert found[1:] == found[:1] * 2
    counts = [int(line.split(b"\t")[9]) for _, line in rows]
    assert sum(each["count"] for each in found[0]) == sum(counts)


@pytest.mark.usefixtures("in_process")
def test_look_ups_by_data_find_what_look_ups_by_name_do(taking: Taking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passive_dns, "_MAX_WAITING", 10)
    for begin in range(0, 200, 20):
        taking.take(
            PDNS, *(row(i, rrname=f"h{i % 50}.example", rdata=f"192.0.2.{i % 7}") for i in range(begin, begin + 20))
        )
    taking.intake.flush()
    reader = TupleReader(lambda: taking.store)
    assert len(levels(taking.store)) > 5
    for data in range(7):
        key = f"a1920000020{data:02}"
        of_address = [each for chunk in reader.chunks("rdata", key, f"{key}\0") for each in chunk.to_pylist()]
        assert list(brief(of_address)) == [
            each for each in brief(all_tuples(taking.store)) if each[2] == f"192.0.2.{data}"
        ]
        assert of_address


def test_an_hour_a_day_and_a_month_become_one_file_each(taking: Taking) -> None:
    for hour in range(0, 26, 5):  # START is at 22:13
        taking.take(PDNS, row(hour * HOUR, rrname=f"h{hour}.example"))
        taking.take(PDNS, row((hour + 1) * HOUR, rrname=f"h{hour + 1}.example"))
        taking.intake.flush()
    assert levels(taking.store) == [2, 2]
    taking.take(PDNS, *(row(40 * DAY) for _ in range(30)))
    taking.intake.flush()
    assert levels(taking.store) == [3]
    assert len(list((taking.store.path.parent / FOLDER).iterdir())) == 2
    assert len(all_tuples(taking.store)) == 13


@pytest.mark.usefixtures("in_process")
def test_no_count_is_too_large_to_be_added(taking: Taking) -> None:
    most = 2**63 - 1
    for seconds in (0, 4000, 8000):
        taking.take(PDNS, row(seconds, count=most), row(seconds + 1, count=most))
        taking.intake.flush()
    assert [each["count"] for each in all_tuples(taking.store)] == [most]


def test_files_not_seen_for_the_retention_go(tmp_path: Path) -> None:
    config = Config(passive_dns=Bounds(retention=Duration.parse("3h")))
    with Store(tmp_path) as store, closing(Taking(store, config)) as taking:
        for hour in range(8):
            taking.take(PDNS, row(HOUR * hour, rrname=f"h{hour}.example"))
        assert [each["rrname"] for each in all_tuples(store)] == [f"h{hour}.example" for hour in range(4, 8)]
        assert taking.value("dnsvigil_passive_dns_dropped_total", reason="age") == 4
        assert taking.value("dnsvigil_passive_dns_dropped_total", reason="size") == 0


@pytest.mark.usefixtures("in_process")
def test_where_there_is_too_much_the_tuples_seen_least_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passive_dns, "_MAX_WAITING", 1000)
    config = Config(passive_dns=Bounds(max_size=Size(10 * 10**6)))
    dice = random.Random(1)
    with Store(tmp_path) as store, closing(Taking(store, config)) as taking:
        for part in range(5):
            lines = [
                row(
                    part * HOUR,
                    rrname=f"{i}.{part}.example",
                    rdata=dice.randbytes(2000).hex(),
                    rrtype="TXT",
                    count=1 + i % 9,
                )
                for i in range(1000)
            ]
            taking.take(PDNS, *lines)
            taking.intake.flush()
        dropped = taking.value("dnsvigil_passive_dns_dropped_total", reason="size")
        assert dropped > 1000
        assert taking.value("dnsvigil_passive_dns_size_bytes") < 10 * 10**6
        found = all_tuples(store)
        assert len(found) + dropped == 5000
        rare, often = (sum(each["count"] == count for each in found) for count in (1, 9))
        assert rare < often / 2


def test_a_file_that_cannot_be_read_is_set_aside_and_the_rest_is_found(taking: Taking) -> None:
    for hour in range(3):
        taking.take(PDNS, row(hour * HOUR, rrname=f"h{hour}.example"))
    folder = taking.store.path.parent / FOLDER
    (stem,) = taking.store.rows("SELECT stem FROM passive_dns_files ORDER BY period LIMIT 1")[0]
    damaged = folder / f"{stem}.names.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-20])
    reader = TupleReader(lambda: taking.store)
    found = [each for chunk in reader.chunks("names", "", "\x7f") for each in chunk.to_pylist()]
    assert [each["rrname"] for each in found] == ["h2.example"]
    assert [*reader.unreadable] == [damaged]
    taking.take(PDNS, row(3 * DAY, rrname="late.example"))
    taking.intake.flush()
    assert [each["rrname"] for each in all_tuples(taking.store)] == ["h2.example", "late.example"]
    assert taking.value("dnsvigil_passive_dns_dropped_total", reason="unreadable") == 2
    taking.store.set_aside.flush()
    assert [each.subject for each in entries(taking.store.read)] == [str(damaged)]
    assert damaged.with_name(f"{damaged.name}.unreadable").exists()


def test_what_a_killed_process_has_left_is_removed(taking: Taking) -> None:
    taking.take(PDNS, row(0), row(HOUR))
    folder = taking.store.path.parent / FOLDER
    folder.mkdir(exist_ok=True)
    before = sorted(folder.iterdir())
    (folder / "0123.names.parquet").write_bytes(b"PAR1")
    (folder / "0123.rdata.new").write_bytes(b"")
    taking.restart()
    assert sorted(folder.iterdir()) == before


class TestDue:
    def test_too_many_files_of_an_hour_are_merged_before_it_is_over(self) -> None:
        begin = passive_dns.datetime(2026, 1, 5, 10)
        files = [compaction.TupleFiles(str(i), 0, begin.replace(minute=i % 60), 1, 1, 0, 0, ()) for i in range(70)]
        job = compaction.due(files, begin.replace(minute=59), 10**9)
        assert job
        assert (len(job.inputs), job.level) == (64, 0)


# Of dns.log


def answers(taking: Taking, qtype: int | str, *given: str, ttls: str = "", **values: str) -> list[tuple[Any, ...]]:
    ttls = ttls or ",".join(["60.0"] * len(given))
    taking.take("dns", tsv(query="www.example.com", qtype=str(qtype), answers=",".join(given), TTLs=ttls, **values))
    found = all_tuples(taking.store)
    return [(each["rrname"], each["rrtype"], each["rdata"], each["seen_in"]) for each in found]


INFERRED, UNCERTAIN = 9, 25


def test_answers_follow_the_chain_of_names(taking: Taking) -> None:
    assert answers(taking, 1, "CDN.example.net", "edge.example.net", "192.0.2.2", "192.0.2.1") == [
        ("www.example.com", "CNAME", "cdn.example.net", INFERRED),
        ("cdn.example.net", "CNAME", "edge.example.net", INFERRED),
        ("edge.example.net", "A", "192.0.2.1", INFERRED),
        ("edge.example.net", "A", "192.0.2.2", INFERRED),
    ]


def test_answers_of_ipv6_are_in_their_shortest_form(taking: Taking) -> None:
    assert answers(taking, 28, "2001:0db8:0:0::1") == [("www.example.com", "AAAA", "2001:db8::1", INFERRED)]


def test_texts_are_quoted_as_in_the_log_of_the_package(taking: Taking) -> None:
    assert answers(taking, 16, "TXT 11 v=spf1 -all") == [("www.example.com", "TXT", '"v=spf1 -all"', INFERRED)]


def test_several_names_may_be_a_chain(taking: Taking) -> None:
    assert answers(taking, 2, "ns2.example.net", "ns1.example.net") == [
        ("www.example.com", "NS", "ns1.example.net", UNCERTAIN),
        ("www.example.com", "NS", "ns2.example.net", UNCERTAIN),
    ]


def test_answers_to_a_query_that_was_not_seen_have_the_types_that_data_shows(taking: Taking) -> None:
    assert answers(taking, "-", "cdn.example.net", "2001:db8::1", "192.0.2.1", "TXT 7 a: b=c ") == [
        ("www.example.com", "CNAME", "cdn.example.net", INFERRED),
        ("cdn.example.net", "A", "192.0.2.1", INFERRED),
        ("cdn.example.net", "AAAA", "2001:db8::1", INFERRED),
        ("cdn.example.net", "TXT", '"a: b=c "', INFERRED),
    ]


def test_names_alone_have_no_type_where_the_query_was_not_seen(taking: Taking) -> None:
    assert answers(taking, "-", "ns1.example.net", "ns2.example.net") == []


def test_of_an_answer_to_any_only_some_data_shows_its_type(taking: Taking) -> None:
    assert answers(taking, 255, "ns1.example.net", "192.0.2.1", "2001:db8::1", "TXT 1 a") == [
        ("www.example.com", "A", "192.0.2.1", INFERRED),
        ("www.example.com", "AAAA", "2001:db8::1", INFERRED),
        ("www.example.com", "TXT", '"a"', INFERRED),
    ]


def test_types_without_a_name_have_their_number(taking: Taking) -> None:
    assert answers(taking, 65400, "data") == [("www.example.com", "TYPE65400", "data", INFERRED)]


def test_times_counts_and_ttls_of_answers(taking: Taking) -> None:
    for seconds, ttl in ((5.7, "300.0"), (2.2, "17.0"), (9.9, "-")):
        answers(taking, 1, "192.0.2.1", ttls=ttl, ts=at(seconds))
    (found,) = all_tuples(taking.store)
    assert (found["time_first"], found["time_last"], found["count"]) == (START + 2, START + 9, 3)
    assert (found["ttl_min"], found["ttl_max"], found["bailiwick"]) == (17, 300, None)


def test_negative_answers_are_counts_that_ordinary_look_ups_leave_out(taking: Taking) -> None:
    for rcode, count in (("3", 2), ("0", 1), ("2", 4)):
        for _ in range(count):
            taking.take("dns", tsv(query="no.example", qtype="1", rcode=rcode, answers="-", TTLs="-"))
    assert all_tuples(taking.store) == []
    assert list(brief(all_tuples(taking.store, negative=True))) == [
        ("no.example", "NODATA", "", 1),
        ("no.example", "NXDOMAIN", "", 2),
    ]
    taking.take("dns", tsv(ts=at(2 * HOUR)))
    taking.intake.flush()
    assert len(all_tuples(taking.store, negative=True)) > 2
    reader = TupleReader(lambda: taking.store)
    assert not list(reader.chunks("rdata", "r", "r\0", negative=True))
