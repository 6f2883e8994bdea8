"""An infection and a tunnel in a log, alerts out: the collector, a real Prometheus with our rules and Alertmanager."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from datetime import timedelta
from importlib.metadata import entry_points
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from alerting import Alerting, needs_prometheus, wait_until
from dnsvigil.collector import flow_loop
from dnsvigil.detectors.runner import GROUP
from dnsvigil.learning.generators import FAMILIES, Lexicon
from dnsvigil.store import findings as findings_module
from exporters.running import collecting_here, get, ingested, write_config
from lab import infected, tunnels
from lab.transactions import NOERROR, Asked, Transactions, lines, mixed
from lab.zeeklog import header

pytestmark = needs_prometheus

SCALE = 120
FAMILY = next(family for family in FAMILIES if family.name == "bedep")
BOTS = ["192.0.2.11", "192.0.2.12", "192.0.2.13"]
TUNNEL = "192.0.2.20"
HOURS = 3
"""How long nothing was wrong before."""


def everyday(end: float) -> Transactions:
    """What people ask for."""
    begin = end - HOURS * 3600
    return Transactions.of(
        Asked(begin + n * HOURS * 3600 / 6000, f"192.0.2.{n % 97 + 100}", f"www.site{n * n % 501}.com", "A", NOERROR)
        for n in range(6000)
    )


def attack(end: float) -> Transactions:
    """A quarter of an hour: three clients of one botnet, and a file that is sent through a tunnel."""
    words = Lexicon((("apple", "river", "stone"),), ("wikipedia", "weather"))
    habit = replace(infected.HABITS["burst"], period=60)
    botnet = infected.infected(FAMILY, words, BOTS, seed=1, start=end - 900, hours=0.25, habit=habit, staggered=60)
    upload = tunnels.iodine(TUNNEL, "t.files-example.com", seed=1, start=end - 300, phases=tunnels.UPLOAD)
    return Transactions.join(list(mixed([], [botnet, upload])))


def test_an_infection_and_a_tunnel_are_reported_and_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_loop, "_FINDINGS_SECONDS", 1.0)
    log = tmp_path / "zeek" / "current" / "dns.log"
    log.parent.mkdir(parents=True)
    before = everyday(time.time() - 900)
    log.write_bytes(header(time.time()) + lines(before))
    with collecting_here(write_config(tmp_path), tmp_path / "state") as daemon:
        alerting = Alerting(tmp_path, {"dnsvigil": [urlsplit(daemon.server.url).netloc]}, SCALE)

        def told(status: str) -> dict[tuple[str, str], str]:
            """The alerts about detectors and what they found, with their newest text."""
            found = [alert for alert in alerting.arrived if alert["status"] == status]
            return {
                (alert["labels"]["alertname"], alert["labels"].get("subject", "")): alert["annotations"]["description"]
                for alert in found
                if "detector" in alert["labels"]
            }

        with alerting:
            wait_until("the past is read", lambda: ingested(get(f"{daemon.server.url}/metrics")) == len(before), 60)
            detectors = len(entry_points(group=GROUP).names)
            wait_until("all run", lambda: len(alerting.query("dnsvigil_detector_runs_total > 0")) == detectors, 30)
            assert not told("firing")
            attacked = attack(time.time())
            with log.open("ab") as live:
                live.write(lines(attacked))
            clients = {("DnsvigilTunnel", TUNNEL), *(("DnsvigilClientInfected", bot) for bot in BOTS)}
            wait_until("the clients are told", lambda: told("firing").keys() >= clients, 60)
            names = {"DnsvigilMalwareGroup", *(name for name, _ in clients)}
            wait_until("the botnet is told", lambda: {name for name, _ in told("firing")} == names, 30)
            # Nothing has confirmed the findings for an hour.
            monkeypatch.setattr(findings_module, "QUIET", timedelta(seconds=1))
            wait_until("all is resolved", lambda: told("resolved").keys() >= told("firing").keys(), 60)

    firing = told("firing")
    groups = {key for key in firing if key[0] == "DnsvigilMalwareGroup"}
    assert firing.keys() == told("resolved").keys() == clients | groups
    for (name, subject), text in firing.items():
        assert subject in text and "dnsvigil findings show" in text, name
    assert "Most of it goes to files-example.com." in firing["DnsvigilTunnel", TUNNEL]
    asked = set(attacked.qname)
    for bot in BOTS:
        told_domain = re.search(r"The most significant domain is (\S+)\. ", firing["DnsvigilClientInfected", bot])
        assert told_domain and told_domain[1] in asked
    assert {domain for _, domain in groups} <= asked
