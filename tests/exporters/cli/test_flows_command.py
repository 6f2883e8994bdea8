"""``dnsvigil flows`` and ``dnsvigil findings``: real flow files, a real nfdump, real stores and collectors."""

from __future__ import annotations

import http.client
import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import numpy as np
import pytest
import yaml

from alerting import free_port
from dnsvigil.cli.main import main
from dnsvigil.httpd.access import TOKEN_FILE, keep_token
from dnsvigil.store.findings import Finding, Findings
from dnsvigil.store.flows import FlowTables
from dnsvigil.store.store import Store
from exporters.flowfiles import OneWay, name_at, write_flows
from exporters.running import collecting, eventually
from lab.flows import resolver_traffic, write

needs_nfdump = pytest.mark.skipif(not shutil.which("nfdump"), reason="needs nfdump")

SLOT = 300
START = 1_700_000_100  # the begin of a slot
NOON = datetime(2026, 3, 1, 12)
HOSTILE = "a\x1b[31m\u202eb"

Truth = Counter[tuple[str, str]]
"""Of each talker flows, packets and bytes."""


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch) -> Iterator[None]:
    """Somewhere that is half an hour off the slots of most others."""
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def run(capsys, caplog) -> Callable[..., tuple[int, str, str]]:
    """Gives exit status, output and errors of a command."""

    def running(*words: str | Path) -> tuple[int, str, str]:
        caplog.clear()
        try:
            status = main([str(word) for word in words])
        except SystemExit as end:
            status = end.code
        captured = capsys.readouterr()
        return status, captured.out, captured.err + caplog.text

    return running


@pytest.fixture
def top(run) -> Callable[..., list[dict[str, object]]]:
    """Gives the list of a ``flows top`` that has nothing to say besides."""

    def listing(*words: str | Path) -> list[dict[str, object]]:
        status, output, errors = run("flows", "top", "--json", *words)
        assert (status, errors) == (0, "")
        return json.loads(output)

    return listing


def count(parts: Iterable[np.ndarray], end: str = "src") -> Truth:
    """What each address has in all, worked out in plain Python."""
    found: Truth = Counter()
    for flows in parts:
        for (upper, lower), packets, size in zip(
            flows[end].tolist(), flows["packets"].tolist(), flows["bytes"].tolist(), strict=True
        ):
            talker = str(ip_address(lower) if not upper else ip_address(upper << 64 | lower))
            for measure, value in (("flows", 1), ("packets", packets), ("bytes", size)):
                found[talker, measure] += value
    return found


def greatest(truth: Truth, order: str, limit: int) -> list[int]:
    return sorted((value for (_, measure), value in truth.items() if measure == order), reverse=True)[:limit]


def traffic(number: int) -> list[np.ndarray]:
    return list(resolver_traffic(START + number * SLOT, 4000, others=0.5, seed=number))


def damage(path: Path) -> None:
    """Overwrite the head of the file's last block of records."""
    raw = bytearray(path.read_bytes())
    blocks = int.from_bytes(raw[36:40], "little")
    at = 40
    for _ in range(blocks - 1):
        at += 12 + int.from_bytes(raw[at + 4 : at + 8], "little")
    raw[at : at + 8] = b"\xff" * 8
    path.write_bytes(raw)


# flows top


@needs_nfdump
def test_top_talkers_of_all_files_are_those_of_the_flows(tmp_path, top):
    parts = [traffic(number) for number in range(3)]
    for number, each in enumerate(parts):
        folder = tmp_path / "ab"[number % 2]  # two exporters that have files of one name
        folder.mkdir(exist_ok=True)
        write(folder / name_at(START + number // 2 * SLOT), each)
    (tmp_path / "a" / "README").write_text("not a flow file")
    (tmp_path / "a" / "nfcapd.current.17").write_text("not finished")
    flat = [flows for each in parts for flows in each]
    for end, by in (("src", "srcip"), ("dst", "dstip")):
        truth = count(flat, end)
        for order in ("flows", "packets", "bytes"):
            rows = top("--by", by, "--order", order, "--limit", "30", tmp_path)
            assert [row[order] for row in rows] == greatest(truth, order, 30)
            for row in rows:
                assert row["element"] == by
                assert all(row[measure] == truth[row["talker"], measure] for measure in ("flows", "packets", "bytes"))
    assert any(":" in row["talker"] for row in rows)


@needs_nfdump
def test_elements_and_filters(tmp_path, run, top):
    flows = [
        OneWay("192.0.2.1", 1234, "192.0.2.53", 53, count=3),
        OneWay("192.0.2.2", 1235, "192.0.2.53", 53, proto=6, bytes=1000),
        OneWay("192.0.2.2", 1235, "192.0.2.53", 443, proto=132, bytes=10_000),
        OneWay("192.0.2.3", 0, "192.0.2.9", 0, proto=254),
    ]
    file = write_flows(tmp_path, START, flows)
    protocols = top("--by", "proto", file)
    assert {row["talker"]: row["flows"] for row in protocols} == {"udp": 3, "tcp": 1, "sctp": 1, "254": 1}
    ports = top("--by", "dstport", "--filter", "proto udp or proto tcp", tmp_path)
    assert [(row["talker"], row["flows"], row["bytes"]) for row in ports] == [("53", 4, 1180)]
    assert [row["talker"] for row in top("--by", "srcport", "--limit", "1", file)] == ["1235"]
    assert top("--by", "proto", file, tmp_path) == protocols
    assert top("--by", "srcas", file) == [
        {"element": "srcas", "talker": "0", "flows": 6, "packets": 6, "bytes": 11_240}
    ]
    assert top("--filter", "port 9999", file) == []
    status, output, errors = run("flows", "top", "--filter", "port port", file)
    assert (status, output) == (2, "")
    assert "syntax error at 'port'" in errors
    status, output, errors = run("flows", "top", "--filter", "port 9999", file)
    assert (status, output, errors) == (0, "", "no flows in 1 file\n")


@needs_nfdump
def test_the_table_is_aligned_and_grouped(tmp_path, run):
    flows = [OneWay("192.0.2.1", 1, "192.0.2.2", 53, packets=5, bytes=1_234_567), OneWay("2001:db8::1", 1, "::2", 53)]
    file = write_flows(tmp_path, START, flows)
    assert run("flows", "top", file)[1].splitlines() == [
        "srcip        flows  packets      bytes",
        "192.0.2.1        1        5  1,234,567",
        "2001:db8::1      1        1         60",
    ]


@needs_nfdump
def test_a_damaged_file_costs_nothing_but_what_is_damaged(tmp_path, run):
    parts = [np.array_split(traffic(number)[0], 3) for number in range(3)]
    files = [tmp_path / name_at(START + number * SLOT) for number in range(3)]
    for file, each in zip(files, parts, strict=True):
        write(file, each)
    damage(files[1])
    truth = count([*parts[0], *parts[1][:-1], *parts[2]])
    for order in ("flows", "bytes"):
        status, output, errors = run("flows", "top", "--json", "--order", order, "--limit", "25", tmp_path)
        assert status == 0
        assert str(files[1]) in errors
        assert "the readable part is counted" in errors
        assert str(files[0]) not in errors
        rows = json.loads(output)
        assert [row[order] for row in rows] == greatest(truth, order, 25)
        assert all(row["bytes"] == truth[row["talker"], "bytes"] for row in rows)
    only = run("flows", "top", "--json", "--filter", "port 1 and port 2", files[1])
    assert (only[0], only[1]) == (0, "[]\n")


@needs_nfdump
def test_what_cannot_be_read_is_told_and_the_rest_is_read(tmp_path, run):
    good = write_flows(tmp_path / "good", START, [OneWay("192.0.2.1", 1, "192.0.2.2", 53)])
    bad = tmp_path / "bad"
    bad.write_text("not a flow file at all")
    for wrong in (bad, tmp_path / "gone"):
        status, output, errors = run("flows", "top", "--json", wrong, good)
        assert [row["talker"] for row in json.loads(output)] == ["192.0.2.1"]
        assert str(wrong) in errors
        assert status == (wrong != bad)
    status, output, errors = run("flows", "top", tmp_path / "gone")
    assert (status, output) == (1, "")


def test_without_nfdump_it_is_said_once(tmp_path, monkeypatch, run):
    files = [tmp_path / name_at(START + number * SLOT) for number in range(5)]
    for file in files:
        file.touch()
    monkeypatch.setenv("PATH", "/nonexistent")
    status, output, errors = run("flows", "top", *files)
    assert (status, output, errors.count("nfdump")) == (1, "", 1)
    assert "Is it installed?" in errors


@needs_nfdump
def test_windows_are_of_whole_slots(tmp_path, run, top):
    for number in range(6):
        write_flows(tmp_path, START + number * SLOT, [OneWay(f"192.0.2.{number}", 1, "192.0.2.99", 53)])
    untimed = write_flows(tmp_path / "x", START + 2 * SLOT, [OneWay("192.0.2.200", 1, "::", 53)], name="flows.of.some")

    def seen(*words: str) -> set[str]:
        return {row["talker"].removeprefix("192.0.2.") for row in top(*words, tmp_path)}

    def local(slots: float) -> str:
        return f"{datetime.fromtimestamp(START + slots * SLOT):%Y-%m-%d %H:%M:%S}"

    def utc(slots: float) -> str:
        return f"{datetime.fromtimestamp(START + slots * SLOT, UTC):%Y-%m-%dT%H:%M:%SZ}"

    assert seen() == {"0", "1", "2", "3", "4", "5", "200"}
    assert seen("--from", local(2), "--to", local(4)) == {"2", "3", "200"}
    assert seen("--from", utc(2.5), "--to", utc(3.1)) == {"2", "3", "200"}
    assert seen("--from", utc(4)) == {"4", "5"}
    assert seen("--to", local(1)) == {"0"}
    assert seen("--last", "1h") == set()
    assert top("--from", utc(2), "--to", utc(3), untimed)[0]["talker"] == "192.0.2.200"
    for words, says in (
        (["--from", utc(3), "--to", utc(3)], "not before"),
        (["--last", "1h", "--from", utc(3)], "not together"),
        (["--last", "1 hour"], "expected a duration such as"),
        (["--from", "yesterday"], "not a time such as"),
        (["--limit", "0"], "not a number above 0"),
        (["--by", "mac"], "invalid choice"),
    ):
        status, _, errors = run("flows", "top", *words, tmp_path)
        assert (status, says in errors) == (2, True), words


@needs_nfdump
def test_sources_of_the_configuration_are_read_for_the_last_hour(tmp_path, run):
    now = time.time() // SLOT * SLOT
    for number, (folder, ident) in enumerate((("east/2026/03/01", "router-1"), ("west", "none"), ("west", "router-2"))):
        begin = now - number * SLOT
        write_flows(tmp_path / folder, begin, [OneWay(f"192.0.2.{number}", 1, "::1", 53)], ident=ident)
    write_flows(tmp_path / "west", now - 20 * SLOT, [OneWay("192.0.2.20", 1, "::1", 53)])
    config = tmp_path / "dnsvigil.yml"
    sources = [{"path": str(tmp_path / "*")}, {"path": str(tmp_path / "west"), "exporter": "edge"}]
    config.write_text(yaml.safe_dump({"sources": {"netflow": sources[:1]}}))

    def seen(*words: str) -> set[str]:
        status, output, _ = run("-c", config, "flows", "top", "--json", *words)
        assert status == 0
        return {row["talker"].removeprefix("192.0.2.") for row in json.loads(output)}

    assert seen() == {"0", "1", "2"}
    assert seen("--last", "2h") == {"0", "1", "2", "20"}
    assert [seen("--exporter", name) for name in ("router-1", "west", "router-2", "east")] == [
        {"0"},
        {"1"},
        {"2"},
        set(),
    ]
    config.write_text(yaml.safe_dump({"sources": {"netflow": sources[1:]}}))
    assert seen("--exporter", "edge") == {"1", "2"}
    config.write_text(yaml.safe_dump({"sources": {"netflow": [{"path": str(tmp_path / "gone")}]}}))
    status, _, errors = run("-c", config, "flows", "top")
    assert (status, str(tmp_path / "gone") in errors) == (1, True)
    config.write_text("{}")
    status, _, errors = run("-c", config, "flows", "top")
    assert (status, "sources.netflow" in errors) == (2, True)


# flows series and findings


def finding(subject: str, severity: str = "warning") -> Finding:
    evidence = {"name": subject, "numbers": list(range(50))}
    return Finding("nfsen", "resolver", subject, 0.5, severity, NOON, NOON, evidence)


def fill(state: Path) -> None:
    with Store(state) as store:
        FlowTables(store, 10**9)
        findings = Findings(store)
        with store.transaction():
            findings.put(finding(HOSTILE, "critical"))
            findings.put(finding("192.0.2.53"))
        for number in range(24):
            store.connection.execute(
                "INSERT INTO slot_services VALUES (?, ?, 'udp', 'dns', 10, 20, ?, 1)",
                [NOON - number * timedelta(minutes=5), HOSTILE, 1_000_000 + number],
            )
        store.connection.execute(
            "INSERT INTO flow_verdicts VALUES (?, ?, 'udp', 'dns', NULL, 'bytes', 1, 123.456, 1, 1, ['spike'], 1)",
            [NOON, HOSTILE],
        )


def test_series_are_a_table_and_a_list(tmp_path, run):
    fill(tmp_path)
    command = ["--state", tmp_path, "flows", "series", "--measure", "bytes"]
    status, output, _ = run(*command, "--last", "10m")
    assert status == 0
    assert output.splitlines() == [
        r"slot                  exporter          protocol  service  measure      value  baseline  unusual",
        r"2026-03-01T11:55:00Z  a\x1b[31m\u202eb  udp       dns      bytes    1,000,001         -",
        r"2026-03-01T12:00:00Z  a\x1b[31m\u202eb  udp       dns      bytes    1,000,000       123  spike",
    ]
    (listed,) = json.loads(run(*command, "--json", "--last", "1h")[1])
    assert (listed["exporter"], len(listed["points"])) == (HOSTILE, 12)
    status, output, errors = run(*command, "--exporter", "nobody")
    assert (status, output, errors) == (0, "", "the store has no such series\n")
    status, _, errors = run("--state", tmp_path, "flows", "series", "--measure", "colour")
    assert (status, errors) == (2, "dnsvigil: measure: expected one of flows, packets, bytes\n")


def test_findings_are_a_table_and_a_list(tmp_path, run):
    with Store(tmp_path / "new"):
        pass
    assert run("--state", tmp_path / "new", "findings")[:2] == (0, "no finding is open\n")
    assert run("--state", tmp_path / "new", "findings", "--json")[:2] == (0, "[]\n")
    fill(tmp_path)
    status, output, _ = run("--state", tmp_path, "findings")
    head, worst, _ = output.splitlines()
    assert status == 0
    assert head.split() == [
        "id",
        "severity",
        "score",
        "detector",
        "type",
        "subject",
        "last",
        "seen",
        "count",
        "what",
        "happens",
    ]
    assert r"critical    0.5  nfsen     resolver  a\x1b[31m\u202eb  2026-03-01T12:00:00Z      1  " in worst
    assert worst.endswith(r"  NfSen's alert a\x1b[31m\u202eb fired.")
    listed = json.loads(run("--state", tmp_path, "findings", "--json")[1])
    assert [each["subject"] for each in listed] == [HOSTILE, "192.0.2.53"]
    number = str(listed[0]["id"])
    for words in (["show", number, "--json"], ["--json", "show", number]):
        assert json.loads(run("--state", tmp_path, "findings", *words)[1]) == [listed[0] | {"events": []}]
    shown = run("--state", tmp_path, "findings", "show", number)[1]
    assert r"subject       a\x1b[31m\u202eb" in shown
    assert "    name     a\\x1b[31m\\u202eb\n    numbers  0, 1, 2" in shown
    status, _, errors = run("--state", tmp_path, "findings", "show", "999")
    assert (status, errors) == (1, "dnsvigil: there is no such finding\n")
    assert run("--state", tmp_path, "findings", "show", "x")[0] == 2


WHAT = "finding {} of nfsen about resolver a\\x1b[31m\\u202eb"


def test_a_finding_is_dismissed(tmp_path, run):
    fill(tmp_path)
    command = ["--state", tmp_path, "findings"]
    number = json.loads(run(*command, "--json")[1])[0]["id"]
    until = f"{datetime.now(UTC) + timedelta(days=7):%Y-%m-%dT%H:%M:%SZ}"
    assert run(*command, "note", number, "asked\x1b[31m") == (0, f"{WHAT.format(number)} has a new note\n", "")
    status, output, _ = run(*command, "dismiss", number, "--why", "ours\x1b[31m", "--until", until)
    assert (status, output) == (0, f"{WHAT.format(number)} is dismissed until {until}\n")
    assert [each["subject"] for each in json.loads(run(*command, "--json")[1])] == ["192.0.2.53"]
    shown = run(*command, "show", number)[1]
    assert "state         dismissed\nwhy           ours\\x1b[31m\n" in shown
    dismissal, note = shown.partition("\nhistory\n")[2].splitlines()
    assert dismissal.endswith(f"dismissed until {until} by command line: ours\\x1b[31m")
    assert note.endswith("noted by command line: asked\\x1b[31m")
    past = run(*command, "dismiss", number, "--why", "x", "--until", "2020-01-01T00:00Z")
    assert past[::2] == (2, "dnsvigil: until: expected a time to come, within 3,653 days\n")
    assert run(*command, "dismiss", "999", "--why", "x")[::2] == (1, "dnsvigil: there is no such finding\n")
    assert run(*command, "dismiss", number, "--why", " ")[::2] == (2, "dnsvigil: why: expected 1 to 1,024 characters\n")
    assert run(*command, "dismiss", number)[0] == 2


def test_a_running_collector_is_asked(tmp_path, run):
    state = tmp_path / "state"
    fill(state)
    port = free_port()
    config = tmp_path / "dnsvigil.yml"
    config.write_text(f"listen: :{port}\n")
    elsewhere = tmp_path / "elsewhere.yml"
    elsewhere.write_text(f"listen: '[::]:{free_port()}'\n")
    command = ["-c", config, "--state", state]
    before = run(*command, "flows", "series", "--json")
    assert len(json.loads(before[1])) == 3
    with collecting(config, state) as collector:
        collector.get("/-/ready")
        assert run(*command, "flows", "series", "--json") == before
        report(port, keep_token(state / TOKEN_FILE), finding("192.0.2.7").record())
        eventually(lambda: "192.0.2.7" in run(*command, "findings")[1])
        status, _, errors = run(*command, "flows", "series", "--measure", "x")
        assert (status, errors) == (2, "dnsvigil: measure: expected one of flows, packets, bytes\n")
        assert run(*command, "findings", "show", "999")[0] == 1
        (number,) = (
            each["id"] for each in json.loads(run(*command, "findings", "--json")[1]) if each["subject"] == "192.0.2.7"
        )
        assert run(*command, "findings", "dismiss", "999", "--why", "x")[0] == 1
        eventually(lambda: "is dismissed" in run(*command, "findings", "dismiss", number, "--why", "ours")[1])
        assert "192.0.2.7" not in run(*command, "findings")[1]
        assert run("-c", config, "--state", config, "flows", "series", "--json") == before
        status, output, errors = run("-c", elsewhere, "--state", state, "findings")
        assert (status, output) == (1, "")
        assert "is in use by" in errors
        assert "no collector answers at http://[::1]:" in errors


def report(port: int, token: str, record: dict[str, object]) -> None:
    names = ("detector", "subject_type", "subject", "score", "severity", "evidence")
    body = json.dumps({name: record[name] for name in names})
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        connection.request("POST", "/api/findings", body, headers)
        assert connection.getresponse().status in (201, 202)
