"""Flow files in, alerts out: two exporters, the collector, a real Prometheus with our rules, a real Alertmanager."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

import pytest

from alerting import Alerting, free_port, needs_prometheus, running, wait_until
from exporters.flowfiles import RESOLVER, SLOT, OneWay, asking, write_flows

SCALE = 60
FILE_SECONDS = 2.0
"""A file of five minutes comes so often."""
HISTORY_FILES = 10

pytestmark = [needs_prometheus, pytest.mark.skipif(not shutil.which("nfdump"), reason="needs nfdump")]


def usual(attack: int = 1) -> list[OneWay]:
    """Flows of five minutes: questions to a resolver, and NTP; in an attack many times as many."""
    questions = [asking(f"198.51.100.{client}", count=attack) for client in range(1, 41)]
    return [*questions, OneWay("198.51.100.1", 123, "203.0.113.1", 123, count=40 * attack)]


class Exporters(threading.Thread):
    """Leaves a flow file of each exporter in its folder, every now and then."""

    def __init__(self, folder: Path, begin: int) -> None:
        super().__init__(daemon=True)
        self._folder = folder
        self._begin = begin
        self.written = 0
        self.attack = threading.Event()
        self.core_is_silent = threading.Event()
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(FILE_SECONDS):
            begin = self._begin + self.written * SLOT
            write_flows(self._folder / "edge", begin, usual(30 if self.attack.is_set() else 1), ident="edge")
            write_flows(self._folder / "core", begin, [] if self.core_is_silent.is_set() else usual(), ident="core")
            self.written += 1


def write_history(folder: Path, begin: int) -> None:
    """Write what edge saw at this time on the last days that say what is usual on this one."""

    def works(day: int) -> bool:
        return datetime.fromtimestamp(begin - day * 86400).weekday() < 5

    alike = [day for day in range(1, 8) if works(day) == works(0) or not works(0)]
    for day in alike[:2]:
        for slot in range(HISTORY_FILES):
            write_flows(folder, begin - day * 86400 + slot * SLOT, usual(), ident="edge")


def test_an_attack_and_a_silent_exporter_are_reported_and_resolved(tmp_path: Path) -> None:
    begin = (int(time.time()) // SLOT - 100) * SLOT
    port = free_port()
    config = tmp_path / "dnsvigil.yml"
    config.write_text(
        f"listen: 127.0.0.1:{port}\n"
        f"sources: {{netflow: [{{path: '{tmp_path}/flows'}}]}}\n"
        f"servers: {{configured: ['{RESOLVER}']}}\n"
    )
    dnsvigil: list[str | Path] = [sys.executable, "-m", "dnsvigil", "-c", config, "--state", tmp_path / "state"]
    write_history(tmp_path / "history", begin)
    subprocess.run([*dnsvigil, "ingest", tmp_path / "history"], check=True)
    exporters = Exporters(tmp_path / "flows", begin)
    alerting = Alerting(tmp_path, {"dnsvigil": [f"127.0.0.1:{port}"]}, SCALE)
    arrived = alerting.arrived
    expected = {
        ("DnsvigilFlowAnomaly", "edge", "spike"),
        ("DnsvigilFlowResolverAnomaly", RESOLVER, "spike"),
        ("DnsvigilFlowsMissing", "core", None),
    }

    def told(status: str) -> set[tuple[str, str | None, str | None]]:
        return {
            (labels["alertname"], labels.get("exporter") or labels.get("resolver"), labels.get("anomaly"))
            for labels in (alert["labels"] for alert in arrived if alert["status"] == status)
        }

    with ExitStack() as programs:
        programs.enter_context(running([*dnsvigil, "run"], tmp_path / "dnsvigil.log"))
        programs.enter_context(alerting)
        programs.callback(exporters.ended.set)
        exporters.start()
        evaluated = 'dnsvigil_flow_deviation{exporter="edge", service="ntp", measure="flows"} < 1'
        wait_until("Prometheus has what is usual", lambda: bool(alerting.query(evaluated)), 60)
        assert not arrived and exporters.written < HISTORY_FILES - 3
        exporters.core_is_silent.set()
        exporters.attack.set()
        wait_until("the attack is told", lambda: len(told("firing")) >= 2, 30)
        exporters.attack.clear()
        wait_until("the silence is told", lambda: told("firing") >= expected, 60)
        exporters.core_is_silent.clear()
        wait_until("all is resolved", lambda: told("resolved") >= expected, 60)

    assert told("firing") == told("resolved") == expected
    texts = {alert["labels"]["alertname"]: alert["annotations"]["description"] for alert in arrived}  # the last ones
    assert "3 series of exporter edge are far above" in texts["DnsvigilFlowAnomaly"]
    assert "packets of udp ntp (1.2k instead of 40)" in texts["DnsvigilFlowAnomaly"]
    assert "dns" not in texts["DnsvigilFlowAnomaly"]  # that is told as the resolver's
    assert "query_packets at edge (1.2k instead of 40)" in texts["DnsvigilFlowResolverAnomaly"]
