"""Log in, alert out: a live log, the collector, a real Prometheus with our rules, a real Alertmanager, a webhook.

The rules' times are divided by TIME_SCALE, so that five minutes pass in twenty seconds.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import zeeklog
from lab.generate import Generated, Stream
from lab.replay import LiveLog

REPOSITORY = Path(__file__).parents[1]
RULES = REPOSITORY / "rules" / "prometheus"
TIME_SCALE = 15
SERVERS = [f"192.0.2.{last}" for last in (1, 2, 3, 4, 5)]
FAILING = ("192.0.2.1", "a.example")
ZONES = ["a.example", "b.example", "c.example", "d.example"]
RATE = 40  # queries per second for each zone on each server
WINDOW = 300 / TIME_SCALE  # seconds that a ratio over five minutes takes in

pytestmark = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("prometheus-alertmanager")),
    reason="needs prometheus and prometheus-alertmanager",
)


def scaled(rules: str) -> str:
    """The rules with every duration divided by TIME_SCALE."""

    def shorter(match: re.Match[str]) -> str:
        seconds = int(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]
        return f"{max(seconds * 1000 // TIME_SCALE, 1000)}ms"

    return re.sub(r"(?<![\w.])(\d+)([smhd])\b", shorter, rules)


@contextmanager
def running(command: list[str | Path], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def webhook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A receiver for Alertmanager: its URL, and the alerts that arrived."""
    arrived: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            arrived.extend(json.loads(body)["alerts"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", arrived
    finally:
        server.shutdown()
        server.server_close()


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


def wait_until(what: str, condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.25)


def configure(folder: Path, ports: dict[str, int], url: str) -> None:
    """Write the configuration of the three programs: the examples, with other times, addresses and receivers."""
    (folder / "dnsvigil.yml").write_text(
        f"listen: 127.0.0.1:{ports['dnsvigil']}\nsources: {{zeek: [{{path: '{folder}/logs/current'}}]}}\n"
    )
    for rules in RULES.glob("dnsvigil-*.yml"):
        (folder / rules.name).write_text(scaled(rules.read_text()))
    prometheus = yaml.safe_load(scaled((RULES / "prometheus-example.yml").read_text()))
    prometheus["scrape_configs"][0]["static_configs"] = [{"targets": [f"127.0.0.1:{ports['dnsvigil']}"]}]
    prometheus["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [f"127.0.0.1:{ports['alerts']}"]}]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(prometheus))
    alerts = yaml.safe_load(scaled((REPOSITORY / "rules/alertmanager/alertmanager-example.yml").read_text()))
    for receiver in alerts["receivers"]:
        receiver.pop("email_configs", None)
        receiver["webhook_configs"] = [{"url": url, "send_resolved": True}]
    (folder / "alertmanager.yml").write_text(yaml.safe_dump(alerts))


def test_exactly_the_failing_zone_is_reported_and_resolved(tmp_path: Path) -> None:
    ports = {name: free_port() for name in ("dnsvigil", "prometheus", "alerts")}
    traffic = Traffic(tmp_path / "logs")
    with webhook() as (url, arrived), ExitStack() as programs:
        configure(tmp_path, ports, url)
        dnsvigil: list[str | Path] = [sys.executable, "-m", "dnsvigil", "-c", tmp_path / "dnsvigil.yml"]
        commands: dict[str, list[str | Path]] = {
            "dnsvigil": [*dnsvigil, "--state", tmp_path / "state", "run"],
            "alertmanager": [
                "prometheus-alertmanager",
                f"--config.file={tmp_path}/alertmanager.yml",
                f"--storage.path={tmp_path}/alerts",
                f"--web.listen-address=127.0.0.1:{ports['alerts']}",
                "--cluster.listen-address=",
            ],
            "prometheus": [
                "prometheus",
                f"--config.file={tmp_path}/prometheus.yml",
                f"--storage.tsdb.path={tmp_path}/prometheus",
                f"--web.listen-address=127.0.0.1:{ports['prometheus']}",
                "--rules.alert.resend-delay=1s",
            ],
        }
        for name, command in commands.items():
            programs.enter_context(running(command, tmp_path / f"{name}.log"))
        programs.callback(traffic.ended.set)
        traffic.start()
        query = f"http://127.0.0.1:{ports['prometheus']}/api/v1/query?query=dnsvigil_zone_queries_total"
        wait_until("Prometheus has the zones", lambda: b"a.example" in fetch(query), 60)
        time.sleep(WINDOW)  # healthy for a while: nothing may be reported
        traffic.faulty.set()
        wait_until("an alert arrives", lambda: bool(arrived), 90)
        time.sleep(2 * WINDOW)  # nothing else may follow
        traffic.faulty.clear()
        wait_until("it is resolved", lambda: any(alert["status"] == "resolved" for alert in arrived), 90)

    told = {(a["labels"]["alertname"], a["labels"].get("server"), a["labels"].get("dns_zone")) for a in arrived}
    assert told == {("DnsvigilZoneFailureRatio", *FAILING)}
    description = arrived[0]["annotations"]["description"]
    ratio = re.search(r"On 192\.0\.2\.1, ([\d.]+)% of", description)
    assert ratio and 10 < float(ratio[1]) < 14, description
    assert "a.example" in description and "the threshold is 10%" in description


def fetch(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bytes(answer.read())
    except OSError:
        return b""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
