"""The check for Icinga and Nagios, against a real collector and a real Prometheus, both behind TLS and passwords."""

from __future__ import annotations

import argparse
import base64
import importlib.util
import json
import os
import shutil
import signal
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
from exporters.resolver.exporting import Exporter, asking, watching
from exporters.running import CollectorProcess, Writer, collecting, eventually, ingested, sample, samples, write_config
from lab.resolvers import Resolver, installed

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
        (["zone", "-z", "a.example", "--token-file", "/nonexistent/secret"], "/nonexistent/secret"),
        (["findings", "--username", "icinga"], "--username and --password-file go together"),
        (["findings", "--password-file", "/dev/null"], "--username and --password-file go together"),
        (["findings", "--username", "a", "--password-file", "/dev/null", "--token-file", "/dev/null"], "give either"),
        (["findings", "--token-file", "/dev/null"], "/dev/null does not hold one line"),
        (["resolver", "--key", "/dev/null"], "--key goes with --cert"),
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
    for words in (["-h"], ["zone", "-h"], ["freshness", "-h"], ["findings", "-h"], ["resolver", "-h"]):
        status, output = check(*words)
        assert status == 3
        assert output.startswith("usage: check_dnsvigil")
    assert os.access(PLUGIN, os.X_OK)
    assert PLUGIN.read_text().startswith("#!/usr/bin/python3\n")


def test_the_examples_of_commands_name_options_that_there_are():
    known = "".join(check(mode, "-h")[1] for mode in ("zone", "freshness", "findings", "resolver"))
    conf = (PLUGIN.parent / "dnsvigil.conf").read_text()
    options = {line.split('"')[1] for line in conf.splitlines() if line.strip().startswith('"--')}
    assert len(options) == 18
    assert {option for option in options if option not in known} == set()
    nagios = (PLUGIN.parent / "dnsvigil.cfg").read_text().replace("$HOSTADDRESS$", "127.0.0.1")
    lines = [line.split("check_dnsvigil ", 1)[1] for line in nagios.splitlines() if "command_line" in line]
    assert len(lines) == 4
    for line in lines:
        first = "warning" if "--severity" in line else "5"
        words = line.replace("$ARG1$", first).replace("$ARG2$", "6").replace("'", "").split()
        assert plugin.parse(words).url.startswith("http://127.0.0.1:")


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


def zone_answers(
    counts: dict[str, tuple[float, float]], threshold: float | None = 0.05, least: float | None = 100
) -> dict[str, tuple[int, str]]:
    """What a Prometheus answers about a zone with these queries and failures by server."""

    def about(value: float | None) -> tuple[int, str]:
        return vector(*[({}, value)] * (value is not None))

    failures = [({"server": server, "reason": "servfail"}, failed) for server, (_, failed) in counts.items() if failed]
    return {
        "zone_queries_total": vector(*(({"server": server}, asked) for server, (asked, _) in counts.items())),
        "zone_failures_total": vector(*failures, *[({"server": server, "reason": "timeout"}, 0) for server in counts]),
        "ratio_threshold": about(threshold),
        "ratio_min_queries": about(least),
        "query=up": vector(),
    }


def test_the_worst_server_decides_and_few_queries_decide_nothing():
    counts = {"192.0.2.1": (1000.0, 70.0), "192.0.2.2": (400.0, 4.0), "192.0.2.3": (99.6, 99.0)}
    with answering(zone_answers(counts)) as url:
        zone = ["zone", "--prometheus", "-u", url, "-z", "a.example"]
        status, output = check(*zone)
        assert status == 1
        assert output == (
            "DNSVIGIL ZONE WARNING: 192.0.2.1: 7.00 % of 1000 queries failed (servfail 70)"
            " | '192.0.2.1'=7.00%;5;;0;100 '192.0.2.1 queries'=1000;;;0"
            " '192.0.2.2'=1.00%;5;;0;100 '192.0.2.2 queries'=400;;;0 '192.0.2.3'=U '192.0.2.3 queries'=100;;;0\n"
        )
        assert check(*zone, "-w", "8")[0] == 0
        assert check(*zone, "-c", "6")[0] == 2
        assert check(*zone, "-w", "1:", "-c", "@0.5:1.5")[0] == 2
        assert check(*zone, "--min-queries", "50")[0] == 2  # two of three servers
        verbose = check(*zone, "-v")[1].splitlines()
        assert verbose[1:] == [
            "WARNING: 192.0.2.1: 7.00 % of 1000 queries failed (servfail 70)",
            "OK: 192.0.2.2: 1.00 % of 400 queries failed (servfail 4)",
            "OK: 192.0.2.3: 100 queries, too few to evaluate (fewer than 100)",
        ]
        asked = check(*zone, "-vv", "-z", 'A."quoted".example.', "--window", "15m")[1]
        assert r'dnsvigil_zone_queries_total{dns_zone="a.\"quoted\".example", server!="other"}[15m]' in asked


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"192.0.2.1": (1000, 49), "192.0.2.2": (1000, 49)}, 0),
        ({"192.0.2.1": (1000, 51)}, 1),
        ({"192.0.2.1": (1000, 51), "2001:db8::1": (1000, 51)}, 1),  # the two addresses of one resolver, perhaps
        ({"192.0.2.1": (1000, 51), "192.0.2.2": (1000, 51), "192.0.2.3": (1000, 0)}, 2),
        ({"192.0.2.1": (1000, 51), "192.0.2.2": (1000, 51), "192.0.2.3": (1000, 0), "192.0.2.4": (1000, 0)}, 1),
        ({"192.0.2.1": (99, 99), "192.0.2.2": (1000, 0)}, 0),
        ({"192.0.2.1": (99, 99), "192.0.2.2": (99, 0)}, 3),  # nothing could be judged
    ],
)
def test_the_collectors_threshold_decides_and_most_servers_are_critical(counts, expected):
    with answering(zone_answers(counts)) as url:
        assert check("zone", "--prometheus", "-u", url, "-z", "a.example")[0] == expected


def zone_row(server: str, queries: int, zone: str = "a.example", **reasons: int) -> dict[str, object]:
    common = {"failure_ratio_threshold": 0.07, "min_queries": 50, "state": "ok", "failure_ratio": 0}
    return common | {"server": server, "dns_zone": zone, "queries": queries, "reasons": reasons}


@pytest.mark.parametrize(
    ("rows", "current", "expected", "says"),
    [
        (
            [zone_row("cache1", 100, servfail=6, timeout=1)],
            True,
            0,
            "cache1: 7.00 % of 100 queries failed (servfail 6, ",
        ),
        ([zone_row("cache1", 100, servfail=8)], True, 1, "| 'cache1'=8.00%;7;;0;100 'cache1 queries'=100;;;0"),
        ([zone_row("cache1", 100, servfail=8), zone_row("cache2", 100, timeout=8)], True, 2, "cache2: 8.00 % of"),
        ([zone_row("cache1", 100, servfail=8)], False, 3, "the newest data is of 2026-03-01T12:04:00Z"),
        ([zone_row("cache1", 49, servfail=49)], True, 3, "too few to evaluate (fewer than 50)"),
        ([zone_row("other", 100, servfail=100), zone_row("cache1", 100)], True, 0, "cache1: 0.00 %"),
        ([zone_row("cache1", 100, zone="b.example")], True, 3, "no server has counted queries for a.example"),
        ([], False, 3, "no server has counted queries for a.example"),
    ],
)
def test_a_collector_is_asked_where_there_is_no_prometheus(rows, current, expected, says):
    answer = {"from": "2026-03-01T11:58:00Z", "to": "2026-03-01T12:04:00Z", "current": current, "zones": rows}
    with answering({"/api/zones": (200, json.dumps(answer))}) as url:
        status, output = check("zone", "-u", url, "-z", "A.example.")
    assert (status, says in output, output.count("\n")) == (expected, True, 1)


def test_without_the_collectors_threshold_it_has_to_be_given():
    with answering(zone_answers({"192.0.2.1": (1000, 70)}, threshold=None, least=None)) as url:
        zone = ["zone", "--prometheus", "-u", url, "-z", "a.example"]
        assert check(*zone)[0] == 3
        assert check(*zone, "-w", "8")[0] == 3
        assert check(*zone, "-w", "8", "--min-queries", "10")[0] == 0
        assert check(*zone, "-w", "5", "--min-queries", "10")[0] == 1


def test_a_collector_that_is_down_leaves_a_zone_unknown_but_hides_no_fault():
    down = {"query=up": vector(({"instance": "b:9953"}, 0))}
    with answering(zone_answers({"192.0.2.1": (1000, 4)}) | down) as url:
        status, output = check("zone", "--prometheus", "-u", url, "-z", "a.example")
        assert (status, "the collector at b:9953 is down" in output) == (3, True)
    with answering(zone_answers({"192.0.2.1": (1000, 70)}) | down) as url:
        status, output = check("zone", "--prometheus", "-u", url, "-z", "a.example")
        assert status == 1
        assert "failed (servfail 70); UNKNOWN: the collector at b:9953 is down | " in output


def test_an_answer_that_does_not_tell():
    bad_query = 400, json.dumps({"status": "error", "errorType": "bad_data", "error": "parse error: unexpected"})
    for answer, says in (
        (bad_query, "400 Bad Request: parse error: unexpected"),
        ((401, ""), "401 Unauthorized"),
        ((503, "down"), "503 Service Unavailable"),
        ((200, "<html>"), "JSONDecodeError"),
        (vector(), "no server has counted queries for a.example"),
        ((0, ""), "no answer within 0.5 s"),
    ):
        with answering({"api": answer}) as url:
            status, output = check("zone", "--prometheus", "-u", url, "-z", "a.example", "-t", "0.5")
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
            "DNSVIGIL FRESHNESS CRITICAL: zeek a\"b\\c?d?e'f=g: 901 s behind | 'zeek a\"b\\c?d?e''f_g'=901s;600;900;0\n"
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


HEALTHY = (
    200,
    'dnsvigil_detector_up{detector="malware"} 1.0\ndnsvigil_detector_up{detector="tunnel"} 1.0\n',
)


def test_severity_decides_about_open_findings_unless_thresholds_are_given():
    found = [
        finding("192.0.2.53", "critical"),
        *(finding(f"192.0.2.{n}") for n in range(6)),
        finding("x|y\nz", "info", "tunnel"),
    ]
    with answering({"/api/findings?state=open": (200, json.dumps(found)), "/metrics": HEALTHY}) as url:
        mode = ["findings", "-u", url]
        status, output = check(*mode)
        assert status == 2
        assert output == (
            "DNSVIGIL FINDINGS CRITICAL: 8 findings open: nfsen: resolver 192.0.2.53 (critical);"
            " nfsen: resolver 192.0.2.0 (warning); nfsen: resolver 192.0.2.1 (warning);"
            " nfsen: resolver 192.0.2.2 (warning); nfsen: resolver 192.0.2.3 (warning); and 3 more"
            " | 'findings'=8;;;0 'nfsen critical'=1;;;0 'nfsen warning'=6;;;0 'tunnel info'=1;;;0\n"
        )
        assert check(*mode, "-c", "7")[0] == 2
        assert check(*mode, "-c", "8")[0] == 1
        assert check(*mode, "-w", "8", "-c", "8")[0] == 0
        assert check(*mode, "-w", "8")[0] == 2
        status, output = check(*mode, "--severity", "critical", "-w", "5", "-c", "0")
        assert (status, "CRITICAL: 1 finding open: nfsen: resolver 192.0.2.53 (critical) | " in output) == (2, True)
        status, output = check(*mode, "--detector", "tunnel", "--detector", "malware")
        assert (status, output.count("\n")) == (0, 1)
        assert "1 finding open: tunnel: resolver x?y?z (info) | 'findings'=1;;;0 'tunnel info'=1;;;0\n" in output
        assert check(*mode, "--detector", "tunnel", "-w", "0")[0] == 1
        assert check(*mode, "--detector", "malware") == (
            0,
            "DNSVIGIL FINDINGS OK: no findings open | 'findings'=0;;;0\n",
        )
    for severity, expected in (("info", 0), ("warning", 1), ("critical", 2), ("dreadful", 3)):
        answer = {"/api/findings": (200, json.dumps([finding("x", severity)])), "/metrics": HEALTHY}
        with answering(answer) as url:
            assert check("findings", "-u", url)[0] == expected
    for answer in ((0, ""), (503, ""), (200, "{}"), (200, "<html>"), (200, '[{"detector": "x"}]')):
        with answering({"/api/findings": answer, "/metrics": HEALTHY}) as url:
            status, output = check("findings", "-u", url, "-t", "0.5")
            assert (status, output.count("\n")) == (3, 1)
    assert check("findings", "-u", "http://127.0.0.1:1")[0] == 3


def test_no_finding_of_a_detector_with_a_problem_is_no_good_news():
    broken = HEALTHY[1].replace('"malware"} 1.0', '"malware"} 0.0')
    for found, expected in (([], 3), ([finding("x", "critical")], 2), ([finding("x", "warning")], 1)):
        answers = {"/api/findings": (200, json.dumps(found)), "/metrics": (200, broken)}
        with answering(answers) as url:
            status, output = check("findings", "-u", url)
            assert (status, "detector malware has a problem" in output) == (expected, True)
            assert check("findings", "-u", url, "--detector", "tunnel")[0] == 0


def test_findings_of_a_prometheus_are_numbers_and_none_is_not_the_same_as_no_collector():
    both = vector(({"instance": "a:9953"}, 1), ({"instance": "b:9953"}, 1))
    counts = vector(
        ({"detector": "nfsen", "severity": "warning"}, 3),
        ({"detector": "nfsen", "severity": "info"}, 2),
        ({"detector": "tunnel", "severity": "critical"}, 0),
    )
    detectors = vector(({"detector": "tunnel", "instance": "a:9953"}, 1), ({"detector": "x", "instance": "b:9953"}, 0))
    up = {"query=up%7Bjob%3D%22dnsvigil%22%7D+%3D%3D+0": vector(), "query=up": both, "detector_up": vector()}
    with answering(up | {"dnsvigil_findings": counts}) as url:
        status, output = check("findings", "--prometheus", "-u", url, "--severity", "warning")
        assert status == 1
        assert output == (
            "DNSVIGIL FINDINGS WARNING: 3 findings open: nfsen: 3 of severity warning"
            " | 'findings'=3;;;0 'nfsen warning'=3;;;0\n"
        )
    with answering(up | {"dnsvigil_findings": vector()}) as url:
        assert check("findings", "--prometheus", "-u", url)[0] == 0
    with answering(up | {"dnsvigil_findings": vector(), "detector_up": detectors}) as url:
        assert check("findings", "--prometheus", "-u", url)[0] == 3
    one_down = {"query=up%7Bjob%3D%22dnsvigil%22%7D+%3D%3D+0": vector(({"instance": "b:9953"}, 0))}
    with answering(up | {"dnsvigil_findings": vector()} | one_down) as url:
        status, output = check("findings", "--prometheus", "-u", url)
        assert (status, "the collector at b:9953 is down" in output) == (3, True)
    for nothing in (vector(), vector(({"instance": "a:9953"}, 0))):
        with answering(up | {"query=up": nothing, "dnsvigil_findings": vector()}) as url:
            status, output = check("findings", "--prometheus", "-u", url)
            assert (status, "Prometheus scrapes no collector" in output) == (3, True)


GOOD_HOST = """\
dnsvigil_resolver_collector_success{collector="process"} 1.0
dnsvigil_resolver_collector_success{collector="sockets"} 1.0
dnsvigil_resolver_collector_success{collector="host"} 1.0
dnsvigil_resolver_collector_success{collector="probe"} 1.0
dnsvigil_resolver_part_available{collector="process",part="processes"} 1.0
dnsvigil_resolver_part_available{collector="host",part="conntrack"} 0.0
dnsvigil_resolver_up{resolver="unbound"} 1.0
dnsvigil_resolver_processes{resolver="unbound"} 2.0
dnsvigil_resolver_processes_stopped{resolver="unbound"} 0.0
dnsvigil_resolver_fds_ratio{resolver="unbound"} 0.25
dnsvigil_resolver_resident_memory_bytes{resolver="unbound"} 100.0
dnsvigil_resolver_memory_limit_bytes{resolver="unbound"} 1000.0
dnsvigil_resolver_probe_success{server="127.0.0.1:53",protocol="udp",dns_name=".",qtype="NS"} 1.0
dnsvigil_resolver_probe_success{server="127.0.0.1:53",protocol="udp",dns_name="a.example",qtype="A"} 1.0
dnsvigil_resolver_probe_last_timestamp_seconds{server="127.0.0.1:53",protocol="udp",dns_name=".",qtype="NS"} 9e9
dnsvigil_resolver_probe_last_timestamp_seconds{server="127.0.0.1:53",protocol="udp",dns_name="a.example",qtype="A"} 9e9
dnsvigil_resolver_socket_receive_queue_max_bytes{protocol="udp",family="ipv4",port="53"} 10.0
dnsvigil_resolver_socket_receive_buffer_bytes{protocol="udp",family="ipv4",port="53"} 200.0
dnsvigil_resolver_accept_queue_length{address="0.0.0.0",port="53"} 0.0
dnsvigil_resolver_accept_queue_limit{address="0.0.0.0",port="53"} 256.0
dnsvigil_resolver_host_memory_available_bytes 50.0
dnsvigil_resolver_host_memory_total_bytes 100.0
dnsvigil_resolver_host_filesystem_size_bytes{mountpoint="/",device="d",fstype="ext4"} 100.0
dnsvigil_resolver_host_filesystem_available_bytes{mountpoint="/",device="d",fstype="ext4"} 40.0
dnsvigil_resolver_host_filesystem_files{mountpoint="/",device="d",fstype="ext4"} 0.0
dnsvigil_resolver_host_filesystem_files_free{mountpoint="/",device="d",fstype="ext4"} 0.0
dnsvigil_resolver_host_conntrack_entries 10.0
dnsvigil_resolver_host_conntrack_limit 0.0
dnsvigil_resolver_host_clock_synchronised 1.0
"""


@pytest.mark.parametrize(
    ("old", "new", "status", "says"),
    [
        ("", "", 0, "OK: unbound runs; "),
        ('up{resolver="unbound"} 1.0', 'up{resolver="unbound"} 0.0', 2, "CRITICAL: unbound is not running"),
        ('stopped{resolver="unbound"} 0.0', 'stopped{resolver="unbound"} 1.0', 2, "1 of 2 processes are stopped"),
        ('dnsvigil_resolver_up{resolver="unbound"} 1.0\n', "", 2, "no resolver has run"),
        ('fds_ratio{resolver="unbound"} 0.25', 'fds_ratio{resolver="unbound"} 0.91', 2, "file descriptors: 91 % used"),
        ('bytes{resolver="unbound"} 100.0', 'bytes{resolver="unbound"} 950.0', 1, "unbound memory: 95 % used"),
        ('"NS"} 1.0', '"NS"} 0.0', 1, "1 of 2 probe questions fail (. NS over udp)"),
        (',qtype="NS"} 9e9', ',qtype="NS"} 5.0', 3, "a probe has not ended for "),
        ('port="53"} 10.0', 'port="53"} 190.0', 1, "receive queue of UDP port 53 (ipv4): 95 % used"),
        ('port="53"} 0.0', 'port="53"} 250.0', 1, "accept queue of 0.0.0.0 port 53: 98 % used"),
        ("available_bytes 50.0", "available_bytes 4.0", 1, "memory of the host: 96 % used"),
        ('"ext4"} 40.0', '"ext4"} 4.0', 1, "space of /: 96 % used"),
        ("conntrack_limit 0.0", "conntrack_limit 11.0", 1, "connection tracking table: 91 % used"),
        ("synchronised 1.0", "synchronised 0.0", 1, "the clock is not synchronised"),
        ('success{collector="sockets"} 1.0', 'success{collector="sockets"} 0.0', 3, "collector sockets fails"),
        ('success{collector="process"} 1.0', 'success{collector="process"} 0.0', 3, "collector process fails"),
        ('part="processes"} 1.0', 'part="processes"} 0.0', 3, "cannot read processes (process)"),
        ("dnsvigil_resolver", "another", 3, "is not that of a resolver exporter"),
    ],
)
def test_a_resolver_host(old, new, status, says):
    with answering({"/metrics": (200, GOOD_HOST.replace(old, new) if old else GOOD_HOST)}) as url:
        found, output = check("resolver", "-u", url)
    assert (found, output.count("\n")) == (status, 1)
    assert says in output
    if status == 0:
        assert "'127.0.0.1:53 failing'=0%;0;50;0;100" in output
        assert "'unbound file descriptors'=25%;;90;0;100" in output
        assert "'unbound memory'=10%;90;;0;100" in output


def test_thresholds_for_failing_probes():
    with answering({"/metrics": (200, GOOD_HOST.replace('"NS"} 1.0', '"NS"} 0.0'))}) as url:
        assert check("resolver", "-u", url, "-w", "50")[0] == 0
        assert check("resolver", "-u", url, "-c", "49")[0] == 2
    all_fail = GOOD_HOST.replace('"NS"} 1.0', '"NS"} 0.0').replace('"A"} 1.0', '"A"} 0.0')
    with answering({"/metrics": (200, all_fail)}) as url:
        assert check("resolver", "-u", url)[0] == 2
        output = check("resolver", "-u", url, "-v")[1]
        assert "CRITICAL: 127.0.0.1:53: 2 of 2 probe questions fail (. NS over udp, a.example A over udp)\n" in output
    for answer in ((0, ""), (503, ""), (404, "")):
        with answering({"/metrics": answer}) as url:
            assert check("resolver", "-u", url, "-t", "0.5")[0] == 3


def test_a_real_resolver_exporter(tmp_path):
    """A host on which no resolver is, as the exporter of a name nobody has."""
    config = {
        "resolvers": [{"name": "none", "process": "no-such-program"}],
        "collectors": {"probe": {"enabled": False}},
    }
    with Exporter(tmp_path, config) as exporter:
        status, output = check("resolver", "-u", exporter.url)
        assert status == 2
        assert "CRITICAL: none is not running" in output
        assert "'none processes'=0;;;0" in output


@pytest.mark.skipif(not installed("unbound"), reason="needs unbound")
def test_a_real_resolver(tmp_path):
    with Resolver("unbound", tmp_path / "cache") as resolver:
        config = watching(resolver, host={"enabled": False}, probe=asking(resolver))
        with Exporter(tmp_path / "exporter", config) as exporter:
            mode = ["resolver", "-u", exporter.url]
            status, output = eventually(lambda: (got := check(*mode))[0] == 0 and got)
            assert "cache runs; " in output and "none of 1 probe questions fail" in output
            resolver.send_signal(signal.SIGSTOP)
            status, output = eventually(lambda: (got := check(*mode))[1].count("questions fail (") and got)
            assert status == 2
            assert "1 of 1 processes are stopped" in output and "1 of 1 probe questions fail (" in output
            resolver.send_signal(signal.SIGCONT)
            assert eventually(lambda: check(*mode)[0] == 0)
            resolver.send_signal(signal.SIGKILL)
            status, output = eventually(lambda: (got := check(*mode))[1].count("is not running") and got)
            assert status == 2


def test_datagrams_that_are_dropped():
    drops = 'dnsvigil_resolver_udp_drops_total{{address="0.0.0.0",port="53"}} {}\n'
    for after, expected, says in ((1100, 1, "0.0.0.0 port 53 drops 50 UDP datagrams a second"), (1001, 0, "OK: ")):
        answers = iter([drops.format(1000), drops.format(after)])

        class Changing(dict[str, tuple[int, str]]):
            def items(self, answers: Iterator[str] = answers) -> list[tuple[str, tuple[int, str]]]:
                return [("/metrics", (200, GOOD_HOST + next(answers)))]

        with answering(Changing()) as url:
            status, output = check("resolver", "-u", url)
        assert (status, says in output) == (expected, True)
        assert f"'UDP drops of 0.0.0.0 port 53'={after}c;;;0" in output


@contextmanager
def recording(status: int = 200) -> Iterator[tuple[str, list[str]]]:
    """Serve no findings and good detectors; yield the URL, and what was sent as credentials."""
    sent: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            sent.append(self.headers.get("Authorization", ""))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(HEALTHY[1].encode() if self.path == "/metrics" else b"[]")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", sent
    finally:
        server.shutdown()
        server.server_close()


def test_credentials_come_from_files(tmp_path):
    (tmp_path / "token").write_text("s3cr3t\n")
    (tmp_path / "password").write_text("a:b c\n")
    with recording() as (url, sent):
        assert check("findings", "-u", url, "--token-file", tmp_path / "token")[0] == 0
        assert set(sent) == {"Bearer s3cr3t"}
        sent.clear()
        assert check("findings", "-u", url, "--username", "icinga", "--password-file", tmp_path / "password")[0] == 0
        assert set(sent) == {"Basic " + base64.b64encode(b"icinga:a:b c").decode()}
        (tmp_path / "token").write_text("two\nlines\n")
        assert check("findings", "-u", url, "--token-file", tmp_path / "token")[0] == 3
    for code in (401, 403):
        with recording(code) as (url, _):
            status, output = check("findings", "-u", url)
            assert (status, "give --token-file, or --username and --password-file" in output) == (3, True)


def test_proxies_of_the_environment_are_not_used(monkeypatch):
    with recording() as (url, sent), recording() as (proxy, seen):
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy)
        assert check("findings", "-u", url)[0] == 0
        assert (len(sent), seen) == (2, [])


def web_config(folder: Path) -> Path:
    password = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    path = folder / "web.yml"
    tls = {"cert_file": str(folder / "server.pem"), "key_file": str(folder / "server.key")}
    path.write_text(yaml.safe_dump({"tls_server_config": tls, "basic_auth_users": {"icinga": password}}))
    (folder / "password").write_text("secret\n")
    (folder / "wrong").write_text("wrong\n")
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
    user = ["--ca-file", tmp_path / "ca.pem", "--username", "icinga", "--password-file"]
    access = [*user, tmp_path / "password"]
    of_collector = ["freshness", "-u", f"https://{target}"]
    of_prometheus = ["-u", f"https://127.0.0.1:{port}"]
    zone = ["zone", "--prometheus", *of_prometheus, *access, "--window", "20s", "--min-queries", "20", "-z"]
    writer = Writer(tmp_path / "zeek", rate=400, rotate=3600)
    collector = CollectorProcess(config, tmp_path / "state")
    writer.start()
    try:
        with running(command, tmp_path / "prometheus.log"):
            assert eventually(lambda: check(*of_collector, *access)[0] == 0, 120)
            key = {"server": SERVERS[0], "dns_zone": "shop.example"}

            def agrees() -> str:
                """What it says of a zone, once that is what the collector has counted, but for chance."""
                status, output = check(*zone, "shop.example")
                if status != 1 or not all(f"{server}: " in output for server in SERVERS):
                    return ""
                counted = eventually(lambda: scraped(tmp_path, f"https://{target}/metrics"))
                failed = sum(
                    value
                    for (name, labels), value in counted.items()
                    if name == "dnsvigil_zone_failures_total" and labels >= key.items()
                )
                ratio = 100 * failed / counted[sample("dnsvigil_zone_queries_total", **key)]
                shown = float(output.split(f"'{SERVERS[0]}'=")[1].split("%")[0])
                return output if shown == pytest.approx(ratio, abs=3) else ""

            assert eventually(agrees, 120)
            assert check(*zone, "bank.example")[0] == 0
            status, output = check(*zone, "shop.example", "--server", SERVERS[1])
            assert (status, SERVERS[0] in output, SERVERS[1] in output) == (1, False, True)
            assert f"'{SERVERS[1]}'=" in output and "%;10;;0;100 " in output  # the collector's own threshold
            assert check(*zone, "shop.example", "-c", "10")[0] == 2
            status, output = check(*zone, "shop.example", "--min-queries", "1e9")
            assert (status, "too few to evaluate" in output) == (3, True)
            assert check(*zone, "unheard-of.example")[0] == 3
            direct = ["zone", "-u", f"https://{target}", *access, "--min-queries", "20", "-z"]
            status, output = check(*direct, "shop.example")
            assert (status, all(f"{server}: " in output for server in SERVERS)) == (1, True)
            assert check(*direct, "bank.example")[0] == 0
            assert check(*direct, "unheard-of.example")[0] == 3

            status, output = check("freshness", "--prometheus", *of_prometheus, *access)
            assert (status, target in output) == (0, True)

            for where in (["-u", f"https://{target}"], ["--prometheus", *of_prometheus]):
                assert check("findings", *where, *access)[0] == 0
            report(tmp_path, f"https://{target}/api/findings", finding("192.0.2.66") | {"score": 0.5, "evidence": {}})
            assert check("findings", "-u", f"https://{target}", *access)[0] == 1
            counted = eventually(
                lambda: (got := check("findings", "--prometheus", *of_prometheus, *access))[0] and got, 60
            )
            assert "'nfsen warning'=1" in counted[1]
            assert check(*of_collector, *access, "--sensor", "another")[0] == 2
            assert "CERTIFICATE_VERIFY_FAILED" in check(*of_collector)[1]
            status, output = check(*of_collector, *user, tmp_path / "wrong")
            assert (status, "401" in output) == (3, True)

            collector.kill()
            assert check(*of_collector, *access)[0] == 2
            down = eventually(
                lambda: (got := check("freshness", "--prometheus", *of_prometheus, *access))[0] and got, 60
            )
            assert down[0] == 2
            assert f"the collector at {target} is down" in down[1]
    finally:
        writer.stop()
        collector.kill()


def test_findings_of_a_collector_need_its_token(tmp_path):
    with collecting(write_config(tmp_path), tmp_path / "state") as collector:
        status, output = check("findings", "-u", collector.url)
        assert (status, "401 Unauthorized" in output, "; give --token-file" in output) == (3, True, True)
        token = tmp_path / "state" / "api-token"
        eventually(lambda: check("findings", "-u", collector.url, "--token-file", token)[0] == 0, 60)  # 503 at first
        (tmp_path / "wrong").write_text("wrong\n")
        assert check("findings", "-u", collector.url, "--token-file", tmp_path / "wrong")[0] == 3


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
