"""The API over real HTTP and a real store."""

from __future__ import annotations

import http.client
import json
import math
import os
import re
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode

import pytest

from dnsvigil.api import changes
from dnsvigil.api.app import api, response_of
from dnsvigil.api.interface import Answer
from dnsvigil.api.routes import ROUTES
from dnsvigil.collector.application import application
from dnsvigil.config.collector import Config, ConfiguredServer, NetflowSource, Servers
from dnsvigil.config.types import ServerAddress
from dnsvigil.engines.tuples import TupleReader
from dnsvigil.httpd.access import TOKEN_FILE, keep_token
from dnsvigil.httpd.limits import MAX_BODY
from dnsvigil.httpd.server import Server
from dnsvigil.sources.netflow.follower import resolve_submitted
from dnsvigil.store import flow_series
from dnsvigil.store.findings import Findings, findings_in
from dnsvigil.store.flows import FlowTables
from dnsvigil.store.passive_dns import PassiveDns
from dnsvigil.store.store import Store, StoreError
from exporters.flowfiles import dialogues, write_flows
from exporters.running import collecting_here, eventually, get, sample, samples, write_config

SLOT = timedelta(minutes=5)
NOON = datetime(2026, 3, 1, 12)
TRAINING = {
    "popular": [],
    "suspected": 0,
    "dismissed": [],
    "examples": {"open_resolver": [], "poisoning": []},
}
FINDING = {
    "detector": "nfsen",
    "subject_type": "resolver",
    "subject": "192.0.2.53",
    "score": 0.75,
    "severity": "warning",
    "evidence": {"bytes": 17, "names": ["<script>", "\x1b[31m"]},
}


class Behind:
    """The part of a collector behind the API: a store, and one thread for changes."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder)
        Findings(self.store)
        FlowTables(self.store, 10**9)
        PassiveDns(self.store)
        self.tuples = TupleReader(lambda: self.store)
        self.worker = ThreadPoolExecutor(1)
        self.submitted: list[tuple[Path, str | None]] = []

    def read(self, query, *bound):
        with self.store.errors(), closing(self.store.connection.cursor()) as cursor:
            return cursor.execute(query, list(bound)).fetchall()

    def submit(self, task) -> Future:
        return self.worker.submit(task, self.store)

    def submit_files(self, files) -> Future[None]:
        return self.worker.submit(self.submitted.extend, files)


@pytest.fixture
def behind(tmp_path) -> Iterator[Behind]:
    behind = Behind(tmp_path)
    yield behind
    behind.worker.shutdown()
    behind.store.close()


@pytest.fixture(scope="module")
def empty(tmp_path_factory) -> Iterator[Server]:
    """For what changes nothing."""
    behind = Behind(tmp_path_factory.mktemp("empty"))
    with Server(application([api(behind, Config())]), "127.0.0.1:0") as server:
        yield server
    assert findings_in(behind.read, "open") == []
    assert behind.submitted == []
    behind.worker.shutdown()
    behind.store.close()


@pytest.fixture
def server(behind) -> Iterator[Server]:
    with Server(application([api(behind, Config())]), "127.0.0.1:0") as server:
        yield server


def ask(
    server: Server, path: str, body: object = None, *, content_type="application/json", token: str = "", **query: object
):
    """Status and content of an answer; POST where there is a body."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with closing(http.client.HTTPConnection(*server.address, timeout=20)) as connection:
        target = f"{path}?{urlencode(query)}" if query else path
        if body is None:
            connection.request("GET", target, headers=headers)
        else:
            raw = body if isinstance(body, bytes) else json.dumps(body).encode()
            headers |= {"Content-Type": content_type} if content_type else {}
            connection.request("POST", target, raw, headers)
        response = connection.getresponse()
        assert response.getheader("Content-Type") == "application/json"
        assert response.getheader("X-Content-Type-Options") == "nosniff"
        text = response.read()
        assert text.count(b"\n") == 1
        assert text.isascii()
        return response.status, json.loads(text)


# Findings


def test_a_finding_goes_in_and_comes_out(server):
    assert ask(server, "/api/findings") == (200, [])
    status, given = ask(server, "/api/findings", FINDING | {"time": "2026-03-01T13:00:00+01:00"})
    assert status == 201
    assert ask(server, "/api/findings", FINDING | {"score": 1, "time": "2026-03-01T12:30:00Z"}) == (201, given)
    assert (
        ask(server, "/api/findings", FINDING | {"subject": "192.0.2.54"}, content_type="Application/JSON; charset=x")[0]
        == 201
    )
    status, found = ask(server, "/api/findings", state="open")
    assert status == 200
    assert found[0] == FINDING | {
        "id": given["id"],
        "score": 1,
        "first_seen": "2026-03-01T12:00:00Z",
        "last_seen": "2026-03-01T12:30:00Z",
        "count": 2,
        "state": "open",
        "why": None,
        "until": None,
    }
    now = datetime.fromisoformat(found[1]["first_seen"]).timestamp()
    assert abs(now - time.time()) < 30
    assert ask(server, "/api/findings", id=given["id"]) == (200, [found[0] | {"events": []}])
    assert ask(server, "/api/findings", state="closed") == (200, [])
    assert ask(server, "/api/findings", id=10**9)[0] == 404


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"detector": None}, "detector: missing"),
        ({"detector": "a\nb"}, "detector: expected"),
        ({"subject_type": "house"}, "subject_type: expected one of client"),
        ({"subject": 7}, "subject: missing, or of the wrong kind"),
        ({"subject": "x" * 2000}, "subject: expected 1 to 1024"),
        ({"subject": "\ud800"}, "surrogates"),
        ({"score": "1"}, "score: missing"),
        ({"score": True}, "score: missing"),
        ({"score": 2}, "score: expected a number from 0 to 1"),
        ({"severity": "bad"}, "severity: expected one of info"),
        ({"score": math.nan}, "score: expected a number from 0 to 1"),
        ({"score": 10**400}, "score: expected a number from 0 to 1"),
        ({"evidence": []}, "evidence: missing"),
        ({"evidence": {"x": math.inf}}, "evidence: Out of range"),
        ({"evidence": {"x": "y" * 20_000}}, "evidence: 20,0"),
        ({"time": "yesterday"}, "time: expected one such as"),
        ({"time": 5}, "time: expected one such as"),
        ({"time": "0001-01-01T00:00:00+14:00"}, "time: expected one such as"),
        ({"time": "2999-01-01T00:00:00Z"}, "time: it is still to come"),
        ({"time": "0001-01-01T00:00:00Z"}, "time: it is before 1970"),
        ({"state": "closed"}, "unknown key 'state'"),
    ],
)
def test_a_finding_that_makes_no_sense_is_refused(empty, change, says):
    status, answer = ask(empty, "/api/findings", FINDING | change)
    assert (status, list(answer)) == (400, ["error"])
    assert says in answer["error"]


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (FINDING, "text/plain", 415),
        (FINDING, "application/x-www-form-urlencoded", 415),
        (FINDING, None, 415),
        (b"", "application/json", 400),
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"[" * 60_000, "application/json", 400),
        (b'{"score": ' + b"9" * 5000 + b"}", "application/json", 400),
        (b" " * (MAX_BODY + 1), "application/json", 413),
    ],
)
def test_what_is_no_json_object_is_refused(empty, body, content_type, status):
    for path in ("/api/findings", "/api/flows/files"):
        assert ask(empty, path, body, content_type=content_type)[0] == status


def test_a_finding_is_dismissed_and_its_like_not_taken(server):
    finding = FINDING | {"evidence": {"domains": ["a.example"]}}
    _, given = ask(server, "/api/findings", finding)
    dismissal = {"id": given["id"], "why": "<b>ours</b>"}
    status, (dismissed,) = ask(server, "/api/findings/dismiss", dismissal)
    assert (status, dismissed["state"], dismissed["why"]) == (200, "dismissed", "<b>ours</b>")
    assert ask(server, "/api/findings", state="dismissed") == (200, [dismissed])
    assert ask(server, "/api/findings", finding) == (200, {"id": None})
    assert ask(server, "/api/findings") == (200, [])
    assert ask(server, "/api/training") == (200, TRAINING | {"dismissed": ["a.example"]})
    assert ask(server, "/api/findings/dismiss", dismissal | {"id": 10**9})[0] == 404


def test_what_people_did_with_a_finding_is_told_with_their_names(server):
    number = ask(server, "/api/findings", FINDING)[1]["id"]
    assert ask(server, "/api/findings/note", {"id": number, "text": "<b>asked</b>"})[0] == 200
    until = f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"
    (found,) = ask(server, "/api/findings/dismiss", {"id": number, "why": "ours", "until": until})[1]
    assert found["until"] == until
    (shown,) = ask(server, "/api/findings", id=number)[1]
    done = [(each["action"], each["text"], each["until"]) for each in shown["events"]]
    assert done == [("dismissed", "ours", until), ("noted", "<b>asked</b>", None)]
    assert ask(server, "/api/findings/note", {"id": 10**9, "text": "x"})[0] == 404
    for content in ({"id": number}, {"id": number, "text": 7}, {"id": number, "text": " "}, {"text": "x"}):
        assert ask(server, "/api/findings/note", content)[0] == 400, content


def test_a_dismissal_is_taken_back(server):
    finding = FINDING | {"evidence": {"domains": ["a.example"]}}
    number = ask(server, "/api/findings", finding)[1]["id"]
    _, (given,) = ask(server, "/api/findings")
    assert ask(server, "/api/findings/reopen", {"id": number}) == (200, [given])
    ask(server, "/api/findings/dismiss", {"id": number, "why": "ours"})
    assert ask(server, "/api/findings/reopen", {"id": number}) == (200, [given])
    assert ask(server, "/api/training") == (200, TRAINING)
    assert ask(server, "/api/findings", finding) == (201, {"id": number})
    for content, status in (({"id": 10**9}, 404), ({}, 400), ({"id": "7"}, 400), ({"id": 7, "why": "x"}, 400)):
        assert ask(server, "/api/findings/reopen", content)[0] == status


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, [3, 2, 1]),
        ({"state": "all"}, [3, 2, 1]),
        ({"state": "closed"}, []),
        ({"detector": "b"}, [2]),
        ({"severity": "critical"}, [3]),
        ({"subject_type": "client", "subject": "192.0.2.1"}, [1]),
        ({"since": "2000-01-01T00:00:00Z"}, [3, 2, 1]),
        ({"since": "2999-01-01T00:00:00+02:00"}, []),
        ({"limit": 1}, [3]),
        ({"id": 2}, [2]),
    ],
)
def test_findings_are_filtered_and_all_that_match_are_counted(server, query, expected):
    for number, (detector, severity) in enumerate((("a", "info"), ("b", "warning"), ("c", "critical")), 1):
        finding = {"detector": detector, "severity": severity, "subject_type": "client", "score": 0.5, "evidence": {}}
        ask(server, "/api/findings", finding | {"subject": f"192.0.2.{number}"})
    assert [each["id"] for each in ask(server, "/api/findings", **query)[1]] == expected
    with closing(http.client.HTTPConnection(*server.address, timeout=20)) as connection:
        connection.request("GET", f"/api/findings?{urlencode(query)}")
        total = connection.getresponse().getheader("X-Total-Count")
    assert total == ("3" if "limit" in query else str(len(expected)))


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({"severity": "bad"}, "severity: expected one of"),
        ({"subject_type": "planet"}, "subject_type: expected one of"),
        ({"since": "yesterday"}, "since: expected one such as"),
        ({"limit": "10001"}, "limit: expected a number above 0, and at most 10,000"),
        ({"limit": "-1"}, "limit: expected a number above 0"),
    ],
)
def test_a_filter_that_makes_no_sense_is_refused(empty, query, says):
    status, answer = ask(empty, "/api/findings", **query)
    assert (status, says in answer["error"]) == (400, True)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({}, "id: expected"),
        ({"id": "7", "why": "x"}, "id: expected"),
        ({"id": True, "why": "x"}, "id: expected"),
        ({"id": 2**63, "why": "x"}, "id: expected"),
        ({"id": 7}, "why: expected"),
        ({"id": 7, "why": ["x"]}, "why: expected"),
        ({"id": 7, "why": "\ud800"}, "why: expected 1 to 1,024"),
        ({"id": 7, "why": "x" * 1025}, "why: expected 1 to 1,024"),
        ({"id": 7, "why": "x", "state": "open"}, "unknown key 'state'"),
    ],
)
def test_a_dismissal_that_makes_no_sense_is_refused(empty, content, says):
    status, answer = ask(empty, "/api/findings/dismiss", content)
    assert (status, list(answer)) == (400, ["error"])
    assert says in answer["error"]


def test_a_change_that_takes_long_is_made_later(server, behind, monkeypatch, caplog):
    monkeypatch.setattr(changes, "WAIT_SECONDS", 0.2)
    busy = threading.Event()
    behind.worker.submit(busy.wait, 20)
    assert ask(server, "/api/findings", FINDING) == (202, {"id": None})
    assert ask(server, "/api/findings") == (200, [])
    assert ask(server, "/api/findings/dismiss", {"id": 999, "why": "x"}) == (202, [])
    busy.set()
    behind.worker.submit(lambda: None).result(20)
    assert ask(server, "/api/findings")[1][0]["subject"] == FINDING["subject"]
    assert "lost" not in caplog.text


def test_a_store_that_fails_is_said(server, behind, caplog):
    def fail(*_: object) -> None:
        raise StoreError("dnsvigil.duckdb: no space left")

    behind.submit_files = lambda _: behind.worker.submit(fail)
    assert ask(server, "/api/flows/files", {"files": []}) == (503, {"error": "the store cannot be read or written now"})
    assert "no space left" in caplog.text
    behind.read = fail
    for path in ("/api/findings", "/api/training", "/api/flows/series", "/api/flows/talkers", "/api/flows/verdicts"):
        assert ask(server, path)[0] == 503


# Files


def test_files_are_handed_over(server, behind):
    files = [{"path": "/flows/nfcapd.202603011200", "exporter": "upstream 1"}, {"path": "/flows/ü", "exporter": None}]
    assert ask(server, "/api/flows/files", {"files": [*files, {"path": "/x"}]}) == (202, {"accepted": 3})
    assert behind.submitted == [
        (Path("/flows/nfcapd.202603011200"), "upstream 1"),
        (Path("/flows/ü"), None),
        (Path("/x"), None),
    ]


@pytest.mark.parametrize(
    "files",
    [
        None,
        "x",
        [7],
        [{}],
        [{"path": "relative"}],
        [{"path": ""}],
        [{"path": "/a\0b"}],
        [{"path": "/\ud800"}],
        [{"path": 7}],
        [{"path": "/a", "exporter": 7}],
        [{"path": "/a", "exporter": ""}],
        [{"path": "/a"}] * 1001,
    ],
)
def test_files_that_make_no_sense_are_refused_all(empty, files):
    assert ask(empty, "/api/flows/files", {"files": files})[0] == 400


# Flows


@pytest.fixture
def flows(behind) -> Behind:
    """Two hours of one exporter, ten minutes of another, and a third that fell silent long ago."""
    run = behind.store.connection.execute
    for number in range(24):
        slot = NOON - number * SLOT
        run("INSERT INTO slot_services VALUES (?, 'edge', 'udp', 'dns', 10, 20, ?, 1)", [slot, 1000 + number])
        run("INSERT INTO slot_services VALUES (?, 'edge', 'udp', 'dns', 1, 2, 3, 2)", [slot])
        if number % 2:
            run("INSERT INTO slot_services VALUES (?, 'edge', 'tcp', 'dns', 5, 6, 7, 1)", [slot])
    for number in (1, 2):
        slot = NOON - number * SLOT
        run("INSERT INTO slot_services VALUES (?, 'core', 'udp', 'ntp', 1, 1, 1, 3)", [slot])
        for proto, count in (("udp", 30), ("tcp", 10)):
            run(
                "INSERT INTO slot_resolvers VALUES (?, 'edge', '192.0.2.53', ?, ?, 1, 2, 3, 4, 5, 6, 1)",
                [slot, proto, count],
            )
        run("INSERT INTO slot_clients VALUES (?, 'edge', '192.0.2.53', [1, 2], 2)", [slot])
    run("INSERT INTO slot_services VALUES (?, 'old', 'udp', 'dns', 1, 1, 1, 4)", [NOON - timedelta(days=3)])
    for slot, baseline, anomalies in ((NOON - SLOT, 900.0, []), (NOON, 500.0, ["spike"])):
        run(
            "INSERT INTO flow_verdicts VALUES (?, 'edge', 'udp', 'dns', NULL, 'bytes', 1003, ?, 10, 50.3, ?, 86400)",
            [slot, baseline, anomalies],
        )
    of_resolver = "'core', NULL, NULL, '192.0.2.53', 'clients', 2, NULL, NULL, 'nan', [], 300"
    run(f"INSERT INTO flow_verdicts VALUES (?, {of_resolver})", [NOON - SLOT])
    for number in range(12):
        run(
            "INSERT INTO slot_talkers VALUES (?, 'edge', 'srcip', ?, 1, 2, ?, 1)",
            [NOON, f"192.0.2.{number}", 100 - number],
        )
    run("INSERT INTO slot_talkers VALUES (?, 'edge', 'srcip', '192.0.2.11', 1, 2, 1000, 2)", [NOON])
    run("INSERT INTO slot_talkers VALUES (?, 'edge', 'dstip', '192.0.2.1', 9, 9, 9, 1)", [NOON])
    run("INSERT INTO slot_talkers VALUES (?, 'edge', 'dstip', '192.0.2.1', 9, 9, 9, 1)", [NOON - SLOT])
    run("INSERT INTO slot_talkers VALUES (?, 'core', 'srcip', '192.0.2.99', 1, 1, 1, 1)", [NOON - SLOT])
    run("INSERT INTO slot_talkers VALUES (?, 'old', 'srcip', '192.0.2.98', 1, 1, 1, 1)", [NOON - timedelta(days=3)])
    return behind


def test_series_have_a_point_for_each_slot_with_flows(server, flows):
    status, answer = ask(server, "/api/flows/series", exporter="edge", measure="bytes", hours=1)
    assert (status, answer["slot_seconds"]) == (200, 300)
    tcp, udp = answer["series"]
    assert [udp[name] for name in ("exporter", "protocol", "service", "measure")] == ["edge", "udp", "dns", "bytes"]
    assert len(udp["points"]) == len(tcp["points"]) == 12
    assert udp["points"][0] == {"slot": "2026-03-01T11:05:00Z", "value": 1014, "baseline": None, "anomalies": []}
    assert udp["points"][-2:] == [
        {"slot": "2026-03-01T11:55:00Z", "value": 1004, "baseline": 900, "anomalies": []},
        {"slot": "2026-03-01T12:00:00Z", "value": 1003, "baseline": 500, "anomalies": ["spike"]},
    ]
    assert udp["verdict"] == {
        "slot": "2026-03-01T12:00:00Z",
        "value": 1003,
        "baseline": 500,
        "spread": 10,
        "deviation": 50.3,
        "anomalies": ["spike"],
        "history_seconds": 86400,
    }
    assert [point["value"] for point in tcp["points"]] == [7, 0] * 6
    assert tcp["verdict"] is None


def test_series_are_chosen(server, flows):
    _, all_of_them = ask(server, "/api/flows/series")
    keys = {tuple(each[name] for name in ("exporter", "protocol", "service")) for each in all_of_them["series"]}
    assert keys == {("edge", "udp", "dns"), ("edge", "tcp", "dns"), ("core", "udp", "ntp")}
    assert len(all_of_them["series"]) == 9
    for asked, count in (
        ({"protocol": "tcp"}, 3),
        ({"service": "ntp"}, 3),
        ({"exporter": "nobody"}, 0),
        ({"exporter": "", "protocol": "tcp"}, 3),
        ({"exporter": "old"}, 3),
    ):
        assert len(ask(server, "/api/flows/series", **asked)[1]["series"]) == count
    (core,) = ask(server, "/api/flows/series", exporter="core", measure="flows")[1]["series"]
    assert [point["slot"] for point in core["points"]] == ["2026-03-01T11:50:00Z", "2026-03-01T11:55:00Z"]


def test_resolvers_have_series_from_the_slot_they_were_first_seen_in(server, flows):
    for resolver in ("192.0.2.53", "*"):
        status, answer = ask(server, "/api/flows/series", resolver=resolver)
        assert status == 200
        values = {each["measure"]: [point["value"] for point in each["points"]] for each in answer["series"]}
        assert values == {
            "clients": [2, 2, 0],
            "query_packets": [2, 2, 0],
            "query_bytes": [4, 4, 0],
            "response_bytes": [10, 10, 0],
            "tcp_ratio": [0.25, 0.25, None],
        }
        assert {(each["exporter"], each["resolver"]) for each in answer["series"]} == {("edge", "192.0.2.53")}
        assert all("protocol" not in each for each in answer["series"])
    assert ask(server, "/api/flows/series", resolver="192.0.2.54")[1]["series"] == []


def test_the_address_of_a_server_with_a_name_stands_for_the_name(behind):
    named = Config(servers=Servers(configured=[ConfiguredServer("cache1", [ServerAddress("192.0.2.53")])]))
    with Server(application([api(behind, named)]), "127.0.0.1:0") as server:
        for subject_type in ("resolver", "client"):
            assert ask(server, "/api/findings", FINDING | {"subject_type": subject_type})[0] == 201
    found = {(each.subject_type, each.subject) for each in findings_in(behind.read, "open")}
    assert found == {("resolver", "cache1"), ("client", "192.0.2.53")}


def test_a_client_of_ipv6_is_found_by_each_address_of_its_prefix_and_stays_dismissed(server):
    client = FINDING | {"subject_type": "client", "subject": "2001:db8::7", "severity": "critical"}
    ((status, answer), domain) = ask(server, "/api/findings", client), "2001:db8::7"
    assert status == 201
    ask(server, "/api/findings", client | {"subject_type": "domain", "subject": domain})
    for address in ("2001:db8::7", "2001:DB8::0:9", "2001:db8::/64"):
        (found,) = ask(server, "/api/findings", subject=address, subject_type="client")[1]
        assert (found["id"], found["subject"]) == (answer["id"], "2001:db8::/64")
        assert found["evidence"] == {"client_addresses": ["2001:db8::7"], **FINDING["evidence"]}
    assert ask(server, "/api/findings", subject="2001:db8:0:1::7")[1] == []
    assert [each["subject_type"] for each in ask(server, "/api/findings", subject=domain)[1]] == ["client", "domain"]
    assert ask(server, "/api/findings/dismiss", {"id": answer["id"], "why": "ours"})[0] == 200
    assert ask(server, "/api/findings", client | {"subject": "2001:db8::9"}) == (200, {"id": None})
    too_much = client | {"subject": "2001:db8:9::9", "evidence": {"text": "x" * 16370}}
    assert ask(server, "/api/findings", too_much)[0] == 400


def test_verdicts_are_of_the_newest_slot_or_of_one(server, flows):
    status, newest = ask(server, "/api/flows/verdicts")
    assert (status, newest["slot"], newest["complete"]) == (200, "2026-03-01T12:00:00Z", True)
    resolver, service = newest["verdicts"]
    assert service["anomalies"] == ["spike"]
    assert resolver == {
        "slot": "2026-03-01T11:55:00Z",
        "exporter": "core",
        "resolver": "192.0.2.53",
        "measure": "clients",
        "value": 2,
        "baseline": None,
        "spread": None,
        "deviation": None,
        "anomalies": [],
        "history_seconds": 300,
    }
    epoch = int((NOON - datetime(1970, 1, 1)).total_seconds())
    status, of_slot = ask(server, "/api/flows/verdicts", slot=epoch - 300, exporter="edge")
    assert (status, len(of_slot["verdicts"]), of_slot["verdicts"][0]["baseline"]) == (200, 1, 900)
    assert ask(server, "/api/flows/verdicts", slot=epoch - 3000)[1] == {
        "slot": "2026-03-01T11:10:00Z",
        "complete": True,
        "verdicts": [],
    }
    for asked in ({"slot": epoch}, {"slot": epoch + 300, "exporter": "edge"}, {"exporter": "nobody"}):
        status, answer = ask(server, "/api/flows/verdicts", **asked)
        assert (status, answer["complete"]) == (404, False)
        assert "evaluated" in answer["error"]
    assert ask(server, "/api/flows/verdicts", slot=epoch + 299, exporter="edge")[1]["slot"] == "2026-03-01T12:00:00Z"


def test_talkers_are_of_each_exporters_newest_slot(server, flows):
    status, answer = ask(server, "/api/flows/talkers", element="srcip")
    assert (status, answer["slot"]) == (200, "2026-03-01T12:00:00Z")
    found = [(each["exporter"], each["talker"], each["bytes"]) for each in answer["talkers"]]
    assert found[:3] == [("core", "192.0.2.99", 1), ("edge", "192.0.2.11", 1089), ("edge", "192.0.2.0", 100)]
    assert len(found) == 11
    assert ask(server, "/api/flows/talkers", exporter="old")[1]["slot"] == "2026-02-26T12:00:00Z"
    assert ask(server, "/api/flows/talkers", exporter="edge", element="dstip")[1]["talkers"] == [
        {"exporter": "edge", "element": "dstip", "talker": "192.0.2.1", "flows": 9, "packets": 9, "bytes": 9}
    ]


def test_without_flows_there_is_nothing(empty):
    assert ask(empty, "/api/flows/series") == (200, {"slot_seconds": 300, "series": []})
    assert ask(empty, "/api/flows/talkers") == (200, {"slot": None, "talkers": []})
    assert ask(empty, "/api/flows/verdicts")[0] == 404


@pytest.mark.parametrize(
    ("path", "query", "says"),
    [
        ("flows/series", "hours=0", "hours: expected a number above 0"),
        ("flows/series", "hours=nan", "hours: expected"),
        ("flows/series", "hours=1e9", "at most 840"),
        ("flows/series", "measure=clients", "measure: expected one of flows, packets, bytes"),
        ("flows/series", "resolver=*&measure=flows", "measure: expected one of clients"),
        ("flows/series", "resolver=*&service=dns", "not together"),
        ("flows/series", "exporters=x", "unknown parameter 'exporters'; there are exporter, "),
        ("flows/series", "exporter=a&exporter=b", "given twice"),
        ("flows/series", "exporter=%ff", "UTF-8"),
        ("flows/series", "&".join("a=b" for _ in range(50)), "no list of name=value"),
        ("flows/talkers", "element=ip", "element: expected one of srcip"),
        ("flows/verdicts", "slot=yesterday", "slot: expected a number"),
        ("flows/verdicts", "slot=1e300", "slot: expected a number"),
        ("findings", "state=shut", "state: expected one of open, closed"),
        ("findings", "id=x", "id: expected the number of a finding"),
        ("findings", "id=1.5", "id: expected the number of a finding"),
        ("training", "days=7", "unknown parameter 'days'"),
    ],
)
def test_a_question_that_makes_no_sense_is_answered_with_what_would(empty, path, query, says):
    status, answer = ask(empty, f"/api/{path}?{query}")
    assert (status, list(answer)) == (400, ["error"])
    assert says in answer["error"]


def test_an_answer_is_bounded(server, flows, monkeypatch):
    monkeypatch.setattr(flow_series, "MAX_POINTS", 100)
    status, answer = ask(server, "/api/flows/series")
    assert status == 400
    assert "more than 100 points; ask for less time" in answer["error"]
    assert ask(server, "/api/flows/series", measure="flows", hours=1)[0] == 200


def test_hostile_names_are_bound_and_escaped(server, flows):
    name = "'; DROP TABLE findings; --\x1b[31m<script>"
    flows.store.connection.execute("INSERT INTO slot_services VALUES (?, ?, 'udp', 'dns', 1, 1, 1, 9)", [NOON, name])
    (found,) = ask(server, "/api/flows/series", exporter=name, measure="flows")[1]["series"]
    assert found["exporter"] == name
    assert ask(server, "/api/flows/verdicts", exporter=name)[0] == 404
    assert ask(server, "/api/flows/talkers", exporter=name)[1]["talkers"] == []
    assert ask(server, "/api/findings")[0] == 200


@pytest.mark.skipif(not shutil.which("nfdump"), reason="needs nfdump")
def test_a_collector_reads_what_is_handed_over_and_answers(tmp_path):
    begin = time.time() // 300 * 300 - 1200
    # By these names nobody but who hands them over finds them.
    files = [write_flows(tmp_path, begin + 300 * n, dialogues(3), name=f"flows.{n}") for n in range(3)]
    state = tmp_path / "state"
    config = write_config(tmp_path, sources={"netflow": [{"path": str(tmp_path)}]})
    token = keep_token(state / TOKEN_FILE)
    with collecting_here(config, state) as daemon:
        get(f"{daemon.server.url}/-/ready")
        given = [{"path": str(file), "exporter": "upstream"} for file in files]
        assert ask(daemon.server, "/api/flows/files", {"files": given}, token=token) == (202, {"accepted": 3})
        query = {"exporter": "upstream", "service": "dns", "measure": "bytes"}
        found = eventually(
            lambda: (
                (got := ask(daemon.server, "/api/flows/series", **query)[1]["series"])
                and len(got[0]["points"]) == 3
                and got[0]
            )
        )
        assert [point["value"] for point in found["points"]] == [3 * (60 + 120)] * 3
        evaluated = eventually(lambda: (got := ask(daemon.server, "/api/flows/verdicts"))[0] == 200 and got[1])
        assert evaluated["slot"] == found["points"][-1]["slot"]
        assert ("dns", "bytes", 540) in {(v.get("service"), v["measure"], v["value"]) for v in evaluated["verdicts"]}
        assert ask(daemon.server, "/api/flows/verdicts", slot=int(begin) + 900)[0] == 404
        (top, *_) = ask(daemon.server, "/api/flows/talkers", token=token, element="srcip")[1]["talkers"]
        assert (top["exporter"], top["talker"], top["bytes"]) == ("upstream", "192.0.2.53", 360)
        series = ask(daemon.server, "/api/flows/series", resolver="*", measure="clients")[1]["series"]
        assert [point["value"] for point in series[0]["points"]] == [3, 3, 3]
        assert ask(daemon.server, "/api/findings", FINDING, token=token)[0] in (201, 202)
        counted = sample("dnsvigil_findings", detector="nfsen", severity="warning")
        eventually(lambda: samples(get(f"{daemon.server.url}/metrics")).get(counted) == 1)


def test_the_page_and_the_api_say_the_same(behind):
    page = (Path(__file__).parents[3] / "docs" / "api.md").read_text()
    documented = set(re.findall(r"^## `((?:GET|POST) /api/\S+)`", page, re.MULTILINE))
    rules = application([api(behind, Config())]).url_map.iter_rules()
    served = {f"{method} {rule.rule}" for rule in rules for method in rule.methods - {"HEAD"} if "<" not in rule.rule}
    assert documented == served == {f"{route.method} {route.path}" for route in ROUTES}


@pytest.fixture
def handing(tmp_path, behind) -> Iterator[Server]:
    """An API that takes flow files below one folder, a link to which leads out of it."""
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "out").symlink_to(tmp_path)
    sources = [NetflowSource(tmp_path / "fl*s")]
    behind.submit_files = lambda files: behind.worker.submit(
        behind.submitted.extend, [(resolve_submitted(path, sources), name) for path, name in files]
    )
    with Server(application([api(behind, Config())]), "127.0.0.1:0") as server:
        yield server


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("elsewhere", "lies below no folder"),
        ("flows/../elsewhere", "lies below no folder"),
        ("flows/out/elsewhere", "lies below no folder"),
        ("flows/terminal", "lies below no folder"),  # where a link leads counts
        ("flows/fifo", "a FIFO"),
        ("flows/socket", "a socket"),
        ("flows", "a folder"),
    ],
)
def test_only_regular_files_below_the_folders_of_the_configuration_are_taken(tmp_path, handing, behind, path, says):
    (tmp_path / "elsewhere").touch()
    (tmp_path / "flows" / "terminal").symlink_to("/dev/ptmx")
    os.mkfifo(tmp_path / "flows" / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "flows" / "socket"))
    status, answer = ask(handing, "/api/flows/files", {"files": [{"path": str(tmp_path / path)}]})
    assert status == 400
    assert says in answer["error"]
    assert behind.submitted == []


def test_a_file_below_them_is_taken_by_its_real_path_and_may_come_later(tmp_path, handing, behind):
    (tmp_path / "flows" / "there").touch()
    (tmp_path / "link").symlink_to(tmp_path / "flows")
    given = [{"path": str(tmp_path / "link" / name)} for name in ("there", "later")]
    assert ask(handing, "/api/flows/files", {"files": given}) == (202, {"accepted": 2})
    assert behind.submitted == [(tmp_path / "flows" / name, None) for name in ("there", "later")]


def test_a_number_that_json_does_not_have_is_null(behind):
    behind.read = lambda *_: [("log", "a", "b", "", datetime(2026, 3, 1))]
    assert application([api(behind, Config())]).test_client().get("/api/set-aside").status_code == 200
    assert response_of(Answer({"a": [math.nan, math.inf, 1.5]})).data == b'{"a": [null, null, 1.5]}\n'
