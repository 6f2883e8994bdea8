"""NfSen's backend plugin, called the way nfsend calls it, with real flow files, nfdump and round robin databases."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pytest

from lab.flows import FLOW, write

PLUGINS = Path(__file__).parents[2] / "plugins" / "nfsen"
STAND_IN = Path(__file__).parent
PERL = ["perl", "-w", "-I", str(STAND_IN), "-I", str(PLUGINS), "-MNfSenStandIn"]
SLOT = 1_774_951_500  # 12:05 in Berlin on 31 March 2026, 10:05 UTC
TIMESLOT = "202603311205"
DAY = 86_400


def has_perl(*modules: str) -> bool:
    words = [f"-M{module}" for module in modules]
    return bool(shutil.which("perl")) and subprocess.run(["perl", *words, "-e1"], check=False).returncode == 0


pytestmark = pytest.mark.skipif(
    not has_perl("HTTP::Tiny", "JSON::PP", "Time::HiRes"), reason="perl is not installed, or without its modules"
)


class Collector:
    """Answers requests as it is told to, and remembers them."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str], Any]] = []
        self.authorization: str | None = None
        self.answer: Callable[[str, str, dict[str, str]], tuple[int, Any]] = lambda *_: (200, {})
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                address = urlsplit(self.path)
                query = dict(parse_qsl(address.query, keep_blank_values=True))
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                collector.asked.append((self.command, address.path, query, json.loads(body) if body else None))
                collector.authorization = self.headers.get("Authorization")
                if body and self.headers["Content-Type"] != "application/json":
                    status, content = 415, {"error": "expected JSON"}
                else:
                    status, content = collector.answer(self.command, address.path, query)
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_POST = do_GET

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.handle_error = lambda *_: None  # who hung up
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def requests(self, path: str) -> list[tuple[str, str, dict[str, str], Any]]:
        """What was asked of this page."""
        return [each for each in self.asked if each[1] == path]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


@dataclass
class Answer:
    """What Init returned, what the calls returned, what was logged, and what went over nfsend's connection."""

    loaded: int
    returned: list[Any]
    log: str
    said: str
    seconds: float


@dataclass
class NfSen:
    """An NfSen's configuration, folders and alerts."""

    folder: Path
    pluginconf: Any = field(default_factory=dict)
    conf: dict[str, Any] = field(default_factory=dict)
    live: list[str] = field(default_factory=lambda: ["peer1", "upstream1"])
    alerts: dict[str, Any] = field(default_factory=dict)

    def call(self, *calls: tuple[str, dict[str, Any]]) -> Answer:
        for name in ("result", "log"):
            (self.folder / name).write_text("")
        conf = {
            "PREFIX": str(Path(shutil.which("nfdump") or "/usr/bin/nfdump").parent),
            "PROFILEDATADIR": str(self.folder / "data"),
            "PROFILESTATDIR": str(self.folder / "stat"),
            "CYCLETIME": 300,
            **self.conf,
        }
        world = {"conf": conf, "pluginconf": self.pluginconf, "live": self.live, "alerts": self.alerts, "calls": calls}
        (self.folder / "world").write_text(json.dumps(world))
        names = {f"NFSEN_{name.upper()}": str(self.folder / name) for name in ("world", "result", "log")}
        began = time.monotonic()
        done = subprocess.run(
            [*PERL, "-e", "NfSenStandIn::call"],
            env={**os.environ, **names, "TZ": "Europe/Berlin", "http_proxy": "http://127.0.0.1:9"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        seconds = time.monotonic() - began
        assert (done.returncode, done.stderr) == (0, "")
        log = (self.folder / "log").read_text()
        assert "PANIC" not in log
        loaded, *returned = map(json.loads, (self.folder / "result").read_text().splitlines())
        return Answer(loaded, returned, log, done.stdout, seconds)

    def live_file(self, source: str, slot: int) -> str:
        at = time.strftime("%Y/%m/%d/nfcapd.%Y%m%d%H%M", time.gmtime(slot + 7200))
        path = self.folder / "data" / "live" / source / at
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        return str(path)

    def alert(self, name: str, flows: int, past: dict[int, int] | None = None, **info: Any) -> dict[str, Any]:
        """Make an alert whose filter let so many flows through now, and so many at each time of the past."""
        if not shutil.which("nfdump"):
            pytest.skip("nfdump is not installed")
        self.alerts[name] = {"channellist": "upstream1|peer1", "condition": ["DnsVigil"], "filter": ["any\n"], **info}
        path = self.folder / "data" / f"~{name}" / name / f"nfcapd.{TIMESLOT}"
        path.parent.mkdir(parents=True)
        some = np.zeros(flows, FLOW)
        some["first"] = some["last"] = 1000 * SLOT
        some["packets"], some["bytes"], some["proto"], some["dst_port"] = 2, 100, 17, 53
        some["src"][:, 1] = some["dst"][:, 1] = 0xC0000201
        write(path, [some] if flows else [np.zeros(1, FLOW)])
        if past is not None:
            self._remember(name, {**past, SLOT: flows})
        return {"alert": name, "alertfile": str(path), "timeslot": TIMESLOT}

    def _remember(self, name: str, values: dict[int, int]) -> None:
        if not has_perl("RRDs"):
            pytest.skip("librrds-perl is not installed")
        folder = self.folder / "stat" / f"~{name}"
        folder.mkdir(parents=True)
        columns = ("last", "avg10m", "avg30m", "avg1h", "avg6h", "avg12h", "avg24h")
        script = """
            my $folder = shift; my @updates = <STDIN>; chomp @updates; my ($first) = $updates[0] =~ /^(\\d+)/;
            for my $measure (['flows', 1], ['packets', 2], ['bytes', 100]) {
                my $file = "$folder/avg-$measure->[0].rrd";
                RRDs::create($file, '--start', $first - 300, (map { "DS:$_:ABSOLUTE:600:U:U" } @ARGV),
                    'RRA:AVERAGE:0.5:1:8640', 'RRA:AVERAGE:0.5:6:1440', 'RRA:MAX:0.5:1:8640', 'RRA:MAX:0.5:6:1440');
                RRDs::update($file, map { /(.*):(.*)/; join ':', $1, $2 * $measure->[1], (7) x 6 } @updates);
                die RRDs::error() if RRDs::error();
            }
        """
        lines = "".join(f"{slot}:{value}\n" for slot, value in sorted(values.items()))
        subprocess.run(
            ["perl", "-MRRDs", "-e", script, folder, *columns], input=lines, text=True, timeout=30, check=True
        )


@pytest.fixture
def nfsen(tmp_path: Path, collector: Collector) -> NfSen:
    return NfSen(tmp_path, {"url": collector.url})


def steady(days: int = 10, flows: int = 1000) -> dict[int, int]:
    """Every five minutes of the days before now, with a busy evening."""
    slots = range(SLOT - days * DAY, SLOT, 300)
    return {slot: flows * (5 if slot % DAY // 3600 >= 21 else 1) + slot // 300 % 7 for slot in slots}


def busy(slot: int) -> bool:
    """Is it within half an hour of this time of the day?"""
    return (slot - SLOT + 1800) % DAY <= 3600


def verdict(exporter: str, anomalies: list[str] | None = None, **names: str) -> dict[str, Any]:
    of = {"protocol": "udp", "service": "dns", "measure": "bytes", **names}
    return {
        "exporter": exporter,
        **of,
        "value": 900.0,
        "baseline": 90.0,
        "deviation": 50.0,
        "anomalies": anomalies or [],
    }


def evaluated(*verdicts: dict[str, Any]) -> Callable[[str, str, dict[str, str]], tuple[int, Any]]:
    """Answers of a collector whose newest slot is complete."""

    def answer(method: str, path: str, query: dict[str, str]) -> tuple[int, Any]:
        if path == "/api/flows/verdicts" and query.get("slot") == str(SLOT):
            mine = [each for each in verdicts if each["exporter"] == query["exporter"]]
            return 200, {"slot": "2026-03-31T10:05:00Z", "complete": True, "verdicts": mine}
        if path == "/api/flows/verdicts":
            return 404, {"error": "not yet", "complete": False}
        return (201, {"id": 7}) if method == "POST" else (200, [])

    return answer


# Loading


def test_it_compiles_without_a_warning():
    done = subprocess.run(
        [*PERL, "-c", PLUGINS / "DnsVigil.pm"], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stderr == f"{PLUGINS / 'DnsVigil.pm'} syntax OK\n"


def test_it_loads_with_a_collector(nfsen):
    answer = nfsen.call()
    assert (answer.loaded, answer.log, answer.said) == (1, "", "")


def test_it_loads_without_a_collector_and_says_so(nfsen):
    nfsen.pluginconf = {"url": "http://monitor:secret@127.0.0.1:9"}
    answer = nfsen.call()
    assert answer.loaded == 1
    assert answer.log.startswith("warning DnsVigil: the collector at http://127.0.0.1:9 does not answer: ")
    assert "secret" not in answer.log


def test_a_password_in_the_url_goes_to_the_collector(nfsen, collector):
    nfsen.pluginconf["url"] = collector.url.replace("//", "//monitor:secret@") + "/"
    assert nfsen.call().log == ""
    assert collector.authorization == "Basic bW9uaXRvcjpzZWNyZXQ="


def test_the_token_goes_to_the_collector(nfsen, collector, tmp_path):
    nfsen.pluginconf["token_file"] = str(tmp_path / "api-token")
    assert nfsen.call().log == ""
    assert collector.authorization is None, "there is none yet"
    for content, sent in (("a-token\n", "Bearer a-token"), ("", None), ("two words", None)):
        (tmp_path / "api-token").write_text(content)
        assert nfsen.call().log == ""
        assert collector.authorization == sent
    (tmp_path / "api-token").write_text("a-token\n")
    nfsen.pluginconf["url"] = collector.url.replace("//", "//monitor:secret@")
    nfsen.call()
    assert collector.authorization == "Basic bW9uaXRvcjpzZWNyZXQ="


def test_a_collector_that_wants_the_token_names_its_file(nfsen, collector):
    collector.answer = lambda *_: (401, {"error": "this needs the token in /var/lib/dnsvigil/api-token"})
    answer = nfsen.call()
    assert answer.loaded == 1
    assert "answers 401: this needs the token in /var/lib/dnsvigil/api-token" in answer.log


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"token_file": "api-token"}, "token_file is not an absolute path"),
        ([], "$PluginConf{DnsVigil} in nfsen.conf is not a hash"),
        ({"adress": "x"}, "unknown key adress; there are alerts, nfdump, timeout, token_file, url"),
        ({"url": "127.0.0.1:9953"}, "url is not http://HOST:PORT"),
        ({"url": None}, "url is not http://HOST:PORT"),
        ({"timeout": "5s"}, "timeout is not a number of seconds from 1 to 10"),
        ({"timeout": 60}, "timeout is not a number of seconds from 1 to 10"),
        ({"nfdump": "/nowhere/nfdump"}, "there is no program /nowhere/nfdump"),
        ({"alerts": {"a": ["dns"]}}, "alerts: a is not a hash"),
        ({"alerts": {"a": {"servce": "dns"}}}, "alerts: a has an unknown key servce; there are protocol, service"),
        ({"alerts": {"a": {"service": []}}}, "alerts: service of a is neither a name nor a list of names"),
        ({"alerts": {"a": {"anomaly": "peak"}}}, "alerts: there is no anomaly peak; there are spike, drop"),
    ],
)
def test_a_wrong_configuration_switches_it_off_and_is_told(nfsen, changes, said):
    nfsen.pluginconf = {**nfsen.pluginconf, **changes} if isinstance(changes, dict) else changes
    answer = nfsen.call()
    assert answer.loaded == 0
    assert said in answer.log
    assert answer.log.startswith("err ")


def test_another_cycle_than_five_minutes_switches_it_off(nfsen):
    nfsen.conf = {"CYCLETIME": 60}
    answer = nfsen.call()
    assert answer.loaded == 0
    assert "NfSen's $CYCLETIME is 60 s, the collector's slots are 300 s" in answer.log


# Periodic processing


def run(profile: str = "live", group: str = ".") -> tuple[str, dict[str, Any]]:
    return "run", {"profile": profile, "profilegroup": group, "timeslot": TIMESLOT}


def test_each_sources_files_of_the_past_hour_go_to_the_collector(nfsen, collector):
    collector.answer = lambda method, *_: (202, {"accepted": 1}) if method == "POST" else (200, [])
    expected = [
        {"path": nfsen.live_file(source, SLOT - 300 * back), "exporter": source}
        for back in range(11, -1, -1)
        for source in ("peer1", "upstream1")
    ]
    nfsen.live_file("peer1", SLOT - 12 * 300)
    nfsen.live_file("peer1", SLOT + 300)
    answer = nfsen.call(run(), run("dns"), run("live", "other"))
    assert [each[3] for each in collector.requests("/api/flows/files")] == [{"files": expected}]
    assert (answer.log, answer.said) == ("", "")


def test_a_source_without_a_file_is_told_and_the_others_are_handed_over(nfsen, collector):
    there = nfsen.live_file("upstream1", SLOT)
    answer = nfsen.call(run())
    assert answer.log == f"warning DnsVigil: there is no flow file of peer1 for {TIMESLOT}\n"
    assert collector.requests("/api/flows/files")[0][3] == {"files": [{"path": there, "exporter": "upstream1"}]}


def test_many_sources_go_in_several_requests(nfsen, collector):
    nfsen.live = [f"source{number}" for number in range(30)]
    for source in nfsen.live:
        for back in range(12):
            nfsen.live_file(source, SLOT - 300 * back)
    nfsen.call(run())
    sent = [each[3]["files"] for each in collector.requests("/api/flows/files")]
    assert sum(map(len, sent)) == 12 * 30
    assert max(len(json.dumps(files)) for files in sent) < 60_000


def test_files_that_cannot_be_handed_over_are_told(nfsen, collector):
    nfsen.live_file("peer1", SLOT)
    nfsen.live_file("upstream1", SLOT)
    collector.answer = lambda method, *_: (503, {"error": "the store\nis busy"}) if method == "POST" else (200, [])
    answer = nfsen.call(run())
    assert f"err DnsVigil: cannot submit the files of {TIMESLOT}: the collector at {collector.url}" in answer.log
    assert "answers 503: the store is busy;" in answer.log


# Conditions by the collector


@pytest.mark.parametrize(
    ("alert", "found", "fires"),
    [
        ("dns-change", verdict("peer1", ["spike"]), 1),
        ("dns-change", verdict("peer1", ["shift_down"], service="dot", protocol="tcp"), 1),
        ("dns-change", verdict("peer1", []), 0),
        ("dns-change", verdict("peer1", ["spike"], service="https"), 0),
        ("dns-change", verdict("elsewhere", ["spike"]), 0),
        ("dns-tcp-change", verdict("upstream1", ["spike"]), 0),
        ("dns-tcp-change", verdict("upstream1", ["spike"], protocol="tcp"), 1),
        ("any-change", verdict("upstream1", ["threshold"], service="smtp", protocol="tcp"), 1),
        ("any-change", {"exporter": "peer1", "resolver": "192.0.2.53", "measure": "clients", "anomalies": ["drop"]}, 1),
        ("chosen", {"exporter": "peer1", "resolver": "192.0.2.53", "measure": "clients", "anomalies": ["drop"]}, 1),
        ("chosen", {"exporter": "peer1", "resolver": "192.0.2.53", "measure": "clients", "anomalies": ["spike"]}, 0),
        ("chosen", {"exporter": "peer1", "resolver": "192.0.2.53", "measure": "tcp_ratio", "anomalies": ["drop"]}, 0),
    ],
)
def test_an_alert_fires_on_the_collectors_verdicts_about_its_series(nfsen, collector, alert, found, fires):
    if alert == "chosen":
        series = {"resolver": "*", "measure": ["clients", "query_packets"], "anomaly": ["drop", "shift_down"]}
        nfsen.pluginconf["alerts"] = {alert: series}
    collector.answer = evaluated(found)
    answer = nfsen.call(("alert_condition", nfsen.alert(alert, 10)))
    assert answer.returned == [fires]
    assert f"alert {alert}, {TIMESLOT}, by collector: " in answer.log
    assert ("nothing unusual" in answer.log) == (not fires)
    assert answer.said == ""
    asked = [each[2] for each in collector.requests("/api/flows/verdicts")]
    assert asked == [{"exporter": source, "slot": str(SLOT)} for source in ("upstream1", "peer1")]


def test_a_slot_that_the_collector_still_reads_is_waited_for(nfsen, collector):
    answer = evaluated(verdict("upstream1", ["spike"]))
    collector.answer = lambda *asked: (404, {"complete": False}) if len(collector.asked) < 5 else answer(*asked)
    assert nfsen.call(("alert_condition", nfsen.alert("dns-change", 10))).returned == [1]
    assert len(collector.requests("/api/flows/verdicts")) > 2


def test_one_source_that_is_complete_is_enough_to_fire(nfsen, collector):
    def answer(method: str, path: str, query: dict[str, str]) -> tuple[int, Any]:
        if query.get("exporter") == "peer1":
            return 404, {"complete": False}
        return evaluated(verdict("upstream1", ["spike"]))(method, path, query)

    collector.answer = answer
    call = nfsen.alert("dns-change", 10)
    os.utime(call["alertfile"], (SLOT, SLOT))
    answered = nfsen.call(("alert_condition", call))
    assert answered.returned == [1]
    assert "the collector does not have the whole slot of peer1; upstream1/udp/dns/bytes spike" in answered.log
    assert answered.seconds < 10


# Conditions by the alert's own flows


@pytest.mark.parametrize(
    ("flows", "past", "fires", "said"),
    [
        (1000, steady(), 0, "nothing unusual"),
        (1200, steady(), 0, "nothing unusual"),
        (2000, steady(), 1, "flows spike (value 2000, baseline 1003, deviation 19.8"),
        (400, steady(), 1, "flows drop (value 400, baseline 1003, deviation -12.0"),
        (5000, steady(), 1, "bytes spike (value 500000"),  # the evening's usual, not the noon's
        (5000, {slot: 5 * flows if busy(slot) else flows for slot, flows in steady().items()}, 0, "nothing unusual"),
        (5000, dict.fromkeys(range(SLOT - 3600, SLOT, 300), 1000), 1, "flows spike"),
        (5000, dict.fromkeys(range(SLOT - 3300, SLOT, 300), 1000), 0, "too little history, 11 of 12 values"),
        (5000, dict.fromkeys(range(SLOT - 40 * DAY, SLOT - 30 * DAY, 300), 1000), 0, "history, 0 of 12 values"),
        (60, dict.fromkeys(range(SLOT - DAY, SLOT, 300), 0), 1, "flows spike"),
        (3, dict.fromkeys(range(SLOT - DAY, SLOT, 300), 0), 0, "too few flows, 3"),
    ],
    ids=[
        "usual",
        "a-little-more",
        "spike",
        "drop",
        "evening-at-noon",
        "busy-hour",
        "an-hour",
        "too-little",
        "long-ago",
        "new",
        "few",
    ],
)
def test_without_a_collector_an_alerts_own_past_decides(nfsen, flows, past, fires, said):
    nfsen.pluginconf = {"url": "http://127.0.0.1:9"}
    answer = nfsen.call(("alert_condition", nfsen.alert("dns-change", flows, past)))
    assert answer.returned == [fires]
    assert "by flows: the collector at http://127.0.0.1:9 does not answer" in answer.log
    assert said in answer.log
    assert answer.said == ""


def test_an_alert_of_another_filter_is_judged_by_its_own_flows(nfsen, collector):
    collector.answer = evaluated(verdict("upstream1", ["spike"]))
    answer = nfsen.call(("alert_condition", nfsen.alert("mail", 1000, steady())))
    assert answer.returned == [0]
    assert not collector.requests("/api/flows/verdicts")


def test_a_collector_that_hangs_does_not_hold_an_alert_up(nfsen, collector):
    free = threading.Event()

    def hang(*_: Any) -> tuple[int, Any]:
        free.wait(20)
        return 200, {}

    collector.answer = hang
    nfsen.pluginconf["timeout"] = 1
    answer = nfsen.call(("alert_condition", nfsen.alert("dns-change", 2000, steady())))
    free.set()
    assert answer.returned == [1]
    assert answer.seconds < 8


def test_a_damaged_flow_file_decides_nothing(nfsen):
    call = nfsen.alert("mail", 1000, steady())
    Path(call["alertfile"]).write_bytes(b"no flow file")
    answer = nfsen.call(("alert_condition", call))
    assert answer.returned == [0]
    assert (
        f"err DnsVigil: cannot decide alert mail for {TIMESLOT}: nfdump cannot read {call['alertfile']}" in answer.log
    )


def test_an_nfdump_that_hangs_does_not_hold_an_alert_up(nfsen, tmp_path):
    program = tmp_path / "nfdump"
    program.write_text("#!/bin/sh\necho begins\nexec sleep 40\n")
    program.chmod(0o755)
    nfsen.pluginconf["nfdump"] = str(program)
    answer = nfsen.call(("alert_condition", nfsen.alert("mail", 1000, steady())))
    assert answer.returned == [0]
    assert "nfdump does not end within 5 s" in answer.log
    assert answer.seconds < 15


def test_no_shell_reads_a_name(nfsen, tmp_path):
    call = nfsen.alert("mail", 1000, steady())
    call["alertfile"] = f"x; touch {tmp_path}/touched; $(touch {tmp_path}/touched)"
    assert nfsen.call(("alert_condition", call)).returned == [0]
    assert not (tmp_path / "touched").exists()


# Actions


def test_an_alert_becomes_a_finding(nfsen, collector):
    collector.answer = evaluated(verdict("upstream1", ["spike"]), verdict("peer1"))
    averages = {f"avg{span}": {"flows": 10, "packets": 20, "bytes": 1000} for span in ("10m", "24h")}
    call = nfsen.alert("dns-change", 40, filter=["port in\n", "[53 853]\n"], state={**averages, "updated": 1})
    answer = nfsen.call(("alert_action", {"alert": "dns-change", "timeslot": TIMESLOT}))
    assert f"info DnsVigil: alert dns-change, {TIMESLOT}, is recorded as finding 7" in answer.log
    assert answer.said == ""
    assert Path(call["alertfile"]).exists()
    [(_, _, _, finding)] = collector.requests("/api/findings")[1:]
    assert finding == {
        "detector": "nfsen",
        "subject_type": "series",
        "subject": "dns-change",
        "score": 0.9,
        "severity": "warning",
        "time": "2026-03-31T10:10:00Z",
        "evidence": {
            "alert": "dns-change",
            "slot": "2026-03-31T10:05:00Z",
            "channels": ["upstream1", "peer1"],
            "filter": "port in [53 853]",
            "conditions": ["DnsVigil"],
            "judged_by": "collector",
            "verdicts": [verdict("upstream1", ["spike"])],
            "now": {"flows": 40, "packets": 80, "bytes": 4000},
            **{f"nfsen_{span}": values for span, values in averages.items()},
        },
    }


def test_an_alert_of_nfsens_own_conditions_becomes_a_finding(nfsen, collector):
    collector.answer = evaluated()
    state = {"avg24h": {"flows": 10, "packets": 20, "bytes": 1000}}
    nfsen.alert("mail", 40, past={}, condition=["0:0:0:0:0:30:0"], state=state)
    nfsen.call(("alert_action", {"alert": "mail", "timeslot": TIMESLOT}))
    finding = collector.requests("/api/findings")[1][3]
    assert finding["score"] == 0.75
    assert finding["evidence"]["conditions"] == ["0:0:0:0:0:30:0"]
    assert "too little history" in finding["evidence"]["note"]


def test_a_limit_that_is_passed_needs_no_past(nfsen, collector):
    collector.answer = evaluated({**verdict("peer1", ["threshold"]), "baseline": None, "deviation": None})
    nfsen.alert("dns-change", 40, state={"avg24h": {"flows": 41, "packets": 80, "bytes": 4000}})
    nfsen.call(("alert_action", {"alert": "dns-change", "timeslot": TIMESLOT}))
    assert collector.requests("/api/findings")[1][3]["score"] == 1


def test_a_finding_that_nobody_takes_is_in_the_log(nfsen, collector):
    nfsen.alert("mail", 40)
    collector.answer = lambda method, *_: (503, {"error": "busy"}) if method == "POST" else (200, [])
    answer = nfsen.call(("alert_action", {"alert": "mail", "timeslot": TIMESLOT}))
    line = next(line for line in answer.log.splitlines() if "cannot record alert" in line)
    finding = json.loads(line[line.index("{") :])
    assert (finding["subject"], finding["evidence"]["now"]["flows"]) == ("mail", 40)


def test_an_action_without_a_flow_file_is_a_finding_all_the_same(nfsen, collector):
    collector.answer = evaluated()
    call = nfsen.alert("mail", 40)
    Path(call["alertfile"]).unlink()
    nfsen.call(("alert_action", {"alert": "mail", "timeslot": TIMESLOT}))
    finding = collector.requests("/api/findings")[1][3]
    assert finding["evidence"]["judged_by"] == "nobody"
    assert "now" not in finding["evidence"]


# The page


def pieces(said: str) -> str:
    """What NfSen's pages make of an answer: they read lines of a limited length, and drop blanks at the end."""
    *lines, end, status = said.splitlines()
    assert (end, status) == (".", "OK command completed.")
    assert all(line.startswith("_json=") and len(line) < 65_534 for line in lines)
    return "".join(line.rstrip().removeprefix("_json=") for line in lines)


@pytest.mark.parametrize(
    ("command", "given", "asked"),
    [
        (
            "series",
            {"profile": "live", "exporter": "peer%201", "hours": "24"},
            ("/api/flows/series", {"exporter": "peer 1", "hours": "24"}),
        ),
        ("series", {"resolver": "%2A", "measure": ""}, ("/api/flows/series", {"resolver": "*"})),
        ("verdicts", {"slot": "1774951500"}, ("/api/flows/verdicts", {"slot": "1774951500"})),
        ("talkers", {"element": "srcip"}, ("/api/flows/talkers", {"element": "srcip"})),
        ("findings", {"state": "open"}, ("/api/findings", {"state": "open"})),
    ],
)
def test_the_page_gets_what_the_collector_says(nfsen, collector, command, given, asked):
    collector.answer = lambda *_: (200, b'{"talker": "\xc3\xa9\xf0\x9f\x92\xa5",\r\n\t"x": [1, "a=b"]}\n')
    answer = nfsen.call((command, given))
    assert answer.said.isascii()
    assert json.loads(pieces(answer.said)) == {"talker": "é💥", "x": [1, "a=b"]}
    assert collector.asked[-1][:3] == ("GET", *asked)


def test_a_long_answer_goes_in_pieces(nfsen, collector):
    content = [{"word": " " * (number % 50), "number": number} for number in range(5_000)]
    collector.answer = lambda *_: (200, content)
    assert json.loads(pieces(nfsen.call(("findings", {})).said)) == content


def test_the_page_gets_the_reason_where_there_is_no_answer(nfsen, collector):
    collector.answer = lambda *_: (404, {"error": "no\nsuch <exporter>"})
    said = nfsen.call(("series", {"exporter": "nobody"})).said
    assert said.splitlines()[0] == f"error=the collector at {collector.url} answers 404: no such <exporter>"
    nfsen.pluginconf = {"url": "http://127.0.0.1:9"}
    said = nfsen.call(("findings", {})).said
    assert said.startswith("error=the collector at http://127.0.0.1:9 does not answer: ")


@pytest.mark.parametrize("value", ["a b", "a&b=c", "a\nb", "../x", "%0a;é", ["a", "b"]])
def test_an_argument_that_is_not_encoded_goes_nowhere(nfsen, collector, value):
    answer = nfsen.call(("series", {"exporter": value}))
    assert answer.said == "error=exporter is not percent-encoded\n.\nOK command completed.\n"
    assert not collector.requests("/api/flows/series")


def test_the_page_does_not_wait_for_a_slow_collector(nfsen, collector):
    free = threading.Event()

    def slow(method: str, path: str, query: dict[str, str]) -> tuple[int, Any]:
        if path == "/api/flows/talkers":
            free.wait(10)
        return 200, {}

    collector.answer = slow
    answer = nfsen.call(("talkers", {}))
    free.set()
    assert answer.said.startswith("error=the collector at ")
    assert answer.seconds < 4
