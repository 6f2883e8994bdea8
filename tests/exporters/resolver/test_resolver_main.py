"""The command ``dnsvigil-resolver-exporter`` as an operator starts it."""

from __future__ import annotations

import dataclasses
import re
import signal
import socket
import ssl
import subprocess
import sys
import textwrap
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml
from prometheus_client.metrics_core import Metric

from dnsvigil import __version__
from dnsvigil.resolver.collectors import COLLECTORS, enabled
from dnsvigil.resolver.config import Collectors, Config
from dnsvigil.resolver.scrape import Parts, Scrape
from exporters.httpd.support import Authority, hashed
from exporters.resolver.exporting import PROGRAM, Exporter
from exporters.running import get

QUIET = {"collectors": {"probe": {"enabled": False}}}
"""A configuration that asks nothing of port 53 of this machine."""


@pytest.fixture(scope="module")
def exporter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    with Exporter(tmp_path_factory.mktemp("exporter"), QUIET) as exporter:
        yield exporter


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *PROGRAM, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_pages(exporter: Exporter) -> None:
    landing = get(exporter.url)
    assert f"Version {__version__}" in landing
    for path in re.findall(r'href="([^"]+)"', landing):
        assert get(f"{exporter.url}/{path}")
    assert get(f"{exporter.url}/-/healthy") == "dnsvigil-resolver-exporter is healthy.\n"
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get(f"{exporter.url}/metric")


def test_metrics_in_both_formats(exporter: Exporter) -> None:
    url = f"{exporter.url}/metrics"
    with urllib.request.urlopen(url, timeout=30) as plain:
        assert plain.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        text = plain.read().decode()
    request = urllib.request.Request(url, headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    with urllib.request.urlopen(request, timeout=30) as modern:
        assert modern.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
        assert modern.read().endswith(b"# EOF\n")
    assert (
        f'dnsvigil_resolver_build_info{{python_version="{sys.version.split()[0]}",version="{__version__}"}} 1.0' in text
    )
    assert "\nprocess_resident_memory_bytes " in text
    assert "_created" not in text
    for name in ("process", "sockets", "host"):
        assert f'dnsvigil_resolver_collector_success{{collector="{name}"}} 1.0' in text
    assert 'collector="probe"' not in text


def test_every_metric_has_its_help_and_is_ours(exporter: Exporter) -> None:
    text = exporter.text()
    helped = dict(re.findall(r"^# HELP (\S+) (.+)$", text, re.MULTILINE))
    typed = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    assert helped.keys() == typed.keys()
    for name, kind in typed.items():
        assert name.startswith(("dnsvigil_resolver_", "process_")), name
        assert name.endswith("_total") == (kind == "counter"), name


def test_memory_after_many_scrapes(exporter: Exporter) -> None:
    for _ in range(50):
        exporter.text()
    assert psutil.Process(exporter.process.pid).memory_info().rss < 45e6


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_well_even_while_a_scrape_connection_is_open(tmp_path: Path, number: int) -> None:
    with Exporter(tmp_path, QUIET) as exporter:
        host, port = exporter.address.split(":")
        with socket.create_connection((host, int(port))) as idle:
            idle.sendall(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n")
            assert idle.recv(100)
            exporter.process.send_signal(number)
            assert exporter.process.wait(10) == 0
        assert "Traceback" not in exporter.log()


def test_a_signal_ends_it_while_a_probe_waits(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        question = {"name": "www.example", "port": silent.getsockname()[1]}
        probe = {"interval": "1m", "timeout": "1m", "questions": [question]}
        with Exporter(tmp_path, {"collectors": {"probe": probe}}) as exporter:
            silent.settimeout(20)
            assert silent.recv(512)
            assert 'dnsvigil_resolver_collector_success{collector="probe"} 1.0' in exporter.text()
            exporter.process.terminate()
            assert exporter.process.wait(10) == 0


def test_tls_and_password(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ca")
    authority.issue("server")
    web = {
        "tls_server_config": {"cert_file": "server.pem", "key_file": "server.key"},
        "basic_auth_users": {"prometheus": hashed("secret")},
    }
    (tmp_path / "web.yml").write_text(yaml.safe_dump(web))
    with Exporter(tmp_path, {**QUIET, "web_config_file": str(tmp_path / "web.yml")}) as exporter:
        assert exporter.url.startswith("https://")
        context = ssl.create_default_context(cafile=str(authority.path))
        password = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        password.add_password(None, exporter.url, "prometheus", "secret")
        https = urllib.request.HTTPSHandler(context=context)
        opener = urllib.request.build_opener(https, urllib.request.HTTPBasicAuthHandler(password))
        assert b"dnsvigil_resolver_build_info" in opener.open(f"{exporter.url}/metrics", timeout=30).read()
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.build_opener(https).open(f"{exporter.url}/metrics", timeout=30)


def test_check_config(tmp_path: Path) -> None:
    path = tmp_path / "resolver.yml"
    path.write_text("listen: 127.0.0.1:9954\n")
    done = run("-c", path, "--check-config")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{path}: no mistakes found\n", "")
    path.write_text(f"web_config_file: {tmp_path}/web.yml\n")
    (tmp_path / "web.yml").write_text("tls_server_config:\n  cert: x\n")
    for arguments in (["--check-config"], []):
        done = run("-c", path, *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert f"{tmp_path}/web.yml:2: " in done.stderr


def test_version_and_wrong_usage() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"dnsvigil-resolver-exporter {__version__}\n")
    assert run("--confg").returncode == 2
    assert run("--log-level", "loud").returncode == 2


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        path = tmp_path / "resolver.yml"
        path.write_text(yaml.safe_dump({"listen": f"127.0.0.1:{other.getsockname()[1]}", **QUIET}))
        done = run("-c", path)
    assert done.returncode == 1
    assert "Address already in use" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("off", ["process", "sockets", "host", "probe"])
def test_each_collector_can_be_switched_off(tmp_path: Path, off: str) -> None:
    path = tmp_path / "resolver.yml"
    path.write_text(yaml.safe_dump({"collectors": {off: {"enabled": False}}}))
    from dnsvigil.resolver.config import load_config

    assert {one.name for one in enabled(load_config(path))} == {"process", "sockets", "host", "probe"} - {off}


def test_every_collector_is_configured_by_its_name() -> None:
    assert [kind.name for kind in COLLECTORS] == [field.name for field in dataclasses.fields(Collectors)]


def test_by_default_every_collector_is_on() -> None:
    config = Config()
    every = (config.collectors.process, config.collectors.sockets, config.collectors.host, config.collectors.probe)
    assert all(one.enabled for one in every)


def test_the_base_install_is_enough() -> None:
    script = """
        import sys

        class Refuse:
            known = {"dnsvigil", "cheroot", "psutil", "prometheus_client", "yaml", "dns", *sys.stdlib_module_names}
            known |= {"jaraco", "more_itertools"}  # which cheroot brings
            known |= {"idna", "markdown_it", "mdurl"}  # the first is dnspython's, where it is there

            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] not in self.known:
                    raise ModuleNotFoundError(name)

        sys.meta_path.insert(0, Refuse())
        from dnsvigil.resolver.exporter import application
        from dnsvigil.resolver.config import Config
        from dnsvigil.resolver.collectors import enabled

        app = application(enabled(Config()))
        (body,) = app({"REQUEST_METHOD": "GET", "PATH_INFO": "/metrics"}, lambda status, headers: None)
        sys.stdout.buffer.write(body)
        assert "markdown_it" not in sys.modules  # only who reads a runbook pays for it
        (body,) = app({"REQUEST_METHOD": "GET", "PATH_INFO": "/runbooks/DnsvigilResolverDown"}, lambda *_: None)
        assert b"<h1>DnsvigilResolverDown</h1>" in body
        ours = {name for name in sys.modules if name.startswith("dnsvigil.")}
        print("ours:", *sorted(name for name in ours if not name.startswith(("dnsvigil.resolver", "dnsvigil.httpd"))))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60, check=True
    )
    for name in ("process", "sockets", "host", "probe"):
        assert f'dnsvigil_resolver_collector_success{{collector="{name}"}} 1.0' in done.stdout
    assert done.stdout.splitlines()[-1] == (
        "ours: dnsvigil.config dnsvigil.config.live dnsvigil.config.types dnsvigil.config.yaml_file dnsvigil.records"
        " dnsvigil.system dnsvigil.system.files dnsvigil.system.terminal"
    )


class Broken:
    """A collector that works or not, by its attribute."""

    name = "broken"

    def __init__(self) -> None:
        self.parts = Parts(self.name, ["half"])
        self.works = False

    def collect(self) -> Iterator[Metric]:
        yield Metric("dnsvigil_resolver_thing", "A thing.", "gauge")
        if not self.works:
            raise RuntimeError("out of order")


class Sound(Broken):
    name = "sound"

    def __init__(self) -> None:
        super().__init__()
        self.works = True


def scraped(scrape: Scrape) -> dict[tuple[str, ...], float]:
    return {
        (sample.name.removeprefix("dnsvigil_resolver_"), *sample.labels.values()): sample.value
        for metric in scrape.collect()
        for sample in metric.samples
    }


def test_a_collector_that_fails_takes_only_its_own_metrics_away(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    broken, sound = Broken(), Sound()
    scrape = Scrape([broken, sound])
    for _ in range(3):
        found = scraped(scrape)
        assert found["collector_success", "broken"] == 0
        assert found["collector_success", "sound"] == 1
        assert found["collector_duration_seconds", "broken"] >= 0
        assert [metric.name for metric in scrape.collect()].count("dnsvigil_resolver_thing") == 1
    assert [record.getMessage().partition(";")[0] for record in caplog.records] == ["collector broken fails"]
    broken.works = True
    assert scraped(scrape)["collector_success", "broken"] == 1
    assert caplog.records[-1].getMessage() == "collector broken works again"


def test_a_part_is_logged_when_it_changes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    collector = Sound()
    scrape = Scrape([collector])
    assert scraped(scrape)["part_available", "sound", "half"] == 1
    for _ in range(3):
        collector.parts.missing("half", "no such file")
        assert scraped(scrape)["part_available", "sound", "half"] == 0
    collector.parts.works("half")
    collector.parts.works("half")
    assert scraped(scrape)["part_available", "sound", "half"] == 1
    assert [record.getMessage() for record in caplog.records] == [
        "sound: half not available: no such file",
        "sound: half works again",
    ]
