"""Passive DNS and the other logs of the Zeek package in the store: merged in any order, bounded, and counted."""

import random
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dnsvigil.config.collector import Config
from dnsvigil.config.collector import Store as Bounds
from dnsvigil.config.types import Duration, Size
from dnsvigil.ingest import passive_dns
from dnsvigil.ingest.intake import Intake
from dnsvigil.records import SIGNALS, Cursor
from dnsvigil.sources.zeek.lines import count_lines, split
from dnsvigil.sources.zeek.log_types import BY_PATH, DNS
from dnsvigil.sources.zeek.reader import Batch
from dnsvigil.sources.zeek.skip_reasons import SKIP_REASONS
from dnsvigil.store.passive_dns import ROW_BYTES, PassiveDns
from dnsvigil.store.store import Store
from exporters.running import Samples, metrics_text, sample, samples
from exporters.zeeklogs import HEADER, START, package_header, package_line, tsv

PDNS, OPEN, POISONING, CAPTURE = (path for path in BY_PATH if path != "dns")
BEGIN = datetime(2023, 11, 14, 22, 13, 20)
COLUMNS = (
    "rrname, rrtype, rdata, sensor, bailiwick, in_answer, in_authority, in_additional, ttl_min, ttl_max, count,"
    " time_first, time_last"
)


class Taking:
    """An intake on a store of its own, into which lines go."""

    def __init__(self, store: Store, config: Config) -> None:
        self.store = store
        self._config = config
        self.intake = Intake(store, config)

    def close(self) -> None:
        self.intake.close()

    def restart(self) -> None:
        self.intake.close()
        self.intake = Intake(self.store, self._config)

    def take(self, path: str, *lines: bytes, sensor: str = "zeek") -> None:
        """Take lines of one log as one batch."""
        body = b"".join(lines)
        kind = BY_PATH[path]
        chunks, _, skipped = split((HEADER if kind is DNS else package_header(path)) + body, None, kind)
        cursor = Cursor("1", sensor, 0, "", 0, b"", "")
        self.intake.ingest([Batch(chunks, count_lines(body), skipped, cursor, 0, kind)])

    @property
    def tuples(self) -> list[tuple[Any, ...]]:
        return self.store.rows(f"SELECT {COLUMNS} FROM passive_dns ORDER BY ALL")

    @property
    def metrics(self) -> Samples:
        return samples(metrics_text(self.intake.snapshot(), self._config))

    def value(self, name: str, **labels: str) -> float:
        return self.metrics[sample(name, **labels)]


@pytest.fixture
def taking(tmp_path: Path) -> Iterator[Taking]:
    with Store(tmp_path) as store, closing(Taking(store, Config())) as taking:
        yield taking


def at(seconds: float) -> str:
    return f"{START + seconds:.6f}"


def when(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def row(seconds: float = 0, **values: Any) -> bytes:
    times = {"ts": at(seconds), "time_first": at(seconds), "time_last": at(seconds)}
    return package_line(PDNS, **times | {name: str(value) for name, value in values.items()})


# Passive DNS


def test_rows_of_a_tuple_add_up(taking: Taking) -> None:
    taking.take(PDNS, row(10, count=2, ttl_min=50, ttl_max=60, section="answer", bailiwick="-"))
    taking.take(PDNS, row(400, count=3, ttl_min=20, ttl_max=30, section="additional", bailiwick="com"))
    taking.take(PDNS, row(5, count=4, ttl_min="-", ttl_max="-", section="-", bailiwick="example.com"))
    taking.take(PDNS, row(700, count=1, ttl_min=90, ttl_max=90, bailiwick="com"), row(650, rdata="-", count=7))
    of_a = ("www.example.com", "A")
    assert taking.tuples == [
        (*of_a, "", "zeek", "example.com", True, False, False, 60, 300, 7, when(650), when(650)),
        (*of_a, "192.0.2.80", "zeek", "example.com", True, False, True, 20, 90, 10, when(5), when(700)),
    ]


def random_rows(dice: random.Random, count: int) -> list[tuple[str, bytes]]:
    """Rows of few tuples, with the sensor of each."""
    rows = []
    for _ in range(count):
        first = dice.randrange(3000)
        ttl = dice.randrange(1, 100)
        values = {
            "node": dice.choice(["worker-1", "worker-2"]),
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


def test_any_order_any_batches_and_restarts_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dice = random.Random(2)
    rows = random_rows(dice, 200)
    found = []
    for number in range(4):
        monkeypatch.setattr(passive_dns, "_MERGE_BYTES", [2**25, 0, 4000, 10_000][number])
        dice.shuffle(rows)
        size = [200, 11, 7, 50][number]
        with Store(tmp_path / str(number)) as store, closing(Taking(store, Config())) as taking:
            for begin in range(0, len(rows), size):
                for sensor in ("fra", "ams"):
                    part = [line for of, line in rows[begin : begin + size] if of == sensor]
                    if part:
                        taking.take(PDNS, *part, sensor=sensor)
                if dice.random() < 0.05:
                    taking.restart()
            before = taking.tuples
            taking.restart()
            taking.intake.flush()
            assert taking.tuples == before
            assert taking.value("dnsvigil_passive_dns_tuples") == len(before)
            assert store.rows("FROM passive_dns_new") == []
            found.append(before)
    assert found[1:] == found[:1] * 3
    counts = [int(line.split(b"\t")[9]) for _, line in rows]
    assert sum(tuple_[10] for tuple_ in found[0]) == sum(counts)


def test_no_count_is_too_large_to_be_added(taking: Taking) -> None:
    most = 2**63 - 1
    taking.take(PDNS, row(0, count=most), row(1, count=most))
    taking.intake.flush()
    taking.take(PDNS, row(2, count=most))
    taking.intake.flush()
    assert [tuple_[10] for tuple_ in taking.tuples] == [most]
    for _ in range(2):
        taking.take(CAPTURE, package_line(CAPTURE, packets=str(most)), package_line(CAPTURE, packets=str(most)))
    assert taking.value("dnsvigil_capture_packets_total", sensor="zeek") == float(most)


def test_tuples_not_seen_for_the_retention_go(tmp_path: Path) -> None:
    config = Config(store=Bounds(retention=Duration.parse("3h")))
    with Store(tmp_path) as store, closing(Taking(store, config)) as taking:
        for hour in range(8):
            taking.take(PDNS, row(3600 * hour, rrname=f"h{hour}.example"), row(3600 * hour, rrname="always.example"))
        names = [tuple_[0] for tuple_ in taking.tuples]
        assert names == ["always.example", "h4.example", "h5.example", "h6.example", "h7.example"]
        assert taking.value("dnsvigil_passive_dns_dropped_total", reason="age") == 4
        assert taking.value("dnsvigil_passive_dns_dropped_total", reason="size") == 0


def test_too_many_tuples_are_bounded_and_those_not_seen_for_long_go(tmp_path: Path) -> None:
    lines = [row(i, rrname=f"h{i:05}.example.com", rdata="192.0.2.1") for i in range(1000)]
    size = len("h00000.example.com") + len("192.0.2.1") + ROW_BYTES
    with Store(tmp_path) as store, closing(Taking(store, Config())) as taking:
        tuples = PassiveDns(store, 500 * size)
        dropped = 0
        for begin in range(0, 1000, 100):
            (part,) = [each for each in taking.intake._parts if isinstance(each, passive_dns.PassiveDnsPart)]
            part._tuples = tuples
            taking.take(PDNS, *lines[begin : begin + 100])
            with store.transaction():
                dropped += tuples.merge()
            assert tuples.count <= 500
        names = [tuple_[0] for tuple_ in taking.tuples]
        assert 400 <= len(names) <= 500
        assert names == [f"h{i:05}.example.com" for i in range(1000 - len(names), 1000)]
        counted = taking.metrics.get(sample("dnsvigil_passive_dns_dropped_total", reason="size"), 0)
        assert dropped + counted == 1000 - len(names)


def test_the_bound_follows_the_size_of_the_store(tmp_path: Path) -> None:
    config = Config(store=replace(Bounds(), max_size=Size(100 * 10**6)))
    with Store(tmp_path) as store, closing(Taking(store, config)) as taking:
        for part in range(4):
            taking.take(
                PDNS,
                *(
                    row(part * 400, rrname=f"{i}.example", rdata="x" * 5000)
                    for i in range(part * 1000, part * 1000 + 1000)
                ),
            )
        assert taking.value("dnsvigil_passive_dns_dropped_total", reason="size") > 500
        assert taking.value("dnsvigil_passive_dns_tuples") < 3000
        assert sum(len(tuple_[2]) for tuple_ in taking.tuples) <= 15 * 10**6


# The other logs


def test_open_resolvers_are_kept_and_counted_while_they_are_seen(taking: Taking) -> None:
    hosts = [("192.0.2.1", "recursive"), ("192.0.2.1", "recursive"), ("192.0.2.2", "forwarder"), ("192.0.2.3", "new")]
    taking.take(OPEN, *(package_line(OPEN, host=host, kind=kind) for host, kind in hosts))
    found = {kind: taking.value("dnsvigil_open_resolvers", kind=kind) for kind in ("recursive", "forwarder", "other")}
    assert found == {"recursive": 1, "forwarder": 1, "other": 1}
    taking.restart()
    assert taking.value("dnsvigil_open_resolvers", kind="recursive") == 1
    taking.take("dns", tsv(ts=at(1000)))
    assert taking.value("dnsvigil_open_resolvers", kind="recursive") == 0
    assert taking.store.rows("SELECT host, askers, sample_names FROM open_resolvers ORDER BY host LIMIT 1") == [
        ("192.0.2.1", 4, ["a.example", "b.example"])
    ]


def test_signals_of_poisoning_are_kept_and_summed(taking: Taking) -> None:
    taking.take(POISONING, package_line(POISONING), package_line(POISONING, wrong_id="7", unsolicited="-"))
    taking.take(POISONING, package_line(POISONING, forged_ns="1"))
    found = {signal: taking.value("dnsvigil_poisoning_signals_total", signal=signal) for signal in SIGNALS}
    assert {name: value for name, value in found.items() if value} == {
        "wrong_id": 17,
        "wrong_port": 3,
        "ip_ttl_jumps": 6,
        "forged_ns": 1,
    }
    assert taking.store.rows("SELECT count(*), sum(wrong_id) FROM poisoning") == [(3, 17)]


def test_the_capture_is_counted_by_sensor(taking: Taking) -> None:
    for sensor in ("fra", "ams"):
        taking.take(CAPTURE, package_line(CAPTURE), package_line(CAPTURE, node="worker-2"), sensor=sensor)
    taking.take(CAPTURE, package_line(CAPTURE, packets_dropped="0"), sensor="ams")
    assert taking.value("dnsvigil_capture_packets_total", sensor="ams") == 3000
    assert taking.value("dnsvigil_capture_packets_dropped_total", sensor="ams") == 20
    assert taking.value("dnsvigil_capture_unmatched_queries_total", sensor="fra") == 24
    assert taking.value("dnsvigil_capture_state_dropped_total", sensor="fra", part="pdns") == 14
    assert taking.value("dnsvigil_capture_state_dropped_total", sensor="fra", part="poisoning") == 0


def test_rows_past_the_retention_go(tmp_path: Path) -> None:
    config = Config(store=Bounds(retention=Duration.parse("3h")))
    with Store(tmp_path) as store, closing(Taking(store, config)) as taking:
        for hour in range(8):
            for path in (OPEN, POISONING, CAPTURE):
                taking.take(path, package_line(path, ts=at(3600 * hour)))
        for table in ("open_resolvers", "poisoning", "capture"):
            assert store.rows(f"SELECT min(ts), count(*) FROM {table}") == [(when(3600 * 4), 4)], table
        assert taking.intake.snapshot().oldest_minute == when(3600 * 4).replace(second=0)


class TestMetrics:
    def test_of_zeek_alone_say_nothing_of_the_package(self, taking: Taking) -> None:
        taking.take("dns", tsv())
        for name, labels in taking.metrics:
            assert not name.startswith(("dnsvigil_passive", "dnsvigil_open", "dnsvigil_poisoning", "dnsvigil_capture"))
            assert dict(labels).get("source", "zeek") == "zeek"

    def test_of_the_package_begin_at_zero(self, taking: Taking) -> None:
        taking.take(CAPTURE, package_line(CAPTURE))
        found = taking.metrics
        for path in (PDNS, OPEN, POISONING, CAPTURE):
            source = BY_PATH[path].source
            assert found[sample("dnsvigil_records_read_total", source=source)] == (path == CAPTURE)
            for reason in SKIP_REASONS:
                assert found[sample("dnsvigil_records_skipped_total", source=source, reason=reason)] == 0
        assert found[sample("dnsvigil_passive_dns_tuples")] == 0
        assert found[sample("dnsvigil_open_resolvers", kind="recursive")] == 0
        assert found[sample("dnsvigil_poisoning_signals_total", signal="wrong_id")] == 0

    def test_of_reading_are_those_of_dns_alone(self, taking: Taking) -> None:
        """A log that is silent because nothing is wrong is no sensor that has stopped."""
        for path in (OPEN, POISONING, CAPTURE, PDNS):
            taking.take(path, package_line(path))
        assert not [name for name, _ in taking.metrics if name.endswith("_timestamp_seconds") and "source" in name]
        taking.take("dns", tsv())
        named = {
            dict(labels)["source"] for name, labels in taking.metrics if name == "dnsvigil_last_event_timestamp_seconds"
        }
        assert named == {"zeek"}

    def test_of_records_are_by_log(self, taking: Taking) -> None:
        taking.take(PDNS, row(), row(count="x"), b"half\n")
        taking.take("dns", tsv())
        assert taking.value("dnsvigil_records_read_total", source="zeek_pdns") == 3
        assert taking.value("dnsvigil_records_ingested_total", source="zeek_pdns") == 1
        assert taking.value("dnsvigil_records_skipped_total", source="zeek_pdns", reason="number") == 1
        assert taking.value("dnsvigil_records_skipped_total", source="zeek_pdns", reason="columns") == 1
        assert taking.value("dnsvigil_records_read_total", source="zeek") == 1
