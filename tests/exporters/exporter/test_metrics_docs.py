"""docs/metrics.md against the /metrics of a collector in which every metric has a value."""

import json
import re
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dnsvigil.config.collector import Config
from dnsvigil.ingest.flows import FlowsPart
from dnsvigil.sources.zeek.log_types import LOG_TYPES
from dnsvigil.store.findings import Finding, Findings
from dnsvigil.store.store import Store
from exporters.detector_packages import lay_out
from exporters.domain_tables import write_table
from exporters.flowfiles import SLOT, dialogues, write_flows, write_past
from exporters.running import collecting_here, eventually, get, ingested, line, sample, samples, write_config
from exporters.zeeklogs import package_header, package_line
from lab.zeeklog import header

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"
PACKAGE = LOG_TYPES[1:]
DETECTOR = """
from dnsvigil.detectors.detector import Anomaly, Detector


class Fussy(Detector):
    name = "fussy"
    reads = ("novel",)

    def __init__(self, context):
        pass

    def evaluate(self, read, now):
        return [Anomaly("client", "192.0.2.1", 0.1, "info", now, now, {})]

    def problems(self):
        return ["nothing is ever right"]

    def lacks(self, read, now):
        return ["everything"]
"""
_ROW = re.compile(r"^\| `(\w+)` \| (\w+) \|(.*?)\| (.+) \|$", re.MULTILINE)


def documented(program: str) -> dict[str, tuple[str, frozenset[str]]]:
    """The metrics in the section of a program: their types and labels."""
    (section,) = (part for part in PAGE.read_text().split("\n## ") if part.startswith(f"{program}\n"))
    rows = _ROW.findall(section)
    assert len({name for name, *_ in rows}) == len(rows)
    return {name: (kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels, _ in rows}


def served(text: str) -> dict[str, tuple[str, frozenset[str]]]:
    """The metrics of a /metrics, without those of the client library."""
    found = {}
    for family in text_string_to_metric_families(text):
        assert family.samples, f"{family.name} has no value"
        if family.name.startswith("process_"):
            continue
        labels = frozenset(name for sample in family.samples for name in sample.labels if name != "le")
        found[family.name + "_total" * (family.type == "counter")] = (family.type, labels)
    return found


def remember(state: Path, begin: float) -> None:
    """Make a store with a past of flows, and a finding."""
    now = datetime.now(UTC).replace(tzinfo=None)
    with Store(state) as store:
        FlowsPart(store, Config()).close()
        write_past(store, begin)
        findings = Findings(store)
        with store.transaction():
            findings.put(Finding("spikes", "series", "dns", 1, "warning", now, now, {}))


@pytest.mark.skipif(not shutil.which("nfdump"), reason="needs nfdump")
def test_the_page_and_the_metrics_say_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "bad.txt").write_text("bad.example\nnot a name\n")
    lay_out(tmp_path, "fussy_detector", DETECTOR, ["Fussy"])
    monkeypatch.syspath_prepend(str(tmp_path))
    log = tmp_path / "zeek" / "current" / "dns.log"
    log.parent.mkdir(parents=True)
    records = [line(time.time(), "a.example"), line(time.time(), "b.example", rcode="-", rtt="-")]
    log.write_bytes(header(time.time()) + b"".join(records) + b"broken\n")
    for log_type in PACKAGE:
        log.with_name(f"{log_type.path}.log").write_bytes(package_header(log_type.path) + package_line(log_type.path))
    honeypot = tmp_path / "honeypot" / "cowrie.json"
    honeypot.parent.mkdir()
    typed = {"eventid": "cowrie.command.input", "session": "s", "src_ip": "192.0.2.1", "input": "wget google.com"}
    honeypot.write_text(json.dumps(typed | {"timestamp": datetime.now(UTC).isoformat()}) + "\n")
    begin = time.time() // SLOT * SLOT - SLOT
    write_flows(tmp_path / "flows", begin, dialogues(100))
    remember(tmp_path / "state", begin)
    write_table(tmp_path / "state", {"a.example": 1}, {1: "ordinary"})
    sources = {"zeek": [{"path": str(log.parent)}], "netflow": [{"path": str(tmp_path / "flows")}]}
    sources["honeypots"] = [{"path": str(honeypot.parent)}]
    detectors, archive = {"lists": str(tmp_path / "lists")}, {"path": str(tmp_path / "archive"), "transactions": True}
    more = {"flows": {"networks": ["192.0.2.0/24"]}, "detectors": detectors, "archive": archive}
    config = write_config(tmp_path, sources=sources, **more)
    with collecting_here(config, tmp_path / "state") as daemon:
        url = f"{daemon.server.url}/metrics"
        eventually(lambda: ingested(get(url)) == len(records))
        eventually(lambda: ingested(get(url), "netflow") == 200)
        eventually(lambda: sample("dnsvigil_flow_history_seconds", exporter="edge") in samples(get(url)))
        eventually(lambda: "dnsvigil_flow_resolver_deviation{" in get(url))
        eventually(lambda: all(ingested(get(url), log_type.source) == 1 for log_type in PACKAGE))
        eventually(lambda: ingested(get(url), "cowrie") == 1)
        eventually(lambda: "dnsvigil_anomaly_score{" in get(url))
        metrics = served(get(url))
    page = documented("Collector")
    assert page.keys() == metrics.keys()
    assert page == metrics


def test_the_metrics_of_the_process_are_mentioned() -> None:
    assert "`process_" in PAGE.read_text()
