"""A real Prometheus with our rules, a real Alertmanager, and a webhook that tells what they report.

The rules' times are divided by TIME_SCALE, or as the test says, so that five minutes pass in ten seconds.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).parents[1]
RULES = REPOSITORY / "rules" / "prometheus"
TIME_SCALE = 30

needs_prometheus = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("prometheus-alertmanager")),
    reason="needs prometheus and prometheus-alertmanager",
)


def scaled(rules: str, scale: float = TIME_SCALE) -> str:
    """Return the rules with every duration divided by ``scale``, but none below a second."""

    def shorter(match: re.Match[str]) -> str:
        seconds = int(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]
        return f"{max(int(seconds * 1000 / scale), 1000)}ms"

    return re.sub(r"(?<![\w.])(\d+)([smhd])\b", shorter, rules)


@contextmanager
def running(command: list[str | Path], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program; what it prints goes to ``log``."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def webhook(arrived: list[dict[str, Any]]) -> Iterator[str]:
    """Receive for Alertmanager: yield a URL; alerts that come go into ``arrived``."""

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
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


class Alerting:
    """Prometheus and Alertmanager, with their examples' configuration but for times, addresses and receivers."""

    def __init__(self, folder: Path, targets: dict[str, list[str]], scale: float = TIME_SCALE) -> None:
        """``targets`` are the addresses of each job of the example; other jobs, and their rules, are left out."""
        self._folder = folder
        self._scale = scale
        self._targets = targets
        self._programs = ExitStack()
        self._port = free_port()
        self.arrived: list[dict[str, Any]] = []

    def __enter__(self) -> Alerting:
        with ExitStack() as programs:
            url = programs.enter_context(webhook(self.arrived))
            alerts_port = free_port()
            self._configure(url, alerts_port)
            commands: dict[str, list[str | Path]] = {
                "alertmanager": [
                    "prometheus-alertmanager",
                    f"--config.file={self._folder}/alertmanager.yml",
                    f"--storage.path={self._folder}/alerts",
                    f"--web.listen-address=127.0.0.1:{alerts_port}",
                    "--cluster.listen-address=",
                ],
                "prometheus": [
                    "prometheus",
                    f"--config.file={self._folder}/prometheus.yml",
                    f"--storage.tsdb.path={self._folder}/prometheus",
                    f"--web.listen-address=127.0.0.1:{self._port}",
                    "--rules.alert.resend-delay=1s",
                ],
            }
            for name, command in commands.items():
                program = programs.enter_context(running(command, self._folder / f"{name}.log"))
            # Prometheus takes five seconds to its first scrape, which would be minutes to the rules.
            targets = sum(map(len, self._targets.values()))
            wait_until("Prometheus scrapes", lambda: len(self.query("up")) == targets, 60)
            self._write_rules()
            program.send_signal(signal.SIGHUP)
            self._programs = programs.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._programs.close()

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return what Prometheus answers, as a list of metric and value; nothing while it does not answer."""
        query = urllib.parse.urlencode({"query": expression})
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/api/v1/query?{query}", timeout=5) as answer:
                return list(json.load(answer)["data"]["result"])
        except OSError:
            return []

    def _write_rules(self) -> None:
        for rules in RULES.glob("dnsvigil-*.yml"):
            job = "dnsvigil-resolver" if rules.name.startswith("dnsvigil-resolver-") else "dnsvigil"
            # The rules of a job that is not there would say so.
            if job in self._targets or rules.name == "dnsvigil-runbooks.yml":
                (self._folder / rules.name).write_text(scaled(rules.read_text(), self._scale))

    def _configure(self, url: str, alerts_port: int) -> None:
        prometheus = yaml.safe_load(scaled((RULES / "prometheus-example.yml").read_text(), self._scale))
        jobs = [job for job in prometheus["scrape_configs"] if job["job_name"] in self._targets]
        for job in jobs:
            job["static_configs"] = [{"targets": self._targets[job["job_name"]]}]
        assert len(jobs) == len(self._targets), prometheus["scrape_configs"]
        prometheus["scrape_configs"] = jobs
        prometheus["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [f"127.0.0.1:{alerts_port}"]}]}]
        (self._folder / "prometheus.yml").write_text(yaml.safe_dump(prometheus))
        example = REPOSITORY / "rules/alertmanager/alertmanager-example.yml"
        alerts = yaml.safe_load(scaled(example.read_text(), self._scale))
        for receiver in alerts["receivers"]:
            receiver.pop("email_configs", None)
            receiver["webhook_configs"] = [{"url": url, "send_resolved": True}]
        (self._folder / "alertmanager.yml").write_text(yaml.safe_dump(alerts))


def wait_until(what: str, condition: Callable[[], bool], seconds: float) -> None:
    """Wait for a condition, for so many seconds at most."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.25)


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that is free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
