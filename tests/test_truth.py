"""The collector's metrics of the sample logs against what dnsperf and the servers themselves say happened."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from dnsvigil.config.collector import Config

SAMPLES = Path(__file__).parent / "lab" / "samples"
FAILURES = set(Config().zones.failures)

Counts = dict[tuple[str, str], Counter[str]]


@pytest.fixture(scope="module")
def truth() -> dict[str, Any]:
    return dict(json.loads((SAMPLES / "truth.json").read_text()))


@pytest.fixture(scope="module", params=["dns.log.gz", "dns.json.gz"])
def counted(request: pytest.FixtureRequest, truth: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Counts:
    """What the metrics say per server and zone, with the lab's zones and servers configured."""
    folder = tmp_path_factory.mktemp("truth")
    config = folder / "dnsvigil.yml"
    zones = [{"name": zone} for zone in truth["zones"]]
    config.write_text(
        yaml.safe_dump({"zones": {"configured": zones}, "servers": {"configured": list(truth["servers"])}})
    )
    command: list[str | Path] = [sys.executable, "-m", "dnsvigil", "-c", config, "--state", folder / "state"]
    subprocess.run([*command, "ingest", SAMPLES / request.param], check=True)
    text = subprocess.run([*command, "metrics"], check=True, capture_output=True, text=True).stdout
    counts: Counts = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.startswith("dnsvigil_zone_") and sample.name.endswith("_total"):
                zone = sample.labels["dns_zone"] if sample.labels["dns_zone"] in truth["zones"] else "outside"
                per_zone = counts.setdefault((sample.labels["server"], zone), Counter())
                per_zone[sample.name.removeprefix("dnsvigil_zone_")] += int(sample.value)
    return counts


def test_queries_failures_and_nxdomain_are_those_of_the_truth(truth: dict[str, Any], counted: Counts) -> None:
    expected: Counts = {}
    for server, zones in truth["servers"].items():
        for zone, said in zones.items():
            failed = sum(count for rcode, count in said["rcodes"].items() if rcode in FAILURES)
            expected[server, zone] = Counter(
                queries_total=said["queries"],
                failures_total=failed + said["unanswered"],
                nxdomain_total=said["rcodes"].get("NXDOMAIN", 0),
            )
    assert {key: +counts for key, counts in counted.items()} == {key: +counts for key, counts in expected.items()}
    assert sum(counts["queries_total"] for counts in counted.values()) > 10_000


def test_the_zones_that_the_lab_broke_are_over_their_threshold(truth: dict[str, Any], counted: Counts) -> None:
    def ratio(zone: str, resolver: str) -> float:
        parts = [counted[server, zone] for server in truth["resolvers"][resolver] if (server, zone) in counted]
        return sum(part["failures_total"] for part in parts) / sum(part["queries_total"] for part in parts)

    assert 0.10 < ratio("shop.example", "unbound") < 0.14
    assert ratio("shop.example", "bind") < 0.05
    assert 0.06 < ratio("news.example", "bind") < 0.10
    assert ratio("lame.example", "unbound") > 0.9
