"""A resolver exporter under systemd: what it reports, and how it takes another configuration."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.metrics_core import Metric

from dnsvigil.resolver import exporter
from dnsvigil.resolver.config import Config
from dnsvigil.resolver.scrape import Collector, Parts
from exporters.resolver.exporting import Exporter, one
from exporters.running import eventually
from exporters.supervisor import Supervisor


def probing(port: int, *names: str) -> dict[str, Any]:
    """The configuration of a probe to which nothing answers."""
    questions = [{"name": name, "port": port} for name in names]
    return {"probe": {"interval": "1s", "timeout": "1s", "identity": False, "questions": questions}}


def change(folder: Path, collectors: dict[str, Any], **keys: Any) -> None:
    config = {"listen": "127.0.0.1:0", "collectors": collectors, **keys}
    (folder / "resolver.yml").write_text(yaml.safe_dump(config))


def test_what_systemd_hears_from_start_to_stop(tmp_path: Path) -> None:
    quiet = {"collectors": {"probe": {"enabled": False}}}
    with Supervisor(tmp_path / "notify", watchdog=1) as systemd, Exporter(tmp_path, quiet) as running:
        assert systemd.saw("READY")["STATUS"] == "Collectors: process, sockets, host"
        assert one(running.scrape(), "config_last_reload_successful") == 1
        systemd.saw("WATCHDOG", 3)
        running.process.terminate()
        assert running.process.wait(10) == 0
        assert systemd.receive()[-1] == {"STOPPING": "1", "STATUS": "Stopping"}


def test_another_configuration_takes_effect_and_the_rest_keeps_its_counters(tmp_path: Path) -> None:
    port = 1  # where nothing listens
    supervised, started = Supervisor(tmp_path / "notify"), {"collectors": probing(port, "a.example")}
    with supervised as systemd, Exporter(tmp_path, started) as running:
        failed = eventually(lambda: (count := failures(running)["a.example"]) >= 3 and count)
        change(tmp_path, {**probing(port, "a.example"), "host": {"enabled": False}}, listen="127.0.0.1:1")
        running.process.send_signal(signal.SIGHUP)
        assert systemd.saw("READY", 2)["STATUS"] == "Collectors: process, sockets, probe"
        assert "listen has changed, and takes effect when the service is restarted" in running.log()
        assert failures(running)["a.example"] >= failed
        assert not any("_host_" in name for name, _ in running.scrape())
        change(tmp_path, probing(port, "b.example"), resolvers=[{"name": "new", "process": "no-such-program"}])
        running.process.send_signal(signal.SIGHUP)
        systemd.saw("READY", 3)
        assert failures(running).keys() == {"b.example"}
        assert one(running.scrape(), "up", resolver="new") == 0
        assert "Traceback" not in running.log()


def failures(running: Exporter) -> dict[str, float]:
    """How many probes for each name failed."""
    found: dict[str, float] = {}
    for (name, labels), value in running.scrape().items():
        if name == "dnsvigil_resolver_probe_failures_total":
            qname = dict(labels)["dns_name"].rstrip(".")
            found[qname] = found.get(qname, 0) + value
    return found


def test_a_configuration_with_mistakes_changes_nothing(tmp_path: Path) -> None:
    quiet = {"collectors": {"probe": {"enabled": False}}}
    with Supervisor(tmp_path / "notify") as systemd, Exporter(tmp_path, quiet) as running:
        loaded = one(running.scrape(), "config_last_reload_success_timestamp_seconds")
        (tmp_path / "resolver.yml").write_text("listen: 127.0.0.1:0\ncollectors:\n  probe: {port: 0}\nresolver: []\n")
        running.process.send_signal(signal.SIGHUP)
        systemd.shows("Collectors: process, sockets, host; the new configuration has 2 mistakes")
        assert f"{tmp_path}/resolver.yml:3: collectors.probe.port: " in running.log()
        assert f"{tmp_path}/resolver.yml:4: resolver: unknown key" in running.log()
        shown = running.scrape()
        assert one(shown, "config_last_reload_successful") == 0
        assert one(shown, "config_last_reload_success_timestamp_seconds") == loaded
        change(tmp_path, quiet["collectors"])
        running.process.send_signal(signal.SIGHUP)
        eventually(lambda: one(running.scrape(), "config_last_reload_successful") == 1)
        assert one(running.scrape(), "config_last_reload_success_timestamp_seconds") > loaded


class Hanging(Collector):
    """Hangs in a scrape until it is released."""

    name = "process"

    def __init__(self) -> None:
        self.parts = Parts(self.name, [])
        self.released = threading.Event()

    @classmethod
    def from_config(cls, config: Config) -> Hanging:
        raise NotImplementedError

    def collect(self) -> Iterator[Metric]:
        self.released.wait(30)
        return iter(())


def test_a_scrape_that_hangs_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    collector = Hanging()
    monkeypatch.setattr(exporter, "enabled", lambda _: [collector])
    served = exporter.Exporter(Config(), Config)
    assert served.busy() == 0
    request = {"REQUEST_METHOD": "GET", "PATH_INFO": "/metrics"}
    scrape = threading.Thread(target=served, args=(request, lambda *_: None))
    scrape.start()
    eventually(lambda: served.busy() > 0.2)
    collector.released.set()
    scrape.join()
    assert served.busy() == 0
