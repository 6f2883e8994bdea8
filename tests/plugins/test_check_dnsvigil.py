"""The check for Icinga and Nagios, against a real collector and a real Prometheus, both behind TLS and passwords."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import bcrypt
import pytest
import yaml

import dnsvigil
from alerting import free_port, running
from exporters.httpd.support import Authority
from exporters.running import CollectorProcess, Writer, eventually, ingested, sample, samples, write_config

PLUGIN = Path(__file__).parents[2] / "plugins" / "icinga" / "check_dnsvigil"
SERVERS = ("192.0.2.53", "2001:db8::53")


def load() -> ModuleType:
    loader = SourceFileLoader("check_dnsvigil", str(PLUGIN))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    sys.modules[loader.name] = module
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = writes
    return module


plugin = load()


def check(*words: str | Path) -> tuple[int, str]:
    """Exit status and output."""
    done = subprocess.run(
        [sys.executable, "-W", "error", PLUGIN, *words], capture_output=True, text=True, timeout=60, check=False
    )
    assert not done.stderr
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("text", "quiet", "loud"),
    [
        ("10", (0, 5, 10), (-0.1, 10.1)),
        ("10:", (10, 1e9), (9.9, -5)),
        ("~:10", (-1e9, 0, 10), (10.1,)),
        ("10:20", (10, 15, 20), (9.9, 20.1)),
        ("@10:20", (9.9, 20.1), (10, 15, 20)),
        ("@10", (-1, 11), (0, 5, 10)),
        ("-2.5:2.5", (-2.5, 0, 2.5), (-2.6, 2.6)),
        ("@~:0", (0.1,), (-5, 0)),
        ("0", (0,), (0.01, -0.01)),
        (":5", (0, 5), (-1, 6)),
    ],
)
def test_ranges_are_those_of_the_guidelines(text, quiet, loud):
    limit = plugin.Range.parse(text)
    assert not any(limit.alerts(value) for value in quiet)
    assert all(limit.alerts(value) for value in loud)


@pytest.mark.parametrize("text", ["", "@", "ten", "10:5", "~", "10,5", "1:2:3", "10%", "@@1", "5:~", "1e3", " "])
def test_what_is_no_range_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError):
        plugin.Range.parse(text)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "MODE"),
        (["zone"], "--zone"),
        (["zones"], "invalid choice"),
        (["zone", "-z", "a.example", "-w", "20:10"], "smaller end"),
        (["zone", "-z", "a.example", "--window", "5 minutes"], "not a time such as 5m"),
        (["zone", "-z", "a.example", "--window", "5m]) or vector(1"], "not a time such as 5m"),
        (["zone", "-z", "a.example", "-u", "file:///etc/passwd"], "not a URL"),
        (["zone", "-z", "a.example", "-t", "0"], "not a number above 0"),
        (["zone", "-z", "a.example", "--auth-file", "/nonexistent/secret"], "/nonexistent/secret"),
        (["freshness", "--ca-file", "/nonexistent/ca.pem"], "No such file"),
        (["findings", "--severity", "bad"], "invalid choice"),
        (["findings", "-w", "1:0"], "smaller end"),
    ],
)
def test_wrong_usage_is_unknown_and_says_what_is_wrong(words, says):
    status, output = check(*words)
    assert (status, output.count("\n")) == (3, 1)
    assert output.startswith("DNSVIGIL ")
    assert "UNKNOWN: " in output
    assert says in output


def test_help_and_version_are_no_check():
    assert check("--version") == (3, f"check_dnsvigil {dnsvigil.__version__} (dnsvigil)\n")
    for words in (["-h"], ["zone", "-h"], ["freshness", "-h"], ["findings", "-h"]):
        status, output = check(*words)
        assert status == 3
        assert output.startswith("usage: check_dnsvigil")
    assert os.access(PLUGIN, os.X_OK)
    assert PLUGIN.read_text().startswith("#!/usr/bin/python3\n")


def test_the_examples_of_commands_name_options_that_there_are():
    known = "".join(check(mode, "-h")[1] for mode in ("zone", "freshness", "findings"))
    conf = (PLUGIN.parent / "dnsvigil.conf").read_text()
    options = {line.split('"')[1] for line in conf.splitlines() if line.strip().startswith('"--')}
    assert len(options) == 16
    assert {option for option in options if option not in known} == set()
    nagios = (PLUGIN.parent / "dnsvigil.cfg").read_text().replace("$HOSTADDRESS$", "127.0.0.1")
    lines = [line.split("check_dnsvigil ", 1)[1] for line in nagios.splitlines() if "command_line" in line]
    for line in lines:
        first = "warning" if "--severity" in line else "5"
        words = line.replace("$ARG1$", first).replace("$ARG2$", "6").replace("$ARG3$", "7").replace("'", "").split()
        assert plugin.parse(words).warning.text in ("5", "6")


@contextmanager
def answering(answers: dict[str, tuple[int, str]]) -> Iterator[str]:
    """Serve the first of these answers whose key is in the request; 404 without one. Yield the URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = next((answer for key, answer in answers.items() if key in self.path), (404, ""))
            if status == 0:
                stop.wait(20)
                return
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    stop = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        stop.set()
        server.shutdown()
        server.server_close()


def vector(*rows: tuple[dict[str, str], float]) -> tuple[int, str]:
    result = [{"metric": labels, "value": [1_700_000_000, str(value)]} for labels, value in rows]
    return 200, json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}})


def test_the_worst_server_decides_and_few_queries_decide_nothing():
    queries = vector(({"server": "192.0.2.1"}, 1000), ({"server": "192.0.2.2"}, 400), ({"server": "192.0.2.3"}, 99.6))
    failures = vector(({"server": "192.0.2.1"}, 70), ({"server": "192.0.2.2"}, 4), ({"server": "192.0.2.3"}, 99))
    with answering({"zone_queries": queries, "zone_failures": failures}) as url:
        zone = ["zone", "-u", url, "-z", "a.example"]
        status, output = check(*zone)
        assert status == 1
        assert output == (
            "DNSVIGIL ZONE WARNING: 192.0.2.1: 7.00 % of 1000 queries failed"
            " | '192.0.2.1'=7.00%;5;10;0;100 '192.0.2.1 queries'=1000;;;0"
            " '192.0.2.2'=1.00%;5;10;0;100 '192.0.2.2 queries'=400;;;0 '192.0.2.3'=U '192.0.2.3 queries'=100;;;0\n"
        )
        assert check(*zone, "-w", "8", "-c", "9")[0] == 0
        assert check(*zone, "-w", "1:", "-c", "@0.5:1.5")[0] == 2
        assert check(*zone, "--min-queries", "50")[0] == 2
        verbose = check(*zone, "-v")[1].splitlines()
        assert verbose[1:] == [
            "WARNING: 192.0.2.1: 7.00 % of 1000 queries failed",
            "OK: 192.0.2.2: 1.00 % of 400 queries failed",
            "OK: 192.0.2.3: 100 queries, too few to tell",
        ]
        asked = check(*zone, "-vv", "-z", 'A."quoted".example.', "--window", "15m")[1]
        assert r'dnsvigil_zone_queries_total{dns_zone="a.\"quoted\".example", server!="other"}[15m]' in asked


def test_an_answer_that_does_not_tell():
    bad_query = 400, json.dumps({"status": "error", "errorType": "bad_data", "error": "parse error: unexpected"})
    for answer, says in (
        (bad_query, "400 Bad Request: parse error: unexpected"),
        ((401, ""), "401 Unauthorized"),
        ((503, "down"), "503 Service Unavailable"),
        ((200, "<html>"), "JSONDecodeError"),
        (vector(), "no server has had queries for a.example"),
        ((0, ""), "no answer within 0.5 s"),
    ):
        with answering({"api": answer}) as url:
            status, output = check("zone", "-u", url, "-z", "a.example", "-t", "0.5")
        assert (status, output.count("\n")) == (3, 1)
        assert says in output
    with answering({"/metrics": (200, "# nothing\n")}) as url:
        assert check("freshness", "-u", url)[0] == 3
    for answer in ((0, ""), (503, "")):
        with answering({"/metrics": answer}) as url:
            assert check("freshness", "-u", url, "-t", "0.5")[0] == 2


def test_logs_that_wait_unread_are_not_fresh_and_names_cannot_break_the_line():
    hostile = r"a\"b\\c\nd|e'f=g"
    metrics = (
        "# HELP dnsvigil_source_lag_seconds x\n"
        f'dnsvigil_source_last_read_timestamp_seconds{{source="zeek",sensor="{hostile}"}} 4102444800\n'
        f'dnsvigil_source_lag_seconds{{source="zeek",sensor="{hostile}"}} 901\n'
    )
    with answering({"/metrics": (200, metrics)}) as url:
        status, output = check("freshness", "-u", url)
        assert status == 2
        assert output == (
            "DNSVIGIL FRESHNESS CRITICAL: zeek a\"b\\c?d?e'f=g: 901 s behind | 'zeek a\"b\\c?d?e''f_g'=901s;300;900;0\n"
        )
        assert check("freshness", "-u", url, "-w", "2000", "-c", "2000")[0] == 0


def test_a_collector_that_is_down_is_not_covered_up_by_another():
    age = vector(({"source": "zeek", "sensor": "tap", "instance": "a:9953"}, 3))
    lag = vector(({"source": "zeek", "sensor": "tap", "instance": "a:9953"}, 0))
    last_read, waiting = "last_read", "lag_seconds"
    both = {"up": vector(), last_read: age, waiting: lag}
    with answering(both) as url:
        status, output = check("freshness", "--prometheus", "-u", url)
        assert (status, output.split(" | ")[0]) == (0, "DNSVIGIL FRESHNESS OK: zeek tap a:9953: 3 s behind")
        status, output = check("freshness", "--prometheus", "-u", url, "--sensor", "tap", "--sensor", "other-tap")
        assert (status, "other-tap: no log has ever been read" in output) == (2, True)
    with answering(both | {"up": vector(({"instance": "b:9953"}, 0))}) as url:
        status, output = check("freshness", "--prometheus", "-u", url)
        assert (status, "the collector at b:9953 is down" in output) == (2, True)
    with answering({"api": vector()}) as url:
        assert check("freshness", "--prometheus", "-u", url)[0] == 2
    assert check("freshness", "--prometheus", "-u", "http://127.0.0.1:1")[0] == 3


def finding(subject: str, severity: str = "warning", detector: str = "nfsen") -> dict[str, str]:
    return {"detector": detector, "subject_type": "resolver", "subject": subject, "severity": severity}


def test_open_findings_are_counted_by_severity_and_detector():
    found = [
        finding("192.0.2.53", "critical"),
        *(finding(f"192.0.2.{n}") for n in range(6)),
        finding("x|y\nz", "info", "tunnel"),
    ]
    with answering({"/api/findings?state=open": (200, json.dumps(found))}) as url:
        mode = ["findings", "-u", url]
        status, output = check(*mode)
        assert status == 1
        assert output == (
            "DNSVIGIL FINDINGS WARNING: 8 findings open: nfsen: resolver 192.0.2.53 (critical);"
            " nfsen: resolver 192.0.2.0 (warning); nfsen: resolver 192.0.2.1 (warning);"
            " nfsen: resolver 192.0.2.2 (warning); nfsen: resolver 192.0.2.3 (warning); and 3 more"
            " | 'findings'=8;0;10;0 'nfsen critical'=1;;;0 'nfsen warning'=6;;;0 'tunnel info'=1;;;0\n"
        )
        assert check(*mode, "-c", "7")[0] == 2
        assert check(*mode, "-w", "8", "-c", "8")[0] == 0
        status, output = check(*mode, "--severity", "critical", "-w", "5", "-c", "0")
        assert (status, "CRITICAL: 1 finding open: nfsen: resolver 192.0.2.53 (critical) | " in output) == (2, True)
        status, output = check(*mode, "--detector", "tunnel", "--detector", "malware")
        assert (status, output.count("\n")) == (1, 1)
        assert "1 finding open: tunnel: resolver x?y?z (info) | 'findings'=1;0;10;0 'tunnel info'=1;;;0\n" in output
        assert check(*mode, "--detector", "malware") == (
            0,
            "DNSVIGIL FINDINGS OK: no findings open | 'findings'=0;0;10;0\n",
        )
    for answer in ((0, ""), (503, ""), (200, "{}"), (200, "<html>"), (200, '[{"detector": "x"}]')):
        with answering({"/api/findings": answer}) as url:
            status, output = check("findings", "-u", url, "-t", "0.5")
            assert (status, output.count("\n")) == (3, 1)
    assert check("findings", "-u", "http://127.0.0.1:1")[0] == 3


def test_findings_of_a_prometheus_are_numbers_and_none_is_not_the_same_as_no_collector():
    up = vector(({"job": "dnsvigil", "instance": "a:9953"}, 1), ({"job": "dnsvigil", "instance": "b:9953"}, 0))
    counts = vector(
        ({"detector": "nfsen", "severity": "warning"}, 3),
        ({"detector": "nfsen", "severity": "info"}, 2),
        ({"detector": "tunnel", "severity": "critical"}, 0),
    )
    with answering({"query=up": up, "dnsvigil_findings": counts}) as url:
        status, output = check("findings", "--prometheus", "-u", url, "--severity", "warning")
        assert status == 1
        assert output == (
            "DNSVIGIL FINDINGS WARNING: 3 findings open: nfsen: 3 of severity warning"
            " | 'findings'=3;0;10;0 'nfsen warning'=3;;;0\n"
        )
    with answering({"query=up": up, "dnsvigil_findings": vector()}) as url:
        assert check("findings", "--prometheus", "-u", url)[0] == 0
    for nothing in (vector(), vector(({"instance": "a:9953"}, 0))):
        with answering({"query=up": nothing, "dnsvigil_findings": vector()}) as url:
            status, output = check("findings", "--prometheus", "-u", url)
            assert (status, "Prometheus scrapes no collector" in output) == (3, True)


def web_config(folder: Path) -> Path:
    password = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    path = folder / "web.yml"
    tls = {"cert_file": str(folder / "server.pem"), "key_file": str(folder / "server.key")}
    path.write_text(yaml.safe_dump({"tls_server_config": tls, "basic_auth_users": {"icinga": password}}))
    (folder / "auth").write_text("icinga:secret\n")
    (folder / "wrong").write_text("icinga:wrong\n")
    return path


@pytest.mark.skipif(not shutil.which("prometheus"), reason="needs prometheus")
def test_a_real_collector_and_a_real_prometheus(tmp_path):
    Authority(tmp_path, "ca").issue("server")
    web = web_config(tmp_path)
    config = write_config(tmp_path, web_config_file=str(web))
    config.write_text(config.read_text().replace("127.0.0.1:0", f"127.0.0.1:{free_port()}"))
    port = free_port()
    target = yaml.safe_load(config.read_text())["listen"]
    secure = {
        "scheme": "https",
        "tls_config": {"ca_file": str(tmp_path / "ca.pem")},
        "basic_auth": {"username": "icinga", "password": "secret"},
    }
    scrape = {"job_name": "dnsvigil", "scrape_interval": "500ms", "static_configs": [{"targets": [target]}]} | secure
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump({"scrape_configs": [scrape | {"scrape_timeout": "500ms"}]}))
    command: list[str | Path] = [
        "prometheus",
        f"--config.file={tmp_path}/prometheus.yml",
        f"--storage.tsdb.path={tmp_path}/tsdb",
        f"--web.listen-address=127.0.0.1:{port}",
        f"--web.config.file={web}",
    ]
    access = ["--ca-file", tmp_path / "ca.pem", "--auth-file", tmp_path / "auth"]
    of_collector = ["freshness", "-u", f"https://{target}"]
    of_prometheus = ["-u", f"https://127.0.0.1:{port}"]
    zone = ["zone", *of_prometheus, *access, "--window", "20s", "--min-queries", "20", "-z"]
    writer = Writer(tmp_path / "zeek", rate=400, rotate=3600)
    collector = CollectorProcess(config, tmp_path / "state")
    writer.start()
    try:
        with running(command, tmp_path / "prometheus.log"):
            assert eventually(lambda: check(*of_collector, *access)[0] == 0)
            status, output = eventually(lambda: (got := check(*zone, "shop.example")) and got[0] == 2 and got)
            assert all(f"{server}: " in output for server in SERVERS)
            counted = eventually(lambda: scraped(tmp_path, f"https://{target}/metrics"))
            key = {"server": SERVERS[0], "dns_zone": "shop.example"}
            failed = counted[sample("dnsvigil_zone_failures_total", **key, reason="servfail")]
            ratio = 100 * failed / counted[sample("dnsvigil_zone_queries_total", **key)]
            shown = float(output.split(f"'{SERVERS[0]}'=")[1].split("%")[0])
            assert shown == pytest.approx(ratio, abs=6)
            assert check(*zone, "bank.example")[0] == 0
            status, output = check(*zone, "shop.example", "--server", SERVERS[1])
            assert (status, SERVERS[0] in output, SERVERS[1] in output) == (2, False, True)
            assert "too few to tell" in check(*zone, "shop.example", "--min-queries", "1e9")[1]
            assert check(*zone, "unheard-of.example")[0] == 3

            status, output = check("freshness", "--prometheus", *of_prometheus, *access)
            assert (status, target in output) == (0, True)

            for where in (["-u", f"https://{target}"], ["--prometheus", *of_prometheus]):
                assert check("findings", *where, *access)[0] == 0
            report(tmp_path, f"https://{target}/api/findings", finding("192.0.2.66") | {"score": 0.5, "evidence": {}})
            assert check("findings", "-u", f"https://{target}", *access)[0] == 1
            counted = eventually(lambda: (got := check("findings", "--prometheus", *of_prometheus, *access))[0] and got)
            assert "'nfsen warning'=1" in counted[1]
            assert check(*of_collector, *access, "--sensor", "another")[0] == 2
            assert "CERTIFICATE_VERIFY_FAILED" in check(*of_collector)[1]
            status, output = check(*of_collector, *access[:2], "--auth-file", tmp_path / "wrong")
            assert (status, "401" in output) == (3, True)

            collector.kill()
            assert check(*of_collector, *access)[0] == 2
            down = eventually(lambda: (got := check("freshness", "--prometheus", *of_prometheus, *access))[0] and got)
            assert down[0] == 2
            assert f"the collector at {target} is down" in down[1]
    finally:
        writer.stop()
        collector.kill()


def report(folder: Path, url: str, found: dict[str, object]) -> None:
    command = ["curl", "-sS", "--fail", "--cacert", folder / "ca.pem", "-u", "icinga:secret", url]
    command += ["-H", "Content-Type: application/json", "-d", json.dumps(found)]
    subprocess.run(command, capture_output=True, check=True, timeout=30)


def scraped(folder: Path, url: str):
    done = subprocess.run(
        ["curl", "-s", "--cacert", folder / "ca.pem", "-u", "icinga:secret", url],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return samples(done.stdout) if ingested(done.stdout) else None
