"""A spam bot, a sweep, a fan-out and an implant in live logs; alerts out, by a real Prometheus and Alertmanager."""

from __future__ import annotations

import random
import time
from datetime import timedelta
from importlib.metadata import entry_points
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from alerting import Alerting, needs_prometheus, wait_until
from dnsvigil.collector import flow_loop
from dnsvigil.detectors.runner import GROUP
from dnsvigil.store import findings as findings_module
from exporters.running import collecting_here, get, ingested, write_config
from exporters.zeeklogs import package_header, package_line, tsv
from lab import abuse, implants
from lab.population import popular_names
from lab.transactions import NOERROR, Asked, Transactions, lines
from lab.zeeklog import header

pytestmark = needs_prometheus

SCALE = 120
HOURS = 49
"""How long nothing was wrong before: a whole day at least, so that it is known what is usual."""
BOT, WORM, IMPLANT = "203.0.113.20", "203.0.113.30", "203.0.113.40"
ATTACK, CONTROL = "attack-x.com", "odd-example.com"
PDNS = "dnsvigil_pdns"
ALERTS = {
    ("DnsvigilSpamBot", BOT): "far more domains than is usual",
    ("DnsvigilSweep", WORM): "successive addresses",
    ("DnsvigilFanOut", ATTACK): "very many name servers",
    ("DnsvigilTunnel", IMPLANT): f"gets commands in the answers (score 0.{{}} of 1). Most of it goes to {CONTROL}.",
}


def everyday(end: float) -> Transactions:
    """What people ask for."""
    begin = end - HOURS * 3600
    return Transactions.of(
        Asked(begin + n * HOURS * 3600 / 6000, f"192.0.2.{n % 97 + 100}", f"www.site{n * n % 501}.com", "A", NOERROR)
        for n in range(6000)
    )


def attack(end: float) -> Transactions:
    """An hour of all three clients."""
    dice, begin = random.Random(1), end - 3600
    names = [name for name in popular_names()[:20_000] if name.count(".") == 1]
    taken = implants.implant("AAAA, text", IMPLANT, [CONTROL], seed=1, start=end - 2700)
    spam = Transactions.of(abuse.spam(dice, BOT, names, begin, 600))
    sweep = Transactions.of(abuse.sweep(dice, WORM, names, begin, 600))
    whole = Transactions.join([spam, sweep, taken.transactions])
    return whole[whole.ts < end * 1e6]


def delegations(at: float) -> bytes:
    """Three names below one domain, each delegated to 100 servers of a victim."""
    values = {"ts": f"{at:.6f}", "time_first": f"{at:.6f}", "time_last": f"{at:.6f}", "ttl_min": "60", "ttl_max": "60"}
    return b"".join(
        package_line(
            PDNS, rrname=f"a{name}.{ATTACK}", rrtype="NS", rdata=f"n{number}.s{name}.victim-x.com", count="1", **values
        )
        for name in range(3)
        for number in range(100)
    )


def test_abuse_and_an_implant_are_reported_and_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_loop, "_FINDINGS_SECONDS", 1.0)
    log = tmp_path / "zeek" / "current" / "dns.log"
    log.parent.mkdir(parents=True)
    tuples = log.with_name(f"{PDNS}.log")
    before = everyday(time.time() - 3700)
    log.write_bytes(header(time.time()) + lines(before))
    tuples.write_bytes(package_header(PDNS))
    with collecting_here(write_config(tmp_path), tmp_path / "state") as daemon:
        alerting = Alerting(tmp_path, {"dnsvigil": [urlsplit(daemon.server.url).netloc]}, SCALE)

        def told(status: str) -> dict[tuple[str, str], str]:
            return {
                (alert["labels"]["alertname"], alert["labels"].get("subject", "")): alert["annotations"]["description"]
                for alert in alerting.arrived
                if alert["status"] == status and "detector" in alert["labels"]
            }

        def goes_on() -> int:
            """Ask for one more name: only records move event time on, and a minute of it lies between evaluations."""
            with log.open("ab") as live:
                return live.write(tsv(ts=f"{time.time():.6f}"))

        with alerting:
            wait_until("the past is read", lambda: ingested(get(f"{daemon.server.url}/metrics")) == len(before), 120)
            detectors = len(entry_points(group=GROUP).names)
            wait_until("all run", lambda: len(alerting.query("dnsvigil_detector_runs_total > 0")) == detectors, 60)
            assert not told("firing")
            with log.open("ab") as live:
                live.write(lines(attack(time.time())))
            clients = {key for key in ALERTS if key[1] != ATTACK}
            wait_until("the clients are told", lambda: told("firing").keys() >= clients, 120)
            with tuples.open("ab") as live:
                live.write(delegations(time.time()))
            wait_until("the fan-out is told", lambda: goes_on() and told("firing").keys() >= ALERTS.keys(), 180)
            # Nothing has confirmed the findings for an hour.
            monkeypatch.setattr(findings_module, "QUIET", timedelta(seconds=1))
            wait_until("all is resolved", lambda: told("resolved").keys() >= told("firing").keys(), 120)
    firing = told("firing")
    assert firing.keys() == told("resolved").keys() == ALERTS.keys()
    for (name, subject), what in ALERTS.items():
        text = firing[name, subject]
        assert subject in text and "dnsvigil findings show NUMBER" in text, name
        assert all(part in text for part in what.split("{}")), text
