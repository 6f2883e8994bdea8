"""A running collector and flow files: followed, handed over, given; with and without logs beside them."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import Future
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dnsvigil.cli.main import main
from dnsvigil.collector.write_queue import MAX_TASKS, WriteQueue
from dnsvigil.httpd.access import TOKEN_FILE, keep_token
from dnsvigil.store.store import Store, StoreError
from exporters.flowfiles import RESOLVER, SLOT, damage, dialogues, many, write_flows
from exporters.running import (
    DYING,
    Samples,
    collecting,
    collecting_here,
    eventually,
    get,
    ingested,
    line,
    sample,
    samples,
    totals,
    write_config,
)
from lab.zeeklog import header

pytestmark = pytest.mark.skipif(not shutil.which("nfdump"), reason="needs nfdump")

BEGIN = int(time.time()) // SLOT * SLOT - 12 * SLOT


def configured(folder: Path, **keys: Any) -> Path:
    """Write the configuration of a collector that follows the flows below ``folder/flows`` and the logs in
    ``folder/zeek``."""
    (folder / "zeek" / "current").mkdir(parents=True, exist_ok=True)
    sources = {"zeek": [{"path": str(folder / "zeek" / "current")}], "netflow": [{"path": str(folder / "flows")}]}
    return write_config(folder, **({"sources": sources} | keys))


def flows_of(text: str) -> float:
    return ingested(text, "netflow")


def test_files_are_followed_beside_logs(tmp_path: Path) -> None:
    config, state = configured(tmp_path), tmp_path / "state"
    log = tmp_path / "zeek" / "current" / "dns.log"
    log.write_bytes(header(time.time()) + line(time.time(), "www.a.example"))
    write_flows(tmp_path / "flows" / "2026", BEGIN, dialogues(10))
    with collecting(config, state) as collector:
        eventually(lambda: flows_of(collector.get("/metrics")) == 20)
        write_flows(tmp_path / "flows" / "2026", BEGIN + SLOT, dialogues(15), lost=2)
        eventually(lambda: flows_of(collector.get("/metrics")) == 50)
        text = collector.get("/metrics")
        assert ingested(text) == 1
        found = samples(text)
        edge = {"exporter": "edge"}
        assert found[sample("dnsvigil_flows_total", protocol="udp", service="dns", **edge)] == 50
        assert found[sample("dnsvigil_flow_sequence_failures_total", **edge)] == 2
        assert found[sample("dnsvigil_flow_files_total", result="read", **edge)] == 2
        resolver = {"resolver": RESOLVER, **edge}
        assert found[sample("dnsvigil_flow_resolver_clients", **resolver)] == 15
        assert found[sample("dnsvigil_flow_resolver_query_packets_total", protocol="udp", **resolver)] == 25
        of_source = {"source": "netflow", "sensor": "edge"}
        assert found[sample("dnsvigil_last_event_timestamp_seconds", **of_source)] == BEGIN + 2 * SLOT
        series = {"protocol": "udp", "service": "dns", "measure": "flows", **edge}
        eventually(lambda: samples(collector.get("/metrics")).get(sample("dnsvigil_flow_value", **series)) == 30)
        assert samples(collector.get("/metrics"))[sample("dnsvigil_flow_anomaly", anomaly="spike", **series)] == 0
        assert collector.terminate() == 0
        assert "Traceback" not in collector.stderr()
    with collecting_here(config, state) as daemon:
        eventually(lambda: flows_of(get(f"{daemon.server.url}/metrics")) == 50)
        time.sleep(1.5)
        assert flows_of(get(f"{daemon.server.url}/metrics")) == 50
    if shutil.which("promtool"):
        check = subprocess.run(
            ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False
        )
        assert (check.returncode, check.stdout + check.stderr) == (0, "")


def test_nfdump_that_is_missing_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(3):
        write_flows(tmp_path / "flows", BEGIN + number * SLOT, dialogues(1))
    path = os.environ["PATH"]
    monkeypatch.setattr("dnsvigil.collector.flow_loop._RETRY_SECONDS", 2.0)
    monkeypatch.setenv("PATH", str(tmp_path))
    with collecting_here(configured(tmp_path), tmp_path / "state") as daemon:
        time.sleep(3)
        url = f"{daemon.server.url}/metrics"
        assert flows_of(get(url)) == 0
        assert sum("tried again" in record.getMessage() for record in caplog.records) == 1
        monkeypatch.setenv("PATH", path)
        eventually(lambda: flows_of(get(url)) == 6, 60)


def test_a_file_that_cannot_be_read_holds_no_other_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    future = write_flows(tmp_path / "flows", BEGIN + 3 * 86400, dialogues(1))
    write_flows(tmp_path / "flows", BEGIN + 4 * 86400, dialogues(2))
    broken = write_flows(tmp_path / "flows", BEGIN, many())
    damage(broken)
    unfinished = write_flows(tmp_path / "flows", BEGIN + SLOT, dialogues(1))
    whole = unfinished.read_bytes()
    unfinished.write_bytes(whole[:30])
    write_flows(tmp_path / "flows", BEGIN + 2 * SLOT, dialogues(1))
    with collecting_here(configured(tmp_path), tmp_path / "state") as daemon:
        url = f"{daemon.server.url}/metrics"
        eventually(lambda: flows_of(get(url)) == 2)  # the damaged one was touched a moment ago
        unfinished.write_bytes(whole)
        os.utime(broken, (BEGIN, BEGIN))
        os.utime(tmp_path / "flows")
        eventually(lambda: flows_of(get(url)) > 4)
        eventually(
            lambda: samples(get(url)).get(sample("dnsvigil_flow_files_total", exporter="edge", result="read")) == 4
        )
        damaged = {key: value for key, value in samples(get(url)).items() if key[0] == "dnsvigil_flow_files_total"}
        assert sum(value for (_, labels), value in damaged.items() if ("result", "damaged") in labels) == 1
        skipped = sample("dnsvigil_records_skipped_total", source="netflow", reason="timestamp")
        assert samples(get(url))[skipped] == 6
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [text for text in said if "ahead" in text] == [
        f"{future}: 2 flows skipped (timestamp: the time of the flow, or in the name of the file, is more than a day"
        " ahead, or before 1990); the next for the same reason are only counted"
    ]
    assert sum(text.startswith(f"{broken}: ") for text in said) == 1
    assert future.exists()


def test_a_file_that_vanishes_before_it_is_read_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dnsvigil.sources.folders.SETTLED_SECONDS", 1)
    monkeypatch.setenv("PATH", str(tmp_path))  # without nfdump
    path = write_flows(tmp_path / "flows", BEGIN, dialogues(1))
    with collecting_here(configured(tmp_path), tmp_path / "state") as daemon:
        url = f"{daemon.server.url}/metrics"
        eventually(lambda: "dnsvigil_store_size_bytes" in get(url))
        time.sleep(1.5)
        path.unlink()
        lost = sample("dnsvigil_files_lost_total", source="netflow")
        eventually(lambda: samples(get(url))[lost] == 1)


def followed_elsewhere(folder: Path) -> dict[str, Any]:
    """Sources below whose folder files may be handed over, and in which none is found by its name or age."""
    return {"netflow": [{"path": str(folder / "elsewhere")}]}


def post(url: str, content: object, state: Path) -> tuple[int, Any]:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {keep_token(state / TOKEN_FILE)}"}
    request = urllib.request.Request(url, json.dumps(content).encode(), headers)
    with urllib.request.urlopen(request, timeout=10) as response:
        return response.status, json.load(response)


def test_files_are_handed_over_by_the_api(tmp_path: Path) -> None:
    config, state = write_config(tmp_path, sources=followed_elsewhere(tmp_path)), tmp_path / "state"
    path = write_flows(tmp_path / "elsewhere", BEGIN - 3 * 86400, dialogues(5))
    with collecting_here(config, state) as daemon:
        get(f"{daemon.server.url}/-/ready")
        files = {"files": [{"path": str(path), "exporter": "nfsen"}]}
        answer = post(f"{daemon.server.url}/api/flows/files", files, state)
        assert answer == (202, {"accepted": 1})
        url = f"{daemon.server.url}/metrics"
        eventually(lambda: flows_of(get(url)) == 10)
        assert samples(get(url))[sample("dnsvigil_flow_files_total", exporter="nfsen", result="read")] == 1
        finding = {
            "detector": "nfsen",
            "subject_type": "series",
            "subject": "live:dns",
            "score": 0.5,
            "severity": "warning",
            "evidence": {"flows": 5},
        }
        assert post(f"{daemon.server.url}/api/findings", finding, state)[0] in (201, 202)  # 202 where it takes longer
        eventually(
            lambda: samples(get(url)).get(sample("dnsvigil_findings", detector="nfsen", severity="warning")) == 1
        )
        eventually(lambda: json.loads(get(f"{daemon.server.url}/api/flows/verdicts"))["complete"])


def test_a_file_that_was_accepted_is_read_after_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, state = write_config(tmp_path, sources=followed_elsewhere(tmp_path)), tmp_path / "state"
    path = write_flows(tmp_path / "elsewhere", BEGIN, dialogues(5))
    found = os.environ["PATH"]
    monkeypatch.setenv("PATH", str(tmp_path))  # without nfdump, so that it cannot be read before
    with collecting(config, state) as collector:
        get(f"{collector.url}/-/ready")
        files = {"files": [{"path": str(path)}]}
        eventually(lambda: post(f"{collector.url}/api/flows/files", files, state)[0] == 202)
        collector.kill()
    monkeypatch.setenv("PATH", found)
    with collecting_here(config, state) as daemon:
        eventually(lambda: flows_of(get(f"{daemon.server.url}/metrics")) == 10)


# dnsvigil ingest


def run(*arguments: object) -> tuple[str, str]:
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        assert main(["--log-level", "error", *map(str, arguments)]) == 0
    return out.getvalue(), err.getvalue()


def test_ingest_knows_flow_files_by_their_content(tmp_path: Path) -> None:
    folder = tmp_path / "all"
    write_flows(folder / "a", BEGIN, dialogues(5), name="renamed")
    write_flows(folder / "2026" / "11", BEGIN + SLOT, dialogues(5))
    (folder / "dns.log").write_bytes(header(time.time()) + line(time.time(), "www.a.example"))
    (folder / "notes.txt").write_text("no flows")
    state = tmp_path / "state"
    assert run("--state", state, "ingest", folder)[1] == "1 record read, 0 skipped; 20 flows read\n"
    again = run("--state", state, "ingest", folder / "a" / "renamed", folder)[1]
    assert again == "0 records read, 0 skipped; 0 flows read; 3 files were already read\n"
    found = samples(run("--state", state, "metrics")[0])
    assert found[sample("dnsvigil_records_ingested_total", source="netflow")] == 20
    assert found[sample("dnsvigil_records_ingested_total", source="zeek")] == 1


def test_ingest_reports_flows_of_another_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state, year = tmp_path / "state", 365 * 86400
    empty = write_flows(tmp_path, BEGIN, [], name="empty")
    old = write_flows(tmp_path, BEGIN - 3 * year, dialogues(20), name="old")
    run("--state", state, "ingest", empty, old)
    newer = write_flows(tmp_path, BEGIN - 2 * year, dialogues(10), name="newer")
    assert run("--state", state, "ingest", newer)[1] == "20 flows read\n"
    (said,) = caplog.messages
    assert said.startswith("flows from before ") and "are not kept" in said
    older = write_flows(tmp_path, BEGIN - 4 * year, dialogues(5), name="older")
    future = write_flows(tmp_path, BEGIN + 4 * year, dialogues(500), name="future")
    with redirect_stderr(io.StringIO()) as err:
        assert main(["--state", str(state), "ingest", *map(str, (older, empty, old, future))]) == 1
    assert (
        "0 flows read; 1,010 flows skipped (1,000 timestamp, 10 too_old); 2 files were already read" in err.getvalue()
    )
    found = samples(run("--state", state, "metrics")[0])
    for reason, count in (("timestamp", 1000), ("too_old", 10)):
        assert found[sample("dnsvigil_records_skipped_total", source="netflow", reason=reason)] == count
    assert found[sample("dnsvigil_records_read_total", source="netflow")] == 40 + 20 + 1010


# SIGKILL at any instant

DYING_OF_FLOWS = f"""{DYING}
from dnsvigil.ingest.flows import FlowsPart

counting = False
ingest = FlowsPart.ingest

def counted(collector, file):
    global counting
    counting = True
    try:
        return ingest(collector, file)
    finally:
        counting = False

FlowsPart.ingest = counted
sys.exit(main())
"""
"""A collector that does so only for the commits of flow files."""


def test_killed_while_it_reads_the_totals_are_the_truth(tmp_path: Path) -> None:
    config = configured(tmp_path, flows={"log": str(tmp_path / "logs")})
    state, undisturbed = tmp_path / "state", tmp_path / "undisturbed"
    for number in range(14):
        write_flows(
            tmp_path / "flows" / f"edge{number % 2}", BEGIN + number // 2 * SLOT, dialogues(10 + number), ident=""
        )
    for steps in (0, 1, 6):  # before the first commit, after it, and before a later one
        with collecting(config, state, "-c", DYING_OF_FLOWS, str(steps)) as collector:
            assert collector.process.wait(30) == -signal.SIGKILL, collector.stderr()
    expected = 2 * sum(10 + number for number in range(14))
    with collecting_here(config, state) as last:
        eventually(lambda: flows_of(get(f"{last.server.url}/metrics")) >= expected)
        time.sleep(1)
        text = get(f"{last.server.url}/metrics")
    logs = {path.name: path.read_text() for path in (tmp_path / "logs").rglob("*.log")}
    shutil.rmtree(tmp_path / "logs")
    run("-c", config, "--state", undisturbed, "ingest", tmp_path / "flows")
    assert of_flows(totals(text)) == of_flows(totals(run("-c", config, "--state", undisturbed, "metrics")[0]))
    assert logs == {path.name: path.read_text() for path in (tmp_path / "logs").rglob("*.log")}
    assert sum(len(text.splitlines()) - 8 for text in logs.values()) == expected / 2
    assert not list((tmp_path / "logs").rglob("*.body"))


def of_flows(found: Samples) -> Samples:
    return {key: value for key, value in found.items() if "flow" in key[0] or ("source", "netflow") in key[1]}


# A real nfcapd


def test_a_real_nfcapd_calls_ingest(tmp_path: Path) -> None:
    if not shutil.which("nfcapd"):
        pytest.skip("needs nfcapd")
    folder, state = tmp_path / "nfcapd", tmp_path / "state"
    folder.mkdir()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = tmp_path / "took"
    # Once it has what there is, the calls for the empty files that follow would only take time.
    ingest = f"{sys.executable} -m dnsvigil --state {state} ingest $1 >> {tmp_path}/said 2>&1"
    script.write_text(f"#!/bin/sh\ngrep -qs '^20 flows' {tmp_path}/said || exec {ingest}\n")
    script.chmod(0o755)
    command = [
        "nfcapd",
        "-w",
        folder,
        "-I",
        "real",
        "-b",
        "127.0.0.1",
        "-p",
        str(port),
        "-t",
        "2",
        "-x",
        f"{script} %d/%f",
    ]
    nfcapd = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as exporter:
            time.sleep(0.5)
            exporter.sendto(netflow_v5(20), ("127.0.0.1", port))
            eventually(lambda: "20 flows read" in said(tmp_path), 30)
    finally:
        nfcapd.terminate()
        nfcapd.wait(60)
    eventually(lambda: subprocess.run(["pgrep", "-f", str(state)], capture_output=True, check=False).returncode)
    found = samples(run("--state", state, "metrics")[0])
    assert found[sample("dnsvigil_flows_total", exporter="real", protocol="udp", service="dns")] == 20


def said(folder: Path) -> str:
    return (folder / "said").read_text() if (folder / "said").exists() else ""


def netflow_v5(flows: int) -> bytes:
    """An export packet with so many questions (Cisco's NetFlow version 5)."""
    now = int(time.time())
    head = struct.pack("!HHIIIIBBH", 5, flows, 60_000, now, 0, 0, 0, 0, 0)
    address = socket.inet_aton
    record = struct.Struct("!4s4s4sHHIIIIHHBBBBHHBBH")
    return head + b"".join(
        record.pack(
            *(address(f"198.51.100.{i}"), address(RESOLVER), address("0.0.0.0"), 0, 0, 1, 60, 59_000, 59_500),
            *(40_000, 53, 0, 0, 17, 0, 0, 0, 0, 0, 0),
        )
        for i in range(1, flows + 1)
    )


# The inbox, and reading from other threads


def test_tasks_of_the_inbox(tmp_path: Path) -> None:
    inbox = WriteQueue()
    with Store(tmp_path) as store:
        assert not inbox.work(store)
        found = inbox.submit(lambda store: store.rows("SELECT 42")[0][0])
        failed: Future[None] = inbox.submit(lambda _: {}["nothing"])
        cancelled = inbox.submit(lambda _: 1)
        assert cancelled.cancel()
        assert inbox.work(store)
        assert found.result(0) == 42
        with pytest.raises(KeyError):
            failed.result(0)

        def broken(_: Store) -> None:
            raise StoreError("full")

        full = inbox.submit(broken)
        with pytest.raises(StoreError, match="full"):
            inbox.work(store)
        with pytest.raises(StoreError, match="full"):
            full.result(0)
        waiting = [inbox.submit(lambda _: None) for _ in range(MAX_TASKS)]
        with pytest.raises(StoreError, match="tasks already wait"):
            inbox.submit(lambda _: None)
        inbox.close()
        with pytest.raises(StoreError, match="collector stops"):
            waiting[-1].result(0)
        with pytest.raises(StoreError, match="collector stops"):
            inbox.submit(lambda _: None)


def test_families_of_flows_are_absent_without_any(tmp_path: Path) -> None:
    with collecting_here(write_config(tmp_path), tmp_path / "state") as daemon:
        eventually(lambda: "dnsvigil_store_size_bytes" in get(f"{daemon.server.url}/metrics"))
        families = {family.name for family in text_string_to_metric_families(get(f"{daemon.server.url}/metrics"))}
    assert not any(name.startswith(("dnsvigil_flow", "dnsvigil_dns_flows")) for name in families)
