"""``dnsvigil findings``: which are listed, what is said of them, and what a terminal gets."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dnsvigil.api.finding_text import details, sentence
from dnsvigil.cli.main import main
from dnsvigil.cli.output import show, show_json
from dnsvigil.store.findings import Finding, Findings
from dnsvigil.store.flows import FlowTables
from dnsvigil.store.store import Store
from dnsvigil.system.terminal import EscapingFormatter, printable

NOW = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
# C0, DEL, C1, bidi controls, a line of its own, half of a pair
HOSTILE = "a\x1b]0;x\x07\x7f\x9b31m\u202eb\u2066\nc\r\u2028"
FORBIDDEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

Run = Callable[..., tuple[int, str, str]]


def finding(
    detector: str = "tunnel", subject: str = "192.0.2.7", severity: str = "warning", age: int = 0, **evidence: Any
) -> Finding:
    seen = NOW - timedelta(minutes=age)
    return Finding(detector, "client", subject, 0.5, severity, seen, seen, evidence)


def fill(state: Path, *findings: Finding) -> None:
    with Store(state) as store:
        FlowTables(store, 10**9)
        store.rows("INSERT INTO slot_services VALUES (?, 'edge', 'udp', 'dns', 1, 2, 3, 1)", NOW)
        kept = Findings(store)
        with store.transaction():
            for each in findings:
                kept.put(each)


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def running(*words: str | int) -> tuple[int, str, str]:
        try:
            status = main(["--state", str(tmp_path), "findings", *map(str, words)])
        except SystemExit as end:
            status = int(end.code or 0)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return running


# Which


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "1 2 3"),
        (["--status", "all"], "1 2 3 4 5"),
        (["--status", "closed"], "4"),
        (["--status", "dismissed"], "5"),
        (["--detector", "malware"], "2"),
        (["--severity", "critical"], "1"),
        (["--severity", "critical", "--detector", "malware"], ""),
        (["--subject", "192.0.2.3"], "3"),
        (["--subject-type", "client"], "1 2 3"),
        (["--subject-type", "domain"], ""),
        (["--last", "10m"], "1 2"),
        (["--since", f"{NOW - timedelta(minutes=40):%Y-%m-%dT%H:%M:%SZ}"], "1 2 3"),
        (["--since", f"{NOW + timedelta(minutes=1):%Y-%m-%dT%H:%M:%SZ}"], ""),
        (["--status", "all", "--last", "3h"], "1 2 3 4 5"),
    ],
)
def test_filters(words, expected, tmp_path, run):
    fill(
        tmp_path,
        finding(subject="192.0.2.1", severity="critical"),
        finding("malware", "192.0.2.2"),
        finding(subject="192.0.2.3", age=30),
        finding(subject="192.0.2.4", age=90),
        finding(subject="192.0.2.5"),
    )
    with Store(tmp_path) as store:
        findings = Findings(store)
        with store.transaction():
            findings.close_quiet(NOW)
            findings.dismiss(5, "ours", NOW)
    status, output, errors = run(*words, "--json")
    assert (status, errors) == (0, "")
    assert " ".join(sorted(str(each["id"]) for each in json.loads(output))) == expected
    status, output, _ = run(*words)
    lines = output.splitlines()
    if expected:
        assert sorted(line.split()[0] for line in lines[1:]) == expected.split()
        assert ("state" in lines[0].split()) == ("all" in words)
    else:
        assert lines == ["no such finding is open"]


@pytest.mark.parametrize(
    "words",
    [
        ["--status", "gone"],
        ["--severity", "bad"],
        ["--subject-type", "planet"],
        ["--since", "yesterday"],
        ["--last", "1 day"],
        ["--last", "1h", "--since", "2026-01-01"],
        ["--limit", "0"],
        ["--limit", "10001"],
        ["reopen"],
        ["reopen", "x"],
    ],
    ids=" ".join,
)
def test_wrong_usage(words, tmp_path, run):
    fill(tmp_path)
    status, output, errors = run(*words)
    assert (status, output) == (2, "")
    assert errors


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "no finding is open\n"),
        (["--status", "closed"], "no finding is closed\n"),
        (["--status", "all"], "there is no finding\n"),
        (["--status", "all", "--detector", "x"], "there is no such finding\n"),
    ],
)
def test_nothing_is_said_in_words(words, says, tmp_path, run):
    fill(tmp_path)
    assert run(*words) == (0, says, "")


def test_the_limit_of_a_list_is_said(tmp_path, run):
    fill(tmp_path, *(finding(subject=f"192.0.2.{number}") for number in range(5)))
    status, output, errors = run("--limit", 2)
    assert (status, len(output.splitlines())) == (0, 3)
    assert errors == "2 of 5 findings shown; --limit shows more\n"
    status, output, errors = run("--limit", 2, "--json")
    assert (status, len(json.loads(output))) == (0, 2)
    assert "2 of 5" in errors
    assert run("--limit", 5)[2] == ""
    with Store(tmp_path) as store:
        store.rows("UPDATE findings SET evidence = 'none' WHERE id = 1")
    assert run()[2] == "4 of 5 findings shown; dnsvigil set-aside lists those that fail\n"


# Reopen


def test_what_is_reopened_is_found_again(tmp_path, run):
    fill(tmp_path, finding(domains=["a.example"]), finding(subject="192.0.2.8", domains=["b.example"]))
    assert run("dismiss", 1, "--why", "ours")[0] == 0
    fill(tmp_path, finding(domains=["a.example"]))
    assert [each["id"] for each in json.loads(run("--json")[1])] == [2]
    assert run("reopen", 1) == (0, "finding 1 of tunnel about client 192.0.2.7 is open again\n", "")
    assert run("reopen", 1)[0] == 0
    (found,) = json.loads(run("show", 1, "--json")[1])
    assert (found["state"], found["why"], found["count"]) == ("open", None, 1)
    fill(tmp_path, finding(domains=["a.example"]))
    assert json.loads(run("show", 1, "--json")[1])[0]["count"] == 2
    with Store(tmp_path) as store:
        assert store.rows("FROM dismissals") == []


def test_one_that_cannot_be_reopened(tmp_path, run):
    fill(tmp_path, finding(age=90))
    with Store(tmp_path) as store:
        findings = Findings(store)
        with store.transaction():
            findings.close_quiet(NOW)
    assert run("reopen", 1) == (1, "", "dnsvigil: finding 1 is closed, not dismissed\n")
    assert run("reopen", 99) == (1, "", "dnsvigil: there is no such finding\n")


def test_one_whose_subject_has_another_open_finding_by_now(tmp_path, run):
    fill(tmp_path, finding())
    run("dismiss", 1, "--why", "ours")
    fill(tmp_path, finding(severity="critical"))
    status, output, _ = run("reopen", 1)
    assert (status, output.endswith("is no longer dismissed; finding 2 is open\n")) == (0, True)
    assert [each["id"] for each in json.loads(run("--json")[1])] == [2]


# In words


def record(detector: str, subject_type: str, subject: str, **evidence: Any) -> dict[str, Any]:
    return {"detector": detector, "subject_type": subject_type, "subject": subject, "evidence": evidence}


VERDICT = {"exporter": "edge", "protocol": "udp", "service": "dns", "measure": "bytes", "value": 918_230}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            record("tunnel", "client", "192.0.2.7", domains=["t.example"], bytes=12_345, hours=3.0, resembles="iodine"),
            "Client 192.0.2.7 sends about 12.3 kB out through DNS in names of t.example within 3 h;"
            " it looks like iodine.",
        ),
        (
            record("tunnel", "domain", "t.example", domains=["t.example"], bytes=2_000_000, hours=1, clients_asking=2),
            "2 clients send about 2 MB out through DNS in names of t.example within 1 h.",
        ),
        (
            record("malware", "client", "192.0.2.8", failing=9, seconds=40, expected=1.2345, domains=["x.example"]),
            "Client 192.0.2.8 behaves as if malware ran on it: it asked for 9 domains that failed within 40 s, where"
            " 1.23 would be usual.",
        ),
        (
            record("malware", "client", "192.0.2.8", listed=[{"entry": "x.example", "lists": ["urlhaus"]}]),
            "Client 192.0.2.8 behaves as if malware ran on it: it asked for x.example, on the list urlhaus.",
        ),
        (
            record(
                "malware",
                "client",
                "192.0.2.8",
                listed=[{"entry": "x.example", "lists": ["a"]}, {"entry": "203.0.113.0/24", "lists": ["drop"]}],
            ),
            "Client 192.0.2.8 behaves as if malware ran on it: it asked for x.example and it was led to 203.0.113.0/24,"
            " on the lists a, drop.",
        ),
        (
            record("malware", "domain", "x.example", clients=3, domains=["x.example"]),
            "3 clients behave as if the same malware ran on them: they ask for the same domains, such as x.example.",
        ),
        (
            record("malware", "domain", "x.example", clients=60, listed=[{"entry": "x.example", "lists": ["a", "b"]}]),
            "60 clients asked for x.example, which is on the lists a, b.",
        ),
        (
            record("malware", "client", "192.0.2.9", queries=70_000, failures=69_000, new_names=60_000),
            "Client 192.0.2.9 asked for more new names than are kept: 70,000 queries, of which 69,000 failed.",
        ),
        (
            record("nfsen", "series", "dns", verdicts=[{**VERDICT, "baseline": 90_210.5, "anomalies": ["spike"]}]),
            "NfSen's alert dns fired: bytes of edge/udp/dns 918 kB instead of 90.2 kB (spike).",
        ),
        (
            record("nfsen", "series", "dns", verdicts=[], now={"flows": 100, "bytes": 2000}),
            "NfSen's alert dns fired: 100 flows, 2,000 bytes in five minutes.",
        ),
        (
            record("curious", "client", "192.0.2.7", newly_observed_domains=[1, 2, 3], share=0.123456),
            "The detector curious reports the client 192.0.2.7: newly observed domains 1, 2, … (3); share 0.123.",
        ),
        (record("curious", "client", "192.0.2.7"), "The detector curious reports the client 192.0.2.7."),
        (record("flood", "domain", "x.example", what="300 clients flood x.example."), "300 clients flood x.example."),
    ],
)
def test_a_finding_is_one_sentence(given, expected):
    assert sentence(given) == expected


@pytest.mark.parametrize("detector", ["malware", "tunnel", "nfsen", "curious"])
@pytest.mark.parametrize("subject_type", ["client", "domain", "series"])
@pytest.mark.parametrize("odd", [None, [], "text", 5, {"a": None}, [None], [[1]], True, {"b": [{}]}], ids=repr)
def test_evidence_of_any_form_is_put_into_words(detector, subject_type, odd):
    """As anybody may hand a finding over under any name."""
    keys = "bytes hours domains clients listed failing seconds expected verdicts now queries failures new_names what"
    given = record(detector, subject_type, "x", **dict.fromkeys(keys.split(), odd))
    assert sentence(given)
    for label, text in details(given["evidence"]):
        assert label
        assert isinstance(text, str)


def test_numbers_have_units_and_names():
    found = dict(details({"bytes": 12_345, "bytes_up_per_second": 120.25, "hours": 3.0, "bits_per_octet": 4.951234}))
    assert found == {
        "bytes": "12.3 kB",
        "sent": "120 B/s",
        "window": "3 h",
        "information in names": "4.95 bits per byte",
    }
    assert details({"verdicts": [VERDICT, VERDICT]}) == 2 * [
        ("verdicts", "exporter edge, protocol udp, service dns, measure bytes, value 918,230")
    ]


# What a terminal gets


def test_nothing_of_a_hostile_name_reaches_a_terminal(tmp_path, run, caplog):
    fill(tmp_path, finding("curious", HOSTILE, names=[HOSTILE], **{HOSTILE: {HOSTILE: [HOSTILE]}}))
    for words in ([], ["--json"], ["show", 1], ["show", 1, "--json"], ["dismiss", 1, "--why", HOSTILE], ["reopen", 1]):
        status, output, errors = run(*words)
        assert status == 0
        assert not FORBIDDEN.search(output + errors), words
        assert r"\x1b]0;x" in output or r"\u001b]0;x" in output
    status, output, _ = run("--subject", HOSTILE)
    assert "no such finding is open" not in output
    assert json.loads(run("--json")[1])[0]["subject"] == HOSTILE
    main(["--state", str(tmp_path), "metrics"])


@pytest.mark.parametrize("command", ["metrics", "flows series"])
def test_other_commands_do_not_either(command, tmp_path, capsys):
    fill(tmp_path, finding("curious", HOSTILE))
    with Store(tmp_path) as store:
        store.rows("INSERT INTO slot_services VALUES (?, ?, 'udp', 'dns', 1, 2, 3, 1)", NOW, HOSTILE)
    assert main(["--state", str(tmp_path), *command.split()]) == 0
    output = capsys.readouterr().out
    assert not FORBIDDEN.search(output)
    assert r"\x1b]0;x" in output


def test_lone_surrogates_are_shown(capsys):
    show(("name",), [["a\ud800b"]])
    show_json(["a\udfffb\x7f"])
    assert capsys.readouterr().out == 'name\na\\ud800b\n[\n  "a\\udfffb\\u007f"\n]\n'
    assert printable("é日") == "é日"


def test_log_lines_quote_nothing_that_acts():
    import logging

    record = logging.LogRecord("x", logging.WARNING, "x", 1, "read %s", (HOSTILE,), None)
    record.created = 0
    line = EscapingFormatter().format(record)
    assert line.startswith("1970-01-01T00:00:00Z WARNING read a\\x1b]0;x")
    assert not FORBIDDEN.search(line)
    assert "\n" not in line


def on_terminal(columns: int, *words: str | Path) -> list[str]:
    """Return the lines of a command on a terminal."""
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "dnsvigil", *map(str, words)]
    environment = {**os.environ, "COLUMNS": str(columns), "LANG": "C.UTF-8"}
    with os.fdopen(leader, "rb") as stream:
        process = subprocess.Popen(command, stdout=follower, stderr=subprocess.DEVNULL, env=environment)
        os.close(follower)
        output = b""
        try:
            while part := stream.read1():
                output += part
        except OSError:  # how the end of a terminal is read
            pass
        assert process.wait(60) == 0
    return output.decode().replace("\r\n", "\n").splitlines()


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_tables_fit_the_terminal_and_only_that(columns, tmp_path):
    name = "a-very-long-name-of-a-host." * 9 + "example"
    fill(tmp_path, finding("curious", name, names=[name]))
    listed = on_terminal(columns, "--state", tmp_path, "findings")
    shown = on_terminal(columns, "--state", tmp_path, "findings", "show", "1")
    assert max(map(len, listed + shown[:3])) <= columns
    assert any("The detector curious reports the client" in line for line in listed)
    command = [sys.executable, "-m", "dnsvigil", "--state", tmp_path, "findings"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "COLUMNS": "60"}, check=True)
    assert done.stdout.count(name) == 3
    assert "…" not in done.stdout


@pytest.mark.parametrize(
    "words",
    [
        ["findings"],
        ["findings", "--json"],
        ["findings", "show", "1"],
        ["flows", "series"],
        ["metrics"],
        ["set-aside"],
        ["check-config"],
        ["--help"],
        ["--version"],
    ],
    ids=" ".join,
)
def test_who_reads_no_further_gets_no_traceback(words, tmp_path):
    fill(tmp_path, finding())
    config = tmp_path / "dnsvigil.yml"
    config.write_text(f"sources:\n  zeek:\n    - path: {tmp_path}\n")
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "dnsvigil", "-c", config, "--state", tmp_path, *words]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=300, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("words", ["findings", "--version", "metrics", "findings --json"])
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_closed_stream_is_no_error(words, closed, tmp_path):
    fill(tmp_path, finding())
    command = f"exec {sys.executable} -m dnsvigil --state {tmp_path} {words} {closed}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert bool(done.stdout) == (closed == "2>&-")


def test_a_full_disk_is_an_error(tmp_path):
    fill(tmp_path, finding())
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "dnsvigil", "--state", tmp_path, "findings"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "No space left on device" in done.stderr


@pytest.mark.parametrize(
    "words", [["findings", "--subject"], ["findings", "dismiss", "1", "--why"], ["flows", "series", "--exporter"]]
)
def test_an_option_that_is_not_utf8_is_an_error(words, tmp_path, capsys):
    assert main(["--state", str(tmp_path), *words, os.fsdecode(b"\xff")]) == 2
    assert capsys.readouterr().err.endswith(r"'\udcff' is not UTF-8" + "\n")
