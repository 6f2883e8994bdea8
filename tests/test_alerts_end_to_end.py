"""Log in, alert out: a live log, the collector, a real Prometheus with our rules, a real Alertmanager, a webhook."""

from __future__ import annotations

import json
import re
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path

from alerting import TIME_SCALE, Alerting, free_port, needs_prometheus, running, wait_until
from exporters.running import collecting, get
from lab import zeeklog
from lab.generate import Generated, Stream
from lab.replay import LiveLog

SERVERS = [f"192.0.2.{last}" for last in (1, 2, 3, 4, 5)]
FAILING = ("192.0.2.1", "a.example")
ZONES = ["a.example", "b.example", "c.example", "d.example"]
RATE = 40  # queries per second for each zone on each server
WINDOW = 300 / TIME_SCALE  # seconds that a ratio over five minutes takes in

pytestmark = needs_prometheus


class Traffic(threading.Thread):
    """A live log of five servers and four zones; while ``faulty``, two zones fail on the first server."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self._folder = folder
        self.faulty = threading.Event()
        self.ended = threading.Event()
        shares = {"a.example": 0.12, "b.example": 0.08}
        self._healthy = self._seconds({})
        self._broken = self._seconds({(SERVERS[0], zone): share for zone, share in shares.items()})

    def _seconds(self, failing: dict[tuple[str, str], float]) -> list[bytes]:
        """The lines of each of ten seconds, without the whole seconds of their time stamps."""
        streams = [
            Stream(server, zone, RATE, servfail=failing.get((server, zone), 0.01), nxdomain=0.1)
            for server in SERVERS
            for zone in ZONES
        ]
        start = 1_000_000_000
        chunks = Generated(streams, seconds=10, start=start).chunks()
        return [chunk.replace(str(start + second).encode(), b"%(now)d") for second, chunk in enumerate(chunks)]

    def run(self) -> None:
        with LiveLog(self._folder, columns=zeeklog.Columns(), rotate=20) as log:
            second = 0
            while not self.ended.wait(max(0.0, self.start_time + second - time.time())):
                chunk = (self._broken if self.faulty.is_set() else self._healthy)[second % 10]
                log.write([chunk.replace(b"%(now)d", b"%d" % time.time())])
                second += 1

    def start(self) -> None:
        self.start_time = time.time()
        super().start()


def test_exactly_the_failing_zone_is_reported_and_resolved(tmp_path: Path) -> None:
    port = free_port()
    config = tmp_path / "dnsvigil.yml"
    config.write_text(f"listen: 127.0.0.1:{port}\nsources: {{zeek: [{{path: '{tmp_path}/logs/current'}}]}}\n")
    traffic = Traffic(tmp_path / "logs")
    alerting = Alerting(tmp_path, {"dnsvigil": [f"127.0.0.1:{port}"]})
    arrived = alerting.arrived
    with ExitStack() as programs:
        dnsvigil: list[str | Path] = [sys.executable, "-m", "dnsvigil", "-c", config, "--state", tmp_path / "state"]
        programs.enter_context(running([*dnsvigil, "run"], tmp_path / "dnsvigil.log"))
        programs.enter_context(alerting)
        programs.callback(traffic.ended.set)
        traffic.start()
        zone = 'dnsvigil_zone_queries_total{dns_zone="a.example"}'
        wait_until("Prometheus has the zones", lambda: bool(alerting.query(zone)), 60)
        time.sleep(WINDOW)  # healthy for a while: nothing may be reported
        traffic.faulty.set()
        wait_until("an alert arrives", lambda: bool(arrived), 90)
        time.sleep(2 * WINDOW)  # nothing else may follow
        traffic.faulty.clear()
        link = arrived[0]["annotations"]["runbook_url"]
        assert "<h1>DnsvigilZoneFailureRatio</h1>" in get(link)
        assert link == f"http://127.0.0.1:{port}/runbooks/DnsvigilZoneFailureRatio"
        wait_until("it is resolved", lambda: any(alert["status"] == "resolved" for alert in arrived), 90)

    told = {(a["labels"]["alertname"], a["labels"].get("server"), a["labels"].get("dns_zone")) for a in arrived}
    assert told == {("DnsvigilZoneFailureRatio", *FAILING)}
    description = arrived[0]["annotations"]["description"]
    ratio = re.search(r"On 192\.0\.2\.1, ([\d.]+)% of", description)
    assert ratio and 10 < float(ratio[1]) < 14, description
    assert "a.example" in description and "The threshold is 10%" in description


KILLS = 10
FINDING = {
    "detector": "trial",
    "subject_type": "resolver",
    "subject": "192.0.2.1",
    "score": 0.9,
    "severity": "critical",
    "evidence": {},
}


def answers(url: str) -> bool:
    try:
        get(url)
    except OSError:
        return False
    return True


def submit_files(url: str, state: Path, finding: dict[str, object]) -> None:
    token = (state / "api-token").read_text().strip()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/api/findings", json.dumps(finding).encode(), headers)

    def taken() -> bool:
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status in (201, 202)
        except urllib.error.HTTPError as error:
            if error.code != 503:  # until the store is open
                raise
            return False

    wait_until("the finding is taken", taken, 60)


def test_a_collector_that_is_killed_again_and_again_resolves_nothing(tmp_path: Path) -> None:
    """Real time is a tenth of the rules': a restart has half a minute, and usually takes a few seconds."""
    port = free_port()
    config = tmp_path / "dnsvigil.yml"
    config.write_text(f"listen: 127.0.0.1:{port}\nsources: {{zeek: [{{path: '{tmp_path}/logs/current'}}]}}\n")
    state = tmp_path / "state"
    traffic = Traffic(tmp_path / "logs")
    traffic.faulty.set()
    expected = {"DnsvigilZoneFailureRatio", "DnsvigilCriticalFindingsOpen"}
    with ExitStack() as programs:
        collector = programs.enter_context(collecting(config, state))
        alerting = programs.enter_context(Alerting(tmp_path, {"dnsvigil": [f"127.0.0.1:{port}"]}, scale=10))
        arrived = alerting.arrived
        programs.callback(traffic.ended.set)
        traffic.start()
        wait_until("it is ready", lambda: answers(f"{collector.url}/-/ready"), 60)
        submit_files(collector.url, state, FINDING)

        def counted() -> float:
            return sum(float(found["value"][1]) for found in alerting.query("dnsvigil_zone_queries_total"))

        wait_until("both alerts arrive", lambda: {alert["labels"]["alertname"] for alert in arrived} >= expected, 120)
        for _ in range(KILLS):
            read = counted()
            collector.kill()
            wait_until("Prometheus misses it", lambda: not counted(), 20)
            collector = programs.enter_context(collecting(config, state))
            # One that is killed before it has read anything has nothing to raise an alert about.
            wait_until("it reads on", lambda read=read: counted() > read, 60)
        time.sleep(35)  # Alertmanager reports what ended within group_interval, half a minute here
        firing = {found["metric"]["alertname"] for found in alerting.query('ALERTS{alertstate="firing"}')}
    assert [alert for alert in arrived if alert["status"] == "resolved"] == []
    assert {alert["labels"]["alertname"] for alert in arrived} == firing == expected | {"DnsvigilCollectorRestarting"}
