"""Reports of scans in, one list out: ``dnsvigil ingest`` and ``dnsvigil findings export --shadowserver``."""

import csv
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from dnsvigil.cli.main import main
from dnsvigil.records import utc_now
from dnsvigil.sources.shadowserver.columns import COLUMNS, OWN_COLUMNS
from dnsvigil.sources.shadowserver.report import read_report
from dnsvigil.store.findings import Finding, Findings
from dnsvigil.store.store import Store
from exporters.shadowserver import report, row

SCANNED, SEEN, CLOSED = "198.51.100.7", "198.51.100.8", "198.51.100.9"
NOW = utc_now().replace(microsecond=0)
HOUR = timedelta(hours=1)


def text(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S}"


def finding(host: str, last: datetime, *, state: str = "new", **evidence: object) -> Finding:
    sensor = {"last_answer": f"{last:%Y-%m-%dT%H:%M:%SZ}", "amplification": 31.4}
    given = {"state": state, "seen_by": ["sensor"], "looks_like": "open resolver", "sensor": sensor} | evidence
    return Finding("open_resolver", "host", host, 0.7, "critical", NOW - 30 * HOUR, last, given)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A store with what a scan found, what was seen, and what is closed."""
    state = tmp_path / "state"
    scanned = row(NOW - 2 * HOUR, SCANNED, hostname="=cmd|'x'!A0", dns_version="a\x1b[31mb")
    assert main(["--state", str(state), "ingest", str(report(tmp_path, scanned, row("no time", SEEN)))]) == 0
    with Store(state) as store:
        findings = Findings(store)
        with store.transaction():
            findings.put(finding(CLOSED, NOW - 10 * HOUR))
            findings.close_quiet(NOW - 5 * HOUR)
            findings.put(finding(SEEN, NOW, state="still open"))
            findings.put(finding("*", NOW))
            findings.put(Finding("malware", "client", "192.0.2.1", 0.9, "critical", NOW, NOW, {}))
    return state


def export(state: Path, path: Path, *words: str) -> list[dict[str, str]]:
    assert main(["--state", str(state), "findings", *words, "export", "--shadowserver", str(path)]) == 0
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_what_scans_found_and_what_was_seen_are_one_list(state: Path, tmp_path: Path) -> None:
    rows = {each["ip"]: each for each in export(state, tmp_path / "all.csv", "--status", "all")}
    assert rows.keys() == {SCANNED, SEEN, CLOSED}
    assert [*rows[SEEN]] == [*COLUMNS, *OWN_COLUMNS]
    assert {host: each["state"] for host, each in rows.items()} == {
        SCANNED: "new", SEEN: "still open", CLOSED: "closed",
    }  # fmt: skip
    scanned, seen = rows[SCANNED], rows[SEEN]
    assert (scanned["timestamp"], scanned["seen_by"], scanned["geo"]) == (text(NOW - 2 * HOUR), "scan", "AT")
    assert (seen["timestamp"], seen["first_seen"]) == (text(NOW), text(NOW - 30 * HOUR))
    assert (seen["seen_by"], seen["kind"], seen["severity"]) == ("sensor", "open resolver", "critical")
    assert (seen["protocol"], seen["port"], seen["tag"]) == ("udp", "53", "openresolver")
    assert seen["min_amplification"] == "31.4000"
    assert "\x1b" not in (tmp_path / "all.csv").read_text()


def test_the_list_is_a_report_that_can_be_read_again(state: Path, tmp_path: Path) -> None:
    export(state, tmp_path / "open.csv")
    found = read_report(tmp_path / "open.csv", NOW + HOUR)
    assert {host for host, _, _ in found.hosts} == {SCANNED, SEEN} and not found.skipped
    assert found.hosts[SCANNED, "udp", 53]["hostname"] == "=cmd|'x'!A0"


def test_dismissed_findings_are_left_out(state: Path, tmp_path: Path) -> None:
    with Store(state) as store:
        findings = Findings(store)
        with store.transaction():
            findings.dismiss(3, "ours", NOW)
    assert {each["ip"] for each in export(state, tmp_path / "open.csv", "--status", "all")} == {SCANNED, CLOSED}


def test_tables_of_networks_say_what_no_scan_did(state: Path, tmp_path: Path) -> None:
    (tmp_path / "asn.csv").write_text("198.51.100.0,198.51.100.255,64511\n")
    config = tmp_path / "dnsvigil.yml"
    config.write_text(f"domains: {{networks: [{tmp_path}/asn.csv]}}\n")
    path = tmp_path / "open.csv"
    words = ["--config", str(config), "--state", str(state), "findings", "export", "--shadowserver", str(path)]
    assert main(words) == 0
    with path.open(encoding="utf-8", newline="") as file:
        assert {each["ip"]: each["asn"] for each in csv.DictReader(file)} == {SEEN: "64511", SCANNED: "64496"}


def test_a_report_counts_once_and_says_what_it_skipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = report(tmp_path, row(NOW, SCANNED), row("no time", SEEN))
    words = ["--state", str(tmp_path / "other"), "ingest", str(path)]
    assert main(words) == 0
    assert "1 row of reports read, 1 skipped" in capsys.readouterr().err
    assert main(words) == 0
    assert f"{path.name} was already read" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_an_error(state: Path, tmp_path: Path) -> None:
    words = ["--state", str(state), "findings", "export", "--shadowserver", str(tmp_path / "no" / "where.csv")]
    assert main(words) == 1
