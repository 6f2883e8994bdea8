"""An open resolver, and one that is abused, in a sensor's log or in flows; alerts out, by a real Prometheus."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from alerting import Alerting, needs_prometheus, wait_until
from dnsvigil.collector import flow_loop
from dnsvigil.detectors.open_resolver import sensor
from dnsvigil.detectors.open_resolver.detector import OpenResolver
from dnsvigil.store import findings as findings_module
from exporters.flowfiles import SLOT, asking, write_flows
from exporters.running import collecting_here, write_config
from exporters.zeeklogs import package_header, package_line, tsv
from lab.zeeklog import header

pytestmark = needs_prometheus

SCALE = 120
LOG = "dnsvigil_open_resolver"
ABUSED, IDLE = "198.51.100.7", "198.51.100.8"
Told = Callable[[str], dict[tuple[str, str], str]]


def row(host: str, end: float, responses: int, size: int) -> bytes:
    times = {"ts": f"{end:.6f}", "time_first": f"{end - 290:.6f}", "time_last": f"{end:.6f}"}
    counts = {"askers": 2, "returning_askers": 1, "queries": responses, "responses": responses}
    sums = {"query_bytes": 40 * responses, "response_bytes": size * responses}
    return package_line(LOG, host=host, **times, **{name: str(value) for name, value in (counts | sums).items()})


def told_by(alerting: Alerting) -> Told:
    def told(status: str) -> dict[tuple[str, str], str]:
        found = [alert for alert in alerting.arrived if alert["status"] == status]
        return {
            (alert["labels"]["alertname"], alert["labels"].get("subject", "")): alert["annotations"]["description"]
            for alert in found
            if alert["labels"].get("detector") == "open_resolver"
        }

    return told


def test_what_a_sensor_sees_is_reported_and_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_loop, "_FINDINGS_SECONDS", 1.0)
    monkeypatch.setattr(OpenResolver, "every", timedelta(seconds=1))
    folder = tmp_path / "zeek" / "current"
    folder.mkdir(parents=True)
    log, queries = folder / f"{LOG}.log", folder / "dns.log"
    queries.write_bytes(header(time.time()) + tsv(ts=f"{time.time() - 600:.6f}"))
    log.write_bytes(package_header(LOG))
    with collecting_here(write_config(tmp_path), tmp_path / "state") as daemon:
        alerting = Alerting(tmp_path, {"dnsvigil": [urlsplit(daemon.server.url).netloc]}, SCALE)
        told = told_by(alerting)
        with alerting:
            runs = 'dnsvigil_detector_runs_total{detector="open_resolver"} > 0'
            wait_until("the detector runs", lambda: bool(alerting.query(runs)), 60)
            assert not told("firing")
            with log.open("ab") as live:
                live.write(row(IDLE, time.time(), 3, 60) + row(ABUSED, time.time(), 300_000, 3000))
            names = {("DnsvigilOpenResolver", ""), ("DnsvigilOpenResolverAbused", ABUSED)}
            wait_until("both are told", lambda: told("firing").keys() == names, 90)
            # A day passes without an answer.
            monkeypatch.setattr(sensor, "DAY", timedelta(0))
            monkeypatch.setattr(findings_module, "QUIET", timedelta(seconds=1))
            with queries.open("ab") as live:
                live.write(tsv(ts=f"{time.time() + 60:.6f}"))
            wait_until("all is resolved", lambda: told("resolved").keys() == names, 90)
    firing = told("firing")
    assert "1 of your hosts answers DNS queries of anybody." in firing["DnsvigilOpenResolver", ""]
    assert IDLE in firing["DnsvigilOpenResolver", ""] and ABUSED not in firing["DnsvigilOpenResolver", ""]
    abused = firing["DnsvigilOpenResolverAbused", ABUSED]
    assert f"Attackers use host {ABUSED} for reflection" in abused
    assert f'"dnsvigil findings --subject {ABUSED}"' in abused


@pytest.mark.skipif(not shutil.which("nfdump"), reason="needs nfdump")
def test_what_flows_alone_show_is_reported_and_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_loop, "_FINDINGS_SECONDS", 1.0)
    question = asking("203.0.113.7", ABUSED, packets=300_000, bytes=21_000_000)
    answer = asking("203.0.113.7", ABUSED, packets=600_000, bytes=900_000_000).back
    begin = time.time() // SLOT * SLOT - 2 * SLOT
    sources = {"netflow": [{"path": str(tmp_path / "flows")}]}
    (tmp_path / "flows").mkdir()
    config = write_config(tmp_path, sources=sources, flows={"networks": ["198.51.100.0/24"]})
    with collecting_here(config, tmp_path / "state") as daemon:
        alerting = Alerting(tmp_path, {"dnsvigil": [urlsplit(daemon.server.url).netloc]}, SCALE)
        told = told_by(alerting)
        with alerting:
            write_flows(tmp_path / "flows", begin, [question, answer])
            names = {("DnsvigilOpenResolverAbused", ABUSED)}
            wait_until("it is told", lambda: told("firing").keys() == names, 90)
            monkeypatch.setattr(findings_module, "QUIET", timedelta(seconds=1))
            wait_until("it is resolved", lambda: told("resolved").keys() == names, 90)
