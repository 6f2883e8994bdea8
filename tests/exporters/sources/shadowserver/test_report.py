"""Reports of Shadowserver: what is read, and what is skipped with file and line."""

import gzip
import logging
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from dnsvigil.records import SCANNED_HOST
from dnsvigil.sources.shadowserver.report import is_report, read_report
from exporters.shadowserver import report, row

WHEN = datetime(2026, 11, 29, 0, 14, 34)
LATEST = WHEN + timedelta(days=1)
HOST, OTHER = "198.51.100.7", "2001:db8::7"


def test_what_a_row_says_is_read(tmp_path: Path) -> None:
    found = read_report(report(tmp_path, row(WHEN, HOST), row(WHEN, OTHER, hostname="", asn="")), LATEST)
    assert (found.rows, found.skipped.total(), found.problem) == (2, 0, "")
    host = found.hosts[HOST, "udp", 53]
    assert host.keys() == SCANNED_HOST.keys()
    assert (host["first_seen"], host["last_seen"], host["min_amplification"]) == (WHEN, WHEN, 4.619)
    assert (host["dns_version"], host["asn"], host["hostname"]) == ("dnsmasq-2.66", 64496, "host.example.net")
    assert (found.hosts[OTHER, "udp", 53]["hostname"], found.hosts[OTHER, "udp", 53]["asn"]) == (None, None)


def test_of_rows_about_one_host_the_newest_counts_with_the_time_of_the_first(tmp_path: Path) -> None:
    rows = [row(WHEN, HOST, dns_version="new"), row(WHEN - timedelta(hours=3), HOST, dns_version="old")]
    host = read_report(report(tmp_path, *rows), LATEST).hosts[HOST, "udp", 53]
    assert (host["first_seen"], host["last_seen"]) == (WHEN - timedelta(hours=3), WHEN)
    assert host["dns_version"] == "new"


def test_bad_rows_are_skipped_and_reported_with_file_and_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bad = [row(WHEN, "198.51.100.999"), row("yesterday", HOST), row(WHEN, HOST, port="77777"), row(WHEN, HOST, asn="x")]
    path = report(tmp_path, *bad, row("1970-01-01 00:00:00", HOST), row(LATEST + timedelta(1), HOST), row(WHEN, OTHER))
    with path.open("a") as file:
        file.write('too,few\n"not closed\n')
    with caplog.at_level(logging.WARNING):
        found = read_report(path, LATEST)
    assert [*found.hosts] == [(OTHER, "udp", 53)]
    assert found.skipped == {"address": 1, "timestamp": 3, "number": 2, "columns": 2}
    assert f"{path}:2: the row is skipped: '198.51.100.999' is not an IP address" in caplog.text
    assert f"{path}:9: the row is skipped: it has 2 columns, and the header 18" in caplog.text


def test_only_the_first_bad_rows_have_lines_of_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = read_report(report(tmp_path, *(row(WHEN, "nothing") for _ in range(500))), LATEST)
    assert found.skipped == {"address": 500}
    assert len(caplog.records) == 11 and "500 rows skipped in all" in caplog.text


def test_a_byte_order_mark_and_several_reports_in_a_file(tmp_path: Path) -> None:
    path = report(tmp_path, row(WHEN, HOST), head="\ufeff")
    old = "timestamp,ip,protocol,port,tag,dns_version,sic\n"
    path.write_text(path.read_text() + old + f"{WHEN},{OTHER},tcp,53,openresolver,BIND,0\n")
    found = read_report(path, LATEST)
    assert {*found.hosts} == {(HOST, "udp", 53), (OTHER, "tcp", 53)} and not found.skipped
    assert found.hosts[OTHER, "tcp", 53]["dns_version"] == "BIND"


def test_missing_and_unknown_columns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "report.csv"
    path.write_text(f"ip,timestamp,tag,device_vendor\n{HOST},{WHEN},openresolver,ACME\n")
    with caplog.at_level(logging.INFO):
        found = read_report(path, LATEST)
    host = found.hosts[HOST, "udp", 53]
    assert host["min_amplification"] is None and host["first_seen"] == WHEN
    assert "columns that are not known are left out: device_vendor" in caplog.text


@pytest.mark.parametrize("text", ["ip,asn\n198.51.100.7,1\n", "nothing\n", "\x00\x01\x02"])
def test_a_file_that_is_no_report_has_a_problem(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.csv"
    path.write_text(text)
    assert not is_report(path)
    found = read_report(path, LATEST)
    assert not found.hosts and found.problem.startswith("line 1 is no header of a report of Shadowserver")
    assert found.skipped == {"no_header": 1}


def test_an_empty_file_has_a_problem(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").touch()
    assert read_report(tmp_path / "empty.csv", LATEST).problem == "it is empty"


def test_rows_of_another_report_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "scan_ntp.csv"
    path.write_text(f"timestamp,ip,protocol,port,tag\n{WHEN},{HOST},udp,123,ntp\n")
    assert read_report(path, LATEST).skipped == {"other_log": 1}


def test_a_compressed_report_that_breaks_off_is_read_up_to_there(tmp_path: Path) -> None:
    plain = report(tmp_path, *(row(WHEN, f"198.51.{n // 250}.{n % 250}") for n in range(3000)))
    packed = gzip.compress(plain.read_bytes())
    path = tmp_path / "report.csv.gz"
    path.write_bytes(packed)
    assert is_report(path) and read_report(path, LATEST).rows == 3000
    path.write_bytes(packed[: len(packed) // 2])
    broken = read_report(path, LATEST)
    assert 0 < broken.rows < 3000 and "compressed data is damaged or ends too early" in broken.problem


def test_what_a_report_names_acts_on_no_terminal(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = read_report(report(tmp_path, row(WHEN, "\x1b[31mred"), row(WHEN, "fe80::1%\x1b[31m")), LATEST)
    assert "\x1b" not in caplog.text
    assert [*found.hosts] == [("fe80::1", "udp", 53)]
