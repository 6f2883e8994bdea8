"""A forged answer lands, an alert comes out: the collector, a real Prometheus with our rules and Alertmanager."""

from __future__ import annotations

import random
import time
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from alerting import Alerting, needs_prometheus, wait_until
from dnsvigil.collector import flow_loop
from dnsvigil.sources.zeek.log_types import PDNS, POISONINGS
from dnsvigil.store import findings as findings_module
from exporters.running import collecting_here, get, ingested, write_config
from exporters.zeeklogs import package_header, package_line
from lab import poisonings

pytestmark = needs_prometheus

SCALE = 120
SUBJECT = f"bank.example at {poisonings.RESOLVER}"


def seen(name: str, address: str, when: float, **values: str) -> bytes:
    """Return the row of an address that a name had."""
    at = f"{when:.6f}"
    times = {"ts": at, "time_first": at, "time_last": at, "bailiwick": "-"}
    return package_line(PDNS.path, rrname=name, rrtype="A", rdata=address, **times, **values)


def test_a_forged_answer_that_lands_is_reported_and_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_loop, "_FINDINGS_SECONDS", 1.0)
    logs = {kind: tmp_path / "zeek" / "current" / f"{kind.path}.log" for kind in (PDNS, POISONINGS)}
    begin = time.time()
    past = [seen("ns.bank.example", "198.51.100.7", begin - 3600 * hours) for hours in range(72, 0, -6)]
    logs[PDNS].parent.mkdir(parents=True)
    logs[PDNS].write_bytes(package_header(PDNS.path) + b"".join(past))
    logs[POISONINGS].write_bytes(package_header(POISONINGS.path))
    with collecting_here(write_config(tmp_path), tmp_path / "state") as daemon:
        alerting = Alerting(tmp_path, {"dnsvigil": [urlsplit(daemon.server.url).netloc]}, SCALE)

        def told(status: str) -> dict[str, str]:
            """The alerts about poisoning, with their newest text."""
            return {
                f"{alert['labels']['subject']} {alert['labels']['severity']}": alert["annotations"]["description"]
                for alert in alerting.arrived
                if alert["status"] == status and alert["labels"]["alertname"] == "DnsvigilPoisoning"
            }

        with alerting:
            page = f"{daemon.server.url}/metrics"
            wait_until("the past is read", lambda: ingested(get(page), source="zeek_pdns") == len(past), 60)
            assert not told("firing")
            attack = poisonings.Sensor()
            now = time.time()
            poisonings.guessing(attack, random.Random(1), now - 70)
            with logs[PDNS].open("ab") as live:
                live.write(seen("ns.bank.example", "203.0.113.66", now - 60, ttl_min="86000", ttl_max="86400"))
            with logs[POISONINGS].open("ab") as live:
                live.write(b"".join(package_line(POISONINGS.path, **row) for row in attack.finish()[:4]))
            wait_until("it is told", lambda: f"{SUBJECT} critical" in told("firing"), 90)
            # Nothing has confirmed the finding for an hour.
            monkeypatch.setattr(findings_module, "QUIET", timedelta(seconds=1))
            wait_until("it is resolved", lambda: told("resolved").keys() >= told("firing").keys(), 90)

    text = told("firing")[f"{SUBJECT} critical"]
    assert f"forges answers for zone {SUBJECT}" in text
    assert "Forged data was accepted: clients may be sent to the attacker. Flush it. On the host" in text
    assert "dnsvigil findings show NUMBER" in text
