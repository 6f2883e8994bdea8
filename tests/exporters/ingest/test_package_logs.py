"""The logs of the Zeek package in the store, but for passive DNS: kept, bounded and counted."""

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from dnsvigil.config.collector import Config
from dnsvigil.config.collector import Store as Bounds
from dnsvigil.config.types import Duration
from dnsvigil.records import SIGNALS
from dnsvigil.sources.zeek.log_types import BY_PATH
from dnsvigil.sources.zeek.skip_reasons import SKIP_REASONS
from dnsvigil.store.store import Store
from exporters.ingest.taking import Taking
from exporters.running import sample
from exporters.zeeklogs import START, package_line, tsv

PDNS, OPEN, POISONING, CAPTURE = (path for path in BY_PATH if path != "dns")
BEGIN = datetime(2023, 11, 14, 22, 13, 20)


@pytest.fixture
def taking(tmp_path: Path) -> Iterator[Taking]:
    with Store(tmp_path) as store, closing(Taking(store, Config())) as taking:
        yield taking


def at(seconds: float) -> str:
    return f"{START + seconds:.6f}"


def when(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


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
            assert not name.startswith(("dnsvigil_open", "dnsvigil_poisoning", "dnsvigil_capture"))
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
        taking.take(PDNS, package_line(PDNS), package_line(PDNS, count="x"), b"half\n")
        taking.take("dns", tsv())
        assert taking.value("dnsvigil_records_read_total", source="zeek_pdns") == 3
        assert taking.value("dnsvigil_records_ingested_total", source="zeek_pdns") == 1
        assert taking.value("dnsvigil_records_skipped_total", source="zeek_pdns", reason="number") == 1
        assert taking.value("dnsvigil_records_skipped_total", source="zeek_pdns", reason="columns") == 1
        assert taking.value("dnsvigil_records_read_total", source="zeek") == 1
