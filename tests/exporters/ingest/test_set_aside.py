"""One bad input ends nothing but itself: beside a running collector, live and at its start."""

from __future__ import annotations

import gzip
import json
import logging
import os
import shutil
import socket
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from dnsvigil.cli.main import main
from dnsvigil.collector import daemon as daemon_module
from dnsvigil.ingest import intake, isolation
from dnsvigil.sources import decompressed
from dnsvigil.sources.blocklists import list_file
from dnsvigil.sources.blocklists.domain_lists import DomainLists
from dnsvigil.sources.decompressed import BrokenFileError, DecompressedFile
from dnsvigil.sources.netflow.process import NFDumpLimitError
from dnsvigil.sources.netflow.tables import FlowReader
from dnsvigil.sources.zeek.head import Head
from dnsvigil.sources.zeek.parser import Parser
from dnsvigil.store.findings import Finding, Findings, findings_in
from dnsvigil.store.set_aside import COUNTER, KINDS, MAX_KEPT, entries
from dnsvigil.store.store import Store
from exporters.flowfiles import SLOT, dialogues, write_flows
from exporters.running import collecting_here, eventually, get, ingested, line, sample, samples, write_config
from exporters.zeeklogs import package_header
from lab.zeeklog import header

STAMP = (1, 2)


def kept(state: Path) -> list[tuple[str, str, str]]:
    with Store(state) as store:
        return [(entry.kind, entry.subject, entry.reason) for entry in entries(store.rows)]


def counted(text: str, kind: str) -> float:
    return samples(text).get(sample("dnsvigil_set_aside_total", kind=kind), 0)


def write_dns_log(path: Path, *lines: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header(time.time()) + b"".join(lines))


# The table


def test_what_is_set_aside_is_kept_and_counted_once(tmp_path, caplog):
    with Store(tmp_path) as store:
        for _ in range(3):
            store.set_aside.put("log", "/logs/\udcff\x1b[31m", ValueError("half \ud800"), STAMP)
            store.set_aside.flush()
        assert COUNTER.rows(store.rows) == [("log", 1)]
    assert caplog.text.count("is set aside") == 1
    assert "\x1b" not in caplog.text
    with Store(tmp_path) as store:
        assert store.set_aside.holds("log", "/logs/\udcff\x1b[31m", STAMP)
        assert store.set_aside.counts() == dict.fromkeys(KINDS, 0) | {"log": 1}
        (entry,) = entries(store.rows)
        assert (entry.subject, entry.reason) == (r"/logs/\udcff\x1b[31m", r"ValueError: half \ud800")
        assert not store.set_aside.holds("log", "/logs/\udcff\x1b[31m", (1, 3)), "it has changed"
        store.set_aside.release("log", "/logs/\udcff\x1b[31m")
        assert store.set_aside.flush()
        assert not store.set_aside.flush()
        assert not entries(store.rows)


def test_a_file_that_changes_all_the_time_is_not_tried_all_the_time(tmp_path):
    with Store(tmp_path) as store:
        store.set_aside.put("log", "a", "x", (1,))
        assert store.set_aside.holds("log", "a", (2,))


def test_no_more_is_kept_than_fits(tmp_path, caplog):
    caplog.set_level(logging.CRITICAL)
    with Store(tmp_path) as store:
        for number in range(MAX_KEPT + 10):
            store.set_aside.put("record", str(number), "x")
        store.set_aside.flush()
        assert len(entries(store.rows)) == MAX_KEPT
        assert COUNTER.rows(store.rows) == [("record", MAX_KEPT + 10)]


# Records


@pytest.fixture
def failing_on_poison(monkeypatch):
    """A collector in which a record of a certain name causes an error that nobody thought of."""
    load = Parser.load

    def loading(self, batches, *rest, **named):
        found = load(self, batches, *rest, **named)
        if any(b"poison" in chunk.body for batch in batches for chunk in batch.chunks):
            raise KeyError("nobody thought of this")
        return found

    monkeypatch.setattr(Parser, "load", loading)


def test_a_record_that_fails_is_set_aside_and_its_neighbours_count(tmp_path, failing_on_poison):
    config, state = write_config(tmp_path), tmp_path / "state"
    log = tmp_path / "zeek" / "current" / "dns.log"
    names = [f"www.a{number}.example" for number in range(9)]
    names[4] = "poison.example"
    write_dns_log(log, *(line(time.time(), name) for name in names))
    for _ in range(2):  # and after a restart
        with collecting_here(config, state) as daemon:
            url = f"{daemon.server.url}/metrics"
            eventually(lambda url=url: ingested(get(url)) >= 8)
            text = eventually(lambda url=url: counted(text := get(url), "record") and text)
            assert ingested(text) == 8
            skipped = sample("dnsvigil_records_skipped_total", source="zeek", reason="set_aside")
            assert samples(text)[skipped] == 1
            assert counted(text, "record") == 1
    ((kind, subject, reason),) = kept(state)
    assert kind == "record"
    assert "poison.example" in subject
    assert reason == "KeyError: 'nobody thought of this'"


def test_where_no_record_is_to_blame_the_log_is_left_and_the_others_are_read(tmp_path, monkeypatch):
    load = Parser.load

    def loading(self, batches, *rest, **named):
        if batches[0].log_type.path != "dns":
            raise KeyError("whatever is in it")
        return load(self, batches, *rest, **named)

    monkeypatch.setattr(Parser, "load", loading)
    config, state = write_config(tmp_path), tmp_path / "state"
    log = tmp_path / "zeek" / "current" / "dns.log"
    other = log.with_name("dnsvigil_capture.log")
    other.parent.mkdir(parents=True, exist_ok=True)
    other.write_bytes(package_header(other.stem) + b"".join(b"x\n" for _ in range(2 * isolation.MAX_RECORDS)))
    with collecting_here(config, state) as daemon:
        url = f"{daemon.server.url}/metrics"
        eventually(lambda: counted(get(url), "log") == 1)
        write_dns_log(log, line(time.time(), "www.a.example"))
        eventually(lambda: ingested(get(url)) == 1)
    assert [(kind, subject) for kind, subject, _ in kept(state)] == [("log", str(other))]


def test_a_log_on_which_the_engine_fails_is_set_aside_at_the_second_time(tmp_path, monkeypatch):
    monkeypatch.setattr(daemon_module, "_FIRST_WAIT", 0.1)
    load = Parser.load
    failures: list[str] = []

    def loading(self, batches, *rest, **named):
        if batches[0].log_type.path != "dns":
            failures.append(batches[0].log_type.path)
            raise duckdb.InternalException("a mistake of the engine")
        return load(self, batches, *rest, **named)

    monkeypatch.setattr(Parser, "load", loading)
    config, state = write_config(tmp_path), tmp_path / "state"
    log = tmp_path / "zeek" / "current" / "dns.log"
    write_dns_log(log, line(time.time(), "www.a.example"))
    other = log.with_name("dnsvigil_capture.log")
    other.write_bytes(package_header(other.stem) + b"x\n")
    for _ in range(2):
        with collecting_here(config, state) as daemon:
            url = f"{daemon.server.url}/metrics"
            eventually(lambda url=url: counted(get(url), "log") == 1)
            eventually(lambda url=url: ingested(get(url)) == 1)
    assert len(failures) == 2
    ((kind, subject, reason),) = kept(state)
    assert (kind, subject) == ("log", str(other))
    assert "a mistake of the engine" in reason


def test_a_failure_that_is_not_of_the_input_is_tried_again(tmp_path, monkeypatch, caplog):
    snapshot, failures = intake.Intake.snapshot, [RuntimeError("for a moment")]

    def failing(self):
        if failures:
            raise failures.pop()
        return snapshot(self)

    monkeypatch.setattr(intake.Intake, "snapshot", failing)
    write_dns_log(tmp_path / "zeek" / "current" / "dns.log", line(time.time(), "www.a.example"))
    with collecting_here(write_config(tmp_path), tmp_path / "state") as daemon:
        eventually(lambda: ingested(get(f"{daemon.server.url}/metrics")) == 1)
    assert "RuntimeError: for a moment; trying again" in caplog.text
    assert not kept(tmp_path / "state")


# What is no file


def lay_fifo(path: Path) -> None:
    os.mkfifo(path)


def lay_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


def lay_zero(path: Path) -> None:
    path.symlink_to("/dev/zero")


def lay_terminal(path: Path) -> None:
    path.symlink_to("/dev/ptmx")


POISONS = [lay_fifo, lay_socket, lay_zero, lay_terminal, Path.mkdir]


@pytest.mark.parametrize("lay", POISONS)
@pytest.mark.parametrize("live", [True, False])
def test_a_log_that_is_no_file_stops_nothing(tmp_path, lay, live):
    config, state = write_config(tmp_path), tmp_path / "state"
    folder = tmp_path / "zeek" / "current"
    poison = folder / "dnsvigil_pdns.log"
    if not live:
        lay(poison)
    with collecting_here(config, state) as daemon:
        url = f"{daemon.server.url}/metrics"
        write_dns_log(folder / "dns.log", line(time.time(), "www.a.example"))
        eventually(lambda: ingested(get(url)) == 1)
        if live:
            lay(poison)
        eventually(lambda: counted(get(url), "log") == 1)
        write_dns_log(folder / "dns.log", *[line(time.time(), "www.a.example")] * 2)
        eventually(lambda: ingested(get(url)) >= 2)
    ((kind, subject, reason),) = kept(state)
    assert (kind, subject) == ("log", str(poison))
    assert "not a regular file" in reason


@pytest.mark.skipif(not shutil.which("nfdump"), reason="needs nfdump")
@pytest.mark.parametrize("lay", POISONS[:-1])
def test_a_flow_file_that_is_no_file_stops_nothing(tmp_path, lay):
    begin = time.time() // SLOT * SLOT - 4 * SLOT
    good = write_flows(tmp_path / "flows", begin, dialogues(3))
    poison = good.with_name(time.strftime("nfcapd.%Y%m%d%H%M", time.localtime(begin - SLOT)))
    lay(poison)
    state = tmp_path / "state"
    config = write_config(tmp_path, sources={"netflow": [{"path": str(tmp_path / "flows")}]})
    for _ in range(2):
        with collecting_here(config, state) as daemon:
            url = f"{daemon.server.url}/metrics"
            eventually(lambda url=url: ingested(get(url), "netflow") == 6)
            eventually(lambda url=url: counted(get(url), "flow_file") == 1)
    ((kind, subject, _),) = kept(state)
    assert (kind, subject) == ("flow_file", str(poison))


@pytest.mark.skipif(not shutil.which("nfdump"), reason="needs nfdump")
def test_a_flow_file_that_fails_is_set_aside_until_it_changes(tmp_path, monkeypatch):
    summed = FlowReader._sum_up

    def failing(self, flows):
        found = summed(self, flows)
        if found.flows == 4:
            raise KeyError("nobody thought of this")
        return found

    monkeypatch.setattr(FlowReader, "_sum_up", failing)
    begin = time.time() // SLOT * SLOT - 4 * SLOT
    poison = write_flows(tmp_path / "flows", begin, dialogues(2))
    write_flows(tmp_path / "flows", begin + SLOT, dialogues(3))
    state = tmp_path / "state"
    config = write_config(tmp_path, sources={"netflow": [{"path": str(tmp_path / "flows")}]})
    with collecting_here(config, state) as daemon:
        url = f"{daemon.server.url}/metrics"
        eventually(lambda: ingested(get(url), "netflow") == 6)
        eventually(lambda: counted(get(url), "flow_file") == 1)
    monkeypatch.undo()
    with collecting_here(config, state) as daemon:
        url = f"{daemon.server.url}/metrics"
        time.sleep(1.5)
        assert ingested(get(url), "netflow") == 6
        os.utime(poison, (time.time() - 90, time.time() - 90))
        write_flows(tmp_path / "flows", begin + 2 * SLOT, dialogues(1))  # a folder is looked at when it changes
        eventually(lambda: ingested(get(url), "netflow") == 12)
    assert not kept(state)


# Findings


def test_evidence_that_is_too_deep_is_refused():
    now = datetime(2026, 3, 1)
    evidence = {"a": 1}
    for _ in range(970):
        evidence = {"a": [evidence]}
    with pytest.raises(ValueError, match="deep"):
        Finding("x", "client", "192.0.2.1", 1, "info", now, now, evidence)


DEEP_970 = "[" * 970 + "]" * 970


@pytest.mark.parametrize(
    ("column", "value"),
    [("evidence", text) for text in (DEEP_970, "{", "[" * 100_000, '{"a": NaN', "null")]
    + [(column, None) for column in ("first_seen", "last_seen", "severity", "score", "evidence")],
)
def test_a_finding_that_cannot_be_read_is_left_out(tmp_path, column, value):
    now = datetime(2026, 3, 1)
    with Store(tmp_path) as store:
        findings = Findings(store)
        with store.transaction():
            for subject in ("192.0.2.1", "192.0.2.2"):
                findings.put(Finding("x", "client", subject, 1, "info", now, now, {}))
            store.rows(f"UPDATE findings SET {column} = ? WHERE subject = '192.0.2.1'", value)
        left_out: list[str] = []
        found = findings_in(store.rows, "open", unreadable=lambda which, _: left_out.append(which))
        assert [each.record()["subject"] for each in found] == ["192.0.2.2"]
        assert left_out == ["1 of x about client 192.0.2.1"]
        with store.transaction():
            assert findings.put(Finding("x", "client", "192.0.2.1", 1, "info", now, now, {})), "found again"


def test_a_finding_that_cannot_be_read_fails_nothing_else(tmp_path):
    config, state = write_config(tmp_path), tmp_path / "state"
    now = datetime(2026, 3, 1)
    with Store(state) as store:
        findings = Findings(store)
        with store.transaction():
            findings.put(Finding("x", "client", "192.0.2.1", 1, "info", now, now, {}))
            store.rows("UPDATE findings SET last_seen = now()::TIMESTAMP, evidence = ?", json.dumps([[]] * 9) + "[")
    with collecting_here(config, state) as daemon:
        eventually(lambda: counted(get(f"{daemon.server.url}/metrics"), "finding") == 1)
    ((kind, subject, _),) = kept(state)
    assert (kind, subject) == ("finding", "1 of x about client 192.0.2.1")


def test_the_command_reads_the_other_findings_and_says_which_it_cannot(tmp_path, capsys, caplog):
    now = datetime.now(UTC).replace(tzinfo=None)
    with Store(tmp_path / "state") as store:
        findings = Findings(store)
        with store.transaction():
            for subject in ("192.0.2.1", "192.0.2.2"):
                findings.put(Finding("x", "client", subject, 1, "info", now, now, {}))
            store.rows("UPDATE findings SET evidence = ? WHERE subject = '192.0.2.1'", "[" * 970 + "]" * 970)
    command = ["-c", str(write_config(tmp_path, listen="127.0.0.1:1")), "--state", str(tmp_path / "state")]
    assert main([*command, "findings", "--json"]) == 0
    assert [each["subject"] for each in json.loads(capsys.readouterr().out)] == ["192.0.2.2"]
    assert "finding 1 cannot be read and is left out" in caplog.text
    assert main([*command, "findings", "show", "1"]) == 1
    assert "finding 1 cannot be read" in capsys.readouterr().err
    assert main([*command, "metrics"]) == 0
    found = samples(capsys.readouterr().out)
    assert found[sample("dnsvigil_findings", detector="x", severity="info")] == 2


# Who wants to know


def test_the_command_lists_what_is_set_aside(tmp_path, capsys):
    config = write_config(tmp_path)
    command = ["-c", str(config), "--state", str(tmp_path / "state"), "set-aside"]
    with Store(tmp_path / "state") as store:
        store.set_aside.put("log", "/logs/\x1b[31m", ValueError("half of it"), STAMP)
        store.set_aside.flush()
    assert main(command) == 0
    out = capsys.readouterr().out
    assert r"/logs/\x1b[31m" in out
    assert "ValueError: half of it" in out
    assert main([*command, "--json"]) == 0
    ((record),) = json.loads(capsys.readouterr().out)
    assert (record["kind"], record["reason"]) == ("log", "ValueError: half of it")
    with Store(tmp_path / "state") as store:
        store.set_aside.release("log", "/logs/\x1b[31m")
        store.set_aside.flush()
    assert main(command) == 0
    assert capsys.readouterr().out == "nothing is set aside\n"


# Poisons of old


def slow_nfdump(folder: Path) -> str:
    """An nfdump that starts a child and never ends, as the real one does on some damaged files."""
    program = folder / "nfdump"
    program.write_text(f"#!/bin/sh\nsleep 300 &\necho $! >> {folder}/children\nwait\n")
    program.chmod(0o755)
    return str(program)


def test_an_nfdump_that_never_ends_is_killed_with_its_children(tmp_path, monkeypatch):
    monkeypatch.setattr("dnsvigil.sources.netflow.process._SECONDS", 1.0)
    path = write_flows(tmp_path / "flows", time.time() // SLOT * SLOT - 4 * SLOT, dialogues(2))
    with duckdb.connect() as connection:
        reader = FlowReader(connection, slow_nfdump(tmp_path))
        with pytest.raises(NFDumpLimitError, match="far longer than a sound file"):
            reader.load(path)
    children = (tmp_path / "children").read_text().split()
    assert len(children) == 1, "one run that takes too long is enough"
    eventually(lambda: not Path(f"/proc/{children[0]}").exists() or "\nState:\tZ" in proc_status(children[0]))


def proc_status(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return ""


@pytest.mark.skipif(not shutil.which("nfdump"), reason="needs nfdump")
def test_flow_files_of_all_old_poisons_stop_nothing(tmp_path, monkeypatch):
    """A counter beyond its type twice, a folder with a name that is too long escaped, and a file that never ends."""
    monkeypatch.setattr("dnsvigil.sources.netflow.process._SECONDS", 4.0)
    begin = time.time() // SLOT * SLOT - 8 * SLOT
    flows = tmp_path / "flows"
    for number in range(2):
        write_flows(flows, begin + number * SLOT, dialogues(2), lost=2**64 - 1)
    write_flows(flows / ("ü" * 64), begin, dialogues(3), ident="")
    write_flows(flows / "good", begin + 3 * SLOT, dialogues(5), ident="good")
    sources = {"netflow": [{"path": str(flows)}]}
    config = write_config(tmp_path, sources=sources, flows={"log": str(tmp_path / "log")})
    state = tmp_path / "state"
    for _ in range(2):
        with collecting_here(config, state) as daemon:
            url = f"{daemon.server.url}/metrics"
            eventually(lambda url=url: ingested(get(url), "netflow") == 24)
            lost = samples(get(url))[sample("dnsvigil_flow_sequence_failures_total", exporter="edge")]
            assert lost == pytest.approx(2**63)
    assert not kept(state)
    assert len(list((tmp_path / "log").rglob("*.log"))) == 4


def test_a_list_that_fails_leaves_the_others_in_use(tmp_path, monkeypatch):
    names = list_file._names

    def failing(chunks, skipped):
        for name in names(chunks, skipped):
            if name == b"poison.example":
                raise KeyError("nobody thought of this")
            yield name

    monkeypatch.setattr(list_file, "_names", failing)
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "a.txt").write_text("poison.example\n")
    (tmp_path / "lists" / "b.txt").write_text("good.example\n")
    (tmp_path / "lists" / "c.txt").write_bytes(b"uuid,type\r,value\nother.example\n")  # a bare carriage return
    os.mkfifo(tmp_path / "lists" / "fifo.txt")
    with Store(tmp_path / "state") as store:
        known = DomainLists(tmp_path / "lists", set_aside=store.set_aside)
        assert known.reload()
        assert known.match(["good.example", "other.example"]).keys() == {"good.example", "other.example"}
        assert {file.name: bool(file.error) for file in known.files} == {
            "a.txt": True,
            "b.txt": False,
            "c.txt": False,
            "fifo.txt": True,
        }
        assert store.set_aside.counts()["list"] == 2
        assert not known.reload(), "as they are they are not tried again"
        monkeypatch.undo()
        (tmp_path / "lists" / "a.txt").write_text("poison.example\nand.example\n")
        assert known.reload()
        assert known.match(["and.example"])
        assert store.set_aside.counts()["list"] == 1


def test_a_thread_that_ends_by_an_error_is_reported(tmp_path, caplog):
    with collecting_here(write_config(tmp_path), tmp_path / "state") as daemon:
        url = f"{daemon.server.url}/metrics"
        get(url)
        thread = threading.Thread(target=[].pop, name="some-work")
        thread.start()
        thread.join()
        eventually(lambda: counted(get(url), "thread") == 1)
    assert "thread some-work ended: pop from empty list" in caplog.text


@pytest.mark.parametrize("path", ["fifo", "/dev/zero", "/dev/ptmx", "nothing"])
@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["ingest"], 1),
        (["flows", "top"], 1),
        (["train", "--names"], 1),
        (["findings", "--token-file"], 2),
        (["findings", "--url", "https://127.0.0.1:1", "--ca-file"], 2),
    ],
)
def test_no_command_waits_for_what_is_no_file(tmp_path, words, status, path, capsys, caplog):  # noqa: PLR0917
    os.mkfifo(tmp_path / "fifo")
    config = write_config(tmp_path, listen="127.0.0.1:1")
    assert main(["-c", str(config), "--state", str(tmp_path / "state"), *words, str(tmp_path / path)]) == status
    said = capsys.readouterr().err + caplog.text
    assert "not a regular file" in said or "No such file" in said


def test_an_endless_gzip_is_a_damaged_file(tmp_path, monkeypatch):
    monkeypatch.setattr(decompressed, "MAX_HOLE", 2**20)
    path = tmp_path / "dns.log.gz"
    path.write_bytes(gzip.compress(bytes(2**23)))
    head = Head.of(path)
    assert head.log_type is None
    with DecompressedFile(path) as file, pytest.raises(BrokenFileError, match="NUL bytes"):
        file.skip_hole()


def test_paths_that_are_not_utf8_are_read_as_others(tmp_path):
    odd = os.fsdecode(b"\xff\xfe")
    logs, flows, lists = tmp_path / "zeek" / odd / "current", tmp_path / "flows" / odd, tmp_path / "lists"
    for folder in (logs, flows, lists):
        folder.mkdir(parents=True)
    (lists / f"{odd}.txt").write_text("listed.example\n")
    (logs / "dns.log").write_bytes(header(time.time()) + line(time.time(), "www.listed.example") * 5)
    begin = int(time.time()) // SLOT * SLOT - 3600
    os.utime(write_flows(flows, begin, dialogues(7)), (begin, begin))
    sources = {
        "zeek": [{"path": str(tmp_path / "zeek" / "*" / "current")}],
        "netflow": [{"path": str(tmp_path / "flows" / "*")}],
    }
    config = write_config(tmp_path, sources=sources, detectors={"lists": str(lists)})
    for _ in range(2):  # the second start knows all of it
        with collecting_here(config, tmp_path / "state") as daemon:
            url = daemon.server.url
            eventually(lambda url=url: (ingested(text := get(f"{url}/metrics")), ingested(text, "netflow")) == (5, 14))
            found = samples(get(f"{url}/metrics"))
            assert found[sample("dnsvigil_list_up", list="\\xff\\xfe.txt")] == 1
            assert any(("sensor", "\\xff\\xfe") in labels for _, labels in found)
    with Store(tmp_path / "state") as store:
        assert not entries(store.rows)
