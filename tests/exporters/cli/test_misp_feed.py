"""``dnsvigil findings export --misp``: the feed is what MISP reads, the same each time, and without clients."""

import csv
import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dnsvigil.cli.main import main
from dnsvigil.store.findings import Finding, Findings
from dnsvigil.store.store import Store

pymisp = pytest.importorskip("pymisp")

SEEN = datetime(2023, 11, 14, 22, 13, 20)
CLIENT = "192.0.2.7"


def finding(detector: str, subject_type: str, subject: str, **evidence: object) -> Finding:
    return Finding(detector, subject_type, subject, 0.9, "critical", SEEN, SEEN, evidence)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    state = tmp_path / "state"
    with Store(state) as store:
        findings = Findings(store)
        with store.transaction():
            findings.put(finding("malware", "client", CLIENT, domains=["evil-x.com", "other-x.com"]))
            findings.put(finding("malware", "domain", "botnet-x.com", domains=["botnet-x.com"], addresses=[CLIENT]))
            findings.put(finding("honeypot", "client", CLIENT, domains=[], fetched_from=["192.88.99.9", "dl-x.com"]))
            findings.put(finding("nfsen", "client", CLIENT, domains=[".", "../../x", "a\x1b[31m", 7]))
            findings.put(finding("tunnel", "client", CLIENT, domains=["harmless-x.com"]))
        findings.dismiss(5, "ours", SEEN)
    return state


def export(state: Path, feed: Path, *words: str) -> int:
    return main(["--state", str(state), "findings", *words, "export", "--misp", str(feed)])


def test_the_feed_is_one_that_misp_reads(state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    feed = tmp_path / "feed"
    assert export(state, feed, "--status", "all") == 0
    captured = capsys.readouterr()
    assert captured.out == f"{feed}: 3 events\n"
    assert captured.err.startswith("2 findings left out")
    manifest = json.loads((feed / "manifest.json").read_text())
    assert {path.name for path in feed.iterdir()} == {
        "manifest.json",
        "hashes.csv",
        *(f"{each}.json" for each in manifest),
    }
    events = {}
    for identity, about in manifest.items():
        event = pymisp.MISPEvent()
        event.load_file(feed / f"{identity}.json")
        assert (event.uuid, event.info, event.Orgc.name) == (identity, about["info"], "dnsvigil")
        assert about["timestamp"] == event.timestamp.timestamp() == SEEN.replace(tzinfo=UTC).timestamp()
        events[event.info] = {(each.type, each.value, each.to_ids) for each in event.attributes}
    assert events == {
        "dnsvigil, malware: evil-x.com": {("domain", "evil-x.com", True), ("domain", "other-x.com", True)},
        "dnsvigil, malware: botnet-x.com": {("domain", "botnet-x.com", True)},
        "dnsvigil, honeypot: 192.88.99.9": {("ip-dst", "192.88.99.9", True), ("domain", "dl-x.com", True)},
    }
    hashes = dict(csv.reader((feed / "hashes.csv").read_text().splitlines()))
    assert manifest[hashes[hashlib.md5(b"evil-x.com").hexdigest()]]["info"] == "dnsvigil, malware: evil-x.com"
    assert len(hashes) == 5
    assert not any(CLIENT in path.read_text() for path in feed.iterdir())


def test_the_same_findings_are_the_same_feed(state: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert export(state, tmp_path / name) == 0
    one, two = ({path.name: path.read_text() for path in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert one == two


def test_what_is_no_longer_selected_leaves_the_feed(state: Path, tmp_path: Path) -> None:
    feed = tmp_path / "feed"
    assert export(state, feed) == 0
    (feed / "mine.json").write_text("{}")
    manifest = json.loads((feed / "manifest.json").read_text())
    (feed / "manifest.json").write_text(json.dumps(manifest | {"../state/dnsvigil.duckdb": {}}))
    assert export(state, feed, "--detector", "honeypot") == 0
    assert len(list(feed.iterdir())) == 4
    assert (feed / "mine.json").exists() and (state / "dnsvigil.duckdb").exists()


@pytest.mark.parametrize("place", ["a-file", "no/such/folder"])
def test_a_folder_that_cannot_be_written_is_an_error(
    state: Path, tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a-file").write_text("")
    assert export(state, tmp_path / place) == 1
    assert "the feed cannot be written" in capsys.readouterr().err


def test_without_pymisp_it_says_what_to_install(
    state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pymisp", None)
    assert export(state, tmp_path / "feed") == 1
    assert "dnsvigil[misp]" in capsys.readouterr().err
